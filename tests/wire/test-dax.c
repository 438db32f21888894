/* SPDX-License-Identifier: BSD-3-Clause
 *
 * test-dax.c - files in the guest's memory: the real daemon, and a front-end that
 * maps what it is given, or answers late, wrongly or not at all
 *
 * A guest's kernel takes no part: what it would load and store is what the
 * front-end has mapped.
 */
#include <errno.h>
#include <fcntl.h>
#include <glib/gstdio.h>
#include <poll.h>
#include <string.h>
#include <unistd.h>

#include "tests/devices/fs/fuse-client.h"
#include "tests/lib/machine.h"
#include "tests/lib/shmem.h"
#include "vring/fd.h"

#define PIECE    (2ull << 20)
#define N_PIECES 16u
#define READ     FUSE_SETUPMAPPING_FLAG_READ
#define WRITE    FUSE_SETUPMAPPING_FLAG_WRITE
#define DAX_INIT                                                               \
  (FUSE_INIT_EXT | FUSE_MAP_ALIGNMENT | FUSE_HAS_INODE_DAX | FUSE_MAX_PAGES)
#define BIT(n) (1ull << (n))
#define SHMEM  (BIT (VD_PROTOCOL_F_SHMEM) | BIT (VD_PROTOCOL_F_BACKEND_SEND_FD))

typedef struct {
  VtDaemon *daemon;
  VtMachine *machine;
  VtFuse fuse;
  VtWindow *window;
  char *share;
} Fixture;

/* A front-end comes, and its guest starts. */
static void
arrive (Fixture *f, guint64 features)
{
  VtFrontend *fe;

  vt_machine_connect (f->machine, f->daemon, "share", 0);
  fe = f->machine->fe;
  fe->resets = TRUE;
  g_assert_true (
      vt_set_protocol_features (fe, fe->protocol_features | features));
  if (fe->channel < 0)
    g_assert_true (vt_set_backend_req_fd (fe));
  if ((features & SHMEM) == SHMEM)
    f->window = vt_window_new (fe, 0, N_PIECES * PIECE);
  vt_machine_start (f->machine);
}

static void
leave (Fixture *f)
{
  g_clear_pointer (&f->window, vt_window_free);
  vt_machine_disconnect (f->machine);
}

static void
set_up (Fixture *f, gconstpointer data)
{
  f->daemon = vt_daemon_new ();
  f->share = vt_daemon_path (f->daemon, "share");
  g_assert_no_errno (g_mkdir (f->share, 0755));
  f->machine = vt_machine_new (VT_ORDER_QEMU_11,
                               VT_RING_EVENT_IDX | VT_RING_INDIRECT, 2, 64);
  vt_fuse_init_client (&f->fuse, f->machine->rings[1]);
  vt_daemon_add (f->daemon, "share", "fs", "source", f->share, "dax-size",
                 "32M", NULL);
  vt_daemon_start (f->daemon);
  arrive (f, SHMEM);
}

static void
tear_down (Fixture *f, gconstpointer data)
{
  leave (f);
  vt_machine_free (f->machine);
  vt_daemon_stop (f->daemon);
  vt_daemon_free (f->daemon);
  g_free (f->share);
}

/* Files. */

/* What byte @at of file @name is. */
static guint8
pattern (char name, guint64 at)
{
  return (guint8) (name * 31u + at / PIECE * 7 + at % 251);
}

/* Returns: (transfer full): a descriptor of a file of @len bytes of a pattern. */
static int
make_file (Fixture *f, char name, guint64 len)
{
  const char text[] = { name, '\0' };
  g_autofree char *path = g_build_filename (f->share, text, NULL);
  g_autofree guint8 *bytes = g_malloc (len);
  int fd = open (path, O_RDWR | O_CREAT | O_TRUNC | O_CLOEXEC, 0644);

  for (guint64 i = 0; i < len; i++)
    bytes[i] = pattern (name, i);
  g_assert_cmpint (write (fd, bytes, len), ==, len);
  return fd;
}

static void
put_file (Fixture *f, char name, guint64 len)
{
  close (make_file (f, name, len));
}

