/* SPDX-License-Identifier: BSD-3-Clause
 *
 * test-request.c - what devices/blk/request.c makes of chains of any shape
 */
#include "devices/blk/request.h"

#include <string.h>

#include "vring/iov.h"

#define SECTOR  512u
#define SIZE    (100u * SECTOR) /* of the disk */
#define MAX_LEN 8192u

typedef struct virtio_blk_discard_write_zeroes Range;

/* A chain made by hand: @out and @in are the driver's bytes, the lists cut
 * them. */
typedef struct {
  VdChain chain;
  struct iovec iov[64];
  guint8 out[MAX_LEN], in[MAX_LEN];
  VdBlkLimits limits;
  VdBlkCommand cmd;
} Fixture;

static void
set_up (Fixture *f, gconstpointer data)
{
  f->limits = (VdBlkLimits){ .size = SIZE, .align = SECTOR, .discard = TRUE };
}

static void
tear_down (Fixture *f, gconstpointer data)
{
}

static void
put_header (Fixture *f, guint32 type, guint64 sector)
{
  struct virtio_blk_outhdr header = { .type = GUINT32_TO_LE (type),
                                      .sector = GUINT64_TO_LE (sector) };

  memcpy (f->out, &header, sizeof header);
}

/* Fills the lists from two 0-ended lists of lengths. */
static void
lay_out (Fixture *f, const guint32 *out, const guint32 *in)
{
  VdChain *chain = &f->chain;
  guint8 *at;

  *chain = (VdChain){ .out = f->iov };
  for (at = f->out; *out > 0; at += *out++) {
    f->iov[chain->n_out++] = (struct iovec){ at, *out };
    chain->out_len += *out;
  }
  chain->in = f->iov + chain->n_out;
  for (at = f->in; *in > 0; at += *in++) {
    chain->in[chain->n_in++] = (struct iovec){ at, *in };
    chain->in_len += *in;
  }
}

static int
parse (Fixture *f)
{
  return vd_blk_parse (&f->chain, &f->limits, &f->cmd);
}

/* The lists of @cmd must be the @len bytes from @data on, and nothing else. */
static void
check_data (const VdBlkCommand *cmd, const guint8 *data, gsize len)
{
  const guint8 *at = data;

  for (guint i = 0; i < cmd->n_iov; i++) {
    g_assert_true (cmd->iov[i].iov_base == at);
    g_assert_cmpuint (cmd->iov[i].iov_len, >, 0);
    at += cmd->iov[i].iov_len;
  }
  g_assert_cmpuint ((gsize) (at - data), ==, len);
  g_assert_cmpuint (cmd->len, ==, len);
}

/* Every layout means the same read of 1024 bytes or write of 1536. */
static void
test_any_layout_means_the_same (Fixture *f, gconstpointer data)
{
  static const guint32 reads[][2][20] = {
    { { 16 }, { 1024, 1 } },
    { { 16 }, { 1025 } },          /* data and status together */
    { { 16 }, { 1, 1023, 1 } },    /* pieces of any length */
    { { 16 }, { 512, 511, 2 } },   /* the status behind the last of data */
    { { 8, 8 }, { 512, 512, 1 } }, /* the header in two */
    { { 1, 15 }, { 1024, 1 } },
    { { 15, 1 }, { 1000, 25 } },
    { { 1, 1, 1, 1, 1, 1, 1, 1, 1, 1, 1, 1, 1, 1, 1, 1 }, { 1025 } },
    { { 16, 100 }, { 1024, 1 } }, /* more to read than a read needs */
  };
  static const guint32 writes[][2][20] = {
    { { 16, 1536 }, { 1 } },
    { { 16 + 1536 }, { 1 } }, /* header and data together */
    { { 16 + 512, 1024 }, { 1 } },
    { { 4, 12 + 1, 1535 }, { 1 } },
    { { 16, 1, 1534, 1 }, { 1 } },
    { { 1, 1, 1, 1, 1, 1, 1, 1, 1, 1, 1, 1, 1, 1, 1, 1 + 1536 }, { 1 } },
  };

  for (guint i = 0; i < G_N_ELEMENTS (reads); i++) {
    put_header (f, VIRTIO_BLK_T_IN, 7);
    lay_out (f, reads[i][0], reads[i][1]);
    g_assert_cmpint (parse (f), ==, VIRTIO_BLK_S_OK);
    g_assert_cmpuint (f->cmd.type, ==, VIRTIO_BLK_T_IN);
    g_assert_cmpuint (f->cmd.offset, ==, 7 * SECTOR);
    g_assert_true (f->cmd.status == f->in + 1024);
    check_data (&f->cmd, f->in, 1024);
  }
  for (guint i = 0; i < G_N_ELEMENTS (writes); i++) {
    put_header (f, VIRTIO_BLK_T_OUT, 9);
    lay_out (f, writes[i][0], writes[i][1]);
    g_assert_cmpint (parse (f), ==, VIRTIO_BLK_S_OK);
    g_assert_cmpuint (f->cmd.type, ==, VIRTIO_BLK_T_OUT);
    g_assert_cmpuint (f->cmd.offset, ==, 9 * SECTOR);
    g_assert_true (f->cmd.status == f->in);
    check_data (&f->cmd, f->out + 16, 1536);
  }
}

