/* SPDX-License-Identifier: BSD-3-Clause
 *
 * validate.c - see validate.h
 *
 * A message that is longer than its parts is accepted, because Windows guests
 * send whole buffers; one that is shorter never is.
 */
#include "devices/fs/validate.h"

#include <errno.h>
#include <linux/limits.h>
#include <linux/xattr.h>
#include <string.h>

#define ENGINE  VD_FS_OP_ENGINE
#define CHANGES VD_FS_OP_CHANGES
#define EXT     VD_FS_OP_EXTENSIONS
#define ENTRY   sizeof (VdFuseEntryOut)
#define ATTR    sizeof (VdFuseAttrOut)
#define OPEN    sizeof (VdFuseOpenOut)

/* Columns: name, bytes of arguments, smallest reply, names, flags. */
static const VdFsOpcode opcodes[VD_FUSE_N_OPCODES] = {
  [VD_FUSE_LOOKUP] = { "LOOKUP", 0, ENTRY, 1, ENGINE | VD_FS_OP_DOTS },
  [VD_FUSE_FORGET] = { "FORGET", sizeof (VdFuseForgetIn), 0, 0,
                       VD_FS_OP_NO_REPLY | VD_FS_OP_HIPRIO },
  [VD_FUSE_GETATTR] = { "GETATTR", sizeof (VdFuseGetattrIn), ATTR, 0, ENGINE },
  [VD_FUSE_SETATTR] = { "SETATTR", sizeof (VdFuseSetattrIn), ATTR, 0,
                        ENGINE | CHANGES },
  [VD_FUSE_READLINK] = { "READLINK", 0, 1, 0, ENGINE },
  [VD_FUSE_SYMLINK] = { "SYMLINK", 0, ENTRY, 2,
                        ENGINE | CHANGES | EXT | VD_FS_OP_TARGET },
  [VD_FUSE_MKNOD] = { "MKNOD", sizeof (VdFuseMknodIn), ENTRY, 1,
                      ENGINE | CHANGES | EXT },
  [VD_FUSE_MKDIR] = { "MKDIR", sizeof (VdFuseMkdirIn), ENTRY, 1,
                      ENGINE | CHANGES | EXT },
  [VD_FUSE_UNLINK] = { "UNLINK", 0, 0, 1, ENGINE | CHANGES },
  [VD_FUSE_RMDIR] = { "RMDIR", 0, 0, 1, ENGINE | CHANGES },
  [VD_FUSE_RENAME] = { "RENAME", sizeof (VdFuseRenameIn), 0, 2,
                       ENGINE | CHANGES },
  [VD_FUSE_LINK] = { "LINK", sizeof (VdFuseLinkIn), ENTRY, 1,
                     ENGINE | CHANGES },
  [VD_FUSE_OPEN] = { "OPEN", sizeof (VdFuseOpenIn), OPEN, 0, ENGINE },
  [VD_FUSE_READ] = { "READ", sizeof (VdFuseReadIn), 0, 0, 0 },
  [VD_FUSE_WRITE] = { "WRITE", sizeof (VdFuseWriteIn), sizeof (VdFuseWriteOut),
                      0, CHANGES },
  [VD_FUSE_STATFS] = { "STATFS", 0, sizeof (VdFuseStatfsOut), 0, ENGINE },
  [VD_FUSE_RELEASE] = { "RELEASE", sizeof (VdFuseReleaseIn), 0, 0, ENGINE },
  [VD_FUSE_FSYNC] = { "FSYNC", sizeof (VdFuseFsyncIn), 0, 0, ENGINE },
  [VD_FUSE_SETXATTR] = { "SETXATTR", sizeof (VdFuseSetxattrIn), 0, 1,
                         CHANGES | VD_FS_OP_ATTRIBUTE },
  [VD_FUSE_GETXATTR] = { "GETXATTR", sizeof (VdFuseGetxattrIn), 0, 1,
                         ENGINE | VD_FS_OP_ATTRIBUTE },
  [VD_FUSE_LISTXATTR] = { "LISTXATTR", sizeof (VdFuseGetxattrIn), 0, 0,
                          ENGINE },
  [VD_FUSE_REMOVEXATTR] = { "REMOVEXATTR", 0, 0, 1,
                            ENGINE | CHANGES | VD_FS_OP_ATTRIBUTE },
  [VD_FUSE_FLUSH] = { "FLUSH", sizeof (VdFuseFlushIn), 0, 0, ENGINE },
  [VD_FUSE_INIT] = { "INIT", VD_FUSE_INIT_IN_OLD, 24, 0, VD_FS_OP_BEFORE_INIT },
  [VD_FUSE_OPENDIR] = { "OPENDIR", sizeof (VdFuseOpenIn), OPEN, 0, ENGINE },
  [VD_FUSE_READDIR] = { "READDIR", sizeof (VdFuseReadIn), 0, 0, ENGINE },
  [VD_FUSE_RELEASEDIR] = { "RELEASEDIR", sizeof (VdFuseReleaseIn), 0, 0,
                           ENGINE },
  [VD_FUSE_FSYNCDIR] = { "FSYNCDIR", sizeof (VdFuseFsyncIn), 0, 0, ENGINE },
  [VD_FUSE_GETLK] = { "GETLK", sizeof (VdFuseLkIn), sizeof (VdFuseLkOut), 0,
                      ENGINE },
  [VD_FUSE_SETLK] = { "SETLK", sizeof (VdFuseLkIn), 0, 0, ENGINE },
  [VD_FUSE_SETLKW] = { "SETLKW", sizeof (VdFuseLkIn), 0, 0, ENGINE },
  [VD_FUSE_ACCESS] = { "ACCESS", sizeof (VdFuseAccessIn), 0, 0, ENGINE },
  [VD_FUSE_CREATE] = { "CREATE", sizeof (VdFuseCreateIn), ENTRY + OPEN, 1,
                       ENGINE | CHANGES | EXT },
  [VD_FUSE_INTERRUPT] = { "INTERRUPT", sizeof (VdFuseInterruptIn), 0, 0,
                          VD_FS_OP_NO_REPLY | VD_FS_OP_HIPRIO },
  [VD_FUSE_IOCTL] = { "IOCTL", sizeof (VdFuseIoctlIn), sizeof (VdFuseIoctlOut),
                      0, ENGINE },
  [VD_FUSE_DESTROY] = { "DESTROY", 0, 0, 0, VD_FS_OP_BEFORE_INIT },
  [VD_FUSE_BATCH_FORGET] = { "BATCH_FORGET", sizeof (VdFuseBatchForgetIn), 0, 0,
                             VD_FS_OP_NO_REPLY | VD_FS_OP_HIPRIO },
  [VD_FUSE_FALLOCATE] = { "FALLOCATE", sizeof (VdFuseFallocateIn), 0, 0,
                          ENGINE | CHANGES },
  [VD_FUSE_READDIRPLUS] = { "READDIRPLUS", sizeof (VdFuseReadIn), 0, 0,
                            ENGINE },
  [VD_FUSE_RENAME2] = { "RENAME2", sizeof (VdFuseRename2In), 0, 2,
                        ENGINE | CHANGES },
  [VD_FUSE_LSEEK] = { "LSEEK", sizeof (VdFuseLseekIn), sizeof (VdFuseLseekOut),
                      0, ENGINE },
  [VD_FUSE_COPY_FILE_RANGE] = { "COPY_FILE_RANGE",
                                sizeof (VdFuseCopyFileRangeIn),
                                sizeof (VdFuseWriteOut), 0, ENGINE | CHANGES },
  [VD_FUSE_SETUPMAPPING] = { "SETUPMAPPING", sizeof (VdFuseSetupmappingIn), 0,
                             0, VD_FS_OP_WINDOW },
  [VD_FUSE_REMOVEMAPPING] = { "REMOVEMAPPING", sizeof (VdFuseRemovemappingIn),
                              0, 0, VD_FS_OP_WINDOW },
  [VD_FUSE_SYNCFS] = { "SYNCFS", sizeof (VdFuseSyncfsIn), 0, 0, 0 },
  /* Its name is "/", which means nothing. */
  [VD_FUSE_TMPFILE] = { "TMPFILE", sizeof (VdFuseCreateIn), ENTRY + OPEN, 0,
                        CHANGES | EXT },
  [VD_FUSE_STATX] = { "STATX", sizeof (VdFuseStatxIn), sizeof (VdFuseStatxOut),
                      0, 0 },
  [VD_FUSE_COPY_FILE_RANGE_64] = { "COPY_FILE_RANGE_64",
                                   sizeof (VdFuseCopyFileRangeIn),
                                   sizeof (VdFuseCopyFileRangeOut), 0,
                                   CHANGES },
};

