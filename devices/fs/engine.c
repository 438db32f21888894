/* SPDX-License-Identifier: BSD-3-Clause
 *
 * engine.c - see engine.h
 *
 * How libfuse is used, and why so:
 *
 * - Each bench has a session of its own, "mounted" on /dev/null.  libfuse has no
 *   per-request pointer, but it has one for each session; and a session that is
 *   shared by threads pays for its lock.
 * - A session is fed an INIT of our own making and never the guest's: only the
 *   layout of messages matters to it, and that does not change between the
 *   versions that we accept.  So a session outlives guests, reboots included.
 * - Answers are ours.  libfuse's would cross a file descriptor, and know fewer
 *   flags in older versions.  Every operation ends with fuse_reply_none(),
 *   which only frees, even if the answer itself comes later.
 * - fuse_session_custom_io() is not used: newer versions refuse it by default.
 * - READ and WRITE never get here.  Their headers are fixed structs that are
 *   copied and checked anyway, and libfuse allocates for each request.
 *
 * The same code works with libfuse 3.14, 3.17 and 3.18.
 */
#define FUSE_USE_VERSION 314

#include "devices/fs/engine.h"

#include <errno.h>
#include <fcntl.h>
#include <fuse_lowlevel.h>
#include <stdio.h>
#include <string.h>
#include <time.h>

#include "devices/fs/ops.h"
#include "vring/fd.h"

/* The request that libfuse is decoding at its session's bench. */
static inline VdFsRequest *
current (fuse_req_t fuse)
{
  return ((VdFsBench *) fuse_req_userdata (fuse))->current;
}

/* Ends libfuse's part of a request.  @r: what the operation returned */
static inline void
end (fuse_req_t fuse, int r)
{
  vd_fs_finish (current (fuse), r);
  fuse_reply_none (fuse);
}

static void
do_init (void *userdata, struct fuse_conn_info *conn)
{
#if VD_HAVE_FUSE_NO_INTERRUPT
  conn->no_interrupt = 1; /* saves two locks a request */
#endif
}

static void
do_lookup (fuse_req_t fuse, fuse_ino_t parent, const char *name)
{
  end (fuse, vd_fs_op_lookup (current (fuse), parent, name));
}

static void
do_getattr (fuse_req_t fuse, fuse_ino_t ino, struct fuse_file_info *fi)
{
  VdFsRequest *req = current (fuse);

  end (fuse, vd_fs_op_getattr (req, ino, req->message->args));
}

/* libfuse drops the flag to kill set-id bits, so the message itself is used. */
static void
do_setattr (fuse_req_t fuse, fuse_ino_t ino, struct stat *attr, int valid,
            struct fuse_file_info *fi)
{
  VdFsRequest *req = current (fuse);

  end (fuse, vd_fs_op_setattr (req, ino, req->message->args));
}

static void
do_readlink (fuse_req_t fuse, fuse_ino_t ino)
{
  end (fuse, vd_fs_op_readlink (current (fuse), ino));
}

static void
do_mknod (fuse_req_t fuse, fuse_ino_t parent, const char *name, mode_t mode,
          dev_t rdev)
{
  end (fuse,
       vd_fs_op_mknod (current (fuse), parent, name, mode, (guint32) rdev));
}

static void
do_mkdir (fuse_req_t fuse, fuse_ino_t parent, const char *name, mode_t mode)
{
  end (fuse, vd_fs_op_mkdir (current (fuse), parent, name, mode));
}

static void
do_unlink (fuse_req_t fuse, fuse_ino_t parent, const char *name)
{
  end (fuse, vd_fs_op_unlink (current (fuse), parent, name, 0));
}

static void
do_rmdir (fuse_req_t fuse, fuse_ino_t parent, const char *name)
{
  end (fuse, vd_fs_op_unlink (current (fuse), parent, name, AT_REMOVEDIR));
}

static void
do_symlink (fuse_req_t fuse, const char *target, fuse_ino_t parent,
            const char *name)
{
  end (fuse, vd_fs_op_symlink (current (fuse), target, parent, name));
}

static void
do_rename (fuse_req_t fuse, fuse_ino_t parent, const char *name,
           fuse_ino_t new_parent, const char *new_name, unsigned int flags)
{
  end (fuse, vd_fs_op_rename (current (fuse), parent, name, new_parent,
                              new_name, flags));
}

static void
do_link (fuse_req_t fuse, fuse_ino_t ino, fuse_ino_t parent, const char *name)
{
  end (fuse, vd_fs_op_link (current (fuse), ino, parent, name));
}

static void
do_open (fuse_req_t fuse, fuse_ino_t ino, struct fuse_file_info *fi)
{
  VdFsRequest *req = current (fuse);
  const VdFuseOpenIn *args = req->message->args;

  end (fuse, vd_fs_op_open (req, ino, (guint32) fi->flags, args->open_flags));
}

