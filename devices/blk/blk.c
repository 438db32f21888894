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

#define MAX_THREADS 16

static_assert (offsetof (VdBlk, parent) == 0, "VdDevice is cast to it");
static_assert (sizeof (VdBlkRequest) <= 4096, "VdQueueOps.request_size");

static const char *const cache_modes[] = { "writeback", "writethrough", "none",
                                           "unsafe", NULL };
static const char *const engines[] = { "auto", "io_uring", "threads", NULL };
static const char *const on_errors[] = { "report", "stop", NULL };
static const char *const erase_modes[] = { "auto", "overwrite", "off", NULL };
static const char *const locks[] = { "auto", "off", NULL };

static const VdKey blk_keys[] = {
  { .name = "image",
    .type = VD_KEY_PATH,
    .help = "file or block device with the disk's bytes, fd:N, or nbd://...",
    .flags = VD_KEY_REQUIRED | VD_KEY_FD | VD_KEY_URI },
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
  { .name = "size",
    .type = VD_KEY_SIZE,
    .help = "of the disk; by default the image's, as it grows and shrinks",
    .min = VD_SECTOR,
    .max = G_MAXINT64,
    .flags = VD_KEY_LIVE },
  { .name = "discard",
    .type = VD_KEY_BOOL,
    .fallback = "yes",
    .help = "whether discarded blocks are given back to the host" },
  { .name = "secure-erase",
    .type = VD_KEY_ENUM,
    .fallback = "auto",
    .help = "overwrite: zeroes and a flush; auto: as the block device can",
    .choices = erase_modes },
  { .name = "lifetime",
    .type = VD_KEY_STRING,
    .fallback = "auto",
    .help = "wear: PRE-EOL,A,B in eMMC's terms, auto or off",
    .flags = VD_KEY_LIVE },
  { .name = "seg-max",
    .type = VD_KEY_UINT,
    .fallback = "126",
    .help = "segments of a request at most",
    .min = 1,
    .max = VD_CHAIN_MAX - 2 },
  { .name = "lock",
    .type = VD_KEY_ENUM,
    .fallback = "auto",
    .help = "auto: refuse an image that another program writes, as qemu does",
    .choices = locks },
  { .name = "reconnect-delay",
    .type = VD_KEY_SECONDS,
    .fallback = "60",
    .help = "how long requests wait for a server that went away, before they "
            "fail" },
  { .name = "engine",
    .type = VD_KEY_ENUM,
    .fallback = "auto",
    .help = "how calls on the image are made",
    .choices = engines },
  { .name = "on-error",
    .type = VD_KEY_ENUM,
    .fallback = "report",
    .help = "stop: the guest waits until the key-files are read again",
    .choices = on_errors,
    .flags = VD_KEY_LIVE },
  { .name = "on-enospc",
    .type = VD_KEY_ENUM,
    .fallback = "stop",
    .help = "stop: the guest waits until there is room again",
    .choices = on_errors,
    .flags = VD_KEY_LIVE },
  { .name = "iops",
    .type = VD_KEY_UINT,
    .help = "requests a second at most",
    .min = 1,
    .flags = VD_KEY_LIVE },
  { .name = "iops-burst",
    .type = VD_KEY_UINT,
    .help = "requests at once after a rest; by default a tenth of iops",
    .min = 1,
    .flags = VD_KEY_LIVE },
  { .name = "bps",
    .type = VD_KEY_SIZE,
    .help = "bytes that are read and written a second at most",
    .min = VD_SECTOR,
    .flags = VD_KEY_LIVE },
  { .name = "bps-burst",
    .type = VD_KEY_SIZE,
    .help = "bytes at once after a rest; by default a tenth of bps",
    .min = VD_SECTOR,
    .flags = VD_KEY_LIVE },
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
  if (!vd_lifetime_check (vd_options_string (options, "lifetime"))) {
    vd_options_set_error (options, "lifetime", error,
                          "not auto, off or three numbers with commas");
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
    .id = vd_options_origin (options),
    .read_only = vd_options_bool (options, "read-only"),
    .direct = cache == VD_CACHE_NONE,
    .lock = choice (options, "lock", locks) == 0,
    .block_size = block_size (options),
    .size = vd_options_uint (options, "size"),
    .reconnect_delay = vd_options_seconds (options, "reconnect-delay"),
  };
  VdImage *image = vd_image_open (&setup, &local);

  if (image == NULL)
    vd_options_set_error (options, "image", error, "%s", local->message);
  else if (setup.lock && !image->locked && image->nbd == NULL)
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

/* Opening and closing. */

static void
open_queues (VdBlk *blk, guint n_queues)
{
  blk->parent.n_queues = (guint16) n_queues;
  blk->queues =
      g_aligned_alloc0 (n_queues, sizeof *blk->queues, G_ALIGNOF (VdBlkQueue));
  for (guint i = 0; i < n_queues; i++)
    blk->queues[i].blk = blk;
}

static gboolean
find_lifetime (VdBlk *blk, VdOptions *options)
{
  const char *text = vd_options_string (options, "lifetime");
  VdLifetime lifetime = { 0 };
  gboolean known = vd_lifetime_find (blk->image, text, &lifetime);
  guint64 wear = 0;

  memcpy (&wear, &lifetime, sizeof lifetime);
  atomic_store (&blk->wear, wear);
  return known;
}

static void
take_live_keys (VdBlk *blk, VdOptions *options)
{
  atomic_store (&blk->stop_on_error,
                choice (options, "on-error", on_errors) == 1);
  atomic_store (&blk->stop_on_enospc,
                choice (options, "on-enospc", on_errors) == 1);
  find_lifetime (blk, options);
  vd_bucket_set (&blk->throttle.requests, vd_options_uint (options, "iops"),
                 vd_options_uint (options, "iops-burst"));
  vd_bucket_set (&blk->throttle.bytes, vd_options_uint (options, "bps"),
                 vd_options_uint (options, "bps-burst"));
}

static VdDevice *
blk_open (VdOptions *options, GError **error)
{
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
  blk->overwrite =
      choice (options, "secure-erase", erase_modes) == VD_ERASE_OVERWRITE;
  blk->secure_erase =
      !image->read_only &&
      (blk->overwrite ||
       (image->can_erase &&
        choice (options, "secure-erase", erase_modes) == VD_ERASE_AUTO));
  blk->lifetime = find_lifetime (blk, options);
  blk->parent.virtio_id = VIRTIO_ID_BLOCK;
  blk->parent.max_threads = MAX_THREADS;
  blk->parent.offer_config = TRUE;
  blk->parent.resubmits = TRUE; /* a read or write done twice is the same */
  open_queues (blk, (guint) vd_options_uint (options, "queues"));
  vd_blk_shape (blk, options);
  take_live_keys (blk, options);
  vd_blk_watch_size (blk, options);
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

  vd_watch_free (blk->watch);
  vd_cache_close (blk);
  vd_image_close (blk->image);
  g_aligned_free (blk->queues);
  g_free (blk);
}

static gboolean
blk_reload (VdDevice *dev, VdOptions *options, GError **error)
{
  VdBlk *blk = (VdBlk *) dev;

  if (!vd_blk_reload_size (blk, options, error))
    return FALSE;
  take_live_keys (blk, options);
  vd_hold_resume (blk);
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
  vd_hold_init (&queue->hold);
  vd_queue_set_data (vq, queue);
  if (blk->image->nbd != NULL)
    vd_nbd_open_port (blk->image->nbd, &queue->nbd, queue->worker);
  return vd_bounce_open (&queue->bounce, blk->image);
}

static void
blk_queue_stop (VdQueue *vq, gpointer user_data)
{
  VdBlkQueue *queue = vd_queue_data (vq);

  vd_bounce_close (&queue->bounce);
  if (queue->nbd.nbd != NULL)
    vd_nbd_close_port (&queue->nbd);
}

static void
blk_queue_drain (VdQueue *vq, gpointer user_data)
{
  vd_hold_drain (vd_queue_data (vq));
}

static guint64
now_ns (void)
{
  return (guint64) g_get_monotonic_time () * 1000;
}

/* How many requests the limits let begin. */
static guint
blk_allows (VdBlkQueue *queue)
{
  guint64 wait_ns;
  guint n = vd_throttle_allows (&queue->blk->throttle, now_ns (), VD_BATCH_MAX,
                                &wait_ns);

  if (n == 0) {
    vd_blk_add (&queue->stats.throttled, 1);
    vd_worker_wake_after (queue->worker, wait_ns);
  }
  return n;
}

static guint
blk_wants (VdQueue *vq, gpointer user_data)
{
  VdBlkQueue *queue = vd_queue_data (vq);

  if (G_UNLIKELY (queue->hold.n > 0) && vd_hold_waits (queue))
    return 0;
  if (G_UNLIKELY (vd_throttle_is_on (&queue->blk->throttle)))
    return blk_allows (queue);
  return VD_BATCH_MAX;
}

static void
blk_handle (VdQueue *vq, VdChain **chains, guint n_chains, gpointer user_data)
{
  VdBlkQueue *queue = vd_queue_data (vq);

  queue->batch_bytes = 0;
  for (guint i = 0; i < n_chains; i++)
    vd_blk_serve (queue, chains[i]);
  if (G_UNLIKELY (vd_throttle_is_on (&queue->blk->throttle)))
    vd_throttle_take (&queue->blk->throttle, now_ns (), n_chains,
                      queue->batch_bytes);
}

const VdDeviceOps vd_blk_ops = {
  .kind = "blk",
  .help = "disk (virtio-blk) in a file or on a block device",
  .keys = blk_keys,
  .queue = {
    .request_size = sizeof (VdBlkRequest),
    .start = blk_queue_start,
    .stop = blk_queue_stop,
    .wants = blk_wants,
    .drain = blk_queue_drain,
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
  .dump = vd_blk_dump,
};
