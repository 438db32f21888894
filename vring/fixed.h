/* SPDX-License-Identifier: BSD-3-Clause
 *
 * fixed.h - guest memory as the registered buffers of a worker's io_uring
 *
 * A read or write of a registered ("fixed") buffer spares the kernel to look its
 * pages up and to pin them, for each request.  For that all pages stay pinned, so
 * all of them exist, and one that the front-end gives back to the host goes on
 * being the one that is read and written: only for guests whose memory stays as
 * it is.
 *
 * The table is a cache of addresses: what it does not find is read and written as
 * without it.  So it may follow a change of memory at its own pace, except that
 * memory leaves it before the mapping goes.  All on QUEUE.
 */
#pragma once

#include <glib.h>
#include <liburing.h>

#include "vring/map.h"

typedef struct VdFixed VdFixed;

/* Called once for a map: the kernel refused to register it, with @error, an
 * errno, and nothing is registered now. */
typedef void (*VdFixedRefused) (gpointer data, int error);

/* @ring: (transfer none): outlives the table
 * Returns: (transfer full): an empty table, or NULL; @refused was called then. */
VdFixed *
vd_fixed_new (struct io_uring *ring, VdFixedRefused refused, gpointer data);
/* Ends the registration of all memory; NULL is fine. */
void vd_fixed_free (VdFixed *fixed);

/* Takes all memory out that is not @map's, before this returns, and lets
 * vd_fixed_step() put in what is new.
 * @map: (transfer none) (nullable): until the next call; NULL: none */
void vd_fixed_use (VdFixed *fixed, const VdMap *map);

/* Whether there may be memory to put in. */
gboolean vd_fixed_is_pending (const VdFixed *fixed);
/* Puts another part in: a millisecond's work, or less, unless the kernel has to
 * make huge pages. */
void vd_fixed_step (VdFixed *fixed);

/* Returns: the index of the buffer that has these @len bytes, not 0, or -1.  What
 * is submitted with it when the memory has left the table ends with -EFAULT. */
int vd_fixed_find (const VdFixed *fixed, const void *at, gsize len);
