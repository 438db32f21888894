/* SPDX-License-Identifier: BSD-3-Clause
 *
 * state-rig.h - two instances of a share, for moving a guest from one to the
 * other
 */
#pragma once

#include "devices/fs/state.h"
#include "tests/devices/fs/fixture.h"

/* Stops the guest's queues, and starts them anew. */
void vt_state_stop (VtFs *f);
void vt_state_go_on (VtFs *f);

/* Opens a second instance, whose queues are stopped.
 * @dir: what it shares */
void vt_state_open_target (VtFs *to, const char *dir, const VtFsConfig *config);
/* Closes it, leaving the directory to its owner. */
void vt_state_close_target (VtFs *to, const VtFsConfig *config);

/* Returns: (transfer full): NULL with @error set. */
GByteArray *vt_state_save (VtFs *f, GError **error);
/* The same where failure fails the test. */
GByteArray *vt_state_saved (VtFs *f);
gboolean vt_state_load (VtFs *f, const GByteArray *state, GError **error);

/* Moves the guest of @from, which stops, to @to, which goes on. */
void vt_state_move (VtFs *from, VtFs *to);

void vt_state_assert_reads (VtFs *f, guint64 nodeid, guint64 fh,
                            const char *content);
/* How many files the last load did not find. */
guint vt_state_n_lost (VtFs *f);
/* Whether the file system has file handles; says so if not. */
gboolean vt_state_has_handles (VtFs *f);
