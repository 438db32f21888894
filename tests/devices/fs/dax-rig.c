/* SPDX-License-Identifier: BSD-3-Clause */
#include "tests/devices/fs/dax-rig.h"

#include <errno.h>
#include <fcntl.h>
#include <string.h>

#include "devices/fs/export.h"
#include "vring/fd.h"

const VtFsConfig vt_dax_window = { .keys = { "dax-size", "16M" },
                                   .no_init = TRUE,
                                   .n_queues = 2 };
const VtFsConfig vt_dax_locked = {
  .keys = { "dax-size", "16M", "read-only", "yes" }, .no_init = TRUE
};

VtDaxFrontend vt_dax_fe;

static int
take_question (VdDevice *dev, const VdShmMapping *mapping, gboolean map,
               VdShmDone done, gpointer data)
{
  VtDaxQuestion *q;

  vt_dax_fe.n_asked++;
  if (vt_dax_fe.gone)
    return -ENOTCONN;
  g_assert_cmpuint (mapping->id, ==, 0);
  g_assert_cmpuint (mapping->len, ==, PIECE);
  g_assert_cmpuint (mapping->offset % PIECE, ==, 0);
  g_assert_cmpuint (mapping->offset, <=, dev->shm_sizes[0] - PIECE);
  if (vt_dax_fe.at_once) {
    done (dev, data, 0);
    return 0;
  }
  q = g_new (VtDaxQuestion, 1);
  *q = (VtDaxQuestion){ map, *mapping, done, data };
  q->mapping.fd = map ? fcntl (mapping->fd, F_DUPFD_CLOEXEC, 0) : -1;
  g_queue_push_tail (&vt_dax_fe.questions, q);
  vt_dax_fe.most = MAX (vt_dax_fe.most, vt_dax_fe.questions.length);
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
  return !vt_dax_fe.no_answer;
}

static const VdServices services = {
  .shm_map = shm_map,
  .shm_unmap = shm_unmap,
  .shm_answers = shm_answers,
};

void
vt_dax_answer (VtFs *f, int result)
{
  VtDaxQuestion *q = g_queue_pop_head (&vt_dax_fe.questions);

  g_assert_nonnull (q);
  vd_clear_fd (&q->mapping.fd);
  q->done (f->rig->dev, q->data, result);
  g_free (q);
}

void
vt_dax_answer_all (VtFs *f, int result)
{
  while (!g_queue_is_empty (&vt_dax_fe.questions))
    vt_dax_answer (f, result);
}

void
vt_dax_wait_asked (VtFs *f, guint n)
{
  while (vt_dax_fe.n_asked < n)
    vt_queue_rig_pump_wait (&f->rig->queues);
  g_assert_cmpuint (vt_dax_fe.n_asked, ==, n);
}

const VtDaxQuestion *
vt_dax_question (guint nth)
{
  const VtDaxQuestion *q = g_queue_peek_nth (&vt_dax_fe.questions, nth);

  g_assert_nonnull (q);
  return q;
}

void
vt_dax_expect_map (guint nth, guint piece, guint64 fd_offset, gboolean writable)
{
  const VtDaxQuestion *q = vt_dax_question (nth);

  g_assert_true (q->map);
  g_assert_cmpuint (q->mapping.offset, ==, piece * PIECE);
  g_assert_cmpuint (q->mapping.fd_offset, ==, fd_offset);
  g_assert_cmpint (q->mapping.writable, ==, writable);
  g_assert_cmpint (fcntl (q->mapping.fd, F_GETFL) & O_ACCMODE, ==,
                   writable ? O_RDWR : O_RDONLY);
}

void
vt_dax_expect_unmap (guint nth, guint piece)
{
  const VtDaxQuestion *q = vt_dax_question (nth);

  g_assert_false (q->map);
  g_assert_cmpuint (q->mapping.offset, ==, piece * PIECE);
}

void
vt_dax_expect_silence (VtFs *f)
{
  vt_queue_rig_pump (&f->rig->queues);
  g_assert_true (g_queue_is_empty (&vt_dax_fe.questions));
}

/* The guest. */

void
vt_dax_meet (VtFs *f)
{
  f->rig->dev->services = &services;
  f->rig->dev->ops->shm_ready (f->rig->dev);
}

void
vt_dax_set_up (VtFs *f, gconstpointer config)
{
  memset (&vt_dax_fe, 0, sizeof vt_dax_fe);
  g_queue_init (&vt_dax_fe.questions);
  vt_fs_set_up (f, config);
  vt_fs_put (f, "file", "content");
  vt_dax_meet (f);
}

void
vt_dax_tear_down (VtFs *f, gconstpointer config)
{
  vt_dax_fe.at_once = TRUE;
  vt_dax_answer_all (f, 0);
  vt_fs_tear_down (f, config);
}

guint64
vt_dax_begin (VtFs *f)
{
  guint64 nodeid;

  g_assert_cmpint (vt_fuse_init (f->c, DAX_INIT), ==, 0);
  g_assert_cmphex (f->c->flags, ==, DAX_INIT);
  g_assert_cmpint (vt_fuse_lookup (f->c, 1, "file", &nodeid, NULL), ==, 0);
  return nodeid;
}

struct fuse_setupmapping_in
vt_dax_setup_in (guint piece, guint64 len, guint64 foffset, guint64 flags)
{
  return (struct fuse_setupmapping_in){
    .fh = NO_FH,
    .foffset = foffset,
    .len = len,
    .flags = flags,
    .moffset = piece * PIECE,
  };
}

VtFuseCall
vt_dax_start_setup (VtFs *f, guint64 nodeid, guint piece, guint64 len,
                    guint64 foffset, guint64 flags)
{
  struct fuse_setupmapping_in in = vt_dax_setup_in (piece, len, foffset, flags);

  return vt_fuse_start_setup (f->c, nodeid, &in);
}

VtFuseCall
vt_dax_start_remove (VtFs *f, guint piece, guint n)
{
  return vt_fuse_start_remove (f->c, piece * PIECE, n * PIECE);
}

void
vt_dax_end (VtFs *f, VtFuseCall call, int error)
{
  vt_fuse_end (f->c, &call, error);
}

void
vt_dax_map (VtFs *f, guint64 nodeid, guint piece, guint n)
{
  guint before = vt_dax_fe.n_asked;
  VtFuseCall call = vt_dax_start_setup (f, nodeid, piece, n * PIECE, 0, READ);

  vt_dax_wait_asked (f, before + n);
  vt_dax_answer_all (f, 0);
  vt_dax_end (f, call, 0);
}

int
vt_dax_setup (VtFs *f, guint64 nodeid, const struct fuse_setupmapping_in *in)
{
  return (int) vt_fuse_call (f->c, FUSE_SETUPMAPPING, nodeid, in, sizeof *in,
                             NULL, 0, NULL, 0);
}

guint32
vt_dax_n_mapped (VtFs *f)
{
  return vd_fs_dax_n_mapped (&((VdFs *) f->rig->dev)->dax);
}
