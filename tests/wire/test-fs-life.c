/* SPDX-License-Identifier: BSD-3-Clause
 *
 * test-fs-life.c - lives of guests with a share: reboots, front-ends that come
 * and go, file systems below it, migration from daemon to daemon
 */
#include <errno.h>
#include <fcntl.h>
#include <glib/gstdio.h>
#include <string.h>
#include <sys/mount.h>
#include <unistd.h>

#include "tests/devices/fs/fuse-client.h"
#include "tests/lib/machine.h"
#include "vring/fd.h"

enum {
  LIVES = 100,
  FILES = 20,
  WARM = 4,       /* lives after which the C library has what it keeps */
  LIBC_MAPS = 64, /* but for some stacks and arenas; less than one each life */
};

typedef struct {
  VtDaemon *daemon;
  VtMachine *machine;
  VtFuse fuse;
  char *share;
} Fixture;

static void
serve (Fixture *f)
{
  vt_daemon_add (f->daemon, "share", "fs", "source", f->share, NULL);
  vt_daemon_start (f->daemon);
}

static void
set_up (Fixture *f, gconstpointer data)
{
  f->daemon = vt_daemon_new ();
  f->share = vt_daemon_path (f->daemon, "share");
  g_assert_no_errno (g_mkdir (f->share, 0755));
  f->machine = vt_machine_new (VT_ORDER_QEMU_11,
                               VT_RING_EVENT_IDX | VT_RING_INDIRECT, 2, 64);
  vt_fuse_init_client (&f->fuse, f->machine->rings[1]);
}

static void
tear_down (Fixture *f, gconstpointer data)
{
  vt_machine_free (f->machine);
  vt_daemon_stop (f->daemon);
  vt_daemon_free (f->daemon);
  g_free (f->share);
}

static void
connect_to (Fixture *f, VtDaemon *daemon)
{
  VtFrontend *fe;

  vt_machine_connect (f->machine, daemon, "share", 0);
  fe = f->machine->fe;
  fe->resets = TRUE;
  /* As QEMU does from 8.2 on, for virtio-fs only. */
  g_assert_true (vt_set_protocol_features (
      fe, fe->protocol_features | 1ull << VD_PROTOCOL_F_DEVICE_STATE));
}

/* Mounts, and leaves files and folders open and known. */
static void
leave_a_mess (Fixture *f)
{
  VtFuse *fuse = &f->fuse;
  guint64 nodeid, fh;

  g_assert_cmpint (vt_fuse_init (fuse, 0), ==, 0);
  for (guint i = 0; i < FILES; i++) {
    g_autofree char *name = g_strdup_printf ("file%u", i);

    g_assert_cmpint (
        vt_fuse_create (fuse, 1, name, O_RDWR | O_CREAT, 0644, &nodeid, &fh),
        ==, 0);
    g_assert_cmpint (vt_fuse_write (fuse, nodeid, fh, 0, name, 5), ==, 5);
  }
  g_assert_cmpint (vt_fuse_opendir (fuse, 1, &fh), ==, 0);
  g_assert_cmpint (vt_fuse_unlink (fuse, 1, "file0"), ==, 0);
}

/* @reset: a VMM that resets its device; else INIT comes again and again */
static void
reboot_often (Fixture *f, gboolean reset)
{
  VtUsage limit, warm;

  serve (f);
  connect_to (f, f->daemon);
  vt_machine_start (f->machine);
  limit = vt_daemon_usage (f->daemon);
  for (guint i = 0; i < LIVES; i++) {
    leave_a_mess (f);
    if (reset) {
      vt_machine_stop (f->machine);
      vt_machine_start (f->machine);
    }
    if (i == WARM)
      warm = vt_daemon_usage (f->daemon);
  }
  if (!reset)
    g_assert_cmpint (vt_fuse_destroy (&f->fuse), ==, 0);
  limit.n_maps = warm.n_maps + LIBC_MAPS;
  vt_daemon_wait_usage (f->daemon, limit);
}

static void
test_a_hundred_reboots_leave_nothing (Fixture *f, gconstpointer data)
{
  reboot_often (f, TRUE);
}

static void
test_a_hundred_inits_leave_nothing (Fixture *f, gconstpointer data)
{
  reboot_often (f, FALSE);
}

static void
test_front_ends_come_and_go (Fixture *f, gconstpointer data)
{
  VtUsage limit, warm;

  serve (f);
  limit = vt_daemon_usage (f->daemon);
  for (guint i = 0; i < LIVES; i++) {
    connect_to (f, f->daemon);
    vt_machine_start (f->machine);
    leave_a_mess (f);
    vt_machine_disconnect (f->machine); /* as a VMM that is killed */
    if (i == WARM)
      warm = vt_daemon_usage (f->daemon);
  }
  limit.n_maps = warm.n_maps + LIBC_MAPS;
  vt_daemon_wait_usage (f->daemon, limit);
}

