/* SPDX-License-Identifier: BSD-3-Clause
 *
 * session-iotlb.c - IOTLB_MSG in both directions (ACCESS_PLATFORM)
 *
 * A ring that has no translation for an address waits, and the front-end is asked
 * for it.  Where it answers on the channel (REPLY_ACK) it is asked one question
 * at a time, and an answer without an update before it means that the guest's
 * IOMMU does not allow the access: that breaks the ring.  Answers and updates
 * come by two sockets, so a refusal is believed when the other one is empty.
 */
#define G_LOG_DOMAIN "virtiod"

#include "server/session-private.h"

#include <linux/virtio_config.h>
#include <poll.h>

VdIotlb *
vd_session_iotlb (const VdSession *session)
{
  return (session->features >> VIRTIO_F_ACCESS_PLATFORM) & 1 ? session->iotlb
                                                             : NULL;
}

/* Front-ends withdraw nothing while the device is stopped, and say the features
 * before each start. */
void
vd_session_iotlb_features (VdSession *session)
{
  if (!((session->features >> VIRTIO_F_ACCESS_PLATFORM) & 1))
    return;
  if (session->iotlb == NULL)
    session->iotlb = vd_iotlb_new ();
  else if (!vd_session_any_running (session))
    vd_iotlb_invalidate (session->iotlb, 0, G_MAXUINT64);
}

/* To the front-end. */

static void
send_to_channel (VdSession *session, guint8 type, const VdMiss *miss,
                 guint32 flags)
{
  const VdWireIotlb wire = {
    .iova = miss->iova,
    .permission = (guint8) miss->access,
    .type = type,
  };

  if (session->channel != NULL)
    vd_session_channel_send_fd (session, VD_BACKEND_IOTLB_MSG, flags, &wire,
                                sizeof wire, -1);
}

/* Asks for what rings wait for, each in its turn. */
void
vd_session_iotlb_ask (VdSession *session)
{
  gboolean ack = (session->protocol_features >> VD_PROTOCOL_F_REPLY_ACK) & 1;
  guint from = session->ask_from;

  for (guint i = 0; i < session->n_vrings && session->asked == NULL &&
                    session->channel != NULL;
       i++) {
    VdVring *vring = &session->vrings[(from + i) % session->n_vrings];

    if (vring->miss.access == 0 || vring->asked)
      continue;
    session->ask_from = vring->index + 1;
    vring->asked = TRUE;
    if (ack)
      session->asked = vring;
    send_to_channel (session, VD_IOTLB_MISS, &vring->miss,
                     ack ? VD_FLAG_NEED_REPLY : 0);
  }
}

void
vd_session_miss (VdVring *vring, const VdMiss *miss)
{
  VdSession *session = vring->session;

  vring->miss = *miss;
  vring->asked = vring->answered = FALSE;
  if (session->channel == NULL)
    vd_log_limited (&session->log, session->dev->id,
                    "ring %u waits for a translation, and there is no back-end "
                    "channel to ask for it",
                    vring->index);
  vd_session_iotlb_ask (session);
}

void
vd_session_iotlb_forget (VdVring *vring)
{
  vring->miss = (VdMiss){ 0 };
  vring->asked = vring->answered = FALSE;
}

void
vd_session_iotlb_channel_lost (VdSession *session)
{
  session->asked = NULL;
  for (guint i = 0; i < session->n_vrings; i++)
    session->vrings[i].asked = FALSE;
}

/* The guest's IOMMU does not allow what @vring waits for. */
static void
refuse_access (VdVring *vring)
{
  VdSession *session = vring->session;
  const VdMiss miss = vring->miss;

  vd_session_iotlb_forget (vring);
  send_to_channel (session, VD_IOTLB_ACCESS_FAIL, &miss, 0);
  if (vring->queue != NULL) {
    vd_session_post_retry (vring, FALSE);
    return;
  }
  vd_log_limited (
      &session->log, session->dev->id,
      "ring %u cannot start: the IOMMU does not allow its addresses",
      vring->index);
  session->n_broken++;
  vring->broken = TRUE;
  vd_notifier_signal (&vring->err);
}

/* Whether a message is under way that may be an update. */
static gboolean
may_have_update (const VdSession *session)
{
  struct pollfd main = { vd_connection_fd (session->connection), POLLIN, 0 };

  return session->n_pending > 0 || session->finish != NULL ||
         poll (&main, 1, 0) != 0;
}

void
vd_session_iotlb_settle (VdSession *session)
{
  gboolean checked = FALSE;

  if (session->iotlb == NULL || session->closing)
    return;
  for (guint i = 0; i < session->n_vrings; i++) {
    VdVring *vring = &session->vrings[i];

    if (!vring->answered)
      continue;
    if (!checked && may_have_update (session))
      return;
    checked = TRUE;
    refuse_access (vring);
  }
}

