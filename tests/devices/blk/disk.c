/* SPDX-License-Identifier: BSD-3-Clause */
#include "tests/devices/blk/disk.h"

#include <fcntl.h>
#include <glib/gstdio.h>
#include <string.h>
#include <sys/stat.h>

#include "devices/blk/blk.h"
#include "devices/blk/call.h"

/* Files in memory and files on a disk behave differently enough to try both. */
static char *
make_dir (gboolean in_memory)
{
  g_autofree char *template = g_build_filename (
      in_memory && g_file_test ("/dev/shm", G_FILE_TEST_IS_DIR)
          ? "/dev/shm"
          : g_get_tmp_dir (),
      "virtiod-blk-XXXXXX", NULL);

  g_assert_nonnull (g_mkdtemp (template));
  return g_steal_pointer (&template);
}

static void
make_image (VtDisk *f)
{
  g_autoptr (GError) error = NULL;

  f->shadow = g_malloc (VT_DISK_SIZE);
  for (guint i = 0; i < VT_DISK_SIZE / 4; i++)
    ((guint32 *) (void *) f->shadow)[i] = g_test_rand_int ();
  g_file_set_contents_full (f->path, (char *) f->shadow, VT_DISK_SIZE,
                            G_FILE_SET_CONTENTS_NONE, 0600, &error);
  g_assert_no_error (error);
}

void
vt_disk_init (VtDisk *f, gboolean in_memory)
{
  f->dir = make_dir (in_memory);
  f->path = g_build_filename (f->dir, "image", NULL);
  make_image (f);
  f->guest = vt_guest_new (64 << 20);
  f->ring = vt_ring_new (f->guest, 0, 256, VT_RING_EVENT_IDX);
}

void
vt_disk_set_up (VtDisk *f, gconstpointer data)
{
  vt_disk_init (f, FALSE);
}

void
vt_disk_tear_down (VtDisk *f, gconstpointer data)
{
  g_clear_pointer (&f->rig, vt_rig_free);
  vt_ring_free (f->ring);
  vt_guest_free (f->guest);
  g_unlink (f->path);
  g_rmdir (f->dir);
  g_free (f->path);
  g_free (f->dir);
  g_free (f->shadow);
}

/* Opens the device with one more key. */
VdDevice *
vt_disk_open_with (VtDisk *f, const char *key, const char *value)
{
  g_autoptr (GError) error = NULL;

  f->rig = vt_rig_open (f->guest, &vd_blk_ops, &error, "image", f->path, key,
                        value, NULL);
  g_assert_no_error (error);
  return f->rig->dev;
}

void
vt_disk_start (VtDisk *f)
{
  vt_rig_start_ring (f->rig, f->ring);
}

void
vt_disk_start_with (VtDisk *f, const char *key, const char *value)
{
  vt_disk_open_with (f, key, value);
  vt_disk_start (f);
}

void
vt_disk_check (VtDisk *f)
{
  g_autofree char *contents = NULL;
  gsize len;

  g_assert_true (g_file_get_contents (f->path, &contents, &len, NULL));
  g_assert_cmpmem (contents, len, f->shadow, VT_DISK_SIZE);
}

struct virtio_blk_config
vt_disk_config (VtDisk *f)
{
  struct virtio_blk_config config;

  vd_config_read (&f->rig->dev->config, 0, &config, sizeof config);
  return config;
}

gboolean
vt_disk_offers (VtDisk *f, guint bit)
{
  return (f->rig->dev->features >> bit) & 1;
}

guint8
vt_disk_run_sized (VtDisk *f, guint32 type, guint64 sector, guint32 len)
{
  g_autofree VtBlkRequest *request =
      vt_blk_request_new (f->guest, type, sector, len);

  return vt_blk_run (f->ring, request);
}

guint8
vt_disk_run_ranges (VtDisk *f, guint32 type, const VtRange *ranges, guint n)
{
  g_autofree VtBlkRequest *request =
      vt_blk_request_new (f->guest, type, 0, n * (guint32) sizeof *ranges);

  memcpy (request->data, ranges, n * sizeof *ranges);
  return vt_blk_run (f->ring, request);
}

guint64
vt_disk_allocated (const VtDisk *f)
{
  struct stat st;

  g_assert_cmpint (stat (f->path, &st), ==, 0);
  return (guint64) st.st_blocks * 512;
}

void
vt_disk_add_modes (const char *name, GTestDataFunc func)
{
  static const VtDiskMode modes[] = {
    { .engine = "auto" },
    { .engine = "threads" },
    { .engine = "io_uring" },
    { .engine = "auto", .in_memory = TRUE },
  };

  for (guint i = 0; i < G_N_ELEMENTS (modes); i++) {
    g_autofree char *path =
        g_strdup_printf ("/blk/%s/%s/%s", name,
                         modes[i].in_memory ? "shm" : "tmp", modes[i].engine);

    if (!g_str_equal (modes[i].engine, "io_uring") ||
        vd_call_check_uring (NULL))
      g_test_add_data_func (path, &modes[i], func);
  }
}
