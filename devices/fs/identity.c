/* SPDX-License-Identifier: BSD-3-Clause */
#include "devices/fs/identity.h"

#include <linux/xattr.h>
#include <string.h>

/* What @name is on the host, if that is another name.
 * Returns: (transfer full) (nullable) */
static char *
moved_name (const VdFsXattrMap *map, const char *name)
{
  char host[XATTR_NAME_MAX + 1];

  if (map == NULL || vd_fs_xattr_map_to_host (map, name, host) < 0 ||
      strcmp (name, host) == 0)
    return NULL;
  return g_strdup (host);
}

static gboolean
init_xattr (VdFsIdentity *identity, const VdOptions *options, GError **error)
{
  const char *rules = vd_options_string (options, "xattrmap");
  g_autoptr (GError) why = NULL;
  g_autofree char *access = NULL;
  g_autofree char *inherited = NULL;

  if (rules == NULL)
    return TRUE;
  identity->xattr_map = vd_fs_xattr_map_new (rules, &why);
  if (identity->xattr_map == NULL) {
    vd_options_set_error (options, "xattrmap", error, "%s", why->message);
    return FALSE;
  }
  identity->moved_capability =
      moved_name (identity->xattr_map, XATTR_NAME_CAPS);
  access = moved_name (identity->xattr_map, XATTR_NAME_POSIX_ACL_ACCESS);
  inherited = moved_name (identity->xattr_map, XATTR_NAME_POSIX_ACL_DEFAULT);
  identity->moves_acls = access != NULL || inherited != NULL;
  return TRUE;
}

static gboolean
init_ids (VdFsIdMap **ret, const VdOptions *options, const char *key,
          GError **error)
{
  const char *rules = vd_options_string (options, key);
  g_autoptr (GError) why = NULL;

  if (rules == NULL)
    return TRUE;
  *ret = vd_fs_id_map_new (rules, &why);
  if (*ret == NULL)
    vd_options_set_error (options, key, error, "%s", why->message);
  return *ret != NULL;
}

/* Moves the map from the daemon to the kernel. */
static gboolean
to_kernel (VdFsIdMap **map, char **ret, const VdOptions *options,
           const char *key, GError **error)
{
  g_autoptr (GError) why = NULL;

  *ret = *map != NULL ? vd_fs_id_map_to_namespace (*map, &why)
                      : g_strdup ("0 0 4294967295\n");
  if (*ret == NULL)
    vd_options_set_error (options, key, error, "%s (idmap=yes)", why->message);
  g_clear_pointer (map, vd_fs_id_map_free);
  return *ret != NULL;
}

static gboolean
init_kernel (VdFsIdentity *identity, const VdOptions *options, GError **error)
{
  if (!vd_options_bool (options, "idmap"))
    return TRUE;
  if (identity->uids == NULL && identity->gids == NULL) {
    vd_options_set_error (options, "idmap", error,
                          "there is nothing to translate: add translate-uid, "
                          "translate-gid or both");
    return FALSE;
  }
  return to_kernel (&identity->uids, &identity->kernel_uids, options,
                    "translate-uid", error) &&
         to_kernel (&identity->gids, &identity->kernel_gids, options,
                    "translate-gid", error);
}

gboolean
vd_fs_identity_init (VdFsIdentity *identity, const VdOptions *options,
                     GError **error)
{
  *identity = (VdFsIdentity){ 0 };
  if (init_xattr (identity, options, error) &&
      init_ids (&identity->uids, options, "translate-uid", error) &&
      init_ids (&identity->gids, options, "translate-gid", error) &&
      init_kernel (identity, options, error))
    return TRUE;
  vd_fs_identity_clear (identity);
  return FALSE;
}

void
vd_fs_identity_clear (VdFsIdentity *identity)
{
  g_clear_pointer (&identity->uids, vd_fs_id_map_free);
  g_clear_pointer (&identity->gids, vd_fs_id_map_free);
  g_clear_pointer (&identity->kernel_uids, g_free);
  g_clear_pointer (&identity->kernel_gids, g_free);
  g_clear_pointer (&identity->xattr_map, vd_fs_xattr_map_free);
  g_clear_pointer (&identity->moved_capability, g_free);
}
