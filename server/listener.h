/* SPDX-License-Identifier: BSD-3-Clause
 *
 * listener.h - one device's socket, in either role
 *
 * It listens, connects again and again with back-off, or uses an inherited
 * descriptor, and hands over one connection at a time: while that lives, the
 * next client waits in the backlog.  CONTROL.
 */
#pragma once

#include <glib.h>

#include "server/config.h"

typedef struct VdListener VdListener;

/* @fd: (transfer full): a connected, close-on-exec socket */
typedef void (*VdConnectedFunc) (int fd, gpointer user_data);

/* Binds or checks the socket; connections come after vd_listener_resume().
 * A stale socket file is replaced, one that is served is refused.
 * @id: (transfer none): the device's name in logs
 * Returns: (transfer full): the listener, or NULL with @error set. */
VdListener *
vd_listener_new (const char *id, const VdSocketConfig *config,
                 VdConnectedFunc connected, gpointer user_data, GError **error);

/* Closes the socket and removes its file if it is still ours. */
void vd_listener_free (VdListener *listener);

/* Waits for the next connection; it stops waiting when it has one. */
void vd_listener_resume (VdListener *listener);

/* The last connection was of use: the back-off starts anew. */
void vd_listener_succeeded (VdListener *listener);

G_DEFINE_AUTOPTR_CLEANUP_FUNC (VdListener, vd_listener_free)
