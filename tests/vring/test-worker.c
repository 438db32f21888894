/* SPDX-License-Identifier: BSD-3-Clause
 *
 * test-worker.c - threads of queues and pools: what runs where, and when
 */
#include "vring/worker.h"

#include <errno.h>
#include <fcntl.h>
#include <poll.h>
#include <pthread.h>
#include <semaphore.h>
#include <stdatomic.h>
#include <stdbool.h>
#include <sys/eventfd.h>
#include <sys/timerfd.h>
#include <unistd.h>

#include "build-options.h"
#include "tests/lib/queue-rig.h"

#if VD_HAVE_URING
#include <liburing.h>
#endif

/* The test's thread is CONTROL: box and pool have no queue. */
typedef struct {
  VdMailbox *box;
  VdPool *pool;
  VdWorker *worker;
} Fixture;

static void
set_up (Fixture *f, gconstpointer data)
{
  g_autoptr (GError) error = NULL;

  f->box = vd_mailbox_new ();
  f->pool = vd_pool_new (3);
  f->worker = vd_worker_new ("a-long-name-is-cut", f->pool,
                             GPOINTER_TO_INT (data), &error);
  g_assert_no_error (error);
}

static void
tear_down (Fixture *f, gconstpointer data)
{
  vd_worker_free (f->worker);
  vd_pool_free (f->pool);
  vd_mailbox_free (f->box);
}

/* Something that runs on the worker's thread. */
typedef struct {
  VdMail mail;
  Fixture *f;
  VdOp op;
  pthread_t thread, work_thread;
  int res;
  sem_t *gate; /* work() waits for it */
  atomic_int n_working;
  atomic_bool done;
  int fd; /* to be polled */
  atomic_int n_polls;
  VdMail cancel_mail;
} Job;

static void
wait_done (Job *job)
{
  gint64 end = g_get_monotonic_time () + VT_TIMEOUT_MS * 1000ll;

  while (!atomic_load (&job->done)) {
    g_assert_cmpint (g_get_monotonic_time (), <, end);
    g_usleep (50);
  }
}

static Job *
job_of (VdOp *op)
{
  return VD_CONTAINER (op, Job, op);
}

static int
on_work (VdOp *op)
{
  Job *job = job_of (op);

  job->work_thread = pthread_self ();
  atomic_fetch_add (&job->n_working, 1);
  if (job->gate)
    while (sem_wait (job->gate) < 0)
      ;
  return -42;
}

static void
on_op_done (VdOp *op, int res)
{
  Job *job = job_of (op);

  job->res = res;
  g_assert_true (pthread_equal (pthread_self (), job->thread));
  atomic_store (&job->done, true);
}

static void
run_note_thread (VdMail *mail)
{
  Job *job = (Job *) (void *) mail;

  job->thread = pthread_self ();
  atomic_store (&job->done, true);
}

static void
run_offload (VdMail *mail)
{
  Job *job = (Job *) (void *) mail;

  job->thread = pthread_self ();
  job->op.done = on_op_done;
  job->op.work = on_work;
  vd_worker_offload (job->f->worker, &job->op);
}

static void
test_mail_runs_on_the_worker_s_thread (Fixture *f, gconstpointer data)
{
  Job jobs[2] = { { .mail.run = run_note_thread },
                  { .mail.run = run_note_thread } };
  char name[32];

  vd_worker_post (f->worker, &jobs[0].mail);
  wait_done (&jobs[0]);
  vd_worker_post (f->worker, &jobs[1].mail); /* it sleeps by now */
  wait_done (&jobs[1]);
  g_assert_false (pthread_equal (jobs[0].thread, pthread_self ()));
  g_assert_true (pthread_equal (jobs[0].thread, jobs[1].thread));
  g_assert_cmpint (pthread_getname_np (jobs[0].thread, name, sizeof name), ==,
                   0);
  g_assert_cmpstr (name, ==, "a-long-name-is-");
}

