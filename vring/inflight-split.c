/* SPDX-License-Identifier: BSD-3-Clause
 *
 * inflight-split.c - keeping and reading the in-flight memory of a split ring
 *
 * A batch is linked before its used index is published and cleared after, so a
 * successor that finds the two indices different knows which chains the driver
 * has back already.  What we need at run time is kept in private memory as
 * well: the shared one is only ever written, but for recovery.
 */
#include "vring/queue-private.h"

/* The successor is another process: only the order of the stores counts. */
static inline void
store_barrier (void)
{
  atomic_signal_fence (memory_order_seq_cst);
}

static inline VdInflightSplit *
part_of (const VdQueue *queue)
{
  return queue->inflight_part;
}

/* Clears the batch that the dead process had published but not cleared.
 * Returns: NULL, or what is wrong with the memory. */
static const char *
finish_batch (VdQueue *queue, guint16 used_idx)
{
  VdInflightSplit *part = part_of (queue);
  guint16 n = used_idx - part->used_idx;
  guint16 head = part->last_batch_head;

  if (n > queue->size)
    return "the used index of its in-flight memory is not of this ring";
  for (; n > 0; n--) {
    if (head >= queue->size)
      return "its in-flight memory links outside the ring";
    part->desc[head].inflight = 0;
    head = part->desc[head].next;
  }
  store_barrier ();
  part->used_idx = used_idx;
  return NULL;
}

/* Lists what is to be submitted again. */
static void
collect (VdQueue *queue)
{
  const VdInflightSplit *part = part_of (queue);
  g_autofree VdAgain *again = g_new (VdAgain, queue->size);
  guint n = 0;

  for (guint i = 0; i < queue->size; i++)
    if (part->desc[i].inflight != 0)
      again[n++] = (VdAgain){ part->desc[i].counter, (guint16) i };
  vd_inflight_order (queue, again, n);
}

const char *
vd_inflight_split_init (VdQueue *queue)
{
  VdInflightSplit *part = part_of (queue);
  const char *broken;

  if (part->version == 0) {
    part->n_desc = (guint16) queue->size;
    part->last_batch_head = 0;
    part->used_idx = queue->used_idx;
    store_barrier ();
    part->version = 1;
    return NULL;
  }
  if (part->version != 1 || part->n_desc != (guint16) queue->size)
    return "its in-flight memory is of another ring";
  broken = finish_batch (queue, queue->used_idx);
  if (broken == NULL) {
    collect (queue);
    /* Whatever base the front-end thinks of, this is where the ring is. */
    queue->next_avail = queue->avail_idx =
        (guint16) (queue->used_idx + queue->n_again);
  }
  return broken;
}

void
vd_inflight_split_pop (VdQueue *queue, guint16 head)
{
  VdInflightSplitDesc *desc = &part_of (queue)->desc[head];

  desc->counter = queue->inflight_counter++;
  store_barrier ();
  desc->inflight = 1;
}

void
vd_inflight_split_push (VdQueue *queue, guint16 head)
{
  VdInflightSplit *part = part_of (queue);

  part->desc[head].next = queue->last_batch_head;
  store_barrier ();
  part->last_batch_head = queue->last_batch_head = head;
  queue->batch[queue->n_batch++] = head;
}

void
vd_inflight_split_publish (VdQueue *queue)
{
  VdInflightSplit *part = part_of (queue);

  store_barrier ();
  for (guint i = 0; i < queue->n_batch; i++)
    part->desc[queue->batch[i]].inflight = 0;
  store_barrier ();
  part->used_idx = queue->used_published;
  queue->n_batch = 0;
}
