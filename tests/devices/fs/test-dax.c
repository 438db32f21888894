/* SPDX-License-Identifier: BSD-3-Clause
 *
 * test-dax.c - the window: what is offered, what the guest may ask, and what the
 * front-end is asked then
 *
 * test-dax-life.c has what waits and what ends; that file data can be seen through
 * the window is shown by tests/wire/test-dax.c.
 */
#include <errno.h>
#include <fcntl.h>
#include <glib/gstdio.h>
#include <string.h>
#include <unistd.h>

#include "devices/fs/fs.h"
#include "tests/devices/fs/dax-rig.h"

static const VtFsConfig large_only = {
  .keys = { "dax-size", "16M", "dax-min-size", "4k" }, .no_init = TRUE
};
static const VtFsConfig none = { .no_init = TRUE };

/* What is offered. */

static guint16
alignment_of_init (VtFs *f, guint64 flags)
{
  struct fuse_init_in in = {
    .major = FUSE_KERNEL_VERSION,
    .minor = 41,
    .flags = (guint32) flags,
    .flags2 = (guint32) (flags >> 32),
  };
  struct fuse_init_out out;
  guint64 got;

  g_assert_cmpint (vt_fuse_call (f->c, FUSE_INIT, 0, &in, sizeof in, NULL, 0,
                                 &out, sizeof out),
                   ==, sizeof out);
  got = out.flags | (guint64) out.flags2 << 32;
  g_assert_cmphex (got & (FUSE_MAP_ALIGNMENT | FUSE_HAS_INODE_DAX), ==,
                   out.map_alignment != 0
                       ? FUSE_MAP_ALIGNMENT | (flags & FUSE_HAS_INODE_DAX)
                       : 0);
  return out.map_alignment;
}

static void
test_a_window_is_offered_to_guests_that_see_it (VtFs *f, gconstpointer data)
{
  g_assert_cmpuint (f->rig->dev->shm_sizes[0], ==, N_PIECES * PIECE);
  for (guint i = 1; i < VD_SHM_REGIONS; i++)
    g_assert_cmpuint (f->rig->dev->shm_sizes[i], ==, 0);
  g_assert_cmpuint (alignment_of_init (f, DAX_INIT), ==, 21);
  g_assert_cmpuint (alignment_of_init (f, DAX_LOW), ==, 21);
  g_assert_cmpuint (alignment_of_init (f, FUSE_INIT_EXT | FUSE_HAS_INODE_DAX),
                    ==, 0);
  vt_dax_fe.no_answer = TRUE; /* a front-end that does not say what it did */
  vt_dax_meet (f);
  g_assert_cmpuint (alignment_of_init (f, DAX_INIT), ==, 0);
}

/* A front-end without shared memory regions is never met. */
static void
test_no_window_is_offered_without_the_front_end (VtFs *f, gconstpointer data)
{
  struct fuse_setupmapping_in in = vt_dax_setup_in (0, PIECE, 0, READ);
  guint32 count = 0;

  f->rig->dev->services = NULL;
  f->rig->dev->ops->reset (f->rig->dev); /* it left, and another came */
  g_assert_cmpuint (alignment_of_init (f, DAX_INIT), ==, 0);
  g_assert_cmpint (vt_dax_setup (f, 1, &in), ==, -ENOSYS);
  g_assert_cmpint (vt_fuse_call (f->c, FUSE_REMOVEMAPPING, 1, &count,
                                 sizeof count, NULL, 0, NULL, 0),
                   ==, -ENOSYS);
}

static void
test_no_window_is_offered_without_the_key (VtFs *f, gconstpointer data)
{
  g_assert_null (f->rig->dev->shm_sizes);
  f->rig->dev->services = NULL;
  g_assert_cmpuint (alignment_of_init (f, DAX_INIT), ==, 0);
}

static guint32
attr_flags (VtFs *f, const char *name)
{
  struct fuse_attr attr, again;
  guint64 nodeid;

  g_assert_cmpint (vt_fuse_lookup (f->c, 1, name, &nodeid, &attr), ==, 0);
  g_assert_cmpint (vt_fuse_getattr (f->c, nodeid, &again), ==, 0);
  g_assert_cmphex (attr.flags, ==, again.flags);
  return attr.flags;
}

