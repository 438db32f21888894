/* SPDX-License-Identifier: BSD-3-Clause
 *
 * config.c - command line and key-files -> a checked list of devices
 */
#define G_LOG_DOMAIN "virtiod"

#include "server/config.h"

#include <string.h>

#include "devices/nearest.h"
#include "server/socket-config.h"

/* One --config or --device. */
typedef struct {
  gboolean is_device; /* text is a device's; else an absolute path */
  char *text;
} VdConfigSource;

const VdKey vd_server_keys[] = {
  { .name = "runtime-dir",
    .type = VD_KEY_PATH,
    .help = "folder of sockets whose path is relative" },
  { .name = "seccomp",
    .type = VD_KEY_ENUM,
    .help = "what becomes of system calls that the daemon never makes: trap: "
            "they fail, kill: the daemon ends, log: the kernel's audit log has "
            "them, none: nothing",
    .choices = vd_seccomp_words },
  { 0 },
};

static void
source_free (gpointer data)
{
  VdConfigSource *source = data;

  g_free (source->text);
  g_free (source);
}

VdDeviceConfig *
vd_device_config_ref (VdDeviceConfig *config)
{
  config->n_refs++;
  return config;
}

void
vd_device_config_unref (VdDeviceConfig *config)
{
  if (config == NULL || --config->n_refs > 0)
    return;
  g_free (config->id);
  g_free (config->socket.path);
  vd_options_unref (config->options);
  g_free (config);
}

void
vd_server_config_free (VdServerConfig *config)
{
  if (config == NULL)
    return;
  g_ptr_array_unref (config->devices);
  g_ptr_array_unref (config->sources);
  g_free (config->runtime_dir);
  g_free (config->cwd);
  g_free (config);
}

static VdServerConfig *
server_config_new (const VdDeviceOps *const *registry, const char *cwd)
{
  VdServerConfig *config = g_new0 (VdServerConfig, 1);

  config->registry = registry;
  config->devices =
      g_ptr_array_new_with_free_func ((GDestroyNotify) vd_device_config_unref);
  config->sources = g_ptr_array_new_with_free_func (source_free);
  config->cwd = g_strdup (cwd);
  config->seccomp = config->seccomp_option = VD_SECCOMP_AUTO;
  return config;
}

VdDeviceConfig *
vd_server_config_find (const VdServerConfig *config, const char *id)
{
  for (guint i = 0; i < config->devices->len; i++) {
    VdDeviceConfig *device = g_ptr_array_index (config->devices, i);

    if (strcmp (device->id, id) == 0)
      return device;
  }
  return NULL;
}

static const VdDeviceOps *
find_kind (const VdServerConfig *config, const VdConfigItem *item,
           GError **error)
{
  g_autoptr (GPtrArray) kinds = g_ptr_array_new ();
  g_autofree char *all = NULL;
  const char *near;

  for (guint i = 0; config->registry[i] != NULL; i++) {
    if (strcmp (config->registry[i]->kind, item->kind) == 0)
      return config->registry[i];
    g_ptr_array_add (kinds, (gpointer) config->registry[i]->kind);
  }
  g_ptr_array_add (kinds, NULL);
  near = vd_nearest (item->kind, (const char *const *) kinds->pdata);
  all = g_strjoinv (", ", (char **) kinds->pdata);
  g_set_error (error, VD_CONFIG_ERROR, VD_CONFIG_ERROR_SYNTAX,
               near != NULL ? "%s: kind=%s: unknown kind; did you mean '%s'?"
                            : "%s: kind=%s: unknown kind; kinds are %s",
               item->origin, item->kind, near != NULL ? near : all);
  return NULL;
}

static VdOptions *
options_of_item (const VdConfigItem *item, GError **error)
{
  g_autoptr (VdOptions) options = vd_options_new (item->origin, item->base_dir);

  for (guint i = 0; i < item->pairs->len; i++) {
    const VdConfigPair *pair = g_ptr_array_index (item->pairs, i);

    if (!vd_options_set (options, pair->key, pair->value, error))
      return NULL;
  }
  return g_steal_pointer (&options);
}

/* Two devices with one name or one socket would fight for it. */
static gboolean
check_clash (const VdServerConfig *config, const VdDeviceConfig *device,
             GError **error)
{
  const VdDeviceConfig *other = vd_server_config_find (config, device->id);
  const char *origin = vd_options_origin (device->options);

  if (other != NULL) {
    g_set_error (error, VD_CONFIG_ERROR, VD_CONFIG_ERROR_CLASH,
                 "%s: id=%s: %s has this id already", origin, device->id,
                 vd_options_origin (other->options));
    return FALSE;
  }
  for (guint i = 0; i < config->devices->len; i++) {
    other = g_ptr_array_index (config->devices, i);
    if (other->socket.fd != device->socket.fd ||
        g_strcmp0 (other->socket.path, device->socket.path) != 0)
      continue;
    g_set_error (error, VD_CONFIG_ERROR, VD_CONFIG_ERROR_CLASH,
                 "%s: socket=%s: %s has this socket already", origin,
                 vd_options_string (device->options, "socket"),
                 vd_options_origin (other->options));
    return FALSE;
  }
  return TRUE;
}

