/* SPDX-License-Identifier: BSD-3-Clause
 *
 * test-xattr.c - extended attributes through virtio-fs, under their own names
 * and under others
 */
#include <errno.h>
#include <linux/posix_acl.h>
#include <linux/posix_acl_xattr.h>
#include <string.h>
#include <sys/xattr.h>
#include <unistd.h>

#include "tests/devices/fs/fixture.h"

#define ACL "system.posix_acl_access"

static const VtFsConfig plain = { .keys = { "xattr", "yes" } };
static const VtFsConfig without_acl = { .keys = { "xattr", "yes", "posix-acl",
                                                  "never" } };
static const VtFsConfig all_mapped = { .keys = { "xattr", "yes", "xattrmap",
                                                 ":map::user.guest.:" } };
static const VtFsConfig one_mapped = { .keys = { "xattr", "yes", "xattrmap",
                                                 ":map:trusted.:user.v.:" } };
static const VtFsConfig hidden = {
  .keys = { "xattr", "yes", "xattrmap",
            "/unsupported/all/security./security./ "
            "/bad/all/user.secret/user.secret/ /ok/all///" }
};
static const VtFsConfig translated = { .keys = { "xattr", "yes",
                                                 "translate-uid",
                                                 "map:0:5000:1000 "
                                                 "forbid-guest:2000:1" } };

/* Makes file "f"; the test is skipped where it can have no attributes. */
static gboolean
make_file (VtFs *f, guint64 *ret_nodeid)
{
  g_autofree char *path = vt_fs_path (f, "f");

  vt_fs_put (f, "f", "x");
  g_assert_cmpint (vt_fuse_lookup (f->c, 1, "f", ret_nodeid, NULL), ==, 0);
  if (setxattr (path, "user.host", "h", 1, 0) == 0)
    return TRUE;
  g_test_skip ("the file system of /tmp has no extended attributes");
  return FALSE;
}

/* What the host has under @name: its first byte, 0 for nothing. */
static char
on_host (VtFs *f, const char *name)
{
  g_autofree char *path = vt_fs_path (f, "f");
  char value[64];

  return getxattr (path, name, value, sizeof value) > 0 ? value[0] : 0;
}

static void
put_on_host (VtFs *f, const char *name, const char *value)
{
  g_autofree char *path = vt_fs_path (f, "f");

  g_assert_cmpint (setxattr (path, name, value, strlen (value), 0), ==, 0);
}

static gboolean
is_listed (VtFs *f, guint64 nodeid, const char *name)
{
  char names[1024];
  gssize n = vt_fuse_listxattr (f->c, nodeid, names, sizeof names);

  g_assert_cmpint (n, >=, 0);
  g_assert_cmpint (vt_fuse_listxattr (f->c, nodeid, NULL, 0), ==, n);
  for (gssize at = 0; at < n; at += (gssize) strlen (names + at) + 1)
    if (strcmp (names + at, name) == 0)
      return TRUE;
  return FALSE;
}

static void
test_extended_attributes_are_kept (VtFs *f, gconstpointer data)
{
  char value[300], names[300];
  guint64 nodeid;
  gssize n;

  vt_fs_put (f, "f", "x");
  g_assert_cmpint (vt_fuse_lookup (f->c, 1, "f", &nodeid, NULL), ==, 0);
  if (vt_fuse_setxattr (f->c, nodeid, "user.a", "value", 5, 0) == -EOPNOTSUPP) {
    g_test_skip ("the file system of /tmp has no extended attributes");
    return;
  }
  g_assert_cmpint (vt_fuse_getxattr (f->c, nodeid, "user.a", value, 300), ==,
                   5);
  g_assert_cmpmem (value, 5, "value", 5);
  g_assert_cmpint (vt_fuse_getxattr (f->c, nodeid, "user.a", NULL, 0), ==, 5);
  g_assert_cmpint (vt_fuse_getxattr (f->c, nodeid, "user.a", value, 3), ==,
                   -ERANGE);
  g_assert_cmpint (vt_fuse_getxattr (f->c, nodeid, "user.none", value, 300), ==,
                   -ENODATA);
  g_assert_cmpint (
      vt_fuse_setxattr (f->c, nodeid, "user.a", "v", 1, XATTR_CREATE), ==,
      -EEXIST);
  g_assert_cmpint (
      vt_fuse_setxattr (f->c, nodeid, "user.b", "", 0, XATTR_REPLACE), ==,
      -ENODATA);
  n = vt_fuse_listxattr (f->c, nodeid, names, sizeof names);
  g_assert_cmpint (n, >=, 7);
  g_assert_nonnull (memmem (names, (gsize) n, "user.a", 7));
  g_assert_cmpint (vt_fuse_removexattr (f->c, nodeid, "user.a"), ==, 0);
  g_assert_cmpint (vt_fuse_getxattr (f->c, nodeid, "user.a", value, 300), ==,
                   -ENODATA);
}

