/* SPDX-License-Identifier: BSD-3-Clause */
#include "tests/lib/pager.h"

#include <fcntl.h>
#include <linux/userfaultfd.h>
#include <poll.h>
#include <pthread.h>
#include <stdatomic.h>
#include <stdbool.h>
#include <string.h>
#include <sys/eventfd.h>
#include <sys/ioctl.h>
#include <sys/syscall.h>
#include <unistd.h>

#include "vring/fd.h"

#define CLIENTS_MAX 4

/* A back-end: a connection that advised. */
typedef struct {
  VtFrontend *fe;
  int uffd;
  guint64 base; /* where the region is there */
} Client;

struct VtPager {
  VtRegion *region;
  guint8 *copy; /* of the whole region */
  Client clients[CLIENTS_MAX];
  guint n_clients;
  pthread_t thread;
  gboolean running;
  int wake;   /* eventfd: ends the thread */
  gsize held; /* offset of a page; G_MAXSIZE: none */
  atomic_bool held_awaited;
  atomic_uint n_brought;
};

gboolean
vt_pager_is_permitted (void)
{
  vd_autofd fd = (int) syscall (SYS_userfaultfd, O_CLOEXEC | O_NONBLOCK);

  return fd >= 0 || access ("/dev/userfaultfd", R_OK | W_OK) == 0;
}

VtPager *
vt_pager_new (VtGuest *guest)
{
  VtPager *pager = g_new0 (VtPager, 1);

  g_assert_cmpuint (guest->regions->len, ==, 1);
  pager->region = g_ptr_array_index (guest->regions, 0);
  pager->wake = eventfd (0, EFD_CLOEXEC);
  pager->held = G_MAXSIZE;
  return pager;
}

static void
stop_thread (VtPager *pager)
{
  if (!pager->running)
    return;
  g_assert_no_errno (eventfd_write (pager->wake, 1));
  g_assert_cmpint (pthread_join (pager->thread, NULL), ==, 0);
  pager->running = FALSE;
}

void
vt_pager_close (VtPager *pager)
{
  stop_thread (pager);
  for (guint i = 0; i < pager->n_clients; i++)
    vd_clear_fd (&pager->clients[i].uffd);
}

void
vt_pager_free (VtPager *pager)
{
  if (pager == NULL)
    return;
  vt_pager_close (pager);
  close (pager->wake);
  g_free (pager->copy);
  g_free (pager);
}

void
vt_pager_take_away (VtPager *pager)
{
  VtRegion *r = pager->region;

  pager->copy = g_malloc (r->size);
  memcpy (pager->copy, r->ptr, r->size);
  g_assert_no_errno (fallocate (r->fd,
                                FALLOC_FL_PUNCH_HOLE | FALLOC_FL_KEEP_SIZE,
                                (off_t) r->offset, (off_t) r->size));
}

void
vt_pager_advise (VtPager *pager, VtFrontend *fe)
{
  Client *client = &pager->clients[pager->n_clients++];
  VdWireHeader header;

  g_assert_cmpuint (pager->n_clients, <=, CLIENTS_MAX);
  client->fe = fe;
  g_assert_true (
      vt_send (fe, VD_POSTCOPY_ADVISE, VD_WIRE_VERSION, NULL, 0, NULL, 0));
  g_assert_cmpuint (
      vt_receive_bytes (fe, &header, sizeof header, &client->uffd), ==,
      sizeof header);
  g_assert_cmpuint (header.request, ==, VD_POSTCOPY_ADVISE);
  g_assert_cmphex (header.flags, ==, VD_REPLY_FLAGS);
  g_assert_cmpuint (header.size, ==, 0);
  g_assert_cmpint (client->uffd, >=, 0);
}

void
vt_pager_listen (VtPager *pager, VtFrontend *fe)
{
  g_assert_true (vt_send (fe, VD_POSTCOPY_LISTEN,
                          VD_WIRE_VERSION | VD_FLAG_NEED_REPLY, NULL, 0, NULL,
                          0));
  g_assert_cmpuint (vt_receive_ack (fe, VD_POSTCOPY_LISTEN), ==, 0);
}

void
vt_pager_ack (VtPager *pager, VtFrontend *fe, gboolean table)
{
  const guint64 zero = 0;

  g_assert_true (vt_send (fe, table ? VD_SET_MEM_TABLE : VD_ADD_MEM_REG,
                          VD_WIRE_VERSION, &zero, sizeof zero, NULL, 0));
}

/* Sends the region in a message of either form.
 * Returns: where it is in the back-end */
