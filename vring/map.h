/* SPDX-License-Identifier: BSD-3-Clause
 *
 * map.h - guest memory: an immutable, refcounted table of mapped regions
 *
 * A map is built aside and never changes; adding or removing a region makes a
 * new map that shares the mappings of the old one.  Addresses come in three
 * kinds: gpa (the guest's physical address, in descriptors), uva (the
 * front-end's own address, in SET_VRING_ADDR) and hva (where it is here).
 *
 * Threads: built, referenced and released on CONTROL; translated on any.
 */
#pragma once

#include <glib.h>

#define VD_MAP_REGIONS_MAX 509 /* what front-ends with memory slots may use */

typedef struct VdMap VdMap;

/* A region as the front-end describes it. */
typedef struct {
  guint64 gpa;    /* guest physical address */
  guint64 size;   /* bytes, not 0 */
  guint64 uva;    /* the front-end's address */
  guint64 offset; /* bytes into the file */
} VdRegionInfo;

/* What one region translates, by value: a queue's translation cache. */
typedef struct {
  guint64 gpa;
  guint64 size; /* bytes; 0: empty */
  guint8 *hva;
} VdRange;

/* Returns: (transfer full): a map with no region. */
VdMap *vd_map_new (void);
VdMap *vd_map_ref (VdMap *map);
void vd_map_unref (VdMap *map); /* NULL is fine */

/* Maps @info's part of @fd, which is checked against the file's size and closed
 * by the caller, and shares the mapping if this process has the same one.
 * Returns: (transfer full): @map with the region, or NULL with @error set:
 * empty, wrapped, overlapping, beyond the file, too many, mmap failed. */
VdMap *
vd_map_add (VdMap *map, const VdRegionInfo *info, int fd, GError **error);

/* The same for memory whose pages are still on their way (postcopy migration): a
 * page that the file does not have yet is not made but raises a fault at @uffd
 * (vring/userfault.h), and whoever touches it waits.  So CONTROL must not touch
 * it.  The mapping is not shared, because it can have one such descriptor only.
 * @uffd: open until vd_map_end_faults() */
VdMap *vd_map_add_faulting (VdMap *map, const VdRegionInfo *info, int fd,
                            int uffd, GError **error);

/* CONTROL: ends the faults of all memory that was added with @uffd, in whatever
 * maps.  @lost: FALSE: pages that are missing are made, as zeroes; TRUE: nobody
 * will send them, and the memory is lost as if it had been truncated. */
void vd_map_end_faults (int uffd, gboolean lost);

/* Returns: (transfer full): @map without the region that has @info's gpa, uva
 * and size, or NULL with @error set. */
VdMap *vd_map_remove (VdMap *map, const VdRegionInfo *info, GError **error);

guint vd_map_n_regions (const VdMap *map);

/* Any thread that holds a reference: the @i-th region by gpa. */
void vd_map_region (const VdMap *map, guint i, VdRange *ret);

/* Returns: the gpa behind the last region. */
guint64 vd_map_end (const VdMap *map);

/* Any thread that holds a reference: whether the front-end truncated a region's
 * file, so that zero pages took its place (vring/sigbus.h). */
gboolean vd_map_is_lost (const VdMap *map);

/* Any thread that holds a reference: touches the end of each region, so that
 * memory which was truncated is found lost now. */
void vd_map_touch (const VdMap *map);

/* Finds the region of @gpa.  Any thread that holds a reference.
 * Returns: FALSE, with an empty @ret, if @gpa is in no region. */
gboolean vd_map_find (const VdMap *map, guint64 gpa, VdRange *ret);

/* Translates @gpa.  Any thread that holds a reference.
 * @len: (inout): bytes wanted; on return how many of them are contiguous here
 * Returns: the address, or NULL if @gpa is in no region. */
void *vd_map_gpa (const VdMap *map, guint64 gpa, guint64 *len);

/* Translates @uva.  Any thread that holds a reference.
 * @len: (inout): bytes wanted; on return how many of them are contiguous here
 * @gpa: (out): its gpa
 * Returns: the address, or NULL if @uva is in no region. */
void *
vd_map_uva_part (const VdMap *map, guint64 uva, guint64 *len, guint64 *gpa);

/* Translates the whole range, which must lie in one region.
 * Returns: the address or NULL.  @gpa: (out) (optional): its gpa */
void *vd_map_uva (const VdMap *map, guint64 uva, guint64 len, guint64 *gpa);

G_DEFINE_AUTOPTR_CLEANUP_FUNC (VdMap, vd_map_unref)