const VdFsOpcode *
vd_fs_opcode (guint32 opcode)
{
  if (opcode >= G_N_ELEMENTS (opcodes) || opcodes[opcode].name == NULL)
    return NULL;
  return &opcodes[opcode];
}

guint32
vd_fs_opcode_args_len (guint32 opcode, guint64 negotiated)
{
  if (opcode == VD_FUSE_SETXATTR && (negotiated & VD_FUSE_SETXATTR_EXT) == 0)
    return VD_FUSE_SETXATTR_IN_OLD;
  return opcodes[opcode].args_len;
}

static gboolean
name_is_dots (const char *name)
{
  return strcmp (name, ".") == 0 || strcmp (name, "..") == 0;
}

static gboolean
name_is_valid (const VdFsOpcode *opcode, guint which, const char *name,
               gsize len)
{
  if (len == 0)
    return FALSE;
  if ((opcode->flags & VD_FS_OP_TARGET) != 0 && which == 1)
    return len < PATH_MAX;
  if ((opcode->flags & VD_FS_OP_ATTRIBUTE) != 0)
    return len <= XATTR_NAME_MAX;
  if (memchr (name, '/', len) != NULL)
    return FALSE;
  return (opcode->flags & VD_FS_OP_DOTS) != 0 || !name_is_dots (name);
}

