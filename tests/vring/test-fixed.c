/* SPDX-License-Identifier: BSD-3-Clause
 *
 * test-fixed.c - guest memory in the kernel's table of buffers: what is found
 * there, what moves through it, and what is left when it has gone
 */
#include "vring/fixed.h"

#include <errno.h>
#include <linux/capability.h>
#include <string.h>
#include <sys/mman.h>
#include <sys/resource.h>
#include <sys/syscall.h>
#include <unistd.h>

#include "tests/lib/pinned.h"
#include "tests/lib/queue-rig.h"

#define PAGE  4096u
#define MIB   (1ul << 20)
#define PIECE (16 * MIB)
#define GPA   (1ull << 32)
#define UVA   (1ull << 45)

typedef struct {
  VtGuest *guest;
  VdMap *map;
  struct io_uring ring;
  VdFixed *fixed; /* NULL: the test is skipped */
  int error;
  guint n_refused;
  int file; /* of a page */
} Fixture;

static void
on_refused (gpointer data, int error)
{
  Fixture *f = data;

  f->error = error;
  f->n_refused++;
}

static void
set_up (Fixture *f, gconstpointer data)
{
  f->guest = vt_guest_new (0);
  f->map = vd_map_new ();
  f->file = memfd_create ("file", MFD_CLOEXEC);
  g_assert_no_errno (f->file);
  if (!vt_may_pin (4 * PIECE))
    return;
  vt_wait_pinned (getpid (), 0); /* of the test before */
  g_assert_cmpint (io_uring_queue_init (8, &f->ring, 0), ==, 0);
  f->fixed = vd_fixed_new (&f->ring, on_refused, f);
  g_assert_nonnull (f->fixed);
}

static void
tear_down (Fixture *f, gconstpointer data)
{
  if (f->fixed) {
    vd_fixed_free (f->fixed);
    io_uring_queue_exit (&f->ring);
  }
  vd_map_unref (f->map);
  vt_guest_free (f->guest);
  close (f->file);
}

static VtRegion *
add (Fixture *f, guint i, gsize size)
{
  return vt_guest_add (f->guest, GPA + i * 256 * MIB, UVA + i * 256 * MIB, size,
                       0);
}

/* The table learns of the guest's present memory. */
static void
follow (Fixture *f)
{
  VdMap *next = vt_map_guest (f->guest, 0);

  vd_fixed_use (f->fixed, next);
  vd_map_unref (f->map);
  f->map = next;
}

static void
finish (Fixture *f)
{
  while (vd_fixed_is_pending (f->fixed))
    vd_fixed_step (f->fixed);
}

/* Returns: where the daemon has the byte. */
static guint8 *
at (Fixture *f, const VtRegion *region, gsize offset)
{
  guint64 len = 1;
  guint8 *hva = vd_map_gpa (f->map, region->gpa + offset, &len);

  g_assert_nonnull (hva);
  return hva;
}

static int
find (Fixture *f, const VtRegion *region, gsize offset, gsize len)
{
  return vd_fixed_find (f->fixed, at (f, region, offset), len);
}

static int
run (Fixture *f)
{
  struct io_uring_cqe *cqe;
  int res;

  g_assert_cmpint (io_uring_submit_and_wait (&f->ring, 1), ==, 1);
  g_assert_cmpint (io_uring_peek_cqe (&f->ring, &cqe), ==, 0);
  res = cqe->res;
  io_uring_cqe_seen (&f->ring, cqe);
  return res;
}

/* Writes a page of guest memory to the file by its registered buffer. */
static int
write_page (Fixture *f, const guint8 *page, int index)
{
  io_uring_prep_write_fixed (io_uring_get_sqe (&f->ring), f->file, page, PAGE,
                             0, index);
  return run (f);
}

static int
read_page (Fixture *f, guint8 *page, int index)
{
  io_uring_prep_read_fixed (io_uring_get_sqe (&f->ring), f->file, page, PAGE, 0,
                            index);
  return run (f);
}

