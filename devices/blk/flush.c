/* SPDX-License-Identifier: BSD-3-Clause
 *
 * flush.c - see flush.h
 *
 * flusher->head is NULL while no fdatasync runs, BUSY while one runs that
 * nobody waits behind, else the last of a list of waiters that ends in BUSY.
 * Waiters push themselves; the leader that ends takes the whole list and makes
 * one of them the next leader.  Nothing pops single elements, so there is no
 * ABA problem.
 */
#include "devices/blk/flush.h"

#include <errno.h>
#include <stddef.h>

static VdFlush busy;
#define BUSY (&busy)

static inline VdFlush *
flush_of (VdMail *mail)
{
  return VD_CONTAINER (mail, VdFlush, mail);
}

static void
run_done (VdMail *mail)
{
  VdFlush *flush = flush_of (mail);

  flush->done (flush, flush->result);
}

static void
run_lead (VdMail *mail)
{
  VdFlush *flush = flush_of (mail);

  flush->lead (flush);
}

static void
post (VdFlush *flush, void (*run) (VdMail *mail))
{
  flush->mail.run = run;
  flush->post (flush, &flush->mail);
}

void
vd_flush_submit (VdFlusher *flusher, VdFlush *flush)
{
  VdFlush *head = atomic_load (&flusher->head);
  int error = vd_flusher_error (flusher);

  if (error != 0) {
    flush->done (flush, error);
    return;
  }
  flush->group = NULL;
  do
    flush->next = head;
  while (!atomic_compare_exchange_weak (&flusher->head, &head,
                                        head == NULL ? BUSY : flush));
  if (head == NULL)
    flush->lead (flush);
}

static void
answer (VdFlush *group, int result)
{
  while (group != NULL && group != BUSY) {
    VdFlush *next = group->next; /* it may be gone once posted */

    group->result = result;
    post (group, run_done);
    group = next;
  }
}

/* Ends the leader's turn: the waiters, if any, become the next group. */
static void
pass_on (VdFlusher *flusher)
{
  VdFlush *expected = BUSY, *next;

  if (atomic_compare_exchange_strong (&flusher->head, &expected, NULL))
    return;
  next = atomic_exchange (&flusher->head, BUSY);
  next->group = next->next;
  post (next, run_lead);
}

void
vd_flush_finish (VdFlusher *flusher, VdFlush *flush, int result)
{
  int none = 0;

  atomic_fetch_add_explicit (&flusher->n_syncs, 1, memory_order_relaxed);
  if (result < 0 && result != -ENOTCONN)
    atomic_compare_exchange_strong (&flusher->error, &none, result);
  if (vd_flusher_error (flusher) != 0)
    result = vd_flusher_error (flusher);
  answer (flush->group, result);
  pass_on (flusher);
  flush->done (flush, result);
}
