/* SPDX-License-Identifier: BSD-3-Clause
 *
 * test-fs-state.c - the state of a share with very many files moves, and nobody
 * else notices
 *
 * "toy" is another device of the same daemon, whose front-end asks it for its
 * features again and again.  If saving or loading held up the main loop, there
 * would be one answer in all that time.
 */
#include <errno.h>
#include <fcntl.h>
#include <sched.h>
#include <signal.h>
#include <string.h>
#include <sys/mount.h>
#include <sys/stat.h>
#include <unistd.h>

#include "tests/devices/fs/fuse-client.h"
#include "tests/lib/machine.h"
#include "vring/fd.h"

enum {
  MANY = 100 * 1000,
  FEW = 5 * 1000, /* enough for what only has to come in the middle */
  MIN_ANSWERS = 20,
};

typedef struct {
  VtDaemon *source, *target;
  char *share;
  VtMachine *machine; /* the guest of "share" */
  VtFuse fuse;
  VtFrontend *toy; /* of the daemon that is looked at */
} Fixture;

static void
start_daemon (VtDaemon *daemon, const char *share)
{
  vt_daemon_add (daemon, "share", "fs", "source", share, NULL);
  vt_daemon_add (daemon, "second", "fs", "source", share, NULL);
  vt_daemon_add (daemon, "toy", "generic", "virtio-id", "42", "config",
                 "a le32 rw 1", NULL);
  vt_daemon_start (daemon);
}

static void
make_files (const char *dir, guint n)
{
  vd_autofd fd = open (dir, O_DIRECTORY | O_PATH | O_CLOEXEC);

  for (guint i = 0; i < n; i++) {
    char name[32];

    g_snprintf (name, sizeof name, "file%u", i);
    g_assert_no_errno (mknodat (fd, name, S_IFREG | 0644, 0));
  }
}

/* A hundred thousand files are made in no time where no disk is involved.  The
 * mount is seen by this process and its daemons, and ends with them. */
static void
mount_memory (const char *dir)
{
  if (unshare (CLONE_NEWNS) == 0 &&
      mount (NULL, "/", NULL, MS_PRIVATE | MS_REC, NULL) == 0)
    (void) mount ("none", dir, "tmpfs", 0, "nr_inodes=0");
}

/* @data: how many files the share has */
static void
set_up (Fixture *f, gconstpointer data)
{
  f->source = vt_daemon_new ();
  f->target = vt_daemon_new ();
  f->share = vt_daemon_path (f->source, "share");
  g_assert_no_errno (mkdir (f->share, 0755));
  mount_memory (f->share);
  make_files (f->share, GPOINTER_TO_UINT (data));
  start_daemon (f->source, f->share);
  start_daemon (f->target, f->share);
  f->machine = vt_machine_new (VT_ORDER_QEMU_11,
                               VT_RING_EVENT_IDX | VT_RING_INDIRECT, 2, 64);
  vt_fuse_init_client (&f->fuse, f->machine->rings[1]);
}

static void
tear_down (Fixture *f, gconstpointer data)
{
  vt_frontend_free (f->toy);
  vt_machine_free (f->machine);
  umount2 (f->share, MNT_DETACH); /* if it is a mount */
  for (guint i = 0; i < 2; i++) {
    VtDaemon *daemon = i == 0 ? f->target : f->source;

    if (daemon->pid != 0)
      vt_daemon_stop (daemon);
    vt_daemon_free (daemon);
  }
  g_free (f->share);
}

static void
connect_machine (VtMachine *machine, VtDaemon *daemon, const char *id)
{
  VtFrontend *fe;

  vt_machine_connect (machine, daemon, id, 0);
  fe = machine->fe;
  g_assert_true (vt_set_protocol_features (
      fe, fe->protocol_features | 1ull << VD_PROTOCOL_F_DEVICE_STATE));
}

static void
connect_to (Fixture *f, VtDaemon *daemon)
{
  connect_machine (f->machine, daemon, "share");
  vt_frontend_free (f->toy);
  f->toy = vt_daemon_connect (daemon, "toy");
}

