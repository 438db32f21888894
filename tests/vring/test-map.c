/* SPDX-License-Identifier: BSD-3-Clause
 *
 * test-map.c - what vring/map.c promises of guest memory
 */
#include "vring/map.h"

#include <fcntl.h>
#include <stdio.h>
#include <string.h>
#include <sys/mman.h>
#include <unistd.h>

#include "vring/fd.h"

#define MIB (1ull << 20)

static int
memory_file (gsize size)
{
  int fd = memfd_create ("map", MFD_CLOEXEC);

  g_assert_no_errno (fd);
  g_assert_no_errno (ftruncate (fd, size));
  return fd;
}

static VdRegionInfo
info (guint64 gpa, guint64 uva, guint64 size, guint64 offset)
{
  return (
      VdRegionInfo){ .gpa = gpa, .size = size, .uva = uva, .offset = offset };
}

/* Replaces *@map by one with a region more. */
static void
add (VdMap **map, VdRegionInfo region, int fd)
{
  g_autoptr (GError) error = NULL;
  VdMap *next = vd_map_add (*map, &region, fd, &error);

  g_assert_no_error (error);
  vd_map_unref (*map);
  *map = next;
}

static void
test_addresses_are_translated_by_kind (void)
{
  g_autoptr (VdMap) map = vd_map_new ();
  vd_autofd low = memory_file (MIB), high = memory_file (MIB);
  guint64 len = 100, gpa = 0;
  guint8 *at;

  add (&map, info (0x40000000, 0x7f0000000000, MIB, 0), high);
  add (&map, info (0x100000, 0x7e0000000000, MIB, 0), low);
  g_assert_cmpuint (vd_map_n_regions (map), ==, 2);

  at = vd_map_gpa (map, 0x100010, &len);
  g_assert_nonnull (at);
  g_assert_cmpuint (len, ==, 100);
  memcpy (at, "guest", 6);
  at = vd_map_uva (map, 0x7e0000000010, 6, &gpa);
  g_assert_cmpstr ((char *) at, ==, "guest");
  g_assert_cmphex (gpa, ==, 0x100010);
  g_assert_null (vd_map_gpa (map, 0x7e0000000010, &len));
  g_assert_null (vd_map_uva (map, 0x100010, 1, NULL));
}

static void
test_translation_stops_at_the_end_of_a_region (void)
{
  g_autoptr (VdMap) map = vd_map_new ();
  vd_autofd fd = memory_file (MIB);
  guint64 len = G_MAXUINT64;

  add (&map, info (0x100000, 0x100000, MIB, 0), fd);
  g_assert_nonnull (vd_map_gpa (map, 0x1ffff0, &len));
  g_assert_cmpuint (len, ==, 16);
  g_assert_null (vd_map_gpa (map, 0x200000, &len));
  g_assert_null (vd_map_gpa (map, 0xfffff, &len));
  g_assert_null (vd_map_gpa (map, G_MAXUINT64, &len));

  /* A ring must lie there as a whole. */
  g_assert_nonnull (vd_map_uva (map, 0x1ffff0, 16, NULL));
  g_assert_null (vd_map_uva (map, 0x1ffff0, 17, NULL));
  g_assert_null (vd_map_uva (map, 0x1ffff0, G_MAXUINT64, NULL));
  g_assert_null (vd_map_uva (map, 0x200000, 0, NULL));
}

static void
test_front_end_addresses_are_translated_in_parts (void)
{
  g_autoptr (VdMap) map = vd_map_new ();
  vd_autofd fd = memory_file (MIB);
  guint64 len = 100, gpa = 0;
  guint8 *at;

  add (&map, info (0x100000, 0x7e0000000000, MIB, 0), fd);
  at = vd_map_uva_part (map, 0x7e00000ffff0, &len, &gpa);
  g_assert_true (at == vd_map_uva (map, 0x7e00000ffff0, 16, NULL));
  g_assert_cmpuint (len, ==, 16);
  g_assert_cmphex (gpa, ==, 0x1ffff0);
  g_assert_null (vd_map_uva_part (map, 0x7e0000100000, &len, &gpa));
  g_assert_null (vd_map_uva_part (map, 0x7dffffffffff, &len, &gpa));
}

