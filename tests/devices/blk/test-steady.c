/* SPDX-License-Identifier: BSD-3-Clause
 *
 * test-steady.c - what a disk's threads do not do per request: allocate memory,
 * take locks
 */
#include "devices/blk/blk.h"

#include <fcntl.h>
#include <glib/gstdio.h>
#include <string.h>

#include "devices/blk/call.h"
#include "tests/lib/blk.h"
#include "tests/lib/count.h"
#include "tests/lib/rig.h"
#include "vring/fd.h"

#define SIZE      (4u << 20)
#define LEN       4096u
#define DEPTH     64u
#define WARM_UP   8u
#define ROUNDS    20u
#define MAX_TRIES 1000u

typedef struct {
  const char *name, *engine, *cache, *dir;
} Mode;

static const Mode modes[] = {
  { "cached", "auto", "writeback", NULL },
  { "in-memory", "auto", "writeback", "/dev/shm" },
  { "direct", "auto", "none", NULL },
  { "io_uring", "io_uring", "writeback", NULL },
};

static char *
make_image (const Mode *mode)
{
  g_autofree char *path =
      g_build_filename (mode->dir != NULL ? mode->dir : g_get_tmp_dir (),
                        "virtiod-steady-XXXXXX", NULL);
  g_autofree char *zeroes = g_malloc0 (SIZE);
  vd_autofd fd = g_mkstemp (path);

  g_assert_cmpint (fd, >=, 0);
  g_assert_cmpint (write (fd, zeroes, SIZE), ==, SIZE);
  return g_steal_pointer (&path);
}

static void
run_round (VtRing *ring, VtBlkRequest **requests)
{
  for (guint i = 0; i < DEPTH; i++)
    g_assert_true (vt_blk_add (ring, requests[i]));
  vt_ring_kick (ring);
  for (guint i = 0; i < DEPTH; i++) {
    VtBlkRequest *request = vt_ring_take (ring, NULL);

    g_assert_cmpuint (*request->status, ==, VIRTIO_BLK_S_OK);
  }
}

/* The calls that the pool made, which takes locks and starts threads. */
static guint64
pool_calls (VtRig *rig)
{
  static const char name[] = "\npool-calls: ";
  g_autoptr (GString) text = g_string_new (NULL);
  const char *at;

  rig->dev->ops->dump (rig->dev, text);
  at = strstr (text->str, name);
  g_assert_nonnull (at);
  return g_ascii_strtoull (at + strlen (name), NULL, 10);
}

/* Returns: FALSE if a write happened to wait for the disk, so that some after
 * it were sent to the pool, or if a thread of the pool was only now going back
 * to sleep from an earlier one, which takes a lock. */
static gboolean
count_rounds (VtRig *rig, VtRing *ring, VtBlkRequest **requests)
{
  guint64 calls = pool_calls (rig);
  VtCount before, after;

  before = vt_count_now ();
  for (guint i = 0; i < ROUNDS; i++)
    run_round (ring, requests);
  after = vt_count_now ();
  if (pool_calls (rig) != calls)
    return FALSE;
  g_assert_cmpuint (after.allocations - before.allocations, ==, 0);
  if (calls > 0 && after.locks != before.locks)
    return FALSE;
  g_assert_cmpuint (after.locks - before.locks, ==, 0);
  return TRUE;
}

static void
try_rounds (VtRig *rig, VtGuest *guest)
{
  g_autoptr (VtRing) ring = vt_ring_new (guest, 0, 256, VT_RING_EVENT_IDX);
  VtBlkRequest *requests[DEPTH];
  guint tries = 0;

  for (guint i = 0; i < DEPTH; i++) {
    requests[i] =
        vt_blk_request_new (guest, i % 2 ? VIRTIO_BLK_T_OUT : VIRTIO_BLK_T_IN,
                            (guint64) i * (LEN / 512), LEN);
    /* Whole pages: what O_DIRECT takes as it is. */
    requests[i]->data = vt_guest_alloc (guest, LEN, LEN);
  }
  vt_rig_start_ring (rig, ring);
  for (guint i = 0; i < WARM_UP; i++)
    run_round (ring, requests);
  while (!count_rounds (rig, ring, requests))
    g_assert_cmpuint (++tries, <, MAX_TRIES);
  vt_rig_reset (rig);
  for (guint i = 0; i < DEPTH; i++)
    g_free (requests[i]);
}

static void
test_reads_and_writes_allocate_nothing (gconstpointer data)
{
  const Mode *mode = data;
  g_autoptr (GError) error = NULL;
  g_autoptr (VtGuest) guest = NULL;
  g_autoptr (VtRig) rig = NULL;
  g_autofree char *path = NULL;

  if (!vt_count_works ()) {
    g_test_skip ("this build does not count allocations");
    return;
  }
  if (g_str_equal (mode->cache, "none") && !vd_call_check_uring (&error)) {
    g_test_skip (error->message); /* O_DIRECT then needs the pool */
    return;
  }
  path = make_image (mode);
  guest = vt_guest_new (16 << 20);
  rig = vt_rig_open (guest, &vd_blk_ops, &error, "image", path, "engine",
                     mode->engine, "cache", mode->cache, NULL);
  if (rig == NULL)
    g_test_skip (error->message);
  else
    try_rounds (rig, guest);
  g_unlink (path);
}

int
main (int argc, char **argv)
{
  g_test_init (&argc, &argv, NULL);
  vt_count_exclude_me ();
  for (guint i = 0; i < G_N_ELEMENTS (modes); i++) {
    g_autofree char *path = g_strdup_printf ("/blk/steady/%s", modes[i].name);

    g_test_add_data_func (path, &modes[i],
                          test_reads_and_writes_allocate_nothing);
  }
  return g_test_run ();
}
