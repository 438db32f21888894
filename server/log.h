/* SPDX-License-Identifier: BSD-3-Clause
 *
 * log.h - where messages go, and how often a peer may cause one
 */
#pragma once

#include <glib.h>

/* Sends GLib's messages to the journal if stderr is one, else to stderr as one
 * line each.  Debug messages need G_MESSAGES_DEBUG. */
void vd_log_init (void);

/* Shows only what is at least as important as @least, which may be debug; with
 * @to_syslog in syslog(3).  Before any thread exists. */
void vd_log_set (GLogLevelFlags least, gboolean to_syslog);

/* A budget of lines for one connection: a burst, then about one a second.  What
 * is swallowed is counted and told with the next line.  CONTROL. */
typedef struct {
  gint64 last_us; /* monotonic time of the last refill */
  guint tokens;
  guint n_swallowed;
} VdLogLimit;

#define VD_LOG_BURST 10

void vd_log_limit_init (VdLogLimit *limit);

/* A warning "ID: text", within the budget. */
void vd_log_limited (VdLogLimit *limit, const char *id, const char *format, ...)
    G_GNUC_PRINTF (3, 4);
