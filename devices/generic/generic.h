/* SPDX-License-Identifier: BSD-3-Clause
 *
 * generic.h - a device of any virtio id, whose config space and queues the user
 * describes
 */
#pragma once

#include "devices/device.h"

extern const VdDeviceOps vd_generic_ops;
