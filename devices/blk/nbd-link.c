/* SPDX-License-Identifier: BSD-3-Clause
 *
 * nbd-link.c - see nbd-link.h
 *
 * libnbd calls back with its lock held, so a callback only moves its task to the
 * list of those that are done; settle() then answers them.  A task is in one of
 * three lists: waiting for a connection or a buffer, sent, done.  When a
 * connection breaks, its handle is closed first, after which nobody touches
 * guest memory, and then whatever was sent waits again.
 */
#define G_LOG_DOMAIN "virtiod-blk"

#include "devices/blk/nbd-link.h"

#include <errno.h>
#include <fcntl.h>
#include <libnbd.h>
#include <poll.h>
#include <stdbool.h>
#include <stdlib.h>
#include <sys/timerfd.h>
#include <unistd.h>

#include "devices/blk/nbd-attempt.h"
#include "vring/fd.h"
#include "vring/iov.h"

/* The pause between attempts to connect: doubled from the one to the other. */
#define PAUSE_MIN_US 50000
#define PAUSE_MAX_US 5000000

/* A first buffer of this length is worth a command of its own. */
#define DIRECT_LEN (64u << 10)

/* As many segments of a page as a request may have. */
#define BOUNCE_LEN (512u << 10)
#define N_BOUNCES  8

TAILQ_HEAD (VdTaskList, VdTask);

/* A descriptor that the link waits for. */
typedef struct {
  VdOp op;
  VdNbdLink *link;
  int fd;
  short events;
  bool armed, canceled;
} Watch;

struct VdNbdLink {
  VdNbdLinkSetup setup;
  VdWorker *worker;

  struct nbd_handle *handle; /* NULL: not connected */
  VdNbdAttempt *attempt;     /* NULL: none under way */
  Watch socket, attempted, timer;
  struct VdTaskList waiting, sent, done;
  VdTask *sending; /* of sent: while libnbd takes it */

  gint64 next_attempt, deadline, pause; /* microseconds */
  bool failing;                         /* the deadline has passed */
  bool told;                            /* that there is no connection */
  bool closing;
  bool woken; /* wake is posted */
  VdMail wake;
  guint n_pending; /* polls and mail that will call us */

  guint8 *bounces;    /* N_BOUNCES of BOUNCE_LEN; NULL until one is needed */
  guint bounces_free; /* a bit each */
};

static void pump (VdNbdLink *link);
static void tick (VdNbdLink *link);

/* Waiting for descriptors. */

static void
watch (Watch *on, int fd, short events)
{
  VdNbdLink *link = on->link;

  if (on->armed) {
    /* A new descriptor, or more events: once the old poll has ended. */
    if ((on->fd != fd || (events & ~on->events) != 0) && !on->canceled) {
      vd_worker_cancel_poll (link->worker, &on->op, on->fd);
      on->canceled = true;
    }
    return;
  }
  on->fd = fd;
  on->events = events;
  on->armed = true;
  on->canceled = false;
  link->n_pending++;
  vd_worker_poll (link->worker, &on->op, fd, events);
}

static void
unwatch (Watch *on)
{
  if (!on->armed || on->canceled)
    return;
  vd_worker_cancel_poll (on->link->worker, &on->op, on->fd);
  on->canceled = true;
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
    free (link->bounces);
    g_free (link);
  }
  return false;
}

static VdNbdLink *
link_of (VdOp *op)
{
  Watch *on = VD_CONTAINER (op, Watch, op);

  on->armed = false;
  return on->link;
}

