/* SPDX-License-Identifier: BSD-3-Clause
 *
 * test-inflight-packed.c - the same for packed rings
 *
 * A crash is a copy of the memory and of the ring at the moment when the
 * process is imagined dead; crashes in the middle of a batch are made of what
 * was stored before and after it, in the order of the stores.  The ring is
 * small and of an odd size, so that every test goes past its end.
 */
#include "vring/inflight.h"

#include <string.h>
#include <sys/mman.h>

#include "tests/lib/echo.h"
#include "vring/fd.h"

#define SIZE 13
#define MIB  (1ul << 20)

typedef struct {
  guint8 *out, *in;
} Request;

typedef struct {
  VtGuest *guest;
  VtRing *ring;
  VtEcho echo;
  VtQueueRig rig;
  VdInflightInfo info;
  int fd;
  VdInflight *inflight;
  VdInflightPacked *part;  /* the front-end's view */
  struct vring_desc *desc; /* copy of the ring */
  VdInflightPacked *memory;
  Request requests[SIZE];
} Fixture;

static void
set_up (Fixture *f, gconstpointer data)
{
  g_autoptr (GError) error = NULL;

  f->guest = vt_guest_new (4 * MIB);
  f->ring = vt_ring_new (f->guest, 0, SIZE, VT_RING_EVENT_IDX | VT_RING_PACKED);
  vt_queue_rig_init (&f->rig, f->guest, &vt_echo_ops, &f->echo);
  f->info = (VdInflightInfo){ .n_queues = 1, .queue_size = SIZE };
  f->inflight = vd_inflight_new (&f->info, TRUE, &f->fd, &error);
  g_assert_no_error (error);
  f->part =
      mmap (NULL, f->info.size, PROT_READ | PROT_WRITE, MAP_SHARED, f->fd, 0);
  g_assert_true (f->part != MAP_FAILED);
  f->rig.inflight = f->inflight;
  f->desc = g_malloc (SIZE * sizeof *f->desc);
  f->memory = g_malloc (f->info.size);
  for (guint i = 0; i < SIZE; i++) {
    f->requests[i].out = vt_guest_alloc (f->guest, 16, 1);
    f->requests[i].in = vt_guest_alloc (f->guest, 16, 1);
  }
}

static void
tear_down (Fixture *f, gconstpointer data)
{
  vt_queue_rig_clear (&f->rig);
  vd_inflight_unref (f->inflight);
  munmap (f->part, f->info.size);
  vd_clear_fd (&f->fd);
  g_free (f->desc);
  g_free (f->memory);
  vt_ring_free (f->ring);
  vt_guest_free (f->guest);
}

/* Adds @n requests from number @first on, of two descriptors or one each. */
static void
add (Fixture *f, guint first, guint n)
{
  for (guint i = first; i < first + n; i++) {
    Request *request = &f->requests[i];
    VtBuf bufs[] = { { request->out, 16, FALSE }, { request->in, 16, TRUE } };

    memset (request->out, g_test_rand_int_range (0, 256), 16);
    memset (request->in, 0, 16);
    g_assert_true (
        vt_ring_add_mixed (f->ring, bufs, 2, i % 2 == 0 ? 2 : 0, request));
  }
  vt_ring_kick (f->ring);
}

/* @n requests come back once each, answered. */
static void
take (Fixture *f, guint n)
{
  for (guint i = 0; i < n; i++) {
    Request *request = vt_ring_take (f->ring, NULL);

    for (guint j = 0; j < 16; j++)
      g_assert_cmphex (request->in[j], ==, (guint8) ~request->out[j]);
  }
}

static void
crash (Fixture *f)
{
  memcpy (f->desc, f->ring->desc, SIZE * sizeof *f->desc);
  memcpy (f->memory, f->part, f->info.size);
}

static void
come_back (Fixture *f)
{
  memcpy (f->ring->desc, f->desc, SIZE * sizeof *f->desc);
  memcpy (f->part, f->memory, f->info.size);
}

/* Runs @n requests through the ring, so that it begins elsewhere. */
static void
turn (Fixture *f, guint n)
{
  f->echo.mode = VT_ECHO_NOW;
  vt_queue_rig_start (&f->rig, f->ring);
  for (guint i = 0; i < n; i++) {
    add (f, i % 5, 1);
    take (f, 1);
  }
  g_assert_cmphex (vt_queue_rig_stop (&f->rig, f->ring), ==,
                   vt_ring_base (f->ring));
}

