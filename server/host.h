/* SPDX-License-Identifier: BSD-3-Clause
 *
 * host.h - one device of the server: its listener and its session
 *
 * A device has one front-end at a time; while it is connected, the next one
 * waits in the socket's backlog.  CONTROL.
 */
#pragma once

#include <glib.h>

#include "server/config.h"

typedef struct VdHost VdHost;

/* @config: (transfer none), a reference is kept
 * @dev: (transfer full): its device, just opened
 * @control: (transfer none): where the device's threads post to
 * @seccomp: (transfer none): what its threads are restricted by; outlives it */
VdHost *vd_host_new (VdDeviceConfig *config, VdDevice *dev, VdMailbox *control,
                     const VdSeccomp *seccomp);

/* Opens the socket and waits for front-ends. */
gboolean vd_host_listen (VdHost *host, GError **error);

/* Calls @left each time a front-end has left, instead of waiting for the next
 * one; it may stop and free the host. */
void
vd_host_on_left (VdHost *host, void (*left) (gpointer data), gpointer data);

/* Closes the socket and the session.  @stopped is called, at once or later,
 * when the session has ended; the host may then be freed. */
void vd_host_stop (VdHost *host, void (*stopped) (VdHost *host, gpointer data),
                   gpointer data);

/* Closes the device.  There is no session any more; NULL is fine. */
void vd_host_free (VdHost *host);

/* Takes a new configuration of the same id, or keeps the old one and fails. */
gboolean vd_host_reload (VdHost *host, VdDeviceConfig *config, GError **error);

/* Returns: (transfer none): the current configuration. */
const VdDeviceConfig *vd_host_config (const VdHost *host);

/* Writes the state of device and session to the log. */
void vd_host_dump (const VdHost *host);

G_DEFINE_AUTOPTR_CLEANUP_FUNC (VdHost, vd_host_free)
