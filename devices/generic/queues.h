/* SPDX-License-Identifier: BSD-3-Clause
 *
 * queues.h - what the generic device's queues do with chains: a menu
 *
 * "queue.0=MODE", "queue.1-3=MODE", "queue.*=MODE"; the narrower key wins, and
 * a queue without one drains.  Modes:
 *   drain              completes each chain at once, with nothing written
 *   hold               takes no chain, ever
 *   loopback           copies what the chain says into its own writable part
 *   source=zero        fills the writable part with zeroes,
 *   source=random      with random bytes,
 *   source=file:PATH   with a file's bytes, again from its start after its end
 *   sink=null          drops what the chain says
 *   sink=file:PATH     appends it to a file, up to a limit, then drops it
 * One chain moves at most VD_MENU_FILL_MAX or VD_MENU_COPY_MAX bytes, so that a
 * guest's huge chains cannot keep a queue from stopping.
 */
#pragma once

#include "devices/options.h"
#include "vring/queue.h"

#define VD_MENU_FILL_MAX (1u << 20)  /* bytes written by a source for a chain */
#define VD_MENU_COPY_MAX (16u << 20) /* bytes of a chain looped or sunk */

typedef struct VdQueueMenu VdQueueMenu;

/* Reads the queue.* keys of checked options.  Opens nothing.  CONTROL.
 * Returns: (transfer full): NULL with @error set. */
VdQueueMenu *
vd_queue_menu_new (const VdOptions *options, guint n_queues, GError **error);

/* CONTROL: opens the files, which stay open until the menu is freed.
 * @sink_limit: bytes that a sink's file may grow to */
gboolean vd_queue_menu_open (VdQueueMenu *menu, guint64 sink_limit,
                             const VdOptions *options, GError **error);

/* CONTROL, with all queues stopped; NULL is fine. */
void vd_queue_menu_free (VdQueueMenu *menu);

/* CONTROL, with all queues stopped: sources begin at their file's start. */
void vd_queue_menu_reset (VdQueueMenu *menu);

/* QUEUE: VdQueueOps.wants and .handle. */
guint vd_queue_menu_wants (const VdQueueMenu *menu, const VdQueue *queue);
void vd_queue_menu_handle (VdQueueMenu *menu, VdQueue *queue, VdChain **chains,
                           guint n_chains);

/* CONTROL: a line for each queue: its mode and counters. */
void vd_queue_menu_dump (const VdQueueMenu *menu, GString *text);

G_DEFINE_AUTOPTR_CLEANUP_FUNC (VdQueueMenu, vd_queue_menu_free)
