/* SPDX-License-Identifier: BSD-3-Clause
 *
 * lock.c - see lock.h
 *
 * The list of those who wait, the thread that tries again, and the three
 * operations on top of them and of the owners' files.
 */
#include "devices/fs/lock.h"

#include <errno.h>
#include <fcntl.h>
#include <string.h>
#include <sys/file.h>
#include <time.h>

#include "devices/fs/lock-file.h"
#include "devices/fs/ops.h"

/* How long until others are asked again: soon at first, then less often. */
#define RETRY_MIN_MS 1
#define RETRY_MAX_MS 50

/* Waiting. */

/* Tries to lock or unlock.  Returns: 0, -EAGAIN if another has the lock, or
 * another -errno. */
static int
try_lock (const VdFsWait *wait)
{
  struct flock lock = {
    .l_type = (short) wait->type,
    .l_whence = SEEK_SET,
    .l_start = (off_t) wait->start,
    .l_len = (off_t) wait->len,
  };
  int r = wait->handle != NULL ? flock (wait->handle->fd, wait->type | LOCK_NB)
                               : fcntl (wait->file->fd, F_OFD_SETLK, &lock);

  if (r == 0)
    return 0;
  return errno == EACCES ? -EAGAIN : -errno;
}

/* QUEUE */
static void
answer (VdFsRequest *req, int r)
{
  VdFsLocks *locks = &vd_fs_of (req)->locks;
  VdFsHandle *handle = req->wait.handle;
  VdFsLockFile *file = req->wait.file;

  if (r < 0)
    vd_fs_reply_error (req, r);
  else
    vd_fs_reply (req, NULL, 0);
  vd_fs_handles_put (handle);
  vd_fs_lock_file_put (locks, file);
}

static void
run_answer (VdMail *mail)
{
  VdFsRequest *req = VD_CONTAINER (mail, VdFsRequest, wait.mail);

  req->queue->n_waiting--;
  answer (req, req->wait.res);
}

/* Hands the result of @req to its queue; it is no longer ours. */
static void
post_answer (VdFsRequest *req, int r)
{
  req->wait.res = r;
  req->wait.mail.run = run_answer;
  vd_worker_post (req->queue->worker, &req->wait.mail);
}

/* Lets everyone who waits try once.  With the lock, but not while trying.
 * Returns: whether anybody's waiting ended. */
static gboolean
try_all (VdFsLocks *locks)
{
  VdFsRequest **link = &locks->first;
  gboolean progress = FALSE;

  while (*link != NULL) {
    VdFsRequest *req = *link;
    int r = req->wait.end_with;

    if (r == 0) {
      pthread_mutex_unlock (&locks->lock);
      r = try_lock (&req->wait);
      pthread_mutex_lock (&locks->lock);
      if (r == -EAGAIN && req->wait.end_with != 0)
        r = req->wait.end_with;
      else if (r == -EAGAIN) {
        link = &req->wait.next;
        continue;
      }
    }
    *link = req->wait.next;
    if (*link == NULL)
      locks->last = link;
    post_answer (req, r);
    progress = TRUE;
  }
  return progress;
}

static struct timespec
ms_from_now (guint ms)
{
  struct timespec at;

  clock_gettime (CLOCK_REALTIME, &at);
  at.tv_nsec += ms * 1000000L;
  at.tv_sec += at.tv_nsec / 1000000000;
  at.tv_nsec %= 1000000000;
  return at;
}

/* The thread: until nobody waits. */
static void
run_waiting (VdFsJob *job)
{
  VdFsLocks *locks = VD_CONTAINER (job, VdFsLocks, job);
  guint ms = RETRY_MIN_MS;

  pthread_mutex_lock (&locks->lock);
  while (locks->first != NULL) {
    struct timespec until;

    if (try_all (locks))
      ms = RETRY_MIN_MS;
    if (locks->first == NULL)
      break;
    until = ms_from_now (ms);
    /* Kicked: the time starts anew as well. */
    ms = pthread_cond_timedwait (&locks->changed, &locks->lock, &until) == 0
             ? RETRY_MIN_MS
             : MIN (ms * 2, RETRY_MAX_MS);
  }
  locks->running = FALSE;
  pthread_mutex_unlock (&locks->lock);
}

