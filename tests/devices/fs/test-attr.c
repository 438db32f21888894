/* SPDX-License-Identifier: BSD-3-Clause
 *
 * test-attr.c - attributes and owners through virtio-fs
 */
#include <errno.h>
#include <fcntl.h>
#include <linux/capability.h>
#include <linux/fs.h>
#include <string.h>
#include <sys/ioctl.h>
#include <sys/syscall.h>
#include <unistd.h>

#include "tests/devices/fs/fixture.h"

static const VtFsConfig with_xattr = { .keys = { "xattr", "yes" } };
static const VtFsConfig without_acl = { .keys = { "xattr", "yes", "posix-acl",
                                                  "never" } };

static struct fuse_attr
set_attr (VtFs *f, guint64 nodeid, struct fuse_setattr_in in)
{
  struct fuse_attr attr;

  g_assert_cmpint (vt_fuse_setattr (f->c, nodeid, &in, &attr), ==, 0);
  return attr;
}

static void
test_mode_size_and_times_are_set (VtFs *f, gconstpointer data)
{
  guint64 nodeid, fh;
  struct fuse_attr attr;
  g_autofree char *content = NULL;

  vt_fs_put (f, "f", "0123456789");
  fh = vt_fs_open (f, "f", O_RDWR, &nodeid);
  for (guint with_fh = 0; with_fh < 2; with_fh++) {
    guint32 valid = with_fh != 0 ? FATTR_FH : 0;

    attr = set_attr (f, nodeid,
                     (struct fuse_setattr_in){ .valid = valid | FATTR_MODE,
                                               .fh = fh,
                                               .mode = S_IFREG | 0604 });
    g_assert_cmpuint (attr.mode, ==, S_IFREG | 0604);
    attr = set_attr (f, nodeid,
                     (struct fuse_setattr_in){ .valid = valid | FATTR_SIZE,
                                               .fh = fh,
                                               .size = 4 - with_fh });
    g_assert_cmpuint (attr.size, ==, 4 - with_fh);
    attr = set_attr (
        f, nodeid,
        (struct fuse_setattr_in){ .valid = valid | FATTR_ATIME | FATTR_MTIME,
                                  .fh = fh,
                                  .atime = 1000,
                                  .atimensec = 5,
                                  .mtime = 2000 + with_fh,
                                  .mtimensec = 6 });
    g_assert_cmpuint (attr.atime, ==, 1000);
    g_assert_cmpuint (attr.mtime, ==, 2000 + with_fh);
    g_assert_cmpuint (attr.mtimensec, ==, 6);
    attr = set_attr (f, nodeid,
                     (struct fuse_setattr_in){ .valid = valid | FATTR_MTIME |
                                                        FATTR_MTIME_NOW,
                                               .fh = fh });
    g_assert_cmpuint (attr.mtime, >, 1000000000);
    g_assert_cmpuint (attr.atime, ==, 1000);
  }
  content = vt_fs_get (f, "f");
  g_assert_cmpstr (content, ==, "012");
}

static void
test_absurd_sizes_are_refused (VtFs *f, gconstpointer data)
{
  struct fuse_setattr_in in = { .valid = FATTR_SIZE };
  guint64 nodeid;

  vt_fs_put (f, "f", "x");
  g_assert_cmpint (vt_fuse_lookup (f->c, 1, "f", &nodeid, NULL), ==, 0);
  in.size = 1ull << 63;
  g_assert_cmpint (vt_fuse_setattr (f->c, nodeid, &in, NULL), ==, -EINVAL);
  in.size = G_MAXUINT64;
  g_assert_cmpint (vt_fuse_setattr (f->c, nodeid, &in, NULL), ==, -EINVAL);
  in.size = 0;
  g_assert_cmpint (vt_fuse_setattr (f->c, 1, &in, NULL), ==, -EINVAL);
}

/* A handle that is open for reading must not keep truncate(2) from working. */
static void
test_a_reading_handle_does_not_hinder_truncation (VtFs *f, gconstpointer data)
{
  guint64 nodeid, fh;
  struct fuse_attr attr;

  vt_fs_put (f, "f", "0123456789");
  fh = vt_fs_open (f, "f", O_RDONLY, &nodeid);
  attr = set_attr (f, nodeid,
                   (struct fuse_setattr_in){
                       .valid = FATTR_SIZE | FATTR_FH, .fh = fh, .size = 2 });
  g_assert_cmpuint (attr.size, ==, 2);
}

