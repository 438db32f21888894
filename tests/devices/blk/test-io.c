/* SPDX-License-Identifier: BSD-3-Clause
 *
 * test-io.c - reads and writes by every engine in every cache mode, on files
 * and block devices, by one queue and by many
 */
#include "devices/blk/blk.h"

#include <fcntl.h>
#include <string.h>

#include "devices/blk/call.h"
#include "tests/devices/blk/disk.h"
#include "tests/devices/blk/loop.h"
#include "tests/devices/blk/random.h"
#include "tests/lib/pinned.h"
#include "vring/fd.h"

#define SECTOR  512u
#define MAY_PIN (64u << 20) /* at least the guest's memory */

typedef VtDisk Fixture;

static gboolean
can_run (const VtDiskMode *mode, GError *open_error)
{
  g_autoptr (GError) error = NULL;

  if (g_str_equal (mode->engine, "io_uring") && !vd_call_check_uring (&error)) {
    g_test_skip (error->message);
    return FALSE;
  }
  if (open_error != NULL && g_str_equal (mode->cache, "none") &&
      strstr (open_error->message, "O_DIRECT") != NULL) {
    g_test_skip (open_error->message);
    return FALSE;
  }
  g_assert_no_error (open_error);
  return TRUE;
}

static void
test_what_is_written_is_read_back (gconstpointer data)
{
  const VtDiskMode *mode = data;
  g_autoptr (GError) error = NULL;
  Fixture f = { 0 };

  vt_disk_init (&f, mode->in_memory);
  f.rig = vt_rig_open (f.guest, &vd_blk_ops, &error, "image", f.path, "engine",
                       mode->engine, "cache", mode->cache, "register-memory",
                       mode->registered ? "yes" : "no", NULL);
  if (can_run (mode, error) && (!mode->registered || vt_may_pin (MAY_PIN))) {
    f.rig->queues.force_poll = mode->force_poll;
    vt_disk_start (&f);
    vt_random_run (&f, 24);
    g_clear_pointer (&f.rig, vt_rig_free);
    vt_disk_check (&f);
  }
  vt_disk_tear_down (&f, NULL);
}

static void
add_modes (void)
{
  static const char *const caches[] = { "writeback", "writethrough", "none",
                                        "unsafe" };
  static const char *const engines[] = { "auto", "io_uring", "threads" };
  static VtDiskMode
      modes[G_N_ELEMENTS (caches) * (G_N_ELEMENTS (engines) + 1) * 2];
  guint n = 0;

  for (guint in_memory = 0; in_memory < 2; in_memory++)
    for (guint c = 0; c < G_N_ELEMENTS (caches); c++)
      for (guint e = 0; e <= G_N_ELEMENTS (engines); e++) {
        gboolean force_poll = e == G_N_ELEMENTS (engines);
        g_autofree char *path = NULL;

        modes[n] = (VtDiskMode){ .engine = force_poll ? "auto" : engines[e],
                                 .cache = caches[c],
                                 .force_poll = force_poll,
                                 .in_memory = in_memory == 1 };
        path = g_strdup_printf (
            "/blk/io/%s/%s%s/%s", in_memory ? "shm" : "tmp", modes[n].engine,
            force_poll ? "-without-io_uring" : "", caches[c]);
        g_test_add_data_func (path, &modes[n++],
                              test_what_is_written_is_read_back);
      }
}

static void
add_registered_modes (void)
{
  static const VtDiskMode modes[] = {
    { .engine = "io_uring", .cache = "writeback", .registered = TRUE },
    { .engine = "io_uring", .cache = "writethrough", .registered = TRUE },
    { .engine = "auto", .cache = "none", .registered = TRUE },
  };

  for (guint i = 0; i < G_N_ELEMENTS (modes); i++) {
    g_autofree char *path =
        g_strdup_printf ("/blk/io/registered/%s", modes[i].cache);

    g_test_add_data_func (path, &modes[i], test_what_is_written_is_read_back);
  }
}

