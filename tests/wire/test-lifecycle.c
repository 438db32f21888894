/* SPDX-License-Identifier: BSD-3-Clause
 *
 * test-lifecycle.c - starts, stops and changes of rings and memory, in orders
 * and at moments that front-ends may choose
 */
#include <signal.h>
#include <sys/eventfd.h>

#include "tests/wire/slow-disk.h"

#define F_VERSION_1 (1ull << 32)
#define SECTOR      512

/* --- Without a slow disk --- */

typedef struct {
  VtDaemon *daemon;
  VtMachine *vm;
  VtFrontend *fe;
  char *image;
} Fixture;

static void
set_up (Fixture *f, gconstpointer data)
{
  f->daemon = vt_daemon_new ();
  f->image = vt_daemon_image (f->daemon, "disk.img", 1 << 20);
  vt_daemon_add (f->daemon, "disk", "blk", "image", f->image, "queues", "4",
                 "queue-size-max", "256", NULL);
  vt_daemon_start (f->daemon);
  f->vm = vt_machine_new (VT_ORDER_QEMU_11, VT_RING_EVENT_IDX, 2, 64);
  vt_machine_connect (f->vm, f->daemon, "disk", 60);
  f->fe = f->vm->fe;
  f->fe->reply_mode = VT_REPLY_SETS;
}

static void
tear_down (Fixture *f, gconstpointer data)
{
  vt_machine_free (f->vm);
  if (f->daemon->pid != 0)
    vt_daemon_stop (f->daemon);
  vt_daemon_free (f->daemon);
  g_free (f->image);
}

/* One read whose answer is known. */
static void
read_sector (VtRing *ring, guint64 sector)
{
  guint64 data[SECTOR / sizeof (guint64)];

  g_assert_cmpuint (vt_blk_read (ring, sector, data, sizeof data), ==,
                    VIRTIO_BLK_S_OK);
  for (guint i = 0; i < G_N_ELEMENTS (data); i++)
    g_assert_cmphex (data[i], ==, sector << 8 | i);
}

/* Everything but the rings. */
static void
share_memory (Fixture *f, guint64 refuse)
{
  GPtrArray *regions = f->vm->guest->regions;

  refuse |= 1ull << VD_F_LOG_ALL | 1ull << VIRTIO_F_RING_PACKED;
  g_assert_true (vt_set_features (f->fe, f->fe->features & ~refuse));
  for (guint i = 0; i < regions->len; i++)
    g_assert_true (vt_add_mem_reg (f->fe, g_ptr_array_index (regions, i)));
}

/* All of a ring but KICK and ENABLE. */
static void
describe (Fixture *f, VtRing *ring)
{
  g_assert_true (vt_set_vring_call (f->fe, ring->index, ring->call_fd));
  g_assert_true (vt_set_vring_num (f->fe, ring->index, ring->size));
  g_assert_true (vt_set_vring_base (f->fe, ring->index,
                                    GUINT16_FROM_LE (ring->used->idx)));
  g_assert_true (vt_set_vring_addr (f->fe, ring));
}

static gboolean
kick (Fixture *f, VtRing *ring)
{
  return vt_set_vring_kick (f->fe, ring->index, ring->kick_fd);
}

static gboolean
enable (Fixture *f, VtRing *ring, gboolean value)
{
  return vt_set_vring_enable (f->fe, ring->index, value);
}

static void
start (Fixture *f, VtRing *ring)
{
  describe (f, ring);
  g_assert_true (kick (f, ring));
  g_assert_true (enable (f, ring, TRUE));
}

static void
test_rings_never_described_can_be_enabled (Fixture *f, gconstpointer data)
{
  share_memory (f, 0);
  for (guint i = 0; i < 4; i++) {
    g_assert_true (vt_set_vring_enable (f->fe, i, TRUE));
    g_assert_true (vt_set_vring_enable (f->fe, i, FALSE));
    g_assert_true (vt_set_vring_enable (f->fe, i, TRUE));
  }
  start (f, f->vm->rings[1]);
  read_sector (f->vm->rings[1], 3);
  g_assert_cmpuint (vt_get_vring_base (f->fe, 0), ==, 0); /* never started */
  g_assert_cmpuint (vt_get_vring_base (f->fe, 1), ==, 1);
}

