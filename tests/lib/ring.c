/* SPDX-License-Identifier: BSD-3-Clause
 *
 * The index exchange uses sequentially consistent loads and stores instead of
 * fences, which ThreadSanitizer does not know: an index is stored, then the
 * other side's event field is loaded (virtio 1.3, 2.7.13.3 and 2.7.14).
 */
#include "tests/lib/ring.h"

#include <errno.h>
#include <fcntl.h>
#include <poll.h>
#include <sys/eventfd.h>
#include <sys/socket.h>
#include <unistd.h>

struct VtRingSlot {
  gpointer token;           /* of the chain that begins here */
  guint16 next;             /* next descriptor of the same chain */
  gboolean in_flight;       /* head of a chain that the device has */
  guint16 n_descs;          /* of the chain; 0: the test's own */
  guint64 writable;         /* bytes that the device may write */
  struct vring_desc *table; /* kept for later chains */
  guint table_size;         /* entries */
};

static guint16
load16 (const __virtio16 *at)
{
  return GUINT16_FROM_LE (__atomic_load_n (at, __ATOMIC_SEQ_CST));
}

static void
store16 (__virtio16 *at, guint16 value)
{
  __atomic_store_n (at, GUINT16_TO_LE (value), __ATOMIC_SEQ_CST);
}

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
open_call_fd (VtRing *ring)
{
  int pair[2], efd = ring->flags & VT_RING_BLOCKING ? 0 : EFD_NONBLOCK;

  if (ring->flags & VT_RING_STREAM_CALL) {
    g_assert_no_errno (
        socketpair (AF_UNIX, SOCK_STREAM | SOCK_CLOEXEC, 0, pair));
    ring->call_read_fd = pair[0];
    ring->call_fd = pair[1];
  } else {
    ring->call_fd = ring->call_read_fd = eventfd (0, EFD_CLOEXEC | efd);
    g_assert_no_errno (ring->call_fd);
  }
}

static void
close_call_fd (VtRing *ring)
{
  close (ring->call_fd);
  if (ring->call_read_fd != ring->call_fd)
    close (ring->call_read_fd);
}

VtRing *
vt_ring_new (VtGuest *guest, guint index, guint16 size, VtRingFlags flags)
{
  VtRing *ring = g_new0 (VtRing, 1);
  int efd = flags & VT_RING_BLOCKING ? 0 : EFD_NONBLOCK;

  g_assert_true (size && (size & (size - 1)) == 0);
  ring->guest = guest;
  ring->index = index;
  ring->size = size;
  ring->flags = flags;
  /* No more aligned than the specification asks for. */
  ring->desc = vt_guest_alloc (guest, sizeof ring->desc[0] * size, 16);
  ring->avail = vt_guest_alloc (guest, vt_ring_avail_size (size), 2);
  ring->used = vt_guest_alloc (guest, vt_ring_used_size (size), 4);
  ring->kick_fd = eventfd (0, EFD_CLOEXEC | efd);
  ring->err_fd = eventfd (0, EFD_CLOEXEC | efd);
  g_assert_cmpint (MIN (ring->kick_fd, ring->err_fd), >=, 0);
  open_call_fd (ring);
  ring->slots = g_new0 (VtRingSlot, size);
  ring->free_descs = g_new0 (guint16, size);
  vt_ring_reset (ring, 0);
  return ring;
}

void
vt_ring_free (VtRing *ring)
{
  if (!ring)
    return;
  close (ring->kick_fd);
  close (ring->err_fd);
  close_call_fd (ring);
  g_free (ring->slots);
  g_free (ring->free_descs);
  g_free (ring);
}

void
vt_ring_renew_call_fd (VtRing *ring)
{
  vt_ring_drain_calls (ring);
  close_call_fd (ring);
  open_call_fd (ring);
}

