/* SPDX-License-Identifier: BSD-3-Clause
 *
 * policy.c - the choice, in one place for tuning
 *
 * File systems differ in whether they write to the page cache with RWF_NOWAIT
 * (xfs and btrfs do, ext4 and block devices do not, tmpfs knows no NOWAIT but
 * never waits), and no probe tells without writing: the first calls do.
 */
#include "devices/blk/policy.h"

#include <errno.h>

/* A write to the page cache that took longer than this has waited for a disk,
 * for dirty pages to drain or for a journal; or the thread was preempted, which
 * is why it is not less. */
#define SLOW_NS  2000000
#define AWAY_MIN 64
#define AWAY_MAX 16384

#define PAGE_MASK 4095

void
vd_policy_init (VdPolicy *policy, VdEngine engine, gboolean uring,
                const VdImage *image)
{
  *policy = (VdPolicy){
    .engine = engine,
    .uring = uring,
    .in_memory = image->in_memory,
    .direct = image->direct,
    .remote = image->nbd != NULL,
    .away_next = AWAY_MIN,
  };
}

/* For reads and direct I/O, which io_uring does without a thread. */
static VdRoute
asynchronous (const VdPolicy *policy)
{
  return policy->uring ? VD_ROUTE_URING : VD_ROUTE_POOL;
}

static VdRoute
route_read (const VdPolicy *policy, gboolean background)
{
  if (!background && policy->in_memory)
    return VD_ROUTE_NOW;
  if (background || policy->direct || policy->no_try_read)
    return asynchronous (policy);
  return VD_ROUTE_TRY;
}

static VdRoute
route_write (VdPolicy *policy, const VdCall *call, gboolean background)
{
  if (!background && policy->in_memory)
    return VD_ROUTE_NOW;
  if (policy->direct)
    return asynchronous (policy);
  /* Durable writes wait for the disk by their nature, and part of a page may
   * have to be read first. */
  if (background || call->flags != 0 ||
      ((call->offset | call->len) & PAGE_MASK) != 0)
    return VD_ROUTE_POOL;
  if (!policy->no_try_write)
    return VD_ROUTE_TRY;
  if (policy->away > 0) {
    policy->away--;
    return VD_ROUTE_POOL;
  }
  return VD_ROUTE_TIMED;
}

static VdRoute
choose (VdPolicy *policy, const VdCall *call, gboolean background)
{
  if (policy->remote)
    return VD_ROUTE_REMOTE;
  if (policy->engine == VD_ENGINE_THREADS)
    return VD_ROUTE_POOL;
  if (policy->engine == VD_ENGINE_URING)
    return asynchronous (policy);
  switch (call->kind) {
  case VD_CALL_READ: return route_read (policy, background);
  case VD_CALL_WRITE: return route_write (policy, call, background);
  case VD_CALL_SYNC: return policy->in_memory ? VD_ROUTE_NOW : VD_ROUTE_POOL;
  case VD_CALL_ALLOCATE:
  case VD_CALL_DISCARD:
  case VD_CALL_ERASE: break;
  }
  return VD_ROUTE_POOL;
}

/* Durable writes wait for more than the disk's answer, so that looking for it
 * gains nothing. */
static gboolean
is_polled (const VdPolicy *policy, const VdCall *call)
{
  return policy->iopoll && call->flags == 0 &&
         (call->kind == VD_CALL_READ || call->kind == VD_CALL_WRITE);
}

VdRoute
vd_policy_route (VdPolicy *policy, const VdCall *call, gboolean background)
{
  VdRoute route = choose (policy, call, background);

  return route == VD_ROUTE_URING && is_polled (policy, call) ? VD_ROUTE_POLLED
                                                             : route;
}

VdRoute
vd_policy_behind (VdPolicy *policy, const VdCall *call, int error)
{
  gboolean *no_try =
      call->kind == VD_CALL_READ ? &policy->no_try_read : &policy->no_try_write;

  if (error == -EOPNOTSUPP)
    *no_try = TRUE;
  /* Nothing was said about waiting, so the next best way may still be now. */
  return vd_policy_route (policy, call, error != -EOPNOTSUPP);
}

void
vd_policy_took (VdPolicy *policy, guint64 ns)
{
  if (ns > SLOW_NS) {
    policy->away = policy->away_next;
    policy->away_next = MIN (policy->away_next * 2, AWAY_MAX);
  } else
    policy->away_next = MAX (policy->away_next / 2, AWAY_MIN);
}
