/* SPDX-License-Identifier: BSD-3-Clause
 *
 * ops-file.c - what is done to open files besides reading and writing (io.c)
 *
 * What may take long runs in the device's pool.
 */
#include <errno.h>
#include <fcntl.h>
#include <sys/stat.h>
#include <unistd.h>

#include "devices/fs/entry.h"
#include "devices/fs/lazy.h"
#include "devices/fs/ops.h"

/* Most that one COPY_FILE_RANGE copies, so that stopping a queue need not wait
 * for a terabyte; a short copy is legal and callers go on. */
#define COPY_MAX (256u << 20)

/* Gets the handle of a task.  Returns: 0 or -errno. */
static int
task_handle (VdFsRequest *req, guint64 nodeid, guint64 fh, VdFsHandleKind kind)
{
  vd_fs_task_init (req);
  return vd_fs_lazy_get (vd_fs_of (req), nodeid, fh, kind, &req->task.handle);
}

static void
finish_empty (VdFsRequest *req, int res)
{
  if (res < 0)
    vd_fs_reply_error (req, res);
  else
    vd_fs_reply (req, NULL, 0);
}

/* POOL */
static int
work_flush (VdFsRequest *req)
{
  int copy = fcntl (req->task.handle->fd, F_DUPFD_CLOEXEC, 0);

  /* Remote file systems report errors of earlier writes on close(). */
  return copy < 0 || close (copy) < 0 ? -errno : 0;
}

static gboolean
closes_count (VdFs *fs)
{
  return fs->policy.flush == VD_FS_FLUSH_ALWAYS ||
         (fs->policy.flush == VD_FS_FLUSH_AUTO &&
          vd_fs_pins_may_hang (&fs->inodes.pins));
}

int
vd_fs_op_flush (VdFsRequest *req, guint64 nodeid, guint64 fh,
                guint64 lock_owner)
{
  VdFs *fs = vd_fs_of (req);
  gboolean posix = (fs->policy.locks & VD_FS_LOCKS_POSIX) != 0;
  int r;

  /* A local file system has nothing to say, and after this the guest no longer
   * asks at every close. */
  if (!posix && !closes_count (fs))
    return -ENOSYS;
  r = task_handle (req, nodeid, fh, VD_FS_FILE);
  if (r < 0)
    return r;
  if (posix) /* as POSIX has it, whatever else the process has open */
    vd_fs_locks_drop_owner (&fs->locks, nodeid, lock_owner);
  if (!closes_count (fs)) {
    vd_fs_handles_put (req->task.handle);
    vd_fs_reply (req, NULL, 0);
    return 0;
  }
  req->task.work = work_flush;
  req->task.finish = finish_empty;
  return vd_fs_task_run (req);
}

/* POOL */
static int
work_fsync (VdFsRequest *req)
{
  int fd = req->task.handle->fd;

  return (req->task.mode != 0 ? fdatasync (fd) : fsync (fd)) < 0 ? -errno : 0;
}

int
vd_fs_op_fsync (VdFsRequest *req, guint64 nodeid, guint64 fh,
                gboolean data_only, VdFsHandleKind kind)
{
  int r = task_handle (req, nodeid, fh, kind);

  if (r < 0)
    return r;
  req->task.work = work_fsync;
  req->task.finish = finish_empty;
  req->task.mode = data_only;
  return vd_fs_task_run (req);
}

/* Calls that change content, but for which the protocol has no flag that says
 * whether the caller may keep set-id bits.  Who it is, a guest with idmapped
 * mounts does not tell. */
static void
drop_set_id_unless_root (const VdFsRequest *req)
{
  vd_fs_cred_keep_set_id (req->in.uid == 0);
}

/* POOL */
static int
work_fallocate (VdFsRequest *req)
{
  const VdFsTask *task = &req->task;

  drop_set_id_unless_root (req);
  return fallocate (task->handle->fd, task->mode, (off_t) task->offset,
                    (off_t) task->len) < 0
             ? -errno
             : 0;
}

