/* SPDX-License-Identifier: BSD-3-Clause */
#include "devices/fs/jail.h"

#include <errno.h>
#include <fcntl.h>
#include <gio/gio.h>
#include <linux/magic.h>
#include <linux/openat2.h>
#include <sys/syscall.h>
#include <sys/vfs.h>
#include <unistd.h>

#include "devices/fs/cred.h"
#include "devices/fs/landlock.h"
#include "vring/fd.h"

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

/* Returns: a descriptor or -1 with @error set. */
static int
open_clone (const char *source, const VdFsJailConfig *config, GError **error)
{
  int tree = vd_fs_clone (source, &config->clone);
  const char *hint = "jail=clone needs CAP_SYS_ADMIN or user namespaces, and "
                     "Linux 5.12; jail=live needs neither";

  if (tree >= 0)
    return tree;
  if (config->clone.uid_map != NULL)
    hint = "idmap=yes needs CAP_SYS_ADMIN and a file system that knows "
           "idmapped mounts; without it the daemon itself translates";
  g_set_error (error, G_IO_ERROR, g_io_error_from_errno (-tree),
               "no detached mount: %s (%s)", g_strerror (-tree), hint);
  return -1;
}

static gboolean
open_root (VdFsJail *jail, const char *source, const VdFsJailConfig *config,
           GError **error)
{
  gboolean auto_kind = config->kind == VD_FS_JAIL_AUTO;
  g_autoptr (GError) why = NULL;
  int tree = -1;

  /* First the plain way, whose errors are the user's mistakes. */
  jail->root = open (source, O_PATH | O_DIRECTORY | O_CLOEXEC);
  if (jail->root < 0) {
    g_set_error_literal (error, G_IO_ERROR, g_io_error_from_errno (errno),
                         g_strerror (errno));
    return FALSE;
  }
  jail->kind = auto_kind ? VD_FS_JAIL_LIVE : config->kind;
  jail->lacks_clone = FALSE;
  if (auto_kind || config->kind == VD_FS_JAIL_CLONE)
    tree = open_clone (source, config, &why);
  if (tree >= 0) {
    vd_clear_fd (&jail->root);
    jail->root = tree;
    jail->kind = VD_FS_JAIL_CLONE;
  } else if (why != NULL && (!auto_kind || config->clone.uid_map != NULL)) {
    g_propagate_error (error, g_steal_pointer (&why));
    return FALSE;
  } else
    jail->lacks_clone = auto_kind;
  return TRUE;
}

gboolean
vd_fs_jail_is_remote (int fd)
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
vd_fs_jail_open (VdFsJail *jail, const char *source,
                 const VdFsJailConfig *config, GError **error)
{
  jail->root = -1;
  jail->rules = -1;
  jail->drop = config->drop;
  jail->proc = open ("/proc/self/fd", O_PATH | O_DIRECTORY | O_CLOEXEC);
  if (jail->proc < 0) {
    g_set_error (error, G_IO_ERROR, g_io_error_from_errno (errno),
                 "/proc/self/fd: %s", g_strerror (errno));
    return FALSE;
  }
  if (!open_root (jail, source, config, error))
    return FALSE;
  jail->remote = vd_fs_jail_is_remote (jail->root);
  return TRUE;
}

int
vd_fs_jail_restrict (VdFsJail *jail, gboolean read_only, gboolean by_handle)
{
  int rules = vd_fs_landlock_open (jail->root, read_only, by_handle);

  jail->rules = rules < 0 ? -1 : rules;
  return rules < 0 ? rules : 0;
}

int
vd_fs_jail_enter (const VdFsJail *jail)
{
  /* A thread never leaves its device, and the kernel counts restrictions. */
  static _Thread_local const VdFsJail *entered;
  int r;

  if (entered == jail)
    return 0;
  r = vd_fs_cred_enter (jail->proc, jail->drop);
  if (r == 0 && jail->rules >= 0)
    r = vd_fs_landlock_enter (jail->rules);
  if (r == 0)
    entered = jail;
  return r;
}

void
vd_fs_jail_clear (VdFsJail *jail)
{
  vd_clear_fd (&jail->rules);
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
