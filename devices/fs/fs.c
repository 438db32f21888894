/* SPDX-License-Identifier: BSD-3-Clause
 *
 * fs.c - the virtio-fs device: its life, its queues
 *
 * Queue 0 is for what must never wait behind a request (FORGET, INTERRUPT); the
 * others take requests, any of them on any.  All share the export's tables.
 * One message's way (serve.c): request.c copies its header, io.c answers READ
 * and WRITE, everything else is gathered, validated (validate.c), and decoded by
 * libfuse (engine.c) or by us (direct.c) into a call of ops-*.c.
 */
#include "devices/fs/fs.h"

#include <errno.h>
#include <linux/virtio_fs.h>
#include <linux/virtio_ids.h>
#include <stdlib.h>
#include <string.h>

#include "devices/fs/calls.h"
#include "devices/fs/entry.h"
#include "devices/fs/keys.h"
#include "devices/fs/lacks.h"
#include "devices/fs/ops.h"
#include "devices/fs/serve.h"
#include "devices/fs/state.h"

static_assert (offsetof (VdFs, parent) == 0, "VdDevice is cast to it");

/* Threads of the pool: as many requests may wait for servers that hang before
 * others wait for them. */
#define MAX_THREADS 64

/* The device's life. */

static void
set_config (VdDevice *dev, VdOptions *options)
{
  const char *tag = vd_options_string (options, "tag");

  vd_config_init (&dev->config, sizeof (struct virtio_fs_config));
  vd_config_set_le32 (&dev->config,
                      offsetof (struct virtio_fs_config, num_request_queues),
                      dev->n_queues - 1u);
  if (tag == NULL)
    return;
  vd_config_set (&dev->config, offsetof (struct virtio_fs_config, tag), tag,
                 (guint) strlen (tag));
  /* Only then: QEMU's vhost-user-fs never reads it and some of its versions
   * refuse a back-end that offers it. */
  dev->offer_config = TRUE;
}

static gboolean
open_export (VdFs *fs, VdOptions *options, GError **error)
{
  const char *source = vd_options_string (options, "source");
  VdFsJailConfig jail = vd_fs_jail_config (options, &fs->identity);
  g_autoptr (GError) why = NULL;
  struct statx stx;
  VdFsKey key;
  int r = 0;

  if (vd_fs_jail_open (&fs->jail, source, &jail, &why))
    r = vd_fs_statx (fs->jail.root, "", 0, &stx);
  if (why != NULL || r < 0) {
    vd_options_set_error (options, "source", error, "%s",
                          why != NULL ? why->message : g_strerror (-r));
    vd_fs_jail_clear (&fs->jail);
    return FALSE;
  }
  key = vd_fs_statx_key (&stx);
  vd_fs_budget_init (&fs->budget,
                     (guint32) vd_options_uint (options, "fd-budget"));
  vd_fs_inodes_init (&fs->inodes, &fs->budget, &fs->jail, fs->jail.root, &key);
  vd_fs_handles_init (&fs->handles, &fs->budget);
  vd_fs_reaper_init (&fs->reaper);
  vd_fs_locks_init (&fs->locks);
  vd_fs_dax_init (&fs->dax, &fs->parent, vd_options_uint (options, "dax-size"));
  pthread_mutex_init (&fs->init_lock, NULL);
  pthread_mutex_init (&fs->bench_lock, NULL);
  return TRUE;
}

/* Lets Landlock keep the threads inside, if it is there and wanted. */
static gboolean
restrict_threads (VdFs *fs, const VdOptions *options, GError **error)
{
  int r;

  if (fs->policy.landlock == VD_FS_NEVER)
    return TRUE;
  r = vd_fs_jail_restrict (&fs->jail, fs->policy.read_only,
                           fs->inodes.pins.by_handle);
  if (r == 0 || fs->policy.landlock == VD_FS_AUTO)
    return TRUE;
  vd_options_set_error (options, "landlock", error, "%s",
                        r == -EOPNOTSUPP
                            ? "this kernel has no Landlock, or one that does "
                              "not know file handles (errata 3)"
                            : g_strerror (-r));
  return FALSE;
}

