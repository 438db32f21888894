/* SPDX-License-Identifier: BSD-3-Clause
 *
 * test-blk.c - what a virtio-blk device promises its driver and its user
 */
#include "devices/blk/blk.h"

#include <string.h>
#include <unistd.h>

#include "tests/devices/blk/disk.h"

#define PAGE   4096
#define SECTOR 512u

typedef VtDisk Fixture;

/* Config space and features. */

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

  vt_disk_open_with (f, "discard", "yes");
  config = vt_disk_config (f);
  for (guint i = 0; i < G_N_ELEMENTS (bits); i++)
    expected |= 1ull << bits[i];
  g_assert_cmphex (f->rig->dev->features, ==, expected);
  g_assert_cmpuint (f->rig->dev->n_queues, ==, 64);
  g_assert_cmpuint (config.capacity, ==, VT_DISK_SIZE / SECTOR);
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

/* What the device promises of segments fits the rings that it takes. */
static void
test_segments_fit_the_queue (Fixture *f, gconstpointer data)
{
  static const struct {
    const char *queue_size, *seg_max;
    guint expected;
  } cases[] = {
    { "1024", "126", 126 }, { "1024", "1022", 1022 }, { "128", "1022", 126 },
    { "64", "126", 62 },    { "1", "126", 1 },        { "1024", "1", 1 },
  };

  for (guint i = 0; i < G_N_ELEMENTS (cases); i++) {
    g_autoptr (GError) error = NULL;

    f->rig = vt_rig_open (f->guest, &vd_blk_ops, &error, "image", f->path,
                          "queue-size-max", cases[i].queue_size, "seg-max",
                          cases[i].seg_max, NULL);
    g_assert_no_error (error);
    g_assert_cmpuint (vt_disk_config (f).seg_max, ==, cases[i].expected);
    g_clear_pointer (&f->rig, vt_rig_free);
  }
}

static void
test_the_wear_is_what_the_key_says (Fixture *f, gconstpointer data)
{
  static const char *const wrong[] = { "",      "1,2",       "1,2,3,4",
                                       "a,b,c", "1,2,65536", "1, 2,3" };
  g_autoptr (VdOptions) later = vd_options_new ("test", NULL);
  VdDevice *dev = vt_disk_open_with (f, "lifetime", "1,4,11");
  g_autoptr (GError) error = NULL;
  g_autofree VtBlkRequest *request =
      vt_blk_request_new (f->guest, VIRTIO_BLK_T_GET_ID, 0, 6);

  g_assert_true (vt_disk_offers (f, 15));
  vd_options_set (later, "image", f->path, NULL);
  vd_options_set (later, "socket", "none", NULL);
  vd_options_set (later, "lifetime", "2,5,11", NULL);
  g_assert_true (vd_device_check (dev->ops, later, NULL));
  g_assert_true (dev->ops->reload (dev, later, &error));
  vt_disk_start (f);
  request->header->type = GUINT32_TO_LE (10);
  g_assert_true (vt_ring_add (f->ring,
                              (VtBuf[]){ { request->header, 16, FALSE },
                                         { request->data, 6, TRUE },
                                         { request->status, 1, TRUE } },
                              3, request));
  vt_ring_kick (f->ring);
  g_assert_true (vt_ring_take (f->ring, NULL) == request);
  g_assert_cmpuint (*request->status, ==, VIRTIO_BLK_S_OK);
  g_assert_cmpmem (request->data, 6, "\2\0\5\0\13\0", 6);
  for (guint i = 0; i < G_N_ELEMENTS (wrong); i++) {
    g_autoptr (GError) local = NULL;

    g_assert_null (vt_rig_open (f->guest, &vd_blk_ops, &local, "image", f->path,
                                "lifetime", wrong[i], NULL));
    g_assert_error (local, VD_OPTIONS_ERROR, VD_OPTIONS_ERROR_BAD_VALUE);
  }
}

