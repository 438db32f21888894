/* SPDX-License-Identifier: BSD-3-Clause
 *
 * test-hostile-packed.c - attacks by what a guest writes into a packed ring
 *
 * As test-hostile-driver.c (virtio 1.3, 2.8).
 */
#include <pthread.h>
#include <stdatomic.h>
#include <string.h>
#include <sys/eventfd.h>

#include "tests/wire/hostile.h"
#include "vring/fd.h"

#define NEXT     VRING_DESC_F_NEXT
#define WRITE    VRING_DESC_F_WRITE
#define INDIRECT VRING_DESC_F_INDIRECT
#define AVAIL    (1u << VRING_PACKED_DESC_F_AVAIL)
#define USED     (1u << VRING_PACKED_DESC_F_USED)
#define WRAP     (1u << VRING_PACKED_EVENT_F_WRAP_CTR)

typedef struct vring_packed_desc PackedDesc;
typedef struct vring_packed_desc_event PackedEvent;

/* A descriptor as a test writes it. */
typedef struct {
  guint64 gpa;
  guint32 len;
  guint16 flags, id;
} Desc;

static PackedDesc *
table_of (VtRing *ring)
{
  return (PackedDesc *) (void *) ring->desc;
}

static void
write_desc (PackedDesc *to, const Desc *desc, guint16 marks)
{
  to->addr = GUINT64_TO_LE (desc->gpa);
  to->len = GUINT32_TO_LE (desc->len);
  to->id = GUINT16_TO_LE (desc->id);
  __atomic_store_n (&to->flags, GUINT16_TO_LE (desc->flags | marks),
                    __ATOMIC_SEQ_CST);
}

/* Writes descriptor @i behind those that the device has seen; @lie turns the
 * marks that make it available. */
static void
write_next (VtRing *ring, guint i, const Desc *desc, guint16 lie)
{
  guint at = ring->avail_idx + i;
  gboolean wrap = ring->avail_wrap ^ (at / ring->size % 2);

  write_desc (table_of (ring) + at % ring->size, desc,
              (wrap ? AVAIL : USED) ^ lie);
}

/* Shows descriptors to the device, the first one last. */
static void
submit (VtRing *ring, const Desc *descs, guint n)
{
  for (guint i = n; i-- > 0;)
    write_next (ring, i, &descs[i], 0);
  vt_ring_kick_always (ring);
}

static void
assert_breaks (VtAttack *a, const Desc *descs, guint n)
{
  vt_attack_start (a);
  submit (a->ring, descs, n);
  vt_attack_expect_broken (a);
}

/* An indirect table of @n entries, said to be @len bytes, breaks the ring. */
static void
assert_table_breaks (VtAttack *a, const Desc *descs, guint n, guint32 len,
                     guint16 flags)
{
  PackedDesc *table = vt_guest_alloc (a->guest, MAX (n, 1) * sizeof *table, 16);
  const Desc outer = { vt_guest_gpa (a->guest, table), len, INDIRECT | flags,
                       0 };

  for (guint i = 0; i < n; i++)
    write_desc (&table[i], &descs[i], 0);
  assert_breaks (a, &outer, 1);
}

/* Zeroed guest memory of a page. */
static guint64
page (VtAttack *a)
{
  return vt_guest_gpa (a->guest, vt_guest_alloc (a->guest, 4096, 4096));
}

static guint64
end_of_memory (VtAttack *a)
{
  const VtRegion *r = g_ptr_array_index (a->guest->regions, 0);

  return r->gpa + r->size;
}

/* A read of sector 0 that any ring would serve. */
static void
good_chain (VtAttack *a, guint16 id, Desc *ret)
{
  ret[0] = (Desc){ page (a), 16, NEXT, id };
  ret[1] = (Desc){ page (a), 512, NEXT | WRITE, id };
  ret[2] = (Desc){ page (a), 1, WRITE, id };
}

/* Waits for a used element in descriptor @i behind those seen before.
 * Returns: its id. */
