/* SPDX-License-Identifier: BSD-3-Clause
 *
 * test-data.c - reading and writing through the virtio-fs device, with io_uring
 * and without
 */
#include <errno.h>
#include <fcntl.h>
#include <linux/falloc.h>
#include <pthread.h>
#include <string.h>
#include <unistd.h>

#include "tests/devices/fs/fixture.h"

static const VtFsConfig poll_only = { .force_poll = TRUE };
static const VtFsConfig two_queues = { .n_queues = 2 };
static const VtFsConfig read_only = { .keys = { "read-only", "yes" } };
static const VtFsConfig writeback = { .keys = { "writeback", "yes" } };

/* Bytes that tell where they belong. */
static guint8 *
pattern (gsize len, guint seed)
{
  guint8 *bytes = g_malloc (len);
  guint32 x = seed * 2654435761u + 1;

  for (gsize i = 0; i < len; i++) {
    x = x * 1664525 + 1013904223;
    bytes[i] = (guint8) (x >> 24);
  }
  return bytes;
}

static void
test_what_one_side_writes_the_other_reads (VtFs *f, gconstpointer data)
{
  guint64 nodeid, fh;
  g_autofree char *content = NULL;
  char text[64] = "";

  g_assert_cmpint (vt_fuse_create (f->c, 1, "new", O_RDWR, 0640, &nodeid, &fh),
                   ==, 0);
  g_assert_cmpint (vt_fuse_write (f->c, nodeid, fh, 0, "hello", 5), ==, 5);
  g_assert_cmpint (vt_fuse_write (f->c, nodeid, fh, 5, " world", 6), ==, 6);
  g_assert_cmpint (vt_fuse_release (f->c, nodeid, fh), ==, 0);
  content = vt_fs_get (f, "new");
  g_assert_cmpstr (content, ==, "hello world");

  vt_fs_put (f, "theirs", "from the host");
  fh = vt_fs_open (f, "theirs", O_RDONLY, &nodeid);
  g_assert_cmpint (vt_fuse_read (f->c, nodeid, fh, 5, text, 60), ==, 8);
  g_assert_cmpmem (text, 8, "the host", 8);
}

/* Whatever pieces a driver makes of its buffers. */
static void
test_split_buffers_carry_the_same_bytes (VtFs *f, gconstpointer data)
{
  static const guint pieces[] = { 0, 4096, 1000, 512, 100 };
  enum { LEN = 40000 };
  guint64 nodeid, fh;

  g_assert_cmpint (vt_fuse_create (f->c, 1, "f", O_RDWR, 0600, &nodeid, &fh),
                   ==, 0);
  for (guint i = 0; i < G_N_ELEMENTS (pieces); i++) {
    g_autofree guint8 *bytes = pattern (LEN, i);
    g_autofree guint8 *back = g_malloc0 (LEN);

    f->c->piece = pieces[i];
    g_assert_cmpint (vt_fuse_write (f->c, nodeid, fh, 123, bytes, LEN), ==,
                     LEN);
    g_assert_cmpint (vt_fuse_read (f->c, nodeid, fh, 123, back, LEN), ==, LEN);
    g_assert_cmpmem (back, LEN, bytes, LEN);
  }
}

/* Headers in buffers of one byte, too. */
static void
test_scattered_headers_are_put_together (VtFs *f, gconstpointer data)
{
  static const guint pieces[] = { 1, 3, 7, 13, 16, 39, 41, 79, 81 };
  guint64 nodeid, fh;
  char back[32];

  g_assert_cmpint (vt_fuse_create (f->c, 1, "f", O_RDWR, 0600, &nodeid, &fh),
                   ==, 0);
  for (guint i = 0; i < G_N_ELEMENTS (pieces); i++) {
    f->c->piece = pieces[i];
    g_assert_cmpint (vt_fuse_write (f->c, nodeid, fh, i, "0123456789", 10), ==,
                     10);
    memset (back, 0, sizeof back);
    g_assert_cmpint (vt_fuse_read (f->c, nodeid, fh, i, back, 10), ==, 10);
    g_assert_cmpmem (back, 10, "0123456789", 10);
  }
}