/* A read that finds only some of its pages in memory is made in two calls. */
static void
test_a_read_may_be_half_cached (gconstpointer data)
{
  const VtDiskMode *mode = data;
  const guint32 len = 128 << 10;
  g_autofree guint8 *to = g_malloc0 (len);
  Fixture f = { 0 };
  vd_autofd fd = -1;

  vt_disk_init (&f, mode->in_memory);
  fd = open (f.path, O_RDWR | O_CLOEXEC);
  g_assert_cmpint (fdatasync (fd), ==, 0);
  vt_disk_start_with (&f, "engine", mode->engine);
  for (guint i = 0; i < 8; i++) {
    off_t from = (off_t) i * len;

    g_assert_cmpint (
        posix_fadvise (fd, from + 12345, len / 2, POSIX_FADV_DONTNEED), ==, 0);
    g_assert_cmpuint (vt_blk_read (f.ring, (guint64) from / SECTOR, to, len),
                      ==, VIRTIO_BLK_S_OK);
    g_assert_cmpmem (to, len, f.shadow + from, len);
  }
  vt_disk_tear_down (&f, NULL);
}

/* Block devices. */

static void
test_a_block_device_is_a_disk (gconstpointer data)
{
  const guint block = GPOINTER_TO_UINT (data);
  const VtRange discard = { .sector = 1024, .num_sectors = 8192 };
  /* Parts of blocks of 4096 bytes at both ends. */
  const VtRange zeroes = { .sector = 3, .num_sectors = 3000 };
  g_autofree char *file = NULL;
  Fixture f = { 0 };
  VtLoop *loop;
  guint64 before;

  vt_disk_init (&f, FALSE);
  loop = vt_loop_new (f.path, block);
  if (loop == NULL) {
    vt_disk_tear_down (&f, NULL);
    return;
  }
  file = g_steal_pointer (&f.path);
  f.path = loop->path;
  vt_disk_start_with (&f, "discard", "yes");
  g_assert_cmpuint (vt_disk_config (&f).blk_size, ==, block);
  vt_random_run (&f, 4);
  g_assert_cmpuint (
      vt_disk_run_ranges (&f, VIRTIO_BLK_T_WRITE_ZEROES, &zeroes, 1), ==,
      VIRTIO_BLK_S_OK);
  memset (f.shadow + zeroes.sector * SECTOR, 0, zeroes.num_sectors * SECTOR);
  g_assert_cmpuint (vt_blk_flush (f.ring), ==, VIRTIO_BLK_S_OK);
  f.path = file;
  vt_disk_check (&f);
  before = vt_disk_allocated (&f);
  if (vt_disk_offers (&f, VIRTIO_BLK_F_DISCARD)) {
    g_assert_cmpuint (
        vt_disk_run_ranges (&f, VIRTIO_BLK_T_DISCARD, &discard, 1), ==,
        VIRTIO_BLK_S_OK);
    g_assert_cmpuint (vt_disk_allocated (&f), <=,
                      before - discard.num_sectors * SECTOR + VT_DISK_METADATA);
  } else
    g_test_skip ("this loop device does not discard");
  g_clear_pointer (&f.rig, vt_rig_free);
  vt_loop_free (loop);
  file = NULL; /* vt_disk_tear_down() frees it as f.path */
  vt_disk_tear_down (&f, NULL);
}

/* Many queues. */

#define N_STORM 8u

static VtBlkRequest *
storm_request (Fixture *f, guint queue, guint i)
{
  static const guint32 types[] = { VIRTIO_BLK_T_OUT, VIRTIO_BLK_T_IN,
                                   VIRTIO_BLK_T_FLUSH,
                                   VIRTIO_BLK_T_WRITE_ZEROES };
  guint32 type = types[i % 4];
  guint64 sector = (queue * 16 + i) * 64;
  VtBlkRequest *request;

  if (type == VIRTIO_BLK_T_FLUSH)
    return vt_blk_request_new (f->guest, type, 0, 0);
  if (type != VIRTIO_BLK_T_WRITE_ZEROES)
    return vt_blk_request_new (f->guest, type, sector, 64 * SECTOR);
  request = vt_blk_request_new (f->guest, type, 0, sizeof (VtRange));
  *(VtRange *) (void *) request->data =
      (VtRange){ .sector = sector, .num_sectors = 64, .flags = i % 8 == 3 };
  return request;
}

