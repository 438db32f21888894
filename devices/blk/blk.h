/* SPDX-License-Identifier: BSD-3-Clause
 *
 * blk.h - the kind "blk": a virtio-blk disk in a file or on a block device
 */
#pragma once

#include "devices/device.h"

extern const VdDeviceOps vd_blk_ops;