/* What a guest that is unmounted by force, and mounts again, has in hand. */
static void
test_old_numbers_are_stale_after_a_reboot (Fixture *f, gconstpointer data)
{
  VtFuse *fuse = &f->fuse;
  guint64 nodeid, fh, again;
  char byte;

  serve (f);
  connect_to (f, f->daemon);
  vt_machine_start (f->machine);
  g_assert_cmpint (vt_fuse_init (fuse, 0), ==, 0);
  g_assert_cmpint (
      vt_fuse_create (fuse, 1, "file", O_RDWR | O_CREAT, 0644, &nodeid, &fh),
      ==, 0);
  g_assert_cmpint (vt_fuse_destroy (fuse), ==, 0);
  g_assert_cmpint (vt_fuse_read (fuse, nodeid, fh, 0, &byte, 1), ==, -EIO);
  g_assert_cmpint (vt_fuse_init (fuse, 0), ==, 0);
  g_assert_cmpint (vt_fuse_read (fuse, nodeid, fh, 0, &byte, 1), ==, -EBADF);
  g_assert_cmpint (vt_fuse_getattr (fuse, nodeid, NULL), ==, -ESTALE);
  g_assert_cmpint (vt_fuse_lookup (fuse, 1, "file", &again, NULL), ==, 0);
  g_assert_cmphex (again, !=, nodeid);
}

/* --- File systems below the share --- */

/* Mounts a tmpfs with a file below the share.  Returns: (transfer full): its
 * path, or NULL after skipping the test. */
static char *
mount_below (Fixture *f)
{
  char *path = g_build_filename (f->share, "below", NULL);
  g_autofree char *file = g_build_filename (path, "file", NULL);

  g_assert_no_errno (g_mkdir (path, 0755));
  if (mount ("none", path, "tmpfs", 0, "size=64k") == 0) {
    g_assert_true (g_file_set_contents (file, "below", -1, NULL));
    return path;
  }
  g_test_skip ("needs root: a tmpfs cannot be mounted");
  g_free (path);
  return NULL;
}

static void
test_a_submount_is_announced (Fixture *f, gconstpointer data)
{
  g_autofree char *below = mount_below (f);
  struct fuse_attr dir, file, plain;
  guint64 dir_id, file_id, plain_id;

  serve (f);
  if (below == NULL)
    return;
  connect_to (f, f->daemon);
  vt_machine_start (f->machine);
  g_assert_cmpint (vt_fuse_init (&f->fuse, 0), ==, 0);
  g_assert_cmpint (vt_fuse_lookup (&f->fuse, 1, "below", &dir_id, &dir), ==, 0);
  g_assert_cmphex (dir.flags & FUSE_ATTR_SUBMOUNT, !=, 0);
  g_assert_cmpint (vt_fuse_lookup (&f->fuse, dir_id, "file", &file_id, &file),
                   ==, 0);
  g_assert_cmphex (file.flags & FUSE_ATTR_SUBMOUNT, ==, 0);
  g_assert_cmpint (vt_fuse_mkdir (&f->fuse, 1, "plain", 0755, &plain_id), ==,
                   0);
  g_assert_cmpint (vt_fuse_getattr (&f->fuse, plain_id, &plain), ==, 0);
  g_assert_cmphex (plain.flags & FUSE_ATTR_SUBMOUNT, ==, 0);
  vt_machine_stop (f->machine);
  g_assert_no_errno (umount2 (below, MNT_DETACH));
}

static void
test_a_submount_is_hidden_if_wanted (Fixture *f, gconstpointer data)
{
  g_autofree char *below = mount_below (f);
  struct fuse_attr dir;
  guint64 dir_id;

  vt_daemon_add (f->daemon, "share", "fs", "source", f->share,
                 "announce-submounts", "no", NULL);
  vt_daemon_start (f->daemon);
  if (below == NULL)
    return;
  connect_to (f, f->daemon);
  vt_machine_start (f->machine);
  g_assert_cmpint (vt_fuse_init (&f->fuse, 0), ==, 0);
  g_assert_cmpint (vt_fuse_lookup (&f->fuse, 1, "below", &dir_id, &dir), ==, 0);
  g_assert_cmphex (dir.flags & FUSE_ATTR_SUBMOUNT, ==, 0);
  vt_machine_stop (f->machine);
  g_assert_no_errno (umount2 (below, MNT_DETACH));
}

/* --- Migration --- */

