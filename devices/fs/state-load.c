/* SPDX-License-Identifier: BSD-3-Clause
 *
 * state-load.c - bytes -> what the guest knows
 *
 * The bytes come from a front-end, so they may be anything: paths are resolved
 * beneath the shared directory and through no link, and a file that a handle
 * leads to is taken only if handles are wanted here and it has a path beneath
 * that directory, or no name at all.
 */
#include "devices/fs/state.h"

#include <errno.h>
#include <fcntl.h>
#include <linux/limits.h>
#include <linux/openat2.h>
#include <string.h>
#include <sys/stat.h>
#include <sys/syscall.h>
#include <unistd.h>

#include "devices/fs/entry.h"
#include "devices/fs/ops.h"
#include "vring/fd.h"

typedef struct {
  VdFs *fs;
  const guint8 *bytes; /* not read yet */
  gsize len;
  GHashTable *dirs; /* paths of directories so far -> guint64: nodeids */
  guint n_lost;     /* files and open files that are not there */
  guint n_locks;    /* that were left behind */
} Loader;

/* One inode as it is read. */
typedef struct {
  VdFsStateInode wire; /* host order */
  char path[PATH_MAX];
  VdFsProof handle; /* its bytes are in the stream */
} Record;

static gboolean
damaged (GError **error, const char *what)
{
  g_set_error (error, VD_FS_STATE_ERROR, VD_FS_STATE_ERROR_DAMAGED,
               "the files' state contradicts itself: %s", what);
  return FALSE;
}

static gboolean
take (Loader *loader, void *to, gsize len, GError **error)
{
  if (loader->len < len)
    return damaged (error, "it ends too early");
  memcpy (to, loader->bytes, len);
  loader->bytes += len;
  loader->len -= len;
  return TRUE;
}

/* What was moved is not here: the guest gets errors for it, or the migration
 * fails. */
static gboolean
lose (Loader *loader, const char *what, int r, GError **error)
{
  loader->n_lost++;
  if (!loader->fs->policy.migration.abort_on_error)
    return TRUE;
  g_set_error (error, VD_FS_STATE_ERROR, VD_FS_STATE_ERROR_LOST, "%s: %s", what,
               g_strerror (-r));
  return FALSE;
}

/* Inodes. */

static gboolean
take_record (Loader *loader, Record *ret, GError **error)
{
  VdFsStateInode *wire = &ret->wire;

  if (!take (loader, wire, sizeof *wire, error))
    return FALSE;
  wire->nodeid = GUINT64_FROM_LE (wire->nodeid);
  wire->n_lookups = GUINT64_FROM_LE (wire->n_lookups);
  wire->type = GUINT32_FROM_LE (wire->type);
  wire->path_len = GUINT32_FROM_LE (wire->path_len);
  wire->handle_len = GUINT32_FROM_LE (wire->handle_len);
  if (wire->path_len >= sizeof ret->path ||
      wire->handle_len > VD_FS_STATE_HANDLE_MAX)
    return damaged (error, "a path or a file handle is too long");
  if (wire->path_len + wire->handle_len == 0 || wire->n_lookups == 0)
    return damaged (error, "a file is not described");
  if (!take (loader, ret->path, wire->path_len, error))
    return FALSE;
  ret->path[wire->path_len] = '\0';
  if (strlen (ret->path) != wire->path_len || ret->path[0] == '/')
    return damaged (error, "a path is none");
  if (loader->len < wire->handle_len)
    return damaged (error, "it ends too early");
  if (vd_fs_proof_set_handle (
          &ret->handle, (gint32) GUINT32_FROM_LE ((guint32) wire->handle_type),
          loader->bytes, wire->handle_len) < 0)
    return damaged (error, "there is no memory for it");
  loader->bytes += wire->handle_len;
  loader->len -= wire->handle_len;
  return TRUE;
}

static int
open_path (const VdFs *fs, const char *path)
{
  struct open_how how = {
    .flags = O_PATH | O_NOFOLLOW | O_CLOEXEC,
    .resolve = RESOLVE_BENEATH | RESOLVE_NO_MAGICLINKS | RESOLVE_NO_SYMLINKS,
  };
  int fd = (int) syscall (SYS_openat2, fs->jail.root, path, &how, sizeof how);

  return fd < 0 ? -errno : fd;
}

/* Whether the file has a name in the export, or none anywhere. */
static gboolean
is_inside (const VdFs *fs, int fd)
{
  g_autofree char *root = vd_fs_state_root (fs), *path = NULL;
  struct statx stx;
  VdFsKey key;

  if (root == NULL || vd_fs_statx (fd, "", 0, &stx) < 0)
    return FALSE;
  key = vd_fs_statx_key (&stx);
  path = vd_fs_state_path (fs, root, fd, &key);
  return path != NULL || stx.stx_nlink == 0;
}

