/* SPDX-License-Identifier: BSD-3-Clause */
#include "tests/lib/rig.h"

#define F_VERSION_1 (1ull << 32)

static void
config_changed (VdDevice *dev)
{
  VtRig *rig = dev->session;

  rig->n_config_changed++;
}

static void
resume (VdDevice *dev)
{
  VtRig *rig = dev->session;

  rig->n_resumed++;
}

static const VdServices services = { .config_changed = config_changed,
                                     .resume = resume };

static VdOptions *
collect_options (va_list args)
{
  VdOptions *options = vd_options_new ("test", NULL);
  const char *key, *value;

  while ((key = va_arg (args, const char *))) {
    g_autoptr (GError) error = NULL;

    value = va_arg (args, const char *);
    vd_options_set (options, key, value, &error);
    g_assert_no_error (error);
  }
  if (!vd_options_has (options, "socket"))
    vd_options_set (options, "socket", "none", NULL);
  return options;
}

VtRig *
vt_rig_open (VtGuest *guest, const VdDeviceOps *ops, GError **error, ...)
{
  g_autoptr (VdOptions) options = NULL;
  VdDevice *dev;
  VtRig *rig;
  va_list args;

  va_start (args, error);
  options = collect_options (args);
  va_end (args);
  dev = vd_device_open (ops, "test", options, error);
  if (!dev)
    return NULL;
  rig = g_new0 (VtRig, 1);
  rig->dev = dev;
  vt_queue_rig_init (&rig->queues, guest, &ops->queue, dev);
  rig->queues.pool = dev->pool;
  vd_device_serve (dev, rig->queues.control);
  dev->services = &services;
  dev->session = rig;
  return rig;
}

void
vt_rig_free (VtRig *rig)
{
  if (!rig)
    return;
  vt_rig_reset (rig);
  rig->dev->services = NULL;
  vd_device_close (rig->dev);
  vt_queue_rig_clear (&rig->queues);
  g_free (rig);
}

void
vt_rig_start (VtRig *rig, guint64 features)
{
  g_autoptr (GError) error = NULL;

  g_assert_false (rig->started);
  g_assert_cmphex (features & ~rig->dev->features, ==, 0);
  rig->queues.features = features;
  rig->started = TRUE;
  if (rig->dev->ops->start)
    rig->dev->ops->start (rig->dev, features | F_VERSION_1, &error);
  g_assert_no_error (error);
}

void
vt_rig_start_ring (VtRig *rig, VtRing *ring)
{
  if (!rig->started)
    vt_rig_start (rig, rig->dev->features);
  g_assert_cmpuint (ring->index, <, rig->dev->n_queues);
  vt_queue_rig_start (&rig->queues, ring);
}

guint32
vt_rig_stop_ring (VtRig *rig, VtRing *ring)
{
  return vt_queue_rig_stop (&rig->queues, ring);
}

void
vt_rig_reset (VtRig *rig)
{
  vt_queue_rig_stop_all (&rig->queues);
  if (rig->dev->ops->reset)
    rig->dev->ops->reset (rig->dev);
  rig->started = FALSE;
}

gboolean
vt_rig_write_config (VtRig *rig, guint offset, const void *from, guint len)
{
  guint changed_offset, changed_len, n_resumed = rig->n_resumed;

  if (!vd_config_write (&rig->dev->config, offset, from, len, &changed_offset,
                        &changed_len))
    return FALSE;
  if (changed_len && rig->dev->ops->written &&
      rig->dev->ops->written (rig->dev, changed_offset, changed_len) ==
          VD_LATER)
    while (rig->n_resumed == n_resumed)
      vt_queue_rig_pump_wait (&rig->queues);
  return TRUE;
}
