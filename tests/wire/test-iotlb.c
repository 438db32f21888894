/* SPDX-License-Identifier: BSD-3-Clause
 *
 * test-iotlb.c - disks of guests that have an IOMMU
 */
#include <string.h>
#include <sys/mman.h>
#include <unistd.h>

#include "tests/lib/blk.h"
#include "tests/lib/daemon.h"
#include "tests/lib/iommu.h"
#include "tests/lib/machine.h"
#include "vring/fd.h"

#define BIT(n)      (1ull << (n))
#define F_LOG_ALL   BIT (26)
#define F_INDIRECT  BIT (28)
#define F_EVENT_IDX BIT (29)
#define F_PLATFORM  BIT (33)
#define F_PACKED    BIT (34)

#define MIB       (1ull << 20)
#define IMAGE     (1u << 20)
#define MEMORY    (8 * MIB)
#define RING_SIZE 64
#define N_RINGS   2
#define SECTOR    512u

typedef struct {
  VtDaemon *daemon;
  VtGuest *guest;
  VtRing *rings[N_RINGS];
  VtFrontend *fe;
  VtIommu *iommu;
  guint64 features;
} Fixture;

/* --- Set-up --- */

static void
connect_iommu (Fixture *f)
{
  f->fe = vt_daemon_connect (f->daemon, "disk");
  f->iommu = vt_iommu_new (f->fe, f->guest, f->features);
}

static void
disconnect (Fixture *f)
{
  g_clear_pointer (&f->iommu, vt_iommu_free);
  g_clear_pointer (&f->fe, vt_frontend_free);
}

static void
set_up (Fixture *f, gconstpointer data)
{
  VtRingFlags flags = GPOINTER_TO_UINT (data);
  g_autofree char *image = NULL, *other = NULL;

  f->features = (flags & VT_RING_EVENT_IDX ? F_EVENT_IDX : 0) |
                (flags & VT_RING_INDIRECT ? F_INDIRECT : 0) |
                (flags & VT_RING_PACKED ? F_PACKED : 0);
  f->daemon = vt_daemon_new ();
  image = vt_daemon_image (f->daemon, "disk.img", IMAGE);
  other = vt_daemon_image (f->daemon, "other.img", IMAGE);
  vt_daemon_add (f->daemon, "disk", "blk", "image", image, "queues", "2",
                 "iommu", "yes", NULL);
  vt_daemon_add (f->daemon, "plain", "blk", "image", other, NULL);
  vt_daemon_start (f->daemon);
  f->guest = vt_guest_new (MEMORY);
  for (guint i = 0; i < N_RINGS; i++) {
    f->rings[i] = vt_ring_new (f->guest, i, RING_SIZE, flags);
    vt_guest_alloc (f->guest, 1, VT_IOMMU_PAGE); /* its pages are its own */
  }
}

static void
set_up_connected (Fixture *f, gconstpointer data)
{
  set_up (f, data);
  connect_iommu (f);
}

static void
set_up_started (Fixture *f, gconstpointer data)
{
  set_up_connected (f, data);
  for (guint i = 0; i < N_RINGS; i++)
    vt_iommu_start_ring (f->iommu, f->rings[i]);
}

static void
tear_down (Fixture *f, gconstpointer data)
{
  disconnect (f);
  for (guint i = 0; i < N_RINGS; i++)
    vt_ring_free (f->rings[i]);
  vt_guest_free (f->guest);
  vt_daemon_stop (f->daemon);
  vt_daemon_free (f->daemon);
}

/* --- Requests --- */

static void
write_and_read (VtRing *ring, guint64 sector, guint32 len)
{
  g_autofree guint8 *out = g_malloc (len), *in = g_malloc0 (len);

  for (guint32 i = 0; i < len; i++)
    out[i] = (guint8) g_test_rand_int ();
  g_assert_cmpuint (vt_blk_write (ring, sector, out, len), ==, VIRTIO_BLK_S_OK);
  g_assert_cmpuint (vt_blk_read (ring, sector, in, len), ==, VIRTIO_BLK_S_OK);
  g_assert_cmpmem (in, len, out, len);
}

static guint
n_misses (const Fixture *f)
{
  return atomic_load (&f->iommu->n_misses);
}

/* --- Tests --- */

