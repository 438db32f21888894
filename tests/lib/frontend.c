/* SPDX-License-Identifier: BSD-3-Clause */
#include "tests/lib/frontend.h"

#include <sys/socket.h>
#include <unistd.h>

#include "vring/fd.h"

VtFrontend *
vt_frontend_new (int fd)
{
  VtFrontend *fe = g_new0 (VtFrontend, 1);

  fe->fd = fd;
  fe->channel = -1;
  return fe;
}

void
vt_frontend_free (VtFrontend *fe)
{
  if (!fe)
    return;
  close (fe->fd);
  if (fe->channel >= 0)
    close (fe->channel);
  g_free (fe->rings);
  g_free (fe);
}

gboolean
vt_send_bytes (VtFrontend *fe, const void *bytes, gsize len, const int *fds,
               guint n_fds)
{
  return vt_socket_send (fe->fd, bytes, len, fds, n_fds);
}

static gboolean
send_message (int fd, guint32 request, guint32 flags, const void *payload,
              guint32 size, const int *fds, guint n_fds)
{
  VdWireHeader header = { request, flags, size };
  g_autofree guint8 *bytes = g_malloc (sizeof header + size);

  memcpy (bytes, &header, sizeof header);
  if (size)
    memcpy (bytes + sizeof header, payload, size);
  return vt_socket_send (fd, bytes, sizeof header + size, fds, n_fds);
}

gboolean
vt_send (VtFrontend *fe, guint32 request, guint32 flags, const void *payload,
         guint32 size, const int *fds, guint n_fds)
{
  return send_message (fe->fd, request, flags, payload, size, fds, n_fds);
}

gsize
vt_receive_bytes (VtFrontend *fe, void *to, gsize len, int *fd)
{
  return vt_socket_receive (fe->fd, to, len, fd);
}

/* Checks a reply's header.  Returns: the size of its payload. */
static guint32
receive_header (VtFrontend *fe, guint32 request)
{
  VdWireHeader header;

  if (vt_receive_bytes (fe, &header, sizeof header, NULL) < sizeof header)
    g_error ("the back-end closed the connection before the reply to %u",
             request);
  g_assert_cmpuint (header.request, ==, request);
  g_assert_cmphex (header.flags, ==, VD_REPLY_FLAGS);
  return header.size;
}

void
vt_receive (VtFrontend *fe, guint32 request, void *payload, guint32 size)
{
  g_assert_cmpuint (receive_header (fe, request), ==, size);
  g_assert_cmpuint (vt_receive_bytes (fe, payload, size, NULL), ==, size);
}

guint64
vt_receive_ack (VtFrontend *fe, guint32 request)
{
  guint64 ack;

  vt_receive (fe, request, &ack, sizeof ack);
  return ack;
}

gsize
vt_wait_closed (VtFrontend *fe)
{
  guint8 bytes[256];
  gsize n, total = 0;

  while ((n = vt_receive_bytes (fe, bytes, sizeof bytes, NULL)) > 0)
    total += n;
  return total;
}

gboolean
vt_is_silent (VtFrontend *fe, int ms)
{
  return !vt_wait_readable (fe->fd, ms);
}

static gboolean
may_need_reply (const VtFrontend *fe)
{
  return fe->protocol_features & (1ull << VD_PROTOCOL_F_REPLY_ACK);
}

/* Sends a message that has no reply of its own. */
static gboolean
request (VtFrontend *fe, guint32 id, const void *payload, guint32 size,
         const int *fds, guint n_fds)
{
  gboolean ack = fe->reply_mode != VT_REPLY_NEVER && may_need_reply (fe);
  guint32 flags = VD_WIRE_VERSION | (ack ? VD_FLAG_NEED_REPLY : 0);

  g_assert_true (vt_send (fe, id, flags, payload, size, fds, n_fds));
  return !ack || vt_receive_ack (fe, id) == 0;
}

/* Sends a message that has one. */
static void
send_query (VtFrontend *fe, guint32 id, const void *payload, guint32 size)
{
  gboolean flag = fe->reply_mode == VT_REPLY_ALL && may_need_reply (fe);
  guint32 flags = VD_WIRE_VERSION | (flag ? VD_FLAG_NEED_REPLY : 0);

  g_assert_true (vt_send (fe, id, flags, payload, size, NULL, 0));
}

static guint64
query_u64 (VtFrontend *fe, guint32 id)
{
  guint64 value;

  send_query (fe, id, NULL, 0);
  vt_receive (fe, id, &value, sizeof value);
  return value;
}

