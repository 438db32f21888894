/* SPDX-License-Identifier: BSD-3-Clause */
#include "tests/devices/fs/fuse-client.h"

#include <errno.h>
#include <string.h>

#define BUFFER_LEN (VT_FUSE_DATA_MAX + 65536)
#define PIECES_MAX 512

/* Everything that a recent kernel offers, and a few bits that mean nothing. */
#define OFFERED_LOW  0xfffffff9u
#define OFFERED_HIGH 0x000007ffu

void
vt_fuse_init_client (VtFuse *fuse, VtRing *ring)
{
  *fuse = (VtFuse){
    .ring = ring,
    .out = vt_guest_alloc (ring->guest, BUFFER_LEN, 4096),
    .in = vt_guest_alloc (ring->guest, BUFFER_LEN, 4096),
    .unique = 2,
  };
}

/* Cuts @len bytes at @ptr into buffers: the header first, as the kernel has it,
 * or pieces of the wanted size. */
static guint
cut (const VtFuse *fuse, guint8 *ptr, gsize len, gsize header,
     gboolean writable, VtBuf *bufs)
{
  guint n = 0;

  while (len > 0) {
    gsize piece = fuse->piece > 0 ? fuse->piece : n == 0 ? header : len;

    piece = MIN (piece, len);
    g_assert_cmpuint (n, <, PIECES_MAX);
    bufs[n++] = (VtBuf){ ptr, (guint32) piece, writable };
    ptr += piece;
    len -= piece;
  }
  return n;
}

guint32
vt_fuse_raw (VtFuse *fuse, const void *bytes, gsize len, gsize room)
{
  VtBuf bufs[2 * PIECES_MAX];
  guint32 used;
  guint n;

  g_assert_cmpuint (len, <=, BUFFER_LEN);
  g_assert_cmpuint (room, <=, BUFFER_LEN);
  memcpy (fuse->out, bytes, len);
  memset (fuse->in, 0xa5, MIN (room, 4096));
  n = cut (fuse, fuse->out, len, sizeof (struct fuse_in_header), FALSE, bufs);
  n += cut (fuse, fuse->in, room, sizeof (struct fuse_out_header), TRUE,
            bufs + n);
  g_assert_true (vt_ring_add (fuse->ring, bufs, n, fuse));
  vt_ring_kick (fuse->ring);
  g_assert_true (vt_ring_take (fuse->ring, &used) == fuse);
  fuse->used = used;
  return used;
}

gssize
vt_fuse_call (VtFuse *fuse, guint32 opcode, guint64 nodeid, const void *args,
              gsize args_len, const void *data, gsize data_len, void *reply,
              gsize reply_max)
{
  g_autofree guint8 *message = g_malloc (BUFFER_LEN);
  struct fuse_in_header in = {
    .len = (guint32) (sizeof in + args_len + data_len),
    .opcode = opcode,
    .unique = fuse->unique += 2,
    .nodeid = nodeid,
    .uid = fuse->uid,
    .gid = fuse->gid,
  };
  struct fuse_out_header out;

  memcpy (message, &in, sizeof in);
  if (args_len > 0)
    memcpy (message + sizeof in, args, args_len);
  if (data_len > 0)
    memcpy (message + sizeof in + args_len, data, data_len);
  vt_fuse_raw (fuse, message, in.len, sizeof out + reply_max);

  memcpy (&out, fuse->in, sizeof out);
  g_assert_cmpuint (out.len, ==, fuse->used);
  g_assert_cmpuint (out.unique, ==, in.unique);
  g_assert_cmpint (out.error, <=, 0);
  g_assert_cmpint (out.error, >, -512);
  if (out.error < 0) {
    g_assert_cmpuint (out.len, ==, sizeof out);
    return out.error;
  }
  if (reply != NULL && out.len > sizeof out)
    memcpy (reply, fuse->in + sizeof out, out.len - sizeof out);
  return (gssize) out.len - (gssize) sizeof out;
}

VtFuseCall
vt_fuse_start (VtFuse *fuse, guint32 opcode, guint64 nodeid, const void *args,
               gsize args_len)
{
  VtGuest *guest = fuse->ring->guest;
  VtFuseCall call = {
    .in = vt_guest_alloc (guest, sizeof *call.in + VT_FUSE_CALL_MAX, 8),
    .out = vt_guest_alloc (guest, sizeof *call.out, 8),
  };
  VtBuf bufs[] = { { call.in, sizeof *call.in + args_len, FALSE },
                   { call.out, sizeof *call.out, TRUE } };

  g_assert_cmpuint (args_len, <=, VT_FUSE_CALL_MAX);
  *call.in = (struct fuse_in_header){
    .len = (guint32) bufs[0].len,
    .opcode = opcode,
    .unique = fuse->unique += 2,
    .nodeid = nodeid,
  };
  memcpy (call.in + 1, args, args_len);
  g_assert_true (vt_ring_add (fuse->ring, bufs, 2, call.in));
  vt_ring_kick (fuse->ring);
  return call;
}

