/* SPDX-License-Identifier: BSD-3-Clause
 *
 * features.h - the key "features": bits by number, by name or as a mask
 */
#pragma once

#include <glib.h>

/* @text: words with commas or spaces between them: a decimal bit number, a mask
 *   that begins with 0x, or a name that the device of @virtio_id has for a bit.
 *   Only a device's own bits, 0 to 23 and 50 to 63; NULL or empty: none.
 * Returns: FALSE with @error set. */
gboolean vd_features_parse (const char *text, guint virtio_id, guint64 *ret,
                            GError **error);
