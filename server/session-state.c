/* SPDX-License-Identifier: BSD-3-Clause
 *
 * session-state.c - SET_DEVICE_STATE_FD and CHECK_DEVICE_STATE
 *
 * The state goes through a pipe at the front-end's pace, a piece whenever the
 * main loop finds it ready.  The front-end asks for the result afterwards; if
 * it asks too early, its question is parked.
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
  guint source;  /* 0: ended */
  guint hangup;  /* while awaited: the end of the front-end's connection */
  guint32 direction;
  GBytes *stream;   /* SAVE: what is sent */
  gsize sent;       /* bytes of it */
  GByteArray *read; /* LOAD: what has come */
  gboolean ok;
  gboolean awaited; /* CHECK_DEVICE_STATE is parked */
};

void
vd_session_state_clear (VdSession *session)
{
  VdTransfer *transfer = g_steal_pointer (&session->transfer);

  if (transfer == NULL)
    return;
  g_clear_handle_id (&transfer->source, g_source_remove);
  g_clear_handle_id (&transfer->hangup, g_source_remove);
  vd_clear_fd (&transfer->fd);
  vd_clear_fd (&transfer->own[0]);
  vd_clear_fd (&transfer->own[1]);
  g_clear_pointer (&transfer->stream, g_bytes_unref);
  g_clear_pointer (&transfer->read, g_byte_array_unref);
  g_free (transfer);
}

/* The last piece went, or something failed: the front-end sees the end of the
 * stream.  May free the session. */
static void
transfer_end (VdTransfer *transfer, gboolean ok, const char *why)
{
  VdSession *session = transfer->session;

  transfer->ok = ok;
  transfer->source = 0;
  g_clear_handle_id (&transfer->hangup, g_source_remove);
  vd_clear_fd (&transfer->fd);
  if (!ok)
    vd_log_limited (&session->log, session->dev->id, "%s: %s",
                    transfer->direction == SAVE ? "the state was not saved"
                                                : "the state was not loaded",
                    why);
  if (transfer->awaited)
    vd_session_unpend (session);
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
  transfer_end (transfer, n > 0, n > 0 ? NULL : g_strerror (errno));
  return G_SOURCE_REMOVE;
}

static gboolean
load (VdSession *session, GBytes *stream, GError **error)
{
  VdDevice *dev = session->dev;
  VdState state;

  if (vd_session_any_running (session)) {
    g_set_error (error, VD_SESSION_ERROR, VD_SESSION_ERROR_KEEP,
                 "a queue was started in the meantime");
    return FALSE;
  }
  if (!vd_state_decode (stream, &state, error))
    return FALSE;
  if (state.virtio_id != dev->virtio_id ||
      state.config_len != dev->config.len) {
    g_set_error (error, VD_STATE_ERROR, VD_STATE_ERROR_DAMAGED,
                 "it is of device %u with %u bytes of config space, this one "
                 "is device %u with %u",
                 state.virtio_id, state.config_len, dev->virtio_id,
                 dev->config.len);
    return FALSE;
  }
  return dev->ops->load (dev, state.config, state.device, state.device_len,
                         error);
}

/* The whole stream came. */
static void
finish_load (VdTransfer *transfer)
{
  g_autoptr (GBytes) stream =
      g_byte_array_free_to_bytes (g_steal_pointer (&transfer->read));
  g_autoptr (GError) error = NULL;
  gboolean ok = load (transfer->session, stream, &error);

  transfer_end (transfer, ok, ok ? NULL : error->message);
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
  if (n == 0)
    finish_load (transfer);
  else
    transfer_end (transfer, FALSE,
                  n < 0 ? g_strerror (errno) : "the stream is too long");
  return G_SOURCE_REMOVE;
}

