/* SPDX-License-Identifier: BSD-3-Clause
 *
 * nbd.c - see nbd.h
 */
#include "devices/blk/nbd.h"

#include <errno.h>
#include <gio/gio.h>
#include <libnbd.h>
#include <string.h>

#include "devices/blk/nbd-attempt.h"
#include "devices/blk/nbd-link.h"
#include "devices/blk/nbd-size.h"

#define OPEN_MS 12000

/* What a server that says nothing accepts (NBD protocol, "Block size
 * constraints"). */
#define MAX_LEN (32u << 20)

/* Larger blocks than these are no hint that a guest could follow. */
#define PREFERRED_MAX (1u << 20)

/* What commands a server knows; bits. */
enum {
  CAN_FLUSH = 1 << 0,
  CAN_FUA = 1 << 1,
  CAN_TRIM = 1 << 2,
  CAN_ZERO = 1 << 3,
  CAN_MULTI_CONN = 1 << 4,
  CAN_WRITE = 1 << 5,
};

struct VdNbd {
  char *uri, *id;
  _Atomic guint64 size;             /* of the export */
  _Atomic (VdNbdSizeWatch *) watch; /* NULL: nobody asks for changes */
  const VdImage *image;             /* whose size the driver knows */
  guint abilities;                  /* that the disk relies on */
  guint32 align;
  guint32 max_len;
  gint64 delay_us;

  /* The home link and its thread. */
  VdWorker *worker;
  VdNbdLink *home;
  struct nbd_handle *first; /* the connection it begins with */
  VdMail start_mail, stop_mail;
};

/* What the server says. */

static guint
abilities_of (struct nbd_handle *handle)
{
  return (nbd_can_flush (handle) == 1 ? CAN_FLUSH : 0) |
         (nbd_can_fua (handle) == 1 ? CAN_FUA : 0) |
         (nbd_can_trim (handle) == 1 ? CAN_TRIM : 0) |
         (nbd_can_zero (handle) == 1 ? CAN_ZERO : 0) |
         (nbd_can_multi_conn (handle) == 1 ? CAN_MULTI_CONN : 0) |
         (nbd_is_read_only (handle) == 0 ? CAN_WRITE : 0);
}

static guint64
block_size (struct nbd_handle *handle, int which)
{
  gint64 size = nbd_get_block_size (handle, which);

  return size > 0 ? (guint64) size : 0;
}

static guint32
least_block (struct nbd_handle *handle)
{
  return (guint32) MAX (block_size (handle, LIBNBD_SIZE_MINIMUM), 1);
}

static guint32
longest (struct nbd_handle *handle, guint32 align)
{
  guint64 max = block_size (handle, LIBNBD_SIZE_MAXIMUM);

  max = MIN (max != 0 ? max : MAX_LEN, MAX_LEN);
  return (guint32) MAX (max & ~(guint64) (align - 1), align);
}

static gboolean
is_power_of_2 (guint64 n)
{
  return n != 0 && (n & (n - 1)) == 0;
}

/* Commands in smaller blocks than the server's smallest are refused. */
static gboolean
take_blocks (VdNbd *nbd, struct nbd_handle *handle, VdImage *image,
             guint wanted, GError **error)
{
  guint64 preferred = block_size (handle, LIBNBD_SIZE_PREFERRED);

  nbd->align = least_block (handle);
  nbd->max_len = longest (handle, nbd->align);
  if (!is_power_of_2 (nbd->align) || nbd->align > VD_BLOCK_SIZE_MAX) {
    g_set_error (error, G_IO_ERROR, G_IO_ERROR_NOT_SUPPORTED,
                 "the server wants blocks of %u bytes; at most %u are possible",
                 nbd->align, VD_BLOCK_SIZE_MAX);
    return FALSE;
  }
  if (wanted != 0 && wanted < nbd->align) {
    g_set_error (error, G_IO_ERROR, G_IO_ERROR_INVALID_ARGUMENT,
                 "the server needs block-size=%u or more", nbd->align);
    return FALSE;
  }
  if (!is_power_of_2 (preferred) || preferred > PREFERRED_MAX)
    preferred = VD_BLOCK_SIZE_MAX;
  image->memory_align = 1;
  image->file_align = nbd->align;
  image->block_size = wanted != 0 ? wanted : MAX (nbd->align, VD_SECTOR);
  image->min_io_size = (guint32) MAX (preferred, image->block_size);
  image->discard_align = image->min_io_size;
  image->physical_size = MIN (image->min_io_size, VD_BLOCK_SIZE_MAX);
  return TRUE;
}

