/* SPDX-License-Identifier: BSD-3-Clause
 *
 * state-work.h - a device's state to bytes and back, beside the main loop
 *
 * A share with a hundred thousand files needs seconds for either, and its file
 * system may hang.  Kinds that say so (VdDeviceOps.slow_state) are asked on a
 * thread that lives as long as the work does: not one of the device's pool,
 * whose threads may be confined to serving requests.  CONTROL.
 */
#pragma once

#include "devices/device.h"

/* The work is done; always from the main loop, never before the call that began
 * it has returned.
 * @stream: (transfer none) (nullable): what was saved; NULL after a load
 * @error: (nullable): why it failed */
typedef void (*VdStateDone) (gpointer data, GBytes *stream,
                             const GError *error);

/* One work for a device at a time.  All queues are stopped, and until @done is
 * called nothing else is asked of @dev but reload() and dump().  It cannot be
 * cancelled, but dev->abandoned, which is cleared here, hastens it. */
void vd_state_save (VdDevice *dev, VdStateDone done, gpointer data);

/* @stream: (transfer full): as vd_state_save() gave it, but not trusted */
void
vd_state_load (VdDevice *dev, GBytes *stream, VdStateDone done, gpointer data);
