/* SPDX-License-Identifier: BSD-3-Clause */
#include "vring/dirty.h"

#include <gio/gio.h>
#include <stdatomic.h>

#include "vring/file.h"

struct VdDirty {
  guint refs;
  VdFilePart part;
  _Atomic guint8 *bits;
  guint64 n_pages; /* bits in the log */
};

VdDirty *
vd_dirty_new (int fd, guint64 offset, guint64 size, GError **error)
{
  VdFilePart part;
  const char *wrong =
      size == 0 ? "it is empty" : vd_file_map_part (fd, offset, size, &part);
  VdDirty *dirty;

  if (wrong != NULL) {
    g_set_error (error, G_IO_ERROR, G_IO_ERROR_INVALID_ARGUMENT,
                 "dirty log: %s", wrong);
    return NULL;
  }
  dirty = g_new (VdDirty, 1);
  *dirty = (VdDirty){
    .refs = 1,
    .part = part,
    .bits = (_Atomic guint8 *) part.bytes,
    .n_pages = size * 8,
  };
  return dirty;
}

VdDirty *
vd_dirty_ref (VdDirty *dirty)
{
  dirty->refs++;
  return dirty;
}

void
vd_dirty_unref (VdDirty *dirty)
{
  if (dirty == NULL || --dirty->refs > 0)
    return;
  vd_file_unmap_part (&dirty->part);
  g_free (dirty);
}

void
vd_dirty_mark (VdDirty *dirty, guint64 gpa, guint64 len)
{
  guint64 page = gpa / VD_DIRTY_PAGE, last;

  if (len == 0 || page >= dirty->n_pages)
    return;
  last = MIN ((gpa + len - 1) / VD_DIRTY_PAGE, dirty->n_pages - 1);
  for (; page <= last; page++) {
    guint8 bit = (guint8) (1u << (page % 8));

    /* The data, written before, must be visible to who finds the bit. */
    atomic_fetch_or_explicit (&dirty->bits[page / 8], bit,
                              memory_order_release);
  }
}

gboolean
vd_dirty_is_lost (const VdDirty *dirty)
{
  return vd_guard_is_lost (dirty->part.guard);
}

gboolean
vd_dirty_covers (const VdDirty *dirty, guint64 gpa)
{
  return gpa / VD_DIRTY_PAGE + (gpa % VD_DIRTY_PAGE != 0) <= dirty->n_pages;
}
