/* SPDX-License-Identifier: BSD-3-Clause
 *
 * test-dax.c - the window: what the guest asks, what the front-end is asked, and
 * what happens when it answers late, with a refusal, or not at all
 *
 * The front-end is the test: questions wait until it answers them.  That file
 * data can be seen through the window is shown by tests/wire/test-dax.c.
 */
#include <errno.h>
#include <fcntl.h>
#include <glib/gstdio.h>
#include <signal.h>
#include <string.h>
#include <unistd.h>

#include "devices/fs/dax.h"
#include "devices/fs/export.h"
#include "devices/fs/state.h"
#include "tests/devices/fs/fixture.h"
#include "vring/fd.h"

#define PIECE    (2ull << 20)
#define N_PIECES 8u
#define NO_FH    G_MAXUINT64
#define READ     FUSE_SETUPMAPPING_FLAG_READ
#define WRITE    FUSE_SETUPMAPPING_FLAG_WRITE
#define DAX_LOW  (FUSE_INIT_EXT | FUSE_MAP_ALIGNMENT)
#define DAX_INIT (DAX_LOW | FUSE_HAS_INODE_DAX)

static const VtFsConfig window = { .keys = { "dax-window", "16M" },
                                   .no_init = TRUE,
                                   .n_queues = 2 };
static const VtFsConfig locked = {
  .keys = { "dax-window", "16M", "read-only", "yes" }, .no_init = TRUE
};
static const VtFsConfig large_only = {
  .keys = { "dax-window", "16M", "dax-min-size", "4k" }, .no_init = TRUE
};
static const VtFsConfig huge = { .keys = { "dax-window", "200G" },
                                 .no_init = TRUE };
static const VtFsConfig few = {
  .keys = { "dax-window", "16M", "fd-budget", "16" }, .no_init = TRUE
};
static const VtFsConfig none = { .no_init = TRUE };

/* The front-end. */

typedef struct {
  gboolean map;
  VdShmMapping mapping; /* fd: our own */
  VdShmDone done;
  gpointer data;
} Question;

static struct {
  GQueue questions;   /* Question */
  gboolean no_answer; /* REPLY_ACK was not acked */
  gboolean at_once;   /* yes to everything */
  gboolean gone;      /* the channel */
  guint n_asked;
  guint most; /* questions at the same time */
} fe;

static int
take_question (VdDevice *dev, const VdShmMapping *mapping, gboolean map,
               VdShmDone done, gpointer data)
{
  Question *q;

  fe.n_asked++;
  if (fe.gone)
    return -ENOTCONN;
  g_assert_cmpuint (mapping->id, ==, 0);
  g_assert_cmpuint (mapping->len, ==, PIECE);
  g_assert_cmpuint (mapping->offset % PIECE, ==, 0);
  g_assert_cmpuint (mapping->offset, <=, dev->shm_sizes[0] - PIECE);
  if (fe.at_once) {
    done (dev, data, 0);
    return 0;
  }
  q = g_new (Question, 1);
  *q = (Question){ map, *mapping, done, data };
  q->mapping.fd = map ? fcntl (mapping->fd, F_DUPFD_CLOEXEC, 0) : -1;
  g_queue_push_tail (&fe.questions, q);
  fe.most = MAX (fe.most, fe.questions.length);
  return 0;
}

static int
shm_map (VdDevice *dev, const VdShmMapping *mapping, VdShmDone done,
         gpointer data)
{
  return take_question (dev, mapping, TRUE, done, data);
}

static int
shm_unmap (VdDevice *dev, const VdShmMapping *mapping, VdShmDone done,
           gpointer data)
{
  return take_question (dev, mapping, FALSE, done, data);
}

static gboolean
shm_answers (VdDevice *dev)
{
  return !fe.no_answer;
}

static const VdServices services = {
  .shm_map = shm_map,
  .shm_unmap = shm_unmap,
  .shm_answers = shm_answers,
};

/* Answers the oldest question. */
static void
answer (VtFs *f, int result)
{
  Question *q = g_queue_pop_head (&fe.questions);

  g_assert_nonnull (q);
  vd_clear_fd (&q->mapping.fd);
  q->done (f->rig->dev, q->data, result);
  g_free (q);
}

static void
answer_all (VtFs *f, int result)
{
  while (!g_queue_is_empty (&fe.questions))
    answer (f, result);
}