static void
test_the_status_is_the_last_byte_whatever_precedes_it (Fixture *f,
                                                       gconstpointer data)
{
  static const guint32 header[] = { 16, 0 };
  static const guint32 ins[][4] = { { 1 }, { 7 }, { 1, 1, 1 }, { 100, 4000 } };

  for (guint i = 0; i < G_N_ELEMENTS (ins); i++) {
    put_header (f, VIRTIO_BLK_T_FLUSH, 0);
    lay_out (f, header, ins[i]);
    g_assert_cmpint (parse (f), ==, VIRTIO_BLK_S_OK);
    g_assert_true (f->cmd.status == f->in + f->chain.in_len - 1);
  }
}

static void
test_without_a_writable_byte_there_is_no_status (Fixture *f, gconstpointer data)
{
  static const guint32 header[] = { 16, 0 }, none[] = { 0 };

  put_header (f, VIRTIO_BLK_T_FLUSH, 0);
  lay_out (f, header, none);
  g_assert_cmpint (parse (f), ==, VD_BLK_NO_STATUS);
  /* Writable buffers without a byte. */
  lay_out (f, header, none);
  f->chain.in[0] = f->chain.in[1] = (struct iovec){ f->in, 0 };
  f->chain.n_in = 2;
  g_assert_cmpint (parse (f), ==, VD_BLK_NO_STATUS);
}

static void
test_empty_buffers_around_the_status_do_not_hide_it (Fixture *f,
                                                     gconstpointer data)
{
  static const guint32 header[] = { 16, 0 }, in[] = { 512, 1, 0 };

  put_header (f, VIRTIO_BLK_T_IN, 0);
  lay_out (f, header, in);
  f->chain.in[3] = (struct iovec){ NULL, 0 };
  f->chain.in[2] = f->chain.in[1];
  f->chain.in[1] = (struct iovec){ NULL, 0 };
  f->chain.n_in = 4;
  g_assert_cmpint (parse (f), ==, VIRTIO_BLK_S_OK);
  g_assert_true (f->cmd.status == f->in + 512);
  g_assert_cmpuint (vd_iov_len (f->cmd.iov, f->cmd.n_iov), ==, 512);
}

static void
test_a_short_header_is_an_io_error (Fixture *f, gconstpointer data)
{
  static const guint32 in[] = { 513, 0 };

  put_header (f, VIRTIO_BLK_T_IN, 0);
  for (guint32 len = 0; len < 16; len++) {
    const guint32 out[] = { len, 0 };

    lay_out (f, out, in);
    g_assert_cmpint (parse (f), ==, VIRTIO_BLK_S_IOERR);
    g_assert_cmpuint (f->cmd.type, ==, G_MAXUINT32);
    g_assert_true (f->cmd.status == f->in + 512);
  }
}

/* Runs a request of @type with @len bytes of data in the right direction. */
static int
parse_sized (Fixture *f, guint32 type, guint64 sector, guint32 len)
{
  const guint32 out[] = { 16, type == VIRTIO_BLK_T_OUT ? len : 0, 0 };
  const guint32 in[] = { (type == VIRTIO_BLK_T_OUT ? 0 : len) + 1, 0 };

  put_header (f, type, sector);
  lay_out (f, out, in);
  return parse (f);
}

