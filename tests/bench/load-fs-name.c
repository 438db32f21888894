/* SPDX-License-Identifier: BSD-3-Clause
 *
 * load-fs-name.c - workloads about names: what a guest's kernel asks when files
 * are looked at, opened, made, renamed and listed
 */
#include <errno.h>
#include <stddef.h>
#include <string.h>

#include "tests/bench/load-fs.h"

static void
random_name (VbLane *lane, char *name, const char *prefix)
{
  g_snprintf (
      name, VB_FS_NAME_LEN, "%s%d", prefix,
      g_rand_int_range (lane->rand, 0, (gint32) vb_fs_folder (lane)->n_files));
}

static void
step_stat (VbLane *lane, VbOp *parent)
{
  const struct fuse_getattr_in in = { 0 };
  VbFsOp *op = (VbFsOp *) parent;

  if (parent->stage == 0) {
    random_name (lane, op->name, "f");
    vb_fs_ask_lookup (lane, op, op->name);
  } else
    vb_fs_ask (lane, op, FUSE_GETATTR, op->nodeid, &in, sizeof in, NULL,
               sizeof (struct fuse_attr_out), 0);
}

static gboolean
done_stat (VbLane *lane, VbOp *parent, guint32 written)
{
  vb_fs_check ((VbFsOp *) parent, 0);
  if (parent->stage == 0)
    vb_fs_take_entry ((VbFsOp *) parent);
  return parent->stage++ == 1;
}

static void
step_negative (VbLane *lane, VbOp *parent)
{
  VbFsOp *op = (VbFsOp *) parent;

  random_name (lane, op->name, "absent");
  vb_fs_ask_lookup (lane, op, op->name);
}

/* With or without an entry that says for how long. */
static gboolean
done_negative (VbLane *lane, VbOp *parent, guint32 written)
{
  const struct fuse_out_header *out = (const void *) ((VbFsOp *) parent)->in;

  vb_fs_check ((VbFsOp *) parent, out->error == 0 ? 0 : -ENOENT);
  return TRUE;
}

static void
step_open (VbLane *lane, VbOp *parent)
{
  const VbFolder *folder = vb_fs_folder (lane);
  VbFsOp *op = (VbFsOp *) parent;

  switch (parent->stage) {
  case 0:
    op->nodeid =
        folder
            ->files[g_rand_int_range (lane->rand, 0, (gint32) folder->n_files)];
    vb_fs_ask_open (lane, op, FUSE_OPEN);
    break;
  case 1: vb_fs_ask_flush (lane, op); break;
  default: vb_fs_ask_release (lane, op, FUSE_RELEASE); break;
  }
}

static gboolean
done_open (VbLane *lane, VbOp *parent, guint32 written)
{
  vb_fs_check ((VbFsOp *) parent, 0);
  if (parent->stage == 0)
    vb_fs_take_open ((VbFsOp *) parent, 0);
  parent->stage = vb_fs_next_stage (lane, parent->stage, 1);
  return parent->stage == 3;
}

static void
step_small_read (VbLane *lane, VbOp *parent)
{
  VbFsOp *op = (VbFsOp *) parent;

  switch (parent->stage) {
  case 0:
    random_name (lane, op->name, "f");
    vb_fs_ask_lookup (lane, op, op->name);
    break;
  case 1: vb_fs_ask_open (lane, op, FUSE_OPEN); break;
  case 2:
    op->offset = 0;
    vb_fs_ask_read (lane, op, FUSE_READ, op->nodeid, op->fh, VB_FS_FILE_LEN);
    break;
  case 3: vb_fs_ask_flush (lane, op); break;
  default: vb_fs_ask_release (lane, op, FUSE_RELEASE); break;
  }
}

static gboolean
done_small_read (VbLane *lane, VbOp *parent, guint32 written)
{
  VbFsOp *op = (VbFsOp *) parent;
  guint32 len = vb_fs_check (op, 0);

  if (parent->stage == 0)
    vb_fs_take_entry (op);
  else if (parent->stage == 1)
    vb_fs_take_open (op, 0);
  else if (parent->stage == 2)
    lane->n_bytes += len;
  parent->stage = vb_fs_next_stage (lane, parent->stage, 3);
  return parent->stage == 5;
}

static void
step_create (VbLane *lane, VbOp *parent)
{
  VbFsOp *op = (VbFsOp *) parent;

  g_snprintf (op->name, VB_FS_NAME_LEN, "c%u-%u", lane->index, parent->index);
  if (parent->stage == 0)
    vb_fs_ask_create (lane, op);
  else if (parent->stage == 1)
    vb_fs_ask_release (lane, op, FUSE_RELEASE);
  else if (parent->stage == 2)
    vb_fs_ask (lane, op, FUSE_UNLINK, vb_fs_folder (lane)->nodeid, NULL, 0,
               op->name, 0, 0);
  else
    vb_fs_tell_forget (lane, op);
}

static gboolean
done_create (VbLane *lane, VbOp *parent, guint32 written)
{
  VbFsOp *op = (VbFsOp *) parent;

  if (parent->stage < 3)
    vb_fs_check (op, 0);
  if (parent->stage == 0) {
    vb_fs_take_entry (op);
    vb_fs_take_open (op, sizeof (struct fuse_entry_out));
  }
  return parent->stage++ == 3;
}

