/* SPDX-License-Identifier: BSD-3-Clause
 *
 * test-queues.c - what devices/generic/queues.c promises, over real rings
 */
#include "devices/generic/queues.h"

#include <fcntl.h>
#include <glib/gstdio.h>
#include <string.h>
#include <unistd.h>

#include "devices/generic/generic.h"
#include "tests/lib/rig.h"

#define MEMORY (64u << 20)

typedef struct {
  char *dir;
  char *file; /* in dir */
  VtGuest *guest;
  VtRig *rig;
  VtRing *ring;
} Fixture;

static void
set_up (Fixture *f, gconstpointer data)
{
  f->dir = g_dir_make_tmp ("virtiod-queues-XXXXXX", NULL);
  g_assert_nonnull (f->dir);
  f->file = g_build_filename (f->dir, "file", NULL);
  f->guest = vt_guest_new (MEMORY);
}

static void
tear_down (Fixture *f, gconstpointer data)
{
  vt_rig_free (f->rig);
  vt_ring_free (f->ring);
  vt_guest_free (f->guest);
  g_remove (f->file);
  g_rmdir (f->dir);
  g_free (f->file);
  g_free (f->dir);
}

/* Opens a device whose queue 0 has that mode and starts the queue. */
static void
start (Fixture *f, const char *mode)
{
  g_autoptr (GError) error = NULL;

  f->rig = vt_rig_open (f->guest, &vd_generic_ops, &error, "virtio-id", "40",
                        "queue.0", mode, "sink-limit", "10", NULL);
  g_assert_no_error (error);
  f->ring = vt_ring_new (f->guest, 0, 64, 0);
  vt_rig_start_ring (f->rig, f->ring);
}

/* The mode with the fixture's file. */
static void
start_file (Fixture *f, const char *mode)
{
  g_autofree char *full = g_strconcat (mode, f->file, NULL);

  start (f, full);
}

static void *
put (Fixture *f, const char *text)
{
  char *to = vt_guest_alloc (f->guest, strlen (text) + 1, 1);

  memcpy (to, text, strlen (text));
  return to;
}

/* Runs one chain.  Returns: the written length that the device tells. */
static guint32
run (Fixture *f, const VtBuf *bufs, guint n_bufs)
{
  guint32 written = 0;

  g_assert_true (vt_ring_add (f->ring, bufs, n_bufs, f));
  vt_ring_kick (f->ring);
  g_assert_true (vt_ring_take (f->ring, &written) == f);
  return written;
}

static char *
dump (Fixture *f)
{
  GString *text = g_string_new (NULL);

  vd_generic_ops.dump (f->rig->dev, text);
  return g_string_free (text, FALSE);
}

static void
test_drain_completes_with_nothing_written (Fixture *f, gconstpointer data)
{
  char *in = put (f, "old");
  VtBuf bufs[] = { { put (f, "hello"), 5, FALSE }, { in, 3, TRUE } };

  start (f, "drain");
  g_assert_cmpuint (run (f, bufs, 2), ==, 0);
  g_assert_cmpmem (in, 3, "old", 3);
}

static void
test_hold_takes_nothing (Fixture *f, gconstpointer data)
{
  VtBuf buf = { put (f, "hello"), 5, FALSE };

  start (f, "hold");
  g_assert_true (vt_ring_add (f->ring, &buf, 1, f));
  vt_ring_kick (f->ring);
  g_assert_false (vt_ring_wait (f->ring, 50));
  g_assert_cmpuint (vt_rig_stop_ring (f->rig, f->ring), ==, 0);
}

static void
test_loopback_copies_as_much_as_fits (Fixture *f, gconstpointer data)
{
  char *a = put (f, "....."), *b = put (f, ".....");
  VtBuf bufs[] = { { put (f, "ab"), 2, FALSE },
                   { put (f, "cdef"), 4, FALSE },
                   { a, 1, TRUE },
                   { b, 3, TRUE } };

  start (f, "loopback");
  g_assert_cmpuint (run (f, bufs, 4), ==, 4);
  g_assert_cmpmem (a, 5, "a....", 5);
  g_assert_cmpmem (b, 5, "bcd..", 5);
  bufs[3].len = 5;
  g_assert_cmpuint (run (f, bufs, 4), ==, 6);
  g_assert_cmpmem (b, 5, "bcdef", 5);
  g_assert_cmpuint (run (f, bufs + 2, 2), ==, 0);
  g_assert_cmpuint (run (f, bufs, 2), ==, 0);
}

static void
test_loopback_survives_overlapping_buffers (Fixture *f, gconstpointer data)
{
  char *text = put (f, "abcdef");
  VtBuf bufs[] = { { text, 4, FALSE }, { text + 2, 4, TRUE } };

  start (f, "loopback");
  g_assert_cmpuint (run (f, bufs, 2), ==, 4);
  g_assert_cmpmem (text, 6, "ababcd", 6);
}

