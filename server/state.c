/* SPDX-License-Identifier: BSD-3-Clause */
#include "server/state.h"

#include <string.h>

GQuark
vd_state_error_quark (void)
{
  return g_quark_from_static_string ("vd-state-error");
}

#define VERSION 1

static const char MAGIC[8] = "virtiod";

typedef struct {
  char magic[8];
  guint32 version;
  guint32 virtio_id;
  guint32 config_len;
  guint32 device_len;
} Header;
G_STATIC_ASSERT (sizeof (Header) == 24);

#define CHECKSUM_LEN 32 /* SHA-256 */

static void
checksum (const guint8 *bytes, gsize len, guint8 ret[CHECKSUM_LEN])
{
  g_autoptr (GChecksum) sum = g_checksum_new (G_CHECKSUM_SHA256);
  gsize sum_len = CHECKSUM_LEN;

  g_checksum_update (sum, bytes, (gssize) len);
  g_checksum_get_digest (sum, ret, &sum_len);
}

GBytes *
vd_state_encode (const VdState *state)
{
  GByteArray *bytes = g_byte_array_new ();
  guint8 sum[CHECKSUM_LEN];
  Header header = {
    .version = GUINT32_TO_LE (VERSION),
    .virtio_id = GUINT32_TO_LE (state->virtio_id),
    .config_len = GUINT32_TO_LE (state->config_len),
    .device_len = GUINT32_TO_LE (state->device_len),
  };

  memcpy (header.magic, MAGIC, sizeof MAGIC);
  g_byte_array_append (bytes, (const guint8 *) &header, sizeof header);
  if (state->config_len > 0)
    g_byte_array_append (bytes, state->config, state->config_len);
  if (state->device_len > 0)
    g_byte_array_append (bytes, state->device, state->device_len);
  checksum (bytes->data, bytes->len, sum);
  g_byte_array_append (bytes, sum, sizeof sum);
  return g_byte_array_free_to_bytes (bytes);
}

static gboolean
refuse (GError **error, VdStateError code, const char *why)
{
  g_set_error (error, VD_STATE_ERROR, code, "device state: %s", why);
  return FALSE;
}

gboolean
vd_state_decode (GBytes *stream, VdState *ret, GError **error)
{
  gsize len;
  const guint8 *bytes = g_bytes_get_data (stream, &len);
  guint8 sum[CHECKSUM_LEN];
  Header header;
  VdState state;

  if (len < sizeof header + CHECKSUM_LEN)
    return refuse (error, VD_STATE_ERROR_DAMAGED, "it is too short");
  memcpy (&header, bytes, sizeof header);
  if (memcmp (header.magic, MAGIC, sizeof MAGIC) != 0)
    return refuse (error, VD_STATE_ERROR_DAMAGED, "it is not virtiod's");
  if (GUINT32_FROM_LE (header.version) != VERSION)
    return refuse (error, VD_STATE_ERROR_VERSION,
                   "it was written by another version");
  state = (VdState){
    .virtio_id = GUINT32_FROM_LE (header.virtio_id),
    .config_len = GUINT32_FROM_LE (header.config_len),
    .device_len = GUINT32_FROM_LE (header.device_len),
  };
  if (sizeof header + (guint64) state.config_len + state.device_len +
          CHECKSUM_LEN !=
      len)
    return refuse (error, VD_STATE_ERROR_DAMAGED, "its lengths disagree");
  checksum (bytes, len - CHECKSUM_LEN, sum);
  if (memcmp (sum, bytes + len - CHECKSUM_LEN, sizeof sum) != 0)
    return refuse (error, VD_STATE_ERROR_DAMAGED, "its checksum is wrong");
  state.config = bytes + sizeof header;
  state.device = state.config + state.config_len;
  *ret = state;
  return TRUE;
}
