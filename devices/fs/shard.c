/* SPDX-License-Identifier: BSD-3-Clause */
#include "devices/fs/shard.h"

#include <errno.h>

#define FIRST_BUCKETS 16

void
vd_fs_shard_init (VdFsShard *shard)
{
  pthread_mutex_init (&shard->lock, NULL);
  shard->n_buckets = FIRST_BUCKETS;
  shard->buckets = g_new0 (VdFsInode *, FIRST_BUCKETS);
}

void
vd_fs_shard_clear (VdFsShard *shard)
{
  g_free (shard->buckets);
  pthread_mutex_destroy (&shard->lock);
}

static inline VdFsInode **
bucket_of (VdFsShard *shard, guint64 hash)
{
  return &shard->buckets[(hash >> 32) & (shard->n_buckets - 1)];
}

VdFsInode *
vd_fs_shard_find (VdFsShard *shard, guint64 hash, const VdFsKey *key)
{
  VdFsInode *inode = *bucket_of (shard, hash);

  while (inode != NULL && !vd_fs_key_equal (&inode->key, key))
    inode = inode->next;
  return inode;
}

static void
shard_grow (VdFsInodes *inodes, VdFsShard *shard)
{
  VdFsInode **old = shard->buckets;
  guint32 n_old = shard->n_buckets;
  VdFsInode **buckets = g_try_new0 (VdFsInode *, (gsize) n_old * 2);

  if (buckets == NULL)
    return; /* longer chains do as well */
  shard->buckets = buckets;
  shard->n_buckets = n_old * 2;
  for (guint32 i = 0; i < n_old; i++)
    for (VdFsInode *inode = old[i], *next; inode != NULL; inode = next) {
      VdFsInode **to =
          bucket_of (shard, vd_fs_inodes_hash (inodes, &inode->key));

      next = inode->next;
      inode->next = *to;
      *to = inode;
    }
  g_free (old);
}

void
vd_fs_shard_insert (VdFsInodes *inodes, VdFsShard *shard, guint64 hash,
                    VdFsInode *inode)
{
  VdFsInode **bucket;

  if (shard->n_inodes >= shard->n_buckets)
    shard_grow (inodes, shard);
  bucket = bucket_of (shard, hash);
  inode->next = *bucket;
  *bucket = inode;
  shard->n_inodes++;
}

/* Returns: whether @inode was in the list that starts at @link. */
static gboolean
unlink_from (VdFsInode **link, const VdFsInode *inode)
{
  while (*link != NULL && *link != inode)
    link = &(*link)->next;
  if (*link == NULL)
    return FALSE;
  *link = inode->next;
  return TRUE;
}

gboolean
vd_fs_shard_remove (VdFsShard *shard, guint64 hash, VdFsInode *inode)
{
  if (!unlink_from (bucket_of (shard, hash), inode))
    return unlink_from (&shard->replaced, inode);
  shard->n_inodes--;
  return TRUE;
}

/* The number of @inode's file is another file's now: lookups find it no more,
 * but the guest still has its nodeid. */
static void
shard_replace (VdFsShard *shard, guint64 hash, VdFsInode *inode)
{
  vd_fs_shard_remove (shard, hash, inode);
  inode->next = shard->replaced;
  shard->replaced = inode;
}

int
vd_fs_shard_match (VdFsShard *shard, guint64 hash, const VdFsFound *found,
                   VdFsInode **ret)
{
  VdFsInode *inode = vd_fs_shard_find (shard, hash, &found->key);

  *ret = inode;
  if (inode == NULL)
    return -ENOENT;
  if (!vd_fs_slot_is_parked (&inode->slot))
    return 0;
  if (found->proof == NULL)
    return -EAGAIN;
  if (vd_fs_proof_equal (found->proof, &inode->proof))
    return 0;
  shard_replace (shard, hash, inode);
  return -ENOENT;
}

/* Moves a bucket's inodes to @list, dead, with a reference of the list.
 * Returns: the list's new head. */
static VdFsInode *
bucket_empty (VdFsInodes *inodes, VdFsInode **bucket, VdFsInode *list)
{
  for (VdFsInode *inode = *bucket, *next; inode != NULL; inode = next) {
    next = inode->next;
    inode->n_lookups = 0;
    inode->next = list;
    list = inode;
    vd_fs_slots_ref (&inode->slot);
    vd_fs_slots_kill (&inodes->slots, &inode->slot);
  }
  *bucket = NULL;
  return list;
}

VdFsInode *
vd_fs_shard_empty (VdFsInodes *inodes, VdFsShard *shard, VdFsInode *list)
{
  pthread_mutex_lock (&shard->lock);
  for (guint32 i = 0; i < shard->n_buckets; i++)
    list = bucket_empty (inodes, &shard->buckets[i], list);
  list = bucket_empty (inodes, &shard->replaced, list);
  shard->n_inodes = 0;
  pthread_mutex_unlock (&shard->lock);
  return list;
}
