/* SPDX-License-Identifier: BSD-3-Clause
 *
 * names.c - names, links, renaming, directories
 */
#include <dirent.h>
#include <errno.h>
#include <fcntl.h>
#include <stdio.h>
#include <stdlib.h>
#include <string.h>
#include <sys/inotify.h>
#include <sys/stat.h>
#include <sys/sysmacros.h>
#include <unistd.h>

#include "tests/vm/posix/posix.h"

static void
length_of_names (void)
{
  char name[300];

  memset (name, 'n', sizeof name);
  name[255] = '\0';
  try_ ("create255", open (name, O_CREAT | O_WRONLY, 0644));
  try_ ("stat255", access (name, F_OK));
  try_ ("rename255", rename (name, "short"));
  try_ ("mkdir255", mkdir (name, 0755));
  name[255] = 'n';
  name[256] = '\0';
  try_ ("create256", open (name, O_CREAT | O_WRONLY, 0644));
  try_ ("mkdir256", mkdir (name, 0755));
  try_ ("symlink256", symlink ("x", name));
  try_ ("stat256", access (name, F_OK));
}

static void
length_of_paths (void)
{
  static char path[5000];

  memset (path, '/', sizeof path);
  path[0] = '.';
  path[4095] = '\0';
  try_ ("path4095", access (path, F_OK));
  path[4095] = '/';
  path[4096] = '\0';
  try_ ("path4096", access (path, F_OK));
  try_ ("empty", open ("", O_RDONLY));
}

/* Bytes come back as they were given. */
static void
bytes_of_names (void)
{
  static const char *const names[] = {
    "ümläut-ß", "日本語", "\xf0\x9f\x8e\x89", "A",         "a",
    "a\u0308",  "ä",      "\xff\xfe",         "new\nline", " ",
    "-rf",      "*?[]",   "tab\there",        "\\",        "...",
    "~",        "x ",     ".hidden",
  };
  unsigned n = sizeof names / sizeof *names, found = 0;
  DIR *dir = opendir (".");
  const struct dirent *entry;

  for (unsigned i = 0; i < n; i++)
    if (close (open (names[i], O_CREAT | O_EXCL | O_WRONLY, 0644)) < 0)
      say_text ("refused", names[i]);
  while ((entry = readdir (dir)) != NULL)
    for (unsigned i = 0; i < n; i++)
      found += strcmp (entry->d_name, names[i]) == 0;
  say ("found", found);
  for (unsigned i = 0; i < n; i++)
    if (unlink (names[i]) < 0)
      say_text ("kept", names[i]);
}

static void
dots (void)
{
  mkdir ("d", 0755);
  try_ ("mkdir.", mkdir (".", 0755));
  try_ ("mkdir..", mkdir ("d/..", 0755));
  try_ ("rmdir.", rmdir ("d/."));
  try_ ("rmdir..", rmdir ("d/.."));
  try_ ("unlink.", unlink ("d/."));
  try_ ("rename.", rename ("d/.", "e"));
  try_ ("rename-to..", rename ("d", "d/.."));
  try_ ("create.", open (".", O_CREAT | O_WRONLY, 0644));
}

static void
slashes_at_the_end (void)
{
  close (make ("file", "x"));
  mkdir ("dir", 0755);
  symlink ("dir", "link");
  try_ ("open-file/", open ("file/", O_RDONLY));
  try_ ("create/", open ("new/", O_CREAT | O_WRONLY, 0644));
  try_ ("mkdir/", mkdir ("made/", 0755));
  try_ ("rename-file/", rename ("file", "other/"));
  try_ ("rename-dir/", rename ("made/", "moved/"));
  try_ ("unlink-link/", unlink ("link/"));
  try_ ("rmdir-link/", rmdir ("link/"));
  try_ ("through", access ("file/x", F_OK));
}

static void
opening (void)
{
  close (make ("file", "x"));
  mkdir ("dir", 0755);
  symlink ("file", "link");
  symlink ("nowhere", "dangling");
  symlink ("loop", "loop");
  try_ ("excl", open ("file", O_CREAT | O_EXCL | O_WRONLY, 0644));
  try_ ("excl-dangling", open ("dangling", O_CREAT | O_EXCL | O_WRONLY, 0644));
  try_ ("dir-write", open ("dir", O_WRONLY));
  try_ ("dir-creat", open ("dir", O_CREAT | O_RDONLY, 0644));
  try_ ("file-directory", open ("file", O_RDONLY | O_DIRECTORY));
  try_ ("nofollow", open ("link", O_RDONLY | O_NOFOLLOW));
  try_ ("path-nofollow", open ("link", O_PATH | O_NOFOLLOW));
  try_ ("loop", open ("loop", O_RDONLY));
  try_ ("missing", open ("missing", O_RDONLY));
  try_ ("create-dangling", open ("dangling", O_CREAT | O_WRONLY, 0644));
  say_stat ("nowhere");
  try_ ("trunc-readonly", open ("file", O_RDONLY | O_TRUNC));
  say_stat ("file");
}

