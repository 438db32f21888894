/* SPDX-License-Identifier: BSD-3-Clause
 *
 * clone.c - see clone.h
 *
 * A user namespace can only be entered by a process with a single thread, so a
 * child does it.  The child shares our descriptors: the one that it opens is
 * ours.  It is a copy of one thread of many and therefore does nothing but
 * system calls.
 */
#include "devices/fs/clone.h"

#include <errno.h>
#include <fcntl.h>
#include <sched.h>
#include <signal.h>
#include <stdio.h>
#include <string.h>
#include <sys/mount.h>
#include <sys/syscall.h>
#include <sys/wait.h>
#include <unistd.h>

#include "vring/fd.h"

#ifndef MOUNT_ATTR_NOSYMFOLLOW
#define MOUNT_ATTR_NOSYMFOLLOW 0x00200000 /* Linux 5.14 */
#endif

/* As fork(), with a user namespace. */
static pid_t
fork_into_namespace (unsigned long flags)
{
  flags |= CLONE_NEWUSER | CLONE_FILES | SIGCHLD;
  return (pid_t) syscall (SYS_clone, flags, NULL, NULL, NULL, NULL);
}

static void
reap (pid_t child)
{
  while (waitpid (child, NULL, 0) < 0 && errno == EINTR)
    ;
}

static int
set_attributes (int tree, gboolean read_only, int namespace)
{
  struct mount_attr attr = {
    .attr_set = MOUNT_ATTR_NODEV | MOUNT_ATTR_NOSUID | MOUNT_ATTR_NOSYMFOLLOW |
                (read_only ? MOUNT_ATTR_RDONLY : 0),
    .propagation = MS_PRIVATE,
  };
  const guint flags = AT_EMPTY_PATH | AT_RECURSIVE;

  if (mount_setattr (tree, "", flags, &attr, sizeof attr) < 0) {
    if (errno != EINVAL)
      return -errno;
    attr.attr_set &= ~(guint64) MOUNT_ATTR_NOSYMFOLLOW; /* before Linux 5.14 */
    if (mount_setattr (tree, "", flags, &attr, sizeof attr) < 0)
      return -errno;
  }
  if (namespace < 0)
    return 0;
  attr = (struct mount_attr){ .attr_set = MOUNT_ATTR_IDMAP,
                              .userns_fd = (guint64) namespace };
  return mount_setattr (tree, "", flags, &attr, sizeof attr) < 0 ? -errno : 0;
}

/* Only system calls; any process with CAP_SYS_ADMIN in its mount namespace. */
static int
clone_here (const char *source, gboolean read_only, int namespace)
{
  int tree = open_tree (AT_FDCWD, source,
                        OPEN_TREE_CLONE | OPEN_TREE_CLOEXEC | AT_RECURSIVE);
  int r = tree < 0 ? -errno : set_attributes (tree, read_only, namespace);

  if (r < 0 && tree >= 0)
    close (tree);
  return r < 0 ? r : tree;
}

/* The same in a namespace of a child. */
static int
clone_in_namespace (const char *source, gboolean read_only)
{
  int pipes[2], r;
  pid_t child;

  if (pipe2 (pipes, O_CLOEXEC) < 0)
    return -errno;
  child = fork_into_namespace (CLONE_NEWNS);
  if (child == 0) {
    r = clone_here (source, read_only, -1);
    _exit (write (pipes[1], &r, sizeof r) == sizeof r ? 0 : 1);
  }
  r = child < 0 ? -errno : 0;
  if (child > 0) {
    reap (child);
    if (fcntl (pipes[0], F_SETFL, O_NONBLOCK) < 0 ||
        read (pipes[0], &r, sizeof r) != sizeof r)
      r = -EIO;
  }
  close (pipes[0]);
  close (pipes[1]);
  return r;
}

static int
write_map (pid_t child, const char *name, const char *map)
{
  char path[64];
  vd_autofd fd = -1;
  gsize len = strlen (map);

  snprintf (path, sizeof path, "/proc/%d/%s", (int) child, name);
  fd = open (path, O_WRONLY | O_CLOEXEC);
  if (fd < 0)
    return -errno;
  return write (fd, map, len) == (ssize_t) len ? 0 : -errno;
}

/* Makes a user namespace with these maps.  Returns: a descriptor or -errno. */
static int
open_namespace (const char *uid_map, const char *gid_map)
{
  char path[64];
  int pipes[2], r, fd;
  pid_t child;

  if (pipe2 (pipes, O_CLOEXEC) < 0)
    return -errno;
  child = fork_into_namespace (0);
  if (child == 0) { /* holds the namespace until it is killed */
    char byte;

    _exit (read (pipes[0], &byte, 1) < 0);
  }
  r = child < 0 ? -errno : write_map (child, "uid_map", uid_map);
  if (r == 0)
    r = write_map (child, "gid_map", gid_map);
  if (r == 0) {
    snprintf (path, sizeof path, "/proc/%d/ns/user", (int) child);
    fd = open (path, O_RDONLY | O_CLOEXEC);
    r = fd < 0 ? -errno : fd;
  }
  if (child > 0) {
    kill (child, SIGKILL);
    reap (child);
  }
  close (pipes[0]);
  close (pipes[1]);
  return r;
}

int
vd_fs_clone (const char *source, const VdFsCloneConfig *config)
{
  vd_autofd namespace = -1;
  int r;

  if (config->uid_map != NULL) {
    namespace = open_namespace (config->uid_map, config->gid_map);
    if (namespace < 0)
      return namespace;
  }
  r = clone_here (source, config->read_only, namespace);
  return r == -EPERM && namespace < 0
             ? clone_in_namespace (source, config->read_only)
             : r;
}
