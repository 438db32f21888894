/* SPDX-License-Identifier: BSD-3-Clause
 *
 * label.c - security labels (SELinux, Smack) that guests give to new files
 *
 * They are extended attributes that the guest's kernel enforces.  A file is
 * labelled as soon as it is made and before the guest hears of it; where that
 * fails the file is not made.
 */
#include <errno.h>
#include <fcntl.h>
#include <linux/capability.h>
#include <linux/xattr.h>
#include <sys/xattr.h>
#include <unistd.h>

#include "devices/fs/entry.h"
#include "devices/fs/ops.h"
#include "vring/fd.h"

/* On a host with SELinux the label would be the host's own, and its policy
 * decides who may set it; guests' labels are no business of that policy unless
 * the user says so. */
gboolean
vd_fs_labels_work (const VdFs *fs)
{
  char host[XATTR_NAME_MAX + 1];

  if (!fs->policy.xattr || vd_fs_xattr_name (fs, XATTR_NAME_SELINUX, host) < 0)
    return FALSE;
  if (g_str_has_prefix (host, XATTR_USER_PREFIX))
    return TRUE;
  return vd_fs_cred_has (CAP_SYS_ADMIN) && access ("/sys/fs/selinux", F_OK) < 0;
}

static int
set_label (VdFsRequest *req, int fd)
{
  const VdFsMessage *message = req->message;
  char path[VD_FS_FD_PATH_LEN], host[XATTR_NAME_MAX + 1];
  const VdFs *fs = vd_fs_of (req);
  int r = vd_fs_xattr_name (fs, message->label_name, host);

  if (r == 0 && setxattr (vd_fs_fd_path (fd, path), host, message->label,
                          message->label_len, 0) < 0)
    r = -errno;
  /* A file system without attributes, mounted somewhere below; or a link or a
   * device, which can have none of the name space user. */
  if ((r == -EOPNOTSUPP || r == -EPERM) && fs->policy.label == VD_FS_AUTO)
    return 0;
  return r;
}

static int
remove_new (int dir, const char *name)
{
  return unlinkat (dir, name, 0) < 0 && errno == EISDIR
             ? unlinkat (dir, name, AT_REMOVEDIR)
             : 0;
}

int
vd_fs_label (VdFsRequest *req, int fd, int dir, const char *name)
{
  int r = req->message->label_name != NULL ? set_label (req, fd) : 0;

  if (r < 0 && name != NULL)
    (void) remove_new (dir, name);
  return r;
}

int
vd_fs_label_child (VdFsRequest *req, int dir, const char *name)
{
  vd_autofd fd = -1;

  if (req->message->label_name == NULL)
    return 0;
  fd = vd_fs_jail_child (&vd_fs_of (req)->jail, dir, name);
  if (fd >= 0)
    return vd_fs_label (req, fd, dir, name);
  (void) remove_new (dir, name);
  return fd;
}
