/* SPDX-License-Identifier: BSD-3-Clause
 *
 * test-slots.c - what ids and references of devices/fs/slots.c promise
 */
#include "devices/fs/slots.h"

typedef struct {
  VdFsSlot slot;
  guint value;
} Object;

typedef struct {
  VdFsSlots slots;
} Fixture;

static atomic_uint n_disposed;

static void
dispose (VdFsSlot *slot)
{
  ((Object *) slot)->value = 0;
  atomic_fetch_add (&n_disposed, 1);
}

static void
set_up (Fixture *f, gconstpointer data)
{
  vd_fs_slots_init (&f->slots, sizeof (Object), 1000, dispose);
  atomic_store (&n_disposed, 0);
}

static void
tear_down (Fixture *f, gconstpointer data)
{
  vd_fs_slots_bury (&f->slots, vd_fs_slots_kill_all (&f->slots));
  vd_fs_slots_clear (&f->slots);
}

static guint64
add (Fixture *f, guint value)
{
  Object *object = (Object *) vd_fs_slots_take (&f->slots);
  guint64 id;

  g_assert_nonnull (object);
  object->value = value;
  id = vd_fs_slot_id (&object->slot);
  vd_fs_slots_publish (&f->slots, &object->slot, 1, FALSE);
  return id;
}

static gboolean
kill_id (Fixture *f, guint64 id)
{
  VdFsSlot *slot = vd_fs_slots_get (&f->slots, id);
  gboolean killed;

  if (slot == NULL)
    return FALSE;
  killed = vd_fs_slots_kill (&f->slots, slot);
  vd_fs_slots_put (&f->slots, slot);
  return killed;
}

static void
test_an_id_finds_its_object (Fixture *f, gconstpointer data)
{
  guint64 ids[300];

  for (guint i = 0; i < G_N_ELEMENTS (ids); i++)
    ids[i] = add (f, i + 1);
  for (guint i = 0; i < G_N_ELEMENTS (ids); i++) {
    VdFsSlot *slot = vd_fs_slots_get (&f->slots, ids[i]);

    g_assert_nonnull (slot);
    g_assert_cmpuint (((Object *) slot)->value, ==, i + 1);
    vd_fs_slots_put (&f->slots, slot);
  }
  g_assert_cmpuint (vd_fs_slots_n_live (&f->slots), ==, G_N_ELEMENTS (ids));
}

static void
test_ids_that_never_were_find_nothing (Fixture *f, gconstpointer data)
{
  guint64 id = add (f, 1);
  const guint64 wrong[] = { 0,
                            1,
                            id + 1,
                            id - 1,
                            G_MAXUINT32,
                            G_MAXUINT64,
                            id ^ 1ull << 63,
                            id + (1ull << 32),
                            1ull << 32 | 0xfffffff0 };

  for (guint i = 0; i < G_N_ELEMENTS (wrong); i++)
    g_assert_null (vd_fs_slots_get (&f->slots, wrong[i]));
}

static void
test_a_stale_id_never_finds_the_next_object (Fixture *f, gconstpointer data)
{
  guint64 first = add (f, 1), second;

  g_assert_true (kill_id (f, first));
  second = add (f, 2);
  g_assert_cmpuint ((guint32) second, ==, (guint32) first); /* same slot */
  g_assert_null (vd_fs_slots_get (&f->slots, first));
  g_assert_false (kill_id (f, first));
}

static void
test_a_reference_outlives_the_id (Fixture *f, gconstpointer data)
{
  guint64 id = add (f, 7);
  VdFsSlot *slot = vd_fs_slots_get (&f->slots, id);

  g_assert_true (kill_id (f, id));
  g_assert_null (vd_fs_slots_get (&f->slots, id));
  g_assert_cmpuint (atomic_load (&n_disposed), ==, 0);
  g_assert_cmpuint (((Object *) slot)->value, ==, 7);
  g_assert_cmpuint (add (f, 8), !=, id);
  vd_fs_slots_put (&f->slots, slot);
  g_assert_cmpuint (atomic_load (&n_disposed), ==, 1);
}

static void
test_beyond_the_maximum_taking_fails (Fixture *f, gconstpointer data)
{
  guint64 last = 0;

  for (guint i = 0; i < 1000; i++)
    last = add (f, i);
  g_assert_null (vd_fs_slots_take (&f->slots));
  g_assert_true (kill_id (f, last));
  g_assert_cmpuint (add (f, 1), !=, last);
}

static void
test_all_are_killed_at_once (Fixture *f, gconstpointer data)
{
  guint64 ids[100], later;
  VdFsSlot *held;
  guint32 list;

  for (guint i = 0; i < G_N_ELEMENTS (ids); i++)
    ids[i] = add (f, i);
  held = vd_fs_slots_get (&f->slots, ids[3]);
  list = vd_fs_slots_kill_all (&f->slots);
  for (guint i = 0; i < G_N_ELEMENTS (ids); i++)
    g_assert_null (vd_fs_slots_get (&f->slots, ids[i]));
  g_assert_cmpuint (vd_fs_slots_n_live (&f->slots), ==, 0);
  g_assert_cmpuint (atomic_load (&n_disposed), ==, 0);
  later = add (f, 1); /* is not among them */
  vd_fs_slots_bury (&f->slots, list);
  g_assert_cmpuint (atomic_load (&n_disposed), ==, G_N_ELEMENTS (ids) - 1);
  g_assert_true (kill_id (f, later));
  vd_fs_slots_put (&f->slots, held);
  g_assert_cmpuint (atomic_load (&n_disposed), ==, G_N_ELEMENTS (ids) + 1);
}

