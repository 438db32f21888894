/* SPDX-License-Identifier: BSD-3-Clause */
#define G_LOG_DOMAIN "virtiod"

#include "server/listener.h"

#include <errno.h>
#include <fcntl.h>
#include <gio/gio.h>
#include <glib-unix.h>
#include <string.h>
#include <sys/socket.h>
#include <sys/stat.h>
#include <sys/un.h>
#include <unistd.h>

#include "vring/fd.h"

/* Between two attempts to connect, or to accept without free descriptors. */
#define RETRY_MIN_MS 100
#define RETRY_MAX_MS 5000

struct VdListener {
  const char *id;
  VdSocketConfig config; /* path owned */
  VdConnectedFunc connected;
  gpointer user_data;
  int fd;    /* listening, or inherited and connected; -1: none */
  dev_t dev; /* of the socket's file, to remove only our own */
  ino_t ino;
  guint source;   /* a watch of fd or a timer; 0: not waiting */
  guint retry_ms; /* until the next attempt; 0 for the first */
  int last_error; /* of connect(), so that each cause is told once */
};

static void listener_wait (VdListener *listener);

static gboolean
fail (GError **error, const VdListener *listener, const char *what,
      const char *why)
{
  g_set_error (error, G_IO_ERROR, G_IO_ERROR_FAILED, "%s: socket=%s: %s: %s",
               listener->id, listener->config.path, what, why);
  return FALSE;
}

static void
fill_address (const char *path, struct sockaddr_un *ret)
{
  *ret = (struct sockaddr_un){ .sun_family = AF_UNIX };
  g_strlcpy (ret->sun_path, path, sizeof ret->sun_path);
}

/* Returns: a connected socket, or -1 with errno set. */
static int
connect_path (const char *path)
{
  struct sockaddr_un address;
  vd_autofd fd =
      socket (AF_UNIX, SOCK_STREAM | SOCK_CLOEXEC | SOCK_NONBLOCK, 0);

  fill_address (path, &address);
  if (fd < 0 ||
      connect (fd, (const struct sockaddr *) &address, sizeof address) < 0)
    return -1;
  return vd_steal_fd (&fd);
}

/* Makes room for our socket: a file that nobody serves is left over. */
static gboolean
remove_stale (const VdListener *listener, GError **error)
{
  const char *path = listener->config.path;
  struct stat st;
  vd_autofd fd = -1;

  if (lstat (path, &st) < 0)
    return errno == ENOENT ||
           fail (error, listener, "cannot look at it", g_strerror (errno));
  if (!S_ISSOCK (st.st_mode))
    return fail (error, listener, "refused",
                 "a file that is no socket has this name");
  fd = connect_path (path);
  if (fd >= 0 || errno == EAGAIN)
    return fail (error, listener, "refused", "another process serves it");
  if (errno != ECONNREFUSED)
    return fail (error, listener, "cannot tell whether it is served",
                 g_strerror (errno));
  if (unlink (path) < 0)
    return fail (error, listener, "cannot remove the stale socket",
                 g_strerror (errno));
  return TRUE;
}

/* Permissions are narrow from birth and widened last. */
static gboolean
bind_path (VdListener *listener, GError **error)
{
  const VdSocketConfig *config = &listener->config;
  struct sockaddr_un address;
  struct stat st;
  mode_t old;
  int r;

  fill_address (config->path, &address);
  old = umask (0177);
  r = bind (listener->fd, (const struct sockaddr *) &address, sizeof address);
  umask (old);
  if (r < 0)
    return fail (error, listener, "cannot bind", g_strerror (errno));
  if (lstat (config->path, &st) == 0) {
    listener->dev = st.st_dev;
    listener->ino = st.st_ino;
  }
  if (config->group != (gid_t) -1 &&
      chown (config->path, (uid_t) -1, config->group) < 0)
    return fail (error, listener, "cannot change its group",
                 g_strerror (errno));
  if (chmod (config->path, config->mode) < 0)
    return fail (error, listener, "cannot change its mode", g_strerror (errno));
  if (listen (listener->fd, 16) < 0)
    return fail (error, listener, "cannot listen", g_strerror (errno));
  return TRUE;
}

static gboolean
open_listening (VdListener *listener, GError **error)
{
  if (!remove_stale (listener, error))
    return FALSE;
  listener->fd =
      socket (AF_UNIX, SOCK_STREAM | SOCK_CLOEXEC | SOCK_NONBLOCK, 0);
  if (listener->fd < 0)
    return fail (error, listener, "no socket", g_strerror (errno));
  return bind_path (listener, error);
}

