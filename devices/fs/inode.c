/* SPDX-License-Identifier: BSD-3-Clause
 *
 * inode.c - see inode.h
 *
 * Lock order: a shard's lock, then the slots' lock.  A shard's lock is held for
 * a few instructions and never over a system call; in particular descriptors
 * are closed after it is released, because closing the last reference of an
 * unlinked file frees its blocks.
 */
#include "devices/fs/inode.h"

#include <errno.h>
#include <string.h>
#include <sys/stat.h>
#include <unistd.h>

#include "devices/fs/wire.h"
#include "vring/fd.h"

#define FIRST_BUCKETS 16
#define INODES_MAX    (8u << 20) /* a gigabyte and a half */

static void
inode_dispose (VdFsSlot *slot)
{
  vd_fs_pin_stop ((VdFsInode *) slot);
}

static gboolean
relieve (gpointer data)
{
  return vd_fs_pins_park_one (data);
}

void
vd_fs_inodes_init (VdFsInodes *inodes, VdFsBudget *budget, const VdFsJail *jail,
                   int root, const VdFsKey *root_key)
{
  memset (inodes, 0, sizeof *inodes);
  vd_fs_slots_init (&inodes->slots, sizeof (VdFsInode), INODES_MAX,
                    inode_dispose);
  inodes->budget = budget;
  vd_fs_pins_init (&inodes->pins, jail, root_key->mount);
  budget->relieve = relieve;
  budget->relieve_data = inodes;
  inodes->seed = (guint64) g_random_int () << 32 | g_random_int ();
  inodes->hints = g_new0 (atomic_uint_fast32_t, VD_FS_HINTS);
  for (guint i = 0; i < VD_FS_SHARDS; i++) {
    VdFsShard *shard = &inodes->shards[i];

    pthread_mutex_init (&shard->lock, NULL);
    shard->n_buckets = FIRST_BUCKETS;
    shard->buckets = g_new0 (VdFsInode *, FIRST_BUCKETS);
  }
  inodes->root = (VdFsInode){
    .fd = root,
    .type = S_IFDIR,
    .key = *root_key,
    .table = inodes,
  };
}

void
vd_fs_inodes_clear (VdFsInodes *inodes)
{
  vd_fs_inodes_bury (vd_fs_inodes_reset (inodes));
  for (guint i = 0; i < VD_FS_SHARDS; i++) {
    g_free (inodes->shards[i].buckets);
    pthread_mutex_destroy (&inodes->shards[i].lock);
  }
  g_free (inodes->hints);
  inodes->budget->relieve = NULL;
  vd_fs_pins_clear (&inodes->pins);
  vd_fs_slots_clear (&inodes->slots);
}

/* Hashing. */

static inline guint64
mix (guint64 x)
{
  x ^= x >> 33;
  x *= 0xff51afd7ed558ccdull;
  x ^= x >> 33;
  x *= 0xc4ceb9fe1a85ec53ull;
  return x ^ x >> 33;
}

static inline guint64
key_hash (const VdFsInodes *inodes, const VdFsKey *key)
{
  return mix (mix (mix (inodes->seed ^ key->ino) + key->dev) + key->mount);
}

gboolean
vd_fs_key_equal (const VdFsKey *a, const VdFsKey *b)
{
  return a->ino == b->ino && a->dev == b->dev && a->mount == b->mount;
}

/* The low bits choose the shard, the high ones the bucket. */
static inline VdFsShard *
shard_of (VdFsInodes *inodes, guint64 hash)
{
  return &inodes->shards[hash % VD_FS_SHARDS];
}

static inline VdFsInode **
bucket_of (VdFsShard *shard, guint64 hash)
{
  return &shard->buckets[(hash >> 32) & (shard->n_buckets - 1)];
}

/* Below: with the shard's lock. */

static VdFsInode *
shard_find (VdFsShard *shard, guint64 hash, const VdFsKey *key)
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
      VdFsInode **to = bucket_of (shard, key_hash (inodes, &inode->key));

      next = inode->next;
      inode->next = *to;
      *to = inode;
    }
  g_free (old);
}

