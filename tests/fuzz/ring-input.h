/* SPDX-License-Identifier: BSD-3-Clause
 *
 * ring-input.h - guest memory and a ring out of a fuzzer's input, served by a
 * real queue on the caller's thread
 *
 * An input is an FzRingHeader, what in-flight memory holds, what guest memory
 * holds, and then what the other side does after each turn of the queue: the
 * driver writes (two bytes of address, one of length, and the bytes), or the
 * front-end sends a command (two bytes that are no address of guest memory).
 */
#pragma once

#include "tests/fuzz/fuzz.h"

#define FZ_RING_EVENT_IDX 0x01
#define FZ_RING_DIRTY     0x02 /* a log of writes */
#define FZ_RING_LOG       0x04 /* of the ring's own as well */
#define FZ_RING_POLL      0x08 /* no kick descriptor */
#define FZ_RING_HOLD      0x10 /* chains stay in flight for a turn */
#define FZ_RING_REVERSE   0x20 /* completed last in, first out */
#define FZ_RING_KILL      0x40 /* a second queue takes over in the middle */

typedef struct {
  guint16 size;
  guint8 flags; /* FZ_RING_* */
  guint8 wants; /* chains that the device takes at once, 0: any */
  guint32 base;
  guint32 desc, avail, used; /* uva */
  guint16 image_len;         /* bytes of guest memory that the input gives */
  guint16 inflight_len;      /* bytes of in-flight memory */
} FzRingHeader;
G_STATIC_ASSERT (sizeof (FzRingHeader) == 24);

/* Serves the ring until nothing comes any more or it is broken.  Every buffer
 * that the queue hands over must lie in guest memory, and is written to.
 * @inflight: whether the queue tracks what is in flight */
void fz_ring_run (const guint8 *data, gsize size, gboolean packed,
                  gboolean inflight);
