/* SPDX-License-Identifier: BSD-3-Clause
 *
 * test-device-state.c - the state of a device goes from one daemon to another
 */
#include <fcntl.h>
#include <string.h>
#include <sys/socket.h>
#include <unistd.h>

#include "tests/lib/machine.h"
#include "vring/fd.h"

#define BLK_CONFIG 60
#define WCE        32   /* struct virtio_blk_config */
#define TOY_CONFIG 4084 /* the state is more than one piece */
#define TOY_LAYOUT "a le32 rw 1; b le16 ro 2; text u8[4074] rw; pad u8[4]"
#define IMAGE      (1u << 20)

typedef struct {
  VtDaemon *source, *target;
} Fixture;

static VtDaemon *
start_daemon (guint32 image_size)
{
  VtDaemon *daemon = vt_daemon_new ();
  g_autofree char *image = vt_daemon_image (daemon, "disk.img", image_size);
  g_autofree char *larger =
      vt_daemon_image (daemon, "larger.img", 2 * image_size);

  vt_daemon_add (daemon, "disk", "blk", "image", image, NULL);
  vt_daemon_add (daemon, "larger", "blk", "image", larger, NULL);
  vt_daemon_add (daemon, "toy", "generic", "virtio-id", "42", "config",
                 TOY_LAYOUT, NULL);
  vt_daemon_add (daemon, "other", "generic", "virtio-id", "43", "config",
                 TOY_LAYOUT, NULL);
  vt_daemon_start (daemon);
  return daemon;
}

static void
set_up (Fixture *f, gconstpointer data)
{
  f->source = start_daemon (IMAGE);
  f->target = start_daemon (IMAGE);
}

static void
tear_down (Fixture *f, gconstpointer data)
{
  vt_daemon_stop (f->source);
  vt_daemon_stop (f->target);
  vt_daemon_free (f->source);
  vt_daemon_free (f->target);
}

static VtFrontend *
hello (VtDaemon *daemon, const char *id)
{
  VtFrontend *fe = vt_daemon_connect (daemon, id);
  guint64 offered;

  vt_set_owner (fe);
  vt_get_features (fe);
  offered = vt_get_protocol_features (fe);
  g_assert_cmphex (offered & 1ull << VD_PROTOCOL_F_DEVICE_STATE, !=, 0);
  g_assert_true (vt_set_protocol_features (
      fe, offered & ~(1ull << VD_PROTOCOL_F_INBAND_NOTIFICATIONS)));
  fe->reply_mode = VT_REPLY_SETS;
  return fe;
}

/* A pipe or a pair of sockets. */
static void
open_ends (gboolean sockets, int *ret_read, int *ret_write)
{
  int ends[2];

  if (sockets)
    g_assert_no_errno (
        socketpair (AF_UNIX, SOCK_STREAM | SOCK_CLOEXEC, 0, ends));
  else
    g_assert_no_errno (pipe2 (ends, O_CLOEXEC));
  *ret_read = ends[0];
  *ret_write = ends[1];
}

/* Reads to the end, @piece bytes at a time. */
static GByteArray *
read_all (int fd, gsize piece)
{
  GByteArray *all = g_byte_array_new ();
  guint8 bytes[4096];
  gssize n;

  while (vt_wait_readable (fd, VT_TIMEOUT_MS) &&
         (n = read (fd, bytes, MIN (piece, sizeof bytes))) > 0)
    g_byte_array_append (all, bytes, (guint) n);
  return all;
}

static GByteArray *
save (VtFrontend *fe, gboolean sockets, gsize piece)
{
  vd_autofd ours = -1, theirs = -1;
  GByteArray *stream;

  open_ends (sockets, &ours, &theirs);
  g_assert_true (vt_set_device_state_fd (fe, VT_STATE_SAVE, theirs));
  vd_clear_fd (&theirs);
  stream = read_all (ours, piece);
  g_assert_true (vt_check_device_state (fe));
  return stream;
}

