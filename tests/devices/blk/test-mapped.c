/* SPDX-License-Identifier: BSD-3-Clause
 *
 * test-mapped.c - what devices/blk/mapped.c promises
 */
#include "devices/blk/mapped.h"

#include <errno.h>
#include <fcntl.h>
#include <linux/magic.h>
#include <string.h>
#include <sys/mman.h>
#include <sys/stat.h>
#include <sys/vfs.h>
#include <unistd.h>

#include "tests/devices/blk/disk.h"

#define SIZE    (1u << 20)
#define STRETCH (64u << 10)
#define ENOUGH  1000u /* reads after which it was asked again */
#define FIRST   6     /* reads of 4 KiB after which it is asked */

typedef struct {
  VdImage image; /* without a name */
  guint8 *bytes;
  VdMapped *mapped;
  VdMappedView view;
} Fixture;

static int
make_file (gboolean in_memory)
{
  g_autofree char *path = NULL;
  int fd;

  if (in_memory)
    return memfd_create ("image", MFD_CLOEXEC);
  fd = g_file_open_tmp ("virtiod-mapped-XXXXXX", &path, NULL);
  unlink (path);
  return fd;
}

static void
write_bytes (Fixture *f, guint64 from, guint64 to)
{
  g_assert_cmpint (
      pwrite (f->image.fd, f->bytes + from, to - from, (off_t) from), ==,
      (gssize) (to - from));
}

static void
open_mapping (Fixture *f)
{
  f->mapped = vd_mapped_new (&f->image);
  g_assert_nonnull (f->mapped);
  vd_mapped_open_view (&f->view, f->mapped);
}

/* A file of SIZE bytes that has none of them yet. */
static void
make_image (Fixture *f, gboolean in_memory)
{
  f->image.fd = make_file (in_memory);
  f->image.in_memory = in_memory;
  g_assert_cmpint (f->image.fd, >=, 0);
  g_assert_cmpint (ftruncate (f->image.fd, SIZE), ==, 0);
  atomic_store (&f->image.size, SIZE);
  f->bytes = g_malloc (SIZE);
  for (guint i = 0; i < SIZE; i++)
    f->bytes[i] = (guint8) g_test_rand_int ();
}

static void
set_up (Fixture *f, gconstpointer data)
{
  make_image (f, TRUE);
}

static void
tear_down (Fixture *f, gconstpointer data)
{
  vd_mapped_free (f->mapped);
  close (f->image.fd);
  g_free (f->bytes);
}

/* Returns: whether it was read, and then it is what the file has. */
static gboolean
reads (Fixture *f, guint64 offset, guint64 len)
{
  g_autofree guint8 *to = g_malloc0 (len);
  guint64 cut = len / 3;
  struct iovec iov[] = { { to, cut }, { to + cut, len - cut } };
  const VdCall call = {
    .kind = VD_CALL_READ,
    .fd = f->image.fd,
    .iov = iov,
    .n_iov = 2,
    .offset = offset,
    .len = len,
  };
  int res;

  if (!vd_mapped_run (&f->view, &call, NULL, &res))
    return FALSE;
  g_assert_cmpint (res, ==, (int) len);
  g_assert_cmpmem (to, len, f->bytes + offset, len);
  return TRUE;
}

/* Returns: whether it is read in the end. */
static gboolean
reads_later (Fixture *f, guint64 offset, guint64 len)
{
  for (guint i = 0; i < ENOUGH; i++) {
    f->view.rest_until = 0; /* whatever the clock says */
    if (reads (f, offset, len))
      return TRUE;
  }
  return FALSE;
}

static guint64
allocated (const Fixture *f)
{
  struct stat st;

  g_assert_cmpint (fstat (f->image.fd, &st), ==, 0);
  return (guint64) st.st_blocks * 512;
}

