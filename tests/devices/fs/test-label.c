/* SPDX-License-Identifier: BSD-3-Clause
 *
 * test-label.c - security labels of new files, in both forms that guests have
 */
#include <errno.h>
#include <fcntl.h>
#include <string.h>
#include <sys/xattr.h>
#include <unistd.h>

#include "devices/fs/validate.h"
#include "tests/devices/fs/fixture.h"

#define SELINUX       "security.selinux"
#define SECURITY      (1ull << 32) /* FUSE_SECURITY_CTX */
#define SUPP_GROUP    (1ull << 34) /* FUSE_CREATE_SUPP_GROUP */
#define LEN_MAX       1024
#define FUSE_TMPFILE_ 51

static const VtFsConfig always = { .keys = { "xattr", "yes", "security-label",
                                             "always" } };
static const VtFsConfig never = { .keys = { "xattr", "yes", "security-label",
                                            "never" } };
static const VtFsConfig mapped = { .keys = { "xattr", "yes", "xattrmap",
                                             ":map:security.:user.guest.:" } };

/* Messages. */

typedef struct {
  union {
    struct fuse_in_header in;
    guint8 bytes[LEN_MAX];
  };
  guint32 len;
} Message;

static void
append (Message *m, const void *bytes, gsize len)
{
  g_assert_cmpuint (m->len + len, <=, LEN_MAX);
  if (len > 0)
    memcpy (m->bytes + m->len, bytes, len);
  m->len += (guint32) len;
  m->in.len = m->len;
}

/* @n: how many labels are announced
 * @size: bytes that the label is said to have
 * @old: as before Linux 6.3, behind the names; else as an extension */
static void
append_label (Message *m, guint32 n, const char *name, guint32 size,
              gboolean old)
{
  static const guint8 zeros[8];
  gsize name_len = strlen (name) + 1;
  gsize len = 8 + 8 + name_len + 5;
  guint32 words[4] = { (guint32) (len + 7) / 8 * 8, n, size, 0 };

  if (!old)
    append (m, zeros, 8 - m->len % 8);
  append (m, words, sizeof words);
  append (m, name, name_len);
  append (m, "label", 5);
  append (m, zeros, words[0] - len);
  if (!old)
    m->in.total_extlen = (guint16) (words[0] / 8);
}

/* @args, then one or two names. */
static Message
message (guint32 opcode, const void *args, gsize args_len, const char *name,
         const char *second)
{
  Message m = { .in = { .opcode = opcode, .unique = 5, .nodeid = 1 },
                .len = sizeof m.in };

  append (&m, args, args_len);
  append (&m, name, strlen (name) + 1);
  if (second != NULL)
    append (&m, second, strlen (second) + 1);
  return m;
}

/* What the validator makes of them. */

static int
validate (const Message *m, gboolean old, gboolean *ret_label)
{
  g_autofree guint8 *exact = g_memdup2 (m->bytes, m->len);
  VdFsMessage parsed;
  int r = vd_fs_validate (exact, m->len, LEN_MAX,
                          SECURITY | (old ? 0 : SUPP_GROUP), &parsed);

  *ret_label = r == 0 && parsed.label_name != NULL;
  if (*ret_label)
    g_assert_cmpmem (parsed.label, MIN (parsed.label_len, 5), "label",
                     parsed.label_len);
  return r;
}

static int
try_label (guint32 n, const char *name, guint32 size, gboolean old)
{
  const struct fuse_mkdir_in args = { .mode = 0755 };
  Message m = message (FUSE_MKDIR, &args, sizeof args, "dir", NULL);
  gboolean label;
  int r;

  append_label (&m, n, name, size, old);
  r = validate (&m, old, &label);
  if (r == 0)
    g_assert_true (label == (n == 1));
  return r;
}

static void
test_broken_labels_are_refused (void)
{
  g_autofree char *long_name = g_strnfill (300, 'x');

  memcpy (long_name, "security.", 9);
  for (gboolean old = FALSE; old <= TRUE; old++) {
    g_assert_cmpint (try_label (1, SELINUX, 5, old), ==, 0);
    g_assert_cmpint (try_label (1, "security.SMACK64", 0, old), ==, 0);
    g_assert_cmpint (try_label (0, SELINUX, 5, old), ==, 0);
    g_assert_cmpint (try_label (2, SELINUX, 5, old), ==, -EINVAL);
    g_assert_cmpint (try_label (1, SELINUX, 50, old), ==, -EINVAL);
    g_assert_cmpint (try_label (1, SELINUX, G_MAXUINT32, old), ==, -EINVAL);
    g_assert_cmpint (try_label (1, long_name, 5, old), ==, -EINVAL);
    /* Only a label; SETXATTR is for the rest. */
    g_assert_cmpint (try_label (1, "trusted.a", 5, old), ==, -EINVAL);
  }
}

/* A sanitizer sees reads beyond the message. */
static void
test_labels_are_never_cut (void)
{
  const struct fuse_mkdir_in args = { .mode = 0755 };
  Message whole = message (FUSE_MKDIR, &args, sizeof args, "dir", NULL);
  guint32 before = whole.len;
  gboolean label;

  append_label (&whole, 1, SELINUX, 5, TRUE);
  for (guint32 len = before; len < whole.len; len++) {
    Message cut = whole;

    cut.len = len;
    (void) validate (&cut, TRUE, &label);
    g_assert_false (label);
  }
}

