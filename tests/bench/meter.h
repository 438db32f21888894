/* SPDX-License-Identifier: BSD-3-Clause
 *
 * meter.h - what a process and its children spend: processor time, system calls,
 * sleeps
 */
#pragma once

#include <glib.h>

typedef struct {
  gint64 cpu_ns;   /* of all threads, user and system */
  gint64 syscalls; /* -1: not counted */
  gint64 sleeps;   /* voluntary context switches */
} VbSpent;

typedef struct VbMeter VbMeter;

/* Begins to count what @pid and its children do, also by threads that they start
 * later.
 * @syscalls: count them, too, if the kernel lets us; slows all processes down */
VbMeter *vb_meter_new (GPid pid, gboolean syscalls);
void vb_meter_free (VbMeter *meter); /* NULL is fine */

/* What was spent since vb_meter_new(). */
VbSpent vb_meter_read (VbMeter *meter);
