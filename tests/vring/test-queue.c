/* SPDX-License-Identifier: BSD-3-Clause
 *
 * test-queue.c - the life of a queue: what its driver and CONTROL may rely on
 */
#include "vring/queue.h"

#include <errno.h>
#include <string.h>
#include <sys/eventfd.h>

#include "tests/lib/echo.h"

#define RING_SIZE 128
#define ODD_SIZE  100  /* of packed rings, which may have it */
#define AREA      4096 /* bytes that a request has to write and to read */
#define MIB       (1ul << 20)

typedef struct {
  gboolean force_poll;
  VtRingFlags flags;
} Config;

typedef struct {
  VtGuest *guest;
  VtRing *ring;
  VtEcho echo;
  VtQueueRig rig;
  GPtrArray *requests; /* owned */
} Fixture;

static void
set_up (Fixture *f, gconstpointer data)
{
  const Config *config = data;

  f->guest = vt_guest_new (16 * MIB);
  f->ring = vt_ring_new (f->guest, 0,
                         config->flags & VT_RING_PACKED ? ODD_SIZE : RING_SIZE,
                         config->flags);
  vt_queue_rig_init (&f->rig, f->guest, &vt_echo_ops, &f->echo);
  f->rig.force_poll = config->force_poll;
  f->rig.pool = vd_pool_new (2);
  f->requests = g_ptr_array_new_with_free_func (g_free);
}

static void
tear_down (Fixture *f, gconstpointer data)
{
  vt_queue_rig_clear (&f->rig);
  vd_pool_free (f->rig.pool);
  g_assert_cmpuint (f->echo.n_started, ==, f->echo.n_stopped);
  vt_ring_free (f->ring);
  vt_guest_free (f->guest);
  g_ptr_array_unref (f->requests);
}

/* One request of @len bytes each way. */
typedef struct {
  guint8 *out, *in;
  guint32 out_len, in_len;
} Request;

static Request *
request_new (Fixture *f, guint32 len)
{
  Request *request = g_new0 (Request, 1);

  g_ptr_array_add (f->requests, request);
  request->out = vt_guest_alloc (f->guest, len, 1);
  request->in = vt_guest_alloc (f->guest, len, 1);
  request->out_len = request->in_len = len;
  for (guint32 i = 0; i < len; i++)
    request->out[i] = g_test_rand_int ();
  return request;
}

static void
request_add (VtRing *ring, Request *request)
{
  VtBuf bufs[] = { { request->out, request->out_len, FALSE },
                   { request->in, request->in_len, TRUE } };

  g_assert_true (vt_ring_add (ring, bufs, 2, request));
}

/* Checks what the device wrote to the first @written bytes. */
static void
request_check (const Request *request, guint32 written)
{
  g_assert_cmpuint (written, ==, MIN (request->out_len, request->in_len));
  for (guint32 i = 0; i < written; i++)
    g_assert_cmphex (request->in[i], ==, (guint8) ~request->out[i]);
}

/* Adds @n requests and notifies. */
static void
add_requests (Fixture *f, guint n)
{
  for (guint i = 0; i < n; i++)
    request_add (f->ring, request_new (f, 1 + i % 7));
  vt_ring_kick (f->ring);
}

static void
take_requests (Fixture *f, guint n)
{
  for (guint i = 0; i < n; i++) {
    guint32 written;
    Request *request = vt_ring_take (f->ring, &written);

    request_check (request, written);
  }
}

/* --- Random driver --- */

typedef struct {
  Request request;
  VtBuf bufs[80];
  guint n_bufs;
  gboolean busy;
} Shape;

/* Cuts @len bytes at @at into buffers, some of them empty. */
static void
cut (Shape *shape, guint8 *at, guint32 len, guint max, gboolean writable)
{
  guint n = g_test_rand_int_range (1, max + 1);

  for (; n > 0; n--) {
    guint32 piece = n == 1 ? len : (guint32) g_test_rand_int_range (0, len + 1);

    shape->bufs[shape->n_bufs++] = (VtBuf){ at, piece, writable };
    at += piece;
    len -= piece;
  }
}

