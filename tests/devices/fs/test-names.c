/* SPDX-License-Identifier: BSD-3-Clause
 *
 * test-names.c - looking up, making, moving and listing through virtio-fs
 */
#include <errno.h>
#include <fcntl.h>
#include <stdio.h>
#include <string.h>
#include <sys/sysmacros.h>
#include <unistd.h>

#include "tests/devices/fs/fixture.h"

static const VtFsConfig live = { .keys = { "jail", "live" } };
static const VtFsConfig read_only = { .keys = { "read-only", "yes" } };
static const VtFsConfig read_only_live = { .keys = { "read-only", "yes", "jail",
                                                     "live" } };
static const VtFsConfig negative = { .keys = { "negative-timeout", "7" } };
static const VtFsConfig always = { .keys = { "cache", "always" } };
static const VtFsConfig never = { .keys = { "cache", "never" } };
static const VtFsConfig timeouts = { .keys = { "entry-timeout", "2.5",
                                               "attr-timeout", "3" } };

static void
test_a_lookup_finds_what_the_host_made (VtFs *f, gconstpointer data)
{
  guint64 nodeid, again, dir, deep;
  struct fuse_attr attr;
  g_autofree char *sub = vt_fs_path (f, "sub");

  vt_fs_put (f, "f", "content");
  g_assert_cmpint (mkdir (sub, 0750), ==, 0);
  vt_fs_put (f, "sub/deep", "x");
  g_assert_cmpint (vt_fuse_lookup (f->c, 1, "f", &nodeid, &attr), ==, 0);
  g_assert_cmpuint (attr.size, ==, 7);
  g_assert_true (S_ISREG (attr.mode));
  g_assert_cmpint (vt_fuse_lookup (f->c, 1, "f", &again, &attr), ==, 0);
  g_assert_cmpuint (again, ==, nodeid);
  g_assert_cmpint (vt_fuse_lookup (f->c, 1, "sub", &dir, &attr), ==, 0);
  g_assert_cmpuint (attr.mode, ==, S_IFDIR | 0750);
  g_assert_cmpint (vt_fuse_lookup (f->c, dir, "deep", &deep, &attr), ==, 0);
  g_assert_cmpint (vt_fuse_lookup (f->c, 1, "missing", &again, &attr), ==,
                   -ENOENT);
  g_assert_cmpint (vt_fuse_lookup (f->c, nodeid, "x", &again, &attr), ==,
                   -ENOTDIR);
}

static void
test_a_replaced_file_is_another_node (VtFs *f, gconstpointer data)
{
  guint64 old, new;
  struct fuse_attr attr;

  vt_fs_put (f, "f", "old");
  g_assert_cmpint (vt_fuse_lookup (f->c, 1, "f", &old, &attr), ==, 0);
  vt_fs_put (f, "f", "newer"); /* GLib renames a new file over it */
  g_assert_cmpint (vt_fuse_lookup (f->c, 1, "f", &new, &attr), ==, 0);
  g_assert_cmpuint (new, !=, old);
  g_assert_cmpuint (attr.size, ==, 5);
  g_assert_cmpint (vt_fuse_getattr (f->c, old, &attr), ==, 0);
  g_assert_cmpuint (attr.size, ==, 3);
  g_assert_cmpuint (attr.nlink, ==, 0);
}

static void
test_dots_are_the_directory_and_its_parent (VtFs *f, gconstpointer data)
{
  guint64 dir, nodeid;
  struct fuse_attr attr;

  if ((f->c->flags & FUSE_EXPORT_SUPPORT) == 0) {
    g_test_skip ("no detached mount here");
    return;
  }
  g_assert_cmpint (vt_fuse_mkdir (f->c, 1, "d", 0755, &dir), ==, 0);
  g_assert_cmpint (vt_fuse_lookup (f->c, dir, ".", &nodeid, &attr), ==, 0);
  g_assert_cmpuint (nodeid, ==, dir);
  g_assert_cmpint (vt_fuse_lookup (f->c, dir, "..", &nodeid, &attr), ==, 0);
  g_assert_cmpuint (nodeid, ==, 1);
  g_assert_cmpint (vt_fuse_lookup (f->c, 1, "..", &nodeid, &attr), ==, 0);
  g_assert_cmpuint (nodeid, ==, 1);
  g_assert_cmpint (vt_fuse_lookup (f->c, 1, ".", &nodeid, &attr), ==, 0);
  g_assert_cmpuint (nodeid, ==, 1);
}