/* Learns all names of the root, with their nodeids. */
static void
learn_all (VtFuse *fuse)
{
  static guint8 entries[VT_FUSE_DATA_MAX];
  guint64 fh, offset = 0;
  gssize n;

  g_assert_cmpint (vt_fuse_opendir (fuse, 1, &fh), ==, 0);
  while ((n = vt_fuse_readdir (fuse, 1, fh, offset, TRUE, entries,
                               sizeof entries)) > 0)
    for (gssize at = 0; at < n;) {
      struct fuse_direntplus entry;

      memcpy (&entry, entries + at, sizeof entry);
      offset = entry.dirent.off;
      at += FUSE_DIRENTPLUS_SIZE (&entry);
    }
  g_assert_cmpint (n, ==, 0);
  g_assert_cmpint (vt_fuse_releasedir (fuse, 1, fh), ==, 0);
}

/* A guest knows all files, and stops. */
static void
know_and_stop (VtMachine *machine, VtFuse *fuse)
{
  vt_machine_start (machine);
  g_assert_cmpint (vt_fuse_init (fuse, 0), ==, 0);
  learn_all (fuse);
  machine->fe->resets = FALSE;
  vt_machine_stop (machine);
}

/* Asks the toy until @fe gets an answer, and SIGUSR1 for all the counters. */
static void
ask_until (Fixture *f, VtDaemon *daemon, VtFrontend *fe, const char *what)
{
  const gint64 begin = g_get_monotonic_time ();
  gint64 longest = 0, whole;
  guint n = 0;

  vt_daemon_signal (daemon, SIGUSR1);
  while (!vt_wait_readable (fe->fd, 0)) {
    const gint64 sent = g_get_monotonic_time ();

    vt_barrier (f->toy);
    longest = MAX (longest, g_get_monotonic_time () - sent);
    n++;
  }
  whole = g_get_monotonic_time () - begin;
  g_test_message ("%s: %u answers in %" G_GINT64_FORMAT
                  " ms, the slowest after %" G_GINT64_FORMAT " us",
                  what, n, whole / 1000, longest);
  g_assert_cmpuint (n, >=, MIN_ANSWERS);
  g_assert_cmpint (longest, <, whole / 4);
}

/* Begins to save.  Returns: where the state will come from. */
static int
send_save (VtFrontend *fe)
{
  vd_autofd theirs = -1;
  int ends[2];

  g_assert_no_errno (pipe2 (ends, O_CLOEXEC));
  theirs = ends[1];
  vt_send_set_device_state_fd (fe, VT_STATE_SAVE, theirs);
  return ends[0];
}

static GByteArray *
receive_save (VtFrontend *fe, int fd)
{
  GByteArray *state = g_byte_array_new ();
  guint8 bytes[4096];
  gssize n;

  g_assert_true (vt_receive_set_device_state_fd (fe));
  while ((n = read (fd, bytes, sizeof bytes)) > 0)
    g_byte_array_append (state, bytes, (guint) n);
  close (fd);
  g_assert_true (vt_check_device_state (fe));
  return state;
}

/* Sends all of @state, and asks for the result, which has not come yet. */
static void
send_load (VtFrontend *fe, const GByteArray *state)
{
  vd_autofd ours = -1, theirs = -1;
  int ends[2];

  g_assert_no_errno (pipe2 (ends, O_CLOEXEC));
  theirs = ends[0];
  ours = ends[1];
  g_assert_true (vt_set_device_state_fd (fe, VT_STATE_LOAD, theirs));
  g_assert_cmpint (write (ours, state->data, state->len), ==, state->len);
  vt_send_check_device_state (fe);
}

static void
test_others_are_answered_meanwhile (Fixture *f, gconstpointer data)
{
  g_autoptr (GByteArray) state = NULL;
  struct fuse_attr attr;
  guint64 nodeid;
  int from;

  connect_to (f, f->source);
  vt_machine_start (f->machine);
  g_assert_cmpint (vt_fuse_init (&f->fuse, 0), ==, 0);
  g_assert_cmpint (vt_fuse_lookup (&f->fuse, 1, "file77", &nodeid, &attr), ==,
                   0);
  learn_all (&f->fuse);
  f->machine->fe->resets = FALSE;
  vt_machine_stop (f->machine);
  from = send_save (f->machine->fe);
  ask_until (f, f->source, f->machine->fe, "saving");
  state = receive_save (f->machine->fe, from);
  vt_machine_disconnect (f->machine);

  connect_to (f, f->target);
  send_load (f->machine->fe, state);
  ask_until (f, f->target, f->machine->fe, "loading");
  g_assert_true (vt_receive_check_device_state (f->machine->fe));
  f->machine->fe->resets = FALSE;
  vt_machine_start (f->machine);
  g_assert_cmpint (vt_fuse_getattr (&f->fuse, nodeid, &attr), ==, 0);
  g_assert_true (S_ISREG (attr.mode));
}

