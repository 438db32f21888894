/* SPDX-License-Identifier: BSD-3-Clause
 *
 * image.c - opening an image and finding out what it can do
 *
 * What is not known for certain is probed in a way that cannot change a byte of
 * the image: statx and ioctl for sizes, a hole punched beyond the end for
 * FALLOC_FL_PUNCH_HOLE.
 */
#include "devices/blk/image.h"

#include <errno.h>
#include <fcntl.h>
#include <linux/fs.h>
#include <linux/magic.h>
#include <stdlib.h>
#include <string.h>
#include <sys/ioctl.h>
#include <sys/stat.h>
#include <sys/sysmacros.h>
#include <sys/vfs.h>
#include <unistd.h>

#include "devices/blk/lock.h"
#include "devices/blk/nbd.h"
#include "devices/inherited.h"
#include "vring/fd.h"

#define DISCARD_ALIGN_MAX (1u << 20)

static gboolean
    G_GNUC_PRINTF (3, 4) fail (GError **error, int err, const char *format, ...)
{
  g_autofree char *text = NULL;
  va_list args;

  va_start (args, format);
  text = g_strdup_vprintf (format, args);
  va_end (args);
  g_set_error_literal (error, G_FILE_ERROR, g_file_error_from_errno (err),
                       text);
  return FALSE;
}

static gboolean
is_power_of_2 (guint64 n)
{
  return n != 0 && (n & (n - 1)) == 0;
}

/* FNV-1a, so that the serial made of it never changes with GLib's. */
static guint64
hash (const void *data, gsize len)
{
  const guint8 *byte = data;
  guint64 h = 0xcbf29ce484222325;

  for (gsize i = 0; i < len; i++)
    h = (h ^ byte[i]) * 0x100000001b3;
  return h;
}

static gboolean
check_type (VdImage *image, const struct stat *st, GError **error)
{
  if (S_ISDIR (st->st_mode))
    return fail (error, EISDIR, "is a directory");
  if (!S_ISREG (st->st_mode) && !S_ISBLK (st->st_mode))
    return fail (error, EINVAL, "is neither a file nor a block device");
  image->is_device = S_ISBLK (st->st_mode);
  return TRUE;
}

/* Opening. */

static gboolean
open_path (VdImage *image, const VdImageSetup *setup, GError **error)
{
  int flags = (setup->read_only ? O_RDONLY : O_RDWR) | O_CLOEXEC;
  g_autofree char *path = NULL;
  struct stat st;

  /* Looked at first, because opening a FIFO waits and opening a terminal or a
   * tape does more than that. */
  if (stat (setup->name, &st) < 0)
    return fail (error, errno, "%s", g_strerror (errno));
  if (!check_type (image, &st, error))
    return FALSE;
  if (setup->direct)
    flags |= O_DIRECT;
  image->fd = open (setup->name, flags | O_NOATIME);
  if (image->fd < 0 && errno == EPERM) /* not the owner */
    image->fd = open (setup->name, flags);
  if (image->fd < 0 && errno == EINVAL && setup->direct)
    return fail (error, EINVAL, "its file system has no O_DIRECT (cache=none)");
  if (image->fd < 0)
    return fail (error, errno, "%s%s", g_strerror (errno),
                 errno == EROFS || (errno == EACCES && !setup->read_only)
                     ? " (read-only=yes needs no right to write)"
                     : "");
  path = realpath (setup->name, NULL);
  if (path != NULL)
    image->identity = hash (path, strlen (path));
  return TRUE;
}

/* Uses a duplicate, which shares its flags with the inherited descriptor: ours
 * are set, since O_APPEND and O_NONBLOCK would change what writes do. */
