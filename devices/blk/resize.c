/* SPDX-License-Identifier: BSD-3-Clause
 *
 * resize.c - a disk that grows and shrinks while a driver uses it
 *
 * Whoever changed the size, the key on reload or somebody else below us, the new
 * capacity is stored, requests are checked against it from then on, and the
 * driver is told at once.  Requests under way are not: what they touch is still
 * there, or fails by itself.
 */
#define G_LOG_DOMAIN "virtiod-blk"

#include <stddef.h>

#include "devices/blk/disk.h"

static void
tell_driver (VdBlk *blk)
{
  guint64 size = atomic_load (&blk->image->size);

  if (!vd_config_set_le64 (&blk->parent.config,
                           offsetof (struct virtio_blk_config, capacity),
                           size / VD_SECTOR))
    return;
  g_message ("%s: the disk has %" G_GUINT64_FORMAT " bytes now", blk->parent.id,
             size);
  vd_device_config_changed (&blk->parent);
}

gboolean
vd_blk_reload_size (VdBlk *blk, VdOptions *options, GError **error)
{
  const char *key = vd_options_has (options, "size") ? "size" : "image";
  g_autoptr (GError) local = NULL;

  if (!vd_image_resize (blk->image, vd_options_uint (options, "size"),
                        &local)) {
    vd_options_set_error (options, key, error, "%s", local->message);
    return FALSE;
  }
  tell_driver (blk);
  if (blk->image->nbd != NULL)
    vd_nbd_ask_size (blk->image->nbd);
  return TRUE;
}

void
vd_blk_look_at_size (VdBlk *blk)
{
  g_autoptr (GError) error = NULL;

  if (vd_image_refresh (blk->image, &error))
    tell_driver (blk);
  else if (!blk->size_lost)
    g_warning ("%s: the disk keeps its size: the image %s", blk->parent.id,
               error->message);
  blk->size_lost = error != NULL;
}

static void
on_changed (gpointer data)
{
  vd_blk_look_at_size (data);
}

void
vd_blk_watch_size (VdBlk *blk)
{
  if (blk->image->nbd != NULL)
    vd_nbd_watch_size (blk->image->nbd, blk->parent.control, on_changed, blk);
  else
    blk->watch = vd_watch_new (blk->image, on_changed, blk);
}