static void
test_the_largest_request_passes (VtFs *f, gconstpointer data)
{
  g_autofree guint8 *bytes = pattern (VT_FUSE_DATA_MAX, 1);
  g_autofree guint8 *back = g_malloc0 (VT_FUSE_DATA_MAX);
  guint64 nodeid, fh;

  g_assert_cmpint (vt_fuse_create (f->c, 1, "f", O_RDWR, 0600, &nodeid, &fh),
                   ==, 0);
  f->c->piece = 4096;
  g_assert_cmpint (vt_fuse_write (f->c, nodeid, fh, 0, bytes, VT_FUSE_DATA_MAX),
                   ==, VT_FUSE_DATA_MAX);
  g_assert_cmpint (vt_fuse_read (f->c, nodeid, fh, 0, back, VT_FUSE_DATA_MAX),
                   ==, VT_FUSE_DATA_MAX);
  g_assert_cmpmem (back, VT_FUSE_DATA_MAX, bytes, VT_FUSE_DATA_MAX);
}

static const VtFsConfig large_writes = { .keys = { "max-write", "4M" } };

/* More than the client has room for. */
static void
test_a_request_of_four_mebibytes_passes (VtFs *f, gconstpointer data)
{
  enum { LEN = 4 << 20 };
  struct {
    struct fuse_in_header in;
    struct fuse_write_in write;
  } *request = vt_guest_alloc (f->guest, sizeof *request + LEN, 8);
  struct {
    struct fuse_out_header out;
    struct fuse_write_out write;
  } *reply = vt_guest_alloc (f->guest, sizeof *reply, 8);
  VtBuf bufs[] = { { request, sizeof *request + LEN, FALSE },
                   { reply, sizeof *reply, TRUE } };
  g_autofree guint8 *bytes = pattern (LEN, 3);
  g_autofree char *path = vt_fs_path (f, "f");
  g_autofree char *content = NULL;
  gsize len;

  memset (request, 0, sizeof *request);
  g_assert_cmpint (vt_fuse_create (f->c, 1, "f", O_RDWR, 0600,
                                   &request->in.nodeid, &request->write.fh),
                   ==, 0);
  request->in.len = sizeof *request + LEN;
  request->in.opcode = FUSE_WRITE;
  request->in.unique = 1;
  request->write.size = LEN;
  memcpy (request + 1, bytes, LEN);
  g_assert_true (vt_ring_add (f->c->ring, bufs, 2, request));
  vt_ring_kick (f->c->ring);
  g_assert_true (vt_ring_take (f->c->ring, NULL) == request);
  g_assert_cmpint (reply->out.error, ==, 0);
  g_assert_cmpuint (reply->write.size, ==, LEN);
  g_assert_true (g_file_get_contents (path, &content, &len, NULL));
  g_assert_cmpmem (content, len, bytes, LEN);
}

static void
test_reading_ends_with_the_file (VtFs *f, gconstpointer data)
{
  char text[100];
  guint64 nodeid, fh;

  vt_fs_put (f, "f", "0123456789");
  fh = vt_fs_open (f, "f", O_RDONLY, &nodeid);
  g_assert_cmpint (vt_fuse_read (f->c, nodeid, fh, 0, text, 100), ==, 10);
  g_assert_cmpint (vt_fuse_read (f->c, nodeid, fh, 7, text, 100), ==, 3);
  g_assert_cmpint (vt_fuse_read (f->c, nodeid, fh, 10, text, 100), ==, 0);
  g_assert_cmpint (vt_fuse_read (f->c, nodeid, fh, 1 << 20, text, 100), ==, 0);
  g_assert_cmpint (vt_fuse_read (f->c, nodeid, fh, 0, text, 0), ==, 0);
}

static void
test_holes_read_as_zeros (VtFs *f, gconstpointer data)
{
  guint8 bytes[300000], zeros[300000] = { 0 };
  guint64 nodeid, fh;

  g_assert_cmpint (vt_fuse_create (f->c, 1, "f", O_RDWR, 0600, &nodeid, &fh),
                   ==, 0);
  g_assert_cmpint (vt_fuse_write (f->c, nodeid, fh, sizeof bytes, "x", 1), ==,
                   1);
  memset (bytes, 1, sizeof bytes);
  g_assert_cmpint (vt_fuse_read (f->c, nodeid, fh, 0, bytes, sizeof bytes), ==,
                   sizeof bytes);
  g_assert_cmpmem (bytes, sizeof bytes, zeros, sizeof zeros);
}

