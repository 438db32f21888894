/* SPDX-License-Identifier: BSD-3-Clause
 *
 * test-sigbus.c - what vring/sigbus.c promises
 */
#include "vring/sigbus.h"

#include <errno.h>
#include <string.h>
#include <sys/mman.h>
#include <unistd.h>

#include "vring/fd.h"
#include "vring/map.h"

#define LEN (256 * 1024)

static int
memory_fd (void)
{
  int fd = memfd_create ("test", MFD_CLOEXEC);

  g_assert_cmpint (fd, >=, 0);
  g_assert_cmpint (ftruncate (fd, LEN), ==, 0);
  return fd;
}

static VdMap *
map_with (int fd, guint64 gpa)
{
  const VdRegionInfo info = { .gpa = gpa, .size = LEN, .uva = 0x10000 + gpa };
  g_autoptr (VdMap) empty = vd_map_new ();
  g_autoptr (GError) error = NULL;
  VdMap *map = vd_map_add (empty, &info, fd, &error);

  g_assert_no_error (error);
  return map;
}

static void
test_truncated_memory_reads_zero_and_is_lost (void)
{
  vd_autofd fd = memory_fd ();
  g_autoptr (VdMap) map = map_with (fd, 0);
  guint before = vd_guard_generation ();
  guint64 len = LEN;
  volatile guint8 *bytes = vd_map_gpa (map, 0, &len);

  g_assert_cmpuint (len, ==, LEN);
  bytes[LEN - 1] = 7;
  g_assert_false (vd_map_is_lost (map));
  g_assert_cmpint (ftruncate (fd, 4096), ==, 0);
  g_assert_cmpuint (bytes[LEN - 1], ==, 0);
  bytes[LEN / 2] = 1;
  g_assert_true (vd_map_is_lost (map));
  g_assert_cmpuint (vd_guard_generation (), !=, before);
}

/* As after a system call that got EFAULT. */
static void
test_touching_a_map_finds_what_is_lost (void)
{
  vd_autofd whole = memory_fd (), fd = memory_fd ();
  g_autoptr (VdMap) map = map_with (fd, 0);
  g_autoptr (VdMap) other = map_with (whole, 0);

  vd_map_touch (map);
  g_assert_false (vd_map_is_lost (map));
  g_assert_cmpint (ftruncate (fd, LEN - 4096), ==, 0);
  g_assert_false (vd_map_is_lost (map));
  vd_map_touch (map);
  vd_map_touch (other);
  g_assert_true (vd_map_is_lost (map));
  g_assert_false (vd_map_is_lost (other));
}

static void
test_other_memory_is_not_lost (void)
{
  vd_autofd fd = memory_fd ();
  vd_autofd other_fd = memory_fd ();
  g_autoptr (VdMap) map = map_with (fd, 0);
  g_autoptr (VdMap) other = map_with (other_fd, 0);
  guint64 len = LEN;
  volatile guint8 *bytes = vd_map_gpa (map, 0, &len);
  volatile guint8 *others = vd_map_gpa (other, 0, &len);

  others[0] = 42;
  g_assert_cmpint (ftruncate (fd, 0), ==, 0);
  g_assert_cmpuint (bytes[0], ==, 0);
  g_assert_true (vd_map_is_lost (map));
  g_assert_false (vd_map_is_lost (other));
  g_assert_cmpuint (others[0], ==, 42);
}

static void
test_a_lost_mapping_is_not_shared (void)
{
  vd_autofd fd = memory_fd ();
  g_autoptr (VdMap) map = map_with (fd, 0);
  guint64 len = LEN;
  volatile guint8 *bytes = vd_map_gpa (map, 0, &len);

  g_assert_cmpint (ftruncate (fd, 0), ==, 0);
  g_assert_cmpuint (bytes[0], ==, 0);
  g_assert_cmpint (ftruncate (fd, LEN), ==, 0);

  g_autoptr (VdMap) again = map_with (fd, 0);
  g_assert_false (vd_map_is_lost (again));
  g_assert_true (vd_map_is_lost (map));
}

/* A driver's ring may be looked at while a system call waits for its data. */
static void
test_taken_memory_is_no_zeroes_to_system_calls (void)
{
  vd_autofd fd = memory_fd (), file = memory_fd ();
  guint8 *bytes = mmap (NULL, LEN, PROT_READ | PROT_WRITE, MAP_SHARED, fd, 0);
  VdGuard *guard = vd_guard_new (bytes, LEN);
  gsize page = (gsize) getpagesize ();

  vd_guard_lose (guard);
  g_assert_true (vd_guard_is_lost (guard));
  g_assert_cmpint (ftruncate (fd, 0), ==, 0);
  g_assert_cmpuint (((volatile guint8 *) bytes)[2 * page + 1], ==, 0);
  g_assert_cmpint (pwrite (file, bytes + 2 * page, page, 0), ==, page);
  for (gsize at = 0; at < LEN; at += page)
    if (at != 2 * page) {
      g_assert_cmpint (pwrite (file, bytes + at, page, 0), ==, -1);
      g_assert_cmpint (errno, ==, EFAULT);
    }
  vd_guard_free (guard);
  munmap (bytes, LEN);
}

/* What is not guest memory still kills: a bug must not be hidden. */
static void
test_other_faults_are_fatal (void)
{
  vd_autofd fd = memory_fd ();
  volatile guint8 *bytes;

  if (g_test_subprocess ()) {
    g_autoptr (VdMap) map = map_with (fd, 0); /* installs the handler */

    g_assert_nonnull (map);
    bytes = mmap (NULL, LEN, PROT_READ, MAP_SHARED, fd, 0);
    g_assert_true (bytes != MAP_FAILED);
    g_assert_cmpint (ftruncate (fd, 0), ==, 0);
    g_print ("%u", bytes[0]);
    _exit (0);
  }
  g_test_trap_subprocess (NULL, 0, G_TEST_SUBPROCESS_DEFAULT);
  g_test_trap_assert_failed ();
}

int
main (int argc, char **argv)
{
  g_test_init (&argc, &argv, NULL);
  g_test_add_func ("/vring/sigbus/truncated",
                   test_truncated_memory_reads_zero_and_is_lost);
  g_test_add_func ("/vring/sigbus/touch",
                   test_touching_a_map_finds_what_is_lost);
  g_test_add_func ("/vring/sigbus/other", test_other_memory_is_not_lost);
  g_test_add_func ("/vring/sigbus/not-shared",
                   test_a_lost_mapping_is_not_shared);
  g_test_add_func ("/vring/sigbus/taken",
                   test_taken_memory_is_no_zeroes_to_system_calls);
  g_test_add_func ("/vring/sigbus/fatal", test_other_faults_are_fatal);
  return g_test_run ();
}