/* Starts a device that holds requests 0 to @n - 1. */
static void
hold (Fixture *f, guint n)
{
  f->echo.mode = VT_ECHO_HOLD;
  atomic_store (&f->echo.n_handled, 0);
  vt_queue_rig_start (&f->rig, f->ring);
  add (f, 0, n);
  vt_echo_wait_held (&f->echo, n);
}

static void
let_go (Fixture *f)
{
  vt_echo_release (&f->rig, f->ring, FALSE);
  vt_queue_rig_stop (&f->rig, f->ring);
}

/* Starts the successor, with a base that knows nothing of it, as QEMU does
 * after a disconnect. */
static void
succeed (Fixture *f)
{
  g_autoptr (GError) error = NULL;

  f->echo.mode = VT_ECHO_NOW;
  atomic_store (&f->echo.n_handled, 0);
  vt_queue_rig_try_start (&f->rig, f->ring, 0x8000, TRUE, &error);
  g_assert_no_error (error);
}

/* It ends with nothing in flight, and its successor works. */
static void
finish (Fixture *f)
{
  g_assert_cmpuint (vt_ring_n_in_flight (f->ring), ==, 0);
  g_assert_null (vt_ring_get (f->ring, NULL)); /* nothing is answered twice */
  g_assert_cmphex (vt_queue_rig_stop (&f->rig, f->ring), ==,
                   vt_ring_base (f->ring));
  for (guint i = 0; i < SIZE; i++)
    g_assert_cmpuint (f->part->desc[i].inflight, ==, 0);
  turn (f, 3 * SIZE);
}

static void
test_what_was_in_flight_is_done_by_the_successor (Fixture *f,
                                                  gconstpointer data)
{
  for (guint n_before = 0; n_before < 2 * SIZE; n_before++) {
    turn (f, n_before);
    hold (f, 8);
    crash (f);
    let_go (f);
    come_back (f);
    succeed (f);
    take (f, 8);
    g_assert_cmpuint (atomic_load (&f->echo.n_handled), ==, 8);
    finish (f);
  }
}

/* The dead process had written all used elements but the first one's flags,
 * which would have shown the batch; the successor publishes one by one. */
static void
test_a_batch_that_was_not_visible_is_done_again (Fixture *f, gconstpointer data)
{
  for (guint n_before = 0; n_before < 2 * SIZE; n_before++) {
    guint first;
    guint16 flags;

    turn (f, n_before);
    hold (f, 8);
    crash (f);
    first = f->part->used_idx;
    flags = f->desc[first].next; /* a packed descriptor's flags */
    let_go (f);
    memcpy (f->part, f->memory, f->info.size);
    f->ring->desc[first].next = flags;
    g_assert_null (vt_ring_get (f->ring, NULL));
    f->echo.limit = 1; /* a batch each */
    succeed (f);
    take (f, 8);
    g_assert_cmpuint (atomic_load (&f->echo.n_handled), ==, 8);
    finish (f);
    f->echo.limit = 0;
  }
}

/* The same, after the free list and the new indices were written. */
static void
test_a_batch_prepared_and_not_visible_is_done_again (Fixture *f,
                                                     gconstpointer data)
{
  for (guint n_before = 0; n_before < 2 * SIZE; n_before++) {
    turn (f, n_before);
    hold (f, 8);
    crash (f);
    let_go (f);
    f->memory->used_idx = f->part->used_idx;
    f->memory->used_wrap = f->part->used_wrap;
    f->memory->free_head = f->part->free_head;
    for (guint i = 0; i < SIZE; i++)
      f->memory->desc[i].next = f->part->desc[i].next;
    come_back (f);
    succeed (f);
    take (f, 8);
    g_assert_cmpuint (atomic_load (&f->echo.n_handled), ==, 8);
    finish (f);
  }
}

/* Died after the batch became visible, at any point of what follows; the driver
 * lived on, took it and made the same descriptors available again. */
