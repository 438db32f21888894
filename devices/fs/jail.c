/* SPDX-License-Identifier: BSD-3-Clause
 *
 * jail.c - see jail.h
 *
 * A detached mount needs no chroot and no mount namespace, so any number of
 * exports live in one process without a common root.  In it ".." ends at its
 * own root and the kernel enforces read-only, whatever the guest believes.
 */
#include "devices/fs/jail.h"

#include <errno.h>
#include <fcntl.h>
#include <gio/gio.h>
#include <linux/magic.h>
#include <linux/openat2.h>
#include <sys/mount.h>
#include <sys/syscall.h>
#include <sys/vfs.h>
#include <unistd.h>

#include "vring/fd.h"

#ifndef MOUNT_ATTR_NOSYMFOLLOW
#define MOUNT_ATTR_NOSYMFOLLOW 0x00200000 /* Linux 5.14 */
#endif
#ifndef CIFS_SUPER_MAGIC
#define CIFS_SUPER_MAGIC 0xff534d42
#endif
#ifndef SMB2_SUPER_MAGIC
#define SMB2_SUPER_MAGIC 0xfe534d42
#endif
#ifndef CEPH_SUPER_MAGIC
#define CEPH_SUPER_MAGIC 0x00c36400
#endif
#ifndef FUSE_SUPER_MAGIC
#define FUSE_SUPER_MAGIC 0x65735546
#endif

static gboolean
set_mount_attributes (int tree, gboolean read_only)
{
  struct mount_attr attr = {
    .attr_set = MOUNT_ATTR_NODEV | MOUNT_ATTR_NOSUID | MOUNT_ATTR_NOSYMFOLLOW |
                (read_only ? MOUNT_ATTR_RDONLY : 0),
    .propagation = MS_PRIVATE,
  };
  const guint flags = AT_EMPTY_PATH | AT_RECURSIVE;

  if (mount_setattr (tree, "", flags, &attr, sizeof attr) == 0)
    return TRUE;
  if (errno != EINVAL)
    return FALSE;
  attr.attr_set &= ~(guint64) MOUNT_ATTR_NOSYMFOLLOW; /* before Linux 5.14 */
  return mount_setattr (tree, "", flags, &attr, sizeof attr) == 0;
}

/* Returns: a descriptor, whose closing dissolves the mount, or -1. */
static int
open_clone (const char *source, gboolean read_only)
{
  vd_autofd tree = open_tree (
      AT_FDCWD, source, OPEN_TREE_CLONE | OPEN_TREE_CLOEXEC | AT_RECURSIVE);

  if (tree < 0 || !set_mount_attributes (tree, read_only))
    return -1;
  return vd_steal_fd (&tree);
}

static gboolean
open_root (VdFsJail *jail, const char *source, VdFsJailKind kind,
           gboolean read_only, GError **error)
{
  /* First the plain way, whose errors are the user's mistakes. */
  jail->root = open (source, O_PATH | O_DIRECTORY | O_CLOEXEC);
  if (jail->root < 0) {
    g_set_error_literal (error, G_IO_ERROR, g_io_error_from_errno (errno),
                         g_strerror (errno));
    return FALSE;
  }
  jail->kind = kind == VD_FS_JAIL_AUTO ? VD_FS_JAIL_LIVE : kind;
  if (kind == VD_FS_JAIL_AUTO || kind == VD_FS_JAIL_CLONE) {
    int tree = open_clone (source, read_only);

    if (tree >= 0) {
      vd_clear_fd (&jail->root);
      jail->root = tree;
      jail->kind = VD_FS_JAIL_CLONE;
    } else if (kind == VD_FS_JAIL_CLONE) {
      g_set_error (error, G_IO_ERROR, g_io_error_from_errno (errno),
                   "no detached mount: %s (jail=clone needs CAP_SYS_ADMIN and "
                   "Linux 5.12; jail=live needs neither)",
                   g_strerror (errno));
      return FALSE;
    }
  }
  return TRUE;
}

static gboolean
is_remote (int fd)
{
  struct statfs st;

  if (fstatfs (fd, &st) < 0)
    return FALSE;
  switch ((guint32) st.f_type) {
  case NFS_SUPER_MAGIC:
  case SMB_SUPER_MAGIC:
  case CIFS_SUPER_MAGIC:
  case SMB2_SUPER_MAGIC:
  case CEPH_SUPER_MAGIC:
  case AFS_SUPER_MAGIC:
  case V9FS_MAGIC:
  case FUSE_SUPER_MAGIC: return TRUE;
  default: return FALSE;
  }
}

gboolean
vd_fs_jail_open (VdFsJail *jail, const char *source, VdFsJailKind kind,
                 gboolean read_only, GError **error)
{
  jail->root = -1;
  jail->proc = open ("/proc/self/fd", O_PATH | O_DIRECTORY | O_CLOEXEC);
  if (jail->proc < 0) {
    g_set_error (error, G_IO_ERROR, g_io_error_from_errno (errno),
                 "/proc/self/fd: %s", g_strerror (errno));
    return FALSE;
  }
  if (!open_root (jail, source, kind, read_only, error))
    return FALSE;
  jail->remote = is_remote (jail->root);
  return TRUE;
}

void
vd_fs_jail_clear (VdFsJail *jail)
{
  vd_clear_fd (&jail->root);
  vd_clear_fd (&jail->proc);
}

int
vd_fs_jail_child (const VdFsJail *jail, int parent, const char *name)
{
  const int flags = O_PATH | O_NOFOLLOW | O_CLOEXEC;
  int fd;

  if (jail->kind == VD_FS_JAIL_LIVE) {
    struct open_how how = {
      .flags = (guint64) flags,
      .resolve = RESOLVE_BENEATH | RESOLVE_NO_MAGICLINKS,
    };

    fd = (int) syscall (SYS_openat2, parent, name, &how, sizeof how);
  } else
    fd = openat (parent, name, flags);
  return fd < 0 ? -errno : fd;
}

int
vd_fs_jail_reopen (const VdFsJail *jail, int fd, int flags)
{
  char path[VD_FS_FD_PATH_LEN];
  int opened = openat (jail->proc, vd_fs_fd_path (fd, path),
                       (flags & ~O_NOFOLLOW) | O_CLOEXEC | O_NOCTTY);

  return opened < 0 ? -errno : opened;
}

const char *
vd_fs_fd_path (int fd, char path[VD_FS_FD_PATH_LEN])
{
  char *at = path + VD_FS_FD_PATH_LEN;

  *--at = '\0';
  do {
    *--at = (char) ('0' + fd % 10);
    fd /= 10;
  } while (fd > 0);
  return at;
}

const char *
vd_fs_jail_name (VdFsJailKind kind)
{
  static const char *const names[] = { "auto", "clone", "live", "none" };

  return names[kind];
}
