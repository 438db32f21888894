/* SPDX-License-Identifier: BSD-3-Clause
 *
 * test-image.c - what devices/blk/image.c and lock.c promise
 */
#include "devices/blk/image.h"

#include <errno.h>
#include <fcntl.h>
#include <glib/gstdio.h>
#include <signal.h>
#include <string.h>
#include <sys/stat.h>
#include <sys/wait.h>
#include <unistd.h>

#include "tests/devices/blk/loop.h"
#include "vring/fd.h"

#define SIZE (1u << 20)

typedef struct {
  char *dir, *path;
} Fixture;

static void
make_file (const char *path, guint64 size)
{
  vd_autofd fd = open (path, O_CREAT | O_TRUNC | O_RDWR | O_CLOEXEC, 0600);

  g_assert_cmpint (fd, >=, 0);
  g_assert_cmpint (ftruncate (fd, (off_t) size), ==, 0);
}

static void
set_up (Fixture *f, gconstpointer data)
{
  g_autoptr (GError) error = NULL;

  f->dir = g_dir_make_tmp ("virtiod-image-XXXXXX", &error);
  g_assert_no_error (error);
  f->path = g_build_filename (f->dir, "image", NULL);
  make_file (f->path, SIZE);
}

static void
tear_down (Fixture *f, gconstpointer data)
{
  g_unlink (f->path);
  g_rmdir (f->dir);
  g_free (f->path);
  g_free (f->dir);
}

static VdImage *
open_as (const char *name, gboolean read_only, gboolean lock, GError **error)
{
  const VdImageSetup setup = { .name = name,
                               .read_only = read_only,
                               .lock = lock };

  return vd_image_open (&setup, error);
}

static VdImage *
open_well (const char *name, gboolean read_only)
{
  g_autoptr (GError) error = NULL;
  VdImage *image = open_as (name, read_only, TRUE, &error);

  g_assert_no_error (error);
  return image;
}

/* Opening must fail with a text that contains @text. */
static void
check_refused (const VdImageSetup *setup, const char *text)
{
  g_autoptr (GError) error = NULL;

  g_assert_null (vd_image_open (setup, &error));
  g_assert_nonnull (error);
  if (strstr (error->message, text) == NULL)
    g_error ("'%s' does not say '%s'", error->message, text);
}

/* What may be an image. */

static void
test_a_file_has_its_size_and_blocks (Fixture *f, gconstpointer data)
{
  g_autoptr (VdImage) image = open_well (f->path, FALSE);

  g_assert_cmpuint (image->size, ==, SIZE);
  g_assert_cmpuint (image->block_size, ==, 512);
  g_assert_cmpuint (image->physical_size, ==, 4096);
  g_assert_cmpuint (image->file_align, ==, 1);
  g_assert_false (image->is_device);
  g_assert_true (image->locked);
}

static void
test_probing_changes_no_byte (Fixture *f, gconstpointer data)
{
  struct stat before, after;
  g_autofree char *contents = NULL;
  gsize len;

  g_assert_true (g_file_set_contents (f->path, "0123456789", -1, NULL));
  g_assert_cmpint (truncate (f->path, 1000), ==, 0);
  g_assert_cmpint (stat (f->path, &before), ==, 0);
  vd_image_close (open_well (f->path, FALSE));
  g_assert_cmpint (stat (f->path, &after), ==, 0);
  g_assert_cmpint (after.st_size, ==, before.st_size);
  g_assert_cmpint (after.st_blocks, ==, before.st_blocks);
  g_assert_true (g_file_get_contents (f->path, &contents, &len, NULL));
  g_assert_cmpmem (contents, 10, "0123456789", 10);
}

static void
test_the_size_is_whole_blocks (Fixture *f, gconstpointer data)
{
  VdImageSetup setup = { .name = f->path, .block_size = 4096 };
  g_autoptr (VdImage) image = NULL;

  make_file (f->path, 8192 + 4095);
  image = vd_image_open (&setup, NULL);
  g_assert_cmpuint (image->size, ==, 8192);
  g_assert_cmpuint (image->block_size, ==, 4096);
  make_file (f->path, 4095);
  check_refused (&setup, "has 4095 bytes, less than a block of 4096");
}

