/* SPDX-License-Identifier: BSD-3-Clause */
#include "devices/fs/serve.h"

#include <errno.h>

#include "devices/fs/engine.h"
#include "devices/fs/ops.h"

/* Benches. */

static void
bench_clear (VdFsBench *bench)
{
  vd_fs_engine_stop (bench);
  g_clear_pointer (&bench->message, g_free);
  g_clear_pointer (&bench->dirents, g_free);
}

static int
bench_init (VdFsBench *bench)
{
  int r;

  *bench = (VdFsBench){
    .message = g_try_malloc (VD_FS_MESSAGE_MAX),
    .dirents = g_try_malloc (VD_FS_DIRENTS),
  };
  r = bench->message != NULL && bench->dirents != NULL
          ? vd_fs_engine_start (bench)
          : -ENOMEM;
  if (r < 0)
    bench_clear (bench);
  return r;
}

/* POOL.  Returns: (nullable): a bench for the calling thread alone. */
static VdFsBench *
bench_take (VdFs *fs)
{
  VdFsBench *bench;

  pthread_mutex_lock (&fs->bench_lock);
  bench = fs->benches;
  if (bench != NULL)
    fs->benches = bench->next;
  pthread_mutex_unlock (&fs->bench_lock);
  if (bench != NULL)
    return bench;
  bench = g_try_new0 (VdFsBench, 1);
  if (bench != NULL && bench_init (bench) < 0)
    g_clear_pointer (&bench, g_free);
  return bench;
}

static void
bench_give (VdFs *fs, VdFsBench *bench)
{
  pthread_mutex_lock (&fs->bench_lock);
  bench->next = fs->benches;
  fs->benches = bench;
  pthread_mutex_unlock (&fs->bench_lock);
}

void
vd_fs_serve_clear (VdFs *fs)
{
  while (fs->benches != NULL) {
    VdFsBench *bench = fs->benches;

    fs->benches = bench->next;
    bench_clear (bench);
    g_free (bench);
  }
}

/* The life of a queue. */

static void
queue_free (VdFsQueue *queue)
{
  bench_clear (&queue->bench);
  g_free (queue);
}

int
vd_fs_serve_start (VdQueue *ring, gpointer user_data)
{
  VdFs *fs = user_data;
  VdFsQueue *queue = g_new0 (VdFsQueue, 1);
  int r;

  queue->fs = fs;
  queue->queue = ring;
  queue->worker = vd_queue_worker (ring);
  queue->hiprio = vd_queue_index (ring) == 0;
  queue->counters = &fs->counters[vd_queue_index (ring)];
  r = vd_fs_jail_enter (&fs->jail);
  if (r == 0)
    r = bench_init (&queue->bench);
  if (r < 0) {
    queue_free (queue);
    return r;
  }
  vd_queue_set_data (ring, queue);
  return 0;
}

void
vd_fs_serve_stop (VdQueue *ring, gpointer user_data)
{
  queue_free (vd_queue_data (ring));
}

void
vd_fs_serve_drain (VdQueue *ring, gpointer user_data)
{
  VdFs *fs = user_data;

  vd_fs_locks_drain (&fs->locks, vd_queue_data (ring));
  vd_fs_dax_drain (vd_queue_data (ring));
}

/* The way of a message. */

/* Returns: 0, or why the request is not served. */
static int
check (VdFsRequest *req, guint64 negotiated)
{
  guint flags = req->message->opcode->flags;

  if (req->queue->hiprio && (flags & VD_FS_OP_HIPRIO) == 0)
    return -EINVAL;
  if (negotiated == 0 && (flags & VD_FS_OP_BEFORE_INIT) == 0)
    return -EIO;
  if (vd_fs_of (req)->policy.read_only && (flags & VD_FS_OP_CHANGES) != 0)
    return -EROFS;
  return 0;
}

/* QUEUE or POOL: answers or defers @req, at its bench. */
static void
dispatch (VdFsRequest *req)
{
  guint64 negotiated = vd_fs_negotiated (vd_fs_of (req));
  VdFsMessage message;
  int r = vd_fs_request_gather (req);

  if (r == 0)
    r = vd_fs_validate (req->bench->message, req->in.len, req->room, negotiated,
                        &message);
  req->malformed = r == -EINVAL;
  req->message = &message;
  if (r == 0)
    r = check (req, negotiated);
  if (r < 0)
    vd_fs_reply_error (req, r);
  else if ((message.opcode->flags & VD_FS_OP_ENGINE) != 0)
    vd_fs_engine_run (req);
  else
    vd_fs_finish (req, vd_fs_direct (req));
  if (req->state == VD_FS_NEW) /* libfuse saw a fault that we did not */
    vd_fs_reply_error (req, -EIO);
}

/* Going abroad. */

static gboolean
goes_abroad (const VdFsRequest *req)
{
  /* FORGET closes what has no server to wait for. */
  return vd_fs_may_hang (vd_fs_of (req)) && !req->queue->hiprio &&
         req->in.opcode != VD_FUSE_FORGET &&
         req->in.opcode != VD_FUSE_BATCH_FORGET;
}

/* POOL */
static int
work_abroad (VdOp *op)
{
  VdFsRequest *req = VD_CONTAINER (op, VdFsRequest, op);
  VdFs *fs = vd_fs_of (req);
  int r = vd_fs_jail_enter (&fs->jail);
  VdFsBench *bench = r == 0 ? bench_take (fs) : NULL;

  if (bench == NULL) {
    vd_fs_reply_error (req, r < 0 ? r : -ENOMEM);
    return 0;
  }
  req->bench = bench;
  dispatch (req);
  req->bench = NULL;
  bench_give (fs, bench);
  return 0;
}

static void
come_home (VdOp *op, int res)
{
  vd_fs_request_come_home (VD_CONTAINER (op, VdFsRequest, op));
}

static void
go_abroad (VdFsRequest *req)
{
  vd_fs_count (&req->queue->counters->deferred);
  req->abroad = TRUE;
  req->op.work = work_abroad;
  req->op.done = come_home;
  vd_worker_offload (req->queue->worker, &req->op);
}

static void
serve (VdFsQueue *queue, VdChain *chain)
{
  VdFsRequest *req = vd_fs_request_begin (queue, chain);

  if (req == NULL)
    return;
  if (G_LIKELY (vd_fs_negotiated (queue->fs) != 0 && !queue->hiprio)) {
    if (req->in.opcode == VD_FUSE_READ) {
      vd_fs_read (req);
      return;
    }
    if (req->in.opcode == VD_FUSE_WRITE) {
      vd_fs_write (req);
      return;
    }
  }
  if (goes_abroad (req))
    go_abroad (req);
  else
    dispatch (req);
}

void
vd_fs_serve (VdQueue *ring, VdChain **chains, guint n_chains,
             gpointer user_data)
{
  VdFsQueue *queue = vd_queue_data (ring);

  for (guint i = 0; i < n_chains; i++)
    serve (queue, chains[i]);
}