static guint64
share (const VtRegion *r, VtFrontend *fe, gboolean table)
{
  const VdWireRegion region = { r->gpa, r->size, r->uva, r->offset };
  /* Both have 8 bytes before the region: of them 4 are the number of regions. */
  struct {
    guint32 n_regions, padding;
    VdWireRegion region;
  } message = { table ? 1 : 0, 0, region }, reply;
  guint32 request = table ? VD_SET_MEM_TABLE : VD_ADD_MEM_REG;

  g_assert_true (vt_send (fe, request, VD_WIRE_VERSION, &message,
                          sizeof message, &r->fd, 1));
  vt_receive (fe, request, &reply, sizeof reply);
  g_assert_cmpuint (reply.n_regions, ==, message.n_regions);
  g_assert_cmphex (reply.region.gpa, ==, r->gpa);
  g_assert_cmphex (reply.region.size, ==, r->size);
  g_assert_cmphex (reply.region.uva, !=, r->uva);
  g_assert_cmphex (reply.region.uva % VT_PAGE, ==, r->offset % VT_PAGE);
  return reply.region.uva;
}

void
vt_pager_share (VtPager *pager, VtFrontend *fe, gboolean table, gboolean ack)
{
  for (guint i = 0; i < pager->n_clients; i++)
    if (pager->clients[i].fe == fe)
      pager->clients[i].base = share (pager->region, fe, table);
  if (ack)
    vt_pager_ack (pager, fe, table);
}

/* Puts the page into the file and wakes those who wait for it. */
static void
bring (VtPager *pager, gsize offset)
{
  const VtRegion *r = pager->region;

  g_assert_cmpint (pwrite (r->fd, pager->copy + offset, VT_PAGE,
                           (off_t) (r->offset + offset)),
                   ==, VT_PAGE);
  for (guint i = 0; i < pager->n_clients; i++) {
    struct uffdio_range range = { pager->clients[i].base + offset, VT_PAGE };

    if (pager->clients[i].uffd >= 0)
      g_assert_no_errno (ioctl (pager->clients[i].uffd, UFFDIO_WAKE, &range));
  }
}

static void
serve_fault (VtPager *pager, const Client *client)
{
  struct uffd_msg message;
  gsize offset;

  if (read (client->uffd, &message, sizeof message) != sizeof message)
    return; /* it does not wait any more */
  g_assert_cmpuint (message.event, ==, UFFD_EVENT_PAGEFAULT);
  offset = (message.arg.pagefault.address - client->base) / VT_PAGE * VT_PAGE;
  g_assert_cmpuint (offset, <, pager->region->size);
  if (offset == pager->held) {
    atomic_store (&pager->held_awaited, true);
    return;
  }
  bring (pager, offset);
  atomic_fetch_add (&pager->n_brought, 1);
}

static void *
serve (void *data)
{
  VtPager *pager = data;
  struct pollfd fds[CLIENTS_MAX + 1];

  for (;;) {
    guint n = pager->n_clients;

    for (guint i = 0; i < n; i++)
      fds[i] = (struct pollfd){ pager->clients[i].uffd, POLLIN, 0 };
    fds[n] = (struct pollfd){ pager->wake, POLLIN, 0 };
    g_assert_no_errno (poll (fds, n + 1, -1));
    for (guint i = 0; i < n; i++)
      if (fds[i].revents & POLLIN)
        serve_fault (pager, &pager->clients[i]);
    if (fds[n].revents & POLLIN)
      return NULL;
  }
}

void
vt_pager_start (VtPager *pager, const void *held)
{
  const guint8 *page = held;

  if (page != NULL)
    pager->held = (gsize) (page - pager->region->ptr) / VT_PAGE * VT_PAGE;
  g_assert_cmpint (pthread_create (&pager->thread, NULL, serve, pager), ==, 0);
  pager->running = TRUE;
}

void
vt_pager_wait_held (VtPager *pager)
{
  gint64 end = g_get_monotonic_time () + VT_TIMEOUT_MS * 1000ll;

  while (!atomic_load (&pager->held_awaited)) {
    g_assert_cmpint (g_get_monotonic_time (), <, end);
    g_usleep (100);
  }
}

void
vt_pager_release (VtPager *pager)
{
  bring (pager, pager->held);
}

void
vt_pager_bring_all (VtPager *pager)
{
  VtRegion *r = pager->region;

  stop_thread (pager);
  for (gsize offset = 0; offset < r->size; offset += VT_PAGE) {
    off_t at = (off_t) (r->offset + offset);

    /* What was brought may have changed since. */
    if (lseek (r->fd, at, SEEK_DATA) != at)
      bring (pager, offset);
  }
}

guint
vt_pager_n_brought (VtPager *pager)
{
  return atomic_load (&pager->n_brought);
}

guint64
vt_postcopy_end (VtFrontend *fe)
{
  g_assert_true (vt_send (fe, VD_POSTCOPY_END,
                          VD_WIRE_VERSION | VD_FLAG_NEED_REPLY, NULL, 0, NULL,
                          0));
  return vt_receive_ack (fe, VD_POSTCOPY_END);
}
