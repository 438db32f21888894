/* SPDX-License-Identifier: BSD-3-Clause
 *
 * export.h - one shared directory: what its device's queues have in common
 */
#pragma once

#include <pthread.h>
#include <stdatomic.h>

#include "devices/device.h"
#include "devices/fs/budget.h"
#include "devices/fs/dax.h"
#include "devices/fs/handle.h"
#include "devices/fs/identity.h"
#include "devices/fs/inode.h"
#include "devices/fs/jail.h"
#include "devices/fs/lock.h"
#include "devices/fs/reaper.h"

/* How long the guest may believe what it has read. */
typedef enum {
  VD_FS_CACHE_NEVER,    /* not at all; reads and writes bypass its page cache */
  VD_FS_CACHE_METADATA, /* names and attributes for ever; data not at all */
  VD_FS_CACHE_AUTO,     /* for a second; data while the file's times stay */
  VD_FS_CACHE_ALWAYS,   /* for ever: nobody else changes the files */
} VdFsCache;

/* Which requests run in threads of their own, beside READ and WRITE. */
typedef enum {
  VD_FS_OFFLOAD_AUTO, /* all, if a file system of another machine is involved */
  VD_FS_OFFLOAD_ALWAYS,
  VD_FS_OFFLOAD_NEVER,
} VdFsOffload;

/* Whether the guest's close() is told to the host. */
typedef enum {
  VD_FS_FLUSH_AUTO, /* to a file system of another machine, which may answer with
                     * the error of an earlier write */
  VD_FS_FLUSH_ALWAYS,
  VD_FS_FLUSH_NEVER,
} VdFsFlush;

/* Whether to offer what not every guest and every host can. */
typedef enum {
  VD_FS_NEVER,
  VD_FS_AUTO,   /* if both sides can */
  VD_FS_ALWAYS, /* or else the guest's INIT, or opening the device, fails */
} VdFsOffer;

/* How long an answer is valid, as FUSE wants it. */
typedef struct {
  guint64 s;
  guint32 ns;
} VdFsTimeout;

/* How what the guest knows is told to the other side of a migration. */
typedef struct {
  gboolean by_handle;      /* by file handles too, of which both sides' daemons
                            * must make the same files */
  gboolean verify;         /* paths are checked by handles */
  gboolean abort_on_error; /* a file that is not there fails the migration,
                            * rather than what the guest does with it */
} VdFsMigration;

/* The user's wishes; constant after open(). */
typedef struct {
  VdFsCache cache;
  VdFsOffload offload;
  VdFsFlush flush;
  guint locks;          /* VdFsLockKinds */
  gboolean lazy_open;   /* lazy.h; read-only exports */
  guint32 max_write;    /* bytes */
  gboolean readdirplus; /* lists come with attributes */
  gboolean direct_io;   /* O_DIRECT of the guest bypasses our page cache, too */
  gboolean noatime;     /* O_NOATIME of the guest counts */
  gboolean ioctl;
  VdFsOffer acl, label, landlock;
  gboolean read_only, xattr, writeback, announce_submounts;
  VdFsTimeout entry, attr, negative;
  guint64 dax_min_size; /* smaller files are not for the window; bytes */
  VdFsMigration migration;
} VdFsPolicy;

/* Counters of one queue, written by it alone and read by any thread; on a cache
 * line of their own. */
typedef struct {
  atomic_uint_fast64_t requests;
  atomic_uint_fast64_t errors;    /* answered with an error */
  atomic_uint_fast64_t malformed; /* against the protocol */
  atomic_uint_fast64_t deferred;  /* not answered in the turn they came */
  guint64 padding[4];
} VdFsCounters;

typedef struct {
  VdDevice parent;
  VdFsPolicy policy;
  VdFsIdentity identity;
  VdFsJail jail;
  VdFsBudget budget;
  VdFsInodes inodes;
  VdFsHandles handles;
  VdFsReaper reaper;
  VdFsLocks locks;
  VdFsDax dax;
  VdFsCounters *counters; /* n_queues of them */

  atomic_uint n_lost;       /* files that the last migration did not find */
  atomic_uint n_lost_locks; /* that it left behind */

  /* What INIT agreed on, or 0 before and after a session of the guest. */
  atomic_uint_fast64_t negotiated;
  pthread_mutex_t init_lock; /* one INIT or DESTROY at a time */

  pthread_mutex_t bench_lock;
  struct VdFsBench *benches; /* not in use, by bench_lock; serve.c */
} VdFs;

/* Set in negotiated during a session; no flag of INIT uses it. */
#define VD_FS_READY (1ull << 63)

/* Adds one to a counter that only this thread writes. */
static inline void
vd_fs_count (atomic_uint_fast64_t *counter)
{
  atomic_store_explicit (
      counter, atomic_load_explicit (counter, memory_order_relaxed) + 1,
      memory_order_relaxed);
}

static inline guint64
vd_fs_negotiated (const VdFs *fs)
{
  return atomic_load_explicit (&fs->negotiated, memory_order_acquire);
}

/* Whether what may wait for another machine, or for long, has to be handed to
 * other threads. */
static inline gboolean
vd_fs_may_hang (const VdFs *fs)
{
  return fs->policy.offload == VD_FS_OFFLOAD_ALWAYS ||
         (fs->policy.offload == VD_FS_OFFLOAD_AUTO &&
          vd_fs_pins_may_hang (&fs->inodes.pins));
}

/* Begins a session of the guest with @flags agreed on, or ends it (0).  Either
 * way all that the guest knew and had open is gone and closed.  QUEUE; requests
 * that run meanwhile on other queues keep what they hold. */
void vd_fs_session (VdFs *fs, guint64 flags);