/* Mounts, and finds a file. */
static guint64
begin (Fixture *f, const char *name)
{
  struct fuse_attr attr;
  guint64 nodeid;

  g_assert_cmpint (vt_fuse_init (&f->fuse, DAX_INIT), ==, 0);
  g_assert_cmphex (f->fuse.flags, ==, DAX_INIT);
  g_assert_cmpint (vt_fuse_lookup (&f->fuse, 1, name, &nodeid, &attr), ==, 0);
  g_assert_cmphex (attr.flags & FUSE_ATTR_DAX, ==, FUSE_ATTR_DAX);
  return nodeid;
}

static guint64
begin_with_a_file (Fixture *f)
{
  put_file (f, 'a', PIECE);
  return begin (f, "a");
}

static VtFuseCall
start_setup (Fixture *f, guint64 nodeid, guint piece, guint64 foffset,
             guint64 flags)
{
  const struct fuse_setupmapping_in in = {
    .fh = G_MAXUINT64,
    .foffset = foffset,
    .len = PIECE,
    .flags = flags,
    .moffset = piece * PIECE,
  };

  return vt_fuse_start_setup (&f->fuse, nodeid, &in);
}

/* Serves the front-end's part until the request is answered with @error. */
static void
finish (Fixture *f, VtFuseCall call, int error)
{
  struct pollfd pfds[] = {
    { .fd = f->machine->fe->channel, .events = POLLIN },
    { .fd = f->fuse.ring->call_read_fd, .events = POLLIN },
  };

  while (!vt_fuse_try_end (&f->fuse, &call, error)) {
    g_assert_cmpint (poll (pfds, 2, VT_TIMEOUT_MS), >, 0);
    if (pfds[0].revents != 0)
      vt_window_serve (f->window, 1);
    else
      vt_ring_drain_calls (f->fuse.ring);
  }
}

static void
map (Fixture *f, guint64 nodeid, guint piece, guint64 foffset, guint64 flags)
{
  finish (f, start_setup (f, nodeid, piece, foffset, flags), 0);
}

static void
unmap (Fixture *f, guint piece, guint n)
{
  finish (f, vt_fuse_start_remove (&f->fuse, piece * PIECE, n * PIECE), 0);
}

static guint8
byte_at (Fixture *f, guint64 offset)
{
  guint8 byte;

  g_assert_true (vt_window_read (f->window, offset, &byte, 1));
  return byte;
}

static gboolean
is_mapped (Fixture *f, guint piece)
{
  guint8 byte;

  return vt_window_read (f->window, piece * PIECE, &byte, 1);
}

/* What is seen. */

static void
test_a_mapped_file_is_seen (Fixture *f, gconstpointer data)
{
  vd_autofd fd = make_file (f, 'a', 2 * PIECE + 5000);
  guint64 nodeid = begin (f, "a");
  guint8 byte;

  map (f, nodeid, 3, 0, READ);
  map (f, nodeid, 7, 2 * PIECE, READ);
  for (guint64 at = 0; at < PIECE; at += 4999)
    g_assert_cmpuint (byte_at (f, 3 * PIECE + at), ==, pattern ('a', at));
  g_assert_cmpuint (byte_at (f, 7 * PIECE + 4999), ==,
                    pattern ('a', 2 * PIECE + 4999));
  g_assert_false (is_mapped (f, 4));
  byte = 0x5a; /* the host writes */
  g_assert_cmpint (pwrite (fd, &byte, 1, 17), ==, 1);
  g_assert_cmpuint (byte_at (f, 3 * PIECE + 17), ==, 0x5a);
  g_assert_false (vt_window_write (f->window, 3 * PIECE, &byte, 1));
  unmap (f, 3, 1);
  g_assert_false (is_mapped (f, 3));
  g_assert_true (is_mapped (f, 7));
  g_assert_cmpuint (f->window->n_refused, ==, 0);
}