int
vd_fs_op_fallocate (VdFsRequest *req, guint64 nodeid,
                    const VdFuseFallocateIn *args)
{
  int r = task_handle (req, nodeid, args->fh, VD_FS_FILE);

  if (r < 0)
    return r;
  vd_fs_before_change (vd_fs_of (req), req->task.handle->fd);
  req->task.work = work_fallocate;
  req->task.finish = finish_empty;
  req->task.offset = args->offset;
  req->task.len = args->length;
  req->task.mode = (int) args->mode;
  return vd_fs_task_run (req);
}

int
vd_fs_op_lseek (VdFsRequest *req, guint64 nodeid, guint64 fh, guint64 offset,
                guint32 whence)
{
  VdFsHandle *handle;
  VdFuseLseekOut out;
  off_t at;
  int r;

  /* What a guest has collected and not written yet would be told as a hole, and
   * who copies the file would leave it out.  The guest then takes all for
   * data. */
  if ((vd_fs_negotiated (vd_fs_of (req)) & VD_FUSE_WRITEBACK_CACHE) != 0)
    return -ENOSYS;
  r = vd_fs_lazy_get (vd_fs_of (req), nodeid, fh, VD_FS_FILE, &handle);
  if (r < 0)
    return r;
  /* The others move an offset that only the guest has. */
  if (whence != SEEK_DATA && whence != SEEK_HOLE && whence != SEEK_END)
    r = -EINVAL;
  else {
    at = lseek (handle->fd, (off_t) offset, (int) whence);
    r = at < 0 ? -errno : 0;
    out.offset = (guint64) at;
  }
  vd_fs_handles_put (handle);
  if (r == 0)
    vd_fs_reply (req, &out, sizeof out);
  return r;
}

/* POOL */
static int
work_copy (VdFsRequest *req)
{
  const VdFsTask *task = &req->task;
  off64_t from = (off64_t) task->offset, to = (off64_t) task->other_offset;
  ssize_t n;

  drop_set_id_unless_root (req);
  n = copy_file_range (task->handle->fd, &from, task->other->fd, &to, task->len,
                       0);
  return n < 0 ? -errno : (int) n;
}

static void
finish_copy (VdFsRequest *req, int res)
{
  VdFuseWriteOut out = { .size = (guint32) res };
  VdFuseCopyFileRangeOut out64 = { .bytes_copied = (guint32) res };

  if (res < 0)
    vd_fs_reply_error (req, res);
  else if (req->in.opcode == VD_FUSE_COPY_FILE_RANGE_64)
    vd_fs_reply (req, &out64, sizeof out64);
  else
    vd_fs_reply (req, &out, sizeof out);
}

int
vd_fs_op_copy_file_range (VdFsRequest *req, guint64 nodeid,
                          const VdFuseCopyFileRangeIn *args)
{
  int r;

  if (args->flags != 0)
    return -EINVAL;
  r = task_handle (req, nodeid, args->fh_in, VD_FS_FILE);
  if (r < 0)
    return r;
  r = vd_fs_handles_get (&vd_fs_of (req)->handles, args->fh_out,
                         args->nodeid_out, VD_FS_FILE, &req->task.other);
  if (r < 0) {
    vd_fs_handles_put (req->task.handle);
    return r;
  }
  vd_fs_before_change (vd_fs_of (req), req->task.other->fd);
  req->task.work = work_copy;
  req->task.finish = finish_copy;
  req->task.offset = args->off_in;
  req->task.other_offset = args->off_out;
  req->task.len = MIN (args->len, COPY_MAX);
  return vd_fs_task_run (req);
}

/* POOL */
static int
work_syncfs (VdFsRequest *req)
{
  return syncfs (req->task.fd) < 0 ? -errno : 0;
}

int
vd_fs_op_syncfs (VdFsRequest *req, guint64 nodeid)
{
  VdFs *fs = vd_fs_of (req);
  VdFsInode *inode;
  int r = vd_fs_inodes_get (&fs->inodes, nodeid, &inode);

  if (r < 0)
    return r;
  r = inode->type == S_IFDIR || inode->type == S_IFREG
          ? vd_fs_reopen (fs, inode->fd, O_RDONLY | O_NONBLOCK)
          : -EBADF;
  vd_fs_inodes_put (inode);
  if (r < 0)
    return r;
  vd_fs_task_init (req);
  req->task.work = work_syncfs;
  req->task.finish = finish_empty;
  req->task.fd = r;
  return vd_fs_task_run (req);
}
