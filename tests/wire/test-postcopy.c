/* SPDX-License-Identifier: BSD-3-Clause
 *
 * test-postcopy.c - a guest that runs before its memory has come: pages are
 * brought when a queue waits for them, or never
 */
#include <fcntl.h>
#include <glib/gstdio.h>
#include <string.h>
#include <sys/eventfd.h>
#include <unistd.h>

#include "build-options.h"
#include "tests/lib/blk.h"
#include "tests/lib/daemon.h"
#include "tests/lib/pager.h"
#include "vring/fd.h"

#if VD_HAVE_FS
#include "tests/devices/fs/fuse-client.h"
#endif

#define IMAGE   (1u << 20)
#define MEMORY  (4u << 20)
#define RING    64u
#define N_DISKS 3

#define STALL_MS 100 /* in which nothing must happen */

#define BIT(n)   (1ull << (n))
#define FEATURES (0xffffff | BIT (28) | BIT (VD_F_PROTOCOL_FEATURES) | BIT (32))
#define PROTOCOL_FEATURES                                                      \
  (BIT (VD_PROTOCOL_F_MQ) | BIT (VD_PROTOCOL_F_REPLY_ACK) |                    \
   BIT (VD_PROTOCOL_F_CONFIGURE_MEM_SLOTS) | BIT (VD_PROTOCOL_F_PAGEFAULT))

/* Disks, by the engine that meets missing pages. */
static const char *const engines[N_DISKS] = { "auto", "threads", "io_uring" };

/* What a test is given. */
typedef struct {
  const char *engine;
  gboolean table; /* SET_MEM_TABLE, not ADD_MEM_REG */
} Way;

typedef struct {
  VtDaemon *daemon;
  VtFrontend *fe;
  VtGuest *guest;
  VtRing *ring;
  VtPager *pager;
  VtBlkRequest *request; /* its data are a page of their own */
  VtFrontend *other;     /* another guest on another disk */
  VtGuest *other_guest;
  VtRing *other_ring;
  VtUsage usage; /* with the other guest alone */
} Fixture;

static VtFrontend *
hello (Fixture *f, const char *id)
{
  VtFrontend *fe = vt_daemon_connect (f->daemon, id);
  guint64 offered;

  vt_set_owner (fe);
  vt_get_features (fe);
  offered = vt_get_protocol_features (fe);
  g_assert_true (vt_set_protocol_features (fe, offered & PROTOCOL_FEATURES));
  fe->reply_mode = VT_REPLY_SETS;
  g_assert_true (vt_set_features (fe, fe->features & FEATURES));
  return fe;
}

static void
describe (VtFrontend *fe, VtRing *ring)
{
  g_assert_true (vt_set_vring_num (fe, ring->index, ring->size));
  g_assert_true (vt_set_vring_base (fe, ring->index, 0));
  g_assert_true (vt_set_vring_addr (fe, ring));
  g_assert_true (vt_set_vring_call (fe, ring->index, ring->call_fd));
  g_assert_true (vt_set_vring_err (fe, ring->index, ring->err_fd));
  g_assert_true (vt_set_vring_kick (fe, ring->index, ring->kick_fd));
}

static void
send_enable (VtFrontend *fe, guint index)
{
  const VdWireVringState state = { index, 1 };

  g_assert_true (vt_send (fe, VD_SET_VRING_ENABLE,
                          VD_WIRE_VERSION | VD_FLAG_NEED_REPLY, &state,
                          sizeof state, NULL, 0));
}

static void
start_other (Fixture *f)
{
  f->other_guest = vt_guest_new (MEMORY);
  f->other_ring = vt_ring_new (f->other_guest, 0, RING, 0);
  f->other = hello (f, "other");
  g_assert_true (vt_set_mem_table (f->other, f->other_guest, 1));
  describe (f->other, f->other_ring);
  g_assert_true (vt_set_vring_enable (f->other, 0, TRUE));
}

