/* SPDX-License-Identifier: BSD-3-Clause */
#include "tests/bench/element-loop.h"

#include <linux/vhost_types.h>
#include <linux/virtio_config.h>
#include <stdatomic.h>
#include <stdlib.h>
#include <sys/eventfd.h>

#include "vring/queue-private.h"

#define ELEMENT_MAX         1024 /* buffers */
#define PROTOCOL_F_INFLIGHT 12

static bool
has_feature (const ElementLoop *loop, guint bit)
{
  return loop->features & 1ull << bit;
}

static bool
is_tracked (const ElementLoop *loop)
{
  return loop->protocol_features & 1ull << PROTOCOL_F_INFLIGHT;
}

static bool
is_lost (const ElementLoop *loop)
{
  return loop->broken || loop->avail == NULL;
}

static G_GNUC_NO_INLINE void
fail (ElementLoop *loop)
{
  loop->broken = true;
}

static G_GNUC_NO_INLINE void *
translate (const ElementLoop *loop, guint64 gpa, guint64 *len)
{
  if (*len == 0)
    return NULL;
  for (guint i = 0; i < loop->n_regions; i++) {
    const ElementRegion *region = &loop->regions[i];

    if (gpa >= region->gpa && gpa < region->gpa + region->size) {
      if (gpa + *len > region->gpa + region->size)
        *len = region->gpa + region->size - gpa;
      return region->at + (gpa - region->gpa);
    }
  }
  return NULL;
}

/* Popping. */

/* One descriptor, which may take several parts of memory. */
static bool
map_descriptor (ElementLoop *loop, guint *n_iov, struct iovec *iov, guint max,
                guint64 gpa, guint64 len)
{
  guint n = *n_iov;

  if (len == 0) {
    fail (loop);
    return false;
  }
  while (len > 0) {
    guint64 part = len;

    if (n == max) {
      fail (loop);
      return false;
    }
    iov[n].iov_base = translate (loop, gpa, &part);
    if (iov[n].iov_base == NULL) {
      fail (loop);
      return false;
    }
    iov[n++].iov_len = part;
    gpa += part;
    len -= part;
  }
  *n_iov = n;
  return true;
}

static void *
allocate (gsize size, guint n_out, guint n_in)
{
  gsize in_at =
      (size + G_ALIGNOF (struct iovec) - 1) & -(gsize) G_ALIGNOF (struct iovec);
  gsize out_at = in_at + n_in * sizeof (struct iovec);
  Element *element = malloc (out_at + n_out * sizeof (struct iovec));

  element->n_out = n_out;
  element->n_in = n_in;
  element->in = (void *) ((guint8 *) element + in_at);
  element->out = (void *) ((guint8 *) element + out_at);
  return element;
}

/* The table that descriptor @i opens.  Returns: FALSE if there is none. */
static bool
open_table (ElementLoop *loop, const struct vring_desc **desc, guint *i,
            guint *max)
{
  const struct vring_desc *outer = &(*desc)[*i];
  guint64 len = outer->len;

  if (!(outer->flags & VRING_DESC_F_INDIRECT))
    return true;
  *max = outer->len / sizeof **desc;
  *desc = translate (loop, outer->addr, &len);
  if (*desc != NULL && len == outer->len && len % sizeof **desc == 0) {
    *i = 0;
    return true;
  }
  fail (loop);
  return false;
}

/* Goes on to the next descriptor.  Returns: FALSE at a chain's end. */
static bool
next_descriptor (ElementLoop *loop, const struct vring_desc *desc, guint max,
                 guint *i)
{
  if (!(desc[*i].flags & VRING_DESC_F_NEXT))
    return false;
  *i = desc[*i].next;
  atomic_thread_fence (memory_order_release);
  if (*i < max)
    return true;
  fail (loop);
  return false;
}

static void *
map_element (ElementLoop *loop, guint head, gsize size)
{
  const struct vring_desc *desc = loop->desc;
  guint max = loop->size, i = head, n_out = 0, n_in = 0;
  struct iovec iov[ELEMENT_MAX];
  Element *element;

  if (!open_table (loop, &desc, &i, &max))
    return NULL;
  do {
    if (desc[i].flags & VRING_DESC_F_WRITE) {
      if (!map_descriptor (loop, &n_in, iov + n_out, ELEMENT_MAX - n_out,
                           desc[i].addr, desc[i].len))
        return NULL;
    } else {
      if (n_in > 0) {
        fail (loop);
        return NULL;
      }
      if (!map_descriptor (loop, &n_out, iov, ELEMENT_MAX, desc[i].addr,
                           desc[i].len))
        return NULL;
    }
    if (n_in + n_out > max) {
      fail (loop);
      return NULL;
    }
  } while (next_descriptor (loop, desc, max, &i));
  if (loop->broken)
    return NULL;
  element = allocate (size, n_out, n_in);
  element->head = head;
  for (i = 0; i < n_out; i++)
    element->out[i] = iov[i];
  for (i = 0; i < n_in; i++)
    element->in[i] = iov[n_out + i];
  return element;
}

