/* SPDX-License-Identifier: BSD-3-Clause
 *
 * pin.c - see pin.h
 *
 * A list has the inodes that are awake, by age; who is used gets a mark, and
 * the search for a victim gives the marked ones a second chance.  Parking is
 * one compare and swap that fails if anybody else holds the inode (slots.h), so
 * a descriptor is never closed under a request.  Waking opens first and then
 * publishes under the lock; of two that wake the same inode one closes its
 * descriptor again.
 */
#include "devices/fs/pin.h"

#include <errno.h>
#include <fcntl.h>
#include <linux/limits.h>
#include <stdlib.h>
#include <string.h>
#include <unistd.h>

#include "devices/fs/entry.h"
#include "devices/fs/handle.h"
#include "devices/fs/inode.h"
#include "devices/fs/spare.h"
#include "vring/fd.h"

#define DEPTH_MAX    256 /* directories of one path that are parked */
#define EXAMINED_MAX 256 /* entries of the list, for one victim */
#define PROVED_MAX   8   /* of those, with system calls */
#define PARKED_MAX   4   /* at once, by who needs one descriptor */

/* Mounts. */

static void
add_mount (VdFsPins *pins, guint64 id, int fd)
{
  pthread_mutex_lock (&pins->lock);
  if (pins->n_mounts < VD_FS_MOUNTS) {
    pins->mounts[pins->n_mounts++] = (VdFsMount){ id, fd };
    fd = -1;
  }
  pthread_mutex_unlock (&pins->lock);
  if (fd >= 0)
    close (fd);
}

/* Returns: a descriptor for vd_fs_proof_open(), or -1 if that does not work. */
static int
open_mount (const VdFsJail *jail, int dir)
{
  vd_autofd fd =
      vd_fs_jail_reopen (jail, dir, O_RDONLY | O_DIRECTORY | O_NONBLOCK);
  VdFsProof proof = { 0 };
  int again = -1;

  if (fd < 0 || vd_fs_proof_handle (fd, "", &proof) < 0)
    return -1;
  again = vd_fs_proof_open (&proof, fd);
  vd_fs_proof_clear (&proof);
  if (again < 0)
    return -1;
  close (again);
  return vd_steal_fd (&fd);
}

void
vd_fs_pins_init (VdFsPins *pins, const VdFsJail *jail, guint64 mount)
{
  struct statx stx;
  int fd;

  *pins = (VdFsPins){ .jail = jail };
  pthread_mutex_init (&pins->lock, NULL);
  if (jail == NULL)
    return;
  atomic_init (&pins->may_hang, jail->remote);
  fd = open_mount (jail, jail->root);
  pins->by_handle = fd >= 0;
  pins->by_birth = vd_fs_statx (jail->root, "", 0, &stx) == 0 &&
                   (stx.stx_mask & STATX_BTIME) != 0;
  add_mount (pins, mount, fd);
}

static void
close_mounts (VdFsPins *pins, guint keep)
{
  for (guint i = keep; i < pins->n_mounts; i++)
    vd_clear_fd (&pins->mounts[i].fd);
  pins->n_mounts = MIN (pins->n_mounts, keep);
}

void
vd_fs_pins_forget_mounts (VdFsPins *pins)
{
  close_mounts (pins, 1);
}

void
vd_fs_pins_clear (VdFsPins *pins)
{
  close_mounts (pins, 0);
  pthread_mutex_destroy (&pins->lock);
}

/* Returns: FALSE if the mount is none that we know. */
static gboolean
find_mount (VdFsPins *pins, guint64 id, int *ret_fd)
{
  gboolean found = FALSE;

  pthread_mutex_lock (&pins->lock);
  for (guint i = 0; i < pins->n_mounts && !found; i++)
    if (pins->mounts[i].id == id) {
      *ret_fd = pins->mounts[i].fd;
      found = TRUE;
    }
  pthread_mutex_unlock (&pins->lock);
  return found;
}

gboolean
vd_fs_pins_knows_mount (VdFsPins *pins, guint64 mount)
{
  int fd;

  return find_mount (pins, mount, &fd);
}

void
vd_fs_pins_add_mount (VdFsPins *pins, guint64 mount, int dir)
{
  if (pins->jail == NULL || vd_fs_pins_knows_mount (pins, mount))
    return;
  if (vd_fs_jail_is_remote (dir))
    atomic_store_explicit (&pins->may_hang, TRUE, memory_order_relaxed);
  add_mount (pins, mount, open_mount (pins->jail, dir));
}

gboolean
vd_fs_pins_needs_place (VdFsPins *pins, guint64 mount)
{
  int fd = -1;

  /* The root's mount is the first and stays, so no lock is needed to see it. */
  if (pins->jail == NULL || (pins->by_handle && mount == pins->mounts[0].id))
    return FALSE;
  find_mount (pins, mount, &fd);
  return fd < 0;
}