static void
test_a_live_jail_has_no_way_up (VtFs *f, gconstpointer data)
{
  guint64 nodeid;

  g_assert_cmphex (f->c->flags & FUSE_EXPORT_SUPPORT, ==, 0);
  g_assert_cmpint (vt_fuse_lookup (f->c, 1, "..", &nodeid, NULL), ==, -ESTALE);
}

static void
test_links_are_read_and_never_followed (VtFs *f, gconstpointer data)
{
  guint64 link, nodeid, fh;
  char target[4096];

  g_assert_cmpint (vt_fuse_symlink (f->c, 1, "l", "/etc/passwd", &link), ==, 0);
  g_assert_cmpint (vt_fuse_readlink (f->c, link, target), ==, 11);
  g_assert_cmpstr (target, ==, "/etc/passwd");
  g_assert_cmpint (vt_fuse_open (f->c, link, O_RDONLY, &fh, NULL), ==, -EBADF);
  g_assert_cmpint (vt_fuse_create (f->c, 1, "l", O_RDWR, 0600, &nodeid, &fh),
                   ==, -EBADF);
  g_assert_cmpint (vt_fuse_symlink (f->c, 1, "up", "..", &link), ==, 0);
  g_assert_cmpint (vt_fuse_lookup (f->c, link, "etc", &nodeid, NULL), ==,
                   -ENOTDIR);
  vt_fs_put (f, "f", "x");
  g_assert_cmpint (vt_fuse_lookup (f->c, 1, "f", &nodeid, NULL), ==, 0);
  g_assert_cmpint (vt_fuse_readlink (f->c, nodeid, target), ==, -EINVAL);
}

static void
test_special_files_are_made_but_not_opened (VtFs *f, gconstpointer data)
{
  guint64 fifo, null, fh;
  struct fuse_attr attr;
  int r;

  g_assert_cmpint (vt_fuse_mknod (f->c, 1, "fifo", S_IFIFO | 0644, 0, &fifo),
                   ==, 0);
  g_assert_cmpint (vt_fuse_open (f->c, fifo, O_RDONLY, &fh, NULL), ==, -EBADF);
  g_assert_cmpint (vt_fuse_open (f->c, fifo, O_RDWR, &fh, NULL), ==, -EBADF);
  r = vt_fuse_mknod (f->c, 1, "null", S_IFCHR | 0666, (guint32) makedev (1, 3),
                     &null);
  if (r == -EPERM) {
    g_test_skip ("device nodes cannot be made here");
    return;
  }
  g_assert_cmpint (r, ==, 0);
  g_assert_cmpint (vt_fuse_getattr (f->c, null, &attr), ==, 0);
  g_assert_true (S_ISCHR (attr.mode));
  g_assert_cmpuint (attr.rdev, ==, makedev (1, 3));
  g_assert_cmpint (vt_fuse_open (f->c, null, O_RDWR, &fh, NULL), ==, -EBADF);
}