static void
test_offloaded_work_runs_elsewhere_and_ends_here (Fixture *f,
                                                  gconstpointer data)
{
  Job job = { .mail.run = run_offload, .f = f };

  vd_worker_post (f->worker, &job.mail);
  wait_done (&job);
  g_assert_cmpint (job.res, ==, -42);
  g_assert_false (pthread_equal (job.work_thread, job.thread));
}

/* Work that blocks holds up neither the worker nor other work, up to the number
 * of threads; what is beyond it waits its turn. */
static void
test_blocked_work_delays_nobody_else (Fixture *f, gconstpointer data)
{
  Job blocked[3], waiting = { .mail.run = run_offload, .f = f };
  Job mail = { .mail.run = run_note_thread };
  sem_t gate;

  sem_init (&gate, 0, 0);
  for (guint i = 0; i < 3; i++) {
    blocked[i] = (Job){ .mail.run = run_offload, .f = f, .gate = &gate };
    vd_worker_post (f->worker, &blocked[i].mail);
  }
  for (guint i = 0; i < 3; i++)
    while (atomic_load (&blocked[i].n_working) == 0)
      g_usleep (50);
  vd_worker_post (f->worker, &waiting.mail);
  vd_worker_post (f->worker, &mail.mail);
  wait_done (&mail);
  g_usleep (2000);
  g_assert_cmpint (atomic_load (&waiting.n_working), ==, 0);
  sem_post (&gate);
  wait_done (&waiting);
  sem_post (&gate);
  sem_post (&gate);
  for (guint i = 0; i < 3; i++)
    wait_done (&blocked[i]);
  sem_destroy (&gate);
}

static void
test_pool_answers_any_mailbox (Fixture *f, gconstpointer data)
{
  Job jobs[100];
  guint n = 0;

  for (guint i = 0; i < G_N_ELEMENTS (jobs); i++) {
    jobs[i] = (Job){ .thread = pthread_self () };
    jobs[i].op.work = on_work;
    jobs[i].op.done = on_op_done;
    vd_pool_push (f->pool, &jobs[i].op, f->box);
  }
  while (n < G_N_ELEMENTS (jobs)) {
    g_assert_true (vt_wait_readable (vd_mailbox_fd (f->box), VT_TIMEOUT_MS));
    n += vd_mailbox_drain (f->box);
  }
  for (guint i = 0; i < G_N_ELEMENTS (jobs); i++)
    g_assert_true (jobs[i].done && jobs[i].res == -42);
}

#if VD_HAVE_URING

static guint64 expirations;
static const struct iovec expirations_iov = { &expirations,
                                              sizeof expirations };

static void
run_read (VdMail *mail)
{
  Job *job = (Job *) (void *) mail;

  job->thread = pthread_self ();
  if (!vd_worker_has_uring (job->f->worker)) {
    job->res = sizeof expirations;
    atomic_store (&job->done, true);
    return;
  }
  job->op.done = on_op_done;
  io_uring_prep_readv (vd_worker_get_sqe (job->f->worker, &job->op), job->res,
                       &expirations_iov, 1, 0);
}

/* The operation completes while the thread sleeps, and wakes it. */
static void
test_io_completes_on_the_worker_s_thread (Fixture *f, gconstpointer data)
{
  int fd = timerfd_create (CLOCK_MONOTONIC, TFD_CLOEXEC);
  struct itimerspec soon = { .it_value.tv_nsec = 5000000 };
  Job job = { .mail.run = run_read, .f = f, .res = fd };

  g_assert_no_errno (fd);
  g_assert_no_errno (timerfd_settime (fd, 0, &soon, NULL));
  vd_worker_post (f->worker, &job.mail);
  wait_done (&job);
  g_assert_cmpint (job.res, ==, sizeof expirations);
  close (fd);
}

static void
run_open (VdMail *mail)
{
  Job *job = (Job *) (void *) mail;

  job->thread = pthread_self ();
  if (!vd_worker_has_uring (job->f->worker)) {
    job->res = -EACCES;
    atomic_store (&job->done, true);
    return;
  }
  job->op.done = on_op_done;
  io_uring_prep_openat (vd_worker_get_sqe (job->f->worker, &job->op), AT_FDCWD,
                        "/dev/null", O_RDONLY, 0);
}