/* What is not in the page cache takes the other way: io_uring or the pool. */
static void
test_cold_data_is_read_too (VtFs *f, gconstpointer data)
{
  enum { LEN = 1 << 20 };
  g_autofree guint8 *bytes = pattern (LEN, 9), *back = g_malloc0 (LEN);
  g_autofree char *path = vt_fs_path (f, "cold");
  g_autoptr (GString) dump = g_string_new (NULL);
  guint64 nodeid, fh;
  int fd = open (path, O_RDWR | O_CREAT | O_CLOEXEC, 0600);

  g_assert_cmpint (write (fd, bytes, LEN), ==, LEN);
  g_assert_cmpint (fdatasync (fd), ==, 0);
  fh = vt_fs_open (f, "cold", O_RDONLY, &nodeid);
  for (guint at = 0; at < LEN; at += LEN / 8) {
    g_assert_cmpint (posix_fadvise (fd, 0, 0, POSIX_FADV_DONTNEED), ==, 0);
    g_assert_cmpint (vt_fuse_read (f->c, nodeid, fh, at, back + at, LEN / 8),
                     ==, LEN / 8);
  }
  g_assert_cmpmem (back, LEN, bytes, LEN);
  close (fd);
  f->rig->dev->ops->dump (f->rig->dev, dump);
  if (strstr (dump->str, "deferred: 0\n") != NULL)
    g_test_skip ("nothing is ever cold on this file system");
}

static void
test_offsets_from_the_far_half_are_refused (VtFs *f, gconstpointer data)
{
  static const guint64 offsets[] = { 1ull << 63, (1ull << 63) + 4096,
                                     G_MAXUINT64, G_MAXUINT64 - 4095 };
  char text[16] = "unharmed";
  guint64 nodeid, fh;

  vt_fs_put (f, "f", "content");
  fh = vt_fs_open (f, "f", O_RDWR, &nodeid);
  for (guint i = 0; i < G_N_ELEMENTS (offsets); i++) {
    g_assert_cmpint (vt_fuse_read (f->c, nodeid, fh, offsets[i], text, 8), ==,
                     -EINVAL);
    g_assert_cmpint (vt_fuse_write (f->c, nodeid, fh, offsets[i], "x", 1), ==,
                     -EINVAL);
  }
  g_assert_cmpint (vt_fuse_write (f->c, nodeid, fh, G_MAXINT64, "xy", 2), <, 0);
  g_assert_cmpint (vt_fuse_read (f->c, nodeid, fh, G_MAXINT64, text, 8), <=, 0);
  g_assert_cmpint (vt_fuse_read (f->c, nodeid, fh, 0, text, 8), ==, 7);
}

static void
test_access_modes_are_kept (VtFs *f, gconstpointer data)
{
  guint64 nodeid, fh;
  char text[8];

  vt_fs_put (f, "f", "content");
  fh = vt_fs_open (f, "f", O_RDONLY, &nodeid);
  g_assert_cmpint (vt_fuse_write (f->c, nodeid, fh, 0, "x", 1), ==, -EBADF);
  fh = vt_fs_open (f, "f", O_WRONLY, &nodeid);
  g_assert_cmpint (vt_fuse_read (f->c, nodeid, fh, 0, text, 8), ==, -EBADF);
  g_assert_cmpint (vt_fuse_open (f->c, nodeid, O_ACCMODE, &fh, NULL), ==,
                   -EINVAL);
}

static void
test_a_foreign_fh_reads_nothing (VtFs *f, gconstpointer data)
{
  guint64 a, b, fh_a, fh_b;
  char text[8];

  vt_fs_put (f, "a", "content");
  vt_fs_put (f, "b", "content");
  fh_a = vt_fs_open (f, "a", O_RDWR, &a);
  fh_b = vt_fs_open (f, "b", O_RDWR, &b);
  g_assert_cmpint (vt_fuse_read (f->c, a, fh_b, 0, text, 8), ==, -EBADF);
  g_assert_cmpint (vt_fuse_write (f->c, b, fh_a, 0, "x", 1), ==, -EBADF);
  g_assert_cmpint (vt_fuse_release (f->c, a, fh_b), ==, -EBADF);
  g_assert_cmpint (vt_fuse_release (f->c, a, fh_a), ==, 0);
  g_assert_cmpint (vt_fuse_release (f->c, a, fh_a), ==, -EBADF);
  g_assert_cmpint (vt_fuse_read (f->c, a, fh_a, 0, text, 8), ==, -EBADF);
}

