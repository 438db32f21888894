/* SPDX-License-Identifier: BSD-3-Clause
 *
 * test-dir.c - listing directories through virtio-fs
 */
#include <dirent.h>
#include <errno.h>
#include <fcntl.h>
#include <stdio.h>
#include <string.h>
#include <unistd.h>

#include "tests/devices/fs/fixture.h"

static const VtFsConfig two_queues = { .n_queues = 2 };

enum { BUFFER = 65536, N_FILES = 300 };

typedef struct {
  VtFs *f;
  VtFuse *fuse;
  guint64 nodeid, fh;
  gboolean plus;
  GHashTable *seen; /* names */
  guint64 nodeids;  /* how many entries came with a nodeid */
  guint64 last;     /* offset after the last entry */
} Listing;

static void
make_files (VtFs *f, guint n)
{
  for (guint i = 0; i < n; i++) {
    g_autofree char *name = g_strdup_printf ("file-%u", i);

    vt_fs_put (f, name, name);
  }
}

/* Takes apart one entry.  Returns: its length. */
static gsize
take_entry (Listing *l, const guint8 *at, gsize left)
{
  struct fuse_entry_out entry = { 0 };
  struct fuse_dirent dirent;
  const guint8 *begin = at;
  g_autofree char *name = NULL;
  gboolean dots;

  if (l->plus) {
    g_assert_cmpuint (left, >=, sizeof entry);
    memcpy (&entry, at, sizeof entry);
    at += sizeof entry;
  }
  memcpy (&dirent, at, sizeof dirent);
  at += sizeof dirent;
  name = g_strndup ((const char *) at, dirent.namelen);
  g_assert_cmpuint (strlen (name), ==, dirent.namelen);
  dots = strcmp (name, ".") == 0 || strcmp (name, "..") == 0;
  g_assert_true (g_hash_table_add (l->seen, g_strdup (name))); /* once only */
  if (l->plus && dots)
    g_assert_cmpuint (entry.nodeid, ==, 0);
  if (entry.nodeid != 0) {
    l->nodeids++;
    g_assert_cmpuint (entry.attr.ino, ==, dirent.ino);
    g_assert_cmpuint (entry.attr.mode >> 12, ==, dirent.type);
    vt_fuse_forget (l->fuse, entry.nodeid, 1);
  }
  l->last = dirent.off;
  at += dirent.namelen;
  at = begin + (at - begin + 7) / 8 * 8;
  g_assert_cmpuint (at - begin, <=, left);
  return (gsize) (at - begin);
}

/* One READDIR.  Returns: its bytes, 0 at the end. */
static gssize
list_some (Listing *l, guint64 offset, guint32 size)
{
  g_autofree guint8 *bytes = g_malloc (BUFFER);
  gssize n =
      vt_fuse_readdir (l->fuse, l->nodeid, l->fh, offset, l->plus, bytes, size);

  for (gssize at = 0; at < n;)
    at += take_entry (l, bytes + at, n - at);
  return n;
}

static void
list_all (Listing *l, guint32 size)
{
  guint64 offset = 0;
  gssize n;

  while ((n = list_some (l, offset, size)) > 0)
    offset = l->last;
  g_assert_cmpint (n, ==, 0);
}

static Listing
begin (VtFs *f, gboolean plus)
{
  Listing l = { .f = f, .fuse = f->c, .nodeid = 1, .plus = plus };

  l.seen = g_hash_table_new_full (g_str_hash, g_str_equal, g_free, NULL);
  g_assert_cmpint (vt_fuse_opendir (f->c, 1, &l.fh), ==, 0);
  return l;
}

static void
end (Listing *l)
{
  g_assert_cmpint (vt_fuse_releasedir (l->f->c, l->nodeid, l->fh), ==, 0);
  g_hash_table_unref (l->seen);
}

static void
test_every_entry_comes_once (VtFs *f, gconstpointer data)
{
  static const guint32 sizes[] = { 300, 512, 1000, 4096, BUFFER };

  make_files (f, N_FILES);
  for (guint plus = 0; plus < 2; plus++)
    for (guint i = 0; i < G_N_ELEMENTS (sizes); i++) {
      Listing l = begin (f, plus != 0);

      list_all (&l, sizes[i]);
      g_assert_cmpuint (g_hash_table_size (l.seen), ==, N_FILES + 2);
      g_assert_cmpuint (l.nodeids, ==, plus != 0 ? N_FILES : 0);
      end (&l);
    }
}

static void
test_listing_begins_anew_at_offset_zero (VtFs *f, gconstpointer data)
{
  Listing l;

  make_files (f, 20);
  l = begin (f, FALSE);
  list_some (&l, 0, 300);
  vt_fs_put (f, "late", "x");
  g_hash_table_remove_all (l.seen);
  list_all (&l, 4096);
  g_assert_true (g_hash_table_contains (l.seen, "late"));
  g_assert_cmpuint (g_hash_table_size (l.seen), ==, 23);
  end (&l);
}

static void
test_an_earlier_offset_is_found_again (VtFs *f, gconstpointer data)
{
  Listing l;
  guint64 middle;
  guint first;

  make_files (f, N_FILES);
  l = begin (f, FALSE);
  list_some (&l, 0, 1000);
  middle = l.last;
  first = g_hash_table_size (l.seen);
  for (gssize n = 1; n > 0;)
    n = list_some (&l, l.last, 1000);
  g_assert_cmpuint (g_hash_table_size (l.seen), ==, N_FILES + 2);

  g_hash_table_remove_all (l.seen);
  l.last = middle;
  for (gssize n = 1; n > 0;)
    n = list_some (&l, l.last, 1000);
  g_assert_cmpuint (g_hash_table_size (l.seen), ==, N_FILES + 2 - first);
  end (&l);
}

