/* SPDX-License-Identifier: BSD-3-Clause
 *
 * test-session.c - options, INIT, reboots and what they leave behind
 */
#include <errno.h>
#include <fcntl.h>
#include <pthread.h>
#include <stdatomic.h>
#include <string.h>
#include <unistd.h>

#include "devices/fs/fs.h"
#include "tests/devices/fs/fixture.h"

static const VtFsConfig no_init = { .no_init = TRUE };
static const VtFsConfig no_init_two = { .no_init = TRUE, .n_queues = 2 };
static const VtFsConfig writeback = { .keys = { "writeback", "yes" } };
static const VtFsConfig acl_always = {
  .keys = { "xattr", "yes", "posix-acl", "always" }, .no_init = TRUE
};
static const VtFsConfig no_submounts = { .keys = { "announce-submounts",
                                                   "no" } };
static const VtFsConfig tagged = { .keys = { "tag", "shared" }, .n_queues = 2 };

static gssize
init_with (VtFs *f, guint32 major, guint32 minor, guint64 flags,
           struct fuse_init_out *out)
{
  struct fuse_init_in in = {
    .major = major,
    .minor = minor,
    .max_readahead = 131072,
    .flags = (guint32) flags,
    .flags2 = (guint32) (flags >> 32),
  };

  return vt_fuse_call (f->c, FUSE_INIT, 0, &in, sizeof in, NULL, 0, out,
                       sizeof *out);
}

static void
test_init_offers_what_the_guest_knows (VtFs *f, gconstpointer data)
{
  struct fuse_init_out out;
  guint64 flags;

  g_assert_cmpint (init_with (f, 7, 36,
                              FUSE_ASYNC_READ | FUSE_MAX_PAGES | FUSE_INIT_EXT |
                                  0xffffffff00000000,
                              &out),
                   ==, sizeof out);
  flags = out.flags | (guint64) out.flags2 << 32;
  g_assert_cmpuint (out.major, ==, 7);
  g_assert_cmpuint (out.minor, ==, 36);
  g_assert_cmphex (out.flags, ==,
                   FUSE_ASYNC_READ | FUSE_MAX_PAGES | FUSE_INIT_EXT);
  g_assert_cmphex (flags & (1ull << 34), !=, 0); /* CREATE_SUPP_GROUP */
  g_assert_cmphex (flags & (1ull << 36), !=, 0); /* DIRECT_IO_ALLOW_MMAP */
  g_assert_cmphex (flags & (1ull << 37), ==, 0); /* PASSTHROUGH */
  g_assert_cmphex (flags & (1ull << 41), ==, 0); /* OVER_IO_URING */
  g_assert_cmphex (flags & FUSE_SECURITY_CTX, ==, 0);
  g_assert_cmpuint (out.max_write, ==, 1 << 20);
  g_assert_cmpuint (out.max_pages, ==, 256);
  g_assert_cmpuint (out.time_gran, ==, 1);

  /* Without INIT_EXT there are no upper flags, whatever stands there. */
  g_assert_cmpint (init_with (f, 7, 31, 0xffffffff00000000, &out), ==,
                   sizeof out);
  g_assert_cmphex (out.flags2, ==, 0);
  g_assert_cmpuint (out.max_write, ==, 32 * 4096);
}

static const VtFsConfig small_writes = { .keys = { "max-write", "70000" } };
static const VtFsConfig large_writes = { .keys = { "max-write", "4M" } };

static void
test_init_has_the_largest_request (VtFs *f, gconstpointer data)
{
  gboolean large = data == &large_writes;
  struct fuse_init_out out;

  g_assert_cmpint (init_with (f, 7, 36, FUSE_MAX_PAGES, &out), ==, sizeof out);
  g_assert_cmpuint (out.max_write, ==, large ? 4 << 20 : 17 * 4096);
  g_assert_cmpuint (out.max_pages, ==, large ? 1024 : 17);
  g_assert_cmpint (init_with (f, 7, 31, 0, &out), ==, sizeof out);
  g_assert_cmpuint (out.max_write, ==, large ? 32 * 4096 : 17 * 4096);
}

