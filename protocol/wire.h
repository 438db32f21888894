/* SPDX-License-Identifier: BSD-3-Clause
 *
 * wire.h - the bytes of vhost-user messages, and nothing else
 *
 * All fields are in host byte order, as the specification says.  A message is
 * read as a header, then a payload into its own aligned buffer, so no struct is
 * packed; the asserts prove that the compiler adds no padding.
 */
#pragma once

#include <assert.h>
#include <glib.h>
#include <stddef.h>

#define VD_PAYLOAD_MAX     4096 /* bytes; what any message may carry */
#define VD_MESSAGE_FDS     8    /* descriptors that one message may carry */
#define VD_MEM_TABLE_MAX   8    /* regions of SET_MEM_TABLE */
#define VD_WIRE_VERSION    0x1  /* bits 0-1 of a header's flags */
#define VD_FLAG_VERSION    0x3  /* mask of the version */
#define VD_FLAG_REPLY      0x4
#define VD_FLAG_NEED_REPLY 0x8
#define VD_REPLY_FLAGS     0x5 /* exactly what every front-end expects */

/* Front-end to back-end. */
typedef enum {
  VD_GET_FEATURES = 1,
  VD_SET_FEATURES = 2,
  VD_SET_OWNER = 3,
  VD_RESET_OWNER = 4,
  VD_SET_MEM_TABLE = 5,
  VD_SET_LOG_BASE = 6,
  VD_SET_LOG_FD = 7,
  VD_SET_VRING_NUM = 8,
  VD_SET_VRING_ADDR = 9,
  VD_SET_VRING_BASE = 10,
  VD_GET_VRING_BASE = 11,
  VD_SET_VRING_KICK = 12,
  VD_SET_VRING_CALL = 13,
  VD_SET_VRING_ERR = 14,
  VD_GET_PROTOCOL_FEATURES = 15,
  VD_SET_PROTOCOL_FEATURES = 16,
  VD_GET_QUEUE_NUM = 17,
  VD_SET_VRING_ENABLE = 18,
  VD_SEND_RARP = 19,
  VD_NET_SET_MTU = 20,
  VD_SET_BACKEND_REQ_FD = 21,
  VD_IOTLB_MSG = 22,
  VD_SET_VRING_ENDIAN = 23,
  VD_GET_CONFIG = 24,
  VD_SET_CONFIG = 25,
  VD_CREATE_CRYPTO_SESSION = 26,
  VD_CLOSE_CRYPTO_SESSION = 27,
  VD_POSTCOPY_ADVISE = 28,
  VD_POSTCOPY_LISTEN = 29,
  VD_POSTCOPY_END = 30,
  VD_GET_INFLIGHT_FD = 31,
  VD_SET_INFLIGHT_FD = 32,
  VD_GPU_SET_SOCKET = 33,
  VD_RESET_DEVICE = 34,
  VD_VRING_KICK = 35,
  VD_GET_MAX_MEM_SLOTS = 36,
  VD_ADD_MEM_REG = 37,
  VD_REM_MEM_REG = 38,
  VD_SET_STATUS = 39,
  VD_GET_STATUS = 40,
  VD_GET_SHARED_OBJECT = 41,
  VD_SET_DEVICE_STATE_FD = 42,
  VD_CHECK_DEVICE_STATE = 43,
  VD_GET_SHMEM_CONFIG = 44,
  VD_GET_VRING_BASE_SKIP_DRAIN = 45,
  VD_REQUEST_END /* one more than the last */
} VdRequest;

/* Back-end to front-end, on the back-end channel. */
typedef enum {
  VD_BACKEND_IOTLB_MSG = 1,
  VD_BACKEND_CONFIG_CHANGE_MSG = 2,
  VD_BACKEND_VRING_HOST_NOTIFIER_MSG = 3,
  VD_BACKEND_VRING_CALL = 4,
  VD_BACKEND_VRING_ERR = 5,
  VD_BACKEND_SHARED_OBJECT_ADD = 6,
  VD_BACKEND_SHARED_OBJECT_REMOVE = 7,
  VD_BACKEND_SHARED_OBJECT_LOOKUP = 8,
  VD_BACKEND_SHMEM_MAP = 9,
  VD_BACKEND_SHMEM_UNMAP = 10,
  VD_BACKEND_REQUEST_END
} VdBackendRequest;

