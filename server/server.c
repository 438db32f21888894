/* SPDX-License-Identifier: BSD-3-Clause */
#define G_LOG_DOMAIN "virtiod"

#include "server/server.h"

#include <errno.h>
#include <gio/gio.h>
#include <glib-unix.h>
#include <string.h>
#include <sys/resource.h>

#include "server/host.h"
#include "server/notify.h"
#include "server/opening.h"
#include "server/seccomp-filter.h"

/* What a stuck device may delay the end of the program. */
#define STOP_SECONDS 2

struct VdServer {
  VdServerConfig *config;
  GMainLoop *loop;
  VdMailbox *control;
  VdSeccomp *seccomp;
  GPtrArray *hosts;    /* VdHost */
  GPtrArray *openings; /* VdOpening: devices that a reload adds */
  guint n_stopping;    /* hosts whose sessions have not ended yet */
  gboolean quitting;
  guint mail_source, signal_sources[4];
};

static gboolean on_quit (gpointer data);
static void on_opened (VdOpening *opening, gpointer data);

static gboolean
on_mail (gint fd, GIOCondition condition, gpointer data)
{
  VdServer *server = data;

  vd_mailbox_drain (server->control);
  return G_SOURCE_CONTINUE;
}

/* Reload. */

static VdHost *
find_host (const VdServer *server, const char *id)
{
  for (guint i = 0; i < server->hosts->len; i++) {
    VdHost *host = server->hosts->pdata[i];

    if (strcmp (vd_host_config (host)->id, id) == 0)
      return host;
  }
  return NULL;
}

static void
on_removed (VdHost *host, gpointer data)
{
  VdServer *server = data;

  vd_host_free (host);
  server->n_stopping--;
  if (server->quitting && server->n_stopping == 0)
    g_main_loop_quit (server->loop);
}

/* Lets a host go; it is freed when its session has ended. */
static void
remove_host (VdServer *server, VdHost *host)
{
  g_ptr_array_remove (server->hosts, host);
  server->n_stopping++;
  vd_host_stop (host, on_removed, server);
}

static void
remove_missing (VdServer *server, const VdServerConfig *config)
{
  for (guint i = server->hosts->len; i-- > 0;) {
    VdHost *host = server->hosts->pdata[i];

    if (vd_server_config_find (config, vd_host_config (host)->id) != NULL)
      continue;
    g_message ("%s: removed", vd_host_config (host)->id);
    remove_host (server, host);
  }
}

static void
on_left (gpointer data)
{
  g_message ("the front-end has left");
  on_quit (data);
}

/* @dev: (transfer full) */
static VdHost *
host_new (VdServer *server, VdDeviceConfig *config, VdDevice *dev)
{
  VdHost *host = vd_host_new (config, dev, server->control, server->seccomp);

  if (server->config->once)
    vd_host_on_left (host, on_left, server);
  return host;
}

/* @dev: (transfer full) (nullable): NULL with @error set */
static gboolean
add_host (VdServer *server, VdDeviceConfig *config, VdDevice *dev,
          GError **error)
{
  g_autoptr (VdHost) host = NULL;

  if (dev == NULL)
    return FALSE;
  host = host_new (server, config, dev);
  if (!vd_host_listen (host, error))
    return FALSE;
  g_ptr_array_add (server->hosts, g_steal_pointer (&host));
  return TRUE;
}

static VdDevice *
open_device (VdDeviceConfig *config, GError **error)
{
  return vd_device_open (config->ops, config->id, config->options, error);
}

static gboolean
is_opening (const VdServer *server, const char *id)
{
  for (guint i = 0; i < server->openings->len; i++)
    if (strcmp (vd_opening_config (server->openings->pdata[i])->id, id) == 0)
      return TRUE;
  return FALSE;
}

/* Opens a device that is new, or begins to. */
static gboolean
begin_host (VdServer *server, VdDeviceConfig *config, GError **error)
{
  VdOpening *opening;

  if (!config->ops->opens_apart)
    return add_host (server, config, open_device (config, error), error);
  opening = vd_opening_new (config, server->control, on_opened, server, error);
  if (opening != NULL)
    g_ptr_array_add (server->openings, opening);
  return opening != NULL;
}

static void
end_reload (VdServer *server)
{
  if (server->openings->len > 0)
    return;
  g_message ("reloaded: %u devices", server->hosts->len);
  vd_notify ("READY=1");
}

/* A device that was opened apart.  The key-files may have been read again
 * meanwhile, and not want it any more, or not like this. */
static void
on_opened (VdOpening *opening, gpointer data)
{
  g_autoptr (VdOpening) owned = opening;
  VdServer *server = data;
  VdDeviceConfig *config = vd_opening_config (opening), *wanted;
  g_autoptr (GError) error = NULL;
  gboolean ok = TRUE;

  g_ptr_array_remove (server->openings, opening);
  if (server->quitting)
    return;
  wanted = vd_server_config_find (server->config, config->id);
  if (wanted == config)
    ok = add_host (server, config, vd_opening_take (opening, &error), &error);
  else if (wanted != NULL) {
    /* Before the same image is opened once more. */
    vd_opening_free (g_steal_pointer (&owned));
    ok = begin_host (server, wanted, &error);
  }
  if (!ok)
    g_warning ("reload: %s", error->message);
  end_reload (server);
}

/* Takes a device of the key-files as they are now. */
static gboolean
take_config (VdServer *server, VdDeviceConfig *config, GError **error)
{
  VdHost *host = find_host (server, config->id);

  if (host != NULL)
    return vd_host_reload (host, config, error);
  return is_opening (server, config->id) || begin_host (server, config, error);
}

/* Takes the key-files as they are now: what cannot be done is told, and the
 * device concerned stays as it was. */
