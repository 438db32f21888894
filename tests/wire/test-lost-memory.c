/* SPDX-License-Identifier: BSD-3-Clause
 *
 * test-lost-memory.c - memory that a front-end truncated is met by a system call
 * first: every engine breaks the guest's queues, and no other guest's
 */
#include <fcntl.h>
#include <glib/gstdio.h>
#include <linux/fuse.h>
#include <string.h>
#include <unistd.h>

#include "build-options.h"
#include "tests/lib/blk.h"
#include "tests/lib/machine.h"
#include "vring/fd.h"

#if VD_HAVE_FS
#include "tests/devices/fs/fuse-client.h"
#endif

#define IMAGE (1u << 20)
#define LEN   (64u << 10) /* bytes of a request */

/* What a queue says. */
#define REASON "is broken: the front-end truncated guest memory"

typedef struct {
  VtDaemon *daemon;
  VtMachine *machine;
  VtRegion *data;     /* of the machine, and truncated in time */
  VtFrontend *sister; /* the machine's other device */
  VtRing *sister_ring;
  VtMachine *witness; /* another guest */
} Fixture;

/* A way to make the device access f->data by a system call. */
typedef struct {
  const char *id;
  guint ring; /* of the device */
  void (*submit) (Fixture *f);
  gboolean writes; /* to a disk, which must not change */
} Way;

static void
add_disk (Fixture *f, const char *id, const char *engine, const char *cache)
{
  g_autofree char *name = g_strconcat (id, ".img", NULL);
  g_autofree char *image = vt_daemon_image (f->daemon, name, IMAGE);

  vt_daemon_add (f->daemon, id, "blk", "image", image, "engine", engine,
                 "cache", cache, NULL);
}

/* Whether the file system of the daemon's folder knows O_DIRECT. */
static gboolean
has_direct (void)
{
  vd_autofd fd =
      open (g_get_tmp_dir (), O_TMPFILE | O_RDWR | O_DIRECT | O_CLOEXEC, 0600);

  return fd >= 0;
}

static void
add_devices (Fixture *f)
{
  g_autofree char *source = vt_daemon_image (f->daemon, "source", IMAGE);
  g_autofree char *source_key = g_strconcat ("source=file:", source, NULL);
  g_autofree char *sink = vt_daemon_path (f->daemon, "sink");
  g_autofree char *sink_key = g_strconcat ("sink=file:", sink, NULL);

  add_disk (f, "auto", "auto", "writeback");
  add_disk (f, "threads", "threads", "writeback");
  add_disk (f, "uring", "io_uring", "writeback");
  if (has_direct ())
    add_disk (f, "direct", "io_uring", "none");
  add_disk (f, "witness", "auto", "writeback");
  vt_daemon_add (f->daemon, "toy", "generic", "virtio-id", "42", "queues", "3",
                 "queue.0", source_key, "queue.1", sink_key, "queue.2",
                 "source=random", NULL);
  vt_daemon_add (f->daemon, "sister", "generic", "virtio-id", "43", NULL);
#if VD_HAVE_FS
  g_autofree char *share = vt_daemon_path (f->daemon, "share");
  g_autofree char *file = g_build_filename (share, "file", NULL);

  g_assert_no_errno (g_mkdir (share, 0755));
  g_assert_true (g_file_set_contents (file, "12345678", 8, NULL));
  g_assert_no_errno (truncate (file, IMAGE));
  vt_daemon_add (f->daemon, "share", "fs", "source", share, NULL);
#endif
}

static void
start_machine (Fixture *f, const char *id)
{
  VtGuest *guest;
  VtRegion *usual;

  f->machine = vt_machine_new (VT_ORDER_QEMU_11, 0, 3, 64);
  guest = f->machine->guest;
  usual = guest->current;
  f->data = vt_guest_add (guest, 1ull << 33, 1ull << 45, IMAGE, 0);
  guest->current = usual;
  if (!g_str_equal (id, "toy"))
    f->machine->n_rings = 2;
  vt_machine_connect (f->machine, f->daemon, id, 0);
  vt_machine_start (f->machine);
  f->sister_ring = vt_ring_new (guest, 0, 64, 0);
  f->sister = vt_daemon_connect (f->daemon, "sister");
  vt_frontend_hello (f->sister, VT_ORDER_QEMU_11, guest, &f->sister_ring, 1);
  vt_frontend_start (f->sister);
}