static void
test_nothing_is_offered_unless_asked_for (Fixture *f, gconstpointer data)
{
  g_autoptr (VtFrontend) fe = vt_daemon_connect (f->daemon, "plain");
  const VdWireIotlb wire = { .size = 4096, .permission = 3, .type = 2 };

  g_assert_cmphex (vt_get_features (fe) & F_PLATFORM, ==, 0);
  g_assert_true (vt_set_protocol_features (
      fe, BIT (VD_PROTOCOL_F_REPLY_ACK) | BIT (VD_PROTOCOL_F_BACKEND_REQ)));
  g_assert_true (
      vt_send (fe, VD_IOTLB_MSG, VD_WIRE_VERSION, &wire, sizeof wire, NULL, 0));
  g_assert_cmpuint (vt_receive_ack (fe, VD_IOTLB_MSG), ==, 1);
  vt_barrier (fe);
}

/* Offered, but this front-end has no IOMMU. */
static void
test_a_driver_without_an_iommu_is_served_as_ever (Fixture *f,
                                                  gconstpointer data)
{
  const VdWireIotlb wire = { .size = 4096, .permission = 3, .type = 2 };
  VtMachine *machine = vt_machine_new (VT_ORDER_QEMU_11, 0, 2, 64);

  vt_machine_connect (machine, f->daemon, "disk", 0);
  g_assert_cmphex (machine->fe->features & F_PLATFORM, ==, F_PLATFORM);
  vt_machine_start (machine);
  g_assert_cmphex (machine->fe->acked & F_PLATFORM, ==, 0);
  write_and_read (machine->rings[1], 4, 8 * SECTOR);
  g_assert_true (vt_send (machine->fe, VD_IOTLB_MSG, VD_WIRE_VERSION, &wire, 26,
                          NULL, 0)); /* the shortest */
  g_assert_cmpuint (vt_receive_ack (machine->fe, VD_IOTLB_MSG), ==, 1);
  write_and_read (machine->rings[0], 4, 8 * SECTOR);
  vt_machine_stop (machine);
  vt_machine_free (machine);
}

static void
test_io_goes_through_translations (Fixture *f, gconstpointer data)
{
  for (guint i = 0; i < 8; i++)
    write_and_read (f->rings[i % N_RINGS], i, 40 * SECTOR);
  g_assert_cmpuint (n_misses (f), >, 10);
  for (guint i = 0; i < N_RINGS; i++)
    g_assert_cmphex (vt_iommu_stop_ring (f->iommu, f->rings[i]), ==,
                     vt_ring_base (f->rings[i]));
}

/* As QEMU's virtio-iommu does it; a page may be read and written. */
static void
test_narrow_grants_add_up (Fixture *f, gconstpointer data)
{
  vt_iommu_set_mode (f->iommu, VT_IOMMU_GRANTS_ASKED);
  for (guint i = 0; i < N_RINGS; i++)
    vt_iommu_start_ring (f->iommu, f->rings[i]);
  for (guint i = 0; i < 4; i++)
    write_and_read (f->rings[i % N_RINGS], i, 40 * SECTOR);
}

/* It is told before the rings start, because each of them asks for its addresses
 * as soon as it does. */
static void
test_what_was_told_unasked_is_not_asked_for (Fixture *f, gconstpointer data)
{
  VtRegion *region = f->guest->current;

  vt_iommu_update (f->iommu, region->ptr, 1 * MIB);
  g_assert_cmpuint (region->used, <, 1 * MIB / 2);
  for (guint i = 0; i < N_RINGS; i++) {
    vt_iommu_start_ring (f->iommu, f->rings[i]);
    write_and_read (f->rings[i], 1, 16 * SECTOR);
  }
  g_assert_cmpuint (n_misses (f), ==, 0);
}