/* Threads get, put, kill and add the same few ids as fast as they can; a thread
 * that holds a reference never sees the object disposed of. */

typedef struct {
  Fixture *f;
  atomic_uint_fast64_t *ids;
  guint seed;
} Racer;

#define RACE_IDS    8
#define RACE_ROUNDS 20000

static void *
race (void *data)
{
  Racer *racer = data;
  guint32 random = racer->seed;

  for (guint i = 0; i < RACE_ROUNDS; i++) {
    atomic_uint_fast64_t *id;
    VdFsSlot *slot;

    random = random * 1664525 + 1013904223;
    id = &racer->ids[(random >> 16) % RACE_IDS];
    slot = vd_fs_slots_get (&racer->f->slots, atomic_load (id));
    if (slot == NULL)
      continue;
    g_assert_cmpuint (((Object *) slot)->value, ==, 5);
    if ((random & 3) == 0 && vd_fs_slots_kill (&racer->f->slots, slot))
      atomic_store (id, add (racer->f, 5));
    vd_fs_slots_put (&racer->f->slots, slot);
  }
  return NULL;
}

static void
test_threads_never_meet_a_dead_object (Fixture *f, gconstpointer data)
{
  atomic_uint_fast64_t ids[RACE_IDS];
  Racer racers[4];
  pthread_t threads[4];

  for (guint i = 0; i < RACE_IDS; i++)
    atomic_init (&ids[i], add (f, 5));
  for (guint i = 0; i < G_N_ELEMENTS (threads); i++) {
    racers[i] = (Racer){ f, ids, i + 1 };
    g_assert_cmpint (pthread_create (&threads[i], NULL, race, &racers[i]), ==,
                     0);
  }
  for (guint i = 0; i < G_N_ELEMENTS (threads); i++)
    pthread_join (threads[i], NULL);
  g_assert_cmpuint (vd_fs_slots_n_live (&f->slots), ==, RACE_IDS);
}

static VdFsSlot *
claim (Fixture *f, guint64 id)
{
  VdFsSlot *slot = vd_fs_slots_claim (&f->slots, id);

  if (slot != NULL) {
    g_assert_cmphex (vd_fs_slot_id (slot), ==, id);
    vd_fs_slots_publish (&f->slots, slot, 1, FALSE);
  }
  return slot;
}

static void
test_ids_of_another_table_are_claimed (Fixture *f, gconstpointer data)
{
  guint64 id = 0;
  guint32 at = 0;

  for (guint i = 0; i < 10; i++) /* used before, and free again */
    add (f, i);
  vd_fs_slots_bury (&f->slots, vd_fs_slots_kill_all (&f->slots));
  vd_fs_slots_rewind (&f->slots, 7);
  g_assert_nonnull (claim (f, 3ull << 32 | 5));
  g_assert_nonnull (claim (f, 6ull << 32 | 900));
  g_assert_null (claim (f, 4ull << 32 | 5)); /* taken */
  g_assert_null (claim (f, 1ull << 32 | 1001));
  g_assert_null (claim (f, 1ull << 32));
  g_assert_null (claim (f, 6));
  g_assert_cmphex (vd_fs_slots_next (&f->slots, &at), ==, 3ull << 32 | 5);
  g_assert_cmphex (vd_fs_slots_next (&f->slots, &at), ==, 6ull << 32 | 900);
  g_assert_cmphex (vd_fs_slots_next (&f->slots, &at), ==, 0);
  /* What comes later is newer than all that the other table gave out, and has
   * none of its numbers. */
  for (guint i = 0; i < 998; i++) {
    id = add (f, i);
    g_assert_cmpuint (id >> 32, >=, 7);
    g_assert_cmpuint ((guint32) id, !=, 5);
    g_assert_cmpuint ((guint32) id, !=, 900);
  }
  g_assert_null (vd_fs_slots_take (&f->slots));
  g_assert_true (kill_id (f, id));
  g_assert_cmpuint (vd_fs_slots_generation (&f->slots), >, (id >> 32) + 1);
}

int
main (int argc, char **argv)
{
  g_test_init (&argc, &argv, NULL);
#define ADD(name, func)                                                        \
  g_test_add ("/fs/slots/" name, Fixture, NULL, set_up, func, tear_down)
  ADD ("found", test_an_id_finds_its_object);
  ADD ("wrong", test_ids_that_never_were_find_nothing);
  ADD ("stale", test_a_stale_id_never_finds_the_next_object);
  ADD ("reference", test_a_reference_outlives_the_id);
  ADD ("maximum", test_beyond_the_maximum_taking_fails);
  ADD ("all", test_all_are_killed_at_once);
  ADD ("claim", test_ids_of_another_table_are_claimed);
  ADD ("threads", test_threads_never_meet_a_dead_object);
  return g_test_run ();
}
