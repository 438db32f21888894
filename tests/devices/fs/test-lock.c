/* SPDX-License-Identifier: BSD-3-Clause
 *
 * test-lock.c - locks that the guest makes on the host
 */
#include <errno.h>
#include <fcntl.h>
#include <string.h>
#include <sys/file.h>
#include <sys/resource.h>
#include <unistd.h>

#include "tests/devices/fs/fixture.h"

static const VtFsConfig off;
static const VtFsConfig all = { .keys = { "locks", "all" }, .n_queues = 2 };
static const VtFsConfig abroad = { .keys = { "locks", "all" },
                                   .abroad = TRUE,
                                   .n_queues = 2 };

/* A lock that somebody of the guest wants. */
typedef struct {
  guint64 nodeid, fh, owner;
  guint32 type;
  guint64 start, end; /* end 0: to the end of the file */
  guint32 pid;
  gboolean flock;
} Want;

static struct fuse_lk_in
lk_in (const Want *w)
{
  return (struct fuse_lk_in){
    .fh = w->fh,
    .owner = w->owner,
    .lk = { .start = w->start,
            .end = w->end != 0 ? w->end : G_MAXINT64,
            .type = w->type,
            .pid = w->pid },
    .lk_flags = w->flock ? FUSE_LK_FLOCK : 0,
  };
}

static int
set_lock (VtFs *f, Want w, guint32 type)
{
  struct fuse_lk_in in;

  w.type = type;
  in = lk_in (&w);
  return (int) vt_fuse_call (f->c, FUSE_SETLK, w.nodeid, &in, sizeof in, NULL,
                             0, NULL, 0);
}

static int
get_lock (VtFs *f, const Want *w, struct fuse_file_lock *ret)
{
  struct fuse_lk_in in = lk_in (w);
  struct fuse_lk_out out;
  gssize n = vt_fuse_call (f->c, FUSE_GETLK, w->nodeid, &in, sizeof in, NULL, 0,
                           &out, sizeof out);

  *ret = out.lk;
  return n < 0 ? (int) n : 0;
}

static void
flush (VtFuse *fuse, const Want *w)
{
  struct fuse_flush_in in = { .fh = w->fh, .lock_owner = w->owner };

  g_assert_cmpint (vt_fuse_call (fuse, FUSE_FLUSH, w->nodeid, &in, sizeof in,
                                 NULL, 0, NULL, 0),
                   ==, 0);
}

/* A SETLKW that is under way while others are sent. */
typedef struct {
  struct {
    struct fuse_in_header in;
    struct fuse_lk_in lk;
  } * message;
  struct fuse_out_header *out;
} Waiter;

static Waiter
start_waiting (VtFs *f, const Want *w, guint64 unique)
{
  Waiter waiter = {
    .message = vt_guest_alloc (f->guest, sizeof *waiter.message, 64),
    .out = vt_guest_alloc (f->guest, sizeof *waiter.out, 64),
  };
  VtBuf bufs[] = { { waiter.message, sizeof *waiter.message, FALSE },
                   { waiter.out, sizeof *waiter.out, TRUE } };

  waiter.message->in = (struct fuse_in_header){
    .len = sizeof *waiter.message,
    .opcode = FUSE_SETLKW,
    .unique = unique,
    .nodeid = w->nodeid,
  };
  waiter.message->lk = lk_in (w);
  g_assert_true (vt_ring_add (f->c->ring, bufs, 2, waiter.message));
  vt_ring_kick (f->c->ring);
  return waiter;
}

static void
expect_end (VtFs *f, const Waiter *waiter, int error)
{
  guint32 used;

  g_assert_true (vt_ring_take (f->c->ring, &used) == waiter->message);
  g_assert_cmpuint (used, ==, sizeof *waiter->out);
  g_assert_cmpint (waiter->out->error, ==, error);
}

