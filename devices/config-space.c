/* SPDX-License-Identifier: BSD-3-Clause
 *
 * config-space.c - bounds, write masks and the generation, once for all devices
 *
 * Some VMMs write the whole space for each byte that their guest changes, with
 * stale read-only bytes inside (QEMU's vhost-user-base).  So a driver's write
 * is compared byte by byte, and what it may not change is skipped, not refused.
 */
#include "devices/config-space.h"

#include <string.h>

void
vd_config_init (VdConfig *config, guint len)
{
  g_assert (len <= VD_CONFIG_MAX);
  *config = (VdConfig){
    .len = len,
    .bytes = g_malloc0 (len),
    .access = g_malloc0 (len),
  };
}

void
vd_config_clear (VdConfig *config)
{
  g_free (config->bytes);
  g_free (config->access);
  *config = (VdConfig){ 0 };
}

static gboolean
in_bounds (const VdConfig *config, guint offset, guint len)
{
  return offset <= config->len && len <= config->len - offset;
}

void
vd_config_read (VdConfig *config, guint offset, void *to, guint len)
{
  guint there = offset < config->len ? MIN (len, config->len - offset) : 0;

  config->n_gets++;
  if (there > 0)
    memcpy (to, config->bytes + offset, there);
  if (len > there)
    memset ((guint8 *) to + there, 0, len - there);
}

/* What byte @at becomes when a driver writes @value. */
static guint8
driver_byte (VdConfig *config, guint at, guint8 value)
{
  guint8 old = config->bytes[at];

  switch ((VdConfigAccess) config->access[at]) {
  case VD_CONFIG_RW: return value;
  case VD_CONFIG_W1C: return old & (guint8) ~value;
  case VD_CONFIG_RO: break;
  }
  if (value != old)
    config->n_skipped++;
  return old;
}

gboolean
vd_config_write (VdConfig *config, guint offset, const void *from, guint len,
                 guint *changed_offset, guint *changed_len)
{
  const guint8 *values = from;
  guint first = 0, end = 0; /* the span of changed bytes; empty: end is 0 */

  if (!in_bounds (config, offset, len)) {
    config->n_refused++;
    return FALSE;
  }
  config->n_sets++;
  for (guint i = 0; i < len; i++) {
    guint at = offset + i;
    guint8 value = driver_byte (config, at, values[i]);

    if (value == config->bytes[at])
      continue;
    config->bytes[at] = value;
    if (end == 0)
      first = at;
    end = at + 1;
  }
  if (end > 0)
    config->generation++;
  *changed_offset = end > 0 ? first : offset;
  *changed_len = end - first;
  return TRUE;
}

/* Stores bytes that are in bounds.  Returns: whether one changed. */
static gboolean
store (VdConfig *config, guint offset, const void *from, guint len)
{
  if (len == 0 || memcmp (config->bytes + offset, from, len) == 0)
    return FALSE;
  memcpy (config->bytes + offset, from, len);
  config->generation++;
  return TRUE;
}

gboolean
vd_config_restore (VdConfig *config, guint offset, const void *from, guint len)
{
  if (!in_bounds (config, offset, len)) {
    config->n_refused++;
    return FALSE;
  }
  config->n_sets++;
  store (config, offset, from, len);
  return TRUE;
}

gboolean
vd_config_set (VdConfig *config, guint offset, const void *from, guint len)
{
  g_assert (in_bounds (config, offset, len));
  return store (config, offset, from, len);
}

gboolean
vd_config_set_le16 (VdConfig *config, guint offset, guint16 value)
{
  guint16 le = GUINT16_TO_LE (value);

  return vd_config_set (config, offset, &le, sizeof le);
}

gboolean
vd_config_set_le32 (VdConfig *config, guint offset, guint32 value)
{
  guint32 le = GUINT32_TO_LE (value);

  return vd_config_set (config, offset, &le, sizeof le);
}

gboolean
vd_config_set_le64 (VdConfig *config, guint offset, guint64 value)
{
  guint64 le = GUINT64_TO_LE (value);

  return vd_config_set (config, offset, &le, sizeof le);
}

void
vd_config_set_access (VdConfig *config, guint offset, guint len,
                      VdConfigAccess access)
{
  g_assert (in_bounds (config, offset, len));
  if (len > 0)
    memset (config->access + offset, access, len);
}
