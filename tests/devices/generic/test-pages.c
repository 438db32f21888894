/* SPDX-License-Identifier: BSD-3-Clause
 *
 * test-pages.c - what devices/generic/pages.c promises
 */
#include "devices/generic/pages.h"

#include <string.h>

#define INPUT                                                                  \
  "select u8 rw select; subsel u8 rw select; size u8 ro size; _ u8[5]; "       \
  "u u8[128] ro page"

typedef struct {
  VdLayout *layout;
  VdPages *pages;
  VdConfig config;
} Fixture;

static void
set_up_text (Fixture *f, const char *text)
{
  g_autoptr (GError) error = NULL;

  f->layout = vd_layout_parse (text, &error);
  g_assert_no_error (error);
  f->pages = vd_pages_new (f->layout, &error);
  g_assert_no_error (error);
  vd_config_init (&f->config, f->layout->bytes->len);
  vd_layout_apply (f->layout, &f->config);
}

static void
set_up (Fixture *f, gconstpointer data)
{
  set_up_text (f, INPUT);
}

static void
tear_down (Fixture *f, gconstpointer data)
{
  vd_config_clear (&f->config);
  vd_pages_free (f->pages);
  vd_layout_free (f->layout);
}

static void
add (Fixture *f, const char *selectors, const char *text)
{
  g_autoptr (GError) error = NULL;

  g_assert_true (vd_pages_add (f->pages, selectors, text, &error));
  g_assert_no_error (error);
}

static void
assert_page (Fixture *f, guint8 select, guint8 subsel, const void *page,
             guint8 len)
{
  guint8 want[128] = { 0 };

  f->config.bytes[0] = select;
  f->config.bytes[1] = subsel;
  vd_pages_fill (f->pages, &f->config);
  if (len > 0)
    memcpy (want, page, len);
  g_assert_cmpuint (f->config.bytes[2], ==, len);
  g_assert_cmpmem (f->config.bytes + 8, 128, want, 128);
}

static void
test_selectors_choose_the_page (Fixture *f, gconstpointer data)
{
  add (f, "1", "string virtiod keyboard");
  add (f, "3", "le16 6,0x1af4,1,1");
  add (f, "17.1", "bits 1-7,9");
  add (f, "0x12", "u8 1; le32 2,3;");
  add (f, "4", "");
  assert_page (f, 1, 0, "virtiod keyboard", 16);
  assert_page (f, 3, 0, "\6\0\xf4\x1a\1\0\1\0", 8);
  assert_page (f, 17, 1, "\xfe\2", 2);
  assert_page (f, 18, 0, "\1\2\0\0\0\3\0\0\0", 9);
  assert_page (f, 17, 0, NULL, 0); /* nothing of the last page stays */
  assert_page (f, 1, 1, NULL, 0);
  assert_page (f, 4, 0, NULL, 0);
  g_assert_cmpuint (vd_pages_count (f->pages), ==, 5);
}

static void
test_fill_tells_of_change (Fixture *f, gconstpointer data)
{
  add (f, "1", "u8 5");
  g_assert_false (vd_pages_fill (f->pages, &f->config));
  f->config.bytes[0] = 1;
  g_assert_true (vd_pages_fill (f->pages, &f->config));
  g_assert_false (vd_pages_fill (f->pages, &f->config));
}

static void
test_reset_selects_page_zero (Fixture *f, gconstpointer data)
{
  add (f, "0", "u8 7");
  add (f, "1.1", "u8 8,8");
  assert_page (f, 1, 1, "\10\10", 2);
  vd_pages_reset (f->pages, &f->config);
  g_assert_cmpmem (f->config.bytes, 10, "\0\0\1\0\0\0\0\0\7\0", 10);
}

static void
test_only_selectors_turn_the_page (Fixture *f, gconstpointer data)
{
  g_assert_true (vd_pages_is_selector (f->pages, 0, 1));
  g_assert_true (vd_pages_is_selector (f->pages, 1, 1));
  g_assert_true (vd_pages_is_selector (f->pages, 0, 136));
  g_assert_false (vd_pages_is_selector (f->pages, 2, 134));
  g_assert_false (vd_pages_is_selector (f->pages, 0, 0));
}

static void
test_wide_selectors_and_no_size (void)
{
  Fixture f = { 0 };

  set_up_text (&f, "sel be32 rw select; room bytes[4] ro page");
  add (&f, "0xdeadbeef", "bytes 01 02");
  memcpy (f.config.bytes, "\xde\xad\xbe\xef", 4);
  vd_pages_fill (f.pages, &f.config);
  g_assert_cmpmem (f.config.bytes + 4, 4, "\1\2\0\0", 4);
  tear_down (&f, NULL);
}

