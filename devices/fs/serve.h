/* SPDX-License-Identifier: BSD-3-Clause
 *
 * serve.h - the way of a message from its ring to its operation
 *
 * A request is taken apart and worked on at a bench.  Each queue's thread has
 * one, and so in most exports nothing is handed over.  Where a file system may
 * keep a system call waiting, because a server elsewhere has to answer it,
 * everything but READ and WRITE (which io.c hands over by itself) goes abroad:
 * to a thread of the device's pool, with a bench from the export's stock.  Then
 * a server that hangs delays who asks for its files and nobody else.
 */
#pragma once

#include "devices/fs/request.h"

/* How VdDeviceOps.queue serves; user_data is the VdFs. */
int vd_fs_serve_start (VdQueue *ring, gpointer user_data);
void vd_fs_serve_stop (VdQueue *ring, gpointer user_data);
void vd_fs_serve_drain (VdQueue *ring, gpointer user_data);
void vd_fs_serve (VdQueue *ring, VdChain **chains, guint n_chains,
                  gpointer user_data);

/* CONTROL: frees the export's stock of benches; no request is under way. */
void vd_fs_serve_clear (VdFs *fs);
