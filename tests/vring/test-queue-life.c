/* SPDX-License-Identifier: BSD-3-Clause
 *
 * test-queue-life.c - the life of a queue: what its driver and CONTROL may rely on
 * when it starts and stops, breaks and gets other memory
 */
#include <errno.h>
#include <string.h>
#include <sys/eventfd.h>

#include "tests/vring/echo-fixture.h"

/* --- Start, stop, enable --- */

static void
test_disabled_queue_keeps_its_kick (VtEchoFixture *f, gconstpointer data)
{
  vt_echo_start_disabled (f);
  vt_echo_add (f, 4);
  g_assert_false (vt_ring_wait (f->ring, 20));
  g_assert_cmpuint (f->echo.n_handled, ==, 0);
  vt_queue_rig_enable (&f->rig, f->ring, TRUE);
  vt_echo_take (f, 4);
}

static void
test_chains_from_before_the_start_are_served (VtEchoFixture *f,
                                              gconstpointer data)
{
  guint64 count;

  vt_echo_add (f, 4);
  g_assert_no_errno (eventfd_read (f->ring->kick_fd, &count)); /* lost */
  vt_queue_rig_start (&f->rig, f->ring);
  vt_echo_take (f, 4);
}

static void
test_disabling_lets_chains_in_flight_end (VtEchoFixture *f, gconstpointer data)
{
  f->echo.mode = VT_ECHO_HOLD;
  vt_queue_rig_start (&f->rig, f->ring);
  vt_echo_add (f, 4);
  vt_echo_wait_held (&f->echo, 4);
  vt_queue_rig_enable (&f->rig, f->ring, FALSE);
  vt_echo_add (f, 3);
  vt_echo_release (&f->rig, f->ring, TRUE);
  vt_echo_take (f, 4);
  g_assert_cmpuint (f->echo.n_handled, ==, 4);
  vt_queue_rig_enable (&f->rig, f->ring, TRUE);
  vt_echo_wait_held (&f->echo, 3);
  vt_echo_release (&f->rig, f->ring, FALSE);
  vt_echo_take (f, 3);
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

/* The base when @n of vt_echo_add() have been used, and no more popped. */
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
test_stop_waits_for_chains_in_flight (VtEchoFixture *f, gconstpointer data)
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
  vt_echo_add (f, 8);
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
  vt_echo_take (f, 3);
}

/* Stopped and started again and again under a driver that never notices, over
 * the wrap of the index. */
