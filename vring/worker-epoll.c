/* SPDX-License-Identifier: BSD-3-Clause
 *
 * worker-epoll.c - the same by epoll, where io_uring is refused or not built in
 */
#include <errno.h>
#include <sys/epoll.h>

#include "vring/fd.h"
#include "vring/worker-private.h"

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

static void
epoll_end_canceled (VdWorker *worker)
{
  VdMail *mail = worker->canceled, *next;

  worker->canceled = NULL;
  for (; mail != NULL; mail = next) {
    next = mail->next;
    vd_worker_poll_done (worker, VD_CONTAINER (mail, VdOp, mail), -ECANCELED);
  }
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
    vd_worker_poll_done (worker, op, (int) event->events);
  } else if (queue != NULL) { /* else mail */
    queue->kicked = true;
    vd_count (&queue->kicks, 1);
  }
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

static void
epoll_wait_for (VdWorker *worker, bool sleep)
{
  struct epoll_event events[32];
  guint64 limit = sleep ? vd_worker_sleep_limit (worker) : 0;
  int timeout_ms = !sleep || worker->canceled != NULL ? 0
                   : limit == 0                       ? -1
                                : (int) MIN (limit / 1000000 + 1, G_MAXINT);
  int n;

  epoll_arm (worker);
  n = epoll_wait (worker->epoll_fd, events, G_N_ELEMENTS (events), timeout_ms);
  epoll_end_canceled (worker);

  for (int i = 0; i < n; i++)
    epoll_event (worker, &events[i]);
}

static bool
epoll_init (VdWorker *worker)
{
  worker->epoll_fd = epoll_create1 (EPOLL_CLOEXEC);
  epoll_watch (worker, vd_mailbox_fd (worker->box), NULL);
  return true;
}

static void
epoll_clear (VdWorker *worker)
{
  vd_clear_fd (&worker->epoll_fd);
}

static bool
epoll_disarm (VdWorker *worker, VdQueue *queue)
{
  if (queue->kick_armed)
    epoll_ctl (worker->epoll_fd, EPOLL_CTL_DEL, queue->kick_fd, NULL);
  queue->kick_armed = false;
  return true;
}

const VdWaitOps vd_wait_epoll = {
  .init = epoll_init,
  .clear = epoll_clear,
  .wait = epoll_wait_for,
  .disarm = epoll_disarm,
  .poll = epoll_poll_once,
  .cancel_poll = epoll_cancel_poll,
};