static void
test_what_is_in_memory_is_copied (Fixture *f, gconstpointer data)
{
  write_bytes (f, 0, SIZE);
  open_mapping (f);
  g_assert_true (reads_later (f, 0, SIZE));
  g_assert_true (reads (f, 0, 4096));
  g_assert_true (reads (f, STRETCH - 512, 1024));
  g_assert_true (reads (f, 512, SIZE - 512));
  /* What is written later is seen, too. */
  memset (f->bytes, 0x5a, SIZE);
  write_bytes (f, 0, SIZE);
  g_assert_true (reads (f, 0, SIZE));
}

/* To map it would cost more than it saves. */
static void
test_what_is_read_once_is_not_copied (Fixture *f, gconstpointer data)
{
  write_bytes (f, 0, SIZE);
  open_mapping (f);
  for (guint i = 1; i < FIRST; i++)
    g_assert_false (reads (f, 4096 * i, 4096));
  g_assert_true (reads (f, 0, 4096));
  /* Much is worth it sooner. */
  g_assert_false (reads (f, STRETCH, 2 * STRETCH));
  g_assert_true (reads (f, STRETCH, 2 * STRETCH));
  g_assert_false (reads (f, 3 * STRETCH, 4096));
}

static void
test_holes_are_left_alone (Fixture *f, gconstpointer data)
{
  guint64 before;

  write_bytes (f, 0, STRETCH + 4096);
  open_mapping (f);
  before = allocated (f);
  g_assert_true (reads_later (f, 0, STRETCH));
  for (guint i = 0; i < ENOUGH; i++) {
    g_assert_false (reads (f, STRETCH, 4096));
    g_assert_false (reads (f, SIZE - 4096, 4096));
    g_assert_false (reads (f, 0, SIZE));
  }
  g_assert_cmpuint (allocated (f), ==, before);
}

static void
test_a_filled_hole_is_copied_soon (Fixture *f, gconstpointer data)
{
  open_mapping (f);
  g_assert_false (reads (f, 0, 4096));
  write_bytes (f, 0, SIZE);
  g_assert_true (reads_later (f, 0, 4096));
  g_assert_true (reads_later (f, 0, SIZE));
}

static void
test_a_truncated_image_is_not_mapped_any_more (Fixture *f, gconstpointer data)
{
  write_bytes (f, 0, SIZE);
  open_mapping (f);
  g_assert_true (reads_later (f, 0, SIZE));
  g_assert_cmpint (ftruncate (f->image.fd, STRETCH), ==, 0);
  g_assert_false (reads (f, STRETCH, 4096));
  g_assert_false (reads (f, 0, 4096));
  g_assert_false (reads_later (f, 0, 4096));
}

static void
test_what_was_not_there_is_not_mapped (Fixture *f, gconstpointer data)
{
  write_bytes (f, 0, SIZE);
  open_mapping (f);
  g_assert_cmpint (ftruncate (f->image.fd, 2 * SIZE), ==, 0);
  g_assert_false (reads (f, SIZE - 512, 1024));
  g_assert_false (reads_later (f, 2 * SIZE - 512, 512));
  g_assert_true (reads_later (f, SIZE - 512, 512));
}

static void
test_direct_and_foreign_images_are_not_mapped (Fixture *f, gconstpointer data)
{
  VdImage foreign = { .fd = open ("/proc/self/maps", O_RDONLY | O_CLOEXEC) };

  atomic_store (&foreign.size, SIZE);
  g_assert_null (vd_mapped_new (&foreign));
  close (foreign.fd);
  f->image.direct = TRUE;
  g_assert_null (vd_mapped_new (&f->image));
}

/* mincore() would say that a hole is in memory. */
static void
test_images_of_others_are_not_mapped (Fixture *f, gconstpointer data)
{
  if (geteuid () != 0) {
    g_test_skip ("not root");
    return;
  }
  g_assert_cmpint (fchmod (f->image.fd, 0444), ==, 0);
  g_assert_cmpint (seteuid (65534), ==, 0);
  f->mapped = vd_mapped_new (&f->image);
  g_assert_cmpint (seteuid (0), ==, 0);
  g_assert_null (f->mapped);
}

/* The page cache. */

static gboolean
is_on_tmpfs (int fd)
{
  struct statfs fs;

  return fstatfs (fd, &fs) == 0 && fs.f_type == TMPFS_MAGIC;
}

