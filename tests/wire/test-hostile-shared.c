/* SPDX-License-Identifier: BSD-3-Clause
 *
 * test-hostile-shared.c - attacks by shared files: memory truncated under a
 * running ring, dirty logs and in-flight regions that lie
 */
#include <fcntl.h>
#include <string.h>
#include <sys/eventfd.h>
#include <sys/mman.h>
#include <unistd.h>

#include "tests/wire/hostile.h"
#include "vring/fd.h"

#define PAGE 0x1000

static VtRegion *
only_region (VtAttack *a)
{
  return g_ptr_array_index (a->guest->regions, 0);
}

/* --- Guest memory that goes --- */

/* From here on the test must not touch guest memory either. */
static void
truncate_memory (VtRegion *region)
{
  g_assert_no_errno (ftruncate (region->fd, 0));
}

static void
memory_truncated_under_a_running_ring (VtAttack *a)
{
  vt_attack_start (a);
  truncate_memory (only_region (a));
  g_assert_no_errno (eventfd_write (a->ring->kick_fd, 1));
  g_assert_true (vt_ring_wait_error (a->ring, VT_TIMEOUT_MS));
  vt_attack_witness (a);
  vt_barrier (a->fe);
  vt_get_vring_base (a->fe, 0);
}

/* The thread that serves all sockets is the first to touch it. */
static void
memory_truncated_before_the_ring_starts (VtAttack *a)
{
  vt_attack_describe (a);
  truncate_memory (only_region (a));
  vt_attack_try_u64 (a, VD_SET_VRING_KICK, 0, a->ring->kick_fd);
  g_assert_cmpint (vt_attack_try_state (a, VD_SET_VRING_ENABLE, 0, 1), ==,
                   VT_NACKED);
  vt_attack_witness (a);
  vt_barrier (a->fe);
}

static void
memory_truncated_before_it_is_shared (VtAttack *a)
{
  vt_attack_hello (a);
  truncate_memory (only_region (a));
  g_assert_false (vt_set_mem_table (a->fe, a->guest, 1));
}

/* Memory that was lost can be replaced, and the device goes on. */
static void
memory_truncated_and_replaced (VtAttack *a)
{
  VtRing *ring;
  VtGuest *guest;

  memory_truncated_under_a_running_ring (a);
  guest = vt_guest_new (1 << 20);
  ring = vt_ring_new (guest, 0, VT_ATTACK_RING, 0);
  g_assert_true (vt_set_mem_table (a->fe, guest, 1));
  g_assert_true (vt_set_vring_base (a->fe, 0, 0));
  g_assert_true (vt_set_vring_addr (a->fe, ring));
  g_assert_true (vt_set_vring_call (a->fe, 0, ring->call_fd));
  g_assert_true (vt_set_vring_kick (a->fe, 0, ring->kick_fd));
  vt_attack_read (ring, 4);
  vt_get_vring_base (a->fe, 0);
  vt_ring_free (ring);
  vt_guest_free (guest);
}

/* Only the memory of data is gone: the disk's reads and writes hit a hole. */
static void
data_memory_truncated (VtAttack *a)
{
  const guint32 types[] = { VIRTIO_BLK_T_IN, VIRTIO_BLK_T_OUT,
                            VIRTIO_BLK_T_GET_ID };
  VtRegion *data = vt_guest_add (a->guest, 1ull << 32, 1ull << 45, 1 << 20, 0);

  vt_attack_start (a);
  truncate_memory (data);
  for (guint i = 0; i < G_N_ELEMENTS (types); i++) {
    struct virtio_blk_outhdr *header =
        vt_region_alloc (only_region (a), sizeof *header, 8);
    guint8 *status = vt_region_alloc (only_region (a), 1, 1);
    gboolean in = types[i] != VIRTIO_BLK_T_OUT;

    *header = (struct virtio_blk_outhdr){ .type = GUINT32_TO_LE (types[i]) };
    const VtBuf bufs[] = { { header, sizeof *header, FALSE },
                           { data->ptr, in && i == 2 ? 20 : 512, in },
                           { status, 1, TRUE } };

    *status = VIRTIO_BLK_S_OK;
    g_assert_true (vt_ring_add (a->ring, bufs, 3, status));
    vt_ring_kick (a->ring);
    vt_attack_wait_settled (a);
    vt_attack_witness (a);
  }
  /* A write that could not be read may not have changed the disk. */
  vt_get_vring_base (a->fe, 0);
}

