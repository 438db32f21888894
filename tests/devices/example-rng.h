/* SPDX-License-Identifier: BSD-3-Clause
 *
 * example-rng.h - the device of docs/adding-a-device.md
 */
#pragma once

#include "devices/device.h"

extern const VdDeviceOps example_rng_ops;