/* Bit numbers of protocol features. */
typedef enum {
  VD_PROTOCOL_F_MQ = 0,
  VD_PROTOCOL_F_LOG_SHMFD = 1,
  VD_PROTOCOL_F_RARP = 2,
  VD_PROTOCOL_F_REPLY_ACK = 3,
  VD_PROTOCOL_F_MTU = 4,
  VD_PROTOCOL_F_BACKEND_REQ = 5,
  VD_PROTOCOL_F_CROSS_ENDIAN = 6,
  VD_PROTOCOL_F_CRYPTO_SESSION = 7,
  VD_PROTOCOL_F_PAGEFAULT = 8,
  VD_PROTOCOL_F_CONFIG = 9,
  VD_PROTOCOL_F_BACKEND_SEND_FD = 10,
  VD_PROTOCOL_F_HOST_NOTIFIER = 11,
  VD_PROTOCOL_F_INFLIGHT_SHMFD = 12,
  VD_PROTOCOL_F_RESET_DEVICE = 13,
  VD_PROTOCOL_F_INBAND_NOTIFICATIONS = 14,
  VD_PROTOCOL_F_CONFIGURE_MEM_SLOTS = 15,
  VD_PROTOCOL_F_STATUS = 16,
  VD_PROTOCOL_F_XEN_MMAP = 17,
  VD_PROTOCOL_F_SHARED_OBJECT = 18,
  VD_PROTOCOL_F_DEVICE_STATE = 19,
  VD_PROTOCOL_F_GET_VRING_BASE_INFLIGHT = 20,
  VD_PROTOCOL_F_GPA_ADDRESSES = 21,
  VD_PROTOCOL_F_SHMEM = 22,
  VD_PROTOCOL_F_GET_VRING_BASE_SKIP_DRAIN = 23,
} VdProtocolFeature;

/* Virtio feature bits of the vhost-user transport. */
#define VD_F_LOG_ALL           26 /* VHOST_F_LOG_ALL */
#define VD_F_PROTOCOL_FEATURES 30 /* VHOST_USER_F_PROTOCOL_FEATURES */

typedef struct {
  guint32 request; /* VdRequest, or VdBackendRequest on the back-end channel */
  guint32 flags;   /* version in bits 0-1, VD_FLAG_* */
  guint32 size;    /* bytes of payload, at most VD_PAYLOAD_MAX */
} VdWireHeader;
static_assert (sizeof (VdWireHeader) == 12, "vhost-user header");

/* SET_VRING_NUM, SET_VRING_BASE, SET_VRING_ENABLE, GET_VRING_BASE's reply. */
typedef struct {
  guint32 index;
  guint32 num;
} VdWireVringState;
static_assert (sizeof (VdWireVringState) == 8, "vring state");

/* SET_VRING_KICK, SET_VRING_CALL, SET_VRING_ERR: a u64. */
#define VD_VRING_INDEX_MASK 0xff
#define VD_VRING_NOFD_MASK  0x100

typedef struct {
  guint32 index;
  guint32 flags; /* VD_VRING_ADDR_LOG */
  guint64 desc;  /* uva of the descriptor table */
  guint64 used;  /* uva of the used ring */
  guint64 avail; /* uva of the available ring */
  guint64 log;   /* gpa at which writes to the used ring are logged */
} VdWireVringAddr;
static_assert (sizeof (VdWireVringAddr) == 40, "vring addresses");
#define VD_VRING_ADDR_LOG 0x1 /* VHOST_VRING_F_LOG */

typedef struct {
  guint64 gpa;    /* guest physical address */
  guint64 size;   /* bytes */
  guint64 uva;    /* address in the front-end */
  guint64 offset; /* bytes into the descriptor's file */
} VdWireRegion;
static_assert (sizeof (VdWireRegion) == 32, "memory region");

