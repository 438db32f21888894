/* SPDX-License-Identifier: BSD-3-Clause
 *
 * split.c - the split virtqueue (virtio 1.3, 2.7)
 *
 * Every value that the driver writes is read once into private memory, checked
 * and then used; a descriptor is never looked at twice.  While the queue is
 * busy the driver is spared its kicks, and it is notified by one test for all
 * that was published since the last.
 */
#include <endian.h>
#include <string.h>

#include "vring/queue-private.h"

/* Reads a ring index or flags word that the other side writes. */
static inline guint16
load16 (const void *at, memory_order order)
{
  return le16toh (atomic_load_explicit ((const _Atomic guint16 *) at, order));
}

static inline void
store16 (void *at, guint16 value, memory_order order)
{
  atomic_store_explicit ((_Atomic guint16 *) at, htole16 (value), order);
}

/* The two event indices stand behind the rings (2.7.7, 2.7.10). */
static inline guint16 *
used_event (VdQueue *queue)
{
  return &queue->ring.avail->ring[queue->size];
}

static inline guint16 *
avail_event (VdQueue *queue)
{
  return (guint16 *) &queue->ring.used->ring[queue->size];
}

gboolean
vd_split_find (const VdQueue *queue, const VdMap *map, VdSplitRing *ret)
{
  gsize size = queue->size;
  guint8 *desc = vd_map_uva (map, queue->desc_uva, 16 * size, NULL);
  guint8 *avail = vd_map_uva (map, queue->avail_uva, 6 + 2 * size, NULL);
  guint8 *used = vd_map_uva (map, queue->used_uva, 6 + 8 * size, NULL);

  if (desc == NULL || avail == NULL || used == NULL ||
      (guintptr) desc % VRING_DESC_ALIGN_SIZE != 0 ||
      (guintptr) avail % VRING_AVAIL_ALIGN_SIZE != 0 ||
      (guintptr) used % VRING_USED_ALIGN_SIZE != 0)
    return FALSE;
  *ret = (VdSplitRing){
    .desc = (struct vring_desc *) (void *) desc,
    .avail = (struct vring_avail *) (void *) avail,
    .used = (struct vring_used *) (void *) used,
  };
  return TRUE;
}

void
vd_split_init (VdQueue *queue, guint16 base)
{
  queue->next_avail = queue->avail_idx = base;
  queue->used_idx = load16 (&queue->ring.used->idx, memory_order_relaxed);
  queue->used_published = queue->used_signalled = queue->used_idx;
}

/* A private copy that the compiler cannot take from guest memory again. */
static inline struct vring_desc
load_desc (const void *at)
{
  struct vring_desc desc;

  memcpy (&desc, at, sizeof desc);
  atomic_signal_fence (memory_order_seq_cst);
  desc.addr = le64toh (desc.addr);
  desc.len = le32toh (desc.len);
  desc.flags = le16toh (desc.flags);
  desc.next = le16toh (desc.next);
  return desc;
}

/* Reads one descriptor of an indirect table, which may cross regions. */
static gboolean
load_desc_gpa (VdQueue *queue, guint64 gpa, struct vring_desc *ret)
{
  guint8 copy[sizeof *ret];
  guint64 done = 0;

  while (done < sizeof copy) {
    guint64 n = sizeof copy - done;
    void *at = vd_queue_translate (queue, gpa + done, &n);

    if (at == NULL)
      return FALSE;
    memcpy (copy + done, at, n);
    done += n;
  }
  *ret = load_desc (copy);
  return TRUE;
}

static const char *
walk_indirect (VdQueue *queue, VdChainBuilder *builder,
               const struct vring_desc *outer)
{
  guint32 n_desc = outer->len / sizeof (struct vring_desc);
  guint64 contiguous = outer->len;
  const guint8 *table = vd_queue_translate (queue, outer->addr, &contiguous);
  guint32 i = 0;

  if (outer->len == 0 || outer->len % sizeof (struct vring_desc) != 0)
    return "an indirect table has an odd length";
  if (outer->flags & VRING_DESC_F_NEXT)
    return "an indirect descriptor has a successor";
  if (table == NULL)
    return "an indirect table lies outside guest memory";
  if (contiguous < outer->len)
    table = NULL;
  for (;;) {
    struct vring_desc desc;
    const char *broken;

    if (table != NULL)
      desc = load_desc (table + i * sizeof desc);
    else if (!load_desc_gpa (queue, outer->addr + i * sizeof desc, &desc))
      return "an indirect table lies outside guest memory";
    if (desc.flags & VRING_DESC_F_INDIRECT)
      return "an indirect descriptor is nested";
    broken = vd_chain_append (builder, desc.addr, desc.len,
                              desc.flags & VRING_DESC_F_WRITE);
    if (broken != NULL)
      return broken;
    if (!(desc.flags & VRING_DESC_F_NEXT))
      return NULL;
    if (desc.next >= n_desc)
      return "an indirect descriptor's successor is outside its table";
    i = desc.next;
  }
}

