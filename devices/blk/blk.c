/* SPDX-License-Identifier: BSD-3-Clause */
#include "devices/blk/blk.h"