static void
test_bytes_are_found_in_one_piece (Fixture *f, gconstpointer data)
{
  VtRegion *region;
  int first;

  if (!f->fixed)
    return;
  region = add (f, 0, 2 * PIECE + 5 * PAGE);
  follow (f);
  g_assert_cmpint (find (f, region, 0, PAGE), ==, -1); /* not yet */
  finish (f);
  first = find (f, region, 0, 1);
  g_assert_cmpint (first, >=, 0);
  g_assert_cmpint (find (f, region, 0, PIECE), ==, first);
  g_assert_cmpint (find (f, region, PIECE - 1, 1), ==, first);
  g_assert_cmpint (find (f, region, PIECE - 1, 2), ==, -1);
  g_assert_cmpint (find (f, region, PIECE, PIECE), ==, first + 1);
  g_assert_cmpint (find (f, region, 2 * PIECE, 5 * PAGE), ==, first + 2);
  g_assert_cmpint (find (f, region, 2 * PIECE, 5 * PAGE + 1), ==, -1);
  g_assert_cmpint (find (f, region, 2 * PIECE, G_MAXSIZE), ==, -1);
  g_assert_cmpint (vd_fixed_find (f->fixed, at (f, region, 0) - 1, 1), ==, -1);
  g_assert_cmpint (vd_fixed_find (f->fixed, f, 1), ==, -1);
  g_assert_cmpuint (f->n_refused, ==, 0);
}

/* While requests may go on: each step is short, and what is ready is used. */
static void
test_pieces_are_ready_one_by_one (Fixture *f, gconstpointer data)
{
  VtRegion *region;
  guint n_steps = 0, when_first = 0;

  if (!f->fixed)
    return;
  region = add (f, 0, 3 * PIECE);
  follow (f);
  while (vd_fixed_is_pending (f->fixed)) {
    vd_fixed_step (f->fixed);
    n_steps++;
    if (!when_first && find (f, region, 0, PAGE) >= 0)
      when_first = n_steps;
    g_assert_true (find (f, region, 2 * PIECE, PAGE) < 0 || when_first > 0);
  }
  g_assert_cmpuint (when_first, >, 10);
  g_assert_cmpuint (when_first, <=, n_steps / 3 + 1);
}

static void
test_data_move_by_registered_buffers (Fixture *f, gconstpointer data)
{
  VtRegion *region;
  guint8 page[PAGE];
  int index;

  if (!f->fixed)
    return;
  region = add (f, 0, PIECE + MIB);
  follow (f);
  finish (f);
  index = find (f, region, PIECE + 3 * PAGE, PAGE);
  memset (region->ptr + PIECE + 3 * PAGE, 0x5a, PAGE);
  g_assert_cmpint (write_page (f, at (f, region, PIECE + 3 * PAGE), index), ==,
                   PAGE);
  memset (page, 0x5a, PAGE);
  memset (region->ptr, 0, PAGE);
  g_assert_cmpint (read_page (f, at (f, region, 0), find (f, region, 0, PAGE)),
                   ==, PAGE);
  g_assert_cmpmem (region->ptr, PAGE, page, PAGE);
}

static void
test_memory_that_stays_stays_registered (Fixture *f, gconstpointer data)
{
  VtRegion *first, *second;
  guint8 *gone;
  int index, stale;

  if (!f->fixed)
    return;
  first = add (f, 1, 4 * MIB);
  follow (f);
  finish (f);
  vt_wait_pinned (getpid (), 4 * MIB);
  stale = find (f, first, 0, PAGE);
  second = add (f, 0, 2 * MIB);
  follow (f);
  g_assert_cmpint (find (f, first, 0, PAGE), ==, stale); /* without a step */
  g_assert_cmpint (find (f, second, 0, PAGE), ==, -1);
  finish (f);
  index = find (f, second, 0, PAGE);
  g_assert_cmpint (index, >=, 0);
  g_assert_cmpint (index, !=, stale);
  vt_wait_pinned (getpid (), 6 * MIB);

  /* A request was prepared when its memory leaves. */
  gone = at (f, first, 0);
  io_uring_prep_write_fixed (io_uring_get_sqe (&f->ring), f->file, gone, PAGE,
                             0, stale);
  vt_guest_remove (f->guest, first);
  follow (f);
  g_assert_cmpint (vd_fixed_find (f->fixed, gone, PAGE), ==, -1);
  g_assert_cmpint (run (f), ==, -EFAULT);
  g_assert_cmpint (find (f, second, 0, PAGE), ==, index);
  vt_wait_pinned (getpid (), 2 * MIB);
  vd_fixed_use (f->fixed, NULL);
  vt_wait_pinned (getpid (), 0);
}

/* Fills the page with what is nowhere else and writes it by its buffer. */
static void
check_page (Fixture *f, VtRegion *region, gsize offset)
{
  guint32 *words = (guint32 *) (void *) (region->ptr + offset);
  guint32 written[PAGE / sizeof (guint32)];
  int index = find (f, region, offset, PAGE);

  g_assert_cmpint (index, >=, 0);
  for (guint i = 0; i < G_N_ELEMENTS (written); i++)
    words[i] = g_test_rand_int ();
  g_assert_cmpint (write_page (f, at (f, region, offset), index), ==, PAGE);
  g_assert_cmpint (pread (f->file, written, PAGE, 0), ==, PAGE);
  g_assert_cmpmem (written, PAGE, words, PAGE);
}

