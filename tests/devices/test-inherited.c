/* SPDX-License-Identifier: BSD-3-Clause
 *
 * test-inherited.c - descriptors by number and by the names that a service
 * manager passes
 */
#include "devices/inherited.h"

#include <fcntl.h>
#include <unistd.h>

#include "vring/fd.h"

#define FIRST 3

/* Says that descriptors were passed to @pid, of which @fd is "disk". */
static void
pass (int fd, guint count, pid_t pid)
{
  g_autoptr (GString) names = g_string_new (NULL);
  g_autofree char *n = g_strdup_printf ("%u", count);
  g_autofree char *id = g_strdup_printf ("%d", (int) pid);

  for (int i = FIRST; i < fd; i++)
    g_string_append (names, "other:");
  g_string_append (names, "disk");
  g_setenv ("LISTEN_FDNAMES", names->str, TRUE);
  g_setenv ("LISTEN_FDS", n, TRUE);
  g_setenv ("LISTEN_PID", id, TRUE);
}

static void
refuse (const char *name)
{
  g_autoptr (GError) error = NULL;

  g_assert_cmpint (vd_inherited_fd (name, &error), ==, -1);
  g_assert_error (error, G_FILE_ERROR, G_FILE_ERROR_BADF);
}

static void
test_a_number_is_a_descriptor (void)
{
  vd_autofd fd = open ("/dev/null", O_RDONLY | O_CLOEXEC);
  g_autofree char *name = g_strdup_printf ("%d", fd);

  g_assert_cmpint (vd_inherited_fd (name, NULL), ==, fd);
  vd_clear_fd (&fd);
  refuse (name);
  refuse ("-1");
  refuse ("4294967296");
  refuse ("");
}

static void
test_a_name_is_the_one_that_was_passed (void)
{
  vd_autofd fd = open ("/dev/null", O_RDONLY | O_CLOEXEC);
  guint count = (guint) fd - FIRST + 1;

  refuse ("disk");
  pass (fd, count, getpid ());
  g_assert_cmpint (vd_inherited_fd ("disk", NULL), ==, fd);
  refuse ("dis");
  refuse ("disk2");
  /* Fewer were passed than are named, or to somebody else. */
  pass (fd, count - 1, getpid ());
  refuse ("disk");
  pass (fd, count, getppid ());
  refuse ("disk");
}

int
main (int argc, char **argv)
{
  g_test_init (&argc, &argv, NULL);
  g_unsetenv ("LISTEN_FDNAMES");
  g_test_add_func ("/devices/inherited/number", test_a_number_is_a_descriptor);
  g_test_add_func ("/devices/inherited/name",
                   test_a_name_is_the_one_that_was_passed);
  return g_test_run ();
}
