/* SPDX-License-Identifier: BSD-3-Clause
 *
 * test-ring.c - what the fake guest and its driver promise to other tests
 *
 * The device here is as small as the specification allows and runs in the
 * test's own thread.
 */
#include "tests/lib/ring.h"

#include <sys/eventfd.h>
#include <unistd.h>

typedef struct {
  VtGuest *guest;
  VtRing *ring;
  guint16 last_avail;
} Fixture;

static void
set_up (Fixture *f, gconstpointer data)
{
  f->guest = vt_guest_new (1 << 20);
  f->ring = vt_ring_new (f->guest, 3, 8, GPOINTER_TO_UINT (data));
}

static void
tear_down (Fixture *f, gconstpointer data)
{
  vt_ring_free (f->ring);
  vt_guest_free (f->guest);
}

/* Device: the next available head. */
static guint16
pop (Fixture *f)
{
  g_assert_cmpuint (f->ring->avail->idx, !=, f->last_avail);
  return f->ring->avail->ring[f->last_avail++ % f->ring->size];
}

/* Device: uses @id and notifies. */
static void
push (Fixture *f, guint32 id, guint32 len, gboolean notify)
{
  struct vring_used *used = f->ring->used;

  used->ring[used->idx % f->ring->size] = (vring_used_elem_t){ id, len };
  used->idx++;
  if (notify)
    g_assert_no_errno (eventfd_write (f->ring->call_fd, 1));
}

/* Device: walks a chain.  Returns: its buffers' total length. */
static guint
walk (Fixture *f, guint16 head, guint *ret_n)
{
  const struct vring_desc *desc = &f->ring->desc[head], *table = f->ring->desc;
  guint len = 0;

  for (*ret_n = 0;;) {
    if (desc->flags & VRING_DESC_F_INDIRECT) {
      desc = table = vt_guest_ptr (f->guest, desc->addr);
      continue;
    }
    (*ret_n)++;
    len += desc->len;
    if (!(desc->flags & VRING_DESC_F_NEXT))
      return len;
    desc = &table[desc->next];
  }
}

static void
test_chains_are_walked_back (Fixture *f, gconstpointer data)
{
  guint8 *mem = vt_guest_alloc (f->guest, 64, 16);
  VtBuf bufs[5];
  guint n;

  for (guint i = 0; i < 5; i++)
    bufs[i] = (VtBuf){ mem + i, 1 + i, i > 2 };
  for (guint round = 0; round < 20; round++)
    for (guint n_direct = 0; n_direct <= 5; n_direct++) {
      guint32 written;
      guint16 head;

      g_assert_true (vt_ring_add_mixed (f->ring, bufs, 5, n_direct, mem));
      vt_ring_kick (f->ring);
      head = pop (f);
      g_assert_cmpuint (walk (f, head, &n), ==, 15);
      g_assert_cmpuint (n, ==, 5);
      push (f, head, 9, TRUE);
      g_assert_true (vt_ring_take (f->ring, &written) == mem);
      g_assert_cmpuint (written, ==, 9);
    }
  g_assert_cmpuint (f->ring->n_free, ==, 8);
}

static void
test_full_ring_takes_nothing (Fixture *f, gconstpointer data)
{
  guint8 *mem = vt_guest_alloc (f->guest, 64, 16);
  VtBuf bufs[3] = { { mem, 1, FALSE }, { mem, 1, FALSE }, { mem, 1, TRUE } };

  g_assert_true (vt_ring_add (f->ring, bufs, 3, mem));
  g_assert_true (vt_ring_add (f->ring, bufs, 3, mem));
  g_assert_false (vt_ring_add (f->ring, bufs, 3, mem));
  g_assert_true (vt_ring_add (f->ring, bufs, 2, mem));
  g_assert_false (vt_ring_add (f->ring, bufs, 1, mem));
  g_assert_cmpuint (f->ring->avail->idx, ==, 0); /* not published */
  vt_ring_publish (f->ring);
  g_assert_cmpuint (f->ring->avail->idx, ==, 3);
  g_assert_cmpuint (vt_ring_n_in_flight (f->ring), ==, 3);
}

