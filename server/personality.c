/* SPDX-License-Identifier: BSD-3-Clause
 *
 * personality.c - the options of virtiofsd, and what they are here
 *
 * One table serves both implementations: a row is a long option, a word of the
 * comma-separated -o (with '_' where the long option has '-'), or both.
 */
#define G_LOG_DOMAIN "virtiod"

#include "server/personality.h"

#include <string.h>

#include "build-options.h"
#include "devices/nearest.h"

GQuark
vd_personality_error_quark (void)
{
  return g_quark_from_static_string ("vd-personality-error");
}

typedef enum {
  VALUE_NONE,
  VALUE_NEEDED,
  VALUE_OPTIONAL, /* only behind a '=' */
} Value;

typedef enum { LONG = 1 << 0, COMPAT = 1 << 1, BOTH = LONG | COMPAT } Forms;

/* A word of virtiofsd and ours. */
typedef struct {
  const char *theirs, *ours;
} Word;

typedef struct {
  char *key, *value;
} Pair;

/* The translation under way. */
typedef struct {
  VdPersonality *ret;
  GPtrArray *pairs; /* Pair: keys of the device, each once */
  gboolean print_capabilities;
} Parse;

typedef struct Row Row;
struct Row {
  const char *name;
  Forms forms;
  Value value;
  const char *key;   /* of the fs device; NULL: see take and note */
  const char *fixed; /* the key's value without a value */
  const Word *words; /* values that are translated, NULL-ended; else any */
  gboolean list;     /* may be repeated; the key has all values, with spaces */
  gboolean xattr;    /* needs extended attributes */
  gboolean (*take) (Parse *parse, const Row *row, const char *value,
                    GError **error);
  const char *note; /* why it changes nothing here */
};

static gboolean G_GNUC_PRINTF (3, 4)
    fail (GError **error, const char *option, const char *format, ...)
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
  Pair *pair = data;

  g_free (pair->key);
  g_free (pair->value);
  g_free (pair);
}

static Pair *
find_pair (const Parse *parse, const char *key)
{
  for (guint i = 0; i < parse->pairs->len; i++) {
    Pair *pair = g_ptr_array_index (parse->pairs, i);

    if (strcmp (pair->key, key) == 0)
      return pair;
  }
  return NULL;
}

/* As virtiofsd: of several, the last one counts. */
static void
set_key (Parse *parse, const char *key, const char *value)
{
  Pair *pair = find_pair (parse, key);

  if (pair == NULL) {
    pair = g_new0 (Pair, 1);
    pair->key = g_strdup (key);
    g_ptr_array_add (parse->pairs, pair);
  }
  g_free (pair->value);
  pair->value = g_strdup (value);
}

static void
add_to_list (Parse *parse, const char *key, const char *value)
{
  const Pair *pair = find_pair (parse, key);
  g_autofree char *all =
      pair == NULL ? NULL : g_strconcat (pair->value, " ", value, NULL);

  set_key (parse, key, all != NULL ? all : value);
}

/* What is more than a key. */

static gboolean
take_socket (Parse *parse, const Row *row, const char *value, GError **error)
{
  g_autofree char *path = g_canonicalize_filename (value, NULL);

  set_key (parse, "socket", path);
  return TRUE;
}

static gboolean
take_fd (Parse *parse, const Row *row, const char *value, GError **error)
{
  g_autofree char *socket = g_strconcat ("fd:", value, NULL);

  set_key (parse, "socket", socket);
  return TRUE;
}

static gboolean
take_group (Parse *parse, const Row *row, const char *value, GError **error)
{
  set_key (parse, "socket-group", value);
  set_key (parse, "socket-mode", "0660");
  return TRUE;
}

static gboolean
take_timeout (Parse *parse, const Row *row, const char *value, GError **error)
{
  set_key (parse, "entry-timeout", value);
  set_key (parse, "attr-timeout", value);
  return TRUE;
}

