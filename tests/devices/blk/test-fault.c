/* SPDX-License-Identifier: BSD-3-Clause
 *
 * test-fault.c - system calls that cannot reach a request's buffers, by every
 * engine
 */
#include <string.h>
#include <sys/mman.h>

#include "tests/devices/blk/disk.h"

#define PAGE 4096u

/* Where the device has a page of guest memory. */
static void *
device_page (VtDisk *f, const void *page)
{
  guint64 len = PAGE;
  void *at =
      vd_map_gpa (f->rig->queues.map, vt_guest_gpa (f->guest, page), &len);

  g_assert_nonnull (at);
  return at;
}

/* EFAULT alone does not say that the front-end truncated anything.  A write, as
 * not every read is a system call, and on tmpfs no write unless told so. */
static void
test_whole_memory_is_not_lost (gconstpointer data)
{
  const VtDiskMode *mode = data;
  VtDisk f = { 0 };
  VtBlkRequest *request;
  void *page;

  vt_disk_init (&f, mode->in_memory);
  if (g_str_equal (mode->engine, "auto"))
    vt_disk_start_with (&f, "mapped", "no");
  else
    vt_disk_start_with (&f, "engine", mode->engine);
  request = vt_blk_request_new (f.guest, VIRTIO_BLK_T_OUT, 0, PAGE);
  request->data = vt_guest_alloc (f.guest, PAGE, PAGE);
  memcpy (request->data, f.shadow, PAGE);
  page = device_page (&f, request->data);
  g_assert_no_errno (mprotect (page, PAGE, PROT_NONE));
  g_assert_cmpuint (vt_blk_run (f.ring, request), ==, VIRTIO_BLK_S_IOERR);
  g_assert_no_errno (mprotect (page, PAGE, PROT_READ | PROT_WRITE));
  g_assert_cmpuint (vt_blk_run (f.ring, request), ==, VIRTIO_BLK_S_OK);
  vt_disk_check (&f);
  g_assert_false (vd_map_is_lost (f.rig->queues.map));
  g_free (request);
  vt_disk_tear_down (&f, NULL);
}

int
main (int argc, char **argv)
{
  g_test_init (&argc, &argv, NULL);
  vt_disk_add_modes ("fault/whole", test_whole_memory_is_not_lost);
  return g_test_run ();
}
