/* SPDX-License-Identifier: BSD-3-Clause
 *
 * uring.c - the io_uring engine
 *
 * The guest's buffers go into the submission as they are.  The list of buffers
 * stays in its chain, untouched until the completion.
 */
#include "devices/blk/call.h"

#include <errno.h>
#include <limits.h>

#include "build-options.h"

#if VD_HAVE_URING
#include <liburing.h>
#endif

#if VD_HAVE_URING

/* Returns: the index of the registered buffer with all the bytes of a read or
 * write, if they have one address, or -1. */
static int
find_fixed (const VdWorker *worker, const VdCall *call)
{
  const struct iovec *iov = call->iov;

  if (call->kind != VD_CALL_READ && call->kind != VD_CALL_WRITE)
    return -1;
  for (guint i = 1; i < call->n_iov; i++)
    if ((guint8 *) iov[i - 1].iov_base + iov[i - 1].iov_len != iov[i].iov_base)
      return -1;
  return vd_worker_find_fixed (worker, iov->iov_base, call->len);
}

static void
prepare_fixed (struct io_uring_sqe *sqe, const VdCall *call, int index)
{
  void *at = call->iov->iov_base;
  guint len = (guint) call->len; /* less than 4 GiB, as of every request */

  if (call->kind == VD_CALL_READ)
    io_uring_prep_read_fixed (sqe, call->fd, at, len, call->offset, index);
  else
    io_uring_prep_write_fixed (sqe, call->fd, at, len, call->offset, index);
  sqe->rw_flags = call->flags;
}

static void
prepare (struct io_uring_sqe *sqe, const VdCall *call)
{
  guint n_iov = MIN (call->n_iov, IOV_MAX);

  switch (call->kind) {
  case VD_CALL_READ:
    io_uring_prep_readv2 (sqe, call->fd, call->iov, n_iov, call->offset,
                          call->flags);
    break;
  case VD_CALL_WRITE:
    io_uring_prep_writev2 (sqe, call->fd, call->iov, n_iov, call->offset,
                           call->flags);
    break;
  case VD_CALL_SYNC:
    io_uring_prep_fsync (sqe, call->fd, IORING_FSYNC_DATASYNC);
    break;
  case VD_CALL_ALLOCATE:
    io_uring_prep_fallocate (sqe, call->fd, call->flags, (off_t) call->offset,
                             (off_t) call->len);
    break;
  case VD_CALL_DISCARD:
  case VD_CALL_ERASE: g_assert_not_reached ();
  }
}

void
vd_call_by_uring (VdWorker *worker, VdTask *task)
{
  struct io_uring_sqe *sqe;
  int index;

  if (task->call.kind == VD_CALL_DISCARD || task->call.kind == VD_CALL_ERASE) {
    vd_call_by_thread (worker, task);
    return;
  }
  sqe = vd_worker_get_sqe (worker, &task->op);
  index = find_fixed (worker, &task->call);
  task->fixed = index >= 0;
  if (task->fixed)
    prepare_fixed (sqe, &task->call, index);
  else
    prepare (sqe, &task->call);
  vd_worker_fix_sqe (worker, sqe);
}

void
vd_call_fix_fd (VdWorker *worker, int fd)
{
  if (vd_worker_has_uring (worker))
    vd_worker_fix_fd (worker, fd);
}

void
vd_call_fix_memory (VdWorker *worker,
                    void (*refused) (gpointer data, int error), gpointer data)
{
  if (vd_worker_has_uring (worker))
    vd_worker_fix_memory (worker, refused, data);
  else
    refused (data, ENOSYS);
}

gboolean
vd_call_check_uring (GError **error)
{
  struct io_uring ring;
  int r = io_uring_queue_init (1, &ring, 0);

  if (r == 0) {
    io_uring_queue_exit (&ring);
    return TRUE;
  }
  g_set_error (error, G_FILE_ERROR, g_file_error_from_errno (-r),
               "the kernel refuses io_uring: %s", g_strerror (-r));
  return FALSE;
}

bool
vd_call_can_poll (const VdWorker *worker)
{
  return vd_worker_has_uring (worker) && vd_worker_has_iopoll (worker);
}

void
vd_call_by_polling (VdWorker *worker, VdTask *task)
{
  task->polled = true;
  prepare (vd_worker_get_iopoll_sqe (worker, &task->op), &task->call);
}

/* Returns: what the call returned, or -errno. */
static int
run_on (struct io_uring *ring, const VdCall *call)
{
  struct io_uring_cqe *cqe;
  int r;

  prepare (io_uring_get_sqe (ring), call);
  r = io_uring_submit (ring);
  while (r >= 0 && (r = io_uring_wait_cqe (ring, &cqe)) == -EINTR)
    r = 0;
  return r < 0 ? r : cqe->res;
}

gboolean
vd_call_check_polling (int fd, gsize len, GError **error)
{
  struct iovec iov = { g_aligned_alloc (1, len, 4096), len };
  VdCall call = { VD_CALL_READ, fd, 0, 1, &iov, 0, len };
  struct io_uring ring;
  int r = io_uring_queue_init (1, &ring, IORING_SETUP_IOPOLL);

  if (r == 0) {
    r = run_on (&ring, &call);
    io_uring_queue_exit (&ring); /* ends what may be under way */
  }
  g_aligned_free (iov.iov_base);
  if (r >= 0)
    return TRUE;
  g_set_error (error, G_FILE_ERROR, g_file_error_from_errno (-r),
               "the kernel refuses a polled read of the image: %s%s",
               g_strerror (-r),
               r == -EOPNOTSUPP ? " (has its disk polled queues?)" : "");
  return FALSE;
}

#else

void
vd_call_by_uring (VdWorker *worker, VdTask *task)
{
  vd_call_by_thread (worker, task);
}

void
vd_call_fix_fd (VdWorker *worker, int fd)
{
}

void
vd_call_fix_memory (VdWorker *worker,
                    void (*refused) (gpointer data, int error), gpointer data)
{
  refused (data, ENOSYS);
}

gboolean
vd_call_check_uring (GError **error)
{
  g_set_error_literal (error, G_FILE_ERROR, G_FILE_ERROR_NOSYS,
                       "this virtiod was built without io_uring");
  return FALSE;
}

bool
vd_call_can_poll (const VdWorker *worker)
{
  return false;
}

void
vd_call_by_polling (VdWorker *worker, VdTask *task)
{
  vd_call_by_thread (worker, task);
}

gboolean
vd_call_check_polling (int fd, gsize len, GError **error)
{
  return vd_call_check_uring (error);
}

#endif
