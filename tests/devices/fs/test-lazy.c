/* SPDX-License-Identifier: BSD-3-Clause
 *
 * test-lazy.c - policies of opening and caching, as the guest sees them
 */
#include <errno.h>
#include <fcntl.h>
#include <glib/gstdio.h>
#include <string.h>
#include <unistd.h>

#include "tests/devices/fs/fixture.h"

#define EXPLICIT_INVAL (1ull << 25) /* by the kernel's header */
#define NO_EXPORT      (1ull << 38)

static const VtFsConfig lazy = {
  .keys = { "open", "lazy", "read-only", "yes", "fd-budget", "64" },
};

static void
test_files_are_read_without_being_opened (VtFs *f, gconstpointer data)
{
  struct fuse_getattr_in getattr = { .getattr_flags = FUSE_GETATTR_FH };
  struct fuse_lseek_in seek = { .whence = SEEK_HOLE };
  struct fuse_lseek_out end;
  struct fuse_attr_out attr;
  guint64 nodeid, fh;
  char text[8] = "";

  vt_fs_put (f, "f", "content");
  g_assert_cmpint (vt_fuse_lookup (f->c, 1, "f", &nodeid, NULL), ==, 0);
  g_assert_cmpint (vt_fuse_open (f->c, nodeid, O_RDONLY, &fh, NULL), ==,
                   -ENOSYS);
  g_assert_cmpint (vt_fuse_open (f->c, nodeid, O_RDWR, &fh, NULL), ==, -EROFS);
  g_assert_cmpint (vt_fuse_read (f->c, nodeid, 0, 0, text, 8), ==, 7);
  g_assert_cmpstr (text, ==, "content");
  g_assert_cmpint (vt_fuse_call (f->c, FUSE_GETATTR, nodeid, &getattr,
                                 sizeof getattr, NULL, 0, &attr, sizeof attr),
                   ==, sizeof attr);
  g_assert_cmpuint (attr.attr.size, ==, 7);
  g_assert_cmpint (vt_fuse_call (f->c, FUSE_LSEEK, nodeid, &seek, sizeof seek,
                                 NULL, 0, &end, sizeof end),
                   ==, sizeof end);
  g_assert_cmpuint (end.offset, ==, 7);
  /* Other fhs are still nobody's, and directories are no files. */
  g_assert_cmpint (vt_fuse_read (f->c, nodeid, 5, 0, text, 8), ==, -EBADF);
  g_assert_cmpint (vt_fuse_read (f->c, nodeid, 1ull << 32 | 1, 0, text, 8), ==,
                   -EBADF);
  g_assert_cmpint (vt_fuse_read (f->c, 1, 0, 0, text, 8), ==, -EBADF);
  g_assert_cmpint (vt_fuse_write (f->c, nodeid, 0, 0, "x", 1), ==, -EROFS);
}

static void
test_lazy_files_stay_within_the_budget (VtFs *f, gconstpointer data)
{
  guint before = vt_fs_n_fds ();
  guint64 nodeids[300];
  char text[8];

  for (guint i = 0; i < G_N_ELEMENTS (nodeids); i++) {
    g_autofree char *name = g_strdup_printf ("f%03u", i);

    vt_fs_put (f, name, name);
    g_assert_cmpint (vt_fuse_lookup (f->c, 1, name, &nodeids[i], NULL), ==, 0);
  }
  for (guint i = 0; i < 3 * G_N_ELEMENTS (nodeids); i++) {
    guint k = i * 7 % G_N_ELEMENTS (nodeids);
    g_autofree char *name = g_strdup_printf ("f%03u", k);

    g_assert_cmpint (vt_fuse_read (f->c, nodeids[k], 0, 0, text, 8), ==, 4);
    g_assert_cmpmem (text, 4, name, 4);
    g_assert_cmpuint (vt_fs_n_fds (), <=, before + 64);
  }
  for (guint i = 0; i < G_N_ELEMENTS (nodeids); i++)
    vt_fuse_forget (f->c, nodeids[i], 1);
  g_assert_cmpuint (vt_fs_n_fds (), ==, before);
}

enum { IN_DIR = 500 };

/* Lists what comes behind @offset by one READDIR of @room bytes.
 * @seen: counts of "f000", "f001", ...
 * Returns: where the next one begins, or 0 at the end. */