guint64
vt_get_features (VtFrontend *fe)
{
  return fe->features = query_u64 (fe, VD_GET_FEATURES);
}

gboolean
vt_set_features (VtFrontend *fe, guint64 features)
{
  fe->acked = features;
  return request (fe, VD_SET_FEATURES, &features, sizeof features, NULL, 0);
}

guint64
vt_get_protocol_features (VtFrontend *fe)
{
  return query_u64 (fe, VD_GET_PROTOCOL_FEATURES);
}

gboolean
vt_set_protocol_features (VtFrontend *fe, guint64 features)
{
  gboolean ok = request (fe, VD_SET_PROTOCOL_FEATURES, &features,
                         sizeof features, NULL, 0);

  fe->protocol_features = features;
  return ok;
}

gboolean
vt_set_owner (VtFrontend *fe)
{
  return request (fe, VD_SET_OWNER, NULL, 0, NULL, 0);
}

gboolean
vt_reset_owner (VtFrontend *fe)
{
  return request (fe, VD_RESET_OWNER, NULL, 0, NULL, 0);
}

gboolean
vt_reset_device (VtFrontend *fe)
{
  return request (fe, VD_RESET_DEVICE, NULL, 0, NULL, 0);
}

guint64
vt_get_queue_num (VtFrontend *fe)
{
  return query_u64 (fe, VD_GET_QUEUE_NUM);
}

guint64
vt_get_max_mem_slots (VtFrontend *fe)
{
  return query_u64 (fe, VD_GET_MAX_MEM_SLOTS);
}

static VdWireRegion
wire_region (const VtRegion *region)
{
  return (VdWireRegion){ .gpa = region->gpa,
                         .size = region->size,
                         .uva = region->uva,
                         .offset = region->offset };
}

gboolean
vt_set_mem_table (VtFrontend *fe, VtGuest *guest, guint n_slots)
{
  guint n = guest->regions->len;
  gsize size = sizeof (VdWireMemTable) + n_slots * sizeof (VdWireRegion);
  g_autofree VdWireMemTable *table = g_malloc0 (size);
  int fds[VD_MEM_TABLE_MAX];

  g_assert_cmpuint (n, <=, n_slots);
  g_assert_cmpuint (n, <=, VD_MEM_TABLE_MAX);
  table->n_regions = n;
  for (guint i = 0; i < n; i++) {
    const VtRegion *region = g_ptr_array_index (guest->regions, i);

    table->regions[i] = wire_region (region);
    fds[i] = region->fd;
  }
  return request (fe, VD_SET_MEM_TABLE, table, size, fds, n);
}

gboolean
vt_add_mem_reg (VtFrontend *fe, const VtRegion *region)
{
  VdWireMemReg payload = { .region = wire_region (region) };

  return request (fe, VD_ADD_MEM_REG, &payload, sizeof payload, &region->fd, 1);
}

gboolean
vt_rem_mem_reg (VtFrontend *fe, const VtRegion *region)
{
  VdWireMemReg payload = { .region = wire_region (region) };

  return request (fe, VD_REM_MEM_REG, &payload, sizeof payload, NULL, 0);
}

static gboolean
set_state (VtFrontend *fe, guint32 id, guint index, guint32 num)
{
  VdWireVringState state = { index, num };

  return request (fe, id, &state, sizeof state, NULL, 0);
}

gboolean
vt_set_vring_num (VtFrontend *fe, guint index, guint32 num)
{
  return set_state (fe, VD_SET_VRING_NUM, index, num);
}

gboolean
vt_set_vring_base (VtFrontend *fe, guint index, guint32 base)
{
  return set_state (fe, VD_SET_VRING_BASE, index, base);
}

gboolean
vt_set_vring_enable (VtFrontend *fe, guint index, gboolean enable)
{
  return set_state (fe, VD_SET_VRING_ENABLE, index, enable);
}

static gboolean
set_vring_addr (VtFrontend *fe, VtRing *ring, guint32 flags)
{
  VdWireVringAddr addr = {
    .index = ring->index,
    .flags = flags,
    .desc = vt_guest_uva (ring->guest, ring->desc),
    .used = vt_guest_uva (ring->guest, ring->used),
    .avail = vt_guest_uva (ring->guest, ring->avail),
    .log = G_MAXUINT64, /* as UML; without a meaning while nothing is logged */
  };

  if (flags & VD_VRING_ADDR_LOG)
    addr.log = vt_guest_gpa (ring->guest, ring->used);
  return request (fe, VD_SET_VRING_ADDR, &addr, sizeof addr, NULL, 0);
}

