/* SPDX-License-Identifier: BSD-3-Clause
 *
 * chain-rig.h - one ring of either format with the echo device, and memory for
 * chains that a test writes by hand
 */
#pragma once

#include "tests/lib/desc.h"
#include "tests/lib/echo.h"

#define VT_CHAIN_MEMORY  (16ul << 20) /* bytes of guest memory at VT_GPA_BASE */
#define VT_CHAIN_NOWHERE 0x20000000   /* a gpa without memory */
#define VT_CHAIN_TABLE   2000         /* entries of the table */

typedef struct {
  VtGuest *guest;
  VtRing *ring; /* 16 entries; packed: 12 */
  VtEcho echo;
  VtQueueRig rig;
  guint8 *data; /* a page of guest memory, and its gpa */
  guint64 gpa;
  void *table; /* for indirect descriptors, and its gpa */
  guint64 table_gpa;
} VtChainRig;

void vt_chain_rig_init (VtChainRig *f, VtRingFlags flags);
void vt_chain_rig_clear (VtChainRig *f);

/* Runs a chain within the rules, to see that the started ring works. */
void vt_chain_rig_echo (VtChainRig *f);

/* Returns: a descriptor of an indirect table that has @n entries. */
VtDesc vt_chain_rig_indirect (VtChainRig *f, guint n);

/* Writes a table of @n buffers of a byte, the first half readable: they begin
 * where data does.  Returns: its descriptor. */
VtDesc vt_chain_rig_long_table (VtChainRig *f, guint n);

/* Returns: an address for noise, often a good one, sometimes the ring's. */
guint64 vt_chain_rig_random_gpa (VtChainRig *f);