gboolean
vt_fuse_try_end (VtFuse *fuse, const VtFuseCall *call, int error)
{
  guint32 used;
  gpointer token = vt_ring_get (fuse->ring, &used);

  if (token == NULL)
    return FALSE;
  g_assert_true (token == call->in);
  g_assert_cmpuint (used, ==, sizeof *call->out);
  g_assert_cmpuint (call->out->len, ==, used);
  g_assert_cmpuint (call->out->unique, ==, call->in->unique);
  g_assert_cmpint (call->out->error, ==, error);
  return TRUE;
}

void
vt_fuse_end (VtFuse *fuse, const VtFuseCall *call, int error)
{
  g_assert_true (vt_ring_wait (fuse->ring, VT_TIMEOUT_MS));
  vt_fuse_try_end (fuse, call, error);
}

VtFuseCall
vt_fuse_start_setup (VtFuse *fuse, guint64 nodeid,
                     const struct fuse_setupmapping_in *in)
{
  return vt_fuse_start (fuse, FUSE_SETUPMAPPING, nodeid, in, sizeof *in);
}

VtFuseCall
vt_fuse_start_remove (VtFuse *fuse, guint64 moffset, guint64 len)
{
  const guint32 count = 1;
  const struct fuse_removemapping_one one = { moffset, len };
  guint8 args[sizeof count + sizeof one];

  memcpy (args, &count, sizeof count);
  memcpy (args + sizeof count, &one, sizeof one);
  return vt_fuse_start (fuse, FUSE_REMOVEMAPPING, 0, args, sizeof args);
}

/* The answer must be exactly @reply_len bytes long. */
static int
call_fixed (VtFuse *fuse, guint32 opcode, guint64 nodeid, const void *args,
            gsize args_len, const void *data, gsize data_len, void *reply,
            gsize reply_len)
{
  gssize n = vt_fuse_call (fuse, opcode, nodeid, args, args_len, data, data_len,
                           reply, reply_len);

  if (n < 0)
    return (int) n;
  g_assert_cmpint (n, ==, reply_len);
  return 0;
}

int
vt_fuse_init (VtFuse *fuse, guint64 flags)
{
  struct fuse_init_in in = {
    .major = FUSE_KERNEL_VERSION,
    .minor = 41,
    .max_readahead = 131072,
    .flags = flags != 0 ? (guint32) flags : OFFERED_LOW,
    .flags2 = flags != 0 ? (guint32) (flags >> 32) : OFFERED_HIGH,
  };
  struct fuse_init_out out;
  int r = call_fixed (fuse, FUSE_INIT, 0, &in, sizeof in, NULL, 0, &out,
                      sizeof out);

  if (r < 0)
    return r;
  fuse->flags = out.flags | (guint64) out.flags2 << 32;
  g_assert_cmphex (fuse->flags & ~(in.flags | (guint64) in.flags2 << 32), ==,
                   0);
  return 0;
}

int
vt_fuse_destroy (VtFuse *fuse)
{
  return call_fixed (fuse, FUSE_DESTROY, 0, NULL, 0, NULL, 0, NULL, 0);
}

static int
call_entry (VtFuse *fuse, guint32 opcode, guint64 parent, const void *args,
            gsize args_len, const void *names, gsize names_len, guint64 *nodeid,
            struct fuse_attr *attr)
{
  struct fuse_entry_out out;
  int r = call_fixed (fuse, opcode, parent, args, args_len, names, names_len,
                      &out, sizeof out);

  if (r < 0)
    return r;
  fuse->timeout = (guint32) out.entry_valid;
  if (nodeid != NULL)
    *nodeid = out.nodeid;
  if (attr != NULL)
    *attr = out.attr;
  return 0;
}

int
vt_fuse_lookup (VtFuse *fuse, guint64 parent, const char *name, guint64 *nodeid,
                struct fuse_attr *attr)
{
  return call_entry (fuse, FUSE_LOOKUP, parent, NULL, 0, name,
                     strlen (name) + 1, nodeid, attr);
}

void
vt_fuse_forget (VtFuse *fuse, guint64 nodeid, guint64 n)
{
  struct {
    struct fuse_in_header in;
    struct fuse_forget_in forget;
  } message = {
    .in = { .len = sizeof message,
            .opcode = FUSE_FORGET,
            .unique = fuse->unique += 2,
            .nodeid = nodeid },
    .forget = { .nlookup = n },
  };

  g_assert_cmpuint (vt_fuse_raw (fuse, &message, sizeof message, 0), ==, 0);
}

