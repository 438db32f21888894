/* SPDX-License-Identifier: BSD-3-Clause
 *
 * test-packed.c - packed rings of drivers that stretch the rules, and noise
 *
 * As test-split.c.
 */
#include "vring/queue.h"

#include "tests/lib/chain-rig.h"

#define RING_SIZE 12

#define NEXT     VRING_DESC_F_NEXT
#define WRITE    VRING_DESC_F_WRITE
#define INDIRECT VRING_DESC_F_INDIRECT
#define AVAIL    VT_DESC_AVAIL
#define USED     VT_DESC_USED

typedef struct vring_packed_desc Desc;
typedef VtChainRig Fixture;

static void
set_up (Fixture *f, gconstpointer data)
{
  vt_chain_rig_init (f, VT_RING_PACKED);
  g_assert_cmpuint (f->ring->size, ==, RING_SIZE);
}

static void
tear_down (Fixture *f, gconstpointer data)
{
  vt_chain_rig_clear (f);
}

/* Descriptor @i of the ring. */
static Desc *
at (Fixture *f, guint i)
{
  return (Desc *) (void *) f->ring->desc + i;
}

static void
write_desc (Desc *desc, guint64 gpa, guint32 len, guint16 flags)
{
  desc->addr = GUINT64_TO_LE (gpa);
  desc->len = GUINT32_TO_LE (len);
  desc->id = 7;
  __atomic_store_n (&desc->flags, GUINT16_TO_LE (flags), __ATOMIC_SEQ_CST);
}

/* --- What stretches the rules --- */

/* Waits for the used element at @index of the first round. */
static Desc
take_at (Fixture *f, guint index)
{
  gint64 end = g_get_monotonic_time () + VT_TIMEOUT_MS * 1000ll;
  guint16 both = GUINT16_TO_LE (AVAIL | USED);

  while ((__atomic_load_n (&at (f, index)->flags, __ATOMIC_SEQ_CST) & both) !=
         both) {
    g_assert_cmpint (g_get_monotonic_time (), <, end);
    g_usleep (50);
  }
  return *at (f, index);
}

static void
test_longest_chain_is_served (Fixture *f, gconstpointer data)
{
  VtDesc outer;

  vt_queue_rig_start (&f->rig, f->ring);
  for (guint i = 0; i < VD_CHAIN_MAX; i++)
    f->data[i] = i / 3;
  outer = vt_chain_rig_long_table (f, VD_CHAIN_MAX);
  vt_desc_submit (f->ring, &outer, 1);
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
    write_desc (at (f, i), f->gpa + i, 1,
                AVAIL | (i + 1 < RING_SIZE ? NEXT : WRITE));
  at (f, 0)->id = 1;
  at (f, RING_SIZE - 1)->id = GUINT16_TO_LE (0xbeef);
  vt_ring_kick_always (f->ring);
  g_assert_cmphex (GUINT16_FROM_LE (take_at (f, 0).id), ==, 0xbeef);
  g_assert_cmphex (vt_queue_rig_stop (&f->rig, f->ring), ==, 0); /* wrapped */
}

static void
test_empty_buffers_are_skipped (Fixture *f, gconstpointer data)
{
  vt_queue_rig_start (&f->rig, f->ring);
  f->data[0] = 0x11;
  write_desc (at (f, 3), f->gpa + 1, 1, AVAIL | WRITE);
  write_desc (at (f, 2), VT_CHAIN_NOWHERE, 0, AVAIL | NEXT);
  write_desc (at (f, 1), f->gpa, 1, AVAIL | NEXT);
  write_desc (at (f, 0), 0, 0, AVAIL | NEXT);
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
    vt_chain_rig_echo (f);
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
    vt_chain_rig_echo (f);
    base = vt_queue_rig_stop (&f->rig, f->ring);
    g_assert_cmphex (base, ==, vt_ring_base (f->ring));
  }
}

/* --- Noise --- */

static void
random_desc (Fixture *f, Desc *desc)
{
  static const guint16 flags[] = { 0,     0,    NEXT,         NEXT,
                                   WRITE, NEXT, NEXT | WRITE, INDIRECT };
  guint16 flag = flags[g_test_rand_int_range (0, G_N_ELEMENTS (flags))];
  guint32 len = g_test_rand_int_range (0, 20) ? g_test_rand_int_range (0, 64)
                                              : g_test_rand_int ();
  guint64 gpa = vt_chain_rig_random_gpa (f);

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
      random_desc (f, at (f, j));
    for (guint j = 0; j < 40; j++)
      random_desc (f, (Desc *) f->table + j);
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
