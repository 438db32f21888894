/* SPDX-License-Identifier: BSD-3-Clause
 *
 * bounce.c - the detour of requests whose buffers are too odd for O_DIRECT
 *
 * Drivers that use whole pages never come here; boot loaders and tools do.  One
 * buffer a queue is enough for them: requests take turns, and long ones are
 * moved in pieces.
 */
#include "devices/blk/disk.h"

#include <errno.h>
#include <sys/mman.h>

#include "vring/fault.h"
#include "vring/iov.h"

#define BOUNCE_LEN (256u << 10)

int
vd_bounce_open (VdBounce *bounce, const VdImage *image)
{
  void *buffer;

  *bounce = (VdBounce){ .last = &bounce->first };
  if (!image->direct)
    return 0;
  buffer = mmap (NULL, BOUNCE_LEN, PROT_READ | PROT_WRITE,
                 MAP_PRIVATE | MAP_ANONYMOUS, -1, 0);
  if (buffer == MAP_FAILED)
    return -errno;
  bounce->buffer = buffer;
  return 0;
}

void
vd_bounce_close (VdBounce *bounce)
{
  if (bounce->buffer != NULL)
    munmap (bounce->buffer, BOUNCE_LEN);
  bounce->buffer = NULL;
}

bool
vd_bounce_needed (const VdBlkRequest *req)
{
  const VdImage *image = req->queue->blk->image;
  const VdBlkCommand *cmd = &req->cmd;
  guint64 addresses = 0, lengths = 0;

  if (!image->direct)
    return false;
  for (guint i = 0; i < cmd->n_iov; i++) {
    addresses |= (guintptr) cmd->iov[i].iov_base;
    lengths |= cmd->iov[i].iov_len;
  }
  return (addresses & (image->memory_align - 1)) != 0 ||
         (lengths & (image->file_align - 1)) != 0;
}

/* Prepares the call for the next piece.
 * Returns: false if what is to be written was lost under the copy. */
static bool
prepare (VdBlkRequest *req)
{
  VdBounce *bounce = &req->queue->bounce;
  VdCall *call = &req->task.call;
  guint64 len = MIN (req->cmd.len - req->done, BOUNCE_LEN);

  if (call->kind == VD_CALL_WRITE) {
    vd_iov_read (req->cmd.iov, req->cmd.n_iov, req->done, bounce->buffer, len);
    if (vd_chain_is_lost (req->chain))
      return false;
  }
  bounce->iov = (struct iovec){ bounce->buffer, len };
  call->iov = &bounce->iov;
  call->n_iov = 1;
  call->offset = req->cmd.offset + req->done;
  call->len = len;
  return true;
}

static bool end (VdBlkRequest *req, bool ok);

/* Lets waiting requests have the buffer, one after the other; those that are
 * done at once must not pile up on the stack. */
static void
turn (VdBounce *bounce)
{
  if (bounce->turning)
    return;
  bounce->turning = true;
  while (bounce->user == NULL && bounce->first != NULL) {
    VdBlkRequest *req = bounce->first;

    bounce->first = req->next_bounced;
    if (bounce->first == NULL)
      bounce->last = &bounce->first;
    bounce->user = req;
    if (prepare (req))
      vd_blk_pump (req);
    else
      end (req, false);
  }
  bounce->turning = false;
}

/* Gives the buffer back and answers. */
static bool
end (VdBlkRequest *req, bool ok)
{
  VdBounce *bounce = &req->queue->bounce;

  bounce->user = NULL;
  if (!ok)
    vd_blk_finish (req, VIRTIO_BLK_S_IOERR);
  else if (req->task.call.kind == VD_CALL_WRITE)
    vd_blk_finish_write (req);
  else
    vd_blk_finish (req, VIRTIO_BLK_S_OK);
  turn (bounce);
  return false;
}

static bool
next_piece (VdBlkRequest *req, int res)
{
  VdBounce *bounce = &req->queue->bounce;

  if (res <= 0)
    return end (req, false);
  if (req->task.call.kind == VD_CALL_READ)
    vd_iov_write (req->cmd.iov, req->cmd.n_iov, req->done, bounce->buffer,
                  (gsize) res);
  req->done += (guint64) res;
  if (req->done == req->cmd.len)
    return end (req, true);
  return prepare (req) || end (req, false);
}

void
vd_bounce_start (VdBlkRequest *req)
{
  VdBounce *bounce = &req->queue->bounce;

  vd_blk_add (&req->queue->stats.bounced, 1);
  req->next = next_piece;
  req->next_bounced = NULL;
  *bounce->last = req;
  bounce->last = &req->next_bounced;
  turn (bounce);
}

void
vd_bounce_leave (VdBlkRequest *req)
{
  VdBounce *bounce = &req->queue->bounce;

  if (bounce->user == req)
    bounce->user = NULL;
  vd_chain_leave (req->chain);
  turn (bounce);
}
