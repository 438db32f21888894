/* SPDX-License-Identifier: BSD-3-Clause
 *
 * frontend.h - a strict vhost-user front-end, for tests
 *
 * One function for each message, named like it, encodes it with the structs of
 * protocol/wire.h and nothing else of the tree.  Replies are checked as the
 * strictest front-ends do: flags exactly 0x5, the request echoed, the exact
 * size.  A wrong or missing reply fails the test; nothing waits longer than
 * VT_TIMEOUT_MS.  conversation.h plays whole lives of known front-ends.
 */
#pragma once

#include "protocol/wire.h"
#include "tests/lib/ring.h"
#include "tests/lib/socket.h"

typedef enum {
  VT_REPLY_NEVER, /* NEED_REPLY is not set */
  VT_REPLY_SETS,  /* on messages without a reply of their own */
  VT_REPLY_ALL,   /* on all, as rust-vmm's front-ends do */
} VtReplyMode;

/* Fields are for tests to read, and to set where noted. */
typedef struct {
  int fd;
  VtReplyMode reply_mode;    /* set; has effect once REPLY_ACK is acked */
  guint64 features;          /* as last offered by GET_FEATURES */
  guint64 acked;             /* as last sent by SET_FEATURES */
  guint64 protocol_features; /* acked */
  int channel;               /* our end of the back-end channel, or -1 */
  guint n_config_changes;    /* CONFIG_CHANGE messages received */

  /* conversation.h */
  guint order;
  guint64 refuse;   /* set: features that the driver never acks */
  guint n_queues;   /* set: rings that the front-end owns; 0: all there are */
  gboolean resets;  /* set: RESET_DEVICE at the start and after each stop */
  guint config_len; /* set: bytes of config space to read; 0: none */
  gboolean has_memory; /* the memory was sent in this connection */
  VtGuest *guest;
  VtRing **rings;
  guint n_rings;
} VtFrontend;

/* @fd: (transfer full): a connected socket, of vt_connect() or vt_accept() */
VtFrontend *vt_frontend_new (int fd);
/* Closes the connection; NULL is fine. */
void vt_frontend_free (VtFrontend *fe);

/* --- Raw bytes, for conversations that break the rules --- */

/* Sends @len bytes, with @fds attached to the first of them.
 * Returns: FALSE if the back-end closed the connection. */
gboolean vt_send_bytes (VtFrontend *fe, const void *bytes, gsize len,
                        const int *fds, guint n_fds);

/* Sends a header with any flags, and @size bytes of payload. */
gboolean
vt_send (VtFrontend *fe, guint32 request, guint32 flags, const void *payload,
         guint32 size, const int *fds, guint n_fds);

/* Waits for @len bytes.  @fd: (out) (optional): a descriptor that came along,
 * or -1.  Returns: the bytes read, less than @len if the connection ended. */
gsize vt_receive_bytes (VtFrontend *fe, void *to, gsize len, int *fd);

/* Waits for the reply to @request with exactly @size bytes. */
void vt_receive (VtFrontend *fe, guint32 request, void *payload, guint32 size);

/* Waits for an ack.  Returns: its value, 0: success. */
guint64 vt_receive_ack (VtFrontend *fe, guint32 request);

/* Waits until the back-end closes the connection.  Returns: the number of bytes
 * that came before. */
gsize vt_wait_closed (VtFrontend *fe);

/* Whether nothing, neither bytes nor an end, comes for @ms milliseconds. */
gboolean vt_is_silent (VtFrontend *fe, int ms);

/* --- Messages --- */

/* Functions that return gboolean: FALSE if NEED_REPLY was set and the ack says
 * failure. */

guint64 vt_get_features (VtFrontend *fe);
gboolean vt_set_features (VtFrontend *fe, guint64 features);
guint64 vt_get_protocol_features (VtFrontend *fe);
gboolean vt_set_protocol_features (VtFrontend *fe, guint64 features);
gboolean vt_set_owner (VtFrontend *fe);
gboolean vt_reset_owner (VtFrontend *fe);
gboolean vt_reset_device (VtFrontend *fe);
guint64 vt_get_queue_num (VtFrontend *fe);
guint64 vt_get_max_mem_slots (VtFrontend *fe);

