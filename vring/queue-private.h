/* SPDX-License-Identifier: BSD-3-Clause
 *
 * queue-private.h - the inside of a queue, for vring/ only
 *
 * Everything in it belongs to QUEUE from attach to the end of STOP, and to
 * CONTROL before and after.
 */
#pragma once

#include <endian.h>
#include <linux/virtio_ring.h>
#include <stdatomic.h>
#include <stdbool.h>
#include <string.h>

#include "vring/dirty.h"
#include "vring/inflight.h"
#include "vring/iotlb.h"
#include "vring/queue.h"

/* Two recently used regions: descriptors, then data, of one guest's memory. */
#define VD_QUEUE_CACHE 2

/* One of the two sets of memory that chains in flight may belong to: what a
 * chain was translated with, and whether what it writes is logged. */
typedef struct VdEpoch {
  VdMap *map;
  VdDirty *dirty;  /* NULL: nothing is logged */
  bool dirty_ring; /* the ring's own writes are logged as well */
  guint in_flight; /* chains */
} VdEpoch;

/* A buffer's place in guest memory, if somebody may ask for it: writable ones
 * while writes are logged, all while an IOMMU may withdraw them. */
typedef struct VdChainRange {
  guint64 gpa;
  guint64 iova; /* what the driver wrote; the same without an IOMMU */
  guint32 len;
  bool writable;
} VdChainRange;

/* Where a ring lies.  Guest memory: the driver may change it at any time.  The
 * areas by the names of virtio 1.3, 2.6: what a split ring calls available and
 * used ring are a packed ring's driver and device event suppression. */
typedef struct {
  void *desc;
  void *driver;
  void *device;
  guint64 desc_gpa, device_gpa; /* of the parts that we write */
} VdRing;

/* One format of rings, chosen when the queue is made. */
typedef struct {
  /* CONTROL: finds the ring in @map.
   * Returns: FALSE if it does not lie there aligned and as a whole. */
  gboolean (*find) (const VdQueue *queue, const VdMap *map, VdRing *ret);
  /* QUEUE, once: checks size and base, and takes the indices.
   * Returns: NULL, or what is wrong. */
  const char *(*init) (VdQueue *queue, guint32 base);
  /* QUEUE: pops at most @max chains; may break the queue. */
  guint (*pop) (VdQueue *queue, VdChain **chains, guint max);
  /* QUEUE: writes a used element, not yet visible. */
  void (*push) (VdQueue *queue, const VdChain *chain, guint32 written);
  /* QUEUE: makes the used elements visible.
   * Returns: whether the driver wants to be notified. */
  gboolean (*publish) (VdQueue *queue);
  /* QUEUE: asks the driver to kick, or spares it.
   * Returns: with @on, whether chains came in the meantime. */
  gboolean (*notifications) (VdQueue *queue, gboolean on);
  /* QUEUE: the value of GET_VRING_BASE. */
  guint32 (*base) (const VdQueue *queue);
} VdRingOps;

extern const VdRingOps vd_split_ops;  /* split.c */
extern const VdRingOps vd_packed_ops; /* packed.c */

typedef struct VdOrdered VdOrdered; /* in-order.c */

struct VdQueue {
  const VdRingOps *ring_ops;
  /* Completes: ring_ops->push(), or what puts its calls into order. */
  void (*push) (VdQueue *queue, const VdChain *chain, guint32 written);
  VdRing ring;
  guint32 size;               /* entries, a power of two */
  bool avail_wrap, used_wrap; /* packed: the wrap counters */
  bool unpublished;   /* packed: there are used elements not yet visible */
  guint16 used_first; /* packed: where they begin, ... */
  guint16 used_first_flags; /* ... and the flags there, written last */
  guint16 next_avail;       /* index of the next chain to pop */
  guint16 avail_idx;        /* the driver's index as last read */
  guint16 used_idx;         /* index of the next used element to write */
  guint16 used_published;   /* as the driver may see it */
  guint16 used_signalled;   /* used_published at the last notification test */
  bool signalled_valid;     /* FALSE: the next test notifies whatever it says */
  bool event_idx;           /* acked */
  bool no_notify;           /* NO_NOTIFY stands in the used ring */
  bool enabled, broken, stopping;
  bool may_leave; /* stopping: vd_queue_may_leave() */
  bool kicked;    /* there may be work */
  bool crowded;   /* others want the worker's processor */
  bool plain;     /* chains may be popped by plain.h, and are not logged */
  bool recorded;  /* what is written to the ring is logged or tracked */
  VdRange cache[VD_QUEUE_CACHE];
  guint cache_victim;

