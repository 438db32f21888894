/* SPDX-License-Identifier: BSD-3-Clause
 *
 * session.h - one front-end's connection to one device
 *
 * The vhost-user state machine: messages in, replies out, rings started and
 * stopped.  A message that needs the data plane parks the connection until the
 * queues answered; nothing here blocks.  CONTROL.
 */
#pragma once

#include <glib.h>

#include "devices/device.h"

typedef struct VdSession VdSession;

/* The session has ended: all queues have stopped, the connection is closed and
 * @session is freed after the call.
 * @useful: whether the front-end had said anything */
typedef void (*VdSessionClosed) (VdSession *session, gboolean useful,
                                 gpointer user_data);

/* @dev: (transfer none): outlives the session and has no other
 * @fd: (transfer full): connected */
VdSession *vd_session_new (VdDevice *dev, int fd, VdSessionClosed closed,
                           gpointer user_data);

/* Ends the session: @closed is called once the queues have stopped, from the
 * main loop or, if nothing has to be awaited, at once. */
void vd_session_close (VdSession *session);

/* Appends what SIGUSR1 tells of it. */
void vd_session_dump (const VdSession *session, GString *text);

/* For the device's services. */
extern const VdServices vd_session_services;