/* Inherited: listening or connected, but a UNIX stream socket. */
static gboolean
open_inherited (VdListener *listener, GError **error)
{
  int fd = listener->config.fd, type = 0, domain = 0, listening = 0;
  socklen_t len = sizeof (int);

  if (getsockopt (fd, SOL_SOCKET, SO_DOMAIN, &domain, &len) < 0 ||
      getsockopt (fd, SOL_SOCKET, SO_TYPE, &type, &len) < 0 ||
      getsockopt (fd, SOL_SOCKET, SO_ACCEPTCONN, &listening, &len) < 0 ||
      domain != AF_UNIX || type != SOCK_STREAM) {
    g_set_error (error, G_IO_ERROR, G_IO_ERROR_FAILED,
                 "%s: socket=fd:%d: it is no UNIX stream socket that was "
                 "inherited",
                 listener->id, fd);
    return FALSE;
  }
  fcntl (fd, F_SETFD, FD_CLOEXEC);
  listener->fd = fd;
  if (listening) {
    fcntl (fd, F_SETFL, fcntl (fd, F_GETFL) | O_NONBLOCK);
    listener->config.role = VD_SOCKET_LISTEN;
  }
  return TRUE;
}

VdListener *
vd_listener_new (const char *id, const VdSocketConfig *config,
                 VdConnectedFunc connected, gpointer user_data, GError **error)
{
  g_autoptr (VdListener) listener = g_new0 (VdListener, 1);
  gboolean ok = TRUE;

  listener->id = id;
  listener->config = *config;
  listener->config.path = g_strdup (config->path);
  listener->connected = connected;
  listener->user_data = user_data;
  listener->fd = -1;
  if (config->role == VD_SOCKET_LISTEN)
    ok = open_listening (listener, error);
  else if (config->role == VD_SOCKET_FD)
    ok = open_inherited (listener, error);
  return ok ? g_steal_pointer (&listener) : NULL;
}

void
vd_listener_free (VdListener *listener)
{
  struct stat st;

  if (listener == NULL)
    return;
  g_clear_handle_id (&listener->source, g_source_remove);
  vd_clear_fd (&listener->fd);
  if (listener->ino != 0 && lstat (listener->config.path, &st) == 0 &&
      st.st_dev == listener->dev && st.st_ino == listener->ino)
    unlink (listener->config.path);
  g_free (listener->config.path);
  g_free (listener);
}

static void
hand_over (VdListener *listener, int fd)
{
  listener->source = 0;
  listener->connected (fd, listener->user_data);
}

static gboolean
on_retry (gpointer data)
{
  VdListener *listener = data;

  listener->source = 0;
  listener_wait (listener);
  return G_SOURCE_REMOVE;
}

static void
retry_later (VdListener *listener)
{
  listener->source = g_timeout_add (listener->retry_ms, on_retry, listener);
  listener->retry_ms =
      CLAMP (listener->retry_ms * 2, RETRY_MIN_MS, RETRY_MAX_MS);
}

static gboolean
on_acceptable (gint fd, GIOCondition condition, gpointer data)
{
  VdListener *listener = data;
  int connection = accept4 (fd, NULL, NULL, SOCK_CLOEXEC);

  if (connection >= 0) {
    hand_over (listener, connection);
    return G_SOURCE_REMOVE;
  }
  if (errno == EAGAIN || errno == EINTR || errno == ECONNABORTED)
    return G_SOURCE_CONTINUE;
  /* No descriptor is free: a watch would spin. */
  g_warning ("%s: cannot accept: %s", listener->id, g_strerror (errno));
  listener->source = 0;
  retry_later (listener);
  return G_SOURCE_REMOVE;
}

static void
try_connect (VdListener *listener)
{
  int fd = connect_path (listener->config.path);

  if (fd >= 0) {
    listener->last_error = 0;
    hand_over (listener, fd);
    return;
  }
  if (errno != listener->last_error)
    g_message ("%s: waiting for %s: %s", listener->id, listener->config.path,
               g_strerror (errno));
  listener->last_error = errno;
  retry_later (listener);
}

static void
listener_wait (VdListener *listener)
{
  switch (listener->config.role) {
  case VD_SOCKET_LISTEN:
    listener->source =
        g_unix_fd_add (listener->fd, G_IO_IN, on_acceptable, listener);
    break;
  case VD_SOCKET_CONNECT: try_connect (listener); break;
  case VD_SOCKET_FD:
    if (listener->fd >= 0)
      hand_over (listener, vd_steal_fd (&listener->fd));
    break;
  }
}

void
vd_listener_resume (VdListener *listener)
{
  if (listener->source != 0)
    return;
  /* A front-end that leaves at once must not make us spin. */
  if (listener->config.role == VD_SOCKET_CONNECT)
    retry_later (listener);
  else
    listener_wait (listener);
}

void
vd_listener_succeeded (VdListener *listener)
{
  listener->retry_ms = RETRY_MIN_MS;
}
