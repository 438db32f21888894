/* SPDX-License-Identifier: BSD-3-Clause
 *
 * meter.c - see meter.h
 *
 * Processor time is the process's clock, which keeps that of threads that ended;
 * sleeps are those that /proc tells of each thread that is there.  System calls
 * are counted by the kernel's tracepoint, which needs CAP_PERFMON and, to find
 * it, CAP_SYS_ADMIN.
 */
#include "tests/bench/meter.h"

#include <fcntl.h>
#include <linux/mount.h>
#include <linux/perf_event.h>
#include <string.h>
#include <sys/syscall.h>
#include <time.h>
#include <unistd.h>

struct VbMeter {
  GArray *pids;     /* GPid: the process and all that it started */
  GArray *counters; /* int: one for each thread that was there */
  VbSpent first;
};

/* Returns: the root of the kernel's trace files, of a mount that is nowhere and
 * ends with the descriptor; -1 if we may not. */
static int
open_trace_files (void)
{
  int fs = (int) syscall (SYS_fsopen, "tracefs", FSOPEN_CLOEXEC);
  int root = -1;

  if (fs >= 0 &&
      syscall (SYS_fsconfig, fs, FSCONFIG_CMD_CREATE, NULL, NULL, 0) == 0)
    root = (int) syscall (SYS_fsmount, fs, FSMOUNT_CLOEXEC, 0);
  if (fs >= 0)
    close (fs);
  return root;
}

/* The number of the tracepoint of all system calls, or 0. */
static guint64
tracepoint (void)
{
  int root = open_trace_files (), fd = -1;
  char text[24] = "";

  if (root >= 0)
    fd =
        openat (root, "events/raw_syscalls/sys_enter/id", O_RDONLY | O_CLOEXEC);
  if (fd >= 0 && read (fd, text, sizeof text - 1) < 0)
    text[0] = '\0';
  if (fd >= 0)
    close (fd);
  if (root >= 0)
    close (root);
  return g_ascii_strtoull (text, NULL, 10);
}

/* Calls @func for each thread of @pid, with its folder in /proc. */
static void
each_thread (GPid pid, void (*func) (const char *folder, gpointer data),
             gpointer data)
{
  g_autofree char *path = g_strdup_printf ("/proc/%d/task", pid);
  GDir *dir = g_dir_open (path, 0, NULL);
  const char *thread;

  if (dir == NULL)
    return;
  while ((thread = g_dir_read_name (dir)) != NULL) {
    g_autofree char *folder = g_build_filename (path, thread, NULL);

    func (folder, data);
  }
  g_dir_close (dir);
}

/* A back-end that jails itself serves in a child. */
static void
add_children (const char *folder, gpointer data)
{
  g_autofree char *path = g_build_filename (folder, "children", NULL);
  g_autofree char *text = NULL;
  g_auto (GStrv) words = NULL;

  if (!g_file_get_contents (path, &text, NULL, NULL))
    return;
  words = g_strsplit (g_strstrip (text), " ", -1);
  for (guint i = 0; words[i] != NULL; i++) {
    GPid child = (GPid) g_ascii_strtoll (words[i], NULL, 10);

    if (child > 0) {
      g_array_append_val (data, child);
      each_thread (child, add_children, data);
    }
  }
}

static void
close_counters (VbMeter *meter)
{
  for (guint i = 0; i < meter->counters->len; i++)
    close (g_array_index (meter->counters, int, i));
  g_array_set_size (meter->counters, 0);
}

typedef struct {
  GArray *counters;
  guint64 event;
} Opening;

static void
open_counter (const char *folder, gpointer data)
{
  const Opening *opening = data;
  struct perf_event_attr attr = {
    .type = PERF_TYPE_TRACEPOINT,
    .size = sizeof attr,
    .config = opening->event,
    .inherit = 1,
  };
  pid_t thread = (pid_t) g_ascii_strtoll (strrchr (folder, '/') + 1, NULL, 10);
  int fd = (int) syscall (SYS_perf_event_open, &attr, thread, -1, -1,
                          PERF_FLAG_FD_CLOEXEC);

  if (fd >= 0)
    g_array_append_val (opening->counters, fd);
}

static gint64
read_field (const char *folder, const char *file, const char *key)
{
  g_autofree char *path = g_build_filename (folder, file, NULL);
  g_autofree char *text = NULL;
  const char *at;

  if (!g_file_get_contents (path, &text, NULL, NULL))
    return 0;
  at = strstr (text, key);
  return at != NULL ? g_ascii_strtoll (at + strlen (key), NULL, 10) : 0;
}

static void
add_thread (const char *folder, gpointer data)
{
  VbSpent *spent = data;

  spent->sleeps += read_field (folder, "status", "\nvoluntary_ctxt_switches:");
}

static gint64
read_clock (GPid pid)
{
  struct timespec spent;
  clockid_t clock;

  if (clock_getcpuclockid (pid, &clock) != 0 ||
      clock_gettime (clock, &spent) != 0)
    return 0;
  return spent.tv_sec * 1000000000ll + spent.tv_nsec;
}

static gint64
read_counters (const VbMeter *meter)
{
  gint64 sum = 0;

  if (meter->counters->len == 0)
    return -1;
  for (guint i = 0; i < meter->counters->len; i++) {
    guint64 n = 0;

    if (read (g_array_index (meter->counters, int, i), &n, sizeof n) ==
        sizeof n)
      sum += (gint64) n;
  }
  return sum;
}

static VbSpent
read_all (const VbMeter *meter)
{
  VbSpent spent = { .syscalls = read_counters (meter) };

  for (guint i = 0; i < meter->pids->len; i++) {
    GPid pid = g_array_index (meter->pids, GPid, i);

    spent.cpu_ns += read_clock (pid);
    each_thread (pid, add_thread, &spent);
  }
  return spent;
}

VbMeter *
vb_meter_new (GPid pid, gboolean syscalls)
{
  VbMeter *meter = g_new0 (VbMeter, 1);
  Opening opening = { .event = syscalls ? tracepoint () : 0 };

  meter->pids = g_array_new (FALSE, FALSE, sizeof (GPid));
  g_array_append_val (meter->pids, pid);
  each_thread (pid, add_children, meter->pids);
  meter->counters = opening.counters = g_array_new (FALSE, FALSE, sizeof (int));
  for (guint i = 0; opening.event != 0 && i < meter->pids->len; i++)
    each_thread (g_array_index (meter->pids, GPid, i), open_counter, &opening);
  meter->first = read_all (meter);
  return meter;
}

void
vb_meter_free (VbMeter *meter)
{
  if (meter == NULL)
    return;
  close_counters (meter);
  g_array_unref (meter->counters);
  g_array_unref (meter->pids);
  g_free (meter);
}

VbSpent
vb_meter_read (VbMeter *meter)
{
  VbSpent now = read_all (meter);

  now.cpu_ns -= meter->first.cpu_ns;
  now.sleeps -= meter->first.sleeps;
  if (now.syscalls >= 0)
    now.syscalls -= meter->first.syscalls;
  return now;
}
