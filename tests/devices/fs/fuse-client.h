/* SPDX-License-Identifier: BSD-3-Clause
 *
 * fuse-client.h - a guest's FUSE client over one virtqueue, for tests
 *
 * Speaks the protocol with the kernel's own structs, so that it is an
 * independent check of devices/fs/wire.h, and checks every answer as Linux 7
 * does: the used length equals the header's, the unique is the request's.
 * One request at a time; one thread for each client.
 */
#pragma once

#include <linux/fuse.h>
#include <sys/stat.h>

#include "tests/lib/ring.h"

#define VT_FUSE_DATA_MAX (1 << 20) /* bytes of data of one message */

/* Newer than the kernel header of the oldest system that this builds on. */
#define VT_FUSE_STATX              52
#define VT_FUSE_COPY_FILE_RANGE_64 53

typedef struct {
  VtRing *ring;
  guint8 *out;    /* guest memory for the message */
  guint8 *in;     /* and for its answer */
  gsize piece;    /* bytes of a buffer; 0: as the kernel splits them */
  guint64 unique; /* of the last request */
  guint32 uid, gid;
  guint32 used;    /* length of the last answer */
  guint64 flags;   /* agreed on by vt_fuse_init() */
  guint32 timeout; /* entry_valid of the last entry, seconds */
} VtFuse;

/* Allocates buffers in the guest of @ring. */
void vt_fuse_init_client (VtFuse *fuse, VtRing *ring);

/* Sends header, @args and @data, and copies at most @reply_max bytes of the
 * answer's payload.
 * Returns: its length, or -errno of the answer. */
gssize vt_fuse_call (VtFuse *fuse, guint32 opcode, guint64 nodeid,
                     const void *args, gsize args_len, const void *data,
                     gsize data_len, void *reply, gsize reply_max);

/* Sends @len raw bytes with room for an answer of @room bytes.
 * Returns: the used length. */
guint32 vt_fuse_raw (VtFuse *fuse, const void *bytes, gsize len, gsize room);

/* A request that is under way while others are sent.  Its answer is a header
 * alone. */
typedef struct {
  struct fuse_in_header *in;
  struct fuse_out_header *out;
} VtFuseCall;

/* @args: at most VT_FUSE_CALL_MAX bytes */
#define VT_FUSE_CALL_MAX 64
VtFuseCall vt_fuse_start (VtFuse *fuse, guint32 opcode, guint64 nodeid,
                          const void *args, gsize args_len);
/* Waits for its answer, which must be the next. */
void vt_fuse_end (VtFuse *fuse, const VtFuseCall *call, int error);
/* The same without waiting.  Returns: FALSE if there is no answer yet. */
gboolean vt_fuse_try_end (VtFuse *fuse, const VtFuseCall *call, int error);

VtFuseCall vt_fuse_start_setup (VtFuse *fuse, guint64 nodeid,
                                const struct fuse_setupmapping_in *in);
/* Of one place. */
VtFuseCall vt_fuse_start_remove (VtFuse *fuse, guint64 moffset, guint64 len);

/* Below: 0 or -errno, unless said otherwise. */

/* Offers @flags, and all that Linux 6.12 offers if it is 0. */
int vt_fuse_init (VtFuse *fuse, guint64 flags);
int vt_fuse_destroy (VtFuse *fuse);

int vt_fuse_lookup (VtFuse *fuse, guint64 parent, const char *name,
                    guint64 *nodeid, struct fuse_attr *attr);
void vt_fuse_forget (VtFuse *fuse, guint64 nodeid, guint64 n);
int vt_fuse_getattr (VtFuse *fuse, guint64 nodeid, struct fuse_attr *attr);
int vt_fuse_setattr (VtFuse *fuse, guint64 nodeid,
                     const struct fuse_setattr_in *in, struct fuse_attr *attr);

int vt_fuse_create (VtFuse *fuse, guint64 parent, const char *name,
                    guint32 flags, guint32 mode, guint64 *nodeid, guint64 *fh);
int vt_fuse_mkdir (VtFuse *fuse, guint64 parent, const char *name, guint32 mode,
                   guint64 *nodeid);
int vt_fuse_mknod (VtFuse *fuse, guint64 parent, const char *name, guint32 mode,
                   guint32 rdev, guint64 *nodeid);
int vt_fuse_symlink (VtFuse *fuse, guint64 parent, const char *name,
                     const char *target, guint64 *nodeid);
int
vt_fuse_link (VtFuse *fuse, guint64 nodeid, guint64 parent, const char *name);
int vt_fuse_unlink (VtFuse *fuse, guint64 parent, const char *name);
int vt_fuse_rmdir (VtFuse *fuse, guint64 parent, const char *name);
int vt_fuse_rename (VtFuse *fuse, guint64 parent, const char *name,
                    guint64 new_parent, const char *new_name, guint32 flags);
/* Returns: the target's length. */
int vt_fuse_readlink (VtFuse *fuse, guint64 nodeid, char target[4096]);

int vt_fuse_open (VtFuse *fuse, guint64 nodeid, guint32 flags, guint64 *fh,
                  guint32 *open_flags);
int vt_fuse_release (VtFuse *fuse, guint64 nodeid, guint64 fh);
int vt_fuse_opendir (VtFuse *fuse, guint64 nodeid, guint64 *fh);
int vt_fuse_releasedir (VtFuse *fuse, guint64 nodeid, guint64 fh);

/* Return: bytes or -errno. */
gssize vt_fuse_read (VtFuse *fuse, guint64 nodeid, guint64 fh, guint64 offset,
                     void *data, guint32 size);
gssize vt_fuse_write (VtFuse *fuse, guint64 nodeid, guint64 fh, guint64 offset,
                      const void *data, guint32 size);
gssize
vt_fuse_readdir (VtFuse *fuse, guint64 nodeid, guint64 fh, guint64 offset,
                 gboolean plus, void *data, guint32 size);

/* Extended attributes; these return bytes or -errno, and take @size 0 to ask
 * for a length. */
gssize vt_fuse_getxattr (VtFuse *fuse, guint64 nodeid, const char *name,
                         void *value, guint32 size);
gssize
vt_fuse_listxattr (VtFuse *fuse, guint64 nodeid, char *names, guint32 size);
int vt_fuse_setxattr (VtFuse *fuse, guint64 nodeid, const char *name,
                      const void *value, guint32 size, guint32 flags);
int vt_fuse_removexattr (VtFuse *fuse, guint64 nodeid, const char *name);