static void
test_names_are_made_moved_and_removed (VtFs *f, gconstpointer data)
{
  guint64 dir, file, fh, nodeid;
  struct fuse_attr attr;
  g_autofree char *content = NULL;

  g_assert_cmpint (vt_fuse_mkdir (f->c, 1, "d", 0755, &dir), ==, 0);
  g_assert_cmpint (vt_fuse_mkdir (f->c, 1, "d", 0755, &nodeid), ==, -EEXIST);
  g_assert_cmpint (vt_fuse_create (f->c, dir, "a", O_RDWR, 0600, &file, &fh),
                   ==, 0);
  g_assert_cmpint (vt_fuse_write (f->c, file, fh, 0, "text", 4), ==, 4);
  g_assert_cmpint (vt_fuse_rename (f->c, dir, "a", 1, "b", 0), ==, 0);
  content = vt_fs_get (f, "b");
  g_assert_cmpstr (content, ==, "text");
  g_assert_cmpint (vt_fuse_lookup (f->c, 1, "b", &nodeid, &attr), ==, 0);
  g_assert_cmpuint (nodeid, ==, file);

  g_assert_cmpint (vt_fuse_link (f->c, file, dir, "c"), ==, 0);
  g_assert_cmpint (vt_fuse_getattr (f->c, file, &attr), ==, 0);
  g_assert_cmpuint (attr.nlink, ==, 2);
  g_assert_cmpint (vt_fuse_rename (f->c, 1, "b", dir, "c", RENAME_NOREPLACE),
                   ==, -EEXIST);
  g_assert_cmpint (vt_fuse_rename (f->c, 1, "b", 1, "d", RENAME_EXCHANGE), ==,
                   0);
  g_assert_cmpint (vt_fuse_rename (f->c, 1, "b", 1, "d", RENAME_EXCHANGE), ==,
                   0);
  g_assert_cmpint (vt_fuse_rename (f->c, 1, "b", 1, "x", 1u << 31), ==,
                   -EINVAL);

  g_assert_cmpint (vt_fuse_rmdir (f->c, 1, "d"), ==, -ENOTEMPTY);
  g_assert_cmpint (vt_fuse_unlink (f->c, dir, "c"), ==, 0);
  g_assert_cmpint (vt_fuse_unlink (f->c, dir, "c"), ==, -ENOENT);
  g_assert_cmpint (vt_fuse_unlink (f->c, 1, "d"), ==, -EISDIR);
  g_assert_cmpint (vt_fuse_rmdir (f->c, 1, "b"), ==, -ENOTDIR);
  g_assert_cmpint (vt_fuse_rmdir (f->c, 1, "d"), ==, 0);
  g_assert_cmpint (vt_fuse_unlink (f->c, 1, "b"), ==, 0);

  /* Open and without a name it still is a file. */
  g_assert_cmpint (vt_fuse_write (f->c, file, fh, 4, "more", 4), ==, 4);
  g_assert_cmpint (vt_fuse_getattr (f->c, file, &attr), ==, 0);
  g_assert_cmpuint (attr.size, ==, 8);
  g_assert_cmpuint (attr.nlink, ==, 0);
}

static void
test_creating_what_exists_opens_it (VtFs *f, gconstpointer data)
{
  guint64 nodeid, fh, dir;
  char text[16];

  vt_fs_put (f, "f", "content");
  g_assert_cmpint (
      vt_fuse_create (f->c, 1, "f", O_RDWR | O_EXCL, 0600, &nodeid, &fh), ==,
      -EEXIST);
  g_assert_cmpint (vt_fuse_create (f->c, 1, "f", O_RDWR, 0600, &nodeid, &fh),
                   ==, 0);
  g_assert_cmpint (vt_fuse_read (f->c, nodeid, fh, 0, text, 16), ==, 7);
  g_assert_cmpint (
      vt_fuse_create (f->c, 1, "f", O_RDWR | O_TRUNC, 0600, &nodeid, &fh), ==,
      0);
  g_assert_cmpint (vt_fuse_read (f->c, nodeid, fh, 0, text, 16), ==, 0);
  g_assert_cmpint (vt_fuse_mkdir (f->c, 1, "d", 0755, &dir), ==, 0);
  g_assert_cmpint (vt_fuse_create (f->c, 1, "d", O_RDWR, 0600, &nodeid, &fh),
                   ==, -EISDIR);
}

