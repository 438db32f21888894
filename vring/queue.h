/* SPDX-License-Identifier: BSD-3-Clause
 *
 * queue.h - one started ring: its slots, its thread's turns, its notifications
 *
 * CONTROL creates a queue from what the front-end said, attaches it to a worker
 * and then talks to it by one VdQueueCommand at a time.  On the worker's thread
 * (QUEUE) the queue pops batches of chains, hands them to the device, and at
 * the end of each turn publishes the used index and notifies the driver once.
 * A ring whose driver breaks the rules is broken for good: it stops, tells the
 * front-end through its error eventfd and CONTROL through on_broken.
 */
#pragma once

#include "vring/chain.h"
#include "vring/dirty.h"
#include "vring/inflight.h"
#include "vring/iotlb.h"
#include "vring/map.h"
#include "vring/notifier.h"
#include "vring/worker.h"

#define VD_QUEUE_SIZE_MAX 32768
#define VD_BATCH_MAX      64 /* chains given to a device at once */

/* How a queue's user, a device, is called.  All on QUEUE. */
typedef struct {
  gsize request_size; /* bytes of VdChain.request, at most 4096 */
  /* What a chain costs at least, as the bytes that are moved in that time: how
   * many of a batch are served before the driver is told. */
  guint32 weight;

  /* Before the first batch; per-thread set-up belongs here.  May be NULL.
   * Returns: 0, or -errno, which breaks the queue. */
  int (*start) (VdQueue *queue, gpointer user_data);

  /* After the last completion; undoes start().  May be NULL. */
  void (*stop) (VdQueue *queue, gpointer user_data);

  /* How many chains the device wants now, 0 leaves them in the ring until
   * vd_queue_wake() or vd_worker_wake_after().  NULL: as many as there are. */
  guint (*wants) (VdQueue *queue, gpointer user_data);

  /* The queue stops, or its memory changes or is withdrawn: chains that the device has and that
   * wait for somebody outside, a person for instance, shall complete soon, as a
   * front-end waits for them.  May be NULL: there are none. */
  void (*drain) (VdQueue *queue, gpointer user_data);

  /* Serves @chains: completes each once, now or later, in any order. */
  void (*handle) (VdQueue *queue, VdChain **chains, guint n_chains,
                  gpointer user_data);
} VdQueueOps;

/* Counters since the queue started; any thread may read them. */
typedef struct {
  guint64 kicks;   /* times that the driver woke the queue */
  guint64 calls;   /* times that the queue woke the driver */
  guint64 batches; /* calls of handle() */
  guint64 chains;  /* chains popped */
} VdQueueStats;

/* What the front-end said of a ring, checked when the queue is created. */
typedef struct {
  guint index;               /* number of the ring in the device */
  guint32 size;              /* entries */
  guint64 desc, avail, used; /* uva; iova if @iotlb is set */
  guint32 base;              /* of SET_VRING_BASE: where to start */
  guint64 features;          /* acked virtio feature bits */
  gboolean enabled;
  VdMap *map;          /* (transfer none) */
  VdDirty *dirty;      /* (transfer none); NULL: nothing is logged */
  gboolean dirty_ring; /* the ring's own writes are logged as well */

  VdInflight *inflight; /* (transfer none); NULL: not tracked */

  /* Translates the driver's addresses; outlives the queue.  NULL: they are the
   * guest's. */
  VdIotlb *iotlb;
  /* (out) (optional): if the queue is refused for want of the ring's translation,
   * which; to be tried again when there is one. */
  VdMiss *miss;
  /* CONTROL, with @iotlb: the queue waits for a translation until VD_QUEUE_RETRY;
   * called once for each wait. */
  void (*on_miss) (VdQueue *queue, const VdMiss *miss, gpointer owner);

  /* Borrowed: the session keeps them open until the queue stopped or took
   * others. */
  int kick_fd;     /* an eventfd; -1: the queue polls its ring */
  VdNotifier call; /* wakes the driver */
  VdNotifier err;  /* tells the front-end that the ring broke */

  /* CONTROL, once after vd_queue_attach(): the ring was read and runs, or
   * cannot: @why, static text.  Then it does nothing but wait to be stopped, and
   * its base is what it was.  May be NULL. */
  void (*on_started) (VdQueue *queue, const char *why, gpointer owner);
  /* CONTROL: the ring broke; @reason says which rule.  The queue stays attached
   * until it is stopped. */
  void (*on_broken) (VdQueue *queue, const char *reason, gpointer owner);
  gpointer owner;
} VdQueueSetup;