static void
test_owners_are_changed (VtFs *f, gconstpointer data)
{
  guint64 nodeid, link;
  struct fuse_setattr_in in = { .valid = FATTR_UID | FATTR_GID,
                                .uid = 1234,
                                .gid = 4321 };
  struct fuse_attr attr;

  if (!vt_fs_is_root ())
    return;
  vt_fs_put (f, "f", "x");
  g_assert_cmpint (vt_fuse_lookup (f->c, 1, "f", &nodeid, NULL), ==, 0);
  attr = set_attr (f, nodeid, in);
  g_assert_cmpuint (attr.uid, ==, 1234);
  g_assert_cmpuint (attr.gid, ==, 4321);
  in.valid = FATTR_GID;
  in.gid = 7;
  attr = set_attr (f, nodeid, in);
  g_assert_cmpuint (attr.uid, ==, 1234);
  g_assert_cmpuint (attr.gid, ==, 7);
  /* The link itself, not where it points. */
  g_assert_cmpint (vt_fuse_symlink (f->c, 1, "l", "f", &link), ==, 0);
  in.valid = FATTR_UID;
  in.uid = 99;
  attr = set_attr (f, link, in);
  g_assert_cmpuint (attr.uid, ==, 99);
  g_assert_true (S_ISLNK (attr.mode));
  g_assert_cmpint (vt_fuse_getattr (f->c, nodeid, &attr), ==, 0);
  g_assert_cmpuint (attr.uid, ==, 1234);
}

/* New files belong to the guest's user, and the thread is root again. */
static void
test_new_files_belong_to_the_caller (VtFs *f, gconstpointer data)
{
  guint64 nodeid, fh, dir;
  struct fuse_attr attr;

  if (!vt_fs_is_root ())
    return;
  f->c->uid = 1000;
  f->c->gid = 1001;
  /* The export belongs to root; the guest has allowed it all the same. */
  g_assert_cmpint (vt_fuse_create (f->c, 1, "f", O_RDWR, 0644, &nodeid, &fh),
                   ==, 0);
  g_assert_cmpint (vt_fuse_getattr (f->c, nodeid, &attr), ==, 0);
  g_assert_cmpuint (attr.uid, ==, 1000);
  g_assert_cmpuint (attr.gid, ==, 1001);
  g_assert_cmpint (vt_fuse_mkdir (f->c, 1, "d", 0700, &dir), ==, 0);
  g_assert_cmpint (vt_fuse_getattr (f->c, dir, &attr), ==, 0);
  g_assert_cmpuint (attr.uid, ==, 1000);
  f->c->uid = 0;
  f->c->gid = 0;
  g_assert_cmpint (vt_fuse_create (f->c, dir, "g", O_RDWR, 0644, &nodeid, &fh),
                   ==, 0);
  g_assert_cmpint (vt_fuse_getattr (f->c, nodeid, &attr), ==, 0);
  g_assert_cmpuint (attr.uid, ==, 0);
  g_assert_cmpuint (attr.gid, ==, 0);

  f->c->uid = G_MAXUINT32; /* would mean: as whoever we are */
  g_assert_cmpint (vt_fuse_mkdir (f->c, 1, "e", 0700, &dir), ==, -EINVAL);
}

/* Switches capability @cap of this thread, and of those that it starts. */
static void
set_capability (guint cap, gboolean on)
{
  struct __user_cap_header_struct header = { _LINUX_CAPABILITY_VERSION_3, 0 };
  struct __user_cap_data_struct data[2];

  g_assert_cmpint (syscall (SYS_capget, &header, data), ==, 0);
  data[0].effective &= ~(1u << cap);
  data[0].effective |= on ? 1u << cap : 0;
  g_assert_cmpint (syscall (SYS_capset, &header, data), ==, 0);
}

static void
test_a_daemon_without_privileges_owns_all_it_makes (VtFs *f, gconstpointer data)
{
  struct fuse_attr attr;
  guint64 dir;

  if (!vt_fs_is_root ())
    return;
  set_capability (CAP_SETUID, FALSE);
  vt_fs_open_again (f, data);
  f->c->uid = f->c->gid = 1000;
  g_assert_cmpint (vt_fuse_mkdir (f->c, 1, "d", 0755, &dir), ==, 0);
  g_assert_cmpint (vt_fuse_getattr (f->c, dir, &attr), ==, 0);
  g_assert_cmpuint (attr.uid, ==, 0);
  set_capability (CAP_SETUID, TRUE);
}

