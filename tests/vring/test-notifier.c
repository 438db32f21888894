/* SPDX-License-Identifier: BSD-3-Clause
 *
 * test-notifier.c - what vring/notifier.c promises: never to block, to die or
 * to change flags, whatever a front-end passes
 */
#include "vring/notifier.h"

#include <fcntl.h>
#include <signal.h>
#include <sys/eventfd.h>
#include <sys/mman.h>
#include <sys/socket.h>
#include <unistd.h>

#include "tests/lib/socket.h"
#include "vring/fd.h"

static VdNotifier
open_notifier (int fd, VdNotifierKind kind)
{
  VdNotifier notifier = VD_NOTIFIER_INIT;
  g_autoptr (GError) error = NULL;

  g_assert_true (vd_notifier_init (&notifier, fd, &error));
  g_assert_no_error (error);
  g_assert_cmpint (notifier.kind, ==, kind);
  return notifier;
}

static void
test_eventfds_count (gconstpointer data)
{
  int flags = GPOINTER_TO_INT (data);
  vd_autofd ours = eventfd (0, EFD_CLOEXEC | flags);
  VdNotifier notifier = open_notifier (
      dup (ours), flags ? VD_NOTIFIER_EVENTFD : VD_NOTIFIER_BLOCKING);
  guint64 count = 0;

  g_assert_true (vd_notifier_signal (&notifier));
  g_assert_true (vd_notifier_signal (&notifier));
  g_assert_no_errno (eventfd_read (ours, &count));
  g_assert_cmpuint (count, ==, 2);

  /* A full counter must not block. */
  g_assert_no_errno (eventfd_write (ours, G_MAXUINT64 - 1));
  vd_notifier_signal (&notifier);
  vd_notifier_unblock (&notifier);
  vd_notifier_signal (&notifier);
  g_assert_cmpint (fcntl (ours, F_GETFL) & O_NONBLOCK, ==,
                   flags ? O_NONBLOCK : 0);
  vd_notifier_clear (&notifier);
  g_assert_cmpint (notifier.fd, ==, -1);
}

static void
test_socket_gets_eight_bytes_each (void)
{
  guint64 value[2] = { 0 };
  VdNotifier notifier;
  int pair[2];

  g_assert_no_errno (socketpair (AF_UNIX, SOCK_STREAM | SOCK_CLOEXEC, 0, pair));
  notifier = open_notifier (pair[1], VD_NOTIFIER_SOCKET);
  vd_notifier_signal (&notifier);
  vd_notifier_signal (&notifier);
  g_assert_cmpint (read (pair[0], value, sizeof value), ==, sizeof value);
  g_assert_cmpuint (value[0], ==, 1);
  g_assert_cmpuint (value[1], ==, 1);
  for (guint i = 0; i < 100000; i++) /* more than the socket holds */
    vd_notifier_signal (&notifier);
  g_assert_cmpint (fcntl (pair[0], F_GETFL) & O_NONBLOCK, ==, 0);
  close (pair[0]);
  vd_notifier_signal (&notifier); /* no SIGPIPE */
  vd_notifier_clear (&notifier);
}

static void
test_pipe_blocks_and_kills_nobody (void)
{
  VdNotifier notifier;
  int pair[2];

  signal (SIGPIPE, SIG_IGN); /* as the daemon does */
  g_assert_no_errno (pipe2 (pair, O_CLOEXEC));
  notifier = open_notifier (pair[1], VD_NOTIFIER_PIPE);
  for (guint i = 0; i < 20000; i++)
    vd_notifier_signal (&notifier);
  g_assert_cmpint (fcntl (pair[0], F_GETFL) & O_NONBLOCK, ==, 0);
  close (pair[0]);
  vd_notifier_signal (&notifier);
  vd_notifier_clear (&notifier);
}

static void
test_none_is_silent (void)
{
  VdNotifier notifier = open_notifier (-1, VD_NOTIFIER_NONE);

  g_assert_false (vd_notifier_signal (&notifier));
  vd_notifier_unblock (&notifier);
  vd_notifier_clear (&notifier);
}

static void
test_other_descriptors_are_refused (void)
{
  int pair[2];

  g_assert_no_errno (pipe2 (pair, O_CLOEXEC));
  for (guint i = 0; i < 4; i++) {
    VdNotifier notifier = VD_NOTIFIER_INIT;
    g_autoptr (GError) error = NULL;
    int fd = i == 0   ? memfd_create ("no", MFD_CLOEXEC)
             : i == 1 ? open ("/dev/zero", O_RDWR | O_CLOEXEC)
             : i == 2 ? dup (pair[0]) /* the end that is read */
                      : open ("/", O_PATH | O_CLOEXEC);

    g_assert_no_errno (fd);
    g_assert_false (vd_notifier_init (&notifier, fd, &error));
    g_assert_nonnull (error);
    g_assert_cmpint (fcntl (fd, F_GETFD), ==, -1); /* closed */
    g_assert_cmpint (notifier.fd, ==, -1);
  }
  close (pair[0]);
  close (pair[1]);
}

int
main (int argc, char **argv)
{
  g_test_init (&argc, &argv, NULL);
  g_test_add_data_func ("/notifier/eventfd", GINT_TO_POINTER (EFD_NONBLOCK),
                        test_eventfds_count);
  g_test_add_data_func ("/notifier/blocking-eventfd", GINT_TO_POINTER (0),
                        test_eventfds_count);
  g_test_add_func ("/notifier/socket", test_socket_gets_eight_bytes_each);
  g_test_add_func ("/notifier/pipe", test_pipe_blocks_and_kills_nobody);
  g_test_add_func ("/notifier/none", test_none_is_silent);
  g_test_add_func ("/notifier/refused", test_other_descriptors_are_refused);
  return g_test_run ();
}
