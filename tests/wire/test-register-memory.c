/* SPDX-License-Identifier: BSD-3-Clause
 *
 * test-register-memory.c - disks with register-memory=yes in a real daemon:
 * verified data through registered buffers, memory that comes, goes and is
 * exchanged under load, and nothing that stays pinned
 */
#include <string.h>
#include <unistd.h>

#include "tests/lib/blk.h"
#include "tests/lib/machine.h"
#include "tests/lib/pinned.h"

#define SECTOR   512u
#define PAGE     4096u
#define MIB      (1u << 20)
#define N_SLOTS  16u          /* requests at once */
#define SLOT     (128u << 10) /* of the disk and of memory, for each of them */
#define SIZE     (N_SLOTS * SLOT)
#define GUEST    (20u * MIB)  /* of vt_machine_new() */
#define MORE_GPA (1ull << 33) /* below 64 GiB */
#define MORE_UVA (1ull << 46)
#define MORE     (4 * MIB)

/* A request on the slot's own part of the disk, from or to memory of its own. */
typedef struct {
  struct virtio_blk_outhdr *header;
  guint8 *status;
  guint8 *data;
  guint offset, len;
  guint last; /* bytes that come first in memory and last on the disk */
  gboolean reads;
} Slot;

typedef struct {
  VtDaemon *images; /* whose folder has the image */
  char *image;
  VtDaemon *daemon;
  VtMachine *vm;
  Slot slots[N_SLOTS];
  guint8 *expected; /* what the disk has */
  gsize to_pin;     /* bytes that the test needs at most */
  gboolean plain;   /* requests are writes of one segment */
  guint64 n_fixed; /* requests that go by registered buffers if there are any */
} Fixture;

static void
set_up (Fixture *f, gconstpointer data)
{
  f->to_pin = 4 * GUEST;
  f->images = vt_daemon_new ();
  f->image = vt_daemon_image (f->images, "image", SIZE);
  g_assert_true (
      g_file_get_contents (f->image, (char **) &f->expected, NULL, NULL));
  f->daemon = vt_daemon_new ();
}

static void
tear_down (Fixture *f, gconstpointer data)
{
  vt_machine_free (f->vm);
  if (f->daemon->pid)
    vt_daemon_stop (f->daemon);
  vt_daemon_free (f->daemon);
  g_free (f->expected);
  g_free (f->image);
  vt_daemon_free (f->images);
}

/* From now on the data of requests lie there. */
static void
move_data (Fixture *f, guint8 *data)
{
  for (guint i = 0; i < N_SLOTS; i++)
    f->slots[i].data = data + i * SLOT;
}

static void
start_machine (Fixture *f)
{
  f->vm = vt_machine_new (VT_ORDER_QEMU_11, VT_RING_EVENT_IDX, 2, 64);
  for (guint i = 0; i < N_SLOTS; i++) {
    f->slots[i].header =
        vt_guest_alloc (f->vm->guest, sizeof *f->slots[i].header, 16);
    f->slots[i].status = vt_guest_alloc (f->vm->guest, 1, 1);
  }
  move_data (f, vt_guest_alloc (f->vm->guest, SIZE, PAGE));
  vt_machine_connect (f->vm, f->daemon, "disk", 60);
  vt_machine_start (f->vm);
}

/* Starts the daemon and a driver.  Returns: FALSE if memory cannot be
 * registered here. */
static gboolean
start (Fixture *f, const char *cache, const char *key, const char *value)
{
  if (!vt_may_pin (f->to_pin))
    return FALSE;
  vt_daemon_add (f->daemon, "disk", "blk", "image", f->image, "cache", cache,
                 "engine", "io_uring", "register-memory", "yes", key, value,
                 NULL);
  vt_daemon_start (f->daemon);
  start_machine (f);
  return TRUE;
}

static guint
count_lines (const char *log, const char *text)
{
  g_auto (GStrv) parts = g_strsplit (log, text, -1);

  return g_strv_length (parts) - 1;
}

/* Returns: how many calls the disk has made by registered buffers. */
static guint64
fixed_calls (Fixture *f)
{
  const char *last_line = "fdatasyncs: ", *name = "io_uring-fixed-calls: ";
  gint64 end = g_get_monotonic_time () + VT_TIMEOUT_MS * 1000ll;
  g_autofree char *log = vt_daemon_log (f->daemon);
  guint before = count_lines (log, last_line);

  vt_daemon_signal (f->daemon, SIGUSR1);
  while (count_lines (log, last_line) == before) {
    g_assert_cmpint (g_get_monotonic_time (), <, end);
    g_usleep (500);
    g_free (log);
    log = vt_daemon_log (f->daemon);
  }
  return g_ascii_strtoull (g_strrstr (log, name) + strlen (name), NULL, 10);
}

