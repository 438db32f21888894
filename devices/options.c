/* SPDX-License-Identifier: BSD-3-Clause
 *
 * options.c - key=value texts, checked against tables and then read by type
 *
 * An object is filled on CONTROL by vd_options_set() and vd_options_check() and
 * is constant afterwards, so that any thread may read it.
 */
#include "devices/options.h"

#include <string.h>

#include "devices/key-value.h"
#include "devices/nearest.h"

/* A key that was set, or a default of the tables. */
typedef struct {
  char *key;
  char *text;       /* as given; a PATH becomes absolute when checked */
  const VdKey *in;  /* its table entry; NULL before the check */
  VdKeyValue value; /* valid if in is set; a string is text */
} Entry;

struct VdOptions {
  gint n_refs;
  char *origin;
  char *base_dir;      /* NULL: the working directory */
  GPtrArray *set;      /* Entry, in the order of setting */
  GPtrArray *defaults; /* Entry, for keys of the tables that are not set */
  GPtrArray *known;    /* const VdKey, of the tables, each name once */
};

GQuark
vd_options_error_quark (void)
{
  return g_quark_from_static_string ("vd-options-error");
}

static void
entry_free (gpointer data)
{
  Entry *entry = data;

  g_free (entry->key);
  g_free (entry->text);
  g_free (entry);
}

static Entry *
entry_new (const char *key, const char *text)
{
  Entry *entry = g_new0 (Entry, 1);

  entry->key = g_strdup (key);
  entry->text = g_strdup (text);
  return entry;
}

VdOptions *
vd_options_new (const char *origin, const char *base_dir)
{
  VdOptions *options = g_new0 (VdOptions, 1);

  options->n_refs = 1;
  options->origin = g_strdup (origin);
  options->base_dir = g_strdup (base_dir);
  options->set = g_ptr_array_new_with_free_func (entry_free);
  options->defaults = g_ptr_array_new_with_free_func (entry_free);
  options->known = g_ptr_array_new ();
  return options;
}

VdOptions *
vd_options_ref (VdOptions *options)
{
  g_atomic_int_inc (&options->n_refs);
  return options;
}

void
vd_options_unref (VdOptions *options)
{
  if (options == NULL || !g_atomic_int_dec_and_test (&options->n_refs))
    return;
  g_ptr_array_unref (options->set);
  g_ptr_array_unref (options->defaults);
  g_ptr_array_unref (options->known);
  g_free (options->origin);
  g_free (options->base_dir);
  g_free (options);
}

static Entry *
find_in (const GPtrArray *entries, const char *key)
{
  for (guint i = 0; i < entries->len; i++) {
    Entry *entry = g_ptr_array_index (entries, i);

    if (strcmp (entry->key, key) == 0)
      return entry;
  }
  return NULL;
}

/* The one form of all errors here. */
G_GNUC_PRINTF (6, 7)
static void
fail (const VdOptions *options, VdOptionsError code, const char *key,
      const char *value, GError **error, const char *format, ...)
{
  g_autofree char *why = NULL;
  va_list args;

  va_start (args, format);
  why = g_strdup_vprintf (format, args);
  va_end (args);
  g_set_error (error, VD_OPTIONS_ERROR, code, "%s: %s%s%s: %s", options->origin,
               key, value != NULL ? "=" : "", value != NULL ? value : "", why);
}

/* What a key-file and a log can hold. */
static gboolean
is_one_line (const char *text)
{
  return g_utf8_validate (text, -1, NULL) && strpbrk (text, "\r\n") == NULL;
}

gboolean
vd_options_set (VdOptions *options, const char *key, const char *value,
                GError **error)
{
  if (!is_one_line (key)) {
    g_autofree char *shown = g_strescape (key, NULL);

    fail (options, VD_OPTIONS_ERROR_UNKNOWN_KEY, shown, NULL, error,
          "the key is not one line of UTF-8");
    return FALSE;
  }
  if (!is_one_line (value)) {
    fail (options, VD_OPTIONS_ERROR_BAD_VALUE, key, NULL, error,
          "the value is not one line of UTF-8");
    return FALSE;
  }
  if (find_in (options->set, key) != NULL) {
    fail (options, VD_OPTIONS_ERROR_DUPLICATE, key, value, error,
          "this key was given before");
    return FALSE;
  }
  g_ptr_array_add (options->set, entry_new (key, value));
  return TRUE;
}

/* Returns: the length of the prefix of a name like "page.*", 0 for others. */
static gsize
prefix_len (const char *name)
{
  gsize len = strlen (name);

  return len > 1 && name[len - 1] == '*' ? len - 1 : 0;
}

