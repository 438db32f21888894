/* SPDX-License-Identifier: BSD-3-Clause
 *
 * test-translate.c - queues of drivers behind an IOMMU
 *
 * What the driver of tests/lib calls gpa is an iova here; memory lies elsewhere
 * for the map.  The test's thread answers the queue's misses, or does not.
 */
#include "vring/queue.h"

#include <string.h>
#include <sys/mman.h>
#include <time.h>
#include <unistd.h>

#include "tests/lib/echo.h"
#include "vring/fd.h"

#define RING_SIZE 64
#define PAGE      4096ull
#define MIB       (1ull << 20)
#define GPA_SHIFT (16ull << 30)
#define R         VD_ACCESS_READ
#define W         VD_ACCESS_WRITE
#define RW        (R | W)

typedef struct {
  VtGuest *guest;
  VtRing *ring;
  VtEcho echo;
  VdIotlb *iotlb;
  VtQueueRig rig;
} Fixture;

static void
set_up (Fixture *f, gconstpointer data)
{
  f->guest = vt_guest_new (16 * MIB);
  f->ring = vt_ring_new (f->guest, 0, RING_SIZE,
                         (VtRingFlags) GPOINTER_TO_UINT (data));
  vt_guest_alloc (f->guest, 1, PAGE); /* nothing else in the ring's pages */
  f->iotlb = vd_iotlb_new ();
  vt_queue_rig_init (&f->rig, f->guest, &vt_echo_ops, &f->echo);
  f->rig.iotlb = f->iotlb;
  f->rig.gpa_shift = GPA_SHIFT;
  f->rig.pool = vd_pool_new (2);
  vt_queue_rig_remap (&f->rig);
}

static void
tear_down (Fixture *f, gconstpointer data)
{
  vt_queue_rig_clear (&f->rig);
  vd_pool_free (f->rig.pool);
  vd_iotlb_free (f->iotlb);
  vt_ring_free (f->ring);
  vt_guest_free (f->guest);
}

/* --- The front-end's side --- */

static void
map_to (Fixture *f, guint64 iova, guint64 size, guint64 uva, guint access)
{
  const VdIotlbEntry entry = { iova, size, uva, access };

  vd_iotlb_update (f->iotlb, &entry);
}

/* Maps the page of @iova to where the driver sees it. */
static void
map_page (Fixture *f, guint64 iova, guint access)
{
  iova &= ~(PAGE - 1);
  map_to (f, iova, PAGE, vt_guest_uva (f->guest, vt_guest_ptr (f->guest, iova)),
          access);
}

static void
map (Fixture *f, const void *ptr, gsize len, guint access)
{
  guint64 iova = vt_guest_gpa (f->guest, ptr);

  for (guint64 page = iova & ~(PAGE - 1); page < iova + len; page += PAGE)
    map_page (f, page, access);
}

/* Starts the queue as its misses are answered.  Returns: how many there were. */
static guint
start (Fixture *f)
{
  VtRigQueue *slot = &f->rig.queues[f->ring->index];

  for (guint n = 0;; n++) {
    g_autoptr (GError) error = NULL;

    if (vt_queue_rig_try_start (&f->rig, f->ring, f->ring->start_base, TRUE,
                                &error))
      return n;
    g_assert_cmpuint (slot->miss.access, !=, 0);
    g_assert_cmpuint (n, <, 32);
    map_page (f, slot->miss.iova, slot->miss.access);
    slot->miss.access = 0;
  }
}

/* Waits for a miss of @access at @ptr and grants it. */
static void
grant (Fixture *f, const void *ptr, guint access)
{
  VdMiss miss = vt_queue_rig_wait_miss (&f->rig, f->ring);

  g_assert_cmphex (miss.iova, ==, vt_guest_gpa (f->guest, ptr));
  g_assert_cmpuint (miss.access, ==, access);
  map_page (f, miss.iova, access);
  vt_queue_rig_retry (&f->rig, f->ring, TRUE);
}

