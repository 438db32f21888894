/* SPDX-License-Identifier: BSD-3-Clause
 *
 * chain.c - descriptors to buffers, and completion
 */
#include "vring/queue-private.h"

#include <string.h>

void
vd_chain_begin (VdChainBuilder *builder, VdChain *chain)
{
  *builder = (VdChainBuilder){
    .chain = chain,
    .iov = chain->few,
    .n_max = VD_CHAIN_FEW,
  };
  chain->n_out = chain->n_in = 0;
  chain->out_len = chain->in_len = 0;
}

/* Continues in the slot's arena.  Returns: FALSE if that is full as well. */
static gboolean
builder_grow (VdChainBuilder *builder)
{
  VdChain *chain = builder->chain;

  if (builder->iov == chain->arena)
    return FALSE;
  memcpy (chain->arena, chain->few, sizeof chain->few);
  builder->iov = chain->arena;
  builder->n_max = VD_CHAIN_IOV;
  return TRUE;
}

const char *
vd_chain_append (VdChainBuilder *builder, guint64 gpa, guint32 len,
                 gboolean writable)
{
  VdChain *chain = builder->chain;
  guint64 left = len;

  if (++builder->n_desc > VD_CHAIN_MAX)
    return "a chain is too long";
  if (!writable && chain->n_in > 0)
    return "a readable buffer follows a writable one";
  while (left > 0) {
    guint64 n = left;
    void *at = vd_queue_translate (chain->queue, gpa, &n);

    if (at == NULL)
      return "a buffer lies outside guest memory";
    if (builder->n_iov == builder->n_max && !builder_grow (builder))
      return "a chain has too many buffers";
    builder->iov[builder->n_iov++] = (struct iovec){ at, n };
    if (writable)
      chain->n_in++;
    else
      chain->n_out++;
    gpa += n;
    left -= n;
  }
  if (writable)
    chain->in_len += len;
  else
    chain->out_len += len;
  return NULL;
}

void
vd_chain_end (VdChainBuilder *builder)
{
  builder->chain->out = builder->iov;
  builder->chain->in = builder->iov + builder->chain->n_out;
}

void
vd_chain_complete (VdChain *chain, guint32 written)
{
  VdQueue *queue = chain->queue;

  if (!queue->broken)
    vd_split_push (queue, chain, written);
  vd_queue_return_slot (queue, chain);
}
