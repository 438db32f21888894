/* SPDX-License-Identifier: BSD-3-Clause
 *
 * data.c - reading and writing, holes, mappings, a full disk, many writers
 */
#include <errno.h>
#include <fcntl.h>
#include <signal.h>
#include <stdio.h>
#include <stdlib.h>
#include <string.h>
#include <sys/mman.h>
#include <sys/resource.h>
#include <sys/sendfile.h>
#include <sys/stat.h>
#include <sys/uio.h>
#include <sys/wait.h>
#include <unistd.h>

#include "tests/vm/posix/posix.h"

enum { PAGE = 4096 };

static void
wrong_ways (void)
{
  int r = open ("file", O_CREAT | O_RDONLY, 0644);
  int w = open ("file", O_WRONLY);
  char byte;

  mkdir ("dir", 0755);
  try_ ("write-readonly", write (r, "x", 1));
  try_ ("read-writeonly", read (w, &byte, 1));
  try_ ("truncate-readonly", ftruncate (r, 0));
  try_ ("negative", pwrite (w, "x", 1, -1));
  try_ ("seek-negative", lseek (w, -1, SEEK_SET));
  try_ ("truncate-negative", ftruncate (w, -1));
  try_ ("too-far", pwrite (w, "x", 1, 0x7fffffffffffffff));
  try_ ("truncate-dir", truncate ("dir", 0));
  try_ ("read-dir", read (open ("dir", O_RDONLY), &byte, 1));
  try_ ("beyond-end", pread (r, &byte, 1, 1000));
  try_ ("nothing", write (w, "", 0));
  try_ ("fsync", fsync (w));
  try_ ("fdatasync", fdatasync (w));
  try_ ("syncfs", syncfs (w));
  try_ ("fsync-dir", fsync (open ("dir", O_RDONLY)));
}

static void
appending (void)
{
  int a = open ("file", O_CREAT | O_WRONLY | O_APPEND, 0644);
  int b = open ("file", O_RDWR);
  const struct iovec piece = { (void *) "4", 1 };

  try_ ("a", write (a, "1", 1));
  try_ ("b", pwrite (b, "2", 1, 1));
  try_ ("a", write (a, "3", 1));
  try_ ("append", pwritev2 (b, &piece, 1, -1, RWF_APPEND));
  try_ ("pwrite-append", pwrite (a, "5", 1, 0)); /* appends, says Linux */
  say_content ("file");
  try_ ("clear", fcntl (a, F_SETFL, 0));
  try_ ("pwrite", pwrite (a, "6", 1, 0));
  say_content ("file");
}

static void
vectors (void)
{
  char a[3] = "", b[4] = "";
  struct iovec out[] = { { (void *) "ab", 2 }, { (void *) "cde", 3 } };
  struct iovec in[] = { { a, 2 }, { b, 3 } };
  int fd = make ("file", "");

  say ("writev", writev (fd, out, 2));
  say ("preadv", preadv (fd, in, 2, 0));
  say_text ("a", a);
  say_text ("b", b);
}

static void
truncating (void)
{
  int fd = make ("file", "0123456789");
  char data[20] = "";

  try_ ("shorter", ftruncate (fd, 4));
  try_ ("longer", ftruncate (fd, 8));
  say ("read", pread (fd, data, sizeof data, 0));
  say_text ("data", data);
  say ("zero", data[5]);
  try_ ("far", truncate ("file", 1ll << 40));
  say_stat ("file");
  try_ ("too-far", ftruncate (fd, 0x7fffffffffffffff));
}

static void
holes (void)
{
  struct stat st;
  char byte = 'x';
  int fd = make ("file", "");

  try_ ("write", pwrite (fd, "end", 3, 10 << 20));
  fsync (fd);
  fstat (fd, &st);
  say ("size", st.st_size);
  say ("sparse", st.st_blocks * 512 < st.st_size / 2);
  try_ ("read", pread (fd, &byte, 1, 5 << 20));
  say ("byte", byte);
  say ("data", lseek (fd, 0, SEEK_DATA));
  say ("hole", lseek (fd, 0, SEEK_HOLE));
  try_ ("data-end", lseek (fd, 10 << 20, SEEK_DATA));
  say ("hole-end", lseek (fd, 10 << 20, SEEK_HOLE));
  try_ ("beyond", lseek (fd, 11 << 20, SEEK_DATA));
}

/* Data that nobody has synced is no hole. */
static void
holes_around_new_data (void)
{
  int fd = make ("file", "");
  off_t at;

  try_ ("truncate", ftruncate (fd, 10 << 20));
  try_ ("write", pwrite (fd, "new", 3, 5 << 20));
  at = lseek (fd, 0, SEEK_DATA);
  say ("before", at >= 0 && at <= 5 << 20);
  say ("behind", lseek (fd, 5 << 20, SEEK_HOLE) > 5 << 20);
}