static void
test_without_the_option_there_are_none (VtFs *f, gconstpointer data)
{
  char value[8];

  g_assert_cmpint (vt_fuse_getxattr (f->c, 1, "user.a", value, 8), ==, -ENOSYS);
  g_assert_cmpint (vt_fuse_setxattr (f->c, 1, "user.a", "v", 1, 0), ==,
                   -ENOSYS);
  g_assert_cmphex (f->c->flags &
                       (FUSE_POSIX_ACL | FUSE_DONT_MASK | FUSE_SETXATTR_EXT),
                   ==, 0);
}

static void
test_lists_that_do_not_fit_are_an_error (VtFs *f, gconstpointer data)
{
  char names[64];
  guint64 nodeid;

  if (!make_file (f, &nodeid))
    return;
  g_assert_cmpint (vt_fuse_listxattr (f->c, nodeid, names, 9), ==, -ERANGE);
  g_assert_cmpint (vt_fuse_listxattr (f->c, nodeid, names, 64), >=, 10);
}

static void
test_mapped_names_are_others_on_the_host (VtFs *f, gconstpointer data)
{
  guint64 nodeid;
  char value[8];

  if (!make_file (f, &nodeid))
    return;
  g_assert_cmpint (
      vt_fuse_setxattr (f->c, nodeid, "security.selinux", "s", 1, 0), ==, 0);
  g_assert_cmpint (on_host (f, "user.guest.security.selinux"), ==, 's');
  g_assert_cmpint (on_host (f, "security.selinux"), ==, 0);
  g_assert_cmpint (
      vt_fuse_getxattr (f->c, nodeid, "security.selinux", value, 8), ==, 1);
  g_assert_true (is_listed (f, nodeid, "security.selinux"));
  g_assert_false (is_listed (f, nodeid, "user.host"));
  g_assert_cmpint (vt_fuse_getxattr (f->c, nodeid, "user.host", value, 8), ==,
                   -ENODATA);
  g_assert_cmpint (vt_fuse_removexattr (f->c, nodeid, "security.selinux"), ==,
                   0);
  g_assert_cmpint (on_host (f, "user.guest.security.selinux"), ==, 0);
}

/* Else an unprivileged user of the guest could write what only its root may. */
static void
test_a_mapped_name_space_has_no_back_door (VtFs *f, gconstpointer data)
{
  guint64 nodeid;

  if (!make_file (f, &nodeid))
    return;
  g_assert_cmpint (
      vt_fuse_setxattr (f->c, nodeid, "trusted.overlay.opaque", "y", 1, 0), ==,
      0);
  g_assert_cmpint (on_host (f, "user.v.trusted.overlay.opaque"), ==, 'y');
  g_assert_cmpint (vt_fuse_setxattr (f->c, nodeid,
                                     "user.v.trusted.overlay.opaque", "n", 1,
                                     0),
                   ==, -EPERM);
  g_assert_cmpint (
      vt_fuse_removexattr (f->c, nodeid, "user.v.trusted.overlay.opaque"), ==,
      -EPERM);
  g_assert_cmpint (on_host (f, "user.v.trusted.overlay.opaque"), ==, 'y');
  g_assert_true (is_listed (f, nodeid, "trusted.overlay.opaque"));
  g_assert_true (is_listed (f, nodeid, "user.host"));
}

static void
test_hidden_names_are_refused_each_in_its_way (VtFs *f, gconstpointer data)
{
  guint64 nodeid;
  char value[8];

  if (!make_file (f, &nodeid))
    return;
  put_on_host (f, "user.secret", "s");
  g_assert_cmpint (
      vt_fuse_setxattr (f->c, nodeid, "security.selinux", "s", 1, 0), ==,
      -EOPNOTSUPP);
  g_assert_cmpint (
      vt_fuse_getxattr (f->c, nodeid, "security.selinux", value, 8), ==,
      -EOPNOTSUPP);
  g_assert_cmpint (vt_fuse_setxattr (f->c, nodeid, "user.secret", "t", 1, 0),
                   ==, -EPERM);
  g_assert_cmpint (vt_fuse_removexattr (f->c, nodeid, "user.secret"), ==,
                   -EPERM);
  g_assert_cmpint (vt_fuse_getxattr (f->c, nodeid, "user.secret", value, 8), ==,
                   -ENODATA);
  g_assert_false (is_listed (f, nodeid, "user.secret"));
  g_assert_cmpint (on_host (f, "user.secret"), ==, 's');
}

/* ACLs. */