static void
set_up (Fixture *f, gconstpointer data)
{
  f->daemon = vt_daemon_new ();
  for (guint i = 0; i < N_DISKS + 1; i++) {
    const char *id = i < N_DISKS ? engines[i] : "other";
    g_autofree char *name = g_strconcat (id, ".img", NULL);
    g_autofree char *image = vt_daemon_image (f->daemon, name, IMAGE);

    vt_daemon_add (f->daemon, id, "blk", "image", image, "engine",
                   i < N_DISKS ? id : "auto", "postcopy", "yes", NULL);
  }
  vt_daemon_add (f->daemon, "careful", "generic", "virtio-id", "42", NULL);
#if VD_HAVE_FS
  g_autofree char *share = vt_daemon_path (f->daemon, "share");

  g_assert_no_errno (g_mkdir (share, 0755));
  vt_daemon_add (f->daemon, "share", "fs", "source", share, "postcopy", "yes",
                 NULL);
#endif
  vt_daemon_start (f->daemon);
  start_other (f);
  f->usage = vt_daemon_usage (f->daemon);
  f->usage.n_maps += VT_MAPS_SLACK;
  f->usage.n_threads += 8; /* a device's idle threads stay for some seconds */
  f->guest = vt_guest_new (MEMORY);
  f->ring = vt_ring_new (f->guest, 0, RING, 0);
  f->pager = vt_pager_new (f->guest);
}

static void
tear_down (Fixture *f, gconstpointer data)
{
  vt_frontend_free (f->fe);
  vt_pager_free (f->pager);
  vt_ring_free (f->ring);
  vt_guest_free (f->guest);
  g_free (f->request);
  vt_frontend_free (f->other);
  vt_ring_free (f->other_ring);
  vt_guest_free (f->other_guest);
  if (f->daemon->pid != 0)
    vt_daemon_stop (f->daemon);
  vt_daemon_free (f->daemon);
}

/* Publishes a request whose data are a page of their own, which is full of 'n'
 * for "new" if it is a write. */
static void
publish_request (Fixture *f, guint32 type)
{
  f->request = vt_blk_request_new (f->guest, type, 8, VT_PAGE);
  f->request->data = vt_guest_alloc (f->guest, VT_PAGE, VT_PAGE);
  memset (f->request->data, type == VIRTIO_BLK_T_OUT ? 'n' : 0, VT_PAGE);
  g_assert_true (vt_blk_add (f->ring, f->request));
  vt_ring_publish (f->ring);
}

/* The guest arrives: all of its memory is still elsewhere. */
static void
arrive (Fixture *f, const Way *way)
{
  f->fe = hello (f, way->engine);
  vt_pager_advise (f->pager, f->fe);
  vt_pager_listen (f->pager, f->fe);
  vt_pager_take_away (f->pager);
  vt_pager_share (f->pager, f->fe, way->table, TRUE);
}

/* It goes on running; the answer to ENABLE waits for pages of the ring. */
static void
run (Fixture *f)
{
  describe (f->fe, f->ring);
  send_enable (f->fe, 0);
  g_assert_no_errno (eventfd_write (f->ring->kick_fd, 1));
}

static void
check_other (Fixture *f)
{
  guint8 out[512], in[sizeof out];

  memset (out, g_test_rand_int () & 0xff, sizeof out);
  vt_barrier (f->other);
  g_assert_cmpuint (vt_blk_write (f->other_ring, 3, out, sizeof out), ==,
                    VIRTIO_BLK_S_OK);
  g_assert_cmpuint (vt_blk_read (f->other_ring, 3, in, sizeof in), ==,
                    VIRTIO_BLK_S_OK);
  g_assert_cmpmem (in, sizeof in, out, sizeof out);
}

/* Waits for the request and checks what it moved. */
static void
take_request (Fixture *f, const Way *way, gboolean writes)
{
  g_autofree char *name = g_strconcat (way->engine, ".img", NULL);
  g_autofree char *path = vt_daemon_path (f->daemon, name);
  g_autofree char *image = NULL;

  /* Pages that were not brought must not be touched. */
  g_assert_true (vt_wait_readable (f->ring->call_read_fd, VT_TIMEOUT_MS));
  g_assert_true (vt_ring_take (f->ring, NULL) == f->request);
  g_assert_cmpuint (*f->request->status, ==, VIRTIO_BLK_S_OK);
  g_assert_true (g_file_get_contents (path, &image, NULL, NULL));
  if (!writes)
    g_assert_cmpmem (f->request->data, VT_PAGE, image + 8 * 512, VT_PAGE);
  for (guint i = 0; writes && i < VT_PAGE; i++)
    g_assert_cmpint (image[8 * 512 + i], ==, 'n');
}

