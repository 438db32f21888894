/* SPDX-License-Identifier: BSD-3-Clause
 *
 * test-hostile-memory.c - attacks by memory tables, slots and their files
 */
#include <fcntl.h>
#include <string.h>
#include <sys/mman.h>
#include <sys/socket.h>
#include <unistd.h>

#include "tests/wire/hostile.h"
#include "vring/fd.h"

#define FILE_SIZE 0x10000 /* of the file that most regions name */
#define PAGE      0x1000

/* A table with room for one region more than is legal. */
typedef struct {
  VdWireMemTable header;
  VdWireRegion regions[VD_MEM_TABLE_MAX + 1];
} Table;

/* Region @i of a table of good ones, each of a page. */
static VdWireRegion
good_region (guint i)
{
  return (VdWireRegion){
    .gpa = 0x100000 + i * PAGE,
    .size = PAGE,
    .uva = 0x7f0000000000 + i * PAGE,
    .offset = i % (FILE_SIZE / PAGE) * PAGE,
  };
}

/* @n_regions: what the table says; @n_sent: how many it has */
static VtOutcome
try_table (VtAttack *a, const VdWireRegion *regions, guint32 n_regions,
           guint n_sent, int fd, guint n_fds)
{
  Table table = { .header = { .n_regions = n_regions } };
  int fds[VD_MESSAGE_FDS];

  for (guint i = 0; i < n_sent; i++)
    table.regions[i] = regions != NULL ? regions[i] : good_region (i);
  for (guint i = 0; i < n_fds; i++)
    fds[i] = fd;
  return vt_attack_try (a, VD_SET_MEM_TABLE, &table,
                        sizeof table.header + n_sent * sizeof (VdWireRegion),
                        fds, n_fds);
}

/* Both ways to share one region refuse it. */
static void
assert_refused (VtAttack *a, VdWireRegion region, int fd)
{
  g_assert_cmpint (try_table (a, &region, 1, 1, fd, 1), ==, VT_NACKED);
  g_assert_cmpint (vt_attack_try_slot (a, VD_ADD_MEM_REG, &region, fd), ==,
                   VT_NACKED);
}

static void
wild_numbers_of_regions (VtAttack *a)
{
  const guint32 wild[] = { 0,          9,          20,         127,
                           0x08000000, 0x0fffffff, 0x7fffffff, G_MAXUINT32 };
  vd_autofd fd = vt_attack_new_file (FILE_SIZE);

  vt_attack_hello (a);
  for (guint i = 0; i < G_N_ELEMENTS (wild); i++)
    for (guint n_fds = 0; n_fds <= VD_MESSAGE_FDS; n_fds++) {
      g_assert_cmpint (try_table (a, NULL, wild[i], 8, fd, n_fds), ==,
                       VT_NACKED);
      g_assert_cmpint (try_table (a, NULL, wild[i], 1, fd, n_fds), ==,
                       VT_NACKED);
    }
}

static void
nine_regions_with_eight_descriptors (VtAttack *a)
{
  vd_autofd fd = vt_attack_new_file (FILE_SIZE);

  vt_attack_hello (a);
  g_assert_cmpint (try_table (a, NULL, 9, 9, fd, 8), ==, VT_NACKED);
  g_assert_cmpint (try_table (a, NULL, 8, 9, fd, 8), ==, VT_ACKED);
}

/* One daemon closed its own descriptors 0 and 1 then. */
static void
eight_regions_without_descriptors (VtAttack *a)
{
  vd_autofd fd = vt_attack_new_file (FILE_SIZE);

  vt_attack_hello (a);
  g_assert_cmpint (try_table (a, NULL, 8, 8, -1, 0), ==, VT_NACKED);
  vt_daemon_wait_log (a->daemon, "share=on");
  for (guint n_fds = 0; n_fds < 8; n_fds++)
    g_assert_cmpint (try_table (a, NULL, 8, 8, fd, n_fds), ==, VT_NACKED);
  g_assert_cmpint (try_table (a, NULL, 1, 1, fd, 2), ==, VT_NACKED);
}