static void
make_shape (Shape *shape)
{
  guint max = g_test_rand_int_range (0, 20) ? 3 : 40;
  Request *request = &shape->request;

  shape->n_bufs = 0;
  request->out_len = g_test_rand_int_range (0, 8)
                         ? g_test_rand_int_range (1, 64)
                         : g_test_rand_int_range (0, AREA);
  request->in_len = g_test_rand_int_range (0, 8)
                        ? g_test_rand_int_range (1, 64)
                        : g_test_rand_int_range (0, AREA);
  for (guint32 i = 0; i < request->out_len; i++)
    request->out[i] = g_test_rand_int ();
  memset (request->in, 0xee, AREA);
  if (g_test_rand_int_range (0, 10))
    cut (shape, request->out, request->out_len, max, FALSE);
  else
    request->out_len = 0;
  if (shape->n_bufs == 0 || g_test_rand_int_range (0, 10))
    cut (shape, request->in, request->in_len, max, TRUE);
  else
    request->in_len = 0;
}

static gboolean
add_shape (VtRing *ring, Shape *shape)
{
  guint n_direct = g_test_rand_int_range (0, 3) == 0 ? 0
                   : g_test_rand_int_range (0, 3) == 0
                       ? (guint) g_test_rand_int_range (0, shape->n_bufs + 1)
                       : shape->n_bufs;

  make_shape (shape);
  n_direct = MIN (n_direct, shape->n_bufs);
  shape->busy =
      vt_ring_add_mixed (ring, shape->bufs, shape->n_bufs, n_direct, shape);
  return shape->busy;
}

static void
check_shape (Shape *shape, guint32 written)
{
  g_assert_true (shape->busy);
  shape->busy = FALSE;
  request_check (&shape->request, written);
  for (guint32 i = written; i < AREA; i++)
    g_assert_cmphex (shape->request.in[i], ==, 0xee);
}

static guint
add_some (VtRing *ring, Shape *shapes)
{
  guint n = 0, want = g_test_rand_int_range (0, RING_SIZE);

  for (guint i = 0; i < RING_SIZE && n < want; i++)
    if (!shapes[i].busy) {
      if (!add_shape (ring, &shapes[i]))
        break;
      n++;
    }
  vt_ring_kick (ring);
  return n;
}

static guint
take_some (VtRing *ring, guint n_busy)
{
  guint n = 0, want = n_busy ? g_test_rand_int_range (0, n_busy + 1) : 0;
  gboolean may_wait = g_test_rand_bit ();
  guint32 written;
  Shape *shape;

  vt_ring_set_interrupts (ring, g_test_rand_bit ());
  for (; n < want; n++) {
    shape =
        may_wait ? vt_ring_take (ring, &written) : vt_ring_get (ring, &written);
    if (!shape)
      break;
    check_shape (shape, written);
  }
  return n;
}

static Shape *
make_shapes (VtRegion *region, gsize boundary)
{
  Shape *shapes = g_new0 (Shape, RING_SIZE);
  guint8 *at = region->ptr + boundary - RING_SIZE * AREA;

  for (guint i = 0; i < RING_SIZE; i++) {
    shapes[i].request.out = at + 2 * i * AREA;
    shapes[i].request.in = at + (2 * i + 1) * AREA;
  }
  return shapes;
}

/* Any mixture of shapes, batches and ways to wait gives right answers, without
 * a lost notification in either direction.  The buffers lie on both sides of a
 * boundary of two regions. */
