/* SPDX-License-Identifier: BSD-3-Clause */
#include "tests/wire/slow-disk.h"

#include <string.h>

static char *why_not; /* NULL: slow disks can be made */
static gboolean prepared;

gboolean
vt_slow_disk_prepare (void)
{
  prepared = TRUE;
  why_not = vt_fault_fs_prepare ();
  return !why_not;
}

static void
set_up (VtSlowDisk *f, gconstpointer data)
{
  if (why_not)
    return;
  f->requests = g_ptr_array_new_with_free_func (g_free);
  f->fs = vt_fault_fs_new (VT_SLOW_SIZE);
  f->daemon = vt_daemon_new ();
  f->image = vt_daemon_image (f->daemon, "fast.img", VT_SLOW_SIZE);
  vt_daemon_add (f->daemon, "slow", "blk", "image", f->fs->path, "queues", "4",
                 NULL);
  vt_daemon_add (f->daemon, "fast", "blk", "image", f->image, NULL);
  vt_daemon_add (f->daemon, "toy", "generic", "virtio-id", "5", "config",
                 "a le32 rw", NULL);
  vt_daemon_start (f->daemon);
  f->vm = vt_machine_new (VT_ORDER_QEMU_11,
                          VT_RING_EVENT_IDX | VT_RING_INDIRECT, 2, 64);
}

static void
tear_down (VtSlowDisk *f, gconstpointer data)
{
  if (why_not)
    return;
  vt_machine_free (f->vm);
  vt_fault_release (f->fs);
  if (f->daemon->pid)
    vt_daemon_stop (f->daemon);
  vt_daemon_free (f->daemon);
  vt_fault_fs_free (f->fs);
  g_free (f->image);
  g_ptr_array_unref (f->requests);
}

typedef struct {
  void (*func) (VtSlowDisk *, gconstpointer);
} Test;

static void
run (VtSlowDisk *f, gconstpointer data)
{
  const Test *test = data;

  if (why_not)
    g_test_skip (why_not);
  else
    test->func (f, NULL);
}

void
vt_slow_disk_add (const char *path, void (*func) (VtSlowDisk *, gconstpointer))
{
  static GSList *tests; /* they live as long as the program */
  Test *test = g_new (Test, 1);

  tests = g_slist_prepend (tests, test);
  g_assert_true (prepared);
  test->func = func;
  g_test_add_vtable (path, sizeof (VtSlowDisk), test,
                     (GTestFixtureFunc) (void (*) (void)) set_up,
                     (GTestFixtureFunc) (void (*) (void)) run,
                     (GTestFixtureFunc) (void (*) (void)) tear_down);
}

void
vt_slow_disk_begin (VtSlowDisk *f, VtRing *ring, guint n)
{
  f->fs->faults->hold = 1 << VT_FAULT_SYNC;
  for (guint i = 0; i < n; i++) {
    VtBlkRequest *request =
        vt_blk_request_new (ring->guest, VIRTIO_BLK_T_FLUSH, 0, 0);

    g_ptr_array_add (f->requests, request);
    g_assert_true (vt_blk_add (ring, request));
  }
  vt_ring_kick (ring);
  vt_fault_wait_held (f->fs, 1);
  vt_slow_disk_ask_id (ring); /* so those before it were taken as well */
  g_assert_cmpuint (vt_ring_n_in_flight (ring), ==, n);
}

void
vt_slow_disk_end (VtSlowDisk *f, VtRing *ring, guint n)
{
  for (guint i = 0; i < n; i++) {
    VtBlkRequest *request = vt_ring_take (ring, NULL);

    g_assert_cmpuint (*request->status, ==, VIRTIO_BLK_S_OK);
  }
}

void
vt_slow_disk_ask_id (VtRing *ring)
{
  g_autofree VtBlkRequest *request = vt_blk_request_new (
      ring->guest, VIRTIO_BLK_T_GET_ID, 0, VIRTIO_BLK_ID_BYTES);

  g_assert_cmpuint (vt_blk_run (ring, request), ==, VIRTIO_BLK_S_OK);
}
