/* SPDX-License-Identifier: BSD-3-Clause
 *
 * test-validate.c - every opcode with messages that are right, short, long and
 * absurd; the sizes are those of the kernel's own header
 */
#include "devices/fs/validate.h"

#include <errno.h>
#include <linux/fuse.h>
#include <string.h>

#define LEN_MAX 8192
#define STATX   52 /* newer than the oldest header */
#define COPY_64 53

#define ENTRY sizeof (struct fuse_entry_out)
#define OPEN  sizeof (struct fuse_open_out)
#define ATTR  sizeof (struct fuse_attr_out)

/* What a message of an opcode holds. */
typedef struct {
  guint32 opcode;
  guint args_len;
  guint reply_len; /* beyond the header */
  const char *names[2];
  guint data_len; /* that the arguments announce */
} Form;

static const Form forms[] = {
  { FUSE_LOOKUP, 0, ENTRY, { "a" }, 0 },
  { FUSE_FORGET, sizeof (struct fuse_forget_in), 0, { 0 }, 0 },
  { FUSE_GETATTR, sizeof (struct fuse_getattr_in), ATTR, { 0 }, 0 },
  { FUSE_SETATTR, sizeof (struct fuse_setattr_in), ATTR, { 0 }, 0 },
  { FUSE_READLINK, 0, 1, { 0 }, 0 },
  { FUSE_SYMLINK, 0, ENTRY, { "a", "b" }, 0 },
  { FUSE_MKNOD, sizeof (struct fuse_mknod_in), ENTRY, { "a" }, 0 },
  { FUSE_MKDIR, sizeof (struct fuse_mkdir_in), ENTRY, { "a" }, 0 },
  { FUSE_UNLINK, 0, 0, { "a" }, 0 },
  { FUSE_RMDIR, 0, 0, { "a" }, 0 },
  { FUSE_RENAME, sizeof (struct fuse_rename_in), 0, { "a", "b" }, 0 },
  { FUSE_LINK, sizeof (struct fuse_link_in), ENTRY, { "a" }, 0 },
  { FUSE_OPEN, sizeof (struct fuse_open_in), OPEN, { 0 }, 0 },
  { FUSE_READ, sizeof (struct fuse_read_in), 0, { 0 }, 0 },
  { FUSE_WRITE,
    sizeof (struct fuse_write_in),
    sizeof (struct fuse_write_out),
    { 0 },
    64 },
  { FUSE_STATFS, 0, sizeof (struct fuse_statfs_out), { 0 }, 0 },
  { FUSE_RELEASE, sizeof (struct fuse_release_in), 0, { 0 }, 0 },
  { FUSE_FSYNC, sizeof (struct fuse_fsync_in), 0, { 0 }, 0 },
  { FUSE_SETXATTR, FUSE_COMPAT_SETXATTR_IN_SIZE, 0, { "user.a" }, 64 },
  { FUSE_GETXATTR, sizeof (struct fuse_getxattr_in), 0, { "user.a" }, 0 },
  { FUSE_LISTXATTR, sizeof (struct fuse_getxattr_in), 0, { 0 }, 0 },
  { FUSE_REMOVEXATTR, 0, 0, { "user.a" }, 0 },
  { FUSE_FLUSH, sizeof (struct fuse_flush_in), 0, { 0 }, 0 },
  { FUSE_INIT, 16, FUSE_COMPAT_22_INIT_OUT_SIZE, { 0 }, 0 },
  { FUSE_OPENDIR, sizeof (struct fuse_open_in), OPEN, { 0 }, 0 },
  { FUSE_READDIR, sizeof (struct fuse_read_in), 0, { 0 }, 0 },
  { FUSE_RELEASEDIR, sizeof (struct fuse_release_in), 0, { 0 }, 0 },
  { FUSE_FSYNCDIR, sizeof (struct fuse_fsync_in), 0, { 0 }, 0 },
  { FUSE_GETLK,
    sizeof (struct fuse_lk_in),
    sizeof (struct fuse_lk_out),
    { 0 },
    0 },
  { FUSE_SETLK, sizeof (struct fuse_lk_in), 0, { 0 }, 0 },
  { FUSE_SETLKW, sizeof (struct fuse_lk_in), 0, { 0 }, 0 },
  { FUSE_IOCTL,
    sizeof (struct fuse_ioctl_in),
    sizeof (struct fuse_ioctl_out),
    { 0 },
    64 },
  { FUSE_ACCESS, sizeof (struct fuse_access_in), 0, { 0 }, 0 },
  { FUSE_CREATE, sizeof (struct fuse_create_in), ENTRY + OPEN, { "a" }, 0 },
  { FUSE_INTERRUPT, sizeof (struct fuse_interrupt_in), 0, { 0 }, 0 },
  { FUSE_DESTROY, 0, 0, { 0 }, 0 },
  { FUSE_BATCH_FORGET, sizeof (struct fuse_batch_forget_in), 0, { 0 }, 64 },
  { FUSE_FALLOCATE, sizeof (struct fuse_fallocate_in), 0, { 0 }, 0 },
  { FUSE_READDIRPLUS, sizeof (struct fuse_read_in), 0, { 0 }, 0 },
  { FUSE_RENAME2, sizeof (struct fuse_rename2_in), 0, { "a", "b" }, 0 },
  { FUSE_LSEEK,
    sizeof (struct fuse_lseek_in),
    sizeof (struct fuse_lseek_out),
    { 0 },
    0 },
  { FUSE_COPY_FILE_RANGE,
    sizeof (struct fuse_copy_file_range_in),
    sizeof (struct fuse_write_out),
    { 0 },
    0 },
  { FUSE_SETUPMAPPING, sizeof (struct fuse_setupmapping_in), 0, { 0 }, 0 },
  { FUSE_REMOVEMAPPING, sizeof (struct fuse_removemapping_in), 0, { 0 }, 64 },
  { FUSE_SYNCFS, sizeof (struct fuse_syncfs_in), 0, { 0 }, 0 },
  { FUSE_TMPFILE, sizeof (struct fuse_create_in), ENTRY + OPEN, { 0 }, 0 },
  { STATX, 24, 288, { 0 }, 0 },
  { COPY_64, sizeof (struct fuse_copy_file_range_in), 8, { 0 }, 0 },
};

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
  memcpy (m->bytes + m->len, bytes, len);
  m->len += (guint32) len;
  m->in.len = m->len;
}

