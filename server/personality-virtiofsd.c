/* SPDX-License-Identifier: BSD-3-Clause
 *
 * personality-virtiofsd.c - from virtiofsd's command line to virtiod's
 */
#define G_LOG_DOMAIN "virtiod"

#include "server/personality-virtiofsd.h"

#include <string.h>

#include "build-options.h"
#include "devices/nearest.h"

gboolean
vd_fsd_fail (GError **error, const char *option, const char *format, ...)
{
  g_autofree char *why = NULL;
  va_list args;

  va_start (args, format);
  why = g_strdup_vprintf (format, args);
  va_end (args);
  g_set_error (error, VD_PERSONALITY_ERROR, VD_PERSONALITY_ERROR_OPTION,
               "%s: %s", option, why);
  return FALSE;
}

/* Keys of the device. */

static void
pair_free (gpointer data)
{
  VdFsdPair *pair = data;

  g_free (pair->key);
  g_free (pair->value);
  g_free (pair);
}

static VdFsdPair *
find_pair (const VdFsdParse *parse, const char *key)
{
  for (guint i = 0; i < parse->pairs->len; i++) {
    VdFsdPair *pair = g_ptr_array_index (parse->pairs, i);

    if (strcmp (pair->key, key) == 0)
      return pair;
  }
  return NULL;
}

/* As virtiofsd: of several, the last one counts. */
void
vd_fsd_set_key (VdFsdParse *parse, const char *key, const char *value)
{
  VdFsdPair *pair = find_pair (parse, key);

  if (pair == NULL) {
    pair = g_new0 (VdFsdPair, 1);
    pair->key = g_strdup (key);
    g_ptr_array_add (parse->pairs, pair);
  }
  g_free (pair->value);
  pair->value = g_strdup (value);
}

void
vd_fsd_add_to_list (VdFsdParse *parse, const char *key, const char *value)
{
  const VdFsdPair *pair = find_pair (parse, key);
  g_autofree char *all =
      pair == NULL ? NULL : g_strconcat (pair->value, " ", value, NULL);

  vd_fsd_set_key (parse, key, all != NULL ? all : value);
}

/* Returns: (nullable): the row of @name, which has '-' for '_'. */
static const VdFsdRow *
find_row (const char *name, VdFsdForms form)
{
  for (guint i = 0; i < vd_fsd_n_rows; i++)
    if ((vd_fsd_rows[i].forms & form) != 0 &&
        strcmp (vd_fsd_rows[i].name, name) == 0)
      return &vd_fsd_rows[i];
  return NULL;
}

static gboolean
refuse_name (const char *name, const char *shown, VdFsdForms form,
             GError **error)
{
  g_autoptr (GPtrArray) names = g_ptr_array_new ();
  const char *near;

  for (guint i = 0; i < vd_fsd_n_rows; i++)
    if ((vd_fsd_rows[i].forms & form) != 0)
      g_ptr_array_add (names, (gpointer) vd_fsd_rows[i].name);
  g_ptr_array_add (names, NULL);
  near = vd_nearest (name, (const char *const *) names->pdata);
  return near != NULL
             ? vd_fsd_fail (error, shown, "unknown option; did you mean '%s'?",
                            near)
             : vd_fsd_fail (error, shown, "unknown option (see --help)");
}

/* Returns: (nullable): our word for @value, or NULL with @error set. */
static const char *
translate (const VdFsdRow *row, const char *value, const char *shown,
           GError **error)
{
  g_autoptr (GString) all = g_string_new (NULL);

  if (row->words == NULL)
    return value;
  for (const VdFsdWord *word = row->words; word->theirs != NULL; word++) {
    if (strcmp (word->theirs, value) == 0)
      return word->ours;
    g_string_append_printf (all, "%s%s", all->len > 0 ? ", " : "",
                            word->theirs);
  }
  vd_fsd_fail (error, shown, "'%s' is none of %s", value, all->str);
  return NULL;
}