static gboolean
on_hangup (gpointer data)
{
  VdServer *server = data;
  g_autoptr (GError) error = NULL;
  VdServerConfig *config = vd_server_config_reload (server->config, &error);

  if (config == NULL) {
    g_warning ("reload: nothing is changed: %s", error->message);
    return G_SOURCE_CONTINUE;
  }
  if (config->seccomp != server->config->seccomp)
    g_warning ("reload: seccomp cannot change while the daemon runs");
  vd_notify ("RELOADING=1");
  remove_missing (server, config);
  for (guint i = 0; i < config->devices->len; i++) {
    g_autoptr (GError) local = NULL;

    if (!take_config (server, config->devices->pdata[i], &local))
      g_warning ("reload: %s", local->message);
  }
  vd_server_config_free (server->config);
  server->config = config;
  end_reload (server);
  return G_SOURCE_CONTINUE;
}

/* Start and end. */

static gboolean
on_dump (gpointer data)
{
  VdServer *server = data;

  g_message ("seccomp: %s",
             vd_seccomp_words[vd_seccomp_mode (server->seccomp)]);
  g_message ("system calls stopped: %u", vd_seccomp_n_stopped ());
  for (guint i = 0; i < server->hosts->len; i++)
    vd_host_dump (server->hosts->pdata[i]);
  return G_SOURCE_CONTINUE;
}

static gboolean
on_stop_timeout (gpointer data)
{
  VdServer *server = data;

  g_warning ("%u devices did not stop in %u s", server->n_stopping,
             STOP_SECONDS);
  g_main_loop_quit (server->loop);
  return G_SOURCE_REMOVE;
}

static gboolean
on_quit (gpointer data)
{
  VdServer *server = data;

  if (server->quitting)
    return G_SOURCE_CONTINUE;
  vd_notify ("STOPPING=1");
  server->quitting = TRUE;
  g_timeout_add_seconds (STOP_SECONDS, on_stop_timeout, server);
  while (server->hosts->len > 0)
    remove_host (server, server->hosts->pdata[0]);
  if (server->n_stopping == 0)
    g_main_loop_quit (server->loop);
  return G_SOURCE_CONTINUE;
}

/* Each front-end brings descriptors for its rings and its memory. */
static void
raise_limits (void)
{
  struct rlimit limit;

  if (getrlimit (RLIMIT_NOFILE, &limit) == 0 &&
      limit.rlim_cur < limit.rlim_max) {
    limit.rlim_cur = limit.rlim_max;
    setrlimit (RLIMIT_NOFILE, &limit);
  }
}

static gboolean
open_all (VdServer *server, GError **error)
{
  const GPtrArray *devices = server->config->devices;

  for (guint i = 0; i < devices->len; i++) {
    VdDeviceConfig *config = devices->pdata[i];
    VdDevice *dev = open_device (config, error);

    if (dev == NULL)
      return FALSE;
    g_ptr_array_add (server->hosts, host_new (server, config, dev));
  }
  for (guint i = 0; i < server->hosts->len; i++)
    if (!vd_host_listen (server->hosts->pdata[i], error))
      return FALSE;
  return TRUE;
}

VdServer *
vd_server_new (VdServerConfig *config, GError **error)
{
  g_autoptr (VdServer) server = g_new0 (VdServer, 1);

  raise_limits ();
  server->config = config;
  server->hosts = g_ptr_array_new ();
  server->openings = g_ptr_array_new ();
  server->loop = g_main_loop_new (NULL, FALSE);
  server->seccomp = vd_seccomp_new (config->seccomp, config->registry, error);
  if (server->seccomp == NULL)
    return NULL;
  server->control = vd_mailbox_new ();
  if (server->control == NULL) {
    g_set_error (error, G_IO_ERROR, g_io_error_from_errno (errno),
                 "no eventfd: %s", g_strerror (errno));
    return NULL;
  }
  server->mail_source =
      g_unix_fd_add (vd_mailbox_fd (server->control), G_IO_IN, on_mail, server);
  /* Before any socket exists: its file must not outlive us. */
  server->signal_sources[0] = g_unix_signal_add (SIGTERM, on_quit, server);
  server->signal_sources[1] = g_unix_signal_add (SIGINT, on_quit, server);
  server->signal_sources[2] = g_unix_signal_add (SIGHUP, on_hangup, server);
  server->signal_sources[3] = g_unix_signal_add (SIGUSR1, on_dump, server);
  /* What opening devices takes is more than what serving them does, but a
   * reload opens devices, too: front-ends never see us unrestricted. */
  return open_all (server, error) && vd_seccomp_enter (server->seccomp, error)
             ? g_steal_pointer (&server)
             : NULL;
}

void
vd_server_run (VdServer *server)
{
  g_message ("serving %u devices", server->hosts->len);
  vd_notify ("READY=1");
  g_main_loop_run (server->loop);
}

void
vd_server_free (VdServer *server)
{
  if (server == NULL)
    return;
  for (guint i = 0; i < G_N_ELEMENTS (server->signal_sources); i++)
    g_clear_handle_id (&server->signal_sources[i], g_source_remove);
  /* After the time-out of a stop, threads may still use what is theirs: the
   * process ends, and the kernel cleans up. */
  if (server->n_stopping > 0 || server->openings->len > 0)
    return;
  g_ptr_array_unref (server->openings);
  g_ptr_array_set_free_func (server->hosts, (GDestroyNotify) vd_host_free);
  g_ptr_array_unref (server->hosts);
  g_clear_handle_id (&server->mail_source, g_source_remove);
  vd_mailbox_free (server->control);
  g_main_loop_unref (server->loop);
  vd_seccomp_free (server->seccomp);
  vd_server_config_free (server->config);
  g_free (server);
}
