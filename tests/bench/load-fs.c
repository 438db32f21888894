/* SPDX-License-Identifier: BSD-3-Clause
 *
 * load-fs.c - what a guest's kernel asks of a shared directory
 *
 * The run has a folder of its own in it, with as many files of 4 KiB as asked
 * for and one long file, which stay when the run is broken off.
 */
#include <errno.h>
#include <fcntl.h>
#include <stddef.h>
#include <stdio.h>
#include <string.h>
#include <unistd.h>

#include "tests/bench/vbench.h"
#include "tests/devices/fs/fuse-client.h"

#define FILE_LEN  4096u
#define PAGE      4096u
#define LIST_LEN  (32u << 10) /* of a READDIRPLUS, as Linux asks */
#define SPAN      (64ull << 20)
#define NAME_LEN  32
#define MESSAGE   512u
#define MAX_WRITE (128u << 10)

typedef struct {
  VtFuse fuse;
  char name[NAME_LEN];
  guint64 nodeid, data_nodeid, data_fh;
  guint64 *files; /* nodeids */
  guint n_files;
  guint64 bs, n_blocks;
  guint n_queues, depth;
  gboolean no_flush; /* the back-end needs none, so the kernel sends none */
} Folder;

typedef struct {
  VbOp parent;
  guint8 *out, *in, *data;
  guint64 nodeid, fh, offset;
  gboolean made, moved; /* rename: the file exists, and has its other name */
  char name[NAME_LEN];
} Op;

static Folder *
folder_of (const VbLane *lane)
{
  return lane->load->data;
}

/* Messages. */

static void
init_op (VbLane *lane, VbOp *parent)
{
  VtGuest *guest = lane->load->guest;
  Op *op = (Op *) parent;
  guint64 len = MAX (MAX (folder_of (lane)->bs, LIST_LEN), FILE_LEN);

  op->out = vt_guest_alloc (guest, MESSAGE, 64);
  op->in = vt_guest_alloc (guest, MESSAGE, 64);
  op->data = vt_guest_alloc (guest, len, PAGE);
  memset (op->data, 0x5a, len);
}

/* Adds a message of @args and what follows them; the answer's payload has
 * @reply_len bytes beside the operation's data.
 * @data_len: of op->data; negative: to be read by the device */
static void
ask (VbLane *lane, Op *op, guint32 opcode, guint64 nodeid, const void *args,
     gsize args_len, const char *name, gsize reply_len, gint64 data_len)
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

static const void *
answer (const Op *op)
{
  return op->in + sizeof (struct fuse_out_header);
}

/* Checks the answer.  Returns: the length of its payload. */
static guint32
check (const Op *op, int expected)
{
  const struct fuse_in_header *in = (const void *) op->out;
  const struct fuse_out_header *out = (const void *) op->in;

  if (out->error != expected || out->unique != in->unique)
    g_error ("FUSE request %u of %" G_GUINT64_FORMAT " answered %d, not %d",
             in->opcode, (guint64) in->nodeid, out->error, expected);
  return out->len - (guint32) sizeof *out;
}

static void
ask_lookup (VbLane *lane, Op *op, const char *name)
{
  ask (lane, op, FUSE_LOOKUP, folder_of (lane)->nodeid, NULL, 0, name,
       sizeof (struct fuse_entry_out), 0);
}

static void
ask_open (VbLane *lane, Op *op, guint32 opcode)
{
  const struct fuse_open_in in = { .flags = O_RDONLY };

  ask (lane, op, opcode, op->nodeid, &in, sizeof in, NULL,
       sizeof (struct fuse_open_out), 0);
}

static void
ask_flush (VbLane *lane, Op *op)
{
  const struct fuse_flush_in in = { .fh = op->fh };

  ask (lane, op, FUSE_FLUSH, op->nodeid, &in, sizeof in, NULL, 0, 0);
}

