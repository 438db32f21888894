/* SPDX-License-Identifier: BSD-3-Clause
 *
 * chain.h - one request of the driver: its buffers and its completion
 *
 * A chain lives in a slot that was allocated when its queue started.  It
 * belongs to the device from VdQueueOps.handle() to vd_chain_complete().
 */
#pragma once

#include <glib.h>
#include <sys/uio.h>

typedef struct VdQueue VdQueue;
typedef struct VdChain VdChain;

/* Descriptors of a chain: more than the longest seen in the wild (Windows, 512
 * segments), and no more than IOV_MAX. */
#define VD_CHAIN_MAX 1024

/* Buffers of a chain: a descriptor that crosses regions makes several. */
#define VD_CHAIN_IOV (VD_CHAIN_MAX + 8)

/* Segments kept beside the chain itself; longer lists use the slot's own
 * stretch of the queue's arena. */
#define VD_CHAIN_FEW 6

struct VdChain {
  VdQueue *queue;
  void *request; /* the device's request_size bytes for this slot, 64-aligned,
                  * zeroed once when the queue starts and never again */

  /* Guest buffers, translated and bounds-checked: first those that the device
   * reads, then those that it writes.  The device may cut the lists in place
   * (vring/iov.h).  The bytes belong to the guest: copy, check, then use. */
  struct iovec *out; /* readable by the device */
  struct iovec *in;  /* writable by the device */
  guint32 n_out, n_in;
  guint64 out_len, in_len; /* bytes, as the driver gave them */

  /* Private to vring/. */
  struct VdEpoch *epoch; /* the memory that the buffers point into */
  struct VdChain *next_free;
  guint16 slot;          /* number of the slot */
  guint16 id;            /* what the driver calls this chain */
  guint16 n_ring;        /* packed: the descriptors of the ring that it takes */
  guint16 inflight_head; /* packed: its first entry of in-flight memory */
  guint32 n_ranges; /* of the slot's VdChainRange, while writes are logged */
  guint16 order;    /* its place in VdQueue.ordered, if there is one */
  struct iovec few[VD_CHAIN_FEW];
};

/* Gives @chain back to the driver; the used index is published and the driver
 * notified once, when the queue's thread ends its turn.
 * @written: bytes that the device wrote, from the start of its writable part
 * QUEUE: a pool thread or another queue hands its chains back by VdOp. */
void vd_chain_complete (VdChain *chain, guint32 written);

/* QUEUE: whether the front-end waits for @chain to be completed, because the
 * queue stops or the memory of its buffers goes: then it must not wait for
 * somebody outside, whom VdQueueOps.drain told to hurry. */
gboolean vd_chain_is_awaited (const VdChain *chain);

/* QUEUE, only if vd_queue_may_leave(): gives up @chain without an answer; the
 * front-end hands it to the next back-end as one that was in flight. */
void vd_chain_leave (VdChain *chain);
