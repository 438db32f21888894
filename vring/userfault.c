/* SPDX-License-Identifier: BSD-3-Clause */
#include "vring/userfault.h"

#include <errno.h>
#include <fcntl.h>
#include <gio/gio.h>
#include <linux/userfaultfd.h>
#include <sys/ioctl.h>
#include <sys/mman.h>
#include <sys/syscall.h>
#include <unistd.h>

#include "vring/fd.h"

#ifndef USERFAULTFD_IOC_NEW /* Linux 6.1 */
#define USERFAULTFD_IOC_NEW _IO (0xaa, 0x00)
#endif

/* Without UFFD_USER_MODE_ONLY: most of our accesses are the kernel's. */
#define FLAGS (O_CLOEXEC | O_NONBLOCK)

/* Returns: a descriptor, or -1 with errno set. */
static int
open_raw (void)
{
  int uffd = (int) syscall (SYS_userfaultfd, FLAGS);
  vd_autofd device = -1;

  if (uffd >= 0 || errno != EPERM)
    return uffd;
  device = open ("/dev/userfaultfd", O_RDWR | O_CLOEXEC);
  return device < 0 ? -1 : ioctl (device, USERFAULTFD_IOC_NEW, FLAGS);
}

int
vd_userfault_open (GError **error)
{
  struct uffdio_api api = { .api = UFFD_API };
  vd_autofd uffd = open_raw ();

  if (uffd >= 0 && ioctl (uffd, UFFDIO_API, &api) == 0)
    return vd_steal_fd (&uffd);
  g_set_error (error, G_IO_ERROR, g_io_error_from_errno (errno),
               "userfaultfd is not permitted (%s): it takes CAP_SYS_PTRACE, "
               "access to /dev/userfaultfd, or "
               "vm.unprivileged_userfaultfd=1",
               g_strerror (errno));
  return -1;
}

gboolean
vd_userfault_register (int uffd, void *start, gsize len)
{
  struct uffdio_register arg = {
    .range = { (guintptr) start, len },
    .mode = UFFDIO_REGISTER_MODE_MISSING,
  };

  /* A fault is for one page, and so is the wake-up that ends it. */
  madvise (start, len, MADV_NOHUGEPAGE);
  return ioctl (uffd, UFFDIO_REGISTER, &arg) == 0;
}

void
vd_userfault_unregister (int uffd, void *start, gsize len)
{
  struct uffdio_range range = { (guintptr) start, len };

  if (ioctl (uffd, UFFDIO_UNREGISTER, &range) < 0)
    g_debug ("userfaultfd: %s", g_strerror (errno));
}

void
vd_userfault_abandon (int uffd, void *start, gsize len)
{
  struct uffdio_range range = { (guintptr) start, len };
  vd_autofd empty = memfd_create ("virtiod-lost", MFD_CLOEXEC);

  if (empty < 0 ||
      mmap (start, len, PROT_READ | PROT_WRITE,
            MAP_SHARED | MAP_NORESERVE | MAP_FIXED, empty, 0) == MAP_FAILED) {
    vd_userfault_unregister (uffd, start, len); /* nobody must wait for ever */
    return;
  }
  /* Those who wait look again and find what is there now. */
  ioctl (uffd, UFFDIO_WAKE, &range);
}