static void
test_a_visible_batch_is_not_done_again (Fixture *f, gconstpointer data)
{
  for (guint n_cleared = 0; n_cleared <= 8; n_cleared++) {
    guint cleared = 0;

    turn (f, n_cleared);
    hold (f, 8);
    crash (f);
    let_go (f);
    f->memory->used_idx = f->part->used_idx;
    f->memory->used_wrap = f->part->used_wrap;
    f->memory->free_head = f->part->free_head;
    for (guint i = 0; i < SIZE; i++) {
      f->memory->desc[i].next = f->part->desc[i].next;
      if (f->memory->desc[i].inflight && cleared < n_cleared) {
        f->memory->desc[i].inflight = 0;
        cleared++;
      }
    }
    memcpy (f->part, f->memory, f->info.size);
    take (f, 8);
    add (f, 0, 8); /* 12 of 13 descriptors: over the old ones */
    succeed (f);
    take (f, 8);
    g_assert_cmpuint (atomic_load (&f->echo.n_handled), ==, 8);
    finish (f);
  }
}

/* Died while it took entries for a chain. */
static void
test_entries_taken_and_not_used_come_back (Fixture *f, gconstpointer data)
{
  hold (f, 4);
  crash (f);
  let_go (f);
  /* As if one more had been begun. */
  f->memory->free_head = f->memory->old_free_head =
      f->memory->desc[f->memory->free_head].next;
  come_back (f);
  succeed (f);
  take (f, 4);
  finish (f);
}

static void
assert_refused (Fixture *f)
{
  g_autoptr (GError) error = NULL;

  g_assert_false (
      vt_queue_rig_try_start (&f->rig, f->ring, 0x8000, TRUE, &error));
  g_assert_nonnull (error);
  memcpy (f->part, f->memory, f->info.size);
}

static void
test_damaged_memory_is_refused (Fixture *f, gconstpointer data)
{
  VdInflightPacked *part = f->part;
  guint head = 0;

  hold (f, 4);
  crash (f);
  let_go (f);
  come_back (f);
  while (!part->desc[head].inflight)
    head++;
#define REFUSED(assignment)                                                    \
  part->assignment;                                                            \
  assert_refused (f)
  REFUSED (version = 2);
  REFUSED (n_desc = SIZE - 1);
  REFUSED (old_used_idx = SIZE);
  REFUSED (used_idx = G_MAXUINT16);
  REFUSED (old_free_head = SIZE + 1);
  REFUSED (desc[part->old_free_head].next = part->old_free_head); /* a loop */
  REFUSED (desc[head].num = 0);
  REFUSED (desc[head].num = SIZE); /* runs into the others */
  REFUSED (desc[head].num = G_MAXUINT16);
  REFUSED (desc[head].next = head);
  REFUSED (desc[head].next = SIZE);
  /* And whole it is taken. */
  succeed (f);
  take (f, 4);
  finish (f);
}

/* Random bytes over the whole memory: refused, or a ring that works or breaks,
 * and nothing else. */
static void
test_random_damage_hurts_only_the_ring (Fixture *f, gconstpointer data)
{
  hold (f, 8);
  crash (f);
  let_go (f);
  for (guint i = 0; i < 2000; i++) {
    guint n_bytes = g_test_rand_int_range (1, 6);

    come_back (f);
    for (guint j = 0; j < n_bytes; j++)
      ((guint8 *) f->part)[g_test_rand_int_range (0, (int) f->info.size)] =
          g_test_rand_int_range (0, 256);
    f->echo.mode = VT_ECHO_NOW;
    if (vt_queue_rig_try_start (&f->rig, f->ring, 0x8000, TRUE, NULL))
      vt_queue_rig_stop (&f->rig, f->ring);
  }
}

int
main (int argc, char **argv)
{
  g_test_init (&argc, &argv, NULL);
#define ADD(name, func)                                                        \
  g_test_add ("/vring/inflight-packed/" name, Fixture, NULL, set_up, func,     \
              tear_down)
  ADD ("successor", test_what_was_in_flight_is_done_by_the_successor);
  ADD ("invisible", test_a_batch_that_was_not_visible_is_done_again);
  ADD ("prepared", test_a_batch_prepared_and_not_visible_is_done_again);
  ADD ("visible", test_a_visible_batch_is_not_done_again);
  ADD ("entries", test_entries_taken_and_not_used_come_back);
  ADD ("damaged", test_damaged_memory_is_refused);
  ADD ("random", test_random_damage_hurts_only_the_ring);
  return g_test_run ();
}