/* Grants what the queue may wait for by now. */
static void
grant_any (Fixture *f)
{
  VtRigQueue *slot = &f->rig.queues[f->ring->index];

  vt_queue_rig_pump (&f->rig);
  if (slot->miss.access == 0)
    return;
  map_page (f, slot->miss.iova, slot->miss.access);
  slot->miss.access = 0;
  vt_queue_rig_retry (&f->rig, f->ring, TRUE);
}

/* Grants all misses until the driver has got a chain back.  Returns: its token. */
static gpointer
take (Fixture *f)
{
  gint64 end = g_get_monotonic_time () + VT_TIMEOUT_MS * 1000ll;
  gpointer token;

  while (!(token = vt_ring_get (f->ring, NULL))) {
    g_assert_cmpint (g_get_monotonic_time (), <, end);
    grant_any (f);
  }
  return token;
}

/* The same until the device holds @n chains. */
static void
wait_held (Fixture *f, guint n)
{
  gint64 end = g_get_monotonic_time () + VT_TIMEOUT_MS * 1000ll;

  while (atomic_load (&f->echo.n_held) < n) {
    g_assert_cmpint (g_get_monotonic_time (), <, end);
    grant_any (f);
  }
}

typedef struct {
  gboolean done;
} Answer;

static void
on_done (VdQueueCommand *command, int result)
{
  Answer *answer = command->user_data;

  g_assert_cmpint (result, ==, 0);
  answer->done = TRUE;
}

/* Withdraws @first to @last and tells the queue, whose answer may take time. */
static void
begin_invalidate (Fixture *f, guint64 first, guint64 last,
                  VdQueueCommand *command, Answer *answer)
{
  *answer = (Answer){ 0 };
  *command = (VdQueueCommand){ .type = VD_QUEUE_INVALIDATE,
                               .first = first,
                               .last = last,
                               .done = on_done,
                               .user_data = answer };
  vd_iotlb_invalidate (f->iotlb, first, last);
  vd_queue_command (vt_queue_rig_queue (&f->rig, f->ring), command);
}

static void
invalidate (Fixture *f, guint64 first, guint64 last)
{
  VdQueueCommand command;
  Answer answer;

  begin_invalidate (f, first, last, &command, &answer);
  vt_queue_rig_pump_until (&f->rig, &answer.done);
}

static void
invalidate_page (Fixture *f, const void *ptr)
{
  guint64 page = vt_guest_gpa (f->guest, ptr) & ~(PAGE - 1);

  invalidate (f, page, page + PAGE - 1);
}

/* A command that changes nothing: all before it were taken. */
static void
barrier (Fixture *f)
{
  vt_queue_rig_enable (&f->rig, f->ring, TRUE);
}

/* --- The driver's side --- */

typedef struct {
  guint8 *out, *in;
  guint32 len;
} Request;

static void
request_init (Fixture *f, Request *request, guint32 len)
{
  request->len = len;
  request->out = vt_guest_alloc (f->guest, len, PAGE);
  request->in = vt_guest_alloc (f->guest, len, PAGE);
  for (guint32 i = 0; i < len; i++)
    request->out[i] = (guint8) g_test_rand_int ();
}

static void
request_send (Fixture *f, Request *request)
{
  VtBuf bufs[] = { { request->out, request->len, FALSE },
                   { request->in, request->len, TRUE } };

  g_assert_true (vt_ring_add (f->ring, bufs, 2, request));
  vt_ring_kick (f->ring);
}

static void
request_check (const Request *request)
{
  for (guint32 i = 0; i < request->len; i++)
    g_assert_cmphex (request->in[i], ==, (guint8) ~request->out[i]);
}

static void
request_map (Fixture *f, const Request *request)
{
  map (f, request->out, request->len, R);
  map (f, request->in, request->len, W);
}

/* --- Tests --- */

static void
test_a_ring_starts_when_its_parts_are_translated (Fixture *f,
                                                  gconstpointer data)
{
  Request request;

  g_assert_cmpuint (start (f), >=, 1);
  request_init (f, &request, 100);
  request_map (f, &request);
  request_send (f, &request);
  g_assert_true (take (f) == &request);
  request_check (&request);
  if (!(f->ring->flags & VT_RING_INDIRECT)) /* their tables are elsewhere */
    g_assert_cmpuint (f->rig.queues[0].n_misses, ==, 0);
}

