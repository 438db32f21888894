/* SPDX-License-Identifier: BSD-3-Clause
 *
 * test-personality.c - what server/personality.c promises
 */
#include "server/personality.h"

#include <string.h>

#include "server/config.h"

/* @line: words without the program's name; "|" separates */
static VdPersonality *
translate (const char *line, GError **error)
{
  g_autofree char *full = g_strconcat ("/usr/libexec/virtiofsd|", line, NULL);
  g_auto (GStrv) words = g_strsplit (full, "|", -1);

  return vd_personality_new ((int) g_strv_length (words), words, error);
}

static VdPersonality *
translated (const char *line)
{
  g_autoptr (GError) error = NULL;
  VdPersonality *personality = translate (line, &error);

  g_assert_no_error (error);
  return personality;
}

/* What virtiod makes of the translation, checked by its own tables. */
static VdServerConfig *
parsed (const VdPersonality *personality, GError **error)
{
  g_autofree char **words = g_memdup2 (personality->argv->pdata,
                                       personality->argv->len * sizeof *words);
  char **moved = words;
  int n = (int) personality->argv->len - 1;

  return vd_server_config_parse (vd_registry, &n, &moved, error);
}

/* @line: an option beside socket and directory
 * Returns: (transfer full): the device that it makes */
static VdServerConfig *
config_of (const char *line)
{
  g_autofree char *full = g_strconcat ("--fd=3|--shared-dir=/srv",
                                       *line != '\0' ? "|" : "", line, NULL);
  g_autoptr (VdPersonality) personality = translated (full);
  g_autoptr (GError) error = NULL;
  VdServerConfig *config = parsed (personality, &error);

  g_assert_no_error (error);
  return config;
}

static void
assert_keys (const char *line, const char *keys)
{
  g_autoptr (VdServerConfig) config = config_of (line);
  const VdDeviceConfig *device = g_ptr_array_index (config->devices, 0);
  g_auto (GStrv) pairs = g_strsplit (keys, "|", -1);

  for (guint i = 0; pairs[i] != NULL; i++) {
    g_auto (GStrv) pair = g_strsplit (pairs[i], "=", 2);
    g_autofree char *text = vd_options_to_text (device->options);
    g_autofree char *found = g_strdup_printf ("\n%s\n", text);
    g_autofree char *want = g_strdup_printf ("\n%s=%s\n", pair[0], pair[1]);

    if (strstr (found, want) == NULL)
      g_error ("%s: no %s in %s", line, pairs[i], text);
  }
}

static void
assert_refused (const char *line, const char *says)
{
  g_autoptr (GError) error = NULL;
  g_autoptr (VdPersonality) personality = translate (line, &error);

  g_assert_null (personality);
  g_assert_error (error, VD_PERSONALITY_ERROR, VD_PERSONALITY_ERROR_OPTION);
  if (strstr (error->message, says) == NULL)
    g_error ("%s: '%s' does not say '%s'", line, error->message, says);
  g_assert_null (strchr (error->message, '\n'));
}

static void
test_only_the_name_virtiofsd_applies (void)
{
  g_assert_true (vd_personality_applies ("virtiofsd"));
  g_assert_true (vd_personality_applies ("/usr/libexec/virtiofsd"));
  g_assert_false (vd_personality_applies ("virtiod"));
  g_assert_false (vd_personality_applies ("/srv/virtiofsd/virtiod"));
  g_assert_false (vd_personality_applies ("not-virtiofsd"));
  g_assert_false (vd_personality_applies (NULL));
}

/* As qemu_virtiofs.c of libvirt calls the C virtiofsd and the older Rust one:
 * commas are doubled. */
static void
test_the_call_of_an_older_libvirt (void)
{
  g_autoptr (VdPersonality) personality = translated (
      "--fd=31|-o|source=/srv/a,,b,cache=always,sandbox=namespace,xattr,"
      "no_flock,no_posix_lock|--thread-pool-size=16|--rlimit-nofile=4096|-d");
  g_autoptr (GError) error = NULL;
  g_autoptr (VdServerConfig) config = parsed (personality, &error);
  const VdDeviceConfig *device;

  g_assert_no_error (error);
  device = g_ptr_array_index (config->devices, 0);
  g_assert_cmpint (device->socket.role, ==, VD_SOCKET_FD);
  g_assert_cmpint (device->socket.fd, ==, 31);
  g_assert_cmpstr (vd_options_string (device->options, "source"), ==,
                   "/srv/a,b");
  g_assert_cmpstr (vd_options_string (device->options, "cache"), ==, "always");
  g_assert_true (vd_options_bool (device->options, "xattr"));
  g_assert_true (config->once);
  g_assert_cmpuint (personality->n_files, ==, 4096);
  g_assert_cmpint (personality->log_level, ==, G_LOG_LEVEL_DEBUG);
}

