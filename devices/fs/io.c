/* SPDX-License-Identifier: BSD-3-Clause
 *
 * io.c - READ and WRITE: between file and guest memory without a copy
 *
 * Bytes go from the page cache straight into the guest's buffers or the other
 * way round.  Nothing is allocated and no lock is taken; a handle is found and
 * held by two atomic operations.  What is in the page cache is read in the
 * queue's turn (RWF_NOWAIT).  What is not goes to the worker's io_uring, or to
 * the pool where there is none, so that a cold block never delays what comes
 * behind it.
 *
 * Buffered writes only copy into the page cache; where the file system does not
 * know RWF_NOWAIT for them (ext4) that is done in the turn all the same, because
 * handing a copy to another thread costs more than the copy.  On remote file
 * systems, where it may take any time, it is handed over.
 *
 * Direct I/O never is in the page cache, and RWF_NOWAIT waits for the disk all
 * the same: io_uring has as many requests there at once as the guest has.
 */
#include <errno.h>
#include <fcntl.h>
#include <limits.h>
#include <sys/uio.h>
#include <unistd.h>

#include "build-options.h"

#include "devices/fs/lazy.h"
#include "devices/fs/ops.h"
#include "vring/fault.h"
#include "vring/iov.h"

#if VD_HAVE_URING
#include <liburing.h>
#endif

#define PAGE        4096u /* no page cache has smaller ones */
#define MESSAGE_LEN (sizeof (VdFuseInHeader) + sizeof (VdFuseReadIn))
static_assert (sizeof (VdFuseReadIn) == sizeof (VdFuseWriteIn),
               "READ and WRITE have the same length");

static void transfer_run (VdFsRequest *req);

static inline gboolean
is_read (const VdFsRequest *req)
{
  return req->in.opcode == VD_FUSE_READ;
}

/* The guest's side of what is left. */
static inline struct iovec *
transfer_iov (VdFsRequest *req, guint *ret_n)
{
  VdChain *chain = req->chain;

  *ret_n = MIN (is_read (req) ? chain->n_in : chain->n_out, IOV_MAX);
  return is_read (req) ? chain->in : chain->out;
}

static inline guint64
transfer_offset (const VdFsRequest *req)
{
  return (is_read (req) ? req->args.read.offset : req->args.write.offset) +
         req->transfer.done;
}

static inline guint
lessons (const VdFsRequest *req)
{
  return (guint) atomic_load_explicit (&req->transfer.handle->lessons,
                                       memory_order_relaxed);
}

static inline void
learn (const VdFsRequest *req, VdFsLesson lesson)
{
  atomic_fetch_or_explicit (&req->transfer.handle->lessons, lesson,
                            memory_order_relaxed);
}

static gboolean
is_direct (const VdFsRequest *req)
{
  if (!vd_fs_of (req)->policy.direct_io)
    return FALSE;
  if ((lessons (req) & (VD_FS_IS_DIRECT | VD_FS_IS_CACHED)) == 0)
    learn (req, (fcntl (req->transfer.handle->fd, F_GETFL) & O_DIRECT) != 0
                    ? VD_FS_IS_DIRECT
                    : VD_FS_IS_CACHED);
  return (lessons (req) & VD_FS_IS_DIRECT) != 0;
}

/* Whether a call that read @n bytes reached the end of the file: the page cache
 * and disks give whole pages unless the file or the buffers end.  It spares
 * small files a second call, and direct I/O one that is not aligned.  Blocking
 * calls of other file systems may give less. */
static inline gboolean
reached_end (const VdFsRequest *req, gssize n)
{
  return is_read (req) && req->chain->n_in <= IOV_MAX &&
         (transfer_offset (req) + (guint64) n) % PAGE != 0;
}

/* The kernel takes one buffer a tenth faster than a list of one. */
static inline gssize
move (gboolean is_read, int fd, const struct iovec *iov, guint n_iov,
      off_t offset, int flags)
{
  if (n_iov != 1 || flags != 0)
    return is_read ? preadv2 (fd, iov, (int) n_iov, offset, flags)
                   : pwritev2 (fd, iov, (int) n_iov, offset, flags);
  return is_read ? pread (fd, iov->iov_base, iov->iov_len, offset)
                 : pwrite (fd, iov->iov_base, iov->iov_len, offset);
}

/* One system call for what is left.  Any thread.
 * Returns: bytes, 0 at the end of the file, or -errno. */
