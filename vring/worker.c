/* SPDX-License-Identifier: BSD-3-Clause
 *
 * worker.c - one thread, its queues and its loop
 *
 * Each turn: take completions and mail, give every queue a batch, submit what
 * the batches prepared.  Only a turn without any work sleeps.  Kicks are edge
 * triggered: the eventfds are never read, which saves a system call a kick.
 */
#include "vring/worker.h"

#include <errno.h>
#include <gio/gio.h>
#include <poll.h>
#include <pthread.h>
#include <signal.h>
#include <stdbool.h>
#include <stddef.h>
#include <string.h>
#include <sys/epoll.h>
#include <time.h>

#include "build-options.h"
#include "vring/fd.h"
#include "vring/queue-private.h"

#if VD_HAVE_URING
#include <liburing.h>
#endif

#define SQ_ENTRIES 256
#define CQ_ENTRIES 4096

/* A queue without a kick descriptor is looked at this often when idle. */
#define POLL_MIN_NS 20000
#define POLL_MAX_NS 1000000

/* What a completion is for: a VdOp, a poll of one, or a queue's kick, by its
 * address's low bits. */
enum { TAG_OP = 0, TAG_KICK = 1, TAG_OTHER = 2, TAG_POLL = 3, TAG_MASK = 3 };

/* TAG_OTHER: mail has come; nobody waits for it. */
#define DATA_MAIL TAG_OTHER
#define DATA_NONE (TAG_OTHER + TAG_MASK + 1)

struct VdWorker {
  pthread_t thread;
  VdMailbox *box;
  VdPool *pool;
  bool force_poll;
  char name[16];
  VdMail end_mail;

  /* QUEUE. */
  bool has_uring, mail_armed, ending;
  VdQueue *queues;
  guint n_polled;   /* queues without a kick descriptor */
  guint n_polls;    /* vd_worker_poll() under way */
  VdMail *canceled; /* epoll: of those, by VdOp.mail */
  guint64 sleep_ns; /* until the next look at those */
  guint64 wake_ns;  /* vd_worker_wake_after(): the moment; 0: none */
  int epoll_fd;
  int fixed_fd; /* vd_worker_fix_fd(): at index 0 of the ring's table; or -1 */
#if VD_HAVE_URING
  struct io_uring ring;
#endif
};

static guint64
now_ns (void)
{
  struct timespec now;

  clock_gettime (CLOCK_MONOTONIC, &now);
  return (guint64) now.tv_sec * 1000000000 + (guint64) now.tv_nsec;
}

/* Returns: how long the thread may sleep, 0: until something comes. */
static guint64
sleep_limit (const VdWorker *worker)
{
  guint64 limit = worker->n_polled > 0 ? worker->sleep_ns : 0, now;

  if (worker->wake_ns == 0)
    return limit;
  now = now_ns ();
  now = worker->wake_ns > now ? worker->wake_ns - now : 1;
  return limit > 0 ? MIN (limit, now) : now;
}

/* A poll ended. */
static void
poll_done (VdWorker *worker, VdOp *op, int res)
{
  worker->n_polls--;
  op->done (op, res);
}

#if VD_HAVE_URING

static void
uring_init (VdWorker *worker)
{
  /* From the newest kernel's best to what every io_uring has. */
  static const guint flags[] = {
    IORING_SETUP_SINGLE_ISSUER | IORING_SETUP_DEFER_TASKRUN |
        IORING_SETUP_TASKRUN_FLAG,
    IORING_SETUP_COOP_TASKRUN | IORING_SETUP_TASKRUN_FLAG,
    0,
  };

  for (guint i = 0; i < G_N_ELEMENTS (flags) && !worker->has_uring; i++) {
    struct io_uring_params params = {
      .flags = flags[i] | IORING_SETUP_CQSIZE | IORING_SETUP_CLAMP,
      .cq_entries = CQ_ENTRIES,
    };

    if (io_uring_queue_init_params (SQ_ENTRIES, &worker->ring, &params) == 0)
      worker->has_uring = true;
  }
  if (worker->has_uring)
    io_uring_register_ring_fd (&worker->ring);
}

static struct io_uring_sqe *
uring_sqe (VdWorker *worker, guint64 user_data)
{
  struct io_uring_sqe *sqe;

  while ((sqe = io_uring_get_sqe (&worker->ring)) == NULL)
    io_uring_submit (&worker->ring);
  io_uring_sqe_set_data64 (sqe, user_data);
  return sqe;
}

static void
uring_poll (VdWorker *worker, int fd, guint64 user_data)
{
  io_uring_prep_poll_multishot (uring_sqe (worker, user_data), fd, POLLIN);
}

