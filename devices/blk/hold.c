/* SPDX-License-Identifier: BSD-3-Clause
 *
 * hold.c - see hold.h
 *
 * While something is held the queue looks five times a second whether the user
 * reloaded; where only room was missing it tries then, too.
 */
#define G_LOG_DOMAIN "virtiod-blk"

#include "devices/blk/hold.h"

#include <errno.h>

#include "devices/blk/disk.h"

#define LOOK_NS 200000000

void
vd_hold_init (VdHold *hold)
{
  hold->first = NULL;
  hold->last = &hold->first;
  hold->n = 0;
}

/* Telling the user. */

static int
first_error (const VdBlk *blk)
{
  for (guint i = 0; i < blk->parent.n_queues; i++) {
    int error = atomic_load (&blk->queues[i].hold.error);

    if (error != 0)
      return error;
  }
  return 0;
}

static void
run_tell (VdMail *mail)
{
  VdBlkQueue *queue = VD_CONTAINER (mail, VdBlkQueue, hold.mail);
  VdBlk *blk = queue->blk;
  int error;

  atomic_store (&queue->hold.mailed, false);
  error = first_error (blk);
  if (error != 0 && !blk->told_held)
    g_warning ("%s: image: %s: the guest waits until it is reloaded%s",
               blk->parent.id, g_strerror (-error),
               error == -ENOSPC || error == -EDQUOT ? " or there is room" : "");
  else if (error == 0 && blk->told_held)
    g_message ("%s: no request waits for the image any more", blk->parent.id);
  blk->told_held = error != 0;
}

static void
set_error (VdBlkQueue *queue, int error)
{
  VdHold *hold = &queue->hold;

  atomic_store (&hold->error, error);
  if (atomic_exchange (&hold->mailed, true))
    return;
  hold->mail.run = run_tell;
  vd_mailbox_post (queue->blk->parent.control, &hold->mail);
}

/* Holding. */

static bool
is_for_room (int error)
{
  return error == -ENOSPC || error == -EDQUOT;
}

/* Whether another attempt makes sense: not for calls that the image does not
 * know, nor for bad buffers; and a failed fdatasync has lost its data. */
static bool
may_succeed (const VdBlkRequest *req, int res)
{
  switch (req->task.call.kind) {
  case VD_CALL_READ:
  case VD_CALL_WRITE: break;
  case VD_CALL_ALLOCATE:
    if (req->cmd.type != VIRTIO_BLK_T_DISCARD)
      break;
    return false;
  default: return false;
  }
  return res != -EOPNOTSUPP && res != -EINVAL && res != -EFAULT;
}

/* Whether the user wants the request to wait rather than fail. */
static bool
shall_wait (const VdBlkRequest *req, int res)
{
  VdBlk *blk = req->queue->blk;

  return res < 0 && may_succeed (req, res) &&
         atomic_load (is_for_room (res) ? &blk->stop_on_enospc
                                        : &blk->stop_on_error);
}

/* Whether nobody waits for the queue. */
static bool
can_wait (const VdBlkRequest *req)
{
  const VdBlkQueue *queue = req->queue;

  return req->n_drains == queue->hold.n_drains &&
         !vd_queue_is_stopping (queue->queue);
}

/* A held request got through, or failed for good. */
static void
let_go (VdBlkRequest *req)
{
  VdBlkQueue *queue = req->queue;

  req->held = false;
  if (--queue->hold.n > 0)
    return;
  set_error (queue, 0);
  vd_queue_wake (queue->queue);
}

static guint64
now_ns (void)
{
  return (guint64) g_get_monotonic_time () * 1000;
}

static void
begin (VdBlkQueue *queue, int error)
{
  queue->hold.n_resumes = atomic_load (&queue->blk->n_resumes);
  queue->hold.retry_ns = now_ns () + LOOK_NS;
  set_error (queue, error);
}

static void
append (VdHold *hold, VdBlkRequest *req)
{
  req->next_held = NULL;
  *hold->last = req;
  hold->last = &req->next_held;
}

bool
vd_hold_takes (VdBlkRequest *req, int res)
{
  VdBlkQueue *queue = req->queue;
  VdHold *hold = &queue->hold;

  bool wait = shall_wait (req, res);

  if (!wait || !can_wait (req)) {
    if (req->held)
      let_go (req);
    if (!wait || !vd_queue_may_leave (queue->queue))
      return false;
    vd_bounce_leave (req);
    return true;
  }
  if (!req->held && hold->n++ == 0)
    begin (queue, res);
  req->held = true;
  req->held_for_room = is_for_room (res);
  req->background = true; /* the next attempt may take its time */
  append (hold, req);
  vd_worker_wake_after (queue->worker, LOOK_NS);
  return true;
}

/* Makes the calls again of all that are held, or only of those without room.
 * We may be on the way to sleep: what gets through is published first. */
static void
retry (VdBlkQueue *queue, bool all)
{
  VdHold *hold = &queue->hold;
  VdBlkRequest *req = hold->first, *next;

  hold->first = NULL;
  hold->last = &hold->first;
  for (; req != NULL; req = next) {
    next = req->next_held;
    if (all || req->held_for_room)
      vd_blk_pump (req);
    else
      append (hold, req);
  }
  vd_worker_wake_after (queue->worker, 0);
}

bool
vd_hold_waits (VdBlkQueue *queue)
{
  VdHold *hold = &queue->hold;
  guint n_resumes = atomic_load (&queue->blk->n_resumes);
  guint64 now;

  if (hold->n == 0)
    return false;
  now = now_ns ();
  if (n_resumes != hold->n_resumes || now >= hold->retry_ns) {
    bool resumed = n_resumes != hold->n_resumes;

    hold->n_resumes = n_resumes;
    hold->retry_ns = now + LOOK_NS;
    retry (queue, resumed);
  }
  if (hold->n > 0)
    vd_worker_wake_after (queue->worker, LOOK_NS);
  return hold->n > 0;
}

void
vd_hold_drain (VdBlkQueue *queue)
{
  queue->hold.n_drains++;
  retry (queue, true);
}

void
vd_hold_resume (VdBlk *blk)
{
  atomic_fetch_add (&blk->n_resumes, 1);
}
