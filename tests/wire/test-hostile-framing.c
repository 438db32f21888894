/* SPDX-License-Identifier: BSD-3-Clause
 *
 * test-hostile-framing.c - attacks by cut messages, stray descriptors, floods
 */
#include <errno.h>
#include <fcntl.h>
#include <netinet/in.h>
#include <poll.h>
#include <pthread.h>
#include <stdatomic.h>
#include <string.h>
#include <sys/socket.h>
#include <unistd.h>

#include "tests/wire/hostile.h"

#if defined __SANITIZE_ADDRESS__ || defined __SANITIZE_THREAD__
#define SLOWER 20 /* how much slower a daemon with sanitizers may be */
#else
#define SLOWER 1
#endif

/* The same descriptor @n times, for messages that want none. */
static void
fill_fds (int *fds, guint n, int fd)
{
  for (guint i = 0; i < n; i++)
    fds[i] = fd;
}

/* --- Framing --- */

/* Sends @message cut at @at, and lets the witness work in between. */
static void
send_in_two_parts (VtAttack *a, const void *message, gsize size, gsize at)
{
  g_assert_true (vt_send_bytes (a->fe, message, at, NULL, 0));
  vt_attack_witness (a);
  g_assert_true (
      vt_send_bytes (a->fe, (const guint8 *) message + at, size - at, NULL, 0));
}

static void
payload_in_two_parts (VtAttack *a)
{
  struct {
    VdWireHeader header;
    guint64 features;
  } __attribute__ ((packed))
  message = { { VD_SET_FEATURES, VD_WIRE_VERSION, sizeof (guint64) }, 0 };

  message.features = vt_get_features (a->fe);
  for (gsize at = 1; at < sizeof message; at++)
    send_in_two_parts (a, &message, sizeof message, at);
  vt_barrier (a->fe);
}

static void
half_a_header_then_close (VtAttack *a)
{
  VdWireHeader header = { VD_GET_FEATURES, VD_WIRE_VERSION, 0 };

  for (gsize at = 1; at < sizeof header; at++) {
    g_assert_true (vt_send_bytes (a->fe, &header, at, &a->ring->kick_fd, 1));
    vt_attack_witness (a);
    vt_attack_reconnect (a);
  }
}

static void
half_a_payload_then_close (VtAttack *a)
{
  guint8 bytes[sizeof (VdWireHeader) + 4] = { 0 };
  VdWireHeader header = { VD_SET_FEATURES, VD_WIRE_VERSION, 8 };
  int fds[VD_MESSAGE_FDS];

  fill_fds (fds, VD_MESSAGE_FDS, a->ring->kick_fd);
  memcpy (bytes, &header, sizeof header);
  g_assert_true (
      vt_send_bytes (a->fe, bytes, sizeof bytes, fds, VD_MESSAGE_FDS));
  vt_attack_witness (a);
}

static void
payload_over_the_limit (VtAttack *a)
{
  const guint32 sizes[] = { VD_PAYLOAD_MAX + 1, 0x7fffffff, 0xfffffff4,
                            G_MAXUINT32 };

  for (guint i = 0; i < G_N_ELEMENTS (sizes); i++) {
    VdWireHeader header = { VD_SET_CONFIG, VD_WIRE_VERSION, sizes[i] };

    g_assert_true (vt_send_bytes (a->fe, &header, sizeof header, NULL, 0));
    g_assert_cmpuint (vt_wait_closed (a->fe), ==, 0);
    vt_attack_reconnect (a);
  }
}

static void
wrong_version (VtAttack *a)
{
  const guint32 flags[] = { 0, 2, 3, VD_FLAG_NEED_REPLY, 0xfffffffe };

  for (guint i = 0; i < G_N_ELEMENTS (flags); i++) {
    vt_send (a->fe, VD_GET_FEATURES, flags[i], NULL, 0, NULL, 0);
    g_assert_cmpuint (vt_wait_closed (a->fe), ==, 0);
    vt_attack_reconnect (a);
  }
}

static void
random_bytes (VtAttack *a)
{
  for (guint i = 0; i < 200; i++) {
    guint8 bytes[512];

    for (guint j = 0; j < sizeof bytes; j++)
      bytes[j] = (guint8) g_test_rand_int ();
    vt_send_bytes (a->fe, bytes, sizeof bytes, &a->ring->kick_fd, 1);
    vt_attack_reconnect (a);
  }
}