static void
test_a_file_without_a_name_gets_one (VtFs *f, gconstpointer data)
{
  struct fuse_create_in in = { .flags = O_RDWR | O_TMPFILE,
                               .mode = S_IFREG | 0640 };
  struct {
    struct fuse_entry_out entry;
    struct fuse_open_out open;
  } out;
  g_autofree char *content = NULL;
  gssize n = vt_fuse_call (f->c, FUSE_TMPFILE, 1, &in, sizeof in, "/", 2, &out,
                           sizeof out);

  if (n == -EOPNOTSUPP) {
    g_test_skip ("the file system of /tmp has no O_TMPFILE");
    return;
  }
  g_assert_cmpint (n, ==, sizeof out);
  g_assert_cmpuint (out.entry.attr.nlink, ==, 0);
  g_assert_cmpuint (out.entry.attr.mode, ==, S_IFREG | 0640);
  g_assert_cmpint (
      vt_fuse_write (f->c, out.entry.nodeid, out.open.fh, 0, "text", 4), ==, 4);
  g_assert_cmpint (vt_fuse_link (f->c, out.entry.nodeid, 1, "named"), ==, 0);
  content = vt_fs_get (f, "named");
  g_assert_cmpstr (content, ==, "text");
}

/* The kernel's own, for overlayfs: see vd_fs_op_tmpfile(). */
static void
test_overlayfs_gets_no_file_without_a_name (VtFs *f, gconstpointer data)
{
  struct fuse_create_in in = { .flags = O_WRONLY | O_LARGEFILE,
                               .mode = S_IFREG };
  guint8 out[sizeof (struct fuse_entry_out) + sizeof (struct fuse_open_out)];

  g_assert_cmpint (vt_fuse_call (f->c, FUSE_TMPFILE, 1, &in, sizeof in, "/", 2,
                                 out, sizeof out),
                   ==, -EOPNOTSUPP);
}

static void
test_forgotten_nodes_are_stale (VtFs *f, gconstpointer data)
{
  guint64 nodeid, again, fh;
  guint before;

  vt_fs_put (f, "f", "x");
  before = vt_fs_n_fds ();
  for (guint i = 0; i < 50; i++) {
    g_assert_cmpint (vt_fuse_lookup (f->c, 1, "f", &nodeid, NULL), ==, 0);
    vt_fuse_forget (f->c, nodeid, 1);
    g_assert_cmpint (vt_fuse_getattr (f->c, nodeid, NULL), ==, -ESTALE);
    g_assert_cmpint (vt_fuse_open (f->c, nodeid, O_RDONLY, &fh, NULL), ==,
                     -ESTALE);
    g_assert_cmpint (vt_fuse_lookup (f->c, nodeid, "x", &again, NULL), ==,
                     -ESTALE);
  }
  g_assert_cmpuint (vt_fs_n_fds (), ==, before);
}

static void
test_forgetting_too_much_harms_nothing (VtFs *f, gconstpointer data)
{
  guint64 nodeid, again;

  vt_fuse_forget (f->c, 1, G_MAXUINT64);
  g_assert_cmpint (vt_fuse_getattr (f->c, 1, NULL), ==, 0);
  vt_fs_put (f, "f", "x");
  g_assert_cmpint (vt_fuse_lookup (f->c, 1, "f", &nodeid, NULL), ==, 0);
  vt_fuse_forget (f->c, nodeid, G_MAXUINT64);
  vt_fuse_forget (f->c, nodeid, 1);
  vt_fuse_forget (f->c, 0, 1);
  vt_fuse_forget (f->c, 12345678, 1);
  g_assert_cmpint (vt_fuse_lookup (f->c, 1, "f", &again, NULL), ==, 0);
  vt_fuse_forget (f->c, nodeid, 1);
  g_assert_cmpint (vt_fuse_getattr (f->c, again, NULL), ==, 0);
}

