/* SPDX-License-Identifier: BSD-3-Clause
 *
 * load-fs-data.c - workloads that read and write one long file
 */
#include "tests/bench/load-fs.h"

static guint64
random_block (VbLane *lane)
{
  return (guint64) (g_rand_double (lane->rand) *
                    (gdouble) vb_fs_folder (lane)->n_blocks);
}

static guint64
next_block (VbLane *lane)
{
  guint64 n = vb_fs_folder (lane)->n_blocks;
  guint64 stretch = MAX (n / lane->load->n_lanes, 1);

  return (lane->index * stretch + lane->position++ % stretch) % n;
}

static void
read_block (VbLane *lane, VbOp *parent, guint64 block)
{
  const VbFolder *folder = vb_fs_folder (lane);
  VbFsOp *op = (VbFsOp *) parent;

  op->offset = block * folder->bs;
  vb_fs_ask_read (lane, op, FUSE_READ, folder->data_nodeid, folder->data_fh,
                  folder->bs);
}

static void
write_block (VbLane *lane, VbOp *parent, guint64 block)
{
  const VbFolder *folder = vb_fs_folder (lane);
  const struct fuse_write_in in = { .fh = folder->data_fh,
                                    .offset = block * folder->bs,
                                    .size = (guint32) folder->bs };

  vb_fs_ask (lane, (VbFsOp *) parent, FUSE_WRITE, folder->data_nodeid, &in,
             sizeof in, NULL, sizeof (struct fuse_write_out),
             -(gint64) folder->bs);
}

static void
step_randread (VbLane *lane, VbOp *op)
{
  read_block (lane, op, random_block (lane));
}

static void
step_read (VbLane *lane, VbOp *op)
{
  read_block (lane, op, next_block (lane));
}

static void
step_randwrite (VbLane *lane, VbOp *op)
{
  write_block (lane, op, random_block (lane));
}

static void
step_write (VbLane *lane, VbOp *op)
{
  write_block (lane, op, next_block (lane));
}

static gboolean
done_read (VbLane *lane, VbOp *op, guint32 written)
{
  guint32 len = vb_fs_check ((VbFsOp *) op, 0);

  if (len != vb_fs_folder (lane)->bs)
    g_error ("a read of %" G_GUINT64_FORMAT " bytes brought %u",
             vb_fs_folder (lane)->bs, len);
  lane->n_bytes += len;
  return TRUE;
}

static gboolean
done_write (VbLane *lane, VbOp *parent, guint32 written)
{
  const VbFsOp *op = (VbFsOp *) parent;
  const struct fuse_write_out *out = vb_fs_answer (op);

  vb_fs_check (op, 0);
  if (out->size != vb_fs_folder (lane)->bs)
    g_error ("a write of %" G_GUINT64_FORMAT " bytes took %u",
             vb_fs_folder (lane)->bs, out->size);
  lane->n_bytes += out->size;
  return TRUE;
}

#define WORK(id, title, text, begin, end)                                      \
  const VbWork id = { .name = title,                                           \
                      .help = text,                                            \
                      .needs = VB_FS_DATA,                                     \
                      .op_size = sizeof (VbFsOp),                              \
                      .init = vb_fs_init_op,                                   \
                      .step = begin,                                           \
                      .done = end }

WORK (vb_fs_randread, "randread", "READ anywhere", step_randread, done_read);
WORK (vb_fs_randwrite, "randwrite", "WRITE anywhere", step_randwrite,
      done_write);
WORK (vb_fs_read, "read", "READ one after the other", step_read, done_read);
WORK (vb_fs_write, "write", "WRITE one after the other", step_write,
      done_write);
