/* SPDX-License-Identifier: BSD-3-Clause
 *
 * nbd-link.c - the life of a link, and its turns on the worker's thread
 */
#include "devices/blk/nbd-link-private.h"

#include <errno.h>
#include <sys/timerfd.h>

#include "devices/blk/nbd-attempt.h"
#include "vring/fd.h"

/* Its turns. */

void
vd_nbd_link_pump (VdNbdLink *link)
{
  do {
    if (vd_nbd_link_is_lost (link))
      vd_nbd_link_lose (link);
    if (link->handle == NULL)
      vd_nbd_link_tick (link);
    vd_nbd_link_settle (link);
    if (link->handle != NULL)
      vd_nbd_link_send (link);
  } while (!TAILQ_EMPTY (&link->done) || vd_nbd_link_is_lost (link));
  if (link->handle != NULL)
    vd_nbd_link_await_socket (link);
}

/* Every call from the worker begins with this.
 * Returns: whether the link still lives. */
static bool
enter (VdNbdLink *link)
{
  link->n_pending--;
  if (!link->closing)
    return true;
  if (link->n_pending == 0) {
    g_aligned_free (link->bounces);
    g_free (link);
  }
  return false;
}

static void
run_wake (VdMail *mail)
{
  VdNbdLink *link = VD_CONTAINER (mail, VdNbdLink, wake);

  link->woken = false;
  if (enter (link))
    vd_nbd_link_pump (link);
}

/* Whatever is done is answered in a turn of its own. */
static void
wake (VdNbdLink *link)
{
  if (link->woken)
    return;
  link->woken = true;
  link->n_pending++;
  vd_worker_post (link->worker, &link->wake);
}

static void
watch_done (VdOp *op, int res)
{
  VdNbdWatch *watch = VD_CONTAINER (op, VdNbdWatch, op);

  watch->armed = false;
  if (enter (watch->link))
    watch->ready (watch->link);
}

void
vd_nbd_link_watch (VdNbdWatch *watch, int fd, short events)
{
  VdNbdLink *link = watch->link;

  if (watch->armed) {
    /* Once the old poll has ended. */
    if (watch->fd != fd || (events & ~watch->events) != 0)
      vd_nbd_link_unwatch (watch);
    return;
  }
  watch->fd = fd;
  watch->events = events;
  watch->armed = true;
  watch->canceled = false;
  link->n_pending++;
  vd_worker_poll (link->worker, &watch->op, fd, events);
}

void
vd_nbd_link_unwatch (VdNbdWatch *watch)
{
  if (!watch->armed || watch->canceled)
    return;
  vd_worker_cancel_poll (watch->link->worker, &watch->op, watch->fd);
  watch->canceled = true;
}

/* Its life. */

static void
init_watch (VdNbdLink *link, VdNbdWatch *watch, void (*ready) (VdNbdLink *link))
{
  watch->op.done = watch_done;
  watch->link = link;
  watch->ready = ready;
  watch->fd = -1;
}

VdNbdLink *
vd_nbd_link_new (const VdNbdLinkSetup *setup, VdWorker *worker)
{
  int timer_fd = timerfd_create (CLOCK_MONOTONIC, TFD_CLOEXEC | TFD_NONBLOCK);
  VdNbdLink *link;

  if (timer_fd < 0)
    return NULL;
  link = g_new0 (VdNbdLink, 1);
  link->setup = *setup;
  link->worker = worker;
  link->wake.run = run_wake;
  link->pause = VD_NBD_PAUSE_MIN_US;
  link->bounces = g_aligned_alloc (VD_NBD_N_BOUNCES, VD_NBD_BOUNCE_LEN, 4096);
  link->bounces_free = (1u << VD_NBD_N_BOUNCES) - 1;
  TAILQ_INIT (&link->waiting);
  TAILQ_INIT (&link->sent);
  TAILQ_INIT (&link->done);
  init_watch (link, &link->socket, vd_nbd_link_on_socket);
  init_watch (link, &link->attempted, vd_nbd_link_on_attempted);
  init_watch (link, &link->timer, vd_nbd_link_on_timer);
  link->timer.fd = timer_fd;
  return link;
}

void
vd_nbd_link_start (VdNbdLink *link, struct nbd_handle *handle)
{
  link->next_attempt = g_get_monotonic_time ();
  link->deadline = link->next_attempt + link->setup.delay_us;
  if (handle != NULL)
    vd_nbd_link_adopt (link, handle);
  vd_nbd_link_pump (link);
}

/* Those that are left, whose owners have gone. */
static void
abandon (VdNbdLink *link)
{
  VdTask *task;

  TAILQ_CONCAT (&link->done, &link->sent, nbd.entry);
  TAILQ_CONCAT (&link->done, &link->waiting, nbd.entry);
  while ((task = TAILQ_FIRST (&link->done)) != NULL) {
    TAILQ_REMOVE (&link->done, task, nbd.entry);
    vd_nbd_task_answer (task, -ENOTCONN);
  }
}

void
vd_nbd_link_stop (VdNbdLink *link)
{
  vd_nbd_link_unwatch (&link->socket);
  vd_nbd_link_unwatch (&link->attempted);
  vd_nbd_link_unwatch (&link->timer);
  if (link->handle != NULL)
    nbd_aio_disconnect (link->handle, 0); /* a courtesy */
  g_clear_pointer (&link->handle, nbd_close);
  g_clear_pointer (&link->attempt, vd_nbd_attempt_free);
  vd_clear_fd (&link->timer.fd);
  abandon (link);
  link->closing = true;
  /* Now or with the last poll. */
  link->n_pending++;
  enter (link);
}

gboolean
vd_nbd_link_connected (const VdNbdLink *link)
{
  return link->handle != NULL;
}

void
vd_nbd_link_submit (VdNbdLink *link, VdTask *task)
{
  task->nbd.link = link;
  task->nbd.bounce = NULL;
  task->nbd.done = task->nbd.outgrown = false;
  if (link->failing) {
    vd_nbd_link_end (link, task, ENOTCONN);
    wake (link);
    return;
  }
  TAILQ_INSERT_TAIL (&link->waiting, task, nbd.entry);
  if (link->handle == NULL)
    return;
  vd_nbd_link_send (link);
  if (!TAILQ_EMPTY (&link->done) || vd_nbd_link_is_lost (link))
    wake (link);
  else
    vd_nbd_link_await_socket (link);
}
