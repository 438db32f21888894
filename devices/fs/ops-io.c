/* SPDX-License-Identifier: BSD-3-Clause
 *
 * ops-io.c - opening and closing files
 *
 * A file is opened through the descriptor's link in /proc, so it is the very
 * inode that was looked up, whatever its name means by now.  Only regular files
 * and directories are ever opened: opening a device or a FIFO acts on the host.
 */
#include <errno.h>
#include <fcntl.h>
#include <string.h>
#include <sys/stat.h>
#include <time.h>
#include <unistd.h>

#include "devices/fs/entry.h"
#include "devices/fs/lazy.h"
#include "devices/fs/lock-file.h"
#include "devices/fs/ops.h"
#include "devices/fs/spare.h"

/* Changes closer to now than this may share a timestamp with the next one. */
#define RACY_NS 20000000

/* Flags for the host's open().  O_APPEND, O_SYNC and O_DSYNC come with each
 * WRITE; O_DIRECT is about the guest's page cache, unless the user wants it to
 * be about the host's as well.
 * Returns: them or -errno. */
static int
host_flags (const VdFs *fs, guint32 flags)
{
  int host = (int) flags & (O_ACCMODE | O_TRUNC);

  if (fs->policy.direct_io)
    host |= (int) flags & O_DIRECT;
  if (fs->policy.noatime)
    host |= (int) flags & O_NOATIME;
  if ((host & O_ACCMODE) == O_ACCMODE)
    return -EINVAL;
  if (fs->policy.read_only && (host & (O_ACCMODE | O_TRUNC)) != O_RDONLY)
    return -EROFS;
  /* A guest that caches writes reads the rest of the page first. */
  if ((vd_fs_negotiated (fs) & VD_FUSE_WRITEBACK_CACHE) != 0 &&
      (host & O_ACCMODE) == O_WRONLY)
    host = (host & ~O_ACCMODE) | O_RDWR;
  return host | O_NONBLOCK; /* a lease of another process must not block us */
}

/* Whether the guest's page cache may stay: the file looks as at the last open,
 * and looked so long enough that no change hides behind a coarse clock.
 * @fd: of @inode, of any kind
 * @ret_version: (nullable): 0 if that is not known */
static gboolean
content_is_same (const VdFs *fs, VdFsInode *inode, int fd, guint32 *ret_version)
{
  struct timespec now;
  struct statx stx;
  VdFsStamp stamp;
  gint64 now_ns;

  if (ret_version != NULL)
    *ret_version = 0;
  if (vd_fs_pins_may_hang (&fs->inodes.pins) ||
      vd_fs_statx (fd, "", 0, &stx) < 0)
    return FALSE;
  stamp = vd_fs_statx_stamp (&stx);
  clock_gettime (CLOCK_REALTIME_COARSE, &now);
  now_ns = now.tv_sec * 1000000000 + now.tv_nsec;
  if (now_ns - stamp.ctime_ns < RACY_NS)
    stamp.mtime_ns = 0;
  return vd_fs_inode_stamp (inode, &stamp, ret_version);
}

/* @same: the guest's page cache may stay, as content_is_same() */
static guint32
file_open_flags (const VdFs *fs, gboolean same)
{
  switch (fs->policy.cache) {
  case VD_FS_CACHE_NEVER:
  case VD_FS_CACHE_METADATA:
    return VD_FOPEN_DIRECT_IO | VD_FOPEN_PARALLEL_DIRECT_WRITES;
  case VD_FS_CACHE_AUTO: return same ? VD_FOPEN_KEEP_CACHE : 0;
  case VD_FS_CACHE_ALWAYS: break;
  }
  return VD_FOPEN_KEEP_CACHE;
}

/* Answers OPEN with a new handle for @fd, which it takes.
 * @version: of the file if @fd may become its spare, or 0 */
static int
reply_open (VdFsRequest *req, VdFsInode *inode, int fd, gboolean same,
            guint32 version)
{
  VdFs *fs = vd_fs_of (req);
  VdFuseOpenOut out = { .open_flags = file_open_flags (fs, same) };
  int r =
      vd_fs_handles_add (&fs->handles, VD_FS_FILE, vd_fs_inode_nodeid (inode),
                         inode, fd, version, &out.fh);

  if (r == 0)
    vd_fs_reply (req, &out, sizeof out);
  return r;
}

/* POOL: opens a file on which another process holds a lease. */
static int
work_open (VdFsRequest *req)
{
  const VdFsTask *task = &req->task;

  vd_fs_cred_keep_set_id (task->len == 0);
  return vd_fs_reopen (vd_fs_of (req), task->inode->fd,
                       task->mode & ~O_NONBLOCK);
}