static void
connect_and_leave (VtAttack *a)
{
  for (guint i = 0; i < 300; i++)
    vt_attack_reconnect (a);
}

/* It waits in the backlog, and is served when the first one has left. */
static void
second_client (VtAttack *a)
{
  VtFrontend *second = vt_daemon_connect (a->daemon, "victim"), *first = a->fe;

  vt_barrier (first);
  g_assert_true (
      vt_send (second, VD_GET_FEATURES, VD_WIRE_VERSION, NULL, 0, NULL, 0));
  g_assert_true (vt_is_silent (second, 50));
  vt_barrier (first);
  vt_frontend_free (first);
  vt_receive (second, VD_GET_FEATURES, &second->features, sizeof (guint64));
  a->fe = second;
}

/* --- Descriptors --- */

/* One daemon that others are built on leaked 400 of them. */
static void
eight_stray_descriptors_50_times (VtAttack *a)
{
  int fds[VD_MESSAGE_FDS];
  VtUsage before;

  vt_attack_hello (a);
  before = vt_daemon_usage (a->daemon);
  fill_fds (fds, VD_MESSAGE_FDS, a->ring->kick_fd);
  for (guint i = 0; i < 50; i++)
    g_assert_cmpint (vt_attack_try (a, VD_SET_OWNER, NULL, 0, fds, 8), ==,
                     VT_NACKED);
  vt_barrier (a->fe);
  before.n_maps += 100; /* not what is tested */
  vt_daemon_wait_usage (a->daemon, before);
}

static void
stray_descriptors_without_an_answer (VtAttack *a)
{
  int fds[VD_MESSAGE_FDS];

  fill_fds (fds, VD_MESSAGE_FDS, a->ring->kick_fd);
  for (guint i = 0; i < 50; i++) {
    vt_send (a->fe, VD_SET_OWNER, VD_WIRE_VERSION, NULL, 0, fds, 8);
    g_assert_cmpuint (vt_wait_closed (a->fe), ==, 0);
    vt_attack_reconnect (a);
  }
}

/* A socket whose last close() waits: it has sent more than its peer reads.
 * Returns: one end; @ret_peer: the other */
static int
lingering_socket (int *ret_peer)
{
  const struct linger linger = { 1, VT_TIMEOUT_MS / 1000 };
  struct sockaddr_in address = { .sin_family = AF_INET,
                                 .sin_addr = { htonl (INADDR_LOOPBACK) } };
  socklen_t len = sizeof address;
  int listener = socket (AF_INET, SOCK_STREAM | SOCK_CLOEXEC, 0);
  int fd = socket (AF_INET, SOCK_STREAM | SOCK_CLOEXEC, 0);
  guint8 bytes[4096] = { 0 };

  g_assert_no_errno (listen (listener, 1));
  g_assert_no_errno (
      getsockname (listener, (struct sockaddr *) &address, &len));
  g_assert_no_errno (connect (fd, (struct sockaddr *) &address, len));
  *ret_peer = accept4 (listener, NULL, NULL, SOCK_CLOEXEC);
  g_assert_no_errno (*ret_peer);
  close (listener);
  while (send (fd, bytes, sizeof bytes, MSG_DONTWAIT) > 0)
    ;
  g_assert_no_errno (
      setsockopt (fd, SOL_SOCKET, SO_LINGER, &linger, sizeof linger));
  return fd;
}

/* Some are read, and others are still in the connection when it is closed. */
static void
descriptors_that_are_slow_to_close (VtAttack *a)
{
  int peers[6];
  gint64 begin;

  for (guint i = 0; i < G_N_ELEMENTS (peers); i++) {
    int fd = lingering_socket (&peers[i]);

    vt_send (a->fe, i < 2 ? VD_GET_FEATURES : VD_SET_VRING_CALL,
             VD_WIRE_VERSION, &(guint64){ 0 }, i < 2 ? 0 : 8, &fd, 1);
    close (fd);
    if (i % 3 == 2)
      vt_attack_reconnect (a);
  }
  begin = g_get_monotonic_time ();
  vt_attack_witness_answers (a);
  vt_attack_witness (a);
  g_assert_cmpint (g_get_monotonic_time () - begin, <,
                   VT_TIMEOUT_MS * 1000ll / 4);
  for (guint i = 0; i < G_N_ELEMENTS (peers); i++)
    close (peers[i]);
}