static void
test_data_stays_inside_the_disk (Fixture *f, gconstpointer data)
{
  static const struct {
    guint64 sector;
    guint32 len;
    int status;
  } cases[] = {
    { 0, 512, VIRTIO_BLK_S_OK },
    { 99, 512, VIRTIO_BLK_S_OK },
    { 98, 1024, VIRTIO_BLK_S_OK },
    { 100, 0, VIRTIO_BLK_S_OK }, /* nothing, just behind the end */
    { 0, 0, VIRTIO_BLK_S_OK },
    { 101, 0, VIRTIO_BLK_S_IOERR },
    { 100, 512, VIRTIO_BLK_S_IOERR },
    { 99, 1024, VIRTIO_BLK_S_IOERR },
    { 0, 511, VIRTIO_BLK_S_IOERR },
    { 0, 1, VIRTIO_BLK_S_IOERR },
    { 0, 513, VIRTIO_BLK_S_IOERR },
    { 1ull << 55, 512, VIRTIO_BLK_S_IOERR },       /* times 512 is 0 */
    { (1ull << 55) + 1, 512, VIRTIO_BLK_S_IOERR }, /* is 512 */
    { G_MAXUINT64, 512, VIRTIO_BLK_S_IOERR },
    { G_MAXUINT64 / 512, 512, VIRTIO_BLK_S_IOERR },
    { G_MAXINT64, 1024, VIRTIO_BLK_S_IOERR },
  };
  static const guint32 types[] = { VIRTIO_BLK_T_IN, VIRTIO_BLK_T_OUT };

  for (guint t = 0; t < G_N_ELEMENTS (types); t++)
    for (guint i = 0; i < G_N_ELEMENTS (cases); i++)
      g_assert_cmpint (parse_sized (f, types[t], cases[i].sector, cases[i].len),
                       ==, cases[i].status);
}

static void
test_direct_io_keeps_to_the_image_s_blocks (Fixture *f, gconstpointer data)
{
  f->limits.align = 4096;
  g_assert_cmpint (parse_sized (f, VIRTIO_BLK_T_IN, 8, 4096), ==,
                   VIRTIO_BLK_S_OK);
  g_assert_cmpint (parse_sized (f, VIRTIO_BLK_T_IN, 1, 4096), ==,
                   VIRTIO_BLK_S_IOERR);
  g_assert_cmpint (parse_sized (f, VIRTIO_BLK_T_OUT, 8, 512), ==,
                   VIRTIO_BLK_S_IOERR);
}

/* Lengths that no used element can tell, made of buffers that nobody reads. */
static void
test_an_absurd_length_is_an_io_error (Fixture *f, gconstpointer data)
{
  static const guint32 header[] = { 16, 0 }, none[] = { 0 };

  f->limits.size = G_MAXINT64 & ~(guint64) (SECTOR - 1);
  put_header (f, VIRTIO_BLK_T_IN, 0);
  lay_out (f, header, none);
  for (guint i = 0; i < 40; i++)
    f->chain.in[i] = (struct iovec){ f->in, 0xfffffe00 };
  f->chain.in[40] = (struct iovec){ f->in, 1 };
  f->chain.n_in = 41;
  f->chain.in_len = 40 * 0xfffffe00ull + 1;
  g_assert_cmpint (parse (f), ==, VIRTIO_BLK_S_IOERR);
  g_assert_true (f->cmd.status == f->in);
}

static void
test_an_id_is_at_most_20_bytes (Fixture *f, gconstpointer data)
{
  static const guint32 lens[] = { 0, 1, 19, 20, 21, 512 };

  for (guint i = 0; i < G_N_ELEMENTS (lens); i++) {
    g_assert_cmpint (parse_sized (f, VIRTIO_BLK_T_GET_ID, G_MAXUINT64, lens[i]),
                     ==, VIRTIO_BLK_S_OK);
    g_assert_cmpuint (f->cmd.len, ==, MIN (lens[i], 20));
    g_assert_cmpuint (vd_iov_len (f->cmd.iov, f->cmd.n_iov), ==, lens[i]);
  }
}