static void
test_files_of_some_size_are_for_the_window (VtFs *f, gconstpointer data)
{
  g_autofree char *text = g_strnfill (4096, 'x');
  g_autofree char *dir = vt_fs_path (f, "dir");

  vt_fs_put (f, "large", text);
  text[4095] = '\0';
  vt_fs_put (f, "small", text);
  g_assert_no_errno (g_mkdir (dir, 0755));
  g_assert_cmpint (vt_fuse_init (f->c, DAX_INIT), ==, 0);
  g_assert_cmphex (attr_flags (f, "large"), ==, FUSE_ATTR_DAX);
  g_assert_cmphex (attr_flags (f, "small"), ==, 0);
  g_assert_cmphex (attr_flags (f, "dir"), ==, 0);
  g_assert_cmpint (vt_fuse_init (f->c, DAX_LOW), ==, 0);
  g_assert_cmphex (attr_flags (f, "large"), ==, 0);
}

/* Mapping. */

static void
test_a_file_is_mapped_when_the_front_end_says_so (VtFs *f, gconstpointer data)
{
  guint64 nodeid = vt_dax_begin (f);
  VtFuseCall call = vt_dax_start_setup (f, nodeid, 3, PIECE, 2 * PIECE, READ);
  char bytes[8] = "";

  vt_dax_wait_asked (f, 1);
  vt_dax_expect_map (0, 3, 2 * PIECE, FALSE);
  g_assert_cmpint (pread (vt_dax_question (0)->mapping.fd, bytes, 7, 0), ==, 7);
  g_assert_cmpstr (bytes, ==, "content");
  g_assert_cmpint (vt_fuse_getattr (&f->fuse[2], nodeid, NULL), ==, 0);
  g_assert_false (vt_ring_wait (f->c->ring, 0));
  vt_dax_answer (f, 0);
  vt_dax_end (f, call, 0);
  g_assert_cmpuint (vt_dax_n_mapped (f), ==, 1);
}

static void
test_a_writable_mapping_has_a_writable_file (VtFs *f, gconstpointer data)
{
  const guint64 flags[] = { READ | WRITE, WRITE };
  guint64 nodeid = vt_dax_begin (f);

  for (guint i = 0; i < G_N_ELEMENTS (flags); i++) {
    VtFuseCall call = vt_dax_start_setup (f, nodeid, i, PIECE, 0, flags[i]);

    vt_dax_wait_asked (f, i + 1);
    vt_dax_expect_map (0, i, 0, TRUE);
    vt_dax_answer (f, 0);
    vt_dax_end (f, call, 0);
  }
}

static void
test_a_refusal_is_told_and_maps_nothing (VtFs *f, gconstpointer data)
{
  guint64 nodeid = vt_dax_begin (f);
  VtFuseCall call = vt_dax_start_setup (f, nodeid, 0, PIECE, 0, READ);

  vt_dax_wait_asked (f, 1);
  vt_dax_answer (f, -EIO);
  vt_dax_end (f, call, -EIO);
  g_assert_cmpuint (vt_dax_n_mapped (f), ==, 0);
  vt_dax_map (f, nodeid, 0, 1); /* without taking anything away before */
}

/* A guest upgrades a mapping, or uses a place again. */
static void
test_a_mapping_is_replaced_in_one_go (VtFs *f, gconstpointer data)
{
  guint64 nodeid = vt_dax_begin (f);
  VtFuseCall call;

  vt_dax_map (f, nodeid, 5, 1);
  call = vt_dax_start_setup (f, nodeid, 5, PIECE, 0, READ | WRITE);
  vt_dax_wait_asked (f, 3);
  vt_dax_expect_unmap (0, 5);
  vt_dax_expect_map (1, 5, 0, TRUE);
  vt_dax_answer (f, 0);
  vt_dax_answer (f, 0);
  vt_dax_end (f, call, 0);
  g_assert_cmpuint (vt_dax_n_mapped (f), ==, 1);
}

static void
test_large_mappings_are_split_and_partly_replaced (VtFs *f, gconstpointer data)
{
  guint64 nodeid = vt_dax_begin (f);
  VtFuseCall call = vt_dax_start_setup (f, nodeid, 1, 6 * PIECE, PIECE, READ);

  vt_dax_wait_asked (f, 6);
  for (guint i = 0; i < 6; i++)
    vt_dax_expect_map (i, 1 + i, (1 + i) * PIECE, FALSE);
  vt_dax_answer_all (f, 0);
  vt_dax_end (f, call, 0);
  call = vt_dax_start_setup (f, nodeid, 2, 2 * PIECE, 0, READ);
  vt_dax_wait_asked (f, 10);
  for (guint i = 0; i < 2; i++) {
    vt_dax_expect_unmap (2 * i, 2 + i);
    vt_dax_expect_map (2 * i + 1, 2 + i, i * PIECE, FALSE);
  }
  vt_dax_answer_all (f, 0);
  vt_dax_end (f, call, 0);
  g_assert_cmpuint (vt_dax_n_mapped (f), ==, 6);
}

