/* SPDX-License-Identifier: BSD-3-Clause */
#include "devices/fs/id-map.h"

#include <string.h>

G_DEFINE_QUARK (vd - fs - id - map - error, vd_fs_id_map_error)

typedef struct {
  guint32 first, last; /* of the numbers that it is about */
  guint32 target;      /* of first, or of all */
  gboolean squash, forbid;
} Range;

struct VdFsIdMap {
  GArray *to_host, *to_guest; /* Range, ascending, without overlaps */
  gboolean one_way;           /* not all rules work in both directions */
};

/* What a rule may be, and what it does. */
static const struct {
  const char *name;
  gboolean to_host, to_guest, squash, forbid;
} kinds[] = {
  { "guest", TRUE, FALSE, FALSE, FALSE },
  { "host", FALSE, TRUE, FALSE, FALSE },
  { "map", TRUE, TRUE, FALSE, FALSE },
  { "squash-guest", TRUE, FALSE, TRUE, FALSE },
  { "squash-host", FALSE, TRUE, TRUE, FALSE },
  { "forbid-guest", TRUE, FALSE, FALSE, TRUE },
};

static gboolean
fail (GError **error, const char *rule, const char *what)
{
  g_set_error (error, VD_FS_ID_MAP_ERROR, VD_FS_ID_MAP_SYNTAX, "'%s': %s", rule,
               what);
  return FALSE;
}

/* Adds a range at its place. */
static gboolean
add (GArray *ranges, const Range *range, const char *rule, GError **error)
{
  guint i = 0;

  while (i < ranges->len &&
         g_array_index (ranges, Range, i).last < range->first)
    i++;
  if (i < ranges->len &&
      g_array_index (ranges, Range, i).first <= range->last) {
    g_set_error (error, VD_FS_ID_MAP_ERROR, VD_FS_ID_MAP_OVERLAP,
                 "'%s': another rule begins with the same number %u", rule,
                 MAX (g_array_index (ranges, Range, i).first, range->first));
    return FALSE;
  }
  g_array_insert_val (ranges, i, *range);
  return TRUE;
}

/* Reads the numbers of a rule.  The last number is none: it means "no user". */
static gboolean
read_numbers (char **fields, guint n, guint32 ret[3], const char *rule,
              GError **error)
{
  for (guint i = 0; i < n; i++) {
    guint64 value;

    if (!g_ascii_string_to_unsigned (fields[i], 10, 0, G_MAXUINT32, &value,
                                     NULL))
      return fail (error, rule, "its fields are numbers, up to 4294967295");
    ret[i] = (guint32) value;
  }
  return TRUE;
}

static gboolean
fits (guint32 first, guint32 count)
{
  return count > 0 && (guint64) first + count <= G_MAXUINT32;
}

static gboolean
add_rule (VdFsIdMap *map, guint kind, char **fields, const char *rule,
          GError **error)
{
  gboolean forbid = kinds[kind].forbid, squash = kinds[kind].squash;
  guint n = forbid ? 2 : 3;
  guint32 number[3];
  guint32 source, target, count;
  Range range, back;

  if (g_strv_length (fields) != n)
    return fail (error, rule,
                 forbid ? "it is not of the form forbid-guest:FIRST:COUNT"
                        : "it is not of the form TYPE:SOURCE:TARGET:COUNT");
  if (!read_numbers (fields, n, number, rule, error))
    return FALSE;
  source = number[0];
  target = forbid ? 0 : number[1];
  count = number[n - 1];
  if (!fits (source, count) || !fits (target, squash || forbid ? 1 : count))
    return fail (error, rule, "numbers are 0 to 4294967294, counts at least 1");
  range = (Range){ source, source + count - 1, target, squash, forbid };
  back = (Range){ target, target + count - 1, source, FALSE, FALSE };
  if (!kinds[kind].to_host || !kinds[kind].to_guest)
    map->one_way = TRUE;
  if (!kinds[kind].to_host)
    return add (map->to_guest, &range, rule, error);
  return add (map->to_host, &range, rule, error) &&
         (!kinds[kind].to_guest || add (map->to_guest, &back, rule, error));
}

static gboolean
read_rule (VdFsIdMap *map, const char *rule, GError **error)
{
  g_auto (GStrv) fields = g_strsplit (rule, ":", -1);

  for (guint i = 0; i < G_N_ELEMENTS (kinds); i++)
    if (strcmp (fields[0], kinds[i].name) == 0)
      return add_rule (map, i, fields + 1, rule, error);
  return fail (error, rule,
               "a rule begins with guest, host, map, squash-guest, squash-host "
               "or forbid-guest");
}

VdFsIdMap *
vd_fs_id_map_new (const char *rules, GError **error)
{
  g_autoptr (VdFsIdMap) map = g_new0 (VdFsIdMap, 1);
  g_auto (GStrv) list = g_strsplit_set (rules, " \t", -1);
  guint n = 0;

  map->to_host = g_array_new (FALSE, FALSE, sizeof (Range));
  map->to_guest = g_array_new (FALSE, FALSE, sizeof (Range));
  for (char **rule = list; *rule != NULL; rule++)
    if (**rule != '\0' && (n++, !read_rule (map, *rule, error)))
      return NULL;
  if (n == 0) {
    fail (error, rules, "there is no rule");
    return NULL;
  }
  return g_steal_pointer (&map);
}

void
vd_fs_id_map_free (VdFsIdMap *map)
{
  if (map == NULL)
    return;
  g_array_unref (map->to_host);
  g_array_unref (map->to_guest);
  g_free (map);
}

/* Returns: (nullable): the range that @id lies in. */
static const Range *
find (const GArray *ranges, guint32 id)
{
  guint low = 0, high = ranges->len;

  while (low < high) {
    guint middle = (low + high) / 2;
    const Range *range = &g_array_index (ranges, Range, middle);

    if (id < range->first)
      high = middle;
    else if (id > range->last)
      low = middle + 1;
    else
      return range;
  }
  return NULL;
}

static guint32
apply (const Range *range, guint32 id)
{
  if (range == NULL)
    return id;
  return range->squash ? range->target : range->target + (id - range->first);
}

gboolean
vd_fs_id_map_to_host (const VdFsIdMap *map, guint32 id, guint32 *ret)
{
  const Range *range = map != NULL ? find (map->to_host, id) : NULL;

  if (range != NULL && range->forbid)
    return FALSE;
  *ret = apply (range, id);
  return TRUE;
}

guint32
vd_fs_id_map_to_guest (const VdFsIdMap *map, guint32 id)
{
  return map != NULL ? apply (find (map->to_guest, id), id) : id;
}

char *
vd_fs_id_map_to_namespace (const VdFsIdMap *map, GError **error)
{
  GString *text;

  if (map->one_way) {
    g_set_error (error, VD_FS_ID_MAP_ERROR, VD_FS_ID_MAP_ONE_WAY,
                 "the kernel can only do rules of the form "
                 "map:GUEST:HOST:COUNT");
    return NULL;
  }
  text = g_string_new (NULL);
  for (guint i = 0; i < map->to_host->len; i++) {
    const Range *range = &g_array_index (map->to_host, Range, i);

    g_string_append_printf (text, "%u %u %u\n", range->target, range->first,
                            range->last - range->first + 1);
  }
  return g_string_free (text, FALSE);
}
