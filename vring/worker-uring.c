/* SPDX-License-Identifier: BSD-3-Clause
 *
 * worker-uring.c - waiting in one io_uring for kicks, mail and completions
 */
#include <sys/poll.h>
#include <sys/syscall.h>
#include <unistd.h>

#include "vring/worker-private.h"

#define SQ_ENTRIES 256
#define CQ_ENTRIES 4096

/* TAG_OTHER: mail has come; nobody waits for it. */
#define DATA_MAIL TAG_OTHER
#define DATA_NONE (TAG_OTHER + TAG_MASK + 1)

bool
vd_ring_open (struct io_uring *ring, struct io_uring_params params,
              struct io_uring_restriction *allowed, guint n_allowed,
              guint n_new)
{
  params.flags |=
      IORING_SETUP_R_DISABLED | IORING_SETUP_CQSIZE | IORING_SETUP_CLAMP;
  params.cq_entries = CQ_ENTRIES;
  if (io_uring_queue_init_params (SQ_ENTRIES, ring, &params) < 0)
    return false;
  /* Debian 12's library does not export its functions for these. */
  if (syscall (SYS_io_uring_register, ring->ring_fd,
               IORING_REGISTER_RESTRICTIONS, allowed, n_allowed) < 0)
    syscall (SYS_io_uring_register, ring->ring_fd, IORING_REGISTER_RESTRICTIONS,
             allowed, n_allowed - n_new);
  if (syscall (SYS_io_uring_register, ring->ring_fd,
               IORING_REGISTER_ENABLE_RINGS, NULL, 0) == 0)
    return true;
  io_uring_queue_exit (ring);
  return false;
}

/* Returns: whether the kernel takes a ring with @flags for what is prepared in
 * this file and by devices. */
static bool
try_flags (VdWorker *worker, guint flags)
{
#define SQE(op)                                                                \
  {                                                                            \
    .opcode = IORING_RESTRICTION_SQE_OP, .sqe_op = IORING_OP_##op              \
  }
#define REGISTER(op)                                                           \
  {                                                                            \
    .opcode = IORING_RESTRICTION_REGISTER_OP, .register_op = IORING_##op       \
  }
  static struct io_uring_restriction allowed[] = {
    SQE (NOP),
    SQE (READV),
    SQE (WRITEV),
    SQE (READ_FIXED),
    SQE (WRITE_FIXED),
    SQE (FSYNC),
    SQE (FALLOCATE),
    SQE (POLL_ADD),
    SQE (ASYNC_CANCEL),
    SQE (TIMEOUT), /* of the library, where the kernel is older than 5.11 */
    { .opcode = IORING_RESTRICTION_SQE_FLAGS_ALLOWED,
      .sqe_flags = IOSQE_FIXED_FILE },
    REGISTER (REGISTER_FILES),
    REGISTER (UNREGISTER_FILES),
    REGISTER (REGISTER_RING_FDS),
    REGISTER (UNREGISTER_RING_FDS),
    REGISTER (REGISTER_BUFFERS2), /* these two since 5.13 */
    REGISTER (REGISTER_BUFFERS_UPDATE),
  };
#undef SQE
#undef REGISTER
  const struct io_uring_params params = {
    .flags = flags,
    .sq_thread_idle = worker->sqpoll_ms,
  };

  return vd_ring_open (&worker->ring, params, allowed, G_N_ELEMENTS (allowed),
                       2);
}

static bool
uring_init (VdWorker *worker)
{
  /* From the newest kernel's best to what io_uring has since 5.10. */
  static const guint flags[] = {
    IORING_SETUP_SINGLE_ISSUER | IORING_SETUP_DEFER_TASKRUN |
        IORING_SETUP_TASKRUN_FLAG,
    IORING_SETUP_COOP_TASKRUN | IORING_SETUP_TASKRUN_FLAG,
    0,
  };
  bool done = worker->sqpoll_ms > 0 && try_flags (worker, IORING_SETUP_SQPOLL);

  for (guint i = 0; i < G_N_ELEMENTS (flags) && !done; i++)
    done = try_flags (worker, flags[i]);
  if (done)
    io_uring_register_ring_fd (&worker->ring);
  if (done && worker->want_iopoll)
    vd_iopoll_init (worker);
  return done;
}

static void
uring_clear (VdWorker *worker)
{
  vd_iopoll_clear (worker);
  vd_fixed_free (worker->fixed);
  /* The ring itself ends later, and locks of the file with it. */
  if (worker->fixed_fd >= 0)
    io_uring_unregister_files (&worker->ring);
  io_uring_queue_exit (&worker->ring);
}

static struct io_uring_sqe *
uring_sqe (VdWorker *worker, guint64 user_data)
{
  struct io_uring_sqe *sqe;

  while ((sqe = io_uring_get_sqe (&worker->ring)) == NULL) {
    io_uring_submit (&worker->ring);
    io_uring_sqring_wait (&worker->ring); /* SQPOLL: for the kernel's thread */
  }
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
  case TAG_POLL: vd_worker_poll_done (worker, at, res); break;
  default:
    if (user_data == DATA_MAIL)
      worker->mail_armed = more;
    break;
  }
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

static void
uring_wait (VdWorker *worker, bool sleep)
{
  struct io_uring *ring = &worker->ring;
  struct io_uring_cqe *cqe = NULL;
  bool came = vd_iopoll_turn (worker);
  bool more = worker->fixed != NULL && vd_fixed_is_pending (worker->fixed);
  bool sleeps = sleep && !more && !came;
  guint64 limit = sleeps ? vd_worker_sleep_limit (worker) : 0;
  struct __kernel_timespec timeout = { (long long) (limit / 1000000000),
                                       (long long) (limit % 1000000000) };
  guint head, n = 0;

  uring_arm (worker);
  if (limit > 0)
    io_uring_submit_and_wait_timeout (ring, &cqe, 1, &timeout, NULL);
  else if (sleeps)
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
  if (more)
    vd_fixed_step (worker->fixed);
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

void
vd_worker_fix_memory (VdWorker *worker,
                      void (*refused) (gpointer data, int error), gpointer data)
{
  if (worker->fixed == NULL)
    worker->fixed = vd_fixed_new (&worker->ring, refused, data);
}

int
vd_worker_find_fixed (const VdWorker *worker, const void *at, gsize len)
{
  return worker->fixed != NULL ? vd_fixed_find (worker->fixed, at, len) : -1;
}

static void
uring_use_memory (VdWorker *worker, const VdMap *map)
{
  if (worker->fixed != NULL)
    vd_fixed_use (worker->fixed, map);
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
uring_cancel_poll (VdWorker *worker, VdOp *op, int fd)
{
  io_uring_prep_cancel64 (uring_sqe (worker, DATA_NONE),
                          (guintptr) op | TAG_POLL, 0);
}

const VdWaitOps vd_wait_uring = {
  .init = uring_init,
  .clear = uring_clear,
  .wait = uring_wait,
  .disarm = uring_disarm,
  .poll = uring_poll_once,
  .cancel_poll = uring_cancel_poll,
  .use_memory = uring_use_memory,
};
