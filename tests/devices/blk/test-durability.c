/* SPDX-License-Identifier: BSD-3-Clause
 *
 * test-durability.c - which writes and flushes reach the image, in which order,
 * and what becomes of its errors
 *
 * The image lies on a file system that records and fails what the kernel asks
 * of it (fault-fs.h).  All tests run with every engine.
 */
#include "devices/blk/blk.h"

#include <errno.h>
#include <string.h>

#include "devices/blk/call.h"
#include "tests/devices/blk/fault-fs.h"
#include "tests/lib/blk.h"
#include "tests/lib/rig.h"

#define SECTOR   512u
#define SIZE     (1u << 20)
#define N_QUEUES 4u
#define PAGE     4096u

#define ALL_FEATURES G_MAXUINT64

typedef struct {
  VtFaultFs *fs;
  VtFaults *faults;
  VtGuest *guest;
  VtRing *rings[N_QUEUES];
  VtRig *rig;
  const char *engine;
} Fixture;

static void
set_up (Fixture *f, gconstpointer engine)
{
  f->engine = engine;
  f->fs = vt_fault_fs_new (SIZE);
  f->faults = f->fs->faults;
  f->guest = vt_guest_new (16 << 20);
  for (guint i = 0; i < N_QUEUES; i++)
    f->rings[i] = vt_ring_new (f->guest, i, 64, VT_RING_EVENT_IDX);
}

static void
tear_down (Fixture *f, gconstpointer data)
{
  g_clear_pointer (&f->rig, vt_rig_free);
  for (guint i = 0; i < N_QUEUES; i++)
    vt_ring_free (f->rings[i]);
  vt_guest_free (f->guest);
  vt_fault_fs_free (f->fs);
}

/* @features: of those that are offered, what the driver acks */
static void
start (Fixture *f, const char *cache, guint64 features)
{
  g_autoptr (GError) error = NULL;

  f->rig = vt_rig_open (f->guest, &vd_blk_ops, &error, "image", f->fs->path,
                        "engine", f->engine, "cache", cache, "on-enospc",
                        "report", NULL);
  g_assert_no_error (error);
  atomic_store (&f->faults->n_events, 0); /* of the probing */
  vt_rig_start (f->rig, f->rig->dev->features & features);
  for (guint i = 0; i < N_QUEUES; i++) {
    vt_ring_reset (f->rings[i], 0);
    vt_rig_start_ring (f->rig, f->rings[i]);
  }
}

/* What the file system was asked for since start(), one letter each. */
static void
check_events (Fixture *f, const char *expected)
{
  guint n = atomic_load (&f->faults->n_events);
  g_autofree char *events = g_strndup (f->faults->events, n);

  g_assert_cmpstr (events, ==, expected);
}

/* A request that is not waited for; free it after finish(). */
static VtBlkRequest *
begin (Fixture *f, guint ring, guint32 type, guint64 sector, guint32 len)
{
  VtBlkRequest *request = vt_blk_request_new (f->guest, type, sector, len);

  g_assert_true (vt_blk_add (f->rings[ring], request));
  vt_ring_kick (f->rings[ring]);
  return request;
}

static void
finish (Fixture *f, guint ring, VtBlkRequest *request, guint8 status)
{
  g_assert_true (vt_ring_take (f->rings[ring], NULL) == request);
  g_assert_cmpuint (*request->status, ==, status);
  g_free (request);
}

/* Every request has memory of its own: ThreadSanitizer cannot see that two
 * queues' threads take turns with it, because they meet in guest memory, which
 * is mapped twice here. */
static guint8
run (Fixture *f, guint ring, guint32 type, guint64 sector, guint32 len)
{
  VtBlkRequest *request = begin (f, ring, type, sector, len);
  guint8 status;

  g_assert_true (vt_ring_take (f->rings[ring], NULL) == request);
  status = *request->status;
  g_free (request);
  return status;
}

static void
expect_page (Fixture *f, guint64 page, guint8 status)
{
  g_assert_cmpuint (run (f, 0, VIRTIO_BLK_T_OUT, page * (PAGE / SECTOR), PAGE),
                    ==, status);
}

