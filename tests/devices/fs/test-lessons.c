/* SPDX-License-Identifier: BSD-3-Clause
 *
 * test-lessons.c - flaws of other implementations, each tried here by its number
 *
 * Nothing below is allowed for by a guest's kernel; a hostile one sends it.
 */
#include <errno.h>
#include <fcntl.h>
#include <grp.h>
#include <linux/capability.h>
#include <stdio.h>
#include <string.h>
#include <sys/resource.h>
#include <sys/statvfs.h>
#include <sys/sysmacros.h>
#include <sys/xattr.h>
#include <unistd.h>

#include "devices/fs/export.h"
#include "tests/devices/fs/fixture.h"

static const VtFsConfig mapped = { .keys = { "xattr", "yes", "xattrmap",
                                             ":map::user.guest.:" } };
static const VtFsConfig read_only = { .keys = { "read-only", "yes" } };
static const VtFsConfig no_jail = { .keys = { "jail", "none" } };

/* One guest opens files until the host has no descriptor left. */
static void
test_cve_2020_10717_descriptors_of_the_host (VtFs *f, gconstpointer data)
{
  enum { LIMIT = 150, TRIES = 400 };
  struct rlimit old, low;
  guint64 nodeid, fh;
  guint n = 0;
  int r = 0, spare;

  g_assert_cmpint (getrlimit (RLIMIT_NOFILE, &old), ==, 0);
  low = (struct rlimit){ LIMIT, old.rlim_max };
  g_assert_cmpint (setrlimit (RLIMIT_NOFILE, &low), ==, 0);
  vt_fs_open_again (f, data);
  vt_fs_put (f, "f", "x");
  g_assert_cmpint (vt_fuse_lookup (f->c, 1, "f", &nodeid, NULL), ==, 0);
  while (r == 0 && n < TRIES) {
    r = vt_fuse_open (f->c, nodeid, O_RDONLY, &fh, NULL);
    n += r == 0;
  }
  g_assert_cmpint (r, ==, -ENFILE);
  g_assert_cmpuint (n, >, 0);
  /* The other devices of the process have some left, and so has the guest once
   * it closes one. */
  spare = open ("/dev/null", O_RDONLY | O_CLOEXEC);
  g_assert_cmpint (spare, >=, 0);
  close (spare);
  g_assert_cmpint (vt_fuse_release (f->c, nodeid, fh), ==, 0);
  g_assert_cmpint (vt_fuse_open (f->c, nodeid, O_RDONLY, &fh, NULL), ==, 0);
  g_assert_cmpint (setrlimit (RLIMIT_NOFILE, &old), ==, 0);
}

/* Everything that could open what @name is. */
static void
try_to_open (VtFs *f, const char *name)
{
  struct fuse_setattr_in truncate = { .valid = FATTR_SIZE };
  guint64 nodeid, fh;

  g_assert_cmpint (vt_fuse_lookup (f->c, 1, name, &nodeid, NULL), ==, 0);
  for (guint i = 0; i < 3; i++) {
    static const guint32 modes[] = { O_RDONLY, O_WRONLY, O_RDWR };

    g_assert_cmpint (vt_fuse_open (f->c, nodeid, modes[i], &fh, NULL), ==,
                     -EBADF);
    g_assert_cmpint (
        vt_fuse_create (f->c, 1, name, modes[i], 0644, &nodeid, &fh), ==,
        -EBADF);
  }
  g_assert_cmpint (vt_fuse_opendir (f->c, nodeid, &fh), ==, -ENOTDIR);
  g_assert_cmpint (vt_fuse_setattr (f->c, nodeid, &truncate, NULL), ==,
                   -EINVAL);
}

/* Opening a device acts on the host, a FIFO waits for somebody. */
static void
test_cve_2020_35517_and_2023_2861_special_files (VtFs *f, gconstpointer data)
{
  g_autofree char *device = vt_fs_path (f, "device");
  g_autofree char *fifo = vt_fs_path (f, "fifo");
  guint64 nodeid;

  g_assert_cmpint (mkfifo (fifo, 0666), ==, 0);
  try_to_open (f, "fifo");
  if (mknod (device, S_IFCHR | 0666, makedev (1, 3)) < 0)
    return;
  try_to_open (f, "device");
  /* One that the guest makes itself is no better. */
  g_assert_cmpint (
      vt_fuse_mknod (f->c, 1, "own", S_IFBLK | 0666, 0x700, &nodeid), ==, 0);
  try_to_open (f, "own");
}

/* File capabilities under another name, which the host's kernel does not know
 * as such, must go when the file changes. */

