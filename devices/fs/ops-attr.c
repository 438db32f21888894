/* SPDX-License-Identifier: BSD-3-Clause
 *
 * ops-attr.c - attributes of files, and of the whole file system
 */
#include <errno.h>
#include <fcntl.h>
#include <string.h>
#include <sys/stat.h>
#include <sys/syscall.h>
#include <sys/vfs.h>
#include <unistd.h>

#include "devices/fs/entry.h"
#include "devices/fs/lazy.h"
#include "devices/fs/ops.h"

#ifndef SYS_fchmodat2
#define SYS_fchmodat2 452 /* Linux 6.6 */
#endif

/* What an operation works on: the inode, and its open file if the guest named
 * one. */
typedef struct {
  VdFsInode *inode;
  VdFsHandle *handle; /* or NULL */
  int fd;             /* the handle's or the inode's O_PATH */
} Target;

/* @fh: the handle, if @has_fh; a stale one fails */
static int
target_get (VdFs *fs, guint64 nodeid, gboolean has_fh, guint64 fh, Target *ret)
{
  int r = vd_fs_inodes_get (&fs->inodes, nodeid, &ret->inode);

  ret->handle = NULL;
  if (r < 0)
    return r;
  /* Guests that open nothing say that they have fh 0. */
  if (has_fh && (fh != 0 || !vd_fs_is_lazy (fs)))
    r = vd_fs_handles_get (&fs->handles, fh, nodeid, VD_FS_FILE | VD_FS_DIR,
                           &ret->handle);
  if (r < 0)
    vd_fs_inodes_put (ret->inode);
  else
    ret->fd = ret->handle != NULL ? ret->handle->fd : ret->inode->fd;
  return r;
}

static void
target_put (Target *target)
{
  vd_fs_handles_put (target->handle);
  vd_fs_inodes_put (target->inode);
}

static int
reply_attr (VdFsRequest *req, const Target *target)
{
  const VdFsTimeout *timeout = &vd_fs_of (req)->policy.attr;
  VdFuseAttrOut out = {
    .attr_valid = timeout->s,
    .attr_valid_nsec = timeout->ns,
  };
  struct statx stx;
  int r = vd_fs_statx (target->fd, "", 0, &stx);

  if (r < 0)
    return r;
  vd_fs_attr_encode (vd_fs_of (req), &stx, &out.attr);
  vd_fs_reply (req, &out, sizeof out);
  return 0;
}

int
vd_fs_op_getattr (VdFsRequest *req, guint64 nodeid, const VdFuseGetattrIn *args)
{
  Target target;
  int r = target_get (vd_fs_of (req), nodeid,
                      (args->getattr_flags & VD_FUSE_GETATTR_FH) != 0, args->fh,
                      &target);

  if (r < 0)
    return r;
  r = reply_attr (req, &target);
  target_put (&target);
  return r;
}

/* Parts of SETATTR.  Returns: 0 or -errno. */

static int
set_mode (const VdFs *fs, const Target *target, guint32 mode)
{
  char path[VD_FS_FD_PATH_LEN];

  mode &= 07777;
  if (target->handle != NULL)
    return fchmod (target->fd, mode) < 0 ? -errno : 0;
  if (syscall (SYS_fchmodat2, target->fd, "", mode, AT_EMPTY_PATH) == 0)
    return 0;
  if (errno != ENOSYS && errno != EPERM)
    return -errno;
  /* An old kernel, or a seccomp filter that is older than the call. */
  return fchmodat (fs->jail.proc, vd_fs_fd_path (target->fd, path), mode, 0) < 0
             ? -errno
             : 0;
}

static int
set_owner (const VdFs *fs, const Target *target, const VdFuseSetattrIn *args)
{
  const VdFsIdentity *identity = &fs->identity;
  guint32 uid = G_MAXUINT32, gid = G_MAXUINT32; /* stays as it is */

  if ((args->valid & VD_FATTR_UID) != 0 &&
      !vd_fs_id_map_to_host (identity->uids, args->uid, &uid))
    return -EPERM;
  if ((args->valid & VD_FATTR_GID) != 0 &&
      !vd_fs_id_map_to_host (identity->gids, args->gid, &gid))
    return -EPERM;
  vd_fs_before_change (fs, target->inode->fd);
  return fchownat (target->fd, "", uid, gid, AT_EMPTY_PATH) < 0 ? -errno : 0;
}

