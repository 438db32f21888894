/* SPDX-License-Identifier: BSD-3-Clause */
#include "tests/lib/daemon.h"

#include <fcntl.h>
#include <glib/gstdio.h>
#include <signal.h>
#include <sys/prctl.h>
#include <sys/stat.h>
#include <sys/wait.h>
#include <unistd.h>

#include "vring/fd.h"

VtDaemon *
vt_daemon_new (void)
{
  VtDaemon *daemon = g_new0 (VtDaemon, 1);
  g_autoptr (GError) error = NULL;

  daemon->dir = g_dir_make_tmp ("virtiod-test-XXXXXX", &error);
  g_assert_no_error (error);
  daemon->key_file = g_string_new (NULL);
  daemon->sockets = g_ptr_array_new_with_free_func (g_free);
  daemon->inherit = g_array_new (FALSE, FALSE, sizeof (int));
  daemon->wrapper = g_ptr_array_new_with_free_func (g_free);
  daemon->args = g_ptr_array_new_with_free_func (g_free);
  daemon->envp = g_get_environ ();
  return daemon;
}

/* Removes a folder and all below it. */
static void
remove_tree (const char *path)
{
  g_autoptr (GDir) dir = g_dir_open (path, 0, NULL);
  const char *name;

  while (dir && (name = g_dir_read_name (dir))) {
    g_autofree char *child = g_build_filename (path, name, NULL);

    if (g_file_test (child, G_FILE_TEST_IS_DIR) &&
        !g_file_test (child, G_FILE_TEST_IS_SYMLINK))
      remove_tree (child);
    else
      g_unlink (child);
  }
  g_rmdir (path);
}

void
vt_daemon_free (VtDaemon *daemon)
{
  if (!daemon)
    return;
  if (daemon->pid) {
    kill (daemon->pid, SIGKILL);
    vt_daemon_wait (daemon);
  }
  remove_tree (daemon->dir);
  g_free (daemon->dir);
  g_string_free (daemon->key_file, TRUE);
  g_ptr_array_unref (daemon->sockets);
  g_array_unref (daemon->inherit);
  g_ptr_array_unref (daemon->wrapper);
  g_ptr_array_unref (daemon->args);
  g_strfreev (daemon->envp);
  g_free (daemon);
}

char *
vt_daemon_path (VtDaemon *daemon, const char *name)
{
  return g_build_filename (daemon->dir, name, NULL);
}

char *
vt_daemon_socket (VtDaemon *daemon, const char *id)
{
  return g_strdup_printf ("%s/%s.sock", daemon->dir, id);
}

void
vt_daemon_setenv (VtDaemon *daemon, const char *name, const char *value)
{
  daemon->envp = g_environ_setenv (daemon->envp, name, value, TRUE);
}

void
vt_daemon_run_under (VtDaemon *daemon, ...)
{
  const char *word;
  va_list args;

  va_start (args, daemon);
  while ((word = va_arg (args, const char *)))
    g_ptr_array_add (daemon->wrapper, g_strdup (word));
  va_end (args);
}

void
vt_daemon_add (VtDaemon *daemon, const char *id, const char *kind, ...)
{
  gboolean has_socket = FALSE;
  const char *key, *value;
  va_list args;

  g_string_append_printf (daemon->key_file, "[device %s]\nkind=%s\n", id, kind);
  va_start (args, kind);
  while ((key = va_arg (args, const char *))) {
    value = va_arg (args, const char *);
    g_string_append_printf (daemon->key_file, "%s=%s\n", key, value);
    has_socket |= g_str_equal (key, "socket");
  }
  va_end (args);
  if (!has_socket) {
    char *path = vt_daemon_socket (daemon, id);

    g_string_append_printf (daemon->key_file, "socket=%s\n", path);
    g_ptr_array_add (daemon->sockets, path);
  }
}