static void fs_close (VdDevice *dev);

static VdDevice *
fs_open (VdOptions *options, GError **error)
{
  g_autofree char *lacks = NULL;
  VdFs *fs = g_new0 (VdFs, 1);

  fs->policy = vd_fs_policy (options);
  if (!vd_fs_identity_init (&fs->identity, options, error) ||
      !open_export (fs, options, error)) {
    vd_fs_identity_clear (&fs->identity);
    g_free (fs);
    return NULL;
  }
  fs->parent.virtio_id = VIRTIO_ID_FS;
  fs->parent.max_threads = MAX_THREADS;
  fs->parent.n_queues = (guint16) (1 + vd_options_uint (options, "queues"));
  fs->counters = g_aligned_alloc0 (fs->parent.n_queues, sizeof (VdFsCounters),
                                   sizeof (VdFsCounters));
  if (!restrict_threads (fs, options, error)) {
    fs_close (&fs->parent);
    return NULL;
  }
  lacks = vd_fs_lacks (fs);
  if (lacks != NULL)
    g_message ("%s: %s", vd_options_origin (options), lacks);
  set_config (&fs->parent, options);
  return &fs->parent;
}

static void
fs_close (VdDevice *dev)
{
  VdFs *fs = (VdFs *) dev;

  vd_fs_reaper_clear (&fs->reaper); /* it ends sessions */
  vd_fs_dax_clear (&fs->dax);
  vd_fs_locks_clear (&fs->locks);
  /* Handles hold inodes, and inodes that are read lazily hold handles. */
  vd_fs_handles_bury (&fs->handles, vd_fs_handles_reset (&fs->handles));
  vd_fs_inodes_clear (&fs->inodes);
  vd_fs_handles_clear (&fs->handles);
  vd_fs_budget_clear (&fs->budget);
  vd_fs_jail_clear (&fs->jail);
  vd_fs_identity_clear (&fs->identity);
  pthread_mutex_destroy (&fs->init_lock);
  vd_fs_serve_clear (fs);
  pthread_mutex_destroy (&fs->bench_lock);
  g_aligned_free (fs->counters);
  g_free (fs);
}

/* What a session leaves behind. */
typedef struct {
  VdFsJob job;
  VdFs *fs;
  guint32 handles;
  VdFsInode *inodes;
} Remains;
static_assert (offsetof (Remains, job) == 0, "VdFsJob is cast to it");

/* Empties the tables.  Called with init_lock. */
static void
end_session (VdFs *fs, Remains *ret)
{
  atomic_store_explicit (&fs->negotiated, 0, memory_order_release);
  vd_fs_locks_reset (&fs->locks);
  ret->fs = fs;
  ret->handles = vd_fs_handles_reset (&fs->handles);
  ret->inodes = vd_fs_inodes_reset (&fs->inodes);
}

static void
bury (const Remains *remains)
{
  vd_fs_handles_bury (&remains->fs->handles, remains->handles);
  vd_fs_inodes_bury (remains->inodes);
}

void
vd_fs_session (VdFs *fs, guint64 flags)
{
  Remains remains;

  pthread_mutex_lock (&fs->init_lock);
  end_session (fs, &remains);
  vd_fs_dax_end_session (&fs->dax);
  atomic_store_explicit (&fs->negotiated, flags, memory_order_release);
  pthread_mutex_unlock (&fs->init_lock);
  bury (&remains);
}

/* Ends the session that fs_reset() found, unless an INIT did so meanwhile. */
static void
run_end (VdFsJob *job)
{
  Remains *remains = (Remains *) job;
  VdFs *fs = remains->fs;

  pthread_mutex_lock (&fs->init_lock);
  if (vd_fs_negotiated (fs) == 0)
    end_session (fs, remains);
  pthread_mutex_unlock (&fs->init_lock);
  bury (remains);
  g_free (remains);
}

