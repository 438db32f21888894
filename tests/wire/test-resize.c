/* SPDX-License-Identifier: BSD-3-Clause
 *
 * test-resize.c - a disk that grows and shrinks under a running driver, by the
 * key and by whoever changes the image
 */
#include <fcntl.h>
#include <glib/gstdio.h>
#include <linux/loop.h>
#include <sys/ioctl.h>
#include <unistd.h>

#include "tests/devices/blk/loop.h"
#include "tests/lib/blk.h"
#include "tests/lib/machine.h"

#define SECTOR 512u
#define MIB    (1u << 20)

/* What the driver is promised, and a few attempts for a busy machine. */
#define SEEN_US (50 * G_TIME_SPAN_MILLISECOND)
#define TRIES   10

typedef struct {
  VtDaemon *daemon;
  VtMachine *machine;
  char *path;
} Fixture;

static void
set_up (Fixture *f, gconstpointer data)
{
  f->daemon = vt_daemon_new ();
  f->path = vt_daemon_image (f->daemon, "image", 4 * MIB);
}

static void
serve (Fixture *f, const char *image)
{
  vt_daemon_add (f->daemon, "disk", "blk", "image", image, NULL);
  vt_daemon_start (f->daemon);
  f->machine = vt_machine_new (VT_ORDER_QEMU_11, VT_RING_EVENT_IDX, 2, 64);
  vt_machine_connect (f->machine, f->daemon, "disk", 60);
  vt_machine_start (f->machine);
}

static void
tear_down (Fixture *f, gconstpointer data)
{
  vt_machine_free (f->machine);
  if (f->daemon->pid != 0)
    vt_daemon_stop (f->daemon);
  vt_daemon_free (f->daemon);
  g_free (f->path);
}

static guint64
capacity (Fixture *f)
{
  guint64 sectors;

  g_assert_true (vt_get_config (f->machine->fe, 0, &sectors, sizeof sectors));
  return GUINT64_FROM_LE (sectors) * SECTOR;
}

/* The driver is told, the new end is usable, what lies behind is not. */
static void
expect_size (Fixture *f, guint64 size)
{
  VtRing *ring = f->machine->rings[1];
  guint8 sector[SECTOR];

  vt_wait_config_change (f->machine->fe);
  g_assert_cmpuint (capacity (f), ==, size);
  g_assert_cmpuint (vt_blk_read (ring, size / SECTOR - 1, sector, SECTOR), ==,
                    VIRTIO_BLK_S_OK);
  g_assert_cmpuint (vt_blk_write (ring, size / SECTOR, sector, SECTOR), ==,
                    VIRTIO_BLK_S_IOERR);
}

static void
cut (Fixture *f, guint64 size)
{
  g_assert_cmpint (truncate (f->path, (off_t) size), ==, 0);
}

static gboolean
has_inotify (GPid pid)
{
  g_autofree char *path = g_strdup_printf ("/proc/%d/fd", pid);
  g_autoptr (GDir) dir = g_dir_open (path, 0, NULL);
  const char *name;

  g_assert_nonnull (dir);
  while ((name = g_dir_read_name (dir)) != NULL) {
    g_autofree char *link = g_build_filename (path, name, NULL);
    g_autofree char *target = g_file_read_link (link, NULL);

    if (g_strcmp0 (target, "anon_inode:inotify") == 0)
      return TRUE;
  }
  return FALSE;
}

static void
test_a_changed_file_is_a_changed_disk (Fixture *f, gconstpointer data)
{
  serve (f, f->path);
  g_assert_true (has_inotify (f->daemon->pid));
  g_assert_cmpuint (capacity (f), ==, 4 * MIB);
  cut (f, 9 * MIB);
  expect_size (f, 9 * MIB);
  cut (f, 2 * MIB);
  expect_size (f, 2 * MIB);
}

static void
test_the_driver_knows_within_50_ms (Fixture *f, gconstpointer data)
{
  gint64 best = G_MAXINT64;

  serve (f, f->path);
  for (guint i = 0; i < TRIES && best > SEEN_US; i++) {
    gint64 begin = g_get_monotonic_time ();

    cut (f, (5 + i) * MIB);
    vt_wait_config_change (f->machine->fe);
    g_assert_cmpuint (capacity (f), ==, (5 + i) * MIB);
    best = MIN (best, g_get_monotonic_time () - begin);
  }
  g_test_message ("seen after %" G_GINT64_FORMAT " us", best);
  g_assert_cmpint (best, <=, SEEN_US);
}

static void
reload (Fixture *f, const char *size)
{
  vt_daemon_set (f->daemon, "disk", "size", size);
  vt_daemon_reload (f->daemon);
}

static void
test_the_key_grows_and_shrinks_the_disk (Fixture *f, gconstpointer data)
{
  GStatBuf st;

  serve (f, f->path);
  reload (f, "6M");
  expect_size (f, 6 * MIB);
  reload (f, "3M");
  expect_size (f, 3 * MIB);
  /* What the disk does not show any more is not lost. */
  g_assert_cmpint (g_stat (f->path, &st), ==, 0);
  g_assert_cmpint (st.st_size, ==, 6 * MIB);
  reload (f, "5000");
  vt_daemon_wait_log (f->daemon, "size=5000: is not a multiple of its blocks "
                                 "of 512 bytes");
  g_assert_cmpuint (capacity (f), ==, 3 * MIB);
}