/* Holes are zeroes, not errors. */
static void
memory_punched (VtAttack *a)
{
  VtRegion *r = only_region (a);

  vt_attack_start (a);
  for (guint i = 0; i < 20; i++) {
    g_assert_no_errno (fallocate (
        r->fd, FALLOC_FL_PUNCH_HOLE | FALLOC_FL_KEEP_SIZE, 0, (off_t) r->size));
    g_assert_no_errno (eventfd_write (a->ring->kick_fd, 1));
    vt_attack_witness (a);
  }
  vt_get_vring_base (a->fe, 0);
}

/* --- The dirty log --- */

/* Starts to log into @fd.  Returns: whether it was taken. */
static gboolean
try_log (VtAttack *a, int fd, guint64 size, guint64 offset)
{
  const VdWireLog log = { size, offset };

  if (vt_attack_try (a, VD_SET_LOG_BASE, &log, sizeof log, &fd, 1) == VT_ACKED)
    return TRUE;
  vt_attack_reconnect (a); /* its reply has no form for an error */
  vt_attack_share (a);
  return FALSE;
}

static void
logs_that_cannot_be (VtAttack *a)
{
  const struct {
    guint64 size, offset;
  } logs[] = {
    { 0, 0 },
    { 1, 0 },        /* smaller than memory */
    { 2 * PAGE, 0 }, /* longer than its file */
    { 1ull << 40, 0 },
    { G_MAXUINT64, 0 },
    { 1ull << 63, 1ull << 63 },
    { PAGE, PAGE },                   /* begins at its end */
    { PAGE, G_MAXUINT64 - PAGE + 1 }, /* wraps */
    { PAGE, G_MAXUINT64 },
  };
  vd_autofd fd = vt_attack_new_file (PAGE);
  vd_autofd null = open ("/dev/null", O_RDWR | O_CLOEXEC);

  vt_attack_share (a);
  for (guint i = 0; i < G_N_ELEMENTS (logs); i++)
    g_assert_false (try_log (a, fd, logs[i].size, logs[i].offset));
  g_assert_false (try_log (a, null, PAGE, 0));
  g_assert_false (try_log (a, a->ring->kick_fd, PAGE, 0));
  g_assert_false (try_log (a, a->fe->fd, PAGE, 0));
  g_assert_true (try_log (a, fd, PAGE, 0));
}

/* Acks LOG_ALL too, and logs into @fd while the ring runs. */
static void
start_logging (VtAttack *a, int fd)
{
  vt_attack_start (a);
  g_assert_true (try_log (a, fd, PAGE, 0));
  g_assert_true (vt_set_features (a->fe, a->fe->acked | 1ull << VD_F_LOG_ALL));
  vt_attack_read (a->ring, 2);
}

static void
log_truncated_while_in_use (VtAttack *a)
{
  vd_autofd fd = vt_attack_new_file (PAGE);

  start_logging (a, fd);
  g_assert_no_errno (ftruncate (fd, 0));
  for (guint i = 0; i < 10; i++) {
    VtBlkRequest *request =
        vt_blk_request_new (a->guest, VIRTIO_BLK_T_IN, i, 512);

    if (vt_blk_add (a->ring, request))
      vt_ring_kick (a->ring);
    vt_attack_wait_settled (a);
    g_free (request);
  }
  vt_attack_witness (a);
}

/* The log fits the memory that there was, and then more memory comes. */
static void
memory_beyond_the_log (VtAttack *a)
{
  vd_autofd fd = vt_attack_new_file (PAGE);
  VtRegion *far;

  start_logging (a, fd);
  far = vt_guest_add (a->guest, 1ull << 34, 1ull << 45, 1 << 20, 0);
  vt_attack_try (a, VD_ADD_MEM_REG,
                 &(VdWireMemReg){
                     .region = { far->gpa, far->size, far->uva, far->offset } },
                 sizeof (VdWireMemReg), &far->fd, 1);
  vt_attack_witness (a);
  for (guint i = 0; i < 4; i++) {
    VtBlkRequest *request =
        vt_blk_request_new (a->guest, VIRTIO_BLK_T_IN, i, 512);

    if (vt_blk_add (a->ring, request))
      vt_ring_kick (a->ring);
    vt_attack_wait_settled (a);
    g_free (request);
  }
  vt_attack_witness (a);
}

/* --- The in-flight region --- */

static gboolean
try_inflight (VtAttack *a, const VdWireInflight *inflight, int fd)
{
  return vt_attack_try (a, VD_SET_INFLIGHT_FD, inflight, sizeof *inflight, &fd,
                        1) == VT_ACKED;
}

