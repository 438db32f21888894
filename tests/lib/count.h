/* SPDX-License-Identifier: BSD-3-Clause
 *
 * count.h - how often threads allocate memory and take mutexes
 *
 * A program that links testcount has its own malloc() and pthread_mutex_lock(),
 * which count and then do what the C library does.
 */
#pragma once

#include <glib.h>

typedef struct {
  guint64 allocations, locks;
} VtCount;

/* Whether it counts: not in sanitizer builds, which have a malloc of their own,
 * nor without glibc. */
gboolean vt_count_works (void);

/* The calling thread, usually the test itself, is not counted any more. */
void vt_count_exclude_me (void);

/* What all other threads did so far. */
VtCount vt_count_now (void);
