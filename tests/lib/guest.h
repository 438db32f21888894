/* SPDX-License-Identifier: BSD-3-Clause
 *
 * guest.h - a fake guest's memory, for tests
 *
 * Shares no code with vring/, which it is the independent check of.  The three
 * kinds of addresses differ on purpose, so that code which mixes them up fails:
 * a pointer here, a gpa in descriptors, a uva in SET_VRING_ADDR.  Between
 * regions lies memory without access.  One thread at a time.
 */
#pragma once

#include <glib.h>

#define VT_GPA_BASE  0x100000         /* gpa of vt_guest_new()'s region */
#define VT_UVA_SHIFT 0x7e0000000000ul /* uva - gpa of vt_guest_new()'s region */

typedef struct {
  guint64 gpa;    /* guest physical address */
  guint64 size;   /* bytes */
  guint64 uva;    /* what the front-end calls it */
  guint64 offset; /* bytes into fd */
  int fd;         /* a memfd of offset + size bytes, without seals */
  guint8 *ptr;    /* where it is in this process */
  gsize used;     /* bytes allocated so far */
} VtRegion;

typedef struct {
  GPtrArray *regions; /* VtRegion, in the order of adding */
  guint8 *arena;      /* reserved addresses; gpa 0 would be at its start */
  VtRegion *current;  /* where vt_guest_alloc() allocates */
} VtGuest;

/* A guest with one region of @size bytes at VT_GPA_BASE; 0: no region. */
VtGuest *vt_guest_new (gsize size);
void vt_guest_free (VtGuest *guest); /* NULL is fine */

/* Adds a region, which becomes the current one.  Regions whose gpa ranges touch
 * also touch in this process, so one buffer may lie in both.
 * @gpa: below 64 GiB
 * @offset: bytes of the file before it
 * Returns: (transfer none): valid until vt_guest_remove() */
VtRegion *vt_guest_add (VtGuest *guest, guint64 gpa, guint64 uva, gsize size,
                        guint64 offset);

/* Adds a region whose gpa and uva are its pointer, as libblkio does. */
VtRegion *vt_guest_add_identity (VtGuest *guest, gsize size);

void vt_guest_remove (VtGuest *guest, VtRegion *region);

/* Returns: zeroed guest memory; fails the test when the region is full.
 * @align: a power of 2 */
void *vt_guest_alloc (VtGuest *guest, gsize len, gsize align);
void *vt_region_alloc (VtRegion *region, gsize len, gsize align);

/* Forgets what was allocated in @region after it had @used bytes in use. */
void vt_region_rewind (VtRegion *region, gsize used);

/* Conversions; a pointer or address outside of all regions fails the test. */
guint64 vt_guest_gpa (const VtGuest *guest, const void *ptr);
guint64 vt_guest_uva (const VtGuest *guest, const void *ptr);
void *vt_guest_ptr (const VtGuest *guest, guint64 gpa);

G_DEFINE_AUTOPTR_CLEANUP_FUNC (VtGuest, vt_guest_free)
