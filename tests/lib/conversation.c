/* SPDX-License-Identifier: BSD-3-Clause */
#include "tests/lib/conversation.h"

#include <sys/eventfd.h>
#include <unistd.h>

#include "vring/fd.h"

#define BIT(n)      (1ull << (n))
#define F_EVENT_IDX BIT (29) /* VIRTIO_RING_F_EVENT_IDX */
#define F_VERSION_1 BIT (32)
#define F_PLATFORM  BIT (33) /* VIRTIO_F_ACCESS_PLATFORM: needs an IOMMU */
#define F_PACKED    BIT (34) /* VIRTIO_F_RING_PACKED */

/* Protocol features that each front-end knows. */
#define QEMU_7_FEATURES                                                        \
  (BIT (VD_PROTOCOL_F_MQ) | BIT (VD_PROTOCOL_F_REPLY_ACK) |                    \
   BIT (VD_PROTOCOL_F_BACKEND_REQ) | BIT (VD_PROTOCOL_F_CONFIG) |              \
   BIT (VD_PROTOCOL_F_BACKEND_SEND_FD) | BIT (VD_PROTOCOL_F_HOST_NOTIFIER) |   \
   BIT (VD_PROTOCOL_F_RESET_DEVICE) | BIT (VD_PROTOCOL_F_CONFIGURE_MEM_SLOTS))
#define UML_6_FEATURES                                                         \
  (BIT (VD_PROTOCOL_F_REPLY_ACK) | BIT (VD_PROTOCOL_F_BACKEND_REQ) |           \
   BIT (VD_PROTOCOL_F_CONFIG))
#define LIBBLKIO_FEATURES                                                      \
  (BIT (VD_PROTOCOL_F_MQ) | BIT (VD_PROTOCOL_F_REPLY_ACK) |                    \
   BIT (VD_PROTOCOL_F_CONFIG) | BIT (VD_PROTOCOL_F_CONFIGURE_MEM_SLOTS))
#define CH_FEATURES                                                            \
  (BIT (VD_PROTOCOL_F_MQ) | BIT (VD_PROTOCOL_F_REPLY_ACK) |                    \
   BIT (VD_PROTOCOL_F_BACKEND_REQ) | BIT (VD_PROTOCOL_F_CONFIG))

typedef struct {
  const char *name;
  VtRingFlags ring_flags;
  guint64 protocol_features;
  void (*hello) (VtFrontend *fe);
  void (*start) (VtFrontend *fe);
  gboolean (*stop) (VtFrontend *fe, guint32 *bases);
} Life;

static const Life lives[VT_N_ORDERS];

static gboolean
has (const VtFrontend *fe, guint bit)
{
  return (fe->protocol_features & BIT (bit)) != 0;
}

static void
negotiate_protocol (VtFrontend *fe, gboolean stores_ack_first)
{
  guint64 both =
      vt_get_protocol_features (fe) & lives[fe->order].protocol_features;

  if (stores_ack_first)
    fe->protocol_features = both;
  g_assert_true (vt_set_protocol_features (fe, both));
}

static void
learn_queues (VtFrontend *fe)
{
  guint64 offered = has (fe, VD_PROTOCOL_F_MQ) ? vt_get_queue_num (fe) : 1;

  for (guint i = 0; i < fe->n_rings; i++)
    g_assert_cmpuint (fe->rings[i]->index, <, offered);
  if (fe->n_queues == 0)
    fe->n_queues = offered;
  g_assert_cmpuint (fe->n_queues, <=, offered);
}

/* Reads all of config space, as many times as asked. */
static void
read_config (VtFrontend *fe, guint n_times, guint32 flags)
{
  guint8 bytes[VD_PAYLOAD_MAX];

  if (!has (fe, VD_PROTOCOL_F_CONFIG))
    return;
  for (guint i = 0; fe->config_len && i < n_times; i++)
    g_assert_true (vt_get_config_flags (fe, 0, bytes, fe->config_len, flags));
}

static void
ack_features (VtFrontend *fe)
{
  guint64 refuse = fe->refuse | BIT (VD_F_LOG_ALL) | F_PLATFORM;
  VtRingFlags flags = fe->n_rings ? fe->rings[0]->flags : 0;

  if (!(flags & VT_RING_EVENT_IDX))
    refuse |= F_EVENT_IDX;
  if (!(flags & VT_RING_PACKED))
    refuse |= F_PACKED;
  g_assert_true (!(flags & VT_RING_PACKED) || fe->features & F_PACKED);
  g_assert_cmphex (fe->features & F_VERSION_1, !=, 0);
  g_assert_true (vt_set_features (fe, fe->features & ~refuse));
}

