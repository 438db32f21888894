/* SPDX-License-Identifier: BSD-3-Clause
 *
 * ring.h - the driver's side of a virtqueue, split or packed, for tests
 *
 * A careful driver: it checks all that the device writes (used elements, their
 * order and lengths, missing notifications) and fails the test on a violation.
 * A test that wants to be a bad driver uses the vt_ring_raw_*() functions.
 * One thread at a time.
 */
#pragma once

#include <linux/virtio_ring.h>

#include "tests/lib/guest.h"
#include "tests/lib/socket.h"

typedef enum {
  VT_RING_EVENT_IDX = 1 << 0,   /* VIRTIO_RING_F_EVENT_IDX was acked */
  VT_RING_INDIRECT = 1 << 1,    /* vt_ring_add() uses indirect tables */
  VT_RING_STREAM_CALL = 1 << 2, /* call_fd is a stream socket, as in UML */
  VT_RING_BLOCKING = 1 << 3,    /* eventfds without O_NONBLOCK */
  VT_RING_PACKED = 1 << 4,      /* VIRTIO_F_RING_PACKED was acked */
} VtRingFlags;

/* One buffer of a chain, in guest memory. */
typedef struct {
  void *ptr;
  guint32 len;
  gboolean writable; /* by the device; these come after the readable ones */
} VtBuf;

typedef struct VtRingSlot VtRingSlot;
typedef struct VtRingOps VtRingOps;

/* Fields are for tests to read. */
typedef struct {
  VtGuest *guest;
  guint index; /* number of the ring in the device */
  guint16 size;
  VtRingFlags flags;

  /* In guest memory; of a packed ring these are the addresses of its
   * descriptors, the driver's and the device's event. */
  struct vring_desc *desc;
  struct vring_avail *avail;
  struct vring_used *used;

  int kick_fd; /* for SET_VRING_KICK, CALL and ERR */
  int call_fd;
  int err_fd;

  guint64 n_added;      /* chains made available */
  guint64 n_used;       /* chains that came back */
  guint64 n_kicks;      /* notifications written */
  guint64 n_kicks_kept; /* notifications that the device had switched off */
  guint64 n_calls;      /* notifications received */

  /* Private. */
  const VtRingOps *ops;
  int call_read_fd;    /* the end that is read; call_fd itself if an eventfd */
  guint16 avail_idx;   /* including chains that are not published yet */
  guint16 published;   /* as the device may see it */
  guint16 last_used;   /* next used element to read */
  gboolean interrupts; /* wanted */
  guint n_in_flight;   /* chains added and not yet taken back */
  guint64 n_pushed;    /* chains made available, also raw ones */
  guint64 n_kick_tested; /* n_pushed at the last kick test */
  guint32 start_base;    /* as of vt_ring_reset() */
  guint16 *free_ids;     /* stack: descriptors of a split ring, ids of a packed
                          * one */
  guint n_free;          /* descriptors */
  VtRingSlot *slots;     /* by head or id */
  void *scratch;         /* vt_ring_scratch() */
  gsize scratch_len;

  guint16 kicked; /* split: avail index at the last kick test */

  gboolean avail_wrap, used_wrap; /* packed: the wrap counters */
  guint n_free_ids;
  guint n_unkicked;     /* descriptors added since the last kick test */
  void *staged;         /* the descriptor that publish() makes visible */
  guint16 staged_flags; /* its flags */
} VtRing;

/* @size: entries; of a split ring a power of 2 */
VtRing *
vt_ring_new (VtGuest *guest, guint index, guint16 size, VtRingFlags flags);
void vt_ring_free (VtRing *ring); /* before its guest; NULL is fine */

/* Makes the ring empty as a driver does when it starts.  Counters and
 * descriptors stay.
 * @base: where both indices begin, as in SET_VRING_BASE; 0: as a driver does */
void vt_ring_reset (VtRing *ring, guint32 base);

/* Returns: the value for SET_VRING_BASE now, and what GET_VRING_BASE must answer
 * when the device has used, and the driver has taken back, all chains. */
guint32 vt_ring_base (VtRing *ring);

/* Adds a chain, which the device does not see before vt_ring_publish() or
 * vt_ring_kick().
 * @token: what vt_ring_get() will return, not NULL
 * Returns: FALSE if too few descriptors are free; then nothing happened. */
gboolean
vt_ring_add (VtRing *ring, const VtBuf *bufs, guint n_bufs, gpointer token);

/* The same with @n_direct descriptors in the ring and the rest, if any, in an
 * indirect table that ends the chain (virtio 1.3, 2.7.5.3).  In packed rings
 * the two do not mix: unless all are direct, none is. */
gboolean vt_ring_add_mixed (VtRing *ring, const VtBuf *bufs, guint n_bufs,
                            guint n_direct, gpointer token);

/* Shows all added chains to the device. */
void vt_ring_publish (VtRing *ring);

/* Publishes, and notifies the device if it wants that.
 * Returns: whether it was notified. */
gboolean vt_ring_kick (VtRing *ring);

/* Notifies the device, wanted or not. */
void vt_ring_kick_always (VtRing *ring);

/* Takes one used element without waiting.
 * @written: (out) (optional): its length
 * Returns: its token, or NULL if there is none. */
gpointer vt_ring_get (VtRing *ring, guint32 *written);

/* Waits for a used element.  A used element whose notification is missing
 * fails the test.  Returns: FALSE if none came in @timeout_ms. */
gboolean vt_ring_wait (VtRing *ring, int timeout_ms);

/* vt_ring_wait() and vt_ring_get(); fails the test after VT_TIMEOUT_MS. */
gpointer vt_ring_take (VtRing *ring, guint32 *written);

/* Whether the driver wants to be notified; TRUE at first. */
void vt_ring_set_interrupts (VtRing *ring, gboolean wanted);

/* Reads and counts pending notifications without waiting.
 * Returns: how many there were. */
guint64 vt_ring_drain_calls (VtRing *ring);

/* Waits for the error eventfd.  Returns: whether the ring was broken. */
gboolean vt_ring_wait_error (VtRing *ring, int timeout_ms);

/* Returns: guest memory of the ring's own, the same at each call as long as it
 * is large enough.  Rings do not share theirs: the daemon serves them in
 * several threads, and ThreadSanitizer does not see the driver's order. */
void *vt_ring_scratch (VtRing *ring, gsize len);

/* Chains that were added and have not come back. */
guint vt_ring_n_in_flight (const VtRing *ring);

/* Replaces call_fd by a new one, to be sent by SET_VRING_CALL. */
void vt_ring_renew_call_fd (VtRing *ring);

/* --- Split rings only --- */

/* Writes any descriptor, in the ring's table or in an indirect one. */
void vt_desc_write (struct vring_desc *desc, guint64 gpa, guint32 len,
                    guint16 flags, guint16 next);

/* Puts any head into the available ring; vt_ring_publish() then shows it.
 * @token: if not NULL, the device is expected to use it */
void vt_ring_raw_add (VtRing *ring, guint16 head, gpointer token);

/* Writes any avail->idx. */
void vt_ring_raw_publish (VtRing *ring, guint16 idx);

/* The size of a ring's parts in bytes, with the event fields. */
gsize vt_ring_avail_size (guint size);
gsize vt_ring_used_size (guint size);

G_DEFINE_AUTOPTR_CLEANUP_FUNC (VtRing, vt_ring_free)
