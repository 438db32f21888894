/* SPDX-License-Identifier: BSD-3-Clause
 *
 * test-state.c - a guest goes on with another instance of its share
 */
#include "devices/fs/state.h"

#include <errno.h>
#include <fcntl.h>
#include <glib/gstdio.h>
#include <string.h>
#include <unistd.h>

#include "devices/fs/proof.h"
#include "tests/devices/fs/fixture.h"

static const VtFsConfig fresh = { .no_init = TRUE };
static const VtFsConfig aborts = {
  .keys = { "migration-on-error", "abort" },
  .no_init = TRUE,
};
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
static const VtFsConfig writeback = { .keys = { "writeback", "yes" } };

static void
stop (VtFs *f)
{
  for (guint i = 0; i < 2; i++)
    vt_rig_stop_ring (f->rig, f->rings[i]);
}

static void
go_on (VtFs *f)
{
  for (guint i = 0; i < 2; i++) {
    vt_ring_reset (f->rings[i], 0);
    vt_rig_start_ring (f->rig, f->rings[i]);
  }
}

/* Opens a second instance, whose queues are stopped.
 * @dir: what it shares */
static void
open_target (VtFs *to, const char *dir, const VtFsConfig *config)
{
  vt_fs_set_up (to, config);
  g_assert_no_errno (g_rmdir (to->dir));
  g_free (to->dir);
  to->dir = g_strdup (dir);
  vt_fs_open_again (to, config);
  stop (to);
}

/* Closes it, leaving the directory to its owner. */
static void
close_target (VtFs *to, const VtFsConfig *config)
{
  g_free (to->dir);
  to->dir = g_dir_make_tmp ("virtiod-fs-XXXXXX", NULL);
  vt_fs_tear_down (to, config);
}

/* Returns: (transfer full): NULL with @error set. */
static GByteArray *
save (VtFs *f, GError **error)
{
  g_autoptr (GByteArray) state = g_byte_array_new ();

  return vd_fs_save (f->rig->dev, state, error) ? g_steal_pointer (&state)
                                                : NULL;
}

static GByteArray *
saved (VtFs *f)
{
  g_autoptr (GError) error = NULL;
  GByteArray *state = save (f, &error);

  g_assert_no_error (error);
  return state;
}

static gboolean
load (VtFs *f, const GByteArray *state, GError **error)
{
  return vd_fs_load (f->rig->dev, f->rig->dev->config.bytes, state->data,
                     state->len, error);
}

/* Moves the guest of @from, which stops, to @to, which goes on. */
static void
move (VtFs *from, VtFs *to)
{
  g_autoptr (GByteArray) state = NULL;
  g_autoptr (GError) error = NULL;

  stop (from);
  state = saved (from);
  g_assert_true (load (to, state, &error));
  g_assert_no_error (error);
  to->c->flags = from->c->flags;
  go_on (to);
}

static void
assert_reads (VtFs *f, guint64 nodeid, guint64 fh, const char *content)
{
  char data[4096];
  gssize n = vt_fuse_read (f->c, nodeid, fh, 0, data, sizeof data);

  g_assert_cmpint (n, ==, strlen (content));
  g_assert_cmpmem (data, n, content, strlen (content));
}

static guint
n_lost (VtFs *f)
{
  return ((VdFs *) f->rig->dev)->n_lost;
}

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

  open_target (&to, f->dir, second);
  move (f, &to);
  assert_reads (&to, file, fh, "before");
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
  g_assert_cmpuint (n_lost (&to), ==, 0);
  close_target (&to, second);
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
  open_target (&to, f->dir, &fresh);
  move (f, &to);
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
  close_target (&to, &fresh);
}

