/* SPDX-License-Identifier: BSD-3-Clause
 *
 * chain.c - descriptors to buffers, and completion
 */
#include "vring/queue-private.h"

#include <string.h>

/* Continues in the slot's arena.  Returns: FALSE if that is full as well. */
static gboolean
builder_grow (VdChainBuilder *builder)
{
  VdChain *chain = builder->chain;
  struct iovec *arena =
      chain->queue->arenas + (gsize) chain->slot * VD_CHAIN_IOV;

  if (builder->iov == arena)
    return FALSE;
  memcpy (arena, chain->few, sizeof chain->few);
  builder->iov = arena;
  builder->n_max = VD_CHAIN_IOV;
  return TRUE;
}

static inline VdChainRange *
ranges_of (const VdChain *chain)
{
  return chain->queue->ranges + (gsize) chain->slot * VD_CHAIN_IOV;
}

/* Whether somebody may ask for a buffer's place. */
static inline bool
is_recorded (const VdChain *chain, gboolean writable)
{
  return chain->queue->iotlb != NULL ||
         (writable && chain->epoch->dirty != NULL);
}

void
vd_chain_begin (VdChainBuilder *builder, VdChain *chain)
{
  chain->n_ranges = 0;
  chain->queue->n_lookups = 0;
  *builder = (VdChainBuilder){
    .chain = chain,
    .iov = chain->few,
    .n_max = VD_CHAIN_FEW,
  };
}

const char *
vd_chain_append (VdChainBuilder *builder, guint64 address, guint32 len,
                 gboolean writable)
{
  VdChain *chain = builder->chain;
  guint access = writable ? VD_ACCESS_WRITE : VD_ACCESS_READ;
  guint64 left = len;

  if (++builder->n_desc > VD_CHAIN_MAX)
    return "a chain is too long";
  if (!writable && builder->n_in > 0)
    return "a readable buffer follows a writable one";
  while (left > 0) {
    guint64 n = left, gpa;
    void *at = vd_queue_translate (chain->queue, address, access, &n, &gpa);
    guint n_iov = builder->n_out + builder->n_in;

    if (at == NULL)
      return "a buffer lies outside guest memory";
    if (n_iov == builder->n_max && !builder_grow (builder))
      return "a chain has too many buffers";
    builder->iov[n_iov] = (struct iovec){ at, n };
    if (is_recorded (chain, writable))
      ranges_of (chain)[chain->n_ranges++] =
          (VdChainRange){ gpa, address, (guint32) n, writable };
    if (writable)
      builder->n_in++;
    else
      builder->n_out++;
    address += n;
    left -= n;
  }
  if (writable)
    builder->in_len += len;
  else
    builder->out_len += len;
  return NULL;
}

void
vd_chain_end (const VdChainBuilder *builder)
{
  VdChain *chain = builder->chain;

  chain->out = builder->iov;
  chain->in = builder->iov + builder->n_out;
  chain->n_out = builder->n_out;
  chain->n_in = builder->n_in;
  chain->out_len = builder->out_len;
  chain->in_len = builder->in_len;
}

const char *
vd_indirect_open (VdQueue *queue, guint64 address, guint32 len, VdIndirect *ret)
{
  guint64 contiguous = len, where;
  const guint8 *at =
      vd_queue_translate (queue, address, VD_ACCESS_READ, &contiguous, &where);

  if (len == 0 || len % sizeof (struct vring_desc) != 0)
    return "an indirect table has an odd length";
  if (at == NULL)
    return "an indirect table lies outside guest memory";
  *ret = (VdIndirect){
    .address = address,
    .n_desc = len / sizeof (struct vring_desc),
    .at = contiguous == len ? at : NULL,
  };
  return NULL;
}

gboolean
vd_indirect_load (VdQueue *queue, const VdIndirect *table, guint32 i, void *ret)
{
  const gsize size = sizeof (struct vring_desc);
  guint8 copy[sizeof (struct vring_desc)];

  if (table->at != NULL) {
    vd_load_desc (ret, table->at + i * size);
    return TRUE;
  }
  for (guint64 done = 0, n, where; done < size; done += n) {
    n = size - done;
    void *at = vd_queue_translate (queue, table->address + i * size + done,
                                   VD_ACCESS_READ, &n, &where);

    if (at == NULL)
      return FALSE;
    memcpy (copy + done, at, n);
  }
  vd_load_desc (ret, copy);
  return TRUE;
}

/* A device may write a status at the end and tell of less in between, so all
 * writable buffers count.  This comes after the data and before the used index
 * tells the driver. */
static void
mark_dirty (const VdChain *chain)
{
  for (guint i = 0; i < chain->n_ranges; i++)
    if (ranges_of (chain)[i].writable)
      vd_dirty_mark (chain->epoch->dirty, ranges_of (chain)[i].gpa,
                     ranges_of (chain)[i].len);
}

/* A chain of an earlier epoch, a logged one, or one of a broken queue. */
static G_GNUC_NO_INLINE void
complete_any (VdChain *chain, guint32 written)
{
  VdQueue *queue = chain->queue;

  if (chain->n_ranges > 0 && chain->epoch->dirty != NULL)
    mark_dirty (chain);
  chain->n_ranges = 0;
  if (!queue->broken)
    queue->push (queue, chain, written);
  vd_queue_return_slot (queue, chain);
}

void
vd_chain_leave (VdChain *chain)
{
  chain->n_ranges = 0;
  vd_queue_return_slot (chain->queue, chain);
}

void
vd_chain_complete (VdChain *chain, guint32 written)
{
  VdQueue *queue = chain->queue;

  if (G_UNLIKELY (!queue->plain || chain->epoch != queue->epoch)) {
    complete_any (chain, written);
    return;
  }
  vd_queue_free_slot (queue, chain); /* push() finds it as it was */
  queue->push (queue, chain, written);
}
