/* SPDX-License-Identifier: BSD-3-Clause
 *
 * test-inflight.c - a daemon that is killed in the middle of requests, and its
 * successor, which gets the in-flight memory that the front-end kept
 */
#include <errno.h>
#include <signal.h>
#include <string.h>
#include <sys/mman.h>

#include "tests/devices/blk/fault-fs.h"
#include "tests/lib/blk.h"
#include "tests/lib/machine.h"
#include "vring/fd.h"
#include "vring/inflight.h"

#define BLOCK     4096
#define N_BLOCKS  512
#define N_SLOTS   48 /* requests under way in each ring */
#define RING_SIZE 64
#define KILLS     50

#define BIT(n) (1ull << (n))

/* A request that is used again and again.  No two that are under way are for
 * the same block, because their order would be open. */
typedef struct {
  VtBlkRequest *request;
  guint block;
  guint64 value; /* what it writes, or has to read */
} Slot;

typedef struct {
  VtDaemon *daemon;
  VtMachine *vm;
  VtFaultFs *fs; /* NULL: a plain file */
  char *image;
  int inflight_fd;
  VdWireInflight inflight;
  Slot slots[2][N_SLOTS];
  guint64 values[N_BLOCKS]; /* what the disk must contain */
  gboolean busy[N_BLOCKS];
  guint64 n_requests;
} Fixture;

typedef struct {
  VtRingFlags flags;
  const char *engine;
  gboolean fails; /* the image lies on a file system that can fail */
} Case;

static char *why_not; /* NULL: such file systems can be made */

static void
fill (guint8 *data, guint block, guint64 value)
{
  for (guint i = 0; i < BLOCK / sizeof (guint64); i++)
    ((guint64 *) (void *) data)[i] = value << 16 ^ block << 8 ^ i;
}

static void
assert_filled (const guint8 *data, guint block, guint64 value)
{
  guint8 wanted[BLOCK];

  fill (wanted, block, value);
  g_assert_cmpmem (data, BLOCK, wanted, BLOCK);
}

static void
connect_vm (Fixture *f)
{
  VtFrontend *fe;

  vt_machine_connect (f->vm, f->daemon, "disk", 60);
  fe = f->vm->fe;
  g_assert_true (vt_set_protocol_features (
      fe, fe->protocol_features | BIT (VD_PROTOCOL_F_INFLIGHT_SHMFD)));
}

static void
make_slots (Fixture *f)
{
  for (guint ring = 0; ring < 2; ring++)
    for (guint i = 0; i < N_SLOTS; i++)
      f->slots[ring][i].request =
          vt_blk_request_new (f->vm->guest, VIRTIO_BLK_T_OUT, 0, BLOCK);
}

static void
set_up (Fixture *f, gconstpointer data)
{
  const Case *c = data;
  g_autofree guint8 *zeroes = g_malloc0 (N_BLOCKS * BLOCK);
  g_autoptr (GError) error = NULL;

  f->daemon = vt_daemon_new ();
  for (guint i = 0; i < N_BLOCKS; i++)
    fill (zeroes + i * BLOCK, i, 0);
  if (c->fails && !why_not) {
    f->fs = vt_fault_fs_new (N_BLOCKS * BLOCK);
    f->image = g_strdup (f->fs->path);
    memcpy (f->fs->data, zeroes, N_BLOCKS * BLOCK);
  } else {
    f->image = vt_daemon_path (f->daemon, "disk.img");
    g_file_set_contents (f->image, (char *) zeroes, N_BLOCKS * BLOCK, &error);
    g_assert_no_error (error);
  }
  vt_daemon_add (f->daemon, "disk", "blk", "image", f->image, "queues", "2",
                 "engine", c->engine, NULL);
  vt_daemon_start (f->daemon);
  f->vm = vt_machine_new (VT_ORDER_QEMU_7, c->flags, 2, RING_SIZE);
  connect_vm (f);
  make_slots (f);
}

static void
tear_down (Fixture *f, gconstpointer data)
{
  vt_machine_free (f->vm);
  if (f->daemon->pid)
    vt_daemon_stop (f->daemon);
  vt_daemon_free (f->daemon);
  vt_fault_fs_free (f->fs);
  vd_clear_fd (&f->inflight_fd);
  for (guint i = 0; i < N_SLOTS; i++) {
    g_free (f->slots[0][i].request);
    g_free (f->slots[1][i].request);
  }
  g_free (f->image);
}

