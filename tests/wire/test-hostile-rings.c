/* SPDX-License-Identifier: BSD-3-Clause
 *
 * test-hostile-rings.c - attacks by what a front-end says of rings: sizes,
 * addresses, and descriptors to kick and to call
 */
#include <errno.h>
#include <fcntl.h>
#include <pthread.h>
#include <stdatomic.h>
#include <string.h>
#include <sys/epoll.h>
#include <sys/eventfd.h>
#include <sys/socket.h>
#include <sys/timerfd.h>
#include <unistd.h>

#include "tests/wire/hostile.h"
#include "vring/fd.h"

/* Starts the ring, whose description is wrong somewhere.
 * Returns: what came of the last message. */
static VtOutcome
try_start (VtAttack *a)
{
  VtOutcome kick =
      vt_attack_try_u64 (a, VD_SET_VRING_KICK, 0, a->ring->kick_fd);
  VtOutcome enable = vt_attack_try_state (a, VD_SET_VRING_ENABLE, 0, 1);

  g_assert_cmpint (kick, !=, VT_CLOSED);
  g_assert_cmpint (enable, !=, VT_CLOSED);
  return kick == VT_NACKED ? kick : enable;
}

/* The same connection starts the ring with a right description. */
static void
start_rightly (VtAttack *a)
{
  VtRing *ring = a->ring;

  vt_get_vring_base (a->fe, 0);
  vt_ring_reset (ring, 0);
  g_assert_true (vt_set_vring_num (a->fe, 0, ring->size));
  g_assert_true (vt_set_vring_base (a->fe, 0, 0));
  g_assert_true (vt_set_vring_addr (a->fe, ring));
  g_assert_true (vt_set_vring_call (a->fe, 0, ring->call_fd));
  g_assert_true (vt_set_vring_kick (a->fe, 0, ring->kick_fd));
  g_assert_true (vt_set_vring_enable (a->fe, 0, TRUE));
  vt_attack_read (ring, 5);
  g_assert_true (vt_set_vring_enable (a->fe, 0, FALSE));
  vt_get_vring_base (a->fe, 0);
}

/* --- Description --- */

static void
ring_sizes (VtAttack *a)
{
  const guint32 sizes[] = { 0,     3,     100,     127,        32769,
                            65535, 65536, 1 << 17, 0x80000000, G_MAXUINT32 };

  vt_attack_describe (a);
  for (guint i = 0; i < G_N_ELEMENTS (sizes); i++) {
    vt_attack_try_state (a, VD_SET_VRING_NUM, 0, sizes[i]);
    g_assert_cmpint (try_start (a), ==, VT_NACKED);
    start_rightly (a);
  }
}

/* Half of it would lie behind the end of guest memory. */
static void
ring_larger_than_its_memory (VtAttack *a)
{
  vt_attack_describe (a);
  a->ring->size *= 2;
  for (guint32 num = 1 << 10; num <= 1 << 15; num *= 2) {
    const VtRegion *r = g_ptr_array_index (a->guest->regions, 0);
    const VdWireVringAddr addr = {
      .desc = r->uva + r->size - 16 * num / 2,
      .avail = r->uva,
      .used = r->uva + 0x100000,
    };

    vt_attack_try_state (a, VD_SET_VRING_NUM, 0, num);
    vt_attack_try (a, VD_SET_VRING_ADDR, &addr, sizeof addr, NULL, 0);
    g_assert_cmpint (try_start (a), ==, VT_NACKED);
  }
  a->ring->size /= 2;
  start_rightly (a);
}

static VtOutcome
try_address (VtAttack *a, guint64 desc, guint64 avail, guint64 used)
{
  const VdWireVringAddr addr = { .desc = desc, .avail = avail, .used = used };

  vt_attack_try (a, VD_SET_VRING_ADDR, &addr, sizeof addr, NULL, 0);
  return try_start (a);
}