static gssize
write_with (VtFs *f, guint64 nodeid, guint64 fh, guint64 offset,
            guint32 open_flags, guint32 write_flags, const char *text)
{
  struct fuse_write_in in = {
    .fh = fh,
    .offset = offset,
    .size = (guint32) strlen (text),
    .write_flags = write_flags,
    .flags = open_flags,
  };
  struct fuse_write_out out = { 0 };
  gssize n = vt_fuse_call (f->c, FUSE_WRITE, nodeid, &in, sizeof in, text,
                           strlen (text), &out, sizeof out);

  return n < 0 ? n : (gssize) out.size;
}

static void
test_appending_ignores_the_offset (VtFs *f, gconstpointer data)
{
  g_autofree char *content = NULL;
  guint64 nodeid, fh;

  vt_fs_put (f, "f", "0123456789");
  fh = vt_fs_open (f, "f", O_WRONLY | O_APPEND, &nodeid);
  g_assert_cmpint (write_with (f, nodeid, fh, 2, O_APPEND, 0, "abc"), ==, 3);
  /* Pages of the guest's cache know where they belong. */
  g_assert_cmpint (
      write_with (f, nodeid, fh, 0, O_APPEND, FUSE_WRITE_CACHE, "XY"), ==, 2);
  content = vt_fs_get (f, "f");
  g_assert_cmpstr (content, ==, "XY23456789abc");
}

static void
test_synchronous_writes_complete (VtFs *f, gconstpointer data)
{
  g_autofree char *content = NULL;
  guint64 nodeid, fh;

  g_assert_cmpint (vt_fuse_create (f->c, 1, "f", O_RDWR, 0600, &nodeid, &fh),
                   ==, 0);
  g_assert_cmpint (write_with (f, nodeid, fh, 0, O_DSYNC, 0, "abc"), ==, 3);
  g_assert_cmpint (write_with (f, nodeid, fh, 3, O_SYNC, 0, "def"), ==, 3);
  content = vt_fs_get (f, "f");
  g_assert_cmpstr (content, ==, "abcdef");
}

static void
test_writing_kills_set_id_when_asked (VtFs *f, gconstpointer data)
{
  g_autofree char *path = vt_fs_path (f, "f");
  struct fuse_attr attr;
  guint64 nodeid, fh;

  if (geteuid () != 0) {
    g_test_skip ("needs root");
    return;
  }
  vt_fs_put (f, "f", "0123456789");
  g_assert_cmpint (chmod (path, 06755), ==, 0);
  fh = vt_fs_open (f, "f", O_WRONLY, &nodeid);
  g_assert_cmpint (write_with (f, nodeid, fh, 0, 0, 0, "a"), ==, 1);
  g_assert_cmpint (vt_fuse_getattr (f->c, nodeid, &attr), ==, 0);
  g_assert_cmpuint (attr.mode & 07777, ==, 06755);
  g_assert_cmpint (
      write_with (f, nodeid, fh, 0, 0, FUSE_WRITE_KILL_SUIDGID, "b"), ==, 1);
  g_assert_cmpint (vt_fuse_getattr (f->c, nodeid, &attr), ==, 0);
  g_assert_cmpuint (attr.mode & 07777, ==, 0755);
  /* And the next one does not. */
  g_assert_cmpint (chmod (path, 04755), ==, 0);
  g_assert_cmpint (write_with (f, nodeid, fh, 0, 0, 0, "c"), ==, 1);
  g_assert_cmpint (vt_fuse_getattr (f->c, nodeid, &attr), ==, 0);
  g_assert_cmpuint (attr.mode & 07777, ==, 04755);
}

static void
test_a_read_only_export_is_not_written (VtFs *f, gconstpointer data)
{
  guint64 nodeid, fh;
  char text[8];

  vt_fs_put (f, "f", "content");
  fh = vt_fs_open (f, "f", O_RDONLY, &nodeid);
  g_assert_cmpint (vt_fuse_read (f->c, nodeid, fh, 0, text, 8), ==, 7);
  g_assert_cmpint (vt_fuse_write (f->c, nodeid, fh, 0, "x", 1), ==, -EROFS);
  g_assert_cmpint (vt_fuse_open (f->c, nodeid, O_RDWR, &fh, NULL), ==, -EROFS);
  g_assert_cmpint (vt_fuse_open (f->c, nodeid, O_TRUNC, &fh, NULL), ==, -EROFS);
}

