/* SPDX-License-Identifier: BSD-3-Clause
 *
 * session-vring.c - what the front-end says of rings, and their queues
 *
 * Front-ends describe a ring in any order, describe it again while it is
 * disabled, or enable rings that they never described.  So a description is
 * only stored; a queue is made, and everything checked, at the moment when the
 * ring is both started and enabled.  A description that changes under a
 * running queue stops it first, and the queue is made anew.
 */
#define G_LOG_DOMAIN "virtiod"

#include "server/session-private.h"

#include <errno.h>
#include <gio/gio.h>
#include <linux/virtio_config.h>
#include <string.h>

#include "vring/fd.h"

static void
on_broken (VdQueue *queue, const char *reason, gpointer owner)
{
  VdVring *vring = owner;
  VdSession *session = vring->session;

  vring->broken = TRUE;
  session->n_broken++;
  if (session->closing)
    return; /* the log says why */
  vd_log_limited (&session->log, session->dev->id, "queue %u is broken: %s",
                  vring->index, reason);
}

static void stop (VdVring *vring);

/* The ring was read: then what waits for it may go on.  A queue that cannot
 * start is taken away first. */
static void
on_started (VdQueue *queue, const char *why, gpointer owner)
{
  VdVring *vring = owner;

  vring->refused = why;
  if (why != NULL)
    stop (vring);
  vd_session_unpend (vring->session);
}

static void
on_miss (VdQueue *queue, const VdMiss *miss, gpointer owner)
{
  vd_session_miss (owner, miss);
}

/* The first queue of a driver's life tells the device which features count. */
static gboolean
start_device (VdSession *session, GError **error)
{
  VdDevice *dev = session->dev;

  if (session->device_started)
    return TRUE;
  if (!((session->features >> VIRTIO_F_VERSION_1) & 1)) {
    g_set_error (error, VD_SESSION_ERROR, VD_SESSION_ERROR_KEEP,
                 "the driver is a legacy one (VERSION_1 was not acked)");
    return FALSE;
  }
  if (vd_map_n_regions (session->map) == 0) {
    g_set_error (error, VD_SESSION_ERROR, VD_SESSION_ERROR_KEEP,
                 "no guest memory was shared: add share=on to the guest's "
                 "memory backend");
    return FALSE;
  }
  if (dev->ops->start != NULL &&
      !dev->ops->start (dev, session->features, error))
    return FALSE;
  session->device_started = TRUE;
  return TRUE;
}

/* Returns: the thread that serves the ring; the first rings own those that others
 * share. */
static VdWorker *
ring_worker (VdVring *vring, GError **error)
{
  VdSession *session = vring->session;
  VdDevice *dev = session->dev;
  guint n = dev->n_workers;
  VdVring *owner = &session->vrings[n > 0 ? vring->index % n : vring->index];

  if (owner->worker == NULL) {
    g_autofree char *name = g_strdup_printf ("%.10s:%u", dev->id, owner->index);

    owner->worker =
        dev->sqpoll_ms > 0
            ? vd_worker_new_sqpoll (name, dev->pool, dev->sqpoll_ms, error)
            : vd_worker_new (name, dev->pool, FALSE, error);
  }
  return owner->worker;
}

static VdQueue *
make_queue (VdVring *vring, GError **error)
{
  VdSession *session = vring->session;
  VdDevice *dev = session->dev;
  guint64 size_max = vd_options_uint (dev->options, "queue-size-max");
  const VdQueueSetup setup = {
    .index = vring->index,
    .size = vring->size,
    .desc = vring->desc,
    .avail = vring->avail,
    .used = vring->used,
    .base = vring->base,
    .features = session->features,
    .enabled = TRUE,
    .map = session->map,
    .dirty = vd_session_dirty (session),
    .dirty_ring = vring->dirty_ring,
    .inflight = session->inflight,
    .iotlb = vd_session_iotlb (session),
    .miss = &vring->miss,
    .on_miss = on_miss,
    .kick_fd = vring->kick_fd,
    .call = vring->call,
    .err = vring->err,
    .on_started = on_started,
    .on_broken = on_broken,
    .owner = vring,
  };

  if (session->postcopy_unacked) {
    g_set_error (error, VD_SESSION_ERROR, VD_SESSION_ERROR_KEEP,
                 "memory that was shared for postcopy is not acked");
    return NULL;
  }
  if (!start_device (session, error))
    return NULL;
  if (vring->size > size_max) {
    g_set_error (error, VD_SESSION_ERROR, VD_SESSION_ERROR_KEEP,
                 "ring %u of %u entries: queue-size-max is %" G_GUINT64_FORMAT,
                 vring->index, vring->size, size_max);
    return NULL;
  }
  if (ring_worker (vring, error) == NULL)
    return NULL;
  return vd_queue_new (&setup, &dev->ops->queue, dev, dev->control, error);
}