static void
arrive_and_serve (Fixture *f, const Way *way, guint32 type)
{
  publish_request (f, type);
  arrive (f, way);
  vt_pager_start (f->pager, NULL);
  run (f);
  g_assert_cmpuint (vt_receive_ack (f->fe, VD_SET_VRING_ENABLE), ==, 0);
  take_request (f, way, type == VIRTIO_BLK_T_OUT);
  /* Descriptors, both rings' indices, the request's own page: not all at once */
  g_assert_cmpuint (vt_pager_n_brought (f->pager), >, 1);
}

static void
test_a_read_gets_the_pages_it_needs (Fixture *f, gconstpointer data)
{
  arrive_and_serve (f, data, VIRTIO_BLK_T_IN);
}

static void
test_a_write_gets_the_pages_it_needs (Fixture *f, gconstpointer data)
{
  arrive_and_serve (f, data, VIRTIO_BLK_T_OUT);
}

static void
test_it_ends_and_the_guest_goes_on (Fixture *f, gconstpointer data)
{
  guint8 bytes[512];

  arrive_and_serve (f, data, VIRTIO_BLK_T_IN);
  vt_pager_bring_all (f->pager);
  g_assert_cmpuint (vt_postcopy_end (f->fe), ==, 0);
  vt_pager_close (f->pager);
  for (guint i = 0; i < 20; i++)
    g_assert_cmpuint (vt_blk_read (f->ring, i, bytes, sizeof bytes), ==,
                      VIRTIO_BLK_S_OK);
  vt_get_vring_base (f->fe, 0);
  g_clear_pointer (&f->fe, vt_frontend_free);
  vt_daemon_wait_usage (f->daemon, f->usage);
}

/* The thread that serves all sockets does not read the ring. */
static void
test_a_ring_that_is_awaited_delays_nobody_else (Fixture *f, gconstpointer data)
{
  publish_request (f, VIRTIO_BLK_T_IN);
  arrive (f, data);
  run (f);
  g_assert_true (vt_is_silent (f->fe, STALL_MS));
  for (guint i = 0; i < 20; i++)
    check_other (f);
  vt_pager_start (f->pager, NULL);
  g_assert_cmpuint (vt_receive_ack (f->fe, VD_SET_VRING_ENABLE), ==, 0);
  take_request (f, data, FALSE);
}

static void
test_data_that_are_awaited_delay_nobody_else (Fixture *f, gconstpointer data)
{
  publish_request (f, VIRTIO_BLK_T_OUT);
  arrive (f, data);
  vt_pager_start (f->pager, f->request->data);
  run (f);
  g_assert_cmpuint (vt_receive_ack (f->fe, VD_SET_VRING_ENABLE), ==, 0);
  vt_pager_wait_held (f->pager);
  vt_barrier (f->fe);
  for (guint i = 0; i < 20; i++)
    check_other (f);
  g_assert_false (vt_wait_readable (f->ring->call_read_fd, 0));
  vt_pager_release (f->pager);
  take_request (f, data, TRUE);
}

/* A guest with two devices, both here: each has a descriptor of its own for the
 * same memory. */
static void
test_two_devices_of_a_guest (Fixture *f, gconstpointer data)
{
  const Way *way = data;
  VtRing *second = vt_ring_new (f->guest, 0, RING, 0);
  VtFrontend *fe;

  publish_request (f, VIRTIO_BLK_T_IN);
  fe = hello (f, g_str_equal (way->engine, "auto") ? "threads" : "auto");
  vt_pager_advise (f->pager, fe);
  vt_pager_listen (f->pager, fe);
  arrive (f, way);
  vt_pager_share (f->pager, fe, way->table, TRUE);
  vt_pager_start (f->pager, NULL);
  describe (fe, second);
  g_assert_true (vt_set_vring_enable (fe, 0, TRUE));
  run (f);
  g_assert_cmpuint (vt_receive_ack (f->fe, VD_SET_VRING_ENABLE), ==, 0);
  take_request (f, way, FALSE);
  g_assert_cmpuint (vt_postcopy_end (fe), ==, 0);
  vt_get_vring_base (fe, 0);
  vt_frontend_free (fe);
  vt_ring_free (second);
}

