/* SPDX-License-Identifier: BSD-3-Clause
 *
 * fixed.c - slots of the kernel's table, and which memory has them
 *
 * A region takes a run of slots, one for each piece of it, so that an address
 * tells its slot by a shift.  Pieces are small enough that pinning one holds up
 * no request, and pages that nobody has touched yet are made before that, a few
 * at a time.  The few requests that cross a border of pieces are not fixed.
 */
#include "vring/fixed.h"

#include <errno.h>
#include <stdlib.h>
#include <string.h>
#include <sys/mman.h>
#include <unistd.h>

#define N_SLOTS         16384 /* of the kernel's table at most */
#define PIECE_SHIFT_MIN 24
#define PIECE_SHIFT_MAX 30 /* the longest buffer that the kernel takes */
#define POPULATE_LEN    (1u << 20)

#ifndef MADV_POPULATE_WRITE /* Linux 5.14 */
#define MADV_POPULATE_WRITE 23
#endif

/* A region of the map. */
typedef struct {
  guint8 *start;
  guint64 len;
  guint64 populated; /* bytes from the start whose pages were made */
  guint64 ready;     /* bytes from the start that are registered */
  guint shift;       /* of the length of a piece */
  guint first;       /* slot */
  guint n_slots;     /* 0: it is not to be registered */
} Area;

struct VdFixed {
  struct io_uring *ring;
  VdFixedRefused refused;
  gpointer data;
  const VdMap *map; /* to know it again only */
  Area *areas;      /* by start */
  guint n_areas;
  gboolean pending;
  guint8 taken[N_SLOTS];
};

VdFixed *
vd_fixed_new (struct io_uring *ring, VdFixedRefused refused, gpointer data)
{
  int r = io_uring_register_buffers_sparse (ring, N_SLOTS);
  VdFixed *fixed;

  if (r < 0) {
    refused (data, -r);
    return NULL;
  }
  fixed = g_new0 (VdFixed, 1);
  fixed->ring = ring;
  fixed->refused = refused;
  fixed->data = data;
  return fixed;
}

void
vd_fixed_free (VdFixed *fixed)
{
  if (fixed == NULL)
    return;
  vd_fixed_use (fixed, NULL);
  g_free (fixed);
}

/* Slots. */

/* Gives @area a run of free slots, if there is one. */
static void
take_slots (VdFixed *fixed, Area *area)
{
  guint64 n = (area->len + (1ull << area->shift) - 1) >> area->shift;
  guint run = 0;

  for (guint i = 0; i < N_SLOTS; i++) {
    run = fixed->taken[i] ? 0 : run + 1;
    if (run < n)
      continue;
    area->n_slots = run;
    area->first = i + 1 - run;
    memset (&fixed->taken[area->first], 1, run);
    return;
  }
}

/* Requests under way keep what they use of the memory pinned until they end. */
static void
give_slots (VdFixed *fixed, Area *area)
{
  static const struct iovec none[64];

  for (guint i = 0; i < area->n_slots; i += G_N_ELEMENTS (none))
    io_uring_register_buffers_update_tag (
        fixed->ring, area->first + i, none, NULL,
        MIN (area->n_slots - i, G_N_ELEMENTS (none)));
  memset (&fixed->taken[area->first], 0, area->n_slots);
  area->n_slots = 0;
  area->ready = 0;
}

/* Following the map. */

/* So that all of the memory takes a quarter of the slots: others may come. */
static guint
choose_shift (const VdMap *map)
{
  guint shift = PIECE_SHIFT_MIN;
  guint64 total = 0;
  VdRange range;

  for (guint i = 0; i < vd_map_n_regions (map); i++) {
    vd_map_region (map, i, &range);
    total += range.size;
  }
  while (shift < PIECE_SHIFT_MAX && total >> shift > N_SLOTS / 4)
    shift++;
  return shift;
}

static int
compare_areas (const void *a, const void *b)
{
  const Area *x = a, *y = b;

  return x->start < y->start ? -1 : x->start > y->start;
}

