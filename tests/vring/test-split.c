/* SPDX-License-Identifier: BSD-3-Clause
 *
 * test-split.c - split rings of drivers that stretch the rules, and noise
 *
 * A chain within the rules is served, and whatever stands in a ring, the daemon
 * survives; test-breaks.c has the rules.
 */
#include "vring/queue.h"

#include <string.h>

#include "tests/lib/chain-rig.h"

#define NEXT     VRING_DESC_F_NEXT
#define WRITE    VRING_DESC_F_WRITE
#define INDIRECT VRING_DESC_F_INDIRECT

#define MIB (1ul << 20)

typedef VtChainRig Fixture;

static void
set_up (Fixture *f, gconstpointer data)
{
  vt_chain_rig_init (f, 0);
}

static void
tear_down (Fixture *f, gconstpointer data)
{
  vt_chain_rig_clear (f);
}

/* Shows what the test put into the ring. */
static void
show (Fixture *f)
{
  vt_ring_publish (f->ring);
  vt_ring_kick_always (f->ring);
}

static void
desc (Fixture *f, guint i, guint64 gpa, guint32 len, guint16 flags,
      guint16 next)
{
  vt_desc_write (&f->ring->desc[i], gpa, len, flags, next);
}

static void
entry (Fixture *f, guint i, guint64 gpa, guint32 len, guint16 flags,
       guint16 next)
{
  vt_desc_write ((struct vring_desc *) f->table + i, gpa, len, flags, next);
}

/* --- What stretches the rules --- */

static void
test_longest_chain_is_served (Fixture *f, gconstpointer data)
{
  guint32 written;
  VtDesc outer;

  vt_queue_rig_start (&f->rig, f->ring);
  for (guint i = 0; i < VD_CHAIN_MAX; i++)
    f->data[i] = i / 3;
  outer = vt_chain_rig_long_table (f, VD_CHAIN_MAX);
  vt_desc_fill_table (f->ring, f->ring->desc, &outer, 1, 0);
  vt_ring_raw_add (f->ring, 0, f);
  show (f);
  g_assert_true (vt_ring_take (f->ring, &written) == f);
  g_assert_cmpuint (written, ==, VD_CHAIN_MAX / 2);
  for (guint i = 0; i < VD_CHAIN_MAX / 2; i++)
    g_assert_cmphex (f->data[VD_CHAIN_MAX / 2 + i], ==, (guint8) ~f->data[i]);
}

static void
test_empty_buffers_are_skipped (Fixture *f, gconstpointer data)
{
  guint32 written;

  vt_queue_rig_start (&f->rig, f->ring);
  f->data[0] = 0x11;
  desc (f, 0, VT_CHAIN_NOWHERE, 0, NEXT, 1); /* its address has no meaning */
  desc (f, 1, f->gpa, 1, NEXT, 2);
  desc (f, 2, f->gpa, 0, NEXT, 3);
  desc (f, 3, 0, 0, WRITE | NEXT, 4);
  desc (f, 4, f->gpa + 1, 1, WRITE, 0);
  vt_ring_raw_add (f->ring, 0, f);
  show (f);
  vt_ring_take (f->ring, &written);
  g_assert_cmpuint (written, ==, 1);
  g_assert_cmphex (f->data[1], ==, 0xee);

  desc (f, 0, 0, 0, 0, 0); /* nothing at all */
  vt_ring_raw_add (f->ring, 0, f);
  show (f);
  vt_ring_take (f->ring, &written);
  g_assert_cmpuint (written, ==, 0);
}

static void
test_table_order_is_the_driver_s (Fixture *f, gconstpointer data)
{
  vt_queue_rig_start (&f->rig, f->ring);
  memcpy (f->data, "ab", 2);
  entry (f, 0, f->gpa, 1, NEXT, 3); /* a, then b, then the writable ones */
  entry (f, 3, f->gpa + 1, 1, NEXT, 1);
  entry (f, 1, f->gpa + 9, 1, WRITE | NEXT, 2);
  entry (f, 2, f->gpa + 8, 1, WRITE, 0);
  desc (f, 0, f->table_gpa, 4 * sizeof (struct vring_desc), INDIRECT, 0);
  vt_ring_raw_add (f->ring, 0, f);
  show (f);
  vt_ring_take (f->ring, NULL);
  g_assert_cmphex (f->data[9], ==, (guint8) ~'a');
  g_assert_cmphex (f->data[8], ==, (guint8) ~'b');
}

