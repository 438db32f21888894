/* SPDX-License-Identifier: BSD-3-Clause
 *
 * test-config.c - what server/config.c and its parts promise
 *
 * Kinds of the test's own stand for real ones: the grammar belongs to no kind.
 */
#include "server/config.h"

#include <glib/gstdio.h>
#include <string.h>

static const char *const modes[] = { "slow", "fast", NULL };

static const VdKey disk_keys[] = {
  { .name = "image",
    .type = VD_KEY_PATH,
    .help = "the file",
    .flags = VD_KEY_REQUIRED },
  { .name = "mode",
    .type = VD_KEY_ENUM,
    .fallback = "slow",
    .help = "how",
    .choices = modes },
  { .name = "queues",
    .type = VD_KEY_UINT,
    .fallback = "64",
    .help = "queues of a disk",
    .min = 1,
    .max = 64 },
  { .name = "size", .type = VD_KEY_SIZE, .help = "bytes", .max = 1 << 20 },
  { 0 },
};

static const VdKey plain_keys[] = {
  { .name = "text",
    .type = VD_KEY_STRING,
    .help = "any text",
    .flags = VD_KEY_LIVE },
  { .name = "page.*", .type = VD_KEY_STRING, .help = "a page" },
  { 0 },
};

/* A mistake that only the kind can see. */
static gboolean
plain_check (VdOptions *options, GError **error)
{
  if (g_strcmp0 (vd_options_string (options, "text"), "bad") != 0)
    return TRUE;
  vd_options_set_error (options, "text", error, "the kind says no");
  return FALSE;
}

static const VdDeviceOps disk_ops = {
  .kind = "disk",
  .help = "a disk",
  .keys = disk_keys,
};
static const VdDeviceOps plain_ops = {
  .kind = "plain",
  .help = "a plain device",
  .keys = plain_keys,
  .check = plain_check,
};
static const VdDeviceOps *const registry[] = { &disk_ops, &plain_ops, NULL };

typedef struct {
  char *dir; /* of this test; conf/ is a folder inside it */
  char *conf;
} Fixture;

static void
set_up (Fixture *f, gconstpointer data)
{
  f->dir = g_dir_make_tmp ("virtiod-config-XXXXXX", NULL);
  g_assert_nonnull (f->dir);
  f->conf = g_build_filename (f->dir, "conf", NULL);
  g_assert_cmpint (g_mkdir (f->conf, 0700), ==, 0);
}

static void
remove_all (const char *path)
{
  g_autoptr (GDir) dir = g_dir_open (path, 0, NULL);
  const char *name;

  while (dir != NULL && (name = g_dir_read_name (dir)) != NULL) {
    g_autofree char *inside = g_build_filename (path, name, NULL);

    remove_all (inside);
  }
  g_remove (path);
}

static void
tear_down (Fixture *f, gconstpointer data)
{
  remove_all (f->dir);
  g_free (f->dir);
  g_free (f->conf);
}

/* Returns: (transfer full): the path of a new file with that text. */
static char *
put (const char *dir, const char *name, const char *text)
{
  char *path = g_build_filename (dir, name, NULL);

  g_assert_true (g_file_set_contents (path, text, -1, NULL));
  return path;
}

/* @line: words of a command line without the program's name; "|" separates */
static VdServerConfig *
parse (const char *line, GError **error)
{
  g_autofree char *full = g_strconcat ("virtiod|", line, NULL);
  g_auto (GStrv) words = g_strsplit (*line != '\0' ? full : "virtiod", "|", -1);
  g_autofree char **argv =
      g_memdup2 (words, (g_strv_length (words) + 1) *
                            sizeof *words); /* parse moves them */
  int argc = (int) g_strv_length (words);
  char **moved = argv;

  return vd_server_config_parse (registry, &argc, &moved, error);
}

