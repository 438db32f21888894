/* SPDX-License-Identifier: BSD-3-Clause
 *
 * test-connection.c - what protocol/connection.h promises
 *
 * The peer is the other end of a socketpair.  Each test counts this process's
 * descriptors before and after, so that a leak on any path fails it.
 */
#include "protocol/connection.h"

#include <errno.h>
#include <fcntl.h>
#include <string.h>
#include <sys/resource.h>
#include <sys/socket.h>
#include <sys/stat.h>
#include <unistd.h>

#define REQUEST 77 /* the connection does not care */

typedef struct {
  guint n_fds_before;
  int null; /* a descriptor to pass around */
  int peer; /* -1: closed by the test */
  VdConnection *connection;
  VdMessage message;
} Fixture;

static guint
count_fds (void)
{
  g_autoptr (GDir) dir = g_dir_open ("/proc/self/fd", 0, NULL);
  guint n = 0;

  g_assert_nonnull (dir);
  while (g_dir_read_name (dir) != NULL)
    n++;
  return n;
}

static void
set_up (Fixture *f, gconstpointer data)
{
  int pair[2];

  f->n_fds_before = count_fds ();
  g_assert_cmpint (socketpair (AF_UNIX, SOCK_STREAM | SOCK_CLOEXEC, 0, pair),
                   ==, 0);
  f->null = open ("/dev/null", O_RDONLY | O_CLOEXEC);
  f->peer = pair[0];
  f->connection = vd_connection_new (pair[1]);
  vd_message_init (&f->message);
}

static void
tear_down (Fixture *f, gconstpointer data)
{
  vd_message_clear (&f->message);
  vd_connection_free (f->connection);
  close (f->null);
  if (f->peer >= 0)
    close (f->peer);
  g_assert_cmpuint (count_fds (), ==, f->n_fds_before);
}

/* The peer's side */

static gssize
try_send (int to, const void *bytes, gsize size, const int *fds, guint n_fds)
{
  union {
    struct cmsghdr align;
    char bytes[CMSG_SPACE (sizeof (int) * 253)];
  } control = { 0 };
  struct iovec iov = { (void *) bytes, size };
  struct msghdr msg = { .msg_iov = &iov, .msg_iovlen = 1 };

  if (n_fds > 0) {
    struct cmsghdr *c = &control.align;

    msg.msg_control = control.bytes;
    msg.msg_controllen = CMSG_SPACE (sizeof (int) * n_fds);
    c->cmsg_level = SOL_SOCKET;
    c->cmsg_type = SCM_RIGHTS;
    c->cmsg_len = CMSG_LEN (sizeof (int) * n_fds);
    memcpy (CMSG_DATA (c), fds, sizeof (int) * n_fds);
  }
  return sendmsg (to, &msg, MSG_NOSIGNAL | MSG_DONTWAIT);
}

static void
peer_send (Fixture *f, const void *bytes, gsize size, guint n_fds)
{
  int fds[253];

  for (guint i = 0; i < n_fds; i++)
    fds[i] = f->null;
  g_assert_cmpint (try_send (f->peer, bytes, size, fds, n_fds), ==, size);
}

/* A message of @size bytes of payload that count upwards. */
static gsize
make_message (guint8 *to, guint32 size)
{
  VdWireHeader header = { REQUEST, VD_WIRE_VERSION | VD_FLAG_NEED_REPLY, size };

  memcpy (to, &header, sizeof header);
  for (guint32 i = 0; i < size; i++)
    to[sizeof header + i] = (guint8) (i + 1);
  return sizeof header + size;
}

