/* SPDX-License-Identifier: BSD-3-Clause
 *
 * value.h - typed texts, such as "le16 6,0x1af4,1,1", to bytes and back
 *
 * A type is a word, with the number of its elements in brackets if there are
 * more than one ("u8[5]"):
 *   u8 le16 le32 le64 be16 be32 be64   numbers with commas between them; 0x and
 *                                      0 prefixes; negative ones wrap
 *   bytes[n]    hexadecimal digits, spaces allowed
 *   string[n]   the text; zero bytes fill the rest
 *   bits[n]     numbers and ranges, "1-119,125"; bit 0 is the lowest of byte 0
 *   mac, uuid   as they are usually written
 * Without brackets bytes, string and bits are as long as their value.
 */
#pragma once

#include <glib.h>

typedef enum {
  VD_VALUE_U8,
  VD_VALUE_LE16,
  VD_VALUE_LE32,
  VD_VALUE_LE64,
  VD_VALUE_BE16,
  VD_VALUE_BE32,
  VD_VALUE_BE64,
  VD_VALUE_BYTES,
  VD_VALUE_STRING,
  VD_VALUE_BITS,
  VD_VALUE_MAC,
  VD_VALUE_UUID,
} VdValueType;

typedef struct {
  VdValueType type;
  guint count; /* elements; 0: as many as the value has */
} VdValueForm;

/* Sets @error to a VD_OPTIONS_ERROR_BAD_VALUE.  Returns: FALSE. */
gboolean
vd_refuse (GError **error, const char *format, ...) G_GNUC_PRINTF (2, 3);

/* Reads "le32" or "u8[5]".  A number without brackets counts 1. */
gboolean
vd_value_parse_form (const char *word, VdValueForm *ret, GError **error);

/* Appends to @to the bytes of @text; of a form with a count always that many
 * elements, whose rest is zero.
 * @text: NULL or empty: zeroes */
gboolean vd_value_parse (VdValueForm form, const char *text, GByteArray *to,
                         GError **error);

/* Appends @len bytes as text that is safe to log, whatever they are. */
void
vd_value_format (VdValueType type, const guint8 *bytes, guint len, GString *to);

/* Returns: bytes of one element. */
guint vd_value_width (VdValueType type);
gboolean vd_value_is_number (VdValueType type);

/* One number of a number's type. */
guint64 vd_value_get_number (VdValueType type, const guint8 *bytes);
void vd_value_put_number (VdValueType type, guint64 number, guint8 *to);
