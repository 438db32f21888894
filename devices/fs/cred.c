/* SPDX-License-Identifier: BSD-3-Clause
 *
 * cred.c - see cred.h
 *
 * The real and the saved user stay what they were, so the way back is always
 * open.  When the effective user stops being root the kernel clears the
 * effective capabilities; CAP_DAC_OVERRIDE is put back, because a guest's user
 * may be allowed to write to a directory by groups that we do not know, and the
 * guest has checked that (virtio-fs mounts have default_permissions).
 */
#include "devices/fs/cred.h"

#include <errno.h>
#include <linux/capability.h>
#include <sched.h>
#include <stdlib.h>
#include <string.h>
#include <sys/stat.h>
#include <sys/syscall.h>
#include <unistd.h>

#define NOBODY ((guint32) -1) /* "leave as it is", never a user */

typedef struct {
  guint64 effective, permitted, inheritable; /* bits by CAP_* */
} CapSet;

static _Thread_local struct {
  gboolean loaded;
  guint32 uid, gid;    /* effective, between requests */
  CapSet caps;         /* between requests, with CAP_FSETID if we have it */
  gboolean can_switch; /* to other users */
  gboolean keeps_set_id;
  guint32 umask;
  gboolean uid_pushed, gid_pushed, group_pushed;
} thread;

static int
caps_get (CapSet *ret)
{
  struct __user_cap_header_struct header = { _LINUX_CAPABILITY_VERSION_3, 0 };
  struct __user_cap_data_struct data[2];

  if (syscall (SYS_capget, &header, data) < 0)
    return -errno;
  ret->effective = data[0].effective | (guint64) data[1].effective << 32;
  ret->permitted = data[0].permitted | (guint64) data[1].permitted << 32;
  ret->inheritable = data[0].inheritable | (guint64) data[1].inheritable << 32;
  return 0;
}

static int
caps_set (const CapSet *caps)
{
  struct __user_cap_header_struct header = { _LINUX_CAPABILITY_VERSION_3, 0 };
  struct __user_cap_data_struct data[2] = {
    { (guint32) caps->effective, (guint32) caps->permitted,
      (guint32) caps->inheritable },
    { (guint32) (caps->effective >> 32), (guint32) (caps->permitted >> 32),
      (guint32) (caps->inheritable >> 32) },
  };

  return syscall (SYS_capset, &header, data) < 0 ? -errno : 0;
}

/* Sets the effective capabilities of this thread; the others stay. */
static int
caps_set_effective (guint64 effective)
{
  CapSet caps = thread.caps;

  caps.effective = effective;
  return caps_set (&caps);
}

static inline guint64
cap_bit (guint cap)
{
  return (guint64) 1 << cap;
}

static inline gboolean
has_cap (guint cap)
{
  return (thread.caps.effective & cap_bit (cap)) != 0;
}

static void
load_thread (void)
{
  if (thread.loaded)
    return;
  thread.uid = geteuid ();
  thread.gid = getegid ();
  if (caps_get (&thread.caps) < 0)
    memset (&thread.caps, 0, sizeof thread.caps);
  thread.can_switch = has_cap (CAP_SETUID) && has_cap (CAP_SETGID);
  thread.keeps_set_id = has_cap (CAP_FSETID);
  /* Who started us may have laid it down for a request; it comes back. */
  thread.caps.effective |= thread.caps.permitted & cap_bit (CAP_FSETID);
  thread.loaded = TRUE;
}

static int
drop_caps (guint64 drop)
{
  CapSet left = thread.caps;
  int r;

  left.effective &= ~drop;
  left.permitted &= ~drop;
  left.inheritable &= ~drop;
  r = caps_set (&left);
  if (r < 0)
    return r;
  thread.caps = left;
  thread.can_switch &= has_cap (CAP_SETUID) && has_cap (CAP_SETGID);
  thread.keeps_set_id = has_cap (CAP_FSETID);
  return 0;
}

gboolean
vd_fs_cred_has (guint cap)
{
  load_thread ();
  return has_cap (cap);
}

int
vd_fs_cred_enter (int proc, guint64 drop)
{
  load_thread ();
  if (unshare (CLONE_FS) < 0 || fchdir (proc) < 0)
    return -errno;
  umask (0);
  thread.umask = 0;
  /* Ours would count as the caller's when the kernel decides about the set-gid
   * bit of a new file (CVE-2022-0358).  In a user namespace that its user made
   * without help nobody may change groups; then their files have one owner. */
  if (thread.can_switch && syscall (SYS_setgroups, 0, NULL) < 0) {
    if (errno != EPERM)
      return -errno;
    thread.can_switch = FALSE;
  }
  return drop_caps (drop);
}

/* Returns: 0 or -errno; what was done so far is noted in thread. */
static int
become (const VdFsCaller *caller)
{
  if (caller->has_group) {
    if (syscall (SYS_setgroups, 1, &caller->group) < 0)
      return -errno;
    thread.group_pushed = TRUE;
  }
  if (caller->gid != thread.gid) {
    if (syscall (SYS_setresgid, -1, caller->gid, -1) < 0)
      return -errno;
    thread.gid_pushed = TRUE;
  }
  if (caller->uid != thread.uid) {
    if (syscall (SYS_setresuid, -1, caller->uid, -1) < 0)
      return -errno;
    thread.uid_pushed = TRUE;
    return caps_set_effective (thread.caps.permitted &
                               cap_bit (CAP_DAC_OVERRIDE));
  }
  return 0;
}

int
vd_fs_cred_push (const VdFsCaller *caller)
{
  int r;

  if (caller->uid == NOBODY || caller->gid == NOBODY ||
      (caller->has_group && caller->group == NOBODY))
    return -EINVAL;
  if (thread.umask != caller->umask) {
    umask (caller->umask);
    thread.umask = caller->umask;
  }
  vd_fs_cred_keep_set_id (TRUE);
  if (!thread.can_switch ||
      (caller->uid == thread.uid && caller->gid == thread.gid &&
       (!caller->has_group || has_cap (CAP_FSETID))))
    return 0;
  r = become (caller);
  if (r < 0)
    vd_fs_cred_pop ();
  return r;
}

void
vd_fs_cred_pop (void)
{
  gboolean ok = TRUE;

  if (thread.uid_pushed) {
    ok &= syscall (SYS_setresuid, -1, thread.uid, -1) == 0;
    /* Back to root the kernel makes all permitted capabilities effective; else
     * it leaves or clears them. */
    if (thread.uid != 0 || thread.caps.effective != thread.caps.permitted)
      ok &= caps_set_effective (thread.caps.effective) == 0;
    thread.keeps_set_id = has_cap (CAP_FSETID);
  }
  if (thread.gid_pushed)
    ok &= syscall (SYS_setresgid, -1, thread.gid, -1) == 0;
  if (thread.group_pushed)
    ok &= syscall (SYS_setgroups, 0, NULL) == 0;
  thread.uid_pushed = thread.gid_pushed = thread.group_pushed = FALSE;
  if (!ok)
    abort ();
}

void
vd_fs_cred_keep_set_id (gboolean keep)
{
  guint64 fsetid = cap_bit (CAP_FSETID);

  load_thread ();
  if (thread.keeps_set_id == keep || !has_cap (CAP_FSETID))
    return;
  if (caps_set_effective (keep ? thread.caps.effective
                               : thread.caps.effective & ~fsetid) == 0)
    thread.keeps_set_id = keep;
}
