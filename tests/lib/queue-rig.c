/* SPDX-License-Identifier: BSD-3-Clause */
#include "tests/lib/queue-rig.h"

#include <gio/gio.h>
#include <poll.h>

#define F_INDIRECT  (1ull << 28) /* VIRTIO_RING_F_INDIRECT_DESC */
#define F_EVENT_IDX (1ull << 29) /* VIRTIO_RING_F_EVENT_IDX */
#define F_VERSION_1 (1ull << 32)
#define F_PACKED    (1ull << 34) /* VIRTIO_F_RING_PACKED */

VdMap *
vt_map_guest (const VtGuest *guest, guint64 gpa_shift)
{
  VdMap *map = vd_map_new ();

  for (guint i = 0; i < guest->regions->len; i++) {
    const VtRegion *region = g_ptr_array_index (guest->regions, i);
    VdRegionInfo info = { .gpa = region->gpa + gpa_shift,
                          .size = region->size,
                          .uva = region->uva,
                          .offset = region->offset };
    g_autoptr (GError) error = NULL;
    VdMap *next = vd_map_add (map, &info, region->fd, &error);

    g_assert_no_error (error);
    vd_map_unref (map);
    map = next;
  }
  return map;
}

void
vt_queue_rig_init (VtQueueRig *rig, VtGuest *guest, const VdQueueOps *ops,
                   gpointer user_data)
{
  *rig = (VtQueueRig){ .guest = guest,
                       .control = vd_mailbox_new (),
                       .map = vt_map_guest (guest, 0),
                       .ops = ops,
                       .user_data = user_data };
  g_assert_nonnull (rig->control);
}

void
vt_queue_rig_clear (VtQueueRig *rig)
{
  vt_queue_rig_stop_all (rig);
  vt_queue_rig_pump (rig);
  g_clear_pointer (&rig->map, vd_map_unref);
  g_clear_pointer (&rig->control, vd_mailbox_free);
}

static VtRigQueue *
find (VtQueueRig *rig, VtRing *ring)
{
  g_assert_cmpuint (ring->index, <, VT_RIG_QUEUES);
  return &rig->queues[ring->index];
}

static VtRigQueue *
find_started (VtQueueRig *rig, VtRing *ring)
{
  VtRigQueue *slot = find (rig, ring);

  g_assert_true (slot->ring == ring && slot->queue);
  return slot;
}

VdMiss
vt_queue_rig_wait_miss (VtQueueRig *rig, VtRing *ring)
{
  VtRigQueue *slot = find_started (rig, ring);
  VdMiss miss;

  while (slot->miss.access == 0)
    vt_queue_rig_pump_wait (rig);
  miss = slot->miss;
  slot->miss.access = 0;
  return miss;
}

void
vt_queue_rig_retry (VtQueueRig *rig, VtRing *ring, gboolean granted)
{
  VdQueueCommand command = { .type = VD_QUEUE_RETRY, .value = granted };

  g_assert_cmpint (vt_queue_rig_command (rig, ring, &command), ==, 0);
}

VdQueue *
vt_queue_rig_queue (VtQueueRig *rig, VtRing *ring)
{
  return find_started (rig, ring)->queue;
}

static void
on_broken (VdQueue *queue, const char *reason, gpointer owner)
{
  VtRigQueue *slot = owner;

  g_assert_true (queue == slot->queue);
  g_assert_null (slot->broken); /* told once */
  g_assert_nonnull (reason);
  slot->broken = reason;
}

static void
on_started (VdQueue *queue, const char *why, gpointer owner)
{
  VtRigQueue *slot = owner;

  g_assert_true (queue == slot->queue);
  g_assert_false (slot->started); /* told once */
  slot->started = TRUE;
  slot->refused = why;
}

static void
on_miss (VdQueue *queue, const VdMiss *miss, gpointer owner)
{
  VtRigQueue *slot = owner;

  g_assert_true (queue == slot->queue);
  g_assert_cmpuint (slot->miss.access, ==, 0); /* told once */
  g_assert_cmpuint (miss->access, !=, 0);
  slot->miss = *miss;
  slot->n_misses++;
}

/* What a front-end calls a part of the ring. */
static guint64
ring_address (const VtQueueRig *rig, const void *ptr)
{
  return rig->iotlb ? vt_guest_gpa (rig->guest, ptr)
                    : vt_guest_uva (rig->guest, ptr);
}

static VdNotifier
open_notifier (int fd)
{
  g_autoptr (GError) error = NULL;
  VdNotifier notifier = VD_NOTIFIER_INIT;

  vd_notifier_init (&notifier, dup (fd), &error);
  g_assert_no_error (error);
  return notifier;
}

static void
close_slot (VtRigQueue *slot)
{
  g_clear_pointer (&slot->queue, vd_queue_free);
  g_clear_pointer (&slot->worker, vd_worker_free);
  vd_notifier_clear (&slot->call);
  vd_notifier_clear (&slot->err);
}

