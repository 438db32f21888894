/* SPDX-License-Identifier: BSD-3-Clause
 *
 * test-dax-life.c - the window: requests that wait for the front-end, and how
 * mappings and waiting end
 */
#include <errno.h>
#include <fcntl.h>
#include <signal.h>
#include <unistd.h>

#include "devices/fs/export.h"
#include "devices/fs/state.h"
#include "tests/devices/fs/dax-rig.h"
#include "vring/fd.h"

static const VtFsConfig huge = { .keys = { "dax-size", "200G" },
                                 .no_init = TRUE };
static const VtFsConfig few = {
  .keys = { "dax-size", "16M", "fd-budget", "16" }, .no_init = TRUE
};

/* The ends of things. */

/* No rule ends a mapping with its inode, as none does with its open file. */
static void
test_forgotten_files_stay_mapped (VtFs *f, gconstpointer data)
{
  guint64 nodeid = vt_dax_begin (f);
  VtFuseCall call;

  vt_dax_map (f, nodeid, 0, 1);
  vt_fuse_forget (f->c, nodeid, 1);
  vt_dax_expect_silence (f);
  call = vt_dax_start_remove (f, 0, 1);
  vt_dax_wait_asked (f, 2);
  vt_dax_expect_unmap (0, 0);
  vt_dax_answer (f, 0);
  vt_dax_end (f, call, 0);
}

static void
test_the_end_of_a_session_unmaps_all (VtFs *f, gconstpointer data)
{
  for (guint i = 0; i < 2; i++) {
    guint64 nodeid = vt_dax_begin (f);
    guint before;

    vt_dax_map (f, nodeid, 2, 3);
    before = vt_dax_fe.n_asked;
    if (i == 0)
      g_assert_cmpint (vt_fuse_destroy (f->c), ==, 0);
    else /* a guest that has crashed */
      vt_dax_begin (f);
    vt_dax_wait_asked (f, before + 3);
    for (guint j = 0; j < 3; j++)
      vt_dax_expect_unmap (j, 2 + j);
    vt_dax_answer_all (f, 0);
    g_assert_cmpuint (vt_dax_n_mapped (f), ==, 0);
  }
}

/* The front-end forgets them, too, and takes it ill to be asked. */
static void
test_a_reset_forgets_all (VtFs *f, gconstpointer data)
{
  guint64 nodeid = vt_dax_begin (f);

  vt_dax_map (f, nodeid, 2, 3);
  vt_fs_reboot (f);
  g_assert_cmpuint (vt_dax_n_mapped (f), ==, 0);
  nodeid = vt_dax_begin (f);
  vt_dax_expect_silence (f);
  vt_dax_map (f, nodeid, 2, 3);
}

static void
test_a_lost_channel_ends_what_waits (VtFs *f, gconstpointer data)
{
  guint64 nodeid = vt_dax_begin (f);
  VtFuseCall first = vt_dax_start_setup (f, nodeid, 0, PIECE, 0, READ), second;

  vt_dax_wait_asked (f, 1);
  second = vt_dax_start_setup (f, nodeid, 0, PIECE, 0, READ);
  vt_queue_rig_pump_wait (&f->rig->queues);
  vt_dax_fe.gone = TRUE;
  vt_dax_answer (f, -ECANCELED);
  vt_dax_end (f, first, -EIO);
  vt_dax_end (f, second, -EIO);
  first = vt_dax_start_setup (f, nodeid, 0, PIECE, 0, READ);
  vt_dax_wait_asked (f, 3);
  vt_dax_end (f, first, -EIO);
  vt_dax_fe.gone = FALSE; /* it opened another */
  vt_dax_meet (f);
  vt_dax_map (f, nodeid, 0, 1);
}

static void
restart_ring (VtFs *f)
{
  vt_ring_reset (f->c->ring, 0);
  vt_rig_start_ring (f->rig, f->c->ring);
}

