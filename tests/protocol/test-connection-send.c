/* SPDX-License-Identifier: BSD-3-Clause
 *
 * test-connection-send.c - what protocol/connection.h promises of sending
 */
#include <errno.h>
#include <fcntl.h>
#include <string.h>
#include <sys/stat.h>
#include <unistd.h>

#include "tests/protocol/connection-rig.h"

static void
test_reply_arrives (ConnectionRig *f, gconstpointer data)
{
  g_autoptr (GError) error = NULL;
  guint8 bytes[64], expected[64] = { 0 };
  VdWireHeader header = { RIG_REQUEST, VD_REPLY_FLAGS, 8 };
  guint64 value = G_GUINT64_CONSTANT (0x1122334455667788);
  int fd;

  g_assert_true (vd_connection_send (f->connection, RIG_REQUEST, VD_REPLY_FLAGS,
                                     &value, sizeof value, -1, &error));
  g_assert_no_error (error);
  g_assert_false (vd_connection_has_output (f->connection));
  memcpy (expected, &header, sizeof header);
  memcpy (expected + sizeof header, &value, sizeof value);
  g_assert_cmpmem (bytes, rig_peer_receive (f, bytes, sizeof bytes, &fd),
                   expected, 20);
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
test_descriptor_goes_along (ConnectionRig *f, gconstpointer data)
{
  for (guint i = 0; i < 2 * VD_OUTPUT_FDS_MAX; i++) {
    guint8 bytes[64];
    int fd;

    g_assert_true (vd_connection_send (f->connection, RIG_REQUEST,
                                       VD_REPLY_FLAGS, NULL, 0, f->null, NULL));
    g_assert_cmpint (rig_peer_receive (f, bytes, sizeof bytes, &fd), ==, 12);
    g_assert_true (same_file (fd, f->null));
    close (fd);
  }
}

/* Sends until something waits in the connection, then @n more, each with its
 * number as payload.  Returns: how many messages in all. */
static guint32
fill (ConnectionRig *f, guint32 n)
{
  guint32 sent = 0, waiting = 0;

  while (waiting < n) {
    g_autoptr (GError) error = NULL;

    g_assert_true (vd_connection_send (f->connection, RIG_REQUEST,
                                       VD_REPLY_FLAGS, &sent, sizeof sent, -1,
                                       &error));
    g_assert_no_error (error);
    sent++;
    waiting += vd_connection_has_output (f->connection);
  }
  return sent;
}

/* Receives the messages of fill(), which arrive whole and in order. */
static void
drain (ConnectionRig *f, guint32 n)
{
  guint8 *bytes = g_malloc0 (n * 16);
  gsize size = 0;

  while (size < n * 16) {
    int fd;
    gssize got = rig_peer_receive (f, bytes + size, n * 16 - size, &fd);

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
test_slow_peer_gets_everything_in_order (ConnectionRig *f, gconstpointer data)
{
  drain (f, fill (f, 1000));
}

static void
test_input_goes_on_while_output_waits (ConnectionRig *f, gconstpointer data)
{
  guint8 bytes[64];
  guint32 n = fill (f, 1);

  rig_peer_send (f, bytes, rig_make_message (bytes, 8), 1);
  rig_assert_read (f, VD_READ_MESSAGE);
  rig_assert_message (f, 8, 1);
  drain (f, n);
}

/* Sends 1000-byte messages until it fails.  Returns: those that waited. */
static guint
flood (ConnectionRig *f, int fd, GError **error)
{
  guint8 payload[1000] = { 0 };
  guint waiting = 0;

  while (vd_connection_send (f->connection, RIG_REQUEST, VD_REPLY_FLAGS,
                             payload, sizeof payload, waiting > 0 ? fd : -1,
                             error))
    waiting += vd_connection_has_output (f->connection);
  return waiting;
}

static void
test_output_is_bounded (ConnectionRig *f, gconstpointer data)
{
  g_autoptr (GError) error = NULL;
  guint n = flood (f, -1, &error);

  g_assert_error (error, VD_MESSAGE_ERROR, VD_MESSAGE_ERROR_FRAMING);
  g_assert_cmpuint (n, >=, VD_OUTPUT_MAX / 1012 - 1);
  g_assert_cmpuint (n, <=, VD_OUTPUT_MAX / 1012 + 1);
}

static void
test_waiting_descriptors_are_bounded (ConnectionRig *f, gconstpointer data)
{
  g_autoptr (GError) error = NULL;
  guint n = flood (f, f->null, &error);

  g_assert_error (error, VD_MESSAGE_ERROR, VD_MESSAGE_ERROR_FRAMING);
  g_assert_cmpuint (n, ==, VD_OUTPUT_FDS_MAX + 1);
  /* three of the fixture's own, and those that wait */
  g_assert_cmpuint (connection_rig_count_fds (), ==,
                    f->n_fds_before + 3 + VD_OUTPUT_FDS_MAX);
}

/* The caller may close its descriptor at once. */
static void
test_waiting_descriptor_is_a_copy (ConnectionRig *f, gconstpointer data)
{
  guint8 bytes[1024];
  int sent = dup (f->null), found = -1;
  guint32 n = fill (f, 1);
  gsize size = (gsize) n * 16 + 12, got = 0;

  g_assert_true (vd_connection_send (f->connection, RIG_REQUEST, VD_REPLY_FLAGS,
                                     NULL, 0, sent, NULL));
  close (sent);
  while (got < size) {
    int fd;
    gssize part = rig_peer_receive (f, bytes, sizeof bytes, &fd);

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
test_sending_to_nobody_fails (ConnectionRig *f, gconstpointer data)
{
  g_autoptr (GError) error = NULL;

  close (f->peer);
  f->peer = -1;
  g_assert_false (vd_connection_send (f->connection, RIG_REQUEST,
                                      VD_REPLY_FLAGS, NULL, 0, -1, &error));
  g_assert_error (error, VD_MESSAGE_ERROR, VD_MESSAGE_ERROR_FRAMING);
}

static void
test_flush_after_the_peer_left_fails (ConnectionRig *f, gconstpointer data)
{
  g_autoptr (GError) error = NULL;

  fill (f, 10);
  close (f->peer);
  f->peer = -1;
  g_assert_false (vd_connection_flush (f->connection, &error));
  g_assert_error (error, VD_MESSAGE_ERROR, VD_MESSAGE_ERROR_FRAMING);
}

int
main (int argc, char **argv)
{
  g_test_init (&argc, &argv, NULL);
#define ADD(path, func)                                                        \
  g_test_add ("/connection/" path, ConnectionRig, NULL, connection_rig_set_up, \
              func, connection_rig_tear_down)
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
