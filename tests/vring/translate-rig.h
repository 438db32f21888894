/* SPDX-License-Identifier: BSD-3-Clause
 *
 * translate-rig.h - a queue whose driver is behind an IOMMU
 *
 * What the driver of tests/lib calls gpa is an iova here; memory lies elsewhere
 * for the map.  The test's thread answers the queue's misses, or does not.
 */
#pragma once

#include "tests/lib/echo.h"
#include "vring/queue.h"

#define PAGE      4096ull
#define MIB       (1ull << 20)
#define GPA_SHIFT (16ull << 30)
#define R         VD_ACCESS_READ
#define W         VD_ACCESS_WRITE
#define RW        (R | W)

typedef struct {
  VtGuest *guest;
  VtRing *ring;
  VtEcho echo;
  VdIotlb *iotlb;
  VtQueueRig rig;
} VtTranslate;

/* @data: VtRingFlags */
void vt_translate_set_up (VtTranslate *f, gconstpointer data);
void vt_translate_tear_down (VtTranslate *f, gconstpointer data);

/* --- The front-end's side --- */

void vt_translate_map_to (VtTranslate *f, guint64 iova, guint64 size,
                          guint64 uva, guint access);
/* Maps the page of @iova to where the driver sees it. */
void vt_translate_map_page (VtTranslate *f, guint64 iova, guint access);
void
vt_translate_map (VtTranslate *f, const void *ptr, gsize len, guint access);

/* Starts the queue as its misses are answered.  Returns: how many there were. */
guint vt_translate_start (VtTranslate *f);

/* Waits for a miss of @access at @ptr and grants it. */
void vt_translate_grant (VtTranslate *f, const void *ptr, guint access);
/* Grants what the queue may wait for by now. */
void vt_translate_grant_any (VtTranslate *f);

/* Grants all misses until the driver has got a chain back.  Returns: its token. */
gpointer vt_translate_take (VtTranslate *f);
/* The same until the device holds @n chains. */
void vt_translate_wait_held (VtTranslate *f, guint n);

typedef struct {
  gboolean done;
} VtAnswer;

/* Withdraws @first to @last and tells the queue, whose answer may take time. */
void vt_translate_begin_invalidate (VtTranslate *f, guint64 first, guint64 last,
                                    VdQueueCommand *command, VtAnswer *answer);
void vt_translate_invalidate (VtTranslate *f, guint64 first, guint64 last);
void vt_translate_invalidate_page (VtTranslate *f, const void *ptr);

/* A command that changes nothing: all before it were taken. */
void vt_translate_barrier (VtTranslate *f);

/* --- The driver's side --- */

typedef struct {
  guint8 *out, *in;
  guint32 len;
} VtRequest;

void vt_request_init (VtTranslate *f, VtRequest *request, guint32 len);
void vt_request_send (VtTranslate *f, VtRequest *request);
void vt_request_check (const VtRequest *request);
void vt_request_map (VtTranslate *f, const VtRequest *request);
