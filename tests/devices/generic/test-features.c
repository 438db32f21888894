/* SPDX-License-Identifier: BSD-3-Clause
 *
 * test-features.c - what devices/generic/features.c promises
 */
#include "devices/generic/features.h"

#include <linux/virtio_balloon.h>
#include <linux/virtio_blk.h>
#include <linux/virtio_ids.h>
#include <linux/virtio_net.h>
#include <linux/virtio_vsock.h>

static void
assert_bits (const char *text, guint virtio_id, guint64 want)
{
  g_autoptr (GError) error = NULL;
  guint64 bits = 77;

  g_assert_true (vd_features_parse (text, virtio_id, &bits, &error));
  g_assert_no_error (error);
  g_assert_cmphex (bits, ==, want);
}

static void
assert_refused (const char *text, guint virtio_id, const char *message)
{
  g_autoptr (GError) error = NULL;
  guint64 bits = 77;

  g_assert_false (vd_features_parse (text, virtio_id, &bits, &error));
  g_assert_nonnull (error);
  g_assert_cmpstr (error->message, ==, message);
  g_assert_cmpuint (bits, ==, 77);
}

static void
test_numbers_masks_and_names (void)
{
  assert_bits (NULL, 5, 0);
  assert_bits ("", 5, 0);
  assert_bits ("0", 5, 1);
  assert_bits ("1,2 , 23", 5, 1 << 1 | 1 << 2 | 1 << 23);
  assert_bits ("0x5", 5, 5);
  assert_bits ("50 63", 5, 1ull << 50 | 1ull << 63);
  assert_bits ("stats-vq,0x1,2", 5, 7);
}

static void
test_names_are_those_of_the_device (void)
{
  assert_bits ("deflate-on-oom,page-reporting", VIRTIO_ID_BALLOON,
               1 << VIRTIO_BALLOON_F_DEFLATE_ON_OOM |
                   1 << VIRTIO_BALLOON_F_REPORTING);
  assert_bits ("ro,config-wce,write-zeroes", VIRTIO_ID_BLOCK,
               1 << VIRTIO_BLK_F_RO | 1 << VIRTIO_BLK_F_CONFIG_WCE |
                   1 << VIRTIO_BLK_F_WRITE_ZEROES);
  assert_bits ("mac,status,ctrl-mac-addr", VIRTIO_ID_NET,
               1 << VIRTIO_NET_F_MAC | 1 << VIRTIO_NET_F_STATUS |
                   1 << VIRTIO_NET_F_CTRL_MAC_ADDR);
  assert_bits ("seqpacket", VIRTIO_ID_VSOCK, 1 << VIRTIO_VSOCK_F_SEQPACKET);
}

static void
test_wrong_words_are_refused (void)
{
  assert_refused ("stats_vq", 5,
                  "unknown feature 'stats_vq'; did you mean 'stats-vq'?");
  assert_refused ("whatever", 5,
                  "'whatever' is not a bit number, a 0x mask or a feature that "
                  "virtio id 5 has a name for");
  assert_refused ("stats-vq", 60000,
                  "'stats-vq' is not a bit number, a 0x mask or a feature that "
                  "virtio id 60000 has a name for");
  assert_refused ("64", 5, "'64' is not a bit number, 0 to 63, or a 0x mask");
  assert_refused ("1x", 5, "'1x' is not a bit number, 0 to 63, or a 0x mask");
  assert_refused ("0x", 5, "'0x' is not a bit number, 0 to 63, or a 0x mask");
  assert_refused ("0x10000000000000000", 5,
                  "'0x10000000000000000' is not a bit number, 0 to 63, or a 0x "
                  "mask");
}

static void
test_bits_of_ring_and_transport_are_refused (void)
{
  static const char *const bad[] = { "24", "28", "32", "49", "0x100000000" };

  for (guint i = 0; i < G_N_ELEMENTS (bad); i++) {
    g_autofree char *message = g_strdup_printf (
        "'%s': bits 24 to 49 belong to the ring and the transport", bad[i]);

    assert_refused (bad[i], 5, message);
  }
}

int
main (int argc, char **argv)
{
  g_test_init (&argc, &argv, NULL);
#define ADD(name, func) g_test_add_func ("/generic/features/" name, func)
  ADD ("words", test_numbers_masks_and_names);
  ADD ("names", test_names_are_those_of_the_device);
  ADD ("wrong", test_wrong_words_are_refused);
  ADD ("ring", test_bits_of_ring_and_transport_are_refused);
  return g_test_run ();
}
