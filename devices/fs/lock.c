/* SPDX-License-Identifier: BSD-3-Clause
 *
 * lock.c - see lock.h
 *
 * The owners' files, the list of those who wait, the thread that tries again,
 * and the three operations on top of them.
 */
#include "devices/fs/lock.h"

#include <errno.h>
#include <fcntl.h>
#include <sys/file.h>
#include <sys/stat.h>
#include <time.h>
#include <unistd.h>

#include "devices/fs/entry.h"
#include "devices/fs/ops.h"
#include "vring/fd.h"

/* How long until others are asked again: soon at first, then less often. */
#define RETRY_MIN_MS 1
#define RETRY_MAX_MS 50

/* The open file of one owner. */
struct VdFsLockFile {
  guint64 nodeid, owner; /* the key */
  int fd;
  guint refs; /* by the locks' lock; one is the table's while it is in it */
  VdFsBudget *budget;
};

/* Files of owners. */

static guint
file_hash (gconstpointer key)
{
  const VdFsLockFile *file = key;

  return g_int64_hash (&file->nodeid) * 31 + g_int64_hash (&file->owner);
}

static gboolean
file_equal (gconstpointer a, gconstpointer b)
{
  const VdFsLockFile *one = a, *two = b;

  return one->nodeid == two->nodeid && one->owner == two->owner;
}

/* Drops a reference; NULL is fine. */
static void
file_put (VdFsLocks *locks, VdFsLockFile *file)
{
  gboolean last;

  if (file == NULL)
    return;
  pthread_mutex_lock (&locks->lock);
  last = --file->refs == 0;
  pthread_mutex_unlock (&locks->lock);
  if (!last)
    return;
  close (file->fd); /* and its locks are gone */
  vd_fs_budget_give (file->budget);
  g_free (file);
}

/* With the lock.  Returns: (transfer none) (nullable): the file of the owner. */
static VdFsLockFile *
file_lookup (VdFsLocks *locks, guint64 nodeid, guint64 owner)
{
  const VdFsLockFile key = { .nodeid = nodeid, .owner = owner };

  return g_hash_table_lookup (locks->files, &key);
}

/* Returns: (transfer full) (nullable): the same. */
static VdFsLockFile *
file_find (VdFsLocks *locks, guint64 nodeid, guint64 owner)
{
  VdFsLockFile *file;

  pthread_mutex_lock (&locks->lock);
  file = file_lookup (locks, nodeid, owner);
  if (file != NULL)
    file->refs++;
  pthread_mutex_unlock (&locks->lock);
  return file;
}

/* Adds @file, unless another request of the same owner was faster.
 * @file: (transfer full)
 * Returns: (transfer full): the one that is in the table. */
static VdFsLockFile *
file_add (VdFsLocks *locks, VdFsLockFile *file)
{
  VdFsLockFile *other;

  pthread_mutex_lock (&locks->lock);
  other = g_hash_table_lookup (locks->files, file);
  if (other == NULL) {
    g_hash_table_add (locks->files, file);
    file->refs = 2;
  } else {
    file->refs = 1;
    other->refs++;
  }
  pthread_mutex_unlock (&locks->lock);
  if (other == NULL)
    return file;
  file_put (locks, file);
  return other;
}

/* Opens a file of the owner's own.  A lock for writing needs a file that is
 * open for writing; whether the guest may is its kernel's business. */
static int
open_for_locks (VdFs *fs, const VdFsInode *inode)
{
  int fd = vd_fs_reopen (fs, inode->fd, O_RDWR | O_NONBLOCK);

  if (fd == -EACCES || fd == -EROFS || fd == -EPERM || fd == -ETXTBSY)
    fd = vd_fs_reopen (fs, inode->fd, O_RDONLY | O_NONBLOCK);
  return fd;
}

/* Opens the file of an owner that has none.  Returns: 0 and the file,
 * referenced, or -errno. */
static int
file_open (VdFs *fs, guint64 nodeid, const VdFsInode *inode, guint64 owner,
           VdFsLockFile **ret)
{
  VdFsLockFile *file;
  int fd;

  if (!vd_fs_budget_take (&fs->budget))
    return -ENOLCK;
  fd = open_for_locks (fs, inode);
  file = fd >= 0 ? g_try_new0 (VdFsLockFile, 1) : NULL;
  if (file == NULL) {
    vd_fs_budget_give (&fs->budget);
    if (fd < 0)
      return fd;
    close (fd);
    return -ENOMEM;
  }
  *file = (VdFsLockFile){ nodeid, owner, fd, 0, &fs->budget };
  *ret = file_add (&fs->locks, file);
  return 0;
}

