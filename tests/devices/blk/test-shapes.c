/* SPDX-License-Identifier: BSD-3-Clause
 *
 * test-shapes.c - every kind of request, in every layout, on every kind of ring
 *
 * A row of the table is a request and its answer.  The bytes that the device
 * reads, and those that it writes, are each cut into buffers in several ways,
 * which must not make a difference (virtio 1.3, 2.7.4.2 and 5.2.6).
 */
#include <string.h>

#include "devices/blk/blk.h"
#include "devices/blk/lifetime.h"
#include "tests/devices/blk/disk.h"

#define SECTOR 512u
#define END    (VT_DISK_SIZE / SECTOR)
#define DATA   0x5a /* of writes */

enum { OK = 0, IOERR = 1, UNSUPP = 2 };

/* What the device is like; bits. */
enum { READ_ONLY = 1, NO_DISCARD = 2, ALL = 4 };

typedef struct {
  guint32 type;
  guint64 sector;
  guint32 out, in; /* bytes of data for and from the device */
  guint8 status;
  VtRange range; /* if its num_sectors are not 0 or out is 16: the data */
} Row;

#define R(s, n, f)                                                             \
  {                                                                            \
    (s), (n), (f)                                                              \
  }

static const Row common[] = {
  { VIRTIO_BLK_T_IN, 0, 0, 512, OK, { 0 } },
  { VIRTIO_BLK_T_IN, 9, 0, 5 * 512, OK, { 0 } },
  { VIRTIO_BLK_T_IN, 8, 0, 65536, OK, { 0 } },
  { VIRTIO_BLK_T_IN, END - 1, 0, 512, OK, { 0 } },
  { VIRTIO_BLK_T_IN, 0, 0, 0, OK, { 0 } },
  { VIRTIO_BLK_T_IN, END, 0, 0, OK, { 0 } },
  { VIRTIO_BLK_T_IN, END, 0, 512, IOERR, { 0 } },
  { VIRTIO_BLK_T_IN, END - 1, 0, 1024, IOERR, { 0 } },
  { VIRTIO_BLK_T_IN, G_MAXUINT64, 0, 512, IOERR, { 0 } },
  { VIRTIO_BLK_T_IN, 1ull << 55, 0, 512, IOERR, { 0 } },
  { VIRTIO_BLK_T_IN, 0, 0, 511, IOERR, { 0 } },
  { VIRTIO_BLK_T_IN, 0, 0, 513, IOERR, { 0 } },
  { VIRTIO_BLK_T_IN, 0, 100, 512, OK, { 0 } }, /* more than a header */
  { VIRTIO_BLK_T_FLUSH, 0, 0, 0, OK, { 0 } },
  { VIRTIO_BLK_T_FLUSH, 77, 512, 512, OK, { 0 } },
  { VIRTIO_BLK_T_GET_ID, 0, 0, 20, OK, { 0 } },
  { VIRTIO_BLK_T_GET_ID, 0, 0, 3, OK, { 0 } },
  { VIRTIO_BLK_T_GET_ID, 5, 0, 512, OK, { 0 } },
  { VIRTIO_BLK_T_GET_ID, 0, 0, 0, OK, { 0 } },
  { 2, 0, 0, 0, UNSUPP, { 0 } },   /* SCSI, of old */
  { 3, 0, 512, 0, UNSUPP, { 0 } }, /* the same */
  { 9, 0, 0, 0, UNSUPP, { 0 } },
  { 15, 0, 16, 64, UNSUPP, { 0 } }, /* zoned */
  { 0x80000000, 0, 0, 512, UNSUPP, { 0 } },
  { G_MAXUINT32, 0, 512, 512, UNSUPP, { 0 } },
};

static const Row writable[] = {
  { VIRTIO_BLK_T_OUT, 40, 512, 0, OK, { 0 } },
  { VIRTIO_BLK_T_OUT, 41, 65536, 0, OK, { 0 } },
  { VIRTIO_BLK_T_OUT, END - 2, 1024, 0, OK, { 0 } },
  { VIRTIO_BLK_T_OUT, 40, 512, 16, OK, { 0 } }, /* more than a status */
  { VIRTIO_BLK_T_OUT, 0, 0, 0, OK, { 0 } },
  { VIRTIO_BLK_T_OUT, END - 1, 1024, 0, IOERR, { 0 } },
  { VIRTIO_BLK_T_OUT, G_MAXUINT64 / 512, 512, 0, IOERR, { 0 } },
  { VIRTIO_BLK_T_OUT, 0, 100, 0, IOERR, { 0 } },
  { VIRTIO_BLK_T_WRITE_ZEROES, 0, 16, 0, OK, R (100, 8, 0) },
  { VIRTIO_BLK_T_WRITE_ZEROES, 0, 16, 0, OK, R (101, 13, 1) },
  { VIRTIO_BLK_T_WRITE_ZEROES, 0, 16, 0, OK, R (END - 1, 1, 0) },
  { VIRTIO_BLK_T_WRITE_ZEROES, 0, 16, 0, IOERR, R (END - 1, 2, 0) },
  { VIRTIO_BLK_T_WRITE_ZEROES, 0, 16, 0, IOERR, R (8, 1 << 23, 0) },
  { VIRTIO_BLK_T_WRITE_ZEROES, 0, 16, 0, IOERR, R (1ull << 55, 1, 0) },
  { VIRTIO_BLK_T_WRITE_ZEROES, 0, 16, 0, UNSUPP, R (100, 8, 2) },
  { VIRTIO_BLK_T_WRITE_ZEROES, 0, 15, 0, IOERR, R (100, 8, 0) },
  { VIRTIO_BLK_T_WRITE_ZEROES, 0, 0, 0, IOERR, R (100, 8, 0) },
};

