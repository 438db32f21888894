/* SPDX-License-Identifier: BSD-3-Clause
 *
 * syscall.h - what threads ask of the kernel, in lists for server/seccomp-filter.c
 */
#pragma once

#include <glib.h>

/* System calls that a thread may make, all of a name or those of one argument. */
typedef struct {
  const char *name;
  guint arg;     /* with mask: which argument, from 0 */
  guint64 mask;  /* its bits that count; 0: any arguments will do */
  guint64 value; /* what these bits must be */
} VdSyscall;