static gboolean
take_level (Parse *parse, const Row *row, const char *value, GError **error)
{
  static const struct {
    const char *name;
    GLogLevelFlags level;
  } levels[] = {
    { "off", G_LOG_LEVEL_ERROR },    { "error", G_LOG_LEVEL_WARNING },
    { "err", G_LOG_LEVEL_WARNING },  { "warn", G_LOG_LEVEL_WARNING },
    { "info", G_LOG_LEVEL_MESSAGE }, { "debug", G_LOG_LEVEL_DEBUG },
    { "trace", G_LOG_LEVEL_DEBUG },
  };

  for (guint i = 0; i < G_N_ELEMENTS (levels); i++)
    if (g_ascii_strcasecmp (levels[i].name, value) == 0) {
      parse->ret->log_level = levels[i].level;
      return TRUE;
    }
  return fail (error, row->name,
               "'%s' is not off, error, warn, info, debug or trace", value);
}

static gboolean
take_debug (Parse *parse, const Row *row, const char *value, GError **error)
{
  parse->ret->log_level = G_LOG_LEVEL_DEBUG;
  return TRUE;
}

static gboolean
take_syslog (Parse *parse, const Row *row, const char *value, GError **error)
{
  parse->ret->syslog = TRUE;
  return TRUE;
}

static gboolean
take_daemonize (Parse *parse, const Row *row, const char *value, GError **error)
{
  parse->ret->daemonize = TRUE;
  return TRUE;
}

static gboolean
take_capabilities (Parse *parse, const Row *row, const char *value,
                   GError **error)
{
  parse->print_capabilities = TRUE;
  return TRUE;
}

static gboolean
take_n_files (Parse *parse, const Row *row, const char *value, GError **error)
{
  return g_ascii_string_to_unsigned (value, 10, 0, G_MAXINT,
                                     &parse->ret->n_files, NULL) ||
         fail (error, row->name, "'%s' is not a number of descriptors", value);
}

static const Word cache_words[] = {
  { "auto", "auto" },  { "always", "always" },     { "never", "never" },
  { "none", "never" }, { "metadata", "metadata" }, { 0 },
};
/* Without a sandbox virtiofsd sees what the host mounts later. */
static const Word sandbox_words[] = {
  { "namespace", "auto" },
  { "chroot", "auto" },
  { "none", "live" },
  { 0 },
};
static const Word acl_words[] = {
  { "never", "never" },
  { "auto", "auto" },
  { "always", "always" },
  { 0 },
};

static const Row rows[] = {
  { "shared-dir", LONG, VALUE_NEEDED, .key = "source" },
  { "source", COMPAT, VALUE_NEEDED, .key = "source" },
  { "tag", LONG, VALUE_NEEDED, .key = "tag" },
  { "socket-path", LONG, VALUE_NEEDED, .take = take_socket },
  { "socket", LONG, VALUE_NEEDED, .take = take_socket },
  { "socket-group", LONG, VALUE_NEEDED, .take = take_group },
  { "fd", LONG, VALUE_NEEDED, .take = take_fd },

  { "cache", BOTH, VALUE_NEEDED, .key = "cache", .words = cache_words },
  { "timeout", COMPAT, VALUE_NEEDED, .take = take_timeout },
  { "writeback", BOTH, VALUE_NONE, .key = "writeback", .fixed = "yes" },
  { "no-writeback", COMPAT, VALUE_NONE, .key = "writeback", .fixed = "no" },
  { "allow-mmap", LONG, VALUE_NONE,
    .note = "shared mappings work with every cache policy" },

  { "readonly", LONG, VALUE_NONE, .key = "read-only", .fixed = "yes" },
  { "xattr", BOTH, VALUE_NONE, .key = "xattr", .fixed = "yes" },
  { "no-xattr", COMPAT, VALUE_NONE, .key = "xattr", .fixed = "no" },
  { "posix-acl", BOTH, VALUE_OPTIONAL, .key = "posix-acl", .fixed = "always",
    .words = acl_words, .xattr = TRUE },
  { "no-posix-acl", COMPAT, VALUE_NONE, .key = "posix-acl", .fixed = "never" },
  { "announce-submounts", BOTH, VALUE_NONE, .key = "announce-submounts",
    .fixed = "yes" },
  { "no-announce-submounts", BOTH, VALUE_NONE, .key = "announce-submounts",
    .fixed = "no" },
  { "sandbox", BOTH, VALUE_NEEDED, .key = "jail", .words = sandbox_words },

  { "rlimit-nofile", LONG, VALUE_NEEDED, .take = take_n_files },
  { "log-level", BOTH, VALUE_NEEDED, .take = take_level },
  { "loglevel", COMPAT, VALUE_NEEDED, .take = take_level },
  { "debug", COMPAT, VALUE_NONE, .take = take_debug },
  { "syslog", LONG, VALUE_NONE, .take = take_syslog },
  { "daemonize", LONG, VALUE_NONE, .take = take_daemonize },
  { "print-capabilities", LONG, VALUE_NONE, .take = take_capabilities },

  { "no-flock", COMPAT, VALUE_NONE,
    .note = "locks are the guest's own anyway" },
  { "no-posix-lock", COMPAT, VALUE_NONE,
    .note = "locks are the guest's own anyway" },
  { "thread-pool-size", LONG, VALUE_NEEDED,
    .note = "each queue has its thread, others start when a call would block" },
  { "max-idle-threads", COMPAT, VALUE_NEEDED,
    .note = "idle threads end by themselves" },
  { "allow-root", COMPAT, VALUE_NONE, .note = "an option of mount(8)" },
};

