/* SPDX-License-Identifier: BSD-3-Clause
 *
 * test-config-restore.c - SET_CONFIG with flags 1: the incoming side of a
 * migration, where the user allows it, and a driver's write elsewhere
 */
#include <string.h>

#include "tests/lib/machine.h"

/* As virtio-input: what "text" shows is chosen by "select". */
#define LAYOUT "a le32 ro 1; b le16 rw 2; select u8 rw select; text u8 ro page"
#define LEN    8

static const guint8 brought[LEN] = { 9, 8, 7, 6, 5, 4, 1, 'x' };
static const guint8 restored[LEN] = { 9, 8, 7, 6, 5, 4, 1, 'p' };
static const guint8 written[LEN] = { 1, 0, 0, 0, 5, 4, 1, 'p' };

typedef struct {
  VtDaemon *daemon;
  VtMachine *machine;
} Fixture;

/* @data: the device */
static void
set_up (Fixture *f, gconstpointer data)
{
  f->daemon = vt_daemon_new ();
  vt_daemon_add (f->daemon, "believes", "generic", "virtio-id", "42", "config",
                 LAYOUT, "page.1", "string p", "config-restore", "yes", NULL);
  vt_daemon_add (f->daemon, "doubts", "generic", "virtio-id", "42", "config",
                 LAYOUT, "page.1", "string p", NULL);
  vt_daemon_start (f->daemon);
  f->machine = vt_machine_new (VT_ORDER_QEMU_11, 0, 1, 64);
  vt_machine_connect (f->machine, f->daemon, data, LEN);
  f->machine->fe->reply_mode = VT_REPLY_SETS;
}

static void
tear_down (Fixture *f, gconstpointer data)
{
  vt_machine_free (f->machine);
  vt_daemon_stop (f->daemon);
  vt_daemon_free (f->daemon);
}

static void
check_write (Fixture *f, guint32 flags, const guint8 *expected)
{
  guint8 now[LEN];

  g_assert_true (vt_set_config (f->machine->fe, 0, brought, LEN, flags));
  g_assert_true (vt_get_config (f->machine->fe, 0, now, LEN));
  g_assert_cmpmem (now, LEN, expected, LEN);
}

static void
test_a_stopped_device_takes_all_bytes (Fixture *f, gconstpointer data)
{
  check_write (f, VD_CONFIG_FLAG_WRITABLE, written);
  check_write (f, VD_CONFIG_FLAG_MIGRATION, restored);
}

/* A window of the space, at its place. */
static void
test_a_window_is_restored_at_its_place (Fixture *f, gconstpointer data)
{
  guint8 now[LEN];

  g_assert_true (vt_set_config (f->machine->fe, 1, brought, 2, 1));
  g_assert_true (vt_get_config (f->machine->fe, 0, now, LEN));
  g_assert_cmpmem (now, 4, "\1\11\10", 4);
  g_assert_false (vt_set_config (f->machine->fe, 1, brought, LEN, 1));
  g_assert_true (vt_get_config (f->machine->fe, 0, now, LEN));
  g_assert_cmpmem (now, 4, "\1\11\10", 4);
}

static void
test_a_started_ring_makes_it_a_drivers_write (Fixture *f, gconstpointer data)
{
  vt_machine_start (f->machine);
  check_write (f, VD_CONFIG_FLAG_MIGRATION, written);
  vt_machine_stop (f->machine);
  check_write (f, VD_CONFIG_FLAG_MIGRATION, restored);
}

static void
test_without_the_key_it_is_a_drivers_write (Fixture *f, gconstpointer data)
{
  check_write (f, VD_CONFIG_FLAG_MIGRATION, written);
}

int
main (int argc, char **argv)
{
  g_test_init (&argc, &argv, NULL);
#define ADD(path, device, func)                                                \
  g_test_add ("/config-restore/" path, Fixture, device, set_up, func, tear_down)
  ADD ("stopped", "believes", test_a_stopped_device_takes_all_bytes);
  ADD ("window", "believes", test_a_window_is_restored_at_its_place);
  ADD ("started", "believes", test_a_started_ring_makes_it_a_drivers_write);
  ADD ("no-key", "doubts", test_without_the_key_it_is_a_drivers_write);
  return g_test_run ();
}