/* Checks a device and appends it. */
static gboolean
add_device (VdServerConfig *config, VdConfigItem *item, GError **error)
{
  g_autoptr (VdDeviceConfig) device = g_new0 (VdDeviceConfig, 1);

  device->n_refs = 1;
  device->id = g_strdup (item->id);
  device->ops = find_kind (config, item, error);
  if (device->ops == NULL)
    return FALSE;
  vd_socket_config_resolve (item, config->runtime_dir);
  device->options = options_of_item (item, error);
  if (device->options == NULL ||
      !vd_device_check (device->ops, device->options, error) ||
      !vd_socket_config_parse (device->options, &device->socket, error) ||
      !check_clash (config, device, error))
    return FALSE;
  g_ptr_array_add (config->devices, g_steal_pointer (&device));
  return TRUE;
}

/* Returns: the mode of that word, or AUTO if it is none. */
static VdSeccompMode
seccomp_mode (const char *word)
{
  guint i = 0;

  while (vd_seccomp_words[i] != NULL && strcmp (vd_seccomp_words[i], word) != 0)
    i++;
  return (VdSeccompMode) i;
}

static gboolean
set_seccomp (VdServerConfig *config, const VdOptions *options, GError **error)
{
  if (!vd_options_has (options, "seccomp"))
    return TRUE;
  if (config->seccomp != VD_SECCOMP_AUTO) {
    vd_options_set_error (options, "seccomp", error,
                          "another file has set it to %s",
                          vd_seccomp_words[config->seccomp]);
    return FALSE;
  }
  config->seccomp = seccomp_mode (vd_options_string (options, "seccomp"));
  return TRUE;
}

/* Takes the [virtiod] group, of which all files together have one. */
static gboolean
set_server_keys (VdServerConfig *config, const VdConfigItem *item,
                 GError **error)
{
  const VdKey *const tables[] = { vd_server_keys, NULL };
  g_autoptr (VdOptions) options = options_of_item (item, error);

  if (options == NULL || !vd_options_check (options, tables, error) ||
      !set_seccomp (config, options, error))
    return FALSE;
  if (!vd_options_has (options, "runtime-dir"))
    return TRUE;
  if (config->runtime_dir != NULL) {
    vd_options_set_error (options, "runtime-dir", error,
                          "another file has set it to %s", config->runtime_dir);
    return FALSE;
  }
  config->runtime_dir = g_strdup (vd_options_string (options, "runtime-dir"));
  return TRUE;
}

/* Gives a --device without an id the name KIND0, KIND1, ...: it counts the
 * --device of its kind, so that no change of a file renames a device. */
static void
name_item (VdConfigItem *item, GHashTable *counts)
{
  guint n = GPOINTER_TO_UINT (g_hash_table_lookup (counts, item->kind));

  g_hash_table_insert (counts, g_strdup (item->kind), GUINT_TO_POINTER (n + 1));
  if (item->id == NULL)
    item->id = g_strdup_printf ("%s%u", item->kind, n);
  g_free (item->origin);
  item->origin = g_strdup_printf ("--device %s,id=%s", item->kind, item->id);
}

/* Reads all sources.  Returns: (transfer full): their items, or NULL. */
static GPtrArray *
read_sources (const VdServerConfig *config, GError **error)
{
  g_autoptr (GPtrArray) items =
      g_ptr_array_new_with_free_func ((GDestroyNotify) vd_config_item_free);
  g_autoptr (GHashTable) counts =
      g_hash_table_new_full (g_str_hash, g_str_equal, g_free, NULL);

  for (guint i = 0; i < config->sources->len; i++) {
    const VdConfigSource *source = g_ptr_array_index (config->sources, i);
    VdConfigItem *item;

    if (!source->is_device) {
      if (!vd_config_items_from_path (source->text, items, error))
        return NULL;
      continue;
    }
    item = vd_config_item_from_text (source->text, config->cwd, error);
    if (item == NULL)
      return NULL;
    name_item (item, counts);
    g_ptr_array_add (items, item);
  }
  return g_steal_pointer (&items);
}

/* A folder may be empty until something puts a device into it. */
static gboolean
check_not_empty (const VdServerConfig *config, GError **error)
{
  for (guint i = 0; i < config->sources->len; i++) {
    const VdConfigSource *source = g_ptr_array_index (config->sources, i);

    if (!source->is_device && g_file_test (source->text, G_FILE_TEST_IS_DIR))
      return TRUE;
  }
  if (config->devices->len > 0)
    return TRUE;
  g_set_error (error, VD_CONFIG_ERROR, VD_CONFIG_ERROR_USAGE, "%s",
               config->sources->len == 0
                   ? "no device: give --device or --config (see --help)"
                   : "no device: the files have no [device ID] group");
  return FALSE;
}

/* Fills the list from the sources.  The [virtiod] group comes first, for any
 * file's devices may need it. */