static void
inflight_regions_that_cannot_be (VtAttack *a)
{
  const guint64 size = 1 << 16;
  const VdWireInflight wrong[] = {
    { size, 0, 0, 128, { 0 } }, /* no queue */
    { size, 0, VT_ATTACK_QUEUES + 1, 128, { 0 } },
    { size, 0, G_MAXUINT16, 128, { 0 } },
    { size, 0, 1, 0, { 0 } }, /* no entry */
    { size, 0, 1, G_MAXUINT16, { 0 } },
    { 0, 0, 1, 128, { 0 } }, /* no room */
    { 16, 0, 1, 128, { 0 } },
    { size + 1, 0, 1, 128, { 0 } }, /* longer than its file */
    { 1ull << 40, 0, 1, 128, { 0 } },
    { G_MAXUINT64, 0, 1, 128, { 0 } },
    { size, PAGE, 1, 128, { 0 } }, /* ends behind it */
    { size, G_MAXUINT64 - PAGE + 1, 1, 128, { 0 } },
    { size, 1ull << 63, 1, 128, { 0 } },
  };
  vd_autofd fd = vt_attack_new_file (size);
  vd_autofd null = open ("/dev/null", O_RDWR | O_CLOEXEC);

  vt_attack_share (a);
  for (guint i = 0; i < G_N_ELEMENTS (wrong); i++)
    g_assert_false (try_inflight (a, &wrong[i], fd));
  const VdWireInflight right = { size, 0, 1, 128, { 0 } };

  g_assert_false (try_inflight (a, &right, null));
  g_assert_false (try_inflight (a, &right, a->ring->kick_fd));
  g_assert_false (try_inflight (a, &right, a->fe->fd));
  g_assert_true (try_inflight (a, &right, fd));
}

/* Starts a ring whose in-flight region holds @bytes.  Whatever they say, the
 * ring either refuses to start, breaks or works. */
static void
start_with_region (VtAttack *a, const guint8 *bytes, gsize len)
{
  const VdWireInflight inflight = { 1 << 16, 0, 1, VT_ATTACK_RING, { 0 } };
  vd_autofd fd = vt_attack_new_file (1 << 16);

  g_assert_cmpint (pwrite (fd, bytes, len, 0), ==, len);
  vt_attack_describe (a);
  g_assert_true (try_inflight (a, &inflight, fd));
  vt_attack_try_u64 (a, VD_SET_VRING_KICK, 0, a->ring->kick_fd);
  vt_attack_try_state (a, VD_SET_VRING_ENABLE, 0, 1);
  g_assert_no_errno (eventfd_write (a->ring->kick_fd, 1));
  vt_barrier (a->fe);
  g_assert_no_errno (ftruncate (fd, 0)); /* and then it goes */
  g_assert_no_errno (eventfd_write (a->ring->kick_fd, 1));
  vt_barrier (a->fe);
  vt_get_vring_base (a->fe, 0);
}

static void
inflight_regions_that_lie (VtAttack *a)
{
  guint8 bytes[4096];

  for (guint i = 0; i < 100; i++) {
    for (guint j = 0; j < sizeof bytes; j++)
      bytes[j] = (guint8) g_test_rand_int ();
    if (i % 2) { /* the version and the size that it should have */
      const guint16 head[] = { 1, VT_ATTACK_RING };

      memset (bytes, 0, 8);
      memcpy (bytes + 8, head, sizeof head);
    }
    if (i % 4 == 3) /* everything is in flight, and linked to itself */
      memset (bytes + 12, 1, sizeof bytes - 12);
    if (i % 8 == 7) /* split: a batch that links somewhere */
      memset (bytes + 14, 0xf8, 2);
    start_with_region (a, bytes, sizeof bytes);
    vt_ring_reset (a->ring, 0);
    vt_attack_reconnect (a);
  }
  vt_attack_witness (a);
}

/* What a front-end asks for is allocated only if the device could use it. */
static void
inflight_regions_that_are_asked_for (VtAttack *a)
{
  const struct {
    guint16 n_queues, queue_size;
  } wild[] = {
    { 0, 0 },     { 0, 128 },
    { 1, 0 },     { VT_ATTACK_QUEUES + 1, 128 },
    { 1, 32769 }, { G_MAXUINT16, G_MAXUINT16 },
  };
  VdWireInflight inflight;

  for (guint i = 0; i < G_N_ELEMENTS (wild); i++) {
    inflight = (VdWireInflight){ .mmap_size = G_MAXUINT64,
                                 .n_queues = wild[i].n_queues,
                                 .queue_size = wild[i].queue_size };
    vt_attack_hello (a);
    g_assert_cmpint (vt_attack_try (a, VD_GET_INFLIGHT_FD, &inflight,
                                    sizeof inflight, NULL, 0),
                     ==, VT_CLOSED); /* its reply has no form for an error */
    vt_attack_reconnect (a);
  }
  vt_attack_hello (a);
  for (guint i = 0; i < 300; i++)
    close (vt_get_inflight_fd (a->fe, VT_ATTACK_QUEUES, 32768, &inflight));
}