static void
run_wake (VdMail *mail)
{
  VdNbdLink *link = VD_CONTAINER (mail, VdNbdLink, wake);

  link->woken = false;
  if (enter (link))
    pump (link);
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

/* Buffers. */

static void *
take_bounce (VdNbdLink *link)
{
  guint i;

  if (link->bounces == NULL)
    link->bounces = aligned_alloc (4096, (gsize) N_BOUNCES * BOUNCE_LEN);
  if (link->bounces == NULL || link->bounces_free == 0)
    return NULL;
  i = (guint) __builtin_ctz (link->bounces_free);
  link->bounces_free &= link->bounces_free - 1;
  return link->bounces + (gsize) i * BOUNCE_LEN;
}

static void
return_bounce (VdNbdLink *link, VdTask *task)
{
  if (task->nbd.bounce == NULL)
    return;
  link->bounces_free |=
      1u << (((guint8 *) task->nbd.bounce - link->bounces) / BOUNCE_LEN);
  task->nbd.bounce = NULL;
}

/* Chooses the buffer of the task's next command.
 * Returns: NULL if it has to wait for one. */
static void *
choose_buffer (VdNbdLink *link, VdTask *task)
{
  const VdCall *call = &task->call;
  const struct iovec *first = call->iov;
  gsize direct = MIN (first->iov_len, link->setup.max_len);

  direct &= ~(gsize) (link->setup.align - 1);
  task->nbd.bounce = NULL;
  if (direct > 0 && (call->n_iov == 1 || direct >= DIRECT_LEN)) {
    task->nbd.len = (guint32) direct;
    return first->iov_base;
  }
  task->nbd.len = (guint32) MIN (MIN (call->len, BOUNCE_LEN), //
                                 link->setup.max_len);
  task->nbd.bounce = take_bounce (link);
  if (task->nbd.bounce != NULL && call->kind == VD_CALL_WRITE)
    vd_iov_read (call->iov, call->n_iov, 0, task->nbd.bounce, task->nbd.len);
  return task->nbd.bounce;
}

/* Answering. */

static inline VdTask *
task_of (VdMail *mail)
{
  return VD_CONTAINER (mail, VdTask, op.mail);
}

static void
run_done (VdMail *mail)
{
  VdTask *task = task_of (mail);

  task->op.done (&task->op, task->op.res);
}

static void
answer (VdTask *task, int res)
{
  if (task->op.box == NULL) {
    task->op.done (&task->op, res);
    return;
  }
  task->op.res = res;
  task->op.mail.run = run_done;
  vd_mailbox_post (task->op.box, &task->op.mail);
}

static bool
has_data (const VdTask *task)
{
  return task->call.kind == VD_CALL_READ || task->call.kind == VD_CALL_WRITE;
}

/* Answers a task with what its command came to. */
static void
answer_done (VdNbdLink *link, VdTask *task)
{
  const VdCall *call = &task->call;
  int res = has_data (task) ? (int) task->nbd.len : 0;

  /* These two ask the caller to try another way, which there is not. */
  if (task->nbd.error == EAGAIN || task->nbd.error == EINTR)
    task->nbd.error = EIO;
  if (task->nbd.error == 0)
    link->pause = PAUSE_MIN_US;
  if (task->nbd.error != 0)
    res = -task->nbd.error;
  else if (call->kind == VD_CALL_READ && task->nbd.bounce != NULL)
    vd_iov_write (call->iov, call->n_iov, 0, task->nbd.bounce, task->nbd.len);
  return_bounce (link, task);
  answer (task, res);
}

/* What cannot be made now. */

static void
end_task (VdNbdLink *link, VdTask *task, int error)
{
  task->nbd.done = true;
  task->nbd.error = error;
  TAILQ_INSERT_TAIL (&link->done, task, nbd.entry);
}

/* Puts a task among those that wait, or hands it on. */
static void
put_off (VdNbdLink *link, VdTask *task)
{
  task->nbd.done = false;
  return_bounce (link, task);
  if (link->setup.divert != NULL)
    link->setup.divert (link->setup.divert_owner, task);
  else
    TAILQ_INSERT_TAIL (&link->waiting, task, nbd.entry);
}

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
    end_task (link, task, ENOTCONN);
    wake (link);
  }
}

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
  link->pause = MIN (link->pause * 2, PAUSE_MAX_US);
}