static gssize
transfer_call (VdFsRequest *req, int flags)
{
  int fd = req->transfer.handle->fd;
  off_t offset = (off_t) transfer_offset (req);
  guint n_iov;
  struct iovec *iov = transfer_iov (req, &n_iov);
  gssize n;

  flags |= req->transfer.flags;
  do
    n = move (is_read (req), fd, iov, n_iov, offset, flags);
  while (n < 0 && errno == EINTR);
  return n < 0 ? -errno : n;
}

/* Takes note of @n bytes.  Any thread. */
static inline void
transfer_advance (VdFsRequest *req, gsize n)
{
  VdChain *chain = req->chain;

  req->transfer.done += (guint32) n;
  if (req->transfer.done == req->transfer.size)
    return;
  if (is_read (req))
    vd_iov_skip (&chain->in, &chain->n_in, n);
  else
    vd_iov_skip (&chain->out, &chain->n_out, n);
}

/* Answers.  @r: 0 or -errno, after which no byte counts as read: a short answer
 * would tell the guest that the file ends there.  A short write is told, except
 * of the guest's page cache, which would not write the rest again. */
static void
transfer_end (VdFsRequest *req, int r)
{
  VdFsTransfer *transfer = &req->transfer;
  VdFuseWriteOut out = { .size = transfer->done };

  vd_fs_handles_put (transfer->handle);
  if (r == -EFAULT)
    vd_chain_fault (req->chain);
  if (!is_read (req) && transfer->done < transfer->size) {
    if (transfer->done > 0 &&
        (req->args.write.write_flags & VD_FUSE_WRITE_CACHE) == 0)
      r = 0;
    else if (r == 0)
      r = -EIO;
  }
  if (r < 0)
    vd_fs_reply_error (req, r);
  else if (is_read (req))
    vd_fs_reply_written (req, transfer->done);
  else
    vd_fs_reply (req, &out, sizeof out);
}

/* POOL */
static int
transfer_work (VdOp *op)
{
  VdFsRequest *req = (VdFsRequest *) op;
  VdFsTransfer *transfer = &req->transfer;
  gssize n = 1;

  if (!is_read (req))
    vd_fs_cred_keep_set_id (
        (req->args.write.write_flags & VD_FUSE_WRITE_KILL_SUIDGID) == 0);
  while (transfer->done < transfer->size && n > 0) {
    gboolean ended;

    n = transfer_call (req, 0);
    ended = n > 0 && is_direct (req) && reached_end (req, n);
    if (n > 0)
      transfer_advance (req, (gsize) n);
    if (ended)
      break;
  }
  return n < 0 ? (int) n : 0;
}

static void
transfer_worked (VdOp *op, int res)
{
  transfer_end ((VdFsRequest *) op, res);
}

#if VD_HAVE_URING
static void
transfer_completed (VdOp *op, int res)
{
  VdFsRequest *req = (VdFsRequest *) op;
  gboolean ended = res > 0 && is_direct (req) && reached_end (req, res);

  if (res == -EAGAIN || res == -EOPNOTSUPP || res == -EINTR)
    req->transfer.no_uring = TRUE; /* the pool can do what it cannot */
  else if (res <= 0) {
    transfer_end (req, res);
    return;
  } else
    transfer_advance (req, (gsize) res);
  if (ended)
    transfer_end (req, 0);
  else
    transfer_run (req);
}

static void
transfer_submit (VdFsRequest *req)
{
  guint n_iov;
  struct iovec *iov = transfer_iov (req, &n_iov);
  int fd = req->transfer.handle->fd;
  struct io_uring_sqe *sqe;

  req->op.done = transfer_completed;
  sqe = vd_worker_get_sqe (req->queue->worker, &req->op);
  if (is_read (req))
    io_uring_prep_readv2 (sqe, fd, iov, n_iov, transfer_offset (req),
                          req->transfer.flags);
  else
    io_uring_prep_writev2 (sqe, fd, iov, n_iov, transfer_offset (req),
                           req->transfer.flags);
}
#endif

/* Goes on without this thread. */
static void
transfer_later (VdFsRequest *req)
{
  if (req->state != VD_FS_DEFERRED)
    vd_fs_count (&req->queue->counters->deferred);
  req->state = VD_FS_DEFERRED;
#if VD_HAVE_URING
  if (vd_worker_has_uring (req->queue->worker) && !req->transfer.no_uring) {
    transfer_submit (req);
    return;
  }
#endif
  req->op.work = transfer_work;
  req->op.done = transfer_worked;
  vd_worker_offload (req->queue->worker, &req->op);
}

/* How the next call is made. */
typedef enum { NOWAIT, BLOCKING, LATER } How;