/* Waits until it was asked that often. */
static void
wait_asked (VtFs *f, guint n)
{
  while (fe.n_asked < n)
    vt_queue_rig_pump_wait (&f->rig->queues);
  g_assert_cmpuint (fe.n_asked, ==, n);
}

/* The @nth question that waits. */
static const Question *
question (guint nth)
{
  const Question *q = g_queue_peek_nth (&fe.questions, nth);

  g_assert_nonnull (q);
  return q;
}

static void
expect_map (guint nth, guint piece, guint64 fd_offset, gboolean writable)
{
  const Question *q = question (nth);

  g_assert_true (q->map);
  g_assert_cmpuint (q->mapping.offset, ==, piece * PIECE);
  g_assert_cmpuint (q->mapping.fd_offset, ==, fd_offset);
  g_assert_cmpint (q->mapping.writable, ==, writable);
  g_assert_cmpint (fcntl (q->mapping.fd, F_GETFL) & O_ACCMODE, ==,
                   writable ? O_RDWR : O_RDONLY);
}

static void
expect_unmap (guint nth, guint piece)
{
  const Question *q = question (nth);

  g_assert_false (q->map);
  g_assert_cmpuint (q->mapping.offset, ==, piece * PIECE);
}

/* Nothing is asked by what has come so far. */
static void
expect_silence (VtFs *f)
{
  vt_queue_rig_pump (&f->rig->queues);
  g_assert_true (g_queue_is_empty (&fe.questions));
}

/* The guest. */

static void
meet (VtFs *f)
{
  f->rig->dev->services = &services;
  f->rig->dev->ops->shm_ready (f->rig->dev);
}

static void
set_up (VtFs *f, gconstpointer config)
{
  memset (&fe, 0, sizeof fe);
  g_queue_init (&fe.questions);
  vt_fs_set_up (f, config);
  vt_fs_put (f, "file", "content");
  meet (f);
}

static void
tear_down (VtFs *f, gconstpointer config)
{
  fe.at_once = TRUE;
  answer_all (f, 0);
  vt_fs_tear_down (f, config);
}

/* Begins a session with a window, and finds the file. */
static guint64
begin (VtFs *f)
{
  guint64 nodeid;

  g_assert_cmpint (vt_fuse_init (f->c, DAX_INIT), ==, 0);
  g_assert_cmphex (f->c->flags, ==, DAX_INIT);
  g_assert_cmpint (vt_fuse_lookup (f->c, 1, "file", &nodeid, NULL), ==, 0);
  return nodeid;
}

static struct fuse_setupmapping_in
setup_in (guint piece, guint64 len, guint64 foffset, guint64 flags)
{
  return (struct fuse_setupmapping_in){
    .fh = NO_FH,
    .foffset = foffset,
    .len = len,
    .flags = flags,
    .moffset = piece * PIECE,
  };
}

static VtFuseCall
start_setup (VtFs *f, guint64 nodeid, guint piece, guint64 len, guint64 foffset,
             guint64 flags)
{
  struct fuse_setupmapping_in in = setup_in (piece, len, foffset, flags);

  return vt_fuse_start_setup (f->c, nodeid, &in);
}

static VtFuseCall
start_remove (VtFs *f, guint piece, guint n)
{
  return vt_fuse_start_remove (f->c, piece * PIECE, n * PIECE);
}

static void
end (VtFs *f, VtFuseCall call, int error)
{
  vt_fuse_end (f->c, &call, error);
}

/* Maps @n pieces from the file's beginning; the front-end agrees. */
static void
map (VtFs *f, guint64 nodeid, guint piece, guint n)
{
  guint before = fe.n_asked;
  VtFuseCall call = start_setup (f, nodeid, piece, n * PIECE, 0, READ);

  wait_asked (f, before + n);
  answer_all (f, 0);
  end (f, call, 0);
}

/* A request that nothing has to be asked for. */
static int
setup (VtFs *f, guint64 nodeid, const struct fuse_setupmapping_in *in)
{
  return (int) vt_fuse_call (f->c, FUSE_SETUPMAPPING, nodeid, in, sizeof *in,
                             NULL, 0, NULL, 0);
}

