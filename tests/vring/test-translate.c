/* SPDX-License-Identifier: BSD-3-Clause
 *
 * test-translate.c - queues of drivers behind an IOMMU wait for translations
 */
#include "tests/vring/translate-rig.h"

#include <string.h>
#include <sys/mman.h>
#include <time.h>
#include <unistd.h>

#include "vring/fd.h"

static void
test_a_ring_starts_when_its_parts_are_translated (VtTranslate *f,
                                                  gconstpointer data)
{
  VtRequest request;

  g_assert_cmpuint (vt_translate_start (f), >=, 1);
  vt_request_init (f, &request, 100);
  vt_request_map (f, &request);
  vt_request_send (f, &request);
  g_assert_true (vt_translate_take (f) == &request);
  vt_request_check (&request);
  if (!(f->ring->flags & VT_RING_INDIRECT)) /* their tables are elsewhere */
    g_assert_cmpuint (f->rig.queues[0].n_misses, ==, 0);
}

static void
test_a_scattered_ring_is_refused_for_good (VtTranslate *f, gconstpointer data)
{
  guint64 iova = vt_guest_gpa (f->guest, f->ring->desc);
  guint64 uva = vt_guest_uva (f->guest, f->ring->desc);
  g_autoptr (GError) error = NULL;

  vt_translate_map_to (f, iova, 16, uva, RW);
  vt_translate_map_to (f, iova + 16, 16, uva + 8192, RW);
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
test_a_chain_waits_for_its_translations (VtTranslate *f, gconstpointer data)
{
  VtRequest request;
  guint64 before;

  vt_translate_start (f);
  vt_request_init (f, &request, 100);
  if (f->ring->flags & VT_RING_INDIRECT)
    vt_request_map (f, &request);
  vt_request_send (f, &request);
  if (!(f->ring->flags & VT_RING_INDIRECT)) {
    vt_translate_grant (f, request.out, R);
    vt_translate_grant (f, request.in, W);
    g_assert_cmpuint (f->rig.queues[0].n_misses, ==, 2);
  }
  g_assert_true (vt_translate_take (f) == &request);
  vt_request_check (&request);

  /* It is told once, whatever the driver does, and costs nothing to wait. */
  vt_translate_invalidate_page (f, request.out);
  f->rig.queues[0].n_misses = 0;
  vt_request_send (f, &request);
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
  vt_translate_map (f, request.out, request.len, R);
  vt_queue_rig_retry (&f->rig, f->ring, TRUE);
  g_assert_true (vt_translate_take (f) == &request);
}

static void
test_translations_are_what_the_front_end_said (VtTranslate *f,
                                               gconstpointer data)
{
  VtRequest request, other;

  vt_translate_start (f);
  vt_request_init (f, &request, 2 * PAGE);
  vt_request_init (f, &other, 2 * PAGE);
  vt_request_map (f, &request);
  /* The two pages of what is read are exchanged, and come from elsewhere. */
  vt_translate_map_to (f, vt_guest_gpa (f->guest, request.out), PAGE,
                       vt_guest_uva (f->guest, other.out + PAGE), R);
  vt_translate_map_to (f, vt_guest_gpa (f->guest, request.out) + PAGE, PAGE,
                       vt_guest_uva (f->guest, other.out), R);
  vt_request_send (f, &request);
  g_assert_true (vt_translate_take (f) == &request);
  for (guint i = 0; i < 2 * PAGE; i++)
    g_assert_cmphex (request.in[i], ==,
                     (guint8) ~other.out[(i + PAGE) % (2 * PAGE)]);
}

static void
test_a_refused_access_breaks_its_queue_alone (VtTranslate *f,
                                              gconstpointer data)
{
  VtRing *second = vt_ring_new (f->guest, 1, f->ring->size, f->ring->flags);
  VtRing *first = f->ring;
  VtRequest request, other;
  VdMiss miss;

  vt_translate_start (f);
  f->ring = second;
  vt_translate_start (f);
  vt_request_init (f, &request, 100);
  vt_request_init (f, &other, 100);
  vt_request_map (f, &other);
  vt_translate_map (f, request.out, 100, R);
  vt_translate_map (f, request.in, 100, R); /* which the device would write */
  memset (request.in, 0x55, 100);

  f->ring = first;
  vt_request_send (f, &request);
  miss = vt_queue_rig_wait_miss (&f->rig, first);
  while (miss.access == R) { /* an indirect table */
    vt_translate_map_page (f, miss.iova, R);
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
  vt_request_send (f, &other);
  g_assert_true (vt_translate_take (f) == &other);
  vt_request_check (&other);
  vt_queue_rig_stop (&f->rig, second);
  vt_ring_free (second);
  f->ring = first;
}

static void
test_a_translation_to_memory_that_went_is_asked_anew (VtTranslate *f,
                                                      gconstpointer data)
{
  VtRegion *first = f->guest->current;
  VtRegion *second =
      vt_guest_add (f->guest, VT_GPA_BASE + 64 * MIB, 0x7d0000000000, MIB, 0);
  VtRequest request;

  vt_translate_start (f);
  f->guest->current = second;
  vt_queue_rig_remap (&f->rig);
  vt_request_init (f, &request, PAGE);
  vt_request_map (f, &request);
  /* The entries stay, what they lead to is moved. */
  second->uva += 16 * MIB;
  vt_queue_rig_remap (&f->rig);
  f->rig.queues[0].n_misses = 0;
  vt_request_send (f, &request);
  g_assert_true (vt_translate_take (f) == &request);
  vt_request_check (&request);
  g_assert_cmpuint (f->rig.queues[0].n_misses, >=, 2);
  f->guest->current = first;
}

static void
test_a_chain_of_too_many_translations_breaks (VtTranslate *f,
                                              gconstpointer data)
{
  const guint n = 5000; /* bytes, each an entry of its own */
  VtRequest request;

  vt_translate_start (f);
  vt_request_init (f, &request, n);
  for (guint i = 0; i < n; i++)
    vt_translate_map_to (f, vt_guest_gpa (f->guest, request.out + i), 1,
                         vt_guest_uva (f->guest, request.out + i), R);
  vt_request_send (f, &request);
  while (!f->rig.queues[0].broken)
    vt_translate_grant_any (f);
  g_assert_cmpstr (vt_queue_rig_wait_broken (&f->rig, f->ring), ==,
                   "a chain needs too many translations");
}

/* The dirty log knows guest addresses, wherever the driver believes to be. */
static void
test_writes_are_logged_where_the_memory_is (VtTranslate *f, gconstpointer data)
{
  const gsize size = (GPA_SHIFT + 64 * MIB) / PAGE / 8;
  vd_autofd fd = memfd_create ("log", MFD_CLOEXEC);
  VdQueueCommand command = { .type = VD_QUEUE_MEMORY, .value = TRUE };
  g_autoptr (GError) error = NULL;
  const guint8 *bits;
  VtRequest request;
  guint64 pages[3], n_dirty = 0;

  vt_translate_start (f);
  vt_request_init (f, &request, PAGE);
  vt_request_map (f, &request);
  g_assert_no_errno (ftruncate (fd, (off_t) size));
  command.dirty = vd_dirty_new (fd, 0, size, &error);
  g_assert_no_error (error);
  command.map = vd_map_ref (f->rig.map);
  g_assert_cmpint (vt_queue_rig_command (&f->rig, f->ring, &command), ==, 0);
  vd_map_unref (command.map);
  vt_request_send (f, &request);
  g_assert_true (vt_translate_take (f) == &request);
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

int
main (int argc, char **argv)
{
  g_test_init (&argc, &argv, NULL);
#define ADD_ALL(name, func)                                                    \
  VT_ADD_RING_TESTS ("/translate/", name, VtTranslate, vt_translate_set_up,    \
                     func, vt_translate_tear_down)
#define ADD(format, name, flags, func)                                         \
  VT_ADD_RING_TEST ("/translate/", format, name, flags, VtTranslate,           \
                    vt_translate_set_up, func, vt_translate_tear_down)
  ADD_ALL ("start", test_a_ring_starts_when_its_parts_are_translated);
  ADD_ALL ("scattered", test_a_scattered_ring_is_refused_for_good);
  ADD_ALL ("wait", test_a_chain_waits_for_its_translations);
  ADD_ALL ("where", test_translations_are_what_the_front_end_said);
  ADD_ALL ("refused", test_a_refused_access_breaks_its_queue_alone);
  ADD_ALL ("memory", test_a_translation_to_memory_that_went_is_asked_anew);
  ADD_ALL ("many", test_a_chain_of_too_many_translations_breaks);
  ADD_ALL ("log", test_writes_are_logged_where_the_memory_is);
  return g_test_run ();
}
