/* SPDX-License-Identifier: BSD-3-Clause */
#include "devices/fs/proof.h"

#include <errno.h>
#include <fcntl.h>
#include <string.h>

/* A file handle of any length, for the kernel. */
typedef union {
  struct file_handle handle;
  guint8 bytes[sizeof (struct file_handle) + MAX_HANDLE_SZ];
} Buffer;

const guint8 *
vd_fs_proof_bytes (const VdFsProof *proof)
{
  return proof->len > VD_FS_PROOF_FEW ? proof->many : proof->few;
}

int
vd_fs_proof_set_handle (VdFsProof *proof, gint32 type, const void *bytes,
                        gsize len)
{
  guint8 *to = proof->few;

  *proof = (VdFsProof){ 0 };
  if (len == 0)
    return 0;
  if (len > VD_FS_PROOF_FEW && (to = proof->many = g_try_malloc (len)) == NULL)
    return -ENOMEM;
  proof->kind = VD_FS_PROOF_HANDLE;
  proof->len = (guint8) len;
  proof->type = type;
  memcpy (to, bytes, len);
  return 0;
}

int
vd_fs_proof_handle (int fd, const char *name, VdFsProof *ret)
{
  Buffer buffer = { .handle = { .handle_bytes = MAX_HANDLE_SZ } };
  int mount;

  if (name_to_handle_at (fd, name, &buffer.handle, &mount, AT_EMPTY_PATH) < 0)
    return errno == EOVERFLOW ? -EOPNOTSUPP : -errno;
  return vd_fs_proof_set_handle (ret, buffer.handle.handle_type,
                                 buffer.handle.f_handle,
                                 buffer.handle.handle_bytes);
}

int
vd_fs_proof_birth (const struct statx *stx, VdFsProof *ret)
{
  if ((stx->stx_mask & STATX_BTIME) == 0)
    return -EOPNOTSUPP;
  *ret = (VdFsProof){
    .kind = VD_FS_PROOF_BIRTH,
    .len = sizeof stx->stx_btime,
  };
  memcpy (ret->few, &stx->stx_btime, sizeof stx->stx_btime);
  return 0;
}

gboolean
vd_fs_proof_equal (const VdFsProof *a, const VdFsProof *b)
{
  return a->kind == b->kind && a->kind != VD_FS_PROOF_NONE &&
         a->type == b->type && a->len == b->len &&
         memcmp (vd_fs_proof_bytes (a), vd_fs_proof_bytes (b), a->len) == 0;
}

void
vd_fs_proof_clear (VdFsProof *proof)
{
  if (proof->len > VD_FS_PROOF_FEW)
    g_free (proof->many);
  proof->kind = VD_FS_PROOF_NONE;
  proof->len = 0;
}

int
vd_fs_proof_open (const VdFsProof *proof, int mount)
{
  Buffer buffer = {
    .handle = { .handle_bytes = proof->len, .handle_type = proof->type },
  };
  int fd;

  memcpy (buffer.handle.f_handle, vd_fs_proof_bytes (proof), proof->len);
  fd = open_by_handle_at (mount, &buffer.handle, O_PATH | O_CLOEXEC);
  if (fd >= 0)
    return fd;
  /* What ext4 says of an inode that is being removed at this moment. */
  return errno == ENOMEM ? -ESTALE : -errno;
}
