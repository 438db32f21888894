/* SPDX-License-Identifier: BSD-3-Clause
 *
 * lock.c - qemu-compatible image locks
 *
 * All locks are read locks, which never conflict with each other: first ours
 * are taken, then those of others are looked for.  Of two that come at the same
 * moment at least one sees the other.
 */
#include "devices/blk/lock.h"

#include <errno.h>
#include <fcntl.h>

/* The kernel ends the io_uring of a killed process some time after the process,
 * and its files and locks with it, on a busy host half a second: a successor that
 * is started at once must not fail. */
#define RETRY_US 10000
#define RETRIES  100

enum { HELD_BASE = 100, UNSHARED_BASE = 200, N_PERMISSIONS = 4 };

/* qemu's BLK_PERM_*, as bits. */
enum {
  CONSISTENT_READ = 1 << 0,
  WRITE = 1 << 1,
  WRITE_UNCHANGED = 1 << 2,
  RESIZE = 1 << 3,
};

typedef struct {
  guint held, unshared;
} Permissions;

static const Permissions reader = {
  .held = CONSISTENT_READ,
  .unshared = WRITE | RESIZE,
};
static const Permissions writer_of_all = {
  .held = CONSISTENT_READ | WRITE,
  .unshared = WRITE | WRITE_UNCHANGED | RESIZE,
};

/* Returns: 0 or -errno. */
static int
set_byte (int fd, int command, short type, off_t byte, struct flock *ret)
{
  *ret = (struct flock){
    .l_type = type, .l_whence = SEEK_SET, .l_start = byte, .l_len = 1
  };
  return fcntl (fd, command, ret) == 0 ? 0 : -errno;
}

static int
take (int fd, off_t base, guint permissions)
{
  struct flock lock;
  int r = 0;

  for (guint p = 0; p < N_PERMISSIONS && r == 0; p++)
    if (permissions & (1u << p))
      r = set_byte (fd, F_OFD_SETLK, F_RDLCK, base + p, &lock);
  return r;
}

/* Returns: the first of @permissions whose byte another one has locked, or
 * N_PERMISSIONS; -errno if that cannot be known. */
static int
find_other (int fd, off_t base, guint permissions)
{
  for (guint p = 0; p < N_PERMISSIONS; p++) {
    struct flock lock;
    int r;

    if (!(permissions & (1u << p)))
      continue;
    r = set_byte (fd, F_OFD_GETLK, F_WRLCK, base + p, &lock);
    if (r < 0)
      return r;
    if (lock.l_type != F_UNLCK)
      return (int) p;
  }
  return N_PERMISSIONS;
}

void
vd_lock_release (int fd)
{
  struct flock lock;

  for (off_t p = 0; p < N_PERMISSIONS; p++) {
    (void) set_byte (fd, F_OFD_SETLK, F_UNLCK, HELD_BASE + p, &lock);
    (void) set_byte (fd, F_OFD_SETLK, F_UNLCK, UNSHARED_BASE + p, &lock);
  }
}

static gboolean
fail (int fd, GError **error, const char *what)
{
  vd_lock_release (fd);
  g_set_error (error, G_FILE_ERROR, G_FILE_ERROR_AGAIN,
               "%s (lock=off ignores this, at the risk of corrupt data)", what);
  return FALSE;
}

static gboolean
without_locks (int fd, int err, gboolean *locked, GError **error)
{
  vd_lock_release (fd);
  *locked = FALSE;
  if (err == -EINVAL || err == -ENOLCK || err == -ENOSYS || err == -EOPNOTSUPP)
    return TRUE;
  g_set_error (error, G_FILE_ERROR, g_file_error_from_errno (-err),
               "cannot lock it: %s", g_strerror (-err));
  return FALSE;
}

gboolean
vd_lock_try (int fd, gboolean writer, gboolean *locked, GError **error)
{
  const Permissions *want = writer ? &writer_of_all : &reader;
  int r = take (fd, HELD_BASE, want->held);

  if (r == 0)
    r = take (fd, UNSHARED_BASE, want->unshared);
  if (r < 0)
    return without_locks (fd, r, locked, error);

  r = find_other (fd, HELD_BASE, want->unshared);
  if (r < 0)
    return without_locks (fd, r, locked, error);
  if (r < N_PERMISSIONS)
    return fail (fd, error,
                 (1u << r) == RESIZE
                     ? "another process or device may resize it"
                     : "another process or device writes to it");

  r = find_other (fd, UNSHARED_BASE, want->held);
  if (r < 0)
    return without_locks (fd, r, locked, error);
  if (r < N_PERMISSIONS)
    return fail (
        fd, error,
        writer ? "another process or device uses it and allows no writer"
               : "another process or device uses it and allows no reader");
  *locked = TRUE;
  return TRUE;
}

gboolean
vd_lock_image (int fd, gboolean writer, gboolean *locked, GError **error)
{
  g_autoptr (GError) local = NULL;

  for (guint i = 0; i <= RETRIES; i++) {
    g_clear_error (&local);
    if (vd_lock_try (fd, writer, locked, &local))
      return TRUE;
    if (!g_error_matches (local, G_FILE_ERROR, G_FILE_ERROR_AGAIN))
      break;
    g_usleep (RETRY_US);
  }
  g_propagate_error (error, g_steal_pointer (&local));
  return FALSE;
}

void
vd_lock_await (int fd, gboolean writer)
{
  gboolean locked;

  if (vd_lock_image (fd, writer, &locked, NULL) && locked)
    vd_lock_release (fd);
}
