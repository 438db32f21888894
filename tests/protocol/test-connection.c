/* SPDX-License-Identifier: BSD-3-Clause
 *
 * test-connection.c - what protocol/connection.h promises of reading
 */
#include <fcntl.h>
#include <string.h>
#include <sys/resource.h>
#include <unistd.h>

#include "tests/protocol/connection-rig.h"

static void
test_whole_message (ConnectionRig *f, gconstpointer data)
{
  guint8 bytes[sizeof (VdWireHeader) + VD_PAYLOAD_MAX];
  const guint32 sizes[] = { 0, 1, 8, 40, VD_PAYLOAD_MAX };

  rig_assert_read (f, VD_READ_AGAIN);
  for (guint i = 0; i < G_N_ELEMENTS (sizes); i++) {
    for (guint n_fds = 0; n_fds <= VD_MESSAGE_FDS; n_fds++) {
      rig_peer_send (f, bytes, rig_make_message (bytes, sizes[i]), n_fds);
      rig_assert_read (f, VD_READ_MESSAGE);
      rig_assert_message (f, sizes[i], n_fds);
    }
  }
  rig_assert_read (f, VD_READ_AGAIN);
}

static void
test_message_split_anywhere (ConnectionRig *f, gconstpointer data)
{
  guint8 bytes[256];
  gsize size = rig_make_message (bytes, 40);

  for (gsize at = 1; at < size; at++) {
    rig_peer_send (f, bytes, at, 2);
    rig_assert_read (f, VD_READ_AGAIN);
    rig_assert_read (f, VD_READ_AGAIN);
    rig_peer_send (f, bytes + at, size - at, 0);
    rig_assert_read (f, VD_READ_MESSAGE);
    rig_assert_message (f, 40, 2);
  }
}

static void
test_message_byte_by_byte (ConnectionRig *f, gconstpointer data)
{
  guint8 bytes[256];
  gsize size = rig_make_message (bytes, 40);

  for (gsize at = 0; at < size; at++) {
    rig_assert_read (f, VD_READ_AGAIN);
    rig_peer_send (f, bytes + at, 1, at == 0 ? 8 : 0);
  }
  rig_assert_read (f, VD_READ_MESSAGE);
  rig_assert_message (f, 40, 8);
}

/* Several messages may wait in the socket; none may take a part or the
 * descriptors of the next. */
static void
test_messages_in_a_row (ConnectionRig *f, gconstpointer data)
{
  guint8 bytes[256];

  for (guint n = 0; n <= 8; n++)
    rig_peer_send (f, bytes, rig_make_message (bytes, n), n);
  for (guint n = 0; n <= 8; n++) {
    rig_assert_read (f, VD_READ_MESSAGE);
    rig_assert_message (f, n, n);
  }
  rig_assert_read (f, VD_READ_AGAIN);
}

static void
test_messages_in_one_write (ConnectionRig *f, gconstpointer data)
{
  guint8 bytes[1024];
  gsize size = 0;

  for (guint n = 0; n <= 8; n++)
    size += rig_make_message (bytes + size, n);
  rig_peer_send (f, bytes, size, 0);
  for (guint n = 0; n <= 8; n++) {
    rig_assert_read (f, VD_READ_MESSAGE);
    rig_assert_message (f, n, 0);
  }
  rig_assert_read (f, VD_READ_AGAIN);
}

static void
test_peer_leaves_between_messages (ConnectionRig *f, gconstpointer data)
{
  guint8 bytes[64];

  rig_peer_send (f, bytes, rig_make_message (bytes, 8), 0);
  close (f->peer);
  f->peer = -1;
  rig_assert_read (f, VD_READ_MESSAGE);
  rig_assert_read (f, VD_READ_CLOSED);
}

/* The kernel then says ECONNRESET. */
static void
test_peer_leaves_with_unread_replies (ConnectionRig *f, gconstpointer data)
{
  g_assert_true (vd_connection_send (f->connection, RIG_REQUEST, VD_REPLY_FLAGS,
                                     NULL, 0, -1, NULL));
  close (f->peer);
  f->peer = -1;
  rig_assert_read (f, VD_READ_CLOSED);
}

