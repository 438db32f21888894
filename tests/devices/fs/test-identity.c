/* SPDX-License-Identifier: BSD-3-Clause
 *
 * test-identity.c - who the guest's users are on the host
 */
#include <errno.h>
#include <fcntl.h>
#include <string.h>
#include <unistd.h>

#include "devices/fs/clone.h"
#include "tests/devices/fs/fixture.h"
#include "vring/fd.h"

static const VtFsConfig moved = { .keys = { "translate-uid", "map:0:5000:1000",
                                            "translate-gid",
                                            "map:0:6000:1000" } };
/* The same, by the kernel. */
static const VtFsConfig idmapped = {
  .keys = { "translate-uid", "map:0:5000:1000", "translate-gid",
            "map:0:6000:1000", "idmap", "yes" }
};
static const VtFsConfig forbidden = {
  .keys = { "translate-uid", "forbid-guest:0:100", "translate-gid",
            "forbid-guest:0:100" }
};
static const VtFsConfig squashed = {
  .keys = { "translate-uid", "squash-guest:0:1001:4294967295 host:1001:1000:1",
            "translate-gid", "squash-guest:0:100:4294967295 host:100:1000:1" }
};

static struct stat
stat_of (VtFs *f, const char *name)
{
  g_autofree char *path = vt_fs_path (f, name);
  struct stat st;

  g_assert_cmpint (lstat (path, &st), ==, 0);
  return st;
}

static void
expect_owner (VtFs *f, const char *name, guint32 uid, guint32 gid)
{
  struct stat st = stat_of (f, name);

  g_assert_cmpuint (st.st_uid, ==, uid);
  g_assert_cmpuint (st.st_gid, ==, gid);
}

static void
expect_seen (VtFs *f, const char *name, guint32 uid, guint32 gid)
{
  struct fuse_attr attr;
  guint64 nodeid;

  g_assert_cmpint (vt_fuse_lookup (f->c, 1, name, &nodeid, &attr), ==, 0);
  g_assert_cmpuint (attr.uid, ==, uid);
  g_assert_cmpuint (attr.gid, ==, gid);
  g_assert_cmpint (vt_fuse_getattr (f->c, nodeid, &attr), ==, 0);
  g_assert_cmpuint (attr.uid, ==, uid);
  g_assert_cmpuint (attr.gid, ==, gid);
}

/* Users of whom an idmapped mount knows nothing. */
static void
test_the_kernel_knows_no_other_users (VtFs *f, gconstpointer data)
{
  guint64 dir;

  vt_fs_put (f, "f", "x"); /* the host's root */
  expect_seen (f, "f", 65534, 65534);
  f->c->uid = f->c->gid = 1000;
  g_assert_cmpint (vt_fuse_mkdir (f->c, 1, "dir", 0755, &dir), ==, -EOVERFLOW);
}

/* Makes one of each kind as the caller. */
static void
make_all (VtFs *f)
{
  guint64 nodeid, fh;

  g_assert_cmpint (vt_fuse_create (f->c, 1, "file", O_RDWR, 0644, &nodeid, &fh),
                   ==, 0);
  g_assert_cmpint (vt_fuse_mkdir (f->c, 1, "dir", 0755, &nodeid), ==, 0);
  g_assert_cmpint (vt_fuse_symlink (f->c, 1, "link", "file", &nodeid), ==, 0);
  g_assert_cmpint (vt_fuse_mknod (f->c, 1, "fifo", S_IFIFO | 0644, 0, &nodeid),
                   ==, 0);
}

static const char *const kinds[] = { "file", "dir", "link", "fifo" };

static void
test_new_files_belong_to_the_translated_user (VtFs *f, gconstpointer data)
{
  if (!vt_fs_is_root ())
    return;
  g_assert_cmpint (chown (f->dir, 5000, 6000), ==, 0);
  f->c->uid = 12;
  f->c->gid = 34;
  make_all (f);
  for (guint i = 0; i < G_N_ELEMENTS (kinds); i++) {
    expect_owner (f, kinds[i], 5012, 6034);
    expect_seen (f, kinds[i], 12, 34);
  }
}

static int
change_owner (VtFs *f, const char *name, guint32 valid, guint32 uid,
              guint32 gid)
{
  struct fuse_setattr_in in = { .valid = valid, .uid = uid, .gid = gid };
  guint64 nodeid;

  g_assert_cmpint (vt_fuse_lookup (f->c, 1, name, &nodeid, NULL), ==, 0);
  return vt_fuse_setattr (f->c, nodeid, &in, NULL);
}

/* The host changes an owner. */
static void
give (VtFs *f, const char *name, guint32 uid, guint32 gid)
{
  g_autofree char *path = vt_fs_path (f, name);

  g_assert_cmpint (chown (path, uid, gid), ==, 0);
}

