/* SPDX-License-Identifier: BSD-3-Clause
 *
 * nbd-server.h - an NBD server that a test starts, kills and starts again
 */
#pragma once

#include <glib.h>

typedef struct {
  char *dir;    /* temporary folder */
  char *socket; /* in it */
  char *log;    /* of nbdkit's log filter, in it */
  char *uri;    /* nbd+unix:///?socket=... */
  GPtrArray *argv;
  GPid pid; /* 0: not running */
} VtNbdServer;

/* Whether @program, "nbdkit" or "qemu-nbd", is installed; else skips the test. */
gboolean vt_nbd_server_exists (const char *program);

/* nbdkit with this plugin; it does not run yet.
 * @...: more options, and keys of the plugin and of filters, NULL-ended */
VtNbdServer *vt_nbdkit_new (const char *plugin, ...) G_GNUC_NULL_TERMINATED;
/* qemu-nbd on the qcow2 image @path. */
VtNbdServer *vt_qemu_nbd_new (const char *path);
/* Kills it if it runs. */
void vt_nbd_server_free (VtNbdServer *server);

/* Starts it and waits until it listens. */
void vt_nbd_server_start (VtNbdServer *server);
/* Ends it as @signal_number does, or by force. */
void vt_nbd_server_stop (VtNbdServer *server, int signal_number);

/* Returns: how often the log has a line that matches the regular expression. */
guint vt_nbd_server_count (VtNbdServer *server, const char *pattern);
