/* SPDX-License-Identifier: BSD-3-Clause
 *
 * calls.c - see calls.h
 *
 * No call here can reach the network, another process, or a mount that is not
 * open, and none makes a program or a namespace.
 */
#include "devices/fs/calls.h"

#include <linux/fs.h>
#include <sched.h>

#define IS(number, the_value)                                                  \
  .arg = (number), .mask = G_MAXUINT32, .value = (guint32) (the_value)

const VdSyscall vd_fs_calls[] = {
  /* Names. */
  { .name = "openat" }, /* also of the C library's own for open() */
  { .name = "openat2" },
  { .name = "open_by_handle_at" },
  { .name = "name_to_handle_at" },
  { .name = "mkdirat" },
  { .name = "mknodat" },
  { .name = "symlinkat" },
  { .name = "linkat" },
  { .name = "unlinkat" },
  { .name = "renameat" },
  { .name = "renameat2" },
  { .name = "readlink" },
  { .name = "readlinkat" },
  { .name = "getdents64" },

  /* Attributes. */
  { .name = "statx" },
  { .name = "statfs" },
  { .name = "fstatfs" },
  { .name = "access" },
  { .name = "faccessat" },
  { .name = "faccessat2" },
  { .name = "fchmod" },
  { .name = "fchmodat" },
  { .name = "fchmodat2" },
  { .name = "chmod" },
  { .name = "fchown" },
  { .name = "fchownat" },
  { .name = "utimensat" },
  { .name = "ftruncate" },
  { .name = "getxattr" },
  { .name = "lgetxattr" },
  { .name = "fgetxattr" },
  { .name = "setxattr" },
  { .name = "lsetxattr" },
  { .name = "fsetxattr" },
  { .name = "listxattr" },
  { .name = "llistxattr" },
  { .name = "flistxattr" },
  { .name = "removexattr" },
  { .name = "lremovexattr" },
  { .name = "fremovexattr" },
  { .name = "ioctl", IS (1, FS_IOC_GETFLAGS) },
  { .name = "ioctl", IS (1, FS_IOC_SETFLAGS) },
  { .name = "ioctl", IS (1, FS_IOC_FSGETXATTR) },
  { .name = "ioctl", IS (1, FS_IOC_FSSETXATTR) },

  /* Data. */
  { .name = "fallocate" },
  { .name = "fdatasync" },
  { .name = "fsync" },
  { .name = "syncfs" },
  { .name = "copy_file_range" },
  { .name = "splice" },
  { .name = "fadvise64" },
  { .name = "flock" },
  { .name = "dup" },

  /* Becoming the caller, and entering the jail. */
  { .name = "umask" },
  { .name = "setgroups" },
  { .name = "setresuid" },
  { .name = "setresgid" },
  { .name = "capget" },
  { .name = "capset" },
  { .name = "fchdir" },
  { .name = "unshare", IS (0, CLONE_FS) },
  { .name = "landlock_restrict_self" },
  { 0 },
};
