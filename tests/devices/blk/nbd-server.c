/* SPDX-License-Identifier: BSD-3-Clause */
#include "tests/devices/blk/nbd-server.h"

#include <glib/gstdio.h>
#include <signal.h>
#include <sys/prctl.h>
#include <sys/wait.h>
#include <unistd.h>

#include "tests/lib/socket.h"

/* A server that was asked to end may wait for idle clients to leave: nbdkit, for
 * ever. */
#define PATIENCE_US (2 * G_USEC_PER_SEC)

gboolean
vt_nbd_server_exists (const char *program)
{
  g_autofree char *path = g_find_program_in_path (program);
  g_autofree char *why = g_strdup_printf ("no %s", program);

  if (path == NULL)
    g_test_skip (why);
  return path != NULL;
}

static VtNbdServer *
server_new (void)
{
  VtNbdServer *server = g_new0 (VtNbdServer, 1);

  server->dir = g_dir_make_tmp ("virtiod-nbd-XXXXXX", NULL);
  g_assert_nonnull (server->dir);
  server->socket = g_build_filename (server->dir, "socket", NULL);
  server->log = g_build_filename (server->dir, "log", NULL);
  server->uri = g_strdup_printf ("nbd+unix:///?socket=%s", server->socket);
  server->argv = g_ptr_array_new_with_free_func (g_free);
  return server;
}

static void
add (VtNbdServer *server, const char *arg)
{
  g_ptr_array_add (server->argv, g_strdup (arg));
}

/* Options come before the plugin's name, keys behind it. */
static void
add_all (VtNbdServer *server, va_list args, gboolean options)
{
  const char *arg;

  while ((arg = va_arg (args, const char *)) != NULL)
    if (g_str_has_prefix (arg, "--") == options)
      add (server, arg);
}

VtNbdServer *
vt_nbdkit_new (const char *plugin, ...)
{
  static const char *const first[] = { "nbdkit", "--foreground", "--filter=log",
                                       "--unix" };
  VtNbdServer *server = server_new ();
  va_list args;

  for (guint i = 0; i < G_N_ELEMENTS (first); i++)
    add (server, first[i]);
  add (server, server->socket);
  va_start (args, plugin);
  add_all (server, args, TRUE);
  va_end (args);
  add (server, plugin);
  va_start (args, plugin);
  add_all (server, args, FALSE);
  va_end (args);
  g_ptr_array_add (server->argv, g_strdup_printf ("logfile=%s", server->log));
  add (server, "logappend=true");
  g_ptr_array_add (server->argv, NULL);
  return server;
}

VtNbdServer *
vt_qemu_nbd_new (const char *path)
{
  VtNbdServer *server = server_new ();
  const char *const args[] = { "qemu-nbd", "--persistent", "--shared=8",
                               "--format", "qcow2",        "--discard=unmap",
                               "--socket", server->socket, path };

  for (guint i = 0; i < G_N_ELEMENTS (args); i++)
    add (server, args[i]);
  g_ptr_array_add (server->argv, NULL);
  return server;
}

static void
in_child (gpointer data)
{
  prctl (PR_SET_PDEATHSIG, SIGKILL);
}

void
vt_nbd_server_start (VtNbdServer *server)
{
  g_autoptr (GError) error = NULL;

  g_unlink (server->socket);
  g_spawn_async (NULL, (char **) server->argv->pdata, NULL,
                 G_SPAWN_SEARCH_PATH | G_SPAWN_DO_NOT_REAP_CHILD |
                     G_SPAWN_STDOUT_TO_DEV_NULL | G_SPAWN_STDERR_TO_DEV_NULL,
                 in_child, NULL, &server->pid, &error);
  g_assert_no_error (error);
  close (vt_connect (server->socket));
}

void
vt_nbd_server_stop (VtNbdServer *server, int signal_number)
{
  gint64 end = g_get_monotonic_time () + PATIENCE_US;
  pid_t pid;

  g_assert_no_errno (kill (server->pid, signal_number));
  while ((pid = waitpid (server->pid, NULL, WNOHANG)) == 0 &&
         g_get_monotonic_time () < end)
    g_usleep (1000);
  if (pid == 0) {
    g_assert_no_errno (kill (server->pid, SIGKILL));
    pid = waitpid (server->pid, NULL, 0);
  }
  g_assert_cmpint (pid, ==, server->pid);
  server->pid = 0;
}

void
vt_nbd_server_free (VtNbdServer *server)
{
  if (server->pid != 0)
    vt_nbd_server_stop (server, SIGKILL);
  g_unlink (server->socket);
  g_unlink (server->log);
  g_rmdir (server->dir);
  g_ptr_array_unref (server->argv);
  g_free (server->dir);
  g_free (server->socket);
  g_free (server->log);
  g_free (server->uri);
  g_free (server);
}

guint
vt_nbd_server_count (VtNbdServer *server, const char *pattern)
{
  g_autoptr (GRegex) regex = g_regex_new (pattern, G_REGEX_MULTILINE, 0, NULL);
  g_autoptr (GMatchInfo) match = NULL;
  g_autofree char *text = NULL;
  guint n = 0;

  if (!g_file_get_contents (server->log, &text, NULL, NULL))
    return 0;
  g_regex_match (regex, text, 0, &match);
  for (; g_match_info_matches (match); n++)
    g_match_info_next (match, NULL);
  return n;
}
