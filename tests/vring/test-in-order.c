/* SPDX-License-Identifier: BSD-3-Clause
 *
 * test-in-order.c - queues of drivers that acked IN_ORDER
 */
#include "vring/queue.h"

#include <string.h>

#include "tests/lib/crash.h"
#include "tests/lib/echo.h"

#define RING_SIZE  64
#define N          24
#define MIB        (1ul << 20)
#define F_IN_ORDER (1ull << 35)

typedef struct {
  guint8 *out, *in;
  guint32 len;
} Request;

typedef struct {
  VtGuest *guest;
  VtRing *ring;
  VtEcho echo;
  VtQueueRig rig;
  Request requests[N];
} Fixture;

static void
set_up (Fixture *f, gconstpointer data)
{
  f->guest = vt_guest_new (4 * MIB);
  f->ring = vt_ring_new (f->guest, 0, RING_SIZE,
                         (VtRingFlags) GPOINTER_TO_UINT (data));
  vt_queue_rig_init (&f->rig, f->guest, &vt_echo_ops, &f->echo);
  f->rig.pool = vd_pool_new (4);
  f->rig.features = F_IN_ORDER;
  for (guint i = 0; i < N; i++) {
    f->requests[i].len = 1 + i * 3;
    f->requests[i].out = vt_guest_alloc (f->guest, f->requests[i].len, 1);
    f->requests[i].in = vt_guest_alloc (f->guest, f->requests[i].len, 1);
  }
}

static void
tear_down (Fixture *f, gconstpointer data)
{
  vt_queue_rig_clear (&f->rig);
  vd_pool_free (f->rig.pool);
  vt_ring_free (f->ring);
  vt_guest_free (f->guest);
}

static void
add (Fixture *f, guint first, guint n)
{
  for (guint i = first; i < first + n; i++) {
    Request *request = &f->requests[i % N];
    VtBuf bufs[] = { { request->out, request->len, FALSE },
                     { request->in, request->len, TRUE } };

    memset (request->out, g_test_rand_int_range (0, 256), request->len);
    g_assert_true (vt_ring_add (f->ring, bufs, 2, request));
  }
  vt_ring_kick (f->ring);
}

/* The next @n come back as they were added, each with its own length. */
static void
take_in_order (Fixture *f, guint first, guint n)
{
  for (guint i = first; i < first + n; i++) {
    guint32 written;
    Request *request = vt_ring_take (f->ring, &written);

    g_assert_true (request == &f->requests[i % N]);
    g_assert_cmpuint (written, ==, request->len);
    for (guint32 j = 0; j < request->len; j++)
      g_assert_cmphex (request->in[j], ==, (guint8) ~request->out[j]);
  }
}

static void
test_what_is_done_early_waits_for_its_turn (Fixture *f, gconstpointer data)
{
  f->echo.mode = VT_ECHO_HOLD; /* which completes the last one first */
  vt_queue_rig_start (&f->rig, f->ring);
  for (guint round = 0; round < 20; round++) {
    add (f, round, N);
    vt_echo_wait_held (&f->echo, N);
    vt_echo_release (&f->rig, f->ring, TRUE);
    take_in_order (f, round, N);
  }
  g_assert_cmphex (vt_queue_rig_stop (&f->rig, f->ring), ==,
                   vt_ring_base (f->ring));
}

/* Threads and the kernel finish as they like. */
static void
test_a_mixed_load_stays_in_order (Fixture *f, gconstpointer data)
{
  guint n_added = 0, n_taken = 0;

  f->echo.mode = VT_ECHO_MIXED;
  vt_queue_rig_start (&f->rig, f->ring);
  while (n_taken < 4000) {
    guint n =
        (guint) g_test_rand_int_range (0, (gint32) (N - n_added + n_taken) + 1);

    add (f, n_added, n);
    n_added += n;
    n = (guint) g_test_rand_int_range (0, (gint32) (n_added - n_taken) + 1);
    take_in_order (f, n_taken, n);
    n_taken += n;
  }
  take_in_order (f, n_taken, n_added - n_taken);
}

