/* SPDX-License-Identifier: BSD-3-Clause
 *
 * rig.h - a device with started queues and no socket, for unit tests
 *
 * Plays the session's part: it opens the device from keys and values, tells it
 * what the driver acked, starts and stops its queues.  CONTROL is the test's
 * thread (queue-rig.h).
 */
#pragma once

#include "devices/device.h"
#include "tests/lib/queue-rig.h"

typedef struct {
  VtQueueRig queues;
  VdDevice *dev;
  gboolean started;       /* the driver's life has begun */
  guint n_config_changed; /* calls of the device's services */
  guint n_resumed;
} VtRig;

/* Opens a device of kind @ops; nothing runs yet.  Set rig->queues.force_poll
 * before the first ring starts to test without io_uring.
 * @...: keys and values, NULL-ended; "socket" need not be given
 * Returns: NULL with @error set as the device did. */
VtRig *vt_rig_open (VtGuest *guest, const VdDeviceOps *ops, GError **error,
                    ...) G_GNUC_NULL_TERMINATED;
/* Ends the driver's life and closes the device; NULL is fine. */
void vt_rig_free (VtRig *rig);

/* Begins the driver's life: it acked @features, device bits of those that the
 * device offers; VERSION_1 and ring bits are added.  Called by the first
 * vt_rig_start_ring() with all that is offered if it was not before. */
void vt_rig_start (VtRig *rig, guint64 features);

/* Starts the device's queue ring->index on @ring, which was just reset. */
void vt_rig_start_ring (VtRig *rig, VtRing *ring);

/* Returns: the base.  As GET_VRING_BASE: done when nothing is in flight. */
guint32 vt_rig_stop_ring (VtRig *rig, VtRing *ring);

/* Stops all queues and resets the device, as RESET_DEVICE does. */
void vt_rig_reset (VtRig *rig);

/* A driver's write to config space, as the session does it; waits if the device
 * answers later.
 * Returns: FALSE if it was out of bounds. */
gboolean
vt_rig_write_config (VtRig *rig, guint offset, const void *from, guint len);

G_DEFINE_AUTOPTR_CLEANUP_FUNC (VtRig, vt_rig_free)
