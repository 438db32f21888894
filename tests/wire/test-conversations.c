/* SPDX-License-Identifier: BSD-3-Clause
 *
 * test-conversations.c - whole lives of every known front-end with every kind
 * of device of the real daemon, with real I/O
 */
#include <fcntl.h>
#include <glib/gstdio.h>
#include <string.h>
#include <unistd.h>

#include "build-options.h"
#include "tests/lib/blk.h"
#include "tests/lib/machine.h"
#include "vring/fd.h"

#if VD_HAVE_FS
#include "tests/devices/fs/fuse-client.h"
#endif

#define IMAGE_SIZE (1 << 20)
#define BLK_CONFIG 60 /* bytes that front-ends read */

typedef struct {
  VtOrder order;
  VtRingFlags flags;
} Config;

typedef struct {
  VtDaemon *daemon;
  VtMachine *machine;
  char *image, *share;
} Fixture;

static void
set_up (Fixture *f, gconstpointer data)
{
  const Config *config = data;

  f->daemon = vt_daemon_new ();
  f->image = vt_daemon_image (f->daemon, "disk.img", IMAGE_SIZE);
  f->share = vt_daemon_path (f->daemon, "share");
  g_assert_no_errno (g_mkdir (f->share, 0755));
  vt_daemon_add (f->daemon, "disk", "blk", "image", f->image, NULL);
  vt_daemon_add (f->daemon, "toy", "generic", "virtio-id", "5", "queues", "2",
                 "queue.*", "loopback", "config",
                 "num_pages le32 ro 4096; actual le32 rw", NULL);
  if (VD_HAVE_FS)
    vt_daemon_add (f->daemon, "share", "fs", "source", f->share, "tag", "toys",
                   NULL);
  vt_daemon_start (f->daemon);
  f->machine = vt_machine_new (config->order, config->flags, 2, 64);
}

static void
tear_down (Fixture *f, gconstpointer data)
{
  vt_machine_free (f->machine);
  vt_daemon_stop (f->daemon);
  vt_daemon_free (f->daemon);
  g_free (f->image);
  g_free (f->share);
}

/* What is read is what the image has, and what is written reaches it. */
static void
use_disk (Fixture *f, VtRing *ring, guint64 sector)
{
  g_autofree guint64 *data = g_malloc (8192), *file = g_malloc (8192);
  vd_autofd fd = open (f->image, O_RDONLY | O_CLOEXEC);

  g_assert_cmpint (pread (fd, file, 8192, sector * 512), ==, 8192);
  g_assert_cmpuint (vt_blk_read (ring, sector, data, 8192), ==,
                    VIRTIO_BLK_S_OK);
  g_assert_cmpmem (data, 8192, file, 8192);
  for (guint i = 0; i < 1024; i++)
    data[i] = g_test_rand_int ();
  g_assert_cmpuint (vt_blk_write (ring, sector, data, 8192), ==,
                    VIRTIO_BLK_S_OK);
  g_assert_cmpuint (vt_blk_flush (ring), ==, VIRTIO_BLK_S_OK);
  g_assert_cmpint (pread (fd, file, 8192, sector * 512), ==, 8192);
  g_assert_cmpmem (data, 8192, file, 8192);
}

/* As many requests as the ring has room for. */
static void
flood_disk (VtRing *ring)
{
  VtBlkRequest *requests[21];
  guint n = G_N_ELEMENTS (requests);

  for (guint i = 0; i < n; i++) {
    requests[i] = vt_blk_request_new (ring->guest, VIRTIO_BLK_T_IN, i, 512);
    g_assert_true (vt_blk_add (ring, requests[i]));
  }
  vt_ring_kick (ring);
  for (guint i = 0; i < n; i++) {
    VtBlkRequest *request = vt_ring_take (ring, NULL);

    g_assert_cmpuint (*request->status, ==, VIRTIO_BLK_S_OK);
  }
  for (guint i = 0; i < n; i++)
    g_free (requests[i]);
}