/* Any order of a ring's messages will do. */
static void
test_ring_messages_in_any_order (Fixture *f, gconstpointer data)
{
  VtRing *ring = f->vm->rings[0];

  share_memory (f, 0);
  for (guint round = 0; round < 100; round++) {
    guint left = 0x3f;

    vt_ring_reset (ring, round);
    while (left) {
      guint next = g_test_rand_int_range (0, 6);

      if (!(left & 1 << next))
        continue;
      left &= ~(1u << next);
      /* A start that fails before the last message is no failure then. */
      switch (next) {
      case 0: vt_set_vring_num (f->fe, 0, ring->size); break;
      case 1: vt_set_vring_base (f->fe, 0, round); break;
      case 2: vt_set_vring_addr (f->fe, ring); break;
      case 3: vt_set_vring_call (f->fe, 0, ring->call_fd); break;
      case 4: kick (f, ring); break;
      case 5: enable (f, ring, TRUE); break;
      }
    }
    read_sector (ring, round);
    if (g_test_rand_bit ())
      g_assert_true (enable (f, ring, FALSE));
    g_assert_cmpuint (vt_get_vring_base (f->fe, 0), ==, round + 1);
    g_assert_true (enable (f, ring, FALSE));
  }
}

/* UML binds a driver anew without stopping the rings of the old one. */
static void
test_disabled_ring_can_be_described_anew (Fixture *f, gconstpointer data)
{
  VtRing *old = f->vm->rings[0];
  g_autoptr (VtRing) next =
      vt_ring_new (f->vm->guest, 0, 32, VT_RING_INDIRECT | VT_RING_EVENT_IDX);
  g_autofree VtBlkRequest *request =
      vt_blk_request_new (f->vm->guest, VIRTIO_BLK_T_IN, 0, 512);

  share_memory (f, 0);
  start (f, old);
  start (f, f->vm->rings[1]);
  for (guint i = 0; i < 5; i++)
    read_sector (old, i);
  g_assert_true (enable (f, old, FALSE));
  g_assert_true (vt_set_mem_table (f->fe, f->vm->guest, 2)); /* the same */
  start (f, next);
  for (guint i = 0; i < 5; i++)
    read_sector (next, i);
  read_sector (f->vm->rings[1], 9); /* went on */

  /* Of the old one nothing is left. */
  g_assert_true (vt_blk_add (old, request));
  vt_ring_publish (old);
  vt_ring_kick_always (old);
  read_sector (next, 6);
  g_assert_cmpuint (old->used->idx, ==, 5);
  g_assert_cmpuint (vt_get_vring_base (f->fe, 0), ==, 6);
}

/* The same without ENABLE 0. */
static void
test_running_ring_can_be_described_anew (Fixture *f, gconstpointer data)
{
  VtRing *ring = f->vm->rings[0];

  share_memory (f, 0);
  start (f, ring);
  for (guint i = 0; i < 20; i++) {
    read_sector (ring, i);
    vt_ring_reset (ring, 100 * i);
    describe (f, ring);
    g_assert_true (kick (f, ring)); /* it is enabled still */
    read_sector (ring, i);
    vt_ring_renew_call_fd (ring);
    g_assert_true (vt_set_vring_call (f->fe, 0, ring->call_fd));
    read_sector (ring, i);
  }
}

static void
test_requests_before_the_start_are_served (Fixture *f, gconstpointer data)
{
  VtRing *ring = f->vm->rings[0];
  g_autofree VtBlkRequest *request =
      vt_blk_request_new (f->vm->guest, VIRTIO_BLK_T_IN, 5, 512);
  guint64 count;

  share_memory (f, 0);
  describe (f, ring);
  g_assert_true (vt_blk_add (ring, request));
  vt_ring_kick (ring);
  g_assert_no_errno (eventfd_read (ring->kick_fd, &count)); /* lost */
  g_assert_true (kick (f, ring));
  g_assert_false (vt_ring_wait (ring, 20)); /* not enabled yet */
  g_assert_true (enable (f, ring, TRUE));
  g_assert_true (vt_ring_take (ring, NULL) == request);
}

