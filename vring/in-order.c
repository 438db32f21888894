/* SPDX-License-Identifier: BSD-3-Clause
 *
 * in-order.c - completions in the order of submission (VIRTIO_F_IN_ORDER)
 *
 * Devices complete in any order; what is done before its turn waits here, not in
 * its slot, which is free again at once.  Only queues whose driver acked the
 * feature come here.
 */
#include "vring/queue-private.h"

/* A chain that was popped and not given back to the driver. */
struct VdOrdered {
  guint32 written;
  guint16 id, n_ring, inflight_head; /* as in VdChain */
  bool done;
};

static inline guint
position (const VdQueue *queue, guint n)
{
  guint at = queue->ordered_first + n;

  return at < queue->size ? at : at - queue->size;
}

/* Gives back the oldest one. */
static void
push_first (VdQueue *queue)
{
  const VdOrdered *first = &queue->ordered[queue->ordered_first];
  VdChain chain;

  chain.id = first->id;
  chain.n_ring = first->n_ring;
  chain.inflight_head = first->inflight_head;
  queue->ordered_first = position (queue, 1);
  queue->n_ordered--;
  queue->ring_ops->push (queue, &chain, first->written);
}

static void
push (VdQueue *queue, const VdChain *chain, guint32 written)
{
  queue->ordered[chain->order] = (VdOrdered){
    .written = written,
    .id = chain->id,
    .n_ring = chain->n_ring,
    .inflight_head = chain->inflight_head,
    .done = true,
  };
  while (queue->n_ordered > 0 && queue->ordered[queue->ordered_first].done)
    push_first (queue);
}

void
vd_in_order_init (VdQueue *queue)
{
  queue->ordered = g_new (VdOrdered, queue->size);
  queue->push = push;
}

guint
vd_in_order_popped (VdQueue *queue, VdChain **chains, guint n)
{
  for (guint i = 0; i < n; i++) {
    /* No driver has more than it saw come back; in-flight memory relies on it
     * for what is not published yet. */
    if (queue->n_ordered + queue->n_batch >= queue->size) {
      vd_queue_break (queue, "more chains are in flight than the ring has");
      for (guint j = i; j < n; j++) {
        chains[j]->n_ranges = 0;
        vd_queue_return_slot (queue, chains[j]);
      }
      return i;
    }
    chains[i]->order = (guint16) position (queue, queue->n_ordered++);
    queue->ordered[chains[i]->order].done = false;
  }
  return n;
}
