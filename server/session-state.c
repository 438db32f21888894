/* SPDX-License-Identifier: BSD-3-Clause
 *
 * session-state.c - SET_DEVICE_STATE_FD and CHECK_DEVICE_STATE
 *
 * The state is made when a transfer begins, and taken when all of it came, by
 * state-work.c; the front-end's messages wait meanwhile, so that nothing else
 * happens to the device.  In between it goes through a pipe at the front-end's
 * pace, a piece whenever the main loop finds it ready.  The front-end asks for
 * the result afterwards; if it asks too early, its question is parked.
 *
 * The front-end has the pipe too, and may take or fill in what poll() promised
 * us, or change its flags.  So sockets are used with MSG_DONTWAIT, and pipes
 * only by splice() from and to a pipe of our own, which has such a flag as well.
 */
#define G_LOG_DOMAIN "virtiod"

#include "server/session-private.h"

#include <errno.h>
#include <fcntl.h>
#include <glib-unix.h>
#include <string.h>
#include <sys/socket.h>
#include <sys/stat.h>
#include <unistd.h>

#include "server/state-work.h"
#include "server/state.h"
#include "vring/fd.h"

#define PIECE 4096 /* a pipe that polls as ready takes this much at once */

enum { SAVE = 0, LOAD = 1 };
enum { PHASE_STOPPED = 0 };

/* One transfer.  Freed with the session, or by the next transfer. */
struct VdTransfer {
  VdSession *session;
  int fd;
  gboolean is_socket;
  int own[2];    /* our own pipe, unless it is a socket */
  gsize own_len; /* SAVE: bytes that wait in it */
  guint source;  /* watches @fd; 0: not now */
  guint hangup;  /* while messages wait: the end of the connection */
  guint32 direction;
  gboolean working; /* by state-work.c; n_pending counts it */
  GBytes *stream;   /* SAVE: what is sent, once it was made */
  gsize sent;       /* bytes of it */
  GByteArray *read; /* LOAD: what has come */
  gboolean ok;
  gboolean awaited; /* CHECK_DEVICE_STATE is parked; n_pending counts it */
};

gboolean
vd_session_state_busy (const VdSession *session)
{
  return session->transfer != NULL && session->transfer->working;
}

/* Lets go of the front-end's descriptor, so that it sees the stream's end. */
static void
transfer_close (VdTransfer *transfer)
{
  g_clear_handle_id (&transfer->source, g_source_remove);
  g_clear_handle_id (&transfer->hangup, g_source_remove);
  vd_clear_fd (&transfer->fd);
}

void
vd_session_state_clear (VdSession *session)
{
  VdTransfer *transfer = g_steal_pointer (&session->transfer);

  if (transfer == NULL)
    return;
  transfer_close (transfer);
  vd_clear_fd (&transfer->own[0]);
  vd_clear_fd (&transfer->own[1]);
  g_clear_pointer (&transfer->stream, g_bytes_unref);
  g_clear_pointer (&transfer->read, g_byte_array_unref);
  g_free (transfer);
}

/* The last piece went, or something failed.  May free the session. */
static void
transfer_end (VdTransfer *transfer, gboolean ok, const char *why)
{
  VdSession *session = transfer->session;

  transfer->ok = ok;
  transfer_close (transfer);
  if (!ok)
    vd_log_limited (&session->log, session->dev->id, "%s: %s",
                    transfer->direction == SAVE ? "the state was not saved"
                                                : "the state was not loaded",
                    why);
  if (transfer->awaited)
    vd_session_unpend (session);
}

static gboolean
on_hangup (gint fd, GIOCondition condition, gpointer data)
{
  VdTransfer *transfer = data;

  transfer->hangup = 0;
  if (transfer->working)
    atomic_store (&transfer->session->dev->abandoned, TRUE);
  else
    transfer_end (transfer, FALSE, "the front-end left");
  return G_SOURCE_REMOVE;
}

/* Messages wait for the transfer: its socket is not read, so that the end of the
 * connection would not be seen. */
static void
watch_hangup (VdTransfer *transfer)
{
  int fd = vd_connection_fd (transfer->session->connection);

  if (transfer->hangup == 0)
    transfer->hangup =
        g_unix_fd_add (fd, G_IO_HUP | G_IO_ERR, on_hangup, transfer);
}

static void
work_begin (VdTransfer *transfer)
{
  transfer->working = TRUE;
  vd_session_pend (transfer->session);
  watch_hangup (transfer);
}