/* Makes the queue if the ring is started, enabled and described; n_pending counts
 * it until it runs. */
static gboolean
try_start (VdVring *vring, GError **error)
{
  g_autoptr (GError) local = NULL;

  vring->refused = NULL;
  if (vring->queue != NULL || !vring->started || !vring->enabled ||
      vring->broken || !vring->has_addr)
    return TRUE;
  vd_session_iotlb_forget (vring);
  vring->queue = make_queue (vring, &local);
  if (vring->queue != NULL) {
    vring->session->n_pending++;
    vd_queue_attach (vring->queue, ring_worker (vring, NULL));
    return TRUE;
  }
  if (vring->miss.access != 0) {
    const VdMiss miss = vring->miss;

    vd_session_miss (vring, &miss); /* it starts when that has come */
    return TRUE;
  }
  g_set_error (error, VD_SESSION_ERROR, VD_SESSION_ERROR_KEEP,
               "ring %u cannot start: %s", vring->index, local->message);
  return FALSE;
}

void
vd_session_retry_start (VdVring *vring)
{
  VdSession *session = vring->session;
  g_autoptr (GError) error = NULL;

  if (!try_start (vring, &error))
    vd_log_limited (&session->log, session->dev->id, "%s", error->message);
}

/* After try_start(), when nothing is pending any more. */
static gboolean
check_started (const VdVring *vring, GError **error)
{
  if (vring->refused == NULL)
    return TRUE;
  g_set_error (error, VD_SESSION_ERROR, VD_SESSION_ERROR_KEEP,
               "ring %u cannot start: %s (%u entries)", vring->index,
               vring->refused, vring->size);
  return FALSE;
}

/* Commands. */

static void
post (VdVring *vring, VdQueueCommandType type,
      void (*done) (VdQueueCommand *command, int result))
{
  vring->command.type = type;
  vring->command.done = done;
  vring->command.user_data = vring;
  vring->session->n_pending++;
  vd_queue_command (vring->queue, &vring->command);
}

static void
command_done (VdQueueCommand *command, int result)
{
  VdVring *vring = command->user_data;

  vd_session_unpend (vring->session);
}

gboolean
vd_session_any_running (const VdSession *session)
{
  for (guint i = 0; i < session->n_vrings; i++)
    if (session->vrings[i].queue != NULL)
      return TRUE;
  return FALSE;
}

static void
stop_device (VdSession *session)
{
  VdDevice *dev = session->dev;

  session->device_started = FALSE;
  if (dev->ops->stopped != NULL && dev->ops->stopped (dev) == VD_LATER)
    session->n_pending++;
}

static void
stop_done (VdQueueCommand *command, int result)
{
  VdVring *vring = command->user_data;
  VdSession *session = vring->session;

  vring->base = vd_queue_base (vring->queue);
  g_clear_pointer (&vring->queue, vd_queue_free);
  vd_session_iotlb_forget (vring);
  if (!vd_session_any_running (session))
    stop_device (session);
  command_done (command, result);
}

static void
stop (VdVring *vring)
{
  VdSession *session = vring->session;

  /* When the connection ends, the front-end has what is in flight. */
  vring->command.value = session->ended;
  if (vring->queue != NULL)
    post (vring, VD_QUEUE_STOP, stop_done);
  else if (vring->miss.access != 0) {
    vd_session_iotlb_forget (vring);
    if (session->device_started && !vd_session_any_running (session))
      stop_device (session);
  }
}