/* The first operation makes the file. */
static void
step_rename (VbLane *lane, VbOp *parent)
{
  struct {
    struct fuse_rename_in in;
    char names[2 * VB_FS_NAME_LEN];
  } __attribute__ ((packed))
  args = { .in.newdir = vb_fs_folder (lane)->nodeid };
  VbFsOp *op = (VbFsOp *) parent;
  char other[VB_FS_NAME_LEN];
  gsize len;

  g_snprintf (op->name, VB_FS_NAME_LEN, "r%u-%u%s", lane->index, parent->index,
              op->moved ? "x" : "");
  g_snprintf (other, VB_FS_NAME_LEN, "r%u-%u%s", lane->index, parent->index,
              op->moved ? "" : "x");
  if (!op->made && parent->stage == 0)
    vb_fs_ask_create (lane, op);
  else if (!op->made && parent->stage == 1)
    vb_fs_ask_release (lane, op, FUSE_RELEASE);
  else {
    len = strlen (op->name) + 1;
    memcpy (args.names, op->name, len);
    vb_fs_ask (lane, op, FUSE_RENAME, vb_fs_folder (lane)->nodeid, &args,
               sizeof args.in + len, other, 0, 0);
  }
}

static gboolean
done_rename (VbLane *lane, VbOp *parent, guint32 written)
{
  VbFsOp *op = (VbFsOp *) parent;

  vb_fs_check (op, 0);
  if (op->made || parent->stage == 2) {
    op->made = TRUE;
    op->moved = !op->moved;
    return TRUE;
  }
  if (parent->stage++ == 0) {
    vb_fs_take_entry (op);
    vb_fs_take_open (op, sizeof (struct fuse_entry_out));
  }
  return FALSE;
}

/* Listings: stage 0 is LOOKUP of a folder of the tree. */
static void
step_listing (VbLane *lane, VbFsOp *op)
{
  switch (op->parent.stage) {
  case 1:
    op->offset = 0;
    vb_fs_ask_open (lane, op, FUSE_OPENDIR);
    break;
  case 2:
    vb_fs_ask_read (lane, op, FUSE_READDIRPLUS, op->nodeid, op->fh,
                    VB_FS_LIST_LEN);
    break;
  default: vb_fs_ask_release (lane, op, FUSE_RELEASEDIR); break;
  }
}

static void
step_list (VbLane *lane, VbOp *parent)
{
  VbFsOp *op = (VbFsOp *) parent;

  if (parent->stage == 0) {
    op->nodeid = vb_fs_folder (lane)->nodeid;
    parent->stage = 1;
  }
  step_listing (lane, op);
}

static void
step_tree (VbLane *lane, VbOp *parent)
{
  VbFsOp *op = (VbFsOp *) parent;

  if (parent->stage > 0)
    step_listing (lane, op);
  else {
    g_snprintf (op->name, VB_FS_NAME_LEN, "d%u",
                (guint) (lane->position++ % VB_FS_FOLDERS));
    vb_fs_ask_lookup (lane, op, op->name);
  }
}

/* Reads the whole folder: until an answer is empty. */
static gboolean
done_listing (VbLane *lane, VbOp *parent, guint32 written)
{
  VbFsOp *op = (VbFsOp *) parent;
  guint32 len = vb_fs_check (op, 0), at = 0;

  if (parent->stage == 0)
    vb_fs_take_entry (op);
  else if (parent->stage == 1)
    vb_fs_take_open (op, 0);
  while (parent->stage == 2 && at < len) {
    const struct fuse_direntplus *entry = (const void *) (op->data + at);

    op->offset = entry->dirent.off;
    at += (guint32) FUSE_DIRENTPLUS_SIZE (entry);
  }
  lane->n_bytes += at;
  if (parent->stage == 2 && len > 0)
    return FALSE;
  return parent->stage++ == 3;
}

#define WORK(id, title, text, need, begin, end)                                \
  const VbWork id = { .name = title,                                           \
                      .help = text,                                            \
                      .needs = need,                                           \
                      .op_size = sizeof (VbFsOp),                              \
                      .init = vb_fs_init_op,                                   \
                      .step = begin,                                           \
                      .done = end }

WORK (vb_fs_stat, "stat", "LOOKUP and GETATTR", VB_FS_FILES, step_stat,
      done_stat);
WORK (vb_fs_negative, "negative", "LOOKUP of what is not there", 0,
      step_negative, done_negative);
WORK (vb_fs_open, "open", "OPEN, FLUSH if the back-end wants it, RELEASE",
      VB_FS_FILES, step_open, done_open);
WORK (vb_fs_create, "create", "CREATE, RELEASE, UNLINK, FORGET", 0, step_create,
      done_create);
WORK (vb_fs_rename, "rename", "RENAME, to and fro", 0, step_rename,
      done_rename);
WORK (vb_fs_small_read, "small-read",
      "LOOKUP, OPEN, READ of 4k, FLUSH, RELEASE", VB_FS_FILES, step_small_read,
      done_small_read);
WORK (vb_fs_list, "list", "OPENDIR, READDIRPLUS of all, RELEASEDIR",
      VB_FS_FILES, step_list, done_listing);
WORK (vb_fs_tree, "tree", "the same with LOOKUP, of ten folders in turn",
      VB_FS_TREE, step_tree, done_listing);
