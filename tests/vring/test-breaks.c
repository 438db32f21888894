/* SPDX-License-Identifier: BSD-3-Clause
 *
 * test-breaks.c - rings of drivers that break the rules, in both formats
 *
 * A chain against the rules breaks its ring with a reason, and a reset ring
 * works again.
 */
#include <string.h>

#include "tests/lib/chain-rig.h"

#define NEXT     VRING_DESC_F_NEXT
#define WRITE    VRING_DESC_F_WRITE
#define INDIRECT VRING_DESC_F_INDIRECT

#define NOWHERE VT_CHAIN_NOWHERE
#define END     (VT_GPA_BASE + VT_CHAIN_MEMORY) /* of guest memory */
#define ENTRY   ((guint32) sizeof (struct vring_desc))

typedef VtChainRig Fixture;

/* Writes entries of the indirect table. */
static void
entries (Fixture *f, const VtDesc *descs, guint n)
{
  vt_desc_fill_table (f->ring, f->table, descs, n, 0);
}

static void
submit (Fixture *f, const VtDesc *descs, guint n)
{
  vt_desc_submit (f->ring, descs, n);
}

static void
submit_one (Fixture *f, guint64 gpa, guint32 len, guint16 flags)
{
  submit (f, &(VtDesc){ gpa, len, flags, 0 }, 1);
}

static void
submit_table (Fixture *f, guint n)
{
  const VtDesc outer = vt_chain_rig_indirect (f, n);

  submit (f, &outer, 1);
}

/* --- Buffers --- */

static void
buffer_outside (Fixture *f)
{
  submit_one (f, NOWHERE, 8, 0);
}

static void
buffer_ends_outside (Fixture *f)
{
  submit_one (f, END - 8, 9, vt_ring_is_packed (f->ring) ? WRITE : 0);
}

static void
buffer_wraps (Fixture *f)
{
  submit_one (f, G_MAXUINT64 - 7, 16, 0);
}

static void
huge_buffer (Fixture *f)
{
  submit_one (f, f->gpa, G_MAXUINT32, WRITE);
}

static void
readable_after_writable (Fixture *f)
{
  const VtDesc descs[] = { { f->gpa, 8, WRITE | NEXT, 1 },
                           { f->gpa, 8, 0, 0 } };

  submit (f, descs, 2);
}

/* --- Indirect tables --- */

static void
empty_table (Fixture *f)
{
  submit_table (f, 0);
}

static void
table_of_odd_length (Fixture *f, guint32 len)
{
  entries (f, &(VtDesc){ f->gpa, 8, 0, 0 }, 1);
  submit_one (f, f->table_gpa, len, INDIRECT);
}

static void
table_with_a_byte_more (Fixture *f)
{
  table_of_odd_length (f, ENTRY + 1);
}

static void
table_with_half_an_entry_more (Fixture *f)
{
  table_of_odd_length (f, ENTRY + 8);
}

static void
table_with_successor (Fixture *f)
{
  const VtDesc descs[] = { { f->table_gpa, ENTRY, INDIRECT | NEXT, 1 },
                           { f->gpa, 8, 0, 0 } };

  entries (f, &(VtDesc){ f->gpa, 8, 0, 0 }, 1);
  submit (f, descs, 2);
}

static void
table_outside (Fixture *f)
{
  submit_one (f, NOWHERE, ENTRY, INDIRECT);
}

static void
table_ends_outside (Fixture *f)
{
  const VtDesc last = { f->gpa, 8, NEXT, 1 };

  vt_desc_fill_table (f->ring, vt_guest_ptr (f->guest, END - ENTRY), &last, 1,
                      0);
  submit_one (f, END - ENTRY, 2 * ENTRY, INDIRECT);
}

static void
nested_table (Fixture *f)
{
  entries (f, &(VtDesc){ f->table_gpa, 2 * ENTRY, INDIRECT, 0 }, 1);
  submit_table (f, vt_ring_is_packed (f->ring) ? 1 : 2);
}

static void
chain_too_long (Fixture *f)
{
  const VtDesc outer = vt_chain_rig_long_table (f, VD_CHAIN_MAX + 1);

  submit (f, &outer, 1);
}

/* --- Split rings only --- */

static void
show (Fixture *f)
{
  vt_ring_publish (f->ring);
  vt_ring_kick_always (f->ring);
}

static void
head_outside (Fixture *f)
{
  vt_ring_raw_add (f->ring, f->ring->size, NULL);
  show (f);
}

