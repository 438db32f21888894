/* SPDX-License-Identifier: BSD-3-Clause */
#include "vring/thread.h"

#include <signal.h>
#include <stddef.h>

int
vd_thread_start (pthread_t *ret, void *(*run) (void *data), void *data)
{
  pthread_attr_t attr;
  pthread_t thread;
  sigset_t blocked, old;
  int r;

  sigfillset (&blocked);
  sigdelset (&blocked, SIGBUS);
  sigdelset (&blocked, SIGSYS);
  pthread_sigmask (SIG_SETMASK, &blocked, &old);
  pthread_attr_init (&attr);
  if (ret == NULL)
    pthread_attr_setdetachstate (&attr, PTHREAD_CREATE_DETACHED);
  r = pthread_create (ret != NULL ? ret : &thread, &attr, run, data);
  pthread_attr_destroy (&attr);
  pthread_sigmask (SIG_SETMASK, &old, NULL);
  return r;
}
