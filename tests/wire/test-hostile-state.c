/* SPDX-License-Identifier: BSD-3-Clause
 *
 * test-hostile-state.c - a device's status and its state in a migration: what
 * honest front-ends get, and attacks by the stream and its pipe
 */
#include <fcntl.h>
#include <pthread.h>
#include <signal.h>
#include <stdatomic.h>
#include <string.h>
#include <sys/socket.h>
#include <unistd.h>

#include "tests/wire/hostile.h"
#include "vring/fd.h"

enum { SAVE, LOAD };

#define TAKEN  0x100u /* the reply's bit 8: no descriptor comes with it */
#define FAILED 0x101u

/* Sends SET_DEVICE_STATE_FD.  Returns: its reply. */
static guint64
set_state_fd (VtAttack *a, guint32 direction, guint32 phase, int fd)
{
  const VdWireDeviceState wire = { direction, phase };
  guint64 reply;

  g_assert_true (vt_send (a->fe, VD_SET_DEVICE_STATE_FD, VD_WIRE_VERSION, &wire,
                          sizeof wire, &fd, 1));
  vt_receive (a->fe, VD_SET_DEVICE_STATE_FD, &reply, sizeof reply);
  return reply;
}

/* Returns: whether the transfer succeeded. */
static gboolean
check_state (VtAttack *a)
{
  guint64 reply;

  g_assert_true (vt_send (a->fe, VD_CHECK_DEVICE_STATE, VD_WIRE_VERSION, NULL,
                          0, NULL, 0));
  vt_receive (a->fe, VD_CHECK_DEVICE_STATE, &reply, sizeof reply);
  return reply == 0;
}

/* Reads to the end.  Returns: (transfer full): all of it. */
static GByteArray *
read_all (int fd)
{
  GByteArray *all = g_byte_array_new ();
  guint8 bytes[4096];
  gssize n = -1;

  while (vt_wait_readable (fd, VT_TIMEOUT_MS) &&
         (n = read (fd, bytes, sizeof bytes)) > 0)
    g_byte_array_append (all, bytes, (guint) n);
  g_assert_cmpint (n, ==, 0);
  return all;
}

static GByteArray *
save (VtAttack *a)
{
  int pipes[2];
  GByteArray *stream;

  g_assert_no_errno (pipe2 (pipes, O_CLOEXEC));
  g_assert_cmphex (set_state_fd (a, SAVE, 0, pipes[1]), ==, TAKEN);
  close (pipes[1]);
  stream = read_all (pipes[0]);
  close (pipes[0]);
  g_assert_true (check_state (a));
  return stream;
}

/* Returns: whether the back-end took it. */
static gboolean
load (VtAttack *a, const guint8 *bytes, gsize len)
{
  int pipes[2];

  g_assert_no_errno (pipe2 (pipes, O_CLOEXEC));
  g_assert_cmphex (set_state_fd (a, LOAD, 0, pipes[0]), ==, TAKEN);
  close (pipes[0]);
  g_assert_cmpint (write (pipes[1], bytes, len), ==, len);
  close (pipes[1]);
  return check_state (a);
}

/* --- What honest front-ends do --- */

static void
status_is_kept (VtAttack *a)
{
  const guint64 values[] = { 0, 1, 3, 11, 15, 0x8f };
  guint64 status;

  vt_attack_hello (a);
  for (guint i = 0; i < G_N_ELEMENTS (values); i++) {
    g_assert_cmpint (vt_attack_try_u64 (a, VD_SET_STATUS, values[i], -1), ==,
                     VT_ACKED);
    vt_send (a->fe, VD_GET_STATUS, VD_WIRE_VERSION, NULL, 0, NULL, 0);
    vt_receive (a->fe, VD_GET_STATUS, &status, sizeof status);
    g_assert_cmphex (status, ==, values[i]);
  }
}

