/* SPDX-License-Identifier: BSD-3-Clause
 *
 * key-value.c - booleans, numbers, sizes and the like as users write them
 */
#include "devices/key-value.h"

#include <errno.h>
#include <math.h>
#include <string.h>

static gboolean
parse_bool (const char *text, gboolean *ret)
{
  static const char *const words[][2] = {
    { "no", "yes" }, { "false", "true" }, { "off", "on" }, { "0", "1" }
  };

  for (guint i = 0; i < G_N_ELEMENTS (words); i++)
    for (guint value = 0; value < 2; value++)
      if (strcmp (text, words[i][value]) == 0) {
        *ret = value == 1;
        return TRUE;
      }
  return FALSE;
}

/* @ret_end: what follows the digits; may be NULL if nothing may. */
static gboolean
parse_number (const char *text, guint base, guint64 *ret, const char **ret_end)
{
  char *end;

  /* strtoull takes spaces and a sign, which no key means. */
  if (!g_ascii_isdigit (text[0]))
    return FALSE;
  errno = 0;
  *ret = g_ascii_strtoull (text, &end, base);
  if (errno != 0 || end == text)
    return FALSE;
  if (ret_end != NULL)
    *ret_end = end;
  return ret_end != NULL || *end == '\0';
}

static gboolean
parse_size (const char *text, guint64 *ret)
{
  static const char units[] = "kMGT";
  const char *end, *unit;
  guint shift = 0;

  if (!parse_number (text, 10, ret, &end))
    return FALSE;
  if (*end != '\0') {
    unit = strchr (units, *end == 'K' ? 'k' : *end);
    if (unit == NULL || end[1] != '\0')
      return FALSE;
    shift = 10 * (guint) (unit - units + 1);
  }
  if (*ret > G_MAXUINT64 >> shift)
    return FALSE;
  *ret <<= shift;
  return TRUE;
}

static gboolean
parse_seconds (const char *text, gdouble *ret)
{
  char *end;

  /* Digits and a point only: strtod also takes "inf", "nan" and hexadecimal. */
  if (text[strspn (text, "0123456789.")] != '\0' || *text == '\0')
    return FALSE;
  *ret = g_ascii_strtod (text, &end);
  return *end == '\0' && isfinite (*ret);
}

static gboolean
in_range (const VdKey *key, guint64 number)
{
  return number >= key->min && (key->max == 0 || number <= key->max);
}

gboolean
vd_key_parse (const VdKey *key, const char *text, VdKeyValue *ret)
{
  switch (key->type) {
  case VD_KEY_STRING: ret->string = text; return TRUE;
  case VD_KEY_PATH: ret->string = text; return *text != '\0';
  case VD_KEY_BOOL: return parse_bool (text, &ret->boolean);
  case VD_KEY_UINT:
    return parse_number (text, 0, &ret->number, NULL) &&
           in_range (key, ret->number);
  case VD_KEY_SIZE:
    return parse_size (text, &ret->number) && in_range (key, ret->number);
  case VD_KEY_SECONDS: return parse_seconds (text, &ret->seconds);
  case VD_KEY_ENUM: break;
  }
  ret->string = text;
  return g_strv_contains (key->choices, text);
}

gboolean
vd_key_equal (const VdKey *key, const VdKeyValue *a, const VdKeyValue *b)
{
  switch (key->type) {
  case VD_KEY_BOOL: return a->boolean == b->boolean;
  case VD_KEY_UINT:
  case VD_KEY_SIZE: return a->number == b->number;
  case VD_KEY_SECONDS: return a->seconds == b->seconds;
  case VD_KEY_STRING:
  case VD_KEY_PATH:
  case VD_KEY_ENUM: break;
  }
  return strcmp (a->string, b->string) == 0;
}

static char *
describe_range (const VdKey *key)
{
  if (key->max != 0)
    return g_strdup_printf ("%" G_GUINT64_FORMAT " to %" G_GUINT64_FORMAT,
                            key->min, key->max);
  if (key->min != 0)
    return g_strdup_printf ("at least %" G_GUINT64_FORMAT, key->min);
  return g_strdup ("not negative");
}

char *
vd_key_describe (const VdKey *key)
{
  g_autofree char *range = describe_range (key);
  g_autofree char *choices = NULL;

  switch (key->type) {
  case VD_KEY_STRING: return g_strdup ("a text");
  case VD_KEY_PATH: return g_strdup ("a path");
  case VD_KEY_BOOL: return g_strdup ("yes or no");
  case VD_KEY_UINT: return g_strdup_printf ("a number, %s", range);
  case VD_KEY_SIZE:
    return g_strdup_printf ("bytes, %s; suffixes k, M, G, T", range);
  case VD_KEY_SECONDS: return g_strdup ("seconds, such as 0.5");
  case VD_KEY_ENUM: break;
  }
  choices = g_strjoinv (", ", (char **) key->choices);
  return g_strdup_printf ("one of %s", choices);
}
