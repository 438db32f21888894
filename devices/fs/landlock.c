/* SPDX-License-Identifier: BSD-3-Clause */
#include "devices/fs/landlock.h"

#include <errno.h>
#include <fcntl.h>
#include <linux/landlock.h>
#include <sys/prctl.h>
#include <sys/syscall.h>
#include <unistd.h>

#include "vring/fd.h"

#ifndef LANDLOCK_ACCESS_FS_REFER
#define LANDLOCK_ACCESS_FS_REFER (1ull << 13) /* version 2, Linux 5.19 */
#endif
#ifndef LANDLOCK_ACCESS_FS_TRUNCATE
#define LANDLOCK_ACCESS_FS_TRUNCATE (1ull << 14) /* version 3, Linux 6.2 */
#endif
#ifndef LANDLOCK_CREATE_RULESET_ERRATA
#define LANDLOCK_CREATE_RULESET_ERRATA (1u << 1)
#endif

/* The first with which files can be moved between directories. */
#define VERSION_MIN 2

/* Before erratum 3 was mended (Linux 6.19, and stable versions since then), a
 * file that was opened by handle, and whose path the kernel does not know, lay
 * outside of everything. */
#define ERRATUM_DISCONNECTED (1 << (3 - 1))

#define READ (LANDLOCK_ACCESS_FS_READ_FILE | LANDLOCK_ACCESS_FS_READ_DIR)
#define CHANGE                                                                 \
  (LANDLOCK_ACCESS_FS_WRITE_FILE | LANDLOCK_ACCESS_FS_REMOVE_DIR |             \
   LANDLOCK_ACCESS_FS_REMOVE_FILE | LANDLOCK_ACCESS_FS_MAKE_CHAR |             \
   LANDLOCK_ACCESS_FS_MAKE_DIR | LANDLOCK_ACCESS_FS_MAKE_REG |                 \
   LANDLOCK_ACCESS_FS_MAKE_SOCK | LANDLOCK_ACCESS_FS_MAKE_FIFO |               \
   LANDLOCK_ACCESS_FS_MAKE_BLOCK | LANDLOCK_ACCESS_FS_MAKE_SYM |               \
   LANDLOCK_ACCESS_FS_REFER)

static long
query (guint what)
{
  return syscall (SYS_landlock_create_ruleset, NULL, 0, what);
}

static int
allow (int rules, int fd, guint64 access)
{
  struct landlock_path_beneath_attr rule = { .allowed_access = access,
                                             .parent_fd = fd };

  return syscall (SYS_landlock_add_rule, rules, LANDLOCK_RULE_PATH_BENEATH,
                  &rule, 0) < 0
             ? -errno
             : 0;
}

int
vd_fs_landlock_open (int root, gboolean read_only, gboolean by_handle)
{
  long version = query (LANDLOCK_CREATE_RULESET_VERSION);
  long errata = query (LANDLOCK_CREATE_RULESET_ERRATA);
  guint64 change = CHANGE | (version >= 3 ? LANDLOCK_ACCESS_FS_TRUNCATE : 0);
  struct landlock_ruleset_attr attr = {
    .handled_access_fs = READ | LANDLOCK_ACCESS_FS_EXECUTE | change,
  };
  vd_autofd rules = -1, null = -1;
  int r;

  if (version < VERSION_MIN ||
      (by_handle && (errata < 0 || (errata & ERRATUM_DISCONNECTED) == 0)))
    return -EOPNOTSUPP;
  rules = (int) syscall (SYS_landlock_create_ruleset, &attr, sizeof attr, 0);
  null = open ("/dev/null", O_PATH | O_CLOEXEC);
  if (rules < 0 || null < 0)
    return -errno;
  r = allow (rules, root, READ | (read_only ? 0 : change));
  if (r == 0)
    r = allow (rules, null,
               LANDLOCK_ACCESS_FS_READ_FILE | LANDLOCK_ACCESS_FS_WRITE_FILE);
  return r < 0 ? r : vd_steal_fd (&rules);
}

int
vd_fs_landlock_enter (int rules)
{
  /* Without privileges it is a condition; with them it does no harm. */
  if (prctl (PR_SET_NO_NEW_PRIVS, 1, 0, 0, 0) < 0 ||
      syscall (SYS_landlock_restrict_self, rules, 0) < 0)
    return -errno;
  return 0;
}
