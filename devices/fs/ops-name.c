/* SPDX-License-Identifier: BSD-3-Clause
 *
 * ops-name.c - looking names up, making, moving and removing them
 *
 * Names were validated: one component, no "/", not "." and "..", except in
 * LOOKUP.  Directories are descriptors that the inode table holds, so nothing
 * here resolves a path.
 */
#include <errno.h>
#include <fcntl.h>
#include <stdio.h>
#include <string.h>
#include <sys/stat.h>
#include <unistd.h>

#include "devices/fs/entry.h"
#include "devices/fs/ops.h"

#ifndef RENAME_WHITEOUT
#define RENAME_WHITEOUT (1 << 2)
#endif

int
vd_fs_caller (const VdFsRequest *req, guint32 umask, VdFsCaller *ret)
{
  const VdFsIdentity *identity = &vd_fs_of (req)->identity;
  /* Without DONT_MASK the guest has applied its umask to the mode. */
  gboolean masks = (vd_fs_negotiated (vd_fs_of (req)) & VD_FUSE_DONT_MASK) != 0;

  *ret = (VdFsCaller){
    .umask = masks ? umask & 0777 : 0,
    .has_group = req->message->has_group,
  };
  if (!vd_fs_id_map_to_host (identity->uids, req->in.uid, &ret->uid) ||
      !vd_fs_id_map_to_host (identity->gids, req->in.gid, &ret->gid) ||
      (ret->has_group && !vd_fs_id_map_to_host (
                             identity->gids, req->message->group, &ret->group)))
    return -EPERM;
  return 0;
}

/* Looks up what @name in @parent is now, and answers with it.
 * @known: vd_fs_inodes_expect(), or what is certain */
static int
reply_entry (VdFsRequest *req, VdFsInode *parent, const char *name,
             gboolean known)
{
  VdFs *fs = vd_fs_of (req);
  VdFuseEntryOut entry;
  int r = vd_fs_lookup (fs, parent, name, known, &entry);

  if (r < 0)
    return r;
  if (!known)
    vd_fs_inodes_set_expected (&fs->inodes, vd_fs_inode_nodeid (parent), name);
  vd_fs_reply (req, &entry, sizeof entry);
  return 0;
}

/* ENOENT that the guest may remember.  Next time the name alone is looked at:
 * for what is not there, that is cheaper than opening it. */
static int
reply_negative (VdFsRequest *req, guint64 parent, const char *name,
                gboolean known)
{
  const VdFsTimeout *timeout = &vd_fs_of (req)->policy.negative;
  VdFuseEntryOut entry = {
    .entry_valid = timeout->s,
    .entry_valid_nsec = timeout->ns,
  };

  if (!known)
    vd_fs_inodes_set_expected (&vd_fs_of (req)->inodes, parent, name);
  if (timeout->s == 0 && timeout->ns == 0)
    return -ENOENT;
  vd_fs_reply (req, &entry, sizeof entry);
  return 0;
}

/* The parent or the directory itself, asked for by a guest that exports the
 * mount over NFS.  Only a clone ends ".." at its own root. */
static int
lookup_dots (VdFsRequest *req, VdFsInode *inode, const char *name)
{
  VdFs *fs = vd_fs_of (req);

  if (strcmp (name, ".") != 0) {
    if (fs->jail.kind != VD_FS_JAIL_CLONE)
      return -ESTALE;
    return reply_entry (req, inode, name, TRUE);
  } else {
    VdFuseEntryOut entry;
    int fd = fcntl (inode->fd, F_DUPFD_CLOEXEC, 0), r;

    if (fd < 0)
      return -errno;
    r = vd_fs_lookup_fd (fs, inode, NULL, fd, &entry);
    if (r < 0)
      return r;
    vd_fs_reply (req, &entry, sizeof entry);
    return 0;
  }
}

int
vd_fs_op_lookup (VdFsRequest *req, guint64 parent, const char *name)
{
  VdFs *fs = vd_fs_of (req);
  gboolean known = FALSE;
  VdFsInode *inode;
  int r = vd_fs_inodes_get (&fs->inodes, parent, &inode);

  if (r < 0)
    return r;
  if (strcmp (name, ".") == 0 || strcmp (name, "..") == 0)
    r = lookup_dots (req, inode, name);
  else {
    known = vd_fs_inodes_expect (&fs->inodes, parent, name);
    r = reply_entry (req, inode, name, known);
  }
  vd_fs_inodes_put (inode);
  return r == -ENOENT ? reply_negative (req, parent, name, known) : r;
}

/* What the making of a new name does as the caller. */
typedef struct {
  int (*make) (int parent, const char *name, gconstpointer data);
  gconstpointer data;
} Maker;

