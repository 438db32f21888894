/* SPDX-License-Identifier: BSD-3-Clause
 *
 * call.c - the call itself, and the threads engine
 */
#include "devices/blk/call.h"

#include <errno.h>
#include <fcntl.h>
#include <limits.h>
#include <linux/fs.h>
#include <stddef.h>
#include <sys/ioctl.h>
#include <unistd.h>

const VdSyscall vd_blk_calls[] = {
  { .name = "fdatasync" },
  { .name = "fallocate" },
  { .name = "ioctl", .arg = 1, .mask = G_MAXUINT32, .value = BLKDISCARD },
  { .name = "ioctl", .arg = 1, .mask = G_MAXUINT32, .value = BLKSECDISCARD },

  /* mapped.c. */
  { .name = "mincore" },
  { .name = "utimensat", .arg = 1, .mask = G_MAXUINT64, .value = 0 },

  /* A queue's connection to an NBD server. */
  { .name = "timerfd_create" },
  { .name = "eventfd2" },
  { .name = "shutdown" },
  { 0 },
};

/* The kernel takes one buffer a tenth faster than a list of one. */
static bool
is_plain (const VdCall *call)
{
  return call->n_iov == 1 && call->flags == 0;
}

static ssize_t
read_once (const VdCall *call)
{
  if (is_plain (call))
    return pread (call->fd, call->iov->iov_base, call->iov->iov_len,
                  (off_t) call->offset);
  return preadv2 (call->fd, call->iov, (int) MIN (call->n_iov, IOV_MAX),
                  (off_t) call->offset, call->flags);
}

static ssize_t
write_once (const VdCall *call)
{
  if (is_plain (call))
    return pwrite (call->fd, call->iov->iov_base, call->iov->iov_len,
                   (off_t) call->offset);
  return pwritev2 (call->fd, call->iov, (int) MIN (call->n_iov, IOV_MAX),
                   (off_t) call->offset, call->flags);
}

static ssize_t
run_once (const VdCall *call)
{
  guint64 range[2] = { call->offset, call->len };

  switch (call->kind) {
  case VD_CALL_READ: return read_once (call);
  case VD_CALL_WRITE: return write_once (call);
  case VD_CALL_SYNC: return fdatasync (call->fd);
  case VD_CALL_ALLOCATE:
    return fallocate (call->fd, call->flags, (off_t) call->offset,
                      (off_t) call->len);
  case VD_CALL_DISCARD: return ioctl (call->fd, BLKDISCARD, range);
  case VD_CALL_ERASE: return ioctl (call->fd, BLKSECDISCARD, range);
  }
  g_assert_not_reached ();
}

int
vd_call_run (const VdCall *call)
{
  ssize_t r;

  do
    r = run_once (call);
  while (r < 0 && errno == EINTR);
  return r < 0 ? -errno : (int) r; /* the kernel moves less than 2 GiB */
}

static int
work (VdOp *op)
{
  VdTask *task = VD_CONTAINER (op, VdTask, op);

  return vd_call_run (&task->call);
}

void
vd_call_by_thread (VdWorker *worker, VdTask *task)
{
  task->op.work = work;
  vd_worker_offload (worker, &task->op);
}

void
vd_call_by_pool (VdPool *pool, VdTask *task, VdMailbox *box)
{
  task->op.work = work;
  vd_pool_push (pool, &task->op, box);
}