static void
run_storm (Fixture *f, VtRing **rings, VtBlkRequest *(*requests)[16])
{
  for (guint q = 0; q < N_STORM; q++) {
    for (guint i = 0; i < 16; i++)
      g_assert_true (vt_blk_add (rings[q], requests[q][i]));
    vt_ring_kick (rings[q]);
  }
  for (guint q = 0; q < N_STORM; q++)
    for (guint i = 0; i < 16; i++) {
      VtBlkRequest *request = vt_ring_take (rings[q], NULL);

      g_assert_cmpuint (*request->status, ==, VIRTIO_BLK_S_OK);
    }
}

/* All queues read, write, flush and zero at once, while the driver switches the
 * cache mode; worth most under ThreadSanitizer. */
static void
test_queues_do_not_disturb_each_other (gconstpointer data)
{
  const VtDiskMode *mode = data;
  VtBlkRequest *requests[N_STORM][16];
  VtRing *rings[N_STORM];
  Fixture f = { 0 };

  vt_disk_init (&f, mode->in_memory);
  vt_disk_open_with (&f, "engine", mode->engine);
  for (guint q = 0; q < N_STORM; q++) {
    rings[q] = vt_ring_new (f.guest, q, 64, VT_RING_EVENT_IDX);
    vt_rig_start_ring (f.rig, rings[q]);
    for (guint i = 0; i < 16; i++)
      requests[q][i] = storm_request (&f, q, i);
  }
  for (guint round = 0; round < 20; round++) {
    const guint8 wce = round % 4 != 3;

    g_assert_true (vt_rig_write_config (
        f.rig, offsetof (struct virtio_blk_config, wce), &wce, 1));
    run_storm (&f, rings, requests);
  }
  vt_rig_reset (f.rig);
  for (guint q = 0; q < N_STORM; q++) {
    vt_ring_free (rings[q]);
    for (guint i = 0; i < 16; i++)
      g_free (requests[q][i]);
  }
  vt_disk_tear_down (&f, NULL);
}

/* Returns: whether a ring of this process has a file of its own; -1 if the
 * kernel does not say. */
static int
has_registered_file (void)
{
  g_autoptr (GDir) dir = g_dir_open ("/proc/self/fdinfo", 0, NULL);
  const char *name;
  int has = -1;

  while (dir && (name = g_dir_read_name (dir))) {
    g_autofree char *path = g_build_filename ("/proc/self/fdinfo", name, NULL);
    g_autofree char *text = NULL;
    const char *line;

    if (!g_file_get_contents (path, &text, NULL, NULL))
      continue;
    line = strstr (text, "UserFiles:");
    if (line)
      has = MAX (has, line[strlen ("UserFiles:") + 1] == '1');
  }
  return has;
}

static void
test_the_image_is_registered (void)
{
  VtDisk disk = { 0 }, *f = &disk;
  guint8 sector[512];

  if (!vd_call_check_uring (NULL)) {
    g_test_skip ("no io_uring");
    return;
  }
  vt_disk_init (f, FALSE);
  vt_disk_start_with (f, "engine", "io_uring");
  g_assert_cmpuint (vt_blk_read (f->ring, 0, sector, sizeof sector), ==,
                    VIRTIO_BLK_S_OK);
  if (has_registered_file () < 0)
    g_test_skip ("this kernel does not tell of registered files");
  else
    g_assert_cmpint (has_registered_file (), ==, 1);
  vt_disk_tear_down (f, NULL);
}

int
main (int argc, char **argv)
{
  g_test_init (&argc, &argv, NULL);
  add_modes ();
  add_registered_modes ();
  vt_disk_add_modes ("io/half-cached", test_a_read_may_be_half_cached);
  vt_disk_add_modes ("queues/storm", test_queues_do_not_disturb_each_other);
  g_test_add_data_func ("/blk/device/512", GUINT_TO_POINTER (512),
                        test_a_block_device_is_a_disk);
  g_test_add_data_func ("/blk/device/4096", GUINT_TO_POINTER (4096),
                        test_a_block_device_is_a_disk);
  g_test_add_func ("/blk/registered", test_the_image_is_registered);
  return g_test_run ();
}
