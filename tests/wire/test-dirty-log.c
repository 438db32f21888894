/* SPDX-License-Identifier: BSD-3-Clause
 *
 * test-dirty-log.c - a migration's log of what the device writes, under I/O
 */
#include <string.h>
#include <sys/mman.h>
#include <unistd.h>

#include "tests/wire/slow-disk.h"
#include "vring/fd.h"

#define PAGE      4096u
#define IMAGE     (1u << 20)
#define RING_SIZE 64
#define MEMORY    (8u << 20) /* of the guest, at gpa 0 */
#define LOG_SIZE  (MEMORY / PAGE / 8)
#define BIT(n)    (1ull << (n))

typedef struct {
  VtDaemon *daemon;
  VtGuest *guest;
  VtRegion *region;
  VtFrontend *fe;
  VtRing *ring;
  char *image;
  int log_fd;
  guint8 *log;
} Fixture;

/* --- Set-up --- */

static void
new_log (int *ret_fd, guint8 **ret, gsize size)
{
  *ret_fd = memfd_create ("log", MFD_CLOEXEC);
  g_assert_no_errno (ftruncate (*ret_fd, (off_t) size));
  *ret = mmap (NULL, size, PROT_READ | PROT_WRITE, MAP_SHARED, *ret_fd, 0);
  g_assert_true (*ret != MAP_FAILED);
}

/* Connects as QEMU does, with the protocol feature for the log. */
static void
hello (Fixture *f)
{
  f->fe = vt_daemon_connect (f->daemon, "disk");
  vt_frontend_hello (f->fe, VT_ORDER_QEMU_11, f->guest, &f->ring, 1);
  g_assert_true (vt_set_protocol_features (
      f->fe, f->fe->protocol_features | BIT (VD_PROTOCOL_F_LOG_SHMFD)));
}

static void
set_up (Fixture *f, gconstpointer data)
{
  VtRingFlags flags = GPOINTER_TO_UINT (data);

  f->daemon = vt_daemon_new ();
  f->image = vt_daemon_image (f->daemon, "disk.img", IMAGE);
  vt_daemon_add (f->daemon, "disk", "blk", "image", f->image, "queues", "1",
                 NULL);
  vt_daemon_start (f->daemon);
  f->guest = vt_guest_new (0);
  f->region = vt_guest_add (f->guest, 0, VT_UVA_SHIFT, MEMORY, 0);
  f->ring = vt_ring_new (f->guest, 0, RING_SIZE, flags);
  vt_guest_alloc (f->guest, 1, PAGE); /* the ring's pages are its own */
  new_log (&f->log_fd, &f->log, LOG_SIZE);
  hello (f);
  vt_frontend_start (f->fe);
  f->fe->reply_mode = VT_REPLY_SETS;
}

static void
tear_down (Fixture *f, gconstpointer data)
{
  vt_frontend_free (f->fe);
  munmap (f->log, LOG_SIZE);
  vd_clear_fd (&f->log_fd);
  vt_ring_free (f->ring);
  vt_guest_free (f->guest);
  vt_daemon_stop (f->daemon);
  vt_daemon_free (f->daemon);
  g_free (f->image);
}

/* In the order of QEMU: the log, LOG_ALL, then the rings. */
static void
log_on (Fixture *f, gboolean ring_too)
{
  vt_set_log_base (f->fe, f->log_fd, LOG_SIZE, 0);
  g_assert_true (vt_set_features (f->fe, f->fe->acked | BIT (VD_F_LOG_ALL)));
  if (ring_too)
    g_assert_true (vt_set_vring_addr_logged (f->fe, f->ring));
}

static void
log_off (Fixture *f)
{
  g_assert_true (vt_set_features (f->fe, f->fe->acked & ~BIT (VD_F_LOG_ALL)));
  g_assert_true (vt_set_vring_addr (f->fe, f->ring));
}

/* --- What is marked --- */

static gboolean
is_marked (const Fixture *f, guint64 page)
{
  return (f->log[page / 8] >> (page % 8)) & 1;
}

static void
expect (guint8 *expected, guint64 gpa, guint64 len)
{
  for (guint64 page = gpa / PAGE; page <= (gpa + len - 1) / PAGE; page++)
    expected[page / 8] |= (guint8) (1u << (page % 8));
}

