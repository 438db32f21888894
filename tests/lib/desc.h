/* SPDX-License-Identifier: BSD-3-Clause
 *
 * desc.h - descriptors that a driver writes by hand, in a ring of either format
 */
#pragma once

#include "tests/lib/ring.h"

#define VT_DESC_AVAIL (1u << VRING_PACKED_DESC_F_AVAIL)
#define VT_DESC_USED  (1u << VRING_PACKED_DESC_F_USED)

typedef struct {
  guint64 gpa;
  guint32 len;
  guint16 flags; /* without the marks of a packed ring */
  guint16 link;  /* split: the next descriptor; packed: the chain's id */
} VtDesc;

/* Writes @descs into the indirect table @table of @ring, as they are.
 * @marks: packed: flags to add to each */
void vt_desc_fill_table (VtRing *ring, void *table, const VtDesc *descs,
                         guint n, guint16 marks);

/* Packed: writes descriptor @i behind those that the device has seen.
 * @lie: turns these of the marks that make it available */
void
vt_desc_write_next (VtRing *ring, guint i, const VtDesc *desc, guint16 lie);

/* Shows the device a chain: descriptors from 0 on, or the next ones of a packed
 * ring, the first one last. */
void vt_desc_submit (VtRing *ring, const VtDesc *descs, guint n);

static inline gboolean
vt_ring_is_packed (const VtRing *ring)
{
  return (ring->flags & VT_RING_PACKED) != 0;
}