/* With the lock.  Returns: whether request @unique was interrupted before it
 * came here, which is then forgotten. */
static gboolean
was_interrupted (VdFsLocks *locks, guint64 unique)
{
  for (guint i = 0; unique != 0 && i < VD_FS_INTERRUPTED_MAX; i++)
    if (locks->interrupted[i] == unique) {
      locks->interrupted[i] = 0;
      return TRUE;
    }
  return FALSE;
}

/* QUEUE: lets @req wait. */
static void
enqueue (VdFsRequest *req)
{
  VdFsLocks *locks = &vd_fs_of (req)->locks;
  gboolean start;

  if (req->queue->n_waiting >= VD_FS_WAITING_MAX) {
    answer (req, -ENOLCK);
    return;
  }
  if (vd_chain_is_awaited (req->chain)) {
    answer (req, -EAGAIN);
    return;
  }
  req->queue->n_waiting++;
  req->state = VD_FS_DEFERRED;
  req->wait.next = NULL;
  pthread_mutex_lock (&locks->lock);
  req->wait.end_with = was_interrupted (locks, req->in.unique) ? -EINTR : 0;
  *locks->last = req;
  locks->last = &req->wait.next;
  start = !locks->running;
  locks->running = TRUE;
  pthread_cond_signal (&locks->changed);
  pthread_mutex_unlock (&locks->lock);
  if (start)
    vd_fs_reaper_push (&locks->thread, &locks->job);
}

void
vd_fs_locks_kick (VdFsLocks *locks)
{
  pthread_mutex_lock (&locks->lock);
  if (locks->first != NULL)
    pthread_cond_signal (&locks->changed);
  pthread_mutex_unlock (&locks->lock);
}

/* With the lock.  Ends the waiting of those that are on @queue, if it is not
 * NULL, and have the number @unique, if it is not 0.
 * Returns: whether there was one. */
static gboolean
end_waiting (VdFsLocks *locks, const VdFsQueue *queue, guint64 unique, int with)
{
  gboolean found = FALSE;

  for (VdFsRequest *req = locks->first; req != NULL; req = req->wait.next)
    if ((queue == NULL || req->queue == queue) &&
        (unique == 0 || req->in.unique == unique)) {
      req->wait.end_with = with;
      found = TRUE;
    }
  pthread_cond_signal (&locks->changed);
  return found;
}

void
vd_fs_locks_interrupt (VdFsLocks *locks, guint64 unique)
{
  if (unique == 0)
    return;
  pthread_mutex_lock (&locks->lock);
  if (!end_waiting (locks, NULL, unique, -EINTR)) {
    locks->interrupted[locks->next_interrupted] = unique;
    locks->next_interrupted =
        (locks->next_interrupted + 1) % VD_FS_INTERRUPTED_MAX;
  }
  pthread_mutex_unlock (&locks->lock);
}

void
vd_fs_locks_drain (VdFsLocks *locks, const VdFsQueue *queue)
{
  pthread_mutex_lock (&locks->lock);
  end_waiting (locks, queue, 0, -EAGAIN);
  pthread_mutex_unlock (&locks->lock);
}

/* Life. */

void
vd_fs_locks_init (VdFsLocks *locks)
{
  *locks = (VdFsLocks){ .job = { .run = run_waiting } };
  pthread_mutex_init (&locks->lock, NULL);
  pthread_cond_init (&locks->changed, NULL);
  locks->files = vd_fs_lock_files_new ();
  locks->last = &locks->first;
  vd_fs_reaper_init (&locks->thread);
}

void
vd_fs_locks_reset (VdFsLocks *locks)
{
  GHashTable *files, *empty = vd_fs_lock_files_new ();
  GHashTableIter iter;
  gpointer file;

  pthread_mutex_lock (&locks->lock);
  end_waiting (locks, NULL, 0, -EAGAIN);
  memset (locks->interrupted, 0, sizeof locks->interrupted);
  files = locks->files;
  locks->files = empty;
  pthread_mutex_unlock (&locks->lock);
  g_hash_table_iter_init (&iter, files);
  while (g_hash_table_iter_next (&iter, &file, NULL))
    vd_fs_lock_file_put (locks, file);
  g_hash_table_unref (files);
}

