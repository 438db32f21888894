/* SPDX-License-Identifier: BSD-3-Clause
 *
 * blk.c - virtio-blk: a file or a block device as a disk
 *
 * The life of a request.  The queue pops a batch of chains; for each,
 * vd_blk_serve() (io.c) copies header and ranges out of guest memory, checks
 * them (request.c) and turns them into calls on the image (call.c), whose
 * buffers are the guest's own pages.  policy.c says how to make each call: at
 * once, if it only copies from or to the page cache; by the worker's io_uring;
 * by a thread of the pool.  The result either prepares the next call (the rest
 * of a short read, the next range) or writes the status byte and completes the
 * chain; the queue publishes all completions of a turn together.  All memory of
 * a request lies in its chain's slot, and queues share nothing that is written
 * by requests but the list of flushes (flush.c).
 *
 * Durability: what a completed write is worth is settled by cache.c; a flush is
 * an fdatasync that begins after all writes that were completed before it, and
 * its error reaches the driver.
 */
#define G_LOG_DOMAIN "virtiod-blk"

#include "devices/blk/blk.h"

#include <assert.h>
#include <gio/gio.h>
#include <linux/virtio_ids.h>
#include <stddef.h>
#include <string.h>

#include "devices/blk/disk.h"

#define SEG_MAX     126 /* a chain of 128 with header and status */
#define MAX_THREADS 16
#define CONFIG_LEN  offsetof (struct virtio_blk_config, max_secure_erase_sectors)

static_assert (offsetof (VdBlk, parent) == 0, "VdDevice is cast to it");
static_assert (sizeof (VdBlkRequest) <= 4096, "VdQueueOps.request_size");
static_assert (offsetof (struct virtio_blk_config, wce) == 32, "5.2.4");
static_assert (CONFIG_LEN == 60, "5.2.4");

static const char *const cache_modes[] = { "writeback", "writethrough", "none",
                                           "unsafe", NULL };
static const char *const engines[] = { "auto", "io_uring", "threads", NULL };
static const char *const locks[] = { "auto", "off", NULL };

static const VdKey blk_keys[] = {
  { .name = "image",
    .type = VD_KEY_PATH,
    .help = "file or block device with the disk's bytes, or fd:N",
    .flags = VD_KEY_REQUIRED | VD_KEY_FD },
  { .name = "read-only",
    .type = VD_KEY_BOOL,
    .fallback = "no",
    .help = "whether the guest may only read" },
  { .name = "serial",
    .type = VD_KEY_STRING,
    .help = "at most 20 characters; by default made of the image's path" },
  { .name = "cache",
    .type = VD_KEY_ENUM,
    .fallback = "writeback",
    .help = "none: O_DIRECT; unsafe: the guest's flushes do nothing",
    .choices = cache_modes },
  { .name = "block-size",
    .type = VD_KEY_SIZE,
    .help = "logical block, a power of two; by default as the image has it",
    .min = VD_SECTOR,
    .max = VD_BLOCK_SIZE_MAX },
  { .name = "discard",
    .type = VD_KEY_BOOL,
    .fallback = "yes",
    .help = "whether discarded blocks are given back to the host" },
  { .name = "lock",
    .type = VD_KEY_ENUM,
    .fallback = "auto",
    .help = "auto: refuse an image that another program writes, as qemu does",
    .choices = locks },
  { .name = "engine",
    .type = VD_KEY_ENUM,
    .fallback = "auto",
    .help = "how calls on the image are made",
    .choices = engines },
  /* qemu asks for as many as the guest has CPUs and fails if there are fewer. */
  { .name = "queues",
    .type = VD_KEY_UINT,
    .fallback = "64",
    .help = "queues that the device offers",
    .min = 1,
    .max = 1024 },
  { 0 },
};

/* Options. */

/* Returns: the index of a VD_KEY_ENUM's value. */
static guint
choice (VdOptions *options, const char *key, const char *const *choices)
{
  const char *value = vd_options_string (options, key);
  guint i = 0;

  while (strcmp (choices[i], value) != 0)
    i++;
  return i;
}

static guint
block_size (VdOptions *options)
{
  return vd_options_has (options, "block-size")
             ? (guint) vd_options_uint (options, "block-size")
             : 0;
}

static gboolean
blk_check (VdOptions *options, GError **error)
{
  const char *serial = vd_options_string (options, "serial");
  guint size = block_size (options);

  if ((size & (size - 1)) != 0) {
    vd_options_set_error (options, "block-size", error, "not a power of two");
    return FALSE;
  }
  if (serial != NULL && strlen (serial) > VIRTIO_BLK_ID_BYTES) {
    vd_options_set_error (options, "serial", error, "longer than %d characters",
                          VIRTIO_BLK_ID_BYTES);
    return FALSE;
  }
  return TRUE;
}

