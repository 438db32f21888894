/* SPDX-License-Identifier: BSD-3-Clause
 *
 * sigbus.h - surviving a front-end that truncates its memory, or whoever truncates
 * a file that is mapped
 *
 * Touching a page that its file no longer has raises SIGBUS.  The handler finds
 * the mapping by the address, puts zero pages over all of it and marks it lost,
 * so the thread goes on, and whoever uses the mapping finds out soon after.
 */
#pragma once

#include <glib.h>

typedef struct VdGuard VdGuard; /* one guarded mapping */

/* CONTROL: guards @len bytes at @start, both whole pages.
 * Returns: the guard, or NULL if there are too many. */
VdGuard *vd_guard_new (void *start, gsize len);
/* CONTROL, before the mapping is removed; NULL is fine. */
void vd_guard_free (VdGuard *guard);

/* CONTROL: what is mapped, in pages of the usual size, is about to be taken away
 * by ourselves.  Then only the pages that we touch become zeroes: to the system
 * calls that still wait for others these stay missing, since zeroes would get
 * into files as if they were data. */
void vd_guard_lose (VdGuard *guard);

/* Any thread: whether the mapping was lost.  Who reads zeroes that took its place
 * and asks afterwards (acquire) is told. */
gboolean vd_guard_is_lost (const VdGuard *guard);

/* Any thread: a number that changes whenever any mapping is lost: what a queue
 * looks at in every turn. */
guint vd_guard_generation (void);
