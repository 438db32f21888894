/* SPDX-License-Identifier: BSD-3-Clause
 *
 * echo-fixture.h - a driver and a queue of the echoing device (tests/lib/echo.h), on
 * rings of every kind
 */
#pragma once

#include "tests/lib/echo.h"
#include "vring/queue.h"

#define RING_SIZE 128
#define ODD_SIZE  100 /* of packed rings, which may have it */
#define MIB       (1ul << 20)

typedef struct {
  gboolean force_poll;
  VtRingFlags flags;
} VtEchoConfig;

typedef struct {
  VtGuest *guest;
  VtRing *ring;
  VtEcho echo;
  VtQueueRig rig;
  GPtrArray *requests; /* owned */
} VtEchoFixture;

/* One request of @len bytes each way. */
typedef struct {
  guint8 *out, *in;
  guint32 out_len, in_len;
} VtEchoRequest;

/* Returns: (transfer none): with random bytes to send */
VtEchoRequest *vt_echo_request_new (VtEchoFixture *f, guint32 len);
/* Makes it available on @ring, without a kick. */
void vt_echo_request_add (VtRing *ring, VtEchoRequest *request);
/* Checks what the device wrote to the first @written bytes. */
void vt_echo_request_check (const VtEchoRequest *request, guint32 written);

/* Adds @n requests and notifies. */
void vt_echo_add (VtEchoFixture *f, guint n);
/* Waits for @n and checks them. */
void vt_echo_take (VtEchoFixture *f, guint n);

void vt_echo_start_disabled (VtEchoFixture *f);

/* Adds the test /GROUP/NAME/... for each kind of ring and of waiting. */
void vt_echo_add_test (const char *group, const char *name,
                       void (*func) (VtEchoFixture *, gconstpointer));