static gssize
peer_receive (Fixture *f, void *to, gsize size, int *ret_fd)
{
  union {
    struct cmsghdr align;
    char bytes[CMSG_SPACE (sizeof (int))];
  } control = { 0 };
  struct iovec iov = { to, size };
  struct msghdr msg = {
    .msg_iov = &iov,
    .msg_iovlen = 1,
    .msg_control = control.bytes,
    .msg_controllen = sizeof control.bytes,
  };
  gssize n = recvmsg (f->peer, &msg, MSG_DONTWAIT | MSG_CMSG_CLOEXEC);

  *ret_fd = -1;
  if (n > 0 && CMSG_FIRSTHDR (&msg) != NULL)
    memcpy (ret_fd, CMSG_DATA (CMSG_FIRSTHDR (&msg)), sizeof *ret_fd);
  return n;
}

/* The connection's side */

static void
assert_read (Fixture *f, VdReadResult expected)
{
  g_autoptr (GError) error = NULL;
  VdReadResult result = vd_connection_read (f->connection, &f->message, &error);

  g_assert_cmpint (result, ==, expected);
  if (expected == VD_READ_ERROR)
    g_assert_error (error, VD_MESSAGE_ERROR, VD_MESSAGE_ERROR_FRAMING);
  else
    g_assert_no_error (error);
}

/* The message of make_message(), with @n_fds descriptors; clears it. */
static void
assert_message (Fixture *f, guint32 size, guint n_fds)
{
  guint8 expected[sizeof (VdWireHeader) + VD_PAYLOAD_MAX];
  const VdMessage *m = &f->message;

  make_message (expected, size);
  g_assert_cmpmem (&m->header, sizeof m->header, expected, sizeof m->header);
  g_assert_cmpmem (m->payload.bytes, size, expected + sizeof m->header, size);
  for (guint32 i = size; i < VD_PAYLOAD_MAX; i++)
    g_assert_cmpuint (m->payload.bytes[i], ==, 0);
  g_assert_cmpuint (m->n_fds, ==, n_fds);
  for (guint i = 0; i < VD_MESSAGE_FDS; i++) {
    if (i < n_fds)
      g_assert_cmpint (fcntl (m->fds[i], F_GETFD), ==, FD_CLOEXEC);
    else
      g_assert_cmpint (m->fds[i], ==, -1);
  }
  vd_message_clear (&f->message);
}

static void
test_whole_message (Fixture *f, gconstpointer data)
{
  guint8 bytes[sizeof (VdWireHeader) + VD_PAYLOAD_MAX];
  const guint32 sizes[] = { 0, 1, 8, 40, VD_PAYLOAD_MAX };

  assert_read (f, VD_READ_AGAIN);
  for (guint i = 0; i < G_N_ELEMENTS (sizes); i++) {
    for (guint n_fds = 0; n_fds <= VD_MESSAGE_FDS; n_fds++) {
      peer_send (f, bytes, make_message (bytes, sizes[i]), n_fds);
      assert_read (f, VD_READ_MESSAGE);
      assert_message (f, sizes[i], n_fds);
    }
  }
  assert_read (f, VD_READ_AGAIN);
}

static void
test_message_split_anywhere (Fixture *f, gconstpointer data)
{
  guint8 bytes[256];
  gsize size = make_message (bytes, 40);

  for (gsize at = 1; at < size; at++) {
    peer_send (f, bytes, at, 2);
    assert_read (f, VD_READ_AGAIN);
    assert_read (f, VD_READ_AGAIN);
    peer_send (f, bytes + at, size - at, 0);
    assert_read (f, VD_READ_MESSAGE);
    assert_message (f, 40, 2);
  }
}

static void
test_message_byte_by_byte (Fixture *f, gconstpointer data)
{
  guint8 bytes[256];
  gsize size = make_message (bytes, 40);

  for (gsize at = 0; at < size; at++) {
    assert_read (f, VD_READ_AGAIN);
    peer_send (f, bytes + at, 1, at == 0 ? 8 : 0);
  }
  assert_read (f, VD_READ_MESSAGE);
  assert_message (f, 40, 8);
}

/* Several messages may wait in the socket; none may take a part or the
 * descriptors of the next. */