static guint64
list_some (VtFs *f, guint64 nodeid, guint64 offset, guint32 room, guint *seen)
{
  g_autofree guint8 *bytes = g_malloc (room);
  gssize n = vt_fuse_readdir (f->c, nodeid, 0, offset, FALSE, bytes, room);
  guint64 last = 0;

  g_assert_cmpint (n, >=, 0);
  for (gssize at = 0; at < n;) {
    const struct fuse_dirent *entry = (const void *) (bytes + at);

    if (entry->name[0] == 'f')
      seen[g_ascii_strtoull (entry->name + 1, NULL, 10)]++;
    last = entry->off;
    at += (gssize) FUSE_DIRENT_SIZE (entry);
  }
  return last;
}

/* Two that list it at the same time, in pieces of different sizes. */
static void
test_directories_are_listed_without_being_opened (VtFs *f, gconstpointer data)
{
  guint seen[2][IN_DIR] = { 0 };
  guint64 at[2] = { 0 }, nodeid, file, fh;
  gboolean ended[2] = { FALSE };
  g_autofree char *dir = vt_fs_path (f, "d");
  struct fuse_fsync_in sync = { 0 };
  guint8 bytes[512];

  g_assert_no_errno (g_mkdir (dir, 0755));
  for (guint i = 0; i < IN_DIR; i++) {
    g_autofree char *name = g_strdup_printf ("d/f%03u", i);

    vt_fs_put (f, name, "");
  }
  g_assert_cmpint (vt_fuse_lookup (f->c, 1, "d", &nodeid, NULL), ==, 0);
  g_assert_cmpint (vt_fuse_opendir (f->c, nodeid, &fh), ==, -ENOSYS);
  while (!ended[0] || !ended[1])
    for (guint who = 0; who < 2; who++)
      if (!ended[who]) {
        at[who] = list_some (f, nodeid, at[who], 300 + who * 700, seen[who]);
        ended[who] = at[who] == 0;
      }
  for (guint i = 0; i < IN_DIR; i++) {
    g_assert_cmpuint (seen[0][i], ==, 1);
    g_assert_cmpuint (seen[1][i], ==, 1);
  }
  g_assert_cmpint (vt_fuse_call (f->c, FUSE_FSYNCDIR, nodeid, &sync,
                                 sizeof sync, NULL, 0, NULL, 0),
                   ==, 0);
  /* Files are no directories. */
  g_assert_cmpint (vt_fuse_lookup (f->c, nodeid, "f000", &file, NULL), ==, 0);
  g_assert_cmpint (vt_fuse_readdir (f->c, file, 0, 0, FALSE, bytes, 512), ==,
                   -EBADF);
  g_assert_cmpint (vt_fuse_call (f->c, FUSE_FSYNC, file, &sync, sizeof sync,
                                 NULL, 0, NULL, 0),
                   ==, 0);
}

/* What has come since is in the list of who begins now, though another one has
 * stopped in the middle. */
static void
test_a_list_begins_with_what_is_there (VtFs *f, gconstpointer data)
{
  guint seen[IN_DIR] = { 0 };
  guint64 at = 0;

  vt_fs_put (f, "f000", "");
  vt_fs_put (f, "f001", "");
  (void) list_some (f, 1, 0, 64, seen);
  vt_fs_put (f, "f002", "");
  memset (seen, 0, sizeof seen);
  do
    at = list_some (f, 1, at, 64, seen);
  while (at != 0);
  g_assert_cmpuint (seen[0] + seen[1] + seen[2], ==, 3);
}

/* An old guest, which does not know that it may leave OPEN out. */
static void
test_guests_that_must_open_can (VtFs *f, gconstpointer data)
{
  guint64 nodeid, fh;
  char text[8];

  g_assert_cmpint (vt_fuse_destroy (f->c), ==, 0);
  g_assert_cmpint (vt_fuse_init (f->c, FUSE_ASYNC_READ | FUSE_MAX_PAGES), ==,
                   0);
  vt_fs_put (f, "f", "content");
  fh = vt_fs_open (f, "f", O_RDONLY, &nodeid);
  g_assert_cmpint (vt_fuse_read (f->c, nodeid, fh, 0, text, 8), ==, 7);
  g_assert_cmpint (vt_fuse_read (f->c, nodeid, 0, 0, text, 8), ==, -EBADF);
  g_assert_cmpint (vt_fuse_opendir (f->c, 1, &fh), ==, 0);
  g_assert_cmpint (vt_fuse_readdir (f->c, 1, 0, 0, FALSE, text, 8), ==, -EBADF);
}

/* What INIT agrees on by policy. */

static const VtFsConfig always = { .keys = { "cache", "always" } };
static const VtFsConfig never = {
  .keys = { "cache", "never", "readdirplus", "no", "jail", "live" },
};

