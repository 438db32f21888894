/* SPDX-License-Identifier: BSD-3-Clause
 *
 * message.c - the rules, and the check of one message against its rule
 *
 * The table answers what is the same for all messages; lengths that depend on
 * the payload itself are checked by the few functions below it.  Nothing here
 * looks at addresses, ring numbers or fds themselves: that needs a session.
 */
#define G_LOG_DOMAIN "virtiod-protocol"

#include "protocol/message.h"

#include "protocol/names.h"

#include <string.h>
#include <unistd.h>

#define ANY -1 /* no protocol feature needed */

/* Sizes that more than one request has. */
#define U64_SIZE      sizeof (guint64)
#define STATE_SIZE    sizeof (VdWireVringState)
#define MEM_REG_SIZE  sizeof (VdWireMemReg)
#define CONFIG_SIZE   sizeof (VdWireConfig)
#define INFLIGHT_SIZE sizeof (VdWireInflight)
#define OBJECT_SIZE   sizeof (VdWireObject)
#define TABLE_SIZE    (sizeof (VdWireMemTable) + sizeof (VdWireRegion))

/* The in-flight message of the packed-struct era, which some still send. */
#define INFLIGHT_SIZE_MIN offsetof (VdWireInflight, padding)

#define EXACTLY(n)        .size_min = (n), .size_max = (n)
#define BETWEEN(min, max) .size_min = (min), .size_max = (max)
#define FDS(min, max)     .fds_min = (min), .fds_max = (max)
#define NEEDS(bit)        .feature = (bit)

/* Requests that virtiod does not serve have their rule all the same: the check
 * names them, and a rule becomes live by .served alone. */