static int
open_handle (VdFs *fs, const VdFsProof *handle)
{
  vd_autofd mount = -1, fd = -1;

  mount = vd_fs_jail_reopen (&fs->jail, fs->jail.root,
                             O_RDONLY | O_DIRECTORY | O_NONBLOCK);
  if (mount < 0)
    return mount;
  fd = vd_fs_proof_open (handle, mount);
  if (fd < 0)
    return fd;
  return is_inside (fs, fd) ? vd_steal_fd (&fd) : -EXDEV;
}

/* Whether @fd, opened by its path, is the file that the other side meant. */
static gboolean
is_meant (int fd, const VdFsProof *handle)
{
  VdFsProof proof = { 0 };
  gboolean same =
      handle->len == 0 || (vd_fs_proof_handle (fd, "", &proof) == 0 &&
                           vd_fs_proof_equal (&proof, handle));

  vd_fs_proof_clear (&proof);
  return same;
}

/* First by its path, which shows that the file belongs to the export; a handle
 * finds it where it has moved or has no name.
 * Returns: a descriptor of the file with O_PATH, or -errno. */
static int
open_record (VdFs *fs, const Record *record)
{
  vd_autofd fd =
      record->wire.path_len > 0 ? open_path (fs, record->path) : -ENOENT;

  if (fd >= 0 && !is_meant (fd, &record->handle)) {
    vd_clear_fd (&fd);
    fd = -ESTALE;
  }
  if (fd < 0 && record->wire.handle_len > 0 && fs->policy.migration.by_handle)
    fd = open_handle (fs, &record->handle);
  return vd_steal_fd (&fd);
}

/* Where the file is, if it will have to be found by that once it is parked. */
static void
set_place (const Loader *loader, const Record *record, VdFsFound *found)
{
  const char *slash = strrchr (record->path, '/');
  g_autofree char *dir = NULL;
  const guint64 *parent = NULL;

  if (record->wire.path_len == 0 ||
      !vd_fs_pins_needs_place (&loader->fs->inodes.pins, found->key.mount))
    return;
  if (slash != NULL) {
    dir = g_strndup (record->path, (gsize) (slash - record->path));
    parent = g_hash_table_lookup (loader->dirs, dir);
  }
  if (slash != NULL && parent == NULL)
    return; /* then it keeps its descriptor */
  found->parent = parent != NULL ? *parent : VD_FUSE_ROOT_ID;
  found->name = slash != NULL ? slash + 1 : record->path;
}

static gboolean
load_inode (Loader *loader, const Record *record, GError **error)
{
  VdFs *fs = loader->fs;
  const char *what =
      record->wire.path_len > 0 ? record->path : "a file without a name";
  VdFsFound found = { .type = record->wire.type };
  struct statx stx;
  int r = found.fd = open_record (fs, record);

  if (r >= 0)
    r = vd_fs_statx (found.fd, "", 0, &stx);
  if (r == 0 && (stx.stx_mode & S_IFMT) != found.type)
    r = -ESTALE;
  if (r < 0) {
    vd_clear_fd (&found.fd);
    return lose (loader, what, r, error);
  }
  found.key = vd_fs_statx_key (&stx);
  if (found.type == S_IFDIR)
    vd_fs_pins_add_mount (&fs->inodes.pins, found.key.mount, found.fd);
  set_place (loader, record, &found);
  r = vd_fs_inodes_restore (&fs->inodes, &found, record->wire.nodeid,
                            record->wire.n_lookups);
  if (r == 0 && found.type == S_IFDIR)
    g_hash_table_insert (
        loader->dirs, g_strdup (record->path),
        g_memdup2 (&record->wire.nodeid, sizeof record->wire.nodeid));
  if (r == -EINVAL)
    return damaged (error, "a file's number is used twice, or is none");
  return r == 0 || lose (loader, what, r, error);
}

static gboolean
load_inodes (Loader *loader, guint32 n, GError **error)
{
  for (guint32 i = 0; i < n; i++) {
    Record record;
    gboolean ok;

    if (vd_fs_state_abandoned (loader->fs, error) ||
        !take_record (loader, &record, error))
      return FALSE;
    ok = load_inode (loader, &record, error);
    vd_fs_proof_clear (&record.handle);
    if (!ok)
      return FALSE;
  }
  return TRUE;
}

/* Open files. */