static void
test_kick_is_kept_when_the_device_polls (Fixture *f, gconstpointer data)
{
  guint8 *mem = vt_guest_alloc (f->guest, 64, 16);
  VtBuf buf = { mem, 1, TRUE };
  guint16 *event = (guint16 *) (void *) &f->ring->used->ring[8];

  f->ring->used->flags = VRING_USED_F_NO_NOTIFY; /* ignored with EVENT_IDX */
  *event = 1;
  g_assert_true (vt_ring_add (f->ring, &buf, 1, mem));
  g_assert_false (vt_ring_kick (f->ring)); /* 1 is not past the event */
  g_assert_true (vt_ring_add (f->ring, &buf, 1, mem));
  g_assert_cmpint (vt_ring_kick (f->ring), ==, data != NULL);
  g_assert_true (vt_ring_add (f->ring, &buf, 1, mem));
  g_assert_false (vt_ring_kick (f->ring)); /* the event was passed */
  g_assert_cmpuint (f->ring->n_kicks, ==, data != NULL);
}

/* Runs in a subprocess what must fail. */
static void
test_chain_used_twice_fails_the_test (Fixture *f, gconstpointer data)
{
  if (g_test_subprocess ()) {
    guint8 *mem = vt_guest_alloc (f->guest, 64, 16);
    VtBuf buf = { mem, 1, TRUE };

    g_assert_true (vt_ring_add (f->ring, &buf, 1, mem));
    vt_ring_kick (f->ring);
    push (f, 0, 1, TRUE);
    push (f, 0, 1, TRUE);
    vt_ring_take (f->ring, NULL);
    g_print ("once");
    vt_ring_take (f->ring, NULL);
    return;
  }
  g_test_trap_subprocess (NULL, 0, 0);
  g_test_trap_assert_failed ();
  g_test_trap_assert_stdout ("*once*");
}

static gpointer
use_late (gpointer data)
{
  Fixture *f = data;

  g_usleep (20000);
  push (f, pop (f), 1, FALSE);
  return NULL;
}

static void
test_missing_notification_fails_the_test (Fixture *f, gconstpointer data)
{
  if (g_test_subprocess ()) {
    guint8 *mem = vt_guest_alloc (f->guest, 64, 16);
    VtBuf buf = { mem, 1, TRUE };

    g_assert_true (vt_ring_add (f->ring, &buf, 1, mem));
    vt_ring_kick (f->ring);
    g_thread_unref (g_thread_new ("device", use_late, f));
    vt_ring_wait (f->ring, 500);
    return;
  }
  g_test_trap_subprocess (NULL, 0, 0);
  g_test_trap_assert_failed ();
  g_test_trap_assert_stderr ("*without a notification*");
}

static void
test_regions_touch_and_addresses_differ (void)
{
  g_autoptr (VtGuest) guest = vt_guest_new (0);
  VtRegion *low = vt_guest_add (guest, 0x10000, 0x7000000, 0x4000, 0x1000);
  VtRegion *high = vt_guest_add (guest, 0x14000, 0x9000000, 0x4000, 0);
  VtRegion *same = vt_guest_add_identity (guest, 0x1000);
  guint8 *ptr = vt_region_alloc (low, 16, 16);

  g_assert_true (low->ptr + low->size == high->ptr);
  g_assert_cmphex (vt_guest_gpa (guest, ptr + 5), ==, 0x10005);
  g_assert_cmphex (vt_guest_uva (guest, ptr + 5), ==, 0x7000005);
  g_assert_true (vt_guest_ptr (guest, 0x14001) == high->ptr + 1);
  g_assert_cmphex (vt_guest_gpa (guest, same->ptr), ==, (guintptr) same->ptr);
  ptr[0] = 0x5a; /* through the file, after the offset */
  g_assert_cmpint (pread (low->fd, ptr + 1, 1, 0x1000), ==, 1);
  g_assert_cmpuint (ptr[1], ==, 0x5a);
  vt_guest_remove (guest, high);
}

int
main (int argc, char **argv)
{
  g_test_init (&argc, &argv, NULL);
#define ADD(name, flags, func)                                                 \
  g_test_add ("/lib/" name, Fixture, GUINT_TO_POINTER (flags), set_up, func,   \
              tear_down)
  ADD ("ring/chains", 0, test_chains_are_walked_back);
  ADD ("ring/full", 0, test_full_ring_takes_nothing);
  ADD ("ring/event-idx", VT_RING_EVENT_IDX,
       test_kick_is_kept_when_the_device_polls);
  ADD ("ring/no-notify", 0, test_kick_is_kept_when_the_device_polls);
  ADD ("ring/used-twice", 0, test_chain_used_twice_fails_the_test);
  ADD ("ring/no-call", 0, test_missing_notification_fails_the_test);
  g_test_add_func ("/lib/guest/regions",
                   test_regions_touch_and_addresses_differ);
  return g_test_run ();
}
