/* SPDX-License-Identifier: BSD-3-Clause
 *
 * hold.h - requests that wait instead of failing (on-error, on-enospc)
 *
 * A call on the image that failed is made again later: when there may be room
 * again, or when the user says so by reloading.  Until then the queue takes no
 * new requests.  A front-end that waits for the queue comes first: what is held
 * then fails as it would have.  If only the connection ends, and the front-end
 * keeps track of requests, the next back-end gets them.
 */
#pragma once

#include <stdatomic.h>
#include <stdbool.h>

#include "vring/mailbox.h"

typedef struct VdBlk VdBlk;
typedef struct VdBlkQueue VdBlkQueue;
typedef struct VdBlkRequest VdBlkRequest;

/* One for each queue; QUEUE, but for the mail. */
typedef struct {
  VdBlkRequest *first, **last; /* by next_held */
  guint n;                     /* held, or tried again and not through yet */
  guint n_drains;              /* requests from before the last one fail */
  guint n_resumes;             /* of the device, when the list was last tried */
  guint64 retry_ns;            /* when it is tried again */
  VdMail mail;                 /* to CONTROL: holds has changed */
  atomic_bool mailed;
  atomic_int error; /* 0, or the first -errno; read by CONTROL */
} VdHold;

/* QUEUE: the queue starts. */
void vd_hold_init (VdHold *hold);

/* QUEUE: the call of @req returned @res, an error, or is held already.
 * Returns: whether it will be made again, by us or the next back-end; else the
 * result is final. */
bool vd_hold_takes (VdBlkRequest *req, int res);

/* QUEUE: makes held calls again if it is time to.
 * Returns: whether new requests have to stay in the ring. */
bool vd_hold_waits (VdBlkQueue *queue);

/* QUEUE: nothing is held any more, and what is under way will not be. */
void vd_hold_drain (VdBlkQueue *queue);

/* CONTROL: all queues try again. */
void vd_hold_resume (VdBlk *blk);
