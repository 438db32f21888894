/* SPDX-License-Identifier: BSD-3-Clause
 *
 * test-zero.c - what DISCARD and WRITE_ZEROES do to an image
 */
#include <string.h>

#include "tests/devices/blk/disk.h"

#define SECTOR 512u

typedef VtDisk Fixture;

static void
test_discarded_blocks_are_given_back (Fixture *f, gconstpointer data)
{
  VtRange ranges[16];
  guint64 before;

  vt_disk_start_with (f, "discard", "yes");
  if (!vt_disk_offers (f, VIRTIO_BLK_F_DISCARD)) {
    g_test_skip ("this file system punches no holes");
    return;
  }
  g_assert_cmpuint (vt_blk_flush (f->ring), ==, VIRTIO_BLK_S_OK);
  before = vt_disk_allocated (f);
  for (guint i = 0; i < 16; i++) {
    ranges[i] = (VtRange){ .sector = i * 512, .num_sectors = 256 };
    memset (f->shadow + i * 512 * SECTOR, 0, 256 * SECTOR);
  }
  g_assert_cmpuint (vt_disk_run_ranges (f, VIRTIO_BLK_T_DISCARD, ranges, 16),
                    ==, VIRTIO_BLK_S_OK);
  g_assert_cmpuint (vt_disk_allocated (f), <=,
                    before - 16 * 256 * SECTOR + VT_DISK_METADATA);
  vt_disk_check (f);
}

static void
test_a_disk_without_discard_supports_none (Fixture *f, gconstpointer data)
{
  const VtRange range = { .sector = 0, .num_sectors = 8 };
  guint64 before = vt_disk_allocated (f);

  vt_disk_start_with (f, "discard", "no");
  g_assert_cmpuint (vt_disk_run_ranges (f, VIRTIO_BLK_T_DISCARD, &range, 1), ==,
                    VIRTIO_BLK_S_UNSUPP);
  g_assert_cmpuint (vt_disk_allocated (f), ==, before);
  vt_disk_check (f);
}

static void
test_zeroes_are_written_by_every_way (gconstpointer data)
{
  const VtDiskMode *mode = data;
  /* Part of a page, several pages, more than is written at once, none. */
  const VtRange ranges[] = {
    { .sector = 3, .num_sectors = 2 },
    { .sector = 64, .num_sectors = 640, .flags = 1 },
    { .sector = 4096, .num_sectors = 5001 },
    { .sector = 9, .num_sectors = 0 },
  };
  Fixture f = { 0 };

  vt_disk_init (&f, mode->in_memory);
  vt_disk_start_with (&f, "engine", mode->engine);
  for (guint i = 0; i < G_N_ELEMENTS (ranges); i++)
    memset (f.shadow + ranges[i].sector * SECTOR, 0,
            ranges[i].num_sectors * SECTOR);
  g_assert_cmpuint (vt_disk_run_ranges (&f, VIRTIO_BLK_T_WRITE_ZEROES, ranges,
                                        G_N_ELEMENTS (ranges)),
                    ==, VIRTIO_BLK_S_OK);
  vt_disk_check (&f);
  vt_disk_tear_down (&f, NULL);
}

static void
test_zeroes_keep_their_blocks_unless_unmapped (Fixture *f, gconstpointer data)
{
  VtRange range = { .sector = 0, .num_sectors = 4096 };
  guint64 before;

  vt_disk_start_with (f, "discard", "yes");
  g_assert_cmpuint (vt_blk_flush (f->ring), ==, VIRTIO_BLK_S_OK);
  before = vt_disk_allocated (f);
  memset (f->shadow, 0, 4096 * SECTOR);
  g_assert_cmpuint (
      vt_disk_run_ranges (f, VIRTIO_BLK_T_WRITE_ZEROES, &range, 1), ==,
      VIRTIO_BLK_S_OK);
  g_assert_cmpuint (vt_disk_allocated (f), >=, before);
  vt_disk_check (f);
  if (!vt_disk_offers (f, VIRTIO_BLK_F_DISCARD)) {
    g_test_skip ("this file system punches no holes");
    return;
  }
  range.flags = VIRTIO_BLK_WRITE_ZEROES_FLAG_UNMAP;
  g_assert_cmpuint (
      vt_disk_run_ranges (f, VIRTIO_BLK_T_WRITE_ZEROES, &range, 1), ==,
      VIRTIO_BLK_S_OK);
  g_assert_cmpuint (vt_disk_allocated (f), <=,
                    before - 4096 * SECTOR + VT_DISK_METADATA);
  vt_disk_check (f);
}