static guint32
n_mapped (VtFs *f)
{
  return vd_fs_dax_n_mapped (&((VdFs *) f->rig->dev)->dax);
}

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
  fe.no_answer = TRUE; /* a front-end that does not say what it did */
  meet (f);
  g_assert_cmpuint (alignment_of_init (f, DAX_INIT), ==, 0);
}

/* A front-end without shared memory regions is never met. */
static void
test_no_window_is_offered_without_the_front_end (VtFs *f, gconstpointer data)
{
  struct fuse_setupmapping_in in = setup_in (0, PIECE, 0, READ);
  guint32 count = 0;

  f->rig->dev->services = NULL;
  f->rig->dev->ops->reset (f->rig->dev); /* it left, and another came */
  g_assert_cmpuint (alignment_of_init (f, DAX_INIT), ==, 0);
  g_assert_cmpint (setup (f, 1, &in), ==, -ENOSYS);
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
  guint64 nodeid = begin (f);
  VtFuseCall call = start_setup (f, nodeid, 3, PIECE, 2 * PIECE, READ);
  char bytes[8] = "";

  wait_asked (f, 1);
  expect_map (0, 3, 2 * PIECE, FALSE);
  g_assert_cmpint (pread (question (0)->mapping.fd, bytes, 7, 0), ==, 7);
  g_assert_cmpstr (bytes, ==, "content");
  g_assert_cmpint (vt_fuse_getattr (&f->fuse[2], nodeid, NULL), ==, 0);
  g_assert_false (vt_ring_wait (f->c->ring, 0));
  answer (f, 0);
  end (f, call, 0);
  g_assert_cmpuint (n_mapped (f), ==, 1);
}

static void
test_a_writable_mapping_has_a_writable_file (VtFs *f, gconstpointer data)
{
  const guint64 flags[] = { READ | WRITE, WRITE };
  guint64 nodeid = begin (f);

  for (guint i = 0; i < G_N_ELEMENTS (flags); i++) {
    VtFuseCall call = start_setup (f, nodeid, i, PIECE, 0, flags[i]);

    wait_asked (f, i + 1);
    expect_map (0, i, 0, TRUE);
    answer (f, 0);
    end (f, call, 0);
  }
}

static void
test_a_refusal_is_told_and_maps_nothing (VtFs *f, gconstpointer data)
{
  guint64 nodeid = begin (f);
  VtFuseCall call = start_setup (f, nodeid, 0, PIECE, 0, READ);

  wait_asked (f, 1);
  answer (f, -EIO);
  end (f, call, -EIO);
  g_assert_cmpuint (n_mapped (f), ==, 0);
  map (f, nodeid, 0, 1); /* without taking anything away before */
}

/* A guest upgrades a mapping, or uses a place again. */
static void
test_a_mapping_is_replaced_in_one_go (VtFs *f, gconstpointer data)
{
  guint64 nodeid = begin (f);
  VtFuseCall call;

  map (f, nodeid, 5, 1);
  call = start_setup (f, nodeid, 5, PIECE, 0, READ | WRITE);
  wait_asked (f, 3);
  expect_unmap (0, 5);
  expect_map (1, 5, 0, TRUE);
  answer (f, 0);
  answer (f, 0);
  end (f, call, 0);
  g_assert_cmpuint (n_mapped (f), ==, 1);
}

static void
test_large_mappings_are_split_and_partly_replaced (VtFs *f, gconstpointer data)
{
  guint64 nodeid = begin (f);
  VtFuseCall call = start_setup (f, nodeid, 1, 6 * PIECE, PIECE, READ);

  wait_asked (f, 6);
  for (guint i = 0; i < 6; i++)
    expect_map (i, 1 + i, (1 + i) * PIECE, FALSE);
  answer_all (f, 0);
  end (f, call, 0);
  call = start_setup (f, nodeid, 2, 2 * PIECE, 0, READ);
  wait_asked (f, 10);
  for (guint i = 0; i < 2; i++) {
    expect_unmap (2 * i, 2 + i);
    expect_map (2 * i + 1, 2 + i, i * PIECE, FALSE);
  }
  answer_all (f, 0);
  end (f, call, 0);
  g_assert_cmpuint (n_mapped (f), ==, 6);
}

