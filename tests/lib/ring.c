/* SPDX-License-Identifier: BSD-3-Clause
 *
 * What does not depend on the ring's format.
 */
#include "tests/lib/ring-private.h"

#include <errno.h>
#include <fcntl.h>
#include <poll.h>
#include <sys/eventfd.h>
#include <sys/socket.h>
#include <unistd.h>

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
  gboolean packed = (flags & VT_RING_PACKED) != 0;

  g_assert_true (size && (packed || (size & (size - 1)) == 0));
  ring->guest = guest;
  ring->index = index;
  ring->size = size;
  ring->flags = flags;
  ring->ops = packed ? &vt_packed_ops : &vt_split_ops;
  /* No more aligned than the specification asks for. */
  ring->desc = vt_guest_alloc (guest, sizeof ring->desc[0] * size, 16);
  ring->avail =
      vt_guest_alloc (guest, ring->ops->driver_size (size), packed ? 4 : 2);
  ring->used = vt_guest_alloc (guest, ring->ops->device_size (size), 4);
  ring->kick_fd = eventfd (0, EFD_CLOEXEC | efd);
  ring->err_fd = eventfd (0, EFD_CLOEXEC | efd);
  g_assert_cmpint (MIN (ring->kick_fd, ring->err_fd), >=, 0);
  open_call_fd (ring);
  ring->slots = g_new0 (VtRingSlot, size);
  ring->free_ids = g_new0 (guint16, size);
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
  g_free (ring->free_ids);
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
vt_ring_reset (VtRing *ring, guint32 base)
{
  memset (ring->desc, 0, sizeof ring->desc[0] * ring->size);
  memset (ring->avail, 0, ring->ops->driver_size (ring->size));
  memset (ring->used, 0, ring->ops->device_size (ring->size));
  for (guint i = 0; i < ring->size; i++)
    ring->slots[i].in_flight = FALSE;
  ring->n_in_flight = 0;
  ring->ops->reset (ring, base);
  ring->n_kick_tested = ring->n_pushed;
  ring->start_base = vt_ring_base (ring);
  vt_ring_set_interrupts (ring, TRUE);
}

void
vt_ring_init_slot (VtRing *ring, VtRingSlot *slot, const VtBuf *bufs,
                   guint n_bufs, guint n_descs, gpointer token)
{
  g_assert_false (slot->in_flight && n_descs);
  slot->token = token;
  slot->in_flight = TRUE;
  slot->n_descs = n_descs;
  slot->writable = 0;
  for (guint i = 0; i < n_bufs; i++)
    slot->writable += bufs[i].writable ? bufs[i].len : 0;
  ring->n_added++;
  ring->n_in_flight++;
}

void *
vt_ring_table (VtRing *ring, VtRingSlot *slot, guint n_bufs)
{
  if (slot->table_size < n_bufs) { /* doubling bounds what is left behind */
    slot->table_size = MAX (n_bufs, 2 * slot->table_size);
    slot->table = vt_guest_alloc (
        ring->guest, slot->table_size * sizeof (struct vring_desc), 16);
  }
  return slot->table;
}

gboolean
vt_ring_add_mixed (VtRing *ring, const VtBuf *bufs, guint n_bufs,
                   guint n_direct, gpointer token)
{
  g_assert_true (token && n_bufs && n_direct <= n_bufs);
  return ring->ops->add (ring, bufs, n_bufs, n_direct, token);
}

gboolean
vt_ring_add (VtRing *ring, const VtBuf *bufs, guint n_bufs, gpointer token)
{
  gboolean indirect = ring->flags & VT_RING_INDIRECT && n_bufs > 1;

  return vt_ring_add_mixed (ring, bufs, n_bufs, indirect ? 0 : n_bufs, token);
}

void
vt_ring_publish (VtRing *ring)
{
  ring->ops->publish (ring);
}

void
vt_ring_kick_always (VtRing *ring)
{
  g_assert_no_errno (eventfd_write (ring->kick_fd, 1));
  ring->n_kicks++;
}

gboolean
vt_ring_kick (VtRing *ring)
{
  gboolean any = ring->n_pushed != ring->n_kick_tested;

  vt_ring_publish (ring);
  if (!any)
    return FALSE;
  ring->n_kick_tested = ring->n_pushed;
  if (!ring->ops->wants_kick (ring)) {
    ring->n_kicks_kept++;
    return FALSE;
  }
  vt_ring_kick_always (ring);
  return TRUE;
}

void
vt_ring_set_interrupts (VtRing *ring, gboolean wanted)
{
  ring->interrupts = wanted;
  ring->ops->arm (ring);
}

gpointer
vt_ring_get (VtRing *ring, guint32 *written)
{
  VtRingSlot *slot;
  guint32 len;

  if (!ring->ops->has_used (ring))
    return NULL;
  slot = ring->ops->get (ring, &len);
  g_assert_cmpuint (len, <=, slot->writable);
  slot->in_flight = FALSE;
  ring->n_in_flight--;
  ring->n_used++;
  ring->ops->arm (ring);
  if (written)
    *written = len;
  return slot->token;
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

  while (!ring->ops->has_used (ring)) {
    if (!ring->interrupts) { /* the driver polls */
      if (g_get_monotonic_time () >= deadline)
        return FALSE;
      g_usleep (50);
      continue;
    }
    if (!vt_wait_readable (ring->call_read_fd, ms_until (deadline))) {
      if (ring->ops->has_used (ring))
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

guint32
vt_ring_base (VtRing *ring)
{
  return ring->ops->base (ring);
}

guint
vt_ring_n_in_flight (const VtRing *ring)
{
  return ring->n_in_flight;
}
