/* SPDX-License-Identifier: BSD-3-Clause
 *
 * queue.c - the life of a started ring, whatever its format
 *
 * CONTROL makes the queue; queue-command.c attaches it.  QUEUE takes turns:
 * pop a batch, let the device handle it, publish what is completed, notify
 * once.  Before the thread sleeps it asks for kicks and looks once more.
 */
#include <errno.h>
#include <gio/gio.h>
#include <linux/virtio_config.h>
#include <sys/mman.h>

#include "vring/queue-private.h"
#include "vring/sigbus.h"

#define CHAIN_ALIGN 64

/* Bytes that take so long to move, about ten microseconds, that the driver may
 * as well begin with them. */
#define PART_BYTES (32u << 10)

static gsize
align_up (gsize len)
{
  return (len + CHAIN_ALIGN - 1) / CHAIN_ALIGN * CHAIN_ALIGN;
}

/* One mapping holds all slots, their requests and their arenas; the kernel
 * fills in pages as slots are used, so a deep ring that is used shallowly
 * costs little. */
static gboolean
queue_alloc (VdQueue *queue)
{
  gsize size = queue->size;
  gsize request_len = align_up (queue->ops->request_size);
  gsize slots_len = align_up (size * sizeof (VdChain));
  gsize arena_len = VD_CHAIN_IOV * sizeof (struct iovec);
  gsize ranges_len = VD_CHAIN_IOV * sizeof (VdChainRange);
  guint8 *block;

  queue->block_len = slots_len + size * (request_len + arena_len + ranges_len);
  block = mmap (NULL, queue->block_len, PROT_READ | PROT_WRITE,
                MAP_PRIVATE | MAP_ANONYMOUS | MAP_NORESERVE, -1, 0);
  if (block == MAP_FAILED)
    return FALSE;
  queue->block = block;
  queue->slots = (VdChain *) (void *) block;
  queue->requests = block + slots_len;
  queue->request_len = request_len;
  queue->arenas =
      (struct iovec *) (void *) (queue->requests + size * request_len);
  queue->ranges =
      (VdChainRange *) (void *) (queue->arenas + size * VD_CHAIN_IOV);
  return TRUE;
}

static VdQueue *
refuse (VdQueue *queue, GError **error, const char *why)
{
  g_set_error (error, G_IO_ERROR, G_IO_ERROR_INVALID_ARGUMENT,
               "ring %u of %u entries: %s", queue->index, queue->size, why);
  vd_queue_free (queue);
  return NULL;
}

/* Finds the queue's part of the in-flight memory.  A ring that it has no room
 * for runs untracked: QEMU makes the memory for the queue size that it was asked
 * for, and firmware may choose a larger ring. */
static void
take_inflight (VdQueue *queue, const VdQueueSetup *setup)
{
  if (setup->inflight == NULL)
    return;
  queue->inflight_part =
      vd_inflight_part (setup->inflight, queue->index, queue->size,
                        queue->ring_ops == &vd_packed_ops);
  if (queue->inflight_part == NULL)
    return;
  queue->inflight = vd_inflight_ref (setup->inflight);
  queue->batch = g_new (guint16, queue->size);
  queue->again = g_new (guint16, queue->size);
}

/* Split rings' in-flight memory knows heads, a packed one's every descriptor;
 * and the plain walk of a packed ring does not notice that it went round. */
void
vd_queue_use_epoch (VdQueue *queue, VdEpoch *epoch)
{
  queue->epoch = epoch;
  for (VdChain *chain = queue->free; chain != NULL; chain = chain->next_free)
    chain->epoch = epoch;
  queue->plain =
      !queue->broken && epoch->dirty == NULL && queue->iotlb == NULL &&
      (queue->ring_ops == &vd_split_ops ||
       (queue->inflight_part == NULL && queue->size >= VD_CHAIN_FEW));
  queue->recorded = epoch->dirty_ring || queue->inflight_part != NULL;
}

static gboolean
translate_ring (VdQueue *queue, const VdQueueSetup *setup)
{
  gboolean found = vd_queue_translate_ring (queue);

  if (setup->miss != NULL)
    *setup->miss = queue->miss;
  return found;
}