static void
test_one_refused_piece_fails_the_whole (VtFs *f, gconstpointer data)
{
  guint64 nodeid = begin (f);
  VtFuseCall call = start_setup (f, nodeid, 0, 4 * PIECE, 0, READ);

  wait_asked (f, 4);
  answer (f, 0);
  answer (f, -EIO);
  answer (f, 0);
  answer (f, 0);
  end (f, call, -EIO);
  g_assert_cmpuint (n_mapped (f), ==, 3);
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
  guint64 nodeid = begin (f);
  VtFuseCall call;

  map (f, nodeid, 0, 7);
  call = vt_fuse_start (f->c, FUSE_REMOVEMAPPING, nodeid, &in, sizeof in);
  wait_asked (f, 11);
  expect_unmap (0, 6);
  expect_unmap (1, 0);
  expect_unmap (2, 1);
  expect_unmap (3, 3);
  answer_all (f, 0);
  end (f, call, 0);
  g_assert_cmpuint (n_mapped (f), ==, 3);
}

static void
test_nothing_is_asked_for_what_is_not_mapped (VtFs *f, gconstpointer data)
{
  VtFuseCall call;

  begin (f);
  call = start_remove (f, 0, N_PIECES);
  vt_queue_rig_pump_wait (&f->rig->queues);
  end (f, call, 0);
  expect_silence (f);
}

/* The front-end forgot it; what comes instead must not suffer. */
static void
test_a_refused_unmap_is_an_unmap (VtFs *f, gconstpointer data)
{
  guint64 nodeid = begin (f);
  VtFuseCall call;

  map (f, nodeid, 0, 1);
  call = start_remove (f, 0, 1);
  wait_asked (f, 2);
  answer (f, -EIO);
  end (f, call, 0);
  map (f, nodeid, 0, 1);
}

/* Two requests for one place: the second waits for what comes of the first. */
static void
test_a_place_is_asked_for_by_one_at_a_time (VtFs *f, gconstpointer data)
{
  guint64 nodeid = begin (f);
  VtFuseCall first = start_setup (f, nodeid, 0, PIECE, 0, READ), second;

  wait_asked (f, 1);
  second = start_setup (f, nodeid, 0, PIECE, PIECE, READ);
  vt_queue_rig_pump_wait (&f->rig->queues);
  g_assert_cmpuint (fe.questions.length, ==, 1);
  answer (f, 0);
  end (f, first, 0);
  g_assert_cmpuint (fe.questions.length, ==, 2);
  expect_unmap (0, 0);
  expect_map (1, 0, PIECE, FALSE);
  answer_all (f, 0);
  end (f, second, 0);
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
  guint64 nodeid = begin (f);

  for (guint i = 0; i < G_N_ELEMENTS (bad); i++)
    g_assert_cmpint (setup (f, nodeid, &bad[i]), ==, -EINVAL);
  expect_silence (f);
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
  guint64 nodeid = begin (f);

  map (f, nodeid, 0, 2);
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
  expect_silence (f);
  g_assert_cmpuint (n_mapped (f), ==, 2);
}

static void
test_only_files_are_mapped (VtFs *f, gconstpointer data)
{
  struct fuse_setupmapping_in in = setup_in (0, PIECE, 0, READ);
  guint64 nodeid = begin (f), other;

  g_assert_cmpint (setup (f, 1, &in), ==, -EBADF);
  g_assert_cmpint (vt_fuse_symlink (f->c, 1, "link", "file", &other), ==, 0);
  g_assert_cmpint (setup (f, other, &in), ==, -EBADF);
  g_assert_cmpint (vt_fuse_mknod (f->c, 1, "fifo", S_IFIFO | 0600, 0, &other),
                   ==, 0);
  g_assert_cmpint (setup (f, other, &in), ==, -EBADF);
  g_assert_cmpint (setup (f, 0, &in), ==, -ESTALE);
  vt_fuse_forget (f->c, nodeid, 1);
  g_assert_cmpint (setup (f, nodeid, &in), ==, -ESTALE);
  expect_silence (f);
}