static void
drop (Fixture *f)
{
  vd_mapped_forget (f->mapped);
  g_assert_cmpint (fsync (f->image.fd), ==, 0);
  g_assert_cmpint (posix_fadvise (f->image.fd, 0, 0, POSIX_FADV_DONTNEED), ==,
                   0);
}

static void
set_up_on_disk (Fixture *f, gconstpointer data)
{
  make_image (f, FALSE);
  write_bytes (f, 0, SIZE);
}

static void
test_what_left_the_page_cache_is_not_waited_for (Fixture *f, gconstpointer data)
{
  g_autofree guint8 *to = g_malloc (SIZE);

  if (is_on_tmpfs (f->image.fd)) {
    g_test_skip ("the folder for temporary files is in memory");
    return;
  }
  open_mapping (f);
  g_assert_true (reads_later (f, 0, SIZE));
  drop (f);
  f->view.rest_until = 0;
  g_assert_false (reads (f, 0, 4096));
  g_assert_cmpint (pread (f->image.fd, to, SIZE, 0), ==, SIZE);
  g_assert_true (reads_later (f, 0, SIZE));
}

/* As if a second were over, and this had happened in it.
 * Returns: how long it rests */
static guint
next_second (Fixture *f, guint n_copied, guint n_asked)
{
  f->view.second--;
  f->view.rest_until = 0;
  f->view.whole = TRUE;
  f->view.n_copied = n_copied;
  f->view.n_asked = n_asked;
  reads (f, 0, 4096);
  return f->view.rest_until > f->view.second
             ? (guint) (f->view.rest_until - f->view.second)
             : 0;
}

static void
test_it_rests_where_questions_do_not_pay (Fixture *f, gconstpointer data)
{
  open_mapping (f);
  g_assert_true (reads_later (f, 0, 4096));
  g_assert_cmpuint (next_second (f, 1000, 100), ==, 0);
  g_assert_cmpuint (next_second (f, 100, 1000), ==, 8);
  g_assert_false (reads (f, 0, 4096));
  f->view.rest_until = f->view.second;
  g_assert_true (reads_later (f, 0, 4096));
}

static void
test_it_rests_longer_where_it_had_to_wait (Fixture *f, gconstpointer data)
{
  open_mapping (f);
  g_assert_true (reads_later (f, 0, 4096));
  for (guint rest = 8; rest <= 64; rest *= 2) {
    f->view.n_faults = -1;
    g_assert_cmpuint (next_second (f, 1000, 0), ==, rest);
  }
  g_assert_cmpuint (next_second (f, 1000, 0), ==, 0);
  f->view.n_faults = -1;
  g_assert_cmpuint (next_second (f, 1000, 0), ==, 32);
}

static void
test_it_rests_where_much_is_missing (Fixture *f, gconstpointer data)
{
  guint n = 0;

  if (is_on_tmpfs (f->image.fd)) {
    g_test_skip ("the folder for temporary files is in memory");
    return;
  }
  g_assert_cmpint (ftruncate (f->image.fd, 256 * STRETCH), ==, 0);
  atomic_store (&f->image.size, 256 * STRETCH);
  open_mapping (f);
  while (f->view.rest_until == 0 && n < 200) {
    g_assert_false (reads (f, n * STRETCH + SIZE, STRETCH));
    g_assert_false (reads (f, n++ * STRETCH + SIZE, STRETCH));
  }
  g_assert_cmpuint (n, <, 200); /* 64, or more if a second ended meanwhile */
}

static void
test_holes_that_are_punched_are_left_alone (Fixture *f, gconstpointer data)
{
  const int mode = FALLOC_FL_PUNCH_HOLE | FALLOC_FL_KEEP_SIZE;
  guint64 before;

  write_bytes (f, 0, SIZE);
  open_mapping (f);
  g_assert_true (reads_later (f, 0, SIZE));
  g_assert_no_errno (fallocate (f->image.fd, mode, 4096, SIZE / 2));
  vd_mapped_punched (f->mapped, 4096, SIZE / 2);
  vd_mapped_punched (f->mapped, SIZE - 4096, G_MAXUINT64);
  vd_mapped_punched (f->mapped, G_MAXUINT64, 1);
  before = allocated (f);
  g_assert_false (reads_later (f, 0, 4096));
  g_assert_false (reads_later (f, SIZE / 2, 4096));
  g_assert_true (reads_later (f, SIZE / 2 + STRETCH, SIZE / 2 - STRETCH));
  g_assert_cmpuint (allocated (f), ==, before);
}

