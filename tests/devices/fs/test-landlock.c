/* SPDX-License-Identifier: BSD-3-Clause
 *
 * test-landlock.c - what a thread of an export can open, and what not
 */
#include "devices/fs/landlock.h"

#include <errno.h>
#include <fcntl.h>
#include <pthread.h>
#include <stdio.h>
#include <sys/stat.h>
#include <unistd.h>

#include "vring/fd.h"

typedef struct {
  char *top;      /* holds "mine" and "other", each with "file" and "sub" */
  int mine;       /* O_PATH */
  int other;      /* of another export, O_PATH */
  int other_file; /* in it, O_PATH */
  int proc;
} Fixture;

static void
make (const char *top, const char *name)
{
  g_autofree char *sub = g_build_filename (top, name, "sub", NULL);
  g_autofree char *file = g_build_filename (top, name, "file", NULL);

  g_assert_cmpint (g_mkdir_with_parents (sub, 0755), ==, 0);
  g_assert_true (g_file_set_contents (file, "content", -1, NULL));
}

static int
open_dir (Fixture *f, const char *name)
{
  g_autofree char *path = g_build_filename (f->top, name, NULL);
  int fd = open (path, O_PATH | O_DIRECTORY | O_CLOEXEC);

  g_assert_cmpint (fd, >=, 0);
  return fd;
}

static void
set_up (Fixture *f, gconstpointer data)
{
  f->top = g_dir_make_tmp ("virtiod-landlock-XXXXXX", NULL);
  g_assert_nonnull (f->top);
  make (f->top, "mine");
  make (f->top, "other");
  f->mine = open_dir (f, "mine");
  f->other = open_dir (f, "other");
  f->other_file = openat (f->other, "file", O_PATH | O_CLOEXEC);
  f->proc = open ("/proc/self/fd", O_PATH | O_CLOEXEC);
}

static void
tear_down (Fixture *f, gconstpointer data)
{
  g_autofree char *command = g_strdup_printf ("rm -rf '%s'", f->top);

  vd_clear_fd (&f->mine);
  vd_clear_fd (&f->other);
  vd_clear_fd (&f->other_file);
  vd_clear_fd (&f->proc);
  g_assert_true (g_spawn_command_line_sync (command, NULL, NULL, NULL, NULL));
  g_free (f->top);
}

/* A restricted thread. */

typedef struct {
  Fixture *f;
  void (*func) (Fixture *f);
  int rules;
} Thread;

static void *
run (void *data)
{
  Thread *thread = data;

  g_assert_cmpint (vd_fs_landlock_enter (thread->rules), ==, 0);
  thread->func (thread->f);
  return NULL;
}

/* Runs @func in a thread that may open what lies below f->mine. */
static void
run_restricted (Fixture *f, gboolean read_only, void (*func) (Fixture *f))
{
  Thread thread = { f, func, -1 };
  pthread_t id;

  thread.rules = vd_fs_landlock_open (f->mine, read_only, FALSE);
  if (thread.rules == -EOPNOTSUPP || thread.rules == -ENOSYS) {
    g_test_skip ("no Landlock in this kernel");
    return;
  }
  g_assert_cmpint (thread.rules, >=, 0);
  g_assert_cmpint (pthread_create (&id, NULL, run, &thread), ==, 0);
  g_assert_cmpint (pthread_join (id, NULL), ==, 0);
  close (thread.rules);
}

static int
try_open (int dir, const char *name, int flags)
{
  vd_autofd fd = openat (dir, name, flags | O_CLOEXEC, 0644);

  return fd < 0 ? -errno : 0;
}

static int
result (int r)
{
  return r < 0 ? -errno : 0;
}

