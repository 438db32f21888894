/* SPDX-License-Identifier: BSD-3-Clause
 *
 * fuzz-state.c - the reader of device state
 *
 * The first byte of an input says what the rest is: a stream, a stream that
 * lacks its checksum, or the parts of a state, which must come back as they
 * were.
 */
#include "server/state.h"
#include "tests/fuzz/fuzz.h"

#define CHECKSUM_LEN 32

static void
check_same (const guint8 *a, gsize a_len, const guint8 *b, gsize b_len)
{
  g_assert_cmpuint (a_len, ==, b_len);
  if (a_len > 0)
    g_assert_cmpint (memcmp (a, b, a_len), ==, 0);
}

/* What can be read is written the same way. */
static void
try_decode (GBytes *stream)
{
  g_autoptr (GError) error = NULL;
  g_autoptr (GBytes) again = NULL;
  const VdState untouched = { .virtio_id = 0x12345678 };
  VdState state = untouched;

  if (!vd_state_decode (stream, &state, &error)) {
    g_assert_true (error != NULL && error->domain == VD_STATE_ERROR);
    g_assert_true (memcmp (&state, &untouched, sizeof state) == 0);
    return;
  }
  g_assert_no_error (error);
  again = vd_state_encode (&state);
  g_assert_true (g_bytes_equal (stream, again));
}

static void
try_with_checksum (FzInput input)
{
  g_autoptr (GChecksum) sum = g_checksum_new (G_CHECKSUM_SHA256);
  g_autoptr (GBytes) stream = NULL;
  GByteArray *bytes = g_byte_array_new ();
  guint8 digest[CHECKSUM_LEN];
  gsize len = sizeof digest;

  g_checksum_update (sum, input.at, (gssize) input.len);
  g_checksum_get_digest (sum, digest, &len);
  g_byte_array_append (bytes, input.at, (guint) input.len);
  g_byte_array_append (bytes, digest, sizeof digest);
  stream = g_byte_array_free_to_bytes (bytes);
  try_decode (stream);
}

static void
try_encode (FzInput input)
{
  guint32 virtio_id, config_len;
  FzInput config;

  fz_take (&input, &virtio_id, sizeof virtio_id);
  fz_take (&input, &config_len, sizeof config_len);
  config = fz_take_part (&input, config_len);

  const VdState state = { virtio_id, config.at, (guint32) config.len, input.at,
                          (guint32) input.len };
  g_autoptr (GBytes) stream = vd_state_encode (&state);
  VdState back;

  g_assert_true (vd_state_decode (stream, &back, NULL));
  g_assert_cmpuint (back.virtio_id, ==, virtio_id);
  check_same (back.config, back.config_len, config.at, config.len);
  check_same (back.device, back.device_len, input.at, input.len);
}

int
LLVMFuzzerTestOneInput (const uint8_t *data, size_t size)
{
  FzInput input = { data, size };
  guint8 how = fz_take_u8 (&input) % 3;

  if (how == 0) {
    g_autoptr (GBytes) stream = g_bytes_new (input.at, input.len);

    try_decode (stream);
  } else if (how == 1) {
    try_with_checksum (input);
  } else {
    try_encode (input);
  }
  return 0;
}