/* Filters of system calls do not see operations of rings. */
static void
test_rings_open_no_files (Fixture *f, gconstpointer data)
{
  Job job = { .mail.run = run_open, .f = f };

  vd_worker_post (f->worker, &job.mail);
  wait_done (&job);
  g_assert_cmpint (job.res, ==, -EACCES);
}

typedef struct {
  VdMail mail;
  Fixture *f;
  VdOp ops[3000];
  guint n_done;
  atomic_bool done;
} Flood;

static Flood *the_flood;

static void
on_flood_done (VdOp *op, int res)
{
  g_assert_cmpint (res, ==, 0);
  if (++the_flood->n_done == G_N_ELEMENTS (the_flood->ops))
    atomic_store (&the_flood->done, true);
}

static void
run_flood (VdMail *mail)
{
  Flood *flood = (Flood *) (void *) mail;

  if (!vd_worker_has_uring (flood->f->worker)) {
    atomic_store (&flood->done, true);
    return;
  }
  for (guint i = 0; i < G_N_ELEMENTS (flood->ops); i++) {
    flood->ops[i].done = on_flood_done;
    io_uring_prep_nop (vd_worker_get_sqe (flood->f->worker, &flood->ops[i]));
  }
}

/* More operations than the submission ring has entries. */
static void
test_flood_of_operations_completes (Fixture *f, gconstpointer data)
{
  gint64 end = g_get_monotonic_time () + VT_TIMEOUT_MS * 1000ll;
  g_autofree Flood *flood = g_new0 (Flood, 1);

  the_flood = flood;
  flood->mail.run = run_flood;
  flood->f = f;
  vd_worker_post (f->worker, &flood->mail);
  while (!atomic_load (&flood->done)) {
    g_assert_cmpint (g_get_monotonic_time (), <, end);
    g_usleep (50);
  }
}

#endif

/* What is polled for stays until it was seen three times. */
static void
on_poll_done (VdOp *op, int res)
{
  Job *job = job_of (op);

  g_assert_true (pthread_equal (pthread_self (), job->thread));
  job->res = res;
  if (res < 0)
    atomic_store (&job->done, true);
  else if (atomic_fetch_add (&job->n_polls, 1) < 2)
    vd_worker_poll (job->f->worker, op, job->fd, POLLIN);
  else {
    guint64 value;

    g_assert_cmpint (read (job->fd, &value, sizeof value), >, 0);
    vd_worker_poll (job->f->worker, op, job->fd, POLLIN);
  }
}

static void
run_poll (VdMail *mail)
{
  Job *job = (Job *) (void *) mail;

  job->thread = pthread_self ();
  job->op.done = on_poll_done;
  vd_worker_poll (job->f->worker, &job->op, job->fd, POLLIN);
}

static void
run_cancel (VdMail *mail)
{
  Job *job = VD_CONTAINER (mail, Job, cancel_mail);

  vd_worker_cancel_poll (job->f->worker, &job->op, job->fd);
}

/* A poll ends once for each time that it was asked for, as long as what it
 * waits for is there; then it waits, until it is canceled. */
static void
test_poll_waits_and_can_be_canceled (Fixture *f, gconstpointer data)
{
  Job job = { .mail.run = run_poll, .cancel_mail.run = run_cancel, .f = f };

  job.fd = eventfd (0, EFD_CLOEXEC);
  g_assert_no_errno (job.fd);
  vd_worker_post (f->worker, &job.mail);
  g_usleep (2000);
  g_assert_cmpint (atomic_load (&job.n_polls), ==, 0);
  g_assert_no_errno (eventfd_write (job.fd, 1));
  while (atomic_load (&job.n_polls) < 3)
    g_usleep (50);
  vd_worker_post (f->worker, &job.cancel_mail);
  wait_done (&job);
  g_assert_cmpint (job.res, ==, -ECANCELED);
  g_assert_cmpint (atomic_load (&job.n_polls), ==, 3);
  close (job.fd);
}

