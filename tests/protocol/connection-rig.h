/* SPDX-License-Identifier: BSD-3-Clause
 *
 * connection-rig.h - a connection and its peer, the other end of a socketpair
 *
 * The tear-down counts this process's descriptors, so that a leak on any path
 * fails the test.
 */
#pragma once

#include "protocol/connection.h"

#define RIG_REQUEST 77 /* the connection does not care */

typedef struct {
  guint n_fds_before;
  int null; /* a descriptor to pass around */
  int peer; /* -1: closed by the test */
  VdConnection *connection;
  VdMessage message;
} ConnectionRig;

void connection_rig_set_up (ConnectionRig *f, gconstpointer data);
void connection_rig_tear_down (ConnectionRig *f, gconstpointer data);
guint connection_rig_count_fds (void);

/* The peer's side */

/* Sends all of it at once, with @n_fds descriptors. */
void
rig_peer_send (ConnectionRig *f, const void *bytes, gsize size, guint n_fds);

/* Makes a message whose @size bytes of payload count upwards.
 * Returns: its bytes. */
gsize rig_make_message (guint8 *to, guint32 size);

/* Does not wait.  Returns: as recvmsg(). */
gssize rig_peer_receive (ConnectionRig *f, void *to, gsize size, int *ret_fd);

/* The connection's side */

/* Reads once to f->message. */
void rig_assert_read (ConnectionRig *f, VdReadResult expected);

/* f->message is that of rig_make_message(), with @n_fds descriptors; clears it. */
void rig_assert_message (ConnectionRig *f, guint32 size, guint n_fds);