/* The area of @range, taken out of @areas if it is there. */
static Area
move_area (Area *areas, guint n_areas, const VdRange *range, guint shift)
{
  Area area = { .start = range->hva, .len = range->size, .shift = shift };

  for (guint i = 0; i < n_areas; i++)
    if (areas[i].start == area.start && areas[i].len == area.len &&
        areas[i].n_slots > 0) {
      area = areas[i];
      areas[i].n_slots = 0;
      break;
    }
  return area;
}

static void
change_map (VdFixed *fixed, const VdMap *map)
{
  guint n = map != NULL ? vd_map_n_regions (map) : 0;
  guint shift = map != NULL ? choose_shift (map) : 0;
  g_autofree Area *old = fixed->areas;
  guint n_old = fixed->n_areas;

  fixed->map = map;
  fixed->areas = g_new (Area, n);
  fixed->n_areas = n;
  fixed->pending = TRUE;
  for (guint i = 0; i < n; i++) {
    VdRange range;

    vd_map_region (map, i, &range);
    fixed->areas[i] = move_area (old, n_old, &range, shift);
  }
  for (guint i = 0; i < n_old; i++)
    give_slots (fixed, &old[i]);
  for (guint i = 0; i < n; i++)
    if (fixed->areas[i].n_slots == 0)
      take_slots (fixed, &fixed->areas[i]);
  if (n > 0)
    qsort (fixed->areas, n, sizeof *fixed->areas, compare_areas);
}

void
vd_fixed_use (VdFixed *fixed, const VdMap *map)
{
  if (map != fixed->map)
    change_map (fixed, map);
}

/* Registering. */

/* Makes the pages of a part that ends at @end at most.  What this kernel cannot
 * do, or refuses, is left to the registration. */
static void
populate (Area *area, guint64 end)
{
  guintptr page = (guintptr) getpagesize ();
  guintptr from = (guintptr) area->start + area->populated;
  guint64 len = MIN (end - area->populated, POPULATE_LEN);
  guintptr start = from - from % page;

  madvise ((void *) start, from + len - start, MADV_POPULATE_WRITE);
  area->populated += len;
}

static void
refuse (VdFixed *fixed, int error)
{
  for (guint i = 0; i < fixed->n_areas; i++)
    give_slots (fixed, &fixed->areas[i]);
  fixed->refused (fixed->data, error);
}

static void
register_piece (VdFixed *fixed, Area *area, guint64 end)
{
  const struct iovec piece = { area->start + area->ready, end - area->ready };
  guint slot = area->first + (guint) (area->ready >> area->shift);
  int r =
      io_uring_register_buffers_update_tag (fixed->ring, slot, &piece, NULL, 1);

  if (r == 1)
    area->ready = end;
  else
    refuse (fixed, r < 0 ? -r : EINVAL);
}

gboolean
vd_fixed_is_pending (const VdFixed *fixed)
{
  return fixed->pending;
}

void
vd_fixed_step (VdFixed *fixed)
{
  Area *area = fixed->areas, *last = area + fixed->n_areas;
  guint64 end;

  while (area < last && (area->n_slots == 0 || area->ready == area->len))
    area++;
  if (area == last) {
    fixed->pending = FALSE;
    return;
  }
  end = MIN (area->len, area->ready + (1ull << area->shift));
  if (area->populated < end)
    populate (area, end);
  else
    register_piece (fixed, area, end);
}

/* Finding. */

static int
find_slot (const Area *area, guint64 offset, gsize len)
{
  guint64 piece = offset >> area->shift;

  if (len > area->ready || offset > area->ready - len ||
      (offset + len - 1) >> area->shift != piece)
    return -1;
  return (int) (area->first + piece);
}

int
vd_fixed_find (const VdFixed *fixed, const void *at, gsize len)
{
  guint low = 0, high = fixed->n_areas;

  while (low < high) {
    guint middle = (low + high) / 2;
    const Area *area = &fixed->areas[middle];

    if ((guintptr) at < (guintptr) area->start)
      high = middle;
    else if ((guintptr) at - (guintptr) area->start >= area->len)
      low = middle + 1;
    else
      return find_slot (area, (guintptr) at - (guintptr) area->start, len);
  }
  return -1;
}
