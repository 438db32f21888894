/* SPDX-License-Identifier: BSD-3-Clause
 *
 * test-personality.c - the real program under the name of virtiofsd
 */
#include <fcntl.h>
#include <glib/gstdio.h>
#include <string.h>
#include <unistd.h>

#include "tests/devices/fs/fuse-client.h"
#include "tests/lib/machine.h"
#include "vring/fd.h"

typedef struct {
  char *program; /* the real one */
  VtDaemon *daemon;
  char *share, *socket;
} Fixture;

static void
set_up (Fixture *f, gconstpointer data)
{
  g_autofree char *link = NULL;

  f->daemon = vt_daemon_new ();
  f->program = g_strdup (g_getenv ("VIRTIOD"));
  f->share = vt_daemon_path (f->daemon, "share,with=commas");
  f->socket = vt_daemon_socket (f->daemon, "share");
  link = vt_daemon_path (f->daemon, "virtiofsd");
  g_assert_no_errno (g_mkdir (f->share, 0755));
  g_assert_no_errno (symlink (f->program, link));
  g_setenv ("VIRTIOD", link, TRUE);
}

static void
tear_down (Fixture *f, gconstpointer data)
{
  g_setenv ("VIRTIOD", f->program, TRUE);
  vt_daemon_free (f->daemon);
  g_free (f->program);
  g_free (f->share);
  g_free (f->socket);
}

static void G_GNUC_NULL_TERMINATED
add_args (Fixture *f, ...)
{
  const char *arg;
  va_list args;

  va_start (args, f);
  while ((arg = va_arg (args, const char *)) != NULL)
    g_ptr_array_add (f->daemon->args, g_strdup (arg));
  va_end (args);
}

/* Starts it with a socket by path. */
static void
start (Fixture *f)
{
  add_args (f, "--socket-path", f->socket, "--shared-dir", f->share, NULL);
  g_ptr_array_add (f->daemon->sockets, g_strdup (f->socket));
  vt_daemon_start (f->daemon);
}

/* Mounts and uses the share, then leaves without a word. */
static void
visit (Fixture *f)
{
  VtMachine *m = vt_machine_new (VT_ORDER_QEMU_7,
                                 VT_RING_EVENT_IDX | VT_RING_INDIRECT, 2, 64);
  g_autofree char *path = g_build_filename (f->share, "made", NULL);
  guint64 nodeid, fh;
  VtFuse fuse;

  vt_fuse_init_client (&fuse, m->rings[1]);
  vt_machine_connect (m, f->daemon, "share", 0);
  vt_machine_start (m);
  g_assert_cmpint (vt_fuse_init (&fuse, 0), ==, 0);
  g_assert_cmpint (
      vt_fuse_create (&fuse, 1, "made", O_RDWR | O_CREAT, 0644, &nodeid, &fh),
      ==, 0);
  g_assert_cmpint (vt_fuse_write (&fuse, nodeid, fh, 0, "x", 1), ==, 1);
  g_assert_true (g_file_test (path, G_FILE_TEST_IS_REGULAR));
  vt_machine_free (m);
}

static void
test_it_ends_when_its_front_end_leaves (Fixture *f, gconstpointer data)
{
  start (f);
  visit (f);
  g_assert_cmpint (vt_daemon_wait (f->daemon), ==, 0);
  g_assert_false (g_file_test (f->socket, G_FILE_TEST_EXISTS));
}

/* libvirt listens by itself, and logs to a file that it gives as stderr. */
static void
test_a_listening_descriptor_is_inherited (Fixture *f, gconstpointer data)
{
  vd_autofd listening = vt_listen (f->socket);
  g_autofree char *fd =
      g_strdup_printf ("--fd=%d", vt_daemon_inherit (f->daemon, listening));
  g_autoptr (GString) source = g_string_new ("source=");
  g_autofree char *log = NULL;

  for (const char *at = f->share; *at != '\0'; at++)
    if (*at == ',')
      g_string_append (source, ",,");
    else
      g_string_append_c (source, *at);
  g_string_append (source, ",cache=always,xattr");
  add_args (f, fd, "-o", source->str, "--thread-pool-size=4", NULL);
  vt_daemon_start (f->daemon);
  visit (f);
  g_assert_cmpint (vt_daemon_wait (f->daemon), ==, 0);
  log = vt_daemon_log (f->daemon);
  g_assert_nonnull (strstr (log, "--thread-pool-size changes nothing"));
  /* Whoever made the socket removes it. */
  g_assert_true (g_file_test (f->socket, G_FILE_TEST_EXISTS));
}

