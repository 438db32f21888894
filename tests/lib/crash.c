/* SPDX-License-Identifier: BSD-3-Clause */
#include "tests/lib/crash.h"

#include <string.h>
#include <sys/mman.h>

#include "vring/fd.h"

#define RING_LEN 8192 /* bytes from the descriptors to the end of the ring */

void
vt_crash_init (VtCrash *crash, VtQueueRig *rig, VtRing *ring)
{
  const gboolean packed = (ring->flags & VT_RING_PACKED) != 0;
  g_autoptr (GError) error = NULL;
  vd_autofd fd = -1;

  *crash = (VtCrash){ .rig = rig, .ring = ring };
  crash->info = (VdInflightInfo){ .n_queues = 1, .queue_size = ring->size };
  rig->inflight = vd_inflight_new (&crash->info, packed, &fd, &error);
  g_assert_no_error (error);
  crash->part =
      mmap (NULL, crash->info.size, PROT_READ | PROT_WRITE, MAP_SHARED, fd, 0);
  g_assert_true (crash->part != MAP_FAILED);
}

void
vt_crash_clear (VtCrash *crash)
{
  g_clear_pointer (&crash->rig->inflight, vd_inflight_unref);
  munmap (crash->part, crash->info.size);
  g_free (crash->saved_ring);
  g_free (crash->saved);
}

void
vt_crash_note (VtCrash *crash)
{
  crash->saved_ring = g_memdup2 (crash->ring->desc, RING_LEN);
  crash->saved = g_memdup2 (crash->part, crash->info.size);
}

void
vt_crash (VtCrash *crash)
{
  vt_queue_rig_stop (crash->rig, crash->ring);
  memcpy (crash->ring->desc, crash->saved_ring, RING_LEN);
  memcpy (crash->part, crash->saved, crash->info.size);
  vt_ring_drain_calls (crash->ring);
}
