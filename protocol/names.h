/* SPDX-License-Identifier: BSD-3-Clause
 *
 * names.h - numbers to the field's names, for logs
 */
#pragma once

#include <glib.h>

/* Returns: static text; "?" for an unknown number. */
const char *vd_request_name (guint32 request);
const char *vd_backend_request_name (guint32 request);
const char *vd_protocol_feature_name (guint bit);
const char *vd_virtio_id_name (guint id);
