/* SPDX-License-Identifier: BSD-3-Clause
 *
 * nbd-link-private.h - the inside of a link, for nbd-link*.c only
 *
 * libnbd calls back with its lock held, so a callback only moves its task to the
 * list of those that are done.  Whatever happened, vd_nbd_link_pump() then makes
 * these hold again, before the link's thread does anything else:
 *
 * - A task of the link is in one list: in `waiting' for a connection or a
 *   buffer, in `sent' while the server or libnbd has it, in `done' with
 *   task->nbd.done set until it is answered.  `done' is empty, or mail is on its
 *   way that pumps.
 * - With a connection, it is not known to be broken; nothing waits but for a
 *   buffer that a task in `sent' has; the socket is polled for replies and, if
 *   libnbd has more to write, for room; or such a poll is about to end.
 * - Without one, `sent' is empty; an attempt to connect is under way, or the
 *   timer runs until the next one; and unless the link is failing already, the
 *   timer also runs until it does.  A link with another one to divert to keeps
 *   nothing in `waiting'.
 *
 * When a connection breaks, its handle is closed first, after which nobody
 * touches guest memory, and then whatever was sent waits again.
 */
#pragma once

#include "devices/blk/nbd-link.h"

#include <libnbd.h>

/* The pause between attempts to connect: doubled from the one to the other. */
#define VD_NBD_PAUSE_MIN_US 50000
#define VD_NBD_PAUSE_MAX_US 5000000

/* As many segments of a page as a request may have. */
#define VD_NBD_BOUNCE_LEN (512u << 10)
#define VD_NBD_N_BOUNCES  8

typedef struct VdNbdAttempt VdNbdAttempt;

TAILQ_HEAD (VdTaskList, VdTask);

/* A descriptor that the link waits for. */
typedef struct {
  VdOp op;
  VdNbdLink *link;
  void (*ready) (VdNbdLink *link); /* maybe without a reason */
  int fd;
  short events;
  bool armed, canceled;
} VdNbdWatch;

struct VdNbdLink {
  VdNbdLinkSetup setup;
  VdWorker *worker;

  struct nbd_handle *handle; /* NULL: not connected */
  guint64 size;              /* that this connection knows */
  VdNbdAttempt *attempt;     /* NULL: none under way */
  VdNbdWatch socket, attempted, timer;
  struct VdTaskList waiting, sent, done;
  VdTask *sending; /* of sent: while libnbd takes it */

  gint64 next_attempt, deadline, pause; /* microseconds */
  bool failing;                         /* the deadline has passed */
  bool told;                            /* that there is no connection */
  bool leaving; /* the connection is of no more use: the server said that it
                 * will go, or it does not know how long the disk is now */
  bool closing;
  bool woken; /* wake is posted */
  VdMail wake;
  guint n_pending; /* polls and mail that will call us */

  guint8 *bounces;    /* VD_NBD_N_BOUNCES of VD_NBD_BOUNCE_LEN */
  guint bounces_free; /* a bit each */
};

/* nbd-link.c */

/* Goes on with whatever can go on. */
void vd_nbd_link_pump (VdNbdLink *link);
/* Waits until @fd is ready for one of @events, then calls watch->ready() once,
 * which pumps.  More events or another descriptor take the place of those
 * before, fewer do not. */
void vd_nbd_link_watch (VdNbdWatch *watch, int fd, short events);
void vd_nbd_link_unwatch (VdNbdWatch *watch);

/* nbd-link-send.c */

/* Sends those that wait, as long as there are buffers.  Only with a connection,
 * which may be lost by it. */
void vd_nbd_link_send (VdNbdLink *link);
/* @task, in no list, is done. */
void vd_nbd_link_end (VdNbdLink *link, VdTask *task, int error);
/* Puts @task, in no list and no more sent, among those that wait, or diverts
 * it. */
void vd_nbd_link_put_off (VdNbdLink *link, VdTask *task);
void vd_nbd_link_return_bounce (VdNbdLink *link, VdTask *task);

static inline bool
vd_nbd_task_has_data (const VdTask *task)
{
  return task->call.kind == VD_CALL_READ || task->call.kind == VD_CALL_WRITE;
}

/* nbd-link-receive.c */

/* The socket may be ready. */
void vd_nbd_link_on_socket (VdNbdLink *link);
/* Only with a connection that is not lost. */
void vd_nbd_link_await_socket (VdNbdLink *link);
/* Answers those that are done, unless the connection is found lost meanwhile. */
void vd_nbd_link_settle (VdNbdLink *link);
void vd_nbd_task_answer (VdTask *task, int res);

/* nbd-link-connect.c */

/* Whether the connection, if any, is of no more use. */
bool vd_nbd_link_is_lost (const VdNbdLink *link);
/* Closes the connection, and puts off what was sent. */
void vd_nbd_link_lose (VdNbdLink *link);
/* Without a connection: does what is due, and sets the timer for the rest. */
void vd_nbd_link_tick (VdNbdLink *link);
/* @handle: (transfer full): the connection from now on */
void vd_nbd_link_adopt (VdNbdLink *link, struct nbd_handle *handle);
void vd_nbd_link_on_attempted (VdNbdLink *link);
void vd_nbd_link_on_timer (VdNbdLink *link);