static void
no_answer_wanted (VtAttack *a)
{
  Table table = { .header = { .n_regions = G_MAXUINT32 } };

  vt_attack_hello (a);
  vt_send (a->fe, VD_SET_MEM_TABLE, VD_WIRE_VERSION, &table, sizeof table, NULL,
           0);
  g_assert_cmpuint (vt_wait_closed (a->fe), ==, 0);
}

static void
regions_beyond_their_file (VtAttack *a)
{
  const VdWireRegion regions[] = {
    { .gpa = PAGE, .size = FILE_SIZE + 1, .uva = PAGE },
    { .gpa = PAGE, .size = FILE_SIZE + PAGE, .uva = PAGE },
    { .gpa = PAGE, .size = 1ull << 40, .uva = PAGE },
    { .gpa = PAGE, .size = 1ull << 62, .uva = PAGE },
    { .gpa = PAGE, .size = PAGE, .uva = PAGE, .offset = FILE_SIZE },
    { .gpa = PAGE, .size = FILE_SIZE, .uva = PAGE, .offset = PAGE },
    { .gpa = PAGE, .size = PAGE, .uva = PAGE, .offset = 1ull << 62 },
  };
  vd_autofd fd = vt_attack_new_file (FILE_SIZE);

  vt_attack_hello (a);
  for (guint i = 0; i < G_N_ELEMENTS (regions); i++)
    assert_refused (a, regions[i], fd);
}

static void
regions_that_wrap_or_are_empty (VtAttack *a)
{
  const guint64 top = G_MAXUINT64 - PAGE + 1;
  const VdWireRegion regions[] = {
    { .gpa = PAGE, .size = 0, .uva = PAGE },
    { .gpa = top, .size = 2 * PAGE, .uva = PAGE },
    { .gpa = G_MAXUINT64, .size = PAGE, .uva = PAGE },
    { .gpa = PAGE, .size = 2 * PAGE, .uva = top },
    { .gpa = PAGE, .size = PAGE, .uva = G_MAXUINT64 },
    { .gpa = PAGE, .size = PAGE, .uva = PAGE, .offset = top },
    { .gpa = PAGE, .size = PAGE, .uva = PAGE, .offset = G_MAXUINT64 },
    { .gpa = PAGE, .size = PAGE, .uva = PAGE, .offset = 1ull << 63 },
    { .gpa = PAGE, .size = G_MAXUINT64, .uva = 0, .offset = 0 },
    { .gpa = 0, .size = G_MAXUINT64, .uva = 0, .offset = PAGE },
    { .gpa = 0, .size = 1ull << 63, .uva = 0, .offset = 1ull << 63 },
  };
  vd_autofd fd = vt_attack_new_file (FILE_SIZE);

  vt_attack_hello (a);
  for (guint i = 0; i < G_N_ELEMENTS (regions); i++)
    assert_refused (a, regions[i], fd);
}

static void
regions_that_overlap (VtAttack *a)
{
  const VdWireRegion first = { 0x100000, 4 * PAGE, 0x700000, 0 };
  const VdWireRegion others[] = {
    first,
    { 0x100000, PAGE, 0x800000, 0 },                   /* gpa: start */
    { 0x100000 + 3 * PAGE, PAGE, 0x800000, 0 },        /* gpa: end */
    { 0x100000 - PAGE, 2 * PAGE, 0x800000, 0 },        /* gpa: into it */
    { 0x100000 - PAGE, 8 * PAGE, 0x800000, 0 },        /* gpa: around it */
    { 0x200000, PAGE, 0x700000 + PAGE, 0 },            /* uva: inside */
    { 0x200000, 8 * PAGE, 0x700000 - PAGE, 0 },        /* uva: around it */
    { 0x100000 + 4 * PAGE - 1, PAGE, 0x800000, PAGE }, /* by one byte */
  };
  vd_autofd fd = vt_attack_new_file (FILE_SIZE);

  vt_attack_hello (a);
  for (guint i = 0; i < G_N_ELEMENTS (others); i++) {
    const VdWireRegion both[] = { first, others[i] };
    const VdWireRegion turned[] = { others[i], first };

    g_assert_cmpint (try_table (a, both, 2, 2, fd, 2), ==, VT_NACKED);
    g_assert_cmpint (try_table (a, turned, 2, 2, fd, 2), ==, VT_NACKED);
  }
  g_assert_cmpint (try_table (a, &first, 1, 1, fd, 1), ==, VT_ACKED);
  for (guint i = 0; i < G_N_ELEMENTS (others); i++)
    g_assert_cmpint (vt_attack_try_slot (a, VD_ADD_MEM_REG, &others[i], fd), ==,
                     VT_NACKED);
}