static void
run_random_driver (Fixture *f, VtEchoMode mode, guint limit)
{
  guint total = g_test_thorough () ? 100000 : 4000, added = 0, taken = 0;
  VtRegion *low = vt_guest_add (f->guest, 0x40000000, 0x10000000, 4 * MIB, 0);
  g_autofree Shape *shapes = NULL;

  vt_guest_add (f->guest, 0x40000000 + 4 * MIB, 0x20000000, 4 * MIB, 8192);
  f->guest->current = g_ptr_array_index (f->guest->regions, 0);
  shapes = make_shapes (low, 4 * MIB);
  f->echo.mode = mode;
  f->echo.limit = limit;
  g_assert_cmpint (vt_queue_rig_remap (&f->rig), ==, 0);
  vt_queue_rig_start (&f->rig, f->ring);
  while (added < total) {
    added += add_some (f->ring, shapes);
    taken += take_some (f->ring, added - taken);
  }
  vt_ring_set_interrupts (f->ring, TRUE);
  for (; taken < added; taken++) {
    guint32 written;
    Shape *shape = vt_ring_take (f->ring, &written);

    check_shape (shape, written);
  }
  g_assert_cmpuint (f->echo.n_handled, ==, added);
  g_assert_cmphex (vt_queue_rig_stop (&f->rig, f->ring), ==,
                   vt_ring_base (f->ring));
}

static void
test_random_driver_now (Fixture *f, gconstpointer data)
{
  run_random_driver (f, VT_ECHO_NOW, 0);
}

static void
test_random_driver_mixed (Fixture *f, gconstpointer data)
{
  run_random_driver (f, VT_ECHO_MIXED, 0);
}

static void
test_random_driver_limited (Fixture *f, gconstpointer data)
{
  run_random_driver (f, VT_ECHO_MIXED, 5);
}

/* --- Notifications --- */

/* One batch, and requests of two descriptors that fit into any of the rings. */
#define N_BATCH MIN (VD_BATCH_MAX, ODD_SIZE / 2)

static VdQueueStats
stats_of (Fixture *f)
{
  VdQueueStats stats;

  vd_queue_stats (vt_queue_rig_queue (&f->rig, f->ring), &stats);
  return stats;
}

static void
start_disabled (Fixture *f)
{
  g_autoptr (GError) error = NULL;

  vt_queue_rig_try_start (&f->rig, f->ring, f->ring->start_base, FALSE, &error);
  g_assert_no_error (error);
}

static void
wait_handled (Fixture *f, guint n)
{
  gint64 end = g_get_monotonic_time () + VT_TIMEOUT_MS * 1000ll;

  while (atomic_load (&f->echo.n_handled) != n) {
    g_assert_cmpint (g_get_monotonic_time (), <, end);
    g_usleep (50);
  }
}

static void
test_batch_is_notified_once (Fixture *f, gconstpointer data)
{
  start_disabled (f);
  add_requests (f, N_BATCH);
  vt_queue_rig_enable (&f->rig, f->ring, TRUE);
  wait_handled (f, N_BATCH);
  vt_queue_rig_enable (&f->rig, f->ring, FALSE); /* its turn is over */
  g_assert_cmpuint (vt_ring_drain_calls (f->ring), ==, 1);
  g_assert_cmpuint (stats_of (f).batches, ==, 1);
  g_assert_cmpuint (stats_of (f).calls, ==, 1);
  take_requests (f, N_BATCH);
}

static void
test_notifications_are_not_more_than_batches (Fixture *f, gconstpointer data)
{
  const Config *config = data;
  guint n_batches;

  start_disabled (f);
  add_requests (f, N_BATCH - 1);
  vt_queue_rig_enable (&f->rig, f->ring, TRUE);
  for (guint i = 0; i < 50; i++) {
    take_requests (f, 10);
    add_requests (f, 10);
  }
  take_requests (f, N_BATCH - 1);
  vt_queue_rig_enable (&f->rig, f->ring, FALSE);
  vt_ring_drain_calls (f->ring);
  n_batches = stats_of (f).batches;
  g_assert_cmpuint (f->ring->n_calls, ==, stats_of (f).calls);
  g_assert_cmpuint (f->ring->n_calls, <=, n_batches);
  g_assert_cmpuint (stats_of (f).chains, ==, N_BATCH - 1 + 500);
  if (config->flags & VT_RING_EVENT_IDX)
    g_assert_cmpuint (f->ring->n_kicks, <=, 51);
}

