/* SPDX-License-Identifier: BSD-3-Clause
 *
 * ops-dir.c - opening and listing directories
 *
 * The host's entries are read into the bench's buffer and translated from there
 * straight into the guest's.  What does not fit stays in the buffer for the next
 * READDIR, which nearly always comes on the same queue and continues; if it does
 * not, the directory is sought to where the guest says.
 */
#include <errno.h>
#include <fcntl.h>
#include <string.h>
#include <sys/stat.h>
#include <sys/syscall.h>
#include <unistd.h>

#include "devices/fs/entry.h"
#include "devices/fs/lazy.h"
#include "devices/fs/ops.h"
#include "vring/iov.h"

#define NAME_LEN_MAX 1024 /* what a FUSE client accepts */

/* As getdents64() writes it. */
typedef struct {
  guint64 ino;
  gint64 next; /* offset of the entry after this one */
  guint16 len; /* of this struct with its name */
  guint8 type; /* DT_* */
  char name[];
} HostEntry;

/* The longest entry of an answer. */
typedef struct {
  VdFuseEntryOut entry;
  guint8 dirent[sizeof (VdFuseDirent) + NAME_LEN_MAX];
} Encoded;

int
vd_fs_op_opendir (VdFsRequest *req, guint64 nodeid)
{
  VdFs *fs = vd_fs_of (req);
  VdFuseOpenOut out = { 0 };
  VdFsInode *inode;
  int r;

  if ((vd_fs_negotiated (fs) & VD_FUSE_NO_OPENDIR_SUPPORT) != 0)
    return -ENOSYS; /* and the guest does not ask again: lazy.h */
  r = vd_fs_inodes_get (&fs->inodes, nodeid, &inode);
  if (r < 0)
    return r;
  r = inode->type == S_IFDIR
          ? vd_fs_reopen (fs, inode->fd, O_RDONLY | O_DIRECTORY | O_NONBLOCK)
          : -ENOTDIR;
  if (r >= 0)
    r = vd_fs_handles_add (&fs->handles, VD_FS_DIR, nodeid, inode, r, 0,
                           &out.fh);
  vd_fs_inodes_put (inode);
  if (r < 0)
    return r;
  if (fs->policy.cache == VD_FS_CACHE_ALWAYS)
    out.open_flags = VD_FOPEN_CACHE_DIR | VD_FOPEN_KEEP_CACHE;
  vd_fs_reply (req, &out, sizeof out);
  return 0;
}

/* Reads entries from @offset on into the bench's buffer.
 * Returns: 0 or -errno; at the end of the directory the buffer is empty. */
static int
fill (VdFsBench *bench, VdFsHandle *handle, guint64 fh, guint64 offset)
{
  gint64 at = (gint64) offset;
  long n = -1;

  pthread_mutex_lock (&handle->dir_lock);
  if (handle->dir_offset == at || lseek (handle->fd, at, SEEK_SET) >= 0)
    n = syscall (SYS_getdents64, handle->fd, bench->dirents, VD_FS_DIRENTS);
  if (n < 0)
    n = -errno;
  handle->dir_offset = n == 0 ? at : -1;
  for (long i = 0; i < n;) {
    const HostEntry *host = (const HostEntry *) (void *) (bench->dirents + i);

    handle->dir_offset = host->next;
    i += host->len;
  }
  pthread_mutex_unlock (&handle->dir_lock);

  bench->dirent_at = 0;
  bench->dirent_end = n > 0 ? (guint32) n : 0;
  bench->dirent_fh = n >= 0 ? fh : 0;
  bench->dirent_offset = offset;
  return n < 0 ? (int) n : 0;
}

static gboolean
is_dots (const char *name)
{
  return name[0] == '.' &&
         (name[1] == '\0' || (name[1] == '.' && name[2] == '\0'));
}

/* Bytes that an entry takes in the answer. */
static gsize
encoded_len (const HostEntry *host, gboolean plus)
{
  gsize len = sizeof (VdFuseDirent) + strlen (host->name);

  return (plus ? sizeof (VdFuseEntryOut) : 0) + (len + 7) / 8 * 8;
}

/* READDIRPLUS: the entry is looked up as well.  If that fails the guest gets
 * the bare name, so that a full table or a vanished file hides nothing else. */