/* Paused and continued without the driver's knowledge, with requests that were
 * not looked at: as a migration does to both sides. */
static void
test_unserved_requests_survive_a_stop (Fixture *f, gconstpointer data)
{
  VtRing *ring = f->vm->rings[0];
  g_autofree VtBlkRequest *request =
      vt_blk_request_new (f->vm->guest, VIRTIO_BLK_T_IN, 5, 512);

  share_memory (f, 0);
  start (f, ring);
  for (guint i = 0; i < 10; i++) {
    read_sector (ring, i);
    g_assert_true (enable (f, ring, FALSE));
    g_assert_true (vt_blk_add (ring, request));
    vt_ring_kick (ring);
    g_assert_cmpuint (vt_get_vring_base (f->fe, 0), ==, 2 * i + 1);
    g_assert_cmpuint (ring->used->idx, ==, 2 * i + 1);
    start (f, ring);
    g_assert_true (vt_ring_take (ring, NULL) == request);
  }
}

/* A driver may leave out PROTOCOL_FEATURES, also after it was acked: rings then
 * run without ENABLE. */
static void
test_without_protocol_features_rings_run_at_once (Fixture *f,
                                                  gconstpointer data)
{
  VtRing *ring = f->vm->rings[0];

  if (data)
    share_memory (f, 0);
  else
    share_memory (f, 1ull << VD_F_PROTOCOL_FEATURES);
  g_assert_true (vt_set_features (
      f->fe, f->fe->acked & ~(1ull << VD_F_PROTOCOL_FEATURES)));
  describe (f, ring);
  g_assert_true (kick (f, ring));
  read_sector (ring, 1);
  g_assert_cmpuint (vt_get_vring_base (f->fe, 0), ==, 1);
}

static void
test_polling_on_both_sides (Fixture *f, gconstpointer data)
{
  VtRing *ring = f->vm->rings[0];

  share_memory (f, 0);
  describe (f, ring);
  g_assert_true (vt_set_vring_call (f->fe, 0, -1));
  g_assert_true (vt_set_vring_kick (f->fe, 0, -1));
  g_assert_true (enable (f, ring, TRUE));
  vt_ring_set_interrupts (ring, FALSE);
  for (guint i = 0; i < 20; i++) {
    g_autofree VtBlkRequest *request =
        vt_blk_request_new (f->vm->guest, VIRTIO_BLK_T_IN, i, 512);

    g_assert_true (vt_blk_add (ring, request));
    vt_ring_publish (ring); /* no kick */
    g_assert_true (vt_ring_take (ring, NULL) == request);
  }
  g_assert_cmpuint (vt_ring_drain_calls (ring), ==, 0);

  /* The driver wants interrupts again; the new descriptor is told at once. */
  g_assert_true (vt_set_vring_call (f->fe, 0, ring->call_fd));
  g_assert_cmpuint (vt_ring_drain_calls (ring), ==, 1);
}

static void
test_legacy_driver_is_refused_and_a_modern_one_served (Fixture *f,
                                                       gconstpointer data)
{
  VtRing *ring = f->vm->rings[0];

  share_memory (f, F_VERSION_1);
  describe (f, ring);
  g_assert_true (enable (f, ring, TRUE));
  g_assert_false (kick (f, ring));
  vt_daemon_wait_log (f->daemon, "VERSION_1");
  g_assert_cmpuint (vt_get_vring_base (f->fe, 0), ==, 0);
  g_assert_true (vt_set_features (f->fe, f->fe->acked | F_VERSION_1));
  start (f, ring);
  read_sector (ring, 1);
}

static void
test_size_over_the_limit_is_refused (Fixture *f, gconstpointer data)
{
  g_autoptr (VtRing) large = vt_ring_new (f->vm->guest, 2, 512, 0);
  g_autoptr (VtRing) right = vt_ring_new (f->vm->guest, 2, 256, 0);

  share_memory (f, 1ull << 29);
  describe (f, large);
  g_assert_true (enable (f, large, TRUE));
  g_assert_false (kick (f, large));
  vt_daemon_wait_log (f->daemon, "queue-size-max");
  start (f, right);
  read_sector (right, 1);
}