static void
test_for_ever_means_until_told (VtFs *f, gconstpointer data)
{
  g_assert_cmphex (f->c->flags & EXPLICIT_INVAL, !=, 0);
  g_assert_cmphex (f->c->flags & FUSE_AUTO_INVAL_DATA, ==, 0);
  g_assert_cmphex (f->c->flags & FUSE_DO_READDIRPLUS, !=, 0);
}

static void
test_policies_are_agreed_on (VtFs *f, gconstpointer data)
{
  guint64 nodeid, fh;
  guint32 flags;

  g_assert_cmphex (f->c->flags & EXPLICIT_INVAL, ==, 0);
  g_assert_cmphex (f->c->flags & FUSE_AUTO_INVAL_DATA, !=, 0);
  g_assert_cmphex (f->c->flags & FUSE_DO_READDIRPLUS, ==, 0);
  g_assert_cmphex (f->c->flags & FUSE_READDIRPLUS_AUTO, ==, 0);
  g_assert_cmphex (f->c->flags & FUSE_EXPORT_SUPPORT, ==, 0);
  g_assert_cmphex (f->c->flags & NO_EXPORT, !=, 0);
  g_assert_cmphex (f->c->flags & FUSE_NO_OPEN_SUPPORT, ==, 0);
  g_assert_cmphex (f->c->flags & FUSE_NO_OPENDIR_SUPPORT, ==, 0);
  vt_fs_put (f, "f", "content");
  g_assert_cmpint (vt_fuse_lookup (f->c, 1, "f", &nodeid, NULL), ==, 0);
  g_assert_cmpint (vt_fuse_open (f->c, nodeid, O_RDONLY, &fh, &flags), ==, 0);
  g_assert_cmphex (flags & FOPEN_DIRECT_IO, !=, 0);
}

/* Flags of the guest that go on to the host. */

static const VtFsConfig passed = {
  .keys = { "direct-io", "yes", "preserve-noatime", "yes" },
};
static const VtFsConfig not_passed;

/* Returns: whether a descriptor of this process with @name open has @flag. */
static gboolean
is_open_with (VtFs *f, const char *name, int flag)
{
  g_autofree char *path = vt_fs_path (f, name);

  for (int fd = 0; fd < 1024; fd++) {
    g_autofree char *link = g_strdup_printf ("/proc/self/fd/%d", fd);
    g_autofree char *target = g_file_read_link (link, NULL);
    int flags = fcntl (fd, F_GETFL);

    if (target != NULL && flags >= 0 && (flags & (flag | O_PATH)) == flag &&
        g_str_has_suffix (target, strrchr (path, '/')))
      return TRUE;
  }
  return FALSE;
}

static void
test_flags_go_on_if_wanted (VtFs *f, gconstpointer data)
{
  gboolean wanted = data == &passed;
  guint64 nodeid, fh;
  int r;

  vt_fs_put (f, "flags", "content");
  g_assert_cmpint (vt_fuse_lookup (f->c, 1, "flags", &nodeid, NULL), ==, 0);
  r = vt_fuse_open (f->c, nodeid, O_RDONLY | O_DIRECT | O_NOATIME, &fh, NULL);
  if (wanted && r == -EINVAL) {
    g_test_skip ("the temporary directory knows no O_DIRECT");
    return;
  }
  g_assert_cmpint (r, ==, 0);
  g_assert_cmpint (is_open_with (f, "flags", O_DIRECT), ==, wanted);
  g_assert_cmpint (is_open_with (f, "flags", O_NOATIME), ==, wanted);
}

int
main (int argc, char **argv)
{
  g_test_init (&argc, &argv, NULL);
#define ADD(name, config, func) VT_FS_TEST ("/fs/lazy/" name, &config, func)
  ADD ("read", lazy, test_files_are_read_without_being_opened);
  ADD ("list", lazy, test_directories_are_listed_without_being_opened);
  ADD ("list/anew", lazy, test_a_list_begins_with_what_is_there);
  ADD ("budget", lazy, test_lazy_files_stay_within_the_budget);
  ADD ("old", lazy, test_guests_that_must_open_can);
  ADD ("always", always, test_for_ever_means_until_told);
  ADD ("never", never, test_policies_are_agreed_on);
  ADD ("flags/passed", passed, test_flags_go_on_if_wanted);
  ADD ("flags/kept", not_passed, test_flags_go_on_if_wanted);
  return g_test_run ();
}
