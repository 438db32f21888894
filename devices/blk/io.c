/* SPDX-License-Identifier: BSD-3-Clause
 *
 * io.c - the life of a request on its queue's thread
 *
 * vd_blk_serve() parses a chain and prepares the first call on the image;
 * vd_blk_pump() makes it, on the spot or asynchronously; req->next() looks at
 * its result and prepares another one or answers.  A request that was answered
 * belongs to the driver again: nothing may touch it afterwards.
 */
#include "devices/blk/disk.h"

#include <errno.h>
#include <stddef.h>
#include <string.h>
#include <time.h>

#include "vring/fault.h"
#include "vring/iov.h"

/* Answering. */

static VdBlkCount
count_of (guint32 type)
{
  switch (type) {
  case VIRTIO_BLK_T_IN: return VD_BLK_READS;
  case VIRTIO_BLK_T_OUT: return VD_BLK_WRITES;
  case VIRTIO_BLK_T_FLUSH: return VD_BLK_FLUSHES;
  case VIRTIO_BLK_T_DISCARD: return VD_BLK_DISCARDS;
  case VIRTIO_BLK_T_WRITE_ZEROES: return VD_BLK_ZEROES;
  case VIRTIO_BLK_T_SECURE_ERASE: return VD_BLK_ERASES;
  case VIRTIO_BLK_T_GET_ID:
  case VD_BLK_T_GET_LIFETIME: return VD_BLK_IDS;
  default: return VD_BLK_OTHERS;
  }
}

/* The used length counts from the start of the writable part (virtio 1.3,
 * 2.7.8.2): the status at its end counts only if all before it was written. */
static guint32
written_len (const VdBlkRequest *req)
{
  guint64 before = req->chain->in_len - 1, data = 0;

  if (req->cmd.type == VIRTIO_BLK_T_IN ||
      count_of (req->cmd.type) == VD_BLK_IDS)
    data = MIN (req->done, before);
  return (guint32) MIN (data == before ? before + 1 : data, G_MAXUINT32);
}

void
vd_blk_finish (VdBlkRequest *req, guint8 status)
{
  VdBlkStats *stats = &req->queue->stats;
  VdBlkCount count = count_of (req->cmd.type);

  vd_blk_add (&stats->requests[count], 1);
  if (status == VIRTIO_BLK_S_OK)
    vd_blk_add (&stats->bytes[count], req->done);
  else
    vd_blk_add (&stats->errors[count], 1);
  *req->cmd.status = status;
  vd_chain_complete (req->chain, written_len (req));
}

/* Making calls. */

static int
run_timed (VdPolicy *policy, const VdCall *call)
{
  struct timespec from, to;
  int res;

  clock_gettime (CLOCK_MONOTONIC, &from);
  res = vd_call_run (call);
  clock_gettime (CLOCK_MONOTONIC, &to);
  vd_policy_took (policy, (guint64) ((to.tv_sec - from.tv_sec) * 1000000000 +
                                     (to.tv_nsec - from.tv_nsec)));
  return res;
}

/* Hands a call's result on.  Returns: whether there is another call to make. */
static bool
deliver (VdBlkRequest *req, int res)
{
  if (G_UNLIKELY (res < 0 || req->held) && vd_hold_takes (req, res))
    return false;
  return req->next (req, res);
}

static void
task_done (VdOp *op, int res)
{
  VdBlkRequest *req = VD_CONTAINER (op, VdBlkRequest, task.op);
  bool fixed = req->task.fixed, polled = req->task.polled;

  req->task.fixed = req->task.polled = false;
  if (res == -EOPNOTSUPP && polled) {
    vd_call_by_uring (req->queue->worker, &req->task);
    return;
  }
  /* io_uring may give up where a system call would have waited; and a registered
   * buffer may have gone before the call was submitted. */
  if (res == -EAGAIN || res == -EINTR || (res == -EFAULT && fixed)) {
    vd_call_by_thread (req->queue->worker, &req->task);
    return;
  }
  if (deliver (req, res))
    vd_blk_pump (req);
}

