/* SPDX-License-Identifier: BSD-3-Clause
 *
 * test-steady.c - what a READ and a WRITE cost once everything is set up: no
 * allocation and no lock
 *
 * The program has malloc() and pthread_mutex_lock() of its own in front of
 * libc's, which count while told to, whatever thread calls.  The client sends
 * messages that were put together before.
 */
#include <dlfcn.h>
#include <errno.h>
#include <fcntl.h>
#include <pthread.h>
#include <stdatomic.h>
#include <stdlib.h>
#include <string.h>

#include "tests/devices/fs/fixture.h"

enum { ROUNDS = 2000, LEN = 4096 };

static atomic_bool counting;
static atomic_uint n_allocs, n_locks;

#ifdef VT_COUNT
extern void *__libc_malloc (size_t len);
extern void *__libc_calloc (size_t n, size_t len);
extern void *__libc_realloc (void *at, size_t len);

void *
malloc (size_t len)
{
  if (atomic_load_explicit (&counting, memory_order_relaxed))
    atomic_fetch_add (&n_allocs, 1);
  return __libc_malloc (len);
}

void *
calloc (size_t n, size_t len)
{
  if (atomic_load_explicit (&counting, memory_order_relaxed))
    atomic_fetch_add (&n_allocs, 1);
  return __libc_calloc (n, len);
}

void *
realloc (void *at, size_t len)
{
  if (atomic_load_explicit (&counting, memory_order_relaxed))
    atomic_fetch_add (&n_allocs, 1);
  return __libc_realloc (at, len);
}

int
pthread_mutex_lock (pthread_mutex_t *mutex)
{
  static int (*real) (pthread_mutex_t *);

  if (real == NULL)
    *(void **) &real = dlsym (RTLD_NEXT, "pthread_mutex_lock");
  if (atomic_load_explicit (&counting, memory_order_relaxed))
    atomic_fetch_add (&n_locks, 1);
  return real (mutex);
}
#endif

/* A message and its answer, as buffers that are used again and again. */
typedef struct {
  VtBuf bufs[4];
  guint n;
} Prepared;

static Prepared
prepare (VtFs *f, guint32 opcode, guint64 nodeid, const void *args,
         gsize args_len)
{
  gboolean write = opcode == FUSE_WRITE;
  guint8 *out = vt_guest_alloc (f->guest, 80, 64);
  guint8 *data = vt_guest_alloc (f->guest, LEN, 4096);
  guint8 *in = vt_guest_alloc (f->guest, 64, 64);
  struct fuse_in_header header = {
    .len = (guint32) (sizeof header + args_len + (write ? LEN : 0)),
    .opcode = opcode,
    .unique = 4711,
    .nodeid = nodeid,
  };

  memcpy (out, &header, sizeof header);
  memcpy (out + sizeof header, args, args_len);
  if (write)
    return (Prepared){
      { { out, 80, FALSE }, { data, LEN, FALSE }, { in, 24, TRUE } }, 3
    };
  return (Prepared){
    { { out, 80, FALSE }, { in, 16, TRUE }, { data, LEN, TRUE } }, 3
  };
}

static void
run (VtFs *f, const Prepared *request, guint32 used_expected)
{
  guint32 used;

  g_assert_true (
      vt_ring_add (f->c->ring, request->bufs, request->n, (gpointer) request));
  vt_ring_kick (f->c->ring);
  g_assert_true (vt_ring_take (f->c->ring, &used) == request);
  g_assert_cmpuint (used, ==, used_expected);
}

/* Returns: whether the counters count; else the test is skipped. */
static gboolean
can_count (void)
{
#ifdef VT_COUNT
  return TRUE;
#else
  g_test_skip ("a sanitizer has the allocator");
  return FALSE;
#endif
}

static void
test_reading_and_writing_allocate_nothing (VtFs *f, gconstpointer data)
{
  struct fuse_read_in read_in = { .size = LEN };
  struct fuse_write_in write_in = { .size = LEN };
  Prepared reads, writes;
  guint64 nodeid;

  if (!can_count ())
    return;
  vt_fs_put (f, "f", "content");
  read_in.fh = write_in.fh = vt_fs_open (f, "f", O_RDWR, &nodeid);
  reads = prepare (f, FUSE_READ, nodeid, &read_in, sizeof read_in);
  writes = prepare (f, FUSE_WRITE, nodeid, &write_in, sizeof write_in);
  for (guint i = 0; i < 10; i++) { /* the first ones touch what is new */
    run (f, &writes, 24);
    run (f, &reads, 16 + LEN);
  }
  atomic_store (&counting, TRUE);
  for (guint i = 0; i < ROUNDS; i++) {
    run (f, &writes, 24);
    run (f, &reads, 16 + LEN);
  }
  atomic_store (&counting, FALSE);
  g_test_message ("%u requests: %u allocations, %u locks", 2 * ROUNDS,
                  atomic_load (&n_allocs), atomic_load (&n_locks));
  g_assert_cmpuint (atomic_load (&n_allocs), ==, 0);
  g_assert_cmpuint (atomic_load (&n_locks), ==, 0);
}

/* The counters see what they should. */
static void
test_other_requests_are_seen_to_allocate (VtFs *f, gconstpointer data)
{
  pthread_mutex_t lock = PTHREAD_MUTEX_INITIALIZER;

  if (!can_count ())
    return;
  atomic_store (&counting, TRUE);
  g_assert_cmpint (vt_fuse_getattr (f->c, 1, NULL), ==, 0);
  /* Whether libfuse locks depends on its version. */
  pthread_mutex_lock (&lock);
  pthread_mutex_unlock (&lock);
  atomic_store (&counting, FALSE);
  g_assert_cmpuint (atomic_load (&n_allocs), >, 0);
  g_assert_cmpuint (atomic_load (&n_locks), >, 0);
}

int
main (int argc, char **argv)
{
  g_test_init (&argc, &argv, NULL);
  VT_FS_TEST ("/fs/steady/data", NULL,
              test_reading_and_writing_allocate_nothing);
  VT_FS_TEST ("/fs/steady/counters", NULL,
              test_other_requests_are_seen_to_allocate);
  return g_test_run ();
}