static void
test_io_goes_on_while_all_is_withdrawn (Fixture *f, gconstpointer data)
{
  VtBlkRequest *requests[N_RINGS][8];
  const guint n = G_N_ELEMENTS (requests[0]);

  for (guint i = 0; i < N_RINGS * n; i++)
    requests[i / n][i % n] = vt_blk_request_new (
        f->guest, i % 2 ? VIRTIO_BLK_T_IN : VIRTIO_BLK_T_OUT, i % n * 64,
        (1 + 5 * (i % n)) * SECTOR);
  for (guint round = 0; round < 60; round++) {
    VtRing *ring = f->rings[round % N_RINGS];

    for (guint i = 0; i < n; i++)
      g_assert_true (vt_blk_add (ring, requests[round % N_RINGS][i]));
    vt_ring_kick (ring);
    /* QEMU's way to say all, and half the memory */
    g_assert_cmpuint (vt_iommu_invalidate (f->iommu, 0, 0), ==, 0);
    g_assert_cmpuint (vt_iommu_invalidate (f->iommu, 0, VT_GPA_BASE + MIB / 2),
                      ==, 0);
    for (guint i = 0; i < n; i++) {
      VtBlkRequest *request = vt_ring_take (ring, NULL);

      g_assert_cmpuint (*request->status, ==, VIRTIO_BLK_S_OK);
    }
  }
  for (guint i = 0; i < N_RINGS * n; i++)
    g_free (requests[i / n][i % n]);
}

/* A ring that broke: its neighbour and the connection did not, and a driver may
 * start it again. */
static void
expect_broken (Fixture *f, VtRing *ring)
{
  g_assert_true (vt_ring_wait_error (ring, VT_TIMEOUT_MS));
  vt_iommu_wait_fail (f->iommu);
  write_and_read (f->rings[1], 8, 8 * SECTOR);
  vt_iommu_stop_ring (f->iommu, ring);
}

static void
restart (Fixture *f, VtRing *ring)
{
  vt_ring_reset (ring, 0);
  vt_iommu_start_ring (f->iommu, ring);
  write_and_read (ring, 16, 8 * SECTOR);
}

static void
test_a_write_to_read_only_memory_breaks_its_ring (Fixture *f,
                                                  gconstpointer data)
{
  g_autofree VtBlkRequest *request =
      vt_blk_request_new (f->guest, VIRTIO_BLK_T_IN, 0, VT_IOMMU_PAGE);
  guint8 *data_page;

  vt_guest_alloc (f->guest, 1, VT_IOMMU_PAGE);
  data_page = vt_guest_alloc (f->guest, VT_IOMMU_PAGE, VT_IOMMU_PAGE);
  request->data = data_page;
  memset (data_page, 0x5a, VT_IOMMU_PAGE);
  vt_iommu_allow (f->iommu, data_page, VT_IOMMU_PAGE, VT_IOMMU_READ);
  g_assert_true (vt_blk_add (f->rings[0], request));
  vt_ring_kick (f->rings[0]);
  expect_broken (f, f->rings[0]);
  for (guint i = 0; i < VT_IOMMU_PAGE; i++)
    g_assert_cmphex (data_page[i], ==, 0x5a);
  restart (f, f->rings[0]);
}

/* An update that does not permit what was asked for is a refusal as well. */
static void
test_an_update_without_the_permission_breaks_its_ring (Fixture *f,
                                                       gconstpointer data)
{
  g_autofree VtBlkRequest *request =
      vt_blk_request_new (f->guest, VIRTIO_BLK_T_IN, 0, SECTOR);
  guint8 *page;
  guint before;

  vt_guest_alloc (f->guest, 1, VT_IOMMU_PAGE);
  page = vt_guest_alloc (f->guest, VT_IOMMU_PAGE, VT_IOMMU_PAGE);
  request->data = page;
  write_and_read (f->rings[0], 0, SECTOR); /* the ring's misses are over */
  write_and_read (f->rings[1], 8, 8 * SECTOR);
  vt_iommu_update (f->iommu, f->guest->current->ptr, MIB / 2);
  g_assert_cmpuint (
      vt_iommu_invalidate (f->iommu, vt_guest_gpa (f->guest, page), 1), ==, 0);
  vt_iommu_set_mode (f->iommu, VT_IOMMU_SILENT);
  before = n_misses (f);
  g_assert_true (vt_blk_add (f->rings[0], request));
  vt_ring_kick (f->rings[0]);
  vt_iommu_wait_misses (f->iommu, before + 1);
  g_assert_cmpuint (vt_iommu_send (f->iommu, VT_IOMMU_UPDATE,
                                   vt_guest_gpa (f->guest, page), VT_IOMMU_PAGE,
                                   vt_guest_uva (f->guest, page),
                                   VT_IOMMU_READ),
                    ==, 0);
  expect_broken (f, f->rings[0]);
}

