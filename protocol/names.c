/* SPDX-License-Identifier: BSD-3-Clause
 *
 * names.c - tables of names, indexed by number
 */
#define G_LOG_DOMAIN "virtiod-protocol"

#include "protocol/names.h"

#include "protocol/message.h"

#include <linux/virtio_ids.h>

#define UNKNOWN "?"

static const char *const backend_requests[] = {
  [VD_BACKEND_IOTLB_MSG] = "IOTLB_MSG",
  [VD_BACKEND_CONFIG_CHANGE_MSG] = "CONFIG_CHANGE_MSG",
  [VD_BACKEND_VRING_HOST_NOTIFIER_MSG] = "VRING_HOST_NOTIFIER_MSG",
  [VD_BACKEND_VRING_CALL] = "VRING_CALL",
  [VD_BACKEND_VRING_ERR] = "VRING_ERR",
  [VD_BACKEND_SHARED_OBJECT_ADD] = "SHARED_OBJECT_ADD",
  [VD_BACKEND_SHARED_OBJECT_REMOVE] = "SHARED_OBJECT_REMOVE",
  [VD_BACKEND_SHARED_OBJECT_LOOKUP] = "SHARED_OBJECT_LOOKUP",
  [VD_BACKEND_SHMEM_MAP] = "SHMEM_MAP",
  [VD_BACKEND_SHMEM_UNMAP] = "SHMEM_UNMAP",
};
static_assert (G_N_ELEMENTS (backend_requests) == VD_BACKEND_REQUEST_END,
               "a name per request");

static const char *const protocol_features[] = {
  [VD_PROTOCOL_F_MQ] = "MQ",
  [VD_PROTOCOL_F_LOG_SHMFD] = "LOG_SHMFD",
  [VD_PROTOCOL_F_RARP] = "RARP",
  [VD_PROTOCOL_F_REPLY_ACK] = "REPLY_ACK",
  [VD_PROTOCOL_F_MTU] = "MTU",
  [VD_PROTOCOL_F_BACKEND_REQ] = "BACKEND_REQ",
  [VD_PROTOCOL_F_CROSS_ENDIAN] = "CROSS_ENDIAN",
  [VD_PROTOCOL_F_CRYPTO_SESSION] = "CRYPTO_SESSION",
  [VD_PROTOCOL_F_PAGEFAULT] = "PAGEFAULT",
  [VD_PROTOCOL_F_CONFIG] = "CONFIG",
  [VD_PROTOCOL_F_BACKEND_SEND_FD] = "BACKEND_SEND_FD",
  [VD_PROTOCOL_F_HOST_NOTIFIER] = "HOST_NOTIFIER",
  [VD_PROTOCOL_F_INFLIGHT_SHMFD] = "INFLIGHT_SHMFD",
  [VD_PROTOCOL_F_RESET_DEVICE] = "RESET_DEVICE",
  [VD_PROTOCOL_F_INBAND_NOTIFICATIONS] = "INBAND_NOTIFICATIONS",
  [VD_PROTOCOL_F_CONFIGURE_MEM_SLOTS] = "CONFIGURE_MEM_SLOTS",
  [VD_PROTOCOL_F_STATUS] = "STATUS",
  [VD_PROTOCOL_F_XEN_MMAP] = "XEN_MMAP",
  [VD_PROTOCOL_F_SHARED_OBJECT] = "SHARED_OBJECT",
  [VD_PROTOCOL_F_DEVICE_STATE] = "DEVICE_STATE",
  [VD_PROTOCOL_F_GET_VRING_BASE_INFLIGHT] = "GET_VRING_BASE_INFLIGHT",
  [VD_PROTOCOL_F_GPA_ADDRESSES] = "GPA_ADDRESSES",
  [VD_PROTOCOL_F_SHMEM] = "SHMEM",
  [VD_PROTOCOL_F_GET_VRING_BASE_SKIP_DRAIN] = "GET_VRING_BASE_SKIP_DRAIN",
};
static_assert (G_N_ELEMENTS (protocol_features) ==
                   VD_PROTOCOL_F_GET_VRING_BASE_SKIP_DRAIN + 1,
               "a name per feature");

static const char *const virtio_ids[] = {
  [VIRTIO_ID_NET] = "net",
  [VIRTIO_ID_BLOCK] = "block",
  [VIRTIO_ID_CONSOLE] = "console",
  [VIRTIO_ID_RNG] = "rng",
  [VIRTIO_ID_BALLOON] = "balloon",
  [VIRTIO_ID_IOMEM] = "iomem",
  [VIRTIO_ID_RPMSG] = "rpmsg",
  [VIRTIO_ID_SCSI] = "scsi",
  [VIRTIO_ID_9P] = "9p",
  [VIRTIO_ID_MAC80211_WLAN] = "mac80211-wlan",
  [VIRTIO_ID_RPROC_SERIAL] = "rproc-serial",
  [VIRTIO_ID_CAIF] = "caif",
  [VIRTIO_ID_MEMORY_BALLOON] = "memory-balloon",
  [VIRTIO_ID_GPU] = "gpu",
  [VIRTIO_ID_CLOCK] = "clock",
  [VIRTIO_ID_INPUT] = "input",
  [VIRTIO_ID_VSOCK] = "vsock",
  [VIRTIO_ID_CRYPTO] = "crypto",
  [VIRTIO_ID_SIGNAL_DIST] = "signal-dist",
  [VIRTIO_ID_PSTORE] = "pstore",
  [VIRTIO_ID_IOMMU] = "iommu",
  [VIRTIO_ID_MEM] = "mem",
  [VIRTIO_ID_SOUND] = "sound",
  [VIRTIO_ID_FS] = "fs",
  [VIRTIO_ID_PMEM] = "pmem",
  [VIRTIO_ID_RPMB] = "rpmb",
  [VIRTIO_ID_MAC80211_HWSIM] = "mac80211-hwsim",
  [VIRTIO_ID_VIDEO_ENCODER] = "video-encoder",
  [VIRTIO_ID_VIDEO_DECODER] = "video-decoder",
  [VIRTIO_ID_SCMI] = "scmi",
  [VIRTIO_ID_NITRO_SEC_MOD] = "nitro-sec-mod",
  [VIRTIO_ID_I2C_ADAPTER] = "i2c",
  [VIRTIO_ID_WATCHDOG] = "watchdog",
  [VIRTIO_ID_CAN] = "can",
  [VIRTIO_ID_DMABUF] = "dmabuf",
  [VIRTIO_ID_PARAM_SERV] = "param-serv",
  [VIRTIO_ID_AUDIO_POLICY] = "audio-policy",
  [VIRTIO_ID_BT] = "bluetooth",
  [VIRTIO_ID_GPIO] = "gpio",
};

static const char *
name_of (const char *const names[], gsize n, guint32 number)
{
  return number < n && names[number] != NULL ? names[number] : UNKNOWN;
}

const char *
vd_request_name (guint32 request)
{
  const VdMessageRule *rule = vd_message_rule (request);

  return rule != NULL ? rule->name : UNKNOWN;
}

const char *
vd_backend_request_name (guint32 request)
{
  return name_of (backend_requests, G_N_ELEMENTS (backend_requests), request);
}

const char *
vd_protocol_feature_name (guint bit)
{
  return name_of (protocol_features, G_N_ELEMENTS (protocol_features), bit);
}

const char *
vd_virtio_id_name (guint id)
{
  return name_of (virtio_ids, G_N_ELEMENTS (virtio_ids), id);
}