static void
set_up (Fixture *f, gconstpointer data)
{
  const Way *way = data;

  f->daemon = vt_daemon_new ();
  add_devices (f);
  vt_daemon_start (f->daemon);
  start_machine (f, way->id);
  f->witness = vt_machine_new (VT_ORDER_QEMU_11, 0, 1, 64);
  vt_machine_connect (f->witness, f->daemon, "witness", 0);
  vt_machine_start (f->witness);
}

static void
tear_down (Fixture *f, gconstpointer data)
{
  vt_frontend_free (f->sister);
  vt_ring_free (f->sister_ring);
  f->machine->n_rings = 3;
  vt_machine_free (f->machine);
  vt_machine_free (f->witness);
  vt_daemon_stop (f->daemon);
  vt_daemon_free (f->daemon);
}

/* --- Requests whose data nobody but the kernel touches --- */

static void
submit (VtRing *ring, const VtBuf *bufs, guint n)
{
  g_assert_true (vt_ring_add (ring, bufs, n, ring));
  vt_ring_publish (ring);
  vt_ring_kick_always (ring);
}

/* @shift: bytes of the data's address into its page */
static void
submit_blk (Fixture *f, guint32 type, guint shift)
{
  struct virtio_blk_outhdr *header =
      vt_guest_alloc (f->machine->guest, sizeof *header, 16);
  guint8 *status = vt_guest_alloc (f->machine->guest, 1, 1);
  const VtBuf bufs[] = {
    { header, sizeof *header, FALSE },
    { f->data->ptr + shift, LEN, type == VIRTIO_BLK_T_IN },
    { status, 1, TRUE },
  };

  header->type = GUINT32_TO_LE (type);
  submit (f->machine->rings[0], bufs, 3);
}

static void
submit_blk_read (Fixture *f)
{
  submit_blk (f, VIRTIO_BLK_T_IN, 0);
}

static void
submit_blk_write (Fixture *f)
{
  submit_blk (f, VIRTIO_BLK_T_OUT, 0);
}

/* O_DIRECT does not take such an address: the data are copied first. */
static void
submit_blk_odd_write (Fixture *f)
{
  submit_blk (f, VIRTIO_BLK_T_OUT, 1);
}

static void
submit_source (Fixture *f)
{
  submit (f->machine->rings[0], &(VtBuf){ f->data->ptr, LEN, TRUE }, 1);
}

static void
submit_sink (Fixture *f)
{
  submit (f->machine->rings[1], &(VtBuf){ f->data->ptr, LEN, FALSE }, 1);
}

static void
submit_random (Fixture *f)
{
  submit (f->machine->rings[2], &(VtBuf){ f->data->ptr, LEN, TRUE }, 1);
}

#if VD_HAVE_FS

/* Opens the file for @flags and sends a message for it. */
static void
submit_fuse (Fixture *f, guint32 opcode, guint32 flags)
{
  struct {
    struct fuse_in_header in;
    struct fuse_read_in args; /* as long as fuse_write_in, and laid out so */
  } *message = vt_guest_alloc (f->machine->guest, sizeof *message, 8);
  struct fuse_out_header *out =
      vt_guest_alloc (f->machine->guest, sizeof *out + 8, 8);
  gboolean reads = opcode == FUSE_READ;
  const VtBuf bufs[] = {
    { message, sizeof *message, FALSE },
    { reads ? (guint8 *) out : f->data->ptr, reads ? sizeof *out : LEN, reads },
    { reads ? f->data->ptr : (guint8 *) out, reads ? LEN : sizeof *out + 8,
      TRUE },
  };
  VtFuse fuse;
  guint64 nodeid, fh;

  vt_fuse_init_client (&fuse, f->machine->rings[1]);
  g_assert_cmpint (vt_fuse_init (&fuse, 0), ==, 0);
  g_assert_cmpint (vt_fuse_lookup (&fuse, 1, "file", &nodeid, NULL), ==, 0);
  g_assert_cmpint (vt_fuse_open (&fuse, nodeid, flags, &fh, NULL), ==, 0);
  message->in = (struct fuse_in_header){
    .len = sizeof *message + (reads ? 0 : LEN),
    .opcode = opcode,
    .unique = 77,
    .nodeid = nodeid,
  };
  message->args = (struct fuse_read_in){ .fh = fh, .size = LEN };
  submit (f->machine->rings[1], bufs, 3);
}

