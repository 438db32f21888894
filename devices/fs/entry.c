/* SPDX-License-Identifier: BSD-3-Clause */
#include "devices/fs/entry.h"

#include <errno.h>
#include <fcntl.h>
#include <string.h>
#include <unistd.h>

#ifndef STATX_MNT_ID
#define STATX_MNT_ID 0x1000 /* Linux 5.8 */
#endif
#ifndef STATX_MNT_ID_UNIQUE
#define STATX_MNT_ID_UNIQUE 0x4000 /* Linux 6.8 */
#endif

int
vd_fs_statx (int fd, const char *name, guint mask, struct statx *ret)
{
  const int flags = AT_SYMLINK_NOFOLLOW | AT_NO_AUTOMOUNT | AT_EMPTY_PATH;

  mask |= STATX_BASIC_STATS | STATX_MNT_ID | STATX_MNT_ID_UNIQUE;
  return statx (fd, name, flags, mask, ret) < 0 ? -errno : 0;
}

/* As makedev() and new_encode_dev(): what fits into 32 bits. */
static inline guint32
encode_dev (guint32 major, guint32 minor)
{
  return (minor & 0xff) | (major & 0xfff) << 8 | (minor & ~0xffu) << 12;
}

VdFsKey
vd_fs_statx_key (const struct statx *stx)
{
  return (VdFsKey){
    .mount = stx->stx_mnt_id,
    .dev = (guint64) stx->stx_dev_major << 32 | stx->stx_dev_minor,
    .ino = stx->stx_ino,
  };
}

static inline gint64
timestamp_ns (const struct statx_timestamp *ts)
{
  return ts->tv_sec * 1000000000 + ts->tv_nsec;
}

VdFsStamp
vd_fs_statx_stamp (const struct statx *stx)
{
  return (VdFsStamp){
    .mtime_ns = timestamp_ns (&stx->stx_mtime),
    .ctime_ns = timestamp_ns (&stx->stx_ctime),
    .size = stx->stx_size,
  };
}

void
vd_fs_attr_encode (const VdFs *fs, const struct statx *stx, VdFuseAttr *ret)
{
  *ret = (VdFuseAttr){
    .ino = stx->stx_ino,
    .size = stx->stx_size,
    .blocks = stx->stx_blocks,
    .atime = (guint64) stx->stx_atime.tv_sec,
    .mtime = (guint64) stx->stx_mtime.tv_sec,
    .ctime = (guint64) stx->stx_ctime.tv_sec,
    .atimensec = stx->stx_atime.tv_nsec,
    .mtimensec = stx->stx_mtime.tv_nsec,
    .ctimensec = stx->stx_ctime.tv_nsec,
    .mode = stx->stx_mode,
    .nlink = stx->stx_nlink,
    .uid = vd_fs_id_map_to_guest (fs->identity.uids, stx->stx_uid),
    .gid = vd_fs_id_map_to_guest (fs->identity.gids, stx->stx_gid),
    .rdev = encode_dev (stx->stx_rdev_major, stx->stx_rdev_minor),
    .blksize = stx->stx_blksize,
  };
}

/* A directory on another mount than the one it is in. */
static gboolean
is_submount (const VdFs *fs, const VdFsKey *parent, const struct statx *stx)
{
  VdFsKey key = vd_fs_statx_key (stx);

  return (vd_fs_negotiated (fs) & VD_FUSE_SUBMOUNTS) != 0 &&
         S_ISDIR (stx->stx_mode) &&
         (key.mount != parent->mount || key.dev != parent->dev);
}

static void
fill_entry (const VdFs *fs, const VdFsKey *parent, guint64 nodeid,
            const struct statx *stx, VdFuseEntryOut *ret)
{
  const VdFsPolicy *policy = &fs->policy;

  *ret = (VdFuseEntryOut){
    .nodeid = nodeid,
    .entry_valid = policy->entry.s,
    .entry_valid_nsec = policy->entry.ns,
    .attr_valid = policy->attr.s,
    .attr_valid_nsec = policy->attr.ns,
  };
  vd_fs_attr_encode (fs, stx, &ret->attr);
  if (is_submount (fs, parent, stx))
    ret->attr.flags |= VD_FUSE_ATTR_SUBMOUNT;
}

int
vd_fs_lookup_fd (VdFs *fs, const VdFsKey *parent, int fd, VdFuseEntryOut *ret,
                 struct statx *ret_stx)
{
  guint64 nodeid;
  VdFsKey key;
  int r = vd_fs_statx (fd, "", 0, ret_stx);

  if (r < 0) {
    close (fd);
    return r;
  }
  key = vd_fs_statx_key (ret_stx);
  r = vd_fs_inodes_add (&fs->inodes, &key, ret_stx->stx_mode & S_IFMT, fd,
                        &nodeid);
  if (r < 0)
    return r;
  fill_entry (fs, parent, nodeid, ret_stx, ret);
  return 0;
}

int
vd_fs_lookup (VdFs *fs, VdFsInode *parent, const char *name, gboolean known,
              VdFuseEntryOut *ret)
{
  struct statx stx;
  int fd, r;

  if (known) {
    VdFsKey key;
    guint64 nodeid;

    r = vd_fs_statx (parent->fd, name, 0, &stx);
    if (r < 0)
      return r;
    key = vd_fs_statx_key (&stx);
    /* The inode of a known key is held open, so this is that very file. */
    nodeid = vd_fs_inodes_find (&fs->inodes, &key);
    if (nodeid != 0) {
      fill_entry (fs, &parent->key, nodeid, &stx, ret);
      return 0;
    }
  }
  fd = vd_fs_jail_child (&fs->jail, parent->fd, name);
  return fd < 0 ? fd : vd_fs_lookup_fd (fs, &parent->key, fd, ret, &stx);
}
