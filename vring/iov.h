/* SPDX-License-Identifier: BSD-3-Clause
 *
 * iov.h - copying to and from lists of guest buffers, and cutting them
 *
 * The lists are the daemon's private copies, so their lengths are trusted; the
 * bytes that they point at belong to the guest and may change at any moment:
 * copy a header once, then use the copy.
 */
#pragma once

#include <glib.h>
#include <sys/uio.h>

/* Copies at most @len bytes that start @offset bytes into @iov to @to.
 * Returns: the bytes copied, less than @len at the end of the list. */
gsize vd_iov_read (const struct iovec *iov, guint n_iov, gsize offset, void *to,
                   gsize len);

/* The same in the other direction. */
gsize vd_iov_write (const struct iovec *iov, guint n_iov, gsize offset,
                    const void *from, gsize len);

/* Zeroes @len bytes from @offset.  Returns: the bytes zeroed. */
gsize
vd_iov_zero (const struct iovec *iov, guint n_iov, gsize offset, gsize len);

/* Returns: the sum of all lengths. */
gsize vd_iov_len (const struct iovec *iov, guint n_iov);

/* Drops the first @len bytes in place: moves *@iov and changes *@n_iov and the
 * first remaining element.  Returns: the bytes dropped. */
gsize vd_iov_skip (struct iovec **iov, guint *n_iov, gsize len);

/* Cuts the list in place to @len bytes.  Returns: the new number of elements,
 * at most @n_iov. */
guint vd_iov_truncate (struct iovec *iov, guint n_iov, gsize len);
