/* SPDX-License-Identifier: BSD-3-Clause
 *
 * mapped.c - a mapping of the image, and which of its stretches are in memory
 */
#include "devices/blk/mapped.h"

#include <fcntl.h>
#include <linux/magic.h>
#include <stdatomic.h>
#include <string.h>
#include <sys/mman.h>
#include <sys/resource.h>
#include <sys/stat.h>
#include <sys/vfs.h>
#include <time.h>
#include <unistd.h>

#include "vring/fault.h"
#include "vring/sigbus.h"

/* What is asked for at once. */
#define STRETCH_SHIFT 16
#define STRETCH       (1u << STRETCH_SHIFT)
#define PAGES_MAX     (STRETCH / 4096)

/* Marks of a stretch: from IN_MEMORY on it is in memory, as of that time; below,
 * so much has to be moved by system calls before it is asked for, in units of
 * what a copy saves on 4 KiB, and 0 if none was yet.  To ask and to have it
 * mapped costs ASK_FIRST of these: a stretch that is moved once does not pay. */
#define IN_MEMORY  128
#define ASK_FIRST  6
#define ASK_AGAIN  64
#define SAVES_MORE (16u << 10) /* bytes that save one more */

/* Longer calls would keep the queue from all else for too long. */
#define LEN_MAX (4u << 20)

/* Copying does not pay if more of so many stretches are missing than were copied,
 * or, in a whole second, if there are not this many for each question. */
#define MISSING_MAX 64
#define PAYS        4

/* How long it rests then, in seconds; longer and longer if it had to wait. */
#define REST_MIN 8
#define REST_MAX 64

/* What is written passes through a buffer of so many bytes, which stays in the
 * processor's first cache. */
#define PIECE 4096

struct VdMapped {
  guint8 *at;
  guint64 len; /* bytes */
  VdGuard *guard;
  int fd;        /* borrowed */
  bool for_good; /* nobody takes pages out of memory again */
  bool writable;
  atomic_uchar *marks;   /* of stretches */
  gsize marks_len, page; /* bytes */
};

/* Opening and closing. */

/* Whether all changes of the file go through this kernel's page cache. */
static bool
is_local (const VdImage *image)
{
  static const guint32 known[] = {
    EXT4_SUPER_MAGIC, XFS_SUPER_MAGIC, BTRFS_SUPER_MAGIC,
    F2FS_SUPER_MAGIC, TMPFS_MAGIC,     RAMFS_MAGIC,
  };
  struct statfs fs;

  if (image->is_device)
    return true;
  if (fstatfs (image->fd, &fs) < 0)
    return false;
  for (guint i = 0; i < G_N_ELEMENTS (known); i++)
    if ((guint32) fs.f_type == known[i])
      return true;
  return false;
}

/* To who may not write to a file, mincore() says that all of it is in memory. */
static bool
is_told_the_truth (const VdImage *image)
{
  struct stat st;

  return fstat (image->fd, &st) == 0 &&
         (st.st_uid == geteuid () ||
          faccessat (image->fd, "", W_OK, AT_EACCESS | AT_EMPTY_PATH) == 0);
}

static void *
map_marks (gsize len)
{
  void *at = mmap (NULL, len, PROT_READ | PROT_WRITE,
                   MAP_PRIVATE | MAP_ANONYMOUS | MAP_NORESERVE, -1, 0);

  return at == MAP_FAILED ? NULL : at;
}

VdMapped *
vd_mapped_new (const VdImage *image)
{
  VdMapped *mapped;
  void *at;

  if (image->fd < 0 || image->direct ||
      atomic_load (&image->size) > G_MAXSSIZE || !is_local (image) ||
      !is_told_the_truth (image))
    return NULL;
  mapped = g_new0 (VdMapped, 1);
  mapped->page = (gsize) getpagesize ();
  mapped->len = atomic_load (&image->size) & ~(guint64) (mapped->page - 1);
  mapped->fd = image->fd;
  mapped->for_good = image->in_memory;
  mapped->writable = image->in_memory && !image->read_only;
  mapped->marks_len = (mapped->len >> STRETCH_SHIFT) + 1;
  at = mmap (NULL, mapped->len, PROT_READ | (mapped->writable ? PROT_WRITE : 0),
             MAP_SHARED, image->fd, 0);
  if (at != MAP_FAILED) {
    mapped->at = at;
    mapped->marks = map_marks (mapped->marks_len);
    mapped->guard = vd_guard_new (mapped->at, mapped->len);
    if (mapped->marks != NULL && mapped->guard != NULL)
      return mapped;
  }
  vd_mapped_free (mapped);
  return NULL;
}