static VdServerConfig *
parsed (const char *line)
{
  g_autoptr (GError) error = NULL;
  VdServerConfig *config = parse (line, &error);

  g_assert_no_error (error);
  return config;
}

/* A mistake is one line that says exactly this; "DIR" is the test's folder. */
static void
assert_mistake (Fixture *f, const char *line, const char *message)
{
  g_autoptr (GString) want = g_string_new (message);
  g_autoptr (GError) error = NULL;
  g_autoptr (VdServerConfig) config = parse (line, &error);

  g_string_replace (want, "DIR", f->dir, 0);
  g_assert_null (config);
  g_assert_nonnull (error);
  g_assert_cmpstr (error->message, ==, want->str);
  g_assert_null (strchr (error->message, '\n'));
}

/* The same for a key-file. */
static void
assert_file_mistake (Fixture *f, const char *text, const char *message)
{
  g_autofree char *path = put (f->dir, "vm.conf", text);
  g_autofree char *line = g_strconcat ("--config|", path, NULL);

  assert_mistake (f, line, message);
}

static VdDeviceConfig *
device (const VdServerConfig *config, guint i)
{
  g_assert_cmpuint (i, <, config->devices->len);
  return g_ptr_array_index (config->devices, i);
}

static void
test_a_device_of_the_command_line (Fixture *f, gconstpointer data)
{
  g_autoptr (VdServerConfig) config =
      parsed ("--device|disk,id=root,socket=/s/a.sock,image=/i,mode=fast,"
              "socket-mode=0660,socket-group=0,size=64k");
  VdDeviceConfig *root = device (config, 0);

  g_assert_cmpuint (config->devices->len, ==, 1);
  g_assert_true (root->ops == &disk_ops);
  g_assert_cmpstr (root->id, ==, "root");
  g_assert_cmpint (root->socket.role, ==, VD_SOCKET_LISTEN);
  g_assert_cmpstr (root->socket.path, ==, "/s/a.sock");
  g_assert_cmpint (root->socket.fd, ==, -1);
  g_assert_cmpuint (root->socket.mode, ==, 0660);
  g_assert_cmpuint (root->socket.group, ==, 0);
  g_assert_cmpstr (vd_options_string (root->options, "mode"), ==, "fast");
  g_assert_cmpuint (vd_options_uint (root->options, "size"), ==, 65536);
  g_assert_cmpuint (vd_options_uint (root->options, "queues"), ==, 64);
  g_assert_cmpuint (vd_options_uint (root->options, "queue-size-max"), ==,
                    1024);
  g_assert_true (vd_server_config_find (config, "root") == root);
  g_assert_null (vd_server_config_find (config, "roo"));
}

static void
test_doubled_commas_are_part_of_a_value (Fixture *f, gconstpointer data)
{
  g_autoptr (VdServerConfig) config =
      parsed ("--device|plain,socket=/a,page.3=le16 6,,1;2,text=,,,id=x");

  g_assert_cmpstr (vd_options_string (device (config, 0)->options, "text"), ==,
                   ",");
  g_assert_cmpstr (device (config, 0)->id, ==, "x");
  g_assert_cmpstr (vd_options_string (device (config, 0)->options, "page.3"),
                   ==, "le16 6,1;2");
}

static void
test_unnamed_devices_count_by_kind (Fixture *f, gconstpointer data)
{
  g_autofree char *path =
      put (f->dir, "a.conf", "[device disk9]\nkind=disk\nsocket=/9\nimage=/i");
  g_autofree char *line = g_strconcat (
      "--device|disk,socket=/0,image=/i|--config|", path,
      "|--device|plain,socket=/1|--device|disk,id=x,socket=/2,image=/i"
      "|--device|disk,socket=/3,image=/i",
      NULL);
  g_autoptr (VdServerConfig) config = parsed (line);
  const char *const ids[] = { "disk0", "disk9", "plain0", "x", "disk2" };

  g_assert_cmpuint (config->devices->len, ==, G_N_ELEMENTS (ids));
  for (guint i = 0; i < G_N_ELEMENTS (ids); i++)
    g_assert_cmpstr (device (config, i)->id, ==, ids[i]);
}