static void
test_a_handle_counts_if_there_is_one (VtFs *f, gconstpointer data)
{
  struct fuse_setupmapping_in in = setup_in (0, PIECE, 0, READ | WRITE);
  guint64 other, nodeid = begin (f);
  VtFuseCall call;

  g_assert_cmpint (vt_fuse_open (f->c, nodeid, O_RDONLY, &in.fh, NULL), ==, 0);
  g_assert_cmpint (setup (f, nodeid, &in), ==, -EACCES);
  g_assert_cmpint (
      vt_fuse_create (f->c, 1, "other", O_RDWR, 0600, &other, &in.fh), ==, 0);
  g_assert_cmpint (setup (f, nodeid, &in), ==, -EBADF);
  expect_silence (f);
  call = vt_fuse_start_setup (f->c, other, &in);
  wait_asked (f, 1);
  expect_map (0, 0, 0, TRUE);
  answer (f, 0);
  end (f, call, 0);
  in.fh = 0;
  g_assert_cmpint (setup (f, other, &in), ==, -EBADF);
}

static void
test_a_read_only_export_has_no_writable_mappings (VtFs *f, gconstpointer data)
{
  struct fuse_setupmapping_in in = setup_in (0, PIECE, 0, READ | WRITE);
  guint64 nodeid = begin (f);

  g_assert_cmpint (setup (f, nodeid, &in), ==, -EROFS);
  expect_silence (f);
  map (f, nodeid, 0, 1);
}

/* The ends of things. */

/* No rule ends a mapping with its inode, as none does with its open file. */
static void
test_forgotten_files_stay_mapped (VtFs *f, gconstpointer data)
{
  guint64 nodeid = begin (f);
  VtFuseCall call;

  map (f, nodeid, 0, 1);
  vt_fuse_forget (f->c, nodeid, 1);
  expect_silence (f);
  call = start_remove (f, 0, 1);
  wait_asked (f, 2);
  expect_unmap (0, 0);
  answer (f, 0);
  end (f, call, 0);
}

static void
test_the_end_of_a_session_unmaps_all (VtFs *f, gconstpointer data)
{
  for (guint i = 0; i < 2; i++) {
    guint64 nodeid = begin (f);
    guint before;

    map (f, nodeid, 2, 3);
    before = fe.n_asked;
    if (i == 0)
      g_assert_cmpint (vt_fuse_destroy (f->c), ==, 0);
    else /* a guest that has crashed */
      begin (f);
    wait_asked (f, before + 3);
    for (guint j = 0; j < 3; j++)
      expect_unmap (j, 2 + j);
    answer_all (f, 0);
    g_assert_cmpuint (n_mapped (f), ==, 0);
  }
}

/* The front-end forgets them, too, and takes it ill to be asked. */
static void
test_a_reset_forgets_all (VtFs *f, gconstpointer data)
{
  guint64 nodeid = begin (f);

  map (f, nodeid, 2, 3);
  vt_fs_reboot (f);
  g_assert_cmpuint (n_mapped (f), ==, 0);
  nodeid = begin (f);
  expect_silence (f);
  map (f, nodeid, 2, 3);
}

static void
test_a_lost_channel_ends_what_waits (VtFs *f, gconstpointer data)
{
  guint64 nodeid = begin (f);
  VtFuseCall first = start_setup (f, nodeid, 0, PIECE, 0, READ), second;

  wait_asked (f, 1);
  second = start_setup (f, nodeid, 0, PIECE, 0, READ);
  vt_queue_rig_pump_wait (&f->rig->queues);
  fe.gone = TRUE;
  answer (f, -ECANCELED);
  end (f, first, -EIO);
  end (f, second, -EIO);
  first = start_setup (f, nodeid, 0, PIECE, 0, READ);
  wait_asked (f, 3);
  end (f, first, -EIO);
  fe.gone = FALSE; /* it opened another */
  meet (f);
  map (f, nodeid, 0, 1);
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
  guint64 nodeid = begin (f);
  VtFuseCall setup_call = start_setup (f, nodeid, 0, PIECE, 0, READ),
             remove_call;

  wait_asked (f, 1);
  remove_call = start_remove (f, 0, 1);
  vt_queue_rig_pump_wait (&f->rig->queues);
  vt_rig_stop_ring (f->rig, f->c->ring);
  g_assert_cmpint (setup_call.out->error, ==, -EAGAIN);
  g_assert_cmpint (remove_call.out->error, ==, -EAGAIN);
  restart_ring (f);
  answer (f, 0); /* the mapping exists, although nobody was told */
  expect_silence (f);
  setup_call = start_setup (f, nodeid, 0, PIECE, 0, READ);
  wait_asked (f, 3);
  expect_unmap (0, 0);
  expect_map (1, 0, 0, FALSE);
  answer_all (f, 0);
  end (f, setup_call, 0);
}