static guint16
wait_used (VtRing *ring, guint i)
{
  const gint64 end = g_get_monotonic_time () + VT_TIMEOUT_MS * 1000ll;
  guint at = ring->avail_idx + i;
  gboolean wrap = ring->avail_wrap ^ (at / ring->size % 2);
  const PackedDesc *desc = table_of (ring) + at % ring->size;
  guint16 marks = wrap ? AVAIL | USED : 0;

  while ((GUINT16_FROM_LE (__atomic_load_n (&desc->flags, __ATOMIC_SEQ_CST)) &
          (AVAIL | USED)) != marks) {
    g_assert_cmpint (g_get_monotonic_time (), <, end);
    g_usleep (100);
  }
  return GUINT16_FROM_LE (desc->id);
}

/* --- Chains --- */

/* Its last descriptor is its first one, again available. */
static void
chain_longer_than_the_ring (VtAttack *a)
{
  Desc descs[VT_ATTACK_RING];

  for (guint i = 0; i < VT_ATTACK_RING; i++)
    descs[i] = (Desc){ page (a), 16, NEXT, 0 };
  assert_breaks (a, descs, VT_ATTACK_RING);
}

static void
endless_chain_of_empty_buffers (VtAttack *a)
{
  Desc descs[VT_ATTACK_RING] = { 0 };

  for (guint i = 0; i < VT_ATTACK_RING; i++)
    descs[i].flags = NEXT;
  assert_breaks (a, descs, VT_ATTACK_RING);
}

/* It leads into descriptors that the driver never wrote. */
static void
chain_without_an_end (VtAttack *a)
{
  const Desc descs[] = { { page (a), 16, NEXT, 0 } };

  vt_attack_start (a);
  submit (a->ring, descs, 1);
  vt_attack_settle (a);
}

static void
readable_after_writable (VtAttack *a)
{
  const Desc descs[] = { { page (a), 16, NEXT, 0 },
                         { page (a), 512, NEXT | WRITE, 0 },
                         { page (a), 16, 0, 0 } };

  assert_breaks (a, descs, 3);
}

static void
buffer_before_memory (VtAttack *a)
{
  const Desc descs[] = { { VT_GPA_BASE - 8, 16, 0, 0 } };

  assert_breaks (a, descs, 1);
}

static void
buffer_past_memory (VtAttack *a)
{
  const Desc descs[] = { { end_of_memory (a) - 8, 16, 0, 0 } };

  assert_breaks (a, descs, 1);
}

static void
buffer_that_wraps (VtAttack *a)
{
  const Desc descs[] = { { G_MAXUINT64 - 7, 16, 0, 0 } };

  assert_breaks (a, descs, 1);
}

static void
buffer_of_4_gigabytes (VtAttack *a)
{
  const Desc descs[] = { { page (a), G_MAXUINT32, WRITE, 0 } };

  assert_breaks (a, descs, 1);
}

/* --- Indirect tables --- */

static void
table_of_no_length (VtAttack *a)
{
  assert_table_breaks (a, NULL, 0, 0, 0);
}

static void
table_of_odd_length (VtAttack *a)
{
  const Desc descs[] = { { page (a), 16, 0, 0 }, { page (a), 16, 0, 0 } };

  assert_table_breaks (a, descs, 2, 24, 0);
}

static void
table_with_a_successor (VtAttack *a)
{
  const Desc descs[] = { { page (a), 16, 0, 0 } };

  assert_table_breaks (a, descs, 1, 16, NEXT);
}

static void
table_that_is_not_the_first (VtAttack *a)
{
  const Desc descs[] = { { page (a), 16, NEXT, 0 },
                         { page (a), 16, INDIRECT, 0 } };

  assert_breaks (a, descs, 2);
}

static void
table_in_a_table (VtAttack *a)
{
  const Desc descs[] = { { page (a), 16, INDIRECT, 0 } };

  assert_table_breaks (a, descs, 1, 16, 0);
}

static void
table_outside_memory (VtAttack *a)
{
  const Desc descs[] = { { end_of_memory (a), 16, INDIRECT, 0 } };

  assert_breaks (a, descs, 1);
}