/* One request at @data; @expected: (nullable): gets what the device writes. */
static void
run (Fixture *f, guint32 type, void *data, guint32 len, guint8 *expected)
{
  VtBlkRequest request = {
    .header = vt_guest_alloc (f->guest, sizeof *request.header, PAGE),
    .data = data,
    .data_len = len,
    .status = vt_guest_alloc (f->guest, 1, PAGE),
  };

  request.header->type = GUINT32_TO_LE (type);
  g_assert_cmpuint (vt_blk_run (f->ring, &request), ==, VIRTIO_BLK_S_OK);
  if (!expected)
    return;
  expect (expected, vt_guest_gpa (f->guest, request.status), 1);
  if (type == VIRTIO_BLK_T_IN)
    expect (expected, vt_guest_gpa (f->guest, data), len);
}

static void
test_exactly_what_the_device_writes_is_marked (Fixture *f, gconstpointer data)
{
  g_autofree guint8 *expected = g_malloc0 (LOG_SIZE);
  guint8 *memory = vt_guest_alloc (f->guest, 16 * PAGE, PAGE);

  run (f, VIRTIO_BLK_T_IN, memory, PAGE, NULL); /* before the log */
  log_on (f, FALSE);
  run (f, VIRTIO_BLK_T_IN, memory + PAGE, PAGE, expected);
  run (f, VIRTIO_BLK_T_OUT, memory + 2 * PAGE, 2 * PAGE, expected);
  run (f, VIRTIO_BLK_T_IN, memory + 5 * PAGE - 512, 1024, expected);
  run (f, VIRTIO_BLK_T_IN, memory + 8 * PAGE, 4 * PAGE, expected);
  run (f, VIRTIO_BLK_T_FLUSH, NULL, 0, expected);
  g_assert_cmpmem (f->log, LOG_SIZE, expected, LOG_SIZE);
}

static void
test_nothing_is_marked_when_it_is_off (Fixture *f, gconstpointer data)
{
  g_autofree guint8 *zeroes = g_malloc0 (LOG_SIZE);
  guint8 *memory = vt_guest_alloc (f->guest, PAGE, PAGE);

  vt_set_log_base (f->fe, f->log_fd, LOG_SIZE, 0); /* without LOG_ALL */
  run (f, VIRTIO_BLK_T_IN, memory, PAGE, NULL);
  g_assert_cmpmem (f->log, LOG_SIZE, zeroes, LOG_SIZE);
  for (guint i = 0; i < 10; i++) {
    log_on (f, TRUE);
    run (f, VIRTIO_BLK_T_IN, memory, PAGE, NULL);
    g_assert_true (is_marked (f, vt_guest_gpa (f->guest, memory) / PAGE));
    log_off (f);
    memset (f->log, 0, LOG_SIZE);
    run (f, VIRTIO_BLK_T_IN, memory, PAGE, NULL);
    g_assert_cmpmem (f->log, LOG_SIZE, zeroes, LOG_SIZE);
  }
}

/* The ring's pages: those that the device writes, and only if asked for. */
static void
test_the_ring_is_marked_if_asked_for (Fixture *f, gconstpointer data)
{
  gboolean packed = (f->ring->flags & VT_RING_PACKED) != 0;
  guint64 used = vt_guest_gpa (f->guest, packed ? (void *) f->ring->desc
                                                : (void *) f->ring->used);
  guint8 *memory = vt_guest_alloc (f->guest, PAGE, PAGE);

  log_on (f, FALSE);
  run (f, VIRTIO_BLK_T_IN, memory, PAGE, NULL);
  g_assert_false (is_marked (f, used / PAGE));
  g_assert_true (vt_set_vring_addr_logged (f->fe, f->ring));
  run (f, VIRTIO_BLK_T_IN, memory, PAGE, NULL);
  g_assert_true (is_marked (f, used / PAGE));
  g_assert_true (vt_set_vring_addr (f->fe, f->ring));
  memset (f->log, 0, LOG_SIZE);
  run (f, VIRTIO_BLK_T_IN, memory, PAGE, NULL);
  g_assert_false (is_marked (f, used / PAGE));
}

/* --- A migration --- */

typedef struct {
  guint8 *there;   /* the destination's memory */
  guint64 n_pages; /* copied so far */
} Migration;

/* Takes the marks, then copies: a page that is written again in between is
 * marked again. */
static void
copy_marked (Fixture *f, Migration *migration)
{
  for (guint i = 0; i < LOG_SIZE; i++) {
    guint8 marks = __atomic_exchange_n (&f->log[i], 0, __ATOMIC_SEQ_CST);

    for (guint64 page = i * 8; marks; page++, marks >>= 1)
      if (marks & 1) {
        memcpy (migration->there + page * PAGE, f->region->ptr + page * PAGE,
                PAGE);
        migration->n_pages++;
      }
  }
}

