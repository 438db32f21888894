/* SPDX-License-Identifier: BSD-3-Clause
 *
 * test-split.c - split rings of drivers that stretch the rules or break them
 *
 * Whatever stands in a ring, the daemon survives: a chain within the rules is
 * served, any other breaks its ring with a reason, and a reset ring works
 * again.
 */
#include "vring/queue.h"

#include <string.h>

#include "tests/lib/echo.h"

#define RING_SIZE 16
#define MIB       (1ul << 20)
#define NOWHERE   0x20000000 /* a gpa without memory */

typedef struct {
  VtGuest *guest;
  VtRing *ring;
  VtEcho echo;
  VtQueueRig rig;
  guint8 *data; /* some guest memory, and its gpa */
  guint64 gpa;
  struct vring_desc *table; /* for indirect descriptors, and its gpa */
  guint64 table_gpa;
} Fixture;

static void
set_up (Fixture *f, gconstpointer data)
{
  f->guest = vt_guest_new (16 * MIB);
  f->ring = vt_ring_new (f->guest, 0, RING_SIZE, 0);
  f->data = vt_guest_alloc (f->guest, 4096, 4096);
  f->gpa = vt_guest_gpa (f->guest, f->data);
  f->table = vt_guest_alloc (f->guest, 2000 * sizeof *f->table, 16);
  f->table_gpa = vt_guest_gpa (f->guest, f->table);
  vt_queue_rig_init (&f->rig, f->guest, &vt_echo_ops, &f->echo);
}

static void
tear_down (Fixture *f, gconstpointer data)
{
  vt_queue_rig_clear (&f->rig);
  vt_ring_free (f->ring);
  vt_guest_free (f->guest);
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
  vt_desc_write (&f->table[i], gpa, len, flags, next);
}

/* A descriptor that refers to @n entries of the table. */
static void
indirect (Fixture *f, guint i, guint n)
{
  desc (f, i, f->table_gpa, n * sizeof *f->table, VRING_DESC_F_INDIRECT, 0);
}

#define NEXT     VRING_DESC_F_NEXT
#define WRITE    VRING_DESC_F_WRITE
#define INDIRECT VRING_DESC_F_INDIRECT

/* --- What breaks the ring --- */

static void
head_outside (Fixture *f)
{
  vt_ring_raw_add (f->ring, RING_SIZE, NULL);
}

static void
index_jumps (Fixture *f)
{
  vt_ring_raw_add (f->ring, 0, NULL);
  f->ring->avail_idx = 1000;
}

static void
index_goes_back (Fixture *f)
{
  f->ring->avail_idx--;
}

static void
successor_outside (Fixture *f)
{
  desc (f, 0, f->gpa, 8, NEXT, RING_SIZE);
  vt_ring_raw_add (f->ring, 0, NULL);
}

static void
chain_is_a_loop (Fixture *f)
{
  desc (f, 0, f->gpa, 8, NEXT, 1);
  desc (f, 1, f->gpa, 8, NEXT, 0);
  vt_ring_raw_add (f->ring, 0, NULL);
}

static void
loop_of_empty_buffers (Fixture *f)
{
  desc (f, 0, f->gpa, 0, NEXT, 0);
  vt_ring_raw_add (f->ring, 0, NULL);
}

static void
buffer_outside (Fixture *f)
{
  desc (f, 0, NOWHERE, 8, 0, 0);
  vt_ring_raw_add (f->ring, 0, NULL);
}

static void
buffer_ends_outside (Fixture *f)
{
  desc (f, 0, VT_GPA_BASE + 16 * MIB - 8, 9, 0, 0);
  vt_ring_raw_add (f->ring, 0, NULL);
}

static void
buffer_wraps (Fixture *f)
{
  desc (f, 0, G_MAXUINT64 - 7, 16, 0, 0);
  vt_ring_raw_add (f->ring, 0, NULL);
}

static void
huge_buffer (Fixture *f)
{
  desc (f, 0, f->gpa, G_MAXUINT32, WRITE, 0);
  vt_ring_raw_add (f->ring, 0, NULL);
}

static void
readable_after_writable (Fixture *f)
{
  desc (f, 0, f->gpa, 8, WRITE | NEXT, 1);
  desc (f, 1, f->gpa, 8, 0, 0);
  vt_ring_raw_add (f->ring, 0, NULL);
}

static void
empty_table (Fixture *f)
{
  indirect (f, 0, 0);
  vt_ring_raw_add (f->ring, 0, NULL);
}

static void
table_of_odd_length (Fixture *f)
{
  entry (f, 0, f->gpa, 8, 0, 0);
  desc (f, 0, f->table_gpa, sizeof *f->table + 1, INDIRECT, 0);
  vt_ring_raw_add (f->ring, 0, NULL);
}