/* Makes the call.  Returns: whether it is made already, with its result. */
static bool
start_call (VdBlkRequest *req, int *res)
{
  VdBlkQueue *queue = req->queue;
  VdPolicy *policy = &queue->policy;
  VdCall *call = &req->task.call;
  VdRoute route;

  if (queue->mapped.mapped != NULL && !req->background &&
      vd_mapped_run (&queue->mapped, call, req->chain, res)) {
    vd_blk_add (&queue->stats.calls[VD_ROUTE_MAPPED], 1);
    return true;
  }
  route = vd_policy_route (policy, call, req->background);
  if (route == VD_ROUTE_TRY) {
    call->flags |= RWF_NOWAIT;
    *res = vd_call_run (call);
    call->flags &= ~RWF_NOWAIT;
    if (*res != -EAGAIN && *res != -EOPNOTSUPP) {
      req->background = true; /* what is missing would have to wait */
      vd_blk_add (&queue->stats.calls[route], 1);
      return true;
    }
    route = vd_policy_behind (policy, call, *res);
  }
  /* A file system may let writes wait for an fdatasync. */
  if (route == VD_ROUTE_TIMED && vd_flusher_busy (&queue->blk->flusher))
    route = VD_ROUTE_POOL;
  vd_blk_add (&queue->stats.calls[route], 1);
  switch (route) {
  case VD_ROUTE_TRY:
  case VD_ROUTE_NOW: *res = vd_call_run (call); return true;
  case VD_ROUTE_TIMED: *res = run_timed (policy, call); return true;
  case VD_ROUTE_REMOTE: vd_nbd_submit (&queue->nbd, &req->task); break;
  case VD_ROUTE_POLLED: vd_call_by_polling (queue->worker, &req->task); break;
  case VD_ROUTE_URING:
    vd_call_by_uring (queue->worker, &req->task);
    vd_blk_add (&queue->stats.fixed, req->task.fixed);
    break;
  default: vd_call_by_thread (queue->worker, &req->task); break;
  }
  return false;
}

void
vd_blk_pump (VdBlkRequest *req)
{
  int res;

  while (start_call (req, &res))
    if (!deliver (req, res))
      return;
}

/* Flushing. */

static void
post (VdFlush *flush, VdMail *mail)
{
  VdBlkRequest *req = VD_CONTAINER (flush, VdBlkRequest, flush);

  vd_worker_post (req->queue->worker, mail);
}

static void
flushed (VdFlush *flush, int error)
{
  VdBlkRequest *req = VD_CONTAINER (flush, VdBlkRequest, flush);

  vd_blk_finish (req, error == 0 ? VIRTIO_BLK_S_OK : VIRTIO_BLK_S_IOERR);
}

static bool
next_sync (VdBlkRequest *req, int res)
{
  vd_flush_finish (&req->queue->blk->flusher, &req->flush, res);
  return false;
}

static void
lead (VdFlush *flush)
{
  VdBlkRequest *req = VD_CONTAINER (flush, VdBlkRequest, flush);

  req->task.call = (VdCall){
    .kind = VD_CALL_SYNC,
    .fd = req->queue->blk->image->fd,
  };
  req->next = next_sync;
  vd_blk_pump (req);
}

void
vd_blk_flush_and_finish (VdBlkRequest *req)
{
  req->flush.lead = lead;
  req->flush.post = post;
  req->flush.done = flushed;
  vd_flush_submit (&req->queue->blk->flusher, &req->flush);
}

void
vd_blk_finish_write (VdBlkRequest *req)
{
  /* Also when the driver switched to write-through while a write that was not
   * durable by itself was under way: it completes under the new promise. */
  if (!req->durable && vd_blk_write_through (req->queue->blk))
    vd_blk_flush_and_finish (req);
  else
    vd_blk_finish (req, VIRTIO_BLK_S_OK);
}

static void
start_flush (VdBlkRequest *req)
{
  VdBlk *blk = req->queue->blk;

  if (blk->cache == VD_CACHE_UNSAFE || blk->image->read_only)
    vd_blk_finish (req, VIRTIO_BLK_S_OK);
  else
    vd_blk_flush_and_finish (req);
}

/* Data. */

static bool
next_data (VdBlkRequest *req, int res)
{
  VdCall *call = &req->task.call;

  /* No byte at all: the file became shorter than the disk. */
  if (res <= 0) {
    if (res == -EFAULT)
      vd_chain_fault (req->chain);
    vd_blk_finish (req, VIRTIO_BLK_S_IOERR);
    return false;
  }
  req->done += (guint64) res;
  if (req->done == req->cmd.len) {
    if (call->kind == VD_CALL_WRITE)
      vd_blk_finish_write (req);
    else
      vd_blk_finish (req, VIRTIO_BLK_S_OK);
    return false;
  }
  vd_iov_skip (&req->cmd.iov, &req->cmd.n_iov, (gsize) res);
  call->iov = req->cmd.iov;
  call->n_iov = req->cmd.n_iov;
  call->offset += (guint64) res;
  call->len -= (guint64) res;
  return true;
}