/* Whatever can be sent that is not a file which can be mapped and written. */
static void
descriptors_that_are_no_memory (VtAttack *a)
{
  vd_autofd file = vt_attack_new_file (FILE_SIZE),
            sealed = vt_attack_new_file (FILE_SIZE);
  g_autofree char *path = g_strdup_printf ("/proc/self/fd/%d", file);
  vd_autofd null = open ("/dev/null", O_RDWR | O_CLOEXEC);
  vd_autofd zero = open ("/dev/zero", O_RDWR | O_CLOEXEC);
  vd_autofd dir = open ("/tmp", O_RDONLY | O_DIRECTORY | O_CLOEXEC);
  vd_autofd read_only = open (path, O_RDONLY | O_CLOEXEC);
  vd_autofd path_only = open (path, O_PATH | O_CLOEXEC);
  int pipes[2];

  g_assert_no_errno (fcntl (sealed, F_ADD_SEALS, F_SEAL_WRITE));
  g_assert_no_errno (pipe2 (pipes, O_CLOEXEC));
  const int fds[] = {
    null,     zero,     dir,       read_only,        sealed,
    pipes[0], pipes[1], path_only, a->ring->kick_fd, a->fe->fd
  };

  vt_attack_hello (a);
  for (guint i = 0; i < G_N_ELEMENTS (fds); i++) {
    g_assert_cmpint (fds[i], >=, 0);
    assert_refused (a, good_region (0), fds[i]);
  }
  close (pipes[0]);
  close (pipes[1]);
}

/* Seven good regions and then a bad one: none of them may stay. */
static void
table_with_one_bad_region (VtAttack *a)
{
  vd_autofd fd = vt_attack_new_file (FILE_SIZE);
  VdWireRegion regions[VD_MEM_TABLE_MAX];

  vt_attack_start (a);
  for (guint bad = 0; bad < VD_MEM_TABLE_MAX; bad++) {
    for (guint i = 0; i < VD_MEM_TABLE_MAX; i++)
      regions[i] = good_region (i);
    regions[bad].size = 0;
    g_assert_cmpint (try_table (a, regions, 8, 8, fd, 8), ==, VT_NACKED);
    vt_attack_read (a->ring, bad); /* the old table still holds */
  }
}

static void
more_slots_than_there_are (VtAttack *a)
{
  vd_autofd fd = vt_attack_new_file (600 * PAGE);
  guint n = 0;

  vt_attack_hello (a);
  g_assert_cmpuint (vt_get_max_mem_slots (a->fe), ==, 509);
  for (guint i = 0; i < 600; i++) {
    /* Unlike neighbours, which might be mapped as one. */
    const VdWireRegion region = { i * 2ull * PAGE, PAGE,
                                  (1ull << 46) + i * 2ull * PAGE,
                                  (599 - i) * PAGE };

    n += vt_attack_try_slot (a, VD_ADD_MEM_REG, &region, fd) == VT_ACKED;
  }
  g_assert_cmpuint (n, ==, 509);
}

static void
removal_of_what_was_not_added (VtAttack *a)
{
  const VtRegion *r = g_ptr_array_index (a->guest->regions, 0);
  const VdWireRegion real = { r->gpa, r->size, r->uva, r->offset };
  VdWireRegion wrong[] = { real, real, real, real };

  wrong[0].gpa += PAGE;
  wrong[1].size -= PAGE;
  wrong[2].uva += PAGE;
  wrong[3] = (VdWireRegion){ 0 };
  vt_attack_start (a);
  for (guint i = 0; i < G_N_ELEMENTS (wrong); i++) {
    g_assert_cmpint (vt_attack_try_slot (a, VD_REM_MEM_REG, &wrong[i], -1), ==,
                     VT_NACKED);
    vt_attack_read (a->ring, i);
  }
}

