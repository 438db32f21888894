/* SPDX-License-Identifier: BSD-3-Clause
 *
 * personality.c - which program virtiod is called as
 */
#define G_LOG_DOMAIN "virtiod"

#include "server/personality.h"

#include <string.h>

GQuark
vd_personality_error_quark (void)
{
  return g_quark_from_static_string ("vd-personality-error");
}

static gboolean
is_named (const char *path, const char *name)
{
  const char *slash = path != NULL ? strrchr (path, '/') : NULL;

  return path != NULL && strcmp (slash != NULL ? slash + 1 : path, name) == 0;
}

gboolean
vd_personality_applies (const char *name)
{
  return is_named (name, "virtiofsd") || is_named (name, "virtiod-blk");
}

VdPersonality *
vd_personality_new (int argc, char *const *argv, GError **error)
{
  return argc > 0 && is_named (argv[0], "virtiod-blk")
             ? vd_personality_blk_new (argc, argv, error)
             : vd_personality_virtiofsd_new (argc, argv, error);
}

void
vd_personality_free (VdPersonality *personality)
{
  if (personality == NULL)
    return;
  g_ptr_array_unref (personality->argv);
  g_ptr_array_unref (personality->notes);
  g_free (personality->text);
  g_free (personality);
}