static void
removing (void)
{
  mkdir ("dir", 0755);
  close (make ("dir/file", "x"));
  close (make ("file", "x"));
  try_ ("mkdir-exists", mkdir ("dir", 0755));
  try_ ("mkdir-file", mkdir ("file", 0755));
  try_ ("rmdir-full", rmdir ("dir"));
  try_ ("rmdir-file", rmdir ("file"));
  try_ ("unlink-dir", unlink ("dir"));
  try_ ("unlink-missing", unlink ("missing"));
  try_ ("unlink", unlink ("dir/file"));
  try_ ("rmdir", rmdir ("dir"));
  try_ ("rmdir-again", rmdir ("dir"));
}

static void
removed_working_directory (void)
{
  char path[4096];

  mkdir ("a", 0755);
  chdir ("a");
  try_ ("rmdir", rmdir ("../a"));
  try_ ("getcwd", getcwd (path, sizeof path) == NULL ? -1 : 0);
  try_ ("create", open ("x", O_CREAT | O_WRONLY, 0644));
  try_ ("mkdir", mkdir ("x", 0755));
  try_ ("stat", access (".", F_OK));
}

static void
hard_links (void)
{
  int fd = make ("a", "x");
  char path[64];

  mkdir ("dir", 0755);
  symlink ("a", "soft");
  try_ ("link", link ("a", "b"));
  say_stat ("a");
  try_ ("link-exists", link ("a", "b"));
  try_ ("link-dir", link ("dir", "c"));
  try_ ("link-missing", link ("missing", "c"));
  try_ ("link-soft", link ("soft", "hard-of-soft"));
  say_stat ("hard-of-soft");
  try_ ("link-follow",
        linkat (AT_FDCWD, "soft", AT_FDCWD, "c", AT_SYMLINK_FOLLOW));
  say_stat ("c");
  unlink ("b");
  unlink ("c");
  unlink ("a");
  snprintf (path, sizeof path, "/proc/self/fd/%d", fd);
  try_ ("link-unlinked",
        linkat (AT_FDCWD, path, AT_FDCWD, "d", AT_SYMLINK_FOLLOW));
  try_ ("write-unlinked", write (fd, "y", 1));
}

static void
temporary_files (void)
{
  char path[64];
  struct stat st;
  int fd = open (".", O_TMPFILE | O_RDWR, 0640);

  try_ ("tmpfile", fd);
  try_ ("write", write (fd, "temporary", 9));
  fstat (fd, &st);
  say ("nlink", st.st_nlink);
  snprintf (path, sizeof path, "/proc/self/fd/%d", fd);
  try_ ("link", linkat (AT_FDCWD, path, AT_FDCWD, "named", AT_SYMLINK_FOLLOW));
  say_stat ("named");
  say_content ("named");
  fd = open (".", O_TMPFILE | O_RDWR | O_EXCL, 0600);
  snprintf (path, sizeof path, "/proc/self/fd/%d", fd);
  try_ ("link-excl",
        linkat (AT_FDCWD, path, AT_FDCWD, "never", AT_SYMLINK_FOLLOW));
}

static void
symbolic_links (void)
{
  static char target[4200], read[4200];
  ssize_t n;

  memset (target, 't', sizeof target);
  target[4095] = '\0';
  try_ ("symlink4095", symlink (target, "long"));
  n = readlink ("long", read, sizeof read);
  say ("length", n);
  target[4095] = 't';
  target[4096] = '\0';
  try_ ("symlink4096", symlink (target, "longer"));
  try_ ("empty", symlink ("", "empty"));
  symlink ("0123456789", "ten");
  say ("cut", readlink ("ten", read, 4));
  say_stat ("ten");
  close (make ("file", ""));
  try_ ("readlink-file", readlink ("file", read, 4));
  try_ ("exists", symlink ("x", "ten"));
}

static void
renaming (void)
{
  int fd;

  close (make ("a", "a"));
  fd = make ("b", "b");
  mkdir ("dir", 0755);
  mkdir ("full", 0755);
  close (make ("full/x", ""));
  mkdir ("empty", 0755);
  try_ ("replace", rename ("a", "b"));
  say_content ("b");
  try_ ("replaced-is-open", pread (fd, (char[1]){ 0 }, 1, 0));
  try_ ("file-to-dir", rename ("b", "dir"));
  try_ ("dir-to-file", rename ("dir", "b"));
  try_ ("dir-to-full", rename ("dir", "full"));
  try_ ("dir-to-empty", rename ("full", "empty"));
  say_stat ("empty/x");
  try_ ("into-itself", rename ("empty", "empty/below"));
  try_ ("over-parent", rename ("empty/x", "empty"));
  try_ ("missing", rename ("missing", "y"));
  link ("b", "same");
  try_ ("same-file", rename ("b", "same"));
  say_stat ("b");
}