static void
test_what_is_no_image_is_refused (Fixture *f, gconstpointer data)
{
  g_autofree char *fifo = g_build_filename (f->dir, "fifo", NULL);
  g_autofree char *missing = g_build_filename (f->dir, "missing", NULL);

  g_assert_cmpint (mkfifo (fifo, 0600), ==, 0);
  check_refused (&(VdImageSetup){ .name = missing }, "No such file");
  check_refused (&(VdImageSetup){ .name = f->dir }, "is a directory");
  check_refused (&(VdImageSetup){ .name = fifo, .read_only = TRUE },
                 "neither a file nor a block device");
  check_refused (&(VdImageSetup){ .name = "/dev/null" },
                 "neither a file nor a block device");
  make_file (f->path, 0);
  check_refused (&(VdImageSetup){ .name = f->path }, "has 0 bytes");
  g_unlink (fifo);
}

static void
test_a_read_only_image_cannot_be_written (Fixture *f, gconstpointer data)
{
  g_autoptr (VdImage) image = open_well (f->path, TRUE);

  g_assert_cmpint (pwrite (image->fd, "x", 1, 0), ==, -1);
  g_assert_cmpint (errno, ==, EBADF);
  g_assert_false (image->can_discard);
}

static void
test_a_new_size_is_seen_and_none_is_refused (Fixture *f, gconstpointer data)
{
  g_autoptr (GError) error = NULL;
  g_autoptr (VdImage) image = open_well (f->path, FALSE);

  make_file (f->path, 3 * SIZE);
  g_assert_true (vd_image_refresh (image, &error));
  g_assert_cmpuint (image->size, ==, 3 * SIZE);
  make_file (f->path, 0);
  g_assert_false (vd_image_refresh (image, &error));
  g_assert_nonnull (error);
  g_assert_cmpuint (image->size, ==, 3 * SIZE);
}

static void
test_o_direct_has_alignments (Fixture *f, gconstpointer data)
{
  VdImageSetup setup = { .name = f->path, .direct = TRUE };
  g_autoptr (GError) error = NULL;
  g_autoptr (VdImage) image = vd_image_open (&setup, &error);

  if (image == NULL) {
    g_assert_nonnull (strstr (error->message, "O_DIRECT"));
    g_test_skip (error->message);
    return;
  }
  g_assert_true (fcntl (image->fd, F_GETFL) & O_DIRECT);
  g_assert_cmpuint (image->file_align, >=, 1);
  g_assert_cmpuint (image->block_size, >=, image->file_align);
  g_assert_cmpuint (image->memory_align & (image->memory_align - 1), ==, 0);
}

static void
test_the_identity_is_the_path_s (Fixture *f, gconstpointer data)
{
  g_autofree char *link = g_build_filename (f->dir, "link", NULL);
  g_autofree char *other = g_build_filename (f->dir, "other", NULL);
  guint64 identity;
  VdImage *image = open_well (f->path, TRUE);

  identity = image->identity;
  vd_image_close (image);
  g_assert_cmpint (symlink (f->path, link), ==, 0);
  image = open_well (link, TRUE);
  g_assert_cmphex (image->identity, ==, identity);
  vd_image_close (image);
  make_file (other, SIZE);
  image = open_well (other, TRUE);
  g_assert_cmphex (image->identity, !=, identity);
  vd_image_close (image);
  g_unlink (link);
  g_unlink (other);
}

/* Inherited descriptors. */

static char *
fd_name (int fd)
{
  return g_strdup_printf ("fd:%d", fd);
}

static void
test_an_inherited_descriptor_is_an_image (Fixture *f, gconstpointer data)
{
  vd_autofd fd = open (f->path, O_RDWR | O_APPEND | O_NONBLOCK | O_CLOEXEC);
  g_autofree char *name = fd_name (fd);
  VdImage *image = open_well (name, FALSE);

  g_assert_cmpuint (image->size, ==, SIZE);
  /* With O_APPEND this byte would land at the end. */
  g_assert_cmpint (pwrite (image->fd, "x", 1, 0), ==, 1);
  g_assert_true (vd_image_refresh (image, NULL));
  g_assert_cmpuint (image->size, ==, SIZE);
  g_assert_cmpint (fcntl (image->fd, F_GETFL) & O_NONBLOCK, ==, 0);
  vd_image_close (image);
  g_assert_cmpint (fcntl (fd, F_GETFD), >=, 0); /* still the caller's */
}