static const VdMessageRule rules[] = {
  [VD_GET_FEATURES] = { "GET_FEATURES", NEEDS (ANY), .reply = TRUE,
                        .served = TRUE },
  [VD_SET_FEATURES] = { "SET_FEATURES", EXACTLY (U64_SIZE), NEEDS (ANY),
                        .served = TRUE },
  [VD_SET_OWNER] = { "SET_OWNER", NEEDS (ANY), .served = TRUE },
  [VD_RESET_OWNER] = { "RESET_OWNER", NEEDS (ANY), .served = TRUE },
  [VD_SET_MEM_TABLE] = { "SET_MEM_TABLE", BETWEEN (TABLE_SIZE, VD_PAYLOAD_MAX),
                         FDS (1, VD_MEM_TABLE_MAX), NEEDS (ANY),
                         .served = TRUE },
  [VD_SET_LOG_BASE] = { "SET_LOG_BASE", EXACTLY (sizeof (VdWireLog)),
                        FDS (1, 1), NEEDS (VD_PROTOCOL_F_LOG_SHMFD),
                        .reply = TRUE },
  [VD_SET_LOG_FD] = { "SET_LOG_FD", FDS (1, 1), NEEDS (ANY) },
  [VD_SET_VRING_NUM] = { "SET_VRING_NUM", EXACTLY (STATE_SIZE), NEEDS (ANY),
                         .served = TRUE },
  [VD_SET_VRING_ADDR] = { "SET_VRING_ADDR", EXACTLY (sizeof (VdWireVringAddr)),
                          NEEDS (ANY), .served = TRUE },
  [VD_SET_VRING_BASE] = { "SET_VRING_BASE", EXACTLY (STATE_SIZE), NEEDS (ANY),
                          .served = TRUE },
  [VD_GET_VRING_BASE] = { "GET_VRING_BASE", EXACTLY (STATE_SIZE), NEEDS (ANY),
                          .reply = TRUE, .served = TRUE },
  [VD_SET_VRING_KICK] = { "SET_VRING_KICK", EXACTLY (U64_SIZE), FDS (0, 1),
                          NEEDS (ANY), .served = TRUE },
  [VD_SET_VRING_CALL] = { "SET_VRING_CALL", EXACTLY (U64_SIZE), FDS (0, 1),
                          NEEDS (ANY), .served = TRUE },
  [VD_SET_VRING_ERR] = { "SET_VRING_ERR", EXACTLY (U64_SIZE), FDS (0, 1),
                         NEEDS (ANY), .served = TRUE },
  [VD_GET_PROTOCOL_FEATURES] = { "GET_PROTOCOL_FEATURES", NEEDS (ANY),
                                 .reply = TRUE, .served = TRUE },
  [VD_SET_PROTOCOL_FEATURES] = { "SET_PROTOCOL_FEATURES", EXACTLY (U64_SIZE),
                                 NEEDS (ANY), .served = TRUE },
  [VD_GET_QUEUE_NUM] = { "GET_QUEUE_NUM", NEEDS (VD_PROTOCOL_F_MQ),
                         .reply = TRUE, .served = TRUE },
  [VD_SET_VRING_ENABLE] = { "SET_VRING_ENABLE", EXACTLY (STATE_SIZE),
                            NEEDS (ANY), .served = TRUE },
  [VD_SEND_RARP] = { "SEND_RARP", EXACTLY (U64_SIZE),
                     NEEDS (VD_PROTOCOL_F_RARP) },
  [VD_NET_SET_MTU] = { "NET_SET_MTU", EXACTLY (U64_SIZE),
                       NEEDS (VD_PROTOCOL_F_MTU) },
  [VD_SET_BACKEND_REQ_FD] = { "SET_BACKEND_REQ_FD", FDS (1, 1),
                              NEEDS (VD_PROTOCOL_F_BACKEND_REQ),
                              .served = TRUE },
  [VD_IOTLB_MSG] = { "IOTLB_MSG",
                     BETWEEN (VD_IOTLB_SIZE_MIN, sizeof (VdWireIotlb)),
                     NEEDS (VD_PROTOCOL_F_BACKEND_REQ), .reply = TRUE },
  [VD_SET_VRING_ENDIAN] = { "SET_VRING_ENDIAN", EXACTLY (STATE_SIZE),
                            NEEDS (VD_PROTOCOL_F_CROSS_ENDIAN) },
  [VD_GET_CONFIG] = { "GET_CONFIG", BETWEEN (CONFIG_SIZE, VD_PAYLOAD_MAX),
                      NEEDS (VD_PROTOCOL_F_CONFIG), .reply = TRUE,
                      .served = TRUE },
  [VD_SET_CONFIG] = { "SET_CONFIG", BETWEEN (CONFIG_SIZE, VD_PAYLOAD_MAX),
                      NEEDS (VD_PROTOCOL_F_CONFIG), .served = TRUE },
  [VD_CREATE_CRYPTO_SESSION] = { "CREATE_CRYPTO_SESSION",
                                 BETWEEN (0, VD_PAYLOAD_MAX),
                                 NEEDS (VD_PROTOCOL_F_CRYPTO_SESSION),
                                 .reply = TRUE },
  [VD_CLOSE_CRYPTO_SESSION] = { "CLOSE_CRYPTO_SESSION", EXACTLY (U64_SIZE),
                                NEEDS (VD_PROTOCOL_F_CRYPTO_SESSION) },
  [VD_POSTCOPY_ADVISE] = { "POSTCOPY_ADVISE", NEEDS (VD_PROTOCOL_F_PAGEFAULT),
                           .reply = TRUE },
  [VD_POSTCOPY_LISTEN] = { "POSTCOPY_LISTEN", NEEDS (VD_PROTOCOL_F_PAGEFAULT) },
  [VD_POSTCOPY_END] = { "POSTCOPY_END", NEEDS (VD_PROTOCOL_F_PAGEFAULT),
                        .reply = TRUE },
  [VD_GET_INFLIGHT_FD] = { "GET_INFLIGHT_FD",
                           BETWEEN (INFLIGHT_SIZE_MIN, INFLIGHT_SIZE),
                           NEEDS (VD_PROTOCOL_F_INFLIGHT_SHMFD),
                           .reply = TRUE },
  [VD_SET_INFLIGHT_FD] = { "SET_INFLIGHT_FD",
                           BETWEEN (INFLIGHT_SIZE_MIN, INFLIGHT_SIZE),
                           FDS (1, 1), NEEDS (VD_PROTOCOL_F_INFLIGHT_SHMFD) },
  [VD_GPU_SET_SOCKET] = { "GPU_SET_SOCKET", FDS (1, 1), NEEDS (ANY) },
  [VD_RESET_DEVICE] = { "RESET_DEVICE", NEEDS (VD_PROTOCOL_F_RESET_DEVICE),
                        .served = TRUE },
  [VD_VRING_KICK] = { "VRING_KICK", EXACTLY (STATE_SIZE),
                      NEEDS (VD_PROTOCOL_F_INBAND_NOTIFICATIONS) },
  [VD_GET_MAX_MEM_SLOTS] = { "GET_MAX_MEM_SLOTS",
                             NEEDS (VD_PROTOCOL_F_CONFIGURE_MEM_SLOTS),
                             .reply = TRUE, .served = TRUE },
  [VD_ADD_MEM_REG] = { "ADD_MEM_REG", EXACTLY (MEM_REG_SIZE), FDS (1, 1),
                       NEEDS (VD_PROTOCOL_F_CONFIGURE_MEM_SLOTS),
                       .served = TRUE },
  [VD_REM_MEM_REG] = { "REM_MEM_REG", EXACTLY (MEM_REG_SIZE), FDS (0, 1),
                       NEEDS (VD_PROTOCOL_F_CONFIGURE_MEM_SLOTS),
                       .served = TRUE },
  [VD_SET_STATUS] = { "SET_STATUS", EXACTLY (U64_SIZE),
                      NEEDS (VD_PROTOCOL_F_STATUS) },
  [VD_GET_STATUS] = { "GET_STATUS", NEEDS (VD_PROTOCOL_F_STATUS),
                      .reply = TRUE },
  [VD_GET_SHARED_OBJECT] = { "GET_SHARED_OBJECT", EXACTLY (OBJECT_SIZE),
                             NEEDS (VD_PROTOCOL_F_SHARED_OBJECT),
                             .reply = TRUE },
  [VD_SET_DEVICE_STATE_FD] = { "SET_DEVICE_STATE_FD",
                               EXACTLY (sizeof (VdWireDeviceState)), FDS (1, 1),
                               NEEDS (VD_PROTOCOL_F_DEVICE_STATE),
                               .reply = TRUE },
  [VD_CHECK_DEVICE_STATE] = { "CHECK_DEVICE_STATE",
                              NEEDS (VD_PROTOCOL_F_DEVICE_STATE),
                              .reply = TRUE },
  [VD_GET_SHMEM_CONFIG] = { "GET_SHMEM_CONFIG", NEEDS (VD_PROTOCOL_F_SHMEM),
                            .reply = TRUE },
  [VD_GET_VRING_BASE_SKIP_DRAIN] = { "GET_VRING_BASE_SKIP_DRAIN",
                                     EXACTLY (STATE_SIZE),
                                     NEEDS (
                                         VD_PROTOCOL_F_GET_VRING_BASE_SKIP_DRAIN),
                                     .reply = TRUE },
};
static_assert (G_N_ELEMENTS (rules) == VD_REQUEST_END, "a rule per request");

