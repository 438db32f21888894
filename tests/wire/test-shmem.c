/* SPDX-License-Identifier: BSD-3-Clause
 *
 * test-shmem.c - shared memory regions: a device shows files in them through
 * its front-end, which may answer late, wrongly or not at all
 */
#include <fcntl.h>
#include <string.h>
#include <sys/mman.h>
#include <unistd.h>

#include "tests/lib/daemon.h"
#include "tests/lib/shmem.h"
#include "vring/fd.h"

#define PAGE     4096u
#define RO_ID    3
#define RW_ID    255
#define EMPTY_ID 9

#define BIT(n) (1ull << (n))
#define NEEDED                                                                 \
  (BIT (VD_PROTOCOL_F_BACKEND_REQ) | BIT (VD_PROTOCOL_F_CONFIG) |              \
   BIT (VD_PROTOCOL_F_SHMEM) | BIT (VD_PROTOCOL_F_BACKEND_SEND_FD))

typedef struct {
  VtDaemon *daemon;
  char *path; /* of the file that is shown read-only: three pages and a bit */
  VtFrontend *fe;
} Fixture;

/* Writes @n_pages of bytes @fill and one byte more. */
static void
write_file (const char *path, guint n_pages, char fill)
{
  gsize len = n_pages * PAGE + 1;
  g_autofree char *bytes = g_malloc (len);

  memset (bytes, fill, len);
  g_assert_true (g_file_set_contents (path, bytes, (gssize) len, NULL));
}

/* Connects and acks what is needed, with or without REPLY_ACK. */
static VtFrontend *
hello (Fixture *f, gboolean acks)
{
  VtFrontend *fe = vt_daemon_connect (f->daemon, "mem");
  guint64 offered;

  vt_set_owner (fe);
  vt_get_features (fe);
  offered = vt_get_protocol_features (fe);
  g_assert_cmphex (offered & NEEDED, ==, NEEDED);
  g_assert_true (vt_set_protocol_features (
      fe, NEEDED | (acks ? BIT (VD_PROTOCOL_F_REPLY_ACK) : 0)));
  fe->reply_mode = VT_REPLY_SETS;
  return fe;
}

static void
set_up (Fixture *f, gconstpointer data)
{
  g_autofree char *rw = NULL, *ro_key = NULL, *rw_key = NULL;

  f->daemon = vt_daemon_new ();
  f->path = vt_daemon_path (f->daemon, "ro");
  rw = vt_daemon_path (f->daemon, "rw");
  write_file (f->path, 3, 'r');
  write_file (rw, 9, 'w');
  ro_key = g_strdup_printf ("1M ro %s", f->path);
  rw_key = g_strdup_printf ("8k rw %s", rw);
  vt_daemon_add (f->daemon, "mem", "generic", "virtio-id", "42", "config",
                 "a le32 ro 1", "shmem.3", ro_key, "shmem.255", rw_key,
                 "shmem.9", "4k", NULL);
  vt_daemon_add (f->daemon, "plain", "generic", "virtio-id", "42", NULL);
  vt_daemon_start (f->daemon);
  f->fe = hello (f, TRUE);
}

static void
tear_down (Fixture *f, gconstpointer data)
{
  vt_frontend_free (f->fe);
  vt_daemon_stop (f->daemon);
  vt_daemon_free (f->daemon);
  g_free (f->path);
}

static void
ask_regions (VtFrontend *fe)
{
  VdWireShmemConfig config;

  g_assert_true (
      vt_send (fe, VD_GET_SHMEM_CONFIG, VD_WIRE_VERSION, NULL, 0, NULL, 0));
  vt_receive (fe, VD_GET_SHMEM_CONFIG, &config, sizeof config);
  g_assert_cmpuint (config.n_regions, ==, 3);
  for (guint i = 0; i < G_N_ELEMENTS (config.sizes); i++)
    g_assert_cmpuint (config.sizes[i], ==,
                      i == RO_ID      ? 1u << 20
                      : i == RW_ID    ? 2 * PAGE
                      : i == EMPTY_ID ? PAGE
                                      : 0);
}

