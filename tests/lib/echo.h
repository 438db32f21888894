/* SPDX-License-Identifier: BSD-3-Clause
 *
 * echo.h - a device for tests of vring/: answers with what it was sent
 *
 * Each chain gets its readable bytes back, inverted, as far as its writable
 * part has room; the rest of that stays untouched.  How and when chains
 * complete is chosen by the test.  The device also checks what vring/ promises
 * about chains and batches.
 */
#pragma once

#include <stdatomic.h>

#include "tests/lib/queue-rig.h"

typedef enum {
  VT_ECHO_NOW,   /* in handle(), in order */
  VT_ECHO_POOL,  /* after a call on a pool's thread */
  VT_ECHO_URING, /* after a NOP of io_uring; as NOW where there is none */
  VT_ECHO_MIXED, /* now one, now the other */
  VT_ECHO_HOLD,  /* at vt_echo_release(), the last one first */
} VtEchoMode;

typedef struct {
  VtEchoMode mode;  /* set before queues start */
  guint limit;      /* chains that it takes at the same time; 0: any number */
  int start_result; /* of start() */
  const char *break_reason; /* breaks the queue at its first chain */

  atomic_uint n_started, n_stopped; /* queues */
  atomic_uint n_handled;            /* chains, by handle() */
  atomic_uint n_held;
} VtEcho;

extern const VdQueueOps vt_echo_ops; /* user_data is a VtEcho */

/* CONTROL: completes all chains that @ring's queue holds; @hold_more: and goes
 * on holding.  Waits until it is done. */
void vt_echo_release (VtQueueRig *rig, VtRing *ring, gboolean hold_more);

/* CONTROL: waits until the device holds @n chains. */
void vt_echo_wait_held (VtEcho *echo, guint n);