VdQueue *
vd_queue_new (const VdQueueSetup *setup, const VdQueueOps *ops,
              gpointer user_data, VdMailbox *control, GError **error)
{
  VdQueue *queue = g_new0 (VdQueue, 1);

  queue->index = setup->index;
  queue->size = setup->size;
  queue->desc_uva = queue->desc_iova = setup->desc;
  queue->driver_uva = queue->driver_iova = setup->avail;
  queue->device_uva = queue->device_iova = setup->used;
  queue->iotlb = setup->iotlb;
  queue->ring_ops = (setup->features >> VIRTIO_F_RING_PACKED) & 1
                        ? &vd_packed_ops
                        : &vd_split_ops;
  queue->event_idx = (setup->features >> VIRTIO_RING_F_EVENT_IDX) & 1;
  queue->base = setup->base;
  queue->enabled = setup->enabled;
  queue->kick_fd = setup->kick_fd;
  queue->call = setup->call;
  queue->err = setup->err;
  queue->on_started = setup->on_started;
  queue->on_broken = setup->on_broken;
  queue->on_miss = setup->on_miss;
  queue->owner = setup->owner;
  queue->ops = ops;
  queue->user_data = user_data;
  queue->control = control;
  queue->epoch = &queue->epochs[0];
  queue->epoch->map = vd_map_ref (setup->map);
  if (setup->dirty != NULL)
    queue->epoch->dirty = vd_dirty_ref (setup->dirty);
  queue->epoch->dirty_ring = setup->dirty != NULL && setup->dirty_ring;
  if (queue->size == 0 || queue->size > VD_QUEUE_SIZE_MAX)
    return refuse (queue, error, "its size is not from 1 to 32768");
  if (queue->iotlb != NULL && !translate_ring (queue, setup))
    return refuse (queue, error,
                   "its addresses have no translation, or a scattered one");
  if (!queue->ring_ops->find (queue, setup->map, &queue->ring))
    return refuse (queue, error,
                   "it does not lie aligned and whole in one memory region");
  take_inflight (queue, setup);
  vd_queue_use_epoch (queue, queue->epoch);
  queue->push = queue->ring_ops->push;
  if ((setup->features >> VIRTIO_F_IN_ORDER) & 1)
    vd_in_order_init (queue);
  if (!queue_alloc (queue))
    return refuse (queue, error, g_strerror (errno));
  return queue;
}

void
vd_queue_free (VdQueue *queue)
{
  if (queue == NULL)
    return;
  for (guint i = 0; i < G_N_ELEMENTS (queue->epochs); i++) {
    vd_map_unref (queue->epochs[i].map);
    vd_dirty_unref (queue->epochs[i].dirty);
  }
  if (queue->block != NULL)
    munmap (queue->block, queue->block_len);
  vd_inflight_unref (queue->inflight);
  g_free (queue->batch);
  g_free (queue->again);
  g_free (queue->ordered);
  g_free (queue);
}

gboolean
vd_queue_fits (const VdQueue *queue, const VdMap *map)
{
  VdRing ring;

  return queue->iotlb != NULL || queue->ring_ops->find (queue, map, &ring);
}

/* Slots. */

VdChain *
vd_queue_touch_slot (VdQueue *queue)
{
  guint slot = queue->n_touched;
  VdChain *chain;

  if (slot == queue->size)
    return NULL;
  queue->n_touched++;
  chain = &queue->slots[slot];
  chain->queue = queue;
  chain->slot = (guint16) slot;
  chain->epoch = queue->epoch;
  chain->request = queue->requests + slot * queue->request_len;
  return chain;
}

void
vd_queue_finish_memory (VdQueue *queue, VdEpoch *old)
{
  VdQueueCommand *command = queue->memory;

  queue->memory = NULL;
  command->map = old->map;
  command->dirty = old->dirty;
  *old = (VdEpoch){ 0 };
  vd_mailbox_post (queue->control, &command->mail);
}

void *
vd_queue_translate (VdQueue *queue, guint64 address, guint access, guint64 *len,
                    guint64 *gpa)
{
  VdRange *range;

  if (queue->iotlb != NULL)
    return vd_queue_translate_iova (queue, address, access, len, gpa);
  *gpa = address;
  for (guint i = 0; i < VD_QUEUE_CACHE; i++) {
    range = &queue->cache[i];
    if (address - range->gpa < range->size)
      goto found;
  }
  range = &queue->cache[queue->cache_victim++ % VD_QUEUE_CACHE];
  if (!vd_map_find (queue->epoch->map, address, range))
    return NULL;
found:
  *len = MIN (*len, range->size - (address - range->gpa));
  return range->hva + (address - range->gpa);
}