static void
test_an_unfit_descriptor_is_refused (Fixture *f, gconstpointer data)
{
  vd_autofd reader = open (f->path, O_RDONLY | O_CLOEXEC);
  vd_autofd writer = open (f->path, O_WRONLY | O_CLOEXEC);
  vd_autofd dir = open (f->dir, O_RDONLY | O_CLOEXEC);
  vd_autofd path = open (f->path, O_PATH | O_CLOEXEC);
  g_autofree char *reader_name = fd_name (reader);
  g_autofree char *writer_name = fd_name (writer);
  g_autofree char *dir_name = fd_name (dir);
  g_autofree char *path_name = fd_name (path);

  check_refused (&(VdImageSetup){ .name = reader_name }, "read-only=yes");
  vd_image_close (open_well (reader_name, TRUE));
  check_refused (&(VdImageSetup){ .name = writer_name }, "for reading");
  check_refused (&(VdImageSetup){ .name = path_name, .read_only = TRUE },
                 "for reading");
  check_refused (&(VdImageSetup){ .name = dir_name, .read_only = TRUE },
                 "is a directory");
  check_refused (&(VdImageSetup){ .name = "fd:12345" }, "was inherited");
  check_refused (&(VdImageSetup){ .name = "fd:" }, "inherited");
  check_refused (&(VdImageSetup){ .name = "fd:3x" }, "inherited");
  check_refused (&(VdImageSetup){ .name = "fd:-1" }, "inherited");
}

/* Locks. */

static gboolean
byte_is_locked (int fd, off_t byte)
{
  struct flock lock = {
    .l_type = F_WRLCK, .l_whence = SEEK_SET, .l_start = byte, .l_len = 1
  };

  g_assert_cmpint (fcntl (fd, F_OFD_GETLK, &lock), ==, 0);
  g_assert_true (lock.l_type == F_UNLCK || lock.l_type == F_RDLCK);
  return lock.l_type != F_UNLCK;
}

/* The bytes are qemu's interface: 100 + permission held, 200 + not shared. */
static void
check_bytes (const char *path, const guint *expected)
{
  vd_autofd fd = open (path, O_RDWR | O_CLOEXEC);

  for (guint byte = 0; byte < 300; byte++) {
    gboolean wanted = *expected == byte;

    g_assert_cmpint (byte_is_locked (fd, byte), ==, wanted);
    if (wanted)
      expected++;
  }
}

static void
test_the_locked_bytes_are_qemu_s (Fixture *f, gconstpointer data)
{
  static const guint none[] = { 0xffff };
  static const guint writer[] = { 100, 101, 201, 202, 203, 0xffff };
  static const guint reader[] = { 100, 201, 203, 0xffff };
  VdImage *image = open_well (f->path, FALSE);

  check_bytes (f->path, writer);
  vd_image_close (image);
  check_bytes (f->path, none);
  image = open_well (f->path, TRUE);
  check_bytes (f->path, reader);
  vd_image_close (image);
  image = open_as (f->path, FALSE, FALSE, NULL);
  check_bytes (f->path, none);
  vd_image_close (image);
}

/* Opens and closes in another process.  Returns: whether it could. */
static gboolean
child_opens (const char *path, gboolean read_only, gboolean lock)
{
  pid_t pid = fork ();
  int status;

  if (pid == 0) {
    VdImage *image = open_as (path, read_only, lock, NULL);

    _exit (image != NULL ? 0 : 1);
  }
  g_assert_cmpint (waitpid (pid, &status, 0), ==, pid);
  g_assert_true (WIFEXITED (status));
  return WEXITSTATUS (status) == 0;
}

static void
test_a_writer_is_alone (Fixture *f, gconstpointer data)
{
  static const guint writer[] = { 100, 101, 201, 202, 203, 0xffff };
  g_autoptr (VdImage) image = open_well (f->path, FALSE);

  g_assert_false (child_opens (f->path, FALSE, TRUE));
  g_assert_false (child_opens (f->path, TRUE, TRUE));
  g_assert_true (child_opens (f->path, FALSE, FALSE));
  /* Nor may this process have it twice, as two devices. */
  check_refused (&(VdImageSetup){ .name = f->path, .lock = VD_LOCK_AUTO },
                 "another process or device writes to it");
  check_bytes (f->path, writer);
  g_clear_pointer (&image, vd_image_close);
  g_assert_true (child_opens (f->path, FALSE, TRUE));
}

static void
test_readers_share_with_readers_only (Fixture *f, gconstpointer data)
{
  static const guint reader[] = { 100, 201, 203, 0xffff };
  G_GNUC_UNUSED g_autoptr (VdImage) image = open_well (f->path, TRUE);

  g_assert_true (child_opens (f->path, TRUE, TRUE));
  g_assert_false (child_opens (f->path, FALSE, TRUE));
  check_refused (&(VdImageSetup){ .name = f->path, .lock = VD_LOCK_AUTO },
                 "allows no writer");
  check_bytes (f->path, reader);
}

