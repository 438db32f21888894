/* SPDX-License-Identifier: BSD-3-Clause
 *
 * message.h - one table of rules for all messages, and a decoder without I/O
 *
 * A message's descriptors belong to it: whatever no handler took is closed by
 * vd_message_clear(), so that no path can leak one.
 */
#pragma once

#include <glib.h>

#include "protocol/wire.h"

typedef struct {
  VdWireHeader header;
  guint n_fds;
  int fds[VD_MESSAGE_FDS]; /* -1: none, or taken */
  union {
    guint8 bytes[VD_PAYLOAD_MAX];
    guint64 u64;
    VdWireVringState state;
    VdWireVringAddr addr;
    VdWireMemTable mem_table;
    VdWireMemReg mem_reg;
    VdWireLog log;
    VdWireConfig config;
    VdWireInflight inflight;
    VdWireIotlb iotlb;
    VdWireDeviceState device_state;
    VdWireObject object;
    VdWireShmemConfig shmem_config;
    VdWireShmemMap shmem_map;
    VdWireHostNotifier host_notifier;
  } payload; /* aligned; bytes beyond header.size are zero */
} VdMessage;

/* What is legal for one request. */
typedef struct {
  const char *name; /* "GET_FEATURES" */
  guint16 size_min; /* bytes of payload */
  guint16 size_max; /* more is refused; some front-ends send padding */
  guint8 fds_min;
  guint8 fds_max;
  gint8 feature;   /* VdProtocolFeature that must be acked; -1: none */
  gboolean reply;  /* has a reply of its own, so never an ack */
  gboolean served; /* FALSE: known, and refused by virtiod */
} VdMessageRule;

#define VD_MESSAGE_ERROR (vd_message_error_quark ())
GQuark vd_message_error_quark (void);
typedef enum {
  VD_MESSAGE_ERROR_FRAMING, /* the stream is lost: close the connection */
  VD_MESSAGE_ERROR_UNKNOWN, /* unknown request, or one that we never serve */
  VD_MESSAGE_ERROR_SIZE,    /* the payload has a wrong length */
  VD_MESSAGE_ERROR_FDS,     /* a wrong number of descriptors */
  VD_MESSAGE_ERROR_FEATURE, /* its protocol feature was not acked */
} VdMessageError;

/* Returns: (nullable): the rule of a front-end's request; NULL: unknown. */
const VdMessageRule *vd_message_rule (guint32 request);

/* Pure check of a whole message: size, inner lengths (n_regions, config size),
 * number of descriptors, feature.
 * @protocol_features: those acked so far
 * Returns: FALSE with @error set, whose text names the request. */
gboolean vd_message_check (const VdMessage *message, guint64 protocol_features,
                           GError **error);

/* Whether @message only says that the front-end is ready for faults: in postcopy
 * it repeats the request that shared memory, with a zero in place of regions. */
gboolean vd_message_is_postcopy_ack (const VdMessage *message);

/* An empty message without descriptors. */
void vd_message_init (VdMessage *message);

/* Closes the descriptors left in @message and makes it empty. */
void vd_message_clear (VdMessage *message);

/* Returns: (transfer full): descriptor @i, or -1 if there is none. */
int vd_message_take_fd (VdMessage *message, guint i);
