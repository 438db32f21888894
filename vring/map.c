/* SPDX-License-Identifier: BSD-3-Clause
 *
 * map.c - regions of guest memory, mapped between guard pages
 *
 * A mapping is shared by all maps of this process that name the same part of
 * the same file: a guest with six devices is mapped once.  Both the mappings
 * and the references are CONTROL's, so neither needs a lock.
 */
#include "vring/map.h"

#include <errno.h>
#include <gio/gio.h>
#include <string.h>
#include <sys/mman.h>
#include <unistd.h>

#include "vring/file.h"
#include "vring/userfault.h"

#define THP_SIZE (G_GUINT64_CONSTANT (2) << 20)

/* One part of one file, mapped once. */
typedef struct {
  dev_t dev;
  ino_t ino;
  guint64 offset, size; /* as in VdRegionInfo */
  guint refs;
  int uffd;       /* that raises its faults; -1: none, and it may be shared */
  VdGuard *guard; /* against truncation of the file */
  guint8 *start;  /* of the whole pages, len bytes */
  gsize len;
  guint8 *hva;    /* of the region's first byte */
  void *reserved; /* the mapping with its guard pages */
  gsize reserved_len;
} Mapping;

typedef struct {
  VdRange range; /* first: what vd_map_find() reads */
  guint64 uva;
  Mapping *mapping; /* one reference */
} Region;

struct VdMap {
  guint refs;
  guint n_regions;
  Region regions[]; /* sorted by gpa */
};

static GSList *all_mappings; /* CONTROL */

static gboolean
refuse (GError **error, const VdRegionInfo *info, const char *why)
{
  g_set_error (error, G_IO_ERROR, G_IO_ERROR_INVALID_ARGUMENT,
               "memory region at 0x%" G_GINT64_MODIFIER
               "x of %" G_GUINT64_FORMAT " bytes: %s",
               info->gpa, info->size, why);
  return FALSE;
}

/* Maps between guard pages, aligned so that huge pages can be used. */
static Mapping *
mapping_new (const VdRegionInfo *info, int fd, const struct stat *st,
             guint64 page, GError **error)
{
  guint64 start = info->offset / page * page;
  guint64 end = (info->offset + info->size + page - 1) / page * page;
  gsize len = end - start;
  gsize align = MAX (page, len >= THP_SIZE ? THP_SIZE : 0);
  gsize reserved_len = len + 3 * align;
  guint8 *reserved = mmap (NULL, reserved_len, PROT_NONE,
                           MAP_PRIVATE | MAP_ANONYMOUS | MAP_NORESERVE, -1, 0);
  guint8 *at;
  VdGuard *guard;

  if (reserved == MAP_FAILED) {
    refuse (error, info, g_strerror (errno));
    return NULL;
  }
  at = reserved + align + (align - (gsize) reserved % align) % align +
       start % align;
  if (mmap (at, len, PROT_READ | PROT_WRITE,
            MAP_SHARED | MAP_NORESERVE | MAP_FIXED, fd,
            (off_t) start) == MAP_FAILED) {
    int saved = errno;

    munmap (reserved, reserved_len);
    refuse (error, info,
            saved == EACCES ? "its descriptor cannot be mapped writable"
                            : g_strerror (saved));
    return NULL;
  }
  madvise (at, len, MADV_DONTDUMP);
  guard = vd_guard_new (at, len);
  if (guard == NULL) {
    munmap (reserved, reserved_len);
    refuse (error, info, "there are too many mappings");
    return NULL;
  }

  Mapping *mapping = g_new (Mapping, 1);
  *mapping = (Mapping){
    .dev = st->st_dev,
    .ino = st->st_ino,
    .offset = info->offset,
    .size = info->size,
    .uffd = -1,
    .guard = guard,
    .start = at,
    .len = len,
    .hva = at + (info->offset - start),
    .reserved = reserved,
    .reserved_len = reserved_len,
  };
  return mapping;
}

static Mapping *
mapping_ref (Mapping *mapping)
{
  mapping->refs++;
  return mapping;
}

static void
mapping_unref (Mapping *mapping)
{
  if (--mapping->refs > 0)
    return;
  all_mappings = g_slist_remove (all_mappings, mapping);
  vd_guard_free (mapping->guard);
  munmap (mapping->reserved, mapping->reserved_len);
  g_free (mapping);
}