/* To a host that has served another guest meanwhile, and back. */
static void
test_there_and_back (VtFs *f, gconstpointer config)
{
  guint64 file, fh, other;
  VtFs to = { 0 };

  vt_fs_put (f, "file", "content");
  fh = vt_fs_open (f, "file", O_RDONLY, &file);
  open_target (&to, f->dir, &fresh);
  go_on (&to);
  g_assert_cmpint (vt_fuse_init (to.c, 0), ==, 0);
  g_assert_cmpint (vt_fuse_lookup (to.c, 1, "file", &other, NULL), ==, 0);
  stop (&to);
  for (guint i = 0; i < 3; i++) {
    move (f, &to);
    assert_reads (&to, file, fh, "content");
    move (&to, f);
    assert_reads (f, file, fh, "content");
  }
  close_target (&to, &fresh);
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
  open_target (&to, f->dir, &fresh);
  move (f, &to);
  for (guint i = 0; i < G_N_ELEMENTS (names); i++) {
    char first[2] = { names[i][0] };

    assert_reads (&to, ids[i], fhs[i], first);
  }
  g_assert_cmpuint (n_lost (&to), ==, 0);
  close_target (&to, &fresh);
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
  open_target (&to, f->dir, &fresh);
  move (f, &to);
  assert_reads (&to, file, fh, "moved");
  close_target (&to, &fresh);
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
  stop (f);
  state = save (f, &error);
  g_assert_null (state);
  g_assert_error (error, VD_FS_STATE_ERROR, VD_FS_STATE_ERROR_NAMELESS);
  g_assert_nonnull (strstr (error->message, "file"));
  g_assert_nonnull (strstr (error->message, "migration-mode=file-handles"));
  go_on (f);
  assert_reads (f, file, fh, "still here");
  g_assert_cmpint (vt_fuse_release (f->c, file, fh), ==, 0);
  stop (f);
  g_byte_array_unref (saved (f)); /* closed, so it is no hindrance any more */
  go_on (f);
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
  open_target (&to, f->dir, &fresh);
  move (f, &to);
  g_assert_cmpint (vt_fuse_getattr (to.c, gone, NULL), ==, -ESTALE);
  g_assert_cmpint (vt_fuse_getattr (to.c, kept, NULL), ==, 0);
  g_assert_cmpuint (n_lost (&to), ==, 0);
  close_target (&to, &fresh);
}

static gboolean
has_handles (VtFs *f)
{
  const VdFs *fs = (const VdFs *) f->rig->dev;

  if (fs->inodes.pins.by_handle)
    return TRUE;
  g_test_skip ("no file handles here, or no CAP_DAC_READ_SEARCH");
  return FALSE;
}

static void
test_handles_move_nameless_files (VtFs *f, gconstpointer config)
{
  guint64 file, fh;
  VtFs to = { 0 };

  if (!has_handles (f))
    return;
  vt_fs_put (f, "file", "nameless");
  fh = vt_fs_open (f, "file", O_RDWR, &file);
  g_assert_cmpint (vt_fuse_unlink (f->c, 1, "file"), ==, 0);
  open_target (&to, f->dir, &fresh_handles);
  move (f, &to);
  assert_reads (&to, file, fh, "nameless");
  g_assert_cmpint (vt_fuse_write (to.c, file, fh, 0, "written!", 8), ==, 8);
  close_target (&to, &fresh_handles);
}

/* Both sides must want them: a front-end could name any file. */
static void
test_handles_are_not_taken_unasked (VtFs *f, gconstpointer config)
{
  guint64 file, fh, named;
  VtFs to = { 0 };

  if (!has_handles (f))
    return;
  vt_fs_put (f, "file", "nameless");
  vt_fs_put (f, "named", "");
  fh = vt_fs_open (f, "file", O_RDWR, &file);
  g_assert_cmpint (vt_fuse_lookup (f->c, 1, "named", &named, NULL), ==, 0);
  g_assert_cmpint (vt_fuse_unlink (f->c, 1, "file"), ==, 0);
  open_target (&to, f->dir, &fresh);
  move (f, &to);
  g_assert_cmpint (vt_fuse_read (to.c, file, fh, 0, &named, 1), ==, -EBADF);
  g_assert_cmpint (vt_fuse_getattr (to.c, file, NULL), ==, -ESTALE);
  g_assert_cmpint (vt_fuse_getattr (to.c, named, NULL), ==, 0);
  g_assert_cmpuint (n_lost (&to), ==, 2);
  close_target (&to, &fresh);
}