typedef struct {
  struct posix_acl_xattr_header header;
  struct posix_acl_xattr_entry entries[5];
} Acl;

/* Lets user @uid write. */
static Acl
acl_for (guint32 uid)
{
  return (Acl){
    .header = { POSIX_ACL_XATTR_VERSION },
    .entries = { { ACL_USER_OBJ, 6, ACL_UNDEFINED_ID },
                 { ACL_USER, 6, uid },
                 { ACL_GROUP_OBJ, 4, ACL_UNDEFINED_ID },
                 { ACL_MASK, 6, ACL_UNDEFINED_ID },
                 { ACL_OTHER, 0, ACL_UNDEFINED_ID } },
  };
}

static int
set_acl (VtFs *f, guint64 nodeid, guint32 uid)
{
  Acl acl = acl_for (uid);

  return vt_fuse_setxattr (f->c, nodeid, ACL, &acl, sizeof acl, 0);
}

/* A guest that does not enforce ACLs must not think that somebody does. */
static void
test_acls_that_nobody_enforces_are_unsupported (VtFs *f, gconstpointer data)
{
  guint64 nodeid;
  char value[64];
  g_autofree char *path = vt_fs_path (f, "f");
  Acl acl = acl_for (7);

  if (!make_file (f, &nodeid))
    return;
  g_assert_cmpint (set_acl (f, nodeid, 7), ==, -EOPNOTSUPP);
  if (setxattr (path, ACL, &acl, sizeof acl, 0) < 0) {
    g_test_skip ("the file system of /tmp has no ACLs");
    return;
  }
  g_assert_cmpint (vt_fuse_getxattr (f->c, nodeid, ACL, value, 64), ==,
                   -EOPNOTSUPP);
  g_assert_cmpint (vt_fuse_removexattr (f->c, nodeid, ACL), ==, -EOPNOTSUPP);
  g_assert_false (is_listed (f, nodeid, ACL));
  g_assert_true (is_listed (f, nodeid, "user.host"));
}

/* Under another name the host would not apply them to new files. */
static void
test_acls_that_are_mapped_are_not_offered (VtFs *f, gconstpointer data)
{
  g_assert_cmphex (f->c->flags & FUSE_POSIX_ACL, ==, 0);
}

static void
test_acls_are_the_hosts (VtFs *f, gconstpointer data)
{
  g_autofree char *path = vt_fs_path (f, "f");
  gboolean moved = data == &translated;
  guint64 nodeid;
  Acl got, want = acl_for (7);

  if (!make_file (f, &nodeid))
    return;
  g_assert_cmphex (f->c->flags & FUSE_POSIX_ACL, !=, 0);
  if (set_acl (f, nodeid, 7) == -EOPNOTSUPP) {
    g_test_skip ("the file system of /tmp has no ACLs");
    return;
  }
  g_assert_cmpint (getxattr (path, ACL, &got, sizeof got), ==, sizeof got);
  g_assert_cmpuint (got.entries[1].e_id, ==, moved ? 5007 : 7);
  g_assert_cmpint (vt_fuse_getxattr (f->c, nodeid, ACL, &got, sizeof got), ==,
                   sizeof got);
  g_assert_cmpmem (&got, sizeof got, &want, sizeof want);
  g_assert_cmpint (vt_fuse_getxattr (f->c, nodeid, ACL, NULL, 0), ==,
                   sizeof got);
  g_assert_true (is_listed (f, nodeid, ACL));
  g_assert_cmpint (set_acl (f, nodeid, 2000), ==, moved ? -EPERM : 0);
}

int
main (int argc, char **argv)
{
  g_test_init (&argc, &argv, NULL);
#define ADD(name, config, func) VT_FS_TEST ("/fs/xattr/" name, config, func)
  ADD ("kept", &plain, test_extended_attributes_are_kept);
  ADD ("kept/old", &without_acl, test_extended_attributes_are_kept);
  ADD ("none", NULL, test_without_the_option_there_are_none);
  ADD ("range", &plain, test_lists_that_do_not_fit_are_an_error);
  ADD ("map/all", &all_mapped, test_mapped_names_are_others_on_the_host);
  ADD ("map/one", &one_mapped, test_a_mapped_name_space_has_no_back_door);
  ADD ("map/hidden", &hidden, test_hidden_names_are_refused_each_in_its_way);
  ADD ("acl", &plain, test_acls_are_the_hosts);
  ADD ("acl/translated", &translated, test_acls_are_the_hosts);
  ADD ("acl/never", &without_acl,
       test_acls_that_nobody_enforces_are_unsupported);
  ADD ("acl/mapped", &all_mapped, test_acls_that_are_mapped_are_not_offered);
  return g_test_run ();
}