static void
test_stores_reach_the_file (Fixture *f, gconstpointer data)
{
  vd_autofd fd = make_file (f, 'a', PIECE);
  guint64 nodeid = begin (f, "a"), fh;
  char seen[6] = "";

  map (f, nodeid, 0, 0, READ); /* Linux first reads, then upgrades */
  map (f, nodeid, 0, 0, READ | WRITE);
  g_assert_true (vt_window_write (f->window, 4090, "stored", 6));
  g_assert_cmpint (pread (fd, seen, 6, 4090), ==, 6);
  g_assert_cmpmem (seen, 6, "stored", 6);
  g_assert_cmpint (vt_fuse_open (&f->fuse, nodeid, O_RDWR, &fh, NULL), ==, 0);
  g_assert_cmpint (vt_fuse_read (&f->fuse, nodeid, fh, 4090, seen, 6), ==, 6);
  g_assert_cmpmem (seen, 6, "stored", 6);
  g_assert_cmpint (vt_fuse_write (&f->fuse, nodeid, fh, 0, "asked", 5), ==, 5);
  g_assert_cmpuint (byte_at (f, 0), ==, 'a');
  g_assert_cmpuint (f->window->n_refused, ==, 0);
}

/* The file is opened by the daemon for the mapping, so it has no name, no open
 * file and no lookup to lean on. */
static void
test_a_mapping_outlives_its_file (Fixture *f, gconstpointer data)
{
  guint64 nodeid = begin_with_a_file (f);

  map (f, nodeid, 0, 0, READ);
  g_assert_cmpint (vt_fuse_unlink (&f->fuse, 1, "a"), ==, 0);
  vt_fuse_forget (&f->fuse, nodeid, 1);
  g_assert_cmpint (vt_fuse_getattr (&f->fuse, 1, NULL), ==, 0);
  g_assert_cmpuint (byte_at (f, 99), ==, pattern ('a', 99));
}

static void
test_a_truncated_file_is_the_guests_trouble (Fixture *f, gconstpointer data)
{
  vd_autofd fd = make_file (f, 'a', PIECE);
  guint64 nodeid = begin (f, "a");
  guint8 byte;

  map (f, nodeid, 0, 0, READ | WRITE);
  g_assert_no_errno (ftruncate (fd, 4096));
  g_assert_cmpuint (byte_at (f, 4095), ==, pattern ('a', 4095));
  g_assert_false (vt_window_read (f->window, 4096, &byte, 1));
  g_assert_no_errno (ftruncate (fd, 8192));
  g_assert_cmpuint (byte_at (f, 4096), ==, 0);
  map (f, nodeid, 1, 8 * PIECE, READ); /* far beyond its end */
  g_assert_cmpint (vt_fuse_getattr (&f->fuse, nodeid, NULL), ==, 0);
  unmap (f, 0, 2);
}

/* What each place shows, against a model, through a front-end that closes the
 * channel of who breaks its rules. */
static void
test_thousands_of_mappings_in_any_order (Fixture *f, gconstpointer data)
{
  char shown[N_PIECES] = { 0 };
  guint64 offsets[N_PIECES] = { 0 }, nodeids[2];

  put_file (f, 'a', 3 * PIECE);
  put_file (f, 'b', 3 * PIECE);
  nodeids[0] = begin (f, "a");
  g_assert_cmpint (vt_fuse_lookup (&f->fuse, 1, "b", &nodeids[1], NULL), ==, 0);
  for (guint i = 0; i < 3000; i++) {
    guint piece = (guint) g_test_rand_int_range (0, N_PIECES);
    guint file = (guint) g_test_rand_int_range (0, 2);

    if (g_test_rand_int_range (0, 3) == 0) {
      guint n = (guint) g_test_rand_int_range (1, (int) (N_PIECES - piece) + 1);

      unmap (f, piece, n);
      memset (shown + piece, 0, n);
    } else {
      offsets[piece] = (guint) g_test_rand_int_range (0, 3) * PIECE;
      map (f, nodeids[file], piece, offsets[piece],
           g_test_rand_int_range (0, 2) != 0 ? READ | WRITE : READ);
      shown[piece] = (char) ('a' + file);
    }
    for (guint p = 0; i % 16 == 0 && p < N_PIECES; p++) {
      if (shown[p] == 0)
        g_assert_false (is_mapped (f, p));
      else
        g_assert_cmpuint (byte_at (f, p * PIECE + i), ==,
                          pattern (shown[p], offsets[p] + i));
    }
  }
  g_assert_cmpuint (f->window->n_refused, ==, 0);
}