/* As many requests as the ring has room for, which is then stopped. */
static void
flood (VtFs *f)
{
  const VdFsDax *dax = &((VdFs *) f->rig->dev)->dax;
  guint n = dax->jobs.length + 400;
  VtFuseCall calls[400];

  for (guint i = 0; i < G_N_ELEMENTS (calls); i++)
    calls[i] = start_remove (f, 0, 1);
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
  guint64 nodeid = begin (f);
  struct fuse_setupmapping_in in = setup_in (0, PIECE, 0, READ);
  VtFuseCall first = start_setup (f, nodeid, 0, PIECE, 0, READ), second, call;

  wait_asked (f, 1);
  second = vt_fuse_start_setup (&f->fuse[2], nodeid, &in);
  while (dax->jobs.length == 0)
    vt_queue_rig_pump_wait (&f->rig->queues);
  while (dax->jobs.length < max)
    flood (f);
  flood (f);
  g_assert_cmpuint (dax->jobs.length, ==, max);
  g_assert_cmpint (first.out->error, ==, -EAGAIN);
  call = start_remove (f, 0, 1);
  vt_queue_rig_pump_wait (&f->rig->queues);
  end (f, call, -EAGAIN);
  answer (f, 0);
  expect_unmap (0, 0);
  expect_map (1, 0, 0, FALSE);
  answer_all (f, 0); /* the others are of no interest any more */
  vt_fuse_end (&f->fuse[2], &second, 0);
  g_assert_cmpuint (dax->jobs.length, ==, 0);
  g_assert_cmpuint (fe.n_asked, ==, 3);
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
  guint64 nodeid = begin (f);
  guint before = n_open (f), n_full = 0;
  VtFuseCall calls[32];

  for (guint i = 0; i < G_N_ELEMENTS (calls); i++)
    calls[i] = start_setup (f, nodeid, 0, PIECE, 0, READ);
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
  answer_all (f, 0);
  vt_queue_rig_pump (&f->rig->queues);
  answer_all (f, 0);
  wait_open (f, before);
}

/* Its answers come in the driver's next life, or not at all. */
static void
test_a_reset_with_questions_under_way (VtFs *f, gconstpointer data)
{
  guint64 nodeid = begin (f);
  guint before = n_open (f);
  VtFuseCall call;

  start_setup (f, nodeid, 0, N_PIECES * PIECE, 0, READ);
  start_remove (f, 0, N_PIECES);
  wait_asked (f, N_PIECES);
  vt_fs_reboot (f);
  nodeid = begin (f);
  answer (f, 0);
  for (guint i = 1; i < N_PIECES; i++)
    answer (f, -EIO);
  wait_open (f, before);
  g_assert_cmpuint (n_mapped (f), ==, 1);
  call = start_setup (f, nodeid, 0, PIECE, 0, READ);
  wait_asked (f, N_PIECES + 1); /* INIT comes first */
  expect_unmap (0, 0);
  answer (f, 0);
  wait_asked (f, N_PIECES + 2);
  expect_map (0, 0, 0, FALSE);
  answer (f, 0);
  end (f, call, 0);
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
  guint64 nodeid = begin (f);
  GThread *thread;
  VtFuseCall call;

  signal (SIGIO, SIG_IGN);
  /* Somebody of the guest has the file open; and leases are for the owner. */
  if (fcntl (fd, F_SETLEASE, F_WRLCK) < 0) {
    g_test_skip ("no leases here");
    return;
  }
  thread = g_thread_new ("lease", hold_lease, GINT_TO_POINTER (fd));
  call = start_setup (f, nodeid, 0, PIECE, 0, READ);
  while (fcntl (fd, F_GETLEASE) == F_WRLCK)
    g_thread_yield ();
  g_assert_cmpint (vt_queue_rig_remap (&f->rig->queues), ==, 0);
  g_thread_join (thread);
  end (f, call, -EAGAIN);
  expect_silence (f);
}

/* Large windows. */

