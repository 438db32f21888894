/* SPDX-License-Identifier: BSD-3-Clause
 *
 * main.c - posix DIRECTORY [CASE | -CASE]: runs all cases there, each in a
 * line, or only one, or all but one
 */
#include <errno.h>
#include <fcntl.h>
#include <ftw.h>
#include <grp.h>
#include <stdarg.h>
#include <stdio.h>
#include <stdlib.h>
#include <string.h>
#include <sys/mman.h>
#include <sys/stat.h>
#include <sys/wait.h>
#include <unistd.h>

#include "tests/vm/posix/posix.h"

/* What the current case has said; shared with its children. */
static char *result;
enum { RESULT_MAX = 1 << 16 };

static void __attribute__ ((format (printf, 1, 2)))
add (const char *format, ...)
{
  size_t len = strlen (result);
  va_list args;

  va_start (args, format);
  vsnprintf (result + len, RESULT_MAX - len, format, args);
  va_end (args);
}

long
try_ (const char *what, long r)
{
  int error = errno;

  add (" %s=%s", what, r >= 0 ? "ok" : strerrorname_np (error));
  errno = error;
  return r;
}

void
say (const char *what, long long number)
{
  add (" %s=%lld", what, number);
}

void
say_octal (const char *what, unsigned number)
{
  add (" %s=0%o", what, number);
}

void
say_text (const char *what, const char *text)
{
  add (" %s=%s", what, text);
}

void
as_user (unsigned id, void (*func) (void))
{
  int status;
  pid_t child = fork ();

  if (child == 0) {
    if (setgroups (0, NULL) < 0 || setgid (id) < 0 || setuid (id) < 0)
      _exit (1);
    func ();
    _exit (0);
  }
  if (waitpid (child, &status, 0) != child || status != 0)
    say ("child", status);
}

int
make (const char *name, const char *text)
{
  int fd = open (name, O_RDWR | O_CREAT | O_TRUNC, 0644);

  if (fd < 0 || write (fd, text, strlen (text)) != (ssize_t) strlen (text))
    try_ ("make", -1);
  return fd;
}

void
say_content (const char *name)
{
  char text[64];
  int fd = open (name, O_RDONLY);
  ssize_t n = fd < 0 ? -1 : read (fd, text, sizeof text - 1);

  if (n < 0)
    try_ ("read", -1);
  text[n < 0 ? 0 : n] = '\0';
  say_text ("content", text);
  close (fd);
}

void
say_stat (const char *name)
{
  struct stat st;

  if (lstat (name, &st) < 0) {
    try_ ("lstat", -1);
    return;
  }
  say_octal ("mode", st.st_mode);
  say ("nlink", st.st_nlink);
  if (!S_ISDIR (st.st_mode))
    say ("size", st.st_size);
}

static int
remove_one (const char *path, const struct stat *st, int type, struct FTW *ftw)
{
  return remove (path);
}

/* Runs a case in a process of its own, which it may crash or chdir. */
static void
run (const Case *c, const char *top)
{
  char dir[4096];
  int status;
  pid_t child;

  snprintf (dir, sizeof dir, "%s/%s", top, c->name);
  result[0] = '\0';
  fflush (stdout);
  child = fork ();
  if (child == 0) {
    umask (022);
    alarm (60);
    if (mkdir (dir, 0755) < 0 || chdir (dir) < 0) {
      try_ ("begin", -1);
      _exit (1);
    }
    c->run ();
    _exit (0);
  }
  waitpid (child, &status, 0);
  if (WIFSIGNALED (status))
    add (" signal=%s", sigabbrev_np (WTERMSIG (status)));
  printf ("%s:%s\n", c->name, result);
  nftw (dir, remove_one, 16, FTW_DEPTH | FTW_PHYS);
}

/* @which: (nullable): a case, or '-' and one to leave out */
static int
is_wanted (const Case *c, const char *which)
{
  if (which == NULL)
    return 1;
  return *which == '-' ? strcmp (which + 1, c->name) != 0
                       : strcmp (which, c->name) == 0;
}

int
main (int argc, char **argv)
{
  const Case *const tables[] = { name_cases, attr_cases, data_cases,
                                 lock_cases };

  if (argc < 2) {
    fprintf (stderr, "usage: posix DIRECTORY [CASE | -CASE]\n");
    return 2;
  }
  result = mmap (NULL, RESULT_MAX, PROT_READ | PROT_WRITE,
                 MAP_SHARED | MAP_ANONYMOUS, -1, 0);
  if (result == MAP_FAILED)
    return 1;
  for (unsigned i = 0; i < sizeof tables / sizeof *tables; i++)
    for (const Case *c = tables[i]; c->name != NULL; c++)
      if (is_wanted (c, argv[2]))
        run (c, argv[1]);
  return 0;
}
