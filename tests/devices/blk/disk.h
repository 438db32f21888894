/* SPDX-License-Identifier: BSD-3-Clause
 *
 * disk.h - a disk on an image of random bytes, what it should contain, and a
 * driver with one ring
 */
#pragma once

#include "tests/lib/blk.h"
#include "tests/lib/rig.h"

#define VT_DISK_SIZE (8u << 20)

/* Bytes that a file system may need to remember the holes in a file. */
#define VT_DISK_METADATA (64u << 10)

typedef struct {
  char *dir, *path;
  guint block;    /* bytes that random requests are multiples of; 0: any */
  guint8 *shadow; /* what the disk should contain; the test keeps it so */
  VtGuest *guest;
  VtRing *ring;
  VtRig *rig; /* NULL until it is opened */
} VtDisk;

typedef struct {
  const char *engine, *cache;
  gboolean force_poll; /* a worker without io_uring */
  gboolean registered; /* register-memory=yes */
  gboolean in_memory;  /* the image lies on tmpfs, not on a disk */
} VtDiskMode;

typedef struct virtio_blk_discard_write_zeroes VtRange;

void vt_disk_init (VtDisk *f, gboolean in_memory);
void vt_disk_set_up (VtDisk *f, gconstpointer data); /* on a disk */
void vt_disk_tear_down (VtDisk *f, gconstpointer data);

/* Opens the device with one key more than the image. */
VdDevice *vt_disk_open_with (VtDisk *f, const char *key, const char *value);
void vt_disk_start (VtDisk *f); /* the ring */
void vt_disk_start_with (VtDisk *f, const char *key, const char *value);

/* The image must contain what the shadow does. */
void vt_disk_check (VtDisk *f);
/* Returns: the bytes that the image occupies. */
guint64 vt_disk_allocated (const VtDisk *f);

struct virtio_blk_config vt_disk_config (VtDisk *f);
gboolean vt_disk_offers (VtDisk *f, guint bit);

/* Each returns the status.  The data of the first are zeroes. */
guint8 vt_disk_run_sized (VtDisk *f, guint32 type, guint64 sector, guint32 len);
guint8
vt_disk_run_ranges (VtDisk *f, guint32 type, const VtRange *ranges, guint n);

/* Adds the test /blk/NAME/... for each engine on a disk and once on tmpfs; its
 * data are a VtDiskMode. */
void vt_disk_add_modes (const char *name, GTestDataFunc func);