/* Returns: whether the back-end took it.  @piece: bytes for each write */
static gboolean
load (VtFrontend *fe, const GByteArray *stream, gboolean sockets, gsize piece)
{
  vd_autofd ours = -1, theirs = -1;

  open_ends (sockets, &theirs, &ours);
  g_assert_true (vt_set_device_state_fd (fe, VT_STATE_LOAD, theirs));
  vd_clear_fd (&theirs);
  for (gsize at = 0; at < stream->len; at += piece) {
    gsize n = MIN (piece, stream->len - at);

    g_assert_cmpint (write (ours, stream->data + at, n), ==, n);
  }
  vd_clear_fd (&ours);
  return vt_check_device_state (fe);
}

/* --- From one daemon to another --- */

/* @data: how: sockets or a pipe */
static void
test_wce_goes_along (Fixture *f, gconstpointer data)
{
  gboolean sockets = data != NULL;
  g_autoptr (VtFrontend) from = hello (f->source, "disk");
  g_autoptr (VtFrontend) to = hello (f->target, "disk");

  for (guint8 wce = 0; wce < 2; wce++) {
    g_autoptr (GByteArray) stream = NULL;
    guint8 there[BLK_CONFIG], here[BLK_CONFIG];

    g_assert_true (vt_set_config (from, WCE, &wce, 1, 0));
    stream = save (from, sockets, 4096);
    g_assert_true (load (to, stream, sockets, 4096));
    g_assert_true (vt_get_config (from, 0, here, sizeof here));
    g_assert_true (vt_get_config (to, 0, there, sizeof there));
    g_assert_cmpuint (there[WCE], ==, wce);
    g_assert_cmpmem (here, sizeof here, there, sizeof there);
  }
}

static void
test_fields_that_the_driver_wrote_go_along (Fixture *f, gconstpointer data)
{
  gboolean sockets = data != NULL;
  g_autoptr (VtFrontend) from = hello (f->source, "toy");
  g_autoptr (VtFrontend) to = hello (f->target, "toy");
  g_autoptr (GByteArray) stream = NULL;
  guint8 here[TOY_CONFIG], there[TOY_CONFIG];

  g_assert_true (vt_get_config (from, 0, here, sizeof here));
  for (guint i = 0; i < 4; i++) /* a */
    here[i] = (guint8) g_test_rand_int ();
  for (guint i = 6; i < 4080; i++) /* text */
    here[i] = (guint8) g_test_rand_int ();
  g_assert_true (vt_set_config (from, 0, here, sizeof here, 0));
  stream = save (from, sockets, 4096);
  g_assert_true (load (to, stream, sockets, 4096));
  g_assert_true (vt_get_config (to, 0, there, sizeof there));
  g_assert_cmpmem (here, sizeof here, there, sizeof there);
}

static void
test_any_pace_will_do (Fixture *f, gconstpointer data)
{
  gboolean sockets = data != NULL;
  g_autoptr (VtFrontend) from = hello (f->source, "toy");
  g_autoptr (VtFrontend) to = hello (f->target, "toy");
  g_autoptr (GByteArray) stream = save (from, sockets, 1);
  g_autoptr (GByteArray) again = save (from, sockets, 4096);

  g_assert_cmpmem (stream->data, stream->len, again->data, again->len);
  g_assert_true (load (to, stream, sockets, 1));
  g_assert_true (load (to, stream, sockets, 7));
}

/* --- What does not fit --- */

static void
test_state_of_another_device_is_refused (Fixture *f, gconstpointer data)
{
  static const char *const ids[] = { "disk", "larger", "toy", "other" };
  guint8 before[BLK_CONFIG], after[BLK_CONFIG];

  for (guint i = 0; i < 4; i++) {
    g_autoptr (VtFrontend) from = hello (f->source, ids[i]);
    g_autoptr (GByteArray) stream = save (from, FALSE, 4096);

    for (guint j = 0; j < 4; j++) {
      g_autoptr (VtFrontend) to = hello (f->target, ids[j]);

      g_assert_true (vt_get_config (to, 0, before, sizeof before));
      g_assert_cmpint (load (to, stream, FALSE, 4096), ==, i == j);
      g_assert_true (vt_get_config (to, 0, after, sizeof after));
      g_assert_cmpmem (before, sizeof before, after, sizeof after);
    }
  }
}

