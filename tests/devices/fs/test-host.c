/* SPDX-License-Identifier: BSD-3-Clause
 *
 * test-host.c - a host with mounts, leases and limits of its own
 */
#include <errno.h>
#include <fcntl.h>
#include <sched.h>
#include <signal.h>
#include <stdatomic.h>
#include <stdio.h>
#include <string.h>
#include <sys/mount.h>
#include <sys/resource.h>
#include <unistd.h>

#include "tests/devices/fs/fixture.h"

#ifndef FUSE_ATTR_SUBMOUNT
#define FUSE_ATTR_SUBMOUNT 1
#endif

static const VtFsConfig live = { .keys = { "jail", "live" } };
static const VtFsConfig silent = { .keys = { "announce-submounts", "no" } };

/* Mounts.  The test has a mount namespace of its own (main). */

static gboolean may_mount;

/* A tmpfs on directory "mnt" of the export, with a file in it. */
static gboolean
mount_tmpfs (VtFs *f)
{
  g_autofree char *dir = vt_fs_path (f, "mnt");

  if (!may_mount) {
    g_test_skip ("nothing can be mounted here");
    return FALSE;
  }
  g_assert_cmpint (mkdir (dir, 0755), ==, 0);
  g_assert_cmpint (mount ("tmpfs", dir, "tmpfs", 0, NULL), ==, 0);
  vt_fs_put (f, "mnt/inside", "x");
  return TRUE;
}

static void
unmount_tmpfs (VtFs *f)
{
  g_autofree char *dir = vt_fs_path (f, "mnt");

  g_assert_cmpint (umount2 (dir, MNT_DETACH), ==, 0);
}

static void
test_mounts_in_the_export_are_announced (VtFs *f, gconstpointer data)
{
  guint64 dir, nodeid;
  struct fuse_attr attr;

  if (!mount_tmpfs (f))
    return;
  vt_fs_open_again (f, data); /* a clone has what was mounted before */
  g_assert_cmpint (vt_fuse_lookup (f->c, 1, "mnt", &dir, &attr), ==, 0);
  g_assert_cmphex (attr.flags, ==,
                   data == &silent ? 0 : (guint) FUSE_ATTR_SUBMOUNT);
  g_assert_cmpint (vt_fuse_lookup (f->c, dir, "inside", &nodeid, &attr), ==, 0);
  g_assert_cmphex (attr.flags, ==, 0);
  g_assert_cmpuint (attr.size, ==, 1);
  unmount_tmpfs (f);
}

/* A clone is a picture of the mounts at its time, live ones are looked at. */
static void
test_later_mounts_are_seen_in_a_live_jail_only (VtFs *f, gconstpointer data)
{
  guint64 dir, nodeid;
  int r;

  if (data == NULL && (f->c->flags & FUSE_EXPORT_SUPPORT) == 0) {
    g_test_skip ("no detached mount here");
    return;
  }
  if (!mount_tmpfs (f))
    return;
  g_assert_cmpint (vt_fuse_lookup (f->c, 1, "mnt", &dir, NULL), ==, 0);
  r = vt_fuse_lookup (f->c, dir, "inside", &nodeid, NULL);
  g_assert_cmpint (r, ==, data == &live ? 0 : -ENOENT);
  unmount_tmpfs (f);
}

/* Leases.  Another process, here the test itself, holds one on a file; opening
 * it has to wait until that process lets go. */

static guint64
get_attr_meanwhile (VtFs *f)
{
  struct fuse_attr attr;

  g_assert_cmpint (vt_fuse_getattr (&f->fuse[1], 1, &attr), ==, 0);
  return attr.ino;
}