/* MKDIR with a supplementary group of the caller behind the name. */
static int
mkdir_with_group (VtFs *f, guint64 parent, guint32 mode, guint32 group)
{
  struct {
    struct fuse_in_header in;
    struct fuse_mkdir_in mkdir;
    char name[8];
    guint32 ext[4];
  } message = {
    .in = { .len = sizeof message,
            .opcode = FUSE_MKDIR,
            .unique = 77,
            .nodeid = parent,
            .uid = 1000,
            .gid = 1000,
            .total_extlen = 2 },
    .mkdir = { .mode = mode },
    .name = "new",
    .ext = { 16, 32, 1, group },
  };
  struct fuse_out_header out;

  vt_fuse_raw (f->c, &message, sizeof message,
               sizeof out + sizeof (struct fuse_entry_out));
  memcpy (&out, f->c->in, sizeof out);
  return out.error;
}

static void
test_a_supplementary_group_keeps_the_set_gid_bit (VtFs *f, gconstpointer data)
{
  g_autofree char *parent_path = vt_fs_path (f, "parent");
  g_autofree char *path = vt_fs_path (f, "parent/new");
  struct stat st;
  guint64 parent;

  if (!vt_fs_is_root ())
    return;
  g_assert_cmpint (mkdir (parent_path, 02777), ==, 0);
  g_assert_cmpint (chown (parent_path, 0, 555), ==, 0);
  g_assert_cmpint (chmod (parent_path, 02777), ==, 0);
  g_assert_cmpint (vt_fuse_lookup (f->c, 1, "parent", &parent, NULL), ==, 0);
  g_assert_cmpint (mkdir_with_group (f, parent, 0775, 555), ==, 0);
  g_assert_cmpint (stat (path, &st), ==, 0);
  g_assert_cmpuint (st.st_uid, ==, 1000);
  g_assert_cmpuint (st.st_gid, ==, 555);
  g_assert_cmpuint (st.st_mode & 07777, ==, 02775);
}

static void
test_the_birth_time_is_told (VtFs *f, gconstpointer data)
{
  struct {
    guint32 getattr_flags, reserved;
    guint64 fh;
    guint32 sx_flags, sx_mask;
  } in = { .sx_mask = STATX_BTIME | STATX_BASIC_STATS };
  guint8 out[288];
  guint32 mask;
  guint64 nodeid, size;
  gint64 btime;

  vt_fs_put (f, "f", "0123456789");
  g_assert_cmpint (vt_fuse_lookup (f->c, 1, "f", &nodeid, NULL), ==, 0);
  g_assert_cmpint (vt_fuse_call (f->c, VT_FUSE_STATX, nodeid, &in, sizeof in,
                                 NULL, 0, out, sizeof out),
                   ==, sizeof out);
  memcpy (&mask, out + 32, 4);
  memcpy (&size, out + 32 + 40, 8);
  memcpy (&btime, out + 32 + 80, 8);
  g_assert_cmphex (mask & STATX_BASIC_STATS, ==, STATX_BASIC_STATS);
  g_assert_cmpuint (size, ==, 10);
  if ((mask & STATX_BTIME) != 0)
    g_assert_cmpint (btime, >, 1000000000);
  in.getattr_flags = FUSE_GETATTR_FH;
  in.fh = 4711;
  g_assert_cmpint (vt_fuse_call (f->c, VT_FUSE_STATX, nodeid, &in, sizeof in,
                                 NULL, 0, out, sizeof out),
                   ==, -EBADF);
}

static void
test_the_file_system_is_described (VtFs *f, gconstpointer data)
{
  struct fuse_statfs_out out;

  g_assert_cmpint (
      vt_fuse_call (f->c, FUSE_STATFS, 1, NULL, 0, NULL, 0, &out, sizeof out),
      ==, sizeof out);
  g_assert_cmpuint (out.st.blocks, >, 0);
  g_assert_cmpuint (out.st.bsize, >=, 512);
  g_assert_cmpuint (out.st.namelen, >=, 200);
}

static int
access_as (VtFs *f, guint64 nodeid, guint32 uid, guint32 gid, guint32 mask)
{
  struct fuse_access_in in = { .mask = mask };
  gssize n;

  f->c->uid = uid;
  f->c->gid = gid;
  n = vt_fuse_call (f->c, FUSE_ACCESS, nodeid, &in, sizeof in, NULL, 0, NULL,
                    0);
  f->c->uid = f->c->gid = 0;
  return (int) n;
}

