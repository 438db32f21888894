/* SPDX-License-Identifier: BSD-3-Clause
 *
 * lazy.h - files that are read without having been opened
 *
 * With open=lazy a guest that is told so by ENOSYS to its first OPEN sends
 * neither OPEN nor FLUSH nor RELEASE for files any more, and reads with fh 0.
 * The inode then keeps the file open as long as it is awake (pin.h).  Only for
 * exports that are read-only: a guest could not tell which of its open files has
 * no name any more.
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

/* Finds the open file @fh, or the one of the inode if @fh is 0 and the guest
 * sends no OPEN.
 * Returns: 0 and a referenced handle, or -errno. */
int vd_fs_file_get (VdFs *fs, guint64 nodeid, guint64 fh, VdFsHandle **ret);
