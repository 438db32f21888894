/* SPDX-License-Identifier: BSD-3-Clause
 *
 * engine.h - libfuse's low-level library as the decoder of requests
 *
 * Any thread, each with a bench of its own.
 */
#pragma once

#include "devices/fs/request.h"

/* Makes the bench's libfuse session.  Returns: 0 or -errno. */
int vd_fs_engine_start (VdFsBench *bench);
void vd_fs_engine_stop (VdFsBench *bench);

/* Lets libfuse decode a validated message and call its operation; afterwards
 * the request is answered or deferred. */
void vd_fs_engine_run (VdFsRequest *req);
