/* SPDX-License-Identifier: BSD-3-Clause
 *
 * split.c - the split virtqueue (virtio 1.3, 2.7)
 *
 * Every value that the driver writes is read once into private memory, checked
 * and then used; a descriptor is never looked at twice.  While the queue is
 * busy the driver is spared its kicks, and it is notified by one test for all
 * that was published since the last.
 */
#include "vring/plain.h"

static inline struct vring_desc *
descriptors (const VdQueue *queue)
{
  return queue->ring.desc;
}

static inline struct vring_avail *
avail_ring (const VdQueue *queue)
{
  return queue->ring.driver;
}

static inline struct vring_used *
used_ring (const VdQueue *queue)
{
  return queue->ring.device;
}

/* The two event indices stand behind the rings (2.7.7, 2.7.10). */
static inline guint16 *
used_event (VdQueue *queue)
{
  return &avail_ring (queue)->ring[queue->size];
}

static inline guint16 *
avail_event (VdQueue *queue)
{
  return (guint16 *) &used_ring (queue)->ring[queue->size];
}

static gboolean
split_find (const VdQueue *queue, const VdMap *map, VdRing *ret)
{
  gsize size = queue->size;
  VdRing ring = { 0 };

  ring.desc = vd_map_uva (map, queue->desc_uva, 16 * size, &ring.desc_gpa);
  ring.driver = vd_map_uva (map, queue->driver_uva, 6 + 2 * size, NULL);
  ring.device =
      vd_map_uva (map, queue->device_uva, 6 + 8 * size, &ring.device_gpa);
  if (ring.desc == NULL || ring.driver == NULL || ring.device == NULL ||
      (guintptr) ring.desc % VRING_DESC_ALIGN_SIZE != 0 ||
      (guintptr) ring.driver % VRING_AVAIL_ALIGN_SIZE != 0 ||
      (guintptr) ring.device % VRING_USED_ALIGN_SIZE != 0)
    return FALSE;
  *ret = ring;
  return TRUE;
}

/* Logs a write to the used ring. */
static inline void
dirty_used (VdQueue *queue, const void *at, gsize len)
{
  vd_dirty_ring (
      queue,
      queue->ring.device_gpa +
          (gsize) ((const guint8 *) at - (const guint8 *) queue->ring.device),
      len);
}

static const char *
split_init (VdQueue *queue, guint32 base)
{
  if ((queue->size & (queue->size - 1)) != 0)
    return "its size is not a power of two";
  if (base > G_MAXUINT16)
    return "its base is beyond 65535";
  queue->next_avail = queue->avail_idx = (guint16) base;
  queue->used_idx = vd_load16 (&used_ring (queue)->idx, memory_order_relaxed);
  queue->used_published = queue->used_signalled = queue->used_idx;
  /* An earlier life on this ring may have ended while it was busy. */
  queue->no_notify =
      vd_load16 (&used_ring (queue)->flags, memory_order_relaxed) &
      VRING_USED_F_NO_NOTIFY;
  return queue->inflight_part != NULL ? vd_inflight_split_init (queue) : NULL;
}

static inline struct vring_desc
to_host (struct vring_desc desc)
{
  desc.addr = le64toh (desc.addr);
  desc.len = le32toh (desc.len);
  desc.flags = le16toh (desc.flags);
  desc.next = le16toh (desc.next);
  return desc;
}

static inline struct vring_desc
load (const struct vring_desc *table, guint i)
{
  struct vring_desc desc;

  vd_load_desc (&desc, table + i);
  return to_host (desc);
}

static const char *
walk_indirect (VdQueue *queue, VdChainBuilder *builder, struct vring_desc outer)
{
  VdIndirect table;
  const char *broken;
  guint32 i = 0;

  if (outer.flags & VRING_DESC_F_NEXT)
    return "an indirect descriptor has a successor";
  broken = vd_indirect_open (queue, outer.addr, outer.len, &table);
  while (broken == NULL) {
    struct vring_desc desc;

    if (!vd_indirect_load (queue, &table, i, &desc))
      return "an indirect table lies outside guest memory";
    desc = to_host (desc);
    if (desc.flags & VRING_DESC_F_INDIRECT)
      return "an indirect descriptor is nested";
    broken = vd_chain_append (builder, desc.addr, desc.len,
                              desc.flags & VRING_DESC_F_WRITE);
    if (broken == NULL && !(desc.flags & VRING_DESC_F_NEXT))
      return NULL;
    if (broken == NULL && desc.next >= table.n_desc)
      return "an indirect descriptor's successor is outside its table";
    i = desc.next;
  }
  return broken;
}