/* A guest may have known a million files, and CONTROL waits for nothing: so it
 * only makes sure that nobody is served before the next INIT. */
static void
fs_reset (VdDevice *dev)
{
  VdFs *fs = (VdFs *) dev;
  Remains *remains = g_new0 (Remains, 1);

  atomic_store_explicit (&fs->negotiated, 0, memory_order_release);
  vd_fs_dax_reset (&fs->dax);
  vd_fs_pins_forget_mounts (&fs->inodes.pins);
  remains->fs = fs;
  remains->job.run = run_end;
  vd_fs_reaper_push (&fs->reaper, &remains->job);
}

static void
fs_shm_ready (VdDevice *dev)
{
  vd_fs_dax_ready (&((VdFs *) dev)->dax);
}

static guint64
sum (const VdFs *fs, gsize offset)
{
  guint64 total = 0;

  for (guint i = 0; i < fs->parent.n_queues; i++) {
    const guint8 *counters = (const guint8 *) &fs->counters[i];

    total += atomic_load_explicit (
        (const atomic_uint_fast64_t *) (const void *) (counters + offset),
        memory_order_relaxed);
  }
  return total;
}

static void
fs_dump (VdDevice *dev, GString *text)
{
  const VdFs *fs = (const VdFs *) dev;
  guint n_lost = atomic_load (&fs->n_lost);
  guint n_lost_locks = atomic_load (&fs->n_lost_locks);

  g_string_append_printf (text, "jail: %s\n", vd_fs_jail_name (fs->jail.kind));
  g_string_append_printf (text, "landlock: %s\n",
                          fs->jail.rules >= 0 ? "yes" : "no");
  g_string_append_printf (text, "mounted: %s\n",
                          vd_fs_negotiated (fs) != 0 ? "yes" : "no");
  g_string_append_printf (text, "inodes: %u\n",
                          vd_fs_inodes_n_live (&fs->inodes));
  g_string_append_printf (text, "handles: %u\n",
                          vd_fs_handles_n_live (&fs->handles));
  g_string_append_printf (text, "descriptors: %u of %u\n",
                          vd_fs_budget_used (&fs->budget),
                          vd_fs_budget_limit (&fs->budget));
  g_string_append_printf (text, "kept without descriptor: by %s\n",
                          vd_fs_pins_how (&fs->inodes.pins));
  if (fs->dax.n_pieces > 0)
    g_string_append_printf (text, "dax-size: %u of %u pieces mapped\n",
                            vd_fs_dax_n_mapped (&fs->dax), fs->dax.n_pieces);
  if (n_lost > 0)
    g_string_append_printf (text, "not found after migration: %u\n", n_lost);
  if (n_lost_locks > 0)
    g_string_append_printf (text, "locks left behind in migration: %u\n",
                            n_lost_locks);
#define LINE(field)                                                            \
  g_string_append_printf (text, #field ": %" G_GUINT64_FORMAT "\n",            \
                          sum (fs, offsetof (VdFsCounters, field)))
  LINE (requests);
  LINE (errors);
  LINE (malformed);
  LINE (deferred);
#undef LINE
}

const VdDeviceOps vd_fs_ops = {
  .kind = "fs",
  .help = "virtio-fs: a directory of this machine that the guest mounts",
  .keys = vd_fs_keys,
  .calls = vd_fs_calls,
  .queue = {
    .request_size = sizeof (VdFsRequest),
    .weight = 8192, /* a call or two on a file, and decoding */
    .start = vd_fs_serve_start,
    .stop = vd_fs_serve_stop,
    .drain = vd_fs_serve_drain,
    .handle = vd_fs_serve,
  },
  .check = vd_fs_keys_check,
  .open = fs_open,
  .close = fs_close,
  .reset = fs_reset,
  .shm_ready = fs_shm_ready,
  .save = vd_fs_save,
  .load = vd_fs_load,
  .slow_state = TRUE,
  .dump = fs_dump,
};
