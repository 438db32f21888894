/* SPDX-License-Identifier: BSD-3-Clause
 *
 * test-reload.c - SIGHUP and SIGUSR1: what a connected driver sees of a changed
 * key-file, and what it does not
 */
#include <glib/gstdio.h>
#include <signal.h>
#include <string.h>
#include <unistd.h>

#include "tests/lib/machine.h"

#define BALLOON "num_pages le32 ro 0; actual le32 rw"

typedef struct {
  VtDaemon *daemon;
  VtMachine *machine;
} Fixture;

static void
set_up (Fixture *f, gconstpointer data)
{
  f->daemon = vt_daemon_new ();
  vt_daemon_add (f->daemon, "mem", "generic", "virtio-id", "5", "queues", "2",
                 "queue.*", "loopback", "config", BALLOON, NULL);
  vt_daemon_start (f->daemon);
  f->machine = vt_machine_new (VT_ORDER_QEMU_11, 0, 2, 64);
  vt_machine_connect (f->machine, f->daemon, "mem", 8);
  vt_machine_start (f->machine);
}

static void
tear_down (Fixture *f, gconstpointer data)
{
  vt_machine_free (f->machine);
  vt_daemon_stop (f->daemon);
  vt_daemon_free (f->daemon);
}

static guint32
read_field (Fixture *f, guint offset)
{
  guint32 le;

  g_assert_true (vt_get_config (f->machine->fe, offset, &le, sizeof le));
  return GUINT32_FROM_LE (le);
}

static void
write_field (Fixture *f, guint offset, guint32 value)
{
  guint32 le = GUINT32_TO_LE (value);

  g_assert_true (vt_set_config (f->machine->fe, offset, &le, sizeof le, 0));
}

/* The queue of the driver that was started in set_up() still runs. */
static void
use_queue (Fixture *f)
{
  VtRing *ring = f->machine->rings[1];
  guint8 *mem = vt_guest_alloc (f->machine->guest, 16, 1);
  VtBuf bufs[] = { { mem, 8, FALSE }, { mem + 8, 8, TRUE } };

  memcpy (mem, "loopback", 8);
  g_assert_true (vt_ring_add (ring, bufs, 2, mem));
  vt_ring_kick (ring);
  g_assert_true (vt_ring_take (ring, NULL) == mem);
  g_assert_cmpmem (mem + 8, 8, "loopback", 8);
}

static void
reload (Fixture *f, const char *log)
{
  vt_daemon_reload (f->daemon);
  vt_daemon_wait_log (f->daemon, log);
}

static void
test_a_changed_field_reaches_the_driver (Fixture *f, gconstpointer data)
{
  write_field (f, 4, 77);
  vt_daemon_set (f->daemon, "mem", "config",
                 "num_pages le32 ro 4096; actual le32 rw");
  vt_daemon_reload (f->daemon);
  vt_wait_config_change (f->machine->fe);
  g_assert_cmpuint (read_field (f, 0), ==, 4096);
  g_assert_cmpuint (read_field (f, 4), ==, 77);
  use_queue (f);
}

static void
test_an_unchanged_file_changes_nothing (Fixture *f, gconstpointer data)
{
  reload (f, "reloaded: 1 devices");
  g_assert_cmpuint (vt_channel_receive (f->machine->fe, 50), ==, 0);
  use_queue (f);
}

static void
test_what_the_guest_writes_is_logged (Fixture *f, gconstpointer data)
{
  write_field (f, 4, 5);
  write_field (f, 4, 77);
  vt_daemon_wait_log (f->daemon, "mem: config actual = 77 (was 0)");
}

static void
test_devices_come_and_go (Fixture *f, gconstpointer data)
{
  g_autofree char *socket = vt_daemon_socket (f->daemon, "more");
  gsize len = f->daemon->key_file->len;
  VtFrontend *fe;

  vt_daemon_add (f->daemon, "more", "generic", "virtio-id", "4", NULL);
  reload (f, "reloaded: 2 devices");
  fe = vt_daemon_connect (f->daemon, "more");
  g_assert_cmpuint (vt_get_features (fe), !=, 0);
  g_string_truncate (f->daemon->key_file, len);
  reload (f, "more: removed");
  vt_wait_closed (fe);
  vt_frontend_free (fe);
  g_assert_cmpint (g_access (socket, F_OK), ==, -1);
  use_queue (f);
}

static void
test_a_key_that_is_not_live_is_refused (Fixture *f, gconstpointer data)
{
  vt_daemon_set (f->daemon, "mem", "queues", "3");
  reload (f, "reload: mem: queues cannot change while the device is served");
  use_queue (f);
}

static void
test_another_layout_is_refused (Fixture *f, gconstpointer data)
{
  vt_daemon_set (f->daemon, "mem", "config", "actual le32 rw");
  reload (f, "a running driver keeps its 2 fields");
  write_field (f, 4, 5);
  g_assert_cmpuint (read_field (f, 4), ==, 5);
  use_queue (f);
}

static void
test_a_broken_file_changes_nothing (Fixture *f, gconstpointer data)
{
  vt_daemon_set (f->daemon, "mem", "config",
                 "num_pages le32 ro 4096; actual le32 rw");
  vt_daemon_add (f->daemon, "bad", "blkk", NULL);
  reload (f, "reload: nothing is changed: ");
  vt_daemon_wait_log (f->daemon, "virtiod.conf: [device bad]: kind=blkk: "
                                 "unknown kind; did you mean 'blk'?");
  g_assert_cmpuint (read_field (f, 0), ==, 0);
  use_queue (f);
}

static void
test_the_dump_shows_fields_and_counters (Fixture *f, gconstpointer data)
{
  write_field (f, 4, 77);
  use_queue (f);
  vt_daemon_signal (f->daemon, SIGUSR1);
  vt_daemon_wait_log (f->daemon, "mem: config num_pages: 0\n");
  vt_daemon_wait_log (f->daemon, "mem: config actual: 77\n");
  vt_daemon_wait_log (f->daemon,
                      "mem: queue 1: loopback, 1 chains, 8 bytes, 0 dropped\n");
}

int
main (int argc, char **argv)
{
  g_test_init (&argc, &argv, NULL);
#define ADD(name, func)                                                        \
  g_test_add ("/reload/" name, Fixture, NULL, set_up, func, tear_down)
  ADD ("field", test_a_changed_field_reaches_the_driver);
  ADD ("unchanged", test_an_unchanged_file_changes_nothing);
  ADD ("written", test_what_the_guest_writes_is_logged);
  ADD ("devices", test_devices_come_and_go);
  ADD ("fixed", test_a_key_that_is_not_live_is_refused);
  ADD ("layout", test_another_layout_is_refused);
  ADD ("broken", test_a_broken_file_changes_nothing);
  ADD ("dump", test_the_dump_shows_fields_and_counters);
  return g_test_run ();
}
