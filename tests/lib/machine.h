/* SPDX-License-Identifier: BSD-3-Clause
 *
 * machine.h - a fake virtual machine: memory and rings as a known front-end has
 * them, and its connection to one device
 */
#pragma once

#include "tests/lib/conversation.h"
#include "tests/lib/daemon.h"

#define VT_MACHINE_RINGS 4

typedef struct {
  VtOrder order;
  VtGuest *guest;
  VtRing *rings[VT_MACHINE_RINGS];
  guint n_rings;
  VtFrontend *fe; /* NULL: not connected */
} VtMachine;

/* @flags: EVENT_IDX, INDIRECT; what the front-end's descriptors are like is
 *   added
 * @n_rings: numbered from 0 */
VtMachine *
vt_machine_new (VtOrder order, VtRingFlags flags, guint n_rings, guint16 size);
void vt_machine_free (VtMachine *machine); /* NULL is fine */

/* Connects and says all that comes before a driver.
 * @config_len: bytes of config space to read, 0: none */
void vt_machine_connect (VtMachine *machine, VtDaemon *daemon, const char *id,
                         guint config_len);
/* The same on a connected socket.  @fd: (transfer full) */
void vt_machine_hello (VtMachine *machine, int fd, guint config_len);

/* A driver starts, on rings that are empty. */
void vt_machine_start (VtMachine *machine);
/* It stops; checks the bases if the front-end learns them. */
void vt_machine_stop (VtMachine *machine);
/* The front-end goes away without a word. */
void vt_machine_disconnect (VtMachine *machine);

G_DEFINE_AUTOPTR_CLEANUP_FUNC (VtMachine, vt_machine_free)
