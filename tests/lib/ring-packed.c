/* SPDX-License-Identifier: BSD-3-Clause
 *
 * The driver's side of packed rings (virtio 1.3, 2.8).
 */
#include "tests/lib/ring-private.h"

#include <string.h>

#define AVAIL (1u << VRING_PACKED_DESC_F_AVAIL)
#define USED  (1u << VRING_PACKED_DESC_F_USED)
#define WRAP  (1u << VRING_PACKED_EVENT_F_WRAP_CTR)

typedef struct vring_packed_desc Desc;
typedef struct vring_packed_desc_event Event;

static Desc *
descs (VtRing *ring)
{
  return (Desc *) (void *) ring->desc;
}

static Event *
driver_event (VtRing *ring)
{
  return (Event *) (void *) ring->avail;
}

static Event *
device_event (VtRing *ring)
{
  return (Event *) (void *) ring->used;
}

static gsize
event_size (guint size)
{
  return sizeof (Event);
}

/* Splits an index with its wrap counter, as a base has two of them. */
static void
set_index (guint16 value, guint16 *index, gboolean *wrap)
{
  *index = value & (WRAP - 1);
  *wrap = (value & WRAP) != 0;
}

static guint16
get_index (guint16 index, gboolean wrap)
{
  return index | (wrap ? WRAP : 0);
}

static void
packed_reset (VtRing *ring, guint32 base)
{
  guint16 at = base ? base : WRAP; /* the first round has its counters at 1 */

  for (guint i = 0; i < ring->size; i++)
    ring->free_ids[i] = i; /* the last one is taken first */
  ring->n_free = ring->n_free_ids = ring->size;
  set_index (at, &ring->avail_idx, &ring->avail_wrap);
  set_index (at, &ring->last_used, &ring->used_wrap);
  ring->published = ring->avail_idx;
  ring->n_unkicked = 0;
  ring->staged = NULL;
}

static void
advance (const VtRing *ring, guint16 *index, gboolean *wrap, guint n)
{
  guint next = *index + n;

  if (next >= ring->size) {
    next -= ring->size;
    *wrap = !*wrap;
  }
  *index = next;
}

static void
write_desc (Desc *desc, guint64 gpa, guint32 len, guint16 id)
{
  desc->addr = GUINT64_TO_LE (gpa);
  desc->len = GUINT32_TO_LE (len);
  desc->id = GUINT16_TO_LE (id);
}

/* Makes the next descriptor available, but for the first one since the last
 * publish(), whose flags make all of them visible. */
static void
push_desc (VtRing *ring, guint64 gpa, guint32 len, guint16 id, guint16 flags)
{
  Desc *desc = &descs (ring)[ring->avail_idx];

  flags |= ring->avail_wrap ? AVAIL : USED;
  write_desc (desc, gpa, len, id);
  if (ring->staged)
    vt_store16 (&desc->flags, flags);
  else {
    ring->staged = desc;
    ring->staged_flags = flags;
  }
  advance (ring, &ring->avail_idx, &ring->avail_wrap, 1);
}

static guint16
write_flag (const VtBuf *buf)
{
  return buf->writable ? VRING_DESC_F_WRITE : 0;
}

static void
push_table (VtRing *ring, guint16 id, const VtBuf *bufs, guint n_bufs)
{
  Desc *table = vt_ring_table (ring, &ring->slots[id], n_bufs);

  for (guint i = 0; i < n_bufs; i++) {
    write_desc (&table[i], vt_guest_gpa (ring->guest, bufs[i].ptr), bufs[i].len,
                0xffff); /* has no meaning there */
    table[i].flags = GUINT16_TO_LE (write_flag (&bufs[i]));
  }
  push_desc (ring, vt_guest_gpa (ring->guest, table), n_bufs * sizeof *table,
             id, VRING_DESC_F_INDIRECT);
}