/* Two of the guest who have the same file open. */
static void
open_twice (VtFs *f, gboolean is_flock, Want *a, Want *b)
{
  guint64 nodeid;

  vt_fs_put (f, "f", "content");
  *a = (Want){ .owner = 11, .type = F_WRLCK, .flock = is_flock };
  a->fh = vt_fs_open (f, "f", O_RDWR, &nodeid);
  a->nodeid = nodeid;
  *b = *a;
  b->owner = 22;
  b->fh = vt_fs_open (f, "f", O_RDWR, &nodeid);
}

static void
test_locks_exclude_each_other (VtFs *f, gconstpointer data)
{
  Want a, b;

  for (guint is_flock = 0; is_flock < 2; is_flock++) {
    open_twice (f, is_flock != 0, &a, &b);
    g_assert_cmpint (set_lock (f, a, F_WRLCK), ==, 0);
    g_assert_cmpint (set_lock (f, b, F_WRLCK), ==, -EAGAIN);
    g_assert_cmpint (set_lock (f, b, F_RDLCK), ==, -EAGAIN);
    g_assert_cmpint (set_lock (f, a, F_RDLCK), ==, 0);
    g_assert_cmpint (set_lock (f, b, F_RDLCK), ==, 0);
    g_assert_cmpint (set_lock (f, a, F_WRLCK), ==, -EAGAIN);
    g_assert_cmpint (set_lock (f, b, F_UNLCK), ==, 0);
    g_assert_cmpint (set_lock (f, a, F_WRLCK), ==, 0);
    g_assert_cmpint (set_lock (f, a, F_UNLCK), ==, 0);
    g_assert_cmpint (set_lock (f, a, 77), ==, -EINVAL);
  }
}

static void
test_ranges_are_told (VtFs *f, gconstpointer data)
{
  struct fuse_file_lock lk;
  Want a, b;

  open_twice (f, FALSE, &a, &b);
  a.start = 100;
  a.end = 199;
  g_assert_cmpint (set_lock (f, a, F_WRLCK), ==, 0);
  b.start = 150;
  g_assert_cmpint (get_lock (f, &b, &lk), ==, 0);
  g_assert_cmpuint (lk.type, ==, F_WRLCK);
  g_assert_cmpuint (lk.start, ==, 100);
  g_assert_cmpuint (lk.end, ==, 199);
  b.start = 200;
  g_assert_cmpint (get_lock (f, &b, &lk), ==, 0);
  g_assert_cmpuint (lk.type, ==, F_UNLCK);
  g_assert_cmpint (set_lock (f, b, F_WRLCK), ==, 0);
  a.start = 300;
  a.end = 0;
  g_assert_cmpint (get_lock (f, &a, &lk), ==, 0);
  g_assert_cmpuint (lk.start, ==, 200);
  g_assert_cmpuint (lk.end, ==, G_MAXINT64);
}

static guint32
holder (VtFs *f, const Want *asker)
{
  struct fuse_file_lock lk;

  g_assert_cmpint (get_lock (f, asker, &lk), ==, 0);
  g_assert_cmpuint (lk.type, !=, F_UNLCK);
  return lk.pid;
}

