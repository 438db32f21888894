/* SPDX-License-Identifier: BSD-3-Clause */
#include "protocol/closer.h"

#include <pthread.h>
#include <signal.h>
#include <stdatomic.h>
#include <stdint.h>
#include <sys/socket.h>
#include <unistd.h>

#define STACK_SIZE  0x10000
#define THREADS_MAX 64 /* that wait at once */

static atomic_int n_threads;

gboolean
vd_fd_may_linger (int fd)
{
  int domain;
  socklen_t len = sizeof domain;

  return getsockopt (fd, SOL_SOCKET, SO_DOMAIN, &domain, &len) == 0 &&
         domain != AF_UNIX;
}

/* Its sender may set the option again in between; then this thread waits. */
static void
close_now (int fd)
{
  const struct linger off = { 0, 0 };

  setsockopt (fd, SOL_SOCKET, SO_LINGER, &off, sizeof off);
  close (fd);
}

static void *
run (void *data)
{
  close_now ((int) (intptr_t) data);
  atomic_fetch_sub (&n_threads, 1);
  return NULL;
}

/* Returns: FALSE if there is no thread to be had. */
static gboolean
start_thread (int fd)
{
  pthread_attr_t attr;
  sigset_t all, before;
  pthread_t thread;
  int r;

  sigfillset (&all);
  sigdelset (&all, SIGSYS); /* blocked, it would kill the process */
  pthread_attr_init (&attr);
  pthread_attr_setdetachstate (&attr, PTHREAD_CREATE_DETACHED);
  pthread_attr_setstacksize (&attr, STACK_SIZE);
  pthread_sigmask (SIG_SETMASK, &all, &before);
  r = pthread_create (&thread, &attr, run, (void *) (intptr_t) fd);
  pthread_sigmask (SIG_SETMASK, &before, NULL);
  pthread_attr_destroy (&attr);
  return r == 0;
}

void
vd_close_elsewhere (int fd)
{
  if (atomic_fetch_add (&n_threads, 1) < THREADS_MAX && start_thread (fd))
    return;
  atomic_fetch_sub (&n_threads, 1);
  close_now (fd);
}
