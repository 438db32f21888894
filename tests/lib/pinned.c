/* SPDX-License-Identifier: BSD-3-Clause */
#include "tests/lib/pinned.h"

#include <string.h>
#include <sys/mman.h>

#include "build-options.h"
#include "tests/lib/socket.h"

#if VD_HAVE_URING
#include <liburing.h>
#endif

gsize
vt_pinned (GPid pid)
{
  g_autofree char *path = g_strdup_printf ("/proc/%d/status", pid);
  g_autofree char *status = NULL;
  const char *line;

  g_assert_true (g_file_get_contents (path, &status, NULL, NULL));
  line = strstr (status, "\nVmPin:");
  g_assert_nonnull (line);
  return g_ascii_strtoull (line + strlen ("\nVmPin:"), NULL, 10) << 10;
}

void
vt_wait_pinned (GPid pid, gsize expected)
{
  gint64 end = g_get_monotonic_time () + VT_TIMEOUT_MS * 1000ll;

  while (vt_pinned (pid) != expected) {
    if (g_get_monotonic_time () > end)
      g_error ("%" G_GSIZE_FORMAT " bytes are pinned, not %" G_GSIZE_FORMAT,
               vt_pinned (pid), expected);
    g_usleep (500);
  }
}

#if VD_HAVE_URING

/* Returns: NULL, or why not. */
static const char *
try_to_pin (gsize len)
{
  struct io_uring ring;
  struct iovec iov = { .iov_len = len };
  int r;

  if (io_uring_queue_init (1, &ring, 0) < 0)
    return "no io_uring";
  r = io_uring_register_buffers_sparse (&ring, 1);
  if (r == 0) {
    iov.iov_base = mmap (NULL, len, PROT_READ | PROT_WRITE,
                         MAP_SHARED | MAP_ANONYMOUS, -1, 0);
    g_assert_true (iov.iov_base != MAP_FAILED);
    r = io_uring_register_buffers_update_tag (&ring, 0, &iov, NULL, 1);
    munmap (iov.iov_base, len);
    io_uring_unregister_buffers (&ring); /* the ring itself ends later */
  }
  io_uring_queue_exit (&ring);
  return r < 0 ? "memory cannot be pinned here: see RLIMIT_MEMLOCK" : NULL;
}

#else

static const char *
try_to_pin (gsize len)
{
  return "built without io_uring";
}

#endif

gboolean
vt_may_pin (gsize len)
{
  const char *why = try_to_pin (len);

  if (why)
    g_test_skip (why);
  return !why;
}