  /* Slots. */
  VdChain *free;   /* returned ones, last in first out */
  guint n_touched; /* slots that were used at least once; the rest follow */
  VdChain *slots;
  guint8 *requests; /* request_len bytes for each slot */
  gsize request_len;
  struct iovec *arenas; /* VD_CHAIN_IOV elements for each slot */
  VdChainRange *ranges; /* likewise */
  VdEpoch *epoch;       /* the current one */
  VdEpoch epochs[2];
  guint guard_generation; /* when the epoch's memory was last found whole */

  /* In-flight tracking, if the front-end wants it. */
  VdInflight *inflight;     /* one reference */
  void *inflight_part;      /* VdInflightSplit or -Packed; NULL: not tracked */
  guint64 inflight_counter; /* of the next chain */
  guint inflight_at,
      inflight_last;       /* packed: entries of the chain being read */
  guint16 last_batch_head; /* split */
  guint16 *batch; /* completed and not published: heads or first entries */
  guint n_batch;
  guint16 *again; /* popped by the predecessor, to be submitted again */
  guint n_again, next_again;

  /* Popped and not pushed, oldest first (in-order.c); NULL: in any order. */
  VdOrdered *ordered; /* size elements, used as a ring */
  guint ordered_first, n_ordered;

  /* Translation (translate.c), if the driver's addresses are an IOMMU's. */
  VdIotlb
      *iotlb;    /* not owned; NULL: they are the guest's, and all is 0 below */
  VdMiss miss;   /* of the last lookup, or what is waited for */
  bool waiting;  /* for that: nothing is popped */
  bool draining; /* an invalidation waits for all chains: nothing is popped */
  bool ring_lost;  /* the ring's translation was withdrawn: it is not touched */
  guint n_lookups; /* for the chain that is read */
  VdQueueCommand *invalidate; /* waits until its range is of no more use */
  guint64 desc_iova, driver_iova, device_iova;
  void (*on_miss) (VdQueue *queue, const VdMiss *miss, gpointer owner);
  VdMail miss_mail;

  /* Its user. */
  const VdQueueOps *ops;
  gpointer user_data;
  gpointer data; /* vd_queue_set_data() */
  bool started;  /* ops->start() succeeded */

  VdNotifier call, err;
  int kick_fd;
  VdWorker *worker;
  VdQueue *next;      /* in the worker's list */
  bool kick_armed;    /* the worker's poll of kick_fd is under way */
  bool kick_canceled; /* and was told to end */

  /* Counters; written by QUEUE, read by any. */
  atomic_uint_fast64_t kicks, calls, batches, chains;

  /* CONTROL's side. */
  guint index;
  guint32 base; /* before the start and after STOP */
  guint64 desc_uva, driver_uva, device_uva;
  void *block; /* slots, requests and arenas in one mapping */
  gsize block_len;
  VdMailbox *control;
  void (*on_broken) (VdQueue *queue, const char *reason, gpointer owner);
  gpointer owner;
  const char *broken_reason;
  VdMail broken_mail, attach_mail, started_mail;
  void (*on_started) (VdQueue *queue, const char *why, gpointer owner);
  const char *refused;    /* why it could not start; NULL: it could */
  VdQueueCommand *stop;   /* waits for the last completion */
  VdQueueCommand *memory; /* waits until the old epoch is of no more use */
};

/* Adds @n to a counter that only this thread writes. */
static inline void
vd_count (atomic_uint_fast64_t *counter, guint64 n)
{
  atomic_store_explicit (
      counter, atomic_load_explicit (counter, memory_order_relaxed) + n,
      memory_order_relaxed);
}

/* queue.c, QUEUE, called by the worker. */
void vd_queue_started (VdQueue *queue);   /* it was attached */
gboolean vd_queue_turn (VdQueue *queue);  /* TRUE: there may be more to do */
gboolean vd_queue_sleep (VdQueue *queue); /* FALSE: new chains, do not sleep */
gboolean vd_queue_stopped (VdQueue *queue); /* ready to be detached */
void vd_queue_detached (VdQueue *queue);    /* answers STOP */

