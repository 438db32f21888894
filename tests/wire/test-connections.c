/* SPDX-License-Identifier: BSD-3-Clause
 *
 * test-connections.c - connections that come, go, stall and share one process
 */
#include <glib/gstdio.h>
#include <signal.h>
#include <string.h>
#include <sys/socket.h>
#include <unistd.h>

#include "build-options.h"
#include "tests/wire/slow-disk.h"
#include "vring/fd.h"

#if VD_HAVE_FS
#include "tests/devices/fs/fuse-client.h"
#endif

#if defined __SANITIZE_ADDRESS__ || defined __SANITIZE_THREAD__
#define SLOWER 20 /* how much slower a daemon with sanitizers may be */
#else
#define SLOWER 1
#endif

typedef struct {
  VtDaemon *daemon;
  char *image, *image2;
} Fixture;

static void
set_up (Fixture *f, gconstpointer data)
{
  f->daemon = vt_daemon_new ();
  f->image = vt_daemon_image (f->daemon, "disk.img", 1 << 20);
  f->image2 = vt_daemon_image (f->daemon, "disk2.img", 1 << 20);
}

static void
tear_down (Fixture *f, gconstpointer data)
{
  vt_daemon_stop (f->daemon);
  vt_daemon_free (f->daemon);
  g_free (f->image);
  g_free (f->image2);
}

static void
read_sector (VtRing *ring, guint64 sector)
{
  guint64 data[64];

  g_assert_cmpuint (vt_blk_read (ring, sector, data, sizeof data), ==,
                    VIRTIO_BLK_S_OK);
  for (guint i = 0; i < G_N_ELEMENTS (data); i++)
    g_assert_cmphex (data[i], ==, sector << 8 | i);
}

static VtMachine *
machine (VtOrder order)
{
  return vt_machine_new (order, VT_RING_EVENT_IDX | VT_RING_INDIRECT, 1, 64);
}

/* A life of a guest on a connected socket. */
static void
live (int fd, VtOrder order)
{
  g_autoptr (VtMachine) m = machine (order);

  vt_machine_hello (m, fd, 60);
  vt_machine_start (m);
  for (guint i = 0; i < 5; i++)
    read_sector (m->rings[0], i);
  if (order % 2) /* others go without a word */
    vt_machine_stop (m);
}

/* --- Roles --- */

static void
test_client_connects_again_and_again (Fixture *f, gconstpointer data)
{
  g_autofree char *path = vt_daemon_path (f->daemon, "vmm.sock");
  g_autofree char *socket = g_strconcat ("connect:", path, NULL);
  vd_autofd listener = -1;

  vt_daemon_add (f->daemon, "disk", "blk", "image", f->image, "socket", socket,
                 NULL);
  vt_daemon_start (f->daemon); /* nobody listens yet */
  vt_daemon_wait_log (f->daemon, path);
  for (guint round = 0; round < 3; round++) {
    listener = vt_listen (path);
    for (guint i = 0; i < 4; i++)
      live (vt_accept (listener), (round + i) % VT_N_ORDERS);
    vd_clear_fd (&listener);
    g_assert_no_errno (g_unlink (path));
  }
}

static void
test_inherited_listening_socket (Fixture *f, gconstpointer data)
{
  g_autofree char *path = vt_daemon_path (f->daemon, "inherited.sock");
  g_autofree char *socket = NULL;
  vd_autofd listener = vt_listen (path);

  socket = g_strdup_printf ("fd:%d", vt_daemon_inherit (f->daemon, listener));
  vt_daemon_add (f->daemon, "disk", "blk", "image", f->image, "socket", socket,
                 NULL);
  vt_daemon_start (f->daemon);
  vd_clear_fd (&listener);
  for (VtOrder order = 0; order < VT_N_ORDERS; order++)
    live (vt_connect (path), order);
}