static void
start_data (VdBlkRequest *req, VdCallKind kind, int flags)
{
  if (req->cmd.len == 0) {
    vd_blk_finish (req, VIRTIO_BLK_S_OK);
    return;
  }
  req->queue->batch_bytes += req->cmd.len;
  req->task.call = (VdCall){
    .kind = kind,
    .fd = req->queue->blk->image->fd,
    .flags = flags,
    .n_iov = req->cmd.n_iov,
    .iov = req->cmd.iov,
    .offset = req->cmd.offset,
    .len = req->cmd.len,
  };
  if (vd_bounce_needed (req)) {
    vd_bounce_start (req);
    return;
  }
  req->next = next_data;
  vd_blk_pump (req);
}

/* Returns: FALSE if the request was answered, because a write-through driver
 * sends no flush that could tell it of data lost before. */
static bool
check_lost (VdBlkRequest *req)
{
  VdBlk *blk = req->queue->blk;

  if (!vd_blk_write_through (blk) || vd_flusher_error (&blk->flusher) == 0)
    return true;
  vd_blk_finish (req, VIRTIO_BLK_S_IOERR);
  return false;
}

static void
start_write (VdBlkRequest *req)
{
  if (!check_lost (req))
    return;
  req->durable = vd_blk_write_through (req->queue->blk) &&
                 !req->queue->blk->image->no_dsync;
  start_data (req, VD_CALL_WRITE, req->durable ? RWF_DSYNC : 0);
}

/* @about: what the driver asks for */
static void
answer (VdBlkRequest *req, const void *about)
{
  req->done =
      vd_iov_write (req->cmd.iov, req->cmd.n_iov, 0, about, req->cmd.len);
  vd_blk_finish (req, VIRTIO_BLK_S_OK);
}

static int
parse (VdBlkRequest *req)
{
  VdBlk *blk = req->queue->blk;
  VdBlkLimits limits = {
    .size = atomic_load_explicit (&blk->image->size, memory_order_relaxed),
    .align = MAX (blk->image->file_align, VD_SECTOR),
    .read_only = blk->image->read_only,
    .discard = blk->discard,
    .secure_erase = blk->secure_erase,
    .lifetime = blk->lifetime,
  };

  return vd_blk_parse (req->chain, &limits, &req->cmd);
}

void
vd_blk_serve (VdBlkQueue *queue, VdChain *chain)
{
  VdBlkRequest *req = chain->request;
  int status;

  req->queue = queue;
  req->chain = chain;
  req->task.op.done = task_done;
  req->done = 0;
  req->background = req->durable = req->held = false;
  req->n_drains = queue->hold.n_drains;
  status = parse (req);
  if (status == VD_BLK_NO_STATUS) {
    vd_queue_break (queue->queue, "a request has no byte for its status");
    vd_chain_complete (chain, 0);
    return;
  }
  if (status != VIRTIO_BLK_S_OK) {
    vd_blk_finish (req, (guint8) status);
    return;
  }
  switch (req->cmd.type) {
  case VIRTIO_BLK_T_IN: start_data (req, VD_CALL_READ, 0); break;
  case VIRTIO_BLK_T_OUT: start_write (req); break;
  case VIRTIO_BLK_T_FLUSH: start_flush (req); break;
  case VIRTIO_BLK_T_GET_ID: answer (req, queue->blk->serial); break;
  case VD_BLK_T_GET_LIFETIME: {
    guint64 wear = atomic_load (&queue->blk->wear);

    answer (req, &wear);
    break;
  }
  case VIRTIO_BLK_T_DISCARD: vd_blk_start_discard (req); break;
  case VIRTIO_BLK_T_WRITE_ZEROES:
    if (check_lost (req))
      vd_blk_start_zeroes (req);
    break;
  case VIRTIO_BLK_T_SECURE_ERASE:
    if (check_lost (req))
      vd_blk_start_erase (req);
    break;
  }
}
