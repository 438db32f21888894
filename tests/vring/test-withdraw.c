/* SPDX-License-Identifier: BSD-3-Clause
 *
 * test-withdraw.c - translations that go while queues use them
 */
#include "tests/vring/translate-rig.h"

#include <string.h>

#include "tests/lib/crash.h"

static void
test_an_invalidation_waits_for_its_buffers_only (VtTranslate *f,
                                                 gconstpointer data)
{
  VtRequest held, free;
  VdQueueCommand command;
  VtAnswer answer;
  guint64 iova;

  f->echo.mode = VT_ECHO_HOLD;
  vt_translate_start (f);
  vt_request_init (f, &held, 3 * PAGE);
  vt_request_init (f, &free, PAGE);
  vt_request_map (f, &held);
  vt_request_map (f, &free);
  vt_request_send (f, &held);
  vt_translate_wait_held (f, 1);

  vt_translate_invalidate_page (f, free.out); /* is done at once */
  iova = vt_guest_gpa (f->guest, held.in) + PAGE;
  vt_translate_begin_invalidate (f, iova, iova, &command, &answer);
  vt_translate_barrier (f);
  g_assert_false (answer.done);
  vt_echo_release (&f->rig, f->ring, FALSE);
  vt_queue_rig_pump_until (&f->rig, &answer.done);
  g_assert_true (vt_ring_take (f->ring, NULL) == &held);
  vt_request_check (&held);

  /* and it did go */
  vt_request_send (f, &held);
  g_assert_true (vt_translate_take (f) == &held);
  g_assert_cmpuint (f->rig.queues[0].n_misses, >, 0);
}

/* A device that keeps a chain for somebody outside, until it is told not to. */
static void
keep (VdQueue *queue, VdChain **chains, guint n_chains, gpointer user_data)
{
  VdChain **kept = user_data;

  g_assert_cmpuint (n_chains, ==, 1);
  g_assert_null (*kept);
  *kept = chains[0];
}

static void
let_go (VdQueue *queue, gpointer user_data)
{
  VdChain **kept = user_data;

  if (*kept != NULL)
    vd_chain_complete (*kept, 0);
  *kept = NULL;
}

static void
test_a_device_is_told_to_let_go (VtTranslate *f, gconstpointer data)
{
  const VdQueueOps ops = { .request_size = 8, .handle = keep, .drain = let_go };
  VdChain *kept = NULL;
  VdQueueStats stats;
  VtRequest request;

  f->rig.ops = &ops;
  f->rig.user_data = &kept;
  vt_translate_start (f);
  vt_request_init (f, &request, PAGE);
  vt_request_map (f, &request);
  vt_request_send (f, &request);
  do
    vd_queue_stats (vt_queue_rig_queue (&f->rig, f->ring), &stats);
  while (stats.chains == 0);
  vt_translate_invalidate (f, 0, G_MAXUINT64);
  g_assert_true (vt_ring_get (f->ring, NULL) == &request);
  vt_queue_rig_stop (&f->rig, f->ring);
}

static void
test_a_withdrawn_ring_is_left_alone (VtTranslate *f, gconstpointer data)
{
  const gsize len = (gsize) (f->guest->current->used);
  g_autofree guint8 *copy = g_malloc (len);
  VdQueueCommand command;
  VtRequest request;
  VtAnswer answer;

  f->echo.mode = VT_ECHO_HOLD;
  vt_translate_start (f);
  vt_request_init (f, &request, PAGE);
  vt_request_map (f, &request);
  for (guint64 page = 0; page < len; page += PAGE)
    vt_translate_map_page (f, VT_GPA_BASE + page, RW);
  vt_request_send (f, &request);
  vt_translate_wait_held (f, 1);

  vt_translate_begin_invalidate (f, 0, G_MAXUINT64, &command, &answer);
  vt_translate_barrier (f);
  g_assert_false (answer.done);
  vt_echo_release (&f->rig, f->ring, FALSE);
  vt_queue_rig_pump_until (&f->rig, &answer.done);
  /* What was done had its place in the ring before the answer. */
  g_assert_true (vt_ring_get (f->ring, NULL) == &request);
  vt_ring_drain_calls (f->ring);

  vt_request_send (f, &request);
  memcpy (copy, f->guest->current->ptr, len);
  vt_ring_kick_always (f->ring);
  vt_translate_barrier (f);
  g_assert_cmpmem (copy, len, f->guest->current->ptr, len);
  g_assert_true (vt_translate_take (f) == &request);
}

static void
test_stop_answers_whatever_is_waited_for (VtTranslate *f, gconstpointer data)
{
  VtRequest request;
  guint32 base;

  vt_translate_start (f);
  base = vt_ring_base (f->ring);
  vt_request_init (f, &request, PAGE);
  vt_request_send (f, &request);
  vt_queue_rig_wait_miss (&f->rig, f->ring);
  g_assert_cmphex (vt_queue_rig_stop (&f->rig, f->ring), ==, base);

  /* The chain was not consumed: a second life serves it. */
  g_assert_true (vt_queue_rig_try_start (&f->rig, f->ring, base, TRUE, NULL));
  g_assert_true (vt_translate_take (f) == &request);
  vt_request_check (&request);
  /* The same while the ring is lost. */
  vt_translate_invalidate (f, 0, G_MAXUINT64);
  vt_queue_rig_wait_miss (&f->rig, f->ring);
  base = vt_ring_base (f->ring);
  g_assert_cmphex (vt_queue_rig_stop (&f->rig, f->ring), ==, base);
}

