/* SPDX-License-Identifier: BSD-3-Clause
 *
 * id-map.h - other numbers for users and groups on the host
 *
 * The language is virtiofsd's (--translate-uid).  A map is a list of rules,
 * separated by blanks:
 *
 *   guest:GUEST:HOST:COUNT         what the guest uses, on the host
 *   host:HOST:GUEST:COUNT          what the host has, in the guest
 *   map:GUEST:HOST:COUNT           both
 *   squash-guest:GUEST:HOST:COUNT  all these are one user on the host
 *   squash-host:HOST:GUEST:COUNT   all these are one user in the guest
 *   forbid-guest:GUEST:COUNT       the guest may not use these
 *
 * The two directions are independent; what no rule names stays as it is.
 *
 * Threads: made and freed on CONTROL; used on any, without a lock.
 */
#pragma once

#include <glib.h>

typedef struct VdFsIdMap VdFsIdMap;

#define VD_FS_ID_MAP_ERROR (vd_fs_id_map_error_quark ())
GQuark vd_fs_id_map_error_quark (void);
typedef enum {
  VD_FS_ID_MAP_SYNTAX,  /* the rule is named */
  VD_FS_ID_MAP_OVERLAP, /* two rules speak of the same number */
  VD_FS_ID_MAP_ONE_WAY, /* the kernel cannot do that */
} VdFsIdMapError;

VdFsIdMap *vd_fs_id_map_new (const char *rules, GError **error);
void vd_fs_id_map_free (VdFsIdMap *map); /* NULL is fine */

/* @map: (nullable): NULL changes nothing
 * Returns: FALSE if the guest may not use @id. */
gboolean vd_fs_id_map_to_host (const VdFsIdMap *map, guint32 id, guint32 *ret);
guint32 vd_fs_id_map_to_guest (const VdFsIdMap *map, guint32 id);

/* The map as a user namespace has it, for an idmapped mount: lines "HOST GUEST
 * COUNT".  All rules must be of the kind "map".
 * Returns: (transfer full) (nullable): NULL with @error set */
char *vd_fs_id_map_to_namespace (const VdFsIdMap *map, GError **error);

G_DEFINE_AUTOPTR_CLEANUP_FUNC (VdFsIdMap, vd_fs_id_map_free)
