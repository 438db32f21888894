/* SPDX-License-Identifier: BSD-3-Clause
 *
 * xattr-map.h - other names for extended attributes on the host
 *
 * The language is virtiofsd's.  A map is a list of rules, of which the first
 * that matches a name decides:
 *
 *   :TYPE:SCOPE:KEY:PREPEND:   TYPE is prefix, ok, bad or unsupported, SCOPE is
 *                              client, server or all
 *   :map:KEY:PREPEND:          the usual set of rules, at the end
 *
 * Any character may stand for the colon, for each rule anew; blanks may stand
 * between rules.  A name that the guest uses is matched by the beginning KEY in
 * rules for the client; one that the host lists by PREPEND in rules for the
 * server.
 *
 * Threads: made and freed on CONTROL; used on any, without a lock.
 */
#pragma once

#include <glib.h>
#include <linux/limits.h>

typedef struct VdFsXattrMap VdFsXattrMap;

typedef enum {
  VD_FS_XATTR_MAP_SYNTAX, /* the rule is named */
  VD_FS_XATTR_MAP_OPEN,   /* there are names that no rule matches */
} VdFsXattrMapError;
#define VD_FS_XATTR_MAP_ERROR (vd_fs_xattr_map_error_quark ())
GQuark vd_fs_xattr_map_error_quark (void);

VdFsXattrMap *vd_fs_xattr_map_new (const char *rules, GError **error);
void vd_fs_xattr_map_free (VdFsXattrMap *map); /* NULL is fine */

/* What the host calls @name, which a guest uses.
 * Returns: 0, -EPERM by a bad rule, -EOPNOTSUPP by an unsupported one, or
 * -ERANGE if the name becomes too long. */
int vd_fs_xattr_map_to_host (const VdFsXattrMap *map, const char *name,
                             char ret[XATTR_NAME_MAX + 1]);

/* Rewrites a list of NUL-ended names of the host in place: names are hidden,
 * or lose their prefix.
 * Returns: the new length. */
gsize
vd_fs_xattr_map_to_guest (const VdFsXattrMap *map, char *names, gsize len);

G_DEFINE_AUTOPTR_CLEANUP_FUNC (VdFsXattrMap, vd_fs_xattr_map_free)