/* A paused VM sets it to zero and goes on with running rings. */
static void
status_of_zero_does_not_reset (VtAttack *a)
{
  vt_attack_start (a);
  g_assert_cmpint (vt_attack_try_u64 (a, VD_SET_STATUS, 0, -1), ==, VT_ACKED);
  vt_attack_read (a->ring, 3);
  g_assert_cmpint (vt_attack_try_u64 (a, VD_SET_STATUS, G_MAXUINT64, -1), ==,
                   VT_ACKED);
  vt_attack_read (a->ring, 4);
}

static void
base_without_a_drain (VtAttack *a)
{
  VdWireVringState state = { 0, 0 };

  vt_attack_start (a);
  vt_attack_read (a->ring, 3);
  vt_send (a->fe, VD_GET_VRING_BASE_SKIP_DRAIN, VD_WIRE_VERSION, &state,
           sizeof state, NULL, 0);
  vt_receive (a->fe, VD_GET_VRING_BASE_SKIP_DRAIN, &state, sizeof state);
  g_assert_cmpuint (state.index, ==, 0);
  g_assert_cmpuint (state.num, ==, 2); /* requests so far */
}

static void
state_that_was_saved_is_loaded (VtAttack *a)
{
  g_autoptr (GByteArray) stream = NULL;

  vt_attack_start (a);
  vt_get_vring_base (a->fe, 0);
  stream = save (a);
  g_assert_cmpuint (stream->len, >, 0);
  vt_attack_reconnect (a);
  vt_attack_hello (a);
  g_assert_true (load (a, stream->data, stream->len));
}

/* --- Attacks --- */

/* Every byte changed, every length: none is loaded, and none does harm. */
static void
damaged_streams (VtAttack *a)
{
  g_autoptr (GByteArray) stream = NULL;

  vt_attack_hello (a);
  stream = save (a);
  for (guint i = 0; i < stream->len; i++) {
    stream->data[i] ^= 1u << (i % 8);
    g_assert_false (load (a, stream->data, stream->len));
    stream->data[i] ^= 1u << (i % 8);
    g_assert_false (load (a, stream->data, i));
  }
  g_byte_array_append (stream, (const guint8 *) "", 1);
  g_assert_false (load (a, stream->data, stream->len));
  g_assert_true (load (a, stream->data, stream->len - 1));
}

static void
random_streams (VtAttack *a)
{
  guint8 bytes[512];

  vt_attack_hello (a);
  for (guint i = 0; i < 200; i++) {
    for (guint j = 0; j < sizeof bytes; j++)
      bytes[j] = (guint8) g_test_rand_int ();
    g_assert_false (load (a, bytes, sizeof bytes));
  }
}

/* A stream without an end is cut off at a limit. */
static void
endless_stream (VtAttack *a)
{
  g_autofree guint8 *zeroes = g_malloc0 (1 << 20);
  int pipes[2];
  guint n = 0;

  g_assert_no_errno (pipe2 (pipes, O_CLOEXEC));
  vt_attack_hello (a);
  g_assert_cmphex (set_state_fd (a, LOAD, 0, pipes[0]), ==, TAKEN);
  close (pipes[0]);
  vt_attack_witness (a);
  while (n < 200 && write (pipes[1], zeroes, 1 << 20) > 0)
    n++;
  g_assert_cmpuint (n, <, 200);
  close (pipes[1]);
  g_assert_false (check_state (a));
}

static void
wrong_directions_and_phases (VtAttack *a)
{
  const VdWireDeviceState wrong[] = {
    { 2, 0 }, { G_MAXUINT32, 0 }, { SAVE, 1 }, { LOAD, G_MAXUINT32 }
  };
  int pipes[2];

  g_assert_no_errno (pipe2 (pipes, O_CLOEXEC));
  vt_attack_hello (a);
  for (guint i = 0; i < G_N_ELEMENTS (wrong); i++)
    g_assert_cmphex (
        set_state_fd (a, wrong[i].direction, wrong[i].phase, pipes[i % 2]), ==,
        FAILED);
  g_assert_false (check_state (a)); /* there was no transfer */
  close (pipes[0]);
  close (pipes[1]);
}

