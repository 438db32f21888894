/* SPDX-License-Identifier: BSD-3-Clause */
#include "tests/devices/fs/state-rig.h"

#include <glib/gstdio.h>
#include <string.h>

void
vt_state_stop (VtFs *f)
{
  for (guint i = 0; i < 2; i++)
    vt_rig_stop_ring (f->rig, f->rings[i]);
}

void
vt_state_go_on (VtFs *f)
{
  for (guint i = 0; i < 2; i++) {
    vt_ring_reset (f->rings[i], 0);
    vt_rig_start_ring (f->rig, f->rings[i]);
  }
}

void
vt_state_open_target (VtFs *to, const char *dir, const VtFsConfig *config)
{
  vt_fs_set_up (to, config);
  g_assert_no_errno (g_rmdir (to->dir));
  g_free (to->dir);
  to->dir = g_strdup (dir);
  vt_fs_open_again (to, config);
  vt_state_stop (to);
}

void
vt_state_close_target (VtFs *to, const VtFsConfig *config)
{
  g_free (to->dir);
  to->dir = g_dir_make_tmp ("virtiod-fs-XXXXXX", NULL);
  vt_fs_tear_down (to, config);
}

GByteArray *
vt_state_save (VtFs *f, GError **error)
{
  g_autoptr (GByteArray) state = g_byte_array_new ();

  return vd_fs_save (f->rig->dev, state, error) ? g_steal_pointer (&state)
                                                : NULL;
}

GByteArray *
vt_state_saved (VtFs *f)
{
  g_autoptr (GError) error = NULL;
  GByteArray *state = vt_state_save (f, &error);

  g_assert_no_error (error);
  return state;
}

gboolean
vt_state_load (VtFs *f, const GByteArray *state, GError **error)
{
  return vd_fs_load (f->rig->dev, f->rig->dev->config.bytes, state->data,
                     state->len, error);
}

void
vt_state_move (VtFs *from, VtFs *to)
{
  g_autoptr (GByteArray) state = NULL;
  g_autoptr (GError) error = NULL;

  vt_state_stop (from);
  state = vt_state_saved (from);
  g_assert_true (vt_state_load (to, state, &error));
  g_assert_no_error (error);
  to->c->flags = from->c->flags;
  vt_state_go_on (to);
}

void
vt_state_assert_reads (VtFs *f, guint64 nodeid, guint64 fh, const char *content)
{
  char data[4096];
  gssize n = vt_fuse_read (f->c, nodeid, fh, 0, data, sizeof data);

  g_assert_cmpint (n, ==, strlen (content));
  g_assert_cmpmem (data, n, content, strlen (content));
}

guint
vt_state_n_lost (VtFs *f)
{
  return ((VdFs *) f->rig->dev)->n_lost;
}

gboolean
vt_state_has_handles (VtFs *f)
{
  const VdFs *fs = (const VdFs *) f->rig->dev;

  if (fs->inodes.pins.by_handle)
    return TRUE;
  g_test_skip ("no file handles here, or no CAP_DAC_READ_SEARCH");
  return FALSE;
}
