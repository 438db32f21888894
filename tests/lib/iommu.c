/* SPDX-License-Identifier: BSD-3-Clause */
#include "tests/lib/iommu.h"

#include <poll.h>
#include <sys/eventfd.h>
#include <unistd.h>

#define BIT(n)      (1ull << (n))
#define F_PROTOCOL  BIT (30)
#define F_VERSION_1 BIT (32)
#define F_PLATFORM  BIT (33)

void
vt_iommu_lock (VtIommu *iommu)
{
  pthread_mutex_lock (&iommu->lock);
}

void
vt_iommu_unlock (VtIommu *iommu)
{
  pthread_mutex_unlock (&iommu->lock);
}

static gboolean
is_guest_memory (const VtGuest *guest, guint64 iova)
{
  for (guint i = 0; i < guest->regions->len; i++) {
    const VtRegion *region = g_ptr_array_index (guest->regions, i);

    if (iova - region->gpa < region->size)
      return TRUE;
  }
  return FALSE;
}

/* Locked. */
static guint64
send_iotlb (VtIommu *iommu, guint8 type, guint64 iova, guint64 size,
            guint64 uva, guint8 access)
{
  const VdWireIotlb wire = {
    .iova = iova, .size = size, .uva = uva, .permission = access, .type = type
  };

  g_assert_true (vt_send (iommu->fe, VD_IOTLB_MSG,
                          VD_WIRE_VERSION | VD_FLAG_NEED_REPLY, &wire,
                          sizeof wire, NULL, 0));
  return vt_receive_ack (iommu->fe, VD_IOTLB_MSG);
}

static guint
allowed_at (VtIommu *iommu, guint64 page)
{
  gpointer access;

  if (!is_guest_memory (iommu->guest, page))
    return 0;
  if (g_hash_table_lookup_extended (iommu->allowed, GSIZE_TO_POINTER (page),
                                    NULL, &access))
    return GPOINTER_TO_UINT (access);
  return VT_IOMMU_READ | VT_IOMMU_WRITE;
}

/* Returns: the answer, 0: an update was sent.  Locked. */
static guint64
answer_miss (VtIommu *iommu, const VdWireIotlb *wire)
{
  guint64 page = wire->iova & ~(VT_IOMMU_PAGE - 1);
  guint allowed = allowed_at (iommu, page);

  if ((allowed & wire->permission) != wire->permission)
    return 1;
  if (atomic_load (&iommu->mode) == VT_IOMMU_GRANTS_ASKED)
    allowed = wire->permission;
  return send_iotlb (
      iommu, VT_IOMMU_UPDATE, page, VT_IOMMU_PAGE,
      vt_guest_uva (iommu->guest, vt_guest_ptr (iommu->guest, page)),
      (guint8) allowed);
}

static void
send_answer (VtIommu *iommu, guint32 request, guint64 value)
{
  const VdWireHeader header = { request, VD_REPLY_FLAGS, sizeof value };
  guint8 bytes[sizeof header + sizeof value];

  memcpy (bytes, &header, sizeof header);
  memcpy (bytes + sizeof header, &value, sizeof value);
  vt_socket_send (iommu->fe->channel, bytes, sizeof bytes, NULL, 0);
}

/* Returns: FALSE if the back-end closed the channel. */
static gboolean
take_message (VtIommu *iommu)
{
  VdWireHeader header;
  VdWireIotlb wire;
  guint64 answer = 0;

  if (vt_socket_receive (iommu->fe->channel, &header, sizeof header, NULL) <
      sizeof header)
    return FALSE;
  g_assert_cmpuint (header.request, ==, VD_BACKEND_IOTLB_MSG);
  g_assert_cmphex (header.flags & ~VD_FLAG_NEED_REPLY, ==, VD_WIRE_VERSION);
  g_assert_cmpuint (header.size, ==, sizeof wire);
  g_assert_cmpuint (
      vt_socket_receive (iommu->fe->channel, &wire, sizeof wire, NULL), ==,
      sizeof wire);
  if (wire.type == VT_IOMMU_ACCESS_FAIL) {
    atomic_fetch_add (&iommu->n_fails, 1);
    return TRUE;
  }
  g_assert_cmpuint (wire.type, ==, VT_IOMMU_MISS);
  g_assert_cmpuint (wire.permission, >=, VT_IOMMU_READ);
  g_assert_cmpuint (wire.permission, <=, VT_IOMMU_READ | VT_IOMMU_WRITE);
  atomic_fetch_add (&iommu->n_misses, 1);
  if (atomic_load (&iommu->mode) == VT_IOMMU_SILENT)
    return TRUE;
  answer = answer_miss (iommu, &wire);
  if (header.flags & VD_FLAG_NEED_REPLY)
    send_answer (iommu, header.request, answer);
  return TRUE;
}

