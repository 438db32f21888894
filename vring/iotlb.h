/* SPDX-License-Identifier: BSD-3-Clause
 *
 * iotlb.h - what the front-end told of the guest's IOMMU
 *
 * With VIRTIO_F_ACCESS_PLATFORM the addresses in rings, and those of the rings
 * themselves, are the IOMMU's (iova).  The front-end translates them to its own
 * (uva) when it is asked, and withdraws a translation when the guest does.  This
 * is a cache of its answers: bounded, and free to forget any of them.
 *
 * It holds no pointers: a uva goes through the memory map that is current when
 * it is looked up (vring/map.h), so that memory may come and go independently.
 *
 * Threads: CONTROL changes it, queues look things up under its lock.  Queues of
 * drivers without ACCESS_PLATFORM never come here.
 */
#pragma once

#include <glib.h>

#define VD_IOTLB_MAX 16384 /* entries: pages of 64 MiB, if they are small */

/* Kinds of access, as bits; the values are those of the protocol. */
#define VD_ACCESS_READ  1
#define VD_ACCESS_WRITE 2

typedef struct VdIotlb VdIotlb;

typedef struct {
  guint64 iova;
  guint64 size; /* bytes, not 0; neither address wraps */
  guint64 uva;
  guint access; /* VD_ACCESS_*, not 0 */
} VdIotlbEntry;

/* What somebody waits for. */
typedef struct {
  guint64 iova;
  guint access; /* VD_ACCESS_*; 0: nothing is missing */
} VdMiss;

/* CONTROL.  Returns: (transfer full): one without entries. */
VdIotlb *vd_iotlb_new (void);
/* CONTROL: no queue uses it any longer; NULL is fine. */
void vd_iotlb_free (VdIotlb *iotlb);

/* CONTROL: takes @entry in the place of all that it overlaps.  Permissions of
 * the same translation add up, because some front-ends grant only what was
 * asked for.  If it is full, an arbitrary entry goes.
 * Returns: whether a part of it was translated otherwise before. */
gboolean vd_iotlb_update (VdIotlb *iotlb, const VdIotlbEntry *entry);

/* CONTROL: forgets all entries that have a byte from @first to @last. */
void vd_iotlb_invalidate (VdIotlb *iotlb, guint64 first, guint64 last);

/* CONTROL. */
guint vd_iotlb_n_entries (const VdIotlb *iotlb);

/* Any thread: translates @iova for all of @access.
 * @len: (inout): bytes wanted; on return how many of them this entry has
 * @uva: (out)
 * Returns: 0, or what of @access is missing. */
guint vd_iotlb_find (VdIotlb *iotlb, guint64 iova, guint access, guint64 *len,
                     guint64 *uva);

/* Any thread: translates the whole range, which entries must map to adjacent
 * addresses.
 * @miss: (out): what is missing, or nothing
 * Returns: FALSE if something is missing, or the range is scattered. */
gboolean vd_iotlb_find_all (VdIotlb *iotlb, guint64 iova, guint64 len,
                            guint access, guint64 *uva, VdMiss *miss);

G_DEFINE_AUTOPTR_CLEANUP_FUNC (VdIotlb, vd_iotlb_free)
