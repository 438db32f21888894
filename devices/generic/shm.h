/* SPDX-License-Identifier: BSD-3-Clause
 *
 * shm.h - the generic device's shared memory regions, and the files in them
 *
 * "shmem.ID=SIZE" is a region of which the guest sees nothing but its size;
 * "shmem.ID=SIZE ro PATH" and "shmem.ID=SIZE rw PATH" show a regular file, from
 * its start, as much of it as there is when the device is opened.  CONTROL.
 */
#pragma once

#include "devices/device.h"

typedef struct VdShmFiles VdShmFiles;

/* Reads the shmem.* keys of checked options.  Opens nothing.
 * Returns: (transfer full): NULL with @error set. */
VdShmFiles *vd_shm_files_new (const VdOptions *options, GError **error);
/* Opens the files. */
gboolean
vd_shm_files_open (VdShmFiles *files, const VdOptions *options, GError **error);
void vd_shm_files_free (VdShmFiles *files); /* NULL is fine */

/* For VdDevice.shm_sizes, as long as @files lives. */
const guint64 *vd_shm_files_sizes (const VdShmFiles *files);

/* Whether a reload can go from @files to @next: the regions are the same. */
gboolean
vd_shm_files_check_same (const VdShmFiles *files, const VdShmFiles *next,
                         const VdOptions *options, GError **error);
/* Takes the files of @next, which are open, and shows those that are others or
 * have grown. */
void vd_shm_files_take (VdShmFiles *files, VdShmFiles *next, VdDevice *dev);

/* Shows all files to @dev's front-end, which has told that it is ready. */
void vd_shm_files_show (VdShmFiles *files, VdDevice *dev);
/* The front-end left, or was told to reset the device, and shows nothing. */
void vd_shm_files_hide (VdShmFiles *files);

/* A line for each region. */
void vd_shm_files_dump (const VdShmFiles *files, GString *text);

G_DEFINE_AUTOPTR_CLEANUP_FUNC (VdShmFiles, vd_shm_files_free)
