/* SPDX-License-Identifier: BSD-3-Clause */
#include "tests/vring/translate-rig.h"

#include <string.h>

#define RING_SIZE 64

void
vt_translate_set_up (VtTranslate *f, gconstpointer data)
{
  f->guest = vt_guest_new (16 * MIB);
  f->ring = vt_ring_new (f->guest, 0, RING_SIZE,
                         (VtRingFlags) GPOINTER_TO_UINT (data));
  vt_guest_alloc (f->guest, 1, PAGE); /* nothing else in the ring's pages */
  f->iotlb = vd_iotlb_new ();
  vt_queue_rig_init (&f->rig, f->guest, &vt_echo_ops, &f->echo);
  f->rig.iotlb = f->iotlb;
  f->rig.gpa_shift = GPA_SHIFT;
  f->rig.pool = vd_pool_new (2);
  vt_queue_rig_remap (&f->rig);
}

void
vt_translate_tear_down (VtTranslate *f, gconstpointer data)
{
  vt_queue_rig_clear (&f->rig);
  vd_pool_free (f->rig.pool);
  vd_iotlb_free (f->iotlb);
  vt_ring_free (f->ring);
  vt_guest_free (f->guest);
}

/* --- The front-end's side --- */

void
vt_translate_map_to (VtTranslate *f, guint64 iova, guint64 size, guint64 uva,
                     guint access)
{
  const VdIotlbEntry entry = { iova, size, uva, access };

  vd_iotlb_update (f->iotlb, &entry);
}

void
vt_translate_map_page (VtTranslate *f, guint64 iova, guint access)
{
  iova &= ~(PAGE - 1);
  vt_translate_map_to (f, iova, PAGE,
                       vt_guest_uva (f->guest, vt_guest_ptr (f->guest, iova)),
                       access);
}

void
vt_translate_map (VtTranslate *f, const void *ptr, gsize len, guint access)
{
  guint64 iova = vt_guest_gpa (f->guest, ptr);

  for (guint64 page = iova & ~(PAGE - 1); page < iova + len; page += PAGE)
    vt_translate_map_page (f, page, access);
}

guint
vt_translate_start (VtTranslate *f)
{
  VtRigQueue *slot = &f->rig.queues[f->ring->index];

  for (guint n = 0;; n++) {
    g_autoptr (GError) error = NULL;

    if (vt_queue_rig_try_start (&f->rig, f->ring, f->ring->start_base, TRUE,
                                &error))
      return n;
    g_assert_cmpuint (slot->miss.access, !=, 0);
    g_assert_cmpuint (n, <, 32);
    vt_translate_map_page (f, slot->miss.iova, slot->miss.access);
    slot->miss.access = 0;
  }
}

void
vt_translate_grant (VtTranslate *f, const void *ptr, guint access)
{
  VdMiss miss = vt_queue_rig_wait_miss (&f->rig, f->ring);

  g_assert_cmphex (miss.iova, ==, vt_guest_gpa (f->guest, ptr));
  g_assert_cmpuint (miss.access, ==, access);
  vt_translate_map_page (f, miss.iova, access);
  vt_queue_rig_retry (&f->rig, f->ring, TRUE);
}

void
vt_translate_grant_any (VtTranslate *f)
{
  VtRigQueue *slot = &f->rig.queues[f->ring->index];

  vt_queue_rig_pump (&f->rig);
  if (slot->miss.access == 0)
    return;
  vt_translate_map_page (f, slot->miss.iova, slot->miss.access);
  slot->miss.access = 0;
  vt_queue_rig_retry (&f->rig, f->ring, TRUE);
}

gpointer
vt_translate_take (VtTranslate *f)
{
  gint64 end = g_get_monotonic_time () + VT_TIMEOUT_MS * 1000ll;
  gpointer token;

  while (!(token = vt_ring_get (f->ring, NULL))) {
    g_assert_cmpint (g_get_monotonic_time (), <, end);
    vt_translate_grant_any (f);
  }
  return token;
}

void
vt_translate_wait_held (VtTranslate *f, guint n)
{
  gint64 end = g_get_monotonic_time () + VT_TIMEOUT_MS * 1000ll;

  while (atomic_load (&f->echo.n_held) < n) {
    g_assert_cmpint (g_get_monotonic_time (), <, end);
    vt_translate_grant_any (f);
  }
}

static void
on_done (VdQueueCommand *command, int result)
{
  VtAnswer *answer = command->user_data;

  g_assert_cmpint (result, ==, 0);
  answer->done = TRUE;
}

void
vt_translate_begin_invalidate (VtTranslate *f, guint64 first, guint64 last,
                               VdQueueCommand *command, VtAnswer *answer)
{
  *answer = (VtAnswer){ 0 };
  *command = (VdQueueCommand){ .type = VD_QUEUE_INVALIDATE,
                               .first = first,
                               .last = last,
                               .done = on_done,
                               .user_data = answer };
  vd_iotlb_invalidate (f->iotlb, first, last);
  vd_queue_command (vt_queue_rig_queue (&f->rig, f->ring), command);
}

void
vt_translate_invalidate (VtTranslate *f, guint64 first, guint64 last)
{
  VdQueueCommand command;
  VtAnswer answer;

  vt_translate_begin_invalidate (f, first, last, &command, &answer);
  vt_queue_rig_pump_until (&f->rig, &answer.done);
}

void
vt_translate_invalidate_page (VtTranslate *f, const void *ptr)
{
  guint64 page = vt_guest_gpa (f->guest, ptr) & ~(PAGE - 1);

  vt_translate_invalidate (f, page, page + PAGE - 1);
}

void
vt_translate_barrier (VtTranslate *f)
{
  vt_queue_rig_enable (&f->rig, f->ring, TRUE);
}

/* --- The driver's side --- */

void
vt_request_init (VtTranslate *f, VtRequest *request, guint32 len)
{
  request->len = len;
  request->out = vt_guest_alloc (f->guest, len, PAGE);
  request->in = vt_guest_alloc (f->guest, len, PAGE);
  for (guint32 i = 0; i < len; i++)
    request->out[i] = (guint8) g_test_rand_int ();
}

void
vt_request_send (VtTranslate *f, VtRequest *request)
{
  VtBuf bufs[] = { { request->out, request->len, FALSE },
                   { request->in, request->len, TRUE } };

  g_assert_true (vt_ring_add (f->ring, bufs, 2, request));
  vt_ring_kick (f->ring);
}

void
vt_request_check (const VtRequest *request)
{
  for (guint32 i = 0; i < request->len; i++)
    g_assert_cmphex (request->in[i], ==, (guint8) ~request->out[i]);
}

void
vt_request_map (VtTranslate *f, const VtRequest *request)
{
  vt_translate_map (f, request->out, request->len, R);
  vt_translate_map (f, request->in, request->len, W);
}