static const char *
walk (VdQueue *queue, VdChainBuilder *builder, guint16 head)
{
  guint i = head;

  for (;;) {
    struct vring_desc desc = load (descriptors (queue), i);
    const char *broken;

    if (desc.flags & VRING_DESC_F_INDIRECT)
      return walk_indirect (queue, builder, desc);
    broken = vd_chain_append (builder, desc.addr, desc.len,
                              desc.flags & VRING_DESC_F_WRITE);
    if (broken != NULL)
      return broken;
    if (!(desc.flags & VRING_DESC_F_NEXT))
      return NULL;
    if (desc.next >= queue->size)
      return "a descriptor's successor is outside the ring";
    if (builder->n_desc >= queue->size)
      return "a chain is a loop";
    i = desc.next;
  }
}

/* The chain of @head, in the ring or in an indirect table, if it is plain. */
VD_PLAIN_INLINE bool
walk_plain (const VdQueue *queue, VdChain *chain, gsize head)
{
  VdPlainCursor cursor = {
    .table = queue->ring.desc,
    .size = queue->size,
    .at = (const VdPlainWord *) queue->ring.desc + 2 * head,
  };

  vd_plain_load (&cursor);
  if (cursor.kind & VRING_DESC_F_INDIRECT) {
    guint32 len = vd_plain_len (&cursor);
    guint8 *table;

    if (!vd_plain_find (queue, cursor.addr, len, &table) ||
        len % VD_PLAIN_DESC_SIZE != 0 || (cursor.kind & VRING_DESC_F_NEXT))
      return false;
    cursor.table = cursor.at = (const void *) table;
    cursor.size = len / VD_PLAIN_DESC_SIZE;
    vd_plain_load (&cursor);
  }
  return vd_plain_walk (queue, &cursor, chain);
}

/* How many chains wait, at most @max; reads the driver's index only if those
 * that are known are fewer. */
static guint
available (VdQueue *queue, guint max)
{
  guint16 n = queue->avail_idx - queue->next_avail;

  if (n < max) {
    queue->avail_idx =
        vd_load16 (&avail_ring (queue)->idx, memory_order_acquire);
    n = queue->avail_idx - queue->next_avail;
    if (n > queue->size) {
      vd_queue_break (queue, "the avail index jumped");
      return 0;
    }
  }
  return MIN (n, max);
}

/* Returns: what is wrong with a chain that is not plain, if anything. */
static G_GNUC_NO_INLINE const char *
walk_any (VdQueue *queue, VdChain *chain, guint16 head)
{
  VdChainBuilder builder;
  const char *broken;

  vd_chain_begin (&builder, chain);
  broken = walk (queue, &builder, head);
  vd_chain_end (&builder);
  return broken;
}

/* Pops the chain of @head.  Returns: NULL if the queue broke or has to wait. */
static inline __attribute__ ((always_inline)) VdChain *
pop_head (VdQueue *queue, guint16 head)
{
  VdChain *chain;
  const char *broken;

  if (head >= queue->size) {
    vd_queue_break (queue, "a head is outside the ring");
    return NULL;
  }
  chain = vd_queue_take_slot (queue);
  if (chain == NULL) {
    vd_queue_break (queue, "more chains are in flight than the ring has");
    return NULL;
  }
  chain->id = head;
  if (G_LIKELY (queue->plain && walk_plain (queue, chain, head)))
    return chain;
  broken = walk_any (queue, chain, head);
  if (broken == NULL)
    return chain;
  vd_queue_give_back (queue, chain, broken);
  return NULL;
}

/* Pops what a predecessor had popped and not completed. */
static guint
pop_again (VdQueue *queue, VdChain **chains, guint max)
{
  guint n = MIN (max, queue->n_again - queue->next_again);

  for (guint i = 0; i < n; i++) {
    chains[i] = pop_head (queue, queue->again[queue->next_again]);
    if (chains[i] == NULL)
      return i;
    queue->next_again++;
  }
  return n;
}