static gboolean
writes (Fixture *f)
{
  struct iovec iov = { f->bytes, 4096 };
  const VdCall call = {
    .kind = VD_CALL_WRITE,
    .fd = f->image.fd,
    .iov = &iov,
    .n_iov = 1,
    .len = 4096,
  };
  int res;

  return vd_mapped_run (&f->view, &call, NULL, &res);
}

static void
test_a_file_system_learns_of_writes (Fixture *f, gconstpointer data)
{
  if (is_on_tmpfs (f->image.fd)) {
    g_test_skip ("the folder for temporary files is in memory");
    return;
  }
  open_mapping (f);
  g_assert_true (reads_later (f, 0, 4096));
  g_assert_false (writes (f));
}

static void
test_nobody_writes_to_a_read_only_image (Fixture *f, gconstpointer data)
{
  write_bytes (f, 0, SIZE);
  f->image.read_only = TRUE;
  open_mapping (f);
  g_assert_true (reads_later (f, 0, 4096));
  g_assert_false (writes (f));
}

/* Of a whole disk. */

static guint64
mapped_calls (VtDisk *disk)
{
  static const char name[] = "\nmapped-calls: ";
  g_autoptr (GString) text = g_string_new (NULL);
  const char *at;

  disk->rig->dev->ops->dump (disk->rig->dev, text);
  at = strstr (text->str, name);
  g_assert_nonnull (at);
  return g_ascii_strtoull (at + strlen (name), NULL, 10);
}

/* As often as is needed before they are copied. */
static void
read_often (VtDisk *disk, guint32 len)
{
  for (guint i = 0; i < FIRST; i++)
    g_assert_cmpuint (vt_disk_run_sized (disk, VIRTIO_BLK_T_IN, 0, len), ==,
                      VIRTIO_BLK_S_OK);
}

static guint64
count_mapped (const char *key, const char *value)
{
  VtDisk disk = { 0 };
  guint64 n;

  vt_disk_init (&disk, TRUE);
  vt_disk_start_with (&disk, key, value);
  read_often (&disk, 4096);
  n = mapped_calls (&disk);
  vt_disk_tear_down (&disk, NULL);
  return n;
}

/* Each way to make holes, and a read of all of it. */
static void
test_what_the_driver_discards_stays_free (void)
{
  static const guint32 types[] = { VIRTIO_BLK_T_DISCARD,
                                   VIRTIO_BLK_T_WRITE_ZEROES };
  const VtRange range = {
    .num_sectors = GUINT32_TO_LE (VT_DISK_SIZE / VD_SECTOR),
    .flags = GUINT32_TO_LE (VIRTIO_BLK_WRITE_ZEROES_FLAG_UNMAP),
  };

  for (guint i = 0; i < G_N_ELEMENTS (types); i++) {
    VtRange ranges[] = { range };
    VtDisk disk = { 0 };

    ranges[0].flags = i == 0 ? 0 : range.flags;
    vt_disk_init (&disk, TRUE);
    vt_disk_start_with (&disk, "queues", "1");
    read_often (&disk, VT_DISK_SIZE / 4);
    g_assert_cmpuint (mapped_calls (&disk), ==, FIRST - 1);
    g_assert_cmpuint (vt_disk_run_ranges (&disk, types[i], ranges, 1), ==,
                      VIRTIO_BLK_S_OK);
    read_often (&disk, VT_DISK_SIZE / 4);
    g_assert_cmpuint (vt_disk_allocated (&disk), ==, 0);
    vt_disk_tear_down (&disk, NULL);
  }
}