static bool
is_empty (ElementLoop *loop)
{
  if (is_lost (loop))
    return true;
  if (loop->shadow_avail != loop->last_avail)
    return false;
  loop->shadow_avail = vd_load16 (&loop->avail->idx, memory_order_relaxed);
  return loop->shadow_avail == loop->last_avail;
}

static bool
take_head (ElementLoop *loop, guint *head)
{
  *head = loop->avail->ring[loop->last_avail++ % loop->size];
  if (*head < loop->size)
    return true;
  fail (loop);
  return false;
}

void *
element_loop_pop (ElementLoop *loop, gsize size)
{
  guint head;
  void *element;

  if (is_lost (loop))
    return NULL;
  if (G_UNLIKELY (loop->resubmit != NULL))
    return g_steal_pointer (&loop->resubmit);
  if (is_empty (loop))
    return NULL;
  atomic_thread_fence (memory_order_acquire);
  if (loop->in_use >= loop->size) {
    fail (loop);
    return NULL;
  }
  if (!take_head (loop, &head))
    return NULL;
  if (has_feature (loop, VIRTIO_RING_F_EVENT_IDX))
    vd_store16 (&loop->used->ring[loop->size], loop->last_avail,
                memory_order_relaxed);
  element = map_element (loop, head, size);
  if (element == NULL)
    return NULL;
  loop->in_use++;
  if (is_tracked (loop))
    loop->tracked[head] = TRUE;
  return element;
}

/* Pushing. */

static void
log_write (ElementLoop *loop, guint64 gpa, guint64 len)
{
  if (!has_feature (loop, VHOST_F_LOG_ALL) || loop->log == NULL || len == 0)
    return;
  for (guint64 page = gpa / 4096; page <= (gpa + len - 1) / 4096; page++)
    loop->log[page / 8] |= 1u << page % 8;
}

static void
log_element (ElementLoop *loop, const Element *element, guint32 len)
{
  const struct vring_desc *desc = loop->desc;
  guint max = loop->size, i = element->head, n = 0;

  if (!open_table (loop, &desc, &i, &max))
    return;
  do {
    if (++n > max) {
      fail (loop);
      return;
    }
    if (desc[i].flags & VRING_DESC_F_WRITE) {
      guint32 part = MIN (desc[i].len, len);

      log_write (loop, desc[i].addr, part);
      len -= part;
    }
  } while (len > 0 && next_descriptor (loop, desc, max, &i));
}

static G_GNUC_NO_INLINE void
fill (ElementLoop *loop, const Element *element, guint32 len, guint i)
{
  struct vring_used_elem used;

  if (is_lost (loop))
    return;
  log_element (loop, element, len);
  i = (i + loop->used_idx) % loop->size;
  used.id = element->head;
  used.len = len;
  loop->used->ring[i] = used;
  log_write (loop, G_STRUCT_OFFSET (struct vring_used, ring[i]), sizeof used);
}

static G_GNUC_NO_INLINE void
flush (ElementLoop *loop, guint n)
{
  guint16 old = loop->used_idx, new = (guint16) (old + n);

  if (is_lost (loop))
    return;
  atomic_thread_fence (memory_order_release);
  vd_store16 (&loop->used->idx, new, memory_order_relaxed);
  log_write (loop, G_STRUCT_OFFSET (struct vring_used, idx), sizeof new);
  loop->used_idx = new;
  loop->in_use -= n;
  if (G_UNLIKELY ((gint16) (new - loop->signalled) < (guint16) (new - old)))
    loop->signalled_valid = false;
}

void
element_loop_push (ElementLoop *loop, const Element *element, guint32 len)
{
  fill (loop, element, len, 0);
  if (is_tracked (loop))
    loop->tracked[loop->size] = element->head;
  flush (loop, 1);
  if (is_tracked (loop))
    loop->tracked[element->head] = FALSE;
}

static bool
wants_notification (ElementLoop *loop)
{
  guint16 old = loop->signalled;
  bool valid = loop->signalled_valid;

  atomic_thread_fence (memory_order_seq_cst);
  if (has_feature (loop, VIRTIO_F_NOTIFY_ON_EMPTY) && loop->in_use == 0 &&
      is_empty (loop))
    return true;
  if (!has_feature (loop, VIRTIO_RING_F_EVENT_IDX))
    return !(loop->avail->flags & VRING_AVAIL_F_NO_INTERRUPT);
  loop->signalled_valid = true;
  loop->signalled = loop->used_idx;
  return !valid || vring_need_event (vd_load16 (&loop->avail->ring[loop->size],
                                                memory_order_relaxed),
                                     loop->used_idx, old);
}

void
element_loop_notify (ElementLoop *loop)
{
  if (is_lost (loop) || !wants_notification (loop))
    return;
  if (eventfd_write (loop->call_fd, 1) < 0)
    fail (loop);
}
