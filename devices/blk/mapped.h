/* SPDX-License-Identifier: BSD-3-Clause
 *
 * mapped.h - reads and writes of what is in memory anyway, without a system call:
 * the image is mapped, and its bytes are copied from there and to there
 *
 * That is up to three times as fast as preadv(), but a page that is not in
 * memory would be waited for, or, in a hole of a file on tmpfs, be made.  So a
 * stretch of the image is asked for first, by mincore(), and the answer is
 * remembered: for good on tmpfs, for up to a second in the page cache.  To ask
 * and to have the pages mapped costs more than one copy saves, so that is done
 * for stretches that have been moved a few times.
 *
 * Writes are copied on tmpfs alone: a file system with a disk has to learn of
 * each page that is written after it was cleaned, and a fault for that costs
 * more than the system call.
 */
#pragma once

#include <time.h>

#include "devices/blk/call.h"
#include "devices/blk/image.h"
#include "vring/chain.h"

typedef struct VdMapped VdMapped; /* an image's mapping, for all queues */

/* What a queue knows of it; QUEUE. */
typedef struct {
  VdMapped *mapped;  /* NULL: all are system calls */
  bool is_unstamped; /* written since vd_mapped_stamp() */
  struct timespec stamp;
  guint64 second; /* the last one that was looked at */
  bool whole;     /* from its beginning */
  guint8 now;     /* what stretches are marked with that are in memory */
  /* In this second: calls, questions, and stretches that were not in memory. */
  guint n_copied, n_asked, n_missing;
  long n_faults;      /* times that this thread had to wait for a page */
  guint64 rest_until; /* the second in which to begin anew */
  guint rest_next;    /* seconds */
} VdMappedView;

/* CONTROL: maps @image as long as it is now; what it grows by later is not mapped.
 * Returns: (transfer full) (nullable): NULL if that is not possible, or where it
 * could not be known what is in memory, or data be old: O_DIRECT, file systems
 * of the network, images that we may not write to */
VdMapped *vd_mapped_new (const VdImage *image);
/* CONTROL; no queue uses it any more.  NULL is fine. */
void vd_mapped_free (VdMapped *mapped);

/* CONTROL, while no queue runs: gives back all pages, whose contents others may
 * have changed on the disk.  NULL is fine. */
void vd_mapped_forget (VdMapped *mapped);

/* QUEUE: there are holes now from @offset on, @len bytes long, which copying would
 * fill.  NULL is fine. */
void vd_mapped_punched (VdMapped *mapped, guint64 offset, guint64 len);

/* QUEUE: makes @view one of @mapped, or, if that is NULL, of nothing. */
void vd_mapped_open_view (VdMappedView *view, VdMapped *mapped);

/* QUEUE: makes @call, of @chain, if it reads or writes what is all in memory.  An
 * image that somebody truncated under its mapping is not mapped any more.
 * Returns: whether it was made, and then @res is as of vd_call_run(); if not,
 * what the buffers of a read contain is undefined */
bool vd_mapped_run (VdMappedView *view, const VdCall *call,
                    const VdChain *chain, int *res);

/* QUEUE, before writes are completed: the time of the image's last change is now,
 * if there were any, which a copy alone does not tell the file system. */
void vd_mapped_stamp (VdMappedView *view);