static void
test_an_open_that_waits_delays_nothing_else (VtFs *f, gconstpointer data)
{
  g_autofree char *path = vt_fs_path (f, "leased");
  struct {
    struct fuse_in_header in;
    struct fuse_open_in open;
  } *message = vt_guest_alloc (f->guest, sizeof *message, 8);
  guint8 *answer = vt_guest_alloc (f->guest, 64, 8);
  VtBuf bufs[2] = { { message, sizeof *message, FALSE }, { answer, 32, TRUE } };
  struct fuse_out_header out;
  guint64 nodeid;
  guint32 used;
  int fd;

  vt_fs_put (f, "leased", "content");
  g_assert_cmpint (vt_fuse_lookup (f->c, 1, "leased", &nodeid, NULL), ==, 0);
  fd = open (path, O_RDWR | O_CLOEXEC);
  g_assert_cmpint (fd, >=, 0);
  if (fcntl (fd, F_SETLEASE, F_WRLCK) < 0) {
    g_test_skip ("no leases on this file system");
    close (fd);
    return;
  }
  message->in = (struct fuse_in_header){
    .len = sizeof *message, .opcode = FUSE_OPEN, .unique = 99, .nodeid = nodeid
  };
  g_assert_true (vt_ring_add (f->c->ring, bufs, 2, message));
  /* The same queue answers other requests while this one waits. */
  for (guint i = 0; i < 10; i++)
    g_assert_cmpuint (get_attr_meanwhile (f), !=, 0);
  g_assert_cmpuint (vt_ring_n_in_flight (f->c->ring), ==, 1);
  g_assert_cmpint (fcntl (fd, F_SETLEASE, F_UNLCK), ==, 0);
  g_assert_true (vt_ring_take (f->c->ring, &used) == message);
  memcpy (&out, answer, sizeof out);
  g_assert_cmpint (out.error, ==, 0);
  g_assert_cmpuint (used, ==, 32);
  close (fd);
}

/* Limits. */

enum { FILES = 200, LIMIT = 200 };

static guint
list_entries (VtFs *f, guint *ret_nodeids)
{
  g_autofree guint8 *bytes = g_malloc (65536);
  guint64 fh, offset = 0;
  guint n = 0;
  gssize len;

  *ret_nodeids = 0;
  g_assert_cmpint (vt_fuse_opendir (f->c, 1, &fh), ==, 0);
  while ((len = vt_fuse_readdir (f->c, 1, fh, offset, TRUE, bytes, 65536)) > 0)
    for (gssize at = 0; at < len; n++) {
      struct fuse_direntplus plus;

      memcpy (&plus, bytes + at, sizeof plus);
      *ret_nodeids += plus.entry_out.nodeid != 0;
      offset = plus.dirent.off;
      at += (gssize) (sizeof plus + plus.dirent.namelen + 7) / 8 * 8;
    }
  g_assert_cmpint (len, ==, 0);
  g_assert_cmpint (vt_fuse_releasedir (f->c, 1, fh), ==, 0);
  return n;
}

/* Opens files until it is refused.  Returns: how many were opened. */
static guint
open_all (VtFs *f)
{
  for (guint i = 0; i < FILES; i++) {
    g_autofree char *name = g_strdup_printf ("f%u", i);
    guint64 nodeid, fh;
    int r;

    g_assert_cmpint (vt_fuse_lookup (f->c, 1, name, &nodeid, NULL), ==, 0);
    r = vt_fuse_open (f->c, nodeid, O_RDONLY, &fh, NULL);
    if (r < 0) {
      g_assert_cmpint (r, ==, -ENFILE);
      return i;
    }
  }
  return FILES;
}

static void
test_a_guest_cannot_take_all_descriptors (VtFs *f, gconstpointer data)
{
  struct rlimit old, low;
  guint nodeids, opened;

  g_assert_cmpint (getrlimit (RLIMIT_NOFILE, &old), ==, 0);
  low = old;
  low.rlim_cur = LIMIT;
  g_assert_cmpint (setrlimit (RLIMIT_NOFILE, &low), ==, 0);
  vt_fs_open_again (f, NULL);
  for (guint i = 0; i < FILES; i++) {
    g_autofree char *name = g_strdup_printf ("f%u", i);

    vt_fs_put (f, name, "x");
  }
  /* To know a file costs no descriptor in the end, to have it open does. */
  g_assert_cmpuint (list_entries (f, &nodeids), ==, FILES + 2);
  g_assert_cmpuint (nodeids, ==, FILES);
  opened = open_all (f);
  g_assert_cmpuint (opened, >, LIMIT / 4);
  g_assert_cmpuint (opened, <, LIMIT * 3 / 4);
  g_assert_cmpuint (vt_fs_n_fds (), <, LIMIT); /* the daemon has some left */
  g_assert_cmpint (vt_fuse_getattr (f->c, 1, NULL), ==, 0);
  g_assert_cmpint (setrlimit (RLIMIT_NOFILE, &old), ==, 0);
}

