/* SPDX-License-Identifier: BSD-3-Clause
 *
 * test-hostile-messages.c - attacks by the order and the content of messages,
 * on config space and on the back-end channel
 */
#include <fcntl.h>
#include <string.h>
#include <sys/socket.h>
#include <unistd.h>

#include "tests/wire/hostile.h"
#include "vring/fd.h"

#define BLK_CAPACITY  0  /* offsets in struct virtio_blk_config: read-only */
#define BLK_WRITEBACK 32 /* writable */

/* --- Messages --- */

static void
unknown_messages (VtAttack *a)
{
  const guint32 ids[] = { 0, VD_REQUEST_END, 255, 0x7fffffff, G_MAXUINT32 };
  const guint8 payload[64] = { 0 };

  vt_attack_hello (a);
  for (guint i = 0; i < G_N_ELEMENTS (ids); i++) {
    g_assert_cmpint (
        vt_attack_try (a, ids[i], payload, i * 16, &a->ring->kick_fd, i % 2),
        ==, VT_NACKED);
    vt_send (a->fe, ids[i], VD_WIRE_VERSION, payload, 8, NULL, 0);
    vt_barrier (a->fe); /* its reply is the next that comes */
  }
}

/* Known, well-formed, and not served. */
static void
messages_of_other_devices (VtAttack *a)
{
  const struct {
    guint32 id, size;
    guint n_fds;
  } messages[] = {
    { VD_SEND_RARP, 8, 0 },
    { VD_NET_SET_MTU, 8, 0 },
    { VD_SET_VRING_ENDIAN, 8, 0 },
    { VD_CLOSE_CRYPTO_SESSION, 8, 0 },
    { VD_GPU_SET_SOCKET, 0, 1 },
    { VD_GET_SHARED_OBJECT, 16, 0 },
    { VD_CREATE_CRYPTO_SESSION, 2000, 0 },
  };
  const guint8 payload[2000] = { 0 };

  vt_attack_hello (a);
  for (guint i = 0; i < G_N_ELEMENTS (messages); i++) {
    g_assert_cmpint (vt_attack_try (a, messages[i].id, payload,
                                    messages[i].size, &a->ring->kick_fd,
                                    messages[i].n_fds),
                     ==, VT_NACKED);
    vt_send (a->fe, messages[i].id, VD_WIRE_VERSION, payload, messages[i].size,
             &a->ring->kick_fd, messages[i].n_fds);
    vt_barrier (a->fe);
  }
}

/* UML 7.2 waits for this ack for ever. */
static void
ack_of_set_protocol_features (VtAttack *a)
{
  guint64 features = vt_get_protocol_features (a->fe);

  g_assert_cmpint (
      vt_attack_try_u64 (a, VD_SET_PROTOCOL_FEATURES, features, -1), ==,
      VT_ACKED);
}

/* Every message of every size, with and without a descriptor: each is answered
 * once, or the connection is closed. */
static void
every_message_in_every_size (VtAttack *a)
{
  const guint8 payload[48] = { 0 };

  vt_attack_hello (a);
  for (guint32 id = 0; id <= VD_REQUEST_END; id++)
    for (guint32 size = 0; size <= sizeof payload; size++)
      for (guint n_fds = 0; n_fds < 2; n_fds++) {
        if (vt_attack_try (a, id, payload, size, &a->ring->kick_fd, n_fds) !=
            VT_CLOSED)
          continue;
        vt_attack_reconnect (a);
        vt_attack_hello (a);
      }
}

/* Likely values of fields: small numbers, addresses of the guest, limits. */
static guint64
random_value (VtAttack *a)
{
  switch (g_test_rand_int_range (0, 6)) {
  case 0: return (guint64) g_test_rand_int_range (0, 5);
  case 1: return (guint64) g_test_rand_int_range (0, 300);
  case 2: return vt_guest_uva (a->guest, a->ring->desc);
  case 3: return VT_GPA_BASE + (guint64) g_test_rand_int_range (0, 1 << 23);
  case 4: return G_MAXUINT64 - (guint64) g_test_rand_int_range (0, 5);
  default: return (guint64) g_test_rand_int () << 32 | g_test_rand_int ();
  }
}

