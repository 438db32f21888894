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
#include <pthread.h>
#include <stdbool.h>
#include <stddef.h>
#include <string.h>
#include <sys/resource.h>

#include "vring/thread.h"
#include "vring/worker-private.h"

/* A queue without a kick descriptor is looked at this often when idle. */
#define POLL_MIN_NS 20000
#define POLL_MAX_NS 1000000

/* A disk that should be polled, but is silent, is asked this often. */
#define IOPOLL_REST_NS 1000000

/* Looking before a sleep: the first try; how many times the longest look is soon
 * enough, since a sleep adds the time to wake up; what a look in vain costs, and
 * how many sleeps go by before it is tried again. */
#define SPIN_MIN_NS     4000
#define SPIN_SOON       4
#define SPIN_SCORE_MAX  16
#define SPIN_SCORE_MISS 3
#define SPIN_REST       64

/* How often it is looked whether others want the processor, and how many times
 * the thread was made to leave it meanwhile if they do. */
#define CROWD_TURNS    64
#define CROWD_SWITCHES 8

guint64
vd_worker_sleep_limit (const VdWorker *worker)
{
  guint64 limit = worker->n_polled > 0 ? worker->sleep_ns : 0, now;

  if (worker->n_iopoll > 0)
    limit = limit > 0 ? MIN (limit, IOPOLL_REST_NS) : IOPOLL_REST_NS;
  if (worker->wake_ns == 0)
    return limit;
  now = vd_worker_now_ns ();
  now = worker->wake_ns > now ? worker->wake_ns - now : 1;
  return limit > 0 ? MIN (limit, now) : now;
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
  vd_worker_use_memory (worker, queue->epoch->map);
}

void
vd_worker_use_memory (VdWorker *worker, const VdMap *map)
{
  if (worker->ops->use_memory != NULL)
    worker->ops->use_memory (worker, map);
}

/* A queue went, and its memory may go. */
static void
forget_memory (VdWorker *worker)
{
  const VdQueue *other = worker->queues;

  vd_worker_use_memory (worker, other != NULL ? other->epoch->map : NULL);
}

