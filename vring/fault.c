/* SPDX-License-Identifier: BSD-3-Clause */
#include "vring/fault.h"

#include "vring/queue-private.h"

void
vd_chain_fault (VdChain *chain)
{
  vd_map_touch (chain->epoch->map);
}

gboolean
vd_chain_is_lost (const VdChain *chain)
{
  return vd_map_is_lost (chain->epoch->map);
}
