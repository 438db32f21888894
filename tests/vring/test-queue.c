/* SPDX-License-Identifier: BSD-3-Clause
 *
 * test-queue.c - requests on a queue: right answers, and when the driver is
 * notified of them
 */
#include <string.h>

#include "tests/vring/echo-fixture.h"

#define AREA 4096 /* bytes that a request has to write and to read */

/* --- Random driver --- */

typedef struct {
  VtEchoRequest request;
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
  VtEchoRequest *request = &shape->request;

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
  vt_echo_request_check (&shape->request, written);
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
run_random_driver (VtEchoFixture *f, VtEchoMode mode, guint limit)
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
test_random_driver_now (VtEchoFixture *f, gconstpointer data)
{
  run_random_driver (f, VT_ECHO_NOW, 0);
}

static void
test_random_driver_mixed (VtEchoFixture *f, gconstpointer data)
{
  run_random_driver (f, VT_ECHO_MIXED, 0);
}

static void
test_random_driver_limited (VtEchoFixture *f, gconstpointer data)
{
  run_random_driver (f, VT_ECHO_MIXED, 5);
}

/* --- Notifications --- */

/* One batch, and requests of two descriptors that fit into any of the rings. */
#define N_BATCH MIN (VD_BATCH_MAX, ODD_SIZE / 2)

static VdQueueStats
stats_of (VtEchoFixture *f)
{
  VdQueueStats stats;

  vd_queue_stats (vt_queue_rig_queue (&f->rig, f->ring), &stats);
  return stats;
}

static void
wait_handled (VtEchoFixture *f, guint n)
{
  gint64 end = g_get_monotonic_time () + VT_TIMEOUT_MS * 1000ll;

  while (atomic_load (&f->echo.n_handled) != n) {
    g_assert_cmpint (g_get_monotonic_time (), <, end);
    g_usleep (50);
  }
}

static void
test_batch_is_notified_once (VtEchoFixture *f, gconstpointer data)
{
  vt_echo_start_disabled (f);
  vt_echo_add (f, N_BATCH);
  vt_queue_rig_enable (&f->rig, f->ring, TRUE);
  wait_handled (f, N_BATCH);
  vt_queue_rig_enable (&f->rig, f->ring, FALSE); /* its turn is over */
  g_assert_cmpuint (vt_ring_drain_calls (f->ring), ==, 1);
  g_assert_cmpuint (stats_of (f).batches, ==, 1);
  g_assert_cmpuint (stats_of (f).calls, ==, 1);
  vt_echo_take (f, N_BATCH);
}

static void
test_notifications_are_not_more_than_batches (VtEchoFixture *f,
                                              gconstpointer data)
{
  const VtEchoConfig *config = data;
  guint n_batches;

  vt_echo_start_disabled (f);
  vt_echo_add (f, N_BATCH - 1);
  vt_queue_rig_enable (&f->rig, f->ring, TRUE);
  for (guint i = 0; i < 50; i++) {
    vt_echo_take (f, 10);
    vt_echo_add (f, 10);
  }
  vt_echo_take (f, N_BATCH - 1);
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
test_much_data_are_given_back_in_parts (VtEchoFixture *f, gconstpointer data)
{
  const VtEchoConfig *config = data;
  guint calls;

  vt_queue_rig_start (&f->rig, f->ring);
  for (guint i = 0; i < 4; i++)
    vt_echo_request_add (f->ring, vt_echo_request_new (f, 16 << 10));
  vt_ring_kick (f->ring);
  vt_echo_take (f, 4);
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
test_polling_driver_is_notified_at_most_once (VtEchoFixture *f,
                                              gconstpointer data)
{
  const VtEchoConfig *config = data;

  vt_ring_set_interrupts (f->ring, FALSE);
  vt_queue_rig_start (&f->rig, f->ring);
  for (guint i = 0; i < 20; i++) {
    vt_echo_add (f, 5);
    vt_echo_take (f, 5);
  }
  vt_queue_rig_enable (&f->rig, f->ring, FALSE);
  g_assert_cmpuint (vt_ring_drain_calls (f->ring), ==,
                    (config->flags & (VT_RING_EVENT_IDX | VT_RING_PACKED)) ==
                        VT_RING_EVENT_IDX);
}

static void
test_new_call_descriptor_is_signalled_once (VtEchoFixture *f,
                                            gconstpointer data)
{
  vt_queue_rig_start (&f->rig, f->ring);
  vt_echo_add (f, 3);
  vt_echo_take (f, 3);
  vt_ring_renew_call_fd (f->ring);
  g_assert_cmpint (vt_queue_rig_set_call_fd (&f->rig, f->ring), ==, 0);
  g_assert_cmpuint (vt_ring_drain_calls (f->ring), ==, 1);
  vt_echo_add (f, 3);
  vt_echo_take (f, 3);
}

int
main (int argc, char **argv)
{
  g_test_init (&argc, &argv, NULL);
#define ADD(name, func) vt_echo_add_test ("queue", name, func)
  ADD ("random/now", test_random_driver_now);
  ADD ("random/mixed", test_random_driver_mixed);
  ADD ("random/limited", test_random_driver_limited);
  ADD ("notify/batch", test_batch_is_notified_once);
  ADD ("notify/many", test_notifications_are_not_more_than_batches);
  ADD ("notify/parts", test_much_data_are_given_back_in_parts);
  ADD ("notify/polling", test_polling_driver_is_notified_at_most_once);
  ADD ("notify/new-call", test_new_call_descriptor_is_signalled_once);
#undef ADD
  return g_test_run ();
}