G_DEFINE_QUARK (vd - message - error - quark, vd_message_error)

const VdMessageRule *
vd_message_rule (guint32 request)
{
  if (request >= G_N_ELEMENTS (rules) || rules[request].name == NULL)
    return NULL;
  return &rules[request];
}

static gboolean
check_n_fds (const VdMessage *message, const char *name, guint min, guint max,
             GError **error)
{
  if (message->n_fds >= min && message->n_fds <= max)
    return TRUE;
  g_set_error (error, VD_MESSAGE_ERROR, VD_MESSAGE_ERROR_FDS,
               "%s: came with %u descriptors, not with %u to %u", name,
               message->n_fds, min, max);
  return FALSE;
}

static gboolean
check_size (const VdMessage *message, const VdMessageRule *rule, GError **error)
{
  guint32 size = message->header.size;

  if (size >= rule->size_min && size <= rule->size_max)
    return TRUE;
  g_set_error (error, VD_MESSAGE_ERROR, VD_MESSAGE_ERROR_SIZE,
               "%s: payload of %u bytes, not of %u to %u", rule->name, size,
               rule->size_min, rule->size_max);
  return FALSE;
}

static gboolean
check_feature (const VdMessageRule *rule, guint64 protocol_features,
               GError **error)
{
  if (rule->feature == ANY ||
      protocol_features & (G_GUINT64_CONSTANT (1) << rule->feature))
    return TRUE;
  g_set_error (error, VD_MESSAGE_ERROR, VD_MESSAGE_ERROR_FEATURE,
               "%s: needs protocol feature %s, which was not acked", rule->name,
               vd_protocol_feature_name ((guint) rule->feature));
  return FALSE;
}

/* Linux's UML driver always sends room for two regions, so a longer payload is
 * fine; a shorter one is not. */