static void
test_inherited_connected_socket (Fixture *f, gconstpointer data)
{
  g_autofree char *socket = NULL;
  g_autoptr (VtMachine) m = machine (VT_ORDER_QEMU_11);
  int pair[2];

  g_assert_no_errno (socketpair (AF_UNIX, SOCK_STREAM | SOCK_CLOEXEC, 0, pair));
  socket = g_strdup_printf ("fd:%d", vt_daemon_inherit (f->daemon, pair[1]));
  vt_daemon_add (f->daemon, "disk", "blk", "image", f->image, "socket", socket,
                 NULL);
  vt_daemon_start (f->daemon);
  close (pair[1]);
  vt_machine_hello (m, pair[0], 60);
  vt_machine_start (m);
  read_sector (m->rings[0], 9);
}

/* --- Coming and going --- */

#if VD_HAVE_FS

static void
live_with_share (VtDaemon *daemon, guint round)
{
  g_autoptr (VtMachine) m =
      vt_machine_new (round % (VT_ORDER_UML_7 + 1),
                      VT_RING_EVENT_IDX | VT_RING_INDIRECT, 2, 64);
  VtFuse fuse;
  guint64 nodeid;

  vt_fuse_init_client (&fuse, m->rings[1]);
  vt_machine_connect (m, daemon, "share", 40);
  vt_machine_start (m);
  g_assert_cmpint (vt_fuse_init (&fuse, 0), ==, 0);
  g_assert_cmpint (vt_fuse_lookup (&fuse, 1, "file", &nodeid, NULL), ==, 0);
  if (round % 2)
    vt_machine_stop (m);
}

#endif

static void
live_with_toy (VtDaemon *daemon, guint round)
{
  g_autoptr (VtMachine) m = machine (round % (VT_ORDER_UML_7 + 1));
  guint8 *mem = vt_guest_alloc (m->guest, 16, 1);
  VtBuf buf = { mem, 16, TRUE };

  vt_machine_connect (m, daemon, "toy", 4);
  vt_machine_start (m);
  g_assert_true (vt_ring_add (m->rings[0], &buf, 1, mem));
  vt_ring_kick (m->rings[0]);
  vt_ring_take (m->rings[0], NULL);
}

static void
add_toy_and_share (Fixture *f)
{
  vt_daemon_add (f->daemon, "toy", "generic", "virtio-id", "4", "queue.0",
                 "source=zero", "config", "a le32 rw", NULL);
#if VD_HAVE_FS
  g_autofree char *share = vt_daemon_path (f->daemon, "share");
  g_autofree char *file = g_build_filename (share, "file", NULL);

  g_assert_no_errno (g_mkdir (share, 0755));
  g_assert_true (g_file_set_contents (file, "x", 1, NULL));
  vt_daemon_add (f->daemon, "share", "fs", "source", share, NULL);
#endif
}

static void
live_with_all (Fixture *f, guint round)
{
  g_autofree char *path = vt_daemon_socket (f->daemon, "disk");

  live (vt_connect (path), round % VT_N_ORDERS);
  live_with_toy (f->daemon, round);
#if VD_HAVE_FS
  live_with_share (f->daemon, round);
#endif
}

/* A hundred guests leave nothing behind, whether they say goodbye or not. */
static void
test_hundred_guests_leave_nothing_behind (Fixture *f, gconstpointer data)
{
  VtUsage usage;

  vt_daemon_add (f->daemon, "disk", "blk", "image", f->image, NULL);
  add_toy_and_share (f);
  vt_daemon_start (f->daemon);
  for (guint i = 0; i < VT_N_ORDERS; i++) /* what is kept is made now */
    live_with_all (f, i);
  usage = vt_daemon_usage (f->daemon);
  usage.n_maps += VT_MAPS_SLACK;
  for (guint i = 0; i < 100; i++)
    live_with_all (f, i);
  vt_daemon_wait_usage (f->daemon, usage);
}

