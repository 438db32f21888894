/* SPDX-License-Identifier: BSD-3-Clause
 *
 * run-corpus.c - a corpus as a unit test: every file of a folder is an input
 */
#include <stdio.h>
#include <stdlib.h>

#include "tests/fuzz/fuzz.h"

static void
test_input (gconstpointer path)
{
  g_autofree char *bytes = NULL;
  g_autofree guint8 *exact = NULL;
  g_autoptr (GError) error = NULL;
  gsize len;

  g_file_get_contents (path, &bytes, &len, &error);
  g_assert_no_error (error);
  /* Without the zero that GLib adds, so that a sanitizer sees the end. */
  exact = g_memdup2 (bytes, len);
  g_assert_cmpint (LLVMFuzzerTestOneInput (exact, len), ==, 0);
}

int
main (int argc, char *argv[])
{
  g_autoptr (GDir) folder = NULL;
  g_autoptr (GError) error = NULL;
  const char *name;
  guint n = 0;

  g_test_init (&argc, &argv, NULL);
  if (argc != 2 || (folder = g_dir_open (argv[1], 0, &error)) == NULL) {
    fprintf (stderr, "usage: %s FOLDER (%s)\n", argv[0],
             error != NULL ? error->message : "one folder is needed");
    return EXIT_FAILURE;
  }
  for (; (name = g_dir_read_name (folder)) != NULL; n++) {
    g_autofree char *test = g_strconcat ("/corpus/", name, NULL);

    g_test_add_data_func_full (test, g_build_filename (argv[1], name, NULL),
                               test_input, g_free);
  }
  if (n == 0) {
    fprintf (stderr, "%s holds no input\n", argv[1]);
    return EXIT_FAILURE;
  }
  return g_test_run ();
}