static void
append_zeros (Message *m, gsize len)
{
  static const guint8 zeros[LEN_MAX];

  append (m, zeros, len);
}

static void
begin (Message *m, guint32 opcode)
{
  memset (m, 0, sizeof *m);
  m->in.opcode = opcode;
  m->len = sizeof m->in;
  m->in.len = m->len;
}

/* The first field of the arguments of those that announce data. */
static void
set_count (Message *m, const Form *form, guint32 count)
{
  guint at = sizeof (struct fuse_in_header);

  if (form->opcode == FUSE_WRITE)
    at += offsetof (struct fuse_write_in, size);
  if (form->opcode == FUSE_IOCTL)
    at += offsetof (struct fuse_ioctl_in, in_size);
  memcpy (m->bytes + at, &count, sizeof count);
}

static guint32
count_of (const Form *form)
{
  return form->opcode == FUSE_BATCH_FORGET || form->opcode == FUSE_REMOVEMAPPING
             ? form->data_len / 16
             : form->data_len;
}

static void
build (Message *m, const Form *form)
{
  begin (m, form->opcode);
  append_zeros (m, form->args_len);
  for (guint i = 0; i < 2; i++)
    if (form->names[i] != NULL)
      append (m, form->names[i], strlen (form->names[i]) + 1);
  append_zeros (m, form->data_len);
  if (form->data_len > 0)
    set_count (m, form, count_of (form));
}