static void
test_the_driver_may_write_only_wce (Fixture *f, gconstpointer data)
{
  struct virtio_blk_config before, after;
  guint8 noise[60];

  vt_disk_open_with (f, "discard", "yes");
  before = vt_disk_config (f);
  memset (noise, 0, sizeof noise);
  g_assert_true (vt_rig_write_config (f->rig, 0, noise, sizeof noise));
  after = vt_disk_config (f);
  g_assert_cmpuint (after.wce, ==, 0);
  after.wce = before.wce;
  g_assert_cmpmem (&after, sizeof after, &before, sizeof before);
}

static void
test_keys_shape_the_disk (Fixture *f, gconstpointer data)
{
  g_autoptr (GError) error = NULL;
  struct virtio_blk_config config;

  f->rig =
      vt_rig_open (f->guest, &vd_blk_ops, &error, "image", f->path,
                   "block-size", "4k", "queues", "3", "discard", "no", "cache",
                   "writethrough", "geometry", "1024,16,63", NULL);
  g_assert_no_error (error);
  config = vt_disk_config (f);
  g_assert_cmpuint (config.blk_size, ==, 4096);
  g_assert_cmpuint (config.physical_block_exp, ==, 0);
  g_assert_cmpuint (config.min_io_size, ==, 1);
  g_assert_cmpuint (config.num_queues, ==, 3);
  g_assert_true (vt_disk_offers (f, VIRTIO_BLK_F_GEOMETRY));
  g_assert_cmpuint (config.geometry.cylinders, ==, 1024);
  g_assert_cmpuint (config.geometry.heads, ==, 16);
  g_assert_cmpuint (config.geometry.sectors, ==, 63);
  g_assert_cmpuint (config.wce, ==, 0);
  g_assert_false (vt_disk_offers (f, VIRTIO_BLK_F_DISCARD));
  g_assert_true (vt_disk_offers (f, VIRTIO_BLK_F_WRITE_ZEROES));
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
    { "geometry", "1,2", "geometry=1,2: not three numbers" },
    { "geometry", "65536,1,1", "not three numbers" },
    { "geometry", "1,0,1", "not three numbers" },
    { "serial", "123456789012345678901", "longer than 20 characters" },
    { "cache", "writebac", "did you mean 'writeback'?" },
    { "engine", "uring", "engine=uring: not one of auto, io_uring, threads" },
    { "lock", "yes", "lock=yes: not one of off, auto, start" },
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

static void
test_memory_is_not_registered_in_vain (Fixture *f, gconstpointer data)
{
  static const struct {
    const char *key, *value, *text;
  } cases[] = {
    { "engine", "threads", "register-memory=yes: not with engine=threads" },
    { "postcopy", "yes", "register-memory=yes: not with postcopy=yes" },
  };

  for (guint i = 0; i < G_N_ELEMENTS (cases); i++) {
    g_autoptr (GError) error = NULL;
    g_autoptr (VtRig) off = NULL;

    g_assert_null (vt_rig_open (f->guest, &vd_blk_ops, &error, "image", f->path,
                                "register-memory", "yes", cases[i].key,
                                cases[i].value, NULL));
    g_assert_nonnull (strstr (error->message, cases[i].text));
    off = vt_rig_open (f->guest, &vd_blk_ops, NULL, "image", f->path,
                       "register-memory", "no", cases[i].key, cases[i].value,
                       NULL);
    g_assert_nonnull (off);
  }
}

static void
test_a_disk_is_not_polled_in_vain (Fixture *f, gconstpointer data)
{
  static const struct {
    const char *cache, *key, *value, *text;
  } cases[] = {
    { "writeback", "engine", "auto", "iopoll=yes: only with cache=none" },
    { "none", "engine", "threads", "iopoll=yes: not with engine=threads" },
    { "none", "sqpoll", "20", "iopoll=yes: not with sqpoll" },
    { "none", "register-memory", "yes", "iopoll=yes: not with register-" },
  };

  for (guint i = 0; i < G_N_ELEMENTS (cases); i++) {
    g_autoptr (GError) error = NULL;

    g_assert_null (vt_rig_open (f->guest, &vd_blk_ops, &error, "image", f->path,
                                "iopoll", "yes", "cache", cases[i].cache,
                                cases[i].key, cases[i].value, NULL));
    g_assert_nonnull (strstr (error->message, cases[i].text));
  }
}

/* Here because there is no io_uring at all. */
static void
test_memory_that_is_not_registered_is_told_of (Fixture *f, gconstpointer data)
{
  vt_disk_open_with (f, "register-memory", "yes");
  f->rig->queues.force_poll = TRUE;
  g_test_expect_message ("virtiod-blk", G_LOG_LEVEL_WARNING,
                         "*: register-memory: the kernel refuses it: *; "
                         "requests go on without it");
  vt_disk_start (f);
  g_assert_cmpuint (vt_disk_run_sized (f, VIRTIO_BLK_T_OUT, 0, 4096), ==,
                    VIRTIO_BLK_S_OK);
  vt_queue_rig_pump (&f->rig->queues);
  g_test_assert_expected_messages ();
  memset (f->shadow, 0, 4096);
  vt_disk_check (f);
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

  vt_disk_start_with (f, "serial", "vm1-root");
  read_id (f, id);
  g_assert_cmpstr (id, ==, "vm1-root");
}

static void
test_the_default_serial_is_stable (Fixture *f, gconstpointer data)
{
  char first[VIRTIO_BLK_ID_BYTES + 1], second[VIRTIO_BLK_ID_BYTES + 1];

  vt_disk_start_with (f, "engine", "auto");
  read_id (f, first);
  g_assert_cmpuint (strlen (first), ==, 19);
  g_clear_pointer (&f->rig, vt_rig_free);
  vt_ring_reset (f->ring, 0);
  vt_disk_start_with (f, "read-only", "yes");
  read_id (f, second);
  g_assert_cmpstr (first, ==, second);
}

/* Refused requests. */

static void
test_a_read_only_disk_refuses_every_change (Fixture *f, gconstpointer data)
{
  guint8 sector[SECTOR] = { 0 };

  vt_disk_open_with (f, "read-only", "yes");
  g_assert_true (vt_disk_offers (f, VIRTIO_BLK_F_RO));
  g_assert_false (vt_disk_offers (f, VIRTIO_BLK_F_DISCARD));
  g_assert_false (vt_disk_offers (f, VIRTIO_BLK_F_WRITE_ZEROES));
  vt_rig_start (f->rig, 0); /* a driver that did not ack RO */
  vt_disk_start (f);
  g_assert_cmpuint (vt_blk_write (f->ring, 0, sector, SECTOR), ==,
                    VIRTIO_BLK_S_IOERR);
  g_assert_cmpuint (vt_blk_read (f->ring, 3, sector, SECTOR), ==,
                    VIRTIO_BLK_S_OK);
  g_assert_cmpmem (sector, SECTOR, f->shadow + 3 * SECTOR, SECTOR);
  g_assert_cmpuint (vt_blk_flush (f->ring), ==, VIRTIO_BLK_S_OK);
  vt_disk_check (f);
}

static void
test_the_end_of_the_disk_is_kept (Fixture *f, gconstpointer data)
{
  const guint64 end = VT_DISK_SIZE / SECTOR;
  static const guint32 types[] = { VIRTIO_BLK_T_IN, VIRTIO_BLK_T_OUT };

  vt_disk_start_with (f, "engine", "auto");
  memset (f->shadow + (end - 2) * SECTOR, 0, 2 * SECTOR);
  for (guint i = 0; i < G_N_ELEMENTS (types); i++) {
    guint32 type = types[i];

    g_assert_cmpuint (vt_disk_run_sized (f, type, end - 2, 2 * SECTOR), ==,
                      VIRTIO_BLK_S_OK);
    g_assert_cmpuint (vt_disk_run_sized (f, type, end - 2, 3 * SECTOR), ==,
                      VIRTIO_BLK_S_IOERR);
    g_assert_cmpuint (vt_disk_run_sized (f, type, end, SECTOR), ==,
                      VIRTIO_BLK_S_IOERR);
    /* Byte offsets that wrap to 0 and to just below 2^64. */
    g_assert_cmpuint (vt_disk_run_sized (f, type, 1ull << 55, SECTOR), ==,
                      VIRTIO_BLK_S_IOERR);
    g_assert_cmpuint (vt_disk_run_sized (f, type, G_MAXUINT64, SECTOR), ==,
                      VIRTIO_BLK_S_IOERR);
    g_assert_cmpuint (vt_disk_run_sized (f, type, 0, 100), ==,
                      VIRTIO_BLK_S_IOERR);
  }
  vt_disk_check (f);
}

static void
test_an_image_cut_from_outside_is_an_io_error (gconstpointer data)
{
  const VtDiskMode *mode = data;
  guint8 sector[2 * SECTOR];
  Fixture f = { 0 };

  vt_disk_init (&f, mode->in_memory);
  vt_disk_start_with (&f, "engine", mode->engine);
  g_assert_cmpuint (vt_blk_read (f.ring, PAGE / SECTOR, sector, SECTOR), ==,
                    VIRTIO_BLK_S_OK);
  g_assert_cmpint (truncate (f.path, PAGE), ==, 0);
  g_assert_cmpuint (vt_blk_read (f.ring, PAGE / SECTOR - 1, sector, 2 * SECTOR),
                    ==, VIRTIO_BLK_S_IOERR);
  g_assert_cmpuint (vt_blk_read (f.ring, PAGE / SECTOR, sector, SECTOR), ==,
                    VIRTIO_BLK_S_IOERR);
  g_assert_cmpuint (vt_blk_read (f.ring, 0, sector, SECTOR), ==,
                    VIRTIO_BLK_S_OK);
  g_assert_cmpmem (sector, SECTOR, f.shadow, SECTOR);
  vt_disk_tear_down (&f, NULL);
}

static void
test_a_chain_without_a_status_breaks_its_queue_alone (Fixture *f,
                                                      gconstpointer data)
{
  struct virtio_blk_outhdr *header = vt_guest_alloc (f->guest, 16, 16);
  VtBuf buf = { header, sizeof *header, FALSE };
  g_autoptr (VtRing) other = vt_ring_new (f->guest, 1, 64, 0);

  vt_disk_start_with (f, "engine", "auto");
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

  vt_disk_start_with (f, "engine", "auto");
  for (guint i = 0; i < G_N_ELEMENTS (types); i++)
    g_assert_cmpuint (vt_disk_run_sized (f, types[i], 0, SECTOR), ==,
                      VIRTIO_BLK_S_UNSUPP);
  vt_disk_check (f);
}

/* Life. */

static void
test_the_same_device_serves_one_driver_after_another (Fixture *f,
                                                      gconstpointer data)
{
  guint8 sector[SECTOR];

  vt_disk_open_with (f, "queues", "64");
  for (guint i = 0; i < 20; i++) {
    vt_ring_reset (f->ring, 0);
    vt_disk_start (f);
    g_assert_cmpuint (vt_blk_read (f->ring, i, sector, SECTOR), ==,
                      VIRTIO_BLK_S_OK);
    g_assert_cmpmem (sector, SECTOR, f->shadow + i * SECTOR, SECTOR);
    vt_rig_reset (f->rig);
  }
}

/* A guest that writes the header of a qcow2 image, with a backing file, must not
 * make the host open that file when the disk is opened again. */
static void
test_the_format_is_never_guessed (Fixture *f, gconstpointer data)
{
  static const guint8 qcow2[] = "QFI\xfb\0\0\0\3\0\0\0\0\0\0\0\x68"
                                "\0\0\0\x0b\0\0\0\x10";
  guint8 sector[SECTOR] = { 0 }, back[SECTOR];

  memcpy (sector, qcow2, sizeof qcow2 - 1);
  memcpy (sector + 0x68, "/etc/passwd", 11);
  vt_disk_start_with (f, "engine", "auto");
  g_assert_cmpuint (vt_blk_write (f->ring, 0, sector, SECTOR), ==,
                    VIRTIO_BLK_S_OK);
  memcpy (f->shadow, sector, SECTOR);
  g_clear_pointer (&f->rig, vt_rig_free);
  vt_ring_reset (f->ring, 0);
  vt_disk_start_with (f, "engine", "auto");
  g_assert_cmpuint (vt_disk_config (f).capacity, ==, VT_DISK_SIZE / SECTOR);
  g_assert_cmpuint (vt_blk_read (f->ring, 0, back, SECTOR), ==,
                    VIRTIO_BLK_S_OK);
  g_assert_cmpmem (back, SECTOR, sector, SECTOR);
  vt_disk_check (f);
}

static void
test_a_grown_file_is_a_grown_disk (Fixture *f, gconstpointer data)
{
  const guint64 end = VT_DISK_SIZE / SECTOR;
  g_autoptr (GError) error = NULL;
  guint8 sector[SECTOR];
  VdDevice *dev;

  vt_disk_start_with (f, "engine", "auto");
  dev = f->rig->dev;
  g_assert_cmpint (truncate (f->path, 2 * VT_DISK_SIZE), ==, 0);
  g_assert_cmpuint (vt_blk_read (f->ring, end, sector, SECTOR), ==,
                    VIRTIO_BLK_S_IOERR);
  g_assert_true (dev->ops->reload (dev, dev->options, &error));
  g_assert_no_error (error);
  g_assert_cmpuint (f->rig->n_config_changed, ==, 1);
  g_assert_cmpuint (vt_disk_config (f).capacity, ==, 2 * end);
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

  vt_disk_start_with (f, "engine", "auto");
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

int
main (int argc, char **argv)
{
  g_test_init (&argc, &argv, NULL);
#define ADD(name, func)                                                        \
  g_test_add ("/blk/" name, Fixture, NULL, vt_disk_set_up, func,               \
              vt_disk_tear_down)
  ADD ("segments", test_segments_fit_the_queue);
  ADD ("wear", test_the_wear_is_what_the_key_says);
  ADD ("config/fields", test_every_offered_field_has_a_value);
  ADD ("config/wce-only", test_the_driver_may_write_only_wce);
  ADD ("options/keys", test_keys_shape_the_disk);
  ADD ("options/mistakes", test_a_mistake_names_key_and_value);
  ADD ("options/register-memory", test_memory_is_not_registered_in_vain);
  ADD ("options/iopoll", test_a_disk_is_not_polled_in_vain);
  ADD ("register-memory", test_memory_that_is_not_registered_is_told_of);
  ADD ("id/key", test_the_serial_is_what_the_key_says);
  ADD ("id/default", test_the_default_serial_is_stable);
  ADD ("refused/read-only", test_a_read_only_disk_refuses_every_change);
  ADD ("refused/end", test_the_end_of_the_disk_is_kept);
  vt_disk_add_modes ("refused/cut",
                     test_an_image_cut_from_outside_is_an_io_error);
  ADD ("refused/no-status",
       test_a_chain_without_a_status_breaks_its_queue_alone);
  ADD ("refused/types", test_unknown_types_are_unsupported);
  ADD ("life/drivers", test_the_same_device_serves_one_driver_after_another);
  ADD ("life/format", test_the_format_is_never_guessed);
  ADD ("life/grown", test_a_grown_file_is_a_grown_disk);
  ADD ("life/dump", test_the_dump_counts_requests);
  return g_test_run ();
}