static void
allocating (void)
{
  int fd = make ("file", "0123456789");
  char data[16] = "";

  try_ ("allocate", fallocate (fd, 0, 0, 100000));
  say_stat ("file");
  try_ ("keep-size", fallocate (fd, FALLOC_FL_KEEP_SIZE, 0, 200000));
  say_stat ("file");
  try_ ("punch",
        fallocate (fd, FALLOC_FL_PUNCH_HOLE | FALLOC_FL_KEEP_SIZE, 2, 3));
  say ("read", pread (fd, data, 10, 0));
  say ("punched", data[1] == '1' && data[2] == 0 && data[5] == '5');
  try_ ("punch-alone", fallocate (fd, FALLOC_FL_PUNCH_HOLE, 0, 1));
  try_ ("nothing", fallocate (fd, 0, 0, 0));
  try_ ("negative", fallocate (fd, 0, -1, 1));
  try_ ("posix", -posix_fallocate (fd, 0, 300000) < 0 ? -1 : 0);
}

static void
mappings (void)
{
  int fd = make ("file", "0123456789");
  char *shared, *private, data[4] = "";

  shared = mmap (NULL, PAGE, PROT_READ | PROT_WRITE, MAP_SHARED, fd, 0);
  private = mmap (NULL, PAGE, PROT_READ | PROT_WRITE, MAP_PRIVATE, fd, 0);
  if (shared == MAP_FAILED || private == MAP_FAILED) {
    try_ ("mmap", -1);
    return;
  }
  shared[0] = 'S';
  private[1] = 'P';
  say ("private-sees", private[0]);
  try_ ("pwrite", pwrite (fd, "W", 1, 2));
  say ("shared-sees", shared[2]);
  try_ ("msync", msync (shared, PAGE, MS_SYNC));
  say_content ("file");
  pread (fd, data, 3, 0);
  say_text ("read", data);
  say ("after-end", shared[10]);
  close (fd);
  unlink ("file");
  shared[3] = 'U';
  say ("unlinked", shared[3]);
}

static void
mapping_beyond_the_end (void)
{
  int fd = make ("file", "x");
  volatile char *map =
      mmap (NULL, 2 * PAGE, PROT_READ | PROT_WRITE, MAP_SHARED, fd, 0);

  say ("first", map[0]);
  ftruncate (fd, 0);
  say ("cut", map[PAGE]); /* SIGBUS */
}

static void
direct (void)
{
  char *data = aligned_alloc (PAGE, 4 * PAGE);
  int fd = open ("file", O_CREAT | O_RDWR | O_DIRECT, 0644);

  if (try_ ("open", fd) < 0)
    return;
  memset (data, 'd', 4 * PAGE);
  say ("write", pwrite (fd, data, 4 * PAGE, 0));
  memset (data, 0, 4 * PAGE);
  say ("read", pread (fd, data, 4 * PAGE, PAGE));
  say ("byte", data[0]);
  say ("end", pread (fd, data, PAGE, 4 * PAGE));
  say_stat ("file");
}

static void
copying (void)
{
  static char data[300000];
  int from = make ("from", ""), to = make ("to", "");
  loff_t a = 100, b = 0;
  off_t offset = 0;

  memset (data, 'c', sizeof data);
  write (from, data, sizeof data);
  say ("copied", copy_file_range (from, &a, to, &b, 200000, 0));
  say ("position", a);
  say_stat ("to");
  a = 0;
  b = 100000;
  try_ ("overlap", copy_file_range (from, &a, from, &b, 200000, 0));
  a = sizeof data;
  say ("at-end", copy_file_range (from, &a, to, &b, 100, 0));
  lseek (to, 0, SEEK_SET);
  say ("sendfile", sendfile (to, from, &offset, 1000));
  say_stat ("from");
}

static void
unlinked_file (void)
{
  int fd = make ("file", "kept");
  char data[8] = "";
  struct stat st;

  unlink ("file");
  try_ ("write", pwrite (fd, "K", 1, 0));
  try_ ("read", pread (fd, data, 4, 0));
  say_text ("data", data);
  try_ ("truncate", ftruncate (fd, 100));
  try_ ("chmod", fchmod (fd, 0600));
  fstat (fd, &st);
  say ("nlink", st.st_nlink);
  say ("size", st.st_size);
  try_ ("sync", fsync (fd));
  close (make ("file", "new")); /* is another one */
  say ("size", lseek (fd, 0, SEEK_END));
}