static void
fill (guint8 *data, guint len)
{
  guint32 word = g_test_rand_int ();

  for (guint i = 0; i < len; i += 4, word = word * 1664525 + 1013904223)
    memcpy (data + i, &word, 4);
}

/* The data as one segment, as two that meet, or as two that do not.
 * Returns: how many. */
static guint
cut (Fixture *f, Slot *slot, VtBuf *bufs)
{
  guint first = (guint) g_test_rand_int_range (1, SLOT / PAGE) * PAGE;

  slot->last = 0;
  if (f->plain)
    first = slot->len;
  if (first < slot->len && g_test_rand_bit ()) {
    slot->last = first;
    bufs[0] = (VtBuf){ slot->data + first, slot->len - first, slot->reads };
    bufs[1] = (VtBuf){ slot->data, first, slot->reads };
    return 2;
  }
  f->n_fixed++;
  if (first >= slot->len) {
    bufs[0] = (VtBuf){ slot->data, slot->len, slot->reads };
    return 1;
  }
  bufs[0] = (VtBuf){ slot->data, first, slot->reads };
  bufs[1] = (VtBuf){ slot->data + first, slot->len - first, slot->reads };
  return 2;
}

static void
submit (Fixture *f, guint i)
{
  Slot *slot = &f->slots[i];
  VtBuf bufs[4] = { { slot->header, sizeof *slot->header, FALSE } };
  guint n_pages = (guint) g_test_rand_int_range (1, SLOT / PAGE + 1);
  guint n;

  slot->len = n_pages * PAGE;
  slot->offset = i * SLOT + (guint) g_test_rand_int_range (
                                0, (int) (SLOT / PAGE - n_pages) + 1) *
                                PAGE;
  slot->reads = !f->plain && g_test_rand_bit ();
  slot->header->type =
      GUINT32_TO_LE (slot->reads ? VIRTIO_BLK_T_IN : VIRTIO_BLK_T_OUT);
  slot->header->sector = GUINT64_TO_LE (slot->offset / SECTOR);
  fill (slot->data, slot->len);
  n = 1 + cut (f, slot, bufs + 1);
  if (!slot->reads) {
    guint8 *disk = f->expected + slot->offset;

    memcpy (disk, slot->data + slot->last, slot->len - slot->last);
    memcpy (disk + slot->len - slot->last, slot->data, slot->last);
  }
  *slot->status = VT_BLK_NO_STATUS;
  bufs[n] = (VtBuf){ slot->status, 1, TRUE };
  g_assert_true (vt_ring_add (f->vm->rings[i % 2], bufs, n + 1, slot));
}

static void
check (Fixture *f, const Slot *slot)
{
  const guint8 *disk = f->expected + slot->offset;

  g_assert_cmpuint (*slot->status, ==, VIRTIO_BLK_S_OK);
  g_assert_true (
      memcmp (slot->data + slot->last, disk, slot->len - slot->last) == 0);
  g_assert_true (
      memcmp (slot->data, disk + slot->len - slot->last, slot->last) == 0);
}

static void
begin (Fixture *f)
{
  for (guint i = 0; i < N_SLOTS; i++)
    submit (f, i);
  for (guint i = 0; i < 2; i++)
    vt_ring_kick (f->vm->rings[i]);
}

static void
end (Fixture *f)
{
  for (guint i = 0; i < N_SLOTS; i++)
    check (f, vt_ring_take (f->vm->rings[i % 2], NULL));
}

static void
use (Fixture *f, guint rounds)
{
  for (guint i = 0; i < rounds; i++) {
    begin (f);
    end (f);
  }
}

/* All of the requests that can, go by registered buffers now. */
static void
check_fixed (Fixture *f)
{
  guint64 before = fixed_calls (f);

  f->n_fixed = 0;
  use (f, 20);
  g_assert_cmpuint (f->n_fixed, >, 0);
  g_assert_cmpuint (fixed_calls (f) - before, ==, f->n_fixed);
}

static void
check_image (Fixture *f)
{
  g_autofree char *contents = NULL;
  gsize len;

  g_assert_true (g_file_get_contents (f->image, &contents, &len, NULL));
  g_assert_true (len == SIZE && memcmp (contents, f->expected, SIZE) == 0);
}

static void
test_data_arrive (Fixture *f, gconstpointer data)
{
  const char *const *way = data; /* cache, key, value */
  gboolean shared = g_str_equal (way[2], "1");

  if (!start (f, way[0], way[1], way[2]))
    return;
  use (f, 20); /* while the memory is being registered */
  vt_wait_pinned (f->daemon->pid, (shared ? 1 : 2) * GUEST);
  check_fixed (f);
  vt_machine_stop (f->vm);
  vt_wait_pinned (f->daemon->pid, 0);
  vt_machine_start (f->vm);
  vt_wait_pinned (f->daemon->pid, (shared ? 1 : 2) * GUEST);
  check_fixed (f);
  g_clear_pointer (&f->vm, vt_machine_free);
  vt_daemon_stop (f->daemon);
  check_image (f);
}