/* A driver that keeps to the rules has at most as many chains as entries that
 * it does not know to be completed; the in-flight memory's batch relies on it. */
static guint
limit_tracked (VdQueue *queue, guint n)
{
  guint n_out = vd_queue_in_flight (queue) + queue->n_batch;

  if (n > 0 && n_out >= queue->size) {
    vd_queue_break (queue, "more chains are in flight than the ring has");
    return 0;
  }
  return MIN (n, queue->size - n_out);
}

static guint
split_pop (VdQueue *queue, VdChain **chains, guint max)
{
  const guint16 *ring = avail_ring (queue)->ring;
  guint mask = queue->size - 1, next = queue->next_avail, n, i;

  if (G_UNLIKELY (queue->next_again < queue->n_again))
    return pop_again (queue, chains, max);
  n = available (queue, max);
  if (queue->inflight_part != NULL)
    n = limit_tracked (queue, n);
  for (i = 0; i < n; i++) {
    guint16 head = vd_load16 (&ring[(next + i) & mask], memory_order_relaxed);

    chains[i] = pop_head (queue, head);
    if (chains[i] == NULL)
      break;
    if (queue->inflight_part != NULL)
      vd_inflight_split_pop (queue, head);
  }
  queue->next_avail += i;
  return i;
}

static G_GNUC_NO_INLINE void
record_push (VdQueue *queue, guint16 head, const struct vring_used_elem *used)
{
  dirty_used (queue, used, sizeof *used);
  if (queue->inflight_part != NULL)
    vd_inflight_split_push (queue, head);
}

static void
split_push (VdQueue *queue, const VdChain *chain, guint32 written)
{
  struct vring_used_elem *used =
      &used_ring (queue)->ring[queue->used_idx++ & (queue->size - 1)];
  const guint64 value = htole64 ((guint64) written << 32 | chain->id);

  memcpy (used, &value, sizeof value);
  if (G_UNLIKELY (queue->recorded))
    record_push (queue, chain->id, used);
}

static gboolean
split_publish (VdQueue *queue)
{
  guint16 new = queue->used_idx, old = queue->used_signalled, event;
  bool valid = queue->signalled_valid;

  if (new == queue->used_published)
    return FALSE;
  vd_store16 (&used_ring (queue)->idx, new, memory_order_release);
  queue->used_published = new;
  dirty_used (queue, &used_ring (queue)->idx, sizeof new);
  if (queue->inflight_part != NULL)
    vd_inflight_split_publish (queue);

  /* The driver writes its wish, then reads the index; we do the reverse. */
  atomic_thread_fence (memory_order_seq_cst);
  if (!queue->event_idx)
    return !(vd_load16 (&avail_ring (queue)->flags, memory_order_relaxed) &
             VRING_AVAIL_F_NO_INTERRUPT);
  event = vd_load16 (used_event (queue), memory_order_relaxed);
  queue->used_signalled = new;
  queue->signalled_valid = true;
  return !valid || vring_need_event (event, new, old);
}

static gboolean
split_notifications (VdQueue *queue, gboolean on)
{
  if (queue->event_idx) {
    if (!on)
      return FALSE; /* an index that is left behind never asks for a kick */
    vd_store16 (avail_event (queue), queue->next_avail, memory_order_relaxed);
    dirty_used (queue, avail_event (queue), sizeof (guint16));
  } else {
    if (queue->no_notify == !on)
      return FALSE;
    vd_store16 (&used_ring (queue)->flags, on ? 0 : VRING_USED_F_NO_NOTIFY,
                memory_order_relaxed);
    dirty_used (queue, used_ring (queue), sizeof (guint16));
    queue->no_notify = !on;
    if (!on)
      return FALSE;
  }
  /* A chain that came before the driver saw the wish brings no kick. */
  atomic_thread_fence (memory_order_seq_cst);
  return vd_load16 (&avail_ring (queue)->idx, memory_order_relaxed) !=
         queue->next_avail;
}

static guint32
split_base (const VdQueue *queue)
{
  return queue->next_avail;
}

const VdRingOps vd_split_ops = {
  .find = split_find,
  .init = split_init,
  .pop = split_pop,
  .push = split_push,
  .publish = split_publish,
  .notifications = split_notifications,
  .base = split_base,
};
