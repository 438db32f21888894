/* SPDX-License-Identifier: BSD-3-Clause
 *
 * config-source.c - --device and key-files -> items of keys and values
 *
 * GKeyFile decides what a key-file is.  It merges groups of one name, keeps the
 * last of equal keys and knows no line numbers, so the text is scanned once
 * more for what was given twice.
 */
#define G_LOG_DOMAIN "virtiod"

#include "server/config-source.h"

#include <string.h>

#include "devices/nearest.h"

GQuark
vd_config_error_quark (void)
{
  return g_quark_from_static_string ("vd-config-error");
}

static void
pair_free (gpointer data)
{
  VdConfigPair *pair = data;

  g_free (pair->key);
  g_free (pair->value);
  g_free (pair);
}

void
vd_config_item_free (VdConfigItem *item)
{
  if (item == NULL)
    return;
  g_free (item->origin);
  g_free (item->base_dir);
  g_free (item->kind);
  g_free (item->id);
  g_ptr_array_unref (item->pairs);
  g_free (item);
}

static VdConfigItem *
item_new (const char *origin, const char *base_dir)
{
  VdConfigItem *item = g_new0 (VdConfigItem, 1);

  item->origin = g_strdup (origin);
  item->base_dir = g_strdup (base_dir);
  item->pairs = g_ptr_array_new_with_free_func (pair_free);
  return item;
}

static void
add_pair (VdConfigItem *item, const char *key, const char *value)
{
  VdConfigPair *pair = g_new0 (VdConfigPair, 1);

  pair->key = g_strdup (key);
  pair->value = g_strstrip (g_strdup (value));
  g_ptr_array_add (item->pairs, pair);
}

/* Ids are names in logs and, later, in paths of the control bus. */
static gboolean
check_id (const char *id, const char *origin, GError **error)
{
  gsize good = strspn (id, G_CSET_A_2_Z G_CSET_a_2_z G_CSET_DIGITS "_-.");

  if (good > 0 && good <= 64 && id[good] == '\0' && g_ascii_isalnum (id[0]))
    return TRUE;
  g_set_error (error, VD_CONFIG_ERROR, VD_CONFIG_ERROR_SYNTAX,
               "%s: id=%s: an id is 1 to 64 letters, digits, '_', '-' or '.', "
               "and begins with a letter or digit",
               origin, id);
  return FALSE;
}

/* Returns: (transfer full): the parts of @text between single commas; in them
 * each doubled comma has become one. */
static GPtrArray *
split_commas (const char *text)
{
  GPtrArray *parts = g_ptr_array_new_with_free_func (g_free);
  GString *part = g_string_new (NULL);

  for (; *text != '\0'; text++) {
    if (text[0] != ',' || text[1] == ',') {
      g_string_append_c (part, *text);
      text += text[0] == ',';
      continue;
    }
    g_ptr_array_add (parts, g_string_free (part, FALSE));
    part = g_string_new (NULL);
  }
  g_ptr_array_add (parts, g_string_free (part, FALSE));
  return parts;
}

/* Adds one "key=value" of a --device. */
static gboolean
add_part (VdConfigItem *item, const char *part, GError **error)
{
  const char *equals = strchr (part, '=');
  g_autofree char *key = NULL;

  if (equals == NULL || equals == part) {
    g_set_error (error, VD_CONFIG_ERROR, VD_CONFIG_ERROR_SYNTAX,
                 "%s: '%s' is not key=value (a comma inside a value is "
                 "doubled)",
                 item->origin, part);
    return FALSE;
  }
  key = g_strstrip (g_strndup (part, (gsize) (equals - part)));
  if (strcmp (key, "id") != 0) {
    add_pair (item, key, equals + 1);
    return TRUE;
  }
  if (item->id != NULL) {
    g_set_error (error, VD_CONFIG_ERROR, VD_CONFIG_ERROR_SYNTAX,
                 "%s: %s: this key was given before", item->origin, part);
    return FALSE;
  }
  item->id = g_strdup (equals + 1);
  return check_id (item->id, item->origin, error);
}

