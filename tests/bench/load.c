/* SPDX-License-Identifier: BSD-3-Clause
 *
 * load.c - see load.h
 */
#include "tests/bench/load.h"

#include <stdatomic.h>
#include <stdbool.h>
#include <time.h>

/* What the main thread tells the lanes. */
static atomic_bool counting, ending;

gint64
vb_now_ns (void)
{
  struct timespec now;

  clock_gettime (CLOCK_MONOTONIC, &now);
  return now.tv_sec * 1000000000ll + now.tv_nsec;
}

/* Latencies. */

static guint
bucket_of (guint64 ns)
{
  guint exponent;

  if (ns < 32)
    return (guint) ns;
  exponent = 63 - (guint) __builtin_clzll (ns);
  return exponent * 32 + (guint) ((ns >> (exponent - 5)) & 31);
}

static gint64
value_of (guint bucket)
{
  guint exponent = bucket / 32;

  return exponent < 5 ? bucket : (gint64) (32 + bucket % 32) << (exponent - 5);
}

static gint64
percentile (const guint64 *buckets, guint64 n, gdouble fraction)
{
  guint64 wanted = (guint64) ((gdouble) n * fraction), seen = 0;

  for (guint i = 0; i < VB_BUCKETS; i++) {
    seen += buckets[i];
    if (seen > wanted)
      return value_of (i);
  }
  return 0;
}

/* A lane. */

static void
begin (VbLane *lane, VbOp *op, gint64 now)
{
  op->begin_ns = now;
  op->stage = 0;
  lane->load->work->step (lane, op);
}

static void
count (VbLane *lane, const VbOp *op, gint64 now)
{
  if (!atomic_load_explicit (&counting, memory_order_relaxed))
    return;
  lane->n_ops++;
  lane->buckets[bucket_of ((guint64) (now - op->begin_ns))]++;
}

/* Takes what came back and sends what follows.  Returns: how many came back. */
static guint
turn (VbLane *lane)
{
  const VbWork *work = lane->load->work;
  guint64 n_bytes = lane->n_bytes;
  guint32 written;
  gint64 now = 0;
  VbOp *op;
  guint n = 0;

  for (; (op = vt_ring_get (lane->ring, &written)) != NULL; n++) {
    if (now == 0)
      now = vb_now_ns ();
    if (atomic_load_explicit (&counting, memory_order_relaxed))
      lane->n_requests++;
    if (!work->done (lane, op, written)) {
      work->step (lane, op);
      continue;
    }
    count (lane, op, now);
    if (!atomic_load_explicit (&ending, memory_order_relaxed))
      begin (lane, op, now);
  }
  if (!atomic_load_explicit (&counting, memory_order_relaxed))
    lane->n_bytes = n_bytes;
  if (n > 0)
    vt_ring_kick (lane->ring);
  return n;
}

static gpointer
run_lane (gpointer data)
{
  VbLane *lane = data;
  VbLoad *load = lane->load;

  vt_ring_set_interrupts (lane->ring, !load->poll);
  for (guint i = 0; i < load->depth; i++)
    begin (lane, lane->ops[i], vb_now_ns ());
  vt_ring_kick (lane->ring);
  while (vt_ring_n_in_flight (lane->ring) > 0)
    if (turn (lane) == 0 && !load->poll &&
        !vt_ring_wait (lane->ring, VT_TIMEOUT_MS))
      g_error ("queue %u: nothing came back in %d ms", lane->index,
               VT_TIMEOUT_MS);
  return NULL;
}

static void
init_lane (VbLoad *load, guint index, VtRing *ring)
{
  VbLane *lane = &load->lanes[index];

  *lane = (VbLane){ .load = load, .ring = ring, .index = index };
  lane->rand = g_rand_new_with_seed (index + 1);
  lane->buckets = g_new0 (guint64, VB_BUCKETS);
  lane->ops = g_new (VbOp *, load->depth);
  for (guint i = 0; i < load->depth; i++) {
    lane->ops[i] = g_malloc0 (load->work->op_size);
    lane->ops[i]->index = i;
    load->work->init (lane, lane->ops[i]);
  }
}

static void
clear_lane (VbLane *lane)
{
  for (guint i = 0; i < lane->load->depth; i++)
    g_free (lane->ops[i]);
  g_free (lane->ops);
  g_free (lane->buckets);
  g_rand_free (lane->rand);
}

static VbResult
add_up (VbLoad *load, gdouble seconds)
{
  g_autofree guint64 *all = g_new0 (guint64, VB_BUCKETS);
  VbResult result = { .seconds = seconds };

  for (guint i = 0; i < load->n_lanes; i++) {
    const VbLane *lane = &load->lanes[i];

    result.n_ops += lane->n_ops;
    result.n_requests += lane->n_requests;
    result.n_bytes += lane->n_bytes;
    for (guint b = 0; b < VB_BUCKETS; b++)
      all[b] += lane->buckets[b];
  }
  result.p50_ns = percentile (all, result.n_ops, 0.5);
  result.p99_ns = percentile (all, result.n_ops, 0.99);
  result.p999_ns = percentile (all, result.n_ops, 0.999);
  return result;
}

VbResult
vb_load_run (VbLoad *load, VtRing **rings,
             void (*measured) (gboolean end, gpointer data), gpointer data)
{
  g_autofree GThread **threads = g_new (GThread *, load->n_lanes);
  VbResult result;
  gint64 from, to;

  load->lanes = g_new0 (VbLane, load->n_lanes);
  for (guint i = 0; i < load->n_lanes; i++)
    init_lane (load, i, rings[i]);
  atomic_store (&ending, false);
  for (guint i = 0; i < load->n_lanes; i++)
    threads[i] = g_thread_new ("lane", run_lane, &load->lanes[i]);
  g_usleep ((gulong) (load->warm_up * G_USEC_PER_SEC));
  measured (FALSE, data);
  from = vb_now_ns ();
  atomic_store (&counting, true);
  g_usleep ((gulong) (load->seconds * G_USEC_PER_SEC));
  atomic_store (&counting, false);
  to = vb_now_ns ();
  measured (TRUE, data);
  atomic_store (&ending, true);
  for (guint i = 0; i < load->n_lanes; i++)
    g_thread_join (threads[i]);
  result = add_up (load, (gdouble) (to - from) / 1e9);
  for (guint i = 0; i < load->n_lanes; i++)
    clear_lane (&load->lanes[i]);
  g_clear_pointer (&load->lanes, g_free);
  return result;
}