static void
work_end (VdTransfer *transfer)
{
  transfer->working = FALSE;
  g_clear_handle_id (&transfer->hangup, g_source_remove);
}

/* Like write() of at most PIECE bytes, and never waits. */
static gssize
send_piece (VdTransfer *transfer, const guint8 *bytes, gsize len)
{
  gssize n;

  if (transfer->is_socket)
    return send (transfer->fd, bytes, len, MSG_DONTWAIT | MSG_NOSIGNAL);
  if (transfer->own_len == 0) {
    n = write (transfer->own[1], bytes, len);
    if (n < 0)
      return n;
    transfer->own_len = (gsize) n;
  }
  n = splice (transfer->own[0], NULL, transfer->fd, NULL, transfer->own_len,
              SPLICE_F_NONBLOCK);
  if (n > 0)
    transfer->own_len -= (gsize) n;
  return n;
}

/* Like read() of at most PIECE bytes, and never waits. */
static gssize
receive_piece (VdTransfer *transfer, guint8 *to)
{
  gssize n;

  if (transfer->is_socket)
    return recv (transfer->fd, to, PIECE, MSG_DONTWAIT);
  n = splice (transfer->fd, NULL, transfer->own[1], NULL, PIECE,
              SPLICE_F_NONBLOCK);
  return n > 0 ? read (transfer->own[0], to, (gsize) n) : n;
}

static gboolean
on_writable (gint fd, GIOCondition condition, gpointer data)
{
  VdTransfer *transfer = data;
  gsize len;
  const guint8 *bytes = g_bytes_get_data (transfer->stream, &len);
  gssize n = send_piece (transfer, bytes + transfer->sent,
                         MIN (len - transfer->sent, PIECE));

  if (n < 0 && (errno == EAGAIN || errno == EINTR))
    return G_SOURCE_CONTINUE;
  if (n > 0)
    transfer->sent += (gsize) n;
  if (n > 0 && transfer->sent < len)
    return G_SOURCE_CONTINUE;
  transfer->source = 0;
  transfer_end (transfer, n > 0, n > 0 ? NULL : g_strerror (errno));
  return G_SOURCE_REMOVE;
}

/* Over when the device has taken the stream, or not. */
static void
on_loaded (gpointer data, GBytes *stream, const GError *error)
{
  VdTransfer *transfer = data;
  VdSession *session = transfer->session;

  work_end (transfer);
  transfer_end (transfer, error == NULL, error != NULL ? error->message : NULL);
  vd_session_unpend (session);
}

/* The whole stream came. */
static void
begin_load (VdTransfer *transfer)
{
  VdSession *session = transfer->session;

  if (vd_session_any_running (session)) {
    transfer_end (transfer, FALSE, "a queue was started in the meantime");
    return;
  }
  work_begin (transfer);
  vd_state_load (session->dev,
                 g_byte_array_free_to_bytes (g_steal_pointer (&transfer->read)),
                 on_loaded, transfer);
}

static gboolean
on_readable (gint fd, GIOCondition condition, gpointer data)
{
  VdTransfer *transfer = data;
  guint8 piece[PIECE];
  gssize n = receive_piece (transfer, piece);

  if (n < 0 && (errno == EAGAIN || errno == EINTR))
    return G_SOURCE_CONTINUE;
  if (n > 0 && transfer->read->len + (gsize) n <= VD_STATE_MAX) {
    g_byte_array_append (transfer->read, piece, (guint) n);
    return G_SOURCE_CONTINUE;
  }
  transfer->source = 0;
  if (n == 0)
    begin_load (transfer);
  else
    transfer_end (transfer, FALSE,
                  n < 0 ? g_strerror (errno) : "the stream is too long");
  return G_SOURCE_REMOVE;
}

static gboolean
refuse (GError **error, const char *why)
{
  g_set_error (error, VD_SESSION_ERROR, VD_SESSION_ERROR_KEEP,
               "SET_DEVICE_STATE_FD: %s", why);
  return FALSE;
}

static gboolean
check_transfer (VdSession *session, GError **error)
{
  const VdWireDeviceState *wire = &session->message.payload.device_state;

  if (wire->direction > LOAD || wire->phase != PHASE_STOPPED)
    return refuse (error, "unknown direction or phase");
  if (vd_session_any_running (session))
    return refuse (error, "a queue still runs");
  return TRUE;
}

