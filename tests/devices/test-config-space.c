/* SPDX-License-Identifier: BSD-3-Clause
 *
 * test-config-space.c - what devices/config-space.c promises
 */
#include "devices/config-space.h"

typedef struct {
  VdConfig config; /* 8 bytes: 1 to 8; 2 and 3 are rw, 4 is w1c */
  guint changed_offset, changed_len;
} Fixture;

static void
set_up (Fixture *f, gconstpointer data)
{
  const guint8 bytes[] = { 1, 2, 3, 4, 5, 6, 7, 8 };

  vd_config_init (&f->config, sizeof bytes);
  g_assert_true (vd_config_set (&f->config, 0, bytes, sizeof bytes));
  vd_config_set_access (&f->config, 2, 2, VD_CONFIG_RW);
  vd_config_set_access (&f->config, 4, 1, VD_CONFIG_W1C);
}

static void
tear_down (Fixture *f, gconstpointer data)
{
  vd_config_clear (&f->config);
  vd_config_clear (&f->config); /* twice is fine */
}

static gboolean
write_config (Fixture *f, guint offset, const void *from, guint len)
{
  return vd_config_write (&f->config, offset, from, len, &f->changed_offset,
                          &f->changed_len);
}

static void
test_a_new_space_is_zero_and_read_only (void)
{
  const guint8 ones[] = { 1, 1 };
  VdConfig config;
  guint offset, len;

  vd_config_init (&config, 2);
  g_assert_true (vd_config_write (&config, 0, ones, 2, &offset, &len));
  g_assert_cmpuint (len, ==, 0);
  g_assert_cmpmem (config.bytes, 2, "\0\0", 2);
  g_assert_cmpuint (config.n_skipped, ==, 2);
  vd_config_clear (&config);
}

static void
test_bytes_past_the_end_read_as_zero (Fixture *f, gconstpointer data)
{
  const guint offsets[] = { 8, 9, VD_CONFIG_MAX, G_MAXUINT };
  guint8 to[4];

  vd_config_read (&f->config, 6, to, sizeof to);
  g_assert_cmpmem (to, sizeof to, "\7\10\0\0", 4);
  for (guint i = 0; i < G_N_ELEMENTS (offsets); i++) {
    memset (to, 0xff, sizeof to);
    vd_config_read (&f->config, offsets[i], to, sizeof to);
    g_assert_cmpmem (to, sizeof to, "\0\0\0\0", 4);
  }
  g_assert_cmpuint (f->config.n_gets, ==, 5);
}

static void
test_whole_space_write_changes_writable_bytes_only (Fixture *f,
                                                    gconstpointer data)
{
  const guint8 in[] = { 9, 9, 9, 4, 5, 9, 7, 8 };
  const guint8 out[] = { 1, 2, 9, 4, 0, 6, 7, 8 };
  guint32 generation = f->config.generation;

  /* Byte 3 does not change; from byte 4, 5 is cleared, for all its bits are
   * written as 1. */
  g_assert_true (write_config (f, 0, in, sizeof in));
  g_assert_cmpmem (f->config.bytes, 8, out, 8);
  g_assert_cmpuint (f->changed_offset, ==, 2);
  g_assert_cmpuint (f->changed_len, ==, 3);
  g_assert_cmpuint (f->config.generation, ==, generation + 1);
  g_assert_cmpuint (f->config.n_skipped, ==, 3);
  g_assert_cmpuint (f->config.n_sets, ==, 1);
}

static void
test_write_one_to_clear_clears_those_bits_only (Fixture *f, gconstpointer data)
{
  const guint8 four = 4, zero = 0;

  g_assert_true (write_config (f, 4, &zero, 1));
  g_assert_cmpuint (f->changed_len, ==, 0);
  g_assert_true (write_config (f, 4, &four, 1));
  g_assert_cmpuint (f->config.bytes[4], ==, 1);
  g_assert_cmpuint (f->changed_offset, ==, 4);
  g_assert_cmpuint (f->changed_len, ==, 1);
}

static void
test_write_of_the_same_bytes_changes_nothing (Fixture *f, gconstpointer data)
{
  guint32 generation = f->config.generation;
  const guint8 in[] = { 3, 4 };

  g_assert_true (write_config (f, 2, in, 2));
  g_assert_cmpuint (f->changed_len, ==, 0);
  g_assert_cmpuint (f->config.generation, ==, generation);
}

static void
test_write_out_of_bounds_is_refused_whole (Fixture *f, gconstpointer data)
{
  const guint8 in[8] = { 0 };
  const struct {
    guint offset, len;
  } cases[] = {
    { 2, 7 }, { 8, 1 }, { 9, 0 }, { G_MAXUINT, 2 }, { 7, G_MAXUINT }
  };

  for (guint i = 0; i < G_N_ELEMENTS (cases); i++) {
    g_assert_false (write_config (f, cases[i].offset, in, cases[i].len));
    g_assert_false (
        vd_config_restore (&f->config, cases[i].offset, in, cases[i].len));
  }
  g_assert_cmpmem (f->config.bytes, 8, "\1\2\3\4\5\6\7\10", 8);
  g_assert_cmpuint (f->config.n_refused, ==, 10);
  g_assert_cmpuint (f->config.n_sets, ==, 0);
  g_assert_true (write_config (f, 8, in, 0));
}

static void
test_restore_writes_read_only_bytes (Fixture *f, gconstpointer data)
{
  const guint8 in[] = { 9, 9 };

  g_assert_true (vd_config_restore (&f->config, 0, in, 2));
  g_assert_cmpmem (f->config.bytes, 3, "\11\11\3", 3);
}

static void
test_setters_are_little_endian_and_tell_of_change (Fixture *f,
                                                   gconstpointer data)
{
  g_assert_true (vd_config_set_le16 (&f->config, 0, 0x0102));
  g_assert_cmpmem (f->config.bytes, 3, "\2\1\3", 3);
  g_assert_false (vd_config_set_le16 (&f->config, 0, 0x0102));
  g_assert_true (vd_config_set_le32 (&f->config, 4, 0x01020304));
  g_assert_cmpmem (f->config.bytes + 4, 4, "\4\3\2\1", 4);
  g_assert_true (vd_config_set_le64 (&f->config, 0, 0x0807060504030201));
  g_assert_cmpmem (f->config.bytes, 8, "\1\2\3\4\5\6\7\10", 8);
}

int
main (int argc, char **argv)
{
  g_test_init (&argc, &argv, NULL);
#define ADD(name, func)                                                        \
  g_test_add ("/devices/config-space/" name, Fixture, NULL, set_up, func,      \
              tear_down)
  g_test_add_func ("/devices/config-space/new",
                   test_a_new_space_is_zero_and_read_only);
  ADD ("read/past-end", test_bytes_past_the_end_read_as_zero);
  ADD ("write/whole", test_whole_space_write_changes_writable_bytes_only);
  ADD ("write/w1c", test_write_one_to_clear_clears_those_bits_only);
  ADD ("write/same", test_write_of_the_same_bytes_changes_nothing);
  ADD ("write/bounds", test_write_out_of_bounds_is_refused_whole);
  ADD ("restore", test_restore_writes_read_only_bytes);
  ADD ("set", test_setters_are_little_endian_and_tell_of_change);
  return g_test_run ();
}
