/* SPDX-License-Identifier: BSD-3-Clause
 *
 * shard.h - the hash that finds an inode by its key, in parts with a lock each;
 * for inode.c
 *
 * Lock order: a shard's lock, then the slots' lock.  A shard's lock is held for
 * a few instructions and never over a system call; in particular descriptors
 * are closed after it is released, because closing the last reference of an
 * unlinked file frees its blocks.
 */
#pragma once

#include "devices/fs/inode.h"

void vd_fs_shard_init (VdFsShard *shard);
/* @shard: empty */
void vd_fs_shard_clear (VdFsShard *shard);

static inline guint64
vd_fs_mix (guint64 x)
{
  x ^= x >> 33;
  x *= 0xff51afd7ed558ccdull;
  x ^= x >> 33;
  x *= 0xc4ceb9fe1a85ec53ull;
  return x ^ x >> 33;
}

static inline guint64
vd_fs_inodes_hash (const VdFsInodes *inodes, const VdFsKey *key)
{
  return vd_fs_mix (vd_fs_mix (vd_fs_mix (inodes->seed ^ key->ino) + key->dev) +
                    key->mount);
}

/* The low bits choose the shard, the high ones the bucket. */
static inline VdFsShard *
vd_fs_inodes_shard (VdFsInodes *inodes, guint64 hash)
{
  return &inodes->shards[hash % VD_FS_SHARDS];
}

/* Below: with the shard's lock, unless said otherwise. */

/* Returns: (nullable): what is filed under @key. */
VdFsInode *
vd_fs_shard_find (VdFsShard *shard, guint64 hash, const VdFsKey *key);

/* Finds the inode of the very file @found, which may be asleep.
 * Returns: 0, -ENOENT or -EAGAIN as vd_fs_inodes_find(). */
int vd_fs_shard_match (VdFsShard *shard, guint64 hash, const VdFsFound *found,
                       VdFsInode **ret);

void vd_fs_shard_insert (VdFsInodes *inodes, VdFsShard *shard, guint64 hash,
                         VdFsInode *inode);

/* Returns: FALSE if it was removed before. */
gboolean vd_fs_shard_remove (VdFsShard *shard, guint64 hash, VdFsInode *inode);

/* Takes the lock, and moves all inodes to @list, dead, with a reference of the
 * list.  Returns: the list's new head. */
VdFsInode *
vd_fs_shard_empty (VdFsInodes *inodes, VdFsShard *shard, VdFsInode *list);