/* Lets those queues go that were told to stop and have nothing in flight. */
static void
detach_stopped (VdWorker *worker)
{
  VdQueue **link = &worker->queues;

  while (*link != NULL) {
    VdQueue *queue = *link;

    if (vd_queue_stopped (queue) && worker->ops->disarm (worker, queue)) {
      *link = queue->next;
      if (queue->kick_fd < 0)
        worker->n_polled--;
      forget_memory (worker);
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
  return busy;
}

/* Asks for kicks.  Returns: whether any queue has more to do after all. */
static bool
sleep_queues (VdWorker *worker)
{
  bool busy = false;

  for (VdQueue *queue = worker->queues; queue != NULL; queue = queue->next)
    busy |= !vd_queue_sleep (queue);
  return busy;
}

/* Sharing the processor. */

/* Finds out, now and then, whether this thread is often made to leave the
 * processor, as it is where the guest's thread, woken, takes its place: then
 * what is done to work side by side with the guest only costs. */
static void
look_around (VdWorker *worker)
{
  struct rusage usage;

  if (++worker->n_turns % CROWD_TURNS != 0 ||
      getrusage (RUSAGE_THREAD, &usage) < 0)
    return;
  worker->crowded = usage.ru_nivcsw - worker->n_switches >= CROWD_SWITCHES;
  worker->n_switches = usage.ru_nivcsw;
  for (VdQueue *queue = worker->queues; queue != NULL; queue = queue->next)
    queue->crowded = worker->crowded;
}

/* Looking for a while before a sleep. */

static inline void
relax (void)
{
#if defined __x86_64__ || defined __i386__
  __builtin_ia32_pause ();
#elif defined __aarch64__
  __asm__ volatile("yield");
#endif
}

/* Whether queues have answers to give, from a disk or whoever else. */
static bool
has_in_flight (const VdWorker *worker)
{
  for (const VdQueue *queue = worker->queues; queue != NULL;
       queue = queue->next)
    if (vd_queue_in_flight (queue) > 0)
      return true;
  return false;
}

static void
look_at_queues (VdWorker *worker)
{
  for (VdQueue *queue = worker->queues; queue != NULL; queue = queue->next)
    queue->kicked = true;
}

/* Whether a disk is polled that gives its answers to nobody who sleeps. */
static bool
polls_disk (const VdWorker *worker)
{
#if VD_HAVE_URING
  return worker->n_iopoll > 0 && vd_iopoll_is_awake (worker);
#else
  return false;
#endif
}

/* Nothing came in this turn.  Returns: whether to look once more, awake. */
static bool
spins (VdWorker *worker)
{
  guint max = atomic_load_explicit (&worker->spin_max_ns, memory_order_relaxed);
  guint64 now;

  if (polls_disk (worker)) {
    look_at_queues (worker);
    return true;
  }
  if (max == 0 || worker->queues == NULL || worker->ops == &vd_wait_epoll ||
      worker->crowded)
    return false;
  /* What waits for a disk takes so long that waking up adds little, both then
   * and when the guest goes on. */
  if (has_in_flight (worker)) {
    worker->slow = true;
    return false;
  }
  now = vd_worker_now_ns ();
  if (worker->idle_ns == 0)
    worker->idle_ns = now;
  if (worker->slow || now - worker->idle_ns >= worker->spin_ns)
    return false;
  look_at_queues (worker);
  relax ();
  return true;
}

/* Something came.  Learns how long to look: longer and longer while what came was
 * missed by little, and not at all for a time once even the longest look was in
 * vain more often than one time in four. */
static void
end_idle (VdWorker *worker)
{
  guint max = atomic_load_explicit (&worker->spin_max_ns, memory_order_relaxed);
  bool slow = worker->slow;
  guint64 waited;

  if (worker->idle_ns == 0)
    return;
  waited = vd_worker_now_ns () - worker->idle_ns;
  worker->idle_ns = 0;
  worker->slow = false;
  if (slow)
    return;
  if (waited <= worker->spin_ns)
    worker->spin_score = MIN (worker->spin_score + 1, SPIN_SCORE_MAX);
  else if (worker->spin_rest > 0)
    worker->spin_rest--;
  else if (worker->spin_ns < max && waited <= SPIN_SOON * (guint64) max)
    worker->spin_ns = MIN (MAX (worker->spin_ns * 2, SPIN_MIN_NS), max);
  else if ((worker->spin_score -= SPIN_SCORE_MISS) < 0) {
    worker->spin_score = 0;
    worker->spin_ns = 0;
    worker->spin_rest = SPIN_REST;
  }
}

/* Lets queues look again whose time to wait is over. */
static void
wake_due (VdWorker *worker)
{
  if (worker->wake_ns == 0 || worker->wake_ns > vd_worker_now_ns ())
    return;
  worker->wake_ns = 0;
  look_at_queues (worker);
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

static void
choose_ops (VdWorker *worker)
{
  worker->ops = &vd_wait_epoll;
#if VD_HAVE_URING
  if (!worker->force_poll && vd_wait_uring.init (worker)) {
    worker->ops = &vd_wait_uring;
    return;
  }
#endif
  worker->ops->init (worker);
}

static void *
worker_thread (void *data)
{
  VdWorker *worker = data;

  pthread_setname_np (pthread_self (), worker->name);
  choose_ops (worker);
  if (worker->pool != NULL)
    vd_pool_begin (worker->pool);
  while (!is_over (worker)) {
    bool busy = vd_mailbox_drain (worker->box) > 0, sleep = false;

    wake_due (worker);
    if (turn_queues (worker)) {
      worker->sleep_ns = POLL_MIN_NS;
      end_idle (worker);
      look_around (worker);
      busy = true;
    }
    detach_stopped (worker);
    if (is_over (worker))
      break;
    if (!busy && !spins (worker))
      sleep = !sleep_queues (worker);
    worker->ops->wait (worker, sleep);
    if (sleep)
      worker->sleep_ns = MIN (worker->sleep_ns * 2, POLL_MAX_NS);
  }
  worker->ops->clear (worker);
  return NULL;
}

gboolean
vd_worker_has_uring (const VdWorker *worker)
{
  return worker->ops != &vd_wait_epoll;
}

void
vd_worker_poll (VdWorker *worker, VdOp *op, int fd, short events)
{
  worker->n_polls++;
  worker->ops->poll (worker, op, fd, events);
}

void
vd_worker_cancel_poll (VdWorker *worker, VdOp *op, int fd)
{
  worker->ops->cancel_poll (worker, op, fd);
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
  guint64 at = vd_worker_now_ns () + ns;

  if (worker->wake_ns == 0 || at < worker->wake_ns)
    worker->wake_ns = at;
}

void
vd_worker_set_spin (VdWorker *worker, guint us)
{
  atomic_store_explicit (&worker->spin_max_ns, us * 1000, memory_order_relaxed);
}

void
vd_worker_post (VdWorker *worker, VdMail *mail)
{
  vd_mailbox_post (worker->box, mail);
}

static VdWorker *
start (const char *name, VdPool *pool, gboolean force_poll, guint sqpoll_ms,
       bool iopoll, GError **error)
{
  VdWorker *worker = g_new0 (VdWorker, 1);
  int r;

  g_strlcpy (worker->name, name, sizeof worker->name);
  worker->pool = pool;
  worker->force_poll = force_poll;
  worker->sqpoll_ms = sqpoll_ms;
  worker->want_iopoll = iopoll;
  worker->sleep_ns = POLL_MIN_NS;
  worker->epoll_fd = worker->fixed_fd = -1;
  worker->box = vd_mailbox_new ();
  r = worker->box == NULL ? errno : 0;
  if (r == 0)
    r = vd_thread_start (&worker->thread, worker_thread, worker);
  if (r != 0) {
    g_set_error (error, G_IO_ERROR, g_io_error_from_errno (r),
                 "no thread for queue %s: %s", name, g_strerror (r));
    vd_mailbox_free (worker->box);
    g_free (worker);
    return NULL;
  }
  return worker;
}

VdWorker *
vd_worker_new (const char *name, VdPool *pool, gboolean force_poll,
               GError **error)
{
  return start (name, pool, force_poll, 0, false, error);
}

VdWorker *
vd_worker_new_sqpoll (const char *name, VdPool *pool, guint idle_ms,
                      GError **error)
{
  return start (name, pool, FALSE, idle_ms, false, error);
}

VdWorker *
vd_worker_new_iopoll (const char *name, VdPool *pool, GError **error)
{
  return start (name, pool, FALSE, 0, true, error);
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
