/* SPDX-License-Identifier: BSD-3-Clause
 *
 * test-power-cut.c - whatever the guest was told is durable survives a power cut
 * at any moment
 *
 * A driver writes, zeroes, flushes and switches the cache on several queues,
 * over a file system that executes calls that meet in any order and logs each
 * (fault-fs.h).  The driver notes what it was told, and how long the log was
 * then.  Afterwards the power is cut behind every record of the log: what a sync
 * or a durable write did not cover is lost.  That is the worst case: whatever
 * else may have reached the disk is newer.
 *
 * No two requests under way touch one sector, as in a guest's file system.  So
 * the n-th call on a sector is its n-th version, whose bytes are known.
 */
#include "devices/blk/blk.h"

#include <string.h>

#include "devices/blk/call.h"
#include "tests/devices/blk/fault-fs.h"
#include "tests/lib/blk.h"
#include "tests/lib/rig.h"

#define SECTOR     512u
#define N_SECTORS  1024u
#define N_QUEUES   4u
#define N_REQUESTS 1600u
#define MAX_LEN    24u /* sectors of a request */
#define DEPTH      6u  /* requests of a queue */

typedef struct {
  const char *engine, *cache;
  gboolean toggles; /* the driver switches the cache now and then */
  gboolean lies;    /* cache=unsafe: the test must find out */
} Mode;

/* At least these versions, by sector. */
typedef struct {
  guint from; /* records of the log when the driver was told */
  guint32 versions[N_SECTORS];
} Promise;

typedef struct {
  VtBlkRequest *blk;
  guint32 type;
  guint first, n;   /* sectors */
  Promise *promise; /* FLUSH: what it will mean */
} Request;

typedef struct {
  const Mode *mode;
  VtFaultFs *fs;
  VtGuest *guest;
  VtRing *rings[N_QUEUES];
  VtRig *rig;
  gboolean write_through;
  GPtrArray *promises;
  gboolean busy[N_SECTORS];                   /* a request is under way */
  guint32 issued[N_SECTORS], done[N_SECTORS]; /* versions */
  GByteArray *zero[N_SECTORS]; /* by version - 1: whether it is zeroes */
} Fixture;

/* The driver. */

static void
fill (guint8 *data, guint sector, guint32 version)
{
  guint32 *words = (guint32 *) (void *) data;

  for (guint i = 0; i < SECTOR / sizeof *words; i += 2) {
    words[i] = sector;
    words[i + 1] = version;
  }
}

static Promise *
promise_new (Fixture *f)
{
  Promise *promise = g_new0 (Promise, 1);

  memcpy (promise->versions, f->done, sizeof f->done);
  return promise;
}

/* The driver is told now. */
static void
tell (Fixture *f, Promise *promise)
{
  promise->from = atomic_load (&f->fs->log->n);
  g_ptr_array_add (f->promises, promise);
}

static gboolean
is_free (Fixture *f, guint first, guint n)
{
  for (guint i = 0; i < n; i++)
    if (f->busy[first + i])
      return FALSE;
  return TRUE;
}

static void
issue (Fixture *f, const Request *request)
{
  for (guint i = 0; i < request->n; i++) {
    guint sector = request->first + i;
    guint8 zero = request->type == VIRTIO_BLK_T_WRITE_ZEROES;

    f->busy[sector] = TRUE;
    f->issued[sector]++;
    g_byte_array_append (f->zero[sector], &zero, 1);
    if (!zero)
      fill (request->blk->data + i * SECTOR, sector, f->issued[sector]);
  }
}

static void
fill_range (const Request *request)
{
  struct virtio_blk_discard_write_zeroes range = {
    .sector = GUINT64_TO_LE (request->first),
    .num_sectors = GUINT32_TO_LE (request->n),
    .flags = GUINT32_TO_LE (request->first % 2),
  };

  memcpy (request->blk->data, &range, sizeof range);
}

static void
add (Fixture *f, VtRing *ring, guint32 type)
{
  Request *request = g_new0 (Request, 1);
  guint32 len = 0;

  request->type = type;
  if (type == VIRTIO_BLK_T_FLUSH)
    request->promise = promise_new (f);
  else {
    request->n = (guint) g_test_rand_int_range (1, MAX_LEN + 1);
    request->first =
        (guint) g_test_rand_int_range (0, (gint) (N_SECTORS - request->n));
    if (!is_free (f, request->first, request->n)) {
      g_free (request);
      return;
    }
    len = type == VIRTIO_BLK_T_OUT ? request->n * SECTOR : 16;
  }
  request->blk = vt_blk_request_new (f->guest, type, request->first, len);
  issue (f, request);
  if (type == VIRTIO_BLK_T_WRITE_ZEROES)
    fill_range (request);
  *request->blk->status = VT_BLK_NO_STATUS;
  g_assert_true (
      vt_ring_add (ring,
                   (VtBuf[]){ { request->blk->header, 16, FALSE },
                              { len ? request->blk->data : request->blk->status,
                                len ? len : 1, !len },
                              { request->blk->status, 1, TRUE } },
                   len ? 3 : 2, request));
  vt_ring_kick (ring);
}