void
vd_session_stop_all (VdSession *session)
{
  for (guint i = 0; i < session->n_vrings; i++)
    stop (&session->vrings[i]);
}

static void
memory_done (VdQueueCommand *command, int result)
{
  g_clear_pointer (&command->map, vd_map_unref);
  g_clear_pointer (&command->dirty, vd_dirty_unref);
  command_done (command, result);
}

static void
post_memory (VdVring *vring, VdMap *map)
{
  VdDirty *dirty = vd_session_dirty (vring->session);

  if (vring->queue == NULL)
    return;
  vring->command.map = vd_map_ref (map);
  vring->command.dirty = dirty != NULL ? vd_dirty_ref (dirty) : NULL;
  vring->command.value = vring->dirty_ring;
  post (vring, VD_QUEUE_MEMORY, memory_done);
}

void
vd_session_post_retry (VdVring *vring, gboolean granted)
{
  vring->command.value = granted;
  post (vring, VD_QUEUE_RETRY, command_done);
}

void
vd_session_post_invalidate (VdSession *session, guint64 first, guint64 last)
{
  for (guint i = 0; i < session->n_vrings; i++) {
    VdVring *vring = &session->vrings[i];

    if (vring->queue == NULL)
      continue;
    vring->command.first = first;
    vring->command.last = last;
    post (vring, VD_QUEUE_INVALIDATE, command_done);
  }
}

VdDirty *
vd_session_dirty (const VdSession *session)
{
  return (session->features >> VD_F_LOG_ALL) & 1 ? session->dirty : NULL;
}

void
vd_session_post_memory (VdSession *session, VdMap *map)
{
  for (guint i = 0; i < session->n_vrings; i++)
    post_memory (&session->vrings[i], map);
}

gboolean
vd_session_rings_fit (VdSession *session, const VdMap *map, GError **error)
{
  for (guint i = 0; i < session->n_vrings; i++)
    if (session->vrings[i].queue != NULL && !session->vrings[i].broken &&
        !vd_queue_fits (session->vrings[i].queue, map)) {
      g_set_error (error, VD_SESSION_ERROR, VD_SESSION_ERROR_REFUSED,
                   "ring %u runs in the memory that would go", i);
      return FALSE;
    }
  return TRUE;
}

/* Messages about one ring. */

static guint
message_index (const VdMessage *message)
{
  switch (message->header.request) {
  case VD_SET_VRING_KICK:
  case VD_SET_VRING_CALL:
  case VD_SET_VRING_ERR:
    return (guint) (message->payload.u64 & VD_VRING_INDEX_MASK);
  default: return message->payload.state.index; /* or addr.index, the same */
  }
}

static VdVring *
find_vring (VdSession *session, GError **error)
{
  guint index = message_index (&session->message);

  if (index < session->n_vrings)
    return &session->vrings[index];
  g_set_error (error, VD_SESSION_ERROR, VD_SESSION_ERROR_REFUSED,
               "%s: ring %u of a device that has %u",
               vd_message_rule (session->message.header.request)->name, index,
               session->n_vrings);
  return NULL;
}

static gboolean
same_address (const VdVring *vring, const VdWireVringAddr *addr)
{
  return vring->has_addr && vring->desc == addr->desc &&
         vring->avail == addr->avail && vring->used == addr->used;
}