VdConfigItem *
vd_config_item_from_text (const char *text, const char *base_dir,
                          GError **error)
{
  g_autoptr (GPtrArray) parts = NULL;
  g_autoptr (VdConfigItem) item = NULL;
  g_autofree char *origin = NULL;
  const char *kind;

  if (!g_utf8_validate (text, -1, NULL)) {
    g_set_error (error, VD_CONFIG_ERROR, VD_CONFIG_ERROR_SYNTAX,
                 "--device: the text is not UTF-8");
    return NULL;
  }
  parts = split_commas (text);
  kind = g_ptr_array_index (parts, 0);
  if (*kind == '\0' || strchr (kind, '=') != NULL) {
    g_set_error (error, VD_CONFIG_ERROR, VD_CONFIG_ERROR_SYNTAX,
                 "--device %s: a device begins with its kind, as in "
                 "KIND,socket=PATH,key=value",
                 text);
    return NULL;
  }
  origin = g_strdup_printf ("--device %s", kind);
  item = item_new (origin, base_dir);
  item->kind = g_strdup (kind);
  for (guint i = 1; i < parts->len; i++)
    if (!add_part (item, g_ptr_array_index (parts, i), error))
      return NULL;
  return g_steal_pointer (&item);
}

/* What was seen so far of a key-file's text. */
typedef struct {
  const char *path;
  GHashTable *lines; /* "group" or "group\nkey" to its line number */
  char *group;       /* of the current line */
} Scan;

/* Returns: FALSE with @error set if this group, or this key of it, was there
 * before. */
static gboolean
note (Scan *scan, const char *key, guint line, GError **error)
{
  char *name = key == NULL ? g_strdup (scan->group)
                           : g_strconcat (scan->group, "\n", key, NULL);
  guint before = GPOINTER_TO_UINT (g_hash_table_lookup (scan->lines, name));

  if (before == 0) {
    g_hash_table_insert (scan->lines, name, GUINT_TO_POINTER (line));
    return TRUE;
  }
  g_set_error (error, VD_CONFIG_ERROR, VD_CONFIG_ERROR_SYNTAX,
               "%s: [%s]%s%s: line %u repeats line %u", scan->path, scan->group,
               key != NULL ? ": " : "", key != NULL ? key : "", line, before);
  g_free (name);
  return FALSE;
}

/* @text: one line, stripped; GKeyFile has accepted it */
static gboolean
scan_line (Scan *scan, const char *text, guint line, GError **error)
{
  const char *equals = strchr (text, '=');
  g_autofree char *key = NULL;

  if (*text == '\0' || *text == '#')
    return TRUE;
  if (*text == '[') {
    g_free (scan->group);
    scan->group = g_strndup (text + 1, strcspn (text + 1, "]"));
    return note (scan, NULL, line, error);
  }
  if (equals == NULL || scan->group == NULL)
    return TRUE;
  key = g_strchomp (g_strndup (text, (gsize) (equals - text)));
  if (strchr (key, '[') == NULL)
    return note (scan, key, line, error);
  /* GKeyFile would drop it: a translation for another language. */
  g_set_error (error, VD_CONFIG_ERROR, VD_CONFIG_ERROR_SYNTAX,
               "%s: [%s]: %s: line %u: a key has no brackets", scan->path,
               scan->group, key, line);
  return FALSE;
}

static gboolean
check_repeats (const char *path, const char *text, GError **error)
{
  g_autoptr (GHashTable) lines =
      g_hash_table_new_full (g_str_hash, g_str_equal, g_free, NULL);
  Scan scan = { .path = path, .lines = lines };
  g_auto (GStrv) split = g_strsplit (text, "\n", -1);
  gboolean good = TRUE;

  for (guint i = 0; good && split[i] != NULL; i++)
    good = scan_line (&scan, g_strstrip (split[i]), i + 1, error);
  g_free (scan.group);
  return good;
}

/* Returns: (transfer full): the id of "device ID", or NULL. */
static char *
id_of_group (const char *group)
{
  static const char word[] = "device";
  gsize len = strlen (word);

  if (!g_str_has_prefix (group, word) || !g_ascii_isspace (group[len]))
    return NULL;
  return g_strstrip (g_strdup (group + len));
}

static gboolean
refuse_group (const char *origin, const char *group, GError **error)
{
  static const char *const known[] = { "virtiod", "device", NULL };
  g_autofree char *word = g_strndup (group, strcspn (group, " \t"));
  const char *near = vd_nearest (word, known);
  gboolean device = g_strcmp0 (near, "device") == 0;

  g_set_error (error, VD_CONFIG_ERROR, VD_CONFIG_ERROR_SYNTAX,
               "%s: unknown group; %s", origin,
               near == NULL ? "groups are [virtiod] and [device ID]"
               : device     ? "did you mean '[device ID]'?"
                            : "did you mean '[virtiod]'?");
  return FALSE;
}