static void
test_all_forms_of_a_socket (Fixture *f, gconstpointer data)
{
  g_autoptr (VdServerConfig) config =
      parsed ("--device|plain,socket=connect:/run/c.sock"
              "|--device|plain,socket=fd:7|--device|plain,socket=rel.sock"
              "|--device|plain,socket=./a:b");
  g_autofree char *cwd = g_get_current_dir ();
  g_autofree char *relative = g_build_filename (cwd, "rel.sock", NULL);
  g_autofree char *colon = g_build_filename (cwd, "a:b", NULL);

  g_assert_cmpint (device (config, 0)->socket.role, ==, VD_SOCKET_CONNECT);
  g_assert_cmpstr (device (config, 0)->socket.path, ==, "/run/c.sock");
  g_assert_cmpint (device (config, 1)->socket.role, ==, VD_SOCKET_FD);
  g_assert_cmpint (device (config, 1)->socket.fd, ==, 7);
  g_assert_null (device (config, 1)->socket.path);
  g_assert_cmpstr (device (config, 2)->socket.path, ==, relative);
  g_assert_cmpuint (device (config, 2)->socket.mode, ==, 0600);
  g_assert_true (device (config, 2)->socket.group == (gid_t) -1);
  g_assert_cmpstr (device (config, 3)->socket.path, ==, colon);
}

static void
test_a_key_file_is_raw_text (Fixture *f, gconstpointer data)
{
  g_autofree char *path = put (f->dir, "vm.conf",
                               "# comment\n\n  [device  kbd-0.x]  \r\n"
                               "kind = plain\r\n"
                               "socket =  kbd.sock \r\n"
                               "text= a;b\\n #c \\s \" 'd'   \n"
                               "page.1.2=\xc3\xa9\n");
  g_autofree char *line = g_strconcat ("--config|", path, NULL);
  g_autofree char *socket = g_build_filename (f->dir, "kbd.sock", NULL);
  g_autoptr (VdServerConfig) config = parsed (line);
  VdDeviceConfig *kbd = device (config, 0);

  g_assert_cmpstr (kbd->id, ==, "kbd-0.x");
  g_assert_cmpstr (kbd->socket.path, ==, socket);
  g_assert_cmpstr (vd_options_string (kbd->options, "text"), ==,
                   "a;b\\n #c \\s \" 'd'");
  g_assert_cmpstr (vd_options_string (kbd->options, "page.1.2"), ==,
                   "\xc3\xa9");
}

static void
test_a_folder_is_read_in_the_order_of_names (Fixture *f, gconstpointer data)
{
  g_autofree char *b =
      put (f->conf, "b.conf", "[device b]\nkind=plain\nsocket=b.sock\n");
  g_autofree char *a = put (f->conf, "a.conf",
                            "[device a]\nkind=disk\nsocket=connect:a.sock\n"
                            "image=img/../a.raw\n");
  g_autofree char *c = put (f->conf, "c.conf", "[virtiod]\nruntime-dir=run\n");
  g_autofree char *ignored = put (f->conf, "d.conf.bak", "nonsense");
  g_autofree char *hidden = put (f->conf, ".e.conf", "nonsense");
  g_autofree char *line =
      g_strconcat ("--config|", f->conf, "|--device|plain,socket=p.sock", NULL);
  g_autofree char *run = g_build_filename (f->conf, "run", NULL);
  g_autofree char *image = g_build_filename (f->conf, "a.raw", NULL);
  g_autofree char *sock_a = g_build_filename (run, "a.sock", NULL);
  g_autofree char *sock_b = g_build_filename (run, "b.sock", NULL);
  g_autofree char *sock_p = g_build_filename (run, "p.sock", NULL);
  g_autoptr (VdServerConfig) config = parsed (line);

  g_assert_cmpuint (config->devices->len, ==, 3);
  g_assert_cmpstr (config->runtime_dir, ==, run);
  g_assert_cmpstr (device (config, 0)->id, ==, "a");
  g_assert_cmpstr (device (config, 0)->socket.path, ==, sock_a);
  g_assert_cmpstr (vd_options_string (device (config, 0)->options, "image"), ==,
                   image);
  g_assert_cmpstr (device (config, 1)->socket.path, ==, sock_b);
  g_assert_cmpstr (device (config, 2)->socket.path, ==, sock_p);
}

