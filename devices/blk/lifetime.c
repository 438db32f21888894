/* SPDX-License-Identifier: BSD-3-Clause
 *
 * lifetime.c - see lifetime.h
 */
#include "devices/blk/lifetime.h"

#include <stdio.h>
#include <string.h>
#include <sys/stat.h>
#include <sys/sysmacros.h>

/* Returns: whether @text has three numbers; nothing may follow. */
static gboolean
parse (const char *text, VdLifetime *ret)
{
  guint16 numbers[3];
  g_auto (GStrv) parts = g_strsplit (text, ",", -1);

  if (g_strv_length (parts) != G_N_ELEMENTS (numbers))
    return FALSE;
  for (guint i = 0; i < G_N_ELEMENTS (numbers); i++) {
    guint64 number;

    if (!g_ascii_string_to_unsigned (parts[i], 10, 0, G_MAXUINT16, &number,
                                     NULL))
      return FALSE;
    numbers[i] = GUINT16_TO_LE ((guint16) number);
  }
  *ret = (VdLifetime){ numbers[0], numbers[1], numbers[2] };
  return TRUE;
}

gboolean
vd_lifetime_check (const char *text)
{
  VdLifetime lifetime;

  return strcmp (text, "auto") == 0 || strcmp (text, "off") == 0 ||
         parse (text, &lifetime);
}

/* Returns: (transfer full): what an eMMC's driver says of the device that the
 * image lies on; a partition's is one level up. */
static char *
attribute (dev_t dev, const char *name)
{
  static const char *const where[] = { "device", "../device" };

  for (guint i = 0; i < G_N_ELEMENTS (where); i++) {
    g_autofree char *path = g_strdup_printf (
        "/sys/dev/block/%u:%u/%s/%s", major (dev), minor (dev), where[i], name);
    char *text = NULL;

    if (g_file_get_contents (path, &text, NULL, NULL))
      return text;
  }
  return NULL;
}

static gboolean
ask_emmc (const VdImage *image, VdLifetime *ret)
{
  struct stat st;
  g_autofree char *life = NULL, *eol = NULL;
  guint a, b, info;
  dev_t dev;

  if (fstat (image->fd, &st) < 0)
    return FALSE;
  dev = image->is_device ? st.st_rdev : st.st_dev;
  life = attribute (dev, "life_time");
  eol = attribute (dev, "pre_eol_info");
  if (life == NULL || sscanf (life, "%x %x", &a, &b) != 2)
    return FALSE;
  if (eol == NULL || sscanf (eol, "%x", &info) != 1)
    info = 0;
  *ret =
      (VdLifetime){ GUINT16_TO_LE ((guint16) info), GUINT16_TO_LE ((guint16) a),
                    GUINT16_TO_LE ((guint16) b) };
  return TRUE;
}

gboolean
vd_lifetime_find (const VdImage *image, const char *text, VdLifetime *ret)
{
  if (strcmp (text, "off") == 0)
    return FALSE;
  return strcmp (text, "auto") == 0 ? ask_emmc (image, ret) : parse (text, ret);
}
