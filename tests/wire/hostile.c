/* SPDX-License-Identifier: BSD-3-Clause */
#include "tests/wire/hostile.h"

#include <glib/gstdio.h>
#include <linux/virtio_config.h>
#include <string.h>
#include <sys/mman.h>
#include <unistd.h>

#include "tests/lib/conversation.h"

#define IMAGE_SIZE (1 << 20)
#define GUEST_SIZE (4 << 20)
#define SECTOR     512

#define BIT(n) (1ull << (n))

/* What attackers ack: a disk's own bits, and rings with INDIRECT_DESC and
 * VERSION_1 but without EVENT_IDX; RING_PACKED if the attack's are. */
#define FEATURES (0xffffff | BIT (28) | BIT (VD_F_PROTOCOL_FEATURES) | BIT (32))
#define PROTOCOL_FEATURES                                                      \
  (BIT (VD_PROTOCOL_F_MQ) | BIT (VD_PROTOCOL_F_REPLY_ACK) |                    \
   BIT (VD_PROTOCOL_F_BACKEND_REQ) | BIT (VD_PROTOCOL_F_CONFIG) |              \
   BIT (VD_PROTOCOL_F_RESET_DEVICE) | BIT (VD_PROTOCOL_F_LOG_SHMFD) |          \
   BIT (VD_PROTOCOL_F_INFLIGHT_SHMFD) |                                        \
   BIT (VD_PROTOCOL_F_CONFIGURE_MEM_SLOTS) | BIT (VD_PROTOCOL_F_STATUS) |      \
   BIT (VD_PROTOCOL_F_DEVICE_STATE) |                                          \
   BIT (VD_PROTOCOL_F_GET_VRING_BASE_INFLIGHT) |                               \
   BIT (VD_PROTOCOL_F_GET_VRING_BASE_SKIP_DRAIN))

/* A device's idle threads stay for some seconds. */
#define THREADS_SLACK 8

/* A front-end that behaves. */
typedef struct {
  VtGuest *guest;
  VtRing *ring;
  VtFrontend *fe;
} Client;

/* One test. */
typedef struct {
  VtAttackFunc func;
  const char *victim; /* device */
  guint ring;         /* index */
  VtRingFlags flags;  /* of the ring */
} Test;

/* One daemon for the whole program. */
static struct {
  VtDaemon *daemon;   /* NULL: not started yet */
  const char *victim; /* of the attack that runs */
  gboolean has_folder;
  Client witness;
  VtUsage usage;       /* with the witness alone */
  guint n_guest_maps;  /* likewise */
  guint64 n_witnessed; /* requests of the witness */
} world;

static void
client_start (Client *client, const char *id)
{
  client->guest = vt_guest_new (GUEST_SIZE);
  client->ring = vt_ring_new (client->guest, 0, VT_ATTACK_RING,
                              VT_RING_EVENT_IDX | VT_RING_INDIRECT);
  client->fe = vt_daemon_connect (world.daemon, id);
  vt_frontend_hello (client->fe, VT_ORDER_QEMU_11, client->guest, &client->ring,
                     1);
  vt_frontend_start (client->fe);
}

static void
client_stop (Client *client)
{
  vt_frontend_stop (client->fe, NULL);
  vt_frontend_free (client->fe);
  vt_ring_free (client->ring);
  vt_guest_free (client->guest);
}

void
vt_attack_read (VtRing *ring, guint64 sector)
{
  guint64 data[SECTOR / sizeof (guint64)];

  g_assert_cmpuint (vt_blk_read (ring, sector, data, sizeof data), ==,
                    VIRTIO_BLK_S_OK);
  for (guint i = 0; i < G_N_ELEMENTS (data); i++)
    g_assert_cmphex (data[i], ==, sector << 8 | i);
}

void
vt_attack_run_uncalled (VtRing *ring, VtBlkRequest *request)
{
  gint64 end = g_get_monotonic_time () + VT_TIMEOUT_MS * 1000ll;

  g_assert_true (vt_blk_add (ring, request));
  vt_ring_publish (ring);
  vt_ring_kick_always (ring);
  while (vt_ring_get (ring, NULL) == NULL) {
    g_assert_cmpint (g_get_monotonic_time (), <, end);
    g_usleep (100);
  }
  g_assert_cmpuint (*request->status, ==, VIRTIO_BLK_S_OK);
}

