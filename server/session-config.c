/* SPDX-License-Identifier: BSD-3-Clause
 *
 * session-config.c - GET_CONFIG, SET_CONFIG, the back-end channel
 *
 * A front-end may write the whole space for one byte, with flags that mean one
 * thing in the specification and another in a VMM: so a write is a driver's
 * write, compared and masked by the device's VdConfig, unless the user says that
 * flags can be believed, and never a reason to close.
 */
#define G_LOG_DOMAIN "virtiod"

#include "server/session-private.h"

#include <errno.h>
#include <glib-unix.h>
#include <string.h>
#include <sys/socket.h>

#include "vring/fd.h"

/* More than a front-end can owe. */
#define ANSWERS_MAX 512

VdHandled
vd_session_get_config (VdSession *session, GError **error)
{
  VdWireConfig *config = &session->message.payload.config;

  /* The reply is as long as the request, whatever the device has. */
  vd_config_read (&session->dev->config, config->offset, config->payload,
                  config->size);
  return vd_session_reply (session, config, sizeof *config + config->size,
                           error);
}

static VdHandled
refuse_bounds (const VdSession *session, GError **error)
{
  const VdWireConfig *config = &session->message.payload.config;

  g_set_error (error, VD_SESSION_ERROR, VD_SESSION_ERROR_KEEP,
               "SET_CONFIG: bytes %u to %" G_GUINT64_FORMAT
               " are outside the config space of %u bytes",
               config->offset, (guint64) config->offset + config->size,
               session->dev->config.len);
  return VD_FAILED;
}

/* Whether a write is of the incoming side of a migration.  Its flags alone do
 * not say so: cloud-hypervisor sends 1 with its driver's writes. */
static gboolean
is_restore (const VdSession *session)
{
  if (session->message.payload.config.flags != VD_CONFIG_FLAG_MIGRATION ||
      !session->dev->restores_config)
    return FALSE;
  for (guint i = 0; i < session->n_vrings; i++)
    if (session->vrings[i].started)
      return FALSE;
  return TRUE;
}

static VdHandled
restore_config (VdSession *session, GError **error)
{
  const VdWireConfig *config = &session->message.payload.config;
  VdDevice *dev = session->dev;

  if (!vd_config_restore (&dev->config, config->offset, config->payload,
                          config->size))
    return refuse_bounds (session, error);
  /* What the device derives from config space follows. */
  return dev->ops->load (dev, dev->config.bytes, NULL, 0, error) ? VD_DONE
                                                                 : VD_FAILED;
}

VdHandled
vd_session_set_config (VdSession *session, GError **error)
{
  const VdWireConfig *config = &session->message.payload.config;
  VdDevice *dev = session->dev;
  guint offset, len;

  if (is_restore (session))
    return restore_config (session, error);
  if (!vd_config_write (&dev->config, config->offset, config->payload,
                        config->size, &offset, &len))
    return refuse_bounds (session, error);
  if (len > 0 && dev->ops->written != NULL &&
      dev->ops->written (dev, offset, len) == VD_LATER)
    session->n_pending++;
  return vd_session_park (session, NULL, error);
}

/* The back-end channel. */

static void
channel_lost (VdSession *session, const char *why)
{
  vd_log_limited (&session->log, session->dev->id,
                  "the back-end channel is closed: %s", why);
  vd_session_channel_clear (session);
}

static void channel_watch (VdSession *session);

static gboolean
on_channel_writable (gint fd, GIOCondition condition, gpointer data)
{
  VdSession *session = data;
  g_autoptr (GError) error = NULL;

  session->channel_output = 0;
  if (vd_connection_flush (session->channel, &error))
    channel_watch (session);
  else
    channel_lost (session, error->message);
  return G_SOURCE_REMOVE;
}

/* What the front-end has no room for yet goes out as soon as it has. */
static void
channel_watch (VdSession *session)
{
  if (vd_connection_has_output (session->channel) &&
      session->channel_output == 0)
    session->channel_output =
        g_unix_fd_add (vd_connection_fd (session->channel), G_IO_OUT,
                       on_channel_writable, session);
}

void
vd_session_channel_send_fd (VdSession *session, guint32 request, guint32 flags,
                            const void *payload, gsize size, int fd)
{
  g_autoptr (GError) error = NULL;

  if (vd_connection_send (session->channel, request, VD_WIRE_VERSION | flags,
                          payload, size, fd, &error))
    channel_watch (session);
  else
    channel_lost (session, error->message);
}

