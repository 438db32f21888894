/* SPDX-License-Identifier: BSD-3-Clause
 *
 * test-generic.c - what devices/generic/generic.c promises
 */
#include "devices/generic/generic.h"

#include <glib/gstdio.h>
#include <linux/virtio_ids.h>
#include <linux/virtio_input.h>
#include <string.h>

#include "tests/lib/rig.h"

#define INPUT                                                                  \
  "select u8 rw select; subsel u8 rw select; size u8 ro size; _ u8[5]; "       \
  "u u8[128] ro page"

typedef struct {
  VtGuest *guest;
  VtRig *rig;
  GPtrArray *lines; /* char, of the device's log */
} Fixture;

static void
on_log (const char *domain, GLogLevelFlags level, const char *line,
        gpointer data)
{
  g_ptr_array_add (data, g_strdup (line));
}

static void
set_up (Fixture *f, gconstpointer data)
{
  f->guest = vt_guest_new (1 << 20);
  f->lines = g_ptr_array_new_with_free_func (g_free);
  g_log_set_handler ("virtiod-generic", G_LOG_LEVEL_MESSAGE, on_log, f->lines);
}

static void
tear_down (Fixture *f, gconstpointer data)
{
  vt_rig_free (f->rig);
  vt_guest_free (f->guest);
  g_ptr_array_unref (f->lines);
}

static void
open_balloon (Fixture *f, const char *config)
{
  g_autoptr (GError) error = NULL;

  f->rig = vt_rig_open (f->guest, &vd_generic_ops, &error, "virtio-id", "5",
                        "queues", "5", "features", "stats-vq,deflate-on-oom",
                        "queue.*", "drain", "config", config, NULL);
  g_assert_no_error (error);
}

static void
open_input (Fixture *f)
{
  g_autoptr (GError) error = NULL;

  f->rig = vt_rig_open (f->guest, &vd_generic_ops, &error, "virtio-id", "18",
                        "queues", "2", "queue.0", "hold", "config", INPUT,
                        "page.1", "string virtiod keyboard", "page.3",
                        "le16 6,0x1af4,1,1", "page.17.1", "bits 1-119", NULL);
  g_assert_no_error (error);
}

/* A driver writes @len bytes. */
static void
write_bytes (Fixture *f, guint offset, const void *from, guint len)
{
  g_assert_true (vt_rig_write_config (f->rig, offset, from, len));
}

static guint32
read_le32 (Fixture *f, guint offset)
{
  guint32 le;

  vd_config_read (&f->rig->dev->config, offset, &le, sizeof le);
  return GUINT32_FROM_LE (le);
}

static gboolean
on_too_late (gpointer data)
{
  g_error ("no log line came");
  return G_SOURCE_REMOVE;
}

/* Waits until there are @n log lines. */
static void
wait_for_lines (Fixture *f, guint n)
{
  guint late = g_timeout_add_seconds (10, on_too_late, NULL);

  while (f->lines->len < n)
    g_main_context_iteration (NULL, TRUE);
  g_source_remove (late);
  g_assert_cmpuint (f->lines->len, ==, n);
}

/* Options like those of the open device, but with @key set to @value. */
static VdOptions *
options_with (Fixture *f, const char *key, const char *value)
{
  g_autofree char *text = vd_options_to_text (f->rig->dev->options);
  g_auto (GStrv) lines = g_strsplit (text, "\n", -1);
  VdOptions *options = vd_options_new ("test", NULL);
  g_autoptr (GError) error = NULL;

  if (key != NULL)
    vd_options_set (options, key, value, &error);
  for (guint i = 0; lines[i] != NULL && *lines[i] != '\0'; i++) {
    g_auto (GStrv) pair = g_strsplit (lines[i], "=", 2);

    if (g_strcmp0 (pair[0], key) != 0)
      vd_options_set (options, pair[0], pair[1], &error);
  }
  vd_device_check (&vd_generic_ops, options, &error);
  g_assert_no_error (error);
  return options;
}

static gboolean
reload (Fixture *f, const char *key, const char *value, GError **error)
{
  VdDevice *dev = f->rig->dev;
  g_autoptr (VdOptions) options = options_with (f, key, value);

  if (!dev->ops->reload (dev, options, error))
    return FALSE;
  vd_options_unref (dev->options);
  dev->options = g_steal_pointer (&options);
  return TRUE;
}

