/* SPDX-License-Identifier: BSD-3-Clause
 *
 * lazy.h - files and directories that are read without having been opened
 *
 * With open=lazy a guest that is told so by ENOSYS to its first OPEN sends
 * neither OPEN nor FLUSH nor RELEASE for files any more, and reads with fh 0;
 * the same for OPENDIR, but for file systems of other machines, whose positions
 * in a directory may mean nothing to whoever opens it anew.  The inode then keeps
 * the file open as long as it is awake (pin.h).  Only for exports that are
 * read-only: a guest could not tell which of its open files has no name any more.
 *
 * QUEUE or POOL.
 */
#pragma once

#include "devices/fs/export.h"
#include "devices/fs/wire.h"

/* Whether the guest sends no OPEN. */
static inline gboolean
vd_fs_is_lazy (const VdFs *fs)
{
  return (vd_fs_negotiated (fs) & VD_FUSE_NO_OPEN_SUPPORT) != 0;
}

/* Finds the open file or directory @fh, or the one of the inode if @fh is 0 and
 * the guest sends no OPEN or OPENDIR.
 * Returns: 0 and a referenced handle, or -errno. */
int vd_fs_lazy_get (VdFs *fs, guint64 nodeid, guint64 fh, VdFsHandleKind kind,
                    VdFsHandle **ret);
