/* SPDX-License-Identifier: BSD-3-Clause
 *
 * reaper.h - a thread, when needed, for closing what a guest left behind
 *
 * A guest may leave a hundred thousand descriptors, and closing the last one of
 * an unlinked file frees its blocks, which takes as long as it takes.  CONTROL
 * must not wait for either.
 */
#pragma once

#include <glib.h>
#include <pthread.h>

typedef struct VdFsJob VdFsJob;
struct VdFsJob {
  void (*run) (VdFsJob *job); /* on the reaper's thread; frees the job */
  VdFsJob *next;              /* private */
};

typedef struct {
  pthread_mutex_t lock;
  pthread_cond_t idle;
  VdFsJob *jobs;
  gboolean running; /* a thread is at work */
} VdFsReaper;

void vd_fs_reaper_init (VdFsReaper *reaper);
/* Waits until all jobs are done. */
void vd_fs_reaper_clear (VdFsReaper *reaper);

/* Waits until all jobs so far are done. */
void vd_fs_reaper_wait (VdFsReaper *reaper);

/* Runs @job soon, or at once if no thread can be had. */
void vd_fs_reaper_push (VdFsReaper *reaper, VdFsJob *job);
