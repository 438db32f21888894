/* SPDX-License-Identifier: BSD-3-Clause
 *
 * test-random.c - thousands of requests of all kinds, by ids that are real
 *
 * The ids and handles in them are those of earlier answers, live, given back or
 * of another kind of file; names are few, so that they meet.  Nothing is expected
 * of any single answer: the device lives, sanitizers are silent, and what lies
 * beside the shared directory is as it was.
 */
#include <errno.h>
#include <fcntl.h>
#include <string.h>

#include <glib/gstdio.h>

#include "tests/devices/fs/fixture.h"

#define N_REQUESTS 6000
#define N_KNOWN    32

static const VtFsConfig all_on = {
  .keys = { "xattr", "yes", "locks", "all" },
};
static const VtFsConfig few_descriptors = {
  .keys = { "xattr", "yes", "fd-budget", "16", "cache", "never" },
};
static const VtFsConfig lazy = {
  .keys = { "open", "lazy", "read-only", "yes" },
};

typedef struct {
  struct fuse_in_header in;
  guint64 words[12]; /* any arguments */
  char names[128];
} Message;

/* What answers gave. */
typedef struct {
  guint64 nodes[N_KNOWN], handles[N_KNOWN];
  guint n_good; /* answers without an error */
} Known;

static guint64
any_of (const guint64 *known)
{
  return known[g_test_rand_int_range (0, N_KNOWN)];
}

static guint64
any_word (const Known *known)
{
  static const guint64 usual[] = {
    0,
    1,
    2,
    4096,
    65536,
    O_RDWR,
    0100644,
    0040755,
    0010644,
    1 << 20,
    O_TRUNC | 1,
    G_MAXINT64,
    G_MAXUINT64,
    0x1ff,
    7,
    (8ull << 32) | 3,
    O_TMPFILE | 2,
  };
  gint kind = g_test_rand_int_range (0, 8);

  if (kind == 0)
    return any_of (known->nodes);
  return kind < 4 ? any_of (known->handles)
                  : usual[g_test_rand_int_range (0, G_N_ELEMENTS (usual))];
}

/* Remembers ids of an answer that has some; else nothing is there to harm. */
static void
learn (Known *known, guint32 opcode, const guint8 *answer)
{
  struct fuse_out_header out;
  guint64 first;
  guint at = (guint) g_test_rand_int_range (0, N_KNOWN);

  memcpy (&out, answer, sizeof out);
  known->n_good += out.len >= sizeof out && out.error == 0;
  if (out.error != 0 || out.len < sizeof out + 16)
    return;
  memcpy (&first, answer + sizeof out, sizeof first);
  if (opcode == FUSE_OPEN || opcode == FUSE_OPENDIR)
    known->handles[at] = first;
  else if (opcode == FUSE_LOOKUP || opcode == FUSE_MKDIR ||
           opcode == FUSE_MKNOD || opcode == FUSE_SYMLINK ||
           opcode == FUSE_LINK || opcode == FUSE_CREATE)
    known->nodes[at] = first;
  if (opcode == FUSE_CREATE)
    memcpy (&known->handles[at],
            answer + sizeof out + sizeof (struct fuse_entry_out),
            sizeof (guint64));
}

/* Others end the session, wait for a lock that nobody will give back, or let an
 * ordinary user no longer into the directory. */
static gboolean
is_sent (const struct fuse_in_header *in)
{
  return in->opcode != FUSE_INIT && in->opcode != FUSE_DESTROY &&
         in->opcode != FUSE_SETLKW &&
         (in->opcode != FUSE_SETATTR || in->nodeid != 1);
}

static gsize
args_len (guint32 opcode)
{
  static const guint8 lens[] = {
    [FUSE_SETATTR] = 88, [FUSE_RENAME] = 8,    [FUSE_LINK] = 8,
    [FUSE_OPEN] = 8,     [FUSE_OPENDIR] = 8,   [FUSE_MKDIR] = 8,
    [FUSE_GETXATTR] = 8, [FUSE_MKNOD] = 16,    [FUSE_CREATE] = 16,
    [FUSE_TMPFILE] = 16, [FUSE_RENAME2] = 16,  [FUSE_SETXATTR] = 16,
    [FUSE_READ] = 40,    [FUSE_READDIR] = 40,  [FUSE_READDIRPLUS] = 40,
    [FUSE_WRITE] = 40,   [FUSE_SETLK] = 48,    [FUSE_FALLOCATE] = 32,
    [FUSE_LSEEK] = 24,   [FUSE_RELEASE] = 24,  [FUSE_RELEASEDIR] = 24,
    [FUSE_FLUSH] = 24,   [VT_FUSE_STATX] = 24, [FUSE_COPY_FILE_RANGE] = 56,
  };

  return opcode < G_N_ELEMENTS (lens) ? lens[opcode] : 56;
}

static void
send_one (VtFs *f, Known *known, guint i)
{
  static const char names[][24] = {
    "a\0b", "b\0c", "c\0a", "d\0d", "..\0a", "user.x\0a", "a\0../../beside",
  };
  Message m = { .in = { .opcode = (guint32) g_test_rand_int_range (1, 55),
                        .unique = i + 1,
                        .nodeid = any_of (known->nodes) } };
  gsize len = args_len (m.in.opcode);
  guint8 *at = (guint8 *) m.words + len;

  if (!is_sent (&m.in))
    return;
  for (guint k = 0; k < G_N_ELEMENTS (m.words); k++)
    m.words[k] = any_word (known);
  memcpy (at, names[g_test_rand_int_range (0, G_N_ELEMENTS (names))],
          sizeof names[0]);
  m.in.len = (guint32) (sizeof m.in + len + sizeof names[0]);
  memset (f->c->in, 0, sizeof (struct fuse_out_header));
  vt_fuse_raw (f->c, &m, m.in.len, 4096);
  learn (known, m.in.opcode, f->c->in);
}

static void
test_random_requests_harm_nothing (VtFs *f, gconstpointer config)
{
  g_autofree char *beside = g_strconcat (f->dir, ".beside", NULL);
  g_autofree char *content = NULL;
  Known known = { .n_good = 0 };
  struct fuse_attr attr;

  g_assert_true (g_file_set_contents (beside, "precious", -1, NULL));
  vt_fs_put (f, "a", "content");
  for (guint i = 0; i < N_KNOWN; i++) {
    known.nodes[i] = 1;
    known.handles[i] = i;
  }
  for (guint i = 0; i < N_REQUESTS; i++)
    send_one (f, &known, i);
  g_test_message ("%u of %u made sense", known.n_good, N_REQUESTS);
  g_assert_cmpuint (known.n_good, >, N_REQUESTS / 50);
  g_assert_cmpint (vt_fuse_init (f->c, 0), ==, 0);
  g_assert_cmpint (vt_fuse_getattr (f->c, 1, &attr), ==, 0);
  g_assert_true (S_ISDIR (attr.mode));
  g_assert_true (g_file_get_contents (beside, &content, NULL, NULL));
  g_assert_cmpstr (content, ==, "precious");
  g_assert_cmpint (g_unlink (beside), ==, 0);
}

int
main (int argc, char **argv)
{
  g_test_init (&argc, &argv, NULL);
  VT_FS_TEST ("/fs/random/all", &all_on, test_random_requests_harm_nothing);
  VT_FS_TEST ("/fs/random/budget", &few_descriptors,
              test_random_requests_harm_nothing);
  VT_FS_TEST ("/fs/random/lazy", &lazy, test_random_requests_harm_nothing);
  return g_test_run ();
}