static void
uring_kick (VdQueue *queue, bool more, int res)
{
  queue->kick_armed = more;
  if (res < 0) {
    queue->kick_canceled = true; /* by us, or useless: not armed again */
    return;
  }
  queue->kicked = true;
  vd_count (&queue->kicks, 1);
}

static void
uring_complete (VdWorker *worker, guint64 user_data, int res, bool more)
{
  void *at = (void *) (guintptr) (user_data & ~(guint64) TAG_MASK);

  switch (user_data & TAG_MASK) {
  case TAG_OP: ((VdOp *) at)->done (at, res); break;
  case TAG_KICK: uring_kick (at, more, res); break;
  case TAG_POLL: poll_done (worker, at, res); break;
  default:
    if (user_data == DATA_MAIL)
      worker->mail_armed = more;
    break;
  }
}

/* Submits what is prepared, sleeps if asked to, and takes completions. */
static void
uring_wait (VdWorker *worker, bool sleep)
{
  struct io_uring *ring = &worker->ring;
  struct io_uring_cqe *cqe = NULL;
  guint64 limit = sleep ? sleep_limit (worker) : 0;
  struct __kernel_timespec timeout = { (long long) (limit / 1000000000),
                                       (long long) (limit % 1000000000) };
  guint head, n = 0;

  if (limit > 0)
    io_uring_submit_and_wait_timeout (ring, &cqe, 1, &timeout, NULL);
  else if (sleep)
    io_uring_submit_and_wait (ring, 1);
  else if (io_uring_sq_ready (ring) > 0 ||
           (IO_URING_READ_ONCE (*ring->sq.kflags) & IORING_SQ_TASKRUN))
    io_uring_submit_and_get_events (ring);
  io_uring_for_each_cqe (ring, head, cqe)
  {
    uring_complete (worker, cqe->user_data, cqe->res,
                    cqe->flags & IORING_CQE_F_MORE);
    n++;
  }
  io_uring_cq_advance (ring, n);
}

static void
uring_arm (VdWorker *worker)
{
  if (!worker->mail_armed) {
    uring_poll (worker, vd_mailbox_fd (worker->box), DATA_MAIL);
    worker->mail_armed = true;
  }
  for (VdQueue *queue = worker->queues; queue != NULL; queue = queue->next)
    if (!queue->kick_armed && !queue->kick_canceled && !queue->stopping &&
        queue->kick_fd >= 0) {
      uring_poll (worker, queue->kick_fd, (guintptr) queue | TAG_KICK);
      queue->kick_armed = true;
    }
}

/* Returns: whether the kernel has let go of the queue. */
static bool
uring_disarm (VdWorker *worker, VdQueue *queue)
{
  if (queue->kick_armed && !queue->kick_canceled) {
    /* POLL_REMOVE fails with EALREADY while a kick is being delivered. */
    io_uring_prep_cancel64 (uring_sqe (worker, DATA_NONE),
                            (guintptr) queue | TAG_KICK, 0);
    queue->kick_canceled = true;
  }
  return !queue->kick_armed;
}

void
vd_worker_fix_fd (VdWorker *worker, int fd)
{
  if (worker->fixed_fd < 0 &&
      io_uring_register_files (&worker->ring, &fd, 1) == 0)
    worker->fixed_fd = fd;
}

void
vd_worker_fix_sqe (VdWorker *worker, struct io_uring_sqe *sqe)
{
  if (sqe->fd != worker->fixed_fd)
    return;
  sqe->fd = 0;
  sqe->flags |= IOSQE_FIXED_FILE;
}

struct io_uring_sqe *
vd_worker_get_sqe (VdWorker *worker, VdOp *op)
{
  return uring_sqe (worker, (guintptr) op | TAG_OP);
}

static void
uring_poll_once (VdWorker *worker, VdOp *op, int fd, short events)
{
  io_uring_prep_poll_add (uring_sqe (worker, (guintptr) op | TAG_POLL), fd,
                          (unsigned) events);
}

static void
uring_cancel_poll (VdWorker *worker, VdOp *op)
{
  io_uring_prep_cancel64 (uring_sqe (worker, DATA_NONE),
                          (guintptr) op | TAG_POLL, 0);
}

#endif

/* The same in epoll, where io_uring is refused or not built in. */

static void
epoll_watch (VdWorker *worker, int fd, void *at)
{
  struct epoll_event event = { EPOLLIN | EPOLLET, { .ptr = at } };

  epoll_ctl (worker->epoll_fd, EPOLL_CTL_ADD, fd, &event);
}

/* While an op's poll is registered, op->box is set. */
static void
epoll_poll_once (VdWorker *worker, VdOp *op, int fd, short events)
{
  struct epoll_event event = { (guint32) events | EPOLLONESHOT,
                               { .u64 = (guintptr) op | TAG_POLL } };

  op->box = worker->box;
  /* A poll that has fired leaves its descriptor in the set, switched off. */
  if (epoll_ctl (worker->epoll_fd, EPOLL_CTL_MOD, fd, &event) < 0)
    epoll_ctl (worker->epoll_fd, EPOLL_CTL_ADD, fd, &event);
}