/* Returns: (nullable): the row of @name, which has '-' for '_'. */
static const Row *
find_row (const char *name, Forms form)
{
  for (guint i = 0; i < G_N_ELEMENTS (rows); i++)
    if ((rows[i].forms & form) != 0 && strcmp (rows[i].name, name) == 0)
      return &rows[i];
  return NULL;
}

static gboolean
refuse_name (const char *name, const char *shown, Forms form, GError **error)
{
  g_autoptr (GPtrArray) names = g_ptr_array_new ();
  const char *near;

  for (guint i = 0; i < G_N_ELEMENTS (rows); i++)
    if ((rows[i].forms & form) != 0)
      g_ptr_array_add (names, (gpointer) rows[i].name);
  g_ptr_array_add (names, NULL);
  near = vd_nearest (name, (const char *const *) names->pdata);
  return near != NULL
             ? fail (error, shown, "unknown option; did you mean '%s'?", near)
             : fail (error, shown, "unknown option (see --help)");
}

/* Returns: (nullable): our word for @value, or NULL with @error set. */
static const char *
translate (const Row *row, const char *value, const char *shown, GError **error)
{
  g_autoptr (GString) all = g_string_new (NULL);

  if (row->words == NULL)
    return value;
  for (const Word *word = row->words; word->theirs != NULL; word++) {
    if (strcmp (word->theirs, value) == 0)
      return word->ours;
    g_string_append_printf (all, "%s%s", all->len > 0 ? ", " : "",
                            word->theirs);
  }
  fail (error, shown, "'%s' is none of %s", value, all->str);
  return NULL;
}

/* @value: NULL: none was given; @shown: the option as the user wrote it */
static gboolean
apply (Parse *parse, const Row *row, const char *value, const char *shown,
       GError **error)
{
  if (row->value == VALUE_NONE && value != NULL)
    return fail (error, shown, "it takes no value");
  if (row->value == VALUE_NEEDED && (value == NULL || *value == '\0'))
    return fail (error, shown, "it needs a value");
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
    set_key (parse, "xattr", "yes");
  if (row->list)
    add_to_list (parse, row->key, value);
  else if (row->key != NULL)
    set_key (parse, row->key, value);
  return TRUE;
}

/* One word of -o. */
static gboolean
take_compat (Parse *parse, const char *word, GError **error)
{
  const char *equals = strchr (word, '=');
  gsize len = equals != NULL ? (gsize) (equals - word) : strlen (word);
  g_autofree char *name = g_strdelimit (g_strndup (word, len), "_", '-');
  g_autofree char *shown = g_strdup_printf ("-o %.*s", (int) len, word);
  const Row *row = find_row (name, COMPAT);

  if (row == NULL)
    return refuse_name (name, shown, COMPAT, error);
  return apply (parse, row, equals != NULL ? equals + 1 : NULL, shown, error);
}

/* The words of one -o; libvirt doubles a comma that is part of one. */
static gboolean
take_compat_list (Parse *parse, const char *list, GError **error)
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
take_long (Parse *parse, char *const *argv, int *at, GError **error)
{
  const char *arg = argv[*at] + 2;
  const char *equals = strchr (arg, '=');
  g_autofree char *name =
      equals != NULL ? g_strndup (arg, (gsize) (equals - arg)) : g_strdup (arg);
  g_autofree char *shown = g_strconcat ("--", name, NULL);
  const char *value = equals != NULL ? equals + 1 : NULL;
  const Row *row = find_row (name, LONG);

  if (row == NULL)
    return refuse_name (name, shown, LONG, error);
  if (value == NULL && row->value == VALUE_NEEDED && argv[*at + 1] != NULL)
    value = argv[++*at];
  return apply (parse, row, value, shown, error);
}

