/* SPDX-License-Identifier: BSD-3-Clause
 *
 * pages.h - a window in config space: selectors choose the page that is in it
 *
 * As in virtio-input (virtio 1.3, 5.8.5): the driver writes the select fields,
 * then reads the size field and the page field.  "page.17.1" is the page for the
 * values 17 and 1 of the first two selectors; selectors that are not named are
 * 0.  A page that is not there has size 0.  CONTROL.
 */
#pragma once

#include "devices/generic/layout.h"

#define VD_SELECTORS_MAX 4

typedef struct VdPages VdPages;

/* Finds the window's fields in @layout, which stays the caller's and must
 * outlive the pages.
 * Returns: (transfer full): without any page yet, or NULL with @error set if
 * the roles make no window: a select or size without a page, two of a kind. */
VdPages *vd_pages_new (const VdLayout *layout, GError **error);
void vd_pages_free (VdPages *pages); /* NULL is fine */

/* Adds a page.
 * @selectors: "17.1"
 * @text: typed values (value.h) with semicolons between them, which are put one
 *   behind the other: "string virtiod keyboard", "u8 1; le32 0x100" */
gboolean vd_pages_add (VdPages *pages, const char *selectors, const char *text,
                       GError **error);

/* Whether a driver's write to this span may have chosen another page. */
gboolean vd_pages_is_selector (const VdPages *pages, guint offset, guint len);

/* Puts the chosen page and its size into @config.  Returns: whether a byte
 * changed. */
gboolean vd_pages_fill (const VdPages *pages, VdConfig *config);

/* Sets all selectors to 0 and fills. */
void vd_pages_reset (const VdPages *pages, VdConfig *config);

/* Returns: how many there are. */
guint vd_pages_count (const VdPages *pages);

G_DEFINE_AUTOPTR_CLEANUP_FUNC (VdPages, vd_pages_free)
