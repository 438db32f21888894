/* SPDX-License-Identifier: BSD-3-Clause
 *
 * attr.c - owners, permissions, times, extended attributes
 */
#include <errno.h>
#include <fcntl.h>
#include <grp.h>
#include <stdio.h>
#include <string.h>
#include <sys/stat.h>
#include <sys/statvfs.h>
#include <sys/xattr.h>
#include <unistd.h>

#include "tests/vm/posix/posix.h"

enum { USER = 1234 };

static void
say_owner (const char *name)
{
  struct stat st = { 0 };

  try_ ("lstat", lstat (name, &st));
  say ("uid", st.st_uid);
  say ("gid", st.st_gid);
  say_octal ("mode", st.st_mode);
}

static void
all_modes (void)
{
  unsigned wrong = 0;

  close (make ("file", ""));
  for (unsigned mode = 0; mode <= 07777; mode++) {
    struct stat st;

    if (chmod ("file", mode) < 0 || stat ("file", &st) < 0 ||
        (st.st_mode & 07777) != mode)
      wrong++;
  }
  say ("wrong", wrong);
  try_ ("chmod-link", fchmodat (AT_FDCWD, "missing", 0600, 0));
}

static void
make_all_kinds (void)
{
  umask (027);
  close (open ("file", O_CREAT | O_WRONLY, 0666));
  mkdir ("dir", 0777);
  symlink ("x", "link");
  mkfifo ("fifo", 0666);
  umask (0);
  close (open ("open", O_CREAT | O_WRONLY, 07666));
}

static void
owners_of_new_files (void)
{
  chmod (".", 0777);
  as_user (USER, make_all_kinds);
  say_owner ("file");
  say_owner ("dir");
  say_owner ("link");
  say_owner ("fifo");
  say_owner ("open");
}

static void
group_of_the_directory (void)
{
  chown (".", 0, 4321);
  chmod (".", 02777);
  as_user (USER, make_all_kinds);
  say_owner ("file");
  say_owner ("dir");
  chmod ("file", 02755);
  say_owner ("file");
}

static void
try_everything (void)
{
  try_ ("read", open ("secret", O_RDONLY));
  try_ ("write", open ("secret", O_WRONLY));
  try_ ("create", open ("closed/new", O_CREAT | O_WRONLY, 0600));
  try_ ("search", access ("closed/file", F_OK));
  try_ ("list", open ("closed", O_RDONLY | O_DIRECTORY));
  try_ ("chmod", chmod ("public", 0777));
  try_ ("chown", chown ("public", USER, USER));
  try_ ("utime", utimensat (AT_FDCWD, "public", NULL, 0));
  try_ ("utime-set", utimensat (AT_FDCWD, "public",
                                (struct timespec[2]){ { 1, 0 }, { 1, 0 } }, 0));
  try_ ("noatime", open ("public", O_RDONLY | O_NOATIME));
  try_ ("truncate", truncate ("public", 0));
  try_ ("xattr", setxattr ("public", "user.x", "y", 1, 0));
  try_ ("sticky-unlink", unlink ("sticky/file"));
  try_ ("sticky-rename", rename ("sticky/file", "sticky/other"));
  try_ ("link", link ("public", "sticky/link"));
  try_ ("access-x", access ("public", X_OK));
  try_ ("mknod", mknod ("sticky/null", S_IFCHR | 0666, 0x103));
}

static void
permissions (void)
{
  close (make ("secret", "x"));
  chmod ("secret", 0600);
  close (make ("public", "x"));
  mkdir ("closed", 0700);
  close (make ("closed/file", "x"));
  mkdir ("sticky", 0755);
  chmod ("sticky", 01777);
  close (make ("sticky/file", "x"));
  chmod (".", 0755);
  as_user (USER, try_everything);
}

static void
use_group (void)
{
  try_ ("read", open ("groups", O_RDONLY));
  try_ ("write", open ("groups", O_WRONLY));
}

static void
use_supplementary_group (void)
{
  const gid_t groups[] = { 77, 4321 };

  try_ ("setgroups", setgroups (2, groups));
  seteuid (USER);
  use_group ();
}

static void
groups_of_the_caller (void)
{
  close (make ("groups", "x"));
  chown ("groups", 0, 4321);
  chmod ("groups", 0040);
  chmod (".", 0755);
  as_user (USER, use_group);
  as_user (4321, use_group);
  as_user (0, use_supplementary_group);
}

static void
write_one (void)
{
  int fd = open ("file", O_WRONLY);

  try_ ("write", write (fd, "y", 1));
  close (fd);
}

static void
truncate_it (void)
{
  try_ ("truncate", truncate ("file", 0));
}

static void
open_truncated (void)
{
  try_ ("open", close (open ("file", O_WRONLY | O_TRUNC)));
}

static void
set_id_bits (void)
{
  void (*const changes[]) (void) = { write_one, truncate_it, open_truncated };

  chmod (".", 0777);
  for (unsigned i = 0; i < 3; i++) {
    close (make ("file", "x"));
    chmod ("file", 06777);
    as_user (USER, changes[i]);
    say_owner ("file");
    chmod ("file", 06777);
    changes[i]();
    say_owner ("file");
  }
  chmod ("file", 06777);
  try_ ("chown", chown ("file", 1, 1));
  say_owner ("file");
  chmod ("file", 02666); /* no execution: the bit means something else */
  as_user (USER, write_one);
  say_owner ("file");
}

static void
say_times (const char *name)
{
  struct stat st = { 0 };

  try_ ("lstat", lstat (name, &st));
  say ("atime", st.st_atim.tv_sec);
  say ("atime-ns", st.st_atim.tv_nsec);
  say ("mtime", st.st_mtim.tv_sec);
  say ("mtime-ns", st.st_mtim.tv_nsec);
}

