/* SPDX-License-Identifier: BSD-3-Clause
 *
 * nbd-size.c - see nbd-size.h
 */
#define G_LOG_DOMAIN "virtiod-blk"

#include "devices/blk/nbd-size.h"

#include <glib-unix.h>
#include <libnbd.h>
#include <stdatomic.h>

#include "devices/blk/nbd-attempt.h"

struct VdNbdSizeWatch {
  VdNbdSizeSetup setup;
  VdMailbox *control;
  VdMail mail;
  atomic_bool posted;

  /* CONTROL. */
  gboolean freed; /* by its owner; the mail frees the rest */
  VdNbdAttempt *attempt;
  guint source; /* of the attempt's end */
};

static void
run_changed (VdMail *mail)
{
  VdNbdSizeWatch *watch = VD_CONTAINER (mail, VdNbdSizeWatch, mail);

  atomic_store (&watch->posted, false);
  if (watch->freed)
    g_free (watch);
  else
    watch->setup.changed (watch->setup.data);
}

VdNbdSizeWatch *
vd_nbd_size_watch_new (const VdNbdSizeSetup *setup, VdMailbox *control)
{
  VdNbdSizeWatch *watch = g_new0 (VdNbdSizeWatch, 1);

  watch->setup = *setup;
  watch->control = control;
  watch->mail.run = run_changed;
  return watch;
}

void
vd_nbd_size_watch_post (VdNbdSizeWatch *watch)
{
  if (!atomic_exchange (&watch->posted, true))
    vd_mailbox_post (watch->control, &watch->mail);
}

static gboolean
on_answer (gint fd, GIOCondition condition, gpointer data)
{
  VdNbdSizeWatch *watch = data;
  g_autoptr (GError) error = NULL;
  struct nbd_handle *handle = vd_nbd_attempt_take (watch->attempt, &error);

  g_clear_pointer (&watch->attempt, vd_nbd_attempt_free);
  watch->source = 0;
  if (handle == NULL ||
      !watch->setup.accept (watch->setup.owner, handle, &error))
    g_warning ("%s: image: the server does not tell its size: %s",
               watch->setup.id, error->message);
  nbd_close (handle);
  return G_SOURCE_REMOVE;
}

void
vd_nbd_size_watch_ask (VdNbdSizeWatch *watch)
{
  g_autoptr (GError) error = NULL;

  if (watch->attempt != NULL)
    return;
  watch->attempt = vd_nbd_attempt_new (watch->setup.uri, NULL, &error);
  if (watch->attempt == NULL) {
    g_warning ("%s: image: %s", watch->setup.id, error->message);
    return;
  }
  watch->source = g_unix_fd_add (vd_nbd_attempt_fd (watch->attempt), G_IO_IN,
                                 on_answer, watch);
}

void
vd_nbd_size_watch_free (VdNbdSizeWatch *watch)
{
  if (watch == NULL)
    return;
  g_clear_handle_id (&watch->source, g_source_remove);
  g_clear_pointer (&watch->attempt, vd_nbd_attempt_free);
  watch->freed = TRUE;
  if (!atomic_load (&watch->posted))
    g_free (watch);
}
