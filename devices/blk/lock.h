/* SPDX-License-Identifier: BSD-3-Clause
 *
 * lock.h - who may use an image at the same time, in qemu's words
 *
 * qemu's file driver keeps one byte of each image read-locked for every
 * permission that it uses (100 + p) and one for every permission that it does
 * not share (200 + p), by locks of the open file description.  We do the same,
 * so that qemu, qemu-img, qemu-storage-daemon and other virtiods see us and we
 * see them.  Nothing in the file changes.
 */
#pragma once

#include <glib.h>

/* Locks the image behind @fd until the open file description goes away.  A
 * writer shares only reading that takes the image as it comes; a reader shares
 * reading and is refused beside a writer.  May block for a second
 * where another user holds on to the image.
 * @fd: open for reading at least
 * @locked: (out): FALSE if this file system knows no such locks
 * Returns: FALSE with @error set if another user's locks forbid ours. */
gboolean
vd_lock_image (int fd, gboolean writer, gboolean *locked, GError **error);

/* The same without waiting. */
gboolean
vd_lock_try (int fd, gboolean writer, gboolean *locked, GError **error);

/* Waits as vd_lock_image() does until others would allow our locks, if they do,
 * and takes none. */
void vd_lock_await (int fd, gboolean writer);

/* Gives the locks back. */
void vd_lock_release (int fd);