static void
test_forgets_come_on_the_urgent_queue (VtFs *f, gconstpointer data)
{
  struct {
    struct fuse_in_header in;
    struct fuse_batch_forget_in batch;
    struct fuse_forget_one ones[3];
  } message = { .in = { .len = sizeof message, .opcode = FUSE_BATCH_FORGET },
                .batch = { .count = 3 } };
  guint64 a, b;

  vt_fs_put (f, "a", "x");
  vt_fs_put (f, "b", "x");
  g_assert_cmpint (vt_fuse_lookup (f->c, 1, "a", &a, NULL), ==, 0);
  g_assert_cmpint (vt_fuse_lookup (f->c, 1, "b", &b, NULL), ==, 0);
  g_assert_cmpint (vt_fuse_lookup (f->c, 1, "b", &b, NULL), ==, 0);
  message.ones[0] = (struct fuse_forget_one){ a, 1 };
  message.ones[1] = (struct fuse_forget_one){ b, 1 };
  message.ones[2] = (struct fuse_forget_one){ 999, 1 };
  g_assert_cmpint (vt_fuse_raw (&f->fuse[0], &message, sizeof message, 0), ==,
                   0);
  g_assert_cmpint (vt_fuse_getattr (f->c, a, NULL), ==, -ESTALE);
  g_assert_cmpint (vt_fuse_getattr (f->c, b, NULL), ==, 0);
  vt_fuse_forget (&f->fuse[0], b, 1);
  g_assert_cmpint (vt_fuse_getattr (f->c, b, NULL), ==, -ESTALE);
}

static void
test_nothing_is_changed_on_a_read_only_export (VtFs *f, gconstpointer data)
{
  struct fuse_setattr_in chmod_in = { .valid = FATTR_MODE, .mode = 0777 };
  guint64 nodeid, other, fh;

  vt_fs_put (f, "f", "x");
  g_assert_cmpint (vt_fuse_lookup (f->c, 1, "f", &nodeid, NULL), ==, 0);
  g_assert_cmpint (vt_fuse_open (f->c, nodeid, O_RDONLY, &fh, NULL), ==, 0);
  g_assert_cmpint (vt_fuse_mkdir (f->c, 1, "d", 0755, &other), ==, -EROFS);
  g_assert_cmpint (vt_fuse_create (f->c, 1, "n", O_RDWR, 0600, &other, &fh), ==,
                   -EROFS);
  g_assert_cmpint (vt_fuse_symlink (f->c, 1, "l", "x", &other), ==, -EROFS);
  g_assert_cmpint (vt_fuse_mknod (f->c, 1, "p", S_IFIFO, 0, &other), ==,
                   -EROFS);
  g_assert_cmpint (vt_fuse_link (f->c, nodeid, 1, "h"), ==, -EROFS);
  g_assert_cmpint (vt_fuse_unlink (f->c, 1, "f"), ==, -EROFS);
  g_assert_cmpint (vt_fuse_rmdir (f->c, 1, "f"), ==, -EROFS);
  g_assert_cmpint (vt_fuse_rename (f->c, 1, "f", 1, "g", 0), ==, -EROFS);
  g_assert_cmpint (vt_fuse_setattr (f->c, nodeid, &chmod_in, NULL), ==, -EROFS);
}

/* Validity of answers. */

static void
test_missing_names_may_be_remembered (VtFs *f, gconstpointer data)
{
  guint64 nodeid = 1;

  g_assert_cmpint (vt_fuse_lookup (f->c, 1, "missing", &nodeid, NULL), ==, 0);
  g_assert_cmpuint (nodeid, ==, 0);
  g_assert_cmpuint (f->c->timeout, ==, 7);
}

static void
test_timeouts_follow_the_options (VtFs *f, gconstpointer data)
{
  const VtFsConfig *config = data;
  guint wanted = config == NULL      ? 1
                 : config == &always ? 86400
                 : config == &never  ? 0
                                     : 2;
  struct fuse_entry_out out;

  vt_fs_put (f, "f", "x");
  g_assert_cmpint (
      vt_fuse_call (f->c, FUSE_LOOKUP, 1, NULL, 0, "f", 2, &out, sizeof out),
      ==, sizeof out);
  g_assert_cmpuint (out.entry_valid, ==, wanted);
  if (config == &timeouts) {
    g_assert_cmpuint (out.entry_valid_nsec, ==, 500000000);
    g_assert_cmpuint (out.attr_valid, ==, 3);
  }
}