/* SET_MEM_TABLE: one descriptor a region; may be longer than n_regions says. */
typedef struct {
  guint32 n_regions;
  guint32 padding;
  VdWireRegion regions[];
} VdWireMemTable;
static_assert (sizeof (VdWireMemTable) == 8, "memory table");

/* ADD_MEM_REG, REM_MEM_REG. */
typedef struct {
  guint64 padding;
  VdWireRegion region;
} VdWireMemReg;
static_assert (sizeof (VdWireMemReg) == 40, "single memory region");

/* SET_LOG_BASE. */
typedef struct {
  guint64 size;   /* bytes of the log */
  guint64 offset; /* bytes into the descriptor's file */
} VdWireLog;
static_assert (sizeof (VdWireLog) == 16, "log");

/* GET_CONFIG, SET_CONFIG and their replies: a window of config space. */
typedef struct {
  guint32 offset;   /* bytes from the start of config space */
  guint32 size;     /* bytes of payload[]; 0 in a reply means failure */
  guint32 flags;    /* VD_CONFIG_FLAG_*; SET_CONFIG only */
  guint8 payload[]; /* little-endian fields of the device's config struct */
} VdWireConfig;
static_assert (sizeof (VdWireConfig) == 12, "config window");
static_assert (offsetof (VdWireConfig, payload) == 12, "no padding");
#define VD_CONFIG_FLAG_WRITABLE  0 /* the driver writes */
#define VD_CONFIG_FLAG_MIGRATION 1 /* the incoming side of a migration */

/* GET_INFLIGHT_FD, SET_INFLIGHT_FD; 20 bytes in older texts. */
typedef struct {
  guint64 mmap_size;
  guint64 mmap_offset;
  guint16 n_queues;
  guint16 queue_size;
  guint8 padding[4];
} VdWireInflight;
static_assert (sizeof (VdWireInflight) == 24, "in-flight region");

/* IOTLB_MSG on both channels: the kernel's struct vhost_iotlb_msg. */
typedef struct {
  guint64 iova;
  guint64 size;
  guint64 uva;
  guint8 permission;
  guint8 type;
  guint8 padding[6];
} VdWireIotlb;
static_assert (sizeof (VdWireIotlb) == 32, "IOTLB message");
#define VD_IOTLB_SIZE_MIN    26 /* without the padding */
#define VD_IOTLB_MISS        1
#define VD_IOTLB_UPDATE      2
#define VD_IOTLB_INVALIDATE  3
#define VD_IOTLB_ACCESS_FAIL 4

/* SET_DEVICE_STATE_FD. */
typedef struct {
  guint32 direction; /* 0 save, 1 load */
  guint32 phase;     /* 0 stopped */
} VdWireDeviceState;
static_assert (sizeof (VdWireDeviceState) == 8, "device state transfer");

/* GET_SHARED_OBJECT and the back-end's SHARED_OBJECT_*: a UUID. */
typedef struct {
  guint8 uuid[16];
} VdWireObject;
static_assert (sizeof (VdWireObject) == 16, "shared object");

/* Reply of GET_SHMEM_CONFIG. */
typedef struct {
  guint32 n_regions;
  guint32 padding;
  guint64 sizes[256]; /* by shared-memory id; 0: none */
} VdWireShmemConfig;
static_assert (sizeof (VdWireShmemConfig) == 2056, "shared-memory regions");

/* Back-end's SHMEM_MAP, SHMEM_UNMAP. */
typedef struct {
  guint8 id;
  guint8 padding[7];
  guint64 fd_offset;
  guint64 shm_offset;
  guint64 len;
  guint64 flags;
} VdWireShmemMap;
static_assert (sizeof (VdWireShmemMap) == 40, "shared-memory map");
#define VD_SHMEM_MAP_RW 0x1 /* of flags: the driver may write */

/* Back-end's VRING_HOST_NOTIFIER_MSG. */
typedef struct {
  guint64 index;
  guint64 size;
  guint64 offset;
} VdWireHostNotifier;
static_assert (sizeof (VdWireHostNotifier) == 24, "host notifier");
