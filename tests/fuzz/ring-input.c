/* SPDX-License-Identifier: BSD-3-Clause */
#include "tests/fuzz/ring-input.h"

#include <linux/virtio_config.h>
#include <sys/mman.h>

#include "vring/queue-private.h"

#define INFLIGHT_SIZE 256 /* entries */
#define INDEX_REACH   (65536 * sizeof (VdInflightPackedDesc))
#define CHAINS_MAX    512 /* of one input, so that it ends soon */
#define TURNS_MAX     64
#define CHAINS_HELD   2048 /* entries of the largest ring that fits in memory */

#define PAGE       0x1000u
#define MEMORY_LEN 0xb000u /* bytes of the file, which the regions share out */
#define FAR_LEN    0xf08u  /* of its last page */
#define DIRTY_LEN  2u      /* bytes; the region that is far away has no bit */

/* Guest memory: at first two regions that touch and one far away; then what a
 * front-end may make of it while the ring runs: less, more again, and the same
 * file at other addresses. */
static const VdRegionInfo memories[][3] = {
  { { .gpa = 0, .size = 0x8000, .uva = 0x10000, .offset = 0 },
    { .gpa = 0x8000, .size = 0x2000, .uva = 0x40000, .offset = 0x8000 },
    { .gpa = 1ull << 40, .size = FAR_LEN, .uva = 0x80000, .offset = 0xa000 } },
  { { .gpa = 0, .size = 0x8000, .uva = 0x10000, .offset = 0 } },
  { { .gpa = 0x8000, .size = 0x8000, .uva = 0x10000, .offset = 0 },
    { .gpa = 0, .size = 0x2000, .uva = 0x40000, .offset = 0x8000 } },
  { { .gpa = 0x8000, .size = 0x2000, .uva = 0x10000, .offset = 0x8000 },
    { .gpa = 0xa000, .size = FAR_LEN, .uva = 0x80000, .offset = 0xa000 } },
};

typedef struct {
  guint8 *bytes;
  VdInflight *inflight;
} Kept;

/* Made once, for all inputs. */
static struct {
  guint8 *memory; /* the driver's view */
  VdMap *maps[G_N_ELEMENTS (memories)];
  VdDirty *dirty;
  Kept kept[2]; /* in-flight memory, split and packed */
  VdMailbox *control;
} guest;

/* One input. */
typedef struct {
  FzRingHeader header;
  FzInput rest; /* what the driver writes later */
  gboolean packed;
  VdInflight *inflight;
  VdQueue *queue;
  VdChain *held[CHAINS_HELD];
  guint n_held, n_chains;
  VdQueueCommand command; /* of the front-end, one at a time */
  gboolean commanded;     /* it is under way */
} Run;

/* The caller's thread is CONTROL and QUEUE: mail to a worker runs at once.
 * These take the place of worker.c, which would start a thread. */
void
vd_worker_post (VdWorker *worker, VdMail *mail)
{
  mail->run (mail);
}

void
vd_worker_add_queue (VdWorker *worker, VdQueue *queue)
{
}

void
vd_worker_use_memory (VdWorker *worker, const VdMap *map)
{
}

static int
make_memfd (const char *name, gsize len)
{
  int fd = memfd_create (name, MFD_CLOEXEC);

  g_assert_cmpint (fd, >=, 0);
  g_assert_cmpint (ftruncate (fd, (off_t) len), ==, 0);
  return fd;
}

static guint8 *
map_memfd (const char *name, gsize len, int *ret_fd)
{
  void *bytes;

  *ret_fd = make_memfd (name, len);
  bytes = mmap (NULL, len, PROT_READ | PROT_WRITE, MAP_SHARED, *ret_fd, 0);
  g_assert_true (bytes != MAP_FAILED);
  return bytes;
}

static VdMap *
make_map (const VdRegionInfo *regions, int fd)
{
  VdMap *map = vd_map_new ();

  for (guint i = 0; i < G_N_ELEMENTS (memories[0]) && regions[i].size; i++) {
    VdMap *next = vd_map_add (map, &regions[i], fd, NULL);

    g_assert_nonnull (next);
    vd_map_unref (map);
    map = next;
  }
  return map;
}

