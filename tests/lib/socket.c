/* SPDX-License-Identifier: BSD-3-Clause */
#include "tests/lib/socket.h"

#include <errno.h>
#include <poll.h>
#include <string.h>
#include <sys/socket.h>
#include <sys/un.h>
#include <unistd.h>

#include "vring/fd.h"

static struct sockaddr_un
unix_address (const char *path)
{
  struct sockaddr_un address = { .sun_family = AF_UNIX };

  g_assert_cmpuint (g_strlcpy (address.sun_path, path, sizeof address.sun_path),
                    <, sizeof address.sun_path);
  return address;
}

int
vt_connect (const char *path)
{
  struct sockaddr_un address = unix_address (path);
  gint64 deadline = g_get_monotonic_time () + VT_TIMEOUT_MS * 1000ll;
  int fd = socket (AF_UNIX, SOCK_STREAM | SOCK_CLOEXEC, 0);

  g_assert_no_errno (fd);
  while (connect (fd, (struct sockaddr *) &address, sizeof address) < 0) {
    if ((errno != ENOENT && errno != ECONNREFUSED) ||
        g_get_monotonic_time () > deadline)
      g_error ("connect %s: %s", path, g_strerror (errno));
    g_usleep (1000);
  }
  return fd;
}

int
vt_listen (const char *path)
{
  struct sockaddr_un address = unix_address (path);
  int fd = socket (AF_UNIX, SOCK_STREAM | SOCK_CLOEXEC, 0);

  g_assert_no_errno (fd);
  g_assert_no_errno (bind (fd, (struct sockaddr *) &address, sizeof address));
  g_assert_no_errno (listen (fd, 1));
  return fd;
}

gboolean
vt_wait_readable (int fd, int timeout_ms)
{
  struct pollfd pfd = { .fd = fd, .events = POLLIN };
  int n;

  do
    n = poll (&pfd, 1, timeout_ms);
  while (n < 0 && errno == EINTR);
  g_assert_no_errno (n);
  return n > 0;
}

int
vt_accept (int listen_fd)
{
  int fd;

  if (!vt_wait_readable (listen_fd, VT_TIMEOUT_MS))
    g_error ("no back-end connected in %d ms", VT_TIMEOUT_MS);
  fd = accept4 (listen_fd, NULL, NULL, SOCK_CLOEXEC);
  g_assert_no_errno (fd);
  return fd;
}

/* Returns: bytes sent, or -1. */
static ssize_t
send_with_fds (int fd, struct iovec *iov, const int *fds, guint n_fds)
{
  union {
    struct cmsghdr header;
    char bytes[CMSG_SPACE (sizeof (int) * 64)];
  } control = { 0 };
  struct msghdr msg = { .msg_iov = iov, .msg_iovlen = 1 };

  g_assert_cmpuint (n_fds, <=, 64);
  if (n_fds) {
    msg.msg_control = control.bytes;
    msg.msg_controllen = CMSG_SPACE (sizeof (int) * n_fds);
    control.header.cmsg_level = SOL_SOCKET;
    control.header.cmsg_type = SCM_RIGHTS;
    control.header.cmsg_len = CMSG_LEN (sizeof (int) * n_fds);
    memcpy (CMSG_DATA (&control.header), fds, sizeof (int) * n_fds);
  }
  return sendmsg (fd, &msg, MSG_NOSIGNAL);
}

gboolean
vt_socket_send (int fd, const void *bytes, gsize len, const int *fds,
                guint n_fds)
{
  struct iovec iov = { (void *) bytes, len };

  while (iov.iov_len) {
    ssize_t n = send_with_fds (fd, &iov, fds, n_fds);

    if (n < 0 && (errno == EPIPE || errno == ECONNRESET))
      return FALSE;
    g_assert_no_errno ((int) n);
    iov.iov_base = (guint8 *) iov.iov_base + n;
    iov.iov_len -= n;
    n_fds = 0; /* went with the first byte */
  }
  return TRUE;
}

/* Takes a descriptor out of @msg.  At most one is ever sent to a front-end. */
static int
take_fd (struct msghdr *msg)
{
  int fd = -1;

  g_assert_cmpint (msg->msg_flags & MSG_CTRUNC, ==, 0);
  for (struct cmsghdr *c = CMSG_FIRSTHDR (msg); c; c = CMSG_NXTHDR (msg, c)) {
    g_assert_cmpint (fd, ==, -1);
    g_assert_cmpint (c->cmsg_type, ==, SCM_RIGHTS);
    g_assert_cmpuint (c->cmsg_len, ==, CMSG_LEN (sizeof fd));
    memcpy (&fd, CMSG_DATA (c), sizeof fd);
  }
  return fd;
}

/* Returns: as recv(); a reset counts as the end. */
static gsize
receive_some (int fd, void *to, gsize len, int *ret_fd)
{
  union {
    struct cmsghdr header;
    char bytes[CMSG_SPACE (sizeof (int))];
  } control;
  struct iovec iov = { to, len };
  struct msghdr msg = { .msg_iov = &iov,
                        .msg_iovlen = 1,
                        .msg_control = control.bytes,
                        .msg_controllen = sizeof control.bytes };
  vd_autofd passed = -1;
  ssize_t n;

  if (!vt_wait_readable (fd, VT_TIMEOUT_MS))
    g_error ("nothing came from the back-end in %d ms", VT_TIMEOUT_MS);
  n = recvmsg (fd, &msg, MSG_CMSG_CLOEXEC);
  if (n < 0 && errno == ECONNRESET)
    return 0;
  g_assert_no_errno ((int) n);
  passed = take_fd (&msg);
  if (ret_fd && passed >= 0)
    *ret_fd = vd_steal_fd (&passed);
  g_assert_cmpint (passed, ==, -1); /* one that nobody expects */
  return n;
}

gsize
vt_socket_receive (int fd, void *to, gsize len, int *ret_fd)
{
  gsize n, done = 0;

  if (ret_fd)
    *ret_fd = -1;
  for (; done < len; done += n) {
    n = receive_some (fd, (guint8 *) to + done, len - done, ret_fd);
    if (n == 0)
      break;
  }
  return done;
}
