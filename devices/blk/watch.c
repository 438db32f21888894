/* SPDX-License-Identifier: BSD-3-Clause
 *
 * watch.c - see watch.h
 */
#include "devices/blk/watch.h"

#include <glib-unix.h>
#include <linux/netlink.h>
#include <sys/inotify.h>
#include <sys/socket.h>
#include <unistd.h>

#include "vring/fd.h"

/* Between two events of a file: how late a change is seen at most, and the
 * price of a disk that is written all the time. */
#define REARM_MS 40

/* Between two looks where nothing tells. */
#define LOOK_MS 1000

#define UEVENT_GROUP_KERNEL 1

struct VdWatch {
  int image_fd; /* borrowed */
  int fd;       /* inotify or netlink */
  gboolean is_device;
  guint source, timer;
  void (*changed) (gpointer data);
  gpointer data;
};

/* IN_ONESHOT: the watch is gone after one event. */
static gboolean
arm (VdWatch *watch)
{
  g_autofree char *path = g_strdup_printf ("/proc/self/fd/%d", watch->image_fd);

  return inotify_add_watch (watch->fd, path, IN_MODIFY | IN_ONESHOT) >= 0;
}

/* First armed, then looked at: what happened between two events is seen. */
static gboolean
on_rearm (gpointer data)
{
  VdWatch *watch = data;

  watch->timer = arm (watch) ? 0 : g_timeout_add (LOOK_MS, on_rearm, watch);
  watch->changed (watch->data);
  return G_SOURCE_REMOVE;
}

static gboolean
on_look (gpointer data)
{
  VdWatch *watch = data;

  watch->changed (watch->data);
  return G_SOURCE_CONTINUE;
}

static gboolean
on_event (gint fd, GIOCondition condition, gpointer data)
{
  VdWatch *watch = data;
  char buffer[4096];

  /* The contents say nothing that the image does not say better. */
  while (read (fd, buffer, sizeof buffer) > 0)
    ;
  if (!watch->is_device && watch->timer == 0)
    watch->timer = g_timeout_add (REARM_MS, on_rearm, watch);
  watch->changed (watch->data);
  return G_SOURCE_CONTINUE;
}

static gboolean
open_inotify (VdWatch *watch)
{
  watch->fd = inotify_init1 (IN_NONBLOCK | IN_CLOEXEC);
  return watch->fd >= 0 && arm (watch);
}

static gboolean
open_uevents (VdWatch *watch)
{
  const struct sockaddr_nl address = {
    .nl_family = AF_NETLINK,
    .nl_groups = UEVENT_GROUP_KERNEL,
  };

  watch->fd = socket (AF_NETLINK, SOCK_DGRAM | SOCK_NONBLOCK | SOCK_CLOEXEC,
                      NETLINK_KOBJECT_UEVENT);
  return watch->fd >= 0 && bind (watch->fd, (const struct sockaddr *) &address,
                                 sizeof address) == 0;
}

VdWatch *
vd_watch_new (const VdImage *image, void (*changed) (gpointer data),
              gpointer data)
{
  VdWatch *watch = g_new0 (VdWatch, 1);

  watch->image_fd = image->fd;
  watch->is_device = image->is_device;
  watch->changed = changed;
  watch->data = data;
  if (watch->is_device ? open_uevents (watch) : open_inotify (watch))
    watch->source = g_unix_fd_add (watch->fd, G_IO_IN, on_event, watch);
  else
    watch->timer = g_timeout_add (LOOK_MS, on_look, watch);
  return watch;
}

void
vd_watch_free (VdWatch *watch)
{
  if (watch == NULL)
    return;
  g_clear_handle_id (&watch->source, g_source_remove);
  g_clear_handle_id (&watch->timer, g_source_remove);
  vd_clear_fd (&watch->fd);
  g_free (watch);
}
