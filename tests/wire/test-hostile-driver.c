/* SPDX-License-Identifier: BSD-3-Clause
 *
 * test-hostile-driver.c - attacks by a guest: what it writes into a ring that
 * an honest front-end has started
 *
 * These are for split rings; test-hostile-packed.c has those for packed ones, and
 * test-hostile-chains.c what both take in the same way.
 *
 * A rule that is broken breaks that ring and nothing else (virtio 1.3, 2.7).
 */
#include <pthread.h>
#include <stdatomic.h>
#include <string.h>
#include <sys/eventfd.h>

#include "tests/wire/hostile.h"

#define NEXT     VRING_DESC_F_NEXT
#define WRITE    VRING_DESC_F_WRITE
#define INDIRECT VRING_DESC_F_INDIRECT

/* Shows the chain that begins with descriptor @head to the device. */
static void
submit (VtRing *ring, guint16 head)
{
  vt_ring_raw_add (ring, head, NULL);
  vt_ring_publish (ring);
  vt_ring_kick_always (ring);
}

/* --- The available ring --- */

static void
index_jumps (VtAttack *a)
{
  vt_attack_start (a);
  vt_ring_raw_publish (a->ring, a->ring->published + 1000);
  vt_ring_kick_always (a->ring);
  vt_attack_expect_broken (a);
}

static void
index_jumps_by_one_too_many (VtAttack *a)
{
  vt_attack_start (a);
  vt_ring_raw_publish (a->ring, a->ring->published + VT_ATTACK_RING + 1);
  vt_ring_kick_always (a->ring);
  vt_attack_expect_broken (a);
}

static void
index_goes_back (VtAttack *a)
{
  vt_attack_start (a);
  vt_ring_raw_publish (a->ring, a->ring->published - 1);
  vt_ring_kick_always (a->ring);
  vt_attack_expect_broken (a);
}

static void
head_outside_the_ring (VtAttack *a)
{
  vt_attack_start (a);
  submit (a->ring, VT_ATTACK_RING);
  vt_attack_expect_broken (a);
}

/* What lies there looks like a descriptor of a good request. */
static void
write_good_chain (VtAttack *a, guint16 first)
{
  const VtDesc descs[] = { { vt_attack_page (a), 16, NEXT, 1 },
                           { vt_attack_page (a), 512, NEXT | WRITE, 2 },
                           { vt_attack_page (a), 1, WRITE, 0 } };

  vt_desc_fill_table (a->ring, &a->ring->desc[first], descs, 1, 0);
  vt_desc_fill_table (a->ring, &a->ring->desc[1], descs + 1, 2, 0);
}

static void
head_far_outside_the_ring (VtAttack *a)
{
  vt_attack_start (a);
  write_good_chain (a, G_MAXUINT16);
  submit (a->ring, G_MAXUINT16);
  vt_attack_expect_broken (a);
}

/* Whatever stands there decides about calls only. */
static void
events_beyond_the_ring (VtAttack *a)
{
  const guint16 events[] = {
    0, 1, VT_ATTACK_RING, 0x7fff, 0x8000, G_MAXUINT16
  };
  const guint16 flags[] = { 0, 1, 2, G_MAXUINT16 };
  VtBlkRequest *request =
      vt_blk_request_new (a->guest, VIRTIO_BLK_T_IN, 3, 512);
  struct vring_avail *avail = a->ring->avail;

  vt_attack_describe (a);
  g_assert_true (
      vt_set_features (a->fe, a->fe->acked | 1ull << VIRTIO_RING_F_EVENT_IDX));
  g_assert_true (vt_set_vring_kick (a->fe, 0, a->ring->kick_fd));
  g_assert_true (vt_set_vring_enable (a->fe, 0, TRUE));
  for (guint i = 0; i < 10 * G_N_ELEMENTS (events); i++) {
    avail->ring[VT_ATTACK_RING] =
        GUINT16_TO_LE (events[i % G_N_ELEMENTS (events)]);
    avail->flags = GUINT16_TO_LE (flags[i / 3 % G_N_ELEMENTS (flags)]);
    vt_attack_run_uncalled (a->ring, request);
  }
  vt_attack_witness (a);
  g_free (request);
}