/* The connection is of no more use: closes it, and puts off what was sent. */
static void
lose (VdNbdLink *link)
{
  struct VdTaskList lost = TAILQ_HEAD_INITIALIZER (lost);
  VdTask *task;
  gint64 now;

  g_debug ("%s: %s", link->setup.id,
           nbd_aio_is_dead (link->handle) == 1 ? nbd_get_error ()
                                               : "the server went away");
  unwatch (&link->socket);
  g_clear_pointer (&link->handle, nbd_close);
  TAILQ_CONCAT (&lost, &link->done, nbd.entry);
  TAILQ_CONCAT (&lost, &link->sent, nbd.entry);
  TAILQ_CONCAT (&lost, &link->waiting, nbd.entry);
  while ((task = TAILQ_FIRST (&lost)) != NULL) {
    TAILQ_REMOVE (&lost, task, nbd.entry);
    if (task->nbd.done && task->nbd.error == 0)
      TAILQ_INSERT_TAIL (&link->done, task, nbd.entry);
    else
      put_off (link, task);
  }
  tell (link, "the connection broke");
  now = g_get_monotonic_time ();
  link->deadline = now + link->setup.delay_us;
  pause_before_next (link, now - PAUSE_MIN_US);
  tick (link);
}

/* Sending. */

/* libnbd's lock is held.  A connection that breaks while it sends a command ends
 * that one as well, and libnbd reads it once more before it returns.
 * Returns: 1 if libnbd shall free the command, 0 if send_task() does. */
static int
on_complete (void *user_data, int *error)
{
  VdTask *task = user_data;
  VdNbdLink *link = task->nbd.link;

  TAILQ_REMOVE (&link->sent, task, nbd.entry);
  end_task (link, task, *error);
  return task == link->sending ? 0 : 1;
}

/* Returns: a cookie, or -1. */
static gint64
send_command (VdNbdLink *link, VdTask *task, void *buffer)
{
  struct nbd_handle *nbd = link->handle;
  const VdCall *call = &task->call;
  nbd_completion_callback done = { .callback = on_complete, .user_data = task };

  switch (call->kind) {
  case VD_CALL_READ:
    return nbd_aio_pread (nbd, buffer, task->nbd.len, call->offset, done, 0);
  case VD_CALL_WRITE:
    return nbd_aio_pwrite (nbd, buffer, task->nbd.len, call->offset, done,
                           call->flags != 0 ? LIBNBD_CMD_FLAG_FUA : 0);
  case VD_CALL_SYNC: return nbd_aio_flush (nbd, done, 0);
  case VD_CALL_DISCARD:
    return nbd_aio_trim (nbd, call->len, call->offset, done, 0);
  case VD_CALL_ALLOCATE:
    return nbd_aio_zero (nbd, call->len, call->offset, done,
                         (call->flags & FALLOC_FL_PUNCH_HOLE) != 0
                             ? 0
                             : LIBNBD_CMD_FLAG_NO_HOLE);
  case VD_CALL_ERASE: break; /* no server knows it */
  }
  g_assert_not_reached ();
}

/* Whether the server knows the command. */
static bool
is_known (const VdNbdLink *link, VdCallKind kind)
{
  switch (kind) {
  case VD_CALL_SYNC: return nbd_can_flush (link->handle) == 1;
  case VD_CALL_DISCARD: return nbd_can_trim (link->handle) == 1;
  case VD_CALL_ALLOCATE: return nbd_can_zero (link->handle) == 1;
  case VD_CALL_ERASE: return false;
  case VD_CALL_READ:
  case VD_CALL_WRITE: break;
  }
  return true;
}

