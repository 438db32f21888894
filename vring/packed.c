/* SPDX-License-Identifier: BSD-3-Clause
 *
 * packed.c - the packed virtqueue (virtio 1.3, 2.8)
 *
 * One ring of descriptors, in which the driver makes chains available and we
 * write used elements over them.  Two wrap counters say whose a descriptor is.
 * The used elements of a batch become visible at once: the flags of the first
 * are written last.
 */
#include "vring/plain.h"

#define AVAIL_BIT (1u << VRING_PACKED_DESC_F_AVAIL)
#define USED_BIT  (1u << VRING_PACKED_DESC_F_USED)
#define WRAP_BIT  (1u << VRING_PACKED_EVENT_F_WRAP_CTR)

static inline struct vring_packed_desc *
descriptors (const VdQueue *queue)
{
  return queue->ring.desc;
}

static inline struct vring_packed_desc_event *
driver_event (const VdQueue *queue)
{
  return queue->ring.driver;
}

static inline struct vring_packed_desc_event *
device_event (const VdQueue *queue)
{
  return queue->ring.device;
}

static gboolean
packed_find (const VdQueue *queue, const VdMap *map, VdRing *ret)
{
  VdRing ring = { 0 };

  ring.desc = vd_map_uva (map, queue->desc_uva, 16 * (guint64) queue->size,
                          &ring.desc_gpa);
  ring.driver = vd_map_uva (map, queue->driver_uva, 4, NULL);
  ring.device = vd_map_uva (map, queue->device_uva, 4, &ring.device_gpa);
  if (ring.desc == NULL || ring.driver == NULL || ring.device == NULL ||
      (guintptr) ring.desc % VRING_DESC_ALIGN_SIZE != 0 ||
      (guintptr) ring.driver % sizeof (guint32) != 0 ||
      (guintptr) ring.device % sizeof (guint32) != 0)
    return FALSE;
  *ret = ring;
  return TRUE;
}

/* The base holds both indices with their wrap counters; a front-end that leaves
 * the upper half zero means that nothing is in flight.  One that knows only
 * split rings (User-Mode Linux) says 0 for a fresh ring, whose wrap counters
 * are 1; in a ring that has wrapped once the first descriptor was used. */
static const char *
packed_init (VdQueue *queue, guint32 base)
{
  guint16 avail = base & 0xffff, used = base >> 16;
  guint16 first =
      vd_load16 (&descriptors (queue)[0].flags, memory_order_relaxed);

  if (base == 0 && !(first & USED_BIT))
    avail = WRAP_BIT;
  if (used == 0)
    used = avail;
  queue->next_avail = avail & ~WRAP_BIT;
  queue->avail_wrap = (avail & WRAP_BIT) != 0;
  queue->used_idx = used & ~WRAP_BIT;
  queue->used_wrap = (used & WRAP_BIT) != 0;
  if (queue->next_avail >= queue->size || queue->used_idx >= queue->size)
    return "its base is outside the ring";
  queue->used_published = queue->used_signalled = queue->used_idx;
  return queue->inflight_part != NULL ? vd_inflight_packed_init (queue) : NULL;
}

static inline bool
is_available (bool wrap, guint16 flags)
{
  /* Both bits turn with the wrap counter. */
  return ((flags ^ -(guint) wrap) & (AVAIL_BIT | USED_BIT)) == USED_BIT;
}

static inline guint16
next_flags (const VdQueue *queue, memory_order order)
{
  return vd_load16 (&descriptors (queue)[queue->next_avail].flags, order);
}

static inline struct vring_packed_desc
to_host (struct vring_packed_desc desc)
{
  desc.addr = le64toh (desc.addr);
  desc.len = le32toh (desc.len);
  desc.id = le16toh (desc.id);
  desc.flags = le16toh (desc.flags);
  return desc;
}

static inline struct vring_packed_desc
load (const struct vring_packed_desc *table, guint i)
{
  struct vring_packed_desc desc;

  vd_load_desc (&desc, table + i);
  return to_host (desc);
}

