/* SPDX-License-Identifier: BSD-3-Clause
 *
 * lacks.h - what an export cannot do because the daemon or the kernel may not
 */
#pragma once

#include "devices/fs/export.h"

/* Returns: (transfer full) (nullable): one line, or NULL if nothing is lacking.
 * CONTROL. */
char *vd_fs_lacks (const VdFs *fs);