/* A state with one inode, as a front-end might make it up. */
static GByteArray *
made_up (const VtFs *f, const char *path, const VdFsProof *handle, guint32 type)
{
  GByteArray *state = g_byte_array_new ();
  const VdFsStateHead head = {
    .version = VD_FS_STATE_VERSION,
    .n_inodes = 1,
    .negotiated = vd_fs_negotiated ((const VdFs *) f->rig->dev),
  };
  VdFsStateInode inode = {
    .nodeid = 1ull << 32 | 1,
    .n_lookups = 1,
    .type = type,
    .path_len = (guint32) strlen (path),
  };

  if (handle != NULL) {
    inode.handle_len = handle->len;
    inode.handle_type = handle->type;
  }
  g_byte_array_append (state, (const guint8 *) &head, sizeof head);
  g_byte_array_append (state, (const guint8 *) &inode, sizeof inode);
  g_byte_array_append (state, (const guint8 *) path, inode.path_len);
  if (handle != NULL)
    g_byte_array_append (state, vd_fs_proof_bytes (handle), handle->len);
  return state;
}

/* Loads it and says whether the guest got a file. */
static gboolean
lets_in (VtFs *f, VtFs *to, const char *path, const VdFsProof *handle,
         guint32 type)
{
  g_autoptr (GByteArray) state = made_up (f, path, handle, type);
  g_autoptr (GError) error = NULL;

  if (!load (to, state, &error)) {
    g_assert_error (error, VD_FS_STATE_ERROR, VD_FS_STATE_ERROR_DAMAGED);
    return FALSE;
  }
  return vd_fs_inodes_n_live (&((VdFs *) to->rig->dev)->inodes) == 1;
}

static void
test_nothing_outside_is_reached (VtFs *f, gconstpointer config)
{
  g_autofree char *outside = g_strconcat (f->dir, "-outside", NULL);
  g_autofree char *beside = g_strconcat ("../", outside, NULL);
  g_autofree char *link = vt_fs_path (f, "link");
  g_autofree char *dir_link = vt_fs_path (f, "dir-link");
  const VtFsConfig *second = config == &live ? &fresh_live : &fresh_handles;
  VdFsProof proof = { 0 };
  VtFs to = { 0 };

  g_assert_true (g_file_set_contents (outside, "secret", -1, NULL));
  vt_fs_put (f, "inside", "");
  g_assert_no_errno (symlink (outside, link));
  g_assert_no_errno (symlink ("/", dir_link));
  open_target (&to, f->dir, second);
  g_assert_true (lets_in (f, &to, "inside", NULL, S_IFREG));
  g_assert_false (lets_in (f, &to, "inside", NULL, S_IFDIR));
  g_assert_false (lets_in (f, &to, outside, NULL, S_IFREG));
  g_assert_false (lets_in (f, &to, beside, NULL, S_IFREG));
  g_assert_false (lets_in (f, &to, "..", NULL, S_IFDIR));
  g_assert_false (lets_in (f, &to, ".", NULL, S_IFDIR));
  g_assert_false (lets_in (f, &to, "link", NULL, S_IFREG));
  g_assert_true (lets_in (f, &to, "link", NULL, S_IFLNK));
  g_assert_false (lets_in (f, &to, "dir-link/etc", NULL, S_IFDIR));
  g_assert_false (lets_in (f, &to, "", NULL, S_IFREG));
  if (vd_fs_proof_handle (AT_FDCWD, outside, &proof) == 0)
    g_assert_false (lets_in (f, &to, "", &proof, S_IFREG));
  vd_fs_proof_clear (&proof);
  g_assert_no_errno (g_unlink (outside));
  go_on (&to);
  close_target (&to, second);
}

/* @config: of the source.  The target's directory lacks a file. */
static void
lose_one (VtFs *f, const VtFsConfig *second, gboolean loads)
{
  g_autoptr (GByteArray) state = NULL;
  g_autoptr (GError) error = NULL;
  guint64 missing, fh, kept;
  g_autofree char *path = NULL;
  VtFs to = { 0 };

  vt_fs_put (f, "missing", "");
  vt_fs_put (f, "kept", "");
  fh = vt_fs_open (f, "missing", O_RDONLY, &missing);
  g_assert_cmpint (vt_fuse_lookup (f->c, 1, "kept", &kept, NULL), ==, 0);
  stop (f);
  state = saved (f);
  path = vt_fs_path (f, "missing");
  g_assert_no_errno (g_unlink (path));
  open_target (&to, f->dir, second);
  g_assert_true (load (&to, state, &error) == loads);
  go_on (&to);
  if (loads) {
    to.c->flags = f->c->flags;
    g_assert_cmpint (vt_fuse_getattr (to.c, kept, NULL), ==, 0);
    g_assert_cmpint (vt_fuse_getattr (to.c, missing, NULL), ==, -ESTALE);
    g_assert_cmpint (vt_fuse_release (to.c, missing, fh), ==, -EBADF);
    g_assert_cmpuint (n_lost (&to), ==, 2);
  } else {
    g_assert_error (error, VD_FS_STATE_ERROR, VD_FS_STATE_ERROR_LOST);
    g_assert_nonnull (strstr (error->message, "missing"));
    g_assert_cmpuint (vd_fs_inodes_n_live (&((VdFs *) to.rig->dev)->inodes), ==,
                      0);
    g_assert_cmpint (vt_fuse_getattr (to.c, 1, NULL), ==, -EIO);
  }
  close_target (&to, second);
  go_on (f);
}

