/* SPDX-License-Identifier: BSD-3-Clause
 *
 * acl.h - the users and groups in the value of an ACL's attribute
 *
 * An ACL names users by number, so that it means somebody else on the other
 * side of an id map.  Pure functions; what is no ACL is left as it is, for the
 * host's kernel to refuse.
 */
#pragma once

#include "devices/fs/id-map.h"

/* Whether @name is that of an ACL, in the guest. */
gboolean vd_fs_acl_is_name (const char *name);

/* Rewrites @acl in place; both maps may be NULL.
 * Returns: 0, or -EPERM if the guest may not use one of the numbers. */
int vd_fs_acl_to_host (guint8 *acl, gsize len, const VdFsIdMap *uids,
                       const VdFsIdMap *gids);
void vd_fs_acl_to_guest (guint8 *acl, gsize len, const VdFsIdMap *uids,
                         const VdFsIdMap *gids);