static void
limit_of_size (void)
{
  const struct rlimit limit = { 1000, 1000 };
  int fd = make ("file", "");
  static char data[2000];

  signal (SIGXFSZ, SIG_IGN);
  setrlimit (RLIMIT_FSIZE, &limit);
  say ("cut", write (fd, data, sizeof data));
  try_ ("beyond", write (fd, data, 1));
  try_ ("truncate", ftruncate (fd, 2000));
  say_stat ("file");
}

/* Each of a few processes runs @func with its number. */
static void
at_once (void (*func) (int number))
{
  for (int i = 0; i < 4; i++)
    if (fork () == 0) {
      func (i);
      _exit (0);
    }
  while (wait (NULL) > 0)
    ;
}

static void
append_lines (int number)
{
  int fd = open ("log", O_WRONLY | O_APPEND);
  char line[64];

  memset (line, '0' + number, sizeof line);
  line[63] = '\n';
  for (int i = 0; i < 200; i++)
    if (write (fd, line, sizeof line) != sizeof line)
      try_ ("write", -1);
}

static void
appending_at_once (void)
{
  static char log[4 * 200 * 64 + 1];
  unsigned counts[4] = { 0 }, torn = 0;
  int fd = make ("log", "");

  at_once (append_lines);
  say ("size", pread (fd, log, sizeof log, 0));
  for (unsigned i = 0; i < 800; i++) {
    const char *line = log + 64 * i;

    torn += line[63] != '\n' || line[0] < '0' || line[0] > '3';
    for (unsigned k = 1; k < 63; k++)
      torn += line[k] != line[0];
    counts[line[0] & 3]++;
  }
  say ("torn", torn);
  for (unsigned i = 0; i < 4; i++)
    say ("lines", counts[i]);
}

static void
write_part (int number)
{
  static char data[10000];
  int fd = open ("parts", O_WRONLY);

  memset (data, 'a' + number, sizeof data);
  for (int i = 0; i < 20; i++)
    if (pwrite (fd, data, sizeof data, (i * 4 + number) * 10000) != 10000)
      try_ ("write", -1);
}

static void
writing_parts_at_once (void)
{
  static char data[800000];
  unsigned wrong = 0;
  int fd = make ("parts", "");

  at_once (write_part);
  say ("size", pread (fd, data, sizeof data, 0));
  for (unsigned i = 0; i < sizeof data; i++)
    wrong += data[i] != (char) ('a' + i / 10000 % 4);
  say ("wrong", wrong);
}

static void
create_names (int number)
{
  char name[32];

  for (int i = 0; i < 100; i++) {
    snprintf (name, sizeof name, "n%d", i);
    /* One of the four is first. */
    if (close (open (name, O_CREAT | O_EXCL | O_WRONLY, 0644)) == 0) {
      snprintf (name, sizeof name, "won%d-%d", number, i);
      close (open (name, O_CREAT | O_EXCL | O_WRONLY, 0644));
    }
  }
}

static void
creating_at_once (void)
{
  char name[32];
  unsigned won = 0;

  at_once (create_names);
  for (int number = 0; number < 4; number++)
    for (int i = 0; i < 100; i++) {
      snprintf (name, sizeof name, "won%d-%d", number, i);
      won += access (name, F_OK) == 0;
    }
  say ("won", won);
}

/* In the directory that the environment variable SMALL names, which has room for
 * about a MiB. */
static void
full_disk (void)
{
  static char data[1 << 16];
  const char *small = getenv ("SMALL");
  ssize_t n = 0;
  int fd;

  if (small == NULL || chdir (small) < 0)
    return;
  fd = make ("fill", "");
  for (unsigned i = 0; i < 64 && n >= 0; i++)
    n = write (fd, data, sizeof data);
  try_ ("write", n);
  try_ ("allocate", fallocate (fd, 0, 0, 4 << 20));
  try_ ("sync", fsync (fd));
  try_ ("create", close (open ("empty", O_CREAT | O_WRONLY, 0644)));
  try_ ("overwrite", pwrite (fd, "x", 1, 0));
  try_ ("shorten", ftruncate (fd, 0));
  try_ ("write-again", write (fd, data, sizeof data));
  unlink ("fill");
  unlink ("empty");
}

const Case data_cases[] = {
  { "wrong-ways", wrong_ways },
  { "appending", appending },
  { "vectors", vectors },
  { "truncating", truncating },
  { "holes", holes },
  { "holes-around-new-data", holes_around_new_data },
  { "allocating", allocating },
  { "mappings", mappings },
  { "mapping-beyond-the-end", mapping_beyond_the_end },
  { "direct", direct },
  { "copying", copying },
  { "unlinked-file", unlinked_file },
  { "limit-of-size", limit_of_size },
  { "appending-at-once", appending_at_once },
  { "writing-parts-at-once", writing_parts_at_once },
  { "creating-at-once", creating_at_once },
  { "full-disk", full_disk },
  { 0 },
};