static void
test_an_empty_folder_waits_for_devices (Fixture *f, gconstpointer data)
{
  g_autofree char *line = g_strconcat ("--config|", f->conf, NULL);
  g_autoptr (VdServerConfig) config = parsed (line);

  g_assert_cmpuint (config->devices->len, ==, 0);
}

static void
test_check_prints_what_can_be_read_again (Fixture *f, gconstpointer data)
{
  g_autofree char *first_path =
      put (f->dir, "vm.conf",
           "[virtiod]\nruntime-dir=/r\n"
           "[device b]\nkind=disk\nimage=b.raw\nsocket=connect:b\n");
  g_autofree char *line = g_strconcat (
      "--check|--config|", first_path,
      "|--device|plain,text=a,,b;c #d\\e,socket=fd:3,page.9=x", NULL);
  g_autoptr (VdServerConfig) first = parsed (line);
  g_autofree char *text = vd_server_config_to_text (first);
  g_autofree char *second_path = put (f->conf, "again.conf", text);
  g_autofree char *second_line = g_strconcat ("--config|", f->conf, NULL);
  g_autoptr (VdServerConfig) second = parsed (second_line);
  g_autofree char *again = vd_server_config_to_text (second);
  g_autofree char *want = g_strdup_printf (
      "[virtiod]\nruntime-dir=/r\n\n"
      "[device b]\nkind=disk\nimage=%s/b.raw\nsocket=connect:/r/b\n\n"
      "[device plain0]\nkind=plain\ntext=a,b;c #d\\e\nsocket=fd:3\npage.9=x\n",
      f->dir);

  g_assert_true (first->check);
  g_assert_cmpstr (text, ==, want);
  g_assert_cmpstr (again, ==, text);
}

static void
test_list_shows_every_key (Fixture *f, gconstpointer data)
{
  g_autoptr (VdServerConfig) config = parsed ("--list-devices");
  g_autofree char *text = vd_list_devices (registry);

  g_assert_true (config->list_devices);
  g_assert_true (g_str_has_prefix (
      text, "disk: a disk\n"
            "  image=PATH\n      the file (required)\n"
            "  mode=slow|fast\n      how (default slow)\n"
            "  queues=NUMBER\n      queues of a disk (1 to 64, default 64)\n"
            "  size=SIZE\n      bytes (0 to 1M)\n\n"
            "plain: a plain device\n"
            "  text=TEXT\n      any text (live)\n"
            "  page.*=TEXT\n      a page\n\n"
            "all kinds:\n"
            "  socket=TEXT\n"));
  for (const VdKey *key = vd_common_keys; key->name != NULL; key++)
    g_assert_nonnull (strstr (text, key->name));
  g_assert_nonnull (strstr (text, "\n[virtiod]:\n  runtime-dir=PATH\n"));
}

static void
test_version_needs_no_device (Fixture *f, gconstpointer data)
{
  g_autoptr (VdServerConfig) config = parsed ("--version");

  g_assert_true (config->version);
}

