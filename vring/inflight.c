/* SPDX-License-Identifier: BSD-3-Clause */
#include "vring/inflight.h"

#include <errno.h>
#include <gio/gio.h>
#include <stdlib.h>
#include <sys/mman.h>
#include <unistd.h>

#include "vring/fd.h"
#include "vring/file.h"
#include "vring/queue-private.h"

#define PART_ALIGN 64 /* so that two queues share no cache line */

struct VdInflight {
  guint refs;
  VdInflightInfo info;
  gboolean packed;
  VdFilePart part;
};

static VdInflight *
refuse (GError **error, const char *why)
{
  g_set_error (error, G_IO_ERROR, G_IO_ERROR_INVALID_ARGUMENT,
               "in-flight memory: %s", why);
  return NULL;
}

/* Bytes for each queue. */
static guint64
part_len (guint queue_size, gboolean packed)
{
  guint64 len = packed ? sizeof (VdInflightPacked) +
                             queue_size * sizeof (VdInflightPackedDesc)
                       : sizeof (VdInflightSplit) +
                             queue_size * sizeof (VdInflightSplitDesc);

  return (len + PART_ALIGN - 1) / PART_ALIGN * PART_ALIGN;
}

VdInflight *
vd_inflight_map (const VdInflightInfo *info, gboolean packed, int fd,
                 GError **error)
{
  const char *wrong;
  VdFilePart part;

  if (info->n_queues == 0 || info->queue_size == 0 ||
      info->queue_size > VD_QUEUE_SIZE_MAX)
    return refuse (error, "it has no queue, or none that can be");
  if (info->size < info->n_queues * part_len (info->queue_size, packed))
    return refuse (error, "it is smaller than its queues");
  if (info->offset % (guint64) sysconf (_SC_PAGESIZE) != 0)
    return refuse (error, "its offset is not that of a page");
  wrong = vd_file_map_part (fd, info->offset, info->size, &part);
  if (wrong != NULL)
    return refuse (error, wrong);

  VdInflight *inflight = g_new (VdInflight, 1);
  *inflight = (VdInflight){
    .refs = 1,
    .info = *info,
    .packed = packed,
    .part = part,
  };
  return inflight;
}

VdInflight *
vd_inflight_new (VdInflightInfo *info, gboolean packed, int *ret_fd,
                 GError **error)
{
  VdInflightInfo fresh = *info;
  VdInflight *inflight;
  vd_autofd fd = -1;

  fresh.size = info->n_queues * part_len (info->queue_size, packed);
  fresh.offset = 0;
  fd = memfd_create ("vhost-inflight", MFD_CLOEXEC);
  if (fd < 0 || ftruncate (fd, (off_t) fresh.size) < 0)
    return refuse (error, g_strerror (errno));
  inflight = vd_inflight_map (&fresh, packed, fd, error);
  if (inflight == NULL)
    return NULL;
  *info = fresh;
  *ret_fd = vd_steal_fd (&fd);
  return inflight;
}

VdInflight *
vd_inflight_ref (VdInflight *inflight)
{
  inflight->refs++;
  return inflight;
}

void
vd_inflight_unref (VdInflight *inflight)
{
  if (inflight == NULL || --inflight->refs > 0)
    return;
  vd_file_unmap_part (&inflight->part);
  g_free (inflight);
}

void *
vd_inflight_part (VdInflight *inflight, guint index, guint size,
                  gboolean packed)
{
  if (index >= inflight->info.n_queues || size > inflight->info.queue_size ||
      packed != inflight->packed)
    return NULL;
  return inflight->part.bytes +
         index * part_len (inflight->info.queue_size, packed);
}

static int
compare_again (const void *a, const void *b)
{
  guint64 x = ((const VdAgain *) a)->counter;
  guint64 y = ((const VdAgain *) b)->counter;

  return (x > y) - (x < y);
}

void
vd_inflight_order (VdQueue *queue, VdAgain *again, guint n)
{
  qsort (again, n, sizeof *again, compare_again);
  for (guint i = 0; i < n; i++)
    queue->again[i] = again[i].head;
  queue->n_again = n;
  if (n > 0)
    queue->inflight_counter = again[n - 1].counter + 1;
}

gboolean
vd_inflight_is_lost (const VdInflight *inflight)
{
  return vd_guard_is_lost (inflight->part.guard);
}