/* A front-end that stops a ring waits for it, and answers nothing meanwhile. */
static void
test_a_stop_does_not_wait_for_answers (VtFs *f, gconstpointer data)
{
  guint64 nodeid = vt_dax_begin (f);
  VtFuseCall setup_call = vt_dax_start_setup (f, nodeid, 0, PIECE, 0, READ),
             remove_call;

  vt_dax_wait_asked (f, 1);
  remove_call = vt_dax_start_remove (f, 0, 1);
  vt_queue_rig_pump_wait (&f->rig->queues);
  vt_rig_stop_ring (f->rig, f->c->ring);
  g_assert_cmpint (setup_call.out->error, ==, -EAGAIN);
  g_assert_cmpint (remove_call.out->error, ==, -EAGAIN);
  restart_ring (f);
  vt_dax_answer (f, 0); /* the mapping exists, although nobody was told */
  vt_dax_expect_silence (f);
  setup_call = vt_dax_start_setup (f, nodeid, 0, PIECE, 0, READ);
  vt_dax_wait_asked (f, 3);
  vt_dax_expect_unmap (0, 0);
  vt_dax_expect_map (1, 0, 0, FALSE);
  vt_dax_answer_all (f, 0);
  vt_dax_end (f, setup_call, 0);
}

/* As many requests as the ring has room for, which is then stopped. */
static void
flood (VtFs *f)
{
  const VdFsDax *dax = &((VdFs *) f->rig->dev)->dax;
  guint n = dax->jobs.length + 400;
  VtFuseCall calls[400];

  for (guint i = 0; i < G_N_ELEMENTS (calls); i++)
    calls[i] = vt_dax_start_remove (f, 0, 1);
  while (dax->jobs.length < n) {
    vt_queue_rig_pump (&f->rig->queues);
    while (vt_ring_get (f->c->ring, NULL) != NULL)
      n--;
    g_thread_yield ();
  }
  vt_rig_stop_ring (f->rig, f->c->ring);
  for (guint i = 0; i < G_N_ELEMENTS (calls); i++)
    g_assert_cmpint (calls[i].out->error, ==, -EAGAIN);
  restart_ring (f);
}

/* A front-end that never answers stops and starts one ring again and again, while
 * a request of another waits. */
static void
test_what_waits_is_bounded (VtFs *f, gconstpointer data)
{
  const guint max = 1024;
  const VdFsDax *dax = &((VdFs *) f->rig->dev)->dax;
  guint64 nodeid = vt_dax_begin (f);
  struct fuse_setupmapping_in in = vt_dax_setup_in (0, PIECE, 0, READ);
  VtFuseCall first = vt_dax_start_setup (f, nodeid, 0, PIECE, 0, READ), second,
             call;

  vt_dax_wait_asked (f, 1);
  second = vt_fuse_start_setup (&f->fuse[2], nodeid, &in);
  while (dax->jobs.length == 0)
    vt_queue_rig_pump_wait (&f->rig->queues);
  while (dax->jobs.length < max)
    flood (f);
  flood (f);
  g_assert_cmpuint (dax->jobs.length, ==, max);
  g_assert_cmpint (first.out->error, ==, -EAGAIN);
  call = vt_dax_start_remove (f, 0, 1);
  vt_queue_rig_pump_wait (&f->rig->queues);
  vt_dax_end (f, call, -EAGAIN);
  vt_dax_answer (f, 0);
  vt_dax_expect_unmap (0, 0);
  vt_dax_expect_map (1, 0, 0, FALSE);
  vt_dax_answer_all (f, 0); /* the others are of no interest any more */
  vt_fuse_end (&f->fuse[2], &second, 0);
  g_assert_cmpuint (dax->jobs.length, ==, 0);
  g_assert_cmpuint (vt_dax_fe.n_asked, ==, 3);
}

/* Files that the guest makes the device have open. */
static guint
n_open (VtFs *f)
{
  return vd_fs_budget_used (&((VdFs *) f->rig->dev)->budget);
}

