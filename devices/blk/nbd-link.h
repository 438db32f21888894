/* SPDX-License-Identifier: BSD-3-Clause
 *
 * nbd-link.h - one connection to an NBD server, driven by one thread
 *
 * Calls go to the server straight from the guest's pages and back; NBD has one
 * buffer a command, so a call whose buffers are small and scattered is gathered
 * in a buffer of the link.  A link connects by itself, again and again with a
 * growing pause, as long as it exists.  What it does with calls while it has no
 * connection depends on its kind:
 *
 * - the home link holds them for the reconnection delay.  Those that were under
 *   way when the connection broke are sent again: reads, writes, flushes, trims
 *   and zeroes may be done twice.  After the delay they fail, and new ones fail
 *   at once, until there is a connection.
 * - another link hands them to the home link.
 */
#pragma once

#include "devices/blk/call.h"

struct nbd_handle;

typedef struct VdNbdLink VdNbdLink;

typedef struct {
  const char *uri;   /* outlives the link */
  const char *id;    /* of the device, for the log */
  VdWorker *starter; /* of vd_nbd_attempt_new() */
  gint64 delay_us;   /* the home link's */
  guint32 align;     /* of offsets and lengths, bytes, a power of two */
  guint32 max_len;   /* of a read or write, bytes, a multiple of align */

  /* LINK: whether a new connection is the same disk as before; takes note of
   * its size. */
  gboolean (*accept) (gpointer owner, struct nbd_handle *handle,
                      GError **error);
  gpointer owner;
  /* LINK: the call shall be made elsewhere.  NULL: this is the home link. */
  void (*divert) (gpointer divert_owner, VdTask *task);
  gpointer divert_owner;
} VdNbdLinkSetup;

/* Any thread: a link that is driven by @worker from vd_nbd_link_start() on.
 * Returns: NULL with errno set if there is no descriptor for a timer */
VdNbdLink *vd_nbd_link_new (const VdNbdLinkSetup *setup, VdWorker *worker);

/* All below on the worker's thread, which the comments call LINK. */

/* @handle: (transfer full): a connection, or NULL to begin to connect */
void vd_nbd_link_start (VdNbdLink *link, struct nbd_handle *handle);

/* Ends the connection and, soon, the link's memory: before its worker ends.
 * Calls that are left fail. */
void vd_nbd_link_stop (VdNbdLink *link);

gboolean vd_nbd_link_connected (const VdNbdLink *link);

/* Makes @task's call; task->op.done() gets the bytes of READ and WRITE, maybe
 * fewer than asked for, 0 of others, or -errno; ENOTCONN if there was no
 * connection for too long.  It is called later, on LINK, or if task->op.box is
 * set on the thread that owns that box. */
void vd_nbd_link_submit (VdNbdLink *link, VdTask *task);