static gboolean
take_abilities (VdNbd *nbd, struct nbd_handle *handle, VdImage *image,
                GError **error)
{
  nbd->abilities = abilities_of (handle);
  if (!image->read_only && !(nbd->abilities & CAN_WRITE)) {
    g_set_error_literal (
        error, G_IO_ERROR, G_IO_ERROR_READ_ONLY,
        "the server lets nobody write to it (add read-only=yes)");
    return FALSE;
  }
  if (image->read_only)
    nbd->abilities &= ~(guint) CAN_WRITE;
  image->can_discard = !image->read_only && (nbd->abilities & CAN_TRIM);
  image->no_dsync = !(nbd->abilities & CAN_FUA);
  return TRUE;
}

static void
take_size (VdNbd *nbd, guint64 size)
{
  guint64 old = atomic_exchange (&nbd->size, size);
  VdNbdSizeWatch *watch = atomic_load (&nbd->watch);

  if (old != size && watch != NULL)
    vd_nbd_size_watch_post (watch);
}

/* A connection that comes later must be able to do what the first one could: the
 * driver was told so. */
static gboolean
accept_handle (gpointer owner, struct nbd_handle *handle, GError **error)
{
  VdNbd *nbd = owner;
  gint64 size = nbd_get_size (handle);

  if (size < 0 || (guint64) size < atomic_load (&nbd->image->size))
    g_set_error (error, G_IO_ERROR, G_IO_ERROR_FAILED,
                 "the export has %" G_GINT64_FORMAT
                 " bytes now, fewer than before",
                 size);
  else if ((nbd->abilities & ~abilities_of (handle)) != 0 ||
           least_block (handle) > nbd->align ||
           longest (handle, nbd->align) < nbd->max_len)
    g_set_error_literal (error, G_IO_ERROR, G_IO_ERROR_FAILED,
                         "the export can do less than before");
  else {
    take_size (nbd, (guint64) size);
    return TRUE;
  }
  return FALSE;
}

guint64
vd_nbd_size (const VdNbd *nbd)
{
  return atomic_load (&nbd->size);
}

void
vd_nbd_watch_size (VdNbd *nbd, VdMailbox *control,
                   void (*changed) (gpointer data), gpointer data)
{
  const VdNbdSizeSetup setup = {
    .uri = nbd->uri,
    .id = nbd->id,
    .accept = accept_handle,
    .owner = nbd,
    .changed = changed,
    .data = data,
  };

  atomic_store (&nbd->watch, vd_nbd_size_watch_new (&setup, control));
  changed (data); /* it may have been another one before */
}

void
vd_nbd_ask_size (VdNbd *nbd)
{
  VdNbdSizeWatch *watch = atomic_load (&nbd->watch);

  if (watch != NULL)
    vd_nbd_size_watch_ask (watch);
}

/* Calls made elsewhere. */

static void
run_submit (VdMail *mail)
{
  VdTask *task = VD_CONTAINER (mail, VdTask, op.mail);

  vd_nbd_link_submit (task->nbd.link, task);
}

void
vd_nbd_submit_from (VdNbd *nbd, VdTask *task, VdMailbox *box)
{
  task->op.box = box;
  task->op.mail.run = run_submit;
  task->nbd.link = nbd->home;
  vd_worker_post (nbd->worker, &task->op.mail);
}

/* A queue's own connection is gone, or not there yet. */
static void
divert (gpointer owner, VdTask *task)
{
  VdNbdPort *port = owner;

  vd_nbd_submit_from (port->nbd, task, port->box);
}

/* Opening and closing. */

static VdNbdLinkSetup
link_setup (VdNbd *nbd)
{
  return (VdNbdLinkSetup){
    .uri = nbd->uri,
    .id = nbd->id,
    .delay_us = nbd->delay_us,
    .align = nbd->align,
    .max_len = nbd->max_len,
    .accept = accept_handle,
    .owner = nbd,
  };
}

static void
run_start (VdMail *mail)
{
  VdNbd *nbd = VD_CONTAINER (mail, VdNbd, start_mail);

  vd_nbd_link_start (nbd->home, g_steal_pointer (&nbd->first));
}

static void
run_stop (VdMail *mail)
{
  VdNbd *nbd = VD_CONTAINER (mail, VdNbd, stop_mail);

  if (nbd->home != NULL)
    vd_nbd_link_stop (nbd->home);
}

