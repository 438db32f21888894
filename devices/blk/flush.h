/* SPDX-License-Identifier: BSD-3-Clause
 *
 * flush.h - one fdatasync at a time for each image, and its error for ever
 *
 * The kernel reports a failed write-back once for each open file: if two
 * fdatasync of one file overlap, either may get the error and the other says
 * that all is well.  So there is one at a time, and whoever asks meanwhile
 * shares the next one, which begins after all that they want flushed was
 * written.  After an error the kernel has dropped the pages: every later flush
 * fails too, until the image is opened again.
 *
 * Nobody waits for a lock: those who ask form a list, and its leader runs the
 * fdatasync on its own thread's terms.
 */
#pragma once

#include <glib.h>
#include <stdatomic.h>

#include "vring/mailbox.h"

typedef struct VdFlush VdFlush;

typedef struct {
  _Atomic (VdFlush *) head; /* NULL: idle; else those who wait for the next */
  atomic_int error;         /* 0, or the -errno of the first failure */
  atomic_uint_fast64_t n_syncs; /* fdatasync done */
} VdFlusher;

/* A request for a flush, in its owner's memory until done(). */
struct VdFlush {
  /* All on the owner's thread.  lead() begins fdatasync and ends it with
   * vd_flush_finish(); post() sends mail to the owner, from any thread. */
  void (*lead) (VdFlush *flush);
  void (*post) (VdFlush *flush, VdMail *mail);
  void (*done) (VdFlush *flush, int error); /* 0 or -errno */

  /* Private. */
  VdMail mail;
  VdFlush *next;
  VdFlush *group; /* a leader's followers */
  int result;
};

/* Owner's thread: done() follows when all writes that had completed before this
 * call are durable; maybe before this returns. */
void vd_flush_submit (VdFlusher *flusher, VdFlush *flush);

/* Owner's thread, by a leader: its fdatasync returned @result.  -ENOTCONN, a
 * server that cannot be asked, says nothing of later flushes. */
void vd_flush_finish (VdFlusher *flusher, VdFlush *flush, int result);

/* Any thread.  Returns: 0, or the error that all flushes fail with now. */
static inline int
vd_flusher_error (VdFlusher *flusher)
{
  return atomic_load_explicit (&flusher->error, memory_order_acquire);
}

/* Any thread.  Returns: whether an fdatasync is under way. */
static inline gboolean
vd_flusher_busy (VdFlusher *flusher)
{
  return atomic_load_explicit (&flusher->head, memory_order_relaxed) != NULL;
}
