/* SPDX-License-Identifier: BSD-3-Clause
 *
 * test-state.c - a device's state as bytes: what was encoded comes back, and
 * nothing else is taken
 */
#include "server/state.h"

#include <string.h>

typedef struct {
  GBytes *stream;
} Fixture;

static const guint8 config[] = { 1, 2, 3, 4, 5, 0, 255 };
static const guint8 device[] = "what a device says";
static const VdState whole = {
  .virtio_id = 42,
  .config = config,
  .config_len = sizeof config,
  .device = device,
  .device_len = sizeof device,
};

static void
set_up (Fixture *f, gconstpointer data)
{
  f->stream = vd_state_encode (&whole);
}

static void
tear_down (Fixture *f, gconstpointer data)
{
  g_bytes_unref (f->stream);
}

/* @bytes: (transfer full) */
static void
assert_refused (guint8 *bytes, gsize len, VdStateError code)
{
  g_autoptr (GBytes) stream = g_bytes_new_take (bytes, len);
  g_autoptr (GError) error = NULL;
  VdState state, before;

  memset (&state, 0x55, sizeof state);
  before = state;
  g_assert_false (vd_state_decode (stream, &state, &error));
  g_assert_error (error, VD_STATE_ERROR, (int) code);
  g_assert_cmpmem (&state, sizeof state, &before, sizeof before);
}

/* In memory of exactly that size, so that sanitizers see each byte too many. */
static guint8 *
copy (Fixture *f, gsize len)
{
  return g_memdup2 (g_bytes_get_data (f->stream, NULL), len);
}

static void
assert_comes_back (const VdState *in)
{
  g_autoptr (GBytes) stream = vd_state_encode (in);
  g_autoptr (GError) error = NULL;
  VdState out;

  vd_state_decode (stream, &out, &error);
  g_assert_no_error (error);
  g_assert_cmpuint (out.virtio_id, ==, in->virtio_id);
  g_assert_cmpmem (out.config, out.config_len, in->config, in->config_len);
  g_assert_cmpmem (out.device, out.device_len, in->device, in->device_len);
}

static void
test_what_was_encoded_comes_back (void)
{
  VdState state = whole;

  assert_comes_back (&state);
  state.device_len = 0;
  assert_comes_back (&state);
  state.config_len = 0;
  assert_comes_back (&state);
  state.device_len = sizeof device;
  assert_comes_back (&state);
}

static void
test_large_state_comes_back (void)
{
  const gsize len = VD_STATE_MAX - 4096;
  g_autofree guint8 *bytes = g_malloc (len);
  VdState state = whole;

  for (gsize i = 0; i < len; i++)
    bytes[i] = (guint8) (i * 31);
  state.device = bytes;
  state.device_len = (guint32) len;
  assert_comes_back (&state);
}

/* A stream outlives the process that wrote it: its bytes may not change. */
static void
test_bytes_are_those_of_version_1 (void)
{
  static const guint8 expected[] = {
    'v',  'i',  'r',  't',  'i',  'o',  'd',  0,    1,    0,    0,    0,
    42,   0,    0,    0,    2,    0,    0,    0,    1,    0,    0,    0,
    0xaa, 0xbb, 0xcc, 0x9d, 0x3e, 0x67, 0xae, 0x31, 0x95, 0x29, 0xba, 0x29,
    0xe0, 0xa2, 0x93, 0x1d, 0xb2, 0xea, 0x13, 0x7e, 0x53, 0x5e, 0x1e, 0x58,
    0x7e, 0xb1, 0xf3, 0xe5, 0x96, 0x0d, 0x77, 0xcc, 0x4a, 0x95, 0xce
  };
  const VdState state = {
    .virtio_id = 42,
    .config = (const guint8 *) "\xaa\xbb",
    .config_len = 2,
    .device = (const guint8 *) "\xcc",
    .device_len = 1,
  };
  g_autoptr (GBytes) stream = vd_state_encode (&state);
  gsize len;
  const guint8 *bytes = g_bytes_get_data (stream, &len);

  g_assert_cmpmem (bytes, len, expected, sizeof expected);
}

static void
test_every_truncation_is_refused (Fixture *f, gconstpointer data)
{
  for (gsize len = 0; len < g_bytes_get_size (f->stream); len++)
    assert_refused (copy (f, len), len, VD_STATE_ERROR_DAMAGED);
}

