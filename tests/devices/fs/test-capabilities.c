/* SPDX-License-Identifier: BSD-3-Clause
 *
 * test-capabilities.c - what threads keep of the daemon's privileges
 */
#include "devices/fs/capabilities.h"

#include <errno.h>
#include <linux/capability.h>
#include <string.h>
#include <unistd.h>

#include "tests/devices/fs/fixture.h"

#define BIT(cap) (1ull << (cap))

static guint64
modified (guint64 caps, const char *changes)
{
  g_autoptr (GError) error = NULL;

  g_assert_true (vd_fs_capabilities_modify (&caps, changes, &error));
  g_assert_no_error (error);
  return caps;
}

static void
test_changes_are_made_in_order (void)
{
  g_assert_cmphex (modified (0, NULL), ==, 0);
  g_assert_cmphex (modified (0, "+sys_admin"), ==, BIT (CAP_SYS_ADMIN));
  g_assert_cmphex (modified (BIT (CAP_MKNOD), "+CAP_CHOWN:-mknod"), ==,
                   BIT (CAP_CHOWN));
  g_assert_cmphex (modified (0, "+checkpoint_restore:+bpf"), ==,
                   BIT (CAP_CHECKPOINT_RESTORE) | BIT (CAP_BPF));
  g_assert_cmphex (modified (0, "+kill:-kill"), ==, 0);
  g_assert_cmphex (modified (0, "-kill:+kill"), ==, BIT (CAP_KILL));
}

static void
test_mistakes_change_nothing (void)
{
  static const char *const wrong[] = { "mknod",        "+",
                                       "+mknod:",      "+mknod:root",
                                       "+mknod,chown", "~sys_admin" };

  for (guint i = 0; i < G_N_ELEMENTS (wrong); i++) {
    g_autoptr (GError) error = NULL;
    guint64 caps = 42;

    g_assert_false (vd_fs_capabilities_modify (&caps, wrong[i], &error));
    g_assert_error (error, VD_FS_CAPABILITIES_ERROR, VD_FS_CAPABILITIES_SYNTAX);
    g_assert_cmphex (caps, ==, 42);
  }
}

/* The threads of the device. */

static const VtFsConfig xattr = { .keys = { "xattr", "yes" } };
static const VtFsConfig no_admin = { .keys = { "xattr", "yes", "modcaps",
                                               "-sys_admin:-setuid" } };
static const VtFsConfig no_mknod = { .keys = { "modcaps",
                                               "-mknod:+net_admin" } };

/* What any thread of a queue, which the rig names so, may have, by the kernel;
 * a sanitizer has threads of its own. */
static guint64
caps_of_threads (VtFs *f)
{
  GDir *dir = g_dir_open ("/proc/self/task", 0, NULL);
  guint64 nodeid, caps = 0;
  const char *tid;

  /* A queue that answers has begun. */
  g_assert_cmpint (vt_fuse_lookup (f->c, 1, "none", &nodeid, NULL), ==,
                   -ENOENT);
  while ((tid = g_dir_read_name (dir)) != NULL) {
    g_autofree char *path = g_strdup_printf ("/proc/self/task/%s/status", tid);
    g_autofree char *status = NULL;
    const char *line;

    if (!g_file_get_contents (path, &status, NULL, NULL) ||
        !g_str_has_prefix (status, "Name:\ttest\n"))
      continue;
    line = strstr (status, "CapPrm:");
    g_assert_nonnull (line);
    caps |= g_ascii_strtoull (line + strlen ("CapPrm:\t"), NULL, 16);
  }
  g_dir_close (dir);
  return caps;
}

static void
test_threads_keep_what_serving_takes (VtFs *f, gconstpointer data)
{
  guint64 want = vd_fs_capabilities (data == &xattr, FALSE);

  if (!vt_fs_is_root ())
    return;
  g_assert_cmphex (caps_of_threads (f) & ~want, ==, 0);
  g_assert_cmphex (caps_of_threads (f) & BIT (CAP_CHOWN), !=, 0);
}

static void
test_without_a_capability_its_operations_fail (VtFs *f, gconstpointer data)
{
  guint64 nodeid;

  if (!vt_fs_is_root ())
    return;
  g_assert_cmphex (caps_of_threads (f) & BIT (CAP_MKNOD), ==, 0);
  g_assert_cmphex (caps_of_threads (f) & BIT (CAP_NET_ADMIN), ==,
                   BIT (CAP_NET_ADMIN));
  g_assert_cmpint (
      vt_fuse_mknod (f->c, 1, "device", S_IFCHR | 0644, 0x103, &nodeid), ==,
      -EPERM);
  g_assert_cmpint (vt_fuse_mknod (f->c, 1, "fifo", S_IFIFO | 0644, 0, &nodeid),
                   ==, 0);
}

static void
test_attributes_of_the_system_take_sys_admin (VtFs *f, gconstpointer data)
{
  guint64 nodeid;
  struct fuse_attr attr;
  int r;

  if (!vt_fs_is_root ())
    return;
  vt_fs_put (f, "f", "x");
  g_assert_cmpint (vt_fuse_lookup (f->c, 1, "f", &nodeid, NULL), ==, 0);
  r = vt_fuse_setxattr (f->c, nodeid, "trusted.a", "v", 1, 0);
  g_assert_cmpint (r, ==, data == &xattr ? 0 : -EPERM);
  /* Who may not change its user creates as itself. */
  f->c->uid = f->c->gid = 1000;
  g_assert_cmpint (vt_fuse_mkdir (f->c, 1, "dir", 0755, &nodeid), ==, 0);
  g_assert_cmpint (vt_fuse_getattr (f->c, nodeid, &attr), ==, 0);
  g_assert_cmpuint (attr.uid, ==, data == &xattr ? 1000 : 0);
}

int
main (int argc, char **argv)
{
  g_test_init (&argc, &argv, NULL);
#define ADD(name, config, func)                                                \
  VT_FS_TEST ("/fs/capabilities/" name, config, func)
  g_test_add_func ("/fs/capabilities/changes", test_changes_are_made_in_order);
  g_test_add_func ("/fs/capabilities/mistakes", test_mistakes_change_nothing);
  ADD ("default", NULL, test_threads_keep_what_serving_takes);
  ADD ("xattr", &xattr, test_threads_keep_what_serving_takes);
  ADD ("mknod", &no_mknod, test_without_a_capability_its_operations_fail);
  ADD ("sys-admin", &xattr, test_attributes_of_the_system_take_sys_admin);
  ADD ("sys-admin/none", &no_admin,
       test_attributes_of_the_system_take_sys_admin);
  return g_test_run ();
}
