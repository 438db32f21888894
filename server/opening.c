/* SPDX-License-Identifier: BSD-3-Clause */
#include "server/opening.h"

#include <gio/gio.h>

#include "vring/thread.h"

struct VdOpening {
  VdDeviceConfig *config;
  VdMailbox *control;
  void (*done) (VdOpening *opening, gpointer data);
  gpointer data;
  VdMail mail;

  /* The thread's until mail is posted. */
  VdDevice *dev;
  GError *error;
};

static void
run_done (VdMail *mail)
{
  VdOpening *opening = VD_CONTAINER (mail, VdOpening, mail);

  opening->done (opening, opening->data);
}

static void *
opening_thread (void *data)
{
  VdOpening *opening = data;
  VdDeviceConfig *config = opening->config;

  opening->dev = vd_device_open (config->ops, config->id, config->options,
                                 &opening->error);
  vd_mailbox_post (opening->control, &opening->mail);
  return NULL;
}

VdOpening *
vd_opening_new (VdDeviceConfig *config, VdMailbox *control,
                void (*done) (VdOpening *opening, gpointer data), gpointer data,
                GError **error)
{
  VdOpening *opening = g_new0 (VdOpening, 1);
  int r;

  opening->config = vd_device_config_ref (config);
  opening->control = control;
  opening->done = done;
  opening->data = data;
  opening->mail.run = run_done;
  r = vd_thread_start (NULL, opening_thread, opening);
  if (r == 0)
    return opening;
  g_set_error (error, G_IO_ERROR, g_io_error_from_errno (r),
               "%s: no thread to open it: %s", config->id, g_strerror (r));
  vd_opening_free (opening);
  return NULL;
}

VdDeviceConfig *
vd_opening_config (const VdOpening *opening)
{
  return opening->config;
}

VdDevice *
vd_opening_take (VdOpening *opening, GError **error)
{
  if (opening->dev == NULL)
    g_propagate_error (error, g_steal_pointer (&opening->error));
  return g_steal_pointer (&opening->dev);
}

void
vd_opening_free (VdOpening *opening)
{
  if (opening == NULL)
    return;
  vd_device_close (opening->dev);
  g_clear_error (&opening->error);
  vd_device_config_unref (opening->config);
  g_free (opening);
}