void
vd_session_channel_send (VdSession *session, guint32 request,
                         const void *payload, gsize size)
{
  vd_session_channel_send_fd (session, request, 0, payload, size, -1);
}

static void
send_change (VdSession *session)
{
  gboolean ack = (session->protocol_features >> VD_PROTOCOL_F_REPLY_ACK) & 1;

  session->change_pending = FALSE;
  session->change_unacked = ack;
  vd_session_channel_send_fd (session, VD_BACKEND_CONFIG_CHANGE_MSG,
                              ack ? VD_FLAG_NEED_REPLY : 0, NULL, 0, -1);
}

static gboolean
on_change (gpointer data)
{
  VdSession *session = data;

  session->change_source = 0;
  if (session->channel != NULL && session->change_pending &&
      !session->change_unacked &&
      ((session->protocol_features >> VD_PROTOCOL_F_CONFIG) & 1))
    send_change (session);
  return G_SOURCE_REMOVE;
}

static void
config_changed (VdDevice *dev)
{
  VdSession *session = dev->session;

  session->change_pending = TRUE;
  if (session->change_source == 0)
    session->change_source = g_idle_add (on_change, session);
}

static void
resume (VdDevice *dev)
{
  vd_session_unpend (dev->session);
}

const VdServices vd_session_services = {
  .config_changed = config_changed,
  .resume = resume,
  .shm_map = vd_session_shm_map,
  .shm_unmap = vd_session_shm_unmap,
  .shm_answers = vd_session_shm_answers,
};

/* The front-end only ever answers here, and what it answers to a change of config
 * space changes nothing: the next one may be told. */
static void
take_answer (VdSession *session, VdMessage *message)
{
  gboolean other = vd_session_shmem_answer (session, message) ||
                   vd_session_iotlb_answer (session, message);

  vd_message_clear (message);
  if (other)
    return;
  session->change_unacked = FALSE;
  if (session->change_pending)
    send_change (session);
}

/* Returns: whether there was a message. */
static gboolean
read_channel (VdSession *session)
{
  g_autoptr (GError) error = NULL;
  VdMessage message;

  vd_message_init (&message);
  switch (vd_connection_read (session->channel, &message, &error)) {
  case VD_READ_AGAIN: return FALSE;
  case VD_READ_MESSAGE: take_answer (session, &message); return TRUE;
  case VD_READ_CLOSED: vd_session_channel_clear (session); return FALSE;
  case VD_READ_ERROR: break;
  }
  channel_lost (session, error->message);
  return FALSE;
}

static gboolean
on_channel (gint fd, GIOCondition condition, gpointer data)
{
  VdSession *session = data;

  read_channel (session);
  return session->channel != NULL ? G_SOURCE_CONTINUE : G_SOURCE_REMOVE;
}

void
vd_session_channel_catch_up (VdSession *session)
{
  for (guint i = 0; i < ANSWERS_MAX && session->channel != NULL; i++)
    if (!read_channel (session))
      break;
}

void
vd_session_channel_clear (VdSession *session)
{
  g_clear_handle_id (&session->channel_input, g_source_remove);
  g_clear_handle_id (&session->channel_output, g_source_remove);
  g_clear_handle_id (&session->change_source, g_source_remove);
  g_clear_pointer (&session->channel, vd_connection_free);
  session->change_unacked = FALSE;
  vd_session_shmem_clear (session);
  vd_session_iotlb_channel_lost (session);
}

VdHandled
vd_session_set_channel (VdSession *session, GError **error)
{
  vd_autofd fd = vd_message_take_fd (&session->message, 0);
  int type = 0;
  socklen_t len = sizeof type;

  if (getsockopt (fd, SOL_SOCKET, SO_TYPE, &type, &len) < 0 ||
      type != SOCK_STREAM) {
    g_set_error (error, VD_SESSION_ERROR, VD_SESSION_ERROR_REFUSED,
                 "SET_BACKEND_REQ_FD: the descriptor is no stream socket");
    return VD_FAILED;
  }
  vd_session_channel_clear (session);
  session->channel = vd_connection_new (vd_steal_fd (&fd));
  session->channel_input =
      g_unix_fd_add (vd_connection_fd (session->channel),
                     G_IO_IN | G_IO_HUP | G_IO_ERR, on_channel, session);
  if (session->change_pending)
    config_changed (session->dev);
  vd_session_shmem_ready (session);
  vd_session_iotlb_ask (session);
  return VD_DONE;
}
