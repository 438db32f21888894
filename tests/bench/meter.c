/* SPDX-License-Identifier: BSD-3-Clause
 *
 * meter.c - see meter.h
 *
 * Processor time and sleeps are those that /proc tells of each thread; threads
 * that end take theirs along, so measure while the process is busy.  System
 * calls are counted by the kernel's tracepoint, which needs CAP_PERFMON.
 */
#include "tests/bench/meter.h"

#include <linux/perf_event.h>
#include <string.h>
#include <sys/syscall.h>
#include <unistd.h>

struct VbMeter {
  GPid pid;
  GArray *counters; /* int: one for each thread that was there */
  VbSpent first;
};

/* The number of the tracepoint of all system calls, or 0. */
static guint64
tracepoint (void)
{
  static const char *const mounts[] = { "/sys/kernel/tracing",
                                        "/sys/kernel/debug/tracing" };

  for (guint i = 0; i < G_N_ELEMENTS (mounts); i++) {
    g_autofree char *path =
        g_build_filename (mounts[i], "events/raw_syscalls/sys_enter/id", NULL);
    g_autofree char *text = NULL;

    if (g_file_get_contents (path, &text, NULL, NULL))
      return g_ascii_strtoull (text, NULL, 10);
  }
  return 0;
}

static void
close_counters (VbMeter *meter)
{
  for (guint i = 0; i < meter->counters->len; i++)
    close (g_array_index (meter->counters, int, i));
  g_array_set_size (meter->counters, 0);
}

static void
open_counter (VbMeter *meter, guint64 event, pid_t thread)
{
  struct perf_event_attr attr = {
    .type = PERF_TYPE_TRACEPOINT,
    .size = sizeof attr,
    .config = event,
    .inherit = 1,
  };
  int fd = (int) syscall (SYS_perf_event_open, &attr, thread, -1, -1,
                          PERF_FLAG_FD_CLOEXEC);

  if (fd >= 0)
    g_array_append_val (meter->counters, fd);
}

/* Adds up one field of a file of each thread.
 * @key: what stands before it, or NULL for the first word */
static gint64
sum_threads (GPid pid, const char *file, const char *key)
{
  g_autofree char *folder = g_strdup_printf ("/proc/%d/task", pid);
  GDir *dir = g_dir_open (folder, 0, NULL);
  const char *thread;
  gint64 sum = 0;

  if (dir == NULL)
    return 0;
  while ((thread = g_dir_read_name (dir)) != NULL) {
    g_autofree char *path = g_build_filename (folder, thread, file, NULL);
    g_autofree char *text = NULL;
    const char *at;

    if (!g_file_get_contents (path, &text, NULL, NULL))
      continue;
    at = key != NULL ? strstr (text, key) : text;
    if (at != NULL)
      sum += g_ascii_strtoll (at + (key != NULL ? strlen (key) : 0), NULL, 10);
  }
  g_dir_close (dir);
  return sum;
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
  return (VbSpent){
    .cpu_ns = sum_threads (meter->pid, "schedstat", NULL),
    .syscalls = read_counters (meter),
    .sleeps = sum_threads (meter->pid, "status", "\nvoluntary_ctxt_switches:"),
  };
}

VbMeter *
vb_meter_new (GPid pid)
{
  g_autofree char *folder = g_strdup_printf ("/proc/%d/task", pid);
  VbMeter *meter = g_new0 (VbMeter, 1);
  GDir *dir = g_dir_open (folder, 0, NULL);
  guint64 event = tracepoint ();
  const char *thread;

  meter->pid = pid;
  meter->counters = g_array_new (FALSE, FALSE, sizeof (int));
  while (event != 0 && dir != NULL && (thread = g_dir_read_name (dir)) != NULL)
    open_counter (meter, event, (pid_t) g_ascii_strtoll (thread, NULL, 10));
  if (dir != NULL)
    g_dir_close (dir);
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
