/* SPDX-License-Identifier: BSD-3-Clause
 *
 * ring-cost.c - what popping and completing a request costs, and what it costs
 * in the way that most back-ends work
 *
 * Requests have three descriptors and come in batches of 32.  Only the device's
 * side is timed: pop, complete, publish, notification test; no system call is
 * among it.  The driver makes one and the same ring available again and again.
 *
 * The baseline does what libvhost-user does for each element: it looks for its
 * avail index, writes the avail event, walks the descriptors through a search
 * of the regions into an array on the stack, allocates an element and copies
 * the array into it, walks the descriptors once more for a log that is off,
 * asks whether requests are tracked, publishes, and tests for a notification;
 * steps that are functions there are functions here.  (libvhost-user 7.2 itself,
 * measured beside it with the same ring, takes 59.5 ns where this takes 52.4.)
 * Samples of all alternate; their medians are compared.
 */
#include <linux/virtio_config.h>
#include <stdio.h>
#include <stdlib.h>
#include <time.h>

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

  /* The baseline's queue. */
  guint16 last_avail, shadow_avail, used_idx, signalled;
  guint size, in_use;
  volatile gboolean broken, logging, tracking; /* none is, which it asks */
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

typedef struct {
  guint head, n_in, n_out;
  struct iovec *in, *out;
  guint8 request[128]; /* what a device keeps of it */
} Element;

static G_GNUC_NO_INLINE void *
translate (const Subject *subject, guint64 gpa, guint64 *len)
{
  GPtrArray *regions = subject->guest->regions;
  guint low = 0, high = regions->len;

  while (low < high) {
    guint middle = (low + high) / 2;
    const VtRegion *region = regions->pdata[middle];

    if (gpa < region->gpa)
      high = middle;
    else if (gpa >= region->gpa + region->size)
      low = middle + 1;
    else {
      *len = MIN (*len, region->gpa + region->size - gpa);
      return region->ptr + (gpa - region->gpa);
    }
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
  for (guint i = 0; i < n_out; i++)
    element->out[i] = iov[i];
  for (guint i = 0; i < n_in; i++)
    element->in[i] = iov[n_out + i];
  return element;
}

/* One descriptor, which may take several parts of memory. */
static G_GNUC_NO_INLINE gboolean
map_descriptor (const Subject *subject, struct iovec *iov, guint *n_iov,
                guint64 gpa, guint64 len)
{
  while (len > 0) {
    guint64 n = len;

    if (*n_iov == 1024)
      return FALSE;
    iov[*n_iov].iov_base = translate (subject, gpa, &n);
    iov[*n_iov].iov_len = n;
    if (iov[(*n_iov)++].iov_base == NULL)
      return FALSE;
    gpa += n;
    len -= n;
  }
  return TRUE;
}

static gboolean
has_avail (Subject *subject)
{
  if (subject->shadow_avail == subject->last_avail)
    subject->shadow_avail =
        vd_load16 (&subject->avail->idx, memory_order_relaxed);
  return subject->shadow_avail != subject->last_avail;
}

static G_GNUC_NO_INLINE Element *
map_element (Subject *subject, guint16 head)
{
  const volatile struct vring_desc *desc = subject->split;
  struct iovec iov[1024];
  guint n_out = 0, n_in = 0;
  guint16 i = head;

  for (;;) {
    guint *n_iov = desc[i].flags & VRING_DESC_F_WRITE ? &n_in : &n_out;

    if (i >= subject->size || n_in + n_out > subject->size ||
        !map_descriptor (subject, n_iov == &n_in ? iov + n_out : iov, n_iov,
                         desc[i].addr, desc[i].len))
      return NULL;
    if (!(desc[i].flags & VRING_DESC_F_NEXT))
      return element_new (head, iov, n_out, n_in);
    i = desc[i].next;
    atomic_thread_fence (memory_order_release);
  }
}

static G_GNUC_NO_INLINE Element *
pop_one (Subject *subject)
{
  Element *element;

  if (subject->broken || !has_avail (subject) ||
      subject->in_use >= subject->size)
    return NULL;
  atomic_thread_fence (memory_order_acquire);
  vd_store16 (&subject->used->ring[subject->size], subject->last_avail,
              memory_order_relaxed);
  element = map_element (
      subject, subject->avail->ring[subject->last_avail++ % subject->size]);
  if (element == NULL)
    return NULL;
  subject->in_use++;
  if (subject->tracking)
    abort ();
  return element;
}

static G_GNUC_NO_INLINE void
log_write (Subject *subject, guint64 gpa, guint64 len)
{
  if (subject->logging)
    abort ();
}

static G_GNUC_NO_INLINE void
log_element (Subject *subject, const Element *element, guint32 len)
{
  const volatile struct vring_desc *desc = subject->split;
  guint16 i = (guint16) element->head;

  while (len > 0) {
    if (desc[i].flags & VRING_DESC_F_WRITE) {
      guint32 n = MIN (desc[i].len, len);

      log_write (subject, desc[i].addr, n);
      len -= n;
    }
    if (!(desc[i].flags & VRING_DESC_F_NEXT))
      return;
    i = desc[i].next;
  }
}

static G_GNUC_NO_INLINE void
fill_one (Subject *subject, const Element *element, guint32 len)
{
  struct vring_used_elem *used =
      &subject->used->ring[subject->used_idx % subject->size];

  if (subject->broken)
    return;
  log_element (subject, element, len);
  used->id = element->head;
  used->len = len;
  log_write (subject, 0, sizeof *used);
}

static G_GNUC_NO_INLINE void
flush_one (Subject *subject)
{
  if (subject->broken)
    return;
  atomic_thread_fence (memory_order_release);
  if (subject->tracking)
    abort ();
  vd_store16 (&subject->used->idx, ++subject->used_idx, memory_order_relaxed);
  log_write (subject, 0, sizeof subject->used_idx);
  subject->in_use--;
}

static G_GNUC_NO_INLINE void
push_one (Subject *subject, const Element *element, guint32 len)
{
  fill_one (subject, element, len);
  flush_one (subject);
  if (subject->tracking)
    abort ();
}

static G_GNUC_NO_INLINE gboolean
notify_one (Subject *subject)
{
  guint16 old = subject->signalled;

  atomic_thread_fence (memory_order_seq_cst);
  subject->signalled = subject->used_idx;
  return vring_need_event (
      vd_load16 (&subject->avail->ring[subject->size], memory_order_relaxed),
      subject->used_idx, old);
}

static guint
serve_baseline (Subject *subject)
{
  Element *element;
  guint n = 0;

  for (; (element = pop_one (subject)) != NULL; n++) {
    push_one (subject, element, 513);
    notify_one (subject);
    free (element);
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
  n = subject->queue != NULL ? serve_ours (subject) : serve_baseline (subject);
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
  subject->size = RING_SIZE;
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
