/* SPDX-License-Identifier: BSD-3-Clause
 *
 * state-save.c - what the guest knows -> bytes
 *
 * What the other side could not find again is refused here, where the guest can
 * go on.  A file that the guest knows but has not open and that is gone is left
 * out: the guest gets ESTALE for it there, as it would have here.
 */
#include "devices/fs/state.h"

#include <errno.h>
#include <fcntl.h>
#include <linux/limits.h>
#include <string.h>
#include <sys/stat.h>
#include <unistd.h>

#include "devices/fs/entry.h"
#include "vring/fd.h"

GQuark
vd_fs_state_error_quark (void)
{
  return g_quark_from_static_string ("vd-fs-state-error");
}

gboolean
vd_fs_state_abandoned (const VdFs *fs, GError **error)
{
  if (!atomic_load_explicit (&fs->parent.abandoned, memory_order_relaxed))
    return FALSE;
  g_set_error (error, VD_FS_STATE_ERROR, VD_FS_STATE_ERROR_ABANDONED,
               "nobody waits for the files' state any more");
  return TRUE;
}

typedef struct {
  VdFs *fs;
  GByteArray *bytes;
  GHashTable *open; /* nodeids of open files */
  char *root;       /* vd_fs_state_root() */
  VdFsStateHead head;
} Saver;

/* Reads where @fd leads.  Returns: the length, or -1. */
static gssize
read_link (const VdFs *fs, int fd, char path[PATH_MAX])
{
  char number[VD_FS_FD_PATH_LEN];
  gssize n = readlinkat (fs->jail.proc, vd_fs_fd_path (fd, number), path,
                         PATH_MAX - 1);

  if (n >= 0)
    path[n] = '\0';
  return n;
}

/* Whether @path, which may be any text by now, leads to the file of @key. */
static gboolean
leads_to (const VdFs *fs, const char *path, const VdFsKey *key)
{
  struct statx stx;
  VdFsKey there;

  if (vd_fs_statx (fs->jail.root, path, 0, &stx) < 0)
    return FALSE;
  there = vd_fs_statx_key (&stx);
  return vd_fs_key_equal (&there, key);
}

char *
vd_fs_state_root (const VdFs *fs)
{
  char root[PATH_MAX];

  if (read_link (fs, fs->jail.root, root) < 0)
    return NULL;
  return g_strdup (strcmp (root, "/") == 0 ? "" : root);
}

char *
vd_fs_state_path (const VdFs *fs, const char *root, int fd, const VdFsKey *key)
{
  char path[PATH_MAX];
  const char *below = path;
  gsize len = strlen (root);

  if (read_link (fs, fd, path) < 0 || strncmp (path, root, len) != 0 ||
      path[len] != '/')
    return NULL;
  for (below += len; *below == '/'; below++)
    ;
  return *below != '\0' && leads_to (fs, below, key) ? g_strdup (below) : NULL;
}

static void
append (Saver *saver, const void *bytes, gsize len)
{
  g_byte_array_append (saver->bytes, bytes, (guint) len);
}

static gboolean
refuse (const Saver *saver, int fd, VdFsStateError code, const char *why,
        GError **error)
{
  char path[PATH_MAX];

  g_set_error (error, VD_FS_STATE_ERROR, (int) code, "'%s' %s",
               read_link (saver->fs, fd, path) < 0 ? "?" : path, why);
  return FALSE;
}

/* The file has no path.  Returns: TRUE if it can be left out. */
static gboolean
leave_out (const Saver *saver, const VdFsInode *inode, GError **error)
{
  guint64 nodeid = vd_fs_inode_nodeid (inode);
  struct statx stx;

  if (g_hash_table_contains (saver->open, &nodeid))
    return refuse (saver, inode->fd, VD_FS_STATE_ERROR_NAMELESS,
                   "is open and has no name that leads to it; "
                   "migration-mode=file-handles moves it, too",
                   error);
  if (vd_fs_statx (inode->fd, "", 0, &stx) == 0 && stx.stx_nlink > 0)
    return refuse (saver, inode->fd, VD_FS_STATE_ERROR_UNKNOWN,
                   "has no name that leads to it", error);
  return TRUE;
}

/* Adds a handle to @proof where the policy wants one. */
static int
prove (const Saver *saver, const VdFsInode *inode, VdFsProof *proof)
{
  const VdFsMigration *migration = &saver->fs->policy.migration;

  if (!migration->by_handle && !migration->verify)
    return 0;
  /* Below other mounts the path must do: whose mount it is would have to be
   * told, too. */
  if (inode->key.mount != saver->fs->inodes.root.key.mount)
    return 0;
  return vd_fs_proof_handle (inode->fd, "", proof);
}