#define N_REQUESTS 20
#define BUFFER     (3 * PAGE / 2) /* so that most share a page with another */

/* Reads random sectors for ever into @requests' buffers. */
static void
submit_read (Fixture *f, VtBlkRequest *request)
{
  guint64 sector = (guint64) g_test_rand_int_range (0, (IMAGE - BUFFER) / 512);

  request->header->sector = GUINT64_TO_LE (sector);
  g_assert_true (vt_blk_add (f->ring, request));
}

static void
run_reads (Fixture *f, guint n)
{
  while (n-- > 0) {
    submit_read (f, vt_ring_take (f->ring, NULL));
    vt_ring_kick (f->ring);
  }
}

static void
assert_arrived (Fixture *f, const Migration *migration, const void *at,
                gsize len)
{
  gsize offset = (gsize) ((const guint8 *) at - f->region->ptr);

  g_assert_cmpmem (migration->there + offset, len, at, len);
}

/* All of memory is copied once, then what is marked, again and again while the
 * guest reads its disk; after the stop everything that the device wrote is
 * there. */
static void
test_a_migrated_guest_has_all_its_data (Fixture *f, gconstpointer data)
{
  Migration migration = { .there = g_malloc (MEMORY) };
  VtBlkRequest *requests[N_REQUESTS];

  for (guint i = 0; i < N_REQUESTS; i++) {
    requests[i] = vt_blk_request_new (f->guest, VIRTIO_BLK_T_IN, 0, BUFFER);
    submit_read (f, requests[i]);
  }
  vt_ring_kick (f->ring);
  run_reads (f, 100);
  log_on (f, TRUE);
  memcpy (migration.there, f->region->ptr, MEMORY);
  for (guint i = 0; i < 50; i++) {
    run_reads (f, 20);
    copy_marked (f, &migration);
  }
  g_assert_true (vt_set_vring_enable (f->fe, 0, FALSE));
  vt_get_vring_base (f->fe, 0);
  copy_marked (f, &migration);
  for (guint i = 0; i < N_REQUESTS; i++) {
    assert_arrived (f, &migration, requests[i]->data, BUFFER);
    assert_arrived (f, &migration, requests[i]->status, 1);
    g_free (requests[i]);
  }
  if (f->ring->flags & VT_RING_PACKED)
    assert_arrived (f, &migration, f->ring->desc,
                    RING_SIZE * sizeof *f->ring->desc);
  else
    assert_arrived (f, &migration, f->ring->used,
                    vt_ring_used_size (RING_SIZE) - 2);
  g_assert_cmpuint (migration.n_pages, >, 50);
  g_free (migration.there);
}

/* --- Refusals --- */

static void
test_a_log_smaller_than_memory_is_refused (Fixture *f, gconstpointer data)
{
  const VdWireLog log = { LOG_SIZE - 1, 0 };

  g_assert_true (vt_send (f->fe, VD_SET_LOG_BASE, VD_WIRE_VERSION, &log,
                          sizeof log, &f->log_fd, 1));
  g_assert_cmpuint (vt_wait_closed (f->fe), ==, 0);
  vt_daemon_wait_log (f->daemon, "too small for the guest's memory");
  vt_frontend_free (f->fe);
  hello (f); /* and the next one is served */
  vt_ring_reset (f->ring, 0);
  vt_frontend_start (f->fe);
  f->fe->reply_mode = VT_REPLY_SETS;
  log_on (f, TRUE);
  run (f, VIRTIO_BLK_T_IN, vt_guest_alloc (f->guest, PAGE, PAGE), PAGE, NULL);
}

/* What is written there would be lost on the way. */
static void
test_memory_beyond_the_log_is_refused (Fixture *f, gconstpointer data)
{
  VtRegion *more =
      vt_guest_add (f->guest, MEMORY, VT_UVA_SHIFT + MEMORY, MEMORY, 0);
  guint8 *memory, *log;
  vd_autofd fd = -1;

  log_on (f, TRUE);
  g_assert_false (vt_add_mem_reg (f->fe, more));
  vt_daemon_wait_log (f->daemon, "beyond the dirty log");

  /* The right order: first a larger log. */
  new_log (&fd, &log, 2 * LOG_SIZE);
  vt_set_log_base (f->fe, fd, 2 * LOG_SIZE, 0);
  g_assert_true (vt_add_mem_reg (f->fe, more));
  memory = vt_guest_alloc (f->guest, PAGE, PAGE);
  run (f, VIRTIO_BLK_T_IN, memory, PAGE, NULL);
  g_assert_cmpuint (log[vt_guest_gpa (f->guest, memory) / PAGE / 8] &
                        1u << (vt_guest_gpa (f->guest, memory) / PAGE % 8),
                    !=, 0);
  munmap (log, 2 * LOG_SIZE);
}