int
vt_fuse_getattr (VtFuse *fuse, guint64 nodeid, struct fuse_attr *attr)
{
  struct fuse_getattr_in in = { 0 };
  struct fuse_attr_out out;
  int r = call_fixed (fuse, FUSE_GETATTR, nodeid, &in, sizeof in, NULL, 0, &out,
                      sizeof out);

  if (r == 0 && attr != NULL)
    *attr = out.attr;
  return r;
}

int
vt_fuse_setattr (VtFuse *fuse, guint64 nodeid, const struct fuse_setattr_in *in,
                 struct fuse_attr *attr)
{
  struct fuse_attr_out out;
  int r = call_fixed (fuse, FUSE_SETATTR, nodeid, in, sizeof *in, NULL, 0, &out,
                      sizeof out);

  if (r == 0 && attr != NULL)
    *attr = out.attr;
  return r;
}

int
vt_fuse_create (VtFuse *fuse, guint64 parent, const char *name, guint32 flags,
                guint32 mode, guint64 *nodeid, guint64 *fh)
{
  struct fuse_create_in in = { .flags = flags, .mode = S_IFREG | mode };
  struct {
    struct fuse_entry_out entry;
    struct fuse_open_out open;
  } out;
  int r = call_fixed (fuse, FUSE_CREATE, parent, &in, sizeof in, name,
                      strlen (name) + 1, &out, sizeof out);

  if (r == 0) {
    *nodeid = out.entry.nodeid;
    *fh = out.open.fh;
  }
  return r;
}

int
vt_fuse_mkdir (VtFuse *fuse, guint64 parent, const char *name, guint32 mode,
               guint64 *nodeid)
{
  struct fuse_mkdir_in in = { .mode = mode };

  return call_entry (fuse, FUSE_MKDIR, parent, &in, sizeof in, name,
                     strlen (name) + 1, nodeid, NULL);
}

int
vt_fuse_mknod (VtFuse *fuse, guint64 parent, const char *name, guint32 mode,
               guint32 rdev, guint64 *nodeid)
{
  struct fuse_mknod_in in = { .mode = mode, .rdev = rdev };

  return call_entry (fuse, FUSE_MKNOD, parent, &in, sizeof in, name,
                     strlen (name) + 1, nodeid, NULL);
}

/* Returns: (transfer full): two strings with their NULs. */
static char *
two_names (const char *first, const char *second, gsize *len)
{
  gsize first_len = strlen (first) + 1, second_len = strlen (second) + 1;
  char *names = g_malloc (first_len + second_len);

  memcpy (names, first, first_len);
  memcpy (names + first_len, second, second_len);
  *len = first_len + second_len;
  return names;
}

int
vt_fuse_symlink (VtFuse *fuse, guint64 parent, const char *name,
                 const char *target, guint64 *nodeid)
{
  gsize len;
  g_autofree char *names = two_names (name, target, &len);

  return call_entry (fuse, FUSE_SYMLINK, parent, NULL, 0, names, len, nodeid,
                     NULL);
}

int
vt_fuse_link (VtFuse *fuse, guint64 nodeid, guint64 parent, const char *name)
{
  struct fuse_link_in in = { .oldnodeid = nodeid };

  return call_entry (fuse, FUSE_LINK, parent, &in, sizeof in, name,
                     strlen (name) + 1, NULL, NULL);
}

int
vt_fuse_unlink (VtFuse *fuse, guint64 parent, const char *name)
{
  return call_fixed (fuse, FUSE_UNLINK, parent, NULL, 0, name,
                     strlen (name) + 1, NULL, 0);
}

int
vt_fuse_rmdir (VtFuse *fuse, guint64 parent, const char *name)
{
  return call_fixed (fuse, FUSE_RMDIR, parent, NULL, 0, name, strlen (name) + 1,
                     NULL, 0);
}

int
vt_fuse_rename (VtFuse *fuse, guint64 parent, const char *name,
                guint64 new_parent, const char *new_name, guint32 flags)
{
  struct fuse_rename2_in in = { .newdir = new_parent, .flags = flags };
  gsize len;
  g_autofree char *names = two_names (name, new_name, &len);

  return call_fixed (fuse, FUSE_RENAME2, parent, &in, sizeof in, names, len,
                     NULL, 0);
}

int
vt_fuse_readlink (VtFuse *fuse, guint64 nodeid, char target[4096])
{
  gssize n = vt_fuse_call (fuse, FUSE_READLINK, nodeid, NULL, 0, NULL, 0,
                           target, 4095);

  if (n >= 0)
    target[n] = '\0';
  return (int) n;
}

