/* SPDX-License-Identifier: BSD-3-Clause
 *
 * ops-xattr.c - extended attributes, POSIX ACLs among them
 *
 * No system call takes an O_PATH descriptor here, so they go through its link in
 * /proc, which is the thread's working directory (cred.h).  Values are read
 * into the queue's message buffer, whose message is of no more use by then.
 */
#include <errno.h>
#include <fcntl.h>
#include <linux/limits.h>
#include <string.h>
#include <sys/stat.h>
#include <sys/xattr.h>

#include "devices/fs/entry.h"
#include "devices/fs/ops.h"

static_assert (VD_FS_MESSAGE_MAX >= XATTR_SIZE_MAX &&
                   VD_FS_MESSAGE_MAX >= XATTR_LIST_MAX,
               "the largest value fits into the buffer");

/* Takes the inode, if attributes are served at all. */
static int
begin (VdFsRequest *req, guint64 nodeid, VdFsInode **ret)
{
  VdFs *fs = vd_fs_of (req);

  /* The guest then stops asking. */
  return fs->policy.xattr ? vd_fs_inodes_get (&fs->inodes, nodeid, ret)
                          : -ENOSYS;
}

/* The guest asks for it when the caller is not in the file's group; the kernel
 * here cannot know. */
static int
drop_set_gid (const VdFs *fs, const VdFsInode *inode)
{
  char path[VD_FS_FD_PATH_LEN];
  struct statx stx;
  int r = vd_fs_statx (inode->fd, "", 0, &stx);

  if (r < 0 || (stx.stx_mode & S_ISGID) == 0)
    return r;
  return fchmodat (fs->jail.proc, vd_fs_fd_path (inode->fd, path),
                   stx.stx_mode & 07777 & ~(guint32) S_ISGID, 0) < 0
             ? -errno
             : 0;
}

int
vd_fs_op_setxattr (VdFsRequest *req, guint64 nodeid, const char *name,
                   const void *value, guint32 size, guint32 flags,
                   guint32 setxattr_flags)
{
  char path[VD_FS_FD_PATH_LEN];
  VdFsInode *inode;
  int r = begin (req, nodeid, &inode);

  if (r < 0)
    return r;
  vd_fs_cred_keep_set_id (TRUE);
  if (setxattr (vd_fs_fd_path (inode->fd, path), name, value, size,
                (int) flags) < 0)
    r = -errno;
  if (r == 0 && (setxattr_flags & VD_FUSE_SETXATTR_ACL_KILL_SGID) != 0)
    r = drop_set_gid (vd_fs_of (req), inode);
  vd_fs_inodes_put (inode);
  if (r == 0)
    vd_fs_reply (req, NULL, 0);
  return r;
}

/* Answers with @n bytes in the queue's buffer, or with their number if the
 * guest only asked for that. */
static int
reply_value (VdFsRequest *req, guint32 size, ssize_t n)
{
  VdFuseGetxattrIn out = { .size = (guint32) n };

  if (n < 0)
    return -errno;
  if (size == 0)
    vd_fs_reply (req, &out, sizeof out);
  else
    vd_fs_reply (req, req->queue->message, (gsize) n);
  return 0;
}

int
vd_fs_op_getxattr (VdFsRequest *req, guint64 nodeid, const char *name,
                   guint32 size)
{
  char path[VD_FS_FD_PATH_LEN], private_name[XATTR_NAME_MAX + 1];
  VdFsInode *inode;
  int r = begin (req, nodeid, &inode);

  if (r < 0)
    return r;
  g_strlcpy (private_name, name, sizeof private_name); /* it is in the buffer */
  size = (guint32) MIN (size, MIN (req->room, VD_FS_MESSAGE_MAX));
  r = reply_value (req, size,
                   getxattr (vd_fs_fd_path (inode->fd, path), private_name,
                             req->queue->message, size));
  vd_fs_inodes_put (inode);
  return r;
}

int
vd_fs_op_listxattr (VdFsRequest *req, guint64 nodeid, guint32 size)
{
  char path[VD_FS_FD_PATH_LEN];
  VdFsInode *inode;
  int r = begin (req, nodeid, &inode);

  if (r < 0)
    return r;
  size = (guint32) MIN (size, MIN (req->room, VD_FS_MESSAGE_MAX));
  r = reply_value (req, size,
                   listxattr (vd_fs_fd_path (inode->fd, path),
                              (char *) req->queue->message, size));
  vd_fs_inodes_put (inode);
  return r;
}

int
vd_fs_op_removexattr (VdFsRequest *req, guint64 nodeid, const char *name)
{
  char path[VD_FS_FD_PATH_LEN];
  VdFsInode *inode;
  int r = begin (req, nodeid, &inode);

  if (r < 0)
    return r;
  r = removexattr (vd_fs_fd_path (inode->fd, path), name) < 0 ? -errno : 0;
  vd_fs_inodes_put (inode);
  if (r == 0)
    vd_fs_reply (req, NULL, 0);
  return r;
}
