/* SPDX-License-Identifier: BSD-3-Clause
 *
 * load.h - a driver that keeps a number of operations under way in each queue
 *
 * A workload is a small machine: step() adds the operation's next request to
 * the ring, done() looks at the answer and says whether the operation is over.
 * Each queue has a thread of its own, so what is measured is the back-end.
 */
#pragma once

#include "tests/lib/frontend.h"

typedef struct VbLoad VbLoad;
typedef struct VbLane VbLane;

/* Latencies: 32 buckets for each power of two of nanoseconds. */
#define VB_BUCKETS (64 * 32)

/* One operation under way; a workload's own begins with it. */
typedef struct {
  gint64 begin_ns;
  guint index; /* in its lane */
  guint stage; /* of the workload's machine; 0 at the start */
} VbOp;

typedef struct {
  const char *name, *help;
  guint needs;   /* before it runs; bits of the kind's own */
  gsize op_size; /* of the workload's operation */

  /* Before the lanes start: allocates the operation's guest memory. */
  void (*init) (VbLane *lane, VbOp *op);
  /* LANE: adds the request of op->stage to lane->ring. */
  void (*step) (VbLane *lane, VbOp *op);
  /* LANE: the request came back with @written bytes; a wrong answer ends the
   * program.  Returns: whether the operation is over; if not, op->stage is that
   * of the next request. */
  gboolean (*done) (VbLane *lane, VbOp *op, guint32 written);
} VbWork;

/* A queue and its thread. */
struct VbLane {
  VbLoad *load;
  VtRing *ring;
  guint index;
  GRand *rand;
  guint64 position; /* sequential workloads: the next place */
  VbOp **ops;       /* load->depth */
  guint64 n_ops, n_requests, n_bytes;
  guint64 *buckets; /* VB_BUCKETS */
};

struct VbLoad {
  const VbWork *work;
  gpointer data; /* the workload's own */
  VtGuest *guest;
  VbLane *lanes;
  guint n_lanes, depth;
  gboolean poll; /* look at the ring instead of waiting for calls */
  gdouble warm_up, seconds;
};

/* What all lanes did after the warm-up. */
typedef struct {
  gdouble seconds;
  guint64 n_ops, n_requests, n_bytes;
  gint64 p50_ns, p99_ns, p999_ns;
} VbResult;

/* Runs the load on @rings, which a back-end serves.
 * @measured: called when the warm-up is over, and when the time is */
VbResult
vb_load_run (VbLoad *load, VtRing **rings,
             void (*measured) (gboolean end, gpointer data), gpointer data);

gint64 vb_now_ns (void);
