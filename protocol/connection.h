/* SPDX-License-Identifier: BSD-3-Clause
 *
 * connection.h - messages and descriptors over a stream socket, never blocking
 *
 * Half a message waits in the connection for its rest; what the peer does not
 * read yet waits in a bounded queue.  Both the front-end's socket and the
 * back-end channel use it.  Not thread-safe: CONTROL.
 */
#pragma once

#include <glib.h>

#include "protocol/message.h"

#define VD_OUTPUT_MAX     (64 * 1024) /* bytes queued for a peer that reads not */
#define VD_OUTPUT_FDS_MAX 16          /* descriptors queued with them */

typedef struct VdConnection VdConnection;

typedef enum {
  VD_READ_MESSAGE, /* a whole message */
  VD_READ_AGAIN,   /* nothing or only a part is there: poll for input */
  VD_READ_CLOSED,  /* the peer left between two messages */
  VD_READ_ERROR,   /* @error is set; the connection is of no more use */
} VdReadResult;

/* @fd: (transfer full): a connected AF_UNIX stream socket; made non-blocking
 * by MSG_DONTWAIT, so its flags, shared with the peer's copy, stay. */
VdConnection *vd_connection_new (int fd);
/* Closes it and all descriptors that still wait in it; NULL is fine. */
void vd_connection_free (VdConnection *connection);

/* Reads at most one message; its descriptors belong to @ret, which was empty.
 * Errors: framing only (version, payload over the limit, MSG_CTRUNC, more than
 * VD_MESSAGE_FDS descriptors, descriptors inside a payload, the peer left
 * inside a message, errno). */
VdReadResult
vd_connection_read (VdConnection *connection, VdMessage *ret, GError **error);

/* Queues a message and sends as much of the queue as the socket takes.
 * @flags: of the header, complete
 * @fd: (transfer none): passed along if not -1
 * Returns: FALSE with @error set if the queue is full or the peer is gone. */
gboolean
vd_connection_send (VdConnection *connection, guint32 request, guint32 flags,
                    const void *payload, gsize size, int fd, GError **error);

/* Sends more of the queue, after the socket became writable. */
gboolean vd_connection_flush (VdConnection *connection, GError **error);

/* Whether output waits for the socket: poll for output then. */
gboolean vd_connection_has_output (const VdConnection *connection);

int vd_connection_fd (const VdConnection *connection);

G_DEFINE_AUTOPTR_CLEANUP_FUNC (VdConnection, vd_connection_free)
