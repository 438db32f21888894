/* SPDX-License-Identifier: BSD-3-Clause
 *
 * call.h - one system call on an image, and the ways to make it
 *
 * What a request needs of its image is a sequence of calls.  Each can be made
 * at once on the calling thread, by the worker's io_uring, or by a thread of
 * the device's pool; policy.h chooses.
 */
#pragma once

#include <glib.h>
#include <stdbool.h>
#include <sys/queue.h>
#include <sys/uio.h>

#include "devices/syscall.h"
#include "vring/worker.h"

typedef enum {
  VD_CALL_READ,
  VD_CALL_WRITE,
  VD_CALL_SYNC,     /* fdatasync */
  VD_CALL_ALLOCATE, /* fallocate */
  VD_CALL_DISCARD,  /* BLKDISCARD */
  VD_CALL_ERASE,    /* BLKSECDISCARD */
} VdCallKind;

typedef struct {
  VdCallKind kind;
  int fd;
  int flags; /* READ, WRITE: RWF_*; ALLOCATE: FALLOC_FL_* */
  guint n_iov;
  const struct iovec *iov; /* READ, WRITE */
  guint64 offset;
  guint64 len; /* bytes; READ, WRITE: the sum of iov */
} VdCall;

/* A call that is made asynchronously: op.done() gets its result. */
typedef struct VdTask VdTask;
struct VdTask {
  VdOp op;
  VdCall call;
  bool fixed;  /* by vd_call_by_uring(): made with a registered buffer */
  bool polled; /* by vd_call_by_polling() */

  /* Private to nbd-link.c. */
  struct {
    TAILQ_ENTRY (VdTask) entry; /* of one of the link's lists */
    struct VdNbdLink *link;
    void *bounce;  /* NULL: the guest's own pages */
    guint32 len;   /* of the command's buffer */
    bool outgrown; /* a connection was given up that knew a shorter disk */
    bool done;
    int error; /* when done: 0 or an errno */
  } nbd;
};

/* What these calls and all else of a disk's queues ask of the kernel. */
extern const VdSyscall vd_blk_calls[];

/* Any thread: makes the call now.
 * Returns: what it returned (bytes of READ and WRITE, maybe fewer than asked
 * for), or -errno. */
int vd_call_run (const VdCall *call);

/* QUEUE, only on a worker with io_uring: submitted at the end of its turn.
 * DISCARD and ERASE, which io_uring lacks, go to the pool. */
void vd_call_by_uring (VdWorker *worker, VdTask *task);

/* QUEUE, only where vd_call_can_poll(): a READ or WRITE with O_DIRECT whose
 * completion the thread looks for.  Its result may be -EOPNOTSUPP. */
void vd_call_by_polling (VdWorker *worker, VdTask *task);
bool vd_call_can_poll (const VdWorker *worker);

/* QUEUE: makes calls on @fd, open as long as the worker, cheaper by io_uring. */
void vd_call_fix_fd (VdWorker *worker, int fd);

/* QUEUE: reads and writes of guest memory, cheaper by io_uring: as
 * vd_worker_fix_memory(), and refused as well where there is no io_uring. */
void
vd_call_fix_memory (VdWorker *worker,
                    void (*refused) (gpointer data, int error), gpointer data);

/* QUEUE: by a thread of the device's pool. */
void vd_call_by_thread (VdWorker *worker, VdTask *task);

/* CONTROL: the same for a caller that has no worker; done() runs on the thread
 * that owns @box. */
void vd_call_by_pool (VdPool *pool, VdTask *task, VdMailbox *box);

/* CONTROL.  Returns: FALSE with @error set if this kernel or this build has no
 * io_uring for us. */
gboolean vd_call_check_uring (GError **error);
/* CONTROL, may block: makes a polled read of the first @len bytes of @fd, which
 * has O_DIRECT, so @len is one that its alignment allows.
 * Returns: FALSE with @error set if the kernel, or this build, does not poll for
 * it */
gboolean vd_call_check_polling (int fd, gsize len, GError **error);