/* So that the driver works on the first while we move the last. */
static void
test_much_data_are_given_back_in_parts (Fixture *f, gconstpointer data)
{
  const Config *config = data;
  guint calls;

  vt_queue_rig_start (&f->rig, f->ring);
  for (guint i = 0; i < 4; i++)
    request_add (f->ring, request_new (f, 16 << 10));
  vt_ring_kick (f->ring);
  take_requests (f, 4);
  vt_queue_rig_stop (&f->rig, f->ring);
  vt_ring_drain_calls (f->ring);
  calls = (guint) f->ring->n_calls;
  if (config->flags & VT_RING_EVENT_IDX) /* only if it slept meanwhile */
    g_assert_cmpuint (calls, <=, 4);
  else
    g_assert_cmpuint (calls, ==, 4);
}

/* A driver that polls is spared.  With EVENT_IDX in a split ring it can only say
 * so by an index, which the first time after a start does not count: a
 * front-end may have lost a notification before. */
static void
test_polling_driver_is_notified_at_most_once (Fixture *f, gconstpointer data)
{
  const Config *config = data;

  vt_ring_set_interrupts (f->ring, FALSE);
  vt_queue_rig_start (&f->rig, f->ring);
  for (guint i = 0; i < 20; i++) {
    add_requests (f, 5);
    take_requests (f, 5);
  }
  vt_queue_rig_enable (&f->rig, f->ring, FALSE);
  g_assert_cmpuint (vt_ring_drain_calls (f->ring), ==,
                    (config->flags & (VT_RING_EVENT_IDX | VT_RING_PACKED)) ==
                        VT_RING_EVENT_IDX);
}

static void
test_new_call_descriptor_is_signalled_once (Fixture *f, gconstpointer data)
{
  vt_queue_rig_start (&f->rig, f->ring);
  add_requests (f, 3);
  take_requests (f, 3);
  vt_ring_renew_call_fd (f->ring);
  g_assert_cmpint (vt_queue_rig_set_call_fd (&f->rig, f->ring), ==, 0);
  g_assert_cmpuint (vt_ring_drain_calls (f->ring), ==, 1);
  add_requests (f, 3);
  take_requests (f, 3);
}

/* --- Start, stop, enable --- */

static void
test_disabled_queue_keeps_its_kick (Fixture *f, gconstpointer data)
{
  start_disabled (f);
  add_requests (f, 4);
  g_assert_false (vt_ring_wait (f->ring, 20));
  g_assert_cmpuint (f->echo.n_handled, ==, 0);
  vt_queue_rig_enable (&f->rig, f->ring, TRUE);
  take_requests (f, 4);
}

static void
test_chains_from_before_the_start_are_served (Fixture *f, gconstpointer data)
{
  guint64 count;

  add_requests (f, 4);
  g_assert_no_errno (eventfd_read (f->ring->kick_fd, &count)); /* lost */
  vt_queue_rig_start (&f->rig, f->ring);
  take_requests (f, 4);
}

static void
test_disabling_lets_chains_in_flight_end (Fixture *f, gconstpointer data)
{
  f->echo.mode = VT_ECHO_HOLD;
  vt_queue_rig_start (&f->rig, f->ring);
  add_requests (f, 4);
  vt_echo_wait_held (&f->echo, 4);
  vt_queue_rig_enable (&f->rig, f->ring, FALSE);
  add_requests (f, 3);
  vt_echo_release (&f->rig, f->ring, TRUE);
  take_requests (f, 4);
  g_assert_cmpuint (f->echo.n_handled, ==, 4);
  vt_queue_rig_enable (&f->rig, f->ring, TRUE);
  vt_echo_wait_held (&f->echo, 3);
  vt_echo_release (&f->rig, f->ring, FALSE);
  take_requests (f, 3);
}

typedef struct {
  gboolean done;
} Waiter;

static void
on_stopped (VdQueueCommand *command, int result)
{
  Waiter *waiter = command->user_data;

  g_assert_cmpint (result, ==, 0);
  waiter->done = TRUE;
}

