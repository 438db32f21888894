/* SPDX-License-Identifier: BSD-3-Clause
 *
 * keys.h - what the user can ask of a shared directory
 *
 * All on CONTROL.
 */
#pragma once

#include "devices/fs/export.h"

extern const VdKey vd_fs_keys[];

/* What the key table cannot say; opens nothing. */
gboolean vd_fs_keys_check (VdOptions *options, GError **error);

/* The user's wishes as checked options have them. */
VdFsPolicy vd_fs_policy (const VdOptions *options);
/* Its strings are those of @identity. */
VdFsJailConfig
vd_fs_jail_config (const VdOptions *options, const VdFsIdentity *identity);
