/* SPDX-License-Identifier: BSD-3-Clause
 *
 * personality-virtiofsd-options.c - the table of options
 */
#define G_LOG_DOMAIN "virtiod"

#include "server/personality-virtiofsd.h"

#include <string.h>

/* What is more than a key. */

static gboolean
take_socket (VdFsdParse *parse, const VdFsdRow *row, const char *value,
             GError **error)
{
  g_autofree char *path = g_canonicalize_filename (value, NULL);

  vd_fsd_set_key (parse, "socket", path);
  parse->path = TRUE;
  return TRUE;
}

static gboolean
take_fd (VdFsdParse *parse, const VdFsdRow *row, const char *value,
         GError **error)
{
  g_autofree char *socket = g_strconcat ("fd:", value, NULL);

  vd_fsd_set_key (parse, "socket", socket);
  parse->fd = TRUE;
  return TRUE;
}

static gboolean
take_group (VdFsdParse *parse, const VdFsdRow *row, const char *value,
            GError **error)
{
  vd_fsd_set_key (parse, "socket-group", value);
  vd_fsd_set_key (parse, "socket-mode", "0660");
  return TRUE;
}

static gboolean
take_timeout (VdFsdParse *parse, const VdFsdRow *row, const char *value,
              GError **error)
{
  vd_fsd_set_key (parse, "entry-timeout", value);
  vd_fsd_set_key (parse, "attr-timeout", value);
  return TRUE;
}

static gboolean
take_level (VdFsdParse *parse, const VdFsdRow *row, const char *value,
            GError **error)
{
  static const struct {
    const char *name;
    GLogLevelFlags level;
  } levels[] = {
    { "off", G_LOG_LEVEL_ERROR },    { "error", G_LOG_LEVEL_WARNING },
    { "err", G_LOG_LEVEL_WARNING },  { "warn", G_LOG_LEVEL_WARNING },
    { "info", G_LOG_LEVEL_MESSAGE }, { "debug", G_LOG_LEVEL_DEBUG },
    { "trace", G_LOG_LEVEL_DEBUG },
  };

  for (guint i = 0; i < G_N_ELEMENTS (levels); i++)
    if (g_ascii_strcasecmp (levels[i].name, value) == 0) {
      parse->ret->log_level = levels[i].level;
      return TRUE;
    }
  return vd_fsd_fail (error, row->name,
                      "'%s' is not off, error, warn, info, debug or trace",
                      value);
}

/* Both kinds are one key, and given in any order. */
static gboolean
take_locks (VdFsdParse *parse, const VdFsdRow *row, const char *value,
            GError **error)
{
  gboolean wanted = !g_str_has_prefix (row->name, "no-");

  if (g_str_has_suffix (row->name, "flock"))
    parse->flock = wanted;
  else
    parse->posix_lock = wanted;
  vd_fsd_set_key (parse, "locks",
                  parse->flock && parse->posix_lock ? "all"
                  : parse->flock                    ? "flock"
                  : parse->posix_lock               ? "posix"
                                                    : "off");
  return TRUE;
}

/* ":GUEST:HOST:COUNT:" with any sign for ':'; done by the kernel, as there. */
static gboolean
take_kernel_map (VdFsdParse *parse, const VdFsdRow *row, const char *value,
                 GError **error)
{
  const char separator[] = { value[0], '\0' };
  g_auto (GStrv) parts = g_strsplit (value, separator, -1);
  g_autofree char *rule = NULL;
  guint n = g_strv_length (parts);

  if (g_ascii_isalnum (value[0]) || n < 4 || n > 5 ||
      (n == 5 && *parts[4] != '\0'))
    return vd_fsd_fail (error, row->name,
                        "'%s' is not :GUEST:HOST:COUNT: with one separator",
                        value);
  rule = g_strdup_printf ("map:%s:%s:%s", parts[1], parts[2], parts[3]);
  vd_fsd_set_key (parse, "idmap", "yes");
  vd_fsd_add_to_list (
      parse, row->name[0] == 'u' ? "translate-uid" : "translate-gid", rule);
  return TRUE;
}

