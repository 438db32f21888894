/* SPDX-License-Identifier: BSD-3-Clause
 *
 * value.c - one table of types drives parsing and printing
 */
#include "devices/generic/value.h"

#include <assert.h>
#include <errno.h>
#include <string.h>

#include "devices/config-space.h"
#include "devices/options.h"

/* Elements that are printed; a log line stays a line. */
#define SHOWN_MAX 64

typedef gboolean (*ParseFunc) (VdValueForm form, const char *text,
                               GByteArray *to, GError **error);
typedef void (*FormatFunc) (VdValueType type, const guint8 *bytes, guint len,
                            GString *to);

typedef struct {
  const char *name;
  guint width;        /* bytes of an element */
  gboolean is_number; /* else brackets count bytes */
  gboolean big_endian;
  guint fixed;     /* elements if the type has no brackets; 0: it has */
  ParseFunc parse; /* appends what the text says, no more than count */
  FormatFunc format;
} TypeInfo;

static gboolean
parse_numbers (VdValueForm, const char *, GByteArray *, GError **);
static gboolean parse_hex (VdValueForm, const char *, GByteArray *, GError **);
static gboolean
parse_string (VdValueForm, const char *, GByteArray *, GError **);
static gboolean parse_bits (VdValueForm, const char *, GByteArray *, GError **);
static gboolean parse_mac (VdValueForm, const char *, GByteArray *, GError **);
static gboolean parse_uuid (VdValueForm, const char *, GByteArray *, GError **);
static void format_numbers (VdValueType, const guint8 *, guint, GString *);
static void format_hex (VdValueType, const guint8 *, guint, GString *);
static void format_string (VdValueType, const guint8 *, guint, GString *);
static void format_bits (VdValueType, const guint8 *, guint, GString *);
static void format_mac (VdValueType, const guint8 *, guint, GString *);
static void format_uuid (VdValueType, const guint8 *, guint, GString *);

static const TypeInfo types[] = {
  [VD_VALUE_U8] = { "u8", 1, TRUE, FALSE, 0, parse_numbers, format_numbers },
  [VD_VALUE_LE16] = { "le16", 2, TRUE, FALSE, 0, parse_numbers,
                      format_numbers },
  [VD_VALUE_LE32] = { "le32", 4, TRUE, FALSE, 0, parse_numbers,
                      format_numbers },
  [VD_VALUE_LE64] = { "le64", 8, TRUE, FALSE, 0, parse_numbers,
                      format_numbers },
  [VD_VALUE_BE16] = { "be16", 2, TRUE, TRUE, 0, parse_numbers, format_numbers },
  [VD_VALUE_BE32] = { "be32", 4, TRUE, TRUE, 0, parse_numbers, format_numbers },
  [VD_VALUE_BE64] = { "be64", 8, TRUE, TRUE, 0, parse_numbers, format_numbers },
  [VD_VALUE_BYTES] = { "bytes", 1, FALSE, FALSE, 0, parse_hex, format_hex },
  [VD_VALUE_STRING] = { "string", 1, FALSE, FALSE, 0, parse_string,
                        format_string },
  [VD_VALUE_BITS] = { "bits", 1, FALSE, FALSE, 0, parse_bits, format_bits },
  [VD_VALUE_MAC] = { "mac", 1, FALSE, FALSE, 6, parse_mac, format_mac },
  [VD_VALUE_UUID] = { "uuid", 1, FALSE, FALSE, 16, parse_uuid, format_uuid },
};
static_assert (G_N_ELEMENTS (types) == VD_VALUE_UUID + 1, "a row for each");

gboolean
vd_refuse (GError **error, const char *format, ...)
{
  va_list args;

  va_start (args, format);
  if (error != NULL)
    *error = g_error_new_valist (VD_OPTIONS_ERROR, VD_OPTIONS_ERROR_BAD_VALUE,
                                 format, args);
  va_end (args);
  return FALSE;
}

