/* SPDX-License-Identifier: BSD-3-Clause */
#include "vring/dirty.h"

#include <errno.h>
#include <gio/gio.h>
#include <stdatomic.h>
#include <sys/mman.h>
#include <sys/stat.h>
#include <unistd.h>

#include "vring/sigbus.h"

struct VdDirty {
  guint refs;
  VdGuard *guard; /* against truncation */
  guint8 *mapping;
  gsize mapping_len;
  _Atomic guint8 *bits;
  guint64 n_pages; /* bits in the log */
};

static VdDirty *
refuse (GError **error, const char *why)
{
  g_set_error (error, G_IO_ERROR, G_IO_ERROR_INVALID_ARGUMENT, "dirty log: %s",
               why);
  return NULL;
}

VdDirty *
vd_dirty_new (int fd, guint64 offset, guint64 size, GError **error)
{
  const guint64 page = (guint64) sysconf (_SC_PAGESIZE);
  guint64 start = offset / page * page;
  struct stat st;
  guint8 *mapping;
  VdGuard *guard;
  gsize len;

  if (fstat (fd, &st) < 0)
    return refuse (error, g_strerror (errno));
  if (!S_ISREG (st.st_mode))
    return refuse (error, "its descriptor is not a file");
  if (size == 0 || offset > (guint64) st.st_size ||
      size > (guint64) st.st_size - offset)
    return refuse (error, "it is empty or ends beyond its file");
  len = (offset + size - start + page - 1) / page * page;
  mapping =
      mmap (NULL, len, PROT_READ | PROT_WRITE, MAP_SHARED, fd, (off_t) start);
  if (mapping == MAP_FAILED)
    return refuse (error, g_strerror (errno));
  guard = vd_guard_new (mapping, len);
  if (guard == NULL) {
    munmap (mapping, len);
    return refuse (error, "there are too many mappings");
  }

  VdDirty *dirty = g_new (VdDirty, 1);
  *dirty = (VdDirty){
    .refs = 1,
    .guard = guard,
    .mapping = mapping,
    .mapping_len = len,
    .bits = (_Atomic guint8 *) (mapping + (offset - start)),
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
  vd_guard_free (dirty->guard);
  munmap (dirty->mapping, dirty->mapping_len);
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
  return vd_guard_is_lost (dirty->guard);
}

gboolean
vd_dirty_covers (const VdDirty *dirty, guint64 gpa)
{
  return gpa / VD_DIRTY_PAGE + (gpa % VD_DIRTY_PAGE != 0) <= dirty->n_pages;
}
