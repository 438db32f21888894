/* SPDX-License-Identifier: BSD-3-Clause
 *
 * fs.h - virtio-fs: a directory of the host that the guest mounts by its tag
 *
 * Keys, defaults and help are in the table of keys.c (virtiod --list-devices).
 */
#pragma once

#include "devices/device.h"

extern const VdDeviceOps vd_fs_ops;
