/* SPDX-License-Identifier: BSD-3-Clause
 *
 * dirty.h - the log of guest pages that a device wrote, for live migration
 *
 * One bit for each 4096 bytes of guest physical memory, in memory shared with
 * the front-end (vhost-user specification, "Migration").
 */
#pragma once

#include <glib.h>

#define VD_DIRTY_PAGE 4096 /* bytes of guest memory for each bit */

typedef struct VdDirty VdDirty;

/* Maps @size bytes of @fd from @offset; the caller closes @fd.  CONTROL.
 * Returns: (transfer full): the log, or NULL with @error set. */
VdDirty *vd_dirty_new (int fd, guint64 offset, guint64 size, GError **error);
VdDirty *vd_dirty_ref (VdDirty *dirty); /* CONTROL */
void vd_dirty_unref (VdDirty *dirty);   /* CONTROL; NULL is fine */

/* Any thread: marks the pages of @len bytes at @gpa; those that the log has no
 * bit for are left out. */
void vd_dirty_mark (VdDirty *dirty, guint64 gpa, guint64 len);

/* Any thread: whether the front-end truncated the log. */
gboolean vd_dirty_is_lost (const VdDirty *dirty);

/* Whether there is a bit for every page below @gpa. */
gboolean vd_dirty_covers (const VdDirty *dirty, guint64 gpa);

G_DEFINE_AUTOPTR_CLEANUP_FUNC (VdDirty, vd_dirty_unref)
