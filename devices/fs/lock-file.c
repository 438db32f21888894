/* SPDX-License-Identifier: BSD-3-Clause
 *
 * lock-file.c - see lock-file.h, and lock.h for what has all owners in mind
 */
#include "devices/fs/lock-file.h"

#include <errno.h>
#include <fcntl.h>
#include <unistd.h>

#include "devices/fs/entry.h"

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

GHashTable *
vd_fs_lock_files_new (void)
{
  return g_hash_table_new (file_hash, file_equal);
}

void
vd_fs_lock_file_put (VdFsLocks *locks, VdFsLockFile *file)
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
  vd_fs_lock_file_put (locks, file);
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
  file->nodeid = nodeid;
  file->owner = owner;
  file->fd = fd;
  file->budget = &fs->budget;
  *ret = file_add (&fs->locks, file);
  return 0;
}

/* Remembers who locks by which handle.
 * @wanted: (nullable): as vd_fs_lock_file_get(); who only asks has a file, too,
 *   which must end with a handle */
static void
note_locker (VdFsLocks *locks, VdFsLockFile *file, VdFsHandle *handle,
             guint64 fh, const struct flock *wanted)
{
  atomic_store_explicit (&handle->has_locked, TRUE, memory_order_relaxed);
  pthread_mutex_lock (&locks->lock);
  if (wanted != NULL || file->fh == 0)
    file->fh = fh;
  if (wanted != NULL &&
      wanted->l_type != F_UNLCK) /* the guest does not say who unlocks */
    file->pid = (guint32) wanted->l_pid;
  pthread_mutex_unlock (&locks->lock);
}

int
vd_fs_lock_file_get (VdFs *fs, guint64 nodeid, guint64 fh, guint64 owner,
                     const struct flock *wanted, VdFsLockFile **ret)
{
  VdFsHandle *handle;
  int r = vd_fs_handles_get (&fs->handles, fh, nodeid, VD_FS_FILE, &handle);

  if (r < 0)
    return r;
  *ret = file_find (&fs->locks, nodeid, owner);
  if (*ret == NULL)
    r = file_open (fs, nodeid, handle->inode, owner, ret);
  if (r == 0)
    note_locker (&fs->locks, *ret, handle, fh, wanted);
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
  vd_fs_lock_file_put (locks, file);
  vd_fs_locks_kick (locks);
}

/* Takes one file out of the table whose owner locked last by @fh.
 * Returns: (transfer full) (nullable): it */
static VdFsLockFile *
take_by_handle (VdFsLocks *locks, guint64 nodeid, guint64 fh)
{
  VdFsLockFile *found = NULL;
  GHashTableIter iter;
  gpointer key;

  pthread_mutex_lock (&locks->lock);
  g_hash_table_iter_init (&iter, locks->files);
  while (found == NULL && g_hash_table_iter_next (&iter, &key, NULL)) {
    VdFsLockFile *file = key;

    if (file->nodeid == nodeid && file->fh == fh) {
      g_hash_table_iter_remove (&iter);
      found = file;
    }
  }
  pthread_mutex_unlock (&locks->lock);
  return found;
}

void
vd_fs_locks_drop_handle (VdFs *fs, guint64 nodeid, guint64 fh)
{
  VdFsHandle *handle;
  VdFsLockFile *file;
  gboolean has_locked;

  if (vd_fs_handles_get (&fs->handles, fh, nodeid, VD_FS_FILE, &handle) < 0)
    return;
  has_locked = atomic_load_explicit (&handle->has_locked, memory_order_relaxed);
  vd_fs_handles_put (handle);
  while (has_locked && (file = take_by_handle (&fs->locks, nodeid, fh)) != NULL)
    vd_fs_lock_file_put (&fs->locks, file);
}

/* Owners who are asked whether a lock is theirs. */
#define OTHERS_MAX 32

/* Returns: how many other owners have locked what @file is of, @ret has the first
 * of them, referenced. */
static guint
other_owners (VdFsLocks *locks, const VdFsLockFile *file,
              VdFsLockFile *ret[OTHERS_MAX])
{
  GHashTableIter iter;
  gpointer key;
  guint n = 0;

  pthread_mutex_lock (&locks->lock);
  g_hash_table_iter_init (&iter, locks->files);
  while (n < OTHERS_MAX && g_hash_table_iter_next (&iter, &key, NULL)) {
    VdFsLockFile *other = key;

    if (other->nodeid == file->nodeid && other != file && other->pid != 0) {
      other->refs++;
      ret[n++] = other;
    }
  }
  pthread_mutex_unlock (&locks->lock);
  return n;
}

/* An owner's own locks are not in its way: if nothing is in the way of @other
 * there, @lock is its own. */
static gboolean
is_holder (const VdFsLockFile *other, const struct flock *lock)
{
  struct flock probe = *lock;

  probe.l_type = lock->l_type == F_WRLCK ? F_RDLCK : F_WRLCK;
  probe.l_pid = 0;
  return fcntl (other->fd, F_OFD_GETLK, &probe) == 0 && probe.l_type == F_UNLCK;
}

guint32
vd_fs_lock_file_holder (VdFsLocks *locks, const VdFsLockFile *file,
                        const struct flock *lock)
{
  VdFsLockFile *others[OTHERS_MAX];
  guint n = other_owners (locks, file, others);
  guint32 pid = 0;

  for (guint i = 0; i < n; i++) {
    if (pid == 0 && is_holder (others[i], lock)) {
      pthread_mutex_lock (&locks->lock);
      pid = others[i]->pid;
      pthread_mutex_unlock (&locks->lock);
    }
    vd_fs_lock_file_put (locks, others[i]);
  }
  return pid;
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