static GByteArray *
save (VtFrontend *fe)
{
  g_autoptr (GByteArray) state = g_byte_array_new ();
  int ends[2];
  guint8 bytes[4096];
  gssize n;

  g_assert_no_errno (pipe2 (ends, O_CLOEXEC));
  if (!vt_set_device_state_fd (fe, VT_STATE_SAVE, ends[1])) {
    close (ends[0]);
    close (ends[1]);
    return NULL;
  }
  close (ends[1]);
  while ((n = read (ends[0], bytes, sizeof bytes)) > 0)
    g_byte_array_append (state, bytes, (guint) n);
  close (ends[0]);
  g_assert_true (vt_check_device_state (fe));
  return g_steal_pointer (&state);
}

static gboolean
load (VtFrontend *fe, const GByteArray *state)
{
  int ends[2];

  g_assert_no_errno (pipe2 (ends, O_CLOEXEC));
  g_assert_true (vt_set_device_state_fd (fe, VT_STATE_LOAD, ends[0]));
  close (ends[0]);
  g_assert_cmpint (write (ends[1], state->data, state->len), ==, state->len);
  close (ends[1]);
  return vt_check_device_state (fe);
}

/* Stops the driver's queues, and nothing else, as a VMM that is paused. */
static void
pause_driver (Fixture *f)
{
  f->machine->fe->resets = FALSE;
  vt_machine_stop (f->machine);
}

static void
test_a_guest_moves_to_another_daemon (Fixture *f, gconstpointer data)
{
  g_autoptr (VtDaemon) target = vt_daemon_new ();
  g_autoptr (GByteArray) state = NULL;
  guint64 nodeid, fh;
  char bytes[8];

  serve (f);
  vt_daemon_add (target, "share", "fs", "source", f->share, NULL);
  vt_daemon_start (target);
  connect_to (f, f->daemon);
  vt_machine_start (f->machine);
  g_assert_cmpint (vt_fuse_init (&f->fuse, 0), ==, 0);
  g_assert_cmpint (vt_fuse_create (&f->fuse, 1, "file", O_RDWR | O_CREAT, 0644,
                                   &nodeid, &fh),
                   ==, 0);
  g_assert_cmpint (vt_fuse_write (&f->fuse, nodeid, fh, 0, "moved", 5), ==, 5);
  pause_driver (f);
  state = save (f->machine->fe);
  g_assert_nonnull (state);
  vt_machine_disconnect (f->machine);

  connect_to (f, target);
  g_assert_true (load (f->machine->fe, state));
  f->machine->fe->resets = FALSE;
  vt_machine_start (f->machine);
  g_assert_cmpint (vt_fuse_read (&f->fuse, nodeid, fh, 0, bytes, 8), ==, 5);
  g_assert_cmpmem (bytes, 5, "moved", 5);
  g_assert_cmpint (vt_fuse_release (&f->fuse, nodeid, fh), ==, 0);
  vt_machine_disconnect (f->machine);
  vt_daemon_stop (target);
}

static void
test_what_cannot_move_stays (Fixture *f, gconstpointer data)
{
  guint64 nodeid, fh;
  char byte;

  serve (f);
  connect_to (f, f->daemon);
  vt_machine_start (f->machine);
  g_assert_cmpint (vt_fuse_init (&f->fuse, 0), ==, 0);
  g_assert_cmpint (vt_fuse_create (&f->fuse, 1, "file", O_RDWR | O_CREAT, 0644,
                                   &nodeid, &fh),
                   ==, 0);
  g_assert_cmpint (vt_fuse_write (&f->fuse, nodeid, fh, 0, "x", 1), ==, 1);
  g_assert_cmpint (vt_fuse_unlink (&f->fuse, 1, "file"), ==, 0);
  pause_driver (f);
  g_assert_null (save (f->machine->fe));
  vt_daemon_wait_log (f->daemon, "is open and has no name");
  vt_machine_start (f->machine);
  g_assert_cmpint (vt_fuse_read (&f->fuse, nodeid, fh, 0, &byte, 1), ==, 1);
  g_assert_cmpint (byte, ==, 'x');
}

int
main (int argc, char **argv)
{
  g_test_init (&argc, &argv, NULL);
#define ADD(name)                                                              \
  g_test_add ("/wire/fs-life/" #name, Fixture, NULL, set_up, test_##name,      \
              tear_down)
  ADD (a_hundred_reboots_leave_nothing);
  ADD (a_hundred_inits_leave_nothing);
  ADD (front_ends_come_and_go);
  ADD (old_numbers_are_stale_after_a_reboot);
  ADD (a_submount_is_announced);
  ADD (a_submount_is_hidden_if_wanted);
  ADD (a_guest_moves_to_another_daemon);
  ADD (what_cannot_move_stays);
#undef ADD
  return g_test_run ();
}