/* worker.c, QUEUE. */
void vd_worker_add_queue (VdWorker *worker, VdQueue *queue);
/* Whoever keeps addresses of guest memory looks for them in @map from now on.
 * @map: (nullable): of a queue of the worker, which calls this again before the
 *   map goes; NULL: there is no queue any more */
void vd_worker_use_memory (VdWorker *worker, const VdMap *map);

/* queue.c: what is popped from now on belongs to @epoch. */
void vd_queue_use_epoch (VdQueue *queue, VdEpoch *epoch);
/* queue.c: a slot that was never used; NULL if there is none. */
VdChain *vd_queue_touch_slot (VdQueue *queue);
/* queue.c: answers the MEMORY command: no chain uses the old epoch. */
void vd_queue_finish_memory (VdQueue *queue, VdEpoch *old);

/* Takes @chain, which is queue->free. */
static inline void
vd_queue_take_free (VdQueue *queue, VdChain *chain)
{
  queue->free = chain->next_free;
  queue->epoch->in_flight++;
}

/* A free slot, or NULL if all are in flight. */
static inline VdChain *
vd_queue_take_slot (VdQueue *queue)
{
  VdChain *chain = queue->free;

  if (G_UNLIKELY (chain == NULL)) {
    chain = vd_queue_touch_slot (queue);
    if (chain == NULL)
      return NULL;
  }
  vd_queue_take_free (queue, chain);
  return chain;
}

/* For a chain of the current epoch. */
static inline void
vd_queue_free_slot (VdQueue *queue, VdChain *chain)
{
  chain->next_free = queue->free;
  queue->free = chain;
  chain->epoch->in_flight--;
}

static inline void
vd_queue_return_slot (VdQueue *queue, VdChain *chain)
{
  VdEpoch *epoch = chain->epoch;

  vd_queue_free_slot (queue, chain);
  if (epoch == queue->epoch)
    return;
  chain->epoch = queue->epoch;
  if (epoch->in_flight == 0)
    vd_queue_finish_memory (queue, epoch);
}

/* Chains that the device has. */
static inline guint
vd_queue_in_flight (const VdQueue *queue)
{
  return queue->epochs[0].in_flight + queue->epochs[1].in_flight;
}

/* inflight.c: a chain that a predecessor did not complete. */
typedef struct {
  guint64 counter;
  guint16 head;
} VdAgain;

/* Makes @again, in the order of its counters, the queue's first chains. */
void vd_inflight_order (VdQueue *queue, VdAgain *again, guint n);

/* Puts a slot's buffers together, whatever they are. */
typedef struct {
  VdChain *chain;
  struct iovec *iov;
  guint n_max;       /* room in iov */
  guint n_out, n_in; /* buffers so far */
  guint64 out_len, in_len;
  guint n_desc; /* descriptors walked, also the empty ones */
} VdChainBuilder;

/* chain.c. */
void vd_chain_begin (VdChainBuilder *builder, VdChain *chain);
/* Appends one descriptor's buffer.  Returns: NULL, or which rule it breaks. */
const char *vd_chain_append (VdChainBuilder *builder, guint64 address,
                             guint32 len, gboolean writable);
void vd_chain_end (const VdChainBuilder *builder);

/* inflight-split.c.  init: QUEUE, once, recovers; the others keep the memory
 * when a head is popped, completed, and when a batch was published.
 * Returns: NULL, or what is wrong with the memory. */
const char *vd_inflight_split_init (VdQueue *queue);
void vd_inflight_split_pop (VdQueue *queue, guint16 head);
void vd_inflight_split_push (VdQueue *queue, guint16 head);
void vd_inflight_split_publish (VdQueue *queue);

/* inflight-packed.c.  A chain is begun, its descriptors are recorded, then it
 * is popped; or it is built again from what was recorded.  Completed chains
 * are prepared before and published after the driver can see them. */
const char *vd_inflight_packed_init (VdQueue *queue);
void vd_inflight_packed_begin (VdQueue *queue, VdChain *chain);
const char *vd_inflight_packed_record (VdQueue *queue,
                                       const struct vring_packed_desc *desc);