/* Makes @name as the caller, then looks it up as ourselves. */
static int
make_entry (VdFsRequest *req, guint64 parent, const char *name, guint32 umask,
            const Maker *maker)
{
  VdFsCaller caller;
  VdFsInode *inode;
  int r = vd_fs_inodes_get (&vd_fs_of (req)->inodes, parent, &inode);

  if (r < 0)
    return r;
  r = vd_fs_caller (req, umask, &caller);
  if (r == 0)
    r = vd_fs_cred_push (&caller);
  if (r == 0) {
    r = maker->make (inode->fd, name, maker->data) < 0 ? -errno : 0;
    vd_fs_cred_pop ();
  }
  if (r == 0)
    r = vd_fs_label_child (req, inode->fd, name);
  if (r == 0)
    r = reply_entry (req, inode, name, FALSE);
  vd_fs_inodes_put (inode);
  return r;
}

typedef struct {
  guint32 mode, rdev;
} Node;

static int
make_node (int parent, const char *name, gconstpointer data)
{
  const Node *node = data;

  return mknodat (parent, name, node->mode, node->rdev);
}

int
vd_fs_op_mknod (VdFsRequest *req, guint64 parent, const char *name,
                guint32 mode, guint32 rdev)
{
  const VdFuseMknodIn *args = req->message->args;
  Node node = { mode, rdev };

  return make_entry (req, parent, name, args->umask,
                     &(Maker){ make_node, &node });
}

static int
make_dir (int parent, const char *name, gconstpointer data)
{
  return mkdirat (parent, name, *(const guint32 *) data);
}

int
vd_fs_op_mkdir (VdFsRequest *req, guint64 parent, const char *name,
                guint32 mode)
{
  const VdFuseMkdirIn *args = req->message->args;

  return make_entry (req, parent, name, args->umask,
                     &(Maker){ make_dir, &mode });
}

static int
make_symlink (int parent, const char *name, gconstpointer data)
{
  return symlinkat (data, parent, name);
}

int
vd_fs_op_symlink (VdFsRequest *req, const char *target, guint64 parent,
                  const char *name)
{
  return make_entry (req, parent, name, 0, &(Maker){ make_symlink, target });
}

int
vd_fs_op_link (VdFsRequest *req, guint64 nodeid, guint64 parent,
               const char *name)
{
  VdFs *fs = vd_fs_of (req);
  VdFsInode *inode = NULL, *dir = NULL;
  char path[VD_FS_FD_PATH_LEN];
  int r = vd_fs_inodes_get (&fs->inodes, nodeid, &inode);

  if (r == 0)
    r = vd_fs_inodes_get (&fs->inodes, parent, &dir);
  /* The descriptor's link in /proc needs no capability, AT_EMPTY_PATH does. */
  if (r == 0 && linkat (fs->jail.proc, vd_fs_fd_path (inode->fd, path), dir->fd,
                        name, AT_SYMLINK_FOLLOW) < 0)
    r = -errno;
  if (r == 0)
    r = reply_entry (req, dir, name, TRUE);
  vd_fs_inodes_put (inode);
  vd_fs_inodes_put (dir);
  return r;
}

int
vd_fs_op_unlink (VdFsRequest *req, guint64 parent, const char *name, int flags)
{
  VdFsInode *inode;
  int r = vd_fs_inodes_get (&vd_fs_of (req)->inodes, parent, &inode);

  if (r < 0)
    return r;
  r = unlinkat (inode->fd, name, flags) < 0 ? -errno : 0;
  vd_fs_inodes_put (inode);
  if (r == 0)
    vd_fs_reply (req, NULL, 0);
  return r;
}

int
vd_fs_op_rename (VdFsRequest *req, guint64 parent, const char *name,
                 guint64 new_parent, const char *new_name, guint flags)
{
  VdFs *fs = vd_fs_of (req);
  VdFsInode *from = NULL, *to = NULL;
  int r = vd_fs_inodes_get (&fs->inodes, parent, &from);

  if ((flags &
       ~(guint) (RENAME_NOREPLACE | RENAME_EXCHANGE | RENAME_WHITEOUT)) != 0)
    r = -EINVAL;
  if (r == 0)
    r = vd_fs_inodes_get (&fs->inodes, new_parent, &to);
  if (r == 0 && renameat2 (from->fd, name, to->fd, new_name, flags) < 0)
    r = -errno;
  if (r == 0)
    vd_fs_renamed (fs, to, new_name);
  if (r == 0 && (flags & RENAME_EXCHANGE) != 0)
    vd_fs_renamed (fs, from, name);
  vd_fs_inodes_put (from);
  vd_fs_inodes_put (to);
  if (r == 0)
    vd_fs_reply (req, NULL, 0);
  return r;
}

int
vd_fs_op_readlink (VdFsRequest *req, guint64 nodeid)
{
  VdFsInode *inode;
  char target[PATH_MAX];
  ssize_t n;
  int r = vd_fs_inodes_get (&vd_fs_of (req)->inodes, nodeid, &inode);

  if (r < 0)
    return r;
  n = readlinkat (inode->fd, "", target, sizeof target);
  r = n < 0 ? -errno : 0;
  vd_fs_inodes_put (inode);
  if (r < 0)
    return r == -ENOENT ? -EINVAL : r; /* what "" gives if it is no link */
  vd_fs_reply (req, target, MIN ((gsize) n, req->room));
  return 0;
}
