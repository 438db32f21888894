/* SPDX-License-Identifier: BSD-3-Clause
 *
 * fault-fs.h - a file system with one file whose calls fail, are short or wait
 * as a test says
 *
 * A FUSE server in a child process, so that errors come from a real kernel the
 * real way.  The file's bytes, the faults and the counters lie in memory that
 * both processes share.
 */
#pragma once

#include <glib.h>
#include <stdatomic.h>

typedef enum {
  VT_FAULT_READ,
  VT_FAULT_WRITE,
  VT_FAULT_SYNC,
  VT_FAULT_ALLOCATE,
  VT_N_FAULTS
} VtFaultOp;

#define VT_FAULT_EVENTS  1024
#define VT_FAULT_RECORDS 16384
#define VT_FAULT_LOG_LEN (64u << 20)

/* Shared with the child; a test may change it at any time. */
typedef struct {
  /* What shall go wrong. */
  atomic_int error[VT_N_FAULTS]; /* errno; 0: none */
  atomic_uint max_len;           /* bytes that READ and WRITE move; 0: all */
  atomic_uint hold;              /* 1 << VtFaultOp: wait for vt_fault_release */

  /* What happened. */
  atomic_uint n[VT_N_FAULTS]; /* requests */
  atomic_uint n_durable;      /* writes with O_DSYNC */
  atomic_uint n_full_syncs;   /* fsync instead of fdatasync */
  atomic_uint n_events;
  char events[VT_FAULT_EVENTS]; /* the order of execution: r, w, d (durable
                                 * write), s, a */
} VtFaults;

/* One call as it was executed. */
typedef struct {
  char op;        /* w, d (durable write), z (zeroes), s (sync) */
  guint64 offset; /* bytes */
  guint32 len;    /* bytes */
  guint32 data;   /* w, d: index in VtFaultLog.data */
  guint32 covers; /* s: records before the call, which it makes durable; what
                   * was executed while it ran may be lost */
} VtFaultRecord;

typedef struct {
  atomic_bool on;   /* log; calls that meet are executed in any order */
  atomic_uint n;    /* records; a call is answered after its record is there */
  atomic_uint full; /* calls that found no room */
  guint32 n_data;
  VtFaultRecord records[VT_FAULT_RECORDS];
  guint8 data[VT_FAULT_LOG_LEN];
} VtFaultLog;

typedef struct {
  char *path;   /* of the file */
  guint8 *data; /* its bytes */
  VtFaults *faults;
  VtFaultLog *log;

  /* Private. */
  char *dir;
  gsize size;
  int held_fd, release_fd; /* eventfds */
  int pid;
} VtFaultFs;

/* Once, before the first test starts a thread: gives this process a mount
 * namespace.  Returns: NULL, or (transfer full) why that is not possible. */
char *vt_fault_fs_prepare (void);

/* Mounts; failure fails the test.  The file has @size bytes. */
VtFaultFs *vt_fault_fs_new (gsize size);
void vt_fault_fs_free (VtFaultFs *fs); /* NULL is fine */

/* Waits until @n requests more are held, or fails the test. */
void vt_fault_wait_held (VtFaultFs *fs, guint n);
/* Holds nothing any more and executes what was held. */
void vt_fault_release (VtFaultFs *fs);

G_DEFINE_AUTOPTR_CLEANUP_FUNC (VtFaultFs, vt_fault_fs_free)
