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

#include "devices/blk/call.h"
#include "devices/blk/disk.h"
#include "devices/blk/keys.h"

#define MAX_THREADS 16

static_assert (offsetof (VdBlk, parent) == 0, "VdDevice is cast to it");
static_assert (sizeof (VdBlkRequest) <= 4096, "VdQueueOps.request_size");

/* Opening and closing. */

static VdImage *
open_image (VdOptions *options, GError **error)
{
  g_autoptr (GError) local = NULL;
  VdCacheMode cache = vd_blk_choice (options, "cache");
  VdImageSetup setup = {
    .name = vd_options_string (options, "image"),
    .id = vd_options_origin (options),
    .read_only = vd_options_bool (options, "read-only"),
    .direct = cache == VD_CACHE_NONE,
    .lock = vd_blk_choice (options, "lock"),
    .block_size = vd_blk_block_size (options),
    .size = vd_options_uint (options, "size"),
    .reconnect_delay = vd_options_seconds (options, "reconnect-delay"),
  };
  VdImage *image = vd_image_open (&setup, &local);

  if (image == NULL)
    vd_options_set_error (options, "image", error, "%s", local->message);
  else if (setup.lock == VD_LOCK_AUTO && !image->locked && image->nbd == NULL)
    g_message ("%s: image: this file system has no locks, so nothing keeps "
               "other programs from writing to it",
               vd_options_origin (options));
  return image;
}

static gboolean
check_engine (VdOptions *options, GError **error)
{
  g_autoptr (GError) local = NULL;

  if (vd_blk_choice (options, "engine") != VD_ENGINE_URING ||
      vd_call_check_uring (&local))
    return TRUE;
  vd_options_set_error (options, "engine", error, "%s", local->message);
  return FALSE;
}

/* Tried before a guest depends on it. */
static gboolean
check_polling (VdOptions *options, const VdImage *image, GError **error)
{
  g_autoptr (GError) local = NULL;

  if (!vd_options_bool (options, "iopoll") ||
      vd_call_check_polling (image->fd, image->block_size, &local))
    return TRUE;
  vd_options_set_error (options, "iopoll", error, "%s", local->message);
  return FALSE;
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
  atomic_store (&blk->stop_on_error, vd_blk_choice (options, "on-error") == 1);
  atomic_store (&blk->stop_on_enospc,
                vd_blk_choice (options, "on-enospc") == 1);
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
  if (!check_polling (options, image, error)) {
    vd_image_close (image);
    return NULL;
  }
  blk = g_new0 (VdBlk, 1);
  blk->image = image;
  blk->engine = vd_blk_choice (options, "engine");
  blk->cache = vd_blk_choice (options, "cache");
  blk->lock_at_start =
      image->nbd == NULL && vd_blk_choice (options, "lock") == VD_LOCK_START;
  blk->discard = image->can_discard && vd_options_bool (options, "discard");
  blk->overwrite =
      vd_blk_choice (options, "secure-erase") == VD_ERASE_OVERWRITE;
  blk->secure_erase =
      !image->read_only &&
      (blk->overwrite ||
       (image->can_erase &&
        vd_blk_choice (options, "secure-erase") == VD_ERASE_AUTO));
  blk->lifetime = find_lifetime (blk, options);
  blk->parent.virtio_id = VIRTIO_ID_BLOCK;
  blk->parent.max_threads = MAX_THREADS;
  blk->parent.sqpoll_ms = (guint) vd_options_uint (options, "sqpoll");
  blk->parent.iopoll = vd_options_bool (options, "iopoll");
  blk->register_memory = vd_options_bool (options, "register-memory");
  blk->maps =
      blk->engine == VD_ENGINE_AUTO && vd_options_bool (options, "mapped");
  blk->parent.n_workers = (guint) vd_options_uint (options, "threads");
  blk->parent.offer_config = TRUE;
  blk->parent.resubmits = TRUE; /* a read or write done twice is the same */
  open_queues (blk, (guint) vd_options_uint (options, "queues"));
  vd_blk_shape (blk, options);
  take_live_keys (blk, options);
  if (blk->cache == VD_CACHE_UNSAFE)
    g_message ("%s: cache=unsafe: flushes of the guest do nothing; a crash of "
               "the host will lose data",
               vd_options_origin (options));
  return &blk->parent;
}