static void
test_reload_reads_the_files_again (Fixture *f, gconstpointer data)
{
  g_autofree char *path =
      put (f->conf, "a.conf", "[device a]\nkind=plain\nsocket=a\ntext=1\n");
  g_autofree char *line =
      g_strconcat ("--config|", f->conf, "|--device|plain,socket=/b", NULL);
  g_autoptr (VdServerConfig) first = parsed (line);
  g_autofree char *changed =
      put (f->conf, "a.conf", "[device a]\nkind=plain\nsocket=a\ntext=2\n");
  g_autofree char *more =
      put (f->conf, "c.conf", "[device c]\nkind=plain\nsocket=c\n");
  g_autoptr (GError) error = NULL;
  g_autoptr (VdServerConfig) second = vd_server_config_reload (first, &error);
  g_autofree char *differ = NULL, *same = NULL;

  g_assert_no_error (error);
  g_assert_cmpuint (second->devices->len, ==, 3);
  differ = vd_options_differ (device (first, 0)->options,
                              device (second, 0)->options);
  g_assert_cmpstr (differ, ==, "");
  same = vd_options_differ (vd_server_config_find (first, "plain0")->options,
                            vd_server_config_find (second, "plain0")->options);
  g_assert_null (same);
}

static void
test_a_failed_reload_leaves_the_old_list (Fixture *f, gconstpointer data)
{
  g_autofree char *path =
      put (f->dir, "vm.conf", "[device a]\nkind=plain\nsocket=a\ntext=1\n");
  g_autofree char *line = g_strconcat ("--config|", path, NULL);
  g_autoptr (VdServerConfig) first = parsed (line);
  g_autofree char *changed = put (f->dir, "vm.conf", "[device a]\nkind=p");
  g_autoptr (GError) error = NULL;

  g_assert_null (vd_server_config_reload (first, &error));
  g_assert_error (error, VD_CONFIG_ERROR, VD_CONFIG_ERROR_SYNTAX);
  g_assert_cmpstr (vd_options_string (device (first, 0)->options, "text"), ==,
                   "1");
}

static void
test_a_device_config_outlives_its_list (Fixture *f, gconstpointer data)
{
  VdServerConfig *config = parsed ("--device|plain,socket=/a");
  g_autoptr (VdDeviceConfig) kept = vd_device_config_ref (device (config, 0));

  vd_server_config_free (config);
  g_assert_cmpstr (kept->id, ==, "plain0");
  g_assert_cmpstr (vd_options_string (kept->options, "socket"), ==, "/a");
}