/* The question wants to show @len bytes of a file full of @fill. */
static void
check_map (const VtShmQuestion *q, guint id, guint64 len, char fill)
{
  gboolean writable = id == RW_ID;
  const guint8 *bytes;

  g_assert_cmpuint (q->header.request, ==, VD_BACKEND_SHMEM_MAP);
  g_assert_cmpuint (q->map.id, ==, id);
  g_assert_cmpuint (q->map.fd_offset, ==, 0);
  g_assert_cmpuint (q->map.shm_offset, ==, 0);
  g_assert_cmpuint (q->map.len, ==, len);
  g_assert_cmphex (q->map.flags, ==, writable ? VD_SHMEM_MAP_RW : 0);
  g_assert_cmpint (q->fd, >=, 0);
  if (!writable) /* the driver cannot get more than it was given */
    g_assert_true (mmap (NULL, len, PROT_READ | PROT_WRITE, MAP_SHARED, q->fd,
                         0) == MAP_FAILED);
  bytes = mmap (NULL, len, PROT_READ | (writable ? PROT_WRITE : 0), MAP_SHARED,
                q->fd, 0);
  g_assert_true (bytes != MAP_FAILED);
  g_assert_cmpint (bytes[0], ==, fill);
  g_assert_cmpint (bytes[len - PAGE], ==, fill);
  munmap ((void *) bytes, len);
  close (q->fd);
}

/* Takes both questions and answers them. */
static void
show_both (VtFrontend *fe, guint64 ro_answer)
{
  VtShmQuestion ro = vt_shm_receive (fe), rw = vt_shm_receive (fe);

  check_map (&ro, RO_ID, 4 * PAGE, 'r');
  check_map (&rw, RW_ID, 2 * PAGE, 'w');
  vt_shm_answer (fe, &ro, ro_answer);
  vt_shm_answer (fe, &rw, 0);
}

/* Waits until SIGUSR1 says so of a region. */
static void
check_state (Fixture *f, const char *line)
{
  gint64 end = g_get_monotonic_time () + VT_TIMEOUT_MS * 1000ll;

  for (;;) {
    g_autofree char *log = vt_daemon_log (f->daemon);

    if (strstr (log, line) != NULL)
      return;
    g_assert_cmpint (g_get_monotonic_time (), <, end);
    vt_daemon_signal (f->daemon, SIGUSR1);
    g_usleep (5000);
  }
}

static void
test_files_are_shown_once_the_regions_are_known (Fixture *f, gconstpointer data)
{
  g_assert_true (vt_set_backend_req_fd (f->fe));
  vt_barrier (f->fe);
  g_assert_false (vt_wait_readable (f->fe->channel, 0));
  ask_regions (f->fe);
  show_both (f->fe, 0);
  ask_regions (f->fe); /* and only once */
  vt_barrier (f->fe);
  g_assert_false (vt_wait_readable (f->fe->channel, 0));
  check_state (f, "ro, shown");
}

/* As cloud-hypervisor, whose channel comes last. */
static void
test_files_are_shown_once_there_is_a_channel (Fixture *f, gconstpointer data)
{
  ask_regions (f->fe);
  g_assert_true (vt_set_backend_req_fd (f->fe));
  show_both (f->fe, 0);
}

static void
test_each_front_end_is_shown_them (Fixture *f, gconstpointer data)
{
  for (guint i = 0; i < 3; i++) {
    g_assert_true (vt_set_backend_req_fd (f->fe));
    ask_regions (f->fe);
    show_both (f->fe, 0);
    vt_frontend_free (f->fe);
    f->fe = hello (f, TRUE);
  }
}

