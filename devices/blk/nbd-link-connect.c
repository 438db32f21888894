/* SPDX-License-Identifier: BSD-3-Clause
 *
 * nbd-link-connect.c - a link's connections, from the attempt to the loss
 */
#define G_LOG_DOMAIN "virtiod-blk"

#include "devices/blk/nbd-link-private.h"

#include <errno.h>
#include <poll.h>
#include <sys/timerfd.h>
#include <unistd.h>

#include "devices/blk/nbd-attempt.h"

static void
tell (VdNbdLink *link, const char *why)
{
  if (link->told || link->setup.divert != NULL)
    return;
  g_warning ("%s: image: no connection to the server, requests wait: %s",
             link->setup.id, why);
  link->told = true;
}

/* A server that comes and goes at once is not asked all the time. */
static void
pause_before_next (VdNbdLink *link, gint64 from)
{
  link->next_attempt = from + link->pause;
  link->pause = MIN (link->pause * 2, VD_NBD_PAUSE_MAX_US);
}

/* Losing. */

bool
vd_nbd_link_is_lost (const VdNbdLink *link)
{
  return link->handle != NULL &&
         (link->leaving || nbd_aio_is_dead (link->handle) == 1 ||
          nbd_aio_is_closed (link->handle) == 1);
}

void
vd_nbd_link_lose (VdNbdLink *link)
{
  struct VdTaskList lost = TAILQ_HEAD_INITIALIZER (lost);
  VdTask *task;
  gint64 now;

  g_debug ("%s: %s", link->setup.id,
           nbd_aio_is_dead (link->handle) == 1 ? nbd_get_error ()
                                               : "the server went away");
  vd_nbd_link_unwatch (&link->socket);
  g_clear_pointer (&link->handle, nbd_close);
  link->leaving = false;
  TAILQ_CONCAT (&lost, &link->done, nbd.entry);
  TAILQ_CONCAT (&lost, &link->sent, nbd.entry);
  TAILQ_CONCAT (&lost, &link->waiting, nbd.entry);
  while ((task = TAILQ_FIRST (&lost)) != NULL) {
    TAILQ_REMOVE (&lost, task, nbd.entry);
    if (task->nbd.done && task->nbd.error == 0)
      TAILQ_INSERT_TAIL (&link->done, task, nbd.entry);
    else
      vd_nbd_link_put_off (link, task);
  }
  tell (link, "the connection broke");
  now = g_get_monotonic_time ();
  link->deadline = now + link->setup.delay_us;
  pause_before_next (link, now - VD_NBD_PAUSE_MIN_US);
}

/* Connecting. */

void
vd_nbd_link_adopt (VdNbdLink *link, struct nbd_handle *handle)
{
  link->handle = handle;
  link->size = (guint64) MAX (nbd_get_size (handle), 0);
  link->failing = false;
  if (link->told)
    g_message ("%s: image: connected to the server again", link->setup.id);
  link->told = false;
}

static void
attempt (VdNbdLink *link)
{
  g_autoptr (GError) error = NULL;

  link->attempt =
      vd_nbd_attempt_new (link->setup.uri, link->setup.starter, &error);
  if (link->attempt != NULL) {
    vd_nbd_link_watch (&link->attempted, vd_nbd_attempt_fd (link->attempt),
                       POLLIN);
    return;
  }
  tell (link, error->message);
  link->next_attempt = g_get_monotonic_time () + VD_NBD_PAUSE_MAX_US;
}

void
vd_nbd_link_on_attempted (VdNbdLink *link)
{
  g_autoptr (GError) error = NULL;
  struct nbd_handle *handle;

  if (!vd_nbd_attempt_ended (link->attempt, 0)) {
    vd_nbd_link_watch (&link->attempted, vd_nbd_attempt_fd (link->attempt),
                       POLLIN);
    return;
  }
  handle = vd_nbd_attempt_take (link->attempt, &error);
  g_clear_pointer (&link->attempt, vd_nbd_attempt_free);
  if (handle != NULL && link->setup.accept (link->setup.owner, handle, &error))
    vd_nbd_link_adopt (link, handle);
  else {
    nbd_close (handle);
    tell (link, error->message);
    pause_before_next (link, g_get_monotonic_time ());
  }
  vd_nbd_link_pump (link);
}

/* The timer. */

/* Nobody waits any longer than the delay. */
static void
give_up (VdNbdLink *link)
{
  VdTask *task;

  link->failing = true;
  if (link->setup.divert == NULL)
    g_warning ("%s: image: no connection for too long, requests fail",
               link->setup.id);
  while ((task = TAILQ_FIRST (&link->waiting)) != NULL) {
    TAILQ_REMOVE (&link->waiting, task, nbd.entry);
    vd_nbd_link_end (link, task, ENOTCONN);
  }
}

void
vd_nbd_link_tick (VdNbdLink *link)
{
  gint64 now = g_get_monotonic_time (), due = G_MAXINT64;
  struct itimerspec at = { 0 };

  if (link->attempt == NULL && now >= link->next_attempt)
    attempt (link);
  if (!link->failing && now >= link->deadline)
    give_up (link);
  if (link->attempt == NULL)
    due = link->next_attempt;
  if (!link->failing)
    due = MIN (due, link->deadline);
  if (due == G_MAXINT64)
    return;
  at.it_value.tv_sec = due / G_USEC_PER_SEC;
  at.it_value.tv_nsec = due % G_USEC_PER_SEC * 1000;
  timerfd_settime (link->timer.fd, TFD_TIMER_ABSTIME, &at, NULL);
  vd_nbd_link_watch (&link->timer, link->timer.fd, POLLIN);
}

void
vd_nbd_link_on_timer (VdNbdLink *link)
{
  guint64 n;

  (void) !read (link->timer.fd, &n, sizeof n);
  vd_nbd_link_pump (link);
}