/* With the capability "separate-options". */
static void
test_the_call_of_a_newer_libvirt (void)
{
  assert_keys ("--cache=auto|--sandbox=chroot|--xattr|--readonly",
               "source=/srv|socket=fd:3|cache=auto|jail=auto|xattr=yes|"
               "read-only=yes");
}

static void
test_the_call_of_kata (void)
{
  g_autoptr (VdPersonality) personality =
      translated ("--syslog|--cache=auto|--shared-dir=/run/kata/shared|--fd=3|"
                  "--thread-pool-size=1|--announce-submounts|--sandbox=none");

  g_assert_true (personality->syslog);
  assert_keys ("--cache=auto|--announce-submounts|--sandbox=none",
               "announce-submounts=yes|jail=live");
}

static void
test_values_may_follow_their_option (void)
{
  assert_keys ("--cache|never|--tag|root", "cache=never|tag=root");
  assert_keys ("-ocache=none", "cache=never");
}

static void
test_the_last_of_several_counts (void)
{
  assert_keys ("--cache=never|-o|cache=metadata", "cache=metadata");
  assert_keys ("-o|xattr,no_xattr", "xattr=no");
  assert_keys ("--announce-submounts|--no-announce-submounts",
               "announce-submounts=no");
}

static void
test_acls_bring_extended_attributes (void)
{
  assert_keys ("--posix-acl", "posix-acl=always|xattr=yes");
  assert_keys ("--posix-acl=auto", "posix-acl=auto|xattr=yes");
  assert_keys ("-o|posix_acl", "posix-acl=always|xattr=yes");
  assert_keys ("--modcaps=+sys_admin:-mknod", "modcaps=+sys_admin:-mknod");
  assert_keys ("--posix-acl=never", "posix-acl=never");
}

static void
test_attributes_and_users_of_the_host (void)
{
  assert_keys ("", "posix-acl=never|security-label=never");
  assert_keys ("--security-label", "security-label=always|xattr=yes");
  assert_keys ("-o|xattrmap=:map::user.virtiofs.:",
               "xattrmap=:map::user.virtiofs.:|xattr=yes");
  assert_keys ("--translate-uid=map:0:1000:1|--translate-uid=squash-host:0:0:9|"
               "--translate-gid|map:0:100:1",
               "translate-uid=map:0:1000:1 squash-host:0:0:9|"
               "translate-gid=map:0:100:1");
  assert_keys ("--uid-map=:0:100000:65536:|--uid-map=/65536/5/1/|"
               "--gid-map=:0:100000:65536:",
               "idmap=yes|translate-uid=map:0:100000:65536 map:65536:5:1|"
               "translate-gid=map:0:100000:65536");
  assert_refused ("--uid-map=0-1000", "uid-map: '0-1000'");
}

static void
test_locks_are_one_key (void)
{
  assert_keys ("-o|flock,posix_lock", "locks=all");
  assert_keys ("-o|posix_lock", "locks=posix");
  assert_keys ("-o|flock,no_posix_lock", "locks=flock");
  assert_keys ("-o|flock,no_flock", "locks=off");
}

static void
test_what_is_cached (void)
{
  assert_keys ("--no-readdirplus|--allow-direct-io|--preserve-noatime|"
               "--writeback",
               "readdirplus=no|direct-io=yes|preserve-noatime=yes|"
               "writeback=yes");
  assert_keys ("-o|no_readdirplus,readdirplus,allow_direct_io,"
               "no_allow_direct_io,no_writeback",
               "readdirplus=yes|direct-io=no|writeback=no");
}

static void
test_migration (void)
{
  assert_keys ("--migration-mode=file-handles|--migration-on-error=abort|"
               "--migration-verify-handles|--migration-confirm-paths",
               "migration-mode=file-handles|migration-on-error=abort|"
               "migration-verify-handles=yes");
}

static void
test_a_socket_is_a_path_of_the_caller (void)
{
  g_autoptr (VdPersonality) personality = translated (
      "--socket-path=a:b.sock|--socket-group=0|-o|source=/srv,timeout=2.5");
  g_autoptr (GError) error = NULL;
  g_autoptr (VdServerConfig) config = parsed (personality, &error);
  g_autofree char *cwd = g_get_current_dir ();
  g_autofree char *path = g_build_filename (cwd, "a:b.sock", NULL);
  const VdDeviceConfig *device;

  g_assert_no_error (error);
  device = g_ptr_array_index (config->devices, 0);
  g_assert_cmpint (device->socket.role, ==, VD_SOCKET_LISTEN);
  g_assert_cmpstr (device->socket.path, ==, path);
  g_assert_cmpuint (device->socket.mode, ==, 0660);
  g_assert_cmpuint (device->socket.group, ==, 0);
  g_assert_cmpfloat (vd_options_seconds (device->options, "attr-timeout"), ==,
                     2.5);
}

