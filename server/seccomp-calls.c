/* SPDX-License-Identifier: BSD-3-Clause
 *
 * seccomp-calls.c - modes by their names, and the lists of system calls
 *
 * Names that a machine or libseccomp does not know are passed over, so that the
 * lists hold the calls of all machines and C libraries.
 */
#include "server/seccomp-filter.h"

#include <assert.h>
#include <linux/prctl.h>
#include <sched.h>
#include <sys/mman.h>

const char *const vd_seccomp_words[] = { "trap", "kill", "log", "none", NULL };
static_assert (G_N_ELEMENTS (vd_seccomp_words) == VD_SECCOMP_AUTO + 1,
               "one for each VdSeccompMode that a user can name");

/* A new thread of this process, and nothing else. */
#define CLONE_KINDS                                                            \
  (CLONE_THREAD | CLONE_NEWNS | CLONE_NEWCGROUP | CLONE_NEWUTS |               \
   CLONE_NEWIPC | CLONE_NEWUSER | CLONE_NEWPID | CLONE_NEWNET)

#define ARG(number, the_mask, the_value)                                       \
  .arg = (number), .mask = (the_mask), .value = (the_value)
#define IS(number, the_value) ARG (number, G_MAXUINT32, the_value)

const VdSyscall vd_seccomp_queue_calls[] = {
  /* Memory, never to be executed. */
  { .name = "brk" },
  { .name = "mmap", ARG (2, PROT_EXEC, 0) },
  { .name = "mprotect", ARG (2, PROT_EXEC, 0) },
  { .name = "munmap" },
  { .name = "mremap" },
  { .name = "madvise" },

  /* Threads: pools start them on demand.  clone3() hides its flags and is
   * refused, upon which the C library takes clone(). */
  { .name = "clone", ARG (0, CLONE_KINDS, CLONE_THREAD) },
  { .name = "set_robust_list" },
  { .name = "rseq" },
  { .name = "futex" },
  { .name = "membarrier" },
  { .name = "sched_getaffinity" },
  { .name = "sched_yield" },
  { .name = "gettid" },
  { .name = "getpid" },
  { .name = "exit" },
  { .name = "prctl", IS (0, PR_SET_NAME) },
  { .name = "prctl", IS (0, PR_GET_NAME) },
  { .name = "prctl", IS (0, PR_SET_NO_NEW_PRIVS) },
  { .name = "seccomp" }, /* pool threads begin in a worker's filter */

  /* Signals, and the end by one of our own bugs. */
  { .name = "rt_sigaction" },
  { .name = "rt_sigprocmask" },
  { .name = "rt_sigreturn" },
  { .name = "sigaltstack" },
  { .name = "restart_syscall" },
  { .name = "tgkill" },
  { .name = "exit_group" },

  /* Where the kernel has no vDSO. */
  { .name = "clock_gettime" },
  { .name = "clock_getres" },
  { .name = "gettimeofday" },
  { .name = "time" },
  { .name = "clock_nanosleep" },
  { .name = "nanosleep" },
  { .name = "getcpu" },

  /* Waiting. */
  { .name = "poll" },
  { .name = "ppoll" },
  { .name = "epoll_create1" },
  { .name = "epoll_ctl" },
  { .name = "epoll_wait" },
  { .name = "epoll_pwait" },
  { .name = "epoll_pwait2" },
  { .name = "io_uring_enter" },
  { .name = "io_uring_register" },

  /* What is open. */
  { .name = "read" },
  { .name = "readv" },
  { .name = "pread64" },
  { .name = "preadv" },
  { .name = "preadv2" },
  { .name = "write" },
  { .name = "writev" },
  { .name = "pwrite64" },
  { .name = "pwritev" },
  { .name = "pwritev2" },
  { .name = "lseek" },
  { .name = "close" },
  { .name = "fcntl" },
  { .name = "fstat" },
  { .name = "fstatat64" },
  { .name = "newfstatat" },
  { .name = "timerfd_settime" },

  /* Calls of in-band notifications, and the journal. */
  { .name = "getsockname" },
  { .name = "getpeername" },
  { .name = "getsockopt" },
  { .name = "recvfrom" },
  { .name = "recvmsg" },
  { .name = "sendmsg" },
  { .name = "sendto" },

  { .name = "getrandom" },
  { .name = "getuid" },
  { .name = "geteuid" },
  { .name = "getgid" },
  { .name = "getegid" },
  { .name = "getrlimit" },
  { .name = "prlimit64" },
  { .name = "getrusage" },
  { 0 },
};