static void
test_other_types_are_unsupported (Fixture *f, gconstpointer data)
{
  for (guint32 type = 0; type < 32; type++) {
    gboolean known =
        type == VIRTIO_BLK_T_IN || type == VIRTIO_BLK_T_OUT ||
        type == VIRTIO_BLK_T_FLUSH || type == VIRTIO_BLK_T_GET_ID ||
        type == VIRTIO_BLK_T_DISCARD || type == VIRTIO_BLK_T_WRITE_ZEROES;

    if (!known) {
      g_assert_cmpint (parse_sized (f, type, 0, 512), ==, VIRTIO_BLK_S_UNSUPP);
      g_assert_cmpuint (f->cmd.type, ==, type);
    }
  }
  g_assert_cmpint (parse_sized (f, 1u << 31, 0, 512), ==, VIRTIO_BLK_S_UNSUPP);
}

/* @pieces: how many equal buffers the ranges are cut into; 0: with the
 * header */
static int
parse_ranges (Fixture *f, guint32 type, const Range *ranges, guint n,
              guint pieces)
{
  static const guint32 in[] = { 1, 0 };
  guint32 len = n * (guint32) sizeof *ranges, out[60] = { 16 };

  put_header (f, type, 0);
  memcpy (f->out + 16, ranges, len);
  if (pieces == 0)
    out[0] += len;
  for (guint i = 0; i < pieces; i++)
    out[1 + i] = len / pieces;
  lay_out (f, out, in);
  return parse (f);
}

static void
test_ranges_may_be_cut_anywhere (Fixture *f, gconstpointer data)
{
  static const guint pieces[] = { 0, 1, 3, 48 };
  const Range ranges[] = {
    { GUINT64_TO_LE (1), GUINT32_TO_LE (2), 0 },
    { GUINT64_TO_LE (0), GUINT32_TO_LE (100), GUINT32_TO_LE (1) },
    { GUINT64_TO_LE (100), 0, 0 },
  };

  for (guint i = 0; i < G_N_ELEMENTS (pieces); i++) {
    memset (&f->cmd, 0xff, sizeof f->cmd);
    g_assert_cmpint (
        parse_ranges (f, VIRTIO_BLK_T_WRITE_ZEROES, ranges, 3, pieces[i]), ==,
        VIRTIO_BLK_S_OK);
    g_assert_cmpuint (f->cmd.n_ranges, ==, 3);
    g_assert_cmpuint (f->cmd.ranges[0].offset, ==, 512);
    g_assert_cmpuint (f->cmd.ranges[0].len, ==, 1024);
    g_assert_false (f->cmd.ranges[0].unmap);
    g_assert_cmpuint (f->cmd.ranges[1].offset, ==, 0);
    g_assert_cmpuint (f->cmd.ranges[1].len, ==, SIZE);
    g_assert_true (f->cmd.ranges[1].unmap);
    g_assert_cmpuint (f->cmd.ranges[2].len, ==, 0);
  }
}

static void
test_ranges_come_in_whole_and_at_most_16 (Fixture *f, gconstpointer data)
{
  static const guint32 in[] = { 1, 0 };

  for (guint32 len = 0; len <= 18 * sizeof (Range); len++) {
    const guint32 out[] = { 16 + len, 0 };
    gboolean fits =
        len > 0 && len % sizeof (Range) == 0 && len <= 16 * sizeof (Range);

    memset (f->out, 0, sizeof f->out);
    put_header (f, VIRTIO_BLK_T_DISCARD, 0);
    lay_out (f, out, in);
    g_assert_cmpint (parse (f), ==,
                     fits ? VIRTIO_BLK_S_OK : VIRTIO_BLK_S_IOERR);
  }
}