static gboolean
open_inherited (VdImage *image, const VdImageSetup *setup, GError **error)
{
  int fd = vd_inherited_fd (setup->name + strlen ("fd:"), error), flags;
  struct stat st;

  if (fd < 0)
    return FALSE;
  image->fd = fcntl (fd, F_DUPFD_CLOEXEC, 3);
  if (image->fd < 0)
    return fail (error, errno, "cannot duplicate it: %s", g_strerror (errno));
  flags = fcntl (image->fd, F_GETFL);
  if (flags < 0 || (flags & O_PATH) || (flags & O_ACCMODE) == O_WRONLY)
    return fail (error, EBADF, "is not open for reading");
  if ((flags & O_ACCMODE) == O_RDONLY && !setup->read_only)
    return fail (error, EBADF, "is not open for writing (add read-only=yes)");
  if (fstat (image->fd, &st) < 0)
    return fail (error, errno, "%s", g_strerror (errno));
  if (!check_type (image, &st, error))
    return FALSE;
  if (fcntl (image->fd, F_SETFL, setup->direct ? O_DIRECT : 0) < 0)
    return fail (error, errno, "cannot set its flags: %s", g_strerror (errno));
  image->identity =
      hash (&st.st_dev, sizeof st.st_dev) ^ hash (&st.st_ino, sizeof st.st_ino);
  return TRUE;
}

/* Probing. */

/* Returns: the number in a block device's queue attribute, 0 if unknown.  The
 * queue of a partition is that of its disk. */
static guint64
queue_attribute (const struct stat *st, const char *name)
{
  static const char *const where[] = { "", "../" };

  for (guint i = 0; i < G_N_ELEMENTS (where); i++) {
    g_autofree char *path =
        g_strdup_printf ("/sys/dev/block/%u:%u/%squeue/%s", major (st->st_rdev),
                         minor (st->st_rdev), where[i], name);
    g_autofree char *text = NULL;

    if (g_file_get_contents (path, &text, NULL, NULL))
      return g_ascii_strtoull (text, NULL, 10);
  }
  return 0;
}

/* The kernel looks whether the device knows the call before it looks at the
 * range, which is not one of whole sectors. */
static gboolean
knows_erase (int fd)
{
  guint64 odd[2] = { 1, 1 };

  return ioctl (fd, BLKSECDISCARD, odd) < 0 && errno == EINVAL;
}

static void
probe_device (VdImage *image, const struct stat *st)
{
  int logical = 0;
  guint number;

  if (ioctl (image->fd, BLKSSZGET, &logical) == 0 && logical > 0)
    image->block_size = (guint32) logical;
  if (ioctl (image->fd, BLKPBSZGET, &number) == 0)
    image->physical_size = number;
  if (ioctl (image->fd, BLKALIGNOFF, &logical) == 0 && logical > 0)
    image->alignment_offset = (guint32) logical;
  if (ioctl (image->fd, BLKIOMIN, &number) == 0)
    image->min_io_size = number;
  if (ioctl (image->fd, BLKIOOPT, &number) == 0)
    image->optimal_io_size = number;
  image->discard_align = (guint32) MIN (
      queue_attribute (st, "discard_granularity"), DISCARD_ALIGN_MAX);
  image->can_discard =
      !image->read_only && queue_attribute (st, "discard_max_bytes") > 0;
  image->can_erase = !image->read_only && knows_erase (image->fd);
}

/* Guests keep to the file system's block where they can; the logical block
 * stays 512 bytes, because partition tables count in it. */
static void
probe_file (VdImage *image, const struct stat *st)
{
  static const int punch = FALLOC_FL_PUNCH_HOLE | FALLOC_FL_KEEP_SIZE;
  struct statfs fs;

  image->block_size = VD_SECTOR;
  image->physical_size = (guint32) MIN (st->st_blksize, VD_BLOCK_SIZE_MAX);
  image->min_io_size = image->physical_size;
  image->discard_align = (guint32) MIN (st->st_blksize, DISCARD_ALIGN_MAX);
  image->in_memory = fstatfs (image->fd, &fs) == 0 &&
                     (fs.f_type == TMPFS_MAGIC || fs.f_type == RAMFS_MAGIC);
  image->can_punch =
      !image->read_only &&
      fallocate (image->fd, punch, st->st_size, VD_BLOCK_SIZE_MAX) == 0;
  image->can_discard = image->can_punch;
}