/* --- Chains --- */

static void
next_outside_the_ring (VtAttack *a)
{
  const VtDesc descs[] = { { vt_attack_page (a), 16, NEXT, VT_ATTACK_RING } };

  vt_attack_expect_chain_breaks (a, descs, 1);
}

static void
next_far_outside_the_ring (VtAttack *a)
{
  vt_attack_start (a);
  write_good_chain (a, 60000);
  vt_desc_write (&a->ring->desc[0], vt_attack_page (a), 0, NEXT, 60000);
  submit (a->ring, 0);
  vt_attack_expect_broken (a);
}

static void
next_is_itself (VtAttack *a)
{
  const VtDesc descs[] = { { vt_attack_page (a), 16, NEXT, 0 } };

  vt_attack_expect_chain_breaks (a, descs, 1);
}

static void
chain_is_a_loop (VtAttack *a)
{
  const VtDesc descs[] = { { vt_attack_page (a), 16, NEXT, 1 },
                           { vt_attack_page (a), 16, NEXT, 2 },
                           { vt_attack_page (a), 16, NEXT, 0 } };

  vt_attack_expect_chain_breaks (a, descs, 3);
}

/* Nothing grows that a limit on bytes or buffers would notice. */
static void
loop_of_empty_buffers (VtAttack *a)
{
  const VtDesc descs[] = { { vt_attack_page (a), 0, NEXT, 1 },
                           { vt_attack_page (a), 0, NEXT, 0 } };

  vt_attack_expect_chain_breaks (a, descs, 2);
}

/* --- Indirect tables --- */

static void
table_whose_next_is_outside (VtAttack *a)
{
  const VtDesc descs[] = { { vt_attack_page (a), 16, NEXT, 2 },
                           { vt_attack_page (a), 16, 0, 0 } };

  vt_attack_expect_table_breaks (a, descs, 2, 32, 0);
}

static void
table_that_is_a_loop (VtAttack *a)
{
  const VtDesc descs[] = { { vt_attack_page (a), 16, NEXT, 1 },
                           { vt_attack_page (a), 16, NEXT, 0 } };

  vt_attack_expect_table_breaks (a, descs, 2, 32, 0);
}

static void
table_that_is_a_loop_of_empty_buffers (VtAttack *a)
{
  const VtDesc descs[] = { { vt_attack_page (a), 0, NEXT, 1 },
                           { vt_attack_page (a), 0, NEXT, 0 } };

  vt_attack_expect_table_breaks (a, descs, 2, 32, 0);
}

/* --- Requests --- */

/* The same chain many times at once. */
static void
one_head_everywhere (VtAttack *a)
{
  const VtDesc descs[] = { { vt_attack_page (a), 16, NEXT, 1 },
                           { vt_attack_page (a), 512, NEXT | WRITE, 2 },
                           { vt_attack_page (a), 1, WRITE, 0 } };

  vt_attack_start (a);
  vt_desc_fill_table (a->ring, a->ring->desc, descs, 3, 0);
  for (guint i = 0; i < VT_ATTACK_RING; i++)
    vt_ring_raw_add (a->ring, 0, NULL);
  vt_ring_publish (a->ring);
  vt_ring_kick_always (a->ring);
  vt_attack_settle (a);
}

/* The device writes into the ring itself. */
static void
data_over_the_ring (VtAttack *a)
{
  const guint64 ring = vt_guest_gpa (a->guest, a->ring->desc);
  const guint64 used = vt_guest_gpa (a->guest, a->ring->used);
  const VtDesc descs[] = { { vt_attack_page (a), 16, NEXT, 1 },
                           { ring, 512, NEXT | WRITE, 2 },
                           { used & ~511ull, 512, NEXT | WRITE, 3 },
                           { vt_attack_page (a), 1, WRITE, 0 } };

  vt_attack_start (a);
  vt_desc_fill_table (a->ring, a->ring->desc, descs, 4, 0);
  submit (a->ring, 0);
  vt_attack_settle (a);
}