/* Only its second entry lies behind the end. */
static void
table_past_memory (VtAttack *a)
{
  const Desc outer = { end_of_memory (a) - 16, 32, INDIRECT, 0 };
  const Desc first = { page (a), 16, 0, 0 };

  write_desc (vt_guest_ptr (a->guest, outer.gpa), &first, 0);
  assert_breaks (a, &outer, 1);
}

static void
table_of_4_gigabytes (VtAttack *a)
{
  const Desc descs[] = { { page (a), 16, 0, 0 } };

  assert_table_breaks (a, descs, 1, 0xfffffff0, 0);
}

static void
table_of_too_many_buffers (VtAttack *a)
{
  const guint n = 4096;
  g_autofree Desc *descs = g_new (Desc, n);
  guint64 at = page (a);

  for (guint i = 0; i < n; i++)
    descs[i] = (Desc){ at, 16, 0, 0 };
  assert_table_breaks (a, descs, n, n * 16, 0);
}

/* The ring's own descriptors, among which is the indirect one. */
static void
table_that_is_the_ring (VtAttack *a)
{
  const Desc outer = { vt_guest_gpa (a->guest, a->ring->desc),
                       16 * VT_ATTACK_RING, INDIRECT, 0 };

  assert_breaks (a, &outer, 1);
}

/* NEXT and marks have no meaning in a table (2.8.19): it is served. */
static void
table_with_stray_flags (VtAttack *a)
{
  PackedDesc *table = vt_guest_alloc (a->guest, 3 * sizeof *table, 16);
  const Desc outer = { vt_guest_gpa (a->guest, table), 3 * sizeof *table,
                       INDIRECT, 5 };
  Desc descs[3];

  good_chain (a, 0xffff, descs);
  for (guint i = 0; i < 3; i++) {
    descs[i].flags ^= NEXT;
    write_desc (&table[i], &descs[i], AVAIL | USED);
  }
  vt_attack_start (a);
  submit (a->ring, &outer, 1);
  g_assert_cmpuint (wait_used (a->ring, 0), ==, 5);
  vt_attack_settle (a);
}

/* --- Marks, wrap counters and ids --- */

/* Descriptors that belong to the driver by their marks are left alone, however
 * often it kicks. */
static void
marks_that_lie (VtAttack *a)
{
  const guint16 lies[] = { AVAIL, USED, AVAIL | USED };
  Desc descs[3], written;

  vt_attack_start (a);
  good_chain (a, 0, descs);
  for (guint i = 0; i < G_N_ELEMENTS (lies); i++) {
    PackedDesc *first = table_of (a->ring) + a->ring->avail_idx;

    for (guint j = 0; j < 3; j++)
      write_next (a->ring, j, &descs[j], lies[i]);
    written = descs[0];
    for (guint j = 0; j < 100; j++)
      vt_ring_kick_always (a->ring);
    vt_attack_witness (a);
    g_assert_cmpuint (GUINT32_FROM_LE (first->len), ==, written.len);
    vt_attack_read (a->ring, i); /* over them, with the right marks */
  }
}

/* Used descriptors become available once more, those that the driver has not
 * taken back as well. */
static void
marks_turned_back (VtAttack *a)
{
  Desc descs[3];

  vt_attack_start (a);
  good_chain (a, 1, descs);
  for (guint round = 0; round < 3; round++)
    for (guint i = 0; i + 3 <= 3 * VT_ATTACK_RING; i += 3)
      for (guint j = 3; j-- > 0;)
        write_next (a->ring, i + j, &descs[j], 0);
  for (guint i = 0; i < 10; i++)
    vt_ring_kick_always (a->ring);
  vt_attack_settle (a);
}

/* The front-end's base is of the other round: nothing is available in it. */
static void
wrap_counters_that_lie (VtAttack *a)
{
  const guint32 bases[] = { WRAP << 16 | 1, 1 << 16 | WRAP | 1, 1 << 16 | 1,
                            WRAP << 16 | 127 };
  Desc descs[3];

  good_chain (a, 0, descs);
  for (guint i = 0; i < G_N_ELEMENTS (bases); i++) {
    vt_attack_start (a);
    vt_get_vring_base (a->fe, 0);
    g_assert_true (vt_set_vring_base (a->fe, 0, bases[i]));
    g_assert_true (vt_set_vring_kick (a->fe, 0, a->ring->kick_fd));
    submit (a->ring, descs, 3);
    vt_attack_settle (a);
    vt_ring_reset (a->ring, 0);
    vt_attack_reconnect (a);
  }
}

