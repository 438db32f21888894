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

#include "devices/fs/acl.h"
#include "devices/fs/entry.h"
#include "devices/fs/ops.h"

static_assert (VD_FS_MESSAGE_MAX >= XATTR_SIZE_MAX &&
                   VD_FS_MESSAGE_MAX >= XATTR_LIST_MAX,
               "the largest value fits into the buffer");

/* ACLs that the guest's kernel does not enforce would only be believed in. */
static gboolean
is_blocked (const VdFs *fs, const char *name)
{
  return (vd_fs_negotiated (fs) & VD_FUSE_POSIX_ACL) == 0 &&
         vd_fs_acl_is_name (name);
}

int
vd_fs_xattr_name (const VdFs *fs, const char *name,
                  char ret[XATTR_NAME_MAX + 1])
{
  if (is_blocked (fs, name))
    return -EOPNOTSUPP;
  if (fs->identity.xattr_map != NULL)
    return vd_fs_xattr_map_to_host (fs->identity.xattr_map, name, ret);
  g_strlcpy (ret, name, XATTR_NAME_MAX + 1); /* its length was validated */
  return 0;
}

/* Takes the inode, if attributes are served at all. */
static int
begin_list (VdFsRequest *req, guint64 nodeid, VdFsInode **ret)
{
  VdFs *fs = vd_fs_of (req);

  /* The guest then stops asking. */
  return fs->policy.xattr ? vd_fs_inodes_get (&fs->inodes, nodeid, ret)
                          : -ENOSYS;
}

/* The same, and finds the host's name, if there may be one. */
static int
begin (VdFsRequest *req, guint64 nodeid, const char *name,
       char ret_name[XATTR_NAME_MAX + 1], VdFsInode **ret)
{
  VdFs *fs = vd_fs_of (req);
  int r = begin_list (req, nodeid, ret);

  if (r < 0)
    return r;
  r = vd_fs_xattr_name (fs, name, ret_name);
  if (r < 0)
    vd_fs_inodes_put (*ret);
  return r;
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

/* Gives the users in an ACL their numbers on the host. */
static int
value_to_host (const VdFs *fs, const char *name, guint8 *value, guint32 size)
{
  if (!vd_fs_acl_is_name (name))
    return 0;
  return vd_fs_acl_to_host (value, size, fs->identity.uids, fs->identity.gids);
}

int
vd_fs_op_setxattr (VdFsRequest *req, guint64 nodeid, const char *name,
                   guint8 *value, guint32 size, guint32 flags,
                   guint32 setxattr_flags)
{
  char path[VD_FS_FD_PATH_LEN], host[XATTR_NAME_MAX + 1];
  VdFsInode *inode;
  int r = begin (req, nodeid, name, host, &inode);

  if (r < 0)
    return r;
  vd_fs_cred_keep_set_id (TRUE);
  r = value_to_host (vd_fs_of (req), name, value, size);
  if (r == 0 && setxattr (vd_fs_fd_path (inode->fd, path), host, value, size,
                          (int) flags) < 0)
    r = -errno;
  if (r == 0 && (setxattr_flags & VD_FUSE_SETXATTR_ACL_KILL_SGID) != 0)
    r = drop_set_gid (vd_fs_of (req), inode);
  vd_fs_inodes_put (inode);
  if (r == 0)
    vd_fs_reply (req, NULL, 0);
  return r;
}

/* Answers with the @n bytes in the queue's buffer, or with their number if the
 * guest only asked for that (@size 0). */
static int
reply_value (VdFsRequest *req, guint32 size, gsize n)
{
  VdFuseGetxattrIn out = { .size = (guint32) n };

  if (size == 0)
    vd_fs_reply (req, &out, sizeof out);
  else if (n > size)
    return -ERANGE;
  else
    vd_fs_reply (req, req->bench->message, n);
  return 0;
}

int
vd_fs_op_getxattr (VdFsRequest *req, guint64 nodeid, const char *name,
                   guint32 size)
{
  char path[VD_FS_FD_PATH_LEN], host[XATTR_NAME_MAX + 1];
  const VdFsIdentity *identity = &vd_fs_of (req)->identity;
  guint8 *value = req->bench->message; /* of no use but for @name */
  gboolean acl = vd_fs_acl_is_name (name);
  VdFsInode *inode;
  int r = begin (req, nodeid, name, host, &inode);
  ssize_t n;

  if (r < 0)
    return r == -EPERM ? -ENODATA : r; /* to look is not forbidden */
  size = (guint32) MIN (size, MIN (req->room, VD_FS_MESSAGE_MAX));
  n = getxattr (vd_fs_fd_path (inode->fd, path), host, value, size);
  r = n < 0 ? -errno : 0;
  if (r == 0 && acl && size > 0)
    vd_fs_acl_to_guest (value, (gsize) n, identity->uids, identity->gids);
  if (r == 0)
    r = reply_value (req, size, (gsize) n);
  vd_fs_inodes_put (inode);
  return r;
}

/* Removes what the guest may not see from a list of names. */
static gsize
filter_names (const VdFs *fs, char *names, gsize len)
{
  gsize to = 0;

  if (fs->identity.xattr_map != NULL)
    len = vd_fs_xattr_map_to_guest (fs->identity.xattr_map, names, len);
  for (gsize from = 0; from < len;) {
    gsize size = strlen (names + from) + 1;

    if (!is_blocked (fs, names + from)) {
      memmove (names + to, names + from, size);
      to += size;
    }
    from += size;
  }
  return to;
}

int
vd_fs_op_listxattr (VdFsRequest *req, guint64 nodeid, guint32 size)
{
  char path[VD_FS_FD_PATH_LEN];
  char *names = (char *) req->bench->message;
  VdFsInode *inode;
  ssize_t n;
  int r = begin_list (req, nodeid, &inode);

  if (r < 0)
    return r;
  size = (guint32) MIN (size, req->room);
  n = listxattr (vd_fs_fd_path (inode->fd, path), names, VD_FS_MESSAGE_MAX);
  r = n < 0 ? -errno
            : reply_value (req, size,
                           filter_names (vd_fs_of (req), names, (gsize) n));
  vd_fs_inodes_put (inode);
  return r;
}

int
vd_fs_op_removexattr (VdFsRequest *req, guint64 nodeid, const char *name)
{
  char path[VD_FS_FD_PATH_LEN], host[XATTR_NAME_MAX + 1];
  VdFsInode *inode;
  int r = begin (req, nodeid, name, host, &inode);

  if (r < 0)
    return r;
  r = removexattr (vd_fs_fd_path (inode->fd, path), host) < 0 ? -errno : 0;
  vd_fs_inodes_put (inode);
  if (r == 0)
    vd_fs_reply (req, NULL, 0);
  return r;
}

void
vd_fs_remove_capability (const VdFs *fs, int fd)
{
  char path[VD_FS_FD_PATH_LEN];

  /* That there is none is what nearly always happens. */
  (void) removexattr (vd_fs_fd_path (fd, path), fs->identity.moved_capability);
}
