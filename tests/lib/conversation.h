/* SPDX-License-Identifier: BSD-3-Clause
 *
 * conversation.h - whole lives of known front-ends: which message when
 *
 * The orders and habits are those measured between the real programs.  A life
 * is vt_frontend_hello() once for a connection, then any number of
 * vt_frontend_start() and vt_frontend_stop(), one for each time that a driver
 * binds (firmware, then the kernel; a reboot).
 */
#pragma once

#include "tests/lib/frontend.h"

typedef enum {
  VT_ORDER_QEMU_7,   /* 7.2: CALL, KICK, ENABLE without NEED_REPLY */
  VT_ORDER_QEMU_11,  /* with it */
  VT_ORDER_UML_6,    /* 6.1: no MQ, a memory table with an unused slot */
  VT_ORDER_UML_7,    /* 7.2 */
  VT_ORDER_LIBBLKIO, /* features first; memory slots; late memory */
  VT_ORDER_CLOUD_HYPERVISOR, /* ADDR before BASE; the channel last */
  VT_N_ORDERS
} VtOrder;

/* "qemu-7.2" */
const char *vt_order_name (VtOrder order);

/* How that front-end makes its call and kick descriptors. */
VtRingFlags vt_order_ring_flags (VtOrder order);

/* Everything up to the time when a driver starts.
 * @guest: (transfer none): whose regions will be sent
 * @rings: (transfer none): which the driver will use; ring->index may leave
 *   gaps, as firmware uses only the first queue */
void vt_frontend_hello (VtFrontend *fe, VtOrder order, VtGuest *guest,
                        VtRing *const *rings, guint n_rings);

/* Starts a driver that acks all that is offered except fe->refuse; EVENT_IDX
 * and RING_PACKED are acked if the first ring has them.  The rings begin where
 * they are, so reset them for a new driver. */
void vt_frontend_start (VtFrontend *fe);

/* Stops it.
 * Returns: whether the bases of the rings were learned; then @bases, which has
 * an element for each ring, is filled if it is not NULL. */
gboolean vt_frontend_stop (VtFrontend *fe, guint32 *bases);
