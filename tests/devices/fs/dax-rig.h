/* SPDX-License-Identifier: BSD-3-Clause
 *
 * dax-rig.h - a device with a window, whose front-end is the test
 *
 * What the device asks waits until the test answers it.  At most one of them at
 * a time in a program.
 */
#pragma once

#include "tests/devices/fs/fixture.h"

#define PIECE    (2ull << 20)
#define N_PIECES 8u
#define NO_FH    G_MAXUINT64
#define READ     FUSE_SETUPMAPPING_FLAG_READ
#define WRITE    FUSE_SETUPMAPPING_FLAG_WRITE
#define DAX_LOW  (FUSE_INIT_EXT | FUSE_MAP_ALIGNMENT)
#define DAX_INIT (DAX_LOW | FUSE_HAS_INODE_DAX)

typedef struct {
  gboolean map;
  VdShmMapping mapping; /* fd: our own */
  VdShmDone done;
  gpointer data;
} VtDaxQuestion;

typedef struct {
  GQueue questions;   /* VtDaxQuestion */
  gboolean no_answer; /* set: REPLY_ACK was not acked */
  gboolean at_once;   /* set: yes to everything */
  gboolean gone;      /* set: the channel */
  guint n_asked;
  guint most; /* questions at the same time */
} VtDaxFrontend;

extern VtDaxFrontend vt_dax_fe;

/* N_PIECES in the window; the second has the export read-only. */
extern const VtFsConfig vt_dax_window, vt_dax_locked;

/* For g_test_add(): with a file "file". */
void vt_dax_set_up (VtFs *f, gconstpointer config);
void vt_dax_tear_down (VtFs *f, gconstpointer config);
/* A front-end comes, which has shared memory regions. */
void vt_dax_meet (VtFs *f);

/* Answers the oldest question, or all. */
void vt_dax_answer (VtFs *f, int result);
void vt_dax_answer_all (VtFs *f, int result);
/* Waits until @n questions were asked since the set-up. */
void vt_dax_wait_asked (VtFs *f, guint n);
/* The @nth question that waits, and what it must be. */
const VtDaxQuestion *vt_dax_question (guint nth);
void vt_dax_expect_map (guint nth, guint piece, guint64 fd_offset,
                        gboolean writable);
void vt_dax_expect_unmap (guint nth, guint piece);
/* Nothing is asked by what has come so far. */
void vt_dax_expect_silence (VtFs *f);

/* Begins a session with a window.  Returns: the nodeid of "file". */
guint64 vt_dax_begin (VtFs *f);

struct fuse_setupmapping_in
vt_dax_setup_in (guint piece, guint64 len, guint64 foffset, guint64 flags);
VtFuseCall vt_dax_start_setup (VtFs *f, guint64 nodeid, guint piece,
                               guint64 len, guint64 foffset, guint64 flags);
VtFuseCall vt_dax_start_remove (VtFs *f, guint piece, guint n);
void vt_dax_end (VtFs *f, VtFuseCall call, int error);
/* Maps @n pieces from the file's beginning; the front-end agrees. */
void vt_dax_map (VtFs *f, guint64 nodeid, guint piece, guint n);
/* A request for which nothing has to be asked.  Returns: its answer. */
int
vt_dax_setup (VtFs *f, guint64 nodeid, const struct fuse_setupmapping_in *in);

/* Pieces that show something. */
guint32 vt_dax_n_mapped (VtFs *f);
