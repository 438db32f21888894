/* SPDX-License-Identifier: BSD-3-Clause
 *
 * test-hold.c - requests that wait instead of failing: on-error, on-enospc
 */
#include "devices/blk/blk.h"

#include <errno.h>
#include <fcntl.h>
#include <glib/gstdio.h>
#include <string.h>
#include <sys/mount.h>
#include <sys/stat.h>
#include <unistd.h>

#include "devices/blk/call.h"
#include "tests/devices/blk/fault-fs.h"
#include "tests/lib/blk.h"
#include "tests/lib/rig.h"
#include "vring/fd.h"

#define SECTOR 512u
#define PAGE   4096u
#define SIZE   (4u << 20)

/* Longer than it takes to look whether there is room again. */
#define QUIET_MS 500

typedef struct {
  const char *engine;
  VtFaultOp fault;
} Case;

typedef struct {
  const char *engine;
  VtFaultFs *fs;
  VtGuest *guest;
  VtRing *ring;
  VtRig *rig;
} Fixture;

static void
set_up (Fixture *f, gconstpointer data)
{
  f->engine = ((const Case *) data)->engine;
  f->fs = vt_fault_fs_new (SIZE);
  f->guest = vt_guest_new (16 << 20);
  f->ring = vt_ring_new (f->guest, 0, 64, VT_RING_EVENT_IDX);
}

static void
tear_down (Fixture *f, gconstpointer data)
{
  g_clear_pointer (&f->rig, vt_rig_free);
  vt_ring_free (f->ring);
  vt_guest_free (f->guest);
  vt_fault_fs_free (f->fs);
}

static void
start_on (Fixture *f, const char *path, const char *key, const char *value)
{
  g_autoptr (GError) error = NULL;

  f->rig = vt_rig_open (
      f->guest, &vd_blk_ops, &error, "image", path, "engine", f->engine,
      "on-enospc", "stop", g_str_equal (key, "on-enospc") ? "cache" : key,
      g_str_equal (key, "on-enospc") ? "writeback" : value, NULL);
  g_assert_no_error (error);
  vt_rig_start_ring (f->rig, f->ring);
}

static void
start (Fixture *f, const char *key, const char *value)
{
  start_on (f, f->fs->path, key, value);
}

static void
fail_with (Fixture *f, VtFaultOp op, int error)
{
  atomic_store (&f->fs->faults->error[op], error);
}

static VtBlkRequest *
begin (Fixture *f, guint32 type, guint64 page)
{
  VtBlkRequest *request =
      vt_blk_request_new (f->guest, type, page * (PAGE / SECTOR), PAGE);

  memset (request->data, (int) page + 1, PAGE);
  g_assert_true (vt_blk_add (f->ring, request));
  vt_ring_kick (f->ring);
  return request;
}

static void
finish (Fixture *f, VtBlkRequest *request, guint8 status)
{
  g_assert_true (vt_ring_take (f->ring, NULL) == request);
  g_assert_cmpuint (*request->status, ==, status);
  g_free (request);
}

/* The user is told that requests wait. */
static void
wait_told (Fixture *f, const char *pattern)
{
  g_test_expect_message ("virtiod-blk", G_LOG_LEVEL_WARNING, pattern);
  vt_queue_rig_pump_wait (&f->rig->queues);
  g_test_assert_expected_messages ();
}

static void
reload (Fixture *f)
{
  g_autoptr (GError) error = NULL;

  g_assert_true (
      f->rig->dev->ops->reload (f->rig->dev, f->rig->dev->options, &error));
  g_assert_no_error (error);
}

static void
test_a_write_without_room_goes_on_when_there_is_some (Fixture *f,
                                                      gconstpointer data)
{
  VtBlkRequest *request;

  start (f, "on-enospc", "stop");
  fail_with (f, VT_FAULT_WRITE, ENOSPC);
  request = begin (f, VIRTIO_BLK_T_OUT, 7);
  wait_told (f, "*No space left on device: the guest waits until it is "
                "reloaded or there is room*");
  g_assert_false (vt_ring_wait (f->ring, 0));
  fail_with (f, VT_FAULT_WRITE, 0);
  finish (f, request, VIRTIO_BLK_S_OK);
  g_assert_cmpuint (f->fs->data[7 * PAGE], ==, 8);
  g_assert_cmpuint (f->fs->data[8 * PAGE - 1], ==, 8);
}

