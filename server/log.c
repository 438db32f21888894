/* SPDX-License-Identifier: BSD-3-Clause */
#define G_LOG_DOMAIN "virtiod"

#include "server/log.h"

#include <stdio.h>
#include <string.h>
#include <syslog.h>
#include <unistd.h>

static GLogLevelFlags least_level = G_LOG_LEVEL_DEBUG;
static gboolean use_syslog;

static const char *
level_name (GLogLevelFlags level)
{
  switch (level & G_LOG_LEVEL_MASK) {
  case G_LOG_LEVEL_ERROR:
  case G_LOG_LEVEL_CRITICAL: return "critical: ";
  case G_LOG_LEVEL_WARNING: return "warning: ";
  case G_LOG_LEVEL_DEBUG: return "debug: ";
  default: return "";
  }
}

static int
syslog_priority (GLogLevelFlags level)
{
  switch (level & G_LOG_LEVEL_MASK) {
  case G_LOG_LEVEL_ERROR:
  case G_LOG_LEVEL_CRITICAL: return LOG_CRIT;
  case G_LOG_LEVEL_WARNING: return LOG_WARNING;
  case G_LOG_LEVEL_DEBUG: return LOG_DEBUG;
  default: return LOG_INFO;
  }
}

static GLogWriterOutput
write_log (GLogLevelFlags level, const GLogField *fields, gsize n_fields,
           gpointer data)
{
  const char *message = "", *domain = NULL;

  for (gsize i = 0; i < n_fields; i++)
    if (strcmp (fields[i].key, "MESSAGE") == 0)
      message = fields[i].value;
    else if (strcmp (fields[i].key, "GLIB_DOMAIN") == 0)
      domain = fields[i].value;
  /* The bits of a level grow as its importance falls. */
  if ((level & G_LOG_LEVEL_MASK) > least_level ||
      g_log_writer_default_would_drop (level, domain))
    return G_LOG_WRITER_HANDLED;
  if (use_syslog) {
    syslog (syslog_priority (level), "%s", message);
    return G_LOG_WRITER_HANDLED;
  }
  if (g_log_writer_is_journald (STDERR_FILENO) &&
      g_log_writer_journald (level, fields, n_fields, NULL) ==
          G_LOG_WRITER_HANDLED)
    return G_LOG_WRITER_HANDLED;
  fprintf (stderr, "virtiod: %s%s\n", level_name (level), message);
  return G_LOG_WRITER_HANDLED;
}

void
vd_log_init (void)
{
  setvbuf (stderr, NULL, _IOLBF, 1024);
  g_log_set_writer_func (write_log, NULL, NULL);
}

void
vd_log_set (GLogLevelFlags least, gboolean to_syslog)
{
  least_level = least;
  use_syslog = to_syslog;
  if (least == G_LOG_LEVEL_DEBUG)
    g_setenv ("G_MESSAGES_DEBUG", "all", FALSE);
}

void
vd_log_limit_init (VdLogLimit *limit)
{
  *limit = (VdLogLimit){ g_get_monotonic_time (), VD_LOG_BURST, 0 };
}

/* Returns: whether a line is allowed now. */
static gboolean
take_token (VdLogLimit *limit)
{
  gint64 now = g_get_monotonic_time ();
  gint64 earned = (now - limit->last_us) / G_USEC_PER_SEC;

  if (earned > 0) {
    limit->tokens = (guint) MIN (limit->tokens + earned, VD_LOG_BURST);
    limit->last_us = now;
  }
  if (limit->tokens == 0) {
    limit->n_swallowed++;
    return FALSE;
  }
  limit->tokens--;
  return TRUE;
}

void
vd_log_limited (VdLogLimit *limit, const char *id, const char *format, ...)
{
  g_autofree char *text = NULL;
  va_list args;

  if (!take_token (limit))
    return;
  va_start (args, format);
  text = g_strdup_vprintf (format, args);
  va_end (args);
  if (limit->n_swallowed > 0)
    g_warning ("%s: %s (and %u lines before)", id, text, limit->n_swallowed);
  else
    g_warning ("%s: %s", id, text);
  limit->n_swallowed = 0;
}
