/* SPDX-License-Identifier: BSD-3-Clause
 *
 * clone.h - a private, detached copy of the host's mounts
 *
 * It needs no chroot and no mount namespace, so any number of exports live in
 * one process without a common root.  In it ".." ends at its own root and the
 * kernel enforces what was asked for, whatever the guest believes.
 *
 * May block.  CONTROL.
 */
#pragma once

#include <glib.h>

typedef struct {
  gboolean read_only;
  /* Owners of files as another user namespace has them: lines "HOST GUEST
   * COUNT", or both NULL.  All others are nobody. */
  const char *uid_map, *gid_map;
} VdFsCloneConfig;

/* Copies directory @source and all that is mounted below, without devices,
 * set-id programs and symbolic links that are followed.  Who lacks CAP_SYS_ADMIN
 * does it in a user namespace, if the system lets users make one.
 * Returns: a descriptor, whose closing dissolves the mounts, or -errno: -EPERM
 * if neither is permitted, -EINVAL if a file system knows no other owners. */
int vd_fs_clone (const char *source, const VdFsCloneConfig *config);