static gboolean
fill (VdServerConfig *config, GError **error)
{
  g_autoptr (GPtrArray) items = read_sources (config, error);

  if (items == NULL)
    return FALSE;
  for (guint i = 0; i < items->len; i++) {
    const VdConfigItem *item = g_ptr_array_index (items, i);

    if (item->kind == NULL && !set_server_keys (config, item, error))
      return FALSE;
  }
  for (guint i = 0; i < items->len; i++) {
    VdConfigItem *item = g_ptr_array_index (items, i);

    if (item->kind != NULL && !add_device (config, item, error))
      return FALSE;
  }
  if (config->seccomp_option != VD_SECCOMP_AUTO)
    config->seccomp = config->seccomp_option;
  return check_not_empty (config, error);
}

static gboolean
add_source (const char *option, const char *value, gpointer data,
            GError **error)
{
  VdServerConfig *config = data;
  VdConfigSource *source = g_new0 (VdConfigSource, 1);

  source->is_device = strcmp (option, "--device") == 0;
  /* A reload must find the file even if the program's folder changed. */
  source->text = source->is_device
                     ? g_strdup (value)
                     : g_canonicalize_filename (value, config->cwd);
  g_ptr_array_add (config->sources, source);
  return TRUE;
}

static gboolean
take_seccomp (const char *option, const char *value, gpointer data,
              GError **error)
{
  VdServerConfig *config = data;
  g_autofree char *all = NULL;

  config->seccomp_option = seccomp_mode (value);
  if (config->seccomp_option != VD_SECCOMP_AUTO)
    return TRUE;
  all = g_strjoinv (", ", (char **) vd_seccomp_words);
  g_set_error (error, VD_CONFIG_ERROR, VD_CONFIG_ERROR_USAGE,
               "--seccomp=%s: not one of %s", value, all);
  return FALSE;
}

static gboolean
parse_options (VdServerConfig *config, int *argc, char ***argv, GError **error)
{
  const GOptionEntry entries[] = {
    { "config", 0, G_OPTION_FLAG_FILENAME, G_OPTION_ARG_CALLBACK,
      (gpointer) add_source, "A key-file, or a folder of *.conf", "FILE|DIR" },
    { "device", 0, G_OPTION_FLAG_FILENAME, G_OPTION_ARG_CALLBACK,
      (gpointer) add_source, "A device; a comma in a value is doubled",
      "KIND,socket=...,KEY=VALUE" },
    { "seccomp", 0, 0, G_OPTION_ARG_CALLBACK, (gpointer) take_seccomp,
      "What becomes of system calls that are never made",
      "trap|kill|log|none" },
    { "once", 0, 0, G_OPTION_ARG_NONE, &config->once,
      "End as soon as a front-end leaves", NULL },
    { "check", 0, 0, G_OPTION_ARG_NONE, &config->check,
      "Check all options and print them as a key-file", NULL },
    { "list-devices", 0, 0, G_OPTION_ARG_NONE, &config->list_devices,
      "Print all kinds of devices and their keys", NULL },
    { "version", 0, 0, G_OPTION_ARG_NONE, &config->version, "Print the version",
      NULL },
    { 0 },
  };
  g_autoptr (GOptionContext) context = g_option_context_new (NULL);
  GOptionGroup *group = g_option_group_new ("", "", "", config, NULL);
  GError *why = NULL;

  g_option_group_add_entries (group, entries);
  g_option_context_set_main_group (context, group);
  g_option_context_set_summary (
      context, "Serves virtio devices to guests over vhost-user sockets.");
  if (!g_option_context_parse (context, argc, argv, &why)) {
    g_set_error (error, VD_CONFIG_ERROR, VD_CONFIG_ERROR_USAGE,
                 "%s (see --help)", why->message);
    g_error_free (why);
    return FALSE;
  }
  if (*argc > 1) {
    g_set_error (error, VD_CONFIG_ERROR, VD_CONFIG_ERROR_USAGE,
                 "unexpected argument '%s' (see --help)", (*argv)[1]);
    return FALSE;
  }
  return TRUE;
}

VdServerConfig *
vd_server_config_parse (const VdDeviceOps *const *registry, int *argc,
                        char ***argv, GError **error)
{
  g_autofree char *cwd = g_get_current_dir ();
  g_autoptr (VdServerConfig) config = server_config_new (registry, cwd);

  if (!parse_options (config, argc, argv, error))
    return NULL;
  if (!config->version && !config->list_devices && !fill (config, error))
    return NULL;
  return g_steal_pointer (&config);
}

VdServerConfig *
vd_server_config_reload (const VdServerConfig *old, GError **error)
{
  g_autoptr (VdServerConfig) config =
      server_config_new (old->registry, old->cwd);

  config->once = old->once;
  config->seccomp_option = old->seccomp_option;
  for (guint i = 0; i < old->sources->len; i++) {
    const VdConfigSource *source = g_ptr_array_index (old->sources, i);

    add_source (source->is_device ? "--device" : "--config", source->text,
                config, NULL);
  }
  if (!fill (config, error))
    return NULL;
  return g_steal_pointer (&config);
}