static void
test_a_scattered_ring_is_refused_for_good (Fixture *f, gconstpointer data)
{
  guint64 iova = vt_guest_gpa (f->guest, f->ring->desc);
  guint64 uva = vt_guest_uva (f->guest, f->ring->desc);
  g_autoptr (GError) error = NULL;

  map_to (f, iova, 16, uva, RW);
  map_to (f, iova + 16, 16, uva + 8192, RW);
  g_assert_false (vt_queue_rig_try_start (&f->rig, f->ring, 0, TRUE, &error));
  g_assert_nonnull (error);
  g_assert_cmpuint (f->rig.queues[0].miss.access, ==, 0);
}

static guint64
thread_cpu_ns (void)
{
  struct timespec now;

  g_assert_no_errno (clock_gettime (CLOCK_PROCESS_CPUTIME_ID, &now));
  return (guint64) now.tv_sec * 1000000000 + (guint64) now.tv_nsec;
}

static void
test_a_chain_waits_for_its_translations (Fixture *f, gconstpointer data)
{
  Request request;
  guint64 before;

  start (f);
  request_init (f, &request, 100);
  if (f->ring->flags & VT_RING_INDIRECT)
    request_map (f, &request);
  request_send (f, &request);
  if (!(f->ring->flags & VT_RING_INDIRECT)) {
    grant (f, request.out, R);
    grant (f, request.in, W);
    g_assert_cmpuint (f->rig.queues[0].n_misses, ==, 2);
  }
  g_assert_true (take (f) == &request);
  request_check (&request);

  /* It is told once, whatever the driver does, and costs nothing to wait. */
  invalidate_page (f, request.out);
  f->rig.queues[0].n_misses = 0;
  request_send (f, &request);
  vt_queue_rig_wait_miss (&f->rig, f->ring);
  before = thread_cpu_ns ();
  for (guint i = 0; i < 20; i++) {
    vt_ring_kick_always (f->ring);
    g_usleep (1000);
  }
  vt_queue_rig_pump (&f->rig);
  g_assert_cmpuint (f->rig.queues[0].n_misses, ==, 1);
  g_assert_cmpuint (thread_cpu_ns () - before, <, 15000000);
  g_assert_null (vt_ring_get (f->ring, NULL));
  map (f, request.out, request.len, R);
  vt_queue_rig_retry (&f->rig, f->ring, TRUE);
  g_assert_true (take (f) == &request);
}

static void
test_translations_are_what_the_front_end_said (Fixture *f, gconstpointer data)
{
  Request request, other;

  start (f);
  request_init (f, &request, 2 * PAGE);
  request_init (f, &other, 2 * PAGE);
  request_map (f, &request);
  /* The two pages of what is read are exchanged, and come from elsewhere. */
  map_to (f, vt_guest_gpa (f->guest, request.out), PAGE,
          vt_guest_uva (f->guest, other.out + PAGE), R);
  map_to (f, vt_guest_gpa (f->guest, request.out) + PAGE, PAGE,
          vt_guest_uva (f->guest, other.out), R);
  request_send (f, &request);
  g_assert_true (take (f) == &request);
  for (guint i = 0; i < 2 * PAGE; i++)
    g_assert_cmphex (request.in[i], ==,
                     (guint8) ~other.out[(i + PAGE) % (2 * PAGE)]);
}