/* A source that dies in the middle has sent a part. */
static void
test_a_part_is_refused_and_the_whole_taken_then (Fixture *f, gconstpointer data)
{
  g_autoptr (VtFrontend) from = hello (f->source, "toy");
  g_autoptr (VtFrontend) to = hello (f->target, "toy");
  g_autoptr (GByteArray) stream = save (from, FALSE, 4096);
  g_autoptr (GByteArray) part = g_byte_array_new ();

  for (guint len = 0; len < stream->len; len += 37) {
    g_byte_array_set_size (part, 0);
    g_byte_array_append (part, stream->data, len);
    g_assert_false (load (to, part, FALSE, 4096));
  }
  vt_daemon_wait_log (f->target, "the state was not loaded");
  g_assert_true (load (to, stream, FALSE, 4096));
}

/* --- Order --- */

static void
test_an_early_question_waits_for_the_end (Fixture *f, gconstpointer data)
{
  g_autoptr (VtFrontend) from = hello (f->source, "toy");
  g_autoptr (VtFrontend) to = hello (f->target, "toy");
  g_autoptr (VtFrontend) other = hello (f->target, "disk");
  g_autoptr (GByteArray) stream = save (from, FALSE, 4096);
  vd_autofd ours = -1, theirs = -1;

  open_ends (FALSE, &theirs, &ours);
  g_assert_true (vt_set_device_state_fd (to, VT_STATE_LOAD, theirs));
  vt_send_check_device_state (to);
  g_assert_cmpint (write (ours, stream->data, stream->len), ==, stream->len);
  vt_barrier (other); /* nobody else waits */
  g_assert_true (vt_is_silent (to, 20));
  vd_clear_fd (&ours);
  g_assert_true (vt_receive_check_device_state (to));
}

static void
test_a_reader_that_leaves_fails_the_transfer (Fixture *f, gconstpointer data)
{
  g_autoptr (VtFrontend) fe = hello (f->source, "toy");

  for (guint i = 0; i < 2; i++) {
    vd_autofd ours = -1, theirs = -1;

    open_ends (i, &ours, &theirs);
    vd_clear_fd (&ours);
    g_assert_true (vt_set_device_state_fd (fe, VT_STATE_SAVE, theirs));
    vd_clear_fd (&theirs);
    g_assert_false (vt_check_device_state (fe));
  }
  g_assert_false (vt_check_device_state (fe)); /* without any transfer */
  g_byte_array_unref (save (fe, FALSE, 4096));
}

/* The pipe outlives the front-end, as in a process that inherited it. */
static void
test_a_question_ends_with_its_front_end (Fixture *f, gconstpointer data)
{
  vd_autofd ours = -1, theirs = -1;
  VtFrontend *fe = hello (f->source, "toy");

  open_ends (FALSE, &theirs, &ours);
  g_assert_true (vt_set_device_state_fd (fe, VT_STATE_LOAD, theirs));
  vt_send_check_device_state (fe);
  g_assert_true (vt_is_silent (fe, 20));
  vt_frontend_free (fe);
  fe = hello (f->source, "toy");
  vt_barrier (fe);
  vt_frontend_free (fe);
}

static void
test_a_question_does_not_keep_a_device (Fixture *f, gconstpointer data)
{
  vd_autofd ours = -1, theirs = -1;
  g_autoptr (VtFrontend) fe = hello (f->source, "toy");
  gint64 begin;

  open_ends (FALSE, &theirs, &ours);
  g_assert_true (vt_set_device_state_fd (fe, VT_STATE_LOAD, theirs));
  vt_send_check_device_state (fe);
  g_assert_true (vt_is_silent (fe, 20));
  begin = g_get_monotonic_time ();
  vt_daemon_stop (f->source);
  g_assert_cmpint (g_get_monotonic_time () - begin, <, 1500 * 1000);
  vt_daemon_start (f->source);
}

/* --- With queues --- */