/* Copies the keys of one group. */
static gboolean
add_keys (VdConfigItem *item, GKeyFile *file, const char *group, GError **error)
{
  g_auto (GStrv) keys = g_key_file_get_keys (file, group, NULL, error);

  if (keys == NULL)
    return FALSE;
  for (guint i = 0; keys[i] != NULL; i++) {
    g_autofree char *value = g_key_file_get_value (file, group, keys[i], error);

    if (value == NULL)
      return FALSE;
    if (item->id != NULL && strcmp (keys[i], "kind") == 0)
      item->kind = g_strdup (g_strstrip (value));
    else
      add_pair (item, keys[i], value);
  }
  if (item->id == NULL || item->kind != NULL)
    return TRUE;
  g_set_error (error, VD_CONFIG_ERROR, VD_CONFIG_ERROR_SYNTAX,
               "%s: kind: this key is required", item->origin);
  return FALSE;
}

static gboolean
add_group (const char *path, const char *base_dir, GKeyFile *file,
           const char *group, GPtrArray *items, GError **error)
{
  g_autofree char *origin = g_strdup_printf ("%s: [%s]", path, group);
  g_autofree char *id = id_of_group (group);
  g_autoptr (VdConfigItem) item = NULL;

  if (id == NULL && strcmp (group, "virtiod") != 0)
    return refuse_group (origin, group, error);
  if (id != NULL && !check_id (id, origin, error))
    return FALSE;
  item = item_new (origin, base_dir);
  item->id = g_steal_pointer (&id);
  if (!add_keys (item, file, group, error))
    return FALSE;
  g_ptr_array_add (items, g_steal_pointer (&item));
  return TRUE;
}

/* Says of a GLib error which file it is about. */
static gboolean
refuse_file (const char *path, GError *why, VdConfigError code, GError **error)
{
  g_set_error (error, VD_CONFIG_ERROR, (int) code, "%s: %s", path,
               why->message);
  g_error_free (why);
  return FALSE;
}

gboolean
vd_config_items_from_file (const char *path, GPtrArray *items, GError **error)
{
  g_autoptr (GKeyFile) file = g_key_file_new ();
  g_autofree char *absolute = g_canonicalize_filename (path, NULL);
  g_autofree char *base_dir = g_path_get_dirname (absolute);
  g_autofree char *text = NULL;
  g_auto (GStrv) groups = NULL;
  GError *why = NULL;
  gsize len;

  if (!g_file_get_contents (path, &text, &len, &why)) {
    /* GLib's message names the file already. */
    g_set_error_literal (error, VD_CONFIG_ERROR, VD_CONFIG_ERROR_FILE,
                         why->message);
    g_error_free (why);
    return FALSE;
  }
  if (!g_utf8_validate (text, (gssize) len, NULL)) {
    g_set_error (error, VD_CONFIG_ERROR, VD_CONFIG_ERROR_SYNTAX,
                 "%s: the file is not UTF-8 text", path);
    return FALSE;
  }
  if (!g_key_file_load_from_data (file, text, len, G_KEY_FILE_NONE, &why))
    return refuse_file (path, why, VD_CONFIG_ERROR_SYNTAX, error);
  if (!check_repeats (path, text, error))
    return FALSE;
  groups = g_key_file_get_groups (file, NULL);
  for (guint i = 0; groups[i] != NULL; i++)
    if (!add_group (path, base_dir, file, groups[i], items, error))
      return FALSE;
  return TRUE;
}

static int
compare_names (gconstpointer a, gconstpointer b)
{
  return strcmp (*(const char *const *) a, *(const char *const *) b);
}

gboolean
vd_config_items_from_path (const char *path, GPtrArray *items, GError **error)
{
  g_autoptr (GPtrArray) names = g_ptr_array_new_with_free_func (g_free);
  g_autoptr (GDir) dir = NULL;
  GError *why = NULL;
  const char *name;

  if (!g_file_test (path, G_FILE_TEST_IS_DIR))
    return vd_config_items_from_file (path, items, error);
  dir = g_dir_open (path, 0, &why);
  if (dir == NULL)
    return refuse_file (path, why, VD_CONFIG_ERROR_FILE, error);
  while ((name = g_dir_read_name (dir)) != NULL)
    if (name[0] != '.' && g_str_has_suffix (name, ".conf"))
      g_ptr_array_add (names, g_build_filename (path, name, NULL));
  g_ptr_array_sort (names, compare_names);
  for (guint i = 0; i < names->len; i++)
    if (!vd_config_items_from_file (g_ptr_array_index (names, i), items, error))
      return FALSE;
  return TRUE;
}