static void
test_base_continues (VtEchoFixture *f, gconstpointer data)
{
  guint32 base;

  if (!(f->ring->flags & VT_RING_PACKED))
    vt_ring_reset (f->ring, 65500);
  base = vt_ring_base (f->ring);
  for (guint i = 0; i < 100; i++) {
    vt_queue_rig_try_start (&f->rig, f->ring, base, TRUE, NULL);
    vt_echo_add (f, i % 40);
    vt_echo_take (f, i % 40);
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
test_restart_asks_for_kicks_again (VtEchoFixture *f, gconstpointer data)
{
  guint32 base;

  f->echo.mode = VT_ECHO_HOLD;
  vt_queue_rig_start (&f->rig, f->ring);
  vt_echo_add (f, 1);
  vt_echo_wait_held (&f->echo, 1);
  vt_echo_release (&f->rig, f->ring, FALSE);
  vt_echo_take (f, 1);
  base = vt_queue_rig_stop (&f->rig, f->ring);
  *suppression (f->ring) = 1;

  f->echo.mode = VT_ECHO_NOW;
  vt_queue_rig_try_start (&f->rig, f->ring, base, TRUE, NULL);
  wait_kicks_wanted (f->ring);
  for (guint i = 0; i < 3; i++) {
    vt_echo_add (f, 2);
    vt_echo_take (f, 2);
  }
}

static void
test_failed_start_breaks_the_queue (VtEchoFixture *f, gconstpointer data)
{
  f->echo.start_result = -ENOMEM;
  vt_queue_rig_start (&f->rig, f->ring);
  g_assert_nonnull (vt_queue_rig_wait_broken (&f->rig, f->ring));
  vt_echo_add (f, 1);
  g_assert_false (vt_ring_wait (f->ring, 20));
  g_assert_cmphex (vt_queue_rig_stop (&f->rig, f->ring), ==,
                   f->ring->start_base);
}

static void
test_device_may_break_its_queue (VtEchoFixture *f, gconstpointer data)
{
  f->echo.break_reason = "beyond repair";
  vt_queue_rig_start (&f->rig, f->ring);
  vt_echo_add (f, 3);
  g_assert_cmpstr (vt_queue_rig_wait_broken (&f->rig, f->ring), ==,
                   "beyond repair");
  vt_queue_rig_stop (&f->rig, f->ring);
  g_assert_null (vt_ring_get (f->ring, NULL));
}

static void
test_queue_without_kick_descriptor_polls (VtEchoFixture *f, gconstpointer data)
{
  int kick_fd = f->ring->kick_fd;

  f->ring->kick_fd = -1;
  vt_queue_rig_start (&f->rig, f->ring);
  f->ring->kick_fd = kick_fd;
  for (guint i = 0; i < 20; i++) {
    for (guint j = 0; j < 5; j++)
      vt_echo_request_add (f->ring, vt_echo_request_new (f, 8));
    vt_ring_publish (f->ring);
    vt_echo_take (f, 5);
  }
}

static void
refuse (VtEchoFixture *f, VtRing *ring, guint32 base)
{
  g_autoptr (GError) error = NULL;

  g_assert_false (vt_queue_rig_try_start (&f->rig, ring, base, TRUE, &error));
  g_assert_nonnull (error);
}

static void
refuse_bad_packed_setups (VtEchoFixture *f)
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
test_bad_setups_are_refused (VtEchoFixture *f, gconstpointer data)
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
test_new_region_is_usable_while_running (VtEchoFixture *f, gconstpointer data)
{
  VtRegion *first = f->guest->current, *second;

  vt_queue_rig_start (&f->rig, f->ring);
  vt_echo_add (f, 5);
  vt_echo_take (f, 5);
  second = vt_guest_add (f->guest, 0x80000000, 0x60000000, MIB, 0);
  g_assert_cmpint (vt_queue_rig_remap (&f->rig), ==, 0);
  vt_echo_add (f, 5); /* in the new region */
  g_assert_cmpuint (second->used, >, 0);
  vt_echo_take (f, 5);
  f->guest->current = first;
  vt_echo_add (f, 5);
  vt_echo_take (f, 5);
}

static void
on_map_done (VdQueueCommand *command, int result)
{
  on_stopped (command, result);
}

static void
test_old_map_lives_until_its_chains_end (VtEchoFixture *f, gconstpointer data)
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
  vt_echo_add (f, 4); /* in the second region */
  vt_echo_wait_held (&f->echo, 4);

  command.map = vd_map_ref (old); /* without it */
  vd_queue_command (vt_queue_rig_queue (&f->rig, f->ring), &command);
  f->guest->current = first;
  vt_echo_add (f, 3); /* are popped with the new map */
  vt_echo_wait_held (&f->echo, 7);
  vt_queue_rig_pump (&f->rig);
  g_assert_false (waiter.done);
  vt_echo_release (&f->rig, f->ring, FALSE);
  vt_queue_rig_pump_until (&f->rig, &waiter.done);
  g_assert_true (command.map == with_second);
  vt_echo_take (f, 7);

  f->guest->current = second; /* of no more use to the device */
  vt_echo_add (f, 1);
  g_assert_nonnull (strstr (vt_queue_rig_wait_broken (&f->rig, f->ring),
                            "lies outside guest memory"));
  vd_map_unref (command.map);
  vd_map_unref (old);
}

static void
test_ring_must_lie_in_the_new_map (VtEchoFixture *f, gconstpointer data)
{
  VtRegion *first = f->guest->current;
  VdMap *empty = vd_map_new ();
  VdQueueCommand command = { .type = VD_QUEUE_MEMORY, .map = empty };

  vt_queue_rig_start (&f->rig, f->ring);
  vt_echo_add (f, 1);
  vt_echo_take (f, 1);
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
test_broken_queue_leaves_others_alone (VtEchoFixture *f, gconstpointer data)
{
  g_autoptr (VtRing) other = vt_ring_new (f->guest, 1, 16, 0);

  vt_queue_rig_start (&f->rig, f->ring);
  vt_queue_rig_start (&f->rig, other);
  vt_ring_raw_add (other, 99, NULL);
  vt_ring_publish (other);
  vt_ring_kick_always (other);
  vt_queue_rig_wait_broken (&f->rig, other);
  vt_echo_add (f, 10);
  vt_echo_take (f, 10);
  vt_queue_rig_stop (&f->rig, other);
  vt_ring_reset (other, 0);
  vt_queue_rig_start (&f->rig, other); /* a new life */
  vt_echo_request_add (other, vt_echo_request_new (f, 3));
  vt_ring_kick (other);
  g_assert_nonnull (vt_ring_take (other, NULL));
  vt_queue_rig_stop (&f->rig, other);
}

int
main (int argc, char **argv)
{
  g_test_init (&argc, &argv, NULL);
#define ADD(name, func) vt_echo_add_test ("queue-life", name, func)
  ADD ("enable/kick", test_disabled_queue_keeps_its_kick);
  ADD ("enable/before", test_chains_from_before_the_start_are_served);
  ADD ("enable/disable", test_disabling_lets_chains_in_flight_end);
  ADD ("stop/drain", test_stop_waits_for_chains_in_flight);
  ADD ("stop/base", test_base_continues);
  ADD ("stop/restart", test_restart_asks_for_kicks_again);
  ADD ("break/start", test_failed_start_breaks_the_queue);
  ADD ("break/device", test_device_may_break_its_queue);
  ADD ("break/alone", test_broken_queue_leaves_others_alone);
  ADD ("start/no-kick", test_queue_without_kick_descriptor_polls);
  ADD ("start/refuse", test_bad_setups_are_refused);
  ADD ("map/add", test_new_region_is_usable_while_running);
  ADD ("map/remove", test_old_map_lives_until_its_chains_end);
  ADD ("map/ring", test_ring_must_lie_in_the_new_map);
#undef ADD
  return g_test_run ();
}