static void
take (Fixture *f, VtRing *ring)
{
  Request *request = vt_ring_take (ring, NULL);

  g_assert_cmpuint (*request->blk->status, ==, VIRTIO_BLK_S_OK);
  for (guint i = 0; i < request->n; i++) {
    f->busy[request->first + i] = FALSE;
    f->done[request->first + i] = f->issued[request->first + i];
  }
  if (request->promise)
    tell (f, request->promise);
  else if (f->write_through)
    tell (f, promise_new (f));
  g_free (request->blk);
  g_free (request);
}

static void
toggle (Fixture *f)
{
  guint8 wce = f->write_through;

  g_assert_true (vt_rig_write_config (
      f->rig, offsetof (struct virtio_blk_config, wce), &wce, 1));
  f->write_through = !wce;
  if (f->write_through)
    tell (f, promise_new (f));
}

static guint32
any_type (void)
{
  gint n = g_test_rand_int_range (0, 100);

  return n < 15   ? VIRTIO_BLK_T_FLUSH
         : n < 25 ? VIRTIO_BLK_T_WRITE_ZEROES
                  : VIRTIO_BLK_T_OUT;
}

static void
drive (Fixture *f)
{
  for (guint i = 0; i < N_REQUESTS; i++) {
    VtRing *ring = f->rings[g_test_rand_int_range (0, N_QUEUES)];

    if (f->mode->toggles && i % 100 == 99)
      toggle (f);
    if (vt_ring_n_in_flight (ring) == DEPTH)
      take (f, ring);
    add (f, ring, any_type ());
  }
  for (guint i = 0; i < N_QUEUES; i++)
    while (vt_ring_n_in_flight (f->rings[i]) > 0)
      take (f, f->rings[i]);
}

/* The cut. */

/* The disk as its log is followed; versions by sector. */
typedef struct {
  guint32 written[N_SECTORS]; /* executed */
  guint32 durable[N_SECTORS]; /* there after a power cut now */
  guint32 promised[N_SECTORS];
  GArray *history; /* guint32: what was written before record i */
} Disk;

/* The bytes of a call are those of the version that it is. */
static void
check_bytes (const Fixture *f, const VtFaultRecord *record, guint i,
             guint sector, guint32 version)
{
  guint8 expected[SECTOR];

  g_assert_cmpuint (version, <=, f->zero[sector]->len);
  if (f->zero[sector]->data[version - 1])
    memset (expected, 0, SECTOR);
  else
    fill (expected, sector, version);
  if (record->op != 'z')
    g_assert_cmpmem (f->fs->log->data + record->data + i * SECTOR, SECTOR,
                     expected, SECTOR);
}

static void
follow_write (const Fixture *f, Disk *disk, const VtFaultRecord *record)
{
  guint first = (guint) (record->offset / SECTOR);

  g_assert_cmpuint (record->len % SECTOR, ==, 0);
  for (guint i = 0; i < record->len / SECTOR; i++) {
    guint32 version = ++disk->written[first + i];

    check_bytes (f, record, i, first + i, version);
    if (record->op == 'd')
      disk->durable[first + i] = version;
  }
}

/* What was executed before the sync began is durable. */
static void
follow_sync (Disk *disk, const VtFaultRecord *record)
{
  const guint32 *covered =
      &g_array_index (disk->history, guint32, record->covers * N_SECTORS);

  for (guint i = 0; i < N_SECTORS; i++)
    disk->durable[i] = MAX (disk->durable[i], covered[i]);
}

/* Returns: the sectors that a power cut now would take from the driver. */
static guint
n_lost (const Disk *disk)
{
  guint n = 0;

  for (guint i = 0; i < N_SECTORS; i++)
    n += disk->durable[i] < disk->promised[i];
  return n;
}

static void
expect (Disk *disk, const Promise *promise)
{
  for (guint i = 0; i < N_SECTORS; i++)
    disk->promised[i] = MAX (disk->promised[i], promise->versions[i]);
}

/* Cuts the power behind every record.  Returns: after how many of the cuts
 * something was lost. */
