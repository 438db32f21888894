/* SPDX-License-Identifier: BSD-3-Clause
 *
 * test-seccomp.c - the filters of system calls of the real daemon
 *
 * What an attacker who has taken a thread over would do is done by ptrace: a
 * thread that waits in a system call makes another one in its place, with
 * arguments of ours, and then goes on as if it had been interrupted.
 */
#include <errno.h>
#include <fcntl.h>
#include <glib/gstdio.h>
#include <linux/fs.h>
#include <sched.h>
#include <signal.h>
#include <stdlib.h>
#include <string.h>
#include <sys/mman.h>
#include <sys/ptrace.h>
#include <sys/syscall.h>
#include <sys/user.h>
#include <sys/wait.h>
#include <unistd.h>

#include "tests/devices/fs/fuse-client.h"
#include "tests/lib/blk.h"
#include "tests/lib/machine.h"

#define SYSCALL_INSTRUCTION 0x050f /* little-endian */

typedef struct {
  VtDaemon *daemon;
  VtMachine *disk, *echo;
} Fixture;

static void
set_up (Fixture *f, gconstpointer data)
{
  g_autofree char *share = NULL;
  g_autofree char *image = NULL;
  const char *mode = data;

  f->daemon = vt_daemon_new ();
  share = vt_daemon_path (f->daemon, "share");
  g_assert_no_errno (g_mkdir (share, 0755));
  image = vt_daemon_image (f->daemon, "image", 1 << 20);
  vt_daemon_add (f->daemon, "disk", "blk", "image", image, NULL);
  vt_daemon_add (f->daemon, "echo", "generic", "virtio-id", "5", "queues", "2",
                 "queue.*", "loopback", NULL);
  if (mode != NULL)
    g_string_append_printf (f->daemon->key_file, "[virtiod]\nseccomp=%s\n",
                            mode);
  vt_daemon_start (f->daemon);
  f->disk = vt_machine_new (VT_ORDER_QEMU_11, 0, 1, 64);
  vt_machine_connect (f->disk, f->daemon, "disk", 0);
  vt_machine_start (f->disk);
  f->echo = vt_machine_new (VT_ORDER_QEMU_11, 0, 2, 64);
  vt_machine_connect (f->echo, f->daemon, "echo", 0);
  vt_machine_start (f->echo);
}

static void
tear_down (Fixture *f, gconstpointer data)
{
  vt_machine_free (f->disk);
  vt_machine_free (f->echo);
  if (f->daemon->pid != 0)
    vt_daemon_stop (f->daemon);
  vt_daemon_free (f->daemon);
}

/* Both devices answer. */
static void
use_devices (Fixture *f)
{
  VtRing *ring = f->echo->rings[1];
  guint8 *mem = vt_guest_alloc (f->echo->guest, 16, 1);
  VtBuf bufs[] = { { mem, 8, FALSE }, { mem + 8, 8, TRUE } };
  guint8 sector[512];

  memcpy (mem, "loopback", 8);
  g_assert_true (vt_ring_add (ring, bufs, 2, mem));
  vt_ring_kick (ring);
  g_assert_true (vt_ring_take (ring, NULL) == mem);
  g_assert_cmpmem (mem + 8, 8, "loopback", 8);
  g_assert_cmpint (vt_blk_read (f->disk->rings[0], 0, sector, sizeof sector),
                   ==, VIRTIO_BLK_S_OK);
}

/* Threads. */

static char *
read_task (Fixture *f, const char *tid, const char *file)
{
  g_autofree char *path =
      g_strdup_printf ("/proc/%d/task/%s/%s", f->daemon->pid, tid, file);
  g_autoptr (GError) error = NULL;
  char *text;

  g_file_get_contents (path, &text, NULL, &error);
  g_assert_no_error (error);
  return text;
}

/* Returns: what "FIELD:" of a thread's status says. */
static guint
read_status (Fixture *f, const char *tid, const char *field)
{
  g_autofree char *text = read_task (f, tid, "status");
  g_autofree char *start = g_strdup_printf ("\n%s:", field);
  const char *at = strstr (text, start);

  g_assert_nonnull (at);
  return (guint) strtoul (at + strlen (start), NULL, 10);
}

/* Returns: (transfer full): the ids of all threads. */
static GPtrArray *
list_threads (Fixture *f)
{
  g_autofree char *path = g_strdup_printf ("/proc/%d/task", f->daemon->pid);
  g_autoptr (GDir) dir = g_dir_open (path, 0, NULL);
  GPtrArray *tids = g_ptr_array_new_with_free_func (g_free);
  const char *tid;

  g_assert_nonnull (dir);
  while ((tid = g_dir_read_name (dir)) != NULL)
    g_ptr_array_add (tids, g_strdup (tid));
  return tids;
}