static void
test_reset_begins_a_new_life (Fixture *f, gconstpointer data)
{
  g_assert_true (vt_reset_device (f->fe)); /* before SET_FEATURES */
  share_memory (f, 0);
  for (guint life = 0; life < 5; life++) {
    for (guint i = 0; i < 2; i++) {
      vt_ring_reset (f->vm->rings[i], 0);
      start (f, f->vm->rings[i]);
      read_sector (f->vm->rings[i], life);
    }
    g_assert_true (vt_reset_device (f->fe));
    for (guint i = 0; i < 2; i++)
      g_assert_cmpuint (vt_get_vring_base (f->fe, i), ==, 0);
  }
}

/* One read into memory that is allocated for it. */
static void
read_into (VtGuest *guest, VtRing *ring)
{
  g_autofree VtBlkRequest *request =
      vt_blk_request_new (guest, VIRTIO_BLK_T_IN, 0, 512);

  g_assert_cmpuint (vt_blk_run (ring, request), ==, VIRTIO_BLK_S_OK);
}

/* Memory that comes and goes while rings run. */
static void
test_memory_is_added_and_removed_under_running_rings (Fixture *f,
                                                      gconstpointer data)
{
  VtRing *ring = f->vm->rings[0];
  VtGuest *guest = f->vm->guest;
  VtRegion *rings_region = g_ptr_array_index (guest->regions, 0);

  share_memory (f, 0);
  start (f, ring);
  for (guint i = 0; i < 20; i++) {
    VtRegion *more = vt_guest_add (guest, 0x200000000, 0x10000000, 1 << 20, 0);

    g_assert_true (vt_add_mem_reg (f->fe, more));
    read_into (guest, ring); /* the new region */
    g_assert_cmpuint (more->used, >, 512);
    g_assert_true (vt_rem_mem_reg (f->fe, more));
    vt_guest_remove (guest, more);
    guest->current = g_ptr_array_index (guest->regions, 1);
    read_sector (ring, i);
  }
  g_assert_false (vt_rem_mem_reg (f->fe, rings_region));
  read_sector (ring, 1);
}

/* --- With a slow disk --- */

static void
connect_and_start (VtSlowDisk *f)
{
  vt_machine_connect (f->vm, f->daemon, "slow", 60);
  vt_machine_start (f->vm);
}

static void
test_get_vring_base_waits_for_requests_in_flight (VtSlowDisk *f,
                                                  gconstpointer data)
{
  VtRing *ring = f->vm->rings[0];

  connect_and_start (f);
  vt_slow_disk_begin (f, ring, 3);
  vt_send_get_vring_base (f->vm->fe, 0);
  g_assert_true (vt_is_silent (f->vm->fe, 50));
  vt_slow_disk_ask_id (f->vm->rings[1]); /* the other ring goes on */
  g_assert_cmpuint (ring->used->idx, ==, 1);

  vt_fault_release (f->fs);
  g_assert_cmpuint (vt_receive_vring_base (f->vm->fe, 0), ==, 4);
  g_assert_cmpuint (ring->used->idx, ==, 4); /* by then, not later */
  vt_slow_disk_end (f, ring, 3);
}

static void
test_reset_waits_for_requests_in_flight (VtSlowDisk *f, gconstpointer data)
{
  VtFrontend *fe;

  connect_and_start (f);
  fe = f->vm->fe;
  vt_slow_disk_begin (f, f->vm->rings[0], 2);
  vt_send (fe, VD_RESET_DEVICE, VD_WIRE_VERSION | VD_FLAG_NEED_REPLY, NULL, 0,
           NULL, 0);
  g_assert_true (vt_is_silent (fe, 50));
  vt_fault_release (f->fs);
  g_assert_cmpuint (vt_receive_ack (fe, VD_RESET_DEVICE), ==, 0);
  g_assert_cmpuint (f->vm->rings[0]->used->idx, ==, 3);
  vt_slow_disk_end (f, f->vm->rings[0], 2);
}

