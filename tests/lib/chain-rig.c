/* SPDX-License-Identifier: BSD-3-Clause */
#include "tests/lib/chain-rig.h"

#include <string.h>

#define ENTRY sizeof (struct vring_desc) /* in both formats */

void
vt_chain_rig_init (VtChainRig *f, VtRingFlags flags)
{
  f->guest = vt_guest_new (VT_CHAIN_MEMORY);
  f->ring =
      vt_ring_new (f->guest, 0, (flags & VT_RING_PACKED) ? 12 : 16, flags);
  f->data = vt_guest_alloc (f->guest, 4096, 4096);
  f->gpa = vt_guest_gpa (f->guest, f->data);
  f->table = vt_guest_alloc (f->guest, VT_CHAIN_TABLE * ENTRY, 16);
  f->table_gpa = vt_guest_gpa (f->guest, f->table);
  vt_queue_rig_init (&f->rig, f->guest, &vt_echo_ops, &f->echo);
}

void
vt_chain_rig_clear (VtChainRig *f)
{
  vt_queue_rig_clear (&f->rig);
  vt_ring_free (f->ring);
  vt_guest_free (f->guest);
}

void
vt_chain_rig_echo (VtChainRig *f)
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

VtDesc
vt_chain_rig_indirect (VtChainRig *f, guint n)
{
  return (VtDesc){ f->table_gpa, n * ENTRY, VRING_DESC_F_INDIRECT, 0 };
}

VtDesc
vt_chain_rig_long_table (VtChainRig *f, guint n)
{
  g_autofree VtDesc *descs = g_new (VtDesc, n);

  g_assert_cmpuint (n, <=, VT_CHAIN_TABLE);
  for (guint i = 0; i < n; i++)
    descs[i] = (VtDesc){ f->gpa + i, 1,
                         (i + 1 < n ? VRING_DESC_F_NEXT : 0) |
                             (i >= n / 2 ? VRING_DESC_F_WRITE : 0),
                         (guint16) (i + 1) };
  vt_desc_fill_table (f->ring, f->table, descs, n, 0);
  return vt_chain_rig_indirect (f, n);
}

guint64
vt_chain_rig_random_gpa (VtChainRig *f)
{
  switch (g_test_rand_int_range (0, 9)) {
  case 0: return VT_CHAIN_NOWHERE;
  case 1: return VT_GPA_BASE + VT_CHAIN_MEMORY - g_test_rand_int_range (0, 64);
  case 2: return (guint64) g_test_rand_int () << 32 | g_test_rand_int ();
  case 3: return f->table_gpa + 16 * g_test_rand_int_range (0, 30);
  case 4: /* the ring, which the device then overwrites */
    return vt_guest_gpa (f->guest, f->ring->desc) +
           g_test_rand_int_range (0, 16 * f->ring->size);
  default: return f->gpa + g_test_rand_int_range (0, 2048);
  }
}
