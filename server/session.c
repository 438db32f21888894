/* SPDX-License-Identifier: BSD-3-Clause
 *
 * session.c - messages in, replies out, one at a time
 *
 * A handler either finishes a message or parks it: then the socket is left
 * alone until all that it waits for is done, and only this connection waits.
 * Each turn of the main loop takes a bounded number of messages, so that a
 * flood on one socket does not delay another.
 */
#define G_LOG_DOMAIN "virtiod"

#include "server/session-private.h"

#include <errno.h>
#include <glib-unix.h>
#include <linux/virtio_config.h>
#include <linux/virtio_ring.h>
#include <string.h>

#include "protocol/names.h"
#include "vring/fd.h"

#define MESSAGES_A_TURN 32

GQuark
vd_session_error_quark (void)
{
  return g_quark_from_static_string ("vd-session-error");
}

/* What every device offers besides its own bits. */
#define TRANSPORT_FEATURES                                                     \
  ((G_GUINT64_CONSTANT (1) << VIRTIO_F_VERSION_1) |                            \
   (G_GUINT64_CONSTANT (1) << VIRTIO_RING_F_INDIRECT_DESC) |                   \
   (G_GUINT64_CONSTANT (1) << VIRTIO_RING_F_EVENT_IDX) |                       \
   (G_GUINT64_CONSTANT (1) << VIRTIO_F_RING_PACKED) |                          \
   (G_GUINT64_CONSTANT (1) << VIRTIO_F_RING_RESET) |                           \
   (G_GUINT64_CONSTANT (1) << VD_F_LOG_ALL) |                                  \
   (G_GUINT64_CONSTANT (1) << VD_F_PROTOCOL_FEATURES))

/* GPA_ADDRESSES needs nothing more: such a front-end repeats a gpa as uva. */
#define PROTOCOL_FEATURES                                                      \
  ((G_GUINT64_CONSTANT (1) << VD_PROTOCOL_F_MQ) |                              \
   (G_GUINT64_CONSTANT (1) << VD_PROTOCOL_F_LOG_SHMFD) |                       \
   (G_GUINT64_CONSTANT (1) << VD_PROTOCOL_F_REPLY_ACK) |                       \
   (G_GUINT64_CONSTANT (1) << VD_PROTOCOL_F_BACKEND_REQ) |                     \
   (G_GUINT64_CONSTANT (1) << VD_PROTOCOL_F_RESET_DEVICE) |                    \
   (G_GUINT64_CONSTANT (1) << VD_PROTOCOL_F_CONFIGURE_MEM_SLOTS) |             \
   (G_GUINT64_CONSTANT (1) << VD_PROTOCOL_F_STATUS) |                          \
   (G_GUINT64_CONSTANT (1) << VD_PROTOCOL_F_GPA_ADDRESSES))

/* Only together with in-flight tracking.  Our stop drains in either case, so
 * that a request is never both ours and the destination's. */
#define INFLIGHT_FEATURES                                                      \
  ((G_GUINT64_CONSTANT (1) << VD_PROTOCOL_F_INFLIGHT_SHMFD) |                  \
   (G_GUINT64_CONSTANT (1) << VD_PROTOCOL_F_GET_VRING_BASE_INFLIGHT) |         \
   (G_GUINT64_CONSTANT (1) << VD_PROTOCOL_F_GET_VRING_BASE_SKIP_DRAIN))

/* A mapping is a descriptor that we send. */
#define SHMEM_FEATURES                                                         \
  ((G_GUINT64_CONSTANT (1) << VD_PROTOCOL_F_SHMEM) |                           \
   (G_GUINT64_CONSTANT (1) << VD_PROTOCOL_F_BACKEND_SEND_FD))

static void session_watch (VdSession *session);
static void session_advance (VdSession *session);

VdHandled
vd_session_reply_fd (VdSession *session, const void *payload, gsize size,
                     int fd, GError **error)
{
  return vd_connection_send (session->connection,
                             session->message.header.request, VD_REPLY_FLAGS,
                             payload, size, fd, error)
             ? VD_REPLIED
             : VD_FAILED;
}

