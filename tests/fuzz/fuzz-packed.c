/* SPDX-License-Identifier: BSD-3-Clause
 *
 * fuzz-packed.c - a driver that writes anything to a packed ring and its memory
 */
#include "tests/fuzz/ring-input.h"

int
LLVMFuzzerTestOneInput (const uint8_t *data, size_t size)
{
  fz_ring_run (data, size, TRUE, FALSE);
  return 0;
}
