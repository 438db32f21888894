/* SPDX-License-Identifier: BSD-3-Clause
 *
 * mailbox.c - a stack that senders push to and the owner takes whole
 *
 * Only the sender that finds the stack empty writes to the eventfd: whoever
 * comes later knows that the owner was already woken and has not looked yet.
 */
#include "vring/mailbox.h"

#include <errno.h>
#include <poll.h>
#include <stdatomic.h>
#include <sys/eventfd.h>

#include "vring/fd.h"

struct VdMailbox {
  _Atomic (VdMail *) newest;
  int fd;
  gint64 n_unread; /* OWNER: stacks taken less wake-ups read */
};

VdMailbox *
vd_mailbox_new (void)
{
  vd_autofd fd = eventfd (0, EFD_CLOEXEC | EFD_NONBLOCK);
  VdMailbox *box;

  if (fd < 0)
    return NULL;
  box = g_new0 (VdMailbox, 1);
  box->fd = vd_steal_fd (&fd);
  return box;
}

void
vd_mailbox_free (VdMailbox *box)
{
  struct pollfd wake_up = { box != NULL ? box->fd : -1, POLLIN, 0 };

  if (box == NULL)
    return;
  /* A sender whose mail was taken already may be about to write: by then the
   * number of the descriptor must not be somebody else's. */
  while (box->n_unread > 0)
    if (poll (&wake_up, 1, -1) == 1)
      vd_mailbox_drain (box);
  close (box->fd);
  g_free (box);
}

void
vd_mailbox_post (VdMailbox *box, VdMail *mail)
{
  const guint64 one = 1;
  VdMail *newest = atomic_load_explicit (&box->newest, memory_order_relaxed);
  int fd = box->fd;

  do {
    mail->next = newest;
  } while (!atomic_compare_exchange_weak_explicit (
      &box->newest, &newest, mail, memory_order_acq_rel, memory_order_relaxed));
  /* A full counter wakes the owner as well, so that error is none. */
  if (newest == NULL)
    while (write (fd, &one, sizeof one) < 0 && errno == EINTR)
      ;
}

guint
vd_mailbox_drain (VdMailbox *box)
{
  VdMail *mail, *oldest = NULL;
  guint64 count;
  guint n = 0;

  if (box->n_unread == 0 &&
      atomic_load_explicit (&box->newest, memory_order_relaxed) == NULL)
    return 0;

  /* Wake-ups are read before the stack is taken: mail that comes later finds an
   * empty stack and wakes the owner anew.  An owner that looks unasked may take
   * mail whose wake-up comes later; that one is read by a later call. */
  if (read (box->fd, &count, sizeof count) == sizeof count)
    box->n_unread -= (gint64) count;
  mail = atomic_exchange_explicit (&box->newest, NULL, memory_order_acq_rel);
  if (mail != NULL)
    box->n_unread++;
  while (mail != NULL) {
    VdMail *next = mail->next;

    mail->next = oldest;
    oldest = mail;
    mail = next;
  }
  for (mail = oldest; mail != NULL; n++) {
    VdMail *next = mail->next;

    mail->run (mail);
    mail = next;
  }
  return n;
}

int
vd_mailbox_fd (const VdMailbox *box)
{
  return box->fd;
}
