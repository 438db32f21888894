/* SPDX-License-Identifier: BSD-3-Clause
 *
 * cred.h - what a thread of the daemon is allowed to do, and as whom
 *
 * New files must belong to the guest's user, so the thread becomes that user
 * for one system call.  libc's functions would change all threads of the
 * process; these use the kernel's own, which change one.  A daemon without
 * CAP_SETUID and CAP_SETGID creates everything as itself.
 */
#pragma once

#include <glib.h>

/* Who asks for a new file. */
typedef struct {
  guint32 uid, gid;
  guint32 umask;      /* applied unless the directory has a default ACL; 0 where
                       * the guest has applied it */
  gboolean has_group; /* @group is a supplementary group of the caller */
  guint32 group;
} VdFsCaller;

/* Prepares the calling thread: a umask (0) and a working directory of its own,
 * no supplementary groups.  The thread stays so.
 * @proc: "/proc/self/fd", which becomes the working directory, so that
 *   descriptor 7 has the path "7"
 * @drop: capabilities to give up for good, bits by CAP_*
 * Returns: 0 or -errno. */
int vd_fs_cred_enter (int proc, guint64 drop);

/* Whether the thread has capability CAP_*, between requests. */
gboolean vd_fs_cred_has (guint cap);

/* Makes the thread act as @caller until vd_fs_cred_pop(), without permission
 * checks beyond those that the guest has made already.  Costs no system call
 * if the caller is who the thread is.
 * Returns: 0 or -errno, and then nothing changed. */
int vd_fs_cred_push (const VdFsCaller *caller);

/* Aborts the process if the kernel refuses, rather than serving the next
 * request with a guest's identity. */
void vd_fs_cred_pop (void);

/* Whether the thread's writes, truncations and mode changes keep set-id bits,
 * as a privileged user's do (CAP_FSETID).  Lasts until it is changed; a call
 * that changes nothing costs nothing. */
void vd_fs_cred_keep_set_id (gboolean keep);