static void
test_any_sequence_of_changes_is_followed (Fixture *f, gconstpointer data)
{
  enum { N = 24 };
  VtRegion *regions[N] = { NULL };

  for (guint round = 0; f->fixed && round < 150; round++) {
    for (guint n = (guint) g_test_rand_int_range (1, 5); n > 0; n--) {
      guint i = (guint) g_test_rand_int_range (0, N);

      if (regions[i]) {
        vt_guest_remove (f->guest, regions[i]);
        regions[i] = NULL;
      } else
        regions[i] = add (f, i, (gsize) g_test_rand_int_range (1, 100) * PAGE);
    }
    follow (f);
    if (round % 3 > 0) /* else the next change meets an unfinished table */
      finish (f);
    for (guint i = 0; i < N && round % 3 > 0; i++)
      if (regions[i]) {
        check_page (f, regions[i], 0);
        check_page (f, regions[i], regions[i]->size - PAGE);
      }
  }
  g_assert_cmpuint (f->n_refused, ==, 0);
}

/* Sets which capabilities this thread may use. */
static void
set_effective (guint64 caps)
{
  struct __user_cap_header_struct header = { _LINUX_CAPABILITY_VERSION_3, 0 };
  struct __user_cap_data_struct cap[2];

  g_assert_no_errno (syscall (SYS_capget, &header, cap));
  cap[0].effective = cap[0].permitted & (guint32) caps;
  cap[1].effective = cap[1].permitted & (guint32) (caps >> 32);
  g_assert_no_errno (syscall (SYS_capset, &header, cap));
}

/* Nothing is registered, which was told once. */
static void
check_refused (Fixture *f, VtRegion *region, int error)
{
  finish (f);
  g_assert_cmpuint (f->n_refused, ==, 1);
  g_assert_cmpint (f->error, ==, error);
  g_assert_cmpint (find (f, region, 0, PAGE), ==, -1);
  vt_wait_pinned (getpid (), 0);
  vd_fixed_use (f->fixed, f->map); /* another queue of the same memory */
  g_assert_false (vd_fixed_is_pending (f->fixed));
}

static void
test_what_may_not_be_pinned_is_told_once (Fixture *f, gconstpointer data)
{
  struct rlimit limit, low;
  VtRegion *region;

  if (!f->fixed)
    return;
  vd_fixed_free (f->fixed);
  io_uring_queue_exit (&f->ring);
  g_assert_no_errno (getrlimit (RLIMIT_MEMLOCK, &limit));
  low = limit;
  low.rlim_cur = 2 * PIECE + MIB;
  if (low.rlim_max != RLIM_INFINITY)
    low.rlim_cur = MIN (low.rlim_cur, low.rlim_max);
  set_effective (~(1ull << CAP_IPC_LOCK));
  g_assert_no_errno (setrlimit (RLIMIT_MEMLOCK, &low));
  g_assert_cmpint (io_uring_queue_init (8, &f->ring, 0), ==, 0);
  f->fixed = vd_fixed_new (&f->ring, on_refused, f);
  g_assert_nonnull (f->fixed);
  region = add (f, 0, 3 * PIECE);
  follow (f);
  check_refused (f, region, ENOMEM);
  g_assert_no_errno (setrlimit (RLIMIT_MEMLOCK, &limit));
  set_effective (G_MAXUINT64);
}

static void
test_memory_without_pages_is_refused (Fixture *f, gconstpointer data)
{
  VtRegion *region;

  if (!f->fixed)
    return;
  region = add (f, 0, 2 * PIECE);
  follow (f);
  g_assert_no_errno (ftruncate (region->fd, PIECE + MIB));
  check_refused (f, region, EFAULT);
}

int
main (int argc, char **argv)
{
#define ADD(path, func)                                                        \
  g_test_add ("/fixed/" path, Fixture, NULL, set_up, func, tear_down)

  g_test_init (&argc, &argv, NULL);
  ADD ("find", test_bytes_are_found_in_one_piece);
  ADD ("steps", test_pieces_are_ready_one_by_one);
  ADD ("data", test_data_move_by_registered_buffers);
  ADD ("change", test_memory_that_stays_stays_registered);
  ADD ("changes", test_any_sequence_of_changes_is_followed);
  ADD ("refused/limit", test_what_may_not_be_pinned_is_told_once);
  ADD ("refused/lost", test_memory_without_pages_is_refused);
  return g_test_run ();
}