gboolean
vt_set_vring_addr (VtFrontend *fe, VtRing *ring)
{
  return set_vring_addr (fe, ring, 0);
}

gboolean
vt_set_vring_addr_logged (VtFrontend *fe, VtRing *ring)
{
  return set_vring_addr (fe, ring, VD_VRING_ADDR_LOG);
}

static gboolean
set_fd (VtFrontend *fe, guint32 id, guint index, int fd)
{
  guint64 payload = index | (fd < 0 ? VD_VRING_NOFD_MASK : 0);

  return request (fe, id, &payload, sizeof payload, &fd, fd >= 0);
}

gboolean
vt_set_vring_kick (VtFrontend *fe, guint index, int fd)
{
  return set_fd (fe, VD_SET_VRING_KICK, index, fd);
}

gboolean
vt_set_vring_call (VtFrontend *fe, guint index, int fd)
{
  return set_fd (fe, VD_SET_VRING_CALL, index, fd);
}

gboolean
vt_set_vring_err (VtFrontend *fe, guint index, int fd)
{
  return set_fd (fe, VD_SET_VRING_ERR, index, fd);
}

void
vt_send_get_vring_base (VtFrontend *fe, guint index)
{
  VdWireVringState state = { index, 0 };

  send_query (fe, VD_GET_VRING_BASE, &state, sizeof state);
}

guint32
vt_receive_vring_base (VtFrontend *fe, guint index)
{
  VdWireVringState state;

  vt_receive (fe, VD_GET_VRING_BASE, &state, sizeof state);
  g_assert_cmpuint (state.index, ==, index);
  return state.num;
}

guint32
vt_get_vring_base (VtFrontend *fe, guint index)
{
  vt_send_get_vring_base (fe, index);
  return vt_receive_vring_base (fe, index);
}

/* Returns: a window of config space as it goes over the wire. */
static VdWireConfig *
config_window (guint32 offset, guint32 len, guint32 flags, const void *from)
{
  VdWireConfig *config = g_malloc0 (sizeof *config + len);

  config->offset = offset;
  config->size = len;
  config->flags = flags;
  if (from && len)
    memcpy (config->payload, from, len);
  return config;
}

gboolean
vt_get_config_flags (VtFrontend *fe, guint32 offset, void *to, guint32 len,
                     guint32 flags)
{
  g_autofree VdWireConfig *config = config_window (offset, len, flags, NULL);
  guint32 size;

  send_query (fe, VD_GET_CONFIG, config, sizeof *config + len);
  size = receive_header (fe, VD_GET_CONFIG);
  g_assert_cmpuint (size, <=, sizeof *config + len);
  g_assert_cmpuint (vt_receive_bytes (fe, config, size, NULL), ==, size);
  if (size == 0 || (size == sizeof *config && config->size == 0 && len))
    return FALSE;
  g_assert_cmpuint (size, ==, sizeof *config + len);
  g_assert_cmpuint (config->offset, ==, offset);
  g_assert_cmpuint (config->size, ==, len);
  memcpy (to, config->payload, len);
  return TRUE;
}

gboolean
vt_get_config (VtFrontend *fe, guint32 offset, void *to, guint32 len)
{
  return vt_get_config_flags (fe, offset, to, len, VD_CONFIG_FLAG_WRITABLE);
}

gboolean
vt_set_config (VtFrontend *fe, guint32 offset, const void *from, guint32 len,
               guint32 flags)
{
  g_autofree VdWireConfig *config = config_window (offset, len, flags, from);

  return request (fe, VD_SET_CONFIG, config, sizeof *config + len, NULL, 0);
}

int
vt_get_inflight_fd (VtFrontend *fe, guint n_queues, guint queue_size,
                    VdWireInflight *ret)
{
  VdWireInflight wire = { .n_queues = n_queues, .queue_size = queue_size };
  VdWireHeader header;
  int fd;

  send_query (fe, VD_GET_INFLIGHT_FD, &wire, sizeof wire);
  g_assert_cmpuint (vt_receive_bytes (fe, &header, sizeof header, &fd), ==,
                    sizeof header);
  g_assert_cmpuint (header.request, ==, VD_GET_INFLIGHT_FD);
  g_assert_cmphex (header.flags, ==, VD_REPLY_FLAGS);
  g_assert_cmpuint (header.size, ==, sizeof wire);
  g_assert_cmpuint (vt_receive_bytes (fe, ret, sizeof *ret, NULL), ==,
                    sizeof *ret);
  g_assert_cmpint (fd, >=, 0);
  g_assert_cmpuint (ret->n_queues, ==, n_queues);
  g_assert_cmpuint (ret->queue_size, ==, queue_size);
  return fd;
}