static void
test_removed_memory_waits_for_requests_in_flight (VtSlowDisk *f,
                                                  gconstpointer data)
{
  VtRing *ring = f->vm->rings[0];
  VtRegion *more;
  VdWireMemReg payload;

  connect_and_start (f);
  f->vm->fe->reply_mode = VT_REPLY_SETS;
  more = vt_guest_add (f->vm->guest, 0x200000000, 0x10000000, 1 << 20, 0);
  g_assert_true (vt_add_mem_reg (f->vm->fe, more));
  vt_slow_disk_begin (f, ring, 2); /* into the new region */

  payload = (VdWireMemReg){ .region = { more->gpa, more->size, more->uva,
                                        more->offset } };
  vt_send (f->vm->fe, VD_REM_MEM_REG, VD_WIRE_VERSION | VD_FLAG_NEED_REPLY,
           &payload, sizeof payload, NULL, 0);
  g_assert_true (vt_is_silent (f->vm->fe, 50));
  vt_fault_release (f->fs);
  g_assert_cmpuint (vt_receive_ack (f->vm->fe, VD_REM_MEM_REG), ==, 0);
  vt_slow_disk_end (f, ring, 2);
}

static void
test_describing_anew_waits_for_requests_in_flight (VtSlowDisk *f,
                                                   gconstpointer data)
{
  VtRing *ring = f->vm->rings[0];
  VdWireVringState state = { 0, 64 };
  VtFrontend *fe;

  connect_and_start (f);
  fe = f->vm->fe;
  vt_slow_disk_begin (f, ring, 2);
  vt_send (fe, VD_SET_VRING_NUM, VD_WIRE_VERSION | VD_FLAG_NEED_REPLY, &state,
           sizeof state, NULL, 0);
  g_assert_true (vt_is_silent (fe, 50));
  vt_fault_release (f->fs);
  g_assert_cmpuint (vt_receive_ack (fe, VD_SET_VRING_NUM), ==, 0);
  vt_slow_disk_end (f, ring, 2);
}

/* ENABLE and CALL do not wait. */
static void
test_enable_and_call_do_not_wait (VtSlowDisk *f, gconstpointer data)
{
  VtRing *ring = f->vm->rings[0];

  connect_and_start (f);
  f->vm->fe->reply_mode = VT_REPLY_SETS;
  vt_slow_disk_begin (f, ring, 2);
  g_assert_true (vt_set_vring_enable (f->vm->fe, 0, FALSE));
  g_assert_true (vt_set_vring_enable (f->vm->fe, 0, TRUE));
  vt_ring_renew_call_fd (ring);
  g_assert_true (vt_set_vring_call (f->vm->fe, 0, ring->call_fd));
  g_assert_cmpuint (vt_ring_drain_calls (ring), ==, 1);
  vt_slow_disk_ask_id (f->vm->rings[1]);
  g_assert_cmpuint (ring->used->idx, ==, 1);
  vt_fault_release (f->fs);
  vt_slow_disk_end (f, ring, 2);
}

/* The front-end dies in the middle; the next one comes while the daemon waits
 * for the disk. */
static void
test_death_of_a_guest_with_requests_in_flight (VtSlowDisk *f,
                                               gconstpointer data)
{
  g_autoptr (VtMachine) next = vt_machine_new (VT_ORDER_UML_7, 0, 1, 64);
  g_autofree char *path = vt_daemon_socket (f->daemon, "slow");
  VtUsage before;
  int fd;

  connect_and_start (f);
  vt_machine_disconnect (f->vm); /* what is made once and kept is made now */
  vt_machine_connect (next, f->daemon, "toy", 4);
  vt_machine_disconnect (next);
  before = vt_daemon_usage (f->daemon);
  connect_and_start (f);
  vt_slow_disk_begin (f, f->vm->rings[0], 3);
  vt_machine_disconnect (f->vm);
  fd = vt_connect (path);
  vt_fault_release (f->fs);
  vt_machine_hello (next, fd, 60);
  vt_machine_start (next);
  vt_slow_disk_ask_id (next->rings[0]);
  vt_machine_disconnect (next);
  before.n_maps += VT_MAPS_SLACK;
  before.n_threads += 8;
  vt_daemon_wait_usage (f->daemon, before);
}

