/* SPDX-License-Identifier: BSD-3-Clause
 *
 * test-layout.c - what devices/generic/layout.c promises
 */
#include "devices/generic/layout.h"

#include <string.h>

#include "devices/generic/pages.h"
#include "devices/options.h"

#define BALLOON "num_pages le32 ro 0; actual le32 rw"
#define INPUT                                                                  \
  "select u8 rw select; subsel u8 rw select; size u8 ro size; _ u8[5]; "       \
  "u u8[128] ro page"

static VdLayout *
parsed (const char *text)
{
  g_autoptr (GError) error = NULL;
  VdLayout *layout = vd_layout_parse (text, &error);

  g_assert_no_error (error);
  return layout;
}

static const VdField *
field (const VdLayout *layout, guint i)
{
  g_assert_cmpuint (i, <, layout->fields->len);
  return g_ptr_array_index (layout->fields, i);
}

static void
test_fields_of_a_balloon (void)
{
  g_autoptr (VdLayout) layout = parsed ("num_pages le32 ro 0x100; "
                                        "actual le32 rw");

  g_assert_cmpuint (layout->fields->len, ==, 2);
  g_assert_cmpmem (layout->bytes->data, layout->bytes->len, "\0\1\0\0\0\0\0\0",
                   8);
  g_assert_cmpstr (field (layout, 0)->name, ==, "num_pages");
  g_assert_cmpint (field (layout, 0)->access, ==, VD_CONFIG_RO);
  g_assert_true (field (layout, 0)->has_value);
  g_assert_cmpstr (field (layout, 1)->name, ==, "actual");
  g_assert_cmpuint (field (layout, 1)->offset, ==, 4);
  g_assert_cmpuint (field (layout, 1)->len, ==, 4);
  g_assert_cmpint (field (layout, 1)->access, ==, VD_CONFIG_RW);
  g_assert_false (field (layout, 1)->has_value);
}

static void
test_fields_of_an_input_device (void)
{
  g_autoptr (VdLayout) layout = parsed (INPUT);
  const VdFieldRole roles[] = { VD_FIELD_SELECT, VD_FIELD_SELECT, VD_FIELD_SIZE,
                                VD_FIELD_PLAIN, VD_FIELD_PAGE };

  g_assert_cmpuint (layout->bytes->len, ==, 136);
  for (guint i = 0; i < G_N_ELEMENTS (roles); i++)
    g_assert_cmpint (field (layout, i)->role, ==, roles[i]);
  g_assert_cmpuint (field (layout, 4)->offset, ==, 8);
}

static void
test_texts_may_be_loose (void)
{
  g_autoptr (VdLayout) layout =
      parsed (" ; a\tu8 ; _ u8;_ le16 w1c 1; ; s string[4] rw a;;b;  ");
  g_autoptr (VdLayout) none = parsed (NULL), empty = parsed ("");

  g_assert_cmpuint (layout->fields->len, ==, 4);
  g_assert_cmpmem (layout->bytes->data, layout->bytes->len, "\0\0\1\0a;b\0", 8);
  g_assert_cmpuint (none->bytes->len, ==, 0);
  g_assert_cmpuint (empty->fields->len, ==, 0);
}

static void
test_a_role_is_a_value_where_it_can_be_one (void)
{
  g_autoptr (VdLayout) layout = parsed ("s string[8] ro page");

  g_assert_cmpint (field (layout, 0)->role, ==, VD_FIELD_PLAIN);
  g_assert_cmpmem (layout->bytes->data, 8, "page\0\0\0\0", 8);
}

static void
test_mistakes_name_the_field (void)
{
  static const struct {
    const char *text, *message;
  } cases[] = {
    { "a", "field 'a': the type is missing" },
    { "a u9",
      "field 'a': 'u9' is not a type (u8, le16, le32, le64, be16, be32, be64, "
      "bytes[n], string[n], bits[n], mac or uuid)" },
    { "a u8 wr", "field 'a': 'wr' is not an access (ro, rw or w1c)" },
    { "a u8 5", "field 'a': '5' is not an access (ro, rw or w1c)" },
    { "a u8 ro 256", "field 'a': '256' is not a list of 8-bit numbers" },
    { "a u8 ro x", "field 'a': 'x' is not a list of 8-bit numbers" },
    { "a u8; b u8; a le16", "field 'a' is there twice" },
    { "1a u8", "'1a' is not a field's name (letters, digits, '_', '-', '.'; no "
               "digit first)" },
    { "a=b u8", "'a=b' is not a field's name (letters, digits, '_', '-', '.'; "
                "no digit first)" },
    { "a u8 ro select", "field 'a': a select field is rw" },
    { "a u8[2] rw select",
      "field 'a': 'select' is not a list of 8-bit numbers" },
    { "a bytes", "field 'a': without a value the type needs a length, as in "
                 "bytes[8]" },
    { "a string ro", "field 'a': without a value the type needs a length, as "
                     "in bytes[8]" },
    { "a u8[4084]; b u8", "field 'b': config space has at most 4084 bytes" },
    { "a le64[511]",
      "field 'a': 'le64[511]': the brackets hold a number from 1 to 510" },
  };

  for (guint i = 0; i < G_N_ELEMENTS (cases); i++) {
    g_autoptr (GError) error = NULL;
    g_autoptr (VdLayout) layout = vd_layout_parse (cases[i].text, &error);

    g_assert_null (layout);
    g_assert_error (error, VD_OPTIONS_ERROR, VD_OPTIONS_ERROR_BAD_VALUE);
    g_assert_cmpstr (error->message, ==, cases[i].message);
  }
}