static void
test_a_dead_process_holds_no_lock (Fixture *f, gconstpointer data)
{
  int ready[2], status;
  char byte;
  pid_t pid;

  g_assert_cmpint (pipe (ready), ==, 0);
  pid = fork ();
  if (pid == 0) {
    VdImage *image = open_as (f->path, FALSE, TRUE, NULL);

    if (image != NULL && write (ready[1], "x", 1) == 1)
      pause ();
    _exit (1);
  }
  g_assert_cmpint (read (ready[0], &byte, 1), ==, 1);
  check_refused (&(VdImageSetup){ .name = f->path, .lock = VD_LOCK_AUTO },
                 "another process or device writes to it");
  kill (pid, SIGKILL);
  g_assert_cmpint (waitpid (pid, &status, 0), ==, pid);
  vd_image_close (open_well (f->path, FALSE));
  close (ready[0]);
  close (ready[1]);
}

/* qemu's own tools. */

static gboolean
find_program (const char *name)
{
  g_autofree char *path = g_find_program_in_path (name);
  g_autofree char *why = g_strdup_printf ("%s is not installed", name);

  if (path == NULL)
    g_test_skip (why);
  return path != NULL;
}

/* Returns: whether the command succeeded; its messages go to @ret_text. */
static gboolean
run (char **ret_text, const char *program, ...)
{
  g_autoptr (GPtrArray) args = g_ptr_array_new ();
  g_autoptr (GError) error = NULL;
  g_autofree char *text = NULL;
  int status = 0;
  va_list list;

  g_ptr_array_add (args, (gpointer) program);
  va_start (list, program);
  do
    g_ptr_array_add (args, va_arg (list, gpointer));
  while (args->pdata[args->len - 1] != NULL);
  va_end (list);
  g_spawn_sync (NULL, (char **) args->pdata, NULL,
                G_SPAWN_SEARCH_PATH | G_SPAWN_STDOUT_TO_DEV_NULL, NULL, NULL,
                NULL, &text, &status, &error);
  g_assert_no_error (error);
  if (ret_text != NULL)
    *ret_text = g_steal_pointer (&text);
  return g_spawn_check_wait_status (status, NULL);
}

static void
test_qemu_img_is_refused_while_we_write (Fixture *f, gconstpointer data)
{
  g_autofree char *text = NULL;
  VdImage *image;

  if (!find_program ("qemu-img"))
    return;
  image = open_well (f->path, FALSE);
  g_assert_false (
      run (&text, "qemu-img", "resize", "-f", "raw", f->path, "2M", NULL));
  g_assert_nonnull (strstr (text, "lock"));
  g_assert_false (run (NULL, "qemu-img", "convert", "-f", "raw", "-O", "raw",
                       f->path, "/dev/null", NULL));
  g_assert_true (
      run (NULL, "qemu-img", "info", "-U", "-f", "raw", f->path, NULL));
  vd_image_close (image);
  image = open_well (f->path, TRUE);
  g_assert_false (
      run (NULL, "qemu-img", "resize", "-f", "raw", f->path, "2M", NULL));
  g_assert_true (run (NULL, "qemu-img", "info", "-f", "raw", f->path, NULL));
  vd_image_close (image);
  g_assert_true (
      run (NULL, "qemu-img", "resize", "-f", "raw", f->path, "2M", NULL));
}

static pid_t
start_storage_daemon (Fixture *f, const char *pidfile, gboolean writable)
{
  g_autofree char *blockdev =
      g_strdup_printf ("driver=file,node-name=disk,filename=%s,read-only=%s",
                       f->path, writable ? "off" : "on");
  g_autofree char *server =
      g_strdup_printf ("addr.type=unix,addr.path=%s/socket", f->dir);
  g_autofree char *export = g_strdup_printf (
      "nbd,id=export,node-name=disk,writable=%s", writable ? "on" : "off");
  g_autofree char *text = NULL;

  /* With --daemonize it returns when the image is open. */
  if (!run (&text, "qemu-storage-daemon", "--blockdev", blockdev,
            "--nbd-server", server, "--export", export, "--pidfile", pidfile,
            "--daemonize", NULL))
    g_error ("%s", text);
  g_clear_pointer (&text, g_free);
  g_assert_true (g_file_get_contents (pidfile, &text, NULL, NULL));
  return (pid_t) g_ascii_strtoll (text, NULL, 10);
}

/* It is not our child: it is gone when its lock is. */
static void
stop_storage_daemon (Fixture *f, pid_t pid)
{
  vd_autofd fd = open (f->path, O_RDWR | O_CLOEXEC);
  struct flock lock = {
    .l_type = F_WRLCK, .l_whence = SEEK_SET, .l_start = 100, .l_len = 1
  };

  g_assert_cmpint (kill (pid, SIGTERM), ==, 0);
  g_assert_cmpint (fcntl (fd, F_OFD_SETLKW, &lock), ==, 0);
}