#if VD_HAVE_FS

/* Writes and reads back; both lists of buffers are pages of their own, and the
 * client's message and answer are others. */
static void
use_share (VtFuse *fuse)
{
  g_autofree guint8 *out = g_malloc (16 * VT_PAGE),
                    *in = g_malloc (16 * VT_PAGE);
  guint64 nodeid, fh;

  for (guint i = 0; i < 16 * VT_PAGE; i++)
    out[i] = (guint8) g_test_rand_int ();
  g_assert_cmpint (vt_fuse_init (fuse, 0), ==, 0);
  g_assert_cmpint (vt_fuse_create (fuse, 1, "file", O_RDWR, 0644, &nodeid, &fh),
                   ==, 0);
  g_assert_cmpint (vt_fuse_write (fuse, nodeid, fh, 0, out, 16 * VT_PAGE), ==,
                   16 * VT_PAGE);
  g_assert_cmpint (vt_fuse_read (fuse, nodeid, fh, 0, in, 16 * VT_PAGE), ==,
                   16 * VT_PAGE);
  g_assert_cmpmem (in, 16 * VT_PAGE, out, 16 * VT_PAGE);
}

/* Request by request, so that no page is both brought and written here. */
static void
test_a_share_gets_the_pages_it_needs (Fixture *f, gconstpointer data)
{
  VtRing *requests = vt_ring_new (f->guest, 1, RING, 0);
  const Way way = { "share", FALSE };
  VtFuse fuse;

  vt_fuse_init_client (&fuse, requests);
  arrive (f, &way);
  vt_pager_start (f->pager, NULL);
  describe (f->fe, f->ring);
  describe (f->fe, requests);
  g_assert_true (vt_set_vring_enable (f->fe, 0, TRUE));
  g_assert_true (vt_set_vring_enable (f->fe, 1, TRUE));
  use_share (&fuse);
  /* Not only the rings: an answer of 16 pages was read into missing ones. */
  g_assert_cmpuint (vt_pager_n_brought (f->pager), >=, 16);
  vt_pager_bring_all (f->pager);
  g_assert_cmpuint (vt_postcopy_end (f->fe), ==, 0);
  vt_get_vring_base (f->fe, 1);
  vt_ring_free (requests);
}

#endif

/* --- The front-end dies in the middle --- */

static void
check_gone (Fixture *f, gboolean keeps_descriptor)
{
  if (!keeps_descriptor)
    vt_pager_close (f->pager);
  g_clear_pointer (&f->fe, vt_frontend_free);
  vt_daemon_wait_log (f->daemon, "before all of guest memory had come");
  vt_daemon_wait_usage (f->daemon, f->usage);
  check_other (f);
}

/* The disk has what it had: no zero took a page's place. */
static void
check_image_untouched (Fixture *f, const Way *way)
{
  g_autofree char *name = g_strconcat (way->engine, ".img", NULL);

  vt_daemon_check_image (f->daemon, name);
}

static void
await_data (Fixture *f, const Way *way)
{
  publish_request (f, VIRTIO_BLK_T_OUT);
  arrive (f, way);
  vt_pager_start (f->pager, f->request->data);
  run (f);
  g_assert_cmpuint (vt_receive_ack (f->fe, VD_SET_VRING_ENABLE), ==, 0);
  vt_pager_wait_held (f->pager);
}

static void
test_death_while_data_are_awaited (Fixture *f, gconstpointer data)
{
  await_data (f, data);
  check_gone (f, FALSE);
  check_image_untouched (f, data);
}

/* Somebody else has the descriptor too, and never brings a page. */
static void
test_death_with_the_descriptor_kept (Fixture *f, gconstpointer data)
{
  await_data (f, data);
  check_gone (f, TRUE);
  check_image_untouched (f, data);
}

