/* SPDX-License-Identifier: BSD-3-Clause
 *
 * inflight-packed.c - keeping and reading the in-flight memory of a packed ring
 *
 * Used elements overwrite descriptors, so the memory keeps a copy of each that
 * is under way, in entries that a free list links.  The old_* fields are those
 * before the batch that is being published: a successor looks at the ring to
 * find out whether the driver can see that batch.
 *
 * The front-end shares the memory: an index read from it is checked each time.
 */
#include "vring/queue-private.h"

static const char DAMAGED[] = "its in-flight memory is damaged";

static inline void
store_barrier (void)
{
  atomic_signal_fence (memory_order_seq_cst);
}

static inline VdInflightPacked *
part_of (const VdQueue *queue)
{
  return queue->inflight_part;
}

/* Reads an index once.  Returns: the index, or the ring's size if it is not
 * one. */
static inline guint
load_index (const VdQueue *queue, const guint16 *at)
{
  guint index =
      atomic_load_explicit ((const _Atomic guint16 *) at, memory_order_relaxed);

  return MIN (index, queue->size);
}

/* The indices change together, or a crash in between would leave an index with
 * the wrap counter of another. */
static void
store_indices (VdInflightPacked *part, const VdInflightPacked *from)
{
  atomic_store_explicit ((_Atomic guint64 *) &part->indices, from->indices,
                         memory_order_relaxed);
}

static void
set_old (VdInflightPacked *part)
{
  const VdInflightPacked next = {
    .used_idx = part->used_idx,
    .old_used_idx = part->used_idx,
    .used_wrap = part->used_wrap,
    .old_used_wrap = part->used_wrap,
  };

  part->old_free_head = part->free_head;
  store_barrier ();
  store_indices (part, &next);
}

static void
init_fresh (VdQueue *queue)
{
  VdInflightPacked *part = part_of (queue);

  part->n_desc = (guint16) queue->size;
  for (guint i = 0; i < queue->size; i++)
    part->desc[i].next = (guint16) (i + 1);
  part->free_head = 0;
  part->used_idx = queue->used_idx;
  part->used_wrap = queue->used_wrap;
  set_old (part);
  store_barrier ();
  part->version = 1;
}

/* Takes the batch that was being published as done or as not begun.  Until it is
 * visible, its first descriptor is as the driver made it available; afterwards
 * the driver, which lives on, may have overwritten it already. */
static void
settle_batch (VdQueue *queue)
{
  VdInflightPacked *part = part_of (queue);

  if ((part->used_idx != part->old_used_idx ||
       part->used_wrap != part->old_used_wrap) &&
      !vd_packed_is_available (queue, part->old_used_idx,
                               part->old_used_wrap != 0))
    set_old (part);
  part->free_head = part->old_free_head;
  part->used_idx = part->old_used_idx;
  part->used_wrap = part->old_used_wrap;
}

/* Entries in the free list are not in flight, whatever they say. */
static const char *
clear_free (VdQueue *queue)
{
  VdInflightPacked *part = part_of (queue);
  guint at = part->free_head;

  for (guint i = 0; at != queue->size; i++) {
    if (at > queue->size || i == queue->size)
      return DAMAGED;
    part->desc[at].inflight = 0;
    at = load_index (queue, &part->desc[at].next);
  }
  return NULL;
}

/* Marks a chain's entries as taken.  Returns: how many, or 0 if they are not a
 * chain. */
static guint
take_entries (VdQueue *queue, guint head, bool *taken)
{
  const VdInflightPacked *part = part_of (queue);
  guint num = load_index (queue, &part->desc[head].num), at = head;

  for (guint i = 0; i < num; i++) {
    if (at >= queue->size || taken[at])
      return 0;
    taken[at] = true;
    at = load_index (queue, &part->desc[at].next);
  }
  return num;
}

/* Links all entries that no chain in flight has: some may have been lost
 * between being taken from the list and becoming a chain. */
static void
rebuild_free (VdQueue *queue, const bool *taken)
{
  VdInflightPacked *part = part_of (queue);
  guint16 *link = &part->free_head;

  for (guint i = 0; i < queue->size; i++)
    if (!taken[i]) {
      *link = (guint16) i;
      link = &part->desc[i].next;
    }
  *link = (guint16) queue->size;
}

/* The first descriptor that was not popped. */
static void
find_next_avail (VdQueue *queue, guint n_ring)
{
  queue->next_avail = queue->used_idx;
  queue->avail_wrap = queue->used_wrap;
  for (guint i = 0; i < n_ring; i++) {
    /* Used elements behind the first of a batch that did not become visible
     * would be found by the driver once it comes to them. */
    vd_packed_make_available (queue, queue->next_avail, queue->avail_wrap);
    vd_packed_advance (queue, &queue->next_avail, &queue->avail_wrap, 1);
  }
}