/* @other: a socket that the back-end may have, unlike our own */
static gboolean
send_random_message (VtAttack *a, int other)
{
  const VtRegion *region = g_ptr_array_index (a->guest->regions, 0);
  const int choice[] = { a->ring->kick_fd, a->ring->call_fd, region->fd,
                         other };
  guint32 id = (guint32) g_test_rand_int_range (0, VD_REQUEST_END + 1);
  guint32 size = (guint32) g_test_rand_int_range (0, 12) * 4;
  guint64 payload[6];
  int fd = choice[g_test_rand_int_range (0, G_N_ELEMENTS (choice))];

  for (guint i = 0; i < G_N_ELEMENTS (payload); i++)
    payload[i] = random_value (a);
  if (g_test_rand_bit ())
    payload[0] &= 0x3; /* an index, or the number of regions */
  return vt_attack_try (a, id, payload, size, &fd,
                        (guint) g_test_rand_int_range (0, 2)) != VT_CLOSED;
}

static void
random_messages (VtAttack *a)
{
  int pair[2];

  g_assert_no_errno (socketpair (AF_UNIX, SOCK_STREAM | SOCK_CLOEXEC, 0, pair));
  for (guint i = 0; i < 100; i++) {
    vt_attack_describe (a);
    for (guint j = 0; j < 100 && send_random_message (a, pair[0]); j++)
      ;
    vt_attack_reconnect (a);
  }
  close (pair[0]);
  close (pair[1]);
}

static void
messages_without_their_feature (VtAttack *a)
{
  const guint32 ids[] = { VD_RESET_DEVICE, VD_SET_CONFIG, VD_ADD_MEM_REG,
                          VD_SET_BACKEND_REQ_FD };

  for (guint i = 0; i < G_N_ELEMENTS (ids); i++)
    g_assert_cmpint (vt_attack_try (a, ids[i], NULL, 0, NULL, 0), ==,
                     VT_NACKED);
  g_assert_cmpint (vt_attack_try (a, VD_GET_QUEUE_NUM, NULL, 0, NULL, 0), ==,
                   VT_CLOSED);
}

static void
ring_numbers_beyond_the_device (VtAttack *a)
{
  const guint32 indices[] = { VT_ATTACK_QUEUES, 255, 0x7fffffff, G_MAXUINT32 };
  VdWireVringAddr addr = { 0 };

  vt_attack_share (a);
  for (guint i = 0; i < G_N_ELEMENTS (indices); i++) {
    guint32 index = addr.index = indices[i];

    g_assert_cmpint (vt_attack_try_state (a, VD_SET_VRING_NUM, index, 8), ==,
                     VT_NACKED);
    g_assert_cmpint (vt_attack_try_state (a, VD_SET_VRING_BASE, index, 0), ==,
                     VT_NACKED);
    g_assert_cmpint (vt_attack_try_state (a, VD_SET_VRING_ENABLE, index, 1), ==,
                     VT_NACKED);
    g_assert_cmpint (
        vt_attack_try (a, VD_SET_VRING_ADDR, &addr, sizeof addr, NULL, 0), ==,
        VT_NACKED);
  }
  for (guint32 id = VD_SET_VRING_KICK; id <= VD_SET_VRING_ERR; id++)
    g_assert_cmpint (
        vt_attack_try_u64 (a, id, VT_ATTACK_QUEUES, a->ring->kick_fd), ==,
        VT_NACKED);
  g_assert_cmpint (
      vt_attack_try_state (a, VD_GET_VRING_BASE, VT_ATTACK_QUEUES, 0), ==,
      VT_CLOSED);
}

static void
enable_with_a_wild_value (VtAttack *a)
{
  vt_attack_start (a);
  g_assert_cmpint (vt_attack_try_state (a, VD_SET_VRING_ENABLE, 0, 2), ==,
                   VT_NACKED);
  g_assert_cmpint (vt_attack_try_state (a, VD_SET_VRING_ENABLE, 0, G_MAXUINT32),
                   ==, VT_NACKED);
  vt_attack_read (a->ring, 4);
}

