/* SPDX-License-Identifier: BSD-3-Clause
 *
 * test-inode.c - what devices/fs/inode.c promises about nodeids
 */
#include "devices/fs/inode.h"

#include <errno.h>
#include <fcntl.h>
#include <sys/stat.h>
#include <unistd.h>

typedef struct {
  VdFsBudget budget;
  VdFsInodes inodes;
  int root;
} Fixture;

static int
some_fd (void)
{
  int fd = open ("/dev/null", O_PATH | O_CLOEXEC);

  g_assert_cmpint (fd, >=, 0);
  return fd;
}

static gboolean
is_open (int fd)
{
  return fcntl (fd, F_GETFD) >= 0;
}

static VdFsKey
key (guint64 ino)
{
  return (VdFsKey){ .mount = 1, .dev = 2, .ino = ino };
}

static void
set_up (Fixture *f, gconstpointer data)
{
  VdFsKey root = key (2);

  f->budget.max = 500;
  f->root = some_fd ();
  vd_fs_inodes_init (&f->inodes, &f->budget, NULL, f->root, &root);
}

static void
tear_down (Fixture *f, gconstpointer data)
{
  vd_fs_inodes_clear (&f->inodes);
  g_assert_cmpuint (atomic_load (&f->budget.used), ==, 0);
  close (f->root);
}

/* As vd_fs_inodes_add() and vd_fs_inodes_find() of a file with @k. */
static int
add_fd (Fixture *f, const VdFsKey *k, int fd, guint64 *nodeid)
{
  VdFsFound found = { .key = *k, .type = S_IFREG, .fd = fd };

  return vd_fs_inodes_add (&f->inodes, &found, nodeid);
}

static guint64
find (Fixture *f, const VdFsKey *k)
{
  VdFsFound found = { .key = *k, .type = S_IFREG, .fd = -1 };
  guint64 nodeid = 0;
  int r = vd_fs_inodes_find (&f->inodes, &found, &nodeid);

  g_assert_cmpint (r, ==, nodeid != 0 ? 0 : -ENOENT);
  return nodeid;
}

/* Adds file @ino with a descriptor that is returned. */
static int
add (Fixture *f, guint64 ino, guint64 *nodeid)
{
  VdFsKey k = key (ino);
  int fd = some_fd ();

  g_assert_cmpint (add_fd (f, &k, fd, nodeid), ==, 0);
  return fd;
}

static gboolean
is_known (Fixture *f, guint64 nodeid)
{
  VdFsInode *inode;
  int r = vd_fs_inodes_get (&f->inodes, nodeid, &inode);

  if (r < 0) {
    g_assert_cmpint (r, ==, -ESTALE);
    return FALSE;
  }
  vd_fs_inodes_put (inode);
  return TRUE;
}

static void
test_the_root_is_always_there (Fixture *f, gconstpointer data)
{
  VdFsKey root = key (2);
  VdFsInode *inode;
  guint64 nodeid;

  vd_fs_inodes_forget (&f->inodes, 1, G_MAXUINT64);
  vd_fs_inodes_bury (vd_fs_inodes_reset (&f->inodes));
  g_assert_cmpint (vd_fs_inodes_get (&f->inodes, 1, &inode), ==, 0);
  g_assert_cmpint (inode->fd, ==, f->root);
  g_assert_cmpuint (vd_fs_inode_nodeid (inode), ==, 1);
  vd_fs_inodes_put (inode);
  g_assert_cmpuint (find (f, &root), ==, 1);
  g_assert_cmpint (add_fd (f, &root, some_fd (), &nodeid), ==, 0);
  g_assert_cmpuint (nodeid, ==, 1);
}

static void
test_the_same_file_has_one_nodeid (Fixture *f, gconstpointer data)
{
  guint64 first, second, other;
  VdFsKey k = key (10), elsewhere = { 9, 2, 10 };

  add (f, 10, &first);
  g_assert_false (is_open (add (f, 10, &second))); /* it has one already */
  add (f, 11, &other);
  g_assert_cmpuint (first, ==, second);
  g_assert_cmpuint (first, !=, other);
  g_assert_cmpuint (find (f, &k), ==, first);
  g_assert_cmpuint (find (f, &elsewhere), ==, 0);
  g_assert_cmpuint (vd_fs_inodes_n_live (&f->inodes), ==, 2);
}

static void
test_forgetting_takes_as_many_as_lookups (Fixture *f, gconstpointer data)
{
  guint64 nodeid;
  int fd = add (f, 10, &nodeid);

  add (f, 10, &nodeid);
  vd_fs_inodes_forget (&f->inodes, nodeid, 1);
  g_assert_true (is_known (f, nodeid));
  vd_fs_inodes_forget (&f->inodes, nodeid, 1);
  g_assert_false (is_known (f, nodeid));
  g_assert_false (is_open (fd));
}

static void
test_forgetting_too_much_ends_at_zero (Fixture *f, gconstpointer data)
{
  guint64 nodeid, again;

  add (f, 10, &nodeid);
  vd_fs_inodes_forget (&f->inodes, nodeid, G_MAXUINT64);
  vd_fs_inodes_forget (&f->inodes, nodeid, G_MAXUINT64);
  vd_fs_inodes_forget (&f->inodes, nodeid + 12345, 1);
  vd_fs_inodes_forget (&f->inodes, 0, 1);
  add (f, 10, &again);
  g_assert_cmpuint (again, !=, nodeid);
  vd_fs_inodes_forget (&f->inodes, nodeid, 1); /* not the new one */
  g_assert_true (is_known (f, again));
}