/* The stage that follows one whose answer came: that of FLUSH is skipped where
 * the kernel would skip it. */
static guint
next_stage (VbLane *lane, guint stage, guint flush)
{
  return stage + 1 == flush && folder_of (lane)->no_flush ? stage + 2
                                                          : stage + 1;
}

static void
ask_release (VbLane *lane, Op *op, guint32 opcode)
{
  const struct fuse_release_in in = { .fh = op->fh, .flags = O_RDONLY };

  ask (lane, op, opcode, op->nodeid, &in, sizeof in, NULL, 0, 0);
}

static void
ask_read (VbLane *lane, Op *op, guint32 opcode, guint64 nodeid, guint64 fh,
          guint64 len)
{
  const struct fuse_read_in in = { .fh = fh,
                                   .offset = op->offset,
                                   .size = (guint32) len };

  ask (lane, op, opcode, nodeid, &in, sizeof in, NULL, 0, (gint64) len);
}

static void
ask_create (VbLane *lane, Op *op)
{
  const struct fuse_create_in in = { .flags = O_RDWR | O_CREAT,
                                     .mode = S_IFREG | 0644 };

  ask (lane, op, FUSE_CREATE, folder_of (lane)->nodeid, &in, sizeof in,
       op->name, sizeof (struct fuse_entry_out) + sizeof (struct fuse_open_out),
       0);
}

static void
take_entry (Op *op)
{
  const struct fuse_entry_out *entry = answer (op);

  op->nodeid = entry->nodeid;
}

static void
take_open (Op *op, gsize offset)
{
  const struct fuse_open_out *opened =
      (const void *) ((const guint8 *) answer (op) + offset);

  op->fh = opened->fh;
}

/* Workloads. */

static void
random_name (VbLane *lane, char *name, const char *prefix)
{
  g_snprintf (
      name, NAME_LEN, "%s%d", prefix,
      g_rand_int_range (lane->rand, 0, (gint32) folder_of (lane)->n_files));
}

static void
step_stat (VbLane *lane, VbOp *parent)
{
  const struct fuse_getattr_in in = { 0 };
  Op *op = (Op *) parent;

  if (parent->stage == 0) {
    random_name (lane, op->name, "f");
    ask_lookup (lane, op, op->name);
  } else
    ask (lane, op, FUSE_GETATTR, op->nodeid, &in, sizeof in, NULL,
         sizeof (struct fuse_attr_out), 0);
}

static gboolean
done_stat (VbLane *lane, VbOp *parent, guint32 written)
{
  check ((Op *) parent, 0);
  if (parent->stage == 0)
    take_entry ((Op *) parent);
  return parent->stage++ == 1;
}

static void
step_negative (VbLane *lane, VbOp *parent)
{
  Op *op = (Op *) parent;

  random_name (lane, op->name, "absent");
  ask_lookup (lane, op, op->name);
}

/* With or without an entry that says for how long. */
static gboolean
done_negative (VbLane *lane, VbOp *parent, guint32 written)
{
  const struct fuse_out_header *out = (const void *) ((Op *) parent)->in;

  check ((Op *) parent, out->error == 0 ? 0 : -ENOENT);
  return TRUE;
}

static void
step_open (VbLane *lane, VbOp *parent)
{
  const Folder *folder = folder_of (lane);
  Op *op = (Op *) parent;

  switch (parent->stage) {
  case 0:
    op->nodeid =
        folder
            ->files[g_rand_int_range (lane->rand, 0, (gint32) folder->n_files)];
    ask_open (lane, op, FUSE_OPEN);
    break;
  case 1: ask_flush (lane, op); break;
  default: ask_release (lane, op, FUSE_RELEASE); break;
  }
}

static gboolean
done_open (VbLane *lane, VbOp *parent, guint32 written)
{
  check ((Op *) parent, 0);
  if (parent->stage == 0)
    take_open ((Op *) parent, 0);
  parent->stage = next_stage (lane, parent->stage, 1);
  return parent->stage == 3;
}