guint
vd_value_width (VdValueType type)
{
  return types[type].width;
}

gboolean
vd_value_is_number (VdValueType type)
{
  return types[type].is_number;
}

static gboolean
find_type (const char *name, gsize len, VdValueType *ret)
{
  for (guint i = 0; i < G_N_ELEMENTS (types); i++)
    if (strlen (types[i].name) == len &&
        strncmp (types[i].name, name, len) == 0) {
      *ret = (VdValueType) i;
      return TRUE;
    }
  return FALSE;
}

gboolean
vd_value_parse_form (const char *word, VdValueForm *ret, GError **error)
{
  gsize name_len = strcspn (word, "[");
  VdValueForm form = { 0 };
  guint64 count;
  char *end;

  if (!find_type (word, name_len, &form.type))
    return vd_refuse (error,
                      "'%s' is not a type (u8, le16, le32, le64, be16, be32, "
                      "be64, bytes[n], string[n], bits[n], mac or uuid)",
                      word);
  if (word[name_len] == '\0') {
    form.count = types[form.type].is_number ? 1 : types[form.type].fixed;
    *ret = form;
    return TRUE;
  }
  if (types[form.type].fixed != 0)
    return vd_refuse (error, "'%s': %s has a fixed length", word,
                      types[form.type].name);
  if (!g_ascii_isdigit (word[name_len + 1]))
    return vd_refuse (error, "'%s': the brackets hold no number", word);
  count = g_ascii_strtoull (word + name_len + 1, &end, 10);
  if (strcmp (end, "]") != 0 || count == 0 ||
      count > VD_CONFIG_MAX / types[form.type].width)
    return vd_refuse (error, "'%s': the brackets hold a number from 1 to %u",
                      word, VD_CONFIG_MAX / types[form.type].width);
  form.count = (guint) count;
  *ret = form;
  return TRUE;
}

gboolean
vd_value_parse (VdValueForm form, const char *text, GByteArray *to,
                GError **error)
{
  const TypeInfo *info = &types[form.type];
  guint start = to->len, len;

  if (text != NULL && *text != '\0' && !info->parse (form, text, to, error))
    return FALSE;
  len = to->len - start;
  if (form.count == 0) {
    if (len > VD_CONFIG_MAX)
      return vd_refuse (error, "the value has more than %u bytes",
                        VD_CONFIG_MAX);
    return TRUE;
  }
  if (len > form.count * info->width)
    return vd_refuse (error, "the value has more than %u bytes",
                      form.count * info->width);
  g_byte_array_set_size (to, start + form.count * info->width);
  memset (to->data + start + len, 0, form.count * info->width - len);
  return TRUE;
}

guint64
vd_value_get_number (VdValueType type, const guint8 *bytes)
{
  guint width = types[type].width;
  guint64 number = 0;

  for (guint i = 0; i < width; i++)
    number = number << 8 | bytes[types[type].big_endian ? i : width - 1 - i];
  return number;
}

void
vd_value_put_number (VdValueType type, guint64 number, guint8 *to)
{
  guint width = types[type].width;

  for (guint i = 0; i < width; i++, number >>= 8)
    to[types[type].big_endian ? width - 1 - i : i] = (guint8) number;
}

/* Reads an unsigned number and moves *@text behind it. */
static gboolean
read_number (const char **text, guint64 *ret)
{
  char *end;

  if (!g_ascii_isdigit (**text))
    return FALSE;
  errno = 0;
  *ret = g_ascii_strtoull (*text, &end, 0);
  if (errno != 0)
    return FALSE;
  *text = end;
  return TRUE;
}

static void
skip_spaces (const char **text)
{
  while (g_ascii_isspace (**text))
    (*text)++;
}

/* Moves *@text behind a comma or stays at the end.
 * Returns: FALSE if there is something else. */