static void
make_memory (void)
{
  guint64 len = FAR_LEN;
  guint8 *far;
  int fd;

  guest.memory = map_memfd ("fuzz-guest", MEMORY_LEN, &fd);
  for (guint i = 0; i < G_N_ELEMENTS (memories); i++)
    guest.maps[i] = make_map (memories[i], fd);
  close (fd);
  far = vd_map_gpa (guest.maps[0], 1ull << 40, &len);
  fz_forbid (far + FAR_LEN, PAGE - FAR_LEN);
}

static void
make_dirty (void)
{
  int fd;

  map_memfd ("fuzz-dirty", DIRTY_LEN, &fd);
  guest.dirty = vd_dirty_new (fd, 0, DIRTY_LEN, NULL);
  g_assert_nonnull (guest.dirty);
  close (fd);
}

static gsize
inflight_len (gboolean packed)
{
  return packed ? sizeof (VdInflightPacked) +
                      INFLIGHT_SIZE * sizeof (VdInflightPackedDesc)
                : sizeof (VdInflightSplit) +
                      INFLIGHT_SIZE * sizeof (VdInflightSplitDesc);
}

/* Makes in-flight memory with nothing behind it for as far as an index can
 * reach: it is larger than it has to be, and the rest is out of reach. */
static VdInflight *
inflight_before_nothing (gboolean packed)
{
  const gsize len = (inflight_len (packed) + PAGE - 1) / PAGE * PAGE;
  const VdInflightInfo info = {
    .size = len + INDEX_REACH,
    .n_queues = 1,
    .queue_size = INFLIGHT_SIZE,
  };
  int fd = make_memfd ("fuzz-inflight", info.size);
  VdInflight *inflight = vd_inflight_map (&info, packed, fd, NULL);
  guint8 *bytes;

  g_assert_nonnull (inflight);
  close (fd);
  bytes = vd_inflight_part (inflight, 0, INFLIGHT_SIZE, packed);
  g_assert_cmpint (mprotect (bytes + len, INDEX_REACH, PROT_NONE), ==, 0);
  return inflight;
}

static void
make_inflight (gboolean packed)
{
  Kept *kept = &guest.kept[packed];
  gsize len = inflight_len (packed);

  kept->inflight = inflight_before_nothing (packed);
  kept->bytes = vd_inflight_part (kept->inflight, 0, INFLIGHT_SIZE, packed);
  fz_forbid (kept->bytes + len, -len % PAGE);
}

static void
make_guest (void)
{
  if (guest.memory != NULL)
    return;
  make_memory ();
  make_dirty ();
  make_inflight (FALSE);
  make_inflight (TRUE);
  guest.control = vd_mailbox_new ();
  g_assert_nonnull (guest.control);
}

/* The device. */

static const VdRegionInfo *
regions_of (const VdMap *map)
{
  guint i = 0;

  while (guest.maps[i] != map)
    i++;
  return memories[i];
}

/* Whether the buffer lies in the memory that its chain was popped with. */
static gboolean
lies_in_memory (const VdMap *map, const struct iovec *iov)
{
  const VdRegionInfo *regions = regions_of (map);
  guintptr start = (guintptr) iov->iov_base;

  for (guint i = 0; i < G_N_ELEMENTS (memories[0]) && regions[i].size; i++) {
    guint64 len = regions[i].size;
    guintptr hva = (guintptr) vd_map_gpa (map, regions[i].gpa, &len);

    if (start >= hva && start - hva < regions[i].size &&
        iov->iov_len <= regions[i].size - (start - hva))
      return TRUE;
  }
  return FALSE;
}

static void
check_list (const VdMap *map, const struct iovec *iov, guint n, guint64 len)
{
  guint64 sum = 0;

  for (guint i = 0; i < n; i++) {
    g_assert_cmpuint (iov[i].iov_len, >, 0);
    g_assert_true (lies_in_memory (map, &iov[i]));
    sum += iov[i].iov_len;
  }
  g_assert_cmpuint (sum, ==, len);
}

/* The guest may have put its ring under a buffer. */
static void
write_to (const VdChain *chain)
{
  for (guint i = 0; i < chain->n_in; i++) {
    guint8 *bytes = chain->in[i].iov_base;

    bytes[0] ^= 0x55;
    bytes[chain->in[i].iov_len - 1] ^= 0xaa;
  }
}

