/* SPDX-License-Identifier: BSD-3-Clause */
#include "tests/lib/desc.h"

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