#define CAPS "security.capability"

static gboolean
set_caps (VtFs *f, guint64 nodeid)
{
  struct vfs_cap_data caps = { .magic_etc = VFS_CAP_REVISION_2 };

  return vt_fuse_setxattr (f->c, nodeid, CAPS, &caps, sizeof caps, 0) == 0 &&
         vt_fuse_getxattr (f->c, nodeid, CAPS, NULL, 0) > 0;
}

static void
expect_no_caps (VtFs *f, guint64 nodeid, const char *after)
{
  if (vt_fuse_getxattr (f->c, nodeid, CAPS, NULL, 0) != -ENODATA)
    g_error ("capabilities are left after %s", after);
  g_assert_true (set_caps (f, nodeid));
}

static void
test_cve_2021_20263_mapped_capabilities (VtFs *f, gconstpointer data)
{
  struct fuse_setattr_in size = { .valid = FATTR_SIZE, .size = 1 };
  struct fuse_setattr_in owner = { .valid = FATTR_UID, .uid = geteuid () };
  struct fuse_fallocate_in allocate = { .length = 8192 };
  guint64 nodeid, fh;

  vt_fs_put (f, "f", "0123456789");
  fh = vt_fs_open (f, "f", O_RDWR, &nodeid);
  if (!set_caps (f, nodeid)) {
    g_test_skip ("the file system of /tmp has no extended attributes");
    return;
  }
  g_assert_cmpint (vt_fuse_write (f->c, nodeid, fh, 0, "x", 1), ==, 1);
  expect_no_caps (f, nodeid, "WRITE");
  g_assert_cmpint (vt_fuse_setattr (f->c, nodeid, &size, NULL), ==, 0);
  expect_no_caps (f, nodeid, "SETATTR of the size");
  g_assert_cmpint (vt_fuse_setattr (f->c, nodeid, &owner, NULL), ==, 0);
  expect_no_caps (f, nodeid, "SETATTR of the owner");
  allocate.fh = fh;
  if (vt_fuse_call (f->c, FUSE_FALLOCATE, nodeid, &allocate, sizeof allocate,
                    NULL, 0, NULL, 0) == 0)
    expect_no_caps (f, nodeid, "FALLOCATE");
  g_assert_cmpint (vt_fuse_open (f->c, nodeid, O_WRONLY | O_TRUNC, &fh, NULL),
                   ==, 0);
  expect_no_caps (f, nodeid, "OPEN that truncates");
  g_assert_cmpint (
      vt_fuse_create (f->c, 1, "f", O_WRONLY | O_TRUNC, 0644, &nodeid, &fh), ==,
      0);
  expect_no_caps (f, nodeid, "CREATE that truncates");
}

static void
test_cve_2021_20263_copied_content (VtFs *f, gconstpointer data)
{
  struct fuse_copy_file_range_in in = { .len = 5 };
  guint64 from, to;
  struct fuse_write_out out;

  vt_fs_put (f, "from", "0123456789");
  vt_fs_put (f, "f", "abcdefghij");
  in.fh_in = vt_fs_open (f, "from", O_RDONLY, &from);
  in.fh_out = vt_fs_open (f, "f", O_RDWR, &to);
  in.nodeid_out = to;
  if (!set_caps (f, to)) {
    g_test_skip ("the file system of /tmp has no extended attributes");
    return;
  }
  g_assert_cmpint (vt_fuse_call (f->c, FUSE_COPY_FILE_RANGE, from, &in,
                                 sizeof in, NULL, 0, &out, sizeof out),
                   ==, sizeof out);
  expect_no_caps (f, to, "COPY_FILE_RANGE");
}

/* A user of the guest makes a set-gid program of a group that the daemon, but
 * not the user, is in. */
static void
test_cve_2022_0358_groups_of_the_daemon (VtFs *f, gconstpointer data)
{
  g_autofree char *dir = vt_fs_path (f, "dir");
  gid_t group = 555;
  guint64 parent, nodeid, fh;
  struct fuse_attr attr;

  if (!vt_fs_is_root ())
    return;
  g_assert_cmpint (setgroups (1, &group), ==, 0);
  vt_fs_open_again (f, data);
  g_assert_cmpint (mkdir (dir, 0777), ==, 0);
  g_assert_cmpint (chown (dir, 0, group), ==, 0);
  g_assert_cmpint (chmod (dir, 02777), ==, 0);
  g_assert_cmpint (vt_fuse_lookup (f->c, 1, "dir", &parent, NULL), ==, 0);
  f->c->uid = f->c->gid = 1000;
  g_assert_cmpint (
      vt_fuse_create (f->c, parent, "program", O_RDWR, 02755, &nodeid, &fh), ==,
      0);
  g_assert_cmpint (vt_fuse_getattr (f->c, nodeid, &attr), ==, 0);
  g_assert_cmpuint (attr.gid, ==, group);
  g_assert_cmpuint (attr.mode & 07777, ==, 0755);
  g_assert_cmpint (setgroups (0, NULL), ==, 0);
}

