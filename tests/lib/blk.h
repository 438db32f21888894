/* SPDX-License-Identifier: BSD-3-Clause
 *
 * blk.h - virtio-blk requests as a driver makes them, for tests
 */
#pragma once

#include <linux/virtio_blk.h>

#include "tests/lib/ring.h"

#define VT_BLK_NO_STATUS 0xee /* in *status until the device wrote it */

/* A request in guest memory; may be submitted again when it came back. */
typedef struct {
  struct virtio_blk_outhdr *header;
  guint8 *data;
  guint32 data_len;
  guint8 *status;
} VtBlkRequest;

/* @type: VIRTIO_BLK_T_*; the device writes the data of IN and GET_ID, reads it
 * else.  Returns: (transfer full): free with g_free(); guest memory stays. */
VtBlkRequest *vt_blk_request_new (VtGuest *guest, guint32 type, guint64 sector,
                                  guint32 data_len);

/* Adds header, data (if any) and status as three buffers; the token is
 * @request.  Returns: FALSE if the ring is full. */
gboolean vt_blk_add (VtRing *ring, VtBlkRequest *request);

/* Adds, kicks, waits and checks the used length.
 * Returns: the status, VIRTIO_BLK_S_*. */
guint8 vt_blk_run (VtRing *ring, VtBlkRequest *request);

/* One whole read or write, whose data is copied; in the ring's scratch memory.
 * Returns: the status. */
guint8 vt_blk_read (VtRing *ring, guint64 sector, void *data, guint32 data_len);
guint8
vt_blk_write (VtRing *ring, guint64 sector, const void *data, guint32 data_len);
guint8 vt_blk_flush (VtRing *ring);
