/* SPDX-License-Identifier: BSD-3-Clause
 *
 * config-print.c - the texts of --check and --list-devices
 */
#define G_LOG_DOMAIN "virtiod"

#include "server/config.h"

#include <string.h>

char *
vd_server_config_to_text (const VdServerConfig *config)
{
  GString *text = g_string_new (NULL);

  if (config->runtime_dir != NULL || config->seccomp != VD_SECCOMP_AUTO)
    g_string_append (text, "[virtiod]\n");
  if (config->runtime_dir != NULL)
    g_string_append_printf (text, "runtime-dir=%s\n", config->runtime_dir);
  if (config->seccomp != VD_SECCOMP_AUTO)
    g_string_append_printf (text, "seccomp=%s\n",
                            vd_seccomp_words[config->seccomp]);
  if (text->len > 0)
    g_string_append_c (text, '\n');
  for (guint i = 0; i < config->devices->len; i++) {
    const VdDeviceConfig *device = g_ptr_array_index (config->devices, i);
    g_autofree char *keys = vd_options_to_text (device->options);

    g_string_append_printf (text, "%s[device %s]\nkind=%s\n%s",
                            i > 0 ? "\n" : "", device->id, device->ops->kind,
                            keys);
  }
  return g_string_free (text, FALSE);
}

static const char *
type_name (VdKeyType type)
{
  switch (type) {
  case VD_KEY_STRING: return "TEXT";
  case VD_KEY_PATH: return "PATH";
  case VD_KEY_BOOL: return "yes|no";
  case VD_KEY_UINT: return "NUMBER";
  case VD_KEY_SIZE: return "SIZE";
  case VD_KEY_SECONDS: return "SECONDS";
  case VD_KEY_ENUM: break;
  }
  return "WORD";
}

/* "4096" as "4k": how a user would write it. */
static void
append_limit (GString *text, const VdKey *key, guint64 number)
{
  static const char *const units[] = { "", "k", "M", "G", "T" };
  guint unit = 0;

  while (key->type == VD_KEY_SIZE && number > 0 && number % 1024 == 0 &&
         unit + 1 < G_N_ELEMENTS (units)) {
    number /= 1024;
    unit++;
  }
  g_string_append_printf (text, "%" G_GUINT64_FORMAT "%s", number, units[unit]);
}

/* What the type says of the values, in brackets after the help. */
static void
append_facts (GString *text, const VdKey *key)
{
  g_autoptr (GString) facts = g_string_new (NULL);

  if (key->max > 0) {
    append_limit (facts, key, key->min);
    g_string_append (facts, " to ");
    append_limit (facts, key, key->max);
    g_string_append (facts, ", ");
  }
  if (key->flags & VD_KEY_REQUIRED)
    g_string_append (facts, "required, ");
  if (key->fallback != NULL)
    g_string_append_printf (facts, "default %s, ", key->fallback);
  if (key->flags & VD_KEY_LIVE)
    g_string_append (facts, "live, ");
  if (facts->len == 0)
    return;
  g_string_truncate (facts, facts->len - 2);
  g_string_append_printf (text, " (%s)", facts->str);
}

static void
append_keys (GString *text, const VdKey *keys)
{
  for (const VdKey *key = keys; key != NULL && key->name != NULL; key++) {
    g_autofree char *words = key->type == VD_KEY_ENUM
                                 ? g_strjoinv ("|", (char **) key->choices)
                                 : g_strdup (type_name (key->type));
    g_autofree char *left = g_strdup_printf ("%s=%s", key->name, words);

    g_string_append_printf (text, "  %s\n      %s", left, key->help);
    append_facts (text, key);
    g_string_append_c (text, '\n');
  }
}

char *
vd_list_devices (const VdDeviceOps *const *registry)
{
  GString *text = g_string_new (NULL);

  for (; *registry != NULL; registry++) {
    g_string_append_printf (text, "%s: %s\n", (*registry)->kind,
                            (*registry)->help);
    append_keys (text, (*registry)->keys);
    g_string_append_c (text, '\n');
  }
  g_string_append (text, "all kinds:\n");
  append_keys (text, vd_common_keys);
  g_string_append (text, "\n[virtiod]:\n");
  append_keys (text, vd_server_keys);
  return g_string_free (text, FALSE);
}