static void
test_an_address_that_nobody_maps_breaks_its_ring (Fixture *f,
                                                  gconstpointer data)
{
  g_autofree VtBlkRequest *request =
      vt_blk_request_new (f->guest, VIRTIO_BLK_T_OUT, 0, SECTOR);

  vt_iommu_allow (f->iommu, request->data, SECTOR, 0);
  g_assert_true (vt_blk_add (f->rings[0], request));
  vt_ring_kick (f->rings[0]);
  expect_broken (f, f->rings[0]);
}

static void
test_a_ring_that_nobody_maps_does_not_start (Fixture *f, gconstpointer data)
{
  VtRing *ring = vt_ring_new (f->guest, 0, 512, 0); /* of several pages */

  vt_iommu_start_ring (f->iommu, f->rings[1]);
  vt_iommu_allow (f->iommu, ring->desc, 1, 0);
  vt_iommu_start_ring (f->iommu, ring);
  expect_broken (f, ring);
  vt_iommu_allow (f->iommu, ring->desc, 1, VT_IOMMU_READ | VT_IOMMU_WRITE);
  restart (f, ring);
  vt_ring_free (ring);
}

static void
test_misses_without_an_answer_hold_up_nothing_else (Fixture *f,
                                                    gconstpointer data)
{
  VtUsage before;
  guint n;

  write_and_read (f->rings[0], 0, SECTOR);
  n = n_misses (f);
  vt_iommu_set_mode (f->iommu, VT_IOMMU_SILENT);
  before = vt_daemon_usage (f->daemon);
  before.n_maps += VT_MAPS_SLACK;
  g_assert_cmpuint (vt_iommu_invalidate (f->iommu, 0, 0), ==, 0);
  vt_iommu_wait_misses (f->iommu, n + 1);
  /* Others are not asked for as long as this one is not answered. */
  vt_iommu_lock (f->iommu);
  vt_barrier (f->fe);
  vt_iommu_unlock (f->iommu);
  g_assert_cmpuint (n_misses (f), ==, n + 1);
  g_assert_cmpuint (vt_iommu_invalidate (f->iommu, 0, 0), ==, 0);
  for (guint i = 0; i < N_RINGS; i++)
    g_assert_cmphex (vt_iommu_stop_ring (f->iommu, f->rings[i]), ==,
                     vt_ring_base (f->rings[i]));
  for (guint i = 0; i < N_RINGS; i++) /* which wait for their translations */
    vt_iommu_start_ring (f->iommu, f->rings[i]);
  vt_iommu_stop_ring (f->iommu, f->rings[0]);

  disconnect (f);
  connect_iommu (f);
  vt_iommu_start_ring (f->iommu, f->rings[0]);
  write_and_read (f->rings[0], 0, SECTOR);
  vt_daemon_wait_usage (f->daemon, before);
}

static void
test_updates_that_make_no_sense_change_nothing (Fixture *f, gconstpointer data)
{
  const VtRegion *region = f->guest->current;
  const guint64 end = region->uva + region->size;
  const struct {
    guint64 iova, size, uva;
    guint8 access, type;
  } cases[] = {
    { 0x1000, 0, region->uva, 3, VT_IOMMU_UPDATE },
    { -0x1000ull, 0x2000, region->uva, 3, VT_IOMMU_UPDATE },
    { 0x1000, 0x2000, -0x1000ull, 3, VT_IOMMU_UPDATE },
    { 0x1000, G_MAXUINT64, region->uva, 3, VT_IOMMU_UPDATE },
    { 0x1000, 0x1000, region->uva - 0x1000, 3, VT_IOMMU_UPDATE },
    { 0x1000, 0x1000, end, 3, VT_IOMMU_UPDATE },
    { 0x1000, 0x1001, end - 0x1000, 3, VT_IOMMU_UPDATE },
    { 0x1000, 0x1000, 0, 3, VT_IOMMU_UPDATE },
    { 0x1000, 0x1000, region->uva, 0, VT_IOMMU_UPDATE },
    { 0x1000, 0x1000, region->uva, 4, VT_IOMMU_UPDATE },
    { 0x1000, 0x1000, region->uva, 0xff, VT_IOMMU_UPDATE },
    { 0x1000, 0x1000, region->uva, 3, 0 },
    { 0x1000, 0x1000, region->uva, 3, VT_IOMMU_MISS },
    { 0x1000, 0x1000, region->uva, 3, VT_IOMMU_ACCESS_FAIL },
    { 0x1000, 0x1000, region->uva, 3, 0xff },
    { 0x1000, 0, 0, 0, VT_IOMMU_INVALIDATE },
  };

  write_and_read (f->rings[0], 0, SECTOR);
  for (guint i = 0; i < G_N_ELEMENTS (cases); i++)
    g_assert_cmpuint (vt_iommu_send (f->iommu, cases[i].type, cases[i].iova,
                                     cases[i].size, cases[i].uva,
                                     cases[i].access),
                      ==, 1);
  /* Too much to withdraw is no mistake. */
  g_assert_cmpuint (vt_iommu_invalidate (f->iommu, 0x1000, G_MAXUINT64), ==, 0);
  write_and_read (f->rings[0], 0, SECTOR);
}

