/* SPDX-License-Identifier: BSD-3-Clause
 *
 * test-pin.c - a guest that knows more files than it may cause to be open
 *
 * Each test runs twice: with file handles, and without CAP_DAC_READ_SEARCH, when
 * files are found again by their names.
 */
#include <errno.h>
#include <fcntl.h>
#include <linux/capability.h>
#include <string.h>
#include <sys/syscall.h>
#include <unistd.h>

#include "tests/devices/fs/fixture.h"

enum { BUDGET = 64, FILES = 200 };

static const VtFsConfig small = { .keys = { "fd-budget", "64" } };
static const VtFsConfig small_queues = { .keys = { "fd-budget", "64" },
                                         .n_queues = 2 };

/* Takes CAP_DAC_READ_SEARCH from this thread, and so from those that it starts,
 * or gives it back. */
static void
set_can_open_handles (gboolean can)
{
  struct __user_cap_header_struct header = { _LINUX_CAPABILITY_VERSION_3, 0 };
  struct __user_cap_data_struct data[2];
  const guint32 bit = 1u << CAP_DAC_READ_SEARCH;

  g_assert_cmpint (syscall (SYS_capget, &header, data), ==, 0);
  if (can)
    data[0].effective |= bit & data[0].permitted;
  else
    data[0].effective &= ~bit;
  g_assert_cmpint (syscall (SYS_capset, &header, data), ==, 0);
}

static void
set_up_names (VtFs *f, gconstpointer config)
{
  set_can_open_handles (FALSE);
  vt_fs_set_up (f, config);
}

static void
tear_down_names (VtFs *f, gconstpointer config)
{
  vt_fs_tear_down (f, config);
  set_can_open_handles (TRUE);
}

static char *
name_of (guint i)
{
  return g_strdup_printf ("f%u", i);
}

static void
make_files (VtFs *f, guint64 *nodeids)
{
  for (guint i = 0; i < FILES; i++) {
    g_autofree char *name = name_of (i);

    vt_fs_put (f, name, name);
    g_assert_cmpint (vt_fuse_lookup (f->c, 1, name, &nodeids[i], NULL), ==, 0);
  }
}

static void
expect_content (VtFs *f, guint64 nodeid, const char *content)
{
  char text[32] = "";
  guint64 fh;

  g_assert_cmpint (vt_fuse_open (f->c, nodeid, O_RDONLY, &fh, NULL), ==, 0);
  g_assert_cmpint (vt_fuse_read (f->c, nodeid, fh, 0, text, sizeof text), ==,
                   strlen (content));
  g_assert_cmpstr (text, ==, content);
  g_assert_cmpint (vt_fuse_release (f->c, nodeid, fh), ==, 0);
}

static void
test_all_files_stay_usable (VtFs *f, gconstpointer data)
{
  guint before = vt_fs_n_fds ();
  guint64 nodeids[FILES], again;

  make_files (f, nodeids);
  g_assert_cmpuint (vt_fs_n_fds (), <=, before + BUDGET);
  for (guint round = 0; round < 2; round++)
    for (guint i = 0; i < FILES; i++) {
      g_autofree char *name = name_of (i * 7 % FILES);
      struct fuse_attr attr;

      g_assert_cmpint (vt_fuse_getattr (f->c, nodeids[i * 7 % FILES], &attr),
                       ==, 0);
      g_assert_cmpuint (attr.size, ==, strlen (name));
      expect_content (f, nodeids[i * 7 % FILES], name);
      g_assert_cmpuint (vt_fs_n_fds (), <=, before + BUDGET);
    }
  for (guint i = 0; i < FILES; i++) {
    g_autofree char *name = name_of (i);

    g_assert_cmpint (vt_fuse_lookup (f->c, 1, name, &again, NULL), ==, 0);
    g_assert_cmpuint (again, ==, nodeids[i]);
  }
}

