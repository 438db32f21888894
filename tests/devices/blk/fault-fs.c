/* SPDX-License-Identifier: BSD-3-Clause */
#include "tests/devices/blk/fault-fs.h"

#include <errno.h>
#include <fcntl.h>
#include <glib/gstdio.h>
#include <linux/fuse.h>
#include <poll.h>
#include <sched.h>
#include <signal.h>
#include <string.h>
#include <sys/eventfd.h>
#include <sys/mman.h>
#include <sys/mount.h>
#include <sys/prctl.h>
#include <sys/stat.h>
#include <sys/uio.h>
#include <sys/wait.h>
#include <unistd.h>

#include "tests/lib/ring.h" /* VT_TIMEOUT_MS */

#define MAX_WRITE   (1u << 20)
#define REQUEST_MAX (MAX_WRITE + 4096)
#define MAX_HELD    64
#define FILE_NODE   2

/* While calls are logged: with fewer than these waiting, others are awaited. */
#define FEW_HELD 4

/* The child. */

typedef struct {
  VtFaults *faults;
  VtFaultLog *log;
  guint8 *data;
  gsize size;
  int dev_fd, held_fd, release_fd;
  guint8 *held[MAX_HELD];  /* copies of requests */
  guint32 marks[MAX_HELD]; /* records when they came */
  guint32 mark;            /* the same for the request that is executed now */
  guint n_held;
} Server;

static void
reply (Server *server, guint64 unique, int error, const void *data, gsize len)
{
  struct fuse_out_header header = {
    .len = (guint32) (sizeof header + (error ? 0 : len)),
    .error = -error,
    .unique = unique,
  };
  struct iovec iov[2] = { { &header, sizeof header },
                          { (void *) data, error ? 0 : len } };

  /* ENOENT: the caller was killed meanwhile. */
  if (writev (server->dev_fd, iov, 2) < 0 && errno != ENOENT)
    _exit (3);
}

static void
record (Server *server, char event)
{
  guint at = atomic_fetch_add (&server->faults->n_events, 1);

  if (at < VT_FAULT_EVENTS)
    server->faults->events[at] = event;
}

/* Logs a call with the @len bytes that it changed; @data may be NULL. */
static void
keep (Server *server, char op, guint64 offset, const void *data, guint32 len)
{
  VtFaultLog *log = server->log;
  guint n = atomic_load (&log->n);
  guint32 n_data = data ? len : 0;

  if (!atomic_load (&log->on))
    return;
  if (n == VT_FAULT_RECORDS || n_data > VT_FAULT_LOG_LEN - log->n_data) {
    atomic_fetch_add (&log->full, 1);
    return;
  }
  log->records[n] = (VtFaultRecord){ .op = op,
                                     .offset = offset,
                                     .len = len,
                                     .data = log->n_data,
                                     .covers = server->mark };
  if (data)
    memcpy (log->data + log->n_data, data, n_data);
  log->n_data += n_data;
  atomic_store (&log->n, n + 1);
}

static struct fuse_attr
attributes (const Server *server, guint64 node)
{
  gboolean file = node == FILE_NODE;

  return (struct fuse_attr){
    .ino = node,
    .size = file ? server->size : 0,
    .blocks = file ? server->size / 512 : 0,
    .mode = file ? S_IFREG | 0600 : S_IFDIR | 0700,
    .nlink = 1,
    .uid = getuid (),
    .gid = getgid (),
    .blksize = 4096,
  };
}

static void
do_init (Server *server, const struct fuse_in_header *header,
         const struct fuse_init_in *in)
{
  struct fuse_init_out out = {
    .major = FUSE_KERNEL_VERSION,
    .minor = MIN (in->minor, FUSE_KERNEL_MINOR_VERSION),
    .max_readahead = in->max_readahead,
    .flags = FUSE_BIG_WRITES | FUSE_MAX_PAGES,
    .max_background = 64,
    .congestion_threshold = 48,
    .max_write = MAX_WRITE,
    .max_pages = MAX_WRITE / 4096,
  };

  reply (server, header->unique, 0, &out, sizeof out);
}