/* Both a table and a buffer lie across two regions. */
static void
test_regions_that_touch_are_one_memory (Fixture *f, gconstpointer data)
{
  guint8 *border;
  struct vring_desc *table;

  vt_guest_add (f->guest, 0x10000000, 0x50000000, MIB, 0);
  border =
      vt_guest_add (f->guest, 0x10000000 + MIB, 0x40000000, MIB, 4096)->ptr;
  g_assert_cmpint (vt_queue_rig_remap (&f->rig), ==, 0);
  vt_queue_rig_start (&f->rig, f->ring);

  for (guint split = 0; split <= 48; split += 8) {
    memset (border - 100, 0, 200);
    table = (void *) (border - split);
    vt_desc_write (&table[0], f->gpa, 2, NEXT, 1);
    vt_desc_write (&table[1], f->gpa + 2, 4, NEXT, 2);
    vt_desc_write (&table[2], 0x10000000 + MIB - 103, 206, WRITE, 0);
    desc (f, 0, 0x10000000 + MIB - split, 48, INDIRECT, 0);
    memcpy (f->data, "abcdef", 6);
    vt_ring_raw_add (f->ring, 0, f);
    show (f);
    vt_ring_take (f->ring, NULL);
    for (guint i = 0; i < 6; i++)
      g_assert_cmphex (border[-103 + (int) i], ==, (guint8) ~f->data[i]);
  }
}

/* --- Noise --- */

static void
random_desc (Fixture *f, struct vring_desc *at, guint n)
{
  static const guint16 flags[] = { 0,    0,     NEXT,         NEXT,
                                   NEXT, WRITE, NEXT | WRITE, INDIRECT };
  guint16 flag = flags[g_test_rand_int_range (0, G_N_ELEMENTS (flags))];
  guint32 len = g_test_rand_int_range (0, 20) ? g_test_rand_int_range (0, 64)
                                              : g_test_rand_int ();
  guint64 gpa = vt_chain_rig_random_gpa (f);

  if (g_test_rand_int_range (0, 100) == 0)
    flag = g_test_rand_int ();
  if (flag & INDIRECT && g_test_rand_bit ()) {
    gpa = f->table_gpa;
    len = 16 * g_test_rand_int_range (0, 40);
  }
  vt_desc_write (at, gpa, len, flag,
                 g_test_rand_int_range (0, g_test_rand_bit () ? n : n + 2));
}

static void
random_ring (Fixture *f)
{
  guint n = g_test_rand_int_range (1, f->ring->size + 1);

  for (guint i = 0; i < f->ring->size; i++)
    random_desc (f, &f->ring->desc[i], f->ring->size);
  for (guint i = 0; i < 40; i++)
    random_desc (f, (struct vring_desc *) f->table + i, 40);
  for (guint i = 0; i < n; i++)
    vt_ring_raw_add (f->ring, g_test_rand_int_range (0, f->ring->size + 1),
                     NULL);
  vt_ring_kick_always (f->ring);
  vt_ring_raw_publish (f->ring, g_test_rand_int_range (0, 30)
                                    ? f->ring->avail_idx
                                    : g_test_rand_int ());
}

/* A driver that writes anything; the only thing to see is that we survive and
 * that what was popped is counted rightly.  Descriptors here may point at the
 * rings themselves, which the device then overwrites. */
static void
test_noise_is_survived (Fixture *f, gconstpointer data)
{
  guint n_rounds = g_test_thorough () ? 20000 : 1000;

  f->echo.mode = GPOINTER_TO_UINT (data);
  f->rig.pool = vd_pool_new (1);
  for (guint i = 0; i < n_rounds; i++) {
    guint handled = f->echo.n_handled, base;

    vt_ring_reset (f->ring, 0);
    f->rig.force_poll = i % 2;
    random_ring (f);
    vt_queue_rig_start (&f->rig, f->ring);
    if (g_test_rand_bit ())
      vt_ring_kick_always (f->ring);
    vt_queue_rig_enable (&f->rig, f->ring, TRUE);
    base = vt_queue_rig_stop (&f->rig, f->ring);
    g_assert_cmpuint (base, ==, f->echo.n_handled - handled);
  }
  vd_pool_free (f->rig.pool);
}

int
main (int argc, char **argv)
{
  g_test_init (&argc, &argv, NULL);
#define ADD(name, func)                                                        \
  g_test_add ("/split/" name, Fixture, NULL, set_up, func, tear_down)
  ADD ("serve/longest", test_longest_chain_is_served);
  ADD ("serve/empty", test_empty_buffers_are_skipped);
  ADD ("serve/order", test_table_order_is_the_driver_s);
  ADD ("serve/regions", test_regions_that_touch_are_one_memory);
  g_test_add ("/split/noise/now", Fixture, GUINT_TO_POINTER (VT_ECHO_NOW),
              set_up, test_noise_is_survived, tear_down);
  g_test_add ("/split/noise/mixed", Fixture, GUINT_TO_POINTER (VT_ECHO_MIXED),
              set_up, test_noise_is_survived, tear_down);
  return g_test_run ();
}
