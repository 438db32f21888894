/* SPDX-License-Identifier: BSD-3-Clause
 *
 * test-hang.c - a server that does not answer delays who asks it, nobody else
 *
 * The test serves a file system of its own to the kernel, by libfuse, and shares
 * a directory in which it is mounted.  Its file "slow" has no attributes until
 * the test lets them go.  Needs /dev/fuse and the right to mount.
 */
#define FUSE_USE_VERSION 314

#include <errno.h>
#include <fcntl.h>
#include <fuse_lowlevel.h>
#include <pthread.h>
#include <sched.h>
#include <string.h>
#include <sys/mount.h>
#include <unistd.h>

#include "tests/devices/fs/fixture.h"

enum { SLOW = 2, QUICK = 3 };

/* The far file system. */

static struct {
  pthread_mutex_t lock;
  pthread_cond_t changed;
  gboolean hang; /* no answer about SLOW */
  guint n_hanging;
  guint n_threads; /* that answer */
} far = { .lock = PTHREAD_MUTEX_INITIALIZER,
          .changed = PTHREAD_COND_INITIALIZER };

static struct stat
far_stat (fuse_ino_t ino)
{
  return (struct stat){
    .st_ino = ino,
    .st_nlink = 1,
    .st_mode = ino == FUSE_ROOT_ID ? S_IFDIR | 0755 : S_IFREG | 0644,
  };
}

/* One thread for each request, so that others are answered meanwhile. */
static void *
answer_getattr (void *data)
{
  fuse_req_t req = data;
  struct stat st = far_stat (SLOW);

  pthread_mutex_lock (&far.lock);
  far.n_hanging++;
  pthread_cond_broadcast (&far.changed);
  while (far.hang)
    pthread_cond_wait (&far.changed, &far.lock);
  far.n_hanging--;
  pthread_mutex_unlock (&far.lock);
  fuse_reply_attr (req, &st, 0);
  pthread_mutex_lock (&far.lock);
  far.n_threads--;
  pthread_cond_broadcast (&far.changed);
  pthread_mutex_unlock (&far.lock);
  return NULL;
}

static void
far_getattr (fuse_req_t req, fuse_ino_t ino, struct fuse_file_info *fi)
{
  struct stat st = far_stat (ino);
  pthread_t thread;

  if (ino != SLOW) {
    fuse_reply_attr (req, &st, 0);
    return;
  }
  pthread_mutex_lock (&far.lock);
  far.n_threads++;
  pthread_mutex_unlock (&far.lock);
  g_assert_cmpint (pthread_create (&thread, NULL, answer_getattr, req), ==, 0);
  pthread_detach (thread);
}

static void
far_lookup (fuse_req_t req, fuse_ino_t parent, const char *name)
{
  fuse_ino_t ino = strcmp (name, "slow") == 0 ? SLOW : QUICK;
  struct fuse_entry_param entry = {
    .ino = ino,
    .attr = far_stat (ino),
    .attr_timeout = ino == SLOW ? 0 : 100,
    .entry_timeout = 100,
  };

  fuse_reply_entry (req, &entry);
}

static const struct fuse_lowlevel_ops far_ops = {
  .lookup = far_lookup,
  .getattr = far_getattr,
};

typedef struct {
  VtFs fs;
  char *mountpoint;
  struct fuse_session *session; /* NULL: none may be mounted here */
  pthread_t thread;
} Fixture;

static void *
run_far (void *data)
{
  fuse_session_loop (data);
  return NULL;
}

static void
set_up (Fixture *f, gconstpointer config)
{
  char *argv[] = { (char *) "far", NULL };
  struct fuse_args args = FUSE_ARGS_INIT (1, argv);

  vt_fs_set_up (&f->fs, config);
  f->mountpoint = vt_fs_path (&f->fs, "far");
  g_assert_cmpint (mkdir (f->mountpoint, 0755), ==, 0);
  f->session = fuse_session_new (&args, &far_ops, sizeof far_ops, NULL);
  fuse_opt_free_args (&args);
  g_assert_nonnull (f->session);
  if (fuse_session_mount (f->session, f->mountpoint) < 0) {
    g_clear_pointer (&f->session, fuse_session_destroy);
    g_test_skip ("no FUSE file system may be mounted here");
    return;
  }
  g_assert_cmpint (pthread_create (&f->thread, NULL, run_far, f->session), ==,
                   0);
  vt_fs_open_again (&f->fs, config); /* now that it is mounted */
}

static void
set_hang (gboolean hang)
{
  pthread_mutex_lock (&far.lock);
  far.hang = hang;
  pthread_cond_broadcast (&far.changed);
  pthread_mutex_unlock (&far.lock);
}

/* Their answers go through the session. */
static void
wait_for_threads (void)
{
  pthread_mutex_lock (&far.lock);
  while (far.n_threads > 0)
    pthread_cond_wait (&far.changed, &far.lock);
  pthread_mutex_unlock (&far.lock);
}