static gboolean
take_debug (VdFsdParse *parse, const VdFsdRow *row, const char *value,
            GError **error)
{
  parse->ret->log_level = G_LOG_LEVEL_DEBUG;
  return TRUE;
}

static gboolean
take_syslog (VdFsdParse *parse, const VdFsdRow *row, const char *value,
             GError **error)
{
  parse->ret->syslog = TRUE;
  return TRUE;
}

static gboolean
take_daemonize (VdFsdParse *parse, const VdFsdRow *row, const char *value,
                GError **error)
{
  parse->ret->daemonize = TRUE;
  return TRUE;
}

static gboolean
take_capabilities (VdFsdParse *parse, const VdFsdRow *row, const char *value,
                   GError **error)
{
  parse->print_capabilities = TRUE;
  return TRUE;
}

static gboolean
take_seccomp (VdFsdParse *parse, const VdFsdRow *row, const char *value,
              GError **error)
{
  parse->seccomp = value;
  return TRUE;
}

static gboolean
take_n_files (VdFsdParse *parse, const VdFsdRow *row, const char *value,
              GError **error)
{
  return g_ascii_string_to_unsigned (value, 10, 0, G_MAXINT,
                                     &parse->ret->n_files, NULL) ||
         vd_fsd_fail (error, row->name, "'%s' is not a number of descriptors",
                      value);
}

/* Changes nothing, but a mistake is one. */
static gboolean
take_n_threads (VdFsdParse *parse, const VdFsdRow *row, const char *value,
                GError **error)
{
  return g_ascii_string_to_unsigned (value, 10, 0, G_MAXUINT, NULL, NULL) ||
         vd_fsd_fail (error, row->name, "'%s' is not a number of threads",
                      value);
}

static const VdFsdWord cache_words[] = {
  { "auto", "auto" },  { "always", "always" },     { "never", "never" },
  { "none", "never" }, { "metadata", "metadata" }, { 0 },
};
/* Without a sandbox virtiofsd sees what the host mounts later. */
static const VdFsdWord sandbox_words[] = {
  { "namespace", "auto" },
  { "chroot", "auto" },
  { "none", "live" },
  { 0 },
};
static const VdFsdWord seccomp_words[] = {
  { "none", "none" },
  { "kill", "kill" },
  { "log", "log" },
  { "trap", "trap" },
  { 0 },
};
static const VdFsdWord offer_words[] = {
  { "never", "never" },
  { "auto", "auto" },
  { "always", "always" },
  { 0 },
};
static const VdFsdWord handle_words[] = {
  { "never", "" }, { "prefer", "" }, { "fallback", "" }, { "mandatory", "" },
  { 0 },
};

static const char locks_alone[] = "each guest has locks of its own anyway";
static const char set_id[] = "set-id bits go whenever the guest can tell when";

