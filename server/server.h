/* SPDX-License-Identifier: BSD-3-Clause
 *
 * server.h - the program: devices with their listeners and sessions, signals
 */
#pragma once

#include <glib.h>

#include "server/config.h"

typedef struct VdServer VdServer;

/* Opens every device, then every socket, so that a mistake is seen before any
 * front-end.  CONTROL, as all here.
 * @config: (transfer full)
 * Returns: (transfer full): the server, or NULL with @error set to one line. */
VdServer *vd_server_new (VdServerConfig *config, GError **error);

/* Serves until SIGTERM or SIGINT; tells systemd when it is ready.  SIGHUP reads
 * the key-files again, SIGUSR1 writes the state to the log. */
void vd_server_run (VdServer *server);

/* Frees the server, whose sessions have ended in vd_server_run(). */
void vd_server_free (VdServer *server);

G_DEFINE_AUTOPTR_CLEANUP_FUNC (VdServer, vd_server_free)