static void
test_a_refused_access_breaks_its_queue_alone (Fixture *f, gconstpointer data)
{
  VtRing *second = vt_ring_new (f->guest, 1, RING_SIZE, f->ring->flags);
  VtRing *first = f->ring;
  Request request, other;
  VdMiss miss;

  start (f);
  f->ring = second;
  start (f);
  request_init (f, &request, 100);
  request_init (f, &other, 100);
  request_map (f, &other);
  map (f, request.out, 100, R);
  map (f, request.in, 100, R); /* which the device would write */
  memset (request.in, 0x55, 100);

  f->ring = first;
  request_send (f, &request);
  miss = vt_queue_rig_wait_miss (&f->rig, first);
  while (miss.access == R) { /* an indirect table */
    map_page (f, miss.iova, R);
    vt_queue_rig_retry (&f->rig, first, TRUE);
    miss = vt_queue_rig_wait_miss (&f->rig, first);
  }
  g_assert_cmphex (miss.iova, ==, vt_guest_gpa (f->guest, request.in));
  g_assert_cmpuint (miss.access, ==, W);
  vt_queue_rig_retry (&f->rig, first, FALSE);
  g_assert_cmpstr (vt_queue_rig_wait_broken (&f->rig, first), ==,
                   "the IOMMU does not allow an access");
  for (guint i = 0; i < 100; i++)
    g_assert_cmphex (request.in[i], ==, 0x55);

  f->ring = second;
  request_send (f, &other);
  g_assert_true (take (f) == &other);
  request_check (&other);
  vt_queue_rig_stop (&f->rig, second);
  vt_ring_free (second);
  f->ring = first;
}

static void
test_an_invalidation_waits_for_its_buffers_only (Fixture *f, gconstpointer data)
{
  Request held, free;
  VdQueueCommand command;
  Answer answer;
  guint64 iova;

  f->echo.mode = VT_ECHO_HOLD;
  start (f);
  request_init (f, &held, 3 * PAGE);
  request_init (f, &free, PAGE);
  request_map (f, &held);
  request_map (f, &free);
  request_send (f, &held);
  wait_held (f, 1);

  invalidate_page (f, free.out); /* is done at once */
  iova = vt_guest_gpa (f->guest, held.in) + PAGE;
  begin_invalidate (f, iova, iova, &command, &answer);
  barrier (f);
  g_assert_false (answer.done);
  vt_echo_release (&f->rig, f->ring, FALSE);
  vt_queue_rig_pump_until (&f->rig, &answer.done);
  g_assert_true (vt_ring_take (f->ring, NULL) == &held);
  request_check (&held);

  /* and it did go */
  request_send (f, &held);
  g_assert_true (take (f) == &held);
  g_assert_cmpuint (f->rig.queues[0].n_misses, >, 0);
}

/* A device that keeps a chain for somebody outside, until it is told not to. */
static void
keep (VdQueue *queue, VdChain **chains, guint n_chains, gpointer user_data)
{
  VdChain **kept = user_data;

  g_assert_cmpuint (n_chains, ==, 1);
  g_assert_null (*kept);
  *kept = chains[0];
}

static void
let_go (VdQueue *queue, gpointer user_data)
{
  VdChain **kept = user_data;

  if (*kept != NULL)
    vd_chain_complete (*kept, 0);
  *kept = NULL;
}

static void
test_a_device_is_told_to_let_go (Fixture *f, gconstpointer data)
{
  const VdQueueOps ops = { .request_size = 8, .handle = keep, .drain = let_go };
  VdChain *kept = NULL;
  VdQueueStats stats;
  Request request;

  f->rig.ops = &ops;
  f->rig.user_data = &kept;
  start (f);
  request_init (f, &request, PAGE);
  request_map (f, &request);
  request_send (f, &request);
  do
    vd_queue_stats (vt_queue_rig_queue (&f->rig, f->ring), &stats);
  while (stats.chains == 0);
  invalidate (f, 0, G_MAXUINT64);
  g_assert_true (vt_ring_get (f->ring, NULL) == &request);
  vt_queue_rig_stop (&f->rig, f->ring);
}

