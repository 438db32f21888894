/* SPDX-License-Identifier: BSD-3-Clause
 *
 * jail.h - the part of the host's file system that one export may reach
 *
 * The guest names one path component at a time, relative to a directory that it
 * was given before, so it cannot walk out by itself.  The jail makes sure that
 * nothing else leads out: symbolic links, "..", device nodes, directories that
 * someone moves on the host meanwhile.
 *
 * Threads: opened and cleared on CONTROL; used on any, without a lock.
 */
#pragma once

#include "devices/fs/clone.h"

typedef enum {
  VD_FS_JAIL_AUTO,  /* CLONE where it is allowed, else LIVE */
  VD_FS_JAIL_CLONE, /* a detached copy of the mount (clone.h); does not see what
                     * is mounted on the host later */
  VD_FS_JAIL_LIVE,  /* the host's own mounts; each component by openat2() with
                     * RESOLVE_BENEATH */
  VD_FS_JAIL_NONE,  /* the host's own mounts, plain openat() */
} VdFsJailKind;

typedef struct {
  VdFsJailKind kind;
  VdFsCloneConfig clone;
  guint64 drop; /* capabilities that threads give up, bits by CAP_* */
} VdFsJailConfig;

typedef struct {
  VdFsJailKind kind;    /* in force, never AUTO */
  int root;             /* the export's root, O_PATH */
  int proc;             /* "/proc/self/fd", O_PATH */
  int rules;            /* of Landlock, or -1 */
  gboolean lacks_clone; /* AUTO would have had CLONE */
  guint64 drop;         /* as wanted */
  gboolean remote;      /* the root lies on another machine (NFS, SMB, ...) */
} VdFsJail;

/* May block.  CONTROL.
 * Returns: FALSE with @error set if @source is no directory or the jail is not
 * permitted here; @jail may be cleared in any case. */
gboolean vd_fs_jail_open (VdFsJail *jail, const char *source,
                          const VdFsJailConfig *config, GError **error);

/* Makes rules for the threads that enter the jail (landlock.h).
 * Returns: 0 or -errno, and then they stay unrestricted.  CONTROL. */
int
vd_fs_jail_restrict (VdFsJail *jail, gboolean read_only, gboolean by_handle);

/* Prepares the calling thread, one of the device's own, to serve:
 * vd_fs_cred_enter(), and the rules.  Costs nothing when it was done before.
 * Returns: 0 or -errno. */
int vd_fs_jail_enter (const VdFsJail *jail);

/* Safe on one whose opening failed, and twice. */
void vd_fs_jail_clear (VdFsJail *jail);

/* Whether the file system of @fd lies on another machine, or may wait for one. */
gboolean vd_fs_jail_is_remote (int fd);

/* Opens @name, a single component, in directory @parent, with O_PATH: without
 * following a link, opening a device or waiting.  ".." works in a CLONE only.
 * Returns: a descriptor or -errno. */
int vd_fs_jail_child (const VdFsJail *jail, int parent, const char *name);

/* Opens what @fd, an O_PATH descriptor, refers to.  The caller has made sure
 * that it is a regular file or a directory.
 * Returns: a descriptor or -errno. */
int vd_fs_jail_reopen (const VdFsJail *jail, int fd, int flags);

/* The path of @fd for calls that take no descriptor, relative to the working
 * directory that vd_fs_cred_enter() set. */
#define VD_FS_FD_PATH_LEN 16
const char *vd_fs_fd_path (int fd, char path[VD_FS_FD_PATH_LEN]);

/* "clone", "live" or "none". */
const char *vd_fs_jail_name (VdFsJailKind kind);