static void
test_bytes_behind_the_end_are_refused (Fixture *f, gconstpointer data)
{
  gsize len = g_bytes_get_size (f->stream);

  for (gsize more = 1; more < 64; more++) {
    guint8 *bytes = g_malloc0 (len + more);

    memcpy (bytes, g_bytes_get_data (f->stream, NULL), len);
    assert_refused (bytes, len + more, VD_STATE_ERROR_DAMAGED);
  }
}

static void
test_every_flipped_bit_is_refused (Fixture *f, gconstpointer data)
{
  gsize len = g_bytes_get_size (f->stream);

  for (gsize bit = 0; bit < len * 8; bit++) {
    guint8 *bytes = copy (f, len);
    gboolean version = bit / 8 >= 8 && bit / 8 < 12;

    bytes[bit / 8] ^= 1u << (bit % 8);
    assert_refused (bytes, len,
                    version ? VD_STATE_ERROR_VERSION : VD_STATE_ERROR_DAMAGED);
  }
}

/* Puts a checksum that is right at the end. */
static void
seal (guint8 *bytes, gsize len)
{
  g_autoptr (GChecksum) sum = g_checksum_new (G_CHECKSUM_SHA256);
  gsize sum_len = 32;

  g_checksum_update (sum, bytes, (gssize) len - 32);
  g_checksum_get_digest (sum, bytes + len - 32, &sum_len);
}

static void
store32 (guint8 *to, guint32 value)
{
  value = GUINT32_TO_LE (value);
  memcpy (to, &value, sizeof value);
}

/* The checksum protects from accidents only: lengths are checked all the same. */
static void
test_absurd_lengths_are_refused (Fixture *f, gconstpointer data)
{
  static const guint32 wild[] = {
    0,          1,           sizeof config - 1, sizeof config + 1, 0x7fffffff,
    0x80000000, G_MAXUINT32, G_MAXUINT32 - 55,  G_MAXUINT32 - 31
  };
  gsize len = g_bytes_get_size (f->stream);

  for (guint i = 0; i < G_N_ELEMENTS (wild); i++)
    for (guint j = 0; j < G_N_ELEMENTS (wild); j++) {
      guint8 *bytes = copy (f, len);

      store32 (bytes + 16, wild[i]);
      store32 (bytes + 20, wild[j]);
      seal (bytes, len);
      assert_refused (bytes, len, VD_STATE_ERROR_DAMAGED);
    }
}

static void
test_other_versions_are_told_apart (Fixture *f, gconstpointer data)
{
  static const guint32 versions[] = { 0, 2, 3, G_MAXUINT32 };
  gsize len = g_bytes_get_size (f->stream);

  for (guint i = 0; i < G_N_ELEMENTS (versions); i++) {
    guint8 *bytes = copy (f, len);

    store32 (bytes + 8, versions[i]);
    seal (bytes, len);
    assert_refused (bytes, len, VD_STATE_ERROR_VERSION);
  }
}

static void
test_random_bytes_are_refused (Fixture *f, gconstpointer data)
{
  for (guint i = 0; i < 10000; i++) {
    gsize len = (gsize) g_test_rand_int_range (0, 200);
    guint8 *bytes = g_malloc (len + 1);

    for (gsize j = 0; j < len; j++)
      bytes[j] = (guint8) g_test_rand_int ();
    assert_refused (bytes, len, VD_STATE_ERROR_DAMAGED);
  }
}

int
main (int argc, char **argv)
{
  g_test_init (&argc, &argv, NULL);
  g_test_add_func ("/server/state/back", test_what_was_encoded_comes_back);
  g_test_add_func ("/server/state/large", test_large_state_comes_back);
  g_test_add_func ("/server/state/bytes", test_bytes_are_those_of_version_1);
#define ADD(name, func)                                                        \
  g_test_add ("/server/state/" name, Fixture, NULL, set_up, func, tear_down)
  ADD ("truncated", test_every_truncation_is_refused);
  ADD ("longer", test_bytes_behind_the_end_are_refused);
  ADD ("flipped", test_every_flipped_bit_is_refused);
  ADD ("lengths", test_absurd_lengths_are_refused);
  ADD ("versions", test_other_versions_are_told_apart);
  ADD ("random", test_random_bytes_are_refused);
  return g_test_run ();
}
