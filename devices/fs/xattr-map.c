/* SPDX-License-Identifier: BSD-3-Clause */
#include "devices/fs/xattr-map.h"

#include <errno.h>
#include <string.h>

G_DEFINE_QUARK (vd - fs - xattr - map - error, vd_fs_xattr_map_error)

typedef enum { PREFIX, OK, BAD, UNSUPPORTED, MAP } Type;
static const char *const types[] = { "prefix",      "ok",  "bad",
                                     "unsupported", "map", NULL };

typedef enum { CLIENT = 1, SERVER = 2, ALL = 3 } Scope;
static const char *const scopes[] = { "client", "server", "all", NULL };

typedef struct {
  Type type;
  Scope scope;
  char *key, *prepend;
} Rule;

struct VdFsXattrMap {
  GArray *rules; /* Rule */
};

/* Reading rules. */

typedef struct {
  const char *at;    /* the rest of the text */
  char separator[8]; /* of the rule that is read: one character */
  guint n;           /* its number, from 1 */
  gboolean closed;   /* a map rule was read */
} Reader;

static gboolean
fail (const Reader *reader, GError **error, const char *what)
{
  g_set_error (error, VD_FS_XATTR_MAP_ERROR, VD_FS_XATTR_MAP_SYNTAX,
               "rule %u: %s", reader->n, what);
  return FALSE;
}

/* Returns: (transfer full) (nullable): what stands before the next separator. */
static char *
read_field (Reader *reader, GError **error)
{
  const char *end = strstr (reader->at, reader->separator);
  char *field;

  if (end == NULL) {
    fail (reader, error, "it has too few fields; each ends with a separator");
    return NULL;
  }
  field = g_strndup (reader->at, (gsize) (end - reader->at));
  reader->at = end + strlen (reader->separator);
  return field;
}

/* Reads a field that is one of @words.  Returns: its index, or -1. */
static int
read_word (Reader *reader, const char *const *words, GError **error)
{
  g_autofree char *field = read_field (reader, error);
  g_autofree char *known = NULL;
  g_autofree char *what = NULL;

  if (field == NULL)
    return -1;
  for (int i = 0; words[i] != NULL; i++)
    if (strcmp (field, words[i]) == 0)
      return i;
  known = g_strjoinv (", ", (char **) words);
  what = g_strdup_printf ("'%s' is none of %s", field, known);
  fail (reader, error, what);
  return -1;
}

/* Takes the strings. */
static void
add (VdFsXattrMap *map, Type type, Scope scope, char *key, char *prepend)
{
  Rule rule = { type, scope, key, prepend };

  g_array_append_val (map->rules, rule);
}

/* What ":map:KEY:PREPEND:" stands for: names that begin with KEY get PREPEND in
 * front of them.  The guest cannot reach such names under their names on the
 * host, and the host's own that begin with KEY are hidden; if KEY is empty, all
 * that are left are.  Takes the strings. */
static void
add_map (VdFsXattrMap *map, char *key, char *prepend)
{
  gboolean everything = key[0] == '\0';

  add (map, PREFIX, ALL, g_strdup (key), g_strdup (prepend));
  if (!everything)
    add (map, BAD, ALL, g_strdup (prepend), g_strdup (key));
  add (map, everything ? BAD : OK, ALL, g_strdup (""), g_strdup (""));
  g_free (key);
  g_free (prepend);
}

static gboolean
read_rule (VdFsXattrMap *map, Reader *reader, GError **error)
{
  g_autofree char *key = NULL;
  g_autofree char *prepend = NULL;
  gsize width = (gsize) (g_utf8_next_char (reader->at) - reader->at);
  int type, scope = 0;

  reader->n++;
  if (reader->closed)
    return fail (reader, error, "nothing may follow a map rule");
  memcpy (reader->separator, reader->at, width);
  reader->separator[width] = '\0';
  reader->at += width;
  type = read_word (reader, types, error);
  if (type >= 0 && type != MAP)
    scope = read_word (reader, scopes, error);
  if (type < 0 || scope < 0)
    return FALSE;
  key = read_field (reader, error);
  if (key != NULL)
    prepend = read_field (reader, error);
  if (prepend == NULL)
    return FALSE;
  if (type == MAP)
    add_map (map, g_steal_pointer (&key), g_steal_pointer (&prepend));
  else
    add (map, type, scope + 1, g_steal_pointer (&key),
         g_steal_pointer (&prepend));
  reader->closed = type == MAP;
  return TRUE;
}

