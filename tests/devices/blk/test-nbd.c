/* SPDX-License-Identifier: BSD-3-Clause
 *
 * test-nbd.c - disks on NBD servers: what is sent to them, and what happens when
 * they fail, go away and come back
 *
 * The servers are nbdkit with its filters and qemu-nbd, on UNIX sockets.
 */
#include "devices/blk/blk.h"

#include <malloc.h>
#include <signal.h>
#include <stddef.h>
#include <string.h>
#include <unistd.h>

#include "tests/devices/blk/nbd-server.h"
#include "tests/devices/blk/random.h"

#define SECTOR   512u
#define PAGE     4096u
#define N_QUEUES 4u

typedef struct {
  VtDisk disk;
  VtNbdServer *server;
} Fixture;

/* @...: more arguments of nbdkit, which serves the disk's image */
#define set_up(f, ...)                                                         \
  (vt_disk_init (&(f)->disk, FALSE),                                           \
   (f)->server = vt_nbdkit_new ("file", (f)->disk.path, __VA_ARGS__, NULL),    \
   vt_nbd_server_start ((f)->server))

static void
tear_down (Fixture *f)
{
  g_clear_pointer (&f->disk.rig, vt_rig_free);
  vt_nbd_server_free (f->server);
  vt_disk_tear_down (&f->disk, NULL);
}

static void
open_disk (Fixture *f, const char *key, const char *value)
{
  g_autoptr (GError) error = NULL;

  f->disk.rig = vt_rig_open (f->disk.guest, &vd_blk_ops, &error, "image",
                             f->server->uri, key, value, NULL);
  g_assert_no_error (error);
}

static void
start_disk (Fixture *f, const char *key, const char *value)
{
  open_disk (f, key, value);
  vt_disk_start (&f->disk);
}

/* The device must not open, for this reason. */
static void
expect_refusal (Fixture *f, const char *uri, const char *key, const char *value,
                const char *why)
{
  g_autoptr (GError) error = NULL;

  g_assert_null (vt_rig_open (f->disk.guest, &vd_blk_ops, &error, "image", uri,
                              key, value, NULL));
  g_assert_nonnull (strstr (error->message, uri));
  if (strstr (error->message, why) == NULL)
    g_error ("'%s' does not say '%s'", error->message, why);
}

static void
check_image (Fixture *f)
{
  g_assert_cmpuint (vt_blk_flush (f->disk.ring), ==, VIRTIO_BLK_S_OK);
  vt_disk_check (&f->disk);
}

/* Data. */

static const char *const multi_conn[] = { "multi-conn-mode=emulate",
                                          "multi-conn-mode=disable" };

static void
run_data (const char *mode, gboolean force_poll, const char *cache)
{
  Fixture f = { 0 };

  set_up (&f, "--filter=multi-conn", mode);
  open_disk (&f, "cache", cache);
  f.disk.rig->queues.force_poll = force_poll;
  vt_disk_start (&f.disk);
  vt_random_run (&f.disk, 24);
  check_image (&f);
  g_assert_cmpuint (vt_nbd_server_count (f.server, " Connect "), ==,
                    g_str_equal (mode, multi_conn[0]) ? 2 : 1);
  tear_down (&f);
}

/* By a connection of the queue's own where that is allowed, else by one for
 * all; with and without io_uring. */
static void
test_what_is_written_is_read_back (void)
{
  if (!vt_nbd_server_exists ("nbdkit"))
    return;
  for (guint i = 0; i < G_N_ELEMENTS (multi_conn) * 2; i++)
    run_data (multi_conn[i / 2], i % 2 == 1, "writeback");
  run_data (multi_conn[0], FALSE, "writethrough");
}

