/* SPDX-License-Identifier: BSD-3-Clause */
#include "devices/fs/keys.h"

#include <linux/virtio_fs.h>
#include <string.h>

#include "devices/fs/capabilities.h"

#define FOREVER_S  86400 /* as the other implementations have it */
#define WINDOW_MAX (G_GUINT64_CONSTANT (256) << 30)

static const char *const cache_choices[] = { "never", "metadata", "auto",
                                             "always", NULL };
static const char *const offer_choices[] = { "never", "auto", "always", NULL };
static const char *const jail_choices[] = { "auto", "clone", "live", "none",
                                            NULL };

/* By VdFsLockKinds. */
static const char *const locks_choices[] = { "off", "flock", "posix", "all",
                                             NULL };

static const char *const open_choices[] = { "normal", "lazy", NULL };

static const char *const offload_choices[] = { "auto", "always", "never",
                                               NULL };

/* By VdFsFlush. */
static const char *const flush_choices[] = { "auto", "always", "never", NULL };

static const char *const migration_choices[] = { "find-paths", "file-handles",
                                                 NULL };
static const char *const on_error_choices[] = { "guest-error", "abort", NULL };

const VdKey vd_fs_keys[] = {
  { .name = "source",
    .type = VD_KEY_PATH,
    .help = "the directory to share",
    .flags = VD_KEY_REQUIRED },
  { .name = "tag",
    .type = VD_KEY_STRING,
    .help = "what the guest mounts it by, for front-ends that ask the device "
            "(QEMU has its own tag=); at most 36 bytes" },
  { .name = "queues",
    .type = VD_KEY_UINT,
    .fallback = "1",
    .help = "request queues, beside the one for urgent requests",
    .min = 1,
    .max = 1023 },
  { .name = "cache",
    .type = VD_KEY_ENUM,
    .fallback = "auto",
    .help = "what the guest may keep: never: nothing, metadata: names and "
            "attributes, auto: for a second, always: everything",
    .choices = cache_choices },
  { .name = "read-only",
    .type = VD_KEY_BOOL,
    .fallback = "no",
    .help = "refuse every change" },
  { .name = "xattr",
    .type = VD_KEY_BOOL,
    .fallback = "no",
    .help = "serve extended attributes" },
  { .name = "posix-acl",
    .type = VD_KEY_ENUM,
    .fallback = "auto",
    .help = "POSIX ACLs, with xattr=yes; auto: if the guest knows them",
    .choices = offer_choices },
  { .name = "security-label",
    .type = VD_KEY_ENUM,
    .fallback = "auto",
    .help = "new files get the security label (SELinux) that the guest wants, "
            "with xattr=yes; auto: if the daemon may set it",
    .choices = offer_choices },
  { .name = "xattrmap",
    .type = VD_KEY_STRING,
    .help = "other names for extended attributes on the host, with xattr=yes: "
            "rules in virtiofsd's language" },
  { .name = "translate-uid",
    .type = VD_KEY_STRING,
    .help = "other numbers for users on the host: rules in virtiofsd's "
            "language, separated by blanks" },
  { .name = "translate-gid",
    .type = VD_KEY_STRING,
    .help = "the same for groups" },
  { .name = "idmap",
    .type = VD_KEY_BOOL,
    .fallback = "no",
    .help = "let the kernel translate users and groups, by rules of the kind "
            "map:GUEST:HOST:COUNT; all others are nobody" },
  { .name = "modcaps",
    .type = VD_KEY_STRING,
    .help = "capabilities(7) that the export's threads keep beside those that "
            "it takes, or give up: +sys_admin:-mknod" },
  { .name = "writeback",
    .type = VD_KEY_BOOL,
    .fallback = "no",
    .help = "let the guest collect writes; the share must be its alone" },
  { .name = "entry-timeout",
    .type = VD_KEY_SECONDS,
    .help = "how long names are valid, in seconds; by cache if unset" },
  { .name = "attr-timeout",
    .type = VD_KEY_SECONDS,
    .help = "how long attributes are valid, in seconds; by cache if unset" },
  { .name = "negative-timeout",
    .type = VD_KEY_SECONDS,
    .help = "how long a missing name stays missing, in seconds; by cache if "
            "unset" },
  { .name = "announce-submounts",
    .type = VD_KEY_BOOL,
    .fallback = "yes",
    .help = "let the guest see where other file systems are mounted" },
  { .name = "fd-budget",
    .type = VD_KEY_UINT,
    .fallback = "0",
    .help =
        "descriptors that the guest may cause to be open; beyond it files "
        "are opened again when they are needed; 0: a share of the process's",
    .min = 0,
    .max = 1u << 30 },
  { .name = "open",
    .type = VD_KEY_ENUM,
    .fallback = "normal",
    .help = "lazy: spare the guest a request for opening and one for closing a "
            "file, with read-only=yes",
    .choices = open_choices },
  { .name = "max-write",
    .type = VD_KEY_SIZE,
    .fallback = "1M",
    .help = "bytes of the largest READ and WRITE, rounded down to pages of 4k; "
            "more than 1M needs fs.fuse.max_pages_limit in the guest, and a "
            "queue with more entries than a request has pages",
    .min = 4 << 10,
    .max = 16 << 20 },
  { .name = "readdirplus",
    .type = VD_KEY_BOOL,
    .fallback = "yes",
    .help = "list directories with the attributes of what is in them, when the "
            "guest thinks that it needs them" },
  { .name = "direct-io",
    .type = VD_KEY_BOOL,
    .fallback = "no",
    .help = "files that the guest opens with O_DIRECT bypass the host's page "
            "cache, too" },
  { .name = "preserve-noatime",
    .type = VD_KEY_BOOL,
    .fallback = "no",
    .help = "O_NOATIME of the guest keeps access times on the host" },
  { .name = "locks",
    .type = VD_KEY_ENUM,
    .fallback = "off",
    .help = "make file locks on the host, where all who share the directory "
            "see them; off: each guest has its own",
    .choices = locks_choices },
  { .name = "ioctl",
    .type = VD_KEY_BOOL,
    .fallback = "no",
    .help = "let the guest see and set attributes such as immutable, and "
            "project quotas (chattr, lsattr, xfs_io)" },
  { .name = "offload",
    .type = VD_KEY_ENUM,
    .fallback = "auto",
    .help = "run requests in threads of their own, so that one which hangs "
            "delays no other; auto: where a network file system is involved",
    .choices = offload_choices },
  { .name = "flush",
    .type = VD_KEY_ENUM,
    .fallback = "auto",
    .help = "tell the host of each close() of the guest, which costs a message "
            "and tells errors of earlier writes; auto: where a network file "
            "system is involved",
    .choices = flush_choices },
  { .name = "jail",
    .type = VD_KEY_ENUM,
    .fallback = "auto",
    .help = "clone: a detached copy of the mount, live: checked lookups in the "
            "host's mounts, none: unchecked; auto: clone if permitted, else "
            "live",
    .choices = jail_choices },
  { .name = "landlock",
    .type = VD_KEY_ENUM,
    .fallback = "auto",
    .help = "the kernel keeps the export's threads from opening anything else; "
            "auto: if it can",
    .choices = offer_choices },
  { .name = "dax-size",
    .type = VD_KEY_SIZE,
    .fallback = "0",
    .help = "memory of the guest in which it can map files instead of reading "
            "them, if the front-end has shared memory regions; a multiple of "
            "2M, 0: none",
    .min = 0,
    .max = WINDOW_MAX },
  { .name = "dax-min-size",
    .type = VD_KEY_SIZE,
    .fallback = "0",
    .help = "files that are smaller are read, unless the guest mounts with "
            "dax=always" },
  { .name = "migration-mode",
    .type = VD_KEY_ENUM,
    .fallback = "find-paths",
    .help = "how files are found on the other side: find-paths: by their "
            "paths, file-handles: by file handles, too, which both sides must "
            "have in common",
    .choices = migration_choices },
  { .name = "migration-verify-handles",
    .type = VD_KEY_BOOL,
    .fallback = "no",
    .help = "check paths by file handles on the other side" },
  { .name = "migration-on-error",
    .type = VD_KEY_ENUM,
    .fallback = "guest-error",
    .help = "if a file is not there after a migration: guest-error: the guest "
            "gets errors for it, abort: the migration fails",
    .choices = on_error_choices },
  { 0 },
};