static const Row read_only[] = {
  { VIRTIO_BLK_T_OUT, 40, 512, 0, IOERR, { 0 } },
  { VIRTIO_BLK_T_OUT, 0, 0, 0, IOERR, { 0 } },
  { VIRTIO_BLK_T_WRITE_ZEROES, 0, 16, 0, IOERR, R (100, 8, 0) },
  { VIRTIO_BLK_T_DISCARD, 0, 16, 0, IOERR, R (100, 8, 0) },
};

static const Row not_offered[] = {
  { VIRTIO_BLK_T_DISCARD, 0, 16, 0, UNSUPP, R (100, 8, 0) },
  { VIRTIO_BLK_T_SECURE_ERASE, 0, 16, 0, UNSUPP, R (100, 8, 0) },
  { VD_BLK_T_GET_LIFETIME, 0, 0, 6, UNSUPP, { 0 } },
};

static const Row offered[] = {
  { VIRTIO_BLK_T_DISCARD, 0, 16, 0, OK, R (200, 8, 0) },
  { VIRTIO_BLK_T_DISCARD, 0, 16, 0, OK, R (205, 1, 0) },
  { VIRTIO_BLK_T_DISCARD, 0, 16, 0, IOERR, R (END, 8, 0) },
  { VIRTIO_BLK_T_DISCARD, 0, 16, 0, UNSUPP, R (200, 8, 1) },
  { VIRTIO_BLK_T_SECURE_ERASE, 0, 16, 0, OK, R (300, 9, 0) },
  { VIRTIO_BLK_T_SECURE_ERASE, 0, 16, 0, IOERR, R (END - 1, 2, 0) },
  { VIRTIO_BLK_T_SECURE_ERASE, 0, 16, 0, UNSUPP, R (300, 9, 1) },
  { VD_BLK_T_GET_LIFETIME, 0, 0, 6, OK, { 0 } },
  { VD_BLK_T_GET_LIFETIME, 0, 0, 512, OK, { 0 } },
};

/* How bytes are cut: the first buffer, then equal ones; 0: what is left. */
static const struct {
  guint32 first, next;
} cuts[] = {
  { 16, 0 },                           /* header, data; the usual one */
  { 0, 0 },                            /* one buffer */
  { 1, 0 },    { 15, 0 },    { 8, 8 }, /* small ones, as many as there may be */
  { 7, 1013 }, { 17, 4096 }, { 16, 512 },
};

#define MAX_BUFS 200

typedef struct {
  VtDisk disk;
  VtRing *ring;
  guint8 *out, *in; /* in guest memory */
} Fixture;

static void
cut (VtBuf *bufs, guint *n, guint8 *at, guint32 len, guint how,
     gboolean writable_by_device)
{
  guint32 piece = cuts[how].first;

  while (len > 0) {
    if (piece == 0 || piece > len || *n >= MAX_BUFS / 2)
      piece = len;
    bufs[(*n)++] = (VtBuf){ at, piece, writable_by_device };
    at += piece;
    len -= piece;
    piece = cuts[how].next;
  }
}

static void
fill (Fixture *f, const Row *row)
{
  struct virtio_blk_outhdr header = {
    .type = GUINT32_TO_LE (row->type),
    .sector = GUINT64_TO_LE (row->sector),
  };

  memcpy (f->out, &header, sizeof header);
  memset (f->out + 16, DATA, row->out);
  if (row->range.num_sectors != 0)
    memcpy (f->out + 16, &row->range, MIN (row->out, sizeof row->range));
  memset (f->in, VT_BLK_NO_STATUS, row->in + 1);
}

/* What the request leaves in the disk. */
static void
follow (Fixture *f, const Row *row)
{
  if (row->status != OK)
    return;
  if (row->type == VIRTIO_BLK_T_OUT)
    memset (f->disk.shadow + row->sector * SECTOR, DATA, row->out);
  else if (row->type == VIRTIO_BLK_T_WRITE_ZEROES ||
           row->type == VIRTIO_BLK_T_SECURE_ERASE)
    memset (f->disk.shadow + row->range.sector * SECTOR, 0,
            row->range.num_sectors * SECTOR);
}