static void
disable (VtFrontend *fe, guint index)
{
  g_assert_true (vt_set_vring_enable (fe, index, FALSE));
}

/* Without PROTOCOL_FEATURES acked there is no ENABLE. */
static gboolean
uses_enable (const VtFrontend *fe)
{
  return (fe->acked & BIT (VD_F_PROTOCOL_FEATURES)) != 0;
}

/* --- QEMU --- */

/* The descriptors of a device whose driver has not started. */
static void
qemu_init_queue (VtFrontend *fe, guint index)
{
  vd_autofd masked = eventfd (0, EFD_CLOEXEC | EFD_NONBLOCK);

  g_assert_true (vt_set_vring_call (fe, index, masked));
  g_assert_true (vt_set_vring_err (fe, index, masked));
}

static void
qemu_hello (VtFrontend *fe)
{
  vt_get_features (fe);
  negotiate_protocol (fe, FALSE);
  learn_queues (fe);
  if (has (fe, VD_PROTOCOL_F_CONFIGURE_MEM_SLOTS))
    vt_get_max_mem_slots (fe);
  fe->reply_mode = VT_REPLY_SETS;
  if (has (fe, VD_PROTOCOL_F_BACKEND_REQ))
    g_assert_true (vt_set_backend_req_fd (fe));
  fe->reply_mode = VT_REPLY_NEVER;
  vt_set_owner (fe);
  vt_get_features (fe);
  for (guint i = 0; i < fe->n_queues; i++)
    qemu_init_queue (fe, i);
  read_config (fe, 1, VD_CONFIG_FLAG_WRITABLE);
}

/* Memory is sent once for a connection. */
static void
qemu_send_memory (VtFrontend *fe)
{
  GPtrArray *regions = fe->guest->regions;

  if (fe->has_memory)
    return;
  fe->has_memory = TRUE;
  fe->reply_mode = VT_REPLY_SETS;
  if (has (fe, VD_PROTOCOL_F_CONFIGURE_MEM_SLOTS))
    for (guint i = 0; i < regions->len; i++)
      g_assert_true (vt_add_mem_reg (fe, g_ptr_array_index (regions, i)));
  else
    g_assert_true (vt_set_mem_table (fe, fe->guest, regions->len));
  fe->reply_mode = VT_REPLY_NEVER;
}

static void
qemu_reset_device (VtFrontend *fe)
{
  if (fe->resets && has (fe, VD_PROTOCOL_F_RESET_DEVICE))
    g_assert_true (vt_reset_device (fe));
}

static void
qemu_start_queue (VtFrontend *fe, VtRing *ring, VtReplyMode kick_mode)
{
  fe->reply_mode = VT_REPLY_NEVER;
  vt_set_vring_num (fe, ring->index, ring->size);
  vt_set_vring_base (fe, ring->index, vt_ring_base (ring));
  vt_set_vring_addr (fe, ring);
  fe->reply_mode = kick_mode;
  g_assert_true (vt_set_vring_err (fe, ring->index, ring->err_fd));
  g_assert_true (vt_set_vring_kick (fe, ring->index, ring->kick_fd));
}

static void
qemu_start (VtFrontend *fe)
{
  VtReplyMode mode =
      fe->order == VT_ORDER_QEMU_7 ? VT_REPLY_NEVER : VT_REPLY_SETS;

  if (!fe->has_memory)
    qemu_reset_device (fe);
  fe->reply_mode = mode;
  for (guint i = 0; i < fe->n_rings; i++)
    g_assert_true (
        vt_set_vring_call (fe, fe->rings[i]->index, fe->rings[i]->call_fd));
  fe->reply_mode = VT_REPLY_NEVER;
  ack_features (fe);
  qemu_send_memory (fe);
  for (guint i = 0; i < fe->n_rings; i++)
    qemu_start_queue (fe, fe->rings[i], mode);
  for (guint i = 0; i < fe->n_queues && uses_enable (fe); i++)
    g_assert_true (vt_set_vring_enable (fe, i, TRUE));
}

