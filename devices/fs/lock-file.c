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
  *file = (VdFsLockFile){ nodeid, owner, fd, 0, &fs->budget };
  *ret = file_add (&fs->locks, file);
  return 0;
}

int
vd_fs_lock_file_get (VdFs *fs, guint64 nodeid, guint64 fh, guint64 owner,
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
  vd_fs_lock_file_put (locks, file);
  vd_fs_locks_kick (locks);
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