/* Answers OPEN with @fd, which was opened just now. */
static int
reply_opened (VdFsRequest *req, VdFsInode *inode, int fd)
{
  const VdFs *fs = vd_fs_of (req);
  gboolean same = fs->policy.cache == VD_FS_CACHE_AUTO &&
                  content_is_same (fs, inode, fd, NULL);

  return reply_open (req, inode, fd, same, 0);
}

static void
finish_open (VdFsRequest *req, int res)
{
  vd_fs_finish (req, res < 0 ? res : reply_opened (req, req->task.inode, res));
}

static int
open_later (VdFsRequest *req, VdFsInode *inode, int flags, gboolean kill_set_id)
{
  vd_fs_task_init (req);
  req->task.work = work_open;
  req->task.finish = finish_open;
  req->task.inode = inode;
  req->task.mode = flags;
  req->task.len = kill_set_id;
  return vd_fs_task_run (req);
}

/* Opens an inode that is known to be a regular file.  @open_flags: the guest's,
 * of OPEN and CREATE */
static int
reopen (VdFs *fs, const VdFsInode *inode, int flags, guint32 open_flags)
{
  vd_fs_cred_keep_set_id ((open_flags & VD_FUSE_OPEN_KILL_SUIDGID) == 0);
  if ((flags & O_TRUNC) != 0)
    vd_fs_before_change (fs, inode->fd);
  return vd_fs_reopen (fs, inode->fd, flags);
}

/* Whether files that are opened with @flags may have spares. */
static gboolean
has_spares (const VdFs *fs, int flags)
{
  return flags == (O_RDONLY | O_NONBLOCK) && fs->policy.locks == 0 &&
         !vd_fs_pins_may_hang (&fs->inodes.pins);
}

/* Opens @inode, or takes its spare, and answers.
 * Returns: 0 or -errno; -EAGAIN if another process holds a lease. */
static int
open_inode (VdFsRequest *req, VdFsInode *inode, int flags, guint32 open_flags)
{
  VdFs *fs = vd_fs_of (req);
  guint32 version;
  gboolean same;
  int fd;

  if (!has_spares (fs, flags)) {
    fd = reopen (fs, inode, flags, open_flags);
    return fd < 0 ? fd : reply_opened (req, inode, fd);
  }
  same = content_is_same (fs, inode, inode->fd, &version);
  fd = vd_fs_spare_take (inode, version);
  if (fd < 0)
    fd = reopen (fs, inode, flags, open_flags);
  return fd < 0 ? fd : reply_open (req, inode, fd, same, version);
}

int
vd_fs_op_open (VdFsRequest *req, guint64 nodeid, guint32 flags,
               guint32 open_flags)
{
  VdFs *fs = vd_fs_of (req);
  gboolean kill_set_id = (open_flags & VD_FUSE_OPEN_KILL_SUIDGID) != 0;
  VdFsInode *inode;
  int host = host_flags (fs, flags), r;

  if (vd_fs_is_lazy (fs)) /* and the guest does not ask again */
    return host < 0 ? host : -ENOSYS;
  r = vd_fs_inodes_get (&fs->inodes, nodeid, &inode);
  if (r < 0)
    return r;
  if (host < 0 || inode->type != S_IFREG) {
    vd_fs_inodes_put (inode);
    return host < 0 ? host : -EBADF;
  }
  r = open_inode (req, inode, host, open_flags);
  if (r == -EAGAIN)
    return open_later (req, inode, host, kill_set_id);
  vd_fs_inodes_put (inode);
  return r;
}

/* Answers CREATE and TMPFILE: @entry was looked up, @fd is open and taken. */
static int
reply_create (VdFsRequest *req, const VdFuseEntryOut *entry, int fd)
{
  VdFs *fs = vd_fs_of (req);
  VdFuseOpenOut out = { .open_flags = file_open_flags (fs, FALSE) };
  VdFsInode *inode;
  int r = vd_fs_inodes_get (&fs->inodes, entry->nodeid, &inode);

  if (r == 0) {
    r = vd_fs_handles_add (&fs->handles, VD_FS_FILE, entry->nodeid, inode, fd,
                           0, &out.fh);
    vd_fs_inodes_put (inode);
  } else
    close (fd);

  if (r < 0) {
    vd_fs_inodes_forget (&fs->inodes, entry->nodeid, 1);
    return r;
  }
  vd_fs_reply_two (req, entry, sizeof *entry, &out, sizeof out);
  return 0;
}

/* The file at @fd, which is taken, was made a moment ago in @dir.
 * @name: NULL if it has none */
static int
reply_new_file (VdFsRequest *req, VdFsInode *dir, const char *name, int fd)
{
  VdFs *fs = vd_fs_of (req);
  VdFuseEntryOut entry;
  int r = vd_fs_label (req, fd, dir->fd, name);

  if (r == 0)
    r = vd_fs_lookup_new (fs, dir, name, fd, &entry);
  if (r < 0) {
    close (fd);
    return r;
  }
  return reply_create (req, &entry, fd);
}