static guint
cut_everywhere (Fixture *f)
{
  const VtFaultLog *log = f->fs->log;
  guint n = atomic_load (&log->n), next = 0, n_bad = 0;
  Disk *disk = g_new0 (Disk, 1);

  g_assert_cmpuint (atomic_load (&log->full), ==, 0);
  disk->history = g_array_new (FALSE, FALSE, sizeof (guint32));
  for (guint i = 0; i <= n; i++) {
    for (; next < f->promises->len &&
           ((Promise *) f->promises->pdata[next])->from <= i;
         next++)
      expect (disk, f->promises->pdata[next]);
    n_bad += n_lost (disk) > 0;
    g_array_append_vals (disk->history, disk->written, N_SECTORS);
    if (i == n)
      break;
    if (log->records[i].op == 's')
      follow_sync (disk, &log->records[i]);
    else
      follow_write (f, disk, &log->records[i]);
  }
  g_assert_cmpuint (next, ==, f->promises->len);
  g_test_message ("%u cuts, %u promises, %u cuts lost data", n + 1,
                  f->promises->len, n_bad);
  g_array_unref (disk->history);
  g_free (disk);
  return n_bad;
}

/* Life. */

static void
set_up (Fixture *f, const Mode *mode)
{
  g_autoptr (GError) error = NULL;

  f->mode = mode;
  f->write_through = g_str_equal (mode->cache, "writethrough");
  f->fs = vt_fault_fs_new (N_SECTORS * SECTOR);
  f->guest = vt_guest_new (64 << 20);
  f->promises = g_ptr_array_new_with_free_func (g_free);
  f->rig = vt_rig_open (f->guest, &vd_blk_ops, &error, "image", f->fs->path,
                        "engine", mode->engine, "cache", mode->cache, NULL);
  g_assert_no_error (error);
  atomic_store (&f->fs->log->on, TRUE);
  for (guint i = 0; i < N_SECTORS; i++)
    f->zero[i] = g_byte_array_new ();
  for (guint i = 0; i < N_QUEUES; i++) {
    f->rings[i] = vt_ring_new (f->guest, i, 64, VT_RING_EVENT_IDX);
    vt_ring_reset (f->rings[i], 0);
    vt_rig_start_ring (f->rig, f->rings[i]);
  }
}

static void
tear_down (Fixture *f)
{
  vt_rig_free (f->rig);
  for (guint i = 0; i < N_QUEUES; i++)
    vt_ring_free (f->rings[i]);
  for (guint i = 0; i < N_SECTORS; i++)
    g_byte_array_unref (f->zero[i]);
  vt_guest_free (f->guest);
  vt_fault_fs_free (f->fs);
  g_ptr_array_unref (f->promises);
  g_free (f);
}

static void
test_what_was_promised_survives_every_cut (gconstpointer data)
{
  Fixture *f = g_new0 (Fixture, 1);

  set_up (f, data);
  drive (f);
  if (f->mode->lies)
    g_assert_cmpuint (cut_everywhere (f), >, 0);
  else
    g_assert_cmpuint (cut_everywhere (f), ==, 0);
  tear_down (f);
}

static const char *why_not;

static void
skip_all (gconstpointer data)
{
  g_test_skip (why_not);
}

int
main (int argc, char **argv)
{
  static const Mode modes[] = {
    { "auto", "writeback", .toggles = FALSE },
    { "auto", "writethrough", .toggles = FALSE },
    { "auto", "writeback", .toggles = TRUE },
    { "threads", "writeback", .toggles = TRUE },
    { "threads", "writethrough", .toggles = TRUE },
    { "threads", "none", .toggles = TRUE },
    { "io_uring", "writeback", .toggles = TRUE },
    { "io_uring", "writethrough", .toggles = TRUE },
    { "auto", "none", .toggles = TRUE },
    { "io_uring", "none", .toggles = TRUE },
    { "auto", "unsafe", .lies = TRUE },
  };

  g_test_init (&argc, &argv, NULL);
  why_not = vt_fault_fs_prepare ();
  if (why_not) {
    g_test_add_data_func ("/blk/power-cut", NULL, skip_all);
    return g_test_run ();
  }
  for (guint i = 0; i < G_N_ELEMENTS (modes); i++) {
    g_autofree char *path =
        g_strdup_printf ("/blk/power-cut/%s/%s%s", modes[i].engine,
                         modes[i].cache, modes[i].toggles ? "/toggles" : "");

    if (!g_str_equal (modes[i].engine, "io_uring") ||
        vd_call_check_uring (NULL))
      g_test_add_data_func (path, &modes[i],
                            test_what_was_promised_survives_every_cut);
  }
  return g_test_run ();
}
