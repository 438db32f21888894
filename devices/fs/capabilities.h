/* SPDX-License-Identifier: BSD-3-Clause
 *
 * capabilities.h - what the threads of an export keep of the daemon's privileges
 *
 * Sets are bits by CAP_*.  Pure functions.
 */
#pragma once

#include <glib.h>

#define VD_FS_CAPABILITIES_ERROR (vd_fs_capabilities_error_quark ())
GQuark vd_fs_capabilities_error_quark (void);
typedef enum {
  VD_FS_CAPABILITIES_SYNTAX,
} VdFsCapabilitiesError;

/* What serving a directory takes.
 * @xattr: with attributes trusted.* and security.*
 * @ioctl: with flags that make files immutable */
guint64 vd_fs_capabilities (gboolean xattr, gboolean ioctl);

/* Adds and removes, as virtiofsd's --modcaps: "+sys_admin:-mknod".
 * @changes: (nullable): NULL changes nothing
 * Returns: FALSE with @error set, and then @caps is as it was. */
gboolean
vd_fs_capabilities_modify (guint64 *caps, const char *changes, GError **error);
