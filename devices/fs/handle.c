/* SPDX-License-Identifier: BSD-3-Clause */
#include "devices/fs/handle.h"

#include <errno.h>
#include <unistd.h>

#include "devices/fs/spare.h"

#define HANDLES_MAX (1u << 26) /* the budget allows fewer */

static void
handle_dispose (VdFsSlot *slot)
{
  VdFsHandle *handle = (VdFsHandle *) slot;

  if (handle->version == 0 ||
      !vd_fs_spare_keep (handle->inode, handle->version, handle->fd)) {
    close (handle->fd);
    vd_fs_budget_give (handle->table->budget);
  }
  handle->fd = -1;
  if (handle->kind == VD_FS_DIR)
    pthread_mutex_destroy (&handle->dir_lock);
  vd_fs_inodes_put (handle->inode);
  handle->inode = NULL;
}

void
vd_fs_handles_init (VdFsHandles *handles, VdFsBudget *budget)
{
  vd_fs_slots_init (&handles->slots, sizeof (VdFsHandle), HANDLES_MAX,
                    handle_dispose);
  handles->budget = budget;
}

void
vd_fs_handles_clear (VdFsHandles *handles)
{
  vd_fs_handles_bury (handles, vd_fs_handles_reset (handles));
  vd_fs_slots_clear (&handles->slots);
}

guint32
vd_fs_handles_reset (VdFsHandles *handles)
{
  return vd_fs_slots_kill_all (&handles->slots);
}

void
vd_fs_handles_bury (VdFsHandles *handles, guint32 list)
{
  vd_fs_slots_bury (&handles->slots, list);
}

/* Makes @slot a handle.  Returns: its fh, or 0 if @slot is NULL. */
static guint64
publish (VdFsHandles *handles, VdFsSlot *slot, VdFsHandleKind kind,
         guint64 nodeid, VdFsInode *inode, int fd, guint32 version)
{
  VdFsHandle *handle = (VdFsHandle *) slot;
  guint64 fh;

  if (handle == NULL) {
    vd_fs_budget_give (handles->budget);
    close (fd);
    return 0;
  }
  handle->fd = fd;
  handle->kind = kind;
  handle->nodeid = nodeid;
  handle->inode = inode;
  if (inode != NULL)
    vd_fs_inodes_ref (inode);
  handle->table = handles;
  handle->dir_offset = 0;
  handle->version = version;
  atomic_store_explicit (&handle->has_locked, FALSE, memory_order_relaxed);
  atomic_store_explicit (&handle->lessons, 0, memory_order_relaxed);
  if (kind == VD_FS_DIR)
    pthread_mutex_init (&handle->dir_lock, NULL);
  fh = vd_fs_slot_id (slot); /* another thread may release it at once */
  vd_fs_slots_publish (&handles->slots, slot, 1, FALSE);
  return fh;
}

int
vd_fs_handles_add (VdFsHandles *handles, VdFsHandleKind kind, guint64 nodeid,
                   VdFsInode *inode, int fd, guint32 version, guint64 *ret_fh)
{
  if (!vd_fs_budget_take (handles->budget)) {
    close (fd);
    return -ENFILE;
  }
  *ret_fh = publish (handles, vd_fs_slots_take (&handles->slots), kind, nodeid,
                     inode, fd, version);
  return *ret_fh != 0 ? 0 : -ENOMEM;
}

int
vd_fs_handles_add_hidden (VdFsHandles *handles, VdFsHandleKind kind,
                          guint64 nodeid, int fd, VdFsHandle **ret)
{
  guint64 fh;
  int r = vd_fs_handles_add (handles, kind, nodeid, NULL, fd, 0, &fh);

  if (r == 0)
    r = vd_fs_handles_get (handles, fh, nodeid, kind, ret);
  if (r == 0)
    vd_fs_slots_kill (&handles->slots, &(*ret)->slot);
  return r;
}

void
vd_fs_handles_ref (VdFsHandle *handle)
{
  vd_fs_slots_ref (&handle->slot);
}

int
vd_fs_handles_restore (VdFsHandles *handles, VdFsHandleKind kind,
                       guint64 nodeid, VdFsInode *inode, int fd, guint64 fh)
{
  if (!vd_fs_budget_take (handles->budget)) {
    close (fd);
    return -ENFILE;
  }
  return publish (handles, vd_fs_slots_claim (&handles->slots, fh), kind,
                  nodeid, inode, fd, 0) != 0
             ? 0
             : -EINVAL;
}

int
vd_fs_handles_get (VdFsHandles *handles, guint64 fh, guint64 nodeid,
                   guint kinds, VdFsHandle **ret)
{
  VdFsHandle *handle = (VdFsHandle *) vd_fs_slots_get (&handles->slots, fh);

  if (G_UNLIKELY (handle == NULL))
    return -EBADF;
  if (G_UNLIKELY (handle->nodeid != nodeid || (handle->kind & kinds) == 0)) {
    vd_fs_handles_put (handle);
    return -EBADF;
  }
  *ret = handle;
  return 0;
}

void
vd_fs_handles_put (VdFsHandle *handle)
{
  if (handle != NULL)
    vd_fs_slots_put (&handle->table->slots, &handle->slot);
}

int
vd_fs_handles_release (VdFsHandles *handles, guint64 fh, guint64 nodeid,
                       guint kinds)
{
  VdFsHandle *handle;
  int r = vd_fs_handles_get (handles, fh, nodeid, kinds, &handle);

  if (r < 0)
    return r;
  vd_fs_slots_kill (&handles->slots, &handle->slot);
  vd_fs_handles_put (handle);
  return 0;
}

guint32
vd_fs_handles_n_live (const VdFsHandles *handles)
{
  return vd_fs_slots_n_live (&handles->slots);
}