/* The host's file system gives the number of a removed file to the next one. */
static void
test_a_new_file_with_the_same_number_is_new (VtFs *f, gconstpointer data)
{
  guint64 nodeids[FILES], again;
  guint n_same_number = 0;

  make_files (f, nodeids);
  for (guint i = FILES - 20; i < FILES; i++) { /* these are parked */
    g_autofree char *name = name_of (i), *path = vt_fs_path (f, name);
    struct stat old, st;

    g_assert_cmpint (stat (path, &old), ==, 0);
    g_assert_cmpint (unlink (path), ==, 0);
    g_usleep (20000); /* the clock of births is a coarse one */
    g_assert_true (g_file_set_contents (path, "new", 3, NULL));
    g_assert_cmpint (stat (path, &st), ==, 0);
    n_same_number += st.st_ino == old.st_ino;
    g_assert_cmpint (vt_fuse_lookup (f->c, 1, name, &again, NULL), ==, 0);
    g_assert_cmpuint (again, !=, nodeids[i]);
    g_assert_cmpint (vt_fuse_getattr (f->c, nodeids[i], NULL), ==, -ESTALE);
    vt_fuse_forget (f->c, nodeids[i], 1);
    g_assert_cmpint (vt_fuse_getattr (f->c, again, NULL), ==, 0);
  }
  g_test_message ("%u of 20 numbers were used again", n_same_number);
}

static void
test_a_removed_file_is_stale_or_still_there (VtFs *f, gconstpointer data)
{
  guint64 nodeids[FILES];

  make_files (f, nodeids);
  for (guint i = 0; i < FILES; i++) {
    g_autofree char *name = name_of (i);
    int r;

    g_assert_cmpint (vt_fuse_unlink (f->c, 1, name), ==, 0);
    r = vt_fuse_getattr (f->c, nodeids[i], NULL);
    if (r != 0)
      g_assert_cmpint (r, ==, -ESTALE);
  }
}

static void
test_an_open_file_outlives_its_name (VtFs *f, gconstpointer data)
{
  guint64 nodeids[FILES], fh, nodeid;
  struct fuse_attr attr;
  char text[8] = "";

  vt_fs_put (f, "open", "content");
  fh = vt_fs_open (f, "open", O_RDONLY, &nodeid);
  g_assert_cmpint (vt_fuse_unlink (f->c, 1, "open"), ==, 0);
  make_files (f, nodeids);
  for (guint i = 0; i < FILES; i++)
    g_assert_cmpint (vt_fuse_getattr (f->c, nodeids[i], NULL), ==, 0);
  /* Without an fh, as Linux asks for fstat(). */
  g_assert_cmpint (vt_fuse_getattr (f->c, nodeid, &attr), ==, 0);
  g_assert_cmpuint (attr.nlink, ==, 0);
  g_assert_cmpint (vt_fuse_read (f->c, nodeid, fh, 0, text, 8), ==, 7);
  g_assert_cmpint (vt_fuse_release (f->c, nodeid, fh), ==, 0);
}

static void
test_files_are_found_after_a_rename (VtFs *f, gconstpointer data)
{
  guint64 nodeids[FILES], dir;

  make_files (f, nodeids);
  g_assert_cmpint (vt_fuse_mkdir (f->c, 1, "d", 0755, &dir), ==, 0);
  for (guint i = 0; i < FILES; i++) {
    g_autofree char *name = name_of (i), *other = g_strconcat ("x", name, NULL);

    g_assert_cmpint (vt_fuse_rename (f->c, 1, name, dir, other, 0), ==, 0);
  }
  g_assert_cmpint (vt_fuse_rename (f->c, 1, "d", 1, "e", 0), ==, 0);
  for (guint i = 0; i < FILES; i++) {
    g_autofree char *name = name_of (i);

    expect_content (f, nodeids[i], name);
  }
}