static gboolean
save_inode (Saver *saver, VdFsInode *inode, GError **error)
{
  VdFsStateInode wire = {
    .nodeid = GUINT64_TO_LE (vd_fs_inode_nodeid (inode)),
    .n_lookups = GUINT64_TO_LE (inode->n_lookups),
    .type = GUINT32_TO_LE (inode->type),
  };
  g_autofree char *path = NULL;
  VdFsProof proof = { 0 };

  if (prove (saver, inode, &proof) < 0)
    return refuse (saver, inode->fd, VD_FS_STATE_ERROR_UNKNOWN,
                   "has no file handle (the daemon needs CAP_DAC_READ_SEARCH, "
                   "and the file system must have them)",
                   error);
  path = vd_fs_state_path (saver->fs, saver->root, inode->fd, &inode->key);
  if (path == NULL &&
      (proof.len == 0 || !saver->fs->policy.migration.by_handle)) {
    vd_fs_proof_clear (&proof);
    return leave_out (saver, inode, error);
  }
  wire.path_len = GUINT32_TO_LE (path != NULL ? (guint32) strlen (path) : 0);
  wire.handle_len = GUINT32_TO_LE (proof.len);
  wire.handle_type = (gint32) GUINT32_TO_LE ((guint32) proof.type);
  append (saver, &wire, sizeof wire);
  if (path != NULL)
    append (saver, path, strlen (path));
  append (saver, vd_fs_proof_bytes (&proof), proof.len);
  vd_fs_proof_clear (&proof);
  saver->head.n_inodes++;
  return TRUE;
}

/* Whether @nodeid is a directory; a parked inode need not wake to tell. */
static gboolean
is_directory (VdFsInodes *inodes, guint64 nodeid)
{
  VdFsSlot *slot = vd_fs_slots_get (&inodes->slots, nodeid);
  gboolean directory =
      slot != NULL && ((const VdFsInode *) slot)->type == S_IFDIR;

  vd_fs_slots_put (&inodes->slots, slot);
  return directory;
}

/* Saves the directories, or all else. */
static gboolean
save_some (Saver *saver, gboolean directories, GError **error)
{
  VdFsInodes *inodes = &saver->fs->inodes;
  guint32 at = 0;
  guint64 nodeid;

  while ((nodeid = vd_fs_slots_next (&inodes->slots, &at)) != 0) {
    VdFsInode *inode;
    gboolean ok;
    int r;

    if (vd_fs_state_abandoned (saver->fs, error))
      return FALSE;
    if (is_directory (inodes, nodeid) != directories)
      continue;
    r = vd_fs_inodes_get (inodes, nodeid, &inode);
    if (r == -ESTALE) /* it was parked, and its file is gone */
      continue;
    if (r < 0) {
      g_set_error (error, VD_FS_STATE_ERROR, VD_FS_STATE_ERROR_UNKNOWN,
                   "a file that the guest knows cannot be opened: %s",
                   g_strerror (-r));
      return FALSE;
    }
    ok = save_inode (saver, inode, error);
    vd_fs_inodes_put (inode);
    if (!ok)
      return FALSE;
  }
  return TRUE;
}

/* Directories come first, so that the other side knows where files are. */
static gboolean
save_inodes (Saver *saver, GError **error)
{
  if (saver->fs->inodes.slots.top > VD_FS_SLOT_CLAIM_MAX) {
    g_set_error (error, VD_FS_STATE_ERROR, VD_FS_STATE_ERROR_UNKNOWN,
                 "the guest has known more than %u files at once, which is too "
                 "many to move",
                 VD_FS_SLOT_CLAIM_MAX);
    return FALSE;
  }
  return save_some (saver, TRUE, error) && save_some (saver, FALSE, error);
}

/* @func: called with each open file */
static void
for_each_handle (Saver *saver, void (*func) (Saver *saver, VdFsHandle *handle))
{
  VdFsSlots *slots = &saver->fs->handles.slots;
  guint32 at = 0;
  guint64 fh;

  while ((fh = vd_fs_slots_next (slots, &at)) != 0) {
    VdFsSlot *slot = vd_fs_slots_get (slots, fh);

    if (slot != NULL)
      func (saver, (VdFsHandle *) slot);
    vd_fs_slots_put (slots, slot);
  }
}