/* Front-ends forget them then, as the specification says. */
static void
test_they_are_shown_again_after_a_reset (Fixture *f, gconstpointer data)
{
  g_assert_true (vt_set_protocol_features (
      f->fe, f->fe->protocol_features | BIT (VD_PROTOCOL_F_RESET_DEVICE)));
  g_assert_true (vt_set_backend_req_fd (f->fe));
  ask_regions (f->fe);
  show_both (f->fe, 0);
  for (guint i = 0; i < 2; i++) {
    g_assert_true (vt_reset_device (f->fe));
    show_both (f->fe, 0);
  }
  vt_barrier (f->fe);
  g_assert_false (vt_wait_readable (f->fe->channel, 0));
}

static void
test_without_acks_nothing_is_awaited (Fixture *f, gconstpointer data)
{
  vt_frontend_free (f->fe);
  f->fe = hello (f, FALSE);
  g_assert_true (vt_set_backend_req_fd (f->fe));
  ask_regions (f->fe);
  for (guint i = 0; i < 2; i++) {
    VtShmQuestion q = vt_shm_receive (f->fe);

    g_assert_cmphex (q.header.flags, ==, VD_WIRE_VERSION);
    check_map (&q, i == 0 ? RO_ID : RW_ID, (i == 0 ? 4 : 2) * PAGE, "rw"[i]);
  }
  check_state (f, "ro, shown");
}

static void
test_a_refusal_is_told_and_nothing_else_fails (Fixture *f, gconstpointer data)
{
  g_assert_true (vt_set_backend_req_fd (f->fe));
  ask_regions (f->fe);
  show_both (f->fe, 1);
  vt_daemon_wait_log (f->daemon,
                      "mem: the front-end refused SHMEM_MAP of region 3");
  check_state (f, "ro, refused");
  check_state (f, "rw, shown");
}

/* A channel that ends owes its answers for ever; the next one is asked anew. */
static void
test_unanswered_questions_end_with_the_channel (Fixture *f, gconstpointer data)
{
  for (guint i = 0; i < 3; i++) {
    g_assert_true (vt_set_backend_req_fd (f->fe));
    ask_regions (f->fe);
    for (guint j = 0; j < 2; j++) {
      VtShmQuestion q = vt_shm_receive (f->fe);

      close (q.fd);
    }
    if (i == 1) /* by the front-end's end of it */
      vd_clear_fd (&f->fe->channel);
    vt_barrier (f->fe);
  }
}

/* Answers to nothing, too short ones, and messages that are none. */
static void
test_wrong_answers_are_survived (Fixture *f, gconstpointer data)
{
  VtShmQuestion q;

  g_assert_true (vt_set_backend_req_fd (f->fe));
  for (guint i = 0; i < 100; i++)
    vt_shm_send_answer (f->fe, VD_BACKEND_CONFIG_CHANGE_MSG, i, 8);
  ask_regions (f->fe);
  q = vt_shm_receive (f->fe);
  close (q.fd);
  vt_shm_send_answer (f->fe, VD_BACKEND_SHMEM_UNMAP, 0, 8);
  vt_shm_send_answer (f->fe, 77, 0, 8);
  vt_shm_send_answer (f->fe, VD_BACKEND_SHMEM_MAP, 0, 4);
  vt_daemon_wait_log (f->daemon,
                      "mem: the front-end refused SHMEM_MAP of region 3");
  q = vt_shm_receive (f->fe);
  close (q.fd);
  check_state (f, "rw, asked");
  for (guint i = 0; i < 100; i++)
    vt_shm_send_answer (f->fe, VD_BACKEND_SHMEM_MAP, i, 8);
  check_state (f, "rw, shown");
}

static void
test_changes_of_config_space_go_along (Fixture *f, gconstpointer data)
{
  VtShmQuestion ro, rw;

  g_assert_true (vt_set_backend_req_fd (f->fe));
  ask_regions (f->fe);
  ro = vt_shm_receive (f->fe);
  rw = vt_shm_receive (f->fe);
  close (ro.fd);
  close (rw.fd);
  vt_daemon_set (f->daemon, "mem", "config", "a le32 ro 2");
  vt_daemon_reload (f->daemon);
  vt_wait_config_change (f->fe);
  vt_shm_answer (f->fe, &ro, 0);
  vt_shm_answer (f->fe, &rw, 0);
  check_state (f, "rw, shown");
}