/* Set-id bits go when an unprivileged process of the guest changes a file, in
 * whatever way; for some the protocol has no flag. */
static guint32
mode_after (VtFs *f, guint64 nodeid)
{
  g_autofree char *path = vt_fs_path (f, "f");
  struct fuse_attr attr;

  g_assert_cmpint (vt_fuse_getattr (f->c, nodeid, &attr), ==, 0);
  g_assert_cmpint (chmod (path, 06755), ==, 0);
  return attr.mode & 07777;
}

static int
create_f (VtFs *f, guint32 open_flags)
{
  struct fuse_create_in in = { .flags = O_WRONLY | O_TRUNC,
                               .mode = S_IFREG | 0644,
                               .open_flags = open_flags };
  guint8 out[sizeof (struct fuse_entry_out) + sizeof (struct fuse_open_out)];

  return (int) vt_fuse_call (f->c, FUSE_CREATE, 1, &in, sizeof in, "f", 2, out,
                             sizeof out);
}

static void
test_set_id_bits_do_not_outlive_a_change (VtFs *f, gconstpointer data)
{
  struct fuse_fallocate_in in = { .length = 4096 };
  struct fuse_setattr_in owner = { .valid = FATTR_UID, .uid = 1000 };
  guint64 nodeid;

  if (!vt_fs_is_root ())
    return;
  vt_fs_put (f, "f", "0123456789");
  in.fh = vt_fs_open (f, "f", O_RDWR, &nodeid);
  (void) mode_after (f, nodeid);
  f->c->uid = f->c->gid = 1000;
  if (vt_fuse_call (f->c, FUSE_FALLOCATE, nodeid, &in, sizeof in, NULL, 0, NULL,
                    0) == 0)
    g_assert_cmpuint (mode_after (f, nodeid), ==, 0755);
  g_assert_cmpint (create_f (f, FUSE_OPEN_KILL_SUIDGID), >, 0);
  g_assert_cmpuint (mode_after (f, nodeid), ==, 0755);
  g_assert_cmpint (vt_fuse_setattr (f->c, nodeid, &owner, NULL), ==, 0);
  g_assert_cmpuint (mode_after (f, nodeid), ==, 0755);
  /* The guest's root keeps them. */
  f->c->uid = f->c->gid = 0;
  g_assert_cmpint (create_f (f, 0), >, 0);
  g_assert_cmpuint (mode_after (f, nodeid), ==, 06755);
  if (vt_fuse_call (f->c, FUSE_FALLOCATE, nodeid, &in, sizeof in, NULL, 0, NULL,
                    0) == 0)
    g_assert_cmpuint (mode_after (f, nodeid), ==, 06755);
}

/* A thread that is started while another one acts for who may not keep them has
 * lost nothing for good. */
static void
test_set_id_bits_outlive_roots_changes (VtFs *f, gconstpointer data)
{
  struct {
    struct fuse_write_in in;
    char data[4];
  } write = { .in = { .size = 4,
                      .write_flags = FUSE_WRITE_KILL_SUIDGID,
                      .flags = O_RDWR | O_DSYNC } };
  struct fuse_fallocate_in allocate = { .length = 4096 };
  struct fuse_write_out out;
  guint64 nodeid;

  if (!vt_fs_is_root ())
    return;
  vt_fs_put (f, "f", "0123456789");
  write.in.fh = allocate.fh = vt_fs_open (f, "f", O_RDWR, &nodeid);
  (void) mode_after (f, nodeid);
  f->c->uid = f->c->gid = 1000;
  g_assert_cmpint (vt_fuse_call (f->c, FUSE_WRITE, nodeid, &write.in,
                                 sizeof write.in, write.data, 4, &out,
                                 sizeof out),
                   ==, sizeof out);
  g_assert_cmpuint (mode_after (f, nodeid), ==, 0755);
  f->c->uid = f->c->gid = 0;
  if (vt_fuse_call (f->c, FUSE_FALLOCATE, nodeid, &allocate, sizeof allocate,
                    NULL, 0, NULL, 0) == 0)
    g_assert_cmpuint (mode_after (f, nodeid), ==, 06755);
}