/* Addresses that none of the three parts may have. */
static void
ring_addresses (VtAttack *a)
{
  const VtRegion *r = g_ptr_array_index (a->guest->regions, 0);
  const guint64 desc = vt_guest_uva (a->guest, a->ring->desc);
  const guint64 avail = vt_guest_uva (a->guest, a->ring->avail);
  const guint64 used = vt_guest_uva (a->guest, a->ring->used);
  const guint64 wrong[] = {
    0,
    1,
    r->gpa,                /* the wrong kind of address */
    r->uva - 16,           /* begins before */
    r->uva + r->size,      /* after the end */
    r->uva + r->size - 16, /* ends after */
    G_MAXUINT64 - 15,      /* wraps */
    1ull << 63,
    r->uva + 1, /* not aligned */
  };

  vt_attack_describe (a);
  for (guint i = 0; i < G_N_ELEMENTS (wrong); i++) {
    g_assert_cmpint (try_address (a, wrong[i], avail, used), ==, VT_NACKED);
    g_assert_cmpint (try_address (a, desc, wrong[i], used), ==, VT_NACKED);
    g_assert_cmpint (try_address (a, desc, avail, wrong[i]), ==, VT_NACKED);
  }
  start_rightly (a);
}

/* The used ring fits to the byte, and then ends just behind its region. */
static void
used_ring_at_the_end_of_its_region (VtAttack *a)
{
  const VtRegion *r = g_ptr_array_index (a->guest->regions, 0);
  const guint64 desc = vt_guest_uva (a->guest, a->ring->desc);
  const guint64 avail = vt_guest_uva (a->guest, a->ring->avail);
  const guint64 end = r->uva + r->size;
  gsize len = vt_ring_used_size (VT_ATTACK_RING);
  guint64 last = (end - len) & ~3ull;

  vt_attack_describe (a);
  g_assert_cmpint (try_address (a, desc, avail, last + 4), ==, VT_NACKED);
  g_assert_cmpint (try_address (a, desc, avail, end - 4), ==, VT_NACKED);
  g_assert_cmpint (try_address (a, desc, avail, last), ==, VT_ACKED);
  start_rightly (a);
}

static void
ring_bases (VtAttack *a)
{
  const guint32 bases[] = { 0x10000, 0x7fffffff, G_MAXUINT32 };

  vt_attack_describe (a);
  for (guint i = 0; i < G_N_ELEMENTS (bases); i++) {
    vt_attack_try_state (a, VD_SET_VRING_BASE, 0, bases[i]);
    g_assert_cmpint (try_start (a), ==, VT_NACKED);
  }
  start_rightly (a);
}

/* A base that the driver's index contradicts breaks the ring at once. */
static void
base_far_from_the_driver_s_index (VtAttack *a)
{
  vt_attack_describe (a);
  vt_attack_try_state (a, VD_SET_VRING_BASE, 0, 0x8000);
  try_start (a);
  vt_attack_expect_broken (a);
}

static void
ring_parts_on_top_of_each_other (VtAttack *a)
{
  const guint64 desc = vt_guest_uva (a->guest, a->ring->desc);

  vt_attack_describe (a);
  vt_attack_try_u64 (a, VD_SET_VRING_CALL, VD_VRING_NOFD_MASK, -1);
  memset (a->ring->desc, 0xff, 16);
  try_address (a, desc, desc, desc);
  vt_attack_witness (a);
  vt_get_vring_base (a->fe, 0);
  memset (a->ring->desc, 0, 16);
  try_address (a, desc, desc, desc);
  g_assert_no_errno (eventfd_write (a->ring->kick_fd, 1));
  vt_attack_witness (a);
  start_rightly (a);
}

#ifndef __SANITIZE_THREAD__ /* which rightly sees two threads write one byte */
/* Two rings of one device in the same memory. */
static void
two_rings_in_one (VtAttack *a)
{
  vt_attack_start (a);
  a->ring->index = 1;
  g_assert_true (vt_set_vring_num (a->fe, 1, a->ring->size));
  g_assert_true (vt_set_vring_addr (a->fe, a->ring));
  g_assert_true (vt_set_vring_kick (a->fe, 1, a->ring->kick_fd));
  g_assert_true (vt_set_vring_enable (a->fe, 1, TRUE));
  a->ring->index = 0;
  for (guint i = 0; i < 100; i++)
    vt_ring_kick_always (a->ring);
  vt_attack_witness (a);
}
#endif

static void
ring_that_was_never_described (VtAttack *a)
{
  vt_attack_share (a);
  g_assert_cmpint (try_start (a), !=, VT_CLOSED);
  g_assert_cmpuint (vt_get_vring_base (a->fe, 0), ==, 0);
  g_assert_true (vt_set_vring_enable (a->fe, 3, TRUE)); /* as QEMU does */
  start_rightly (a);
}

