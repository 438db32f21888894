/* SPDX-License-Identifier: BSD-3-Clause
 *
 * hint.c - which names are probably known: a small table without locks, where
 * being wrong costs a system call
 *
 * A slot holds a tag of the last name that fell into it.
 */
#include "devices/fs/shard.h"

static guint64
hint_hash (const VdFsInodes *inodes, guint64 parent, const char *name)
{
  guint64 hash = inodes->seed ^ parent;

  for (; *name != '\0'; name++)
    hash = (hash ^ (guint8) *name) * 0x100000001b3ull;
  return vd_fs_mix (hash);
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
