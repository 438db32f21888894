/* SPDX-License-Identifier: BSD-3-Clause
 *
 * seccomp-filter.c - see seccomp-filter.h
 *
 * libseccomp makes programs of the lists, once; threads hand them to the kernel
 * themselves, without an allocation.  A call that is stopped raises SIGSYS in
 * the thread that made it, at a place where that thread holds no lock of the C
 * library or GLib: all calls that these make with one held are in the lists.
 */
#define G_LOG_DOMAIN "virtiod"

#include "server/seccomp-filter.h"

#include <errno.h>
#include <gio/gio.h>
#include <linux/filter.h>
#include <linux/seccomp.h>
#include <seccomp.h>
#include <signal.h>
#include <stdatomic.h>
#include <stdbool.h>
#include <stdlib.h>
#include <string.h>
#include <sys/mman.h>
#include <sys/prctl.h>
#include <sys/syscall.h>
#include <ucontext.h>
#include <unistd.h>

#include "vring/fd.h"

/* The signal's si_code for a system call. */
#ifndef SYS_SECCOMP
#define SYS_SECCOMP 1
#endif

typedef struct {
  struct sock_fprog code;
} Program;

typedef struct {
  const VdDeviceOps *ops;
  Program program;
} Kind;

struct VdSeccomp {
  VdSeccompMode mode;
  Program process;
  GArray *kinds; /* Kind */
};

/* Constant once there are filters. */
static VdSeccompMode mode_in_force = VD_SECCOMP_NONE;
static atomic_uint n_stopped;

/* Calls that were told, by number; the last bit is for all beyond. */
#define N_TOLD 512
static atomic_bool told[N_TOLD];

/* Stopped calls. */

/* Lets the call return -ENOSYS. */
static void
set_result (ucontext_t *context)
{
#if defined(__x86_64__)
  context->uc_mcontext.gregs[REG_RAX] = -ENOSYS;
#elif defined(__aarch64__)
  context->uc_mcontext.regs[0] = (guint64) -ENOSYS;
#elif defined(__riscv)
  context->uc_mcontext.__gregs[REG_A0] = (unsigned long) -ENOSYS;
#else
#error "which register has a system call's result?"
#endif
}

/* One line for each call, but for those that telling of another takes. */
static void
tell (int number)
{
  static _Thread_local bool telling;
  char thread[16] = "";
  char *name;

  if (telling ||
      atomic_exchange (&told[MIN ((guint) number, N_TOLD - 1)], true))
    return;
  telling = true;
  name = seccomp_syscall_resolve_num_arch (SCMP_ARCH_NATIVE, number);
  prctl (PR_GET_NAME, thread);
  g_warning ("seccomp: thread %s may not make system call %d, %s: %s", thread,
             number, name != NULL ? name : "which has no name here",
             mode_in_force == VD_SECCOMP_KILL ? "the process ends"
                                              : "it fails; this is told once");
  free (name);
  telling = false;
}

static void
on_sigsys (int signal_number, siginfo_t *info, void *context)
{
  int saved_errno = errno;

  if (info->si_code != SYS_SECCOMP) {
    signal (SIGSYS, SIG_DFL);
    raise (SIGSYS);
    return;
  }
  atomic_fetch_add (&n_stopped, 1);
  tell (info->si_syscall);
  if (mode_in_force == VD_SECCOMP_KILL) {
    signal (SIGSYS, SIG_DFL);
    raise (SIGSYS);
  }
  set_result (context);
  errno = saved_errno;
}

/* Making programs. */

static gboolean
fail (GError **error, const char *what, int r)
{
  g_set_error (error, G_IO_ERROR, g_io_error_from_errno (-r), "seccomp: %s: %s",
               what, g_strerror (-r));
  return FALSE;
}

/* Newer than some versions of libseccomp; the same number on all machines. */
static int
resolve (const char *name)
{
  static const struct {
    const char *name;
    int number;
  } newer[] = {
    { "landlock_create_ruleset", 444 },
    { "landlock_add_rule", 445 },
    { "landlock_restrict_self", 446 },
    { "fchmodat2", 452 },
  };

  for (guint i = 0; i < G_N_ELEMENTS (newer); i++)
    if (strcmp (name, newer[i].name) == 0)
      return newer[i].number;
  return seccomp_syscall_resolve_name (name);
}

