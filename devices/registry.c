/* SPDX-License-Identifier: BSD-3-Clause
 *
 * registry.c - the one list of kinds
 */
#include "build-options.h"

#include "devices/blk/blk.h"
#include "devices/generic/generic.h"
#if VD_HAVE_FS
#include "devices/fs/fs.h"
#endif

const VdDeviceOps *const vd_registry[] = {
  &vd_blk_ops,
#if VD_HAVE_FS
  &vd_fs_ops,
#endif
  &vd_generic_ops,
  NULL,
};
