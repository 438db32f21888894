/* SPDX-License-Identifier: BSD-3-Clause
 *
 * nbd.h - an image that a server on this or another machine keeps (NBD)
 *
 * image=nbd://HOST[:PORT]/EXPORT, nbd+unix:///EXPORT?socket=PATH, or any other
 * URI that libnbd knows.  Calls on the image go through a port, one for each
 * queue.  Where the server says that a flush on one connection covers writes on
 * all (NBD_FLAG_CAN_MULTI_CONN), each queue's thread drives a connection of its
 * own; else, and as long as that one is not there, a home thread of the device
 * drives the one connection of all.
 *
 * What a server that comes back has lost, nobody can tell: writes that were
 * answered and not flushed before it went down are in its hands, as they are in
 * those of a disk that loses power.  In write-through mode there are none.
 */
#pragma once

#include <string.h>

#include "devices/blk/call.h"
#include "devices/blk/image.h"

typedef struct VdNbdLink VdNbdLink;

/* A queue's way to the image. */
typedef struct {
  VdNbd *nbd;     /* NULL: the image is local */
  VdNbdLink *own; /* NULL: the home thread's only */
  VdMailbox *box; /* of the queue's thread */
} VdNbdPort;

/* Whether @name is a URI of NBD. */
static inline gboolean
vd_nbd_is_uri (const char *name)
{
  return (g_str_has_prefix (name, "nbd:") || g_str_has_prefix (name, "nbds:") ||
          g_str_has_prefix (name, "nbd+") ||
          g_str_has_prefix (name, "nbds+")) &&
         strstr (name, "://") != NULL;
}

/* CONTROL: connects, and fills in what @image can do but for its size.  Takes at
 * most 12 seconds.
 * Returns: (transfer full): NULL with @error set */
VdNbd *vd_nbd_open (const VdImageSetup *setup, VdImage *image, GError **error);
/* CONTROL: no port is open any more; NULL is fine. */
void vd_nbd_close (VdNbd *nbd);

/* Any thread: bytes, as the server last said. */
guint64 vd_nbd_size (const VdNbd *nbd);

/* CONTROL: calls @changed now, and soon after a connection was told of another
 * size.  Once. */
void vd_nbd_watch_size (VdNbd *nbd, VdMailbox *control,
                        void (*changed) (gpointer data), gpointer data);
/* CONTROL: asks the server for the size, which changes, if so, later. */
void vd_nbd_ask_size (VdNbd *nbd);

/* QUEUE. */
void vd_nbd_open_port (VdNbd *nbd, VdNbdPort *port, VdWorker *worker);
void vd_nbd_close_port (VdNbdPort *port);
/* Makes the task's call; done() is called later, on the same thread, with the
 * bytes of READ and WRITE, maybe fewer than asked for, or -errno: -ENOTCONN if
 * there was no server for longer than the delay. */
void vd_nbd_submit (VdNbdPort *port, VdTask *task);

/* Any thread: the same with done() on the thread that owns @box. */
void vd_nbd_submit_from (VdNbd *nbd, VdTask *task, VdMailbox *box);
