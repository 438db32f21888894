/* SPDX-License-Identifier: BSD-3-Clause
 *
 * test-packed.c - packed rings of drivers that stretch the rules or break them
 *
 * As test-split.c: a chain within the rules is served, any other breaks its
 * ring with a reason, and a reset ring works again.
 */
#include "vring/queue.h"

#include <string.h>

#include "tests/lib/echo.h"

#define RING_SIZE 12
#define MIB       (1ul << 20)
#define NOWHERE   0x20000000 /* a gpa without memory */

#define NEXT     VRING_DESC_F_NEXT
#define WRITE    VRING_DESC_F_WRITE
#define INDIRECT VRING_DESC_F_INDIRECT
#define AVAIL    (1u << VRING_PACKED_DESC_F_AVAIL)
#define USED     (1u << VRING_PACKED_DESC_F_USED)

typedef struct vring_packed_desc Desc;

typedef struct {
  VtGuest *guest;
  VtRing *ring;
  Desc *desc; /* of the ring */
  guint at;   /* where the next one goes; the test counts to any number */
  VtEcho echo;
  VtQueueRig rig;
  guint8 *data; /* some guest memory, and its gpa */
  guint64 gpa;
  Desc *table; /* for indirect descriptors, and its gpa */
  guint64 table_gpa;
} Fixture;