static void
test_a_balloon_is_what_its_keys_say (Fixture *f, gconstpointer data)
{
  open_balloon (f, "num_pages le32 ro 7; actual le32 rw");
  g_assert_cmpuint (f->rig->dev->virtio_id, ==, VIRTIO_ID_BALLOON);
  g_assert_cmpuint (f->rig->dev->n_queues, ==, 5);
  g_assert_cmphex (f->rig->dev->features, ==, 6);
  g_assert_true (f->rig->dev->offer_config);
  g_assert_cmpuint (f->rig->dev->config.len, ==, 8);
  g_assert_cmpuint (read_le32 (f, 0), ==, 7);
}

static void
test_a_device_without_config_offers_none (Fixture *f, gconstpointer data)
{
  f->rig = vt_rig_open (f->guest, &vd_generic_ops, NULL, "virtio-id", "4",
                        "queue.0", "source=random", NULL);
  g_assert_nonnull (f->rig);
  g_assert_false (f->rig->dev->offer_config);
  g_assert_cmpuint (f->rig->dev->n_queues, ==, 1);
}

static void
test_a_driver_probes_an_input_device (Fixture *f, gconstpointer data)
{
  struct virtio_input_config config = { 0 };
  guint32 generation;

  open_input (f);
  g_assert_cmpuint (f->rig->dev->config.len, ==, sizeof config);
  config.select = VIRTIO_INPUT_CFG_ID_NAME;
  write_bytes (f, 0, &config, 2);
  vd_config_read (&f->rig->dev->config, 0, &config, sizeof config);
  g_assert_cmpuint (config.size, ==, 16);
  g_assert_cmpstr (config.u.string, ==, "virtiod keyboard");

  /* As QEMU does it: the whole space, with stale bytes in the page. */
  config.select = VIRTIO_INPUT_CFG_EV_BITS;
  config.subsel = 1;
  generation = f->rig->dev->config.generation;
  write_bytes (f, 0, &config, sizeof config);
  vd_config_read (&f->rig->dev->config, 0, &config, sizeof config);
  g_assert_cmpuint (config.size, ==, 15);
  g_assert_cmpuint (config.u.bitmap[0], ==, 0xfe);
  g_assert_cmpuint (config.u.bitmap[14], ==, 0xff);
  g_assert_cmpuint (config.u.bitmap[15], ==, 0);
  g_assert_cmpuint (f->rig->dev->config.generation, !=, generation);

  config.select = VIRTIO_INPUT_CFG_ABS_INFO;
  write_bytes (f, 0, &config, 2);
  vd_config_read (&f->rig->dev->config, 0, &config, sizeof config);
  g_assert_cmpuint (config.size, ==, 0);
  g_assert_cmpuint (config.u.bitmap[0], ==, 0);
  g_assert_cmpuint (f->rig->n_config_changed, ==, 0);
}

static void
test_reset_forgets_the_selectors_only (Fixture *f, gconstpointer data)
{
  const guint8 select[] = { 1, 0 };
  const guint32 actual = GUINT32_TO_LE (9);

  open_input (f);
  write_bytes (f, 0, select, 2);
  g_assert_cmpuint (f->rig->dev->config.bytes[2], ==, 16);
  vt_rig_reset (f->rig);
  g_assert_cmpmem (f->rig->dev->config.bytes, 3, "\0\0\0", 3);
  g_clear_pointer (&f->rig, vt_rig_free);
  open_balloon (f, "num_pages le32 ro 0; actual le32 rw");
  write_bytes (f, 4, &actual, 4);
  vt_rig_reset (f->rig);
  g_assert_cmpuint (read_le32 (f, 4), ==, 9);
}