void
vd_fs_locks_clear (VdFsLocks *locks)
{
  vd_fs_locks_reset (locks);
  vd_fs_reaper_clear (&locks->thread);
  g_hash_table_unref (locks->files);
  pthread_cond_destroy (&locks->changed);
  pthread_mutex_destroy (&locks->lock);
}

/* Operations. */

/* Tries at once; answers, or waits if that is wanted. */
static int
lock_now_or_wait (VdFsRequest *req, gboolean unlocks, gboolean waits)
{
  VdFsLocks *locks = &vd_fs_of (req)->locks;
  int r = try_lock (&req->wait);

  if (r == 0 && unlocks)
    vd_fs_locks_kick (locks);
  if (r != -EAGAIN || !waits)
    answer (req, r);
  else if (req->abroad) {
    req->state = VD_FS_DEFERRED;
    req->at_home = enqueue;
  } else
    enqueue (req);
  return 0;
}

int
vd_fs_op_flock (VdFsRequest *req, guint64 nodeid, guint64 fh, int op)
{
  VdFs *fs = vd_fs_of (req);
  int r;

  if ((fs->policy.locks & VD_FS_LOCKS_FLOCK) == 0)
    return -ENOSYS;
  req->wait = (VdFsWait){ .type = op & ~LOCK_NB };
  r = vd_fs_handles_get (&fs->handles, fh, nodeid, VD_FS_FILE | VD_FS_DIR,
                         &req->wait.handle);
  if (r < 0)
    return r;
  return lock_now_or_wait (req, op == LOCK_UN || (op & LOCK_SH) != 0,
                           (op & LOCK_NB) == 0);
}

int
vd_fs_op_setlk (VdFsRequest *req, guint64 nodeid, guint64 fh, guint64 owner,
                const struct flock *lock, gboolean waits)
{
  VdFs *fs = vd_fs_of (req);
  int r;

  if ((fs->policy.locks & VD_FS_LOCKS_POSIX) == 0)
    return -ENOSYS;
  req->wait = (VdFsWait){
    .type = lock->l_type,
    .start = (guint64) lock->l_start,
    .len = (guint64) lock->l_len,
  };
  r = vd_fs_lock_file_get (fs, nodeid, fh, owner, lock, &req->wait.file);
  return r < 0 ? r : lock_now_or_wait (req, lock->l_type != F_WRLCK, waits);
}

int
vd_fs_op_getlk (VdFsRequest *req, guint64 nodeid, guint64 fh, guint64 owner,
                const struct flock *wanted)
{
  VdFs *fs = vd_fs_of (req);
  struct flock lock = *wanted;
  VdFuseLkOut out = { 0 };
  VdFsLockFile *file;
  int r;

  if ((fs->policy.locks & VD_FS_LOCKS_POSIX) == 0)
    return -ENOSYS;
  r = vd_fs_lock_file_get (fs, nodeid, fh, owner, NULL, &file);
  if (r < 0)
    return r;
  lock.l_pid = 0; /* as OFD locks want it */
  r = fcntl (file->fd, F_OFD_GETLK, &lock) < 0 ? -errno : 0;
  if (r == 0 && lock.l_type != F_UNLCK)
    out.lk.pid = vd_fs_lock_file_holder (&fs->locks, file, &lock);
  vd_fs_lock_file_put (&fs->locks, file);
  if (r < 0)
    return r;
  out.lk.type = (guint32) lock.l_type;
  if (lock.l_type != F_UNLCK) {
    out.lk.start = (guint64) lock.l_start;
    out.lk.end = lock.l_len == 0 ? G_MAXINT64
                                 : (guint64) (lock.l_start + lock.l_len - 1);
  }
  vd_fs_reply (req, &out, sizeof out);
  return 0;
}
