/* SPDX-License-Identifier: BSD-3-Clause */
#include "devices/fs/acl.h"

#include <errno.h>
#include <linux/posix_acl.h>
#include <linux/posix_acl_xattr.h>
#include <linux/xattr.h>
#include <string.h>

typedef struct posix_acl_xattr_header Header;
typedef struct posix_acl_xattr_entry Entry;

gboolean
vd_fs_acl_is_name (const char *name)
{
  return strcmp (name, XATTR_NAME_POSIX_ACL_ACCESS) == 0 ||
         strcmp (name, XATTR_NAME_POSIX_ACL_DEFAULT) == 0;
}

static int
translate (guint8 *acl, gsize len, const VdFsIdMap *uids, const VdFsIdMap *gids,
           gboolean to_host)
{
  Header header;

  if ((uids == NULL && gids == NULL) || len < sizeof header)
    return 0;
  memcpy (&header, acl, sizeof header);
  if (header.a_version != POSIX_ACL_XATTR_VERSION)
    return 0;
  for (gsize at = sizeof header; len - at >= sizeof (Entry);
       at += sizeof (Entry)) {
    const VdFsIdMap *map;
    Entry entry;

    memcpy (&entry, acl + at, sizeof entry);
    if (entry.e_tag != ACL_USER && entry.e_tag != ACL_GROUP)
      continue;
    map = entry.e_tag == ACL_USER ? uids : gids;
    if (!to_host)
      entry.e_id = vd_fs_id_map_to_guest (map, entry.e_id);
    else if (!vd_fs_id_map_to_host (map, entry.e_id, &entry.e_id))
      return -EPERM;
    memcpy (acl + at, &entry, sizeof entry);
  }
  return 0;
}

int
vd_fs_acl_to_host (guint8 *acl, gsize len, const VdFsIdMap *uids,
                   const VdFsIdMap *gids)
{
  return translate (acl, len, uids, gids, TRUE);
}

void
vd_fs_acl_to_guest (guint8 *acl, gsize len, const VdFsIdMap *uids,
                    const VdFsIdMap *gids)
{
  translate (acl, len, uids, gids, FALSE);
}
