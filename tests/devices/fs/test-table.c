/* SPDX-License-Identifier: BSD-3-Clause
 *
 * test-table.c - every opcode in its right, short, long and absurd forms, sent to
 * a device that serves a directory
 *
 * test-validate.c knows what a message must hold; here the whole way is gone.
 * The right form has the effect that the table says; a short one is EINVAL; one
 * with bytes behind it is as right as without; and the absurd ones, all bits set
 * in the arguments, no room, other people's ids, get an error, whatever it is,
 * with an answer of the right length.  After all of them the device serves.
 */
#include <errno.h>
#include <fcntl.h>
#include <linux/fs.h>
#include <string.h>
#include <sys/file.h>
#include <sys/stat.h>

#include "tests/devices/fs/fixture.h"

#define ARGS_MAX  128
#define NAMES_MAX 64
#define ANY       (-4096) /* whatever the answer's length is */

static const VtFsConfig full = {
  .keys = { "xattr", "yes", "locks", "all", "ioctl", "yes" },
};

/* What the messages are about. */
typedef struct {
  guint64 file, dir, link; /* nodeids */
  guint64 fh, dir_fh;
} World;

typedef enum { ROOT, FILE_, DIR_, LINK } About;

typedef struct {
  guint32 opcode;
  About about;
  guint args_len;
  const char *names; /* with inner NULs */
  guint names_len;
  gssize wanted;   /* payload of the answer, or -errno */
  guint room;      /* beyond the answer's header */
  gboolean has_fh; /* the arguments begin with one */
  void (*fill) (void *args, const World *world);
} Row;

#define NAMES(text) text, sizeof text

static void
fill_write (void *args, const World *world)
{
  struct fuse_write_in *in = args;

  in->size = 4; /* what stands for names are the data */
}

static void
fill_read (void *args, const World *world)
{
  struct fuse_read_in *in = args;

  in->size = 4096;
}

static void
fill_setattr (void *args, const World *world)
{
  struct fuse_setattr_in *in = args;

  in->valid = FATTR_MODE;
  in->mode = 0600;
}

static void
fill_create (void *args, const World *world)
{
  struct fuse_create_in *in = args;

  in->flags = O_RDWR;
  in->mode = S_IFREG | 0600;
}

static void
fill_tmpfile (void *args, const World *world)
{
  struct fuse_create_in *in = args;

  fill_create (args, world);
  in->flags |= O_TMPFILE;
}

static void
fill_mknod (void *args, const World *world)
{
  struct fuse_mknod_in *in = args;

  in->mode = S_IFREG | 0600;
}

static void
fill_link (void *args, const World *world)
{
  struct fuse_link_in *in = args;

  in->oldnodeid = world->file;
}

static void
fill_rename (void *args, const World *world)
{
  struct fuse_rename_in *in = args; /* as the head of RENAME2's */

  in->newdir = 1;
}

static void
fill_xattr (void *args, const World *world)
{
  struct fuse_setxattr_in *in = args;

  in->size = 3;
}

static void
fill_get (void *args, const World *world)
{
  struct fuse_getxattr_in *in = args;

  in->size = 1024;
}

static void
fill_lock (void *args, const World *world)
{
  struct fuse_lk_in *in = args;

  in->lk.type = F_RDLCK;
  in->lk.end = G_MAXINT64;
}

static void
fill_ioctl (void *args, const World *world)
{
  struct fuse_ioctl_in *in = args;

  in->cmd = FS_IOC_GETFLAGS;
  in->out_size = 8;
}

static void
fill_allocate (void *args, const World *world)
{
  struct fuse_fallocate_in *in = args;

  in->length = 4096;
}

static void
fill_seek (void *args, const World *world)
{
  struct fuse_lseek_in *in = args;

  in->whence = SEEK_DATA;
}

static void
fill_copy (void *args, const World *world)
{
  struct fuse_copy_file_range_in *in = args;

  in->nodeid_out = world->file;
  in->fh_out = world->fh;
  in->off_out = 1 << 20;
  in->len = 4;
}

#define ENTRY sizeof (struct fuse_entry_out)
#define OPEN  sizeof (struct fuse_open_out)
#define ATTR  sizeof (struct fuse_attr_out)

