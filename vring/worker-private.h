/* SPDX-License-Identifier: BSD-3-Clause
 *
 * worker-private.h - the inside of a worker, for worker*.c only
 */
#pragma once

#include <pthread.h>
#include <stdbool.h>
#include <time.h>

#include "build-options.h"
#include "vring/queue-private.h"

#if VD_HAVE_URING
#include "vring/fixed.h"
#endif

/* What a completion is for: a VdOp, a poll of one, or a queue's kick, by its
 * address's low bits. */
enum { TAG_OP = 0, TAG_KICK = 1, TAG_OTHER = 2, TAG_POLL = 3, TAG_MASK = 3 };

/* One way to await kicks, mail and completions.  All on QUEUE. */
typedef struct {
  /* Returns: FALSE if the kernel refuses it. */
  bool (*init) (VdWorker *worker);
  void (*clear) (VdWorker *worker);
  /* Submits what is prepared, sleeps if asked to, and takes what came. */
  void (*wait) (VdWorker *worker, bool sleep);
  /* Returns: whether the kernel has let go of the queue's kicks. */
  bool (*disarm) (VdWorker *worker, VdQueue *queue);
  /* vd_worker_poll() and vd_worker_cancel_poll(). */
  void (*poll) (VdWorker *worker, VdOp *op, int fd, short events);
  void (*cancel_poll) (VdWorker *worker, VdOp *op, int fd);
  /* vd_worker_use_memory(); NULL: of no interest. */
  void (*use_memory) (VdWorker *worker, const VdMap *map);
} VdWaitOps;

/* Calls what vd_pool_set_begin() told, on the calling thread. */
void vd_pool_begin (const VdPool *pool);

extern const VdWaitOps vd_wait_uring; /* worker-uring.c, where it is built in */
extern const VdWaitOps vd_wait_epoll; /* worker-epoll.c */

struct VdWorker {
  pthread_t thread;
  VdMailbox *box;
  VdPool *pool;
  bool force_poll;
  guint sqpoll_ms; /* 0: submissions are system calls */
  bool want_iopoll;
  char name[16];
  VdMail end_mail;

  /* QUEUE. */
  const VdWaitOps *ops;
  bool mail_armed, ending;
  VdQueue *queues;
  guint n_polled;          /* queues without a kick descriptor */
  guint n_polls;           /* vd_worker_poll() under way */
  VdMail *canceled;        /* epoll: of those, by VdOp.mail */
  guint64 sleep_ns;        /* until the next look at those */
  atomic_uint spin_max_ns; /* vd_worker_set_spin(); written by any thread */
  guint64 spin_ns;         /* how long it pays now to look before a sleep */
  guint64 idle_ns;         /* since when nothing came; 0: it is busy */
  bool slow;               /* it slept while requests were in flight */
  gint spin_score;         /* looks that paid, less those that did not */
  guint spin_rest;         /* sleeps without a look to come */
  guint n_turns;           /* with work */
  long n_switches;         /* that others forced, when last looked at */
  bool crowded;            /* others want the processor */
  guint64 wake_ns;         /* vd_worker_wake_after(): the moment; 0: none */
  bool has_iopoll;
  guint n_iopoll;    /* operations that the second ring has */
  guint64 iopoll_ns; /* when it last gave one back, or got the first */
  int epoll_fd;
  int fixed_fd; /* vd_worker_fix_fd(): at index 0 of the ring's table; or -1 */
#if VD_HAVE_URING
  struct io_uring ring;
  struct io_uring iopoll; /* if has_iopoll */
  VdFixed *fixed;         /* vd_worker_fix_memory(); NULL: not wanted */
#endif
};

#if VD_HAVE_URING
/* worker-uring.c: makes @ring with the flags of @params, and lets it do nothing but
 * what is @allowed: filters of system calls do not see what a ring does, such as
 * opening files.
 * @n_new: how many of @allowed, at its end, older kernels do not know
 * Returns: whether it can be used */
bool vd_ring_open (struct io_uring *ring, struct io_uring_params params,
                   struct io_uring_restriction *allowed, guint n_allowed,
                   guint n_new);
#endif

/* worker-iopoll.c. */

/* Makes the second ring, if the kernel has such. */
void vd_iopoll_init (VdWorker *worker);
void vd_iopoll_clear (VdWorker *worker);
/* Whether the thread had better not sleep. */
bool vd_iopoll_is_awake (const VdWorker *worker);
/* Submits what is prepared and takes what came.  Returns: whether any came. */
bool vd_iopoll_turn (VdWorker *worker);

/* Of the monotonic clock. */
static inline guint64
vd_worker_now_ns (void)
{
  struct timespec now;

  clock_gettime (CLOCK_MONOTONIC, &now);
  return (guint64) now.tv_sec * 1000000000 + (guint64) now.tv_nsec;
}

/* Returns: how long the thread may sleep, 0: until something comes. */
guint64 vd_worker_sleep_limit (const VdWorker *worker);

/* A poll ended. */
static inline void
vd_worker_poll_done (VdWorker *worker, VdOp *op, int res)
{
  worker->n_polls--;
  op->done (op, res);
}
