/* SPDX-License-Identifier: BSD-3-Clause
 *
 * session-inband.c - kicks and calls as messages (INBAND_NOTIFICATIONS)
 *
 * For simulations, in which every event must have its place among the messages.
 * Behind the messages stand eventfds of our own, so that queues need not know:
 * VRING_KICK writes one, and one that a queue wrote becomes VRING_CALL or
 * VRING_ERR on the back-end channel.
 */
#define G_LOG_DOMAIN "virtiod"

#include "server/session-private.h"

#include <errno.h>
#include <glib-unix.h>
#include <sys/eventfd.h>
#include <unistd.h>

#include "vring/fd.h"

/* Messages instead of descriptors need answers and a channel; a front-end that
 * acks one without the others contradicts itself. */
#define NEEDED (1u << VD_PROTOCOL_F_REPLY_ACK | 1u << VD_PROTOCOL_F_BACKEND_REQ)

gboolean
vd_session_is_inband (const VdSession *session)
{
  return (session->protocol_features >> VD_PROTOCOL_F_INBAND_NOTIFICATIONS) & 1;
}

gboolean
vd_session_check_inband (guint64 protocol_features, GError **error)
{
  if (!((protocol_features >> VD_PROTOCOL_F_INBAND_NOTIFICATIONS) & 1) ||
      (protocol_features & NEEDED) == NEEDED)
    return TRUE;
  g_set_error (error, VD_SESSION_ERROR, VD_SESSION_ERROR_REFUSED,
               "SET_PROTOCOL_FEATURES: INBAND_NOTIFICATIONS without REPLY_ACK "
               "and BACKEND_REQ");
  return FALSE;
}

int
vd_session_inband_fd (void)
{
  return eventfd (0, EFD_CLOEXEC | EFD_NONBLOCK);
}

VdHandled
vd_session_kick (VdSession *session, VdVring *vring, GError **error)
{
  const guint64 one = 1;

  if (vring->kick_fd < 0 || !vring->inband_kick) {
    g_set_error (error, VD_SESSION_ERROR, VD_SESSION_ERROR_KEEP,
                 "VRING_KICK: ring %u is not kicked by messages", vring->index);
    return VD_FAILED;
  }
  /* A full counter means that the queue was woken already. */
  if (write (vring->kick_fd, &one, sizeof one) < 0 && errno != EAGAIN)
    g_warning ("%s: VRING_KICK: %s", session->dev->id, g_strerror (errno));
  return VD_DONE;
}

static gboolean
on_event (VdVring *vring, int fd, guint32 request)
{
  const VdWireVringState state = { vring->index, 0 };
  VdSession *session = vring->session;
  guint64 count;

  if (read (fd, &count, sizeof count) == sizeof count &&
      session->channel != NULL)
    vd_session_channel_send (session, request, &state, sizeof state);
  return G_SOURCE_CONTINUE;
}

static gboolean
on_call (gint fd, GIOCondition condition, gpointer data)
{
  return on_event (data, fd, VD_BACKEND_VRING_CALL);
}

static gboolean
on_error (gint fd, GIOCondition condition, gpointer data)
{
  return on_event (data, fd, VD_BACKEND_VRING_ERR);
}

guint
vd_session_inband_watch (VdVring *vring, int fd, gboolean call)
{
  return g_unix_fd_add (fd, G_IO_IN, call ? on_call : on_error, vring);
}