int
vd_fs_pins_prove (VdFsPins *pins, guint64 mount, int fd, const char *name,
                  const struct statx *stx, VdFsProof *ret)
{
  return vd_fs_pins_needs_place (pins, mount)
             ? vd_fs_proof_birth (stx, ret)
             : vd_fs_proof_handle (fd, name, ret);
}

const char *
vd_fs_pins_how (const VdFsPins *pins)
{
  return pins->by_handle ? "file handles" : pins->by_birth ? "names" : "never";
}

/* The list.  Below: with the lock. */

static void
list_append (VdFsPins *pins, VdFsInode *inode)
{
  inode->older = pins->newest;
  inode->newer = NULL;
  if (pins->newest != NULL)
    pins->newest->newer = inode;
  else
    pins->oldest = inode;
  pins->newest = inode;
  inode->listed = TRUE;
  pins->n_listed++;
}

static void
list_remove (VdFsPins *pins, VdFsInode *inode)
{
  if (!inode->listed)
    return;
  if (inode->older != NULL)
    inode->older->newer = inode->newer;
  else
    pins->oldest = inode->newer;
  if (inode->newer != NULL)
    inode->newer->older = inode->older;
  else
    pins->newest = inode->older;
  inode->listed = FALSE;
  pins->n_listed--;
}

/* Takes the oldest inode that was not used lately off the list.
 * Returns: (transfer full) (nullable): it, referenced. */
static VdFsInode *
list_take (VdFsPins *pins)
{
  guint n = MIN (2 * pins->n_listed, EXAMINED_MAX);

  while (n-- > 0) {
    VdFsInode *inode = pins->oldest;

    list_remove (pins, inode);
    if (!atomic_exchange_explicit (&inode->used, FALSE, memory_order_relaxed) &&
        vd_fs_slots_try_ref (&inode->slot))
      return inode;
    list_append (pins, inode);
  }
  return NULL;
}

/* Above: with the lock. */

void
vd_fs_pin_start (VdFsInode *inode)
{
  VdFsPins *pins = &inode->table->pins;

  vd_fs_budget_count (inode->table->budget);
  pthread_mutex_lock (&pins->lock);
  list_append (pins, inode);
  pthread_mutex_unlock (&pins->lock);
}

void
vd_fs_pin_stop (VdFsInode *inode)
{
  VdFsPins *pins = &inode->table->pins;

  if (!vd_fs_slot_is_parked (&inode->slot)) {
    pthread_mutex_lock (&pins->lock);
    list_remove (pins, inode);
    pthread_mutex_unlock (&pins->lock);
    close (inode->fd);
    vd_fs_budget_give (inode->table->budget);
    vd_fs_handles_put (
        atomic_load_explicit (&inode->data, memory_order_relaxed));
  }
  vd_fs_spare_drop (inode);
  inode->fd = -1;
  vd_fs_proof_clear (&inode->proof);
  free (inode->place);
  inode->place = NULL;
}

void
vd_fs_pin_set_place (VdFsInode *inode, guint64 parent, const char *name)
{
  VdFsPins *pins = &inode->table->pins;
  gsize len = strlen (name) + 1;
  VdFsPlace *place = malloc (sizeof *place + len), *old = NULL;

  if (place == NULL)
    return; /* then it keeps its descriptor, or its old place */
  place->parent = parent;
  memcpy (place->name, name, len);
  pthread_mutex_lock (&pins->lock);
  old = inode->place;
  inode->place = place;
  pthread_mutex_unlock (&pins->lock);
  free (old);
}

/* Parking. */

/* Returns: 0 if the file will be found again without its descriptor. */
static int
make_proof (VdFsInode *inode)
{
  const int flags = AT_EMPTY_PATH | AT_STATX_DONT_SYNC;
  VdFsPins *pins = &inode->table->pins;
  struct statx stx;
  gboolean has_place;

  if (statx (inode->fd, "", flags, STATX_NLINK | STATX_BTIME, &stx) < 0)
    return -errno;
  if (stx.stx_nlink == 0) /* only the descriptor keeps it */
    return -EBUSY;
  if (vd_fs_pins_needs_place (pins, inode->key.mount)) {
    pthread_mutex_lock (&pins->lock);
    has_place = inode->place != NULL;
    pthread_mutex_unlock (&pins->lock);
    if (!has_place)
      return -EBUSY;
  }
  if (inode->proof.kind != VD_FS_PROOF_NONE)
    return 0;
  return vd_fs_pins_prove (pins, inode->key.mount, inode->fd, "", &stx,
                           &inode->proof);
}

