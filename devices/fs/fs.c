/* SPDX-License-Identifier: BSD-3-Clause */
#include "devices/fs/fs.h"