/* The base when @n of add_requests() have been used, and no more popped. */
static guint32
base_after (const VtRing *ring, guint n)
{
  guint n_descs = ring->flags & VT_RING_INDIRECT ? n : 2 * n;
  guint32 index = n_descs % ring->size;

  if (!(ring->flags & VT_RING_PACKED))
    return n;
  if (n_descs / ring->size % 2 == 0)
    index |= 0x8000;
  return index << 16 | index;
}

static void
test_stop_waits_for_chains_in_flight (Fixture *f, gconstpointer data)
{
  Waiter waiter = { FALSE };
  VdQueueCommand stop = { .type = VD_QUEUE_STOP,
                          .done = on_stopped,
                          .user_data = &waiter };
  VdQueue *queue;
  guint32 base;

  f->echo.mode = VT_ECHO_HOLD;
  f->echo.limit = 5;
  vt_queue_rig_start (&f->rig, f->ring);
  queue = vt_queue_rig_queue (&f->rig, f->ring);
  add_requests (f, 8);
  vt_echo_wait_held (&f->echo, 5);
  vd_queue_command (queue, &stop);
  g_assert_false (vt_wait_readable (vd_mailbox_fd (f->rig.control), 20));
  vt_queue_rig_pump (&f->rig);
  g_assert_false (waiter.done);

  vt_echo_release (&f->rig, f->ring, FALSE);
  vt_queue_rig_pump_until (&f->rig, &waiter.done);
  base = vd_queue_base (queue);
  g_assert_cmphex (base, ==, base_after (f->ring, 5)); /* the next one to pop */
  for (guint i = 0; i < 5; i++)
    g_assert_nonnull (vt_ring_get (f->ring, NULL)); /* is there by now */
  vt_queue_rig_forget (&f->rig, f->ring);

  g_assert_true (vt_queue_rig_try_start (&f->rig, f->ring, base, TRUE, NULL));
  vt_echo_release (&f->rig, f->ring, FALSE);
  take_requests (f, 3);
}

/* Stopped and started again and again under a driver that never notices, over
 * the wrap of the index. */
static void
test_base_continues (Fixture *f, gconstpointer data)
{
  guint32 base;

  if (!(f->ring->flags & VT_RING_PACKED))
    vt_ring_reset (f->ring, 65500);
  base = vt_ring_base (f->ring);
  for (guint i = 0; i < 100; i++) {
    vt_queue_rig_try_start (&f->rig, f->ring, base, TRUE, NULL);
    add_requests (f, i % 40);
    take_requests (f, i % 40);
    base = vt_queue_rig_stop (&f->rig, f->ring);
    g_assert_cmphex (base, ==, vt_ring_base (f->ring));
  }
}

/* Where a busy device says that it wants no kicks, by the value 1. */
static guint16 *
suppression (VtRing *ring)
{
  return ring->flags & VT_RING_PACKED ? (guint16 *) (void *) ring->used + 1
                                      : &ring->used->flags;
}

/* With EVENT_IDX, a split ring's flag has no meaning and stays. */
static void
wait_kicks_wanted (VtRing *ring)
{
  gint64 end = g_get_monotonic_time () + VT_TIMEOUT_MS * 1000ll;

  if ((ring->flags & (VT_RING_EVENT_IDX | VT_RING_PACKED)) == VT_RING_EVENT_IDX)
    return;
  while (__atomic_load_n (suppression (ring), __ATOMIC_SEQ_CST) == 1) {
    g_assert_cmpint (g_get_monotonic_time (), <, end);
    g_usleep (50);
  }
}

/* Stopped while it is busy, a queue has told the driver not to kick.  The next
 * one on the same ring must take that back. */
