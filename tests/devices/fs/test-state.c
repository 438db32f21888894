/* SPDX-License-Identifier: BSD-3-Clause
 *
 * test-state.c - a guest goes on with another instance of its share
 */
#include "tests/devices/fs/state-rig.h"

#include <errno.h>
#include <fcntl.h>
#include <glib/gstdio.h>
#include <string.h>
#include <unistd.h>

static const VtFsConfig fresh = { .no_init = TRUE };
static const VtFsConfig handles = { .keys = { "migration-mode",
                                              "file-handles" } };
static const VtFsConfig fresh_handles = {
  .keys = { "migration-mode", "file-handles" },
  .no_init = TRUE,
};
static const VtFsConfig verified = { .keys = { "migration-verify-handles",
                                               "yes" } };
static const VtFsConfig live = { .keys = { "jail", "live" } };
static const VtFsConfig fresh_live = { .keys = { "jail", "live" },
                                       .no_init = TRUE };
static const VtFsConfig small = { .keys = { "fd-budget", "64" } };
static const VtFsConfig fresh_small = { .keys = { "fd-budget", "64" },
                                        .no_init = TRUE };
static const VtFsConfig locks = { .keys = { "locks", "all" } };
static const VtFsConfig fresh_locks = { .keys = { "locks", "all" },
                                        .no_init = TRUE };
static const VtFsConfig locks_abort = {
  .keys = { "locks", "all", "migration-on-error", "abort" }
};

static void
test_what_the_guest_has_goes_on (VtFs *f, gconstpointer config)
{
  const VtFsConfig *second = config == &live ? &fresh_live : &fresh;
  guint64 dir, file, fh, known, link, dir_fh, again;
  g_autofree char *there = NULL;
  char target[4096];
  VtFs to = { 0 };

  g_assert_cmpint (vt_fuse_mkdir (f->c, 1, "dir", 0755, &dir), ==, 0);
  g_assert_cmpint (vt_fuse_create (f->c, dir, "file", O_RDWR, 0644, &file, &fh),
                   ==, 0);
  g_assert_cmpint (vt_fuse_write (f->c, file, fh, 0, "before", 6), ==, 6);
  vt_fs_put (f, "known", "known");
  g_assert_cmpint (vt_fuse_lookup (f->c, 1, "known", &known, NULL), ==, 0);
  g_assert_cmpint (vt_fuse_symlink (f->c, 1, "link", "to/nowhere", &link), ==,
                   0);
  g_assert_cmpint (vt_fuse_opendir (f->c, dir, &dir_fh), ==, 0);

  vt_state_open_target (&to, f->dir, second);
  vt_state_move (f, &to);
  vt_state_assert_reads (&to, file, fh, "before");
  g_assert_cmpint (vt_fuse_write (to.c, file, fh, 0, "AFTER!", 6), ==, 6);
  there = vt_fs_get (f, "dir/file");
  g_assert_cmpstr (there, ==, "AFTER!");
  g_assert_cmpint (vt_fuse_readlink (to.c, link, target), ==, 10);
  g_assert_cmpint (vt_fuse_getattr (to.c, known, NULL), ==, 0);
  g_assert_cmpint (
      vt_fuse_readdir (to.c, dir, dir_fh, 0, FALSE, target, sizeof target), >,
      0);
  /* The same file is the same number, and counted. */
  g_assert_cmpint (vt_fuse_lookup (to.c, 1, "known", &again, NULL), ==, 0);
  g_assert_cmphex (again, ==, known);
  vt_fuse_forget (&to.fuse[0], known, 2);
  g_assert_cmpint (vt_fuse_getattr (to.c, known, NULL), ==, -ESTALE);
  g_assert_cmpint (vt_fuse_release (to.c, file, fh), ==, 0);
  g_assert_cmpint (vt_fuse_releasedir (to.c, dir, dir_fh), ==, 0);
  g_assert_cmpint (vt_fuse_release (to.c, file, fh), ==, -EBADF);
  g_assert_cmpuint (vt_state_n_lost (&to), ==, 0);
  vt_state_close_target (&to, second);
}

static int
compare (gconstpointer a, gconstpointer b)
{
  guint64 x = *(const guint64 *) a, y = *(const guint64 *) b;

  return x < y ? -1 : x > y;
}

