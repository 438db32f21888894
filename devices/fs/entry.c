/* SPDX-License-Identifier: BSD-3-Clause */
#include "devices/fs/entry.h"

#include <errno.h>
#include <fcntl.h>
#include <string.h>
#include <unistd.h>

#include "vring/fd.h"

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

  mask |= STATX_BASIC_STATS | STATX_BTIME | STATX_MNT_ID | STATX_MNT_ID_UNIQUE;
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
  if ((vd_fs_negotiated (fs) & VD_FUSE_HAS_INODE_DAX) != 0 &&
      S_ISREG (stx->stx_mode) && stx->stx_size >= fs->policy.dax_min_size)
    ret->flags |= VD_FUSE_ATTR_DAX;
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

/* What a lookup of @name in @parent found. */
static VdFsFound
found_at (VdFs *fs, VdFsInode *parent, const char *name, int fd,
          const struct statx *stx)
{
  VdFsFound found = {
    .key = vd_fs_statx_key (stx),
    .type = stx->stx_mode & S_IFMT,
    .fd = fd,
  };

  if (name != NULL &&
      vd_fs_pins_needs_place (&fs->inodes.pins, found.key.mount)) {
    found.parent = vd_fs_inode_nodeid (parent);
    found.name = name;
  }
  return found;
}

/* Adds what was @found, with a proof that is asked of @fd and @name.
 * Returns: 0 or -errno. */
static int
add_proven (VdFs *fs, VdFsFound *found, int fd, const char *name,
            const struct statx *stx, guint64 *ret_nodeid)
{
  VdFsProof proof = { 0 };
  int r = vd_fs_pins_prove (&fs->inodes.pins, found->key.mount, fd, name, stx,
                            &proof);

  if (r < 0)
    return r;
  found->proof = &proof;
  r = vd_fs_inodes_add (&fs->inodes, found, ret_nodeid);
  found->proof = NULL;
  vd_fs_proof_clear (&proof);
  return r;
}

/* Adds the file of @fd, which is taken and which @stx describes. */
static int
lookup_open (VdFs *fs, VdFsInode *parent, const char *name, int fd,
             const struct statx *stx, VdFuseEntryOut *ret)
{
  VdFsFound found = found_at (fs, parent, name, fd, stx);
  guint64 nodeid;
  int r;

  if (found.key.mount != parent->key.mount && found.type == S_IFDIR)
    vd_fs_pins_add_mount (&fs->inodes.pins, found.key.mount, fd);
  r = vd_fs_inodes_add (&fs->inodes, &found, &nodeid);
  if (r == -EAGAIN) {
    r = add_proven (fs, &found, fd, "", stx, &nodeid);
    vd_clear_fd (&found.fd);
  }
  if (r < 0)
    return r;
  fill_entry (fs, &parent->key, nodeid, stx, ret);
  return 0;
}

int
vd_fs_lookup_fd (VdFs *fs, VdFsInode *parent, const char *name, int fd,
                 VdFuseEntryOut *ret)
{
  struct statx stx;
  int r = vd_fs_statx (fd, "", 0, &stx);

  if (r < 0) {
    close (fd);
    return r;
  }
  return lookup_open (fs, parent, name, fd, &stx, ret);
}

/* Opens @name in @parent if it is @opened.
 * Returns: an O_PATH descriptor that @ret describes, or -1. */
static int
open_same (VdFs *fs, VdFsInode *parent, const char *name, int opened,
           struct statx *ret)
{
  int fd = vd_fs_jail_child (&fs->jail, parent->fd, name);
  struct statx stx;
  VdFsKey wanted, found;

  if (fd < 0)
    return -1;
  if (vd_fs_statx (opened, "", 0, &stx) == 0 &&
      vd_fs_statx (fd, "", 0, ret) == 0) {
    wanted = vd_fs_statx_key (&stx);
    found = vd_fs_statx_key (ret);
    if (vd_fs_key_equal (&wanted, &found))
      return fd;
  }
  close (fd);
  return -1;
}

int
vd_fs_lookup_new (VdFs *fs, VdFsInode *parent, const char *name, int opened,
                  VdFuseEntryOut *ret)
{
  struct statx stx;
  int fd = -1;

  /* Its name is the shorter way than its link in /proc. */
  if (name != NULL)
    fd = open_same (fs, parent, name, opened, &stx);
  if (fd >= 0)
    return lookup_open (fs, parent, name, fd, &stx, ret);
  fd = vd_fs_reopen (fs, opened, O_PATH);
  return fd < 0 ? fd : vd_fs_lookup_fd (fs, parent, name, fd, ret);
}

/* Looks up without opening anything: what is known already, and, if descriptors
 * are @scarce, also what is not.
 * Returns: 0 or -errno, after which opening it is worth trying. */
static int
lookup_name (VdFs *fs, VdFsInode *parent, const char *name, gboolean scarce,
             const struct statx *stx, guint64 *ret_nodeid)
{
  VdFsPins *pins = &fs->inodes.pins;
  VdFsFound found = found_at (fs, parent, name, -1, stx);
  int r = vd_fs_inodes_find (&fs->inodes, &found, ret_nodeid);

  if (r == -ENOENT && scarce &&
      (found.key.mount == parent->key.mount ||
       vd_fs_pins_knows_mount (pins, found.key.mount)))
    r = -EAGAIN;
  return r == -EAGAIN
             ? add_proven (fs, &found, parent->fd, name, stx, ret_nodeid)
             : r;
}

int
vd_fs_lookup (VdFs *fs, VdFsInode *parent, const char *name, gboolean known,
              VdFuseEntryOut *ret)
{
  gboolean scarce = vd_fs_pins_tight (&fs->inodes);
  struct statx stx;
  int fd, r;

  if (known || scarce) {
    guint64 nodeid;

    r = vd_fs_statx (parent->fd, name, 0, &stx);
    if (r < 0)
      return r;
    if (lookup_name (fs, parent, name, scarce, &stx, &nodeid) == 0) {
      fill_entry (fs, &parent->key, nodeid, &stx, ret);
      return 0;
    }
  }
  fd = vd_fs_jail_child (&fs->jail, parent->fd, name);
  if (vd_fs_budget_retry (&fs->budget, fd))
    fd = vd_fs_jail_child (&fs->jail, parent->fd, name);
  return fd < 0 ? fd : vd_fs_lookup_fd (fs, parent, name, fd, ret);
}

void
vd_fs_renamed (VdFs *fs, VdFsInode *parent, const char *name)
{
  VdFsProof birth = { 0 };
  VdFsFound found;
  struct statx stx;

  if (!vd_fs_pins_needs_place (&fs->inodes.pins, parent->key.mount) ||
      vd_fs_statx (parent->fd, name, 0, &stx) < 0 ||
      vd_fs_proof_birth (&stx, &birth) < 0)
    return;
  found = found_at (fs, parent, name, -1, &stx);
  found.proof = &birth;
  vd_fs_inodes_moved (&fs->inodes, &found);
}

int
vd_fs_reopen (VdFs *fs, int fd, int flags)
{
  int r = vd_fs_jail_reopen (&fs->jail, fd, flags);

  if (vd_fs_budget_retry (&fs->budget, r))
    r = vd_fs_jail_reopen (&fs->jail, fd, flags);
  return r;
}
