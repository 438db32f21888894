/* SPDX-License-Identifier: BSD-3-Clause
 *
 * test-userfault.c - memory whose missing pages someone else brings: what
 * vring/userfault.h and the maps with such memory promise
 */
#include "vring/userfault.h"

#include <errno.h>
#include <linux/userfaultfd.h>
#include <poll.h>
#include <pthread.h>
#include <string.h>
#include <sys/ioctl.h>
#include <sys/mman.h>
#include <unistd.h>

#include "vring/fd.h"
#include "vring/map.h"

#define PAGE 4096
#define LEN  (16 * PAGE)

/* Memory at gpa 0, of which the first page is there. */
typedef struct {
  int fd, uffd;
  VdMap *map;
  guint8 *at;
} Fixture;

static VdMap *
map_file (int fd, int uffd)
{
  const VdRegionInfo info = { .gpa = 0, .size = LEN, .uva = 0x10000 };
  g_autoptr (VdMap) empty = vd_map_new ();
  g_autoptr (GError) error = NULL;
  VdMap *map = uffd < 0 ? vd_map_add (empty, &info, fd, &error)
                        : vd_map_add_faulting (empty, &info, fd, uffd, &error);

  g_assert_no_error (error);
  return map;
}

static guint8 *
address (const VdMap *map)
{
  guint64 len = LEN;

  return vd_map_gpa (map, 0, &len);
}

static void
set_up (Fixture *f, gconstpointer data)
{
  g_autoptr (GError) error = NULL;

  f->uffd = vd_userfault_open (&error);
  if (f->uffd < 0) {
    g_test_skip (error->message);
    return;
  }
  f->fd = memfd_create ("test", MFD_CLOEXEC);
  g_assert_no_errno (ftruncate (f->fd, LEN));
  g_assert_cmpint (pwrite (f->fd, "there", 5, 0), ==, 5);
  f->map = map_file (f->fd, f->uffd);
  f->at = address (f->map);
}

static void
tear_down (Fixture *f, gconstpointer data)
{
  if (f->uffd < 0)
    return;
  vd_map_unref (f->map);
  close (f->fd);
  vd_clear_fd (&f->uffd);
}

/* Another thread that writes the second page to a file; its result. */
typedef struct {
  Fixture *f;
  int file;
  gssize result;
  int error;
  guint8 bytes[PAGE];
  pthread_t thread;
} Writer;

static void *
write_page (void *data)
{
  Writer *w = data;

  w->result = pwrite (w->file, w->f->at + PAGE, PAGE, 0);
  w->error = errno;
  return NULL;
}

/* Returns when it waits for the page. */
static void
begin_write (Writer *w, Fixture *f)
{
  struct pollfd pfd = { f->uffd, POLLIN, 0 };
  struct uffd_msg message;

  *w = (Writer){ .f = f, .file = memfd_create ("out", MFD_CLOEXEC) };
  g_assert_cmpint (pthread_create (&w->thread, NULL, write_page, w), ==, 0);
  g_assert_cmpint (poll (&pfd, 1, 20000), ==, 1);
  g_assert_cmpint (read (f->uffd, &message, sizeof message), ==,
                   sizeof message);
  g_assert_cmpuint (message.event, ==, UFFD_EVENT_PAGEFAULT);
  g_assert_cmphex (message.arg.pagefault.address, ==, (guintptr) f->at + PAGE);
}

static void
end_write (Writer *w)
{
  g_assert_cmpint (pthread_join (w->thread, NULL), ==, 0);
  if (w->result > 0)
    g_assert_cmpint (pread (w->file, w->bytes, PAGE, 0), ==, PAGE);
  close (w->file);
}

static void
test_a_system_call_waits_for_a_page (Fixture *f, gconstpointer data)
{
  Writer w;

  if (f->uffd < 0)
    return;
  g_assert_cmpmem (f->at, 5, "there", 5);
  begin_write (&w, f);
  g_assert_cmpint (pwrite (f->fd, "comes", 5, PAGE), ==, 5);
  struct uffdio_range range = { (guintptr) f->at + PAGE, PAGE };
  g_assert_no_errno (ioctl (f->uffd, UFFDIO_WAKE, &range));
  end_write (&w);
  g_assert_cmpint (w.result, ==, PAGE);
  g_assert_cmpmem (w.bytes, 5, "comes", 5);
  vd_map_end_faults (f->uffd, FALSE);
}

static void
test_after_the_end_missing_pages_are_zero (Fixture *f, gconstpointer data)
{
  static const guint8 zeroes[PAGE];
  Writer w;

  if (f->uffd < 0)
    return;
  begin_write (&w, f);
  vd_map_end_faults (f->uffd, FALSE);
  end_write (&w);
  g_assert_cmpint (w.result, ==, PAGE);
  g_assert_cmpmem (w.bytes, PAGE, zeroes, PAGE);
  g_assert_cmpuint (f->at[5 * PAGE], ==, 0);
  g_assert_cmpmem (f->at, 5, "there", 5);
  g_assert_false (vd_map_is_lost (f->map));
}

static void
test_lost_pages_are_errors_and_not_zeroes (Fixture *f, gconstpointer data)
{
  Writer w;

  if (f->uffd < 0)
    return;
  begin_write (&w, f);
  vd_map_end_faults (f->uffd, TRUE);
  end_write (&w);
  g_assert_cmpint (w.result, ==, -1);
  g_assert_cmpint (w.error, ==, EFAULT);
  g_assert_true (vd_map_is_lost (f->map));
  g_assert_cmpuint (*(volatile guint8 *) f->at, ==, 0); /* and is survived */
}

/* A mapping has one descriptor, and its faults are nobody else's. */
static void
test_such_memory_is_not_shared (Fixture *f, gconstpointer data)
{
  g_autoptr (VdMap) other = NULL, after = NULL;
  vd_autofd second = -1;

  if (f->uffd < 0)
    return;
  second = vd_userfault_open (NULL);
  other = map_file (f->fd, second);
  g_assert_true (address (other) != f->at);
  vd_map_end_faults (f->uffd, FALSE);
  after = map_file (f->fd, -1);
  g_assert_true (address (after) == f->at);
  vd_map_end_faults (second, TRUE);
  g_assert_true (vd_map_is_lost (other));
  g_assert_false (vd_map_is_lost (after));
}

int
main (int argc, char **argv)
{
  g_test_init (&argc, &argv, NULL);
#define ADD(name, func)                                                        \
  g_test_add ("/vring/userfault/" name, Fixture, NULL, set_up, func, tear_down)
  ADD ("wait", test_a_system_call_waits_for_a_page);
  ADD ("end", test_after_the_end_missing_pages_are_zero);
  ADD ("lost", test_lost_pages_are_errors_and_not_zeroes);
  ADD ("not-shared", test_such_memory_is_not_shared);
  return g_test_run ();
}
