/* SPDX-License-Identifier: BSD-3-Clause
 *
 * device.c - what all kinds share: their common keys, opening and closing
 */
#include "devices/device.h"

/* Threads for offloaded work if the kind does not say otherwise: enough to keep
 * a disk busy, few enough that a hundred devices stay small. */
#define DEFAULT_THREADS 8

const VdKey vd_common_keys[] = {
  { .name = "socket",
    .type = VD_KEY_STRING,
    .help = "PATH to listen on, connect:PATH to connect to, or fd:N",
    .flags = VD_KEY_REQUIRED },
  { .name = "socket-mode",
    .type = VD_KEY_STRING,
    .fallback = "0600",
    .help = "permissions of a socket that is listened on, octal" },
  { .name = "socket-group",
    .type = VD_KEY_STRING,
    .help = "group of a socket that is listened on, a name or a number" },
  { .name = "queues",
    .type = VD_KEY_UINT,
    .fallback = "1",
    .help = "queues that the device serves",
    .min = 1,
    .max = 1024 },
  { .name = "queue-size-max",
    .type = VD_KEY_UINT,
    .fallback = "1024",
    .help = "entries of the largest queue accepted, a power of two",
    .min = 1,
    .max = VD_QUEUE_SIZE_MAX },
  { .name = "busy-poll",
    .type = VD_KEY_UINT,
    .fallback = "100",
    .help = "microseconds that a queue's thread looks for requests before it "
            "sleeps, as long as they come so soon; 0: never",
    .min = 0,
    .max = 1000000 },
  { .name = "in-band-notifications",
    .type = VD_KEY_BOOL,
    .fallback = "no",
    .help = "offer kicks and calls as messages, for simulations; slow" },
  { .name = "postcopy",
    .type = VD_KEY_BOOL,
    .fallback = "no",
    .help = "offer postcopy migration, to a front-end that is trusted with "
            "all of this process" },
  { .name = "in-order",
    .type = VD_KEY_BOOL,
    .fallback = "no",
    .help = "offer to complete requests in the order in which they came" },
  { .name = "iommu",
    .type = VD_KEY_BOOL,
    .fallback = "no",
    .help = "offer ACCESS_PLATFORM, for front-ends that emulate an IOMMU" },
  { 0 },
};

/* What no table can say. */
static gboolean
check_common (VdOptions *options, GError **error)
{
  guint64 size = vd_options_uint (options, "queue-size-max");

  if ((size & (size - 1)) == 0)
    return TRUE;
  vd_options_set_error (options, "queue-size-max", error, "not a power of two");
  return FALSE;
}

gboolean
vd_device_check (const VdDeviceOps *ops, VdOptions *options, GError **error)
{
  const VdKey *const tables[] = { ops->keys, vd_common_keys, NULL };
  /* A kind without keys of its own must not end the list early. */
  const VdKey *const *used = ops->keys != NULL ? tables : tables + 1;

  return vd_options_check (options, used, error) &&
         check_common (options, error) &&
         (ops->check == NULL || ops->check (options, error));
}

VdDevice *
vd_device_open (const VdDeviceOps *ops, const char *id, VdOptions *options,
                GError **error)
{
  VdDevice *dev;

  if (!vd_device_check (ops, options, error))
    return NULL;
  dev = ops->open (options, error);
  if (dev == NULL)
    return NULL;
  dev->ops = ops;
  dev->id = id;
  dev->options = vd_options_ref (options);
  dev->pool =
      vd_pool_new (dev->max_threads > 0 ? dev->max_threads : DEFAULT_THREADS);
  return dev;
}

void
vd_device_serve (VdDevice *dev, VdMailbox *control)
{
  dev->control = control;
  if (dev->ops->opened != NULL)
    dev->ops->opened (dev);
}

void
vd_device_close (VdDevice *dev)
{
  VdOptions *options;
  VdConfig config;

  if (dev == NULL)
    return;
  /* Work that runs in the pool may still use what close() frees. */
  g_clear_pointer (&dev->pool, vd_pool_free);
  options = dev->options;
  config = dev->config;
  dev->ops->close (dev);
  vd_config_clear (&config);
  vd_options_unref (options);
}

void
vd_device_config_changed (VdDevice *dev)
{
  if (dev->services != NULL)
    dev->services->config_changed (dev);
}