static void
test_silence_is_kept (Fixture *f, gconstpointer data)
{
  g_autofree char *log = NULL;

  add_args (f, "--log-level=off", "--thread-pool-size=4", NULL);
  start (f);
  visit (f);
  g_assert_cmpint (vt_daemon_wait (f->daemon), ==, 0);
  log = vt_daemon_log (f->daemon);
  g_assert_cmpstr (log, ==, "");
}

static void
test_limit_of_descriptors (Fixture *f, gconstpointer data)
{
  g_autofree char *path = NULL, *limits = NULL;

  add_args (f, "--rlimit-nofile=777", NULL);
  start (f);
  path = g_strdup_printf ("/proc/%d/limits", f->daemon->pid);
  g_assert_true (g_file_get_contents (path, &limits, NULL, NULL));
  g_assert_true (
      g_regex_match_simple ("Max open files +777 +777 ", limits, 0, 0));
  vt_daemon_stop (f->daemon);
}

/* The caller's process ends when there is a socket; the other one when its
 * front-end left. */
static void
test_daemonize_returns_with_a_socket (Fixture *f, gconstpointer data)
{
  gint64 end = g_get_monotonic_time () + VT_TIMEOUT_MS * 1000ll;

  add_args (f, "--daemonize", "--socket-path", f->socket, "-o", NULL);
  g_ptr_array_add (f->daemon->args, g_strdup ("source=."));
  g_assert_cmpint (vt_daemon_run (f->daemon), ==, 0);
  g_assert_true (g_file_test (f->socket, G_FILE_TEST_EXISTS));
  vt_frontend_free (vt_daemon_connect (f->daemon, "share"));
  while (g_file_test (f->socket, G_FILE_TEST_EXISTS)) {
    g_assert_cmpint (g_get_monotonic_time (), <, end);
    g_usleep (1000);
  }
}

static void
test_daemonize_returns_the_status_of_a_failure (Fixture *f, gconstpointer data)
{
  add_args (f, "--daemonize", "--socket-path", "/nonexistent/a.sock",
            "--shared-dir", f->share, NULL);
  g_assert_cmpint (vt_daemon_run (f->daemon), ==, 1);
}

static void
test_capabilities_need_nothing_else (Fixture *f, gconstpointer data)
{
  const char *argv[] = { g_getenv ("VIRTIOD"), "--print-capabilities", NULL };
  g_autofree char *out = NULL;
  g_autoptr (GError) error = NULL;
  int status;

  g_spawn_sync (NULL, (char **) argv, NULL, G_SPAWN_DEFAULT, NULL, NULL, &out,
                NULL, &status, &error);
  g_assert_no_error (error);
  g_assert_cmpint (status, ==, 0);
  g_assert_nonnull (strstr (out, "\"type\": \"fs\""));
}

static void
test_mistakes_are_one_line (Fixture *f, gconstpointer data)
{
  g_autofree char *log = NULL;

  add_args (f, "--socket-path", f->socket, "--shared-dir", "/nonexistent/dir",
            NULL);
  g_assert_cmpint (vt_daemon_run (f->daemon), ==, 1);
  log = vt_daemon_log (f->daemon);
  g_assert_nonnull (strstr (log, "source=/nonexistent/dir"));
  g_assert_true (strchr (log, '\n') == log + strlen (log) - 1);
}

/* virtiod itself, by its own name. */
static void
test_once_is_an_option_of_virtiod (Fixture *f, gconstpointer data)
{
  g_setenv ("VIRTIOD", f->program, TRUE);
  vt_daemon_add (f->daemon, "share", "fs", "source", f->share, NULL);
  add_args (f, "--once", NULL);
  vt_daemon_start (f->daemon);
  visit (f);
  g_assert_cmpint (vt_daemon_wait (f->daemon), ==, 0);
}

int
main (int argc, char **argv)
{
  g_test_init (&argc, &argv, NULL);
#define ADD(name)                                                              \
  g_test_add ("/wire/personality/" #name, Fixture, NULL, set_up, test_##name,  \
              tear_down)
  ADD (it_ends_when_its_front_end_leaves);
  ADD (a_listening_descriptor_is_inherited);
  ADD (silence_is_kept);
  ADD (limit_of_descriptors);
  ADD (daemonize_returns_with_a_socket);
  ADD (daemonize_returns_the_status_of_a_failure);
  ADD (capabilities_need_nothing_else);
  ADD (mistakes_are_one_line);
  ADD (once_is_an_option_of_virtiod);
#undef ADD
  return g_test_run ();
}
