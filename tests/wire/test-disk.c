/* SPDX-License-Identifier: BSD-3-Clause
 *
 * test-disk.c - disks in a real daemon: threads that queues share, locks that
 * are handed over, descriptors that are passed, images that are cut
 */
#include <fcntl.h>
#include <signal.h>
#include <string.h>
#include <sys/mman.h>
#include <sys/stat.h>
#include <unistd.h>

#include "devices/blk/call.h"
#include "tests/devices/blk/fault-fs.h"
#include "tests/lib/blk.h"
#include "tests/lib/machine.h"
#include "vring/fd.h"

#define SECTOR    512u
#define SIZE      (1u << 20)
#define N_SECTORS (SIZE / SECTOR)

/* Reads of a sector by which each 64 KiB of an image earn their mapping. */
#define N_UNMAPPED (SIZE / (64u << 10) * 5)

static char *why_not; /* NULL: file systems that fail can be made */

static VtDaemon *
daemon_new (const char *image, const char *key, const char *value)
{
  VtDaemon *daemon = vt_daemon_new ();

  vt_daemon_add (daemon, "disk", "blk", "image", image, key, value, NULL);
  vt_daemon_start (daemon);
  return daemon;
}

static void
stop (VtDaemon *daemon)
{
  vt_daemon_stop (daemon);
  vt_daemon_free (daemon);
}

static VtMachine *
machine_new (VtDaemon *daemon, VtOrder order, guint n_rings)
{
  VtMachine *vm = vt_machine_new (order, VT_RING_EVENT_IDX, n_rings, 64);

  vt_machine_connect (vm, daemon, "disk", 60);
  return vm;
}

static void
use (VtRing *ring, guint8 byte)
{
  guint8 sector[SECTOR];

  memset (sector, byte, SECTOR);
  g_assert_cmpuint (vt_blk_write (ring, ring->index, sector, SECTOR), ==,
                    VIRTIO_BLK_S_OK);
  memset (sector, 0, SECTOR);
  g_assert_cmpuint (vt_blk_read (ring, ring->index, sector, SECTOR), ==,
                    VIRTIO_BLK_S_OK);
  g_assert_cmpuint (sector[SECTOR - 1], ==, byte);
}

/* Threads */

static void
test_queues_share_threads (gconstpointer data)
{
  const guint n_threads = GPOINTER_TO_UINT (data);
  g_autofree char *text = g_strdup_printf ("%u", n_threads);
  g_autoptr (VtDaemon) images = vt_daemon_new ();
  g_autofree char *path = vt_daemon_image (images, "image", SIZE);
  VtDaemon *daemon = daemon_new (path, "threads", text);
  VtMachine *vm = machine_new (daemon, VT_ORDER_QEMU_11, 4);
  guint before = vt_daemon_usage (daemon).n_threads;

  vt_machine_start (vm);
  g_assert_cmpuint (vt_daemon_usage (daemon).n_threads, ==,
                    before + MIN (n_threads, 4));
  for (guint round = 1; round < 3; round++) {
    for (guint i = 0; i < 4; i++)
      use (vm->rings[i], (guint8) (round + i));
    /* The first queue's thread serves the others also when it is stopped. */
    g_assert_cmpuint (vt_get_vring_base (vm->fe, 0), ==,
                      vt_ring_base (vm->rings[0]));
    for (guint i = 1; i < 4; i++)
      use (vm->rings[i], (guint8) (round + i));
    g_assert_true (vt_set_vring_kick (vm->fe, 0, vm->rings[0]->kick_fd));
  }
  vt_machine_free (vm);
  stop (daemon);
}

/* Returns: how many of its threads have names that begin with @prefix. */
static guint
n_threads_named (VtDaemon *daemon, const char *prefix)
{
  g_autofree char *tasks = g_strdup_printf ("/proc/%d/task", daemon->pid);
  g_autoptr (GDir) dir = g_dir_open (tasks, 0, NULL);
  const char *task;
  guint n = 0;

  while (dir && (task = g_dir_read_name (dir))) {
    g_autofree char *path = g_build_filename (tasks, task, "comm", NULL);
    g_autofree char *name = NULL;

    n += g_file_get_contents (path, &name, NULL, NULL) &&
         g_str_has_prefix (name, prefix);
  }
  return n;
}

static void
test_the_kernel_polls_if_asked_to (void)
{
  g_autoptr (VtDaemon) images = vt_daemon_new ();
  g_autofree char *path = vt_daemon_image (images, "image", SIZE);
  VtDaemon *daemon = vt_daemon_new ();
  VtMachine *vm;

  vt_daemon_add (daemon, "disk", "blk", "image", path, "sqpoll", "20", "engine",
                 "io_uring", NULL);
  if (vd_call_check_uring (NULL))
    vt_daemon_start (daemon);
  else {
    g_test_skip ("no io_uring");
    vt_daemon_free (daemon);
    return;
  }
  vm = machine_new (daemon, VT_ORDER_QEMU_11, 2);
  vt_machine_start (vm);
  for (guint i = 0; i < 300; i++)
    use (vm->rings[i % 2], (guint8) i);
  g_assert_cmpuint (n_threads_named (daemon, "iou-sqp-"), ==, 2);
  vt_machine_free (vm);
  stop (daemon);
}