/* Turns. */

static void
run_started (VdMail *mail)
{
  VdQueue *queue = VD_CONTAINER (mail, VdQueue, started_mail);

  queue->on_started (queue, queue->refused, queue->owner);
}

/* Reads the ring for the first time.  Returns: whether it can be served. */
static gboolean
begin (VdQueue *queue)
{
  const char *why = queue->ring_ops->init (queue, queue->base);

  if (why == NULL && vd_map_is_lost (queue->epoch->map))
    why = "the front-end truncated guest memory";
  queue->refused = why;
  queue->broken = why != NULL;
  if (queue->on_started != NULL) {
    queue->started_mail.run = run_started;
    vd_mailbox_post (queue->control, &queue->started_mail);
  }
  return why == NULL;
}

void
vd_queue_started (VdQueue *queue)
{
  if (!begin (queue))
    return;
  queue->kicked = true;
  if (queue->ops->start != NULL) {
    int r = queue->ops->start (queue, queue->user_data);

    if (r < 0) {
      vd_queue_break (queue, "the device cannot serve it");
      return;
    }
  }
  queue->started = true;
}

static void
publish (VdQueue *queue)
{
  if (queue->broken || !queue->ring_ops->publish (queue))
    return;
  if (vd_notifier_signal (&queue->call))
    vd_count (&queue->calls, 1);
}

/* How many chains make a part of a batch. */
static inline guint
count_part (const VdQueue *queue, VdChain **chains, guint n)
{
  guint64 len = 0;
  guint i = 0;

  do {
    len += MAX (chains[i]->out_len + chains[i]->in_len, queue->ops->weight);
    i++;
  } while (i < n && len < PART_BYTES);
  return i;
}

/* Hands a batch over.  The driver gets the first part of much data while we move
 * the next, or it would be idle now, and we afterwards; unless it runs on this
 * processor. */
static void
serve_chains (VdQueue *queue, VdChain **chains, guint n)
{
  for (guint i = 0, part; i < n; i += part) {
    if (i > 0)
      publish (queue);
    part = queue->crowded ? n : count_part (queue, chains + i, n - i);
    queue->ops->handle (queue, chains + i, part, queue->user_data);
  }
}

/* Pops one batch and hands it over.  Returns: how many chains. */
static guint
serve_batch (VdQueue *queue)
{
  VdChain *chains[VD_BATCH_MAX];
  guint max = VD_BATCH_MAX, n;

  if (queue->stopping)
    max = MIN (max, queue->n_again - queue->next_again);
  if (queue->ops->wants != NULL)
    max = MIN (max, queue->ops->wants (queue, queue->user_data));
  n = max > 0 ? queue->ring_ops->pop (queue, chains, max) : 0;
  if (G_UNLIKELY (queue->ordered != NULL))
    n = vd_in_order_popped (queue, chains, n);
  if (n > 0) {
    vd_count (&queue->batches, 1);
    vd_count (&queue->chains, n);
    queue->ring_ops->notifications (queue, FALSE);
    serve_chains (queue, chains, n);
  }
  return n;
}

static inline bool
has_again (const VdQueue *queue)
{
  return queue->next_again < queue->n_again;
}

/* What a predecessor left is submitted again even if we are to stop, and even
 * disabled, as front-ends do it first: the base that we answer counts it as
 * done. */
static inline bool
running (const VdQueue *queue)
{
  return !queue->broken && !queue->waiting && !queue->draining &&
         (queue->stopping ? has_again (queue) : queue->enabled);
}

/* Guest memory may be lost under any access of the last turn. */
static void
check_memory (VdQueue *queue)
{
  guint generation = vd_guard_generation ();

  if (generation == queue->guard_generation)
    return;
  queue->guard_generation = generation;
  if (vd_map_is_lost (queue->epoch->map))
    vd_queue_break (queue, "the front-end truncated guest memory");
  else if (queue->epoch->dirty != NULL &&
           vd_dirty_is_lost (queue->epoch->dirty))
    vd_queue_break (queue, "the front-end truncated the dirty log");
  else if (queue->inflight != NULL && vd_inflight_is_lost (queue->inflight))
    vd_queue_break (queue, "the front-end truncated the in-flight memory");
}

