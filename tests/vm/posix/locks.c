/* SPDX-License-Identifier: BSD-3-Clause
 *
 * locks.c - locks of one machine's processes
 */
#include <errno.h>
#include <fcntl.h>
#include <signal.h>
#include <string.h>
#include <sys/file.h>
#include <sys/wait.h>
#include <unistd.h>

#include "tests/vm/posix/posix.h"

static struct flock
range (short type, off_t start, off_t len)
{
  return (struct flock){
    .l_type = type, .l_whence = SEEK_SET, .l_start = start, .l_len = len
  };
}

static int fd;

/* Runs @func in another process, which inherits no lock. */
static void
elsewhere (void (*func) (void))
{
  pid_t child = fork ();

  if (child == 0) {
    fd = open ("file", O_RDWR);
    func ();
    _exit (0);
  }
  waitpid (child, NULL, 0);
}

static void
try_ranges (void)
{
  struct flock lock = range (F_WRLCK, 0, 10);

  try_ ("taken", fcntl (fd, F_SETLK, &lock));
  lock = range (F_RDLCK, 20, 10);
  try_ ("shared", fcntl (fd, F_SETLK, &lock));
  lock = range (F_WRLCK, 20, 10);
  try_ ("upgrade", fcntl (fd, F_SETLK, &lock));
  lock = range (F_WRLCK, 50, 10);
  try_ ("free", fcntl (fd, F_SETLK, &lock));
  lock = range (F_WRLCK, 0, 0);
  try_ ("ask", fcntl (fd, F_GETLK, &lock));
  say ("type", lock.l_type);
  say ("start", lock.l_start);
  say ("length", lock.l_len);
  say ("parent", lock.l_pid == getppid ());
}

static void
try_first (void)
{
  struct flock lock = range (F_WRLCK, 0, 10);

  try_ ("first", fcntl (fd, F_SETLK, &lock));
}

static void
locks_of_ranges (void)
{
  struct flock lock = range (F_WRLCK, 0, 10);

  fd = make ("file", "x");
  try_ ("lock", fcntl (fd, F_SETLK, &lock));
  lock = range (F_RDLCK, 20, 10);
  try_ ("share", fcntl (fd, F_SETLK, &lock));
  elsewhere (try_ranges);
  lock = range (F_UNLCK, 0, 5);
  try_ ("unlock-half", fcntl (fd, F_SETLK, &lock));
  elsewhere (try_first);
  close (dup (fd)); /* drops all of them */
  elsewhere (try_first);
}

static void
locks_of_descriptions (void)
{
  struct flock lock = range (F_WRLCK, 0, 0);
  int other;

  fd = make ("file", "x");
  other = open ("file", O_RDWR);
  try_ ("lock", fcntl (fd, F_OFD_SETLK, &lock));
  try_ ("other", fcntl (other, F_OFD_SETLK, &lock));
  close (dup (fd)); /* keeps it */
  try_ ("still", fcntl (other, F_OFD_SETLK, &lock));
  close (fd);
  try_ ("closed", fcntl (other, F_OFD_SETLK, &lock));
}

static void
locks_of_files (void)
{
  int other;

  fd = make ("file", "x");
  other = open ("file", O_RDONLY);
  try_ ("shared", flock (fd, LOCK_SH | LOCK_NB));
  try_ ("shared-too", flock (other, LOCK_SH | LOCK_NB));
  try_ ("exclusive", flock (fd, LOCK_EX | LOCK_NB));
  try_ ("unlock", flock (other, LOCK_UN));
  try_ ("exclusive", flock (fd, LOCK_EX | LOCK_NB));
  try_ ("taken", flock (other, LOCK_SH | LOCK_NB));
  close (fd);
  try_ ("closed", flock (other, LOCK_EX | LOCK_NB));
}

static void
wait_for_lock (void)
{
  struct flock lock = range (F_WRLCK, 0, 0);

  try_ ("waited", fcntl (fd, F_SETLKW, &lock));
}

static void
waiting_for_a_lock (void)
{
  struct flock lock = range (F_WRLCK, 0, 0);
  pid_t child;

  fd = make ("file", "x");
  try_ ("lock", fcntl (fd, F_SETLK, &lock));
  child = fork ();
  if (child == 0) {
    fd = open ("file", O_RDWR);
    wait_for_lock ();
    _exit (0);
  }
  usleep (100000);
  say ("waits", waitpid (child, NULL, WNOHANG));
  lock = range (F_UNLCK, 0, 0);
  fcntl (fd, F_SETLK, &lock);
  say ("woke", waitpid (child, NULL, 0) == child);
}

static void
ignore (int number)
{
}

static void
interrupting_a_wait (void)
{
  const struct sigaction action = { .sa_handler = ignore };
  struct flock lock = range (F_WRLCK, 0, 0);
  pid_t child;

  fd = make ("file", "x");
  fcntl (fd, F_SETLK, &lock);
  child = fork ();
  if (child == 0) {
    sigaction (SIGALRM, &action, NULL);
    fd = open ("file", O_RDWR);
    ualarm (100000, 100000);
    wait_for_lock ();
    _exit (0);
  }
  say ("ended", waitpid (child, NULL, 0) == child);
}

const Case lock_cases[] = {
  { "locks-of-ranges", locks_of_ranges },
  { "locks-of-descriptions", locks_of_descriptions },
  { "locks-of-files", locks_of_files },
  { "waiting-for-a-lock", waiting_for_a_lock },
  { "interrupting-a-wait", interrupting_a_wait },
  { 0 },
};
