/* SPDX-License-Identifier: BSD-3-Clause
 *
 * test-iopoll.c - a worker's second ring, by operations that need no disk
 */
#include <errno.h>
#include <liburing.h>
#include <stdatomic.h>
#include <stdbool.h>
#include <unistd.h>

#include "tests/lib/queue-rig.h"
#include "vring/worker.h"

#define N_OPS 3000 /* more than either ring has entries */

typedef struct {
  VdMail mail;
  VdWorker *worker;
  VdOp ops[N_OPS], plain;
  int fd; /* to read from */
  char byte;
  struct iovec iov;
  guint n_done;
  int res; /* of the last op */
  bool plain_done;
  atomic_int state; /* 1: over; 2: over, there is no such ring */
} Job;

static Job *the_job;

static void
wait_over (Job *job)
{
  gint64 end = g_get_monotonic_time () + VT_TIMEOUT_MS * 1000ll;

  while (atomic_load (&job->state) == 0) {
    g_assert_cmpint (g_get_monotonic_time (), <, end);
    g_usleep (50);
  }
  if (atomic_load (&job->state) == 2)
    g_test_skip ("no io_uring that polls");
}

static void
note (Job *job, int res)
{
  job->res = res;
  if (job->n_done == N_OPS && job->plain_done)
    atomic_store (&job->state, 1);
}

static void
on_done (VdOp *op, int res)
{
  the_job->n_done++;
  note (the_job, res);
}

static void
on_plain_done (VdOp *op, int res)
{
  the_job->plain_done = true;
  note (the_job, res);
}

static void
run_flood (VdMail *mail)
{
  Job *job = (Job *) (void *) mail;

  if (!vd_worker_has_iopoll (job->worker)) {
    atomic_store (&job->state, 2);
    return;
  }
  for (guint i = 0; i < N_OPS; i++) {
    job->ops[i].done = on_done;
    io_uring_prep_nop (vd_worker_get_iopoll_sqe (job->worker, &job->ops[i]));
  }
  job->plain.done = on_plain_done;
  io_uring_prep_nop (vd_worker_get_sqe (job->worker, &job->plain));
}

static void
on_read_done (VdOp *op, int res)
{
  the_job->res = res;
  atomic_store (&the_job->state, 1);
}

static void
run_read (VdMail *mail)
{
  Job *job = (Job *) (void *) mail;

  if (!vd_worker_has_iopoll (job->worker)) {
    atomic_store (&job->state, 2);
    return;
  }
  job->iov = (struct iovec){ &job->byte, 1 };
  job->plain.done = on_read_done;
  io_uring_prep_readv (vd_worker_get_iopoll_sqe (job->worker, &job->plain),
                       job->fd, &job->iov, 1, 0);
}

static void
run_look (VdMail *mail)
{
  Job *job = (Job *) (void *) mail;

  job->res = vd_worker_has_iopoll (job->worker);
  atomic_store (&job->state, 1);
}

static Job *
run (VdWorker *worker, void (*what) (VdMail *mail), int fd)
{
  Job *job = g_new0 (Job, 1);

  job->worker = worker;
  job->mail.run = what;
  job->fd = fd;
  the_job = job;
  vd_worker_post (worker, &job->mail);
  wait_over (job);
  return job;
}

static void
test_a_flood_completes_on_both_rings (void)
{
  g_autoptr (VdWorker) worker = vd_worker_new_iopoll ("poll", NULL, NULL);
  g_autofree Job *job = run (worker, run_flood, -1);

  if (atomic_load (&job->state) == 1)
    g_assert_cmpint (job->res, ==, 0);
}

static void
test_what_cannot_be_polled_is_refused (void)
{
  g_autoptr (VdWorker) worker = vd_worker_new_iopoll ("poll", NULL, NULL);
  g_autofree Job *job = NULL;
  int fds[2];

  g_assert_cmpint (pipe (fds), ==, 0);
  job = run (worker, run_read, fds[0]);
  if (atomic_load (&job->state) == 1)
    g_assert_cmpint (job->res, ==, -EOPNOTSUPP);
  close (fds[0]);
  close (fds[1]);
}

static void
test_workers_do_not_poll_unless_asked_to (void)
{
  g_autoptr (VdWorker) worker = vd_worker_new ("plain", NULL, FALSE, NULL);
  g_autofree Job *job = run (worker, run_look, -1);

  g_assert_false (job->res);
}

int
main (int argc, char **argv)
{
  g_test_init (&argc, &argv, NULL);
  g_test_add_func ("/iopoll/flood", test_a_flood_completes_on_both_rings);
  g_test_add_func ("/iopoll/refused", test_what_cannot_be_polled_is_refused);
  g_test_add_func ("/iopoll/off", test_workers_do_not_poll_unless_asked_to);
  return g_test_run ();
}
