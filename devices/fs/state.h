/* SPDX-License-Identifier: BSD-3-Clause
 *
 * state.h - what a guest knows and has open, for its next home
 *
 * Files are told by their paths below the shared directory, or by file handles
 * (VdFsMigration).  The bytes are little-endian and packed: a VdFsStateHead,
 * inodes each with its path and its handle behind it, handles.  Locks of the
 * host cannot go along: while this side has them, the other cannot.  server/state.h
 * adds version and checksum of the whole; neither makes the content true.
 */
#pragma once

#include "devices/fs/export.h"

#define VD_FS_STATE_VERSION    1
#define VD_FS_STATE_HANDLE_MAX 128 /* MAX_HANDLE_SZ of Linux */

typedef struct {
  guint32 version;
  guint32 n_inodes;
  guint32 n_handles;
  guint32 inode_generation; /* vd_fs_slots_generation() */
  guint32 handle_generation;
  guint32 n_locks;    /* of the host, which do not go along */
  guint64 negotiated; /* flags of INIT; 0: no session, and nothing else */
} VdFsStateHead;

/* Followed by @path_len and @handle_len bytes; at least one is not 0. */
typedef struct {
  guint64 nodeid;
  guint64 n_lookups;
  guint32 type;       /* S_IFMT bits */
  guint32 path_len;   /* of the path, without a NUL or a '/' before it */
  guint32 handle_len; /* of a file handle of the shared directory's mount */
  gint32 handle_type;
} VdFsStateInode;

typedef struct {
  guint64 fh;
  guint64 nodeid;
  guint32 kind;  /* VdFsHandleKind */
  guint32 flags; /* of open(), those of VD_FS_STATE_FLAGS */
} VdFsStateHandle;

G_STATIC_ASSERT (sizeof (VdFsStateHead) == 32);
G_STATIC_ASSERT (sizeof (VdFsStateInode) == 32);
G_STATIC_ASSERT (sizeof (VdFsStateHandle) == 24);

/* Flags of open() that an open file keeps. */
#define VD_FS_STATE_FLAGS (O_ACCMODE | O_APPEND | O_DIRECT | O_NOATIME)

/* VdDeviceOps.save and load.  Any thread; the queues are stopped, and nobody
 * else calls the device but for dump().  Half a second for 20,000 files. */
gboolean vd_fs_save (VdDevice *dev, GByteArray *state, GError **error);
gboolean vd_fs_load (VdDevice *dev, const guint8 *config, const guint8 *state,
                     gsize len, GError **error);

/* Returns: whether nobody waits any more, and then @error is set. */
gboolean vd_fs_state_abandoned (const VdFs *fs, GError **error);

/* Where the shared directory is, as /proc tells it: what the paths of all its
 * files begin with.  Returns: (transfer full) (nullable) */
char *vd_fs_state_root (const VdFs *fs);

/* The path of @fd, an open file of the export that has @key, below the shared
 * directory @root; the file has had it a moment ago.
 * Returns: (transfer full) (nullable): the path, or NULL if it has none, or if
 * it is that directory. */
char *
vd_fs_state_path (const VdFs *fs, const char *root, int fd, const VdFsKey *key);

#define VD_FS_STATE_ERROR (vd_fs_state_error_quark ())
GQuark vd_fs_state_error_quark (void);
typedef enum {
  VD_FS_STATE_ERROR_NAMELESS,  /* an open file has no name any more */
  VD_FS_STATE_ERROR_UNKNOWN,   /* a file's name cannot be told, or its handle */
  VD_FS_STATE_ERROR_DAMAGED,   /* what is to be loaded contradicts itself */
  VD_FS_STATE_ERROR_POLICY,    /* it was made with other keys */
  VD_FS_STATE_ERROR_LOST,      /* a file is not there */
  VD_FS_STATE_ERROR_LOCKS,     /* the guest has locked files on the host */
  VD_FS_STATE_ERROR_ABANDONED, /* nobody waits for the end */
  VD_FS_STATE_ERROR_MAPPED,    /* the guest has files in its DAX window */
} VdFsStateError;
