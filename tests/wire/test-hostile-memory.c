/* SPDX-License-Identifier: BSD-3-Clause
 *
 * test-hostile-memory.c - attacks by memory tables, slots and their files
 */
#include <fcntl.h>
#include <pthread.h>
#include <stdatomic.h>
#include <stdlib.h>
#include <string.h>
#include <sys/eventfd.h>
#include <sys/mman.h>
#include <sys/socket.h>
#include <unistd.h>

#include "tests/wire/hostile.h"
#include "vring/fd.h"

#define FILE_SIZE 0x10000 /* of the file that most regions name */
#define PAGE      0x1000
#define HUGE_PAGE 0x200000
#define FAR_GPA   (1ull << 40) /* of regions beside the guest's own one */
#define FAR_UVA   (1ull << 45)

/* A table with room for one region more than is legal. */
typedef struct {
  VdWireMemTable header;
  VdWireRegion regions[VD_MEM_TABLE_MAX + 1];
} Table;

static int
new_file (gsize size)
{
  int fd = memfd_create ("attack", MFD_CLOEXEC | MFD_ALLOW_SEALING);

  g_assert_no_errno (fd);
  g_assert_no_errno (ftruncate (fd, (off_t) size));
  return fd;
}

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

static VtOutcome
try_slot (VtAttack *a, guint32 request, const VdWireRegion *region, int fd)
{
  VdWireMemReg payload = { .region = *region };

  return vt_attack_try (a, request, &payload, sizeof payload, &fd, fd >= 0);
}

/* Both ways to share one region refuse it. */
static void
assert_refused (VtAttack *a, VdWireRegion region, int fd)
{
  g_assert_cmpint (try_table (a, &region, 1, 1, fd, 1), ==, VT_NACKED);
  g_assert_cmpint (try_slot (a, VD_ADD_MEM_REG, &region, fd), ==, VT_NACKED);
}

static void
wild_numbers_of_regions (VtAttack *a)
{
  const guint32 wild[] = { 0,          9,          20,         127,
                           0x08000000, 0x0fffffff, 0x7fffffff, G_MAXUINT32 };
  vd_autofd fd = new_file (FILE_SIZE);

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
  vd_autofd fd = new_file (FILE_SIZE);

  vt_attack_hello (a);
  g_assert_cmpint (try_table (a, NULL, 9, 9, fd, 8), ==, VT_NACKED);
  g_assert_cmpint (try_table (a, NULL, 8, 9, fd, 8), ==, VT_ACKED);
}

/* One daemon closed its own descriptors 0 and 1 then. */
static void
eight_regions_without_descriptors (VtAttack *a)
{
  vd_autofd fd = new_file (FILE_SIZE);

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
  vd_autofd fd = new_file (FILE_SIZE);

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
  vd_autofd fd = new_file (FILE_SIZE);

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
  vd_autofd fd = new_file (FILE_SIZE);

  vt_attack_hello (a);
  for (guint i = 0; i < G_N_ELEMENTS (others); i++) {
    const VdWireRegion both[] = { first, others[i] };
    const VdWireRegion turned[] = { others[i], first };

    g_assert_cmpint (try_table (a, both, 2, 2, fd, 2), ==, VT_NACKED);
    g_assert_cmpint (try_table (a, turned, 2, 2, fd, 2), ==, VT_NACKED);
  }
  g_assert_cmpint (try_table (a, &first, 1, 1, fd, 1), ==, VT_ACKED);
  for (guint i = 0; i < G_N_ELEMENTS (others); i++)
    g_assert_cmpint (try_slot (a, VD_ADD_MEM_REG, &others[i], fd), ==,
                     VT_NACKED);
}