static void
epoll_cancel_poll (VdWorker *worker, VdOp *op, int fd)
{
  epoll_ctl (worker->epoll_fd, EPOLL_CTL_DEL, fd, NULL);
  op->box = NULL;
  op->mail.next = worker->canceled;
  worker->canceled = &op->mail;
}

/* Returns: whether any poll was canceled. */
static bool
epoll_end_canceled (VdWorker *worker)
{
  VdMail *mail = worker->canceled, *next;

  if (mail == NULL)
    return false;
  worker->canceled = NULL;
  for (; mail != NULL; mail = next) {
    next = mail->next;
    poll_done (worker, VD_CONTAINER (mail, VdOp, mail), -ECANCELED);
  }
  return true;
}

static void
epoll_event (VdWorker *worker, const struct epoll_event *event)
{
  VdOp *op = (VdOp *) (guintptr) (event->data.u64 & ~(guint64) TAG_MASK);
  VdQueue *queue = event->data.ptr;

  if ((event->data.u64 & TAG_MASK) == TAG_POLL) {
    if (op->box == NULL)
      return; /* canceled since */
    op->box = NULL;
    poll_done (worker, op, (int) event->events);
  } else if (queue != NULL) { /* else mail */
    queue->kicked = true;
    vd_count (&queue->kicks, 1);
  }
}

static void
epoll_turn (VdWorker *worker, bool sleep)
{
  struct epoll_event events[32];
  guint64 limit = sleep ? sleep_limit (worker) : 0;
  int timeout_ms = !sleep || worker->canceled != NULL ? 0
                   : limit == 0                       ? -1
                                : (int) MIN (limit / 1000000 + 1, G_MAXINT);
  int n =
      epoll_wait (worker->epoll_fd, events, G_N_ELEMENTS (events), timeout_ms);

  for (int i = 0; i < n; i++)
    epoll_event (worker, &events[i]);
}

static void
epoll_init (VdWorker *worker)
{
  worker->epoll_fd = epoll_create1 (EPOLL_CLOEXEC);
  epoll_watch (worker, vd_mailbox_fd (worker->box), NULL);
}

static void
epoll_arm (VdWorker *worker)
{
  for (VdQueue *queue = worker->queues; queue != NULL; queue = queue->next)
    if (!queue->kick_armed && !queue->stopping && queue->kick_fd >= 0) {
      epoll_watch (worker, queue->kick_fd, queue);
      queue->kick_armed = true;
    }
}

static bool
epoll_disarm (VdWorker *worker, VdQueue *queue)
{
  if (queue->kick_armed)
    epoll_ctl (worker->epoll_fd, EPOLL_CTL_DEL, queue->kick_fd, NULL);
  queue->kick_armed = false;
  return true;
}

static void
wait_init (VdWorker *worker)
{
#if VD_HAVE_URING
  if (!worker->force_poll)
    uring_init (worker);
#endif
  if (!worker->has_uring)
    epoll_init (worker);
}

static void
wait_for_events (VdWorker *worker, bool sleep)
{
#if VD_HAVE_URING
  if (worker->has_uring) {
    uring_arm (worker);
    uring_wait (worker, sleep);
    return;
  }
#endif
  epoll_arm (worker);
  epoll_turn (worker, sleep);
}

static bool
wait_disarm (VdWorker *worker, VdQueue *queue)
{
#if VD_HAVE_URING
  if (worker->has_uring)
    return uring_disarm (worker, queue);
#endif
  return epoll_disarm (worker, queue);
}

static void
wait_clear (VdWorker *worker)
{
#if VD_HAVE_URING
  if (worker->has_uring) {
    /* The ring itself ends later, and locks of the file with it. */
    if (worker->fixed_fd >= 0)
      io_uring_unregister_files (&worker->ring);
    io_uring_queue_exit (&worker->ring);
    return;
  }
#endif
  vd_clear_fd (&worker->epoll_fd);
}

void
vd_worker_poll (VdWorker *worker, VdOp *op, int fd, short events)
{
  worker->n_polls++;
#if VD_HAVE_URING
  if (worker->has_uring) {
    uring_poll_once (worker, op, fd, events);
    return;
  }
#endif
  epoll_poll_once (worker, op, fd, events);
}

void
vd_worker_cancel_poll (VdWorker *worker, VdOp *op, int fd)
{
#if VD_HAVE_URING
  if (worker->has_uring) {
    uring_cancel_poll (worker, op);
    return;
  }
#endif
  epoll_cancel_poll (worker, op, fd);
}

