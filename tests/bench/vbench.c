/* SPDX-License-Identifier: BSD-3-Clause
 *
 * vbench.c - loads any vhost-user back-end as a driver would, and says what it
 * does and what it costs
 *
 *   vbench blk --socket=PATH --mix=randread --depth=32 --queues=2
 *
 * The back-end may be ours or another: only the protocol is used.  Its process
 * is the one that listens on the socket unless --pid says otherwise.
 */
#include <linux/virtio_config.h>
#include <linux/virtio_ring.h>
#include <stdio.h>
#include <string.h>
#include <sys/socket.h>

#include "build-options.h"
#include "tests/bench/meter.h"
#include "tests/bench/vbench.h"
#include "tests/lib/conversation.h"

#define MIB         (1ull << 20)
#define GUEST_BASE  0x100000ull
#define MAX_QUEUES  16u
#define MAX_BS      (16 * MIB)
#define PER_REQUEST (64u << 10) /* guest memory beside the data, at most */

static const VbKind *const kinds[] = {
  &vb_blk,
#if VD_HAVE_FS
  &vb_fs,
#endif
  NULL,
};

typedef struct {
  char *socket, *mix, *json, *span, *bs, *folder;
  int queues, depth, pid, ring_size, files;
  gboolean poll, packed, direct, syscalls;
  gdouble seconds, warm_up, begin_at;
} Arguments;

/* What one run is made of. */
typedef struct {
  const VbKind *kind;
  const VbWork *work;
  VbOptions options;
  VtGuest *guest;
  VtFrontend *fe;
  VtRing **rings;
  guint n_rings;
  GPid pid;
  gboolean syscalls; /* are counted */
  VbMeter *meter;
  VbSpent spent;
} Run;

/* Arguments. */

static void G_GNUC_PRINTF (1, 2) G_GNUC_NORETURN die (const char *format, ...)
{
  g_autofree char *text = NULL;
  va_list args;

  va_start (args, format);
  text = g_strdup_vprintf (format, args);
  va_end (args);
  fprintf (stderr, "vbench: %s\n", text);
  exit (2);
}

static guint64
parse_size (const char *text)
{
  static const char units[] = "kMG";
  char *end;
  guint64 size = g_ascii_strtoull (text, &end, 10);
  const char *unit = *end != '\0' ? strchr (units, *end) : NULL;

  if (unit != NULL) {
    size <<= 10 * (unit - units + 1);
    end++;
  }
  if (end == text || *end != '\0')
    die ("'%s' is not a size; write 4096, 4k or 1M", text);
  return size;
}

static char *
describe (void)
{
  GString *text = g_string_new ("Kinds and mixes:\n");

  for (guint k = 0; kinds[k] != NULL; k++)
    for (guint i = 0; kinds[k]->works[i] != NULL; i++)
      g_string_append_printf (text, "  %-4s --mix=%-14s %s\n", kinds[k]->name,
                              kinds[k]->works[i]->name,
                              kinds[k]->works[i]->help);
  return g_string_free (text, FALSE);
}

static void
parse (Arguments *a, int *argc, char ***argv)
{
  const GOptionEntry entries[] = {
    { "socket", 's', 0, G_OPTION_ARG_FILENAME, &a->socket,
      "Where the back-end listens", "PATH" },
    { "mix", 'm', 0, G_OPTION_ARG_STRING, &a->mix, "What to do", "NAME" },
    { "queues", 'q', 0, G_OPTION_ARG_INT, &a->queues,
      "Queues, each with a thread", "N" },
    { "depth", 'd', 0, G_OPTION_ARG_INT, &a->depth,
      "Operations under way in each queue", "N" },
    { "bs", 'b', 0, G_OPTION_ARG_STRING, &a->bs, "Bytes of a read or write",
      "SIZE" },
    { "span", 0, 0, G_OPTION_ARG_STRING, &a->span,
      "Bytes of the disk or file that are used", "SIZE" },
    { "files", 0, 0, G_OPTION_ARG_INT, &a->files,
      "fs: files in the folder that is made", "N" },
    { "direct", 0, 0, G_OPTION_ARG_NONE, &a->direct,
      "fs: open the file that is read and written with O_DIRECT", NULL },
    { "folder", 0, 0, G_OPTION_ARG_FILENAME, &a->folder,
      "fs: list this folder, which is there", "NAME" },
    { "time", 't', 0, G_OPTION_ARG_DOUBLE, &a->seconds, "How long to measure",
      "SECONDS" },
    { "warm-up", 0, 0, G_OPTION_ARG_DOUBLE, &a->warm_up,
      "How long to run before", "SECONDS" },
    { "begin-at", 0, 0, G_OPTION_ARG_DOUBLE, &a->begin_at,
      "Measure from this time of the monotonic clock on", "SECONDS" },
    { "poll", 0, 0, G_OPTION_ARG_NONE, &a->poll,
      "Look at the ring instead of waiting for calls", NULL },
    { "packed", 0, 0, G_OPTION_ARG_NONE, &a->packed, "Packed rings", NULL },
    { "ring-size", 0, 0, G_OPTION_ARG_INT, &a->ring_size, "Entries of a ring",
      "N" },
    { "pid", 0, 0, G_OPTION_ARG_INT, &a->pid,
      "The back-end's process, if it is not the one that listens", "PID" },
    { "syscalls", 0, 0, G_OPTION_ARG_NONE, &a->syscalls,
      "Count system calls, which makes all of them slower", NULL },
    { "json", 'j', 0, G_OPTION_ARG_FILENAME, &a->json,
      "Append the result to this file, an object a line", "PATH" },
    { 0 },
  };
  g_autoptr (GOptionContext) context = g_option_context_new ("blk|fs");
  g_autoptr (GError) error = NULL;
  g_autofree char *description = describe ();

  g_option_context_set_description (context, description);
  g_option_context_add_main_entries (context, entries, NULL);
  if (!g_option_context_parse (context, argc, argv, &error))
    die ("%s", error->message);
  if (*argc != 2 || a->socket == NULL)
    die ("say which kind of device, and --socket; --help shows all");
}

