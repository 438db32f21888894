/* SPDX-License-Identifier: BSD-3-Clause */
#define G_LOG_DOMAIN "virtiod"

#include "server/host.h"

#include <gio/gio.h>

#include "server/listener.h"
#include "server/session.h"

struct VdHost {
  VdDeviceConfig *config;
  VdDevice *dev;
  VdListener *listener;
  VdSession *session;
  void (*stopped) (VdHost *host, gpointer data); /* NULL: not stopping */
  gpointer stopped_data;
  void (*left) (gpointer data); /* NULL: the next front-end is waited for */
  gpointer left_data;
};

VdHost *
vd_host_new (VdDeviceConfig *config, VdDevice *dev, VdMailbox *control,
             const VdSeccomp *seccomp)
{
  VdHost *host = g_new0 (VdHost, 1);

  vd_seccomp_confine (seccomp, dev);
  vd_device_serve (dev, control);
  host->config = vd_device_config_ref (config);
  host->dev = dev;
  return host;
}

void
vd_host_free (VdHost *host)
{
  if (host == NULL)
    return;
  vd_listener_free (host->listener);
  vd_device_close (host->dev);
  vd_device_config_unref (host->config);
  g_free (host);
}

static void
on_closed (VdSession *session, gboolean useful, gpointer user_data)
{
  VdHost *host = user_data;

  host->session = NULL;
  g_debug ("%s: the front-end has left", host->config->id);
  if (host->stopped != NULL) {
    host->stopped (host, host->stopped_data);
    return;
  }
  if (host->left != NULL) {
    host->left (host->left_data);
    return;
  }
  if (useful)
    vd_listener_succeeded (host->listener);
  vd_listener_resume (host->listener);
}

static void
on_connected (int fd, gpointer user_data)
{
  VdHost *host = user_data;

  g_debug ("%s: a front-end has come", host->config->id);
  host->session = vd_session_new (host->dev, fd, on_closed, host);
}

gboolean
vd_host_listen (VdHost *host, GError **error)
{
  host->listener = vd_listener_new (host->config->id, &host->config->socket,
                                    on_connected, host, error);
  if (host->listener != NULL)
    vd_listener_resume (host->listener);
  return host->listener != NULL;
}

void
vd_host_on_left (VdHost *host, void (*left) (gpointer data), gpointer data)
{
  host->left = left;
  host->left_data = data;
}

void
vd_host_stop (VdHost *host, void (*stopped) (VdHost *host, gpointer data),
              gpointer data)
{
  host->stopped = stopped;
  host->stopped_data = data;
  g_clear_pointer (&host->listener, vd_listener_free);
  if (host->session != NULL)
    vd_session_close (host->session);
  else
    stopped (host, data);
}

/* Hands new options to the device. */
static gboolean
take_options (VdHost *host, VdDeviceConfig *config, GError **error)
{
  VdDevice *dev = host->dev;

  if (dev->ops->reload != NULL &&
      !dev->ops->reload (dev, config->options, error))
    return FALSE;
  vd_options_unref (dev->options);
  dev->options = vd_options_ref (config->options);
  dev->id = config->id;
  vd_device_config_ref (config);
  vd_device_config_unref (host->config);
  host->config = config;
  return TRUE;
}

gboolean
vd_host_reload (VdHost *host, VdDeviceConfig *config, GError **error)
{
  g_autofree char *fixed = NULL;

  if (config->ops != host->config->ops) {
    g_set_error (error, G_IO_ERROR, G_IO_ERROR_BUSY,
                 "%s: kind cannot change while the device is served",
                 config->id);
    return FALSE;
  }
  fixed = vd_options_differ (host->config->options, config->options);
  if (fixed != NULL && *fixed != '\0') {
    g_set_error (error, G_IO_ERROR, G_IO_ERROR_BUSY,
                 "%s: %s cannot change while the device is served", config->id,
                 fixed);
    return FALSE;
  }
  return take_options (host, config, error);
}

const VdDeviceConfig *
vd_host_config (const VdHost *host)
{
  return host->config;
}

void
vd_host_dump (const VdHost *host)
{
  g_autoptr (GString) text = g_string_new (NULL);
  g_auto (GStrv) lines = NULL;

  g_string_append_printf (text, "kind: %s\nfront-end: %s\n",
                          host->config->ops->kind,
                          host->session != NULL ? "connected" : "none");
  if (host->session != NULL)
    vd_session_dump (host->session, text);
  if (host->dev->ops->dump != NULL)
    host->dev->ops->dump (host->dev, text);
  lines = g_strsplit (text->str, "\n", -1);
  for (guint i = 0; lines[i] != NULL; i++)
    if (*lines[i] != '\0')
      g_message ("%s: %s", host->config->id, lines[i]);
}
