/* SPDX-License-Identifier: BSD-3-Clause
 *
 * slots.c - see slots.h
 *
 * All of a slot's life is in one 64-bit word, so that "is it the generation
 * that the guest means, is it alive, then count me in" is one compare and swap.
 */
#include "devices/fs/slots.h"

#include <assert.h>
#include <stdlib.h>

#define FIRST       1u  /* the lowest number; 0 ends the list of free ones */
#define FIRST_CHUNK 64u /* objects in chunk 0 */
#define DEAD        ((guint64) 1 << 31)
#define PARKED      VD_FS_SLOT_PARKED
#define REFS        (PARKED - 1)

static inline guint32
state_generation (guint64 state)
{
  return (guint32) (state >> 32);
}

static inline guint64
state_make (guint32 generation, guint64 low)
{
  return (guint64) generation << 32 | low;
}

/* Numbers 0 to 63 are in chunk 0, 64 to 191 in chunk 1, and so on. */
static inline guint
chunk_of (guint32 index, guint32 *ret_at)
{
  guint32 n = index / FIRST_CHUNK + 1;
  guint chunk = 31 - (guint) __builtin_clz (n);

  *ret_at = index - FIRST_CHUNK * ((1u << chunk) - 1);
  return chunk;
}

/* Returns: (nullable): NULL if nothing was ever allocated there. */
static inline VdFsSlot *
slot_at (VdFsSlots *slots, guint32 index)
{
  guint32 at;
  guint chunk = chunk_of (index, &at);
  guint8 *objects;

  if (G_UNLIKELY (chunk >= VD_FS_SLOT_CHUNKS))
    return NULL;
  objects = atomic_load_explicit (&slots->chunks[chunk], memory_order_acquire);
  if (G_UNLIKELY (objects == NULL))
    return NULL;
  return (VdFsSlot *) (void *) (objects + at * slots->object_size);
}

void
vd_fs_slots_init (VdFsSlots *slots, gsize object_size, guint32 max,
                  void (*dispose) (VdFsSlot *slot))
{
  /* The last number still fits into the chunks, and 0 is never an object. */
  const guint32 most = FIRST_CHUNK * ((1u << VD_FS_SLOT_CHUNKS) - 1) - 1;

  *slots = (VdFsSlots){
    .object_size = object_size,
    .dispose = dispose,
    .max = MIN (max, most - FIRST),
    .first = 1, /* 0 is left out, so that no id is a small number */
  };
  pthread_mutex_init (&slots->lock, NULL);
}

void
vd_fs_slots_clear (VdFsSlots *slots)
{
  for (guint i = 0; i < VD_FS_SLOT_CHUNKS; i++)
    free (atomic_load_explicit (&slots->chunks[i], memory_order_relaxed));
  pthread_mutex_destroy (&slots->lock);
}

/* Makes the memory of a number, and its first generation unless it has had one.
 * Called with the lock. */
static VdFsSlot *
slot_make (VdFsSlots *slots, guint32 index)
{
  guint32 at, generation;
  guint64 state;
  guint chunk = chunk_of (index, &at);
  VdFsSlot *slot;

  if (atomic_load_explicit (&slots->chunks[chunk], memory_order_relaxed) ==
      NULL) {
    void *objects = calloc ((gsize) FIRST_CHUNK << chunk, slots->object_size);

    if (objects == NULL)
      return NULL;
    atomic_store_explicit (&slots->chunks[chunk], objects,
                           memory_order_release);
  }
  slot = slot_at (slots, index);
  slot->index = index;
  slots->top = MAX (slots->top, index);
  state = atomic_load_explicit (&slot->state, memory_order_relaxed);
  generation = MAX (state_generation (state), slots->first);
  atomic_store_explicit (&slot->state, state_make (generation, DEAD),
                         memory_order_relaxed);
  return slot;
}

