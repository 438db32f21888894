/* SPDX-License-Identifier: BSD-3-Clause
 *
 * test-jail.c - what leads out of an export, and does not
 */
#include "devices/fs/jail.h"

#include <errno.h>
#include <fcntl.h>
#include <gio/gio.h>
#include <pthread.h>
#include <stdio.h>
#include <string.h>
#include <sys/mount.h>
#include <sys/stat.h>
#include <sys/sysmacros.h>
#include <unistd.h>

#include "vring/fd.h"

typedef struct {
  char *top;   /* holds "export" and "outside" */
  char *inner; /* the export */
  VdFsJail jail;
  gboolean ready; /* the jail is open; else the test is skipped */
} Fixture;

/* Which jail a test runs in. */
static const VdFsJailConfig cloned = { .kind = VD_FS_JAIL_CLONE };
static const VdFsJailConfig cloned_read_only = { .kind = VD_FS_JAIL_CLONE,
                                                 .clone.read_only = TRUE };
static const VdFsJailConfig idmapped = { .kind = VD_FS_JAIL_CLONE,
                                         .clone = { .uid_map = "0 1000 2\n",
                                                    .gid_map = "0 1001 1\n" } };
static const VdFsJailConfig live = { .kind = VD_FS_JAIL_LIVE };
static const VdFsJailConfig none = { .kind = VD_FS_JAIL_NONE };

static void
put (const char *dir, const char *name)
{
  g_autofree char *path = g_build_filename (dir, name, NULL);

  g_assert_true (g_file_set_contents (path, "content", -1, NULL));
}

/* Opens the jail; where a clone is not permitted the test is skipped. */
static void
set_up (Fixture *f, gconstpointer data)
{
  g_autoptr (GError) error = NULL;
  g_autofree char *sub = NULL;

  f->top = g_dir_make_tmp ("virtiod-jail-XXXXXX", NULL);
  g_assert_nonnull (f->top);
  f->inner = g_build_filename (f->top, "export", NULL);
  sub = g_build_filename (f->inner, "sub", NULL);
  g_assert_cmpint (g_mkdir_with_parents (sub, 0755), ==, 0);
  put (f->top, "outside");
  put (f->inner, "file");
  put (sub, "deep");
  f->ready = vd_fs_jail_open (&f->jail, f->inner, data, &error);
  if (!f->ready)
    g_test_skip (error->message);
}

static void
tear_down (Fixture *f, gconstpointer data)
{
  g_autofree char *command =
      g_strdup_printf ("rm -rf --one-file-system '%s'", f->top);

  vd_fs_jail_clear (&f->jail);
  g_assert_true (g_spawn_command_line_sync (command, NULL, NULL, NULL, NULL));
  g_free (f->inner);
  g_free (f->top);
}

static int
child (Fixture *f, const char *name)
{
  return vd_fs_jail_child (&f->jail, f->jail.root, name);
}

static int
open_child (Fixture *f, const char *name, int flags)
{
  vd_autofd fd = child (f, name);

  return fd < 0 ? fd : vd_fs_jail_reopen (&f->jail, fd, flags);
}

static void
test_files_are_opened_and_read (Fixture *f, gconstpointer data)
{
  char text[16];
  vd_autofd fd = -1;

  if (!f->ready)
    return;
  fd = open_child (f, "file", O_RDONLY);
  g_assert_cmpint (fd, >=, 0);
  g_assert_cmpint (read (fd, text, sizeof text), ==, 7);
  g_assert_cmpint (child (f, "missing"), ==, -ENOENT);
}

static void
test_a_link_is_not_followed (Fixture *f, gconstpointer data)
{
  g_autofree char *link = g_build_filename (f->inner, "link", NULL);
  g_autofree char *dir_link = g_build_filename (f->inner, "dirlink", NULL);
  vd_autofd fd = -1, dir = -1;
  struct stat st;

  if (!f->ready)
    return;
  g_assert_cmpint (symlink ("../outside", link), ==, 0);
  g_assert_cmpint (symlink ("..", dir_link), ==, 0);
  fd = child (f, "link");
  g_assert_cmpint (fd, >=, 0);
  g_assert_cmpint (fstat (fd, &st), ==, 0);
  g_assert_true (S_ISLNK (st.st_mode));
  g_assert_cmpint (vd_fs_jail_reopen (&f->jail, fd, O_RDONLY), ==, -ELOOP);
  /* Nor as a directory that something is looked up in. */
  dir = child (f, "dirlink");
  g_assert_cmpint (dir, >=, 0);
  g_assert_cmpint (vd_fs_jail_child (&f->jail, dir, "outside"), ==, -ENOTDIR);
}