static VdImage *
open_image (VdOptions *options, GError **error)
{
  g_autoptr (GError) local = NULL;
  VdCacheMode cache = choice (options, "cache", cache_modes);
  VdImageSetup setup = {
    .name = vd_options_string (options, "image"),
    .read_only = vd_options_bool (options, "read-only"),
    .direct = cache == VD_CACHE_NONE,
    .lock = choice (options, "lock", locks) == 0,
    .block_size = block_size (options),
  };
  VdImage *image = vd_image_open (&setup, &local);

  if (image == NULL)
    vd_options_set_error (options, "image", error, "%s", local->message);
  else if (setup.lock && !image->locked)
    g_message ("%s: image: this file system has no locks, so nothing keeps "
               "other programs from writing to it",
               vd_options_origin (options));
  return image;
}

static gboolean
check_engine (VdOptions *options, GError **error)
{
  g_autoptr (GError) local = NULL;

  if (choice (options, "engine", engines) != VD_ENGINE_URING ||
      vd_call_check_uring (&local))
    return TRUE;
  vd_options_set_error (options, "engine", error, "%s", local->message);
  return FALSE;
}

/* Config space. */

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
fill_config (VdBlk *blk, guint seg_max)
{
  const VdImage *image = blk->image;
  struct virtio_blk_config config = {
    .capacity = GUINT64_TO_LE (atomic_load (&image->size) / VD_SECTOR),
    .seg_max = GUINT32_TO_LE (seg_max),
    .blk_size = GUINT32_TO_LE (image->block_size),
    .wce = blk->cache != VD_CACHE_WRITETHROUGH,
    .num_queues = GUINT16_TO_LE (blk->parent.n_queues),
  };

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
  vd_config_init (&blk->parent.config, CONFIG_LEN);
  vd_config_set (&blk->parent.config, 0, &config, CONFIG_LEN);
  vd_config_set_access (&blk->parent.config,
                        offsetof (struct virtio_blk_config, wce), 1,
                        VD_CONFIG_RW);
}

/* Opening and closing. */

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

static void
open_queues (VdBlk *blk, guint n_queues)
{
  blk->parent.n_queues = (guint16) n_queues;
  blk->queues =
      g_aligned_alloc0 (n_queues, sizeof *blk->queues, G_ALIGNOF (VdBlkQueue));
  for (guint i = 0; i < n_queues; i++)
    blk->queues[i].blk = blk;
}

static VdDevice *
blk_open (VdOptions *options, GError **error)
{
  guint seg_max =
      (guint) MIN (vd_options_uint (options, "queue-size-max"), SEG_MAX + 2);
  VdImage *image;
  VdBlk *blk;

  if (!check_engine (options, error))
    return NULL;
  image = open_image (options, error);
  if (image == NULL)
    return NULL;
  blk = g_new0 (VdBlk, 1);
  blk->image = image;
  blk->engine = choice (options, "engine", engines);
  blk->cache = choice (options, "cache", cache_modes);
  blk->discard = image->can_discard && vd_options_bool (options, "discard");
  fill_serial (blk, vd_options_string (options, "serial"));
  blk->parent.virtio_id = VIRTIO_ID_BLOCK;
  blk->parent.max_threads = MAX_THREADS;
  blk->parent.offer_config = TRUE;
  blk->parent.resubmits = TRUE; /* a read or write done twice is the same */
  blk->parent.features = offered_features (blk);
  open_queues (blk, (guint) vd_options_uint (options, "queues"));
  fill_config (blk, MAX (seg_max, 3) - 2);
  if (blk->cache == VD_CACHE_UNSAFE)
    g_message ("%s: cache=unsafe: flushes of the guest do nothing; a crash of "
               "the host will lose data",
               vd_options_origin (options));
  return &blk->parent;
}

static void
blk_close (VdDevice *dev)
{
  VdBlk *blk = (VdBlk *) dev;

  vd_cache_close (blk);
  vd_image_close (blk->image);
  g_aligned_free (blk->queues);
  g_free (blk);
}

/* The file may have grown or shrunk: requests are checked against the new size
 * from now on. */
static gboolean
blk_reload (VdDevice *dev, VdOptions *options, GError **error)
{
  VdBlk *blk = (VdBlk *) dev;
  g_autoptr (GError) local = NULL;

  if (!vd_image_refresh (blk->image, &local)) {
    vd_options_set_error (options, "image", error, "%s", local->message);
    return FALSE;
  }
  if (vd_config_set_le64 (&dev->config,
                          offsetof (struct virtio_blk_config, capacity),
                          atomic_load (&blk->image->size) / VD_SECTOR))
    vd_device_config_changed (dev);
  return TRUE;
}

/* A driver's life. */

static gboolean
blk_start (VdDevice *dev, guint64 features, GError **error)
{
  vd_cache_start ((VdBlk *) dev, features);
  return TRUE;
}

