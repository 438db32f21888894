/* SPDX-License-Identifier: BSD-3-Clause */
#include "tests/devices/blk/random.h"

#include <string.h>

#define SECTOR      512u
#define STRIPE      (VT_DISK_SIZE / VT_RANDOM_DEPTH) /* one request in each */
#define REQUEST_MAX (128u << 10)

static void
cut (VtBuf *bufs, guint *n, guint8 *ptr, guint32 len, gboolean writable,
     guint n_pieces)
{
  while (len > 0) {
    guint32 piece = n_pieces-- <= 1 || len == 1
                        ? len
                        : (guint32) g_test_rand_int_range (1, (gint32) len);

    bufs[(*n)++] = (VtBuf){ ptr, piece, writable };
    ptr += piece;
    len -= piece;
  }
}

static void
add_one (VtDisk *f, VtRandom *r, guint stripe)
{
  const guint32 block = f->block != 0 ? f->block / SECTOR : 1;
  guint32 from = (guint32) g_test_rand_int_range (0, STRIPE / SECTOR);
  guint32 max = MIN (STRIPE / SECTOR - from, REQUEST_MAX / SECTOR);
  VtBuf bufs[16];
  guint n = 0;

  /* Often whole pages, as a file system sends them. */
  if (g_test_rand_bit ()) {
    from &= ~7u;
    max = MAX (max & ~7u, 8);
  }
  from -= from % block;
  max = MAX (max - max % block, block);
  r->len = g_test_rand_bit () ? max : 1 + g_test_rand_int () % max;
  r->len = (r->len + block - 1) / block * block * SECTOR;
  r->sector = stripe * (STRIPE / SECTOR) + from;
  r->writes = g_test_rand_bit ();
  r->header->type =
      GUINT32_TO_LE (r->writes ? VIRTIO_BLK_T_OUT : VIRTIO_BLK_T_IN);
  r->header->sector = GUINT64_TO_LE (r->sector);
  *r->status = VT_BLK_NO_STATUS;
  cut (bufs, &n, (guint8 *) r->header, sizeof *r->header, FALSE,
       g_test_rand_bit () ? 1 : 3);
  if (r->writes)
    for (guint32 i = 0; i < r->len; i += 4)
      *(guint32 *) (void *) (r->data + i) = g_test_rand_int ();
  else
    memset (r->data, 0, r->len);
  cut (bufs, &n, r->data, r->len, !r->writes, g_test_rand_bit () ? 1 : 5);
  bufs[n++] = (VtBuf){ r->status, 1, TRUE };
  g_assert_true (vt_ring_add (f->ring, bufs, n, r));
}

static void
take_one (VtDisk *f)
{
  guint32 written;
  VtRandom *r = vt_ring_take (f->ring, &written);
  guint8 *shadow = f->shadow + r->sector * SECTOR;

  g_assert_cmpuint (*r->status, ==, VIRTIO_BLK_S_OK);
  g_assert_cmpuint (written, ==, r->writes ? 1 : r->len + 1);
  if (r->writes)
    memcpy (shadow, r->data, r->len);
  else
    g_assert_cmpmem (r->data, r->len, shadow, r->len);
}

void
vt_random_init (VtRandom *requests, VtDisk *f)
{
  for (guint i = 0; i < VT_RANDOM_DEPTH; i++) {
    requests[i].header = vt_guest_alloc (f->guest, 16, 16);
    requests[i].status = vt_guest_alloc (f->guest, 1, 1);
    /* An address that O_DIRECT takes, and one that it does not. */
    requests[i].data =
        (guint8 *) vt_guest_alloc (f->guest, REQUEST_MAX + 4096, 4096) +
        (i % 4 == 3 ? 12 : 0);
  }
}

void
vt_random_begin (VtRandom *requests, VtDisk *f)
{
  for (guint i = 0; i < VT_RANDOM_DEPTH; i++)
    add_one (f, &requests[i], i);
  vt_ring_kick (f->ring);
}

void
vt_random_end (VtDisk *f)
{
  for (guint i = 0; i < VT_RANDOM_DEPTH; i++)
    take_one (f);
}

void
vt_random_run (VtDisk *f, guint n_rounds)
{
  VtRandom requests[VT_RANDOM_DEPTH];

  vt_random_init (requests, f);
  for (guint round = 0; round < n_rounds; round++) {
    vt_random_begin (requests, f);
    vt_random_end (f);
    if (round % 8 == 0)
      g_assert_cmpuint (vt_blk_flush (f->ring), ==, VIRTIO_BLK_S_OK);
  }
}