static void
shard_insert (VdFsInodes *inodes, VdFsShard *shard, guint64 hash,
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

/* Returns: FALSE if it was removed before. */
static gboolean
shard_remove (VdFsShard *shard, guint64 hash, VdFsInode *inode)
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
  shard_remove (shard, hash, inode);
  inode->next = shard->replaced;
  shard->replaced = inode;
}

/* Finds the inode of the very file @found, which may be asleep.
 * Returns: 0, -ENOENT or -EAGAIN as vd_fs_inodes_find(). */
static int
shard_match (VdFsShard *shard, guint64 hash, const VdFsFound *found,
             VdFsInode **ret)
{
  VdFsInode *inode = shard_find (shard, hash, &found->key);

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

/* Above: with the shard's lock. */

int
vd_fs_inodes_get_deep (VdFsInodes *inodes, guint64 nodeid, guint depth,
                       VdFsInode **ret)
{
  VdFsInode *inode;
  int r;

  if (nodeid == VD_FUSE_ROOT_ID) {
    *ret = &inodes->root;
    return 0;
  }
  inode = (VdFsInode *) vd_fs_slots_get (&inodes->slots, nodeid);
  if (inode == NULL)
    return -ESTALE;
  if (G_UNLIKELY (vd_fs_slot_is_parked (&inode->slot))) {
    r = vd_fs_pin_wake (inode, depth);
    if (r < 0) {
      vd_fs_inodes_put (inode);
      return r;
    }
  } else if (!atomic_load_explicit (&inode->used, memory_order_relaxed))
    atomic_store_explicit (&inode->used, TRUE, memory_order_relaxed);
  *ret = inode;
  return 0;
}

int
vd_fs_inodes_get (VdFsInodes *inodes, guint64 nodeid, VdFsInode **ret)
{
  return vd_fs_inodes_get_deep (inodes, nodeid, 0, ret);
}

void
vd_fs_inodes_ref (VdFsInode *inode)
{
  if (inode != &inode->table->root)
    vd_fs_slots_ref (&inode->slot);
}

void
vd_fs_inodes_put (VdFsInode *inode)
{
  if (inode != NULL && inode != &inode->table->root)
    vd_fs_slots_put (&inode->table->slots, &inode->slot);
}

guint64
vd_fs_inode_nodeid (const VdFsInode *inode)
{
  return inode == &inode->table->root ? VD_FUSE_ROOT_ID
                                      : vd_fs_slot_id (&inode->slot);
}

/* The guest was told of @inode once more.  With the shard's lock. */
static guint64
count_lookup (VdFsInode *inode, const VdFsFound *found)
{
  inode->n_lookups++;
  if (found->name != NULL)
    vd_fs_pin_set_place (inode, found->parent, found->name);
  return vd_fs_slot_id (&inode->slot);
}

int
vd_fs_inodes_find (VdFsInodes *inodes, const VdFsFound *found,
                   guint64 *ret_nodeid)
{
  guint64 hash = key_hash (inodes, &found->key);
  VdFsShard *shard = shard_of (inodes, hash);
  VdFsInode *inode;
  int r;

  if (vd_fs_key_equal (&found->key, &inodes->root.key)) {
    *ret_nodeid = VD_FUSE_ROOT_ID;
    return 0;
  }
  pthread_mutex_lock (&shard->lock);
  r = shard_match (shard, hash, found, &inode);
  if (r == 0)
    *ret_nodeid = count_lookup (inode, found);
  pthread_mutex_unlock (&shard->lock);
  return r;
}

gboolean
vd_fs_inodes_knows (VdFsInodes *inodes, const VdFsKey *key)
{
  guint64 hash = key_hash (inodes, key);
  VdFsShard *shard = shard_of (inodes, hash);
  gboolean known;

  pthread_mutex_lock (&shard->lock);
  known = shard_find (shard, hash, key) != NULL;
  pthread_mutex_unlock (&shard->lock);
  return known;
}

/* Makes @slot an inode that nobody finds yet, and takes what @found has.
 * Returns: (nullable): it, or NULL if @slot is. */
static VdFsInode *
inode_new (VdFsInodes *inodes, VdFsSlot *slot, VdFsFound *found)
{
  VdFsInode *inode = (VdFsInode *) slot;

  if (inode == NULL)
    return NULL;
  inode->fd = found->fd;
  inode->type = found->type;
  inode->key = found->key;
  inode->table = inodes;
  inode->n_lookups = 0;
  inode->place = NULL;
  inode->proof = (VdFsProof){ 0 };
  if (found->proof != NULL) {
    inode->proof = *found->proof;
    *found->proof = (VdFsProof){ 0 };
  }
  atomic_store_explicit (&inode->used, FALSE, memory_order_relaxed);
  atomic_store_explicit (&inode->data, NULL, memory_order_relaxed);
  memset (&inode->stamp, 0, sizeof inode->stamp);
  inode->version = 0;
  if (found->fd >= 0)
    vd_fs_pin_start (inode);
  found->fd = -1;
  return inode;
}

/* Lets others find @inode.  With the shard's lock. */
static void
inode_publish (VdFsInodes *inodes, VdFsShard *shard, guint64 hash,
               VdFsInode *inode)
{
  gboolean parked = inode->fd < 0;

  shard_insert (inodes, shard, hash, inode);
  vd_fs_slots_publish (&inodes->slots, &inode->slot, 1, parked);
}

/* Whether the export can afford the descriptor of @found, parking others if it
 * must.  Asked without a lock, so threads may go beyond the limit by one each. */
static gboolean
can_afford (VdFsInodes *inodes, const VdFsFound *found)
{
  if (found->fd < 0)
    return found->proof != NULL;
  vd_fs_pins_make_room (inodes);
  return vd_fs_budget_used (inodes->budget) <
         vd_fs_budget_limit (inodes->budget);
}

int
vd_fs_inodes_add (VdFsInodes *inodes, VdFsFound *found, guint64 *ret_nodeid)
{
  guint64 hash = key_hash (inodes, &found->key);
  VdFsShard *shard = shard_of (inodes, hash);
  gboolean affordable = can_afford (inodes, found);
  VdFsInode *inode;
  int r;

  if (vd_fs_key_equal (&found->key, &inodes->root.key)) {
    vd_clear_fd (&found->fd);
    *ret_nodeid = VD_FUSE_ROOT_ID;
    return 0;
  }
  pthread_mutex_lock (&shard->lock);
  r = shard_match (shard, hash, found, &inode);
  if (r == -ENOENT && !affordable)
    r = -ENFILE;
  else if (r == -ENOENT) {
    inode = inode_new (inodes, vd_fs_slots_take (&inodes->slots), found);
    r = inode != NULL ? 0 : -ENOMEM;
    if (r == 0)
      inode_publish (inodes, shard, hash, inode);
  }
  if (r == 0)
    *ret_nodeid = count_lookup (inode, found);
  pthread_mutex_unlock (&shard->lock);
  if (r != -EAGAIN)
    vd_clear_fd (&found->fd);
  return r;
}

int
vd_fs_inodes_restore (VdFsInodes *inodes, VdFsFound *found, guint64 nodeid,
                      guint64 n_lookups)
{
  guint64 hash = key_hash (inodes, &found->key);
  VdFsShard *shard = shard_of (inodes, hash);
  VdFsInode *inode;
  int r = 0;

  if (!can_afford (inodes, found))
    r = -ENFILE;
  else if (vd_fs_inodes_knows (inodes, &found->key) ||
           vd_fs_key_equal (&found->key, &inodes->root.key))
    r = -EEXIST;
  else {
    inode =
        inode_new (inodes, vd_fs_slots_claim (&inodes->slots, nodeid), found);
    r = inode != NULL ? 0 : -EINVAL;
  }
  if (r == 0) {
    pthread_mutex_lock (&shard->lock);
    inode_publish (inodes, shard, hash, inode);
    inode->n_lookups = n_lookups;
    if (found->name != NULL)
      vd_fs_pin_set_place (inode, found->parent, found->name);
    pthread_mutex_unlock (&shard->lock);
  }
  vd_clear_fd (&found->fd);
  return r;
}

void
vd_fs_inodes_moved (VdFsInodes *inodes, const VdFsFound *found)
{
  guint64 nodeid;

  /* Counts, sets the place, and takes the count back. */
  if (vd_fs_inodes_find (inodes, found, &nodeid) == 0)
    vd_fs_inodes_forget (inodes, nodeid, 1);
}

void
vd_fs_inodes_forget (VdFsInodes *inodes, guint64 nodeid, guint64 n)
{
  VdFsInode *inode = NULL;
  VdFsShard *shard;
  guint64 hash;

  /* The slot alone: a parked inode need not wake to be forgotten. */
  if (nodeid != VD_FUSE_ROOT_ID)
    inode = (VdFsInode *) vd_fs_slots_get (&inodes->slots, nodeid);
  if (inode == NULL)
    return;
  hash = key_hash (inodes, &inode->key);
  shard = shard_of (inodes, hash);
  pthread_mutex_lock (&shard->lock);
  inode->n_lookups -= MIN (n, inode->n_lookups);
  /* Out of the hash and dead in one step, so that no lookup finds it between;
   * our own reference puts the closing off until the lock is released. */
  if (inode->n_lookups == 0 && shard_remove (shard, hash, inode))
    vd_fs_slots_kill (&inodes->slots, &inode->slot);
  pthread_mutex_unlock (&shard->lock);
  vd_fs_inodes_put (inode);
}

/* Moves a bucket's inodes to @list, dead, with a reference of the list.  With
 * the shard's lock.  Returns: the list's new head. */
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

/* The same for all of @shard. */
static VdFsInode *
shard_empty (VdFsInodes *inodes, VdFsShard *shard, VdFsInode *list)
{
  pthread_mutex_lock (&shard->lock);
  for (guint32 i = 0; i < shard->n_buckets; i++)
    list = bucket_empty (inodes, &shard->buckets[i], list);
  list = bucket_empty (inodes, &shard->replaced, list);
  shard->n_inodes = 0;
  pthread_mutex_unlock (&shard->lock);
  return list;
}

VdFsInode *
vd_fs_inodes_reset (VdFsInodes *inodes)
{
  VdFsInode *list = NULL;

  for (guint i = 0; i < VD_FS_SHARDS; i++)
    list = shard_empty (inodes, &inodes->shards[i], list);
  return list;
}

void
vd_fs_inodes_bury (VdFsInode *list)
{
  while (list != NULL) {
    VdFsInode *inode = list;

    list = inode->next;
    vd_fs_inodes_put (inode);
  }
}

gboolean
vd_fs_inode_stamp (VdFsInode *inode, const VdFsStamp *stamp,
                   guint32 *ret_version)
{
  VdFsShard *shard =
      shard_of (inode->table, key_hash (inode->table, &inode->key));
  gboolean same;

  pthread_mutex_lock (&shard->lock);
  same = stamp->mtime_ns != 0 && inode->stamp.mtime_ns == stamp->mtime_ns &&
         inode->stamp.ctime_ns == stamp->ctime_ns &&
         inode->stamp.size == stamp->size;
  inode->stamp = *stamp;
  if (!same && ++inode->version == 0)
    inode->version = 1;
  if (ret_version != NULL)
    *ret_version = inode->version;
  pthread_mutex_unlock (&shard->lock);
  return same;
}

/* A slot of the hints holds a tag of the last name that fell into it. */
static guint64
hint_hash (const VdFsInodes *inodes, guint64 parent, const char *name)
{
  guint64 hash = inodes->seed ^ parent;

  for (; *name != '\0'; name++)
    hash = (hash ^ (guint8) *name) * 0x100000001b3ull;
  return mix (hash);
}

gboolean
vd_fs_inodes_expect (const VdFsInodes *inodes, guint64 parent, const char *name)
{
  guint64 hash = hint_hash (inodes, parent, name);

  return atomic_load_explicit (&inodes->hints[hash % VD_FS_HINTS],
                               memory_order_relaxed) ==
         (guint32) (hash >> 32 | 1);
}

void
vd_fs_inodes_set_expected (VdFsInodes *inodes, guint64 parent, const char *name)
{
  guint64 hash = hint_hash (inodes, parent, name);

  atomic_store_explicit (&inodes->hints[hash % VD_FS_HINTS],
                         (guint32) (hash >> 32 | 1), memory_order_relaxed);
}

guint32
vd_fs_inodes_n_live (const VdFsInodes *inodes)
{
  return vd_fs_slots_n_live (&inodes->slots);
}
