/* SPDX-License-Identifier: BSD-3-Clause
 *
 * test-inflight.c - what a successor finds in the in-flight memory
 *
 * A crash is a copy: of the memory and of the ring at the moment when the
 * process is imagined dead.  A second queue on the copies is the successor.
 */
#include "vring/inflight.h"

#include <string.h>
#include <sys/mman.h>
#include <unistd.h>

#include "tests/lib/echo.h"
#include "vring/fd.h"

#define SIZE 64
#define MIB  (1ul << 20)

typedef struct {
  VtGuest *guest;
  VtRing *ring;
  VtEcho echo;
  VtQueueRig rig;
  VdInflightInfo info;
  int fd;
  VdInflight *inflight;
  VdInflightSplit *part; /* the front-end's view */
  guint8 *used;          /* copy of the used ring at the crash */
  guint8 *memory;        /* copy of the in-flight memory */
} Fixture;

static void
set_up (Fixture *f, gconstpointer data)
{
  g_autoptr (GError) error = NULL;

  f->guest = vt_guest_new (4 * MIB);
  f->ring = vt_ring_new (f->guest, 0, SIZE, VT_RING_EVENT_IDX);
  vt_queue_rig_init (&f->rig, f->guest, &vt_echo_ops, &f->echo);
  f->info = (VdInflightInfo){ .n_queues = 2, .queue_size = SIZE };
  f->inflight = vd_inflight_new (&f->info, FALSE, &f->fd, &error);
  g_assert_no_error (error);
  f->part =
      mmap (NULL, f->info.size, PROT_READ | PROT_WRITE, MAP_SHARED, f->fd, 0);
  g_assert_true (f->part != MAP_FAILED);
  f->rig.inflight = f->inflight;
  f->used = g_malloc (vt_ring_used_size (SIZE));
  f->memory = g_malloc (f->info.size);
}

static void
tear_down (Fixture *f, gconstpointer data)
{
  vt_queue_rig_clear (&f->rig);
  vd_inflight_unref (f->inflight);
  munmap (f->part, f->info.size);
  vd_clear_fd (&f->fd);
  g_free (f->used);
  g_free (f->memory);
  vt_ring_free (f->ring);
  vt_guest_free (f->guest);
}

static void
crash (Fixture *f)
{
  memcpy (f->used, f->ring->used, vt_ring_used_size (SIZE));
  memcpy (f->memory, f->part, f->info.size);
}

/* Everything as it was when crash() was called. */
static void
come_back (Fixture *f)
{
  memcpy (f->ring->used, f->used, vt_ring_used_size (SIZE));
  memcpy (f->part, f->memory, f->info.size);
}

typedef struct {
  guint8 *out, *in;
} Request;

static void
add (Fixture *f, Request *requests, guint n)
{
  for (guint i = 0; i < n; i++) {
    requests[i].out = vt_guest_alloc (f->guest, 16, 1);
    requests[i].in = vt_guest_alloc (f->guest, 16, 1);
    memset (requests[i].out, (int) i + 1, 16);
    VtBuf bufs[] = { { requests[i].out, 16, FALSE },
                     { requests[i].in, 16, TRUE } };

    g_assert_true (vt_ring_add (f->ring, bufs, 2, &requests[i]));
  }
  vt_ring_kick (f->ring);
}

/* Every request comes back once, answered. */
static void
take_all (Fixture *f, Request *requests, guint n)
{
  for (guint i = 0; i < n; i++) {
    Request *request = vt_ring_take (f->ring, NULL);

    g_assert_true (request >= requests && request < requests + n);
    for (guint j = 0; j < 16; j++)
      g_assert_cmphex (request->in[j], ==, (guint8) ~request->out[j]);
  }
  g_assert_cmpuint (vt_ring_n_in_flight (f->ring), ==, 0);
}

static void
test_what_was_in_flight_is_done_by_the_successor (Fixture *f,
                                                  gconstpointer data)
{
  Request requests[20];

  f->echo.mode = VT_ECHO_HOLD;
  vt_queue_rig_start (&f->rig, f->ring);
  add (f, requests, 20);
  vt_echo_wait_held (&f->echo, 20);
  crash (f);
  vt_echo_release (&f->rig, f->ring, FALSE);
  vt_queue_rig_stop (&f->rig, f->ring);
  come_back (f);

  f->echo.mode = VT_ECHO_NOW;
  /* The front-end says the used index, as QEMU does after a disconnect. */
  g_assert_true (vt_queue_rig_try_start (&f->rig, f->ring, 0, TRUE, NULL));
  take_all (f, requests, 20);
  g_assert_cmpuint (vt_queue_rig_stop (&f->rig, f->ring), ==, 20);
  for (guint i = 0; i < SIZE; i++)
    g_assert_cmpuint (f->part->desc[i].inflight, ==, 0);
}