/* Returns: the thread of that name. */
static pid_t
find_thread (Fixture *f, const char *name)
{
  g_autoptr (GPtrArray) tids = list_threads (f);

  for (guint i = 0; i < tids->len; i++) {
    g_autofree char *comm = read_task (f, tids->pdata[i], "comm");

    if (strcmp (g_strchomp (comm), name) == 0)
      return atoi (tids->pdata[i]);
  }
  g_error ("there is no thread %s", name);
}

/* Making calls. */

static void
wait_stop (pid_t tid)
{
  int status;

  g_assert_cmpint (waitpid (tid, &status, __WALL), ==, tid);
  g_assert_true (WIFSTOPPED (status));
}

/* Stops a thread that waits in a system call. */
static struct user_regs_struct
stop_in_call (pid_t tid)
{
  gint64 end = g_get_monotonic_time () + VT_TIMEOUT_MS * 1000ll;
  struct user_regs_struct regs;

  for (;;) {
    long text;

    g_assert_no_errno (
        (int) ptrace (PTRACE_SEIZE, tid, NULL, PTRACE_O_TRACESYSGOOD));
    g_assert_no_errno ((int) ptrace (PTRACE_INTERRUPT, tid, NULL, NULL));
    wait_stop (tid);
    g_assert_no_errno ((int) ptrace (PTRACE_GETREGS, tid, NULL, &regs));
    text = ptrace (PTRACE_PEEKTEXT, tid, regs.rip - 2, NULL);
    if ((text & 0xffff) == SYSCALL_INSTRUCTION && (long) regs.orig_rax >= 0)
      return regs;
    g_assert_cmpint (g_get_monotonic_time (), <, end);
    ptrace (PTRACE_DETACH, tid, NULL, NULL);
    g_usleep (1000);
  }
}

/* Lets the thread make a call.
 * Returns: its result, or its number if a filter stopped it. */
static long
make_call (pid_t tid, long number, unsigned long arg0, unsigned long arg1,
           unsigned long arg2, unsigned long arg3)
{
  struct user_regs_struct before = stop_in_call (tid), regs = before;
  long result;

  regs.rip -= 2;
  regs.rax = (unsigned long) number;
  regs.orig_rax = (unsigned long) -1;
  regs.rdi = arg0;
  regs.rsi = arg1;
  regs.rdx = arg2;
  regs.r10 = arg3;
  regs.r8 = (unsigned long) -1;
  regs.r9 = 0;
  g_assert_no_errno ((int) ptrace (PTRACE_SETREGS, tid, NULL, &regs));
  for (guint i = 0; i < 2; i++) { /* into the call, and out of it */
    g_assert_no_errno ((int) ptrace (PTRACE_SYSCALL, tid, NULL, NULL));
    wait_stop (tid);
  }
  g_assert_no_errno ((int) ptrace (PTRACE_GETREGS, tid, NULL, &regs));
  result = (long) regs.rax;
  before.orig_rax = (unsigned long) -1;
  before.rax = (unsigned long) -EINTR;
  g_assert_no_errno ((int) ptrace (PTRACE_SETREGS, tid, NULL, &before));
  g_assert_no_errno ((int) ptrace (PTRACE_DETACH, tid, NULL, NULL));
  return result;
}

static void
wait_told (Fixture *f, const char *thread, const char *name)
{
  g_autofree char *start =
      g_strdup_printf ("seccomp: thread %s may not make system call ", thread);
  g_autofree char *end = g_strdup_printf (", %s: ", name);

  f->daemon->makes_bad_calls = TRUE;
  vt_daemon_wait_log (f->daemon, start);
  vt_daemon_wait_log (f->daemon, end);
}

/* The tests. */

static void
test_all_threads_have_filters (Fixture *f, gconstpointer data)
{
  g_autoptr (GPtrArray) tids = list_threads (f);
  guint n_workers = 0;

  g_assert_cmpuint (tids->len, >=, 4); /* CONTROL and three queues */
  for (guint i = 0; i < tids->len; i++) {
    const char *tid = tids->pdata[i];
    g_autofree char *comm = read_task (f, tid, "comm");
    gboolean is_worker = strchr (comm, ':') != NULL;

    g_assert_cmpuint (read_status (f, tid, "Seccomp"), ==, 2);
    g_assert_cmpuint (read_status (f, tid, "NoNewPrivs"), ==, 1);
    g_assert_cmpuint (read_status (f, tid, "Seccomp_filters"), ==,
                      is_worker ? 2 : 1);
    n_workers += is_worker;
  }
  g_assert_cmpuint (n_workers, ==, 3);
  use_devices (f);
}