/* Returns: a mapping of the same bytes that can be shared, or NULL. */
static Mapping *
find_shared (const VdRegionInfo *info, const struct stat *st)
{
  for (GSList *l = all_mappings; l != NULL; l = l->next) {
    Mapping *mapping = l->data;

    if (mapping->dev == st->st_dev && mapping->ino == st->st_ino &&
        mapping->offset == info->offset && mapping->size == info->size &&
        mapping->uffd < 0 && !vd_guard_is_lost (mapping->guard))
      return mapping;
  }
  return NULL;
}

/* Returns: (transfer full): the mapping of @info, which may exist already.
 * @uffd: -1: none */
static Mapping *
mapping_get (const VdRegionInfo *info, int fd, int uffd, GError **error)
{
  const char *wrong;
  struct stat st;
  guint64 page;
  Mapping *mapping;

  wrong = vd_file_check (fd, info->offset, info->size, &st, &page);
  if (wrong != NULL) {
    refuse (error, info, wrong);
    return NULL;
  }
  mapping = uffd < 0 ? find_shared (info, &st) : NULL;
  if (mapping != NULL)
    return mapping_ref (mapping);
  mapping = mapping_new (info, fd, &st, page, error);
  if (mapping == NULL)
    return NULL;
  all_mappings = g_slist_prepend (all_mappings, mapping_ref (mapping));
  if (uffd >= 0 &&
      !vd_userfault_register (uffd, mapping->start, mapping->len)) {
    refuse (error, info, g_strerror (errno));
    mapping_unref (mapping);
    return NULL;
  }
  mapping->uffd = uffd;
  return mapping;
}

void
vd_map_end_faults (int uffd, gboolean lost)
{
  for (GSList *l = all_mappings; l != NULL; l = l->next) {
    Mapping *mapping = l->data;

    if (mapping->uffd != uffd)
      continue;
    mapping->uffd = -1;
    if (!lost) {
      vd_userfault_unregister (uffd, mapping->start, mapping->len);
      continue;
    }
    vd_guard_lose (mapping->guard);
    vd_userfault_abandon (uffd, mapping->start, mapping->len);
  }
}

static VdMap *
map_alloc (guint n_regions)
{
  VdMap *map = g_malloc0 (sizeof *map + n_regions * sizeof (Region));

  map->refs = 1;
  map->n_regions = n_regions;
  return map;
}

VdMap *
vd_map_new (void)
{
  return map_alloc (0);
}

VdMap *
vd_map_ref (VdMap *map)
{
  map->refs++;
  return map;
}

void
vd_map_unref (VdMap *map)
{
  if (map == NULL || --map->refs > 0)
    return;
  for (guint i = 0; i < map->n_regions; i++)
    mapping_unref (map->regions[i].mapping);
  g_free (map);
}

static gboolean
overlap (guint64 a, guint64 a_len, guint64 b, guint64 b_len)
{
  return a < b ? b - a < a_len : a - b < b_len;
}

static gboolean
check_ranges (const VdMap *map, const VdRegionInfo *info, GError **error)
{
  if (info->size == 0)
    return refuse (error, info, "it is empty");
  if (info->gpa > G_MAXUINT64 - info->size ||
      info->uva > G_MAXUINT64 - info->size ||
      info->offset > (guint64) G_MAXINT64 - info->size ||
      info->size > (guint64) G_MAXINT64 / 2)
    return refuse (error, info, "it wraps");
  if (map->n_regions == VD_MAP_REGIONS_MAX)
    return refuse (error, info, "there are too many regions");
  for (guint i = 0; i < map->n_regions; i++) {
    const Region *r = &map->regions[i];

    if (overlap (info->gpa, info->size, r->range.gpa, r->range.size) ||
        overlap (info->uva, info->size, r->uva, r->range.size))
      return refuse (error, info, "it overlaps another one");
  }
  return TRUE;
}

VdMap *
vd_map_add (VdMap *map, const VdRegionInfo *info, int fd, GError **error)
{
  return vd_map_add_faulting (map, info, fd, -1, error);
}