static void
step_small_read (VbLane *lane, VbOp *parent)
{
  Op *op = (Op *) parent;

  switch (parent->stage) {
  case 0:
    random_name (lane, op->name, "f");
    ask_lookup (lane, op, op->name);
    break;
  case 1: ask_open (lane, op, FUSE_OPEN); break;
  case 2:
    op->offset = 0;
    ask_read (lane, op, FUSE_READ, op->nodeid, op->fh, FILE_LEN);
    break;
  case 3: ask_flush (lane, op); break;
  default: ask_release (lane, op, FUSE_RELEASE); break;
  }
}

static gboolean
done_small_read (VbLane *lane, VbOp *parent, guint32 written)
{
  Op *op = (Op *) parent;
  guint32 len = check (op, 0);

  if (parent->stage == 0)
    take_entry (op);
  else if (parent->stage == 1)
    take_open (op, 0);
  else if (parent->stage == 2)
    lane->n_bytes += len;
  parent->stage = next_stage (lane, parent->stage, 3);
  return parent->stage == 5;
}

static void
step_create (VbLane *lane, VbOp *parent)
{
  Op *op = (Op *) parent;

  g_snprintf (op->name, NAME_LEN, "c%u-%u", lane->index, parent->index);
  if (parent->stage == 0)
    ask_create (lane, op);
  else if (parent->stage == 1)
    ask_release (lane, op, FUSE_RELEASE);
  else
    ask (lane, op, FUSE_UNLINK, folder_of (lane)->nodeid, NULL, 0, op->name, 0,
         0);
}

static gboolean
done_create (VbLane *lane, VbOp *parent, guint32 written)
{
  Op *op = (Op *) parent;

  check (op, 0);
  if (parent->stage == 0) {
    take_entry (op);
    take_open (op, sizeof (struct fuse_entry_out));
  }
  return parent->stage++ == 2;
}

/* The first operation makes the file. */
static void
step_rename (VbLane *lane, VbOp *parent)
{
  struct {
    struct fuse_rename_in in;
    char names[2 * NAME_LEN];
  } __attribute__ ((packed)) args = { .in.newdir = folder_of (lane)->nodeid };
  Op *op = (Op *) parent;
  char other[NAME_LEN];
  gsize len;

  g_snprintf (op->name, NAME_LEN, "r%u-%u%s", lane->index, parent->index,
              op->moved ? "x" : "");
  g_snprintf (other, NAME_LEN, "r%u-%u%s", lane->index, parent->index,
              op->moved ? "" : "x");
  if (!op->made && parent->stage == 0)
    ask_create (lane, op);
  else if (!op->made && parent->stage == 1)
    ask_release (lane, op, FUSE_RELEASE);
  else {
    len = strlen (op->name) + 1;
    memcpy (args.names, op->name, len);
    ask (lane, op, FUSE_RENAME, folder_of (lane)->nodeid, &args,
         sizeof args.in + len, other, 0, 0);
  }
}

static gboolean
done_rename (VbLane *lane, VbOp *parent, guint32 written)
{
  Op *op = (Op *) parent;

  check (op, 0);
  if (op->made || parent->stage == 2) {
    op->made = TRUE;
    op->moved = !op->moved;
    return TRUE;
  }
  if (parent->stage++ == 0) {
    take_entry (op);
    take_open (op, sizeof (struct fuse_entry_out));
  }
  return FALSE;
}

static void
step_list (VbLane *lane, VbOp *parent)
{
  Op *op = (Op *) parent;

  op->nodeid = folder_of (lane)->nodeid;
  switch (parent->stage) {
  case 0:
    op->offset = 0;
    ask_open (lane, op, FUSE_OPENDIR);
    break;
  case 1:
    ask_read (lane, op, FUSE_READDIRPLUS, op->nodeid, op->fh, LIST_LEN);
    break;
  default: ask_release (lane, op, FUSE_RELEASEDIR); break;
  }
}

