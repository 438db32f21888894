/* SPDX-License-Identifier: BSD-3-Clause
 *
 * test-nbd.c - disks on NBD servers in a real daemon, within its filters of system
 * calls: connections of the queues, servers that come back, exports that grow
 */
#include <endian.h>
#include <glib/gstdio.h>
#include <linux/virtio_blk.h>
#include <signal.h>
#include <string.h>
#include <unistd.h>

#include "tests/devices/blk/nbd-server.h"
#include "tests/lib/blk.h"
#include "tests/lib/machine.h"

#define SECTOR  512u
#define SIZE    (1u << 20)
#define N_RINGS 2u

typedef struct {
  VtDaemon *daemon;
  char *path; /* of the server's image */
  VtNbdServer *server;
  VtMachine *vm;
} Fixture;

static void
set_up (Fixture *f, gconstpointer data)
{
  f->daemon = vt_daemon_new ();
  if (!vt_nbd_server_exists ("nbdkit"))
    return;
  f->path = vt_daemon_image (f->daemon, "image", SIZE);
  f->server = vt_nbdkit_new ("file", f->path, "--filter=multi-conn",
                             "multi-conn-mode=emulate", NULL);
  vt_nbd_server_start (f->server);
  vt_daemon_add (f->daemon, "disk", "blk", "image", f->server->uri, "queues",
                 "2", NULL);
  vt_daemon_start (f->daemon);
  f->vm = vt_machine_new (VT_ORDER_QEMU_11, VT_RING_EVENT_IDX, N_RINGS, 64);
  vt_machine_connect (f->vm, f->daemon, "disk", 60);
  vt_machine_start (f->vm);
}

static void
tear_down (Fixture *f, gconstpointer data)
{
  if (f->server != NULL) {
    vt_machine_free (f->vm);
    vt_daemon_stop (f->daemon);
    vt_nbd_server_free (f->server);
    g_free (f->path);
  }
  vt_daemon_free (f->daemon);
}

static void
use (VtRing *ring, guint64 sector, guint8 byte)
{
  guint8 bytes[SECTOR];

  memset (bytes, byte, SECTOR);
  g_assert_cmpuint (vt_blk_write (ring, sector, bytes, SECTOR), ==,
                    VIRTIO_BLK_S_OK);
  memset (bytes, 0, SECTOR);
  g_assert_cmpuint (vt_blk_read (ring, sector, bytes, SECTOR), ==,
                    VIRTIO_BLK_S_OK);
  g_assert_cmpuint (bytes[SECTOR - 1], ==, byte);
}

static void
use_all (Fixture *f, guint64 sector, guint8 byte)
{
  for (guint i = 0; i < N_RINGS; i++)
    use (f->vm->rings[i], sector + i, (guint8) (byte + i));
}

static void
wait_connections (Fixture *f, guint n)
{
  gint64 end = g_get_monotonic_time () + VT_TIMEOUT_MS * 1000;

  while (vt_nbd_server_count (f->server, " Connect ") < n) {
    g_assert_cmpint (g_get_monotonic_time (), <, end);
    g_usleep (10000);
  }
}

static void
restart (Fixture *f, int signal_number)
{
  vt_nbd_server_stop (f->server, signal_number);
  vt_nbd_server_start (f->server);
}

/* One for each, and the device's; again after each restart. */
static void
test_queues_connect_by_themselves (Fixture *f, gconstpointer data)
{
  if (f->server == NULL)
    return;
  for (guint round = 0; round < 3; round++) {
    use_all (f, 0, (guint8) round);
    wait_connections (f, (round + 1) * (1 + N_RINGS));
    use_all (f, 8, (guint8) round);
    restart (f, round % 2 == 0 ? SIGKILL : SIGTERM);
  }
  vt_daemon_signal (f->daemon, SIGUSR1);
  vt_daemon_wait_log (f->daemon, "system calls stopped: 0\n");
}

static void
expect_size (Fixture *f, guint64 size)
{
  guint64 sectors;

  vt_wait_config_change (f->vm->fe);
  g_assert_true (vt_get_config (f->vm->fe, 0, &sectors, sizeof sectors));
  g_assert_cmpuint (GUINT64_FROM_LE (sectors) * SECTOR, ==, size);
  use_all (f, size / SECTOR - N_RINGS, (guint8) (size >> 20));
}

/* By those connections, too, that were there before. */
static void
test_a_grown_export_is_seen_on_reload (Fixture *f, gconstpointer data)
{
  if (f->server == NULL)
    return;
  use_all (f, 0, 1);
  wait_connections (f, 1 + N_RINGS);
  for (guint n = 2; n < 5; n++) {
    g_assert_no_errno (truncate (f->path, n * (off_t) SIZE));
    vt_daemon_reload (f->daemon);
    expect_size (f, n * SIZE);
  }
}

static void
test_a_grown_export_is_seen_after_a_restart (Fixture *f, gconstpointer data)
{
  if (f->server == NULL)
    return;
  use_all (f, 0, 1);
  g_assert_no_errno (truncate (f->path, 2 * (off_t) SIZE));
  restart (f, SIGKILL);
  expect_size (f, 2 * SIZE);
}

int
main (int argc, char **argv)
{
  g_test_init (&argc, &argv, NULL);
#define ADD(name, func)                                                        \
  g_test_add ("/nbd/" name, Fixture, NULL, set_up, func, tear_down)
  ADD ("queues", test_queues_connect_by_themselves);
  ADD ("grown/reload", test_a_grown_export_is_seen_on_reload);
  ADD ("grown/restart", test_a_grown_export_is_seen_after_a_restart);
  return g_test_run ();
}
