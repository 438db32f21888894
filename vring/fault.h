/* SPDX-License-Identifier: BSD-3-Clause
 *
 * fault.h - system calls that cannot reach a chain's buffers
 */
#pragma once

#include "vring/chain.h"

/* QUEUE: a system call on @chain's buffers failed with EFAULT; @chain is not
 * completed yet.  If the front-end truncated the guest's memory, that memory is
 * lost as if a thread had touched it (vring/sigbus.h), and each queue that uses
 * it breaks in its next turn.  Memory that is whole stays, and then the failure
 * is the request's alone. */
void vd_chain_fault (VdChain *chain);

/* QUEUE: whether @chain's memory was lost, so that zeroes may have taken the
 * place of what was just copied out of it; @chain is not completed yet. */
gboolean vd_chain_is_lost (const VdChain *chain);
