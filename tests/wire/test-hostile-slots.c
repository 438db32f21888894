/* SPDX-License-Identifier: BSD-3-Clause
 *
 * test-hostile-slots.c - attacks by memory that comes and goes beside a guest's
 * own: odd sizes and places, all slots at once, huge pages
 */
#include <fcntl.h>
#include <pthread.h>
#include <stdatomic.h>
#include <stdlib.h>
#include <string.h>
#include <sys/mman.h>
#include <unistd.h>

#include "tests/wire/hostile.h"
#include "vring/fd.h"

#define FILE_SIZE 0x10000
#define PAGE      0x1000
#define HUGE_PAGE 0x200000
#define FAR_GPA   (1ull << 40) /* where the guest's own region is not */
#define FAR_UVA   (1ull << 45)

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
  vd_autofd fd = vt_attack_new_file (FILE_SIZE);

  vt_attack_start (a);
  for (guint i = 0; i < G_N_ELEMENTS (regions); i++) {
    g_assert_cmpint (vt_attack_try_slot (a, VD_ADD_MEM_REG, &regions[i], fd),
                     ==, VT_ACKED);
    assert_reachable (a, &regions[i], fd, FILE_SIZE);
    g_assert_cmpint (vt_attack_try_slot (a, VD_REM_MEM_REG, &regions[i], -1),
                     ==, VT_ACKED);
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
  vd_autofd fd = vt_attack_new_file (600 * PAGE);
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
      g_assert_cmpint (vt_attack_try_slot (a, VD_ADD_MEM_REG, &region, fd), ==,
                       VT_ACKED);
    }
    g_assert_cmpint (vt_attack_try_slot (a, VD_ADD_MEM_REG, &one_more, fd), ==,
                     VT_NACKED);
    for (guint i = 0; i < 508; i++) {
      region = slot (i * 5 % 508);
      g_assert_cmpint (vt_attack_try_slot (a, VD_REM_MEM_REG, &region, -1), ==,
                       VT_ACKED);
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
    g_assert_cmpint (vt_attack_try_slot (a, VD_ADD_MEM_REG, &regions[i], fd),
                     ==, VT_ACKED);
    assert_reachable (a, &regions[i], fd, len);
    g_assert_cmpint (vt_attack_try_slot (a, VD_REM_MEM_REG, &regions[i], -1),
                     ==, VT_ACKED);
  }
  g_assert_cmpint (vt_attack_try_slot (a, VD_ADD_MEM_REG, &beyond, fd), ==,
                   VT_NACKED);
}

/* A file of huge pages can be larger than all huge pages that there are; its
 * end is never there. */
static void
huge_pages_that_are_not_there (VtAttack *a)
{
  const gsize len = 1ul << 38; /* ThreadSanitizer has no room for much more */
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
  g_assert_cmpint (vt_attack_try_slot (a, VD_ADD_MEM_REG, &region, fd), ==,
                   VT_ACKED);
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
