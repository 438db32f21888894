/* SPDX-License-Identifier: BSD-3-Clause
 *
 * test-thread.c - what a thread begins with
 */
#include "vring/thread.h"

#include <glib.h>
#include <semaphore.h>
#include <signal.h>
#include <stdbool.h>

typedef struct {
  pthread_t thread;
  sigset_t blocked;
  bool detached;
  sem_t done;
} Seen;

static void *
look (void *data)
{
  Seen *seen = data;
  pthread_attr_t attr;
  int state;

  seen->thread = pthread_self ();
  pthread_sigmask (SIG_SETMASK, NULL, &seen->blocked);
  pthread_getattr_np (pthread_self (), &attr);
  pthread_attr_getdetachstate (&attr, &state);
  pthread_attr_destroy (&attr);
  seen->detached = state == PTHREAD_CREATE_DETACHED;
  sem_post (&seen->done);
  return data;
}

/* Starts a thread and waits until it has looked around. */
static void
start (Seen *seen, pthread_t *ret)
{
  sem_init (&seen->done, 0, 0);
  g_assert_cmpint (vd_thread_start (ret, look, seen), ==, 0);
  while (sem_wait (&seen->done) < 0)
    ;
  sem_destroy (&seen->done);
}

static void
test_a_thread_is_joined (void)
{
  pthread_t thread;
  void *result;
  Seen seen;

  start (&seen, &thread);
  g_assert_true (pthread_equal (thread, seen.thread));
  g_assert_false (pthread_equal (thread, pthread_self ()));
  g_assert_false (seen.detached);
  g_assert_cmpint (pthread_join (thread, &result), ==, 0);
  g_assert_true (result == &seen);
}

static void
test_a_thread_that_nobody_asked_for_is_detached (void)
{
  Seen seen;

  start (&seen, NULL);
  g_assert_true (seen.detached);
}

/* SIGCHLD, SIGTERM and the like are for CONTROL; to block what an instruction
 * of the thread itself causes would end the process. */
static void
test_a_thread_gets_its_own_faults_only (void)
{
  static const int own[] = { SIGBUS, SIGSYS };
  const int others[] = { SIGCHLD, SIGHUP,  SIGINT,  SIGPIPE,
                         SIGTERM, SIGUSR1, SIGRTMIN };
  sigset_t before, after;
  pthread_t thread;
  Seen seen;

  pthread_sigmask (SIG_SETMASK, NULL, &before);
  start (&seen, &thread);
  pthread_join (thread, NULL);
  pthread_sigmask (SIG_SETMASK, NULL, &after);
  for (guint i = 0; i < G_N_ELEMENTS (own); i++)
    g_assert_cmpint (sigismember (&seen.blocked, own[i]), ==, 0);
  for (guint i = 0; i < G_N_ELEMENTS (others); i++) {
    g_assert_cmpint (sigismember (&seen.blocked, others[i]), ==, 1);
    g_assert_cmpint (sigismember (&after, others[i]), ==,
                     sigismember (&before, others[i]));
  }
}

int
main (int argc, char **argv)
{
  g_test_init (&argc, &argv, NULL);
  g_test_add_func ("/thread/joined", test_a_thread_is_joined);
  g_test_add_func ("/thread/detached",
                   test_a_thread_that_nobody_asked_for_is_detached);
  g_test_add_func ("/thread/signals", test_a_thread_gets_its_own_faults_only);
  return g_test_run ();
}