static void
test_driver_writes_are_logged_once (Fixture *f, gconstpointer data)
{
  open_balloon (f, "num_pages le32 ro 0; actual le32 rw; s string[8] rw");
  for (guint32 i = 1; i <= 1000; i++) {
    guint32 le = GUINT32_TO_LE (i);

    write_bytes (f, 4, &le, 4);
  }
  write_bytes (f, 8, "a\nb", 3);
  wait_for_lines (f, 2);
  g_assert_cmpstr (f->lines->pdata[0], ==,
                   "test: config actual = 1000 (was 0)");
  g_assert_cmpstr (f->lines->pdata[1], ==,
                   "test: config s = \"a\\nb\" (was \"\")");
  write_bytes (f, 4, "\5\0\0\0", 4);
  wait_for_lines (f, 3);
  g_assert_cmpstr (f->lines->pdata[2], ==,
                   "test: config actual = 5 (was 1000)");
}

static void
test_a_driver_that_never_rests_is_logged (Fixture *f, gconstpointer data)
{
  gint64 start = g_get_monotonic_time ();
  guint32 i = 0;

  open_balloon (f, "num_pages le32 ro 0; actual le32 rw");
  while (f->lines->len == 0) {
    i++;
    write_bytes (f, 4, &i, 4);
    g_main_context_iteration (NULL, FALSE);
    g_assert_cmpint (g_get_monotonic_time () - start, <, 10 * G_USEC_PER_SEC);
  }
}

static void
test_what_changed_back_is_not_logged (Fixture *f, gconstpointer data)
{
  open_balloon (f, "num_pages le32 ro 0; actual le32 rw; other u8 rw");
  write_bytes (f, 4, "\5", 1);
  write_bytes (f, 4, "\0", 1);
  write_bytes (f, 8, "\1", 1);
  wait_for_lines (f, 1);
  g_assert_cmpstr (f->lines->pdata[0], ==, "test: config other = 1 (was 0)");
}

static void
test_closing_logs_what_is_held_back (Fixture *f, gconstpointer data)
{
  open_balloon (f, "num_pages le32 ro 0; actual le32 rw");
  write_bytes (f, 4, "\5", 1);
  g_clear_pointer (&f->rig, vt_rig_free);
  g_assert_cmpuint (f->lines->len, ==, 1);
}

static void
test_selecting_a_page_is_not_news (Fixture *f, gconstpointer data)
{
  open_input (f);
  write_bytes (f, 0, "\1", 1);
  g_clear_pointer (&f->rig, vt_rig_free);
  g_assert_cmpuint (f->lines->len, ==, 0);
}

static void
test_reload_changes_what_the_file_changed (Fixture *f, gconstpointer data)
{
  g_autoptr (GError) error = NULL;

  open_balloon (f, "num_pages le32 ro 0; actual le32 rw");
  write_bytes (f, 4, "\5", 1);
  g_assert_true (
      reload (f, "config", "num_pages le32 ro 4096; actual le32 rw", &error));
  g_assert_no_error (error);
  g_assert_cmpuint (read_le32 (f, 0), ==, 4096);
  g_assert_cmpuint (read_le32 (f, 4), ==, 5);
  g_assert_cmpuint (f->rig->n_config_changed, ==, 1);

  g_assert_true (reload (f, NULL, NULL, &error));
  g_assert_cmpuint (f->rig->n_config_changed, ==, 1);

  g_assert_true (
      reload (f, "config", "num_pages le32 ro 4096; actual le32 rw 1", &error));
  g_assert_cmpuint (read_le32 (f, 4), ==, 1);
  g_assert_cmpuint (f->rig->n_config_changed, ==, 2);
  /* The guest's write before the reload, and no change of ours. */
  g_assert_cmpuint (f->lines->len, ==, 1);
}

static void
test_reload_turns_the_page_that_is_shown (Fixture *f, gconstpointer data)
{
  open_input (f);
  g_assert_true (reload (f, "page.1", "string x", NULL));
  g_assert_cmpuint (f->rig->n_config_changed, ==, 0);
  write_bytes (f, 0, "\1", 1);
  g_assert_cmpmem (f->rig->dev->config.bytes + 8, 2, "x\0", 2);
  g_assert_true (reload (f, "page.1", "string yy", NULL));
  g_assert_cmpmem (f->rig->dev->config.bytes + 8, 3, "yy\0", 3);
  g_assert_cmpuint (f->rig->dev->config.bytes[2], ==, 2);
  g_assert_cmpuint (f->rig->n_config_changed, ==, 1);
}