/* CREATE of a name that exists by now, without O_EXCL. */
static int
create_existing (VdFsRequest *req, VdFsInode *dir, const char *name, int flags)
{
  const VdFuseCreateIn *args = req->message->args;
  VdFs *fs = vd_fs_of (req);
  VdFuseEntryOut entry;
  VdFsInode *inode = NULL;
  int fd = -1;
  int r = vd_fs_lookup (fs, dir, name, FALSE, &entry);

  if (r < 0)
    return r;
  r = vd_fs_inodes_get (&fs->inodes, entry.nodeid, &inode);
  if (r == 0 && inode->type != S_IFREG)
    r = inode->type == S_IFDIR ? -EISDIR : -EBADF;
  if (r == 0)
    r = fd = reopen (fs, inode, flags, args->open_flags);
  vd_fs_inodes_put (inode);
  if (r < 0) {
    vd_fs_inodes_forget (&fs->inodes, entry.nodeid, 1);
    return r;
  }
  return reply_create (req, &entry, fd);
}

/* openat() as the caller.  Returns: a descriptor or -errno. */
static int
open_as_caller (VdFsRequest *req, const VdFsInode *dir, const char *name,
                int flags, guint32 mode, guint32 umask)
{
  VdFsCaller caller;
  int fd, r = vd_fs_caller (req, umask, &caller);

  if (r == 0)
    r = vd_fs_cred_push (&caller);
  if (r < 0)
    return r;
  fd = openat (dir->fd, name, flags | O_CLOEXEC | O_NOFOLLOW | O_NOCTTY,
               mode & 07777);
  r = fd < 0 ? -errno : fd;
  vd_fs_cred_pop ();
  return r;
}

int
vd_fs_op_create (VdFsRequest *req, guint64 parent, const char *name,
                 guint32 mode, guint32 flags, guint32 umask)
{
  VdFs *fs = vd_fs_of (req);
  VdFsInode *dir;
  int host = host_flags (fs, flags), fd;
  int r = vd_fs_inodes_get (&fs->inodes, parent, &dir);

  if (r < 0)
    return r;
  if (host < 0) {
    vd_fs_inodes_put (dir);
    return host;
  }
  /* Always exclusive: whatever else has that name by now must not be opened
   * before it is known to be a regular file. */
  fd = open_as_caller (req, dir, name, host | O_CREAT | O_EXCL, mode, umask);
  if (fd >= 0)
    r = reply_new_file (req, dir, name, fd);
  else if (fd == -EEXIST && (flags & O_EXCL) == 0)
    r = create_existing (req, dir, name, host);
  else
    r = fd;
  vd_fs_inodes_put (dir);
  return r;
}

int
vd_fs_op_tmpfile (VdFsRequest *req, guint64 parent, const VdFuseCreateIn *args)
{
  VdFs *fs = vd_fs_of (req);
  VdFsInode *dir;
  int host = host_flags (fs, args->flags), fd, r;

  /* Programs say O_TMPFILE; who only writes and does not say it is overlayfs in
   * the guest.  That goes on by the entry of the nameless file once it has a
   * name, and Linux then looks for "/" when the entry is too old: ESTALE for all
   * that was copied up.  Told that there is no such thing, it makes a file and
   * renames it. */
  if ((args->flags & (O_TMPFILE | O_ACCMODE)) == O_WRONLY)
    return -EOPNOTSUPP;
  r = vd_fs_inodes_get (&fs->inodes, parent, &dir);
  if (r < 0)
    return r;
  r = host;
  if (r >= 0) {
    host = (host & ~O_TRUNC) | O_TMPFILE | ((int) args->flags & O_EXCL);
    r = fd = open_as_caller (req, dir, ".", host, args->mode, args->umask);
  }
  if (r >= 0)
    r = reply_new_file (req, dir, NULL, fd);
  vd_fs_inodes_put (dir);
  return r;
}

int
vd_fs_op_release (VdFsRequest *req, guint64 nodeid, guint64 fh,
                  VdFsHandleKind kind)
{
  VdFs *fs = vd_fs_of (req);
  int r;

  if (kind == VD_FS_FILE && (fs->policy.locks & VD_FS_LOCKS_POSIX) != 0)
    vd_fs_locks_drop_handle (fs, nodeid, fh);
  r = vd_fs_handles_release (&fs->handles, fh, nodeid, kind);
  if (fs->policy.locks != 0)
    vd_fs_locks_kick (&fs->locks);
  if (r == 0)
    vd_fs_reply (req, NULL, 0);
  return r;
}
