/* SPDX-License-Identifier: BSD-3-Clause */
#include "tests/vring/echo-fixture.h"

static void
set_up (VtEchoFixture *f, gconstpointer data)
{
  const VtEchoConfig *config = data;

  f->guest = vt_guest_new (16 * MIB);
  f->ring = vt_ring_new (f->guest, 0,
                         config->flags & VT_RING_PACKED ? ODD_SIZE : RING_SIZE,
                         config->flags);
  vt_queue_rig_init (&f->rig, f->guest, &vt_echo_ops, &f->echo);
  f->rig.force_poll = config->force_poll;
  f->rig.pool = vd_pool_new (2);
  f->requests = g_ptr_array_new_with_free_func (g_free);
}

static void
tear_down (VtEchoFixture *f, gconstpointer data)
{
  vt_queue_rig_clear (&f->rig);
  vd_pool_free (f->rig.pool);
  g_assert_cmpuint (f->echo.n_started, ==, f->echo.n_stopped);
  vt_ring_free (f->ring);
  vt_guest_free (f->guest);
  g_ptr_array_unref (f->requests);
}

VtEchoRequest *
vt_echo_request_new (VtEchoFixture *f, guint32 len)
{
  VtEchoRequest *request = g_new0 (VtEchoRequest, 1);

  g_ptr_array_add (f->requests, request);
  request->out = vt_guest_alloc (f->guest, len, 1);
  request->in = vt_guest_alloc (f->guest, len, 1);
  request->out_len = request->in_len = len;
  for (guint32 i = 0; i < len; i++)
    request->out[i] = g_test_rand_int ();
  return request;
}

void
vt_echo_request_add (VtRing *ring, VtEchoRequest *request)
{
  VtBuf bufs[] = { { request->out, request->out_len, FALSE },
                   { request->in, request->in_len, TRUE } };

  g_assert_true (vt_ring_add (ring, bufs, 2, request));
}

void
vt_echo_request_check (const VtEchoRequest *request, guint32 written)
{
  g_assert_cmpuint (written, ==, MIN (request->out_len, request->in_len));
  for (guint32 i = 0; i < written; i++)
    g_assert_cmphex (request->in[i], ==, (guint8) ~request->out[i]);
}

void
vt_echo_add (VtEchoFixture *f, guint n)
{
  for (guint i = 0; i < n; i++)
    vt_echo_request_add (f->ring, vt_echo_request_new (f, 1 + i % 7));
  vt_ring_kick (f->ring);
}

void
vt_echo_take (VtEchoFixture *f, guint n)
{
  for (guint i = 0; i < n; i++) {
    guint32 written;
    VtEchoRequest *request = vt_ring_take (f->ring, &written);

    vt_echo_request_check (request, written);
  }
}

void
vt_echo_start_disabled (VtEchoFixture *f)
{
  g_autoptr (GError) error = NULL;

  vt_queue_rig_try_start (&f->rig, f->ring, f->ring->start_base, FALSE, &error);
  g_assert_no_error (error);
}

static const VtEchoConfig configs[] = {
  { FALSE, 0 },
  { FALSE, VT_RING_EVENT_IDX },
  { FALSE, VT_RING_EVENT_IDX | VT_RING_INDIRECT | VT_RING_BLOCKING },
  { TRUE, VT_RING_STREAM_CALL | VT_RING_BLOCKING },
  { TRUE, VT_RING_EVENT_IDX | VT_RING_INDIRECT },
  { FALSE, VT_RING_PACKED },
  { FALSE, VT_RING_PACKED | VT_RING_EVENT_IDX },
  { TRUE, VT_RING_PACKED | VT_RING_EVENT_IDX | VT_RING_INDIRECT },
};

void
vt_echo_add_test (const char *group, const char *name,
                  void (*func) (VtEchoFixture *, gconstpointer))
{
  for (guint i = 0; i < G_N_ELEMENTS (configs); i++) {
    const VtEchoConfig *config = &configs[i];
    g_autofree char *path =
        g_strdup_printf ("/%s/%s/%s%s%s%s%s%s", group, name,
                         config->force_poll ? "epoll" : "uring",
                         config->flags & VT_RING_PACKED ? "-packed" : "",
                         config->flags & VT_RING_EVENT_IDX ? "-event-idx" : "",
                         config->flags & VT_RING_INDIRECT ? "-indirect" : "",
                         config->flags & VT_RING_BLOCKING ? "-blocking" : "",
                         config->flags & VT_RING_STREAM_CALL ? "-stream" : "");

    g_test_add (path, VtEchoFixture, config, set_up, func, tear_down);
  }
}