static int
allow (scmp_filter_ctx filter, const VdSyscall *calls)
{
  int r = 0;

  for (; calls != NULL && calls->name != NULL && r == 0; calls++) {
    int number = resolve (calls->name);
    struct scmp_arg_cmp only =
        SCMP_CMP64 (calls->arg, SCMP_CMP_MASKED_EQ, calls->mask, calls->value);

    if (number < 0) /* not on this machine */
      continue;
    r = seccomp_rule_add_array (filter, SCMP_ACT_ALLOW, number,
                                calls->mask != 0 ? 1 : 0, &only);
  }
  return r;
}

/* Takes the kernel's form of @filter, which libseccomp writes to files only. */
static int
take_code (scmp_filter_ctx filter, Program *ret)
{
  vd_autofd file = memfd_create ("seccomp", MFD_CLOEXEC);
  off_t len;
  int r;

  if (file < 0)
    return -errno;
  r = seccomp_export_bpf (filter, file);
  len = r == 0 ? lseek (file, 0, SEEK_END) : 0;
  if (r < 0)
    return r;
  if (len <= 0 || len % (off_t) sizeof (struct sock_filter) != 0)
    return -EIO;
  ret->code.filter = g_malloc ((gsize) len);
  ret->code.len = (unsigned short) ((gsize) len / sizeof (struct sock_filter));
  if (pread (file, ret->code.filter, (gsize) len, 0) == len)
    return 0;
  g_clear_pointer (&ret->code.filter, g_free);
  return -EIO;
}

static uint32_t
action (VdSeccompMode mode)
{
  return mode == VD_SECCOMP_LOG ? SCMP_ACT_LOG : SCMP_ACT_TRAP;
}

/* @lists: NULL-ended; @clone3: whether it is allowed by them */
static int
compile (VdSeccompMode mode, const VdSyscall *const *lists, gboolean clone3,
         Program *ret)
{
  scmp_filter_ctx filter = seccomp_init (action (mode));
  int r = filter != NULL ? 0 : -ENOMEM;

  if (r == 0)
    r = seccomp_attr_set (filter, SCMP_FLTATR_ACT_BADARCH, action (mode));
  if (r == 0) /* a binary tree instead of one comparison after the other */
    r = seccomp_attr_set (filter, SCMP_FLTATR_CTL_OPTIMIZE, 2);
  if (r == 0 && !clone3)
    r = seccomp_rule_add (filter, SCMP_ACT_ERRNO (ENOSYS), SCMP_SYS (clone3),
                          0);
  for (; *lists != NULL && r == 0; lists++)
    r = allow (filter, *lists);
  if (r == 0)
    r = take_code (filter, ret);
  if (filter != NULL)
    seccomp_release (filter);
  return r;
}

/* All that any part of the daemon makes. */
static int
compile_process (VdSeccomp *seccomp, const VdDeviceOps *const *registry)
{
  g_autoptr (GPtrArray) lists = g_ptr_array_new ();

  g_ptr_array_add (lists, (gpointer) vd_seccomp_queue_calls);
  g_ptr_array_add (lists, (gpointer) vd_seccomp_control_calls);
  for (; *registry != NULL; registry++)
    if ((*registry)->calls != NULL)
      g_ptr_array_add (lists, (gpointer) (*registry)->calls);
  g_ptr_array_add (lists, NULL);
  return compile (seccomp->mode, (const VdSyscall *const *) lists->pdata, TRUE,
                  &seccomp->process);
}

static int
compile_kind (VdSeccomp *seccomp, const VdDeviceOps *ops)
{
  const VdSyscall *const lists[] = { vd_seccomp_queue_calls, ops->calls, NULL };
  Kind kind = { .ops = ops };
  int r = compile (seccomp->mode, lists, FALSE, &kind.program);

  if (r == 0)
    g_array_append_val (seccomp->kinds, kind);
  return r;
}