/* What a session leaves behind is closed by another thread. */
static void
wait_open (VtFs *f, guint n)
{
  gint64 end = g_get_monotonic_time () + VT_TIMEOUT_MS * 1000ll;

  while (n_open (f) > n) {
    g_assert_cmpint (g_get_monotonic_time (), <, end);
    g_usleep (1000);
  }
}

static void
test_waiting_files_count_as_open (VtFs *f, gconstpointer data)
{
  guint64 nodeid = vt_dax_begin (f);
  guint before = n_open (f), n_full = 0;
  VtFuseCall calls[32];

  for (guint i = 0; i < G_N_ELEMENTS (calls); i++)
    calls[i] = vt_dax_start_setup (f, nodeid, 0, PIECE, 0, READ);
  while (vt_ring_n_in_flight (f->c->ring) > 16) {
    while (vt_ring_get (f->c->ring, NULL) != NULL)
      n_full++;
    vt_queue_rig_pump (&f->rig->queues);
    g_thread_yield ();
  }
  g_assert_cmpuint (n_open (f), <=, 16);
  g_assert_cmpuint (n_full, >=, 16);
  vt_rig_stop_ring (f->rig, f->c->ring);
  for (guint i = 0; i < G_N_ELEMENTS (calls); i++)
    g_assert_true (calls[i].out->error == -ENFILE ||
                   calls[i].out->error == -EAGAIN);
  restart_ring (f);
  vt_dax_answer_all (f, 0);
  vt_queue_rig_pump (&f->rig->queues);
  vt_dax_answer_all (f, 0);
  wait_open (f, before);
}

/* Its answers come in the driver's next life, or not at all. */
static void
test_a_reset_with_questions_under_way (VtFs *f, gconstpointer data)
{
  guint64 nodeid = vt_dax_begin (f);
  guint before = n_open (f);
  VtFuseCall call;

  vt_dax_start_setup (f, nodeid, 0, N_PIECES * PIECE, 0, READ);
  vt_dax_start_remove (f, 0, N_PIECES);
  vt_dax_wait_asked (f, N_PIECES);
  vt_fs_reboot (f);
  nodeid = vt_dax_begin (f);
  vt_dax_answer (f, 0);
  for (guint i = 1; i < N_PIECES; i++)
    vt_dax_answer (f, -EIO);
  wait_open (f, before);
  g_assert_cmpuint (vt_dax_n_mapped (f), ==, 1);
  call = vt_dax_start_setup (f, nodeid, 0, PIECE, 0, READ);
  vt_dax_wait_asked (f, N_PIECES + 1); /* INIT comes first */
  vt_dax_expect_unmap (0, 0);
  vt_dax_answer (f, 0);
  vt_dax_wait_asked (f, N_PIECES + 2);
  vt_dax_expect_map (0, 0, 0, FALSE);
  vt_dax_answer (f, 0);
  vt_dax_end (f, call, 0);
}

/* Holds a lease on a file until it was asked to give it up, and a bit more. */
static gpointer
hold_lease (gpointer data)
{
  int fd = GPOINTER_TO_INT (data);

  while (fcntl (fd, F_GETLEASE) == F_WRLCK)
    g_usleep (1000);
  g_usleep (50000);
  g_assert_no_errno (fcntl (fd, F_SETLEASE, F_UNLCK));
  return NULL;
}

/* What comes back from a thread that opens the file must not wait for a
 * front-end that waits for it in turn. */
static void
test_new_memory_does_not_wait_for_answers (VtFs *f, gconstpointer data)
{
  g_autofree char *path = vt_fs_path (f, "file");
  vd_autofd fd = open (path, O_RDWR | O_CLOEXEC);
  guint64 nodeid = vt_dax_begin (f);
  GThread *thread;
  VtFuseCall call;

  signal (SIGIO, SIG_IGN);
  /* Somebody of the guest has the file open; and leases are for the owner. */
  if (fcntl (fd, F_SETLEASE, F_WRLCK) < 0) {
    g_test_skip ("no leases here");
    return;
  }
  thread = g_thread_new ("lease", hold_lease, GINT_TO_POINTER (fd));
  call = vt_dax_start_setup (f, nodeid, 0, PIECE, 0, READ);
  while (fcntl (fd, F_GETLEASE) == F_WRLCK)
    g_thread_yield ();
  g_assert_cmpint (vt_queue_rig_remap (&f->rig->queues), ==, 0);
  g_thread_join (thread);
  vt_dax_end (f, call, -EAGAIN);
  vt_dax_expect_silence (f);
}

