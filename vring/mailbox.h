/* SPDX-License-Identifier: BSD-3-Clause
 *
 * mailbox.h - intrusive messages from any thread to the one that owns the box
 *
 * The only way from a queue's thread to the control plane, back, and from pool
 * threads to a queue: a lock-free list of caller-owned mails and an eventfd.
 * GLib's queues stay out, because ThreadSanitizer reports false races on them
 * with GLib 2.74.
 */
#pragma once

#include <glib.h>
#include <stddef.h>

/* The struct of @type whose @member is at @ptr: what a mail was embedded in. */
#define VD_CONTAINER(ptr, type, member)                                        \
  ((type *) (void *) ((char *) (ptr) -offsetof (type, member)))

typedef struct VdMail VdMail;
typedef struct VdMailbox VdMailbox;

/* Embedded in the sender's own struct; the receiver owns it until run(). */
struct VdMail {
  void (*run) (VdMail *mail); /* OWNER's thread; may free the mail */
  VdMail *next;               /* private while posted */
};

/* Returns: (transfer full): a box, or NULL with errno set (no descriptors). */
VdMailbox *vd_mailbox_new (void);
/* Frees @box, which must be empty; NULL is fine. */
void vd_mailbox_free (VdMailbox *box);

/* Any thread.  Wakes the owner if it may be asleep.  @mail stays untouched by
 * the sender until its run() was called. */
void vd_mailbox_post (VdMailbox *box, VdMail *mail);

/* OWNER: runs every mail posted so far, in the order of posting.
 * Returns: how many it ran. */
guint vd_mailbox_drain (VdMailbox *box);

/* An eventfd that becomes readable when there is mail; vd_mailbox_drain()
 * resets it.  Owned by the box. */
int vd_mailbox_fd (const VdMailbox *box);

G_DEFINE_AUTOPTR_CLEANUP_FUNC (VdMailbox, vd_mailbox_free)