/* Takes @inode and the reference to it.  Returns: whether it was parked. */
static gboolean
park (VdFsInode *inode)
{
  VdFsPins *pins = &inode->table->pins;
  VdFsBudget *budget = inode->table->budget;
  VdFsHandle *data;
  int fd = inode->fd;

  if (make_proof (inode) == 0) {
    /* Once it is parked, who wakes it may write to it at any moment. */
    data = atomic_load_explicit (&inode->data, memory_order_relaxed);
    if (vd_fs_slots_park (&inode->slot)) {
      close (fd);
      vd_fs_budget_give (budget);
      vd_fs_handles_put (data);
      vd_fs_spare_drop (inode); /* or what is one by now: no harm */
      return TRUE;
    }
  }
  pthread_mutex_lock (&pins->lock);
  list_append (pins, inode);
  pthread_mutex_unlock (&pins->lock);
  vd_fs_inodes_put (inode);
  return FALSE;
}

gboolean
vd_fs_pins_park_one (VdFsInodes *inodes)
{
  VdFsPins *pins = &inodes->pins;

  if (!pins->by_handle && !pins->by_birth)
    return FALSE;
  for (guint i = 0; i < PROVED_MAX; i++) {
    VdFsInode *inode;

    pthread_mutex_lock (&pins->lock);
    inode = list_take (pins);
    pthread_mutex_unlock (&pins->lock);
    if (inode == NULL)
      return FALSE;
    if (park (inode))
      return TRUE;
  }
  return FALSE;
}

gboolean
vd_fs_pins_tight (VdFsInodes *inodes)
{
  const VdFsPins *pins = &inodes->pins;

  return (pins->by_handle || pins->by_birth) &&
         vd_fs_budget_used (inodes->budget) >=
             vd_fs_budget_limit (inodes->budget) / 4 * 3;
}

void
vd_fs_pins_make_room (VdFsInodes *inodes)
{
  for (guint i = 0; i < PARKED_MAX && vd_fs_pins_tight (inodes); i++)
    if (!vd_fs_pins_park_one (inodes))
      return;
}

/* Waking. */

/* Opens the file by its name.  Returns: a descriptor or -errno. */
static int
open_place (VdFsInode *inode, guint depth)
{
  VdFsInodes *inodes = inode->table;
  char name[NAME_MAX + 1] = "";
  VdFsInode *dir;
  guint64 parent = 0;
  int fd, r;

  pthread_mutex_lock (&inodes->pins.lock);
  if (inode->place != NULL) {
    parent = inode->place->parent;
    g_strlcpy (name, inode->place->name, sizeof name);
  }
  pthread_mutex_unlock (&inodes->pins.lock);
  if (name[0] == '\0' || depth >= DEPTH_MAX)
    return -ESTALE;
  r = vd_fs_inodes_get_deep (inodes, parent, depth + 1, &dir);
  if (r < 0)
    return r;
  fd = vd_fs_jail_child (inodes->pins.jail, dir->fd, name);
  vd_fs_inodes_put (dir);
  return fd;
}

static int
open_again (VdFsInode *inode, guint depth)
{
  int mount = -1, fd = -ESTALE;

  if (inode->proof.kind == VD_FS_PROOF_BIRTH)
    fd = open_place (inode, depth);
  else if (find_mount (&inode->table->pins, inode->key.mount, &mount))
    fd = vd_fs_proof_open (&inode->proof, mount);
  return fd == -ENOENT || fd == -ENOTDIR ? -ESTALE : fd;
}

/* A name may lead to another file by now, and a handle was asked for a moment
 * after the number that it was filed under. */
static gboolean
is_same (const VdFsInode *inode, int fd)
{
  struct statx stx;
  VdFsProof birth = { 0 };
  VdFsKey key;

  if (vd_fs_statx (fd, "", 0, &stx) < 0)
    return FALSE;
  key = vd_fs_statx_key (&stx);
  if (!vd_fs_key_equal (&key, &inode->key) ||
      (stx.stx_mode & S_IFMT) != inode->type)
    return FALSE;
  return inode->proof.kind != VD_FS_PROOF_BIRTH ||
         (vd_fs_proof_birth (&stx, &birth) == 0 &&
          vd_fs_proof_equal (&birth, &inode->proof));
}

int
vd_fs_pin_wake (VdFsInode *inode, guint depth)
{
  VdFsInodes *inodes = inode->table;
  VdFsPins *pins = &inodes->pins;
  int fd;

  fd = open_again (inode, depth);
  if (vd_fs_budget_retry (inodes->budget, fd))
    fd = open_again (inode, depth);
  if (fd < 0)
    return fd;
  if (!is_same (inode, fd)) {
    close (fd);
    return -ESTALE;
  }
  vd_fs_pins_make_room (inodes); /* now that its parents are awake as well */
  pthread_mutex_lock (&pins->lock);
  if (vd_fs_slot_is_parked (&inode->slot)) {
    inode->fd = fd;
    atomic_store_explicit (&inode->data, NULL, memory_order_relaxed);
    vd_fs_budget_count (inodes->budget);
    list_append (pins, inode);
    vd_fs_slots_unpark (&inode->slot);
    fd = -1;
  }
  pthread_mutex_unlock (&pins->lock);
  if (fd >= 0) /* somebody was faster */
    close (fd);
  return 0;
}
