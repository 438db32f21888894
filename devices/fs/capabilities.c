/* SPDX-License-Identifier: BSD-3-Clause */
#include "devices/fs/capabilities.h"

#include <assert.h>
#include <linux/capability.h>
#include <string.h>

G_DEFINE_QUARK (vd - fs - capabilities - error, vd_fs_capabilities_error)

#define BIT(cap) (1ull << (cap))

static const char *const names[] = {
  [CAP_CHOWN] = "chown",
  [CAP_DAC_OVERRIDE] = "dac_override",
  [CAP_DAC_READ_SEARCH] = "dac_read_search",
  [CAP_FOWNER] = "fowner",
  [CAP_FSETID] = "fsetid",
  [CAP_KILL] = "kill",
  [CAP_SETGID] = "setgid",
  [CAP_SETUID] = "setuid",
  [CAP_SETPCAP] = "setpcap",
  [CAP_LINUX_IMMUTABLE] = "linux_immutable",
  [CAP_NET_BIND_SERVICE] = "net_bind_service",
  [CAP_NET_BROADCAST] = "net_broadcast",
  [CAP_NET_ADMIN] = "net_admin",
  [CAP_NET_RAW] = "net_raw",
  [CAP_IPC_LOCK] = "ipc_lock",
  [CAP_IPC_OWNER] = "ipc_owner",
  [CAP_SYS_MODULE] = "sys_module",
  [CAP_SYS_RAWIO] = "sys_rawio",
  [CAP_SYS_CHROOT] = "sys_chroot",
  [CAP_SYS_PTRACE] = "sys_ptrace",
  [CAP_SYS_PACCT] = "sys_pacct",
  [CAP_SYS_ADMIN] = "sys_admin",
  [CAP_SYS_BOOT] = "sys_boot",
  [CAP_SYS_NICE] = "sys_nice",
  [CAP_SYS_RESOURCE] = "sys_resource",
  [CAP_SYS_TIME] = "sys_time",
  [CAP_SYS_TTY_CONFIG] = "sys_tty_config",
  [CAP_MKNOD] = "mknod",
  [CAP_LEASE] = "lease",
  [CAP_AUDIT_WRITE] = "audit_write",
  [CAP_AUDIT_CONTROL] = "audit_control",
  [CAP_SETFCAP] = "setfcap",
  [CAP_MAC_OVERRIDE] = "mac_override",
  [CAP_MAC_ADMIN] = "mac_admin",
  [CAP_SYSLOG] = "syslog",
  [CAP_WAKE_ALARM] = "wake_alarm",
  [CAP_BLOCK_SUSPEND] = "block_suspend",
  [CAP_AUDIT_READ] = "audit_read",
  [CAP_PERFMON] = "perfmon",
  [CAP_BPF] = "bpf",
  [CAP_CHECKPOINT_RESTORE] = "checkpoint_restore",
};
static_assert (G_N_ELEMENTS (names) <= 64, "a set is a guint64");

guint64
vd_fs_capabilities (gboolean xattr, gboolean ioctl)
{
  return BIT (CAP_CHOWN) | BIT (CAP_DAC_OVERRIDE) | BIT (CAP_DAC_READ_SEARCH) |
         BIT (CAP_FOWNER) | BIT (CAP_FSETID) | BIT (CAP_SETGID) |
         BIT (CAP_SETUID) | BIT (CAP_MKNOD) | BIT (CAP_SETFCAP) |
         (xattr ? BIT (CAP_SYS_ADMIN) : 0) |
         (ioctl ? BIT (CAP_LINUX_IMMUTABLE) : 0);
}

/* Returns: the number, or -1. */
static int
find (const char *name)
{
  if (g_ascii_strncasecmp (name, "cap_", 4) == 0)
    name += 4;
  for (guint i = 0; i < G_N_ELEMENTS (names); i++)
    if (names[i] != NULL && g_ascii_strcasecmp (names[i], name) == 0)
      return (int) i;
  return -1;
}

gboolean
vd_fs_capabilities_modify (guint64 *caps, const char *changes, GError **error)
{
  g_auto (GStrv) list = NULL;
  guint64 changed = *caps;

  if (changes == NULL)
    return TRUE;
  list = g_strsplit (changes, ":", -1);
  for (char **change = list; *change != NULL; change++) {
    gboolean add = (*change)[0] == '+';
    int cap = -1;

    if (add || (*change)[0] == '-')
      cap = find (*change + 1);
    if (cap < 0) {
      g_set_error (error, VD_FS_CAPABILITIES_ERROR, VD_FS_CAPABILITIES_SYNTAX,
                   "'%s' is not + or - and the name of a capability, such as "
                   "+sys_admin",
                   *change);
      return FALSE;
    }
    changed = add ? changed | BIT (cap) : changed & ~BIT (cap);
  }
  *caps = changed;
  return TRUE;
}