static void
index_jumps (Fixture *f)
{
  vt_ring_raw_add (f->ring, 0, NULL);
  f->ring->avail_idx = 1000;
  show (f);
}

static void
index_goes_back (Fixture *f)
{
  f->ring->avail_idx--;
  show (f);
}

static void
successor_outside (Fixture *f)
{
  submit (f, &(VtDesc){ f->gpa, 8, NEXT, f->ring->size }, 1);
}

static void
chain_is_a_loop (Fixture *f)
{
  const VtDesc descs[] = { { f->gpa, 8, NEXT, 1 }, { f->gpa, 8, NEXT, 0 } };

  submit (f, descs, 2);
}

static void
loop_of_empty_buffers (Fixture *f)
{
  submit_one (f, f->gpa, 0, NEXT);
}

static void
successor_outside_table (Fixture *f)
{
  const VtDesc descs[] = { { f->gpa, 8, NEXT, 1 }, { f->gpa, 8, 0, 0 } };

  entries (f, descs, 2);
  submit_table (f, 1);
}

static void
table_is_a_loop (Fixture *f)
{
  const VtDesc descs[] = { { f->gpa, 8, NEXT, 1 }, { f->gpa, 8, NEXT, 0 } };

  entries (f, descs, 2);
  submit_table (f, 2);
}

/* --- Packed rings only --- */

static void
chain_without_an_end (Fixture *f)
{
  VtDesc descs[12];

  g_assert_cmpuint (f->ring->size, ==, G_N_ELEMENTS (descs));
  for (guint i = 0; i < G_N_ELEMENTS (descs); i++)
    descs[i] = (VtDesc){ f->gpa, 1, NEXT, 7 };
  submit (f, descs, G_N_ELEMENTS (descs));
}

static void
table_after_direct (Fixture *f)
{
  const VtDesc descs[] = { { f->gpa, 8, NEXT, 7 },
                           vt_chain_rig_indirect (f, 1) };

  entries (f, &(VtDesc){ f->gpa, 8, 0, 0 }, 1);
  submit (f, descs, 2);
}

static void
huge_table (Fixture *f)
{
  submit_one (f, f->table_gpa, 0xfffffff0, INDIRECT);
}

typedef struct {
  const char *name;
  void (*submit) (Fixture *f);
  const char *reason; /* a pattern */
} Break;

static const Break both_formats[] = {
  { "buffer-outside", buffer_outside, "*outside guest memory*" },
  { "buffer-ends-outside", buffer_ends_outside, "*outside guest memory*" },
  { "buffer-wraps", buffer_wraps, "*outside guest memory*" },
  { "huge-buffer", huge_buffer, "*outside guest memory*" },
  { "order", readable_after_writable, "*readable*follows*" },
  { "table-empty", empty_table, "*indirect*length*" },
  { "table-odd", table_with_a_byte_more, "*indirect*length*" },
  { "table-half", table_with_half_an_entry_more, "*indirect*length*" },
  { "table-next", table_with_successor, "*indirect*" },
  { "table-outside", table_outside, "*indirect*outside guest memory*" },
  { "table-ends-outside", table_ends_outside, "*outside guest memory*" },
  { "table-nested", nested_table, "*nested*" },
  { "too-long", chain_too_long, "*too long*" },
};

static const Break split_only[] = {
  { "head-outside", head_outside, "*head*" },
  { "index-jumps", index_jumps, "*index jumped*" },
  { "index-goes-back", index_goes_back, "*index jumped*" },
  { "successor-outside", successor_outside, "*successor*outside the ring*" },
  { "loop", chain_is_a_loop, "*loop*" },
  { "empty-loop", loop_of_empty_buffers, "*loop*" },
  { "table-successor", successor_outside_table, "*outside its table*" },
  { "table-loop", table_is_a_loop, "*too long*" },
};

static const Break packed_only[] = {
  { "endless", chain_without_an_end, "*longer than the ring*" },
  { "table-after-direct", table_after_direct, "*indirect*" },
  { "table-huge", huge_table, "*too long*" },
};

/* --- The tests --- */

static void
set_up_split (Fixture *f, gconstpointer data)
{
  vt_chain_rig_init (f, 0);
}

static void
set_up_packed (Fixture *f, gconstpointer data)
{
  vt_chain_rig_init (f, VT_RING_PACKED);
}

static void
tear_down (Fixture *f, gconstpointer data)
{
  vt_chain_rig_clear (f);
}