static void
test_base_bytes_lie_under_fields_without_value (void)
{
  g_autoptr (VdLayout) layout = parsed ("a u8 ro 1; b le16 rw; w u8 rw select");
  const guint8 base[] = { 9, 9, 9, 9, 9, 9 };

  vd_layout_set_base (layout, base, 2);
  g_assert_cmpmem (layout->bytes->data, layout->bytes->len, "\1\11\0\0", 4);
  vd_layout_set_base (layout, base, sizeof base);
  g_assert_cmpmem (layout->bytes->data, layout->bytes->len, "\1\11\11\0\11\11",
                   6);
}

static void
test_length_pads_but_never_cuts (void)
{
  g_autoptr (VdLayout) layout = parsed ("a u8 ro 1; b u8 ro 2");
  g_autoptr (GError) error = NULL;

  g_assert_false (vd_layout_set_len (layout, 1, &error));
  g_assert_cmpstr (error->message, ==, "the config space needs 2 bytes");
  g_assert_true (vd_layout_set_len (layout, 4, NULL));
  g_assert_cmpmem (layout->bytes->data, layout->bytes->len, "\1\2\0\0", 4);
}

static void
test_access_reaches_config_space (void)
{
  g_autoptr (VdLayout) layout = parsed ("a u8 ro 1; b le16 rw 2; c u8 w1c 3");
  VdConfig config;

  vd_layout_set_len (layout, 5, NULL);
  vd_config_init (&config, 5);
  vd_layout_apply (layout, &config);
  g_assert_cmpmem (config.bytes, 5, "\1\2\0\3\0", 5);
  g_assert_cmpmem (config.access, 5, "\0\1\1\2\0", 5);
  vd_config_clear (&config);
}

static void
test_update_keeps_what_the_driver_wrote (void)
{
  g_autoptr (VdLayout) layout = parsed (BALLOON);
  g_autoptr (VdLayout) same =
      parsed ("num_pages le32 ro 0x0; actual le32 rw 0");
  g_autoptr (VdLayout) next = parsed ("num_pages le32 ro 7; actual le32 rw");
  g_autoptr (VdLayout) both = parsed ("num_pages le32 ro 7; actual le32 rw 1");
  VdConfig config;

  vd_layout_set_len (layout, 12, NULL);
  vd_config_init (&config, 12);
  vd_layout_apply (layout, &config);
  config.bytes[4] = 5; /* the driver */
  vd_layout_set_len (same, 12, NULL);
  vd_layout_set_len (next, 12, NULL);
  vd_layout_set_len (both, 12, NULL);

  g_assert_false (vd_layout_update (layout, same, &config));
  g_assert_true (vd_layout_update (layout, next, &config));
  g_assert_cmpmem (config.bytes, 8, "\7\0\0\0\5\0\0\0", 8);
  g_assert_false (vd_layout_update (layout, next, &config));
  g_assert_true (vd_layout_update (layout, both, &config));
  g_assert_cmpmem (config.bytes, 8, "\7\0\0\0\1\0\0\0", 8);
  both->bytes->data[11] = 9; /* beyond the fields, as from a file */
  g_assert_true (vd_layout_update (layout, both, &config));
  g_assert_cmpuint (config.bytes[11], ==, 9);
  vd_config_clear (&config);
}

static void
test_another_shape_is_refused_with_a_reason (void)
{
  g_autoptr (VdLayout) layout = parsed (BALLOON);
  static const char *const shapes[] = {
    "num_pages le32 ro 0",
    "num_page le32 ro 0; actual le32 rw",
    "actual le32 rw; num_pages le32 ro 0",
    "num_pages be32 ro 0; actual le32 rw",
    "num_pages le32 rw 0; actual le32 rw",
    "num_pages le32 ro 0; actual le32 rw select",
    "num_pages le32 ro 0; actual le32 rw; more u8",
  };
  g_autoptr (VdLayout) longer = parsed (BALLOON);

  for (guint i = 0; i < G_N_ELEMENTS (shapes); i++) {
    g_autoptr (VdLayout) next = parsed (shapes[i]);
    g_autoptr (GError) error = NULL;

    g_assert_false (vd_layout_check_same (layout, next, &error));
    g_assert_nonnull (strstr (error->message, "a running driver keeps"));
  }
  vd_layout_set_len (longer, 9, NULL);
  g_assert_false (vd_layout_check_same (layout, longer, NULL));
  g_assert_true (vd_layout_check_same (layout, layout, NULL));
}