static void
expect_flush (Fixture *f, guint ring, guint8 status)
{
  g_assert_cmpuint (run (f, ring, VIRTIO_BLK_T_FLUSH, 0, 0), ==, status);
}

static void
hold (Fixture *f, VtFaultOp op)
{
  atomic_store (&f->faults->hold, 1u << op);
}

static void
fail_with (Fixture *f, VtFaultOp op, int error)
{
  atomic_store (&f->faults->error[op], error);
}

static void
set_wce (Fixture *f, guint8 wce)
{
  g_assert_true (vt_rig_write_config (
      f->rig, offsetof (struct virtio_blk_config, wce), &wce, 1));
}

/* Flushes. */

static void
test_a_flush_is_one_fdatasync (Fixture *f, gconstpointer data)
{
  start (f, "writeback", ALL_FEATURES);
  expect_page (f, 1, VIRTIO_BLK_S_OK);
  expect_page (f, 2, VIRTIO_BLK_S_OK);
  check_events (f, "ww");
  expect_flush (f, 0, VIRTIO_BLK_S_OK);
  expect_page (f, 1, VIRTIO_BLK_S_OK);
  expect_flush (f, 1, VIRTIO_BLK_S_OK);
  expect_flush (f, 0, VIRTIO_BLK_S_OK);
  check_events (f, "wwswss");
  g_assert_cmpuint (atomic_load (&f->faults->n_full_syncs), ==, 0);
}

/* FUSE itself lets the write wait, so what follows it shows that its ring does
 * not. */
static void
test_a_flush_delays_nothing_else (Fixture *f, gconstpointer data)
{
  VtBlkRequest *flush, *write;

  start (f, "writeback", ALL_FEATURES);
  expect_page (f, 0, VIRTIO_BLK_S_OK);
  hold (f, VT_FAULT_SYNC);
  flush = begin (f, 0, VIRTIO_BLK_T_FLUSH, 0, 0);
  vt_fault_wait_held (f->fs, 1);
  write = begin (f, 0, VIRTIO_BLK_T_OUT, 8, PAGE);
  for (guint i = 0; i < 8; i++)
    finish (f, 0, begin (f, 0, VIRTIO_BLK_T_IN, i, SECTOR), VIRTIO_BLK_S_OK);
  g_assert_cmpuint (*flush->status, ==, VT_BLK_NO_STATUS);
  vt_fault_release (f->fs);
  while (flush != NULL || write != NULL) {
    VtBlkRequest *request = vt_ring_take (f->rings[0], NULL);

    g_assert_true (request == flush || request == write);
    g_assert_cmpuint (*request->status, ==, VIRTIO_BLK_S_OK);
    g_clear_pointer (request == flush ? &flush : &write, g_free);
  }
}

/* Two overlapping fdatasync could each miss the other's error. */
static void
test_flushes_that_meet_share_the_next_fdatasync (Fixture *f, gconstpointer data)
{
  VtBlkRequest *first, *others[N_QUEUES];

  start (f, "writeback", ALL_FEATURES);
  hold (f, VT_FAULT_SYNC);
  first = begin (f, 0, VIRTIO_BLK_T_FLUSH, 0, 0);
  vt_fault_wait_held (f->fs, 1);
  for (guint i = 0; i < N_QUEUES; i++) {
    others[i] = begin (f, i, VIRTIO_BLK_T_FLUSH, 0, 0);
    /* The read behind it shows that the flush was taken. */
    finish (f, i, begin (f, i, VIRTIO_BLK_T_IN, 0, SECTOR), VIRTIO_BLK_S_OK);
  }
  atomic_store (&f->faults->n_events, 0);
  vt_fault_release (f->fs);
  finish (f, 0, first, VIRTIO_BLK_S_OK);
  for (guint i = 0; i < N_QUEUES; i++)
    finish (f, i, others[i], VIRTIO_BLK_S_OK);
  check_events (f, "ss");
}