static void
legacy_driver (VtAttack *a)
{
  vt_attack_describe (a);
  g_assert_true (vt_set_features (a->fe, 1ull << VD_F_PROTOCOL_FEATURES));
  g_assert_cmpint (try_start (a), ==, VT_NACKED);
  g_assert_true (
      vt_set_features (a->fe, 1ull << 32 | 1ull << VD_F_PROTOCOL_FEATURES));
  start_rightly (a);
}

/* All of it again while requests are on their way. */
static void
ring_described_again_while_it_runs (VtAttack *a)
{
  vt_attack_start (a);
  for (guint i = 0; i < 100; i++) {
    guint32 base = GUINT16_FROM_LE (a->ring->avail->idx);

    vt_attack_read (a->ring, i);
    g_assert_true (vt_set_vring_num (a->fe, 0, a->ring->size));
    g_assert_true (vt_set_vring_base (a->fe, 0, (base + 1) & 0xffff));
    g_assert_true (vt_set_vring_addr (a->fe, a->ring));
    g_assert_true (vt_set_vring_kick (a->fe, 0, a->ring->kick_fd));
  }
  vt_attack_read (a->ring, 9);
}

/* --- Descriptors --- */

/* What a front-end can pass instead of an eventfd. */
enum {
  ODD_NULL,
  ODD_FULL,
  ODD_DIR,
  ODD_FILE,
  ODD_READ_ONLY,
  ODD_PATH,
  ODD_EPOLL,
  ODD_TIMER,
  ODD_PIPE_READ,
  ODD_PIPE_FULL,
  ODD_PIPE_CLOSED,
  ODD_SOCKET_FULL,
  ODD_SOCKET_CLOSED,
  ODD_SOCKET_UNCONNECTED,
  ODD_EVENTFD_FULL,
  ODD_EVENTFD_FULL_BLOCKING,
  N_ODD
};

typedef struct {
  int fds[N_ODD];
  int others[4]; /* the other ends that stay open */
} OddFds;

/* Writes until nothing more fits. */
static void
fill_up (int fd)
{
  guint8 bytes[4096] = { 0 };
  int flags = fcntl (fd, F_GETFL);

  g_assert_no_errno (fcntl (fd, F_SETFL, flags | O_NONBLOCK));
  for (gsize size = sizeof bytes; size > 0; size /= 2)
    while (write (fd, bytes, size) > 0)
      ;
  g_assert_cmpint (errno, ==, EAGAIN);
  g_assert_no_errno (fcntl (fd, F_SETFL, flags));
}

static void
odd_pipes_open (OddFds *odd, const char *file)
{
  int full[2], closed[2];

  g_assert_no_errno (pipe2 (full, O_CLOEXEC));
  g_assert_no_errno (pipe2 (closed, O_CLOEXEC));
  fill_up (full[1]);
  close (closed[0]);
  odd->fds[ODD_PIPE_FULL] = full[1];
  odd->fds[ODD_PIPE_READ] = full[0];
  odd->fds[ODD_PIPE_CLOSED] = closed[1];
  odd->fds[ODD_NULL] = open ("/dev/null", O_RDWR | O_CLOEXEC);
  odd->fds[ODD_FULL] = open ("/dev/full", O_RDWR | O_CLOEXEC);
  odd->fds[ODD_DIR] = open ("/tmp", O_RDONLY | O_DIRECTORY | O_CLOEXEC);
  odd->fds[ODD_FILE] = open (file, O_RDWR | O_CLOEXEC);
  odd->fds[ODD_READ_ONLY] = open (file, O_RDONLY | O_CLOEXEC);
  odd->fds[ODD_PATH] = open (file, O_PATH | O_CLOEXEC);
}

static void
odd_open (OddFds *odd, VtAttack *a)
{
  g_autofree char *file = vt_daemon_path (a->daemon, "stderr");
  int full[2], closed[2];

  odd_pipes_open (odd, file);
  g_assert_no_errno (socketpair (AF_UNIX, SOCK_STREAM | SOCK_CLOEXEC, 0, full));
  g_assert_no_errno (
      socketpair (AF_UNIX, SOCK_STREAM | SOCK_CLOEXEC, 0, closed));
  fill_up (full[0]);
  close (closed[1]);
  odd->fds[ODD_SOCKET_FULL] = full[0];
  odd->others[0] = full[1];
  odd->fds[ODD_SOCKET_CLOSED] = closed[0];
  odd->fds[ODD_SOCKET_UNCONNECTED] =
      socket (AF_UNIX, SOCK_STREAM | SOCK_CLOEXEC, 0);
  odd->fds[ODD_EPOLL] = epoll_create1 (EPOLL_CLOEXEC);
  odd->fds[ODD_TIMER] = timerfd_create (CLOCK_MONOTONIC, TFD_CLOEXEC);
  odd->fds[ODD_EVENTFD_FULL] = eventfd (0, EFD_CLOEXEC | EFD_NONBLOCK);
  odd->fds[ODD_EVENTFD_FULL_BLOCKING] = eventfd (0, EFD_CLOEXEC);
  for (guint i = ODD_EVENTFD_FULL; i < N_ODD; i++)
    g_assert_no_errno (eventfd_write (odd->fds[i], G_MAXUINT64 - 1));
  for (guint i = 0; i < N_ODD; i++)
    g_assert_cmpint (odd->fds[i], >=, 0);
}

