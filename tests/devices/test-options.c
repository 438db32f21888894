/* SPDX-License-Identifier: BSD-3-Clause
 *
 * test-options.c - what devices/options.c and devices/nearest.c promise
 */
#include "devices/nearest.h"
#include "devices/options.h"

static const char *const colours[] = { "red", "green", "blue", NULL };

static const VdKey common[] = {
  { .name = "socket",
    .type = VD_KEY_STRING,
    .help = "where",
    .flags = VD_KEY_REQUIRED },
  { .name = "count", .type = VD_KEY_UINT, .fallback = "1", .max = 8 },
  { 0 },
};

static const VdKey own[] = {
  { .name = "count",
    .type = VD_KEY_UINT,
    .fallback = "64",
    .min = 2,
    .max = 1024 },
  { .name = "big", .type = VD_KEY_SIZE, .flags = VD_KEY_LIVE },
  { .name = "flag", .type = VD_KEY_BOOL, .fallback = "yes" },
  { .name = "delay", .type = VD_KEY_SECONDS, .fallback = "1.5" },
  { .name = "colour",
    .type = VD_KEY_ENUM,
    .fallback = "red",
    .choices = colours },
  { .name = "file", .type = VD_KEY_PATH },
  { .name = "page.*", .type = VD_KEY_STRING, .flags = VD_KEY_LIVE },
  { 0 },
};

static const VdKey *const tables[] = { own, common, NULL };

/* @text: "key=value" words, separated by spaces */
static VdOptions *
options_of (const char *text)
{
  VdOptions *options = vd_options_new ("test.conf: [device x]", "/base/dir");
  g_auto (GStrv) words = g_strsplit (text, " ", -1);

  for (guint i = 0; words[i] != NULL; i++) {
    g_auto (GStrv) pair = g_strsplit (words[i], "=", 2);
    g_autoptr (GError) error = NULL;

    g_assert_true (vd_options_set (options, pair[0], pair[1], &error));
    g_assert_no_error (error);
  }
  return options;
}

static VdOptions *
checked (const char *text)
{
  VdOptions *options = options_of (text);
  g_autoptr (GError) error = NULL;

  g_assert_true (vd_options_check (options, tables, &error));
  g_assert_no_error (error);
  return options;
}

static void
assert_refused (const char *text, VdOptionsError code, const char *message)
{
  g_autoptr (VdOptions) options = options_of (text);
  g_autoptr (GError) error = NULL;

  g_assert_false (vd_options_check (options, tables, &error));
  g_assert_error (error, VD_OPTIONS_ERROR, (int) code);
  g_assert_cmpstr (error->message, ==, message);
}

static void
test_defaults_come_from_the_first_table (void)
{
  g_autoptr (VdOptions) options = checked ("socket=s");

  g_assert_cmpuint (vd_options_uint (options, "count"), ==, 64);
  g_assert_true (vd_options_bool (options, "flag"));
  g_assert_cmpfloat (vd_options_seconds (options, "delay"), ==, 1.5);
  g_assert_cmpstr (vd_options_string (options, "colour"), ==, "red");
  g_assert_null (vd_options_string (options, "file"));
  g_assert_cmpuint (vd_options_uint (options, "big"), ==, 0);
  g_assert_true (vd_options_has (options, "socket"));
  g_assert_false (vd_options_has (options, "count"));
  g_assert_cmpstr (vd_options_origin (options), ==, "test.conf: [device x]");
}

static void
test_numbers_and_sizes (void)
{
  const struct {
    const char *text;
    guint64 big;
  } sizes[] = { { "0", 0 },           { "512", 512 },
                { "4k", 4096 },       { "4K", 4096 },
                { "3M", 3 << 20 },    { "1G", 1 << 30 },
                { "2T", 2ULL << 40 }, { "16777215T", 16777215ULL << 40 } };
  const char *const counts[] = { "16", "0x10", "020" };

  for (guint i = 0; i < G_N_ELEMENTS (sizes); i++) {
    g_autofree char *text = g_strconcat ("socket=s big=", sizes[i].text, NULL);
    g_autoptr (VdOptions) options = checked (text);

    g_assert_cmpuint (vd_options_uint (options, "big"), ==, sizes[i].big);
  }
  for (guint i = 0; i < G_N_ELEMENTS (counts); i++) {
    g_autofree char *text = g_strconcat ("socket=s count=", counts[i], NULL);
    g_autoptr (VdOptions) options = checked (text);

    g_assert_cmpuint (vd_options_uint (options, "count"), ==, 16);
  }
}

static void
test_words_for_yes_and_no (void)
{
  const char *const yes[] = { "yes", "true", "on", "1" };
  const char *const no[] = { "no", "false", "off", "0" };

  for (guint i = 0; i < G_N_ELEMENTS (yes); i++) {
    g_autofree char *t = g_strconcat ("socket=s flag=", yes[i], NULL);
    g_autofree char *f = g_strconcat ("socket=s flag=", no[i], NULL);
    g_autoptr (VdOptions) is = checked (t);
    g_autoptr (VdOptions) is_not = checked (f);

    g_assert_true (vd_options_bool (is, "flag"));
    g_assert_false (vd_options_bool (is_not, "flag"));
  }
}