static guint
choice (const VdOptions *options, const char *key, const char *const *choices)
{
  const char *value = vd_options_string (options, key);
  guint i = 0;

  while (strcmp (choices[i], value) != 0)
    i++;
  return i;
}

static VdFsTimeout
timeout (const VdOptions *options, const char *key, gdouble fallback)
{
  gdouble s = vd_options_has (options, key) ? vd_options_seconds (options, key)
                                            : fallback;

  s = MIN (s, G_MAXINT32); /* the guest counts in ticks */
  return (VdFsTimeout){
    .s = (guint64) s,
    .ns = (guint32) ((s - (gdouble) (guint64) s) * 1e9),
  };
}

VdFsPolicy
vd_fs_policy (const VdOptions *options)
{
  /* By VdFsCache; a name that was missing a moment ago is what people wait for,
   * so that auto does not remember it. */
  static const gdouble valid_s[] = { 0, FOREVER_S, 1, FOREVER_S };
  static const gdouble negative_s[] = { 0, FOREVER_S, 0, FOREVER_S };
  guint cache = choice (options, "cache", cache_choices);

  return (VdFsPolicy){
    .cache = cache,
    .lazy_open = choice (options, "open", open_choices) == 1,
    .max_write = (guint32) vd_options_uint (options, "max-write"),
    .readdirplus = vd_options_bool (options, "readdirplus"),
    .direct_io = vd_options_bool (options, "direct-io"),
    .noatime = vd_options_bool (options, "preserve-noatime"),
    .locks = choice (options, "locks", locks_choices),
    .ioctl = vd_options_bool (options, "ioctl"),
    .offload = choice (options, "offload", offload_choices),
    .flush = choice (options, "flush", flush_choices),
    .acl = choice (options, "posix-acl", offer_choices),
    .label = choice (options, "security-label", offer_choices),
    .landlock = choice (options, "landlock", offer_choices),
    .read_only = vd_options_bool (options, "read-only"),
    .xattr = vd_options_bool (options, "xattr"),
    .writeback = vd_options_bool (options, "writeback"),
    .announce_submounts = vd_options_bool (options, "announce-submounts"),
    .entry = timeout (options, "entry-timeout", valid_s[cache]),
    .attr = timeout (options, "attr-timeout", valid_s[cache]),
    .negative = timeout (options, "negative-timeout", negative_s[cache]),
    .dax_min_size = vd_options_uint (options, "dax-min-size"),
    .migration = {
      .by_handle = choice (options, "migration-mode", migration_choices) == 1,
      .verify = vd_options_bool (options, "migration-verify-handles"),
      .abort_on_error =
          choice (options, "migration-on-error", on_error_choices) == 1,
    },
  };
}