static int
compile_all (VdSeccomp *seccomp, const VdDeviceOps *const *registry)
{
  int r = compile_process (seccomp, registry);

  for (; *registry != NULL && r == 0; registry++)
    r = compile_kind (seccomp, *registry);
  return r;
}

/* Entering. */

/* Returns: 0 or -errno. */
static int
enter (const Program *program, guint flags)
{
  /* No program that we start needs more than we have; without privileges it is
   * a condition. */
  if (prctl (PR_SET_NO_NEW_PRIVS, 1, 0, 0, 0) < 0)
    return -errno;
  /* SPEC_ALLOW: older kernels would make every thread slower for it. */
  switch (syscall (SYS_seccomp, SECCOMP_SET_MODE_FILTER,
                   flags | SECCOMP_FILTER_FLAG_SPEC_ALLOW, &program->code)) {
  case 0: return 0;
  case -1: return -errno;
  default: return -ESRCH; /* a thread has other filters */
  }
}

/* On each thread that serves queues.  A thread that cannot has the process's
 * filter still. */
static void
begin (gconstpointer data)
{
  static atomic_bool failed;
  int r = enter (data, 0);

  if (r < 0 && !atomic_exchange (&failed, true))
    g_warning ("seccomp: a thread has no filter of its own: %s",
               g_strerror (-r));
}

void
vd_seccomp_confine (const VdSeccomp *seccomp, VdDevice *dev)
{
  for (guint i = 0; i < seccomp->kinds->len; i++) {
    const Kind *kind = &g_array_index (seccomp->kinds, Kind, i);

    if (kind->ops == dev->ops)
      vd_pool_set_begin (dev->pool, begin, &kind->program);
  }
}

gboolean
vd_seccomp_enter (const VdSeccomp *seccomp, GError **error)
{
  struct sigaction on_stopped = {
    .sa_sigaction = on_sigsys,
    .sa_flags = SA_SIGINFO | SA_NODEFER,
  };
  int r;

  if (seccomp->mode == VD_SECCOMP_NONE)
    return TRUE;
  mode_in_force = seccomp->mode;
  sigaction (SIGSYS, &on_stopped, NULL);
  r = enter (&seccomp->process, SECCOMP_FILTER_FLAG_TSYNC);
  return r == 0 || fail (error, "the kernel refuses the filter", r);
}

/* Life. */

static gboolean
is_possible (void)
{
  const guint32 trap = SECCOMP_RET_TRAP;

  return syscall (SYS_seccomp, SECCOMP_GET_ACTION_AVAIL, 0, &trap) == 0;
}

VdSeccomp *
vd_seccomp_new (VdSeccompMode mode, const VdDeviceOps *const *registry,
                GError **error)
{
  g_autoptr (VdSeccomp) seccomp = g_new0 (VdSeccomp, 1);
  int r;

  seccomp->kinds = g_array_new (FALSE, TRUE, sizeof (Kind));
  seccomp->mode = mode;
  if (mode == VD_SECCOMP_AUTO)
    seccomp->mode = is_possible () ? VD_SECCOMP_TRAP : VD_SECCOMP_NONE;
  r = seccomp->mode != VD_SECCOMP_NONE ? compile_all (seccomp, registry) : 0;
  if (r == 0)
    return g_steal_pointer (&seccomp);
  fail (error, "no filter", r);
  return NULL;
}

VdSeccompMode
vd_seccomp_mode (const VdSeccomp *seccomp)
{
  return seccomp->mode;
}

guint
vd_seccomp_n_stopped (void)
{
  return atomic_load (&n_stopped);
}

void
vd_seccomp_free (VdSeccomp *seccomp)
{
  if (seccomp == NULL)
    return;
  for (guint i = 0; i < seccomp->kinds->len; i++)
    g_free (g_array_index (seccomp->kinds, Kind, i).program.code.filter);
  g_array_unref (seccomp->kinds);
  g_free (seccomp->process.code.filter);
  g_free (seccomp);
}
