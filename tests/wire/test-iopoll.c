/* SPDX-License-Identifier: BSD-3-Clause
 *
 * test-iopoll.c - a disk that is polled, in a real daemon
 *
 * Where the kernel does not poll the disk under TMPDIR, it only shows that the
 * daemon refuses it with one clear line.
 */
#include <fcntl.h>
#include <glib/gstdio.h>
#include <signal.h>
#include <string.h>
#include <unistd.h>

#include "devices/blk/call.h"
#include "tests/lib/blk.h"
#include "tests/lib/machine.h"
#include "vring/fd.h"

#define SECTOR  512u
#define BLOCK   4096u
#define N_SLOTS 16u /* requests at once, each with a place of its own */
#define SIZE    (4u << 20)

typedef struct {
  VtDaemon *daemon;
  char *image;
  gboolean polls;
  VtMachine *vm;
  guint8 *expected; /* the first block of each slot */
} Fixture;

static gboolean
can_poll (const char *path)
{
  vd_autofd fd = open (path, O_RDONLY | O_DIRECT | O_CLOEXEC);

  return fd >= 0 && vd_call_check_polling (fd, BLOCK, NULL);
}

static void
set_up (Fixture *f, gconstpointer data)
{
  g_autofree guint8 *zeroes = g_malloc0 (SIZE);

  f->daemon = vt_daemon_new ();
  f->image = vt_daemon_path (f->daemon, "image");
  f->expected = g_malloc0 (N_SLOTS * BLOCK);
  g_assert_true (g_file_set_contents (f->image, (char *) zeroes, SIZE, NULL));
  f->polls = can_poll (f->image);
  vt_daemon_add (f->daemon, "disk", "blk", "image", f->image, "cache", "none",
                 "iopoll", "yes", NULL);
}

static void
tear_down (Fixture *f, gconstpointer data)
{
  g_clear_pointer (&f->vm, vt_machine_free);
  vt_daemon_free (f->daemon);
  g_free (f->image);
  g_free (f->expected);
}

/* Returns: FALSE if the test cannot go on. */
static gboolean
start (Fixture *f)
{
  if (!f->polls) {
    g_test_skip ("the kernel does not poll the disk under TMPDIR");
    return FALSE;
  }
  vt_daemon_start (f->daemon);
  f->vm = vt_machine_new (VT_ORDER_QEMU_11, VT_RING_EVENT_IDX, 2, 64);
  vt_machine_connect (f->vm, f->daemon, "disk", 60);
  vt_machine_start (f->vm);
  return TRUE;
}

/* Makes requests of one kind for all slots, all at once. */
static void
run_all (Fixture *f, guint32 type)
{
  VtBlkRequest *requests[N_SLOTS];

  for (guint i = 0; i < N_SLOTS; i++) {
    requests[i] = vt_blk_request_new (f->vm->guest, type,
                                      i * SIZE / N_SLOTS / SECTOR, BLOCK);
    if (type == VIRTIO_BLK_T_OUT)
      memcpy (requests[i]->data, f->expected + i * BLOCK, BLOCK);
    g_assert_true (vt_blk_add (f->vm->rings[i % 2], requests[i]));
  }
  for (guint i = 0; i < 2; i++)
    vt_ring_kick (f->vm->rings[i]);
  for (guint i = 0; i < N_SLOTS; i++)
    vt_ring_take (f->vm->rings[i % 2], NULL);
  for (guint i = 0; i < N_SLOTS; i++) {
    g_assert_cmpuint (*requests[i]->status, ==, VIRTIO_BLK_S_OK);
    if (type == VIRTIO_BLK_T_IN)
      g_assert_cmpmem (requests[i]->data, BLOCK, f->expected + i * BLOCK,
                       BLOCK);
    g_free (requests[i]);
  }
}

static void
use (Fixture *f)
{
  for (guint i = 0; i < N_SLOTS * BLOCK; i++)
    f->expected[i] = (guint8) g_test_rand_int ();
  run_all (f, VIRTIO_BLK_T_OUT);
  run_all (f, VIRTIO_BLK_T_IN);
  g_assert_cmpuint (vt_blk_flush (f->vm->rings[0]), ==, VIRTIO_BLK_S_OK);
}

/* Returns: how many calls were polled for. */
static guint64
polled_calls (Fixture *f)
{
  const char *name = "io_uring-polled-calls: ";
  g_autofree char *log = NULL;

  vt_daemon_signal (f->daemon, SIGUSR1);
  vt_daemon_wait_log (f->daemon, "fdatasyncs: ");
  log = vt_daemon_log (f->daemon);
  return g_ascii_strtoull (g_strrstr (log, name) + strlen (name), NULL, 10);
}

static void
test_data_arrive (Fixture *f, gconstpointer data)
{
  guint8 sector[SECTOR] = { 7 }, back[SECTOR] = { 0 };

  if (!start (f))
    return;
  for (guint i = 0; i < 8; i++)
    use (f);
  /* Bounced where the disk has larger blocks. */
  g_assert_cmpuint (vt_blk_write (f->vm->rings[0], 17, sector, SECTOR), ==,
                    VIRTIO_BLK_S_OK);
  g_assert_cmpuint (vt_blk_read (f->vm->rings[0], 17, back, SECTOR), ==,
                    VIRTIO_BLK_S_OK);
  g_assert_cmpmem (back, SECTOR, sector, SECTOR);
  g_assert_cmpuint (polled_calls (f), >=, 8 * 2 * N_SLOTS);
  g_clear_pointer (&f->vm, vt_machine_free);
  vt_daemon_stop (f->daemon);
}

static void
test_queues_stop_and_start (Fixture *f, gconstpointer data)
{
  if (!start (f))
    return;
  for (guint i = 0; i < 8; i++) {
    use (f);
    g_assert_cmpuint (vt_get_vring_base (f->vm->fe, 0), ==,
                      vt_ring_base (f->vm->rings[0]));
    g_assert_true (vt_set_vring_kick (f->vm->fe, 0, f->vm->rings[0]->kick_fd));
  }
  use (f);
  g_clear_pointer (&f->vm, vt_machine_free);
  vt_daemon_stop (f->daemon);
}

static void
test_a_killed_daemon_loses_nothing (Fixture *f, gconstpointer data)
{
  if (!start (f))
    return;
  use (f);
  vt_daemon_signal (f->daemon, SIGKILL);
  g_assert_cmpint (vt_daemon_wait (f->daemon), ==, 256 + SIGKILL);
  g_clear_pointer (&f->vm, vt_machine_free);
  g_assert_true (start (f));
  run_all (f, VIRTIO_BLK_T_IN);
  use (f);
  g_clear_pointer (&f->vm, vt_machine_free);
  vt_daemon_stop (f->daemon);
}

static void
test_what_cannot_be_polled_is_refused (Fixture *f, gconstpointer data)
{
  if (f->polls) {
    g_test_skip ("the kernel polls the disk under TMPDIR");
    return;
  }
  g_assert_cmpint (vt_daemon_run (f->daemon), ==, 1);
  vt_daemon_wait_log (f->daemon, "iopoll=yes: the kernel refuses ");
}

int
main (int argc, char **argv)
{
  g_test_init (&argc, &argv, NULL);
#define ADD(path, func)                                                        \
  g_test_add ("/iopoll/" path, Fixture, NULL, set_up, func, tear_down)
  ADD ("data", test_data_arrive);
  ADD ("stop", test_queues_stop_and_start);
  ADD ("kill", test_a_killed_daemon_loses_nothing);
  ADD ("refused", test_what_cannot_be_polled_is_refused);
  return g_test_run ();
}