static gboolean
check_identity (const VdOptions *options, const VdFsIdentity *identity,
                GError **error)
{
  gboolean xattr = vd_options_bool (options, "xattr");
  gboolean acl = choice (options, "posix-acl", offer_choices) == VD_FS_ALWAYS;
  gboolean label =
      choice (options, "security-label", offer_choices) == VD_FS_ALWAYS;

  if (identity->xattr_map != NULL && !xattr)
    vd_options_set_error (options, "xattrmap", error,
                          "there are no attributes to map: add xattr=yes");
  else if (acl && !xattr)
    vd_options_set_error (options, "posix-acl", error,
                          "ACLs are extended attributes: add xattr=yes");
  else if (label && !xattr)
    vd_options_set_error (options, "security-label", error,
                          "labels are extended attributes: add xattr=yes");
  else if (acl && identity->moves_acls)
    vd_options_set_error (options, "posix-acl", error,
                          "xattrmap gives ACLs a name by which the host does "
                          "not know them");
  else if (vd_options_bool (options, "idmap") &&
           choice (options, "jail", jail_choices) > VD_FS_JAIL_CLONE)
    vd_options_set_error (options, "idmap", error,
                          "only a detached mount can have other owners: "
                          "jail=clone");
  else
    return TRUE;
  return FALSE;
}

/* What the export's threads give up. */
static gboolean
drop_of (const VdOptions *options, guint64 *ret, GError **error)
{
  guint64 keep = vd_fs_capabilities (vd_options_bool (options, "xattr"),
                                     vd_options_bool (options, "ioctl"));
  g_autoptr (GError) why = NULL;

  if (!vd_fs_capabilities_modify (&keep, vd_options_string (options, "modcaps"),
                                  &why)) {
    vd_options_set_error (options, "modcaps", error, "%s", why->message);
    return FALSE;
  }
  *ret = ~keep;
  return TRUE;
}

gboolean
vd_fs_keys_check (VdOptions *options, GError **error)
{
  const char *tag = vd_options_string (options, "tag");
  VdFsIdentity identity;
  guint64 drop;
  gboolean ok;

  if (tag != NULL &&
      (tag[0] == '\0' ||
       strlen (tag) > sizeof ((struct virtio_fs_config *) NULL)->tag)) {
    vd_options_set_error (options, "tag", error, "not 1 to 36 bytes long");
    return FALSE;
  }
  if (choice (options, "open", open_choices) == 1 &&
      !vd_options_bool (options, "read-only")) {
    vd_options_set_error (options, "open", error,
                          "lazy is for directories that the guest cannot "
                          "change: add read-only=yes");
    return FALSE;
  }
  if (vd_options_uint (options, "dax-size") % VD_FS_DAX_PIECE != 0) {
    vd_options_set_error (options, "dax-size", error,
                          "not a multiple of 2M, the size of a mapping");
    return FALSE;
  }
  if (!drop_of (options, &drop, error) ||
      !vd_fs_identity_init (&identity, options, error))
    return FALSE;
  ok = check_identity (options, &identity, error);
  vd_fs_identity_clear (&identity);
  return ok;
}

VdFsJailConfig
vd_fs_jail_config (const VdOptions *options, const VdFsIdentity *identity)
{
  guint64 drop = 0;

  (void) drop_of (options, &drop, NULL); /* checked before */
  return (VdFsJailConfig){
    .kind = choice (options, "jail", jail_choices),
    .clone = { .read_only = vd_options_bool (options, "read-only"),
               .uid_map = identity->kernel_uids,
               .gid_map = identity->kernel_gids },
    .drop = drop,
  };
}
