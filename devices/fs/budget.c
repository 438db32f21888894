/* SPDX-License-Identifier: BSD-3-Clause */
#include "devices/fs/budget.h"

#include <errno.h>
#include <sys/resource.h>

#define FALLBACK   1024 /* what a process may open where nobody knows */
#define SHARE_MIN  64   /* below it nothing works any more */
#define RETRY_GIVE 8

/* Budgets that have a share; as the limit, a matter of the whole process. */
static atomic_uint_fast32_t n_shares;

/* Three quarters of what the process might have open when the last budget was
 * made; the program raises that before it opens devices. */
static atomic_uint_fast32_t process_max;

void
vd_fs_budget_init (VdFsBudget *budget, guint32 max)
{
  struct rlimit limit = { .rlim_cur = FALLBACK };

  *budget = (VdFsBudget){ .max = max };
  getrlimit (RLIMIT_NOFILE, &limit);
  atomic_store_explicit (&process_max, MIN (limit.rlim_cur, 1u << 30) / 4 * 3,
                         memory_order_relaxed);
  if (max == 0)
    atomic_fetch_add_explicit (&n_shares, 1, memory_order_relaxed);
}

void
vd_fs_budget_clear (VdFsBudget *budget)
{
  if (budget->max == 0)
    atomic_fetch_sub_explicit (&n_shares, 1, memory_order_relaxed);
}

guint32
vd_fs_budget_limit (const VdFsBudget *budget)
{
  guint32 n, max;

  if (budget->max != 0)
    return budget->max;
  n = (guint32) atomic_load_explicit (&n_shares, memory_order_relaxed);
  max = (guint32) atomic_load_explicit (&process_max, memory_order_relaxed);
  return MAX (max / MAX (n, 1), SHARE_MIN);
}

static gboolean
try_take (VdFsBudget *budget)
{
  if (atomic_fetch_add_explicit (&budget->used, 1, memory_order_relaxed) <
      vd_fs_budget_limit (budget))
    return TRUE;
  vd_fs_budget_give (budget);
  return FALSE;
}

static gboolean
relieve (VdFsBudget *budget)
{
  return budget->relieve != NULL && budget->relieve (budget->relieve_data);
}

gboolean
vd_fs_budget_take (VdFsBudget *budget)
{
  gboolean taken;

  while (!(taken = try_take (budget)))
    if (!relieve (budget))
      break;
  return taken;
}

gboolean
vd_fs_budget_retry (VdFsBudget *budget, int r)
{
  guint n = 0;

  if (r != -EMFILE && r != -ENFILE)
    return FALSE;
  while (n < RETRY_GIVE && relieve (budget))
    n++;
  return n > 0;
}