static void
test_flags_and_bounds_of_ranges (Fixture *f, gconstpointer data)
{
  static const struct {
    guint64 sector;
    guint32 n_sectors, flags;
    int discard, zeroes;
  } cases[] = {
    { 0, 100, 0, VIRTIO_BLK_S_OK, VIRTIO_BLK_S_OK },
    { 0, 100, 1, VIRTIO_BLK_S_UNSUPP, VIRTIO_BLK_S_OK },
    { 0, 100, 2, VIRTIO_BLK_S_UNSUPP, VIRTIO_BLK_S_UNSUPP },
    { 0, 100, 3, VIRTIO_BLK_S_UNSUPP, VIRTIO_BLK_S_UNSUPP },
    { 0, 101, 0, VIRTIO_BLK_S_IOERR, VIRTIO_BLK_S_IOERR },
    { 1, 100, 0, VIRTIO_BLK_S_IOERR, VIRTIO_BLK_S_IOERR },
    { 101, 0, 0, VIRTIO_BLK_S_IOERR, VIRTIO_BLK_S_IOERR },
    /* Times 512, in 32 bits, these are 0 and 512 bytes. */
    { 0, 1u << 23, 0, VIRTIO_BLK_S_IOERR, VIRTIO_BLK_S_IOERR },
    { 0, (1u << 23) + 1, 0, VIRTIO_BLK_S_IOERR, VIRTIO_BLK_S_IOERR },
    { 0, G_MAXUINT32, 0, VIRTIO_BLK_S_IOERR, VIRTIO_BLK_S_IOERR },
    { G_MAXUINT64, 1, 0, VIRTIO_BLK_S_IOERR, VIRTIO_BLK_S_IOERR },
    { 1ull << 55, 1, 0, VIRTIO_BLK_S_IOERR, VIRTIO_BLK_S_IOERR },
  };

  for (guint i = 0; i < G_N_ELEMENTS (cases); i++) {
    const Range range = { GUINT64_TO_LE (cases[i].sector),
                          GUINT32_TO_LE (cases[i].n_sectors),
                          GUINT32_TO_LE (cases[i].flags) };

    g_assert_cmpint (parse_ranges (f, VIRTIO_BLK_T_DISCARD, &range, 1, 1), ==,
                     cases[i].discard);
    g_assert_cmpint (parse_ranges (f, VIRTIO_BLK_T_WRITE_ZEROES, &range, 1, 1),
                     ==, cases[i].zeroes);
  }
}

static void
test_a_range_is_at_most_as_long_as_was_said (Fixture *f, gconstpointer data)
{
  Range range = { 0, GUINT32_TO_LE (VD_BLK_MAX_SECTORS), 0 };

  f->limits.size = 1ull << 40;
  g_assert_cmpint (parse_ranges (f, VIRTIO_BLK_T_DISCARD, &range, 1, 1), ==,
                   VIRTIO_BLK_S_OK);
  g_assert_cmpuint (f->cmd.ranges[0].len, ==, 1ull << 31);
  range.num_sectors = GUINT32_TO_LE (VD_BLK_MAX_SECTORS + 1);
  g_assert_cmpint (parse_ranges (f, VIRTIO_BLK_T_DISCARD, &range, 1, 1), ==,
                   VIRTIO_BLK_S_IOERR);
}

static void
test_a_read_only_disk_takes_no_change (Fixture *f, gconstpointer data)
{
  const Range range = { 0, GUINT32_TO_LE (1), 0 };

  f->limits.read_only = TRUE;
  f->limits.discard = FALSE;
  g_assert_cmpint (parse_sized (f, VIRTIO_BLK_T_OUT, 0, 512), ==,
                   VIRTIO_BLK_S_IOERR);
  g_assert_cmpint (parse_sized (f, VIRTIO_BLK_T_OUT, 0, 0), ==,
                   VIRTIO_BLK_S_IOERR);
  g_assert_cmpint (parse_ranges (f, VIRTIO_BLK_T_DISCARD, &range, 1, 1), ==,
                   VIRTIO_BLK_S_IOERR);
  g_assert_cmpint (parse_ranges (f, VIRTIO_BLK_T_WRITE_ZEROES, &range, 1, 1),
                   ==, VIRTIO_BLK_S_IOERR);
  g_assert_cmpint (parse_sized (f, VIRTIO_BLK_T_IN, 0, 512), ==,
                   VIRTIO_BLK_S_OK);
  g_assert_cmpint (parse_sized (f, VIRTIO_BLK_T_FLUSH, 0, 0), ==,
                   VIRTIO_BLK_S_OK);
}

static void
test_what_the_guest_writes_later_changes_nothing (Fixture *f,
                                                  gconstpointer data)
{
  const Range range = { GUINT64_TO_LE (5), GUINT32_TO_LE (6), 0 };
  VdBlkCommand before;

  g_assert_cmpint (parse_ranges (f, VIRTIO_BLK_T_WRITE_ZEROES, &range, 1, 1),
                   ==, VIRTIO_BLK_S_OK);
  before = f->cmd;
  memset (f->out, 0xff, sizeof f->out);
  g_assert_cmpmem (&before, sizeof before, &f->cmd, sizeof f->cmd);
}