void
vt_ring_reset (VtRing *ring, guint16 base)
{
  memset (ring->desc, 0, sizeof ring->desc[0] * ring->size);
  memset (ring->avail, 0, vt_ring_avail_size (ring->size));
  memset (ring->used, 0, vt_ring_used_size (ring->size));
  for (guint i = 0; i < ring->size; i++) {
    ring->free_descs[i] = ring->size - 1 - i; /* 0 is taken first */
    ring->slots[i].in_flight = FALSE;
  }
  ring->n_free = ring->size;
  ring->avail_idx = ring->published = ring->kicked = ring->last_used = base;
  store16 (&ring->used->idx, base);
  store16 (&ring->avail->idx, base);
  vt_ring_set_interrupts (ring, TRUE);
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
  VtRingSlot *slot = &ring->slots[id];

  if (slot->table_size < n_bufs) { /* doubling bounds what is left behind */
    slot->table_size = MAX (n_bufs, 2 * slot->table_size);
    slot->table = vt_guest_alloc (ring->guest,
                                  slot->table_size * sizeof *slot->table, 16);
  }
  for (guint i = 0; i < n_bufs; i++)
    write_buf (ring, &slot->table[i], &bufs[i],
               i + 1 < n_bufs ? VRING_DESC_F_NEXT : 0, i + 1);
  vt_desc_write (&ring->desc[id], vt_guest_gpa (ring->guest, slot->table),
                 n_bufs * sizeof *slot->table, VRING_DESC_F_INDIRECT, 0);
}

static void
push_avail (VtRing *ring, guint16 head)
{
  ring->avail->ring[ring->avail_idx % ring->size] = GUINT16_TO_LE (head);
  ring->avail_idx++;
}

static void
init_slot (VtRing *ring, guint16 head, guint n_descs, gpointer token)
{
  VtRingSlot *slot = &ring->slots[head];

  slot->token = token;
  slot->in_flight = TRUE;
  slot->n_descs = n_descs;
  slot->writable = 0;
  ring->n_added++;
}

gboolean
vt_ring_add_mixed (VtRing *ring, const VtBuf *bufs, guint n_bufs,
                   guint n_direct, gpointer token)
{
  guint n_descs = n_direct + (n_direct < n_bufs);
  guint16 id, head;

  g_assert_true (token && n_descs && n_direct <= n_bufs);
  if (ring->n_free < n_descs)
    return FALSE;
  head = id = ring->free_descs[ring->n_free - 1];
  for (guint i = 0; i < n_descs; i++) {
    gboolean more = i + 1 < n_descs;

    id = ring->free_descs[--ring->n_free];
    ring->slots[id].next = more ? ring->free_descs[ring->n_free - 1] : 0;
    if (i < n_direct)
      write_buf (ring, &ring->desc[id], &bufs[i], more ? VRING_DESC_F_NEXT : 0,
                 ring->slots[id].next);
    else
      write_table (ring, id, bufs + i, n_bufs - i);
  }
  init_slot (ring, head, n_descs, token);
  for (guint i = 0; i < n_bufs; i++)
    ring->slots[head].writable += bufs[i].writable ? bufs[i].len : 0;
  push_avail (ring, head);
  return TRUE;
}

gboolean
vt_ring_add (VtRing *ring, const VtBuf *bufs, guint n_bufs, gpointer token)
{
  gboolean indirect = ring->flags & VT_RING_INDIRECT && n_bufs > 1;

  return vt_ring_add_mixed (ring, bufs, n_bufs, indirect ? 0 : n_bufs, token);
}

void
vt_ring_raw_add (VtRing *ring, guint16 head, gpointer token)
{
  if (token) {
    g_assert_cmpuint (head, <, ring->size);
    init_slot (ring, head, 0, token);
    ring->slots[head].writable = G_MAXUINT32;
  }
  push_avail (ring, head);
}

void
vt_ring_raw_publish (VtRing *ring, guint16 idx)
{
  ring->published = idx;
  store16 (&ring->avail->idx, idx);
}

void
vt_ring_publish (VtRing *ring)
{
  vt_ring_raw_publish (ring, ring->avail_idx);
}

void
vt_ring_kick_always (VtRing *ring)
{
  g_assert_no_errno (eventfd_write (ring->kick_fd, 1));
  ring->n_kicks++;
}

static gboolean
device_wants_kick (VtRing *ring)
{
  guint16 event = load16 (avail_event (ring));

  if (ring->flags & VT_RING_EVENT_IDX)
    return (guint16) (ring->published - event - 1) <
           (guint16) (ring->published - ring->kicked);
  return !(load16 (&ring->used->flags) & VRING_USED_F_NO_NOTIFY);
}