static void
test_wrong_pages_are_refused (Fixture *f, gconstpointer data)
{
  g_autofree char *big = g_strdup_printf ("bytes %0*d", 2 * 129, 0);
  const struct {
    const char *selectors, *text, *message;
  } cases[] = {
    { "1.2.3", "u8 1", "2 fields select a page" },
    { "", "u8 1", "a page's key is page.N or page.N.M" },
    { "x", "u8 1", "a page's key is page.N or page.N.M" },
    { "1.", "u8 1", "a page's key is page.N or page.N.M" },
    { "-1", "u8 1", "a page's key is page.N or page.N.M" },
    { "1,2", "u8 1", "a page's key is page.N or page.N.M" },
    { "99999999999999999999", "u8 1", "a page's key is page.N or page.N.M" },
    { "7.0", "u8 1", "this page was given before" },
    { "0x7", "u8 1", "this page was given before" },
    { "1", "u8 256", "'256' is not a list of 8-bit numbers" },
    { "1", big, "the page has more than 128 bytes" },
    { "1", "u8[129]", "the page has more than 128 bytes" },
  };

  add (f, "7", "u8 1");
  for (guint i = 0; i < G_N_ELEMENTS (cases); i++) {
    g_autoptr (GError) error = NULL;

    g_assert_false (
        vd_pages_add (f->pages, cases[i].selectors, cases[i].text, &error));
    g_assert_nonnull (error);
    g_assert_cmpstr (error->message, ==, cases[i].message);
  }
  g_assert_cmpuint (vd_pages_count (f->pages), ==, 1);
}

static void
test_a_page_fits_its_size_field (void)
{
  Fixture f = { 0 };

  set_up_text (&f, "s u8 rw select; n u8 ro size; u u8[300] ro page");
  g_assert_true (vd_pages_add (f.pages, "1", "u8[255]", NULL));
  g_assert_false (vd_pages_add (f.pages, "2", "u8[256]", NULL));
  tear_down (&f, NULL);
}

static void
test_roles_that_make_no_window_are_refused (void)
{
  static const char five[] = "a u8 rw select; b u8 rw select; c u8 rw select; "
                             "d u8 rw select; e u8 rw select; u u8[8] ro page";
  static const char *const bad[] = {
    five,
    "s u8 rw select",
    "n u8 ro size",
    "u u8[8] ro page",
    "s u8 rw select; n u8 ro size",
    "n u8 ro size; u u8[8] ro page",
    "s u8 rw select; u u8[8] ro page; v u8[8] ro page",
    "s u8 rw select; n u8 ro size; m u8 ro size; u u8[8] ro page",
  };

  for (guint i = 0; i < G_N_ELEMENTS (bad); i++) {
    g_autoptr (VdLayout) layout = vd_layout_parse (bad[i], NULL);
    g_autoptr (GError) error = NULL;

    g_assert_nonnull (layout);
    g_assert_null (vd_pages_new (layout, &error));
    g_assert_nonnull (error);
  }
}

static void
test_no_window_has_no_pages (void)
{
  Fixture f = { 0 };

  set_up_text (&f, "a u8 rw 5");
  g_assert_false (vd_pages_add (f.pages, "1", "u8 1", NULL));
  g_assert_false (vd_pages_fill (f.pages, &f.config));
  vd_pages_reset (f.pages, &f.config);
  g_assert_cmpuint (f.config.bytes[0], ==, 5);
  tear_down (&f, NULL);
}

int
main (int argc, char **argv)
{
  g_test_init (&argc, &argv, NULL);
#define ADD(name, func)                                                        \
  g_test_add ("/generic/pages/" name, Fixture, NULL, set_up, func, tear_down)
  ADD ("choose", test_selectors_choose_the_page);
  ADD ("change", test_fill_tells_of_change);
  ADD ("reset", test_reset_selects_page_zero);
  ADD ("selectors", test_only_selectors_turn_the_page);
  ADD ("wrong", test_wrong_pages_are_refused);
  g_test_add_func ("/generic/pages/wide", test_wide_selectors_and_no_size);
  g_test_add_func ("/generic/pages/size", test_a_page_fits_its_size_field);
  g_test_add_func ("/generic/pages/roles",
                   test_roles_that_make_no_window_are_refused);
  g_test_add_func ("/generic/pages/none", test_no_window_has_no_pages);
  return g_test_run ();
}