/* Takes a new number.  Called with the lock. */
static VdFsSlot *
slot_new (VdFsSlots *slots)
{
  while (slots->n_slots < slots->max) {
    guint32 index = FIRST + slots->n_slots;
    const VdFsSlot *slot = slot_at (slots, index);

    if (slot == NULL || slot->index == 0) {
      VdFsSlot *made = slot_make (slots, index);

      slots->n_slots += made != NULL;
      return made;
    }
    slots->n_slots++; /* claimed before its turn */
  }
  return NULL;
}

VdFsSlot *
vd_fs_slots_take (VdFsSlots *slots)
{
  VdFsSlot *slot;

  pthread_mutex_lock (&slots->lock);
  if (slots->free != 0) {
    slot = slot_at (slots, slots->free);
    slots->free = slot->next;
  } else
    slot = slot_new (slots);
  pthread_mutex_unlock (&slots->lock);
  return slot;
}

void
vd_fs_slots_untake (VdFsSlots *slots, VdFsSlot *slot)
{
  pthread_mutex_lock (&slots->lock);
  slot->next = slots->free;
  slots->free = slot->index;
  pthread_mutex_unlock (&slots->lock);
}

guint64
vd_fs_slot_id (const VdFsSlot *slot)
{
  guint64 state = atomic_load_explicit (&slot->state, memory_order_relaxed);

  return state_make (state_generation (state), slot->index);
}

void
vd_fs_slots_publish (VdFsSlots *slots, VdFsSlot *slot, guint refs,
                     gboolean parked)
{
  guint64 state = atomic_load_explicit (&slot->state, memory_order_relaxed);

  assert (refs > 0 && (state & REFS) == 0 && (state & DEAD) != 0);
  atomic_fetch_add_explicit (&slots->n_live, 1, memory_order_relaxed);
  atomic_store_explicit (
      &slot->state,
      state_make (state_generation (state), refs | (parked ? PARKED : 0)),
      memory_order_release);
}

VdFsSlot *
vd_fs_slots_get (VdFsSlots *slots, guint64 id)
{
  VdFsSlot *slot = slot_at (slots, (guint32) id);
  guint64 state;

  if (G_UNLIKELY (slot == NULL))
    return NULL;
  state = atomic_load_explicit (&slot->state, memory_order_relaxed);
  do {
    if (G_UNLIKELY (state_generation (state) != (guint32) (id >> 32) ||
                    (state & DEAD) != 0 || (state & REFS) == 0))
      return NULL;
  } while (!atomic_compare_exchange_weak_explicit (
      &slot->state, &state, state + 1, memory_order_acquire,
      memory_order_relaxed));
  return slot;
}

void
vd_fs_slots_ref (VdFsSlot *slot)
{
  atomic_fetch_add_explicit (&slot->state, 1, memory_order_relaxed);
}

gboolean
vd_fs_slots_try_ref (VdFsSlot *slot)
{
  guint64 state = atomic_load_explicit (&slot->state, memory_order_relaxed);

  do {
    if ((state & DEAD) != 0 || (state & REFS) == 0)
      return FALSE;
  } while (!atomic_compare_exchange_weak_explicit (
      &slot->state, &state, state + 1, memory_order_acquire,
      memory_order_relaxed));
  return TRUE;
}

gboolean
vd_fs_slots_park (VdFsSlot *slot)
{
  guint64 state = atomic_load_explicit (&slot->state, memory_order_relaxed);

  do {
    if ((state & (DEAD | PARKED | REFS)) != 2)
      return FALSE;
  } while (!atomic_compare_exchange_weak_explicit (
      &slot->state, &state, (state - 1) | PARKED, memory_order_acq_rel,
      memory_order_relaxed));
  return TRUE;
}

void
vd_fs_slots_unpark (VdFsSlot *slot)
{
  atomic_fetch_and_explicit (&slot->state, ~PARKED, memory_order_release);
}

void
vd_fs_slots_put (VdFsSlots *slots, VdFsSlot *slot)
{
  guint64 state;
  guint32 generation;

  if (slot == NULL)
    return;
  state = atomic_fetch_sub_explicit (&slot->state, 1, memory_order_acq_rel) - 1;
  if (G_LIKELY ((state & REFS) != 0))
    return;
  slots->dispose (slot);
  generation = state_generation (state) + 1;
  atomic_store_explicit (&slot->state,
                         state_make (generation != 0 ? generation : 1, DEAD),
                         memory_order_relaxed);
  vd_fs_slots_untake (slots, slot);
}

