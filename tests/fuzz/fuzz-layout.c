/* SPDX-License-Identifier: BSD-3-Clause
 *
 * fuzz-layout.c - the user's texts: options, features, fields, pages
 *
 * An input's lines are, in this order: a field list, a second one to reload, a
 * page's selectors, a page, features, and then options.  Bytes that a key-file
 * cannot hold are part of it.
 */
#include <stdlib.h>

#include "devices/generic/features.h"
#include "devices/generic/layout.h"
#include "devices/generic/pages.h"
#include "devices/options.h"
#include "tests/fuzz/fuzz.h"

static const char *const colours[] = { "red", "green", NULL };
static const VdKey keys[] = {
  { .name = "text", .type = VD_KEY_STRING, .fallback = "none" },
  { .name = "path", .type = VD_KEY_PATH, .flags = VD_KEY_FD },
  { .name = "switch", .type = VD_KEY_BOOL },
  { .name = "number", .type = VD_KEY_UINT, .min = 3, .max = 1024 },
  { .name = "size", .type = VD_KEY_SIZE },
  { .name = "seconds", .type = VD_KEY_SECONDS },
  { .name = "colour", .type = VD_KEY_ENUM, .choices = colours },
  { .name = "page.*", .type = VD_KEY_STRING },
  { .name = NULL },
};
static const VdKey *const tables[] = { keys, NULL };

/* Fields follow each other from 0 on and lie in the bytes. */
static void
check_layout (const VdLayout *layout)
{
  guint at = 0;

  for (guint i = 0; i < layout->fields->len; i++) {
    const VdField *field = g_ptr_array_index (layout->fields, i);

    g_assert_cmpuint (field->offset, ==, at);
    g_assert_cmpuint (field->len, >, 0);
    at += field->len;
  }
  g_assert_cmpuint (at, <=, layout->bytes->len);
  g_assert_cmpuint (layout->bytes->len, <=, VD_CONFIG_MAX);
}

static void
check_error (gboolean ok, const GError *error)
{
  g_assert_true (ok == (error == NULL));
}

static VdLayout *
parse (const char *text)
{
  g_autoptr (GError) error = NULL;
  VdLayout *layout = vd_layout_parse (text, &error);

  check_error (layout != NULL, error);
  if (layout != NULL)
    check_layout (layout);
  return layout;
}

/* A driver writes everywhere, so that it chooses pages. */
static void
try_pages (const VdLayout *layout, VdConfig *config, const char *selectors,
           const char *text)
{
  g_autoptr (GError) error = NULL;
  g_autoptr (GError) page_error = NULL;
  g_autoptr (VdPages) pages = vd_pages_new (layout, &error);
  gboolean added;

  check_error (pages != NULL, error);
  if (pages == NULL)
    return;
  added = vd_pages_add (pages, selectors, text, &page_error);
  check_error (added, page_error);
  g_assert_cmpuint (vd_pages_count (pages), ==, added ? 1 : 0);
  g_assert_false (added && vd_pages_add (pages, selectors, text, NULL));
  vd_pages_reset (pages, config);
  for (guint i = 0; i < config->len && i < 64; i++) {
    guint8 byte = (guint8) atoi (selectors);
    guint offset, len;

    g_assert_true (vd_config_write (config, i, &byte, 1, &offset, &len));
    if (vd_pages_is_selector (pages, i, 1))
      vd_pages_fill (pages, config);
  }
}

static void
try_layouts (char **lines)
{
  g_autoptr (VdLayout) layout = parse (lines[0]);
  g_autoptr (VdLayout) next = parse (lines[1]);
  g_autoptr (GError) error = NULL;
  const guint8 base[64] = { 1, 2, 3 };
  VdConfig config;
  gboolean same;

  if (layout == NULL)
    return;
  vd_layout_set_base (layout, base, sizeof base);
  g_assert_true (vd_layout_set_len (layout, VD_CONFIG_MAX, NULL));
  check_layout (layout);
  vd_config_init (&config, layout->bytes->len);
  vd_layout_apply (layout, &config);
  try_pages (layout, &config, lines[2], lines[3]);
  if (next != NULL) {
    vd_layout_set_base (next, base, sizeof base);
    g_assert_true (vd_layout_set_len (next, VD_CONFIG_MAX, NULL));
    same = vd_layout_check_same (layout, next, &error);
    check_error (same, error);
    if (same) {
      vd_layout_update (layout, next, &config);
      g_assert_cmpmem (layout->bytes->data, layout->bytes->len,
                       next->bytes->data, next->bytes->len);
    }
  }
  vd_config_clear (&config);
}

/* The bytes of fields, as a log would show them. */
static void
try_values (const char *text)
{
  g_autoptr (VdLayout) layout = vd_layout_parse (text, NULL);
  g_autoptr (GString) shown = g_string_new (NULL);

  for (guint i = 0; layout != NULL && i < layout->fields->len; i++) {
    const VdField *field = g_ptr_array_index (layout->fields, i);

    vd_value_format (field->form.type, layout->bytes->data + field->offset,
                     field->len, shown);
    shown = g_string_append_c (shown, ' ');
  }
  g_assert_true (g_utf8_validate (shown->str, (gssize) shown->len, NULL));
  for (gsize i = 0; i < shown->len; i++)
    g_assert_false (g_ascii_iscntrl (shown->str[i]));
}

static void
try_features (const char *text)
{
  g_autoptr (GError) error = NULL;
  guint64 features = 0;
  gboolean ok = vd_features_parse (text, 2, &features, &error);

  check_error (ok, error);
  /* Bits of the transport are the server's. */
  g_assert_cmpuint (features & ~0xfffc000000ffffffull, ==, 0);
}

static void
read_options (const VdOptions *options)
{
  guint64 number = vd_options_uint (options, "number");

  g_assert_nonnull (vd_options_string (options, "text"));
  g_assert_true (number == 0 || (number >= 3 && number <= 1024));
  g_assert_cmpfloat (vd_options_seconds (options, "seconds"), >=, 0);
  vd_options_bool (options, "switch");
  vd_options_uint (options, "size");
  vd_options_string (options, "path");
  vd_options_string (options, "colour");
}

static void
try_options (char **lines)
{
  g_autoptr (VdOptions) options = vd_options_new ("fuzz", "/nowhere");
  g_autofree char *text = NULL;
  g_autoptr (GError) error = NULL;
  gboolean ok;

  for (; *lines != NULL; lines++) {
    char *value = strchr (*lines, '=');

    if (value == NULL)
      continue;
    *value++ = '\0';
    vd_options_set (options, *lines, value, NULL);
  }
  ok = vd_options_check (options, tables, &error);
  check_error (ok, error);
  if (!ok)
    return;
  read_options (options);
  g_assert_null (vd_options_differ (options, options));
  text = vd_options_to_text (options);
  g_assert_true (g_utf8_validate (text, -1, NULL));
}

int
LLVMFuzzerTestOneInput (const uint8_t *data, size_t size)
{
  g_autofree char *text = g_strndup ((const char *) data, size);
  g_auto (GStrv) lines = g_strsplit (text, "\n", 32);

  if (g_strv_length (lines) < 5)
    return 0;
  try_layouts (lines);
  try_values (lines[0]);
  try_features (lines[4]);
  try_options (lines + 5);
  return 0;
}
