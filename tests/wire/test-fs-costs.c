/* SPDX-License-Identifier: BSD-3-Clause
 *
 * test-fs-costs.c - what shared directories cost the host: system calls of a
 * listing, descriptors and memory of a walk, memory of many exports
 *
 * VT_WALK_FILES=200000 walks as far as the promise goes; the usual suite takes
 * the same way with fewer files.
 */
#include <errno.h>
#include <fcntl.h>
#include <glib/gstdio.h>
#include <signal.h>
#include <stdlib.h>
#include <string.h>
#include <sys/wait.h>
#include <unistd.h>

#include "tests/devices/fs/fuse-client.h"
#include "tests/lib/machine.h"

enum {
  LISTED = 50,       /* files */
  COLD_MAX = 140,    /* system calls of the daemon for a listing of them */
  WARM_MAX = 90,     /* when they were listed before */
  WALKED = 20000,    /* files */
  PER_DIR = 1000,    /* of them */
  WALK_FDS = 1000,   /* descriptors of the daemon during the walk */
  WALK_KIB = 204800, /* and its memory */
  EXPORTS = 100,
  PIECE = 4096, /* bytes that Linux asks for when it reads a directory */
};

#if defined __SANITIZE_ADDRESS__ || defined __SANITIZE_THREAD__
#define SANITIZED TRUE
#else
#define SANITIZED FALSE
#endif

typedef struct {
  VtDaemon *daemon;
  char *share;
  VtMachine *machine;
  VtFuse fuse;
} Fixture;

static void
set_up (Fixture *f, gconstpointer data)
{
  f->daemon = vt_daemon_new ();
  f->share = vt_daemon_path (f->daemon, "share");
  g_assert_no_errno (g_mkdir (f->share, 0755));
}

/* Starts the daemon, and a guest that mounts the directory. */
static void
serve (Fixture *f, const char *fd_budget)
{
  vt_daemon_add (f->daemon, "share", "fs", "source", f->share, "fd-budget",
                 fd_budget, NULL);
  vt_daemon_start (f->daemon);
  f->machine = vt_machine_new (VT_ORDER_QEMU_11,
                               VT_RING_EVENT_IDX | VT_RING_INDIRECT, 2, 1024);
  vt_machine_connect (f->machine, f->daemon, "share", 0);
  vt_machine_start (f->machine);
  vt_fuse_init_client (&f->fuse, f->machine->rings[1]);
  g_assert_cmpint (vt_fuse_init (&f->fuse, 0), ==, 0);
}

static void
tear_down (Fixture *f, gconstpointer data)
{
  vt_machine_free (f->machine);
  vt_daemon_stop (f->daemon);
  vt_daemon_free (f->daemon);
  g_free (f->share);
}

/* Makes directory @name with @n empty files. */
static void
make_dir (Fixture *f, const char *name, guint n)
{
  g_autofree char *dir = g_build_filename (f->share, name, NULL);
  int fd;

  g_assert_no_errno (g_mkdir (dir, 0755));
  fd = open (dir, O_RDONLY | O_DIRECTORY | O_CLOEXEC);
  g_assert_no_errno (fd);
  for (guint i = 0; i < n; i++) {
    char file[16];
    int file_fd;

    g_snprintf (file, sizeof file, "file-%u", i);
    file_fd = openat (fd, file, O_CREAT | O_EXCL | O_WRONLY | O_CLOEXEC, 0644);
    g_assert_no_errno (file_fd);
    close (file_fd);
  }
  close (fd);
}

/* A line of /proc/PID/status, in KiB. */
static guint
status_kib (VtDaemon *daemon, const char *field)
{
  g_autofree char *path = g_strdup_printf ("/proc/%d/status", daemon->pid);
  g_autofree char *text = NULL;
  const char *at;

  g_assert_true (g_file_get_contents (path, &text, NULL, NULL));
  at = strstr (text, field);
  g_assert_nonnull (at);
  return (guint) atoi (at + strlen (field));
}