static void
test_a_hundred_thousand_mappings (VtFs *f, gconstpointer data)
{
  const guint n = 100000;
  guint64 nodeid = begin (f);
  VtFuseCall call = start_setup (f, nodeid, 0, n * PIECE, 0, READ);

  while (fe.n_asked < n) {
    vt_queue_rig_pump (&f->rig->queues);
    answer_all (f, 0);
  }
  end (f, call, 0);
  g_assert_cmpuint (n_mapped (f), ==, n);
  g_assert_cmpuint (fe.most, <=, 16);
  for (guint i = 0; i < 1000; i++) {
    call = start_setup (f, nodeid, i * 99, PIECE, 0, READ);
    wait_asked (f, n + 2 * (i + 1));
    answer_all (f, 0);
    end (f, call, 0);
  }
  fe.at_once = TRUE;
  g_assert_cmpint (vt_fuse_destroy (f->c), ==, 0);
  while (n_mapped (f) > 0)
    vt_queue_rig_pump_wait (&f->rig->queues);
}

/* Migration. */

static void
test_a_guest_with_mappings_does_not_move (VtFs *f, gconstpointer data)
{
  g_autoptr (GByteArray) state = g_byte_array_new ();
  g_autoptr (GError) error = NULL;
  guint64 nodeid = begin (f);
  VtFuseCall call;

  map (f, nodeid, 0, 2);
  g_assert_false (vd_fs_save (f->rig->dev, state, &error));
  g_assert_error (error, VD_FS_STATE_ERROR, VD_FS_STATE_ERROR_MAPPED);
  call = start_remove (f, 0, 2);
  wait_asked (f, 4);
  answer_all (f, 0);
  end (f, call, 0);
  g_assert_true (vd_fs_save (f->rig->dev, state, NULL));
}

int
main (int argc, char **argv)
{
  g_test_init (&argc, &argv, NULL);
#define ADD(name, config, func)                                                \
  g_test_add ("/devices/fs/dax/" name, VtFs, config, set_up, func, tear_down)
  ADD ("offer", &window, test_a_window_is_offered_to_guests_that_see_it);
  ADD ("no-front-end", &window,
       test_no_window_is_offered_without_the_front_end);
  ADD ("size", &large_only, test_files_of_some_size_are_for_the_window);
  ADD ("map", &window, test_a_file_is_mapped_when_the_front_end_says_so);
  ADD ("writable", &window, test_a_writable_mapping_has_a_writable_file);
  ADD ("refused", &window, test_a_refusal_is_told_and_maps_nothing);
  ADD ("replaced", &window, test_a_mapping_is_replaced_in_one_go);
  ADD ("split", &window, test_large_mappings_are_split_and_partly_replaced);
  ADD ("partly-refused", &window, test_one_refused_piece_fails_the_whole);
  ADD ("remove", &window, test_many_places_are_removed_at_once);
  ADD ("remove-nothing", &window, test_nothing_is_asked_for_what_is_not_mapped);
  ADD ("remove-refused", &window, test_a_refused_unmap_is_an_unmap);
  ADD ("one-at-a-time", &window, test_a_place_is_asked_for_by_one_at_a_time);
  ADD ("absurd/setup", &window, test_absurd_mappings_are_refused);
  ADD ("absurd/remove", &window, test_absurd_removals_are_refused);
  ADD ("files-only", &window, test_only_files_are_mapped);
  ADD ("handle", &window, test_a_handle_counts_if_there_is_one);
  ADD ("read-only", &locked, test_a_read_only_export_has_no_writable_mappings);
  ADD ("end/forget", &window, test_forgotten_files_stay_mapped);
  ADD ("end/session", &window, test_the_end_of_a_session_unmaps_all);
  ADD ("end/reset", &window, test_a_reset_forgets_all);
  ADD ("end/reset-asked", &window, test_a_reset_with_questions_under_way);
  ADD ("end/channel", &window, test_a_lost_channel_ends_what_waits);
  ADD ("wait/stop", &window, test_a_stop_does_not_wait_for_answers);
  ADD ("wait/memory", &window, test_new_memory_does_not_wait_for_answers);
  ADD ("wait/bounded", &window, test_what_waits_is_bounded);
  ADD ("wait/descriptors", &few, test_waiting_files_count_as_open);
  ADD ("large", &huge, test_a_hundred_thousand_mappings);
  ADD ("migration", &window, test_a_guest_with_mappings_does_not_move);
  VT_FS_TEST ("/devices/fs/dax/no-key", &none,
              test_no_window_is_offered_without_the_key);
  return g_test_run ();
}