static void
test_the_guests_process_is_told (VtFs *f, gconstpointer data)
{
  const struct flock lock = { .l_type = F_WRLCK, .l_start = 500, .l_len = 1 };
  g_autofree char *path = vt_fs_path (f, "f");
  Want a, b, c;
  int host;

  open_twice (f, FALSE, &a, &b);
  c = b;
  c.owner = 33;
  a.pid = 1001;
  b.pid = 1002;
  a.end = 99;
  g_assert_cmpint (set_lock (f, a, F_WRLCK), ==, 0);
  b.start = 100;
  b.end = 199;
  g_assert_cmpint (set_lock (f, b, F_RDLCK), ==, 0);
  g_assert_cmpuint (holder (f, &c), ==, 1001);
  c.start = 150;
  g_assert_cmpuint (holder (f, &c), ==, 1002);
  b.pid = 0; /* as Linux says when a process unlocks */
  b.end = 149;
  g_assert_cmpint (set_lock (f, b, F_UNLCK), ==, 0);
  g_assert_cmpuint (holder (f, &c), ==, 1002);
  a.start = 150; /* now two of them have it */
  a.end = 199;
  g_assert_cmpint (set_lock (f, a, F_RDLCK), ==, 0);
  g_assert_cmpuint (holder (f, &c), ==, 0);
  /* What another has, on the host, is nobody's of the guest. */
  host = open (path, O_RDWR | O_CLOEXEC);
  g_assert_no_errno (fcntl (host, F_OFD_SETLK, &lock));
  c.start = 500;
  g_assert_cmpuint (holder (f, &c), ==, 0);
  close (host);
}

static void
test_releasing_a_file_drops_locks_made_by_it (VtFs *f, gconstpointer data)
{
  guint before = vt_fs_n_fds ();
  Want a, b, again;

  open_twice (f, FALSE, &a, &b);
  again = a;
  again.fh = vt_fs_open (f, "f", O_RDWR, &again.nodeid);
  g_assert_cmpint (set_lock (f, a, F_WRLCK), ==, 0);
  g_assert_cmpint (set_lock (f, again, F_WRLCK), ==, 0);
  g_assert_cmpint (vt_fuse_release (f->c, a.nodeid, a.fh), ==, 0);
  g_assert_cmpint (set_lock (f, b, F_WRLCK), ==, -EAGAIN);
  g_assert_cmpint (vt_fuse_release (f->c, again.nodeid, again.fh), ==, 0);
  g_assert_cmpint (set_lock (f, b, F_WRLCK), ==, 0);
  g_assert_cmpint (vt_fuse_release (f->c, b.nodeid, b.fh), ==, 0);
  vt_fuse_forget (f->c, a.nodeid, 3);
  g_assert_cmpuint (vt_fs_n_fds (), ==, before);
}

/* Locks of the kind OFD have an owner for each open file, who never closes it by
 * FLUSH. */
static void
test_asking_for_locks_keeps_nothing_open (VtFs *f, gconstpointer data)
{
  struct fuse_file_lock found;
  guint before = vt_fs_n_fds ();
  Want w = { .type = F_WRLCK };

  vt_fs_put (f, "f", "x");
  for (guint i = 1; i <= 10; i++) {
    w.owner = i;
    w.fh = vt_fs_open (f, "f", O_RDWR, &w.nodeid);
    g_assert_cmpint (get_lock (f, &w, &found), ==, 0);
    g_assert_cmpuint (found.type, ==, F_UNLCK);
    g_assert_cmpint (vt_fuse_release (f->c, w.nodeid, w.fh), ==, 0);
  }
  vt_fuse_forget (f->c, w.nodeid, 10);
  g_assert_cmpuint (vt_fs_n_fds (), ==, before);
}

static void
test_closing_a_file_drops_the_owners_locks (VtFs *f, gconstpointer data)
{
  guint before = vt_fs_n_fds ();
  Want a, b;

  open_twice (f, FALSE, &a, &b);
  g_assert_cmpint (set_lock (f, a, F_WRLCK), ==, 0);
  g_assert_cmpint (set_lock (f, b, F_WRLCK), ==, -EAGAIN);
  flush (f->c, &b); /* not its */
  g_assert_cmpint (set_lock (f, b, F_WRLCK), ==, -EAGAIN);
  flush (f->c, &a);
  g_assert_cmpint (set_lock (f, b, F_WRLCK), ==, 0);
  flush (f->c, &b);
  g_assert_cmpint (vt_fuse_release (f->c, a.nodeid, a.fh), ==, 0);
  g_assert_cmpint (vt_fuse_release (f->c, b.nodeid, b.fh), ==, 0);
  vt_fuse_forget (f->c, a.nodeid, 2);
  g_assert_cmpuint (vt_fs_n_fds (), ==, before);
}