static void
descriptors_that_carry_no_stream (VtAttack *a)
{
  vd_autofd null = open ("/dev/null", O_RDWR | O_CLOEXEC);
  vd_autofd zero = open ("/dev/zero", O_RDWR | O_CLOEXEC);
  vd_autofd dir = open ("/tmp", O_RDONLY | O_DIRECTORY | O_CLOEXEC);
  const VtRegion *r = g_ptr_array_index (a->guest->regions, 0);
  const int fds[] = { null, zero, dir, r->fd, a->ring->kick_fd };

  vt_attack_hello (a);
  for (guint i = 0; i < G_N_ELEMENTS (fds); i++)
    for (guint32 direction = SAVE; direction <= LOAD; direction++)
      g_assert_cmphex (set_state_fd (a, direction, 0, fds[i]), ==, FAILED);
}

/* The wrong end, or one whose other end is closed: the transfer fails. */
static void
pipes_that_lead_nowhere (VtAttack *a)
{
  vt_attack_hello (a);
  for (guint i = 0; i < 4; i++) {
    int pipes[2];
    guint32 direction = i % 2 ? LOAD : SAVE;

    g_assert_no_errno (pipe2 (pipes, O_CLOEXEC));
    if (i < 2) {
      set_state_fd (a, direction, 0, pipes[direction]); /* the wrong end */
    } else {
      int theirs = pipes[1 - direction];

      close (pipes[direction]);
      pipes[direction] = -1;
      set_state_fd (a, direction, 0, theirs);
    }
    vt_attack_witness (a);
    vd_clear_fd (&pipes[0]);
    vd_clear_fd (&pipes[1]);
    g_assert_false (check_state (a));
  }
}

/* The state of a disk is smaller than a pipe, so the pipe is full before. */
static void
pipe_that_nobody_reads (VtAttack *a)
{
  g_autofree guint8 *zeroes = g_malloc0 (1 << 20);
  int pipes[2];

  g_assert_no_errno (pipe2 (pipes, O_CLOEXEC | O_NONBLOCK));
  while (write (pipes[1], zeroes, 1 << 20) > 0)
    ;
  while (write (pipes[1], zeroes, 1) > 0)
    ;
  g_assert_no_errno (fcntl (pipes[1], F_SETFL, 0));
  vt_attack_hello (a);
  g_assert_cmphex (set_state_fd (a, SAVE, 0, pipes[1]), ==, TAKEN);
  for (guint i = 0; i < 20; i++)
    vt_attack_witness (a);
  vt_barrier (a->fe); /* its own connection is served as well */
  g_assert_true (vt_send (a->fe, VD_CHECK_DEVICE_STATE, VD_WIRE_VERSION, NULL,
                          0, NULL, 0));
  vt_attack_witness (a);
  g_assert_true (vt_is_silent (a->fe, 20));
  close (pipes[0]); /* and now it leaves, with the question unanswered */
  close (pipes[1]);
}

/* Takes from @fd, or gives to it, whenever the back-end might as well. */
typedef struct {
  int fd;
  gboolean writes;
  atomic_bool end, ended;
} Rival;

static void *
rival_thread (void *data)
{
  Rival *rival = data;
  guint8 bytes[65536] = { 0 };

  while (!atomic_load (&rival->end))
    if (rival->writes)
      (void) !write (rival->fd, bytes, sizeof bytes);
    else
      (void) !read (rival->fd, bytes, sizeof bytes);
  atomic_store (&rival->ended, TRUE);
  return NULL;
}

/* What was readable a moment ago no longer is: whoever reads it without care
 * waits for ever, and with it everybody. */