void
vt_daemon_set (VtDaemon *daemon, const char *id, const char *key,
               const char *value)
{
  g_autoptr (GKeyFile) file = g_key_file_new ();
  g_autofree char *group = g_strconcat ("device ", id, NULL);
  g_autofree char *text = NULL;

  g_assert_true (g_key_file_load_from_data (file, daemon->key_file->str, -1,
                                            G_KEY_FILE_NONE, NULL));
  g_assert_true (g_key_file_has_group (file, group));
  g_key_file_set_value (file, group, key, value);
  text = g_key_file_to_data (file, NULL, NULL);
  g_string_assign (daemon->key_file, text);
}

int
vt_daemon_inherit (VtDaemon *daemon, int fd)
{
  g_array_append_val (daemon->inherit, fd);
  return VT_DAEMON_FIRST_FD + daemon->inherit->len - 1;
}

char *
vt_daemon_image (VtDaemon *daemon, const char *name, gsize size)
{
  char *path = vt_daemon_path (daemon, name);
  vd_autofd fd = g_open (path, O_RDWR | O_CREAT | O_EXCL | O_CLOEXEC, 0600);
  guint64 sector[64];

  g_assert_no_errno (fd);
  g_assert_cmpuint (size % sizeof sector, ==, 0);
  for (guint64 i = 0; i < size / sizeof sector; i++) {
    for (guint j = 0; j < G_N_ELEMENTS (sector); j++)
      sector[j] = i << 8 | j;
    g_assert_cmpint (write (fd, sector, sizeof sector), ==, sizeof sector);
  }
  return path;
}

void
vt_daemon_check_image (VtDaemon *daemon, const char *name)
{
  g_autofree char *path = vt_daemon_path (daemon, name);
  g_autofree char *contents = NULL;
  gsize len;

  g_assert_true (g_file_get_contents (path, &contents, &len, NULL));
  for (gsize i = 0; i < len / sizeof (guint64); i++) {
    guint64 word;

    memcpy (&word, contents + i * sizeof word, sizeof word);
    g_assert_cmphex (word, ==, i / 64 << 8 | i % 64);
  }
}

/* Runs in the child. */
static void
die_with_parent (gpointer data)
{
  prctl (PR_SET_PDEATHSIG, SIGKILL);
}

static void
write_key_file (VtDaemon *daemon, const char *path)
{
  g_autoptr (GError) error = NULL;

  g_file_set_contents_full (path, daemon->key_file->str, daemon->key_file->len,
                            G_FILE_SET_CONTENTS_CONSISTENT, 0600, &error);
  g_assert_no_error (error);
}

static void
spawn (VtDaemon *daemon)
{
  g_autofree char *key_file = vt_daemon_path (daemon, "virtiod.conf");
  g_autofree char *log = vt_daemon_path (daemon, "stderr");
  vd_autofd out = g_open (log, O_WRONLY | O_CREAT | O_APPEND | O_CLOEXEC, 0600);
  g_autoptr (GPtrArray) argv = g_ptr_array_new ();
  g_autoptr (GArray) targets = g_array_new (FALSE, FALSE, sizeof (int));
  g_autoptr (GError) error = NULL;

  g_assert_cmpint (daemon->pid, ==, 0);
  if (!g_getenv ("VIRTIOD"))
    g_error ("the environment variable VIRTIOD must name the program to test");
  g_ptr_array_extend (argv, daemon->wrapper, NULL, NULL);
  g_ptr_array_add (argv, (char *) g_getenv ("VIRTIOD"));
  if (daemon->key_file->len) {
    write_key_file (daemon, key_file);
    g_ptr_array_add (argv, (char *) "--config");
    g_ptr_array_add (argv, key_file);
  }
  g_ptr_array_extend (argv, daemon->args, NULL, NULL);
  g_ptr_array_add (argv, NULL);
  for (int i = 0; i < (int) daemon->inherit->len; i++)
    g_array_append_vals (targets, (int[]){ VT_DAEMON_FIRST_FD + i }, 1);
  g_spawn_async_with_pipes_and_fds (
      daemon->dir, (const char *const *) argv->pdata,
      (const char *const *) daemon->envp,
      G_SPAWN_DO_NOT_REAP_CHILD | G_SPAWN_SEARCH_PATH_FROM_ENVP,
      die_with_parent, NULL, -1, out, out,
      (int *) (void *) daemon->inherit->data, (int *) (void *) targets->data,
      targets->len, &daemon->pid, NULL, NULL, NULL, &error);
  g_assert_no_error (error);
}

