/* SPDX-License-Identifier: BSD-3-Clause
 *
 * seccomp-none.c - seccomp-filter.h of a build that has none: without libseccomp, on a
 * machine whose registers seccomp-filter.c does not know, or with a sanitizer, whose
 * own system calls cannot be listed
 */
#define G_LOG_DOMAIN "virtiod"

#include <gio/gio.h>

#include "server/seccomp-filter.h"

struct VdSeccomp {
  VdSeccompMode mode;
};

VdSeccomp *
vd_seccomp_new (VdSeccompMode mode, const VdDeviceOps *const *registry,
                GError **error)
{
  VdSeccomp *seccomp;

  if (mode != VD_SECCOMP_NONE && mode != VD_SECCOMP_AUTO) {
    g_set_error (error, G_IO_ERROR, G_IO_ERROR_NOT_SUPPORTED,
                 "seccomp: this build has no filters");
    return NULL;
  }
  seccomp = g_new (VdSeccomp, 1);
  seccomp->mode = VD_SECCOMP_NONE;
  return seccomp;
}

void
vd_seccomp_confine (const VdSeccomp *seccomp, VdDevice *dev)
{
}

gboolean
vd_seccomp_enter (const VdSeccomp *seccomp, GError **error)
{
  return TRUE;
}

VdSeccompMode
vd_seccomp_mode (const VdSeccomp *seccomp)
{
  return seccomp->mode;
}

guint
vd_seccomp_n_stopped (void)
{
  return 0;
}

void
vd_seccomp_free (VdSeccomp *seccomp)
{
  g_free (seccomp);
}