static void
test_restart_asks_for_kicks_again (Fixture *f, gconstpointer data)
{
  guint32 base;

  f->echo.mode = VT_ECHO_HOLD;
  vt_queue_rig_start (&f->rig, f->ring);
  add_requests (f, 1);
  vt_echo_wait_held (&f->echo, 1);
  vt_echo_release (&f->rig, f->ring, FALSE);
  take_requests (f, 1);
  base = vt_queue_rig_stop (&f->rig, f->ring);
  *suppression (f->ring) = 1;

  f->echo.mode = VT_ECHO_NOW;
  vt_queue_rig_try_start (&f->rig, f->ring, base, TRUE, NULL);
  wait_kicks_wanted (f->ring);
  for (guint i = 0; i < 3; i++) {
    add_requests (f, 2);
    take_requests (f, 2);
  }
}

static void
test_failed_start_breaks_the_queue (Fixture *f, gconstpointer data)
{
  f->echo.start_result = -ENOMEM;
  vt_queue_rig_start (&f->rig, f->ring);
  g_assert_nonnull (vt_queue_rig_wait_broken (&f->rig, f->ring));
  add_requests (f, 1);
  g_assert_false (vt_ring_wait (f->ring, 20));
  g_assert_cmphex (vt_queue_rig_stop (&f->rig, f->ring), ==,
                   f->ring->start_base);
}

static void
test_device_may_break_its_queue (Fixture *f, gconstpointer data)
{
  f->echo.break_reason = "beyond repair";
  vt_queue_rig_start (&f->rig, f->ring);
  add_requests (f, 3);
  g_assert_cmpstr (vt_queue_rig_wait_broken (&f->rig, f->ring), ==,
                   "beyond repair");
  vt_queue_rig_stop (&f->rig, f->ring);
  g_assert_null (vt_ring_get (f->ring, NULL));
}

static void
test_queue_without_kick_descriptor_polls (Fixture *f, gconstpointer data)
{
  int kick_fd = f->ring->kick_fd;

  f->ring->kick_fd = -1;
  vt_queue_rig_start (&f->rig, f->ring);
  f->ring->kick_fd = kick_fd;
  for (guint i = 0; i < 20; i++) {
    for (guint j = 0; j < 5; j++)
      request_add (f->ring, request_new (f, 8));
    vt_ring_publish (f->ring);
    take_requests (f, 5);
  }
}

static void
refuse (Fixture *f, VtRing *ring, guint32 base)
{
  g_autoptr (GError) error = NULL;

  g_assert_false (vt_queue_rig_try_start (&f->rig, ring, base, TRUE, &error));
  g_assert_nonnull (error);
}

static void
refuse_bad_packed_setups (Fixture *f)
{
  guint32 base = f->ring->start_base;
  VtRing bad[4];

  for (guint i = 0; i < G_N_ELEMENTS (bad); i++)
    bad[i] = *f->ring;
  bad[0].desc = (void *) ((guint8 *) f->ring->desc + 8);
  bad[1].avail = (void *) ((guint8 *) f->ring->avail + 2);
  bad[2].used = (void *) (f->guest->current->ptr + 16 * MIB);
  bad[3].desc =
      (void *) (f->guest->current->ptr + 16 * MIB - 16 * ODD_SIZE + 16);
  for (guint i = 0; i < G_N_ELEMENTS (bad); i++)
    refuse (f, &bad[i], base);
  refuse (f, f->ring, base | ODD_SIZE);
  refuse (f, f->ring, base | ODD_SIZE << 16);
}

static void
test_bad_setups_are_refused (Fixture *f, gconstpointer data)
{
  VtRing bad[7];

  if (f->ring->flags & VT_RING_PACKED) {
    refuse_bad_packed_setups (f);
    return;
  }

  for (guint i = 0; i < G_N_ELEMENTS (bad); i++)
    bad[i] = *f->ring;
  bad[0].size = 0;
  bad[1].size = 96; /* no power of two */
  bad[2].desc = (void *) ((guint8 *) f->ring->desc + 8);
  bad[3].avail = (void *) ((guint8 *) f->ring->avail + 1);
  bad[4].used = (void *) ((guint8 *) f->ring->used + 2);
  bad[5].used = (void *) (f->guest->current->ptr + 16 * MIB - 1028);
  bad[6].desc = (void *) (f->guest->current->ptr + 16 * MIB - 2032);
  for (guint i = 0; i < G_N_ELEMENTS (bad); i++)
    refuse (f, &bad[i], 0);
  refuse (f, f->ring, 65536);
  bad[5].used = (void *) (f->guest->current->ptr + 16 * MIB - 1032);
  g_assert_true (vt_queue_rig_try_start (&f->rig, &bad[5], 0, TRUE, NULL));
  vt_queue_rig_stop (&f->rig, &bad[5]);
}

