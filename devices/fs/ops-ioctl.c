/* SPDX-License-Identifier: BSD-3-Clause
 *
 * ops-ioctl.c - the few commands of ioctl(2) that are about files
 *
 * Commands that are not listed here never reach the host's kernel: most of them
 * mean something else on another file system, and some act on more than the
 * file.  The guest's kernel has checked the caller's rights.
 */
#include <errno.h>
#include <linux/fs.h>
#include <string.h>
#include <sys/ioctl.h>

#include "devices/fs/lazy.h"
#include "devices/fs/ops.h"

typedef struct {
  guint32 command;
  guint8 in_len, out_len; /* bytes that the host's kernel reads and writes */
  gboolean changes;
} Command;

/* The first two have the size of a long in their number and that of an int in
 * truth. */
static const Command commands[] = {
  { FS_IOC_GETFLAGS, 0, sizeof (int), FALSE },
  { FS_IOC_SETFLAGS, sizeof (int), 0, TRUE },
  { FS_IOC_FSGETXATTR, 0, sizeof (struct fsxattr), FALSE },
  { FS_IOC_FSSETXATTR, sizeof (struct fsxattr), 0, TRUE },
};

/* What the largest command needs; the kernel never gets a guest's pointer. */
typedef union {
  long flags;
  struct fsxattr attr;
} Argument;

static const Command *
find_command (guint32 command)
{
  for (guint i = 0; i < G_N_ELEMENTS (commands); i++)
    if (commands[i].command == command)
      return &commands[i];
  return NULL;
}

int
vd_fs_op_ioctl (VdFsRequest *req, guint64 nodeid, guint64 fh, guint32 number,
                guint32 flags, const void *in, gsize in_len, gsize out_len)
{
  VdFs *fs = vd_fs_of (req);
  const Command *command = find_command (number);
  VdFuseIoctlOut out = { 0 };
  Argument argument = { 0 };
  VdFsHandle *handle;
  int r;

  if (!fs->policy.ioctl)
    return -ENOSYS;
  if (command == NULL ||
      (flags & (VD_FUSE_IOCTL_COMPAT | VD_FUSE_IOCTL_UNRESTRICTED)) != 0)
    return -ENOTTY;
  if (in_len < command->in_len || out_len < command->out_len ||
      out_len > sizeof argument)
    return -EINVAL;
  if (command->changes && fs->policy.read_only)
    return -EROFS;
  r = vd_fs_lazy_get (fs, nodeid, fh, VD_FS_FILE, &handle);
  if (r == -EBADF)
    r = vd_fs_lazy_get (fs, nodeid, fh, VD_FS_DIR, &handle);
  if (r < 0)
    return r;
  memcpy (&argument, in, command->in_len);
  r = ioctl (handle->fd, command->command, &argument) < 0 ? -errno : 0;
  vd_fs_handles_put (handle);
  if (r == 0)
    vd_fs_reply_two (req, &out, sizeof out, &argument,
                     command->out_len > 0 ? out_len : 0);
  return r;
}
