/* SPDX-License-Identifier: BSD-3-Clause
 *
 * test-config-mistakes.c - the one line that server/config.c says of each mistake
 */
#include <string.h>

#include "tests/server/config-rig.h"

/* A mistake is one line that says exactly this; "DIR" is the test's folder. */
static void
assert_mistake (VtConfigRig *f, const char *line, const char *message)
{
  g_autoptr (GString) want = g_string_new (message);
  g_autoptr (GError) error = NULL;
  g_autoptr (VdServerConfig) config = vt_parse (line, &error);

  g_string_replace (want, "DIR", f->dir, 0);
  g_assert_null (config);
  g_assert_nonnull (error);
  g_assert_cmpstr (error->message, ==, want->str);
  g_assert_null (strchr (error->message, '\n'));
}

/* The same for a key-file. */
static void
assert_file_mistake (VtConfigRig *f, const char *text, const char *message)
{
  g_autofree char *path = vt_put (f->dir, "vm.conf", text);
  g_autofree char *line = g_strconcat ("--config|", path, NULL);

  assert_mistake (f, line, message);
}

static void
test_mistakes_of_the_command_line (VtConfigRig *f, gconstpointer data)
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
    { "--seccomp=on", "--seccomp=on: not one of trap, kill, log, none "
                      "(see --help)" },
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
test_mistakes_of_a_key_file (VtConfigRig *f, gconstpointer data)
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
    { "[device a]\nkind=plain\nsocket=/a\ntext[de]=x\n",
      "DIR/vm.conf: [device a]: text[de]: line 4: a key has no brackets" },
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
test_mistakes_of_paths (VtConfigRig *f, gconstpointer data)
{
  g_autofree char *missing = g_strdup_printf ("--config|%s/none.conf", f->dir);
  vt_write (f->conf, "1.conf", "[virtiod]\nruntime-dir=/1\n");
  vt_write (f->conf, "2.conf", "[virtiod]\nruntime-dir=/2\n");
  g_autofree char *both = g_strdup_printf ("--config|%s", f->conf);

  assert_mistake (f, missing,
                  "Failed to open file “DIR/none.conf”: No such file or "
                  "directory");
  assert_mistake (f, both,
                  "DIR/conf/2.conf: [virtiod]: runtime-dir=/2: another file "
                  "has set it to /1");
  vt_write (f->conf, "1.conf", "[virtiod]\nseccomp=log\n");
  vt_write (f->conf, "2.conf", "[virtiod]\nseccomp=none\n");
  assert_mistake (f, both,
                  "DIR/conf/2.conf: [virtiod]: seccomp=none: another file "
                  "has set it to log");
}

/* Random mutations of good texts: nothing but a list or one clear line may come
 * out.  The seed is fixed, so that a failure comes again. */
static void
test_mutated_texts_never_break_the_parser (VtConfigRig *f, gconstpointer data)
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
        vd_server_config_parse (vt_registry, &argc, &argv, &error);
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
  g_test_add ("/server/config-mistakes/" name, VtConfigRig, NULL,              \
              vt_config_rig_init, func, vt_config_rig_clear)
  ADD ("command-line", test_mistakes_of_the_command_line);
  ADD ("file", test_mistakes_of_a_key_file);
  ADD ("paths", test_mistakes_of_paths);
  ADD ("mutations", test_mutated_texts_never_break_the_parser);
  return g_test_run ();
}