static void
test_releasing_a_file_drops_its_flock (VtFs *f, gconstpointer data)
{
  Want a, b;

  open_twice (f, TRUE, &a, &b);
  g_assert_cmpint (set_lock (f, a, F_WRLCK), ==, 0);
  g_assert_cmpint (vt_fuse_release (f->c, a.nodeid, a.fh), ==, 0);
  g_assert_cmpint (set_lock (f, b, F_WRLCK), ==, 0);
}

static void
test_who_waits_delays_nobody (VtFs *f, gconstpointer data)
{
  Want a, b;

  for (guint is_flock = 0; is_flock < 2; is_flock++) {
    Waiter waiter;

    open_twice (f, is_flock != 0, &a, &b);
    g_assert_cmpint (set_lock (f, a, F_WRLCK), ==, 0);
    waiter = start_waiting (f, &b, 99);
    for (guint i = 0; i < 20; i++) /* on the same queue */
      g_assert_cmpint (vt_fuse_getattr (f->c, 1, NULL), ==, 0);
    g_assert_cmpuint (vt_ring_n_in_flight (f->c->ring), ==, 1);
    /* On another queue, because the answers may come in any order. */
    if (is_flock)
      g_assert_cmpint (vt_fuse_release (&f->fuse[2], a.nodeid, a.fh), ==, 0);
    else
      flush (&f->fuse[2], &a);
    expect_end (f, &waiter, 0);
    g_assert_cmpint (set_lock (f, b, F_UNLCK), ==, 0);
  }
}

static void
test_locks_of_the_host_are_waited_for (VtFs *f, gconstpointer data)
{
  g_autofree char *path = vt_fs_path (f, "f");
  Waiter waiter;
  Want a, b;
  int fd;

  open_twice (f, TRUE, &a, &b);
  fd = open (path, O_RDWR | O_CLOEXEC);
  g_assert_cmpint (flock (fd, LOCK_EX | LOCK_NB), ==, 0);
  g_assert_cmpint (set_lock (f, a, F_RDLCK), ==, -EAGAIN);
  waiter = start_waiting (f, &b, 99);
  g_assert_cmpint (vt_fuse_getattr (f->c, 1, NULL), ==, 0);
  g_assert_cmpint (flock (fd, LOCK_UN), ==, 0);
  expect_end (f, &waiter, 0);
  g_assert_cmpint (flock (fd, LOCK_EX | LOCK_NB), ==, -1); /* it is seen here */
  close (fd);
}

/* On the queue for it; taken when this returns. */
static void
interrupt (VtFs *f, guint64 unique)
{
  const struct {
    struct fuse_in_header in;
    struct fuse_interrupt_in interrupt;
  } message = {
    .in = { .len = sizeof message,
            .opcode = FUSE_INTERRUPT,
            .unique = unique | 1 },
    .interrupt = { .unique = unique },
  };

  vt_fuse_raw (&f->fuse[0], &message, sizeof message, 0);
}

static void
test_an_interrupt_ends_the_waiting (VtFs *f, gconstpointer data)
{
  Waiter one, other;
  Want a, b;

  open_twice (f, FALSE, &a, &b);
  g_assert_cmpint (set_lock (f, a, F_WRLCK), ==, 0);
  one = start_waiting (f, &b, 98);
  other = start_waiting (f, &b, 102);
  g_assert_cmpint (vt_fuse_getattr (f->c, 1, NULL), ==, 0);
  for (guint64 unique = 90; unique <= 98; unique += 2)
    interrupt (f, unique);
  expect_end (f, &one, -EINTR);
  g_assert_cmpuint (vt_ring_n_in_flight (f->c->ring), ==, 1);
  interrupt (f, 102);
  expect_end (f, &other, -EINTR);
}