/* The driver's features decide the format, so they come before the memory. */
static void
set_features (Fixture *f)
{
  VtFrontend *fe = f->vm->fe;
  guint64 packed = f->vm->rings[0]->flags & VT_RING_PACKED ? BIT (34) : 0;

  vt_set_features (fe, fe->features &
                           (BIT (VD_F_PROTOCOL_FEATURES) | BIT (32) | packed));
}

static void
get_inflight (Fixture *f)
{
  VtFrontend *fe = f->vm->fe;

  set_features (f);
  f->inflight_fd = vt_get_inflight_fd (fe, 2, RING_SIZE, &f->inflight);
}

static void
start_first (Fixture *f)
{
  get_inflight (f);
  vt_set_inflight_fd (f->vm->fe, &f->inflight, f->inflight_fd);
  vt_machine_start (f->vm);
  /* From here on the memory says where the rings are; nobody else knows it of
   * a packed one. */
  vt_barrier (f->vm->fe);
}

static void
kill_daemon (Fixture *f)
{
  vt_daemon_signal (f->daemon, SIGKILL);
  g_assert_cmpint (vt_daemon_wait (f->daemon), ==, 256 + SIGKILL);
  vt_machine_disconnect (f->vm);
}

/* The rings go on where they are; the driver knows nothing of it. */
static void
start_successor (Fixture *f)
{
  vt_daemon_start (f->daemon);
  connect_vm (f);
  set_features (f);
  vt_set_inflight_fd (f->vm->fe, &f->inflight, f->inflight_fd);
  vt_frontend_start (f->vm->fe);
}

static guint
free_block (Fixture *f)
{
  guint block;

  do
    block = (guint) g_test_rand_int_range (0, N_BLOCKS);
  while (f->busy[block]);
  f->busy[block] = TRUE;
  return block;
}

/* Makes a random request of @slot; one in four reads. */
static void
submit (Fixture *f, guint ring, Slot *slot)
{
  VtBlkRequest *request = slot->request;
  gboolean reads = g_test_rand_int_range (0, 4) == 0;

  slot->block = free_block (f);
  slot->value = reads ? f->values[slot->block] : ++f->n_requests;
  request->header->type =
      GUINT32_TO_LE (reads ? VIRTIO_BLK_T_IN : VIRTIO_BLK_T_OUT);
  request->header->sector = GUINT64_TO_LE (slot->block * (BLOCK / 512ull));
  if (reads)
    memset (request->data, 0xaa, BLOCK);
  else
    fill (request->data, slot->block, slot->value);
  g_assert_true (vt_blk_add (f->vm->rings[ring], request));
}

/* A request came back; tests/lib/ring has checked that it was under way. */
static void
finish (Fixture *f, Slot *slot)
{
  const VtBlkRequest *request = slot->request;

  g_assert_cmpuint (*request->status, ==, VIRTIO_BLK_S_OK);
  if (GUINT32_FROM_LE (request->header->type) == VIRTIO_BLK_T_IN)
    assert_filled (request->data, slot->block, slot->value);
  else
    f->values[slot->block] = slot->value;
  f->busy[slot->block] = FALSE;
}

static Slot *
slot_of (Fixture *f, guint ring, const VtBlkRequest *request)
{
  for (guint i = 0; i < N_SLOTS; i++)
    if (f->slots[ring][i].request == request)
      return &f->slots[ring][i];
  g_assert_not_reached ();
}

/* Takes what has come back of @ring.  Returns: how many. */
static guint
collect (Fixture *f, guint ring, gboolean submit_again)
{
  VtBlkRequest *request;
  guint n = 0;

  while ((request = vt_ring_get (f->vm->rings[ring], NULL))) {
    Slot *slot = slot_of (f, ring, request);

    finish (f, slot);
    if (submit_again)
      submit (f, ring, slot);
    n++;
  }
  if (n > 0 && submit_again)
    vt_ring_kick (f->vm->rings[ring]);
  return n;
}

/* Keeps both rings full for @us microseconds. */
static void
run_load (Fixture *f, gint64 us)
{
  gint64 end = g_get_monotonic_time () + us;

  do
    if (collect (f, 0, TRUE) + collect (f, 1, TRUE) == 0)
      g_usleep (20);
  while (g_get_monotonic_time () < end);
}

static void
begin_load (Fixture *f)
{
  for (guint ring = 0; ring < 2; ring++) {
    for (guint i = 0; i < N_SLOTS; i++)
      submit (f, ring, &f->slots[ring][i]);
    vt_ring_kick (f->vm->rings[ring]);
  }
}