/* What is given out afterwards is no number that the guest has. */
static void
test_numbers_are_not_given_twice (VtFs *f, gconstpointer config)
{
  enum { OLD = 150, NEW = 400 };
  guint64 ids[OLD + NEW], fhs[OLD + NEW];
  VtFs to = { 0 };

  for (guint i = 0; i < OLD; i++) {
    g_autofree char *name = g_strdup_printf ("old%u", i);

    g_assert_cmpint (
        vt_fuse_create (f->c, 1, name, O_RDWR, 0644, &ids[i], &fhs[i]), ==, 0);
  }
  /* Holes, which are filled again with other generations. */
  for (guint i = 0; i < OLD; i += 3) {
    g_assert_cmpint (vt_fuse_release (f->c, ids[i], fhs[i]), ==, 0);
    vt_fuse_forget (&f->fuse[0], ids[i], 1);
  }
  vt_state_open_target (&to, f->dir, &fresh);
  vt_state_move (f, &to);
  for (guint i = OLD; i < OLD + NEW; i++) {
    g_autofree char *name = g_strdup_printf ("new%u", i);

    g_assert_cmpint (
        vt_fuse_create (to.c, 1, name, O_RDWR, 0644, &ids[i], &fhs[i]), ==, 0);
  }
  for (guint i = 0; i < OLD; i++)
    g_assert_cmpint (vt_fuse_getattr (to.c, ids[i], NULL), ==,
                     i % 3 == 0 ? -ESTALE : 0);
  for (guint i = 0; i < OLD; i += 3) /* which are free */
    ids[i] = fhs[i] = G_MAXUINT64 - i;
  qsort (ids, G_N_ELEMENTS (ids), sizeof ids[0], compare);
  qsort (fhs, G_N_ELEMENTS (fhs), sizeof fhs[0], compare);
  for (guint i = 1; i < G_N_ELEMENTS (ids); i++) {
    g_assert_cmphex (ids[i], !=, ids[i - 1]);
    g_assert_cmphex (fhs[i], !=, fhs[i - 1]);
  }
  vt_state_close_target (&to, &fresh);
}

/* To a host that has served another guest meanwhile, and back. */
static void
test_there_and_back (VtFs *f, gconstpointer config)
{
  guint64 file, fh, other;
  VtFs to = { 0 };

  vt_fs_put (f, "file", "content");
  fh = vt_fs_open (f, "file", O_RDONLY, &file);
  vt_state_open_target (&to, f->dir, &fresh);
  vt_state_go_on (&to);
  g_assert_cmpint (vt_fuse_init (to.c, 0), ==, 0);
  g_assert_cmpint (vt_fuse_lookup (to.c, 1, "file", &other, NULL), ==, 0);
  vt_state_stop (&to);
  for (guint i = 0; i < 3; i++) {
    vt_state_move (f, &to);
    vt_state_assert_reads (&to, file, fh, "content");
    vt_state_move (&to, f);
    vt_state_assert_reads (f, file, fh, "content");
  }
  vt_state_close_target (&to, &fresh);
}

/* Names that a path must survive. */
static void
test_paths_of_all_kinds (VtFs *f, gconstpointer config)
{
  g_autofree char *longest = g_strnfill (255, 'x');
  const char *names[] = { "line\nbreak",
                          "gone (deleted)",
                          "back\\slash \\012",
                          "\xff\xfe not UTF-8",
                          "-",
                          "ümläut",
                          longest };
  guint64 ids[G_N_ELEMENTS (names)], fhs[G_N_ELEMENTS (names)], dir = 1;
  VtFs to = { 0 };

  for (guint i = 0; i < G_N_ELEMENTS (names); i++) {
    g_assert_cmpint (vt_fuse_mkdir (f->c, dir, names[i], 0755, &dir), ==, 0);
    g_assert_cmpint (
        vt_fuse_create (f->c, dir, names[i], O_RDWR, 0644, &ids[i], &fhs[i]),
        ==, 0);
    g_assert_cmpint (vt_fuse_write (f->c, ids[i], fhs[i], 0, names[i], 1), ==,
                     1);
  }
  vt_state_open_target (&to, f->dir, &fresh);
  vt_state_move (f, &to);
  for (guint i = 0; i < G_N_ELEMENTS (names); i++) {
    char first[2] = { names[i][0] };

    vt_state_assert_reads (&to, ids[i], fhs[i], first);
  }
  g_assert_cmpuint (vt_state_n_lost (&to), ==, 0);
  vt_state_close_target (&to, &fresh);
}

