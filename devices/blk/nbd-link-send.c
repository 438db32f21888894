/* SPDX-License-Identifier: BSD-3-Clause
 *
 * nbd-link-send.c - from a task to a command under way
 */
#include "devices/blk/nbd-link-private.h"

#include <errno.h>
#include <fcntl.h>

#include "vring/iov.h"

/* A first buffer of this length is worth a command of its own. */
#define DIRECT_LEN (64u << 10)

/* Buffers. */

static void *
take_bounce (VdNbdLink *link)
{
  guint i;

  if (link->bounces_free == 0)
    return NULL;
  i = (guint) __builtin_ctz (link->bounces_free);
  link->bounces_free &= link->bounces_free - 1;
  return link->bounces + (gsize) i * VD_NBD_BOUNCE_LEN;
}

void
vd_nbd_link_return_bounce (VdNbdLink *link, VdTask *task)
{
  if (task->nbd.bounce == NULL)
    return;
  link->bounces_free |=
      1u << (((guint8 *) task->nbd.bounce - link->bounces) / VD_NBD_BOUNCE_LEN);
  task->nbd.bounce = NULL;
}

/* Chooses the buffer of the task's next command.
 * Returns: NULL if it has to wait for one. */
static void *
choose_buffer (VdNbdLink *link, VdTask *task)
{
  const VdCall *call = &task->call;
  const struct iovec *first = call->iov;
  gsize direct = MIN (first->iov_len, link->setup.max_len);

  direct &= ~(gsize) (link->setup.align - 1);
  task->nbd.bounce = NULL;
  if (direct > 0 && (call->n_iov == 1 || direct >= DIRECT_LEN)) {
    task->nbd.len = (guint32) direct;
    return first->iov_base;
  }
  task->nbd.len = (guint32) MIN (MIN (call->len, VD_NBD_BOUNCE_LEN), //
                                 link->setup.max_len);
  task->nbd.bounce = take_bounce (link);
  if (task->nbd.bounce != NULL && call->kind == VD_CALL_WRITE)
    vd_iov_read (call->iov, call->n_iov, 0, task->nbd.bounce, task->nbd.len);
  return task->nbd.bounce;
}

/* Moving. */

void
vd_nbd_link_end (VdNbdLink *link, VdTask *task, int error)
{
  task->nbd.done = true;
  task->nbd.error = error;
  TAILQ_INSERT_TAIL (&link->done, task, nbd.entry);
}

void
vd_nbd_link_put_off (VdNbdLink *link, VdTask *task)
{
  task->nbd.done = false;
  vd_nbd_link_return_bounce (link, task);
  if (link->setup.divert != NULL)
    link->setup.divert (link->setup.divert_owner, task);
  else
    TAILQ_INSERT_TAIL (&link->waiting, task, nbd.entry);
}

/* Sending. */

/* libnbd's lock is held.  A connection that breaks while it sends a command ends
 * that one as well, and libnbd reads it once more before it returns.
 * Returns: 1 if libnbd shall free the command, 0 if send_task() does. */
static int
on_complete (void *user_data, int *error)
{
  VdTask *task = user_data;
  VdNbdLink *link = task->nbd.link;

  TAILQ_REMOVE (&link->sent, task, nbd.entry);
  vd_nbd_link_end (link, task, *error);
  return task == link->sending ? 0 : 1;
}

/* Returns: a cookie, or -1. */
static gint64
send_command (VdNbdLink *link, VdTask *task, void *buffer)
{
  struct nbd_handle *nbd = link->handle;
  const VdCall *call = &task->call;
  nbd_completion_callback done = { .callback = on_complete, .user_data = task };

  switch (call->kind) {
  case VD_CALL_READ:
    return nbd_aio_pread (nbd, buffer, task->nbd.len, call->offset, done, 0);
  case VD_CALL_WRITE:
    return nbd_aio_pwrite (nbd, buffer, task->nbd.len, call->offset, done,
                           call->flags != 0 ? LIBNBD_CMD_FLAG_FUA : 0);
  case VD_CALL_SYNC: return nbd_aio_flush (nbd, done, 0);
  case VD_CALL_DISCARD:
    return nbd_aio_trim (nbd, call->len, call->offset, done, 0);
  case VD_CALL_ALLOCATE:
    return nbd_aio_zero (nbd, call->len, call->offset, done,
                         (call->flags & FALLOC_FL_PUNCH_HOLE) != 0
                             ? 0
                             : LIBNBD_CMD_FLAG_NO_HOLE);
  case VD_CALL_ERASE: break; /* no server knows it */
  }
  g_assert_not_reached ();
}

/* Whether the server knows the command. */
static bool
is_known (const VdNbdLink *link, VdCallKind kind)
{
  switch (kind) {
  case VD_CALL_SYNC: return nbd_can_flush (link->handle) == 1;
  case VD_CALL_DISCARD: return nbd_can_trim (link->handle) == 1;
  case VD_CALL_ALLOCATE: return nbd_can_zero (link->handle) == 1;
  case VD_CALL_ERASE: return false;
  case VD_CALL_READ:
  case VD_CALL_WRITE: break;
  }
  return true;
}

/* An export that has grown has done so for new connections only. */
static bool
is_within (const VdNbdLink *link, const VdCall *call)
{
  return call->kind == VD_CALL_SYNC || call->offset + call->len <= link->size;
}

/* Returns: FALSE if it has to wait for a buffer, or for another connection. */
static bool
send_task (VdNbdLink *link, VdTask *task)
{
  void *buffer = NULL;
  gint64 cookie;

  if (!is_within (link, &task->call)) {
    if (!task->nbd.outgrown) {
      task->nbd.outgrown = link->leaving = true;
      return false;
    }
    /* Nor does a newer connection know of it. */
    TAILQ_REMOVE (&link->waiting, task, nbd.entry);
    vd_nbd_link_end (link, task, EIO);
    return true;
  }
  if (vd_nbd_task_has_data (task) &&
      (buffer = choose_buffer (link, task)) == NULL)
    return false;
  TAILQ_REMOVE (&link->waiting, task, nbd.entry);
  if (!is_known (link, task->call.kind)) {
    /* A server without flushes has nothing to flush. */
    vd_nbd_link_end (link, task,
                     task->call.kind == VD_CALL_SYNC ? 0 : EOPNOTSUPP);
    return true;
  }
  task->nbd.done = false;
  TAILQ_INSERT_TAIL (&link->sent, task, nbd.entry);
  link->sending = task;
  cookie = send_command (link, task, buffer);
  link->sending = NULL;
  if (cookie < 0) { /* refused: nobody calls back */
    int error = nbd_get_errno ();

    on_complete (task, error != 0 ? &error : &(int){ EIO });
  } else if (task->nbd.done)
    nbd_aio_command_completed (link->handle, cookie);
  return true;
}

void
vd_nbd_link_send (VdNbdLink *link)
{
  VdTask *task;

  while ((task = TAILQ_FIRST (&link->waiting)) != NULL &&
         send_task (link, task))
    ;
}
