/* SPDX-License-Identifier: BSD-3-Clause */
#pragma once

#include "devices/device.h"

extern const VdDeviceOps vd_blk_ops;