/* The order of popping, although the heads are in another order. */
static void
test_order_is_kept (Fixture *f, gconstpointer data)
{
  Request requests[10];

  f->echo.mode = VT_ECHO_HOLD;
  vt_queue_rig_start (&f->rig, f->ring);
  add (f, requests, 10);
  vt_echo_wait_held (&f->echo, 10);
  crash (f);
  vt_echo_release (&f->rig, f->ring, FALSE);
  vt_queue_rig_stop (&f->rig, f->ring);
  come_back (f);
  /* Reverse the counters: now the last one was popped first. */
  for (guint i = 0; i < SIZE; i++)
    f->part->desc[i].counter = 1000 - f->part->desc[i].counter;

  f->echo.mode = VT_ECHO_NOW;
  vt_queue_rig_start (&f->rig, f->ring);
  for (guint i = 10; i-- > 0;)
    g_assert_true (vt_ring_take (f->ring, NULL) == &requests[i]);
}

/* A process that died between the used index and the end of the batch. */
static void
test_a_published_batch_is_not_done_again (Fixture *f, gconstpointer data)
{
  Request requests[8];
  guint n_linked = 0;

  f->echo.mode = VT_ECHO_HOLD;
  vt_queue_rig_start (&f->rig, f->ring);
  add (f, requests, 8);
  vt_echo_wait_held (&f->echo, 8);
  memcpy (f->memory, f->part, f->info.size);
  vt_echo_release (&f->rig, f->ring, FALSE);
  vt_ring_wait (f->ring, VT_TIMEOUT_MS);
  vt_queue_rig_stop (&f->rig, f->ring);
  /* The links of the whole batch, and the flags from before its end. */
  for (guint i = 0; i < SIZE; i++) {
    const VdInflightSplit *before = (const void *) f->memory;

    f->part->desc[i].inflight = before->desc[i].inflight;
    n_linked += before->desc[i].inflight;
  }
  g_assert_cmpuint (n_linked, ==, 8);
  f->part->used_idx = 0;

  atomic_store (&f->echo.n_handled, 0);
  f->echo.mode = VT_ECHO_NOW;
  vt_queue_rig_start (&f->rig, f->ring);
  g_assert_cmpuint (vt_queue_rig_stop (&f->rig, f->ring), ==, 8);
  g_assert_cmpuint (atomic_load (&f->echo.n_handled), ==, 0);
  take_all (f, requests, 8);
}

/* QEMU disables its rings before it stops them, maybe at once. */
static void
test_a_ring_stopped_at_once_owes_nothing (Fixture *f, gconstpointer data)
{
  Request requests[20];

  f->echo.mode = VT_ECHO_HOLD;
  vt_queue_rig_start (&f->rig, f->ring);
  add (f, requests, 20);
  vt_echo_wait_held (&f->echo, 20);
  crash (f);
  vt_echo_release (&f->rig, f->ring, FALSE);
  vt_queue_rig_stop (&f->rig, f->ring);
  come_back (f);

  f->echo.mode = VT_ECHO_NOW;
  g_assert_true (vt_queue_rig_try_start (&f->rig, f->ring, 0, FALSE, NULL));
  g_assert_cmpuint (vt_queue_rig_stop (&f->rig, f->ring), ==, 20);
  take_all (f, requests, 20);
}

/* More chains come back and are popped again than the driver can have. */
static void
test_a_batch_beyond_the_ring_breaks_it (Fixture *f, gconstpointer data)
{
  Request requests[SIZE];

  f->ring->flags |= VT_RING_INDIRECT; /* a descriptor each */
  f->echo.mode = VT_ECHO_HOLD;
  f->echo.limit = SIZE; /* what comes now waits until some are completed */
  vt_queue_rig_start (&f->rig, f->ring);
  add (f, requests, SIZE);
  vt_echo_wait_held (&f->echo, SIZE);
  vt_ring_raw_publish (f->ring, 2 * SIZE);
  vt_echo_release (&f->rig, f->ring, FALSE);
  g_assert_cmpstr (vt_queue_rig_wait_broken (&f->rig, f->ring), ==,
                   "more chains are in flight than the ring has");
  g_assert_cmpuint (atomic_load (&f->echo.n_handled), ==, SIZE);
}