static gint64
deadline (void)
{
  return g_get_monotonic_time () + VT_TIMEOUT_MS * 1000ll;
}

/* Returns: whether it ended, with its status in *@ret. */
static gboolean
has_ended (VtDaemon *daemon, int *ret)
{
  int status;
  pid_t pid = waitpid (daemon->pid, &status, WNOHANG);

  g_assert_no_errno (pid);
  if (pid == 0)
    return FALSE;
  daemon->pid = 0;
  *ret = WIFEXITED (status) ? WEXITSTATUS (status) : 256 + WTERMSIG (status);
  return TRUE;
}

/* Tells a socket from the one that a killed daemon left behind. */
typedef struct {
  guint64 inode;
  struct timespec changed;
} Identity;

static Identity
identify (const char *path)
{
  struct stat st;

  return stat (path, &st) == 0 ? (Identity){ st.st_ino, st.st_ctim }
                               : (Identity){ 0 };
}

static gboolean
is_same (const Identity *a, const Identity *b)
{
  return a->inode == b->inode && a->changed.tv_sec == b->changed.tv_sec &&
         a->changed.tv_nsec == b->changed.tv_nsec;
}

void
vt_daemon_start (VtDaemon *daemon)
{
  g_autofree Identity *before = g_new0 (Identity, daemon->sockets->len);
  gint64 end = deadline ();
  int status;

  for (guint i = 0; i < daemon->sockets->len; i++)
    before[i] = identify (g_ptr_array_index (daemon->sockets, i));
  spawn (daemon);
  for (guint i = 0; i < daemon->sockets->len;) {
    Identity now = identify (g_ptr_array_index (daemon->sockets, i));

    if (has_ended (daemon, &status)) {
      g_autofree char *log = vt_daemon_log (daemon);

      g_error ("virtiod exited with status %d:\n%s", status, log);
    }
    g_assert_cmpint (g_get_monotonic_time (), <, end);
    if (now.inode != 0 && !is_same (&now, &before[i]))
      i++;
    else
      g_usleep (1000);
  }
}

int
vt_daemon_wait (VtDaemon *daemon)
{
  gint64 end = deadline ();
  int status;

  while (!has_ended (daemon, &status)) {
    if (g_get_monotonic_time () > end) {
      g_autofree char *log = vt_daemon_log (daemon);

      g_error ("virtiod does not end:\n%s", log);
    }
    g_usleep (1000);
  }
  return status;
}

int
vt_daemon_run (VtDaemon *daemon)
{
  spawn (daemon);
  return vt_daemon_wait (daemon);
}

void
vt_daemon_signal (VtDaemon *daemon, int signal_number)
{
  g_assert_cmpint (daemon->pid, >, 0);
  g_assert_no_errno (kill (daemon->pid, signal_number));
}

void
vt_daemon_reload (VtDaemon *daemon)
{
  g_autofree char *key_file = vt_daemon_path (daemon, "virtiod.conf");

  write_key_file (daemon, key_file);
  vt_daemon_signal (daemon, SIGHUP);
}

void
vt_daemon_stop (VtDaemon *daemon)
{
  g_autofree char *log = NULL;
  int status;

  vt_daemon_signal (daemon, SIGTERM);
  status = vt_daemon_wait (daemon);
  log = vt_daemon_log (daemon);
  if (status != 0)
    g_error ("virtiod ended with status %d after SIGTERM:\n%s", status, log);
  if (!daemon->makes_bad_calls && strstr (log, "may not make system call"))
    g_error ("virtiod made a call that is not in its lists:\n%s", log);
}

