/* SPDX-License-Identifier: BSD-3-Clause
 *
 * test-inband.c - rings whose kicks and calls are messages
 */
#include "tests/lib/blk.h"
#include "tests/lib/daemon.h"

#define BIT(n)      (1ull << (n))
#define F_VERSION_1 BIT (32)
#define INBAND      BIT (VD_PROTOCOL_F_INBAND_NOTIFICATIONS)
#define NEEDED      (BIT (VD_PROTOCOL_F_REPLY_ACK) | BIT (VD_PROTOCOL_F_BACKEND_REQ))

typedef struct {
  VtDaemon *daemon;
  VtGuest *guest;
  VtRing *ring;
  VtFrontend *fe;
  char *image;
} Fixture;

static void
set_up (Fixture *f, gconstpointer inband)
{
  f->daemon = vt_daemon_new ();
  f->image = vt_daemon_image (f->daemon, "disk.img", 1 << 20);
  vt_daemon_add (f->daemon, "disk", "blk", "image", f->image,
                 "in-band-notifications", inband, NULL);
  vt_daemon_start (f->daemon);
  f->guest = vt_guest_new (1 << 20);
  f->ring = vt_ring_new (f->guest, 0, 64, 0);
  f->fe = vt_daemon_connect (f->daemon, "disk");
}

static void
tear_down (Fixture *f, gconstpointer data)
{
  vt_frontend_free (f->fe);
  vt_ring_free (f->ring);
  vt_guest_free (f->guest);
  vt_daemon_stop (f->daemon);
  vt_daemon_free (f->daemon);
  g_free (f->image);
}

/* Everything up to a running ring without descriptors. */
static void
start (Fixture *f)
{
  VtFrontend *fe = f->fe;

  vt_get_features (fe);
  g_assert_cmphex (vt_get_protocol_features (fe) & (INBAND | NEEDED), ==,
                   INBAND | NEEDED);
  g_assert_true (vt_set_protocol_features (fe, INBAND | NEEDED));
  fe->reply_mode = VT_REPLY_SETS;
  g_assert_true (vt_set_backend_req_fd (fe));
  g_assert_true (
      vt_set_features (fe, F_VERSION_1 | BIT (VD_F_PROTOCOL_FEATURES)));
  g_assert_true (vt_set_mem_table (fe, f->guest, 1));
  g_assert_true (vt_set_vring_num (fe, 0, f->ring->size));
  g_assert_true (vt_set_vring_base (fe, 0, 0));
  g_assert_true (vt_set_vring_addr (fe, f->ring));
  g_assert_true (vt_set_vring_call (fe, 0, -1));
  g_assert_true (vt_set_vring_err (fe, 0, -1));
  g_assert_true (vt_set_vring_kick (fe, 0, -1));
  g_assert_true (vt_set_vring_enable (fe, 0, TRUE));
}

/* Returns: the ack. */
static guint64
send_kick (Fixture *f, guint index)
{
  const VdWireVringState state = { index, 0 };

  g_assert_true (vt_send (f->fe, VD_VRING_KICK,
                          VD_WIRE_VERSION | VD_FLAG_NEED_REPLY, &state,
                          sizeof state, NULL, 0));
  return vt_receive_ack (f->fe, VD_VRING_KICK);
}

static void
test_a_kick_message_is_answered_by_a_call_message (Fixture *f,
                                                   gconstpointer data)
{
  start (f);
  for (guint i = 0; i < 100; i++) {
    g_autofree VtBlkRequest *request =
        vt_blk_request_new (f->guest, VIRTIO_BLK_T_IN, i, 512);

    g_assert_true (vt_blk_add (f->ring, request));
    vt_ring_publish (f->ring);
    g_assert_cmpuint (send_kick (f, 0), ==, 0);
    g_assert_cmpuint (vt_channel_receive (f->fe, VT_TIMEOUT_MS), ==,
                      VD_BACKEND_VRING_CALL);
    g_assert_true (vt_ring_get (f->ring, NULL) == request);
    g_assert_cmpuint (*request->status, ==, VIRTIO_BLK_S_OK);
  }
}

