/* SPDX-License-Identifier: BSD-3-Clause
 *
 * fd.h - descriptors that close themselves (GLib 2.74 has no g_autofd)
 */
#pragma once

#include <errno.h>
#include <unistd.h>

/* Closes *@fd if it is one and forgets it; keeps errno. */
static inline void
vd_clear_fd (int *fd)
{
  int saved = errno;

  if (*fd >= 0)
    close (*fd);
  *fd = -1;
  errno = saved;
}

/* Takes the descriptor out of *@fd, so that its owner no longer closes it. */
static inline int
vd_steal_fd (int *fd)
{
  int taken = *fd;

  *fd = -1;
  return taken;
}

#define vd_autofd __attribute__ ((cleanup (vd_clear_fd))) int