static void
test_a_failed_flush_fails_for_ever (Fixture *f, gconstpointer data)
{
  start (f, "writeback", ALL_FEATURES);
  expect_page (f, 1, VIRTIO_BLK_S_OK);
  fail_with (f, VT_FAULT_SYNC, EIO);
  expect_flush (f, 0, VIRTIO_BLK_S_IOERR);
  fail_with (f, VT_FAULT_SYNC, 0);
  expect_flush (f, 0, VIRTIO_BLK_S_IOERR);
  expect_flush (f, 3, VIRTIO_BLK_S_IOERR); /* on every queue */
  expect_page (f, 2, VIRTIO_BLK_S_OK);     /* but writes go on */
  vt_rig_reset (f->rig);                   /* and for the next driver */
  vt_rig_start (f->rig, f->rig->dev->features);
  vt_ring_reset (f->rings[0], 0);
  vt_rig_start_ring (f->rig, f->rings[0]);
  expect_flush (f, 0, VIRTIO_BLK_S_IOERR);
  check_events (f, "wsw");

  /* Until the image is opened again. */
  g_clear_pointer (&f->rig, vt_rig_free);
  start (f, "writeback", ALL_FEATURES);
  expect_flush (f, 0, VIRTIO_BLK_S_OK);
}

static void
test_a_shared_flush_shares_its_error (Fixture *f, gconstpointer data)
{
  VtBlkRequest *first, *others[N_QUEUES];

  start (f, "writeback", ALL_FEATURES);
  hold (f, VT_FAULT_SYNC);
  first = begin (f, 0, VIRTIO_BLK_T_FLUSH, 0, 0);
  vt_fault_wait_held (f->fs, 1);
  for (guint i = 1; i < N_QUEUES; i++) {
    others[i] = begin (f, i, VIRTIO_BLK_T_FLUSH, 0, 0);
    finish (f, i, begin (f, i, VIRTIO_BLK_T_IN, 0, SECTOR), VIRTIO_BLK_S_OK);
  }
  fail_with (f, VT_FAULT_SYNC, ENOSPC);
  vt_fault_release (f->fs);
  finish (f, 0, first, VIRTIO_BLK_S_IOERR);
  for (guint i = 1; i < N_QUEUES; i++)
    finish (f, i, others[i], VIRTIO_BLK_S_IOERR);
}

static void
test_unsafe_flushes_nothing (Fixture *f, gconstpointer data)
{
  start (f, "unsafe", 0); /* not even for a driver without FLUSH */
  expect_page (f, 1, VIRTIO_BLK_S_OK);
  expect_flush (f, 0, VIRTIO_BLK_S_OK);
  check_events (f, "w");
}

/* Cache modes. */

static void
test_the_driver_s_features_decide_the_mode (Fixture *f, gconstpointer data)
{
  static const guint64 flush = 1ull << VIRTIO_BLK_F_FLUSH,
                       wce = 1ull << VIRTIO_BLK_F_CONFIG_WCE;
  const struct {
    const char *cache;
    guint64 features;
    char write; /* 'w', or 'd' for one that is durable by itself */
  } cases[] = {
    { "writeback", flush | wce, 'w' },
    { "writeback", wce, 'w' },
    { "writeback", flush, 'w' },
    { "writeback", 0, 'd' }, /* it will never flush */
    { "writethrough", flush | wce, 'd' },
    { "writethrough", wce, 'd' },
    { "writethrough", flush, 'w' }, /* it cannot know of the byte */
    { "writethrough", 0, 'd' },
    { "unsafe", 0, 'w' },
    { "unsafe", flush | wce, 'w' },
  };

  for (guint i = 0; i < G_N_ELEMENTS (cases); i++) {
    const char expected[] = { cases[i].write, '\0' };

    start (f, cases[i].cache, cases[i].features);
    expect_page (f, 0, VIRTIO_BLK_S_OK);
    check_events (f, expected);
    g_clear_pointer (&f->rig, vt_rig_free);
  }
}