/* Returns: a descriptor or -errno. */
static int
open_again (const VdFs *fs, const VdFsInode *inode, VdFsHandleKind kind,
            guint32 flags)
{
  int host = (int) (flags & VD_FS_STATE_FLAGS) | O_NONBLOCK;

  if (inode->type != (kind == VD_FS_DIR ? S_IFDIR : S_IFREG))
    return -EBADF;
  if (kind == VD_FS_DIR)
    return vd_fs_jail_reopen (&fs->jail, inode->fd,
                              O_RDONLY | O_DIRECTORY | O_NONBLOCK);
  if (fs->policy.read_only && (host & O_ACCMODE) != O_RDONLY)
    return -EROFS;
  return vd_fs_jail_reopen (&fs->jail, inode->fd, host);
}

static gboolean
load_handle (Loader *loader, const VdFsStateHandle *wire, GError **error)
{
  VdFs *fs = loader->fs;
  VdFsHandleKind kind = GUINT32_FROM_LE (wire->kind);
  guint64 nodeid = GUINT64_FROM_LE (wire->nodeid);
  VdFsInode *inode;
  int r;

  if (kind != VD_FS_FILE && kind != VD_FS_DIR)
    return damaged (error, "an open file is of no kind");
  r = vd_fs_inodes_get (&fs->inodes, nodeid, &inode);
  if (r == 0) {
    r = open_again (fs, inode, kind, GUINT32_FROM_LE (wire->flags));
    if (r >= 0)
      r = vd_fs_handles_restore (&fs->handles, kind, nodeid, inode, r,
                                 GUINT64_FROM_LE (wire->fh));
    vd_fs_inodes_put (inode);
  }
  if (r == -EINVAL)
    return damaged (error, "an open file's number is used twice, or is none");
  return r == 0 || lose (loader, "an open file", r, error);
}

static gboolean
load_handles (Loader *loader, guint32 n, GError **error)
{
  for (guint32 i = 0; i < n; i++) {
    VdFsStateHandle wire;

    if (vd_fs_state_abandoned (loader->fs, error) ||
        !take (loader, &wire, sizeof wire, error) ||
        !load_handle (loader, &wire, error))
      return FALSE;
  }
  return loader->len == 0 || damaged (error, "it goes on after its end");
}

/* The guest goes on with what it agreed on there, so it must be what this side
 * would have agreed on. */
static gboolean
check_policy (const VdFs *fs, guint64 negotiated, GError **error)
{
  guint64 flags = negotiated & ~VD_FS_READY;
  guint64 beyond = flags & ~vd_fs_init_wanted (fs, flags);

  if (negotiated != 0 && (negotiated & VD_FS_READY) == 0)
    return damaged (error, "a session has no flags");
  if (beyond == 0)
    return TRUE;
  g_set_error (error, VD_FS_STATE_ERROR, VD_FS_STATE_ERROR_POLICY,
               "the guest agreed on INIT flags 0x%" G_GINT64_MODIFIER
               "x that this side does not offer: the keys of both must be the "
               "same",
               beyond);
  return FALSE;
}

static gboolean
load (Loader *loader, GError **error)
{
  VdFs *fs = loader->fs;
  VdFsStateHead head;
  guint64 negotiated;

  if (!take (loader, &head, sizeof head, error))
    return FALSE;
  if (GUINT32_FROM_LE (head.version) != VD_FS_STATE_VERSION)
    return damaged (error, "it was written by another version");
  negotiated = GUINT64_FROM_LE (head.negotiated);
  if (!check_policy (fs, negotiated, error))
    return FALSE;
  vd_fs_slots_rewind (&fs->inodes.slots,
                      GUINT32_FROM_LE (head.inode_generation));
  vd_fs_slots_rewind (&fs->handles.slots,
                      GUINT32_FROM_LE (head.handle_generation));
  if (!load_inodes (loader, GUINT32_FROM_LE (head.n_inodes), error) ||
      !load_handles (loader, GUINT32_FROM_LE (head.n_handles), error))
    return FALSE;
  loader->n_locks = GUINT32_FROM_LE (head.n_locks);
  atomic_store_explicit (&fs->negotiated, negotiated, memory_order_release);
  return TRUE;
}

gboolean
vd_fs_load (VdDevice *dev, const guint8 *config, const guint8 *state, gsize len,
            GError **error)
{
  VdFs *fs = (VdFs *) dev;
  g_autoptr (GHashTable) dirs =
      g_hash_table_new_full (g_str_hash, g_str_equal, g_free, g_free);
  Loader loader = { .fs = fs, .bytes = state, .len = len, .dirs = dirs };

  vd_fs_session (fs, 0);
  vd_fs_reaper_wait (&fs->reaper);
  if (!load (&loader, error)) {
    vd_fs_session (fs, 0);
    return FALSE;
  }
  atomic_store (&fs->n_lost, loader.n_lost);
  atomic_store (&fs->n_lost_locks, loader.n_locks);
  return TRUE;
}
