/* SPDX-License-Identifier: BSD-3-Clause
 *
 * zero.c - DISCARD, WRITE_ZEROES and SECURE_ERASE (virtio 1.3, 5.2.6)
 *
 * Discarding is a hint: an image that cannot do it has done enough.  Zeroes are
 * data: the cheapest way that the image knows, at last real writes.  What an
 * image refused once is not tried again.
 */
#include "devices/blk/disk.h"

#include <errno.h>
#include <fcntl.h>

#define PUNCH (FALLOC_FL_PUNCH_HOLE | FALLOC_FL_KEEP_SIZE)
#define ZERO  (FALLOC_FL_ZERO_RANGE | FALLOC_FL_KEEP_SIZE)

/* VdBlkRequest.zero_method, best first. */
enum { BY_PUNCH, BY_ZERO_RANGE, BY_WRITE };

/* What is written for zeroes, in pieces; all of it is the kernel's zero page.
 * No call ever writes to it. */
#define ZEROES_LEN (1u << 20)
static guint8 zeroes[ZEROES_LEN] __attribute__ ((aligned (4096)));

static const VdBlkRange *
current (const VdBlkRequest *req)
{
  return &req->cmd.ranges[req->range];
}

/* Steps over ranges that are done.  Returns: whether one is left. */
static bool
find_range (VdBlkRequest *req)
{
  while (req->range < req->cmd.n_ranges &&
         req->range_pos == current (req)->len) {
    req->done += req->range_pos;
    req->range_pos = 0;
    req->range++;
  }
  return req->range < req->cmd.n_ranges;
}

/* A call of the request was made that leaves holes. */
static void
note_holes (const VdBlkRequest *req)
{
  const VdCall *call = &req->task.call;

  vd_mapped_punched (req->queue->blk->mapped, call->offset, call->len);
}

static void
begin (VdBlkRequest *req, bool (*next) (VdBlkRequest *req, int res))
{
  req->range = 0;
  req->range_pos = 0;
  req->background = true; /* their length says nothing about their time */
  req->next = next;
}

/* Discarding. */

/* Prepares the next call, on whole blocks: the kernel refuses parts of blocks
 * of a device.  Returns: FALSE if nothing is left to discard. */
static bool
prepare_discard (VdBlkRequest *req)
{
  const VdImage *image = req->queue->blk->image;
  guint64 mask = image->block_size - 1;

  for (; find_range (req); req->range_pos = current (req)->len) {
    guint64 from = (current (req)->offset + mask) & ~mask;
    guint64 to = (current (req)->offset + current (req)->len) & ~mask;

    if (from >= to)
      continue;
    req->task.call = (VdCall){
      .kind = image->is_device ? VD_CALL_DISCARD : VD_CALL_ALLOCATE,
      .fd = image->fd,
      .flags = PUNCH,
      .offset = from,
      .len = to - from,
    };
    return true;
  }
  return false;
}

static bool
next_discard (VdBlkRequest *req, int res)
{
  note_holes (req);
  if (res == -EOPNOTSUPP)
    atomic_store (&req->queue->blk->no_discard, true);
  else if (res < 0) {
    vd_blk_finish (req, VIRTIO_BLK_S_IOERR);
    return false;
  }
  req->range_pos = current (req)->len;
  if (res >= 0 && prepare_discard (req))
    return true;
  vd_blk_finish (req, VIRTIO_BLK_S_OK);
  return false;
}

void
vd_blk_start_discard (VdBlkRequest *req)
{
  begin (req, next_discard);
  if (atomic_load (&req->queue->blk->no_discard) || !prepare_discard (req))
    vd_blk_finish (req, VIRTIO_BLK_S_OK);
  else
    vd_blk_pump (req);
}

/* Zeroes. */

/* The best method for the current range that the image has not refused. */
static guint
best_method (const VdBlkRequest *req)
{
  VdBlk *blk = req->queue->blk;

  if (req->cmd.type == VIRTIO_BLK_T_SECURE_ERASE)
    return BY_WRITE;
  if (current (req)->unmap && blk->discard && !atomic_load (&blk->no_punch))
    return BY_PUNCH;
  return atomic_load (&blk->no_zero_range) ? BY_WRITE : BY_ZERO_RANGE;
}