static void
test_mistakes_of_the_command_line (Fixture *f, gconstpointer data)
{
  g_autofree char *long_path = g_strnfill (108, 'x');
  g_autofree char *long_line =
      g_strdup_printf ("--device|plain,socket=/%s", long_path);
  g_autofree char *long_error = g_strdup_printf (
      "--device plain,id=plain0: socket=/%s: the path of a socket has at most "
      "107 bytes",
      long_path);
  const struct {
    const char *line, *message;
  } cases[] = {
    { "", "no device: give --device or --config (see --help)" },
    { "--nonsense", "Unknown option --nonsense (see --help)" },
    { "--device", "Missing argument for --device (see --help)" },
    { "extra", "unexpected argument 'extra' (see --help)" },
    { "--device|disk,socket=/a,image=/i|x",
      "unexpected argument 'x' (see --help)" },
    { "--device|socket=/a",
      "--device socket=/a: a device begins with its kind, as in "
      "KIND,socket=PATH,key=value" },
    { "--device|", "--device : a device begins with its kind, as in "
                   "KIND,socket=PATH,key=value" },
    { "--device|dsik,socket=/a", "--device dsik,id=dsik0: kind=dsik: unknown "
                                 "kind; did you mean 'disk'?" },
    { "--device|network,socket=/a",
      "--device network,id=network0: kind=network: unknown kind; kinds are "
      "disk, plain" },
    { "--device|plain,socket=/a,",
      "--device plain: '' is not key=value (a comma inside a value is "
      "doubled)" },
    { "--device|plain,socket=/a,text=b,c",
      "--device plain: 'c' is not key=value (a comma inside a value is "
      "doubled)" },
    { "--device|plain,=x",
      "--device plain: '=x' is not key=value (a comma inside a value is "
      "doubled)" },
    { "--device|plain,id=a/b,socket=/a",
      "--device plain: id=a/b: an id is 1 to 64 letters, digits, '_', '-' or "
      "'.', and begins with a letter or digit" },
    { "--device|plain,id=a,id=b",
      "--device plain: id=b: this key was given before" },
    { "--device|plain,kind=disk,socket=/a",
      "--device plain,id=plain0: kind=disk: unknown key; --list-devices shows "
      "all keys" },
    { "--device|plain", "--device plain,id=plain0: socket: this key is "
                        "required (PATH to listen on, connect:PATH to connect "
                        "to, or fd:N)" },
    { "--device|disk,socket=/a",
      "--device disk,id=disk0: image: this key is required (the file)" },
    { "--device|disk,socket=/a,imag=/i",
      "--device disk,id=disk0: imag=/i: unknown key; did you mean 'image'?" },
    { "--device|disk,socket=/a,image=/i,mode=fats",
      "--device disk,id=disk0: mode=fats: not one of slow, fast; did you mean "
      "'fast'?" },
    { "--device|disk,socket=/a,image=/i,queues=65",
      "--device disk,id=disk0: queues=65: not a number, 1 to 64" },
    { "--device|plain,socket=/a,socket=/b",
      "--device plain,id=plain0: socket=/b: this key was given before" },
    { "--device|plain,socket=/a,queue-size-max=100",
      "--device plain,id=plain0: queue-size-max=100: not a power of two" },
    { "--device|plain,socket=/a,text=bad",
      "--device plain,id=plain0: text=bad: the kind says no" },
    { "--device|plain,socket=",
      "--device plain,id=plain0: socket=: the path is empty" },
    { "--device|plain,socket=connect:",
      "--device plain,id=plain0: socket=connect:: the path is empty" },
    { "--device|plain,socket=fd:x",
      "--device plain,id=plain0: socket=fd:x: not fd:N with the number of a "
      "descriptor" },
    { "--device|plain,socket=fd:-1",
      "--device plain,id=plain0: socket=fd:-1: not fd:N with the number of a "
      "descriptor" },
    { "--device|plain,socket=fd:",
      "--device plain,id=plain0: socket=fd:: not fd:N with the number of a "
      "descriptor" },
    { "--device|plain,socket=tcp:/1",
      "--device plain,id=plain0: socket=tcp:/1: not PATH, connect:PATH or "
      "fd:N (a path with a colon begins with '/' or './')" },
    { "--device|plain,socket=/a,socket-mode=0999",
      "--device plain,id=plain0: socket-mode=0999: not octal permissions, "
      "0000 to 0777" },
    { "--device|plain,socket=/a,socket-mode=4755",
      "--device plain,id=plain0: socket-mode=4755: not octal permissions, "
      "0000 to 0777" },
    { "--device|plain,socket=/a,socket-group=no such",
      "--device plain,id=plain0: socket-group=no such: no such group" },
    { "--device|plain,socket=/a|--device|disk,image=/i,socket=/b/../a",
      "--device disk,id=disk0: socket=/a: --device plain,id=plain0 has this "
      "socket already" },
    { "--device|plain,socket=/a|--device|plain,socket=connect:/a",
      "--device plain,id=plain1: socket=connect:/a: --device "
      "plain,id=plain0 has this socket already" },
    { "--device|plain,socket=fd:3|--device|plain,socket=fd:3",
      "--device plain,id=plain1: socket=fd:3: --device plain,id=plain0 has "
      "this socket already" },
    { "--device|plain,socket=/a,id=plain1|--device|plain,socket=/b",
      "--device plain,id=plain1: id=plain1: --device plain,id=plain1 has "
      "this id already" },
    { "--device|plain,text=\xff", "--device: the text is not UTF-8" },
  };

  for (guint i = 0; i < G_N_ELEMENTS (cases); i++)
    assert_mistake (f, cases[i].line, cases[i].message);
  assert_mistake (f, long_line, long_error);
}

