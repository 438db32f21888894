/* SPDX-License-Identifier: BSD-3-Clause
 *
 * worker.h - the thread that runs started queues around one io_uring
 *
 * Kicks, completions of I/O and mail from the control plane are awaited in one
 * system call.  Where the kernel refuses io_uring, the same thread waits in
 * epoll and all I/O goes to the device's pool of threads.
 */
#pragma once

#include <glib.h>

#include "vring/mailbox.h"

typedef struct VdWorker VdWorker;
typedef struct VdPool VdPool;
typedef struct VdOp VdOp;
struct io_uring_sqe;

/* One asynchronous operation, embedded in the device's request memory, so that
 * starting one allocates nothing.  It belongs to the worker until done(). */
struct VdOp {
  void (*done) (VdOp *op, int res); /* QUEUE; @res: bytes or -errno */
  int (*work) (VdOp *op);           /* POOL: vd_worker_offload() only */
  VdMail mail;                      /* private */
  VdMailbox *box;                   /* private: where done() is called */
  int res;                          /* private */
};

/* QUEUE: whether vd_worker_get_sqe() works here; constant for a worker. */
gboolean vd_worker_has_uring (const VdWorker *worker);

/* QUEUE, only if vd_worker_has_uring(): a submission entry for @op, whose
 * done() gets the result.  The caller fills it with io_uring_prep_*() at once
 * and touches neither its user_data nor the entry later.  It is submitted at
 * the end of the thread's turn, with all others.  Never NULL. */
struct io_uring_sqe *vd_worker_get_sqe (VdWorker *worker, VdOp *op);

/* QUEUE, only if vd_worker_has_uring(): the kernel looks @fd up once and not for
 * each submission that vd_worker_fix_sqe() is called for.  One descriptor a
 * worker, which stays open as long; others are looked up as before. */
void vd_worker_fix_fd (VdWorker *worker, int fd);
/* QUEUE: after io_uring_prep_*(), on any descriptor. */
void vd_worker_fix_sqe (VdWorker *worker, struct io_uring_sqe *sqe);

/* QUEUE, only if vd_worker_has_uring(): the guest memory of the worker's queues is
 * registered with its io_uring, a part in each turn, from now on and whatever
 * becomes of it (vring/fixed.h).  A second call does nothing.
 * @refused: QUEUE: it is not, because of @error, an errno */
void vd_worker_fix_memory (VdWorker *worker,
                           void (*refused) (gpointer data, int error),
                           gpointer data);
/* QUEUE, only if vd_worker_has_uring(): the index of the registered buffer that
 * has these @len bytes, for io_uring_prep_read_fixed() and its like; -1: none.
 * The operation may end with -EFAULT if a queue's memory changes first. */
int vd_worker_find_fixed (const VdWorker *worker, const void *at, gsize len);

/* QUEUE: whether vd_worker_get_iopoll_sqe() works here; constant for a worker. */
gboolean vd_worker_has_iopoll (const VdWorker *worker);
/* QUEUE, only if vd_worker_has_iopoll(): as vd_worker_get_sqe(), in a ring whose
 * completions come without interrupts where the disk has polled queues; until
 * then the thread does not sleep, unless the disk is silent for long.  Only for
 * io_uring_prep_readv() and _writev() on descriptors with O_DIRECT, which are not
 * fixed.  -EOPNOTSUPP: not on this disk. */
struct io_uring_sqe *vd_worker_get_iopoll_sqe (VdWorker *worker, VdOp *op);

/* QUEUE: op->work() runs on a thread of the device's pool, then op->done() on
 * this one.  For calls that io_uring lacks, or that may block. */
void vd_worker_offload (VdWorker *worker, VdOp *op);

/* QUEUE: op->done() gets, once, the events of poll(2) that came on @fd; fewer
 * than those asked for, or none, may come.  One poll at a time for an op, and
 * one op at a time for a descriptor. */
void vd_worker_poll (VdWorker *worker, VdOp *op, int fd, short events);
/* QUEUE: ends a poll that is under way; done() follows, later, with -ECANCELED
 * or with what came first.  @fd is still open. */
void vd_worker_cancel_poll (VdWorker *worker, VdOp *op, int fd);

/* The box of a worker's thread, for operations that end elsewhere. */
VdMailbox *vd_worker_box (const VdWorker *worker);

/* QUEUE: when @ns nanoseconds have passed, or before, all queues of the worker
 * ask their devices again what they want (VdQueueOps.wants).  For devices that
 * make requests wait for a time. */
void vd_worker_wake_after (VdWorker *worker, guint64 ns);

/* CONTROL.  A pool of at most @max_threads threads, started on demand and ended
 * when idle; one for each device, so that a slow device delays only itself. */
VdPool *vd_pool_new (guint max_threads);
/* CONTROL, before it is used: each of its threads, and of the workers that hand
 * work to it, calls @begin before it does anything for the device.
 * @data: (transfer none): outlives the pool */
void vd_pool_set_begin (VdPool *pool, void (*begin) (gconstpointer data),
                        gconstpointer data);
/* CONTROL: ends its threads; all work must be done.  NULL is fine. */
void vd_pool_free (VdPool *pool);
/* Any thread: runs @op->work, then posts the completion to @box, whose owner
 * then calls done(). */
void vd_pool_push (VdPool *pool, VdOp *op, VdMailbox *box);

/* CONTROL: starts a thread.
 * @name: for debuggers, cut to 15 bytes
 * @pool: (transfer none): where offloaded work goes
 * @force_poll: TRUE to use epoll even where io_uring works (tests)
 * Returns: (transfer full): the worker, or NULL with @error set. */
VdWorker *vd_worker_new (const char *name, VdPool *pool, gboolean force_poll,
                         GError **error);
/* CONTROL: the same, where a thread of the kernel takes submissions without
 * system calls until none came for @idle_ms; if the kernel has such threads. */
VdWorker *vd_worker_new_sqpoll (const char *name, VdPool *pool, guint idle_ms,
                                GError **error);
/* CONTROL: the same, with vd_worker_get_iopoll_sqe(), if the kernel has that. */
VdWorker *vd_worker_new_iopoll (const char *name, VdPool *pool, GError **error);
/* CONTROL: ends the thread, which must have no queue, when polls that were
 * canceled have ended.  NULL is fine. */
void vd_worker_free (VdWorker *worker);
/* Any thread: before it sleeps the worker looks at its rings for up to @us
 * microseconds (less than an hour), as long as requests come so soon that this
 * pays; 0, as at first: never.  A sleep costs the guest's kick, and the time to
 * wake up, which in a virtual machine of a quiet host is the larger part of a
 * small request; not where requests wait for a disk.  Without io_uring it always
 * sleeps. */
void vd_worker_set_spin (VdWorker *worker, guint us);
/* Any thread: runs @mail on the worker's thread. */
void vd_worker_post (VdWorker *worker, VdMail *mail);

G_DEFINE_AUTOPTR_CLEANUP_FUNC (VdPool, vd_pool_free)
G_DEFINE_AUTOPTR_CLEANUP_FUNC (VdWorker, vd_worker_free)