/* Its socket is not read, because the answer is still awaited. */
static void
test_death_while_a_ring_is_awaited (Fixture *f, gconstpointer data)
{
  publish_request (f, VIRTIO_BLK_T_OUT);
  arrive (f, data);
  run (f);
  g_assert_true (vt_is_silent (f->fe, STALL_MS));
  check_gone (f, TRUE);
  check_image_untouched (f, data);
}

static void
test_death_while_a_stop_is_awaited (Fixture *f, gconstpointer data)
{
  await_data (f, data);
  vt_send_get_vring_base (f->fe, 0);
  g_assert_true (vt_is_silent (f->fe, STALL_MS));
  check_gone (f, TRUE);
  check_image_untouched (f, data);
}

static void
test_the_daemon_ends_while_data_are_awaited (Fixture *f, gconstpointer data)
{
  await_data (f, data);
  vt_daemon_stop (f->daemon);
  check_image_untouched (f, data);
}

/* --- Messages in a wrong order --- */

static guint64
try (Fixture *f, guint32 request, const void *payload, guint32 size)
{
  g_assert_true (vt_send (f->fe, request, VD_WIRE_VERSION | VD_FLAG_NEED_REPLY,
                          payload, size, NULL, 0));
  return vt_receive_ack (f->fe, request);
}

static void
test_the_order_is_kept_to (Fixture *f, gconstpointer data)
{
  const guint64 zero = 0;

  f->fe = hello (f, "auto");
  g_assert_cmpuint (try (f, VD_POSTCOPY_LISTEN, NULL, 0), ==, 1);
  g_assert_cmpuint (vt_postcopy_end (f->fe), ==, 1);
  vt_pager_advise (f->pager, f->fe);
  g_assert_cmpuint (vt_postcopy_end (f->fe), ==, 1);
  vt_pager_listen (f->pager, f->fe);
  g_assert_cmpuint (try (f, VD_POSTCOPY_LISTEN, NULL, 0), ==, 1);
  g_assert_cmpuint (try (f, VD_ADD_MEM_REG, &zero, sizeof zero), ==, 1);
  g_assert_cmpuint (try (f, VD_SET_MEM_TABLE, &zero, sizeof zero), ==, 1);
  g_assert_cmpuint (vt_postcopy_end (f->fe), ==, 0);
  g_assert_cmpuint (vt_postcopy_end (f->fe), ==, 1);
  vt_barrier (f->fe);
}

/* What comes of it has no form for failure. */
static void
test_advice_is_given_once (Fixture *f, gconstpointer data)
{
  f->fe = hello (f, "auto");
  vt_pager_advise (f->pager, f->fe);
  g_assert_true (
      vt_send (f->fe, VD_POSTCOPY_ADVISE, VD_WIRE_VERSION, NULL, 0, NULL, 0));
  g_assert_cmpuint (vt_wait_closed (f->fe), ==, 0);
  g_clear_pointer (&f->fe, vt_frontend_free);
  vt_pager_close (f->pager);
  vt_daemon_wait_usage (f->daemon, f->usage);
}

/* That it left is seen only by the answer, when the ring has stopped. */
static void
test_who_leaves_after_the_advice_leaves_nothing (Fixture *f, gconstpointer data)
{
  f->fe = hello (f, "auto");
  g_assert_true (vt_set_mem_table (f->fe, f->guest, 1));
  describe (f->fe, f->ring);
  g_assert_true (vt_set_vring_enable (f->fe, 0, TRUE));
  vt_pager_advise (f->pager, f->fe);
  vt_send_get_vring_base (f->fe, 0);
  g_clear_pointer (&f->fe, vt_frontend_free);
  vt_pager_close (f->pager);
  vt_daemon_wait_usage (f->daemon, f->usage);
}

static void
test_memory_comes_after_listen (Fixture *f, gconstpointer data)
{
  g_autofree char *log = NULL;

  f->fe = hello (f, "auto");
  vt_pager_advise (f->pager, f->fe);
  g_assert_true (vt_set_mem_table (f->fe, f->guest, 1));
  g_assert_cmpuint (try (f, VD_POSTCOPY_LISTEN, NULL, 0), ==, 1);
  g_clear_pointer (&f->fe, vt_frontend_free);
  vt_pager_close (f->pager);
  vt_daemon_wait_usage (f->daemon, f->usage);
  log = vt_daemon_log (f->daemon);
  g_assert_null (strstr (log, "had come")); /* all of it was there */
}