static void
test_open_flags_follow_the_cache_mode (VtFs *f, gconstpointer data)
{
  const VtFsConfig *config = data;
  g_autofree char *path = vt_fs_path (f, "f");
  const struct timespec old[2] = { { 1000, 0 }, { 1000, 0 } };
  guint64 nodeid, fh;
  guint32 flags;

  vt_fs_put (f, "f", "x");
  g_assert_cmpint (utimensat (AT_FDCWD, path, old, 0), ==, 0);
  g_usleep (50000); /* its change must not be a thing of this very moment */
  g_assert_cmpint (vt_fuse_lookup (f->c, 1, "f", &nodeid, NULL), ==, 0);
  g_assert_cmpint (vt_fuse_open (f->c, nodeid, O_RDONLY, &fh, &flags), ==, 0);
  if (config == &always)
    g_assert_cmphex (flags, ==, FOPEN_KEEP_CACHE);
  else if (config == &never)
    g_assert_cmphex (flags & FOPEN_DIRECT_IO, !=, 0);
  else {
    g_assert_cmphex (flags, ==, 0);
    g_assert_cmpint (vt_fuse_open (f->c, nodeid, O_RDONLY, &fh, &flags), ==, 0);
    g_assert_cmphex (flags, ==, FOPEN_KEEP_CACHE); /* unchanged since */
    g_assert_cmpint (chmod (path, 0600), ==, 0);   /* changes ctime */
    g_assert_cmpint (vt_fuse_open (f->c, nodeid, O_RDONLY, &fh, &flags), ==, 0);
    g_assert_cmphex (flags, ==, 0);
  }
}

int
main (int argc, char **argv)
{
  g_test_init (&argc, &argv, NULL);
#define ADD(name, func) VT_FS_TEST ("/fs/names/" name, NULL, func)
#define ADD_WITH(name, config, func)                                           \
  VT_FS_TEST ("/fs/names/" name, &config, func)
  ADD ("lookup", test_a_lookup_finds_what_the_host_made);
  ADD_WITH ("lookup/live", live, test_a_lookup_finds_what_the_host_made);
  ADD ("replaced", test_a_replaced_file_is_another_node);
  ADD ("dots", test_dots_are_the_directory_and_its_parent);
  ADD_WITH ("dots/live", live, test_a_live_jail_has_no_way_up);
  ADD ("links", test_links_are_read_and_never_followed);
  ADD_WITH ("links/live", live, test_links_are_read_and_never_followed);
  ADD ("special", test_special_files_are_made_but_not_opened);
  ADD_WITH ("special/live", live, test_special_files_are_made_but_not_opened);
  ADD ("change", test_names_are_made_moved_and_removed);
  ADD_WITH ("change/live", live, test_names_are_made_moved_and_removed);
  ADD ("create", test_creating_what_exists_opens_it);
  ADD ("tmpfile", test_a_file_without_a_name_gets_one);
  ADD ("tmpfile/overlayfs", test_overlayfs_gets_no_file_without_a_name);
  ADD ("forget", test_forgotten_nodes_are_stale);
  ADD ("forget/too-much", test_forgetting_too_much_harms_nothing);
  ADD ("forget/urgent", test_forgets_come_on_the_urgent_queue);
  ADD_WITH ("read-only", read_only,
            test_nothing_is_changed_on_a_read_only_export);
  ADD_WITH ("read-only/live", read_only_live,
            test_nothing_is_changed_on_a_read_only_export);
  ADD_WITH ("negative", negative, test_missing_names_may_be_remembered);
  ADD ("timeouts/auto", test_timeouts_follow_the_options);
  ADD_WITH ("timeouts/always", always, test_timeouts_follow_the_options);
  ADD_WITH ("timeouts/never", never, test_timeouts_follow_the_options);
  ADD_WITH ("timeouts/own", timeouts, test_timeouts_follow_the_options);
  ADD ("open/auto", test_open_flags_follow_the_cache_mode);
  ADD_WITH ("open/always", always, test_open_flags_follow_the_cache_mode);
  ADD_WITH ("open/never", never, test_open_flags_follow_the_cache_mode);
  return g_test_run ();
}