/* Lives. */

static void
test_the_window_is_empty_after_unmounting (Fixture *f, gconstpointer data)
{
  guint64 nodeid = begin_with_a_file (f);

  for (guint i = 0; i < 4; i++)
    map (f, nodeid, 3 * i, 0, READ);
  g_assert_cmpint (vt_fuse_destroy (&f->fuse), ==, 0);
  vt_window_serve (f->window, 4);
  g_assert_cmpuint (g_hash_table_size (f->window->mapped), ==, 0);
  nodeid = begin (f, "a");
  map (f, nodeid, 3, 0, READ);
  g_assert_cmpuint (f->window->n_refused, ==, 0);
}

/* Load decides how many threads there are, and each bench of the engine keeps a
 * descriptor; one that leaks with each life makes more than these. */
#define BENCHES 8

static void
wait_descriptors (Fixture *f, guint n)
{
  vt_daemon_wait_usage (f->daemon,
                        (VtUsage){ n + BENCHES, G_MAXINT, G_MAXINT });
}

/* Guests reset their device, and front-ends their window with it. */
static void
test_reboots_leave_nothing (Fixture *f, gconstpointer data)
{
  VtUsage warm = { 0 };

  put_file (f, 'a', PIECE);
  for (guint i = 0; i < 50; i++) {
    guint64 nodeid = begin (f, "a");

    for (guint j = 0; j < 4; j++)
      map (f, nodeid, j, 0, READ);
    start_setup (f, nodeid, 1, 0, READ); /* and one that is not served */
    g_assert_true (vt_wait_readable (f->machine->fe->channel, VT_TIMEOUT_MS));
    vt_machine_stop (f->machine);
    vt_window_serve_rest (f->window);
    vt_window_reset (f->window);
    vt_machine_start (f->machine);
    if (i == 5)
      warm = vt_daemon_usage (f->daemon);
  }
  wait_descriptors (f, warm.n_fds);
}

static void
test_a_front_end_without_regions_has_no_window (Fixture *f, gconstpointer data)
{
  const guint64 lacking[] = { 0, BIT (VD_PROTOCOL_F_BACKEND_SEND_FD) };
  struct fuse_attr attr;
  VtFuseCall call;
  guint64 nodeid;

  put_file (f, 'a', PIECE);
  for (guint i = 0; i < G_N_ELEMENTS (lacking); i++) {
    leave (f);
    arrive (f, lacking[i]);
    g_assert_cmphex (
        f->machine->fe->protocol_features & BIT (VD_PROTOCOL_F_SHMEM), ==, 0);
    g_assert_cmpint (vt_fuse_init (&f->fuse, DAX_INIT), ==, 0);
    g_assert_cmphex (f->fuse.flags, ==, FUSE_INIT_EXT | FUSE_MAX_PAGES);
    g_assert_cmpint (vt_fuse_lookup (&f->fuse, 1, "a", &nodeid, &attr), ==, 0);
    g_assert_cmphex (attr.flags, ==, 0);
    call = start_setup (f, nodeid, 0, 0, READ);
    vt_fuse_end (&f->fuse, &call, -ENOSYS);
  }
}

/* Front-ends that fail. */

static void
test_a_silent_front_end_holds_up_nobody (Fixture *f, gconstpointer data)
{
  guint64 nodeid = begin_with_a_file (f);
  VtFuseCall call = start_setup (f, nodeid, 0, 0, READ);
  VtShmQuestion q = vt_shm_receive (f->machine->fe);

  vd_clear_fd (&q.fd);
  g_assert_cmpint (vt_fuse_getattr (&f->fuse, nodeid, NULL), ==, 0);
  vt_barrier (f->machine->fe);
  vt_get_vring_base (f->machine->fe, f->fuse.ring->index);
  vt_fuse_end (&f->fuse, &call, -EAGAIN);
}

