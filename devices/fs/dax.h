/* SPDX-License-Identifier: BSD-3-Clause
 *
 * dax.h - the DAX window: parts of files that the guest has in its memory
 *
 * A guest with a window (virtio 1.3, 5.11.6.4) asks by SETUPMAPPING and
 * REMOVEMAPPING for what it wants to see there, and the front-end shows it
 * (SHMEM_MAP, SHMEM_UNMAP).  FUSE replaces and splits mappings; a front-end maps
 * nothing over a mapping and takes away only what it mapped in one go.  So the
 * window consists of pieces as large as the alignment that INIT demands, each of
 * which is one mapping of the front-end: then nothing is ever split.
 *
 * The answer of a request is due when the front-end has answered for each of its
 * pieces.  Meanwhile the request is a job (dax.c), and no thread waits for it: a
 * queue that stops answers EAGAIN, after which Linux tries a page fault again,
 * and the job goes on without a request.
 */
#pragma once

#include <glib.h>
#include <stdatomic.h>

#include "devices/device.h"

#define VD_FS_DAX_SHIFT 21 /* log2 of a piece; more than this Linux refuses */
#define VD_FS_DAX_PIECE (G_GUINT64_CONSTANT (1) << VD_FS_DAX_SHIFT)

typedef struct VdFsRequest VdFsRequest;
typedef struct VdFsQueue VdFsQueue;
typedef struct VdFsDaxPiece VdFsDaxPiece;
typedef struct VdFsDaxJob VdFsDaxJob;

/* CONTROL, unless said otherwise. */
typedef struct {
  VdDevice *dev;
  guint64 *sizes; /* for VdDevice.shm_sizes; NULL: no window */
  VdFsDaxPiece *pieces;
  guint32 n_pieces;     /* constant */
  atomic_uint n_mapped; /* pieces; any thread reads */
  atomic_uint
      n_asked; /* questions that the front-end has to answer; likewise */
  GQueue jobs; /* VdFsDaxJob that have more to ask */
  gboolean asking;

  atomic_bool ready; /* the front-end can map; any thread reads */
  atomic_bool used;  /* there may be mappings; any thread */
} VdFsDax;

/* A part of the window, in pieces. */
typedef struct {
  guint32 first, n;
} VdFsDaxRange;

/* @dev: (transfer none): the export
 * @len: of the window, a multiple of VD_FS_DAX_PIECE; 0: there is none */
void vd_fs_dax_init (VdFsDax *dax, VdDevice *dev, guint64 len);
void vd_fs_dax_clear (VdFsDax *dax);

/* VdDeviceOps.shm_ready. */
void vd_fs_dax_ready (VdFsDax *dax);

/* The driver's life ended; front-ends have unmapped everything by then. */
void vd_fs_dax_reset (VdFsDax *dax);

/* Any thread: pieces that show something, or may. */
guint32 vd_fs_dax_n_mapped (const VdFsDax *dax);

/* Any thread: whether mappings can be offered. */
static inline gboolean
vd_fs_dax_is_ready (const VdFsDax *dax)
{
  return atomic_load_explicit (&dax->ready, memory_order_acquire);
}

/* Any thread: whether @offset and @len, in bytes, are pieces of the window.
 * Returns: 0 and which, or -EINVAL. */
int vd_fs_dax_range (const VdFsDax *dax, guint64 offset, guint64 len,
                     VdFsDaxRange *ret);

/* QUEUE: the guest's session ended; unmaps everything. */
void vd_fs_dax_end_session (VdFsDax *dax);

/* QUEUE or POOL.  A job that maps @ranges, or unmaps them if @fd is -1, for
 * @req, which it is part of from now on.
 * @fd: (transfer full): the file, counted by the export's budget
 * @offset: of the first piece in the file
 * Returns: FALSE without memory; then @fd is closed. */
gboolean
vd_fs_dax_prepare (VdFsRequest *req, const VdFsDaxRange *ranges, guint n_ranges,
                   int fd, guint64 offset, gboolean writable);

/* QUEUE: defers @req, whose job was prepared. */
void vd_fs_dax_submit (VdFsRequest *req);

/* QUEUE: answers all that waits on @queue. */
void vd_fs_dax_drain (VdFsQueue *queue);