static void
test_malformed_values_are_refused (void)
{
  const char *const bad[] = {
    "count=",      "count=-4",  "count=+4",   "count=4x",
    "count=0x",    "count=1",   "count=1025", "count=18446744073709551616",
    "count=1e2",   "big=k",     "big=4kk",    "big=4KiB",
    "big=-1",      "big=1.5G",  "big=0x10",   "big=16777216T",
    "flag=",       "flag=YES",  "flag=2",     "delay=",
    "delay=-1",    "delay=nan", "delay=inf",  "delay=1e400",
    "delay=1.2.3", "delay=0x1", "delay=.",    "colour=",
    "colour=RED",  "file=",
  };

  for (guint i = 0; i < G_N_ELEMENTS (bad); i++) {
    g_autofree char *text = g_strconcat ("socket=s ", bad[i], NULL);
    g_autofree char *begin =
        g_strconcat ("test.conf: [device x]: ", bad[i], ": not ", NULL);
    g_autoptr (VdOptions) options = options_of (text);
    g_autoptr (GError) error = NULL;

    if (vd_options_check (options, tables, &error))
      g_error ("%s was accepted", bad[i]);
    g_assert_error (error, VD_OPTIONS_ERROR, VD_OPTIONS_ERROR_BAD_VALUE);
    g_assert_true (g_str_has_prefix (error->message, begin));
  }
}

static void
test_errors_say_what_to_do (void)
{
  assert_refused ("count=4", VD_OPTIONS_ERROR_MISSING_KEY,
                  "test.conf: [device x]: socket: this key is required "
                  "(where)");
  assert_refused ("socket=s cuont=4", VD_OPTIONS_ERROR_UNKNOWN_KEY,
                  "test.conf: [device x]: cuont=4: unknown key; did you mean "
                  "'count'?");
  assert_refused ("socket=s pages.1=x", VD_OPTIONS_ERROR_UNKNOWN_KEY,
                  "test.conf: [device x]: pages.1=x: unknown key; did you "
                  "mean 'page.*'?");
  assert_refused ("socket=s page.=x", VD_OPTIONS_ERROR_UNKNOWN_KEY,
                  "test.conf: [device x]: page.=x: unknown key; did you mean "
                  "'page.*'?");
  assert_refused ("socket=s zzz=1", VD_OPTIONS_ERROR_UNKNOWN_KEY,
                  "test.conf: [device x]: zzz=1: unknown key; "
                  "--list-devices shows all keys");
  assert_refused ("socket=s count=2000", VD_OPTIONS_ERROR_BAD_VALUE,
                  "test.conf: [device x]: count=2000: not a number, 2 to "
                  "1024");
  assert_refused ("socket=s colour=gren", VD_OPTIONS_ERROR_BAD_VALUE,
                  "test.conf: [device x]: colour=gren: not one of red, "
                  "green, blue; did you mean 'green'?");
}

static void
test_a_key_is_set_once (void)
{
  g_autoptr (VdOptions) options = options_of ("socket=s");
  g_autoptr (GError) error = NULL;

  g_assert_false (vd_options_set (options, "socket", "t", &error));
  g_assert_error (error, VD_OPTIONS_ERROR, VD_OPTIONS_ERROR_DUPLICATE);
  g_assert_true (vd_options_check (options, tables, NULL));
  g_assert_cmpstr (vd_options_string (options, "socket"), ==, "s");
}

static void
test_text_that_no_key_file_can_hold_is_refused (void)
{
  const char *const bad[] = { "\xff", "two\nlines", "two\rlines" };
  g_autoptr (VdOptions) options = options_of ("count=2");

  for (guint i = 0; i < G_N_ELEMENTS (bad); i++) {
    g_autoptr (GError) error = NULL;

    g_assert_false (vd_options_set (options, "socket", bad[i], &error));
    g_assert_error (error, VD_OPTIONS_ERROR, VD_OPTIONS_ERROR_BAD_VALUE);
    g_assert_true (g_utf8_validate (error->message, -1, NULL));
    g_clear_error (&error);

    g_assert_false (vd_options_set (options, bad[i], "value", &error));
    g_assert_error (error, VD_OPTIONS_ERROR, VD_OPTIONS_ERROR_UNKNOWN_KEY);
    g_assert_true (g_utf8_validate (error->message, -1, NULL));
    g_assert_null (strpbrk (error->message, "\r\n"));
  }
}