static void
test_one_chain_is_bounded (Fixture *f, gconstpointer data)
{
  guint len = VD_MENU_COPY_MAX + 4096;
  VtBuf bufs[] = { { vt_guest_alloc (f->guest, len, 1), len, FALSE },
                   { vt_guest_alloc (f->guest, len, 1), len, TRUE } };

  start (f, "loopback");
  g_assert_cmpuint (run (f, bufs, 2), ==, VD_MENU_COPY_MAX);
  g_clear_pointer (&f->rig, vt_rig_free);
  g_clear_pointer (&f->ring, vt_ring_free);
  start (f, "source=zero");
  g_assert_cmpuint (run (f, bufs, 2), ==, VD_MENU_FILL_MAX);
}

static void
test_zero_source_fills (Fixture *f, gconstpointer data)
{
  char *in = put (f, "old");
  VtBuf buf = { in, 2, TRUE };

  start (f, "source=zero");
  g_assert_cmpuint (run (f, &buf, 1), ==, 2);
  g_assert_cmpmem (in, 3, "\0\0d", 3);
}

static void
test_random_source_fills_all (Fixture *f, gconstpointer data)
{
  guint8 *a = vt_guest_alloc (f->guest, 65536, 1);
  guint8 *b = vt_guest_alloc (f->guest, 65536, 1);
  VtBuf bufs[] = { { a, 65535, TRUE }, { b, 65536, TRUE } };
  guint counts[256] = { 0 };

  start (f, "source=random");
  g_assert_cmpuint (run (f, bufs, 2), ==, 65535 + 65536);
  g_assert_cmpuint (a[65535], ==, 0);
  for (guint i = 0; i < 65536; i++)
    counts[b[i]]++;
  for (guint i = 0; i < 256; i++) /* 256 each; 10 deviations around it */
    g_assert_true (counts[i] > 96 && counts[i] < 416);
}

static void
test_file_source_begins_again_at_its_end (Fixture *f, gconstpointer data)
{
  char *a = put (f, "....."), *b = put (f, ".....");
  VtBuf bufs[] = { { a, 3, TRUE }, { b, 5, TRUE } };

  g_assert_true (g_file_set_contents (f->file, "abcde", 5, NULL));
  start_file (f, "source=file:");
  g_assert_cmpuint (run (f, bufs, 1), ==, 3);
  g_assert_cmpmem (a, 3, "abc", 3);
  g_assert_cmpuint (run (f, bufs, 2), ==, 8);
  g_assert_cmpmem (a, 3, "dea", 3);
  g_assert_cmpmem (b, 5, "bcdea", 5);
  vt_rig_reset (f->rig);
  vt_ring_reset (f->ring, 0);
  vt_rig_start_ring (f->rig, f->ring);
  g_assert_cmpuint (run (f, bufs, 1), ==, 3);
  g_assert_cmpmem (a, 3, "abc", 3);
}

static void
test_empty_file_source_gives_nothing (Fixture *f, gconstpointer data)
{
  VtBuf buf = { put (f, "....."), 5, TRUE };

  g_assert_true (g_file_set_contents (f->file, "", 0, NULL));
  start_file (f, "source=file:");
  g_assert_cmpuint (run (f, &buf, 1), ==, 0);
}

static void
test_file_sink_appends_up_to_its_limit (Fixture *f, gconstpointer data)
{
  VtBuf bufs[] = { { put (f, "abc"), 3, FALSE },
                   { put (f, "defg"), 4, FALSE },
                   { put (f, "..."), 3, TRUE } };
  g_autofree char *text = NULL, *state = NULL;
  gsize len;

  g_assert_true (g_file_set_contents (f->file, "0", 1, NULL));
  start_file (f, "sink=file:");
  g_assert_cmpuint (run (f, bufs, 3), ==, 0);
  g_assert_cmpuint (run (f, bufs, 3), ==, 0);
  g_assert_cmpuint (run (f, bufs, 3), ==, 0);
  g_assert_true (g_file_get_contents (f->file, &text, &len, NULL));
  g_assert_cmpmem (text, len, "0abcdefgab", 10);
  state = dump (f);
  g_assert_nonnull (strstr (state, "file, 3 chains, 9 bytes, 12 dropped\n"));
}

static void
test_null_sink_counts (Fixture *f, gconstpointer data)
{
  VtBuf buf = { put (f, "abc"), 3, FALSE };
  g_autofree char *state = NULL;

  start (f, "sink=null");
  g_assert_cmpuint (run (f, &buf, 1), ==, 0);
  state = dump (f);
  g_assert_cmpstr (state, ==,
                   "queue 0: sink=null, 1 chains, 3 bytes, 0 dropped\n");
}

static void
test_every_mode_serves_a_flood (Fixture *f, gconstpointer data)
{
  static const char *const modes[] = { "drain", "loopback", "source=zero",
                                       "source=random", "sink=null" };
  VtBuf bufs[] = { { put (f, "abc"), 3, FALSE }, { put (f, "..."), 3, TRUE } };

  for (guint m = 0; m < G_N_ELEMENTS (modes); m++) {
    guint done = 0, added = 0;

    start (f, modes[m]);
    while (done < 1000) {
      while (added < 1000 && vt_ring_add (f->ring, bufs, 2, f))
        added++;
      vt_ring_kick (f->ring);
      vt_ring_take (f->ring, NULL);
      done++;
    }
    g_clear_pointer (&f->rig, vt_rig_free);
    g_clear_pointer (&f->ring, vt_ring_free);
  }
}