static void
stream_that_somebody_else_reads (VtAttack *a)
{
  Rival rival = { 0 };
  int pipes[2];
  pthread_t thread;

  vt_attack_hello (a);
  g_assert_no_errno (pipe2 (pipes, O_CLOEXEC));
  g_assert_cmphex (set_state_fd (a, LOAD, 0, pipes[0]), ==, TAKEN);
  rival.fd = pipes[0];
  g_assert_cmpint (pthread_create (&thread, NULL, rival_thread, &rival), ==, 0);
  for (guint i = 0; i < 20000; i++) {
    g_assert_cmpint (write (pipes[1], "x", 1), ==, 1);
    if (i % 100 == 0)
      vt_attack_witness_answers (a);
  }
  atomic_store (&rival.end, TRUE);
  close (pipes[1]);
  pthread_join (thread, NULL);
  close (pipes[0]);
  g_assert_false (check_state (a));
}

/* The same for what was writable. */
static void
pipe_that_somebody_else_fills (VtAttack *a)
{
  vt_attack_hello (a);
  for (guint i = 0; i < 200; i++) {
    Rival rival = { .writes = TRUE };
    guint8 bytes[65536];
    int pipes[2];
    pthread_t thread;

    g_assert_no_errno (pipe2 (pipes, O_CLOEXEC));
    rival.fd = pipes[1];
    g_assert_cmpint (pthread_create (&thread, NULL, rival_thread, &rival), ==,
                     0);
    g_assert_cmphex (set_state_fd (a, SAVE, 0, pipes[1]), ==, TAKEN);
    for (guint j = 0; j < 20; j++) {
      g_assert_cmpint (read (pipes[0], bytes, 4096), >, 0);
      vt_attack_witness_answers (a);
    }
    atomic_store (&rival.end, TRUE);
    while (!atomic_load (&rival.ended)) /* its last write may wait for room */
      if (vt_wait_readable (pipes[0], 1))
        g_assert_cmpint (read (pipes[0], bytes, sizeof bytes), >, 0);
    pthread_join (thread, NULL);
    close (pipes[0]);
    close (pipes[1]);
  }
}

static void
transfer_while_a_ring_runs (VtAttack *a)
{
  int pipes[2];

  g_assert_no_errno (pipe2 (pipes, O_CLOEXEC));
  vt_attack_start (a);
  g_assert_cmphex (set_state_fd (a, SAVE, 0, pipes[1]), ==, FAILED);
  g_assert_cmphex (set_state_fd (a, LOAD, 0, pipes[0]), ==, FAILED);
  vt_attack_read (a->ring, 3);
  close (pipes[0]);
  close (pipes[1]);
}

/* Each replaces the one before, whose pipe is closed. */
static void
many_transfers_at_once (VtAttack *a)
{
  vt_attack_hello (a);
  for (guint i = 0; i < 100; i++) {
    int pipes[2];

    g_assert_no_errno (pipe2 (pipes, O_CLOEXEC));
    g_assert_cmphex (set_state_fd (a, LOAD, 0, pipes[0]), ==, TAKEN);
    close (pipes[0]);
    close (pipes[1]);
  }
  g_assert_false (check_state (a));
}

int
main (int argc, char **argv)
{
  g_test_init (&argc, &argv, NULL);
  signal (SIGPIPE, SIG_IGN); /* the back-end closes pipes in mid-stream */
#define ADD(path, func) vt_attack_add ("/hostile/state/" path, func)
  ADD ("status", status_is_kept);
  ADD ("status/zero", status_of_zero_does_not_reset);
  ADD ("skip-drain", base_without_a_drain);
  ADD ("honest", state_that_was_saved_is_loaded);
  ADD ("stream/damaged", damaged_streams);
  ADD ("stream/random", random_streams);
  ADD ("stream/endless", endless_stream);
  ADD ("fd/direction", wrong_directions_and_phases);
  ADD ("fd/no-stream", descriptors_that_carry_no_stream);
  ADD ("fd/nowhere", pipes_that_lead_nowhere);
  ADD ("fd/unread", pipe_that_nobody_reads);
  ADD ("fd/stolen", stream_that_somebody_else_reads);
  ADD ("fd/filled", pipe_that_somebody_else_fills);
  ADD ("order/running", transfer_while_a_ring_runs);
  ADD ("order/many", many_transfers_at_once);
  return vt_attack_main ();
}