static void *
iommu_thread (void *data)
{
  VtIommu *iommu = data;
  struct pollfd fds[] = { { iommu->end_fd, POLLIN, 0 },
                          { iommu->fe->channel, POLLIN, 0 } };
  gboolean open = TRUE;

  while (open) {
    g_assert_cmpint (poll (fds, G_N_ELEMENTS (fds), -1), >, 0);
    if (fds[0].revents)
      break;
    vt_iommu_lock (iommu);
    open = take_message (iommu);
    vt_iommu_unlock (iommu);
  }
  return NULL;
}

VtIommu *
vt_iommu_new (VtFrontend *fe, VtGuest *guest, guint64 features)
{
  const guint64 wanted =
      BIT (VD_PROTOCOL_F_MQ) | BIT (VD_PROTOCOL_F_REPLY_ACK) |
      BIT (VD_PROTOCOL_F_BACKEND_REQ) | BIT (VD_PROTOCOL_F_LOG_SHMFD) |
      BIT (VD_PROTOCOL_F_RESET_DEVICE) |
      BIT (VD_PROTOCOL_F_CONFIGURE_MEM_SLOTS);
  VtIommu *iommu = g_new0 (VtIommu, 1);

  iommu->fe = fe;
  iommu->guest = guest;
  iommu->allowed = g_hash_table_new (NULL, NULL);
  pthread_mutex_init (&iommu->lock, NULL);
  iommu->end_fd = eventfd (0, EFD_CLOEXEC);
  g_assert_cmphex (vt_get_features (fe) & F_PLATFORM, ==, F_PLATFORM);
  g_assert_true (
      vt_set_protocol_features (fe, vt_get_protocol_features (fe) & wanted));
  fe->reply_mode = VT_REPLY_SETS;
  g_assert_true (vt_set_backend_req_fd (fe));
  g_assert_true (vt_set_owner (fe));
  g_assert_true (vt_set_features (fe, F_VERSION_1 | F_PLATFORM | F_PROTOCOL |
                                          (features & fe->features)));
  for (guint i = 0; i < guest->regions->len; i++) {
    VtRegion region = *(VtRegion *) g_ptr_array_index (guest->regions, i);

    region.gpa += VT_IOMMU_SHIFT;
    g_assert_true (vt_add_mem_reg (fe, &region));
  }
  pthread_create (&iommu->thread, NULL, iommu_thread, iommu);
  return iommu;
}

void
vt_iommu_free (VtIommu *iommu)
{
  const guint64 one = 1;

  if (!iommu)
    return;
  g_assert_cmpint (write (iommu->end_fd, &one, sizeof one), ==, sizeof one);
  pthread_join (iommu->thread, NULL);
  close (iommu->end_fd);
  pthread_mutex_destroy (&iommu->lock);
  g_hash_table_unref (iommu->allowed);
  g_free (iommu);
}

/* Locked. */
static void
set_addr (VtIommu *iommu, const VtRing *ring)
{
  const VdWireVringAddr addr = {
    .index = ring->index,
    .desc = vt_guest_gpa (ring->guest, ring->desc),
    .used = vt_guest_gpa (ring->guest, ring->used),
    .avail = vt_guest_gpa (ring->guest, ring->avail),
    .log = vt_guest_gpa (ring->guest, ring->used),
  };

  g_assert_true (vt_send (iommu->fe, VD_SET_VRING_ADDR,
                          VD_WIRE_VERSION | VD_FLAG_NEED_REPLY, &addr,
                          sizeof addr, NULL, 0));
  g_assert_cmpuint (vt_receive_ack (iommu->fe, VD_SET_VRING_ADDR), ==, 0);
}