/* Two guests on two devices of one process; one of them comes and goes. */
static void
test_two_guests_do_not_notice_each_other (Fixture *f, gconstpointer data)
{
  g_autoptr (VtMachine) steady = machine (VT_ORDER_UML_7);
  g_autofree char *path = vt_daemon_socket (f->daemon, "disk");

  vt_daemon_add (f->daemon, "disk", "blk", "image", f->image, NULL);
  vt_daemon_add (f->daemon, "disk2", "blk", "image", f->image2, NULL);
  vt_daemon_start (f->daemon);
  vt_machine_connect (steady, f->daemon, "disk2", 60);
  vt_machine_start (steady);
  for (guint i = 0; i < 20; i++) {
    g_autoptr (VtMachine) other = machine (i % VT_N_ORDERS);
    g_autofree VtBlkRequest *request =
        vt_blk_request_new (steady->guest, VIRTIO_BLK_T_IN, i, 512);

    vt_machine_hello (other, vt_connect (path), 60);
    g_assert_true (vt_blk_add (steady->rings[0], request));
    vt_machine_start (other);
    vt_ring_kick (steady->rings[0]);
    read_sector (other->rings[0], i);
    g_assert_true (vt_ring_take (steady->rings[0], NULL) == request);
    read_sector (steady->rings[0], i);
    vt_machine_disconnect (other);
    read_sector (steady->rings[0], i + 1);
  }
}

/* --- Config changes --- */

static void
set_pages (VtDaemon *daemon, guint value)
{
  g_autofree char *config =
      g_strdup_printf ("num_pages le32 ro %u; actual le32 rw", value);

  vt_daemon_set (daemon, "toy", "config", config);
  vt_daemon_reload (daemon);
}

static guint32
get_pages (VtFrontend *fe)
{
  guint32 value;

  g_assert_true (vt_get_config (fe, 0, &value, sizeof value));
  return GUINT32_FROM_LE (value);
}

static void
add_balloon (Fixture *f)
{
  vt_daemon_add (f->daemon, "toy", "generic", "virtio-id", "5", "config",
                 "num_pages le32 ro 0; actual le32 rw", NULL);
  vt_daemon_start (f->daemon);
}

static void
test_sighup_tells_the_driver (Fixture *f, gconstpointer data)
{
  VtOrder order = GPOINTER_TO_UINT (data);
  g_autoptr (VtMachine) m = machine (order);
  guint32 actual;

  add_balloon (f);
  vt_machine_connect (m, f->daemon, "toy", 8);
  vt_machine_start (m);
  for (guint i = 1; i <= 3; i++) {
    set_pages (f->daemon, 100 * i);
    vt_wait_config_change (m->fe);
    g_assert_cmpuint (get_pages (m->fe), ==, 100 * i);
    actual = GUINT32_TO_LE (100 * i); /* the guest answers */
    g_assert_true (vt_set_config (m->fe, 4, &actual, 4, 0));
  }
  vt_daemon_reload (f->daemon); /* nothing changed */
  vt_barrier (m->fe);
  g_assert_cmpuint (vt_channel_receive (m->fe, 50), ==, 0);
  g_assert_cmpuint (m->fe->n_config_changes, ==, 3);
}

/* Front-ends without a channel, and those that come later, see the new value
 * all the same. */
static void
test_sighup_without_a_channel (Fixture *f, gconstpointer data)
{
  g_autoptr (VtMachine) m = machine (VT_ORDER_UML_7);

  add_balloon (f);
  m->fe = vt_daemon_connect (f->daemon, "toy");
  m->fe->reply_mode = VT_REPLY_SETS;
  vt_set_owner (m->fe);
  vt_get_features (m->fe);
  vt_set_protocol_features (m->fe, 1 << VD_PROTOCOL_F_CONFIG |
                                       1 << VD_PROTOCOL_F_REPLY_ACK);
  set_pages (f->daemon, 7);
  while (get_pages (m->fe) != 7)
    g_usleep (1000);
  vt_machine_disconnect (m);
  vt_machine_connect (m, f->daemon, "toy", 8);
  g_assert_cmpuint (get_pages (m->fe), ==, 7);
}

static void
test_bad_key_file_changes_nothing (Fixture *f, gconstpointer data)
{
  g_autoptr (VtMachine) m = machine (VT_ORDER_QEMU_11);

  add_balloon (f);
  vt_machine_connect (m, f->daemon, "toy", 8);
  vt_machine_start (m);
  set_pages (f->daemon, 5);
  vt_wait_config_change (m->fe);
  vt_daemon_set (f->daemon, "toy", "config", "num_pages le33");
  vt_daemon_reload (f->daemon);
  vt_daemon_wait_log (f->daemon, "le33");
  g_assert_cmpuint (get_pages (m->fe), ==, 5);
  set_pages (f->daemon, 6);
  vt_wait_config_change (m->fe);
  g_assert_cmpuint (get_pages (m->fe), ==, 6);
}

