/* SPDX-License-Identifier: BSD-3-Clause
 *
 * handle.h - the files and directories that the guest has open
 *
 * An fh is an id of slots.h and is good only together with the nodeid that it
 * was opened for.  A request holds a reference, so a RELEASE that overtakes it
 * on another queue closes nothing under its feet; that matters, because the
 * number of a closed descriptor may be another export's next file.
 *
 * Threads: any, unless said otherwise; no lock but when opening and closing.
 */
#pragma once

#include <glib.h>
#include <stdatomic.h>

#include "devices/fs/budget.h"
#include "devices/fs/inode.h"
#include "devices/fs/slots.h"

typedef enum {
  VD_FS_FILE = 1 << 0,
  VD_FS_DIR = 1 << 1,
} VdFsHandleKind;

/* What was learned about a handle or its file system, so that it is not tried again
 * with every request. */
typedef enum {
  VD_FS_READ_MAY_BLOCK = 1 << 0,  /* preadv2() knows no RWF_NOWAIT */
  VD_FS_WRITE_MAY_BLOCK = 1 << 1, /* nor does pwritev2() */
  VD_FS_IS_DIRECT = 1 << 2,       /* open with O_DIRECT, */
  VD_FS_IS_CACHED = 1 << 3,       /* or not; else nobody has looked yet */
} VdFsLesson;

typedef struct VdFsHandles VdFsHandles;

typedef struct VdFsHandle VdFsHandle;
struct VdFsHandle {
  VdFsSlot slot;
  int fd;
  VdFsHandleKind kind;
  guint64 nodeid;
  VdFsInode
      *inode; /* referenced, so that what is open is never parked; or NULL */
  VdFsHandles *table;
  atomic_uint_fast32_t lessons; /* VdFsLesson */
  atomic_bool has_locked;       /* somebody did, by fcntl(2) */
  guint32 version; /* fd may become a spare of this one (spare.h); 0: not */

  /* Directories: two READDIRs at once must not mix seek and read. */
  pthread_mutex_t dir_lock;
  gint64 dir_offset; /* where fd stands, -1: unknown; by dir_lock */
};

struct VdFsHandles {
  VdFsSlots slots;
  VdFsBudget *budget;
};

/* CONTROL.  @budget: (transfer none): outlives the table */
void vd_fs_handles_init (VdFsHandles *handles, VdFsBudget *budget);
/* CONTROL; no request is under way. */
void vd_fs_handles_clear (VdFsHandles *handles);

/* Makes every fh stale; requests that hold a handle keep it.
 * Returns: (transfer full): a list for vd_fs_handles_bury(), which closes what
 * is in it */
guint32 vd_fs_handles_reset (VdFsHandles *handles);
void vd_fs_handles_bury (VdFsHandles *handles, guint32 list);

/* @nodeid: of @inode
 * @inode: (transfer none) (nullable): gets a reference
 * @fd: (transfer full): closed on failure, too
 * @version: of the file if @fd may become its spare, or 0
 * Returns: 0, -ENFILE beyond the budget, or -ENOMEM. */
int
vd_fs_handles_add (VdFsHandles *handles, VdFsHandleKind kind, guint64 nodeid,
                   VdFsInode *inode, int fd, guint32 version, guint64 *ret_fh);

/* Without requests.  The same by an fh that another instance gave out;
 * vd_fs_slots_rewind() came before the first.
 * Returns: -EINVAL, too, if @fh cannot be or is taken. */
int
vd_fs_handles_restore (VdFsHandles *handles, VdFsHandleKind kind,
                       guint64 nodeid, VdFsInode *inode, int fd, guint64 fh);

/* @kinds: which VdFsHandleKind are expected
 * Returns: 0 and a referenced handle, or -EBADF. */
int vd_fs_handles_get (VdFsHandles *handles, guint64 fh, guint64 nodeid,
                       guint kinds, VdFsHandle **ret);
void vd_fs_handles_put (VdFsHandle *handle); /* NULL is fine */

/* Closes @fh as soon as no request uses it.  Returns: 0 or -EBADF. */
int vd_fs_handles_release (VdFsHandles *handles, guint64 fh, guint64 nodeid,
                           guint kinds);

/* Makes a handle that has no fh, so that no guest can name it.
 * @fd: (transfer full): closed on failure, too
 * Returns: 0 and the only reference, -ENFILE or -ENOMEM. */
int vd_fs_handles_add_hidden (VdFsHandles *handles, VdFsHandleKind kind,
                              guint64 nodeid, int fd, VdFsHandle **ret);

void vd_fs_handles_ref (VdFsHandle *handle); /* which the caller has already */

guint32 vd_fs_handles_n_live (const VdFsHandles *handles);