static void
test_write_through_needs_no_flush (Fixture *f, gconstpointer data)
{
  const struct virtio_blk_discard_write_zeroes range = { 0, GUINT32_TO_LE (8),
                                                         0 };
  VtBlkRequest *zeroes;

  start (f, "writethrough", ALL_FEATURES);
  expect_page (f, 1, VIRTIO_BLK_S_OK);
  expect_page (f, 2, VIRTIO_BLK_S_OK);
  check_events (f, "dd");
  zeroes =
      vt_blk_request_new (f->guest, VIRTIO_BLK_T_WRITE_ZEROES, 0, sizeof range);
  memcpy (zeroes->data, &range, sizeof range);
  g_assert_cmpuint (vt_blk_run (f->rings[0], zeroes), ==, VIRTIO_BLK_S_OK);
  check_events (f, "ddas"); /* zeroes are written as well */
  g_free (zeroes);
}

static void
test_wce_switches_the_mode_at_once (Fixture *f, gconstpointer data)
{
  start (f, "writeback", ALL_FEATURES);
  expect_page (f, 1, VIRTIO_BLK_S_OK);
  set_wce (f, 0); /* flushes what was written before it answers */
  check_events (f, "ws");
  expect_page (f, 1, VIRTIO_BLK_S_OK);
  set_wce (f, 1);
  check_events (f, "wsd");
  expect_page (f, 1, VIRTIO_BLK_S_OK);
  set_wce (f, 1);
  set_wce (f, 0);
  set_wce (f, 0); /* nothing changes, nothing to flush */
  expect_page (f, 1, VIRTIO_BLK_S_OK);
  check_events (f, "wsdwsd");
}

static void
test_wce_means_nothing_unless_acked (Fixture *f, gconstpointer data)
{
  start (f, "writeback", 1ull << VIRTIO_BLK_F_FLUSH);
  set_wce (f, 0);
  expect_page (f, 1, VIRTIO_BLK_S_OK);
  check_events (f, "w");
}

static void
test_the_switch_survives_the_driver (Fixture *f, gconstpointer data)
{
  start (f, "writeback", ALL_FEATURES);
  set_wce (f, 0);
  vt_rig_reset (f->rig);
  vt_rig_start (f->rig, f->rig->dev->features);
  vt_ring_reset (f->rings[0], 0);
  vt_rig_start_ring (f->rig, f->rings[0]);
  expect_page (f, 1, VIRTIO_BLK_S_OK);
  check_events (f, "sd");
}

/* Begins to switch to write-through; rig->n_resumed says when it is done. */
static void
begin_switch (Fixture *f)
{
  VdDevice *dev = f->rig->dev;
  const guint8 wce = 0;
  guint offset, len;

  g_assert_true (vd_config_write (&dev->config,
                                  offsetof (struct virtio_blk_config, wce),
                                  &wce, 1, &offset, &len));
  g_assert_cmpint (dev->ops->written (dev, offset, len), ==, VD_LATER);
}

/* The switch's own fdatasync comes before the write or, where FUSE lets it
 * wait, after it; the write asks for one of its own in any case. */
static void
test_a_write_that_meets_the_switch_is_flushed (Fixture *f, gconstpointer data)
{
  VtBlkRequest *write;

  start (f, "writeback", ALL_FEATURES);
  hold (f, VT_FAULT_WRITE);
  write = begin (f, 0, VIRTIO_BLK_T_OUT, 0, PAGE);
  vt_fault_wait_held (f->fs, 1);
  begin_switch (f);
  vt_fault_release (f->fs);
  while (f->rig->n_resumed == 0)
    vt_queue_rig_pump_wait (&f->rig->queues);
  finish (f, 0, write, VIRTIO_BLK_S_OK);
  if (f->faults->events[0] == 'w')
    check_events (f, "wss");
  else
    check_events (f, "sws");
}

