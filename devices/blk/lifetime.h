/* SPDX-License-Identifier: BSD-3-Clause
 *
 * lifetime.h - how worn a disk is (virtio 1.3, 5.2.6, VIRTIO_BLK_T_GET_LIFETIME)
 *
 * Three numbers in the terms of JEDEC eMMC 5.0: what the host's eMMC says, or
 * what the user says who knows it of another kind of disk.
 */
#pragma once

#include "devices/blk/image.h"

#define VD_BLK_F_LIFETIME     15
#define VD_BLK_T_GET_LIFETIME 10

/* struct virtio_blk_lifetime, which Linux's header lacks; little-endian. */
typedef struct {
  guint16 pre_eol_info;   /* 0: not known, 1: normal, 2: warning, 3: urgent */
  guint16 type_a, type_b; /* 0: not known, else tenths of the life, 11: over */
} VdLifetime;

G_STATIC_ASSERT (sizeof (VdLifetime) == 6);

/* Any thread: whether @text is "auto", "off" or three numbers with commas. */
gboolean vd_lifetime_check (const char *text);

/* CONTROL.  @text: checked
 * Returns: FALSE if nothing is known */
gboolean
vd_lifetime_find (const VdImage *image, const char *text, VdLifetime *ret);