static void
test_init_of_an_old_guest_is_short (VtFs *f, gconstpointer data)
{
  const guint32 in[4] = { 7, 31, 131072, FUSE_ASYNC_READ };
  struct fuse_init_out out;

  g_assert_cmpint (vt_fuse_call (f->c, FUSE_INIT, 0, in, sizeof in, NULL, 0,
                                 &out, sizeof out),
                   ==, sizeof out);
  g_assert_cmphex (out.flags, ==, FUSE_ASYNC_READ);
  g_assert_cmpint (vt_fuse_getattr (f->c, 1, NULL), ==, 0);
}

static void
test_other_versions_are_negotiated_or_refused (VtFs *f, gconstpointer data)
{
  struct fuse_init_out out;

  g_assert_cmpint (init_with (f, 6, 0, 0, &out), ==, -EPROTO);
  g_assert_cmpint (init_with (f, 7, 8, 0, &out), ==, -EPROTO);
  /* A newer major asks again with ours; nothing has begun. */
  g_assert_cmpint (init_with (f, 8, 0, 0, &out), ==, sizeof out);
  g_assert_cmpuint (out.major, ==, 7);
  g_assert_cmpint (vt_fuse_getattr (f->c, 1, NULL), ==, -EIO);
  g_assert_cmpint (init_with (f, 7, 99, 0, &out), ==, sizeof out);
  g_assert_cmpuint (out.minor, ==, 45);
  g_assert_cmpint (vt_fuse_getattr (f->c, 1, NULL), ==, 0);
}

static void
test_nothing_is_served_before_init (VtFs *f, gconstpointer data)
{
  char text[8];
  guint64 nodeid;

  g_assert_cmpint (vt_fuse_lookup (f->c, 1, "f", &nodeid, NULL), ==, -EIO);
  g_assert_cmpint (vt_fuse_read (f->c, 1, 1, 0, text, 8), ==, -EIO);
  g_assert_cmpint (vt_fuse_write (f->c, 1, 1, 0, text, 8), ==, -EIO);
  vt_fuse_forget (f->c, 1, 1);
  g_assert_cmpint (vt_fuse_destroy (f->c), ==, 0);
  g_assert_cmpint (vt_fuse_init (f->c, 0), ==, 0);
  g_assert_cmpint (vt_fuse_getattr (f->c, 1, NULL), ==, 0);
  g_assert_cmpint (vt_fuse_destroy (f->c), ==, 0);
  g_assert_cmpint (vt_fuse_getattr (f->c, 1, NULL), ==, -EIO);
}

static void
test_options_turn_flags_on (VtFs *f, gconstpointer data)
{
  const VtFsConfig *config = data;

  g_assert_cmpint ((f->c->flags & FUSE_WRITEBACK_CACHE) != 0, ==,
                   config == &writeback);
  g_assert_cmpint ((f->c->flags & FUSE_SUBMOUNTS) != 0, ==,
                   config != &no_submounts);
}

static void
test_acls_that_must_be_fail_without (VtFs *f, gconstpointer data)
{
  struct fuse_init_out out;

  g_assert_cmpint (init_with (f, 7, 36, FUSE_ASYNC_READ, &out), ==,
                   -EOPNOTSUPP);
  g_assert_cmpint (vt_fuse_init (f->c, 0), ==, 0);
}

/* A file that is opened for writing only must be read by a guest that collects
 * writes. */
static void
test_writeback_opens_for_reading_too (VtFs *f, gconstpointer data)
{
  guint64 nodeid, fh;
  char text[8];

  vt_fs_put (f, "f", "content");
  fh = vt_fs_open (f, "f", O_WRONLY, &nodeid);
  g_assert_cmpint (vt_fuse_read (f->c, nodeid, fh, 0, text, 8), ==, 7);
}

