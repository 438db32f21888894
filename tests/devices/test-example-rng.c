/* SPDX-License-Identifier: BSD-3-Clause
 *
 * test-example-rng.c - the device of docs/adding-a-device.md works, and what the
 * page shows is what is compiled here
 */
#include <string.h>

#include "tests/devices/example-rng.h"
#include "tests/lib/rig.h"

typedef struct {
  VtGuest *guest;
  VtRig *rig;
  VtRing *ring;
  guint8 *bytes; /* 4096, of the guest */
} Fixture;

static void
set_up (Fixture *f, gconstpointer data)
{
  g_autoptr (GError) error = NULL;

  f->guest = vt_guest_new (1 << 20);
  f->bytes = vt_guest_alloc (f->guest, 4096, 1);
  f->rig =
      vt_rig_open (f->guest, &example_rng_ops, &error, "max-bytes", "1k", NULL);
  g_assert_no_error (error);
  f->ring = vt_ring_new (f->guest, 0, 16, 0);
  vt_rig_start_ring (f->rig, f->ring);
}

static void
tear_down (Fixture *f, gconstpointer data)
{
  vt_rig_free (f->rig);
  vt_ring_free (f->ring);
  vt_guest_free (f->guest);
}

static guint32
request (Fixture *f, guint len)
{
  VtBuf buf = { f->bytes, len, TRUE };
  guint32 written;

  g_assert_true (vt_ring_add (f->ring, &buf, 1, f));
  vt_ring_kick (f->ring);
  g_assert_true (vt_ring_take (f->ring, &written) == f);
  return written;
}

static void
test_a_request_gets_random_bytes (Fixture *f, gconstpointer data)
{
  guint zeroes = 0;

  g_assert_cmpuint (request (f, 1000), ==, 1000);
  for (guint i = 0; i < 1000; i++)
    zeroes += f->bytes[i] == 0;
  g_assert_cmpuint (zeroes, <, 100);
  g_assert_cmpuint (f->bytes[1000], ==, 0);
}

static void
test_a_request_is_bounded_and_the_bound_is_live (Fixture *f, gconstpointer data)
{
  g_autoptr (VdOptions) options = vd_options_new ("test", NULL);
  g_autoptr (GError) error = NULL;
  g_autofree char *differ = NULL;
  VdDevice *dev = f->rig->dev;

  g_assert_cmpuint (request (f, 4096), ==, 1024);
  vd_options_set (options, "socket", "none", NULL);
  vd_options_set (options, "max-bytes", "2k", NULL);
  g_assert_true (vd_device_check (dev->ops, options, &error));
  differ = vd_options_differ (dev->options, options);
  g_assert_cmpstr (differ, ==, ""); /* only live keys */
  g_assert_true (dev->ops->reload (dev, options, &error));
  g_assert_cmpuint (request (f, 4096), ==, 2048);
}

static void
test_the_dump_counts (Fixture *f, gconstpointer data)
{
  g_autoptr (GString) text = g_string_new (NULL);

  request (f, 10);
  example_rng_ops.dump (f->rig->dev, text);
  g_assert_cmpstr (text->str, ==, "bytes: 10\n");
}

/* Every line of the page's C blocks is a line of the example, in its order. */
static void
test_the_page_shows_this_code (void)
{
  g_autofree char *page = g_test_build_filename (G_TEST_DIST, "..", "docs",
                                                 "adding-a-device.md", NULL);
  g_autofree char *source =
      g_test_build_filename (G_TEST_DIST, "devices", "example-rng.c", NULL);
  g_autofree char *text = NULL, *code = NULL;
  g_auto (GStrv) lines = NULL;
  gboolean in_block = FALSE;
  guint n_checked = 0;
  const char *at;

  g_assert_true (g_file_get_contents (page, &text, NULL, NULL));
  g_assert_true (g_file_get_contents (source, &code, NULL, NULL));
  lines = g_strsplit (text, "\n", -1);
  at = code;
  for (guint i = 0; lines[i] != NULL; i++) {
    g_autofree char *line = g_strconcat (lines[i], "\n", NULL);

    if (g_str_has_prefix (line, "```")) {
      in_block = strcmp (line, "```c\n") == 0;
      continue;
    }
    if (!in_block)
      continue;
    at = strstr (at, line);
    if (at == NULL)
      g_error ("docs/adding-a-device.md: line %u is not in example-rng.c, or "
               "not in this order: %s",
               i + 1, lines[i]);
    at += strlen (line);
    n_checked++;
  }
  g_assert_cmpuint (n_checked, >, 60);
}

int
main (int argc, char **argv)
{
  g_test_init (&argc, &argv, NULL);
#define ADD(name, func)                                                        \
  g_test_add ("/devices/example-rng/" name, Fixture, NULL, set_up, func,       \
              tear_down)
  ADD ("bytes", test_a_request_gets_random_bytes);
  ADD ("bounded", test_a_request_is_bounded_and_the_bound_is_live);
  ADD ("dump", test_the_dump_counts);
  g_test_add_func ("/devices/example-rng/page", test_the_page_shows_this_code);
  return g_test_run ();
}