static void
do_lookup (Server *server, const struct fuse_in_header *header,
           const char *name)
{
  struct fuse_entry_out out = { .nodeid = FILE_NODE };

  out.attr = attributes (server, FILE_NODE);
  reply (server, header->unique, strcmp (name, "image") == 0 ? 0 : ENOENT, &out,
         sizeof out);
}

static void
do_getattr (Server *server, const struct fuse_in_header *header)
{
  struct fuse_attr_out out = { .attr = attributes (server, header->nodeid) };

  reply (server, header->unique, 0, &out, sizeof out);
}

/* FOPEN_DIRECT_IO: every call of the device comes here, as it was made. */
static void
do_open (Server *server, const struct fuse_in_header *header)
{
  struct fuse_open_out out = { .open_flags = FOPEN_DIRECT_IO };

  reply (server, header->unique, 0, &out, sizeof out);
}

static guint32
fault_len (const Server *server, guint64 offset, guint32 len)
{
  guint max = atomic_load (&server->faults->max_len);

  len = (guint32) MIN (len, server->size - MIN (offset, server->size));
  return max > 0 ? MIN (len, max) : len;
}

static void
do_read (Server *server, const struct fuse_in_header *header,
         const struct fuse_read_in *in)
{
  record (server, 'r');
  reply (server, header->unique,
         atomic_load (&server->faults->error[VT_FAULT_READ]),
         server->data + in->offset, fault_len (server, in->offset, in->size));
}

static void
do_write (Server *server, const struct fuse_in_header *header,
          const struct fuse_write_in *in)
{
  int error = atomic_load (&server->faults->error[VT_FAULT_WRITE]);
  struct fuse_write_out out = { .size =
                                    fault_len (server, in->offset, in->size) };

  record (server, in->flags & O_DSYNC ? 'd' : 'w');
  if (in->flags & O_DSYNC)
    atomic_fetch_add (&server->faults->n_durable, 1);
  if (!error) {
    memcpy (server->data + in->offset, in + 1, out.size);
    keep (server, in->flags & O_DSYNC ? 'd' : 'w', in->offset, in + 1,
          out.size);
  }
  reply (server, header->unique, error, &out, sizeof out);
}

static void
do_sync (Server *server, const struct fuse_in_header *header,
         const struct fuse_fsync_in *in)
{
  int error = atomic_load (&server->faults->error[VT_FAULT_SYNC]);

  record (server, 's');
  if (!(in->fsync_flags & 1)) /* FUSE_FSYNC_FDATASYNC */
    atomic_fetch_add (&server->faults->n_full_syncs, 1);
  if (!error)
    keep (server, 's', 0, NULL, 0);
  reply (server, header->unique, error, NULL, 0);
}

static void
do_allocate (Server *server, const struct fuse_in_header *header,
             const struct fuse_fallocate_in *in)
{
  int error = atomic_load (&server->faults->error[VT_FAULT_ALLOCATE]);

  record (server, 'a');
  if (!error && in->offset < server->size) {
    guint64 len = MIN (in->length, server->size - in->offset);

    memset (server->data + in->offset, 0, len);
    keep (server, 'z', in->offset, NULL, (guint32) len);
  }
  reply (server, header->unique, error, NULL, 0);
}

static void
serve (Server *server, const struct fuse_in_header *header)
{
  const void *in = header + 1;

  switch (header->opcode) {
  case FUSE_INIT: do_init (server, header, in); break;
  case FUSE_LOOKUP: do_lookup (server, header, in); break;
  case FUSE_GETATTR:
  case FUSE_SETATTR: do_getattr (server, header); break;
  case FUSE_OPEN: do_open (server, header); break;
  case FUSE_READ: do_read (server, header, in); break;
  case FUSE_WRITE: do_write (server, header, in); break;
  case FUSE_FSYNC: do_sync (server, header, in); break;
  case FUSE_FALLOCATE: do_allocate (server, header, in); break;
  case FUSE_RELEASE:
  case FUSE_FLUSH: reply (server, header->unique, 0, NULL, 0); break;
  case FUSE_FORGET:
  case FUSE_BATCH_FORGET:
  case FUSE_INTERRUPT: break; /* have no reply */
  default: reply (server, header->unique, ENOSYS, NULL, 0); break;
  }
}