/* --- Memory changes --- */

static void
test_new_region_is_usable_while_running (Fixture *f, gconstpointer data)
{
  VtRegion *first = f->guest->current, *second;

  vt_queue_rig_start (&f->rig, f->ring);
  add_requests (f, 5);
  take_requests (f, 5);
  second = vt_guest_add (f->guest, 0x80000000, 0x60000000, MIB, 0);
  g_assert_cmpint (vt_queue_rig_remap (&f->rig), ==, 0);
  add_requests (f, 5); /* in the new region */
  g_assert_cmpuint (second->used, >, 0);
  take_requests (f, 5);
  f->guest->current = first;
  add_requests (f, 5);
  take_requests (f, 5);
}

static void
on_map_done (VdQueueCommand *command, int result)
{
  on_stopped (command, result);
}

static void
test_old_map_lives_until_its_chains_end (Fixture *f, gconstpointer data)
{
  VtRegion *first = f->guest->current;
  VtRegion *second = vt_guest_add (f->guest, 0x80000000, 0x60000000, MIB, 0);
  VdMap *old = vd_map_ref (f->rig.map), *with_second;
  Waiter waiter = { FALSE };
  VdQueueCommand command = { .type = VD_QUEUE_MEMORY,
                             .done = on_map_done,
                             .user_data = &waiter };

  f->echo.mode = VT_ECHO_HOLD;
  g_assert_cmpint (vt_queue_rig_remap (&f->rig), ==, 0);
  with_second = f->rig.map;
  vt_queue_rig_start (&f->rig, f->ring);
  add_requests (f, 4); /* in the second region */
  vt_echo_wait_held (&f->echo, 4);

  command.map = vd_map_ref (old); /* without it */
  vd_queue_command (vt_queue_rig_queue (&f->rig, f->ring), &command);
  f->guest->current = first;
  add_requests (f, 3); /* are popped with the new map */
  vt_echo_wait_held (&f->echo, 7);
  vt_queue_rig_pump (&f->rig);
  g_assert_false (waiter.done);
  vt_echo_release (&f->rig, f->ring, FALSE);
  vt_queue_rig_pump_until (&f->rig, &waiter.done);
  g_assert_true (command.map == with_second);
  take_requests (f, 7);

  f->guest->current = second; /* of no more use to the device */
  add_requests (f, 1);
  g_assert_nonnull (strstr (vt_queue_rig_wait_broken (&f->rig, f->ring),
                            "lies outside guest memory"));
  vd_map_unref (command.map);
  vd_map_unref (old);
}

static void
test_ring_must_lie_in_the_new_map (Fixture *f, gconstpointer data)
{
  VtRegion *first = f->guest->current;
  VdMap *empty = vd_map_new ();
  VdQueueCommand command = { .type = VD_QUEUE_MEMORY, .map = empty };

  vt_queue_rig_start (&f->rig, f->ring);
  add_requests (f, 1);
  take_requests (f, 1);
  g_assert_false (vd_queue_fits (vt_queue_rig_queue (&f->rig, f->ring), empty));
  g_assert_true (
      vd_queue_fits (vt_queue_rig_queue (&f->rig, f->ring), f->rig.map));
  g_assert_cmpint (vt_queue_rig_command (&f->rig, f->ring, &command), ==,
                   -EFAULT);
  g_assert_true (command.map == f->rig.map);
  vd_map_unref (command.map);
  g_assert_nonnull (vt_queue_rig_wait_broken (&f->rig, f->ring));
  f->guest->current = first;
}

/* --- Several queues --- */