/* It comes by another queue than the request. */
static void
test_an_interrupt_may_come_first (VtFs *f, gconstpointer data)
{
  Waiter one, other;
  Want a, b;

  open_twice (f, FALSE, &a, &b);
  g_assert_cmpint (set_lock (f, a, F_WRLCK), ==, 0);
  interrupt (f, 98);
  other = start_waiting (f, &b, 102);
  one = start_waiting (f, &b, 98);
  expect_end (f, &one, -EINTR);
  g_assert_cmpuint (vt_ring_n_in_flight (f->c->ring), ==, 1);
  one = start_waiting (f, &b, 98); /* it was for one request */
  flush (&f->fuse[2], &a);
  for (guint i = 0; i < 2; i++) { /* both are the same owner's */
    guint32 used;
    gpointer message = vt_ring_take (f->c->ring, &used);

    g_assert_cmpint ((message == one.message ? one : other).out->error, ==, 0);
  }
}

static void
test_interrupts_end_with_their_session (VtFs *f, gconstpointer data)
{
  Waiter waiter;
  Want a, b;

  for (guint64 unique = 2; unique <= 2000; unique += 2) /* any number */
    interrupt (f, unique);
  g_assert_cmpint (vt_fuse_init (&f->fuse[2], f->c->flags), ==, 0);
  open_twice (f, FALSE, &a, &b);
  g_assert_cmpint (set_lock (f, a, F_WRLCK), ==, 0);
  waiter = start_waiting (f, &b, 2000);
  g_assert_cmpint (vt_fuse_getattr (f->c, 1, NULL), ==, 0);
  flush (&f->fuse[2], &a);
  expect_end (f, &waiter, 0);
}

static void
test_a_queue_stops_though_somebody_waits (VtFs *f, gconstpointer data)
{
  Waiter waiter;
  Want a, b;

  open_twice (f, TRUE, &a, &b);
  g_assert_cmpint (set_lock (f, a, F_WRLCK), ==, 0);
  waiter = start_waiting (f, &b, 99);
  g_assert_cmpint (vt_fuse_getattr (f->c, 1, NULL), ==, 0);
  vt_rig_stop_ring (f->rig, f->c->ring);
  expect_end (f, &waiter, -EAGAIN);
}

static void
test_waiting_has_a_limit (VtFs *f, gconstpointer data)
{
  guint n = 0;
  guint32 used;
  Want a, b;

  open_twice (f, TRUE, &a, &b);
  g_assert_cmpint (set_lock (f, a, F_WRLCK), ==, 0);
  for (guint i = 0; i < 100; i++)
    start_waiting (f, &b, 1000 + i);
  for (; n < 100 - 64; n++) /* those beyond it are refused at once */
    g_assert_nonnull (vt_ring_take (f->c->ring, &used));
  g_assert_cmpint (vt_fuse_getattr (f->c, 1, NULL), ==, 0);
  g_assert_cmpuint (vt_ring_n_in_flight (f->c->ring), ==, 64);
  /* On another queue: those who wait may be answered before it. */
  g_assert_cmpint (vt_fuse_destroy (&f->fuse[2]), ==, 0);
  for (; n < 100; n++)
    g_assert_nonnull (vt_ring_take (f->c->ring, &used));
}

static void
test_a_session_ends_with_its_locks (VtFs *f, gconstpointer data)
{
  g_autofree char *path = vt_fs_path (f, "f");
  struct flock lock = { .l_type = F_WRLCK, .l_whence = SEEK_SET };
  guint before = vt_fs_n_fds ();
  Want a, b;
  int fd;

  open_twice (f, FALSE, &a, &b);
  g_assert_cmpint (set_lock (f, a, F_WRLCK), ==, 0);
  fd = open (path, O_RDWR | O_CLOEXEC);
  g_assert_cmpint (fcntl (fd, F_OFD_SETLK, &lock), ==, -1);
  g_assert_cmpint (vt_fuse_destroy (f->c), ==, 0);
  g_assert_cmpint (fcntl (fd, F_OFD_SETLK, &lock), ==, 0);
  close (fd);
  g_assert_cmpuint (vt_fs_n_fds (), ==, before);
}

