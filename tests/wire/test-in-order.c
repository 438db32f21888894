/* SPDX-License-Identifier: BSD-3-Clause
 *
 * test-in-order.c - a disk that gives its requests back in their order
 */
#include "tests/lib/blk.h"
#include "tests/lib/machine.h"

#define F_IN_ORDER (1ull << 35)
#define IMAGE      (1u << 20)
#define N          32

static VtDaemon *
start_daemon (const char *in_order)
{
  VtDaemon *daemon = vt_daemon_new ();
  g_autofree char *image = vt_daemon_image (daemon, "disk.img", IMAGE);

  vt_daemon_add (daemon, "disk", "blk", "image", image, "in-order", in_order,
                 NULL);
  vt_daemon_start (daemon);
  return daemon;
}

/* Requests of all sizes, so that later ones are done before earlier ones. */
static void
run_mixed (VtMachine *machine)
{
  VtBlkRequest *requests[N];

  for (guint i = 0; i < N; i++)
    requests[i] = vt_blk_request_new (
        machine->guest, i % 4 == 0 ? VIRTIO_BLK_T_FLUSH : VIRTIO_BLK_T_IN, 0,
        i % 4 == 0 ? 0 : 512u << (N - i) % 8);
  for (guint round = 0; round < 20; round++) {
    for (guint i = 0; i < N; i++)
      g_assert_true (vt_blk_add (machine->rings[0], requests[i]));
    vt_ring_kick (machine->rings[0]);
    for (guint i = 0; i < N; i++) {
      g_assert_true (vt_ring_take (machine->rings[0], NULL) == requests[i]);
      g_assert_cmpuint (*requests[i]->status, ==, VIRTIO_BLK_S_OK);
    }
  }
  for (guint i = 0; i < N; i++)
    g_free (requests[i]);
}

static void
test_requests_come_back_in_their_order (gconstpointer data)
{
  g_autoptr (VtDaemon) daemon = start_daemon ("yes");
  g_autoptr (VtMachine) machine = vt_machine_new (
      VT_ORDER_QEMU_11,
      VT_RING_INDIRECT | (VtRingFlags) GPOINTER_TO_UINT (data), 1, 64);

  vt_machine_connect (machine, daemon, "disk", 0);
  vt_machine_start (machine);
  g_assert_cmphex (machine->fe->acked & F_IN_ORDER, ==, F_IN_ORDER);
  run_mixed (machine);
  vt_machine_stop (machine);
  vt_machine_disconnect (machine);
  vt_daemon_stop (daemon);
}

static void
test_it_is_offered_only_if_asked_for (void)
{
  g_autoptr (VtDaemon) daemon = start_daemon ("no");
  g_autoptr (VtFrontend) fe = vt_daemon_connect (daemon, "disk");

  g_assert_cmphex (vt_get_features (fe) & F_IN_ORDER, ==, 0);
}

int
main (int argc, char **argv)
{
  g_test_init (&argc, &argv, NULL);
  g_test_add_data_func ("/in-order/disk/split", GUINT_TO_POINTER (0),
                        test_requests_come_back_in_their_order);
  g_test_add_data_func ("/in-order/disk/packed",
                        GUINT_TO_POINTER (VT_RING_PACKED),
                        test_requests_come_back_in_their_order);
  g_test_add_func ("/in-order/offer", test_it_is_offered_only_if_asked_for);
  return g_test_run ();
}
