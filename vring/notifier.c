/* SPDX-License-Identifier: BSD-3-Clause */
#include "vring/notifier.h"

#include <errno.h>
#include <fcntl.h>
#include <gio/gio.h>
#include <poll.h>
#include <string.h>
#include <sys/socket.h>
#include <sys/stat.h>
#include <sys/uio.h>

#include "vring/fd.h"

gboolean
vd_fd_is_eventfd (int fd)
{
  char path[64], target[64];
  gssize len;

  g_snprintf (path, sizeof path, "/proc/self/fd/%d", fd);
  len = readlink (path, target, sizeof target - 1);
  if (len < 0)
    return FALSE;
  target[len] = '\0';
  return strcmp (target, "anon_inode:[eventfd]") == 0;
}

static VdNotifierKind
notifier_kind (int fd)
{
  struct stat st;
  int flags = fcntl (fd, F_GETFL);

  if (flags < 0 || (flags & O_PATH) || (flags & O_ACCMODE) == O_RDONLY ||
      fstat (fd, &st) < 0)
    return VD_NOTIFIER_NONE;
  if (S_ISSOCK (st.st_mode))
    return VD_NOTIFIER_SOCKET;
  if (S_ISFIFO (st.st_mode))
    return VD_NOTIFIER_PIPE;
  if (!vd_fd_is_eventfd (fd))
    return VD_NOTIFIER_NONE;
  return flags & O_NONBLOCK ? VD_NOTIFIER_EVENTFD : VD_NOTIFIER_BLOCKING;
}

gboolean
vd_notifier_init (VdNotifier *notifier, int fd, GError **error)
{
  VdNotifierKind kind = fd < 0 ? VD_NOTIFIER_NONE : notifier_kind (fd);

  if (fd >= 0 && kind == VD_NOTIFIER_NONE) {
    g_set_error (error, G_IO_ERROR, G_IO_ERROR_INVALID_ARGUMENT,
                 "the descriptor is no eventfd, socket or pipe that can be "
                 "written");
    close (fd);
    return FALSE;
  }
  *notifier = (VdNotifier){ kind, fd };
  return TRUE;
}

void
vd_notifier_clear (VdNotifier *notifier)
{
  vd_clear_fd (&notifier->fd);
  notifier->kind = VD_NOTIFIER_NONE;
}

/* Writes if the descriptor says that it has room. */
static void
write_polled (int fd)
{
  const guint64 one = 1;
  struct pollfd writable = { fd, POLLOUT, 0 };

  if (poll (&writable, 1, 0) == 1 && (writable.revents & POLLOUT) &&
      write (fd, &one, sizeof one) < 0)
    return; /* it was woken already, or left */
}

static void
write_pipe (int fd)
{
  guint64 one = 1;
  struct iovec iov = { &one, sizeof one };

  /* Linux before 6.5 knows no RWF_NOWAIT for pipes. */
  if (pwritev2 (fd, &iov, 1, -1, RWF_NOWAIT) < 0 && errno == EOPNOTSUPP)
    write_polled (fd);
}

gboolean
vd_notifier_signal (const VdNotifier *notifier)
{
  const guint64 one = 1;

  switch (notifier->kind) {
  case VD_NOTIFIER_NONE: return FALSE;
  case VD_NOTIFIER_BLOCKING: write_polled (notifier->fd); return TRUE;
  case VD_NOTIFIER_EVENTFD: return write (notifier->fd, &one, sizeof one) != 0;
  case VD_NOTIFIER_SOCKET:
    return send (notifier->fd, &one, sizeof one, MSG_DONTWAIT | MSG_NOSIGNAL) !=
           0;
  case VD_NOTIFIER_PIPE: write_pipe (notifier->fd); return TRUE;
  }
  return FALSE;
}

void
vd_notifier_unblock (const VdNotifier *notifier)
{
  struct pollfd full = { notifier->fd, POLLIN | POLLOUT, 0 };
  guint64 count;

  if (notifier->kind == VD_NOTIFIER_BLOCKING && poll (&full, 1, 0) == 1 &&
      (full.revents & POLLIN) && !(full.revents & POLLOUT) &&
      read (notifier->fd, &count, sizeof count) < 0)
    return;
}