static VtRegion *
add_region (Fixture *f, guint64 file_offset)
{
  VtGuest *guest = f->vm->guest;
  VtRegion *usual = guest->current, *region;

  region = vt_guest_add (guest, MORE_GPA, MORE_UVA, MORE, file_offset);
  guest->current = usual;
  return region;
}

static void
test_memory_comes_and_goes_under_load (Fixture *f, gconstpointer data)
{
  if (!start (f, "none", "threads", "2"))
    return;
  for (guint round = 0; round < 20; round++) {
    guint8 *before = f->slots[0].data;
    VtRegion *more;

    begin (f);
    more = add_region (f, 0);
    g_assert_true (vt_add_mem_reg (f->vm->fe, more));
    end (f);
    move_data (f, more->ptr);
    use (f, 3);
    vt_wait_pinned (f->daemon->pid, 2 * (GUEST + MORE));
    if (round % 8 == 0)
      check_fixed (f);
    move_data (f, before);
    begin (f);
    g_assert_true (vt_rem_mem_reg (f->vm->fe, more));
    g_assert_cmpuint (vt_pinned (f->daemon->pid), <=, 2 * (GUEST + MORE));
    end (f);
    vt_guest_remove (f->vm->guest, more);
    use (f, 2);
    vt_wait_pinned (f->daemon->pid, 2 * GUEST);
  }
  check_fixed (f);
}

/* Other pages at the same guest addresses: those that were pinned before would
 * have the old data. */
static void
test_exchanged_memory_is_the_one_that_is_used (Fixture *f, gconstpointer data)
{
  VtGuest *guest;
  VtRegion *region;

  if (!start (f, "none", "threads", "2"))
    return;
  guest = f->vm->guest;
  region = add_region (f, 0);
  for (guint round = 0; round < 12; round++) {
    g_assert_true (vt_set_mem_table (f->vm->fe, guest, guest->regions->len));
    move_data (f, region->ptr);
    use (f, 2);
    vt_wait_pinned (f->daemon->pid, 2 * (GUEST + MORE));
    use (f, 2);
    vt_guest_remove (guest, region);
    region = add_region (f, round % 2 * MIB);
  }
  g_assert_true (vt_set_mem_table (f->vm->fe, guest, guest->regions->len));
  move_data (f, region->ptr);
  vt_wait_pinned (f->daemon->pid, 2 * (GUEST + MORE));
  check_fixed (f);
}

/* The pages stay until the requests are done: the disk gets what the guest had,
 * and no zeroes, and everybody else goes on. */
static void
test_truncated_memory_is_what_it_was (Fixture *f, gconstpointer data)
{
  VtRegion *region;

  if (!start (f, "none", "threads", "2"))
    return;
  region = add_region (f, 0);
  g_assert_true (vt_add_mem_reg (f->vm->fe, region));
  vt_wait_pinned (f->daemon->pid, 2 * (GUEST + MORE));
  move_data (f, region->ptr);
  f->plain = TRUE;
  for (guint i = 0; i < N_SLOTS; i++)
    submit (f, i);
  g_assert_no_errno (ftruncate (region->fd, 0));
  for (guint i = 0; i < 2; i++)
    vt_ring_kick (f->vm->rings[i]);
  for (guint i = 0; i < N_SLOTS; i++) {
    const Slot *slot = vt_ring_take (f->vm->rings[i % 2], NULL);

    g_assert_cmpuint (*slot->status, ==, VIRTIO_BLK_S_OK);
  }
  check_image (f);
  vt_machine_disconnect (f->vm);
  vt_wait_pinned (f->daemon->pid, 0);
}

static void
test_nothing_is_left_of_a_front_end (Fixture *f, gconstpointer data)
{
  VtUsage usage;

  if (!start (f, "none", "threads", "2"))
    return;
  for (guint round = 0; round < 6; round++) {
    if (round > 0) {
      vt_machine_connect (f->vm, f->daemon, "disk", 60);
      vt_machine_start (f->vm);
    }
    if (round % 2 == 0)
      vt_wait_pinned (f->daemon->pid, 2 * GUEST);
    use (f, 2);
    vt_machine_disconnect (f->vm);
    vt_wait_pinned (f->daemon->pid, 0);
    if (round == 1)
      usage = vt_daemon_usage (f->daemon);
  }
  usage.n_maps += VT_MAPS_SLACK;
  vt_daemon_wait_usage (f->daemon, usage);
}