static void
setting_times (void)
{
  const struct timespec both[] = { { 1000000000, 123456789 },
                                   { 2000000000, 987654321 } };
  const struct timespec one[] = { { 0, UTIME_OMIT }, { 5, 5 } };
  const struct timespec early[] = { { -1000, 1 }, { -1, 0 } };

  close (make ("file", "x"));
  symlink ("file", "link");
  try_ ("set", utimensat (AT_FDCWD, "file", both, 0));
  say_times ("file");
  try_ ("omit", utimensat (AT_FDCWD, "file", one, 0));
  say_times ("file");
  try_ ("before-1970", utimensat (AT_FDCWD, "file", early, 0));
  say_times ("file");
  try_ ("link", utimensat (AT_FDCWD, "link", both, AT_SYMLINK_NOFOLLOW));
  say_times ("link");
}

/* Nanoseconds between what @name had before and has now: only whether it moved
 * is of interest. */
static void
say_moved (const char *what, const char *name, const struct stat *before)
{
  struct stat st = { 0 };

  lstat (name, &st);
  say_text (what, "");
  say ("m", st.st_mtim.tv_sec != before->st_mtim.tv_sec ||
                st.st_mtim.tv_nsec != before->st_mtim.tv_nsec);
  say ("c", st.st_ctim.tv_sec != before->st_ctim.tv_sec ||
                st.st_ctim.tv_nsec != before->st_ctim.tv_nsec);
}

static void
old (const char *name, struct stat *ret)
{
  const struct timespec long_ago[] = { { 1000, 0 }, { 1000, 0 } };

  utimensat (AT_FDCWD, name, long_ago, 0);
  usleep (20000); /* beyond the grain of ctime */
  lstat (name, ret);
}

static void
changing_times (void)
{
  struct stat before;
  int fd = make ("file", "x");

  old ("file", &before);
  try_ ("write", write (fd, "y", 1));
  fsync (fd);
  say_moved ("write", "file", &before);
  old ("file", &before);
  chmod ("file", 0600);
  say_moved ("chmod", "file", &before);
  old ("file", &before);
  link ("file", "other");
  say_moved ("link", "file", &before);
  old ("file", &before);
  ftruncate (fd, 100);
  say_moved ("truncate", "file", &before);
  old ("file", &before);
  rename ("file", "renamed");
  say_moved ("rename", "renamed", &before);
  old (".", &before);
  close (make ("new", ""));
  say_moved ("create", ".", &before);
  old (".", &before);
  unlink ("new");
  say_moved ("unlink", ".", &before);
  old (".", &before);
  chmod ("renamed", 0644);
  say_moved ("child", ".", &before);
}

static void
more_of_stat (void)
{
  struct statvfs vfs = { 0 };
  struct statx stx = { 0 };

  close (make ("file", "x"));
  try_ ("statx",
        statx (AT_FDCWD, "file", 0, STATX_BASIC_STATS | STATX_BTIME, &stx));
  say_octal ("mask", stx.stx_mask & (STATX_BASIC_STATS | STATX_BTIME));
  say ("born", stx.stx_btime.tv_sec > 1000000000);
  try_ ("statvfs", statvfs (".", &vfs));
  say ("namemax", (long long) vfs.f_namemax);
  say ("room", vfs.f_bavail > 0 && vfs.f_blocks >= vfs.f_bavail);
}

static void
extended_attributes (void)
{
  static char value[70000];
  char list[256];
  ssize_t n;

  close (make ("file", ""));
  symlink ("file", "link");
  try_ ("set", setxattr ("file", "user.a", "1", 1, 0));
  try_ ("create-exists", setxattr ("file", "user.a", "2", 1, XATTR_CREATE));
  try_ ("replace-missing", setxattr ("file", "user.b", "2", 1, XATTR_REPLACE));
  try_ ("replace", setxattr ("file", "user.a", "value", 5, XATTR_REPLACE));
  try_ ("empty", setxattr ("file", "user.empty", "", 0, 0));
  say ("size", getxattr ("file", "user.a", NULL, 0));
  try_ ("small", getxattr ("file", "user.a", value, 3));
  say ("get", getxattr ("file", "user.a", value, sizeof value));
  say ("get-empty", getxattr ("file", "user.empty", value, sizeof value));
  try_ ("missing", getxattr ("file", "user.none", value, sizeof value));
  n = listxattr ("file", list, sizeof list);
  say ("list", n);
  try_ ("list-small", listxattr ("file", list, 3));
  try_ ("of-link", lsetxattr ("link", "user.a", "1", 1, 0));
  try_ ("trusted", setxattr ("file", "trusted.t", "1", 1, 0));
  try_ ("no-namespace", setxattr ("file", "nothing.t", "1", 1, 0));
  try_ ("bare", setxattr ("file", "user.", "1", 1, 0));
  try_ ("too-big", setxattr ("file", "user.big", value, sizeof value, 0));
  memset (list, 'n', sizeof list);
  memcpy (list, "user.", 5);
  list[255] = '\0';
  try_ ("name255", setxattr ("file", list, "1", 1, 0));
  try_ ("remove", removexattr ("file", "user.a"));
  try_ ("remove-again", removexattr ("file", "user.a"));
}

const Case attr_cases[] = {
  { "all-modes", all_modes },
  { "owners-of-new-files", owners_of_new_files },
  { "group-of-the-directory", group_of_the_directory },
  { "permissions", permissions },
  { "groups-of-the-caller", groups_of_the_caller },
  { "set-id-bits", set_id_bits },
  { "setting-times", setting_times },
  { "changing-times", changing_times },
  { "more-of-stat", more_of_stat },
  { "extended-attributes", extended_attributes },
  { 0 },
};
