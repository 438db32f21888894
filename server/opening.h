/* SPDX-License-Identifier: BSD-3-Clause
 *
 * opening.h - a device that a thread of its own opens
 *
 * What is behind a device may keep open() waiting: a server elsewhere, or a
 * lock.  A running daemon opens such devices here, so that the other ones are
 * served meanwhile.  CONTROL.
 */
#pragma once

#include <glib.h>

#include "server/config.h"
#include "vring/mailbox.h"

typedef struct VdOpening VdOpening;

/* Begins to open the device of @config, of which a reference is kept.
 * @control: (transfer none): where @done is posted to, once; it takes the
 *   opening over
 * Returns: NULL with @error set if there is no thread */
VdOpening *vd_opening_new (VdDeviceConfig *config, VdMailbox *control,
                           void (*done) (VdOpening *opening, gpointer data),
                           gpointer data, GError **error);

/* Returns: (transfer none) */
VdDeviceConfig *vd_opening_config (const VdOpening *opening);

/* Once it is done.  Returns: (transfer full): NULL with @error set */
VdDevice *vd_opening_take (VdOpening *opening, GError **error);

/* Once it is done; closes a device that was not taken.  NULL is fine. */
void vd_opening_free (VdOpening *opening);

G_DEFINE_AUTOPTR_CLEANUP_FUNC (VdOpening, vd_opening_free)
