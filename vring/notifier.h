/* SPDX-License-Identifier: BSD-3-Clause
 *
 * notifier.h - waking the front-end through a descriptor that it chose
 *
 * A call or error descriptor may be an eventfd, a socket (User-Mode Linux) or a
 * pipe, blocking or not, full or closed.  A write to it must neither block nor
 * change its flags, which the front-end's copy shares.
 */
#pragma once

#include <glib.h>

/* How to write without blocking. */
typedef enum {
  VD_NOTIFIER_NONE,     /* no descriptor: the driver polls */
  VD_NOTIFIER_EVENTFD,  /* O_NONBLOCK: a plain write */
  VD_NOTIFIER_BLOCKING, /* an eventfd without O_NONBLOCK: poll, then write */
  VD_NOTIFIER_SOCKET,   /* send with MSG_DONTWAIT */
  VD_NOTIFIER_PIPE,     /* pwritev2 with RWF_NOWAIT */
} VdNotifierKind;

typedef struct {
  VdNotifierKind kind;
  int fd; /* owned */
} VdNotifier;

#define VD_NOTIFIER_INIT                                                       \
  {                                                                            \
    VD_NOTIFIER_NONE, -1                                                       \
  }

/* Any thread.  @fd: (transfer full) or -1; it is closed on failure.
 * Returns: FALSE with @error set if @fd is nothing that can be notified. */
gboolean vd_notifier_init (VdNotifier *notifier, int fd, GError **error);
void vd_notifier_clear (VdNotifier *notifier);

/* Any thread: wakes the other side; a full counter or buffer means that it was
 * woken already, and a closed peer needs no waking.
 * Returns: whether a system call was made. */
gboolean vd_notifier_signal (const VdNotifier *notifier);

/* CONTROL: lets a thread go that a front-end caught in vd_notifier_signal() by
 * filling a blocking eventfd just after it was found writable. */
void vd_notifier_unblock (const VdNotifier *notifier);

/* Any thread.  Returns: whether @fd is an eventfd. */
gboolean vd_fd_is_eventfd (int fd);