/* A log that lies in the middle of a file, at an odd place. */
static void
test_a_log_may_have_any_offset (Fixture *f, gconstpointer data)
{
  const guint64 offset = 5 * PAGE + 24;
  guint8 *memory = vt_guest_alloc (f->guest, PAGE, PAGE), *log;
  guint64 page = vt_guest_gpa (f->guest, memory) / PAGE;
  vd_autofd fd = -1;

  new_log (&fd, &log, offset + LOG_SIZE);
  vt_set_log_base (f->fe, fd, LOG_SIZE, offset);
  g_assert_true (vt_set_features (f->fe, f->fe->acked | BIT (VD_F_LOG_ALL)));
  run (f, VIRTIO_BLK_T_IN, memory, PAGE, NULL);
  g_assert_cmpuint (log[offset + page / 8] & 1u << (page % 8), !=, 0);
  for (guint i = 0; i < offset; i++)
    g_assert_cmpuint (log[i], ==, 0);
  munmap (log, offset + LOG_SIZE);
}

/* --- With a slow disk --- */

/* What was under way when the log began is not marked; so the front-end hears
 * that it began only when that is done. */
static void
test_the_log_begins_after_what_is_under_way (VtSlowDisk *f, gconstpointer data)
{
  VtFrontend *fe;
  guint8 *log;
  vd_autofd fd = -1;
  guint64 size = (4ull << 30) / PAGE / 8 + 4096;
  guint64 features;

  new_log (&fd, &log, size);
  vt_machine_connect (f->vm, f->daemon, "slow", 60);
  fe = f->vm->fe;
  g_assert_true (vt_set_protocol_features (
      fe, fe->protocol_features | BIT (VD_PROTOCOL_F_LOG_SHMFD)));
  vt_machine_start (f->vm);
  vt_slow_disk_begin (f, f->vm->rings[0], 4);
  vt_set_log_base (fe, fd, size, 0); /* nothing uses it yet */
  features = fe->acked | BIT (VD_F_LOG_ALL);
  g_assert_true (vt_send (fe, VD_SET_FEATURES,
                          VD_WIRE_VERSION | VD_FLAG_NEED_REPLY, &features,
                          sizeof features, NULL, 0));
  g_assert_true (vt_is_silent (fe, 20));
  vt_fault_release (f->fs);
  g_assert_cmpuint (vt_receive_ack (fe, VD_SET_FEATURES), ==, 0);
  vt_slow_disk_end (f, f->vm->rings[0], 4);
  munmap (log, size);
}

int
main (int argc, char **argv)
{
  gpointer split = GUINT_TO_POINTER (VT_RING_EVENT_IDX);
  gpointer packed =
      GUINT_TO_POINTER (VT_RING_EVENT_IDX | VT_RING_PACKED | VT_RING_INDIRECT);

  g_test_init (&argc, &argv, NULL);
  vt_slow_disk_prepare ();
#define ADD(name, func)                                                        \
  g_test_add ("/wire/dirty-log/split/" name, Fixture, split, set_up, func,     \
              tear_down);                                                      \
  g_test_add ("/wire/dirty-log/packed/" name, Fixture, packed, set_up, func,   \
              tear_down)
  ADD ("exact", test_exactly_what_the_device_writes_is_marked);
  ADD ("off", test_nothing_is_marked_when_it_is_off);
  ADD ("ring", test_the_ring_is_marked_if_asked_for);
  ADD ("migration", test_a_migrated_guest_has_all_its_data);
  ADD ("small", test_a_log_smaller_than_memory_is_refused);
  ADD ("beyond", test_memory_beyond_the_log_is_refused);
  ADD ("offset", test_a_log_may_have_any_offset);
  vt_slow_disk_add ("/wire/dirty-log/slow/begin",
                    test_the_log_begins_after_what_is_under_way);
  return g_test_run ();
}
