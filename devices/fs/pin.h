/* SPDX-License-Identifier: BSD-3-Clause
 *
 * pin.h - how inodes lead to their files: by a descriptor, or by a proof
 *
 * An inode that is in use has an O_PATH descriptor.  Beyond three quarters of
 * the export's budget the ones that were not used for longest are parked: what
 * is left of them is a proof (proof.h), and the next request that needs the
 * file opens it again.  So the number of files that a guest knows is bounded by
 * memory alone.
 *
 * What cannot be parked keeps its descriptor: a file without a name that is
 * still in use, and all of a file system that has neither file handles nor
 * times of birth.
 *
 * Threads: any.  The lock is held for a few instructions, never over a system
 * call.  Lock order: a shard's lock, then this one.
 */
#pragma once

#include <glib.h>
#include <pthread.h>
#include <stdatomic.h>

#include "devices/fs/jail.h"
#include "devices/fs/proof.h"

typedef struct VdFsInode VdFsInode;
typedef struct VdFsInodes VdFsInodes;

#define VD_FS_MOUNTS 64 /* whose file handles can be opened */

typedef struct {
  guint64 id; /* as in VdFsKey */
  int fd;     /* a directory on it; -1: its files have no handles here */
} VdFsMount;

typedef struct {
  const VdFsJail *jail; /* NULL: nothing is ever parked */
  gboolean by_handle;   /* the root's mount has handles; constant */
  gboolean by_birth;    /* else it has times of birth; constant */

  atomic_bool may_hang; /* a mount of another machine was seen */

  pthread_mutex_t lock;       /* guards all below */
  VdFsInode *oldest, *newest; /* that could be parked */
  guint32 n_listed;
  guint32 n_mounts; /* the first is the root's */
  VdFsMount mounts[VD_FS_MOUNTS];
} VdFsPins;

/* Where a file was last seen; for those that have no handle. */
typedef struct {
  guint64 parent; /* nodeid */
  char name[];
} VdFsPlace;

/* CONTROL.  Finds out what can be done with the files of @jail's root.
 * @jail: (transfer none) (nullable): outlives the pins */
void vd_fs_pins_init (VdFsPins *pins, const VdFsJail *jail, guint64 mount);
void vd_fs_pins_clear (VdFsPins *pins);

/* CONTROL, without requests under way: lets go of mounts below the root's, so
 * that the host can unmount them. */
void vd_fs_pins_forget_mounts (VdFsPins *pins);

/* Takes note of a mount, if it is a new one.  @dir: a directory on it */
void vd_fs_pins_add_mount (VdFsPins *pins, guint64 mount, int dir);
gboolean vd_fs_pins_knows_mount (VdFsPins *pins, guint64 mount);

/* Whether system calls may have to wait for another machine. */
static inline gboolean
vd_fs_pins_may_hang (const VdFsPins *pins)
{
  return atomic_load_explicit (&pins->may_hang, memory_order_relaxed);
}

/* How files are parked: "file handles", "names" or "never". */
const char *vd_fs_pins_how (const VdFsPins *pins);

/* Proves the file that @stx describes: @name in @fd, or @fd itself if it is "".
 * Returns: 0 or -errno; -EOPNOTSUPP if there is no proof. */
int vd_fs_pins_prove (VdFsPins *pins, guint64 mount, int fd, const char *name,
                      const struct statx *stx, VdFsProof *ret);

/* Whether files of @mount need a place to be found again. */
gboolean vd_fs_pins_needs_place (VdFsPins *pins, guint64 mount);
void vd_fs_pin_set_place (VdFsInode *inode, guint64 parent, const char *name);

/* Whether descriptors are scarce, so that new inodes had better start parked. */
gboolean vd_fs_pins_tight (VdFsInodes *inodes);

/* Parks some inodes if descriptors are scarce. */
void vd_fs_pins_make_room (VdFsInodes *inodes);

/* Parks one inode.  Returns: whether one could be. */
gboolean vd_fs_pins_park_one (VdFsInodes *inodes);

/* The new @inode is awake: it has its descriptor, which is counted here. */
void vd_fs_pin_start (VdFsInode *inode);
/* Closes what @inode, which nobody holds any more, has open. */
void vd_fs_pin_stop (VdFsInode *inode);

/* Opens the file of a parked @inode, to which the caller has a reference.
 * @depth: of directories that are being waken for it, 0 at first
 * Returns: 0 or -errno; -ESTALE if the file is gone. */
int vd_fs_pin_wake (VdFsInode *inode, guint depth);