static void
table_with_successor (Fixture *f)
{
  entry (f, 0, f->gpa, 8, 0, 0);
  desc (f, 0, f->table_gpa, sizeof *f->table, INDIRECT | NEXT, 1);
  desc (f, 1, f->gpa, 8, 0, 0);
  vt_ring_raw_add (f->ring, 0, NULL);
}

static void
table_outside (Fixture *f)
{
  desc (f, 0, NOWHERE, sizeof *f->table, INDIRECT, 0);
  vt_ring_raw_add (f->ring, 0, NULL);
}

static void
table_ends_outside (Fixture *f)
{
  struct vring_desc *last =
      vt_guest_ptr (f->guest, VT_GPA_BASE + 16 * MIB - sizeof *last);

  vt_desc_write (last, f->gpa, 8, NEXT, 1);
  desc (f, 0, vt_guest_gpa (f->guest, last), 2 * sizeof *last, INDIRECT, 0);
  vt_ring_raw_add (f->ring, 0, NULL);
}

static void
nested_table (Fixture *f)
{
  entry (f, 0, f->table_gpa, 2 * sizeof *f->table, INDIRECT, 0);
  indirect (f, 0, 2);
  vt_ring_raw_add (f->ring, 0, NULL);
}

static void
successor_outside_table (Fixture *f)
{
  entry (f, 0, f->gpa, 8, NEXT, 1);
  entry (f, 1, f->gpa, 8, 0, 0);
  indirect (f, 0, 1);
  vt_ring_raw_add (f->ring, 0, NULL);
}

static void
table_is_a_loop (Fixture *f)
{
  entry (f, 0, f->gpa, 8, NEXT, 1);
  entry (f, 1, f->gpa, 8, NEXT, 0);
  indirect (f, 0, 2);
  vt_ring_raw_add (f->ring, 0, NULL);
}

/* Table @n entries long. */
static void
long_table (Fixture *f, guint n)
{
  for (guint i = 0; i < n; i++)
    entry (f, i, f->gpa + i, 1,
           (i + 1 < n ? NEXT : 0) | (i >= n / 2 ? WRITE : 0), i + 1);
  indirect (f, 0, n);
}

static void
chain_too_long (Fixture *f)
{
  long_table (f, VD_CHAIN_MAX + 1);
  vt_ring_raw_add (f->ring, 0, NULL);
}

static const struct {
  const char *name;
  void (*write) (Fixture *f);
  const char *reason; /* a pattern */
} breaks[] = {
  { "head-outside", head_outside, "*head*" },
  { "index-jumps", index_jumps, "*index jumped*" },
  { "index-goes-back", index_goes_back, "*index jumped*" },
  { "successor-outside", successor_outside, "*successor*outside the ring*" },
  { "loop", chain_is_a_loop, "*loop*" },
  { "empty-loop", loop_of_empty_buffers, "*loop*" },
  { "buffer-outside", buffer_outside, "*outside guest memory*" },
  { "buffer-ends-outside", buffer_ends_outside, "*outside guest memory*" },
  { "buffer-wraps", buffer_wraps, "*outside guest memory*" },
  { "huge-buffer", huge_buffer, "*outside guest memory*" },
  { "order", readable_after_writable, "*readable*follows*" },
  { "table-empty", empty_table, "*indirect*length*" },
  { "table-odd", table_of_odd_length, "*indirect*length*" },
  { "table-next", table_with_successor, "*indirect*" },
  { "table-outside", table_outside, "*indirect*outside guest memory*" },
  { "table-ends-outside", table_ends_outside, "*outside guest memory*" },
  { "table-nested", nested_table, "*nested*" },
  { "table-successor", successor_outside_table, "*outside its table*" },
  { "table-loop", table_is_a_loop, "*too long*" },
  { "too-long", chain_too_long, "*too long*" },
};

/* A chain within the rules, to see that the ring works. */
static void
echo_once (Fixture *f)
{
  VtBuf bufs[] = { { f->data, 4, FALSE }, { f->data + 8, 4, TRUE } };
  guint32 written;

  memcpy (f->data, "\x01\x02\x03\x04\0\0\0\0\0\0\0\0", 12);
  g_assert_true (vt_ring_add (f->ring, bufs, 2, f->data));
  vt_ring_kick (f->ring);
  g_assert_true (vt_ring_take (f->ring, &written) == f->data);
  g_assert_cmpuint (written, ==, 4);
  g_assert_cmpmem (f->data + 8, 4, "\xfe\xfd\xfc\xfb", 4);
}

static void
test_bad_ring_is_broken_and_can_be_reset (Fixture *f, gconstpointer data)
{
  guint i = GPOINTER_TO_UINT (data);
  const char *reason;

  vt_queue_rig_start (&f->rig, f->ring);
  echo_once (f);
  breaks[i].write (f);
  show (f);
  reason = vt_queue_rig_wait_broken (&f->rig, f->ring);
  if (!g_pattern_match_simple (breaks[i].reason, reason))
    g_error ("broken, but because: %s", reason);
  g_assert_cmpuint (f->echo.n_handled, ==, 1);
  vt_ring_kick_always (f->ring); /* is of no use any more */
  g_assert_cmpuint (vt_queue_rig_stop (&f->rig, f->ring), ==, 1);
  g_assert_cmpuint (f->ring->used->idx, ==, 1);

  vt_ring_reset (f->ring, 0);
  vt_queue_rig_start (&f->rig, f->ring);
  echo_once (f);
}