VdMap *
vd_map_add_faulting (VdMap *map, const VdRegionInfo *info, int fd, int uffd,
                     GError **error)
{
  Mapping *mapping;
  VdMap *next;
  guint at = 0;

  if (!check_ranges (map, info, error))
    return NULL;
  mapping = mapping_get (info, fd, uffd, error);
  if (mapping == NULL)
    return NULL;
  next = map_alloc (map->n_regions + 1);
  while (at < map->n_regions && map->regions[at].range.gpa < info->gpa)
    at++;
  for (guint i = 0; i < map->n_regions; i++) {
    next->regions[i < at ? i : i + 1] = map->regions[i];
    mapping_ref (map->regions[i].mapping);
  }
  next->regions[at] = (Region){
    .range = { info->gpa, info->size, mapping->hva },
    .uva = info->uva,
    .mapping = mapping,
  };
  return next;
}

VdMap *
vd_map_remove (VdMap *map, const VdRegionInfo *info, GError **error)
{
  VdMap *next;
  guint at = 0;

  while (at < map->n_regions && (map->regions[at].range.gpa != info->gpa ||
                                 map->regions[at].range.size != info->size ||
                                 map->regions[at].uva != info->uva))
    at++;
  if (at == map->n_regions) {
    refuse (error, info, "there is no such region");
    return NULL;
  }
  next = map_alloc (map->n_regions - 1);
  for (guint i = 0; i < map->n_regions; i++)
    if (i != at) {
      next->regions[i < at ? i : i - 1] = map->regions[i];
      mapping_ref (map->regions[i].mapping);
    }
  return next;
}

guint64
vd_map_end (const VdMap *map)
{
  const VdRange *last;

  if (map->n_regions == 0)
    return 0;
  last = &map->regions[map->n_regions - 1].range;
  return last->gpa + last->size;
}

gboolean
vd_map_is_lost (const VdMap *map)
{
  for (guint i = 0; i < map->n_regions; i++)
    if (vd_guard_is_lost (map->regions[i].mapping->guard))
      return TRUE;
  return FALSE;
}

void
vd_map_touch (const VdMap *map)
{
  for (guint i = 0; i < map->n_regions; i++) {
    const VdRange *range = &map->regions[i].range;

    (void) *(const volatile guint8 *) (range->hva + range->size - 1);
  }
}

guint
vd_map_n_regions (const VdMap *map)
{
  return map->n_regions;
}

void
vd_map_region (const VdMap *map, guint i, VdRange *ret)
{
  *ret = map->regions[i].range;
}

gboolean
vd_map_find (const VdMap *map, guint64 gpa, VdRange *ret)
{
  guint low = 0, high = map->n_regions;

  while (low < high) {
    guint middle = (low + high) / 2;
    const VdRange *range = &map->regions[middle].range;

    if (gpa < range->gpa)
      high = middle;
    else if (gpa - range->gpa >= range->size)
      low = middle + 1;
    else {
      *ret = *range;
      return TRUE;
    }
  }
  *ret = (VdRange){ 0 };
  return FALSE;
}

void *
vd_map_gpa (const VdMap *map, guint64 gpa, guint64 *len)
{
  VdRange range;

  if (!vd_map_find (map, gpa, &range))
    return NULL;
  *len = MIN (*len, range.size - (gpa - range.gpa));
  return range.hva + (gpa - range.gpa);
}

void *
vd_map_uva_part (const VdMap *map, guint64 uva, guint64 *len, guint64 *gpa)
{
  for (guint i = 0; i < map->n_regions; i++) {
    const Region *r = &map->regions[i];
    guint64 offset = uva - r->uva;

    if (offset >= r->range.size)
      continue;
    *len = MIN (*len, r->range.size - offset);
    *gpa = r->range.gpa + offset;
    return r->range.hva + offset;
  }
  return NULL;
}

void *
vd_map_uva (const VdMap *map, guint64 uva, guint64 len, guint64 *gpa)
{
  guint64 contiguous = len, its_gpa;
  void *at = vd_map_uva_part (map, uva, &contiguous, &its_gpa);

  if (at == NULL || contiguous < len)
    return NULL;
  if (gpa != NULL)
    *gpa = its_gpa;
  return at;
}