static void
test_options_without_meaning_say_so_in_a_line (void)
{
  g_autoptr (VdPersonality) personality =
      translated ("--fd=3|-o|source=/srv,allow_root|--thread-pool-size=64");

  g_assert_cmpuint (personality->notes->len, ==, 2);
  for (guint i = 0; i < personality->notes->len; i++) {
    const char *note = g_ptr_array_index (personality->notes, i);

    g_assert_nonnull (strstr (note, " changes nothing: "));
    g_assert_null (strchr (note, '\n'));
  }
}

static void
test_the_filter_is_the_program_s (void)
{
  g_autoptr (VdPersonality) personality =
      translated ("--fd=3|-o|source=/srv|--seccomp=log");
  g_autoptr (GError) error = NULL;
  g_autoptr (VdServerConfig) config = parsed (personality, &error);

  g_assert_no_error (error);
  g_assert_cmpint (config->seccomp, ==, VD_SECCOMP_LOG);
}

static void
test_levels_of_the_log (void)
{
  static const struct {
    const char *option;
    GLogLevelFlags level;
  } cases[] = {
    { "--log-level=off", G_LOG_LEVEL_ERROR },
    { "--log-level=error", G_LOG_LEVEL_WARNING },
    { "-o|loglevel=err", G_LOG_LEVEL_WARNING },
    { "-o|log_level=warn", G_LOG_LEVEL_WARNING },
    { "--log-level=INFO", G_LOG_LEVEL_MESSAGE },
    { "--log-level=trace", G_LOG_LEVEL_DEBUG },
    { "-o|debug", G_LOG_LEVEL_DEBUG },
    { "-f", G_LOG_LEVEL_MESSAGE },
  };

  for (guint i = 0; i < G_N_ELEMENTS (cases); i++) {
    g_autofree char *line =
        g_strconcat ("--fd=3|-o|source=/srv|", cases[i].option, NULL);
    g_autoptr (VdPersonality) personality = translated (line);

    g_assert_cmpint (personality->log_level, ==, cases[i].level);
  }
}

static void
test_mistakes_name_the_option (void)
{
  assert_refused ("--fd=3", "--shared-dir");
  assert_refused ("--shared-dir=/srv", "--socket-path");
  assert_refused ("--fd=3|--socket-path=/s|--shared-dir=/srv", "two sockets");
  assert_refused ("--fd=3|--shared-dirs=/srv", "did you mean 'shared-dir'?");
  assert_refused ("--cache=sometimes", "--cache: 'sometimes'");
  assert_refused ("-o|cache", "-o cache: it needs a value");
  assert_refused ("-o|no_such=1", "-o no_such: unknown option");
  assert_refused ("-o", "-o: it needs a value");
  assert_refused ("--fd", "--fd: it needs a value");
  assert_refused ("--xattr=yes", "--xattr: it takes no value");
  assert_refused ("--rlimit-nofile=many", "'many'");
  assert_refused ("--log-level=loud", "'loud'");
  assert_refused ("--thread-pool-size=-1", "'-1'");
  assert_refused ("-o|max_idle_threads=x", "'x'");
  assert_refused ("-x", "-x: unknown option");
  assert_refused ("stray", "stray: unknown option");
}