/* Writes, on a whole disk in memory. */

/* All of it has been read often enough to be mapped, and how often by copy. */
#define N_BEFORE 2

static void
start_mapped (VtDisk *disk)
{
  const guint32 half = VT_DISK_SIZE / 2;

  vt_disk_start_with (disk, "queues", "1");
  for (guint i = 0; i < 4; i++)
    g_assert_cmpuint (vt_disk_run_sized (disk, VIRTIO_BLK_T_IN,
                                         i % 2 * half / VD_SECTOR, half),
                      ==, VIRTIO_BLK_S_OK);
  g_assert_cmpuint (mapped_calls (disk), ==, N_BEFORE);
}

static void
set_up_written (VtDisk *disk, gconstpointer data)
{
  vt_disk_init (disk, TRUE);
  start_mapped (disk);
}

static void
tear_down_written (VtDisk *disk, gconstpointer data)
{
  vt_disk_tear_down (disk, NULL);
}

static void
write_zeroes (VtDisk *disk, guint64 offset, guint32 len)
{
  g_assert_cmpuint (
      vt_disk_run_sized (disk, VIRTIO_BLK_T_OUT, offset / VD_SECTOR, len), ==,
      VIRTIO_BLK_S_OK);
  memset (disk->shadow + offset, 0, len);
}

static void
test_what_is_in_memory_is_written_by_copy (VtDisk *disk, gconstpointer data)
{
  write_zeroes (disk, 0, 4096);
  write_zeroes (disk, STRETCH - 1536, 17 * VD_SECTOR);
  write_zeroes (disk, SIZE, SIZE);
  g_assert_cmpuint (mapped_calls (disk), ==, N_BEFORE + 3);
  vt_disk_check (disk);
}

static void
test_a_hole_is_filled_by_a_system_call (VtDisk *disk, gconstpointer data)
{
  const VtRange range = { .num_sectors =
                              GUINT32_TO_LE (VT_DISK_SIZE / VD_SECTOR) };

  g_assert_cmpuint (vt_disk_run_ranges (disk, VIRTIO_BLK_T_DISCARD, &range, 1),
                    ==, VIRTIO_BLK_S_OK);
  memset (disk->shadow, 0, VT_DISK_SIZE);
  for (guint i = 0; i < 2 * FIRST; i++)
    write_zeroes (disk, STRETCH, 4096);
  g_assert_cmpuint (mapped_calls (disk), ==, N_BEFORE);
  g_assert_cmpuint (vt_disk_allocated (disk), ==, 4096);
  vt_disk_check (disk);
}

static void
test_a_copy_changes_the_time_of_the_image (VtDisk *disk, gconstpointer data)
{
  const struct timespec old[] = { { .tv_sec = 1 }, { .tv_sec = 1 } };
  struct stat st;

  write_zeroes (disk, 0, 4096);
  g_assert_no_errno (utimensat (AT_FDCWD, disk->path, old, 0));
  g_assert_cmpuint (vt_disk_run_sized (disk, VIRTIO_BLK_T_IN, 0, 4096), ==,
                    VIRTIO_BLK_S_OK);
  g_assert_no_errno (stat (disk->path, &st));
  g_assert_cmpint (st.st_mtim.tv_sec, ==, 1);
  g_usleep (50000); /* clocks of file systems have ticks */
  write_zeroes (disk, 0, 4096);
  g_assert_no_errno (stat (disk->path, &st));
  g_assert_cmpint (st.st_mtim.tv_sec, >, 1);
  g_assert_cmpuint (mapped_calls (disk), ==, N_BEFORE + 3);
}

/* The system call makes it longer again, as without a mapping. */
static void
test_a_truncated_image_is_written_as_without (VtDisk *disk, gconstpointer data)
{
  write_zeroes (disk, VT_DISK_SIZE - 4096, 4096);
  g_assert_no_errno (truncate (disk->path, SIZE));
  write_zeroes (disk, VT_DISK_SIZE - 4096, 4096);
  write_zeroes (disk, 0, 4096);
  g_assert_cmpuint (mapped_calls (disk), ==, N_BEFORE + 1);
  memset (disk->shadow + SIZE, 0, VT_DISK_SIZE - SIZE);
  vt_disk_check (disk);
}

