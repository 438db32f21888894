/* SPDX-License-Identifier: BSD-3-Clause */
#include "tests/lib/echo.h"

#include "build-options.h"
#include "vring/iov.h"

#if VD_HAVE_URING
#include <liburing.h>
#endif

#define STAMP 0x5afe0000u

/* In each slot. */
typedef struct {
  VdOp op;
  VdChain *chain;
  guint32 stamp; /* of the slot, once it was used */
} EchoRequest;

/* Of each queue. */
typedef struct {
  VtEcho *echo;
  VtEchoMode mode;
  guint n_in_flight;
  guint last_wanted;
  guint n_held;
  VdChain *held[VD_QUEUE_SIZE_MAX];
} EchoQueue;

static int
echo_start (VdQueue *queue, gpointer user_data)
{
  VtEcho *echo = user_data;
  EchoQueue *eq;

  if (echo->start_result < 0)
    return echo->start_result;
  eq = g_new0 (EchoQueue, 1);
  eq->echo = echo;
  eq->mode = echo->mode;
  vd_queue_set_data (queue, eq);
  atomic_fetch_add (&echo->n_started, 1);
  return 0;
}

static void
echo_stop (VdQueue *queue, gpointer user_data)
{
  VtEcho *echo = user_data;
  EchoQueue *eq = vd_queue_data (queue);

  g_assert_cmpuint (eq->n_in_flight, ==, 0);
  g_free (eq);
  atomic_fetch_add (&echo->n_stopped, 1);
}

static guint
echo_wants (VdQueue *queue, gpointer user_data)
{
  VtEcho *echo = user_data;
  EchoQueue *eq = vd_queue_data (queue);

  if (echo->limit == 0)
    return eq->last_wanted = G_MAXUINT;
  return eq->last_wanted = echo->limit - MIN (echo->limit, eq->n_in_flight);
}

/* Returns: bytes written. */
static guint32
copy_back (VdChain *chain)
{
  guint8 bytes[512];
  gsize done = 0, n;

  do {
    n = vd_iov_read (chain->out, chain->n_out, done, bytes, sizeof bytes);
    for (gsize i = 0; i < n; i++)
      bytes[i] = ~bytes[i];
    n = vd_iov_write (chain->in, chain->n_in, done, bytes, n);
    done += n;
  } while (n);
  return done;
}

static void
complete (VdChain *chain)
{
  EchoQueue *eq = vd_queue_data (chain->queue);

  eq->n_in_flight--;
  vd_chain_complete (chain, copy_back (chain));
  if (eq->echo->limit)
    vd_queue_wake (chain->queue);
}

static void
on_done (VdOp *op, int res)
{
  EchoRequest *request = (EchoRequest *) (void *) op;

  g_assert_cmpint (res, ==, 0);
  complete (request->chain);
}

static int
work (VdOp *op)
{
  return 0;
}

static void
offload (VdChain *chain)
{
  EchoRequest *request = chain->request;

  request->op.work = work;
  vd_worker_offload (vd_queue_worker (chain->queue), &request->op);
}

static void
submit_nop (VdChain *chain)
{
#if VD_HAVE_URING
  EchoRequest *request = chain->request;
  VdWorker *worker = vd_queue_worker (chain->queue);

  if (vd_worker_has_uring (worker)) {
    io_uring_prep_nop (vd_worker_get_sqe (worker, &request->op));
    return;
  }
#endif
  complete (chain);
}

static void
hold (EchoQueue *eq, VdChain *chain)
{
  eq->held[eq->n_held++] = chain;
  atomic_fetch_add (&eq->echo->n_held, 1);
}

static void
check_iov (const struct iovec *iov, guint n_iov, guint64 len)
{
  for (guint i = 0; i < n_iov; i++)
    g_assert_cmpuint (iov[i].iov_len, >, 0);
  g_assert_cmpuint (vd_iov_len (iov, n_iov), ==, len);
}

/* What vring/ promises. */
static void
check_chain (VdChain *chain)
{
  EchoRequest *request = chain->request;

  g_assert_cmpuint ((guintptr) request % 64, ==, 0);
  check_iov (chain->out, chain->n_out, chain->out_len);
  check_iov (chain->in, chain->n_in, chain->in_len);
  if (request->stamp) /* each slot keeps its own memory */
    g_assert_cmphex (request->stamp, ==, STAMP + chain->slot);
  request->stamp = STAMP + chain->slot;
  request->chain = chain;
  request->op.done = on_done;
}

static void
dispatch (EchoQueue *eq, VdChain *chain)
{
  VtEchoMode mode = eq->mode;

  if (mode == VT_ECHO_MIXED) /* a choice that follows from the content */
    mode = (chain->out_len + chain->in_len) % 3;
  switch (mode) {
  case VT_ECHO_POOL: offload (chain); break;
  case VT_ECHO_URING: submit_nop (chain); break;
  case VT_ECHO_HOLD: hold (eq, chain); break;
  default: complete (chain); break;
  }
}

static void
echo_handle (VdQueue *queue, VdChain **chains, guint n_chains,
             gpointer user_data)
{
  VtEcho *echo = user_data;
  EchoQueue *eq = vd_queue_data (queue);

  g_assert_cmpuint (n_chains, >, 0);
  g_assert_cmpuint (n_chains, <=, MIN (VD_BATCH_MAX, eq->last_wanted));
  eq->n_in_flight += n_chains;
  atomic_fetch_add (&echo->n_handled, n_chains);
  if (echo->break_reason)
    vd_queue_break (queue, echo->break_reason);
  for (guint i = 0; i < n_chains; i++) {
    check_chain (chains[i]);
    dispatch (eq, chains[i]);
  }
}

const VdQueueOps vt_echo_ops = {
  .request_size = sizeof (EchoRequest),
  .start = echo_start,
  .stop = echo_stop,
  .wants = echo_wants,
  .handle = echo_handle,
};

typedef struct {
  VdMail mail;
  VdQueue *queue;
  gboolean hold_more;
  atomic_int done;
} Release;

/* QUEUE */
static void
run_release (VdMail *mail)
{
  Release *release = (Release *) (void *) mail;
  EchoQueue *eq = vd_queue_data (release->queue);

  if (!release->hold_more)
    eq->mode = VT_ECHO_NOW;
  while (eq->n_held) {
    atomic_fetch_sub (&eq->echo->n_held, 1);
    complete (eq->held[--eq->n_held]);
  }
  atomic_store (&release->done, 1);
}

void
vt_echo_release (VtQueueRig *rig, VtRing *ring, gboolean hold_more)
{
  Release release = { .mail.run = run_release,
                      .queue = vt_queue_rig_queue (rig, ring),
                      .hold_more = hold_more };

  vd_worker_post (vd_queue_worker (release.queue), &release.mail);
  while (!atomic_load (&release.done))
    g_usleep (50);
}

void
vt_echo_wait_held (VtEcho *echo, guint n)
{
  gint64 end = g_get_monotonic_time () + VT_TIMEOUT_MS * 1000ll;

  while (atomic_load (&echo->n_held) < n) {
    g_assert_cmpint (g_get_monotonic_time (), <, end);
    g_usleep (50);
  }
}
