/* SPDX-License-Identifier: BSD-3-Clause
 *
 * direct.c - messages that libfuse must not see
 *
 * Because it trusts their counts (BATCH_FORGET), keeps them for ever
 * (INTERRUPT), decodes them by the protocol of its own version (SETXATTR), does
 * not know them in all versions (the newer ones), or would end its session
 * (INIT, DESTROY).
 */
#include <errno.h>
#include <string.h>

#include "devices/fs/ops.h"

static int
forget (VdFsRequest *req)
{
  const VdFuseForgetIn *args = req->message->args;

  vd_fs_inodes_forget (&vd_fs_of (req)->inodes, req->in.nodeid, args->nlookup);
  vd_fs_reply_none (req);
  return 0;
}

static int
batch_forget (VdFsRequest *req)
{
  const VdFuseBatchForgetIn *args = req->message->args;

  for (guint32 i = 0; i < args->count; i++) {
    VdFuseForgetOne one;

    memcpy (&one, req->message->rest + i * sizeof one, sizeof one);
    vd_fs_inodes_forget (&vd_fs_of (req)->inodes, one.nodeid, one.nlookup);
  }
  vd_fs_reply_none (req);
  return 0;
}

/* Only locks are waited for by choice. */
static int
interrupt (VdFsRequest *req)
{
  const VdFuseInterruptIn *args = req->message->args;

  vd_fs_locks_interrupt (&vd_fs_of (req)->locks, args->unique);
  vd_fs_reply_none (req);
  return 0;
}

static int
setxattr_op (VdFsRequest *req)
{
  const VdFsMessage *message = req->message;
  const VdFuseSetxattrIn *args = message->args;
  guint64 negotiated = vd_fs_negotiated (vd_fs_of (req));
  gboolean extended = (negotiated & VD_FUSE_SETXATTR_EXT) != 0;

  return vd_fs_op_setxattr (req, req->in.nodeid, message->names[0],
                            message->bytes + (message->rest - message->bytes),
                            args->size, args->flags,
                            extended ? args->setxattr_flags : 0);
}

int
vd_fs_direct (VdFsRequest *req)
{
  const void *args = req->message->args;
  guint64 nodeid = req->in.nodeid;

  switch (req->in.opcode) {
  case VD_FUSE_FORGET: return forget (req);
  case VD_FUSE_BATCH_FORGET: return batch_forget (req);
  case VD_FUSE_INTERRUPT: return interrupt (req);
  case VD_FUSE_INIT: return vd_fs_op_init (req);
  case VD_FUSE_DESTROY: return vd_fs_op_destroy (req);
  case VD_FUSE_SETXATTR: return setxattr_op (req);
  case VD_FUSE_SETUPMAPPING: return vd_fs_op_setupmapping (req, nodeid, args);
  case VD_FUSE_REMOVEMAPPING: return vd_fs_op_removemapping (req, args);
  case VD_FUSE_SYNCFS: return vd_fs_op_syncfs (req, nodeid);
  case VD_FUSE_TMPFILE: return vd_fs_op_tmpfile (req, nodeid, args);
  case VD_FUSE_STATX: return vd_fs_op_statx (req, nodeid, args);
  case VD_FUSE_COPY_FILE_RANGE_64:
    return vd_fs_op_copy_file_range (req, nodeid, args);
  default: return -ENOSYS;
  }
}
