/* SPDX-License-Identifier: BSD-3-Clause
 *
 * test-hostile-chains.c - attacks by a guest that rings of both formats take in
 * the same way: chains and indirect tables against the rules
 *
 * test-hostile-driver.c and test-hostile-packed.c have those that belong to one
 * format.  A rule that is broken breaks that ring and nothing else (virtio 1.3,
 * 2.7 and 2.8).
 */
#include "tests/wire/hostile.h"

#define NEXT     VRING_DESC_F_NEXT
#define WRITE    VRING_DESC_F_WRITE
#define INDIRECT VRING_DESC_F_INDIRECT

static void
readable_after_writable (VtAttack *a)
{
  const VtDesc descs[] = { { vt_attack_page (a), 16, NEXT, 1 },
                           { vt_attack_page (a), 512, NEXT | WRITE, 2 },
                           { vt_attack_page (a), 16, 0, 0 } };

  vt_attack_expect_chain_breaks (a, descs, 3);
}

static void
buffer_before_memory (VtAttack *a)
{
  const VtDesc descs[] = { { VT_GPA_BASE - 8, 16, 0, 0 } };

  vt_attack_expect_chain_breaks (a, descs, 1);
}

static void
buffer_past_memory (VtAttack *a)
{
  const VtDesc descs[] = { { vt_attack_memory_end (a) - 8, 16, 0, 0 } };

  vt_attack_expect_chain_breaks (a, descs, 1);
}

static void
buffer_that_wraps (VtAttack *a)
{
  const VtDesc descs[] = { { G_MAXUINT64 - 7, 16, 0, 0 } };

  vt_attack_expect_chain_breaks (a, descs, 1);
}

static void
buffer_of_4_gigabytes (VtAttack *a)
{
  const VtDesc descs[] = { { vt_attack_page (a), G_MAXUINT32, WRITE, 0 } };

  vt_attack_expect_chain_breaks (a, descs, 1);
}

static void
table_of_no_length (VtAttack *a)
{
  const VtDesc descs[] = { { vt_attack_page (a), 16, 0, 0 } };

  vt_attack_expect_table_breaks (a, descs, 1, 0, 0);
}

static void
table_of_odd_length (VtAttack *a)
{
  const VtDesc descs[] = { { vt_attack_page (a), 16, 0, 0 },
                           { vt_attack_page (a), 16, 0, 0 } };

  vt_attack_expect_table_breaks (a, descs, 2, 24, 0);
}

static void
table_with_a_successor (VtAttack *a)
{
  const VtDesc descs[] = { { vt_attack_page (a), 16, 0, 0 } };

  vt_attack_expect_table_breaks (a, descs, 1, 16, NEXT);
}

static void
table_in_a_table (VtAttack *a)
{
  const VtDesc descs[] = { { vt_attack_page (a), 16, INDIRECT, 0 } };

  vt_attack_expect_table_breaks (a, descs, 1, 16, 0);
}

static void
table_outside_memory (VtAttack *a)
{
  const VtDesc descs[] = { { vt_attack_memory_end (a), 16, INDIRECT, 0 } };

  vt_attack_expect_chain_breaks (a, descs, 1);
}

/* Only its second entry lies behind the end. */
static void
table_past_memory (VtAttack *a)
{
  const VtDesc outer = { vt_attack_memory_end (a) - 16, 32, INDIRECT, 0 };
  const VtDesc first = { vt_attack_page (a), 16, NEXT, 1 };

  vt_desc_fill_table (a->ring, vt_guest_ptr (a->guest, outer.gpa), &first, 1,
                      0);
  vt_attack_expect_chain_breaks (a, &outer, 1);
}

static void
table_of_4_gigabytes (VtAttack *a)
{
  const VtDesc descs[] = { { vt_attack_page (a), 16, NEXT, G_MAXUINT16 } };

  vt_attack_expect_table_breaks (a, descs, 1, 0xfffffff0, 0);
}

/* More buffers than a request can have anywhere. */
static void
table_of_too_many_buffers (VtAttack *a)
{
  const guint n = 4096;
  g_autofree VtDesc *descs = g_new (VtDesc, n);
  guint64 at = vt_attack_page (a);

  for (guint i = 0; i < n; i++)
    descs[i] = (VtDesc){ at, 16, i + 1 < n ? NEXT : 0, (guint16) (i + 1) };
  vt_attack_expect_table_breaks (a, descs, n, n * 16, 0);
}

/* The ring's own descriptors as a table: entry 0 is the indirect one. */
static void
table_that_is_the_ring (VtAttack *a)
{
  const VtDesc outer = { vt_guest_gpa (a->guest, a->ring->desc),
                         16 * VT_ATTACK_RING, INDIRECT, 0 };

  vt_attack_expect_chain_breaks (a, &outer, 1);
}

int
main (int argc, char **argv)
{
  g_test_init (&argc, &argv, NULL);
#define ADD(path, func)                                                        \
  vt_attack_add ("/hostile/driver/" path, func);                               \
  vt_attack_add_packed ("/hostile/packed/" path, func)
  ADD ("chain/order", readable_after_writable);
  ADD ("buffer/before", buffer_before_memory);
  ADD ("buffer/past", buffer_past_memory);
  ADD ("buffer/wrap", buffer_that_wraps);
  ADD ("buffer/huge", buffer_of_4_gigabytes);
  ADD ("table/zero", table_of_no_length);
  ADD ("table/odd", table_of_odd_length);
  ADD ("table/next", table_with_a_successor);
  ADD ("table/nested", table_in_a_table);
  ADD ("table/no-memory", table_outside_memory);
  ADD ("table/past", table_past_memory);
  ADD ("table/huge", table_of_4_gigabytes);
  ADD ("table/many", table_of_too_many_buffers);
  ADD ("table/ring", table_that_is_the_ring);
  return vt_attack_main ();
}