static void
test_a_renamed_file_is_found (VtFs *f, gconstpointer config)
{
  g_autofree char *a = NULL, *b = NULL;
  guint64 file, fh, dir;
  VtFs to = { 0 };

  vt_fs_put (f, "first", "moved");
  fh = vt_fs_open (f, "first", O_RDONLY, &file);
  g_assert_cmpint (vt_fuse_mkdir (f->c, 1, "dir", 0755, &dir), ==, 0);
  g_assert_cmpint (vt_fuse_rename (f->c, 1, "first", dir, "second", 0), ==, 0);
  a = vt_fs_path (f, "dir/second");
  b = vt_fs_path (f, "third");
  g_assert_no_errno (g_rename (a, b)); /* nobody tells the daemon */
  vt_state_open_target (&to, f->dir, &fresh);
  vt_state_move (f, &to);
  vt_state_assert_reads (&to, file, fh, "moved");
  vt_state_close_target (&to, &fresh);
}

/* An open file without a name cannot be told to the other side: the guest must
 * go on where it is. */
static void
test_a_nameless_open_file_is_refused_here (VtFs *f, gconstpointer config)
{
  g_autoptr (GError) error = NULL;
  g_autoptr (GByteArray) state = NULL;
  guint64 file, fh;

  vt_fs_put (f, "file", "still here");
  fh = vt_fs_open (f, "file", O_RDONLY, &file);
  g_assert_cmpint (vt_fuse_unlink (f->c, 1, "file"), ==, 0);
  vt_state_stop (f);
  state = vt_state_save (f, &error);
  g_assert_null (state);
  g_assert_error (error, VD_FS_STATE_ERROR, VD_FS_STATE_ERROR_NAMELESS);
  g_assert_nonnull (strstr (error->message, "file"));
  g_assert_nonnull (strstr (error->message, "migration-mode=file-handles"));
  vt_state_go_on (f);
  vt_state_assert_reads (f, file, fh, "still here");
  g_assert_cmpint (vt_fuse_release (f->c, file, fh), ==, 0);
  vt_state_stop (f);
  g_byte_array_unref (
      vt_state_saved (f)); /* closed, so it is no hindrance any more */
  vt_state_go_on (f);
}

static void
test_a_file_that_is_gone_is_left_out (VtFs *f, gconstpointer config)
{
  guint64 gone, kept;
  VtFs to = { 0 };

  vt_fs_put (f, "gone", "");
  vt_fs_put (f, "kept", "");
  g_assert_cmpint (vt_fuse_lookup (f->c, 1, "gone", &gone, NULL), ==, 0);
  g_assert_cmpint (vt_fuse_lookup (f->c, 1, "kept", &kept, NULL), ==, 0);
  g_assert_cmpint (vt_fuse_unlink (f->c, 1, "gone"), ==, 0);
  vt_state_open_target (&to, f->dir, &fresh);
  vt_state_move (f, &to);
  g_assert_cmpint (vt_fuse_getattr (to.c, gone, NULL), ==, -ESTALE);
  g_assert_cmpint (vt_fuse_getattr (to.c, kept, NULL), ==, 0);
  g_assert_cmpuint (vt_state_n_lost (&to), ==, 0);
  vt_state_close_target (&to, &fresh);
}

static void
test_handles_move_nameless_files (VtFs *f, gconstpointer config)
{
  guint64 file, fh;
  VtFs to = { 0 };

  if (!vt_state_has_handles (f))
    return;
  vt_fs_put (f, "file", "nameless");
  fh = vt_fs_open (f, "file", O_RDWR, &file);
  g_assert_cmpint (vt_fuse_unlink (f->c, 1, "file"), ==, 0);
  vt_state_open_target (&to, f->dir, &fresh_handles);
  vt_state_move (f, &to);
  vt_state_assert_reads (&to, file, fh, "nameless");
  g_assert_cmpint (vt_fuse_write (to.c, file, fh, 0, "written!", 8), ==, 8);
  vt_state_close_target (&to, &fresh_handles);
}