void vd_inflight_packed_pop (VdQueue *queue, const VdChain *chain);
const char *vd_inflight_packed_again (VdQueue *queue, VdChainBuilder *builder,
                                      guint16 head);
void vd_inflight_packed_push (VdQueue *queue, const VdChain *chain);
void vd_inflight_packed_prepare (VdQueue *queue);
void vd_inflight_packed_publish (VdQueue *queue);

/* packed.c, for inflight-packed.c. */
gboolean
vd_packed_is_available (const VdQueue *queue, guint16 index, bool wrap);
void vd_packed_make_available (VdQueue *queue, guint16 index, bool wrap);
void
vd_packed_advance (const VdQueue *queue, guint16 *index, bool *wrap, guint n);
const char *vd_packed_append (VdQueue *queue, VdChainBuilder *builder,
                              const struct vring_packed_desc *desc);

/* Marks what was just written to the ring, if that is logged. */
static inline void
vd_dirty_ring (VdQueue *queue, guint64 gpa, guint64 len)
{
  if (G_UNLIKELY (queue->recorded && queue->epoch->dirty_ring))
    vd_dirty_mark (queue->epoch->dirty, gpa, len);
}

/* chain.c: an indirect table, which may cross regions. */
typedef struct {
  guint64 address; /* as the driver gave it */
  guint32 n_desc;
  const guint8 *at; /* NULL: it does cross */
} VdIndirect;

/* Checks length and place.  Returns: NULL, or which rule it breaks. */
const char *vd_indirect_open (VdQueue *queue, guint64 address, guint32 len,
                              VdIndirect *ret);
/* Copies descriptor @i of the table, 16 bytes, once.
 * Returns: FALSE if it lies outside guest memory. */
gboolean vd_indirect_load (VdQueue *queue, const VdIndirect *table, guint32 i,
                           void *ret);

/* chain.c: copies 16 bytes that the compiler cannot read again. */
static inline void
vd_load_desc (void *to, const void *guest)
{
  memcpy (to, guest, 16);
  atomic_signal_fence (memory_order_seq_cst);
}

/* Reads and writes words that the other side uses as well. */
static inline guint16
vd_load16 (const void *at, memory_order order)
{
  return le16toh (atomic_load_explicit ((const _Atomic guint16 *) at, order));
}

static inline void
vd_store16 (void *at, guint16 value, memory_order order)
{
  atomic_store_explicit ((_Atomic guint16 *) at, htole16 (value), order);
}

/* queue.c: translates what the driver calls @address, through the queue's cache
 * or the IOMMU's translations.
 * @access: VD_ACCESS_*
 * @len: (inout): bytes wanted, then bytes contiguous
 * @gpa: (out): where that is in guest memory
 * Returns: NULL if it is nowhere, or not there yet (queue->miss) */
void *vd_queue_translate (VdQueue *queue, guint64 address, guint access,
                          guint64 *len, guint64 *gpa);

/* in-order.c.  init: CONTROL, once.  popped: QUEUE, @n chains were popped; returns
 * how many of them the device gets, fewer if that broke the queue. */
void vd_in_order_init (VdQueue *queue);
guint vd_in_order_popped (VdQueue *queue, VdChain **chains, guint n);

/* translate.c: the same for a queue with an IOMMU. */
void *vd_queue_translate_iova (VdQueue *queue, guint64 iova, guint access,
                               guint64 *len, guint64 *gpa);
/* Finds the uvas of the ring's parts.  CONTROL before the queue is attached, then
 * QUEUE.  Returns: FALSE if that is impossible, or not possible yet. */
gboolean vd_queue_translate_ring (VdQueue *queue);
/* QUEUE: @chain could not be read: waits for a translation or breaks. */
void vd_queue_give_back (VdQueue *queue, VdChain *chain, const char *broken);
/* QUEUE: the wait is over; FALSE: the front-end refused. */
void vd_queue_retry (VdQueue *queue, gboolean granted);
/* QUEUE: takes an INVALIDATE command, returns whether the device holds it up ... */
gboolean vd_queue_invalidate (VdQueue *queue, VdQueueCommand *command);
/* ... and answers it as soon as its range is of no more use. */
void vd_queue_settle_invalidate (VdQueue *queue);