/* Longer than what libnbd sends in one command, and scattered. */
static void
test_long_requests_arrive (void)
{
  Fixture f = { 0 };
  VtBuf bufs[128];
  guint8 *data, *status;
  struct virtio_blk_outhdr *header;

  if (!vt_nbd_server_exists ("nbdkit"))
    return;
  set_up (&f, "--filter=blocksize-policy", "blocksize-preferred=4096",
          "blocksize-maximum=256k");
  start_disk (&f, "lock", "off");
  header = vt_guest_alloc (f.disk.guest, sizeof *header, 8);
  status = vt_guest_alloc (f.disk.guest, 1, 1);
  data = vt_guest_alloc (f.disk.guest, VT_DISK_SIZE, PAGE);
  bufs[0] = (VtBuf){ header, sizeof *header, FALSE };
  /* Pages in the wrong order, then a long stretch. */
  for (guint i = 0; i < 125; i++)
    bufs[1 + i] = (VtBuf){ data + (124 - i) * PAGE, PAGE, TRUE };
  bufs[126] = (VtBuf){ data + 125 * PAGE, VT_DISK_SIZE - 125 * PAGE, TRUE };
  bufs[127] = (VtBuf){ status, 1, TRUE };
  g_assert_true (vt_ring_add (f.disk.ring, bufs, 128, data));
  vt_ring_kick (f.disk.ring);
  g_assert_true (vt_ring_take (f.disk.ring, NULL) == data);
  g_assert_cmpuint (*status, ==, VIRTIO_BLK_S_OK);
  for (guint i = 0; i < 125; i++)
    g_assert_cmpmem (data + (124 - i) * PAGE, PAGE, f.disk.shadow + i * PAGE,
                     PAGE);
  g_assert_cmpmem (data + 125 * PAGE, VT_DISK_SIZE - 125 * PAGE,
                   f.disk.shadow + 125 * PAGE, VT_DISK_SIZE - 125 * PAGE);
  tear_down (&f);
}

/* The server's smallest block is the guest's, and buffers smaller than it are
 * put together. */
static void
test_the_server_s_blocks_are_respected (void)
{
  Fixture f = { 0 };

  if (!vt_nbd_server_exists ("nbdkit"))
    return;
  set_up (&f, "--filter=blocksize-policy", "blocksize-minimum=4096",
          "blocksize-preferred=64k", "blocksize-error-policy=error");
  expect_refusal (&f, f.server->uri, "block-size", "512",
                  "the server needs block-size=4096");
  start_disk (&f, "lock", "off");
  g_assert_cmpuint (vt_disk_config (&f.disk).blk_size, ==, 4096);
  g_assert_cmpuint (vt_disk_config (&f.disk).min_io_size, ==, 16);
  g_assert_cmpuint (vt_disk_run_sized (&f.disk, VIRTIO_BLK_T_IN, 1, PAGE), ==,
                    VIRTIO_BLK_S_IOERR);
  g_assert_cmpuint (vt_disk_run_sized (&f.disk, VIRTIO_BLK_T_IN, 8, PAGE), ==,
                    VIRTIO_BLK_S_OK);
  f.disk.block = PAGE;
  vt_random_run (&f.disk, 8);
  check_image (&f);
  tear_down (&f);
}

/* Commands. */

static void
expect_command (Fixture *f, const char *pattern, guint n)
{
  guint found = vt_nbd_server_count (f->server, pattern);

  if (found != n)
    g_error ("%u times '%s' instead of %u", found, pattern, n);
}