static void
test_peer_leaves_in_a_message (ConnectionRig *f, gconstpointer data)
{
  guint8 bytes[64];
  gsize size = rig_make_message (bytes, 8);

  for (gsize at = 1; at < size; at++) {
    rig_peer_send (f, bytes, at, 3);
    close (f->peer);
    f->peer = -1;
    rig_assert_read (f, VD_READ_ERROR);
    rig_assert_read (f, VD_READ_ERROR); /* and stays so */
    connection_rig_tear_down (f, NULL);
    connection_rig_set_up (f, NULL);
  }
}

static void
test_wrong_version (ConnectionRig *f, gconstpointer data)
{
  const guint32 flags[] = { 0, 2, 3, VD_FLAG_NEED_REPLY, 0xfffffffe };

  for (guint i = 0; i < G_N_ELEMENTS (flags); i++) {
    VdWireHeader header = { RIG_REQUEST, flags[i], 0 };

    rig_peer_send (f, &header, sizeof header, 4);
    rig_assert_read (f, VD_READ_ERROR);
    connection_rig_tear_down (f, NULL);
    connection_rig_set_up (f, NULL);
  }
}

static void
test_lost_stream_stays_lost (ConnectionRig *f, gconstpointer data)
{
  guint8 bytes[64];

  rig_peer_send (f, bytes, rig_make_message (bytes, 0), VD_MESSAGE_FDS + 1);
  rig_peer_send (f, bytes, rig_make_message (bytes, 8), 1);
  rig_assert_read (f, VD_READ_ERROR);
  rig_assert_read (f, VD_READ_ERROR);
}

/* Nothing of such a payload is read. */
static void
test_payload_over_the_limit (ConnectionRig *f, gconstpointer data)
{
  const guint32 sizes[] = { VD_PAYLOAD_MAX + 1, 0x7fffffff, G_MAXUINT32 - 11,
                            G_MAXUINT32 };

  for (guint i = 0; i < G_N_ELEMENTS (sizes); i++) {
    VdWireHeader header = { RIG_REQUEST, VD_WIRE_VERSION, sizes[i] };

    rig_peer_send (f, &header, sizeof header, 4);
    rig_assert_read (f, VD_READ_ERROR);
    rig_assert_read (f, VD_READ_ERROR);
    connection_rig_tear_down (f, NULL);
    connection_rig_set_up (f, NULL);
  }
}

/* 253 is the most that Linux passes at once: some fit into the ancillary
 * buffer and must be closed, the others raise MSG_CTRUNC. */
static void
test_too_many_descriptors (ConnectionRig *f, gconstpointer data)
{
  const guint counts[] = { 9, 16, 100, 253 };

  for (guint i = 0; i < G_N_ELEMENTS (counts); i++) {
    guint8 bytes[64];

    rig_peer_send (f, bytes, rig_make_message (bytes, 8), counts[i]);
    rig_assert_read (f, VD_READ_ERROR);
    connection_rig_tear_down (f, NULL);
    connection_rig_set_up (f, NULL);
  }
}

static void
test_descriptors_in_the_middle_of_a_message (ConnectionRig *f,
                                             gconstpointer data)
{
  guint8 bytes[64];
  gsize size = rig_make_message (bytes, 8);

  for (gsize at = 1; at < size; at++) {
    rig_peer_send (f, bytes, at, 1);
    rig_assert_read (f, VD_READ_AGAIN);
    rig_peer_send (f, bytes + at, size - at, 1);
    rig_assert_read (f, VD_READ_ERROR);
    connection_rig_tear_down (f, NULL);
    connection_rig_set_up (f, NULL);
  }
}

/* With no free descriptor the kernel cannot hand one over. */
static void
test_descriptors_beyond_the_process_limit (ConnectionRig *f, gconstpointer data)
{
  struct rlimit limit, none;
  guint8 bytes[64];

  g_assert_cmpint (getrlimit (RLIMIT_NOFILE, &limit), ==, 0);
  none = (struct rlimit){ 1, limit.rlim_max };
  rig_peer_send (f, bytes, rig_make_message (bytes, 8), 2);
  g_assert_cmpint (setrlimit (RLIMIT_NOFILE, &none), ==, 0);
  rig_assert_read (f, VD_READ_ERROR);
  g_assert_cmpint (setrlimit (RLIMIT_NOFILE, &limit), ==, 0);
}

