/* SPDX-License-Identifier: BSD-3-Clause
 *
 * nbd-link-receive.c - from a server's reply to a task's answer
 */
#include "devices/blk/nbd-link-private.h"

#include <errno.h>
#include <poll.h>

#include "vring/iov.h"

/* Answering. */

static void
run_done (VdMail *mail)
{
  VdTask *task = VD_CONTAINER (mail, VdTask, op.mail);

  task->op.done (&task->op, task->op.res);
}

void
vd_nbd_task_answer (VdTask *task, int res)
{
  if (task->op.box == NULL) {
    task->op.done (&task->op, res);
    return;
  }
  task->op.res = res;
  task->op.mail.run = run_done;
  vd_mailbox_post (task->op.box, &task->op.mail);
}

/* Answers a task with what its command came to. */
static void
answer_done (VdNbdLink *link, VdTask *task)
{
  const VdCall *call = &task->call;
  int res = vd_nbd_task_has_data (task) ? (int) task->nbd.len : 0;

  /* These two ask the caller to try another way, which there is not. */
  if (task->nbd.error == EAGAIN || task->nbd.error == EINTR)
    task->nbd.error = EIO;
  if (task->nbd.error == 0)
    link->pause = VD_NBD_PAUSE_MIN_US;
  if (task->nbd.error != 0)
    res = -task->nbd.error;
  else if (call->kind == VD_CALL_READ && task->nbd.bounce != NULL)
    vd_iov_write (call->iov, call->n_iov, 0, task->nbd.bounce, task->nbd.len);
  vd_nbd_link_return_bounce (link, task);
  vd_nbd_task_answer (task, res);
}

/* An answer may have the caller send more, which may find the connection
 * broken: what was lost by that is done with an error that is not the server's
 * answer, and so is what a server leaves undone that shuts down. */
void
vd_nbd_link_settle (VdNbdLink *link)
{
  VdTask *task;

  while ((task = TAILQ_FIRST (&link->done)) != NULL &&
         !vd_nbd_link_is_lost (link)) {
    TAILQ_REMOVE (&link->done, task, nbd.entry);
    if (task->nbd.error == ESHUTDOWN && link->handle != NULL) {
      link->leaving = true;
      task->nbd.done = false;
      TAILQ_INSERT_TAIL (&link->sent, task, nbd.entry);
    } else
      answer_done (link, task);
  }
}

/* The socket. */

static bool
wants (const VdNbdLink *link, unsigned direction)
{
  return (nbd_aio_get_direction (link->handle) & direction) != 0;
}

void
vd_nbd_link_await_socket (VdNbdLink *link)
{
  bool full = wants (link, LIBNBD_AIO_DIRECTION_WRITE);

  vd_nbd_link_watch (&link->socket, nbd_aio_get_fd (link->handle),
                     (short) (full ? POLLIN | POLLOUT : POLLIN));
}

static bool
is_readable (const VdNbdLink *link)
{
  struct pollfd socket = { nbd_aio_get_fd (link->handle), POLLIN, 0 };

  return poll (&socket, 1, 0) > 0;
}

/* libnbd takes one reply at a time, and must not be told of one that is not
 * there, since it then waits for that one before it sends anything more.  What a
 * poll said before is not enough: it may be of an older connection, or of data
 * that was read since. */
void
vd_nbd_link_on_socket (VdNbdLink *link)
{
  if (link->handle != NULL) {
    if (wants (link, LIBNBD_AIO_DIRECTION_WRITE))
      nbd_aio_notify_write (link->handle);
    while (wants (link, LIBNBD_AIO_DIRECTION_READ) && is_readable (link))
      nbd_aio_notify_read (link->handle);
  }
  vd_nbd_link_pump (link);
}
