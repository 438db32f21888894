/* SPDX-License-Identifier: BSD-3-Clause
 *
 * load-blk.c - reads, writes and flushes of a virtio-blk disk
 */
#include <linux/virtio_blk.h>
#include <string.h>

#include "tests/bench/vbench.h"

#define SECTOR      512u
#define PAGE        4096u
#define GET_ID_TYPE VIRTIO_BLK_T_GET_ID

typedef struct {
  VbOp parent;
  struct virtio_blk_outhdr *header;
  guint8 *data, *status;
  guint32 type;
} Op;

typedef struct {
  guint64 n_blocks; /* of bs bytes */
  guint64 bs;
} Disk;

static void
init_op (VbLane *lane, VbOp *parent)
{
  const Disk *disk = lane->load->data;
  VtGuest *guest = lane->load->guest;
  Op *op = (Op *) parent;

  op->header = vt_guest_alloc (guest, sizeof *op->header, 64);
  op->data = vt_guest_alloc (guest, disk->bs, PAGE);
  op->status = vt_guest_alloc (guest, 1, 64);
  for (guint i = 0; i < disk->bs; i += sizeof (guint32))
    *(guint32 *) (void *) (op->data + i) = g_rand_int (lane->rand);
}

static void
send (VbLane *lane, Op *op, guint32 type, guint64 block)
{
  const Disk *disk = lane->load->data;
  VtBuf bufs[3];
  guint n = 0;

  op->type = type;
  *op->header = (struct virtio_blk_outhdr){
    .type = GUINT32_TO_LE (type),
    .sector = GUINT64_TO_LE (block * (disk->bs / SECTOR)),
  };
  *op->status = 0xee;
  bufs[n++] = (VtBuf){ op->header, sizeof *op->header, FALSE };
  if (type == VIRTIO_BLK_T_IN || type == VIRTIO_BLK_T_OUT)
    bufs[n++] =
        (VtBuf){ op->data, (guint32) disk->bs, type == VIRTIO_BLK_T_IN };
  else if (type == GET_ID_TYPE)
    bufs[n++] = (VtBuf){ op->data, VIRTIO_BLK_ID_BYTES, TRUE };
  bufs[n++] = (VtBuf){ op->status, 1, TRUE };
  g_assert_true (vt_ring_add (lane->ring, bufs, n, op));
}

static guint64
random_block (VbLane *lane)
{
  const Disk *disk = lane->load->data;

  return (guint64) (g_rand_double (lane->rand) * (gdouble) disk->n_blocks);
}

/* Each queue has a stretch of its own. */
static guint64
next_block (VbLane *lane)
{
  const Disk *disk = lane->load->data;
  guint64 stretch = MAX (disk->n_blocks / lane->load->n_lanes, 1);

  return (lane->index * stretch + lane->position++ % stretch) % disk->n_blocks;
}

static void
step_randread (VbLane *lane, VbOp *op)
{
  send (lane, (Op *) op, VIRTIO_BLK_T_IN, random_block (lane));
}

static void
step_randwrite (VbLane *lane, VbOp *op)
{
  send (lane, (Op *) op, VIRTIO_BLK_T_OUT, random_block (lane));
}

static void
step_randrw (VbLane *lane, VbOp *op)
{
  send (lane, (Op *) op,
        g_rand_int_range (lane->rand, 0, 10) < 7 ? VIRTIO_BLK_T_IN
                                                 : VIRTIO_BLK_T_OUT,
        random_block (lane));
}

static void
step_read (VbLane *lane, VbOp *op)
{
  send (lane, (Op *) op, VIRTIO_BLK_T_IN, next_block (lane));
}

static void
step_write (VbLane *lane, VbOp *op)
{
  send (lane, (Op *) op, VIRTIO_BLK_T_OUT, next_block (lane));
}

static void
step_flush (VbLane *lane, VbOp *op)
{
  if (op->stage == 0)
    send (lane, (Op *) op, VIRTIO_BLK_T_OUT, random_block (lane));
  else
    send (lane, (Op *) op, VIRTIO_BLK_T_FLUSH, 0);
}

static void
step_id (VbLane *lane, VbOp *op)
{
  send (lane, (Op *) op, GET_ID_TYPE, 0);
}

static gboolean
done (VbLane *lane, VbOp *parent, guint32 written)
{
  const Disk *disk = lane->load->data;
  Op *op = (Op *) parent;

  if (*op->status != VIRTIO_BLK_S_OK)
    g_error ("a request of type %u came back with status %u", op->type,
             *op->status);
  if (op->type == VIRTIO_BLK_T_IN && written != disk->bs + 1)
    g_error ("a read of %" G_GUINT64_FORMAT " bytes has written %u", disk->bs,
             written);
  if (op->type == VIRTIO_BLK_T_IN || op->type == VIRTIO_BLK_T_OUT)
    lane->n_bytes += disk->bs;
  return TRUE;
}

static gboolean
done_flush (VbLane *lane, VbOp *op, guint32 written)
{
  done (lane, op, written);
  return op->stage++ == 1;
}

static gpointer
open_disk (VtFrontend *fe, const VbWork *work, const VbOptions *options)
{
  struct virtio_blk_config config = { 0 };
  Disk *disk = g_new0 (Disk, 1);
  guint64 size;

  g_assert_true (vt_get_config (fe, 0, &config, sizeof config.capacity));
  size = GUINT64_FROM_LE (config.capacity) * SECTOR;
  if (options->span != 0)
    size = MIN (size, options->span);
  disk->bs = options->bs;
  disk->n_blocks = size / disk->bs;
  if (disk->bs % SECTOR != 0 || disk->n_blocks == 0)
    g_error ("blocks of %" G_GUINT64_FORMAT " bytes do not fit the disk",
             disk->bs);
  return disk;
}

#define WORK(title, text, begin, end)                                          \
  &(const VbWork)                                                              \
  {                                                                            \
    .name = title, .help = text, .op_size = sizeof (Op), .init = init_op,      \
    .step = begin, .done = end                                                 \
  }

static const VbWork *const works[] = {
  WORK ("randread", "reads anywhere", step_randread, done),
  WORK ("randwrite", "writes anywhere", step_randwrite, done),
  WORK ("randrw", "seven reads for three writes, anywhere", step_randrw, done),
  WORK ("read", "reads one after the other", step_read, done),
  WORK ("write", "writes one after the other", step_write, done),
  WORK ("flush", "a write anywhere, then a flush", step_flush, done_flush),
  WORK ("get-id", "requests without I/O: what the protocol costs", step_id,
        done),
  NULL,
};

const VbKind vb_blk = {
  .name = "blk",
  .config_len = 60,
  .works = works,
  .open = open_disk,
  .close = g_free,
};