/* Names that are paths.  Kata's guests left the export by a SYMLINK with an
 * absolute name, libkrun's by "..". */
static void
expect_refused (VtFs *f, const char *name, guint64 file)
{
  guint64 nodeid, fh;

  g_assert_cmpint (vt_fuse_create (f->c, 1, name, O_RDWR, 0644, &nodeid, &fh),
                   ==, -EINVAL);
  g_assert_cmpint (vt_fuse_mkdir (f->c, 1, name, 0755, &nodeid), ==, -EINVAL);
  g_assert_cmpint (vt_fuse_mknod (f->c, 1, name, S_IFREG | 0644, 0, &nodeid),
                   ==, -EINVAL);
  g_assert_cmpint (vt_fuse_symlink (f->c, 1, name, "target", &nodeid), ==,
                   -EINVAL);
  g_assert_cmpint (vt_fuse_link (f->c, file, 1, name), ==, -EINVAL);
  g_assert_cmpint (vt_fuse_rename (f->c, 1, "file", 1, name, 0), ==, -EINVAL);
  g_assert_cmpint (vt_fuse_rename (f->c, 1, name, 1, "other", 0), ==, -EINVAL);
  g_assert_cmpint (vt_fuse_unlink (f->c, 1, name), ==, -EINVAL);
  g_assert_cmpint (vt_fuse_rmdir (f->c, 1, name), ==, -EINVAL);
}

static void
test_ghsa_2gv2_and_libkrun_329_names_that_are_paths (VtFs *f,
                                                     gconstpointer data)
{
  g_autofree char *outside = g_strdup_printf ("%s-outside", f->dir);
  g_autofree char *up =
      g_strdup_printf ("../%s-outside", strrchr (f->dir, '/') + 1);
  guint64 file, nodeid;

  vt_fs_put (f, "file", "x");
  g_assert_cmpint (vt_fuse_lookup (f->c, 1, "file", &file, NULL), ==, 0);
  expect_refused (f, outside, file);
  expect_refused (f, up, file);
  expect_refused (f, "..", file);
  expect_refused (f, ".", file);
  expect_refused (f, "", file);
  g_assert_cmpint (vt_fuse_lookup (f->c, 1, "../..", &nodeid, NULL), ==,
                   -EINVAL);
  g_assert_cmpint (access (outside, F_OK), <, 0);
}

/* A read-only share must not depend on the guest, nor on our own list of what
 * changes something. */
static void
test_ghsa_g6ww_read_only_by_the_kernel (VtFs *f, gconstpointer data)
{
  const VdFs *fs = (const VdFs *) f->rig->dev;
  struct statvfs st;

  if (fs->jail.kind != VD_FS_JAIL_CLONE) {
    g_test_skip ("no detached mount here");
    return;
  }
  vt_fs_put (f, "f", "x");
  g_assert_cmpint (fstatvfs (fs->jail.root, &st), ==, 0);
  g_assert_cmphex (st.f_flag & ST_RDONLY, !=, 0);
  g_assert_cmpint (unlinkat (fs->jail.root, "f", 0), <, 0);
  g_assert_cmpint (errno, ==, EROFS);
  g_assert_cmpint (fchmodat (fs->jail.root, "f", 0777, 0), <, 0);
  g_assert_cmpint (errno, ==, EROFS);
}

/* Somebody on the host, perhaps another guest, puts a link to elsewhere in the
 * place of a directory that was looked up. */
static void
test_cve_2016_9602_a_link_in_the_place_of_a_directory (VtFs *f,
                                                       gconstpointer data)
{
  g_autofree char *dir = vt_fs_path (f, "dir");
  g_autofree char *moved = vt_fs_path (f, "moved");
  g_autofree char *target = g_dir_make_tmp ("virtiod-elsewhere-XXXXXX", NULL);
  g_autofree char *victim = g_build_filename (target, "victim", NULL);
  guint64 parent, link, nodeid, fh;

  g_assert_true (g_file_set_contents (victim, "x", 1, NULL));
  g_assert_cmpint (mkdir (dir, 0755), ==, 0);
  g_assert_cmpint (vt_fuse_lookup (f->c, 1, "dir", &parent, NULL), ==, 0);
  g_assert_cmpint (rename (dir, moved), ==, 0);
  g_assert_cmpint (symlink (target, dir), ==, 0);
  /* The directory is the one that was looked up. */
  g_assert_cmpint (vt_fuse_unlink (f->c, parent, "victim"), ==, -ENOENT);
  g_assert_cmpint (
      vt_fuse_create (f->c, parent, "new", O_RDWR, 0644, &nodeid, &fh), ==, 0);
  /* The link is a link. */
  g_assert_cmpint (vt_fuse_lookup (f->c, 1, "dir", &link, NULL), ==, 0);
  g_assert_cmpint (vt_fuse_lookup (f->c, link, "victim", &nodeid, NULL), <, 0);
  g_assert_cmpint (vt_fuse_unlink (f->c, link, "victim"), <, 0);
  g_assert_cmpint (
      vt_fuse_create (f->c, link, "new", O_RDWR, 0644, &nodeid, &fh), <, 0);
  g_assert_cmpint (vt_fuse_opendir (f->c, link, &fh), <, 0);
  g_assert_cmpint (access (victim, F_OK), ==, 0);
  g_assert_cmpint (unlink (victim), ==, 0);
  g_assert_cmpint (rmdir (target), ==, 0); /* nothing else is in it */
}

