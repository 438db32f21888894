/* SPDX-License-Identifier: BSD-3-Clause
 *
 * budget.h - how many descriptors one export may hold for its guest
 *
 * Without a limit one guest could take all descriptors of the process, and with
 * them the other guests' devices (CVE-2020-10717).  An export whose user set no
 * limit has an equal share of three quarters of what the process may open.
 *
 * Threads: any, no lock, unless said otherwise.
 */
#pragma once

#include <glib.h>
#include <stdatomic.h>

typedef struct {
  atomic_uint_fast32_t used;
  guint32 max; /* as the user wants it; 0: a share of the process's */

  /* Gives up a descriptor that can be had again; NULL: none can.  Returns:
   * whether it did. */
  gboolean (*relieve) (gpointer data);
  gpointer relieve_data;
} VdFsBudget;

/* CONTROL.  @max: 0 for a share */
void vd_fs_budget_init (VdFsBudget *budget, guint32 max);
void vd_fs_budget_clear (VdFsBudget *budget);

/* How many there may be at the moment; shares change with their number. */
guint32 vd_fs_budget_limit (const VdFsBudget *budget);

/* Returns: FALSE if no descriptor is left, even after giving up another; then
 * the guest gets ENFILE. */
gboolean vd_fs_budget_take (VdFsBudget *budget);

/* For a descriptor that is open already and will be made up for. */
static inline void
vd_fs_budget_count (VdFsBudget *budget)
{
  atomic_fetch_add_explicit (&budget->used, 1, memory_order_relaxed);
}

static inline void
vd_fs_budget_give (VdFsBudget *budget)
{
  atomic_fetch_sub_explicit (&budget->used, 1, memory_order_relaxed);
}

static inline guint32
vd_fs_budget_used (const VdFsBudget *budget)
{
  return (guint32) atomic_load_explicit (&budget->used, memory_order_relaxed);
}

/* What to do when open() itself finds no descriptor left in the process, which
 * others may have taken: gives up some.  Returns: whether to try again.
 * @r: what the call returned */
gboolean vd_fs_budget_retry (VdFsBudget *budget, int r);
