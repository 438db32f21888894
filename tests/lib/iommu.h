/* SPDX-License-Identifier: BSD-3-Clause
 *
 * iommu.h - a front-end whose guest has an IOMMU, for tests
 *
 * What the driver of ring.h calls gpa is an iova: the memory is told to the
 * back-end VT_IOMMU_SHIFT higher.  A thread of its own answers misses on the
 * channel by updates on the socket, page by page, as QEMU does; so a test that
 * sends messages itself holds the lock, as QEMU's threads do.
 */
#pragma once

#include <pthread.h>
#include <stdatomic.h>

#include "tests/lib/frontend.h"

#define VT_IOMMU_PAGE  4096ull
#define VT_IOMMU_SHIFT (4ull << 30) /* gpa - iova */

/* Kinds of access, and of messages. */
#define VT_IOMMU_READ        1
#define VT_IOMMU_WRITE       2
#define VT_IOMMU_MISS        1
#define VT_IOMMU_UPDATE      2
#define VT_IOMMU_INVALIDATE  3
#define VT_IOMMU_ACCESS_FAIL 4

typedef enum {
  VT_IOMMU_GRANTS_ALL,   /* intel-iommu: an update has all that is allowed */
  VT_IOMMU_GRANTS_ASKED, /* virtio-iommu: it has what was asked for */
  VT_IOMMU_SILENT,       /* neither an update nor an answer */
} VtIommuMode;

typedef struct {
  VtFrontend *fe; /* not owned */
  VtGuest *guest; /* not owned */
  pthread_mutex_t lock;
  pthread_t thread;
  int end_fd;
  GHashTable *allowed; /* page -> access, where it is not both; locked */
  atomic_int mode;     /* VtIommuMode */
  atomic_uint n_misses, n_fails;
} VtIommu;

/* Negotiates all that is needed, with ACCESS_PLATFORM and @features; sends the
 * memory and the channel; begins to answer.
 * @fe: connected; nothing was said yet */
VtIommu *vt_iommu_new (VtFrontend *fe, VtGuest *guest, guint64 features);
/* Ends the thread; the front-end goes on.  NULL is fine. */
void vt_iommu_free (VtIommu *iommu);

void vt_iommu_lock (VtIommu *iommu);
void vt_iommu_unlock (VtIommu *iommu);

/* What follows takes the lock. */

/* Describes @ring, whose parts are iova, starts and enables it; then tells the
 * translation of its used ring unasked, as QEMU does. */
void vt_iommu_start_ring (VtIommu *iommu, VtRing *ring);
guint32 vt_iommu_stop_ring (VtIommu *iommu, VtRing *ring);

/* From now on @len bytes at @ptr allow only @access. */
void vt_iommu_allow (VtIommu *iommu, const void *ptr, gsize len, guint access);

/* Sends one message and waits for its reply.  Returns: that, 0: success. */
guint64 vt_iommu_send (VtIommu *iommu, guint8 type, guint64 iova, guint64 size,
                       guint64 uva, guint8 access);
/* Tells the pages of @len bytes at @ptr unasked. */
void vt_iommu_update (VtIommu *iommu, const void *ptr, gsize len);
guint64 vt_iommu_invalidate (VtIommu *iommu, guint64 iova, guint64 size);

/* Changes how misses are answered. */
void vt_iommu_set_mode (VtIommu *iommu, VtIommuMode mode);
/* Waits until there were @n misses. */
void vt_iommu_wait_misses (VtIommu *iommu, guint n);
/* Waits for an ACCESS_FAIL. */
void vt_iommu_wait_fail (VtIommu *iommu);

G_DEFINE_AUTOPTR_CLEANUP_FUNC (VtIommu, vt_iommu_free)