/* libfuse would start io_uring, or trust in the length of what follows. */
static void
test_cve_2026_33150_and_33179_what_init_may_turn_on (VtFs *f,
                                                     gconstpointer data)
{
  const guint64 io_uring = 1ull << 41, passthrough = 1ull << 37;

  g_assert_cmpint (vt_fuse_init (f->c, io_uring | passthrough | FUSE_INIT_EXT |
                                           FUSE_BIG_WRITES),
                   ==, 0);
  g_assert_cmphex (f->c->flags & (io_uring | passthrough), ==, 0);
  g_assert_cmpint (vt_fuse_getattr (f->c, 1, NULL), ==, 0);
}

/* virtiofsd ends at a message that it cannot decode, and with it the guest. */
static void
test_a_malformed_message_ends_nothing (VtFs *f, gconstpointer data)
{
  struct fuse_in_header in = { .len = sizeof in, .opcode = FUSE_WRITE };
  struct fuse_out_header out;

  for (guint32 opcode = 0; opcode < 5000; opcode++) {
    in.opcode = opcode < 128 ? opcode : opcode * 0x10001;
    in.unique = opcode + 1;
    if (in.opcode == FUSE_INIT || in.opcode == FUSE_DESTROY)
      continue;
    if (vt_fuse_raw (f->c, &in, sizeof in, 4096) == 0)
      continue;
    memcpy (&out, f->c->in, sizeof out);
    g_assert_cmpint (out.error, <=, 0);
  }
  g_assert_cmpint (vt_fuse_getattr (f->c, 1, NULL), ==, 0);
}

int
main (int argc, char **argv)
{
  g_test_init (&argc, &argv, NULL);
#define ADD(name, config, func) VT_FS_TEST ("/fs/lessons/" name, config, func)
  ADD ("CVE-2020-10717", NULL, test_cve_2020_10717_descriptors_of_the_host);
  ADD ("CVE-2020-35517", NULL, test_cve_2020_35517_and_2023_2861_special_files);
  ADD ("CVE-2023-2861", &no_jail,
       test_cve_2020_35517_and_2023_2861_special_files);
  ADD ("CVE-2021-20263", &mapped, test_cve_2021_20263_mapped_capabilities);
  ADD ("CVE-2021-20263/copy", &mapped, test_cve_2021_20263_copied_content);
  ADD ("CVE-2022-0358", NULL, test_cve_2022_0358_groups_of_the_daemon);
  ADD ("set-id", NULL, test_set_id_bits_do_not_outlive_a_change);
  ADD ("set-id/root", NULL, test_set_id_bits_outlive_roots_changes);
  ADD ("GHSA-2gv2-cffp-j227", NULL,
       test_ghsa_2gv2_and_libkrun_329_names_that_are_paths);
  ADD ("libkrun-329", &no_jail,
       test_ghsa_2gv2_and_libkrun_329_names_that_are_paths);
  ADD ("GHSA-g6ww-w5j2-r7x3", &read_only,
       test_ghsa_g6ww_read_only_by_the_kernel);
  ADD ("CVE-2016-9602", NULL,
       test_cve_2016_9602_a_link_in_the_place_of_a_directory);
  ADD ("CVE-2016-9602/none", &no_jail,
       test_cve_2016_9602_a_link_in_the_place_of_a_directory);
  ADD ("CVE-2026-33150", NULL,
       test_cve_2026_33150_and_33179_what_init_may_turn_on);
  ADD ("malformed", NULL, test_a_malformed_message_ends_nothing);
  return g_test_run ();
}