static void
test_a_withdrawn_ring_is_left_alone (Fixture *f, gconstpointer data)
{
  const gsize len = (gsize) (f->guest->current->used);
  g_autofree guint8 *copy = g_malloc (len);
  VdQueueCommand command;
  Request request;
  Answer answer;

  f->echo.mode = VT_ECHO_HOLD;
  start (f);
  request_init (f, &request, PAGE);
  request_map (f, &request);
  for (guint64 page = 0; page < len; page += PAGE)
    map_page (f, VT_GPA_BASE + page, RW);
  request_send (f, &request);
  wait_held (f, 1);

  begin_invalidate (f, 0, G_MAXUINT64, &command, &answer);
  barrier (f);
  g_assert_false (answer.done);
  vt_echo_release (&f->rig, f->ring, FALSE);
  vt_queue_rig_pump_until (&f->rig, &answer.done);
  /* What was done had its place in the ring before the answer. */
  g_assert_true (vt_ring_get (f->ring, NULL) == &request);
  vt_ring_drain_calls (f->ring);

  request_send (f, &request);
  memcpy (copy, f->guest->current->ptr, len);
  vt_ring_kick_always (f->ring);
  barrier (f);
  g_assert_cmpmem (copy, len, f->guest->current->ptr, len);
  g_assert_true (take (f) == &request);
}

static void
test_stop_answers_whatever_is_waited_for (Fixture *f, gconstpointer data)
{
  Request request;
  guint32 base;

  start (f);
  base = vt_ring_base (f->ring);
  request_init (f, &request, PAGE);
  request_send (f, &request);
  vt_queue_rig_wait_miss (&f->rig, f->ring);
  g_assert_cmphex (vt_queue_rig_stop (&f->rig, f->ring), ==, base);

  /* The chain was not consumed: a second life serves it. */
  g_assert_true (vt_queue_rig_try_start (&f->rig, f->ring, base, TRUE, NULL));
  g_assert_true (take (f) == &request);
  request_check (&request);
  /* The same while the ring is lost. */
  invalidate (f, 0, G_MAXUINT64);
  vt_queue_rig_wait_miss (&f->rig, f->ring);
  base = vt_ring_base (f->ring);
  g_assert_cmphex (vt_queue_rig_stop (&f->rig, f->ring), ==, base);
}

static void
test_a_translation_to_memory_that_went_is_asked_anew (Fixture *f,
                                                      gconstpointer data)
{
  VtRegion *first = f->guest->current;
  VtRegion *second =
      vt_guest_add (f->guest, VT_GPA_BASE + 64 * MIB, 0x7d0000000000, MIB, 0);
  Request request;

  start (f);
  f->guest->current = second;
  vt_queue_rig_remap (&f->rig);
  request_init (f, &request, PAGE);
  request_map (f, &request);
  /* The entries stay, what they lead to is moved. */
  second->uva += 16 * MIB;
  vt_queue_rig_remap (&f->rig);
  f->rig.queues[0].n_misses = 0;
  request_send (f, &request);
  g_assert_true (take (f) == &request);
  request_check (&request);
  g_assert_cmpuint (f->rig.queues[0].n_misses, >=, 2);
  f->guest->current = first;
}

static void
test_a_chain_of_too_many_translations_breaks (Fixture *f, gconstpointer data)
{
  const guint n = 5000; /* bytes, each an entry of its own */
  Request request;

  start (f);
  request_init (f, &request, n);
  for (guint i = 0; i < n; i++)
    map_to (f, vt_guest_gpa (f->guest, request.out + i), 1,
            vt_guest_uva (f->guest, request.out + i), R);
  request_send (f, &request);
  while (!f->rig.queues[0].broken)
    grant_any (f);
  g_assert_cmpstr (vt_queue_rig_wait_broken (&f->rig, f->ring), ==,
                   "a chain needs too many translations");
}