/* --- Stalls --- */

static int
compare (gconstpointer a, gconstpointer b)
{
  const gint64 *x = a, *y = b;

  return (*x > *y) - (*x < *y);
}

/* Returns: the median of some round trips, in microseconds. */
static gint64
measure (VtFrontend *fe, VtRing *ring)
{
  gint64 times[201];

  for (guint i = 0; i < G_N_ELEMENTS (times); i++) {
    gint64 begin = g_get_monotonic_time ();

    if (ring)
      read_sector (ring, i);
    else
      vt_barrier (fe);
    times[i] = g_get_monotonic_time () - begin;
  }
  qsort (times, G_N_ELEMENTS (times), sizeof times[0], compare);
  return times[G_N_ELEMENTS (times) / 2];
}

/* While one connection waits for the rest of a message, and another for a
 * request that its disk holds, a third device answers at once. */
static void
test_stalled_connections_delay_nobody (VtSlowDisk *f, gconstpointer data)
{
  VdWireHeader half = { VD_SET_MEM_TABLE, VD_WIRE_VERSION, 40 };
  g_autoptr (VtMachine) fast = machine (VT_ORDER_QEMU_11);
  g_autoptr (VtFrontend) stalled = vt_daemon_connect (f->daemon, "toy");
  gint64 message_us, request_us;

  vt_machine_connect (f->vm, f->daemon, "slow", 60);
  vt_machine_start (f->vm);
  vt_machine_connect (fast, f->daemon, "fast", 60);
  vt_machine_start (fast);

  g_assert_true (vt_send_bytes (stalled, &half, sizeof half - 5, NULL, 0));
  vt_slow_disk_begin (f, f->vm->rings[0], 2);
  vt_send_get_vring_base (f->vm->fe, 0);
  message_us = measure (fast->fe, NULL);
  request_us = measure (NULL, fast->rings[0]);
  g_test_message ("while others stall: %" G_GINT64_FORMAT
                  " us a message, %" G_GINT64_FORMAT " us a request",
                  message_us, request_us);
  g_assert_cmpint (message_us, <, 2000 * SLOWER);
  g_assert_cmpint (request_us, <, 2000 * SLOWER);

  g_assert_true (vt_is_silent (f->vm->fe, 0));
  vt_fault_release (f->fs);
  g_assert_cmpuint (vt_receive_vring_base (f->vm->fe, 0), ==, 3);
  vt_slow_disk_end (f, f->vm->rings[0], 2);
}

int
main (int argc, char **argv)
{
  g_test_init (&argc, &argv, NULL);
  vt_slow_disk_prepare ();
#define ADD(name, data, func)                                                  \
  g_test_add ("/connections/" name, Fixture, data, set_up, func, tear_down)
  ADD ("role/client", NULL, test_client_connects_again_and_again);
  ADD ("role/listening-fd", NULL, test_inherited_listening_socket);
  ADD ("role/connected-fd", NULL, test_inherited_connected_socket);
  ADD ("guests/hundred", NULL, test_hundred_guests_leave_nothing_behind);
  ADD ("guests/two", NULL, test_two_guests_do_not_notice_each_other);
  for (guint order = 0; order < VT_N_ORDERS; order++) {
    g_autofree char *path =
        g_strdup_printf ("/connections/sighup/%s", vt_order_name (order));

    if (order != VT_ORDER_LIBBLKIO) /* which has no channel */
      g_test_add (path, Fixture, GUINT_TO_POINTER (order), set_up,
                  test_sighup_tells_the_driver, tear_down);
  }
  ADD ("sighup/no-channel", NULL, test_sighup_without_a_channel);
  ADD ("sighup/mistake", NULL, test_bad_key_file_changes_nothing);
  vt_slow_disk_add ("/connections/stall",
                    test_stalled_connections_delay_nobody);
  return g_test_run ();
}