/* As "ls -l" in a Linux guest.  Returns: how many entries have a nodeid, of
 * which the last is stored. */
static guint
list (VtFuse *c, const char *name, guint64 *ret_nodeid)
{
  guint64 dir, fh, offset = 0;
  guint8 bytes[PIECE];
  guint n = 0;
  gssize len;

  g_assert_cmpint (vt_fuse_lookup (c, 1, name, &dir, NULL), ==, 0);
  g_assert_cmpint (vt_fuse_opendir (c, dir, &fh), ==, 0);
  while ((len = vt_fuse_readdir (c, dir, fh, offset, TRUE, bytes, PIECE)) > 0)
    for (gssize at = 0; at < len;) {
      struct fuse_direntplus plus;

      memcpy (&plus, bytes + at, sizeof plus);
      if (plus.entry_out.nodeid != 0) {
        *ret_nodeid = plus.entry_out.nodeid;
        n++;
      }
      offset = plus.dirent.off;
      at += (gssize) (sizeof plus + plus.dirent.namelen + 7) / 8 * 8;
    }
  g_assert_cmpint (len, ==, 0);
  g_assert_cmpint (vt_fuse_releasedir (c, dir, fh), ==, 0);
  return n;
}

/* Counting system calls. */

typedef struct {
  GPid pid;
  char *path; /* of the result */
} Strace;

/* Returns: FALSE if the test was skipped, because there is no strace or it may
 * not look. */
static gboolean
strace_start (Fixture *f, Strace *strace)
{
  g_autofree char *pid = g_strdup_printf ("%d", f->daemon->pid);
  g_autofree char *program = g_find_program_in_path ("strace");
  char byte = 0;
  int err = -1;

  strace->path = vt_daemon_path (f->daemon, "strace");
  if (program != NULL) {
    char *argv[] = { program,      (char *) "-f", (char *) "-c", (char *) "-o",
                     strace->path, (char *) "-p", pid,           NULL };

    if (g_spawn_async_with_pipes (NULL, argv, NULL, G_SPAWN_DO_NOT_REAP_CHILD,
                                  NULL, NULL, &strace->pid, NULL, NULL, &err,
                                  NULL)) {
      /* "strace: Process N attached", or why not, or the end. */
      while (read (err, &byte, 1) == 1 && byte != '\n')
        ;
      if (byte == '\n' && waitpid (strace->pid, NULL, WNOHANG) == 0) {
        close (err);
        return TRUE;
      }
    }
  }
  g_test_skip ("strace is needed");
  g_free (strace->path);
  return FALSE;
}

/* Returns: the calls of all threads since strace_start(). */
static guint
strace_stop (Strace *strace)
{
  g_autofree char *text = NULL;
  g_auto (GStrv) lines = NULL;
  guint calls = 0;

  g_assert_no_errno (kill (strace->pid, SIGINT));
  g_assert_cmpint (waitpid (strace->pid, NULL, 0), ==, strace->pid);
  g_assert_true (g_file_get_contents (strace->path, &text, NULL, NULL));
  lines = g_strsplit (text, "\n", -1);
  for (guint i = 0; lines[i] != NULL; i++)
    if (g_str_has_suffix (lines[i], " total"))
      g_assert_cmpint (sscanf (lines[i], "%*f %*f %*u %u", &calls), ==, 1);
  g_free (strace->path);
  g_assert_cmpuint (calls, >, 0);
  return calls;
}