/* An id is the driver's business, and comes back as it was. */
static void
send_ids_that_lie (VtAttack *a)
{
  const guint16 ids[] = { VT_ATTACK_RING, 0x7fff, 0x8000, 0xffff, 0, 0 };
  Desc descs[3];

  for (guint i = 0; i < G_N_ELEMENTS (ids); i++) {
    good_chain (a, ids[i], descs);
    descs[0].id = descs[1].id = ~ids[i]; /* only the last one counts */
    submit (a->ring, descs, 3);
    g_assert_cmpuint (wait_used (a->ring, 0), ==, ids[i]);
    a->ring->avail_idx += 3;
  }
}

static void
ids_that_lie (VtAttack *a)
{
  vt_attack_start (a);
  send_ids_that_lie (a);
  vt_attack_settle (a);
}

/* All chains at once say that they are the same one. */
static void
one_id_for_all (VtAttack *a)
{
  Desc descs[3];

  vt_attack_start (a);
  good_chain (a, 3, descs);
  for (guint i = 0; i + 3 < VT_ATTACK_RING; i += 3)
    for (guint j = 3; j-- > 0;)
      write_next (a->ring, i + j, &descs[j], 0);
  vt_ring_kick_always (a->ring);
  g_assert_cmpuint (wait_used (a->ring, 0), ==, 3);
  vt_attack_settle (a);
}

static void
keep_fresh_record (VtAttack *a)
{
  VdWireInflight inflight;
  vd_autofd fd = vt_get_inflight_fd (a->fe, 1, VT_ATTACK_RING, &inflight);

  g_assert_true (vt_set_inflight_fd (a->fe, &inflight, fd));
}

/* The same with a record of what is in flight. */
static void
ids_that_lie_in_a_record (VtAttack *a)
{
  vt_attack_hello (a);
  keep_fresh_record (a);
  vt_attack_start (a);
  send_ids_that_lie (a);
  keep_fresh_record (a);
  vt_attack_settle (a);
}

/* --- Events --- */

/* Whatever the driver's event area holds decides about calls only. */
static void
events_beyond_the_ring (VtAttack *a)
{
  const guint16 flags[] = { 0, 1, 2, 3, 0xfffe, 0xffff };
  const guint16 offs[] = { 0, VT_ATTACK_RING, 0x7fff, 0x8000, 0xffff };
  VtBlkRequest *request =
      vt_blk_request_new (a->guest, VIRTIO_BLK_T_IN, 3, 512);
  PackedEvent *event = (PackedEvent *) (void *) a->ring->avail;

  vt_attack_describe (a);
  g_assert_true (
      vt_set_features (a->fe, a->fe->acked | 1ull << VIRTIO_RING_F_EVENT_IDX));
  g_assert_true (vt_set_vring_kick (a->fe, 0, a->ring->kick_fd));
  g_assert_true (vt_set_vring_enable (a->fe, 0, TRUE));
  for (guint i = 0; i < 2 * G_N_ELEMENTS (flags) * G_N_ELEMENTS (offs); i++) {
    event->off_wrap = GUINT16_TO_LE (offs[i % G_N_ELEMENTS (offs)]);
    event->flags = GUINT16_TO_LE (flags[i % G_N_ELEMENTS (flags)]);
    vt_attack_run_uncalled (a->ring, request);
  }
  vt_attack_witness (a);
  g_free (request);
}

/* --- Requests and races --- */

/* The device writes into the ring itself, and then over its used element. */
static void
data_over_the_ring (VtAttack *a)
{
  const guint64 ring = vt_guest_gpa (a->guest, a->ring->desc);
  const Desc descs[] = { { page (a), 16, NEXT, 0 },
                         { ring, 512, NEXT | WRITE, 0 },
                         { ring + 1024, 1024, NEXT | WRITE, 0 },
                         { page (a), 1, WRITE, 0 } };

  vt_attack_start (a);
  submit (a->ring, descs, 4);
  vt_attack_settle (a);
}

