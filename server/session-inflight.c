/* SPDX-License-Identifier: BSD-3-Clause
 *
 * session-inflight.c - GET_INFLIGHT_FD and SET_INFLIGHT_FD
 *
 * The front-end asks for the memory, keeps it and hands it back whenever it
 * starts the rings, to us or to our successor after a crash.
 */
#include "server/session-private.h"

#include <linux/virtio_config.h>

#include "vring/fd.h"

static gboolean
is_packed (const VdSession *session)
{
  return (session->features >> VIRTIO_F_RING_PACKED) & 1;
}

static gboolean
check_queues (const VdSession *session, const VdWireInflight *wire,
              GError **error)
{
  if (wire->n_queues > 0 && wire->n_queues <= session->n_vrings &&
      wire->queue_size > 0 && wire->queue_size <= VD_QUEUE_SIZE_MAX)
    return TRUE;
  g_set_error (error, VD_SESSION_ERROR, VD_SESSION_ERROR_REFUSED,
               "in-flight memory for %u queues of %u entries: the device has "
               "%u queues",
               wire->n_queues, wire->queue_size, session->n_vrings);
  return FALSE;
}

VdHandled
vd_session_get_inflight (VdSession *session, GError **error)
{
  VdWireInflight *wire = &session->message.payload.inflight;
  VdInflightInfo info = { .n_queues = wire->n_queues,
                          .queue_size = wire->queue_size };
  g_autoptr (VdInflight) inflight = NULL;
  vd_autofd fd = -1;

  if (!check_queues (session, wire, error))
    return VD_FAILED;
  inflight = vd_inflight_new (&info, is_packed (session), &fd, error);
  if (inflight == NULL)
    return VD_FAILED;
  wire->mmap_size = info.size;
  wire->mmap_offset = info.offset;
  /* As long as the request: with or without the padding. */
  return vd_session_reply_fd (session, wire, session->message.header.size, fd,
                              error);
}

VdHandled
vd_session_set_inflight (VdSession *session, GError **error)
{
  const VdWireInflight *wire = &session->message.payload.inflight;
  const VdInflightInfo info = {
    .size = wire->mmap_size,
    .offset = wire->mmap_offset,
    .n_queues = wire->n_queues,
    .queue_size = wire->queue_size,
  };
  vd_autofd fd = vd_message_take_fd (&session->message, 0);
  VdInflight *inflight;

  if (!check_queues (session, wire, error))
    return VD_FAILED;
  inflight = vd_inflight_map (&info, is_packed (session), fd, error);
  if (inflight == NULL)
    return VD_FAILED;
  vd_inflight_unref (session->inflight);
  session->inflight = inflight;
  return VD_DONE;
}
