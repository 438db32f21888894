/* SPDX-License-Identifier: BSD-3-Clause
 *
 * test-handle.c - what devices/fs/handle.c promises about open files
 */
#include "devices/fs/handle.h"

#include <errno.h>
#include <fcntl.h>
#include <unistd.h>

typedef struct {
  VdFsBudget budget;
  VdFsHandles handles;
} Fixture;

static void
set_up (Fixture *f, gconstpointer data)
{
  f->budget.max = 100;
  vd_fs_handles_init (&f->handles, &f->budget);
}

static void
tear_down (Fixture *f, gconstpointer data)
{
  vd_fs_handles_clear (&f->handles);
  g_assert_cmpuint (atomic_load (&f->budget.used), ==, 0);
}

static int
add (Fixture *f, VdFsHandleKind kind, guint64 nodeid, guint64 *fh)
{
  int fd = open ("/dev/null", O_RDONLY | O_CLOEXEC);

  g_assert_cmpint (fd, >=, 0);
  g_assert_cmpint (
      vd_fs_handles_add (&f->handles, kind, nodeid, NULL, fd, 0, fh), ==, 0);
  return fd;
}

static gboolean
is_open (int fd)
{
  return fcntl (fd, F_GETFD) >= 0;
}

static void
test_an_fh_belongs_to_its_nodeid_and_kind (Fixture *f, gconstpointer data)
{
  VdFsHandle *handle;
  guint64 file, dir;
  int fd = add (f, VD_FS_FILE, 77, &file);

  add (f, VD_FS_DIR, 78, &dir);
#define GET(fh, nodeid, kinds)                                                 \
  vd_fs_handles_get (&f->handles, fh, nodeid, kinds, &handle)
  g_assert_cmpint (GET (file, 77, VD_FS_FILE), ==, 0);
  g_assert_cmpint (handle->fd, ==, fd);
  vd_fs_handles_put (handle);
  g_assert_cmpint (GET (file, 78, VD_FS_FILE), ==, -EBADF);
  g_assert_cmpint (GET (file, 77, VD_FS_DIR), ==, -EBADF);
  g_assert_cmpint (GET (dir, 78, VD_FS_FILE), ==, -EBADF);
  g_assert_cmpint (GET (dir, 77, VD_FS_DIR), ==, -EBADF);
  g_assert_cmpint (GET (0, 77, VD_FS_FILE), ==, -EBADF);
  g_assert_cmpint (GET ((guint64) -1, 77, VD_FS_FILE), ==, -EBADF);
  g_assert_cmpint (GET ((guint64) fd, 77, VD_FS_FILE), ==, -EBADF);
#undef GET
}

static void
test_a_released_fh_is_gone (Fixture *f, gconstpointer data)
{
  guint64 fh, next;
  VdFsHandle *handle;
  int fd = add (f, VD_FS_FILE, 5, &fh);

  g_assert_cmpint (vd_fs_handles_release (&f->handles, fh, 6, VD_FS_FILE), ==,
                   -EBADF);
  g_assert_true (is_open (fd));
  g_assert_cmpint (vd_fs_handles_release (&f->handles, fh, 5, VD_FS_FILE), ==,
                   0);
  g_assert_false (is_open (fd));
  add (f, VD_FS_FILE, 5, &next);
  g_assert_cmpint (vd_fs_handles_get (&f->handles, fh, 5, VD_FS_FILE, &handle),
                   ==, -EBADF);
  g_assert_cmpint (vd_fs_handles_release (&f->handles, fh, 5, VD_FS_FILE), ==,
                   -EBADF);
}

static void
test_a_request_keeps_the_file_open (Fixture *f, gconstpointer data)
{
  guint64 fh;
  VdFsHandle *handle;
  int fd = add (f, VD_FS_FILE, 5, &fh);

  g_assert_cmpint (vd_fs_handles_get (&f->handles, fh, 5, VD_FS_FILE, &handle),
                   ==, 0);
  g_assert_cmpint (vd_fs_handles_release (&f->handles, fh, 5, VD_FS_FILE), ==,
                   0);
  g_assert_true (is_open (fd));
  vd_fs_handles_put (handle);
  g_assert_false (is_open (fd));
}

static void
test_a_reset_closes_all_but_those_in_use (Fixture *f, gconstpointer data)
{
  guint64 fhs[50];
  VdFsHandle *handle;
  int fds[50];

  for (guint i = 0; i < 50; i++)
    fds[i] = add (f, i % 2 ? VD_FS_FILE : VD_FS_DIR, i, &fhs[i]);
  g_assert_cmpint (
      vd_fs_handles_get (&f->handles, fhs[7], 7, VD_FS_FILE, &handle), ==, 0);
  vd_fs_handles_bury (&f->handles, vd_fs_handles_reset (&f->handles));
  for (guint i = 0; i < 50; i++)
    g_assert_cmpint (is_open (fds[i]), ==, i == 7);
  vd_fs_handles_put (handle);
  g_assert_cmpuint (vd_fs_handles_n_live (&f->handles), ==, 0);
}

static void
test_beyond_the_budget_there_is_enfile (Fixture *f, gconstpointer data)
{
  guint64 fh;
  int fd;

  for (guint i = 0; i < 100; i++)
    add (f, VD_FS_FILE, i, &fh);
  fd = open ("/dev/null", O_RDONLY | O_CLOEXEC);
  g_assert_cmpint (
      vd_fs_handles_add (&f->handles, VD_FS_FILE, 1, NULL, fd, 0, &fh), ==,
      -ENFILE);
  g_assert_false (is_open (fd));
}

int
main (int argc, char **argv)
{
  g_test_init (&argc, &argv, NULL);
#define ADD(name, func)                                                        \
  g_test_add ("/fs/handle/" name, Fixture, NULL, set_up, func, tear_down)
  ADD ("belongs", test_an_fh_belongs_to_its_nodeid_and_kind);
  ADD ("release", test_a_released_fh_is_gone);
  ADD ("in-use", test_a_request_keeps_the_file_open);
  ADD ("reset", test_a_reset_closes_all_but_those_in_use);
  ADD ("budget", test_beyond_the_budget_there_is_enfile);
  return g_test_run ();
}