static void
test_a_lost_image_keeps_the_size (Fixture *f, gconstpointer data)
{
  guint8 sector[SECTOR];

  serve (f, f->path);
  cut (f, 0);
  vt_daemon_wait_log (f->daemon, "disk: the disk keeps its size: the image has "
                                 "0 bytes, less than a block of 512");
  g_assert_cmpuint (capacity (f), ==, 4 * MIB);
  g_assert_cmpuint (vt_blk_read (f->machine->rings[0], 0, sector, SECTOR), ==,
                    VIRTIO_BLK_S_IOERR);
}

/* Writes all over the part that stays, while the end moves. */
static void
test_requests_go_on_while_the_size_changes (Fixture *f, gconstpointer data)
{
  VtRing *ring;
  guint n_done = 0;

  serve (f, f->path);
  ring = f->machine->rings[0];
  for (guint i = 0; i < 16; i++) {
    VtBlkRequest *request = vt_blk_request_new (
        f->machine->guest, i % 2 ? VIRTIO_BLK_T_OUT : VIRTIO_BLK_T_IN,
        i * MIB / SECTOR / 16, 4096);

    g_assert_true (vt_blk_add (ring, request));
  }
  vt_ring_kick (ring);
  for (guint round = 0; round < 40; round++) {
    guint64 size = round % 2 ? 2 * MIB : (3 + round) * MIB;

    cut (f, size);
    do {
      VtBlkRequest *request = vt_ring_take (ring, NULL);

      g_assert_cmpuint (*request->status, ==, VIRTIO_BLK_S_OK);
      n_done++;
      g_assert_true (vt_blk_add (ring, request));
      vt_ring_kick (ring);
    } while (capacity (f) != size);
    g_assert_cmpuint (vt_channel_receive (f->machine->fe, VT_TIMEOUT_MS), !=,
                      0);
  }
  while (vt_ring_n_in_flight (ring) > 0)
    g_free (vt_ring_take (ring, NULL));
  g_assert_cmpuint (n_done, >=, 40);
}

/* Runs a command as a user who has no inotify, by a program of its own: a
 * process with threads, as one under ThreadSanitizer is, cannot change its user
 * namespace. */
#define WITHOUT_INOTIFY                                                        \
  "unshare", "--user", "--map-root-user", "sh", "-c",                          \
      "echo 0 >/proc/sys/user/max_inotify_instances && exec \"$@\"", "sh"

static gboolean
can_give_up_inotify (void)
{
  const char *argv[] = { WITHOUT_INOTIFY, "true", NULL };
  int status;

  return g_spawn_sync (NULL, (char **) argv, NULL,
                       G_SPAWN_SEARCH_PATH | G_SPAWN_STDERR_TO_DEV_NULL, NULL,
                       NULL, NULL, NULL, &status, NULL) &&
         status == 0;
}

static void
test_without_inotify_the_size_is_looked_at (Fixture *f, gconstpointer data)
{
  if (!can_give_up_inotify ()) {
    g_test_skip ("no user namespace");
    return;
  }
  vt_daemon_run_under (f->daemon, WITHOUT_INOTIFY, NULL);
  serve (f, f->path);
  g_assert_false (has_inotify (f->daemon->pid));
  cut (f, 9 * MIB);
  expect_size (f, 9 * MIB);
}

static void
test_a_grown_block_device_is_seen (Fixture *f, gconstpointer data)
{
  g_autoptr (VtLoop) loop = vt_loop_new (f->path, 512);

  if (loop == NULL)
    return;
  serve (f, loop->path);
  cut (f, 8 * MIB);
  g_assert_cmpint (ioctl (loop->fd, LOOP_SET_CAPACITY, 0), ==, 0);
  expect_size (f, 8 * MIB);
  cut (f, 3 * MIB);
  g_assert_cmpint (ioctl (loop->fd, LOOP_SET_CAPACITY, 0), ==, 0);
  expect_size (f, 3 * MIB);
  reload (f, "4M");
  vt_daemon_wait_log (f->daemon, "size=4M: the image has only 3145728 bytes");
  g_clear_pointer (&f->machine, vt_machine_free);
  vt_daemon_stop (f->daemon);
}

int
main (int argc, char **argv)
{
  g_test_init (&argc, &argv, NULL);
#define ADD(name, func)                                                        \
  g_test_add ("/resize/" name, Fixture, NULL, set_up, func, tear_down)
  ADD ("file", test_a_changed_file_is_a_changed_disk);
  ADD ("latency", test_the_driver_knows_within_50_ms);
  ADD ("key", test_the_key_grows_and_shrinks_the_disk);
  ADD ("lost", test_a_lost_image_keeps_the_size);
  ADD ("load", test_requests_go_on_while_the_size_changes);
  ADD ("no-inotify", test_without_inotify_the_size_is_looked_at);
  ADD ("device", test_a_grown_block_device_is_seen);
  return g_test_run ();
}
