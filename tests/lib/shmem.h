/* SPDX-License-Identifier: BSD-3-Clause
 *
 * shmem.h - a front-end's side of shared memory regions, for tests
 *
 * Questions of the back-end, and a window: a region that is really mapped.  It
 * is as strict as QEMU 11: nothing is mapped over a mapping, and only what was
 * mapped in one go is unmapped; whether a file ends before is not looked at.
 */
#pragma once

#include "tests/lib/frontend.h"

/* SHMEM_MAP or SHMEM_UNMAP. */
typedef struct {
  VdWireHeader header;
  VdWireShmemMap map;
  int fd; /* -1: none */
} VtShmQuestion;

/* Waits for a question on the back-end channel. */
VtShmQuestion vt_shm_receive (VtFrontend *fe);
/* Answers one that asked for it.  @value: 0: it was done */
void
vt_shm_answer (VtFrontend *fe, const VtShmQuestion *question, guint64 value);
/* Sends any answer.  @size: bytes of payload, at most 8 */
void vt_shm_send_answer (VtFrontend *fe, guint32 request, guint64 value,
                         guint32 size);

typedef struct {
  VtFrontend *fe;
  guint8 id;    /* of the region */
  guint8 *base; /* PROT_NONE where nothing is mapped */
  guint64 len;
  GHashTable *mapped; /* offset to len */
  guint n_refused;
} VtWindow;

/* Asks the back-end, which must have this one region of @len bytes alone. */
VtWindow *vt_window_new (VtFrontend *fe, guint8 id, guint64 len);
void vt_window_free (VtWindow *window); /* NULL is fine */

/* Waits for @n questions, does what they want, and answers.  A question that
 * breaks the rules is refused. */
void vt_window_serve (VtWindow *window, guint n);
/* The same for what was asked so far. */
void vt_window_serve_rest (VtWindow *window);

/* As the front-end does when the device is reset. */
void vt_window_reset (VtWindow *window);

/* Bytes as the driver sees them.
 * Returns: FALSE if nothing is there, or not any more. */
gboolean
vt_window_read (const VtWindow *window, guint64 offset, void *to, gsize len);
/* Returns: FALSE if it cannot be written to. */
gboolean vt_window_write (const VtWindow *window, guint64 offset,
                          const void *from, gsize len);

G_DEFINE_AUTOPTR_CLEANUP_FUNC (VtWindow, vt_window_free)
