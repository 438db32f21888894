/* SPDX-License-Identifier: BSD-3-Clause
 *
 * validate.h - what the kernel would guarantee for /dev/fuse, checked here
 *
 * libfuse trusts its kernel; in a virtqueue the sender is a guest.  One table
 * says for each opcode what a message must hold, and nothing reaches libfuse or
 * an operation that does not hold it.  Pure functions over private bytes.
 */
#pragma once

#include <glib.h>

#include "devices/fs/wire.h"

typedef enum {
  VD_FS_OP_NO_REPLY = 1 << 0,
  VD_FS_OP_HIPRIO = 1 << 1,     /* may come on the first queue, too */
  VD_FS_OP_CHANGES = 1 << 2,    /* refused on a read-only export */
  VD_FS_OP_DOTS = 1 << 3,       /* the name may be "." or ".." */
  VD_FS_OP_TARGET = 1 << 4,     /* the second string is a link's target */
  VD_FS_OP_ATTRIBUTE = 1 << 5,  /* the string is an extended attribute's name */
  VD_FS_OP_EXTENSIONS = 1 << 6, /* extensions may follow */
  VD_FS_OP_ENGINE = 1 << 7,     /* libfuse decodes it; else direct.c does */
  VD_FS_OP_BEFORE_INIT = 1 << 8,
  VD_FS_OP_WINDOW = 1 << 9, /* only if the guest has a DAX window */
} VdFsOpFlags;

typedef struct {
  const char *name;  /* NULL: no such operation, or not served */
  guint16 args_len;  /* bytes of fixed arguments */
  guint16 reply_len; /* bytes of the smallest reply beyond its header */
  guint8 n_names;    /* NUL-ended strings after the arguments */
  guint16 flags;     /* VdFsOpFlags */
} VdFsOpcode;

/* A message, taken apart; points into it. */
typedef struct {
  const VdFsOpcode *opcode;
  guint8 *bytes;
  guint32 len; /* without extensions */
  const void *args;
  const char *names[2];
  const guint8 *rest; /* what follows the names */
  guint32 rest_len;
  gboolean has_group; /* one of the caller's supplementary groups came along */
  guint32 group;
  const char *label_name; /* of a new file's security label, or NULL */
  const guint8 *label;
  guint32 label_len;
} VdFsMessage;

/* Returns: (nullable): NULL for what is answered with ENOSYS. */
const VdFsOpcode *vd_fs_opcode (guint32 opcode);

/* Bytes of @opcode's fixed arguments, which for SETXATTR depend on what was
 * agreed on. */
guint32 vd_fs_opcode_args_len (guint32 opcode, guint64 negotiated);

/* @bytes: a whole message, 8-aligned, that begins with a VdFuseInHeader
 * @len: its bytes, at least a header's
 * @room: bytes that the guest gave for the reply beyond its header
 * @negotiated: INIT flags in force
 * Returns: 0, -ENOSYS or -EINVAL. */
int vd_fs_validate (guint8 *bytes, guint32 len, guint64 room,
                    guint64 negotiated, VdFsMessage *ret);
