/* SPDX-License-Identifier: BSD-3-Clause
 *
 * sync-blk.c - a disk as plain as it can be, for contrib/bench to compare with
 *
 *   sync-blk SOCKET IMAGE
 *
 * A thread waits for each queue's kicks, takes requests one at a time as
 * element-loop.c does, makes one preadv or pwritev for each where it was taken,
 * and gives it back at once.  On data in the page cache that beats what hands
 * requests to threads or to a ring of the kernel.  It shares nothing with virtiod
 * but the names of messages, trusts its front-end and serves one connection.
 */
#include <errno.h>
#include <fcntl.h>
#include <linux/virtio_blk.h>
#include <linux/virtio_config.h>
#include <pthread.h>
#include <stdatomic.h>
#include <stdio.h>
#include <stdlib.h>
#include <string.h>
#include <sys/mman.h>
#include <sys/socket.h>
#include <sys/stat.h>
#include <sys/uio.h>
#include <unistd.h>

#include "protocol/wire.h"
#include "tests/bench/element-loop.h"
#include "tests/lib/socket.h"

#define QUEUES 16
#define SECTOR 512

typedef struct {
  ElementLoop loop;
  int kick_fd, disk_fd;
  pthread_t thread;
  bool running;
  atomic_bool stopping;
} Queue;

typedef struct {
  guint64 gpa, size, uva;
  guint8 *at;
} Region;

typedef struct {
  guint32 padding; /* so that no byte lies between header and payload */
  VdWireHeader header;
  union {
    guint8 bytes[VD_PAYLOAD_MAX];
    guint64 u64;
    VdWireVringState state;
    VdWireVringAddr addr;
    VdWireMemTable table;
    VdWireConfig config;
  };
  guint n_fds;
  int fds[VD_MESSAGE_FDS];
} Message;

static struct {
  int fd; /* the image */
  struct virtio_blk_config config;
  Queue queues[QUEUES];
  guint n_regions;
  Region regions[ELEMENT_REGIONS];
} disk;

/* Requests. */

static guint8
run (Queue *queue, const Element *element, guint32 *written)
{
  const struct virtio_blk_outhdr *header = element->out[0].iov_base;
  off_t offset = (off_t) header->sector * SECTOR;
  guint n_in = element->n_in;
  ssize_t n = 0;

  element->in[n_in - 1].iov_len--; /* the status */
  if (element->in[n_in - 1].iov_len == 0)
    n_in--;
  switch (header->type) {
  case VIRTIO_BLK_T_IN:
    n = preadv (queue->disk_fd, element->in, (int) n_in, offset);
    *written += n > 0 ? (guint32) n : 0;
    break;
  case VIRTIO_BLK_T_OUT:
    n = pwritev (queue->disk_fd, element->out + 1, (int) element->n_out - 1,
                 offset);
    break;
  case VIRTIO_BLK_T_FLUSH: n = fdatasync (queue->disk_fd); break;
  default: return VIRTIO_BLK_S_UNSUPP;
  }
  return n < 0 ? VIRTIO_BLK_S_IOERR : VIRTIO_BLK_S_OK;
}

static void
serve (Queue *queue, Element *element)
{
  const struct iovec *last = &element->in[element->n_in - 1];
  guint8 *status = (guint8 *) last->iov_base + last->iov_len - 1;
  guint32 written = 1;

  *status = run (queue, element, &written);
  element_loop_push (&queue->loop, element, written);
  element_loop_notify (&queue->loop);
  free (element);
}

static void *
queue_thread (void *data)
{
  Queue *queue = data;
  guint64 n_kicks;
  Element *element;

  while (read (queue->kick_fd, &n_kicks, sizeof n_kicks) > 0 &&
         !atomic_load (&queue->stopping))
    while ((element = element_loop_pop (&queue->loop, sizeof *element)) != NULL)
      serve (queue, element);
  return NULL;
}