static void
clear_arguments (Arguments *a)
{
  g_free (a->socket);
  g_free (a->mix);
  g_free (a->json);
  g_free (a->span);
  g_free (a->bs);
  g_free (a->folder);
}

static void
choose (Run *run, const char *kind, const char *mix)
{
  for (guint i = 0; kinds[i] != NULL; i++)
    if (strcmp (kinds[i]->name, kind) == 0)
      run->kind = kinds[i];
  if (run->kind == NULL)
    die ("no kind of device is called '%s'", kind);
  run->work = mix == NULL ? run->kind->works[0] : NULL;
  for (guint i = 0; mix != NULL && run->kind->works[i] != NULL; i++)
    if (strcmp (run->kind->works[i]->name, mix) == 0)
      run->work = run->kind->works[i];
  if (run->work == NULL)
    die ("%s has no mix called '%s'; --help shows all", kind, mix);
}

static void
take_options (Run *run, const Arguments *a)
{
  VbOptions *options = &run->options;

  options->queues = (guint) CLAMP (a->queues, 1, (int) MAX_QUEUES);
  options->depth = (guint) MAX (a->depth, 1);
  options->bs = parse_size (a->bs != NULL ? a->bs : "4k");
  options->span = parse_size (a->span != NULL ? a->span : "0");
  options->files = (guint) MAX (a->files, 1);
  options->direct = a->direct;
  options->folder = a->folder;
  if (options->bs == 0 || options->bs > MAX_BS)
    die ("--bs is from 1 to 16M");
  /* The longest chain has four buffers. */
  if (options->depth * 4 > (guint) a->ring_size)
    die ("a ring of %d entries has no room for %u operations", a->ring_size,
         options->depth);
}

/* Returns: seconds from now on. */
static gdouble
warm_up (const Arguments *a)
{
  return a->begin_at > 0 ? MAX (a->begin_at - (gdouble) vb_now_ns () / 1e9, 0)
                         : a->warm_up;
}

/* The device. */

static GPid
find_process (int fd)
{
  struct ucred peer;
  socklen_t len = sizeof peer;

  g_assert_no_errno (getsockopt (fd, SOL_SOCKET, SO_PEERCRED, &peer, &len));
  return peer.pid;
}

static void
connect_device (Run *run, const Arguments *a)
{
  const VbOptions *options = &run->options;
  guint64 size =
      options->queues * options->depth * (options->bs + PER_REQUEST) + 64 * MIB;
  VtRingFlags flags = VT_RING_EVENT_IDX | (a->packed ? VT_RING_PACKED : 0);

  run->guest = vt_guest_new (0);
  vt_guest_add (run->guest, GUEST_BASE, 0x7f0000000000ull,
                (size + MIB - 1) & ~(MIB - 1), 0);
  run->n_rings = run->kind->first_ring + options->queues;
  run->rings = g_new0 (VtRing *, run->n_rings);
  for (guint i = 0; i < run->n_rings; i++)
    run->rings[i] = vt_ring_new (run->guest, i, (guint16) a->ring_size, flags);
  run->fe = vt_frontend_new (vt_connect (a->socket));
  run->pid = a->pid != 0 ? a->pid : find_process (run->fe->fd);
  run->fe->config_len = run->kind->config_len;
  run->fe->n_queues = run->n_rings;
  vt_frontend_hello (run->fe, VT_ORDER_QEMU_7, run->guest, run->rings,
                     run->n_rings);
  vt_frontend_start (run->fe);
}

