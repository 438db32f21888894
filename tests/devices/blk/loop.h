/* SPDX-License-Identifier: BSD-3-Clause
 *
 * loop.h - a real block device for tests, where this user may make one
 */
#pragma once

#include <glib.h>

typedef struct {
  char *path; /* of the block device */
  int fd;
} VtLoop;

/* Makes a block device of @file.
 * @block_size: its logical block, 512 or 4096
 * Returns: NULL if that is not possible; the test was then marked as skipped */
VtLoop *vt_loop_new (const char *file, guint block_size);
void vt_loop_free (VtLoop *loop); /* NULL is fine */

G_DEFINE_AUTOPTR_CLEANUP_FUNC (VtLoop, vt_loop_free)
