/* SPDX-License-Identifier: BSD-3-Clause
 *
 * test-personality-blk.c - what server/personality-blk.c promises
 */
#include "server/personality.h"

#include <string.h>

#include "server/config.h"

/* @line: words without the program's name; "|" separates */
static VdPersonality *
translate (const char *line, GError **error)
{
  g_autofree char *full = g_strconcat ("/usr/libexec/virtiod-blk|", line, NULL);
  g_auto (GStrv) words = g_strsplit (full, "|", -1);

  g_assert_true (vd_personality_applies (words[0]));
  return vd_personality_new ((int) g_strv_length (words), words, error);
}

/* The translation, checked by virtiod's own tables, is this device. */
static void
assert_device (const char *line, const char *expected, gboolean once)
{
  g_autoptr (GError) error = NULL;
  g_autoptr (VdPersonality) personality = translate (line, &error);
  g_autoptr (VdServerConfig) config = NULL;
  g_autofree char **words = NULL, *text = NULL;
  char **moved;
  int n;

  g_assert_no_error (error);
  n = (int) personality->argv->len - 1;
  moved = words = g_memdup2 (personality->argv->pdata,
                             personality->argv->len * sizeof *words);
  config = vd_server_config_parse (vd_registry, &n, &moved, &error);
  g_assert_no_error (error);
  text = vd_server_config_to_text (config);
  if (strstr (text, expected) == NULL)
    g_error ("'%s' is not in '%s'", expected, text);
  g_assert_cmpint (config->once, ==, once);
}

static void
assert_error (const char *line, const char *why)
{
  g_autoptr (GError) error = NULL;

  g_assert_null (translate (line, &error));
  if (strstr (error->message, why) == NULL)
    g_error ("'%s' does not say '%s'", error->message, why);
}

static void
test_conventional_options_make_a_disk (void)
{
  assert_device ("--socket-path=/run/a,b|--blk-file=/srv/disk",
                 "socket=/run/a,b\nimage=/srv/disk\n", FALSE);
  assert_device ("--fd=7|--blk-file|/srv/disk,1|--read-only",
                 "socket=fd:7\nimage=/srv/disk,1\nread-only=yes\n", TRUE);
  assert_device ("-s|/run/a|-b|nbd://host/export|-r",
                 "image=nbd://host/export\nread-only=yes\n", FALSE);
}

static void
test_mistakes_are_named (void)
{
  assert_error ("--blk-file=x", "either --socket-path or --fd");
  assert_error ("--fd=3|--socket-path=x|--blk-file=x",
                "either --socket-path or --fd");
  assert_error ("--fd=3", "--blk-file");
  assert_error ("--fd=three|--blk-file=x", "three");
  assert_error ("--fd=3|--blk-file=x|--discard", "--discard");
  assert_error ("--fd=3|--blk-file=x|more", "more");
}

static void
test_capabilities_need_no_disk (void)
{
  g_autoptr (GError) error = NULL;
  g_autoptr (VdPersonality) personality =
      translate ("--print-capabilities", &error);

  g_assert_no_error (error);
  g_assert_nonnull (strstr (personality->text, "\"type\": \"block\""));
  g_assert_nonnull (strstr (personality->text, "\"read-only\""));
  g_assert_nonnull (strstr (personality->text, "\"blk-file\""));
}

/* Front-ends look for the file, scripts ask with the option. */
static void
test_the_json_file_has_the_capabilities (void)
{
  g_autoptr (GError) error = NULL;
  g_autoptr (VdPersonality) personality =
      translate ("--print-capabilities", &error);
  g_autofree char *path =
      g_test_build_filename (G_TEST_DIST, "..", "contrib", "vhost-user",
                             "50-virtiod-blk.json.in", NULL);
  g_autofree char *file = NULL;

  g_assert_no_error (error);
  g_assert_true (g_file_get_contents (path, &file, NULL, &error));
  g_assert_cmpstr (strstr (personality->text, "\"features\""), ==,
                   strstr (file, "\"features\""));
  g_assert_nonnull (strstr (file, "\"type\": \"block\""));
  g_assert_nonnull (strstr (file, "\"binary\": \"@binary@\""));
}

int
main (int argc, char **argv)
{
  g_test_init (&argc, &argv, NULL);
  g_test_add_func ("/personality-blk/options",
                   test_conventional_options_make_a_disk);
  g_test_add_func ("/personality-blk/mistakes", test_mistakes_are_named);
  g_test_add_func ("/personality-blk/capabilities",
                   test_capabilities_need_no_disk);
  g_test_add_func ("/personality-blk/json",
                   test_the_json_file_has_the_capabilities);
  return g_test_run ();
}
