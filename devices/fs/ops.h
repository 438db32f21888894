/* SPDX-License-Identifier: BSD-3-Clause
 *
 * ops.h - the operations, one function for each, free of libfuse
 *
 * Each returns 0 after it has answered the request or deferred the answer, or
 * -errno, which the caller then sends (vd_fs_finish()).  Arguments are those of
 * the message, validated; strings and structs are valid during the call.
 * QUEUE.
 */
#pragma once

#include "devices/fs/cred.h"
#include "devices/fs/request.h"

struct flock;

/* direct.c: what is answered without libfuse, READ and WRITE aside. */
int vd_fs_direct (VdFsRequest *req);

/* io.c: the data path; answer by themselves. */
void vd_fs_read (VdFsRequest *req);
void vd_fs_write (VdFsRequest *req);

/* init.c */
int vd_fs_op_init (VdFsRequest *req);
int vd_fs_op_destroy (VdFsRequest *req);
/* Returns: those flags of @offered that the policy agrees on. */
guint64 vd_fs_init_wanted (const VdFs *fs, guint64 offered);

/* ops-name.c: names and what they stand for. */
int vd_fs_op_lookup (VdFsRequest *req, guint64 parent, const char *name);
int vd_fs_op_mknod (VdFsRequest *req, guint64 parent, const char *name,
                    guint32 mode, guint32 rdev);
int vd_fs_op_mkdir (VdFsRequest *req, guint64 parent, const char *name,
                    guint32 mode);
int vd_fs_op_symlink (VdFsRequest *req, const char *target, guint64 parent,
                      const char *name);
int vd_fs_op_link (VdFsRequest *req, guint64 nodeid, guint64 parent,
                   const char *name);
int vd_fs_op_unlink (VdFsRequest *req, guint64 parent, const char *name,
                     int flags); /* AT_REMOVEDIR or 0 */
int vd_fs_op_rename (VdFsRequest *req, guint64 parent, const char *name,
                     guint64 new_parent, const char *new_name, guint flags);
int vd_fs_op_readlink (VdFsRequest *req, guint64 nodeid);

/* Who creates, on the host, from the header, the extensions and @umask.
 * Returns: 0, or -EPERM if the guest may not use that user. */
int vd_fs_caller (const VdFsRequest *req, guint32 umask, VdFsCaller *ret);

/* ops-io.c: opening and closing files. */
int vd_fs_op_open (VdFsRequest *req, guint64 nodeid, guint32 flags,
                   guint32 open_flags);
int vd_fs_op_create (VdFsRequest *req, guint64 parent, const char *name,
                     guint32 mode, guint32 flags, guint32 umask);
int
vd_fs_op_tmpfile (VdFsRequest *req, guint64 parent, const VdFuseCreateIn *args);
int vd_fs_op_release (VdFsRequest *req, guint64 nodeid, guint64 fh,
                      VdFsHandleKind kind);

/* ops-file.c: what is done to open files. */
int vd_fs_op_flush (VdFsRequest *req, guint64 nodeid, guint64 fh,
                    guint64 lock_owner);
int vd_fs_op_fsync (VdFsRequest *req, guint64 nodeid, guint64 fh,
                    gboolean data_only, VdFsHandleKind kind);
int vd_fs_op_fallocate (VdFsRequest *req, guint64 nodeid,
                        const VdFuseFallocateIn *args);
int vd_fs_op_lseek (VdFsRequest *req, guint64 nodeid, guint64 fh,
                    guint64 offset, guint32 whence);
int vd_fs_op_copy_file_range (VdFsRequest *req, guint64 nodeid,
                              const VdFuseCopyFileRangeIn *args);
int vd_fs_op_syncfs (VdFsRequest *req, guint64 nodeid);

/* lock.c */
int vd_fs_op_flock (VdFsRequest *req, guint64 nodeid, guint64 fh,
                    int op); /* LOCK_* of flock(2) */
int vd_fs_op_getlk (VdFsRequest *req, guint64 nodeid, guint64 fh, guint64 owner,
                    const struct flock *wanted);
int vd_fs_op_setlk (VdFsRequest *req, guint64 nodeid, guint64 fh, guint64 owner,
                    const struct flock *lock, gboolean waits);

/* ops-dax.c: what the guest wants to see in its window. */
int vd_fs_op_setupmapping (VdFsRequest *req, guint64 nodeid,
                           const VdFuseSetupmappingIn *args);
int
vd_fs_op_removemapping (VdFsRequest *req, const VdFuseRemovemappingIn *args);

/* ops-ioctl.c */
int
vd_fs_op_ioctl (VdFsRequest *req, guint64 nodeid, guint64 fh, guint32 command,
                guint32 flags, const void *in, gsize in_len, gsize out_len);

/* ops-dir.c */
int vd_fs_op_opendir (VdFsRequest *req, guint64 nodeid);
int vd_fs_op_readdir (VdFsRequest *req, guint64 nodeid, guint64 fh,
                      guint64 offset, guint32 size, gboolean plus);

/* ops-attr.c */
int vd_fs_op_getattr (VdFsRequest *req, guint64 nodeid,
                      const VdFuseGetattrIn *args);
int vd_fs_op_setattr (VdFsRequest *req, guint64 nodeid,
                      const VdFuseSetattrIn *args);
int
vd_fs_op_statx (VdFsRequest *req, guint64 nodeid, const VdFuseStatxIn *args);
int vd_fs_op_statfs (VdFsRequest *req, guint64 nodeid);
int vd_fs_op_access (VdFsRequest *req, guint64 nodeid, guint32 mask);

/* ops-xattr.c.  @value: may be rewritten */
int vd_fs_op_setxattr (VdFsRequest *req, guint64 nodeid, const char *name,
                       guint8 *value, guint32 size, guint32 flags,
                       guint32 setxattr_flags);
int vd_fs_op_getxattr (VdFsRequest *req, guint64 nodeid, const char *name,
                       guint32 size);
int vd_fs_op_listxattr (VdFsRequest *req, guint64 nodeid, guint32 size);
int vd_fs_op_removexattr (VdFsRequest *req, guint64 nodeid, const char *name);

/* What the host calls attribute @name of the guest.
 * Returns: 0 or -errno. */
int vd_fs_xattr_name (const VdFs *fs, const char *name,
                      char ret[XATTR_NAME_MAX + 1]);

/* label.c: security labels of new files. */

/* Whether the daemon may set the labels that guests have. */
gboolean vd_fs_labels_work (const VdFs *fs);

/* Gives @fd, a file that was just made in @dir, the label that @req came with,
 * if any; on failure @name in @dir, if not NULL, is removed again.
 * @fd: any kind of descriptor
 * Returns: 0 or -errno. */
int vd_fs_label (VdFsRequest *req, int fd, int dir, const char *name);

/* The same for @name alone. */
int vd_fs_label_child (VdFsRequest *req, int dir, const char *name);

/* Removes the file capabilities of @fd, any kind of descriptor, which its new
 * content or owner must not have (CVE-2021-20263). */
void vd_fs_remove_capability (const VdFs *fs, int fd);

/* Before every change of a file's content or owner. */
static inline void
vd_fs_before_change (const VdFs *fs, int fd)
{
  if (G_UNLIKELY (fs->identity.moved_capability != NULL))
    vd_fs_remove_capability (fs, fd);
}