/* In an order in which each finds what it needs. */
static const Row rows[] = {
  { FUSE_LOOKUP, ROOT, 0, NAMES ("f"), ENTRY, ENTRY, FALSE, NULL },
  { FUSE_GETATTR, FILE_, 16, NULL, 0, ATTR, ATTR, FALSE, NULL },
  { FUSE_SETATTR, FILE_, 88, NULL, 0, ATTR, ATTR, FALSE, fill_setattr },
  { FUSE_READLINK, LINK, 0, NULL, 0, 6, 4096, FALSE, NULL },
  { FUSE_SYMLINK, ROOT, 0, NAMES ("s\0target"), ENTRY, ENTRY, FALSE, NULL },
  { FUSE_MKNOD, ROOT, 16, NAMES ("n"), ENTRY, ENTRY, FALSE, fill_mknod },
  { FUSE_MKDIR, ROOT, 8, NAMES ("m"), ENTRY, ENTRY, FALSE, NULL },
  { FUSE_LINK, ROOT, 8, NAMES ("l"), ENTRY, ENTRY, FALSE, fill_link },
  { FUSE_RENAME, ROOT, 8, NAMES ("l\0l2"), 0, 0, FALSE, fill_rename },
  { FUSE_RENAME2, ROOT, 16, NAMES ("l2\0l3"), 0, 0, FALSE, fill_rename },
  { FUSE_UNLINK, ROOT, 0, NAMES ("l3"), 0, 0, FALSE, NULL },
  { FUSE_RMDIR, ROOT, 0, NAMES ("m"), 0, 0, FALSE, NULL },
  { FUSE_OPEN, FILE_, 8, NULL, 0, OPEN, OPEN, FALSE, NULL },
  { FUSE_CREATE, ROOT, 16, NAMES ("c"), ENTRY + OPEN, ENTRY + OPEN, FALSE,
    fill_create },
  { FUSE_TMPFILE, ROOT, 16, NAMES ("/"), ENTRY + OPEN, ENTRY + OPEN, FALSE,
    fill_tmpfile },
  { FUSE_WRITE, FILE_, 40, "data", 4, 8, 8, TRUE, fill_write },
  { FUSE_READ, FILE_, 40, NULL, 0, 7, 4096, TRUE, fill_read },
  { FUSE_STATFS, ROOT, 0, NULL, 0, 80, 80, FALSE, NULL },
  { FUSE_FSYNC, FILE_, 16, NULL, 0, 0, 0, TRUE, NULL },
  { FUSE_FSYNCDIR, DIR_, 16, NULL, 0, 0, 0, TRUE, NULL },
  { FUSE_SYNCFS, ROOT, 8, NULL, 0, 0, 0, FALSE, NULL },
  { FUSE_SETXATTR, FILE_, 16, NAMES ("user.a\0va"), 0, 0, FALSE, fill_xattr },
  { FUSE_GETXATTR, FILE_, 8, NAMES ("user.a"), 3, 1024, FALSE, fill_get },
  { FUSE_LISTXATTR, FILE_, 8, NULL, 0, ANY, 1024, FALSE, fill_get },
  { FUSE_REMOVEXATTR, FILE_, 0, NAMES ("user.a"), 0, 0, FALSE, NULL },
  { FUSE_FLUSH, FILE_, 24, NULL, 0, 0, 0, TRUE, NULL },
  { FUSE_READDIR, DIR_, 40, NULL, 0, ANY, 4096, TRUE, fill_read },
  { FUSE_READDIRPLUS, DIR_, 40, NULL, 0, ANY, 4096, TRUE, fill_read },
  { FUSE_OPENDIR, DIR_, 8, NULL, 0, OPEN, OPEN, FALSE, NULL },
  { FUSE_GETLK, FILE_, 48, NULL, 0, 24, 24, TRUE, fill_lock },
  { FUSE_SETLK, FILE_, 48, NULL, 0, 0, 0, TRUE, fill_lock },
  { FUSE_SETLKW, FILE_, 48, NULL, 0, 0, 0, TRUE, fill_lock },
  { FUSE_IOCTL, FILE_, 32, NULL, 0, 24, 24, TRUE, fill_ioctl },
  { FUSE_ACCESS, FILE_, 8, NULL, 0, 0, 0, FALSE, NULL },
  { FUSE_FALLOCATE, FILE_, 32, NULL, 0, 0, 0, TRUE, fill_allocate },
  { FUSE_LSEEK, FILE_, 24, NULL, 0, 8, 8, TRUE, fill_seek },
  { FUSE_COPY_FILE_RANGE, FILE_, 56, NULL, 0, 8, 8, TRUE, fill_copy },
  { VT_FUSE_COPY_FILE_RANGE_64, FILE_, 56, NULL, 0, 8, 8, TRUE, fill_copy },
  { VT_FUSE_STATX, FILE_, 24, NULL, 0, 288, 288, FALSE, NULL },
  { FUSE_BMAP, FILE_, 16, NULL, 0, -ENOSYS, 8, FALSE, NULL },
  { FUSE_POLL, FILE_, 24, NULL, 0, -ENOSYS, 8, FALSE, NULL },
  { FUSE_NOTIFY_REPLY, ROOT, 40, NULL, 0, -ENOSYS, 0, FALSE, NULL },
  { FUSE_SETUPMAPPING, FILE_, 48, NULL, 0, -ENOSYS, 0, FALSE, NULL },
  { FUSE_REMOVEMAPPING, FILE_, 24, NULL, 0, -ENOSYS, 0, FALSE, NULL },
  { FUSE_RELEASEDIR, DIR_, 24, NULL, 0, 0, 0, TRUE, NULL },
  { FUSE_RELEASE, FILE_, 24, NULL, 0, 0, 0, TRUE, NULL },
};

