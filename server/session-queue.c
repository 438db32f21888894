/* SPDX-License-Identifier: BSD-3-Clause
 *
 * session-queue.c - the queues of rings: their start, and what they are told
 *
 * A queue is made, and everything checked, at the moment when its ring is both
 * started and enabled.  Whatever waits for queues is counted in n_pending.
 */
#define G_LOG_DOMAIN "virtiod"

#include "server/session-private.h"

#include <gio/gio.h>
#include <linux/virtio_config.h>

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

/* The ring was read: then what waits for it may go on.  A queue that cannot
 * start is taken away first. */
static void
on_started (VdQueue *queue, const char *why, gpointer owner)
{
  VdVring *vring = owner;

  vring->refused = why;
  if (why != NULL)
    vd_vring_stop (vring);
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
        : dev->iopoll ? vd_worker_new_iopoll (name, dev->pool, error)
                      : vd_worker_new (name, dev->pool, FALSE, error);
    if (owner->worker != NULL)
      vd_worker_set_spin (owner->worker,
                          (guint) vd_options_uint (dev->options, "busy-poll"));
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
gboolean
vd_vring_start (VdVring *vring, GError **error)
{
  g_autoptr (GError) local = NULL;

  vring->refused = NULL;
  if (vring->queue != NULL || !vring->started || !vring->enabled ||
      vring->broken || !vring->has_addr)
    return TRUE;
  if (vd_session_state_busy (vring->session)) {
    g_set_error (error, VD_SESSION_ERROR, VD_SESSION_ERROR_KEEP,
                 "ring %u cannot start: the device's state is being moved",
                 vring->index);
    return FALSE;
  }
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

  if (!vd_vring_start (vring, &error))
    vd_log_limited (&session->log, session->dev->id, "%s", error->message);
}

/* After vd_vring_start(), when nothing is pending any more. */
gboolean
vd_vring_check_started (const VdVring *vring, GError **error)
{
  if (vring->refused == NULL)
    return TRUE;
  g_set_error (error, VD_SESSION_ERROR, VD_SESSION_ERROR_KEEP,
               "ring %u cannot start: %s (%u entries)", vring->index,
               vring->refused, vring->size);
  return FALSE;
}

/* Commands. */

void
vd_vring_post (VdVring *vring, VdQueueCommandType type,
               void (*done) (VdQueueCommand *command, int result))
{
  vring->command.type = type;
  vring->command.done = done;
  vring->command.user_data = vring;
  vring->session->n_pending++;
  vd_queue_command (vring->queue, &vring->command);
}

void
vd_vring_command_done (VdQueueCommand *command, int result)
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
  vd_vring_command_done (command, result);
}

void
vd_vring_stop (VdVring *vring)
{
  VdSession *session = vring->session;

  /* When the connection ends, the front-end has what is in flight. */
  vring->command.value = session->ended;
  if (vring->queue != NULL)
    vd_vring_post (vring, VD_QUEUE_STOP, stop_done);
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
    vd_vring_stop (&session->vrings[i]);
}

static void
memory_done (VdQueueCommand *command, int result)
{
  g_clear_pointer (&command->map, vd_map_unref);
  g_clear_pointer (&command->dirty, vd_dirty_unref);
  vd_vring_command_done (command, result);
}

void
vd_vring_post_memory (VdVring *vring, VdMap *map)
{
  VdDirty *dirty = vd_session_dirty (vring->session);

  if (vring->queue == NULL)
    return;
  vring->command.map = vd_map_ref (map);
  vring->command.dirty = dirty != NULL ? vd_dirty_ref (dirty) : NULL;
  vring->command.value = vring->dirty_ring;
  vd_vring_post (vring, VD_QUEUE_MEMORY, memory_done);
}

void
vd_session_post_retry (VdVring *vring, gboolean granted)
{
  vring->command.value = granted;
  vd_vring_post (vring, VD_QUEUE_RETRY, vd_vring_command_done);
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
    vd_vring_post (vring, VD_QUEUE_INVALIDATE, vd_vring_command_done);
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
    vd_vring_post_memory (&session->vrings[i], map);
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