/* Returns: FALSE if all ranges are done. */
static bool
prepare_zeroes (VdBlkRequest *req)
{
  VdCall *call = &req->task.call;

  if (!find_range (req))
    return false;
  if (req->range_pos == 0)
    req->zero_method = MAX (req->zero_method, best_method (req));
  *call = (VdCall){
    .kind = VD_CALL_ALLOCATE,
    .fd = req->queue->blk->image->fd,
    .flags = req->zero_method == BY_PUNCH ? PUNCH : ZERO,
    .offset = current (req)->offset + req->range_pos,
    .len = current (req)->len - req->range_pos,
  };
  if (req->zero_method == BY_WRITE) {
    call->kind = VD_CALL_WRITE;
    call->flags = 0;
    call->len = MIN (call->len, ZEROES_LEN);
    req->zero_iov = (struct iovec){ zeroes, call->len };
    call->iov = &req->zero_iov;
    call->n_iov = 1;
  }
  return true;
}

/* Returns: whether there is another method after one that was refused. */
static bool
next_method (VdBlkRequest *req, int res)
{
  VdBlk *blk = req->queue->blk;

  if (req->zero_method == BY_WRITE || (res != -EOPNOTSUPP && res != -EINVAL))
    return false;
  /* A range with parts of blocks is refused for itself, not for the method. */
  if (res == -EOPNOTSUPP)
    atomic_store (req->zero_method == BY_PUNCH ? &blk->no_punch
                                               : &blk->no_zero_range,
                  true);
  req->zero_method++;
  return true;
}

static bool
next_zeroes (VdBlkRequest *req, int res)
{
  if (req->task.call.kind == VD_CALL_ALLOCATE)
    note_holes (req);
  if (req->task.call.kind == VD_CALL_WRITE ? res <= 0 : res < 0) {
    if (next_method (req, res))
      return prepare_zeroes (req);
    vd_blk_finish (req, VIRTIO_BLK_S_IOERR);
    return false;
  }
  req->range_pos +=
      req->task.call.kind == VD_CALL_WRITE ? (guint64) res : req->task.call.len;
  if (req->range_pos == current (req)->len)
    req->zero_method = BY_PUNCH; /* the next range begins with the best */
  if (prepare_zeroes (req))
    return true;
  if (req->cmd.type == VIRTIO_BLK_T_SECURE_ERASE)
    vd_blk_flush_and_finish (req); /* old data may be where it was */
  else
    vd_blk_finish_write (req);
  return false;
}

void
vd_blk_start_zeroes (VdBlkRequest *req)
{
  begin (req, next_zeroes);
  req->zero_method = BY_PUNCH;
  if (prepare_zeroes (req))
    vd_blk_pump (req);
  else
    vd_blk_finish (req, VIRTIO_BLK_S_OK);
}

/* Erasing. */

static bool
prepare_erase (VdBlkRequest *req)
{
  if (!find_range (req))
    return false;
  req->task.call = (VdCall){
    .kind = VD_CALL_ERASE,
    .fd = req->queue->blk->image->fd,
    .offset = current (req)->offset,
    .len = current (req)->len,
  };
  return true;
}

/* Not a hint: the driver is told if the device did not erase. */
static bool
next_erase (VdBlkRequest *req, int res)
{
  note_holes (req);
  if (res >= 0) {
    req->range_pos = current (req)->len;
    if (prepare_erase (req))
      return true;
  }
  vd_blk_finish (req, res >= 0             ? VIRTIO_BLK_S_OK
                      : res == -EOPNOTSUPP ? VIRTIO_BLK_S_UNSUPP
                                           : VIRTIO_BLK_S_IOERR);
  return false;
}

void
vd_blk_start_erase (VdBlkRequest *req)
{
  if (req->queue->blk->overwrite) {
    vd_blk_start_zeroes (req);
    return;
  }
  begin (req, next_erase);
  if (prepare_erase (req))
    vd_blk_pump (req);
  else
    vd_blk_finish (req, VIRTIO_BLK_S_OK);
}
