/* SPDX-License-Identifier: BSD-3-Clause
 *
 * lock.h - the guest's file locks, made on the host where all guests see them
 *
 * A lock of flock(2) belongs to an open file, here as there.  A lock of fcntl(2)
 * belongs to a process of the guest: each owner gets an open file of its own
 * here, whose OFD locks stand for its locks, until the process closes the file.
 *
 * Nobody blocks in a system call for a lock.  Who has to wait does so in a list
 * that one thread, while there is anybody, tries again: at once when something
 * of this export is unlocked, and every now and then for what others unlock.
 * It ends by success, by INTERRUPT, or when the queue stops or the session ends.
 *
 * Threads: any, unless said otherwise.  The lock is not held over system calls
 * that may wait.
 */
#pragma once

#include <glib.h>
#include <pthread.h>

#include "devices/fs/reaper.h"
#include "vring/mailbox.h"

typedef struct VdFsLockFile VdFsLockFile;
typedef struct VdFsRequest VdFsRequest;
typedef struct VdFsQueue VdFsQueue;
typedef struct VdFsHandle VdFsHandle;

/* Which locks are made on the host; those that are not are each guest's own. */
typedef enum {
  VD_FS_LOCKS_FLOCK = 1 << 0,
  VD_FS_LOCKS_POSIX = 1 << 1,
} VdFsLockKinds;

/* Waiting requests of one queue at most: the driver must always have room for
 * the request that unlocks. */
#define VD_FS_WAITING_MAX 64

/* Numbers of requests that are remembered because they were interrupted. */
#define VD_FS_INTERRUPTED_MAX 256

typedef struct {
  pthread_mutex_t lock; /* guards all below, and VdFsWait */
  pthread_cond_t changed;
  GHashTable *files;          /* of VdFsLockFile, which are their own keys */
  VdFsRequest *first, **last; /* that wait; only the thread removes some */
  gboolean running;           /* the thread */
  /* Whose INTERRUPT found nobody waiting, in a circle; 0 is nobody.  They have
   * ended, or are yet to come: from another queue, or out of the pool. */
  guint64 interrupted[VD_FS_INTERRUPTED_MAX];
  guint next_interrupted;
  VdFsJob job;
  VdFsReaper thread;
} VdFsLocks;

/* A request that waits; part of it. */
typedef struct {
  VdFsRequest *next;
  VdFsHandle *handle; /* flock: referenced, else NULL */
  VdFsLockFile *file; /* fcntl: referenced, else NULL */
  guint64 start, len; /* fcntl: 0 is to the end */
  int type;           /* fcntl: F_RDLCK, ...; flock: LOCK_SH, ... */
  int end_with;       /* 0, or the -errno to end with */
  int res;
  VdMail mail; /* to QUEUE */
} VdFsWait;

void vd_fs_locks_init (VdFsLocks *locks); /* CONTROL */
/* CONTROL; no request is under way. */
void vd_fs_locks_clear (VdFsLocks *locks);

/* Drops all locks of fcntl(2), as at the end of a session, and ends all waiting
 * with -EAGAIN. */
void vd_fs_locks_reset (VdFsLocks *locks);

/* Ends the waiting of request @unique with -EINTR, now or as soon as it begins to
 * wait in this session: an INTERRUPT may overtake what it is for. */
void vd_fs_locks_interrupt (VdFsLocks *locks, guint64 unique);

/* Ends the waiting of all requests of @queue with -EAGAIN. */
void vd_fs_locks_drain (VdFsLocks *locks, const VdFsQueue *queue);

/* Something was unlocked: those who wait try again. */
void vd_fs_locks_kick (VdFsLocks *locks);

/* Drops what process @owner has locked of the file. */
void vd_fs_locks_drop_owner (VdFsLocks *locks, guint64 nodeid, guint64 owner);

/* Without requests.  Calls @func with the open file of each owner who
 * has, or had, locks of fcntl(2). */
void vd_fs_locks_foreach (VdFsLocks *locks,
                          void (*func) (int fd, gpointer data), gpointer data);