static void
test_dot_dot_ends_at_the_root (Fixture *f, gconstpointer data)
{
  vd_autofd up = -1, sub = -1, sub_up = -1;
  struct stat root, st;

  if (!f->ready)
    return;
  up = child (f, "..");
  if (f->jail.kind == VD_FS_JAIL_LIVE) {
    g_assert_cmpint (up, ==, -EXDEV);
    return;
  }
  g_assert_cmpint (fstat (f->jail.root, &root), ==, 0);
  g_assert_cmpint (fstat (up, &st), ==, 0);
  g_assert_cmpuint (st.st_ino, ==, root.st_ino);
  sub = child (f, "sub");
  sub_up = vd_fs_jail_child (&f->jail, sub, "..");
  g_assert_cmpint (fstat (sub_up, &st), ==, 0);
  g_assert_cmpuint (st.st_ino, ==, root.st_ino);
}

/* The host moves a directory out of the export while the guest is in it. */
static void
test_dot_dot_of_a_moved_directory_ends_nowhere (Fixture *f, gconstpointer data)
{
  g_autofree char *from = g_build_filename (f->inner, "sub", NULL);
  g_autofree char *to = g_build_filename (f->top, "moved", NULL);
  vd_autofd sub = -1;
  int up;

  if (!f->ready)
    return;
  sub = child (f, "sub");
  g_assert_cmpint (rename (from, to), ==, 0);
  up = vd_fs_jail_child (&f->jail, sub, "..");
  g_assert_cmpint (up, <, 0);
}

static void
test_a_device_node_is_not_opened (Fixture *f, gconstpointer data)
{
  g_autofree char *path = g_build_filename (f->inner, "null", NULL);

  if (!f->ready)
    return;
  if (mknod (path, S_IFCHR | 0666, makedev (1, 3)) < 0) {
    g_test_skip ("device nodes cannot be made here");
    return;
  }
  g_assert_cmpint (open_child (f, "null", O_RDONLY), ==, -EACCES);
}

static void
test_a_read_only_clone_refuses_changes (Fixture *f, gconstpointer data)
{
  vd_autofd fd = -1;

  if (!f->ready)
    return;
  g_assert_cmpint (open_child (f, "file", O_WRONLY), ==, -EROFS);
  fd = child (f, "file");
  g_assert_cmpint (mkdirat (f->jail.root, "new", 0755), <, 0);
  g_assert_cmpint (errno, ==, EROFS);
  g_assert_cmpint (unlinkat (f->jail.root, "file", 0), <, 0);
  g_assert_cmpint (errno, ==, EROFS);
  g_assert_cmpint (fchownat (fd, "", 1, 1, AT_EMPTY_PATH), <, 0);
  g_assert_cmpint (errno, ==, EROFS);
}

static void
test_an_idmapped_clone_has_other_owners (Fixture *f, gconstpointer data)
{
  vd_autofd fd = -1, deep = -1;
  struct stat st;

  if (!f->ready)
    return;
  fd = child (f, "file");
  g_assert_cmpint (fstat (fd, &st), ==, 0);
  g_assert_cmpuint (st.st_uid, ==, 1000);
  g_assert_cmpuint (st.st_gid, ==, 1001);
  g_assert_cmpint (fchownat (f->jail.root, "sub", 1001, 1001, 0), ==, 0);
  deep = child (f, "sub");
  g_assert_cmpint (fstat (deep, &st), ==, 0);
  g_assert_cmpuint (st.st_uid, ==, 1001);
  g_assert_cmpint (stat (f->inner, &st), ==, 0);
  g_assert_cmpuint (st.st_uid, ==, 0);
  g_assert_cmpint (fchownat (f->jail.root, "file", 7, 7, 0), <, 0);
}

