/* SPDX-License-Identifier: BSD-3-Clause
 *
 * test-value.c - what devices/generic/value.c promises
 */
#include "devices/generic/value.h"

#include <string.h>

#include "devices/config-space.h"
#include "devices/options.h"

typedef struct {
  const char *form, *text;
  const char *bytes; /* NULL: the text is refused */
  guint len;
  const char *shown; /* NULL: the text itself */
} Case;

static VdValueForm
form_of (const char *word)
{
  g_autoptr (GError) error = NULL;
  VdValueForm form = { 0 };

  g_assert_true (vd_value_parse_form (word, &form, &error));
  g_assert_no_error (error);
  return form;
}

static void
test_texts_become_bytes_and_texts_again (void)
{
  static const Case cases[] = {
    { "u8", "255", "\xff", 1, NULL },
    { "u8", "-1", "\xff", 1, "255" },
    { "u8", "-128", "\x80", 1, "128" },
    { "le16", "0x1af4", "\xf4\x1a", 2, "6900" },
    { "le32", "4096", "\x00\x10\x00\x00", 4, NULL },
    { "le64", "0xffffffffffffffff", "\xff\xff\xff\xff\xff\xff\xff\xff", 8,
      "18446744073709551615" },
    { "le64", "-1", "\xff\xff\xff\xff\xff\xff\xff\xff", 8,
      "18446744073709551615" },
    { "be16", "0x1af4", "\x1a\xf4", 2, "6900" },
    { "be32", "1", "\0\0\0\1", 4, NULL },
    { "be64", "2", "\0\0\0\0\0\0\0\2", 8, NULL },
    { "u8[3]", "1, 2", "\1\2\0", 3, "1,2,0" },
    { "le16[2]", "1 ,0x100", "\1\0\0\1", 4, "1,256" },
    { "u8[2]", "", "\0\0", 2, "0,0" },
    { "bytes[4]", "01 02aB", "\x01\x02\xab\x00", 4, "0102ab00" },
    { "bytes", "00ff", "\x00\xff", 2, NULL },
    { "string[8]", "virtiod", "virtiod\0", 8, "\"virtiod\"" },
    { "string", "a \"b\"\xc3\xa9", "a \"b\"\xc3\xa9", 7,
      "\"a \\\"b\\\"\\303\\251\"" },
    { "bits[2]", "0,2-4,15", "\x1d\x80", 2, NULL },
    { "bits", "1-3,8", "\x0e\x01", 2, NULL },
    { "mac", "52:54:00:12:34:5f", "\x52\x54\x00\x12\x34\x5f", 6, NULL },
    { "uuid", "01234567-89ab-cdef-0123-456789abcdef",
      "\x01\x23\x45\x67\x89\xab\xcd\xef\x01\x23\x45\x67\x89\xab\xcd\xef", 16,
      NULL },
    { "mac", "", "\0\0\0\0\0\0", 6, "00:00:00:00:00:00" },
  };

  for (guint i = 0; i < G_N_ELEMENTS (cases); i++) {
    const Case *c = &cases[i];
    g_autoptr (GByteArray) bytes = g_byte_array_new ();
    g_autoptr (GString) text = g_string_new (NULL);
    g_autoptr (GError) error = NULL;
    VdValueForm form = form_of (c->form);

    g_byte_array_append (bytes, (const guint8 *) "x", 1); /* stays */
    g_assert_true (vd_value_parse (form, c->text, bytes, &error));
    g_assert_no_error (error);
    g_assert_cmpmem (bytes->data, 1, "x", 1);
    g_assert_cmpmem (bytes->data + 1, bytes->len - 1, c->bytes, c->len);
    vd_value_format (form.type, bytes->data + 1, c->len, text);
    g_assert_cmpstr (text->str, ==, c->shown != NULL ? c->shown : c->text);
  }
}

