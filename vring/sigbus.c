/* SPDX-License-Identifier: BSD-3-Clause
 *
 * sigbus.c - a table that a signal handler can read at any moment
 *
 * The slots are static and hold plain atomics: CONTROL fills and empties them
 * while a handler on any thread may look.  A thread faults only inside a
 * mapping that it has a reference to, so the slot that it looks for is stable.
 */
#include "vring/sigbus.h"

#include <signal.h>
#include <stdatomic.h>
#include <stdbool.h>
#include <sys/mman.h>
#include <unistd.h>

/* A process may have 65530 mappings; each of ours takes three. */
#define GUARDS_MAX 16384

struct VdGuard {
  atomic_uintptr_t start; /* 0: free */
  atomic_size_t len;
  atomic_bool lost;
  atomic_bool emptied; /* on purpose: vd_guard_lose() */
};

static VdGuard guards[GUARDS_MAX];
static atomic_uint n_guards; /* slots that were ever used */
static atomic_uint generation;
static struct sigaction previous;
static gsize page_size;

static VdGuard *
find_guard (guintptr at)
{
  guint n = atomic_load_explicit (&n_guards, memory_order_acquire);

  for (guint i = 0; i < n; i++) {
    guintptr start =
        atomic_load_explicit (&guards[i].start, memory_order_acquire);

    if (start != 0 && at >= start &&
        at - start <
            atomic_load_explicit (&guards[i].len, memory_order_relaxed))
      return &guards[i];
  }
  return NULL;
}

static bool
put_zeroes (guintptr start, gsize len)
{
  return mmap ((void *) start, len, PROT_READ | PROT_WRITE,
               MAP_PRIVATE | MAP_ANONYMOUS | MAP_NORESERVE | MAP_FIXED, -1,
               0) != MAP_FAILED;
}

static void
on_sigbus (int signal_number, siginfo_t *info, void *context)
{
  guintptr at = (guintptr) info->si_addr;
  VdGuard *guard = find_guard (at);

  if (guard != NULL) {
    /* Before any thread can read the zeroes. */
    atomic_store (&guard->lost, true);
    if ((atomic_load (&guard->emptied) &&
         put_zeroes (at - at % page_size, page_size)) ||
        put_zeroes (atomic_load (&guard->start), atomic_load (&guard->len))) {
      atomic_fetch_add (&generation, 1);
      return;
    }
  }
  /* Not guarded memory: a bug of ours, which ends as it would have without us
   * when the instruction faults again. */
  sigaction (SIGBUS, &previous, NULL);
}

static void
install (void)
{
  static gboolean installed;
  struct sigaction action = {
    .sa_sigaction = on_sigbus,
    .sa_flags = SA_SIGINFO | SA_NODEFER,
  };

  if (installed)
    return;
  installed = TRUE;
  page_size = (gsize) getpagesize ();
  sigaction (SIGBUS, &action, &previous);
}

VdGuard *
vd_guard_new (void *start, gsize len)
{
  guint n = atomic_load (&n_guards);
  guint i = 0;

  install ();
  while (i < n && atomic_load (&guards[i].start) != 0)
    i++;
  if (i == GUARDS_MAX)
    return NULL;
  atomic_store (&guards[i].lost, false);
  atomic_store (&guards[i].emptied, false);
  atomic_store (&guards[i].len, len);
  atomic_store (&guards[i].start, (guintptr) start);
  if (i == n)
    atomic_store (&n_guards, n + 1);
  return &guards[i];
}

void
vd_guard_free (VdGuard *guard)
{
  if (guard != NULL)
    atomic_store (&guard->start, 0);
}

void
vd_guard_lose (VdGuard *guard)
{
  atomic_store (&guard->emptied, true);
  atomic_store (&guard->lost, true);
  atomic_fetch_add (&generation, 1);
}

gboolean
vd_guard_is_lost (const VdGuard *guard)
{
  return atomic_load_explicit (&guard->lost, memory_order_relaxed);
}

guint
vd_guard_generation (void)
{
  return atomic_load_explicit (&generation, memory_order_relaxed);
}
