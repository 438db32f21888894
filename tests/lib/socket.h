/* SPDX-License-Identifier: BSD-3-Clause
 *
 * socket.h - UNIX stream sockets that carry descriptors, for tests
 *
 * Blocking, with a limit of VT_TIMEOUT_MS on every wait, after which the test
 * fails.
 */
#pragma once

#include <glib.h>

#define VT_TIMEOUT_MS 20000 /* for what should come soon, on a slow machine */

/* Waits until someone listens at @path.  Returns: a connected socket. */
int vt_connect (const char *path);
/* Returns: a listening socket. */
int vt_listen (const char *path);
/* Returns: a connected socket. */
int vt_accept (int listen_fd);

/* Sends all of it, with @fds attached to the first byte.
 * Returns: FALSE if the peer closed the connection. */
gboolean vt_socket_send (int fd, const void *bytes, gsize len, const int *fds,
                         guint n_fds);

/* Waits for @len bytes.
 * @ret_fd: (out) (optional): a descriptor that came along, or -1; one that
 *   comes where it is not asked for fails the test
 * Returns: the bytes received, less than @len if the connection ended. */
gsize vt_socket_receive (int fd, void *to, gsize len, int *ret_fd);

/* Returns: whether @fd became readable in @timeout_ms. */
gboolean vt_wait_readable (int fd, int timeout_ms);