/* A write-through driver never flushes, so its writes have to tell. */
static void
test_data_lost_in_the_switch_fails_later_writes (Fixture *f, gconstpointer data)
{
  start (f, "writeback", ALL_FEATURES);
  expect_page (f, 1, VIRTIO_BLK_S_OK);
  fail_with (f, VT_FAULT_SYNC, EIO);
  set_wce (f, 0);
  fail_with (f, VT_FAULT_SYNC, 0);
  expect_page (f, 1, VIRTIO_BLK_S_IOERR);
  check_events (f, "ws");
}

static void
test_a_switch_may_outlive_its_device (Fixture *f, gconstpointer data)
{
  start (f, "writeback", ALL_FEATURES);
  begin_switch (f);
  g_clear_pointer (&f->rig, vt_rig_free); /* with the answer in the mail */
  check_events (f, "s");
}

/* Errors and short transfers. */

static void
test_an_io_error_is_the_guest_s (Fixture *f, gconstpointer data)
{
  static const int errors[] = { EIO, ENOSPC, EDQUOT, EINVAL };
  start (f, "writeback", ALL_FEATURES);
  for (guint i = 0; i < G_N_ELEMENTS (errors); i++) {
    fail_with (f, VT_FAULT_WRITE, errors[i]);
    expect_page (f, i, VIRTIO_BLK_S_IOERR);
    fail_with (f, VT_FAULT_WRITE, 0);
    expect_page (f, i, VIRTIO_BLK_S_OK);
    fail_with (f, VT_FAULT_READ, errors[i]);
    g_assert_cmpuint (run (f, 1, VIRTIO_BLK_T_IN, 0, SECTOR), ==,
                      VIRTIO_BLK_S_IOERR);
    fail_with (f, VT_FAULT_READ, 0);
    g_assert_cmpuint (run (f, 1, VIRTIO_BLK_T_IN, 0, SECTOR), ==,
                      VIRTIO_BLK_S_OK);
  }
  expect_flush (f, 0, VIRTIO_BLK_S_OK);
}

static void
test_short_transfers_are_continued (Fixture *f, gconstpointer data)
{
  const guint32 len = 96 * 1024;
  g_autofree guint8 *from = g_malloc (len), *to = g_malloc0 (len);

  start (f, "writeback", ALL_FEATURES);
  for (guint32 i = 0; i < len; i++)
    from[i] = (guint8) g_test_rand_int ();
  atomic_store (&f->faults->max_len, 7777);
  g_assert_cmpuint (vt_blk_write (f->rings[0], 9, from, len), ==,
                    VIRTIO_BLK_S_OK);
  g_assert_cmpmem (f->fs->data + 9 * SECTOR, len, from, len);
  g_assert_cmpuint (atomic_load (&f->faults->n[VT_FAULT_WRITE]), ==, 13);
  /* io_uring continues short reads by itself, and to FUSE they mean the end of
   * the file. */
  if (!g_str_equal (f->engine, "threads"))
    return;
  g_assert_cmpuint (vt_blk_read (f->rings[0], 9, to, len), ==, VIRTIO_BLK_S_OK);
  g_assert_cmpmem (to, len, from, len);
  g_assert_cmpuint (atomic_load (&f->faults->n[VT_FAULT_READ]), ==, 13);
}

static guint8
run_range (Fixture *f, guint32 type, guint64 page, guint32 flags)
{
  const struct virtio_blk_discard_write_zeroes range = {
    GUINT64_TO_LE (page * (PAGE / SECTOR)), GUINT32_TO_LE (PAGE / SECTOR),
    GUINT32_TO_LE (flags)
  };
  g_autofree VtBlkRequest *request =
      vt_blk_request_new (f->guest, type, 0, sizeof range);

  memcpy (request->data, &range, sizeof range);
  return vt_blk_run (f->rings[0], request);
}

