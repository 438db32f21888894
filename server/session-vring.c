/* SPDX-License-Identifier: BSD-3-Clause
 *
 * session-vring.c - what the front-end says of rings
 *
 * Front-ends describe a ring in any order, describe it again while it is
 * disabled, or enable rings that they never described.  So a description is
 * only stored until session-queue.c makes a queue of it.  A description that
 * changes under a running queue stops it first, and the queue is made anew.
 */
#define G_LOG_DOMAIN "virtiod"

#include "server/session-private.h"

#include <gio/gio.h>

#include "vring/fd.h"

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
  return vd_vring_check_started (find_vring (session, error), error)
             ? VD_DONE
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
  if (!vd_vring_start (vring, kick ? error : &early))
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
    return vd_vring_start (vring, error)
               ? vd_session_park (session, finish_start, error)
               : VD_FAILED;
  vring->command.value = vring->enabled;
  vd_vring_post (vring, VD_QUEUE_ENABLE, vd_vring_command_done);
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
    vd_vring_post (vring, call ? VD_QUEUE_CALL : VD_QUEUE_ERR,
                   vd_vring_command_done);
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
      vd_vring_post_memory (vring, session->map);
      return vd_session_park (session, NULL, error);
    }
    break;
  default: break;
  }
  vd_vring_stop (vring);
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
  vd_vring_stop (vring);
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
  /* What was answered before is gone with the reset, and what will be is not. */
  vd_session_channel_catch_up (session);
  if (dev->ops->reset != NULL)
    dev->ops->reset (dev);
  vd_session_shmem_ready (session); /* what was shown is gone */
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

    if (!vd_vring_check_started (&session->vrings[i], &local))
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
    if (!vd_vring_start (&session->vrings[i], &local))
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