static void
do_create (fuse_req_t fuse, fuse_ino_t parent, const char *name, mode_t mode,
           struct fuse_file_info *fi)
{
  end (fuse, vd_fs_op_create (current (fuse), parent, name, mode,
                              (guint32) fi->flags, fuse_req_ctx (fuse)->umask));
}

static void
do_release (fuse_req_t fuse, fuse_ino_t ino, struct fuse_file_info *fi)
{
  end (fuse, vd_fs_op_release (current (fuse), ino, fi->fh, VD_FS_FILE));
}

static void
do_releasedir (fuse_req_t fuse, fuse_ino_t ino, struct fuse_file_info *fi)
{
  end (fuse, vd_fs_op_release (current (fuse), ino, fi->fh, VD_FS_DIR));
}

static void
do_flush (fuse_req_t fuse, fuse_ino_t ino, struct fuse_file_info *fi)
{
  end (fuse, vd_fs_op_flush (current (fuse), ino, fi->fh, fi->lock_owner));
}

static void
do_fsync (fuse_req_t fuse, fuse_ino_t ino, int data_only,
          struct fuse_file_info *fi)
{
  end (fuse, vd_fs_op_fsync (current (fuse), ino, fi->fh, data_only != 0,
                             VD_FS_FILE));
}

static void
do_fsyncdir (fuse_req_t fuse, fuse_ino_t ino, int data_only,
             struct fuse_file_info *fi)
{
  end (fuse,
       vd_fs_op_fsync (current (fuse), ino, fi->fh, data_only != 0, VD_FS_DIR));
}

static void
do_opendir (fuse_req_t fuse, fuse_ino_t ino, struct fuse_file_info *fi)
{
  end (fuse, vd_fs_op_opendir (current (fuse), ino));
}

static void
do_readdir (fuse_req_t fuse, fuse_ino_t ino, size_t size, off_t offset,
            struct fuse_file_info *fi)
{
  end (fuse, vd_fs_op_readdir (current (fuse), ino, fi->fh, (guint64) offset,
                               (guint32) size, FALSE));
}

static void
do_readdirplus (fuse_req_t fuse, fuse_ino_t ino, size_t size, off_t offset,
                struct fuse_file_info *fi)
{
  end (fuse, vd_fs_op_readdir (current (fuse), ino, fi->fh, (guint64) offset,
                               (guint32) size, TRUE));
}

static void
do_statfs (fuse_req_t fuse, fuse_ino_t ino)
{
  end (fuse, vd_fs_op_statfs (current (fuse), ino));
}

static void
do_getxattr (fuse_req_t fuse, fuse_ino_t ino, const char *name, size_t size)
{
  end (fuse, vd_fs_op_getxattr (current (fuse), ino, name, (guint32) size));
}

static void
do_listxattr (fuse_req_t fuse, fuse_ino_t ino, size_t size)
{
  end (fuse, vd_fs_op_listxattr (current (fuse), ino, (guint32) size));
}

static void
do_removexattr (fuse_req_t fuse, fuse_ino_t ino, const char *name)
{
  end (fuse, vd_fs_op_removexattr (current (fuse), ino, name));
}

static void
do_access (fuse_req_t fuse, fuse_ino_t ino, int mask)
{
  end (fuse, vd_fs_op_access (current (fuse), ino, (guint32) mask));
}

static void
do_fallocate (fuse_req_t fuse, fuse_ino_t ino, int mode, off_t offset,
              off_t length, struct fuse_file_info *fi)
{
  VdFsRequest *req = current (fuse);

  end (fuse, vd_fs_op_fallocate (req, ino, req->message->args));
}

static void
do_lseek (fuse_req_t fuse, fuse_ino_t ino, off_t offset, int whence,
          struct fuse_file_info *fi)
{
  end (fuse, vd_fs_op_lseek (current (fuse), ino, fi->fh, (guint64) offset,
                             (guint32) whence));
}

static void
do_copy_file_range (fuse_req_t fuse, fuse_ino_t ino, off_t offset,
                    struct fuse_file_info *fi, fuse_ino_t ino_out,
                    off_t offset_out, struct fuse_file_info *fi_out, size_t len,
                    int flags)
{
  VdFsRequest *req = current (fuse);

  end (fuse, vd_fs_op_copy_file_range (req, ino, req->message->args));
}

static void
do_getlk (fuse_req_t fuse, fuse_ino_t ino, struct fuse_file_info *fi,
          struct flock *lock)
{
  end (fuse,
       vd_fs_op_getlk (current (fuse), ino, fi->fh, fi->lock_owner, lock));
}

static void
do_setlk (fuse_req_t fuse, fuse_ino_t ino, struct fuse_file_info *fi,
          struct flock *lock, int waits)
{
  end (fuse, vd_fs_op_setlk (current (fuse), ino, fi->fh, fi->lock_owner, lock,
                             waits != 0));
}