/* Lists what is to be submitted again. */
static const char *
collect (VdQueue *queue)
{
  const VdInflightPacked *part = part_of (queue);
  g_autofree VdAgain *again = g_new (VdAgain, queue->size);
  g_autofree bool *taken = g_new0 (bool, queue->size);
  guint n = 0, n_ring = 0;

  for (guint i = 0; i < queue->size; i++)
    if (part->desc[i].inflight != 0) {
      guint num = take_entries (queue, i, taken);

      if (num == 0 || n_ring + num > queue->size)
        return DAMAGED;
      n_ring += num;
      again[n++] = (VdAgain){ part->desc[i].counter, (guint16) i };
    }
  vd_inflight_order (queue, again, n);
  rebuild_free (queue, taken);
  find_next_avail (queue, n_ring);
  return NULL;
}

const char *
vd_inflight_packed_init (VdQueue *queue)
{
  VdInflightPacked *part = part_of (queue);
  const char *broken;

  if (part->version == 0) {
    init_fresh (queue);
    return NULL;
  }
  if (part->version != 1 || part->n_desc != (guint16) queue->size)
    return "its in-flight memory is of another ring";
  if (part->old_used_idx >= queue->size || part->used_idx >= queue->size)
    return DAMAGED;
  settle_batch (queue);
  broken = clear_free (queue);
  if (broken != NULL)
    return broken;
  queue->used_idx = part->used_idx;
  queue->used_wrap = part->used_wrap != 0;
  queue->used_published = queue->used_signalled = queue->used_idx;
  broken = collect (queue);
  if (broken == NULL)
    set_old (part);
  return broken;
}

void
vd_inflight_packed_begin (VdQueue *queue, VdChain *chain)
{
  queue->inflight_at = load_index (queue, &part_of (queue)->free_head);
  chain->inflight_head = (guint16) queue->inflight_at;
}

const char *
vd_inflight_packed_record (VdQueue *queue, const struct vring_packed_desc *desc)
{
  VdInflightPackedDesc *entry;

  if (queue->inflight_at == queue->size)
    return DAMAGED;
  entry = &part_of (queue)->desc[queue->inflight_at];
  entry->id = desc->id;
  entry->flags = desc->flags;
  entry->len = desc->len;
  entry->addr = desc->addr;
  queue->inflight_last = queue->inflight_at;
  queue->inflight_at = load_index (queue, &entry->next);
  return NULL;
}

void
vd_inflight_packed_pop (VdQueue *queue, const VdChain *chain)
{
  VdInflightPacked *part = part_of (queue);
  VdInflightPackedDesc *head = &part->desc[chain->inflight_head];

  head->num = chain->n_ring;
  head->last = (guint16) queue->inflight_last;
  head->counter = queue->inflight_counter++;
  part->free_head = part->old_free_head = (guint16) queue->inflight_at;
  store_barrier ();
  head->inflight = 1;
}

/* The entry's fields are read once, as a descriptor's. */
static const char *
append_entry (VdQueue *queue, VdChainBuilder *builder,
              const VdInflightPackedDesc *entry)
{
  VdInflightPackedDesc copy;
  struct vring_packed_desc desc;

  memcpy (&copy, entry, sizeof copy);
  atomic_signal_fence (memory_order_seq_cst);
  desc = (struct vring_packed_desc){
    .addr = copy.addr, .len = copy.len, .id = copy.id, .flags = copy.flags
  };
  builder->chain->id = desc.id;
  return vd_packed_append (queue, builder, &desc);
}

const char *
vd_inflight_packed_again (VdQueue *queue, VdChainBuilder *builder, guint16 head)
{
  const VdInflightPacked *part = part_of (queue);
  VdChain *chain = builder->chain;
  guint at = head;

  chain->inflight_head = head;
  chain->n_ring = (guint16) load_index (queue, &part->desc[head].num);
  for (guint i = 0; i < chain->n_ring; i++) {
    const char *broken;

    if (at == queue->size)
      return DAMAGED;
    broken = append_entry (queue, builder, &part->desc[at]);
    if (broken != NULL)
      return broken;
    at = load_index (queue, &part->desc[at].next);
  }
  return NULL;
}

void
vd_inflight_packed_push (VdQueue *queue, const VdChain *chain)
{
  queue->batch[queue->n_batch++] = chain->inflight_head;
}

/* Before the batch becomes visible. */
void
vd_inflight_packed_prepare (VdQueue *queue)
{
  VdInflightPacked *part = part_of (queue);
  VdInflightPacked next = { .indices = part->indices };

  for (guint i = 0; i < queue->n_batch; i++) {
    guint16 head = queue->batch[i];
    guint last = load_index (queue, &part->desc[head].last);

    if (last < queue->size)
      part->desc[last].next = part->free_head;
    part->free_head = head;
  }
  next.used_idx = queue->used_idx;
  next.used_wrap = queue->used_wrap;
  store_barrier ();
  store_indices (part, &next);
  store_barrier ();
}

/* After it did. */
void
vd_inflight_packed_publish (VdQueue *queue)
{
  VdInflightPacked *part = part_of (queue);

  store_barrier ();
  for (guint i = 0; i < queue->n_batch; i++)
    part->desc[queue->batch[i]].inflight = 0;
  store_barrier ();
  set_old (part);
  queue->n_batch = 0;
}