static gboolean
qemu_stop (VtFrontend *fe, guint32 *bases)
{
  for (guint i = 0; i < fe->n_queues && uses_enable (fe); i++)
    disable (fe, i);
  for (guint i = 0; i < fe->n_rings; i++) {
    guint32 base = vt_get_vring_base (fe, fe->rings[i]->index);

    if (bases)
      bases[i] = base;
  }
  qemu_reset_device (fe);
  return TRUE;
}

/* --- User-Mode Linux --- */

static void
uml_hello (VtFrontend *fe)
{
  fe->reply_mode = VT_REPLY_SETS;
  vt_set_owner (fe);
  vt_get_features (fe);
  negotiate_protocol (fe, TRUE);
  if (has (fe, VD_PROTOCOL_F_BACKEND_REQ))
    g_assert_true (vt_set_backend_req_fd (fe));
  if (fe->order == VT_ORDER_UML_7)
    learn_queues (fe);
}

/* Reads config space byte by byte, always from its start. */
static void
uml_read_config (VtFrontend *fe)
{
  guint8 bytes[VD_PAYLOAD_MAX];

  for (guint len = 1; len <= fe->config_len; len++)
    if (has (fe, VD_PROTOCOL_F_CONFIG))
      g_assert_true (vt_get_config (fe, 0, bytes, len));
}

static void
uml_start (VtFrontend *fe)
{
  guint n_regions = fe->guest->regions->len;

  ack_features (fe);
  uml_read_config (fe);
  g_assert_true (vt_set_mem_table (
      fe, fe->guest,
      fe->order == VT_ORDER_UML_6 ? MAX (2, n_regions) : n_regions));
  for (guint i = 0; i < fe->n_rings; i++) {
    VtRing *ring = fe->rings[i];

    g_assert_true (vt_set_vring_call (fe, ring->index, ring->call_fd));
    g_assert_true (vt_set_vring_num (fe, ring->index, ring->size));
    /* Always, and for packed rings too, though their first base is another. */
    g_assert_true (vt_set_vring_base (fe, ring->index, 0));
    g_assert_true (vt_set_vring_addr (fe, ring));
  }
  for (guint i = 0; i < fe->n_rings; i++) {
    VtRing *ring = fe->rings[i];

    g_assert_true (vt_set_vring_kick (fe, ring->index, ring->kick_fd));
    if (uses_enable (fe))
      g_assert_true (vt_set_vring_enable (fe, ring->index, TRUE));
  }
}

/* There is no GET_VRING_BASE: the rings stay started. */
static gboolean
uml_stop (VtFrontend *fe, guint32 *bases)
{
  for (guint i = fe->n_rings; i > 0 && uses_enable (fe); i--)
    disable (fe, fe->rings[i - 1]->index);
  vt_barrier (fe);
  return FALSE;
}

/* --- libblkio --- */

static void
libblkio_hello (VtFrontend *fe)
{
  fe->reply_mode = VT_REPLY_ALL;
  vt_set_owner (fe);
  vt_get_features (fe);
  ack_features (fe);
  negotiate_protocol (fe, FALSE);
  learn_queues (fe);
  g_assert_true (has (fe, VD_PROTOCOL_F_CONFIGURE_MEM_SLOTS));
  g_assert_cmpuint (vt_get_max_mem_slots (fe), >=, fe->guest->regions->len);
  read_config (fe, 4, VD_CONFIG_FLAG_WRITABLE);
}

/* The rings' memory comes first, that of the data when the rings run. */
static void
libblkio_start (VtFrontend *fe)
{
  GPtrArray *regions = fe->guest->regions;

  if (!fe->has_memory)
    g_assert_true (vt_add_mem_reg (fe, g_ptr_array_index (regions, 0)));
  for (guint i = 0; i < fe->n_rings; i++) {
    VtRing *ring = fe->rings[i];

    g_assert_true (vt_set_vring_num (fe, ring->index, ring->size));
    g_assert_true (vt_set_vring_base (fe, ring->index, vt_ring_base (ring)));
    g_assert_true (vt_set_vring_addr (fe, ring));
    g_assert_true (vt_set_vring_kick (fe, ring->index, ring->kick_fd));
    g_assert_true (vt_set_vring_call (fe, ring->index, ring->call_fd));
    g_assert_true (vt_set_vring_enable (fe, ring->index, TRUE));
  }
  for (guint i = 1; i < regions->len && !fe->has_memory; i++)
    g_assert_true (vt_add_mem_reg (fe, g_ptr_array_index (regions, i)));
  fe->has_memory = TRUE;
}