static void
test_access_follows_the_mode (VtFs *f, gconstpointer data)
{
  g_autofree char *path = vt_fs_path (f, "f");
  guint64 nodeid;

  if (!vt_fs_is_root ())
    return;
  vt_fs_put (f, "f", "x");
  g_assert_cmpint (chown (path, 10, 20), ==, 0);
  g_assert_cmpint (chmod (path, 0640), ==, 0);
  g_assert_cmpint (vt_fuse_lookup (f->c, 1, "f", &nodeid, NULL), ==, 0);
  g_assert_cmpint (access_as (f, nodeid, 10, 99, R_OK | W_OK), ==, 0);
  g_assert_cmpint (access_as (f, nodeid, 11, 20, R_OK), ==, 0);
  g_assert_cmpint (access_as (f, nodeid, 11, 20, W_OK), ==, -EACCES);
  g_assert_cmpint (access_as (f, nodeid, 11, 21, R_OK), ==, -EACCES);
  g_assert_cmpint (access_as (f, nodeid, 0, 0, R_OK | W_OK), ==, 0);
  g_assert_cmpint (access_as (f, nodeid, 0, 0, X_OK), ==, -EACCES);
}

static void
test_acls_come_with_their_three_flags (VtFs *f, gconstpointer data)
{
  guint64 acl = FUSE_POSIX_ACL | FUSE_DONT_MASK | FUSE_SETXATTR_EXT;

  g_assert_cmphex (f->c->flags & acl, ==, data == &with_xattr ? acl : 0);
}

/* Truncation by open(), where only the server can clear the bits. */
static void
test_truncating_kills_set_id_when_asked (VtFs *f, gconstpointer data)
{
  struct fuse_open_in in = { .flags = O_WRONLY | O_TRUNC,
                             .open_flags = FUSE_OPEN_KILL_SUIDGID };
  g_autofree char *path = vt_fs_path (f, "f");
  struct fuse_open_out out;
  struct fuse_attr attr;
  guint64 nodeid;

  if (!vt_fs_is_root ())
    return;
  g_assert_cmphex (f->c->flags & FUSE_HANDLE_KILLPRIV_V2, !=, 0);
  vt_fs_put (f, "f", "0123456789");
  g_assert_cmpint (chmod (path, 04755), ==, 0);
  g_assert_cmpint (vt_fuse_lookup (f->c, 1, "f", &nodeid, NULL), ==, 0);
  attr = set_attr (f, nodeid,
                   (struct fuse_setattr_in){ .valid = FATTR_SIZE, .size = 5 });
  g_assert_cmpuint (attr.mode & 07777, ==, 04755);
  g_assert_cmpint (vt_fuse_call (f->c, FUSE_OPEN, nodeid, &in, sizeof in, NULL,
                                 0, &out, sizeof out),
                   ==, sizeof out);
  g_assert_cmpint (vt_fuse_getattr (f->c, nodeid, &attr), ==, 0);
  g_assert_cmpuint (attr.mode & 07777, ==, 0755);
  g_assert_cmpint (chmod (path, 04755), ==, 0);
  attr = set_attr (f, nodeid,
                   (struct fuse_setattr_in){
                       .valid = FATTR_SIZE | FATTR_KILL_SUIDGID, .size = 2 });
  g_assert_cmpuint (attr.mode & 07777, ==, 0755);
}

/* With DONT_MASK the umask comes along, and a default ACL replaces it. */
static void
test_the_umask_is_applied_for_the_guest (VtFs *f, gconstpointer data)
{
  struct fuse_mkdir_in in = { .mode = 0777, .umask = 027 };
  struct fuse_entry_out out;

  g_assert_cmpint (vt_fuse_call (f->c, FUSE_MKDIR, 1, &in, sizeof in, "a", 2,
                                 &out, sizeof out),
                   ==, sizeof out);
  g_assert_cmpuint (out.attr.mode & 07777, ==, 0750);
  in.umask = 0;
  g_assert_cmpint (vt_fuse_call (f->c, FUSE_MKDIR, 1, &in, sizeof in, "b", 2,
                                 &out, sizeof out),
                   ==, sizeof out);
  g_assert_cmpuint (out.attr.mode & 07777, ==, 0777);
}

static const VtFsConfig with_ioctl = { .keys = { "ioctl", "yes" } };