static void
test_messages_in_a_row (Fixture *f, gconstpointer data)
{
  guint8 bytes[256];

  for (guint n = 0; n <= 8; n++)
    peer_send (f, bytes, make_message (bytes, n), n);
  for (guint n = 0; n <= 8; n++) {
    assert_read (f, VD_READ_MESSAGE);
    assert_message (f, n, n);
  }
  assert_read (f, VD_READ_AGAIN);
}

static void
test_messages_in_one_write (Fixture *f, gconstpointer data)
{
  guint8 bytes[1024];
  gsize size = 0;

  for (guint n = 0; n <= 8; n++)
    size += make_message (bytes + size, n);
  peer_send (f, bytes, size, 0);
  for (guint n = 0; n <= 8; n++) {
    assert_read (f, VD_READ_MESSAGE);
    assert_message (f, n, 0);
  }
  assert_read (f, VD_READ_AGAIN);
}

static void
test_peer_leaves_between_messages (Fixture *f, gconstpointer data)
{
  guint8 bytes[64];

  peer_send (f, bytes, make_message (bytes, 8), 0);
  close (f->peer);
  f->peer = -1;
  assert_read (f, VD_READ_MESSAGE);
  assert_read (f, VD_READ_CLOSED);
}

/* The kernel then says ECONNRESET. */
static void
test_peer_leaves_with_unread_replies (Fixture *f, gconstpointer data)
{
  g_assert_true (vd_connection_send (f->connection, REQUEST, VD_REPLY_FLAGS,
                                     NULL, 0, -1, NULL));
  close (f->peer);
  f->peer = -1;
  assert_read (f, VD_READ_CLOSED);
}

static void
test_peer_leaves_in_a_message (Fixture *f, gconstpointer data)
{
  guint8 bytes[64];
  gsize size = make_message (bytes, 8);

  for (gsize at = 1; at < size; at++) {
    peer_send (f, bytes, at, 3);
    close (f->peer);
    f->peer = -1;
    assert_read (f, VD_READ_ERROR);
    assert_read (f, VD_READ_ERROR); /* and stays so */
    tear_down (f, NULL);
    set_up (f, NULL);
  }
}

static void
test_wrong_version (Fixture *f, gconstpointer data)
{
  const guint32 flags[] = { 0, 2, 3, VD_FLAG_NEED_REPLY, 0xfffffffe };

  for (guint i = 0; i < G_N_ELEMENTS (flags); i++) {
    VdWireHeader header = { REQUEST, flags[i], 0 };

    peer_send (f, &header, sizeof header, 4);
    assert_read (f, VD_READ_ERROR);
    tear_down (f, NULL);
    set_up (f, NULL);
  }
}

static void
test_lost_stream_stays_lost (Fixture *f, gconstpointer data)
{
  guint8 bytes[64];

  peer_send (f, bytes, make_message (bytes, 0), VD_MESSAGE_FDS + 1);
  peer_send (f, bytes, make_message (bytes, 8), 1);
  assert_read (f, VD_READ_ERROR);
  assert_read (f, VD_READ_ERROR);
}

/* Nothing of such a payload is read. */
static void
test_payload_over_the_limit (Fixture *f, gconstpointer data)
{
  const guint32 sizes[] = { VD_PAYLOAD_MAX + 1, 0x7fffffff, G_MAXUINT32 - 11,
                            G_MAXUINT32 };

  for (guint i = 0; i < G_N_ELEMENTS (sizes); i++) {
    VdWireHeader header = { REQUEST, VD_WIRE_VERSION, sizes[i] };

    peer_send (f, &header, sizeof header, 4);
    assert_read (f, VD_READ_ERROR);
    assert_read (f, VD_READ_ERROR);
    tear_down (f, NULL);
    set_up (f, NULL);
  }
}

/* 253 is the most that Linux passes at once: some fit into the ancillary
 * buffer and must be closed, the others raise MSG_CTRUNC. */