gboolean
vd_queue_turn (VdQueue *queue)
{
  guint n = 0;

  check_memory (queue);
  if (queue->kicked && running (queue)) {
    n = serve_batch (queue);
    queue->kicked = n > 0;
  }
  publish (queue);
  if (G_UNLIKELY (queue->invalidate != NULL))
    vd_queue_settle_invalidate (queue);
  return n > 0;
}

/* Returns: FALSE if there are new chains. */
static gboolean
ask_for_kicks (VdQueue *queue)
{
  if (!running (queue) || (queue->ops->wants != NULL &&
                           queue->ops->wants (queue, queue->user_data) == 0))
    return TRUE;
  if (queue->kick_fd < 0) {
    queue->kicked = true; /* nobody will say so: look again after the sleep */
    return TRUE;
  }
  queue->kicked = queue->ring_ops->notifications (queue, TRUE);
  return !queue->kicked;
}

gboolean
vd_queue_sleep (VdQueue *queue)
{
  gboolean idle = ask_for_kicks (queue);

  check_memory (queue); /* a guest that has lost it may never kick again */
  return idle || queue->broken;
}

void
vd_queue_wake (VdQueue *queue)
{
  queue->kicked = true;
}

static void
run_broken (VdMail *mail)
{
  VdQueue *queue = VD_CONTAINER (mail, VdQueue, broken_mail);

  queue->on_broken (queue, queue->broken_reason, queue->owner);
}

void
vd_queue_break (VdQueue *queue, const char *reason)
{
  if (queue->broken)
    return;
  publish (queue); /* what was completed by the rules is the driver's */
  queue->broken = true;
  queue->plain = false;
  queue->broken_reason = reason;
  vd_notifier_signal (&queue->err);
  if (queue->on_broken != NULL) {
    queue->broken_mail.run = run_broken;
    vd_mailbox_post (queue->control, &queue->broken_mail);
  }
}

gboolean
vd_queue_stopped (VdQueue *queue)
{
  return queue->stopping && vd_queue_in_flight (queue) == 0 &&
         !(running (queue) && has_again (queue));
}

void
vd_queue_detached (VdQueue *queue)
{
  VdQueueCommand *command = queue->stop;

  publish (queue);
  if (queue->started && queue->ops->stop != NULL)
    queue->ops->stop (queue, queue->user_data);
  queue->started = false;
  if (queue->refused == NULL)
    queue->base = queue->ring_ops->base (queue);
  queue->stop = NULL;
  vd_mailbox_post (queue->control, &command->mail);
}

/* Accessors. */

guint32
vd_queue_base (const VdQueue *queue)
{
  return queue->base;
}

static guint64
counter (const atomic_uint_fast64_t *value)
{
  return atomic_load_explicit (value, memory_order_relaxed);
}

void
vd_queue_stats (const VdQueue *queue, VdQueueStats *ret)
{
  *ret = (VdQueueStats){
    .kicks = counter (&queue->kicks),
    .calls = counter (&queue->calls),
    .batches = counter (&queue->batches),
    .chains = counter (&queue->chains),
  };
}

guint
vd_queue_index (const VdQueue *queue)
{
  return queue->index;
}

gboolean
vd_queue_is_stopping (const VdQueue *queue)
{
  return queue->stopping;
}

gboolean
vd_chain_is_awaited (const VdChain *chain)
{
  const VdQueue *queue = chain->queue;

  return queue->stopping || queue->invalidate != NULL ||
         chain->epoch != queue->epoch;
}

gboolean
vd_queue_may_leave (const VdQueue *queue)
{
  return queue->may_leave;
}

VdWorker *
vd_queue_worker (const VdQueue *queue)
{
  return queue->worker;
}

void
vd_queue_set_data (VdQueue *queue, gpointer data)
{
  queue->data = data;
}

gpointer
vd_queue_data (const VdQueue *queue)
{
  return queue->data;
}