static void
test_two_disks_of_one_guest (Fixture *f, gconstpointer data)
{
  g_autofree char *image = vt_daemon_image (f->images, "other", MIB);
  guint8 sector[SECTOR];
  VtFrontend *other;
  VtRing *ring;

  vt_daemon_add (f->daemon, "other", "blk", "image", image, "engine",
                 "io_uring", "register-memory", "yes", NULL);
  if (!start (f, "none", "threads", "2"))
    return;
  ring = vt_ring_new (f->vm->guest, 0, 64, 0);
  other = vt_daemon_connect (f->daemon, "other");
  vt_frontend_hello (other, VT_ORDER_QEMU_11, f->vm->guest, &ring, 1);
  vt_frontend_start (other);
  vt_wait_pinned (f->daemon->pid, 3 * GUEST);
  for (guint i = 0; i < 50; i++) {
    begin (f);
    memset (sector, (int) i, SECTOR);
    g_assert_cmpuint (vt_blk_write (ring, i, sector, SECTOR), ==,
                      VIRTIO_BLK_S_OK);
    memset (sector, 0xff, SECTOR);
    g_assert_cmpuint (vt_blk_read (ring, i, sector, SECTOR), ==,
                      VIRTIO_BLK_S_OK);
    g_assert_cmpuint (sector[SECTOR - 1], ==, i);
    end (f);
  }
  vt_frontend_free (other);
  vt_ring_free (ring);
  vt_wait_pinned (f->daemon->pid, 2 * GUEST);
  use (f, 2);
}

static void
test_without_the_right_to_pin_all_goes_on (Fixture *f, gconstpointer data)
{
  const char *refused = "disk: register-memory: the kernel refuses it: ";
  g_autofree char *log = NULL;

  f->to_pin = PAGE;
  if (geteuid () == 0)
    vt_daemon_run_under (f->daemon, "setpriv", "--bounding-set=-ipc_lock",
                         "prlimit", "--memlock=4194304", NULL);
  else
    vt_daemon_run_under (f->daemon, "prlimit", "--memlock=4194304", NULL);
  if (!start (f, "none", "threads", "2"))
    return;
  vt_daemon_wait_log (f->daemon, refused);
  vt_wait_pinned (f->daemon->pid, 0);
  use (f, 10);
  vt_machine_stop (f->vm);
  vt_machine_start (f->vm);
  use (f, 10);
  vt_wait_pinned (f->daemon->pid, 0);
  log = vt_daemon_log (f->daemon);
  g_assert_nonnull (strstr (log, "(RLIMIT_MEMLOCK)"));
  g_assert_cmpuint (count_lines (log, refused), <=, 2); /* one for each life */
}

static void
test_nothing_is_pinned_unless_asked_for (Fixture *f, gconstpointer data)
{
  if (!vt_may_pin (4 * GUEST))
    return;
  vt_daemon_add (f->daemon, "disk", "blk", "image", f->image, "engine",
                 "io_uring", NULL);
  vt_daemon_start (f->daemon);
  start_machine (f);
  use (f, 20);
  g_assert_cmpuint (vt_pinned (f->daemon->pid), ==, 0);
  g_assert_cmpuint (fixed_calls (f), ==, 0);
}

int
main (int argc, char **argv)
{
  static const char *const direct[] = { "none", "threads", "2" };
  static const char *const cached[] = { "writeback", "busy-poll", "0" };
  static const char *const durable[] = { "writethrough", "busy-poll", "200" };
  static const char *const one[] = { "none", "threads", "1" };
  static const char *const polled[] = { "none", "sqpoll", "20" };
#define ADD_WITH(path, data, func)                                             \
  g_test_add ("/register-memory/" path, Fixture, data, set_up, func, tear_down)
#define ADD(path, func) ADD_WITH (path, NULL, func)

  g_test_init (&argc, &argv, NULL);
  ADD_WITH ("data/direct", direct, test_data_arrive);
  ADD_WITH ("data/page-cache", cached, test_data_arrive);
  ADD_WITH ("data/writethrough", durable, test_data_arrive);
  ADD_WITH ("data/one-thread", one, test_data_arrive);
  ADD_WITH ("data/sqpoll", polled, test_data_arrive);
  ADD ("memory", test_memory_comes_and_goes_under_load);
  ADD ("exchange", test_exchanged_memory_is_the_one_that_is_used);
  ADD ("truncated", test_truncated_memory_is_what_it_was);
  ADD ("left", test_nothing_is_left_of_a_front_end);
  ADD ("two-disks", test_two_disks_of_one_guest);
  ADD ("limit", test_without_the_right_to_pin_all_goes_on);
  ADD ("off", test_nothing_is_pinned_unless_asked_for);
  return g_test_run ();
}