static void
more_descriptors_than_a_message_may_have (VtAttack *a)
{
  const guint counts[] = { VD_MESSAGE_FDS + 1, 20, 64 };
  int fds[64];

  fill_fds (fds, G_N_ELEMENTS (fds), a->ring->kick_fd);
  for (guint i = 0; i < G_N_ELEMENTS (counts); i++) {
    vt_send (a->fe, VD_SET_OWNER, VD_WIRE_VERSION, NULL, 0, fds, counts[i]);
    g_assert_cmpuint (vt_wait_closed (a->fe), ==, 0);
    vt_attack_reconnect (a);
  }
}

static void
descriptors_inside_a_payload (VtAttack *a)
{
  VdWireHeader header = { VD_SET_FEATURES, VD_WIRE_VERSION, 8 };
  guint64 features = vt_get_features (a->fe);

  g_assert_true (vt_send_bytes (a->fe, &header, sizeof header, NULL, 0));
  vt_attack_witness (a);
  vt_send_bytes (a->fe, &features, sizeof features, &a->ring->kick_fd, 1);
  g_assert_cmpuint (vt_wait_closed (a->fe), ==, 0);
}

static void
region_removed_with_a_descriptor (VtAttack *a)
{
  const VtRegion *region = g_ptr_array_index (a->guest->regions, 0);
  VdWireMemReg payload = { .region = { region->gpa, region->size, region->uva,
                                       region->offset } };

  vt_attack_share (a);
  g_assert_cmpint (vt_attack_try (a, VD_REM_MEM_REG, &payload, sizeof payload,
                                  &region->fd, 1),
                   ==, VT_ACKED);
}

/* --- Floods --- */

/* Sends one message again and again until the back-end closes or reads no more.
 * Returns: how many messages went out. */
static guint
flood (VtAttack *a, const void *message, gsize size, guint max)
{
  struct pollfd writable = { .fd = a->fe->fd, .events = POLLOUT };
  guint sent = 0;

  g_assert_no_errno (fcntl (a->fe->fd, F_SETFL, O_NONBLOCK));
  while (sent < max && poll (&writable, 1, 200) == 1) {
    gssize n = send (a->fe->fd, message, size, MSG_NOSIGNAL);

    if (n == (gssize) size)
      sent++;
    else if (n >= 0 || errno != EAGAIN)
      break; /* half a message, or closed */
    if (sent % 10000 == 0)
      vt_attack_witness (a);
  }
  return sent;
}

static void
flood_without_reading_replies (VtAttack *a)
{
  const VdWireHeader header = { VD_GET_FEATURES, VD_WIRE_VERSION, 0 };
  guint n = flood (a, &header, sizeof header, G_MAXUINT);

  /* Socket buffers and a bounded queue hold a few thousand. */
  g_assert_cmpuint (n, >, 0);
  g_assert_cmpuint (n, <, 1000000);
  vt_attack_witness (a);
}

static void
flood_of_long_replies (VtAttack *a)
{
  struct {
    VdWireHeader header;
    VdWireConfig window;
    guint8 bytes[4084];
  } message = {
    { VD_GET_CONFIG, VD_WIRE_VERSION, sizeof (VdWireConfig) + 4084 },
    { .size = 4084 },
    { 0 },
  };

  vt_attack_hello (a);
  g_assert_cmpuint (flood (a, &message, sizeof message, G_MAXUINT), <, 10000);
  vt_attack_witness (a);
}

/* The witness is served while messages come as fast as they are taken. */
static void
flood_of_messages_without_replies (VtAttack *a)
{
  const VdWireHeader header = { VD_SET_OWNER, VD_WIRE_VERSION, 0 };

  for (guint i = 0; i < 20; i++) {
    flood (a, &header, sizeof header, 10000);
    vt_attack_witness (a);
  }
}

static void
flood_of_refused_messages (VtAttack *a)
{
  const VdWireHeader header = { VD_REQUEST_END, VD_WIRE_VERSION, 0 };
  g_autofree char *before = vt_daemon_log (a->daemon);
  g_autofree char *after = NULL;

  for (guint i = 0; i < 10; i++)
    flood (a, &header, sizeof header, 10000);
  vt_attack_witness (a);
  after = vt_daemon_log (a->daemon);
  g_assert_cmpuint (strlen (after) - strlen (before), <, 64 * 1024);
}

/* Messages as fast as they are taken, until @end. */
typedef struct {
  VtFrontend *fe;
  const void *bytes;
  gsize size;
  int fds[VD_MESSAGE_FDS];
  guint n_fds;
  guint n_sent; /* times that @bytes went out */
  atomic_bool end;
} Flood;