static void
test_a_wrong_length_is_answered (Fixture *f, gconstpointer data)
{
  guint8 bytes[40] = { 0 };

  vt_iommu_lock (f->iommu);
  for (guint size = 0; size <= sizeof bytes; size++) {
    g_assert_true (
        vt_send (f->fe, VD_IOTLB_MSG, VD_WIRE_VERSION, bytes, size, NULL, 0));
    g_assert_cmpuint (vt_receive_ack (f->fe, VD_IOTLB_MSG), ==, 1);
  }
  vt_iommu_unlock (f->iommu);
  write_and_read (f->rings[0], 0, SECTOR);
}

static void
test_a_flood_of_updates_is_bounded (Fixture *f, gconstpointer data)
{
  const VtRegion *region = f->guest->current;

  for (guint64 i = 0; i < 20000; i++)
    g_assert_cmpuint (vt_iommu_send (f->iommu, VT_IOMMU_UPDATE,
                                     BIT (40) + i * VT_IOMMU_PAGE,
                                     VT_IOMMU_PAGE, region->uva, 3),
                      ==, 0);
  vt_daemon_signal (f->daemon, SIGUSR1);
  vt_daemon_wait_log (f->daemon, "translations: 16384");
  for (guint i = 0; i < 8; i++)
    write_and_read (f->rings[i % N_RINGS], 0, 40 * SECTOR);
}

/* Some front-ends bring the channel last, or another one. */
static void
test_a_channel_that_comes_late_is_used (Fixture *f, gconstpointer data)
{
  vt_iommu_free (f->iommu);
  f->iommu = NULL;
  g_assert_true (vt_set_backend_req_fd (f->fe)); /* in place of the first */
  f->iommu = NULL;
  for (guint i = 0; i < 2; i++) {
    const VdWireVringAddr addr = {
      .desc = vt_guest_gpa (f->guest, f->rings[0]->desc),
      .used = vt_guest_gpa (f->guest, f->rings[0]->used),
      .avail = vt_guest_gpa (f->guest, f->rings[0]->avail),
    };

    close (f->fe->channel);
    f->fe->channel = -1;
    g_assert_true (vt_set_vring_num (f->fe, 0, RING_SIZE));
    g_assert_true (vt_send (f->fe, VD_SET_VRING_ADDR, VD_WIRE_VERSION, &addr,
                            sizeof addr, NULL, 0));
    g_assert_true (vt_set_vring_kick (f->fe, 0, f->rings[0]->kick_fd));
    g_assert_true (vt_set_vring_enable (f->fe, 0, TRUE));
    g_assert_true (vt_set_backend_req_fd (f->fe));
    g_assert_cmpuint (vt_channel_receive (f->fe, VT_TIMEOUT_MS), ==,
                      VD_BACKEND_IOTLB_MSG);
    vt_get_vring_base (f->fe, 0);
  }
}

/* What an earlier life of the device was told is of no use to the next: nobody
 * withdraws it while the device is stopped. */
static void
test_a_new_driver_starts_without_translations (Fixture *f, gconstpointer data)
{
  guint before;

  write_and_read (f->rings[0], 0, SECTOR);
  for (guint i = 0; i < N_RINGS; i++)
    vt_iommu_stop_ring (f->iommu, f->rings[i]);
  vt_iommu_lock (f->iommu);
  g_assert_true (vt_set_features (f->fe, f->fe->acked));
  vt_iommu_unlock (f->iommu);
  before = n_misses (f);
  vt_ring_reset (f->rings[0], 0);
  vt_iommu_start_ring (f->iommu, f->rings[0]);
  write_and_read (f->rings[0], 0, SECTOR);
  g_assert_cmpuint (n_misses (f), >, before);
}