/* Stores what the message says.  The queue does not run. */
static gboolean
apply (VdVring *vring, VdMessage *message, GError **error)
{
  const VdWireVringAddr *addr = &message->payload.addr;

  switch (message->header.request) {
  case VD_SET_VRING_NUM: vring->size = message->payload.state.num; break;
  case VD_SET_VRING_BASE: vring->base = message->payload.state.num; break;
  case VD_SET_VRING_ADDR:
    vring->desc = addr->desc;
    vring->avail = addr->avail;
    vring->used = addr->used;
    vring->dirty_ring = addr->flags & VD_VRING_ADDR_LOG;
    vring->has_addr = TRUE;
    break;
  case VD_SET_VRING_KICK: {
    vd_autofd fd = vd_message_take_fd (message, 0);

    if (fd >= 0 && !vd_fd_is_eventfd (fd)) {
      g_set_error (error, VD_SESSION_ERROR, VD_SESSION_ERROR_REFUSED,
                   "SET_VRING_KICK: ring %u: the descriptor is no eventfd",
                   vring->index);
      return FALSE;
    }
    vring->inband_kick = fd < 0 && vd_session_is_inband (vring->session);
    if (vring->inband_kick)
      fd = vd_session_inband_fd ();
    vd_clear_fd (&vring->kick_fd);
    vring->kick_fd = vd_steal_fd (&fd);
    vring->started = TRUE;
    break;
  }
  default: break;
  }
  vring->broken = FALSE;
  return TRUE;
}

static VdHandled
finish_start (VdSession *session, GError **error)
{
  return check_started (find_vring (session, error), error) ? VD_DONE
                                                            : VD_FAILED;
}

/* The queue, if there was one, has stopped. */
static VdHandled
finish_description (VdSession *session, GError **error)
{
  VdVring *vring = find_vring (session, error);
  gboolean kick = session->message.header.request == VD_SET_VRING_KICK;
  g_autoptr (GError) early = NULL;

  if (!apply (vring, &session->message, error))
    return VD_FAILED;
  /* Between two messages a description may make no sense yet: only the last
   * one, KICK or ENABLE, is told so. */
  if (!try_start (vring, kick ? error : &early))
    return kick ? VD_FAILED : VD_DONE;
  return vd_session_park (session, kick ? finish_start : NULL, error);
}

static VdHandled
set_enable (VdSession *session, VdVring *vring, GError **error)
{
  guint32 value = session->message.payload.state.num;

  if (value > 1) {
    g_set_error (error, VD_SESSION_ERROR, VD_SESSION_ERROR_REFUSED,
                 "SET_VRING_ENABLE: ring %u: %u is neither 0 nor 1",
                 vring->index, value);
    return VD_FAILED;
  }
  vring->enabled = value != 0;
  if (vring->queue == NULL)
    return try_start (vring, error)
               ? vd_session_park (session, finish_start, error)
               : VD_FAILED;
  vring->command.value = vring->enabled;
  post (vring, VD_QUEUE_ENABLE, command_done);
  return vd_session_park (session, NULL, error);
}

static VdHandled
set_notifier (VdSession *session, VdVring *vring, gboolean call, GError **error)
{
  VdNotifier *current = call ? &vring->call : &vring->err;
  guint *source = call ? &vring->call_source : &vring->err_source;
  int fd = vd_message_take_fd (&session->message, 0);
  gboolean inband = fd < 0 && vd_session_is_inband (session);
  VdNotifier next;
  g_autoptr (GError) local = NULL;

  if (inband)
    fd = vd_session_inband_fd ();
  if (!vd_notifier_init (&next, fd, &local)) {
    g_set_error (error, VD_SESSION_ERROR, VD_SESSION_ERROR_REFUSED,
                 "%s: ring %u: %s", call ? "SET_VRING_CALL" : "SET_VRING_ERR",
                 vring->index, local->message);
    return VD_FAILED;
  }
  g_clear_handle_id (source, g_source_remove);
  if (inband && fd >= 0)
    *source = vd_session_inband_watch (vring, fd, call);
  session->old_fd = current->fd;
  *current = next;
  if (vring->queue != NULL) {
    vring->command.notifier = next;
    post (vring, call ? VD_QUEUE_CALL : VD_QUEUE_ERR, command_done);
  }
  return vd_session_park (session, NULL, error);
}

