/* SPDX-License-Identifier: BSD-3-Clause
 *
 * inode.h - the files and directories that the guest knows by nodeid
 *
 * An inode lives from the first LOOKUP that finds it until the guest has
 * forgotten as many lookups as it was told of.  What is in a guest's hands is
 * an id of slots.h, so a nodeid that was forgotten gives ESTALE and never
 * another file.  The same file found twice has one inode: a hash over mount,
 * device and inode number finds it.  While the inode has the file open the
 * number cannot be that of another file; when it is parked (pin.h), a proof
 * tells whether it is.
 *
 * While an inode is referenced, its fd is valid.
 *
 * Threads: any, unless said otherwise.  The hash is split into shards with a
 * lock each; finding an inode by nodeid takes none.
 */
#pragma once

#include <glib.h>
#include <stdatomic.h>

#include "devices/fs/budget.h"
#include "devices/fs/pin.h"
#include "devices/fs/slots.h"

/* What makes a file the same file. */
typedef struct {
  guint64 mount; /* STATX_MNT_ID_UNIQUE where the kernel has it */
  guint64 dev;
  guint64 ino;
} VdFsKey;

/* The state of a file's content, as far as its times tell. */
typedef struct {
  gint64 mtime_ns, ctime_ns; /* since the epoch */
  guint64 size;
} VdFsStamp;

struct VdFsInode {
  VdFsSlot slot;
  int fd;       /* O_PATH; valid while referenced */
  guint32 type; /* S_IFMT bits */
  VdFsKey key;
  VdFsInodes *table;

  /* pin.c */
  atomic_bool used; /* since it was last thought of parking it */
  gboolean listed;  /* by the pins' lock, as all to place */
  VdFsInode *older, *newer;
  VdFsPlace *place;                   /* NULL: not needed, or not known */
  _Atomic (struct VdFsHandle *) data; /* lazy.h; NULL: none, or parked */
  VdFsProof proof;                    /* constant from the first parking on */

  atomic_uint_fast64_t spare; /* spare.c; 0: none */

  /* By the shard's lock. */
  guint64 n_lookups;
  VdFsInode *next; /* in the bucket */
  VdFsStamp stamp; /* at the last open; mtime_ns 0: none */
  guint32 version; /* another one whenever the stamp is; 0: no open yet */
};

#define VD_FS_SHARDS 64
#define VD_FS_HINTS  16384

typedef struct {
  pthread_mutex_t lock;
  VdFsInode **buckets;
  guint32 n_buckets; /* a power of two */
  guint32 n_inodes;
  VdFsInode *replaced; /* whose key has become another file's */
} VdFsShard;

struct VdFsInodes {
  VdFsSlots slots;
  VdFsInode root; /* nodeid 1; never forgotten */
  VdFsBudget *budget;
  VdFsPins pins;
  guint64 seed;
  VdFsShard shards[VD_FS_SHARDS];
  atomic_uint_fast32_t *hints;
};

/* A file as a lookup found it. */
typedef struct {
  VdFsKey key;
  guint32 type;     /* S_IFMT bits */
  int fd;           /* O_PATH, or -1 */
  VdFsProof *proof; /* or NULL: not asked for; its content may be taken */

  /* Where it was found; name NULL: nowhere, or that is not needed. */
  guint64 parent;
  const char *name;
} VdFsFound;

/* CONTROL.  @budget: (transfer none): outlives the table
 * @jail: (transfer none) (nullable): as for vd_fs_pins_init()
 * @root: (transfer none): the export's root, outlives the table */
void
vd_fs_inodes_init (VdFsInodes *inodes, VdFsBudget *budget, const VdFsJail *jail,
                   int root, const VdFsKey *root_key);
/* CONTROL; no request is under way. */
void vd_fs_inodes_clear (VdFsInodes *inodes);

/* Forgets everything but the root; requests that hold an inode keep it.
 * Returns: (transfer full) (nullable): a list for vd_fs_inodes_bury(), which
 * closes what is in it */
VdFsInode *vd_fs_inodes_reset (VdFsInodes *inodes);
void vd_fs_inodes_bury (VdFsInode *list); /* NULL is fine */

/* Returns: 0 and a referenced inode, or -errno: -ESTALE for what is no nodeid
 * any more, or whose file is gone. */
int vd_fs_inodes_get (VdFsInodes *inodes, guint64 nodeid, VdFsInode **ret);
/* For pin.c: as the last of @depth inodes that one request waits for. */
int vd_fs_inodes_get_deep (VdFsInodes *inodes, guint64 nodeid, guint depth,
                           VdFsInode **ret);
void vd_fs_inodes_ref (VdFsInode *inode); /* which the caller has already */
void vd_fs_inodes_put (VdFsInode *inode); /* NULL is fine */

guint64 vd_fs_inode_nodeid (const VdFsInode *inode);
gboolean vd_fs_key_equal (const VdFsKey *a, const VdFsKey *b);

/* Counts one more lookup of a file that the guest knows.
 * @found: its fd is of no importance
 * Returns: 0 and its nodeid; -ENOENT if the guest does not know it, or -EAGAIN
 * if that takes a proof, which @found does not have. */
int vd_fs_inodes_find (VdFsInodes *inodes, const VdFsFound *found,
                       guint64 *ret_nodeid);

/* The same without counting.  Returns: whether the guest probably knows it. */
gboolean vd_fs_inodes_knows (VdFsInodes *inodes, const VdFsKey *key);

/* Counts one more lookup, and adds the file if the guest does not know it:
 * awake if @found has a descriptor, parked if it has a proof only.
 * @found: (transfer full): its fd, closed on failure, too, but for -EAGAIN; of
 *   its proof the content
 * Returns: 0, -EAGAIN as vd_fs_inodes_find(), -ENFILE if it can neither be
 * parked nor have a descriptor, or -ENOMEM. */
int
vd_fs_inodes_add (VdFsInodes *inodes, VdFsFound *found, guint64 *ret_nodeid);

/* Without requests.  Adds a file by a nodeid that another instance
 * gave out; vd_fs_slots_rewind() came before the first.
 * @found: (transfer full): its fd, which is one
 * Returns: 0, -EINVAL if @nodeid cannot be or is taken, -EEXIST if the file has
 * another nodeid already, or -ENFILE. */
int vd_fs_inodes_restore (VdFsInodes *inodes, VdFsFound *found, guint64 nodeid,
                          guint64 n_lookups);

/* A file that the guest knows has another name now; of no importance where
 * names are not needed. */
void vd_fs_inodes_moved (VdFsInodes *inodes, const VdFsFound *found);

/* Takes back @n lookups, or as many as there are.  Unknown nodeids and the root
 * are ignored. */
void vd_fs_inodes_forget (VdFsInodes *inodes, guint64 nodeid, guint64 n);

/* Remembers how the file looks now that it is opened; a stamp without mtime_ns
 * looks like no other.
 * @ret_version: (nullable): the file's version, never 0
 * Returns: whether it looks as it did at the last open. */
gboolean vd_fs_inode_stamp (VdFsInode *inode, const VdFsStamp *stamp,
                            guint32 *ret_version);

/* Whether @name in @parent was looked up before, as far as a small table
 * remembers.  It only decides which system call is tried first: one statx() for
 * a file that is known or not there, or open and statx for a new one. */
gboolean vd_fs_inodes_expect (const VdFsInodes *inodes, guint64 parent,
                              const char *name);
void vd_fs_inodes_set_expected (VdFsInodes *inodes, guint64 parent,
                                const char *name);

guint32 vd_fs_inodes_n_live (const VdFsInodes *inodes); /* without the root */