static void
test_bad_regions_are_refused (void)
{
  static const struct {
    guint64 gpa, uva, size, offset;
    const char *why;
  } cases[] = {
    { 0x800000, 0x400000, 0, 0, "*empty*" },
    { 0x800000, 0x400000, MIB + 1, 0, "*beyond its file*" },
    { 0x800000, 0x400000, MIB, 4096, "*beyond its file*" },
    { 0x800000, 0x400000, 4096, MIB, "*beyond its file*" },
    { 0x800000, 0x400000, 4096, 1ull << 62, "*beyond its file*" },
    { 0x800000, 0x400000, 4096, G_MAXUINT64 - 4095, "*wraps*" },
    { 0x800000, 0x400000, G_MAXUINT64, 0, "*wraps*" },
    { G_MAXUINT64 - 4095, 0x400000, 8192, 0, "*wraps*" },
    { 0x800000, G_MAXUINT64 - 4095, 8192, 0, "*wraps*" },
    { 0x100000, 0x400000, 4096, 0, "*overlaps*" }, /* same start */
    { 0x1ff000, 0x400000, 8192, 0, "*overlaps*" }, /* begins inside */
    { 0x0ff000, 0x400000, 8192, 0, "*overlaps*" }, /* ends inside */
    { 0x0ff000, 0x400000, MIB, 0, "*overlaps*" },
    { 0x800000, 0x900000, 4096, 0, "*overlaps*" }, /* the front-end's address */
  };
  g_autoptr (VdMap) map = vd_map_new ();
  vd_autofd fd = memory_file (MIB);

  add (&map, info (0x100000, 0x900000, MIB, 0), fd);
  for (guint i = 0; i < G_N_ELEMENTS (cases); i++) {
    g_autoptr (GError) error = NULL;
    VdRegionInfo region =
        info (cases[i].gpa, cases[i].uva, cases[i].size, cases[i].offset);

    g_assert_null (vd_map_add (map, &region, fd, &error));
    g_assert_nonnull (error);
    if (!g_pattern_match_simple (cases[i].why, error->message))
      g_error ("case %u: %s", i, error->message);
  }
  g_assert_cmpuint (vd_map_n_regions (map), ==, 1);
}

static void
test_descriptors_that_are_no_memory_are_refused (void)
{
  g_autoptr (VdMap) map = vd_map_new ();
  VdRegionInfo region = info (0, 0x10000, 4096, 0);
  vd_autofd null = open ("/dev/null", O_RDWR | O_CLOEXEC);
  vd_autofd readable = open ("/proc/self/exe", O_RDONLY | O_CLOEXEC);
  const int fds[] = { null, readable, -1 };

  for (guint i = 0; i < G_N_ELEMENTS (fds); i++) {
    g_autoptr (GError) error = NULL;

    g_assert_null (vd_map_add (map, &region, fds[i], &error));
    g_assert_nonnull (error);
  }
}

/* libblkio's regions are. */
static void
test_unaligned_region_is_mapped (void)
{
  g_autoptr (VdMap) map = vd_map_new ();
  vd_autofd fd = memory_file (3 * 4096 + 0x620);
  guint64 len = 0x7000;
  guint8 *at;

  g_assert_cmpint (pwrite (fd, "here", 5, 4096 + 0x10), ==, 5);
  add (&map, info (0x5010, 0x7010, 2 * 4096 + 0x610, 4096 + 0x10), fd);
  at = vd_map_gpa (map, 0x5010, &len);
  g_assert_cmpstr ((char *) at, ==, "here");
  g_assert_cmpuint (len, ==, 2 * 4096 + 0x610);
  at[len - 1] = 'x';
  g_assert_cmpint (pread (fd, at, 1, 3 * 4096 + 0x61f), ==, 1);
  g_assert_cmpint (at[0], ==, 'x');
}

static guint
count_mappings (void)
{
  g_autofree char *text = NULL;
  guint n = 0;

  g_assert_true (g_file_get_contents ("/proc/self/maps", &text, NULL, NULL));
  for (const char *at = text; (at = strstr (at, "memfd:map")); at++)
    n++;
  return n;
}

/* A guest has many devices and one memory. */
static void
test_same_memory_is_mapped_once (void)
{
  vd_autofd fd = memory_file (4 * MIB);
  vd_autofd other = dup (fd);
  VdMap *a = vd_map_new (), *b = vd_map_new ();
  guint64 len = 1;

  add (&a, info (0, 0x10000000, MIB, MIB), fd);
  add (&b, info (0x500000, 0x20000000, MIB, MIB), other);
  g_assert_cmpuint (count_mappings (), ==, 1);
  g_assert_true (vd_map_gpa (a, 7, &len) == vd_map_gpa (b, 0x500007, &len));
  add (&b, info (0x900000, 0x30000000, MIB, 2 * MIB), other);
  g_assert_cmpuint (count_mappings (), ==, 2);
  vd_map_unref (a);
  g_assert_cmpuint (count_mappings (), ==, 2);
  vd_map_unref (b);
  g_assert_cmpuint (count_mappings (), ==, 0);
}