static void
blk_opened (VdDevice *dev)
{
  VdBlk *blk = (VdBlk *) dev;

  if (blk->maps)
    blk->mapped = vd_mapped_new (blk->image);
  vd_blk_watch_size (blk);
}

static void
blk_close (VdDevice *dev)
{
  VdBlk *blk = (VdBlk *) dev;

  vd_watch_free (blk->watch);
  vd_cache_close (blk);
  vd_mapped_free (blk->mapped);
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
take_lock (VdBlk *blk, GError **error)
{
  g_autoptr (GError) local = NULL;

  vd_mapped_forget (blk->mapped);
  if (!vd_image_lock (blk->image, &local)) {
    vd_options_set_error (blk->parent.options, "image", error, "%s",
                          local->message);
    return FALSE;
  }
  vd_blk_look_at_size (blk);
  return TRUE;
}

static gboolean
blk_start (VdDevice *dev, guint64 features, GError **error)
{
  VdBlk *blk = (VdBlk *) dev;

  if (blk->lock_at_start && !take_lock (blk, error))
    return FALSE;
  atomic_store (&blk->fixed_error, 0);
  vd_cache_start (blk, features);
  return TRUE;
}

static void
give_lock (VdBlk *blk)
{
  vd_image_unlock (blk->image);
}

/* Whoever takes the lock next, on another host maybe, finds all that the guest
 * wrote. */
static VdWhen
blk_stopped (VdDevice *dev)
{
  VdBlk *blk = (VdBlk *) dev;

  if (!blk->lock_at_start || !blk->image->locked)
    return VD_NOW;
  return vd_cache_flush (blk, give_lock);
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
  vd_mapped_open_view (&queue->mapped, blk->mapped);
  queue->policy.iopoll = blk->parent.iopoll && vd_call_can_poll (queue->worker);
  vd_hold_init (&queue->hold);
  vd_queue_set_data (vq, queue);
  if (blk->image->nbd != NULL)
    vd_nbd_open_port (blk->image->nbd, &queue->nbd, queue->worker);
  else {
    vd_call_fix_fd (queue->worker, blk->image->fd);
    vd_blk_register_memory (queue);
  }
  return vd_bounce_open (&queue->bounce, blk->image);
}

static void
blk_queue_stop (VdQueue *vq, gpointer user_data)
{
  VdBlkQueue *queue = vd_queue_data (vq);

  vd_mapped_stamp (&queue->mapped);
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
  vd_mapped_stamp (&queue->mapped);
  if (G_UNLIKELY (vd_throttle_is_on (&queue->blk->throttle)))
    vd_throttle_take (&queue->blk->throttle, now_ns (), n_chains,
                      queue->batch_bytes);
}

const VdDeviceOps vd_blk_ops = {
  .kind = "blk",
  .help = "disk (virtio-blk) in a file or on a block device",
  .keys = vd_blk_keys,
  .calls = vd_blk_calls,
  .queue = {
    .request_size = sizeof (VdBlkRequest),
    .start = blk_queue_start,
    .stop = blk_queue_stop,
    .wants = blk_wants,
    .drain = blk_queue_drain,
    .handle = blk_handle,
  },
  .check = vd_blk_check,
  .open = blk_open,
  .opens_apart = TRUE, /* an NBD server, or the lock of another program */
  .opened = blk_opened,
  .close = blk_close,
  .reload = blk_reload,
  .start = blk_start,
  .stopped = blk_stopped,
  .reset = blk_reset,
  .written = blk_written,
  .save = blk_save,
  .load = blk_load,
  .dump = vd_blk_dump,
};