static void
tear_down (Fixture *f, gconstpointer config)
{
  set_hang (FALSE);
  umount2 (f->mountpoint, MNT_DETACH);
  /* The export holds the last copy of the mount, without which the loop ends. */
  vt_fs_tear_down (&f->fs, config);
  if (f->session != NULL) {
    pthread_join (f->thread, NULL);
    wait_for_threads ();
    fuse_session_unmount (f->session); /* frees what mounting allocated */
    fuse_session_destroy (f->session);
  }
  g_free (f->mountpoint);
}

/* A GETATTR that is under way while others are sent. */
typedef struct {
  struct fuse_in_header *in;
  struct fuse_getattr_in *args;
  struct fuse_out_header *out;
} Pending;

static Pending
send_getattr (VtFs *f, guint64 nodeid)
{
  Pending p = {
    .in = vt_guest_alloc (f->guest, sizeof *p.in, 64),
    .args = vt_guest_alloc (f->guest, sizeof *p.args, 64),
    .out = vt_guest_alloc (f->guest,
                           sizeof *p.out + sizeof (struct fuse_attr_out), 64),
  };
  VtBuf bufs[] = {
    { p.in, sizeof *p.in, FALSE },
    { p.args, sizeof *p.args, FALSE },
    { p.out, sizeof *p.out + sizeof (struct fuse_attr_out), TRUE },
  };

  *p.in = (struct fuse_in_header){
    .len = sizeof *p.in + sizeof *p.args,
    .opcode = FUSE_GETATTR,
    .unique = 12345,
    .nodeid = nodeid,
  };
  memset (p.args, 0, sizeof *p.args);
  g_assert_true (vt_ring_add (f->c->ring, bufs, G_N_ELEMENTS (bufs), p.in));
  vt_ring_kick (f->c->ring);
  return p;
}

/* In whatever order. */
static void
expect_answers (VtFs *f, const Pending *pending, guint n)
{
  for (guint i = 0; i < n; i++) {
    guint32 used;
    const void *taken = vt_ring_take (f->c->ring, &used);

    g_assert_true (taken == pending[0].in || taken == pending[n - 1].in);
    g_assert_cmpuint (used, ==,
                      sizeof (struct fuse_out_header) +
                          sizeof (struct fuse_attr_out));
  }
  for (guint i = 0; i < n; i++)
    g_assert_cmpint (pending[i].out->error, ==, 0);
}

static void
wait_for_hanging (guint n)
{
  pthread_mutex_lock (&far.lock);
  while (far.n_hanging < n)
    pthread_cond_wait (&far.changed, &far.lock);
  pthread_mutex_unlock (&far.lock);
}

static guint64
lookup_far (VtFs *f, const char *name)
{
  guint64 dir, nodeid;

  g_assert_cmpint (vt_fuse_lookup (f->c, 1, "far", &dir, NULL), ==, 0);
  g_assert_cmpint (vt_fuse_lookup (f->c, dir, name, &nodeid, NULL), ==, 0);
  return nodeid;
}

static void
test_a_hanging_server_delays_no_other_request (Fixture *f, gconstpointer data)
{
  VtFs *fs = &f->fs;
  guint64 slow, quick, near;
  Pending pending[2];

  if (f->session == NULL)
    return;
  vt_fs_put (fs, "near", "x");
  slow = lookup_far (fs, "slow");
  quick = lookup_far (fs, "quick");
  set_hang (TRUE);
  for (guint i = 0; i < 2; i++)
    pending[i] = send_getattr (fs, slow);
  wait_for_hanging (1);
  /* All on the queue of the requests that hang. */
  for (guint i = 0; i < 20; i++) {
    g_assert_cmpint (vt_fuse_getattr (fs->c, 1, NULL), ==, 0);
    g_assert_cmpint (vt_fuse_getattr (fs->c, quick, NULL), ==, 0);
    g_assert_cmpint (vt_fuse_lookup (fs->c, 1, "near", &near, NULL), ==, 0);
  }
  vt_fuse_forget (&fs->fuse[0], near, 20);
  set_hang (FALSE);
  expect_answers (fs, pending, 2);
}

int
main (int argc, char **argv)
{
  static const VtFsConfig plain, live = { .keys = { "jail", "live" } };

  g_test_init (&argc, &argv, NULL);
  if (unshare (CLONE_NEWNS) < 0 ||
      mount (NULL, "/", NULL, MS_REC | MS_PRIVATE, NULL) < 0)
    g_test_message ("mounts are seen by all of the system");
#define ADD(name, config, func)                                                \
  g_test_add ("/fs/hang/" name, Fixture, config, set_up, func, tear_down)
  ADD ("request", &plain, test_a_hanging_server_delays_no_other_request);
  ADD ("request/live", &live, test_a_hanging_server_delays_no_other_request);
  return g_test_run ();
}