static void
renaming_with_flags (void)
{
  close (make ("a", "a"));
  close (make ("b", "b"));
  mkdir ("dir", 0755);
  try_ ("noreplace-exists",
        renameat2 (AT_FDCWD, "a", AT_FDCWD, "b", RENAME_NOREPLACE));
  try_ ("noreplace",
        renameat2 (AT_FDCWD, "a", AT_FDCWD, "c", RENAME_NOREPLACE));
  try_ ("exchange",
        renameat2 (AT_FDCWD, "b", AT_FDCWD, "dir", RENAME_EXCHANGE));
  say_stat ("b");
  say_content ("dir");
  try_ ("exchange-missing",
        renameat2 (AT_FDCWD, "c", AT_FDCWD, "missing", RENAME_EXCHANGE));
  try_ ("both", renameat2 (AT_FDCWD, "c", AT_FDCWD, "d",
                           RENAME_EXCHANGE | RENAME_NOREPLACE));
  try_ ("whiteout", renameat2 (AT_FDCWD, "c", AT_FDCWD, "d", RENAME_WHITEOUT));
  say_stat ("c");
}

enum { MANY = 1500 };

static unsigned
count (DIR *dir)
{
  static unsigned char seen[MANY];
  const struct dirent *entry;
  unsigned n = 0, twice = 0;

  memset (seen, 0, sizeof seen);
  while ((entry = readdir (dir)) != NULL)
    if (entry->d_name[0] == 'f') {
      twice += seen[atoi (entry->d_name + 1)]++ > 0;
      n++;
    }
  if (twice > 0)
    say ("twice", twice);
  return n;
}

static void
big_directory (void)
{
  DIR *dir = opendir (".");
  char name[16];
  long middle = 0;
  unsigned n = 0;

  for (unsigned i = 0; i < MANY; i++) {
    snprintf (name, sizeof name, "f%u", i);
    close (open (name, O_CREAT | O_WRONLY, 0644));
  }
  rewinddir (dir);
  say ("all", count (dir));
  rewinddir (dir);
  for (unsigned i = 0; i < MANY / 2; i++)
    readdir (dir);
  middle = telldir (dir);
  n = count (dir);
  seekdir (dir, middle);
  say ("as-often", count (dir) == n);
  rewinddir (dir);
  for (unsigned i = 0; i < MANY; i++) {
    snprintf (name, sizeof name, "f%u", i);
    unlink (name);
  }
  rewinddir (dir);
  say ("left", count (dir));
}

static void
directory_entries (void)
{
  DIR *dir;
  const struct dirent *entry;
  unsigned types = 0, numbers = 0, dot = 0;

  close (make ("file", ""));
  mkdir ("dir", 0755);
  symlink ("x", "link");
  mkfifo ("fifo", 0644);
  dir = opendir (".");
  while ((entry = readdir (dir)) != NULL) {
    struct stat st;

    if (strcmp (entry->d_name, "..") == 0 || lstat (entry->d_name, &st) < 0) {
      dot++;
      continue;
    }
    types +=
        entry->d_type == DT_UNKNOWN || entry->d_type == IFTODT (st.st_mode);
    numbers += entry->d_ino == st.st_ino;
  }
  say ("dotdot", dot);
  say ("types", types);
  say ("numbers", numbers);
  say_stat (".");
  mkdir ("dir/sub", 0755);
  say_stat ("dir");
}

static void
special_files (void)
{
  struct stat st;
  int fd;

  try_ ("fifo", mkfifo ("fifo", 0640));
  say_stat ("fifo");
  try_ ("socket", mknod ("socket", S_IFSOCK | 0600, 0));
  try_ ("null", mknod ("null", S_IFCHR | 0666, makedev (1, 3)));
  lstat ("null", &st);
  say ("major", major (st.st_rdev));
  say ("minor", minor (st.st_rdev));
  try_ ("far", mknod ("far", S_IFBLK | 0600, makedev (300, 70000)));
  lstat ("far", &st);
  say ("far-minor", minor (st.st_rdev));
  try_ ("regular", mknod ("regular", S_IFREG | 0600, 0));
  fd = open ("fifo", O_RDWR | O_NONBLOCK);
  try_ ("open-fifo", fd);
  try_ ("write-fifo", write (fd, "x", 1));
  try_ ("open-socket", open ("socket", O_RDWR));
}

static void
watching (void)
{
  char buffer[4096];
  int watcher = inotify_init1 (IN_NONBLOCK);

  try_ ("watch", inotify_add_watch (watcher, ".", IN_ALL_EVENTS));
  close (make ("file", "x"));
  try_ ("events", read (watcher, buffer, sizeof buffer));
}

const Case name_cases[] = {
  { "length-of-names", length_of_names },
  { "length-of-paths", length_of_paths },
  { "bytes-of-names", bytes_of_names },
  { "dots", dots },
  { "slashes-at-the-end", slashes_at_the_end },
  { "opening", opening },
  { "removing", removing },
  { "removed-working-directory", removed_working_directory },
  { "hard-links", hard_links },
  { "temporary-files", temporary_files },
  { "symbolic-links", symbolic_links },
  { "renaming", renaming },
  { "renaming-with-flags", renaming_with_flags },
  { "big-directory", big_directory },
  { "directory-entries", directory_entries },
  { "special-files", special_files },
  { "watching", watching },
  { 0 },
};
