/* SPDX-License-Identifier: BSD-3-Clause
 *
 * random.h - rounds of random reads and writes that must all succeed
 *
 * A round has many requests in flight, each in a stripe of its own of the disk,
 * of any length and cut into any buffers.  What is read is compared with the
 * disk's shadow, what is written goes there as well.
 */
#pragma once

#include "tests/devices/blk/disk.h"

#define VT_RANDOM_DEPTH 32u

/* One request of a round, in guest memory. */
typedef struct {
  struct virtio_blk_outhdr *header;
  guint8 *data, *status;
  guint64 sector;
  guint32 len;
  gboolean writes;
} VtRandom;

/* @requests: VT_RANDOM_DEPTH of them */
void vt_random_init (VtRandom *requests, VtDisk *f);
/* Submits a round of @requests on the disk's ring. */
void vt_random_begin (VtRandom *requests, VtDisk *f);
/* Takes and checks it. */
void vt_random_end (VtDisk *f);

/* Whole rounds, and a flush now and then. */
void vt_random_run (VtDisk *f, guint n_rounds);
