/* SPDX-License-Identifier: BSD-3-Clause
 *
 * guest-load.c - what programs in a guest do with files: one workload, a fixed
 * number of operations, and how long they took
 *
 *   guest-load FOLDER WORK    prints OPERATIONS and NANOSECONDS
 *
 * Linked statically and against the C library alone, to run in any guest, and
 * on the host beside it.  Each workload works with what those before it left:
 * create, then any of the others, then rename and unlink.
 */
#include <dirent.h>
#include <errno.h>
#include <fcntl.h>
#include <stdarg.h>
#include <stdio.h>
#include <stdlib.h>
#include <string.h>
#include <sys/stat.h>
#include <time.h>
#include <unistd.h>

#define FOLDERS 20
#define FILES   100 /* of each folder */
#define SMALL   4096
#define MIB     (1u << 20)
#define DATA    (64u * MIB) /* of the file that is read and written */
#define BLOCKS  4000        /* that are read and written at random */

static char buffer[MIB] __attribute__ ((aligned (4096)));

static void __attribute__ ((noreturn, format (printf, 1, 2)))
die (const char *format, ...)
{
  int error = errno;
  va_list args;

  va_start (args, format);
  fputs ("guest-load: ", stderr);
  vfprintf (stderr, format, args);
  va_end (args);
  fprintf (stderr, ": %s\n", strerror (error));
  exit (1);
}

static long long
now_ns (void)
{
  struct timespec now;

  clock_gettime (CLOCK_MONOTONIC, &now);
  return now.tv_sec * 1000000000ll + now.tv_nsec;
}

/* Of files that one after the other are called PREFIX. */

static int
open_or_die (const char *path, int flags)
{
  int fd = open (path, flags, 0644);

  if (fd < 0)
    die ("%s", path);
  return fd;
}

static void
create_one (const char *path)
{
  close (open_or_die (path, O_WRONLY | O_CREAT | O_EXCL));
}

static void
stat_one (const char *path)
{
  struct stat st;

  if (stat (path, &st) < 0)
    die ("%s", path);
}

static void
open_one (const char *path)
{
  close (open_or_die (path, O_RDONLY));
}

static void
miss_one (const char *path)
{
  struct stat st;

  if (stat (path, &st) == 0 || errno != ENOENT)
    die ("%s", path);
}

static void
read_one (const char *path)
{
  int fd = open_or_die (path, O_RDONLY);

  if (read (fd, buffer, SMALL) < 0)
    die ("%s", path);
  close (fd);
}

static void
fill_one (const char *path)
{
  int fd = open_or_die (path, O_WRONLY);

  if (write (fd, buffer, SMALL) != SMALL)
    die ("%s", path);
  close (fd);
}

static void
rename_one (const char *path)
{
  char other[64];

  snprintf (other, sizeof other, "%s-renamed", path);
  if (rename (path, other) < 0)
    die ("%s", path);
}

static void
unlink_one (const char *path)
{
  if (unlink (path) < 0)
    die ("%s", path);
}

/* Returns: the number of operations. */
static long
each_file (const char *prefix, const char *suffix, void (*one) (const char *))
{
  char path[64];

  for (int i = 0; i < FOLDERS * FILES; i++) {
    snprintf (path, sizeof path, "d%d/%s%d%s", i % FOLDERS, prefix, i, suffix);
    one (path);
  }
  return FOLDERS * FILES;
}

static void
make_folders (void)
{
  char path[16];

  for (int i = 0; i < FOLDERS; i++) {
    snprintf (path, sizeof path, "d%d", i);
    if (mkdir (path, 0755) < 0)
      die ("%s", path);
  }
}

/* As ls -lR.  Returns: the number of entries. */
static long
list (void)
{
  char path[16];
  long n = 0;

  for (int i = 0; i < FOLDERS; i++) {
    struct dirent *entry;
    struct stat st;
    DIR *dir;

    snprintf (path, sizeof path, "d%d", i);
    dir = opendir (path);
    if (dir == NULL)
      die ("%s", path);
    for (; (entry = readdir (dir)) != NULL; n++)
      if (fstatat (dirfd (dir), entry->d_name, &st, AT_SYMLINK_NOFOLLOW) < 0)
        die ("%s/%s", path, entry->d_name);
    closedir (dir);
  }
  return n;
}

/* One long file. */

static void
transfer (int fd, int writes, size_t len, off_t offset)
{
  ssize_t n = writes ? pwrite (fd, buffer, len, offset)
                     : pread (fd, buffer, len, offset);

  if (n != (ssize_t) len)
    die ("%s at %lld", writes ? "write" : "read", (long long) offset);
}

static long
random_blocks (int fd, int writes)
{
  unsigned seed = 1;

  for (int i = 0; i < BLOCKS; i++) {
    seed = seed * 1664525 + 1013904223;
    transfer (fd, writes, SMALL, (off_t) (seed % (DATA / SMALL)) * SMALL);
  }
  return BLOCKS;
}

static long
sequence (int fd, int writes)
{
  for (off_t at = 0; at < DATA; at += MIB)
    transfer (fd, writes, MIB, at);
  if (writes && fsync (fd) < 0)
    die ("fsync");
  return DATA / MIB;
}

/* A file system without O_DIRECT is asked without it. */
static int
open_data (int direct)
{
  int fd = direct ? open ("data", O_RDWR | O_DIRECT) : -1;

  return fd >= 0 ? fd : open_or_die ("data", O_RDWR);
}

static void
make_data (void)
{
  int fd = open_or_die ("data", O_WRONLY | O_CREAT);

  for (off_t at = 0; at < DATA; at += MIB)
    transfer (fd, 1, MIB, at);
  close (fd);
}

/* Workloads. */

static long
do_work (const char *work, int fd)
{
  static const struct {
    const char *name, *prefix, *suffix;
    void (*one) (const char *path);
  } works[] = {
    { "create", "f", "", create_one },
    { "stat", "f", "", stat_one },
    { "open", "f", "", open_one },
    { "negative", "absent", "", miss_one },
    { "fill", "f", "", fill_one },
    { "small-read", "f", "", read_one },
    { "rename", "f", "", rename_one },
    { "unlink", "f", "-renamed", unlink_one },
  };

  for (unsigned i = 0; i < sizeof works / sizeof works[0]; i++)
    if (strcmp (works[i].name, work) == 0)
      return each_file (works[i].prefix, works[i].suffix, works[i].one);
  if (strcmp (work, "list") == 0)
    return list ();
  if (fd >= 0 && strncmp (work, "rand", 4) == 0)
    return random_blocks (fd, strcmp (work, "randwrite") == 0);
  if (fd >= 0)
    return sequence (fd, strcmp (work, "write") == 0);
  errno = EINVAL;
  die ("%s", work);
}

static int
is_data (const char *work)
{
  return strcmp (work, "randread") == 0 || strcmp (work, "randwrite") == 0 ||
         strcmp (work, "read") == 0 || strcmp (work, "write") == 0;
}

int
main (int argc, char **argv)
{
  long long begin;
  long n;
  int fd;

  if (argc != 3) {
    fputs ("guest-load FOLDER WORK\n", stderr);
    return 2;
  }
  if (chdir (argv[1]) < 0)
    die ("%s", argv[1]);
  if (strcmp (argv[2], "prepare") == 0) {
    make_folders ();
    make_data ();
    return 0;
  }
  fd = is_data (argv[2]) ? open_data (strncmp (argv[2], "rand", 4) == 0) : -1;
  begin = now_ns ();
  n = do_work (argv[2], fd);
  printf ("%ld %lld\n", n, now_ns () - begin);
  return 0;
}
