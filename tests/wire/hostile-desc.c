/* SPDX-License-Identifier: BSD-3-Clause */
#include "tests/wire/hostile-desc.h"

static void
write_packed (struct vring_packed_desc *to, const VtDesc *desc, guint16 marks)
{
  to->addr = GUINT64_TO_LE (desc->gpa);
  to->len = GUINT32_TO_LE (desc->len);
  to->id = GUINT16_TO_LE (desc->link);
  __atomic_store_n (&to->flags, GUINT16_TO_LE (desc->flags | marks),
                    __ATOMIC_SEQ_CST);
}

void
vt_desc_fill_table (VtRing *ring, void *table, const VtDesc *descs, guint n,
                    guint16 marks)
{
  struct vring_packed_desc *packed = table;
  struct vring_desc *split = table;

  for (guint i = 0; i < n; i++)
    if (vt_ring_is_packed (ring))
      write_packed (&packed[i], &descs[i], marks);
    else
      vt_desc_write (&split[i], descs[i].gpa, descs[i].len, descs[i].flags,
                     descs[i].link);
}

void
vt_desc_write_next (VtRing *ring, guint i, const VtDesc *desc, guint16 lie)
{
  struct vring_packed_desc *table = (void *) ring->desc;
  guint at = ring->avail_idx + i;
  gboolean wrap = ring->avail_wrap ^ (at / ring->size % 2);

  write_packed (table + at % ring->size, desc,
                (wrap ? VT_DESC_AVAIL : VT_DESC_USED) ^ lie);
}

void
vt_desc_submit (VtRing *ring, const VtDesc *descs, guint n)
{
  if (vt_ring_is_packed (ring)) {
    for (guint i = n; i-- > 0;)
      vt_desc_write_next (ring, i, &descs[i], 0);
  } else {
    vt_desc_fill_table (ring, ring->desc, descs, n, 0);
    vt_ring_raw_add (ring, 0, NULL);
    vt_ring_publish (ring);
  }
  vt_ring_kick_always (ring);
}

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