static void
test_fresh_memory_takes_the_rings_index (Fixture *f, gconstpointer data)
{
  Request requests[3];

  f->rig.inflight = NULL;
  vt_queue_rig_start (&f->rig, f->ring);
  add (f, requests, 3);
  take_all (f, requests, 3);
  g_assert_cmpuint (vt_queue_rig_stop (&f->rig, f->ring), ==, 3);
  f->rig.inflight = f->inflight;
  g_assert_true (vt_queue_rig_try_start (&f->rig, f->ring, 3, TRUE, NULL));
  g_assert_cmpuint (f->part->used_idx, ==, 3);
  g_assert_cmpuint (f->part->version, ==, 1);
  add (f, requests, 3);
  take_all (f, requests, 3);
}

static void
assert_refused (Fixture *f)
{
  g_autoptr (GError) error = NULL;

  g_assert_false (vt_queue_rig_try_start (&f->rig, f->ring, 0, TRUE, &error));
  g_assert_nonnull (error);
}

static void
test_damaged_memory_is_refused (Fixture *f, gconstpointer data)
{
  f->part->version = 2;
  assert_refused (f);
  f->part->version = 1;
  f->part->n_desc = SIZE / 2;
  assert_refused (f);
  f->part->n_desc = SIZE;
  f->part->used_idx = (guint16) - (SIZE + 1); /* more than a ring behind */
  assert_refused (f);
  f->part->used_idx = (guint16) -2;
  f->part->last_batch_head = SIZE; /* a link outside the ring */
  assert_refused (f);
  f->part->last_batch_head = 0;
  f->part->desc[0].next = G_MAXUINT16;
  assert_refused (f);
}

/* Firmware under QEMU 10 chooses larger rings than QEMU asked memory for. */
static void
test_a_ring_larger_than_the_memory_runs_untracked (Fixture *f,
                                                   gconstpointer data)
{
  VdInflightInfo info = { .n_queues = 1, .queue_size = SIZE / 2 };
  vd_autofd fd = -1;
  g_autoptr (VdInflight) small = vd_inflight_new (&info, FALSE, &fd, NULL);
  Request requests[3];

  g_assert_nonnull (small);
  f->rig.inflight = small;
  vt_queue_rig_start (&f->rig, f->ring);
  add (f, requests, 3);
  take_all (f, requests, 3);
  g_assert_cmpuint (vt_queue_rig_stop (&f->rig, f->ring), ==, 3);
  f->rig.inflight = f->inflight;
}

static void
test_memory_must_lie_in_its_file (void)
{
  VdInflightInfo info = { .n_queues = 1, .queue_size = 128 };
  VdInflightInfo bad;
  vd_autofd fd = -1;
  g_autoptr (VdInflight) inflight = vd_inflight_new (&info, FALSE, &fd, NULL);

  g_assert_nonnull (inflight);
  g_assert_nonnull (vd_inflight_part (inflight, 0, 128, FALSE));
  g_assert_null (vd_inflight_part (inflight, 1, 128, FALSE));
  g_assert_null (vd_inflight_part (inflight, 0, 256, FALSE));
  g_assert_null (vd_inflight_part (inflight, 0, 128, TRUE));
#define REFUSED(field, value)                                                  \
  bad = info;                                                                  \
  bad.field = value;                                                           \
  g_assert_null (vd_inflight_map (&bad, FALSE, fd, NULL))
  REFUSED (n_queues, 0);
  REFUSED (n_queues, 2);
  REFUSED (queue_size, 0);
  REFUSED (queue_size, 256);
  REFUSED (queue_size, G_MAXUINT);
  REFUSED (offset, 1);
  REFUSED (offset, 4096);
  REFUSED (offset, G_MAXUINT64 - 4095);
  REFUSED (size, G_MAXUINT64);
  REFUSED (size, 1);
}

int
main (int argc, char **argv)
{
  g_test_init (&argc, &argv, NULL);
  g_test_add_func ("/vring/inflight/file", test_memory_must_lie_in_its_file);
#define ADD(name, func)                                                        \
  g_test_add ("/vring/inflight/" name, Fixture, NULL, set_up, func, tear_down)
  ADD ("successor", test_what_was_in_flight_is_done_by_the_successor);
  ADD ("order", test_order_is_kept);
  ADD ("published", test_a_published_batch_is_not_done_again);
  ADD ("stopped", test_a_ring_stopped_at_once_owes_nothing);
  ADD ("beyond", test_a_batch_beyond_the_ring_breaks_it);
  ADD ("fresh", test_fresh_memory_takes_the_rings_index);
  ADD ("damaged", test_damaged_memory_is_refused);
  ADD ("larger", test_a_ring_larger_than_the_memory_runs_untracked);
  return g_test_run ();
}