static void
test_paths_are_absolute_after_the_check (void)
{
  g_autoptr (VdOptions) relative = checked ("socket=s file=a/../b");
  g_autoptr (VdOptions) absolute = checked ("socket=s file=/x");
  g_autofree char *text = vd_options_to_text (relative);

  g_assert_cmpstr (vd_options_string (relative, "file"), ==, "/base/dir/b");
  g_assert_cmpstr (text, ==, "socket=s\nfile=/base/dir/b\n");
  g_assert_cmpstr (vd_options_string (absolute, "file"), ==, "/x");
  g_assert_true (vd_options_check (relative, tables, NULL));
  g_assert_cmpstr (vd_options_string (relative, "file"), ==, "/base/dir/b");
}

static gboolean
collect (const char *suffix, const char *value, gpointer user_data,
         GError **error)
{
  g_string_append_printf (user_data, "%s:%s ", suffix, value);
  return strcmp (value, "stop") != 0;
}

static void
test_foreach_keeps_the_order_of_setting (void)
{
  g_autoptr (VdOptions) options =
      checked ("socket=s page.9=a page.1.2=b page.3=stop page.4=c");
  g_autoptr (GString) seen = g_string_new (NULL);

  g_assert_false (vd_options_foreach (options, "page.", collect, seen, NULL));
  g_assert_cmpstr (seen->str, ==, "9:a 1.2:b 3:stop ");
}

static void
test_differences_that_are_not_live_are_named (void)
{
  const struct {
    const char *a, *b, *differ;
  } cases[] = {
    { "socket=s", "socket=s", NULL },
    { "socket=s count=16", "count=0x10 socket=s", NULL },
    { "socket=s count=64", "socket=s", NULL }, /* the default */
    { "socket=s big=4k", "socket=s big=4096", NULL },
    { "socket=s big=4k", "socket=s big=8k", "" },
    { "socket=s", "socket=s page.1=x", "" },
    { "socket=s page.1=x", "socket=s", "" },
    { "socket=s page.1=x", "socket=t page.1=y", "socket" },
    { "socket=s flag=yes", "socket=s flag=no", "flag" },
    { "socket=s", "socket=s file=x", "file" },
    { "socket=s file=x", "socket=s", "file" },
    { "socket=s delay=2", "socket=s", "delay" },
  };

  for (guint i = 0; i < G_N_ELEMENTS (cases); i++) {
    g_autoptr (VdOptions) a = checked (cases[i].a);
    g_autoptr (VdOptions) b = checked (cases[i].b);
    g_autofree char *differ = vd_options_differ (a, b);

    g_assert_cmpstr (differ, ==, cases[i].differ);
  }
}

static void
test_device_errors_have_the_same_form (void)
{
  g_autoptr (VdOptions) options = checked ("socket=s file=x");
  g_autoptr (GError) set = NULL, fallback = NULL, unset = NULL;

  vd_options_set_error (options, "file", &set, "no such %s", "file");
  vd_options_set_error (options, "count", &fallback, "too many");
  vd_options_set_error (options, "big", &unset, "is needed");
  g_assert_cmpstr (set->message, ==,
                   "test.conf: [device x]: file=/base/dir/x: no such file");
  g_assert_cmpstr (fallback->message, ==,
                   "test.conf: [device x]: count=64: too many");
  g_assert_cmpstr (unset->message, ==, "test.conf: [device x]: big: is needed");
}

static void
test_nearest_word (void)
{
  const char *const known[] = { "image", "read-only", "serial", "id", NULL };

  g_assert_cmpstr (vd_nearest ("imgae", known), ==, "image");
  g_assert_cmpstr (vd_nearest ("readonly", known), ==, "read-only");
  g_assert_cmpstr (vd_nearest ("read_only", known), ==, "read-only");
  g_assert_cmpstr (vd_nearest ("seriall", known), ==, "serial");
  g_assert_cmpstr (vd_nearest ("i", known), ==, "id");
  g_assert_null (vd_nearest ("", known));
  g_assert_null (vd_nearest ("xy", known));
  g_assert_null (vd_nearest ("something-else", known));
  g_autofree char *huge = g_strnfill (100000, 'i');
  g_assert_null (vd_nearest (huge, known));
}

int
main (int argc, char **argv)
{
  g_test_init (&argc, &argv, NULL);
#define ADD(name, func) g_test_add_func ("/devices/options/" name, func)
  ADD ("defaults", test_defaults_come_from_the_first_table);
  ADD ("numbers", test_numbers_and_sizes);
  ADD ("booleans", test_words_for_yes_and_no);
  ADD ("malformed", test_malformed_values_are_refused);
  ADD ("errors", test_errors_say_what_to_do);
  ADD ("duplicate", test_a_key_is_set_once);
  ADD ("text", test_text_that_no_key_file_can_hold_is_refused);
  ADD ("paths", test_paths_are_absolute_after_the_check);
  ADD ("foreach", test_foreach_keeps_the_order_of_setting);
  ADD ("differ", test_differences_that_are_not_live_are_named);
  ADD ("device-errors", test_device_errors_have_the_same_form);
  ADD ("nearest", test_nearest_word);
  return g_test_run ();
}
