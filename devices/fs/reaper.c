/* SPDX-License-Identifier: BSD-3-Clause */
#include "devices/fs/reaper.h"

#include "vring/thread.h"

void
vd_fs_reaper_init (VdFsReaper *reaper)
{
  pthread_mutex_init (&reaper->lock, NULL);
  pthread_cond_init (&reaper->idle, NULL);
  reaper->jobs = NULL;
  reaper->running = FALSE;
}

void
vd_fs_reaper_wait (VdFsReaper *reaper)
{
  pthread_mutex_lock (&reaper->lock);
  while (reaper->running)
    pthread_cond_wait (&reaper->idle, &reaper->lock);
  pthread_mutex_unlock (&reaper->lock);
}

void
vd_fs_reaper_clear (VdFsReaper *reaper)
{
  vd_fs_reaper_wait (reaper);
  pthread_cond_destroy (&reaper->idle);
  pthread_mutex_destroy (&reaper->lock);
}

/* Does jobs until there are none. */
static void *
reap (void *data)
{
  VdFsReaper *reaper = data;
  VdFsJob *job;

  pthread_mutex_lock (&reaper->lock);
  while ((job = reaper->jobs) != NULL) {
    reaper->jobs = job->next;
    pthread_mutex_unlock (&reaper->lock);
    job->run (job);
    pthread_mutex_lock (&reaper->lock);
  }
  reaper->running = FALSE;
  pthread_cond_broadcast (&reaper->idle);
  pthread_mutex_unlock (&reaper->lock);
  return NULL;
}

void
vd_fs_reaper_push (VdFsReaper *reaper, VdFsJob *job)
{
  gboolean start_one;

  pthread_mutex_lock (&reaper->lock);
  job->next = reaper->jobs;
  reaper->jobs = job;
  start_one = !reaper->running;
  reaper->running = TRUE;
  pthread_mutex_unlock (&reaper->lock);
  if (start_one && vd_thread_start (NULL, reap, reaper) != 0)
    reap (reaper);
}
