/* SPDX-License-Identifier: BSD-3-Clause
 *
 * crash.h - a daemon that is killed while its queue has chains in flight
 *
 * The ring and the in-flight region are put back to what they were at one moment,
 * as if nobody had written to them since.
 */
#pragma once

#include "tests/lib/queue-rig.h"

typedef struct {
  VtQueueRig *rig;
  VtRing *ring;
  VdInflightInfo info;
  guint8 *part;               /* the region, mapped */
  guint8 *saved_ring, *saved; /* at the moment */
} VtCrash;

/* Before the queue starts: in-flight tracking for @rig's only queue.
 * @ring: of at most 64 entries */
void vt_crash_init (VtCrash *crash, VtQueueRig *rig, VtRing *ring);
/* The queue has stopped. */
void vt_crash_clear (VtCrash *crash);

/* The moment: the queue runs, but writes nothing now. */
void vt_crash_note (VtCrash *crash);
/* Stops the queue and undoes what it has written since. */
void vt_crash (VtCrash *crash);
