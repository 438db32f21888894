/* SPDX-License-Identifier: BSD-3-Clause
 *
 * ring-cost.c - what popping and completing a request costs, and what it costs
 * in the way that most back-ends work
 *
 * Requests have three descriptors and come in batches of 32.  Only the device's
 * side is timed: pop, complete, publish, notification test; no system call is
 * among it.  The baseline pops one element at a time: it walks the descriptors
 * through a list of regions into arrays on the stack, allocates an element,
 * writes the avail event, and pushes, publishes and tests for each.  Rounds of
 * all alternate; the medians are compared.
 */
#include <stdio.h>
#include <stdlib.h>
#include <time.h>

#include "tests/lib/ring.h"
#include "vring/queue-private.h"

#define BATCH     32
#define RING_SIZE 256
#define BATCHES   4000 /* in a round */
#define ROUNDS    15
#define MIB       (1ul << 20)

typedef struct {
  VtGuest *guest;
  VtRing *ring;
  VdMap *map;
  VdQueue *queue; /* NULL: the baseline */
  guint16 last_avail, used_idx, signalled;
  guint8 *buffers;
  double ns[ROUNDS]; /* a request */
} Subject;

static guint64
now_ns (void)
{
  struct timespec now;

  clock_gettime (CLOCK_MONOTONIC, &now);
  return (guint64) now.tv_sec * 1000000000u + (guint64) now.tv_nsec;
}

/* Ours. */

static void
handle (VdQueue *queue, VdChain **chains, guint n_chains, gpointer user_data)
{
}

static const VdQueueOps ops = { .request_size = 256, .handle = handle };

static void
serve_ours (Subject *subject)
{
  VdQueue *queue = subject->queue;
  VdChain *chains[BATCH];
  guint n = queue->ring_ops->pop (queue, chains, BATCH);

  g_assert_cmpuint (n, ==, BATCH);
  queue->ring_ops->notifications (queue, FALSE);
  for (guint i = 0; i < n; i++)
    vd_chain_complete (chains[i], (guint32) chains[i]->in_len);
  queue->ring_ops->publish (queue);
}

/* The baseline. */

typedef struct {
  guint head, n_in, n_out;
  struct iovec *in, *out;
} Element;

static void *
translate (const Subject *subject, guint64 gpa, guint32 len)
{
  for (guint i = 0; i < subject->guest->regions->len; i++) {
    const VtRegion *region = subject->guest->regions->pdata[i];

    if (gpa >= region->gpa && gpa + len <= region->gpa + region->size)
      return region->ptr + (gpa - region->gpa);
  }
  return NULL;
}

static Element *
element_new (guint head, const struct iovec *iov, guint n_out, guint n_in)
{
  Element *element =
      malloc (sizeof *element + (n_out + n_in) * sizeof (struct iovec));

  element->head = head;
  element->n_out = n_out;
  element->n_in = n_in;
  element->out = (struct iovec *) (element + 1);
  element->in = element->out + n_out;
  memcpy (element->out, iov, n_out * sizeof *iov);
  memcpy (element->in, iov + n_out, n_in * sizeof *iov);
  return element;
}

static G_GNUC_NO_INLINE Element *
pop_one (Subject *subject)
{
  VtRing *ring = subject->ring;
  struct iovec iov[1024];
  guint n_out = 0, n_in = 0;
  guint16 head, i;

  if (vd_load16 (&ring->avail->idx, memory_order_acquire) ==
      subject->last_avail)
    return NULL;
  head = i = ring->avail->ring[subject->last_avail++ % RING_SIZE];
  vd_store16 (&ring->used->ring[RING_SIZE], subject->last_avail,
              memory_order_relaxed);
  for (;;) {
    const volatile struct vring_desc *desc = &ring->desc[i];

    iov[n_out + n_in].iov_base = translate (subject, desc->addr, desc->len);
    iov[n_out + n_in].iov_len = desc->len;
    if (desc->flags & VRING_DESC_F_WRITE)
      n_in++;
    else
      n_out++;
    if (!(desc->flags & VRING_DESC_F_NEXT))
      return element_new (head, iov, n_out, n_in);
    i = desc->next;
  }
}

static G_GNUC_NO_INLINE void
push_one (Subject *subject, Element *element)
{
  VtRing *ring = subject->ring;
  guint16 old, event;

  ring->used->ring[subject->used_idx % RING_SIZE].id = element->head;
  ring->used->ring[subject->used_idx % RING_SIZE].len = 512;
  atomic_thread_fence (memory_order_seq_cst);
  vd_store16 (&ring->used->idx, ++subject->used_idx, memory_order_release);
  atomic_thread_fence (memory_order_seq_cst);
  event = vd_load16 (&ring->avail->ring[RING_SIZE], memory_order_relaxed);
  old = subject->signalled;
  subject->signalled = subject->used_idx;
  if (vring_need_event (event, subject->used_idx, old))
    atomic_signal_fence (memory_order_seq_cst); /* the call, left out */
  free (element);
}

