/* SPDX-License-Identifier: BSD-3-Clause
 *
 * userfault.h - memory whose missing pages someone else brings (userfaultfd(2))
 *
 * In a postcopy migration the front-end reads faults from our descriptor, puts
 * the page into the shared file and wakes who waits.  Accesses of the kernel on
 * our behalf wait as well.  The descriptor acts on the whole address space of
 * this process: whoever has it can make any thread wait and fill any page that
 * was never touched.  CONTROL.
 */
#pragma once

#include <glib.h>

/* Returns: (transfer full): a descriptor, or -1 with @error set to the remedy,
 * since most systems permit this to few. */
int vd_userfault_open (GError **error);

/* From now on missing pages raise faults.  Whole pages, freshly mapped.
 * Returns: FALSE with errno set: of no kind that can. */
gboolean vd_userfault_register (int uffd, void *start, gsize len);

/* Missing pages are zeroes from now on, also for those who wait. */
void vd_userfault_unregister (int uffd, void *start, gsize len);

/* All of the memory is taken away, also pages that came: touching it raises
 * SIGBUS, and system calls fail with EFAULT, also those that wait now.  Zeroes
 * would get into files as if they were data. */
void vd_userfault_abandon (int uffd, void *start, gsize len);