static void
test_the_tag_is_in_config_space (VtFs *f, gconstpointer data)
{
  VdDevice *dev = f->rig->dev;
  char tag[36] = "";
  guint32 n_queues;

  vd_config_read (&dev->config, 0, tag, sizeof tag);
  vd_config_read (&dev->config, 36, &n_queues, sizeof n_queues);
  g_assert_cmpuint (dev->virtio_id, ==, 26);
  g_assert_cmpint (dev->offer_config, ==, data == &tagged);
  g_assert_cmpstr (tag, ==, data == &tagged ? "shared" : "");
  g_assert_cmpuint (n_queues, ==, data == &tagged ? 2 : 1);
  g_assert_cmpuint (dev->n_queues, ==, n_queues + 1);
}

/* A reset closes descriptors on a thread of its own. */
static void
await_fds (guint wanted)
{
  for (guint i = 0; vt_fs_n_fds () != wanted && i < VT_TIMEOUT_MS; i++)
    g_usleep (1000);
  g_assert_cmpuint (vt_fs_n_fds (), ==, wanted);
}

/* Fills the tables as a guest in use does. */
static void
use (VtFs *f)
{
  guint64 nodeid, fh, dir;

  g_assert_cmpint (vt_fuse_init (f->c, 0), ==, 0);
  for (guint i = 0; i < 10; i++) {
    g_autofree char *name = g_strdup_printf ("f%u", i);

    g_assert_cmpint (vt_fuse_create (f->c, 1, name, O_RDWR, 0600, &nodeid, &fh),
                     ==, 0);
    g_assert_cmpint (vt_fuse_write (f->c, nodeid, fh, 0, "x", 1), ==, 1);
  }
  g_assert_cmpint (vt_fuse_opendir (f->c, 1, &dir), ==, 0);
}

static void
test_init_again_forgets_everything (VtFs *f, gconstpointer data)
{
  guint64 nodeid, fh;
  char text[8];
  guint fds;

  use (f);
  fds = vt_fs_n_fds ();
  vt_fs_put (f, "f", "content");
  for (guint i = 0; i < 100; i++) {
    fh = vt_fs_open (f, "f", O_RDONLY, &nodeid);
    use (f);
    g_assert_cmpint (vt_fuse_getattr (f->c, nodeid, NULL), ==, -ESTALE);
    g_assert_cmpint (vt_fuse_read (f->c, nodeid, fh, 0, text, 8), ==, -EBADF);
  }
  g_assert_cmpuint (vt_fs_n_fds (), ==, fds);
}

static void
test_a_reboot_leaves_nothing_behind (VtFs *f, gconstpointer data)
{
  guint fds, idle;

  vt_rig_reset (f->rig);
  idle = vt_fs_n_fds ();
  vt_fs_reboot (f);
  use (f);
  vt_fs_reboot (f);
  g_assert_cmpint (vt_fuse_getattr (f->c, 1, NULL), ==, -EIO);
  vt_rig_reset (f->rig);
  await_fds (idle);
  vt_fs_reboot (f);
  use (f);
  fds = vt_fs_n_fds ();
  for (guint i = 0; i < 100; i++) {
    vt_fs_reboot (f);
    use (f);
  }
  await_fds (fds);
}

/* One queue starts sessions while another one is in the middle of things. */

typedef struct {
  VtFuse *fuse;
  atomic_bool end;
  atomic_uint n;
} Busy;

static void *
be_busy (void *data)
{
  Busy *busy = data;
  VtFuse *c = busy->fuse;
  char text[8];

  while (!atomic_load (&busy->end)) {
    guint64 nodeid = 0, fh = 0;
    int r = vt_fuse_lookup (c, 1, "f", &nodeid, NULL);

    if (r == 0)
      r = vt_fuse_open (c, nodeid, O_RDONLY, &fh, NULL);
    if (r == 0)
      r = (int) vt_fuse_read (c, nodeid, fh, 0, text, 7);
    if (r == 7)
      g_assert_cmpmem (text, 7, "content", 7);
    else if (r != -EIO && r != -ESTALE)
      g_assert_cmpint (r, ==, -EBADF);
    atomic_fetch_add (&busy->n, 1);
  }
  return NULL;
}

