/* SPDX-License-Identifier: BSD-3-Clause
 *
 * write-log.c - fields that changed, logged when the driver pauses
 */
#define G_LOG_DOMAIN "virtiod-generic"

#include "devices/generic/write-log.h"

#include <string.h>

struct VdWriteLog {
  const VdLayout *layout;
  const VdConfig *config;
  const char *id;
  guint8 *known;    /* config space as the log's reader knows it */
  gboolean *marked; /* by number of the field */
  guint timer;      /* source id; 0: nothing is held back */
  gint64 first_us;  /* when the oldest change that is held back came */
};

VdWriteLog *
vd_write_log_new (const VdLayout *layout, const VdConfig *config)
{
  VdWriteLog *log = g_new0 (VdWriteLog, 1);

  log->layout = layout;
  log->config = config;
  log->known = g_memdup2 (config->bytes, config->len);
  log->marked = g_new0 (gboolean, layout->fields->len);
  return log;
}

static void
log_field (VdWriteLog *log, const VdField *field)
{
  const guint8 *now = log->config->bytes + field->offset;
  guint8 *was = log->known + field->offset;
  g_autoptr (GString) new = g_string_new (NULL);
  g_autoptr (GString) old = g_string_new (NULL);

  if (memcmp (now, was, field->len) == 0)
    return; /* changed there and back */
  vd_value_format (field->form.type, now, field->len, new);
  vd_value_format (field->form.type, was, field->len, old);
  g_message ("%s: config %s = %s (was %s)", log->id, field->name, new->str,
             old->str);
  memcpy (was, now, field->len);
}

/* Logs all fields that are marked and ends the wait. */
static void
flush (VdWriteLog *log)
{
  if (log->timer == 0)
    return;
  g_source_remove (log->timer);
  log->timer = 0;
  for (guint i = 0; i < log->layout->fields->len; i++) {
    if (log->marked[i])
      log_field (log, g_ptr_array_index (log->layout->fields, i));
    log->marked[i] = FALSE;
  }
}

void
vd_write_log_free (VdWriteLog *log)
{
  if (log == NULL)
    return;
  flush (log);
  g_free (log->known);
  g_free (log->marked);
  g_free (log);
}

static gboolean
on_quiet (gpointer data)
{
  flush (data);
  return G_SOURCE_REMOVE;
}

/* Waits for the end of a quiet time, which begins anew with each change. */
static void
wait_for_quiet (VdWriteLog *log)
{
  gint64 now = g_get_monotonic_time ();
  gint64 left;

  if (log->timer == 0)
    log->first_us = now;
  else
    g_source_remove (log->timer);
  left = VD_WRITE_LOG_LATE_MS - (now - log->first_us) / 1000;
  log->timer = g_timeout_add ((guint) CLAMP (left, 0, VD_WRITE_LOG_QUIET_MS),
                              on_quiet, log);
}

static gboolean
is_news (const VdField *field, guint offset, guint len)
{
  return field->offset < offset + len && offset < field->offset + field->len &&
         field->role != VD_FIELD_SELECT &&
         strcmp (field->name, VD_FIELD_PADDING) != 0;
}

void
vd_write_log_add (VdWriteLog *log, const char *id, guint offset, guint len)
{
  gboolean any = FALSE;

  log->id = id;
  for (guint i = 0; i < log->layout->fields->len; i++)
    if (is_news (g_ptr_array_index (log->layout->fields, i), offset, len))
      any = log->marked[i] = TRUE;
  if (any)
    wait_for_quiet (log);
}

void
vd_write_log_sync (VdWriteLog *log)
{
  flush (log);
  if (log->config->len > 0)
    memcpy (log->known, log->config->bytes, log->config->len);
}
