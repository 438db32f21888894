/* SPDX-License-Identifier: BSD-3-Clause
 *
 * test-blk.c - what a virtio-blk device promises its driver
 */
#include "devices/blk/blk.h"

#include <errno.h>
#include <fcntl.h>
#include <glib/gstdio.h>
#include <string.h>
#include <sys/stat.h>

#include "devices/blk/call.h"
#include "tests/devices/blk/loop.h"
#include "tests/lib/blk.h"
#include "tests/lib/rig.h"
#include "vring/fd.h"

#define SECTOR     512u
#define IMAGE_SIZE (8u << 20)
#define DEPTH      32u
#define STRIPE     (IMAGE_SIZE / DEPTH) /* one request in flight in each */
/* What a file system may need to remember the holes in a file. */
#define METADATA    (64u << 10)
#define REQUEST_MAX (128u << 10)

typedef struct {
  char *dir, *path;
  guint8 *shadow; /* what the disk should contain */
  VtGuest *guest;
  VtRing *ring;
  VtRig *rig;
} Fixture;

/* Files in memory and files on a disk behave differently enough to try both. */
static char *
make_dir (gboolean in_memory)
{
  g_autofree char *template = g_build_filename (
      in_memory && g_file_test ("/dev/shm", G_FILE_TEST_IS_DIR)
          ? "/dev/shm"
          : g_get_tmp_dir (),
      "virtiod-blk-XXXXXX", NULL);

  g_assert_nonnull (g_mkdtemp (template));
  return g_steal_pointer (&template);
}

static void
make_image (Fixture *f)
{
  g_autoptr (GError) error = NULL;

  f->shadow = g_malloc (IMAGE_SIZE);
  for (guint i = 0; i < IMAGE_SIZE / 4; i++)
    ((guint32 *) (void *) f->shadow)[i] = g_test_rand_int ();
  g_file_set_contents_full (f->path, (char *) f->shadow, IMAGE_SIZE,
                            G_FILE_SET_CONTENTS_NONE, 0600, &error);
  g_assert_no_error (error);
}

static void
set_up_in (Fixture *f, gboolean in_memory)
{
  f->dir = make_dir (in_memory);
  f->path = g_build_filename (f->dir, "image", NULL);
  make_image (f);
  f->guest = vt_guest_new (64 << 20);
  f->ring = vt_ring_new (f->guest, 0, 256, VT_RING_EVENT_IDX);
}

static void
set_up (Fixture *f, gconstpointer data)
{
  set_up_in (f, FALSE);
}

static void
tear_down (Fixture *f, gconstpointer data)
{
  g_clear_pointer (&f->rig, vt_rig_free);
  vt_ring_free (f->ring);
  vt_guest_free (f->guest);
  g_unlink (f->path);
  g_rmdir (f->dir);
  g_free (f->path);
  g_free (f->dir);
  g_free (f->shadow);
}

/* Opens the device with one more key. */
static VdDevice *
open_with (Fixture *f, const char *key, const char *value)
{
  g_autoptr (GError) error = NULL;

  f->rig = vt_rig_open (f->guest, &vd_blk_ops, &error, "image", f->path, key,
                        value, NULL);
  g_assert_no_error (error);
  return f->rig->dev;
}

static void
start (Fixture *f)
{
  vt_rig_start_ring (f->rig, f->ring);
}

static void
start_with (Fixture *f, const char *key, const char *value)
{
  open_with (f, key, value);
  start (f);
}

static void
check_image (Fixture *f)
{
  g_autofree char *contents = NULL;
  gsize len;

  g_assert_true (g_file_get_contents (f->path, &contents, &len, NULL));
  g_assert_cmpmem (contents, len, f->shadow, IMAGE_SIZE);
}

/* Random reads and writes with every engine in every cache mode. */

typedef struct {
  const char *engine, *cache;
  gboolean force_poll, in_memory;
} Mode;

/* One request of a round, in guest memory, cut at random. */
typedef struct {
  struct virtio_blk_outhdr *header;
  guint8 *data, *status;
  guint64 sector;
  guint32 len;
  gboolean writes;
} Random;

static void
cut (VtBuf *bufs, guint *n, guint8 *ptr, guint32 len, gboolean writable,
     guint n_pieces)
{
  while (len > 0) {
    guint32 piece = n_pieces-- <= 1 || len == 1
                        ? len
                        : (guint32) g_test_rand_int_range (1, (gint32) len);

    bufs[(*n)++] = (VtBuf){ ptr, piece, writable };
    ptr += piece;
    len -= piece;
  }
}

