/* SPDX-License-Identifier: BSD-3-Clause
 *
 * test-spare.c - files that stay open for the next OPEN
 *
 * How often the daemon opens and closes a file, inotify tells.
 */
#include <errno.h>
#include <fcntl.h>
#include <glib/gstdio.h>
#include <string.h>
#include <sys/inotify.h>
#include <sys/stat.h>
#include <time.h>
#include <unistd.h>

#include "tests/devices/fs/fixture.h"

typedef struct {
  guint opened, closed, closed_written;
} Seen;

/* Returns: a descriptor that sees what is opened and closed. */
static int
watch (VtFs *f, const char *name)
{
  g_autofree char *path = vt_fs_path (f, name);
  int fd = inotify_init1 (IN_NONBLOCK | IN_CLOEXEC);

  g_assert_no_errno (fd);
  g_assert_no_errno (inotify_add_watch (
      fd, path, IN_OPEN | IN_CLOSE_NOWRITE | IN_CLOSE_WRITE));
  return fd;
}

/* Returns: what was seen since the last call. */
static Seen
look (int fd)
{
  struct inotify_event events[16]; /* a file's has no name */
  Seen seen = { 0 };
  ssize_t n;

  while ((n = read (fd, events, sizeof events)) > 0)
    for (gsize i = 0; i < (gsize) n / sizeof events[0]; i++) {
      seen.opened += (events[i].mask & IN_OPEN) != 0;
      seen.closed += (events[i].mask & IN_CLOSE_NOWRITE) != 0;
      seen.closed_written += (events[i].mask & IN_CLOSE_WRITE) != 0;
    }
  return seen;
}

#define assert_seen(fd, n_opened, n_closed)                                    \
  G_STMT_START                                                                 \
  {                                                                            \
    Seen seen = look (fd);                                                     \
    g_assert_cmpuint (seen.opened, ==, n_opened);                              \
    g_assert_cmpuint (seen.closed, ==, n_closed);                              \
  }                                                                            \
  G_STMT_END

/* Waits until the file's last change is so old that the next one differs. */
static void
settle (VtFs *f, const char *name)
{
  g_autofree char *path = vt_fs_path (f, name);
  struct timespec now;
  struct stat st;

  g_assert_no_errno (stat (path, &st));
  do {
    g_usleep (5000);
    clock_gettime (CLOCK_REALTIME_COARSE, &now);
  } while ((now.tv_sec - st.st_ctim.tv_sec) * 1000 +
               (now.tv_nsec - st.st_ctim.tv_nsec) / 1000000 <
           50);
}

static guint64
make (VtFs *f, const char *name, const char *content)
{
  guint64 nodeid;

  vt_fs_put (f, name, content);
  settle (f, name);
  g_assert_cmpint (vt_fuse_lookup (f->c, 1, name, &nodeid, NULL), ==, 0);
  return nodeid;
}

/* Changes the very file, unlike vt_fs_put(). */
static void
rewrite (VtFs *f, const char *name, const char *content)
{
  g_autofree char *path = vt_fs_path (f, name);
  int fd = open (path, O_WRONLY | O_TRUNC | O_CLOEXEC);

  g_assert_no_errno (fd);
  g_assert_cmpint (write (fd, content, strlen (content)), ==,
                   (int) strlen (content));
  close (fd);
  settle (f, name);
}

/* Opens, reads and closes. */
static void
read_once (VtFs *f, guint64 nodeid, const char *expected)
{
  char text[32] = "";
  guint64 fh;

  g_assert_cmpint (vt_fuse_open (f->c, nodeid, O_RDONLY, &fh, NULL), ==, 0);
  g_assert_cmpint (vt_fuse_read (f->c, nodeid, fh, 0, text, sizeof text - 1),
                   ==, (int) strlen (expected));
  g_assert_cmpstr (text, ==, expected);
  g_assert_cmpint (vt_fuse_release (f->c, nodeid, fh), ==, 0);
  g_assert_cmpint (vt_fuse_read (f->c, nodeid, fh, 0, text, 1), ==, -EBADF);
}

static void
test_what_did_not_change_is_opened_once (VtFs *f, gconstpointer data)
{
  guint64 nodeid = make (f, "f", "content");
  guint before = vt_fs_n_fds ();
  int events = watch (f, "f");

  for (guint i = 0; i < 3; i++)
    read_once (f, nodeid, "content");
  assert_seen (events, 1, 0);
  g_assert_cmpuint (vt_fs_n_fds (), ==, before + 2); /* with events */
  vt_fuse_forget (f->c, nodeid, 1);
  assert_seen (events, 0, 1);
  g_assert_cmpuint (vt_fs_n_fds (), ==, before); /* no O_PATH either */
  close (events);
}