VdHandled
vd_session_reply (VdSession *session, const void *payload, gsize size,
                  GError **error)
{
  return vd_session_reply_fd (session, payload, size, -1, error);
}

static VdHandled
reply_u64 (VdSession *session, guint64 value, GError **error)
{
  return vd_session_reply (session, &value, sizeof value, error);
}

static VdHandled
finish_nothing (VdSession *session, GError **error)
{
  return VD_DONE;
}

VdHandled
vd_session_park (VdSession *session, VdFinish finish, GError **error)
{
  session->finish = finish != NULL ? finish : finish_nothing;
  return VD_PARKED;
}

/* Features. */

static guint64
offered_features (const VdSession *session)
{
  const VdOptions *options = session->dev->options;
  guint64 iommu = vd_options_bool (options, "iommu");
  guint64 in_order = vd_options_bool (options, "in-order");

  return session->dev->features | TRANSPORT_FEATURES |
         iommu << VIRTIO_F_ACCESS_PLATFORM | in_order << VIRTIO_F_IN_ORDER;
}

static guint64
offered_protocol_features (const VdSession *session)
{
  guint64 config = session->dev->offer_config;

  return PROTOCOL_FEATURES | config << VD_PROTOCOL_F_CONFIG |
         (session->dev->resubmits ? INFLIGHT_FEATURES : 0) |
         (vd_options_bool (session->dev->options, "in-band-notifications")
              ? G_GUINT64_CONSTANT (1) << VD_PROTOCOL_F_INBAND_NOTIFICATIONS
              : 0) |
         (session->dev->ops->save != NULL
              ? G_GUINT64_CONSTANT (1) << VD_PROTOCOL_F_DEVICE_STATE
              : 0) |
         (session->dev->shm_sizes != NULL ? SHMEM_FEATURES : 0) |
         (vd_options_bool (session->dev->options, "postcopy")
              ? G_GUINT64_CONSTANT (1) << VD_PROTOCOL_F_PAGEFAULT
              : 0);
}

static VdHandled
set_features (VdSession *session, GError **error)
{
  guint64 wanted = session->message.payload.u64;
  guint64 unknown = wanted & ~offered_features (session), changed;

  /* Some front-ends ack what was never offered: told, and not taken. */
  if (unknown != 0)
    vd_log_limited (&session->log, session->dev->id,
                    "SET_FEATURES: 0x%" G_GINT64_MODIFIER
                    "x was never offered and is ignored",
                    unknown);
  changed = session->features ^ (wanted & ~unknown);
  session->features = wanted & ~unknown;
  vd_session_iotlb_features (session);
  if ((changed >> VD_F_LOG_ALL) & 1)
    vd_session_post_memory (session, session->map);
  /* A driver that binds anew may ack others before the old one's rings have all
   * stopped: the next queue tells the device. */
  if ((changed & ~(G_GUINT64_CONSTANT (1) << VD_F_LOG_ALL)) != 0)
    session->device_started = FALSE;
  if (!((session->features >> VD_F_PROTOCOL_FEATURES) & 1))
    return vd_session_enable_all (session, error);
  return vd_session_park (session, NULL, error);
}

static VdHandled
set_protocol_features (VdSession *session, GError **error)
{
  if (!vd_session_check_inband (session->message.payload.u64, error))
    return VD_FAILED;
  session->protocol_features =
      session->message.payload.u64 & offered_protocol_features (session);
  return VD_DONE;
}

/* The front-end's driver sets it bit by bit.  Zero comes whenever a VM is
 * stopped, also for a pause, so it must not reset the device. */
static VdHandled
set_status (VdSession *session, GError **error)
{
  session->status = session->message.payload.u64;
  if (!((session->features >> VIRTIO_F_VERSION_1) & 1))
    session->status &= ~(guint64) VIRTIO_CONFIG_S_FEATURES_OK;
  return VD_DONE;
}

/* One message. */