static void
serve_baseline (Subject *subject)
{
  Element *element;

  while ((element = pop_one (subject)) != NULL)
    push_one (subject, element);
}

/* The driver, and the clock. */

static void
add_batch (Subject *subject)
{
  for (guint i = 0; i < BATCH; i++) {
    guint8 *at = subject->buffers + i * 2048;
    const VtBuf bufs[] = { { at, 16, FALSE },
                           { at + 512, 512, TRUE },
                           { at + 1024, 1, TRUE } };

    g_assert_true (vt_ring_add (subject->ring, bufs, 3, subject));
  }
  vt_ring_publish (subject->ring);
}

static double
run_round (Subject *subject)
{
  guint64 total = 0;

  for (guint i = 0; i < BATCHES; i++) {
    guint64 start;

    add_batch (subject);
    start = now_ns ();
    if (subject->queue != NULL)
      serve_ours (subject);
    else
      serve_baseline (subject);
    total += now_ns () - start;
    for (guint j = 0; j < BATCH; j++)
      g_assert_nonnull (vt_ring_get (subject->ring, NULL));
  }
  return (double) total / BATCHES / BATCH;
}

static VdMap *
map_guest (VtGuest *guest)
{
  VdMap *map = vd_map_new ();

  for (guint i = 0; i < guest->regions->len; i++) {
    const VtRegion *region = guest->regions->pdata[i];
    const VdRegionInfo info = { region->gpa, region->size, region->uva,
                                region->offset };
    VdMap *next = vd_map_add (map, &info, region->fd, NULL);

    vd_map_unref (map);
    map = next;
  }
  return map;
}

static void
subject_init (Subject *subject, VtRingFlags flags, gboolean ours)
{
  subject->guest = vt_guest_new (MIB);
  subject->ring = vt_ring_new (subject->guest, 0, RING_SIZE, flags);
  vt_guest_add (subject->guest, 0x80000000, 0x60000000, MIB, 0);
  subject->buffers = vt_guest_alloc (subject->guest, BATCH * 2048, 4096);
  vt_ring_set_interrupts (subject->ring, FALSE);
  subject->map = map_guest (subject->guest);
  if (ours) {
    const VtRing *ring = subject->ring;
    const VdQueueSetup setup = {
      .size = RING_SIZE,
      .desc = vt_guest_uva (subject->guest, ring->desc),
      .avail = vt_guest_uva (subject->guest, ring->avail),
      .used = vt_guest_uva (subject->guest, ring->used),
      .base = vt_ring_base (subject->ring),
      .features = 1ull << VIRTIO_RING_F_EVENT_IDX |
                  (flags & VT_RING_PACKED ? 1ull << 34 : 0),
      .enabled = TRUE,
      .map = subject->map,
      .kick_fd = -1,
      .call = VD_NOTIFIER_INIT,
      .err = VD_NOTIFIER_INIT,
    };

    subject->queue = vd_queue_new (&setup, &ops, NULL, NULL, NULL);
    g_assert_nonnull (subject->queue);
  }
}

static int
compare (const void *a, const void *b)
{
  double x = *(const double *) a, y = *(const double *) b;

  return (x > y) - (x < y);
}

static double
median (Subject *subject)
{
  qsort (subject->ns, ROUNDS, sizeof *subject->ns, compare);
  return subject->ns[ROUNDS / 2];
}

int
main (void)
{
  static const char *const names[] = { "baseline", "split", "packed" };
  Subject subjects[G_N_ELEMENTS (names)] = { 0 };
  double baseline;

  subject_init (&subjects[0], VT_RING_EVENT_IDX, FALSE);
  subject_init (&subjects[1], VT_RING_EVENT_IDX, TRUE);
  subject_init (&subjects[2], VT_RING_EVENT_IDX | VT_RING_PACKED, TRUE);
  for (guint round = 0; round < ROUNDS; round++)
    for (guint i = 0; i < G_N_ELEMENTS (subjects); i++)
      subjects[i].ns[round] = run_round (&subjects[i]);
  baseline = median (&subjects[0]);
  printf (
      "pop + complete, 3 descriptors, batches of %u, medians of %u rounds\n",
      BATCH, ROUNDS);
  for (guint i = 0; i < G_N_ELEMENTS (subjects); i++) {
    double ns = median (&subjects[i]);

    printf ("%-8s %6.1f ns a request (%.1f to %.1f), %.1fx\n", names[i], ns,
            subjects[i].ns[0], subjects[i].ns[ROUNDS - 1], baseline / ns);
  }
  return 0;
}
