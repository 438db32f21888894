/* SPDX-License-Identifier: BSD-3-Clause
 *
 * request.h - one FUSE request: its private header, its answer, its delay
 *
 * A request lives in its chain's slot and is answered exactly once, by one of
 * the vd_fs_reply_*() functions, at once or from the completion of a VdOp.  The
 * header is copied out of guest memory once and never read again; the used
 * length always equals the answer's own length, which newer guests verify.
 *
 * Threads: QUEUE, except what is marked POOL; a request that is abroad
 * (serve.h) belongs to a thread of the pool, which may call all of this.
 */
#pragma once

#include "devices/fs/export.h"
#include "devices/fs/validate.h"
#include "devices/fs/wire.h"
#include "vring/chain.h"
#include "vring/worker.h"

typedef struct VdFsQueue VdFsQueue;
typedef struct VdFsRequest VdFsRequest;

typedef enum {
  VD_FS_NEW,      /* needs an answer before handle() returns */
  VD_FS_DEFERRED, /* its VdOp will answer it */
  VD_FS_DONE,     /* answered; the slot may be another request already */
} VdFsState;

/* READ and WRITE on their way. */
typedef struct {
  VdFsHandle *handle; /* referenced */
  guint32 size, done; /* bytes */
  int flags;          /* RWF_* beyond RWF_NOWAIT */
  gboolean no_uring;  /* it cannot do this file; the pool can */
} VdFsTransfer;

/* Work for the pool.  POOL reads, QUEUE writes before and after. */
typedef struct {
  int (*work) (VdFsRequest *req); /* POOL.  Returns: >= 0 or -errno */
  void (*finish) (VdFsRequest *req, int res); /* answers */
  VdFsHandle *handle, *other; /* referenced, put after finish(), or NULL */
  VdFsInode *inode;           /* likewise */
  int fd;                     /* closed after finish(), or -1 */
  guint64 offset, other_offset, len;
  int mode;
} VdFsTask;

struct VdFsRequest {
  VdOp op;
  VdChain *chain; /* in: what follows the reply's header */
  VdFsQueue *queue;
  struct VdFsBench *bench; /* while it is worked on */
  VdFsState state;
  guint64 room; /* bytes that the reply may have beyond its header */

  /* Copied from the guest in one go. */
  VdFuseInHeader in;
  union {
    VdFuseReadIn read;
    VdFuseWriteIn write;
    guint8 bytes[40];
  } args;

  VdFsMessage *message; /* the rest, while the request is dispatched */

  gboolean malformed; /* against the protocol */
  gboolean abroad; /* on a thread of the pool; answers wait until it is home */
  void (*at_home) (VdFsRequest *req); /* if it was deferred abroad */
  gint32 error;                       /* of the answer that waits */
  guint32 used;                       /* its length */

  /* Where the reply's header goes: 16 bytes in at most as many pieces. */
  guint32 n_head;
  struct iovec head[sizeof (VdFuseOutHeader)];

  union {
    VdFsTransfer transfer;
    VdFsTask task;
    VdFsWait wait;   /* lock.c */
    VdFsDaxJob *dax; /* dax.c */
  };
};
static_assert (offsetof (VdFsRequest, args) ==
                   offsetof (VdFsRequest, in) + sizeof (VdFuseInHeader),
               "the header and its arguments are copied together");
static_assert (sizeof (VdFsRequest) <= 4096, "limit of VdQueueOps");

/* Where one request at a time is taken apart and worked on (serve.h). */
typedef struct VdFsBench VdFsBench;
struct VdFsBench {
  VdFsBench *next;              /* in the export's stock */
  struct fuse_session *session; /* engine.c */
  VdFsRequest *current;         /* what libfuse is decoding */
  guint8 *message;              /* VD_FS_MESSAGE_MAX bytes */

  /* ops-dir.c: the rest of the last getdents64(), so that a directory that is
   * read in small pieces is not read from the host piece by piece. */
  guint8 *dirents; /* VD_FS_DIRENTS bytes */
  guint32 dirent_at, dirent_end;
  guint64 dirent_fh;     /* whose it is, 0: nobody's */
  guint64 dirent_offset; /* of the entry at dirent_at */
};

/* What a queue's thread has to itself. */
struct VdFsQueue {
  VdFs *fs;
  VdQueue *queue;
  VdWorker *worker;
  gboolean hiprio; /* the first queue: FORGET and INTERRUPT only */
  VdFsCounters *counters;
  guint n_waiting;      /* for locks */
  VdFsDaxJob *dax_jobs; /* that wait for the front-end; dax.c */
  VdFsBench bench;
};

/* Longest message except for data of WRITE: a name, a value of an extended
 * attribute (64 KiB at most in Linux) and extensions. */
#define VD_FS_MESSAGE_MAX (128 * 1024)
#define VD_FS_DIRENTS     (32 * 1024)

/* Takes @chain: copies the header and finds the place of the reply.
 * Returns: (nullable): the request, or NULL if it was malformed beyond an
 * answer; then the chain is completed. */
VdFsRequest *vd_fs_request_begin (VdFsQueue *queue, VdChain *chain);

/* Copies the rest of the message into the queue's buffer, behind the header
 * that was copied before.  Returns: 0 or -EINVAL if it is too long. */
int vd_fs_request_gather (VdFsRequest *req);

static inline VdFs *
vd_fs_of (const VdFsRequest *req)
{
  return req->queue->fs;
}

/* Answers.  @error: -errno */
void vd_fs_reply_error (VdFsRequest *req, int error);
void vd_fs_reply (VdFsRequest *req, const void *payload, gsize len);
void vd_fs_reply_two (VdFsRequest *req, const void *first, gsize first_len,
                      const void *second, gsize second_len);
/* The payload's first @len bytes were written already. */
void vd_fs_reply_written (VdFsRequest *req, gsize len);
/* For requests that have no answer. */
void vd_fs_reply_none (VdFsRequest *req);

/* QUEUE: gives the driver the answer of a request that was abroad. */
void vd_fs_request_come_home (VdFsRequest *req);

/* Sends @r if it is an error; how every operation that returns 0 or -errno
 * ends. */
static inline void
vd_fs_finish (VdFsRequest *req, int r)
{
  if (r < 0)
    vd_fs_reply_error (req, r);
}

/* Fills req->task with nothing; before its fields are set. */
void vd_fs_task_init (VdFsRequest *req);
/* Runs req->task in the pool, or here if that is the pool.  Returns: 0, for the operation to return. */
int vd_fs_task_run (VdFsRequest *req);