static void
test_too_many_descriptors (Fixture *f, gconstpointer data)
{
  const guint counts[] = { 9, 16, 100, 253 };

  for (guint i = 0; i < G_N_ELEMENTS (counts); i++) {
    guint8 bytes[64];

    peer_send (f, bytes, make_message (bytes, 8), counts[i]);
    assert_read (f, VD_READ_ERROR);
    tear_down (f, NULL);
    set_up (f, NULL);
  }
}

static void
test_descriptors_in_the_middle_of_a_message (Fixture *f, gconstpointer data)
{
  guint8 bytes[64];
  gsize size = make_message (bytes, 8);

  for (gsize at = 1; at < size; at++) {
    peer_send (f, bytes, at, 1);
    assert_read (f, VD_READ_AGAIN);
    peer_send (f, bytes + at, size - at, 1);
    assert_read (f, VD_READ_ERROR);
    tear_down (f, NULL);
    set_up (f, NULL);
  }
}

/* With no free descriptor the kernel cannot hand one over. */
static void
test_descriptors_beyond_the_process_limit (Fixture *f, gconstpointer data)
{
  struct rlimit limit, none;
  guint8 bytes[64];

  g_assert_cmpint (getrlimit (RLIMIT_NOFILE, &limit), ==, 0);
  none = (struct rlimit){ 1, limit.rlim_max };
  peer_send (f, bytes, make_message (bytes, 8), 2);
  g_assert_cmpint (setrlimit (RLIMIT_NOFILE, &none), ==, 0);
  assert_read (f, VD_READ_ERROR);
  g_assert_cmpint (setrlimit (RLIMIT_NOFILE, &limit), ==, 0);
}

static void
test_free_closes_what_half_a_message_brought (Fixture *f, gconstpointer data)
{
  guint8 bytes[64];

  make_message (bytes, 8);
  peer_send (f, bytes, 14, 8);
  assert_read (f, VD_READ_AGAIN);
  /* tear_down() counts */
}

/* Any cut of any stream gives the same messages. */
static void
test_random_messages_in_random_pieces (Fixture *f, gconstpointer data)
{
  for (guint i = 0; i < 2000; i++) {
    guint8 bytes[sizeof (VdWireHeader) + VD_PAYLOAD_MAX];
    guint32 payload = (guint32) g_test_rand_int_range (0, VD_PAYLOAD_MAX + 1);
    guint n_fds = (guint) g_test_rand_int_range (0, VD_MESSAGE_FDS + 1);
    gsize size = make_message (bytes, payload), done = 0;

    while (done < size) {
      gsize part = (gsize) g_test_rand_int_range (1, (int) (size - done) + 1);

      assert_read (f, VD_READ_AGAIN);
      peer_send (f, bytes + done, part, done == 0 ? n_fds : 0);
      done += part;
    }
    assert_read (f, VD_READ_MESSAGE);
    assert_message (f, payload, n_fds);
  }
}

/* Sends one piece of garbage, some of it with a plausible header. */
static void
send_garbage (Fixture *f)
{
  guint8 bytes[256];
  gsize size = (gsize) g_test_rand_int_range (1, sizeof bytes + 1);

  for (gsize i = 0; i < size; i++)
    bytes[i] = (guint8) g_test_rand_int ();
  if (g_test_rand_bit ())
    make_message (bytes, (guint32) g_test_rand_int_range (0, 200));
  peer_send (f, bytes, size, (guint) g_test_rand_int_range (0, 20));
}

/* tear_down() counts what is left. */
static void
test_garbage_leaves_nothing_behind (Fixture *f, gconstpointer data)
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
      tear_down (f, NULL);
      set_up (f, NULL);
    }
  }
}

