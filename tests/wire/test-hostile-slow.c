/* SPDX-License-Identifier: BSD-3-Clause
 *
 * test-hostile-slow.c - attacks while a disk is slow, so that connections wait
 */
#include <stdio.h>
#include <sys/socket.h>
#include <unistd.h>

#include "tests/wire/slow-disk.h"

#define UNREAD 1000 /* replies: more than a socket holds, less than is queued */

/* Returns: processor time of the daemon in milliseconds. */
static gint64
cpu_ms (VtDaemon *daemon)
{
  g_autofree char *path = g_strdup_printf ("/proc/%d/stat", daemon->pid);
  g_autofree char *text = NULL;
  unsigned long user, system;

  g_assert_true (g_file_get_contents (path, &text, NULL, NULL));
  g_assert_cmpint (sscanf (strrchr (text, ')'),
                           ") %*c %*d %*d %*d %*d %*d %*u %*u %*u %*u %*u "
                           "%lu %lu",
                           &user, &system),
                   ==, 2);
  return (gint64) (user + system) * 1000 / sysconf (_SC_CLK_TCK);
}

/* The daemon sleeps for a while, whatever woke it before. */
static void
assert_sleeps (VtDaemon *daemon)
{
  gint64 before = cpu_ms (daemon);

  g_usleep (300 * 1000); /* the time that is measured */
  g_assert_cmpint (cpu_ms (daemon) - before, <, 50);
}

static void
stop_ring_with_unread_replies (VtSlowDisk *f)
{
  vt_machine_connect (f->vm, f->daemon, "slow", 60);
  vt_machine_start (f->vm);
  vt_slow_disk_begin (f, f->vm->rings[0], 2);
  for (guint i = 0; i < UNREAD; i++)
    g_assert_true (vt_send (f->vm->fe, VD_GET_FEATURES, VD_WIRE_VERSION, NULL,
                            0, NULL, 0));
  vt_send_get_vring_base (f->vm->fe, 0);
}

/* Another device is served, and its front-end's socket anew. */
static void
check_others (VtSlowDisk *f)
{
  g_autoptr (VtMachine) fast =
      vt_machine_new (VT_ORDER_QEMU_11, VT_RING_INDIRECT, 1, 64);

  vt_machine_connect (fast, f->daemon, "fast", 60);
  vt_machine_start (fast);
  vt_slow_disk_ask_id (fast->rings[0]);
  vt_machine_stop (fast);
}

static void
test_replies_wait_for_a_reader (VtSlowDisk *f, gconstpointer data)
{
  guint64 features;

  stop_ring_with_unread_replies (f);
  assert_sleeps (f->daemon);
  check_others (f);
  vt_fault_release (f->fs);
  for (guint i = 0; i < UNREAD; i++)
    vt_receive (f->vm->fe, VD_GET_FEATURES, &features, sizeof features);
  g_assert_cmpuint (vt_receive_vring_base (f->vm->fe, 0), ==, 3);
  vt_slow_disk_end (f, f->vm->rings[0], 2);
}

/* Nothing can be sent to it, and nothing has to be done until the disk is. */
static void
test_death_with_unread_replies_costs_no_time (VtSlowDisk *f, gconstpointer data)
{
  stop_ring_with_unread_replies (f);
  vt_machine_disconnect (f->vm);
  assert_sleeps (f->daemon);
  check_others (f);
  vt_fault_release (f->fs);
}

/* It only says that it will say no more. */
static void
test_half_closed_connection_costs_no_time (VtSlowDisk *f, gconstpointer data)
{
  stop_ring_with_unread_replies (f);
  g_assert_no_errno (shutdown (f->vm->fe->fd, SHUT_WR));
  assert_sleeps (f->daemon);
  check_others (f);
  vt_fault_release (f->fs);
}

int
main (int argc, char **argv)
{
  g_test_init (&argc, &argv, NULL);
  vt_slow_disk_prepare ();
  vt_slow_disk_add ("/hostile/slow/unread", test_replies_wait_for_a_reader);
  vt_slow_disk_add ("/hostile/slow/death",
                    test_death_with_unread_replies_costs_no_time);
  vt_slow_disk_add ("/hostile/slow/half-closed",
                    test_half_closed_connection_costs_no_time);
  return g_test_run ();
}