/* All descriptors of the table, in its order (2.8.7). */
static const char *
walk_indirect (VdQueue *queue, VdChainBuilder *builder,
               const struct vring_packed_desc *outer)
{
  VdIndirect table;
  const char *broken =
      vd_indirect_open (queue, outer->addr, outer->len, &table);

  if (broken == NULL && table.n_desc > VD_CHAIN_MAX)
    return "an indirect table is too long";
  for (guint32 i = 0; broken == NULL && i < table.n_desc; i++) {
    struct vring_packed_desc desc;

    if (!vd_indirect_load (queue, &table, i, &desc))
      return "an indirect table lies outside guest memory";
    desc = to_host (desc);
    if (desc.flags & VRING_DESC_F_INDIRECT)
      return "an indirect descriptor is nested";
    broken = vd_chain_append (builder, desc.addr, desc.len,
                              desc.flags & VRING_DESC_F_WRITE);
  }
  return broken;
}

const char *
vd_packed_append (VdQueue *queue, VdChainBuilder *builder,
                  const struct vring_packed_desc *desc)
{
  if (!(desc->flags & VRING_DESC_F_INDIRECT))
    return vd_chain_append (builder, desc->addr, desc->len,
                            desc->flags & VRING_DESC_F_WRITE);
  if (desc->flags & VRING_DESC_F_NEXT || builder->n_desc > 0)
    return "an indirect descriptor is one of several";
  return walk_indirect (queue, builder, desc);
}

/* The buffers of the indirect table of @size bytes at @gpa, if they are plain. */
static G_GNUC_NO_INLINE bool
plain_table (const VdQueue *queue, guint64 gpa, guint32 size, VdChain *chain)
{
  struct iovec *iov = chain->few, *in = NULL;
  guint64 len = 0, out_len = 0;
  guint32 n = size / VD_PLAIN_DESC_SIZE;
  VdPlainCursor table = { .packed = true };
  guint8 *at;

  if (!vd_plain_find (queue, gpa, size, &at) ||
      size % VD_PLAIN_DESC_SIZE != 0 || n > VD_CHAIN_FEW)
    return false;
  table.at = (const void *) at;
  for (; n > 0; n--, table.at += 2) {
    guint32 kind;

    vd_plain_load (&table);
    kind = table.kind & (VRING_DESC_F_WRITE | VRING_DESC_F_INDIRECT);
    if (kind == VRING_DESC_F_WRITE && in == NULL) {
      in = iov;
      out_len = len;
    }
    if (kind != (in != NULL ? VRING_DESC_F_WRITE : 0) ||
        !vd_plain_put (queue, &table, iov++))
      return false;
    len += vd_plain_len (&table);
  }
  if (in == NULL) {
    in = iov;
    out_len = len;
  }
  vd_plain_end (chain, in, iov, out_len, len);
  return true;
}

/* The chain at next_avail, if it is plain.  Returns: the descriptors of the ring
 * that it takes; 0: there is none; less: it is not plain. */
VD_PLAIN_INLINE int
walk_plain (const VdQueue *queue, VdChain *chain)
{
  VdPlainCursor cursor = {
    .table = queue->ring.desc,
    .size = queue->size,
    .packed = true,
    .at =
        (const VdPlainWord *) queue->ring.desc + 2 * (gsize) queue->next_avail,
  };

  if (!is_available (queue->avail_wrap,
                     next_flags (queue, memory_order_acquire)))
    return 0;
  vd_plain_load (&cursor);
  if (cursor.kind & VRING_DESC_F_INDIRECT) {
    chain->id = (guint16) (cursor.rest >> 32);
    return !(cursor.kind & VRING_DESC_F_NEXT) &&
                   plain_table (queue, cursor.addr, vd_plain_len (&cursor),
                                chain)
               ? 1
               : -1;
  }
  if (!vd_plain_walk (queue, &cursor, chain))
    return -1;
  chain->id = (guint16) (cursor.rest >> 32); /* that of the last one counts */
  return (int) (chain->n_out + chain->n_in);
}

/* Walks the descriptors from next_avail on, which the caller found available;
 * the whole chain is, because the driver makes its first descriptor available
 * last (2.8.21). */