static void
do_flock (fuse_req_t fuse, fuse_ino_t ino, struct fuse_file_info *fi, int op)
{
  end (fuse, vd_fs_op_flock (current (fuse), ino, fi->fh, op));
}

static void
do_ioctl (fuse_req_t fuse, fuse_ino_t ino, unsigned int command, void *arg,
          struct fuse_file_info *fi, unsigned flags, const void *in,
          size_t in_len, size_t out_len)
{
  end (fuse, vd_fs_op_ioctl (current (fuse), ino, fi->fh, command, flags, in,
                             in_len, out_len));
}

static const struct fuse_lowlevel_ops ops = {
  .init = do_init,
  .lookup = do_lookup,
  .getattr = do_getattr,
  .setattr = do_setattr,
  .readlink = do_readlink,
  .mknod = do_mknod,
  .mkdir = do_mkdir,
  .unlink = do_unlink,
  .rmdir = do_rmdir,
  .symlink = do_symlink,
  .rename = do_rename,
  .link = do_link,
  .open = do_open,
  .create = do_create,
  .release = do_release,
  .releasedir = do_releasedir,
  .flush = do_flush,
  .fsync = do_fsync,
  .fsyncdir = do_fsyncdir,
  .opendir = do_opendir,
  .readdir = do_readdir,
  .readdirplus = do_readdirplus,
  .statfs = do_statfs,
  .getxattr = do_getxattr,
  .listxattr = do_listxattr,
  .removexattr = do_removexattr,
  .access = do_access,
  .getlk = do_getlk,
  .setlk = do_setlk,
  .flock = do_flock,
  .ioctl = do_ioctl,
  .fallocate = do_fallocate,
  .lseek = do_lseek,
  .copy_file_range = do_copy_file_range,
};

/* libfuse logs what it finds wrong with a message.  The validator finds it
 * before, so a line here means that the two disagree; one a second will do. */
static void
    G_GNUC_PRINTF (2, 0) log_from_libfuse (enum fuse_log_level level,
                                           const char *format, va_list args)
{
  static atomic_uint_fast64_t last;
  guint64 now = (guint64) time (NULL);
  char text[256];

  if (atomic_exchange_explicit (&last, now, memory_order_relaxed) == now)
    return;
  vsnprintf (text, sizeof text, format, args);
  g_debug ("libfuse: %s", text);
}

static void
set_log (void)
{
  fuse_set_log_func (log_from_libfuse);
}

/* Feeds the only INIT that the session ever sees: no flag is set, so libfuse
 * turns nothing on, io_uring and passthrough least of all. */
static void
feed_init (struct fuse_session *session)
{
  struct {
    VdFuseInHeader in;
    VdFuseInitIn init;
  } message = {
    .in = { .len = sizeof message, .opcode = VD_FUSE_INIT, .unique = 1 },
    .init = { .major = VD_FUSE_MAJOR, .minor = 31, .max_readahead = 1 << 17 },
  };
  struct fuse_buf buf = { 0 };

  buf.mem = &message;
  buf.size = sizeof message.in + VD_FUSE_INIT_IN_OLD;
  message.in.len = (guint32) buf.size;
  fuse_session_process_buf (session, &buf);
}

/* The session owns @null from here on. */
static int
mount_null (struct fuse_session *session, int null)
{
  char path[32];

  snprintf (path, sizeof path, "/dev/fd/%d", null);
  return fuse_session_mount (session, path);
}

int
vd_fs_engine_start (VdFsBench *bench)
{
  static pthread_once_t once = PTHREAD_ONCE_INIT;
  char *argv[] = { (char *) "virtiod", NULL };
  struct fuse_args args = FUSE_ARGS_INIT (1, argv);
  struct fuse_session *session;
  vd_autofd null = open ("/dev/null", O_RDWR | O_CLOEXEC);

  if (null < 0)
    return -errno;
  pthread_once (&once, set_log);
  session = fuse_session_new (&args, &ops, sizeof ops, bench);
  fuse_opt_free_args (&args);
  if (session == NULL)
    return -ENOMEM;
  if (mount_null (session, null) < 0) {
    fuse_session_destroy (session);
    return -EIO;
  }
  vd_steal_fd (&null); /* fuse_session_destroy() closes it */
  feed_init (session);
  if (fuse_session_exited (session)) {
    fuse_session_destroy (session);
    return -EPROTO;
  }
  bench->session = session;
  return 0;
}

void
vd_fs_engine_stop (VdFsBench *bench)
{
  if (bench->session != NULL)
    fuse_session_destroy (bench->session);
  bench->session = NULL;
}

void
vd_fs_engine_run (VdFsRequest *req)
{
  struct fuse_buf buf = { 0 };

  buf.mem = req->message->bytes;
  buf.size = req->message->len;
  req->bench->current = req;
  fuse_session_process_buf (req->bench->session, &buf);
  req->bench->current = NULL;
}
