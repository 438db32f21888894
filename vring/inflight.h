/* SPDX-License-Identifier: BSD-3-Clause
 *
 * inflight.h - memory that remembers which requests are under way
 *
 * The front-end keeps it while the back-end is gone, so that a new one can
 * submit again what the old one had popped and not completed (vhost-user
 * specification, "Inflight I/O tracking").  The memory is shared with the
 * front-end: whatever is read from it is checked.
 */
#pragma once

#include <assert.h>
#include <glib.h>
#include <stddef.h>

/* One descriptor of a split ring. */
typedef struct {
  guint8 inflight; /* 1: popped and not completed */
  guint8 padding[5];
  guint16 next;    /* the chain completed before, in the same batch or not */
  guint64 counter; /* order of popping */
} VdInflightSplitDesc;
static_assert (sizeof (VdInflightSplitDesc) == 16, "split entry");

typedef struct {
  guint64 features; /* 0 */
  guint16 version;  /* 0: fresh; 1 */
  guint16 n_desc;
  guint16 last_batch_head; /* the chain completed last */
  guint16 used_idx;        /* of the ring, when no batch was being published */
  VdInflightSplitDesc desc[];
} VdInflightSplit;
static_assert (sizeof (VdInflightSplit) == 16, "split header");

/* One descriptor of a packed ring, with what used elements overwrite. */
typedef struct {
  guint8 inflight;
  guint8 padding;
  guint16 next; /* in its chain, or in the free list */
  guint16 last; /* first entry of a chain: its last one */
  guint16 num;  /* first entry of a chain: how many entries it has */
  guint64 counter;
  guint16 id;
  guint16 flags;
  guint32 len;
  guint64 addr;
} VdInflightPackedDesc;
static_assert (sizeof (VdInflightPackedDesc) == 32, "packed entry");

typedef struct {
  guint64 features;
  guint16 version;
  guint16 n_desc;
  guint16 free_head,
      old_free_head; /* old: before the batch that is published */
  union {
    struct {
      guint16 used_idx, old_used_idx;
      guint8 used_wrap, old_used_wrap;
      guint8 padding[2];
    };
    guint64 indices; /* all of them, for one store */
  };
  guint8 alignment[8];
  VdInflightPackedDesc desc[];
} VdInflightPacked;
static_assert (sizeof (VdInflightPacked) == 32, "packed header");
static_assert (offsetof (VdInflightPacked, used_idx) == 16, "packed header");
static_assert (offsetof (VdInflightPacked, used_wrap) == 20, "packed header");

typedef struct VdInflight VdInflight;

/* Where the memory lies in a file. */
typedef struct {
  guint64 size;   /* bytes */
  guint64 offset; /* bytes into the file */
  guint n_queues;
  guint queue_size; /* entries of each ring, at most */
} VdInflightInfo;

/* CONTROL.  Makes fresh memory in a memfd.
 * @info: (inout): n_queues and queue_size in, size and offset out
 * @ret_fd: (out) (transfer full): for the front-end
 * Returns: (transfer full): the memory, or NULL with @error set. */
VdInflight *vd_inflight_new (VdInflightInfo *info, gboolean packed, int *ret_fd,
                             GError **error);

/* CONTROL.  Maps what the front-end kept, checked against its file.  The caller
 * closes @fd. */
VdInflight *vd_inflight_map (const VdInflightInfo *info, gboolean packed,
                             int fd, GError **error);

VdInflight *vd_inflight_ref (VdInflight *inflight); /* CONTROL */
void vd_inflight_unref (VdInflight *inflight);      /* CONTROL; NULL is fine */

/* Returns: the part of ring @index, with room for @size entries of the format
 * that the memory was made for, or NULL if there is no such part. */
void *vd_inflight_part (VdInflight *inflight, guint index, guint size,
                        gboolean packed);

/* Any thread: whether the front-end truncated the memory. */
gboolean vd_inflight_is_lost (const VdInflight *inflight);

G_DEFINE_AUTOPTR_CLEANUP_FUNC (VdInflight, vd_inflight_unref)