/* The front-end could not tell what a fault is for. */
static void
test_no_ring_starts_before_the_ack (Fixture *f, gconstpointer data)
{
  const Way *way = data;

  publish_request (f, VIRTIO_BLK_T_IN);
  f->fe = hello (f, way->engine);
  vt_pager_advise (f->pager, f->fe);
  vt_pager_listen (f->pager, f->fe);
  vt_pager_take_away (f->pager);
  vt_pager_share (f->pager, f->fe, way->table, FALSE);
  vt_pager_start (f->pager, NULL);
  describe (f->fe, f->ring);
  g_assert_false (vt_set_vring_enable (f->fe, 0, TRUE));
  g_assert_cmpuint (vt_pager_n_brought (f->pager), ==, 0);
  vt_pager_ack (f->pager, f->fe, way->table);
  g_assert_true (vt_set_vring_kick (f->fe, 0, f->ring->kick_fd));
  g_assert_no_errno (eventfd_write (f->ring->kick_fd, 1));
  take_request (f, way, FALSE);
}

/* The descriptor acts on the whole daemon, so the user has to say so. */
static void
test_it_is_not_offered_by_default (Fixture *f, gconstpointer data)
{
  f->fe = hello (f, "careful");
  g_assert_cmphex (
      vt_get_protocol_features (f->fe) & BIT (VD_PROTOCOL_F_PAGEFAULT), ==, 0);
  g_assert_true (
      vt_send (f->fe, VD_POSTCOPY_ADVISE, VD_WIRE_VERSION, NULL, 0, NULL, 0));
  g_assert_cmpuint (vt_wait_closed (f->fe), ==, 0);
}

static void
add (const char *name, void (*func) (Fixture *, gconstpointer))
{
  static const Way ways[] = {
    { "auto", FALSE },
    { "threads", FALSE },
    { "io_uring", FALSE },
    { "auto", TRUE },
  };

  for (guint i = 0; i < G_N_ELEMENTS (ways); i++) {
    g_autofree char *path =
        g_strdup_printf ("/postcopy/%s/%s-%s", name, ways[i].engine,
                         ways[i].table ? "table" : "region");

    g_test_add (path, Fixture, &ways[i], set_up, func, tear_down);
  }
}

int
main (int argc, char **argv)
{
  g_test_init (&argc, &argv, NULL);
  if (!vt_pager_is_permitted ()) {
    g_print ("1..0 # SKIP userfaultfd is not permitted here\n");
    return 0;
  }
  add ("read", test_a_read_gets_the_pages_it_needs);
  add ("write", test_a_write_gets_the_pages_it_needs);
  add ("end", test_it_ends_and_the_guest_goes_on);
  add ("stall/ring", test_a_ring_that_is_awaited_delays_nobody_else);
  add ("stall/data", test_data_that_are_awaited_delay_nobody_else);
  add ("two-devices", test_two_devices_of_a_guest);
  add ("death/data", test_death_while_data_are_awaited);
  add ("death/kept", test_death_with_the_descriptor_kept);
  add ("death/ring", test_death_while_a_ring_is_awaited);
  add ("death/stop", test_death_while_a_stop_is_awaited);
  add ("death/daemon", test_the_daemon_ends_while_data_are_awaited);
  add ("order/ack", test_no_ring_starts_before_the_ack);
#define ADD(path, func)                                                        \
  g_test_add ("/postcopy/" path, Fixture, NULL, set_up, func, tear_down)
#if VD_HAVE_FS
  ADD ("share", test_a_share_gets_the_pages_it_needs);
#endif
  ADD ("order/all", test_the_order_is_kept_to);
  ADD ("order/advise", test_advice_is_given_once);
  ADD ("order/left", test_who_leaves_after_the_advice_leaves_nothing);
  ADD ("order/memory", test_memory_comes_after_listen);
  ADD ("not-offered", test_it_is_not_offered_by_default);
  return g_test_run ();
}