/* Returns: FALSE if it has to wait for a buffer. */
static bool
send_task (VdNbdLink *link, VdTask *task)
{
  void *buffer = NULL;
  gint64 cookie;

  if (has_data (task) && (buffer = choose_buffer (link, task)) == NULL)
    return false;
  TAILQ_REMOVE (&link->waiting, task, nbd.entry);
  if (!is_known (link, task->call.kind)) {
    /* A server without flushes has nothing to flush. */
    end_task (link, task, task->call.kind == VD_CALL_SYNC ? 0 : EOPNOTSUPP);
    return true;
  }
  task->nbd.done = false;
  TAILQ_INSERT_TAIL (&link->sent, task, nbd.entry);
  link->sending = task;
  cookie = send_command (link, task, buffer);
  link->sending = NULL;
  if (cookie < 0) { /* refused: nobody calls back */
    int error = nbd_get_errno ();

    on_complete (task, error != 0 ? &error : &(int){ EIO });
  } else if (task->nbd.done)
    nbd_aio_command_completed (link->handle, cookie);
  return true;
}

static bool
is_lost (const VdNbdLink *link)
{
  return nbd_aio_is_dead (link->handle) == 1 ||
         nbd_aio_is_closed (link->handle) == 1;
}

static void
send_waiting (VdNbdLink *link)
{
  VdTask *task;

  while ((task = TAILQ_FIRST (&link->waiting)) != NULL &&
         send_task (link, task))
    ;
}

/* Receiving. */

/* Answers what is done; a server that shuts down is as good as gone.  An answer
 * may have the caller send more, which may find the connection broken: what was
 * lost by that is done with an error that is not the server's answer. */
static void
settle (VdNbdLink *link)
{
  VdTask *task;
  bool leaving = false;

  while ((task = TAILQ_FIRST (&link->done)) != NULL &&
         (link->handle == NULL || !is_lost (link))) {
    TAILQ_REMOVE (&link->done, task, nbd.entry);
    if (task->nbd.error == ESHUTDOWN && link->handle != NULL) {
      leaving = true;
      task->nbd.done = false;
      TAILQ_INSERT_TAIL (&link->sent, task, nbd.entry);
    } else
      answer_done (link, task);
  }
  if (leaving)
    lose (link);
}

static bool
wants (const VdNbdLink *link, unsigned direction)
{
  return (nbd_aio_get_direction (link->handle) & direction) != 0;
}

static void
await_socket (VdNbdLink *link)
{
  bool full = wants (link, LIBNBD_AIO_DIRECTION_WRITE);

  watch (&link->socket, nbd_aio_get_fd (link->handle),
         (short) (full ? POLLIN | POLLOUT : POLLIN));
}

/* Goes on with whatever can go on. */
static void
pump (VdNbdLink *link)
{
  do {
    if (link->handle != NULL && is_lost (link))
      lose (link);
    settle (link);
    if (link->handle != NULL)
      send_waiting (link);
  } while (!TAILQ_EMPTY (&link->done) ||
           (link->handle != NULL && is_lost (link)));
  if (link->handle != NULL)
    await_socket (link);
}

static bool
is_readable (const VdNbdLink *link)
{
  struct pollfd socket = { nbd_aio_get_fd (link->handle), POLLIN, 0 };

  return poll (&socket, 1, 0) > 0;
}

/* Takes all replies that are there: libnbd takes one at a time.  It must not be
 * told of a reply that is not there, since it then waits for that one before it
 * sends anything more.  What a poll said is not enough: the kernel may report
 * data that was already read when its sender was late to announce it. */
static void
receive (VdNbdLink *link)
{
  while (wants (link, LIBNBD_AIO_DIRECTION_READ) && is_readable (link))
    nbd_aio_notify_read (link->handle);
}

static void
on_socket (VdOp *op, int res)
{
  VdNbdLink *link = link_of (op);

  if (!enter (link))
    return;
  /* What a canceled poll says may be of an older connection. */
  if (link->handle != NULL && res > 0 && !link->socket.canceled) {
    if ((res & POLLOUT) && wants (link, LIBNBD_AIO_DIRECTION_WRITE))
      nbd_aio_notify_write (link->handle);
    if ((res & ~POLLOUT) && wants (link, LIBNBD_AIO_DIRECTION_READ))
      receive (link);
  }
  pump (link);
}