static void
add_random (Fixture *f, Random *r, guint stripe)
{
  guint32 from = (guint32) g_test_rand_int_range (0, STRIPE / SECTOR);
  guint32 max = MIN (STRIPE / SECTOR - from, REQUEST_MAX / SECTOR);
  VtBuf bufs[16];
  guint n = 0;

  /* Often whole pages, as a file system sends them. */
  if (g_test_rand_bit ()) {
    from &= ~7u;
    max = MAX (max & ~7u, 8);
  }
  r->len = (g_test_rand_bit () ? max : 1 + g_test_rand_int () % max) * SECTOR;
  r->sector = stripe * (STRIPE / SECTOR) + from;
  r->writes = g_test_rand_bit ();
  r->header->type =
      GUINT32_TO_LE (r->writes ? VIRTIO_BLK_T_OUT : VIRTIO_BLK_T_IN);
  r->header->sector = GUINT64_TO_LE (r->sector);
  *r->status = VT_BLK_NO_STATUS;
  cut (bufs, &n, (guint8 *) r->header, sizeof *r->header, FALSE,
       g_test_rand_bit () ? 1 : 3);
  if (r->writes)
    for (guint32 i = 0; i < r->len; i += 4)
      *(guint32 *) (void *) (r->data + i) = g_test_rand_int ();
  else
    memset (r->data, 0, r->len);
  cut (bufs, &n, r->data, r->len, !r->writes, g_test_rand_bit () ? 1 : 5);
  bufs[n++] = (VtBuf){ r->status, 1, TRUE };
  g_assert_true (vt_ring_add (f->ring, bufs, n, r));
}

static void
take_random (Fixture *f)
{
  guint32 written;
  Random *r = vt_ring_take (f->ring, &written);
  guint8 *shadow = f->shadow + r->sector * SECTOR;

  g_assert_cmpuint (*r->status, ==, VIRTIO_BLK_S_OK);
  g_assert_cmpuint (written, ==, r->writes ? 1 : r->len + 1);
  if (r->writes)
    memcpy (shadow, r->data, r->len);
  else
    g_assert_cmpmem (r->data, r->len, shadow, r->len);
}

static void
run_random (Fixture *f, guint n_rounds)
{
  Random requests[DEPTH];

  for (guint i = 0; i < DEPTH; i++) {
    requests[i].header = vt_guest_alloc (f->guest, 16, 16);
    requests[i].status = vt_guest_alloc (f->guest, 1, 1);
    /* An address that O_DIRECT takes, and one that it does not. */
    requests[i].data =
        (guint8 *) vt_guest_alloc (f->guest, REQUEST_MAX + 4096, 4096) +
        (i % 4 == 3 ? 12 : 0);
  }
  for (guint round = 0; round < n_rounds; round++) {
    for (guint i = 0; i < DEPTH; i++)
      add_random (f, &requests[i], i);
    vt_ring_kick (f->ring);
    for (guint i = 0; i < DEPTH; i++)
      take_random (f);
    if (round % 8 == 0)
      g_assert_cmpuint (vt_blk_flush (f->ring), ==, VIRTIO_BLK_S_OK);
  }
}

static gboolean
can_run (const Mode *mode, GError *open_error)
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
  const Mode *mode = data;
  g_autoptr (GError) error = NULL;
  Fixture f = { 0 };

  set_up_in (&f, mode->in_memory);
  f.rig = vt_rig_open (f.guest, &vd_blk_ops, &error, "image", f.path, "engine",
                       mode->engine, "cache", mode->cache, NULL);
  if (can_run (mode, error)) {
    f.rig->queues.force_poll = mode->force_poll;
    start (&f);
    run_random (&f, 24);
    g_clear_pointer (&f.rig, vt_rig_free);
    check_image (&f);
  }
  tear_down (&f, NULL);
}