static gboolean
packed_add (VtRing *ring, const VtBuf *bufs, guint n_bufs, guint n_direct,
            gpointer token)
{
  gboolean direct = n_direct == n_bufs; /* the two do not mix */
  guint n_descs = direct ? n_bufs : 1;
  guint16 id;

  if (ring->n_free < n_descs || ring->n_free_ids == 0)
    return FALSE;
  id = ring->free_ids[--ring->n_free_ids];
  ring->n_free -= n_descs;
  vt_ring_init_slot (ring, &ring->slots[id], bufs, n_bufs, n_descs, token);
  if (!direct)
    push_table (ring, id, bufs, n_bufs);
  for (guint i = 0; direct && i < n_bufs; i++)
    push_desc (ring, vt_guest_gpa (ring->guest, bufs[i].ptr), bufs[i].len, id,
               write_flag (&bufs[i]) |
                   (i + 1 < n_bufs ? VRING_DESC_F_NEXT : 0));
  ring->n_unkicked += n_descs;
  ring->n_pushed++;
  return TRUE;
}

static void
packed_publish (VtRing *ring)
{
  if (ring->staged)
    vt_store16 (&((Desc *) ring->staged)->flags, ring->staged_flags);
  ring->staged = NULL;
  ring->published = ring->avail_idx;
}

static gboolean
packed_wants_kick (VtRing *ring)
{
  guint16 new = ring->avail_idx, old = new - ring->n_unkicked, event;
  guint16 off_wrap, flags = vt_load16 (&device_event (ring)->flags);

  ring->n_unkicked = 0;
  if (flags != VRING_PACKED_EVENT_FLAG_DESC)
    return flags == VRING_PACKED_EVENT_FLAG_ENABLE;
  g_assert_true (ring->flags & VT_RING_EVENT_IDX);
  off_wrap = vt_load16 (&device_event (ring)->off_wrap);
  event = off_wrap & (WRAP - 1);
  g_assert_cmpuint (event, <, ring->size);
  if (((off_wrap & WRAP) != 0) != ring->avail_wrap)
    event -= ring->size;
  return vt_event_passed (event, new, old);
}

static void
packed_arm (VtRing *ring)
{
  guint16 flags = !ring->interrupts ? VRING_PACKED_EVENT_FLAG_DISABLE
                  : ring->flags & VT_RING_EVENT_IDX
                      ? VRING_PACKED_EVENT_FLAG_DESC
                      : VRING_PACKED_EVENT_FLAG_ENABLE;

  vt_store16 (&driver_event (ring)->off_wrap,
              get_index (ring->last_used, ring->used_wrap));
  vt_store16 (&driver_event (ring)->flags, flags);
}

static gboolean
packed_has_used (VtRing *ring)
{
  guint16 flags = vt_load16 (&descs (ring)[ring->last_used].flags);

  return ((flags & AVAIL) != 0) == ring->used_wrap &&
         ((flags & USED) != 0) == ring->used_wrap;
}

static VtRingSlot *
packed_get (VtRing *ring, guint32 *ret_len)
{
  Desc desc = descs (ring)[ring->last_used];
  guint16 id = GUINT16_FROM_LE (desc.id);
  VtRingSlot *slot = &ring->slots[id];

  g_assert_cmpuint (id, <, ring->size);
  g_assert_true (slot->in_flight); /* used twice? */
  *ret_len = GUINT32_FROM_LE (desc.len);
  if (!(GUINT16_FROM_LE (desc.flags) & VRING_DESC_F_WRITE))
    g_assert_cmpuint (*ret_len, ==, 0);
  ring->free_ids[ring->n_free_ids++] = id;
  ring->n_free += slot->n_descs;
  advance (ring, &ring->last_used, &ring->used_wrap, slot->n_descs);
  return slot;
}

static guint32
packed_base (VtRing *ring)
{
  return (guint32) get_index (ring->last_used, ring->used_wrap) << 16 |
         get_index (ring->avail_idx, ring->avail_wrap);
}

const VtRingOps vt_packed_ops = {
  .driver_size = event_size,
  .device_size = event_size,
  .reset = packed_reset,
  .add = packed_add,
  .publish = packed_publish,
  .wants_kick = packed_wants_kick,
  .has_used = packed_has_used,
  .get = packed_get,
  .arm = packed_arm,
  .base = packed_base,
};
