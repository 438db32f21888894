/* SPDX-License-Identifier: BSD-3-Clause
 *
 * load-fs.h - what the workloads of a shared directory have in common
 *
 * load-fs.c makes the folder that the run works in, load-fs-message.c the FUSE
 * messages; the workloads are in load-fs-name.c and load-fs-data.c.
 */
#pragma once

#include "tests/bench/vbench.h"
#include "tests/devices/fs/fuse-client.h"

#define VB_FS_FILE_LEN 4096u
#define VB_FS_LIST_LEN (32u << 10) /* of a READDIRPLUS, as Linux asks */
#define VB_FS_NAME_LEN 32
#define VB_FS_FOLDERS  10u /* of the tree */

/* What a workload needs in the folder. */
enum {
  VB_FS_FILES = 1 << 0, /* f0, f1, ... */
  VB_FS_TREE = 1 << 1,  /* the same, shared out among folders d0 to d9 */
  VB_FS_DATA = 1 << 2,  /* one long file, open */
};

typedef struct {
  VtFuse fuse;
  char name[VB_FS_NAME_LEN];
  gboolean made; /* by us, and not there before */
  guint64 nodeid, data_nodeid, data_fh;
  guint64 *files; /* nodeids */
  guint n_files;  /* as the user asked */
  guint needs;
  guint64 bs, n_blocks;
  guint n_queues, depth;
  gboolean no_flush; /* the back-end needs none, so the kernel sends none */
} VbFolder;

typedef struct {
  VbOp parent;
  guint8 *out, *in, *data;
  guint64 nodeid, fh, offset;
  gboolean made, moved; /* rename: the file exists, and has its other name */
  char name[VB_FS_NAME_LEN];
} VbFsOp;

/* Workloads. */
extern const VbWork vb_fs_stat, vb_fs_negative, vb_fs_open, vb_fs_create,
    vb_fs_rename, vb_fs_small_read, vb_fs_list, vb_fs_tree;
extern const VbWork vb_fs_randread, vb_fs_randwrite, vb_fs_read, vb_fs_write;

/* Messages.  All but the last four run in the lane's thread and add to its
 * ring. */

/* VbWork.init of all. */
void vb_fs_init_op (VbLane *lane, VbOp *parent);

/* Adds a message of @args and what follows them; the answer's payload has
 * @reply_len bytes beside the operation's data.
 * @name: (optional)
 * @data_len: of op->data; negative: to be read by the device */
void vb_fs_ask (VbLane *lane, VbFsOp *op, guint32 opcode, guint64 nodeid,
                const void *args, gsize args_len, const char *name,
                gsize reply_len, gint64 data_len);

void vb_fs_ask_lookup (VbLane *lane, VbFsOp *op, const char *name);
/* @opcode: FUSE_OPEN or FUSE_OPENDIR of op->nodeid */
void vb_fs_ask_open (VbLane *lane, VbFsOp *op, guint32 opcode);
void vb_fs_ask_flush (VbLane *lane, VbFsOp *op);
/* @opcode: FUSE_RELEASE or FUSE_RELEASEDIR of op->fh */
void vb_fs_ask_release (VbLane *lane, VbFsOp *op, guint32 opcode);
/* FORGET of op->nodeid, looked up once; it has no answer. */
void vb_fs_tell_forget (VbLane *lane, VbFsOp *op);
/* @opcode: FUSE_READ or FUSE_READDIRPLUS at op->offset */
void vb_fs_ask_read (VbLane *lane, VbFsOp *op, guint32 opcode, guint64 nodeid,
                     guint64 fh, guint64 len);
void vb_fs_ask_create (VbLane *lane, VbFsOp *op);

/* The stage that follows one whose answer came: that of FLUSH, which is number
 * @flush, is skipped where the kernel would skip it. */
guint vb_fs_next_stage (VbLane *lane, guint stage, guint flush);

VbFolder *vb_fs_folder (const VbLane *lane);

/* Ends the program unless the answer has error @expected, 0 or negative.
 * Returns: the length of its payload. */
guint32 vb_fs_check (const VbFsOp *op, int expected);
/* Returns: the payload beside the data. */
const void *vb_fs_answer (const VbFsOp *op);
/* Keeps what the answer says: the nodeid; the handle, @offset bytes into it. */
void vb_fs_take_entry (VbFsOp *op);
void vb_fs_take_open (VbFsOp *op, gsize offset);