static void
test_commands_carry_their_flags (void)
{
  Fixture f = { 0 };
  const VtRange range = { .sector = 16, .num_sectors = 8 };
  const VtRange unmap = { .sector = 32, .num_sectors = 8, .flags = 1 };

  if (!vt_nbd_server_exists ("nbdkit"))
    return;
  set_up (&f, "--threads=8");
  start_disk (&f, "cache", "writethrough");
  g_assert_cmpuint (vt_disk_run_sized (&f.disk, VIRTIO_BLK_T_OUT, 0, PAGE), ==,
                    VIRTIO_BLK_S_OK);
  expect_command (&f, " Write .*count=0x1000 fua=1 ", 1);
  g_assert_cmpuint (
      vt_disk_run_ranges (&f.disk, VIRTIO_BLK_T_DISCARD, &range, 1), ==,
      VIRTIO_BLK_S_OK);
  expect_command (&f, " Trim .*offset=0x2000 count=0x1000 ", 1);
  g_assert_cmpuint (
      vt_disk_run_ranges (&f.disk, VIRTIO_BLK_T_WRITE_ZEROES, &range, 1), ==,
      VIRTIO_BLK_S_OK);
  expect_command (&f, " Zero .*offset=0x2000 count=0x1000 trim=0 ", 1);
  g_assert_cmpuint (
      vt_disk_run_ranges (&f.disk, VIRTIO_BLK_T_WRITE_ZEROES, &unmap, 1), ==,
      VIRTIO_BLK_S_OK);
  expect_command (&f, " Zero .*offset=0x4000 count=0x1000 trim=1 ", 1);
  expect_command (&f, " Flush .*\\.\\.\\.$", 2); /* the zeroes' durability */
  tear_down (&f);
}

/* A server without FUA is flushed behind each write. */
static void
test_writes_are_durable_without_fua (void)
{
  Fixture f = { 0 };

  if (!vt_nbd_server_exists ("nbdkit"))
    return;
  vt_disk_init (&f.disk, FALSE);
  f.server = vt_nbdkit_new (
      "eval", "get_size=echo 1M", "pread=head -c $3 /dev/zero",
      "pwrite=cat >/dev/null", "can_write=exit 0", "can_flush=exit 0",
      "flush=exit 0", "can_fua=echo none", NULL);
  vt_nbd_server_start (f.server);
  start_disk (&f, "cache", "writethrough");
  g_assert_cmpuint (vt_disk_run_sized (&f.disk, VIRTIO_BLK_T_OUT, 0, PAGE), ==,
                    VIRTIO_BLK_S_OK);
  expect_command (&f, " Write .*fua=0 ", 1);
  expect_command (&f, " Flush .*\\.\\.\\.$", 1);
  tear_down (&f);
}

/* Servers that know neither trims nor zeroes get zeroes as data. */
static void
test_zeroes_are_written_where_need_be (void)
{
  Fixture f = { 0 };
  const VtRange range = { .sector = 16, .num_sectors = 4096 };

  if (!vt_nbd_server_exists ("nbdkit"))
    return;
  set_up (&f, "--filter=nozero");
  start_disk (&f, "discard", "no");
  g_assert_cmpuint (
      vt_disk_run_ranges (&f.disk, VIRTIO_BLK_T_WRITE_ZEROES, &range, 1), ==,
      VIRTIO_BLK_S_OK);
  memset (f.disk.shadow + 16 * SECTOR, 0, 4096 * SECTOR);
  check_image (&f);
  expect_command (&f, " Zero ", 0);
  tear_down (&f);
}

/* The guest's switch to write-through flushes what was written before. */
static void
test_the_cache_mode_can_be_switched (void)
{
  Fixture f = { 0 };
  const guint8 wce = 0;

  if (!vt_nbd_server_exists ("nbdkit"))
    return;
  set_up (&f, "--threads=8");
  start_disk (&f, "cache", "writeback");
  g_assert_cmpuint (vt_disk_run_sized (&f.disk, VIRTIO_BLK_T_OUT, 0, PAGE), ==,
                    VIRTIO_BLK_S_OK);
  expect_command (&f, " Flush .*\\.\\.\\.$", 0);
  g_assert_true (vt_rig_write_config (
      f.disk.rig, offsetof (struct virtio_blk_config, wce), &wce, 1));
  expect_command (&f, " Flush .*\\.\\.\\.$", 1);
  tear_down (&f);
}

/* Errors. */

