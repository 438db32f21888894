/* SPDX-License-Identifier: BSD-3-Clause
 *
 * inherited.h - descriptors that the daemon was started with, by number or, as
 * service managers pass them (LISTEN_FDNAMES, sd_listen_fds(3)), by name
 */
#pragma once

#include <glib.h>

/* CONTROL.  @name: what follows "fd:"; a number, or a name that was passed
 * Returns: the descriptor, which stays open under its number, or -1 with @error
 * set, whose text makes sense after the option */
int vd_inherited_fd (const char *name, GError **error);
