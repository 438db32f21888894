/* SPDX-License-Identifier: BSD-3-Clause
 *
 * seccomp-filter.h - which system calls the process, and each of its threads, may make
 *
 * Two walls: all threads may make the calls that any part of the daemon makes;
 * those that serve a device's queues only what queues and its kind take.  Both
 * are lists of what is allowed.  Rings of io_uring are restricted where they are
 * made (vring/worker-uring.c), as the kernel does not filter their operations.
 */
#pragma once

#include <glib.h>

#include "devices/device.h"

/* What a call that is not allowed comes to. */
typedef enum {
  VD_SECCOMP_TRAP, /* it fails with ENOSYS, and a line of the log names it */
  VD_SECCOMP_KILL, /* likewise, and then the process ends by SIGSYS */
  VD_SECCOMP_LOG,  /* it is made, and the kernel tells its audit log */
  VD_SECCOMP_NONE, /* there are no filters */
  VD_SECCOMP_AUTO, /* TRAP if this build and this kernel can, else NONE */
} VdSeccompMode;

/* The words for them, but for the last one; NULL-ended. */
extern const char *const vd_seccomp_words[];

typedef struct VdSeccomp VdSeccomp;

/* Prepares the filters.  CONTROL, as all here.
 * @registry: (transfer none): all kinds that there may be, NULL-ended
 * Returns: (transfer full): NULL with @error set if @mode is not possible */
VdSeccomp *vd_seccomp_new (VdSeccompMode mode,
                           const VdDeviceOps *const *registry, GError **error);

/* Every thread that serves @dev, whose pool has not been used, will be
 * restricted to what its kind takes.  @seccomp outlives @dev. */
void vd_seccomp_confine (const VdSeccomp *seccomp, VdDevice *dev);

/* Restricts the whole process, for good.  Programs that it starts would get no
 * new privileges.  Returns: FALSE with @error set if the kernel refuses. */
gboolean vd_seccomp_enter (const VdSeccomp *seccomp, GError **error);

/* The mode in force, never AUTO. */
VdSeccompMode vd_seccomp_mode (const VdSeccomp *seccomp);
/* Calls that were stopped so far, in the whole process. */
guint vd_seccomp_n_stopped (void);

void vd_seccomp_free (VdSeccomp *seccomp); /* NULL is fine */

G_DEFINE_AUTOPTR_CLEANUP_FUNC (VdSeccomp, vd_seccomp_free)

/* For seccomp*.c: lists that end with a NULL name. */

/* What every thread that serves queues makes. */
extern const VdSyscall vd_seccomp_queue_calls[];
/* What the rest of the daemon makes, beyond those and those of the kinds. */
extern const VdSyscall vd_seccomp_control_calls[];