/* All that is offered was acked, and then what never was. */
static void
features_that_were_never_offered (VtAttack *a)
{
  vt_attack_hello (a);
  vt_attack_try_u64 (a, VD_SET_FEATURES, G_MAXUINT64, -1);
  vt_attack_try_u64 (a, VD_SET_PROTOCOL_FEATURES, G_MAXUINT64, -1);
  vt_barrier (a->fe);
  vt_attack_reconnect (a);
  vt_attack_start (a); /* and so the next session is not changed */
}

static void
resets_in_a_row (VtAttack *a)
{
  vt_attack_start (a);
  for (guint i = 0; i < 200; i++) {
    g_assert_true (vt_reset_device (a->fe));
    g_assert_true (vt_reset_owner (a->fe));
    g_assert_true (vt_set_owner (a->fe));
  }
}

/* --- Config space --- */

static void
config_reads_beyond_the_end (VtAttack *a)
{
  guint8 bytes[4084];

  vt_attack_hello (a);
  g_assert_true (vt_get_config (a->fe, 0, bytes, sizeof bytes));
  g_assert_cmpuint (bytes[sizeof bytes - 1], ==, 0);
  memset (bytes, 1, sizeof bytes);
  g_assert_true (vt_get_config (a->fe, G_MAXUINT32, bytes, 8));
  g_assert_cmpuint (bytes[0] | bytes[7], ==, 0);
  g_assert_true (vt_get_config (a->fe, G_MAXUINT32 - 3, bytes, sizeof bytes));
  vt_barrier (a->fe);
}

/* The window's size is not the payload's: the reply has a length of zero. */
static void
config_window_that_lies (VtAttack *a)
{
  const guint32 sizes[] = {
    1, 4, 4085, 0x10000, G_MAXUINT32 - 11, G_MAXUINT32
  };

  vt_attack_hello (a);
  for (guint i = 0; i < G_N_ELEMENTS (sizes); i++) {
    struct {
      VdWireConfig window;
      guint8 bytes[2];
    } message = { .window = { .size = sizes[i] } };

    g_assert_true (vt_send (a->fe, VD_GET_CONFIG, VD_WIRE_VERSION, &message,
                            sizeof (VdWireConfig) + 2, NULL, 0));
    vt_receive (a->fe, VD_GET_CONFIG, NULL, 0);
    g_assert_cmpint (vt_attack_try (a, VD_SET_CONFIG, &message,
                                    sizeof (VdWireConfig) + 2, NULL, 0),
                     ==, VT_NACKED);
  }
  vt_barrier (a->fe);
}

static void
config_writes_out_of_bounds (VtAttack *a)
{
  const guint8 zeroes[256] = { 0 };
  guint64 before, after;

  vt_attack_hello (a);
  g_assert_true (vt_get_config (a->fe, BLK_CAPACITY, &before, sizeof before));
  g_assert_false (vt_set_config (a->fe, 250, zeroes, sizeof zeroes, 0));
  g_assert_false (vt_set_config (a->fe, G_MAXUINT32 - 3, zeroes, 8, 0));
  g_assert_false (vt_set_config (a->fe, G_MAXUINT32, zeroes, 1, 1));
  a->fe->reply_mode = VT_REPLY_NEVER; /* and then it is ignored */
  vt_set_config (a->fe, 250, zeroes, sizeof zeroes, 0);
  g_assert_true (vt_get_config (a->fe, BLK_CAPACITY, &after, sizeof after));
  g_assert_cmpuint (before, ==, after);
}

/* vhost-user-base writes the whole space for every byte that a driver writes,
 * and a front-end that is refused aborts. */