static gboolean
check_mem_table (const VdMessage *message, GError **error)
{
  guint32 n = message->payload.mem_table.n_regions;
  guint64 needed =
      sizeof (VdWireMemTable) + (guint64) n * sizeof (VdWireRegion);

  if (n < 1 || n > VD_MEM_TABLE_MAX || message->header.size < needed) {
    g_set_error (error, VD_MESSAGE_ERROR, VD_MESSAGE_ERROR_SIZE,
                 "SET_MEM_TABLE: %u regions in %u bytes, at most %d fit", n,
                 message->header.size, VD_MEM_TABLE_MAX);
    return FALSE;
  }
  if (message->n_fds < n) {
    g_set_error (error, VD_MESSAGE_ERROR, VD_MESSAGE_ERROR_FDS,
                 "SET_MEM_TABLE: %u regions but %u descriptors (guest memory "
                 "must be shared: add share=on)",
                 n, message->n_fds);
    return FALSE;
  }
  return check_n_fds (message, "SET_MEM_TABLE", n, n, error);
}

/* A request to read may leave out the bytes that the reply will hold. */
static gboolean
check_config (const VdMessage *message, const char *name, gboolean header_only,
              GError **error)
{
  guint32 given = message->header.size - sizeof (VdWireConfig);
  guint32 size = message->payload.config.size;

  if (size <= VD_PAYLOAD_MAX - sizeof (VdWireConfig) &&
      (given == size || (given == 0 && header_only)))
    return TRUE;
  g_set_error (error, VD_MESSAGE_ERROR, VD_MESSAGE_ERROR_SIZE,
               "%s: window of %u bytes with %u bytes of payload", name, size,
               given);
  return FALSE;
}

static gboolean
check_inflight (const VdMessage *message, const char *name, GError **error)
{
  if (message->header.size == INFLIGHT_SIZE_MIN ||
      message->header.size == INFLIGHT_SIZE)
    return TRUE;
  g_set_error (error, VD_MESSAGE_ERROR, VD_MESSAGE_ERROR_SIZE,
               "%s: payload of %u bytes", name, message->header.size);
  return FALSE;
}

static gboolean
check_vring_fd (const VdMessage *message, const char *name, GError **error)
{
  guint n = message->payload.u64 & VD_VRING_NOFD_MASK ? 0 : 1;

  return check_n_fds (message, name, n, n, error);
}

/* What depends on the payload.  The rule's own sizes have passed, so the
 * fields that are read here were sent. */
static gboolean
check_inner (const VdMessage *message, const VdMessageRule *rule,
             GError **error)
{
  switch (message->header.request) {
  case VD_SET_MEM_TABLE: return check_mem_table (message, error);
  case VD_GET_CONFIG: return check_config (message, rule->name, TRUE, error);
  case VD_SET_CONFIG: return check_config (message, rule->name, FALSE, error);
  case VD_GET_INFLIGHT_FD:
  case VD_SET_INFLIGHT_FD: return check_inflight (message, rule->name, error);
  case VD_SET_VRING_KICK:
  case VD_SET_VRING_CALL:
  case VD_SET_VRING_ERR: return check_vring_fd (message, rule->name, error);
  default: return TRUE;
  }
}

gboolean
vd_message_check (const VdMessage *message, guint64 protocol_features,
                  GError **error)
{
  const VdMessageRule *rule = vd_message_rule (message->header.request);

  if (rule == NULL) {
    g_set_error (error, VD_MESSAGE_ERROR, VD_MESSAGE_ERROR_UNKNOWN,
                 "unknown request %u", message->header.request);
    return FALSE;
  }
  if (!rule->served) {
    g_set_error (error, VD_MESSAGE_ERROR, VD_MESSAGE_ERROR_UNKNOWN,
                 "%s: not served", rule->name);
    return FALSE;
  }
  return check_feature (rule, protocol_features, error) &&
         check_size (message, rule, error) &&
         check_inner (message, rule, error) &&
         check_n_fds (message, rule->name, rule->fds_min, rule->fds_max, error);
}

void
vd_message_init (VdMessage *message)
{
  memset (message, 0, sizeof *message);
  for (guint i = 0; i < VD_MESSAGE_FDS; i++)
    message->fds[i] = -1;
}

void
vd_message_clear (VdMessage *message)
{
  for (guint i = 0; i < VD_MESSAGE_FDS; i++)
    if (message->fds[i] >= 0)
      close (message->fds[i]);
  vd_message_init (message);
}

int
vd_message_take_fd (VdMessage *message, guint i)
{
  int fd;

  if (i >= VD_MESSAGE_FDS)
    return -1;
  fd = message->fds[i];
  message->fds[i] = -1;
  return fd;
}