/* Whatever can be sent that is not a file which can be mapped and written. */
static void
descriptors_that_are_no_memory (VtAttack *a)
{
  vd_autofd file = new_file (FILE_SIZE), sealed = new_file (FILE_SIZE);
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
  vd_autofd fd = new_file (FILE_SIZE);
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
  vd_autofd fd = new_file (600 * PAGE);
  guint n = 0;

  vt_attack_hello (a);
  g_assert_cmpuint (vt_get_max_mem_slots (a->fe), ==, 509);
  for (guint i = 0; i < 600; i++) {
    /* Unlike neighbours, which might be mapped as one. */
    const VdWireRegion region = { i * 2ull * PAGE, PAGE,
                                  (1ull << 46) + i * 2ull * PAGE,
                                  (599 - i) * PAGE };

    n += try_slot (a, VD_ADD_MEM_REG, &region, fd) == VT_ACKED;
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
    g_assert_cmpint (try_slot (a, VD_REM_MEM_REG, &wrong[i], -1), ==,
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
  vd_autofd fd = new_file (FILE_SIZE);

  vt_attack_start (a);
  g_assert_cmpint (try_slot (a, VD_REM_MEM_REG, &real, -1), ==, VT_NACKED);
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
  vd_autofd fd = new_file (FILE_SIZE);
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

/* --- More memory beside the guest's own --- */

/* A read of @sector into memory that is no VtRegion.
 * Returns: FALSE if it failed or the ring broke. */
static gboolean
read_to (VtAttack *a, guint64 sector, guint64 gpa)
{
  enum { HEAD = VT_ATTACK_RING - 3 }; /* that the ring itself does not reach */
  struct virtio_blk_outhdr *header =
      vt_guest_alloc (a->guest, sizeof *header, 8);
  guint8 *status = vt_guest_alloc (a->guest, 1, 1);
  struct vring_desc *desc = a->ring->desc + HEAD;

  *header = (struct virtio_blk_outhdr){ .type = VIRTIO_BLK_T_IN,
                                        .sector = GUINT64_TO_LE (sector) };
  *status = VT_BLK_NO_STATUS;
  vt_desc_write (&desc[0], vt_guest_gpa (a->guest, header), sizeof *header,
                 VRING_DESC_F_NEXT, HEAD + 1);
  vt_desc_write (&desc[1], gpa, 512, VRING_DESC_F_NEXT | VRING_DESC_F_WRITE,
                 HEAD + 2);
  vt_desc_write (&desc[2], vt_guest_gpa (a->guest, status), 1,
                 VRING_DESC_F_WRITE, 0);
  vt_ring_raw_add (a->ring, HEAD, status);
  vt_ring_publish (a->ring);
  vt_ring_kick_always (a->ring);
  vt_attack_wait_settled (a);
  return *status == VIRTIO_BLK_S_OK;
}

/* Reads into the first and the last bytes of @region of @fd, which is @len
 * bytes long, and looks at what is in the file then. */
static void
assert_reachable (VtAttack *a, const VdWireRegion *region, int fd, gsize len)
{
  const guint64 offsets[] = { 0, region->size - 512 };
  guint8 *bytes = mmap (NULL, len, PROT_READ | PROT_WRITE, MAP_SHARED, fd, 0);

  g_assert_true (bytes != MAP_FAILED);
  for (guint64 i = 0; i < G_N_ELEMENTS (offsets); i++) {
    guint64 sector = 5 + i, word;

    g_assert_true (read_to (a, sector, region->gpa + offsets[i]));
    for (guint j = 0; j < 64; j++) {
      memcpy (&word, bytes + region->offset + offsets[i] + j * sizeof word,
              sizeof word);
      g_assert_cmphex (word, ==, sector << 8 | j);
    }
  }
  munmap (bytes, len);
}

/* Sizes and offsets that no page has: front-ends send them. */
static void
regions_of_odd_size_and_place (VtAttack *a)
{
  const VdWireRegion regions[] = {
    { FAR_GPA, 0x7620, FAR_UVA, 0 },
    { FAR_GPA, 0x7621, FAR_UVA + 1, 0x1203 },
    { FAR_GPA + 1, 513, FAR_UVA, FILE_SIZE - 513 },
    { FAR_GPA, 512, FAR_UVA, 0xdff },
  };
  vd_autofd fd = new_file (FILE_SIZE);

  vt_attack_start (a);
  for (guint i = 0; i < G_N_ELEMENTS (regions); i++) {
    g_assert_cmpint (try_slot (a, VD_ADD_MEM_REG, &regions[i], fd), ==,
                     VT_ACKED);
    assert_reachable (a, &regions[i], fd, FILE_SIZE);
    g_assert_cmpint (try_slot (a, VD_REM_MEM_REG, &regions[i], -1), ==,
                     VT_ACKED);
  }
}

/* A driver that reads all the time. */
typedef struct {
  VtRing *ring;
  guint n;
  atomic_bool end;
} Reader;

static void *
read_on_and_on (void *data)
{
  Reader *reader = data;

  for (; !atomic_load (&reader->end); reader->n++)
    vt_attack_read (reader->ring, reader->n % 2048);
  return NULL;
}

/* All slots but the one that the guest itself has. */
static VdWireRegion
slot (guint i)
{
  return (VdWireRegion){ FAR_GPA + i * 2ull * PAGE, PAGE,
                         FAR_UVA + i * 2ull * PAGE, (507 - i) * PAGE };
}

static void
slots_come_and_go_under_requests (VtAttack *a)
{
  vd_autofd fd = new_file (600 * PAGE);
  Reader reader = { .ring = a->ring };
  const VdWireRegion one_more = slot (508);
  VdWireRegion region;
  pthread_t thread;

  vt_attack_start (a);
  g_assert_cmpint (pthread_create (&thread, NULL, read_on_and_on, &reader), ==,
                   0);
  for (guint round = 0; round < 2; round++) {
    for (guint i = 0; i < 508; i++) {
      region = slot (i);
      g_assert_cmpint (try_slot (a, VD_ADD_MEM_REG, &region, fd), ==, VT_ACKED);
    }
    g_assert_cmpint (try_slot (a, VD_ADD_MEM_REG, &one_more, fd), ==,
                     VT_NACKED);
    for (guint i = 0; i < 508; i++) {
      region = slot (i * 5 % 508);
      g_assert_cmpint (try_slot (a, VD_REM_MEM_REG, &region, -1), ==, VT_ACKED);
    }
  }
  atomic_store (&reader.end, TRUE);
  pthread_join (thread, NULL);
  g_assert_cmpuint (reader.n, >, 0);
}

/* --- Huge pages --- */

#define N_HUGE_PAGES "/proc/sys/vm/nr_hugepages"

static char *n_huge_pages_before; /* to be restored; NULL: not changed */

static guint
count_free_huge_pages (void)
{
  g_autofree char *text = NULL;
  const char *at;

  if (!g_file_get_contents ("/proc/meminfo", &text, NULL, NULL) ||
      (at = strstr (text, "HugePages_Free:")) == NULL)
    return 0;
  return (guint) strtoul (at + strlen ("HugePages_Free:"), NULL, 10);
}

static gboolean
set_huge_pages (const char *text)
{
  vd_autofd fd = open (N_HUGE_PAGES, O_WRONLY | O_CLOEXEC);

  return fd >= 0 && write (fd, text, strlen (text)) == (gssize) strlen (text);
}

/* Whether there are some; asks the kernel for a few if there are none. */
static gboolean
have_huge_pages (void)
{
  g_autofree char *before = NULL;

  if (count_free_huge_pages () >= 4)
    return TRUE;
  if (g_file_get_contents (N_HUGE_PAGES, &before, NULL, NULL) &&
      n_huge_pages_before == NULL && set_huge_pages ("8"))
    n_huge_pages_before = g_steal_pointer (&before);
  if (count_free_huge_pages () >= 4)
    return TRUE;
  g_test_skip ("needs huge pages, or root to set " N_HUGE_PAGES);
  return FALSE;
}

static int
new_huge_file (gsize size)
{
  int fd = memfd_create ("attack", MFD_CLOEXEC | MFD_HUGETLB);

  g_assert_no_errno (fd);
  g_assert_no_errno (ftruncate (fd, (off_t) size));
  return fd;
}

static void
huge_pages_in_part (VtAttack *a)
{
  const gsize len = 2 * HUGE_PAGE;
  const VdWireRegion regions[] = {
    { FAR_GPA, len, FAR_UVA, 0 },
    { FAR_GPA, HUGE_PAGE, FAR_UVA, HUGE_PAGE / 2 },
    { FAR_GPA, 0x7621, FAR_UVA, HUGE_PAGE + 0x1203 },
    { FAR_GPA, len - 0x123001, FAR_UVA, 0x123001 },
  };
  const VdWireRegion beyond = { FAR_GPA, len, FAR_UVA, PAGE };

  vt_attack_start (a);
  if (!have_huge_pages ())
    return;
  vd_autofd fd = new_huge_file (len);

  for (guint i = 0; i < G_N_ELEMENTS (regions); i++) {
    g_assert_cmpint (try_slot (a, VD_ADD_MEM_REG, &regions[i], fd), ==,
                     VT_ACKED);
    assert_reachable (a, &regions[i], fd, len);
    g_assert_cmpint (try_slot (a, VD_REM_MEM_REG, &regions[i], -1), ==,
                     VT_ACKED);
  }
  g_assert_cmpint (try_slot (a, VD_ADD_MEM_REG, &beyond, fd), ==, VT_NACKED);
}

/* A file of huge pages can be larger than all huge pages that there are; its
 * end is never there. */
static void
huge_pages_that_are_not_there (VtAttack *a)
{
  const gsize len = 1ul << 40;
  const VdWireRegion region = { FAR_GPA, len, FAR_UVA, 0 };

  vt_attack_start (a);
  if (count_free_huge_pages () > 0 && n_huge_pages_before == NULL) {
    g_test_skip ("there are huge pages, which this would use up");
    return;
  }
  vd_autofd fd = new_huge_file (len);
  vd_autofd hog = new_huge_file (64 * HUGE_PAGE);

  for (guint i = 0; i < 64; i++) /* what another test has asked for */
    if (fallocate (hog, 0, (off_t) i * HUGE_PAGE, HUGE_PAGE) < 0)
      break;
  g_assert_cmpint (try_slot (a, VD_ADD_MEM_REG, &region, fd), ==, VT_ACKED);
  g_assert_true (vt_set_vring_num (a->fe, 1, 64));
  vt_attack_try (a, VD_SET_VRING_ADDR,
                 &(VdWireVringAddr){ .index = 1,
                                     .desc = FAR_UVA + len - PAGE,
                                     .avail = FAR_UVA + len - 2 * PAGE,
                                     .used = FAR_UVA + len - 3 * PAGE },
                 sizeof (VdWireVringAddr), NULL, 0);
  vt_attack_try_u64 (a, VD_SET_VRING_KICK, 1, a->ring->kick_fd);
  g_assert_cmpint (vt_attack_try_state (a, VD_SET_VRING_ENABLE, 1, 1), ==,
                   VT_NACKED);
  g_assert_false (read_to (a, 7, FAR_GPA));
  vt_attack_witness (a);
  vt_barrier (a->fe);
}

/* The log and the record may lie in huge pages too.  Their mappings are one
 * huge page long, whatever the front-end says of their size. */
static void
huge_pages_of_log_and_record (VtAttack *a)
{
  const VdWireInflight inflight = { PAGE, 0, 1, VT_ATTACK_RING, { 0 } };

  vt_attack_describe (a);
  if (!have_huge_pages ())
    return;
  vd_autofd log_fd = new_huge_file (HUGE_PAGE);
  vd_autofd inflight_fd = new_huge_file (HUGE_PAGE);

  for (guint i = 0; i < 10; i++) {
    vt_set_log_base (a->fe, log_fd, PAGE, 0);
    g_assert_true (vt_set_inflight_fd (a->fe, &inflight, inflight_fd));
  }
  g_assert_true (vt_set_features (a->fe, a->fe->acked | 1ull << VD_F_LOG_ALL));
  g_assert_true (vt_set_vring_kick (a->fe, 0, a->ring->kick_fd));
  g_assert_true (vt_set_vring_enable (a->fe, 0, TRUE));
  vt_attack_read (a->ring, 3);
  g_assert_no_errno (ftruncate (log_fd, 0));
  g_assert_no_errno (ftruncate (inflight_fd, 0));
  vt_ring_kick_always (a->ring);
  for (guint i = 0; i < 3 && !vt_ring_wait_error (a->ring, 0); i++)
    read_to (a, i, VT_GPA_BASE + (2 << 20));
  g_assert_true (vt_ring_wait_error (a->ring, VT_TIMEOUT_MS));
  vt_attack_witness (a);
  vt_get_vring_base (a->fe, 0);
}

int
main (int argc, char **argv)
{
  int result;

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
  ADD ("region/odd", regions_of_odd_size_and_place);
  ADD ("slots/running", slots_come_and_go_under_requests);
  ADD ("huge/part", huge_pages_in_part);
  ADD ("huge/none", huge_pages_that_are_not_there);
  ADD ("huge/log", huge_pages_of_log_and_record);
  result = vt_attack_main ();
  if (n_huge_pages_before != NULL)
    set_huge_pages (n_huge_pages_before);
  g_free (n_huge_pages_before);
  return result;
}
