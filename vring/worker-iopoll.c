/* SPDX-License-Identifier: BSD-3-Clause
 *
 * worker-iopoll.c - a second io_uring, whose completions are looked for
 *
 * The disk sends no interrupt for what this ring started, so somebody has to ask
 * for completions: the worker, which stays awake meanwhile and looks at its
 * queues as well.  A disk that does not answer for a while is only asked now and
 * then, from sleeps in the other ring, so that it costs no processor.
 */
#include "vring/worker-private.h"

/* How long after the last answer the worker stays awake for the next one. */
#define AWAKE_NS 10000000

static bool
try_flags (struct io_uring *ring, guint flags)
{
  static struct io_uring_restriction allowed[] = {
    { .opcode = IORING_RESTRICTION_SQE_OP, .sqe_op = IORING_OP_NOP },
    { .opcode = IORING_RESTRICTION_SQE_OP, .sqe_op = IORING_OP_READV },
    { .opcode = IORING_RESTRICTION_SQE_OP, .sqe_op = IORING_OP_WRITEV },
  };
  const struct io_uring_params params = {
    .flags = flags | IORING_SETUP_IOPOLL,
  };

  return vd_ring_open (ring, params, allowed, G_N_ELEMENTS (allowed), 0);
}

void
vd_iopoll_init (VdWorker *worker)
{
  worker->has_iopoll =
      try_flags (&worker->iopoll,
                 IORING_SETUP_SINGLE_ISSUER | IORING_SETUP_DEFER_TASKRUN) ||
      try_flags (&worker->iopoll, 0);
}

void
vd_iopoll_clear (VdWorker *worker)
{
  if (worker->has_iopoll)
    io_uring_queue_exit (&worker->iopoll);
}

bool
vd_iopoll_is_awake (const VdWorker *worker)
{
  return worker->n_iopoll > 0 &&
         vd_worker_now_ns () - worker->iopoll_ns < AWAKE_NS;
}

bool
vd_iopoll_turn (VdWorker *worker)
{
  struct io_uring *ring = &worker->iopoll;
  struct io_uring_cqe *cqe;
  guint head, n = 0;

  if (worker->n_iopoll == 0)
    return false;
  io_uring_submit_and_get_events (ring);
  io_uring_for_each_cqe (ring, head, cqe)
  {
    VdOp *op = io_uring_cqe_get_data (cqe);

    worker->n_iopoll--;
    n++;
    op->done (op, cqe->res);
  }
  io_uring_cq_advance (ring, n);
  if (n > 0)
    worker->iopoll_ns = vd_worker_now_ns ();
  return n > 0;
}

gboolean
vd_worker_has_iopoll (const VdWorker *worker)
{
  return worker->has_iopoll;
}

struct io_uring_sqe *
vd_worker_get_iopoll_sqe (VdWorker *worker, VdOp *op)
{
  struct io_uring_sqe *sqe;

  while ((sqe = io_uring_get_sqe (&worker->iopoll)) == NULL)
    io_uring_submit (&worker->iopoll);
  io_uring_sqe_set_data (sqe, op);
  if (worker->n_iopoll++ == 0)
    worker->iopoll_ns = vd_worker_now_ns ();
  return sqe;
}