/* A firmware that uses one queue, then two drivers, then a reconnect. */
static void
test_blk (Fixture *f, gconstpointer data)
{
  VtMachine *m = f->machine;

  for (guint connection = 0; connection < 2; connection++) {
    vt_machine_connect (m, f->daemon, "disk", BLK_CONFIG);
    m->fe->n_rings = 1;
    vt_machine_start (m);
    use_disk (f, m->rings[0], 7);
    vt_machine_stop (m);
    m->fe->n_rings = 2;
    for (guint life = 0; life < 3; life++) {
      vt_machine_start (m);
      for (guint i = 0; i < 2; i++) {
        use_disk (f, m->rings[i], 100 * life + i);
        flood_disk (m->rings[i]);
      }
      vt_machine_stop (m);
    }
    vt_machine_disconnect (m);
  }
}

static void
test_generic (Fixture *f, gconstpointer data)
{
  VtMachine *m = f->machine;
  guint32 values[2], actual;

  vt_machine_connect (m, f->daemon, "toy", 8);
  for (guint life = 0; life < 3; life++) {
    vt_machine_start (m);
    for (guint i = 0; i < 2; i++) {
      guint8 *mem = vt_ring_scratch (m->rings[i], 64);
      VtBuf bufs[] = { { mem, 20, FALSE }, { mem + 32, 20, TRUE } };

      g_snprintf ((char *) mem, 20, "life %u, ring %u", life, i);
      memset (mem + 32, 0, 20);
      g_assert_true (vt_ring_add (m->rings[i], bufs, 2, mem));
      vt_ring_kick (m->rings[i]);
      vt_ring_take (m->rings[i], NULL);
      g_assert_cmpmem (mem + 32, 20, mem, 20);
    }
    g_assert_true (vt_get_config (m->fe, 0, values, 8));
    g_assert_cmpuint (GUINT32_FROM_LE (values[0]), ==, 4096);
    actual = GUINT32_TO_LE (1000 + life);
    g_assert_true (vt_set_config (m->fe, 4, &actual, 4, 0));
    g_assert_true (vt_get_config (m->fe, 0, values, 8));
    g_assert_cmpuint (values[1], ==, actual);
    vt_machine_stop (m);
  }
}

/* Whole config space is written back, as QEMU's generic device does for each
 * byte, and by the flags of cloud-hypervisor. */
static void
test_generic_config_written_whole (Fixture *f, gconstpointer data)
{
  const guint32 flags[] = { VD_CONFIG_FLAG_WRITABLE, VD_CONFIG_FLAG_MIGRATION };
  VtMachine *m = f->machine;
  guint32 values[2];

  vt_machine_connect (m, f->daemon, "toy", 8);
  vt_machine_start (m);
  for (guint i = 0; i < 2; i++) {
    values[0] = GUINT32_TO_LE (1); /* stale; read-only */
    values[1] = GUINT32_TO_LE (42 + i);
    g_assert_true (vt_set_config (m->fe, 0, values, 8, flags[i]));
    g_assert_true (vt_get_config (m->fe, 0, values, 8));
    g_assert_cmpuint (GUINT32_FROM_LE (values[0]), ==, 4096);
    g_assert_cmpuint (GUINT32_FROM_LE (values[1]), ==, 42 + i);
  }
  vt_machine_stop (m);
}

#if VD_HAVE_FS