/* In memory of exactly its size, so that ASan sees a read beyond it. */
static int
validate (const Message *m, guint64 room, guint64 negotiated, VdFsMessage *ret)
{
  g_autofree guint8 *exact = g_memdup2 (m->bytes, m->len);

  return vd_fs_validate (exact, m->len, room, negotiated, ret);
}

static int
check (const Message *m, guint64 room)
{
  VdFsMessage parsed;

  return validate (m, room, FUSE_MAP_ALIGNMENT, &parsed);
}

/* Names the culprit before it fails. */
static void
expect (const Message *m, guint64 room, int wanted)
{
  int r = check (m, room);

  if (r != wanted)
    g_test_message ("opcode %u, %u bytes, room for %u: %d, not %d",
                    m->in.opcode, m->len, (guint) room, r, wanted);
  g_assert_cmpint (r, ==, wanted);
}

static const Form *
form_of (guint32 opcode)
{
  for (guint i = 0; i < G_N_ELEMENTS (forms); i++)
    if (forms[i].opcode == opcode)
      return &forms[i];
  return NULL;
}

static void
test_right_messages_pass (void)
{
  Message m;

  for (guint i = 0; i < G_N_ELEMENTS (forms); i++) {
    build (&m, &forms[i]);
    expect (&m, forms[i].reply_len, 0);
    expect (&m, 1 << 20, 0);
  }
}

static void
test_every_truncation_is_refused (void)
{
  Message m;

  for (guint i = 0; i < G_N_ELEMENTS (forms); i++) {
    build (&m, &forms[i]);
    for (guint32 len = m.len - 1; len >= sizeof m.in; len--) {
      m.len = m.in.len = len;
      expect (&m, 1 << 20, -EINVAL);
    }
  }
}

static void
test_longer_messages_pass (void)
{
  Message m;

  for (guint i = 0; i < G_N_ELEMENTS (forms); i++) {
    build (&m, &forms[i]);
    append_zeros (&m, 300);
    expect (&m, 1 << 20, 0);
  }
}

static void
test_too_little_room_for_the_answer_is_refused (void)
{
  Message m;

  for (guint i = 0; i < G_N_ELEMENTS (forms); i++) {
    if (forms[i].reply_len == 0)
      continue;
    build (&m, &forms[i]);
    expect (&m, forms[i].reply_len - 1, -EINVAL);
    expect (&m, 0, -EINVAL);
  }
}

static void
test_counts_beyond_the_message_are_refused (void)
{
  static const guint32 absurd[] = { 0x80000000, 0xffffffff, 0x10000000,
                                    0x0fffffff };
  Message m;

  for (guint i = 0; i < G_N_ELEMENTS (forms); i++) {
    if (forms[i].data_len == 0)
      continue;
    build (&m, &forms[i]);
    set_count (&m, &forms[i], count_of (&forms[i]) + 1);
    expect (&m, 1 << 20, -EINVAL);
    for (guint k = 0; k < G_N_ELEMENTS (absurd); k++) {
      set_count (&m, &forms[i], absurd[k]);
      expect (&m, 1 << 20, -EINVAL);
    }
    set_count (&m, &forms[i], 0);
    expect (&m, 1 << 20, 0);
  }
}

static void
test_other_opcodes_are_not_served (void)
{
  static const guint32 far[] = { 54,        64,         255,       4096,
                                 436207616, 0x80000000, 0xffffffff };
  Message m;

  for (guint32 opcode = 0; opcode < 54; opcode++) {
    if (form_of (opcode) != NULL)
      continue;
    begin (&m, opcode);
    append_zeros (&m, 200);
    expect (&m, 1 << 20, -ENOSYS);
  }
  for (guint i = 0; i < G_N_ELEMENTS (far); i++) {
    begin (&m, far[i]);
    append_zeros (&m, 200);
    expect (&m, 1 << 20, -ENOSYS);
  }
}

