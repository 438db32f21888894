/* SPDX-License-Identifier: BSD-3-Clause
 *
 * test-data.c - reading and writing through the virtio-fs device
 */
#include <errno.h>
#include <fcntl.h>
#include <string.h>
#include <unistd.h>

#include "tests/devices/fs/fixture.h"

static void
test_what_the_guest_writes_the_host_reads (VtFs *f, gconstpointer data)
{
  guint64 nodeid, fh;
  g_autofree char *content = NULL;

  g_assert_cmpint (vt_fuse_create (f->c, 1, "new", O_RDWR, 0640, &nodeid, &fh),
                   ==, 0);
  g_assert_cmpint (vt_fuse_write (f->c, nodeid, fh, 0, "hello", 5), ==, 5);
  g_assert_cmpint (vt_fuse_write (f->c, nodeid, fh, 5, " world", 6), ==, 6);
  g_assert_cmpint (vt_fuse_release (f->c, nodeid, fh), ==, 0);
  content = vt_fs_get (f, "new");
  g_assert_cmpstr (content, ==, "hello world");
}

int
main (int argc, char **argv)
{
  g_test_init (&argc, &argv, NULL);
  VT_FS_TEST ("/fs/data/write", NULL,
              test_what_the_guest_writes_the_host_reads);
  return g_test_run ();
}
