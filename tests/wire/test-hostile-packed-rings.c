/* SPDX-License-Identifier: BSD-3-Clause
 *
 * test-hostile-packed-rings.c - attacks by what a front-end says of packed rings
 *
 * As test-hostile-rings.c (virtio 1.3, 2.8).
 */
#include "tests/wire/hostile.h"

#define WRAP (1u << VRING_PACKED_EVENT_F_WRAP_CTR)

static VtOutcome
try_ring (VtAttack *a, guint32 num, guint64 desc, guint64 driver,
          guint64 device)
{
  const VdWireVringAddr addr = { .desc = desc,
                                 .avail = driver,
                                 .used = device };
  VtOutcome outcome;

  vt_attack_try_state (a, VD_SET_VRING_NUM, 0, num);
  vt_attack_try (a, VD_SET_VRING_ADDR, &addr, sizeof addr, NULL, 0);
  vt_attack_try_u64 (a, VD_SET_VRING_KICK, 0, a->ring->kick_fd);
  outcome = vt_attack_try_state (a, VD_SET_VRING_ENABLE, 0, 1);
  vt_get_vring_base (a->fe, 0);
  g_assert_true (vt_set_vring_base (a->fe, 0, vt_ring_base (a->ring)));
  g_assert_true (vt_set_vring_enable (a->fe, 0, FALSE));
  return outcome;
}

/* Unlike those of a split ring they need not be powers of two. */
static void
ring_sizes (VtAttack *a)
{
  const guint32 right[] = { 1, 3, 100, 127, 128 };
  const guint32 wrong[] = { 0,       32769,      65535,      65536,
                            1 << 17, 0x80000000, G_MAXUINT32 };
  const guint64 desc = vt_guest_uva (a->guest, a->ring->desc);
  const guint64 driver = vt_guest_uva (a->guest, a->ring->avail);
  const guint64 device = vt_guest_uva (a->guest, a->ring->used);

  vt_attack_describe (a);
  for (guint i = 0; i < G_N_ELEMENTS (right); i++)
    g_assert_cmpint (try_ring (a, right[i], desc, driver, device), ==,
                     VT_ACKED);
  for (guint i = 0; i < G_N_ELEMENTS (wrong); i++)
    g_assert_cmpint (try_ring (a, wrong[i], desc, driver, device), ==,
                     VT_NACKED);
}

/* Addresses that none of the three parts may have. */
static void
ring_addresses (VtAttack *a)
{
  const VtRegion *r = g_ptr_array_index (a->guest->regions, 0);
  const guint64 desc = vt_guest_uva (a->guest, a->ring->desc);
  const guint64 driver = vt_guest_uva (a->guest, a->ring->avail);
  const guint64 device = vt_guest_uva (a->guest, a->ring->used);
  const guint64 end = r->uva + r->size, size = 16 * VT_ATTACK_RING;
  const guint64 wrong[] = { 0,   1,           r->gpa,     r->uva - 16,
                            end, G_MAXUINT64, 1ull << 63, r->uva + 2 };

  vt_attack_describe (a);
  for (guint i = 0; i < G_N_ELEMENTS (wrong); i++) {
    const guint64 bad = wrong[i];

    g_assert_cmpint (try_ring (a, VT_ATTACK_RING, bad, driver, device), ==,
                     VT_NACKED);
    g_assert_cmpint (try_ring (a, VT_ATTACK_RING, desc, bad, device), ==,
                     VT_NACKED);
    g_assert_cmpint (try_ring (a, VT_ATTACK_RING, desc, driver, bad), ==,
                     VT_NACKED);
  }
  g_assert_cmpint (
      try_ring (a, VT_ATTACK_RING, end - size + 16, driver, device), ==,
      VT_NACKED);
  g_assert_cmpint (try_ring (a, VT_ATTACK_RING, end - size, driver, device), ==,
                   VT_ACKED);
  g_assert_cmpint (try_ring (a, VT_ATTACK_RING, desc, driver, end - 4), ==,
                   VT_ACKED);
  g_assert_cmpint (try_ring (a, VT_ATTACK_RING, desc, driver, driver), ==,
                   VT_ACKED); /* on top of each other: the driver's loss */
}

static void
bases_outside_the_ring (VtAttack *a)
{
  const guint32 bases[] = { VT_ATTACK_RING,
                            WRAP | VT_ATTACK_RING,
                            WRAP << 16 | VT_ATTACK_RING << 16 | WRAP,
                            0x7fff,
                            0x7fff0000,
                            G_MAXUINT32 };

  vt_attack_describe (a);
  for (guint i = 0; i < G_N_ELEMENTS (bases); i++) {
    vt_attack_try_state (a, VD_SET_VRING_BASE, 0, bases[i]);
    vt_attack_try_u64 (a, VD_SET_VRING_KICK, 0, a->ring->kick_fd);
    g_assert_cmpint (vt_attack_try_state (a, VD_SET_VRING_ENABLE, 0, 1), ==,
                     VT_NACKED);
    vt_get_vring_base (a->fe, 0);
  }
  g_assert_true (vt_set_vring_enable (a->fe, 0, FALSE));
  vt_attack_start (a);
}

int
main (int argc, char **argv)
{
  g_test_init (&argc, &argv, NULL);
#define ADD(path, func) vt_attack_add_packed ("/hostile/packed/" path, func)
  ADD ("size", ring_sizes);
  ADD ("address", ring_addresses);
  ADD ("base/outside", bases_outside_the_ring);
  return vt_attack_main ();
}