/* Reads the whole folder: until an answer is empty. */
static gboolean
done_list (VbLane *lane, VbOp *parent, guint32 written)
{
  Op *op = (Op *) parent;
  guint32 len = check (op, 0), at = 0;

  if (parent->stage == 0)
    take_open (op, 0);
  while (parent->stage == 1 && at < len) {
    const struct fuse_direntplus *entry = (const void *) (op->data + at);

    op->offset = entry->dirent.off;
    at += (guint32) FUSE_DIRENTPLUS_SIZE (entry);
  }
  lane->n_bytes += at;
  if (parent->stage == 1 && len > 0)
    return FALSE;
  return parent->stage++ == 2;
}

static guint64
random_block (VbLane *lane)
{
  return (guint64) (g_rand_double (lane->rand) *
                    (gdouble) folder_of (lane)->n_blocks);
}

static guint64
next_block (VbLane *lane)
{
  guint64 n = folder_of (lane)->n_blocks;
  guint64 stretch = MAX (n / lane->load->n_lanes, 1);

  return (lane->index * stretch + lane->position++ % stretch) % n;
}

static void
read_block (VbLane *lane, VbOp *parent, guint64 block)
{
  const Folder *folder = folder_of (lane);
  Op *op = (Op *) parent;

  op->offset = block * folder->bs;
  ask_read (lane, op, FUSE_READ, folder->data_nodeid, folder->data_fh,
            folder->bs);
}

static void
write_block (VbLane *lane, VbOp *parent, guint64 block)
{
  const Folder *folder = folder_of (lane);
  const struct fuse_write_in in = { .fh = folder->data_fh,
                                    .offset = block * folder->bs,
                                    .size = (guint32) folder->bs };

  ask (lane, (Op *) parent, FUSE_WRITE, folder->data_nodeid, &in, sizeof in,
       NULL, sizeof (struct fuse_write_out), -(gint64) folder->bs);
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
  guint32 len = check ((Op *) op, 0);

  if (len != folder_of (lane)->bs)
    g_error ("a read of %" G_GUINT64_FORMAT " bytes brought %u",
             folder_of (lane)->bs, len);
  lane->n_bytes += len;
  return TRUE;
}

static gboolean
done_write (VbLane *lane, VbOp *parent, guint32 written)
{
  const Op *op = (Op *) parent;
  const struct fuse_write_out *out = answer (op);

  check (op, 0);
  if (out->size != folder_of (lane)->bs)
    g_error ("a write of %" G_GUINT64_FORMAT " bytes took %u",
             folder_of (lane)->bs, out->size);
  lane->n_bytes += out->size;
  return TRUE;
}

/* The folder. */

static void
must (int result, const char *what)
{
  if (result < 0)
    g_error ("%s: %s", what, g_strerror (-result));
}

/* Returns: the nodeid of a new file of @len bytes, which stays open. */
static guint64
make_file (Folder *folder, const char *name, guint64 len, guint64 *fh)
{
  g_autofree guint8 *bytes = g_malloc0 (MAX_WRITE);
  VtFuse *fuse = &folder->fuse;
  guint64 nodeid;

  must (vt_fuse_create (fuse, folder->nodeid, name, O_RDWR | O_CREAT, 0644,
                        &nodeid, fh),
        name);
  for (guint64 at = 0; at < len; at += MAX_WRITE)
    must ((int) vt_fuse_write (fuse, nodeid, *fh, at, bytes,
                               (guint32) MIN (len - at, MAX_WRITE)),
          name);
  return nodeid;
}

static void
learn_flush (Folder *folder)
{
  const struct fuse_flush_in in = { .fh = folder->data_fh };

  folder->no_flush =
      vt_fuse_call (&folder->fuse, FUSE_FLUSH, folder->data_nodeid, &in,
                    sizeof in, NULL, 0, NULL, 0) == -ENOSYS;
}

