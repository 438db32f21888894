/* SPDX-License-Identifier: BSD-3-Clause
 *
 * calls.h - the system calls that serve a shared directory
 */
#pragma once

#include "devices/syscall.h"

/* Ends with a NULL name. */
extern const VdSyscall vd_fs_calls[];