static gssize
run_ioctl (VtFs *f, guint64 nodeid, struct fuse_ioctl_in in, const int *value,
           int *ret)
{
  struct {
    struct fuse_ioctl_out out;
    int value;
  } reply = { 0 };
  gssize n;

  in.in_size = value != NULL ? sizeof *value : 0;
  in.out_size = ret != NULL ? sizeof *ret : 0;
  n = vt_fuse_call (f->c, FUSE_IOCTL, nodeid, &in, sizeof in, value, in.in_size,
                    &reply, sizeof reply.out + in.out_size);
  if (n >= 0 && ret != NULL)
    *ret = reply.value;
  return n;
}

/* Flags of files pass in both directions; nothing else reaches the host. */
static void
test_flags_of_files_pass (VtFs *f, gconstpointer data)
{
  struct fuse_ioctl_in in = { .cmd = FS_IOC_GETFLAGS };
  int flags, host = 0, fd;
  guint64 nodeid;

  vt_fs_put (f, "f", "");
  in.fh = vt_fs_open (f, "f", O_RDWR, &nodeid);
  if (run_ioctl (f, nodeid, in, NULL, &flags) == -ENOTTY) {
    g_test_skip ("the temporary directory has no flags of files");
    return;
  }
  flags |= FS_NODUMP_FL;
  in.cmd = FS_IOC_SETFLAGS;
  g_assert_cmpint (run_ioctl (f, nodeid, in, &flags, NULL), >=, 0);
  {
    g_autofree char *path = vt_fs_path (f, "f");

    fd = open (path, O_RDONLY | O_CLOEXEC);
    g_assert_no_errno (ioctl (fd, FS_IOC_GETFLAGS, &host));
    close (fd);
  }
  g_assert_cmpint (host & FS_NODUMP_FL, !=, 0);
  in.cmd = FS_IOC_GETFLAGS;
  flags = 0;
  g_assert_cmpint (run_ioctl (f, nodeid, in, NULL, &flags), >=, 0);
  g_assert_cmphex (flags, ==, host);
  in.flags = FUSE_IOCTL_UNRESTRICTED;
  g_assert_cmpint (run_ioctl (f, nodeid, in, NULL, &flags), ==, -ENOTTY);
  in.flags = 0;
  in.cmd = FIBMAP;
  g_assert_cmpint (run_ioctl (f, nodeid, in, &flags, &flags), ==, -ENOTTY);
  in.cmd = FS_IOC_GETFLAGS;
  in.fh++;
  g_assert_cmpint (run_ioctl (f, nodeid, in, NULL, &flags), ==, -EBADF);
}

static void
test_without_the_key_there_are_no_flags (VtFs *f, gconstpointer data)
{
  struct fuse_ioctl_in in = { .cmd = FS_IOC_GETFLAGS };
  guint64 nodeid;
  int flags;

  vt_fs_put (f, "f", "");
  in.fh = vt_fs_open (f, "f", O_RDWR, &nodeid);
  g_assert_cmpint (run_ioctl (f, nodeid, in, NULL, &flags), ==, -ENOSYS);
}

int
main (int argc, char **argv)
{
  g_test_init (&argc, &argv, NULL);
#define ADD(name, func) VT_FS_TEST ("/fs/attr/" name, NULL, func)
#define ADD_WITH(name, config, func)                                           \
  VT_FS_TEST ("/fs/attr/" name, &config, func)
  ADD ("set", test_mode_size_and_times_are_set);
  ADD ("absurd", test_absurd_sizes_are_refused);
  ADD ("truncate", test_a_reading_handle_does_not_hinder_truncation);
  ADD ("owner", test_owners_are_changed);
  ADD ("caller", test_new_files_belong_to_the_caller);
  ADD ("unprivileged", test_a_daemon_without_privileges_owns_all_it_makes);
  ADD ("group", test_a_supplementary_group_keeps_the_set_gid_bit);
  ADD ("statx", test_the_birth_time_is_told);
  ADD ("statfs", test_the_file_system_is_described);
  ADD ("access", test_access_follows_the_mode);
  ADD_WITH ("flags", with_ioctl, test_flags_of_files_pass);
  ADD ("flags/off", test_without_the_key_there_are_no_flags);
  ADD ("set-id", test_truncating_kills_set_id_when_asked);
  ADD_WITH ("acl", with_xattr, test_acls_come_with_their_three_flags);
  ADD_WITH ("acl/never", without_acl, test_acls_come_with_their_three_flags);
  ADD_WITH ("umask", with_xattr, test_the_umask_is_applied_for_the_guest);
  return g_test_run ();
}
