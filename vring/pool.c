/* SPDX-License-Identifier: BSD-3-Clause
 *
 * pool.c - threads for calls that may block
 *
 * Threads start when work finds none idle and end after a while without work,
 * so that an idle device costs none.
 */
#include <errno.h>
#include <pthread.h>
#include <stddef.h>
#include <time.h>

#include "vring/thread.h"
#include "vring/worker-private.h"

#define IDLE_SECONDS 10

struct VdPool {
  pthread_mutex_t lock;  /* guards all below */
  pthread_cond_t work;   /* there is work, or the pool ends */
  pthread_cond_t ended;  /* a thread ended */
  VdMail *first, **last; /* waiting operations, by VdOp.mail */
  guint n_waiting, n_threads, n_idle, max_threads;
  gboolean ending;

  /* Constant once there are threads. */
  void (*begin) (gconstpointer data); /* NULL: nothing */
  gconstpointer begin_data;
};

VdPool *
vd_pool_new (guint max_threads)
{
  VdPool *pool = g_new0 (VdPool, 1);

  pthread_mutex_init (&pool->lock, NULL);
  pthread_cond_init (&pool->work, NULL);
  pthread_cond_init (&pool->ended, NULL);
  pool->last = &pool->first;
  pool->max_threads = max_threads;
  return pool;
}

void
vd_pool_set_begin (VdPool *pool, void (*begin) (gconstpointer data),
                   gconstpointer data)
{
  pool->begin = begin;
  pool->begin_data = data;
}

void
vd_pool_begin (const VdPool *pool)
{
  if (pool->begin != NULL)
    pool->begin (pool->begin_data);
}

void
vd_pool_free (VdPool *pool)
{
  if (pool == NULL)
    return;
  pthread_mutex_lock (&pool->lock);
  pool->ending = TRUE;
  pthread_cond_broadcast (&pool->work);
  while (pool->n_threads > 0)
    pthread_cond_wait (&pool->ended, &pool->lock);
  pthread_mutex_unlock (&pool->lock);
  pthread_cond_destroy (&pool->ended);
  pthread_cond_destroy (&pool->work);
  pthread_mutex_destroy (&pool->lock);
  g_free (pool);
}

static inline VdOp *
op_of (VdMail *mail)
{
  return VD_CONTAINER (mail, VdOp, mail);
}

static void
op_finish (VdMail *mail)
{
  VdOp *op = op_of (mail);

  op->done (op, op->res);
}

static void
op_run (VdOp *op)
{
  op->res = op->work (op);
  op->mail.run = op_finish;
  vd_mailbox_post (op->box, &op->mail);
}

/* Waits for work with the lock held.  Returns: FALSE when it is time to end. */
static gboolean
wait_for_work (VdPool *pool)
{
  struct timespec until;
  int r = 0;

  clock_gettime (CLOCK_REALTIME, &until);
  until.tv_sec += IDLE_SECONDS;
  pool->n_idle++;
  while (pool->first == NULL && !pool->ending && r != ETIMEDOUT)
    r = pthread_cond_timedwait (&pool->work, &pool->lock, &until);
  pool->n_idle--;
  return pool->first != NULL;
}

static void *
pool_thread (void *data)
{
  VdPool *pool = data;

  pthread_setname_np (pthread_self (), "vd-pool");
  vd_pool_begin (pool);
  pthread_mutex_lock (&pool->lock);
  while (wait_for_work (pool)) {
    VdMail *mail = pool->first;

    pool->first = mail->next;
    if (pool->first == NULL)
      pool->last = &pool->first;
    pool->n_waiting--;
    pthread_mutex_unlock (&pool->lock);
    op_run (op_of (mail));
    pthread_mutex_lock (&pool->lock);
  }
  pool->n_threads--;
  pthread_cond_signal (&pool->ended);
  pthread_mutex_unlock (&pool->lock);
  return NULL;
}

/* Starts a detached thread.  The lock is held. */
static gboolean
start_thread (VdPool *pool)
{
  if (vd_thread_start (NULL, pool_thread, pool) != 0)
    return FALSE;
  pool->n_threads++;
  return TRUE;
}

void
vd_pool_push (VdPool *pool, VdOp *op, VdMailbox *box)
{
  gboolean inline_run = FALSE;

  op->box = box;
  op->mail.next = NULL;
  pthread_mutex_lock (&pool->lock);
  if (pool->n_idle <= pool->n_waiting && pool->n_threads < pool->max_threads)
    /* Without any thread the caller has to do the work itself. */
    inline_run = !start_thread (pool) && pool->n_threads == 0;
  if (!inline_run) {
    *pool->last = &op->mail;
    pool->last = &op->mail.next;
    pool->n_waiting++;
    pthread_cond_signal (&pool->work);
  }
  pthread_mutex_unlock (&pool->lock);
  if (inline_run)
    op_run (op);
}