/* CONTROL.  Checks @setup and allocates every slot.  The ring itself is not read:
 * any access to guest memory may wait for a page that is still on its way
 * (postcopy migration), and CONTROL must not.
 * @control: where answers, on_broken and on_miss are posted
 * Returns: (transfer full): a detached queue, or NULL with @error set. */
VdQueue *vd_queue_new (const VdQueueSetup *setup, const VdQueueOps *ops,
                       gpointer user_data, VdMailbox *control, GError **error);
/* CONTROL: frees a queue that was never attached or has stopped. */
void vd_queue_free (VdQueue *queue);

/* CONTROL: whether the ring would lie in @map as a whole.  Where a ring with an
 * IOMMU lies is QUEUE's: it breaks if it does not. */
gboolean vd_queue_fits (const VdQueue *queue, const VdMap *map);

/* CONTROL: gives the queue to @worker, which starts to serve it. */
void vd_queue_attach (VdQueue *queue, VdWorker *worker);

typedef enum {
  VD_QUEUE_STOP,   /* no new chains; done when all in flight are completed;
                    * value: or may be left to the next back-end */
  VD_QUEUE_ENABLE, /* value: whether chains are processed */
  VD_QUEUE_CALL,   /* notifier: the new call descriptor, signalled once */
  VD_QUEUE_ERR,    /* notifier: the new error descriptor */
  VD_QUEUE_MEMORY, /* map, dirty, value: the new memory, its log, and whether
                    * the ring's own writes are logged; done when nothing in
                    * flight uses the old ones; fails if the ring is not in it */
  VD_QUEUE_RETRY,  /* value: the translation that the queue waits for has come;
                    * FALSE: it is refused, which breaks the queue */
  VD_QUEUE_INVALIDATE, /* first, last: iova that were taken from the iotlb; done
                        * when nothing here uses what they were */
} VdQueueCommandType;

typedef struct VdQueueCommand VdQueueCommand;
struct VdQueueCommand {
  VdQueueCommandType type;
  gboolean value;
  VdNotifier notifier; /* borrowed as in VdQueueSetup */
  VdMap *map;          /* (transfer full); on return the one to be released */
  VdDirty *dirty;      /* likewise; NULL: nothing is logged */
  guint64 first, last; /* iova */

  /* CONTROL: the command is done.  @result: 0 or -errno.  After STOP the queue
   * is detached and may be freed. */
  void (*done) (VdQueueCommand *command, int result);
  gpointer user_data;
  VdQueue *queue; /* set by vd_queue_command() */
  VdMail mail;    /* private */
  int result;     /* private */
};

/* CONTROL: posts @command, which the queue owns until done(). */
void vd_queue_command (VdQueue *queue, VdQueueCommand *command);

/* CONTROL, after STOP: the value of GET_VRING_BASE. */
guint32 vd_queue_base (const VdQueue *queue);

/* Any thread: counters. */
void vd_queue_stats (const VdQueue *queue, VdQueueStats *ret);

/* Constant after creation; any thread. */
guint vd_queue_index (const VdQueue *queue);
VdWorker *vd_queue_worker (const VdQueue *queue);

/* QUEUE: the device's pointer for this queue, set in start(). */
void vd_queue_set_data (VdQueue *queue, gpointer data);
gpointer vd_queue_data (const VdQueue *queue);

/* QUEUE: asks wants() again at the end of this turn. */
void vd_queue_wake (VdQueue *queue);

/* QUEUE: whether the queue is told to stop, so that no chain may wait. */
gboolean vd_queue_is_stopping (const VdQueue *queue);

/* QUEUE: whether the queue stops because its front-end's connection ends, while
 * the front-end keeps track of what is in flight. */
gboolean vd_queue_may_leave (const VdQueue *queue);

/* QUEUE: breaks the ring, for instance when a request is beyond repair.
 * @reason: static text */
void vd_queue_break (VdQueue *queue, const char *reason);

G_DEFINE_AUTOPTR_CLEANUP_FUNC (VdQueue, vd_queue_free)
