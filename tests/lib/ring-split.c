/* SPDX-License-Identifier: BSD-3-Clause
 *
 * The driver's side of split rings (virtio 1.3, 2.7).
 */
#include "tests/lib/ring-private.h"

#include <string.h>

static __virtio16 *
used_event (VtRing *ring)
{
  return &ring->avail->ring[ring->size];
}

static __virtio16 *
avail_event (VtRing *ring)
{
  return (__virtio16 *) (void *) &ring->used->ring[ring->size];
}

gsize
vt_ring_avail_size (guint size)
{
  return 6 + 2 * size;
}

gsize
vt_ring_used_size (guint size)
{
  return 6 + 8 * size;
}

static void
split_reset (VtRing *ring, guint32 base)
{
  for (guint i = 0; i < ring->size; i++)
    ring->free_ids[i] = ring->size - 1 - i; /* 0 is taken first */
  ring->n_free = ring->size;
  ring->avail_idx = ring->published = ring->kicked = ring->last_used = base;
  vt_store16 (&ring->used->idx, base);
  vt_store16 (&ring->avail->idx, base);
}

void
vt_desc_write (struct vring_desc *desc, guint64 gpa, guint32 len, guint16 flags,
               guint16 next)
{
  desc->addr = GUINT64_TO_LE (gpa);
  desc->len = GUINT32_TO_LE (len);
  desc->flags = GUINT16_TO_LE (flags);
  desc->next = GUINT16_TO_LE (next);
}

static void
write_buf (VtRing *ring, struct vring_desc *desc, const VtBuf *buf,
           guint16 flags, guint16 next)
{
  vt_desc_write (desc, vt_guest_gpa (ring->guest, buf->ptr), buf->len,
                 flags | (buf->writable ? VRING_DESC_F_WRITE : 0), next);
}

/* Fills the indirect table that belongs to descriptor @id. */
static void
write_table (VtRing *ring, guint16 id, const VtBuf *bufs, guint n_bufs)
{
  struct vring_desc *table = vt_ring_table (ring, &ring->slots[id], n_bufs);

  for (guint i = 0; i < n_bufs; i++)
    write_buf (ring, &table[i], &bufs[i],
               i + 1 < n_bufs ? VRING_DESC_F_NEXT : 0, i + 1);
  vt_desc_write (&ring->desc[id], vt_guest_gpa (ring->guest, table),
                 n_bufs * sizeof *table, VRING_DESC_F_INDIRECT, 0);
}

static void
push_avail (VtRing *ring, guint16 head)
{
  ring->avail->ring[ring->avail_idx % ring->size] = GUINT16_TO_LE (head);
  ring->avail_idx++;
  ring->n_pushed++;
}

static gboolean
split_add (VtRing *ring, const VtBuf *bufs, guint n_bufs, guint n_direct,
           gpointer token)
{
  guint n_descs = n_direct + (n_direct < n_bufs);
  guint16 id, head;

  if (ring->n_free < n_descs)
    return FALSE;
  head = ring->free_ids[ring->n_free - 1];
  for (guint i = 0; i < n_descs; i++) {
    gboolean more = i + 1 < n_descs;

    id = ring->free_ids[--ring->n_free];
    ring->slots[id].next = more ? ring->free_ids[ring->n_free - 1] : 0;
    if (i < n_direct)
      write_buf (ring, &ring->desc[id], &bufs[i], more ? VRING_DESC_F_NEXT : 0,
                 ring->slots[id].next);
    else
      write_table (ring, id, bufs + i, n_bufs - i);
  }
  vt_ring_init_slot (ring, &ring->slots[head], bufs, n_bufs, n_descs, token);
  push_avail (ring, head);
  return TRUE;
}

void
vt_ring_raw_add (VtRing *ring, guint16 head, gpointer token)
{
  if (token) {
    g_assert_cmpuint (head, <, ring->size);
    vt_ring_init_slot (ring, &ring->slots[head], NULL, 0, 0, token);
    ring->slots[head].writable = G_MAXUINT32;
  }
  push_avail (ring, head);
}

void
vt_ring_raw_publish (VtRing *ring, guint16 idx)
{
  ring->published = idx;
  vt_store16 (&ring->avail->idx, idx);
}

static void
split_publish (VtRing *ring)
{
  vt_ring_raw_publish (ring, ring->avail_idx);
}

static gboolean
split_wants_kick (VtRing *ring)
{
  guint16 new = ring->published, old = ring->kicked;

  ring->kicked = new;
  if (ring->flags & VT_RING_EVENT_IDX)
    return vt_event_passed (vt_load16 (avail_event (ring)), new, old);
  return !(vt_load16 (&ring->used->flags) & VRING_USED_F_NO_NOTIFY);
}

/* "No notification" is, with EVENT_IDX, an index that is half a turn away: the
 * element before the next one would lie in what the device publishes just now. */
static void
split_arm (VtRing *ring)
{
  if (ring->flags & VT_RING_EVENT_IDX)
    vt_store16 (used_event (ring),
                ring->last_used + (ring->interrupts ? 0 : 0x8000));
  else
    vt_store16 (&ring->avail->flags,
                ring->interrupts ? 0 : VRING_AVAIL_F_NO_INTERRUPT);
}

static gboolean
split_has_used (VtRing *ring)
{
  guint16 idx = vt_load16 (&ring->used->idx);

  g_assert_cmpuint ((guint16) (idx - ring->last_used), <=, ring->size);
  return idx != ring->last_used;
}

static void
free_chain (VtRing *ring, guint16 head)
{
  guint16 id = head;

  for (guint i = 0; i < ring->slots[head].n_descs; i++) {
    g_assert_cmpuint (ring->n_free, <, ring->size);
    ring->free_ids[ring->n_free++] = id;
    id = ring->slots[id].next;
  }
}

static VtRingSlot *
split_get (VtRing *ring, guint32 *ret_len)
{
  vring_used_elem_t elem = ring->used->ring[ring->last_used % ring->size];
  guint32 id = GUINT32_FROM_LE (elem.id);

  g_assert_cmpuint (id, <, ring->size);
  g_assert_true (ring->slots[id].in_flight); /* used twice? */
  free_chain (ring, id);
  ring->last_used++;
  *ret_len = GUINT32_FROM_LE (elem.len);
  return &ring->slots[id];
}

static guint32
split_base (VtRing *ring)
{
  return ring->published;
}

const VtRingOps vt_split_ops = {
  .driver_size = vt_ring_avail_size,
  .device_size = vt_ring_used_size,
  .reset = split_reset,
  .add = split_add,
  .publish = split_publish,
  .wants_kick = split_wants_kick,
  .has_used = split_has_used,
  .get = split_get,
  .arm = split_arm,
  .base = split_base,
};