/* Operations of the pool. */

static int
sync_file (VtFs *f, guint32 opcode, guint64 nodeid, guint64 fh, guint32 flags)
{
  struct fuse_fsync_in in = { .fh = fh, .fsync_flags = flags };

  return (int) vt_fuse_call (f->c, opcode, nodeid, &in, sizeof in, NULL, 0,
                             NULL, 0);
}

static void
test_syncing_answers (VtFs *f, gconstpointer data)
{
  struct fuse_syncfs_in syncfs_in = { 0 };
  guint64 nodeid, fh, dir;

  vt_fs_put (f, "f", "content");
  fh = vt_fs_open (f, "f", O_RDWR, &nodeid);
  g_assert_cmpint (sync_file (f, FUSE_FSYNC, nodeid, fh, 0), ==, 0);
  g_assert_cmpint (sync_file (f, FUSE_FSYNC, nodeid, fh, FUSE_FSYNC_FDATASYNC),
                   ==, 0);
  g_assert_cmpint (sync_file (f, FUSE_FSYNC, nodeid, fh + 1, 0), ==, -EBADF);
  g_assert_cmpint (vt_fuse_opendir (f->c, 1, &dir), ==, 0);
  g_assert_cmpint (sync_file (f, FUSE_FSYNCDIR, 1, dir, 0), ==, 0);
  g_assert_cmpint (vt_fuse_call (f->c, FUSE_SYNCFS, 1, &syncfs_in,
                                 sizeof syncfs_in, NULL, 0, NULL, 0),
                   ==, 0);
}

static int
allocate (VtFs *f, guint64 nodeid, guint64 fh, guint32 mode, guint64 offset,
          guint64 length)
{
  struct fuse_fallocate_in in = {
    .fh = fh, .offset = offset, .length = length, .mode = mode
  };

  return (int) vt_fuse_call (f->c, FUSE_FALLOCATE, nodeid, &in, sizeof in, NULL,
                             0, NULL, 0);
}

static gint64
seek (VtFs *f, guint64 nodeid, guint64 fh, guint64 offset, guint32 whence)
{
  struct fuse_lseek_in in = { .fh = fh, .offset = offset, .whence = whence };
  struct fuse_lseek_out out = { 0 };
  gssize n = vt_fuse_call (f->c, FUSE_LSEEK, nodeid, &in, sizeof in, NULL, 0,
                           &out, sizeof out);

  return n < 0 ? n : (gint64) out.offset;
}

static int
flush_file (VtFs *f, guint64 nodeid, guint64 fh)
{
  struct fuse_flush_in in = { .fh = fh };

  return vt_fuse_call (f->c, FUSE_FLUSH, nodeid, &in, sizeof in, NULL, 0, NULL,
                       0);
}

/* The guest does not ask again then. */
static void
test_closes_of_local_files_are_not_told (VtFs *f, gconstpointer data)
{
  guint64 nodeid, fh;

  vt_fs_put (f, "f", "content");
  fh = vt_fs_open (f, "f", O_RDWR, &nodeid);
  g_assert_cmpint (flush_file (f, nodeid, fh), ==, -ENOSYS);
}

static const VtFsConfig flush_always = { .keys = { "flush", "always" } };
static const VtFsConfig flush_never = { .keys = { "flush", "never" } };

static void
test_closes_are_told_if_wanted (VtFs *f, gconstpointer data)
{
  guint64 nodeid, fh;

  vt_fs_put (f, "f", "content");
  fh = vt_fs_open (f, "f", O_RDWR, &nodeid);
  g_assert_cmpint (flush_file (f, nodeid, fh), ==, 0);
  g_assert_cmpint (flush_file (f, nodeid, fh), ==, 0);
  g_assert_cmpint (flush_file (f, nodeid, fh + 1), ==, -EBADF);
}