static void
test_a_missing_file_is_the_guests_error (VtFs *f, gconstpointer config)
{
  lose_one (f, &fresh, TRUE);
}

static void
test_a_missing_file_may_abort (VtFs *f, gconstpointer config)
{
  lose_one (f, &aborts, FALSE);
}

/* Another file under the name of the one that was meant. */
static void
test_verified_handles_tell_files_apart (VtFs *f, gconstpointer config)
{
  guint64 replaced, kept;
  g_autoptr (GByteArray) state = NULL;
  g_autofree char *new = vt_fs_path (f, "new"), *old = vt_fs_path (f, "old");
  VtFs to = { 0 };

  if (!has_handles (f))
    return;
  vt_fs_put (f, "old", "old");
  vt_fs_put (f, "kept", "");
  g_assert_cmpint (vt_fuse_lookup (f->c, 1, "old", &replaced, NULL), ==, 0);
  g_assert_cmpint (vt_fuse_lookup (f->c, 1, "kept", &kept, NULL), ==, 0);
  stop (f);
  state = saved (f);
  vt_fs_put (f, "new", "new");
  g_assert_no_errno (g_rename (new, old));
  open_target (&to, f->dir, &fresh);
  g_assert_true (load (&to, state, NULL));
  to.c->flags = f->c->flags;
  go_on (&to);
  g_assert_cmpint (vt_fuse_getattr (to.c, replaced, NULL), ==, -ESTALE);
  g_assert_cmpint (vt_fuse_getattr (to.c, kept, NULL), ==, 0);
  close_target (&to, &fresh);
  go_on (f);
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
  open_target (&to, f->dir, &fresh_small);
  move (f, &to);
  g_assert_cmpuint (n_lost (&to), ==, 0);
  for (guint i = 0; i < FILES; i++)
    g_assert_cmpint (vt_fuse_getattr (to.c, ids[i], NULL), ==, 0);
  close_target (&to, &fresh_small);
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
  open_target (&to, f->dir, &fresh_locks);
  move (f, &to);
  g_assert_cmpuint (n_lost (&to), ==, 0);
  g_assert_cmpuint (((VdFs *) to.rig->dev)->n_lost_locks, ==, 2);
  close_target (&to, &fresh_locks);
}

static void
test_locks_may_abort (VtFs *f, gconstpointer config)
{
  g_autoptr (GError) error = NULL;
  g_autoptr (GByteArray) state = NULL;

  lock_two (f);
  stop (f);
  state = save (f, &error);
  g_assert_null (state);
  g_assert_error (error, VD_FS_STATE_ERROR, VD_FS_STATE_ERROR_LOCKS);
  go_on (f);
}

static void
test_other_keys_are_refused (VtFs *f, gconstpointer config)
{
  g_autoptr (GByteArray) state = NULL;
  g_autoptr (GError) error = NULL;
  VtFs to = { 0 };

  open_target (&to, f->dir, &fresh);
  stop (f);
  state = saved (f);
  g_assert_false (load (&to, state, &error));
  g_assert_error (error, VD_FS_STATE_ERROR, VD_FS_STATE_ERROR_POLICY);
  go_on (&to);
  go_on (f);
  close_target (&to, &fresh);
}

static void
test_a_guest_that_has_not_mounted (VtFs *f, gconstpointer config)
{
  VtFs to = { 0 };

  g_assert_cmpint (vt_fuse_destroy (f->c), ==, 0);
  open_target (&to, f->dir, &fresh);
  move (f, &to);
  g_assert_cmpint (vt_fuse_getattr (to.c, 1, NULL), ==, -EIO);
  g_assert_cmpint (vt_fuse_init (to.c, 0), ==, 0);
  close_target (&to, &fresh);
}