static const char *
walk (VdQueue *queue, VdChainBuilder *builder)
{
  VdChain *chain = builder->chain;
  guint16 at = queue->next_avail;

  for (chain->n_ring = 1;; chain->n_ring++) {
    struct vring_packed_desc desc = load (descriptors (queue), at);
    const char *broken;

    broken = vd_packed_append (queue, builder, &desc);
    if (broken == NULL && queue->inflight_part != NULL)
      broken = vd_inflight_packed_record (queue, &desc);
    if (broken != NULL)
      return broken;
    chain->id = desc.id; /* that of the last one counts */
    if (!(desc.flags & VRING_DESC_F_NEXT))
      return NULL;
    if (chain->n_ring == queue->size)
      return "a chain is longer than the ring";
    if (++at == queue->size)
      at = 0;
  }
}

/* Moves an index on by @n descriptors. */
static inline void
advance (const VdQueue *queue, guint16 *index, bool *wrap, guint n)
{
  guint next = *index + n;

  if (next >= queue->size) {
    next -= queue->size;
    *wrap = !*wrap;
  }
  *index = (guint16) next;
}

void
vd_packed_advance (const VdQueue *queue, guint16 *index, bool *wrap, guint n)
{
  advance (queue, index, wrap, n);
}

gboolean
vd_packed_is_available (const VdQueue *queue, guint16 index, bool wrap)
{
  return is_available (wrap, vd_load16 (&descriptors (queue)[index].flags,
                                        memory_order_acquire));
}

void
vd_packed_make_available (VdQueue *queue, guint16 index, bool wrap)
{
  vd_store16 (&descriptors (queue)[index].flags, wrap ? AVAIL_BIT : USED_BIT,
              memory_order_relaxed);
  vd_dirty_ring (
      queue, queue->ring.desc_gpa + index * sizeof (struct vring_packed_desc),
      sizeof (struct vring_packed_desc));
}

/* The next chain of the ring, or of those to be submitted again, that is not
 * plain.  Returns: what is wrong with it, if anything. */
static G_GNUC_NO_INLINE const char *
walk_any (VdQueue *queue, VdChain *chain, bool again)
{
  VdChainBuilder builder;
  const char *broken;

  vd_chain_begin (&builder, chain);
  if (again)
    broken = vd_inflight_packed_again (queue, &builder,
                                       queue->again[queue->next_again]);
  else {
    if (queue->inflight_part != NULL)
      vd_inflight_packed_begin (queue, chain);
    broken = walk (queue, &builder);
    if (broken == NULL && queue->inflight_part != NULL)
      vd_inflight_packed_pop (queue, chain);
  }
  vd_chain_end (&builder);
  return broken;
}

/* Pops one chain of any kind.  Returns: NULL if there is none, or if that broke
 * the queue. */
static G_GNUC_NO_INLINE VdChain *
pop_any (VdQueue *queue)
{
  bool again = queue->next_again < queue->n_again;
  VdChain *chain;
  const char *broken;

  if (!again && !is_available (queue->avail_wrap,
                               next_flags (queue, memory_order_acquire)))
    return NULL;
  chain = vd_queue_take_slot (queue);
  if (chain == NULL) {
    vd_queue_break (queue, "more chains are in flight than the ring has");
    return NULL;
  }
  broken = walk_any (queue, chain, again);
  if (broken != NULL) {
    vd_queue_give_back (queue, chain, broken);
    return NULL;
  }
  if (again)
    queue->next_again++;
  else
    advance (queue, &queue->next_avail, &queue->avail_wrap, chain->n_ring);
  return chain;
}

static guint
packed_pop (VdQueue *queue, VdChain **chains, guint max)
{
  bool plain = queue->plain && queue->next_again == queue->n_again;
  guint n = 0;

  for (; n < max; n++) {
    VdChain *chain = queue->free;
    int n_ring = -1;

    if (G_LIKELY (plain && chain != NULL))
      n_ring = walk_plain (queue, chain);
    if (G_LIKELY (n_ring > 0)) {
      vd_queue_take_free (queue, chain);
      chain->n_ring = (guint16) n_ring;
      advance (queue, &queue->next_avail, &queue->avail_wrap, (guint) n_ring);
    } else if (n_ring == 0 || (chain = pop_any (queue)) == NULL)
      break;
    chains[n] = chain;
  }
  return n;
}

static G_GNUC_NO_INLINE void
record_push (VdQueue *queue, const VdChain *chain, guint at)
{
  vd_dirty_ring (queue,
                 queue->ring.desc_gpa + at * sizeof (struct vring_packed_desc),
                 sizeof (struct vring_packed_desc));
  if (queue->inflight_part != NULL)
    vd_inflight_packed_push (queue, chain);
}