static void
test_space_is_allocated_and_punched (VtFs *f, gconstpointer data)
{
  enum { LEN = 1 << 20 };
  g_autofree guint8 *bytes = pattern (LEN, 3);
  struct fuse_attr attr;
  guint64 nodeid, fh;

  g_assert_cmpint (vt_fuse_create (f->c, 1, "f", O_RDWR, 0600, &nodeid, &fh),
                   ==, 0);
  g_assert_cmpint (allocate (f, nodeid, fh, 0, 0, LEN), ==, 0);
  g_assert_cmpint (vt_fuse_getattr (f->c, nodeid, &attr), ==, 0);
  g_assert_cmpuint (attr.size, ==, LEN);
  g_assert_cmpuint (attr.blocks, >=, LEN / 512);
  g_assert_cmpint (vt_fuse_write (f->c, nodeid, fh, 0, bytes, LEN), ==, LEN);
  g_assert_cmpint (allocate (f, nodeid, fh,
                             FALLOC_FL_PUNCH_HOLE | FALLOC_FL_KEEP_SIZE,
                             LEN / 4, LEN / 4),
                   ==, 0);
  g_assert_cmpint (seek (f, nodeid, fh, 0, SEEK_HOLE), ==, LEN / 4);
  g_assert_cmpint (seek (f, nodeid, fh, LEN / 4, SEEK_DATA), ==, LEN / 2);
  g_assert_cmpint (seek (f, nodeid, fh, LEN, SEEK_DATA), ==, -ENXIO);
  g_assert_cmpint (seek (f, nodeid, fh, 0, SEEK_CUR), ==, -EINVAL);
  g_assert_cmpint (seek (f, nodeid, fh, G_MAXUINT64, SEEK_HOLE), <, 0);
  g_assert_cmpint (allocate (f, nodeid, fh, 0, 1ull << 63, 1), ==, -EINVAL);
  g_assert_cmpint (allocate (f, nodeid, fh, 0, 0, G_MAXUINT64), ==, -EINVAL);
}

/* Data that only the guest has must not be taken for a hole. */
static void
test_holes_are_not_told_to_who_collects_writes (VtFs *f, gconstpointer data)
{
  guint64 nodeid, fh;

  vt_fs_put (f, "f", "content");
  fh = vt_fs_open (f, "f", O_RDWR, &nodeid);
  g_assert_cmpint (seek (f, nodeid, fh, 0, SEEK_DATA), ==, -ENOSYS);
  g_assert_cmpint (seek (f, nodeid, fh, 0, SEEK_HOLE), ==, -ENOSYS);
}

static gint64
copy (VtFs *f, guint32 opcode, const struct fuse_copy_file_range_in *in,
      guint64 nodeid)
{
  guint64 out = 0;
  gssize n = vt_fuse_call (f->c, opcode, nodeid, in, sizeof *in, NULL, 0, &out,
                           sizeof out);

  return n < 0 ? n : (gint64) out;
}

static void
test_ranges_are_copied_between_files (VtFs *f, gconstpointer data)
{
  guint64 from, to;
  struct fuse_copy_file_range_in in = { .off_in = 2, .off_out = 1, .len = 4 };
  g_autofree char *content = NULL;

  vt_fs_put (f, "from", "0123456789");
  vt_fs_put (f, "to", "abcdefgh");
  in.fh_in = vt_fs_open (f, "from", O_RDONLY, &from);
  in.fh_out = vt_fs_open (f, "to", O_RDWR, &to);
  in.nodeid_out = to;
  g_assert_cmpint (copy (f, FUSE_COPY_FILE_RANGE, &in, from), ==, 4);
  in.off_out = 6;
  g_assert_cmpint (copy (f, VT_FUSE_COPY_FILE_RANGE_64, &in, from), ==, 4);
  content = vt_fs_get (f, "to");
  g_assert_cmpstr (content, ==, "a2345f2345");

  in.flags = 1;
  g_assert_cmpint (copy (f, FUSE_COPY_FILE_RANGE, &in, from), ==, -EINVAL);
  in.flags = 0;
  in.nodeid_out = from;
  g_assert_cmpint (copy (f, FUSE_COPY_FILE_RANGE, &in, from), ==, -EBADF);
  in.nodeid_out = to;
  in.off_in = 1ull << 63;
  g_assert_cmpint (copy (f, FUSE_COPY_FILE_RANGE, &in, from), ==, -EINVAL);
}

/* Two queues at once, from two threads, on the same and on different files. */

typedef struct {
  VtFuse *fuse;
  guint64 own, own_fh, shared, shared_fh;
} Hammer;

enum { HAMMER_ROUNDS = 500, HAMMER_LEN = 5000 };

