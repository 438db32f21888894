/* SPDX-License-Identifier: BSD-3-Clause
 *
 * test-mistakes.c - the program as a user meets it: each mistake is one line on
 * stderr and exit status 1, and the rest is as the man page says
 */
#include <glib/gstdio.h>
#include <string.h>
#include <sys/wait.h>
#include <unistd.h>

#include "tests/lib/daemon.h"

typedef struct {
  char *dir;
  char *image; /* in dir */
} Fixture;

static void
set_up (Fixture *f, gconstpointer data)
{
  f->dir = g_dir_make_tmp ("virtiod-mistakes-XXXXXX", NULL);
  g_assert_nonnull (f->dir);
  f->image = g_build_filename (f->dir, "image", NULL);
  g_assert_true (g_file_set_contents (f->image, "", 0, NULL));
  g_assert_no_errno (truncate (f->image, 1 << 20));
}

static void
tear_down (Fixture *f, gconstpointer data)
{
  g_remove (f->image);
  g_assert_no_errno (g_rmdir (f->dir)); /* nothing else is left behind */
  g_free (f->image);
  g_free (f->dir);
}

typedef struct {
  int status; /* of the exit; -1: none */
  char *out, *err;
} Result;

static void
result_clear (Result *result)
{
  g_free (result->out);
  g_free (result->err);
}
G_DEFINE_AUTO_CLEANUP_CLEAR_FUNC (Result, result_clear)

/* Runs the program in the fixture's folder.
 * @line: its arguments, with "|" between them */
static Result
run (Fixture *f, const char *line)
{
  g_autofree char *full = g_strconcat (g_getenv ("VIRTIOD"), "|", line, NULL);
  g_auto (GStrv) argv = g_strsplit (full, "|", -1);
  g_autoptr (GError) error = NULL;
  Result result = { -1, NULL, NULL };
  int status;

  g_spawn_sync (f->dir, argv, NULL, G_SPAWN_DEFAULT, NULL, NULL, &result.out,
                &result.err, &status, &error);
  g_assert_no_error (error);
  if (WIFEXITED (status))
    result.status = WEXITSTATUS (status);
  return result;
}

/* @line, @message: "DIR" stands for the fixture's folder */
static void
assert_mistake (Fixture *f, const char *line, const char *message)
{
  g_autoptr (GString) full = g_string_new (line);
  g_autoptr (GString) want = g_string_new (NULL);
  g_auto (Result) result = { 0 };

  g_string_append_printf (want, "virtiod: %s\n", message);
  g_string_replace (full, "DIR", f->dir, 0);
  g_string_replace (want, "DIR", f->dir, 0);
  result = run (f, full->str);
  g_assert_cmpstr (result.err, ==, want->str);
  g_assert_cmpint (result.status, ==, 1);
  g_assert_cmpstr (result.out, ==, "");
}

static void
test_mistakes_of_the_command_line (Fixture *f, gconstpointer data)
{
  assert_mistake (f, "--nonsense", "Unknown option --nonsense (see --help)");
  assert_mistake (f, "--device|blk,socket=DIR/s,imgae=DIR/image",
                  "--device blk,id=blk0: imgae=DIR/image: unknown key; did you "
                  "mean 'image'?");
  assert_mistake (
      f, "--check|--device|blk,socket=DIR/s",
      "--device blk,id=blk0: image: this key is required (file or "
      "block device with the disk's bytes, fd:N, fd:NAME, or nbd://...)");
  assert_mistake (f, "--device|generic,socket=DIR/s,virtio-id=5,config=a u9",
                  "--device generic,id=generic0: config=a u9: field 'a': 'u9' "
                  "is not a type (u8, le16, le32, le64, be16, be32, be64, "
                  "bytes[n], string[n], bits[n], mac or uuid)");
  assert_mistake (f, "--config|DIR/none",
                  "Failed to open file “DIR/none”: No such file or directory");
}

static void
test_what_a_device_cannot_open (Fixture *f, gconstpointer data)
{
  assert_mistake (f, "--device|blk,socket=DIR/s,image=DIR/none",
                  "--device blk,id=blk0: image=DIR/none: No such file or "
                  "directory");
  assert_mistake (f,
                  "--device|generic,socket=DIR/s,virtio-id=5,"
                  "queue.0=source=file:DIR/none",
                  "--device generic,id=generic0: queue 0: "
                  "source=file:DIR/none: DIR/none: No such file or directory");
  assert_mistake (f, "--device|generic,socket=DIR/none/s,virtio-id=5",
                  "generic0: socket=DIR/none/s: cannot bind: No such file or "
                  "directory");
}

