/* SPDX-License-Identifier: BSD-3-Clause
 *
 * inherited.c - see inherited.h
 */
#include "devices/inherited.h"

#include <fcntl.h>
#include <string.h>
#include <unistd.h>

#define FIRST_PASSED 3 /* SD_LISTEN_FDS_START */

/* Returns: the number in an environment variable; 0 if there is none. */
static guint64
number_of (const char *variable)
{
  const char *text = g_getenv (variable);
  guint64 number = 0;

  if (text == NULL ||
      !g_ascii_string_to_unsigned (text, 10, 0, G_MAXINT, &number, NULL))
    return 0;
  return number;
}

/* Returns: the descriptor that was passed as @name, or -1. */
static int
find_passed (const char *name)
{
  const char *names = g_getenv ("LISTEN_FDNAMES");
  guint64 n = number_of ("LISTEN_FDS");
  g_auto (GStrv) list = NULL;

  /* Those of another process would be in the environment as well. */
  if (names == NULL || number_of ("LISTEN_PID") != (guint64) getpid ())
    return -1;
  list = g_strsplit (names, ":", -1);
  for (guint i = 0; i < n && list[i] != NULL; i++)
    if (strcmp (list[i], name) == 0)
      return FIRST_PASSED + (int) i;
  return -1;
}

int
vd_inherited_fd (const char *name, GError **error)
{
  guint64 number;
  int fd;

  if (g_ascii_string_to_unsigned (name, 10, 0, G_MAXINT, &number, NULL))
    fd = (int) number;
  else
    fd = find_passed (name);
  if (fd >= 0 && fcntl (fd, F_GETFD) >= 0)
    return fd;
  g_set_error (error, G_FILE_ERROR, G_FILE_ERROR_BADF,
               "no such descriptor was inherited");
  return -1;
}