static void
test_a_refused_discard_is_ok_and_not_repeated (Fixture *f, gconstpointer data)
{
  start (f, "writeback", ALL_FEATURES);
  fail_with (f, VT_FAULT_ALLOCATE, EIO);
  g_assert_cmpuint (run_range (f, VIRTIO_BLK_T_DISCARD, 0, 0), ==,
                    VIRTIO_BLK_S_IOERR);
  fail_with (f, VT_FAULT_ALLOCATE, EOPNOTSUPP);
  for (guint i = 0; i < 3; i++)
    g_assert_cmpuint (run_range (f, VIRTIO_BLK_T_DISCARD, 0, 0), ==,
                      VIRTIO_BLK_S_OK);
  check_events (f, "aa");
}

static void
test_zeroes_are_written_where_nothing_else_works (Fixture *f,
                                                  gconstpointer data)
{
  start (f, "writeback", ALL_FEATURES);
  memset (f->fs->data, 0x22, SIZE);
  fail_with (f, VT_FAULT_ALLOCATE, EOPNOTSUPP);
  for (guint i = 0; i < 3; i++) {
    g_assert_cmpuint (run_range (f, VIRTIO_BLK_T_WRITE_ZEROES, i, 1), ==,
                      VIRTIO_BLK_S_OK);
    for (guint j = 0; j < PAGE; j++)
      g_assert_cmpuint (f->fs->data[i * PAGE + j], ==, 0);
  }
  g_assert_cmpuint (f->fs->data[3 * PAGE], ==, 0x22);
  fail_with (f, VT_FAULT_WRITE, EIO);
  g_assert_cmpuint (run_range (f, VIRTIO_BLK_T_WRITE_ZEROES, 9, 1), ==,
                    VIRTIO_BLK_S_IOERR);
  /* FUSE remembers a refusal by itself, so how often it was asked says
   * nothing; that no write came before the refusals does. */
  g_assert_true (g_str_has_prefix (f->faults->events, "aw") ||
                 g_str_has_prefix (f->faults->events, "aaw"));
}

static void
add (const char *engine, const char *name,
     void (*func) (Fixture *f, gconstpointer data))
{
  g_autofree char *path =
      g_strdup_printf ("/blk/durability/%s/%s", engine, name);

  g_test_add (path, Fixture, engine, set_up, func, tear_down);
}

static void
add_all (const char *engine)
{
  add (engine, "flush/one", test_a_flush_is_one_fdatasync);
  add (engine, "flush/alone", test_a_flush_delays_nothing_else);
  add (engine, "flush/shared", test_flushes_that_meet_share_the_next_fdatasync);
  add (engine, "flush/sticky", test_a_failed_flush_fails_for_ever);
  add (engine, "flush/shared-error", test_a_shared_flush_shares_its_error);
  add (engine, "flush/unsafe", test_unsafe_flushes_nothing);
  add (engine, "mode/features", test_the_driver_s_features_decide_the_mode);
  add (engine, "mode/write-through", test_write_through_needs_no_flush);
  add (engine, "mode/wce", test_wce_switches_the_mode_at_once);
  add (engine, "mode/wce-unacked", test_wce_means_nothing_unless_acked);
  add (engine, "mode/wce-stays", test_the_switch_survives_the_driver);
  add (engine, "mode/met", test_a_write_that_meets_the_switch_is_flushed);
  add (engine, "mode/lost", test_data_lost_in_the_switch_fails_later_writes);
  add (engine, "mode/closed", test_a_switch_may_outlive_its_device);
  add (engine, "error/io", test_an_io_error_is_the_guest_s);
  add (engine, "error/short", test_short_transfers_are_continued);
  add (engine, "error/discard", test_a_refused_discard_is_ok_and_not_repeated);
  add (engine, "error/zeroes",
       test_zeroes_are_written_where_nothing_else_works);
}

static void
skip_all (gconstpointer why)
{
  g_test_skip (why);
}

int
main (int argc, char **argv)
{
  g_autofree char *why = NULL;

  g_test_init (&argc, &argv, NULL);
  why = vt_fault_fs_prepare ();
  if (why != NULL) {
    g_test_add_data_func ("/blk/durability", why, skip_all);
    return g_test_run ();
  }
  add_all ("auto");
  add_all ("threads");
  if (vd_call_check_uring (NULL))
    add_all ("io_uring");
  return g_test_run ();
}
