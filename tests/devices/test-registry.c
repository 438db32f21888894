/* SPDX-License-Identifier: BSD-3-Clause
 *
 * test-registry.c - every kind is complete, and the man page knows all its keys
 */
#include <string.h>

#include "devices/device.h"

/* Calls @func for each kind. */
static void
for_each_kind (void (*func) (const VdDeviceOps *ops))
{
  for (guint i = 0; vd_registry[i] != NULL; i++)
    func (vd_registry[i]);
}

static void
check_kind (const VdDeviceOps *ops)
{
  g_assert_cmpuint (strlen (ops->kind), >, 0);
  g_assert_cmpuint (strlen (ops->help), >, 0);
  g_assert_nonnull (ops->open);
  g_assert_nonnull (ops->close);
  g_assert_nonnull (ops->queue.handle);
  for (guint i = 0; vd_registry[i] != ops; i++)
    g_assert_cmpstr (vd_registry[i]->kind, !=, ops->kind);
}

static void
test_every_kind_is_complete (void)
{
  g_assert_nonnull (vd_registry[0]);
  for_each_kind (check_kind);
}

/* Gives required keys a value, so that only defaults decide. */
static void
check_defaults (const VdDeviceOps *ops)
{
  const VdKey *const tables[] = { ops->keys, vd_common_keys, NULL };
  g_autoptr (VdOptions) options = vd_options_new (ops->kind, NULL);
  g_autoptr (GError) error = NULL;

  for (guint t = 0; tables[t] != NULL; t++)
    for (const VdKey *key = tables[t]; key->name != NULL; key++) {
      g_assert_cmpuint (strlen (key->help), >, 0);
      g_assert_true ((key->type == VD_KEY_ENUM) == (key->choices != NULL));
      if (key->flags & VD_KEY_REQUIRED)
        vd_options_set (options, key->name, "1", &error);
    }
  vd_options_check (options, tables, &error);
  g_assert_no_error (error);
}

static void
test_every_default_is_a_legal_value (void)
{
  for_each_kind (check_defaults);
}

/* Returns: (transfer full): the man page's section of that title. */
static char *
section (const char *title)
{
  g_autofree char *path =
      g_test_build_filename (G_TEST_DIST, "..", "docs", "virtiod.1.rst", NULL);
  g_autofree char *line = g_strdup_printf ("\n%s\n==", title);
  g_autofree char *text = NULL;
  const char *start, *end;

  g_assert_true (g_file_get_contents (path, &text, NULL, NULL));
  start = strstr (text, line);
  if (start == NULL)
    g_error ("docs/virtiod.1.rst has no section '%s'", title);
  for (end = start + strlen (line); *end != '\0'; end++)
    if (g_str_has_prefix (end, "\nKEYS OF ") ||
        g_str_has_prefix (end, "\nSIGNALS\n"))
      break;
  return g_strndup (start, (gsize) (end - start));
}

/* What stands before the '=' in the page: "page.*" is shown as "page.N". */
static char *
shown_key (const VdKey *key)
{
  g_autofree char *words = key->type == VD_KEY_ENUM
                               ? g_strjoinv ("|", (char **) key->choices)
                               : NULL;
  gsize len = strlen (key->name);

  if (key->name[len - 1] == '*')
    return g_strdup_printf ("``%.*sN=TEXT``", (int) len - 1, key->name);
  if (words != NULL)
    return g_strdup_printf ("``%s=%s``", key->name, words);
  if (key->type == VD_KEY_BOOL)
    return g_strdup_printf ("``%s=yes|no``", key->name);
  return g_strdup_printf ("``%s=", key->name);
}

static void
check_documented (const char *title, const VdKey *keys)
{
  g_autofree char *text = section (title);

  for (const VdKey *key = keys; key != NULL && key->name != NULL; key++) {
    g_autofree char *want = shown_key (key);

    if (strstr (text, want) == NULL)
      g_error ("docs/virtiod.1.rst: %s: there is no %s", title, want);
  }
}

static void
check_page (const VdDeviceOps *ops)
{
  g_autofree char *upper = g_ascii_strup (ops->kind, -1);
  g_autofree char *title = g_strconcat ("KEYS OF ", upper, NULL);

  check_documented (title, ops->keys);
}

static void
test_the_man_page_has_every_key (void)
{
  for_each_kind (check_page);
  check_documented ("KEYS OF ALL DEVICES", vd_common_keys);
}

int
main (int argc, char **argv)
{
  g_test_init (&argc, &argv, NULL);
#define ADD(name, func) g_test_add_func ("/devices/registry/" name, func)
  ADD ("complete", test_every_kind_is_complete);
  ADD ("defaults", test_every_default_is_a_legal_value);
  ADD ("man-page", test_the_man_page_has_every_key);
  return g_test_run ();
}