void
vt_attack_wait_settled (VtAttack *attack)
{
  gint64 end = g_get_monotonic_time () + VT_TIMEOUT_MS * 1000ll;

  while (vt_ring_get (attack->ring, NULL) == NULL &&
         !vt_ring_wait_error (attack->ring, 0)) {
    g_assert_cmpint (g_get_monotonic_time (), <, end);
    g_usleep (100);
  }
}

void
vt_attack_witness (VtAttack *attack)
{
  guint64 in[SECTOR / sizeof (guint64)], out[SECTOR / sizeof (guint64)];
  guint64 sector = ++world.n_witnessed % (IMAGE_SIZE / SECTOR);

  for (guint i = 0; i < G_N_ELEMENTS (out); i++)
    out[i] = world.n_witnessed * 1000 + i;
  g_assert_cmpuint (vt_blk_write (world.witness.ring, sector, out, sizeof out),
                    ==, VIRTIO_BLK_S_OK);
  g_assert_cmpuint (vt_blk_read (world.witness.ring, sector, in, sizeof in), ==,
                    VIRTIO_BLK_S_OK);
  g_assert_cmpmem (in, sizeof in, out, sizeof out);
}

void
vt_attack_witness_answers (VtAttack *attack)
{
  vt_barrier (world.witness.fe);
}

/* Mappings of files that front-ends sent. */
static guint
count_guest_maps (void)
{
  g_autofree char *path = g_strdup_printf ("/proc/%d/maps", world.daemon->pid);
  g_autofree char *text = NULL;
  guint n = 0;

  g_assert_true (g_file_get_contents (path, &text, NULL, NULL));
  for (const char *at = text; (at = strstr (at, "/memfd:")); at++)
    n++;
  return n;
}

/* A whole life of a good front-end at the victim's socket. */
static void
use_victim (void)
{
  Client client;

  client_start (&client, "victim");
  vt_attack_read (client.ring, 7);
  client_stop (&client);
}

static void
add_folder (void)
{
  g_autofree char *folder = vt_daemon_path (world.daemon, "folder");

  g_assert_no_errno (g_mkdir (folder, 0755));
  vt_daemon_add (world.daemon, "folder", "fs", "source", folder, "tag",
                 "folder", NULL);
}

static void
world_start (void)
{
  g_autofree char *victim = NULL, *witness = NULL;
  g_autofree char *queues = g_strdup_printf ("%d", VT_ATTACK_QUEUES);

  world.daemon = vt_daemon_new ();
  victim = vt_daemon_image (world.daemon, "victim.img", IMAGE_SIZE);
  witness = vt_daemon_image (world.daemon, "witness.img", IMAGE_SIZE);
  vt_daemon_add (world.daemon, "victim", "blk", "image", victim, "queues",
                 queues, NULL);
  vt_daemon_add (world.daemon, "witness", "blk", "image", witness, NULL);
  if (world.has_folder)
    add_folder ();
  vt_daemon_setenv (world.daemon, "G_DEBUG", "fatal-criticals");
  vt_daemon_start (world.daemon);
  client_start (&world.witness, "witness");
  vt_attack_witness (NULL);
  world.usage = vt_daemon_usage (world.daemon);
  world.n_guest_maps = count_guest_maps ();
  use_victim (); /* what is allocated once and kept may be */
  g_assert_cmpuint (world.usage.n_fds, >, 0);
  world.usage.n_maps += VT_MAPS_SLACK;
  world.usage.n_threads += THREADS_SLACK;
  vt_daemon_wait_usage (world.daemon, world.usage);
}

static void
world_stop (void)
{
  if (world.daemon == NULL)
    return;
  client_stop (&world.witness);
  vt_daemon_stop (world.daemon);
  vt_daemon_free (world.daemon);
}

static void
wait_guest_maps (void)
{
  gint64 end = g_get_monotonic_time () + VT_TIMEOUT_MS * 1000ll;

  while (count_guest_maps () != world.n_guest_maps) {
    g_assert_cmpint (g_get_monotonic_time (), <, end);
    g_usleep (1000);
  }
}