/* A front-end takes the second page of two away. */
static void
test_lost_memory_is_not_written (void)
{
  VtDisk disk = { 0 };
  VtBlkRequest *request;
  VtRegion *region;

  vt_disk_init (&disk, TRUE);
  request = vt_blk_request_new (disk.guest, VIRTIO_BLK_T_OUT, 0, 2 * 4096);
  region = vt_guest_add (disk.guest, 1ull << 32, 1ull << 40, 2 * 4096, 0);
  request->data = vt_region_alloc (region, 2 * 4096, 4096);
  memset (request->data, 0x77, 2 * 4096);
  disk.guest->current = g_ptr_array_index (disk.guest->regions, 0);
  start_mapped (&disk);
  g_assert_no_errno (ftruncate (region->fd, 4096));
  vt_blk_add (disk.ring, request);
  vt_ring_kick (disk.ring);
  g_assert_nonnull (vt_queue_rig_wait_broken (&disk.rig->queues, disk.ring));
  memset (disk.shadow, 0x77, 4096);
  vt_disk_check (&disk);
  g_free (request);
  vt_rig_reset (disk.rig);
  vt_disk_tear_down (&disk, NULL);
}

static void
test_keys (void)
{
  g_assert_cmpuint (count_mapped ("mapped", "yes"), ==, 1);
  g_assert_cmpuint (count_mapped ("queues", "1"), ==, 1);
  g_assert_cmpuint (count_mapped ("mapped", "no"), ==, 0);
  g_assert_cmpuint (count_mapped ("engine", "threads"), ==, 0);
}

int
main (int argc, char **argv)
{
  g_test_init (&argc, &argv, NULL);
#define ADD(path, set_up, test)                                                \
  g_test_add ("/mapped/" path, Fixture, NULL, set_up, test, tear_down)
  ADD ("copied", set_up, test_what_is_in_memory_is_copied);
  ADD ("once", set_up, test_what_is_read_once_is_not_copied);
  ADD ("holes", set_up, test_holes_are_left_alone);
  ADD ("filled", set_up, test_a_filled_hole_is_copied_soon);
  ADD ("punched", set_up, test_holes_that_are_punched_are_left_alone);
  ADD ("truncated", set_up, test_a_truncated_image_is_not_mapped_any_more);
  ADD ("grown", set_up, test_what_was_not_there_is_not_mapped);
  ADD ("refused", set_up, test_direct_and_foreign_images_are_not_mapped);
  ADD ("others", set_up, test_images_of_others_are_not_mapped);
  ADD ("dropped", set_up_on_disk,
       test_what_left_the_page_cache_is_not_waited_for);
  ADD ("rest/pays", set_up_on_disk, test_it_rests_where_questions_do_not_pay);
  ADD ("rest/waited", set_up_on_disk,
       test_it_rests_longer_where_it_had_to_wait);
  ADD ("rest/missing", set_up_on_disk, test_it_rests_where_much_is_missing);
  ADD ("writes/disk", set_up_on_disk, test_a_file_system_learns_of_writes);
  ADD ("writes/read-only", set_up, test_nobody_writes_to_a_read_only_image);
#undef ADD
#define ADD(path, test)                                                        \
  g_test_add ("/mapped/writes/" path, VtDisk, NULL, set_up_written, test,      \
              tear_down_written)
  ADD ("copied", test_what_is_in_memory_is_written_by_copy);
  ADD ("hole", test_a_hole_is_filled_by_a_system_call);
  ADD ("time", test_a_copy_changes_the_time_of_the_image);
  ADD ("truncated", test_a_truncated_image_is_written_as_without);
#undef ADD
  g_test_add_func ("/mapped/writes/lost", test_lost_memory_is_not_written);
  g_test_add_func ("/mapped/discarded",
                   test_what_the_driver_discards_stays_free);
  g_test_add_func ("/mapped/keys", test_keys);
  return g_test_run ();
}