static const Rule *
find (const VdFsXattrMap *map, Scope scope, const char *name)
{
  for (guint i = 0; i < map->rules->len; i++) {
    const Rule *rule = &g_array_index (map->rules, Rule, i);
    const char *start = scope == CLIENT ? rule->key : rule->prepend;

    if ((rule->scope & scope) != 0 && g_str_has_prefix (name, start))
      return rule;
  }
  return NULL;
}

/* Whether there is a rule for every name; then there is one for "". */
static gboolean
check_closed (const VdFsXattrMap *map, GError **error)
{
  gboolean client = find (map, CLIENT, "") != NULL;

  if (client && find (map, SERVER, "") != NULL)
    return TRUE;
  g_set_error (error, VD_FS_XATTR_MAP_ERROR, VD_FS_XATTR_MAP_OPEN,
               "there are names of the %s that no rule matches; a last rule "
               ":ok:all::: lets them pass, :bad:all::: hides them",
               client ? "host" : "guest");
  return FALSE;
}

static void
rule_clear (gpointer data)
{
  Rule *rule = data;

  g_free (rule->key);
  g_free (rule->prepend);
}

static void
skip_blanks (Reader *reader)
{
  while (g_ascii_isspace (*reader->at))
    reader->at++;
}

VdFsXattrMap *
vd_fs_xattr_map_new (const char *rules, GError **error)
{
  g_autoptr (VdFsXattrMap) map = g_new0 (VdFsXattrMap, 1);
  Reader reader = { .at = rules };

  map->rules = g_array_new (FALSE, FALSE, sizeof (Rule));
  g_array_set_clear_func (map->rules, rule_clear);
  for (skip_blanks (&reader); *reader.at != '\0'; skip_blanks (&reader))
    if (!read_rule (map, &reader, error))
      return NULL;
  return check_closed (map, error) ? g_steal_pointer (&map) : NULL;
}

void
vd_fs_xattr_map_free (VdFsXattrMap *map)
{
  if (map == NULL)
    return;
  g_array_unref (map->rules);
  g_free (map);
}

/* Using rules. */

int
vd_fs_xattr_map_to_host (const VdFsXattrMap *map, const char *name,
                         char ret[XATTR_NAME_MAX + 1])
{
  const Rule *rule = find (map, CLIENT, name);
  const char *prepend = rule->type == PREFIX ? rule->prepend : "";
  gsize prepend_len = strlen (prepend), len = strlen (name);

  if (rule->type == BAD)
    return -EPERM;
  if (rule->type == UNSUPPORTED)
    return -EOPNOTSUPP;
  if (prepend_len + len > XATTR_NAME_MAX)
    return -ERANGE;
  memcpy (ret, prepend, prepend_len);
  memcpy (ret + prepend_len, name, len + 1);
  return 0;
}

/* Returns: (nullable): the guest's part of @name, or NULL if it is hidden. */
static const char *
guest_name (const VdFsXattrMap *map, const char *name)
{
  const Rule *rule = find (map, SERVER, name);

  if (rule->type == OK)
    return name;
  if (rule->type != PREFIX)
    return NULL;
  name += strlen (rule->prepend);
  return *name != '\0' ? name : NULL; /* there is no attribute without a name */
}

gsize
vd_fs_xattr_map_to_guest (const VdFsXattrMap *map, char *names, gsize len)
{
  gsize to = 0;

  for (gsize from = 0; from < len;) {
    const char *name = names + from;
    const char *kept = guest_name (map, name);
    gsize size = kept != NULL ? strlen (kept) + 1 : 0;

    from += strlen (name) + 1;
    if (kept != NULL)
      memmove (names + to, kept, size);
    to += size;
  }
  return to;
}