static GBytes *
save (VdSession *session, GError **error)
{
  VdDevice *dev = session->dev;
  g_autoptr (GByteArray) own = g_byte_array_new ();
  g_autoptr (GBytes) stream = NULL;
  VdState state;

  if (!dev->ops->save (dev, own, error))
    return NULL;
  state = (VdState){
    .virtio_id = dev->virtio_id,
    .config = dev->config.bytes,
    .config_len = dev->config.len,
    .device = own->data,
    .device_len = own->len,
  };
  stream = vd_state_encode (&state);
  if (g_bytes_get_size (stream) <= VD_STATE_MAX)
    return g_steal_pointer (&stream);
  /* Here, where the guest can go on. */
  g_set_error (error, VD_SESSION_ERROR, VD_SESSION_ERROR_KEEP,
               "the state has %zu bytes, more than the %u that can be loaded",
               g_bytes_get_size (stream), VD_STATE_MAX);
  return NULL;
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

static gboolean
begin (VdSession *session, int *fd, GError **error)
{
  guint32 direction = session->message.payload.device_state.direction;
  g_autoptr (GBytes) stream = NULL;
  int own[2] = { -1, -1 };
  VdTransfer *transfer;

  if (!check_transfer (session, error))
    return FALSE;
  if (direction == SAVE && (stream = save (session, error)) == NULL)
    return FALSE;
  if (!open_own_pipe (*fd, direction, own, error))
    return FALSE;
  vd_session_state_clear (session);
  transfer = session->transfer = g_new0 (VdTransfer, 1);
  transfer->session = session;
  transfer->fd = vd_steal_fd (fd);
  transfer->is_socket = own[0] < 0;
  transfer->own[0] = own[0];
  transfer->own[1] = own[1];
  transfer->direction = direction;
  transfer->stream = g_steal_pointer (&stream);
  transfer->read = direction == LOAD ? g_byte_array_new () : NULL;
  transfer->source = g_unix_fd_add (
      transfer->fd,
      (direction == SAVE ? G_IO_OUT : G_IO_IN) | G_IO_HUP | G_IO_ERR,
      direction == SAVE ? on_writable : on_readable, transfer);
  return TRUE;
}

VdHandled
vd_session_set_state_fd (VdSession *session, GError **error)
{
  const guint64 use_given_fd = 0x100, failed = 0x101;
  vd_autofd fd = vd_message_take_fd (&session->message, 0);
  g_autoptr (GError) local = NULL;

  /* The reply has a form for failure: the source of a migration goes on. */
  if (begin (session, &fd, &local))
    return vd_session_reply (session, &use_given_fd, sizeof use_given_fd,
                             error);
  vd_log_limited (&session->log, session->dev->id, "%s", local->message);
  return vd_session_reply (session, &failed, sizeof failed, error);
}

static VdHandled
finish_check (VdSession *session, GError **error)
{
  guint64 result = session->transfer != NULL && session->transfer->ok ? 0 : 1;

  vd_session_state_clear (session);
  return vd_session_reply (session, &result, sizeof result, error);
}

static gboolean
on_hangup (gint fd, GIOCondition condition, gpointer data)
{
  VdTransfer *transfer = data;

  transfer->hangup = 0;
  g_clear_handle_id (&transfer->source, g_source_remove);
  transfer_end (transfer, FALSE, "the front-end left");
  return G_SOURCE_REMOVE;
}

VdHandled
vd_session_check_state (VdSession *session, GError **error)
{
  VdTransfer *transfer = session->transfer;

  if (transfer != NULL && transfer->source != 0) {
    transfer->awaited = TRUE;
    session->n_pending++;
    /* Its socket is not read while the question is parked. */
    transfer->hangup = g_unix_fd_add (vd_connection_fd (session->connection),
                                      G_IO_HUP | G_IO_ERR, on_hangup, transfer);
  }
  return vd_session_park (session, finish_check, error);
}

void
vd_session_state_abandon (VdSession *session)
{
  const VdTransfer *transfer = session->transfer;

  if (transfer != NULL && transfer->source != 0 && transfer->awaited)
    session->n_pending--;
  vd_session_state_clear (session);
}
