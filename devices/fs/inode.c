/* SPDX-License-Identifier: BSD-3-Clause */
#include "devices/fs/inode.h"

#include <errno.h>
#include <string.h>
#include <sys/stat.h>
#include <unistd.h>

#include "devices/fs/shard.h"
#include "devices/fs/wire.h"
#include "vring/fd.h"

#define INODES_MAX (8u << 20) /* a gigabyte and a half */

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
  for (guint i = 0; i < VD_FS_SHARDS; i++)
    vd_fs_shard_init (&inodes->shards[i]);
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
  for (guint i = 0; i < VD_FS_SHARDS; i++)
    vd_fs_shard_clear (&inodes->shards[i]);
  g_free (inodes->hints);
  inodes->budget->relieve = NULL;
  vd_fs_pins_clear (&inodes->pins);
  vd_fs_slots_clear (&inodes->slots);
}

gboolean
vd_fs_key_equal (const VdFsKey *a, const VdFsKey *b)
{
  return a->ino == b->ino && a->dev == b->dev && a->mount == b->mount;
}

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
  guint64 hash = vd_fs_inodes_hash (inodes, &found->key);
  VdFsShard *shard = vd_fs_inodes_shard (inodes, hash);
  VdFsInode *inode;
  int r;

  if (vd_fs_key_equal (&found->key, &inodes->root.key)) {
    *ret_nodeid = VD_FUSE_ROOT_ID;
    return 0;
  }
  pthread_mutex_lock (&shard->lock);
  r = vd_fs_shard_match (shard, hash, found, &inode);
  if (r == 0)
    *ret_nodeid = count_lookup (inode, found);
  pthread_mutex_unlock (&shard->lock);
  return r;
}

gboolean
vd_fs_inodes_knows (VdFsInodes *inodes, const VdFsKey *key)
{
  guint64 hash = vd_fs_inodes_hash (inodes, key);
  VdFsShard *shard = vd_fs_inodes_shard (inodes, hash);
  gboolean known;

  pthread_mutex_lock (&shard->lock);
  known = vd_fs_shard_find (shard, hash, key) != NULL;
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

  vd_fs_shard_insert (inodes, shard, hash, inode);
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
  guint64 hash = vd_fs_inodes_hash (inodes, &found->key);
  VdFsShard *shard = vd_fs_inodes_shard (inodes, hash);
  gboolean affordable = can_afford (inodes, found);
  VdFsInode *inode;
  int r;

  if (vd_fs_key_equal (&found->key, &inodes->root.key)) {
    vd_clear_fd (&found->fd);
    *ret_nodeid = VD_FUSE_ROOT_ID;
    return 0;
  }
  pthread_mutex_lock (&shard->lock);
  r = vd_fs_shard_match (shard, hash, found, &inode);
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
  guint64 hash = vd_fs_inodes_hash (inodes, &found->key);
  VdFsShard *shard = vd_fs_inodes_shard (inodes, hash);
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
  hash = vd_fs_inodes_hash (inodes, &inode->key);
  shard = vd_fs_inodes_shard (inodes, hash);
  pthread_mutex_lock (&shard->lock);
  inode->n_lookups -= MIN (n, inode->n_lookups);
  /* Out of the hash and dead in one step, so that no lookup finds it between;
   * our own reference puts the closing off until the lock is released. */
  if (inode->n_lookups == 0 && vd_fs_shard_remove (shard, hash, inode))
    vd_fs_slots_kill (&inodes->slots, &inode->slot);
  pthread_mutex_unlock (&shard->lock);
  vd_fs_inodes_put (inode);
}

VdFsInode *
vd_fs_inodes_reset (VdFsInodes *inodes)
{
  VdFsInode *list = NULL;

  for (guint i = 0; i < VD_FS_SHARDS; i++)
    list = vd_fs_shard_empty (inodes, &inodes->shards[i], list);
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
  VdFsShard *shard = vd_fs_inodes_shard (
      inode->table, vd_fs_inodes_hash (inode->table, &inode->key));
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

guint32
vd_fs_inodes_n_live (const VdFsInodes *inodes)
{
  return vd_fs_slots_n_live (&inodes->slots);
}