VtFrontend *
vt_daemon_connect (VtDaemon *daemon, const char *id)
{
  g_autofree char *path = vt_daemon_socket (daemon, id);

  return vt_frontend_new (vt_connect (path));
}

char *
vt_daemon_log (VtDaemon *daemon)
{
  g_autofree char *path = vt_daemon_path (daemon, "stderr");
  g_autoptr (GError) error = NULL;
  char *text;

  g_file_get_contents (path, &text, NULL, &error);
  g_assert_no_error (error);
  return text;
}

void
vt_daemon_wait_log (VtDaemon *daemon, const char *text)
{
  gint64 end = deadline ();

  for (;;) {
    g_autofree char *log = vt_daemon_log (daemon);

    if (strstr (log, text))
      return;
    if (g_get_monotonic_time () > end)
      g_error ("\"%s\" does not appear in the log:\n%s", text, log);
    g_usleep (1000);
  }
}

static guint
count_entries (GPid pid, const char *name)
{
  g_autofree char *path = g_strdup_printf ("/proc/%d/%s", pid, name);
  g_autoptr (GDir) dir = g_dir_open (path, 0, NULL);
  guint n = 0;

  g_assert_nonnull (dir);
  while (g_dir_read_name (dir))
    n++;
  return n;
}

/* Whether a line of /proc/PID/maps counts. */
static gboolean
is_counted (const char *line)
{
#if defined __SANITIZE_ADDRESS__ || defined __SANITIZE_THREAD__
  return strchr (line, '/') || strstr (line, "anon_inode:");
#else
  return *line != '\0'; /* not what follows the last line */
#endif
}

static guint
count_maps (GPid pid)
{
  g_autofree char *path = g_strdup_printf ("/proc/%d/maps", pid);
  g_autofree char *text = NULL;
  g_auto (GStrv) lines = NULL;
  guint n = 0;

  g_assert_true (g_file_get_contents (path, &text, NULL, NULL));
  lines = g_strsplit (text, "\n", -1);
  for (guint i = 0; lines[i]; i++)
    n += is_counted (lines[i]);
  return n;
}

VtUsage
vt_daemon_usage (VtDaemon *daemon)
{
  g_assert_cmpint (daemon->pid, >, 0);
  return (VtUsage){ .n_fds = count_entries (daemon->pid, "fd"),
                    .n_threads = count_entries (daemon->pid, "task"),
                    .n_maps = count_maps (daemon->pid) };
}

/* Returns: (transfer full): what each descriptor of the daemon is. */
static char *
list_fds (VtDaemon *daemon)
{
  g_autofree char *path = g_strdup_printf ("/proc/%d/fd", daemon->pid);
  g_autoptr (GDir) dir = g_dir_open (path, 0, NULL);
  GString *text = g_string_new (NULL);
  const char *name;

  while ((name = g_dir_read_name (dir))) {
    g_autofree char *link = g_build_filename (path, name, NULL);
    g_autofree char *target = g_file_read_link (link, NULL);

    g_string_append_printf (text, " %s:%s", name, target ? target : "?");
  }
  return g_string_free (text, FALSE);
}

void
vt_daemon_wait_usage (VtDaemon *daemon, VtUsage limit)
{
  gint64 end = deadline ();

  for (;;) {
    VtUsage now = vt_daemon_usage (daemon);

    if (now.n_fds <= limit.n_fds && now.n_threads <= limit.n_threads &&
        now.n_maps <= limit.n_maps)
      return;
    if (g_get_monotonic_time () > end) {
      g_autofree char *fds = list_fds (daemon);

      g_error ("fds %u, threads %u, mappings %u; expected at most %u, %u, "
               "%u;%s",
               now.n_fds, now.n_threads, now.n_maps, limit.n_fds,
               limit.n_threads, limit.n_maps, fds);
    }
    g_usleep (1000);
  }
}