/* Locked. */
static void
update_page (VtIommu *iommu, const void *ptr)
{
  guint64 page = vt_guest_gpa (iommu->guest, ptr) & ~(VT_IOMMU_PAGE - 1);

  g_assert_cmpuint (
      send_iotlb (
          iommu, VT_IOMMU_UPDATE, page, VT_IOMMU_PAGE,
          vt_guest_uva (iommu->guest, vt_guest_ptr (iommu->guest, page)),
          (guint8) allowed_at (iommu, page)),
      ==, 0);
}

void
vt_iommu_start_ring (VtIommu *iommu, VtRing *ring)
{
  VtFrontend *fe = iommu->fe;

  vt_iommu_lock (iommu);
  g_assert_true (vt_set_vring_num (fe, ring->index, ring->size));
  g_assert_true (vt_set_vring_base (fe, ring->index, vt_ring_base (ring)));
  set_addr (iommu, ring);
  g_assert_true (vt_set_vring_call (fe, ring->index, ring->call_fd));
  g_assert_true (vt_set_vring_err (fe, ring->index, ring->err_fd));
  g_assert_true (vt_set_vring_kick (fe, ring->index, ring->kick_fd));
  g_assert_true (vt_set_vring_enable (fe, ring->index, TRUE));
  update_page (iommu, ring->used);
  vt_iommu_unlock (iommu);
}

guint32
vt_iommu_stop_ring (VtIommu *iommu, VtRing *ring)
{
  guint32 base;

  vt_iommu_lock (iommu);
  base = vt_get_vring_base (iommu->fe, ring->index);
  vt_iommu_unlock (iommu);
  return base;
}

void
vt_iommu_allow (VtIommu *iommu, const void *ptr, gsize len, guint access)
{
  guint64 iova = vt_guest_gpa (iommu->guest, ptr);

  vt_iommu_lock (iommu);
  for (guint64 page = iova & ~(VT_IOMMU_PAGE - 1); page < iova + len;
       page += VT_IOMMU_PAGE)
    g_hash_table_insert (iommu->allowed, GSIZE_TO_POINTER (page),
                         GUINT_TO_POINTER (access));
  vt_iommu_unlock (iommu);
}

guint64
vt_iommu_send (VtIommu *iommu, guint8 type, guint64 iova, guint64 size,
               guint64 uva, guint8 access)
{
  guint64 result;

  vt_iommu_lock (iommu);
  result = send_iotlb (iommu, type, iova, size, uva, access);
  vt_iommu_unlock (iommu);
  return result;
}

void
vt_iommu_update (VtIommu *iommu, const void *ptr, gsize len)
{
  const guint8 *at = ptr;

  vt_iommu_lock (iommu);
  for (gsize done = 0; done < len; done += VT_IOMMU_PAGE)
    update_page (iommu, at + done);
  update_page (iommu, at + len - 1);
  vt_iommu_unlock (iommu);
}

guint64
vt_iommu_invalidate (VtIommu *iommu, guint64 iova, guint64 size)
{
  return vt_iommu_send (iommu, VT_IOMMU_INVALIDATE, iova, size, 0, 0);
}

void
vt_iommu_set_mode (VtIommu *iommu, VtIommuMode mode)
{
  atomic_store (&iommu->mode, mode);
}

static void
wait_count (atomic_uint *count, guint n)
{
  gint64 end = g_get_monotonic_time () + VT_TIMEOUT_MS * 1000ll;

  while (atomic_load (count) < n) {
    g_assert_cmpint (g_get_monotonic_time (), <, end);
    g_usleep (100);
  }
}

void
vt_iommu_wait_misses (VtIommu *iommu, guint n)
{
  wait_count (&iommu->n_misses, n);
}

void
vt_iommu_wait_fail (VtIommu *iommu)
{
  wait_count (&iommu->n_fails, 1);
}