/* Sectors whose bytes lie at 2^63 and above, or beyond 2^64. */
static void
far_sectors (VtAttack *a)
{
  const guint64 sectors[] = { 1ull << 54, (1ull << 54) - 1,
                              1ull << 55, (1ull << 55) - 1,
                              1ull << 63, G_MAXUINT64 >> 1,
                              G_MAXUINT64 };
  guint8 data[512] = { 0 };

  vt_attack_start (a);
  for (guint i = 0; i < G_N_ELEMENTS (sectors); i++) {
    g_assert_cmpuint (vt_blk_read (a->ring, sectors[i], data, sizeof data), ==,
                      VIRTIO_BLK_S_IOERR);
    g_assert_cmpuint (vt_blk_write (a->ring, sectors[i], data, sizeof data), ==,
                      VIRTIO_BLK_S_IOERR);
  }
  vt_attack_read (a->ring, 0); /* nothing wrapped around to the start */
}

/* Five times the same memory: 32 bits do not hold the length. */
static void
five_gigabytes_at_once (VtAttack *a)
{
  const guint32 types[] = { VIRTIO_BLK_T_IN, VIRTIO_BLK_T_OUT };
  VtRegion *large = vt_guest_add (a->guest, 1ull << 32, 1ull << 45, 1 << 30, 0);
  VtRegion *small = g_ptr_array_index (a->guest->regions, 0);

  vt_attack_start (a);
  for (guint i = 0; i < G_N_ELEMENTS (types); i++) {
    struct virtio_blk_outhdr *header =
        vt_region_alloc (small, sizeof *header, 8);
    guint8 *status = vt_region_alloc (small, 1, 1);
    const VtBuf data = { large->ptr, 1 << 30, types[i] == VIRTIO_BLK_T_IN };
    const VtBuf bufs[] = { { header, sizeof *header, FALSE },
                           data,
                           data,
                           data,
                           data,
                           data,
                           { status, 1, TRUE } };

    *header = (struct virtio_blk_outhdr){ .type = GUINT32_TO_LE (types[i]) };
    *status = VT_BLK_NO_STATUS;
    g_assert_true (vt_ring_add (a->ring, bufs, G_N_ELEMENTS (bufs), status));
    vt_ring_kick (a->ring);
    g_assert_true (vt_ring_take (a->ring, NULL) == status);
    g_assert_cmpuint (*status, ==, VIRTIO_BLK_S_IOERR);
  }
  vt_attack_read (a->ring, 0);
}

/* Random types, sectors, lengths and shapes of a disk's requests. */
static void
random_request (VtAttack *a, guint8 *memory)
{
  struct virtio_blk_outhdr *header = (void *) memory;
  const guint64 sectors[] = { 0,          1,          2047,       2048,
                              1ull << 54, 1ull << 55, 1ull << 63, G_MAXUINT64 };
  const guint32 lengths[] = { 0, 1, 8, 15, 16, 20, 511, 512, 513, 4096, 65536 };
  guint n = (guint) g_test_rand_int_range (1, 6);

  memory[16 + g_test_rand_int_range (0, 48)] = (guint8) g_test_rand_int ();
  header->type = GUINT32_TO_LE ((guint32) g_test_rand_int_range (0, 17));
  header->sector = GUINT64_TO_LE (
      sectors[g_test_rand_int_range (0, G_N_ELEMENTS (sectors))]);
  for (guint i = 0; i < n; i++) {
    gboolean writable = i > 0 && (i + 1 == n || g_test_rand_bit ());
    guint offset = i == 0 ? 0 : 16 * (guint) g_test_rand_int_range (0, 64);

    vt_desc_write (&a->ring->desc[i], vt_guest_gpa (a->guest, memory) + offset,
                   lengths[g_test_rand_int_range (0, G_N_ELEMENTS (lengths))],
                   (i + 1 < n ? NEXT : 0) | (writable ? WRITE : 0),
                   (guint16) (i + 1));
  }
  submit (a->ring, 0);
}

/* The disk was written to; what other attacks read has to come back. */
static void
restore_pattern (VtAttack *a)
{
  guint64 words[64];

  for (guint64 sector = 0; sector < 2048; sector++) {
    for (guint i = 0; i < G_N_ELEMENTS (words); i++)
      words[i] = sector << 8 | i;
    g_assert_cmpuint (vt_blk_write (a->ring, sector, words, sizeof words), ==,
                      VIRTIO_BLK_S_OK);
  }
}