static void
test_sigterm_with_requests_in_flight (VtSlowDisk *f, gconstpointer data)
{
  connect_and_start (f);
  vt_slow_disk_begin (f, f->vm->rings[0], 3);
  vt_daemon_signal (f->daemon, SIGTERM);
  vt_fault_release (f->fs);
  g_assert_cmpint (vt_daemon_wait (f->daemon), ==, 0);
  g_assert_cmpuint (f->vm->rings[0]->used->idx, ==, 4);
}

/* Messages that are unread when the daemon is told to end start nothing: under
 * AddressSanitizer a ring that was never stopped is a leak. */
static void
test_sigterm_overtakes_unread_messages (Fixture *f, gconstpointer data)
{
  VtRing *rings[32];

  vt_machine_disconnect (f->vm);
  vt_daemon_stop (f->daemon);
  vt_daemon_set (f->daemon, "disk", "queues", "32");
  vt_daemon_start (f->daemon);
  vt_machine_connect (f->vm, f->daemon, "disk", 60);
  f->fe = f->vm->fe;
  f->fe->reply_mode = VT_REPLY_SETS;
  share_memory (f, 0);
  for (guint i = 0; i < G_N_ELEMENTS (rings); i++) {
    rings[i] = vt_ring_new (f->vm->guest, i, 16, VT_RING_EVENT_IDX);
    describe (f, rings[i]);
    g_assert_true (vt_set_vring_kick (f->fe, i, rings[i]->kick_fd));
  }
  f->fe->reply_mode = VT_REPLY_NEVER;
  for (guint i = 0; i < G_N_ELEMENTS (rings); i++)
    g_assert_true (vt_set_vring_enable (f->fe, i, TRUE));
  vt_daemon_signal (f->daemon, SIGTERM);
  g_assert_cmpint (vt_daemon_wait (f->daemon), ==, 0);
  for (guint i = 0; i < G_N_ELEMENTS (rings); i++)
    vt_ring_free (rings[i]);
}

int
main (int argc, char **argv)
{
  g_test_init (&argc, &argv, NULL);
  vt_slow_disk_prepare ();
#define ADD(name, data, func)                                                  \
  g_test_add ("/lifecycle/" name, Fixture, data, set_up, func, tear_down)
  ADD ("enable/never-described", NULL,
       test_rings_never_described_can_be_enabled);
  ADD ("start/any-order", NULL, test_ring_messages_in_any_order);
  ADD ("start/disabled-anew", NULL, test_disabled_ring_can_be_described_anew);
  ADD ("start/running-anew", NULL, test_running_ring_can_be_described_anew);
  ADD ("start/early-requests", NULL, test_requests_before_the_start_are_served);
  ADD ("start/never-protocol", NULL,
       test_without_protocol_features_rings_run_at_once);
  ADD ("start/no-longer-protocol", "",
       test_without_protocol_features_rings_run_at_once);
  ADD ("start/polling", NULL, test_polling_on_both_sides);
  ADD ("start/legacy", NULL,
       test_legacy_driver_is_refused_and_a_modern_one_served);
  ADD ("start/size", NULL, test_size_over_the_limit_is_refused);
  ADD ("stop/unserved", NULL, test_unserved_requests_survive_a_stop);
  ADD ("stop/reset", NULL, test_reset_begins_a_new_life);
  ADD ("stop/unread", NULL, test_sigterm_overtakes_unread_messages);
  ADD ("memory/running", NULL,
       test_memory_is_added_and_removed_under_running_rings);

  vt_slow_disk_add ("/lifecycle/drain/get-vring-base",
                    test_get_vring_base_waits_for_requests_in_flight);
  vt_slow_disk_add ("/lifecycle/drain/reset",
                    test_reset_waits_for_requests_in_flight);
  vt_slow_disk_add ("/lifecycle/drain/memory",
                    test_removed_memory_waits_for_requests_in_flight);
  vt_slow_disk_add ("/lifecycle/drain/anew",
                    test_describing_anew_waits_for_requests_in_flight);
  vt_slow_disk_add ("/lifecycle/drain/not-needed",
                    test_enable_and_call_do_not_wait);
  vt_slow_disk_add ("/lifecycle/drain/death",
                    test_death_of_a_guest_with_requests_in_flight);
  vt_slow_disk_add ("/lifecycle/drain/sigterm",
                    test_sigterm_with_requests_in_flight);
  return g_test_run ();
}
