/* SPDX-License-Identifier: BSD-3-Clause
 *
 * fixed.c - guest memory as registered buffers: asked for, and what the user is
 * told if the kernel refuses, once for all queues of a driver's life
 */
#define G_LOG_DOMAIN "virtiod-blk"

#include <errno.h>

#include "devices/blk/disk.h"

static void
run_tell (VdMail *mail)
{
  VdBlk *blk = VD_CONTAINER (mail, VdBlk, fixed_mail);
  int error = atomic_load (&blk->fixed_error);

  g_warning ("%s: register-memory: the kernel refuses it: %s%s; requests go on "
             "without it",
             blk->parent.id, g_strerror (error),
             error == ENOMEM ? " (RLIMIT_MEMLOCK)" : "");
}

static void
on_refused (gpointer data, int error)
{
  VdBlk *blk = data;
  int none = 0;

  if (!atomic_compare_exchange_strong (&blk->fixed_error, &none, error))
    return;
  blk->fixed_mail.run = run_tell;
  vd_mailbox_post (blk->parent.control, &blk->fixed_mail);
}

void
vd_blk_register_memory (VdBlkQueue *queue)
{
  if (queue->blk->register_memory)
    vd_call_fix_memory (queue->worker, on_refused, queue->blk);
}
