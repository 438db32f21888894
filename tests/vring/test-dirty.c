/* SPDX-License-Identifier: BSD-3-Clause
 *
 * test-dirty.c - the dirty log, alone and behind a running queue
 */
#include "vring/dirty.h"

#include <string.h>
#include <sys/mman.h>
#include <unistd.h>

#include "tests/lib/echo.h"
#include "vring/fd.h"

#define LOG_LEN 8192 /* bytes: 64 Ki pages, 256 MiB of guest memory */
#define PAGE    VD_DIRTY_PAGE
#define MIB     (1ul << 20)

typedef struct {
  int fd;
  guint8 *bits; /* the front-end's view */
  VdDirty *dirty;
} Log;

static void
log_init (Log *log, guint64 offset)
{
  g_autoptr (GError) error = NULL;
  guint8 *at;

  log->fd = memfd_create ("log", MFD_CLOEXEC);
  g_assert_cmpint (ftruncate (log->fd, (off_t) (offset + LOG_LEN)), ==, 0);
  at = mmap (NULL, offset + LOG_LEN, PROT_READ | PROT_WRITE, MAP_SHARED,
             log->fd, 0);
  g_assert_true (at != MAP_FAILED);
  log->bits = at + offset;
  log->dirty = vd_dirty_new (log->fd, offset, LOG_LEN, &error);
  g_assert_no_error (error);
}

static gboolean
is_dirty (const Log *log, guint64 gpa)
{
  return (log->bits[gpa / PAGE / 8] >> (gpa / PAGE % 8)) & 1;
}

static guint
count_dirty (const Log *log)
{
  guint n = 0;

  for (guint i = 0; i < LOG_LEN; i++)
    n += (guint) __builtin_popcount (log->bits[i]);
  return n;
}

static void
log_clear (Log *log)
{
  vd_dirty_unref (log->dirty);
  vd_clear_fd (&log->fd);
}

static void
test_exactly_the_touched_pages_are_marked (void)
{
  const struct {
    guint64 gpa, len;
    guint n_pages;
  } cases[] = {
    { 0, 0, 0 },
    { 0, 1, 1 },
    { PAGE - 1, 1, 1 },
    { PAGE - 1, 2, 2 },
    { 5 * PAGE, 3 * PAGE, 3 },
    { 7 * PAGE + 100, 9 * PAGE, 10 },
    { (guint64) LOG_LEN * 8 * PAGE - 1, 10 * PAGE, 1 }, /* the log ends */
    { (guint64) LOG_LEN * 8 * PAGE, 1, 0 },
    { G_MAXUINT64 - 4095, 4096, 0 },
  };

  for (guint i = 0; i < G_N_ELEMENTS (cases); i++) {
    Log log;

    log_init (&log, 100); /* an offset of no whole page */
    vd_dirty_mark (log.dirty, cases[i].gpa, cases[i].len);
    g_assert_cmpuint (count_dirty (&log), ==, cases[i].n_pages);
    if (cases[i].n_pages > 0)
      g_assert_true (is_dirty (&log, cases[i].gpa));
    log_clear (&log);
  }
}

static void
test_a_log_must_lie_in_its_file (void)
{
  g_autoptr (GError) error = NULL;
  vd_autofd fd = memfd_create ("log", MFD_CLOEXEC);

  g_assert_cmpint (ftruncate (fd, 4096), ==, 0);
  g_assert_null (vd_dirty_new (fd, 0, 4097, NULL));
  g_assert_null (vd_dirty_new (fd, 4097, 1, NULL));
  g_assert_null (vd_dirty_new (fd, G_MAXUINT64, 2, NULL));
  g_assert_null (vd_dirty_new (fd, 1, G_MAXUINT64, NULL));
  g_assert_null (vd_dirty_new (fd, 0, 0, NULL));
  g_assert_null (vd_dirty_new (STDIN_FILENO, 0, 1, &error));
  g_assert_nonnull (error);
}

static void
test_coverage_counts_whole_pages (void)
{
  Log log;

  log_init (&log, 0);
  g_assert_true (vd_dirty_covers (log.dirty, (guint64) LOG_LEN * 8 * PAGE));
  g_assert_false (
      vd_dirty_covers (log.dirty, (guint64) LOG_LEN * 8 * PAGE + 1));
  log_clear (&log);
}

static void
test_a_truncated_log_is_lost (void)
{
  Log log;

  log_init (&log, 0);
  g_assert_cmpint (ftruncate (log.fd, 0), ==, 0);
  vd_dirty_mark (log.dirty, 0, 1);
  g_assert_true (vd_dirty_is_lost (log.dirty));
  log_clear (&log);
}

/* Behind a queue. */

typedef struct {
  VtGuest *guest;
  VtRing *ring;
  VtEcho echo;
  VtQueueRig rig;
  Log log;
} Fixture;

