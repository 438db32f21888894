/* SPDX-License-Identifier: BSD-3-Clause
 *
 * request.h - what a chain asks of a disk (virtio 1.3, 5.2.6)
 *
 * The driver may cut header, data and status into descriptors as it likes.
 * Header and ranges are read once into private memory, checked, then used.
 */
#pragma once

#include <linux/virtio_blk.h>

#include "vring/chain.h"

#define VD_BLK_MAX_RANGES  16         /* of one request */
#define VD_BLK_MAX_SECTORS (1u << 22) /* of one such range */
#define VD_BLK_NO_STATUS   (-1)

/* What requests are checked against. */
typedef struct {
  guint64 size;  /* of the disk, bytes */
  guint32 align; /* of all offsets and lengths, bytes, a power of 2 */
  gboolean read_only;
  gboolean discard;      /* DISCARD is offered */
  gboolean secure_erase; /* likewise */
  gboolean lifetime;
} VdBlkLimits;

typedef struct {
  guint64 offset, len; /* bytes */
  gboolean unmap;
} VdBlkRange;

/* A request that passed all checks. */
typedef struct {
  guint8 *status;    /* in guest memory; written last */
  struct iovec *iov; /* IN, OUT, GET_ID, GET_LIFETIME: the guest's data */
  guint n_iov;
  guint n_ranges;      /* DISCARD, WRITE_ZEROES, SECURE_ERASE */
  guint64 offset, len; /* bytes; IN and OUT: where; what has data: len */
  guint32 type;        /* VIRTIO_BLK_T_* */
  VdBlkRange ranges[VD_BLK_MAX_RANGES];
} VdBlkCommand;

/* Any thread: parses @chain, whose lists of buffers are cut in place.
 * @ret: status and type are valid whenever the return value is not negative;
 *   a header too short for a type leaves G_MAXUINT32
 * Returns: VIRTIO_BLK_S_OK to go on, another status to answer with at once, or
 * VD_BLK_NO_STATUS if there is no byte for a status */
int vd_blk_parse (VdChain *chain, const VdBlkLimits *limits, VdBlkCommand *ret);