static void
test_writes_are_logged_by_guest_address (Fixture *f, gconstpointer data)
{
  const gsize size = (VT_IOMMU_SHIFT + 64 * MIB) / VT_IOMMU_PAGE / 8;
  vd_autofd fd = memfd_create ("log", MFD_CLOEXEC);
  g_autofree VtBlkRequest *request = NULL;
  const guint8 *log;
  guint64 page;
  guint n_dirty = 0;

  g_assert_no_errno (ftruncate (fd, (off_t) size));
  log = mmap (NULL, size, PROT_READ, MAP_SHARED, fd, 0);
  g_assert_true (log != MAP_FAILED);
  vt_guest_alloc (f->guest, 1, VT_IOMMU_PAGE);
  request = vt_blk_request_new (f->guest, VIRTIO_BLK_T_IN, 0, SECTOR);
  vt_iommu_lock (f->iommu);
  vt_set_log_base (f->fe, fd, size, 0);
  g_assert_true (vt_set_features (f->fe, f->fe->acked | F_LOG_ALL));
  vt_iommu_unlock (f->iommu);
  g_assert_cmpuint (vt_blk_run (f->rings[0], request), ==, VIRTIO_BLK_S_OK);
  page =
      (vt_guest_gpa (f->guest, request->data) + VT_IOMMU_SHIFT) / VT_IOMMU_PAGE;
  g_assert_true (log[page / 8] & 1u << page % 8);
  for (gsize i = 0; i < size; i++)
    n_dirty += (guint) __builtin_popcount (log[i]);
  g_assert_cmpuint (n_dirty, <=, 2);
  munmap ((void *) log, size);
}

int
main (int argc, char **argv)
{
  const VtRingFlags all = VT_RING_EVENT_IDX | VT_RING_INDIRECT;

  g_test_init (&argc, &argv, NULL);
#define ADD(name, flags, set_up, func)                                         \
  g_test_add ("/iotlb/" name, Fixture, GUINT_TO_POINTER (flags), set_up, func, \
              tear_down)
#define ADD_ALL(name, set_up, func)                                            \
  ADD ("split/" name, 0, set_up, func);                                        \
  ADD ("split-all/" name, all, set_up, func);                                  \
  ADD ("packed/" name, VT_RING_PACKED, set_up, func);                          \
  ADD ("packed-all/" name, VT_RING_PACKED | all, set_up, func)
  ADD ("offer/not", 0, set_up, test_nothing_is_offered_unless_asked_for);
  ADD ("offer/not-acked", 0, set_up,
       test_a_driver_without_an_iommu_is_served_as_ever);
  ADD_ALL ("io", set_up_started, test_io_goes_through_translations);
  ADD_ALL ("narrow", set_up_connected, test_narrow_grants_add_up);
  ADD_ALL ("withdrawn", set_up_started, test_io_goes_on_while_all_is_withdrawn);
  ADD_ALL ("read-only", set_up_started,
           test_a_write_to_read_only_memory_breaks_its_ring);
  ADD_ALL ("unmapped", set_up_started,
           test_an_address_that_nobody_maps_breaks_its_ring);
  ADD_ALL ("silent", set_up_started,
           test_misses_without_an_answer_hold_up_nothing_else);
  ADD ("unasked", 0, set_up_connected,
       test_what_was_told_unasked_is_not_asked_for);
  ADD ("too-little", 0, set_up_started,
       test_an_update_without_the_permission_breaks_its_ring);
  ADD ("unmapped-ring", 0, set_up_connected,
       test_a_ring_that_nobody_maps_does_not_start);
  ADD ("nonsense", 0, set_up_started,
       test_updates_that_make_no_sense_change_nothing);
  ADD ("length", 0, set_up_started, test_a_wrong_length_is_answered);
  ADD ("flood", 0, set_up_started, test_a_flood_of_updates_is_bounded);
  ADD ("late-channel", 0, set_up_connected,
       test_a_channel_that_comes_late_is_used);
  ADD ("new-driver", 0, set_up_started,
       test_a_new_driver_starts_without_translations);
  ADD ("log", 0, set_up_started, test_writes_are_logged_by_guest_address);
  return g_test_run ();
}
