/* SPDX-License-Identifier: BSD-3-Clause
 *
 * ring-private.h - what the two ring formats share, for ring*.c only
 *
 * The index exchange uses sequentially consistent loads and stores instead of
 * fences, which ThreadSanitizer does not know: an index is stored, then the
 * other side's event field is loaded (virtio 1.3, 2.7.13.3 and 2.7.14).
 */
#pragma once

#include "tests/lib/ring.h"

/* One for each descriptor: in a split ring by its head, in a packed one by the
 * chain's id. */
struct VtRingSlot {
  gpointer token;     /* of the chain */
  gboolean in_flight; /* the device has it */
  guint16 next;       /* split: next descriptor of the same chain */
  guint16 n_descs;    /* descriptors in the ring; split 0: the test's own */
  guint64 writable;   /* bytes that the device may write */
  void *table;        /* indirect table, kept for later chains */
  guint table_size;   /* its entries */
};

struct VtRingOps {
  gsize (*driver_size) (guint size); /* bytes of the driver's area */
  gsize (*device_size) (guint size);
  void (*reset) (VtRing *ring, guint32 base);
  gboolean (*add) (VtRing *ring, const VtBuf *bufs, guint n_bufs,
                   guint n_direct, gpointer token);
  void (*publish) (VtRing *ring);
  /* Whether the device wants to know what was published since the last call. */
  gboolean (*wants_kick) (VtRing *ring);
  gboolean (*has_used) (VtRing *ring);
  /* Takes the next used element, which is there.  Returns: its slot. */
  VtRingSlot *(*get) (VtRing *ring, guint32 *ret_len);
  /* Tells the device whether and when to notify. */
  void (*arm) (VtRing *ring);
  guint32 (*base) (VtRing *ring);
};

extern const VtRingOps vt_split_ops, vt_packed_ops;

static inline guint16
vt_load16 (const void *at)
{
  return GUINT16_FROM_LE (
      __atomic_load_n ((const guint16 *) at, __ATOMIC_SEQ_CST));
}

static inline void
vt_store16 (void *at, guint16 value)
{
  __atomic_store_n ((guint16 *) at, GUINT16_TO_LE (value), __ATOMIC_SEQ_CST);
}

/* Whether @event lies in what was passed on the way from @old to @new. */
static inline gboolean
vt_event_passed (guint16 event, guint16 new, guint16 old)
{
  return (guint16) (new - event - 1) < (guint16) (new - old);
}

/* The chain of @slot is about to be shown to the device. */
void vt_ring_init_slot (VtRing *ring, VtRingSlot *slot, const VtBuf *bufs,
                        guint n_bufs, guint n_descs, gpointer token);

/* Returns: room for an indirect table of @n_bufs in the slot's own memory;
 * split and packed descriptors have the same size. */
void *vt_ring_table (VtRing *ring, VtRingSlot *slot, guint n_bufs);
