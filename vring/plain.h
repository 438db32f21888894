/* SPDX-License-Identifier: BSD-3-Clause
 *
 * plain.h - popping the chains that nearly all chains are, for vring/ only
 *
 * A plain chain has few buffers, none empty, each within a region that was used
 * lately, and nothing of it is to be logged.  This is the code that counts, so
 * it does one thing in one pass and keeps to registers.  Whatever is not plain,
 * or breaks a rule, is read once more from its head by VdChainBuilder, which
 * knows everything.  One source serves both formats: each instantiates it.
 */
#pragma once

#include "vring/queue-private.h"

/* Half a descriptor in guest memory, in a table that need not be aligned. */
typedef guint64 VdPlainWord __attribute__ ((aligned (1), may_alias));

#define VD_PLAIN_DESC_SIZE (2 * sizeof (VdPlainWord))

/* Where descriptors are read, and the last one that was. */
typedef struct {
  const volatile VdPlainWord *table;
  guint32 size; /* entries */
  bool packed;  /* constant */
  const volatile VdPlainWord *at;
  guint64 addr;
  guint64 rest; /* from the low bits: len, then split: flags, next; packed: id,
                 * flags */
  guint32 kind; /* flags: NEXT, WRITE, INDIRECT */
} VdPlainCursor;

#define VD_PLAIN_INLINE static inline __attribute__ ((always_inline))

/* Reads the descriptor at cursor->at. */
VD_PLAIN_INLINE void
vd_plain_load (VdPlainCursor *cursor)
{
  cursor->rest = le64toh (cursor->at[1]);
  cursor->addr = le64toh (cursor->at[0]);
  cursor->kind =
      (guint32) (cursor->rest >> (cursor->packed ? 48 : 32)) &
      (VRING_DESC_F_NEXT | VRING_DESC_F_WRITE | VRING_DESC_F_INDIRECT);
}

VD_PLAIN_INLINE guint32
vd_plain_len (const VdPlainCursor *cursor)
{
  return (guint32) cursor->rest;
}

/* Goes on to the next descriptor of a chain.  Returns: FALSE if a split one's
 * lies outside the table. */
VD_PLAIN_INLINE bool
vd_plain_next (VdPlainCursor *cursor)
{
  if (cursor->packed) {
    cursor->at += 2;
    if (G_UNLIKELY (cursor->at == cursor->table + 2 * (gsize) cursor->size))
      cursor->at = cursor->table;
  } else {
    gsize next = cursor->rest >> 48;

    if (G_UNLIKELY (next >= cursor->size))
      return false;
    cursor->at = cursor->table + 2 * next;
  }
  vd_plain_load (cursor);
  /* Registers are scarce: what the first cache has is not worth one. */
  atomic_signal_fence (memory_order_seq_cst);
  return true;
}

/* Finds @len bytes at @gpa if the @i-th region used lately has them all; but no
 * bytes nowhere. */
VD_PLAIN_INLINE bool
vd_plain_find_in (const VdQueue *queue, guint i, guint64 gpa, guint32 len,
                  guint8 **ret)
{
  const VdRange *range = &queue->cache[i];
  guint64 first = gpa - range->gpa, last;

  *ret = (guint8 *) ((guintptr) range->hva + first); /* maybe nowhere */
  return !__builtin_add_overflow (first, (guint64) len - 1, &last) &&
         last < range->size;
}

VD_PLAIN_INLINE bool
vd_plain_find (const VdQueue *queue, guint64 gpa, guint32 len, guint8 **ret)
{
  return G_LIKELY (vd_plain_find_in (queue, 0, gpa, len, ret)) ||
         vd_plain_find_in (queue, 1, gpa, len, ret);
}

/* Puts the current descriptor's buffer to @iov. */
VD_PLAIN_INLINE bool
vd_plain_put (const VdQueue *queue, const VdPlainCursor *cursor,
              struct iovec *iov)
{
  guint32 len = vd_plain_len (cursor);
  guint8 *at;

  if (G_UNLIKELY (!vd_plain_find (queue, cursor->addr, len, &at)))
    return false;
  *iov = (struct iovec){ at, len };
  return true;
}

/* Makes what was put to chain->few the chain's buffers.
 * @in, @end: where the writable ones begin, and where all end
 * @out_len, @len: bytes of the readable ones, and of all */
VD_PLAIN_INLINE void
vd_plain_end (VdChain *chain, struct iovec *in, struct iovec *end,
              guint64 out_len, guint64 len)
{
  chain->out = chain->few;
  chain->in = in;
  chain->n_out = (guint) (in - chain->few);
  chain->n_in = (guint) (end - in);
  chain->out_len = out_len;
  chain->in_len = len - out_len;
}

/* The chain whose first descriptor is loaded.  Returns: FALSE, with nothing done,
 * if it is not plain. */
VD_PLAIN_INLINE bool
vd_plain_walk (const VdQueue *queue, VdPlainCursor *cursor, VdChain *chain)
{
  struct iovec *iov = chain->few, *last = iov + VD_CHAIN_FEW - 1, *in;
  guint64 len = 0, out_len;

  while (cursor->kind == VRING_DESC_F_NEXT) {
    if (iov == last || !vd_plain_put (queue, cursor, iov++))
      return false;
    len += vd_plain_len (cursor);
    if (!vd_plain_next (cursor))
      return false;
  }
  if (G_UNLIKELY (cursor->kind == 0)) {
    if (!vd_plain_put (queue, cursor, iov++))
      return false;
    len += vd_plain_len (cursor);
    vd_plain_end (chain, iov, iov, len, len);
    return true;
  }
  in = iov;
  out_len = len;
  while (cursor->kind == (VRING_DESC_F_WRITE | VRING_DESC_F_NEXT)) {
    if (iov == last || !vd_plain_put (queue, cursor, iov++))
      return false;
    len += vd_plain_len (cursor);
    if (!vd_plain_next (cursor))
      return false;
  }
  if (cursor->kind != VRING_DESC_F_WRITE ||
      !vd_plain_put (queue, cursor, iov++))
    return false;
  len += vd_plain_len (cursor);
  vd_plain_end (chain, in, iov, out_len, len);
  return true;
}
