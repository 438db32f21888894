/* SPDX-License-Identifier: BSD-3-Clause */
#include "devices/fs/request.h"

#include <errno.h>
#include <string.h>

#include "vring/fd.h"
#include "vring/iov.h"

/* Keeps the pieces of the reply's header, and leaves the payload's in
 * chain->in. */
static void
split_reply (VdFsRequest *req)
{
  VdChain *chain = req->chain;
  gsize want = sizeof (VdFuseOutHeader);

  req->n_head = 0;
  for (guint i = 0; want > 0; i++) {
    struct iovec piece = chain->in[i];

    piece.iov_len = MIN (piece.iov_len, want);
    want -= piece.iov_len;
    if (piece.iov_len > 0)
      req->head[req->n_head++] = piece;
  }
  vd_iov_skip (&chain->in, &chain->n_in, sizeof (VdFuseOutHeader));
  req->room = chain->in_len - sizeof (VdFuseOutHeader);
}

VdFsRequest *
vd_fs_request_begin (VdFsQueue *queue, VdChain *chain)
{
  VdFsRequest *req = chain->request;
  gsize n = vd_iov_read (chain->out, chain->n_out, 0, &req->in,
                         sizeof req->in + sizeof req->args);

  vd_fs_count (&queue->counters->requests);
  req->chain = chain;
  req->queue = queue;
  req->bench = &queue->bench;
  req->state = VD_FS_NEW;
  req->malformed = req->abroad = FALSE;
  req->n_head = 0;
  req->room = 0;
  if (G_UNLIKELY (n < sizeof req->in)) {
    req->malformed = TRUE;
    vd_fs_reply_none (req);
    return NULL;
  }
  if (chain->in_len >= sizeof (VdFuseOutHeader))
    split_reply (req);
  if (G_UNLIKELY (req->in.len < sizeof req->in ||
                  req->in.len > chain->out_len)) {
    req->malformed = TRUE;
    vd_fs_reply_error (req, -EINVAL);
    return NULL;
  }
  return req;
}

int
vd_fs_request_gather (VdFsRequest *req)
{
  guint8 *message = req->bench->message;
  gsize first = sizeof req->in + sizeof req->args;
  guint32 len = req->in.len;

  if (len > VD_FS_MESSAGE_MAX)
    return -EINVAL;
  memcpy (message, &req->in, MIN (len, first));
  if (len > first)
    vd_iov_read (req->chain->out, req->chain->n_out, first, message + first,
                 len - first);
  return 0;
}

/* The only place where a request ends. */
static void
end (VdFsRequest *req, int error, guint32 used)
{
  VdFsCounters *counters = req->queue->counters;

  req->state = VD_FS_DONE;
  if (req->abroad) {
    req->error = error;
    req->used = used;
    return;
  }
  if (error < 0)
    vd_fs_count (&counters->errors);
  if (req->malformed)
    vd_fs_count (&counters->malformed);
  vd_chain_complete (req->chain, used);
}

void
vd_fs_request_come_home (VdFsRequest *req)
{
  req->abroad = FALSE;
  if (req->state == VD_FS_DEFERRED)
    req->at_home (req);
  else
    end (req, req->error, req->used);
}

static void
complete (VdFsRequest *req, int error, gsize payload_len)
{
  VdFuseOutHeader header = {
    .len = (guint32) (sizeof header + payload_len),
    .error = error,
    .unique = req->in.unique,
  };

  if (req->n_head == 0) { /* there is no place for an answer */
    end (req, error, 0);
    return;
  }
  vd_iov_write (req->head, req->n_head, 0, &header, sizeof header);
  end (req, error, header.len);
}

void
vd_fs_reply_error (VdFsRequest *req, int error)
{
  complete (req, error, 0);
}

void
vd_fs_reply_two (VdFsRequest *req, const void *first, gsize first_len,
                 const void *second, gsize second_len)
{
  const VdChain *chain = req->chain;

  if (first_len + second_len > req->room) {
    complete (req, -EINVAL, 0);
    return;
  }
  vd_iov_write (chain->in, chain->n_in, 0, first, first_len);
  vd_iov_write (chain->in, chain->n_in, first_len, second, second_len);
  complete (req, 0, first_len + second_len);
}

void
vd_fs_reply (VdFsRequest *req, const void *payload, gsize len)
{
  vd_fs_reply_two (req, payload, len, NULL, 0);
}

void
vd_fs_reply_written (VdFsRequest *req, gsize len)
{
  complete (req, 0, len);
}

void
vd_fs_reply_none (VdFsRequest *req)
{
  end (req, 0, 0);
}

/* Tasks. */

void
vd_fs_task_init (VdFsRequest *req)
{
  req->task = (VdFsTask){ .fd = -1 };
}

static VdFsRequest *
request_of (VdOp *op)
{
  return VD_CONTAINER (op, VdFsRequest, op);
}

/* POOL */
static int
task_work (VdOp *op)
{
  VdFsRequest *req = request_of (op);
  int r = vd_fs_jail_enter (&vd_fs_of (req)->jail);

  return r < 0 ? r : req->task.work (req);
}

static void
task_done (VdOp *op, int res)
{
  VdFsRequest *req = request_of (op);
  /* finish() ends the request, and then the slot may be used again. */
  VdFsTask task = req->task;

  task.finish (req, res);
  vd_fs_handles_put (task.handle);
  vd_fs_handles_put (task.other);
  vd_fs_inodes_put (task.inode);
  vd_clear_fd (&task.fd);
}

int
vd_fs_task_run (VdFsRequest *req)
{
  if (req->abroad) {
    task_done (&req->op, task_work (&req->op));
    return 0;
  }
  req->op.work = task_work;
  req->op.done = task_done;
  req->state = VD_FS_DEFERRED;
  vd_fs_count (&req->queue->counters->deferred);
  vd_worker_offload (req->queue->worker, &req->op);
  return 0;
}