/* Returns: whether O_DIRECT reads @len bytes to @to.  A short read is fine: a
 * file may end within a block. */
static gboolean
try_direct (int fd, guint8 *to, gsize len)
{
  return pread (fd, to, len, 0) >= 0;
}

/* The least lengths and addresses that reads accept, which kernels before 6.1
 * do not tell; the kernel checks writes by the same rules. */
static void
try_alignments (VdImage *image)
{
  guint8 *buffer = g_aligned_alloc (2, VD_IMAGE_ALIGN_MAX, VD_IMAGE_ALIGN_MAX);
  guint32 align = VD_SECTOR;

  while (align < VD_IMAGE_ALIGN_MAX && !try_direct (image->fd, buffer, align))
    align *= 2;
  image->file_align = align;
  align = VD_SECTOR;
  while (align < VD_IMAGE_ALIGN_MAX &&
         !try_direct (image->fd, buffer + align, image->file_align))
    align *= 2;
  image->memory_align = align;
  g_aligned_free (buffer);
}

/* What O_DIRECT wants. */
static gboolean
probe_direct (VdImage *image, GError **error)
{
#ifdef STATX_DIOALIGN
  struct statx stx;

  if (statx (image->fd, "", AT_EMPTY_PATH, STATX_DIOALIGN, &stx) == 0 &&
      (stx.stx_mask & STATX_DIOALIGN)) {
    if (stx.stx_dio_offset_align == 0)
      return fail (error, EINVAL, "does not allow O_DIRECT (cache=none)");
    image->memory_align = MAX (stx.stx_dio_mem_align, 1);
    image->file_align = stx.stx_dio_offset_align;
  } else
#endif
    try_alignments (image);
  if (image->file_align > VD_IMAGE_ALIGN_MAX ||
      image->memory_align > VD_IMAGE_ALIGN_MAX ||
      !is_power_of_2 (image->file_align) ||
      !is_power_of_2 (image->memory_align))
    return fail (error, EINVAL,
                 "O_DIRECT (cache=none) needs blocks of %u bytes",
                 image->file_align);
  return TRUE;
}

/* The block size that the guest sees, and what is counted in it. */
static gboolean
settle_block_size (VdImage *image, guint wanted, GError **error)
{
  guint32 least = MAX (image->file_align, VD_SECTOR);

  if (wanted != 0 && wanted < least)
    return fail (error, EINVAL,
                 "O_DIRECT (cache=none) needs block-size=%u or more here",
                 least);
  image->block_size = wanted != 0 ? wanted : MAX (image->block_size, least);
  if (image->block_size > VD_BLOCK_SIZE_MAX)
    return fail (error, EINVAL, "its blocks have %u bytes; add block-size=%u",
                 image->block_size, VD_BLOCK_SIZE_MAX);
  if (!is_power_of_2 (image->physical_size) ||
      image->physical_size < image->block_size)
    image->physical_size = image->block_size;
  if (!is_power_of_2 (image->discard_align) ||
      image->discard_align < image->block_size)
    image->discard_align = image->block_size;
  return TRUE;
}

static gboolean
read_size (const VdImage *image, guint64 *ret, GError **error)
{
  struct stat st;

  if (image->nbd != NULL) {
    *ret = vd_nbd_size (image->nbd);
    return TRUE;
  }
  if (image->is_device ? ioctl (image->fd, BLKGETSIZE64, ret) < 0
                       : fstat (image->fd, &st) < 0)
    return fail (error, errno, "cannot find its size: %s", g_strerror (errno));
  if (!image->is_device)
    *ret = (guint64) st.st_size;
  return TRUE;
}

gboolean
vd_image_refresh (VdImage *image, GError **error)
{
  guint64 bytes, whole;

  if (!read_size (image, &bytes, error))
    return FALSE;
  if (image->wanted_size != 0)
    bytes = MIN (bytes, image->wanted_size);
  whole = bytes & ~(guint64) (image->block_size - 1);
  if (whole == 0)
    return fail (error, EINVAL,
                 "has %" G_GUINT64_FORMAT " bytes, less than a block of %u",
                 bytes, image->block_size);
  if (whole != bytes)
    g_debug ("the last %u bytes of the image are not part of the disk",
             (guint) (bytes - whole));
  atomic_store (&image->size, whole);
  return TRUE;
}