const VdSyscall vd_seccomp_control_calls[] = {
  { .name = "mmap" },
  { .name =
        "mprotect" },  /* libraries that are loaded late, for names of hosts */
  { .name = "clone" }, /* clone.c: namespaces */
  { .name = "clone3" },
  { .name = "fork" },
  { .name = "vfork" },
  { .name = "wait4" },
  { .name = "waitid" },
  { .name = "kill" },
  { .name = "prctl" },
  { .name = "set_tid_address" },
  { .name = "getppid" },
  { .name = "getpgrp" },
  { .name = "getpgid" },
  { .name = "getresuid" },
  { .name = "getresgid" },
  { .name = "getgroups" },
  { .name = "setrlimit" },
  { .name = "sysinfo" },
  { .name = "uname" },
  { .name = "times" },
  { .name = "sched_setaffinity" },
  { .name = "sched_getparam" },
  { .name = "sched_getscheduler" },
  { .name = "sched_getattr" },
  { .name = "arch_prctl" },
  { .name = "rt_sigpending" },
  { .name = "rt_sigtimedwait" },
  { .name = "rt_sigsuspend" },

  /* Memory of guests. */
  { .name = "memfd_create" },
  { .name = "userfaultfd" },
  { .name = "mlock" },
  { .name = "mlock2" },
  { .name = "munlock" },
  { .name = "mincore" },
  { .name = "msync" },

  /* Sockets. */
  { .name = "socket" },
  { .name = "socketpair" },
  { .name = "bind" },
  { .name = "listen" },
  { .name = "accept" },
  { .name = "accept4" },
  { .name = "connect" },
  { .name = "shutdown" },
  { .name = "setsockopt" },
  { .name = "recvmmsg" },
  { .name = "sendmmsg" },
  { .name = "sendfile" },

  /* Events. */
  { .name = "eventfd2" },
  { .name = "timerfd_create" },
  { .name = "timerfd_gettime" },
  { .name = "signalfd4" },
  { .name = "inotify_init1" },
  { .name = "inotify_add_watch" },
  { .name = "inotify_rm_watch" },
  { .name = "pipe" },
  { .name = "pipe2" },
  { .name = "select" },
  { .name = "pselect6" },
  { .name = "epoll_create" },
  { .name = "io_uring_setup" },

  /* Files: configuration, images, sockets; opening shared directories. */
  { .name = "open" },
  { .name = "openat" },
  { .name = "openat2" },
  { .name = "stat" },
  { .name = "lstat" },
  { .name = "statx" },
  { .name = "statfs" },
  { .name = "fstatfs" },
  { .name = "access" },
  { .name = "faccessat" },
  { .name = "faccessat2" },
  { .name = "getcwd" },
  { .name = "chdir" },
  { .name = "fchdir" },
  { .name = "getdents64" },
  { .name = "readlink" },
  { .name = "readlinkat" },
  { .name = "rename" },
  { .name = "renameat" },
  { .name = "renameat2" },
  { .name = "unlink" },
  { .name = "unlinkat" },
  { .name = "chmod" },
  { .name = "fchmod" },
  { .name = "fchmodat" },
  { .name = "chown" },
  { .name = "fchown" },
  { .name = "fchownat" },
  { .name = "lchown" },
  { .name = "umask" },
  { .name = "dup" },
  { .name = "dup2" },
  { .name = "dup3" },
  { .name = "flock" },
  { .name = "fadvise64" },
  { .name = "ftruncate" },
  { .name = "fallocate" },
  { .name = "fsync" },
  { .name = "fdatasync" },
  { .name = "ioctl" },
  { .name = "name_to_handle_at" },
  { .name = "open_by_handle_at" },
  { .name = "getxattr" },
  { .name = "lgetxattr" },
  { .name = "fgetxattr" },
  { .name = "open_tree" },
  { .name = "mount_setattr" },
  { .name = "move_mount" },
  { .name = "setns" },
  { .name = "unshare" },
  { .name = "capget" },
  { .name = "capset" },
  { .name = "landlock_create_ruleset" },
  { .name = "landlock_add_rule" },
  { .name = "landlock_restrict_self" },
  { 0 },
};