static void
check_answer (Fixture *f, const Row *row, guint32 written)
{
  static const guint8 lifetime[] = { 1, 0, 2, 0, 3, 0 };

  g_assert_cmpuint (f->in[row->in], ==, row->status);
  if (row->status != OK)
    return;
  if (row->type == VIRTIO_BLK_T_IN && row->in > 0)
    g_assert_cmpmem (f->in, row->in, f->disk.shadow + row->sector * SECTOR,
                     row->in);
  if (row->type == VIRTIO_BLK_T_GET_ID && row->in >= 5)
    g_assert_cmpmem (f->in, 5, "shape", 5);
  if (row->type == VD_BLK_T_GET_LIFETIME)
    g_assert_cmpmem (f->in, 6, lifetime, 6);
  if (row->type == VIRTIO_BLK_T_IN || row->in == 0)
    g_assert_cmpuint (written, ==, row->in + 1);
}

static void
run (Fixture *f, const Row *row, guint how_out, guint how_in)
{
  VtBuf bufs[MAX_BUFS];
  guint32 written;
  guint n = 0;

  fill (f, row);
  cut (bufs, &n, f->out, 16 + row->out, how_out, FALSE);
  cut (bufs, &n, f->in, row->in + 1, how_in, TRUE);
  g_assert_true (vt_ring_add (f->ring, bufs, n, f));
  vt_ring_kick (f->ring);
  g_assert_true (vt_ring_take (f->ring, &written) == f);
  check_answer (f, row, written);
  follow (f, row);
}

static void
run_all (Fixture *f, const Row *rows, guint n)
{
  for (guint i = 0; i < n; i++)
    for (guint out = 0; out < G_N_ELEMENTS (cuts); out++)
      for (guint in = 0; in < G_N_ELEMENTS (cuts); in++)
        run (f, &rows[i], out, in);
}

static void
start (Fixture *f, guint what, VtRingFlags flags)
{
  g_autoptr (GError) error = NULL;
  VtDisk *disk = &f->disk;

  vt_disk_init (disk, FALSE);
  f->out = vt_guest_alloc (disk->guest, 1 << 17, 4096);
  f->in = vt_guest_alloc (disk->guest, 1 << 17, 4096);
  f->ring = vt_ring_new (disk->guest, 1, 256, flags);
  disk->rig = vt_rig_open (disk->guest, &vd_blk_ops, &error, "image",
                           disk->path, "serial", "shape", "read-only",
                           what & READ_ONLY ? "yes" : "no", "discard",
                           what & NO_DISCARD ? "no" : "yes", "lifetime",
                           what & ALL ? "1,2,3" : "off", "secure-erase",
                           what & ALL ? "overwrite" : "off", NULL);
  g_assert_no_error (error);
  vt_ring_reset (f->ring, 0);
  vt_rig_start_ring (disk->rig, f->ring);
}

static void
test_any_layout_means_the_same (gconstpointer data)
{
  static const guint kinds[] = { READ_ONLY, NO_DISCARD, ALL };
  VtRingFlags flags = GPOINTER_TO_UINT (data);

  for (guint i = 0; i < G_N_ELEMENTS (kinds); i++) {
    Fixture f = { 0 };

    start (&f, kinds[i], flags);
    run_all (&f, common, G_N_ELEMENTS (common));
    if (kinds[i] & READ_ONLY)
      run_all (&f, read_only, G_N_ELEMENTS (read_only));
    else
      run_all (&f, writable, G_N_ELEMENTS (writable));
    if (kinds[i] & NO_DISCARD)
      run_all (&f, not_offered, G_N_ELEMENTS (not_offered));
    if (!(kinds[i] & ALL))
      vt_disk_check (&f.disk);
    else
      run_all (&f, offered, G_N_ELEMENTS (offered));
    vt_rig_free (g_steal_pointer (&f.disk.rig));
    vt_ring_free (f.ring);
    vt_disk_tear_down (&f.disk, NULL);
  }
}

int
main (int argc, char **argv)
{
  static const struct {
    const char *name;
    VtRingFlags flags;
  } rings[] = {
    { "split", VT_RING_EVENT_IDX },
    { "indirect", VT_RING_INDIRECT },
    { "packed", VT_RING_PACKED | VT_RING_EVENT_IDX },
    { "packed-indirect", VT_RING_PACKED | VT_RING_INDIRECT },
  };

  g_test_init (&argc, &argv, NULL);
  for (guint i = 0; i < G_N_ELEMENTS (rings); i++) {
    g_autofree char *path = g_strdup_printf ("/blk/shapes/%s", rings[i].name);

    g_test_add_data_func (path, GUINT_TO_POINTER (rings[i].flags),
                          test_any_layout_means_the_same);
  }
  return g_test_run ();
}