static void
test_removal_leaves_the_old_map_alone (void)
{
  vd_autofd fd = memory_file (4 * MIB);
  g_autoptr (VdMap) map = vd_map_new ();
  g_autoptr (VdMap) without = NULL;
  g_autoptr (GError) error = NULL;
  VdRegionInfo region = info (MIB, 0x10000000, MIB, MIB), wrong = region;
  guint64 len = 1;

  add (&map, info (0, 0x20000000, MIB, 0), fd);
  add (&map, region, fd);
  add (&map, info (2 * MIB, 0x30000000, MIB, 2 * MIB), fd);
  wrong.uva++;
  g_assert_null (vd_map_remove (map, &wrong, &error));
  g_assert_nonnull (error);

  without = vd_map_remove (map, &region, NULL);
  g_assert_cmpuint (vd_map_n_regions (without), ==, 2);
  g_assert_null (vd_map_gpa (without, MIB, &len));
  g_assert_nonnull (vd_map_gpa (without, MIB - 1, &len));
  g_assert_nonnull (vd_map_gpa (without, 2 * MIB, &len));
  memset (vd_map_gpa (map, MIB, &len), 1, 1); /* still mapped */
}

static void
test_many_small_regions (void)
{
  vd_autofd fd = memory_file ((VD_MAP_REGIONS_MAX + 1) * 4096);
  g_autoptr (VdMap) map = vd_map_new ();
  g_autoptr (GError) error = NULL;
  VdRegionInfo more = info (G_MAXUINT32, G_MAXUINT32, 4096, 0);

  for (guint i = 0; i < VD_MAP_REGIONS_MAX; i++) {
    guint64 at = (i * 101 % VD_MAP_REGIONS_MAX) * 8192;

    add (&map, info (at, at + 0x1000000, 4096, at / 2), fd);
  }
  g_assert_null (vd_map_add (map, &more, fd, &error));
  g_assert_nonnull (error);
  for (guint i = 0; i < VD_MAP_REGIONS_MAX; i++) {
    guint64 len = 8192;
    guint32 *at = vd_map_gpa (map, i * 8192, &len), value = 0;

    g_assert_cmpuint (len, ==, 4096);
    *at = i;
    g_assert_cmpint (pread (fd, &value, 4, i * 4096), ==, 4);
    g_assert_cmpuint (value, ==, i);
    g_assert_null (vd_map_gpa (map, i * 8192 + 4096, &len));
  }
}

static void
touch (volatile guint8 *at)
{
  *at = 1;
}

/* A bug that runs over the end of a region hits no other memory. */
static void
test_regions_stand_between_guards (gconstpointer data)
{
  if (g_test_subprocess ()) {
    vd_autofd fd = memory_file (MIB);
    g_autoptr (VdMap) map = vd_map_new ();
    guint64 len = 1;
    guint8 *start;

    add (&map, info (0, 0, MIB, 0), fd);
    start = vd_map_gpa (map, 0, &len);
    touch (start);
    touch (start + MIB - 1);
    g_print ("inside\n");
    fflush (stdout);
    touch (start + GPOINTER_TO_INT (data));
    g_print ("outside\n");
    return;
  }
  g_test_trap_subprocess (NULL, 0, 0);
  g_test_trap_assert_failed ();
  g_test_trap_assert_stdout ("*inside*");
  g_test_trap_assert_stdout_unmatched ("*outside*");
}

int
main (int argc, char **argv)
{
  g_test_init (&argc, &argv, NULL);
  g_test_add_func ("/map/translate/kinds",
                   test_addresses_are_translated_by_kind);
  g_test_add_func ("/map/translate/end",
                   test_translation_stops_at_the_end_of_a_region);
  g_test_add_func ("/map/translate/parts",
                   test_front_end_addresses_are_translated_in_parts);
  g_test_add_func ("/map/refuse/regions", test_bad_regions_are_refused);
  g_test_add_func ("/map/refuse/descriptors",
                   test_descriptors_that_are_no_memory_are_refused);
  g_test_add_func ("/map/unaligned", test_unaligned_region_is_mapped);
  g_test_add_func ("/map/shared", test_same_memory_is_mapped_once);
  g_test_add_func ("/map/remove", test_removal_leaves_the_old_map_alone);
  g_test_add_func ("/map/many", test_many_small_regions);
  g_test_add_data_func ("/map/guard/before", GINT_TO_POINTER (-1),
                        test_regions_stand_between_guards);
  g_test_add_data_func ("/map/guard/after", GINT_TO_POINTER (MIB),
                        test_regions_stand_between_guards);
  return g_test_run ();
}