static void
submit_fuse_read (Fixture *f)
{
  submit_fuse (f, FUSE_READ, O_RDONLY);
}

static void
submit_fuse_write (Fixture *f)
{
  submit_fuse (f, FUSE_WRITE, O_RDWR);
}

/* Waits for the disk, so it is handed over. */
static void
submit_fuse_write_sync (Fixture *f)
{
  submit_fuse (f, FUSE_WRITE, O_RDWR | O_DSYNC);
}

#endif

/* --- What comes of it --- */

static void
check_witness (Fixture *f)
{
  VtRing *ring = f->witness->rings[0];
  guint8 out[4096], in[sizeof out];

  for (guint i = 0; i < sizeof out; i++)
    out[i] = (guint8) g_test_rand_int ();
  g_assert_cmpuint (vt_blk_write (ring, 8, out, sizeof out), ==,
                    VIRTIO_BLK_S_OK);
  g_assert_cmpuint (vt_blk_read (ring, 8, in, sizeof in), ==, VIRTIO_BLK_S_OK);
  g_assert_cmpmem (in, sizeof in, out, sizeof out);
}

/* No zero took the place of what was lost. */
static void
check_disk_unchanged (Fixture *f, const char *id)
{
  g_autofree char *name = g_strconcat (id, ".img", NULL);

  vt_daemon_check_image (f->daemon, name);
}

/* Waits for the lines that say so, and counts them. */
static void
check_log (Fixture *f, const Way *way)
{
  g_autofree char *device =
      g_strdup_printf ("%s: queue %u " REASON, way->id, way->ring);
  g_autofree char *log = NULL;
  g_auto (GStrv) parts = NULL;

  vt_daemon_wait_log (f->daemon, device);
  vt_daemon_wait_log (f->daemon, "sister: queue 0 " REASON);
  log = vt_daemon_log (f->daemon);
  parts = g_strsplit (log, REASON, -1);
  g_assert_cmpuint (g_strv_length (parts) - 1, ==, 2);
}

static void
test_a_system_call_that_meets_it_breaks_the_guest (Fixture *f,
                                                   gconstpointer data)
{
  const Way *way = data;
  VtRing *ring = f->machine->rings[way->ring];

  g_assert_no_errno (ftruncate (f->data->fd, 0));
  way->submit (f);
  g_assert_true (vt_ring_wait_error (ring, VT_TIMEOUT_MS));
  vt_ring_kick_always (f->sister_ring);
  g_assert_true (vt_ring_wait_error (f->sister_ring, VT_TIMEOUT_MS));
  check_witness (f);
  check_log (f, way);
  vt_barrier (f->machine->fe);
  vt_barrier (f->sister);
  if (way->writes)
    check_disk_unchanged (f, way->id);
}

int
main (int argc, char **argv)
{
  static const Way ways[] = {
    { "auto", 0, submit_blk_read, FALSE },
    { "auto", 0, submit_blk_write, TRUE },
    { "threads", 0, submit_blk_read, FALSE },
    { "threads", 0, submit_blk_write, TRUE },
    { "uring", 0, submit_blk_read, FALSE },
    { "uring", 0, submit_blk_write, TRUE },
    { "direct", 0, submit_blk_read, FALSE },
    { "direct", 0, submit_blk_write, TRUE },
    { "direct", 0, submit_blk_odd_write, TRUE },
    { "toy", 0, submit_source, FALSE },
    { "toy", 1, submit_sink, FALSE },
    { "toy", 2, submit_random, FALSE },
#if VD_HAVE_FS
    { "share", 1, submit_fuse_read, FALSE },
    { "share", 1, submit_fuse_write, FALSE },
    { "share", 1, submit_fuse_write_sync, FALSE },
#endif
  };

  g_test_init (&argc, &argv, NULL);
  for (guint i = 0; i < G_N_ELEMENTS (ways); i++) {
    g_autofree char *path =
        g_strdup_printf ("/lost-memory/%s/%u", ways[i].id, i);

    if (g_str_equal (ways[i].id, "direct") && !has_direct ())
      continue;
    g_test_add (path, Fixture, &ways[i], set_up,
                test_a_system_call_that_meets_it_breaks_the_guest, tear_down);
  }
  return g_test_run ();
}