static World
make_world (VtFs *f)
{
  World world;

  vt_fs_put (f, "f", "content");
  world.fh = vt_fs_open (f, "f", O_RDWR, &world.file);
  g_assert_cmpint (vt_fuse_mkdir (f->c, 1, "d", 0755, &world.dir), ==, 0);
  g_assert_cmpint (vt_fuse_opendir (f->c, world.dir, &world.dir_fh), ==, 0);
  g_assert_cmpint (vt_fuse_symlink (f->c, 1, "k", "target", &world.link), ==,
                   0);
  return world;
}

static guint64
nodeid_of (const World *world, About about)
{
  switch (about) {
  case FILE_: return world->file;
  case DIR_: return world->dir;
  case LINK: return world->link;
  case ROOT: break;
  }
  return 1;
}

static void
fill (const Row *row, const World *world, guint8 args[ARGS_MAX])
{
  guint64 fh = row->about == DIR_ ? world->dir_fh : world->fh;

  memset (args, 0, ARGS_MAX);
  if (row->has_fh)
    memcpy (args, &fh, sizeof fh);
  if (row->fill != NULL)
    row->fill (args, world);
}

/* Names the culprit before it fails. */
static void
expect (const Row *row, const char *form, gssize got, gssize wanted)
{
  if (got != wanted)
    g_test_message ("opcode %u, %s: %d, not %d", row->opcode, form, (int) got,
                    (int) wanted);
  g_assert_cmpint (got, ==, wanted);
}

static gssize
send (VtFs *f, const Row *row, guint64 nodeid, const void *args, gsize args_len,
      gsize names_len, gsize room)
{
  guint8 reply[8192];

  return vt_fuse_call (f->c, row->opcode, nodeid, args, args_len, row->names,
                       names_len, reply, room);
}

static void
test_right_forms_are_served (VtFs *f, gconstpointer data)
{
  World world = make_world (f);
  guint8 args[ARGS_MAX];

  for (guint i = 0; i < G_N_ELEMENTS (rows); i++) {
    const Row *row = &rows[i];
    gssize n;

    fill (row, &world, args);
    n = send (f, row, nodeid_of (&world, row->about), args, row->args_len,
              row->names_len, row->room);
    if (row->wanted == ANY)
      g_assert_cmpint (n, >=, 0);
    else if (row->opcode == FUSE_SETXATTR && n == -EOPNOTSUPP)
      g_test_message ("the temporary directory has no attributes");
    else if (row->opcode == FUSE_IOCTL && n == -ENOTTY)
      g_test_message ("the temporary directory has no flags");
    else if (n != -ENODATA) /* of the attribute that could not be set */
      expect (row, "right", n, row->wanted);
  }
}

