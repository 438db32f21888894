/* SPDX-License-Identifier: BSD-3-Clause
 *
 * test-hostile-fs.c - attacks by a guest's FUSE requests
 *
 * tests/devices/fs/test-hostile.c looks at every answer of the device alone;
 * here the daemon has other guests, who must not notice.
 */
#include <errno.h>
#include <fcntl.h>
#include <string.h>

#include "tests/devices/fs/fuse-client.h"
#include "tests/wire/hostile.h"

#define FAR (1ull << 63)

static void
start (VtAttack *a, VtFuse *fuse)
{
  VtRing *ring = a->ring;

  vt_attack_describe (a);
  g_assert_true (vt_set_vring_kick (a->fe, ring->index, ring->kick_fd));
  g_assert_true (vt_set_vring_enable (a->fe, ring->index, TRUE));
  vt_fuse_init_client (fuse, ring);
  g_assert_cmpint (vt_fuse_init (fuse, 0), ==, 0);
}

/* The session goes on, and so does the socket's next guest. */
static void
expect_served (VtAttack *a, VtFuse *fuse)
{
  VtGuest *guest = vt_guest_new (4 << 20);
  VtRing *ring = vt_ring_new (guest, a->ring->index, VT_ATTACK_RING, 0);
  VtAttack anew = { a->daemon, a->fe, guest, ring };
  VtFuse next;

  fuse->piece = 0;
  g_assert_cmpint (vt_fuse_getattr (fuse, 1, NULL), ==, 0);
  vt_attack_witness (a);
  vt_attack_reconnect (&anew);
  start (&anew, &next);
  g_assert_cmpint (vt_fuse_getattr (&next, 1, NULL), ==, 0);
  a->fe = anew.fe;
  vt_get_vring_base (a->fe, ring->index);
  vt_ring_free (ring);
  vt_guest_free (guest);
}

static void
headers_of_a_few_bytes (VtAttack *a)
{
  struct fuse_in_header in = { .len = sizeof in, .opcode = FUSE_GETATTR };
  VtFuse fuse;

  start (a, &fuse);
  for (guint len = 1; len < sizeof in; len++) {
    in.len = len % 2 ? len : sizeof in;
    g_assert_cmpuint (vt_fuse_raw (&fuse, &in, len, 256), ==, 0);
    g_assert_cmpuint (vt_fuse_raw (&fuse, &in, len, 0), ==, 0);
  }
  expect_served (a, &fuse);
}

static void
forgets_of_what_must_stay (VtAttack *a)
{
  guint64 nodeid;
  VtFuse fuse;

  start (a, &fuse);
  for (guint i = 0; i < 3; i++) {
    vt_fuse_forget (&fuse, 1, G_MAXUINT64);
    vt_fuse_forget (&fuse, 1, 1);
    vt_fuse_forget (&fuse, 0, 1);
    vt_fuse_forget (&fuse, G_MAXUINT64, G_MAXUINT64);
    g_assert_cmpint (vt_fuse_mkdir (&fuse, 1, "known", 0700, &nodeid), ==, 0);
    vt_fuse_forget (&fuse, nodeid, G_MAXUINT64); /* known once */
    g_assert_cmpint (vt_fuse_getattr (&fuse, nodeid, NULL), <, 0);
    g_assert_cmpint (vt_fuse_rmdir (&fuse, 1, "known"), ==, 0);
  }
  expect_served (a, &fuse);
}

/* Names that are no names, on every opcode that has one. */
static void
names_that_are_paths (VtAttack *a)
{
  static const char *const bad[] = { "",     ".",      "..",  "/",     "a/b",
                                     "../x", "/etc/x", "./.", "ok/..", "..//" };
  struct fuse_attr attr;
  guint64 nodeid, fh, file;
  VtFuse fuse;

  start (a, &fuse);
  g_assert_cmpint (vt_fuse_create (&fuse, 1, "ok", O_RDWR, 0600, &file, &fh),
                   ==, 0);
  for (guint i = 0; i < G_N_ELEMENTS (bad); i++) {
    const char *name = bad[i];
    gboolean dots = g_str_equal (name, ".") || g_str_equal (name, "..");

    if (!dots) /* which are the folder itself, and its parent in the export */
      g_assert_cmpint (vt_fuse_lookup (&fuse, 1, name, &nodeid, &attr), <, 0);
    g_assert_cmpint (
        vt_fuse_create (&fuse, 1, name, O_RDWR, 0600, &nodeid, &fh), <, 0);
    g_assert_cmpint (vt_fuse_mkdir (&fuse, 1, name, 0700, &nodeid), <, 0);
    g_assert_cmpint (vt_fuse_mknod (&fuse, 1, name, S_IFREG | 0600, 0, &nodeid),
                     <, 0);
    g_assert_cmpint (vt_fuse_symlink (&fuse, 1, name, "x", &nodeid), <, 0);
    g_assert_cmpint (vt_fuse_link (&fuse, file, 1, name), <, 0);
    g_assert_cmpint (vt_fuse_unlink (&fuse, 1, name), <, 0);
    g_assert_cmpint (vt_fuse_rmdir (&fuse, 1, name), <, 0);
    for (guint flags = 0; flags < 3; flags++) { /* RENAME and RENAME2 */
      g_assert_cmpint (vt_fuse_rename (&fuse, 1, "ok", 1, name, flags), <, 0);
      g_assert_cmpint (vt_fuse_rename (&fuse, 1, name, 1, "new", flags), <, 0);
    }
  }
  g_assert_cmpint (vt_fuse_unlink (&fuse, 1, "ok"), ==, 0);
  expect_served (a, &fuse);
}