gboolean
vt_set_inflight_fd (VtFrontend *fe, const VdWireInflight *inflight, int fd)
{
  return request (fe, VD_SET_INFLIGHT_FD, inflight, sizeof *inflight, &fd, 1);
}

void
vt_set_log_base (VtFrontend *fe, int fd, guint64 size, guint64 offset)
{
  VdWireLog log = { size, offset }, reply;

  g_assert_true (
      vt_send (fe, VD_SET_LOG_BASE, VD_WIRE_VERSION, &log, sizeof log, &fd, 1));
  vt_receive (fe, VD_SET_LOG_BASE, &reply, sizeof reply);
  g_assert_cmpmem (&reply, sizeof reply, &log, sizeof log);
}

void
vt_send_set_device_state_fd (VtFrontend *fe, VtStateDirection direction, int fd)
{
  VdWireDeviceState wire = { .direction = direction };

  g_assert_true (vt_send (fe, VD_SET_DEVICE_STATE_FD, VD_WIRE_VERSION, &wire,
                          sizeof wire, &fd, 1));
}

gboolean
vt_receive_set_device_state_fd (VtFrontend *fe)
{
  const guint64 no_fd = 0x100; /* none comes with the reply */
  guint64 reply;

  vt_receive (fe, VD_SET_DEVICE_STATE_FD, &reply, sizeof reply);
  g_assert_cmphex (reply & no_fd, ==, no_fd);
  return reply == no_fd;
}

gboolean
vt_set_device_state_fd (VtFrontend *fe, VtStateDirection direction, int fd)
{
  vt_send_set_device_state_fd (fe, direction, fd);
  return vt_receive_set_device_state_fd (fe);
}

void
vt_send_check_device_state (VtFrontend *fe)
{
  send_query (fe, VD_CHECK_DEVICE_STATE, NULL, 0);
}

gboolean
vt_receive_check_device_state (VtFrontend *fe)
{
  guint64 result;

  vt_receive (fe, VD_CHECK_DEVICE_STATE, &result, sizeof result);
  return result == 0;
}

gboolean
vt_check_device_state (VtFrontend *fe)
{
  vt_send_check_device_state (fe);
  return vt_receive_check_device_state (fe);
}

void
vt_barrier (VtFrontend *fe)
{
  query_u64 (fe, VD_GET_FEATURES);
}

gboolean
vt_set_backend_req_fd (VtFrontend *fe)
{
  vd_autofd theirs = -1;
  int pair[2];

  g_assert_no_errno (socketpair (AF_UNIX, SOCK_STREAM | SOCK_CLOEXEC, 0, pair));
  if (fe->channel >= 0)
    close (fe->channel);
  fe->channel = pair[0];
  theirs = pair[1];
  return request (fe, VD_SET_BACKEND_REQ_FD, NULL, 0, &theirs, 1);
}

guint32
vt_channel_receive (VtFrontend *fe, int timeout_ms)
{
  guint8 payload[VD_PAYLOAD_MAX];
  VdWireHeader header;
  guint64 ack = 0;

  g_assert_cmpint (fe->channel, >=, 0);
  if (!vt_wait_readable (fe->channel, timeout_ms))
    return 0;
  g_assert_cmpuint (
      vt_socket_receive (fe->channel, &header, sizeof header, NULL), ==,
      sizeof header);
  g_assert_cmphex (header.flags & ~VD_FLAG_NEED_REPLY, ==, VD_WIRE_VERSION);
  g_assert_cmpuint (header.size, <=, sizeof payload);
  g_assert_cmpuint (vt_socket_receive (fe->channel, payload, header.size, NULL),
                    ==, header.size);
  if (header.request == VD_BACKEND_CONFIG_CHANGE_MSG) {
    g_assert_cmpuint (header.size, ==, 0);
    fe->n_config_changes++;
  }
  if (header.flags & VD_FLAG_NEED_REPLY)
    send_message (fe->channel, header.request, VD_REPLY_FLAGS, &ack, sizeof ack,
                  NULL, 0);
  return header.request;
}

void
vt_wait_config_change (VtFrontend *fe)
{
  g_assert_cmpuint (vt_channel_receive (fe, VT_TIMEOUT_MS), ==,
                    VD_BACKEND_CONFIG_CHANGE_MSG);
}