static const char *
walk (VdQueue *queue, VdChainBuilder *builder, guint16 head)
{
  guint i = head;

  for (;;) {
    struct vring_desc desc = load_desc (&queue->ring.desc[i]);
    const char *broken;

    if (desc.flags & VRING_DESC_F_INDIRECT)
      return walk_indirect (queue, builder, &desc);
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

/* How many chains wait, at most @max; reads the driver's index only if those
 * that are known are fewer. */
static guint
available (VdQueue *queue, guint max)
{
  guint16 n = queue->avail_idx - queue->next_avail;

  if (n < max) {
    queue->avail_idx = load16 (&queue->ring.avail->idx, memory_order_acquire);
    n = queue->avail_idx - queue->next_avail;
    if (n > queue->size) {
      vd_queue_break (queue, "the avail index jumped");
      return 0;
    }
  }
  return MIN (n, max);
}

guint
vd_split_pop (VdQueue *queue, VdChain **chains, guint max)
{
  guint n = available (queue, max);

  for (guint i = 0; i < n; i++) {
    guint16 *at =
        &queue->ring.avail->ring[queue->next_avail & (queue->size - 1)];
    guint16 head = load16 (at, memory_order_relaxed);
    VdChain *chain;
    VdChainBuilder builder;
    const char *broken;

    if (head >= queue->size) {
      vd_queue_break (queue, "a head is outside the ring");
      return i;
    }
    chain = vd_queue_take_slot (queue);
    if (chain == NULL) {
      vd_queue_break (queue, "more chains are in flight than the ring has");
      return i;
    }
    chain->id = head;
    vd_chain_begin (&builder, chain);
    broken = walk (queue, &builder, head);
    if (broken != NULL) {
      vd_queue_return_slot (queue, chain);
      vd_queue_break (queue, broken);
      return i;
    }
    vd_chain_end (&builder);
    queue->next_avail++;
    chains[i] = chain;
  }
  return n;
}

void
vd_split_push (VdQueue *queue, const VdChain *chain, guint32 written)
{
  struct vring_used_elem *element =
      &queue->ring.used->ring[queue->used_idx & (queue->size - 1)];

  element->id = htole32 (chain->id);
  element->len = htole32 (written);
  queue->used_idx++;
}

gboolean
vd_split_publish (VdQueue *queue)
{
  guint16 new = queue->used_idx, old = queue->used_signalled, event;
  bool valid = queue->signalled_valid;

  if (new == queue->used_published)
    return FALSE;
  store16 (&queue->ring.used->idx, new, memory_order_release);
  queue->used_published = new;

  /* The driver writes its wish, then reads the index; we do the reverse. */
  atomic_thread_fence (memory_order_seq_cst);
  if (!queue->event_idx)
    return !(load16 (&queue->ring.avail->flags, memory_order_relaxed) &
             VRING_AVAIL_F_NO_INTERRUPT);
  event = load16 (used_event (queue), memory_order_relaxed);
  queue->used_signalled = new;
  queue->signalled_valid = true;
  return !valid || vring_need_event (event, new, old);
}

gboolean
vd_split_notifications (VdQueue *queue, gboolean on)
{
  if (queue->event_idx) {
    if (!on)
      return FALSE; /* an index that is left behind never asks for a kick */
    store16 (avail_event (queue), queue->next_avail, memory_order_relaxed);
  } else {
    if (queue->no_notify == !on)
      return FALSE;
    store16 (&queue->ring.used->flags, on ? 0 : VRING_USED_F_NO_NOTIFY,
             memory_order_relaxed);
    queue->no_notify = !on;
    if (!on)
      return FALSE;
  }
  /* A chain that came before the driver saw the wish brings no kick. */
  atomic_thread_fence (memory_order_seq_cst);
  return load16 (&queue->ring.avail->idx, memory_order_relaxed) !=
         queue->next_avail;
}