static void
check_world (void)
{
  vt_attack_witness (NULL);
  use_victim ();
  vt_attack_witness (NULL);
  vt_daemon_wait_usage (world.daemon, world.usage);
  wait_guest_maps ();
}

static void
run_attack (gconstpointer data)
{
  const Test *test = data;
  VtAttack attack = { 0 };

  if (world.daemon == NULL)
    world_start ();
  attack.daemon = world.daemon;
  attack.guest = vt_guest_new (GUEST_SIZE);
  attack.ring =
      vt_ring_new (attack.guest, test->ring, VT_ATTACK_RING, test->flags);
  world.victim = test->victim;
  attack.fe = vt_daemon_connect (world.daemon, test->victim);
  test->func (&attack);
  vt_frontend_free (attack.fe);
  vt_ring_free (attack.ring);
  vt_guest_free (attack.guest);
  check_world ();
}

static void
add_test (const char *path, Test test)
{
  g_test_add_data_func_full (path, g_memdup2 (&test, sizeof test), run_attack,
                             g_free);
}

void
vt_attack_add (const char *path, VtAttackFunc func)
{
  add_test (path, (Test){ .func = func, .victim = "victim" });
}

void
vt_attack_add_packed (const char *path, VtAttackFunc func)
{
  add_test (
      path,
      (Test){ .func = func, .victim = "victim", .flags = VT_RING_PACKED });
}

void
vt_attack_add_folder (const char *path, VtAttackFunc func)
{
  world.has_folder = TRUE;
  add_test (path, (Test){ .func = func, .victim = "folder", .ring = 1 });
}

int
vt_attack_main (void)
{
  int result = g_test_run ();

  world_stop ();
  return result;
}

void
vt_attack_reconnect (VtAttack *attack)
{
  vt_frontend_free (attack->fe);
  attack->fe = vt_daemon_connect (attack->daemon, world.victim);
}

void
vt_attack_hello (VtAttack *attack)
{
  VtFrontend *fe = attack->fe;
  guint64 features = FEATURES;

  if (attack->ring->flags & VT_RING_PACKED)
    features |= BIT (VIRTIO_F_RING_PACKED);
  vt_set_owner (fe);
  vt_get_features (fe);
  g_assert_true (vt_set_protocol_features (fe, vt_get_protocol_features (fe) &
                                                   PROTOCOL_FEATURES));
  fe->reply_mode = VT_REPLY_SETS;
  g_assert_true (vt_set_features (fe, fe->features & features));
}

void
vt_attack_share (VtAttack *attack)
{
  vt_attack_hello (attack);
  g_assert_true (vt_set_mem_table (attack->fe, attack->guest,
                                   attack->guest->regions->len));
}

void
vt_attack_describe (VtAttack *attack)
{
  VtRing *ring = attack->ring;

  vt_attack_share (attack);
  g_assert_true (vt_set_vring_num (attack->fe, ring->index, ring->size));
  g_assert_true (
      vt_set_vring_base (attack->fe, ring->index, vt_ring_base (ring)));
  g_assert_true (vt_set_vring_addr (attack->fe, ring));
  g_assert_true (vt_set_vring_call (attack->fe, ring->index, ring->call_fd));
  g_assert_true (vt_set_vring_err (attack->fe, ring->index, ring->err_fd));
}

void
vt_attack_start (VtAttack *attack)
{
  VtRing *ring = attack->ring;

  vt_attack_describe (attack);
  g_assert_true (vt_set_vring_kick (attack->fe, ring->index, ring->kick_fd));
  g_assert_true (vt_set_vring_enable (attack->fe, ring->index, TRUE));
  vt_attack_read (ring, 1);
}