static void
test_errors_reach_the_driver (void)
{
  Fixture f = { 0 };

  if (!vt_nbd_server_exists ("nbdkit"))
    return;
  set_up (&f, "--filter=error", "error-pread=EIO", "error-pread-rate=100%",
          "error-pwrite=ENOSPC", "error-pwrite-rate=100%");
  start_disk (&f, "on-enospc", "report");
  g_assert_cmpuint (vt_disk_run_sized (&f.disk, VIRTIO_BLK_T_IN, 0, PAGE), ==,
                    VIRTIO_BLK_S_IOERR);
  g_assert_cmpuint (vt_disk_run_sized (&f.disk, VIRTIO_BLK_T_OUT, 0, PAGE), ==,
                    VIRTIO_BLK_S_IOERR);
  g_assert_cmpuint (vt_blk_flush (f.disk.ring), ==, VIRTIO_BLK_S_OK);
  tear_down (&f);
}

static void
test_a_read_only_export_is_refused_or_kept (void)
{
  Fixture f = { 0 };

  if (!vt_nbd_server_exists ("nbdkit"))
    return;
  set_up (&f, "--readonly");
  expect_refusal (&f, f.server->uri, "lock", "off", "add read-only=yes");
  start_disk (&f, "read-only", "yes");
  g_assert_true (vt_disk_offers (&f.disk, VIRTIO_BLK_F_RO));
  g_assert_cmpuint (vt_disk_run_sized (&f.disk, VIRTIO_BLK_T_IN, 0, PAGE), ==,
                    VIRTIO_BLK_S_OK);
  g_assert_cmpuint (vt_disk_run_sized (&f.disk, VIRTIO_BLK_T_OUT, 0, PAGE), ==,
                    VIRTIO_BLK_S_IOERR);
  tear_down (&f);
}

static void
test_mistakes_are_named (void)
{
  Fixture f = { 0 };
  g_autofree char *missing = NULL, *export = NULL;

  if (!vt_nbd_server_exists ("nbdkit"))
    return;
  set_up (&f, "--filter=exportname", "exportname-strict=true",
          "exportname=known");
  missing = g_strconcat (f.server->uri, "-missing", NULL);
  export = g_strdup_printf ("nbd+unix:///other?socket=%s", f.server->socket);
  expect_refusal (&f, missing, "lock", "off", "No such file");
  expect_refusal (&f, export, "lock", "off", "other");
  expect_refusal (&f, "nbd://name.invalid/", "lock", "off", "name.invalid");
  expect_refusal (&f, "nbd+carrier-pigeon:///", "lock", "off", "scheme");
  expect_refusal (&f, "nbd+unix:///known", "lock", "off", "socket parameter");
  expect_refusal (&f, "nbd://[::1", "lock", "off", "parse URI");
  expect_refusal (&f, "nbd:", "lock", "off", "No such file");
  g_free (f.server->uri);
  f.server->uri =
      g_strdup_printf ("nbd+unix:///known?socket=%s", f.server->socket);
  expect_refusal (&f, f.server->uri, "size", "9M", "only 8388608 bytes");
  tear_down (&f);
}

/* Servers that go away. */

static void
test_requests_wait_for_a_server (void)
{
  Fixture f = { 0 };
  VtBlkRequest *request;

  if (!vt_nbd_server_exists ("nbdkit"))
    return;
  set_up (&f, "--threads=8");
  start_disk (&f, "lock", "off");
  vt_nbd_server_stop (f.server, SIGKILL);
  request = vt_blk_request_new (f.disk.guest, VIRTIO_BLK_T_FLUSH, 0, 0);
  g_assert_true (vt_blk_add (f.disk.ring, request));
  vt_ring_kick (f.disk.ring);
  g_assert_false (vt_ring_wait (f.disk.ring, 300));
  vt_nbd_server_start (f.server);
  g_assert_true (vt_ring_take (f.disk.ring, NULL) == request);
  g_assert_cmpuint (*request->status, ==, VIRTIO_BLK_S_OK);
  g_free (request);
  tear_down (&f);
}