static VtMachine *
boot (VtDaemon *daemon)
{
  VtMachine *vm = vt_machine_new (VT_ORDER_QEMU_11, VT_RING_EVENT_IDX, 1, 64);
  VtFrontend *fe;

  vt_machine_connect (vm, daemon, "toy", TOY_CONFIG);
  fe = vm->fe;
  g_assert_true (vt_set_protocol_features (
      fe, fe->protocol_features | 1ull << VD_PROTOCOL_F_DEVICE_STATE));
  return vm;
}

static void
test_running_queues_refuse_a_transfer (Fixture *f, gconstpointer data)
{
  g_autoptr (VtMachine) vm = boot (f->source);
  vd_autofd ours = -1, theirs = -1;

  open_ends (TRUE, &ours, &theirs);
  vt_machine_start (vm);
  g_assert_false (vt_set_device_state_fd (vm->fe, VT_STATE_SAVE, theirs));
  g_assert_false (vt_set_device_state_fd (vm->fe, VT_STATE_LOAD, theirs));
  vt_machine_stop (vm);
  g_byte_array_unref (save (vm->fe, FALSE, 4096));
}

/* Started between the beginning of the stream and its end. */
static void
test_state_is_not_loaded_under_a_queue (Fixture *f, gconstpointer data)
{
  g_autoptr (VtMachine) vm = boot (f->source);
  g_autoptr (GByteArray) stream = save (vm->fe, FALSE, 4096);
  vd_autofd ours = -1, theirs = -1;

  open_ends (FALSE, &theirs, &ours);
  g_assert_true (vt_set_device_state_fd (vm->fe, VT_STATE_LOAD, theirs));
  vt_machine_start (vm);
  vt_barrier (vm->fe);
  g_assert_cmpint (write (ours, stream->data, stream->len), ==, stream->len);
  vd_clear_fd (&ours);
  g_assert_false (vt_check_device_state (vm->fe));
  vt_machine_stop (vm);
  g_assert_true (load (vm->fe, stream, FALSE, 4096));
}

static void
test_a_file_carries_no_state (Fixture *f, gconstpointer data)
{
  g_autofree char *path = vt_daemon_path (f->source, "disk.img");
  vd_autofd file = open (path, O_RDWR | O_CLOEXEC);
  vd_autofd ours = -1, theirs = -1;
  g_autoptr (VtFrontend) fe = hello (f->source, "toy");

  g_assert_no_errno (file);
  open_ends (FALSE, &ours, &theirs);
  for (guint i = 0; i < 2; i++)
    g_assert_false (vt_set_device_state_fd (fe, i, file));
  g_assert_false (vt_set_device_state_fd (fe, VT_STATE_SAVE, ours));
  g_assert_false (vt_set_device_state_fd (fe, VT_STATE_LOAD, theirs));
  g_byte_array_unref (save (fe, FALSE, 4096));
}

int
main (int argc, char **argv)
{
  g_test_init (&argc, &argv, NULL);
#define ADD(name, data, func)                                                  \
  g_test_add ("/wire/device-state/" name, Fixture, data, set_up, func,         \
              tear_down)
  ADD ("pipe/blk", NULL, test_wce_goes_along);
  ADD ("pipe/generic", NULL, test_fields_that_the_driver_wrote_go_along);
  ADD ("pipe/pace", NULL, test_any_pace_will_do);
  ADD ("socket/blk", "", test_wce_goes_along);
  ADD ("socket/generic", "", test_fields_that_the_driver_wrote_go_along);
  ADD ("socket/pace", "", test_any_pace_will_do);
  ADD ("refused/other", NULL, test_state_of_another_device_is_refused);
  ADD ("refused/part", NULL, test_a_part_is_refused_and_the_whole_taken_then);
  ADD ("refused/file", NULL, test_a_file_carries_no_state);
  ADD ("refused/running", NULL, test_running_queues_refuse_a_transfer);
  ADD ("refused/started", NULL, test_state_is_not_loaded_under_a_queue);
  ADD ("check/early", NULL, test_an_early_question_waits_for_the_end);
  ADD ("check/reader", NULL, test_a_reader_that_leaves_fails_the_transfer);
  ADD ("check/left", NULL, test_a_question_ends_with_its_front_end);
  ADD ("check/stop", NULL, test_a_question_does_not_keep_a_device);
  return g_test_run ();
}
