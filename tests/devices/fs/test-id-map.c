/* SPDX-License-Identifier: BSD-3-Clause
 *
 * test-id-map.c - rules for numbers of users, alone and in ACLs
 */
#include "devices/fs/id-map.h"

#include <errno.h>
#include <linux/posix_acl.h>
#include <linux/posix_acl_xattr.h>
#include <string.h>

#include "devices/fs/acl.h"

#define NONE G_MAXUINT32 /* expected: the guest may not */

static VdFsIdMap *
map_new (const char *rules)
{
  g_autoptr (GError) error = NULL;
  VdFsIdMap *map = vd_fs_id_map_new (rules, &error);

  g_assert_no_error (error);
  return map;
}

static void
expect_host (const VdFsIdMap *map, guint32 guest, guint32 want)
{
  guint32 host = 4711;

  if (vd_fs_id_map_to_host (map, guest, &host))
    g_assert_cmpuint (host, ==, want);
  else
    g_assert_cmpuint (want, ==, NONE);
}

static void
expect_guest (const VdFsIdMap *map, guint32 host, guint32 want)
{
  g_assert_cmpuint (vd_fs_id_map_to_guest (map, host), ==, want);
}

static void
test_without_rules_nothing_changes (void)
{
  expect_host (NULL, 0, 0);
  expect_host (NULL, 1000, 1000);
  expect_guest (NULL, 1000, 1000);
}

static void
test_ranges_move_in_both_directions (void)
{
  g_autoptr (VdFsIdMap) map = map_new ("map:0:100000:65536");

  expect_host (map, 0, 100000);
  expect_host (map, 65535, 165535);
  expect_host (map, 65536, 65536);
  expect_guest (map, 100000, 0);
  expect_guest (map, 165535, 65535);
  expect_guest (map, 165536, 165536);
  expect_guest (map, 99999, 99999);
}

static void
test_directions_are_independent (void)
{
  g_autoptr (VdFsIdMap) map = map_new ("guest:10:20:5  host:20:30:5");

  expect_host (map, 9, 9);
  expect_host (map, 10, 20);
  expect_host (map, 14, 24);
  expect_host (map, 15, 15);
  expect_guest (map, 20, 30);
  expect_guest (map, 24, 34);
  expect_guest (map, 25, 25);
}

/* The example of virtiofsd's documentation: an unprivileged daemon. */
static void
test_everybody_is_squashed_into_one (void)
{
  g_autoptr (VdFsIdMap) map =
      map_new ("squash-guest:0:1001:4294967295 host:1001:1000:1");

  expect_host (map, 0, 1001);
  expect_host (map, 1000, 1001);
  expect_host (map, G_MAXUINT32 - 1, 1001);
  expect_host (map, G_MAXUINT32, G_MAXUINT32); /* no user at all */
  expect_guest (map, 1001, 1000);
  expect_guest (map, 0, 0);
}

static void
test_hosts_users_are_squashed (void)
{
  g_autoptr (VdFsIdMap) map = map_new ("squash-host:1000:0:1000");

  expect_guest (map, 1000, 0);
  expect_guest (map, 1999, 0);
  expect_guest (map, 2000, 2000);
  expect_host (map, 0, 0);
}

static void
test_forbidden_numbers_are_refused (void)
{
  g_autoptr (VdFsIdMap) map = map_new ("forbid-guest:0:1000\tmap:1000:5000:10");

  expect_host (map, 0, NONE);
  expect_host (map, 999, NONE);
  expect_host (map, 1000, 5000);
  expect_host (map, 1010, 1010);
  expect_guest (map, 0, 0); /* they may be looked at */
}

static void
test_many_ranges_are_found (void)
{
  g_autoptr (GString) rules = g_string_new (NULL);
  g_autoptr (VdFsIdMap) map = NULL;

  /* In an order that is neither ascending nor descending. */
  for (guint i = 0; i < 101; i++)
    g_string_append_printf (rules, "map:%u:%u:7 ", i * 37 % 101 * 10,
                            1000000 + i * 37 % 101 * 100);
  map = map_new (rules->str);
  for (guint i = 0; i < 1010; i++)
    expect_host (map, i, i % 10 < 7 ? 1000000 + i / 10 * 100 + i % 10 : i);
}

static void
expect_error (const char *rules, VdFsIdMapError code, const char *part)
{
  g_autoptr (GError) error = NULL;

  g_assert_null (vd_fs_id_map_new (rules, &error));
  g_assert_error (error, VD_FS_ID_MAP_ERROR, (int) code);
  if (strstr (error->message, part) == NULL)
    g_error ("'%s' does not say '%s'", error->message, part);
}

static void
test_mistakes_are_named (void)
{
  static const char *const wrong[] = {
    "map:0:1",
    "map:0:1:2:3",
    "map:a:1:1",
    "map:0:1:0",
    "map:0:-1:1",
    "map:0:4294967296:1",
    "map:4294967295:0:1",
    "map:0:4294967294:2",
    "squash:0:0:1",
    "forbid-guest:0",
    "forbid-guest:0:1:2",
    "0:1000:1",
    "squash-guest:1:0:4294967295",
  };

  for (guint i = 0; i < G_N_ELEMENTS (wrong); i++)
    expect_error (wrong[i], VD_FS_ID_MAP_SYNTAX, wrong[i]);
  expect_error ("", VD_FS_ID_MAP_SYNTAX, "there is no rule");
  expect_error ("guest:0:10:10 forbid-guest:9:1", VD_FS_ID_MAP_OVERLAP,
                "'forbid-guest:9:1': another rule begins with the same number "
                "9");
  expect_error ("map:0:10:10 map:20:15:10", VD_FS_ID_MAP_OVERLAP, "15");
}

