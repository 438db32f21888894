/* SPDX-License-Identifier: BSD-3-Clause
 *
 * load-fs-message.c - the FUSE messages of workloads
 */
#include <fcntl.h>
#include <string.h>

#include "tests/bench/load-fs.h"

#define PAGE    4096u
#define MESSAGE 512u

VbFolder *
vb_fs_folder (const VbLane *lane)
{
  return lane->load->data;
}

void
vb_fs_init_op (VbLane *lane, VbOp *parent)
{
  VtGuest *guest = lane->load->guest;
  VbFsOp *op = (VbFsOp *) parent;
  guint64 len =
      MAX (MAX (vb_fs_folder (lane)->bs, VB_FS_LIST_LEN), VB_FS_FILE_LEN);

  op->out = vt_guest_alloc (guest, MESSAGE, 64);
  op->in = vt_guest_alloc (guest, MESSAGE, 64);
  op->data = vt_guest_alloc (guest, len, PAGE);
  memset (op->data, 0x5a, len);
}

void
vb_fs_ask (VbLane *lane, VbFsOp *op, guint32 opcode, guint64 nodeid,
           const void *args, gsize args_len, const char *name, gsize reply_len,
           gint64 data_len)
{
  struct fuse_in_header *header = (void *) op->out;
  gsize name_len = name != NULL ? strlen (name) + 1 : 0;
  guint32 head = (guint32) (sizeof *header + args_len + name_len);
  VtBuf bufs[4];
  guint n = 0;

  *header = (struct fuse_in_header){
    .len = head + (guint32) (data_len < 0 ? -data_len : 0),
    .opcode = opcode,
    .unique = (op->parent.index + 1) * 2,
    .nodeid = nodeid,
    .pid = 1,
  };
  memcpy (op->out + sizeof *header, args, args_len);
  if (name != NULL)
    memcpy (op->out + sizeof *header + args_len, name, name_len);
  bufs[n++] = (VtBuf){ op->out, head, FALSE };
  if (data_len < 0)
    bufs[n++] = (VtBuf){ op->data, (guint32) -data_len, FALSE };
  bufs[n++] =
      (VtBuf){ op->in, (guint32) (sizeof (struct fuse_out_header) + reply_len),
               TRUE };
  if (data_len > 0)
    bufs[n++] = (VtBuf){ op->data, (guint32) data_len, TRUE };
  g_assert_true (vt_ring_add (lane->ring, bufs, n, op));
}

const void *
vb_fs_answer (const VbFsOp *op)
{
  return op->in + sizeof (struct fuse_out_header);
}

guint32
vb_fs_check (const VbFsOp *op, int expected)
{
  const struct fuse_in_header *in = (const void *) op->out;
  const struct fuse_out_header *out = (const void *) op->in;

  if (out->error != expected || out->unique != in->unique)
    g_error ("FUSE request %u of %" G_GUINT64_FORMAT " answered %d, not %d",
             in->opcode, (guint64) in->nodeid, out->error, expected);
  return out->len - (guint32) sizeof *out;
}

void
vb_fs_ask_lookup (VbLane *lane, VbFsOp *op, const char *name)
{
  vb_fs_ask (lane, op, FUSE_LOOKUP, vb_fs_folder (lane)->nodeid, NULL, 0, name,
             sizeof (struct fuse_entry_out), 0);
}

void
vb_fs_ask_open (VbLane *lane, VbFsOp *op, guint32 opcode)
{
  const struct fuse_open_in in = { .flags = O_RDONLY };

  vb_fs_ask (lane, op, opcode, op->nodeid, &in, sizeof in, NULL,
             sizeof (struct fuse_open_out), 0);
}

void
vb_fs_ask_flush (VbLane *lane, VbFsOp *op)
{
  const struct fuse_flush_in in = { .fh = op->fh };

  vb_fs_ask (lane, op, FUSE_FLUSH, op->nodeid, &in, sizeof in, NULL, 0, 0);
}

guint
vb_fs_next_stage (VbLane *lane, guint stage, guint flush)
{
  return stage + 1 == flush && vb_fs_folder (lane)->no_flush ? stage + 2
                                                             : stage + 1;
}

void
vb_fs_ask_release (VbLane *lane, VbFsOp *op, guint32 opcode)
{
  const struct fuse_release_in in = { .fh = op->fh, .flags = O_RDONLY };

  vb_fs_ask (lane, op, opcode, op->nodeid, &in, sizeof in, NULL, 0, 0);
}

void
vb_fs_tell_forget (VbLane *lane, VbFsOp *op)
{
  struct {
    struct fuse_in_header header;
    struct fuse_forget_in in;
  } message = {
    .header = { .len = sizeof message,
                .opcode = FUSE_FORGET,
                .unique = (op->parent.index + 1) * 2,
                .nodeid = op->nodeid },
    .in = { .nlookup = 1 },
  };
  VtBuf buf = { op->out, sizeof message, FALSE };

  memcpy (op->out, &message, sizeof message);
  g_assert_true (vt_ring_add (lane->ring, &buf, 1, op));
}

void
vb_fs_ask_read (VbLane *lane, VbFsOp *op, guint32 opcode, guint64 nodeid,
                guint64 fh, guint64 len)
{
  const struct fuse_read_in in = { .fh = fh,
                                   .offset = op->offset,
                                   .size = (guint32) len };

  vb_fs_ask (lane, op, opcode, nodeid, &in, sizeof in, NULL, 0, (gint64) len);
}

void
vb_fs_ask_create (VbLane *lane, VbFsOp *op)
{
  const struct fuse_create_in in = { .flags = O_RDWR | O_CREAT,
                                     .mode = S_IFREG | 0644 };

  vb_fs_ask (lane, op, FUSE_CREATE, vb_fs_folder (lane)->nodeid, &in, sizeof in,
             op->name,
             sizeof (struct fuse_entry_out) + sizeof (struct fuse_open_out), 0);
}

void
vb_fs_take_entry (VbFsOp *op)
{
  const struct fuse_entry_out *entry = vb_fs_answer (op);

  op->nodeid = entry->nodeid;
}

void
vb_fs_take_open (VbFsOp *op, gsize offset)
{
  const struct fuse_open_out *opened =
      (const void *) ((const guint8 *) vb_fs_answer (op) + offset);

  op->fh = opened->fh;
}
