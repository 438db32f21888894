/* SPDX-License-Identifier: BSD-3-Clause
 *
 * vbench.h - what the workloads of a kind of device tell vbench.c
 */
#pragma once

#include "tests/bench/load.h"

/* What the user asked for. */
typedef struct {
  guint queues, depth;
  guint64 bs;         /* bytes of a read or write */
  guint64 span;       /* bytes of the disk or file that are used; 0: all */
  guint files;        /* fs: in the folder that is made for the run */
  gboolean direct;    /* fs: open the long file with O_DIRECT */
  const char *folder; /* fs: list this one, which is there; or NULL */
} VbOptions;

typedef struct {
  const char *name; /* "blk" */
  guint first_ring; /* that is loaded; those before it are only set up */
  guint config_len; /* bytes of config space to read */
  const VbWork *const *works; /* NULL-ended */

  /* After the driver has started: makes what the work needs.
   * Returns: (transfer full): VbLoad.data */
  gpointer (*open) (VtFrontend *fe, const VbWork *work,
                    const VbOptions *options);
  /* Undoes it. */
  void (*close) (gpointer data);
} VbKind;

extern const VbKind vb_blk, vb_fs;
