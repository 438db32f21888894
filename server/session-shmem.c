/* SPDX-License-Identifier: BSD-3-Clause
 *
 * session-shmem.c - GET_SHMEM_CONFIG, and SHMEM_MAP and SHMEM_UNMAP for devices
 *
 * A device asks for one mapping after the other and is told what came of each;
 * the front-end answers in the order of the questions.  What it never answers
 * ends with the channel.
 */
#define G_LOG_DOMAIN "virtiod"

#include "server/session-private.h"

#include <errno.h>

#include "protocol/names.h"

/* Questions without an answer; a front-end that does not answer must not make
 * the list grow. */
#define ASKED_MAX 256

struct VdShmRequest {
  guint32 request; /* VD_BACKEND_SHMEM_* */
  guint8 id;       /* of the region */
  VdShmDone done;  /* NULL: nobody wants to know */
  gpointer data;
};

static gboolean
has_feature (const VdSession *session, guint bit)
{
  return (session->protocol_features >> bit) & 1;
}

/* The front-end has asked for the regions, so it knows them, and has a channel
 * to be told of mappings: which comes first depends on the front-end. */
void
vd_session_shmem_ready (VdSession *session)
{
  VdDevice *dev = session->dev;

  if (session->shmem_asked && session->channel != NULL &&
      dev->ops->shm_ready != NULL)
    dev->ops->shm_ready (dev);
}

VdHandled
vd_session_get_shmem_config (VdSession *session, GError **error)
{
  const guint64 *sizes = session->dev->shm_sizes;
  VdWireShmemConfig config = { 0 };
  VdHandled handled;

  for (guint i = 0; i < G_N_ELEMENTS (config.sizes); i++) {
    config.sizes[i] = sizes[i];
    config.n_regions += sizes[i] != 0;
  }
  handled = vd_session_reply (session, &config, sizeof config, error);
  session->shmem_asked = TRUE;
  vd_session_shmem_ready (session);
  return handled;
}

static void
conclude (VdSession *session, VdShmRequest *request, int result)
{
  if (request->done != NULL)
    request->done (session->dev, request->data, result);
  g_free (request);
}

gboolean
vd_session_shmem_answer (VdSession *session, const VdMessage *message)
{
  VdShmRequest *request = g_queue_peek_head (&session->shm_requests);
  gboolean refused = message->header.size != sizeof message->payload.u64 ||
                     message->payload.u64 != 0;

  if (request == NULL || message->header.request != request->request)
    return FALSE;
  g_queue_pop_head (&session->shm_requests);
  if (refused)
    vd_log_limited (&session->log, session->dev->id,
                    "the front-end refused %s of region %u",
                    vd_backend_request_name (request->request), request->id);
  conclude (session, request, refused ? -EIO : 0);
  return TRUE;
}

void
vd_session_shmem_clear (VdSession *session)
{
  VdShmRequest *request;

  while ((request = g_queue_pop_head (&session->shm_requests)) != NULL)
    conclude (session, request, -ECANCELED);
}

/* Sends one question.  Returns: 0 or -errno. */
static int
ask (VdDevice *dev, guint32 id, const VdWireShmemMap *wire, int fd,
     VdShmDone done, gpointer data)
{
  VdSession *session = dev->session;
  gboolean ack = has_feature (session, VD_PROTOCOL_F_REPLY_ACK);
  VdShmRequest *request;

  if (!session->shmem_asked || session->channel == NULL)
    return -ENOTCONN;
  if (wire->len == 0 || wire->shm_offset > dev->shm_sizes[wire->id] ||
      wire->len > dev->shm_sizes[wire->id] - wire->shm_offset)
    return -EINVAL;
  if (session->shm_requests.length == ASKED_MAX)
    return -EBUSY;
  request = g_new (VdShmRequest, 1);
  *request = (VdShmRequest){ id, wire->id, done, data };
  g_queue_push_tail (&session->shm_requests, request);
  vd_session_channel_send_fd (session, id, ack ? VD_FLAG_NEED_REPLY : 0, wire,
                              sizeof *wire, fd);
  /* Without answers all is well.  A channel that failed has ended it. */
  if (!ack && session->channel != NULL)
    conclude (session, g_queue_pop_tail (&session->shm_requests), 0);
  return 0;
}

int
vd_session_shm_map (VdDevice *dev, const VdShmMapping *mapping, VdShmDone done,
                    gpointer data)
{
  const VdWireShmemMap wire = {
    .id = mapping->id,
    .fd_offset = mapping->fd_offset,
    .shm_offset = mapping->offset,
    .len = mapping->len,
    .flags = mapping->writable ? VD_SHMEM_MAP_RW : 0,
  };

  return ask (dev, VD_BACKEND_SHMEM_MAP, &wire, mapping->fd, done, data);
}

int
vd_session_shm_unmap (VdDevice *dev, const VdShmMapping *mapping,
                      VdShmDone done, gpointer data)
{
  const VdWireShmemMap wire = {
    .id = mapping->id,
    .shm_offset = mapping->offset,
    .len = mapping->len,
  };

  return ask (dev, VD_BACKEND_SHMEM_UNMAP, &wire, -1, done, data);
}

gboolean
vd_session_shm_answers (VdDevice *dev)
{
  return has_feature (dev->session, VD_PROTOCOL_F_REPLY_ACK);
}