static const VdKey *
find_known (const VdOptions *options, const char *key)
{
  for (guint i = 0; i < options->known->len; i++) {
    const VdKey *known = g_ptr_array_index (options->known, i);
    gsize prefix = prefix_len (known->name);

    if (prefix > 0
            ? strncmp (key, known->name, prefix) == 0 && key[prefix] != '\0'
            : strcmp (key, known->name) == 0)
      return known;
  }
  return NULL;
}

/* The first table that has a name wins. */
static void
merge_tables (VdOptions *options, const VdKey *const *tables)
{
  g_ptr_array_set_size (options->known, 0);
  for (; *tables != NULL; tables++)
    for (const VdKey *key = *tables; key->name != NULL; key++)
      if (find_known (options, key->name) == NULL)
        g_ptr_array_add (options->known, (gpointer) key);
}

/* Turns the text of @entry into its value; a path becomes absolute. */
static gboolean
parse_value (const VdOptions *options, Entry *entry)
{
  const VdKey *key = entry->in;
  const char *text = entry->text;
  gboolean is_fd = (key->flags & VD_KEY_FD) && g_str_has_prefix (text, "fd:");
  gboolean is_uri = (key->flags & VD_KEY_URI) && strstr (text, "://") != NULL;

  if (!vd_key_parse (key, text, &entry->value))
    return FALSE;
  if (key->type == VD_KEY_PATH && !is_fd && !is_uri &&
      !g_path_is_absolute (text)) {
    entry->value.string = vd_options_resolve (options, text);
    g_free (entry->text);
    entry->text = (char *) entry->value.string;
  }
  return TRUE;
}

static gboolean
check_value (const VdOptions *options, Entry *entry, GError **error)
{
  g_autofree char *want = NULL;
  const char *near = NULL;

  if (parse_value (options, entry))
    return TRUE;
  want = vd_key_describe (entry->in);
  if (entry->in->type == VD_KEY_ENUM)
    near = vd_nearest (entry->text, entry->in->choices);
  fail (options, VD_OPTIONS_ERROR_BAD_VALUE, entry->key, entry->text, error,
        "not %s%s%s%s", want, near != NULL ? "; did you mean '" : "",
        near != NULL ? near : "", near != NULL ? "'?" : "");
  return FALSE;
}

/* The nearest name that could have been meant; "pages.1" is near "page.*". */
static char *
nearest_key (const VdOptions *options, const char *key)
{
  const char *dot = strchr (key, '.');
  g_autofree char *stem =
      dot != NULL ? g_strdup_printf ("%.*s.*", (int) (dot - key), key) : NULL;
  g_autoptr (GPtrArray) names = g_ptr_array_new ();
  const char *found;

  for (guint i = 0; i < options->known->len; i++)
    g_ptr_array_add (
        names, (gpointer) ((const VdKey *) options->known->pdata[i])->name);
  g_ptr_array_add (names, NULL);
  found = vd_nearest (stem != NULL ? stem : key,
                      (const char *const *) names->pdata);
  if (found == NULL)
    return g_strdup ("--list-devices shows all keys");
  return g_strdup_printf ("did you mean '%s'?", found);
}

static gboolean
check_entry (const VdOptions *options, Entry *entry, GError **error)
{
  g_autofree char *hint = NULL;

  entry->in = find_known (options, entry->key);
  if (entry->in != NULL)
    return check_value (options, entry, error);
  hint = nearest_key (options, entry->key);
  fail (options, VD_OPTIONS_ERROR_UNKNOWN_KEY, entry->key, entry->text, error,
        "unknown key; %s", hint);
  return FALSE;
}

/* Adds the default of @key, if it was not set. */
static gboolean
add_default (VdOptions *options, const VdKey *key, GError **error)
{
  Entry *entry;

  if (prefix_len (key->name) > 0 || find_in (options->set, key->name) != NULL)
    return TRUE;
  if (key->flags & VD_KEY_REQUIRED) {
    fail (options, VD_OPTIONS_ERROR_MISSING_KEY, key->name, NULL, error,
          "this key is required (%s)", key->help);
    return FALSE;
  }
  if (key->fallback == NULL)
    return TRUE;
  entry = entry_new (key->name, key->fallback);
  entry->in = key;
  g_ptr_array_add (options->defaults, entry);
  return check_value (options, entry, error);
}

gboolean
vd_options_check (VdOptions *options, const VdKey *const *tables,
                  GError **error)
{
  merge_tables (options, tables);
  g_ptr_array_set_size (options->defaults, 0);
  for (guint i = 0; i < options->set->len; i++)
    if (!check_entry (options, g_ptr_array_index (options->set, i), error))
      return FALSE;
  for (guint i = 0; i < options->known->len; i++)
    if (!add_default (options, g_ptr_array_index (options->known, i), error))
      return FALSE;
  return TRUE;
}

