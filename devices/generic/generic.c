/* SPDX-License-Identifier: BSD-3-Clause */
#include "devices/generic/generic.h"
