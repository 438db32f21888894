/* SPDX-License-Identifier: BSD-3-Clause
 *
 * translate.c - a queue whose driver's addresses are an IOMMU's
 *
 * A walk that meets an address without a translation gives its chain back, tells
 * CONTROL once, and the queue waits, popping nothing, until CONTROL says that it
 * may try again.  So does a queue whose ring itself lost its translation.
 *
 * A translation that is withdrawn may be used until the withdrawal is answered:
 * then no chain in flight has a buffer there, and if it was the ring's, all that
 * was popped is completed in the ring, which is not touched any more.
 */
#include "vring/queue-private.h"

/* For one chain: a chain that needed more than the table holds could never be
 * served.  Several times what the largest requests need. */
#define LOOKUPS_MAX (VD_IOTLB_MAX / 4)

/* A part of the ring, and how we use it. */
typedef struct {
  guint64 iova;
  guint64 len;
  guint access;
  guint64 *uva;
} Part;

#define N_PARTS 3

static void
get_parts (VdQueue *queue, Part parts[N_PARTS])
{
  const gboolean packed = queue->ring_ops == &vd_packed_ops;
  const guint64 size = queue->size;

  parts[0] = (Part){ queue->desc_iova, 16 * size,
                     VD_ACCESS_READ | (packed ? VD_ACCESS_WRITE : 0),
                     &queue->desc_uva };
  parts[1] = (Part){ queue->driver_iova, packed ? 4 : 6 + 2 * size,
                     VD_ACCESS_READ, &queue->driver_uva };
  parts[2] = (Part){ queue->device_iova, packed ? 4 : 6 + 8 * size,
                     VD_ACCESS_WRITE, &queue->device_uva };
}

gboolean
vd_queue_translate_ring (VdQueue *queue)
{
  Part parts[N_PARTS];

  get_parts (queue, parts);
  for (guint i = 0; i < N_PARTS; i++)
    if (!vd_iotlb_find_all (queue->iotlb, parts[i].iova, parts[i].len,
                            parts[i].access, parts[i].uva, &queue->miss))
      return FALSE;
  return TRUE;
}

/* What one entry of the table translates. */
static guint8 *
find_piece (VdQueue *queue, guint64 iova, guint access, guint64 *len,
            guint64 *gpa, VdMiss *miss)
{
  guint64 uva;
  guint missing = vd_iotlb_find (queue->iotlb, iova, access, len, &uva);
  guint8 *at = NULL;

  if (missing == 0) {
    missing = access; /* if the memory that it led to has gone: asked anew */
    at = vd_map_uva_part (queue->epoch->map, uva, len, gpa);
  }
  *miss = (VdMiss){ iova, at == NULL ? missing : 0 };
  return at;
}

void *
vd_queue_translate_iova (VdQueue *queue, guint64 iova, guint access,
                         guint64 *len, guint64 *gpa)
{
  guint64 wanted = *len;
  guint8 *at;

  if (++queue->n_lookups > LOOKUPS_MAX)
    return NULL;
  at = find_piece (queue, iova, access, len, gpa, &queue->miss);
  while (at != NULL && *len < wanted && ++queue->n_lookups <= LOOKUPS_MAX) {
    guint64 more = wanted - *len, next_gpa;
    VdMiss miss; /* is met again when its turn comes */

    if (find_piece (queue, iova + *len, access, &more, &next_gpa, &miss) !=
        at + *len)
      break;
    *len += more;
  }
  return at;
}

static void
run_miss (VdMail *mail)
{
  VdQueue *queue = VD_CONTAINER (mail, VdQueue, miss_mail);

  queue->on_miss (queue, &queue->miss, queue->owner);
}

/* CONTROL has run the mail of an earlier miss before it ended the wait. */
static void
begin_wait (VdQueue *queue)
{
  queue->waiting = true;
  queue->miss_mail.run = run_miss;
  vd_mailbox_post (queue->control, &queue->miss_mail);
}

void
vd_queue_give_back (VdQueue *queue, VdChain *chain, const char *broken)
{
  chain->n_ranges = 0;
  vd_queue_return_slot (queue, chain);
  if (queue->miss.access != 0)
    begin_wait (queue);
  else if (queue->n_lookups > LOOKUPS_MAX)
    vd_queue_break (queue, "a chain needs too many translations");
  else
    vd_queue_break (queue, broken);
}

/* Tries to find a ring that was lost. */
static void
recover_ring (VdQueue *queue)
{
  queue->ring_lost =
      !vd_queue_translate_ring (queue) ||
      !queue->ring_ops->find (queue, queue->epoch->map, &queue->ring);
  if (!queue->ring_lost)
    return;
  if (queue->miss.access != 0)
    begin_wait (queue);
  else
    vd_queue_break (queue, "its ring is no longer in guest memory");
}

void
vd_queue_retry (VdQueue *queue, gboolean granted)
{
  if (!queue->waiting)
    return;
  queue->waiting = false;
  queue->miss = (VdMiss){ 0 };
  if (!granted)
    vd_queue_break (queue, "the IOMMU does not allow an access");
  else if (queue->ring_lost)
    recover_ring (queue);
}

static gboolean
overlaps (const VdQueueCommand *range, guint64 iova, guint64 len)
{
  return iova <= range->last && iova + (len - 1) >= range->first;
}

static gboolean
has_ring (VdQueue *queue, const VdQueueCommand *range)
{
  Part parts[N_PARTS];

  get_parts (queue, parts);
  for (guint i = 0; i < N_PARTS; i++)
    if (overlaps (range, parts[i].iova, parts[i].len))
      return TRUE;
  return FALSE;
}

/* Slots that are not in flight have no ranges. */
static gboolean
has_buffer (const VdQueue *queue, const VdQueueCommand *range)
{
  for (guint slot = 0; slot < queue->n_touched; slot++) {
    const VdChainRange *ranges = queue->ranges + (gsize) slot * VD_CHAIN_IOV;

    for (guint i = 0; i < queue->slots[slot].n_ranges; i++)
      if (overlaps (range, ranges[i].iova, ranges[i].len))
        return TRUE;
  }
  return FALSE;
}

/* Whether a chain in flight holds up the invalidation. */
static gboolean
is_held_up (const VdQueue *queue)
{
  return queue->draining ? vd_queue_in_flight (queue) > 0
                         : has_buffer (queue, queue->invalidate);
}

gboolean
vd_queue_invalidate (VdQueue *queue, VdQueueCommand *command)
{
  queue->invalidate = command;
  queue->draining = !queue->ring_lost && has_ring (queue, command);
  return is_held_up (queue);
}

void
vd_queue_settle_invalidate (VdQueue *queue)
{
  VdQueueCommand *command = queue->invalidate;

  if (is_held_up (queue))
    return;
  queue->invalidate = NULL;
  if (queue->draining) {
    queue->draining = false;
    queue->ring_lost = true;
    if (!queue->waiting && !queue->broken && !queue->stopping)
      recover_ring (queue);
  }
  vd_mailbox_post (queue->control, &command->mail);
}