/* The ring keeps running in the memory that may not go. */
static void
memory_taken_from_a_running_ring (VtAttack *a)
{
  const VtRegion *r = g_ptr_array_index (a->guest->regions, 0);
  const VdWireRegion real = { r->gpa, r->size, r->uva, r->offset };
  const VdWireRegion half = { r->gpa, PAGE / 2, r->uva, r->offset };
  vd_autofd fd = vt_attack_new_file (FILE_SIZE);

  vt_attack_start (a);
  g_assert_cmpint (vt_attack_try_slot (a, VD_REM_MEM_REG, &real, -1), ==,
                   VT_NACKED);
  vt_attack_read (a->ring, 4);
  g_assert_cmpint (try_table (a, NULL, 1, 1, fd, 1), ==, VT_NACKED);
  vt_attack_read (a->ring, 5);
  g_assert_cmpint (try_table (a, &half, 1, 1, r->fd, 1), ==, VT_NACKED);
  vt_attack_read (a->ring, 6);
}

/* Mappings of replaced tables must go, and requests must not notice. */
static void
table_replaced_again_and_again (VtAttack *a)
{
  const VtRegion *r = g_ptr_array_index (a->guest->regions, 0);
  vd_autofd fd = vt_attack_new_file (FILE_SIZE);
  int fds[2] = { r->fd, fd };

  vt_attack_start (a);
  for (guint i = 0; i < 300; i++) {
    const struct {
      VdWireMemTable header;
      VdWireRegion regions[2];
    } table = {
      { .n_regions = 2 },
      { { r->gpa, r->size, r->uva, r->offset },
        { 1ull << 40, PAGE, 1ull << 45, i % 16 * PAGE } },
    };

    g_assert_cmpint (
        vt_attack_try (a, VD_SET_MEM_TABLE, &table, sizeof table, fds, 2), ==,
        VT_ACKED);
    vt_attack_read (a->ring, i);
  }
}

/* The device waits for memory that never comes. */
static void
ring_without_memory (VtAttack *a)
{
  VtRing *ring = a->ring;

  vt_attack_hello (a);
  g_assert_true (vt_set_vring_num (a->fe, 0, ring->size));
  g_assert_true (vt_set_vring_addr (a->fe, ring));
  g_assert_true (vt_set_vring_kick (a->fe, 0, ring->kick_fd));
  g_assert_false (vt_set_vring_enable (a->fe, 0, TRUE));
  g_assert_true (vt_set_mem_table (a->fe, a->guest, a->guest->regions->len));
  g_assert_true (vt_set_vring_call (a->fe, 0, ring->call_fd));
  g_assert_true (vt_set_vring_kick (a->fe, 0, ring->kick_fd));
  vt_attack_read (ring, 8);
}

int
main (int argc, char **argv)
{
  g_test_init (&argc, &argv, NULL);
#define ADD(path, func) vt_attack_add ("/hostile/memory/" path, func)
  ADD ("table/count", wild_numbers_of_regions);
  ADD ("table/nine", nine_regions_with_eight_descriptors);
  ADD ("table/no-fds", eight_regions_without_descriptors);
  ADD ("table/unanswered", no_answer_wanted);
  ADD ("table/one-bad", table_with_one_bad_region);
  ADD ("region/beyond-file", regions_beyond_their_file);
  ADD ("region/wrap", regions_that_wrap_or_are_empty);
  ADD ("region/overlap", regions_that_overlap);
  ADD ("region/no-memory", descriptors_that_are_no_memory);
  ADD ("slots/many", more_slots_than_there_are);
  ADD ("slots/unknown", removal_of_what_was_not_added);
  ADD ("running/taken", memory_taken_from_a_running_ring);
  ADD ("running/replaced", table_replaced_again_and_again);
  ADD ("running/none", ring_without_memory);
  return vt_attack_main ();
}