static gboolean
get_bases (VtFrontend *fe, guint32 *bases)
{
  for (guint i = 0; i < fe->n_rings; i++) {
    guint32 base = vt_get_vring_base (fe, fe->rings[i]->index);

    if (bases)
      bases[i] = base;
  }
  return TRUE;
}

/* --- cloud-hypervisor --- */

static void
ch_hello (VtFrontend *fe)
{
  fe->reply_mode = VT_REPLY_ALL;
  vt_set_owner (fe);
  vt_get_features (fe);
  negotiate_protocol (fe, FALSE);
  learn_queues (fe);
  read_config (fe, 1, VD_CONFIG_FLAG_MIGRATION);
}

static void
ch_start (VtFrontend *fe)
{
  ack_features (fe);
  g_assert_true (vt_set_mem_table (fe, fe->guest, fe->guest->regions->len));
  for (guint i = 0; i < fe->n_rings; i++)
    g_assert_true (
        vt_set_vring_num (fe, fe->rings[i]->index, fe->rings[i]->size));
  for (guint i = 0; i < fe->n_rings; i++) {
    VtRing *ring = fe->rings[i];

    g_assert_true (vt_set_vring_addr (fe, ring));
    g_assert_true (vt_set_vring_base (fe, ring->index, vt_ring_base (ring)));
    g_assert_true (vt_set_vring_call (fe, ring->index, ring->call_fd));
    g_assert_true (vt_set_vring_kick (fe, ring->index, ring->kick_fd));
  }
  for (guint i = 0; i < fe->n_rings; i++)
    g_assert_true (vt_set_vring_enable (fe, fe->rings[i]->index, TRUE));
  if (has (fe, VD_PROTOCOL_F_BACKEND_REQ))
    g_assert_true (vt_set_backend_req_fd (fe));
}

static gboolean
ch_stop (VtFrontend *fe, guint32 *bases)
{
  for (guint i = 0; i < fe->n_rings; i++)
    disable (fe, fe->rings[i]->index);
  return get_bases (fe, bases);
}

#define UML_RINGS (VT_RING_STREAM_CALL | VT_RING_BLOCKING)

static const Life lives[VT_N_ORDERS] = {
  [VT_ORDER_QEMU_7] = { "qemu-7.2", 0, QEMU_7_FEATURES, qemu_hello, qemu_start,
                        qemu_stop },
  [VT_ORDER_QEMU_11] = { "qemu-11", 0,
                         /* acks what it merely has a number for, too */
                         QEMU_7_FEATURES |
                             BIT (VD_PROTOCOL_F_INBAND_NOTIFICATIONS) |
                             BIT (VD_PROTOCOL_F_XEN_MMAP),
                         qemu_hello, qemu_start, qemu_stop },
  [VT_ORDER_UML_6] = { "uml-6.1", UML_RINGS, UML_6_FEATURES, uml_hello,
                       uml_start, uml_stop },
  [VT_ORDER_UML_7] = { "uml-7.2", UML_RINGS,
                       UML_6_FEATURES | BIT (VD_PROTOCOL_F_MQ), uml_hello,
                       uml_start, uml_stop },
  [VT_ORDER_LIBBLKIO] = { "libblkio", VT_RING_BLOCKING, LIBBLKIO_FEATURES,
                          libblkio_hello, libblkio_start, get_bases },
  [VT_ORDER_CLOUD_HYPERVISOR] = { "cloud-hypervisor", 0, CH_FEATURES, ch_hello,
                                  ch_start, ch_stop },
};

const char *
vt_order_name (VtOrder order)
{
  return lives[order].name;
}

VtRingFlags
vt_order_ring_flags (VtOrder order)
{
  return lives[order].ring_flags;
}

void
vt_frontend_hello (VtFrontend *fe, VtOrder order, VtGuest *guest,
                   VtRing *const *rings, guint n_rings)
{
  fe->order = order;
  fe->guest = guest;
  g_free (fe->rings);
  fe->rings = g_memdup2 (rings, n_rings * sizeof *rings);
  fe->n_rings = n_rings;
  lives[order].hello (fe);
}

void
vt_frontend_start (VtFrontend *fe)
{
  lives[fe->order].start (fe);
}

gboolean
vt_frontend_stop (VtFrontend *fe, guint32 *bases)
{
  return lives[fe->order].stop (fe, bases);
}
