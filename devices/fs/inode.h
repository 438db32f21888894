/* SPDX-License-Identifier: BSD-3-Clause
 *
 * inode.h - the files and directories that the guest knows by nodeid
 *
 * An inode lives from the first LOOKUP that finds it until the guest has
 * forgotten as many lookups as it was told of.  What is in a guest's hands is
 * an id of slots.h, so a nodeid that was forgotten gives ESTALE and never
 * another file.  The same file found twice has one inode: a hash over mount,
 * device and inode number finds it, and because every inode holds its file open
 * the number cannot be that of another file meanwhile.
 *
 * While an inode is referenced, its fd is valid.  How that is done is a matter
 * of inode.c alone: today every inode keeps an O_PATH descriptor.
 *
 * Threads: any, unless said otherwise.  The hash is split into shards with a
 * lock each; finding an inode by nodeid takes none.
 */
#pragma once

#include <glib.h>
#include <stdatomic.h>

#include "devices/fs/budget.h"
#include "devices/fs/slots.h"

typedef struct VdFsInode VdFsInode;
typedef struct VdFsInodes VdFsInodes;

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

  /* By the shard's lock. */
  guint64 n_lookups;
  VdFsInode *next; /* in the bucket */
  VdFsStamp stamp; /* at the last open; mtime_ns 0: none */
};

#define VD_FS_SHARDS 64
#define VD_FS_HINTS  16384

typedef struct {
  pthread_mutex_t lock;
  VdFsInode **buckets;
  guint32 n_buckets; /* a power of two */
  guint32 n_inodes;
} VdFsShard;

struct VdFsInodes {
  VdFsSlots slots;
  VdFsInode root; /* nodeid 1; never forgotten */
  VdFsBudget *budget;
  guint64 seed;
  VdFsShard shards[VD_FS_SHARDS];
  atomic_uint_fast32_t *hints;
};

/* CONTROL.  @budget: (transfer none): outlives the table
 * @root: (transfer none): the export's root, outlives the table */
void vd_fs_inodes_init (VdFsInodes *inodes, VdFsBudget *budget, int root,
                        const VdFsKey *root_key);
/* CONTROL; no request is under way. */
void vd_fs_inodes_clear (VdFsInodes *inodes);

/* Forgets everything but the root; requests that hold an inode keep it.
 * Returns: (transfer full) (nullable): a list for vd_fs_inodes_bury(), which
 * closes what is in it */
VdFsInode *vd_fs_inodes_reset (VdFsInodes *inodes);
void vd_fs_inodes_bury (VdFsInode *list); /* NULL is fine */

/* Returns: 0 and a referenced inode, or -ESTALE. */
int vd_fs_inodes_get (VdFsInodes *inodes, guint64 nodeid, VdFsInode **ret);
void vd_fs_inodes_put (VdFsInode *inode); /* NULL is fine */

guint64 vd_fs_inode_nodeid (const VdFsInode *inode);

/* Counts one more lookup of the file that has @key.
 * Returns: its nodeid, or 0 if the guest does not know it. */
guint64 vd_fs_inodes_find (VdFsInodes *inodes, const VdFsKey *key);

/* The same without counting.  Returns: whether the guest knows it. */
gboolean vd_fs_inodes_knows (VdFsInodes *inodes, const VdFsKey *key);

/* Counts one more lookup, and adds the file if the guest does not know it.
 * @fd: (transfer full): O_PATH, of the file that has @key and @type
 * Returns: 0, -ENFILE beyond the budget, or -ENOMEM. */
int vd_fs_inodes_add (VdFsInodes *inodes, const VdFsKey *key, guint32 type,
                      int fd, guint64 *ret_nodeid);

/* Takes back @n lookups, or as many as there are.  Unknown nodeids and the root
 * are ignored. */
void vd_fs_inodes_forget (VdFsInodes *inodes, guint64 nodeid, guint64 n);

/* Remembers how the file looks now that it is opened.
 * Returns: whether it looks as it did at the last open. */
gboolean vd_fs_inode_stamp (VdFsInode *inode, const VdFsStamp *stamp);

/* Whether @name in @parent was found before, as far as a small table remembers.
 * It only decides which system call is tried first: one statx() for a file that
 * is known, or open and statx for a new one. */
gboolean vd_fs_inodes_expect (const VdFsInodes *inodes, guint64 parent,
                              const char *name);
void vd_fs_inodes_set_expected (VdFsInodes *inodes, guint64 parent,
                                const char *name);

guint32 vd_fs_inodes_n_live (const VdFsInodes *inodes); /* without the root */