/* Every row of the table gives a key that the device has: --help lists them. */
static void
test_all_options_are_understood (void)
{
  static const char *const values[] = {
    "auto",       "1",          "namespace",
    "off",        "/srv",       ":map::user.virtiofs.:",
    "+sys_admin", ":0:1000:1:", "map:0:1000:1",
    "prefer",     "find-paths", "abort",
    "log",        NULL
  };
  g_autoptr (VdPersonality) help = translated ("--help");
  g_auto (GStrv) lines = g_strsplit (help->text, "\n", -1);
  guint n_options = 0;

  for (guint i = 0; lines[i] != NULL; i++) {
    g_autofree char *option = g_strdup (g_strstrip (lines[i]));
    gboolean compat = g_str_has_prefix (option, "-o ");
    guint n_good = 0;

    if (!compat && !g_str_has_prefix (option, "--"))
      continue;
    for (guint k = 0; values[k] != NULL; k++) {
      g_auto (GStrv) parts =
          g_strsplit (option + (compat ? 3 : 0), "=VALUE", 2);
      g_autofree char *name = g_strndup (parts[0], strcspn (parts[0], "["));
      g_autofree char *line = g_strconcat (
          g_str_has_prefix (option, "--fd") ? "" : "--socket-path=/s|",
          "-o|source=/srv|", compat ? "-o|" : "", name,
          parts[1] != NULL && strchr (option, '[') == NULL ? "=" : "",
          parts[1] != NULL && strchr (option, '[') == NULL ? values[k] : "",
          NULL);
      g_autoptr (VdPersonality) personality = translate (line, NULL);
      g_autoptr (VdServerConfig) config = NULL;

      if (personality != NULL && personality->text == NULL)
        config = parsed (personality, NULL);
      n_good +=
          config != NULL || (personality != NULL && personality->text != NULL);
    }
    if (n_good == 0)
      g_error ("%s is refused with every value", option);
    n_options++;
  }
  g_assert_cmpuint (n_options, >, 30);
}

/* What "virtiofsd --help" of Debian 13 lists, version 1.13.2. */
static void
test_the_options_of_version_1_13_are_known (void)
{
  static const char *const options[] = {
    "--shared-dir",
    "--tag",
    "--socket",
    "--socket-path",
    "--socket-group",
    "--fd",
    "--xattr",
    "--posix-acl",
    "--xattrmap",
    "--sandbox",
    "--readonly",
    "--seccomp",
    "--cache",
    "--announce-submounts",
    "--allow-mmap",
    "--no-announce-submounts",
    "--writeback",
    "--inode-file-handles",
    "--modcaps",
    "--no-readdirplus",
    "--log-level",
    "--allow-direct-io",
    "--syslog",
    "--print-capabilities",
    "--rlimit-nofile",
    "--no-killpriv-v2",
    "--killpriv-v2",
    "--security-label",
    "--uid-map",
    "--gid-map",
    "--translate-uid",
    "--translate-gid",
    "--migration-mode",
    "--preserve-noatime",
    "--thread-pool-size",
    "--migration-on-error",
    "--migration-verify-handles",
    "--migration-confirm-paths",
    "-d",
    "-f",
    "--help",
    "--version",
  };
  g_autoptr (VdPersonality) help = translated ("--help");

  for (guint i = 0; i < G_N_ELEMENTS (options); i++) {
    g_autofree char *pattern =
        g_strdup_printf ("(^|[ ,])%s([ ,=[\\n]|$)", options[i]);

    if (!g_regex_match_simple (pattern, help->text, G_REGEX_MULTILINE, 0))
      g_error ("%s is not in our --help", options[i]);
  }
}

/* libvirt reads the file, scripts the option. */
static void
test_the_json_file_has_the_capabilities (void)
{
  g_autoptr (VdPersonality) personality = translated ("--print-capabilities");
  g_autofree char *path = g_test_build_filename (
      G_TEST_DIST, "..", "contrib", "vhost-user", "50-virtiod.json.in", NULL);
  g_autofree char *file = NULL;
  const char *ours = strstr (personality->text, "\"features\"");
  const char *theirs;

  g_assert_true (g_file_get_contents (path, &file, NULL, NULL));
  theirs = strstr (file, "\"features\"");
  g_assert_nonnull (theirs);
  g_assert_cmpstr (ours, ==, theirs);
  g_assert_nonnull (strstr (file, "\"type\": \"fs\""));
}

int
main (int argc, char **argv)
{
  g_test_init (&argc, &argv, NULL);
#define ADD(name) g_test_add_func ("/server/personality/" #name, test_##name)
  ADD (only_the_name_virtiofsd_applies);
  ADD (the_call_of_an_older_libvirt);
  ADD (the_call_of_a_newer_libvirt);
  ADD (the_call_of_kata);
  ADD (values_may_follow_their_option);
  ADD (the_last_of_several_counts);
  ADD (acls_bring_extended_attributes);
  ADD (attributes_and_users_of_the_host);
  ADD (locks_are_one_key);
  ADD (what_is_cached);
  ADD (migration);
  ADD (a_socket_is_a_path_of_the_caller);
  ADD (options_without_meaning_say_so_in_a_line);
  ADD (the_filter_is_the_program_s);
  ADD (levels_of_the_log);
  ADD (mistakes_name_the_option);
  ADD (all_options_are_understood);
  ADD (the_options_of_version_1_13_are_known);
  ADD (the_json_file_has_the_capabilities);
#undef ADD
  return g_test_run ();
}