static gboolean
next_in_list (const char **text)
{
  skip_spaces (text);
  if (**text == '\0')
    return TRUE;
  if (**text != ',')
    return FALSE;
  (*text)++;
  skip_spaces (text);
  return **text != '\0';
}

/* Reads one number that fits @width bytes, wrapped if it is negative. */
static gboolean
read_fitting (const char **text, guint width, guint64 *ret)
{
  guint64 max = G_MAXUINT64 >> (64 - 8 * width);
  gboolean negative = **text == '-';

  if (negative)
    (*text)++;
  if (!read_number (text, ret))
    return FALSE;
  if (!negative)
    return *ret <= max;
  if (*ret > max / 2 + 1)
    return FALSE;
  *ret = (0 - *ret) & max;
  return TRUE;
}

static gboolean
parse_numbers (VdValueForm form, const char *text, GByteArray *to,
               GError **error)
{
  guint width = types[form.type].width;
  const char *at = text;
  guint64 number;
  guint8 bytes[8];

  for (guint n = 0; *at != '\0'; n++) {
    if (n == VD_CONFIG_MAX / width || (form.count > 0 && n == form.count))
      return vd_refuse (error, "'%s' has more than %u numbers", text, n);
    if (!read_fitting (&at, width, &number) || !next_in_list (&at))
      return vd_refuse (error, "'%s' is not a list of %u-bit numbers", text,
                        8 * width);
    vd_value_put_number (form.type, number, bytes);
    g_byte_array_append (to, bytes, width);
  }
  return TRUE;
}

static gboolean
parse_hex (VdValueForm form, const char *text, GByteArray *to, GError **error)
{
  for (const char *at = text; *at != '\0';) {
    int high = g_ascii_xdigit_value (at[0]);
    int low = high >= 0 ? g_ascii_xdigit_value (at[1]) : -1;
    guint8 byte;

    if (g_ascii_isspace (*at)) {
      at++;
      continue;
    }
    if (low < 0)
      return vd_refuse (error, "'%s' is not pairs of hexadecimal digits", text);
    byte = (guint8) (high << 4 | low);
    g_byte_array_append (to, &byte, 1);
    at += 2;
  }
  return TRUE;
}

static gboolean
parse_string (VdValueForm form, const char *text, GByteArray *to,
              GError **error)
{
  gsize len = strlen (text);

  if (len > VD_CONFIG_MAX)
    return vd_refuse (error, "the text has more than %u bytes", VD_CONFIG_MAX);
  g_byte_array_append (to, (const guint8 *) text, (guint) len);
  return TRUE;
}

/* Sets bits @first to @last in what was appended from @start on. */
static void
set_bits (GByteArray *to, guint start, guint first, guint last)
{
  guint have = to->len, need = start + last / 8 + 1;

  if (have < need) {
    g_byte_array_set_size (to, need);
    memset (to->data + have, 0, need - have);
  }
  for (guint bit = first; bit <= last; bit++)
    to->data[start + bit / 8] |= (guint8) (1 << bit % 8);
}

static gboolean
parse_bits (VdValueForm form, const char *text, GByteArray *to, GError **error)
{
  guint max = 8 * (form.count > 0 ? form.count : VD_CONFIG_MAX) - 1;
  const char *at = text;
  guint start = to->len;

  while (*at != '\0') {
    guint64 first, last;
    gboolean good = read_number (&at, &first);

    last = first;
    if (good && *at == '-') {
      at++;
      good = read_number (&at, &last);
    }
    if (!good || first > last || last > max || !next_in_list (&at))
      return vd_refuse (error, "'%s' is not a list of bits 0 to %u", text, max);
    set_bits (to, start, (guint) first, (guint) last);
  }
  return TRUE;
}

/* Reads pairs of digits; @separator stands before those pairs whose bit is set
 * in @where. */