static void
test_zeroes_without_room_wait_too (Fixture *f, gconstpointer data)
{
  struct virtio_blk_discard_write_zeroes range = { .sector = GUINT64_TO_LE (8),
                                                   .num_sectors =
                                                       GUINT32_TO_LE (8) };
  VtBlkRequest *request =
      vt_blk_request_new (f->guest, VIRTIO_BLK_T_WRITE_ZEROES, 0, sizeof range);

  start (f, "on-enospc", "stop");
  memset (f->fs->data, 1, SIZE);
  fail_with (f, VT_FAULT_ALLOCATE, ENOSPC);
  memcpy (request->data, &range, sizeof range);
  g_assert_true (vt_blk_add (f->ring, request));
  vt_ring_kick (f->ring);
  wait_told (f, "*No space left*");
  fail_with (f, VT_FAULT_ALLOCATE, 0);
  finish (f, request, VIRTIO_BLK_S_OK);
  g_assert_cmpuint (f->fs->data[8 * SECTOR], ==, 0);
  g_assert_cmpuint (f->fs->data[16 * SECTOR], ==, 1);
}

static void
test_an_error_waits_for_the_user (Fixture *f, gconstpointer data)
{
  VtFaultOp fault = ((const Case *) data)->fault;
  guint32 type = fault == VT_FAULT_READ ? VIRTIO_BLK_T_IN : VIRTIO_BLK_T_OUT;
  VtBlkRequest *request;

  start (f, "on-error", "stop");
  fail_with (f, fault, EIO);
  request = begin (f, type, 1);
  wait_told (f, "*Input/output error: the guest waits until it is reloaded");
  fail_with (f, fault, 0);
  g_assert_false (vt_ring_wait (f->ring, QUIET_MS));
  g_assert_cmpuint (f->fs->faults->n[fault], ==, 1);
  reload (f);
  finish (f, request, VIRTIO_BLK_S_OK);
}

static void
test_new_requests_stay_in_the_ring (Fixture *f, gconstpointer data)
{
  VtBlkRequest *requests[4];
  guint n;

  start (f, "on-error", "stop");
  fail_with (f, VT_FAULT_WRITE, EIO);
  requests[0] = begin (f, VIRTIO_BLK_T_OUT, 0);
  wait_told (f, "*the guest waits*");
  n = f->fs->faults->n[VT_FAULT_WRITE];
  for (guint i = 1; i < 4; i++)
    requests[i] = begin (f, VIRTIO_BLK_T_OUT, i);
  g_assert_false (vt_ring_wait (f->ring, QUIET_MS));
  g_assert_cmpuint (f->fs->faults->n[VT_FAULT_WRITE], ==, n);
  fail_with (f, VT_FAULT_WRITE, 0);
  reload (f);
  for (guint i = 0; i < 4; i++) {
    VtBlkRequest *request = vt_ring_take (f->ring, NULL);

    g_assert_cmpuint (*request->status, ==, VIRTIO_BLK_S_OK);
  }
  for (guint i = 0; i < 4; i++) {
    g_assert_cmpuint (f->fs->data[i * PAGE], ==, i + 1);
    g_free (requests[i]);
  }
}

static void
test_a_front_end_that_stops_the_queue_gets_the_error (Fixture *f,
                                                      gconstpointer data)
{
  VtBlkRequest *request;

  start (f, "on-enospc", "stop");
  fail_with (f, VT_FAULT_WRITE, ENOSPC);
  request = begin (f, VIRTIO_BLK_T_OUT, 0);
  wait_told (f, "*the guest waits*");
  vt_rig_stop_ring (f->rig, f->ring);
  finish (f, request, VIRTIO_BLK_S_IOERR);
  fail_with (f, VT_FAULT_WRITE, 0);
}

static void
test_new_memory_does_not_wait_for_the_image (Fixture *f, gconstpointer data)
{
  VtBlkRequest *request;

  start (f, "on-enospc", "stop");
  fail_with (f, VT_FAULT_WRITE, ENOSPC);
  request = begin (f, VIRTIO_BLK_T_OUT, 0);
  wait_told (f, "*the guest waits*");
  vt_guest_add (f->guest, 1ull << 32, 1ull << 40, 1 << 20, 0);
  g_assert_cmpint (vt_queue_rig_remap (&f->rig->queues), ==, 0);
  finish (f, request, VIRTIO_BLK_S_IOERR);
  /* Later ones wait again. */
  request = begin (f, VIRTIO_BLK_T_OUT, 0);
  wait_told (f, "*the guest waits*");
  fail_with (f, VT_FAULT_WRITE, 0);
  finish (f, request, VIRTIO_BLK_S_OK);
}

