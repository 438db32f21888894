/* SPDX-License-Identifier: BSD-3-Clause
 *
 * sync-blk.c - a disk as plain as it can be: one preadv or pwritev for each
 * request, made where the request is popped
 *
 * On data in the page cache nothing that goes through another thread or through
 * a ring of the kernel can be faster, so it is what contrib/bench measures disks
 * against.  It takes virtiod's command line with the one kind "sync".
 */
#include <errno.h>
#include <fcntl.h>
#include <gio/gio.h>
#include <linux/virtio_ids.h>
#include <signal.h>
#include <stdio.h>
#include <stdlib.h>
#include <sys/stat.h>
#include <unistd.h>

#include "devices/blk/request.h"
#include "devices/device.h"
#include "server/config.h"
#include "server/server.h"

typedef struct {
  VdDevice parent;
  int fd;
  VdBlkLimits limits;
} Sync;

static const VdKey keys[] = {
  { .name = "image",
    .type = VD_KEY_PATH,
    .help = "file with the disk's bytes",
    .flags = VD_KEY_REQUIRED },
  { .name = "queues",
    .type = VD_KEY_UINT,
    .fallback = "16",
    .help = "queues that the device offers",
    .min = 1,
    .max = 64 },
  { 0 },
};

static void
offer (Sync *sync)
{
  struct virtio_blk_config config = {
    .capacity = GUINT64_TO_LE (sync->limits.size / 512),
    .seg_max = GUINT32_TO_LE (126),
    .num_queues = GUINT16_TO_LE (sync->parent.n_queues),
  };

  sync->parent.features = 1ull << VIRTIO_BLK_F_SEG_MAX |
                          1ull << VIRTIO_BLK_F_FLUSH | 1ull << VIRTIO_BLK_F_MQ;
  vd_config_init (&sync->parent.config, 60);
  vd_config_set (&sync->parent.config, 0, &config, 60);
}

static VdDevice *
sync_open (VdOptions *options, GError **error)
{
  Sync *sync = g_new0 (Sync, 1);
  struct stat st;

  sync->fd = open (vd_options_string (options, "image"), O_RDWR | O_CLOEXEC);
  if (sync->fd < 0 || fstat (sync->fd, &st) < 0) {
    vd_options_set_error (options, "image", error, "%s", g_strerror (errno));
    g_free (sync);
    return NULL;
  }
  sync->limits =
      (VdBlkLimits){ .size = (guint64) st.st_size & ~511ull, .align = 512 };
  sync->parent.virtio_id = VIRTIO_ID_BLOCK;
  sync->parent.offer_config = TRUE;
  sync->parent.n_queues = (guint16) vd_options_uint (options, "queues");
  offer (sync);
  return &sync->parent;
}

static void
sync_close (VdDevice *dev)
{
  close (((Sync *) dev)->fd);
  g_free (dev);
}

/* Returns: bytes, or -1. */
static ssize_t
run (const Sync *sync, const VdBlkCommand *cmd)
{
  switch (cmd->type) {
  case VIRTIO_BLK_T_IN:
    return preadv (sync->fd, cmd->iov, (int) cmd->n_iov, (off_t) cmd->offset);
  case VIRTIO_BLK_T_OUT:
    return pwritev (sync->fd, cmd->iov, (int) cmd->n_iov, (off_t) cmd->offset);
  case VIRTIO_BLK_T_FLUSH: return fdatasync (sync->fd);
  default: return 0;
  }
}

static void
serve (const Sync *sync, VdChain *chain)
{
  VdBlkCommand cmd;
  int status = vd_blk_parse (chain, &sync->limits, &cmd);
  ssize_t n = 0;

  if (status == VIRTIO_BLK_S_OK) {
    n = run (sync, &cmd);
    if (n < 0 || (cmd.type <= VIRTIO_BLK_T_OUT && (guint64) n != cmd.len))
      status = VIRTIO_BLK_S_IOERR;
  }
  if (status != VD_BLK_NO_STATUS)
    *cmd.status = (guint8) status;
  vd_chain_complete (
      chain, cmd.type == VIRTIO_BLK_T_IN && n > 0 ? (guint32) n + 1 : 1);
}

static void
sync_handle (VdQueue *queue, VdChain **chains, guint n_chains,
             gpointer user_data)
{
  for (guint i = 0; i < n_chains; i++)
    serve (user_data, chains[i]);
}

static const VdDeviceOps sync_ops = {
  .kind = "sync",
  .help = "disk with one system call a request",
  .keys = keys,
  .queue = { .handle = sync_handle },
  .open = sync_open,
  .close = sync_close,
};

int
main (int argc, char **argv)
{
  static const VdDeviceOps *const registry[] = { &sync_ops, NULL };
  g_autoptr (GError) error = NULL;
  VdServerConfig *config =
      vd_server_config_parse (registry, &argc, &argv, &error);
  g_autoptr (VdServer) server = NULL;

  signal (SIGPIPE, SIG_IGN);
  if (config != NULL)
    server = vd_server_new (config, &error);
  if (server == NULL) {
    fprintf (stderr, "sync-blk: %s\n", error->message);
    return EXIT_FAILURE;
  }
  vd_server_run (server);
  return EXIT_SUCCESS;
}
