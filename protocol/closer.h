/* SPDX-License-Identifier: BSD-3-Clause
 *
 * closer.h - descriptors that a peer has sent and nobody wants
 *
 * The last close() of an internet socket waits as long as its sender has said
 * (SO_LINGER), and no front-end has a use for one.  So they are refused where
 * they arrive, and closed on a thread that may wait.
 */
#pragma once

#include <glib.h>

/* Whether closing @fd may wait.  Does not wait itself. */
gboolean vd_fd_may_linger (int fd);

/* Any thread: closes @fd soon, without waiting for it. */
void vd_close_elsewhere (int fd);
