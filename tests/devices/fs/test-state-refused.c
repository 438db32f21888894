/* SPDX-License-Identifier: BSD-3-Clause
 *
 * test-state-refused.c - states that do not fit, are not wanted, or were made up
 */
#include "tests/devices/fs/state-rig.h"

#include <errno.h>
#include <fcntl.h>
#include <glib/gstdio.h>
#include <string.h>
#include <unistd.h>

#include "devices/fs/proof.h"

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
static const VtFsConfig live = { .keys = { "jail", "live" } };
static const VtFsConfig fresh_live = { .keys = { "jail", "live" },
                                       .no_init = TRUE };
static const VtFsConfig writeback = { .keys = { "writeback", "yes" } };

/* Both sides must want them: a front-end could name any file. */
static void
test_handles_are_not_taken_unasked (VtFs *f, gconstpointer config)
{
  guint64 file, fh, named;
  VtFs to = { 0 };

  if (!vt_state_has_handles (f))
    return;
  vt_fs_put (f, "file", "nameless");
  vt_fs_put (f, "named", "");
  fh = vt_fs_open (f, "file", O_RDWR, &file);
  g_assert_cmpint (vt_fuse_lookup (f->c, 1, "named", &named, NULL), ==, 0);
  g_assert_cmpint (vt_fuse_unlink (f->c, 1, "file"), ==, 0);
  vt_state_open_target (&to, f->dir, &fresh);
  vt_state_move (f, &to);
  g_assert_cmpint (vt_fuse_read (to.c, file, fh, 0, &named, 1), ==, -EBADF);
  g_assert_cmpint (vt_fuse_getattr (to.c, file, NULL), ==, -ESTALE);
  g_assert_cmpint (vt_fuse_getattr (to.c, named, NULL), ==, 0);
  g_assert_cmpuint (vt_state_n_lost (&to), ==, 2);
  vt_state_close_target (&to, &fresh);
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

  if (!vt_state_load (to, state, &error)) {
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
  vt_state_open_target (&to, f->dir, second);
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
  vt_state_go_on (&to);
  vt_state_close_target (&to, second);
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
  vt_state_stop (f);
  state = vt_state_saved (f);
  path = vt_fs_path (f, "missing");
  g_assert_no_errno (g_unlink (path));
  vt_state_open_target (&to, f->dir, second);
  g_assert_true (vt_state_load (&to, state, &error) == loads);
  vt_state_go_on (&to);
  if (loads) {
    to.c->flags = f->c->flags;
    g_assert_cmpint (vt_fuse_getattr (to.c, kept, NULL), ==, 0);
    g_assert_cmpint (vt_fuse_getattr (to.c, missing, NULL), ==, -ESTALE);
    g_assert_cmpint (vt_fuse_release (to.c, missing, fh), ==, -EBADF);
    g_assert_cmpuint (vt_state_n_lost (&to), ==, 2);
  } else {
    g_assert_error (error, VD_FS_STATE_ERROR, VD_FS_STATE_ERROR_LOST);
    g_assert_nonnull (strstr (error->message, "missing"));
    g_assert_cmpuint (vd_fs_inodes_n_live (&((VdFs *) to.rig->dev)->inodes), ==,
                      0);
    g_assert_cmpint (vt_fuse_getattr (to.c, 1, NULL), ==, -EIO);
  }
  vt_state_close_target (&to, second);
  vt_state_go_on (f);
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

static void
test_other_keys_are_refused (VtFs *f, gconstpointer config)
{
  g_autoptr (GByteArray) state = NULL;
  g_autoptr (GError) error = NULL;
  VtFs to = { 0 };

  vt_state_open_target (&to, f->dir, &fresh);
  vt_state_stop (f);
  state = vt_state_saved (f);
  g_assert_false (vt_state_load (&to, state, &error));
  g_assert_error (error, VD_FS_STATE_ERROR, VD_FS_STATE_ERROR_POLICY);
  vt_state_go_on (&to);
  vt_state_go_on (f);
  vt_state_close_target (&to, &fresh);
}

static void
test_a_guest_that_has_not_mounted (VtFs *f, gconstpointer config)
{
  VtFs to = { 0 };

  g_assert_cmpint (vt_fuse_destroy (f->c), ==, 0);
  vt_state_open_target (&to, f->dir, &fresh);
  vt_state_move (f, &to);
  g_assert_cmpint (vt_fuse_getattr (to.c, 1, NULL), ==, -EIO);
  g_assert_cmpint (vt_fuse_init (to.c, 0), ==, 0);
  vt_state_close_target (&to, &fresh);
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
  vt_state_open_target (&to, f->dir, &fresh);
  vt_state_stop (f);
  state = vt_state_saved (f);
  f->rig->dev->abandoned = to.rig->dev->abandoned = TRUE;
  g_assert_null (vt_state_save (f, &error));
  g_assert_error (error, VD_FS_STATE_ERROR, VD_FS_STATE_ERROR_ABANDONED);
  g_clear_error (&error);
  g_assert_false (vt_state_load (&to, state, &error));
  g_assert_error (error, VD_FS_STATE_ERROR, VD_FS_STATE_ERROR_ABANDONED);
  vt_state_go_on (f);
  vt_state_go_on (&to);
  g_assert_cmpint (vt_fuse_getattr (f->c, file, NULL), ==, 0);
  g_assert_cmpint (vt_fuse_init (to.c, 0), ==, 0);
  g_assert_cmpint (vt_fuse_getattr (to.c, file, NULL), ==, -ESTALE);
  vt_state_close_target (&to, &fresh);
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
  vt_state_open_target (&to, f->dir, &fresh_handles);
  vt_state_stop (f);
  state = vt_state_saved (f);
  n_fds = vt_fs_n_fds ();
  for (guint len = 0; len < state->len; len++) {
    const GByteArray cut = { state->data, len };

    g_assert_false (vt_state_load (&to, &cut, &error));
    g_assert_error (error, VD_FS_STATE_ERROR, VD_FS_STATE_ERROR_DAMAGED);
    g_clear_error (&error);
  }
  g_byte_array_append (longer, state->data, state->len);
  g_byte_array_append (longer, (const guint8 *) "", 1);
  g_assert_false (vt_state_load (&to, longer, NULL));
  for (guint i = 0; i < 3000; i++) {
    guint at = (guint) g_rand_int_range (rand, 0, (gint) state->len);
    guint8 old = state->data[at];

    state->data[at] = (guint8) g_rand_int (rand);
    vt_state_load (&to, state, NULL);
    state->data[at] = old;
  }
  vt_state_load (&to, state, &error);
  g_assert_no_error (error);
  vd_fs_session ((VdFs *) to.rig->dev, 0);
  g_assert_cmpuint (vt_fs_n_fds (), ==, n_fds);
  vt_state_go_on (&to);
  vt_state_go_on (f);
  vt_state_close_target (&to, &fresh_handles);
}

int
main (int argc, char **argv)
{
  g_test_init (&argc, &argv, NULL);
#define ADD(config, name)                                                      \
  VT_FS_TEST ("/fs/state-refused/" #name, config, test_##name)
  ADD (&handles, handles_are_not_taken_unasked);
  ADD (NULL, nothing_outside_is_reached);
  VT_FS_TEST ("/fs/state-refused/nothing_outside_is_reached/live", &live,
              test_nothing_outside_is_reached);
  ADD (NULL, a_missing_file_is_the_guests_error);
  ADD (NULL, a_missing_file_may_abort);
  ADD (&writeback, other_keys_are_refused);
  ADD (NULL, a_guest_that_has_not_mounted);
  ADD (NULL, what_nobody_waits_for_ends_early);
  ADD (NULL, damaged_states_do_no_harm);
#undef ADD
  return g_test_run ();
}
