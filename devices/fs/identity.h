/* SPDX-License-Identifier: BSD-3-Clause
 *
 * identity.h - what the guest's users and attributes are called on the host
 *
 * Threads: made and freed on CONTROL; used on any, without a lock.
 */
#pragma once

#include "devices/fs/id-map.h"
#include "devices/fs/xattr-map.h"
#include "devices/options.h"

typedef struct {
  VdFsIdMap *uids, *gids; /* NULL: the same numbers on both sides */
  /* Or the kernel translates, by an idmapped mount; then uids and gids are NULL
   * and these are what a user namespace has in uid_map and gid_map. */
  char *kernel_uids, *kernel_gids;

  VdFsXattrMap *xattr_map; /* NULL: the same names on both sides */

  /* What the map makes of security.capability, or NULL if it stays: the host's
   * kernel removes only that when a file changes, the rest is up to us. */
  char *moved_capability;
  gboolean moves_acls; /* ACLs have names that the host does not know them by */
} VdFsIdentity;

/* From checked options.  Returns: FALSE with @error set; @identity is cleared
 * then. */
gboolean vd_fs_identity_init (VdFsIdentity *identity, const VdOptions *options,
                              GError **error);
void vd_fs_identity_clear (VdFsIdentity *identity);
