/* SPDX-License-Identifier: BSD-3-Clause
 *
 * ops-dax.c - SETUPMAPPING and REMOVEMAPPING
 *
 * The front-end gets a descriptor of its own for each mapping, opened by the
 * inode as Linux wants it (it sends no fh): the one that the guest has open
 * would take its flock(2) along, which then outlives its RELEASE.
 */
#include <errno.h>
#include <fcntl.h>
#include <string.h>
#include <sys/stat.h>

#include "devices/fs/entry.h"
#include "devices/fs/lazy.h"
#include "devices/fs/ops.h"

#define FLAGS (VD_FUSE_SETUPMAPPING_WRITE | VD_FUSE_SETUPMAPPING_READ)

/* Who has the file open for reading only does not write by a mapping.
 * Returns: 0 or -errno. */
static int
check_handle (VdFs *fs, guint64 nodeid, const VdFuseSetupmappingIn *args)
{
  gboolean reads_only;
  VdFsHandle *handle;
  int r;

  if (args->fh == VD_FUSE_NO_FH)
    return 0;
  r = vd_fs_lazy_get (fs, nodeid, args->fh, VD_FS_FILE, &handle);
  if (r < 0)
    return r;
  reads_only = (fcntl (handle->fd, F_GETFL) & O_ACCMODE) == O_RDONLY;
  vd_fs_handles_put (handle);
  return reads_only && (args->flags & VD_FUSE_SETUPMAPPING_WRITE) != 0 ? -EACCES
                                                                       : 0;
}

/* Returns: 0 and the place in the window, or -errno. */
static int
check_setup (VdFs *fs, guint64 nodeid, const VdFuseSetupmappingIn *args,
             VdFsDaxRange *ret)
{
  int r = vd_fs_dax_range (&fs->dax, args->moffset, args->len, ret);

  if (r == 0 && ((args->flags & FLAGS) == 0 || (args->flags & ~FLAGS) != 0 ||
                 args->foffset % VD_FS_DAX_PIECE != 0 ||
                 args->foffset > G_MAXINT64 - args->len))
    r = -EINVAL;
  if (r == 0 && fs->policy.read_only &&
      (args->flags & VD_FUSE_SETUPMAPPING_WRITE) != 0)
    r = -EROFS;
  return r < 0 ? r : check_handle (fs, nodeid, args);
}

/* POOL: other processes' leases make it wait. */
static int
work_setup (VdFsRequest *req)
{
  const VdFsTask *task = &req->task;
  VdFs *fs = vd_fs_of (req);
  int r;

  if (!vd_fs_budget_take (&fs->budget))
    return -ENFILE;
  if (task->mode == O_RDWR)
    vd_fs_before_change (fs, task->inode->fd);
  r = vd_fs_reopen (fs, task->inode->fd, task->mode);
  if (r < 0)
    vd_fs_budget_give (&fs->budget);
  return r;
}

/* QUEUE or, abroad, POOL. */
static void
submit (VdFsRequest *req)
{
  if (req->abroad) {
    req->state = VD_FS_DEFERRED;
    req->at_home = vd_fs_dax_submit;
  } else
    vd_fs_dax_submit (req);
}

static void
finish_setup (VdFsRequest *req, int res)
{
  const VdFsTask task = req->task; /* the job takes its place */
  const VdFsDaxRange range = {
    .first = (guint32) (task.other_offset >> VD_FS_DAX_SHIFT),
    .n = (guint32) (task.len >> VD_FS_DAX_SHIFT),
  };

  if (res >= 0) {
    if (vd_fs_dax_prepare (req, &range, 1, res, task.offset,
                           task.mode == O_RDWR)) {
      submit (req);
      return;
    }
    res = -ENOMEM;
  }
  vd_fs_reply_error (req, res);
}

int
vd_fs_op_setupmapping (VdFsRequest *req, guint64 nodeid,
                       const VdFuseSetupmappingIn *args)
{
  VdFs *fs = vd_fs_of (req);
  VdFsDaxRange range;
  VdFsInode *inode;
  int r;

  r = check_setup (fs, nodeid, args, &range);
  if (r == 0)
    r = vd_fs_inodes_get (&fs->inodes, nodeid, &inode);
  if (r < 0)
    return r;
  if (inode->type != S_IFREG) {
    vd_fs_inodes_put (inode);
    return -EBADF;
  }
  vd_fs_task_init (req);
  req->task.work = work_setup;
  req->task.finish = finish_setup;
  req->task.inode = inode;
  req->task.offset = args->foffset;
  req->task.other_offset = args->moffset;
  req->task.len = args->len;
  req->task.mode =
      (args->flags & VD_FUSE_SETUPMAPPING_WRITE) != 0 ? O_RDWR : O_RDONLY;
  return vd_fs_task_run (req);
}

/* Returns: 0 and @n places in the window, or -EINVAL. */
static int
check_remove (const VdFsDax *dax, const guint8 *from, guint32 n,
              VdFsDaxRange ret[VD_FUSE_REMOVEMAPPING_MAX])
{
  guint64 n_pieces = 0;

  if (n == 0 || n > VD_FUSE_REMOVEMAPPING_MAX)
    return -EINVAL;
  for (guint32 i = 0; i < n; i++) {
    VdFuseRemovemappingOne one;
    int r;

    memcpy (&one, from + i * sizeof one, sizeof one);
    r = vd_fs_dax_range (dax, one.moffset, one.len, &ret[i]);
    if (r < 0)
      return r;
    n_pieces += ret[i].n;
  }
  /* The same piece again and again would only take time. */
  return n_pieces <= dax->n_pieces ? 0 : -EINVAL;
}

int
vd_fs_op_removemapping (VdFsRequest *req, const VdFuseRemovemappingIn *args)
{
  VdFsDaxRange ranges[VD_FUSE_REMOVEMAPPING_MAX];
  int r;

  r = check_remove (&vd_fs_of (req)->dax, req->message->rest, args->count,
                    ranges);
  if (r < 0)
    return r;
  if (!vd_fs_dax_prepare (req, ranges, args->count, -1, 0, FALSE))
    return -ENOMEM;
  submit (req);
  return 0;
}