static void
start (Queue *queue)
{
  int flags = fcntl (queue->kick_fd, F_GETFL);

  if (queue->running)
    return;
  fcntl (queue->kick_fd, F_SETFL, flags & ~O_NONBLOCK);
  queue->disk_fd = disk.fd;
  queue->running = true;
  atomic_store (&queue->stopping, false);
  if (pthread_create (&queue->thread, NULL, queue_thread, queue) != 0)
    g_error ("no thread");
}

static void
stop (Queue *queue)
{
  guint64 one = 1;

  if (!queue->running)
    return;
  atomic_store (&queue->stopping, true);
  if (write (queue->kick_fd, &one, sizeof one) < 0)
    g_error ("kick: %s", g_strerror (errno));
  pthread_join (queue->thread, NULL);
  queue->running = false;
}

/* Messages. */

static void *
find (guint64 uva)
{
  for (guint i = 0; i < disk.n_regions; i++)
    if (uva - disk.regions[i].uva < disk.regions[i].size)
      return disk.regions[i].at + (uva - disk.regions[i].uva);
  g_error ("no memory at %" G_GINT64_MODIFIER "x", uva);
}

static void
set_memory (const Message *message)
{
  const VdWireMemTable *table = &message->table;

  disk.n_regions = table->n_regions;
  for (guint i = 0; i < table->n_regions; i++) {
    const VdWireRegion *wire = &table->regions[i];
    guint8 *at = mmap (NULL, wire->offset + wire->size, PROT_READ | PROT_WRITE,
                       MAP_SHARED, message->fds[i], 0);

    if (at == MAP_FAILED)
      g_error ("mmap: %s", g_strerror (errno));
    close (message->fds[i]);
    disk.regions[i] =
        (Region){ wire->gpa, wire->size, wire->uva, at + wire->offset };
  }
}

static void
set_addresses (const VdWireVringAddr *addr)
{
  ElementLoop *loop = &disk.queues[addr->index].loop;

  loop->desc = find (addr->desc);
  loop->avail = find (addr->avail);
  loop->used = find (addr->used);
  loop->used_idx = loop->used->idx;
  loop->n_regions = disk.n_regions;
  for (guint i = 0; i < disk.n_regions; i++)
    loop->regions[i] =
        (ElementRegion){ disk.regions[i].gpa, disk.regions[i].size,
                         disk.regions[i].at };
}

static guint
answer_u64 (Message *message, guint64 value)
{
  message->u64 = value;
  return sizeof value;
}

static guint
answer_config (Message *message)
{
  VdWireConfig *window = &message->config;
  guint end = window->offset + window->size;

  memset (window->payload, 0, window->size);
  if (window->offset < sizeof disk.config)
    memcpy (window->payload, (guint8 *) &disk.config + window->offset,
            MIN (end, sizeof disk.config) - window->offset);
  return (guint) sizeof *window + window->size;
}