/* What the device does. */

/* O_TMPFILE: for TMPFILE; CREATE has no use for it. */
static const struct fuse_create_in create_args = {
  .flags = O_RDWR | O_TMPFILE,
  .mode = S_IFREG | 0644,
};

/* Everything that makes a file. */
static guint
makers (Message ret[5])
{
  const struct fuse_mknod_in mknod_args = { .mode = S_IFREG | 0644 };
  const struct fuse_mkdir_in mkdir_args = { .mode = 0755 };

  ret[0] = message (FUSE_MKDIR, &mkdir_args, sizeof mkdir_args, "dir", NULL);
  ret[1] = message (FUSE_MKNOD, &mknod_args, sizeof mknod_args, "node", NULL);
  ret[2] =
      message (FUSE_CREATE, &create_args, sizeof create_args, "file", NULL);
  ret[3] = message (FUSE_SYMLINK, NULL, 0, "link", "target");
  return 4;
}

static const char *const made[] = { "dir", "node", "file", "link" };

static int
send (VtFs *f, const Message *m)
{
  struct fuse_out_header out;

  vt_fuse_raw (f->c, m->bytes, m->len, 4096);
  memcpy (&out, f->c->in, sizeof out);
  return out.error;
}

static gboolean
has_label (VtFs *f, const char *name, const char *attribute)
{
  g_autofree char *path = vt_fs_path (f, name);
  char value[16];

  return lgetxattr (path, attribute, value, sizeof value) == 5 &&
         memcmp (value, "label", 5) == 0;
}

/* Whether this host lets us set labels; if not the test is skipped. */
static gboolean
can_label (VtFs *f)
{
  if (geteuid () == 0 && access ("/sys/fs/selinux", F_OK) < 0)
    return TRUE;
  g_test_skip ("needs root, and a host without SELinux");
  return FALSE;
}

static void
test_new_files_have_their_label (VtFs *f, gconstpointer data)
{
  Message m[5];
  guint n = makers (m);

  if (!can_label (f))
    return;
  for (guint i = 0; i < n; i++) {
    append_label (&m[i], 1, SELINUX, 5, FALSE);
    g_assert_cmpint (send (f, &m[i]), ==, 0);
    g_assert_true (has_label (f, made[i], SELINUX));
  }
}

static void
test_guests_before_linux_6_3_have_another_form (VtFs *f, gconstpointer data)
{
  Message m[5];
  guint n = makers (m);

  if (!can_label (f))
    return;
  g_assert_cmpint (vt_fuse_init (f->c, FUSE_INIT_EXT | SECURITY), ==, 0);
  m[n++] = message (FUSE_TMPFILE_, &create_args, sizeof create_args, "/", NULL);
  for (guint i = 0; i < n; i++) {
    append_label (&m[i], 1, SELINUX, 5, TRUE);
    g_assert_cmpint (send (f, &m[i]), ==, 0);
    if (i < G_N_ELEMENTS (made))
      g_assert_true (has_label (f, made[i], SELINUX));
  }
}

/* The label is the guest's own affair then; what can have no attribute "user"
 * is made without. */
static void
test_labels_have_the_names_of_the_map (VtFs *f, gconstpointer data)
{
  Message m[5];
  guint n = makers (m);

  g_assert_cmphex (f->c->flags & SECURITY, !=, 0);
  for (guint i = 0; i < n; i++) {
    append_label (&m[i], 1, SELINUX, 5, FALSE);
    g_assert_cmpint (send (f, &m[i]), ==, 0);
    g_assert_false (has_label (f, made[i], SELINUX));
    if (i < 3)
      g_assert_true (has_label (f, made[i], "user.guest." SELINUX));
  }
}

static void
test_files_without_their_label_are_not_made (VtFs *f, gconstpointer data)
{
  Message m[5];
  guint n = makers (m);

  for (guint i = 0; i < n; i++) {
    g_autofree char *path = vt_fs_path (f, made[i]);
    struct stat st;

    /* Linux refuses such a content. */
    append_label (&m[i], 1, "security.capability", 5, FALSE);
    g_assert_cmpint (send (f, &m[i]), <, 0);
    g_assert_cmpint (lstat (path, &st), <, 0);
    g_assert_cmpint (errno, ==, ENOENT);
  }
}

static void
test_labels_are_offered_when_they_can_be_set (VtFs *f, gconstpointer data)
{
  gboolean may = geteuid () == 0 && access ("/sys/fs/selinux", F_OK) < 0;

  g_assert_true (((f->c->flags & SECURITY) != 0) == (data == &always && may));
}

int
main (int argc, char **argv)
{
  g_test_init (&argc, &argv, NULL);
#define ADD(name, config, func) VT_FS_TEST ("/fs/label/" name, config, func)
  g_test_add_func ("/fs/label/broken", test_broken_labels_are_refused);
  g_test_add_func ("/fs/label/cut", test_labels_are_never_cut);
  ADD ("new", &always, test_new_files_have_their_label);
  ADD ("old", &always, test_guests_before_linux_6_3_have_another_form);
  ADD ("map", &mapped, test_labels_have_the_names_of_the_map);
  ADD ("failure", &always, test_files_without_their_label_are_not_made);
  ADD ("never", &never, test_labels_are_offered_when_they_can_be_set);
  ADD ("none", NULL, test_labels_are_offered_when_they_can_be_set);
  return g_test_run ();
}
