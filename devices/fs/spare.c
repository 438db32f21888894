/* SPDX-License-Identifier: BSD-3-Clause
 *
 * spare.c - see spare.h
 *
 * Whoever takes the word has the descriptor in it, so no lock is needed.
 */
#include "devices/fs/spare.h"

#include <unistd.h>

static inline guint64
pack (guint32 version, int fd)
{
  return (guint64) version << 32 | ((guint32) fd + 1);
}

static inline guint32
version_of (guint64 spare)
{
  return (guint32) (spare >> 32);
}

static inline int
fd_of (guint64 spare)
{
  return (int) ((guint32) spare - 1);
}

static guint64
take (VdFsInode *inode)
{
  /* Nearly always there is none; then nothing is written. */
  if (atomic_load_explicit (&inode->spare, memory_order_relaxed) == 0)
    return 0;
  return atomic_exchange_explicit (&inode->spare, 0, memory_order_acq_rel);
}

static void
drop (VdFsInode *inode, guint64 spare)
{
  if (spare == 0)
    return;
  close (fd_of (spare));
  vd_fs_budget_give (inode->table->budget);
}

gboolean
vd_fs_spare_keep (VdFsInode *inode, guint32 version, int fd)
{
  const VdFsBudget *budget = inode->table->budget;

  if (vd_fs_budget_used (budget) >= vd_fs_budget_limit (budget) / 2)
    return FALSE;
  drop (inode, atomic_exchange_explicit (&inode->spare, pack (version, fd),
                                         memory_order_acq_rel));
  return TRUE;
}

int
vd_fs_spare_take (VdFsInode *inode, guint32 version)
{
  guint64 spare = take (inode);

  if (spare == 0)
    return -1;
  if (version_of (spare) != version) {
    drop (inode, spare);
    return -1;
  }
  vd_fs_budget_give (inode->table->budget);
  return fd_of (spare);
}

void
vd_fs_spare_drop (VdFsInode *inode)
{
  drop (inode, take (inode));
}