int
vt_fuse_open (VtFuse *fuse, guint64 nodeid, guint32 flags, guint64 *fh,
              guint32 *open_flags)
{
  struct fuse_open_in in = { .flags = flags };
  struct fuse_open_out out;
  int r = call_fixed (fuse, FUSE_OPEN, nodeid, &in, sizeof in, NULL, 0, &out,
                      sizeof out);

  if (r == 0) {
    *fh = out.fh;
    if (open_flags != NULL)
      *open_flags = out.open_flags;
  }
  return r;
}

int
vt_fuse_release (VtFuse *fuse, guint64 nodeid, guint64 fh)
{
  struct fuse_release_in in = { .fh = fh };

  return call_fixed (fuse, FUSE_RELEASE, nodeid, &in, sizeof in, NULL, 0, NULL,
                     0);
}

int
vt_fuse_opendir (VtFuse *fuse, guint64 nodeid, guint64 *fh)
{
  struct fuse_open_in in = { 0 };
  struct fuse_open_out out;
  int r = call_fixed (fuse, FUSE_OPENDIR, nodeid, &in, sizeof in, NULL, 0, &out,
                      sizeof out);

  if (r == 0)
    *fh = out.fh;
  return r;
}

int
vt_fuse_releasedir (VtFuse *fuse, guint64 nodeid, guint64 fh)
{
  struct fuse_release_in in = { .fh = fh };

  return call_fixed (fuse, FUSE_RELEASEDIR, nodeid, &in, sizeof in, NULL, 0,
                     NULL, 0);
}

gssize
vt_fuse_read (VtFuse *fuse, guint64 nodeid, guint64 fh, guint64 offset,
              void *data, guint32 size)
{
  struct fuse_read_in in = { .fh = fh, .offset = offset, .size = size };

  return vt_fuse_call (fuse, FUSE_READ, nodeid, &in, sizeof in, NULL, 0, data,
                       size);
}

gssize
vt_fuse_write (VtFuse *fuse, guint64 nodeid, guint64 fh, guint64 offset,
               const void *data, guint32 size)
{
  struct fuse_write_in in = { .fh = fh, .offset = offset, .size = size };
  struct fuse_write_out out;
  int r = call_fixed (fuse, FUSE_WRITE, nodeid, &in, sizeof in, data, size,
                      &out, sizeof out);

  return r < 0 ? r : (gssize) out.size;
}

gssize
vt_fuse_readdir (VtFuse *fuse, guint64 nodeid, guint64 fh, guint64 offset,
                 gboolean plus, void *data, guint32 size)
{
  struct fuse_read_in in = { .fh = fh, .offset = offset, .size = size };

  return vt_fuse_call (fuse, plus ? FUSE_READDIRPLUS : FUSE_READDIR, nodeid,
                       &in, sizeof in, NULL, 0, data, size);
}

/* A request whose answer is a number if @size is 0, else bytes. */
static gssize
call_xattr (VtFuse *fuse, guint32 opcode, guint64 nodeid, const char *name,
            gsize name_len, void *value, guint32 size)
{
  struct fuse_getxattr_in in = { .size = size };
  struct fuse_getxattr_out out = { 0 };
  gssize n = vt_fuse_call (fuse, opcode, nodeid, &in, sizeof in, name, name_len,
                           size > 0 ? value : (void *) &out,
                           size > 0 ? size : sizeof out);

  return n >= 0 && size == 0 ? (gssize) out.size : n;
}

gssize
vt_fuse_getxattr (VtFuse *fuse, guint64 nodeid, const char *name, void *value,
                  guint32 size)
{
  return call_xattr (fuse, FUSE_GETXATTR, nodeid, name, strlen (name) + 1,
                     value, size);
}

gssize
vt_fuse_listxattr (VtFuse *fuse, guint64 nodeid, char *names, guint32 size)
{
  return call_xattr (fuse, FUSE_LISTXATTR, nodeid, NULL, 0, names, size);
}

int
vt_fuse_setxattr (VtFuse *fuse, guint64 nodeid, const char *name,
                  const void *value, guint32 size, guint32 flags)
{
  struct fuse_setxattr_in in = { .size = size, .flags = flags };
  gsize args_len = (fuse->flags & FUSE_SETXATTR_EXT) != 0
                       ? sizeof in
                       : FUSE_COMPAT_SETXATTR_IN_SIZE;
  gsize name_len = strlen (name) + 1;
  g_autofree guint8 *tail = g_malloc (name_len + size);

  memcpy (tail, name, name_len);
  memcpy (tail + name_len, value, size);
  return (int) vt_fuse_call (fuse, FUSE_SETXATTR, nodeid, &in, args_len, tail,
                             name_len + size, NULL, 0);
}

int
vt_fuse_removexattr (VtFuse *fuse, guint64 nodeid, const char *name)
{
  return (int) vt_fuse_call (fuse, FUSE_REMOVEXATTR, nodeid, NULL, 0, name,
                             strlen (name) + 1, NULL, 0);
}
