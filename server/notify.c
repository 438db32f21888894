/* SPDX-License-Identifier: BSD-3-Clause
 *
 * notify.c - one datagram, so that libsystemd is not needed
 */
#include "server/notify.h"

#include <glib.h>
#include <stddef.h>
#include <string.h>
#include <sys/socket.h>
#include <sys/un.h>
#include <time.h>

#include "vring/fd.h"

void
vd_notify (const char *state)
{
  const char *path = g_getenv ("NOTIFY_SOCKET");
  struct sockaddr_un address = { .sun_family = AF_UNIX };
  struct timespec now;
  gsize len = path != NULL ? strlen (path) : 0;
  g_autofree char *text = NULL;
  vd_autofd fd = -1;

  if (len == 0 || len >= sizeof address.sun_path)
    return;
  memcpy (address.sun_path, path, len);
  if (path[0] == '@') /* an abstract name */
    address.sun_path[0] = '\0';
  /* A reload's notice must carry the time. */
  clock_gettime (CLOCK_MONOTONIC, &now);
  text = g_strdup_printf ("%s\nMONOTONIC_USEC=%" G_GINT64_FORMAT, state,
                          (gint64) now.tv_sec * G_USEC_PER_SEC +
                              now.tv_nsec / 1000);
  fd = socket (AF_UNIX, SOCK_DGRAM | SOCK_CLOEXEC, 0);
  if (fd >= 0)
    sendto (fd, text, strlen (text), MSG_NOSIGNAL | MSG_DONTWAIT,
            (const struct sockaddr *) &address,
            (socklen_t) (offsetof (struct sockaddr_un, sun_path) + len));
}