static void *
hammer (void *data)
{
  Hammer *h = data;
  g_autofree guint8 *back = g_malloc (HAMMER_LEN);

  for (guint i = 0; i < HAMMER_ROUNDS; i++) {
    g_autofree guint8 *bytes = pattern (HAMMER_LEN, i + 1);
    struct fuse_attr attr;
    guint64 nodeid;

    g_assert_cmpint (
        vt_fuse_write (h->fuse, h->own, h->own_fh, i * 7, bytes, HAMMER_LEN),
        ==, HAMMER_LEN);
    g_assert_cmpint (
        vt_fuse_read (h->fuse, h->own, h->own_fh, i * 7, back, HAMMER_LEN), ==,
        HAMMER_LEN);
    g_assert_cmpmem (back, HAMMER_LEN, bytes, HAMMER_LEN);
    g_assert_cmpint (
        vt_fuse_read (h->fuse, h->shared, h->shared_fh, 0, back, 7), ==, 7);
    g_assert_cmpmem (back, 7, "content", 7);
    g_assert_cmpint (vt_fuse_lookup (h->fuse, 1, "shared", &nodeid, &attr), ==,
                     0);
    g_assert_cmpuint (nodeid, ==, h->shared);
    vt_fuse_forget (h->fuse, nodeid, 1);
  }
  return NULL;
}

static void
test_two_queues_work_at_once (VtFs *f, gconstpointer data)
{
  Hammer hammers[2];
  pthread_t threads[2];
  guint64 shared, fh;

  vt_fs_put (f, "shared", "content");
  fh = vt_fs_open (f, "shared", O_RDONLY, &shared);
  for (guint i = 0; i < 2; i++) {
    const char *name = i == 0 ? "one" : "two";

    hammers[i] = (Hammer){ &f->fuse[1 + i], 0, 0, shared, fh };
    g_assert_cmpint (vt_fuse_create (f->c, 1, name, O_RDWR, 0600,
                                     &hammers[i].own, &hammers[i].own_fh),
                     ==, 0);
  }
  for (guint i = 0; i < 2; i++)
    g_assert_cmpint (pthread_create (&threads[i], NULL, hammer, &hammers[i]),
                     ==, 0);
  for (guint i = 0; i < 2; i++)
    pthread_join (threads[i], NULL);
}

int
main (int argc, char **argv)
{
  g_test_init (&argc, &argv, NULL);
#define ADD(name, func) VT_FS_TEST ("/fs/data/" name, NULL, func)
#define ADD_WITH(name, config, func)                                           \
  VT_FS_TEST ("/fs/data/" name, &config, func)
  ADD ("both-ways", test_what_one_side_writes_the_other_reads);
  ADD ("split", test_split_buffers_carry_the_same_bytes);
  ADD ("scattered", test_scattered_headers_are_put_together);
  ADD ("largest", test_the_largest_request_passes);
  ADD_WITH ("large", large_writes, test_a_request_of_four_mebibytes_passes);
  ADD ("end", test_reading_ends_with_the_file);
  ADD ("holes", test_holes_read_as_zeros);
  ADD ("cold", test_cold_data_is_read_too);
  ADD_WITH ("cold/poll", poll_only, test_cold_data_is_read_too);
  ADD ("offsets", test_offsets_from_the_far_half_are_refused);
  ADD ("modes", test_access_modes_are_kept);
  ADD ("foreign-fh", test_a_foreign_fh_reads_nothing);
  ADD ("append", test_appending_ignores_the_offset);
  ADD ("synchronous", test_synchronous_writes_complete);
  ADD_WITH ("synchronous/poll", poll_only, test_synchronous_writes_complete);
  ADD ("set-id", test_writing_kills_set_id_when_asked);
  ADD_WITH ("read-only", read_only, test_a_read_only_export_is_not_written);
  ADD ("sync", test_syncing_answers);
  ADD_WITH ("sync/poll", poll_only, test_syncing_answers);
  ADD ("flush/auto", test_closes_of_local_files_are_not_told);
  ADD_WITH ("flush/never", flush_never,
            test_closes_of_local_files_are_not_told);
  ADD_WITH ("flush/always", flush_always, test_closes_are_told_if_wanted);
  ADD ("space", test_space_is_allocated_and_punched);
  ADD_WITH ("space/writeback", writeback,
            test_holes_are_not_told_to_who_collects_writes);
  ADD ("copy", test_ranges_are_copied_between_files);
  ADD_WITH ("two-queues", two_queues, test_two_queues_work_at_once);
  return g_test_run ();
}