static void
add_modes (void)
{
  static const char *const caches[] = { "writeback", "writethrough", "none",
                                        "unsafe" };
  static const char *const engines[] = { "auto", "io_uring", "threads" };
  static Mode modes[G_N_ELEMENTS (caches) * (G_N_ELEMENTS (engines) + 1) * 2];
  guint n = 0;

  for (guint in_memory = 0; in_memory < 2; in_memory++)
    for (guint c = 0; c < G_N_ELEMENTS (caches); c++)
      for (guint e = 0; e <= G_N_ELEMENTS (engines); e++) {
        gboolean force_poll = e == G_N_ELEMENTS (engines);
        g_autofree char *path = NULL;

        modes[n] = (Mode){ .engine = force_poll ? "auto" : engines[e],
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

/* Config space and features. */

static struct virtio_blk_config
read_config (Fixture *f)
{
  struct virtio_blk_config config;

  vd_config_read (&f->rig->dev->config, 0, &config, sizeof config);
  return config;
}

static gboolean
offers (Fixture *f, guint bit)
{
  return (f->rig->dev->features >> bit) & 1;
}

static void
test_every_offered_field_has_a_value (Fixture *f, gconstpointer data)
{
  static const guint bits[] = {
    VIRTIO_BLK_F_SEG_MAX, VIRTIO_BLK_F_BLK_SIZE,    VIRTIO_BLK_F_FLUSH,
    VIRTIO_BLK_F_MQ,      VIRTIO_BLK_F_CONFIG_WCE,  VIRTIO_BLK_F_TOPOLOGY,
    VIRTIO_BLK_F_DISCARD, VIRTIO_BLK_F_WRITE_ZEROES
  };
  struct virtio_blk_config config;
  guint64 expected = 0;

  open_with (f, "discard", "yes");
  config = read_config (f);
  for (guint i = 0; i < G_N_ELEMENTS (bits); i++)
    expected |= 1ull << bits[i];
  g_assert_cmphex (f->rig->dev->features, ==, expected);
  g_assert_cmpuint (f->rig->dev->n_queues, ==, 64);
  g_assert_cmpuint (config.capacity, ==, IMAGE_SIZE / SECTOR);
  g_assert_cmpuint (config.seg_max, ==, 126);
  g_assert_cmpuint (config.blk_size, ==, 512);
  g_assert_cmpuint (config.blk_size << config.physical_block_exp, ==, 4096);
  g_assert_cmpuint (config.min_io_size, ==, 8);
  g_assert_cmpuint (config.wce, ==, 1);
  g_assert_cmpuint (config.num_queues, ==, 64);
  g_assert_cmpuint (config.max_discard_sectors, ==, 1 << 22);
  g_assert_cmpuint (config.max_discard_seg, ==, 16);
  g_assert_cmpuint (config.discard_sector_alignment, ==, 8);
  g_assert_cmpuint (config.max_write_zeroes_sectors, ==, 1 << 22);
  g_assert_cmpuint (config.max_write_zeroes_seg, ==, 16);
  g_assert_cmpuint (config.write_zeroes_may_unmap, ==, 1);
  g_assert_cmpuint (config.size_max, ==,
                    0); /* which is why it is not offered */
}

static void
test_the_driver_may_write_only_wce (Fixture *f, gconstpointer data)
{
  struct virtio_blk_config before, after;
  guint8 noise[60];

  open_with (f, "discard", "yes");
  before = read_config (f);
  memset (noise, 0, sizeof noise);
  g_assert_true (vt_rig_write_config (f->rig, 0, noise, sizeof noise));
  after = read_config (f);
  g_assert_cmpuint (after.wce, ==, 0);
  after.wce = before.wce;
  g_assert_cmpmem (&after, sizeof after, &before, sizeof before);
}

static void
test_keys_shape_the_disk (Fixture *f, gconstpointer data)
{
  g_autoptr (GError) error = NULL;
  struct virtio_blk_config config;

  f->rig = vt_rig_open (f->guest, &vd_blk_ops, &error, "image", f->path,
                        "block-size", "4k", "queues", "3", "discard", "no",
                        "cache", "writethrough", NULL);
  g_assert_no_error (error);
  config = read_config (f);
  g_assert_cmpuint (config.blk_size, ==, 4096);
  g_assert_cmpuint (config.physical_block_exp, ==, 0);
  g_assert_cmpuint (config.min_io_size, ==, 1);
  g_assert_cmpuint (config.num_queues, ==, 3);
  g_assert_cmpuint (config.wce, ==, 0);
  g_assert_false (offers (f, VIRTIO_BLK_F_DISCARD));
  g_assert_true (offers (f, VIRTIO_BLK_F_WRITE_ZEROES));
  g_assert_cmpuint (config.write_zeroes_may_unmap, ==, 0);
  g_assert_cmpuint (config.max_discard_sectors, ==, 0);
}

static void
test_a_mistake_names_key_and_value (Fixture *f, gconstpointer data)
{
  static const struct {
    const char *key, *value, *text;
  } cases[] = {
    { "block-size", "1000", "block-size=1000: not a power of two" },
    { "block-size", "8192", "block-size=8192: not bytes, 512 to 4096" },
    { "serial", "123456789012345678901", "longer than 20 characters" },
    { "cache", "writebac", "did you mean 'writeback'?" },
    { "engine", "uring", "engine=uring: not one of auto, io_uring, threads" },
    { "lock", "yes", "lock=yes: not one of auto, off" },
    { "imge", "x", "did you mean 'image'?" },
  };

  for (guint i = 0; i < G_N_ELEMENTS (cases); i++) {
    g_autoptr (GError) error = NULL;

    g_assert_null (vt_rig_open (f->guest, &vd_blk_ops, &error, "image", f->path,
                                cases[i].key, cases[i].value, NULL));
    g_assert_nonnull (error);
    g_assert_nonnull (strstr (error->message, cases[i].text));
  }
}

/* The serial number. */

static void
read_id (Fixture *f, char *ret)
{
  g_autofree VtBlkRequest *request = vt_blk_request_new (
      f->guest, VIRTIO_BLK_T_GET_ID, 0, VIRTIO_BLK_ID_BYTES);

  memset (request->data, 0xff, VIRTIO_BLK_ID_BYTES);
  g_assert_cmpuint (vt_blk_run (f->ring, request), ==, VIRTIO_BLK_S_OK);
  memcpy (ret, request->data, VIRTIO_BLK_ID_BYTES);
  ret[VIRTIO_BLK_ID_BYTES] = '\0';
}

static void
test_the_serial_is_what_the_key_says (Fixture *f, gconstpointer data)
{
  char id[VIRTIO_BLK_ID_BYTES + 1];

  start_with (f, "serial", "vm1-root");
  read_id (f, id);
  g_assert_cmpstr (id, ==, "vm1-root");
}

static void
test_the_default_serial_is_stable (Fixture *f, gconstpointer data)
{
  char first[VIRTIO_BLK_ID_BYTES + 1], second[VIRTIO_BLK_ID_BYTES + 1];

  start_with (f, "engine", "auto");
  read_id (f, first);
  g_assert_cmpuint (strlen (first), ==, 19);
  g_clear_pointer (&f->rig, vt_rig_free);
  vt_ring_reset (f->ring, 0);
  start_with (f, "read-only", "yes");
  read_id (f, second);
  g_assert_cmpstr (first, ==, second);
}

/* Refused requests. */

static void
test_a_read_only_disk_refuses_every_change (Fixture *f, gconstpointer data)
{
  guint8 sector[SECTOR] = { 0 };

  open_with (f, "read-only", "yes");
  g_assert_true (offers (f, VIRTIO_BLK_F_RO));
  g_assert_false (offers (f, VIRTIO_BLK_F_DISCARD));
  g_assert_false (offers (f, VIRTIO_BLK_F_WRITE_ZEROES));
  vt_rig_start (f->rig, 0); /* a driver that did not ack RO */
  start (f);
  g_assert_cmpuint (vt_blk_write (f->ring, 0, sector, SECTOR), ==,
                    VIRTIO_BLK_S_IOERR);
  g_assert_cmpuint (vt_blk_read (f->ring, 3, sector, SECTOR), ==,
                    VIRTIO_BLK_S_OK);
  g_assert_cmpmem (sector, SECTOR, f->shadow + 3 * SECTOR, SECTOR);
  g_assert_cmpuint (vt_blk_flush (f->ring), ==, VIRTIO_BLK_S_OK);
  check_image (f);
}

static guint8
run_sized (Fixture *f, guint32 type, guint64 sector, guint32 len)
{
  g_autofree VtBlkRequest *request =
      vt_blk_request_new (f->guest, type, sector, len);

  return vt_blk_run (f->ring, request);
}

static void
test_the_end_of_the_disk_is_kept (Fixture *f, gconstpointer data)
{
  const guint64 end = IMAGE_SIZE / SECTOR;
  static const guint32 types[] = { VIRTIO_BLK_T_IN, VIRTIO_BLK_T_OUT };

  start_with (f, "engine", "auto");
  memset (f->shadow + (end - 2) * SECTOR, 0, 2 * SECTOR);
  for (guint i = 0; i < G_N_ELEMENTS (types); i++) {
    guint32 type = types[i];

    g_assert_cmpuint (run_sized (f, type, end - 2, 2 * SECTOR), ==,
                      VIRTIO_BLK_S_OK);
    g_assert_cmpuint (run_sized (f, type, end - 2, 3 * SECTOR), ==,
                      VIRTIO_BLK_S_IOERR);
    g_assert_cmpuint (run_sized (f, type, end, SECTOR), ==, VIRTIO_BLK_S_IOERR);
    /* Byte offsets that wrap to 0 and to just below 2^64. */
    g_assert_cmpuint (run_sized (f, type, 1ull << 55, SECTOR), ==,
                      VIRTIO_BLK_S_IOERR);
    g_assert_cmpuint (run_sized (f, type, G_MAXUINT64, SECTOR), ==,
                      VIRTIO_BLK_S_IOERR);
    g_assert_cmpuint (run_sized (f, type, 0, 100), ==, VIRTIO_BLK_S_IOERR);
  }
  check_image (f);
}

static void
test_an_image_cut_from_outside_is_an_io_error (gconstpointer data)
{
  const Mode *mode = data;
  guint8 sector[2 * SECTOR];
  Fixture f = { 0 };

  set_up_in (&f, mode->in_memory);
  start_with (&f, "engine", mode->engine);
  g_assert_cmpint (truncate (f.path, SECTOR), ==, 0);
  g_assert_cmpuint (vt_blk_read (f.ring, 0, sector, 2 * SECTOR), ==,
                    VIRTIO_BLK_S_IOERR);
  g_assert_cmpuint (vt_blk_read (f.ring, 8, sector, SECTOR), ==,
                    VIRTIO_BLK_S_IOERR);
  g_assert_cmpuint (vt_blk_read (f.ring, 0, sector, SECTOR), ==,
                    VIRTIO_BLK_S_OK);
  g_assert_cmpmem (sector, SECTOR, f.shadow, SECTOR);
  tear_down (&f, NULL);
}

static void
test_a_chain_without_a_status_breaks_its_queue_alone (Fixture *f,
                                                      gconstpointer data)
{
  struct virtio_blk_outhdr *header = vt_guest_alloc (f->guest, 16, 16);
  VtBuf buf = { header, sizeof *header, FALSE };
  g_autoptr (VtRing) other = vt_ring_new (f->guest, 1, 64, 0);

  start_with (f, "engine", "auto");
  vt_rig_start_ring (f->rig, other);
  g_assert_true (vt_ring_add (f->ring, &buf, 1, f));
  vt_ring_kick (f->ring);
  g_assert_cmpstr (vt_queue_rig_wait_broken (&f->rig->queues, f->ring), ==,
                   "a request has no byte for its status");
  g_assert_cmpuint (vt_blk_flush (other), ==, VIRTIO_BLK_S_OK);
  vt_rig_reset (f->rig);
}

static void
test_unknown_types_are_unsupported (Fixture *f, gconstpointer data)
{
  static const guint32 types[] = {
    2, 3, 10, 12, 14, 15, 0x80000000, G_MAXUINT32
  };

  start_with (f, "engine", "auto");
  for (guint i = 0; i < G_N_ELEMENTS (types); i++)
    g_assert_cmpuint (run_sized (f, types[i], 0, SECTOR), ==,
                      VIRTIO_BLK_S_UNSUPP);
  check_image (f);
}

/* A read that finds only some of its pages in memory is made in two calls. */
static void
test_a_read_may_be_half_cached (gconstpointer data)
{
  const Mode *mode = data;
  const guint32 len = 128 << 10;
  g_autofree guint8 *to = g_malloc0 (len);
  Fixture f = { 0 };
  vd_autofd fd = -1;

  set_up_in (&f, mode->in_memory);
  fd = open (f.path, O_RDWR | O_CLOEXEC);
  g_assert_cmpint (fdatasync (fd), ==, 0);
  start_with (&f, "engine", mode->engine);
  for (guint i = 0; i < 8; i++) {
    off_t from = (off_t) i * len;

    g_assert_cmpint (
        posix_fadvise (fd, from + 12345, len / 2, POSIX_FADV_DONTNEED), ==, 0);
    g_assert_cmpuint (vt_blk_read (f.ring, (guint64) from / SECTOR, to, len),
                      ==, VIRTIO_BLK_S_OK);
    g_assert_cmpmem (to, len, f.shadow + from, len);
  }
  tear_down (&f, NULL);
}

/* DISCARD and WRITE_ZEROES. */

typedef struct virtio_blk_discard_write_zeroes Range;

static guint8
run_ranges (Fixture *f, guint32 type, const Range *ranges, guint n)
{
  g_autofree VtBlkRequest *request =
      vt_blk_request_new (f->guest, type, 0, n * (guint32) sizeof *ranges);

  memcpy (request->data, ranges, n * sizeof *ranges);
  return vt_blk_run (f->ring, request);
}

static guint64
allocated (const Fixture *f)
{
  struct stat st;

  g_assert_cmpint (stat (f->path, &st), ==, 0);
  return (guint64) st.st_blocks * 512;
}

static void
test_discarded_blocks_are_given_back (Fixture *f, gconstpointer data)
{
  Range ranges[16];
  guint64 before;

  start_with (f, "discard", "yes");
  if (!offers (f, VIRTIO_BLK_F_DISCARD)) {
    g_test_skip ("this file system punches no holes");
    return;
  }
  g_assert_cmpuint (vt_blk_flush (f->ring), ==, VIRTIO_BLK_S_OK);
  before = allocated (f);
  for (guint i = 0; i < 16; i++) {
    ranges[i] = (Range){ .sector = i * 512, .num_sectors = 256 };
    memset (f->shadow + i * 512 * SECTOR, 0, 256 * SECTOR);
  }
  g_assert_cmpuint (run_ranges (f, VIRTIO_BLK_T_DISCARD, ranges, 16), ==,
                    VIRTIO_BLK_S_OK);
  g_assert_cmpuint (allocated (f), <=, before - 16 * 256 * SECTOR + METADATA);
  check_image (f);
}

static void
test_a_disk_without_discard_supports_none (Fixture *f, gconstpointer data)
{
  const Range range = { .sector = 0, .num_sectors = 8 };
  guint64 before = allocated (f);

  start_with (f, "discard", "no");
  g_assert_cmpuint (run_ranges (f, VIRTIO_BLK_T_DISCARD, &range, 1), ==,
                    VIRTIO_BLK_S_UNSUPP);
  g_assert_cmpuint (allocated (f), ==, before);
  check_image (f);
}

static void
test_zeroes_are_written_by_every_way (gconstpointer data)
{
  const Mode *mode = data;
  /* Part of a page, several pages, more than is written at once, none. */
  const Range ranges[] = {
    { .sector = 3, .num_sectors = 2 },
    { .sector = 64, .num_sectors = 640, .flags = 1 },
    { .sector = 4096, .num_sectors = 5001 },
    { .sector = 9, .num_sectors = 0 },
  };
  Fixture f = { 0 };

  set_up_in (&f, mode->in_memory);
  start_with (&f, "engine", mode->engine);
  for (guint i = 0; i < G_N_ELEMENTS (ranges); i++)
    memset (f.shadow + ranges[i].sector * SECTOR, 0,
            ranges[i].num_sectors * SECTOR);
  g_assert_cmpuint (
      run_ranges (&f, VIRTIO_BLK_T_WRITE_ZEROES, ranges, G_N_ELEMENTS (ranges)),
      ==, VIRTIO_BLK_S_OK);
  check_image (&f);
  tear_down (&f, NULL);
}

static void
test_zeroes_keep_their_blocks_unless_unmapped (Fixture *f, gconstpointer data)
{
  Range range = { .sector = 0, .num_sectors = 4096 };
  guint64 before;

  start_with (f, "discard", "yes");
  g_assert_cmpuint (vt_blk_flush (f->ring), ==, VIRTIO_BLK_S_OK);
  before = allocated (f);
  memset (f->shadow, 0, 4096 * SECTOR);
  g_assert_cmpuint (run_ranges (f, VIRTIO_BLK_T_WRITE_ZEROES, &range, 1), ==,
                    VIRTIO_BLK_S_OK);
  g_assert_cmpuint (allocated (f), >=, before);
  check_image (f);
  if (!offers (f, VIRTIO_BLK_F_DISCARD)) {
    g_test_skip ("this file system punches no holes");
    return;
  }
  range.flags = VIRTIO_BLK_WRITE_ZEROES_FLAG_UNMAP;
  g_assert_cmpuint (run_ranges (f, VIRTIO_BLK_T_WRITE_ZEROES, &range, 1), ==,
                    VIRTIO_BLK_S_OK);
  g_assert_cmpuint (allocated (f), <=, before - 4096 * SECTOR + METADATA);
  check_image (f);
}

static void
test_one_bad_range_leaves_all_untouched (Fixture *f, gconstpointer data)
{
  const guint32 end = IMAGE_SIZE / SECTOR;
  static const struct {
    guint32 type;
    Range bad;
    guint8 status;
  } cases[] = {
    { VIRTIO_BLK_T_DISCARD, { end, 1, 0 }, VIRTIO_BLK_S_IOERR },
    { VIRTIO_BLK_T_DISCARD, { 0, end + 1, 0 }, VIRTIO_BLK_S_IOERR },
    { VIRTIO_BLK_T_DISCARD, { 0, G_MAXUINT32, 0 }, VIRTIO_BLK_S_IOERR },
    { VIRTIO_BLK_T_DISCARD, { 1ull << 55, 8, 0 }, VIRTIO_BLK_S_IOERR },
    { VIRTIO_BLK_T_DISCARD, { 0, 8, 1 }, VIRTIO_BLK_S_UNSUPP },
    { VIRTIO_BLK_T_WRITE_ZEROES, { 0, 8, 2 }, VIRTIO_BLK_S_UNSUPP },
    { VIRTIO_BLK_T_WRITE_ZEROES, { 0, 8, 1u << 31 }, VIRTIO_BLK_S_UNSUPP },
    { VIRTIO_BLK_T_WRITE_ZEROES, { end - 1, 2, 0 }, VIRTIO_BLK_S_IOERR },
    { VIRTIO_BLK_T_WRITE_ZEROES, { G_MAXUINT64, 2, 0 }, VIRTIO_BLK_S_IOERR },
  };

  start_with (f, "discard", "yes");
  for (guint i = 0; i < G_N_ELEMENTS (cases); i++) {
    Range ranges[] = { { .sector = 16, .num_sectors = 8 }, cases[i].bad };

    g_assert_cmpuint (run_ranges (f, cases[i].type, ranges, 2), ==,
                      cases[i].status);
  }
  check_image (f);
}

/* Block devices. */

static void
test_a_block_device_is_a_disk (gconstpointer data)
{
  const guint block = GPOINTER_TO_UINT (data);
  const Range discard = { .sector = 1024, .num_sectors = 8192 };
  /* Parts of blocks of 4096 bytes at both ends. */
  const Range zeroes = { .sector = 3, .num_sectors = 3000 };
  g_autofree char *file = NULL;
  Fixture f = { 0 };
  VtLoop *loop;
  guint64 before;

  set_up_in (&f, FALSE);
  loop = vt_loop_new (f.path, block);
  if (loop == NULL) {
    tear_down (&f, NULL);
    return;
  }
  file = g_steal_pointer (&f.path);
  f.path = loop->path;
  start_with (&f, "discard", "yes");
  g_assert_cmpuint (read_config (&f).blk_size, ==, block);
  run_random (&f, 4);
  g_assert_cmpuint (run_ranges (&f, VIRTIO_BLK_T_WRITE_ZEROES, &zeroes, 1), ==,
                    VIRTIO_BLK_S_OK);
  memset (f.shadow + zeroes.sector * SECTOR, 0, zeroes.num_sectors * SECTOR);
  g_assert_cmpuint (vt_blk_flush (f.ring), ==, VIRTIO_BLK_S_OK);
  f.path = file;
  check_image (&f);
  before = allocated (&f);
  if (offers (&f, VIRTIO_BLK_F_DISCARD)) {
    g_assert_cmpuint (run_ranges (&f, VIRTIO_BLK_T_DISCARD, &discard, 1), ==,
                      VIRTIO_BLK_S_OK);
    g_assert_cmpuint (allocated (&f), <=,
                      before - discard.num_sectors * SECTOR + METADATA);
  } else
    g_test_skip ("this loop device does not discard");
  g_clear_pointer (&f.rig, vt_rig_free);
  vt_loop_free (loop);
  file = NULL; /* tear_down() frees it as f.path */
  tear_down (&f, NULL);
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
  request = vt_blk_request_new (f->guest, type, 0, sizeof (Range));
  *(Range *) (void *) request->data =
      (Range){ .sector = sector, .num_sectors = 64, .flags = i % 8 == 3 };
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
  const Mode *mode = data;
  VtBlkRequest *requests[N_STORM][16];
  VtRing *rings[N_STORM];
  Fixture f = { 0 };

  set_up_in (&f, mode->in_memory);
  open_with (&f, "engine", mode->engine);
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
  tear_down (&f, NULL);
}

/* Life. */

static void
test_the_same_device_serves_one_driver_after_another (Fixture *f,
                                                      gconstpointer data)
{
  guint8 sector[SECTOR];

  open_with (f, "queues", "64");
  for (guint i = 0; i < 20; i++) {
    vt_ring_reset (f->ring, 0);
    start (f);
    g_assert_cmpuint (vt_blk_read (f->ring, i, sector, SECTOR), ==,
                      VIRTIO_BLK_S_OK);
    g_assert_cmpmem (sector, SECTOR, f->shadow + i * SECTOR, SECTOR);
    vt_rig_reset (f->rig);
  }
}

static void
test_a_grown_file_is_a_grown_disk (Fixture *f, gconstpointer data)
{
  const guint64 end = IMAGE_SIZE / SECTOR;
  g_autoptr (GError) error = NULL;
  guint8 sector[SECTOR];
  VdDevice *dev;

  start_with (f, "engine", "auto");
  dev = f->rig->dev;
  g_assert_cmpint (truncate (f->path, 2 * IMAGE_SIZE), ==, 0);
  g_assert_cmpuint (vt_blk_read (f->ring, end, sector, SECTOR), ==,
                    VIRTIO_BLK_S_IOERR);
  g_assert_true (dev->ops->reload (dev, dev->options, &error));
  g_assert_no_error (error);
  g_assert_cmpuint (f->rig->n_config_changed, ==, 1);
  g_assert_cmpuint (read_config (f).capacity, ==, 2 * end);
  g_assert_cmpuint (vt_blk_read (f->ring, end, sector, SECTOR), ==,
                    VIRTIO_BLK_S_OK);
  g_assert_true (dev->ops->reload (dev, dev->options, &error));
  g_assert_cmpuint (f->rig->n_config_changed, ==, 1);
}

static void
test_the_dump_counts_requests (Fixture *f, gconstpointer data)
{
  g_autoptr (GString) text = g_string_new (NULL);
  guint8 data_in[4096];

  start_with (f, "engine", "auto");
  vt_blk_read (f->ring, 0, data_in, sizeof data_in);
  vt_blk_read (f->ring, G_MAXUINT64, data_in, sizeof data_in);
  vt_blk_flush (f->ring);
  f->rig->dev->ops->dump (f->rig->dev, text);
  g_assert_nonnull (strstr (text->str, "read-requests: 2\n"));
  g_assert_nonnull (strstr (text->str, "read-bytes: 4096\n"));
  g_assert_nonnull (strstr (text->str, "read-errors: 1\n"));
  g_assert_nonnull (strstr (text->str, "flush-requests: 1\n"));
  g_assert_nonnull (strstr (text->str, "fdatasyncs: 1\n"));
}

static void
add_both (const char *name, GTestDataFunc func)
{
  static const Mode modes[] = {
    { .engine = "auto" },
    { .engine = "threads" },
    { .engine = "io_uring" },
    { .engine = "auto", .in_memory = TRUE },
  };

  for (guint i = 0; i < G_N_ELEMENTS (modes); i++) {
    g_autofree char *path =
        g_strdup_printf ("/blk/%s/%s/%s", name,
                         modes[i].in_memory ? "shm" : "tmp", modes[i].engine);

    if (!g_str_equal (modes[i].engine, "io_uring") ||
        vd_call_check_uring (NULL))
      g_test_add_data_func (path, &modes[i], func);
  }
}

int
main (int argc, char **argv)
{
  g_test_init (&argc, &argv, NULL);
#define ADD(name, func)                                                        \
  g_test_add ("/blk/" name, Fixture, NULL, set_up, func, tear_down)
  add_modes ();
  ADD ("config/fields", test_every_offered_field_has_a_value);
  ADD ("config/wce-only", test_the_driver_may_write_only_wce);
  ADD ("options/keys", test_keys_shape_the_disk);
  ADD ("options/mistakes", test_a_mistake_names_key_and_value);
  ADD ("id/key", test_the_serial_is_what_the_key_says);
  ADD ("id/default", test_the_default_serial_is_stable);
  ADD ("refused/read-only", test_a_read_only_disk_refuses_every_change);
  ADD ("refused/end", test_the_end_of_the_disk_is_kept);
  add_both ("refused/cut", test_an_image_cut_from_outside_is_an_io_error);
  ADD ("refused/no-status",
       test_a_chain_without_a_status_breaks_its_queue_alone);
  ADD ("refused/types", test_unknown_types_are_unsupported);
  ADD ("discard/holes", test_discarded_blocks_are_given_back);
  ADD ("discard/no", test_a_disk_without_discard_supports_none);
  ADD ("discard/bad-range", test_one_bad_range_leaves_all_untouched);
  add_both ("io/half-cached", test_a_read_may_be_half_cached);
  add_both ("zeroes/ways", test_zeroes_are_written_by_every_way);
  ADD ("zeroes/unmap", test_zeroes_keep_their_blocks_unless_unmapped);
  g_test_add_data_func ("/blk/device/512", GUINT_TO_POINTER (512),
                        test_a_block_device_is_a_disk);
  g_test_add_data_func ("/blk/device/4096", GUINT_TO_POINTER (4096),
                        test_a_block_device_is_a_disk);
  add_both ("queues/storm", test_queues_do_not_disturb_each_other);
  ADD ("life/drivers", test_the_same_device_serves_one_driver_after_another);
  ADD ("life/grown", test_a_grown_file_is_a_grown_disk);
  ADD ("life/dump", test_the_dump_counts_requests);
  return g_test_run ();
}
