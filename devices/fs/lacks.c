/* SPDX-License-Identifier: BSD-3-Clause */
#include "devices/fs/lacks.h"

#include <linux/capability.h>
#include <stdio.h>
#include <unistd.h>

#include "devices/fs/cred.h"

/* Whether all users of the system are known in our user namespace. */
static gboolean
has_all_users (void)
{
  unsigned int first, parent, count = 0;
  FILE *map = fopen ("/proc/self/uid_map", "re");

  if (map == NULL) /* a kernel without user namespaces */
    return TRUE;
  if (fscanf (map, "%u %u %u", &first, &parent, &count) != 3)
    count = 0;
  fclose (map);
  return count == G_MAXUINT32;
}

static void
lack (GString *text, gboolean lacking, const char *what)
{
  if (lacking)
    g_string_append_printf (text, "%s%s", text->len > 0 ? "; " : "", what);
}

/* Whether the export's threads lack capability @cap. */
static gboolean
cannot (const VdFs *fs, guint cap)
{
  return !vd_fs_cred_has (cap) || (fs->jail.drop >> cap & 1) != 0;
}

static void
lacks_privileges (const VdFs *fs, GString *text)
{
  gboolean all_users = has_all_users ();
  g_autofree char *owner =
      g_strdup_printf ("new files belong to user %u", geteuid ());

  lack (text, cannot (fs, CAP_SETUID) || cannot (fs, CAP_SETGID), owner);
  lack (text, cannot (fs, CAP_CHOWN), "owners cannot be changed");
  lack (text, cannot (fs, CAP_DAC_OVERRIDE),
        "files that the daemon's user may not open are not served");
  lack (text, cannot (fs, CAP_FOWNER),
        "modes and times of others' files cannot be changed");
  lack (text, !all_users,
        "users that are not in the daemon's user namespace own no files");
  lack (text, cannot (fs, CAP_MKNOD) || !all_users, "no device nodes");
  lack (text, fs->policy.xattr && (cannot (fs, CAP_SYS_ADMIN) || !all_users),
        "no attributes trusted.* and security.* (but see xattrmap)");
}

char *
vd_fs_lacks (const VdFs *fs)
{
  g_autoptr (GString) text = g_string_new (NULL);
  gboolean clone = fs->jail.kind == VD_FS_JAIL_CLONE;

  lacks_privileges (fs, text);
  lack (text, fs->jail.lacks_clone,
        "no detached mount, lookups are checked one by one (jail=live)");
  lack (text, fs->policy.read_only && !clone,
        "not the kernel but the daemon refuses changes");
  lack (text, fs->policy.landlock != VD_FS_NEVER && fs->jail.rules < 0,
        "no Landlock in this kernel, or one without errata 3");
  return text->len > 0 ? g_string_free (g_steal_pointer (&text), FALSE) : NULL;
}