VdHandled
vd_session_vring_message (VdSession *session, GError **error)
{
  VdMessage *message = &session->message;
  VdVring *vring = find_vring (session, error);

  if (vring == NULL)
    return VD_FAILED;
  switch (message->header.request) {
  case VD_SET_VRING_ENABLE: return set_enable (session, vring, error);
  case VD_SET_VRING_CALL: return set_notifier (session, vring, TRUE, error);
  case VD_SET_VRING_ERR: return set_notifier (session, vring, FALSE, error);
  case VD_VRING_KICK: return vd_session_kick (session, vring, error);
  case VD_SET_VRING_ADDR:
    if (vring->queue != NULL && same_address (vring, &message->payload.addr)) {
      /* Migration begins or ends: only the log changes. */
      vring->dirty_ring = message->payload.addr.flags & VD_VRING_ADDR_LOG;
      post_memory (vring, session->map);
      return vd_session_park (session, NULL, error);
    }
    break;
  default: break;
  }
  stop (vring);
  return vd_session_park (session, finish_description, error);
}

static VdHandled
finish_get_base (VdSession *session, GError **error)
{
  VdVring *vring = find_vring (session, error);
  const VdWireVringState state = { vring->index, vring->base };

  vring->started = FALSE;
  vring->broken = FALSE;
  return vd_session_reply (session, &state, sizeof state, error);
}

VdHandled
vd_session_get_vring_base (VdSession *session, GError **error)
{
  VdVring *vring = find_vring (session, error);

  if (vring == NULL)
    return VD_FAILED;
  stop (vring);
  return vd_session_park (session, finish_get_base, error);
}

/* Messages about all rings. */

static VdHandled
finish_reset (VdSession *session, GError **error)
{
  VdDevice *dev = session->dev;

  for (guint i = 0; i < session->n_vrings; i++) {
    VdVring *vring = &session->vrings[i];

    vring->started = vring->broken = FALSE;
    vring->base = 0;
    /* Without ENABLE messages rings are never disabled. */
    vring->enabled = !((session->features >> VD_F_PROTOCOL_FEATURES) & 1);
  }
  if (dev->ops->reset != NULL)
    dev->ops->reset (dev);
  return VD_DONE;
}

VdHandled
vd_session_reset_device (VdSession *session, GError **error)
{
  vd_session_stop_all (session);
  return vd_session_park (session, finish_reset, error);
}

/* The message that enabled them did not fail if one of them did. */
static VdHandled
finish_enable_all (VdSession *session, GError **error)
{
  for (guint i = 0; i < session->n_vrings; i++) {
    g_autoptr (GError) local = NULL;

    if (!check_started (&session->vrings[i], &local))
      vd_log_limited (&session->log, session->dev->id, "%s", local->message);
    session->vrings[i].refused = NULL;
  }
  return VD_DONE;
}

VdHandled
vd_session_enable_all (VdSession *session, GError **error)
{
  for (guint i = 0; i < session->n_vrings; i++) {
    g_autoptr (GError) local = NULL;

    session->vrings[i].enabled = TRUE;
    if (!try_start (&session->vrings[i], &local))
      vd_log_limited (&session->log, session->dev->id, "%s", local->message);
  }
  return vd_session_park (session, finish_enable_all, error);
}

void
vd_session_vrings_init (VdSession *session)
{
  session->n_vrings = session->dev->n_queues;
  session->vrings = g_new0 (VdVring, session->n_vrings);
  for (guint i = 0; i < session->n_vrings; i++) {
    VdVring *vring = &session->vrings[i];

    vring->session = session;
    vring->index = i;
    vring->kick_fd = -1;
    vring->call = vring->err = (VdNotifier) VD_NOTIFIER_INIT;
  }
}

void
vd_session_vrings_clear (VdSession *session)
{
  for (guint i = 0; i < session->n_vrings; i++) {
    VdVring *vring = &session->vrings[i];

    vd_worker_free (vring->worker);
    g_clear_handle_id (&vring->call_source, g_source_remove);
    g_clear_handle_id (&vring->err_source, g_source_remove);
    vd_clear_fd (&vring->kick_fd);
    vd_notifier_clear (&vring->call);
    vd_notifier_clear (&vring->err);
  }
  g_clear_pointer (&session->vrings, g_free);
}