static _Thread_local bool begun;

static void
begin (gconstpointer data)
{
  g_assert_false (begun);
  begun = true;
  atomic_fetch_add ((atomic_int *) data, 1);
}

static int
on_begun_work (VdOp *op)
{
  g_assert_true (begun);
  return on_work (op);
}

static void
run_begun (VdMail *mail)
{
  Job *job = (Job *) (void *) mail;

  g_assert_true (begun);
  job->thread = pthread_self ();
  job->op.done = on_op_done;
  job->op.work = on_begun_work;
  vd_worker_offload (job->f->worker, &job->op);
}

static void
test_threads_begin_as_told (Fixture *f, gconstpointer data)
{
  g_autoptr (GError) error = NULL;
  Fixture other = { .pool = vd_pool_new (1) };
  Job job = { .mail.run = run_begun, .f = &other };
  atomic_int n_begun = 0;

  vd_pool_set_begin (other.pool, begin, &n_begun);
  other.worker =
      vd_worker_new ("begin", other.pool, GPOINTER_TO_INT (data), &error);
  g_assert_no_error (error);
  vd_worker_post (other.worker, &job.mail);
  wait_done (&job);
  g_assert_cmpint (job.res, ==, -42);
  g_assert_cmpint (atomic_load (&n_begun), ==, 2);
  vd_worker_free (other.worker);
  vd_pool_free (other.pool);
}

/* The memory of a poll may be freed when its worker has gone. */
static void
test_worker_ends_after_its_polls (Fixture *f, gconstpointer data)
{
  Job job = { .mail.run = run_poll, .cancel_mail.run = run_cancel, .f = f };

  job.fd = eventfd (0, EFD_CLOEXEC);
  g_assert_no_errno (job.fd);
  vd_worker_post (f->worker, &job.mail);
  vd_worker_post (f->worker, &job.cancel_mail);
  vd_worker_free (f->worker);
  f->worker = NULL;
  g_assert_true (atomic_load (&job.done));
  g_assert_cmpint (job.res, ==, -ECANCELED);
  close (job.fd);
}

static void
test_idle_worker_sleeps (Fixture *f, gconstpointer data)
{
  Job job = { .mail.run = run_note_thread };
  struct timespec before, after;
  clockid_t clock;

  vd_worker_post (f->worker, &job.mail);
  wait_done (&job);
  g_assert_cmpint (pthread_getcpuclockid (job.thread, &clock), ==, 0);
  g_usleep (20000);
  clock_gettime (clock, &before);
  g_usleep (100000);
  clock_gettime (clock, &after);
  g_assert_cmpint (after.tv_sec, ==, before.tv_sec);
  g_assert_cmpint (after.tv_nsec - before.tv_nsec, <, 5000000); /* 5 % */
}

static void
add_test (const char *name, void (*func) (Fixture *, gconstpointer))
{
  for (int poll = 0; poll < 2; poll++) {
    g_autofree char *path =
        g_strdup_printf ("/worker/%s/%s", name, poll ? "epoll" : "uring");

    g_test_add (path, Fixture, GINT_TO_POINTER (poll), set_up, func, tear_down);
  }
}

int
main (int argc, char **argv)
{
  g_test_init (&argc, &argv, NULL);
  add_test ("mail", test_mail_runs_on_the_worker_s_thread);
  add_test ("offload", test_offloaded_work_runs_elsewhere_and_ends_here);
  add_test ("blocked", test_blocked_work_delays_nobody_else);
  add_test ("pool", test_pool_answers_any_mailbox);
  add_test ("begin", test_threads_begin_as_told);
  add_test ("poll", test_poll_waits_and_can_be_canceled);
  add_test ("poll-end", test_worker_ends_after_its_polls);
  add_test ("idle", test_idle_worker_sleeps);
#if VD_HAVE_URING
  add_test ("io", test_io_completes_on_the_worker_s_thread);
  add_test ("restricted", test_rings_open_no_files);
  add_test ("flood", test_flood_of_operations_completes);
#endif
  return g_test_run ();
}