/* Locks */

/* A driver starts, and its requests are not served. */
static void
start_in_vain (VtMachine *vm, VtDaemon *daemon)
{
  VtBlkRequest *request =
      vt_blk_request_new (vm->guest, VIRTIO_BLK_T_OUT, 0, SECTOR);

  vt_machine_start (vm);
  g_assert_true (vt_blk_add (vm->rings[0], request));
  vt_ring_kick_always (vm->rings[0]);
  vt_daemon_wait_log (daemon, "ring 0 cannot start: ");
  vt_daemon_wait_log (daemon, "another process or device");
  g_assert_cmpuint (*request->status, ==, VT_BLK_NO_STATUS);
  g_free (request);
}

static void
test_the_lock_goes_with_the_guest (void)
{
  g_autoptr (VtDaemon) images = vt_daemon_new ();
  g_autofree char *path = vt_daemon_image (images, "image", SIZE);
  VtDaemon *source = daemon_new (path, "lock", "start");
  VtDaemon *destination = daemon_new (path, "lock", "start");
  /* An order without acks: a ring that does not start is only logged. */
  VtMachine *from = machine_new (source, VT_ORDER_QEMU_7, 1);
  VtMachine *to = machine_new (destination, VT_ORDER_QEMU_7, 1);

  vt_machine_start (from);
  use (from->rings[0], 7);
  start_in_vain (to, destination);
  vt_machine_disconnect (to);
  vt_machine_stop (from);
  vt_machine_connect (to, destination, "disk", 60);
  vt_machine_start (to);
  use (to->rings[0], 8);
  /* The source is told so instead of writing beside its successor. */
  start_in_vain (from, source);
  vt_machine_free (from);
  vt_machine_free (to);
  stop (source);
  stop (destination);
}

static void
test_the_lock_is_given_back_after_a_flush (void)
{
  VtFaultFs *fs;
  VtDaemon *daemon;
  VtMachine *vm;
  guint n;

  if (why_not) {
    g_test_skip (why_not);
    return;
  }
  fs = vt_fault_fs_new (SIZE);
  daemon = daemon_new (fs->path, "lock", "start");
  vm = machine_new (daemon, VT_ORDER_QEMU_11, 1);
  vt_machine_start (vm);
  use (vm->rings[0], 7);
  n = fs->faults->n[VT_FAULT_SYNC];
  fs->faults->hold = 1 << VT_FAULT_SYNC;
  vt_send_get_vring_base (vm->fe, 0);
  vt_fault_wait_held (fs, 1);
  g_assert_true (vt_is_silent (vm->fe, 50));
  vt_fault_release (fs);
  g_assert_cmpuint (vt_receive_vring_base (vm->fe, 0), ==,
                    vt_ring_base (vm->rings[0]));
  g_assert_cmpuint (fs->faults->n[VT_FAULT_SYNC], ==, n + 1);
  vt_machine_free (vm);
  stop (daemon);
  vt_fault_fs_free (fs);
}

static void
test_a_locked_image_is_not_opened_twice (void)
{
  g_autoptr (VtDaemon) images = vt_daemon_new ();
  g_autofree char *path = vt_daemon_image (images, "image", SIZE);
  VtDaemon *first = daemon_new (path, "lock", "auto");
  VtDaemon *second = vt_daemon_new ();

  vt_daemon_add (second, "disk", "blk", "image", path, NULL);
  g_assert_cmpint (vt_daemon_run (second), ==, 1);
  vt_daemon_wait_log (second, "another process or device");
  vt_daemon_free (second);
  stop (first);
}

/* Descriptors */

static void
test_an_image_may_be_passed (void)
{
  g_autoptr (VtDaemon) images = vt_daemon_new ();
  g_autofree char *path = vt_daemon_image (images, "image", SIZE);
  vd_autofd fd = open (path, O_RDWR | O_CLOEXEC);
  VtDaemon *daemon = vt_daemon_new ();
  int number = vt_daemon_inherit (daemon, fd);
  g_autofree char *image = g_strdup_printf ("fd:%d", number);
  VtMachine *vm;

  vt_daemon_add (daemon, "disk", "blk", "image", image, NULL);
  vt_daemon_start (daemon);
  vm = machine_new (daemon, VT_ORDER_QEMU_11, 1);
  vt_machine_start (vm);
  use (vm->rings[0], 9);
  vt_machine_free (vm);
  stop (daemon);
}

/* Mapped images */

/* What sector @i contains. */
static void
fill (guint8 *sector, guint i)
{
  for (guint at = 0; at < SECTOR; at++)
    sector[at] = (guint8) (i * 7 + at);
}