gboolean
vd_options_has (const VdOptions *options, const char *key)
{
  return find_in (options->set, key) != NULL;
}

/* Returns: (nullable): the set or default entry of @key. */
static const Entry *
get (const VdOptions *options, const char *key)
{
  const Entry *entry = find_in (options->set, key);

  g_assert (find_known (options, key) != NULL);
  return entry != NULL ? entry : find_in (options->defaults, key);
}

const char *
vd_options_string (const VdOptions *options, const char *key)
{
  const Entry *entry = get (options, key);

  if (entry == NULL)
    return NULL;
  g_assert (entry->in->type == VD_KEY_STRING ||
            entry->in->type == VD_KEY_PATH || entry->in->type == VD_KEY_ENUM);
  return entry->value.string;
}

gboolean
vd_options_bool (const VdOptions *options, const char *key)
{
  const Entry *entry = get (options, key);

  if (entry == NULL)
    return FALSE;
  g_assert (entry->in->type == VD_KEY_BOOL);
  return entry->value.boolean;
}

guint64
vd_options_uint (const VdOptions *options, const char *key)
{
  const Entry *entry = get (options, key);

  if (entry == NULL)
    return 0;
  g_assert (entry->in->type == VD_KEY_UINT || entry->in->type == VD_KEY_SIZE);
  return entry->value.number;
}

gdouble
vd_options_seconds (const VdOptions *options, const char *key)
{
  const Entry *entry = get (options, key);

  if (entry == NULL)
    return 0;
  g_assert (entry->in->type == VD_KEY_SECONDS);
  return entry->value.seconds;
}

gboolean
vd_options_foreach (const VdOptions *options, const char *prefix,
                    gboolean (*func) (const char *suffix, const char *value,
                                      gpointer user_data, GError **error),
                    gpointer user_data, GError **error)
{
  gsize len = strlen (prefix);

  for (guint i = 0; i < options->set->len; i++) {
    const Entry *entry = g_ptr_array_index (options->set, i);

    if (strncmp (entry->key, prefix, len) == 0 &&
        !func (entry->key + len, entry->text, user_data, error))
      return FALSE;
  }
  return TRUE;
}

char *
vd_options_resolve (const VdOptions *options, const char *path)
{
  return g_canonicalize_filename (path, options->base_dir);
}

void
vd_options_set_error (const VdOptions *options, const char *key, GError **error,
                      const char *format, ...)
{
  const Entry *entry = find_in (options->set, key);
  g_autofree char *why = NULL;
  va_list args;

  if (entry == NULL)
    entry = find_in (options->defaults, key);
  va_start (args, format);
  why = g_strdup_vprintf (format, args);
  va_end (args);
  fail (options, VD_OPTIONS_ERROR_BAD_VALUE, key,
        entry != NULL ? entry->text : NULL, error, "%s", why);
}

static gboolean
same_value (const Entry *a, const Entry *b)
{
  return a == NULL || b == NULL ? a == b
                                : vd_key_equal (a->in, &a->value, &b->value);
}

/* Looks for a key of @entries that @other has not or not alike.
 * Returns: (transfer none) (nullable): a key that is not live, else "" if only
 * live ones differ, else NULL. */
static const char *
first_difference (const GPtrArray *entries, const VdOptions *other)
{
  const char *found = NULL;

  for (guint i = 0; i < entries->len; i++) {
    const Entry *entry = g_ptr_array_index (entries, i);

    if (same_value (entry, get (other, entry->key)))
      continue;
    if (!(entry->in->flags & VD_KEY_LIVE))
      return entry->key;
    found = "";
  }
  return found;
}

char *
vd_options_differ (const VdOptions *a, const VdOptions *b)
{
  const struct {
    const GPtrArray *entries;
    const VdOptions *other;
  } passes[] = {
    { a->set, b }, { a->defaults, b }, { b->set, a }, { b->defaults, a }
  };
  const char *found = NULL;

  for (guint i = 0; i < G_N_ELEMENTS (passes); i++) {
    const char *here = first_difference (passes[i].entries, passes[i].other);

    if (here != NULL)
      found = here;
    if (found != NULL && *found != '\0')
      break;
  }
  return g_strdup (found);
}

char *
vd_options_to_text (const VdOptions *options)
{
  GString *text = g_string_new (NULL);

  for (guint i = 0; i < options->set->len; i++) {
    const Entry *entry = g_ptr_array_index (options->set, i);

    g_string_append_printf (text, "%s=%s\n", entry->key, entry->text);
  }
  return g_string_free (text, FALSE);
}

const char *
vd_options_origin (const VdOptions *options)
{
  return options->origin;
}
