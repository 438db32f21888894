/* SPDX-License-Identifier: BSD-3-Clause
 *
 * policy.h - which way to make a call is fastest without blocking the queue
 *
 * A copy from or to the page cache takes a microsecond or two: less than any
 * hand-over to another thread, so such calls are made at once.  What waits for
 * a disk goes to io_uring where that is truly asynchronous, and to the pool
 * where io_uring would only use a thread of its own.
 */
#pragma once

#include "devices/blk/call.h"
#include "devices/blk/image.h"

typedef enum {
  VD_ENGINE_AUTO,
  VD_ENGINE_URING,   /* all by io_uring */
  VD_ENGINE_THREADS, /* all by the pool */
} VdEngine;

typedef enum {
  VD_ROUTE_MAPPED, /* not a call, but a copy: before this file is asked */
  VD_ROUTE_NOW,    /* it does not wait */
  VD_ROUTE_TIMED,  /* now; tell vd_policy_took() how long it took */
  VD_ROUTE_TRY,    /* now with RWF_NOWAIT, then as vd_policy_behind() says */
  VD_ROUTE_URING,
  VD_ROUTE_POLLED, /* by io_uring, whose completions are looked for */
  VD_ROUTE_POOL,
  VD_ROUTE_REMOTE, /* to a server */
  VD_N_ROUTES
} VdRoute;

/* One for each queue; QUEUE. */
typedef struct {
  VdEngine engine;
  gboolean uring;  /* the worker has one */
  gboolean iopoll; /* wanted, and the worker can */
  gboolean in_memory, direct, remote;
  gboolean no_try_read, no_try_write; /* RWF_NOWAIT is not known here */
  guint away;      /* writes to send away before the next is timed */
  guint away_next; /* how many, should that one be slow as well */
} VdPolicy;

void vd_policy_init (VdPolicy *policy, VdEngine engine, gboolean uring,
                     const VdImage *image);

/* @background: the call is long, or an attempt to make it now failed */
VdRoute
vd_policy_route (VdPolicy *policy, const VdCall *call, gboolean background);

/* The way for a @call that VD_ROUTE_TRY did not finish.
 * @error: -EAGAIN, or -EOPNOTSUPP: do not try this kind again */
VdRoute vd_policy_behind (VdPolicy *policy, const VdCall *call, int error);

/* A VD_ROUTE_TIMED call took @ns. */
void vd_policy_took (VdPolicy *policy, guint64 ns);