/* Two guests of one daemon, whose shares have the same files. */
static void
test_two_move_at_the_same_time (Fixture *f, gconstpointer data)
{
  g_autoptr (GByteArray) first = NULL, second = NULL;
  g_autoptr (VtMachine) machine = vt_machine_new (
      VT_ORDER_QEMU_11, VT_RING_EVENT_IDX | VT_RING_INDIRECT, 2, 64);
  int from[2];
  VtFuse fuse;

  vt_fuse_init_client (&fuse, machine->rings[1]);
  connect_to (f, f->source);
  connect_machine (machine, f->source, "second");
  know_and_stop (f->machine, &f->fuse);
  know_and_stop (machine, &fuse);
  from[0] = send_save (f->machine->fe);
  from[1] = send_save (machine->fe);
  first = receive_save (f->machine->fe, from[0]);
  second = receive_save (machine->fe, from[1]);
  g_assert_cmpuint (first->len, ==, second->len);
  vt_machine_disconnect (f->machine);
  vt_machine_disconnect (machine);

  connect_to (f, f->target);
  connect_machine (machine, f->target, "second");
  send_load (f->machine->fe, second);
  send_load (machine->fe, first);
  g_assert_true (vt_receive_check_device_state (f->machine->fe));
  g_assert_true (vt_receive_check_device_state (machine->fe));
}

/* Begins to save, or to load what was saved. */
static void
begin (Fixture *f, gboolean load)
{
  g_autoptr (GByteArray) state = NULL;
  int from;

  connect_to (f, f->source);
  know_and_stop (f->machine, &f->fuse);
  from = send_save (f->machine->fe);
  if (load) {
    state = receive_save (f->machine->fe, from);
    send_load (f->machine->fe, state);
  } else
    close (from);
  vt_barrier (f->toy);
}

static void
test_a_front_end_may_leave_meanwhile (Fixture *f, gconstpointer data)
{
  for (guint load = 0; load < 2; load++) {
    begin (f, load);
    vt_machine_disconnect (f->machine);
    connect_to (f, f->source); /* the next one finds a device like new */
    vt_machine_start (f->machine);
    g_assert_cmpint (vt_fuse_init (&f->fuse, 0), ==, 0);
    learn_all (&f->fuse);
    vt_machine_disconnect (f->machine);
  }
}

static void
test_the_daemon_may_stop_meanwhile (Fixture *f, gconstpointer data)
{
  for (guint load = 0; load < 2; load++) {
    begin (f, load);
    vt_daemon_stop (f->source);
    vt_machine_disconnect (f->machine);
    g_clear_pointer (&f->toy, vt_frontend_free);
    vt_daemon_start (f->source);
  }
}

static void
test_the_device_may_go_meanwhile (Fixture *f, gconstpointer data)
{
  g_autofree char *key_file = g_strdup (f->source->key_file->str);
  const char *toy = strstr (key_file, "[device toy]");

  g_assert_nonnull (toy);
  for (guint load = 0; load < 2; load++) {
    begin (f, load);
    g_string_assign (f->source->key_file, toy);
    vt_daemon_reload (f->source);
    vt_wait_closed (f->machine->fe);
    vt_machine_disconnect (f->machine);
    vt_barrier (f->toy);
    g_string_assign (f->source->key_file, key_file);
    vt_daemon_reload (f->source);
  }
}

int
main (int argc, char **argv)
{
  g_test_init (&argc, &argv, NULL);
#define ADD(name, n)                                                           \
  g_test_add ("/wire/fs-state/" #name, Fixture, GUINT_TO_POINTER (n), set_up,  \
              test_##name, tear_down)
  ADD (others_are_answered_meanwhile, MANY);
  ADD (two_move_at_the_same_time, FEW);
  ADD (a_front_end_may_leave_meanwhile, FEW);
  ADD (the_daemon_may_stop_meanwhile, FEW);
  ADD (the_device_may_go_meanwhile, FEW);
#undef ADD
  return g_test_run ();
}