static void
test_one_refused_piece_fails_the_whole (VtFs *f, gconstpointer data)
{
  guint64 nodeid = vt_dax_begin (f);
  VtFuseCall call = vt_dax_start_setup (f, nodeid, 0, 4 * PIECE, 0, READ);

  vt_dax_wait_asked (f, 4);
  vt_dax_answer (f, 0);
  vt_dax_answer (f, -EIO);
  vt_dax_answer (f, 0);
  vt_dax_answer (f, 0);
  vt_dax_end (f, call, -EIO);
  g_assert_cmpuint (vt_dax_n_mapped (f), ==, 3);
}

static void
test_many_places_are_removed_at_once (VtFs *f, gconstpointer data)
{
  struct {
    guint32 count;
    struct fuse_removemapping_one one[3];
  } __attribute__ ((packed)) in = {
    .count = 3,
    .one = { { 6 * PIECE, PIECE }, { 0, 2 * PIECE }, { 3 * PIECE, PIECE } },
  };
  guint64 nodeid = vt_dax_begin (f);
  VtFuseCall call;

  vt_dax_map (f, nodeid, 0, 7);
  call = vt_fuse_start (f->c, FUSE_REMOVEMAPPING, nodeid, &in, sizeof in);
  vt_dax_wait_asked (f, 11);
  vt_dax_expect_unmap (0, 6);
  vt_dax_expect_unmap (1, 0);
  vt_dax_expect_unmap (2, 1);
  vt_dax_expect_unmap (3, 3);
  vt_dax_answer_all (f, 0);
  vt_dax_end (f, call, 0);
  g_assert_cmpuint (vt_dax_n_mapped (f), ==, 3);
}

static void
test_nothing_is_asked_for_what_is_not_mapped (VtFs *f, gconstpointer data)
{
  VtFuseCall call;

  vt_dax_begin (f);
  call = vt_dax_start_remove (f, 0, N_PIECES);
  vt_queue_rig_pump_wait (&f->rig->queues);
  vt_dax_end (f, call, 0);
  vt_dax_expect_silence (f);
}

/* The front-end forgot it; what comes instead must not suffer. */
static void
test_a_refused_unmap_is_an_unmap (VtFs *f, gconstpointer data)
{
  guint64 nodeid = vt_dax_begin (f);
  VtFuseCall call;

  vt_dax_map (f, nodeid, 0, 1);
  call = vt_dax_start_remove (f, 0, 1);
  vt_dax_wait_asked (f, 2);
  vt_dax_answer (f, -EIO);
  vt_dax_end (f, call, 0);
  vt_dax_map (f, nodeid, 0, 1);
}

/* Two requests for one place: the second waits for what comes of the first. */
static void
test_a_place_is_asked_for_by_one_at_a_time (VtFs *f, gconstpointer data)
{
  guint64 nodeid = vt_dax_begin (f);
  VtFuseCall first = vt_dax_start_setup (f, nodeid, 0, PIECE, 0, READ), second;

  vt_dax_wait_asked (f, 1);
  second = vt_dax_start_setup (f, nodeid, 0, PIECE, PIECE, READ);
  vt_queue_rig_pump_wait (&f->rig->queues);
  g_assert_cmpuint (vt_dax_fe.questions.length, ==, 1);
  vt_dax_answer (f, 0);
  vt_dax_end (f, first, 0);
  g_assert_cmpuint (vt_dax_fe.questions.length, ==, 2);
  vt_dax_expect_unmap (0, 0);
  vt_dax_expect_map (1, 0, PIECE, FALSE);
  vt_dax_answer_all (f, 0);
  vt_dax_end (f, second, 0);
}

/* What must not be mapped. */