/* The loop. */

void
vd_worker_add_queue (VdWorker *worker, VdQueue *queue)
{
  queue->next = worker->queues;
  worker->queues = queue;
  if (queue->kick_fd < 0)
    worker->n_polled++;
  vd_queue_started (queue);
}

/* Lets those queues go that were told to stop and have nothing in flight. */
static void
detach_stopped (VdWorker *worker)
{
  VdQueue **link = &worker->queues;

  while (*link != NULL) {
    VdQueue *queue = *link;

    if (vd_queue_stopped (queue) && wait_disarm (worker, queue)) {
      *link = queue->next;
      if (queue->kick_fd < 0)
        worker->n_polled--;
      vd_queue_detached (queue);
    } else
      link = &queue->next;
  }
}

/* Returns: whether any queue may have more to do. */
static bool
turn_queues (VdWorker *worker)
{
  bool busy = false;

  for (VdQueue *queue = worker->queues; queue != NULL; queue = queue->next)
    busy |= vd_queue_turn (queue);
  if (busy) {
    worker->sleep_ns = POLL_MIN_NS;
    return true;
  }
  for (VdQueue *queue = worker->queues; queue != NULL; queue = queue->next)
    busy |= !vd_queue_sleep (queue);
  return busy;
}

/* Lets queues look again whose time to wait is over. */
static void
wake_due (VdWorker *worker)
{
  if (worker->wake_ns == 0 || worker->wake_ns > now_ns ())
    return;
  worker->wake_ns = 0;
  for (VdQueue *queue = worker->queues; queue != NULL; queue = queue->next)
    queue->kicked = true;
}

static void
run_end (VdMail *mail)
{
  VdWorker *worker = VD_CONTAINER (mail, VdWorker, end_mail);

  worker->ending = true;
}

static bool
is_over (const VdWorker *worker)
{
  return worker->ending && worker->n_polls == 0;
}

static void *
worker_thread (void *data)
{
  VdWorker *worker = data;

  pthread_setname_np (pthread_self (), worker->name);
  wait_init (worker);
  while (!is_over (worker)) {
    bool busy = vd_mailbox_drain (worker->box) > 0;

    busy |= epoll_end_canceled (worker);
    wake_due (worker);
    busy |= turn_queues (worker);
    detach_stopped (worker);
    if (is_over (worker))
      break;
    wait_for_events (worker, !busy);
    if (!busy)
      worker->sleep_ns = MIN (worker->sleep_ns * 2, POLL_MAX_NS);
  }
  wait_clear (worker);
  return NULL;
}

gboolean
vd_worker_has_uring (const VdWorker *worker)
{
  return worker->has_uring;
}

void
vd_worker_offload (VdWorker *worker, VdOp *op)
{
  vd_pool_push (worker->pool, op, worker->box);
}

VdMailbox *
vd_worker_box (const VdWorker *worker)
{
  return worker->box;
}

void
vd_worker_wake_after (VdWorker *worker, guint64 ns)
{
  guint64 at = now_ns () + ns;

  if (worker->wake_ns == 0 || at < worker->wake_ns)
    worker->wake_ns = at;
}

void
vd_worker_post (VdWorker *worker, VdMail *mail)
{
  vd_mailbox_post (worker->box, mail);
}

VdWorker *
vd_worker_new (const char *name, VdPool *pool, gboolean force_poll,
               GError **error)
{
  VdWorker *worker = g_new0 (VdWorker, 1);
  sigset_t all, old;
  int r;

  g_strlcpy (worker->name, name, sizeof worker->name);
  worker->pool = pool;
  worker->force_poll = force_poll;
  worker->sleep_ns = POLL_MIN_NS;
  worker->epoll_fd = worker->fixed_fd = -1;
  worker->box = vd_mailbox_new ();
  r = worker->box == NULL ? errno : 0;
  if (r == 0) {
    sigfillset (&all);
    sigdelset (&all, SIGBUS); /* blocked, it would kill the process */
    pthread_sigmask (SIG_SETMASK, &all, &old);
    r = pthread_create (&worker->thread, NULL, worker_thread, worker);
    pthread_sigmask (SIG_SETMASK, &old, NULL);
  }
  if (r != 0) {
    g_set_error (error, G_IO_ERROR, g_io_error_from_errno (r),
                 "no thread for queue %s: %s", name, g_strerror (r));
    vd_mailbox_free (worker->box);
    g_free (worker);
    return NULL;
  }
  return worker;
}

void
vd_worker_free (VdWorker *worker)
{
  if (worker == NULL)
    return;
  worker->end_mail.run = run_end;
  vd_mailbox_post (worker->box, &worker->end_mail);
  pthread_join (worker->thread, NULL);
  vd_mailbox_free (worker->box);
  g_free (worker);
}