/* Cuts @len bytes at random; a fifth of the buffers is empty. */
static guint
cut (struct iovec *iov, guint max, guint8 *at, guint32 len)
{
  guint n = 0;

  while (n < max - 1 && len > 0) {
    guint32 piece = (guint32) g_test_rand_int_range (0, (gint32) len + 1);

    if (g_test_rand_int_range (0, 5) == 0)
      piece = 0;
    iov[n++] = (struct iovec){ at, piece };
    at += piece;
    len -= piece;
  }
  if (len > 0)
    iov[n++] = (struct iovec){ at, len };
  return n;
}

static void
test_what_is_accepted_is_sound (Fixture *f, gconstpointer data)
{
  for (guint i = 0; i < 200000; i++) {
    VdChain *chain = &f->chain;
    guint32 type = (guint32) g_test_rand_int () % 16;
    gboolean even = g_test_rand_bit ();
    int status;

    *chain = (VdChain){ .out = f->iov, .in = f->iov + 32 };
    chain->out_len = (guint32) g_test_rand_int () % 3000;
    chain->in_len = (guint32) g_test_rand_int () % 3000;
    if (even) {
      chain->out_len = 16 + (chain->out_len & ~511ull);
      chain->in_len = 1 + (chain->in_len & ~511ull);
    }
    for (guint32 j = 16; j < 16 + 2 * sizeof (Range); j++)
      f->out[j] = (guint8) (g_test_rand_int () & g_test_rand_int () &
                            g_test_rand_int ());
    put_header (f, type, (guint32) g_test_rand_int () % 110);
    chain->n_out = cut (chain->out, 32, f->out, (guint32) chain->out_len);
    chain->n_in = cut (chain->in, 32, f->in, (guint32) chain->in_len);
    status = parse (f);
    if (status == VD_BLK_NO_STATUS) {
      g_assert_cmpuint (chain->in_len, ==, 0);
      continue;
    }
    g_assert_true (f->cmd.status == f->in + chain->in_len - 1);
    if (status != VIRTIO_BLK_S_OK)
      continue;
    if (type == VIRTIO_BLK_T_IN || type == VIRTIO_BLK_T_OUT) {
      g_assert_cmpuint (f->cmd.offset + f->cmd.len, <=, SIZE);
      g_assert_cmpuint (f->cmd.len % SECTOR, ==, 0);
      g_assert_cmpuint (vd_iov_len (f->cmd.iov, f->cmd.n_iov), ==, f->cmd.len);
    }
    if (type == VIRTIO_BLK_T_DISCARD || type == VIRTIO_BLK_T_WRITE_ZEROES)
      for (guint j = 0; j < f->cmd.n_ranges; j++)
        g_assert_cmpuint (f->cmd.ranges[j].offset + f->cmd.ranges[j].len, <=,
                          SIZE);
  }
}

int
main (int argc, char **argv)
{
  g_test_init (&argc, &argv, NULL);
#define ADD(name, func)                                                        \
  g_test_add ("/blk/request/" name, Fixture, NULL, set_up, func, tear_down)
  ADD ("layout/any", test_any_layout_means_the_same);
  ADD ("layout/status", test_the_status_is_the_last_byte_whatever_precedes_it);
  ADD ("layout/no-status", test_without_a_writable_byte_there_is_no_status);
  ADD ("layout/empty", test_empty_buffers_around_the_status_do_not_hide_it);
  ADD ("layout/short-header", test_a_short_header_is_an_io_error);
  ADD ("layout/absurd", test_an_absurd_length_is_an_io_error);
  ADD ("layout/later", test_what_the_guest_writes_later_changes_nothing);
  ADD ("layout/random", test_what_is_accepted_is_sound);
  ADD ("bounds/data", test_data_stays_inside_the_disk);
  ADD ("bounds/direct", test_direct_io_keeps_to_the_image_s_blocks);
  ADD ("bounds/read-only", test_a_read_only_disk_takes_no_change);
  ADD ("types/id", test_an_id_is_at_most_20_bytes);
  ADD ("types/others", test_other_types_are_unsupported);
  ADD ("ranges/cut", test_ranges_may_be_cut_anywhere);
  ADD ("ranges/number", test_ranges_come_in_whole_and_at_most_16);
  ADD ("ranges/bounds", test_flags_and_bounds_of_ranges);
  ADD ("ranges/longest", test_a_range_is_at_most_as_long_as_was_said);
  return g_test_run ();
}
