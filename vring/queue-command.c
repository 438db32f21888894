/* SPDX-License-Identifier: BSD-3-Clause
 *
 * queue-command.c - what CONTROL tells a queue, and how it answers
 *
 * A command travels to the queue's thread in its mail, is carried out between
 * two turns, and the same mail brings it back when it is done.
 */
#include <errno.h>
#include <string.h>

#include "vring/queue-private.h"
#include "vring/sigbus.h"

static void
run_attach (VdMail *mail)
{
  VdQueue *queue = VD_CONTAINER (mail, VdQueue, attach_mail);

  vd_worker_add_queue (queue->worker, queue);
}

void
vd_queue_attach (VdQueue *queue, VdWorker *worker)
{
  queue->worker = worker;
  queue->attach_mail.run = run_attach;
  vd_worker_post (worker, &queue->attach_mail);
}

static inline VdQueueCommand *
command_of (VdMail *mail)
{
  return VD_CONTAINER (mail, VdQueueCommand, mail);
}

/* CONTROL: the last step of every command. */
static void
run_done (VdMail *mail)
{
  VdQueueCommand *command = command_of (mail);

  command->done (command, command->result);
}

/* The command is answered by vd_queue_finish_memory(). */
static void
take_memory (VdQueue *queue, VdQueueCommand *command)
{
  VdEpoch *old = queue->epoch;
  VdEpoch *new = old == queue->epochs ? old + 1 : old - 1;

  *new = (VdEpoch){
    .map = command->map,
    .dirty = command->dirty,
    .dirty_ring = command->dirty != NULL && command->value,
  };
  vd_queue_use_epoch (queue, new);
  vd_worker_use_memory (queue->worker, new->map);
  queue->memory = command;
  memset (queue->cache, 0, sizeof queue->cache);
  queue->guard_generation = vd_guard_generation () - 1;
  if (!queue->broken && !queue->ring_lost &&
      !queue->ring_ops->find (queue, new->map, &queue->ring)) {
    /* Whatever is in flight still completes, but not into the ring. */
    vd_queue_break (queue, "its ring is no longer in guest memory");
    command->result = -EFAULT;
  }
  if (old->in_flight == 0)
    vd_queue_finish_memory (queue, old);
}

static void
drain (VdQueue *queue)
{
  if (queue->started && queue->ops->drain != NULL)
    queue->ops->drain (queue, queue->user_data);
}

static void
run_command (VdMail *mail)
{
  VdQueueCommand *command = command_of (mail);
  VdQueue *queue = command->queue;
  gboolean done = TRUE;

  mail->run = run_done;
  command->result = 0;
  queue->kicked = true;
  switch (command->type) {
  case VD_QUEUE_STOP:
    queue->stopping = true;
    queue->stop = command;
    queue->may_leave = command->value && queue->inflight_part != NULL;
    drain (queue);
    done = FALSE;
    break;
  case VD_QUEUE_ENABLE: queue->enabled = command->value; break;
  case VD_QUEUE_CALL:
    queue->call = command->notifier;
    vd_notifier_signal (&queue->call);
    break;
  case VD_QUEUE_ERR: queue->err = command->notifier; break;
  case VD_QUEUE_MEMORY:
    take_memory (queue, command);
    drain (queue);
    done = FALSE;
    break;
  case VD_QUEUE_RETRY: vd_queue_retry (queue, command->value); break;
  case VD_QUEUE_INVALIDATE:
    if (vd_queue_invalidate (queue, command))
      drain (queue);
    done = FALSE;
    break;
  }
  if (done)
    vd_mailbox_post (queue->control, mail);
}

void
vd_queue_command (VdQueue *queue, VdQueueCommand *command)
{
  command->queue = queue;
  command->mail.run = run_command;
  vd_notifier_unblock (&queue->call);
  vd_worker_post (queue->worker, &command->mail);
}