/* Chains that a predecessor left wait as well, and are served once. */
static void
test_what_is_submitted_again_waits_too (VtTranslate *f, gconstpointer data)
{
  VtRequest requests[4];
  guint64 n_handled;
  VtCrash crash;

  vt_crash_init (&crash, &f->rig, f->ring);
  f->echo.mode = VT_ECHO_HOLD;
  vt_translate_start (f);
  for (guint i = 0; i < G_N_ELEMENTS (requests); i++) {
    vt_request_init (f, &requests[i], 16);
    vt_request_map (f, &requests[i]);
    vt_request_send (f, &requests[i]);
  }
  vt_translate_wait_held (f, G_N_ELEMENTS (requests));
  vt_crash_note (&crash);
  vt_echo_release (&f->rig, f->ring, FALSE);
  vt_crash (&crash);
  vd_iotlb_invalidate (f->iotlb, 0, G_MAXUINT64);

  f->echo.mode = VT_ECHO_NOW;
  n_handled = f->echo.n_handled;
  vt_translate_start (f);
  /* A stop does not wait for answers; nothing is lost by it. */
  vt_queue_rig_wait_miss (&f->rig, f->ring);
  vt_queue_rig_stop (&f->rig, f->ring);
  vt_translate_start (f);
  for (guint i = 0; i < G_N_ELEMENTS (requests); i++) {
    VtRequest *request = vt_translate_take (f);

    g_assert_true (request == &requests[i]);
    vt_request_check (request);
  }
  g_assert_cmpuint (f->echo.n_handled - n_handled, ==, G_N_ELEMENTS (requests));
  vt_queue_rig_stop (&f->rig, f->ring);
  vt_crash_clear (&crash);
}

/* Random withdrawals under load: whatever is withdrawn, every request comes back
 * once and right. */
static void
test_random_withdrawals_disturb_nothing (VtTranslate *f, gconstpointer data)
{
  const guint n_rounds = 600;
  VtRequest requests[24];
  guint64 end;

  f->echo.mode = VT_ECHO_MIXED;
  vt_translate_start (f);
  for (guint i = 0; i < G_N_ELEMENTS (requests); i++)
    vt_request_init (f, &requests[i], 1 + i * 700);
  end = VT_GPA_BASE + f->guest->current->used;
  for (guint round = 0; round < n_rounds; round++) {
    guint n = (guint) g_test_rand_int_range (1, G_N_ELEMENTS (requests) + 1);
    guint n_sent = 0;

    for (; n_sent < n; n_sent++) {
      VtBuf bufs[] = {
        { requests[n_sent].out, requests[n_sent].len, FALSE },
        { requests[n_sent].in, requests[n_sent].len, TRUE },
      };

      memset (requests[n_sent].in, 0, requests[n_sent].len);
      if (!vt_ring_add (f->ring, bufs, 2, &requests[n_sent]))
        break;
    }
    vt_ring_kick (f->ring);
    if (g_test_rand_int_range (0, 3) == 0) {
      guint64 n_pages = (end - VT_GPA_BASE) / PAGE + 1;
      guint64 first = (guint64) g_test_rand_int_range (0, (gint32) n_pages);

      if (g_test_rand_int_range (0, 8) == 0)
        vt_translate_invalidate (f, 0, G_MAXUINT64);
      else
        vt_translate_invalidate (f, VT_GPA_BASE + first * PAGE,
                                 VT_GPA_BASE + (first + 1) * PAGE - 1);
    }
    for (guint i = 0; i < n_sent; i++)
      vt_request_check (vt_translate_take (f));
  }
  g_assert_cmpuint (f->rig.queues[0].n_misses, >, 10);
  g_assert_null (f->rig.queues[0].broken);
}

int
main (int argc, char **argv)
{
  g_test_init (&argc, &argv, NULL);
#define ADD_ALL(name, func)                                                    \
  VT_ADD_RING_TESTS ("/withdraw/", name, VtTranslate, vt_translate_set_up,     \
                     func, vt_translate_tear_down)
#define ADD(format, name, flags, func)                                         \
  VT_ADD_RING_TEST ("/withdraw/", format, name, flags, VtTranslate,            \
                    vt_translate_set_up, func, vt_translate_tear_down)
  ADD_ALL ("buffers", test_an_invalidation_waits_for_its_buffers_only);
  ADD ("split", "let-go", 0, test_a_device_is_told_to_let_go);
  ADD ("packed", "let-go", VT_RING_PACKED, test_a_device_is_told_to_let_go);
  ADD_ALL ("ring", test_a_withdrawn_ring_is_left_alone);
  ADD_ALL ("stop", test_stop_answers_whatever_is_waited_for);
  ADD ("split", "again", 0, test_what_is_submitted_again_waits_too);
  ADD ("packed", "again", VT_RING_PACKED,
       test_what_is_submitted_again_waits_too);
  ADD_ALL ("random", test_random_withdrawals_disturb_nothing);
  return g_test_run ();
}
