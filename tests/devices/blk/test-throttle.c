/* SPDX-License-Identifier: BSD-3-Clause
 *
 * test-throttle.c - the rate limits: the buckets with a clock of the test's own,
 * and a device's queues that share them
 */
#include "devices/blk/throttle.h"

#include "tests/devices/blk/disk.h"

#define SECTOR 512u
#define MS     G_GUINT64_CONSTANT (1000000)
#define SECOND (1000 * MS)

/* Takes what is allowed for @ns, in turns of 0.1 ms; @len: of each request.
 * Returns: how many requests began. */
static guint64
take_for (VdThrottle *throttle, guint64 ns, guint max, guint64 len)
{
  guint64 n = 0, wait_ns;

  for (guint64 now = 1; now <= ns; now += MS / 10) {
    guint allowed = vd_throttle_allows (throttle, now, max, &wait_ns);

    g_assert_true ((allowed == 0) == (wait_ns > 0));
    vd_throttle_take (throttle, now, allowed, allowed * len);
    n += allowed;
  }
  return n;
}

static void
test_without_limits_all_is_allowed (void)
{
  VdThrottle throttle = { 0 };
  guint64 wait_ns;

  g_assert_false (vd_throttle_is_on (&throttle));
  vd_throttle_take (&throttle, 1, 1000000, G_MAXUINT32);
  g_assert_cmpuint (vd_throttle_allows (&throttle, 2, 64, &wait_ns), ==, 64);
}

static void
test_requests_keep_to_their_rate (void)
{
  VdThrottle throttle = { 0 };

  vd_bucket_set (&throttle.requests, 1000, 50);
  g_assert_true (vd_throttle_is_on (&throttle));
  /* Ten seconds and the burst. */
  g_assert_cmpuint (take_for (&throttle, 10 * SECOND, 64, SECTOR), >=, 10000);
  vd_bucket_set (&throttle.requests, 1000, 50);
  g_assert_cmpuint (take_for (&throttle, 10 * SECOND, 64, SECTOR), <=, 10052);
}

static void
test_bytes_keep_to_their_rate (void)
{
  const guint64 rate = 8 << 20;
  VdThrottle throttle = { 0 };
  guint64 bytes;

  vd_bucket_set (&throttle.bytes, rate, 1 << 20);
  bytes = take_for (&throttle, 10 * SECOND, 64, 128 << 10) * (128 << 10);
  g_assert_cmpuint (bytes, >=, 10 * rate);
  g_assert_cmpuint (bytes, <=, 10 * rate + (2 << 20));
}

static void
test_a_rest_allows_a_burst_and_no_more (void)
{
  VdThrottle throttle = { 0 };
  guint64 wait_ns, now = 100 * SECOND;
  guint n = 0, allowed;

  vd_bucket_set (&throttle.requests, 100, 30);
  while ((allowed = vd_throttle_allows (&throttle, now, 7, &wait_ns)) > 0) {
    vd_throttle_take (&throttle, now, allowed, 0);
    n += allowed;
  }
  g_assert_cmpuint (n, >=, 30);
  g_assert_cmpuint (n, <=, 31);
  /* The next one is due when one more is paid for. */
  g_assert_cmpuint (wait_ns, <=, 11 * MS);
  g_assert_cmpuint (vd_throttle_allows (&throttle, now + wait_ns, 7, &wait_ns),
                    ==, 1);
}

static void
test_a_long_request_is_paid_for_later (void)
{
  VdThrottle throttle = { 0 };
  guint64 wait_ns;

  vd_bucket_set (&throttle.bytes, 1 << 20, 4096);
  g_assert_cmpuint (vd_throttle_allows (&throttle, SECOND, 64, &wait_ns), ==,
                    1);
  vd_throttle_take (&throttle, SECOND, 1, 4 << 20);
  g_assert_cmpuint (vd_throttle_allows (&throttle, 2 * SECOND, 64, &wait_ns),
                    ==, 0);
  g_assert_cmpuint (wait_ns, >=, 2 * SECOND);
  g_assert_cmpuint (wait_ns, <=, 3 * SECOND);
}

static void
test_absurd_limits_do_no_harm (void)
{
  VdThrottle throttle = { 0 };
  guint64 wait_ns;

  vd_bucket_set (&throttle.requests, 1, G_MAXUINT64);
  vd_bucket_set (&throttle.bytes, G_MAXUINT64, G_MAXUINT64);
  vd_throttle_take (&throttle, SECOND, 1000, G_MAXUINT32);
  g_assert_cmpuint (vd_throttle_allows (&throttle, SECOND, 64, &wait_ns), >, 0);
}

/* Two queues of one device, both always full. */
#define N_REQUESTS 120
#define IOPS       400
#define BURST      40 /* a tenth of a second */

static void
run_both (VtRing *const rings[2])
{
  for (guint i = 0; i < N_REQUESTS; i++) {
    VtBlkRequest *request =
        vt_blk_request_new (rings[i % 2]->guest, VIRTIO_BLK_T_IN, i, SECTOR);

    g_assert_true (vt_blk_add (rings[i % 2], request));
  }
  vt_ring_kick (rings[0]);
  vt_ring_kick (rings[1]);
  for (guint i = 0; i < N_REQUESTS; i++) {
    VtBlkRequest *request = vt_ring_take (rings[i % 2], NULL);

    g_assert_cmpuint (*request->status, ==, VIRTIO_BLK_S_OK);
    g_free (request);
  }
}

static void
test_queues_share_the_limit (gconstpointer force_poll)
{
  const gint64 least =
      (N_REQUESTS - BURST) * G_USEC_PER_SEC / IOPS - G_USEC_PER_SEC / 100;
  VtDisk disk = { 0 }, *f = &disk;
  VtRing *second;
  gint64 begin;

  vt_disk_init (f, FALSE);
  second = vt_ring_new (f->guest, 1, 256, VT_RING_EVENT_IDX);
  vt_disk_open_with (f, "iops", G_STRINGIFY (IOPS));
  f->rig->queues.force_poll = force_poll != NULL;
  vt_disk_start (f);
  vt_rig_start_ring (f->rig, second);
  begin = g_get_monotonic_time ();
  run_both ((VtRing *const[]){ f->ring, second });
  g_assert_cmpint (g_get_monotonic_time () - begin, >=, least);
  vt_rig_free (g_steal_pointer (&f->rig));
  vt_ring_free (second);
  vt_disk_tear_down (f, NULL);
}

int
main (int argc, char **argv)
{
  g_test_init (&argc, &argv, NULL);
#define ADD(name, func) g_test_add_func ("/blk/throttle/" name, func)
  ADD ("none", test_without_limits_all_is_allowed);
  ADD ("requests", test_requests_keep_to_their_rate);
  ADD ("bytes", test_bytes_keep_to_their_rate);
  ADD ("burst", test_a_rest_allows_a_burst_and_no_more);
  ADD ("long", test_a_long_request_is_paid_for_later);
  ADD ("absurd", test_absurd_limits_do_no_harm);
  g_test_add_data_func ("/blk/throttle/queues/io_uring", NULL,
                        test_queues_share_the_limit);
  g_test_add_data_func ("/blk/throttle/queues/epoll", "",
                        test_queues_share_the_limit);
  return g_test_run ();
}
