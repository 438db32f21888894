/* SPDX-License-Identifier: BSD-3-Clause */
#include "tests/devices/blk/loop.h"

#include <errno.h>
#include <fcntl.h>
#include <linux/loop.h>
#include <sys/ioctl.h>

#include "vring/fd.h"

/* Another process may take the free device that we were told of. */
#define TRIES 20

static VtLoop *
skip (const char *what)
{
  g_autofree char *why =
      g_strdup_printf ("no loop device: %s: %s", what, g_strerror (errno));

  g_test_skip (why);
  return NULL;
}

static VtLoop *
try_new (int control, int file, guint block_size)
{
  struct loop_config config = {
    .fd = (guint32) file,
    .block_size = block_size,
    .info = { .lo_flags = LO_FLAGS_AUTOCLEAR },
  };
  int number = ioctl (control, LOOP_CTL_GET_FREE);
  g_autofree char *path = g_strdup_printf ("/dev/loop%d", number);
  vd_autofd fd = number < 0 ? -1 : open (path, O_RDWR | O_CLOEXEC);
  VtLoop *loop;

  if (fd < 0 || ioctl (fd, LOOP_CONFIGURE, &config) < 0)
    return NULL;
  loop = g_new0 (VtLoop, 1);
  loop->path = g_steal_pointer (&path);
  loop->fd = vd_steal_fd (&fd);
  return loop;
}

VtLoop *
vt_loop_new (const char *file, guint block_size)
{
  vd_autofd control = open ("/dev/loop-control", O_RDWR | O_CLOEXEC);
  vd_autofd fd = open (file, O_RDWR | O_CLOEXEC);
  VtLoop *loop = NULL;

  g_assert_cmpint (fd, >=, 0);
  if (control < 0)
    return skip ("/dev/loop-control");
  for (guint i = 0; i < TRIES && loop == NULL; i++) {
    loop = try_new (control, fd, block_size);
    if (loop == NULL && errno != EBUSY)
      return skip ("LOOP_CONFIGURE");
  }
  return loop != NULL ? loop : skip ("LOOP_CONFIGURE");
}

void
vt_loop_free (VtLoop *loop)
{
  if (loop == NULL)
    return;
  vd_clear_fd (&loop->fd); /* AUTOCLEAR: the last user ends it */
  g_free (loop->path);
  g_free (loop);
}
