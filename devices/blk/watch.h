/* SPDX-License-Identifier: BSD-3-Clause
 *
 * watch.h - notices that an image may have another size
 *
 * A file tells by inotify, a block device by the kernel's uevents.  An idle disk
 * costs nothing, a busy file a few wakeups of CONTROL a second: inotify cannot
 * tell growth from writing, so it is asked for one event at a time.  Where the
 * kernel has no room for another watch, or a jail no /proc to name the file by,
 * the size is looked at once a second.
 */
#pragma once

#include "devices/blk/image.h"

typedef struct VdWatch VdWatch;

/* CONTROL, whose main context must be the default one: calls @changed soon after
 * each change, and sometimes without one.  File systems whose changes come from
 * other machines tell nothing.
 * Returns: (transfer full) */
VdWatch *vd_watch_new (const VdImage *image, void (*changed) (gpointer data),
                       gpointer data);
void vd_watch_free (VdWatch *watch); /* NULL is fine */