#ifndef __SANITIZE_THREAD__ /* which rightly sees that guest and device race */
/* What a guest changes while the device looks at it. */
typedef struct {
  VtRing *ring;
  guint64 good, table;
  atomic_bool end;
} Race;

static void *
race_thread (void *data)
{
  Race *race = data;
  volatile PackedDesc *desc = table_of (race->ring);
  volatile PackedEvent *event = (void *) race->ring->avail;

  for (guint32 i = 0; !atomic_load (&race->end); i++) {
    volatile PackedDesc *d = &desc[i * 7 % VT_ATTACK_RING];

    d->addr = GUINT64_TO_LE (i % 5 ? race->good : G_MAXUINT64 - i);
    d->len = GUINT32_TO_LE (i % 3 ? 512 : i << 20);
    d->id = GUINT16_TO_LE (i);
    d->flags = GUINT16_TO_LE ((i % 2 ? AVAIL : USED) | (i % 4 ? 0 : NEXT) |
                              (i % 9 ? WRITE : INDIRECT));
    event->off_wrap = GUINT16_TO_LE (i);
    event->flags = GUINT16_TO_LE (i % 4);
  }
  return NULL;
}

static void
memory_that_changes_under_the_device (VtAttack *a)
{
  Race race = { .ring = a->ring, .good = page (a) };
  pthread_t thread;

  vt_attack_start (a);
  g_assert_cmpint (pthread_create (&thread, NULL, race_thread, &race), ==, 0);
  for (guint i = 0; i < 500; i++) {
    vt_ring_kick_always (a->ring);
    if (i % 4 == 3) { /* it may be broken by now */
      guint32 base = vt_get_vring_base (a->fe, 0);

      g_assert_true (vt_set_vring_base (a->fe, 0, base));
      g_assert_true (vt_set_vring_kick (a->fe, 0, a->ring->kick_fd));
    }
  }
  atomic_store (&race.end, TRUE);
  pthread_join (thread, NULL);
  vt_attack_settle (a);
}
#endif

int
main (int argc, char **argv)
{
  g_test_init (&argc, &argv, NULL);
#define ADD(path, func) vt_attack_add_packed ("/hostile/packed/" path, func)
  ADD ("chain/long", chain_longer_than_the_ring);
  ADD ("chain/empty-loop", endless_chain_of_empty_buffers);
  ADD ("chain/endless", chain_without_an_end);
  ADD ("chain/order", readable_after_writable);
  ADD ("buffer/before", buffer_before_memory);
  ADD ("buffer/past", buffer_past_memory);
  ADD ("buffer/wrap", buffer_that_wraps);
  ADD ("buffer/huge", buffer_of_4_gigabytes);
  ADD ("table/zero", table_of_no_length);
  ADD ("table/odd", table_of_odd_length);
  ADD ("table/next", table_with_a_successor);
  ADD ("table/second", table_that_is_not_the_first);
  ADD ("table/nested", table_in_a_table);
  ADD ("table/no-memory", table_outside_memory);
  ADD ("table/past", table_past_memory);
  ADD ("table/huge", table_of_4_gigabytes);
  ADD ("table/many", table_of_too_many_buffers);
  ADD ("table/ring", table_that_is_the_ring);
  ADD ("table/stray", table_with_stray_flags);
  ADD ("marks/lie", marks_that_lie);
  ADD ("marks/back", marks_turned_back);
  ADD ("base/wrap", wrap_counters_that_lie);
  ADD ("id/lie", ids_that_lie);
  ADD ("id/same", one_id_for_all);
  ADD ("id/record", ids_that_lie_in_a_record);
  ADD ("event/beyond", events_beyond_the_ring);
  ADD ("request/over-ring", data_over_the_ring);
#ifndef __SANITIZE_THREAD__
  ADD ("race", memory_that_changes_under_the_device);
#endif
  return vt_attack_main ();
}