/* Finds the names, and moves ret->rest behind them. */
static int
take_names (VdFsMessage *ret)
{
  for (guint i = 0; i < ret->opcode->n_names; i++) {
    const char *name = (const char *) ret->rest;
    const char *end = memchr (name, '\0', ret->rest_len);
    gsize len;

    if (end == NULL)
      return -EINVAL;
    len = (gsize) (end - name);
    if (!name_is_valid (ret->opcode, i, name, len))
      return -EINVAL;
    ret->names[i] = name;
    ret->rest += len + 1;
    ret->rest_len -= (guint32) len + 1;
  }
  return 0;
}

/* Groups: a count, then that many; the kernel sends one. */
static int
take_groups (const guint8 *at, guint32 len, VdFsMessage *ret)
{
  guint32 n;

  if (len < sizeof n)
    return -EINVAL;
  memcpy (&n, at, sizeof n);
  if (n > (len - sizeof n) / sizeof (guint32))
    return -EINVAL;
  if (n == 0)
    return 0;
  memcpy (&ret->group, at + sizeof n, sizeof ret->group);
  ret->has_group = TRUE;
  return 0;
}

/* Security labels: so many, each a size, a name and a value; kernels send one
 * at most. */
static int
take_label (const guint8 *at, guint32 len, guint32 n, VdFsMessage *ret)
{
  VdFuseSecctx context;
  const guint8 *name = at + sizeof context, *end;

  if (n == 0)
    return 0;
  if (n > 1 || len < sizeof context)
    return -EINVAL;
  memcpy (&context, at, sizeof context);
  len -= (guint32) sizeof context;
  end = memchr (name, '\0', len);
  if (end == NULL || end - name > XATTR_NAME_MAX ||
      context.size > len - (guint32) (end - name) - 1 ||
      !g_str_has_prefix ((const char *) name, XATTR_SECURITY_PREFIX))
    return -EINVAL;
  ret->label_name = (const char *) name;
  ret->label = end + 1;
  ret->label_len = context.size;
  return 0;
}

/* Before extensions were counted in the header, the labels followed the names.
 * There may be padding behind them. */
static int
take_old_label (VdFsMessage *ret)
{
  const guint8 *at = ret->rest;
  guint32 left = ret->rest_len;
  VdFuseExtHeader header;

  if (ret->opcode->n_names == 0) { /* TMPFILE has a name that means nothing */
    const guint8 *end = memchr (at, '\0', left);

    if (end == NULL)
      return -EINVAL;
    left -= (guint32) (end + 1 - at);
    at = end + 1;
  }
  if (left < sizeof header)
    return 0;
  memcpy (&header, at, sizeof header);
  if (header.size < sizeof header || header.size > left)
    return -EINVAL;
  return take_label (at + sizeof header, header.size - (guint32) sizeof header,
                     header.type, ret);
}