static void
test_broken_queue_leaves_others_alone (Fixture *f, gconstpointer data)
{
  g_autoptr (VtRing) other = vt_ring_new (f->guest, 1, 16, 0);

  vt_queue_rig_start (&f->rig, f->ring);
  vt_queue_rig_start (&f->rig, other);
  vt_ring_raw_add (other, 99, NULL);
  vt_ring_publish (other);
  vt_ring_kick_always (other);
  vt_queue_rig_wait_broken (&f->rig, other);
  add_requests (f, 10);
  take_requests (f, 10);
  vt_queue_rig_stop (&f->rig, other);
  vt_ring_reset (other, 0);
  vt_queue_rig_start (&f->rig, other); /* a new life */
  request_add (other, request_new (f, 3));
  vt_ring_kick (other);
  g_assert_nonnull (vt_ring_take (other, NULL));
  vt_queue_rig_stop (&f->rig, other);
}

static const Config configs[] = {
  { FALSE, 0 },
  { FALSE, VT_RING_EVENT_IDX },
  { FALSE, VT_RING_EVENT_IDX | VT_RING_INDIRECT | VT_RING_BLOCKING },
  { TRUE, VT_RING_STREAM_CALL | VT_RING_BLOCKING },
  { TRUE, VT_RING_EVENT_IDX | VT_RING_INDIRECT },
  { FALSE, VT_RING_PACKED },
  { FALSE, VT_RING_PACKED | VT_RING_EVENT_IDX },
  { TRUE, VT_RING_PACKED | VT_RING_EVENT_IDX | VT_RING_INDIRECT },
};

static void
add_test (const char *name, void (*func) (Fixture *, gconstpointer))
{
  for (guint i = 0; i < G_N_ELEMENTS (configs); i++) {
    const Config *config = &configs[i];
    g_autofree char *path = g_strdup_printf (
        "/queue/%s/%s%s%s%s%s%s", name, config->force_poll ? "epoll" : "uring",
        config->flags & VT_RING_PACKED ? "-packed" : "",
        config->flags & VT_RING_EVENT_IDX ? "-event-idx" : "",
        config->flags & VT_RING_INDIRECT ? "-indirect" : "",
        config->flags & VT_RING_BLOCKING ? "-blocking" : "",
        config->flags & VT_RING_STREAM_CALL ? "-stream" : "");

    g_test_add (path, Fixture, config, set_up, func, tear_down);
  }
}

int
main (int argc, char **argv)
{
  g_test_init (&argc, &argv, NULL);
  add_test ("random/now", test_random_driver_now);
  add_test ("random/mixed", test_random_driver_mixed);
  add_test ("random/limited", test_random_driver_limited);
  add_test ("notify/batch", test_batch_is_notified_once);
  add_test ("notify/many", test_notifications_are_not_more_than_batches);
  add_test ("notify/parts", test_much_data_are_given_back_in_parts);
  add_test ("notify/polling", test_polling_driver_is_notified_at_most_once);
  add_test ("notify/new-call", test_new_call_descriptor_is_signalled_once);
  add_test ("enable/kick", test_disabled_queue_keeps_its_kick);
  add_test ("enable/before", test_chains_from_before_the_start_are_served);
  add_test ("enable/disable", test_disabling_lets_chains_in_flight_end);
  add_test ("stop/drain", test_stop_waits_for_chains_in_flight);
  add_test ("stop/base", test_base_continues);
  add_test ("stop/restart", test_restart_asks_for_kicks_again);
  add_test ("break/start", test_failed_start_breaks_the_queue);
  add_test ("break/device", test_device_may_break_its_queue);
  add_test ("break/alone", test_broken_queue_leaves_others_alone);
  add_test ("start/no-kick", test_queue_without_kick_descriptor_polls);
  add_test ("start/refuse", test_bad_setups_are_refused);
  add_test ("map/add", test_new_region_is_usable_while_running);
  add_test ("map/remove", test_old_map_lives_until_its_chains_end);
  add_test ("map/ring", test_ring_must_lie_in_the_new_map);
  return g_test_run ();
}