gboolean
vt_queue_rig_try_start (VtQueueRig *rig, VtRing *ring, guint32 base,
                        gboolean enabled, GError **error)
{
  VtRigQueue *slot = find (rig, ring);
  VdQueueSetup setup = {
    .index = ring->index,
    .size = ring->size,
    .desc = ring_address (rig, ring->desc),
    .avail = ring_address (rig, ring->avail),
    .used = ring_address (rig, ring->used),
    .base = base,
    .features = rig->features | F_VERSION_1 | F_INDIRECT |
                (ring->flags & VT_RING_EVENT_IDX ? F_EVENT_IDX : 0) |
                (ring->flags & VT_RING_PACKED ? F_PACKED : 0),
    .enabled = enabled,
    .map = rig->map,
    .inflight = rig->inflight,
    .iotlb = rig->iotlb,
    .miss = &slot->miss,
    .on_miss = on_miss,
    .kick_fd = ring->kick_fd,
    .call = open_notifier (ring->call_fd),
    .err = open_notifier (ring->err_fd),
    .on_started = on_started,
    .on_broken = on_broken,
    .owner = slot,
  };

  g_assert_null (slot->queue);
  slot->call = setup.call;
  slot->err = setup.err;
  slot->queue =
      vd_queue_new (&setup, rig->ops, rig->user_data, rig->control, error);
  if (!slot->queue) {
    close_slot (slot);
    return FALSE;
  }
  slot->ring = ring;
  slot->broken = NULL;
  slot->worker = vd_worker_new ("test", rig->pool, rig->force_poll, error);
  g_assert_nonnull (slot->worker);
  slot->started = FALSE;
  vd_queue_attach (slot->queue, slot->worker);
  vt_queue_rig_pump_until (rig, &slot->started);
  if (slot->refused == NULL)
    return TRUE;
  g_set_error_literal (error, G_IO_ERROR, G_IO_ERROR_INVALID_ARGUMENT,
                       slot->refused);
  g_assert_cmphex (vt_queue_rig_stop (rig, ring), ==, base);
  return FALSE;
}

void
vt_queue_rig_start (VtQueueRig *rig, VtRing *ring)
{
  g_autoptr (GError) error = NULL;

  vt_queue_rig_try_start (rig, ring, ring->start_base, TRUE, &error);
  g_assert_no_error (error);
}

typedef struct {
  gboolean done;
  int result;
} Answer;

static void
on_done (VdQueueCommand *command, int result)
{
  Answer *answer = command->user_data;

  g_assert_false (answer->done);
  *answer = (Answer){ .done = TRUE, .result = result };
}

int
vt_queue_rig_command (VtQueueRig *rig, VtRing *ring, VdQueueCommand *command)
{
  Answer answer = { 0 };

  command->done = on_done;
  command->user_data = &answer;
  vd_queue_command (find_started (rig, ring)->queue, command);
  vt_queue_rig_pump_until (rig, &answer.done);
  return answer.result;
}

guint32
vt_queue_rig_stop (VtQueueRig *rig, VtRing *ring)
{
  VtRigQueue *slot = find_started (rig, ring);
  VdQueueCommand command = { .type = VD_QUEUE_STOP };
  guint32 base;

  g_assert_cmpint (vt_queue_rig_command (rig, ring, &command), ==, 0);
  base = vd_queue_base (slot->queue);
  close_slot (slot);
  return base;
}

void
vt_queue_rig_forget (VtQueueRig *rig, VtRing *ring)
{
  close_slot (find_started (rig, ring));
}

void
vt_queue_rig_stop_all (VtQueueRig *rig)
{
  for (guint i = 0; i < VT_RIG_QUEUES; i++)
    if (rig->queues[i].queue)
      vt_queue_rig_stop (rig, rig->queues[i].ring);
}

int
vt_queue_rig_enable (VtQueueRig *rig, VtRing *ring, gboolean enable)
{
  VdQueueCommand command = { .type = VD_QUEUE_ENABLE, .value = enable };

  return vt_queue_rig_command (rig, ring, &command);
}

int
vt_queue_rig_set_call_fd (VtQueueRig *rig, VtRing *ring)
{
  VtRigQueue *slot = find_started (rig, ring);
  VdNotifier old = slot->call;
  VdQueueCommand command = { .type = VD_QUEUE_CALL };
  int result;

  slot->call = command.notifier = open_notifier (ring->call_fd);
  result = vt_queue_rig_command (rig, ring, &command);
  vd_notifier_clear (&old);
  return result;
}

int
vt_queue_rig_remap (VtQueueRig *rig)
{
  int result, first = 0;

  vd_map_unref (rig->map);
  rig->map = vt_map_guest (rig->guest, rig->gpa_shift);
  for (guint i = 0; i < VT_RIG_QUEUES; i++) {
    VdQueueCommand command = { .type = VD_QUEUE_MEMORY };

    if (!rig->queues[i].queue)
      continue;
    command.map = vd_map_ref (rig->map);
    result = vt_queue_rig_command (rig, rig->queues[i].ring, &command);
    vd_map_unref (command.map);
    first = first ? first : result;
  }
  return first;
}

void
vt_queue_rig_pump (VtQueueRig *rig)
{
  vd_mailbox_drain (rig->control);
}

void
vt_queue_rig_pump_wait (VtQueueRig *rig)
{
  struct pollfd pfd = { .fd = vd_mailbox_fd (rig->control), .events = POLLIN };
  int n = poll (&pfd, 1, VT_TIMEOUT_MS);

  g_assert_no_errno (n);
  if (n == 0)
    g_error ("no answer from a queue in %d ms", VT_TIMEOUT_MS);
  vd_mailbox_drain (rig->control);
}

void
vt_queue_rig_pump_until (VtQueueRig *rig, const gboolean *flag)
{
  while (!*flag)
    vt_queue_rig_pump_wait (rig);
}

const char *
vt_queue_rig_wait_broken (VtQueueRig *rig, VtRing *ring)
{
  VtRigQueue *slot = find_started (rig, ring);

  while (!slot->broken)
    vt_queue_rig_pump_wait (rig);
  g_assert_true (vt_ring_wait_error (ring, VT_TIMEOUT_MS));
  return slot->broken;
}