static char *
help_text (void)
{
  GString *text = g_string_new (
      "virtiofsd, served by virtiod: one shared directory for one front-end.\n"
      "What each option does is in virtiod-virtiofsd(7).\n\n");

  for (guint i = 0; i < G_N_ELEMENTS (rows); i++) {
    const Row *row = &rows[i];
    g_autofree char *compat = g_strdelimit (g_strdup (row->name), "-", '_');

    if ((row->forms & LONG) != 0)
      g_string_append_printf (text, "  --%s%s\n", row->name,
                              row->value == VALUE_NEEDED     ? "=VALUE"
                              : row->value == VALUE_OPTIONAL ? "[=VALUE]"
                                                             : "");
    if ((row->forms & COMPAT) != 0)
      g_string_append_printf (text, "  -o %s%s\n", compat,
                              row->value == VALUE_NEEDED ? "=VALUE" : "");
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
                   "    \"posix-acl-negotiation-mode\",\n"
                   "    \"separate-options\"\n"
                   "  ]\n"
                   "}\n");
}

/* Options of one letter.  @at: (inout): the option's place in @argv */
static gboolean
take_short (Parse *parse, char *const *argv, int *at, GError **error)
{
  const char *arg = argv[*at];

  if (g_str_has_prefix (arg, "-o")) {
    const char *list = arg[2] != '\0' ? arg + 2 : argv[++*at];

    return list != NULL ? take_compat_list (parse, list, error)
                        : fail (error, "-o", "it needs a value");
  }
  if (strcmp (arg, "-d") == 0)
    parse->ret->log_level = G_LOG_LEVEL_DEBUG;
  else if (strcmp (arg, "-f") != 0) /* we are in the foreground */
    return fail (error, arg, "unknown option (see --help)");
  return TRUE;
}

static gboolean
parse_all (Parse *parse, int argc, char *const *argv, GError **error)
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
device_text (const Parse *parse)
{
  GString *text = g_string_new ("fs,id=virtiofsd");

  for (guint i = 0; i < parse->pairs->len; i++) {
    const Pair *pair = g_ptr_array_index (parse->pairs, i);

    g_string_append_printf (text, ",%s=", pair->key);
    for (const char *at = pair->value; *at != '\0'; at++)
      g_string_append (text, *at == ',' ? ",," : (char[]){ *at, '\0' });
  }
  return g_string_free (text, FALSE);
}

static gboolean
finish (Parse *parse, GError **error)
{
  GPtrArray *argv = parse->ret->argv;

  if (find_pair (parse, "socket") == NULL)
    return fail (error, "no socket", "give --fd or --socket-path");
  if (find_pair (parse, "source") == NULL)
    return fail (error, "no directory", "give --shared-dir or -o source");
  g_ptr_array_add (argv, g_strdup ("virtiod"));
  g_ptr_array_add (argv, g_strdup ("--once"));
  g_ptr_array_add (argv, g_strdup ("--device"));
  g_ptr_array_add (argv, device_text (parse));
  g_ptr_array_add (argv, NULL);
  return TRUE;
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

static VdPersonality *
virtiofsd_new (int argc, char *const *argv, GError **error)
{
  g_autoptr (VdPersonality) personality = g_new0 (VdPersonality, 1);
  g_autoptr (GPtrArray) pairs = g_ptr_array_new_with_free_func (pair_free);
  Parse parse = { .ret = personality, .pairs = pairs };

  personality->argv = g_ptr_array_new_with_free_func (g_free);
  personality->notes = g_ptr_array_new_with_free_func (g_free);
  personality->log_level = G_LOG_LEVEL_MESSAGE;
  if (!parse_all (&parse, argc, argv, error) ||
      (personality->text == NULL && !finish (&parse, error)))
    return NULL;
  return g_steal_pointer (&personality);
}

VdPersonality *
vd_personality_new (int argc, char *const *argv, GError **error)
{
  return argc > 0 && is_named (argv[0], "virtiod-blk")
             ? vd_personality_blk_new (argc, argv, error)
             : virtiofsd_new (argc, argv, error);
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
