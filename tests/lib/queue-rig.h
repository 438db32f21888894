/* SPDX-License-Identifier: BSD-3-Clause
 *
 * queue-rig.h - started queues over a fake guest's rings, without a socket
 *
 * The test's thread is CONTROL and the driver at once: whatever waits here runs
 * the mail that queues post to CONTROL, and fails the test after VT_TIMEOUT_MS.
 */
#pragma once

#include "tests/lib/ring.h"
#include "vring/queue.h"

#define VT_RIG_QUEUES 64

/* A test for each ring format, with and without its options; @set_up gets the
 * flags as a pointer.  @path: "/UNIT/", a literal */
#define VT_ADD_RING_TEST(path, format, name, flags, Fixture, set_up, func,     \
                         tear_down)                                            \
  g_test_add (path format "/" name, Fixture, GUINT_TO_POINTER (flags), set_up, \
              func, tear_down)
#define VT_ADD_RING_TESTS(path, name, Fixture, set_up, func, tear_down)        \
  do {                                                                         \
    VT_ADD_RING_TEST (path, "split", name, 0, Fixture, set_up, func,           \
                      tear_down);                                              \
    VT_ADD_RING_TEST (path, "split-all", name,                                 \
                      VT_RING_EVENT_IDX | VT_RING_INDIRECT, Fixture, set_up,   \
                      func, tear_down);                                        \
    VT_ADD_RING_TEST (path, "packed", name, VT_RING_PACKED, Fixture, set_up,   \
                      func, tear_down);                                        \
    VT_ADD_RING_TEST (path, "packed-all", name,                                \
                      VT_RING_PACKED | VT_RING_EVENT_IDX | VT_RING_INDIRECT,   \
                      Fixture, set_up, func, tear_down);                       \
  } while (0)

typedef struct {
  VtRing *ring;
  VdQueue *queue; /* NULL: not started */
  VdWorker *worker;
  VdNotifier call, err; /* of duplicates of the ring's descriptors */
  const char *broken;   /* the reason, once on_broken was called */
  gboolean started;     /* on_started was called, and said */
  const char *refused;  /* why not, or NULL */
  VdMiss miss;          /* what it, or its start, waits for */
  guint n_misses;       /* calls of on_miss */
} VtRigQueue;

typedef struct {
  VtGuest *guest;
  VdMailbox *control;
  VdMap *map; /* of guest, as of the last vt_queue_rig_remap() */
  const VdQueueOps *ops;
  gpointer user_data;
  VdPool *pool;        /* not owned; may be NULL */
  guint64 features;    /* acked; ring features are added by each ring's flags */
  gboolean force_poll; /* epoll instead of io_uring */
  VdInflight *inflight; /* not owned; NULL: in-flight is not tracked */
  VdIotlb
      *iotlb; /* not owned; set: what rings and chains call gpa is the iova of
                   * memory that ... */
  guint64
      gpa_shift; /* ... the map has this much higher; as of the next remap */
  VtRigQueue queues[VT_RIG_QUEUES]; /* by index of the ring */
} VtQueueRig;

/* Returns: (transfer full): a map of all of @guest's regions. */
VdMap *vt_map_guest (const VtGuest *guest, guint64 gpa_shift);

/* All of @guest's regions are mapped now. */
void vt_queue_rig_init (VtQueueRig *rig, VtGuest *guest, const VdQueueOps *ops,
                        gpointer user_data);
/* Stops what runs. */
void vt_queue_rig_clear (VtQueueRig *rig);

/* Starts a queue with a worker of its own on @ring, enabled, from @base.
 * Returns: FALSE with @error set if it was refused. */
gboolean vt_queue_rig_try_start (VtQueueRig *rig, VtRing *ring, guint32 base,
                                 gboolean enabled, GError **error);
/* The same from where the ring was reset, enabled; failure fails the test. */
void vt_queue_rig_start (VtQueueRig *rig, VtRing *ring);

/* Stops the queue, waits for it and frees it.  Returns: its base. */
guint32 vt_queue_rig_stop (VtQueueRig *rig, VtRing *ring);
void vt_queue_rig_stop_all (VtQueueRig *rig);
/* Frees a queue that the test itself has stopped. */
void vt_queue_rig_forget (VtQueueRig *rig, VtRing *ring);

/* Runs a command to its end.  Returns: its result. */
int
vt_queue_rig_command (VtQueueRig *rig, VtRing *ring, VdQueueCommand *command);
int vt_queue_rig_enable (VtQueueRig *rig, VtRing *ring, gboolean enable);
/* Hands the ring's present call_fd to the queue. */
int vt_queue_rig_set_call_fd (VtQueueRig *rig, VtRing *ring);

/* Maps the guest's present regions and moves all started queues to that map.
 * Returns: 0, or the first queue's error. */
int vt_queue_rig_remap (VtQueueRig *rig);

/* Runs CONTROL's mail: what is there; after waiting for some; until *@flag is
 * set; until a queue is broken. */
void vt_queue_rig_pump (VtQueueRig *rig);
void vt_queue_rig_pump_wait (VtQueueRig *rig);
void vt_queue_rig_pump_until (VtQueueRig *rig, const gboolean *flag);
/* Returns: the reason; it is also checked that the error eventfd was written */
const char *vt_queue_rig_wait_broken (VtQueueRig *rig, VtRing *ring);

VdQueue *vt_queue_rig_queue (VtQueueRig *rig, VtRing *ring);

/* Waits until the queue has told of a missing translation, and forgets that. */
VdMiss vt_queue_rig_wait_miss (VtQueueRig *rig, VtRing *ring);
/* Ends its wait. */
void vt_queue_rig_retry (VtQueueRig *rig, VtRing *ring, gboolean granted);
