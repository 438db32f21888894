/* SPDX-License-Identifier: BSD-3-Clause
 *
 * file.h - a part of a file that the front-end shares, mapped and guarded
 *
 * Files of huge pages can be mapped, and unmapped, in whole huge pages only.
 * CONTROL.
 */
#pragma once

#include <glib.h>
#include <sys/stat.h>

#include "vring/sigbus.h"

typedef struct {
  guint8 *bytes;   /* the part's first one */
  guint8 *mapping; /* whole pages */
  gsize len;       /* of mapping, in bytes */
  VdGuard *guard;  /* against truncation of the file */
} VdFilePart;

/* Whether @size bytes from @offset lie in the pages of a file that can be
 * shared.
 * @ret_page: bytes of its pages
 * Returns: NULL, or what is wrong: static text, or that of an errno */
const char *vd_file_check (int fd, guint64 offset, guint64 size,
                           struct stat *ret_stat, guint64 *ret_page);

/* Maps that part to be read and written; the caller closes @fd.
 * Returns: NULL, or what is wrong; then @ret is untouched */
const char *
vd_file_map_part (int fd, guint64 offset, guint64 size, VdFilePart *ret);
void vd_file_unmap_part (VdFilePart *part);