static void
test_reply_arrives (Fixture *f, gconstpointer data)
{
  g_autoptr (GError) error = NULL;
  guint8 bytes[64], expected[64] = { 0 };
  VdWireHeader header = { REQUEST, VD_REPLY_FLAGS, 8 };
  guint64 value = G_GUINT64_CONSTANT (0x1122334455667788);
  int fd;

  g_assert_true (vd_connection_send (f->connection, REQUEST, VD_REPLY_FLAGS,
                                     &value, sizeof value, -1, &error));
  g_assert_no_error (error);
  g_assert_false (vd_connection_has_output (f->connection));
  memcpy (expected, &header, sizeof header);
  memcpy (expected + sizeof header, &value, sizeof value);
  g_assert_cmpmem (bytes, peer_receive (f, bytes, sizeof bytes, &fd), expected,
                   20);
  g_assert_cmpint (fd, ==, -1);
}

/* Whether both are the same open file. */
static gboolean
same_file (int a, int b)
{
  struct stat at, bt;

  return fstat (a, &at) == 0 && fstat (b, &bt) == 0 && at.st_ino == bt.st_ino &&
         at.st_dev == bt.st_dev;
}

static void
test_descriptor_goes_along (Fixture *f, gconstpointer data)
{
  for (guint i = 0; i < 2 * VD_OUTPUT_FDS_MAX; i++) {
    guint8 bytes[64];
    int fd;

    g_assert_true (vd_connection_send (f->connection, REQUEST, VD_REPLY_FLAGS,
                                       NULL, 0, f->null, NULL));
    g_assert_cmpint (peer_receive (f, bytes, sizeof bytes, &fd), ==, 12);
    g_assert_true (same_file (fd, f->null));
    close (fd);
  }
}

/* Sends until something waits in the connection, then @n more, each with its
 * number as payload.  Returns: how many messages in all. */
static guint32
fill (Fixture *f, guint32 n)
{
  guint32 sent = 0, waiting = 0;

  while (waiting < n) {
    g_autoptr (GError) error = NULL;

    g_assert_true (vd_connection_send (f->connection, REQUEST, VD_REPLY_FLAGS,
                                       &sent, sizeof sent, -1, &error));
    g_assert_no_error (error);
    sent++;
    waiting += vd_connection_has_output (f->connection);
  }
  return sent;
}

/* Receives the messages of fill(), which arrive whole and in order. */
static void
drain (Fixture *f, guint32 n)
{
  guint8 *bytes = g_malloc0 (n * 16);
  gsize size = 0;

  while (size < n * 16) {
    int fd;
    gssize got = peer_receive (f, bytes + size, n * 16 - size, &fd);

    if (got < 0) {
      g_assert_cmpint (errno, ==, EAGAIN);
      g_assert_true (vd_connection_has_output (f->connection));
      g_assert_true (vd_connection_flush (f->connection, NULL));
      continue;
    }
    g_assert_cmpint (fd, ==, -1);
    size += (gsize) got;
  }
  for (guint32 i = 0; i < n; i++)
    g_assert_cmpmem (bytes + i * 16 + 12, 4, &i, 4);
  g_assert_false (vd_connection_has_output (f->connection));
  g_free (bytes);
}

static void
test_slow_peer_gets_everything_in_order (Fixture *f, gconstpointer data)
{
  drain (f, fill (f, 1000));
}

static void
test_input_goes_on_while_output_waits (Fixture *f, gconstpointer data)
{
  guint8 bytes[64];
  guint32 n = fill (f, 1);

  peer_send (f, bytes, make_message (bytes, 8), 1);
  assert_read (f, VD_READ_MESSAGE);
  assert_message (f, 8, 1);
  drain (f, n);
}

/* Sends 1000-byte messages until it fails.  Returns: those that waited. */
static guint
flood (Fixture *f, int fd, GError **error)
{
  guint8 payload[1000] = { 0 };
  guint waiting = 0;

  while (vd_connection_send (f->connection, REQUEST, VD_REPLY_FLAGS, payload,
                             sizeof payload, waiting > 0 ? fd : -1, error))
    waiting += vd_connection_has_output (f->connection);
  return waiting;
}

