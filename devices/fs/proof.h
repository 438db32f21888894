/* SPDX-License-Identifier: BSD-3-Clause
 *
 * proof.h - what tells, without a descriptor, that a file is still the same
 *
 * Numbers of inodes are used again as soon as a file is gone.  A file handle
 * has the inode's generation as well and opens the file whatever its name is.
 * Where there are none (the file system has none, or the daemon lacks
 * CAP_DAC_READ_SEARCH) the time of birth tells one file from the next, and the
 * name under which it was last seen leads to it.
 *
 * Handles come from the kernel, never from a guest: one that was made up would
 * open files beyond the export (state-load.c takes that into account).  Any
 * thread.
 */
#pragma once

#include <glib.h>
#include <sys/stat.h>

#define VD_FS_PROOF_FEW 24 /* bytes; those of local file systems are shorter */

typedef enum {
  VD_FS_PROOF_NONE,
  VD_FS_PROOF_HANDLE,
  VD_FS_PROOF_BIRTH,
} VdFsProofKind;

typedef struct {
  guint8 kind; /* VdFsProofKind */
  guint8 len;  /* bytes; those beyond VD_FS_PROOF_FEW are at many */
  gint32 type; /* of a handle, as the kernel has it */
  union {
    guint8 few[VD_FS_PROOF_FEW];
    guint8 *many;
  };
} VdFsProof;

/* @name: in directory @fd, or "" for what @fd itself refers to
 * Returns: 0, -EOPNOTSUPP where there are no handles, or another -errno. */
int vd_fs_proof_handle (int fd, const char *name, VdFsProof *ret);

/* @stx: with STATX_BTIME.  Returns: 0 or -EOPNOTSUPP. */
int vd_fs_proof_birth (const struct statx *stx, VdFsProof *ret);

/* A handle that the kernel has given to another process.
 * @len: at most 128, as proof->len; 0: none
 * Returns: 0 or -ENOMEM. */
int vd_fs_proof_set_handle (VdFsProof *proof, gint32 type, const void *bytes,
                            gsize len);

/* Returns: (transfer none): proof->len bytes. */
const guint8 *vd_fs_proof_bytes (const VdFsProof *proof);

gboolean vd_fs_proof_equal (const VdFsProof *a, const VdFsProof *b);
void vd_fs_proof_clear (VdFsProof *proof); /* afterwards it is NONE */

/* Opens the file of a handle with O_PATH.
 * @mount: a directory on its mount, not O_PATH
 * Returns: a descriptor or -errno; -ESTALE if the file is gone. */
int vd_fs_proof_open (const VdFsProof *proof, int mount);
