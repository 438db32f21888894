/* SPDX-License-Identifier: BSD-3-Clause
 *
 * daemon.h - runs the real virtiod for a test
 *
 * Each daemon has a temporary folder with its key-file, its sockets and what it
 * writes to stderr.  The program is the one that the environment variable
 * VIRTIOD names.  It dies with the test.
 */
#pragma once

#include <glib.h>

#include "tests/lib/frontend.h"

#define VT_DAEMON_FIRST_FD 10 /* number of the first inherited descriptor */

typedef struct {
  char *dir;                /* temporary folder */
  GString *key_file;        /* text; written by start and reload */
  GPtrArray *sockets;       /* paths on which it will listen */
  GArray *inherit;          /* int: descriptors that it will inherit */
  GPtrArray *wrapper;       /* command to run it under, or empty */
  GPtrArray *args;          /* more arguments */
  char **envp;              /* of the daemon; change with vt_daemon_setenv() */
  GPid pid;                 /* 0: not running */
  gboolean makes_bad_calls; /* that a filter of system calls stops */
} VtDaemon;

/* How many mappings may come and go: threads leave stacks and heaps for the
 * next, and with TSan what it notes of these. */
#ifdef __SANITIZE_THREAD__
#define VT_MAPS_SLACK 64
#else
#define VT_MAPS_SLACK 24
#endif

/* What a process holds on to.  With a sanitizer, which maps more and more for
 * itself, n_maps counts mappings of files only; guest memory and rings of
 * io_uring are among them. */
typedef struct {
  guint n_fds, n_threads, n_maps;
} VtUsage;

VtDaemon *vt_daemon_new (void);
/* Kills it if it runs, and removes its folder; NULL is fine. */
void vt_daemon_free (VtDaemon *daemon);

/* Appends a group to the key-file.
 * @...: keys and values, NULL-ended; without "socket" it listens at
 *   vt_daemon_socket (daemon, @id) */
void vt_daemon_add (VtDaemon *daemon, const char *id, const char *kind,
                    ...) G_GNUC_NULL_TERMINATED;

/* Sets a key of a group that was added. */
void vt_daemon_set (VtDaemon *daemon, const char *id, const char *key,
                    const char *value);

/* Returns: the number that @fd will have in the daemon, for fd:N.
 * @fd: (transfer none): open until vt_daemon_start() */
int vt_daemon_inherit (VtDaemon *daemon, int fd);

void vt_daemon_setenv (VtDaemon *daemon, const char *name, const char *value);

/* Has it start under a command, which ends by executing what follows it.
 * @...: the command's words, NULL-ended; the first is looked for in PATH */
void vt_daemon_run_under (VtDaemon *daemon, ...) G_GNUC_NULL_TERMINATED;

/* Returns: (transfer full): a path in its folder. */
char *vt_daemon_path (VtDaemon *daemon, const char *name);
/* Returns: (transfer full): where the device @id listens. */
char *vt_daemon_socket (VtDaemon *daemon, const char *id);

/* Creates a file of @size bytes in its folder, with a pattern in each 512 bytes.
 * Returns: (transfer full): its path. */
char *vt_daemon_image (VtDaemon *daemon, const char *name, gsize size);
/* Fails the test unless the file is as that made it. */
void vt_daemon_check_image (VtDaemon *daemon, const char *name);

/* Starts it and waits until all its sockets exist; fails the test, showing its
 * stderr, if it exits instead. */
void vt_daemon_start (VtDaemon *daemon);

/* Starts it and waits for its end.  Returns: its exit status. */
int vt_daemon_run (VtDaemon *daemon);

/* Writes the key-file again and sends SIGHUP. */
void vt_daemon_reload (VtDaemon *daemon);
void vt_daemon_signal (VtDaemon *daemon, int signal_number);

/* Sends SIGTERM, waits, and fails the test unless it exits with status 0, which
 * sanitizers prevent if they found anything, and made no call that a filter
 * stopped. */
void vt_daemon_stop (VtDaemon *daemon);
/* Waits for its end.  Returns: the exit status, or 256 + a signal's number. */
int vt_daemon_wait (VtDaemon *daemon);

/* Connects to the device @id. */
VtFrontend *vt_daemon_connect (VtDaemon *daemon, const char *id);

/* Returns: (transfer full): what it wrote to stderr so far. */
char *vt_daemon_log (VtDaemon *daemon);
/* Waits until its stderr contains @text. */
void vt_daemon_wait_log (VtDaemon *daemon, const char *text);

VtUsage vt_daemon_usage (VtDaemon *daemon);
/* Waits until it holds on to no more than @limit, else fails the test. */
void vt_daemon_wait_usage (VtDaemon *daemon, VtUsage limit);

G_DEFINE_AUTOPTR_CLEANUP_FUNC (VtDaemon, vt_daemon_free)
