/* SPDX-License-Identifier: BSD-3-Clause
 *
 * nbd-size.h - has CONTROL know when an export has another size
 *
 * NBD servers tell a size only to those that connect: whoever has a new
 * connection posts here, and CONTROL may make one just to ask.
 */
#pragma once

#include <glib.h>

#include "vring/mailbox.h"

struct nbd_handle;

typedef struct {
  const char *uri; /* both outlive the watch */
  const char *id;
  /* CONTROL: takes note of the size that a connection was told. */
  gboolean (*accept) (gpointer owner, struct nbd_handle *handle,
                      GError **error);
  gpointer owner;
  /* CONTROL: the size may have changed. */
  void (*changed) (gpointer data);
  gpointer data;
} VdNbdSizeSetup;

typedef struct VdNbdSizeWatch VdNbdSizeWatch;

/* CONTROL.  @control: (transfer none): outlives the watch, whose main context is
 * the default one */
VdNbdSizeWatch *
vd_nbd_size_watch_new (const VdNbdSizeSetup *setup, VdMailbox *control);

/* Any thread: calls changed(), soon. */
void vd_nbd_size_watch_post (VdNbdSizeWatch *watch);

/* CONTROL: connects to the server to ask, unless that is under way. */
void vd_nbd_size_watch_ask (VdNbdSizeWatch *watch);

/* CONTROL: nobody posts any more; NULL is fine. */
void vd_nbd_size_watch_free (VdNbdSizeWatch *watch);