/* Returns: 0 and the file of the owner, referenced, or -errno. */
static int
file_get (VdFs *fs, guint64 nodeid, guint64 fh, guint64 owner,
          VdFsLockFile **ret)
{
  VdFsHandle *handle;
  int r = vd_fs_handles_get (&fs->handles, fh, nodeid, VD_FS_FILE, &handle);

  if (r < 0)
    return r;
  *ret = file_find (&fs->locks, nodeid, owner);
  if (*ret == NULL)
    r = file_open (fs, nodeid, handle->inode, owner, ret);
  vd_fs_handles_put (handle);
  return r;
}

void
vd_fs_locks_drop_owner (VdFsLocks *locks, guint64 nodeid, guint64 owner)
{
  VdFsLockFile *file;

  pthread_mutex_lock (&locks->lock);
  file = file_lookup (locks, nodeid, owner);
  if (file != NULL)
    g_hash_table_remove (locks->files, file);
  pthread_mutex_unlock (&locks->lock);
  if (file == NULL)
    return;
  file_put (locks, file);
  vd_fs_locks_kick (locks);
}

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
  file_put (locks, file);
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
  if (vd_queue_is_stopping (req->queue->queue)) {
    answer (req, -EAGAIN);
    return;
  }
  req->queue->n_waiting++;
  req->state = VD_FS_DEFERRED;
  req->wait.next = NULL;
  req->wait.end_with = 0;
  pthread_mutex_lock (&locks->lock);
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

/* Ends the waiting of those that are on @queue, if it is not NULL, or have the
 * number @unique, if it is not 0, or of all. */
static void
end_waiting (VdFsLocks *locks, const VdFsQueue *queue, guint64 unique, int with)
{
  pthread_mutex_lock (&locks->lock);
  for (VdFsRequest *req = locks->first; req != NULL; req = req->wait.next)
    if ((queue == NULL || req->queue == queue) &&
        (unique == 0 || req->in.unique == unique))
      req->wait.end_with = with;
  pthread_cond_signal (&locks->changed);
  pthread_mutex_unlock (&locks->lock);
}

void
vd_fs_locks_interrupt (VdFsLocks *locks, guint64 unique)
{
  if (unique != 0)
    end_waiting (locks, NULL, unique, -EINTR);
}

void
vd_fs_locks_drain (VdFsLocks *locks, const VdFsQueue *queue)
{
  end_waiting (locks, queue, 0, -EAGAIN);
}

/* Life. */

void
vd_fs_locks_init (VdFsLocks *locks)
{
  *locks = (VdFsLocks){ .job = { .run = run_waiting } };
  pthread_mutex_init (&locks->lock, NULL);
  pthread_cond_init (&locks->changed, NULL);
  locks->files = g_hash_table_new (file_hash, file_equal);
  locks->last = &locks->first;
  vd_fs_reaper_init (&locks->thread);
}

void
vd_fs_locks_reset (VdFsLocks *locks)
{
  GHashTable *files, *empty = g_hash_table_new (file_hash, file_equal);
  GHashTableIter iter;
  gpointer file;

  end_waiting (locks, NULL, 0, -EAGAIN);
  pthread_mutex_lock (&locks->lock);
  files = locks->files;
  locks->files = empty;
  pthread_mutex_unlock (&locks->lock);
  g_hash_table_iter_init (&iter, files);
  while (g_hash_table_iter_next (&iter, &file, NULL))
    file_put (locks, file);
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
  r = file_get (fs, nodeid, fh, owner, &req->wait.file);
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
  r = file_get (fs, nodeid, fh, owner, &file);
  if (r < 0)
    return r;
  lock.l_pid = 0; /* as OFD locks want it */
  r = fcntl (file->fd, F_OFD_GETLK, &lock) < 0 ? -errno : 0;
  file_put (&fs->locks, file);
  if (r < 0)
    return r;
  /* Nobody in the guest has the number of a process on the host. */
  out.lk.type = (guint32) lock.l_type;
  if (lock.l_type != F_UNLCK) {
    out.lk.start = (guint64) lock.l_start;
    out.lk.end = lock.l_len == 0 ? G_MAXINT64
                                 : (guint64) (lock.l_start + lock.l_len - 1);
  }
  vd_fs_reply (req, &out, sizeof out);
  return 0;
}

void
vd_fs_locks_foreach (VdFsLocks *locks, void (*func) (int fd, gpointer data),
                     gpointer data)
{
  GHashTableIter iter;
  gpointer key;

  pthread_mutex_lock (&locks->lock);
  g_hash_table_iter_init (&iter, locks->files);
  while (g_hash_table_iter_next (&iter, &key, NULL))
    func (((const VdFsLockFile *) key)->fd, data);
  pthread_mutex_unlock (&locks->lock);
}
