/* SPDX-License-Identifier: BSD-3-Clause
 *
 * image.h - what a disk's bytes live in: a file, a block device, an inherited
 * descriptor, a server
 *
 * Opened and locked on CONTROL before the device's socket exists; afterwards
 * constant but for the size, so any thread may use it.  Its format is never
 * guessed: the bytes of the image are the bytes of the disk.
 */
#pragma once

#include <glib.h>
#include <stdatomic.h>

#define VD_SECTOR          512 /* the unit of virtio-blk, whatever the disk */
#define VD_BLOCK_SIZE_MAX  4096
#define VD_IMAGE_ALIGN_MAX 4096 /* more is refused for O_DIRECT */

typedef struct VdNbd VdNbd; /* nbd.h */

/* When an image is locked. */
typedef enum {
  VD_LOCK_OFF,
  VD_LOCK_AUTO,  /* from opening to closing */
  VD_LOCK_START, /* while a guest runs: vd_image_lock() */
} VdLockMode;

typedef struct {
  const char *name; /* a path, "fd:N" for an inherited descriptor, a URI */
  const char *id;   /* of the device, for the log */
  gboolean read_only;
  gboolean direct;  /* O_DIRECT */
  VdLockMode lock;  /* as qemu does */
  guint block_size; /* what the guest shall see; 0: as the image says */
  guint64 size;     /* of the disk, bytes, as vd_image_resize() takes it */
  gdouble reconnect_delay; /* seconds that requests wait for a lost server */
} VdImageSetup;

typedef struct {
  int fd;             /* -1: remote */
  VdNbd *nbd;         /* NULL: local */
  gboolean can_erase; /* a device that erases so that nothing is left */
  gboolean read_only, direct, locked;
  gboolean is_device; /* a block device or remote, else a regular file */
  gboolean in_memory; /* tmpfs and such: no call waits for a disk */
  gboolean can_punch; /* FALLOC_FL_PUNCH_HOLE */
  gboolean can_discard;
  gboolean no_dsync; /* RWF_DSYNC is not known: a flush has to follow */

  /* Bytes. */
  _Atomic guint64 size;     /* a multiple of block_size */
  guint64 wanted_size;      /* CONTROL; 0: all there is */
  guint32 block_size;       /* logical, 512 to VD_BLOCK_SIZE_MAX */
  guint32 physical_size;    /* a multiple of block_size */
  guint32 alignment_offset; /* of the first physical block */
  guint32 min_io_size;      /* 0: unknown */
  guint32 optimal_io_size;  /* 0: unknown */
  guint32 discard_align;    /* a multiple of VD_SECTOR */
  guint32 memory_align;     /* of buffers, for O_DIRECT; 1 without it */
  guint32 file_align;       /* of offsets and lengths, likewise */
  guint64 identity;         /* the same whenever this image is opened */
} VdImage;

/* CONTROL: opens, probes and locks.  May block.
 * Returns: (transfer full): the image, or NULL with @error set, whose text
 * makes sense after the image's name */
VdImage *vd_image_open (const VdImageSetup *setup, GError **error);
void vd_image_close (VdImage *image); /* releases the lock; NULL is fine */

/* CONTROL: takes the lock now, if this file system has any; forgets what was
 * read before.  Does not wait.
 * Returns: FALSE with @error set if another user's locks forbid it */
gboolean vd_image_lock (VdImage *image, GError **error);
/* CONTROL: all writes have ended and are flushed; others may write now. */
void vd_image_unlock (VdImage *image);

/* CONTROL: the disk shall have @size bytes from now on, 0: all there is.  A file
 * that is shorter is extended; one that is longer keeps its bytes, which the
 * disk then does not show.
 * Returns: FALSE with @error set if that is not possible; nothing changed */
gboolean vd_image_resize (VdImage *image, guint64 size, GError **error);

/* CONTROL: looks at the size again, which may have changed from outside.
 * Returns: FALSE with @error set if it cannot be known; then nothing changed */
gboolean vd_image_refresh (VdImage *image, GError **error);

G_DEFINE_AUTOPTR_CLEANUP_FUNC (VdImage, vd_image_close)