void
vd_mapped_free (VdMapped *mapped)
{
  if (mapped == NULL)
    return;
  vd_guard_free (mapped->guard);
  if (mapped->at != NULL)
    munmap (mapped->at, mapped->len);
  if (mapped->marks != NULL)
    munmap (mapped->marks, mapped->marks_len);
  g_free (mapped);
}

void
vd_mapped_forget (VdMapped *mapped)
{
  if (mapped == NULL)
    return;
  madvise (mapped->at, mapped->len, MADV_DONTNEED);
  madvise (mapped->marks, mapped->marks_len, MADV_DONTNEED);
}

void
vd_mapped_punched (VdMapped *mapped, guint64 offset, guint64 len)
{
  guint64 end;

  if (mapped == NULL || offset >= mapped->len)
    return;
  end = offset + MIN (len, mapped->len - offset);
  for (guint64 i = offset >> STRETCH_SHIFT; i << STRETCH_SHIFT < end; i++)
    atomic_store_explicit (&mapped->marks[i], 0, memory_order_relaxed);
}

void
vd_mapped_open_view (VdMappedView *view, VdMapped *mapped)
{
  *view = (VdMappedView){
    .mapped = mapped,
    .now = IN_MEMORY,
    .rest_next = REST_MIN,
  };
}

/* Asking. */

/* Returns: whether all pages of stretch @i are in memory. */
static bool
ask (const VdMapped *mapped, guint64 i)
{
  guint64 from = i << STRETCH_SHIFT, len = MIN (STRETCH, mapped->len - from);
  guint8 pages[PAGES_MAX];

  if (mincore (mapped->at + from, len, pages) < 0)
    return false;
  for (guint64 page = 0; page * mapped->page < len; page++)
    if (!(pages[page] & 1))
      return false;
  return true;
}

/* That was not in memory. */
static void
count_missing (VdMappedView *view)
{
  view->n_missing++;
  if (!view->mapped->for_good && view->n_missing >= MISSING_MAX &&
      view->n_copied < view->n_missing)
    view->rest_until = view->second + REST_MIN;
}

/* @saves: by a copy */
static bool
is_in_memory (VdMappedView *view, guint64 i, guint8 saves)
{
  atomic_uchar *mark = &view->mapped->marks[i];
  guint8 was = atomic_load_explicit (mark, memory_order_relaxed);
  bool is;

  if (G_LIKELY (was == view->now))
    return true;
  if (was < IN_MEMORY) {
    guint8 left = was > 0 ? was : ASK_FIRST;

    if (left > saves) {
      atomic_store_explicit (mark, left - saves, memory_order_relaxed);
      return false;
    }
  }
  view->n_asked++;
  is = ask (view->mapped, i);
  atomic_store_explicit (mark, is ? view->now : ASK_AGAIN,
                         memory_order_relaxed);
  if (!is)
    count_missing (view);
  return is;
}

/* Whether copying does any good. */

/* A second is over.  Pages may leave the page cache if they are not read, and if
 * they are, where memory is short: then a copy waits for the disk, and keeps the
 * queue from all else. */
static void
judge (VdMappedView *view, guint64 now)
{
  struct rusage usage = { 0 };

  getrusage (RUSAGE_THREAD, &usage);
  if (usage.ru_majflt > view->n_faults) {
    view->rest_until = now + view->rest_next;
    view->rest_next = MIN (view->rest_next * 2, REST_MAX);
  } else {
    view->rest_next = MAX (view->rest_next / 2, REST_MIN);
    if (view->whole && view->n_copied < PAYS * view->n_asked)
      view->rest_until = now + REST_MIN;
  }
  view->n_faults = usage.ru_majflt;
  view->n_copied = view->n_asked = view->n_missing = 0;
}