static void
look_up (VdFs *fs, VdFsInode *dir, const HostEntry *host, VdFuseEntryOut *ret)
{
  VdFsKey key = { dir->key.mount, dir->key.dev, host->ino };

  if (is_dots (host->name) ||
      vd_fs_lookup (fs, dir, host->name, vd_fs_inodes_knows (&fs->inodes, &key),
                    ret) < 0)
    memset (ret, 0, sizeof *ret);
  else
    vd_fs_inodes_set_expected (&fs->inodes, vd_fs_inode_nodeid (dir),
                               host->name);
}

/* Writes one entry to the guest.  @len: encoded_len() */
static void
emit (VdFsRequest *req, VdFsInode *dir, const HostEntry *host, gboolean plus,
      gsize len)
{
  VdChain *chain = req->chain;
  gsize skip = plus ? 0 : sizeof (VdFuseEntryOut);
  Encoded encoded;
  VdFuseDirent *dirent = (VdFuseDirent *) (void *) encoded.dirent;
  guint32 name_len = (guint32) strlen (host->name);

  *dirent = (VdFuseDirent){
    .ino = host->ino,
    .off = (guint64) host->next,
    .namelen = name_len,
    .type = host->type,
  };
  /* The inode that the export lies in is none of the guest's business. */
  if (dir == &dir->table->root && strcmp (host->name, "..") == 0)
    dirent->ino = dir->key.ino;
  memset (dirent->name + name_len, 0,
          len + skip - sizeof encoded.entry - sizeof *dirent - name_len);
  memcpy (dirent->name, host->name, name_len);
  if (plus)
    look_up (vd_fs_of (req), dir, host, &encoded.entry);
  vd_iov_write (chain->in, chain->n_in, 0, (guint8 *) &encoded + skip, len);
  vd_iov_skip (&chain->in, &chain->n_in, len);
}

/* Writes what the buffer has and what fits into @left bytes.
 * Returns: bytes written. */
static gsize
drain (VdFsRequest *req, VdFsInode *dir, gboolean plus, gsize left)
{
  VdFsBench *bench = req->bench;
  gsize written = 0;

  while (bench->dirent_at < bench->dirent_end) {
    const HostEntry *host =
        (const HostEntry *) (void *) (bench->dirents + bench->dirent_at);
    gsize len = encoded_len (host, plus);

    if (strlen (host->name) <= NAME_LEN_MAX) {
      if (len > left - written)
        break;
      emit (req, dir, host, plus, len);
      written += len;
    }
    bench->dirent_at += host->len;
    bench->dirent_offset = (guint64) host->next;
  }
  return written;
}

/* @fh: of @handle; 0: it has none, and what the buffer has may be of somebody who
 * began long ago
 * Returns: bytes written or -errno. */
static gssize
list (VdFsRequest *req, VdFsInode *dir, VdFsHandle *handle, guint64 fh,
      guint64 offset, gsize room, gboolean plus)
{
  VdFsBench *bench = req->bench;
  gsize written = 0;
  int r = 0;

  if (fh == 0 || bench->dirent_fh != fh || bench->dirent_offset != offset)
    r = fill (bench, handle, fh, offset);
  while (r == 0 && bench->dirent_end > 0) {
    written += drain (req, dir, plus, room - written);
    if (bench->dirent_at < bench->dirent_end) /* no more fits */
      return written > 0 ? (gssize) written : -EINVAL;
    /* A full answer is not worth another system call for its last bytes. */
    if (written > room / 2)
      break;
    r = fill (bench, handle, fh, bench->dirent_offset);
  }
  /* The end is told once from memory; who asks again may see new entries. */
  if (written == 0)
    bench->dirent_fh = 0;
  return written > 0 ? (gssize) written : r;
}

int
vd_fs_op_readdir (VdFsRequest *req, guint64 nodeid, guint64 fh, guint64 offset,
                  guint32 size, gboolean plus)
{
  VdFs *fs = vd_fs_of (req);
  VdFsHandle *handle;
  VdFsInode *dir;
  gssize n;
  int r = vd_fs_inodes_get (&fs->inodes, nodeid, &dir);

  if (r < 0)
    return r;
  r = vd_fs_lazy_get (fs, nodeid, fh, VD_FS_DIR, &handle);
  if (r < 0) {
    vd_fs_inodes_put (dir);
    return r;
  }
  n = list (req, dir, handle, fh, offset, MIN (size, req->room), plus);
  vd_fs_handles_put (handle);
  vd_fs_inodes_put (dir);
  if (n < 0)
    return (int) n;
  vd_fs_reply_written (req, (gsize) n);
  return 0;
}