static int
set_size (VdFs *fs, const Target *target, const VdFuseSetattrIn *args)
{
  int fd, r;

  if (args->size > G_MAXINT64)
    return -EINVAL;
  if (target->inode->type != S_IFREG)
    return -EINVAL;
  vd_fs_cred_keep_set_id ((args->valid & VD_FATTR_KILL_SUIDGID) == 0);
  vd_fs_before_change (fs, target->inode->fd);
  if (target->handle != NULL && ftruncate (target->fd, (off_t) args->size) == 0)
    return 0;
  if (target->handle != NULL && errno != EINVAL && errno != EBADF)
    return -errno;
  /* No handle, or one that is open for reading only. */
  fd = vd_fs_reopen (fs, target->inode->fd, O_WRONLY | O_NONBLOCK);
  if (fd < 0)
    return fd;
  r = ftruncate (fd, (off_t) args->size) < 0 ? -errno : 0;
  close (fd);
  return r;
}

static struct timespec
time_of (guint32 valid, guint32 set, guint32 now, guint64 s, guint32 ns)
{
  struct timespec ts = { (time_t) s, ns };

  if ((valid & now) != 0)
    ts.tv_nsec = UTIME_NOW;
  else if ((valid & set) == 0)
    ts.tv_nsec = UTIME_OMIT;
  return ts;
}

static int
set_times (const Target *target, const VdFuseSetattrIn *args)
{
  const struct timespec ts[2] = {
    time_of (args->valid, VD_FATTR_ATIME, VD_FATTR_ATIME_NOW, args->atime,
             args->atimensec),
    time_of (args->valid, VD_FATTR_MTIME, VD_FATTR_MTIME_NOW, args->mtime,
             args->mtimensec),
  };
  int r = target->handle != NULL
              ? futimens (target->fd, ts)
              : utimensat (target->fd, "", ts, AT_EMPTY_PATH);

  return r < 0 ? -errno : 0;
}

static int
set_attr (VdFs *fs, const Target *target, const VdFuseSetattrIn *args)
{
  guint32 valid = args->valid;
  int r = 0;

  /* The owner first: changing it clears set-id bits that the mode may set. */
  if ((valid & (VD_FATTR_UID | VD_FATTR_GID)) != 0)
    r = set_owner (fs, target, args);
  if (r == 0 && (valid & VD_FATTR_MODE) != 0) {
    vd_fs_cred_keep_set_id (TRUE);
    r = set_mode (fs, target, args->mode);
  }
  if (r == 0 && (valid & VD_FATTR_SIZE) != 0)
    r = set_size (fs, target, args);
  if (r == 0 && (valid & (VD_FATTR_ATIME | VD_FATTR_MTIME | VD_FATTR_ATIME_NOW |
                          VD_FATTR_MTIME_NOW)) != 0)
    r = set_times (target, args);
  return r;
}

int
vd_fs_op_setattr (VdFsRequest *req, guint64 nodeid, const VdFuseSetattrIn *args)
{
  VdFs *fs = vd_fs_of (req);
  Target target;
  int r = target_get (fs, nodeid, (args->valid & VD_FATTR_FH) != 0, args->fh,
                      &target);

  if (r < 0)
    return r;
  r = set_attr (fs, &target, args);
  if (r == 0)
    r = reply_attr (req, &target);
  target_put (&target);
  return r;
}

static VdFuseSxTime
sx_time (const struct statx_timestamp *ts)
{
  return (VdFuseSxTime){ .tv_sec = ts->tv_sec, .tv_nsec = ts->tv_nsec };
}

