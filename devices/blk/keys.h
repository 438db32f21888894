/* SPDX-License-Identifier: BSD-3-Clause
 *
 * keys.h - the options of a disk
 */
#pragma once

#include <linux/virtio_blk.h>

#include "devices/options.h"

extern const VdKey vd_blk_keys[];

/* VdDeviceOps.check. */
gboolean vd_blk_check (VdOptions *options, GError **error);

/* Returns: which of its choices the VD_KEY_ENUM @name of vd_blk_keys has. */
guint vd_blk_choice (VdOptions *options, const char *name);

/* Returns: FALSE if none is set; @ret is then untouched. */
gboolean vd_blk_geometry (VdOptions *options, struct virtio_blk_geometry *ret);

/* Returns: bytes, 0 if the image decides. */
guint vd_blk_block_size (VdOptions *options);