static int
memory_image (void)
{
  int fd = memfd_create ("image", MFD_CLOEXEC);
  guint8 sector[SECTOR];

  g_assert_cmpint (fd, >=, 0);
  for (guint i = 0; i < N_SECTORS; i++) {
    fill (sector, i);
    g_assert_cmpint (write (fd, sector, SECTOR), ==, SECTOR);
  }
  return fd;
}

static void
wait_mapped (VtDaemon *daemon, guint n)
{
  g_autofree char *line = g_strdup_printf ("disk: mapped-calls: %u\n", n);

  vt_daemon_signal (daemon, SIGUSR1);
  vt_daemon_wait_log (daemon, line);
}

/* Reads all sectors; those from @end on must be errors. */
static void
check_image (VtRing *ring, guint end)
{
  guint8 sector[SECTOR], expected[SECTOR];

  for (guint i = 0; i < N_SECTORS; i++) {
    guint8 status = vt_blk_read (ring, i, sector, SECTOR);

    fill (expected, i);
    g_assert_cmpuint (status, ==,
                      i < end ? VIRTIO_BLK_S_OK : VIRTIO_BLK_S_IOERR);
    if (i < end)
      g_assert_cmpmem (sector, SECTOR, expected, SECTOR);
  }
}

/* Its bytes are gone from under the mapping that they are read from; the daemon
 * goes on, also with this disk. */
static void
test_an_image_may_be_cut_while_it_is_read (void)
{
  vd_autofd fd = memory_image ();
  VtDaemon *daemon = vt_daemon_new ();
  g_autofree char *image =
      g_strdup_printf ("fd:%d", vt_daemon_inherit (daemon, fd));
  VtMachine *vm;

  vt_daemon_add (daemon, "disk", "blk", "image", image, NULL);
  vt_daemon_start (daemon);
  vm = machine_new (daemon, VT_ORDER_QEMU_11, 2);
  vt_machine_start (vm);
  check_image (vm->rings[0], N_SECTORS);
  wait_mapped (daemon, N_SECTORS - N_UNMAPPED);
  g_assert_cmpint (ftruncate (fd, SIZE / 2), ==, 0);
  check_image (vm->rings[0], SIZE / 2 / SECTOR);
  check_image (vm->rings[1], SIZE / 2 / SECTOR);
  vt_machine_free (vm);
  stop (daemon);
}

/* Without a system call, but for the one that the confined thread may make. */
static void
test_a_write_to_memory_changes_the_time_of_the_image (void)
{
  const struct timespec old[] = { { .tv_sec = 1 }, { .tv_sec = 1 } };
  vd_autofd fd = memory_image ();
  VtDaemon *daemon = vt_daemon_new ();
  g_autofree char *image =
      g_strdup_printf ("fd:%d", vt_daemon_inherit (daemon, fd));
  guint8 sector[SECTOR], found[SECTOR];
  VtMachine *vm;
  struct stat st;

  vt_daemon_add (daemon, "disk", "blk", "image", image, NULL);
  vt_daemon_start (daemon);
  vm = machine_new (daemon, VT_ORDER_QEMU_11, 2);
  vt_machine_start (vm);
  check_image (vm->rings[0], N_SECTORS);
  g_assert_no_errno (futimens (fd, old));
  fill (sector, 7);
  g_assert_cmpuint (vt_blk_write (vm->rings[0], 3, sector, SECTOR), ==,
                    VIRTIO_BLK_S_OK);
  g_assert_no_errno (fstat (fd, &st));
  g_assert_cmpint (st.st_mtim.tv_sec, >, 1);
  g_assert_cmpint (pread (fd, found, SECTOR, 3 * SECTOR), ==, SECTOR);
  g_assert_cmpmem (found, SECTOR, sector, SECTOR);
  wait_mapped (daemon, N_SECTORS - N_UNMAPPED + 1);
  vt_machine_free (vm);
  stop (daemon);
}

int
main (int argc, char **argv)
{
  g_test_init (&argc, &argv, NULL);
  why_not = vt_fault_fs_prepare ();
  g_test_add_data_func ("/disk/threads/1", GUINT_TO_POINTER (1),
                        test_queues_share_threads);
  g_test_add_data_func ("/disk/threads/3", GUINT_TO_POINTER (3),
                        test_queues_share_threads);
  g_test_add_data_func ("/disk/threads/9", GUINT_TO_POINTER (9),
                        test_queues_share_threads);
  g_test_add_func ("/disk/sqpoll", test_the_kernel_polls_if_asked_to);
  g_test_add_func ("/disk/lock/hand-over", test_the_lock_goes_with_the_guest);
  g_test_add_func ("/disk/lock/flush",
                   test_the_lock_is_given_back_after_a_flush);
  g_test_add_func ("/disk/lock/twice", test_a_locked_image_is_not_opened_twice);
  g_test_add_func ("/disk/descriptor", test_an_image_may_be_passed);
  g_test_add_func ("/disk/mapped/cut",
                   test_an_image_may_be_cut_while_it_is_read);
  g_test_add_func ("/disk/mapped/time",
                   test_a_write_to_memory_changes_the_time_of_the_image);
  return g_test_run ();
}
