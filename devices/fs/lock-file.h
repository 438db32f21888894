/* SPDX-License-Identifier: BSD-3-Clause
 *
 * lock-file.h - the open files whose OFD locks stand for owners' locks; for
 * lock.c
 *
 * Threads: any.  None of these is called with the locks' lock.
 */
#pragma once

#include "devices/fs/export.h"

/* The open file of one owner. */
struct VdFsLockFile {
  guint64 nodeid, owner; /* the key */
  int fd;
  guint refs; /* by the locks' lock; one is the table's while it is in it */
  VdFsBudget *budget;
};

/* Returns: (transfer full): an empty table of such files. */
GHashTable *vd_fs_lock_files_new (void);

/* Finds the file of @owner for the inode @nodeid, that handle @fh has open, or
 * opens it.  Returns: 0 and the file, referenced, or -errno. */
int vd_fs_lock_file_get (VdFs *fs, guint64 nodeid, guint64 fh, guint64 owner,
                         VdFsLockFile **ret);

/* Drops a reference, with the last one all the owner's locks of the file; NULL
 * is fine. */
void vd_fs_lock_file_put (VdFsLocks *locks, VdFsLockFile *file);
