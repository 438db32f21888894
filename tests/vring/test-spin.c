/* SPDX-License-Identifier: BSD-3-Clause
 *
 * test-spin.c - workers that look at their rings for a while before they sleep
 */
#include "vring/worker.h"

#include <string.h>

#include "build-options.h"
#include "tests/lib/echo.h"

#define RING_SIZE 16
#define TRIPS     200
#define SPIN_US   100000
#define MIB       (1ul << 20)

typedef struct {
  VtGuest *guest;
  VtRing *ring;
  VtEcho echo;
  VtQueueRig rig;
  guint8 *out, *in;
} Fixture;

static void
set_up (Fixture *f, gconstpointer data)
{
  f->guest = vt_guest_new (MIB);
  f->ring = vt_ring_new (f->guest, 0, RING_SIZE,
                         (VtRingFlags) GPOINTER_TO_UINT (data));
  vt_queue_rig_init (&f->rig, f->guest, &vt_echo_ops, &f->echo);
  f->rig.pool = vd_pool_new (1);
  f->out = vt_guest_alloc (f->guest, 8, 8);
  f->in = vt_guest_alloc (f->guest, 8, 8);
  vt_queue_rig_start (&f->rig, f->ring);
}

static void
tear_down (Fixture *f, gconstpointer data)
{
  vt_queue_rig_clear (&f->rig);
  vd_pool_free (f->rig.pool);
  vt_ring_free (f->ring);
  vt_guest_free (f->guest);
}

/* One request, there and back.  Returns: whether it took a kick. */
static gboolean
round_trip (Fixture *f)
{
  VtBuf bufs[] = { { f->out, 8, FALSE }, { f->in, 8, TRUE } };
  gboolean kicked;

  g_assert_true (vt_ring_add (f->ring, bufs, 2, f));
  kicked = vt_ring_kick (f->ring);
  if (f->echo.mode == VT_ECHO_HOLD) {
    vt_echo_wait_held (&f->echo, 1);
    g_usleep (2000); /* the worker has nothing to do */
    vt_echo_release (&f->rig, f->ring, TRUE);
  }
  g_assert_true (vt_ring_take (f->ring, NULL) == f);
  return kicked;
}

static guint
count_kicks (Fixture *f)
{
  guint n = 0;

  for (guint i = 0; i < TRIPS; i++)
    n += round_trip (f);
  return n;
}

/* Workers do not look while others want their processor, as these may for a
 * while: hence the loops. */

static void
test_requests_that_come_soon_take_no_kick (Fixture *f, gconstpointer data)
{
  gint64 end = g_get_monotonic_time () + VT_TIMEOUT_MS * 1000ll;

  vd_worker_set_spin (f->rig.queues[0].worker, SPIN_US);
  while (count_kicks (f) >= TRIPS / 2)
    g_assert_cmpint (g_get_monotonic_time (), <, end);
}

static void
test_an_idle_queue_sleeps (Fixture *f, gconstpointer data)
{
  gint64 end = g_get_monotonic_time () + VT_TIMEOUT_MS * 1000ll;

  vd_worker_set_spin (f->rig.queues[0].worker, 1000);
  count_kicks (f);
  do {
    g_assert_cmpint (g_get_monotonic_time (), <, end);
    g_usleep (5000);
  } while (!round_trip (f));
}

/* Requests that come late, but within what the worker may wait. */
static guint
count_kicks_slowly (Fixture *f)
{
  guint n = 0;

  vd_worker_set_spin (f->rig.queues[0].worker, SPIN_US);
  for (guint i = 0; i < 40; i++) { /* it starts with short looks */
    g_usleep (SPIN_US / 5);
    n += round_trip (f);
  }
  return n;
}

static void
test_it_learns_to_look_longer (Fixture *f, gconstpointer data)
{
  gint64 end = g_get_monotonic_time () + VT_TIMEOUT_MS * 1000ll;

  while (count_kicks_slowly (f) >= 36)
    g_assert_cmpint (g_get_monotonic_time (), <, end);
}

/* As a disk does: looking costs more than it saves. */
static void
test_what_took_a_while_is_not_looked_for (Fixture *f, gconstpointer data)
{
  vt_queue_rig_stop (&f->rig, f->ring);
  f->echo.mode = VT_ECHO_HOLD;
  vt_queue_rig_start (&f->rig, f->ring);
  g_assert_cmpuint (count_kicks_slowly (f), >=, 36);
}

/* Stopping is mail, which is looked for as well. */
static void
test_a_queue_stops_while_it_is_looked_at (Fixture *f, gconstpointer data)
{
  vd_worker_set_spin (f->rig.queues[0].worker, 1000000);
  count_kicks (f);
  vt_queue_rig_stop (&f->rig, f->ring);
}

int
main (int argc, char **argv)
{
  g_test_init (&argc, &argv, NULL);
  if (!VD_HAVE_URING) {
    g_print ("1..0 # SKIP built without io_uring\n");
    return 0;
  }
  VT_ADD_RING_TESTS ("/spin/", "soon", Fixture, set_up,
                     test_requests_that_come_soon_take_no_kick, tear_down);
  VT_ADD_RING_TESTS ("/spin/", "idle", Fixture, set_up,
                     test_an_idle_queue_sleeps, tear_down);
  VT_ADD_RING_TESTS ("/spin/", "learns", Fixture, set_up,
                     test_it_learns_to_look_longer, tear_down);
  VT_ADD_RING_TESTS ("/spin/", "slow", Fixture, set_up,
                     test_what_took_a_while_is_not_looked_for, tear_down);
  VT_ADD_RING_TESTS ("/spin/", "stop", Fixture, set_up,
                     test_a_queue_stops_while_it_is_looked_at, tear_down);
  return g_test_run ();
}
