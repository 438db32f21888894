/* SPDX-License-Identifier: BSD-3-Clause
 *
 * test-shm.c - what the shmem.* keys say, and what they must not say
 */
#include "devices/generic/shm.h"

#include <glib/gstdio.h>

typedef struct {
  char *dir, *file, *empty;
} Fixture;

static void
set_up (Fixture *f, gconstpointer data)
{
  f->dir = g_dir_make_tmp ("virtiod-shm-XXXXXX", NULL);
  g_assert_nonnull (f->dir);
  f->file = g_build_filename (f->dir, "file", NULL);
  f->empty = g_build_filename (f->dir, "empty", NULL);
  g_assert_true (g_file_set_contents (f->file, "shown", 5, NULL));
  g_assert_true (g_file_set_contents (f->empty, "", 0, NULL));
}

static void
tear_down (Fixture *f, gconstpointer data)
{
  g_unlink (f->file);
  g_unlink (f->empty);
  g_rmdir (f->dir);
  g_free (f->file);
  g_free (f->empty);
  g_free (f->dir);
}

/* Returns: (transfer full): options with one key, of a device in the folder. */
static VdOptions *
options_with (Fixture *f, const char *key, const char *value)
{
  static const VdKey keys[] = { { .name = "shmem.*", .type = VD_KEY_STRING },
                                { 0 } };
  const VdKey *const tables[] = { keys, NULL };
  VdOptions *options = vd_options_new ("test", f->dir);

  g_assert_true (vd_options_set (options, key, value, NULL));
  g_assert_true (vd_options_check (options, tables, NULL));
  return options;
}

static VdShmFiles *
open_files (Fixture *f, const char *value, GError **error)
{
  g_autoptr (VdOptions) options = options_with (f, "shmem.7", value);
  g_autoptr (VdShmFiles) files = vd_shm_files_new (options, error);

  return files != NULL && vd_shm_files_open (files, options, error)
             ? g_steal_pointer (&files)
             : NULL;
}

static void
test_regions_have_the_sizes_that_are_given (Fixture *f, gconstpointer data)
{
  const char *const values[] = { "16k", "16384", "16k ro file", "16k rw file" };

  for (guint i = 0; i < G_N_ELEMENTS (values); i++) {
    g_autoptr (GError) error = NULL;
    g_autoptr (VdShmFiles) files = open_files (f, values[i], &error);

    g_assert_no_error (error);
    for (guint id = 0; id < VD_SHM_REGIONS; id++)
      g_assert_cmpuint (vd_shm_files_sizes (files)[id], ==,
                        id == 7 ? 16384 : 0);
  }
}

static void
test_no_key_is_no_region (Fixture *f, gconstpointer data)
{
  g_autoptr (VdOptions) options = vd_options_new ("test", NULL);
  g_autoptr (VdShmFiles) files = vd_shm_files_new (options, NULL);

  g_assert_null (vd_shm_files_sizes (files));
}

static void
test_mistakes_name_the_key (Fixture *f, gconstpointer data)
{
  const char *const values[] = {
    "0",
    "1",
    "4097",
    "x",
    "-4k",
    "8k file",
    "8k rx file",
    "8k ro",
    "ro file",
    "8k ro missing",
    "8k ro empty",
    "8k ro .",
    "8k rw /proc/version",
    "4096T",
  };

  for (guint i = 0; i < G_N_ELEMENTS (values); i++) {
    g_autoptr (GError) error = NULL;

    g_assert_null (open_files (f, values[i], &error));
    g_assert_error (error, VD_OPTIONS_ERROR, VD_OPTIONS_ERROR_BAD_VALUE);
    g_assert_nonnull (g_strstr_len (error->message, -1, "test: shmem.7="));
    g_assert_nonnull (g_strstr_len (error->message, -1, values[i]));
  }
}

static void
test_numbers_are_from_0_to_255 (Fixture *f, gconstpointer data)
{
  const char *const names[] = { "shmem.256", "shmem.-1", "shmem.a",
                                "shmem.1a" };

  for (guint i = 0; i < G_N_ELEMENTS (names); i++) {
    g_autoptr (VdOptions) options = options_with (f, names[i], "4k");
    g_autoptr (GError) error = NULL;

    g_assert_null (vd_shm_files_new (options, &error));
    g_assert_error (error, VD_OPTIONS_ERROR, VD_OPTIONS_ERROR_BAD_VALUE);
  }
}

int
main (int argc, char **argv)
{
  g_test_init (&argc, &argv, NULL);
#define ADD(name, func)                                                        \
  g_test_add ("/devices/generic/shm/" name, Fixture, NULL, set_up, func,       \
              tear_down)
  ADD ("sizes", test_regions_have_the_sizes_that_are_given);
  ADD ("none", test_no_key_is_no_region);
  ADD ("mistakes", test_mistakes_name_the_key);
  ADD ("numbers", test_numbers_are_from_0_to_255);
  return g_test_run ();
}