static void
inside (Fixture *f)
{
  char link[16];
  vd_autofd path = openat (f->mine, "file", O_PATH | O_CLOEXEC);
  vd_autofd unnamed = -1;

  g_assert_cmpint (try_open (f->mine, "file", O_RDWR | O_TRUNC), ==, 0);
  g_assert_cmpint (try_open (f->mine, "new", O_RDWR | O_CREAT), ==, 0);
  g_assert_cmpint (try_open (f->mine, ".", O_RDONLY | O_DIRECTORY), ==, 0);
  /* By the descriptor's link, as files are opened. */
  g_snprintf (link, sizeof link, "%d", path);
  g_assert_cmpint (try_open (f->proc, link, O_RDWR), ==, 0);
  g_assert_cmpint (
      result (linkat (f->proc, link, f->mine, "sub/hard", AT_SYMLINK_FOLLOW)),
      ==, 0);
  unnamed = openat (f->mine, ".", O_TMPFILE | O_RDWR | O_CLOEXEC, 0600);
  if (unnamed >= 0) {
    g_snprintf (link, sizeof link, "%d", unnamed);
    g_assert_cmpint (
        result (linkat (f->proc, link, f->mine, "named", AT_SYMLINK_FOLLOW)),
        ==, 0);
  }
  g_assert_cmpint (result (renameat (f->mine, "new", f->mine, "sub/moved")), ==,
                   0);
  g_assert_cmpint (result (mkdirat (f->mine, "dir", 0755)), ==, 0);
  g_assert_cmpint (result (symlinkat ("x", f->mine, "soft")), ==, 0);
  g_assert_cmpint (result (mknodat (f->mine, "fifo", S_IFIFO | 0644, 0)), ==,
                   0);
  g_assert_cmpint (result (unlinkat (f->mine, "dir", AT_REMOVEDIR)), ==, 0);
  g_assert_cmpint (try_open (AT_FDCWD, "/dev/null", O_RDWR), ==, 0);
}

static void
test_everything_is_possible_inside (Fixture *f, gconstpointer data)
{
  run_restricted (f, FALSE, inside);
}

static void
outside (Fixture *f)
{
  char link[16];

  g_assert_cmpint (try_open (AT_FDCWD, "/etc/passwd", O_RDONLY), ==, -EACCES);
  g_assert_cmpint (try_open (f->other, "file", O_RDONLY), ==, -EACCES);
  g_assert_cmpint (try_open (f->other, "new", O_RDWR | O_CREAT), ==, -EACCES);
  g_assert_cmpint (try_open (f->other, ".", O_RDONLY | O_DIRECTORY), ==,
                   -EACCES);
  g_snprintf (link, sizeof link, "%d", f->other_file);
  g_assert_cmpint (try_open (f->proc, link, O_RDONLY), ==, -EACCES);
  g_assert_cmpint (result (mkdirat (f->other, "dir", 0755)), ==, -EACCES);
  g_assert_cmpint (result (unlinkat (f->other, "file", 0)), ==, -EACCES);
  g_assert_cmpint (result (unlinkat (f->other, "sub", AT_REMOVEDIR)), ==,
                   -EACCES);
  /* Neither in nor out. */
  g_assert_cmpint (result (renameat (f->mine, "file", f->other, "in")), <, 0);
  g_assert_cmpint (result (renameat (f->other, "file", f->mine, "out")), <, 0);
  g_assert_cmpint (result (linkat (f->other, "file", f->mine, "out", 0)), <, 0);
}

static void
test_nothing_of_another_export_is_opened (Fixture *f, gconstpointer data)
{
  run_restricted (f, FALSE, outside);
  /* Only that thread is restricted. */
  g_assert_cmpint (try_open (f->other, "file", O_RDWR), ==, 0);
}

static void
read_only (Fixture *f)
{
  g_assert_cmpint (try_open (f->mine, "file", O_RDONLY), ==, 0);
  g_assert_cmpint (try_open (f->mine, "sub", O_RDONLY | O_DIRECTORY), ==, 0);
  g_assert_cmpint (try_open (f->mine, "file", O_WRONLY), ==, -EACCES);
  g_assert_cmpint (try_open (f->mine, "new", O_RDWR | O_CREAT), ==, -EACCES);
  g_assert_cmpint (result (unlinkat (f->mine, "file", 0)), ==, -EACCES);
  g_assert_cmpint (result (mkdirat (f->mine, "dir", 0755)), ==, -EACCES);
}

static void
test_a_read_only_export_is_only_read (Fixture *f, gconstpointer data)
{
  run_restricted (f, TRUE, read_only);
}

int
main (int argc, char **argv)
{
  g_test_init (&argc, &argv, NULL);
#define ADD(name, func)                                                        \
  g_test_add ("/fs/landlock/" name, Fixture, NULL, set_up, func, tear_down)
  ADD ("inside", test_everything_is_possible_inside);
  ADD ("outside", test_nothing_of_another_export_is_opened);
  ADD ("read-only", test_a_read_only_export_is_only_read);
  return g_test_run ();
}
