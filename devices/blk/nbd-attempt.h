/* SPDX-License-Identifier: BSD-3-Clause
 *
 * nbd-attempt.h - one attempt to connect to an NBD server
 *
 * Looking up a name cannot be interrupted, so an attempt has a thread of its
 * own, which nobody ever waits for: an attempt that is not wanted any more goes
 * on alone and frees itself, at the latest when its time is over.
 */
#pragma once

#include <glib.h>

#include "vring/worker.h"

struct nbd_handle;

typedef struct VdNbdAttempt VdNbdAttempt;

/* Any thread: begins to connect to @uri.
 * @starter: (transfer none) (nullable): whose thread starts the attempt's, which
 *   is restricted to the system calls of the one that starts it; NULL: this one
 * Returns: (transfer full): NULL with @error set if there is no descriptor or no
 * thread for it */
VdNbdAttempt *
vd_nbd_attempt_new (const char *uri, VdWorker *starter, GError **error);

/* Any thread: drops the attempt, whether it has ended or not; NULL is fine. */
void vd_nbd_attempt_free (VdNbdAttempt *attempt);

/* An eventfd that becomes readable when the attempt has ended, which takes 10
 * seconds at most but for the lookup of a name.  Owned by the attempt. */
int vd_nbd_attempt_fd (const VdNbdAttempt *attempt);

/* Waits for the end for @timeout_ms at most.  Returns: whether it has ended. */
gboolean vd_nbd_attempt_ended (const VdNbdAttempt *attempt, int timeout_ms);

/* Once, after it has ended.
 * Returns: (transfer full): a connection ready for commands, or NULL with @error
 * set to what libnbd says */
struct nbd_handle *vd_nbd_attempt_take (VdNbdAttempt *attempt, GError **error);

G_DEFINE_AUTOPTR_CLEANUP_FUNC (VdNbdAttempt, vd_nbd_attempt_free)