static void
run_restart (const char *mode, int signal_number, const char *delay)
{
  Fixture f = { 0 };
  VtRandom requests[VT_RANDOM_DEPTH];

  set_up (&f, "--filter=multi-conn", mode, "--filter=delay", delay);
  start_disk (&f, "lock", "off");
  vt_random_init (requests, &f.disk);
  for (guint i = 0; i < 6; i++) {
    vt_random_begin (requests, &f.disk);
    vt_nbd_server_stop (f.server, signal_number);
    vt_nbd_server_start (f.server);
    vt_random_end (&f.disk);
    g_assert_cmpuint (vt_blk_flush (f.disk.ring), ==, VIRTIO_BLK_S_OK);
  }
  check_image (&f);
  tear_down (&f);
}

/* Whether requests are at the server, on the way or not yet sent, and however it
 * ends, they succeed when it is back. */
static void
test_requests_survive_a_restart (void)
{
  if (!vt_nbd_server_exists ("nbdkit"))
    return;
  for (guint i = 0; i < G_N_ELEMENTS (multi_conn); i++) {
    run_restart (multi_conn[i], SIGKILL, "delay-read=20ms");
    run_restart (multi_conn[i], SIGTERM, "delay-write=20ms");
  }
}

static void
test_requests_fail_after_the_delay (void)
{
  Fixture f = { 0 };
  gint64 begin;

  if (!vt_nbd_server_exists ("nbdkit"))
    return;
  set_up (&f, "--threads=8");
  start_disk (&f, "reconnect-delay", "0.3");
  vt_nbd_server_stop (f.server, SIGKILL);
  begin = g_get_monotonic_time ();
  g_assert_cmpuint (vt_disk_run_sized (&f.disk, VIRTIO_BLK_T_OUT, 0, PAGE), ==,
                    VIRTIO_BLK_S_IOERR);
  g_assert_cmpint (g_get_monotonic_time () - begin, >, 200000);
  /* From now on at once. */
  g_assert_cmpuint (vt_blk_flush (f.disk.ring), ==, VIRTIO_BLK_S_IOERR);
  vt_nbd_server_start (f.server);
  begin = g_get_monotonic_time ();
  while (vt_blk_flush (f.disk.ring) != VIRTIO_BLK_S_OK)
    g_assert_cmpint (g_get_monotonic_time () - begin, <, 20 * G_USEC_PER_SEC);
  /* A flush that nobody could be asked for is no lost data. */
  g_assert_cmpuint (vt_disk_run_sized (&f.disk, VIRTIO_BLK_T_IN, 0, PAGE), ==,
                    VIRTIO_BLK_S_OK);
  tear_down (&f);
}

/* A guest must not see another disk in place of its own. */
static void
test_a_smaller_export_is_not_taken (void)
{
  Fixture f = { 0 };

  if (!vt_nbd_server_exists ("nbdkit"))
    return;
  set_up (&f, "--threads=8");
  start_disk (&f, "reconnect-delay", "1");
  vt_nbd_server_stop (f.server, SIGKILL);
  g_assert_no_errno (truncate (f.disk.path, VT_DISK_SIZE / 2));
  vt_nbd_server_start (f.server);
  g_assert_cmpuint (vt_disk_run_sized (&f.disk, VIRTIO_BLK_T_IN, 0, PAGE), ==,
                    VIRTIO_BLK_S_IOERR);
  tear_down (&f);
}