static void
test_every_change_is_opened_anew (VtFs *f, gconstpointer data)
{
  guint64 nodeid = make (f, "f", "content");
  g_autofree char *path = vt_fs_path (f, "f");
  g_autofree char *moved = vt_fs_path (f, "g");
  int events = watch (f, "f");

  read_once (f, nodeid, "content");
  assert_seen (events, 1, 0);
  g_assert_no_errno (g_chmod (path, 0600));
  settle (f, "f");
  read_once (f, nodeid, "content");
  assert_seen (events, 1, 1);
  g_assert_no_errno (g_rename (path, moved));
  settle (f, "g");
  read_once (f, nodeid, "content");
  assert_seen (events, 1, 1);
  rewrite (f, "g", "CONTENT");
  look (events); /* our own */
  read_once (f, nodeid, "CONTENT");
  assert_seen (events, 1, 1);
  read_once (f, nodeid, "CONTENT");
  assert_seen (events, 0, 0);
  close (events);
}

/* Two versions are open at once; the older must not outlive the newer. */
static void
test_an_old_version_is_no_spare (VtFs *f, gconstpointer data)
{
  guint64 nodeid = make (f, "f", "one"), old, new;
  int events;

  g_assert_cmpint (vt_fuse_open (f->c, nodeid, O_RDONLY, &old, NULL), ==, 0);
  rewrite (f, "f", "two");
  g_assert_cmpint (vt_fuse_open (f->c, nodeid, O_RDONLY, &new, NULL), ==, 0);
  events = watch (f, "f");
  g_assert_cmpint (vt_fuse_release (f->c, nodeid, new), ==, 0);
  g_assert_cmpint (vt_fuse_release (f->c, nodeid, old), ==, 0);
  assert_seen (events, 0, 1);
  read_once (f, nodeid, "two");
  assert_seen (events, 1, 1);
  read_once (f, nodeid, "two");
  assert_seen (events, 0, 0);
  close (events);
}

static void
test_files_open_for_writing_are_closed (VtFs *f, gconstpointer data)
{
  guint64 nodeid = make (f, "f", "content"), fh;
  int events = watch (f, "f");

  for (guint i = 0; i < 2; i++) {
    g_assert_cmpint (vt_fuse_open (f->c, nodeid, O_RDWR, &fh, NULL), ==, 0);
    g_assert_cmpint (vt_fuse_release (f->c, nodeid, fh), ==, 0);
  }
  g_assert_cmpuint (look (events).closed_written, ==, 2);
  close (events);
}

static void
test_a_session_ends_with_its_spares (VtFs *f, gconstpointer data)
{
  guint before = vt_fs_n_fds ();

  for (guint i = 0; i < 10; i++) {
    g_autofree char *name = g_strdup_printf ("f%u", i);

    read_once (f, make (f, name, name), name);
  }
  g_assert_cmpuint (vt_fs_n_fds (), ==, before + 20);
  g_assert_cmpint (vt_fuse_destroy (f->c), ==, 0);
  g_assert_cmpuint (vt_fs_n_fds (), ==, before);
}

/* Locks of the host's end when their descriptor does. */
static const VtFsConfig flocks = { .keys = { "locks", "flock" } };

static void
test_no_spares_where_locks_are_the_hosts (VtFs *f, gconstpointer data)
{
  guint64 nodeid = make (f, "f", "content");
  int events = watch (f, "f");

  read_once (f, nodeid, "content");
  assert_seen (events, 1, 1);
  read_once (f, nodeid, "content");
  assert_seen (events, 1, 1);
  close (events);
}

static const VtFsConfig few = { .keys = { "fd-budget", "64" } };

static void
test_spares_leave_room (VtFs *f, gconstpointer data)
{
  guint before = vt_fs_n_fds ();

  for (guint i = 0; i < 40; i++) {
    g_autofree char *name = g_strdup_printf ("f%u", i);

    read_once (f, make (f, name, name), name);
    g_assert_cmpuint (vt_fs_n_fds (), <=, before + 64);
  }
  g_assert_cmpuint (vt_fs_n_fds (), <, before + 60); /* 40 are O_PATH */
}

int
main (int argc, char **argv)
{
  g_test_init (&argc, &argv, NULL);
  VT_FS_TEST ("/fs/spare/same", NULL, test_what_did_not_change_is_opened_once);
  VT_FS_TEST ("/fs/spare/changed", NULL, test_every_change_is_opened_anew);
  VT_FS_TEST ("/fs/spare/old-version", NULL, test_an_old_version_is_no_spare);
  VT_FS_TEST ("/fs/spare/written", NULL,
              test_files_open_for_writing_are_closed);
  VT_FS_TEST ("/fs/spare/session", NULL, test_a_session_ends_with_its_spares);
  VT_FS_TEST ("/fs/spare/locks", &flocks,
              test_no_spares_where_locks_are_the_hosts);
  VT_FS_TEST ("/fs/spare/budget", &few, test_spares_leave_room);
  return g_test_run ();
}