/* As when the front-end has left, or the daemon is to stop. */
static void
test_what_nobody_waits_for_ends_early (VtFs *f, gconstpointer config)
{
  g_autoptr (GByteArray) state = NULL;
  g_autoptr (GError) error = NULL;
  VtFs to = { 0 };
  guint64 file;

  vt_fs_put (f, "file", "");
  g_assert_cmpint (vt_fuse_lookup (f->c, 1, "file", &file, NULL), ==, 0);
  open_target (&to, f->dir, &fresh);
  stop (f);
  state = saved (f);
  f->rig->dev->abandoned = to.rig->dev->abandoned = TRUE;
  g_assert_null (save (f, &error));
  g_assert_error (error, VD_FS_STATE_ERROR, VD_FS_STATE_ERROR_ABANDONED);
  g_clear_error (&error);
  g_assert_false (load (&to, state, &error));
  g_assert_error (error, VD_FS_STATE_ERROR, VD_FS_STATE_ERROR_ABANDONED);
  go_on (f);
  go_on (&to);
  g_assert_cmpint (vt_fuse_getattr (f->c, file, NULL), ==, 0);
  g_assert_cmpint (vt_fuse_init (to.c, 0), ==, 0);
  g_assert_cmpint (vt_fuse_getattr (to.c, file, NULL), ==, -ESTALE);
  close_target (&to, &fresh);
}

/* Nothing that a front-end sends is believed, or does harm. */
static void
test_damaged_states_do_no_harm (VtFs *f, gconstpointer config)
{
  g_autoptr (GByteArray) state = NULL, longer = g_byte_array_new ();
  g_autoptr (GRand) rand = g_rand_new_with_seed (1);
  g_autoptr (GError) error = NULL;
  guint64 file, fh;
  VtFs to = { 0 };
  guint n_fds;

  vt_fs_put (f, "file", "");
  fh = vt_fs_open (f, "file", O_RDWR, &file);
  g_assert_cmpuint (fh, !=, 0);
  open_target (&to, f->dir, &fresh_handles);
  stop (f);
  state = saved (f);
  n_fds = vt_fs_n_fds ();
  for (guint len = 0; len < state->len; len++) {
    const GByteArray cut = { state->data, len };

    g_assert_false (load (&to, &cut, &error));
    g_assert_error (error, VD_FS_STATE_ERROR, VD_FS_STATE_ERROR_DAMAGED);
    g_clear_error (&error);
  }
  g_byte_array_append (longer, state->data, state->len);
  g_byte_array_append (longer, (const guint8 *) "", 1);
  g_assert_false (load (&to, longer, NULL));
  for (guint i = 0; i < 3000; i++) {
    guint at = (guint) g_rand_int_range (rand, 0, (gint) state->len);
    guint8 old = state->data[at];

    state->data[at] = (guint8) g_rand_int (rand);
    load (&to, state, NULL);
    state->data[at] = old;
  }
  load (&to, state, &error);
  g_assert_no_error (error);
  vd_fs_session ((VdFs *) to.rig->dev, 0);
  g_assert_cmpuint (vt_fs_n_fds (), ==, n_fds);
  go_on (&to);
  go_on (f);
  close_target (&to, &fresh_handles);
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
  ADD (&handles, handles_are_not_taken_unasked);
  ADD (NULL, nothing_outside_is_reached);
  VT_FS_TEST ("/fs/state/nothing_outside_is_reached/live", &live,
              test_nothing_outside_is_reached);
  ADD (NULL, a_missing_file_is_the_guests_error);
  ADD (NULL, a_missing_file_may_abort);
  ADD (&verified, verified_handles_tell_files_apart);
  ADD (&small, more_files_than_descriptors);
  ADD (&locks, locks_are_counted);
  ADD (&locks_abort, locks_may_abort);
  ADD (&writeback, other_keys_are_refused);
  ADD (NULL, a_guest_that_has_not_mounted);
  ADD (NULL, what_nobody_waits_for_ends_early);
  ADD (NULL, damaged_states_do_no_harm);
#undef ADD
  return g_test_run ();
}