static void
test_absurd_mappings_are_refused (VtFs *f, gconstpointer data)
{
  const guint64 far = G_MAXUINT64 - PIECE + 1;
  const struct fuse_setupmapping_in bad[] = {
    { NO_FH, 0, 0, READ, 0 },
    { NO_FH, 0, PIECE - 1, READ, 0 },
    { NO_FH, 0, PIECE + 4096, READ, 0 },
    { NO_FH, 0, (N_PIECES + 1) * PIECE, READ, 0 },
    { NO_FH, 0, PIECE, READ, N_PIECES * PIECE },
    { NO_FH, 0, 2 * PIECE, READ, (N_PIECES - 1) * PIECE },
    { NO_FH, 0, PIECE, READ, 4096 },
    { NO_FH, 0, PIECE, READ, far },
    { NO_FH, 0, 2 * PIECE, READ, far },
    { NO_FH, 0, far, READ, PIECE },
    { NO_FH, 0, far, READ, 2 * PIECE },
    { NO_FH, 1, PIECE, READ, 0 },
    { NO_FH, 4096, PIECE, READ, 0 },
    { NO_FH, far, PIECE, READ, 0 },
    { NO_FH, 1ull << 63, PIECE, READ, 0 },
    { NO_FH, (1ull << 63) - PIECE, PIECE, READ, 0 },
    { NO_FH, 0, PIECE, 0, 0 },
    { NO_FH, 0, PIECE, 4, 0 },
    { NO_FH, 0, PIECE, READ | 1ull << 63, 0 },
  };
  guint64 nodeid = vt_dax_begin (f);

  for (guint i = 0; i < G_N_ELEMENTS (bad); i++)
    g_assert_cmpint (vt_dax_setup (f, nodeid, &bad[i]), ==, -EINVAL);
  vt_dax_expect_silence (f);
}

static int
call_remove (VtFs *f, guint32 count, const struct fuse_removemapping_one *one,
             guint n)
{
  return (int) vt_fuse_call (f->c, FUSE_REMOVEMAPPING, 1, &count, sizeof count,
                             one, n * sizeof *one, NULL, 0);
}

static void
test_absurd_removals_are_refused (VtFs *f, gconstpointer data)
{
  struct fuse_removemapping_one one[257] = { { 0, PIECE } };
  guint64 nodeid = vt_dax_begin (f);

  vt_dax_map (f, nodeid, 0, 2);
  for (guint i = 1; i < G_N_ELEMENTS (one); i++)
    one[i] = one[0];
  g_assert_cmpint (call_remove (f, 0, one, 1), ==, -EINVAL);
  g_assert_cmpint (call_remove (f, 2, one, 1), ==, -EINVAL);
  g_assert_cmpint (call_remove (f, G_MAXUINT32, one, 257), ==, -EINVAL);
  g_assert_cmpint (call_remove (f, 257, one, 257), ==, -EINVAL);
  g_assert_cmpint (call_remove (f, N_PIECES + 1, one, 257), ==, -EINVAL);
  one[1] = (struct fuse_removemapping_one){ 4096, PIECE };
  g_assert_cmpint (call_remove (f, 2, one, 2), ==, -EINVAL);
  one[1] = (struct fuse_removemapping_one){ PIECE, 0 };
  g_assert_cmpint (call_remove (f, 2, one, 2), ==, -EINVAL);
  one[1] = (struct fuse_removemapping_one){ PIECE, G_MAXUINT64 - PIECE + 1 };
  g_assert_cmpint (call_remove (f, 2, one, 2), ==, -EINVAL);
  vt_dax_expect_silence (f);
  g_assert_cmpuint (vt_dax_n_mapped (f), ==, 2);
}

static void
test_only_files_are_mapped (VtFs *f, gconstpointer data)
{
  struct fuse_setupmapping_in in = vt_dax_setup_in (0, PIECE, 0, READ);
  guint64 nodeid = vt_dax_begin (f), other;

  g_assert_cmpint (vt_dax_setup (f, 1, &in), ==, -EBADF);
  g_assert_cmpint (vt_fuse_symlink (f->c, 1, "link", "file", &other), ==, 0);
  g_assert_cmpint (vt_dax_setup (f, other, &in), ==, -EBADF);
  g_assert_cmpint (vt_fuse_mknod (f->c, 1, "fifo", S_IFIFO | 0600, 0, &other),
                   ==, 0);
  g_assert_cmpint (vt_dax_setup (f, other, &in), ==, -EBADF);
  g_assert_cmpint (vt_dax_setup (f, 0, &in), ==, -ESTALE);
  vt_fuse_forget (f->c, nodeid, 1);
  g_assert_cmpint (vt_dax_setup (f, nodeid, &in), ==, -ESTALE);
  vt_dax_expect_silence (f);
}