gboolean
vd_fs_slots_kill (VdFsSlots *slots, VdFsSlot *slot)
{
  guint64 old =
      atomic_fetch_or_explicit (&slot->state, DEAD, memory_order_relaxed);

  if ((old & DEAD) != 0)
    return FALSE;
  atomic_fetch_sub_explicit (&slots->n_live, 1, memory_order_relaxed);
  vd_fs_slots_put (slots, slot);
  return TRUE;
}

guint32
vd_fs_slots_kill_all (VdFsSlots *slots)
{
  guint32 at = 0, list = 0;
  guint64 id;

  while ((id = vd_fs_slots_next (slots, &at)) != 0) {
    VdFsSlot *slot = vd_fs_slots_get (slots, id);

    if (slot == NULL)
      continue;
    if (vd_fs_slots_kill (slots, slot)) {
      slot->next = list;
      list = slot->index;
    } else /* somebody was faster */
      vd_fs_slots_put (slots, slot);
  }
  return list;
}

void
vd_fs_slots_bury (VdFsSlots *slots, guint32 list)
{
  while (list != 0) {
    VdFsSlot *slot = slot_at (slots, list);

    list = slot->next;
    vd_fs_slots_put (slots, slot);
  }
}

guint32
vd_fs_slots_n_live (const VdFsSlots *slots)
{
  return (guint32) atomic_load_explicit (&slots->n_live, memory_order_relaxed);
}

guint64
vd_fs_slots_next (VdFsSlots *slots, guint32 *at)
{
  guint32 top;

  pthread_mutex_lock (&slots->lock);
  top = slots->top;
  pthread_mutex_unlock (&slots->lock);
  while (*at < top) {
    const VdFsSlot *slot = slot_at (slots, ++*at);
    guint64 state = slot == NULL ? DEAD
                                 : atomic_load_explicit (&slot->state,
                                                         memory_order_relaxed);

    if (state != 0 && (state & DEAD) == 0)
      return state_make (state_generation (state), *at);
  }
  return 0;
}

guint32
vd_fs_slots_generation (VdFsSlots *slots)
{
  guint32 generation;

  pthread_mutex_lock (&slots->lock);
  generation = slots->first - 1;
  for (guint32 i = FIRST; i <= slots->top; i++) {
    const VdFsSlot *slot = slot_at (slots, i);

    if (slot != NULL)
      generation = MAX (generation, state_generation (atomic_load_explicit (
                                        &slot->state, memory_order_relaxed)));
  }
  pthread_mutex_unlock (&slots->lock);
  return generation != G_MAXUINT32 ? generation + 1 : 1;
}

void
vd_fs_slots_rewind (VdFsSlots *slots, guint32 first)
{
  pthread_mutex_lock (&slots->lock);
  assert (vd_fs_slots_n_live (slots) == 0);
  while (slots->free != 0) {
    VdFsSlot *slot = slot_at (slots, slots->free);

    slots->free = slot->next;
    slot->index = 0;
  }
  slots->n_slots = 0;
  slots->top = 0;
  slots->first = MAX (first, 1);
  pthread_mutex_unlock (&slots->lock);
}

VdFsSlot *
vd_fs_slots_claim (VdFsSlots *slots, guint64 id)
{
  guint32 index = (guint32) id;
  VdFsSlot *slot;

  if (index < FIRST || index > MIN (slots->max, VD_FS_SLOT_CLAIM_MAX) ||
      id >> 32 == 0)
    return NULL;
  pthread_mutex_lock (&slots->lock);
  slot = slot_at (slots, index);
  if (slot != NULL && slot->index != 0)
    slot = NULL;
  else if ((slot = slot_make (slots, index)) != NULL)
    atomic_store_explicit (&slot->state,
                           state_make ((guint32) (id >> 32), DEAD),
                           memory_order_relaxed);
  pthread_mutex_unlock (&slots->lock);
  return slot;
}
