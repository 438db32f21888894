/* SPDX-License-Identifier: BSD-3-Clause
 *
 * session-memory.c - SET_MEM_TABLE, ADD_MEM_REG, REM_MEM_REG
 *
 * A new map is built aside and checked against every running ring before any
 * queue hears of it, so a message that is refused changes nothing.  The old map
 * goes when no chain in flight points into it.
 */
#include "server/session-private.h"

#include "vring/fd.h"

static void
region_info (const VdWireRegion *wire, VdRegionInfo *ret)
{
  *ret = (VdRegionInfo){
    .gpa = wire->gpa,
    .size = wire->size,
    .uva = wire->uva,
    .offset = wire->offset,
  };
}

static VdHandled
finish_map (VdSession *session, GError **error)
{
  vd_map_unref (session->map);
  session->map = g_steal_pointer (&session->next_map);
  return VD_DONE;
}

/* @map: (transfer full) (nullable): NULL if @error is set already */
static VdHandled
publish_map (VdSession *session, VdMap *map, GError **error)
{
  g_autoptr (VdMap) next = map;

  if (next == NULL || !vd_session_rings_fit (session, next, error))
    return VD_FAILED;
  session->next_map = g_steal_pointer (&next);
  vd_session_post_map (session, session->next_map);
  return vd_session_park (session, finish_map, error);
}

VdHandled
vd_session_set_mem_table (VdSession *session, GError **error)
{
  const VdWireMemTable *table = &session->message.payload.mem_table;
  g_autoptr (VdMap) map = vd_map_new ();

  for (guint i = 0; i < table->n_regions; i++) {
    vd_autofd fd = vd_message_take_fd (&session->message, i);
    VdRegionInfo info;
    VdMap *next;

    region_info (&table->regions[i], &info);
    next = vd_map_add (map, &info, fd, error);
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
  vd_autofd fd = vd_message_take_fd (&session->message, 0);
  VdRegionInfo info;

  region_info (&session->message.payload.mem_reg.region, &info);
  return publish_map (session, vd_map_add (session->map, &info, fd, error),
                      error);
}

VdHandled
vd_session_rem_mem_reg (VdSession *session, GError **error)
{
  VdRegionInfo info;

  region_info (&session->message.payload.mem_reg.region, &info);
  return publish_map (session, vd_map_remove (session->map, &info, error),
                      error);
}
