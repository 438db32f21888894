/* SPDX-License-Identifier: BSD-3-Clause
 *
 * session-memory.c - guest memory and the log of what is written to it
 *
 * A new map is built aside and checked against every running ring before any
 * queue hears of it, so a message that is refused changes nothing.  The old map
 * goes when no chain in flight points into it.
 */
#include "server/session-private.h"

#include "vring/fd.h"

static VdRegionInfo
region_info (const VdWireRegion *wire)
{
  return (VdRegionInfo){
    .gpa = wire->gpa,
    .size = wire->size,
    .uva = wire->uva,
    .offset = wire->offset,
  };
}

/* Returns: (transfer full): @map with a region whose file is descriptor @i of the
 * message, or NULL. */
static VdMap *
add_region (VdSession *session, VdMap *map, const VdWireRegion *wire, guint i,
            GError **error)
{
  vd_autofd fd = vd_message_take_fd (&session->message, i);
  const VdRegionInfo info = region_info (wire);

  return session->postcopy_listening
             ? vd_map_add_faulting (map, &info, fd, session->uffd, error)
             : vd_map_add (map, &info, fd, error);
}

static VdHandled
finish_map (VdSession *session, GError **error)
{
  vd_map_unref (session->map);
  session->map = g_steal_pointer (&session->next_map);
  return VD_DONE;
}

/* A write that the log has no bit for would be lost in a migration; front-ends
 * send the larger log first. */
static gboolean
log_covers (VdSession *session, const VdMap *map, GError **error)
{
  const VdDirty *dirty = vd_session_dirty (session);

  if (dirty == NULL || vd_dirty_covers (dirty, vd_map_end (map)))
    return TRUE;
  g_set_error (error, VD_SESSION_ERROR, VD_SESSION_ERROR_REFUSED,
               "guest memory would reach beyond the dirty log");
  return FALSE;
}

/* @map: (transfer full) (nullable): NULL if @error is set already */
static VdHandled
publish_map (VdSession *session, VdMap *map, GError **error)
{
  g_autoptr (VdMap) next = map;

  if (next == NULL || !vd_session_rings_fit (session, next, error) ||
      !log_covers (session, next, error))
    return VD_FAILED;
  if (session->postcopy_listening &&
      session->message.header.request != VD_REM_MEM_REG)
    return vd_session_postcopy_share (session, g_steal_pointer (&next), error);
  session->next_map = g_steal_pointer (&next);
  vd_session_post_memory (session, session->next_map);
  return vd_session_park (session, finish_map, error);
}

VdHandled
vd_session_set_mem_table (VdSession *session, GError **error)
{
  const VdWireMemTable *table = &session->message.payload.mem_table;
  g_autoptr (VdMap) map = vd_map_new ();

  if (vd_message_is_postcopy_ack (&session->message))
    return vd_session_postcopy_ack (session, error);
  for (guint i = 0; i < table->n_regions; i++) {
    VdMap *next = add_region (session, map, &table->regions[i], i, error);

    if (next == NULL)
      return VD_FAILED;
    vd_map_unref (map);
    map = next;
  }
  return publish_map (session, g_steal_pointer (&map), error);
}

VdHandled
vd_session_add_mem_reg (VdSession *session, GError **error)
{
  const VdWireRegion *region = &session->message.payload.mem_reg.region;

  if (vd_message_is_postcopy_ack (&session->message))
    return vd_session_postcopy_ack (session, error);
  return publish_map (
      session, add_region (session, session->map, region, 0, error), error);
}

VdHandled
vd_session_rem_mem_reg (VdSession *session, GError **error)
{
  const VdRegionInfo info =
      region_info (&session->message.payload.mem_reg.region);

  if (vd_message_is_postcopy_ack (&session->message))
    return vd_session_postcopy_ack (session, error);
  return publish_map (session, vd_map_remove (session->map, &info, error),
                      error);
}

/* The reply repeats the request, which is what the strictest reader wants. */
static VdHandled
finish_log (VdSession *session, GError **error)
{
  return vd_session_reply (session, &session->message.payload.log,
                           sizeof session->message.payload.log, error);
}

VdHandled
vd_session_set_log_base (VdSession *session, GError **error)
{
  const VdWireLog *log = &session->message.payload.log;
  vd_autofd fd = vd_message_take_fd (&session->message, 0);
  g_autoptr (VdDirty) dirty = NULL;

  dirty = vd_dirty_new (fd, log->offset, log->size, error);
  if (dirty == NULL)
    return VD_FAILED;
  if (!vd_dirty_covers (dirty, vd_map_end (session->map))) {
    g_set_error (error, VD_SESSION_ERROR, VD_SESSION_ERROR_REFUSED,
                 "SET_LOG_BASE: a log of %" G_GUINT64_FORMAT
                 " bytes is too small for the guest's memory",
                 log->size);
    return VD_FAILED;
  }
  vd_dirty_unref (session->dirty);
  session->dirty = g_steal_pointer (&dirty);
  if (vd_session_dirty (session) != NULL)
    vd_session_post_memory (session, session->map);
  return vd_session_park (session, finish_log, error);
}
