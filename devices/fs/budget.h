/* SPDX-License-Identifier: BSD-3-Clause
 *
 * budget.h - how many descriptors one export may hold for its guest
 *
 * Without a limit one guest could take all descriptors of the process, and with
 * them the other guests' devices (CVE-2020-10717).  Any thread, no lock.
 */
#pragma once

#include <glib.h>
#include <stdatomic.h>

typedef struct {
  atomic_uint_fast32_t used;
  guint32 max;
} VdFsBudget;

/* Returns: FALSE if no descriptor is left; then the guest gets ENFILE. */
static inline gboolean
vd_fs_budget_take (VdFsBudget *budget)
{
  if (atomic_fetch_add_explicit (&budget->used, 1, memory_order_relaxed) <
      budget->max)
    return TRUE;
  atomic_fetch_sub_explicit (&budget->used, 1, memory_order_relaxed);
  return FALSE;
}

static inline void
vd_fs_budget_give (VdFsBudget *budget)
{
  atomic_fetch_sub_explicit (&budget->used, 1, memory_order_relaxed);
}