/* Makes the image at least as long as the disk shall be. */
static gboolean
make_room (const VdImage *image, guint64 size, GError **error)
{
  guint64 bytes;

  if (!read_size (image, &bytes, error))
    return FALSE;
  if (size <= bytes)
    return TRUE;
  if (image->is_device || image->read_only)
    return fail (error, ENOSPC,
                 "the image has only %" G_GUINT64_FORMAT " bytes", bytes);
  if (ftruncate (image->fd, (off_t) size) < 0)
    return fail (error, errno, "cannot extend the image: %s",
                 g_strerror (errno));
  return TRUE;
}

gboolean
vd_image_resize (VdImage *image, guint64 size, GError **error)
{
  guint64 before = image->wanted_size;

  if (size % image->block_size != 0)
    return fail (error, EINVAL, "is not a multiple of its blocks of %u bytes",
                 image->block_size);
  if (!make_room (image, size, error))
    return FALSE;
  image->wanted_size = size;
  if (vd_image_refresh (image, error))
    return TRUE;
  image->wanted_size = before;
  return FALSE;
}

static gboolean
probe (VdImage *image, const VdImageSetup *setup, GError **error)
{
  struct stat st;

  if (fstat (image->fd, &st) < 0)
    return fail (error, errno, "%s", g_strerror (errno));
  image->memory_align = image->file_align = 1;
  if (image->is_device)
    probe_device (image, &st);
  else
    probe_file (image, &st);
  if (image->direct && !probe_direct (image, error))
    return FALSE;
  return settle_block_size (image, setup->block_size, error) &&
         vd_image_resize (image, setup->size, error);
}

/* The server keeps its own locks and its own cache. */
static gboolean
open_remote (VdImage *image, const VdImageSetup *setup, GError **error)
{
  image->is_device = TRUE;
  image->direct = FALSE;
  image->identity = hash (setup->name, strlen (setup->name));
  image->nbd = vd_nbd_open (setup, image, error);
  return image->nbd != NULL && vd_image_resize (image, setup->size, error);
}

VdImage *
vd_image_open (const VdImageSetup *setup, GError **error)
{
  g_autoptr (VdImage) image = g_new0 (VdImage, 1);

  image->fd = -1;
  image->read_only = setup->read_only;
  image->direct = setup->direct;
  if (vd_nbd_is_uri (setup->name))
    return open_remote (image, setup, error) ? g_steal_pointer (&image) : NULL;
  if (g_str_has_prefix (setup->name, "fd:")
          ? !open_inherited (image, setup, error)
          : !open_path (image, setup, error))
    return NULL;
  /* Before anything else, so that a refused opener leaves no trace. */
  if (setup->lock == VD_LOCK_AUTO &&
      !vd_lock_image (image->fd, !setup->read_only, &image->locked, error))
    return NULL;
  if (setup->lock == VD_LOCK_START)
    vd_lock_await (image->fd, !setup->read_only);
  if (!probe (image, setup, error))
    return NULL;
  return g_steal_pointer (&image);
}

gboolean
vd_image_lock (VdImage *image, GError **error)
{
  if (image->locked)
    return TRUE;
  if (!vd_lock_try (image->fd, !image->read_only, &image->locked, error))
    return FALSE;
  /* What we have read is from before others wrote. */
  (void) posix_fadvise (image->fd, 0, 0, POSIX_FADV_DONTNEED);
  return TRUE;
}

void
vd_image_unlock (VdImage *image)
{
  if (image->locked)
    vd_lock_release (image->fd);
  image->locked = FALSE;
}

void
vd_image_close (VdImage *image)
{
  if (image == NULL)
    return;
  vd_nbd_close (image->nbd);
  vd_clear_fd (&image->fd);
  g_free (image);
}