static void
test_bad_ring_is_broken_and_can_be_reset (Fixture *f, gconstpointer data)
{
  const gboolean packed = vt_ring_is_packed (f->ring);
  const Break *bad = data;
  const char *reason;

  vt_queue_rig_start (&f->rig, f->ring);
  vt_chain_rig_echo (f);
  bad->submit (f);
  reason = vt_queue_rig_wait_broken (&f->rig, f->ring);
  if (!g_pattern_match_simple (bad->reason, reason))
    g_error ("broken, but because: %s", reason);
  g_assert_cmpuint (f->echo.n_handled, ==, 1);
  vt_ring_kick_always (f->ring); /* is of no use any more */
  g_assert_cmphex (vt_queue_rig_stop (&f->rig, f->ring), ==,
                   packed ? 0x80028002 : 1);
  if (!packed)
    g_assert_cmpuint (f->ring->used->idx, ==, 1);

  vt_ring_reset (f->ring, 0);
  vt_queue_rig_start (&f->rig, f->ring);
  vt_chain_rig_echo (f);
}

/* Makes the same descriptor available, though it may be in flight, as chains
 * @first to @first + @n. */
static void
submit_again (Fixture *f, guint first, guint n)
{
  const VtDesc desc = { f->gpa, 8, WRITE, 0 };

  for (guint i = first; i < first + n; i++)
    if (vt_ring_is_packed (f->ring))
      vt_desc_write_next (f->ring, i, &desc, 0);
    else {
      vt_desc_fill_table (f->ring, f->ring->desc, &desc, 1, 0);
      vt_ring_raw_add (f->ring, 0, NULL);
    }
  if (!vt_ring_is_packed (f->ring))
    vt_ring_publish (f->ring);
  vt_ring_kick_always (f->ring);
}

static void
test_more_chains_than_the_ring_has_break_it (Fixture *f, gconstpointer data)
{
  const guint size = f->ring->size;

  f->echo.mode = VT_ECHO_HOLD;
  vt_queue_rig_start (&f->rig, f->ring);
  submit_again (f, 0, size);
  vt_echo_wait_held (&f->echo, size);
  submit_again (f, size, 1);
  g_assert_nonnull (strstr (vt_queue_rig_wait_broken (&f->rig, f->ring),
                            "more chains are in flight"));
  vt_echo_release (&f->rig, f->ring, FALSE);
  vt_queue_rig_stop (&f->rig, f->ring);
  if (!vt_ring_is_packed (f->ring)) /* it was broken by then */
    g_assert_cmpuint (f->ring->used->idx, ==, 0);
}

/* Chains before the bad one are served and given back. */
static void
test_good_chains_before_a_bad_one_are_used (Fixture *f, gconstpointer data)
{
  VtBuf bufs[] = { { f->data, 4, FALSE }, { f->data + 8, 4, TRUE } };

  for (guint i = 0; i < 3; i++)
    g_assert_true (vt_ring_add (f->ring, bufs, 2, f->data));
  vt_ring_raw_add (f->ring, 0xffff, NULL);
  show (f);
  vt_queue_rig_start (&f->rig, f->ring);
  vt_queue_rig_wait_broken (&f->rig, f->ring);
  g_assert_cmpuint (vt_queue_rig_stop (&f->rig, f->ring), ==, 3);
}

static void
add_breaks (const char *format, void (*set_up) (Fixture *, gconstpointer),
            const Break *breaks, guint n)
{
  for (guint i = 0; i < n; i++) {
    g_autofree char *path =
        g_strdup_printf ("/%s/break/%s", format, breaks[i].name);

    g_test_add (path, Fixture, &breaks[i], set_up,
                test_bad_ring_is_broken_and_can_be_reset, tear_down);
  }
}

int
main (int argc, char **argv)
{
  g_test_init (&argc, &argv, NULL);
  add_breaks ("split", set_up_split, both_formats, G_N_ELEMENTS (both_formats));
  add_breaks ("split", set_up_split, split_only, G_N_ELEMENTS (split_only));
  add_breaks ("packed", set_up_packed, both_formats,
              G_N_ELEMENTS (both_formats));
  add_breaks ("packed", set_up_packed, packed_only, G_N_ELEMENTS (packed_only));
  g_test_add ("/split/break/after-good", Fixture, NULL, set_up_split,
              test_good_chains_before_a_bad_one_are_used, tear_down);
  g_test_add ("/split/break/too-many", Fixture, NULL, set_up_split,
              test_more_chains_than_the_ring_has_break_it, tear_down);
  g_test_add ("/packed/break/too-many", Fixture, NULL, set_up_packed,
              test_more_chains_than_the_ring_has_break_it, tear_down);
  return g_test_run ();
}