static void
test_a_file_that_grew_is_shown_anew_on_reload (Fixture *f, gconstpointer data)
{
  VtShmQuestion gone, again;
  int fd;

  g_assert_true (vt_set_backend_req_fd (f->fe));
  ask_regions (f->fe);
  show_both (f->fe, 0);
  fd = open (f->path, O_WRONLY | O_APPEND | O_CLOEXEC);
  g_assert_cmpint (write (fd, f->path, 1), ==, 1); /* within the last page */
  vt_daemon_reload (f->daemon);
  vt_daemon_wait_log (f->daemon, "reloaded: ");
  vt_barrier (f->fe);
  g_assert_false (vt_wait_readable (f->fe->channel, 0));
  g_assert_no_errno (ftruncate (fd, 8 * PAGE));
  close (fd);
  vt_daemon_reload (f->daemon);
  gone = vt_shm_receive (f->fe);
  again = vt_shm_receive (f->fe);
  g_assert_cmpuint (gone.header.request, ==, VD_BACKEND_SHMEM_UNMAP);
  g_assert_cmpint (gone.fd, ==, -1);
  g_assert_cmpuint (gone.map.id, ==, RO_ID);
  g_assert_cmpuint (gone.map.shm_offset, ==, 0);
  g_assert_cmpuint (gone.map.len, ==, 4 * PAGE);
  g_assert_cmpuint (again.map.len, ==, 8 * PAGE);
  g_assert_cmpuint (again.map.id, ==, RO_ID);
  close (again.fd);
  vt_shm_answer (f->fe, &gone, 0);
  vt_shm_answer (f->fe, &again, 0);
  check_state (f, "ro, shown");
}

static void
test_regions_do_not_change_on_reload (Fixture *f, gconstpointer data)
{
  vt_daemon_set (f->daemon, "mem", "shmem.9", "8k");
  vt_daemon_reload (f->daemon);
  vt_daemon_wait_log (f->daemon, "shmem.9: a region cannot come, go");
  ask_regions (f->fe);
}

static void
test_devices_without_regions_do_not_offer_them (Fixture *f, gconstpointer data)
{
  g_autoptr (VtFrontend) fe = vt_daemon_connect (f->daemon, "plain");

  vt_set_owner (fe);
  vt_get_features (fe);
  g_assert_cmphex (vt_get_protocol_features (fe) & BIT (VD_PROTOCOL_F_SHMEM),
                   ==, 0);
  g_assert_true (vt_set_protocol_features (fe, NEEDED));
  g_assert_true (
      vt_send (fe, VD_GET_SHMEM_CONFIG, VD_WIRE_VERSION, NULL, 0, NULL, 0));
  g_assert_cmpuint (vt_wait_closed (fe), ==, 0);
}

int
main (int argc, char **argv)
{
  g_test_init (&argc, &argv, NULL);
#define ADD(name, func)                                                        \
  g_test_add ("/shmem/" name, Fixture, NULL, set_up, func, tear_down)
  ADD ("channel-first", test_files_are_shown_once_the_regions_are_known);
  ADD ("channel-last", test_files_are_shown_once_there_is_a_channel);
  ADD ("again", test_each_front_end_is_shown_them);
  ADD ("reset", test_they_are_shown_again_after_a_reset);
  ADD ("no-acks", test_without_acks_nothing_is_awaited);
  ADD ("refused", test_a_refusal_is_told_and_nothing_else_fails);
  ADD ("unanswered", test_unanswered_questions_end_with_the_channel);
  ADD ("wrong-answers", test_wrong_answers_are_survived);
  ADD ("config-change", test_changes_of_config_space_go_along);
  ADD ("reload", test_a_file_that_grew_is_shown_anew_on_reload);
  ADD ("reload-mistake", test_regions_do_not_change_on_reload);
  ADD ("none", test_devices_without_regions_do_not_offer_them);
  return g_test_run ();
}