static void
set_up (Fixture *f, gconstpointer data)
{
  f->guest = vt_guest_new (16 * MIB);
  f->ring =
      vt_ring_new (f->guest, 0, 64, (VtRingFlags) GPOINTER_TO_UINT (data));
  vt_queue_rig_init (&f->rig, f->guest, &vt_echo_ops, &f->echo);
  log_init (&f->log, 0);
}

static void
tear_down (Fixture *f, gconstpointer data)
{
  vt_queue_rig_clear (&f->rig);
  vt_ring_free (f->ring);
  vt_guest_free (f->guest);
  log_clear (&f->log);
}

/* Switches the log on or off under the running queue. */
static void
set_log (Fixture *f, gboolean on, gboolean ring)
{
  VdQueueCommand command = {
    .type = VD_QUEUE_MEMORY,
    .map = vd_map_ref (f->rig.map),
    .dirty = on ? vd_dirty_ref (f->log.dirty) : NULL,
    .value = ring,
  };

  g_assert_cmpint (vt_queue_rig_command (&f->rig, f->ring, &command), ==, 0);
  vd_map_unref (command.map);
  vd_dirty_unref (command.dirty);
}

/* One echo from page @out to page @in. */
static void
echo_once (Fixture *f, guint8 *out, guint8 *in, guint32 len)
{
  VtBuf bufs[] = { { out, len, FALSE }, { in, len, TRUE } };

  g_assert_true (vt_ring_add (f->ring, bufs, 2, f));
  vt_ring_kick (f->ring);
  g_assert_true (vt_ring_take (f->ring, NULL) == f);
}

static void
test_only_what_the_device_writes_is_marked (Fixture *f, gconstpointer data)
{
  guint8 *out = vt_guest_alloc (f->guest, 3 * PAGE, PAGE);
  guint8 *in = vt_guest_alloc (f->guest, 3 * PAGE, PAGE);

  vt_queue_rig_start (&f->rig, f->ring);
  echo_once (f, out, in, PAGE);
  g_assert_cmpuint (count_dirty (&f->log), ==, 0);
  set_log (f, TRUE, FALSE);
  echo_once (f, out, in + 1, 2 * PAGE);
  for (guint i = 0; i < 3; i++) {
    g_assert_true (is_dirty (&f->log, vt_guest_gpa (f->guest, in + i * PAGE)));
    g_assert_false (
        is_dirty (&f->log, vt_guest_gpa (f->guest, out + i * PAGE)));
  }
  g_assert_cmpuint (count_dirty (&f->log), ==, 3);
}

static void
test_the_used_ring_is_marked_if_asked_for (Fixture *f, gconstpointer data)
{
  guint8 *out = vt_guest_alloc (f->guest, PAGE, PAGE);
  guint64 used = vt_guest_gpa (f->guest, f->ring->used);

  vt_queue_rig_start (&f->rig, f->ring);
  set_log (f, TRUE, TRUE);
  echo_once (f, out, out, 1);
  g_assert_true (is_dirty (&f->log, used));
}

static void
test_nothing_is_marked_after_the_log_ended (Fixture *f, gconstpointer data)
{
  guint8 *at = vt_guest_alloc (f->guest, PAGE, PAGE);

  vt_queue_rig_start (&f->rig, f->ring);
  set_log (f, TRUE, TRUE);
  echo_once (f, at, at, 8);
  set_log (f, FALSE, TRUE);
  memset (f->log.bits, 0, LOG_LEN);
  echo_once (f, at, at, 8);
  g_assert_cmpuint (count_dirty (&f->log), ==, 0);
}

int
main (int argc, char **argv)
{
  const VtRingFlags all = VT_RING_EVENT_IDX | VT_RING_INDIRECT;

  g_test_init (&argc, &argv, NULL);
  g_test_add_func ("/vring/dirty/pages",
                   test_exactly_the_touched_pages_are_marked);
  g_test_add_func ("/vring/dirty/file", test_a_log_must_lie_in_its_file);
  g_test_add_func ("/vring/dirty/covers", test_coverage_counts_whole_pages);
  g_test_add_func ("/vring/dirty/truncated", test_a_truncated_log_is_lost);
#define ADD(name, func)                                                        \
  g_test_add ("/vring/dirty/queue/" name, Fixture, NULL, set_up, func,         \
              tear_down);                                                      \
  g_test_add ("/vring/dirty/queue-indirect/" name, Fixture,                    \
              GUINT_TO_POINTER (all), set_up, func, tear_down)
  ADD ("buffers", test_only_what_the_device_writes_is_marked);
  ADD ("ring", test_the_used_ring_is_marked_if_asked_for);
  ADD ("off", test_nothing_is_marked_after_the_log_ended);
  return g_test_run ();
}