static void
encode_statx (const VdFs *fs, const struct statx *stx, VdFuseStatx *ret)
{
  *ret = (VdFuseStatx){
    .mask = stx->stx_mask & (STATX_BASIC_STATS | STATX_BTIME),
    .blksize = stx->stx_blksize,
    .attributes = stx->stx_attributes,
    .nlink = stx->stx_nlink,
    .uid = vd_fs_id_map_to_guest (fs->identity.uids, stx->stx_uid),
    .gid = vd_fs_id_map_to_guest (fs->identity.gids, stx->stx_gid),
    .mode = stx->stx_mode,
    .ino = stx->stx_ino,
    .size = stx->stx_size,
    .blocks = stx->stx_blocks,
    .attributes_mask = stx->stx_attributes_mask,
    .atime = sx_time (&stx->stx_atime),
    .btime = sx_time (&stx->stx_btime),
    .ctime = sx_time (&stx->stx_ctime),
    .mtime = sx_time (&stx->stx_mtime),
    .rdev_major = stx->stx_rdev_major,
    .rdev_minor = stx->stx_rdev_minor,
    .dev_major = stx->stx_dev_major,
    .dev_minor = stx->stx_dev_minor,
  };
}

int
vd_fs_op_statx (VdFsRequest *req, guint64 nodeid, const VdFuseStatxIn *args)
{
  VdFs *fs = vd_fs_of (req);
  VdFuseStatxOut out = {
    .attr_valid = fs->policy.attr.s,
    .attr_valid_nsec = fs->policy.attr.ns,
  };
  struct statx stx;
  Target target;
  int r =
      target_get (fs, nodeid, (args->getattr_flags & VD_FUSE_GETATTR_FH) != 0,
                  args->fh, &target);

  if (r < 0)
    return r;
  r = vd_fs_statx (target.fd, "", STATX_BTIME, &stx);
  target_put (&target);
  if (r < 0)
    return r;
  encode_statx (fs, &stx, &out.stat);
  vd_fs_reply (req, &out, sizeof out);
  return 0;
}

int
vd_fs_op_statfs (VdFsRequest *req, guint64 nodeid)
{
  VdFuseStatfsOut out = { 0 };
  VdFsInode *inode;
  struct statfs st;
  int r = vd_fs_inodes_get (&vd_fs_of (req)->inodes, nodeid, &inode);

  if (r < 0)
    return r;
  r = fstatfs (inode->fd, &st) < 0 ? -errno : 0;
  vd_fs_inodes_put (inode);
  if (r < 0)
    return r;
  out.blocks = st.f_blocks;
  out.bfree = st.f_bfree;
  out.bavail = st.f_bavail;
  out.files = st.f_files;
  out.ffree = st.f_ffree;
  out.bsize = (guint32) st.f_bsize;
  out.namelen = (guint32) st.f_namelen;
  out.frsize = (guint32) (st.f_frsize != 0 ? st.f_frsize : st.f_bsize);
  vd_fs_reply (req, &out, sizeof out);
  return 0;
}

/* The classic check; Linux guests do theirs and never ask. */
static int
check_access (const VdFuseAttr *attr, guint32 uid, guint32 gid, guint32 mask)
{
  guint32 mode = attr->mode, granted;

  if (uid == 0) /* may do anything but execute what nobody may */
    return (mask & X_OK) != 0 && (mode & 0111) == 0 && !S_ISDIR (mode) ? -EACCES
                                                                       : 0;
  if (uid == attr->uid)
    granted = mode >> 6;
  else if (gid == attr->gid)
    granted = mode >> 3;
  else
    granted = mode;
  return (mask & ~granted & 7) == 0 ? 0 : -EACCES;
}

int
vd_fs_op_access (VdFsRequest *req, guint64 nodeid, guint32 mask)
{
  VdFs *fs = vd_fs_of (req);
  struct statx stx;
  VdFuseAttr attr;
  VdFsInode *inode;
  int r;

  if ((mask & W_OK) != 0 && fs->policy.read_only)
    return -EROFS;
  r = vd_fs_inodes_get (&fs->inodes, nodeid, &inode);
  if (r < 0)
    return r;
  r = vd_fs_statx (inode->fd, "", 0, &stx);
  vd_fs_inodes_put (inode);
  if (r < 0)
    return r;
  vd_fs_attr_encode (fs, &stx, &attr);
  r = check_access (&attr, req->in.uid, req->in.gid, mask);
  if (r == 0)
    vd_fs_reply (req, NULL, 0);
  return r;
}