static void
test_without_there_are_none (Fixture *f, gconstpointer data)
{
  g_autoptr (GPtrArray) tids = list_threads (f);

  for (guint i = 0; i < tids->len; i++)
    g_assert_cmpuint (read_status (f, tids->pdata[i], "Seccomp"), ==, 0);
  use_devices (f);
}

/* A disk's thread opens nothing and connects to nothing; it makes no program, no
 * namespace, no code, and no ring that nobody restricts. */
static void
test_stopped_calls_fail_and_all_goes_on (Fixture *f, gconstpointer data)
{
  static const struct {
    const char *thread, *name;
    long number;
    unsigned long args[3];
  } calls[] = {
    { "disk:0", "openat", SYS_openat, { (unsigned long) AT_FDCWD, 0, 0 } },
    { "disk:0", "socket", SYS_socket, { 1, 1, 0 } },
    { "disk:0", "execve", SYS_execve, { 0, 0, 0 } },
    { "disk:0", "mprotect", SYS_mprotect, { 0, 4096, PROT_EXEC } },
    { "disk:0", "mmap", SYS_mmap, { 0, 4096, PROT_READ | PROT_EXEC } },
    { "disk:0", "clone", SYS_clone, { CLONE_NEWUSER | SIGCHLD, 0, 0 } },
    { "disk:0", "unshare", SYS_unshare, { CLONE_NEWUSER, 0, 0 } },
    { "disk:0", "ioctl", SYS_ioctl, { 0, 0x5412, 0 } },
    { "disk:0", "io_uring_setup", SYS_io_uring_setup, { 8, 0, 0 } },
    { "disk:0", "ptrace", SYS_ptrace, { PTRACE_TRACEME, 0, 0 } },
    { "echo:1", "kill", SYS_kill, { 0, 0, 0 } },
    { "virtiod", "mount", SYS_mount, { 0, 0, 0 } },
    { "virtiod", "bpf", SYS_bpf, { 0, 0, 0 } },
  };

  for (guint i = 0; i < G_N_ELEMENTS (calls); i++) {
    pid_t tid = find_thread (f, calls[i].thread);

    g_test_message ("%s: %s", calls[i].thread, calls[i].name);
    g_assert_cmpint (make_call (tid, calls[i].number, calls[i].args[0],
                                calls[i].args[1], calls[i].args[2], 0),
                     ==, calls[i].number);
    wait_told (f, calls[i].thread, calls[i].name);
    use_devices (f);
  }
  vt_daemon_signal (f->daemon, SIGUSR1);
  vt_daemon_wait_log (f->daemon, "system calls stopped: 13\n");
}

static void
test_allowed_calls_are_made (Fixture *f, gconstpointer data)
{
  pid_t disk = find_thread (f, "disk:0");
  long at;

  g_assert_cmpint (make_call (disk, SYS_getpid, 0, 0, 0, 0), ==,
                   f->daemon->pid);
  at = make_call (disk, SYS_mmap, 0, 4096, PROT_READ,
                  MAP_PRIVATE | MAP_ANONYMOUS);
  g_assert_cmpint (at, >, 0);
  g_assert_cmpint (make_call (disk, SYS_munmap, (unsigned long) at, 4096, 0, 0),
                   ==, 0);
  use_devices (f);
}

/* A new way to make threads hides what it makes; the C library must be able to
 * go back to the old one. */
static void
test_clone3_is_unknown (Fixture *f, gconstpointer data)
{
  g_assert_cmpint (
      make_call (find_thread (f, "disk:0"), SYS_clone3, 0, 0, 0, 0), ==,
      -ENOSYS);
  use_devices (f);
}

static void
test_kill_ends_the_process_with_a_line (Fixture *f, gconstpointer data)
{
  make_call (find_thread (f, "disk:0"), SYS_socket, 1, 1, 0, 0);
  g_assert_cmpint (vt_daemon_wait (f->daemon), ==, 256 + SIGSYS);
  wait_told (f, "disk:0", "socket");
}

static void
test_log_lets_it_be_made (Fixture *f, gconstpointer data)
{
  g_autofree char *main_thread = g_strdup_printf ("%d", f->daemon->pid);

  g_assert_cmpint (
      make_call (find_thread (f, "disk:0"), SYS_getppid, 0, 0, 0, 0), ==,
      getpid ());
  g_assert_cmpuint (read_status (f, main_thread, "Seccomp"), ==, 2);
  use_devices (f);
}