static guint
wants (VdQueue *queue, gpointer user_data)
{
  const Run *run = user_data;
  guint max = run->header.wants == 0 ? VD_BATCH_MAX : run->header.wants;

  return queue->stopping ? max : MIN (max, CHAINS_MAX - run->n_chains);
}

static void
handle (VdQueue *queue, VdChain **chains, guint n_chains, gpointer user_data)
{
  Run *run = user_data;

  g_assert_cmpuint (run->n_held + n_chains, <=, queue->size);
  for (guint i = 0; i < n_chains; i++) {
    VdChain *chain = chains[i];

    g_assert_true (chain->queue == queue);
    g_assert_true (run->packed || chain->id < queue->size);
    g_assert_cmpuint (chain->n_out + chain->n_in, <=, VD_CHAIN_IOV);
    check_list (chain->epoch->map, chain->out, chain->n_out, chain->out_len);
    check_list (chain->epoch->map, chain->in, chain->n_in, chain->in_len);
    memset (chain->request, 0xff, queue->ops->request_size);
    write_to (chain);
    run->held[run->n_held++] = chain;
  }
  run->n_chains += n_chains;
}

static const VdQueueOps ops = { .request_size = 64,
                                .wants = wants,
                                .handle = handle };

/* Completes the @n chains that are held for the longest, or all. */
static void
complete (Run *run, guint n)
{
  gboolean reverse = (run->header.flags & FZ_RING_REVERSE) != 0;

  for (guint i = 0; i < n; i++) {
    VdChain *chain = run->held[reverse ? n - 1 - i : i];

    vd_chain_complete (chain, (guint32) chain->in_len);
  }
  run->n_held -= n;
  memmove (run->held, run->held + n, run->n_held * sizeof *run->held);
}

/* The front-end. */

static void
on_command_done (VdQueueCommand *command, int result)
{
  Run *run = command->user_data;

  g_assert_true (result == 0 || run->queue->broken);
  vd_map_unref (command->map);
  vd_dirty_unref (command->dirty);
  run->commanded = FALSE;
}

static void
post (Run *run, VdQueueCommand command)
{
  g_assert_false (run->commanded);
  run->commanded = TRUE;
  run->command = command;
  run->command.done = on_command_done;
  run->command.user_data = run;
  vd_queue_command (run->queue, &run->command);
}

/* Switches the ring off or on, or changes memory and log. */
static void
command_later (Run *run, guint what)
{
  gboolean logs = (what & 1) != 0;
  VdMap *map = guest.maps[what / 4 % G_N_ELEMENTS (guest.maps)];

  if (run->commanded)
    return; /* waits for chains in flight, and so does the front-end */
  if (what & 2)
    post (run, (VdQueueCommand){ .type = VD_QUEUE_ENABLE, .value = logs });
  else
    post (run, (VdQueueCommand){
                   .type = VD_QUEUE_MEMORY,
                   .map = vd_map_ref (map),
                   .dirty = logs ? vd_dirty_ref (guest.dirty) : NULL,
                   .value = (run->header.flags & FZ_RING_LOG) != 0,
               });
}

/* The other side does something between two turns.  Returns: whether it did. */
static gboolean
act_later (Run *run)
{
  guint16 at;
  FzInput part;

  if (run->rest.len <= 3)
    return FALSE;
  fz_take (&run->rest, &at, sizeof at);
  at = GUINT16_FROM_LE (at);
  if (at >= MEMORY_LEN) {
    command_later (run, at);
    return TRUE;
  }
  part = fz_take_part (&run->rest, fz_take_u8 (&run->rest));
  if (part.len > 0)
    memcpy (guest.memory + at, part.at, MIN (part.len, MEMORY_LEN - at));
  return TRUE;
}

/* The life of one queue. */

