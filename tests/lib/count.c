/* SPDX-License-Identifier: BSD-3-Clause */
#include "tests/lib/count.h"

#include <dlfcn.h>
#include <errno.h>
#include <pthread.h>
#include <stdatomic.h>
#include <stdlib.h>

#if defined __GLIBC__ && !defined __SANITIZE_ADDRESS__ &&                      \
    !defined __SANITIZE_THREAD__
#define COUNTS 1
#else
#define COUNTS 0
#endif

static _Atomic guint64 n_allocations, n_locks;
static __thread gboolean excluded;

gboolean
vt_count_works (void)
{
  return COUNTS;
}

void
vt_count_exclude_me (void)
{
  excluded = TRUE;
}

VtCount
vt_count_now (void)
{
  return (VtCount){ .allocations = n_allocations, .locks = n_locks };
}

#if COUNTS

static inline void
add (_Atomic guint64 *counter)
{
  if (!excluded)
    atomic_fetch_add_explicit (counter, 1, memory_order_relaxed);
}

/* glibc's own names for what is replaced here; free() stays glibc's. */
void *__libc_malloc (size_t size);
void *__libc_calloc (size_t n, size_t size);
void *__libc_realloc (void *at, size_t size);
void *__libc_memalign (size_t align, size_t size);

void *
malloc (size_t size)
{
  add (&n_allocations);
  return __libc_malloc (size);
}

void *
calloc (size_t n, size_t size)
{
  add (&n_allocations);
  return __libc_calloc (n, size);
}

void *
realloc (void *at, size_t size)
{
  add (&n_allocations);
  return __libc_realloc (at, size);
}

void *
aligned_alloc (size_t align, size_t size)
{
  add (&n_allocations);
  return __libc_memalign (align, size);
}

int
posix_memalign (void **ret, size_t align, size_t size)
{
  add (&n_allocations);
  *ret = __libc_memalign (align, size);
  return *ret != NULL ? 0 : ENOMEM;
}

int
pthread_mutex_lock (pthread_mutex_t *mutex)
{
  static int (*_Atomic real) (pthread_mutex_t * mutex);

  if (real == NULL)
    real = dlsym (RTLD_NEXT, "pthread_mutex_lock");
  add (&n_locks);
  return real (mutex);
}

#endif
