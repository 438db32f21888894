/* SPDX-License-Identifier: BSD-3-Clause
 *
 * test-config.c - what server/config.c and its parts promise
 */
#include <string.h>

#include "tests/server/config-rig.h"

static VdDeviceConfig *
device (const VdServerConfig *config, guint i)
{
  g_assert_cmpuint (i, <, config->devices->len);
  return g_ptr_array_index (config->devices, i);
}

static void
test_a_device_of_the_command_line (VtConfigRig *f, gconstpointer data)
{
  g_autoptr (VdServerConfig) config =
      vt_parsed ("--device|disk,id=root,socket=/s/a.sock,image=/i,mode=fast,"
                 "socket-mode=0660,socket-group=0,size=64k");
  VdDeviceConfig *root = device (config, 0);

  g_assert_cmpuint (config->devices->len, ==, 1);
  g_assert_true (root->ops == &vt_disk_ops);
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
test_doubled_commas_are_part_of_a_value (VtConfigRig *f, gconstpointer data)
{
  g_autoptr (VdServerConfig) config =
      vt_parsed ("--device|plain,socket=/a,page.3=le16 6,,1;2,text=,,,id=x");

  g_assert_cmpstr (vd_options_string (device (config, 0)->options, "text"), ==,
                   ",");
  g_assert_cmpstr (device (config, 0)->id, ==, "x");
  g_assert_cmpstr (vd_options_string (device (config, 0)->options, "page.3"),
                   ==, "le16 6,1;2");
}

static void
test_unnamed_devices_count_by_kind (VtConfigRig *f, gconstpointer data)
{
  g_autofree char *path = vt_put (
      f->dir, "a.conf", "[device disk9]\nkind=disk\nsocket=/9\nimage=/i");
  g_autofree char *line = g_strconcat (
      "--device|disk,socket=/0,image=/i|--config|", path,
      "|--device|plain,socket=/1|--device|disk,id=x,socket=/2,image=/i"
      "|--device|disk,socket=/3,image=/i",
      NULL);
  g_autoptr (VdServerConfig) config = vt_parsed (line);
  const char *const ids[] = { "disk0", "disk9", "plain0", "x", "disk2" };

  g_assert_cmpuint (config->devices->len, ==, G_N_ELEMENTS (ids));
  for (guint i = 0; i < G_N_ELEMENTS (ids); i++)
    g_assert_cmpstr (device (config, i)->id, ==, ids[i]);
}

static void
test_all_forms_of_a_socket (VtConfigRig *f, gconstpointer data)
{
  g_autoptr (VdServerConfig) config =
      vt_parsed ("--device|plain,socket=connect:/run/c.sock"
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
test_a_key_file_is_raw_text (VtConfigRig *f, gconstpointer data)
{
  g_autofree char *path = vt_put (f->dir, "vm.conf",
                                  "# comment\n\n  [device  kbd-0.x]  \r\n"
                                  "kind = plain\r\n"
                                  "socket =  kbd.sock \r\n"
                                  "text= a;b\\n #c \\s \" 'd'   \n"
                                  "page.1.2=\xc3\xa9\n");
  g_autofree char *line = g_strconcat ("--config|", path, NULL);
  g_autofree char *socket = g_build_filename (f->dir, "kbd.sock", NULL);
  g_autoptr (VdServerConfig) config = vt_parsed (line);
  VdDeviceConfig *kbd = device (config, 0);

  g_assert_cmpstr (kbd->id, ==, "kbd-0.x");
  g_assert_cmpstr (kbd->socket.path, ==, socket);
  g_assert_cmpstr (vd_options_string (kbd->options, "text"), ==,
                   "a;b\\n #c \\s \" 'd'");
  g_assert_cmpstr (vd_options_string (kbd->options, "page.1.2"), ==,
                   "\xc3\xa9");
}

static void
test_a_folder_is_read_in_the_order_of_names (VtConfigRig *f, gconstpointer data)
{
  vt_write (f->conf, "b.conf", "[device b]\nkind=plain\nsocket=b.sock\n");
  vt_write (f->conf, "a.conf",
            "[device a]\nkind=disk\nsocket=connect:a.sock\n"
            "image=img/../a.raw\n");
  vt_write (f->conf, "c.conf", "[virtiod]\nruntime-dir=run\n");
  vt_write (f->conf, "d.conf.bak", "nonsense");
  vt_write (f->conf, ".e.conf", "nonsense");
  g_autofree char *line =
      g_strconcat ("--config|", f->conf, "|--device|plain,socket=p.sock", NULL);
  g_autofree char *run = g_build_filename (f->conf, "run", NULL);
  g_autofree char *image = g_build_filename (f->conf, "a.raw", NULL);
  g_autofree char *sock_a = g_build_filename (run, "a.sock", NULL);
  g_autofree char *sock_b = g_build_filename (run, "b.sock", NULL);
  g_autofree char *sock_p = g_build_filename (run, "p.sock", NULL);
  g_autoptr (VdServerConfig) config = vt_parsed (line);

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
test_an_empty_folder_waits_for_devices (VtConfigRig *f, gconstpointer data)
{
  g_autofree char *line = g_strconcat ("--config|", f->conf, NULL);
  g_autoptr (VdServerConfig) config = vt_parsed (line);

  g_assert_cmpuint (config->devices->len, ==, 0);
}

static void
test_check_prints_what_can_be_read_again (VtConfigRig *f, gconstpointer data)
{
  g_autofree char *first_path =
      vt_put (f->dir, "vm.conf",
              "[virtiod]\nruntime-dir=/r\nseccomp=log\n"
              "[device b]\nkind=disk\nimage=b.raw\nsocket=connect:b\n");
  g_autofree char *line = g_strconcat (
      "--check|--config|", first_path,
      "|--device|plain,text=a,,b;c #d\\e,socket=fd:3,page.9=x", NULL);
  g_autoptr (VdServerConfig) first = vt_parsed (line);
  g_autofree char *text = vd_server_config_to_text (first);
  vt_write (f->conf, "again.conf", text);
  g_autofree char *second_line = g_strconcat ("--config|", f->conf, NULL);
  g_autoptr (VdServerConfig) second = vt_parsed (second_line);
  g_autofree char *again = vd_server_config_to_text (second);
  g_autofree char *want = g_strdup_printf (
      "[virtiod]\nruntime-dir=/r\nseccomp=log\n\n"
      "[device b]\nkind=disk\nimage=%s/b.raw\nsocket=connect:/r/b\n\n"
      "[device plain0]\nkind=plain\ntext=a,b;c #d\\e\nsocket=fd:3\npage.9=x\n",
      f->dir);

  g_assert_true (first->check);
  g_assert_cmpstr (text, ==, want);
  g_assert_cmpstr (again, ==, text);
}

/* What the command line says counts more than files, also when they are read
 * again. */
static void
test_command_line_has_the_last_word (VtConfigRig *f, gconstpointer data)
{
  g_autofree char *path = vt_put (f->dir, "vm.conf",
                                  "[virtiod]\nseccomp=log\n"
                                  "[device b]\nkind=plain\nsocket=/b\n");
  g_autofree char *line = g_strconcat ("--config|", path, NULL);
  g_autofree char *both = g_strconcat ("--seccomp=kill|", line, NULL);
  g_autoptr (VdServerConfig) file = vt_parsed (line);
  g_autoptr (VdServerConfig) option = vt_parsed (both);
  g_autoptr (VdServerConfig) again = vd_server_config_reload (option, NULL);

  g_assert_cmpint (file->seccomp, ==, VD_SECCOMP_LOG);
  g_assert_cmpint (option->seccomp, ==, VD_SECCOMP_KILL);
  g_assert_cmpint (again->seccomp, ==, VD_SECCOMP_KILL);
}

static void
test_list_shows_every_key (VtConfigRig *f, gconstpointer data)
{
  g_autoptr (VdServerConfig) config = vt_parsed ("--list-devices");
  g_autofree char *text = vd_list_devices (vt_registry);

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
  g_assert_nonnull (strstr (text, "\n  seccomp=trap|kill|log|none\n"));
}

static void
test_version_needs_no_device (VtConfigRig *f, gconstpointer data)
{
  g_autoptr (VdServerConfig) config = vt_parsed ("--version");

  g_assert_true (config->version);
}

static void
test_reload_reads_the_files_again (VtConfigRig *f, gconstpointer data)
{
  vt_write (f->conf, "a.conf", "[device a]\nkind=plain\nsocket=a\ntext=1\n");
  g_autofree char *line =
      g_strconcat ("--config|", f->conf, "|--device|plain,socket=/b", NULL);
  g_autoptr (VdServerConfig) first = vt_parsed (line);
  vt_write (f->conf, "a.conf", "[device a]\nkind=plain\nsocket=a\ntext=2\n");
  vt_write (f->conf, "c.conf", "[device c]\nkind=plain\nsocket=c\n");
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
test_a_failed_reload_leaves_the_old_list (VtConfigRig *f, gconstpointer data)
{
  g_autofree char *path =
      vt_put (f->dir, "vm.conf", "[device a]\nkind=plain\nsocket=a\ntext=1\n");
  g_autofree char *line = g_strconcat ("--config|", path, NULL);
  g_autoptr (VdServerConfig) first = vt_parsed (line);
  vt_write (f->dir, "vm.conf", "[device a]\nkind=p");
  g_autoptr (GError) error = NULL;

  g_assert_null (vd_server_config_reload (first, &error));
  g_assert_error (error, VD_CONFIG_ERROR, VD_CONFIG_ERROR_SYNTAX);
  g_assert_cmpstr (vd_options_string (device (first, 0)->options, "text"), ==,
                   "1");
}

static void
test_a_device_config_outlives_its_list (VtConfigRig *f, gconstpointer data)
{
  VdServerConfig *config = vt_parsed ("--device|plain,socket=/a");
  g_autoptr (VdDeviceConfig) kept = vd_device_config_ref (device (config, 0));

  vd_server_config_free (config);
  g_assert_cmpstr (kept->id, ==, "plain0");
  g_assert_cmpstr (vd_options_string (kept->options, "socket"), ==, "/a");
}

int
main (int argc, char **argv)
{
  g_test_init (&argc, &argv, NULL);
#define ADD(name, func)                                                        \
  g_test_add ("/server/config/" name, VtConfigRig, NULL, vt_config_rig_init,   \
              func, vt_config_rig_clear)
  ADD ("device", test_a_device_of_the_command_line);
  ADD ("commas", test_doubled_commas_are_part_of_a_value);
  ADD ("ids", test_unnamed_devices_count_by_kind);
  ADD ("sockets", test_all_forms_of_a_socket);
  ADD ("file/raw", test_a_key_file_is_raw_text);
  ADD ("folder/order", test_a_folder_is_read_in_the_order_of_names);
  ADD ("folder/empty", test_an_empty_folder_waits_for_devices);
  ADD ("check", test_check_prints_what_can_be_read_again);
  ADD ("command-line", test_command_line_has_the_last_word);
  ADD ("list", test_list_shows_every_key);
  ADD ("version", test_version_needs_no_device);
  ADD ("reload", test_reload_reads_the_files_again);
  ADD ("reload/failed", test_a_failed_reload_leaves_the_old_list);
  ADD ("refcount", test_a_device_config_outlives_its_list);
  return g_test_run ();
}