static void
disconnect_device (Run *run)
{
  vt_frontend_stop (run->fe, NULL);
  vt_frontend_free (run->fe);
  for (guint i = 0; i < run->n_rings; i++)
    vt_ring_free (run->rings[i]);
  g_free (run->rings);
  vt_guest_free (run->guest);
}

/* The result. */

static void
on_measured (gboolean end, gpointer data)
{
  Run *run = data;

  if (!end)
    run->meter = vb_meter_new (run->pid, run->syscalls);
  else {
    run->spent = vb_meter_read (run->meter);
    g_clear_pointer (&run->meter, vb_meter_free);
  }
}

static gdouble
each (gint64 n, guint64 of)
{
  return of > 0 ? (gdouble) n / (gdouble) of : 0;
}

static void
print_text (const Run *run, const VbResult *r)
{
  gdouble ops = (gdouble) r->n_ops / r->seconds;

  printf ("%s %s, %" G_GUINT64_FORMAT " bytes, %u queues, depth %u\n",
          run->kind->name, run->work->name, run->options.bs,
          run->options.queues, run->options.depth);
  printf ("  %.0f operations/s, %.1f MiB/s, %.2f requests each\n", ops,
          (gdouble) r->n_bytes / r->seconds / (gdouble) MIB,
          each ((gint64) r->n_requests, r->n_ops));
  printf ("  latency us: p50 %.1f, p99 %.1f, p99.9 %.1f\n",
          (gdouble) r->p50_ns / 1e3, (gdouble) r->p99_ns / 1e3,
          (gdouble) r->p999_ns / 1e3);
  printf ("  back-end for each operation: %.2f us of processor, ",
          each (run->spent.cpu_ns, r->n_ops) / 1e3);
  if (run->spent.syscalls >= 0)
    printf ("%.2f system calls, ", each (run->spent.syscalls, r->n_ops));
  printf ("%.2f sleeps\n", each (run->spent.sleeps, r->n_ops));
}

static void
print_json (const Run *run, const VbResult *r, const Arguments *a)
{
  FILE *file = a->json != NULL ? fopen (a->json, "a") : NULL;
  g_autofree char *syscalls =
      run->spent.syscalls < 0
          ? g_strdup ("null")
          : g_strdup_printf ("%.4f", each (run->spent.syscalls, r->n_ops));

  if (a->json == NULL)
    return;
  if (file == NULL)
    die ("%s: %s", a->json, g_strerror (errno));
  fprintf (file,
           "{\"kind\": \"%s\", \"mix\": \"%s\", \"bs\": %" G_GUINT64_FORMAT
           ", \"queues\": %u, \"depth\": %u, \"poll\": %s, \"packed\": %s, "
           "\"seconds\": %.3f, \"ops\": %" G_GUINT64_FORMAT
           ", \"requests\": %" G_GUINT64_FORMAT ", \"ops_per_s\": %.1f, "
           "\"mib_per_s\": %.2f, \"p50_us\": %.2f, \"p99_us\": %.2f, "
           "\"p999_us\": %.2f, \"cpu_us_per_op\": %.4f, "
           "\"syscalls_per_op\": %s, \"sleeps_per_op\": %.4f}\n",
           run->kind->name, run->work->name, run->options.bs,
           run->options.queues, run->options.depth, a->poll ? "true" : "false",
           a->packed ? "true" : "false", r->seconds, r->n_ops, r->n_requests,
           (gdouble) r->n_ops / r->seconds,
           (gdouble) r->n_bytes / r->seconds / (gdouble) MIB,
           (gdouble) r->p50_ns / 1e3, (gdouble) r->p99_ns / 1e3,
           (gdouble) r->p999_ns / 1e3, each (run->spent.cpu_ns, r->n_ops) / 1e3,
           syscalls, each (run->spent.sleeps, r->n_ops));
  fclose (file);
}

int
main (int argc, char **argv)
{
  Arguments a = { .queues = 1,
                  .depth = 1,
                  .ring_size = 1024,
                  .files = 1000,
                  .seconds = 2,
                  .warm_up = 0.5 };
  Run run = { 0 };
  VbLoad load;
  VbResult result;

  parse (&a, &argc, &argv);
  choose (&run, argv[1], a.mix);
  take_options (&run, &a);
  run.syscalls = a.syscalls;
  connect_device (&run, &a);
  load = (VbLoad){ .work = run.work,
                   .guest = run.guest,
                   .n_lanes = run.options.queues,
                   .depth = run.options.depth,
                   .poll = a.poll,
                   .seconds = a.seconds };
  load.data = run.kind->open (run.fe, run.work, &run.options);
  load.warm_up = warm_up (&a);
  result =
      vb_load_run (&load, run.rings + run.kind->first_ring, on_measured, &run);
  run.kind->close (load.data);
  disconnect_device (&run);
  print_text (&run, &result);
  print_json (&run, &result, &a);
  clear_arguments (&a);
  return 0;
}
