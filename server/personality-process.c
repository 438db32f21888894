/* SPDX-License-Identifier: BSD-3-Clause
 *
 * personality-process.c - what options of virtiofsd do to the process
 */
#define G_LOG_DOMAIN "virtiod"

#include "server/personality.h"

#include <errno.h>
#include <fcntl.h>
#include <string.h>
#include <sys/resource.h>
#include <sys/wait.h>
#include <unistd.h>

#include "server/log.h"
#include "vring/fd.h"

/* The caller of --daemonize waits at the other end; -1: nobody does. */
static int ready_fd = -1;

static gboolean
fail (GError **error, const char *what)
{
  g_set_error (error, VD_PERSONALITY_ERROR, VD_PERSONALITY_ERROR_SYSTEM,
               "%s: %s", what, g_strerror (errno));
  return FALSE;
}

static gboolean
set_n_files (guint64 n, GError **error)
{
  struct rlimit limit = { .rlim_cur = n, .rlim_max = n };
  struct rlimit old;

  if (getrlimit (RLIMIT_NOFILE, &old) < 0 || n == old.rlim_max)
    return TRUE;
  if (setrlimit (RLIMIT_NOFILE, &limit) == 0)
    return TRUE;
  return fail (error, "--rlimit-nofile");
}

/* The caller's process: ends as the new one does until that is ready. */
static void G_GNUC_NORETURN
wait_for (pid_t child, int fd)
{
  int status = 1;
  char byte;

  if (read (fd, &byte, 1) == 1)
    _exit (0);
  if (waitpid (child, &status, 0) == child && WIFEXITED (status))
    _exit (WEXITSTATUS (status));
  _exit (1);
}

static gboolean
leave_caller (GError **error)
{
  int ends[2];
  pid_t child;

  if (pipe2 (ends, O_CLOEXEC) < 0 || (child = fork ()) < 0)
    return fail (error, "--daemonize");
  if (child > 0) {
    close (ends[1]);
    wait_for (child, ends[0]);
  }
  close (ends[0]);
  ready_fd = ends[1];
  setsid ();
  return TRUE;
}

gboolean
vd_personality_begin (const VdPersonality *personality, GError **error)
{
  vd_log_set (personality->log_level, personality->syslog);
  if (personality->n_files > 0 && !set_n_files (personality->n_files, error))
    return FALSE;
  if (personality->daemonize && !leave_caller (error))
    return FALSE;
  for (guint i = 0; i < personality->notes->len; i++)
    g_message ("%s", (char *) g_ptr_array_index (personality->notes, i));
  return TRUE;
}

void
vd_personality_ready (void)
{
  vd_autofd null = -1;

  if (ready_fd < 0)
    return;
  null = open ("/dev/null", O_RDWR | O_CLOEXEC);
  for (int fd = 0; null >= 0 && fd <= STDERR_FILENO; fd++)
    dup2 (null, fd);
  if (write (ready_fd, "", 1) < 0)
    g_debug ("the caller has left");
  vd_clear_fd (&ready_fd);
}