static void
test_a_failed_flush_is_always_reported (Fixture *f, gconstpointer data)
{
  start (f, "on-error", "stop");
  fail_with (f, VT_FAULT_SYNC, EIO);
  g_assert_cmpuint (vt_blk_flush (f->ring), ==, VIRTIO_BLK_S_IOERR);
}

/* A real file system without room, a sparse image on it. */
static void
test_a_full_tmpfs_is_waited_for (Fixture *f, gconstpointer data)
{
  g_autofree char *dir = g_dir_make_tmp ("virtiod-full-XXXXXX", NULL);
  g_autofree char *path = g_build_filename (dir, "image", NULL);
  VtBlkRequest *requests[300];
  guint n = 0, n_done = 0;
  vd_autofd fd = -1;

  g_assert_cmpint (mount ("full", dir, "tmpfs", 0, "size=512k"), ==, 0);
  fd = open (path, O_RDWR | O_CREAT | O_CLOEXEC, 0600);
  g_assert_cmpint (ftruncate (fd, SIZE), ==, 0);
  start_on (f, path, "on-enospc", "stop");
  while (n < 20) {
    requests[n] = begin (f, VIRTIO_BLK_T_OUT, n);
    n++;
  }
  for (; n_done < 100; n_done++) { /* 128 pages fit */
    vt_ring_take (f->ring, NULL);
    requests[n] = begin (f, VIRTIO_BLK_T_OUT, n);
    n++;
  }
  while (n < 300) {
    if (!vt_ring_wait (f->ring, QUIET_MS))
      break; /* full */
    vt_ring_take (f->ring, NULL);
    n_done++;
    requests[n] = begin (f, VIRTIO_BLK_T_OUT, n);
    n++;
  }
  g_assert_cmpuint (n_done, <=, 128);
  wait_told (f, "*No space left on device: the guest waits*");
  g_assert_cmpint (mount (NULL, dir, NULL, MS_REMOUNT, "size=8m"), ==, 0);
  for (; n_done < n; n_done++) {
    VtBlkRequest *request = vt_ring_take (f->ring, NULL);

    g_assert_cmpuint (*request->status, ==, VIRTIO_BLK_S_OK);
  }
  for (guint i = 0; i < n; i++) {
    guint8 page[PAGE];

    g_assert_cmpint (pread (fd, page, PAGE, i * PAGE), ==, PAGE);
    g_assert_cmpmem (page, PAGE, requests[i]->data, PAGE);
    g_free (requests[i]);
  }
  g_clear_pointer (&f->rig, vt_rig_free);
  vd_clear_fd (&fd);
  g_assert_cmpint (umount (dir), ==, 0);
  g_rmdir (dir);
}

static char *why_not;

static void
skip_all (gconstpointer data)
{
  g_test_skip (why_not);
}

static void
add (const char *engine, const char *name, VtFaultOp fault,
     void (*func) (Fixture *, gconstpointer))
{
  static Case cases[32]; /* they live as long as the tests */
  static guint n;
  Case *c = &cases[n++];
  g_autofree char *path = g_strdup_printf ("/blk/hold/%s/%s", engine, name);

  g_assert_cmpuint (n, <=, G_N_ELEMENTS (cases));
  *c = (Case){ .engine = engine, .fault = fault };
  g_test_add (path, Fixture, c, set_up, func, tear_down);
}

int
main (int argc, char **argv)
{
  static const char *const engines[] = { "auto", "threads", "io_uring" };

  g_test_init (&argc, &argv, NULL);
  why_not = vt_fault_fs_prepare ();
  if (why_not) {
    g_test_add_data_func ("/blk/hold", NULL, skip_all);
    return g_test_run ();
  }
  for (guint i = 0; i < G_N_ELEMENTS (engines); i++) {
    if (strcmp (engines[i], "io_uring") == 0 && !vd_call_check_uring (NULL))
      continue;
#define ADD(name, fault, func) add (engines[i], name, fault, func)
    ADD ("enospc", 0, test_a_write_without_room_goes_on_when_there_is_some);
    ADD ("zeroes", 0, test_zeroes_without_room_wait_too);
    ADD ("error/read", VT_FAULT_READ, test_an_error_waits_for_the_user);
    ADD ("error/write", VT_FAULT_WRITE, test_an_error_waits_for_the_user);
    ADD ("ring", 0, test_new_requests_stay_in_the_ring);
    ADD ("stop", 0, test_a_front_end_that_stops_the_queue_gets_the_error);
    ADD ("memory", 0, test_new_memory_does_not_wait_for_the_image);
    ADD ("flush", 0, test_a_failed_flush_is_always_reported);
    ADD ("tmpfs", 0, test_a_full_tmpfs_is_waited_for);
  }
  return g_test_run ();
}
