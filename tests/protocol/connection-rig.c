/* SPDX-License-Identifier: BSD-3-Clause */
#include "tests/protocol/connection-rig.h"

#include <fcntl.h>
#include <string.h>
#include <sys/socket.h>
#include <unistd.h>

guint
connection_rig_count_fds (void)
{
  g_autoptr (GDir) dir = g_dir_open ("/proc/self/fd", 0, NULL);
  guint n = 0;

  g_assert_nonnull (dir);
  while (g_dir_read_name (dir) != NULL)
    n++;
  return n;
}

void
connection_rig_set_up (ConnectionRig *f, gconstpointer data)
{
  int pair[2];

  f->n_fds_before = connection_rig_count_fds ();
  g_assert_cmpint (socketpair (AF_UNIX, SOCK_STREAM | SOCK_CLOEXEC, 0, pair),
                   ==, 0);
  f->null = open ("/dev/null", O_RDONLY | O_CLOEXEC);
  f->peer = pair[0];
  f->connection = vd_connection_new (pair[1]);
  vd_message_init (&f->message);
}

void
connection_rig_tear_down (ConnectionRig *f, gconstpointer data)
{
  vd_message_clear (&f->message);
  vd_connection_free (f->connection);
  close (f->null);
  if (f->peer >= 0)
    close (f->peer);
  g_assert_cmpuint (connection_rig_count_fds (), ==, f->n_fds_before);
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

void
rig_peer_send (ConnectionRig *f, const void *bytes, gsize size, guint n_fds)
{
  int fds[253];

  for (guint i = 0; i < n_fds; i++)
    fds[i] = f->null;
  g_assert_cmpint (try_send (f->peer, bytes, size, fds, n_fds), ==, size);
}

gsize
rig_make_message (guint8 *to, guint32 size)
{
  VdWireHeader header = { RIG_REQUEST, VD_WIRE_VERSION | VD_FLAG_NEED_REPLY,
                          size };

  memcpy (to, &header, sizeof header);
  for (guint32 i = 0; i < size; i++)
    to[sizeof header + i] = (guint8) (i + 1);
  return sizeof header + size;
}

gssize
rig_peer_receive (ConnectionRig *f, void *to, gsize size, int *ret_fd)
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

void
rig_assert_read (ConnectionRig *f, VdReadResult expected)
{
  g_autoptr (GError) error = NULL;
  VdReadResult result = vd_connection_read (f->connection, &f->message, &error);

  g_assert_cmpint (result, ==, expected);
  if (expected == VD_READ_ERROR)
    g_assert_error (error, VD_MESSAGE_ERROR, VD_MESSAGE_ERROR_FRAMING);
  else
    g_assert_no_error (error);
}

void
rig_assert_message (ConnectionRig *f, guint32 size, guint n_fds)
{
  guint8 expected[sizeof (VdWireHeader) + VD_PAYLOAD_MAX];
  const VdMessage *m = &f->message;

  rig_make_message (expected, size);
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