/* Connecting. */

static void
adopt (VdNbdLink *link, struct nbd_handle *handle)
{
  link->handle = handle;
  link->failing = false;
  if (link->told)
    g_message ("%s: image: connected to the server again", link->setup.id);
  link->told = false;
  pump (link);
}

static void
on_attempted (VdOp *op, int res)
{
  VdNbdLink *link = link_of (op);
  g_autoptr (GError) error = NULL;
  struct nbd_handle *handle;

  if (!enter (link))
    return;
  handle = vd_nbd_attempt_take (link->attempt, &error);
  g_clear_pointer (&link->attempt, vd_nbd_attempt_free);
  if (handle != NULL &&
      link->setup.accept (link->setup.owner, handle, &error)) {
    adopt (link, handle);
    return;
  }
  nbd_close (handle);
  tell (link, error->message);
  pause_before_next (link, g_get_monotonic_time ());
  tick (link);
}

static void
attempt (VdNbdLink *link)
{
  g_autoptr (GError) error = NULL;

  link->attempt = vd_nbd_attempt_new (link->setup.uri, &error);
  if (link->attempt != NULL) {
    watch (&link->attempted, vd_nbd_attempt_fd (link->attempt), POLLIN);
    return;
  }
  tell (link, error->message);
  link->next_attempt = g_get_monotonic_time () + PAUSE_MAX_US;
}

/* Does what is due without a connection, and sets the timer for the rest. */
static void
tick (VdNbdLink *link)
{
  gint64 now = g_get_monotonic_time (), due = G_MAXINT64;
  struct itimerspec at = { 0 };

  if (link->handle != NULL)
    return;
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
  watch (&link->timer, link->timer.fd, POLLIN);
}

static void
on_timer (VdOp *op, int res)
{
  VdNbdLink *link = link_of (op);
  guint64 n;

  if (!enter (link))
    return;
  (void) !read (link->timer.fd, &n, sizeof n);
  tick (link);
}

/* Its life. */

static void
init_watch (VdNbdLink *link, Watch *on, void (*done) (VdOp *op, int res))
{
  on->op.done = done;
  on->link = link;
  on->fd = -1;
}

VdNbdLink *
vd_nbd_link_new (const VdNbdLinkSetup *setup, VdWorker *worker)
{
  VdNbdLink *link = g_new0 (VdNbdLink, 1);

  link->setup = *setup;
  link->worker = worker;
  link->wake.run = run_wake;
  link->pause = PAUSE_MIN_US;
  link->bounces_free = (1u << N_BOUNCES) - 1;
  TAILQ_INIT (&link->waiting);
  TAILQ_INIT (&link->sent);
  TAILQ_INIT (&link->done);
  init_watch (link, &link->socket, on_socket);
  init_watch (link, &link->attempted, on_attempted);
  init_watch (link, &link->timer, on_timer);
  return link;
}

void
vd_nbd_link_start (VdNbdLink *link, struct nbd_handle *handle)
{
  link->timer.fd = timerfd_create (CLOCK_MONOTONIC, TFD_CLOEXEC | TFD_NONBLOCK);
  link->next_attempt = g_get_monotonic_time ();
  link->deadline = link->next_attempt + link->setup.delay_us;
  if (handle != NULL)
    adopt (link, handle);
  else
    tick (link);
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
    answer (task, -ENOTCONN);
  }
}

void
vd_nbd_link_stop (VdNbdLink *link)
{
  unwatch (&link->socket);
  unwatch (&link->attempted);
  unwatch (&link->timer);
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
  task->nbd.done = false;
  if (link->failing) {
    end_task (link, task, ENOTCONN);
    wake (link);
    return;
  }
  TAILQ_INSERT_TAIL (&link->waiting, task, nbd.entry);
  if (link->handle == NULL)
    return;
  send_waiting (link);
  if (!TAILQ_EMPTY (&link->done) || is_lost (link))
    wake (link);
  else
    await_socket (link);
}