/* Returns: bytes of the answer; 0: it has none of its own. */
static guint
handle (Message *message)
{
  Queue *queue = &disk.queues[message->state.index % QUEUES];

  switch (message->header.request) {
  case VD_GET_FEATURES:
    return answer_u64 (
        message, 1ull << VIRTIO_F_VERSION_1 | 1ull << VIRTIO_RING_F_EVENT_IDX |
                     1ull << VIRTIO_RING_F_INDIRECT_DESC |
                     1ull << VIRTIO_BLK_F_MQ | 1ull << VIRTIO_BLK_F_FLUSH |
                     1ull << VIRTIO_BLK_F_SEG_MAX |
                     1ull << VD_F_PROTOCOL_FEATURES);
  case VD_SET_FEATURES:
    for (guint i = 0; i < QUEUES; i++)
      disk.queues[i].loop.features = message->u64;
    return 0;
  case VD_GET_PROTOCOL_FEATURES:
    return answer_u64 (message, 1ull << VD_PROTOCOL_F_MQ |
                                    1ull << VD_PROTOCOL_F_CONFIG |
                                    1ull << VD_PROTOCOL_F_REPLY_ACK);
  case VD_GET_QUEUE_NUM: return answer_u64 (message, QUEUES);
  case VD_GET_CONFIG: return answer_config (message);
  case VD_SET_MEM_TABLE: set_memory (message); return 0;
  case VD_SET_VRING_NUM: queue->loop.size = message->state.num; return 0;
  case VD_SET_VRING_BASE:
    queue->loop.last_avail = queue->loop.shadow_avail =
        (guint16) message->state.num;
    return 0;
  case VD_SET_VRING_ADDR: set_addresses (&message->addr); return 0;
  case VD_SET_VRING_KICK: queue->kick_fd = message->fds[0]; return 0;
  case VD_SET_VRING_CALL: queue->loop.call_fd = message->fds[0]; return 0;
  case VD_SET_VRING_ENABLE:
    if (message->state.num != 0)
      start (queue);
    return 0;
  case VD_GET_VRING_BASE:
    stop (queue);
    message->state.num = queue->loop.last_avail;
    return sizeof message->state;
  default: return 0;
  }
}

static void
take_fds (Message *message, struct msghdr *from)
{
  message->n_fds = 0;
  for (struct cmsghdr *cmsg = CMSG_FIRSTHDR (from); cmsg != NULL;
       cmsg = CMSG_NXTHDR (from, cmsg)) {
    message->n_fds = (guint) ((cmsg->cmsg_len - CMSG_LEN (0)) / sizeof (int));
    memcpy (message->fds, CMSG_DATA (cmsg), message->n_fds * sizeof (int));
  }
}

/* Returns: FALSE if the connection ended. */
static bool
receive (int fd, Message *message)
{
  union {
    struct cmsghdr align;
    char bytes[CMSG_SPACE (sizeof message->fds)];
  } control;
  struct iovec iov = { &message->header, sizeof message->header };
  struct msghdr msg = { .msg_iov = &iov,
                        .msg_iovlen = 1,
                        .msg_control = &control,
                        .msg_controllen = sizeof control };
  guint32 len;

  if (recvmsg (fd, &msg, MSG_WAITALL) != sizeof message->header)
    return false;
  take_fds (message, &msg);
  len = message->header.size;
  return len <= VD_PAYLOAD_MAX &&
         (len == 0 ||
          recv (fd, message->bytes, len, MSG_WAITALL) == (ssize_t) len);
}

static void
converse (int fd)
{
  Message message;

  while (receive (fd, &message)) {
    guint len = handle (&message);

    if (len == 0 && message.header.flags & VD_FLAG_NEED_REPLY)
      len = answer_u64 (&message, 0);
    if (len == 0)
      continue;
    message.header.flags = VD_REPLY_FLAGS;
    message.header.size = len;
    if (!vt_socket_send (fd, &message.header, sizeof message.header + len, NULL, 0))
      return;
  }
}

int
main (int argc, char **argv)
{
  struct stat st;

  if (argc != 3) {
    fprintf (stderr, "usage: sync-blk SOCKET IMAGE\n");
    return EXIT_FAILURE;
  }
  disk.fd = open (argv[2], O_RDWR | O_CLOEXEC);
  if (disk.fd < 0 || fstat (disk.fd, &st) < 0) {
    fprintf (stderr, "sync-blk: %s: %s\n", argv[2], g_strerror (errno));
    return EXIT_FAILURE;
  }
  disk.config.capacity = GUINT64_TO_LE ((guint64) st.st_size / SECTOR);
  disk.config.seg_max = GUINT32_TO_LE (126);
  disk.config.num_queues = GUINT16_TO_LE (QUEUES);
  converse (vt_accept (vt_listen (argv[1])));
  return EXIT_SUCCESS;
}