static void
random_requests (VtAttack *a)
{
  guint8 *memory = vt_guest_alloc (a->guest, 1 << 17, 4096);

  vt_attack_start (a);
  for (guint i = 0; i < 300; i++) {
    random_request (a, memory);
    if (i % 10 == 9)
      vt_attack_restart (a);
  }
  restore_pattern (a);
  vt_attack_settle (a);
}

/* What a guest changes while the device looks at it. */
typedef struct {
  VtAttack *attack;
  guint64 good;
  atomic_bool end;
} Race;

static void *
race_thread (void *data)
{
  Race *race = data;
  volatile struct vring_desc *desc = race->attack->ring->desc;
  volatile struct vring_avail *avail = race->attack->ring->avail;

  for (guint32 i = 0; !atomic_load (&race->end); i++) {
    desc[0].addr = GUINT64_TO_LE (i % 2 ? race->good : G_MAXUINT64 - i);
    desc[1].len = GUINT32_TO_LE (i % 3 ? 512 : i << 20);
    desc[1].next = GUINT16_TO_LE (i % 5 ? 2 : i);
    desc[1].flags = GUINT16_TO_LE (NEXT | (i % 7 ? WRITE : INDIRECT));
    avail->ring[i % VT_ATTACK_RING] = GUINT16_TO_LE (i % 11 ? 0 : i);
  }
  return NULL;
}

static void
memory_that_changes_under_the_device (VtAttack *a)
{
  Race race = { .attack = a, .good = vt_attack_page (a) };
  const VtDesc descs[] = { { race.good, 16, NEXT, 1 },
                           { vt_attack_page (a), 512, NEXT | WRITE, 2 },
                           { vt_attack_page (a), 1, WRITE, 0 } };
  pthread_t thread;

  vt_attack_start (a);
  vt_desc_fill_table (a->ring, a->ring->desc, descs, 3, 0);
  g_assert_cmpint (pthread_create (&thread, NULL, race_thread, &race), ==, 0);
  for (guint i = 0; i < 500; i++) {
    guint16 base = a->ring->published;

    vt_ring_raw_publish (a->ring, base + 8);
    vt_ring_kick_always (a->ring);
    if (i % 4 == 3) { /* it may be broken by now */
      vt_get_vring_base (a->fe, 0);
      g_assert_true (vt_set_vring_base (a->fe, 0, a->ring->published));
      g_assert_true (vt_set_vring_kick (a->fe, 0, a->ring->kick_fd));
    }
  }
  atomic_store (&race.end, TRUE);
  pthread_join (thread, NULL);
  vt_attack_settle (a);
}

int
main (int argc, char **argv)
{
  g_test_init (&argc, &argv, NULL);
#define ADD(path, func) vt_attack_add ("/hostile/driver/" path, func)
  ADD ("index/jump", index_jumps);
  ADD ("index/one-more", index_jumps_by_one_too_many);
  ADD ("index/back", index_goes_back);
  ADD ("head/outside", head_outside_the_ring);
  ADD ("head/far", head_far_outside_the_ring);
  ADD ("event/beyond", events_beyond_the_ring);
  ADD ("chain/next", next_outside_the_ring);
  ADD ("chain/far", next_far_outside_the_ring);
  ADD ("chain/itself", next_is_itself);
  ADD ("chain/loop", chain_is_a_loop);
  ADD ("chain/empty-loop", loop_of_empty_buffers);
  ADD ("table/outside", table_whose_next_is_outside);
  ADD ("table/loop", table_that_is_a_loop);
  ADD ("table/empty-loop", table_that_is_a_loop_of_empty_buffers);
  ADD ("request/same-head", one_head_everywhere);
  ADD ("request/over-ring", data_over_the_ring);
  ADD ("request/far", far_sectors);
  ADD ("request/long", five_gigabytes_at_once);
  ADD ("request/random", random_requests);
  ADD ("race", memory_that_changes_under_the_device);
  return vt_attack_main ();
}
