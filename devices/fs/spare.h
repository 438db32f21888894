/* SPDX-License-Identifier: BSD-3-Clause
 *
 * spare.h - files that stay open for the next OPEN
 *
 * Opening a file through /proc and closing it are most of what reading a small
 * one costs.  So the descriptor of a file that was open for reading only becomes
 * its inode's spare on RELEASE, and the next OPEN gets it if the file has not
 * changed since: neither content, owner, mode nor name, as far as its times tell
 * (VdFsInode.version).  Otherwise the file is opened anew, so whoever watches or
 * forbids that on the host has their say about every version of it.
 *
 * A spare holds nothing that the inode's O_PATH descriptor does not hold as well:
 * the blocks of an unlinked file, and its mount.  It ends with that, counts
 * towards the export's budget, and there are none while descriptors are scarce,
 * on file systems of other machines, and where locks are the host's, which end
 * with the descriptor.
 *
 * Threads: any; the caller has a reference to the inode.
 */
#pragma once

#include "devices/fs/inode.h"

/* Gives @inode @fd, which was opened for reading at @version of the file.
 * Returns: whether it was taken, with its share of the budget. */
gboolean vd_fs_spare_keep (VdFsInode *inode, guint32 version, int fd);

/* Returns: (transfer full): the spare if it is of @version, or -1. */
int vd_fs_spare_take (VdFsInode *inode, guint32 version);

/* Closes the spare, if there is one.  The inode may be referenced by nobody. */
void vd_fs_spare_drop (VdFsInode *inode);