static VdHandled
handle (VdSession *session, GError **error)
{
  switch (session->message.header.request) {
  case VD_GET_FEATURES:
    return reply_u64 (session, offered_features (session), error);
  case VD_SET_FEATURES: return set_features (session, error);
  case VD_GET_PROTOCOL_FEATURES:
    return reply_u64 (session, offered_protocol_features (session), error);
  case VD_SET_PROTOCOL_FEATURES: return set_protocol_features (session, error);
  case VD_SET_OWNER:
  case VD_RESET_OWNER: return VD_DONE; /* deprecated: to be ignored */
  case VD_GET_QUEUE_NUM: return reply_u64 (session, session->n_vrings, error);
  case VD_SET_MEM_TABLE: return vd_session_set_mem_table (session, error);
  case VD_GET_MAX_MEM_SLOTS:
    return reply_u64 (session, VD_MAP_REGIONS_MAX, error);
  case VD_ADD_MEM_REG: return vd_session_add_mem_reg (session, error);
  case VD_REM_MEM_REG: return vd_session_rem_mem_reg (session, error);
  case VD_POSTCOPY_ADVISE: return vd_session_postcopy_advise (session, error);
  case VD_POSTCOPY_LISTEN: return vd_session_postcopy_listen (session, error);
  case VD_POSTCOPY_END: return vd_session_postcopy_end (session, error);
  case VD_GET_INFLIGHT_FD: return vd_session_get_inflight (session, error);
  case VD_SET_INFLIGHT_FD: return vd_session_set_inflight (session, error);
  case VD_SET_LOG_BASE: return vd_session_set_log_base (session, error);
  case VD_SET_LOG_FD: return VD_DONE; /* nobody waits for it: closed */
  case VD_SET_VRING_NUM:
  case VD_SET_VRING_ADDR:
  case VD_SET_VRING_BASE:
  case VD_SET_VRING_KICK:
  case VD_SET_VRING_CALL:
  case VD_SET_VRING_ERR:
  case VD_VRING_KICK:
  case VD_SET_VRING_ENABLE: return vd_session_vring_message (session, error);
  case VD_GET_VRING_BASE:
  case VD_GET_VRING_BASE_SKIP_DRAIN:
    return vd_session_get_vring_base (session, error);
  case VD_SET_DEVICE_STATE_FD: return vd_session_set_state_fd (session, error);
  case VD_CHECK_DEVICE_STATE: return vd_session_check_state (session, error);
  case VD_SET_STATUS: return set_status (session, error);
  case VD_GET_STATUS: return reply_u64 (session, session->status, error);
  case VD_RESET_DEVICE: return vd_session_reset_device (session, error);
  case VD_GET_CONFIG: return vd_session_get_config (session, error);
  case VD_SET_CONFIG: return vd_session_set_config (session, error);
  case VD_SET_BACKEND_REQ_FD: return vd_session_set_channel (session, error);
  case VD_IOTLB_MSG: return vd_session_iotlb_message (session, error);
  case VD_GET_SHMEM_CONFIG: return vd_session_get_shmem_config (session, error);
  default:
    g_set_error (error, VD_SESSION_ERROR, VD_SESSION_ERROR_KEEP,
                 "%s is not served",
                 vd_request_name (session->message.header.request));
    return VD_FAILED;
  }
}

/* Whether the connection goes on after a message that failed without anybody
 * waiting for the answer. */
static gboolean
is_harmless (const GError *error)
{
  return g_error_matches (error, VD_MESSAGE_ERROR, VD_MESSAGE_ERROR_UNKNOWN) ||
         g_error_matches (error, VD_SESSION_ERROR, VD_SESSION_ERROR_KEEP);
}

/* Tells the front-end that its message failed, if there is a way to.
 * Returns: FALSE if the connection has to be closed. */