/* @value: NULL: none was given; @shown: the option as the user wrote it */
static gboolean
apply (VdFsdParse *parse, const VdFsdRow *row, const char *value,
       const char *shown, GError **error)
{
  if (row->value == NONE && value != NULL)
    return vd_fsd_fail (error, shown, "it takes no value");
  if (row->value == NEEDED && (value == NULL || *value == '\0'))
    return vd_fsd_fail (error, shown, "it needs a value");
  if (value == NULL)
    value = row->fixed;
  else if ((value = translate (row, value, shown, error)) == NULL)
    return FALSE;
  if (row->note != NULL)
    g_ptr_array_add (
        parse->ret->notes,
        g_strdup_printf ("%s changes nothing: %s", shown, row->note));
  if (row->take != NULL)
    return row->take (parse, row, value, error);
  if (row->xattr && strcmp (value, "never") != 0)
    vd_fsd_set_key (parse, "xattr", "yes");
  if (row->list)
    vd_fsd_add_to_list (parse, row->key, value);
  else if (row->key != NULL)
    vd_fsd_set_key (parse, row->key, value);
  return TRUE;
}

/* One word of -o. */
static gboolean
take_compat (VdFsdParse *parse, const char *word, GError **error)
{
  const char *equals = strchr (word, '=');
  gsize len = equals != NULL ? (gsize) (equals - word) : strlen (word);
  g_autofree char *name = g_strdelimit (g_strndup (word, len), "_", '-');
  g_autofree char *shown = g_strdup_printf ("-o %.*s", (int) len, word);
  const VdFsdRow *row = find_row (name, COMPAT);

  if (row == NULL)
    return refuse_name (name, shown, COMPAT, error);
  return apply (parse, row, equals != NULL ? equals + 1 : NULL, shown, error);
}

/* The words of one -o; libvirt doubles a comma that is part of one. */
static gboolean
take_compat_list (VdFsdParse *parse, const char *list, GError **error)
{
  g_autoptr (GString) word = g_string_new (NULL);

  for (;; list++) {
    if (*list != '\0' && (*list != ',' || list[1] == ',')) {
      g_string_append_c (word, *list);
      list += *list == ',';
      continue;
    }
    if (word->len > 0 && !take_compat (parse, word->str, error))
      return FALSE;
    g_string_truncate (word, 0);
    if (*list == '\0')
      return TRUE;
  }
}

/* --NAME, --NAME=VALUE or --NAME VALUE.  @at: (inout): its place in @argv */
static gboolean
take_long (VdFsdParse *parse, char *const *argv, int *at, GError **error)
{
  const char *arg = argv[*at] + 2;
  const char *equals = strchr (arg, '=');
  g_autofree char *name =
      equals != NULL ? g_strndup (arg, (gsize) (equals - arg)) : g_strdup (arg);
  g_autofree char *shown = g_strconcat ("--", name, NULL);
  const char *value = equals != NULL ? equals + 1 : NULL;
  const VdFsdRow *row = find_row (name, LONG);

  if (row == NULL)
    return refuse_name (name, shown, LONG, error);
  if (value == NULL && row->value == NEEDED && argv[*at + 1] != NULL)
    value = argv[++*at];
  return apply (parse, row, value, shown, error);
}

static char *
help_text (void)
{
  GString *text = g_string_new (
      "virtiofsd, served by virtiod: one shared directory for one front-end.\n"
      "What each option does is in virtiod-virtiofsd(7).\n\n");

  for (guint i = 0; i < vd_fsd_n_rows; i++) {
    const VdFsdRow *row = &vd_fsd_rows[i];
    g_autofree char *compat = g_strdelimit (g_strdup (row->name), "-", '_');

    if ((row->forms & LONG) != 0)
      g_string_append_printf (text, "  --%s%s\n", row->name,
                              row->value == NEEDED     ? "=VALUE"
                              : row->value == OPTIONAL ? "[=VALUE]"
                                                       : "");
    if ((row->forms & COMPAT) != 0)
      g_string_append_printf (text, "  -o %s%s\n", compat,
                              row->value == NEEDED ? "=VALUE" : "");
  }
  g_string_append (text, "  -d, -f, -h, --help, -V, --version\n");
  return g_string_free (text, FALSE);
}

/* As QEMU's docs/interop/vhost-user.json describes it. */
static char *
capabilities_text (void)
{
  return g_strdup ("{\n"
                   "  \"type\": \"fs\",\n"
                   "  \"features\": [\n"
                   "    \"migrate-precopy\",\n"
                   "    \"posix-acl-negotiation-mode\",\n"
                   "    \"security-label-negotiation-mode\",\n"
                   "    \"separate-options\"\n"
                   "  ]\n"
                   "}\n");
}