static void
odd_close (OddFds *odd)
{
  for (guint i = 0; i < N_ODD; i++)
    close (odd->fds[i]);
  close (odd->others[0]);
}

/* Whether it can be written as a call or error descriptor. */
static gboolean
can_call (guint odd)
{
  switch (odd) {
  case ODD_PIPE_FULL:
  case ODD_PIPE_CLOSED:
  case ODD_SOCKET_FULL:
  case ODD_SOCKET_CLOSED:
  case ODD_SOCKET_UNCONNECTED:
  case ODD_EVENTFD_FULL:
  case ODD_EVENTFD_FULL_BLOCKING: return TRUE;
  default: return FALSE;
  }
}

static void
odd_kick_descriptors (VtAttack *a)
{
  OddFds odd;

  odd_open (&odd, a);
  vt_attack_describe (a);
  for (guint i = 0; i < N_ODD; i++) {
    gboolean eventfd = i >= ODD_EVENTFD_FULL;

    g_assert_cmpint (vt_attack_try_u64 (a, VD_SET_VRING_KICK, 0, odd.fds[i]),
                     ==, eventfd ? VT_ACKED : VT_NACKED);
    start_rightly (a);
  }
  odd_close (&odd);
}

/* With one of them a whole daemon used to hang, and with another it died. */
static void
odd_call_descriptors (VtAttack *a)
{
  VtBlkRequest *request =
      vt_blk_request_new (a->guest, VIRTIO_BLK_T_IN, 3, 512);
  OddFds odd;

  odd_open (&odd, a);
  vt_attack_start (a);
  for (guint i = 0; i < N_ODD; i++) {
    g_assert_cmpint (vt_attack_try_u64 (a, VD_SET_VRING_CALL, 0, odd.fds[i]),
                     ==, can_call (i) ? VT_ACKED : VT_NACKED);
    if (can_call (i))
      for (guint j = 0; j < 10; j++)
        vt_attack_run_uncalled (a->ring, request);
    vt_attack_witness (a);
  }
  g_assert_true (vt_set_vring_call (a->fe, 0, a->ring->call_fd));
  vt_attack_read (a->ring, 6);
  g_free (request);
  odd_close (&odd);
}

/* The ring breaks, and nobody can be told. */
static void
odd_error_descriptors (VtAttack *a)
{
  OddFds odd;

  odd_open (&odd, a);
  vt_attack_describe (a);
  for (guint i = 0; i < N_ODD; i++) {
    g_assert_cmpint (vt_attack_try_u64 (a, VD_SET_VRING_ERR, 0, odd.fds[i]), ==,
                     can_call (i) ? VT_ACKED : VT_NACKED);
    vt_ring_reset (a->ring, 0);
    vt_ring_raw_publish (a->ring, 1000);
    try_start (a);
    vt_attack_witness (a);
    start_rightly (a);
  }
  odd_close (&odd);
}

/* The connection is closed if the front-end did not want an answer. */
static void
odd_descriptor_without_an_answer (VtAttack *a)
{
  vd_autofd null = open ("/dev/null", O_RDWR | O_CLOEXEC);

  for (guint32 id = VD_SET_VRING_KICK; id <= VD_SET_VRING_ERR; id++) {
    guint64 index = 0;

    vt_attack_hello (a);
    vt_send (a->fe, id, VD_WIRE_VERSION, &index, sizeof index, &null, 1);
    g_assert_cmpuint (vt_wait_closed (a->fe), ==, 0);
    vt_attack_reconnect (a);
  }
}

