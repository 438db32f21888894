/* SPDX-License-Identifier: BSD-3-Clause
 *
 * stats.c - what the disk has done, for the state dump
 */
#include "devices/blk/disk.h"

#include <assert.h>
#include <stddef.h>

static guint64
sum (const VdBlk *blk, gsize offset)
{
  guint64 total = 0;

  for (guint i = 0; i < blk->parent.n_queues; i++)
    total += atomic_load_explicit (
        (atomic_uint_fast64_t *) (void *) ((char *) &blk->queues[i].stats +
                                           offset),
        memory_order_relaxed);
  return total;
}

static void
append (GString *text, const char *name, const char *what, guint64 value)
{
  g_string_append_printf (text, "%s%s: %" G_GUINT64_FORMAT "\n", name, what,
                          value);
}

void
vd_blk_dump (VdDevice *dev, GString *text)
{
  static const char *const kinds[] = { "read",         "write",
                                       "flush",        "discard",
                                       "write-zeroes", "secure-erase",
                                       "get-id",       "other" };
  static const char *const routes[] = { "mapped",       "inline",
                                        "inline-timed", "inline-try",
                                        "io_uring",     "io_uring-polled",
                                        "pool",         "remote" };
  static_assert (G_N_ELEMENTS (kinds) == VD_BLK_N_COUNTS, "a name each");
  static_assert (G_N_ELEMENTS (routes) == VD_N_ROUTES, "a name each");
  VdBlk *blk = (VdBlk *) dev;

  g_string_append_printf (
      text, "image: %" G_GUINT64_FORMAT " bytes, %s%s\n",
      atomic_load (&blk->image->size),
      vd_blk_write_through (blk) ? "write-through" : "write-back",
      vd_flusher_error (&blk->flusher) != 0 ? ", data lost" : "");
  for (guint i = 0; i < VD_BLK_N_COUNTS; i++) {
    append (text, kinds[i], "-requests",
            sum (blk, offsetof (VdBlkStats, requests[i])));
    append (text, kinds[i], "-bytes",
            sum (blk, offsetof (VdBlkStats, bytes[i])));
    append (text, kinds[i], "-errors",
            sum (blk, offsetof (VdBlkStats, errors[i])));
  }
  for (guint i = 0; i < VD_N_ROUTES; i++)
    append (text, routes[i], "-calls",
            sum (blk, offsetof (VdBlkStats, calls[i])));
  append (text, "io_uring-fixed", "-calls",
          sum (blk, offsetof (VdBlkStats, fixed)));
  append (text, "bounced", "", sum (blk, offsetof (VdBlkStats, bounced)));
  append (text, "throttled", "", sum (blk, offsetof (VdBlkStats, throttled)));
  append (text, "waiting-for-image", "", blk->told_held);
  append (text, "fdatasyncs", "", atomic_load (&blk->flusher.n_syncs));
}