static gboolean
start_home (VdNbd *nbd, GError **error)
{
  const VdNbdLinkSetup setup = link_setup (nbd);

  nbd->worker = vd_worker_new ("nbd", NULL, FALSE, error);
  if (nbd->worker == NULL)
    return FALSE;
  nbd->home = vd_nbd_link_new (&setup, nbd->worker);
  if (nbd->home == NULL) {
    g_set_error (error, G_IO_ERROR, g_io_error_from_errno (errno),
                 "no timer: %s", g_strerror (errno));
    return FALSE;
  }
  nbd->start_mail.run = run_start;
  vd_worker_post (nbd->worker, &nbd->start_mail);
  return TRUE;
}

static gboolean
check_uri (const char *uri, GError **error)
{
  struct nbd_handle *handle;
  gboolean has_tls;

  if (!g_str_has_prefix (uri, "nbds"))
    return TRUE;
  handle = nbd_create ();
  has_tls = handle != NULL && nbd_supports_tls (handle) == 1;
  nbd_close (handle);
  if (has_tls)
    return TRUE;
  g_set_error_literal (error, G_IO_ERROR, G_IO_ERROR_NOT_SUPPORTED,
                       "this libnbd was built without TLS");
  return FALSE;
}

static struct nbd_handle *
wait_for (VdNbdAttempt *attempt, GError **error)
{
  if (vd_nbd_attempt_ended (attempt, OPEN_MS))
    return vd_nbd_attempt_take (attempt, error);
  g_set_error_literal (error, G_IO_ERROR, G_IO_ERROR_TIMED_OUT,
                       "the server does not answer");
  return NULL;
}

VdNbd *
vd_nbd_open (const VdImageSetup *setup, VdImage *image, GError **error)
{
  VdNbd *nbd;
  g_autoptr (VdNbdAttempt) attempt = NULL;

  if (!check_uri (setup->name, error))
    return NULL;
  attempt = vd_nbd_attempt_new (setup->name, NULL, error);
  if (attempt == NULL)
    return NULL;
  nbd = g_new0 (VdNbd, 1);
  nbd->image = image;
  nbd->uri = g_strdup (setup->name);
  nbd->id = g_strdup (setup->id);
  nbd->delay_us = (gint64) (setup->reconnect_delay * G_USEC_PER_SEC);
  nbd->first = wait_for (attempt, error);
  if (nbd->first == NULL || !take_abilities (nbd, nbd->first, image, error) ||
      !take_blocks (nbd, nbd->first, image, setup->block_size, error) ||
      !accept_handle (nbd, nbd->first, error) || !start_home (nbd, error)) {
    vd_nbd_close (nbd);
    return NULL;
  }
  return nbd;
}

void
vd_nbd_close (VdNbd *nbd)
{
  if (nbd == NULL)
    return;
  if (nbd->worker != NULL) {
    nbd->stop_mail.run = run_stop;
    vd_worker_post (nbd->worker, &nbd->stop_mail);
    vd_worker_free (nbd->worker);
  }
  vd_nbd_size_watch_free (atomic_load (&nbd->watch));
  nbd_close (nbd->first);
  g_free (nbd->uri);
  g_free (nbd->id);
  g_free (nbd);
}

/* Ports. */

void
vd_nbd_open_port (VdNbd *nbd, VdNbdPort *port, VdWorker *worker)
{
  VdNbdLinkSetup setup = link_setup (nbd);

  *port = (VdNbdPort){ .nbd = nbd, .box = vd_worker_box (worker) };
  if (!(nbd->abilities & CAN_MULTI_CONN))
    return;
  setup.starter = nbd->worker; /* queues may not connect to anything */
  setup.divert = divert;
  setup.divert_owner = port;
  port->own = vd_nbd_link_new (&setup, worker);
  if (port->own != NULL)
    vd_nbd_link_start (port->own, NULL);
}

void
vd_nbd_close_port (VdNbdPort *port)
{
  if (port->own != NULL)
    vd_nbd_link_stop (port->own);
  *port = (VdNbdPort){ 0 };
}

void
vd_nbd_submit (VdNbdPort *port, VdTask *task)
{
  if (port->own == NULL || !vd_nbd_link_connected (port->own)) {
    vd_nbd_submit_from (port->nbd, task, port->box);
    return;
  }
  task->op.box = NULL;
  vd_nbd_link_submit (port->own, task);
}