static void
test_locks_need_an_open_file (VtFs *f, gconstpointer data)
{
  struct fuse_file_lock lk;
  Want a, b;

  open_twice (f, FALSE, &a, &b);
  a.fh += 1000;
  g_assert_cmpint (set_lock (f, a, F_WRLCK), ==, -EBADF);
  g_assert_cmpint (get_lock (f, &a, &lk), ==, -EBADF);
  a.flock = TRUE;
  g_assert_cmpint (set_lock (f, a, F_WRLCK), ==, -EBADF);
}

static void
test_a_lock_that_needs_a_descriptor_says_so (VtFs *f, gconstpointer data)
{
  struct rlimit old, none;
  struct fuse_file_lock lk;
  Want a, b;
  int r, tells;

  open_twice (f, FALSE, &a, &b);
  g_assert_cmpint (getrlimit (RLIMIT_NOFILE, &old), ==, 0);
  none = (struct rlimit){ 4, old.rlim_max };
  g_assert_cmpint (setrlimit (RLIMIT_NOFILE, &none), ==, 0);
  r = set_lock (f, a, F_WRLCK);
  tells = get_lock (f, &b, &lk);
  g_assert_cmpint (setrlimit (RLIMIT_NOFILE, &old), ==, 0);
  g_assert_cmpint (r, ==, -EMFILE);
  g_assert_cmpint (tells, ==, -EMFILE);
  g_assert_cmpint (set_lock (f, a, F_WRLCK), ==, 0);
}

static void
test_without_the_key_guests_lock_by_themselves (VtFs *f, gconstpointer data)
{
  Want a, b;

  g_assert_cmphex (f->c->flags & (FUSE_POSIX_LOCKS | FUSE_FLOCK_LOCKS), ==, 0);
  open_twice (f, FALSE, &a, &b);
  g_assert_cmpint (set_lock (f, a, F_WRLCK), ==, -ENOSYS);
  a.flock = TRUE;
  g_assert_cmpint (set_lock (f, a, F_WRLCK), ==, -ENOSYS);
}

int
main (int argc, char **argv)
{
  g_test_init (&argc, &argv, NULL);
#define ADD(name, func)                                                        \
  VT_FS_TEST ("/fs/lock/" name, &all, func);                                   \
  VT_FS_TEST ("/fs/lock/abroad/" name, &abroad, func)
  ADD ("exclude", test_locks_exclude_each_other);
  ADD ("ranges", test_ranges_are_told);
  ADD ("pid", test_the_guests_process_is_told);
  ADD ("release-all", test_releasing_a_file_drops_locks_made_by_it);
  ADD ("release-asked", test_asking_for_locks_keeps_nothing_open);
  ADD ("flush", test_closing_a_file_drops_the_owners_locks);
  ADD ("release", test_releasing_a_file_drops_its_flock);
  ADD ("wait", test_who_waits_delays_nobody);
  ADD ("host", test_locks_of_the_host_are_waited_for);
  ADD ("interrupt", test_an_interrupt_ends_the_waiting);
  ADD ("interrupt-first", test_an_interrupt_may_come_first);
  ADD ("interrupts-forgotten", test_interrupts_end_with_their_session);
  ADD ("stop", test_a_queue_stops_though_somebody_waits);
  ADD ("limit", test_waiting_has_a_limit);
  ADD ("session", test_a_session_ends_with_its_locks);
  ADD ("handle", test_locks_need_an_open_file);
  ADD ("descriptors", test_a_lock_that_needs_a_descriptor_says_so);
  VT_FS_TEST ("/fs/lock/off", &off,
              test_without_the_key_guests_lock_by_themselves);
  return g_test_run ();
}
