/* SPDX-License-Identifier: BSD-3-Clause
 *
 * lock-file.h - the open files whose OFD locks stand for owners' locks
 *
 * A lock of fcntl(2) belongs to a process of the guest or, if it is of the kind
 * OFD, to one of its open files; the protocol has a number for either, the owner.
 *
 * Threads: any.  None of these is called with the locks' lock.
 */
#pragma once

#include <fcntl.h>

#include "devices/fs/export.h"

/* The open file of one owner. */
struct VdFsLockFile {
  guint64 nodeid, owner; /* the key */
  int fd;
  VdFsBudget *budget;

  /* By the locks' lock. */
  guint refs;  /* one is the table's while it is in it */
  guint64 fh;  /* by which the owner locked last, or asked first */
  guint32 pid; /* who did that in the guest; 0: nobody knows */
};

/* Returns: (transfer full): an empty table of such files. */
GHashTable *vd_fs_lock_files_new (void);

/* Finds the file of @owner for the inode @nodeid, that handle @fh has open, or
 * opens it.
 * @wanted: (nullable): what it is going to lock
 * Returns: 0 and the file, referenced, or -errno. */
int vd_fs_lock_file_get (VdFs *fs, guint64 nodeid, guint64 fh, guint64 owner,
                         const struct flock *wanted, VdFsLockFile **ret);

/* Who in the guest has @lock, which is in the way of the owner of @file, as
 * F_OFD_GETLK told; that does not tell whose it is.
 * Returns: a process of the guest, or 0 if it is none, or one of several. */
guint32 vd_fs_lock_file_holder (VdFsLocks *locks, const VdFsLockFile *file,
                                const struct flock *lock);

/* For RELEASE: nobody has @fh open any more: drops what was locked last by it.  Processes have
 * told of theirs by FLUSH before, but locks of the kind OFD end only so. */
void vd_fs_locks_drop_handle (VdFs *fs, guint64 nodeid, guint64 fh);

/* Drops a reference, with the last one all the owner's locks of the file; NULL
 * is fine. */
void vd_fs_lock_file_put (VdFsLocks *locks, VdFsLockFile *file);
