/* SPDX-License-Identifier: BSD-3-Clause
 *
 * test-hostile.c - what a guest may send and must not get through
 */
#include <errno.h>
#include <fcntl.h>
#include <string.h>
#include <unistd.h>

#include "tests/devices/fs/fixture.h"

static const VtFsConfig with_xattr = { .keys = { "xattr", "yes" } };

/* The device still serves. */
static void
expect_alive (VtFs *f)
{
  f->c->piece = 0;
  g_assert_cmpint (vt_fuse_getattr (f->c, 1, NULL), ==, 0);
}

/* The error of the last raw answer. */
static gint32
last_error (VtFs *f)
{
  struct fuse_out_header out;

  memcpy (&out, f->c->in, sizeof out);
  g_assert_cmpuint (out.len, ==, sizeof out);
  return out.error;
}

static void
test_headers_of_a_few_bytes_are_given_back (VtFs *f, gconstpointer data)
{
  struct fuse_in_header in = { .len = sizeof in, .opcode = FUSE_GETATTR };

  for (guint len = 1; len < sizeof in; len++) {
    g_assert_cmpuint (vt_fuse_raw (f->c, &in, len, 256), ==, 0);
    g_assert_cmpuint (vt_fuse_raw (f->c, &in, len, 0), ==, 0);
  }
  expect_alive (f);
}

static void
test_wrong_lengths_are_refused (VtFs *f, gconstpointer data)
{
  static const guint32 lens[] = { 0, 1, 39, 57, 4096, G_MAXUINT32 };
  struct {
    struct fuse_in_header in;
    struct fuse_getattr_in getattr;
  } m = { .in = { .opcode = FUSE_GETATTR, .nodeid = 1, .unique = 3 } };

  for (guint i = 0; i < G_N_ELEMENTS (lens); i++) {
    m.in.len = lens[i];
    g_assert_cmpuint (vt_fuse_raw (f->c, &m, sizeof m, 256), ==, 16);
    g_assert_cmpint (last_error (f), ==, -EINVAL);
  }
  expect_alive (f);
}

static void
test_no_room_for_the_answer_is_no_answer (VtFs *f, gconstpointer data)
{
  struct {
    struct fuse_in_header in;
    struct fuse_getattr_in getattr;
  } m = { .in = { .len = sizeof m, .opcode = FUSE_GETATTR, .nodeid = 1 } };

  for (guint room = 0; room < 16; room++)
    g_assert_cmpuint (vt_fuse_raw (f->c, &m, sizeof m, room), ==, 0);
  for (guint room = 16; room < 16 + sizeof (struct fuse_attr_out); room++) {
    g_assert_cmpuint (vt_fuse_raw (f->c, &m, sizeof m, room), ==, 16);
    g_assert_cmpint (last_error (f), ==, -EINVAL);
  }
  expect_alive (f);
}

static void
test_writes_that_lie_about_their_data_are_refused (VtFs *f, gconstpointer data)
{
  static const guint32 sizes[] = { 17, 4096, 1 << 20, 0x80000000, G_MAXUINT32 };
  struct fuse_write_in in = { .offset = 0 };
  struct fuse_write_out out;
  guint64 nodeid;

  vt_fs_put (f, "f", "content");
  in.fh = vt_fs_open (f, "f", O_RDWR, &nodeid);
  for (guint i = 0; i < G_N_ELEMENTS (sizes); i++) {
    in.size = sizes[i];
    g_assert_cmpint (vt_fuse_call (f->c, FUSE_WRITE, nodeid, &in, sizeof in,
                                   "0123456789abcdef", 16, &out, sizeof out),
                     ==, -EINVAL);
  }
  in.size = 16;
  g_assert_cmpint (vt_fuse_call (f->c, FUSE_WRITE, nodeid, &in, sizeof in,
                                 "0123456789abcdef", 16, &out, 7),
                   ==, -EINVAL);
  expect_alive (f);
}

static void
test_reads_beyond_their_buffer_are_cut (VtFs *f, gconstpointer data)
{
  struct fuse_read_in in = { .size = G_MAXUINT32 };
  guint64 nodeid;
  char text[8];

  vt_fs_put (f, "f", "content of some length");
  in.fh = vt_fs_open (f, "f", O_RDONLY, &nodeid);
  g_assert_cmpint (
      vt_fuse_call (f->c, FUSE_READ, nodeid, &in, sizeof in, NULL, 0, text, 8),
      ==, 8);
  g_assert_cmpmem (text, 8, "content ", 8);
  g_assert_cmpint (
      vt_fuse_call (f->c, FUSE_READ, nodeid, &in, sizeof in, NULL, 0, NULL, 0),
      ==, 0);
  g_assert_cmpint (
      vt_fuse_call (f->c, FUSE_READ, nodeid, &in, 39, NULL, 0, text, 8), ==,
      -EINVAL);
}

