/* SPDX-License-Identifier: BSD-3-Clause
 *
 * test-xattr-map.c - rules for names of extended attributes
 *
 * The examples of virtiofsd's documentation, each rule by itself, and mistakes.
 */
#include "devices/fs/xattr-map.h"

#include <errno.h>
#include <string.h>

static VdFsXattrMap *
map_new (const char *rules)
{
  g_autoptr (GError) error = NULL;
  VdFsXattrMap *map = vd_fs_xattr_map_new (rules, &error);

  g_assert_no_error (error);
  return map;
}

/* What the guest's @name is on the host, or the error's name. */
static void
expect_host (const char *rules, const char *name, const char *want)
{
  g_autoptr (VdFsXattrMap) map = map_new (rules);
  char host[XATTR_NAME_MAX + 1];
  int r = vd_fs_xattr_map_to_host (map, name, host);

  switch (r) {
  case 0: g_assert_cmpstr (host, ==, want); break;
  case -EPERM: g_assert_cmpstr ("EPERM", ==, want); break;
  case -EOPNOTSUPP: g_assert_cmpstr ("EOPNOTSUPP", ==, want); break;
  default: g_error ("%s: %d", name, r);
  }
}

/* Makes a list of names, separated by blanks there, ended by NULs here. */
static gsize
make_list (const char *names, char ret[512])
{
  gsize len = strlen (names);

  memcpy (ret, names, len + 1);
  g_strdelimit (ret, " ", '\0');
  return len > 0 ? len + 1 : 0;
}

/* What the guest is shown of the host's @names. */
static void
expect_guest (const char *rules, const char *names, const char *want)
{
  g_autoptr (VdFsXattrMap) map = map_new (rules);
  char got[512], wanted[512];
  gsize len = vd_fs_xattr_map_to_guest (map, got, make_list (names, got));

  g_assert_cmpmem (got, len, wanted, make_list (want, wanted));
}

#define ALL_PREFIXED ":prefix:all::user.virtiofs.::bad:all:::"

static void
test_all_names_get_a_prefix (void)
{
  static const char *const same[] = { ALL_PREFIXED, ":map::user.virtiofs.:" };

  for (guint i = 0; i < G_N_ELEMENTS (same); i++) {
    expect_host (same[i], "user.a", "user.virtiofs.user.a");
    expect_host (same[i], "security.capability",
                 "user.virtiofs.security.capability");
    /* It cannot reach what is outside of the prefix. */
    expect_host (same[i], "user.virtiofs.user.a",
                 "user.virtiofs.user.virtiofs.user.a");
    expect_guest (same[i], "user.virtiofs.user.a user.b security.selinux",
                  "user.a");
    expect_guest (same[i], "security.selinux", "");
    expect_guest (same[i], "", "");
  }
}

static void
test_one_prefix_moves_and_others_pass (void)
{
  static const char *const same[] = {
    "/prefix/all/trusted./user.virtiofs./ "
    "/bad/server//trusted./ "
    "/bad/client/user.virtiofs.// "
    "/ok/all///",
    "/map/trusted./user.virtiofs./",
  };

  for (guint i = 0; i < G_N_ELEMENTS (same); i++) {
    expect_host (same[i], "trusted.a", "user.virtiofs.trusted.a");
    expect_host (same[i], "user.virtiofs.trusted.a", "EPERM");
    expect_host (same[i], "user.a", "user.a");
    expect_guest (same[i],
                  "user.virtiofs.trusted.a trusted.host user.a "
                  "security.selinux",
                  "trusted.a user.a security.selinux");
  }
}

static void
test_a_name_space_is_hidden (void)
{
  const char *rules = "/bad/all/security./security./\n\t/ok/all///";

  expect_host (rules, "security.selinux", "EPERM");
  expect_host (rules, "user.a", "user.a");
  expect_guest (rules, "security.selinux user.a security.capability", "user.a");
}

static void
test_unsupported_looks_like_no_support (void)
{
  const char *rules =
      "/unsupported/all/security.selinux/security.selinux//ok/all///";

  expect_host (rules, "security.selinux", "EOPNOTSUPP");
  expect_host (rules, "security.capability", "security.capability");
  expect_guest (rules, "security.selinux user.a", "user.a");
}

/* A rule for one side says nothing about the other. */
static void
test_scopes_are_apart (void)
{
  expect_host (":prefix:client:trusted.:user.:"
               ":ok:all:::",
               "trusted.a", "user.trusted.a");
  expect_guest (":prefix:client:trusted.:user.:"
                ":ok:all:::",
                "user.trusted.a", "user.trusted.a");
  expect_host (":prefix:server:trusted.:user.:"
               ":ok:all:::",
               "trusted.a", "trusted.a");
  expect_guest (":prefix:server:trusted.:user.:"
                ":ok:all:::",
                "user.trusted.a", "trusted.a");
  expect_host (":bad:server::security.:"
               ":ok:all:::",
               "security.a", "security.a");
  expect_guest (":bad:server::security.:"
                ":ok:all:::",
                "security.a user.a", "user.a");
  expect_host (":unsupported:client:user.::"
               ":ok:all:::",
               "user.a", "EOPNOTSUPP");
  expect_guest (":unsupported:client:user.::"
                ":ok:all:::",
                "user.a", "user.a");
}