static void
packed_push (VdQueue *queue, const VdChain *chain, guint32 written)
{
  guint16 at = queue->used_idx;
  struct vring_packed_desc *desc = &descriptors (queue)[at];
  guint16 flags = (-(guint) queue->used_wrap & (AVAIL_BIT | USED_BIT)) |
                  (written > 0 ? VRING_DESC_F_WRITE : 0);

  desc->id = htole16 (chain->id);
  desc->len = htole32 (written);
  if (!queue->unpublished) {
    queue->unpublished = true;
    queue->used_first = at;
    queue->used_first_flags = flags;
  } else
    vd_store16 (&desc->flags, flags, memory_order_relaxed);
  advance (queue, &queue->used_idx, &queue->used_wrap, chain->n_ring);
  if (G_UNLIKELY (queue->recorded))
    record_push (queue, chain, at);
}

static gboolean
wants_notification (VdQueue *queue, guint16 new, guint16 old, bool valid)
{
  const struct vring_packed_desc_event *event = driver_event (queue);
  guint16 flags = vd_load16 (&event->flags, memory_order_acquire) & 3;
  guint16 off_wrap, off;

  if (flags != VRING_PACKED_EVENT_FLAG_DESC || !queue->event_idx)
    return flags != VRING_PACKED_EVENT_FLAG_DISABLE;
  off_wrap = vd_load16 (&event->off_wrap, memory_order_relaxed);
  off = off_wrap & (WRAP_BIT - 1);
  if (!!(off_wrap & WRAP_BIT) != queue->used_wrap)
    off -= queue->size;
  if (new <= old)
    old -= queue->size;
  return !valid || vring_need_event (off, new, old);
}

static gboolean
packed_publish (VdQueue *queue)
{
  guint16 old = queue->used_signalled;
  bool valid = queue->signalled_valid;

  if (!queue->unpublished)
    return FALSE;
  if (queue->inflight_part != NULL)
    vd_inflight_packed_prepare (queue);
  vd_store16 (&descriptors (queue)[queue->used_first].flags,
              queue->used_first_flags, memory_order_release);
  vd_dirty_ring (queue,
                 queue->ring.desc_gpa +
                     queue->used_first * sizeof (struct vring_packed_desc),
                 sizeof (struct vring_packed_desc));
  queue->unpublished = false;
  if (queue->inflight_part != NULL)
    vd_inflight_packed_publish (queue);
  queue->used_signalled = queue->used_idx;
  queue->signalled_valid = true;
  atomic_thread_fence (memory_order_seq_cst);
  return wants_notification (queue, queue->used_idx, old, valid);
}

static gboolean
packed_notifications (VdQueue *queue, gboolean on)
{
  struct vring_packed_desc_event *event = device_event (queue);
  guint16 flags = !on                ? VRING_PACKED_EVENT_FLAG_DISABLE
                  : queue->event_idx ? VRING_PACKED_EVENT_FLAG_DESC
                                     : VRING_PACKED_EVENT_FLAG_ENABLE;

  if (!on && queue->no_notify)
    return FALSE;
  if (on && queue->event_idx)
    vd_store16 (&event->off_wrap,
                queue->next_avail | (queue->avail_wrap ? WRAP_BIT : 0),
                memory_order_relaxed);
  vd_store16 (&event->flags, flags, memory_order_release);
  vd_dirty_ring (queue, queue->ring.device_gpa, sizeof *event);
  queue->no_notify = !on;
  if (!on)
    return FALSE;
  atomic_thread_fence (memory_order_seq_cst);
  return is_available (queue->avail_wrap,
                       next_flags (queue, memory_order_relaxed));
}

static guint32
packed_base (const VdQueue *queue)
{
  guint32 avail = queue->next_avail | (queue->avail_wrap ? WRAP_BIT : 0);
  guint32 used = queue->used_idx | (queue->used_wrap ? WRAP_BIT : 0);

  return used << 16 | avail;
}

const VdRingOps vd_packed_ops = {
  .find = packed_find,
  .init = packed_init,
  .pop = packed_pop,
  .push = packed_push,
  .publish = packed_publish,
  .notifications = packed_notifications,
  .base = packed_base,
};
