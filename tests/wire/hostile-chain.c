/* SPDX-License-Identifier: BSD-3-Clause
 *
 * hostile-chain.c - chains by which a started ring breaks
 */
#include "tests/wire/hostile.h"

void
vt_attack_expect_chain_breaks (VtAttack *attack, const VtDesc *descs, guint n)
{
  vt_attack_start (attack);
  vt_desc_submit (attack->ring, descs, n);
  vt_attack_expect_broken (attack);
}

void
vt_attack_expect_table_breaks (VtAttack *attack, const VtDesc *descs, guint n,
                               guint32 len, guint16 flags)
{
  void *table =
      vt_guest_alloc (attack->guest, n * sizeof (struct vring_desc), 16);
  const VtDesc outer = { vt_guest_gpa (attack->guest, table), len,
                         VRING_DESC_F_INDIRECT | flags, 1 };

  vt_desc_fill_table (attack->ring, table, descs, n, 0);
  vt_attack_expect_chain_breaks (attack, &outer, 1);
}

guint64
vt_attack_page (VtAttack *attack)
{
  return vt_guest_gpa (attack->guest,
                       vt_guest_alloc (attack->guest, 4096, 4096));
}

guint64
vt_attack_memory_end (VtAttack *attack)
{
  const VtRegion *r = g_ptr_array_index (attack->guest->regions, 0);

  return r->gpa + r->size;
}