static void
test_free_closes_what_half_a_message_brought (ConnectionRig *f,
                                              gconstpointer data)
{
  guint8 bytes[64];

  rig_make_message (bytes, 8);
  rig_peer_send (f, bytes, 14, 8);
  rig_assert_read (f, VD_READ_AGAIN);
  /* connection_rig_tear_down() counts */
}

/* Any cut of any stream gives the same messages. */
static void
test_random_messages_in_random_pieces (ConnectionRig *f, gconstpointer data)
{
  for (guint i = 0; i < 2000; i++) {
    guint8 bytes[sizeof (VdWireHeader) + VD_PAYLOAD_MAX];
    guint32 payload = (guint32) g_test_rand_int_range (0, VD_PAYLOAD_MAX + 1);
    guint n_fds = (guint) g_test_rand_int_range (0, VD_MESSAGE_FDS + 1);
    gsize size = rig_make_message (bytes, payload), done = 0;

    while (done < size) {
      gsize part = (gsize) g_test_rand_int_range (1, (int) (size - done) + 1);

      rig_assert_read (f, VD_READ_AGAIN);
      rig_peer_send (f, bytes + done, part, done == 0 ? n_fds : 0);
      done += part;
    }
    rig_assert_read (f, VD_READ_MESSAGE);
    rig_assert_message (f, payload, n_fds);
  }
}

/* Sends one piece of garbage, some of it with a plausible header. */
static void
send_garbage (ConnectionRig *f)
{
  guint8 bytes[256];
  gsize size = (gsize) g_test_rand_int_range (1, sizeof bytes + 1);

  for (gsize i = 0; i < size; i++)
    bytes[i] = (guint8) g_test_rand_int ();
  if (g_test_rand_bit ())
    rig_make_message (bytes, (guint32) g_test_rand_int_range (0, 200));
  rig_peer_send (f, bytes, size, (guint) g_test_rand_int_range (0, 20));
}

/* connection_rig_tear_down() counts what is left. */
static void
test_garbage_leaves_nothing_behind (ConnectionRig *f, gconstpointer data)
{
  for (guint i = 0; i < 2000; i++) {
    VdReadResult result;

    send_garbage (f);
    do {
      result = vd_connection_read (f->connection, &f->message, NULL);
      vd_message_clear (&f->message);
    } while (result == VD_READ_MESSAGE);
    g_assert_cmpint (result, !=, VD_READ_CLOSED);
    if (result == VD_READ_ERROR) {
      connection_rig_tear_down (f, NULL);
      connection_rig_set_up (f, NULL);
    }
  }
}

static void
test_socket_flags_stay (ConnectionRig *f, gconstpointer data)
{
  int fd = vd_connection_fd (f->connection);

  rig_assert_read (f, VD_READ_AGAIN);
  g_assert_cmpint (fcntl (fd, F_GETFL) & O_NONBLOCK, ==, 0);
}

int
main (int argc, char **argv)
{
  g_test_init (&argc, &argv, NULL);
#define ADD(path, func)                                                        \
  g_test_add ("/connection/" path, ConnectionRig, NULL, connection_rig_set_up, \
              func, connection_rig_tear_down)
  ADD ("read/whole", test_whole_message);
  ADD ("read/split", test_message_split_anywhere);
  ADD ("read/bytes", test_message_byte_by_byte);
  ADD ("read/row", test_messages_in_a_row);
  ADD ("read/one-write", test_messages_in_one_write);
  ADD ("read/closed", test_peer_leaves_between_messages);
  ADD ("read/reset", test_peer_leaves_with_unread_replies);
  ADD ("read/half", test_peer_leaves_in_a_message);
  ADD ("read/version", test_wrong_version);
  ADD ("read/lost", test_lost_stream_stays_lost);
  ADD ("read/oversized", test_payload_over_the_limit);
  ADD ("read/many-fds", test_too_many_descriptors);
  ADD ("read/late-fds", test_descriptors_in_the_middle_of_a_message);
  ADD ("read/no-free-fd", test_descriptors_beyond_the_process_limit);
  ADD ("read/free", test_free_closes_what_half_a_message_brought);
  ADD ("read/random", test_random_messages_in_random_pieces);
  ADD ("read/garbage", test_garbage_leaves_nothing_behind);
  ADD ("read/flags", test_socket_flags_stay);
  return g_test_run ();
}