/* Queues have a buffer each; a listing may move between them, and two may mix. */
static void
test_listings_move_between_queues (VtFs *f, gconstpointer data)
{
  Listing a, b;
  gboolean more_a = TRUE, more_b = TRUE;

  make_files (f, N_FILES);
  a = begin (f, TRUE);
  b = begin (f, FALSE);
  for (guint i = 0; more_a || more_b; i++) {
    a.fuse = &f->fuse[1 + i % 2];
    b.fuse = &f->fuse[1 + i / 2 % 2];
    if (more_a)
      more_a = list_some (&a, a.last, 2000) > 0;
    if (more_b)
      more_b = list_some (&b, b.last, 700) > 0;
  }
  g_assert_cmpuint (g_hash_table_size (a.seen), ==, N_FILES + 2);
  g_assert_cmpuint (g_hash_table_size (b.seen), ==, N_FILES + 2);
  end (&a);
  end (&b);
}

static void
test_an_answer_too_small_for_one_entry_is_an_error (VtFs *f, gconstpointer data)
{
  guint8 bytes[64];
  guint64 fh;

  make_files (f, 1);
  g_assert_cmpint (vt_fuse_opendir (f->c, 1, &fh), ==, 0);
  g_assert_cmpint (vt_fuse_readdir (f->c, 1, fh, 0, FALSE, bytes, 8), ==,
                   -EINVAL);
  g_assert_cmpint (vt_fuse_readdir (f->c, 1, fh, 0, TRUE, bytes, 64), ==,
                   -EINVAL);
  g_assert_cmpint (vt_fuse_readdir (f->c, 1, fh, 1ull << 63, FALSE, bytes, 64),
                   <, 0);
}

static void
test_listing_needs_an_open_directory (VtFs *f, gconstpointer data)
{
  guint8 bytes[512];
  guint64 nodeid, fh, file;

  make_files (f, 1);
  file = vt_fs_open (f, "file-0", O_RDONLY, &nodeid);
  g_assert_cmpint (vt_fuse_readdir (f->c, nodeid, file, 0, FALSE, bytes, 512),
                   ==, -EBADF);
  g_assert_cmpint (vt_fuse_readdir (f->c, 1, file, 0, FALSE, bytes, 512), ==,
                   -EBADF);
  g_assert_cmpint (vt_fuse_opendir (f->c, nodeid, &fh), ==, -ENOTDIR);
  g_assert_cmpint (vt_fuse_opendir (f->c, 1, &fh), ==, 0);
  g_assert_cmpint (vt_fuse_release (f->c, 1, fh), ==, -EBADF);
  g_assert_cmpint (vt_fuse_releasedir (f->c, 1, fh), ==, 0);
  g_assert_cmpint (vt_fuse_readdir (f->c, 1, fh, 0, FALSE, bytes, 512), ==,
                   -EBADF);
}

static void
test_a_removed_directory_is_empty (VtFs *f, gconstpointer data)
{
  guint8 bytes[512];
  guint64 dir, fh;

  g_assert_cmpint (vt_fuse_mkdir (f->c, 1, "d", 0755, &dir), ==, 0);
  g_assert_cmpint (vt_fuse_opendir (f->c, dir, &fh), ==, 0);
  g_assert_cmpint (vt_fuse_rmdir (f->c, 1, "d"), ==, 0);
  g_assert_cmpint (vt_fuse_readdir (f->c, dir, fh, 0, TRUE, bytes, 512), <=, 0);
}

static void
test_the_parent_of_the_export_is_not_shown (VtFs *f, gconstpointer data)
{
  guint8 bytes[4096];
  struct fuse_dirent dirent;
  struct stat st;
  guint64 fh;
  gssize n;

  g_assert_cmpint (stat (f->dir, &st), ==, 0);
  g_assert_cmpint (vt_fuse_opendir (f->c, 1, &fh), ==, 0);
  n = vt_fuse_readdir (f->c, 1, fh, 0, FALSE, bytes, sizeof bytes);
  g_assert_cmpint (n, >=, 64);
  for (gssize at = 0; at < n;
       at += (gssize) (sizeof dirent + dirent.namelen + 7) / 8 * 8) {
    memcpy (&dirent, bytes + at, sizeof dirent);
    g_assert_cmpuint (dirent.ino, ==, st.st_ino); /* "." and ".." */
  }
}

int
main (int argc, char **argv)
{
  g_test_init (&argc, &argv, NULL);
#define ADD(name, func) VT_FS_TEST ("/fs/dir/" name, NULL, func)
  ADD ("once", test_every_entry_comes_once);
  ADD ("anew", test_listing_begins_anew_at_offset_zero);
  ADD ("seek", test_an_earlier_offset_is_found_again);
  VT_FS_TEST ("/fs/dir/queues", &two_queues, test_listings_move_between_queues);
  ADD ("small", test_an_answer_too_small_for_one_entry_is_an_error);
  ADD ("open", test_listing_needs_an_open_directory);
  ADD ("removed", test_a_removed_directory_is_empty);
  ADD ("parent", test_the_parent_of_the_export_is_not_shown);
  return g_test_run ();
}