/* Chains before the bad one are served and given back. */
static void
test_good_chains_before_a_bad_one_are_used (Fixture *f, gconstpointer data)
{
  VtBuf bufs[] = { { f->data, 4, FALSE }, { f->data + 8, 4, TRUE } };

  for (guint i = 0; i < 3; i++)
    g_assert_true (vt_ring_add (f->ring, bufs, 2, f->data));
  vt_ring_raw_add (f->ring, 0xffff, NULL);
  show (f);
  vt_queue_rig_start (&f->rig, f->ring);
  vt_queue_rig_wait_broken (&f->rig, f->ring);
  g_assert_cmpuint (vt_queue_rig_stop (&f->rig, f->ring), ==, 3);
}

/* A driver that makes a head available again while it is in flight. */
static void
test_more_chains_than_the_ring_has_break_it (Fixture *f, gconstpointer data)
{
  f->echo.mode = VT_ECHO_HOLD;
  vt_queue_rig_start (&f->rig, f->ring);
  desc (f, 0, f->gpa, 8, WRITE, 0);
  for (guint i = 0; i < RING_SIZE; i++)
    vt_ring_raw_add (f->ring, 0, NULL);
  show (f);
  vt_echo_wait_held (&f->echo, RING_SIZE);
  vt_ring_raw_add (f->ring, 0, NULL);
  show (f);
  g_assert_nonnull (strstr (vt_queue_rig_wait_broken (&f->rig, f->ring),
                            "more chains are in flight"));
  vt_echo_release (&f->rig, f->ring, FALSE);
  vt_queue_rig_stop (&f->rig, f->ring);
  g_assert_cmpuint (f->ring->used->idx, ==, 0); /* it was broken by then */
}

/* --- What stretches the rules --- */

static void
test_longest_chain_is_served (Fixture *f, gconstpointer data)
{
  guint32 written;

  vt_queue_rig_start (&f->rig, f->ring);
  for (guint i = 0; i < VD_CHAIN_MAX; i++)
    f->data[i] = i / 3;
  long_table (f, VD_CHAIN_MAX);
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
  desc (f, 0, NOWHERE, 0, NEXT, 1); /* its address has no meaning */
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
  indirect (f, 0, 4);
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

/* A gpa that is often a good one. */
static guint64
random_gpa (Fixture *f)
{
  switch (g_test_rand_int_range (0, 9)) {
  case 0: return NOWHERE;
  case 1: return VT_GPA_BASE + 16 * MIB - g_test_rand_int_range (0, 64);
  case 2: return (guint64) g_test_rand_int () << 32 | g_test_rand_int ();
  case 3: return f->table_gpa + 16 * g_test_rand_int_range (0, 30);
  case 4:
    return vt_guest_gpa (f->guest, f->ring->desc) +
           g_test_rand_int_range (0, 16 * RING_SIZE);
  default: return f->gpa + g_test_rand_int_range (0, 2048);
  }
}

static void
random_desc (Fixture *f, struct vring_desc *at, guint n)
{
  static const guint16 flags[] = { 0,    0,     NEXT,         NEXT,
                                   NEXT, WRITE, NEXT | WRITE, INDIRECT };
  guint16 flag = flags[g_test_rand_int_range (0, G_N_ELEMENTS (flags))];
  guint32 len = g_test_rand_int_range (0, 20) ? g_test_rand_int_range (0, 64)
                                              : g_test_rand_int ();
  guint64 gpa = random_gpa (f);

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
  guint n = g_test_rand_int_range (1, RING_SIZE + 1);

  for (guint i = 0; i < RING_SIZE; i++)
    random_desc (f, &f->ring->desc[i], RING_SIZE);
  for (guint i = 0; i < 40; i++)
    random_desc (f, &f->table[i], 40);
  for (guint i = 0; i < n; i++)
    vt_ring_raw_add (f->ring, g_test_rand_int_range (0, RING_SIZE + 1), NULL);
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
  for (guint i = 0; i < G_N_ELEMENTS (breaks); i++) {
    g_autofree char *path = g_strconcat ("/split/break/", breaks[i].name, NULL);

    g_test_add (path, Fixture, GUINT_TO_POINTER (i), set_up,
                test_bad_ring_is_broken_and_can_be_reset, tear_down);
  }
  ADD ("break/after-good", test_good_chains_before_a_bad_one_are_used);
  ADD ("break/too-many", test_more_chains_than_the_ring_has_break_it);
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