static void
blk_reset (VdDevice *dev)
{
  vd_cache_reset ((VdBlk *) dev);
}

static VdWhen
blk_written (VdDevice *dev, guint offset, guint len)
{
  return vd_cache_written ((VdBlk *) dev, offset, len);
}

/* Nothing but wce is the driver's; the image is shared or copied by others. */
static gboolean
blk_save (VdDevice *dev, GByteArray *state, GError **error)
{
  return TRUE;
}

static gboolean
blk_load (VdDevice *dev, const guint8 *config, const guint8 *state, gsize len,
          GError **error)
{
  const guint wce = offsetof (struct virtio_blk_config, wce);

  if (len != 0 || memcmp (config, dev->config.bytes, sizeof (guint64)) != 0) {
    g_set_error (error, G_IO_ERROR, G_IO_ERROR_INVALID_DATA,
                 "the source's image has another size");
    return FALSE;
  }
  vd_config_restore (&dev->config, wce, config + wce, 1);
  return TRUE;
}

static int
blk_queue_start (VdQueue *vq, gpointer user_data)
{
  VdBlk *blk = user_data;
  VdBlkQueue *queue = &blk->queues[vd_queue_index (vq)];

  queue->queue = vq;
  queue->worker = vd_queue_worker (vq);
  vd_policy_init (&queue->policy, blk->engine,
                  vd_worker_has_uring (queue->worker), blk->image);
  vd_queue_set_data (vq, queue);
  return vd_bounce_open (&queue->bounce, blk->image);
}

static void
blk_queue_stop (VdQueue *vq, gpointer user_data)
{
  VdBlkQueue *queue = vd_queue_data (vq);

  vd_bounce_close (&queue->bounce);
}

static void
blk_handle (VdQueue *vq, VdChain **chains, guint n_chains, gpointer user_data)
{
  VdBlkQueue *queue = vd_queue_data (vq);

  for (guint i = 0; i < n_chains; i++)
    vd_blk_serve (queue, chains[i]);
}

/* Counters. */

static guint64
sum (const VdBlk *blk, gsize offset)
{
  guint64 total = 0;

  for (guint i = 0; i < blk->parent.n_queues; i++)
    total += atomic_load_explicit (
        (atomic_uint_fast64_t *) (void *) ((char *) &blk->queues[i].stats +
                                           offset),
        memory_order_relaxed);
  return total;
}

static void
append (GString *text, const char *name, const char *what, guint64 value)
{
  g_string_append_printf (text, "%s%s: %" G_GUINT64_FORMAT "\n", name, what,
                          value);
}

static void
blk_dump (VdDevice *dev, GString *text)
{
  static const char *const kinds[] = { "read",    "write",        "flush",
                                       "discard", "write-zeroes", "get-id",
                                       "other" };
  static const char *const routes[] = { "inline", "inline-timed", "inline-try",
                                        "io_uring", "pool" };
  static_assert (G_N_ELEMENTS (kinds) == VD_BLK_N_COUNTS, "a name each");
  static_assert (G_N_ELEMENTS (routes) == VD_N_ROUTES, "a name each");
  VdBlk *blk = (VdBlk *) dev;

  g_string_append_printf (
      text, "image: %" G_GUINT64_FORMAT " bytes, %s%s\n",
      atomic_load (&blk->image->size),
      vd_blk_write_through (blk) ? "write-through" : "write-back",
      vd_flusher_error (&blk->flusher) != 0 ? ", data lost" : "");
  for (guint i = 0; i < VD_BLK_N_COUNTS; i++) {
    append (text, kinds[i], "-requests",
            sum (blk, offsetof (VdBlkStats, requests[i])));
    append (text, kinds[i], "-bytes",
            sum (blk, offsetof (VdBlkStats, bytes[i])));
    append (text, kinds[i], "-errors",
            sum (blk, offsetof (VdBlkStats, errors[i])));
  }
  for (guint i = 0; i < VD_N_ROUTES; i++)
    append (text, routes[i], "-calls",
            sum (blk, offsetof (VdBlkStats, calls[i])));
  append (text, "bounced", "", sum (blk, offsetof (VdBlkStats, bounced)));
  append (text, "fdatasyncs", "", atomic_load (&blk->flusher.n_syncs));
}

const VdDeviceOps vd_blk_ops = {
  .kind = "blk",
  .help = "disk (virtio-blk) in a file or on a block device",
  .keys = blk_keys,
  .queue = {
    .request_size = sizeof (VdBlkRequest),
    .start = blk_queue_start,
    .stop = blk_queue_stop,
    .handle = blk_handle,
  },
  .check = blk_check,
  .open = blk_open,
  .close = blk_close,
  .reload = blk_reload,
  .start = blk_start,
  .reset = blk_reset,
  .written = blk_written,
  .save = blk_save,
  .load = blk_load,
  .dump = blk_dump,
};