gboolean
vt_ring_kick (VtRing *ring)
{
  gboolean wanted;

  vt_ring_publish (ring);
  if (ring->published == ring->kicked)
    return FALSE;
  wanted = device_wants_kick (ring);
  ring->kicked = ring->published;
  if (wanted)
    vt_ring_kick_always (ring);
  else
    ring->n_kicks_kept++;
  return wanted;
}

/* Tells the device at which used index to notify. */
static void
arm (VtRing *ring)
{
  if (ring->flags & VT_RING_EVENT_IDX)
    store16 (used_event (ring), ring->last_used - !ring->interrupts);
  else
    store16 (&ring->avail->flags,
             ring->interrupts ? 0 : VRING_AVAIL_F_NO_INTERRUPT);
}

void
vt_ring_set_interrupts (VtRing *ring, gboolean wanted)
{
  ring->interrupts = wanted;
  arm (ring);
}

static gboolean
has_used (VtRing *ring)
{
  guint16 idx = load16 (&ring->used->idx);

  g_assert_cmpuint ((guint16) (idx - ring->last_used), <=, ring->size);
  return idx != ring->last_used;
}

static void
free_chain (VtRing *ring, guint16 head)
{
  guint16 id = head;

  for (guint i = 0; i < ring->slots[head].n_descs; i++) {
    g_assert_cmpuint (ring->n_free, <, ring->size);
    ring->free_descs[ring->n_free++] = id;
    id = ring->slots[id].next;
  }
  ring->slots[head].in_flight = FALSE;
}

gpointer
vt_ring_get (VtRing *ring, guint32 *written)
{
  vring_used_elem_t elem;
  guint32 id, len;

  if (!has_used (ring))
    return NULL;
  elem = ring->used->ring[ring->last_used % ring->size];
  id = GUINT32_FROM_LE (elem.id);
  len = GUINT32_FROM_LE (elem.len);
  g_assert_cmpuint (id, <, ring->size);
  g_assert_true (ring->slots[id].in_flight); /* used twice? */
  g_assert_cmpuint (len, <=, ring->slots[id].writable);
  free_chain (ring, id);
  ring->last_used++;
  ring->n_used++;
  arm (ring);
  if (written)
    *written = len;
  return ring->slots[id].token;
}

guint64
vt_ring_drain_calls (VtRing *ring)
{
  struct pollfd pfd = { .fd = ring->call_read_fd, .events = POLLIN };
  guint64 total = 0, count;

  while (poll (&pfd, 1, 0) > 0) {
    if (read (pfd.fd, &count, sizeof count) != sizeof count)
      g_error ("bad notification: %s", g_strerror (errno));
    total += count;
  }
  ring->n_calls += total;
  return total;
}

static int
ms_until (gint64 deadline)
{
  return MAX (0, (deadline - g_get_monotonic_time () + 999) / 1000);
}

gboolean
vt_ring_wait (VtRing *ring, int timeout_ms)
{
  gint64 deadline = g_get_monotonic_time () + timeout_ms * 1000ll;

  while (!has_used (ring)) {
    if (!ring->interrupts) { /* the driver polls */
      if (g_get_monotonic_time () >= deadline)
        return FALSE;
      g_usleep (50);
      continue;
    }
    if (!vt_wait_readable (ring->call_read_fd, ms_until (deadline))) {
      if (has_used (ring))
        g_error ("ring %u: used element %u came without a notification",
                 ring->index, ring->last_used);
      return FALSE;
    }
    vt_ring_drain_calls (ring);
  }
  return TRUE;
}

gpointer
vt_ring_take (VtRing *ring, guint32 *written)
{
  if (!vt_ring_wait (ring, VT_TIMEOUT_MS))
    g_error ("ring %u: no used element in %d ms, %u in flight", ring->index,
             VT_TIMEOUT_MS, vt_ring_n_in_flight (ring));
  return vt_ring_get (ring, written);
}

gboolean
vt_ring_wait_error (VtRing *ring, int timeout_ms)
{
  return vt_wait_readable (ring->err_fd, timeout_ms);
}

void *
vt_ring_scratch (VtRing *ring, gsize len)
{
  if (len > ring->scratch_len) {
    ring->scratch = vt_guest_alloc (ring->guest, len, 4096);
    ring->scratch_len = len;
  }
  return ring->scratch;
}

guint
vt_ring_n_in_flight (const VtRing *ring)
{
  return (guint16) (ring->published - ring->last_used);
}