/* The dirty log knows guest addresses, wherever the driver believes to be. */
static void
test_writes_are_logged_where_the_memory_is (Fixture *f, gconstpointer data)
{
  const gsize size = (GPA_SHIFT + 64 * MIB) / PAGE / 8;
  vd_autofd fd = memfd_create ("log", MFD_CLOEXEC);
  VdQueueCommand command = { .type = VD_QUEUE_MEMORY, .value = TRUE };
  g_autoptr (GError) error = NULL;
  const guint8 *bits;
  Request request;
  guint64 pages[3], n_dirty = 0;

  start (f);
  request_init (f, &request, PAGE);
  request_map (f, &request);
  g_assert_no_errno (ftruncate (fd, (off_t) size));
  command.dirty = vd_dirty_new (fd, 0, size, &error);
  g_assert_no_error (error);
  command.map = vd_map_ref (f->rig.map);
  g_assert_cmpint (vt_queue_rig_command (&f->rig, f->ring, &command), ==, 0);
  vd_map_unref (command.map);
  request_send (f, &request);
  g_assert_true (take (f) == &request);
  vt_queue_rig_stop (&f->rig, f->ring);

  bits = mmap (NULL, size, PROT_READ, MAP_SHARED, fd, 0);
  g_assert_true (bits != MAP_FAILED);
  pages[0] = vt_guest_gpa (f->guest, request.in) + GPA_SHIFT;
  pages[1] = vt_guest_gpa (f->guest, f->ring->used) + GPA_SHIFT;
  pages[2] = vt_guest_gpa (f->guest, f->ring->desc) + GPA_SHIFT;
  for (guint i = 0; i < (f->ring->flags & VT_RING_PACKED ? 3 : 2); i++)
    g_assert_true (bits[pages[i] / PAGE / 8] & 1u << pages[i] / PAGE % 8);
  for (gsize i = 0; i < size; i++)
    n_dirty += (guint) __builtin_popcount (bits[i]);
  g_assert_cmpuint (n_dirty, <=, 3);
  munmap ((void *) bits, size);
}

/* Chains that a predecessor left wait as well, and are served once. */
static void
test_what_is_submitted_again_waits_too (Fixture *f, gconstpointer data)
{
  const gboolean packed = (f->ring->flags & VT_RING_PACKED) != 0;
  VdInflightInfo info = { .n_queues = 1, .queue_size = RING_SIZE };
  g_autofree guint8 *used = NULL, *memory = NULL;
  g_autoptr (GError) error = NULL;
  Request requests[4];
  vd_autofd fd = -1;
  guint8 *part;
  guint64 n_handled;

  f->rig.inflight = vd_inflight_new (&info, packed, &fd, &error);
  g_assert_no_error (error);
  part = mmap (NULL, info.size, PROT_READ | PROT_WRITE, MAP_SHARED, fd, 0);
  g_assert_true (part != MAP_FAILED);
  f->echo.mode = VT_ECHO_HOLD;
  start (f);
  for (guint i = 0; i < G_N_ELEMENTS (requests); i++) {
    request_init (f, &requests[i], 16);
    request_map (f, &requests[i]);
    request_send (f, &requests[i]);
  }
  wait_held (f, G_N_ELEMENTS (requests));

  /* The crash: nobody saw what comes after these copies. */
  used = g_memdup2 (f->ring->desc, 2 * PAGE);
  memory = g_memdup2 (part, info.size);
  vt_echo_release (&f->rig, f->ring, FALSE);
  vt_queue_rig_stop (&f->rig, f->ring);
  memcpy (f->ring->desc, used, 2 * PAGE);
  memcpy (part, memory, info.size);
  vt_ring_drain_calls (f->ring);
  vd_iotlb_invalidate (f->iotlb, 0, G_MAXUINT64);

  f->echo.mode = VT_ECHO_NOW;
  n_handled = f->echo.n_handled;
  start (f);
  /* A stop does not wait for answers; nothing is lost by it. */
  vt_queue_rig_wait_miss (&f->rig, f->ring);
  vt_queue_rig_stop (&f->rig, f->ring);
  start (f);
  for (guint i = 0; i < G_N_ELEMENTS (requests); i++) {
    Request *request = take (f);

    g_assert_true (request == &requests[i]);
    request_check (request);
  }
  g_assert_cmpuint (f->echo.n_handled - n_handled, ==, G_N_ELEMENTS (requests));
  vt_queue_rig_stop (&f->rig, f->ring);
  vd_inflight_unref (f->rig.inflight);
  f->rig.inflight = NULL;
  munmap (part, info.size);
}

