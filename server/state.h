/* SPDX-License-Identifier: BSD-3-Clause
 *
 * state.h - the bytes of a device's state in a migration stream
 *
 * A header that names version and device, the config space, what the device
 * adds, and a checksum over all of it.  All numbers are little-endian.  Pure:
 * no I/O, and no trust in what is read.
 */
#pragma once

#include <glib.h>

#define VD_STATE_MAX (64u << 20) /* bytes; a longer stream is refused */

typedef struct {
  guint32 virtio_id;
  const guint8 *config; /* bytes of config space */
  guint32 config_len;
  const guint8 *device; /* what VdDeviceOps.save() gave */
  guint32 device_len;
} VdState;

#define VD_STATE_ERROR (vd_state_error_quark ())
GQuark vd_state_error_quark (void);
typedef enum {
  VD_STATE_ERROR_DAMAGED, /* lengths or checksum are wrong */
  VD_STATE_ERROR_VERSION, /* written by a version that we do not know */
  VD_STATE_ERROR_LENGTH,  /* longer than can be loaded */
} VdStateError;

/* Returns: (transfer full): the stream. */
GBytes *vd_state_encode (const VdState *state);

/* @ret: (out): points into @stream; untouched on failure
 * Returns: FALSE with @error set if the stream is not a whole, sound state. */
gboolean vd_state_decode (GBytes *stream, VdState *ret, GError **error);