static void
test_mappings_need_a_window (void)
{
  const guint32 opcodes[] = { FUSE_SETUPMAPPING, FUSE_REMOVEMAPPING };
  VdFsMessage parsed;
  Message m;

  for (guint i = 0; i < G_N_ELEMENTS (opcodes); i++) {
    build (&m, form_of (opcodes[i]));
    g_assert_cmpint (validate (&m, 0, ~(guint64) FUSE_MAP_ALIGNMENT, &parsed),
                     ==, -ENOSYS);
  }
}

static void
expect_names (guint32 opcode, const char *first, const char *second, int wanted)
{
  Form form = *form_of (opcode);
  Message m;

  form.names[0] = first;
  form.names[1] = second;
  build (&m, &form);
  expect (&m, 1 << 20, wanted);
}

static void
test_names_are_single_components (void)
{
  static const char *const bad[] = { "",   "/", "a/b", "../x", "/etc",
                                     "a/", ".", "..",  "./a",  "//" };

  for (guint i = 0; i < G_N_ELEMENTS (forms); i++) {
    if (forms[i].names[0] == NULL || forms[i].opcode == FUSE_SETXATTR ||
        forms[i].opcode == FUSE_GETXATTR || forms[i].opcode == FUSE_REMOVEXATTR)
      continue;
    for (guint k = 0; k < G_N_ELEMENTS (bad); k++) {
      gboolean dots = strcmp (bad[k], ".") == 0 || strcmp (bad[k], "..") == 0;
      gboolean fine = dots && forms[i].opcode == FUSE_LOOKUP;

      expect_names (forms[i].opcode, bad[k], forms[i].names[1],
                    fine ? 0 : -EINVAL);
    }
  }
  expect_names (FUSE_RENAME, "a", "../b", -EINVAL);
  expect_names (FUSE_RENAME2, "a", "..", -EINVAL);
}

static void
test_link_targets_are_free_but_bounded (void)
{
  g_autofree char *path = g_strnfill (4095, 'x');
  g_autofree char *longer = g_strnfill (4096, 'x');

  expect_names (FUSE_SYMLINK, "a", "/etc/passwd", 0);
  expect_names (FUSE_SYMLINK, "a", "..", 0);
  expect_names (FUSE_SYMLINK, "a", path, 0);
  expect_names (FUSE_SYMLINK, "a", longer, -EINVAL);
  expect_names (FUSE_SYMLINK, "a", "", -EINVAL);
}

static void
test_attribute_names_may_have_slashes (void)
{
  g_autofree char *most = g_strnfill (255, 'x');
  g_autofree char *more = g_strnfill (256, 'x');

  expect_names (FUSE_GETXATTR, "user.a/b", NULL, 0);
  expect_names (FUSE_GETXATTR, most, NULL, 0);
  expect_names (FUSE_GETXATTR, more, NULL, -EINVAL);
  expect_names (FUSE_SETXATTR, "", NULL, -EINVAL);
}

static void
test_setxattr_has_two_forms (void)
{
  static const struct fuse_setxattr_in args = { .size = 3,
                                                .flags = 1,
                                                .setxattr_flags = 1 };
  VdFsMessage parsed;
  g_autofree guint8 *exact = NULL;
  Message m;

  begin (&m, FUSE_SETXATTR);
  append (&m, &args, sizeof args);
  append (&m, "user.x", 7);
  append (&m, "abc", 3);
  exact = g_memdup2 (m.bytes, m.len);
  g_assert_cmpint (vd_fs_validate (exact, m.len, 0, FUSE_SETXATTR_EXT, &parsed),
                   ==, 0);
  g_assert_cmpstr (parsed.names[0], ==, "user.x");
  g_assert_cmpmem (parsed.rest, parsed.rest_len, "abc", 3);
}

/* Extensions. */

#define NEGOTIATED VD_FUSE_CREATE_SUPP_GROUP

static void
append_groups (Message *m, guint32 size, guint32 type, guint32 n, guint32 group)
{
  const guint32 words[4] = { size, type, n, group };

  append (m, words, sizeof words);
  m->in.total_extlen += sizeof words / 8;
}

static void
begin_mkdir (Message *m)
{
  build (m, form_of (FUSE_MKDIR));
  append_zeros (m, 7); /* as if the kernel aligned them */
}

