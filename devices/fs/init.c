/* SPDX-License-Identifier: BSD-3-Clause
 *
 * init.c - the beginning and the end of a guest's session
 *
 * The answer to INIT is ours alone: it offers what this device does, whatever
 * the version of libfuse would say.  A second INIT, without a DESTROY before
 * it, is a guest that was rebooted; what the first one knew is dropped.
 */
#include <errno.h>
#include <string.h>

#include "devices/fs/ops.h"

#define PAGE           4096u
#define PAGES_OLD      32u /* of one request, without MAX_PAGES */
#define MAX_BACKGROUND G_MAXUINT16

/* What every guest gets that can do it. */
#define ALWAYS                                                                 \
  (VD_FUSE_ASYNC_READ | VD_FUSE_ATOMIC_O_TRUNC | VD_FUSE_BIG_WRITES |          \
   VD_FUSE_ASYNC_DIO | VD_FUSE_PARALLEL_DIROPS | VD_FUSE_MAX_PAGES |           \
   VD_FUSE_CACHE_SYMLINKS | VD_FUSE_INIT_EXT | VD_FUSE_CREATE_SUPP_GROUP |     \
   VD_FUSE_DIRECT_IO_ALLOW_MMAP | VD_FUSE_HAS_RESEND | VD_FUSE_ALLOW_IDMAP)

/* The kernel of the guest enforces ACLs, if it knows them, does not apply its
 * umask, and says when the set-gid bit must go. */
#define ACL (VD_FUSE_POSIX_ACL | VD_FUSE_DONT_MASK | VD_FUSE_SETXATTR_EXT)

guint64
vd_fs_init_wanted (const VdFs *fs, guint64 offered)
{
  const VdFsPolicy *policy = &fs->policy;
  guint64 flags = ALWAYS;

  if (policy->writeback)
    flags |= VD_FUSE_WRITEBACK_CACHE;
  if (policy->readdirplus)
    flags |= VD_FUSE_DO_READDIRPLUS | VD_FUSE_READDIRPLUS_AUTO;
  if (policy->lazy_open)
    flags |= VD_FUSE_NO_OPEN_SUPPORT |
             (fs->jail.remote ? 0 : VD_FUSE_NO_OPENDIR_SUPPORT);
  /* Data that is valid for ever is not dropped because times have changed. */
  flags |= policy->cache == VD_FS_CACHE_ALWAYS ? VD_FUSE_EXPLICIT_INVAL_DATA
                                               : VD_FUSE_AUTO_INVAL_DATA;
  if ((policy->locks & VD_FS_LOCKS_POSIX) != 0)
    flags |= VD_FUSE_POSIX_LOCKS;
  if ((policy->locks & VD_FS_LOCKS_FLOCK) != 0)
    flags |= VD_FUSE_FLOCK_LOCKS;
  if (policy->ioctl)
    flags |= VD_FUSE_HAS_IOCTL_DIR;
  if (policy->announce_submounts)
    flags |= VD_FUSE_SUBMOUNTS;
  if (fs->jail.kind == VD_FS_JAIL_CLONE) /* where ".." is safe */
    flags |= VD_FUSE_EXPORT_SUPPORT;
  else
    flags |= VD_FUSE_NO_EXPORT_SUPPORT;
  /* Spares the guest a request before every write; and where it truncates on
   * open nobody else would do it.  Remote servers have rules of their own. */
  if (!fs->jail.remote)
    flags |= VD_FUSE_HANDLE_KILLPRIV_V2;
  if (policy->xattr && policy->acl != VD_FS_NEVER && !fs->identity.moves_acls &&
      (offered & ACL) == ACL)
    flags |= ACL;
  if ((offered & VD_FUSE_MAP_ALIGNMENT) != 0 && vd_fs_dax_is_ready (&fs->dax))
    flags |= VD_FUSE_MAP_ALIGNMENT | VD_FUSE_HAS_INODE_DAX;
  if (policy->label == VD_FS_ALWAYS ||
      (policy->label == VD_FS_AUTO && vd_fs_labels_work (fs)))
    flags |= VD_FUSE_SECURITY_CTX;
  return flags & offered;
}

static VdFuseInitOut
init_out (const VdFs *fs, const VdFuseInitIn *in, guint64 flags)
{
  guint32 pages = fs->policy.max_write / PAGE;

  if ((flags & VD_FUSE_MAX_PAGES) == 0)
    pages = MIN (pages, PAGES_OLD);
  return (VdFuseInitOut){
    .major = VD_FUSE_MAJOR,
    .minor = MIN (in->minor, VD_FUSE_MINOR),
    .max_readahead = in->max_readahead,
    .flags = (guint32) flags,
    .flags2 = (guint32) (flags >> 32),
    .max_background = MAX_BACKGROUND,
    .congestion_threshold = MAX_BACKGROUND / 4 * 3,
    .max_write = pages * PAGE,
    .max_pages = (guint16) pages,
    .time_gran = 1,
    .map_alignment = (flags & VD_FUSE_MAP_ALIGNMENT) != 0 ? VD_FS_DAX_SHIFT : 0,
  };
}

int
vd_fs_op_init (VdFsRequest *req)
{
  VdFs *fs = vd_fs_of (req);
  VdFuseInitIn in = { 0 };
  VdFuseInitOut out;
  guint64 offered, flags;

  memcpy (&in, req->message->args,
          MIN (sizeof in, req->message->len - sizeof req->in));
  if (in.major > VD_FUSE_MAJOR) { /* it asks again, in our version */
    out = init_out (fs, &in, 0);
    vd_fs_reply (req, &out, MIN (sizeof out, req->room));
    return 0;
  }
  if (in.major < VD_FUSE_MAJOR || in.minor < VD_FUSE_MINOR_MIN)
    return -EPROTO;
  offered = in.flags;
  if ((offered & VD_FUSE_INIT_EXT) != 0)
    offered |= (guint64) in.flags2 << 32;
  flags = vd_fs_init_wanted (fs, offered);
  if (fs->policy.acl == VD_FS_ALWAYS && (flags & ACL) != ACL)
    return -EOPNOTSUPP;
  if (fs->policy.label == VD_FS_ALWAYS && (flags & VD_FUSE_SECURITY_CTX) == 0)
    return -EOPNOTSUPP;
  vd_fs_session (fs, flags | VD_FS_READY);
  out = init_out (fs, &in, flags);
  vd_fs_reply (req, &out, MIN (sizeof out, req->room));
  return 0;
}

int
vd_fs_op_destroy (VdFsRequest *req)
{
  vd_fs_session (vd_fs_of (req), 0);
  vd_fs_reply (req, NULL, 0);
  return 0;
}