/* Without its last byte, and so on, a message is not whole. */
static void
test_short_forms_are_refused (VtFs *f, gconstpointer data)
{
  World world = make_world (f);
  guint8 args[ARGS_MAX];

  for (guint i = 0; i < G_N_ELEMENTS (rows); i++) {
    const Row *row = &rows[i];
    guint64 nodeid = nodeid_of (&world, row->about);
    gssize wanted = row->wanted == -ENOSYS ? -ENOSYS : -EINVAL;

    fill (row, &world, args);
    for (guint len = 0; len < row->args_len; len++)
      expect (row, "short arguments",
              send (f, row, nodeid, args, len, 0, row->room), wanted);
    if (row->opcode == FUSE_TMPFILE) /* its name means nothing */
      continue;
    for (guint len = 0; len < row->names_len; len++)
      expect (row, "short names",
              send (f, row, nodeid, args, row->args_len, len, row->room),
              wanted);
  }
}

/* An answer that does not fit is never cut, except for data of any length. */
static void
test_answers_need_their_room (VtFs *f, gconstpointer data)
{
  World world = make_world (f);
  guint8 args[ARGS_MAX];

  for (guint i = 0; i < G_N_ELEMENTS (rows); i++) {
    const Row *row = &rows[i];
    guint64 nodeid = nodeid_of (&world, row->about);

    if (row->wanted <= 0 || row->room != (guint) row->wanted)
      continue;
    fill (row, &world, args);
    for (guint room = 0; room < row->room; room++)
      expect (row, "no room",
              send (f, row, nodeid, args, row->args_len, row->names_len, room),
              -EINVAL);
  }
}

static void
test_long_forms_are_served_as_well (VtFs *f, gconstpointer data)
{
  World world = make_world (f);
  guint8 args[ARGS_MAX], behind[NAMES_MAX + 600];

  for (guint i = 0; i < G_N_ELEMENTS (rows); i++) {
    const Row *row = &rows[i];
    gssize n;

    fill (row, &world, args);
    memset (behind, 0x5a, sizeof behind);
    if (row->names_len > 0)
      memcpy (behind, row->names, row->names_len);
    n = vt_fuse_call (f->c, row->opcode, nodeid_of (&world, row->about), args,
                      row->args_len, behind, row->names_len + 500, behind,
                      row->room);
    if (row->wanted >= 0 && row->opcode != FUSE_SETXATTR &&
        row->opcode != FUSE_IOCTL && n != -ENODATA)
      expect (row, "long", n, n >= 0 && row->wanted == ANY ? n : row->wanted);
  }
}

/* What an opcode may answer that was given nonsense: an error, or so little that
 * it means nothing. */
static void
test_absurd_forms_harm_nothing (VtFs *f, gconstpointer data)
{
  static const guint64 nodeids[] = { 0, 1, 2, 1ull << 32, G_MAXUINT64 };
  World world = make_world (f);
  guint8 args[ARGS_MAX];

  for (guint i = 0; i < G_N_ELEMENTS (rows); i++) {
    const Row *row = &rows[i];

    for (guint bits = 0; bits < 4; bits++) {
      static const guint8 patterns[] = { 0xff, 0x80, 0x7f, 0x01 };

      memset (args, patterns[bits], sizeof args);
      for (guint k = 0; k < G_N_ELEMENTS (nodeids); k++)
        send (f, row, nodeids[k], args, row->args_len, row->names_len, 8192);
      /* The right file, and an fh of nobody. */
      if (row->has_fh && row->wanted != -ENOSYS)
        g_assert_cmpint (send (f, row, nodeid_of (&world, row->about), args,
                               row->args_len, row->names_len, 8192),
                         <, 0);
    }
    /* The right arguments, and a nodeid that never was one. */
    fill (row, &world, args);
    if (row->wanted >= 0 && row->opcode != FUSE_LINK)
      g_assert_cmpint (send (f, row, 4711ull << 32 | 5, args, row->args_len,
                             row->names_len, 8192),
                       <, 0);
  }
  g_assert_cmpint (vt_fuse_getattr (f->c, 1, NULL), ==, 0);
}

int
main (int argc, char **argv)
{
  g_test_init (&argc, &argv, NULL);
#define ADD(name, func) VT_FS_TEST ("/fs/table/" name, &full, func)
  ADD ("right", test_right_forms_are_served);
  ADD ("short", test_short_forms_are_refused);
  ADD ("room", test_answers_need_their_room);
  ADD ("long", test_long_forms_are_served_as_well);
  ADD ("absurd", test_absurd_forms_harm_nothing);
  return g_test_run ();
}
