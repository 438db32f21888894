/* SPDX-License-Identifier: BSD-3-Clause */
#include "tests/server/config-rig.h"

#include <glib/gstdio.h>
#include <string.h>

static const char *const modes[] = { "slow", "fast", NULL };

static const VdKey disk_keys[] = {
  { .name = "image",
    .type = VD_KEY_PATH,
    .help = "the file",
    .flags = VD_KEY_REQUIRED },
  { .name = "mode",
    .type = VD_KEY_ENUM,
    .fallback = "slow",
    .help = "how",
    .choices = modes },
  { .name = "queues",
    .type = VD_KEY_UINT,
    .fallback = "64",
    .help = "queues of a disk",
    .min = 1,
    .max = 64 },
  { .name = "size", .type = VD_KEY_SIZE, .help = "bytes", .max = 1 << 20 },
  { 0 },
};

static const VdKey plain_keys[] = {
  { .name = "text",
    .type = VD_KEY_STRING,
    .help = "any text",
    .flags = VD_KEY_LIVE },
  { .name = "page.*", .type = VD_KEY_STRING, .help = "a page" },
  { 0 },
};

/* A mistake that only the kind can see. */
static gboolean
plain_check (VdOptions *options, GError **error)
{
  if (g_strcmp0 (vd_options_string (options, "text"), "bad") != 0)
    return TRUE;
  vd_options_set_error (options, "text", error, "the kind says no");
  return FALSE;
}

const VdDeviceOps vt_disk_ops = {
  .kind = "disk",
  .help = "a disk",
  .keys = disk_keys,
};
const VdDeviceOps vt_plain_ops = {
  .kind = "plain",
  .help = "a plain device",
  .keys = plain_keys,
  .check = plain_check,
};
const VdDeviceOps *const vt_registry[] = { &vt_disk_ops, &vt_plain_ops, NULL };

void
vt_config_rig_init (VtConfigRig *rig, gconstpointer data)
{
  rig->dir = g_dir_make_tmp ("virtiod-config-XXXXXX", NULL);
  g_assert_nonnull (rig->dir);
  rig->conf = g_build_filename (rig->dir, "conf", NULL);
  g_assert_cmpint (g_mkdir (rig->conf, 0700), ==, 0);
}

static void
remove_all (const char *path)
{
  g_autoptr (GDir) dir = g_dir_open (path, 0, NULL);
  const char *name;

  while (dir != NULL && (name = g_dir_read_name (dir)) != NULL) {
    g_autofree char *inside = g_build_filename (path, name, NULL);

    remove_all (inside);
  }
  g_remove (path);
}

void
vt_config_rig_clear (VtConfigRig *rig, gconstpointer data)
{
  remove_all (rig->dir);
  g_free (rig->dir);
  g_free (rig->conf);
}

void
vt_write (const char *dir, const char *name, const char *text)
{
  g_free (vt_put (dir, name, text));
}

char *
vt_put (const char *dir, const char *name, const char *text)
{
  char *path = g_build_filename (dir, name, NULL);

  g_assert_true (g_file_set_contents (path, text, -1, NULL));
  return path;
}

VdServerConfig *
vt_parse (const char *line, GError **error)
{
  g_autofree char *full = g_strconcat ("virtiod|", line, NULL);
  g_auto (GStrv) words = g_strsplit (*line != '\0' ? full : "virtiod", "|", -1);
  g_autofree char **argv =
      g_memdup2 (words, (g_strv_length (words) + 1) *
                            sizeof *words); /* parse moves them */
  int argc = (int) g_strv_length (words);
  char **moved = argv;

  return vd_server_config_parse (vt_registry, &argc, &moved, error);
}

VdServerConfig *
vt_parsed (const char *line)
{
  g_autoptr (GError) error = NULL;
  VdServerConfig *config = vt_parse (line, &error);

  g_assert_no_error (error);
  return config;
}
