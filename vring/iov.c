/* SPDX-License-Identifier: BSD-3-Clause */
#include "vring/iov.h"

#include <string.h>

/* Which way iov_move() moves bytes; constant in each caller. */
typedef enum { FROM_GUEST, TO_GUEST, ZERO_GUEST } Direction;

static inline gsize
iov_move (const struct iovec *iov, guint n_iov, gsize offset, void *buf,
          gsize len, Direction direction)
{
  gsize done = 0;

  for (guint i = 0; i < n_iov && done < len; i++) {
    if (offset >= iov[i].iov_len) {
      offset -= iov[i].iov_len;
      continue;
    }
    gsize n = MIN (iov[i].iov_len - offset, len - done);
    guint8 *guest = (guint8 *) iov[i].iov_base + offset;

    if (direction == FROM_GUEST)
      memcpy ((guint8 *) buf + done, guest, n);
    else if (direction == TO_GUEST)
      memcpy (guest, (const guint8 *) buf + done, n);
    else
      memset (guest, 0, n);
    done += n;
    offset = 0;
  }
  return done;
}

gsize
vd_iov_read (const struct iovec *iov, guint n_iov, gsize offset, void *to,
             gsize len)
{
  return iov_move (iov, n_iov, offset, to, len, FROM_GUEST);
}

gsize
vd_iov_write (const struct iovec *iov, guint n_iov, gsize offset,
              const void *from, gsize len)
{
  return iov_move (iov, n_iov, offset, (void *) from, len, TO_GUEST);
}

gsize
vd_iov_zero (const struct iovec *iov, guint n_iov, gsize offset, gsize len)
{
  return iov_move (iov, n_iov, offset, NULL, len, ZERO_GUEST);
}

gsize
vd_iov_len (const struct iovec *iov, guint n_iov)
{
  gsize len = 0;

  for (guint i = 0; i < n_iov; i++)
    len += iov[i].iov_len;
  return len;
}

gsize
vd_iov_skip (struct iovec **iov, guint *n_iov, gsize len)
{
  gsize done = 0;

  while (*n_iov > 0 && done + (*iov)->iov_len <= len) {
    done += (*iov)->iov_len;
    (*iov)++;
    (*n_iov)--;
  }
  if (*n_iov > 0 && done < len) {
    gsize n = len - done;

    (*iov)->iov_base = (guint8 *) (*iov)->iov_base + n;
    (*iov)->iov_len -= n;
    done += n;
  }
  return done;
}

guint
vd_iov_truncate (struct iovec *iov, guint n_iov, gsize len)
{
  guint n = 0;

  while (n < n_iov && len > 0) {
    iov[n].iov_len = MIN (iov[n].iov_len, len);
    len -= iov[n].iov_len;
    n++;
  }
  return n;
}