static gboolean
answer_failure (VdSession *session, const GError *error)
{
  const VdWireHeader *header = &session->message.header;
  const VdMessageRule *rule = vd_message_rule (header->request);

  session->n_refused++;
  vd_log_limited (&session->log, session->dev->id, "%s", error->message);
  if (header->request == VD_GET_CONFIG)
    return vd_session_reply (session, NULL, 0, NULL) == VD_REPLIED;
  if (header->request == VD_IOTLB_MSG)
    return reply_u64 (session, 1, NULL) == VD_REPLIED;
  if (rule != NULL && rule->reply && rule->served)
    return FALSE; /* what it waits for has no form for an error */
  if (header->flags & VD_FLAG_NEED_REPLY)
    return reply_u64 (session, 1, NULL) == VD_REPLIED;
  return is_harmless (error);
}

/* Ends the current message.  Returns: FALSE if the connection is lost. */
static gboolean
conclude (VdSession *session, VdHandled handled, const GError *error)
{
  gboolean alive = TRUE;

  if (handled == VD_FAILED)
    alive = answer_failure (session, error);
  else if (handled == VD_DONE &&
           (session->message.header.flags & VD_FLAG_NEED_REPLY))
    alive = reply_u64 (session, 0, NULL) == VD_REPLIED;
  vd_message_clear (&session->message);
  return alive;
}

/* Decodes and handles the message that was read. */
static void
dispatch (VdSession *session)
{
  g_autoptr (GError) error = NULL;
  VdHandled handled = VD_FAILED;

  session->n_messages++;
  session->useful = TRUE;
  if (vd_message_check (&session->message, session->protocol_features, &error))
    handled = handle (session, &error);
  if (handled != VD_PARKED && !conclude (session, handled, error))
    session->closing = TRUE;
}

/* Parking. */

void
vd_session_pend (VdSession *session)
{
  session->n_pending++;
  session_watch (session);
}

void
vd_session_unpend (VdSession *session)
{
  session->n_pending--;
  session_advance (session);
}

/* Everything that the parked message waited for is done. */
static void
finish_parked (VdSession *session)
{
  VdFinish finish = session->finish;
  g_autoptr (GError) error = NULL;
  VdHandled handled;

  session->finish = NULL;
  vd_clear_fd (&session->old_fd);
  handled = finish (session, &error);
  if (handled != VD_PARKED && !conclude (session, handled, error))
    session->closing = TRUE;
}

static void
session_free (VdSession *session)
{
  VdDevice *dev = session->dev;

  g_clear_handle_id (&session->input, g_source_remove);
  g_clear_handle_id (&session->output, g_source_remove);
  vd_session_state_clear (session);
  vd_session_channel_clear (session);
  vd_session_vrings_clear (session);
  vd_message_clear (&session->message);
  vd_clear_fd (&session->old_fd);
  vd_connection_free (session->connection);
  vd_map_unref (session->next_map);
  vd_map_unref (session->map);
  vd_dirty_unref (session->dirty);
  vd_inflight_unref (session->inflight);
  vd_iotlb_free (session->iotlb);
  dev->services = NULL;
  dev->session = NULL;
  if (dev->ops->reset != NULL)
    dev->ops->reset (dev);
  g_free (session);
}

/* Nothing is pending and the connection is to end. */
static void
session_end (VdSession *session)
{
  VdSessionClosed closed = session->closed;
  gpointer user_data = session->user_data;
  gboolean useful = session->useful;

  if (!session->ended) {
    session->ended = TRUE;
    /* Nothing that is still unread may start anything. */
    g_clear_handle_id (&session->input, g_source_remove);
    vd_session_stop_all (session);
    if (session->n_pending > 0)
      return;
  }
  session_free (session);
  closed (session, useful, user_data);
}

/* Goes on as far as possible: after something pending was done, and after each
 * message.  May free @session. */
static void
session_advance (VdSession *session)
{
  while (session->n_pending == 0 && session->finish != NULL)
    finish_parked (session);
  vd_session_iotlb_settle (session);
  if (session->closing)
    vd_session_postcopy_stop (session, TRUE); /* nobody brings pages any more */
  if (session->n_pending == 0 && session->closing)
    session_end (session);
  else
    session_watch (session);
}

/* The socket. */

