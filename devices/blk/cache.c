/* SPDX-License-Identifier: BSD-3-Clause
 *
 * cache.c - which promise a completed write carries
 *
 * Write-back: it is durable after the next flush.  Write-through: it is durable
 * now.  The driver's features decide, and where it acked CONFIG_WCE the wce
 * byte of config space, live.  From 1 to 0 the mode changes first, so that new
 * writes are durable by themselves, then one flush covers the old ones, and
 * only then is the driver told.  Writes that began before and end after are
 * flushed one by one (vd_blk_finish_write()).
 *
 * The byte outlives a driver: front-ends keep a copy of config space over a
 * guest's reboot and over reconnections, and a guest that reads write-through
 * there sends no flush.
 */
#include "devices/blk/disk.h"

#include <stddef.h>

/* The flush of one switch to write-through, or of the end of a guest's life. */
typedef struct {
  VdTask task;
  VdFlush flush;
  VdMailbox *control;
  VdBlk *blk;                /* NULL: the device is gone */
  void (*then) (VdBlk *blk); /* NULL: nothing more */
  bool waiting;              /* the front-end waits for it */
  bool submitting, ended;
} VdToggle;

static gboolean
has_feature (guint64 features, guint bit)
{
  return (features >> bit) & 1;
}

static bool
wce_byte (const VdBlk *blk)
{
  guint8 wce;

  vd_config_read ((VdConfig *) &blk->parent.config,
                  offsetof (struct virtio_blk_config, wce), &wce, sizeof wce);
  return wce != 0;
}

/* Virtio 1.3, 5.2.5.2 and 5.2.6.2. */
static bool
effective_write_through (const VdBlk *blk)
{
  if (blk->cache == VD_CACHE_UNSAFE)
    return false;
  if (has_feature (blk->acked, VIRTIO_BLK_F_CONFIG_WCE))
    return !wce_byte (blk);
  return !has_feature (blk->acked, VIRTIO_BLK_F_FLUSH);
}

void
vd_cache_start (VdBlk *blk, guint64 features)
{
  blk->acked = features;
  atomic_store (&blk->write_through, effective_write_through (blk));
}

/* The flush. */

static void
end (VdToggle *toggle)
{
  VdBlk *blk = toggle->blk;

  if (toggle->submitting) {
    toggle->ended = true;
    return;
  }
  if (blk != NULL) {
    blk->toggles = g_slist_remove (blk->toggles, toggle);
    if (toggle->then != NULL)
      toggle->then (blk);
    if (toggle->waiting && blk->parent.services != NULL)
      blk->parent.services->resume (&blk->parent);
  }
  g_free (toggle);
}

static void
synced (VdOp *op, int res)
{
  VdToggle *toggle = VD_CONTAINER (op, VdToggle, task.op);

  if (toggle->blk == NULL)
    end (toggle);
  else
    vd_flush_finish (&toggle->blk->flusher, &toggle->flush, res);
}

static inline VdToggle *
toggle_of (VdFlush *flush)
{
  return VD_CONTAINER (flush, VdToggle, flush);
}

static void
lead (VdFlush *flush)
{
  VdToggle *toggle = toggle_of (flush);

  if (toggle->blk == NULL) {
    end (toggle);
    return;
  }
  toggle->task.op.done = synced;
  toggle->task.call = (VdCall){
    .kind = VD_CALL_SYNC,
    .fd = toggle->blk->image->fd,
  };
  if (toggle->blk->image->nbd != NULL)
    vd_nbd_submit_from (toggle->blk->image->nbd, &toggle->task,
                        toggle->control);
  else
    vd_call_by_pool (toggle->blk->parent.pool, &toggle->task, toggle->control);
}

static void
post (VdFlush *flush, VdMail *mail)
{
  vd_mailbox_post (toggle_of (flush)->control, mail);
}

/* An error stays in the flusher: write-through writes fail from now on. */
static void
flushed (VdFlush *flush, int error)
{
  end (toggle_of (flush));
}

VdWhen
vd_cache_flush (VdBlk *blk, void (*then) (VdBlk *blk))
{
  VdToggle *toggle = g_new0 (VdToggle, 1);

  toggle->blk = blk;
  toggle->then = then;
  toggle->control = blk->parent.control;
  toggle->flush.lead = lead;
  toggle->flush.post = post;
  toggle->flush.done = flushed;
  blk->toggles = g_slist_prepend (blk->toggles, toggle);
  toggle->submitting = true;
  vd_flush_submit (&blk->flusher, &toggle->flush);
  toggle->submitting = false;
  if (toggle->ended) {
    end (toggle);
    return VD_NOW;
  }
  toggle->waiting = true;
  return VD_LATER;
}

VdWhen
vd_cache_written (VdBlk *blk, guint offset, guint len)
{
  bool before = vd_blk_write_through (blk), after;
  const guint wce = offsetof (struct virtio_blk_config, wce);

  if (wce < offset || wce >= offset + len)
    return VD_NOW;
  after = effective_write_through (blk);
  atomic_store (&blk->write_through, after);
  if (before || !after || blk->image->read_only)
    return VD_NOW;
  return vd_cache_flush (blk, NULL);
}

void
vd_cache_reset (VdBlk *blk)
{
  for (GSList *l = blk->toggles; l != NULL; l = l->next)
    ((VdToggle *) l->data)->waiting = false;
}

void
vd_cache_close (VdBlk *blk)
{
  for (GSList *l = blk->toggles; l != NULL; l = l->next)
    ((VdToggle *) l->data)->blk = NULL;
  g_clear_pointer (&blk->toggles, g_slist_free);
}