static void
test_changes_of_owner_are_translated (VtFs *f, gconstpointer data)
{
  if (!vt_fs_is_root ())
    return;
  vt_fs_put (f, "f", "x");
  give (f, "f", 5000, 6000);
  g_assert_cmpint (change_owner (f, "f", FATTR_UID | FATTR_GID, 1, 2), ==, 0);
  expect_owner (f, "f", 5001, 6002);
  g_assert_cmpint (change_owner (f, "f", FATTR_GID, 77, 3), ==, 0);
  expect_owner (f, "f", 5001, 6003);
  expect_seen (f, "f", 1, 3);
  if (data == &idmapped) {
    g_assert_cmpint (change_owner (f, "f", FATTR_UID, 2000, 77), <, 0);
    return;
  }
  g_assert_cmpint (change_owner (f, "f", FATTR_UID, 2000, 77), ==, 0);
  expect_owner (f, "f", 2000, 6003);
  expect_seen (f, "f", 2000, 3);
}

static void
test_forbidden_users_make_nothing (VtFs *f, gconstpointer data)
{
  guint64 nodeid, fh;

  vt_fs_put (f, "f", "x");
  for (guint i = 0; i < 2; i++) {
    f->c->uid = i == 0 ? 99 : 100;
    f->c->gid = i == 0 ? 100 : 99;
    g_assert_cmpint (
        vt_fuse_create (f->c, 1, "new", O_RDWR, 0644, &nodeid, &fh), ==,
        -EPERM);
    g_assert_cmpint (vt_fuse_mkdir (f->c, 1, "new", 0755, &nodeid), ==, -EPERM);
    g_assert_cmpint (vt_fuse_symlink (f->c, 1, "new", "x", &nodeid), ==,
                     -EPERM);
    g_assert_cmpint (vt_fuse_mknod (f->c, 1, "new", S_IFREG | 0644, 0, &nodeid),
                     ==, -EPERM);
  }
  g_assert_cmpint (change_owner (f, "f", FATTR_UID, 99, 0), ==, -EPERM);
  g_assert_cmpint (change_owner (f, "f", FATTR_GID, 0, 99), ==, -EPERM);
  g_assert_cmpint (vt_fuse_lookup (f->c, 1, "new", &nodeid, NULL), ==, -ENOENT);
}

static void
test_squashed_users_are_one_on_the_host (VtFs *f, gconstpointer data)
{
  if (!vt_fs_is_root ())
    return;
  f->c->uid = f->c->gid = 0;
  make_all (f);
  for (guint i = 0; i < G_N_ELEMENTS (kinds); i++) {
    expect_owner (f, kinds[i], 1001, 100);
    expect_seen (f, kinds[i], 1000, 1000);
  }
}

static void
test_access_is_judged_by_the_guests_numbers (VtFs *f, gconstpointer data)
{
  struct fuse_access_in in = { .mask = W_OK };
  g_autofree char *path = vt_fs_path (f, "f");
  guint64 nodeid;

  if (!vt_fs_is_root ())
    return;
  vt_fs_put (f, "f", "x");
  g_assert_cmpint (chown (path, 5007, 6007), ==, 0);
  g_assert_cmpint (chmod (path, 0600), ==, 0);
  g_assert_cmpint (vt_fuse_lookup (f->c, 1, "f", &nodeid, NULL), ==, 0);
  f->c->uid = 7;
  g_assert_cmpint (vt_fuse_call (f->c, FUSE_ACCESS, nodeid, &in, sizeof in,
                                 NULL, 0, NULL, 0),
                   ==, 0);
  f->c->uid = 5007;
  g_assert_cmpint (vt_fuse_call (f->c, FUSE_ACCESS, nodeid, &in, sizeof in,
                                 NULL, 0, NULL, 0),
                   ==, -EACCES);
}

static void
test_no_idmapped_mounts (void)
{
  g_test_skip ("no idmapped mounts here");
}

/* Whether they are permitted, and known by the file system of /tmp. */
static gboolean
has_idmapped_mounts (void)
{
  static const VdFsCloneConfig config = { .uid_map = "5000 0 1\n",
                                          .gid_map = "5000 0 1\n" };
  vd_autofd fd = vd_fs_clone (g_get_tmp_dir (), &config);

  return fd >= 0;
}

int
main (int argc, char **argv)
{
  g_test_init (&argc, &argv, NULL);
#define ADD(name, config, func) VT_FS_TEST ("/fs/identity/" name, config, func)
  ADD ("create", &moved, test_new_files_belong_to_the_translated_user);
  ADD ("chown", &moved, test_changes_of_owner_are_translated);
  ADD ("forbid", &forbidden, test_forbidden_users_make_nothing);
  ADD ("squash", &squashed, test_squashed_users_are_one_on_the_host);
  ADD ("access", &moved, test_access_is_judged_by_the_guests_numbers);
  if (has_idmapped_mounts ()) {
    ADD ("kernel/create", &idmapped,
         test_new_files_belong_to_the_translated_user);
    ADD ("kernel/access", &idmapped,
         test_access_is_judged_by_the_guests_numbers);
    ADD ("kernel/chown", &idmapped, test_changes_of_owner_are_translated);
    ADD ("kernel/others", &idmapped, test_the_kernel_knows_no_other_users);
  } else
    g_test_add_func ("/fs/identity/kernel", test_no_idmapped_mounts);
  return g_test_run ();
}
