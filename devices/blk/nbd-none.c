/* SPDX-License-Identifier: BSD-3-Clause
 *
 * nbd-none.c - nbd.h in a build without libnbd: no remote image ever opens, so
 * nothing else is ever called
 */
#include "devices/blk/nbd.h"

#include <gio/gio.h>

VdNbd *
vd_nbd_open (const VdImageSetup *setup, VdImage *image, GError **error)
{
  g_set_error_literal (error, G_IO_ERROR, G_IO_ERROR_NOT_SUPPORTED,
                       "this virtiod was built without libnbd");
  return NULL;
}

void
vd_nbd_close (VdNbd *nbd)
{
  g_assert (nbd == NULL);
}

guint64
vd_nbd_size (const VdNbd *nbd)
{
  g_assert_not_reached ();
}

void
vd_nbd_watch_size (VdNbd *nbd, VdMailbox *control,
                   void (*changed) (gpointer data), gpointer data)
{
  g_assert_not_reached ();
}

void
vd_nbd_ask_size (VdNbd *nbd)
{
  g_assert_not_reached ();
}

void
vd_nbd_open_port (VdNbd *nbd, VdNbdPort *port, VdWorker *worker)
{
  g_assert_not_reached ();
}

void
vd_nbd_close_port (VdNbdPort *port)
{
  g_assert_not_reached ();
}

void
vd_nbd_submit (VdNbdPort *port, VdTask *task)
{
  g_assert_not_reached ();
}

void
vd_nbd_submit_from (VdNbd *nbd, VdTask *task, VdMailbox *box)
{
  g_assert_not_reached ();
}
