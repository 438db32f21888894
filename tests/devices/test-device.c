/* SPDX-License-Identifier: BSD-3-Clause
 *
 * test-device.c - what devices/device.c promises to a kind
 */
#include "devices/device.h"

static gboolean was_closed, pool_was_gone;
static guint n_config_changed;

static const VdKey fake_keys[] = {
  { .name = "queues", .type = VD_KEY_UINT, .fallback = "5", .max = 9 },
  { .name = "fail", .type = VD_KEY_BOOL },
  { 0 },
};

static VdDevice *
fake_open (VdOptions *options, GError **error)
{
  VdDevice *dev;

  if (vd_options_bool (options, "fail")) {
    vd_options_set_error (options, "fail", error, "as you wish");
    return NULL;
  }
  dev = g_new0 (VdDevice, 1);
  dev->n_queues = (guint16) vd_options_uint (options, "queues");
  vd_config_init (&dev->config, 4);
  return dev;
}

static void
fake_close (VdDevice *dev)
{
  g_assert_cmpuint (dev->config.len, ==, 4); /* still there */
  pool_was_gone = dev->pool == NULL;
  was_closed = TRUE;
  g_free (dev);
}

static const VdDeviceOps fake_ops = {
  .kind = "fake",
  .keys = fake_keys,
  .open = fake_open,
  .close = fake_close,
};

static const VdDeviceOps plain_ops = {
  .kind = "plain",
  .open = fake_open,
  .close = fake_close,
};

static void
on_config_changed (VdDevice *dev)
{
  n_config_changed++;
}

/* @text: "key=value" words */
static VdOptions *
options_of (const char *text)
{
  VdOptions *options = vd_options_new ("test", NULL);
  g_auto (GStrv) words = g_strsplit (text, " ", -1);

  for (guint i = 0; words[i] != NULL; i++) {
    g_auto (GStrv) pair = g_strsplit (words[i], "=", 2);

    g_assert_true (vd_options_set (options, pair[0], pair[1], NULL));
  }
  return options;
}

static void
test_open_gives_all_that_a_device_needs (void)
{
  g_autoptr (VdOptions) options = options_of ("socket=s");
  g_autoptr (GError) error = NULL;
  g_autoptr (VdDevice) dev = vd_device_open (&fake_ops, "x", options, &error);

  g_assert_no_error (error);
  g_assert_true (dev->ops == &fake_ops);
  g_assert_cmpstr (dev->id, ==, "x");
  g_assert_true (dev->options == options);
  g_assert_nonnull (dev->pool);
  g_assert_cmpuint (dev->n_queues, ==, 5); /* the kind's own default */
  g_assert_cmpuint (vd_options_uint (options, "queue-size-max"), ==, 1024);
}

static void
test_close_frees_the_pool_first_and_the_config_last (void)
{
  g_autoptr (VdOptions) options = options_of ("socket=s");
  VdDevice *dev = vd_device_open (&fake_ops, "x", options, NULL);

  was_closed = pool_was_gone = FALSE;
  vd_device_close (dev);
  g_assert_true (was_closed);
  g_assert_true (pool_was_gone);
  vd_device_close (NULL);
}

static void
test_the_kinds_table_wins (void)
{
  g_autoptr (VdOptions) own = options_of ("socket=s queues=10");
  g_autoptr (GError) error = NULL;

  g_assert_null (vd_device_open (&fake_ops, "x", own, &error));
  g_assert_cmpstr (error->message, ==, "test: queues=10: not a number, 0 to 9");
}

static void
test_what_open_finds_is_passed_on (void)
{
  g_autoptr (VdOptions) options = options_of ("socket=s fail=yes");
  g_autoptr (GError) error = NULL;

  g_assert_null (vd_device_open (&fake_ops, "x", options, &error));
  g_assert_cmpstr (error->message, ==, "test: fail=yes: as you wish");
}

static void
test_common_keys_are_checked_for_a_kind_without_keys (void)
{
  static const struct {
    const char *text, *message;
  } cases[] = {
    { "queues=1", "test: socket: this key is required (PATH to listen on, "
                  "connect:PATH to connect to, or fd:N)" },
    { "socket=s queues=0", "test: queues=0: not a number, 1 to 1024" },
    { "socket=s queues=1025", "test: queues=1025: not a number, 1 to 1024" },
    { "socket=s queue-size-max=0",
      "test: queue-size-max=0: not a number, 1 to 32768" },
    { "socket=s queue-size-max=65536",
      "test: queue-size-max=65536: not a number, 1 to 32768" },
    { "socket=s queue-size-max=3",
      "test: queue-size-max=3: not a power of two" },
    { "socket=s fail=yes",
      "test: fail=yes: unknown key; --list-devices shows all keys" },
  };

  for (guint i = 0; i < G_N_ELEMENTS (cases); i++) {
    g_autoptr (VdOptions) options = options_of (cases[i].text);
    g_autoptr (GError) error = NULL;

    g_assert_false (vd_device_check (&plain_ops, options, &error));
    g_assert_cmpstr (error->message, ==, cases[i].message);
  }
}

static void
test_config_changes_reach_a_front_end_if_there_is_one (void)
{
  static const VdServices services = { .config_changed = on_config_changed };
  g_autoptr (VdOptions) options = options_of ("socket=s");
  g_autoptr (VdDevice) dev = vd_device_open (&fake_ops, "x", options, NULL);

  n_config_changed = 0;
  vd_device_config_changed (dev);
  g_assert_cmpuint (n_config_changed, ==, 0);
  dev->services = &services;
  vd_device_config_changed (dev);
  g_assert_cmpuint (n_config_changed, ==, 1);
  dev->services = NULL;
}

int
main (int argc, char **argv)
{
  g_test_init (&argc, &argv, NULL);
#define ADD(name, func) g_test_add_func ("/devices/device/" name, func)
  ADD ("open", test_open_gives_all_that_a_device_needs);
  ADD ("close", test_close_frees_the_pool_first_and_the_config_last);
  ADD ("table", test_the_kinds_table_wins);
  ADD ("error", test_what_open_finds_is_passed_on);
  ADD ("common", test_common_keys_are_checked_for_a_kind_without_keys);
  ADD ("config-changed", test_config_changes_reach_a_front_end_if_there_is_one);
  return g_test_run ();
}