static void
config_writes_over_read_only_bytes (VtAttack *a)
{
  guint8 bytes[BLK_WRITEBACK + 1], back[sizeof bytes], before[sizeof bytes];

  vt_attack_hello (a);
  g_assert_true (vt_get_config (a->fe, 0, before, sizeof before));
  memset (bytes, 0xaa, sizeof bytes);
  bytes[BLK_WRITEBACK] = before[BLK_WRITEBACK];
  for (guint32 flags = 0; flags < 2; flags++) {
    g_assert_true (vt_set_config (a->fe, 0, bytes, sizeof bytes, flags));
    g_assert_true (vt_get_config (a->fe, 0, back, sizeof back));
    g_assert_cmpmem (back, sizeof back, before, sizeof before);
  }
}

/* --- The back-end channel --- */

static void
channel_that_is_no_socket (VtAttack *a)
{
  vd_autofd null = open ("/dev/null", O_RDWR | O_CLOEXEC);
  vd_autofd dir = open ("/", O_RDONLY | O_DIRECTORY | O_CLOEXEC);
  vd_autofd datagrams = socket (AF_UNIX, SOCK_DGRAM | SOCK_CLOEXEC, 0);
  const int fds[] = { null, dir, datagrams, a->ring->kick_fd };

  vt_attack_hello (a);
  for (guint i = 0; i < G_N_ELEMENTS (fds); i++)
    g_assert_cmpint (
        vt_attack_try (a, VD_SET_BACKEND_REQ_FD, NULL, 0, &fds[i], 1), ==,
        VT_NACKED);
}

static void
channel_that_is_closed_or_lies (VtAttack *a)
{
  guint8 garbage[64];

  memset (garbage, 0xff, sizeof garbage);
  vt_attack_hello (a);
  for (guint i = 0; i < 20; i++) {
    g_assert_true (vt_set_backend_req_fd (a->fe));
    if (i % 2 == 0)
      vt_socket_send (a->fe->channel, garbage, sizeof garbage,
                      &a->ring->kick_fd, 1);
    vd_clear_fd (&a->fe->channel);
    vt_barrier (a->fe);
  }
  vt_attack_witness (a);
}

/* The back-end then reads its own replies, and its copy keeps our end open: only
 * a shutdown ends such a connection. */
static void
channel_that_is_the_connection (VtAttack *a)
{
  vt_attack_hello (a);
  vt_send (a->fe, VD_SET_BACKEND_REQ_FD, VD_WIRE_VERSION | VD_FLAG_NEED_REPLY,
           NULL, 0, &a->fe->fd, 1);
  vt_attack_witness (a);
  for (guint i = 0; i < 100; i++)
    vt_send (a->fe, VD_GET_FEATURES, VD_WIRE_VERSION, NULL, 0, NULL, 0);
  vt_attack_witness (a);
  g_assert_no_errno (shutdown (a->fe->fd, SHUT_RDWR));
}

int
main (int argc, char **argv)
{
  g_test_init (&argc, &argv, NULL);
#define ADD(path, func) vt_attack_add ("/hostile/messages/" path, func)
  ADD ("order/unknown", unknown_messages);
  ADD ("order/other-devices", messages_of_other_devices);
  ADD ("order/ack-of-protocol", ack_of_set_protocol_features);
  ADD ("order/every-size", every_message_in_every_size);
  ADD ("order/random", random_messages);
  ADD ("order/no-feature", messages_without_their_feature);
  ADD ("order/ring-number", ring_numbers_beyond_the_device);
  ADD ("order/enable-value", enable_with_a_wild_value);
  ADD ("order/never-offered", features_that_were_never_offered);
  ADD ("order/resets", resets_in_a_row);
  ADD ("config/read-beyond", config_reads_beyond_the_end);
  ADD ("config/window", config_window_that_lies);
  ADD ("config/write-beyond", config_writes_out_of_bounds);
  ADD ("config/read-only", config_writes_over_read_only_bytes);
  ADD ("channel/no-socket", channel_that_is_no_socket);
  ADD ("channel/closed", channel_that_is_closed_or_lies);
  ADD ("channel/itself", channel_that_is_the_connection);
  return vt_attack_main ();
}