/* A file written by each side. */
static void
use_share (Fixture *f, VtFuse *fuse, guint life)
{
  g_autofree char *path = g_build_filename (f->share, "from-host", NULL);
  g_autofree char *back = g_build_filename (f->share, "from-guest", NULL);
  g_autofree char *text = g_strdup_printf ("life %u", life), *read = NULL;
  guint64 nodeid, fh;
  char bytes[64];
  gssize n;

  g_assert_true (g_file_set_contents (path, text, -1, NULL));
  g_assert_cmpint (vt_fuse_lookup (fuse, 1, "from-host", &nodeid, NULL), ==, 0);
  g_assert_cmpint (vt_fuse_open (fuse, nodeid, O_RDONLY, &fh, NULL), ==, 0);
  n = vt_fuse_read (fuse, nodeid, fh, 0, bytes, sizeof bytes);
  g_assert_cmpmem (bytes, n, text, strlen (text));
  g_assert_cmpint (vt_fuse_release (fuse, nodeid, fh), ==, 0);

  g_assert_cmpint (vt_fuse_create (fuse, 1, "from-guest",
                                   O_WRONLY | O_CREAT | O_TRUNC, 0644, &nodeid,
                                   &fh),
                   ==, 0);
  n = vt_fuse_write (fuse, nodeid, fh, 0, text, strlen (text));
  g_assert_cmpint (n, ==, strlen (text));
  g_assert_true (g_file_get_contents (back, &read, NULL, NULL));
  g_assert_cmpstr (read, ==, text);
  g_assert_cmpint (vt_fuse_release (fuse, nodeid, fh), ==, 0);
}

static void
test_fs (Fixture *f, gconstpointer data)
{
  const Config *config = data;
  VtMachine *m = f->machine;
  VtFuse fuse;

  vt_fuse_init_client (&fuse, m->rings[1]); /* 0 is for urgent requests */
  vt_machine_connect (m, f->daemon, "share", 40);
  m->fe->resets = config->order <= VT_ORDER_QEMU_11; /* as for virtio-fs */
  for (guint life = 0; life < 3; life++) {
    vt_machine_start (m);
    g_assert_cmpint (vt_fuse_init (&fuse, 0), ==, 0);
    use_share (f, &fuse, life);
    if (life == 0)
      g_assert_cmpint (vt_fuse_destroy (&fuse), ==, 0); /* a reboot has none */
    vt_machine_stop (m);
  }
}

static void
test_fs_config (Fixture *f, gconstpointer data)
{
  VtMachine *m = f->machine;
  struct {
    char tag[36];
    guint32 n_queues;
  } config;

  vt_machine_connect (m, f->daemon, "share", 40);
  g_assert_true (vt_get_config (m->fe, 0, &config, sizeof config));
  g_assert_cmpstr (config.tag, ==, "toys");
  g_assert_cmpuint (GUINT32_FROM_LE (config.n_queues), ==, 1);
}

#endif

static void
add_test (const char *name, VtOrder order, VtRingFlags flags,
          void (*func) (Fixture *, gconstpointer))
{
  static Config configs[64];
  static guint n_configs;
  Config *config = &configs[n_configs++];
  g_autofree char *path =
      g_strdup_printf ("/conversations/%s/%s%s%s", vt_order_name (order), name,
                       flags & VT_RING_INDIRECT ? "-indirect" : "",
                       flags & VT_RING_PACKED ? "-packed" : "");

  g_assert_cmpuint (n_configs, <=, G_N_ELEMENTS (configs));
  *config = (Config){ order, flags };
  g_test_add (path, Fixture, config, set_up, func, tear_down);
}

int
main (int argc, char **argv)
{
  g_test_init (&argc, &argv, NULL);
  for (VtOrder order = 0; order < VT_N_ORDERS; order++) {
    VtRingFlags modern = VT_RING_EVENT_IDX | VT_RING_INDIRECT;

    add_test ("blk", order, 0, test_blk);
    add_test ("blk", order, modern, test_blk);
    add_test ("blk", order, VT_RING_PACKED, test_blk);
    add_test ("blk", order, VT_RING_PACKED | modern, test_blk);
    if (order == VT_ORDER_LIBBLKIO)
      continue; /* it knows disks only */
    add_test ("generic", order, modern, test_generic);
    add_test ("generic-config", order, modern,
              test_generic_config_written_whole);
#if VD_HAVE_FS
    add_test ("fs", order, modern, test_fs);
#endif
  }
#if VD_HAVE_FS
  add_test ("fs-config", VT_ORDER_UML_7, 0, test_fs_config);
#endif
  return g_test_run ();
}