/* @own: (out): the pipe of our own, which a transfer by @fd needs; -1: none */
static gboolean
open_own_pipe (int fd, guint32 direction, int own[2], GError **error)
{
  int flags = fcntl (fd, F_GETFL);
  struct stat st;

  if (flags < 0 || (flags & O_PATH) || fstat (fd, &st) < 0 ||
      !(S_ISFIFO (st.st_mode) || S_ISSOCK (st.st_mode)))
    return refuse (error, "the descriptor is neither a pipe nor a socket");
  if ((flags & O_ACCMODE) == (direction == SAVE ? O_RDONLY : O_WRONLY))
    return refuse (error, "the descriptor is the wrong end of a pipe");
  if (S_ISFIFO (st.st_mode) && pipe2 (own, O_CLOEXEC | O_NONBLOCK) < 0)
    return refuse (error, g_strerror (errno));
  return TRUE;
}

static void
transfer_new (VdSession *session, int *fd, const int own[2])
{
  guint32 direction = session->message.payload.device_state.direction;
  VdTransfer *transfer = g_new0 (VdTransfer, 1);

  transfer->session = session;
  transfer->fd = vd_steal_fd (fd);
  transfer->is_socket = own[0] < 0;
  transfer->own[0] = own[0];
  transfer->own[1] = own[1];
  transfer->direction = direction;
  transfer->read = direction == LOAD ? g_byte_array_new () : NULL;
  session->transfer = transfer;
}

/* Lets the bytes flow, and tells the front-end so. */
static VdHandled
transfer_start (VdSession *session, GError **error)
{
  const guint64 use_given_fd = 0x100;
  VdTransfer *transfer = session->transfer;
  gboolean saves = transfer->direction == SAVE;

  transfer->source = g_unix_fd_add (
      transfer->fd, (saves ? G_IO_OUT : G_IO_IN) | G_IO_HUP | G_IO_ERR,
      saves ? on_writable : on_readable, transfer);
  return vd_session_reply (session, &use_given_fd, sizeof use_given_fd, error);
}

/* The reply has a form for failure: the source of a migration goes on. */
static VdHandled
fail (VdSession *session, GError **error)
{
  const guint64 failed = 0x101;

  return vd_session_reply (session, &failed, sizeof failed, error);
}

static void
on_saved (gpointer data, GBytes *stream, const GError *error)
{
  VdTransfer *transfer = data;
  VdSession *session = transfer->session;

  work_end (transfer);
  if (error != NULL)
    vd_log_limited (&session->log, session->dev->id,
                    "the state was not saved: %s", error->message);
  else
    transfer->stream = g_bytes_ref (stream);
  vd_session_unpend (session);
}

static VdHandled
finish_save (VdSession *session, GError **error)
{
  if (session->transfer != NULL && session->transfer->stream != NULL)
    return transfer_start (session, error);
  vd_session_state_clear (session);
  return fail (session, error);
}

VdHandled
vd_session_set_state_fd (VdSession *session, GError **error)
{
  guint32 direction = session->message.payload.device_state.direction;
  vd_autofd fd = vd_message_take_fd (&session->message, 0);
  g_autoptr (GError) local = NULL;
  int own[2] = { -1, -1 };

  if (!check_transfer (session, &local) ||
      !open_own_pipe (fd, direction, own, &local)) {
    vd_log_limited (&session->log, session->dev->id, "%s", local->message);
    return fail (session, error);
  }
  vd_session_state_clear (session);
  transfer_new (session, &fd, own);
  if (direction == LOAD)
    return transfer_start (session, error);
  work_begin (session->transfer);
  vd_state_save (session->dev, on_saved, session->transfer);
  return vd_session_park (session, finish_save, error);
}

static VdHandled
finish_check (VdSession *session, GError **error)
{
  guint64 result = session->transfer != NULL && session->transfer->ok ? 0 : 1;

  vd_session_state_clear (session);
  return vd_session_reply (session, &result, sizeof result, error);
}

VdHandled
vd_session_check_state (VdSession *session, GError **error)
{
  VdTransfer *transfer = session->transfer;

  if (transfer != NULL && transfer->source != 0) {
    transfer->awaited = TRUE;
    session->n_pending++;
    watch_hangup (transfer);
  }
  return vd_session_park (session, finish_check, error);
}

void
vd_session_state_abandon (VdSession *session)
{
  const VdTransfer *transfer = session->transfer;

  if (transfer == NULL)
    return;
  if (transfer->working) { /* which ends on its own, and soon */
    atomic_store (&session->dev->abandoned, TRUE);
    return;
  }
  if (transfer->source != 0 && transfer->awaited)
    session->n_pending--;
  vd_session_state_clear (session);
}
