/* SPDX-License-Identifier: BSD-3-Clause
 *
 * session-postcopy.c - POSTCOPY_ADVISE, POSTCOPY_LISTEN, POSTCOPY_END
 *
 * The incoming side of a migration whose guest runs before its memory has come.
 * The front-end gets our userfaultfd, reads from it which pages our threads wait
 * for, and puts them into the shared files.  What is shared meanwhile is answered
 * by our addresses, in which faults are told, and used when the front-end has
 * said that it knows them.  A queue that waits for a page delays no other
 * guest; CONTROL touches no guest memory.
 */
#define G_LOG_DOMAIN "virtiod"

#include "server/session-private.h"

#include <glib-unix.h>

#include "vring/fd.h"
#include "vring/userfault.h"

static VdHandled
refuse (GError **error, const char *why)
{
  g_set_error_literal (error, VD_SESSION_ERROR, VD_SESSION_ERROR_REFUSED, why);
  return VD_FAILED;
}

/* The reply's form for failure is that no descriptor comes along. */
VdHandled
vd_session_postcopy_advise (VdSession *session, GError **error)
{
  g_autoptr (GError) local = NULL;

  if (session->uffd >= 0)
    return refuse (error, "POSTCOPY_ADVISE: twice");
  session->uffd = vd_userfault_open (&local);
  if (session->uffd < 0)
    vd_log_limited (&session->log, session->dev->id, "POSTCOPY_ADVISE: %s",
                    local->message);
  return vd_session_reply_fd (session, NULL, 0, session->uffd, error);
}

/* Its socket may not be read when the front-end dies: what is parked may wait
 * for a queue, and the queue for a page. */
static gboolean
on_hangup (gint fd, GIOCondition condition, gpointer data)
{
  VdSession *session = data;

  session->postcopy_hangup = 0;
  vd_session_close (session);
  return G_SOURCE_REMOVE;
}

VdHandled
vd_session_postcopy_listen (VdSession *session, GError **error)
{
  if (session->uffd < 0)
    return refuse (error, "POSTCOPY_LISTEN: without POSTCOPY_ADVISE");
  if (session->postcopy_listening)
    return refuse (error, "POSTCOPY_LISTEN: twice");
  if (vd_map_n_regions (session->map) > 0)
    return refuse (error, "POSTCOPY_LISTEN: memory is shared already");
  session->postcopy_listening = TRUE;
  session->postcopy_hangup =
      g_unix_fd_add (vd_connection_fd (session->connection),
                     G_IO_HUP | G_IO_ERR, on_hangup, session);
  return VD_DONE;
}

VdHandled
vd_session_postcopy_share (VdSession *session, VdMap *map, GError **error)
{
  VdMessage *message = &session->message;
  gboolean one = message->header.request == VD_ADD_MEM_REG;
  VdWireRegion *regions = one ? &message->payload.mem_reg.region
                              : message->payload.mem_table.regions;
  guint n = one ? 1 : message->payload.mem_table.n_regions;

  for (guint i = 0; i < n; i++) {
    guint64 len = 1;

    regions[i].uva = (guintptr) vd_map_gpa (map, regions[i].gpa, &len);
  }
  vd_map_unref (session->map);
  session->map = map;
  session->postcopy_unacked = TRUE;
  return vd_session_reply (session, &message->payload, message->header.size,
                           error);
}

VdHandled
vd_session_postcopy_ack (VdSession *session, GError **error)
{
  if (!session->postcopy_unacked)
    return refuse (error, "memory is acked that was not shared for postcopy");
  session->postcopy_unacked = FALSE;
  vd_session_post_memory (session, session->map);
  return vd_session_park (session, NULL, error);
}

static VdHandled
reply_end (VdSession *session, guint64 status, GError **error)
{
  return vd_session_reply (session, &status, sizeof status, error);
}

static VdHandled
finish_end (VdSession *session, GError **error)
{
  return reply_end (session, 0, error);
}

VdHandled
vd_session_postcopy_end (VdSession *session, GError **error)
{
  if (!session->postcopy_listening) {
    vd_log_limited (&session->log, session->dev->id,
                    "POSTCOPY_END: without POSTCOPY_LISTEN");
    return reply_end (session, 1, error);
  }
  if (session->postcopy_unacked)
    vd_session_post_memory (session, session->map);
  vd_session_postcopy_stop (session, FALSE);
  return vd_session_park (session, finish_end, error);
}

void
vd_session_postcopy_stop (VdSession *session, gboolean lost)
{
  if (session->uffd < 0)
    return;
  if (lost && session->postcopy_listening &&
      vd_map_n_regions (session->map) > 0)
    vd_log_limited (&session->log, session->dev->id,
                    "the front-end left before all of guest memory had come");
  g_clear_handle_id (&session->postcopy_hangup, g_source_remove);
  vd_map_end_faults (session->uffd, lost);
  vd_clear_fd (&session->uffd);
  session->postcopy_listening = session->postcopy_unacked = FALSE;
}