/* Queues stop, and the device closes, whatever the server does. */
static void
test_a_device_without_a_server_closes (void)
{
  Fixture f = { 0 };
  const guint8 wce = 0;
  VtBlkRequest *request;

  if (!vt_nbd_server_exists ("nbdkit"))
    return;
  set_up (&f, "--threads=8");
  start_disk (&f, "reconnect-delay", "0.5");
  vt_nbd_server_stop (f.server, SIGKILL);
  request = vt_blk_request_new (f.disk.guest, VIRTIO_BLK_T_FLUSH, 0, 0);
  g_assert_true (vt_blk_add (f.disk.ring, request));
  vt_ring_kick (f.disk.ring);
  g_assert_true (vt_rig_write_config (
      f.disk.rig, offsetof (struct virtio_blk_config, wce), &wce, 1));
  vt_rig_reset (f.disk.rig);
  g_assert_cmpuint (*request->status, ==, VIRTIO_BLK_S_IOERR);
  g_free (request);
  tear_down (&f);
}

/* Many queues. */

static void
storm (VtRing **rings, VtBlkRequest *(*requests)[16])
{
  for (guint q = 0; q < N_QUEUES; q++) {
    for (guint i = 0; i < 16; i++)
      g_assert_true (vt_blk_add (rings[q], requests[q][i]));
    vt_ring_kick (rings[q]);
  }
}

static void
calm (VtRing **rings)
{
  for (guint q = 0; q < N_QUEUES; q++)
    for (guint i = 0; i < 16; i++) {
      VtBlkRequest *request = vt_ring_take (rings[q], NULL);

      g_assert_cmpuint (*request->status, ==, VIRTIO_BLK_S_OK);
    }
}

/* Every queue has its own connection, and all survive together. */
static void
test_queues_restart_together (void)
{
  static const guint32 types[] = { VIRTIO_BLK_T_OUT, VIRTIO_BLK_T_IN,
                                   VIRTIO_BLK_T_FLUSH };
  VtBlkRequest *requests[N_QUEUES][16];
  VtRing *rings[N_QUEUES];
  Fixture f = { 0 };

  if (!vt_nbd_server_exists ("nbdkit"))
    return;
  set_up (&f, "--filter=multi-conn", multi_conn[0]);
  open_disk (&f, "lock", "off");
  for (guint q = 0; q < N_QUEUES; q++) {
    rings[q] = vt_ring_new (f.disk.guest, q, 64, VT_RING_EVENT_IDX);
    vt_rig_start_ring (f.disk.rig, rings[q]);
    for (guint i = 0; i < 16; i++)
      requests[q][i] = vt_blk_request_new (
          f.disk.guest, types[i % 3], (q * 16 + i) * 64,
          types[i % 3] == VIRTIO_BLK_T_FLUSH ? 0 : 64 * SECTOR);
  }
  for (guint round = 0; round < 40; round++) {
    storm (rings, requests);
    if (round % 10 == 9) {
      vt_nbd_server_stop (f.server, SIGKILL);
      vt_nbd_server_start (f.server);
    }
    calm (rings);
  }
  vt_rig_reset (f.disk.rig);
  for (guint q = 0; q < N_QUEUES; q++) {
    vt_ring_free (rings[q]);
    for (guint i = 0; i < 16; i++)
      g_free (requests[q][i]);
  }
  tear_down (&f);
}

/* A server with room for one connection serves all queues by it. */
static void
test_a_full_server_still_serves (void)
{
  Fixture f = { 0 };

  if (!vt_nbd_server_exists ("nbdkit"))
    return;
  set_up (&f, "--filter=multi-conn", multi_conn[0], "--filter=limit",
          "limit=1");
  start_disk (&f, "lock", "off");
  vt_random_run (&f.disk, 4);
  check_image (&f);
  tear_down (&f);
}

/* qemu-nbd. */