static VdQueue *
start (Run *run, guint32 base)
{
  const FzRingHeader *header = &run->header;
  const guint64 features =
      (header->flags & FZ_RING_EVENT_IDX ? 1ull << VIRTIO_RING_F_EVENT_IDX
                                         : 0) |
      (run->packed ? 1ull << VIRTIO_F_RING_PACKED : 0);
  const VdQueueSetup setup = {
    .size = header->size,
    .desc = header->desc,
    .avail = header->avail,
    .used = header->used,
    .base = base,
    .features = features,
    .enabled = TRUE,
    .map = guest.maps[0],
    .dirty = header->flags & FZ_RING_DIRTY ? guest.dirty : NULL,
    .dirty_ring = (header->flags & FZ_RING_LOG) != 0,
    .inflight = run->inflight,
    .kick_fd = header->flags & FZ_RING_POLL ? -1 : STDIN_FILENO, /* not used */
    .call = VD_NOTIFIER_INIT,
    .err = VD_NOTIFIER_INIT,
  };
  g_autoptr (GError) error = NULL;
  VdQueue *queue = vd_queue_new (&setup, &ops, run, guest.control, &error);

  g_assert_true ((queue == NULL) == (error != NULL));
  if (queue != NULL)
    vd_queue_started (queue);
  if (queue != NULL && queue->refused != NULL)
    g_clear_pointer (&queue, vd_queue_free);
  return queue;
}

/* Turns until neither side has anything to do. */
static void
take_turns (Run *run, guint n_turns)
{
  for (guint i = 0; i < n_turns && !run->queue->broken; i++) {
    guint n_before = run->n_held;
    gboolean busy = vd_queue_turn (run->queue);

    complete (run, run->header.flags & FZ_RING_HOLD ? n_before : run->n_held);
    busy |= !vd_queue_sleep (run->queue);
    busy |= run->n_held > 0;
    busy |= act_later (run);
    vd_mailbox_drain (guest.control);
    vd_queue_wake (run->queue);
    if (!busy)
      return;
  }
}

static void
stop (Run *run)
{
  complete (run, run->n_held); /* what a command may wait for */
  vd_mailbox_drain (guest.control);
  post (run, (VdQueueCommand){ .type = VD_QUEUE_STOP });
  take_turns (run, TURNS_MAX);
  complete (run, run->n_held);
  while (!vd_queue_stopped (run->queue)) {
    vd_queue_turn (run->queue); /* submits again what a predecessor left */
    complete (run, run->n_held);
  }
  vd_queue_detached (run->queue);
  vd_mailbox_drain (guest.control);
  g_assert_false (run->commanded);
  for (guint i = 0; i < G_N_ELEMENTS (run->queue->epochs); i++)
    g_assert_cmpuint (run->queue->epochs[i].in_flight, ==, 0);
}

/* The process dies with what it holds, and another begins. */
static VdQueue *
replace (Run *run)
{
  guint32 base = run->queue->ring_ops->base (run->queue);

  vd_queue_free (run->queue);
  run->n_held = 0;
  run->commanded = FALSE;
  return start (run, base);
}

static void
serve (Run *run)
{
  run->queue = start (run, run->header.base);
  if (run->queue == NULL)
    return;
  if (run->header.flags & FZ_RING_KILL) {
    take_turns (run, 2);
    run->queue = replace (run);
    if (run->queue == NULL)
      return;
  }
  take_turns (run, TURNS_MAX);
  stop (run);
  vd_queue_free (run->queue);
}

static void
fill (guint8 *to, gsize len, FzInput from)
{
  gsize n = MIN (len, from.len);

  if (n > 0)
    memcpy (to, from.at, n);
  memset (to + n, 0, len - n);
}

static void
take_header (Run *run)
{
  FzRingHeader *header = &run->header;

  fz_take (&run->rest, header, sizeof *header);
  header->size = GUINT16_FROM_LE (header->size);
  header->base = GUINT32_FROM_LE (header->base);
  header->desc = GUINT32_FROM_LE (header->desc);
  header->avail = GUINT32_FROM_LE (header->avail);
  header->used = GUINT32_FROM_LE (header->used);
  header->image_len = GUINT16_FROM_LE (header->image_len);
  header->inflight_len = GUINT16_FROM_LE (header->inflight_len);
}

void
fz_ring_run (const guint8 *data, gsize size, gboolean packed, gboolean inflight)
{
  static Run run;
  Kept *kept = &guest.kept[packed];

  make_guest ();
  run = (Run){ .rest = { data, size }, .packed = packed };
  take_header (&run);
  if (inflight) {
    run.inflight = kept->inflight;
    fill (kept->bytes, inflight_len (packed),
          fz_take_part (&run.rest, run.header.inflight_len));
  }
  fill (guest.memory, MEMORY_LEN,
        fz_take_part (&run.rest, run.header.image_len));
  serve (&run);
}