/* @n_slots: regions that the payload has room for, at least those of @guest */
gboolean vt_set_mem_table (VtFrontend *fe, VtGuest *guest, guint n_slots);
gboolean vt_add_mem_reg (VtFrontend *fe, const VtRegion *region);
gboolean vt_rem_mem_reg (VtFrontend *fe, const VtRegion *region);

gboolean vt_set_vring_num (VtFrontend *fe, guint index, guint32 num);
gboolean vt_set_vring_base (VtFrontend *fe, guint index, guint32 base);
gboolean vt_set_vring_addr (VtFrontend *fe, VtRing *ring);
/* @fd: -1: NOFD */
gboolean vt_set_vring_kick (VtFrontend *fe, guint index, int fd);
gboolean vt_set_vring_call (VtFrontend *fe, guint index, int fd);
gboolean vt_set_vring_err (VtFrontend *fe, guint index, int fd);
gboolean vt_set_vring_enable (VtFrontend *fe, guint index, gboolean enable);
guint32 vt_get_vring_base (VtFrontend *fe, guint index);
/* Its two halves, to see what happens in between. */
void vt_send_get_vring_base (VtFrontend *fe, guint index);
guint32 vt_receive_vring_base (VtFrontend *fe, guint index);

/* Returns: FALSE if the reply says failure. */
gboolean vt_get_config (VtFrontend *fe, guint32 offset, void *to, guint32 len);
gboolean vt_get_config_flags (VtFrontend *fe, guint32 offset, void *to,
                              guint32 len, guint32 flags);
gboolean vt_set_config (VtFrontend *fe, guint32 offset, const void *from,
                        guint32 len, guint32 flags);

/* --- Recovery and migration --- */

/* Asks for fresh in-flight memory.  @ret: (out): where it lies in the file
 * Returns: (transfer full): the file */
int vt_get_inflight_fd (VtFrontend *fe, guint n_queues, guint queue_size,
                        VdWireInflight *ret);
gboolean
vt_set_inflight_fd (VtFrontend *fe, const VdWireInflight *inflight, int fd);

/* Waits for the reply, which repeats the request. */
void vt_set_log_base (VtFrontend *fe, int fd, guint64 size, guint64 offset);
/* SET_VRING_ADDR of a ring whose own writes are logged. */
gboolean vt_set_vring_addr_logged (VtFrontend *fe, VtRing *ring);

typedef enum { VT_STATE_SAVE = 0, VT_STATE_LOAD = 1 } VtStateDirection;

/* @fd: (transfer none)
 * Returns: whether the back-end will use it */
gboolean
vt_set_device_state_fd (VtFrontend *fe, VtStateDirection direction, int fd);
/* Its two halves. */
void vt_send_set_device_state_fd (VtFrontend *fe, VtStateDirection direction,
                                  int fd);
gboolean vt_receive_set_device_state_fd (VtFrontend *fe);
/* Returns: whether the transfer succeeded. */
gboolean vt_check_device_state (VtFrontend *fe);
/* Its two halves. */
void vt_send_check_device_state (VtFrontend *fe);
gboolean vt_receive_check_device_state (VtFrontend *fe);

/* Returns when the back-end has handled all messages so far. */
void vt_barrier (VtFrontend *fe);

/* --- The back-end channel --- */

gboolean vt_set_backend_req_fd (VtFrontend *fe);

/* Waits for a message on the channel and acks it if it asks for that.
 * Returns: the request, or 0 if none came in @timeout_ms. */
guint32 vt_channel_receive (VtFrontend *fe, int timeout_ms);

/* Fails the test if the next message on the channel is not CONFIG_CHANGE. */
void vt_wait_config_change (VtFrontend *fe);

G_DEFINE_AUTOPTR_CLEANUP_FUNC (VtFrontend, vt_frontend_free)
