/* SPDX-License-Identifier: BSD-3-Clause
 *
 * pinned.h - memory that a process has pinned, as with io_uring's registered
 * buffers
 */
#pragma once

#include <glib.h>

/* Returns: bytes that the process has pinned now. */
gsize vt_pinned (GPid pid);
/* Waits until it is @expected, else fails the test: some kernels unpin a moment
 * after they were told to. */
void vt_wait_pinned (GPid pid, gsize expected);

/* Skips the test, and returns FALSE, unless this process and those that it starts
 * may have @len bytes in a table of registered buffers. */
gboolean vt_may_pin (gsize len);