/* Reads one message.  Returns: FALSE when it is time to stop reading. */
static gboolean
read_message (VdSession *session)
{
  g_autoptr (GError) error = NULL;

  switch (vd_connection_read (session->connection, &session->message, &error)) {
  case VD_READ_MESSAGE: dispatch (session); break;
  case VD_READ_AGAIN: return FALSE;
  case VD_READ_ERROR:
    vd_log_limited (&session->log, session->dev->id, "connection closed: %s",
                    error->message);
    session->closing = TRUE;
    break;
  case VD_READ_CLOSED: session->closing = TRUE; break;
  }
  while (session->n_pending == 0 && session->finish != NULL)
    finish_parked (session);
  return !session->closing && session->n_pending == 0;
}

static gboolean
on_input (gint fd, GIOCondition condition, gpointer data)
{
  VdSession *session = data;

  session->input = 0;
  for (guint i = 0; i < MESSAGES_A_TURN && read_message (session); i++)
    ;
  session_advance (session);
  return G_SOURCE_REMOVE;
}

static gboolean
on_output (gint fd, GIOCondition condition, gpointer data)
{
  VdSession *session = data;

  session->output = 0;
  if (!vd_connection_flush (session->connection, NULL))
    session->closing = TRUE;
  session_advance (session);
  return G_SOURCE_REMOVE;
}

/* Waits for what the connection needs next. */
static void
session_watch (VdSession *session)
{
  int fd = vd_connection_fd (session->connection);
  gboolean reading = session->n_pending == 0 && !session->closing;

  if (reading && session->input == 0)
    session->input =
        g_unix_fd_add (fd, G_IO_IN | G_IO_HUP | G_IO_ERR, on_input, session);
  else if (!reading)
    g_clear_handle_id (&session->input, g_source_remove);
  /* A peer that left makes its socket writable for ever. */
  if (vd_connection_has_output (session->connection) && session->output == 0 &&
      !session->closing)
    session->output = g_unix_fd_add (fd, G_IO_OUT, on_output, session);
}

VdSession *
vd_session_new (VdDevice *dev, int fd, VdSessionClosed closed,
                gpointer user_data)
{
  VdSession *session = g_new0 (VdSession, 1);

  session->dev = dev;
  session->connection = vd_connection_new (fd);
  session->closed = closed;
  session->user_data = user_data;
  session->map = vd_map_new ();
  session->old_fd = session->uffd = -1;
  vd_message_init (&session->message);
  vd_log_limit_init (&session->log);
  vd_session_vrings_init (session);
  dev->services = &vd_session_services;
  dev->session = session;
  session_watch (session);
  return session;
}

void
vd_session_close (VdSession *session)
{
  session->closing = TRUE;
  vd_session_state_abandon (session);
  session_advance (session);
}

void
vd_session_dump (const VdSession *session, GString *text)
{
  g_string_append_printf (text,
                          "features: 0x%" G_GINT64_MODIFIER
                          "x\nprotocol-features: 0x%" G_GINT64_MODIFIER
                          "x\nmemory-regions: %u\nmessages: %" G_GUINT64_FORMAT
                          "\nrefused: %" G_GUINT64_FORMAT
                          "\nbroken-queues: %" G_GUINT64_FORMAT "\n",
                          session->features, session->protocol_features,
                          vd_map_n_regions (session->map), session->n_messages,
                          session->n_refused, session->n_broken);
  if (vd_session_iotlb (session) != NULL)
    g_string_append_printf (text, "translations: %u\n",
                            vd_iotlb_n_entries (session->iotlb));
  for (guint i = 0; i < session->n_vrings; i++) {
    const VdVring *vring = &session->vrings[i];
    VdQueueStats stats;

    if (vring->queue == NULL)
      continue;
    vd_queue_stats (vring->queue, &stats);
    g_string_append_printf (
        text,
        "queue %u: %u entries, %" G_GUINT64_FORMAT " chains, %" G_GUINT64_FORMAT
        " batches, %" G_GUINT64_FORMAT " kicks, %" G_GUINT64_FORMAT
        " calls%s\n",
        i, vring->size, stats.chains, stats.batches, stats.kicks, stats.calls,
        vring->broken ? ", broken" : "");
  }
}