static void
offsets_in_the_far_half (VtAttack *a)
{
  const guint64 offsets[] = { FAR, FAR + 1, FAR - 1, G_MAXUINT64,
                              G_MAXUINT64 - 511 };
  guint8 data[512] = { 1 };
  guint64 nodeid, fh;
  struct fuse_attr attr;
  VtFuse fuse;

  start (a, &fuse);
  g_assert_cmpint (vt_fuse_create (&fuse, 1, "far", O_RDWR, 0600, &nodeid, &fh),
                   ==, 0);
  for (guint i = 0; i < G_N_ELEMENTS (offsets); i++) {
    g_assert_cmpint (
        vt_fuse_write (&fuse, nodeid, fh, offsets[i], data, sizeof data), <, 0);
    g_assert_cmpint (
        vt_fuse_read (&fuse, nodeid, fh, offsets[i], data, sizeof data), <=, 0);
  }
  g_assert_cmpint (vt_fuse_getattr (&fuse, nodeid, &attr), ==, 0);
  g_assert_cmpuint (attr.size, ==, 0);
  g_assert_cmpint (vt_fuse_release (&fuse, nodeid, fh), ==, 0);
  g_assert_cmpint (vt_fuse_unlink (&fuse, 1, "far"), ==, 0);
  expect_served (a, &fuse);
}

/* Header, arguments and data end somewhere in the middle of a buffer. */
static void
messages_in_pieces (VtAttack *a)
{
  const gsize pieces[] = { 1, 3, 39, 40, 41, 47, 500 };
  guint8 out[512], in[512];
  guint64 nodeid, fh;
  VtFuse fuse;

  start (a, &fuse);
  g_assert_cmpint (vt_fuse_create (&fuse, 1, "cut", O_RDWR, 0600, &nodeid, &fh),
                   ==, 0);
  for (guint i = 0; i < G_N_ELEMENTS (pieces); i++) {
    const guint32 len = pieces[i] < 10 ? 20 : sizeof out; /* 128 pieces fit */

    memset (out, (int) i + 1, sizeof out);
    fuse.piece = pieces[i];
    g_assert_cmpint (vt_fuse_write (&fuse, nodeid, fh, 0, out, len), ==, len);
    g_assert_cmpint (vt_fuse_read (&fuse, nodeid, fh, 0, in, len), ==, len);
    g_assert_cmpmem (in, len, out, len);
  }
  fuse.piece = 0;
  g_assert_cmpint (vt_fuse_unlink (&fuse, 1, "cut"), ==, 0);
  expect_served (a, &fuse); /* the file is still open */
}

static void
random_messages (VtAttack *a)
{
  struct {
    struct fuse_in_header in;
    guint8 rest[200];
  } m;
  VtFuse fuse;

  start (a, &fuse);
  for (guint i = 0; i < 2000; i++) {
    gsize len = (gsize) g_test_rand_int_range (1, sizeof m);

    for (guint j = 0; j < sizeof m.rest; j++)
      m.rest[j] = (guint8) g_test_rand_int_range (0, i % 2 ? 256 : 4);
    m.in = (struct fuse_in_header){
      .len = i % 5 ? (guint32) len : (guint32) g_test_rand_int (),
      .opcode = (guint32) g_test_rand_int_range (0, 60),
      .unique = i,
      .nodeid = (guint64) g_test_rand_int_range (0, 4),
    };
    if (m.in.opcode == FUSE_DESTROY || m.in.opcode == FUSE_INIT)
      continue;
    vt_fuse_raw (&fuse, &m, len, (gsize) g_test_rand_int_range (0, 300));
  }
  expect_served (a, &fuse);
}

int
main (int argc, char **argv)
{
  g_test_init (&argc, &argv, NULL);
#define ADD(path, func) vt_attack_add_folder ("/hostile/fs/" path, func)
  ADD ("header", headers_of_a_few_bytes);
  ADD ("forget", forgets_of_what_must_stay);
  ADD ("names", names_that_are_paths);
  ADD ("offsets", offsets_in_the_far_half);
  ADD ("pieces", messages_in_pieces);
  ADD ("random", random_messages);
  return vt_attack_main ();
}