/* Returns: the fault that applies to the request, or VT_N_FAULTS. */
static VtFaultOp
fault_of (const struct fuse_in_header *header)
{
  switch (header->opcode) {
  case FUSE_READ: return VT_FAULT_READ;
  case FUSE_WRITE: return VT_FAULT_WRITE;
  case FUSE_FSYNC: return VT_FAULT_SYNC;
  case FUSE_FALLOCATE: return VT_FAULT_ALLOCATE;
  default: return VT_N_FAULTS;
  }
}

static void
signal_fd (int fd)
{
  const guint64 one = 1;

  if (write (fd, &one, sizeof one) != sizeof one)
    _exit (4);
}

static void
hold (Server *server, const guint8 *request, gsize len)
{
  server->marks[server->n_held] = atomic_load (&server->log->n);
  server->held[server->n_held++] = g_memdup2 (request, len);
}

static void
receive (Server *server, guint8 *buffer)
{
  const struct fuse_in_header *header = (const void *) buffer;
  ssize_t len = read (server->dev_fd, buffer, REQUEST_MAX);
  VtFaultOp op;

  if (len < 0 && errno == ENODEV) /* unmounted */
    _exit (0);
  if (len < (ssize_t) sizeof *header)
    return;
  op = fault_of (header);
  if (op < VT_N_FAULTS)
    atomic_fetch_add (&server->faults->n[op], 1);
  if (op < VT_N_FAULTS && (atomic_load (&server->faults->hold) & (1u << op)) &&
      server->n_held < MAX_HELD) {
    hold (server, buffer, (gsize) len);
    signal_fd (server->held_fd);
    return;
  }
  if (op < VT_N_FAULTS && atomic_load (&server->log->on) &&
      server->n_held < MAX_HELD)
    hold (server, buffer, (gsize) len);
  else
    serve (server, header);
}

static void
serve_held (Server *server, guint i)
{
  guint8 *request = server->held[i];

  server->mark = server->marks[i];
  serve (server, (const void *) request);
  g_free (request);
}

static void
release (Server *server)
{
  guint64 count;

  if (read (server->release_fd, &count, sizeof count) != sizeof count)
    return;
  for (guint i = 0; i < server->n_held; i++)
    serve_held (server, i);
  server->n_held = 0;
}

/* Executes one of the calls that wait, as a disk does: in any order. */
static void
serve_any (Server *server)
{
  guint i = (guint) g_random_int_range (0, (gint) server->n_held);

  serve_held (server, i);
  server->n_held--;
  server->held[i] = server->held[server->n_held];
  server->marks[i] = server->marks[server->n_held];
}

static int
patience_ms (const Server *server)
{
  if (server->n_held == 0)
    return -1;
  if (atomic_load (&server->log->on))
    return server->n_held < FEW_HELD ? 1 : 0;
  return 2 * VT_TIMEOUT_MS;
}

static void
run_server (Server *server)
{
  guint8 *buffer = g_aligned_alloc (1, REQUEST_MAX, 4096);
  struct pollfd fds[] = { { .fd = server->dev_fd, .events = POLLIN },
                          { .fd = server->release_fd, .events = POLLIN } };

  prctl (PR_SET_PDEATHSIG, SIGKILL);
  for (;;) {
    int n = poll (fds, 2, patience_ms (server));

    if (n == 0 && atomic_load (&server->log->on))
      serve_any (server);
    else if (n == 0) /* a failed test cannot die while its calls are held */
      _exit (5);
    if (n <= 0)
      continue;
    if (fds[1].revents)
      release (server);
    if (fds[0].revents)
      receive (server, buffer);
  }
}

/* The test's side. */

static gboolean
write_text (const char *path, const char *text)
{
  int fd = open (path, O_WRONLY | O_CLOEXEC);
  gboolean ok = fd >= 0 && write (fd, text, strlen (text)) > 0;

  if (fd >= 0)
    close (fd);
  return ok;
}

