/* SPDX-License-Identifier: BSD-3-Clause */
#include "tests/devices/fs/fixture.h"

#include <dirent.h>
#include <ftw.h>
#include <stdio.h>
#include <string.h>
#include <unistd.h>

#include "devices/fs/fs.h"

#define GUEST_LEN (16u << 20)

static const VtFsConfig plain;

static void
start_rings (VtFs *f, const VtFsConfig *config)
{
  guint n = 1 + MAX (config->n_queues, 1);

  g_assert_cmpuint (n, <=, VT_FS_QUEUES);
  for (guint i = 0; i < n; i++) {
    if (f->rings[i] == NULL) {
      f->rings[i] =
          vt_ring_new (f->guest, i, 1024, VT_RING_EVENT_IDX | VT_RING_INDIRECT);
      vt_fuse_init_client (&f->fuse[i], f->rings[i]);
    } else
      vt_ring_reset (f->rings[i], 0);
    vt_rig_start_ring (f->rig, f->rings[i]);
  }
  /* An answer tells that the queue's thread is done with its beginning, so that
   * descriptors can be counted. */
  for (guint i = 0; i < n; i++)
    vt_fuse_forget (&f->fuse[i], 0, 1);
}

/* Opens the device for f->dir, starts its rings and begins a session. */
static void
serve (VtFs *f, const VtFsConfig *config)
{
  const char *offload = /* meson.build sets the variable */
      config->abroad ? "always" : g_getenv ("VT_FS_OFFLOAD");
  const char *const *k = config->keys;
  g_autoptr (GError) error = NULL;

  f->guest = vt_guest_new (GUEST_LEN);
  f->rig =
      vt_rig_open (f->guest, &vd_fs_ops, &error, "source", f->dir, "offload",
                   offload != NULL ? offload : "auto", "queues",
                   config->n_queues > 1 ? "2" : "1", k[0], k[1], k[2], k[3],
                   k[4], k[5], k[6], k[7], k[8], k[9], k[10], k[11], NULL);
  g_assert_no_error (error);
  f->rig->queues.force_poll = config->force_poll;
  start_rings (f, config);
  f->c = &f->fuse[1];
  if (!config->no_init)
    g_assert_cmpint (vt_fuse_init (f->c, 0), ==, 0);
}

static void
stop_serving (VtFs *f)
{
  vt_rig_free (f->rig);
  for (guint i = 0; i < VT_FS_QUEUES; i++)
    g_clear_pointer (&f->rings[i], vt_ring_free);
  vt_guest_free (f->guest);
}

void
vt_fs_set_up (VtFs *f, gconstpointer data)
{
  g_autoptr (GError) error = NULL;

  f->dir = g_dir_make_tmp ("virtiod-fs-XXXXXX", &error);
  g_assert_no_error (error);
  chmod (f->dir, 0755);
  serve (f, data != NULL ? data : &plain);
}

void
vt_fs_open_again (VtFs *f, gconstpointer data)
{
  stop_serving (f);
  serve (f, data != NULL ? data : &plain);
}

static int
remove_one (const char *path, const struct stat *st, int type, struct FTW *ftw)
{
  return remove (path);
}

void
vt_fs_tear_down (VtFs *f, gconstpointer data)
{
  stop_serving (f);
  nftw (f->dir, remove_one, 16, FTW_DEPTH | FTW_PHYS);
  g_free (f->dir);
}

void
vt_fs_reboot (VtFs *f)
{
  VtFsConfig config = { .n_queues = f->rings[2] != NULL ? 2 : 1 };

  vt_rig_reset (f->rig);
  start_rings (f, &config);
}

char *
vt_fs_path (VtFs *f, const char *name)
{
  return g_build_filename (f->dir, name, NULL);
}

void
vt_fs_put (VtFs *f, const char *name, const char *content)
{
  g_autofree char *path = vt_fs_path (f, name);
  g_autoptr (GError) error = NULL;

  g_file_set_contents (path, content, -1, &error);
  g_assert_no_error (error);
}

char *
vt_fs_get (VtFs *f, const char *name)
{
  g_autofree char *path = vt_fs_path (f, name);
  char *content = NULL;

  g_file_get_contents (path, &content, NULL, NULL);
  return content;
}

gboolean
vt_fs_is_root (void)
{
  if (geteuid () == 0)
    return TRUE;
  g_test_skip ("needs root");
  return FALSE;
}

guint
vt_fs_n_fds (void)
{
  DIR *dir = opendir ("/proc/self/fd");
  guint n = 0;

  g_assert_nonnull (dir);
  while (readdir (dir) != NULL)
    n++;
  closedir (dir);
  return n;
}

guint64
vt_fs_open (VtFs *f, const char *name, guint32 flags, guint64 *nodeid)
{
  guint64 fh;

  g_assert_cmpint (vt_fuse_lookup (f->c, FUSE_ROOT_ID, name, nodeid, NULL), ==,
                   0);
  g_assert_cmpint (vt_fuse_open (f->c, *nodeid, flags, &fh, NULL), ==, 0);
  return fh;
}