VtOutcome
vt_attack_try (VtAttack *attack, guint32 request, const void *payload,
               guint32 size, const int *fds, guint n_fds)
{
  guint8 reply[VD_PAYLOAD_MAX] = { 0 };
  VdWireHeader header;
  guint64 ack;

  if (!vt_send (attack->fe, request, VD_WIRE_VERSION | VD_FLAG_NEED_REPLY,
                payload, size, fds, n_fds) ||
      vt_receive_bytes (attack->fe, &header, sizeof header, NULL) <
          sizeof header)
    return VT_CLOSED;
  g_assert_cmpuint (header.request, ==, request);
  g_assert_cmphex (header.flags, ==, VD_REPLY_FLAGS);
  g_assert_cmpuint (header.size, <=, sizeof reply);
  g_assert_cmpuint (vt_receive_bytes (attack->fe, reply, header.size, NULL), ==,
                    header.size);
  memcpy (&ack, reply, sizeof ack);
  switch (request) {
  case VD_GET_FEATURES:
  case VD_GET_VRING_BASE:
  case VD_GET_PROTOCOL_FEATURES:
  case VD_GET_QUEUE_NUM:
  case VD_GET_CONFIG:
  case VD_GET_MAX_MEM_SLOTS:
  case VD_SET_LOG_BASE:
  case VD_GET_STATUS:
  case VD_GET_INFLIGHT_FD:
  case VD_SET_DEVICE_STATE_FD:
  case VD_CHECK_DEVICE_STATE:
  case VD_GET_VRING_BASE_SKIP_DRAIN: return VT_ACKED;
  default: break;
  }
  g_assert_cmpuint (header.size, ==, sizeof ack);
  return ack == 0 ? VT_ACKED : VT_NACKED;
}

VtOutcome
vt_attack_try_u64 (VtAttack *attack, guint32 request, guint64 value, int fd)
{
  return vt_attack_try (attack, request, &value, sizeof value, &fd, fd >= 0);
}

VtOutcome
vt_attack_try_state (VtAttack *attack, guint32 request, guint32 index,
                     guint32 num)
{
  VdWireVringState state = { index, num };

  return vt_attack_try (attack, request, &state, sizeof state, NULL, 0);
}

VtOutcome
vt_attack_try_slot (VtAttack *attack, guint32 request,
                    const VdWireRegion *region, int fd)
{
  VdWireMemReg payload = { .region = *region };

  return vt_attack_try (attack, request, &payload, sizeof payload, &fd,
                        fd >= 0);
}

int
vt_attack_new_file (gsize size)
{
  int fd = memfd_create ("attack", MFD_CLOEXEC | MFD_ALLOW_SEALING);

  g_assert_no_errno (fd);
  g_assert_no_errno (ftruncate (fd, (off_t) size));
  return fd;
}

/* Later requests use other memory than earlier ones.  ThreadSanitizer does not
 * see that a driver waited for one queue before it gave memory to another. */
static void
use_fresh_memory (VtAttack *attack)
{
  vt_guest_alloc (attack->guest, 4096, 4096);
}

void
vt_attack_restart (VtAttack *attack)
{
  VtRing *ring = attack->ring;

  vt_get_vring_base (attack->fe, ring->index);
  vt_ring_reset (ring, 0);
  g_assert_true (
      vt_set_vring_base (attack->fe, ring->index, vt_ring_base (ring)));
  g_assert_true (vt_set_vring_kick (attack->fe, ring->index, ring->kick_fd));
}

void
vt_attack_settle (VtAttack *attack)
{
  vt_attack_witness (attack);
  vt_attack_restart (attack);
  vt_attack_read (attack->ring, 1);
}

void
vt_attack_expect_broken (VtAttack *attack)
{
  VtFrontend *fe = attack->fe;
  VtRing *other = vt_ring_new (attack->guest, 1, 16, attack->ring->flags);

  g_assert_true (vt_ring_wait_error (attack->ring, VT_TIMEOUT_MS));
  vt_attack_witness (attack);
  use_fresh_memory (attack);

  /* Another ring of the same device. */
  g_assert_true (vt_set_vring_num (fe, other->index, other->size));
  g_assert_true (vt_set_vring_base (fe, other->index, vt_ring_base (other)));
  g_assert_true (vt_set_vring_addr (fe, other));
  g_assert_true (vt_set_vring_call (fe, other->index, other->call_fd));
  g_assert_true (vt_set_vring_kick (fe, other->index, other->kick_fd));
  g_assert_true (vt_set_vring_enable (fe, other->index, TRUE));
  vt_attack_read (other, 2);
  use_fresh_memory (attack);

  /* The same ring, by a driver that was reset. */
  vt_attack_restart (attack);
  vt_attack_read (attack->ring, 3);
  vt_get_vring_base (fe, other->index);
  vt_ring_free (other);
}