static void
test_output_is_bounded (Fixture *f, gconstpointer data)
{
  g_autoptr (GError) error = NULL;
  guint n = flood (f, -1, &error);

  g_assert_error (error, VD_MESSAGE_ERROR, VD_MESSAGE_ERROR_FRAMING);
  g_assert_cmpuint (n, >=, VD_OUTPUT_MAX / 1012 - 1);
  g_assert_cmpuint (n, <=, VD_OUTPUT_MAX / 1012 + 1);
}

static void
test_waiting_descriptors_are_bounded (Fixture *f, gconstpointer data)
{
  g_autoptr (GError) error = NULL;
  guint n = flood (f, f->null, &error);

  g_assert_error (error, VD_MESSAGE_ERROR, VD_MESSAGE_ERROR_FRAMING);
  g_assert_cmpuint (n, ==, VD_OUTPUT_FDS_MAX + 1);
  /* three of the fixture's own, and those that wait */
  g_assert_cmpuint (count_fds (), ==, f->n_fds_before + 3 + VD_OUTPUT_FDS_MAX);
}

/* The caller may close its descriptor at once. */
static void
test_waiting_descriptor_is_a_copy (Fixture *f, gconstpointer data)
{
  guint8 bytes[1024];
  int sent = dup (f->null), found = -1;
  guint32 n = fill (f, 1);
  gsize size = (gsize) n * 16 + 12, got = 0;

  g_assert_true (vd_connection_send (f->connection, REQUEST, VD_REPLY_FLAGS,
                                     NULL, 0, sent, NULL));
  close (sent);
  while (got < size) {
    int fd;
    gssize part = peer_receive (f, bytes, sizeof bytes, &fd);

    if (part > 0)
      got += (gsize) part;
    else
      g_assert_true (vd_connection_flush (f->connection, NULL));
    if (fd >= 0)
      found = fd;
  }
  g_assert_true (same_file (found, f->null));
  close (found);
}

static void
test_sending_to_nobody_fails (Fixture *f, gconstpointer data)
{
  g_autoptr (GError) error = NULL;

  close (f->peer);
  f->peer = -1;
  g_assert_false (vd_connection_send (f->connection, REQUEST, VD_REPLY_FLAGS,
                                      NULL, 0, -1, &error));
  g_assert_error (error, VD_MESSAGE_ERROR, VD_MESSAGE_ERROR_FRAMING);
}

static void
test_flush_after_the_peer_left_fails (Fixture *f, gconstpointer data)
{
  g_autoptr (GError) error = NULL;

  fill (f, 10);
  close (f->peer);
  f->peer = -1;
  g_assert_false (vd_connection_flush (f->connection, &error));
  g_assert_error (error, VD_MESSAGE_ERROR, VD_MESSAGE_ERROR_FRAMING);
}

static void
test_socket_flags_stay (Fixture *f, gconstpointer data)
{
  int fd = vd_connection_fd (f->connection);

  assert_read (f, VD_READ_AGAIN);
  g_assert_cmpint (fcntl (fd, F_GETFL) & O_NONBLOCK, ==, 0);
}

int
main (int argc, char **argv)
{
  g_test_init (&argc, &argv, NULL);
#define ADD(path, func)                                                        \
  g_test_add ("/connection/" path, Fixture, NULL, set_up, func, tear_down)
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
  ADD ("send/reply", test_reply_arrives);
  ADD ("send/fd", test_descriptor_goes_along);
  ADD ("send/slow", test_slow_peer_gets_everything_in_order);
  ADD ("send/both-ways", test_input_goes_on_while_output_waits);
  ADD ("send/bound", test_output_is_bounded);
  ADD ("send/fd-bound", test_waiting_descriptors_are_bounded);
  ADD ("send/fd-copy", test_waiting_descriptor_is_a_copy);
  ADD ("send/nobody", test_sending_to_nobody_fails);
  ADD ("send/left", test_flush_after_the_peer_left_fails);
  return g_test_run ();
}