static void
test_a_handle_counts_if_there_is_one (VtFs *f, gconstpointer data)
{
  struct fuse_setupmapping_in in = vt_dax_setup_in (0, PIECE, 0, READ | WRITE);
  guint64 other, nodeid = vt_dax_begin (f);
  VtFuseCall call;

  g_assert_cmpint (vt_fuse_open (f->c, nodeid, O_RDONLY, &in.fh, NULL), ==, 0);
  g_assert_cmpint (vt_dax_setup (f, nodeid, &in), ==, -EACCES);
  g_assert_cmpint (
      vt_fuse_create (f->c, 1, "other", O_RDWR, 0600, &other, &in.fh), ==, 0);
  g_assert_cmpint (vt_dax_setup (f, nodeid, &in), ==, -EBADF);
  vt_dax_expect_silence (f);
  call = vt_fuse_start_setup (f->c, other, &in);
  vt_dax_wait_asked (f, 1);
  vt_dax_expect_map (0, 0, 0, TRUE);
  vt_dax_answer (f, 0);
  vt_dax_end (f, call, 0);
  in.fh = 0;
  g_assert_cmpint (vt_dax_setup (f, other, &in), ==, -EBADF);
}

static void
test_a_read_only_export_has_no_writable_mappings (VtFs *f, gconstpointer data)
{
  struct fuse_setupmapping_in in = vt_dax_setup_in (0, PIECE, 0, READ | WRITE);
  guint64 nodeid = vt_dax_begin (f);

  g_assert_cmpint (vt_dax_setup (f, nodeid, &in), ==, -EROFS);
  vt_dax_expect_silence (f);
  vt_dax_map (f, nodeid, 0, 1);
}

/* Keys. */

static void
test_a_window_consists_of_pieces (VtFs *f, gconstpointer data)
{
  const char *const bad[] = { "1M", "3M", "2097153", "512G", "x" };

  for (guint i = 0; i < G_N_ELEMENTS (bad); i++) {
    g_autoptr (GError) error = NULL;

    g_assert_null (vt_rig_open (f->guest, &vd_fs_ops, &error, "source", f->dir,
                                "dax-size", bad[i], NULL));
    g_assert_error (error, VD_OPTIONS_ERROR, VD_OPTIONS_ERROR_BAD_VALUE);
    g_assert_nonnull (strstr (error->message, "dax-size="));
  }
}

int
main (int argc, char **argv)
{
  g_test_init (&argc, &argv, NULL);
#define ADD(name, config, func)                                                \
  g_test_add ("/devices/fs/dax/" name, VtFs, config, vt_dax_set_up, func,      \
              vt_dax_tear_down)
  ADD ("offer", &vt_dax_window, test_a_window_is_offered_to_guests_that_see_it);
  ADD ("no-front-end", &vt_dax_window,
       test_no_window_is_offered_without_the_front_end);
  ADD ("size", &large_only, test_files_of_some_size_are_for_the_window);
  ADD ("map", &vt_dax_window, test_a_file_is_mapped_when_the_front_end_says_so);
  ADD ("writable", &vt_dax_window, test_a_writable_mapping_has_a_writable_file);
  ADD ("refused", &vt_dax_window, test_a_refusal_is_told_and_maps_nothing);
  ADD ("replaced", &vt_dax_window, test_a_mapping_is_replaced_in_one_go);
  ADD ("split", &vt_dax_window,
       test_large_mappings_are_split_and_partly_replaced);
  ADD ("partly-refused", &vt_dax_window,
       test_one_refused_piece_fails_the_whole);
  ADD ("remove", &vt_dax_window, test_many_places_are_removed_at_once);
  ADD ("remove-nothing", &vt_dax_window,
       test_nothing_is_asked_for_what_is_not_mapped);
  ADD ("remove-refused", &vt_dax_window, test_a_refused_unmap_is_an_unmap);
  ADD ("one-at-a-time", &vt_dax_window,
       test_a_place_is_asked_for_by_one_at_a_time);
  ADD ("absurd/setup", &vt_dax_window, test_absurd_mappings_are_refused);
  ADD ("absurd/remove", &vt_dax_window, test_absurd_removals_are_refused);
  ADD ("files-only", &vt_dax_window, test_only_files_are_mapped);
  ADD ("handle", &vt_dax_window, test_a_handle_counts_if_there_is_one);
  ADD ("read-only", &vt_dax_locked,
       test_a_read_only_export_has_no_writable_mappings);
  VT_FS_TEST ("/devices/fs/dax/no-key", &none,
              test_no_window_is_offered_without_the_key);
  ADD ("keys", &vt_dax_window, test_a_window_consists_of_pieces);
  return g_test_run ();
}