static void
test_sessions_change_under_load (VtFs *f, gconstpointer data)
{
  Busy busy = { .fuse = &f->fuse[2] };
  pthread_t thread;
  guint fds;

  g_assert_cmpint (vt_fuse_init (f->c, 0), ==, 0);
  vt_fs_put (f, "f", "content");
  fds = vt_fs_n_fds ();
  g_assert_cmpint (pthread_create (&thread, NULL, be_busy, &busy), ==, 0);
  for (guint i = 0; i < 200 || atomic_load (&busy.n) < 200; i++)
    g_assert_cmpint (vt_fuse_init (f->c, 0), ==, 0);
  atomic_store (&busy.end, TRUE);
  pthread_join (thread, NULL);
  g_assert_cmpint (vt_fuse_init (f->c, 0), ==, 0);
  g_assert_cmpuint (vt_fs_n_fds (), ==, fds);
}

/* Mistakes of the user. */

static void
expect_refusal (const char *key, const char *value, const char *text)
{
  g_autoptr (VtGuest) guest = vt_guest_new (0);
  g_autoptr (GError) error = NULL;
  gboolean is_source = strcmp (key, "source") == 0;
  VtRig *rig = vt_rig_open (guest, &vd_fs_ops, &error, key, value,
                            is_source ? NULL : "source", "/tmp", NULL);

  g_assert_null (rig);
  g_assert_nonnull (error);
  g_test_message ("%s", error->message);
  g_assert_nonnull (strstr (error->message, text));
}

static void
test_mistakes_are_named (void)
{
  expect_refusal ("source", "/nonexistent/dir", "source=/nonexistent/dir");
  expect_refusal ("source", "/dev/null", "Not a directory");
  expect_refusal ("tag", "", "tag");
  expect_refusal ("open", "lazy", "read-only=yes");
  expect_refusal ("tag", "0123456789012345678901234567890123456", "36 bytes");
  expect_refusal ("posix-acl", "always", "xattr=yes");
  expect_refusal ("cache", "sometimes", "cache");
  expect_refusal ("queues", "0", "queues");
  expect_refusal ("queues", "1024", "queues");
}

int
main (int argc, char **argv)
{
  g_test_init (&argc, &argv, NULL);
#define ADD(name, func) VT_FS_TEST ("/fs/session/" name, NULL, func)
#define ADD_WITH(name, config, func)                                           \
  VT_FS_TEST ("/fs/session/" name, &config, func)
  ADD_WITH ("init/flags", no_init, test_init_offers_what_the_guest_knows);
  ADD_WITH ("init/short", no_init, test_init_of_an_old_guest_is_short);
  ADD_WITH ("init/versions", no_init,
            test_other_versions_are_negotiated_or_refused);
  ADD_WITH ("init/before", no_init, test_nothing_is_served_before_init);
  ADD ("init/plain", test_options_turn_flags_on);
  ADD_WITH ("init/small", small_writes, test_init_has_the_largest_request);
  ADD_WITH ("init/large", large_writes, test_init_has_the_largest_request);
  ADD_WITH ("init/writeback", writeback, test_options_turn_flags_on);
  ADD_WITH ("init/submounts", no_submounts, test_options_turn_flags_on);
  ADD_WITH ("init/acl", acl_always, test_acls_that_must_be_fail_without);
  ADD_WITH ("writeback", writeback, test_writeback_opens_for_reading_too);
  ADD ("config", test_the_tag_is_in_config_space);
  ADD_WITH ("config/tag", tagged, test_the_tag_is_in_config_space);
  ADD ("again", test_init_again_forgets_everything);
  ADD ("reboot", test_a_reboot_leaves_nothing_behind);
  ADD_WITH ("load", no_init_two, test_sessions_change_under_load);
  g_test_add_func ("/fs/session/mistakes", test_mistakes_are_named);
  return g_test_run ();
}