/* Large windows. */

static void
test_a_hundred_thousand_mappings (VtFs *f, gconstpointer data)
{
  const guint n = 100000;
  guint64 nodeid = vt_dax_begin (f);
  VtFuseCall call = vt_dax_start_setup (f, nodeid, 0, n * PIECE, 0, READ);

  while (vt_dax_fe.n_asked < n) {
    vt_queue_rig_pump (&f->rig->queues);
    vt_dax_answer_all (f, 0);
  }
  vt_dax_end (f, call, 0);
  g_assert_cmpuint (vt_dax_n_mapped (f), ==, n);
  g_assert_cmpuint (vt_dax_fe.most, <=, 16);
  for (guint i = 0; i < 1000; i++) {
    call = vt_dax_start_setup (f, nodeid, i * 99, PIECE, 0, READ);
    vt_dax_wait_asked (f, n + 2 * (i + 1));
    vt_dax_answer_all (f, 0);
    vt_dax_end (f, call, 0);
  }
  vt_dax_fe.at_once = TRUE;
  g_assert_cmpint (vt_fuse_destroy (f->c), ==, 0);
  while (vt_dax_n_mapped (f) > 0)
    vt_queue_rig_pump_wait (&f->rig->queues);
}

/* Migration. */

static void
test_a_guest_with_mappings_does_not_move (VtFs *f, gconstpointer data)
{
  g_autoptr (GByteArray) state = g_byte_array_new ();
  g_autoptr (GError) error = NULL;
  guint64 nodeid = vt_dax_begin (f);
  VtFuseCall call;

  vt_dax_map (f, nodeid, 0, 2);
  g_assert_false (vd_fs_save (f->rig->dev, state, &error));
  g_assert_error (error, VD_FS_STATE_ERROR, VD_FS_STATE_ERROR_MAPPED);
  call = vt_dax_start_remove (f, 0, 2);
  vt_dax_wait_asked (f, 4);
  vt_dax_answer_all (f, 0);
  vt_dax_end (f, call, 0);
  g_assert_true (vd_fs_save (f->rig->dev, state, NULL));
}

int
main (int argc, char **argv)
{
  g_test_init (&argc, &argv, NULL);
#define ADD(name, config, func)                                                \
  g_test_add ("/devices/fs/dax/" name, VtFs, config, vt_dax_set_up, func,      \
              vt_dax_tear_down)
  ADD ("end/forget", &vt_dax_window, test_forgotten_files_stay_mapped);
  ADD ("end/session", &vt_dax_window, test_the_end_of_a_session_unmaps_all);
  ADD ("end/reset", &vt_dax_window, test_a_reset_forgets_all);
  ADD ("end/reset-asked", &vt_dax_window,
       test_a_reset_with_questions_under_way);
  ADD ("end/channel", &vt_dax_window, test_a_lost_channel_ends_what_waits);
  ADD ("wait/stop", &vt_dax_window, test_a_stop_does_not_wait_for_answers);
  ADD ("wait/memory", &vt_dax_window,
       test_new_memory_does_not_wait_for_answers);
  ADD ("wait/bounded", &vt_dax_window, test_what_waits_is_bounded);
  ADD ("wait/descriptors", &few, test_waiting_files_count_as_open);
  ADD ("large", &huge, test_a_hundred_thousand_mappings);
  ADD ("migration", &vt_dax_window, test_a_guest_with_mappings_does_not_move);
  return g_test_run ();
}