/* A deep tree, whose directories all are parked at some time. */
static void
test_directories_are_parked_as_well (VtFs *f, gconstpointer data)
{
  guint before = vt_fs_n_fds ();
  guint64 nodeids[200], parent = 1;

  for (guint i = 0; i < G_N_ELEMENTS (nodeids); i++) {
    g_assert_cmpint (vt_fuse_mkdir (f->c, parent, "d", 0755, &nodeids[i]), ==,
                     0);
    parent = nodeids[i];
  }
  for (guint i = 0; i < 3 * G_N_ELEMENTS (nodeids); i++) {
    guint64 dir = nodeids[i * 61 % G_N_ELEMENTS (nodeids)], nodeid, fh;

    g_assert_cmpint (
        vt_fuse_create (f->c, dir, "f", O_RDWR, 0644, &nodeid, &fh), ==, 0);
    g_assert_cmpint (vt_fuse_release (f->c, nodeid, fh), ==, 0);
    vt_fuse_forget (f->c, nodeid, 1);
    g_assert_cmpuint (vt_fs_n_fds (), <=, before + BUDGET);
  }
}

static void
test_sessions_end_with_parked_files (VtFs *f, gconstpointer data)
{
  guint64 nodeids[FILES];
  guint before = vt_fs_n_fds ();

  for (guint round = 0; round < 3; round++) {
    make_files (f, nodeids);
    g_assert_cmpint (vt_fuse_destroy (f->c), ==, 0);
    g_assert_cmpuint (vt_fs_n_fds (), ==, before);
    g_assert_cmpint (vt_fuse_init (f->c, 0), ==, 0);
    g_assert_cmpint (vt_fuse_getattr (f->c, nodeids[0], NULL), ==, -ESTALE);
  }
}

static void
test_symlinks_are_found_again (VtFs *f, gconstpointer data)
{
  guint64 nodeids[FILES], link;
  char target[4096];

  g_assert_cmpint (vt_fuse_symlink (f->c, 1, "link", "/no/where", &link), ==,
                   0);
  make_files (f, nodeids);
  g_assert_cmpint (vt_fuse_readlink (f->c, link, target), ==, 9);
  g_assert_cmpstr (target, ==, "/no/where");
}

/* Two queues wake and park the same files. */

typedef struct {
  VtFuse *fuse;
  const guint64 *nodeids;
  guint step;
} Racer;

static void *
race (void *data)
{
  const Racer *racer = data;

  for (guint i = 0; i < 4 * FILES; i++)
    g_assert_cmpint (vt_fuse_getattr (racer->fuse,
                                      racer->nodeids[i * racer->step % FILES],
                                      NULL),
                     ==, 0);
  return NULL;
}

static void
test_queues_do_not_close_each_others_files (VtFs *f, gconstpointer data)
{
  guint64 nodeids[FILES];
  Racer racers[2] = { { &f->fuse[1], nodeids, 7 },
                      { &f->fuse[2], nodeids, 11 } };
  pthread_t threads[2];

  make_files (f, nodeids);
  for (guint i = 0; i < 2; i++)
    g_assert_cmpint (pthread_create (&threads[i], NULL, race, &racers[i]), ==,
                     0);
  for (guint i = 0; i < 2; i++)
    pthread_join (threads[i], NULL);
}

int
main (int argc, char **argv)
{
  g_test_init (&argc, &argv, NULL);
#define ADD(name, config, func)                                                \
  VT_FS_TEST ("/fs/pin/handles/" name, &config, func);                         \
  g_test_add ("/fs/pin/names/" name, VtFs, &config, set_up_names, func,        \
              tear_down_names)
  ADD ("usable", small, test_all_files_stay_usable);
  ADD ("number", small, test_a_new_file_with_the_same_number_is_new);
  ADD ("removed", small, test_a_removed_file_is_stale_or_still_there);
  ADD ("open", small, test_an_open_file_outlives_its_name);
  ADD ("rename", small, test_files_are_found_after_a_rename);
  ADD ("directories", small, test_directories_are_parked_as_well);
  ADD ("sessions", small, test_sessions_end_with_parked_files);
  ADD ("symlinks", small, test_symlinks_are_found_again);
  ADD ("queues", small_queues, test_queues_do_not_close_each_others_files);
  return g_test_run ();
}