static void
test_too_many_forgets_are_ignored (VtFs *f, gconstpointer data)
{
  struct {
    struct fuse_in_header in;
    struct fuse_batch_forget_in batch;
    struct fuse_forget_one one;
  } m = { .in = { .len = sizeof m, .opcode = FUSE_BATCH_FORGET },
          .batch = { .count = G_MAXUINT32 } };
  guint64 nodeid;

  vt_fs_put (f, "f", "x");
  g_assert_cmpint (vt_fuse_lookup (f->c, 1, "f", &nodeid, NULL), ==, 0);
  m.one = (struct fuse_forget_one){ nodeid, 1 };
  g_assert_cmpuint (vt_fuse_raw (f->c, &m, sizeof m, 0), ==, 0);
  g_assert_cmpint (vt_fuse_getattr (f->c, nodeid, NULL), ==, 0);
}

static void
test_bogus_interrupts_cost_nothing (VtFs *f, gconstpointer data)
{
  struct {
    struct fuse_in_header in;
    struct fuse_interrupt_in interrupt;
  } m = { .in = { .len = sizeof m, .opcode = FUSE_INTERRUPT } };

  for (guint i = 0; i < 1000; i++) {
    m.interrupt.unique = i;
    g_assert_cmpuint (vt_fuse_raw (&f->fuse[0], &m, sizeof m, 0), ==, 0);
  }
  expect_alive (f);
}

static void
test_requests_do_not_belong_on_the_urgent_queue (VtFs *f, gconstpointer data)
{
  guint64 nodeid;
  char text[8];

  g_assert_cmpint (vt_fuse_getattr (&f->fuse[0], 1, NULL), ==, -EINVAL);
  g_assert_cmpint (vt_fuse_lookup (&f->fuse[0], 1, "f", &nodeid, NULL), ==,
                   -EINVAL);
  g_assert_cmpint (vt_fuse_read (&f->fuse[0], 1, 1, 0, text, 8), ==, -EINVAL);
  g_assert_cmpint (vt_fuse_init (&f->fuse[0], 0), ==, -EINVAL);
  expect_alive (f);
}

static void
test_made_up_ids_are_stale (VtFs *f, gconstpointer data)
{
  static const guint64 ids[] = { 0,           2,
                                 3,           1ull << 32,
                                 1ull << 63,  G_MAXUINT32,
                                 G_MAXUINT64, (1ull << 32) + 5000000 };
  guint64 other, fh;
  char text[4096];

  for (guint i = 0; i < G_N_ELEMENTS (ids); i++) {
    g_assert_cmpint (vt_fuse_getattr (f->c, ids[i], NULL), ==, -ESTALE);
    g_assert_cmpint (vt_fuse_lookup (f->c, ids[i], "f", &other, NULL), ==,
                     -ESTALE);
    g_assert_cmpint (vt_fuse_open (f->c, ids[i], O_RDONLY, &fh, NULL), ==,
                     -ESTALE);
    g_assert_cmpint (vt_fuse_mkdir (f->c, ids[i], "d", 0700, &other), ==,
                     -ESTALE);
    g_assert_cmpint (vt_fuse_rename (f->c, 1, "a", ids[i], "b", 0), ==,
                     -ESTALE);
    g_assert_cmpint (vt_fuse_rename (f->c, ids[i], "a", 1, "b", 0), ==,
                     -ESTALE);
    g_assert_cmpint (vt_fuse_link (f->c, ids[i], 1, "b"), ==, -ESTALE);
    g_assert_cmpint (vt_fuse_unlink (f->c, ids[i], "b"), ==, -ESTALE);
    g_assert_cmpint (vt_fuse_readlink (f->c, ids[i], text), ==, -ESTALE);
    g_assert_cmpint (vt_fuse_read (f->c, 1, ids[i], 0, text, 8), ==, -EBADF);
    g_assert_cmpint (vt_fuse_release (f->c, 1, ids[i]), ==, -EBADF);
  }
}

static void
test_names_that_are_paths_are_refused (VtFs *f, gconstpointer data)
{
  static const char *const names[] = { "/", "/etc", "a/b", "../x", "x/..", "" };
  guint64 nodeid, fh;

  for (guint i = 0; i < G_N_ELEMENTS (names); i++) {
    const char *name = names[i];

    g_assert_cmpint (vt_fuse_lookup (f->c, 1, name, &nodeid, NULL), ==,
                     -EINVAL);
    g_assert_cmpint (vt_fuse_create (f->c, 1, name, O_RDWR, 0600, &nodeid, &fh),
                     ==, -EINVAL);
    g_assert_cmpint (vt_fuse_symlink (f->c, 1, name, "x", &nodeid), ==,
                     -EINVAL);
    g_assert_cmpint (vt_fuse_rename (f->c, 1, "a", 1, name, 0), ==, -EINVAL);
    g_assert_cmpint (vt_fuse_unlink (f->c, 1, name), ==, -EINVAL);
  }
  g_assert_cmpint (vt_fuse_rmdir (f->c, 1, ".."), ==, -EINVAL);
  g_assert_cmpint (vt_fuse_unlink (f->c, 1, "."), ==, -EINVAL);
}

