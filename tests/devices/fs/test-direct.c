/* SPDX-License-Identifier: BSD-3-Clause
 *
 * test-direct.c - direct I/O: asynchronous, and right at the end of files
 */
#include <errno.h>
#include <fcntl.h>
#include <string.h>

#include "devices/device.h"
#include "tests/devices/fs/fixture.h"

#define ALIGN 4096
#define ROOM  (8 * ALIGN)

static const VtFsConfig uring = { .keys = { "direct-io", "yes" } };
static const VtFsConfig pool = { .keys = { "direct-io", "yes" },
                                 .force_poll = TRUE };

/* Bytes @from to @to of file @name, which tell where they are from. */
static void
fill (guint8 *bytes, gsize from, gsize to)
{
  for (gsize i = from; i < to; i++)
    bytes[i - from] = (guint8) (i / 512 + i * 7);
}

/* Returns: FALSE if files cannot be opened so; then the test is skipped. */
static gboolean
open_direct (VtFs *f, gsize len, guint64 *nodeid, guint64 *fh)
{
  g_autofree guint8 *bytes = g_malloc (len + 1);
  g_autofree char *path = vt_fs_path (f, "f");
  int r;

  fill (bytes, 0, len);
  g_assert_true (
      g_file_set_contents (path, (const char *) bytes, (gssize) len, NULL));
  g_assert_cmpint (vt_fuse_lookup (f->c, 1, "f", nodeid, NULL), ==, 0);
  r = vt_fuse_open (f->c, *nodeid, O_RDWR | O_DIRECT, fh, NULL);
  if (r == -EINVAL)
    g_test_skip ("the temporary directory knows no O_DIRECT");
  else
    g_assert_cmpint (r, ==, 0);
  return r == 0;
}

typedef struct {
  struct fuse_in_header header;
  union {
    struct fuse_read_in read;
    struct fuse_write_in write;
  };
} Message;

/* READ and WRITE with data at an address as direct I/O needs it.
 * Returns: bytes, or -errno. */
static gssize
transfer (VtFs *f, guint32 opcode, guint64 nodeid, guint64 fh, guint64 offset,
          guint32 size, guint8 *data)
{
  guint8 *room = vt_guest_alloc (f->guest, ROOM, ALIGN);
  struct fuse_out_header *out = vt_guest_alloc (f->guest, ALIGN, ALIGN);
  Message *message = vt_guest_alloc (f->guest, sizeof *message, 64);
  gboolean reads = opcode == FUSE_READ;
  VtBuf bufs[3] = { { message, sizeof *message, FALSE } };
  guint32 used;

  *message = (Message){
    .header = { .len = (guint32) sizeof *message + (reads ? 0 : size),
                .opcode = opcode,
                .unique = 2,
                .nodeid = nodeid },
  };
  if (reads) {
    message->read =
        (struct fuse_read_in){ .fh = fh, .offset = offset, .size = size };
    bufs[1] = (VtBuf){ (guint8 *) out, sizeof *out, TRUE };
    bufs[2] = (VtBuf){ room, size, TRUE };
  } else {
    memcpy (room, data, size);
    message->write =
        (struct fuse_write_in){ .fh = fh, .offset = offset, .size = size };
    bufs[1] = (VtBuf){ room, size, FALSE };
    bufs[2] = (VtBuf){ (guint8 *) out,
                       sizeof *out + sizeof (struct fuse_write_out), TRUE };
  }
  g_assert_true (vt_ring_add (f->rings[1], bufs, 3, f));
  vt_ring_kick (f->rings[1]);
  g_assert_true (vt_ring_take (f->rings[1], &used) == f);
  g_assert_cmpuint (used, ==, out->len);
  if (out->error < 0)
    return out->error;
  if (!reads)
    return ((const struct fuse_write_out *) (const void *) (out + 1))->size;
  memcpy (data, room, used - sizeof *out);
  return used - (gssize) sizeof *out;
}

static void
assert_read (VtFs *f, guint64 nodeid, guint64 fh, gsize len, guint64 offset)
{
  guint8 read[ROOM], expected[ROOM];
  gsize n = offset < len ? MIN (len - offset, ROOM) : 0;

  g_assert_cmpint (transfer (f, FUSE_READ, nodeid, fh, offset, ROOM, read), ==,
                   (gssize) n);
  fill (expected, offset, offset + n);
  g_assert_cmpmem (read, n, expected, n);
}

/* After the last byte no call is aligned any more. */
static void
test_a_file_is_read_to_its_end (VtFs *f, gconstpointer data)
{
  static const gsize lens[] = { 0, 1, 100, 511, 512, 1024, 4096, 4608, 9999 };

  for (guint i = 0; i < G_N_ELEMENTS (lens); i++) {
    guint64 nodeid, fh;

    if (!open_direct (f, lens[i], &nodeid, &fh))
      return;
    for (guint64 offset = 0; offset <= 3 * ALIGN; offset += ALIGN)
      assert_read (f, nodeid, fh, lens[i], offset);
    g_assert_cmpint (vt_fuse_release (f->c, nodeid, fh), ==, 0);
  }
}

static void
test_what_is_written_is_read (VtFs *f, gconstpointer data)
{
  guint8 bytes[2 * ALIGN], read[ROOM];
  guint64 nodeid, fh;

  if (!open_direct (f, ALIGN, &nodeid, &fh))
    return;
  fill (bytes, 5, 5 + sizeof bytes);
  g_assert_cmpint (
      transfer (f, FUSE_WRITE, nodeid, fh, ALIGN, sizeof bytes, bytes), ==,
      sizeof bytes);
  g_assert_cmpint (transfer (f, FUSE_READ, nodeid, fh, ALIGN, ROOM, read), ==,
                   sizeof bytes);
  g_assert_cmpmem (read, sizeof bytes, bytes, sizeof bytes);
}

/* Returns: how many requests were not answered in the turn that they came. */
static guint64
n_deferred (VtFs *f)
{
  g_autoptr (GString) text = g_string_new (NULL);
  const char *at;

  f->rig->dev->ops->dump (f->rig->dev, text);
  at = strstr (text->str, "deferred: ");
  g_assert_nonnull (at);
  return g_ascii_strtoull (at + strlen ("deferred: "), NULL, 10);
}

static void
test_the_disk_is_not_waited_for (VtFs *f, gconstpointer data)
{
  guint64 nodeid, fh, cached;

  if (!open_direct (f, 4 * ALIGN, &nodeid, &fh))
    return;
  for (guint i = 1; i <= 3; i++) {
    guint64 before = n_deferred (f);

    assert_read (f, nodeid, fh, 4 * ALIGN, 0);
    g_assert_cmpuint (n_deferred (f), ==, before + 1);
  }
  /* The guest's other files are as ever. */
  g_assert_cmpint (vt_fuse_open (f->c, nodeid, O_RDONLY, &cached, NULL), ==, 0);
  assert_read (f, nodeid, cached, 4 * ALIGN, 0);
  {
    guint64 before = n_deferred (f);

    assert_read (f, nodeid, cached, 4 * ALIGN, 0);
    g_assert_cmpuint (n_deferred (f), ==, before);
  }
}

int
main (int argc, char **argv)
{
  g_test_init (&argc, &argv, NULL);
#define ADD(name, func)                                                        \
  VT_FS_TEST ("/fs/direct/" name, &uring, func);                               \
  VT_FS_TEST ("/fs/direct/" name "/pool", &pool, func)
  ADD ("end", test_a_file_is_read_to_its_end);
  ADD ("written", test_what_is_written_is_read);
  ADD ("disk", test_the_disk_is_not_waited_for);
  return g_test_run ();
}