static void
set_up (Fixture *f, gconstpointer data)
{
  f->guest = vt_guest_new (16 * MIB);
  f->ring = vt_ring_new (f->guest, 0, RING_SIZE, VT_RING_PACKED);
  f->desc = (void *) f->ring->desc;
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

static void
write_desc (Desc *desc, guint64 gpa, guint32 len, guint16 flags)
{
  desc->addr = GUINT64_TO_LE (gpa);
  desc->len = GUINT32_TO_LE (len);
  desc->id = 7;
  __atomic_store_n (&desc->flags, GUINT16_TO_LE (flags), __ATOMIC_SEQ_CST);
}

/* The next descriptor of the ring, available, without asking whether it is
 * free. */
static void
push (Fixture *f, guint64 gpa, guint32 len, guint16 flags)
{
  guint16 mark = f->at / RING_SIZE % 2 ? USED : AVAIL;

  write_desc (&f->desc[f->at % RING_SIZE], gpa, len, flags | mark);
  f->at++;
}

static void
push_table (Fixture *f, guint n)
{
  push (f, f->table_gpa, n * sizeof *f->table, INDIRECT);
}

/* --- What breaks the ring --- */

static void
buffer_outside (Fixture *f)
{
  push (f, NOWHERE, 8, 0);
}

static void
buffer_ends_outside (Fixture *f)
{
  push (f, VT_GPA_BASE + 16 * MIB - 8, 9, WRITE);
}

static void
buffer_wraps (Fixture *f)
{
  push (f, G_MAXUINT64 - 7, 16, 0);
}

static void
readable_after_writable (Fixture *f)
{
  f->at++; /* the head is written last */
  push (f, f->gpa, 8, 0);
  f->at -= 2;
  push (f, f->gpa, 8, WRITE | NEXT);
}

static void
chain_without_an_end (Fixture *f)
{
  f->at += RING_SIZE - 1;
  push (f, f->gpa, 1, NEXT);
  for (guint i = 1; i < RING_SIZE; i++) {
    f->at -= 2;
    push (f, f->gpa, 1, NEXT);
  }
}

static void
table_with_successor (Fixture *f)
{
  write_desc (&f->table[0], f->gpa, 8, 0);
  push (f, f->table_gpa, sizeof *f->table, INDIRECT | NEXT);
}

static void
table_after_direct (Fixture *f)
{
  write_desc (&f->table[0], f->gpa, 8, 0);
  f->at++;
  push_table (f, 1);
  f->at -= 2;
  push (f, f->gpa, 8, NEXT);
}

static void
empty_table (Fixture *f)
{
  push_table (f, 0);
}

static void
table_of_odd_length (Fixture *f)
{
  write_desc (&f->table[0], f->gpa, 8, 0);
  push (f, f->table_gpa, sizeof *f->table + 8, INDIRECT);
}

static void
table_outside (Fixture *f)
{
  push (f, NOWHERE, sizeof *f->table, INDIRECT);
}

static void
table_ends_outside (Fixture *f)
{
  write_desc (vt_guest_ptr (f->guest, VT_GPA_BASE + 16 * MIB - 16), f->gpa, 8,
              0);
  push (f, VT_GPA_BASE + 16 * MIB - 16, 32, INDIRECT);
}

static void
nested_table (Fixture *f)
{
  write_desc (&f->table[0], f->table_gpa, 32, INDIRECT);
  push_table (f, 1);
}

static void
long_table (Fixture *f, guint n)
{
  for (guint i = 0; i < n; i++)
    write_desc (&f->table[i], f->gpa + i, 1, i >= n / 2 ? WRITE : 0);
  push_table (f, n);
}

static void
chain_too_long (Fixture *f)
{
  long_table (f, VD_CHAIN_MAX + 1);
}

static void
huge_table (Fixture *f)
{
  push (f, f->table_gpa, 0xfffffff0, INDIRECT);
}

static const struct {
  const char *name;
  void (*write) (Fixture *f);
  const char *reason; /* a pattern */
} breaks[] = {
  { "buffer-outside", buffer_outside, "*outside guest memory*" },
  { "buffer-ends-outside", buffer_ends_outside, "*outside guest memory*" },
  { "buffer-wraps", buffer_wraps, "*outside guest memory*" },
  { "order", readable_after_writable, "*readable*follows*" },
  { "endless", chain_without_an_end, "*longer than the ring*" },
  { "table-next", table_with_successor, "*indirect*" },
  { "table-after-direct", table_after_direct, "*indirect*" },
  { "table-empty", empty_table, "*indirect*length*" },
  { "table-odd", table_of_odd_length, "*indirect*length*" },
  { "table-outside", table_outside, "*indirect*outside guest memory*" },
  { "table-ends-outside", table_ends_outside, "*outside guest memory*" },
  { "table-nested", nested_table, "*nested*" },
  { "too-long", chain_too_long, "*too long*" },
  { "table-huge", huge_table, "*too long*" },
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
  f->at += 2;
}

static void
test_bad_ring_is_broken_and_can_be_reset (Fixture *f, gconstpointer data)
{
  guint i = GPOINTER_TO_UINT (data);
  const char *reason;

  vt_queue_rig_start (&f->rig, f->ring);
  echo_once (f);
  breaks[i].write (f);
  vt_ring_kick_always (f->ring);
  reason = vt_queue_rig_wait_broken (&f->rig, f->ring);
  if (!g_pattern_match_simple (breaks[i].reason, reason))
    g_error ("broken, but because: %s", reason);
  g_assert_cmpuint (f->echo.n_handled, ==, 1);
  g_assert_cmphex (vt_queue_rig_stop (&f->rig, f->ring), ==, 0x80028002);

  vt_ring_reset (f->ring, 0);
  f->at = 0;
  vt_queue_rig_start (&f->rig, f->ring);
  echo_once (f);
}

/* A driver that makes descriptors available again while they are in flight. */
static void
test_more_chains_than_the_ring_has_break_it (Fixture *f, gconstpointer data)
{
  f->echo.mode = VT_ECHO_HOLD;
  vt_queue_rig_start (&f->rig, f->ring);
  for (guint i = 0; i < RING_SIZE; i++)
    push (f, f->gpa, 8, WRITE);
  vt_ring_kick_always (f->ring);
  vt_echo_wait_held (&f->echo, RING_SIZE);
  push (f, f->gpa, 8, WRITE);
  vt_ring_kick_always (f->ring);
  g_assert_nonnull (strstr (vt_queue_rig_wait_broken (&f->rig, f->ring),
                            "more chains are in flight"));
  vt_echo_release (&f->rig, f->ring, FALSE);
  vt_queue_rig_stop (&f->rig, f->ring);
}

/* --- What stretches the rules --- */

/* Waits for the used element at @index of the first round. */
static Desc
take_at (Fixture *f, guint index)
{
  gint64 end = g_get_monotonic_time () + VT_TIMEOUT_MS * 1000ll;
  guint16 both = GUINT16_TO_LE (AVAIL | USED);

  while ((__atomic_load_n (&f->desc[index].flags, __ATOMIC_SEQ_CST) & both) !=
         both) {
    g_assert_cmpint (g_get_monotonic_time (), <, end);
    g_usleep (50);
  }
  return f->desc[index];
}

static void
test_longest_chain_is_served (Fixture *f, gconstpointer data)
{
  vt_queue_rig_start (&f->rig, f->ring);
  for (guint i = 0; i < VD_CHAIN_MAX; i++)
    f->data[i] = i / 3;
  long_table (f, VD_CHAIN_MAX);
  vt_ring_kick_always (f->ring);
  g_assert_cmpuint (GUINT32_FROM_LE (take_at (f, 0).len), ==, VD_CHAIN_MAX / 2);
  for (guint i = 0; i < VD_CHAIN_MAX / 2; i++)
    g_assert_cmphex (f->data[VD_CHAIN_MAX / 2 + i], ==, (guint8) ~f->data[i]);
}

/* As long as the ring, and with the id in the last descriptor. */
static void
test_chain_of_all_descriptors_is_served (Fixture *f, gconstpointer data)
{
  vt_queue_rig_start (&f->rig, f->ring);
  for (guint i = RING_SIZE; i-- > 0;)
    write_desc (&f->desc[i], f->gpa + i, 1,
                AVAIL | (i + 1 < RING_SIZE ? NEXT : WRITE));
  f->desc[0].id = 1;
  f->desc[RING_SIZE - 1].id = GUINT16_TO_LE (0xbeef);
  vt_ring_kick_always (f->ring);
  g_assert_cmphex (GUINT16_FROM_LE (take_at (f, 0).id), ==, 0xbeef);
  g_assert_cmphex (vt_queue_rig_stop (&f->rig, f->ring), ==, 0); /* wrapped */
}

static void
test_empty_buffers_are_skipped (Fixture *f, gconstpointer data)
{
  vt_queue_rig_start (&f->rig, f->ring);
  f->data[0] = 0x11;
  write_desc (&f->desc[3], f->gpa + 1, 1, AVAIL | WRITE);
  write_desc (&f->desc[2], NOWHERE, 0, AVAIL | NEXT);
  write_desc (&f->desc[1], f->gpa, 1, AVAIL | NEXT);
  write_desc (&f->desc[0], 0, 0, AVAIL | NEXT);
  vt_ring_kick_always (f->ring);
  g_assert_cmpuint (GUINT32_FROM_LE (take_at (f, 0).len), ==, 1);
  g_assert_cmphex (f->data[1], ==, 0xee);
}

/* Front-ends that do not know packed rings, or only the driver's half of the
 * base, start a fresh ring like the others. */
static void
test_bases_of_a_fresh_ring (Fixture *f, gconstpointer data)
{
  const guint32 bases[] = { 0x80008000, 0x8000, 0 };

  for (guint i = 0; i < G_N_ELEMENTS (bases); i++) {
    vt_ring_reset (f->ring, 0);
    g_assert_true (
        vt_queue_rig_try_start (&f->rig, f->ring, bases[i], TRUE, NULL));
    echo_once (f);
    g_assert_cmphex (vt_queue_rig_stop (&f->rig, f->ring), ==, 0x80028002);
  }
}

/* A ring that has wrapped goes on where it was, also at the base 0. */
static void
test_wrapped_ring_goes_on (Fixture *f, gconstpointer data)
{
  guint32 base = f->ring->start_base;

  for (guint i = 0; i < 40; i++) {
    g_assert_true (vt_queue_rig_try_start (&f->rig, f->ring, base, TRUE, NULL));
    echo_once (f);
    base = vt_queue_rig_stop (&f->rig, f->ring);
    g_assert_cmphex (base, ==, vt_ring_base (f->ring));
  }
}

/* --- Noise --- */

static guint64
random_gpa (Fixture *f)
{
  switch (g_test_rand_int_range (0, 9)) {
  case 0: return NOWHERE;
  case 1: return VT_GPA_BASE + 16 * MIB - g_test_rand_int_range (0, 64);
  case 2: return (guint64) g_test_rand_int () << 32 | g_test_rand_int ();
  case 3: return f->table_gpa + 16 * g_test_rand_int_range (0, 30);
  case 4: /* the ring, which the device then overwrites */
    return vt_guest_gpa (f->guest, f->desc) +
           g_test_rand_int_range (0, 16 * RING_SIZE);
  default: return f->gpa + g_test_rand_int_range (0, 2048);
  }
}

static void
random_desc (Fixture *f, Desc *desc)
{
  static const guint16 flags[] = { 0,     0,    NEXT,         NEXT,
                                   WRITE, NEXT, NEXT | WRITE, INDIRECT };
  guint16 flag = flags[g_test_rand_int_range (0, G_N_ELEMENTS (flags))];
  guint32 len = g_test_rand_int_range (0, 20) ? g_test_rand_int_range (0, 64)
                                              : g_test_rand_int ();
  guint64 gpa = random_gpa (f);

  if (flag & INDIRECT && g_test_rand_bit ()) {
    gpa = f->table_gpa;
    len = 16 * g_test_rand_int_range (0, 40);
  }
  flag |= g_test_rand_int_range (0, 4) ? AVAIL : g_test_rand_int () & 0xffff;
  write_desc (desc, gpa, len, flag);
  desc->id = g_test_rand_int ();
}

static void
test_noise_is_survived (Fixture *f, gconstpointer data)
{
  guint n_rounds = g_test_thorough () ? 20000 : 1000;

  f->echo.mode = GPOINTER_TO_UINT (data);
  f->rig.pool = vd_pool_new (1);
  for (guint i = 0; i < n_rounds; i++) {
    vt_ring_reset (f->ring, 0);
    f->rig.force_poll = i % 2;
    for (guint j = 0; j < RING_SIZE; j++)
      random_desc (f, &f->desc[j]);
    for (guint j = 0; j < 40; j++)
      random_desc (f, &f->table[j]);
    vt_queue_rig_start (&f->rig, f->ring);
    if (g_test_rand_bit ())
      vt_ring_kick_always (f->ring);
    vt_queue_rig_enable (&f->rig, f->ring, TRUE);
    vt_queue_rig_stop (&f->rig, f->ring);
  }
  vd_pool_free (f->rig.pool);
}

int
main (int argc, char **argv)
{
  g_test_init (&argc, &argv, NULL);
#define ADD(name, func)                                                        \
  g_test_add ("/packed/" name, Fixture, NULL, set_up, func, tear_down)
  for (guint i = 0; i < G_N_ELEMENTS (breaks); i++) {
    g_autofree char *path =
        g_strconcat ("/packed/break/", breaks[i].name, NULL);

    g_test_add (path, Fixture, GUINT_TO_POINTER (i), set_up,
                test_bad_ring_is_broken_and_can_be_reset, tear_down);
  }
  ADD ("break/too-many", test_more_chains_than_the_ring_has_break_it);
  ADD ("serve/longest", test_longest_chain_is_served);
  ADD ("serve/all", test_chain_of_all_descriptors_is_served);
  ADD ("serve/empty", test_empty_buffers_are_skipped);
  ADD ("start/fresh", test_bases_of_a_fresh_ring);
  ADD ("start/wrapped", test_wrapped_ring_goes_on);
  g_test_add ("/packed/noise/now", Fixture, GUINT_TO_POINTER (VT_ECHO_NOW),
              set_up, test_noise_is_survived, tear_down);
  g_test_add ("/packed/noise/mixed", Fixture, GUINT_TO_POINTER (VT_ECHO_MIXED),
              set_up, test_noise_is_survived, tear_down);
  return g_test_run ();
}