/* Random withdrawals under load: whatever is withdrawn, every request comes back
 * once and right. */
static void
test_random_withdrawals_disturb_nothing (Fixture *f, gconstpointer data)
{
  const guint n_rounds = 600;
  Request requests[24];
  guint64 end;

  f->echo.mode = VT_ECHO_MIXED;
  start (f);
  for (guint i = 0; i < G_N_ELEMENTS (requests); i++)
    request_init (f, &requests[i], 1 + i * 700);
  end = VT_GPA_BASE + f->guest->current->used;
  for (guint round = 0; round < n_rounds; round++) {
    guint n = (guint) g_test_rand_int_range (1, G_N_ELEMENTS (requests) + 1);
    guint n_sent = 0;

    for (; n_sent < n; n_sent++) {
      VtBuf bufs[] = {
        { requests[n_sent].out, requests[n_sent].len, FALSE },
        { requests[n_sent].in, requests[n_sent].len, TRUE },
      };

      memset (requests[n_sent].in, 0, requests[n_sent].len);
      if (!vt_ring_add (f->ring, bufs, 2, &requests[n_sent]))
        break;
    }
    vt_ring_kick (f->ring);
    if (g_test_rand_int_range (0, 3) == 0) {
      guint64 n_pages = (end - VT_GPA_BASE) / PAGE + 1;
      guint64 first = (guint64) g_test_rand_int_range (0, (gint32) n_pages);

      if (g_test_rand_int_range (0, 8) == 0)
        invalidate (f, 0, G_MAXUINT64);
      else
        invalidate (f, VT_GPA_BASE + first * PAGE,
                    VT_GPA_BASE + (first + 1) * PAGE - 1);
    }
    for (guint i = 0; i < n_sent; i++)
      request_check (take (f));
  }
  g_assert_cmpuint (f->rig.queues[0].n_misses, >, 10);
  g_assert_null (f->rig.queues[0].broken);
}

int
main (int argc, char **argv)
{
  const VtRingFlags all = VT_RING_EVENT_IDX | VT_RING_INDIRECT;

  g_test_init (&argc, &argv, NULL);
#define ADD(name, flags, func)                                                 \
  g_test_add ("/translate/" name, Fixture, GUINT_TO_POINTER (flags), set_up,   \
              func, tear_down)
#define ADD_ALL(name, func)                                                    \
  ADD ("split/" name, 0, func);                                                \
  ADD ("split-all/" name, all, func);                                          \
  ADD ("packed/" name, VT_RING_PACKED, func);                                  \
  ADD ("packed-all/" name, VT_RING_PACKED | all, func)
  ADD_ALL ("start", test_a_ring_starts_when_its_parts_are_translated);
  ADD_ALL ("scattered", test_a_scattered_ring_is_refused_for_good);
  ADD_ALL ("wait", test_a_chain_waits_for_its_translations);
  ADD_ALL ("where", test_translations_are_what_the_front_end_said);
  ADD_ALL ("refused", test_a_refused_access_breaks_its_queue_alone);
  ADD_ALL ("buffers", test_an_invalidation_waits_for_its_buffers_only);
  ADD ("split/let-go", 0, test_a_device_is_told_to_let_go);
  ADD ("packed/let-go", VT_RING_PACKED, test_a_device_is_told_to_let_go);
  ADD_ALL ("ring", test_a_withdrawn_ring_is_left_alone);
  ADD_ALL ("stop", test_stop_answers_whatever_is_waited_for);
  ADD_ALL ("memory", test_a_translation_to_memory_that_went_is_asked_anew);
  ADD_ALL ("many", test_a_chain_of_too_many_translations_breaks);
  ADD_ALL ("log", test_writes_are_logged_where_the_memory_is);
  ADD ("split/again", 0, test_what_is_submitted_again_waits_too);
  ADD ("packed/again", VT_RING_PACKED, test_what_is_submitted_again_waits_too);
  ADD_ALL ("random", test_random_withdrawals_disturb_nothing);
  return g_test_run ();
}
