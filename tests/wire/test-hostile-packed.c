/* SPDX-License-Identifier: BSD-3-Clause
 *
 * test-hostile-packed.c - attacks by what a guest writes into a packed ring
 *
 * As test-hostile-driver.c (virtio 1.3, 2.8); test-hostile-chains.c has those
 * that split rings take in the same way.
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
#define AVAIL    VT_DESC_AVAIL
#define USED     VT_DESC_USED
#define WRAP     (1u << VRING_PACKED_EVENT_F_WRAP_CTR)

typedef struct vring_packed_desc PackedDesc;
typedef struct vring_packed_desc_event PackedEvent;

static PackedDesc *
table_of (VtRing *ring)
{
  return (PackedDesc *) (void *) ring->desc;
}

/* A read of sector 0 that any ring would serve. */
static void
good_chain (VtAttack *a, guint16 id, VtDesc *ret)
{
  ret[0] = (VtDesc){ vt_attack_page (a), 16, NEXT, id };
  ret[1] = (VtDesc){ vt_attack_page (a), 512, NEXT | WRITE, id };
  ret[2] = (VtDesc){ vt_attack_page (a), 1, WRITE, id };
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
  VtDesc descs[VT_ATTACK_RING];

  for (guint i = 0; i < VT_ATTACK_RING; i++)
    descs[i] = (VtDesc){ vt_attack_page (a), 16, NEXT, 0 };
  vt_attack_expect_chain_breaks (a, descs, VT_ATTACK_RING);
}

static void
endless_chain_of_empty_buffers (VtAttack *a)
{
  VtDesc descs[VT_ATTACK_RING] = { 0 };

  for (guint i = 0; i < VT_ATTACK_RING; i++)
    descs[i].flags = NEXT;
  vt_attack_expect_chain_breaks (a, descs, VT_ATTACK_RING);
}

/* It leads into descriptors that the driver never wrote. */
static void
chain_without_an_end (VtAttack *a)
{
  const VtDesc descs[] = { { vt_attack_page (a), 16, NEXT, 0 } };

  vt_attack_start (a);
  vt_desc_submit (a->ring, descs, 1);
  vt_attack_settle (a);
}

/* --- Indirect tables --- */

static void
table_that_is_not_the_first (VtAttack *a)
{
  const VtDesc descs[] = { { vt_attack_page (a), 16, NEXT, 0 },
                           { vt_attack_page (a), 16, INDIRECT, 0 } };

  vt_attack_expect_chain_breaks (a, descs, 2);
}

/* NEXT and marks have no meaning in a table (2.8.19): it is served. */
static void
table_with_stray_flags (VtAttack *a)
{
  PackedDesc *table = vt_guest_alloc (a->guest, 3 * sizeof *table, 16);
  const VtDesc outer = { vt_guest_gpa (a->guest, table), 3 * sizeof *table,
                         INDIRECT, 5 };
  VtDesc descs[3];

  good_chain (a, 0xffff, descs);
  for (guint i = 0; i < 3; i++)
    descs[i].flags ^= NEXT;
  vt_desc_fill_table (a->ring, table, descs, 3, AVAIL | USED);
  vt_attack_start (a);
  vt_desc_submit (a->ring, &outer, 1);
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
  VtDesc descs[3], written;

  vt_attack_start (a);
  good_chain (a, 0, descs);
  for (guint i = 0; i < G_N_ELEMENTS (lies); i++) {
    PackedDesc *first = table_of (a->ring) + a->ring->avail_idx;

    for (guint j = 0; j < 3; j++)
      vt_desc_write_next (a->ring, j, &descs[j], lies[i]);
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
  VtDesc descs[3];

  vt_attack_start (a);
  good_chain (a, 1, descs);
  for (guint round = 0; round < 3; round++)
    for (guint i = 0; i + 3 <= 3 * VT_ATTACK_RING; i += 3)
      for (guint j = 3; j-- > 0;)
        vt_desc_write_next (a->ring, i + j, &descs[j], 0);
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
  VtDesc descs[3];

  good_chain (a, 0, descs);
  for (guint i = 0; i < G_N_ELEMENTS (bases); i++) {
    vt_attack_start (a);
    vt_get_vring_base (a->fe, 0);
    g_assert_true (vt_set_vring_base (a->fe, 0, bases[i]));
    g_assert_true (vt_set_vring_kick (a->fe, 0, a->ring->kick_fd));
    vt_desc_submit (a->ring, descs, 3);
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
  VtDesc descs[3];

  for (guint i = 0; i < G_N_ELEMENTS (ids); i++) {
    good_chain (a, ids[i], descs);
    descs[0].link = descs[1].link = ~ids[i]; /* only the last one counts */
    vt_desc_submit (a->ring, descs, 3);
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
  VtDesc descs[3];

  vt_attack_start (a);
  good_chain (a, 3, descs);
  for (guint i = 0; i + 3 < VT_ATTACK_RING; i += 3)
    for (guint j = 3; j-- > 0;)
      vt_desc_write_next (a->ring, i + j, &descs[j], 0);
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
  const VtDesc descs[] = { { vt_attack_page (a), 16, NEXT, 0 },
                           { ring, 512, NEXT | WRITE, 0 },
                           { ring + 1024, 1024, NEXT | WRITE, 0 },
                           { vt_attack_page (a), 1, WRITE, 0 } };

  vt_attack_start (a);
  vt_desc_submit (a->ring, descs, 4);
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
  Race race = { .ring = a->ring, .good = vt_attack_page (a) };
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
  ADD ("table/second", table_that_is_not_the_first);
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