static void
test_a_request_keeps_what_was_forgotten (Fixture *f, gconstpointer data)
{
  guint64 nodeid;
  VdFsInode *inode;
  VdFsKey k = key (10);
  int fd = add (f, 10, &nodeid);

  g_assert_cmpint (vd_fs_inodes_get (&f->inodes, nodeid, &inode), ==, 0);
  vd_fs_inodes_forget (&f->inodes, nodeid, 1);
  g_assert_true (is_open (fd));
  g_assert_false (is_known (f, nodeid));
  g_assert_cmpuint (find (f, &k), ==, 0);
  vd_fs_inodes_put (inode);
  g_assert_false (is_open (fd));
}

static void
test_a_reset_forgets_all (Fixture *f, gconstpointer data)
{
  guint64 nodeids[200];

  for (guint i = 0; i < G_N_ELEMENTS (nodeids); i++)
    add (f, 100 + i, &nodeids[i]);
  vd_fs_inodes_bury (vd_fs_inodes_reset (&f->inodes));
  for (guint i = 0; i < G_N_ELEMENTS (nodeids); i++)
    g_assert_false (is_known (f, nodeids[i]));
  g_assert_cmpuint (atomic_load (&f->budget.used), ==, 0);
}

static void
test_beyond_the_budget_there_is_enfile (Fixture *f, gconstpointer data)
{
  guint64 nodeid;
  VdFsKey k = key (9999);
  int fd;

  for (guint i = 0; i < 500; i++)
    add (f, 100 + i, &nodeid);
  fd = some_fd ();
  g_assert_cmpint (add_fd (f, &k, fd, &nodeid), ==, -ENFILE);
  g_assert_false (is_open (fd));
  add (f, 100, &nodeid); /* known ones still work */
  vd_fs_inodes_forget (&f->inodes, nodeid, 2);
  add (f, 9999, &nodeid);
}

static void
test_a_stamp_tells_change (Fixture *f, gconstpointer data)
{
  VdFsStamp one = { 5, 6, 7 }, two = { 5, 6, 8 };
  VdFsInode *inode;
  guint64 nodeid;

  add (f, 10, &nodeid);
  g_assert_cmpint (vd_fs_inodes_get (&f->inodes, nodeid, &inode), ==, 0);
  g_assert_false (vd_fs_inode_stamp (inode, &one, NULL));
  g_assert_true (vd_fs_inode_stamp (inode, &one, NULL));
  g_assert_false (vd_fs_inode_stamp (inode, &two, NULL));
  g_assert_true (vd_fs_inode_stamp (inode, &two, NULL));
  vd_fs_inodes_put (inode);
}

static void
test_names_seen_are_expected (Fixture *f, gconstpointer data)
{
  g_assert_false (vd_fs_inodes_expect (&f->inodes, 1, "a"));
  vd_fs_inodes_set_expected (&f->inodes, 1, "a");
  g_assert_true (vd_fs_inodes_expect (&f->inodes, 1, "a"));
  g_assert_false (vd_fs_inodes_expect (&f->inodes, 2, "a"));
  g_assert_false (vd_fs_inodes_expect (&f->inodes, 1, "b"));
}

/* Threads look up and forget the same files; at the end all are forgotten. */

#define RACE_ROUNDS 5000

static void *
race (void *data)
{
  Fixture *f = data;

  for (guint i = 0; i < RACE_ROUNDS; i++) {
    VdFsKey k = key (10 + i % 5);
    guint64 nodeid = find (f, &k);
    VdFsInode *inode;

    if (nodeid == 0)
      g_assert_cmpint (add_fd (f, &k, some_fd (), &nodeid), ==, 0);
    /* It was counted for us, so nobody else can make it stale. */
    g_assert_cmpint (vd_fs_inodes_get (&f->inodes, nodeid, &inode), ==, 0);
    g_assert_cmpuint (inode->key.ino, ==, k.ino);
    vd_fs_inodes_put (inode);
    vd_fs_inodes_forget (&f->inodes, nodeid, 1);
  }
  return NULL;
}

static void
test_lookups_and_forgets_balance_in_threads (Fixture *f, gconstpointer data)
{
  pthread_t threads[4];

  for (guint i = 0; i < G_N_ELEMENTS (threads); i++)
    g_assert_cmpint (pthread_create (&threads[i], NULL, race, f), ==, 0);
  for (guint i = 0; i < G_N_ELEMENTS (threads); i++)
    pthread_join (threads[i], NULL);
  g_assert_cmpuint (vd_fs_inodes_n_live (&f->inodes), ==, 0);
  g_assert_cmpuint (atomic_load (&f->budget.used), ==, 0);
}

int
main (int argc, char **argv)
{
  g_test_init (&argc, &argv, NULL);
#define ADD(name, func)                                                        \
  g_test_add ("/fs/inode/" name, Fixture, NULL, set_up, func, tear_down)
  ADD ("root", test_the_root_is_always_there);
  ADD ("same", test_the_same_file_has_one_nodeid);
  ADD ("forget/count", test_forgetting_takes_as_many_as_lookups);
  ADD ("forget/too-much", test_forgetting_too_much_ends_at_zero);
  ADD ("forget/in-use", test_a_request_keeps_what_was_forgotten);
  ADD ("reset", test_a_reset_forgets_all);
  ADD ("budget", test_beyond_the_budget_there_is_enfile);
  ADD ("stamp", test_a_stamp_tells_change);
  ADD ("expect", test_names_seen_are_expected);
  ADD ("threads", test_lookups_and_forgets_balance_in_threads);
  return g_test_run ();
}