const VdFsdRow vd_fsd_rows[] = {
  { "shared-dir", LONG, NEEDED, .key = "source" },
  { "source", COMPAT, NEEDED, .key = "source" },
  { "tag", LONG, NEEDED, .key = "tag" },
  { "socket-path", LONG, NEEDED, .take = take_socket },
  { "socket", LONG, NEEDED, .take = take_socket },
  { "socket-group", LONG, NEEDED, .take = take_group },
  { "fd", LONG, NEEDED, .take = take_fd },

  { "cache", BOTH, NEEDED, .key = "cache", .words = cache_words },
  { "timeout", COMPAT, NEEDED, .take = take_timeout },
  { "writeback", BOTH, NONE, .key = "writeback", .fixed = "yes" },
  { "no-writeback", COMPAT, NONE, .key = "writeback", .fixed = "no" },
  { "allow-mmap", LONG, NONE,
    .note = "shared mappings work with every cache policy" },
  { "allow-direct-io", BOTH, NONE, .key = "direct-io", .fixed = "yes" },
  { "no-allow-direct-io", COMPAT, NONE, .key = "direct-io", .fixed = "no" },
  { "readdirplus", COMPAT, NONE, .key = "readdirplus", .fixed = "yes" },
  { "no-readdirplus", BOTH, NONE, .key = "readdirplus", .fixed = "no" },
  { "preserve-noatime", LONG, NONE, .key = "preserve-noatime", .fixed = "yes" },

  { "readonly", LONG, NONE, .key = "read-only", .fixed = "yes" },
  { "announce-submounts", BOTH, NONE, .key = "announce-submounts",
    .fixed = "yes" },
  { "no-announce-submounts", BOTH, NONE, .key = "announce-submounts",
    .fixed = "no" },
  { "sandbox", BOTH, NEEDED, .key = "jail", .words = sandbox_words },
  { "inode-file-handles", LONG, NEEDED, .words = handle_words,
    .note = "files are kept open as long as there are descriptors, and then "
            "found by handles" },
  { "flock", COMPAT, NONE, .take = take_locks },
  { "no-flock", COMPAT, NONE, .take = take_locks, .note = locks_alone },
  { "posix-lock", COMPAT, NONE, .take = take_locks },
  { "no-posix-lock", COMPAT, NONE, .take = take_locks, .note = locks_alone },

  { "xattr", BOTH, NONE, .key = "xattr", .fixed = "yes" },
  { "no-xattr", COMPAT, NONE, .key = "xattr", .fixed = "no" },
  { "xattrmap", BOTH, NEEDED, .key = "xattrmap", .xattr = TRUE },
  { "posix-acl", BOTH, OPTIONAL, .key = "posix-acl", .fixed = "always",
    .words = offer_words, .xattr = TRUE },
  { "no-posix-acl", COMPAT, NONE, .key = "posix-acl", .fixed = "never" },
  { "security-label", BOTH, OPTIONAL, .key = "security-label",
    .fixed = "always", .words = offer_words, .xattr = TRUE },
  { "no-security-label", COMPAT, NONE, .key = "security-label",
    .fixed = "never" },
  { "killpriv-v2", BOTH, NONE, .note = set_id },
  { "no-killpriv-v2", BOTH, NONE, .note = set_id },
  { "uid-map", LONG, NEEDED, .take = take_kernel_map },
  { "gid-map", LONG, NEEDED, .take = take_kernel_map },
  { "translate-uid", LONG, NEEDED, .key = "translate-uid", .list = TRUE },
  { "translate-gid", LONG, NEEDED, .key = "translate-gid", .list = TRUE },
  { "seccomp", LONG, NEEDED, .words = seccomp_words, .take = take_seccomp },
  { "modcaps", BOTH, NEEDED, .key = "modcaps" },

  { "migration-mode", LONG, NEEDED, .key = "migration-mode" },
  { "migration-on-error", LONG, NEEDED, .key = "migration-on-error" },
  { "migration-verify-handles", LONG, NONE, .key = "migration-verify-handles",
    .fixed = "yes" },
  { "migration-confirm-paths", LONG, NONE,
    .note = "paths are always confirmed" },

  { "rlimit-nofile", LONG, NEEDED, .take = take_n_files },
  { "log-level", BOTH, NEEDED, .take = take_level },
  { "loglevel", COMPAT, NEEDED, .take = take_level },
  { "debug", COMPAT, NONE, .take = take_debug },
  { "syslog", LONG, NONE, .take = take_syslog },
  { "daemonize", LONG, NONE, .take = take_daemonize },
  { "print-capabilities", LONG, NONE, .take = take_capabilities },
  { "thread-pool-size", LONG, NEEDED, .take = take_n_threads,
    .note = "each queue has its thread, others start when a call would block" },
  { "max-idle-threads", COMPAT, NEEDED, .take = take_n_threads,
    .note = "idle threads end by themselves" },
  { "allow-root", COMPAT, NONE, .note = "an option of mount(8)" },
};

const guint vd_fsd_n_rows = G_N_ELEMENTS (vd_fsd_rows);