static void
test_a_qcow2_image_is_a_disk (void)
{
  VtDisk disk = { 0 };
  Fixture f = { 0 };
  g_autofree char *qcow2 = NULL;
  const char *const create[] = { "qemu-img", "convert", "-f", "raw", "-O",
                                 "qcow2",    NULL,      NULL, NULL };
  const char *const compare[] = { "qemu-img", "compare", "-f", "qcow2", "-F",
                                  "raw",      NULL,      NULL, NULL };
  const char *argv[9];
  int status = -1;

  if (!vt_nbd_server_exists ("qemu-nbd"))
    return;
  vt_disk_init (&f.disk, FALSE);
  disk = f.disk;
  qcow2 = g_strconcat (disk.path, ".qcow2", NULL);
  memcpy (argv, create, sizeof create);
  argv[6] = disk.path;
  argv[7] = qcow2;
  g_assert_true (g_spawn_sync (NULL, (char **) argv, NULL, G_SPAWN_SEARCH_PATH,
                               NULL, NULL, NULL, NULL, &status, NULL));
  g_assert_cmpint (status, ==, 0);
  f.server = vt_qemu_nbd_new (qcow2);
  vt_nbd_server_start (f.server);
  start_disk (&f, "lock", "off");
  vt_random_run (&f.disk, 8);
  vt_nbd_server_stop (f.server, SIGTERM);
  vt_nbd_server_start (f.server);
  vt_random_run (&f.disk, 8);
  g_assert_cmpuint (vt_blk_flush (f.disk.ring), ==, VIRTIO_BLK_S_OK);
  g_clear_pointer (&f.disk.rig, vt_rig_free);
  vt_nbd_server_stop (f.server, SIGTERM);
  g_assert_true (g_file_set_contents (disk.path, (char *) f.disk.shadow,
                                      VT_DISK_SIZE, NULL));
  memcpy (argv, compare, sizeof compare);
  argv[6] = qcow2;
  argv[7] = disk.path;
  /* What it says on success is no TAP. */
  g_assert_true (g_spawn_sync (NULL, (char **) argv, NULL,
                               G_SPAWN_SEARCH_PATH | G_SPAWN_STDOUT_TO_DEV_NULL,
                               NULL, NULL, NULL, NULL, &status, NULL));
  g_assert_cmpint (status, ==, 0);
  g_assert_no_errno (unlink (qcow2));
  tear_down (&f);
}

int
main (int argc, char **argv)
{
  g_test_init (&argc, &argv, NULL);
  /* Freed memory is told from live one: a negative number wherever it lies. */
  mallopt (M_PERTURB, 0xba);
  /* A lost server is worth a warning. */
  g_log_set_always_fatal (G_LOG_LEVEL_CRITICAL | G_LOG_FATAL_MASK);
  g_test_add_func ("/nbd/data", test_what_is_written_is_read_back);
  g_test_add_func ("/nbd/long", test_long_requests_arrive);
  g_test_add_func ("/nbd/blocks", test_the_server_s_blocks_are_respected);
  g_test_add_func ("/nbd/flags", test_commands_carry_their_flags);
  g_test_add_func ("/nbd/no-fua", test_writes_are_durable_without_fua);
  g_test_add_func ("/nbd/no-zero", test_zeroes_are_written_where_need_be);
  g_test_add_func ("/nbd/wce", test_the_cache_mode_can_be_switched);
  g_test_add_func ("/nbd/errors", test_errors_reach_the_driver);
  g_test_add_func ("/nbd/read-only",
                   test_a_read_only_export_is_refused_or_kept);
  g_test_add_func ("/nbd/mistakes", test_mistakes_are_named);
  g_test_add_func ("/nbd/wait", test_requests_wait_for_a_server);
  g_test_add_func ("/nbd/restart", test_requests_survive_a_restart);
  g_test_add_func ("/nbd/delay", test_requests_fail_after_the_delay);
  g_test_add_func ("/nbd/smaller", test_a_smaller_export_is_not_taken);
  g_test_add_func ("/nbd/close", test_a_device_without_a_server_closes);
  g_test_add_func ("/nbd/queues", test_queues_restart_together);
  g_test_add_func ("/nbd/full", test_a_full_server_still_serves);
  g_test_add_func ("/nbd/qcow2", test_a_qcow2_image_is_a_disk);
  return g_test_run ();
}
