/* SPDX-License-Identifier: BSD-3-Clause
 *
 * nbd-attempt.c - see nbd-attempt.h
 */
#include "devices/blk/nbd-attempt.h"

#include <errno.h>
#include <gio/gio.h>
#include <libnbd.h>
#include <netinet/in.h>
#include <netinet/tcp.h>
#include <poll.h>
#include <stdatomic.h>
#include <stdbool.h>
#include <string.h>
#include <sys/eventfd.h>
#include <sys/socket.h>

#include "vring/fd.h"
#include "vring/thread.h"

#define CONNECT_MS 10000 /* for the connection and the negotiation */

/* A peer that is gone without a word is noticed after half a minute. */
#define IDLE_SECONDS  10
#define PROBE_SECONDS 5
#define N_PROBES      4
#define UNANSWERED_MS 30000

struct VdNbdAttempt {
  atomic_int n_refs; /* its owner and its thread */
  int event_fd;
  char *uri;
  VdMail start_mail;

  /* The thread's until event_fd is written. */
  struct nbd_handle *handle;
  char *error;
};

static void
unref (VdNbdAttempt *attempt)
{
  if (atomic_fetch_sub (&attempt->n_refs, 1) > 1)
    return;
  nbd_close (attempt->handle);
  vd_clear_fd (&attempt->event_fd);
  g_free (attempt->error);
  g_free (attempt->uri);
  g_free (attempt);
}

/* On a UNIX socket these fail, and nothing needs them. */
static void
watch_peer (int fd)
{
  static const struct {
    int level, name, value;
  } options[] = {
    { SOL_SOCKET, SO_KEEPALIVE, 1 },
    { IPPROTO_TCP, TCP_KEEPIDLE, IDLE_SECONDS },
    { IPPROTO_TCP, TCP_KEEPINTVL, PROBE_SECONDS },
    { IPPROTO_TCP, TCP_KEEPCNT, N_PROBES },
    { IPPROTO_TCP, TCP_USER_TIMEOUT, UNANSWERED_MS },
  };

  for (guint i = 0; i < G_N_ELEMENTS (options); i++)
    (void) setsockopt (fd, options[i].level, options[i].name, &options[i].value,
                       sizeof options[i].value);
}

/* Returns: whether the connection was begun. */
static bool
begin (struct nbd_handle *handle, const char *uri)
{
  /* A failed read may leave anything in the guest's buffer, as with any disk. */
  return nbd_set_pread_initialize (handle, false) == 0 &&
         nbd_set_uri_allow_local_file (handle, true) == 0 &&
         nbd_aio_connect_uri (handle, uri) == 0;
}

/* Returns: NULL, or what went wrong. */
static const char *
run (struct nbd_handle *handle, const char *uri)
{
  gint64 end = g_get_monotonic_time () + CONNECT_MS * 1000ll;

  if (!begin (handle, uri))
    return nbd_get_error ();
  while (nbd_aio_is_connecting (handle) == 1) {
    gint64 left_ms = (end - g_get_monotonic_time ()) / 1000;

    if (left_ms <= 0)
      return "the server does not answer";
    if (nbd_poll (handle, (int) left_ms) < 0)
      return nbd_get_error ();
  }
  if (nbd_aio_is_ready (handle) != 1)
    return "the server closed the connection";
  watch_peer (nbd_aio_get_fd (handle));
  return NULL;
}

/* @error: NULL if there is a handle */
static void
end (VdNbdAttempt *attempt, const char *error)
{
  attempt->error = g_strdup (error);
  eventfd_write (attempt->event_fd, 1);
  unref (attempt);
}

static void *
attempt_thread (void *data)
{
  VdNbdAttempt *attempt = data;
  struct nbd_handle *handle = nbd_create ();
  const char *error =
      handle != NULL ? run (handle, attempt->uri) : nbd_get_error ();

  if (error == NULL)
    attempt->handle = g_steal_pointer (&handle);
  end (attempt, error);
  nbd_close (handle);
  return NULL;
}

/* Returns: 0 or an errno. */
static int
start (VdNbdAttempt *attempt)
{
  return vd_thread_start (NULL, attempt_thread, attempt);
}

static void
run_start (VdMail *mail)
{
  VdNbdAttempt *attempt = VD_CONTAINER (mail, VdNbdAttempt, start_mail);
  int r = start (attempt);

  if (r != 0)
    end (attempt, g_strerror (r));
}

VdNbdAttempt *
vd_nbd_attempt_new (const char *uri, VdWorker *starter, GError **error)
{
  VdNbdAttempt *attempt = g_new0 (VdNbdAttempt, 1);
  int r = 0;

  attempt->uri = g_strdup (uri);
  attempt->n_refs = 2;
  attempt->event_fd = eventfd (0, EFD_CLOEXEC);
  attempt->start_mail.run = run_start;
  if (attempt->event_fd < 0)
    r = errno;
  else if (starter != NULL)
    vd_worker_post (starter, &attempt->start_mail);
  else
    r = start (attempt);
  if (r == 0)
    return attempt;
  g_set_error (error, G_IO_ERROR, g_io_error_from_errno (r),
               "no thread to connect with: %s", g_strerror (r));
  attempt->n_refs = 1;
  unref (attempt);
  return NULL;
}

void
vd_nbd_attempt_free (VdNbdAttempt *attempt)
{
  if (attempt != NULL)
    unref (attempt);
}

int
vd_nbd_attempt_fd (const VdNbdAttempt *attempt)
{
  return attempt->event_fd;
}

gboolean
vd_nbd_attempt_ended (const VdNbdAttempt *attempt, int timeout_ms)
{
  struct pollfd end = { attempt->event_fd, POLLIN, 0 };
  int r;

  do
    r = poll (&end, 1, timeout_ms);
  while (r < 0 && errno == EINTR);
  return r > 0;
}

struct nbd_handle *
vd_nbd_attempt_take (VdNbdAttempt *attempt, GError **error)
{
  eventfd_t value;

  /* Orders this thread after the attempt's. */
  eventfd_read (attempt->event_fd, &value);
  if (attempt->handle == NULL)
    g_set_error_literal (error, G_IO_ERROR, G_IO_ERROR_NOT_CONNECTED,
                         attempt->error);
  return g_steal_pointer (&attempt->handle);
}