static void
test_a_clone_leaves_no_mount_behind (Fixture *f, gconstpointer data)
{
  if (!f->ready)
    return;
  vd_fs_jail_clear (&f->jail);
  /* Nothing holds the directory. */
  g_autofree char *moved = g_build_filename (f->top, "moved", NULL);
  g_assert_cmpint (rename (f->inner, moved), ==, 0);
  vd_fs_jail_clear (&f->jail); /* twice is fine */
}

static void *
enter_often (void *data)
{
  const VdFsJail *jail = data;

  for (guint i = 0; i < 40; i++)
    g_assert_cmpint (vd_fs_jail_enter (jail), ==, 0);
  return NULL;
}

/* A queue's thread enters each time its ring starts, at every boot of the guest;
 * the kernel restricts a thread 16 times at most. */
static void
test_a_thread_enters_any_number_of_times (Fixture *f, gconstpointer data)
{
  pthread_t thread;

  if (!f->ready)
    return;
  (void) vd_fs_jail_restrict (&f->jail, FALSE, FALSE);
  g_assert_cmpint (pthread_create (&thread, NULL, enter_often, &f->jail), ==,
                   0);
  g_assert_cmpint (pthread_join (thread, NULL), ==, 0);
}

static void
test_a_wrong_source_is_named (void)
{
  const VdFsJailConfig any = { 0 };
  VdFsJail jail;
  g_autoptr (GError) missing = NULL, no_dir = NULL;

  g_assert_false (vd_fs_jail_open (&jail, "/nonexistent/dir", &any, &missing));
  g_assert_error (missing, G_IO_ERROR, G_IO_ERROR_NOT_FOUND);
  vd_fs_jail_clear (&jail);
  g_assert_false (vd_fs_jail_open (&jail, "/dev/null", &live, &no_dir));
  g_assert_error (no_dir, G_IO_ERROR, G_IO_ERROR_NOT_DIRECTORY);
  vd_fs_jail_clear (&jail);
}

static void
test_paths_of_descriptors (void)
{
  char path[VD_FS_FD_PATH_LEN];

  g_assert_cmpstr (vd_fs_fd_path (0, path), ==, "0");
  g_assert_cmpstr (vd_fs_fd_path (7, path), ==, "7");
  g_assert_cmpstr (vd_fs_fd_path (1234567890, path), ==, "1234567890");
  g_assert_cmpstr (vd_fs_fd_path (G_MAXINT, path), ==, "2147483647");
}

int
main (int argc, char **argv)
{
  g_test_init (&argc, &argv, NULL);
#define ADD(name, config, func)                                                \
  g_test_add ("/fs/jail/" name, Fixture, config, set_up, func, tear_down)
  ADD ("clone/files", &cloned, test_files_are_opened_and_read);
  ADD ("live/files", &live, test_files_are_opened_and_read);
  ADD ("none/files", &none, test_files_are_opened_and_read);
  ADD ("clone/links", &cloned, test_a_link_is_not_followed);
  ADD ("live/links", &live, test_a_link_is_not_followed);
  ADD ("none/links", &none, test_a_link_is_not_followed);
  ADD ("clone/dot-dot", &cloned, test_dot_dot_ends_at_the_root);
  ADD ("live/dot-dot", &live, test_dot_dot_ends_at_the_root);
  ADD ("clone/moved", &cloned, test_dot_dot_of_a_moved_directory_ends_nowhere);
  ADD ("live/moved", &live, test_dot_dot_of_a_moved_directory_ends_nowhere);
  ADD ("clone/device", &cloned, test_a_device_node_is_not_opened);
  ADD ("clone/read-only", &cloned_read_only,
       test_a_read_only_clone_refuses_changes);
  ADD ("clone/idmap", &idmapped, test_an_idmapped_clone_has_other_owners);
  ADD ("clone/enter", &cloned, test_a_thread_enters_any_number_of_times);
  ADD ("live/enter", &live, test_a_thread_enters_any_number_of_times);
  ADD ("clone/clear", &cloned, test_a_clone_leaves_no_mount_behind);
  g_test_add_func ("/fs/jail/source", test_a_wrong_source_is_named);
  g_test_add_func ("/fs/jail/path", test_paths_of_descriptors);
  return g_test_run ();
}
