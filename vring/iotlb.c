/* SPDX-License-Identifier: BSD-3-Clause
 *
 * iotlb.c - translations in an array, sorted by iova, that never overlap
 */
#include "vring/iotlb.h"

#include <pthread.h>
#include <string.h>

struct VdIotlb {
  pthread_rwlock_t lock; /* of all below; CONTROL alone writes, so that its own
                          * reading needs no lock */
  VdIotlbEntry *entries;
  guint n, n_allocated;
  guint32 victim; /* a pseudo-random sequence */
};

static inline guint64
last_of (const VdIotlbEntry *entry)
{
  return entry->iova + (entry->size - 1);
}

VdIotlb *
vd_iotlb_new (void)
{
  VdIotlb *iotlb = g_new0 (VdIotlb, 1);

  pthread_rwlock_init (&iotlb->lock, NULL);
  iotlb->victim = 1;
  return iotlb;
}

void
vd_iotlb_free (VdIotlb *iotlb)
{
  if (iotlb == NULL)
    return;
  pthread_rwlock_destroy (&iotlb->lock);
  g_free (iotlb->entries);
  g_free (iotlb);
}

/* Returns: the first entry that ends at or behind @iova, or n. */
static guint
lower_bound (const VdIotlb *iotlb, guint64 iova)
{
  guint low = 0, high = iotlb->n;

  while (low < high) {
    guint middle = (low + high) / 2;

    if (last_of (&iotlb->entries[middle]) < iova)
      low = middle + 1;
    else
      high = middle;
  }
  return low;
}

/* The entries that have a byte from @first to @last are at .. at + n - 1. */
static guint
overlapping (const VdIotlb *iotlb, guint64 first, guint64 last, guint *at)
{
  guint n = 0;

  *at = lower_bound (iotlb, first);
  while (*at + n < iotlb->n && iotlb->entries[*at + n].iova <= last)
    n++;
  return n;
}

/* Puts @entry, if not NULL, in the place of @n entries.  Locked. */
static void
replace (VdIotlb *iotlb, guint at, guint n, const VdIotlbEntry *entry)
{
  guint n_new = entry != NULL ? 1 : 0;

  if (iotlb->n - n + n_new > iotlb->n_allocated) {
    iotlb->n_allocated = MAX (64, iotlb->n_allocated * 2);
    iotlb->entries = g_renew (VdIotlbEntry, iotlb->entries, iotlb->n_allocated);
  }
  if (n != n_new)
    memmove (iotlb->entries + at + n_new, iotlb->entries + at + n,
             (iotlb->n - at - n) * sizeof *iotlb->entries);
  if (entry != NULL)
    iotlb->entries[at] = *entry;
  iotlb->n += n_new - n;
}

/* A sequence that a guest cannot drive into always evicting what it needs
 * next, as it could the oldest entry.  Locked. */
static void
evict (VdIotlb *iotlb)
{
  iotlb->victim ^= iotlb->victim << 13;
  iotlb->victim ^= iotlb->victim >> 17;
  iotlb->victim ^= iotlb->victim << 5;
  replace (iotlb, iotlb->victim % iotlb->n, 1, NULL);
}

/* Whether the two agree where they overlap. */
static gboolean
agree (const VdIotlbEntry *a, const VdIotlbEntry *b)
{
  return a->uva - a->iova == b->uva - b->iova;
}

gboolean
vd_iotlb_update (VdIotlb *iotlb, const VdIotlbEntry *entry)
{
  VdIotlbEntry next = *entry;
  gboolean changed = FALSE;
  guint at, n;

  pthread_rwlock_wrlock (&iotlb->lock);
  n = overlapping (iotlb, next.iova, last_of (&next), &at);
  for (guint i = at; i < at + n; i++)
    changed |= !agree (&iotlb->entries[i], &next);
  if (n == 1 && !changed && iotlb->entries[at].iova == next.iova &&
      iotlb->entries[at].size == next.size)
    next.access |= iotlb->entries[at].access;
  if (n == 0 && iotlb->n == VD_IOTLB_MAX) {
    evict (iotlb);
    at = lower_bound (iotlb, next.iova);
  }
  replace (iotlb, at, n, &next);
  pthread_rwlock_unlock (&iotlb->lock);
  return changed;
}

void
vd_iotlb_invalidate (VdIotlb *iotlb, guint64 first, guint64 last)
{
  guint at, n;

  pthread_rwlock_wrlock (&iotlb->lock);
  n = overlapping (iotlb, first, last, &at);
  replace (iotlb, at, n, NULL);
  pthread_rwlock_unlock (&iotlb->lock);
}

guint
vd_iotlb_n_entries (const VdIotlb *iotlb)
{
  return iotlb->n;
}

guint
vd_iotlb_find (VdIotlb *iotlb, guint64 iova, guint access, guint64 *len,
               guint64 *uva)
{
  guint missing = access, at;

  pthread_rwlock_rdlock (&iotlb->lock);
  at = lower_bound (iotlb, iova);
  if (at < iotlb->n && iotlb->entries[at].iova <= iova) {
    const VdIotlbEntry *entry = &iotlb->entries[at];
    guint64 offset = iova - entry->iova;

    missing &= ~entry->access;
    *len = MIN (*len, entry->size - offset);
    *uva = entry->uva + offset;
  }
  pthread_rwlock_unlock (&iotlb->lock);
  return missing;
}

gboolean
vd_iotlb_find_all (VdIotlb *iotlb, guint64 iova, guint64 len, guint access,
                   guint64 *uva, VdMiss *miss)
{
  guint64 first = 0;

  *miss = (VdMiss){ 0 };
  if (len - 1 > G_MAXUINT64 - iova)
    return FALSE;
  for (guint64 done = 0, n; done < len; done += n) {
    guint64 at;

    n = len - done;
    miss->iova = iova + done;
    miss->access = vd_iotlb_find (iotlb, iova + done, access, &n, &at);
    if (miss->access != 0)
      return FALSE;
    if (done == 0)
      first = at;
    else if (at != first + done)
      return FALSE;
  }
  *uva = first;
  return TRUE;
}
