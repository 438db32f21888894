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
 * next generation.  Meanwhile it may be PARKED, which nobody can do to an object
 * that another holds: what of it costs resources is gone until it is unparked.
 *
 * Threads: any, unless said otherwise.
 */
#pragma once

#include <glib.h>
#include <pthread.h>
#include <stdatomic.h>

/* First member of every object. */
typedef struct {
  /* generation << 32 | dead << 31 | parked << 30 | references */
  atomic_uint_fast64_t state;
  guint32 index; /* 0: its number was never taken */
  guint32 next;  /* in the list of free ones, or of dead ones */
} VdFsSlot;

#define VD_FS_SLOT_CHUNKS 26

/* The highest number that may be claimed: memory is made up to it. */
#define VD_FS_SLOT_CLAIM_MAX (1u << 20)

typedef struct {
  gsize object_size;
  guint32 max;                      /* slots at most */
  void (*dispose) (VdFsSlot *slot); /* after the last put */

  pthread_mutex_t lock;
  guint32 n_slots;             /* numbers up to it were taken once, by lock */
  guint32 top;                 /* the highest that was, by lock */
  guint32 first;               /* generation of new numbers, by lock */
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
void vd_fs_slots_publish (VdFsSlots *slots, VdFsSlot *slot, guint refs,
                          gboolean parked);

/* Returns: (nullable): the object with a new reference, or NULL if @id is
 * stale or never was one.  No lock. */
VdFsSlot *vd_fs_slots_get (VdFsSlots *slots, guint64 id);

/* Adds a reference to one that the caller knows to exist. */
void vd_fs_slots_ref (VdFsSlot *slot);

/* Adds a reference to one that may be on its way to dispose().
 * Returns: FALSE if it is, or if it is dead. */
gboolean vd_fs_slots_try_ref (VdFsSlot *slot);

/* Turns the caller's reference into PARKED, if nobody but the caller and the
 * table holds the object.  Returns: FALSE, with nothing changed, if others do. */
gboolean vd_fs_slots_park (VdFsSlot *slot);

/* Ends PARKED; the caller has a reference and has restored what was gone. */
void vd_fs_slots_unpark (VdFsSlot *slot);

/* Whether @slot is parked; what unpark() published is visible if not.  The
 * caller has a reference, so that it does not become parked meanwhile. */
static inline gboolean vd_fs_slot_is_parked (const VdFsSlot *slot);

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

/* Returns: the id of the first live object from number *@at on, which is moved
 * behind it, or 0 if there is none.  *@at begins as 0. */
guint64 vd_fs_slots_next (VdFsSlots *slots, guint32 *at);

/* For ids that another instance gave out, while nobody else uses the table.
 * rewind() makes all numbers free at once; no object may be live, or be
 * held still.  From then on no object has a generation below @first, which is
 * what vd_fs_slots_generation() of the other instance said: one above all that
 * it gave out.  claim() then takes the number and generation of @id.
 * Returns: (nullable): as vd_fs_slots_take(), or NULL also if @id is beyond
 * VD_FS_SLOT_CLAIM_MAX, none that the table could have given out, or taken. */
guint32 vd_fs_slots_generation (VdFsSlots *slots);
void vd_fs_slots_rewind (VdFsSlots *slots, guint32 first);
VdFsSlot *vd_fs_slots_claim (VdFsSlots *slots, guint64 id);

#define VD_FS_SLOT_PARKED ((guint64) 1 << 30) /* in state; private */

static inline gboolean
vd_fs_slot_is_parked (const VdFsSlot *slot)
{
  return (atomic_load_explicit (&slot->state, memory_order_acquire) &
          VD_FS_SLOT_PARKED) != 0;
}