static void
test_texts_that_do_not_fit_are_refused (void)
{
  static const struct {
    const char *form, *text;
  } cases[] = {
    { "u8", "256" },
    { "u8", "-129" },
    { "u8", "1,2" },
    { "u8", "x" },
    { "u8", "1x" },
    { "u8", "+1" },
    { "u8", "--1" },
    { "u8", "1," },
    { "u8", ",1" },
    { "le16", "65536" },
    { "le32", "0x100000000" },
    { "le64", "18446744073709551616" },
    { "le64", "0xg" },
    { "u8[2]", "1,2,3" },
    { "u8[2]", "1 2" },
    { "bytes[2]", "010203" },
    { "bytes[2]", "0" },
    { "bytes[2]", "0x01" },
    { "bytes[2]", "0 1" },
    { "string[2]", "abc" },
    { "bits[1]", "8" },
    { "bits[1]", "3-1" },
    { "bits[1]", "1-" },
    { "bits[1]", "-1" },
    { "bits", "99999" },
    { "bits", "1;2" },
    { "mac", "52:54:00:12:34" },
    { "mac", "525400123456" },
    { "mac", "52:54:00:12:34:56:78" },
    { "mac", "52-54-00-12-34-56" },
    { "uuid", "0123456789abcdef0123456789abcdef" },
    { "uuid", "01234567-89ab-cdef-0123-456789abcde" },
  };

  for (guint i = 0; i < G_N_ELEMENTS (cases); i++) {
    g_autoptr (GByteArray) bytes = g_byte_array_new ();
    g_autoptr (GError) error = NULL;

    if (vd_value_parse (form_of (cases[i].form), cases[i].text, bytes, &error))
      g_error ("%s took '%s'", cases[i].form, cases[i].text);
    g_assert_error (error, VD_OPTIONS_ERROR, VD_OPTIONS_ERROR_BAD_VALUE);
  }
}

static void
test_values_without_a_length_are_bounded (void)
{
  g_autofree char *text = g_strnfill (VD_CONFIG_MAX + 1, 'x');
  g_autofree char *hex = g_strnfill (2 * VD_CONFIG_MAX + 2, '0');
  g_autoptr (GByteArray) bytes = g_byte_array_new ();

  g_assert_false (vd_value_parse (form_of ("string"), text, bytes, NULL));
  g_assert_false (vd_value_parse (form_of ("bytes"), hex, bytes, NULL));
}

static void
test_words_that_are_no_type_are_refused (void)
{
  static const char *const bad[] = {
    "",       "u",        "u8[",  "u8[]",   "u8[0]",    "u8[4085]",
    "u8[x]",  "le32[-1]", "u8[1", "u8[1]x", "u8[+1]",   "le64[511]",
    "mac[6]", "uuid[1]",  "int",  "U8",     "le16 [2]", "u8[99999999999999999]",
  };

  for (guint i = 0; i < G_N_ELEMENTS (bad); i++) {
    VdValueForm form = { .count = 77 };
    g_autoptr (GError) error = NULL;

    if (vd_value_parse_form (bad[i], &form, &error))
      g_error ("'%s' was taken", bad[i]);
    g_assert_error (error, VD_OPTIONS_ERROR, VD_OPTIONS_ERROR_BAD_VALUE);
    g_assert_cmpuint (form.count, ==, 77);
  }
  g_assert_cmpuint (form_of ("u8[4084]").count, ==, VD_CONFIG_MAX);
}

static void
test_long_values_are_cut_in_texts (void)
{
  guint8 bytes[VD_CONFIG_MAX];

  memset (bytes, 0x55, sizeof bytes);
  for (VdValueType type = VD_VALUE_U8; type <= VD_VALUE_BITS; type++) {
    g_autoptr (GString) text = g_string_new (NULL);

    if (type == VD_VALUE_STRING)
      continue;
    vd_value_format (type, bytes, sizeof bytes, text);
    g_assert_true (g_str_has_suffix (text->str, "..."));
    g_assert_cmpuint (text->len, <, 64 * 24);
  }
}

static void
test_numbers_are_put_and_got (void)
{
  for (VdValueType type = VD_VALUE_U8; type <= VD_VALUE_BE64; type++) {
    guint64 number = 0x8877665544332211 >> (64 - 8 * vd_value_width (type));
    guint8 bytes[8] = { 0 };

    vd_value_put_number (type, number, bytes);
    g_assert_cmphex (vd_value_get_number (type, bytes), ==, number);
    g_assert_true (vd_value_is_number (type));
  }
  g_assert_false (vd_value_is_number (VD_VALUE_BYTES));
}

int
main (int argc, char **argv)
{
  g_test_init (&argc, &argv, NULL);
#define ADD(name, func) g_test_add_func ("/generic/value/" name, func)
  ADD ("good", test_texts_become_bytes_and_texts_again);
  ADD ("bad", test_texts_that_do_not_fit_are_refused);
  ADD ("bounds", test_values_without_a_length_are_bounded);
  ADD ("types", test_words_that_are_no_type_are_refused);
  ADD ("cut", test_long_values_are_cut_in_texts);
  ADD ("numbers", test_numbers_are_put_and_got);
  return g_test_run ();
}
