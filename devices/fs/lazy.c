/* SPDX-License-Identifier: BSD-3-Clause */
#include "devices/fs/lazy.h"

#include <errno.h>
#include <fcntl.h>
#include <sys/stat.h>

#include "devices/fs/entry.h"

/* Opens the file of @inode for it, unless another thread is faster. */
static int
open_data (VdFs *fs, VdFsInode *inode, VdFsHandleKind kind, VdFsHandle **ret)
{
  VdFsHandle *handle, *other = NULL;
  int r = vd_fs_reopen (fs, inode->fd,
                        O_RDONLY | O_NONBLOCK |
                            (kind == VD_FS_DIR ? O_DIRECTORY : 0));

  if (r >= 0)
    r = vd_fs_handles_add_hidden (&fs->handles, kind,
                                  vd_fs_inode_nodeid (inode), r, &handle);
  if (r < 0)
    return r;
  /* The inode gets our reference, and we another one. */
  if (atomic_compare_exchange_strong_explicit (&inode->data, &other, handle,
                                               memory_order_acq_rel,
                                               memory_order_acquire))
    other = handle;
  else
    vd_fs_handles_put (handle);
  vd_fs_handles_ref (other);
  *ret = other;
  return 0;
}

int
vd_fs_lazy_get (VdFs *fs, guint64 nodeid, guint64 fh, VdFsHandleKind kind,
                VdFsHandle **ret)
{
  guint64 flag =
      kind == VD_FS_FILE ? VD_FUSE_NO_OPEN_SUPPORT : VD_FUSE_NO_OPENDIR_SUPPORT;
  VdFsInode *inode;
  int r;

  if (fh != 0 || (vd_fs_negotiated (fs) & flag) == 0)
    return vd_fs_handles_get (&fs->handles, fh, nodeid, kind, ret);
  r = vd_fs_inodes_get (&fs->inodes, nodeid, &inode);
  if (r < 0)
    return r;
  if (inode->type != (kind == VD_FS_FILE ? S_IFREG : S_IFDIR)) {
    vd_fs_inodes_put (inode);
    return -EBADF;
  }
  /* Who holds the inode keeps it awake, and so its data where it is. */
  *ret = atomic_load_explicit (&inode->data, memory_order_acquire);
  if (*ret != NULL)
    vd_fs_handles_ref (*ret);
  else
    r = open_data (fs, inode, kind, ret);
  vd_fs_inodes_put (inode);
  return r;
}