/* Another file under the name of the one that was meant. */
static void
test_verified_handles_tell_files_apart (VtFs *f, gconstpointer config)
{
  guint64 replaced, kept;
  g_autoptr (GByteArray) state = NULL;
  g_autofree char *new = vt_fs_path (f, "new"), *old = vt_fs_path (f, "old");
  VtFs to = { 0 };

  if (!vt_state_has_handles (f))
    return;
  vt_fs_put (f, "old", "old");
  vt_fs_put (f, "kept", "");
  g_assert_cmpint (vt_fuse_lookup (f->c, 1, "old", &replaced, NULL), ==, 0);
  g_assert_cmpint (vt_fuse_lookup (f->c, 1, "kept", &kept, NULL), ==, 0);
  vt_state_stop (f);
  state = vt_state_saved (f);
  vt_fs_put (f, "new", "new");
  g_assert_no_errno (g_rename (new, old));
  vt_state_open_target (&to, f->dir, &fresh);
  g_assert_true (vt_state_load (&to, state, NULL));
  to.c->flags = f->c->flags;
  vt_state_go_on (&to);
  g_assert_cmpint (vt_fuse_getattr (to.c, replaced, NULL), ==, -ESTALE);
  g_assert_cmpint (vt_fuse_getattr (to.c, kept, NULL), ==, 0);
  vt_state_close_target (&to, &fresh);
  vt_state_go_on (f);
}

/* A guest that knows more files than may be open, there and here. */
static void
test_more_files_than_descriptors (VtFs *f, gconstpointer config)
{
  enum { FILES = 600 };
  guint64 ids[FILES];
  VtFs to = { 0 };

  for (guint i = 0; i < FILES; i++) {
    g_autofree char *name = g_strdup_printf ("f%u", i);

    vt_fs_put (f, name, "");
    g_assert_cmpint (vt_fuse_lookup (f->c, 1, name, &ids[i], NULL), ==, 0);
  }
  vt_state_open_target (&to, f->dir, &fresh_small);
  vt_state_move (f, &to);
  g_assert_cmpuint (vt_state_n_lost (&to), ==, 0);
  for (guint i = 0; i < FILES; i++)
    g_assert_cmpint (vt_fuse_getattr (to.c, ids[i], NULL), ==, 0);
  vt_state_close_target (&to, &fresh_small);
}

/* Locks a file by fcntl(2) and by flock(2). */
static void
lock_two (VtFs *f)
{
  struct fuse_lk_in in = { .owner = 7,
                           .lk = { .start = 0, .end = 9, .type = F_WRLCK } };
  guint64 file;

  vt_fs_put (f, "file", "0123456789");
  in.fh = vt_fs_open (f, "file", O_RDWR, &file);
  g_assert_cmpint (
      vt_fuse_call (f->c, FUSE_SETLK, file, &in, sizeof in, NULL, 0, NULL, 0),
      ==, 0);
  in.lk_flags = FUSE_LK_FLOCK;
  g_assert_cmpint (
      vt_fuse_call (f->c, FUSE_SETLK, file, &in, sizeof in, NULL, 0, NULL, 0),
      ==, 0);
}

static void
test_locks_are_counted (VtFs *f, gconstpointer config)
{
  VtFs to = { 0 };

  lock_two (f);
  vt_state_open_target (&to, f->dir, &fresh_locks);
  vt_state_move (f, &to);
  g_assert_cmpuint (vt_state_n_lost (&to), ==, 0);
  g_assert_cmpuint (((VdFs *) to.rig->dev)->n_lost_locks, ==, 2);
  vt_state_close_target (&to, &fresh_locks);
}

static void
test_locks_may_abort (VtFs *f, gconstpointer config)
{
  g_autoptr (GError) error = NULL;
  g_autoptr (GByteArray) state = NULL;

  lock_two (f);
  vt_state_stop (f);
  state = vt_state_save (f, &error);
  g_assert_null (state);
  g_assert_error (error, VD_FS_STATE_ERROR, VD_FS_STATE_ERROR_LOCKS);
  vt_state_go_on (f);
}

int
main (int argc, char **argv)
{
  g_test_init (&argc, &argv, NULL);
#define ADD(config, name) VT_FS_TEST ("/fs/state/" #name, config, test_##name)
  ADD (NULL, what_the_guest_has_goes_on);
  VT_FS_TEST ("/fs/state/what_the_guest_has_goes_on/live", &live,
              test_what_the_guest_has_goes_on);
  ADD (NULL, numbers_are_not_given_twice);
  ADD (NULL, there_and_back);
  ADD (NULL, paths_of_all_kinds);
  ADD (NULL, a_renamed_file_is_found);
  ADD (NULL, a_nameless_open_file_is_refused_here);
  ADD (NULL, a_file_that_is_gone_is_left_out);
  ADD (&handles, handles_move_nameless_files);
  ADD (&verified, verified_handles_tell_files_apart);
  ADD (&small, more_files_than_descriptors);
  ADD (&locks, locks_are_counted);
  ADD (&locks_abort, locks_may_abort);
#undef ADD
  return g_test_run ();
}
