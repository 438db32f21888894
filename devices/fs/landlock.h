/* SPDX-License-Identifier: BSD-3-Clause
 *
 * landlock.h - the files that a thread can open at all
 *
 * A second wall inside of the jail: a thread that serves one export cannot open
 * what lies outside of it, not even by a descriptor of another export that it
 * should not have.  It is about our own mistakes; threads share their memory.
 * Only opening, making, moving and removing are restricted, not what is done
 * to files that are open.
 */
#pragma once

#include <glib.h>

/* Makes rules that allow what lies below @root, a directory, and /dev/null, which
 * every session of libfuse needs.
 * @read_only: allows reading alone
 * @by_handle: files are opened by handle, too
 * Returns: a descriptor or -errno: -EOPNOTSUPP if this kernel has no Landlock,
 * has it off, or has one that does not know where such files are.  CONTROL. */
int vd_fs_landlock_open (int root, gboolean read_only, gboolean by_handle);

/* Restricts the calling thread, for good, and those that it starts.
 * Returns: 0 or -errno. */
int vd_fs_landlock_enter (int rules);