/* Extensions end the message; they are cut off, so that libfuse never sees
 * them. */
static int
take_extensions (const VdFuseInHeader *in, VdFsMessage *ret)
{
  guint32 left = in->total_extlen * 8u;
  const guint8 *at;

  if (left > ret->len - sizeof *in ||
      (left > 0 && (ret->opcode->flags & EXT) == 0))
    return -EINVAL;
  ret->len -= left;
  at = ret->bytes + ret->len;
  while (left > 0) {
    VdFuseExtHeader header;
    int r = 0;

    memcpy (&header, at, MIN (sizeof header, left));
    if (left < sizeof header || header.size < sizeof header ||
        header.size % 8 != 0 || header.size > left)
      return -EINVAL;
    if (header.type == VD_FUSE_EXT_GROUPS)
      r = take_groups (at + sizeof header,
                       header.size - (guint32) sizeof header, ret);
    else if (header.type <= VD_FUSE_SECCTX_MAX)
      r = take_label (at + sizeof header, header.size - (guint32) sizeof header,
                      header.type, ret);
    if (r < 0)
      return r;
    at += header.size;
    left -= header.size;
  }
  return 0;
}

/* Counts and sizes inside of arguments that say how much follows. */
static int
check_counts (guint32 opcode, const VdFsMessage *message)
{
  if (opcode == VD_FUSE_SETXATTR) {
    const VdFuseSetxattrIn *args = message->args;

    return args->size <= message->rest_len ? 0 : -EINVAL;
  }
  if (opcode == VD_FUSE_WRITE) {
    const VdFuseWriteIn *args = message->args;

    return args->size <= message->rest_len ? 0 : -EINVAL;
  }
  if (opcode == VD_FUSE_IOCTL) {
    const VdFuseIoctlIn *args = message->args;

    return args->in_size <= message->rest_len ? 0 : -EINVAL;
  }
  if (opcode == VD_FUSE_BATCH_FORGET) {
    const VdFuseBatchForgetIn *args = message->args;

    return args->count <= message->rest_len / sizeof (VdFuseForgetOne)
               ? 0
               : -EINVAL;
  }
  if (opcode == VD_FUSE_REMOVEMAPPING) {
    const VdFuseRemovemappingIn *args = message->args;

    return args->count <= message->rest_len / sizeof (VdFuseRemovemappingOne)
               ? 0
               : -EINVAL;
  }
  return 0;
}

int
vd_fs_validate (guint8 *bytes, guint32 len, guint64 room, guint64 negotiated,
                VdFsMessage *ret)
{
  const VdFuseInHeader *in = (const VdFuseInHeader *) (const void *) bytes;
  guint32 args_len;
  int r = 0;

  *ret = (VdFsMessage){
    .opcode = vd_fs_opcode (in->opcode),
    .bytes = bytes,
    .len = len,
    .args = in + 1,
  };
  if (ret->opcode == NULL || ((ret->opcode->flags & VD_FS_OP_WINDOW) != 0 &&
                              (negotiated & VD_FUSE_MAP_ALIGNMENT) == 0))
    return -ENOSYS;
  /* Older guests have padding where the length of extensions is now. */
  if ((negotiated & VD_FUSE_CREATE_SUPP_GROUP) != 0)
    r = take_extensions (in, ret);
  if (r < 0)
    return r;
  args_len = vd_fs_opcode_args_len (in->opcode, negotiated);
  if (ret->len - sizeof *in < args_len || room < ret->opcode->reply_len)
    return -EINVAL;
  ret->rest = (const guint8 *) (in + 1) + args_len;
  ret->rest_len = ret->len - (guint32) sizeof *in - args_len;
  r = take_names (ret);
  if (r == 0 && (ret->opcode->flags & EXT) != 0 &&
      (negotiated & (VD_FUSE_SECURITY_CTX | VD_FUSE_CREATE_SUPP_GROUP)) ==
          VD_FUSE_SECURITY_CTX)
    r = take_old_label (ret);
  return r < 0 ? r : check_counts (in->opcode, ret);
}