/* Shared directories take the most of all kinds to open. */
static void
test_reload_opens_devices_inside (Fixture *f, gconstpointer data)
{
  g_autofree char *share = vt_daemon_path (f->daemon, "share");
  g_autofree char *image = vt_daemon_image (f->daemon, "other", 1 << 20);
  VtFrontend *fe;

  vt_daemon_add (f->daemon, "share", "fs", "source", share, NULL);
  vt_daemon_add (f->daemon, "other", "blk", "image", image, NULL);
  vt_daemon_reload (f->daemon);
  vt_daemon_wait_log (f->daemon, "reloaded: 4 devices");
  fe = vt_daemon_connect (f->daemon, "share");
  g_assert_cmpuint (vt_get_features (fe), !=, 0);
  vt_frontend_free (fe);
  use_devices (f);
}

/* Asks for what no function of the client does.  Which of these the host's file
 * system has does not matter: the daemon's log says what was stopped. */
static void
ask_more (VtFuse *fuse, guint64 nodeid, guint64 fh)
{
  struct fuse_ioctl_in ioctl = { .fh = fh, .cmd = FS_IOC_GETFLAGS };
  struct fuse_fallocate_in allocate = { .fh = fh, .length = 4096 };
  struct fuse_lseek_in seek = { .fh = fh, .whence = SEEK_HOLE };
  struct fuse_fsync_in sync = { .fh = fh };
  struct fuse_syncfs_in syncfs = { 0 };
  struct fuse_access_in access = { .mask = R_OK };
  struct fuse_lk_in lock = { .fh = fh, .owner = 1, .lk.type = F_WRLCK };
  struct fuse_copy_file_range_in copy = {
    .fh_in = fh,
    .nodeid_out = nodeid,
    .fh_out = fh,
    .off_out = 8192,
    .len = 4,
  };
  struct fuse_create_in create = { .flags = O_RDWR, .mode = S_IFREG | 0600 };
  guint8 out[512];
  const struct {
    guint32 opcode;
    const void *args;
    gsize len;
  } calls[] = {
    { FUSE_FALLOCATE, &allocate, sizeof allocate },
    { FUSE_LSEEK, &seek, sizeof seek },
    { FUSE_FSYNC, &sync, sizeof sync },
    { FUSE_SYNCFS, &syncfs, sizeof syncfs },
    { FUSE_ACCESS, &access, sizeof access },
    { FUSE_COPY_FILE_RANGE, &copy, sizeof copy },
    { FUSE_SETLK, &lock, sizeof lock },
    { FUSE_GETLK, &lock, sizeof lock },
    { FUSE_STATFS, NULL, 0 },
  };

  for (guint i = 0; i < G_N_ELEMENTS (calls); i++)
    g_assert_cmpint (vt_fuse_call (fuse, calls[i].opcode, nodeid, calls[i].args,
                                   calls[i].len, NULL, 0, out, sizeof out),
                     >=, 0);
  lock.lk_flags = FUSE_LK_FLOCK;
  g_assert_cmpint (vt_fuse_call (fuse, FUSE_SETLK, nodeid, &lock, sizeof lock,
                                 NULL, 0, NULL, 0),
                   ==, 0);
  ioctl.out_size = sizeof (int);
  (void) vt_fuse_call (fuse, FUSE_IOCTL, nodeid, &ioctl, sizeof ioctl, NULL, 0,
                       out, sizeof out);
  create.flags |= O_TMPFILE;
  (void) vt_fuse_call (fuse, 51 /* TMPFILE */, 1, &create, sizeof create, "/",
                       2, out, sizeof out);
}