/* Options of one letter.  @at: (inout): the option's place in @argv */
static gboolean
take_short (VdFsdParse *parse, char *const *argv, int *at, GError **error)
{
  const char *arg = argv[*at];

  if (g_str_has_prefix (arg, "-o")) {
    const char *list = arg[2] != '\0' ? arg + 2 : argv[++*at];

    return list != NULL ? take_compat_list (parse, list, error)
                        : vd_fsd_fail (error, "-o", "it needs a value");
  }
  if (strcmp (arg, "-d") == 0)
    parse->ret->log_level = G_LOG_LEVEL_DEBUG;
  else if (strcmp (arg, "-f") != 0) /* we are in the foreground */
    return vd_fsd_fail (error, arg, "unknown option (see --help)");
  return TRUE;
}

static gboolean
parse_all (VdFsdParse *parse, int argc, char *const *argv, GError **error)
{
  for (int i = 1; i < argc; i++) {
    const char *arg = argv[i];
    gboolean ok;

    if (strcmp (arg, "-h") == 0 || strcmp (arg, "--help") == 0) {
      parse->ret->text = help_text ();
      return TRUE;
    }
    if (strcmp (arg, "-V") == 0 || strcmp (arg, "--version") == 0) {
      parse->ret->text = g_strdup ("virtiofsd (virtiod " VD_VERSION ")\n");
      return TRUE;
    }
    ok = g_str_has_prefix (arg, "--") ? take_long (parse, argv, &i, error)
                                      : take_short (parse, argv, &i, error);
    if (!ok)
      return FALSE;
  }
  if (parse->print_capabilities)
    parse->ret->text = capabilities_text ();
  return TRUE;
}

/* Returns: (transfer full): the --device of virtiod. */
static char *
device_text (const VdFsdParse *parse)
{
  GString *text = g_string_new ("fs,id=virtiofsd");

  for (guint i = 0; i < parse->pairs->len; i++) {
    const VdFsdPair *pair = g_ptr_array_index (parse->pairs, i);

    g_string_append_printf (text, ",%s=", pair->key);
    for (const char *at = pair->value; *at != '\0'; at++)
      if (*at == ',')
        g_string_append (text, ",,");
      else
        g_string_append_c (text, *at);
  }
  return g_string_free (text, FALSE);
}

static gboolean
finish (VdFsdParse *parse, GError **error)
{
  GPtrArray *argv = parse->ret->argv;

  if (find_pair (parse, "socket") == NULL)
    return vd_fsd_fail (error, "no socket", "give --fd or --socket-path");
  if (parse->fd && parse->path)
    return vd_fsd_fail (error, "two sockets", "give --fd or --socket-path");
  if (find_pair (parse, "source") == NULL)
    return vd_fsd_fail (error, "no directory",
                        "give --shared-dir or -o source");
  g_ptr_array_add (argv, g_strdup ("virtiod"));
  g_ptr_array_add (argv, g_strdup ("--once"));
  if (parse->seccomp != NULL)
    g_ptr_array_add (argv, g_strconcat ("--seccomp=", parse->seccomp, NULL));
  g_ptr_array_add (argv, g_strdup ("--device"));
  g_ptr_array_add (argv, device_text (parse));
  g_ptr_array_add (argv, NULL);
  return TRUE;
}

VdPersonality *
vd_personality_virtiofsd_new (int argc, char *const *argv, GError **error)
{
  g_autoptr (VdPersonality) personality = g_new0 (VdPersonality, 1);
  g_autoptr (GPtrArray) pairs = g_ptr_array_new_with_free_func (pair_free);
  VdFsdParse parse = { .ret = personality, .pairs = pairs };

  personality->argv = g_ptr_array_new_with_free_func (g_free);
  personality->notes = g_ptr_array_new_with_free_func (g_free);
  personality->log_level = G_LOG_LEVEL_MESSAGE;
  /* What virtiofsd does without being asked, and we do not. */
  vd_fsd_set_key (&parse, "posix-acl", "never");
  vd_fsd_set_key (&parse, "security-label", "never");
  if (!parse_all (&parse, argc, argv, error) ||
      (personality->text == NULL && !finish (&parse, error)))
    return NULL;
  return g_steal_pointer (&personality);
}
