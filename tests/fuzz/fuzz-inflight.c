/* SPDX-License-Identifier: BSD-3-Clause
 *
 * fuzz-inflight.c - recovery from in-flight memory that may hold anything
 *
 * The first byte chooses the format of ring and memory.
 */
#include "tests/fuzz/ring-input.h"

int
LLVMFuzzerTestOneInput (const uint8_t *data, size_t size)
{
  if (size > 0)
    fz_ring_run (data + 1, size - 1, data[0] & 1, TRUE);
  return 0;
}
