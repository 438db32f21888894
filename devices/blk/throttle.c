/* SPDX-License-Identifier: BSD-3-Clause
 *
 * throttle.c - see throttle.h
 */
#include "devices/blk/throttle.h"

#define SECOND_NS G_GUINT64_CONSTANT (1000000000)

/* An open bucket of bytes lets as many requests begin as would be paid for if
 * each were this long, the longest that drivers make. */
#define LONG_REQUEST (512u << 10)

static guint64
load (const atomic_uint_fast64_t *value)
{
  return atomic_load_explicit (value, memory_order_relaxed);
}

/* Returns: what @n units cost.  In floating point, which neither wraps nor
 * rounds to anything that matters. */
static guint64
cost_ns (guint64 n, guint64 rate)
{
  gdouble ns = (gdouble) n * (gdouble) SECOND_NS / (gdouble) rate;

  return (guint64) MIN (ns, (gdouble) G_MAXINT64 / 4);
}

void
vd_bucket_set (VdBucket *bucket, guint64 rate, guint64 burst)
{
  guint64 burst_ns = SECOND_NS / 10;

  if (rate > 0 && burst > 0)
    burst_ns = cost_ns (burst, rate);
  atomic_store_explicit (&bucket->burst_ns, burst_ns, memory_order_relaxed);
  /* A debt at the old rate is forgiven. */
  atomic_store_explicit (&bucket->paid_at, 0, memory_order_relaxed);
  atomic_store_explicit (&bucket->rate, rate, memory_order_relaxed);
}

/* Returns: the units that may be taken now, at least 1; 0: none before
 * *@wait_ns. */
static guint64
open_units (const VdBucket *bucket, guint64 now_ns, guint64 *wait_ns)
{
  guint64 rate = load (&bucket->rate), paid_at = load (&bucket->paid_at);
  guint64 until = now_ns + load (&bucket->burst_ns);

  if (rate == 0)
    return G_MAXUINT64;
  paid_at = MAX (paid_at, now_ns);
  if (paid_at >= until) {
    *wait_ns = MAX (*wait_ns, paid_at - until + 1);
    return 0;
  }
  return (guint64) ((gdouble) (until - paid_at) * (gdouble) rate /
                    (gdouble) SECOND_NS) +
         1;
}

guint
vd_throttle_allows (VdThrottle *throttle, guint64 now_ns, guint max,
                    guint64 *wait_ns)
{
  guint64 requests, bytes;

  *wait_ns = 0;
  requests = open_units (&throttle->requests, now_ns, wait_ns);
  bytes = open_units (&throttle->bytes, now_ns, wait_ns);
  if (*wait_ns > 0)
    return 0;
  return (guint) MIN (MIN (requests, bytes / LONG_REQUEST + 1), max);
}

static void
take (VdBucket *bucket, guint64 now_ns, guint64 n)
{
  guint64 rate = load (&bucket->rate), before, after;

  if (rate == 0 || n == 0)
    return;
  before = load (&bucket->paid_at);
  do
    after = MAX (before, now_ns) + cost_ns (n, rate);
  while (!atomic_compare_exchange_weak_explicit (&bucket->paid_at, &before,
                                                 after, memory_order_relaxed,
                                                 memory_order_relaxed));
}

void
vd_throttle_take (VdThrottle *throttle, guint64 now_ns, guint n_requests,
                  guint64 n_bytes)
{
  take (&throttle->requests, now_ns, n_requests);
  take (&throttle->bytes, now_ns, n_bytes);
}