static void
test_mistakes_of_a_key_file (Fixture *f, gconstpointer data)
{
  const struct {
    const char *text, *message;
  } cases[] = {
    { "", "no device: the files have no [device ID] group" },
    { "[virtiod]\n", "no device: the files have no [device ID] group" },
    { "x=1\n", "DIR/vm.conf: Key file does not start with a group" },
    { "[device a]\nkind\n",
      "DIR/vm.conf: Key file contains line “kind” which is not a key-value "
      "pair, group, or comment" },
    { "[devise a]\nkind=plain\n",
      "DIR/vm.conf: [devise a]: unknown group; did you mean '[device ID]'?" },
    { "[device]\nkind=plain\n",
      "DIR/vm.conf: [device]: unknown group; did you mean '[device ID]'?" },
    { "[virtoid]\n",
      "DIR/vm.conf: [virtoid]: unknown group; did you mean '[virtiod]'?" },
    { "[other]\n", "DIR/vm.conf: [other]: unknown group; groups are [virtiod] "
                   "and [device ID]" },
    { "[device a b]\nkind=plain\n",
      "DIR/vm.conf: [device a b]: id=a b: an id is 1 to 64 letters, digits, "
      "'_', '-' or '.', and begins with a letter or digit" },
    { "[device a]\nsocket=/a\n",
      "DIR/vm.conf: [device a]: kind: this key is required" },
    { "[device a]\nkind=plian\n", "DIR/vm.conf: [device a]: kind=plian: "
                                  "unknown kind; did you mean 'plain'?" },
    { "[device a]\nkind=plain\nsocket=/a\ntxt=1\n",
      "DIR/vm.conf: [device a]: txt=1: unknown key; did you mean 'text'?" },
    { "[device a]\nkind=plain\nid=b\nsocket=/a\n",
      "DIR/vm.conf: [device a]: id=b: unknown key; --list-devices shows all "
      "keys" },
    { "[device a]\nkind=plain\nsocket=/a\n\n# x\n[device a]\n",
      "DIR/vm.conf: [device a]: line 6 repeats line 1" },
    { "[device a]\nkind=plain\nsocket=/a\nsocket =/b\n",
      "DIR/vm.conf: [device a]: socket: line 4 repeats line 3" },
    { "[device a]\nkind=plain\nsocket=/a\n[device  a]\nkind=plain\nsocket=/b",
      "DIR/vm.conf: [device  a]: id=a: DIR/vm.conf: [device a] has this id "
      "already" },
    { "[device a]\nkind=plain\nsocket=s\n[device b]\nkind=plain\nsocket=./s",
      "DIR/vm.conf: [device b]: socket=DIR/s: DIR/vm.conf: [device a] has "
      "this socket already" },
    { "[virtiod]\nruntime-dri=/r\n",
      "DIR/vm.conf: [virtiod]: runtime-dri=/r: unknown key; did you mean "
      "'runtime-dir'?" },
    { "[device a]\nkind=disk\nsocket=/a\nimage=/i\nsize=2M\n",
      "DIR/vm.conf: [device a]: size=2M: not bytes, 0 to 1048576; suffixes k, "
      "M, G, T" },
    { "[device a]\nkind=plain\nsocket=/a\ntext=\xff\n",
      "DIR/vm.conf: the file is not UTF-8 text" },
  };

  for (guint i = 0; i < G_N_ELEMENTS (cases); i++)
    assert_file_mistake (f, cases[i].text, cases[i].message);
}

