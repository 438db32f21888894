/* SPDX-License-Identifier: BSD-3-Clause
 *
 * slow-disk.h - a daemon with a disk whose I/O a test can hold, and fast devices
 */
#pragma once

#include "tests/devices/blk/fault-fs.h"
#include "tests/lib/blk.h"
#include "tests/lib/machine.h"

#define VT_SLOW_SIZE (1 << 20) /* bytes of each disk */

typedef struct {
  VtDaemon *daemon;
  VtFaultFs *fs;
  VtMachine *vm;       /* of the device "slow", two rings; not connected */
  char *image;         /* of the device "fast" */
  GPtrArray *requests; /* of vt_slow_disk_begin() */
} VtSlowDisk;

/* Once, before g_test_run().  Returns: whether slow disks can be made; if not,
 * every test that is added with vt_slow_disk_add() is skipped with the reason. */
gboolean vt_slow_disk_prepare (void);

void
vt_slow_disk_add (const char *path, void (*func) (VtSlowDisk *, gconstpointer));

/* Begins @n flushes on @ring that do not end before vt_fault_release(), and a
 * request behind them that has ended on return. */
void vt_slow_disk_begin (VtSlowDisk *f, VtRing *ring, guint n);
/* Takes them; they succeeded. */
void vt_slow_disk_end (VtSlowDisk *f, VtRing *ring, guint n);

/* A request that the device answers at once: GET_ID. */
void vt_slow_disk_ask_id (VtRing *ring);