static void
test_reload_of_another_layout_changes_nothing (Fixture *f, gconstpointer data)
{
  g_autoptr (GError) error = NULL;

  open_balloon (f, "num_pages le32 ro 0; actual le32 rw");
  g_assert_false (
      reload (f, "config", "actual le32 rw; num_pages le32 ro 7", &error));
  g_assert_cmpstr (error->message, ==,
                   "test: config=actual le32 rw; num_pages le32 ro 7: field "
                   "'num_pages': a running driver keeps the names, types, "
                   "order and access of its fields");
  g_assert_cmpuint (read_le32 (f, 0), ==, 0);
  g_assert_cmpuint (f->rig->n_config_changed, ==, 0);
}

static void
test_config_file_is_read_again_on_reload (Fixture *f, gconstpointer data)
{
  g_autofree char *dir = g_dir_make_tmp ("virtiod-generic-XXXXXX", NULL);
  g_autofree char *path = g_build_filename (dir, "config", NULL);
  g_autoptr (GError) error = NULL;

  g_assert_true (g_file_set_contents (path, "\1\0\0\0\2", 5, NULL));
  f->rig = vt_rig_open (f->guest, &vd_generic_ops, &error, "virtio-id", "60",
                        "config-file", path, "config", "a le32; b u8 rw",
                        "config-size", "8", NULL);
  g_assert_no_error (error);
  g_assert_cmpmem (f->rig->dev->config.bytes, 8, "\1\0\0\0\2\0\0\0", 8);
  write_bytes (f, 4, "\7", 1);
  g_assert_true (g_file_set_contents (path, "\3\0\0\0\2\0\11", 7, NULL));
  g_assert_true (reload (f, NULL, NULL, &error));
  g_assert_cmpmem (f->rig->dev->config.bytes, 8, "\3\0\0\0\7\0\11\0", 8);
  g_assert_cmpuint (f->rig->n_config_changed, ==, 1);
  g_assert_true (g_file_set_contents (path, "123456789", 9, NULL));
  g_assert_false (reload (f, NULL, NULL, &error));
  g_assert_cmpmem (f->rig->dev->config.bytes, 8, "\3\0\0\0\7\0\11\0", 8);
  g_remove (path);
  g_clear_error (&error);
  g_assert_false (reload (f, NULL, NULL, &error));
  g_assert_nonnull (error);
  g_rmdir (dir);
}

static void
test_hex_lies_under_the_fields (Fixture *f, gconstpointer data)
{
  f->rig =
      vt_rig_open (f->guest, &vd_generic_ops, NULL, "virtio-id", "60",
                   "config-hex", "01 02 03 04", "config", "a u8 ro 9", NULL);
  g_assert_nonnull (f->rig);
  g_assert_cmpmem (f->rig->dev->config.bytes, 4, "\11\2\3\4", 4);
}

static void
test_a_big_config_space_is_mentioned (Fixture *f, gconstpointer data)
{
  f->rig = vt_rig_open (f->guest, &vd_generic_ops, NULL, "virtio-id", "60",
                        "config-size", "257", NULL);
  g_assert_nonnull (f->rig);
  g_assert_cmpuint (f->lines->len, ==, 1);
  g_assert_cmpstr (f->lines->pdata[0], ==,
                   "test: config space has 257 bytes; QEMU reads at most 256");
}

static void
test_dump_shows_fields_and_queues (Fixture *f, gconstpointer data)
{
  g_autoptr (GString) text = g_string_new (NULL);

  f->rig = vt_rig_open (
      f->guest, &vd_generic_ops, NULL, "virtio-id", "60", "config",
      "a le32 ro 5; _ u8; m mac ro 52:54:00:12:34:56", "queue.0", "hold", NULL);
  g_assert_nonnull (f->rig);
  vd_generic_ops.dump (f->rig->dev, text);
  g_assert_cmpstr (text->str, ==,
                   "config a: 5\nconfig m: 52:54:00:12:34:56\n"
                   "queue 0: hold, 0 chains, 0 bytes, 0 dropped\n");
}