static void
one_descriptor_for_everything (VtAttack *a)
{
  VtBlkRequest *request =
      vt_blk_request_new (a->guest, VIRTIO_BLK_T_IN, 3, 512);
  int fd = a->ring->kick_fd;

  vt_attack_start (a);
  g_assert_true (vt_set_vring_call (a->fe, 0, fd));
  g_assert_true (vt_set_vring_err (a->fe, 0, fd));
  for (guint i = 0; i < 100; i++)
    vt_attack_run_uncalled (a->ring, request);
  vt_attack_witness (a);
  vt_ring_raw_publish (a->ring, 1000);
  vt_ring_kick_always (a->ring);
  vt_attack_witness (a);
  g_free (request);
}

/* Kicks for which there is nothing to do. */
static void
flood_of_kicks (VtAttack *a)
{
  vt_attack_start (a);
  for (guint i = 0; i < 20; i++) {
    for (guint j = 0; j < 10000; j++)
      g_assert_no_errno (eventfd_write (a->ring->kick_fd, 1));
    vt_attack_witness (a);
  }
  vt_attack_read (a->ring, 7);
}

/* Kicks without a pause. */
typedef struct {
  int fd;
  atomic_bool end;
} Kicker;

static void *
kick_on_and_on (void *data)
{
  Kicker *kicker = data;

  while (!atomic_load (&kicker->end))
    g_assert_no_errno (eventfd_write (kicker->fd, 1));
  return NULL;
}

/* A kick that arrives in the moment of the stop must not delay its end: one
 * way to cancel a poll of io_uring is refused then. */
static void
stops_amid_kicks (VtAttack *a)
{
  Kicker kicker = { .fd = a->ring->kick_fd };
  pthread_t thread;

  vt_attack_start (a);
  g_assert_cmpint (pthread_create (&thread, NULL, kick_on_and_on, &kicker), ==,
                   0);
  for (guint i = 0; i < 1000; i++) {
    guint32 base = vt_get_vring_base (a->fe, 0);

    g_assert_true (vt_set_vring_base (a->fe, 0, base));
    g_assert_true (vt_set_vring_kick (a->fe, 0, a->ring->kick_fd));
  }
  atomic_store (&kicker.end, TRUE);
  pthread_join (thread, NULL);
  vt_attack_read (a->ring, 7);
}

/* A ring without kicks is looked at all the time, and costs no one else. */
static void
polled_ring (VtAttack *a)
{
  VtBlkRequest *request =
      vt_blk_request_new (a->guest, VIRTIO_BLK_T_IN, 3, 512);

  vt_attack_describe (a);
  g_assert_true (vt_set_vring_kick (a->fe, 0, -1));
  g_assert_true (vt_set_vring_enable (a->fe, 0, TRUE));
  for (guint i = 0; i < 100; i++) {
    g_assert_true (vt_blk_add (a->ring, request));
    vt_ring_publish (a->ring); /* and no kick */
    g_assert_true (vt_ring_take (a->ring, NULL) == request);
    g_assert_cmpuint (*request->status, ==, VIRTIO_BLK_S_OK);
  }
  vt_attack_witness (a);
  g_free (request);
}

int
main (int argc, char **argv)
{
  g_test_init (&argc, &argv, NULL);
#define ADD(path, func) vt_attack_add ("/hostile/rings/" path, func)
  ADD ("size", ring_sizes);
  ADD ("size/memory", ring_larger_than_its_memory);
  ADD ("address", ring_addresses);
  ADD ("address/end", used_ring_at_the_end_of_its_region);
  ADD ("address/overlap", ring_parts_on_top_of_each_other);
#ifndef __SANITIZE_THREAD__
  ADD ("address/twice", two_rings_in_one);
#endif
  ADD ("base", ring_bases);
  ADD ("base/far", base_far_from_the_driver_s_index);
  ADD ("order/undescribed", ring_that_was_never_described);
  ADD ("order/again", ring_described_again_while_it_runs);
  ADD ("order/legacy", legacy_driver);
  ADD ("fd/kick", odd_kick_descriptors);
  ADD ("fd/call", odd_call_descriptors);
  ADD ("fd/error", odd_error_descriptors);
  ADD ("fd/unanswered", odd_descriptor_without_an_answer);
  ADD ("fd/same", one_descriptor_for_everything);
  ADD ("kicks/flood", flood_of_kicks);
  ADD ("kicks/stop", stops_amid_kicks);
  ADD ("kicks/none", polled_ring);
  return vt_attack_main ();
}
