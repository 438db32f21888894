/* SPDX-License-Identifier: BSD-3-Clause
 *
 * engine.h - libfuse's low-level library as the decoder of requests
 *
 * QUEUE.
 */
#pragma once

#include "devices/fs/request.h"

/* Makes the queue's libfuse session.  Returns: 0 or -errno. */
int vd_fs_engine_start (VdFsQueue *queue);
void vd_fs_engine_stop (VdFsQueue *queue);

/* Lets libfuse decode a validated message and call its operation; afterwards
 * the request is answered or deferred. */
void vd_fs_engine_run (VdFsRequest *req);
