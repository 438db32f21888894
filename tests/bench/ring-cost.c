/* SPDX-License-Identifier: BSD-3-Clause
 *
 * ring-cost.c - what popping and completing a request costs, and what it costs
 * in the way that most back-ends work
 *
 * Requests have three descriptors and come in batches of 32.  Only the device's
 * side is timed: pop, complete, publish, notification test; no system call is
 * among it.  The driver makes one and the same ring available again and again.
 *
 * The baseline is element-loop.c.  Samples of all alternate; their medians are
 * compared.
 */
#include <linux/virtio_config.h>
#include <stdio.h>
#include <stdlib.h>
#include <sys/eventfd.h>
#include <time.h>

#include "tests/bench/element-loop.h"
#include "tests/lib/guest.h"
#include "vring/queue-private.h"

#define BATCH       32
#define REQUESTS    256 /* in a sample */
#define DESCRIPTORS 3   /* of a request */
#define RING_SIZE   1024
#define PACKED_SIZE (REQUESTS * DESCRIPTORS) /* a sample wraps the ring */
#define SAMPLES     20000
#define TURN        20 /* samples in a row: the ring is in the cache */
#define MIB         (1ul << 20)

typedef struct {
  VtGuest *guest;
  VdMap *map;
  VdQueue *queue; /* NULL: the baseline */
  ElementLoop loop;
  gboolean packed, wrap;
  union {
    void *desc;
    struct vring_desc *split;
    struct vring_packed_desc *packed_desc;
  };
  void *image; /* of the packed descriptors, made available */
  struct vring_avail *avail;
  struct vring_used *used;
  guint8 *buffers;
  double ns[SAMPLES]; /* a request */
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

static guint
serve_ours (Subject *subject)
{
  VdQueue *queue = subject->queue;
  VdChain *chains[BATCH];
  guint n, total = 0;

  while ((n = queue->ring_ops->pop (queue, chains, BATCH)) > 0) {
    queue->ring_ops->notifications (queue, FALSE);
    for (guint i = 0; i < n; i++)
      vd_chain_complete (chains[i], 513);
    queue->ring_ops->publish (queue);
    total += n;
  }
  return total;
}

/* The baseline. */

/* What a device allocates: the element comes first. */
typedef struct {
  Element element;
  guint8 data[128];
} Request;

static guint
serve_elements (ElementLoop *loop)
{
  Request *request;
  guint n = 0;

  for (; (request = element_loop_pop (loop, sizeof *request)) != NULL; n++) {
    element_loop_push (loop, &request->element, 513);
    element_loop_notify (loop);
    free (request);
  }
  return n;
}

/* The driver, and the clock. */

/* Makes the whole ring available; the device is never to notify. */
static void
make_available (Subject *subject)
{
  if (subject->packed) {
    struct vring_packed_desc *image = subject->image;

    subject->wrap = !subject->wrap;
    for (guint i = 0; i < PACKED_SIZE; i++)
      image[i].flags ^=
          1u << VRING_PACKED_DESC_F_AVAIL | 1u << VRING_PACKED_DESC_F_USED;
    memcpy (subject->desc, image, PACKED_SIZE * sizeof *image);
  } else {
    guint16 next = subject->avail->idx + REQUESTS;

    subject->avail->ring[RING_SIZE] = next + RING_SIZE;
    vd_store16 (&subject->avail->idx, next, memory_order_release);
  }
}

static double
take_sample (Subject *subject)
{
  guint64 start, end;
  guint n;

  make_available (subject);
  start = now_ns ();
  n = subject->queue != NULL ? serve_ours (subject)
                             : serve_elements (&subject->loop);
  end = now_ns ();
  g_assert_cmpuint (n, ==, REQUESTS);
  return (double) (end - start) / REQUESTS;
}

static void
fill_split (Subject *subject)
{
  for (guint i = 0; i < REQUESTS; i++)
    for (guint j = 0; j < DESCRIPTORS; j++) {
      guint at = i * DESCRIPTORS + j;

      subject->split[at] = (struct vring_desc){
        .addr = vt_guest_gpa (subject->guest,
                              subject->buffers + i * 2048 + j * 512),
        .len = j == 0   ? 16
               : j == 1 ? 512
                        : 1,
        .flags = (j > 0 ? VRING_DESC_F_WRITE : 0) |
                 (j + 1 < DESCRIPTORS ? VRING_DESC_F_NEXT : 0),
        .next = (guint16) (at + 1),
      };
    }
  for (guint i = 0; i < RING_SIZE; i++)
    subject->avail->ring[i] = (guint16) (i % REQUESTS * DESCRIPTORS);
}

/* The same with the packed ring's fields, for a wrap counter of 0. */
static void
fill_packed (Subject *subject)
{
  struct vring_packed_desc *image = g_new (struct vring_packed_desc, RING_SIZE);

  fill_split (subject);
  for (guint i = 0; i < PACKED_SIZE; i++)
    image[i] = (struct vring_packed_desc){
      .addr = subject->split[i].addr,
      .len = subject->split[i].len,
      .id = (guint16) (i / DESCRIPTORS),
      .flags = subject->split[i].flags | 1u << VRING_PACKED_DESC_F_USED,
    };
  memset (subject->desc, 0, RING_SIZE * sizeof *image);
  subject->avail->flags = subject->avail->idx = 0;
  ((struct vring_packed_desc_event *) subject->avail)->flags =
      VRING_PACKED_EVENT_FLAG_DISABLE;
  subject->image = image;
}

/* The baseline's queue on the same ring. */
static void
make_loop (Subject *subject)
{
  ElementLoop *loop = &subject->loop;

  loop->size = RING_SIZE;
  loop->desc = subject->split;
  loop->avail = subject->avail;
  loop->used = subject->used;
  loop->call_fd = eventfd (0, EFD_NONBLOCK);
  loop->features = 1ull << VIRTIO_RING_F_EVENT_IDX | 1ull << VIRTIO_F_VERSION_1;
  for (guint i = 0; i < subject->guest->regions->len; i++) {
    const VtRegion *region = subject->guest->regions->pdata[i];

    loop->regions[loop->n_regions++] =
        (ElementRegion){ region->gpa, region->size, region->ptr };
  }
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
make_queue (Subject *subject)
{
  const VdQueueSetup setup = {
    .size = subject->packed ? PACKED_SIZE : RING_SIZE,
    .desc = vt_guest_uva (subject->guest, subject->desc),
    .avail = vt_guest_uva (subject->guest, subject->avail),
    .used = vt_guest_uva (subject->guest, subject->used),
    .base = subject->packed ? 0x80008000 : 0,
    .features = 1ull << VIRTIO_RING_F_EVENT_IDX |
                (subject->packed ? 1ull << VIRTIO_F_RING_PACKED : 0),
    .enabled = TRUE,
    .map = subject->map,
    .kick_fd = -1,
    .call = VD_NOTIFIER_INIT,
    .err = VD_NOTIFIER_INIT,
  };

  subject->queue = vd_queue_new (&setup, &ops, NULL, NULL, NULL);
  g_assert_nonnull (subject->queue);
  vd_queue_started (subject->queue);
}

/* The rings lie in one region, the buffers in another, as they may. */
static void
subject_init (Subject *subject, gboolean ours, gboolean packed)
{
  VtGuest *guest = vt_guest_new (MIB);

  subject->guest = guest;
  subject->packed = packed;
  subject->desc = vt_guest_alloc (guest, RING_SIZE * 16, 4096);
  subject->avail = vt_guest_alloc (guest, 6 + RING_SIZE * 2, 4096);
  subject->used = vt_guest_alloc (guest, 6 + RING_SIZE * 8, 4096);
  vt_guest_add (guest, 0x80000000, 0x60000000, MIB, 0);
  subject->buffers = vt_guest_alloc (guest, REQUESTS * 2048, 4096);
  subject->map = map_guest (guest);
  if (packed)
    fill_packed (subject);
  else
    fill_split (subject);
  if (ours)
    make_queue (subject);
  else
    make_loop (subject);
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
  qsort (subject->ns, SAMPLES, sizeof *subject->ns, compare);
  return subject->ns[SAMPLES / 2];
}

int
main (void)
{
  static const char *const names[] = { "baseline", "split", "packed" };
  static Subject subjects[G_N_ELEMENTS (names)];
  double baseline;

  for (guint i = 0; i < G_N_ELEMENTS (subjects); i++)
    subject_init (&subjects[i], i > 0, i > 1);
  for (guint n = 0; n < SAMPLES; n += TURN)
    for (guint i = 0; i < G_N_ELEMENTS (subjects); i++)
      for (guint j = 0; j < TURN; j++)
        subjects[i].ns[n + j] = take_sample (&subjects[i]);
  baseline = median (&subjects[0]);
  printf ("pop + complete, %u descriptors, batches of %u, %u samples\n",
          DESCRIPTORS, BATCH, SAMPLES);
  for (guint i = 0; i < G_N_ELEMENTS (subjects); i++) {
    double ns = median (&subjects[i]);

    printf ("%-8s median %5.1f ns a request, best %5.1f, %.1fx\n", names[i], ns,
            subjects[i].ns[0], baseline / ns);
  }
  return 0;
}
