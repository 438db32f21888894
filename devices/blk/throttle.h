/* SPDX-License-Identifier: BSD-3-Clause
 *
 * throttle.h - how many requests and bytes a second a disk may do
 *
 * All queues of a device share two buckets, each one atomic word: the moment at
 * which all that was taken so far will have been paid for.  A bucket is open
 * while that moment is at most the burst ahead.  What an open bucket is asked
 * for is taken as a whole and paid for later, so a request of any length gets
 * through and the rate holds in the long run, without a lock.
 */
#pragma once

#include <glib.h>
#include <stdatomic.h>

typedef struct {
  atomic_uint_fast64_t rate;     /* units a second; 0: no limit */
  atomic_uint_fast64_t burst_ns; /* that may be taken ahead */
  atomic_uint_fast64_t paid_at;  /* ns of CLOCK_MONOTONIC */
} VdBucket;

typedef struct {
  VdBucket requests, bytes;
} VdThrottle;

/* CONTROL, while queues run: units a second, and how many units may be taken at
 * once after a rest; 0: what a tenth of a second allows. */
void vd_bucket_set (VdBucket *bucket, guint64 rate, guint64 burst);

/* Any thread.  Returns: how many requests may begin at @now_ns, at most @max; if
 * none, *@wait_ns is when to ask again. */
guint vd_throttle_allows (VdThrottle *throttle, guint64 now_ns, guint max,
                          guint64 *wait_ns);

/* Any thread: takes what has begun. */
void vd_throttle_take (VdThrottle *throttle, guint64 now_ns, guint n_requests,
                       guint64 n_bytes);

/* Any thread. */
static inline gboolean
vd_throttle_is_on (VdThrottle *throttle)
{
  return (atomic_load_explicit (&throttle->requests.rate,
                                memory_order_relaxed) |
          atomic_load_explicit (&throttle->bytes.rate, memory_order_relaxed)) !=
         0;
}