static void
test_mistakes_are_found_by_check_and_open (Fixture *f, gconstpointer data)
{
  static const struct {
    const char *key, *value, *message;
  } cases[] = {
    { "virtio-id", "0", "test: virtio-id=0: not a number, 1 to 65535" },
    { "features", "32",
      "test: features=32: '32': bits 24 to 49 belong to the ring and the "
      "transport" },
    { "config", "a u9",
      "test: config=a u9: field 'a': 'u9' is not a type (u8, le16, le32, le64, "
      "be16, be32, be64, bytes[n], string[n], bits[n], mac or uuid)" },
    { "config", "s u8 rw select",
      "test: config=s u8 rw select: a window needs a field that selects and "
      "one that is the page" },
    { "config-hex", "0",
      "test: config-hex=0: '0' is not pairs of hexadecimal "
      "digits" },
    { "config-size", "4085",
      "test: config-size=4085: not a number, 1 to 4084" },
    { "page.1", "u8 1",
      "test: page.1=u8 1: no field of the key config "
      "selects a page" },
    { "queue.1", "drain",
      "test: queue.1=drain: there are only 1 queues, from 0 on" },
    { "queeu.0", "drain",
      "test: queeu.0=drain: unknown key; did you mean 'queue.*'?" },
  };

  for (guint i = 0; i < G_N_ELEMENTS (cases); i++) {
    g_autoptr (VdOptions) options = vd_options_new ("test", NULL);
    g_autoptr (GError) error = NULL;

    vd_options_set (options, "socket", "s", NULL);
    vd_options_set (options, cases[i].key, cases[i].value, NULL);
    if (!g_str_equal (cases[i].key, "virtio-id"))
      vd_options_set (options, "virtio-id", "60", NULL);
    g_assert_false (vd_device_check (&vd_generic_ops, options, &error));
    g_assert_cmpstr (error->message, ==, cases[i].message);
    g_assert_null (vd_device_open (&vd_generic_ops, "x", options, NULL));
  }
}

static void
test_sizes_that_clash_are_refused (Fixture *f, gconstpointer data)
{
  g_autoptr (GError) small = NULL, both = NULL;

  g_assert_null (vt_rig_open (f->guest, &vd_generic_ops, &small, "virtio-id",
                              "60", "config", "a le32", "config-size", "3",
                              NULL));
  g_assert_cmpstr (small->message, ==,
                   "test: config-size=3: the config space needs 4 bytes");
  g_assert_null (vt_rig_open (f->guest, &vd_generic_ops, &both, "virtio-id",
                              "60", "config-hex", "00", "config-file", "/x",
                              NULL));
  g_assert_cmpstr (both->message, ==,
                   "test: config-hex=00: not together with config-file");
}

int
main (int argc, char **argv)
{
  g_test_init (&argc, &argv, NULL);
#define ADD(name, func)                                                        \
  g_test_add ("/generic/" name, Fixture, NULL, set_up, func, tear_down)
  ADD ("balloon", test_a_balloon_is_what_its_keys_say);
  ADD ("no-config", test_a_device_without_config_offers_none);
  ADD ("input", test_a_driver_probes_an_input_device);
  ADD ("reset", test_reset_forgets_the_selectors_only);
  ADD ("log/once", test_driver_writes_are_logged_once);
  ADD ("log/flood", test_a_driver_that_never_rests_is_logged);
  ADD ("log/back", test_what_changed_back_is_not_logged);
  ADD ("log/close", test_closing_logs_what_is_held_back);
  ADD ("log/select", test_selecting_a_page_is_not_news);
  ADD ("reload/fields", test_reload_changes_what_the_file_changed);
  ADD ("reload/pages", test_reload_turns_the_page_that_is_shown);
  ADD ("reload/layout", test_reload_of_another_layout_changes_nothing);
  ADD ("reload/file", test_config_file_is_read_again_on_reload);
  ADD ("hex", test_hex_lies_under_the_fields);
  ADD ("big", test_a_big_config_space_is_mentioned);
  ADD ("dump", test_dump_shows_fields_and_queues);
  ADD ("mistakes", test_mistakes_are_found_by_check_and_open);
  ADD ("sizes", test_sizes_that_clash_are_refused);
  return g_test_run ();
}