/* Every request that is under way comes back. */
static void
end_load (Fixture *f)
{
  for (guint ring = 0; ring < 2; ring++) {
    while (vt_ring_n_in_flight (f->vm->rings[ring]) > 0) {
      if (!vt_ring_wait (f->vm->rings[ring], VT_TIMEOUT_MS))
        g_error ("ring %u: %u requests are lost", ring,
                 vt_ring_n_in_flight (f->vm->rings[ring]));
      collect (f, ring, FALSE);
    }
    g_assert_null (vt_ring_get (f->vm->rings[ring], NULL));
  }
}

static void
check_image (Fixture *f)
{
  g_autofree char *data = NULL;
  gsize len;

  g_assert_true (g_file_get_contents (f->image, &data, &len, NULL));
  g_assert_cmpuint (len, ==, N_BLOCKS * BLOCK);
  for (guint i = 0; i < N_BLOCKS; i++)
    assert_filled ((guint8 *) data + i * BLOCK, i, f->values[i]);
}

static void
test_fifty_kills_lose_and_repeat_nothing (Fixture *f, gconstpointer data)
{
  guint n_interrupted = 0;

  start_first (f);
  begin_load (f);
  for (guint i = 0; i < KILLS; i++) {
    run_load (f, g_test_rand_int_range (500, 12000));
    kill_daemon (f);
    collect (f, 0, FALSE); /* what came without a notification */
    collect (f, 1, FALSE);
    n_interrupted += vt_ring_n_in_flight (f->vm->rings[0]) +
                     vt_ring_n_in_flight (f->vm->rings[1]);
    start_successor (f);
    if (i % 10 == 9) { /* all is done, and nothing is left to be done again */
      end_load (f);
      check_image (f);
    }
    for (guint ring = 0; ring < 2; ring++) {
      for (guint j = 0; j < N_SLOTS; j++)
        if (!f->busy[f->slots[ring][j].block])
          submit (f, ring, &f->slots[ring][j]);
      vt_ring_kick (f->vm->rings[ring]);
    }
  }
  end_load (f);
  vt_machine_stop (f->vm);
  check_image (f);
  g_test_message ("%" G_GUINT64_FORMAT " writes, %u interrupted requests",
                  f->n_requests, n_interrupted);
  g_assert_cmpuint (n_interrupted, >, 0);
}

/* A pause of the VM in between: the same memory, nothing under way in it. */
static void
test_memory_is_kept_over_a_stop (Fixture *f, gconstpointer data)
{
  start_first (f);
  for (guint i = 0; i < 10; i++) {
    begin_load (f);
    run_load (f, 1000);
    end_load (f);
    vt_machine_stop (f->vm);
    vt_set_inflight_fd (f->vm->fe, &f->inflight, f->inflight_fd);
    vt_frontend_start (f->vm->fe);
  }
  begin_load (f);
  kill_daemon (f);
  start_successor (f);
  end_load (f);
  check_image (f);
}

/* A stop in the middle of load drains: nothing is under way afterwards. */
static void
test_a_stop_leaves_nothing_under_way (Fixture *f, gconstpointer data)
{
  start_first (f);
  for (guint i = 0; i < 10; i++) {
    begin_load (f);
    run_load (f, 500);
    for (guint ring = 0; ring < 2; ring++)
      vt_get_vring_base (f->vm->fe, ring);
    kill_daemon (f);
    start_successor (f);
    end_load (f);
  }
  check_image (f);
}

static guint
count_lines (Fixture *f, const char *text)
{
  g_autofree char *log = vt_daemon_log (f->daemon);
  guint n = 0;

  for (const char *at = log; (at = strstr (at, text)); at++)
    n++;
  return n;
}

/* Damages the split memory of ring 0 in one of several ways. */
static void
damage (VdInflightSplit *part, guint how)
{
  switch (how) {
  case 0: part->version = 7; break;
  case 1: part->n_desc /= 2; break;
  case 2: part->used_idx += RING_SIZE + 1; break;
  case 3:
    part->used_idx -= 2;
    part->last_batch_head = RING_SIZE;
    break;
  case 4:
    part->used_idx -= 3;
    part->last_batch_head = 1;
    part->desc[1].next = G_MAXUINT16;
    break;
  }
}

