/* SPDX-License-Identifier: BSD-3-Clause
 *
 * test-iov.c - vring/iov.c against a flat buffer
 */
#include "vring/iov.h"

#include <string.h>

#define FLAT 300

/* A list of random pieces, and the same bytes in one piece. */
typedef struct {
  guint8 memory[2 * FLAT];
  guint8 flat[FLAT];
  struct iovec iov[40];
  guint n_iov;
  gsize len;
} Pieces;

static void
make_pieces (Pieces *p)
{
  gsize at = 0;

  p->n_iov = p->len = 0;
  memset (p->memory, 0xee, sizeof p->memory);
  while (p->n_iov < G_N_ELEMENTS (p->iov)) {
    gsize len = g_test_rand_int_range (0, 20);

    at += g_test_rand_int_range (0, 3); /* a gap that nobody may touch */
    if (p->len + len > FLAT || at + len > sizeof p->memory)
      break;
    p->iov[p->n_iov++] = (struct iovec){ p->memory + at, len };
    for (gsize i = 0; i < len; i++)
      p->memory[at + i] = p->flat[p->len + i] = g_test_rand_int ();
    at += len;
    p->len += len;
  }
}

/* Fails unless the pieces hold what @p->flat holds, and nothing else changed
 * around them. */
static void
check_pieces (const Pieces *p)
{
  const guint8 *end = p->memory;
  gsize at = 0;

  for (guint i = 0; i < p->n_iov; i++) {
    const guint8 *base = p->iov[i].iov_base;

    for (; end < base; end++)
      g_assert_cmphex (*end, ==, 0xee);
    g_assert_cmpmem (base, p->iov[i].iov_len, p->flat + at, p->iov[i].iov_len);
    at += p->iov[i].iov_len;
    end = base + p->iov[i].iov_len;
  }
}

static void
random_range (const Pieces *p, gsize *offset, gsize *len, gsize *expected)
{
  *offset = g_test_rand_int_range (0, FLAT + 10);
  *len = g_test_rand_int_range (0, FLAT + 10);
  *expected = *offset >= p->len ? 0 : MIN (*len, p->len - *offset);
}

static void
test_copies_equal_a_flat_buffer (void)
{
  for (guint round = 0; round < 3000; round++) {
    guint8 from[FLAT + 10], to[FLAT + 10];
    gsize offset, len, expected;
    Pieces p;

    make_pieces (&p);
    g_assert_cmpuint (vd_iov_len (p.iov, p.n_iov), ==, p.len);
    random_range (&p, &offset, &len, &expected);
    g_assert_cmpuint (vd_iov_read (p.iov, p.n_iov, offset, to, len), ==,
                      expected);
    g_assert_cmpmem (to, expected, p.flat + MIN (offset, FLAT), expected);

    random_range (&p, &offset, &len, &expected);
    memset (from, round, sizeof from);
    g_assert_cmpuint (vd_iov_write (p.iov, p.n_iov, offset, from, len), ==,
                      expected);
    if (expected)
      memset (p.flat + offset, round, expected);
    check_pieces (&p);

    random_range (&p, &offset, &len, &expected);
    g_assert_cmpuint (vd_iov_zero (p.iov, p.n_iov, offset, len), ==, expected);
    if (expected)
      memset (p.flat + offset, 0, expected);
    check_pieces (&p);
  }
}

static void
test_skip_and_truncate_leave_the_middle (void)
{
  for (guint round = 0; round < 3000; round++) {
    gsize skip = g_test_rand_int_range (0, FLAT), keep, skipped;
    struct iovec *iov;
    guint8 to[FLAT];
    Pieces p;

    make_pieces (&p);
    iov = p.iov;
    skipped = vd_iov_skip (&iov, &p.n_iov, skip);
    g_assert_cmpuint (skipped, ==, MIN (skip, p.len));
    g_assert_cmpuint (vd_iov_len (iov, p.n_iov), ==, p.len - skipped);

    keep = g_test_rand_int_range (0, FLAT);
    p.n_iov = vd_iov_truncate (iov, p.n_iov, keep);
    keep = MIN (keep, p.len - skipped);
    g_assert_cmpuint (vd_iov_len (iov, p.n_iov), ==, keep);
    g_assert_cmpuint (vd_iov_read (iov, p.n_iov, 0, to, FLAT), ==, keep);
    g_assert_cmpmem (to, keep, p.flat + skipped, keep);
  }
}

static void
test_empty_list_holds_nothing (void)
{
  struct iovec *iov = NULL;
  guint8 byte = 7;
  guint n = 0;

  g_assert_cmpuint (vd_iov_len (NULL, 0), ==, 0);
  g_assert_cmpuint (vd_iov_read (NULL, 0, 0, &byte, 1), ==, 0);
  g_assert_cmpuint (vd_iov_skip (&iov, &n, 5), ==, 0);
  g_assert_cmpuint (vd_iov_truncate (NULL, 0, 5), ==, 0);
  g_assert_cmpuint (byte, ==, 7);
}

int
main (int argc, char **argv)
{
  g_test_init (&argc, &argv, NULL);
  g_test_add_func ("/iov/copies", test_copies_equal_a_flat_buffer);
  g_test_add_func ("/iov/cuts", test_skip_and_truncate_leave_the_middle);
  g_test_add_func ("/iov/empty", test_empty_list_holds_nothing);
  return g_test_run ();
}