/* The ring is served, and the record, which has no room for it, stays empty. */
static void
ring_larger_than_its_record (VtAttack *a)
{
  VdWireInflight inflight;
  vd_autofd fd = -1;
  guint8 bytes[4096];

  vt_attack_describe (a);
  fd = vt_get_inflight_fd (a->fe, 1, VT_ATTACK_RING / 2, &inflight);
  g_assert_true (vt_set_inflight_fd (a->fe, &inflight, fd));
  g_assert_true (vt_set_vring_kick (a->fe, 0, a->ring->kick_fd));
  g_assert_true (vt_set_vring_enable (a->fe, 0, TRUE));
  for (guint i = 0; i < 3 * VT_ATTACK_RING; i++)
    vt_attack_read (a->ring, i);
  for (guint64 at = 0; at < inflight.mmap_size; at += sizeof bytes) {
    gssize n = pread (fd, bytes, sizeof bytes, (off_t) at);

    g_assert_cmpint (n, >, 0);
    for (gssize i = 0; i < n; i++)
      g_assert_cmpuint (bytes[i], ==, 0);
  }
}

static void
inflight_truncated_while_in_use (VtAttack *a)
{
  const VdWireInflight inflight = { 1 << 16, 0, 1, VT_ATTACK_RING, { 0 } };
  vd_autofd fd = vt_attack_new_file (1 << 16);
  VtBlkRequest *request;

  vt_attack_describe (a);
  g_assert_true (try_inflight (a, &inflight, fd));
  g_assert_true (vt_set_vring_kick (a->fe, 0, a->ring->kick_fd));
  g_assert_true (vt_set_vring_enable (a->fe, 0, TRUE));
  vt_attack_read (a->ring, 1);
  g_assert_no_errno (ftruncate (fd, 0));
  request = vt_blk_request_new (a->guest, VIRTIO_BLK_T_IN, 2, 512);
  for (guint i = 0; i < 10; i++) {
    if (vt_blk_add (a->ring, request))
      vt_ring_kick (a->ring);
    vt_attack_wait_settled (a);
  }
  g_free (request);
  vt_attack_witness (a);
  vt_get_vring_base (a->fe, 0);
}

int
main (int argc, char **argv)
{
  g_test_init (&argc, &argv, NULL);
#define ADD(path, func) vt_attack_add ("/hostile/shared/" path, func)
#define ADD_PACKED(path, func)                                                 \
  vt_attack_add_packed ("/hostile/shared/packed/" path, func)
  ADD ("memory/running", memory_truncated_under_a_running_ring);
  ADD ("memory/starting", memory_truncated_before_the_ring_starts);
  ADD ("memory/sharing", memory_truncated_before_it_is_shared);
  ADD ("memory/replaced", memory_truncated_and_replaced);
  ADD ("memory/data", data_memory_truncated);
  ADD ("memory/punched", memory_punched);
  ADD ("log/wrong", logs_that_cannot_be);
  ADD ("log/truncated", log_truncated_while_in_use);
  ADD ("log/short", memory_beyond_the_log);
  ADD ("inflight/wrong", inflight_regions_that_cannot_be);
  ADD ("inflight/lies", inflight_regions_that_lie);
  ADD ("inflight/truncated", inflight_truncated_while_in_use);
  ADD ("inflight/asked", inflight_regions_that_are_asked_for);
  ADD ("inflight/small", ring_larger_than_its_record);
  ADD_PACKED ("memory/running", memory_truncated_under_a_running_ring);
  ADD_PACKED ("memory/data", data_memory_truncated);
  ADD_PACKED ("log/truncated", log_truncated_while_in_use);
  ADD_PACKED ("inflight/lies", inflight_regions_that_lie);
  ADD_PACKED ("inflight/truncated", inflight_truncated_while_in_use);
  ADD_PACKED ("inflight/small", ring_larger_than_its_record);
  return vt_attack_main ();
}