static void
test_mistakes_of_paths (Fixture *f, gconstpointer data)
{
  g_autofree char *missing = g_strdup_printf ("--config|%s/none.conf", f->dir);
  g_autofree char *one = put (f->conf, "1.conf", "[virtiod]\nruntime-dir=/1\n");
  g_autofree char *two = put (f->conf, "2.conf", "[virtiod]\nruntime-dir=/2\n");
  g_autofree char *both = g_strdup_printf ("--config|%s", f->conf);

  assert_mistake (f, missing,
                  "Failed to open file “DIR/none.conf”: No such file or "
                  "directory");
  assert_mistake (f, both,
                  "DIR/conf/2.conf: [virtiod]: runtime-dir=/2: another file "
                  "has set it to /1");
}

/* Random mutations of good texts: nothing but a list or one clear line may come
 * out.  The seed is fixed, so that a failure comes again. */
static void
test_mutated_texts_never_break_the_parser (Fixture *f, gconstpointer data)
{
  static const char good[] =
      "plain,id=p,socket=connect:/a,text=x,,y;z,page.1=le16 1,,2,queues=2,"
      "socket-mode=0660,queue-size-max=0x100";
  static const char letters[] = ",=:;.\\/ #[]\n\t0x9akM-+\xc3\xa9\xff";
  g_autoptr (GRand) rand = g_rand_new_with_seed (0x5eed);
  guint n_good = 0, n_bad = 0;

  for (guint round = 0; round < 20000; round++) {
    g_autoptr (GString) text = g_string_new (good);
    guint n_edits = (guint) g_rand_int_range (rand, 1, 6);
    g_autoptr (GError) error = NULL;
    char *words[] = { (char *) "virtiod", (char *) "--device", NULL, NULL };
    char **argv = words;
    int argc = 3;

    for (guint i = 0; i < n_edits && text->len > 0; i++) {
      gssize at = g_rand_int_range (rand, 0, (gint32) text->len);
      char letter =
          letters[g_rand_int_range (rand, 0, (gint32) sizeof letters - 1)];

      switch (g_rand_int_range (rand, 0, 3)) {
      case 0: g_string_insert_c (text, at, letter); break;
      case 1: text->str[at] = letter; break;
      default: g_string_erase (text, at, 1); break;
      }
    }
    words[2] = text->str;
    g_autoptr (VdServerConfig) config =
        vd_server_config_parse (registry, &argc, &argv, &error);
    g_assert_true ((config != NULL) == (error == NULL));
    n_good += config != NULL;
    n_bad += config == NULL;
  }
  g_test_message ("%u accepted, %u refused", n_good, n_bad);
  g_assert_cmpuint (n_good, >, 100);
  g_assert_cmpuint (n_bad, >, 100);
}

int
main (int argc, char **argv)
{
  g_test_init (&argc, &argv, NULL);
#define ADD(name, func)                                                        \
  g_test_add ("/server/config/" name, Fixture, NULL, set_up, func, tear_down)
  ADD ("device", test_a_device_of_the_command_line);
  ADD ("commas", test_doubled_commas_are_part_of_a_value);
  ADD ("ids", test_unnamed_devices_count_by_kind);
  ADD ("sockets", test_all_forms_of_a_socket);
  ADD ("file/raw", test_a_key_file_is_raw_text);
  ADD ("folder/order", test_a_folder_is_read_in_the_order_of_names);
  ADD ("folder/empty", test_an_empty_folder_waits_for_devices);
  ADD ("check", test_check_prints_what_can_be_read_again);
  ADD ("list", test_list_shows_every_key);
  ADD ("version", test_version_needs_no_device);
  ADD ("reload", test_reload_reads_the_files_again);
  ADD ("reload/failed", test_a_failed_reload_leaves_the_old_list);
  ADD ("refcount", test_a_device_config_outlives_its_list);
  ADD ("mistakes/command-line", test_mistakes_of_the_command_line);
  ADD ("mistakes/file", test_mistakes_of_a_key_file);
  ADD ("mistakes/paths", test_mistakes_of_paths);
  ADD ("mutations", test_mutated_texts_never_break_the_parser);
  return g_test_run ();
}