static void
test_the_first_rule_that_matches_decides (void)
{
  const char *rules = ":ok:client:user.keep.::"
                      ":bad:client:user.::"
                      ":ok:server::user.keep.:"
                      ":bad:server::user.:"
                      ":ok:all:::";

  expect_host (rules, "user.keep.a", "user.keep.a");
  expect_host (rules, "user.a", "EPERM");
  expect_guest (rules, "user.a user.keep.a trusted.a", "user.keep.a trusted.a");
}

static void
test_any_character_separates (void)
{
  expect_host ("|map|trusted.|user.x.|", "trusted.a", "user.x.trusted.a");
  expect_host ("ZprefixZallZtrusted.Zuser.virtiofs.Z,ok,all,,,", "trusted.a",
               "user.virtiofs.trusted.a");
  expect_host (" \t:ok:all:::  ", "user.a", "user.a");
  expect_host ("\xc2\xa7map\xc2\xa7trusted.\xc2\xa7user.\xc2\xa7", "trusted.a",
               "user.trusted.a");
}

static void
test_names_of_nothing_are_hidden (void)
{
  expect_guest (":map::user.virtiofs.:", "user.virtiofs. user.virtiofs.a", "a");
}

static void
test_names_that_become_too_long_are_refused (void)
{
  g_autoptr (VdFsXattrMap) map = map_new (":map::user.virtiofs.:");
  char name[XATTR_NAME_MAX + 1], host[XATTR_NAME_MAX + 1];
  gsize fits = XATTR_NAME_MAX - strlen ("user.virtiofs.");

  memset (name, 'a', sizeof name);
  name[fits] = '\0';
  g_assert_cmpint (vd_fs_xattr_map_to_host (map, name, host), ==, 0);
  g_assert_cmpuint (strlen (host), ==, XATTR_NAME_MAX);
  name[fits] = 'a';
  name[fits + 1] = '\0';
  g_assert_cmpint (vd_fs_xattr_map_to_host (map, name, host), ==, -ERANGE);
}

static void
expect_error (const char *rules, VdFsXattrMapError code, const char *part)
{
  g_autoptr (GError) error = NULL;

  g_assert_null (vd_fs_xattr_map_new (rules, &error));
  g_assert_error (error, VD_FS_XATTR_MAP_ERROR, (int) code);
  if (strstr (error->message, part) == NULL)
    g_error ("'%s' does not say '%s'", error->message, part);
}

static void
test_mistakes_are_named (void)
{
  expect_error (":foo:all:::", VD_FS_XATTR_MAP_SYNTAX, "rule 1: 'foo' is none");
  expect_error (":ok:all:::"
                ":ok:guest:::",
                VD_FS_XATTR_MAP_SYNTAX,
                "rule 2: 'guest' is none of client, server, all");
  expect_error (":prefix:all:trusted.:user.", VD_FS_XATTR_MAP_SYNTAX,
                "rule 1: it has too few fields");
  expect_error (":", VD_FS_XATTR_MAP_SYNTAX, "rule 1: it has too few fields");
  expect_error (":map::user.x.:"
                ":ok:all:::",
                VD_FS_XATTR_MAP_SYNTAX, "rule 2: nothing may follow a map");
  expect_error (":map:a:b:"
                ":map:c:d:",
                VD_FS_XATTR_MAP_SYNTAX, "rule 2");
}

/* A name that no rule matches would have to be guessed about. */
static void
test_every_name_has_a_rule (void)
{
  expect_error ("", VD_FS_XATTR_MAP_OPEN, "guest");
  expect_error ("  ", VD_FS_XATTR_MAP_OPEN, "guest");
  expect_error (":prefix:all:trusted.:user.virtiofs.:", VD_FS_XATTR_MAP_OPEN,
                "guest");
  expect_error (":ok:server:::", VD_FS_XATTR_MAP_OPEN, "guest");
  expect_error (":ok:client:::", VD_FS_XATTR_MAP_OPEN, "host");
  expect_error (":prefix:all::user.virtiofs.:", VD_FS_XATTR_MAP_OPEN, "host");
}

int
main (int argc, char **argv)
{
  g_test_init (&argc, &argv, NULL);
#define ADD(name, func) g_test_add_func ("/fs/xattr-map/" name, func)
  ADD ("all", test_all_names_get_a_prefix);
  ADD ("one", test_one_prefix_moves_and_others_pass);
  ADD ("hidden", test_a_name_space_is_hidden);
  ADD ("unsupported", test_unsupported_looks_like_no_support);
  ADD ("scopes", test_scopes_are_apart);
  ADD ("order", test_the_first_rule_that_matches_decides);
  ADD ("separator", test_any_character_separates);
  ADD ("empty", test_names_of_nothing_are_hidden);
  ADD ("long", test_names_that_become_too_long_are_refused);
  ADD ("mistakes", test_mistakes_are_named);
  ADD ("open", test_every_name_has_a_rule);
  return g_test_run ();
}