static inline How
transfer_how (const VdFsRequest *req)
{
  guint lesson = is_read (req) ? VD_FS_READ_MAY_BLOCK : VD_FS_WRITE_MAY_BLOCK;

  /* RWF_SYNC and RWF_DSYNC wait for the disk. */
  if ((req->transfer.flags & (RWF_SYNC | RWF_DSYNC)) != 0 || is_direct (req))
    return LATER;
  if ((lessons (req) & lesson) == 0)
    return NOWAIT;
  return vd_fs_may_hang (vd_fs_of (req)) ? LATER : BLOCKING;
}

/* Transfers as much as it can here, then answers or leaves it to others. */
static void
transfer_run (VdFsRequest *req)
{
  VdFsTransfer *transfer = &req->transfer;
  gboolean ended = FALSE;

  while (transfer->done < transfer->size && !ended) {
    How how = transfer_how (req);
    gssize n = how == LATER
                   ? -EAGAIN
                   : transfer_call (req, how == NOWAIT ? RWF_NOWAIT : 0);

    if (n == -EAGAIN) {
      transfer_later (req);
      return;
    }
    if (n == -EOPNOTSUPP && how == NOWAIT) {
      learn (req, is_read (req) ? VD_FS_READ_MAY_BLOCK : VD_FS_WRITE_MAY_BLOCK);
      continue;
    }
    if (n <= 0) {
      transfer_end (req, (int) n);
      return;
    }
    ended = how == NOWAIT && reached_end (req, n);
    transfer_advance (req, (gsize) n);
  }
  transfer_end (req, 0);
}

/* Finds the handle.  Returns: 0 or -errno. */
static int
transfer_begin (VdFsRequest *req, guint64 fh, guint64 offset, guint32 size)
{
  /* -1 would mean "where the file stands". */
  if (offset > G_MAXINT64)
    return -EINVAL;
  req->transfer = (VdFsTransfer){ .size = size };
  return vd_fs_lazy_get (vd_fs_of (req), req->in.nodeid, fh, VD_FS_FILE,
                         &req->transfer.handle);
}

void
vd_fs_read (VdFsRequest *req)
{
  const VdFuseReadIn *args = &req->args.read;
  VdChain *chain = req->chain;
  guint32 size;
  int r = -EINVAL;

  if (req->in.len >= MESSAGE_LEN && req->n_head > 0) {
    size = (guint32) MIN (args->size, req->room);
    chain->n_in = vd_iov_truncate (chain->in, chain->n_in, size);
    r = transfer_begin (req, args->fh, args->offset, size);
  }
  if (r < 0)
    vd_fs_reply_error (req, r);
  else
    transfer_run (req);
}

/* RWF_* for a WRITE.  Pages of the guest's cache go where they belong, whatever
 * the file was opened with. */
static int
write_flags (const VdFuseWriteIn *args)
{
  int flags = 0;

  if ((args->flags & O_APPEND) != 0 &&
      (args->write_flags & VD_FUSE_WRITE_CACHE) == 0)
    flags |= RWF_APPEND;
  if ((args->flags & O_SYNC) == O_SYNC)
    flags |= RWF_SYNC;
  else if ((args->flags & O_DSYNC) != 0)
    flags |= RWF_DSYNC;
  return flags;
}

void
vd_fs_write (VdFsRequest *req)
{
  const VdFuseWriteIn *args = &req->args.write;
  gboolean kill_set_id = (args->write_flags & VD_FUSE_WRITE_KILL_SUIDGID) != 0;
  VdChain *chain = req->chain;
  int r = -EINVAL;

  if (vd_fs_of (req)->policy.read_only)
    r = -EROFS;
  else if (req->in.len >= MESSAGE_LEN &&
           req->in.len - MESSAGE_LEN >= args->size &&
           req->room >= sizeof (VdFuseWriteOut)) {
    vd_iov_skip (&chain->out, &chain->n_out, MESSAGE_LEN);
    chain->n_out = vd_iov_truncate (chain->out, chain->n_out, args->size);
    r = transfer_begin (req, args->fh, args->offset, args->size);
  }
  if (r < 0) {
    vd_fs_reply_error (req, r);
    return;
  }
  vd_fs_before_change (vd_fs_of (req), req->transfer.handle->fd);
  req->transfer.flags = write_flags (args);
  /* io_uring would use the identity that the thread has when it submits. */
  req->transfer.no_uring = kill_set_id;
  vd_fs_cred_keep_set_id (!kill_set_id);
  transfer_run (req);
}
