/* SPDX-License-Identifier: BSD-3-Clause
 *
 * notify.h - telling systemd about the program's state, see sd_notify(3)
 */
#pragma once

/* Sends @state ("READY=1") to the service manager, if there is one. */
void vd_notify (const char *state);