static void *
flood_thread (void *data)
{
  Flood *f = data;

  while (!atomic_load (&f->end)) {
    g_assert_true (vt_send_bytes (f->fe, f->bytes, f->size, f->fds, f->n_fds));
    f->n_sent++;
  }
  return NULL;
}

/* Asks another device's front-end @n times.
 * Returns: the mean, not the median: starvation is a few very long waits. */
static gint64
mean_wait (VtAttack *a, guint n)
{
  gint64 begin = g_get_monotonic_time ();

  for (guint i = 0; i < n; i++)
    vt_attack_witness_answers (a);
  return (g_get_monotonic_time () - begin) / n;
}

/* The best of three tries counts, as other programs want the processor too. */
static void
assert_nobody_waits (VtAttack *a, Flood *f)
{
  gint64 best = G_MAXINT64;
  pthread_t thread;

  g_assert_cmpint (pthread_create (&thread, NULL, flood_thread, f), ==, 0);
  for (guint i = 0; i < 3; i++)
    best = MIN (best, mean_wait (a, 500));
  atomic_store (&f->end, TRUE);
  pthread_join (thread, NULL);
  g_test_message ("amid a flood of %u messages: %" G_GINT64_FORMAT
                  " us for a reply",
                  f->n_sent, best);
  g_assert_cmpint (best, <, 2000 * SLOWER);
}

static void
flood_delays_nobody (VtAttack *a)
{
  VdWireHeader headers[64];
  Flood f = { .fe = a->fe, .bytes = headers, .size = sizeof headers };

  for (guint i = 0; i < G_N_ELEMENTS (headers); i++)
    headers[i] = (VdWireHeader){ VD_SET_OWNER, VD_WIRE_VERSION, 0 };
  assert_nobody_waits (a, &f);
}

/* Each message takes the back-end longer than the front-end, so the socket
 * always holds more of them. */
static void
flood_of_costly_messages_delays_nobody (VtAttack *a)
{
  struct {
    VdWireHeader header;
    VdWireMemTable table;
    VdWireRegion regions[VD_MEM_TABLE_MAX];
  } __attribute__ ((packed)) message = {
    .header = { VD_SET_MEM_TABLE, VD_WIRE_VERSION, 8 + 8 * 32 },
    .table = { .n_regions = VD_MEM_TABLE_MAX },
  };
  const VtRegion *r = g_ptr_array_index (a->guest->regions, 0);
  Flood f = { .fe = a->fe,
              .bytes = &message,
              .size = sizeof message,
              .n_fds = VD_MESSAGE_FDS };

  for (guint i = 0; i < VD_MEM_TABLE_MAX; i++) {
    guint64 at = i * 0x10000ul;

    message.regions[i] = (VdWireRegion){ at, 0x1000, at, at };
    f.fds[i] = r->fd;
  }
  assert_nobody_waits (a, &f);
}

int
main (int argc, char **argv)
{
  g_test_init (&argc, &argv, NULL);
#define ADD(path, func) vt_attack_add ("/hostile/framing/" path, func)
  ADD ("two-parts", payload_in_two_parts);
  ADD ("half-header", half_a_header_then_close);
  ADD ("half-payload", half_a_payload_then_close);
  ADD ("oversized", payload_over_the_limit);
  ADD ("version", wrong_version);
  ADD ("random", random_bytes);
  ADD ("leave", connect_and_leave);
  ADD ("second-client", second_client);
  ADD ("fds/stray", eight_stray_descriptors_50_times);
  ADD ("fds/stray-unanswered", stray_descriptors_without_an_answer);
  ADD ("fds/slow", descriptors_that_are_slow_to_close);
  ADD ("fds/too-many", more_descriptors_than_a_message_may_have);
  ADD ("fds/in-payload", descriptors_inside_a_payload);
  ADD ("fds/remove-region", region_removed_with_a_descriptor);
  ADD ("flood/unread", flood_without_reading_replies);
  ADD ("flood/long", flood_of_long_replies);
  ADD ("flood/silent", flood_of_messages_without_replies);
  ADD ("flood/latency", flood_delays_nobody);
  ADD ("flood/costly", flood_of_costly_messages_delays_nobody);
  ADD ("flood/refused", flood_of_refused_messages);
  return vt_attack_main ();
}