static gpointer
open_folder (VtFrontend *fe, const VbWork *work, const VbOptions *options)
{
  Folder *folder = g_new0 (Folder, 1);
  guint64 span = options->span != 0 ? options->span : SPAN, fh;

  folder->bs = options->bs;
  folder->n_blocks = MAX (span / options->bs, 1);
  folder->n_files = options->files;
  folder->n_queues = options->queues;
  folder->depth = options->depth;
  folder->files = g_new (guint64, options->files);
  vt_fuse_init_client (&folder->fuse, fe->rings[1]);
  must (vt_fuse_init (&folder->fuse, 0), "FUSE_INIT");
  g_snprintf (folder->name, NAME_LEN, "vbench-%d", (int) getpid ());
  must (vt_fuse_mkdir (&folder->fuse, FUSE_ROOT_ID, folder->name, 0755,
                       &folder->nodeid),
        folder->name);
  for (guint i = 0; i < folder->n_files; i++) {
    char name[NAME_LEN];

    g_snprintf (name, sizeof name, "f%u", i);
    folder->files[i] = make_file (folder, name, FILE_LEN, &fh);
    must (vt_fuse_release (&folder->fuse, folder->files[i], fh), name);
  }
  folder->data_nodeid = make_file (
      folder, "data", folder->n_blocks * folder->bs, &folder->data_fh);
  learn_flush (folder);
  return folder;
}

static void
close_folder (gpointer data)
{
  Folder *folder = data;
  char name[NAME_LEN];

  vt_fuse_release (&folder->fuse, folder->data_nodeid, folder->data_fh);
  vt_fuse_unlink (&folder->fuse, folder->nodeid, "data");
  for (guint i = 0; i < folder->n_files; i++) {
    g_snprintf (name, sizeof name, "f%u", i);
    vt_fuse_unlink (&folder->fuse, folder->nodeid, name);
  }
  for (guint lane = 0; lane < folder->n_queues; lane++)
    for (guint i = 0; i < folder->depth; i++) {
      g_snprintf (name, sizeof name, "r%u-%u", lane, i);
      vt_fuse_unlink (&folder->fuse, folder->nodeid, name);
      g_strlcat (name, "x", sizeof name);
      vt_fuse_unlink (&folder->fuse, folder->nodeid, name);
    }
  vt_fuse_rmdir (&folder->fuse, FUSE_ROOT_ID, folder->name);
  g_free (folder->files);
  g_free (folder);
}

#define WORK(name, help, step, done)                                           \
  &(const VbWork)                                                              \
  {                                                                            \
    name, help, sizeof (Op), init_op, step, done                               \
  }

static const VbWork *const works[] = {
  WORK ("stat", "LOOKUP and GETATTR", step_stat, done_stat),
  WORK ("negative", "LOOKUP of what is not there", step_negative,
        done_negative),
  WORK ("open", "OPEN, FLUSH if the back-end wants it, RELEASE", step_open,
        done_open),
  WORK ("create", "CREATE, RELEASE, UNLINK", step_create, done_create),
  WORK ("rename", "RENAME, to and fro", step_rename, done_rename),
  WORK ("small-read", "LOOKUP, OPEN, READ of 4k, FLUSH, RELEASE",
        step_small_read, done_small_read),
  WORK ("list", "OPENDIR, READDIRPLUS of all, RELEASEDIR", step_list,
        done_list),
  WORK ("randread", "READ anywhere", step_randread, done_read),
  WORK ("randwrite", "WRITE anywhere", step_randwrite, done_write),
  WORK ("read", "READ one after the other", step_read, done_read),
  WORK ("write", "WRITE one after the other", step_write, done_write),
  NULL,
};

const VbKind vb_fs = {
  .name = "fs",
  .first_ring = 1, /* 0 is for urgent requests */
  .works = works,
  .open = open_folder,
  .close = close_folder,
};
