/* SPDX-License-Identifier: BSD-3-Clause
 *
 * write-log.h - tells the log which fields a driver changed, within bounds
 *
 * A change is held back until the driver has been quiet for a tenth of a second,
 * but not longer than a second, and each field is then logged once: "kbd0:
 * config leds = 3 (was 0)".  A guest that writes as fast as it can costs a line
 * for each field and second.  CONTROL.
 */
#pragma once

#include "devices/generic/layout.h"

#define VD_WRITE_LOG_QUIET_MS 100
#define VD_WRITE_LOG_LATE_MS  1000

typedef struct VdWriteLog VdWriteLog;

/* @layout, @config: (transfer none): outlive the log */
VdWriteLog *vd_write_log_new (const VdLayout *layout, const VdConfig *config);
/* Logs what is held back; NULL is fine. */
void vd_write_log_free (VdWriteLog *log);

/* The driver changed this span of config space.  Padding and fields that
 * select a page are not news.
 * @id: (transfer none): the device's name in the log; outlives the log */
void
vd_write_log_add (VdWriteLog *log, const char *id, guint offset, guint len);

/* Logs what is held back, and takes config space as it is now as known: after
 * it changed from this side. */
void vd_write_log_sync (VdWriteLog *log);

G_DEFINE_AUTOPTR_CLEANUP_FUNC (VdWriteLog, vd_write_log_free)