/* Another process that takes the name of new files for its own. */
typedef struct {
  int dir;
  atomic_bool ending;
  guint taken;
} Thief;

static gpointer
steal_names (gpointer data)
{
  Thief *thief = data;

  while (!atomic_load (&thief->ending)) {
    int fd = openat (thief->dir, "mine", O_CREAT | O_WRONLY | O_CLOEXEC, 0600);

    g_assert_no_errno (fd);
    close (fd);
    if (renameat2 (thief->dir, "mine", thief->dir, "new", RENAME_EXCHANGE) == 0)
      thief->taken++;
  }
  return NULL;
}

static guint64
ino_of (VtFs *f, guint64 nodeid, guint64 fh, guint32 flags)
{
  struct fuse_getattr_in in = { .getattr_flags = flags, .fh = fh };
  struct fuse_attr_out out;

  g_assert_cmpint (vt_fuse_call (f->c, FUSE_GETATTR, nodeid, &in, sizeof in,
                                 NULL, 0, &out, sizeof out),
                   ==, sizeof out);
  return out.attr.ino;
}

static void
test_a_new_file_is_the_one_that_was_made (VtFs *f, gconstpointer data)
{
  Thief thief = { .dir = open (f->dir, O_RDONLY | O_DIRECTORY | O_CLOEXEC) };
  GThread *thread;

  g_assert_no_errno (thief.dir);
  thread = g_thread_new ("thief", steal_names, &thief);
  for (guint i = 0; i < 3000; i++) {
    guint64 nodeid, fh;
    int r =
        vt_fuse_create (f->c, 1, "new", O_RDWR | O_EXCL, 0600, &nodeid, &fh);

    if (r == 0) {
      g_assert_cmpuint (ino_of (f, nodeid, 0, 0), ==,
                        ino_of (f, nodeid, fh, FUSE_GETATTR_FH));
      g_assert_cmpint (vt_fuse_release (f->c, nodeid, fh), ==, 0);
      vt_fuse_forget (f->c, nodeid, 1);
    }
    vt_fuse_unlink (f->c, 1, "new");
  }
  atomic_store (&thief.ending, TRUE);
  g_thread_join (thread);
  g_test_message ("the name was taken %u times", thief.taken);
  close (thief.dir);
}

int
main (int argc, char **argv)
{
  g_test_init (&argc, &argv, NULL);
  signal (SIGIO, SIG_IGN); /* what breaks a lease */
  may_mount = unshare (CLONE_NEWNS) == 0 &&
              mount (NULL, "/", NULL, MS_REC | MS_PRIVATE, NULL) == 0;
#define ADD(name, config, func) VT_FS_TEST ("/fs/host/" name, config, func)
  ADD ("mounts", NULL, test_mounts_in_the_export_are_announced);
  ADD ("mounts/live", &live, test_mounts_in_the_export_are_announced);
  ADD ("mounts/silent", &silent, test_mounts_in_the_export_are_announced);
  ADD ("mounts/later", NULL, test_later_mounts_are_seen_in_a_live_jail_only);
  ADD ("mounts/later/live", &live,
       test_later_mounts_are_seen_in_a_live_jail_only);
  ADD ("lease", NULL, test_an_open_that_waits_delays_nothing_else);
  ADD ("new", NULL, test_a_new_file_is_the_one_that_was_made);
  ADD ("descriptors", NULL, test_a_guest_cannot_take_all_descriptors);
  return g_test_run ();
}