static void
test_an_occupied_socket_is_left_alone (Fixture *f, gconstpointer data)
{
  g_autofree char *path = g_build_filename (f->dir, "s", NULL);
  int fd = vt_listen (path);

  assert_mistake (f, "--device|generic,socket=DIR/s,virtio-id=5",
                  "generic0: socket=DIR/s: refused: another process serves it");
  g_assert_cmpint (g_access (path, F_OK), ==, 0);
  close (fd);
  g_remove (path);
}

static void
test_a_file_is_not_replaced_by_a_socket (Fixture *f, gconstpointer data)
{
  g_auto (Result) result = run (f, "--device|generic,socket=image,virtio-id=5");

  g_assert_cmpint (result.status, ==, 1);
  g_assert_true (g_file_test (f->image, G_FILE_TEST_IS_REGULAR));
}

static void
test_a_second_writer_is_refused (Fixture *f, gconstpointer data)
{
  g_autoptr (VtDaemon) daemon = vt_daemon_new ();
  g_auto (Result) result = { 0 };

  vt_daemon_add (daemon, "disk", "blk", "image", f->image, NULL);
  vt_daemon_start (daemon);
  result = run (f, "--device|blk,socket=s,image=image");
  g_assert_cmpint (result.status, ==, 1);
  g_assert_true (g_str_has_prefix (result.err, "virtiod: --device blk,id=blk0: "
                                               "image="));
  g_assert_true (strchr (result.err, '\n') ==
                 result.err + strlen (result.err) - 1);
  vt_daemon_stop (daemon);
}

static void
test_check_works_beside_a_running_daemon (Fixture *f, gconstpointer data)
{
  g_autoptr (VtDaemon) daemon = vt_daemon_new ();
  g_autofree char *key_file = vt_daemon_path (daemon, "virtiod.conf");
  g_autofree char *line = g_strconcat ("--check|--config|", key_file, NULL);
  g_auto (Result) result = { 0 };

  vt_daemon_add (daemon, "disk", "blk", "image", f->image, NULL);
  vt_daemon_add (daemon, "toy", "generic", "virtio-id", "5", "config",
                 "a le32 ro 5; b u8 rw", NULL);
  vt_daemon_start (daemon);
  result = run (f, line);
  g_assert_cmpstr (result.err, ==, "");
  g_assert_cmpint (result.status, ==, 0);
  g_assert_nonnull (strstr (result.out, "[device disk]\nkind=blk\n"));
  g_assert_nonnull (strstr (result.out, "\nconfig=a le32 ro 5; b u8 rw\n"));
  vt_daemon_stop (daemon);
}

static void
test_questions_are_answered_on_stdout (Fixture *f, gconstpointer data)
{
  static const struct {
    const char *line, *begin;
  } cases[] = {
    { "--version", "virtiod " },
    { "--list-devices", "blk: " },
    { "--help", "Usage:" },
  };

  for (guint i = 0; i < G_N_ELEMENTS (cases); i++) {
    g_auto (Result) result = run (f, cases[i].line);

    g_assert_cmpint (result.status, ==, 0);
    g_assert_true (g_str_has_prefix (result.out, cases[i].begin));
    g_assert_cmpstr (result.err, ==, "");
  }
}

int
main (int argc, char **argv)
{
  g_test_init (&argc, &argv, NULL);
#define ADD(name, func)                                                        \
  g_test_add ("/mistakes/" name, Fixture, NULL, set_up, func, tear_down)
  ADD ("command-line", test_mistakes_of_the_command_line);
  ADD ("open", test_what_a_device_cannot_open);
  ADD ("socket/occupied", test_an_occupied_socket_is_left_alone);
  ADD ("socket/file", test_a_file_is_not_replaced_by_a_socket);
  ADD ("image/locked", test_a_second_writer_is_refused);
  ADD ("check", test_check_works_beside_a_running_daemon);
  ADD ("questions", test_questions_are_answered_on_stdout);
  return g_test_run ();
}