/* Returns: how often the image was synced. */
static guint64
n_syncs (VtDisk *f)
{
  g_autoptr (GString) text = g_string_new (NULL);
  const char *line;

  f->rig->dev->ops->dump (f->rig->dev, text);
  line = strstr (text->str, "fdatasyncs: ");
  g_assert_nonnull (line);
  return g_ascii_strtoull (line + strlen ("fdatasyncs: "), NULL, 10);
}

static void
test_erased_blocks_are_overwritten_and_synced (Fixture *f, gconstpointer data)
{
  const VtRange ranges[] = { { .sector = 3, .num_sectors = 5 },
                             { .sector = 4096, .num_sectors = 4097 } };
  struct virtio_blk_config config;
  guint64 before;

  vt_disk_start_with (f, "secure-erase", "overwrite");
  config = vt_disk_config (f);
  g_assert_true (vt_disk_offers (f, VIRTIO_BLK_F_SECURE_ERASE));
  g_assert_cmpuint (config.max_secure_erase_sectors, ==, 1 << 22);
  g_assert_cmpuint (config.max_secure_erase_seg, ==, 16);
  g_assert_cmpuint (config.secure_erase_sector_alignment, >, 0);
  before = vt_disk_allocated (f);
  g_assert_cmpuint (
      vt_disk_run_ranges (f, VIRTIO_BLK_T_SECURE_ERASE, ranges, 2), ==,
      VIRTIO_BLK_S_OK);
  g_assert_cmpuint (n_syncs (f), ==, 1);
  g_assert_cmpuint (vt_disk_allocated (f), >=, before);
  memset (f->shadow + 3 * SECTOR, 0, 5 * SECTOR);
  memset (f->shadow + 4096 * SECTOR, 0, 4097 * SECTOR);
  vt_disk_check (f);
}

static void
test_one_bad_range_leaves_all_untouched (Fixture *f, gconstpointer data)
{
  const guint32 end = VT_DISK_SIZE / SECTOR;
  static const struct {
    guint32 type;
    VtRange bad;
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

  vt_disk_start_with (f, "discard", "yes");
  for (guint i = 0; i < G_N_ELEMENTS (cases); i++) {
    VtRange ranges[] = { { .sector = 16, .num_sectors = 8 }, cases[i].bad };

    g_assert_cmpuint (vt_disk_run_ranges (f, cases[i].type, ranges, 2), ==,
                      cases[i].status);
  }
  vt_disk_check (f);
}

int
main (int argc, char **argv)
{
  g_test_init (&argc, &argv, NULL);
#define ADD(name, func)                                                        \
  g_test_add ("/blk/" name, Fixture, NULL, vt_disk_set_up, func,               \
              vt_disk_tear_down)
  ADD ("erase", test_erased_blocks_are_overwritten_and_synced);
  ADD ("discard/holes", test_discarded_blocks_are_given_back);
  ADD ("discard/no", test_a_disk_without_discard_supports_none);
  ADD ("discard/bad-range", test_one_bad_range_leaves_all_untouched);
  vt_disk_add_modes ("zeroes/ways", test_zeroes_are_written_by_every_way);
  ADD ("zeroes/unmap", test_zeroes_keep_their_blocks_unless_unmapped);
  return g_test_run ();
}
