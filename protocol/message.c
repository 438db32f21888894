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

/* The in-flight message of those who pack the struct; one region. */
#define INFLIGHT_MIN offsetof (VdWireInflight, padding)
#define TABLE_MIN    (sizeof (VdWireMemTable) + sizeof (VdWireRegion))

/* Columns of the table: payload bytes, at least and at most. */
#define EXACTLY(type) sizeof (type), sizeof (type)
#define EMPTY         0, 0
#define U64           EXACTLY (guint64)
#define STATE         EXACTLY (VdWireVringState)
#define ADDR          EXACTLY (VdWireVringAddr)
#define REGION        EXACTLY (VdWireMemReg)
#define LOG           EXACTLY (VdWireLog)
#define UUID          EXACTLY (VdWireObject)
#define TRANSFER      EXACTLY (VdWireDeviceState)
#define TABLE         TABLE_MIN, VD_PAYLOAD_MAX
#define WINDOW        sizeof (VdWireConfig), VD_PAYLOAD_MAX
#define INFLIGHT      INFLIGHT_MIN, sizeof (VdWireInflight)
#define IOTLB         VD_IOTLB_SIZE_MIN, sizeof (VdWireIotlb)
#define LONG          0, VD_PAYLOAD_MAX

/* The feature that is needed, or -1. */
#define VD_PROTOCOL_F_ANY        (-1)
#define VD_PROTOCOL_F_SKIP_DRAIN VD_PROTOCOL_F_GET_VRING_BASE_SKIP_DRAIN

/* A reply of its own, or an ack if the front-end wants one. */
#define OWN TRUE
#define ACK FALSE

/* Whether it is served.  A request that is refused has its rule all the same:
 * the log names it, and this column alone makes it live. */
#define YES TRUE
#define NO  FALSE

#define R(id, size, fds_min, fds_max, needs, reply, served)                    \
  [VD_##id] = { #id,   size,  fds_min, fds_max, VD_PROTOCOL_F_##needs,         \
                reply, served }