/* What the menu's modes are, by its dump. */
static void
assert_menu (Fixture *f, const char *k1, const char *v1, const char *k2,
             const char *v2, const char *k3, const char *v3, const char *want)
{
  g_autoptr (GError) error = NULL;
  g_autofree char *state = NULL;

  f->rig = vt_rig_open (f->guest, &vd_generic_ops, &error, "virtio-id", "40",
                        "queues", "4", k1, v1, k2, v2, k3, v3, NULL);
  g_assert_no_error (error);
  state = dump (f);
  for (guint i = 0; i < 4; i++) {
    g_autofree char *line = g_strdup_printf ("queue %u: %s, 0 chains", i,
                                             want[i] == 'd'   ? "drain"
                                             : want[i] == 'h' ? "hold"
                                                              : "loopback");

    g_assert_nonnull (strstr (state, line));
  }
  g_clear_pointer (&f->rig, vt_rig_free);
}

static void
test_the_narrower_key_wins (Fixture *f, gconstpointer data)
{
  assert_menu (f, NULL, NULL, NULL, NULL, NULL, NULL, "dddd");
  assert_menu (f, "queue.*", "hold", NULL, NULL, NULL, NULL, "hhhh");
  assert_menu (f, "queue.2", "hold", "queue.*", "loopback", "queue.1-2",
               "drain", "ldhl");
  assert_menu (f, "queue.0-1", "hold", "queue.2-3", "loopback", "queue.3",
               "drain", "hhld");
}

static void
test_wrong_keys_are_refused (Fixture *f, gconstpointer data)
{
  static const struct {
    const char *key, *value, *message;
  } cases[] = {
    { "queue.2", "drain",
      "test: queue.2=drain: there are only 2 queues, from 0 on" },
    { "queue.1-2", "drain",
      "test: queue.1-2=drain: there are only 2 queues, from 0 on" },
    { "queue.1-0", "drain",
      "test: queue.1-0=drain: the key is queue.N, queue.A-B or queue.*" },
    { "queue.x", "drain",
      "test: queue.x=drain: the key is queue.N, queue.A-B or queue.*" },
    { "queue.-1", "drain",
      "test: queue.-1=drain: the key is queue.N, queue.A-B or queue.*" },
    { "queue.0x1", "drain",
      "test: queue.0x1=drain: the key is queue.N, queue.A-B or queue.*" },
    { "queue.00", "drain",
      "test: queue.00=drain: another key is for queue 0 "
      "too" },
    { "queue.1", "drian",
      "test: queue.1=drian: not a mode (drain, hold, loopback, source=zero, "
      "source=random, source=file:PATH, sink=null, sink=file:PATH)" },
    { "queue.1", "source=file:",
      "test: queue.1=source=file:: not a mode (drain, hold, loopback, "
      "source=zero, source=random, source=file:PATH, sink=null, "
      "sink=file:PATH)" },
    { "queue.1", "source=file:/no/such/file",
      "test: queue 1: source=file:/no/such/file: /no/such/file: No such file "
      "or directory" },
    { "queue.1", "source=file:/dev/zero",
      "test: queue 1: source=file:/dev/zero: /dev/zero: not a regular file" },
    { "queue.1", "sink=file:/",
      "test: queue 1: sink=file:/: /: Is a directory" },
  };

  for (guint i = 0; i < G_N_ELEMENTS (cases); i++) {
    g_autoptr (GError) error = NULL;

    g_assert_null (vt_rig_open (f->guest, &vd_generic_ops, &error, "virtio-id",
                                "40", "queues", "2", "queue.0", "drain",
                                cases[i].key, cases[i].value, NULL));
    g_assert_nonnull (error);
    g_assert_cmpstr (error->message, ==, cases[i].message);
  }
}

int
main (int argc, char **argv)
{
  g_test_init (&argc, &argv, NULL);
#define ADD(name, func)                                                        \
  g_test_add ("/generic/queues/" name, Fixture, NULL, set_up, func, tear_down)
  ADD ("drain", test_drain_completes_with_nothing_written);
  ADD ("hold", test_hold_takes_nothing);
  ADD ("loopback", test_loopback_copies_as_much_as_fits);
  ADD ("loopback/overlap", test_loopback_survives_overlapping_buffers);
  ADD ("bounded", test_one_chain_is_bounded);
  ADD ("source/zero", test_zero_source_fills);
  ADD ("source/random", test_random_source_fills_all);
  ADD ("source/file", test_file_source_begins_again_at_its_end);
  ADD ("source/empty", test_empty_file_source_gives_nothing);
  ADD ("sink/file", test_file_sink_appends_up_to_its_limit);
  ADD ("sink/null", test_null_sink_counts);
  ADD ("flood", test_every_mode_serves_a_flood);
  ADD ("keys", test_the_narrower_key_wins);
  ADD ("keys/wrong", test_wrong_keys_are_refused);
  return g_test_run ();
}