/* The ring is refused, in one line, and nothing else is. */
static void
test_damaged_memory_is_refused_in_one_line (Fixture *f, gconstpointer data)
{
  start_first (f);
  for (guint how = 0; how < 5; how++) {
    VdInflightSplit *part;
    VtFrontend *fe;
    guint n_before;

    begin_load (f);
    end_load (f);
    kill_daemon (f);
    part = mmap (NULL, f->inflight.mmap_size, PROT_READ | PROT_WRITE,
                 MAP_SHARED, f->inflight_fd, (off_t) f->inflight.mmap_offset);
    g_assert_true (part != MAP_FAILED);
    damage (part, how);
    munmap (part, f->inflight.mmap_size);

    n_before = count_lines (f, "ring 0 cannot start");
    start_successor (f);
    fe = f->vm->fe;
    vt_barrier (fe);
    vt_daemon_wait_log (f->daemon, "in-flight memory");
    /* KICK, which comes before ENABLE here, says nothing yet. */
    g_assert_cmpuint (count_lines (f, "ring 0 cannot start"), ==, n_before + 1);
    g_assert_cmpuint (vt_blk_flush (f->vm->rings[1]), ==, VIRTIO_BLK_S_OK);

    /* With fresh memory both work again. */
    for (guint ring = 0; ring < 2; ring++)
      vt_get_vring_base (fe, ring);
    vd_clear_fd (&f->inflight_fd);
    get_inflight (f);
    vt_set_inflight_fd (fe, &f->inflight, f->inflight_fd);
    vt_frontend_start (fe);
  }
  begin_load (f);
  end_load (f);
  check_image (f);
}

/* A request that waits for room on the host waits on while the daemon is
 * restarted, and the driver sees no error. */
static void
test_what_is_held_waits_in_the_successor (Fixture *f, gconstpointer data)
{
  VtRing *ring = f->vm->rings[0];
  VtBlkRequest *request = f->slots[0][0].request;

  if (why_not) {
    g_test_skip (why_not);
    return;
  }
  start_first (f);
  f->fs->faults->error[VT_FAULT_WRITE] = ENOSPC;
  request->header->sector = GUINT64_TO_LE (5 * BLOCK / 512);
  fill (request->data, 5, 77);
  g_assert_true (vt_blk_add (ring, request));
  vt_ring_kick (ring);
  vt_daemon_wait_log (f->daemon, "the guest waits until it is reloaded");
  vt_daemon_stop (f->daemon);
  vt_machine_disconnect (f->vm);
  g_assert_cmpuint (*request->status, ==, VT_BLK_NO_STATUS);
  f->fs->faults->error[VT_FAULT_WRITE] = 0;
  start_successor (f);
  g_assert_true (vt_ring_take (ring, NULL) == request);
  g_assert_cmpuint (*request->status, ==, VIRTIO_BLK_S_OK);
  assert_filled (f->fs->data + 5 * BLOCK, 5, 77);
}

int
main (int argc, char **argv)
{
  static const Case held_split = { VT_RING_EVENT_IDX, "auto", TRUE };
  static const Case held_packed = { VT_RING_PACKED | VT_RING_INDIRECT, "auto",
                                    TRUE };
  static const Case packed = {
    VT_RING_PACKED | VT_RING_EVENT_IDX | VT_RING_INDIRECT, "auto", FALSE
  };
  static const Case threads = { VT_RING_PACKED | VT_RING_INDIRECT, "threads",
                                FALSE };
  static const Case indirect = { VT_RING_EVENT_IDX | VT_RING_INDIRECT,
                                 "threads", FALSE };

  g_test_init (&argc, &argv, NULL);
  why_not = vt_fault_fs_prepare ();
#define ADD(name, kind, func)                                                  \
  g_test_add ("/wire/inflight/" name, Fixture, &kind, set_up, func, tear_down)
  ADD ("kill/split", indirect, test_fifty_kills_lose_and_repeat_nothing);
  ADD ("kill/packed", packed, test_fifty_kills_lose_and_repeat_nothing);
  ADD ("kill/packed-threads", threads,
       test_fifty_kills_lose_and_repeat_nothing);
  ADD ("stop/split", indirect, test_memory_is_kept_over_a_stop);
  ADD ("stop/packed", packed, test_memory_is_kept_over_a_stop);
  ADD ("drain/split", indirect, test_a_stop_leaves_nothing_under_way);
  ADD ("drain/packed", packed, test_a_stop_leaves_nothing_under_way);
  ADD ("held/split", held_split, test_what_is_held_waits_in_the_successor);
  ADD ("held/packed", held_packed, test_what_is_held_waits_in_the_successor);
  ADD ("damaged", indirect, test_damaged_memory_is_refused_in_one_line);
  return g_test_run ();
}