static gboolean
read_pairs (const char *text, char separator, guint where, guint n,
            GByteArray *to)
{
  for (guint i = 0; i < n; i++) {
    guint8 byte;

    if (where >> i & 1 && *text++ != separator)
      return FALSE;
    if (!g_ascii_isxdigit (text[0]) || !g_ascii_isxdigit (text[1]))
      return FALSE;
    byte = (guint8) (g_ascii_xdigit_value (text[0]) << 4 |
                     g_ascii_xdigit_value (text[1]));
    g_byte_array_append (to, &byte, 1);
    text += 2;
  }
  return *text == '\0';
}

#define MAC_COLONS  0x3e  /* before bytes 1 to 5 */
#define UUID_DASHES 0x550 /* before bytes 4, 6, 8 and 10 */

static gboolean
parse_mac (VdValueForm form, const char *text, GByteArray *to, GError **error)
{
  return read_pairs (text, ':', MAC_COLONS, 6, to) ||
         vd_refuse (error, "'%s' is not like 52:54:00:12:34:56", text);
}

static gboolean
parse_uuid (VdValueForm form, const char *text, GByteArray *to, GError **error)
{
  return read_pairs (text, '-', UUID_DASHES, 16, to) ||
         vd_refuse (error,
                    "'%s' is not like 01234567-89ab-cdef-0123-456789abcdef",
                    text);
}

void
vd_value_format (VdValueType type, const guint8 *bytes, guint len, GString *to)
{
  types[type].format (type, bytes, len, to);
}

static void
format_numbers (VdValueType type, const guint8 *bytes, guint len, GString *to)
{
  guint width = types[type].width;

  for (guint i = 0; i < len / width; i++) {
    if (i == SHOWN_MAX) {
      g_string_append (to, ",...");
      return;
    }
    g_string_append_printf (to, "%s%" G_GUINT64_FORMAT, i > 0 ? "," : "",
                            vd_value_get_number (type, bytes + i * width));
  }
}

static void
append_pairs (const guint8 *bytes, guint len, char separator, guint where,
              GString *to)
{
  for (guint i = 0; i < len; i++) {
    if (i < 32 && where >> i & 1)
      g_string_append_c (to, separator);
    g_string_append_printf (to, "%02x", bytes[i]);
  }
}

static void
format_hex (VdValueType type, const guint8 *bytes, guint len, GString *to)
{
  append_pairs (bytes, MIN (len, SHOWN_MAX), 0, 0, to);
  if (len > SHOWN_MAX)
    g_string_append (to, "...");
}

static void
format_string (VdValueType type, const guint8 *bytes, guint len, GString *to)
{
  g_autofree char *text = NULL, *safe = NULL;

  while (len > 0 && bytes[len - 1] == 0)
    len--;
  /* Zero bytes inside would end the text early; they are not part of it. */
  text = g_strndup ((const char *) bytes, len);
  safe = g_strescape (text, NULL);
  g_string_append_printf (to, "\"%s\"", safe);
}

static gboolean
bit_is_set (const guint8 *bytes, guint bit)
{
  return bytes[bit / 8] >> bit % 8 & 1;
}

static void
format_bits (VdValueType type, const guint8 *bytes, guint len, GString *to)
{
  guint shown = 0, end = 8 * len;

  for (guint bit = 0; bit < end; bit++) {
    guint first = bit;

    if (!bit_is_set (bytes, bit))
      continue;
    while (bit + 1 < end && bit_is_set (bytes, bit + 1))
      bit++;
    if (shown++ == SHOWN_MAX) {
      g_string_append (to, ",...");
      return;
    }
    g_string_append_printf (to, "%s%u", shown > 1 ? "," : "", first);
    if (bit > first)
      g_string_append_printf (to, "-%u", bit);
  }
}

static void
format_mac (VdValueType type, const guint8 *bytes, guint len, GString *to)
{
  append_pairs (bytes, len, ':', MAC_COLONS, to);
}

static void
format_uuid (VdValueType type, const guint8 *bytes, guint len, GString *to)
{
  append_pairs (bytes, len, '-', UUID_DASHES, to);
}