/* What an idmapped mount is made from: the host's numbers first. */
static void
test_the_kernel_gets_ranges_of_both_directions (void)
{
  g_autoptr (VdFsIdMap) map = map_new ("map:1000:5000:10 map:0:100000:1000");
  g_autoptr (VdFsIdMap) squash = map_new ("map:0:1:1 squash-guest:10:1:1");
  g_autoptr (GError) error = NULL;
  g_autofree char *text = vd_fs_id_map_to_namespace (map, &error);

  g_assert_no_error (error);
  g_assert_cmpstr (text, ==, "100000 0 1000\n5000 1000 10\n");
  g_assert_null (vd_fs_id_map_to_namespace (squash, &error));
  g_assert_error (error, VD_FS_ID_MAP_ERROR, VD_FS_ID_MAP_ONE_WAY);
}

/* ACLs. */

typedef struct {
  struct posix_acl_xattr_header header;
  struct posix_acl_xattr_entry entries[5];
} Acl;

static const Acl acl = {
  .header = { POSIX_ACL_XATTR_VERSION },
  .entries = { { ACL_USER_OBJ, 6, ACL_UNDEFINED_ID },
               { ACL_USER, 6, 7 },
               { ACL_GROUP_OBJ, 4, ACL_UNDEFINED_ID },
               { ACL_GROUP, 4, 7 },
               { ACL_OTHER, 0, ACL_UNDEFINED_ID } },
};

static void
test_users_in_acls_are_translated (void)
{
  g_autoptr (VdFsIdMap) uids = map_new ("map:0:1000:100");
  g_autoptr (VdFsIdMap) gids = map_new ("map:0:2000:100");
  Acl copy = acl;

  g_assert_cmpint (
      vd_fs_acl_to_host ((guint8 *) &copy, sizeof copy, uids, gids), ==, 0);
  g_assert_cmpuint (copy.entries[1].e_id, ==, 1007);
  g_assert_cmpuint (copy.entries[3].e_id, ==, 2007);
  g_assert_cmpuint (copy.entries[0].e_id, ==, (guint32) ACL_UNDEFINED_ID);
  vd_fs_acl_to_guest ((guint8 *) &copy, sizeof copy, uids, gids);
  g_assert_cmpmem (&copy, sizeof copy, &acl, sizeof acl);
  /* One map alone. */
  g_assert_cmpint (
      vd_fs_acl_to_host ((guint8 *) &copy, sizeof copy, NULL, gids), ==, 0);
  g_assert_cmpuint (copy.entries[1].e_id, ==, 7);
  g_assert_cmpuint (copy.entries[3].e_id, ==, 2007);
}

static void
test_forbidden_users_are_refused_in_acls (void)
{
  g_autoptr (VdFsIdMap) uids = map_new ("forbid-guest:7:1");
  Acl copy = acl;

  g_assert_cmpint (
      vd_fs_acl_to_host ((guint8 *) &copy, sizeof copy, uids, NULL), ==,
      -EPERM);
}

/* The guest's bytes, cut anywhere; a sanitizer sees reads beyond them. */
static void
test_what_is_no_acl_is_left_alone (void)
{
  g_autoptr (VdFsIdMap) map = map_new ("map:0:1000:100");
  Acl other = acl;

  for (gsize len = 0; len <= sizeof acl; len++) {
    g_autofree guint8 *bytes = g_memdup2 (&acl, len);

    g_assert_cmpint (vd_fs_acl_to_host (bytes, len, map, map), ==, 0);
  }
  other.header.a_version = 1;
  g_assert_cmpint (
      vd_fs_acl_to_host ((guint8 *) &other, sizeof other, map, map), ==, 0);
  g_assert_cmpuint (other.entries[1].e_id, ==, 7);
}

int
main (int argc, char **argv)
{
  g_test_init (&argc, &argv, NULL);
#define ADD(name, func) g_test_add_func ("/fs/id-map/" name, func)
  ADD ("none", test_without_rules_nothing_changes);
  ADD ("map", test_ranges_move_in_both_directions);
  ADD ("directions", test_directions_are_independent);
  ADD ("squash-guest", test_everybody_is_squashed_into_one);
  ADD ("squash-host", test_hosts_users_are_squashed);
  ADD ("forbid", test_forbidden_numbers_are_refused);
  ADD ("many", test_many_ranges_are_found);
  ADD ("mistakes", test_mistakes_are_named);
  ADD ("kernel", test_the_kernel_gets_ranges_of_both_directions);
  ADD ("acl", test_users_in_acls_are_translated);
  ADD ("acl/forbid", test_forbidden_users_are_refused_in_acls);
  ADD ("acl/other", test_what_is_no_acl_is_left_alone);
  return g_test_run ();
}