static void
look_at_clock (VdMappedView *view)
{
  struct timespec time;
  guint64 now;

  clock_gettime (CLOCK_MONOTONIC_COARSE, &time);
  now = (guint64) time.tv_sec;
  if (G_LIKELY (now == view->second))
    return;
  if (view->second == 0)
    view->n_faults = G_MAXLONG; /* others' before us are no matter */
  judge (view, now);
  view->whole = now == view->second + 1;
  view->second = now;
  view->now = IN_MEMORY + now % (256 - IN_MEMORY);
}

/* Copying. */

/* Returns: whether all that @call moves is in memory. */
static bool
can_copy (VdMappedView *view, const VdCall *call)
{
  VdMapped *mapped = view->mapped;
  guint64 end = call->offset + call->len;
  guint8 saves = (guint8) (1 + MIN (call->len, STRETCH) / SAVES_MORE);
  bool can = true;

  if (end > mapped->len || call->len > LEN_MAX ||
      vd_guard_is_lost (mapped->guard))
    return false;
  if (!mapped->for_good)
    look_at_clock (view);
  if (view->second < view->rest_until)
    return false;
  for (guint64 i = call->offset >> STRETCH_SHIFT; i << STRETCH_SHIFT < end; i++)
    can &= is_in_memory (view, i, saves);
  return can;
}

static void
copy_out (const VdCall *call, const guint8 *from)
{
  for (guint i = 0; i < call->n_iov; i++) {
    memcpy (call->iov[i].iov_base, from, call->iov[i].iov_len);
    from += call->iov[i].iov_len;
  }
}

/* Memory of the guest that is lost reads as zeroes, which must not get into the
 * image: what was read is looked at before it is written.
 * Returns: 0, or -EFAULT as a system call would */
static int
copy_in (const VdCall *call, guint8 *to, const VdChain *chain)
{
  guint8 piece[PIECE];

  for (guint i = 0; i < call->n_iov; i++) {
    const guint8 *from = call->iov[i].iov_base;

    for (gsize left = call->iov[i].iov_len, len; left > 0; left -= len) {
      len = MIN (left, PIECE);
      memcpy (piece, from, len);
      atomic_thread_fence (memory_order_acquire);
      if (vd_chain_is_lost (chain))
        return -EFAULT;
      (void) *(volatile guint8 *) to; /* reading maps pages around it, too */
      memcpy (to, piece, len);
      from += len;
      to += len;
    }
  }
  return 0;
}

bool
vd_mapped_run (VdMappedView *view, const VdCall *call, const VdChain *chain,
               int *res)
{
  VdMapped *mapped = view->mapped;
  bool is_write = call->kind == VD_CALL_WRITE;
  int error = 0;

  if ((call->kind != VD_CALL_READ && !(is_write && mapped->writable)) ||
      !can_copy (view, call))
    return false;
  if (is_write) {
    view->is_unstamped = true;
    error = copy_in (call, mapped->at + call->offset, chain);
  } else
    copy_out (call, mapped->at + call->offset);
  view->n_copied++;
  *res = error < 0 ? error : (int) call->len;
  /* Zeroes that took the place of a truncated image are not its data. */
  atomic_thread_fence (memory_order_acquire);
  return !vd_guard_is_lost (mapped->guard);
}

/* The file system would take the time of this clock, which stands still for some
 * milliseconds. */
void
vd_mapped_stamp (VdMappedView *view)
{
  struct timespec now;

  if (!view->is_unstamped)
    return;
  view->is_unstamped = false;
  clock_gettime (CLOCK_REALTIME_COARSE, &now);
  if (now.tv_sec == view->stamp.tv_sec && now.tv_nsec == view->stamp.tv_nsec)
    return;
  view->stamp = now;
  futimens (view->mapped->fd, NULL);
}