/* Random mutations of good texts must give a layout that holds together, or an
 * error.  The seed is fixed, so that a failure comes again. */
static void
check_whole (const VdLayout *layout)
{
  guint end = 0;

  for (guint i = 0; i < layout->fields->len; i++) {
    const VdField *f = field (layout, i);
    g_autoptr (GString) text = g_string_new (NULL);

    g_assert_cmpuint (f->offset, ==, end);
    g_assert_cmpuint (f->len, >, 0);
    end += f->len;
    g_assert_cmpuint (end, <=, layout->bytes->len);
    vd_value_format (f->form.type, layout->bytes->data + f->offset, f->len,
                     text);
  }
  g_assert_cmpuint (layout->bytes->len, <=, VD_CONFIG_MAX);
}

static gboolean
try_text (const char *text)
{
  g_autoptr (GError) error = NULL, page_error = NULL;
  g_autoptr (VdLayout) layout = vd_layout_parse (text, &error);
  g_autoptr (VdPages) pages = NULL;
  VdConfig config;

  g_assert_true ((layout == NULL) == (error != NULL));
  if (layout == NULL)
    return FALSE;
  check_whole (layout);
  pages = vd_pages_new (layout, &page_error);
  if (pages == NULL)
    return TRUE;
  vd_pages_add (pages, "1", "le16 1,2,3; string x", NULL);
  vd_config_init (&config, layout->bytes->len);
  vd_layout_apply (layout, &config);
  vd_pages_fill (pages, &config);
  vd_pages_reset (pages, &config);
  vd_config_clear (&config);
  return TRUE;
}

static void
mutate (GRand *rand, GString *text)
{
  static const char *const bits[] = {
    ";",     " ",   ";;",   "[",    "]",      "0",    "9",      "0x",   "-",
    ",",     "u8",  "le64", " rw ", " ro ",   "page", "select", "size", "_",
    "bytes", "mac", "\t",   "bits", "[4084]", "\xff", ":",      "uuid"
  };
  guint n_edits = (guint) g_rand_int_range (rand, 1, 8);

  for (guint i = 0; i < n_edits && text->len > 0; i++) {
    gssize at = g_rand_int_range (rand, 0, (gint32) text->len);
    const char *bit = bits[g_rand_int_range (rand, 0, G_N_ELEMENTS (bits))];

    switch (g_rand_int_range (rand, 0, 3)) {
    case 0: g_string_insert (text, at, bit); break;
    case 1: text->str[at] = bit[0]; break;
    default: g_string_erase (text, at, MIN (3, (gssize) text->len - at)); break;
    }
  }
}

static void
test_mutated_texts_never_break_the_parser (void)
{
  static const char *const good[] = {
    BALLOON,
    INPUT,
    "m mac ro 52:54:00:12:34:56; s string[8] rw a;;b; x bytes[4] w1c 01 02; "
    "id uuid ro 01234567-89ab-cdef-0123-456789abcdef; k bits[16] ro 1-119,127; "
    "n be64[2] ro -1,0x7f",
  };
  g_autoptr (GRand) rand = g_rand_new_with_seed (0x5eed);
  guint n_good = 0, n_rounds = 30000;

  for (guint round = 0; round < n_rounds; round++) {
    g_autoptr (GString) text = g_string_new (good[round % G_N_ELEMENTS (good)]);

    mutate (rand, text);
    n_good += try_text (text->str);
  }
  g_test_message ("%u of %u accepted", n_good, n_rounds);
  g_assert_cmpuint (n_good, >, n_rounds / 100);
  g_assert_cmpuint (n_good, <, n_rounds);
}

int
main (int argc, char **argv)
{
  g_test_init (&argc, &argv, NULL);
#define ADD(name, func) g_test_add_func ("/generic/layout/" name, func)
  ADD ("balloon", test_fields_of_a_balloon);
  ADD ("input", test_fields_of_an_input_device);
  ADD ("loose", test_texts_may_be_loose);
  ADD ("role-or-value", test_a_role_is_a_value_where_it_can_be_one);
  ADD ("mistakes", test_mistakes_name_the_field);
  ADD ("base", test_base_bytes_lie_under_fields_without_value);
  ADD ("length", test_length_pads_but_never_cuts);
  ADD ("access", test_access_reaches_config_space);
  ADD ("update", test_update_keeps_what_the_driver_wrote);
  ADD ("shape", test_another_shape_is_refused_with_a_reason);
  ADD ("mutations", test_mutated_texts_never_break_the_parser);
  return g_test_run ();
}