/* clang-format off */
static const VdMessageRule rules[] = {
  /* request                    payload   fds   needs              reply served */
  R (GET_FEATURES,              EMPTY,    0, 0, ANY,                 OWN, YES),
  R (SET_FEATURES,              U64,      0, 0, ANY,                 ACK, YES),
  R (SET_OWNER,                 EMPTY,    0, 0, ANY,                 ACK, YES),
  R (RESET_OWNER,               EMPTY,    0, 0, ANY,                 ACK, YES),
  R (SET_MEM_TABLE,             TABLE,    1, 8, ANY,                 ACK, YES),
  R (SET_LOG_BASE,              LOG,      1, 1, LOG_SHMFD,           OWN, YES),
  R (SET_LOG_FD,                EMPTY,    1, 1, ANY,                 ACK, YES),
  R (SET_VRING_NUM,             STATE,    0, 0, ANY,                 ACK, YES),
  R (SET_VRING_ADDR,            ADDR,     0, 0, ANY,                 ACK, YES),
  R (SET_VRING_BASE,            STATE,    0, 0, ANY,                 ACK, YES),
  R (GET_VRING_BASE,            STATE,    0, 0, ANY,                 OWN, YES),
  R (SET_VRING_KICK,            U64,      0, 1, ANY,                 ACK, YES),
  R (SET_VRING_CALL,            U64,      0, 1, ANY,                 ACK, YES),
  R (SET_VRING_ERR,             U64,      0, 1, ANY,                 ACK, YES),
  R (GET_PROTOCOL_FEATURES,     EMPTY,    0, 0, ANY,                 OWN, YES),
  R (SET_PROTOCOL_FEATURES,     U64,      0, 0, ANY,                 ACK, YES),
  R (GET_QUEUE_NUM,             EMPTY,    0, 0, MQ,                  OWN, YES),
  R (SET_VRING_ENABLE,          STATE,    0, 0, ANY,                 ACK, YES),
  R (SEND_RARP,                 U64,      0, 0, RARP,                ACK, NO),
  R (NET_SET_MTU,               U64,      0, 0, MTU,                 ACK, NO),
  R (SET_BACKEND_REQ_FD,        EMPTY,    1, 1, BACKEND_REQ,         ACK, YES),
  R (IOTLB_MSG,                 IOTLB,    0, 0, BACKEND_REQ,         OWN, YES),
  R (SET_VRING_ENDIAN,          STATE,    0, 0, CROSS_ENDIAN,        ACK, NO),
  R (GET_CONFIG,                WINDOW,   0, 0, CONFIG,              OWN, YES),
  R (SET_CONFIG,                WINDOW,   0, 0, CONFIG,              ACK, YES),
  R (CREATE_CRYPTO_SESSION,     LONG,     0, 0, CRYPTO_SESSION,      OWN, NO),
  R (CLOSE_CRYPTO_SESSION,      U64,      0, 0, CRYPTO_SESSION,      ACK, NO),
  R (POSTCOPY_ADVISE,           EMPTY,    0, 0, PAGEFAULT,           OWN, YES),
  R (POSTCOPY_LISTEN,           EMPTY,    0, 0, PAGEFAULT,           ACK, YES),
  R (POSTCOPY_END,              EMPTY,    0, 0, PAGEFAULT,           OWN, YES),
  R (GET_INFLIGHT_FD,           INFLIGHT, 0, 0, INFLIGHT_SHMFD,      OWN, YES),
  R (SET_INFLIGHT_FD,           INFLIGHT, 1, 1, INFLIGHT_SHMFD,      ACK, YES),
  R (GPU_SET_SOCKET,            EMPTY,    1, 1, ANY,                 ACK, NO),
  R (RESET_DEVICE,              EMPTY,    0, 0, RESET_DEVICE,        ACK, YES),
  R (VRING_KICK,                STATE,    0, 0, INBAND_NOTIFICATIONS, ACK, YES),
  R (GET_MAX_MEM_SLOTS,         EMPTY,    0, 0, CONFIGURE_MEM_SLOTS, OWN, YES),
  R (ADD_MEM_REG,               REGION,   1, 1, CONFIGURE_MEM_SLOTS, ACK, YES),
  R (REM_MEM_REG,               REGION,   0, 1, CONFIGURE_MEM_SLOTS, ACK, YES),
  R (SET_STATUS,                U64,      0, 0, STATUS,              ACK, YES),
  R (GET_STATUS,                EMPTY,    0, 0, STATUS,              OWN, YES),
  R (GET_SHARED_OBJECT,         UUID,     0, 0, SHARED_OBJECT,       OWN, NO),
  R (SET_DEVICE_STATE_FD,       TRANSFER, 1, 1, DEVICE_STATE,        OWN, YES),
  R (CHECK_DEVICE_STATE,        EMPTY,    0, 0, DEVICE_STATE,        OWN, YES),
  R (GET_SHMEM_CONFIG,          EMPTY,    0, 0, SHMEM,               OWN, YES),
  R (GET_VRING_BASE_SKIP_DRAIN, STATE,    0, 0, SKIP_DRAIN,          OWN, YES),
};
/* clang-format on */
static_assert (G_N_ELEMENTS (rules) == VD_REQUEST_END, "a rule per request");

GQuark
vd_message_error_quark (void)
{
  return g_quark_from_static_string ("vd-message-error-quark");
}

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
  if (rule->feature == VD_PROTOCOL_F_ANY ||
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
  case VD_SET_VRING_KICK:
  case VD_SET_VRING_CALL:
  case VD_SET_VRING_ERR: return check_vring_fd (message, rule->name, error);
  default: return TRUE;
  }
}

gboolean
vd_message_is_postcopy_ack (const VdMessage *message)
{
  switch (message->header.request) {
  case VD_SET_MEM_TABLE:
  case VD_ADD_MEM_REG:
  case VD_REM_MEM_REG:
    return message->header.size == sizeof message->payload.u64 &&
           message->payload.u64 == 0 && message->n_fds == 0;
  default: return FALSE;
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
  if ((protocol_features >> VD_PROTOCOL_F_PAGEFAULT) & 1 &&
      vd_message_is_postcopy_ack (message))
    return TRUE;
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