static void
test_a_front_end_that_leaves_owes_nothing (Fixture *f, gconstpointer data)
{
  VtUsage usage = { 0 };

  put_file (f, 'a', PIECE);
  for (guint i = 0; i < 20; i++) {
    guint64 nodeid = begin (f, "a");

    for (guint j = 0; j < 8; j++)
      start_setup (f, nodeid, j % 3, 0, READ);
    if (i % 2 == 0) { /* else the questions are still on their way */
      VtShmQuestion q = vt_shm_receive (f->machine->fe);

      vd_clear_fd (&q.fd);
    }
    leave (f);
    arrive (f, SHMEM);
    if (i == 4)
      usage = vt_daemon_usage (f->daemon);
  }
  wait_descriptors (f, usage.n_fds);
}

static void
test_a_lost_channel_is_an_io_error (Fixture *f, gconstpointer data)
{
  guint64 nodeid = begin_with_a_file (f);
  VtFuseCall call;

  map (f, nodeid, 0, 0, READ);
  call = start_setup (f, nodeid, 1, 0, READ);
  vd_clear_fd (&f->machine->fe->channel);
  vt_fuse_end (&f->fuse, &call, -EIO);
  call = start_setup (f, nodeid, 1, 0, READ);
  vt_fuse_end (&f->fuse, &call, -EIO);
  g_assert_true (vt_set_backend_req_fd (f->machine->fe));
  map (f, nodeid, 1, 0, READ);
  map (f, nodeid, 0, 0, READ); /* what was there is known */
  g_assert_cmpuint (f->window->n_refused, ==, 0);
}

/* An answer must not be taken for that of a question yet to come.  One barrier
 * may be answered in the turn that finds both sockets readable, before the
 * channel is read. */
static void
let_channel_be_read (VtFrontend *fe)
{
  vt_barrier (fe);
  vt_barrier (fe);
}

static void
test_refusals_and_forged_answers_are_survived (Fixture *f, gconstpointer data)
{
  guint64 nodeid = begin_with_a_file (f);
  VtFrontend *fe = f->machine->fe;
  const guint64 refusals[] = { 1, G_MAXUINT64, 1ull << 32 };

  for (guint i = 0; i < G_N_ELEMENTS (refusals); i++) {
    VtFuseCall call = start_setup (f, nodeid, 0, 0, READ);
    VtShmQuestion q = vt_shm_receive (fe);

    vd_clear_fd (&q.fd);
    vt_shm_send_answer (fe, VD_BACKEND_SHMEM_UNMAP, 0, 8); /* not asked for */
    vt_shm_send_answer (fe, VD_BACKEND_CONFIG_CHANGE_MSG, 0, 8);
    vt_shm_answer (fe, &q, refusals[i]);
    vt_fuse_end (&f->fuse, &call, -EIO);
    vt_shm_send_answer (fe, VD_BACKEND_SHMEM_MAP, 0, 8); /* again */
    let_channel_be_read (fe);
  }
  vt_daemon_wait_log (f->daemon,
                      "share: the front-end refused SHMEM_MAP of region 0");
  map (f, nodeid, 0, 0, READ);
  g_assert_cmpuint (byte_at (f, 1), ==, pattern ('a', 1));
  g_assert_cmpuint (f->window->n_refused, ==, 0);
}

int
main (int argc, char **argv)
{
  g_test_init (&argc, &argv, NULL);
#define ADD(name, func)                                                        \
  g_test_add ("/dax/" name, Fixture, NULL, set_up, func, tear_down)
  ADD ("seen", test_a_mapped_file_is_seen);
  ADD ("stores", test_stores_reach_the_file);
  ADD ("unlinked", test_a_mapping_outlives_its_file);
  ADD ("truncated", test_a_truncated_file_is_the_guests_trouble);
  ADD ("any-order", test_thousands_of_mappings_in_any_order);
  ADD ("unmount", test_the_window_is_empty_after_unmounting);
  ADD ("reboots", test_reboots_leave_nothing);
  ADD ("no-regions", test_a_front_end_without_regions_has_no_window);
  ADD ("silent", test_a_silent_front_end_holds_up_nobody);
  ADD ("leaves", test_a_front_end_that_leaves_owes_nothing);
  ADD ("channel", test_a_lost_channel_is_an_io_error);
  ADD ("forged", test_refusals_and_forged_answers_are_survived);
  return g_test_run ();
}
