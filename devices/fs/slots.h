/* SPDX-License-Identifier: BSD-3-Clause
 *
 * slots.h - numbered objects that a guest names and may free at any moment
 *
 * An id is a slot's number and its generation, so finding an object is two
 * loads, a stale id is recognised for certain, and no id is ever used twice in
 * 2^32 reuses of a slot.  Slots never move and are never given back while the
 * table lives, so getting and putting an object takes no lock; only birth and
 * death do.
 *
 * A slot's life: FREE (refs 0, dead) -> vd_fs_slots_take(): the caller's own,
 * found by nobody -> vd_fs_slots_publish(): found, one reference of the table ->
 * vd_fs_slots_kill(): found no more -> the last put: dispose(), FREE with the
 * next generation.
 *
 * Threads: any, unless said otherwise.
 */
#pragma once

#include <glib.h>
#include <pthread.h>
#include <stdatomic.h>

/* First member of every object. */
typedef struct {
  atomic_uint_fast64_t state; /* generation << 32 | dead << 31 | references */
  guint32 index;              /* constant */
  guint32 next;               /* in the list of free ones, or of dead ones */
} VdFsSlot;

#define VD_FS_SLOT_CHUNKS 26

typedef struct {
  gsize object_size;
  guint32 max;                      /* slots at most */
  void (*dispose) (VdFsSlot *slot); /* after the last put */

  pthread_mutex_t lock;
  guint32 n_slots;             /* ever taken, by lock; numbers start at 1 */
  guint32 free;                /* head of the list, 0: none, by lock */
  atomic_uint_fast32_t n_live; /* published and not killed */

  /* Chunk k holds 64 << k objects; allocated as needed, by lock. */
  _Atomic (void *) chunks[VD_FS_SLOT_CHUNKS];
} VdFsSlots;

/* @object_size: of the struct that begins with a VdFsSlot
 * @max: slots that may be in use at once; beyond it, taking one fails */
void vd_fs_slots_init (VdFsSlots *slots, gsize object_size, guint32 max,
                       void (*dispose) (VdFsSlot *slot));

/* Frees the memory; every object must be dead and put.  CONTROL. */
void vd_fs_slots_clear (VdFsSlots *slots);

/* Returns: (nullable): a zeroed-once object for the caller alone, or NULL at
 * the maximum or without memory. */
VdFsSlot *vd_fs_slots_take (VdFsSlots *slots);

/* Gives back an object that was taken and never published, without dispose(). */
void vd_fs_slots_untake (VdFsSlots *slots, VdFsSlot *slot);

/* The id that @slot has or will have. */
guint64 vd_fs_slot_id (const VdFsSlot *slot);

/* Lets others find @slot by its id.  @refs: how many references exist from now
 * on, of which one is the table's, dropped by vd_fs_slots_kill(). */
void vd_fs_slots_publish (VdFsSlots *slots, VdFsSlot *slot, guint refs);

/* Returns: (nullable): the object with a new reference, or NULL if @id is
 * stale or never was one.  No lock. */
VdFsSlot *vd_fs_slots_get (VdFsSlots *slots, guint64 id);

/* Adds a reference to one that the caller knows to exist. */
void vd_fs_slots_ref (VdFsSlot *slot);

/* Drops a reference; NULL is fine.  No lock, unless it is a dead object's last
 * one. */
void vd_fs_slots_put (VdFsSlots *slots, VdFsSlot *slot);

/* Makes the id stale and drops the table's reference; only the first call does.
 * Returns: whether this was it. */
gboolean vd_fs_slots_kill (VdFsSlots *slots, VdFsSlot *slot);

/* Kills every object that is published now, and keeps a reference to each, so
 * that nothing is disposed of yet.
 * Returns: (transfer full): them as a list for vd_fs_slots_bury() */
guint32 vd_fs_slots_kill_all (VdFsSlots *slots);
void vd_fs_slots_bury (VdFsSlots *slots, guint32 list);

guint32 vd_fs_slots_n_live (const VdFsSlots *slots);
