/* SPDX-License-Identifier: BSD-3-Clause
 *
 * thread.h - starting threads
 */
#pragma once

#include <pthread.h>

/* Starts a thread that gets no signal but those that its own instructions cause
 * and that have handlers here: SIGBUS (sigbus.h) and SIGSYS (server/seccomp-filter.h),
 * which would end the process if they were blocked.
 * @ret: the thread; NULL: it is detached
 * Returns: 0 or an errno.  Any thread. */
int vd_thread_start (pthread_t *ret, void *(*run) (void *data), void *data);