gboolean
vd_session_iotlb_answer (VdSession *session, const VdMessage *message)
{
  VdVring *vring = session->asked;

  if (vring == NULL || message->header.request != VD_BACKEND_IOTLB_MSG)
    return FALSE;
  session->asked = NULL;
  /* An update in between has ended that wait, and perhaps begun the next. */
  vring->answered = vring->miss.access != 0 && vring->asked;
  vd_session_iotlb_ask (session);
  session->n_pending++; /* so that settling is left to the end of this turn */
  vd_session_unpend (session);
  return TRUE;
}

/* From the front-end. */

static VdHandled
reply (VdSession *session, guint64 result, GError **error)
{
  return vd_session_reply (session, &result, sizeof result, error);
}

static VdHandled
refuse (VdSession *session, const char *why, GError **error)
{
  const VdWireIotlb *wire = &session->message.payload.iotlb;

  session->n_refused++;
  vd_log_limited (&session->log, session->dev->id,
                  "IOTLB_MSG: type %u for 0x%" G_GINT64_MODIFIER
                  "x, size 0x%" G_GINT64_MODIFIER "x: %s",
                  wire->type, wire->iova, wire->size, why);
  return reply (session, 1, error);
}

static gboolean
is_guest_memory (const VdMap *map, guint64 uva, guint64 size)
{
  guint64 gpa;

  for (guint64 done = 0, n; done < size; done += n) {
    n = size - done;
    if (vd_map_uva_part (map, uva + done, &n, &gpa) == NULL)
      return FALSE;
  }
  return TRUE;
}

/* Returns: NULL, or what is wrong. */
static const char *
check_update (const VdSession *session, const VdWireIotlb *wire)
{
  const guint8 all = VD_ACCESS_READ | VD_ACCESS_WRITE;

  if (wire->size == 0)
    return "it is empty";
  if (wire->size - 1 > G_MAXUINT64 - wire->iova ||
      wire->size - 1 > G_MAXUINT64 - wire->uva)
    return "it wraps";
  if (wire->permission == 0 || (wire->permission & ~all) != 0)
    return "it permits neither reading nor writing";
  if (!is_guest_memory (session->map, wire->uva, wire->size))
    return "it leads outside of guest memory";
  return NULL;
}

static VdHandled
finish_iotlb (VdSession *session, GError **error)
{
  return reply (session, 0, error);
}

/* Lets all those go on that waited for it. */
static VdHandled
finish_update (VdSession *session, GError **error)
{
  const VdWireIotlb *wire = &session->message.payload.iotlb;

  for (guint i = 0; i < session->n_vrings; i++) {
    VdVring *vring = &session->vrings[i];
    guint wanted = vring->miss.access;

    if (wanted == 0 || vring->miss.iova - wire->iova >= wire->size)
      continue;
    if ((wire->permission & wanted) == 0) {
      refuse_access (vring);
      continue;
    }
    vd_session_iotlb_forget (vring);
    if (vring->queue != NULL)
      vd_session_post_retry (vring, TRUE);
    else
      vd_session_retry_start (vring);
  }
  return vd_session_park (session, finish_iotlb, error);
}

static VdHandled
update (VdSession *session, GError **error)
{
  const VdWireIotlb *wire = &session->message.payload.iotlb;
  const VdIotlbEntry entry = { wire->iova, wire->size, wire->uva,
                               wire->permission };
  const char *wrong = check_update (session, wire);

  if (wrong != NULL)
    return refuse (session, wrong, error);
  if (vd_iotlb_update (session->iotlb, &entry))
    vd_session_post_invalidate (session, wire->iova,
                                wire->iova + (wire->size - 1));
  return vd_session_park (session, finish_update, error);
}

/* QEMU says the whole address space, whose size no number has, as 0 and 0. */
static VdHandled
invalidate (VdSession *session, GError **error)
{
  const VdWireIotlb *wire = &session->message.payload.iotlb;
  guint64 first = wire->iova;
  guint64 last = first + MIN (wire->size - 1, G_MAXUINT64 - first);

  if (wire->size == 0 && wire->iova != 0)
    return refuse (session, "it is empty", error);
  vd_iotlb_invalidate (session->iotlb, first, last);
  vd_session_post_invalidate (session, first, last);
  return vd_session_park (session, finish_iotlb, error);
}

VdHandled
vd_session_iotlb_message (VdSession *session, GError **error)
{
  if (vd_session_iotlb (session) == NULL)
    return refuse (session, "ACCESS_PLATFORM was not acked", error);
  switch (session->message.payload.iotlb.type) {
  case VD_IOTLB_UPDATE: return update (session, error);
  case VD_IOTLB_INVALIDATE: return invalidate (session, error);
  default:
    return refuse (session, "it is neither an update nor an invalidation",
                   error);
  }
}