static void
test_listing_costs_few_system_calls (Fixture *f, gconstpointer data)
{
  guint64 nodeid;
  Strace strace;
  guint cold, warm;

  make_dir (f, "d", LISTED);
  serve (f, "0");
  if (!strace_start (f, &strace))
    return;
  g_assert_cmpuint (list (&f->fuse, "d", &nodeid), ==, LISTED);
  cold = strace_stop (&strace);
  g_assert_true (strace_start (f, &strace));
  g_assert_cmpuint (list (&f->fuse, "d", &nodeid), ==, LISTED);
  warm = strace_stop (&strace);
  g_test_message ("system calls of the whole daemon: %u cold, %u warm", cold,
                  warm);
  g_assert_cmpuint (cold, <=, COLD_MAX);
  g_assert_cmpuint (warm, <=, WARM_MAX);
}

/* Walking. */

static guint
files_to_walk (void)
{
  const char *wanted = g_getenv ("VT_WALK_FILES");

  return wanted != NULL ? (guint) atoi (wanted) : WALKED;
}

static void
test_a_walk_is_bounded_in_descriptors_and_memory (Fixture *f,
                                                  gconstpointer data)
{
  guint n_dirs = files_to_walk () / PER_DIR, kib = 0, fds = 0;
  gint64 start;

  for (guint i = 0; i < n_dirs; i++) {
    g_autofree char *name = g_strdup_printf ("d%u", i);

    make_dir (f, name, PER_DIR);
  }
  serve (f, "900"); /* the rest is the daemon's own */
  start = g_get_monotonic_time ();
  for (guint i = 0; i < n_dirs; i++) {
    g_autofree char *name = g_strdup_printf ("d%u", i);
    struct fuse_attr attr;
    guint64 nodeid;

    g_assert_cmpuint (list (&f->fuse, name, &nodeid), ==, PER_DIR);
    g_assert_cmpint (vt_fuse_getattr (&f->fuse, nodeid, &attr), ==, 0);
    fds = MAX (fds, vt_daemon_usage (f->daemon).n_fds);
  }
  kib = status_kib (f->daemon, "VmHWM:");
  g_test_message ("%u files in %u ms: %u descriptors, %u KiB", n_dirs * PER_DIR,
                  (guint) ((g_get_monotonic_time () - start) / 1000), fds, kib);
  g_assert_cmpuint (fds, <=, WALK_FDS);
  if (!SANITIZED)
    g_assert_cmpuint (kib, <=, WALK_KIB);
}

/* Many exports. */

static guint
idle_kib (guint n_exports)
{
  g_autoptr (VtDaemon) daemon = vt_daemon_new ();
  g_autofree char *share = vt_daemon_path (daemon, "share");
  guint kib;

  g_assert_no_errno (g_mkdir (share, 0755));
  /* Meson sets it, and it touches all that is allocated. */
  vt_daemon_setenv (daemon, "MALLOC_PERTURB_", "0");
  for (guint i = 0; i < n_exports; i++) {
    g_autofree char *id = g_strdup_printf ("share%u", i);

    vt_daemon_add (daemon, id, "fs", "source", share, NULL);
  }
  vt_daemon_start (daemon);
  kib = status_kib (daemon, "VmRSS:");
  vt_daemon_stop (daemon);
  return kib;
}

static void
test_a_hundred_exports_cost_less_than_two_daemons (void)
{
  guint one, many;

  if (SANITIZED) {
    g_test_skip ("a sanitizer has the allocator");
    return;
  }
  one = idle_kib (1);
  many = idle_kib (EXPORTS);
  g_test_message ("idle: %u KiB with one export, %u KiB with %u", one, many,
                  EXPORTS);
  g_assert_cmpuint (many, <, 2 * one);
}

int
main (int argc, char **argv)
{
  g_test_init (&argc, &argv, NULL);
#define ADD(name, func)                                                        \
  g_test_add ("/fs-costs/" name, Fixture, NULL, set_up, func, tear_down)
  ADD ("list", test_listing_costs_few_system_calls);
  ADD ("walk", test_a_walk_is_bounded_in_descriptors_and_memory);
  g_test_add_func ("/fs-costs/exports",
                   test_a_hundred_exports_cost_less_than_two_daemons);
  return g_test_run ();
}
