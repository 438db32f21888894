/* SPDX-License-Identifier: BSD-3-Clause
 *
 * test-reload-slow.c - SIGHUP adds disks that take long to open: the devices that
 * are served notice nothing of it
 */
#include <fcntl.h>
#include <glib/gstdio.h>
#include <signal.h>
#include <string.h>
#include <unistd.h>

#include "build-options.h"
#include "tests/lib/daemon.h"
#include "tests/lib/socket.h"

#define IMAGE_SIZE (1u << 20)
#define WRITER_BIT 101 /* qemu's byte for "somebody writes" */

typedef struct {
  VtDaemon *daemon;
  VtFrontend *fe; /* of a device that is there from the start */
  /* An NBD server that accepts connections and never says anything. */
  char *path;
  int listener;
} Fixture;

static void
set_up (Fixture *f, gconstpointer data)
{
  f->daemon = vt_daemon_new ();
  vt_daemon_add (f->daemon, "mem", "generic", "virtio-id", "5", "config",
                 "field le32 rw", NULL);
  vt_daemon_start (f->daemon);
  f->fe = vt_daemon_connect (f->daemon, "mem");
  f->path = vt_daemon_path (f->daemon, "nbd");
  f->listener = vt_listen (f->path);
}

static void
tear_down (Fixture *f, gconstpointer data)
{
  close (f->listener);
  vt_frontend_free (f->fe);
  if (f->daemon->pid != 0)
    vt_daemon_stop (f->daemon);
  g_unlink (f->path);
  g_free (f->path);
  vt_daemon_free (f->daemon);
}

static gboolean
logged (Fixture *f, const char *text)
{
  g_autofree char *log = vt_daemon_log (f->daemon);

  return strstr (log, text) != NULL;
}

/* The other device answers while the reload has not ended. */
static void
use_meanwhile (Fixture *f)
{
  g_assert_cmpuint (vt_get_features (f->fe), !=, 0);
  g_assert_false (logged (f, "reloaded: "));
}

/* Returns: the connection that the daemon waits at. */
static int
add_silent (Fixture *f)
{
  g_autofree char *uri = g_strdup_printf ("nbd+unix:///?socket=%s", f->path);

  vt_daemon_add (f->daemon, "slow", "blk", "image", uri, NULL);
  vt_daemon_reload (f->daemon);
  return vt_accept (f->listener);
}

/* Reads the files once more, and waits until that is done but for the slow
 * device. */
static void
reload_again (Fixture *f)
{
  vt_daemon_add (f->daemon, "more", "generic", "virtio-id", "4", NULL);
  vt_daemon_reload (f->daemon);
  vt_frontend_free (vt_daemon_connect (f->daemon, "more"));
}

static gboolean
skip_without_nbd (void)
{
  if (!VD_HAVE_NBD)
    g_test_skip ("built without libnbd");
  return !VD_HAVE_NBD;
}

static void
test_a_silent_server_delays_nobody (Fixture *f, gconstpointer data)
{
  int fd;

  if (skip_without_nbd ())
    return;
  fd = add_silent (f);
  use_meanwhile (f);
  close (fd);
  vt_daemon_wait_log (f->daemon, "reload: ");
  vt_daemon_wait_log (f->daemon, "reloaded: 1 devices");
}

static void
test_what_is_not_wanted_any_more_is_dropped (Fixture *f, gconstpointer data)
{
  gsize len = f->daemon->key_file->len;
  int fd;

  if (skip_without_nbd ())
    return;
  fd = add_silent (f);
  g_string_truncate (f->daemon->key_file, len);
  reload_again (f);
  use_meanwhile (f);
  close (fd);
  vt_daemon_wait_log (f->daemon, "reloaded: 2 devices");
  g_assert_false (logged (f, "reload: "));
}

/* A file in place of the server that says nothing. */
static void
test_what_is_wanted_otherwise_is_opened_again (Fixture *f, gconstpointer data)
{
  g_autofree char *image = vt_daemon_image (f->daemon, "disk", IMAGE_SIZE);
  VtFrontend *fe;
  int fd;

  if (skip_without_nbd ())
    return;
  fd = add_silent (f);
  vt_daemon_set (f->daemon, "slow", "image", image);
  reload_again (f);
  use_meanwhile (f);
  close (fd);
  vt_daemon_wait_log (f->daemon, "reloaded: 3 devices");
  fe = vt_daemon_connect (f->daemon, "slow");
  g_assert_cmpuint (vt_get_features (fe), !=, 0);
  vt_frontend_free (fe);
}

static void
test_the_daemon_ends_meanwhile (Fixture *f, gconstpointer data)
{
  int fd;

  if (skip_without_nbd ())
    return;
  fd = add_silent (f);
  vt_daemon_stop (f->daemon);
  close (fd);
}

static void
lock_byte (int fd, short type)
{
  struct flock lock = {
    .l_type = type, .l_whence = SEEK_SET, .l_start = WRITER_BIT, .l_len = 1
  };

  g_assert_no_errno (fcntl (fd, F_OFD_SETLK, &lock));
}

/* Somebody writes to the image, and stops in time, or does not. */
static void
run_locked (Fixture *f, gboolean in_time, const char *log)
{
  g_autofree char *image = vt_daemon_image (f->daemon, "disk", IMAGE_SIZE);
  int fd = open (image, O_RDWR | O_CLOEXEC);

  g_assert_no_errno (fd);
  lock_byte (fd, F_RDLCK);
  vt_daemon_add (f->daemon, "slow", "blk", "image", image, NULL);
  vt_daemon_reload (f->daemon);
  g_assert_cmpuint (vt_get_features (f->fe), !=, 0);
  if (in_time)
    lock_byte (fd, F_UNLCK);
  vt_daemon_wait_log (f->daemon, log);
  vt_daemon_wait_log (f->daemon, "reloaded: ");
  close (fd);
}

static void
test_a_locked_image_delays_nobody (Fixture *f, gconstpointer data)
{
  run_locked (f, FALSE, "reload: ");
}

static void
test_a_locked_image_is_waited_for (Fixture *f, gconstpointer data)
{
  run_locked (f, TRUE, "reloaded: 2 devices");
}

int
main (int argc, char **argv)
{
  g_test_init (&argc, &argv, NULL);
#define ADD(name, func)                                                        \
  g_test_add ("/reload/slow/" name, Fixture, NULL, set_up, func, tear_down)
  ADD ("silent", test_a_silent_server_delays_nobody);
  ADD ("dropped", test_what_is_not_wanted_any_more_is_dropped);
  ADD ("changed", test_what_is_wanted_otherwise_is_opened_again);
  ADD ("quit", test_the_daemon_ends_meanwhile);
  ADD ("locked", test_a_locked_image_delays_nobody);
  ADD ("unlocked", test_a_locked_image_is_waited_for);
  return g_test_run ();
}
