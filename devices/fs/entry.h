/* SPDX-License-Identifier: BSD-3-Clause
 *
 * entry.h - from a name to a nodeid, and from statx() to FUSE's attributes
 */
#pragma once

#include <sys/stat.h>

#include "devices/fs/export.h"
#include "devices/fs/wire.h"

/* statx() of @name in @fd, or of @fd itself if @name is "".  Never follows a
 * link.  @mask: STATX_* beyond what a VdFuseAttr and a VdFsKey need.
 * Returns: 0 or -errno. */
int vd_fs_statx (int fd, const char *name, guint mask, struct statx *ret);

VdFsKey vd_fs_statx_key (const struct statx *stx);
VdFsStamp vd_fs_statx_stamp (const struct statx *stx);

/* As the guest of @fs sees it. */
void
vd_fs_attr_encode (const VdFs *fs, const struct statx *stx, VdFuseAttr *ret);

/* Finds @name in @parent and counts the lookup; on success the guest must be
 * told of @ret, or vd_fs_inodes_forget() be called.
 * @known: the file is probably known already; a wrong guess costs one system
 *   call more
 * Returns: 0 or -errno. */
int vd_fs_lookup (VdFs *fs, VdFsInode *parent, const char *name, gboolean known,
                  VdFuseEntryOut *ret);

/* The same for an open file that may have no name.
 * @fd: (transfer full): O_PATH
 * @name: in @parent, or NULL */
int vd_fs_lookup_fd (VdFs *fs, VdFsInode *parent, const char *name, int fd,
                     VdFuseEntryOut *ret);

/* The same for a file that was made just now, and is open.
 * @opened: (transfer none): the file, which the inode must not keep open
 * @name: in @parent, which others may have moved or replaced since, or NULL */
int vd_fs_lookup_new (VdFs *fs, VdFsInode *parent, const char *name, int opened,
                      VdFuseEntryOut *ret);

/* @name in @parent is what another name was before. */
void vd_fs_renamed (VdFs *fs, VdFsInode *parent, const char *name);

/* vd_fs_jail_reopen(), which at the process's limit of descriptors gives up
 * some of this export and tries again. */
int vd_fs_reopen (VdFs *fs, int fd, int flags);