/* Counts what @fd has locked, which the kernel tells in /proc/self/fdinfo. */
static void
note_locks (int fd, gpointer data)
{
  Saver *saver = data;
  g_autofree char *path = g_strdup_printf ("../fdinfo/%d", fd);
  vd_autofd info = openat (saver->fs->jail.proc, path, O_RDONLY | O_CLOEXEC);
  char text[4096];
  gssize n = info < 0 ? 0 : read (info, text, sizeof text - 1);

  text[MAX (n, 0)] = '\0';
  for (const char *at = text; (at = strstr (at, "\nlock:")) != NULL; at++)
    saver->head.n_locks++;
}

static void
note_open (Saver *saver, VdFsHandle *handle)
{
  guint64 *nodeid = g_new (guint64, 1);

  *nodeid = handle->nodeid;
  g_hash_table_add (saver->open, nodeid);
  if (saver->fs->policy.locks != 0)
    note_locks (handle->fd, saver);
}

/* Returns: FALSE with @error set if there are locks and that matters. */
static gboolean
check_locks (Saver *saver, GError **error)
{
  vd_fs_locks_foreach (&saver->fs->locks, note_locks, saver);
  if (saver->head.n_locks == 0 || !saver->fs->policy.migration.abort_on_error)
    return TRUE;
  g_set_error (error, VD_FS_STATE_ERROR, VD_FS_STATE_ERROR_LOCKS,
               "the guest has %u file locks on this host, which cannot move; "
               "migration-on-error=guest-error moves it without them",
               saver->head.n_locks);
  return FALSE;
}

/* The other side's window would be empty, where the guest sees its files. */
static gboolean
check_mappings (const VdFs *fs, GError **error)
{
  if (vd_fs_dax_n_mapped (&fs->dax) == 0)
    return TRUE;
  g_set_error (error, VD_FS_STATE_ERROR, VD_FS_STATE_ERROR_MAPPED,
               "the guest has files mapped in its DAX window, which cannot "
               "move; mounted with dax=never it can");
  return FALSE;
}

static void
save_handle (Saver *saver, VdFsHandle *handle)
{
  guint32 flags = (guint32) fcntl (handle->fd, F_GETFL) & VD_FS_STATE_FLAGS;
  const VdFsStateHandle wire = {
    .fh = GUINT64_TO_LE (vd_fs_slot_id (&handle->slot)),
    .nodeid = GUINT64_TO_LE (handle->nodeid),
    .kind = GUINT32_TO_LE (handle->kind),
    .flags = GUINT32_TO_LE (flags),
  };

  append (saver, &wire, sizeof wire);
  saver->head.n_handles++;
}

gboolean
vd_fs_save (VdDevice *dev, GByteArray *state, GError **error)
{
  VdFs *fs = (VdFs *) dev;
  g_autoptr (GHashTable) open =
      g_hash_table_new_full (g_int64_hash, g_int64_equal, g_free, NULL);
  g_autofree char *root = vd_fs_state_root (fs);
  Saver saver = { .fs = fs, .bytes = state, .open = open, .root = root };
  const guint start = state->len;

  if (root == NULL) {
    g_set_error (error, VD_FS_STATE_ERROR, VD_FS_STATE_ERROR_UNKNOWN,
                 "the shared directory's path cannot be told");
    return FALSE;
  }
  append (&saver, &saver.head, sizeof saver.head);
  if (vd_fs_negotiated (fs) != 0) {
    for_each_handle (&saver, note_open);
    if (!check_mappings (fs, error) || !check_locks (&saver, error) ||
        !save_inodes (&saver, error))
      return FALSE;
    for_each_handle (&saver, save_handle);
  }
  saver.head = (VdFsStateHead){
    .version = GUINT32_TO_LE (VD_FS_STATE_VERSION),
    .n_inodes = GUINT32_TO_LE (saver.head.n_inodes),
    .n_handles = GUINT32_TO_LE (saver.head.n_handles),
    .inode_generation =
        GUINT32_TO_LE (vd_fs_slots_generation (&fs->inodes.slots)),
    .handle_generation =
        GUINT32_TO_LE (vd_fs_slots_generation (&fs->handles.slots)),
    .n_locks = GUINT32_TO_LE (saver.head.n_locks),
    .negotiated = GUINT64_TO_LE (vd_fs_negotiated (fs)),
  };
  memcpy (state->data + start, &saver.head, sizeof saver.head);
  return TRUE;
}