/* Whoever is not root becomes it in a namespace of its own. */
static gboolean
unshare_mounts (void)
{
  g_autofree char *uids = g_strdup_printf ("%u %u 1", getuid (), getuid ());
  g_autofree char *gids = g_strdup_printf ("%u %u 1", getgid (), getgid ());

  if (unshare (CLONE_NEWNS) == 0)
    return TRUE;
  return unshare (CLONE_NEWUSER | CLONE_NEWNS) == 0 &&
         write_text ("/proc/self/setgroups", "deny") &&
         write_text ("/proc/self/uid_map", uids) &&
         write_text ("/proc/self/gid_map", gids);
}

char *
vt_fault_fs_prepare (void)
{
  if (g_access ("/dev/fuse", R_OK | W_OK) != 0)
    return g_strdup_printf ("/dev/fuse: %s", g_strerror (errno));
  if (!unshare_mounts () ||
      mount (NULL, "/", NULL, MS_REC | MS_PRIVATE, NULL) != 0)
    return g_strdup_printf ("no mount namespace: %s", g_strerror (errno));
  return NULL;
}

static void *
map_shared (gsize len)
{
  void *at = mmap (NULL, len, PROT_READ | PROT_WRITE,
                   MAP_SHARED | MAP_ANONYMOUS | MAP_NORESERVE, -1, 0);

  g_assert_true (at != MAP_FAILED);
  return at;
}

VtFaultFs *
vt_fault_fs_new (gsize size)
{
  VtFaultFs *fs = g_new0 (VtFaultFs, 1);
  g_autofree char *options = NULL;
  Server server = { .size = size };

  fs->size = size;
  fs->dir = g_dir_make_tmp ("virtiod-fault-XXXXXX", NULL);
  g_assert_nonnull (fs->dir);
  fs->path = g_build_filename (fs->dir, "image", NULL);
  fs->faults = map_shared (sizeof *fs->faults);
  fs->log = map_shared (sizeof *fs->log);
  fs->data = map_shared (size);
  fs->held_fd = eventfd (0, EFD_CLOEXEC | EFD_SEMAPHORE);
  fs->release_fd = eventfd (0, EFD_CLOEXEC);
  server.faults = fs->faults;
  server.log = fs->log;
  server.data = fs->data;
  server.held_fd = fs->held_fd;
  server.release_fd = fs->release_fd;
  server.dev_fd = open ("/dev/fuse", O_RDWR | O_CLOEXEC);
  g_assert_cmpint (server.dev_fd, >=, 0);
  options = g_strdup_printf ("fd=%d,rootmode=40000,user_id=%u,group_id=%u",
                             server.dev_fd, getuid (), getgid ());
  if (mount ("fault", fs->dir, "fuse", MS_NOSUID | MS_NODEV, options) != 0)
    g_error ("mount: %s", g_strerror (errno));
  fs->pid = fork ();
  g_assert_cmpint (fs->pid, >=, 0);
  if (fs->pid == 0)
    run_server (&server);
  close (server.dev_fd);
  fs->faults->n_events = 0;
  return fs;
}

void
vt_fault_fs_free (VtFaultFs *fs)
{
  if (fs == NULL)
    return;
  umount2 (fs->dir, MNT_DETACH);
  kill (fs->pid, SIGKILL);
  waitpid (fs->pid, NULL, 0);
  g_rmdir (fs->dir);
  munmap (fs->faults, sizeof *fs->faults);
  munmap (fs->log, sizeof *fs->log);
  munmap (fs->data, fs->size);
  close (fs->held_fd);
  close (fs->release_fd);
  g_free (fs->path);
  g_free (fs->dir);
  g_free (fs);
}

void
vt_fault_wait_held (VtFaultFs *fs, guint n)
{
  for (guint i = 0; i < n; i++) {
    struct pollfd pollfd = { .fd = fs->held_fd, .events = POLLIN };
    guint64 one;

    g_assert_cmpint (poll (&pollfd, 1, VT_TIMEOUT_MS), ==, 1);
    g_assert_cmpint (read (fs->held_fd, &one, sizeof one), ==, sizeof one);
  }
}

void
vt_fault_release (VtFaultFs *fs)
{
  atomic_store (&fs->faults->hold, 0);
  signal_fd (fs->release_fd);
}
