/* SPDX-License-Identifier: BSD-3-Clause
 *
 * shape.c - what the driver sees of the disk before its first request: features,
 * config space and serial number (virtio 1.3, 5.2.3 and 5.2.4)
 */
#include "devices/blk/disk.h"
#include "devices/blk/keys.h"

#include <assert.h>
#include <stddef.h>
#include <string.h>

#define CONFIG_LEN sizeof (struct virtio_blk_config)

static_assert (offsetof (struct virtio_blk_config, wce) == 32, "5.2.4");
static_assert (offsetof (struct virtio_blk_config, max_secure_erase_sectors) ==
                   60,
               "5.2.4");

static guint64
offered_features (const VdBlk *blk)
{
  const VdImage *image = blk->image;
  guint64 features =
      1ull << VIRTIO_BLK_F_SEG_MAX | 1ull << VIRTIO_BLK_F_BLK_SIZE |
      1ull << VIRTIO_BLK_F_FLUSH | 1ull << VIRTIO_BLK_F_TOPOLOGY |
      1ull << VIRTIO_BLK_F_CONFIG_WCE | 1ull << VIRTIO_BLK_F_MQ;

  if (image->read_only)
    features |= 1ull << VIRTIO_BLK_F_RO;
  else
    features |= 1ull << VIRTIO_BLK_F_WRITE_ZEROES;
  if (blk->discard)
    features |= 1ull << VIRTIO_BLK_F_DISCARD;
  if (blk->secure_erase)
    features |= 1ull << VIRTIO_BLK_F_SECURE_ERASE;
  if (blk->lifetime)
    features |= 1ull << VD_BLK_F_LIFETIME;
  return features;
}

/* The fields in units of the logical block that TOPOLOGY has. */
static void
fill_topology (const VdImage *image, struct virtio_blk_config *ret)
{
  const guint32 block = image->block_size;

  ret->physical_block_exp =
      (guint8) g_bit_nth_lsf (image->physical_size / block, -1);
  ret->alignment_offset =
      (guint8) MIN (image->alignment_offset / block, G_MAXUINT8);
  ret->min_io_size = GUINT16_TO_LE (
      (guint16) CLAMP (image->min_io_size / block, 1, G_MAXUINT16));
  ret->opt_io_size = GUINT32_TO_LE (image->optimal_io_size / block);
}

static void
fill_config (VdBlk *blk, VdOptions *options, guint seg_max)
{
  const VdImage *image = blk->image;
  struct virtio_blk_config config = {
    .capacity = GUINT64_TO_LE (atomic_load (&image->size) / VD_SECTOR),
    .seg_max = GUINT32_TO_LE (seg_max),
    .blk_size = GUINT32_TO_LE (image->block_size),
    .wce = blk->cache != VD_CACHE_WRITETHROUGH,
    .num_queues = GUINT16_TO_LE (blk->parent.n_queues),
  };
  struct virtio_blk_geometry geometry;

  fill_topology (image, &config);
  if (blk->discard) {
    config.max_discard_sectors = GUINT32_TO_LE (VD_BLK_MAX_SECTORS);
    config.max_discard_seg = GUINT32_TO_LE (VD_BLK_MAX_RANGES);
    config.discard_sector_alignment =
        GUINT32_TO_LE (image->discard_align / VD_SECTOR);
  }
  if (!image->read_only) {
    config.max_write_zeroes_sectors = GUINT32_TO_LE (VD_BLK_MAX_SECTORS);
    config.max_write_zeroes_seg = GUINT32_TO_LE (VD_BLK_MAX_RANGES);
    config.write_zeroes_may_unmap = blk->discard != 0;
  }
  if (blk->secure_erase) {
    config.max_secure_erase_sectors = GUINT32_TO_LE (VD_BLK_MAX_SECTORS);
    config.max_secure_erase_seg = GUINT32_TO_LE (VD_BLK_MAX_RANGES);
    config.secure_erase_sector_alignment =
        GUINT32_TO_LE (image->discard_align / VD_SECTOR);
  }
  if (vd_blk_geometry (options, &geometry)) {
    blk->parent.features |= 1ull << VIRTIO_BLK_F_GEOMETRY;
    memcpy (&config.geometry, &geometry, sizeof geometry);
  }
  vd_config_init (&blk->parent.config, CONFIG_LEN);
  vd_config_set (&blk->parent.config, 0, &config, CONFIG_LEN);
  vd_config_set_access (&blk->parent.config,
                        offsetof (struct virtio_blk_config, wce), 1,
                        VD_CONFIG_RW);
}

static void
fill_serial (VdBlk *blk, const char *serial)
{
  char text[VIRTIO_BLK_ID_BYTES + 1];

  if (serial == NULL)
    g_snprintf (text, sizeof text, "vd-%016" G_GINT64_MODIFIER "x",
                blk->image->identity);
  else
    g_strlcpy (text, serial, sizeof text);
  memcpy (blk->serial, text, strnlen (text, sizeof blk->serial));
}

void
vd_blk_shape (VdBlk *blk, VdOptions *options)
{
  /* Header and status take two descriptors of a chain without a table. */
  guint room = (guint) vd_options_uint (options, "queue-size-max");
  guint seg_max = (guint) vd_options_uint (options, "seg-max");

  fill_serial (blk, vd_options_string (options, "serial"));
  blk->parent.features = offered_features (blk);
  fill_config (blk, options, MIN (seg_max, MAX (room, 3) - 2));
}
