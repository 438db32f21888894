/* SPDX-License-Identifier: BSD-3-Clause */
#include "tests/lib/guest.h"

#include <sys/mman.h>
#include <unistd.h>

#define ARENA_SIZE (64ul << 30) /* addresses only; nothing is committed */

static void
region_free (gpointer data)
{
  VtRegion *region = data;

  munmap (region->ptr, region->size);
  close (region->fd);
  g_free (region);
}

VtGuest *
vt_guest_new (gsize size)
{
  VtGuest *guest = g_new0 (VtGuest, 1);

  guest->regions = g_ptr_array_new_with_free_func (region_free);
  guest->arena = mmap (NULL, ARENA_SIZE, PROT_NONE,
                       MAP_PRIVATE | MAP_ANONYMOUS | MAP_NORESERVE, -1, 0);
  g_assert_true (guest->arena != MAP_FAILED);
  if (size)
    vt_guest_add (guest, VT_GPA_BASE, VT_GPA_BASE + VT_UVA_SHIFT, size, 0);
  return guest;
}

void
vt_guest_free (VtGuest *guest)
{
  if (!guest)
    return;
  g_ptr_array_unref (guest->regions);
  munmap (guest->arena, ARENA_SIZE);
  g_free (guest);
}

/* @hint: where to map it, NULL: anywhere. */
static VtRegion *
add_region (VtGuest *guest, guint8 *hint, gsize size, guint64 offset)
{
  VtRegion *region = g_new0 (VtRegion, 1);

  region->size = size;
  region->offset = offset;
  region->fd = memfd_create ("guest", MFD_CLOEXEC | MFD_ALLOW_SEALING);
  g_assert_cmpint (region->fd, >=, 0);
  g_assert_no_errno (ftruncate (region->fd, offset + size));
  region->ptr = mmap (hint, size, PROT_READ | PROT_WRITE,
                      MAP_SHARED | (hint ? MAP_FIXED : 0), region->fd, offset);
  g_assert_true (region->ptr != MAP_FAILED);
  g_ptr_array_add (guest->regions, region);
  guest->current = region;
  return region;
}

VtRegion *
vt_guest_add (VtGuest *guest, guint64 gpa, guint64 uva, gsize size,
              guint64 offset)
{
  VtRegion *region;

  g_assert_cmpuint (size, <=, ARENA_SIZE);
  g_assert_cmpuint (gpa, <=, ARENA_SIZE - size);
  region = add_region (guest, guest->arena + gpa, size, offset);
  region->gpa = gpa;
  region->uva = uva;
  return region;
}

VtRegion *
vt_guest_add_identity (VtGuest *guest, gsize size)
{
  VtRegion *region = add_region (guest, NULL, size, 0);

  region->gpa = region->uva = (guintptr) region->ptr;
  return region;
}

void
vt_guest_remove (VtGuest *guest, VtRegion *region)
{
  guint8 *ptr = region->ptr;
  gsize size = region->size;
  gboolean in_arena = ptr == guest->arena + region->gpa;

  g_assert_true (g_ptr_array_remove (guest->regions, region));
  if (in_arena) /* keep the addresses reserved */
    g_assert_true (
        mmap (ptr, size, PROT_NONE,
              MAP_PRIVATE | MAP_ANONYMOUS | MAP_NORESERVE | MAP_FIXED, -1,
              0) == ptr);
  if (guest->current == region)
    guest->current =
        guest->regions->len ? g_ptr_array_index (guest->regions, 0) : NULL;
}

void *
vt_region_alloc (VtRegion *region, gsize len, gsize align)
{
  gsize start = (region->used + align - 1) & ~(align - 1);

  g_assert_cmpuint (start, <=, region->size);
  g_assert_cmpuint (len, <=, region->size - start);
  region->used = start + len;
  return memset (region->ptr + start, 0, len);
}

void *
vt_guest_alloc (VtGuest *guest, gsize len, gsize align)
{
  return vt_region_alloc (guest->current, len, align);
}

void
vt_region_rewind (VtRegion *region, gsize used)
{
  g_assert_cmpuint (used, <=, region->used);
  region->used = used;
}

/* The end of a region counts as part of it: empty buffers may lie there. */
static const VtRegion *
find_ptr (const VtGuest *guest, const guint8 *ptr)
{
  for (guint i = 0; i < guest->regions->len; i++) {
    const VtRegion *region = g_ptr_array_index (guest->regions, i);

    if (ptr >= region->ptr && (gsize) (ptr - region->ptr) <= region->size)
      return region;
  }
  g_error ("%p is not in guest memory", ptr);
}

guint64
vt_guest_gpa (const VtGuest *guest, const void *ptr)
{
  const VtRegion *region = find_ptr (guest, ptr);

  return region->gpa + ((const guint8 *) ptr - region->ptr);
}

guint64
vt_guest_uva (const VtGuest *guest, const void *ptr)
{
  const VtRegion *region = find_ptr (guest, ptr);

  return region->uva + ((const guint8 *) ptr - region->ptr);
}

void *
vt_guest_ptr (const VtGuest *guest, guint64 gpa)
{
  for (guint i = 0; i < guest->regions->len; i++) {
    const VtRegion *region = g_ptr_array_index (guest->regions, i);

    if (gpa >= region->gpa && gpa - region->gpa < region->size)
      return region->ptr + (gpa - region->gpa);
  }
  g_error ("gpa 0x%" G_GINT64_MODIFIER "x is not in guest memory", gpa);
}
