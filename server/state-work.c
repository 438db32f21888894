/* SPDX-License-Identifier: BSD-3-Clause */
#include "server/state-work.h"

#include "server/state.h"
#include "vring/worker.h"

typedef struct {
  VdOp op;
  VdMail mail; /* used instead if the work is done on CONTROL */
  VdDevice *dev;
  VdPool *pool;   /* of one thread; NULL: the work is done on CONTROL */
  GBytes *stream; /* what was saved, or is to be loaded */
  GError *error;
  VdStateDone done;
  gpointer data;
} Work;

static GBytes *
save (VdDevice *dev, GError **error)
{
  g_autoptr (GByteArray) own = g_byte_array_new ();
  g_autoptr (GBytes) stream = NULL;
  VdState state;

  if (!dev->ops->save (dev, own, error))
    return NULL;
  state = (VdState){
    .virtio_id = dev->virtio_id,
    .config = dev->config.bytes,
    .config_len = dev->config.len,
    .device = own->data,
    .device_len = own->len,
  };
  stream = vd_state_encode (&state);
  if (g_bytes_get_size (stream) <= VD_STATE_MAX)
    return g_steal_pointer (&stream);
  /* Here, where the guest can go on. */
  g_set_error (error, VD_STATE_ERROR, VD_STATE_ERROR_LENGTH,
               "the state has %zu bytes, more than the %u that can be loaded",
               g_bytes_get_size (stream), VD_STATE_MAX);
  return NULL;
}

static int
work_save (VdOp *op)
{
  Work *work = VD_CONTAINER (op, Work, op);

  work->stream = save (work->dev, &work->error);
  return 0;
}

static gboolean
load (VdDevice *dev, GBytes *stream, GError **error)
{
  VdState state;

  if (!vd_state_decode (stream, &state, error))
    return FALSE;
  if (state.virtio_id != dev->virtio_id ||
      state.config_len != dev->config.len) {
    g_set_error (error, VD_STATE_ERROR, VD_STATE_ERROR_DAMAGED,
                 "it is of device %u with %u bytes of config space, this one "
                 "is device %u with %u",
                 state.virtio_id, state.config_len, dev->virtio_id,
                 dev->config.len);
    return FALSE;
  }
  return dev->ops->load (dev, state.config, state.device, state.device_len,
                         error);
}

static int
work_load (VdOp *op)
{
  Work *work = VD_CONTAINER (op, Work, op);

  load (work->dev, work->stream, &work->error);
  g_clear_pointer (&work->stream, g_bytes_unref);
  return 0;
}

static void
work_done (VdOp *op, int res)
{
  Work *work = VD_CONTAINER (op, Work, op);

  vd_pool_free (work->pool);
  work->done (work->data, work->stream, work->error);
  g_clear_pointer (&work->stream, g_bytes_unref);
  g_clear_error (&work->error);
  g_free (work);
}

static void
on_mail (VdMail *mail)
{
  work_done (&VD_CONTAINER (mail, Work, mail)->op, 0);
}

static void
begin (VdDevice *dev, int (*func) (VdOp *op), GBytes *stream, VdStateDone done,
       gpointer data)
{
  Work *work = g_new0 (Work, 1);

  work->op.work = func;
  work->op.done = work_done;
  work->dev = dev;
  work->stream = stream;
  work->done = done;
  work->data = data;
  atomic_store (&dev->abandoned, FALSE);
  if (dev->ops->slow_state) {
    work->pool = vd_pool_new (1);
    vd_pool_push (work->pool, &work->op, dev->control);
    return;
  }
  func (&work->op);
  work->mail.run = on_mail;
  vd_mailbox_post (dev->control, &work->mail);
}

void
vd_state_save (VdDevice *dev, VdStateDone done, gpointer data)
{
  begin (dev, work_save, NULL, done, data);
}

void
vd_state_load (VdDevice *dev, GBytes *stream, VdStateDone done, gpointer data)
{
  begin (dev, work_load, stream, done, data);
}