static void
test_names_without_an_end_are_refused (VtFs *f, gconstpointer data)
{
  struct fuse_entry_out out;
  g_autofree char *longest = g_strnfill (100000, 'x');
  guint64 nodeid;

  g_assert_cmpint (
      vt_fuse_call (f->c, FUSE_LOOKUP, 1, NULL, 0, "abc", 3, &out, sizeof out),
      ==, -EINVAL);
  g_assert_cmpint (
      vt_fuse_call (f->c, FUSE_LOOKUP, 1, NULL, 0, NULL, 0, &out, sizeof out),
      ==, -EINVAL);
  g_assert_cmpint (vt_fuse_lookup (f->c, 1, longest, &nodeid, NULL), ==,
                   -ENAMETOOLONG);
}

static void
test_messages_beyond_all_bounds_are_refused (VtFs *f, gconstpointer data)
{
  g_autofree char *bytes = g_strnfill (300000, 'x');

  g_assert_cmpint (
      vt_fuse_call (f->c, FUSE_LOOKUP, 1, NULL, 0, bytes, 300000, NULL, 256),
      ==, -EINVAL);
  expect_alive (f);
}

static void
test_attribute_values_are_bounded (VtFs *f, gconstpointer data)
{
  struct fuse_setxattr_in in = { .size = 65537 };
  struct fuse_getxattr_in get = { .size = G_MAXUINT32 };
  g_autofree char *tail = g_strnfill (7 + 70000, 'x');
  char value[8];

  memcpy (tail, "user.a", 7);
  g_assert_cmpint (vt_fuse_call (f->c, FUSE_SETXATTR, 1, &in, sizeof in, tail,
                                 7 + 65537, NULL, 0),
                   <, 0);
  in.size = 70000;
  g_assert_cmpint (vt_fuse_call (f->c, FUSE_SETXATTR, 1, &in, sizeof in, tail,
                                 7 + 60000, NULL, 0),
                   ==, -EINVAL);
  g_assert_cmpint (vt_fuse_call (f->c, FUSE_GETXATTR, 1, &get, sizeof get,
                                 "user.a", 7, value, 8),
                   <, 0);
  g_assert_cmpint (vt_fuse_call (f->c, FUSE_LISTXATTR, 1, &get, sizeof get,
                                 NULL, 0, value, 8),
                   <=, 8);
  expect_alive (f);
}

/* Random messages of every opcode; whatever is answered, the device lives. */
static void
test_random_messages_harm_nothing (VtFs *f, gconstpointer data)
{
  struct {
    struct fuse_in_header in;
    guint8 bytes[400];
  } m;

  for (guint i = 0; i < 20000; i++) {
    guint len = (guint) g_test_rand_int_range (0, sizeof m.bytes);

    for (guint k = 0; k < sizeof m.bytes; k++)
      m.bytes[k] = (guint8) (g_test_rand_int () & g_test_rand_int ());
    m.in = (struct fuse_in_header){
      .len = (guint32) (sizeof m.in + len),
      .opcode = (guint32) g_test_rand_int_range (0, 60),
      .unique = i,
      .nodeid = (guint64) g_test_rand_int_range (0, 3),
      .total_extlen = (guint16) (g_test_rand_bit () ? 0 : 2),
    };
    /* Sessions and changes of the root's owner would end the test early. */
    if (m.in.opcode == FUSE_INIT || m.in.opcode == FUSE_DESTROY ||
        m.in.opcode == FUSE_SETATTR)
      continue;
    f->c->piece = (gsize) g_test_rand_int_range (0, 3) * 37;
    vt_fuse_raw (f->c, &m, m.in.len, (gsize) g_test_rand_int_range (0, 600));
  }
  expect_alive (f);
}

int
main (int argc, char **argv)
{
  g_test_init (&argc, &argv, NULL);
#define ADD(name, func) VT_FS_TEST ("/fs/hostile/" name, NULL, func)
  ADD ("header", test_headers_of_a_few_bytes_are_given_back);
  ADD ("length", test_wrong_lengths_are_refused);
  ADD ("room", test_no_room_for_the_answer_is_no_answer);
  ADD ("write", test_writes_that_lie_about_their_data_are_refused);
  ADD ("read", test_reads_beyond_their_buffer_are_cut);
  ADD ("forget", test_too_many_forgets_are_ignored);
  ADD ("interrupt", test_bogus_interrupts_cost_nothing);
  ADD ("urgent", test_requests_do_not_belong_on_the_urgent_queue);
  ADD ("ids", test_made_up_ids_are_stale);
  ADD ("names", test_names_that_are_paths_are_refused);
  ADD ("names/end", test_names_without_an_end_are_refused);
  ADD ("size", test_messages_beyond_all_bounds_are_refused);
  VT_FS_TEST ("/fs/hostile/xattr", &with_xattr,
              test_attribute_values_are_bounded);
  ADD ("random", test_random_messages_harm_nothing);
  return g_test_run ();
}