static void
test_a_group_is_taken_from_the_extensions (void)
{
  VdFsMessage parsed;
  Message m;

  begin_mkdir (&m);
  append_groups (&m, 16, 32, 1, 4711);
  g_assert_cmpint (validate (&m, ENTRY, NEGOTIATED, &parsed), ==, 0);
  g_assert_true (parsed.has_group);
  g_assert_cmpuint (parsed.group, ==, 4711);
  g_assert_cmpuint (parsed.len, ==, m.len - 16);

  /* Not agreed on: the field is an older guest's padding. */
  g_assert_cmpint (validate (&m, ENTRY, 0, &parsed), ==, 0);
  g_assert_false (parsed.has_group);
}

static void
test_unknown_extensions_are_skipped (void)
{
  VdFsMessage parsed;
  Message m;

  begin_mkdir (&m);
  append_groups (&m, 16, 99, 1, 1);
  append_groups (&m, 16, 32, 1, 42);
  g_assert_cmpint (validate (&m, ENTRY, NEGOTIATED, &parsed), ==, 0);
  g_assert_cmpuint (parsed.group, ==, 42);
}

static void
test_broken_extensions_are_refused (void)
{
  static const struct {
    guint32 size, n;
    guint16 extra_len; /* announced beyond what is there */
  } broken[] = {
    { 0, 1, 0 },  { 7, 1, 0 },           { 12, 1, 0 },
    { 24, 1, 0 }, { 0xfffffff8, 1, 0 },  { 16, 2, 0 },
    { 8, 1, 0 },  { 16, 0xffffffff, 0 }, { 16, 1, 0x4000 },
  };
  VdFsMessage parsed;
  Message m;

  for (guint i = 0; i < G_N_ELEMENTS (broken); i++) {
    begin_mkdir (&m);
    append_groups (&m, broken[i].size, 32, broken[i].n, 1);
    m.in.total_extlen += broken[i].extra_len;
    g_assert_cmpint (validate (&m, ENTRY, NEGOTIATED, &parsed), ==, -EINVAL);
  }
}

static void
test_extensions_leave_the_names_whole (void)
{
  VdFsMessage parsed;
  Message m;

  /* They begin inside of the name, which then has no end. */
  begin (&m, FUSE_MKDIR);
  append_zeros (&m, sizeof (struct fuse_mkdir_in));
  append (&m, "abcdefg", 7);
  append_groups (&m, 16, 32, 1, 1);
  g_assert_cmpint (validate (&m, ENTRY, NEGOTIATED, &parsed), ==, -EINVAL);

  build (&m, form_of (FUSE_GETATTR));
  append_groups (&m, 16, 32, 1, 1);
  g_assert_cmpint (validate (&m, ATTR, NEGOTIATED, &parsed), ==, -EINVAL);
}

int
main (int argc, char **argv)
{
  g_test_init (&argc, &argv, NULL);
#define ADD(name, func) g_test_add_func ("/fs/validate/" name, func)
  ADD ("right", test_right_messages_pass);
  ADD ("short", test_every_truncation_is_refused);
  ADD ("long", test_longer_messages_pass);
  ADD ("room", test_too_little_room_for_the_answer_is_refused);
  ADD ("counts", test_counts_beyond_the_message_are_refused);
  ADD ("unknown", test_other_opcodes_are_not_served);
  ADD ("window", test_mappings_need_a_window);
  ADD ("names", test_names_are_single_components);
  ADD ("targets", test_link_targets_are_free_but_bounded);
  ADD ("attributes", test_attribute_names_may_have_slashes);
  ADD ("setxattr", test_setxattr_has_two_forms);
  ADD ("extensions/group", test_a_group_is_taken_from_the_extensions);
  ADD ("extensions/unknown", test_unknown_extensions_are_skipped);
  ADD ("extensions/broken", test_broken_extensions_are_refused);
  ADD ("extensions/names", test_extensions_leave_the_names_whole);
  return g_test_run ();
}