static void
ask_for_everything (VtFuse *fuse)
{
  struct fuse_setattr_in set = {
    .valid = FATTR_MODE | FATTR_UID | FATTR_GID | FATTR_SIZE | FATTR_ATIME_NOW,
    .mode = 0640,
    .uid = getuid (),
    .gid = getgid (),
    .size = 2,
  };
  guint64 nodeid, fh, dir, other;
  guint8 bytes[4096];

  g_assert_cmpint (vt_fuse_init (fuse, 0), ==, 0);
  fuse->uid = fuse->gid = getuid () == 0 ? 1000 : 0; /* another one, or not */
  (void) vt_fuse_create (fuse, 1, "mine", O_RDWR, 0644, &other, &fh);
  fuse->uid = fuse->gid = 0;
  g_assert_cmpint (vt_fuse_create (fuse, 1, "f", O_RDWR, 0644, &nodeid, &fh),
                   ==, 0);
  g_assert_cmpint (vt_fuse_write (fuse, nodeid, fh, 0, "content", 7), ==, 7);
  g_assert_cmpint (vt_fuse_read (fuse, nodeid, fh, 0, bytes, 7), ==, 7);
  ask_more (fuse, nodeid, fh);
  g_assert_cmpint (vt_fuse_setattr (fuse, nodeid, &set, NULL), ==, 0);
  (void) vt_fuse_setxattr (fuse, nodeid, "user.a", "b", 1, 0);
  (void) vt_fuse_getxattr (fuse, nodeid, "user.a", bytes, sizeof bytes);
  (void) vt_fuse_listxattr (fuse, nodeid, (char *) bytes, sizeof bytes);
  (void) vt_fuse_removexattr (fuse, nodeid, "user.a");
  g_assert_cmpint (vt_fuse_mkdir (fuse, 1, "d", 0755, &dir), ==, 0);
  g_assert_cmpint (vt_fuse_mknod (fuse, dir, "p", S_IFIFO | 0644, 0, &other),
                   ==, 0);
  g_assert_cmpint (vt_fuse_symlink (fuse, dir, "s", "target", &other), ==, 0);
  g_assert_cmpint (vt_fuse_readlink (fuse, other, (char *) bytes), ==, 6);
  g_assert_cmpint (vt_fuse_link (fuse, nodeid, dir, "l"), ==, 0);
  g_assert_cmpint (vt_fuse_rename (fuse, dir, "l", 1, "m", 0), ==, 0);
  g_assert_cmpint (vt_fuse_unlink (fuse, 1, "m"), ==, 0);
  g_assert_cmpint (vt_fuse_release (fuse, nodeid, fh), ==, 0);
  g_assert_cmpint (vt_fuse_opendir (fuse, dir, &fh), ==, 0);
  g_assert_cmpint (
      vt_fuse_readdir (fuse, dir, fh, 0, TRUE, bytes, sizeof bytes), >, 0);
  g_assert_cmpint (vt_fuse_destroy (fuse), ==, 0);
}

/* All that a guest can ask of a shared directory is in its list, in threads of
 * queues and in those of the pool; tear_down() looks into the log. */
static void
test_shared_directories_do_all_they_can (Fixture *f, gconstpointer data)
{
  static const char *const ids[] = { "here", "abroad" };

  for (guint i = 0; i < 2; i++) {
    g_autofree char *share = vt_daemon_path (f->daemon, ids[i]);
    g_autoptr (VtMachine) machine =
        vt_machine_new (VT_ORDER_QEMU_11, VT_RING_INDIRECT, 2, 64);
    VtFuse fuse;

    g_assert_no_errno (g_mkdir (share, 0777));
    g_assert_no_errno (g_chmod (share, 0777));
    vt_daemon_add (f->daemon, ids[i], "fs", "source", share, "xattr", "yes",
                   "ioctl", "yes", "locks", "all", "fd-budget", "16", "offload",
                   i == 0 ? "never" : "always", NULL);
    vt_daemon_reload (f->daemon);
    vt_daemon_wait_log (f->daemon, i == 0 ? "reloaded: 3" : "reloaded: 4");
    vt_fuse_init_client (&fuse, machine->rings[1]);
    vt_machine_connect (machine, f->daemon, ids[i], 0);
    vt_machine_start (machine);
    ask_for_everything (&fuse);
  }
}

static void
add_test (const char *name, const char *mode,
          void (*run) (Fixture *f, gconstpointer data))
{
  g_autofree char *path = g_strconcat ("/seccomp/", name, NULL);

  g_test_add (path, Fixture, mode, set_up, run, tear_down);
}

int
main (int argc, char **argv)
{
  g_test_init (&argc, &argv, NULL);
  add_test ("on", NULL, test_all_threads_have_filters);
  add_test ("none", "none", test_without_there_are_none);
  add_test ("trap", NULL, test_stopped_calls_fail_and_all_goes_on);
  add_test ("allowed", NULL, test_allowed_calls_are_made);
  add_test ("clone3", NULL, test_clone3_is_unknown);
  add_test ("kill", "kill", test_kill_ends_the_process_with_a_line);
  add_test ("log", "log", test_log_lets_it_be_made);
  add_test ("everything", NULL, test_shared_directories_do_all_they_can);
  add_test ("reload", NULL, test_reload_opens_devices_inside);
  return g_test_run ();
}