/* One request, whose call message stays in the channel. */
static void
run_without_reading (Fixture *f, VtBlkRequest *request)
{
  gint64 end = g_get_monotonic_time () + VT_TIMEOUT_MS * 1000ll;

  g_assert_true (vt_blk_add (f->ring, request));
  vt_ring_publish (f->ring);
  g_assert_cmpuint (send_kick (f, 0), ==, 0);
  while (vt_ring_get (f->ring, NULL) == NULL)
    g_assert_cmpint (g_get_monotonic_time (), <, end);
}

static guint
count_calls (Fixture *f)
{
  guint n = 0;

  while (vt_channel_receive (f->fe, 100) == VD_BACKEND_VRING_CALL)
    n++;
  return n;
}

/* More calls than the socket holds: the rest comes as soon as there is room,
 * not together with the next one. */
static void
test_calls_wait_for_a_slow_reader (Fixture *f, gconstpointer data)
{
  g_autofree VtBlkRequest *request =
      vt_blk_request_new (f->guest, VIRTIO_BLK_T_IN, 0, 512);

  start (f);
  for (guint i = 0; i < 1500; i++)
    run_without_reading (f, request);
  g_assert_cmpuint (count_calls (f), >, 1);
  run_without_reading (f, request);
  g_assert_cmpuint (count_calls (f), ==, 1);
}

static void
test_a_broken_ring_is_told_by_a_message (Fixture *f, gconstpointer data)
{
  start (f);
  vt_ring_raw_add (f->ring, 64, NULL); /* a head outside the ring */
  vt_ring_publish (f->ring);
  g_assert_cmpuint (send_kick (f, 0), ==, 0);
  g_assert_cmpuint (vt_channel_receive (f->fe, VT_TIMEOUT_MS), ==,
                    VD_BACKEND_VRING_ERR);
}

static void
test_a_stopped_ring_takes_no_kick (Fixture *f, gconstpointer data)
{
  start (f);
  g_assert_cmpuint (send_kick (f, 1), ==, 1); /* was never described */
  g_assert_cmpuint (send_kick (f, 64), ==, 1);
  g_assert_cmpuint (vt_get_vring_base (f->fe, 0), ==, 0);
  g_assert_cmpuint (send_kick (f, 0), ==, 0); /* late: nothing happens */
  vt_barrier (f->fe);
}

static void
test_contradicting_features_are_refused (Fixture *f, gconstpointer data)
{
  const guint64 features = INBAND | BIT (VD_PROTOCOL_F_REPLY_ACK);

  vt_get_protocol_features (f->fe);
  g_assert_true (vt_send (f->fe, VD_SET_PROTOCOL_FEATURES, VD_WIRE_VERSION,
                          &features, sizeof features, NULL, 0));
  vt_wait_closed (f->fe);
}

static void
test_it_is_not_offered_unless_wanted (Fixture *f, gconstpointer data)
{
  g_assert_cmphex (vt_get_protocol_features (f->fe) & INBAND, ==, 0);
}

int
main (int argc, char **argv)
{
  g_test_init (&argc, &argv, NULL);
#define ADD(name, inband, func)                                                \
  g_test_add ("/inband/" name, Fixture, inband, set_up, func, tear_down)
  ADD ("kick-and-call", "yes",
       test_a_kick_message_is_answered_by_a_call_message);
  ADD ("slow-reader", "yes", test_calls_wait_for_a_slow_reader);
  ADD ("error", "yes", test_a_broken_ring_is_told_by_a_message);
  ADD ("stopped", "yes", test_a_stopped_ring_takes_no_kick);
  ADD ("contradiction", "yes", test_contradicting_features_are_refused);
  ADD ("off", "no", test_it_is_not_offered_unless_wanted);
  return g_test_run ();
}