static void
test_a_storage_daemon_and_we_refuse_each_other (Fixture *f, gconstpointer data)
{
  g_autofree char *pidfile = g_build_filename (f->dir, "pid", NULL);
  g_autofree char *socket = g_build_filename (f->dir, "socket", NULL);
  g_autofree char *text = NULL;
  g_autofree char *blockdev =
      g_strdup_printf ("driver=file,node-name=disk,filename=%s", f->path);
  VdImage *image;
  pid_t pid;

  if (!find_program ("qemu-storage-daemon"))
    return;
  pid = start_storage_daemon (f, pidfile, TRUE);
  check_refused (&(VdImageSetup){ .name = f->path, .lock = VD_LOCK_AUTO },
                 "another process or device writes to it");
  check_refused (&(VdImageSetup){ .name = f->path,
                                  .lock = VD_LOCK_AUTO,
                                  .read_only = TRUE },
                 "another process or device writes to it");
  stop_storage_daemon (f, pid);

  pid = start_storage_daemon (f, pidfile, FALSE);
  vd_image_close (open_well (f->path, TRUE));
  stop_storage_daemon (f, pid);

  image = open_well (f->path, FALSE);
  g_assert_false (run (&text, "qemu-storage-daemon", "--blockdev", blockdev,
                       "--nbd-server", "addr.type=unix,addr.path=/nowhere/x",
                       "--export", "nbd,id=e,node-name=disk,writable=on",
                       NULL));
  vd_image_close (image);
  g_unlink (pidfile);
  g_unlink (socket);
}

/* Block devices. */

static void
test_a_block_device_says_what_it_is (Fixture *f, gconstpointer data)
{
  g_autoptr (VtLoop) loop = vt_loop_new (f->path, 4096);
  g_autoptr (VdImage) image = NULL;

  if (loop == NULL)
    return;
  image = open_well (loop->path, FALSE);
  g_assert_true (image->is_device);
  g_assert_cmpuint (image->size, ==, SIZE);
  g_assert_cmpuint (image->block_size, ==, 4096);
  g_assert_cmpuint (image->physical_size, ==, 4096);
  g_assert_true (image->locked);
  g_assert_false (child_opens (loop->path, FALSE, TRUE));
}

static void
test_o_direct_needs_the_device_s_blocks (Fixture *f, gconstpointer data)
{
  g_autoptr (VtLoop) loop = vt_loop_new (f->path, 4096);
  VdImageSetup setup = { .direct = TRUE, .block_size = 512 };
  g_autoptr (VdImage) image = NULL;

  if (loop == NULL)
    return;
  setup.name = loop->path;
  check_refused (&setup, "needs block-size=4096 or more here");
  setup.block_size = 0;
  image = vd_image_open (&setup, NULL);
  g_assert_nonnull (image);
  g_assert_cmpuint (image->file_align, ==, 4096);
  g_assert_cmpuint (image->block_size, ==, 4096);
}

int
main (int argc, char **argv)
{
  g_test_init (&argc, &argv, NULL);
#define ADD(name, func)                                                        \
  g_test_add ("/blk/image/" name, Fixture, NULL, set_up, func, tear_down)
  ADD ("file", test_a_file_has_its_size_and_blocks);
  ADD ("probing", test_probing_changes_no_byte);
  ADD ("size", test_the_size_is_whole_blocks);
  ADD ("refused", test_what_is_no_image_is_refused);
  ADD ("read-only", test_a_read_only_image_cannot_be_written);
  ADD ("refresh", test_a_new_size_is_seen_and_none_is_refused);
  ADD ("direct", test_o_direct_has_alignments);
  ADD ("identity", test_the_identity_is_the_path_s);
  ADD ("inherited/fit", test_an_inherited_descriptor_is_an_image);
  ADD ("inherited/unfit", test_an_unfit_descriptor_is_refused);
  ADD ("lock/bytes", test_the_locked_bytes_are_qemu_s);
  ADD ("lock/writer", test_a_writer_is_alone);
  ADD ("lock/readers", test_readers_share_with_readers_only);
  ADD ("lock/dead", test_a_dead_process_holds_no_lock);
  ADD ("lock/qemu-img", test_qemu_img_is_refused_while_we_write);
  ADD ("lock/qemu-storage-daemon",
       test_a_storage_daemon_and_we_refuse_each_other);
  ADD ("device/probing", test_a_block_device_says_what_it_is);
  ADD ("device/direct", test_o_direct_needs_the_device_s_blocks);
  return g_test_run ();
}