/* A device that completes all but its first chain. */
static void
first_handle (VdQueue *queue, VdChain **chains, guint n_chains,
              gpointer user_data)
{
  VdChain **first = user_data;

  for (guint i = 0; i < n_chains; i++)
    if (*first == NULL)
      *first = chains[i];
    else
      vd_chain_complete (chains[i], 0);
}

static void
first_drain (VdQueue *queue, gpointer user_data)
{
  VdChain **first = user_data;

  if (*first != NULL)
    vd_chain_complete (*first, 0);
  *first = NULL;
}

/* A driver that offers again and again what it did not get back: the ring breaks
 * before there is no room for what waits for its turn. */
static void
test_a_driver_cannot_overfill_the_order (Fixture *f, gconstpointer data)
{
  const VdQueueOps ops = { .request_size = 8,
                           .handle = first_handle,
                           .drain = first_drain };
  VtBuf buf = { f->requests[0].out, 1, FALSE };
  VdChain *first = NULL;

  f->rig.ops = &ops;
  f->rig.user_data = &first;
  vt_queue_rig_start (&f->rig, f->ring);
  g_assert_true (vt_ring_add (f->ring, &buf, 1, f));
  for (guint i = 0; i < 2 * RING_SIZE; i++) {
    vt_ring_kick_always (f->ring);
    vt_queue_rig_enable (&f->rig, f->ring, TRUE); /* it was looked at */
    if (i < RING_SIZE - 1)
      g_assert_null (f->rig.queues[0].broken);
    vt_ring_raw_add (f->ring, 0, NULL);
    vt_ring_publish (f->ring);
  }
  g_assert_cmpstr (vt_queue_rig_wait_broken (&f->rig, f->ring), ==,
                   "more chains are in flight than the ring has");
  vt_queue_rig_stop (&f->rig, f->ring);
  g_assert_null (first);
}

/* A crash while completions wait for their turn: the driver did not see them, so
 * the successor does them again, in their order. */
static void
test_what_waited_for_its_turn_is_done_again (Fixture *f, gconstpointer data)
{
  VtCrash crash;

  vt_crash_init (&crash, &f->rig, f->ring);
  f->echo.mode = VT_ECHO_HOLD;
  vt_queue_rig_start (&f->rig, f->ring);
  add (f, 0, 8);
  vt_echo_wait_held (&f->echo, 8);
  vt_crash_note (&crash);
  vt_echo_release (&f->rig, f->ring, FALSE);
  vt_crash (&crash);

  f->echo.mode = VT_ECHO_MIXED;
  vt_queue_rig_start (&f->rig, f->ring);
  take_in_order (f, 0, 8);
  add (f, 8, N - 8);
  take_in_order (f, 8, N - 8);
  vt_queue_rig_stop (&f->rig, f->ring);
  vt_crash_clear (&crash);
}

int
main (int argc, char **argv)
{
  g_test_init (&argc, &argv, NULL);
#define ADD_ALL(name, func)                                                    \
  VT_ADD_RING_TESTS ("/in-order/", name, Fixture, set_up, func, tear_down)
#define ADD(format, name, flags, func)                                         \
  VT_ADD_RING_TEST ("/in-order/", format, name, flags, Fixture, set_up, func,  \
                    tear_down)
  ADD_ALL ("turn", test_what_is_done_early_waits_for_its_turn);
  ADD_ALL ("mixed", test_a_mixed_load_stays_in_order);
  ADD ("split", "overfill", 0, test_a_driver_cannot_overfill_the_order);
  ADD ("split", "again", 0, test_what_waited_for_its_turn_is_done_again);
  ADD ("packed", "again", VT_RING_PACKED,
       test_what_waited_for_its_turn_is_done_again);
  return g_test_run ();
}
