/* SPDX-License-Identifier: BSD-3-Clause
 *
 * config-space.h - a device's config space: bytes, a write mask, a generation
 *
 * Every device has one VdConfig, and the session serves GET_CONFIG and
 * SET_CONFIG from it, so that bounds, masks and torn reads are handled once.
 * Fields are little-endian, as VERSION_1 says.  CONTROL only, so no lock.
 */
#pragma once

#include <glib.h>

#define VD_CONFIG_MAX 4084 /* bytes: a payload of 4096 less its header */

/* What a driver's write does to one byte. */
typedef enum {
  VD_CONFIG_RO = 0, /* nothing; counted */
  VD_CONFIG_RW,     /* stores */
  VD_CONFIG_W1C,    /* clears the bits that are written as 1 */
} VdConfigAccess;

typedef struct {
  guint len;          /* bytes of config space */
  guint8 *bytes;      /* as the driver reads them */
  guint8 *access;     /* a VdConfigAccess for each byte */
  guint32 generation; /* changes with every change of the bytes */
  guint64 n_gets, n_sets, n_refused; /* n_refused: writes out of bounds */
  guint64 n_skipped; /* read-only bytes that a driver tried to change */
} VdConfig;

/* @len: bytes, at most VD_CONFIG_MAX; all zero and read-only. */
void vd_config_init (VdConfig *config, guint len);
void vd_config_clear (VdConfig *config);

/* Copies @len bytes from @offset; bytes past the end read as zero. */
void vd_config_read (VdConfig *config, guint offset, void *to, guint len);

/* A driver's write (SET_CONFIG flags 0, or 1 while a ring runs).  Read-only
 * bytes are skipped and counted.
 * @changed_offset, @changed_len: (out): the span from the first to the last
 *   byte that changed; length 0 if none did
 * Returns: FALSE if the range is out of bounds, and then nothing changed. */
gboolean vd_config_write (VdConfig *config, guint offset, const void *from,
                          guint len, guint *changed_offset, guint *changed_len);

/* Restores all bytes, whatever their access (SET_CONFIG flags 1 on a stopped
 * device that allows it).  Returns: FALSE if the range is out of bounds. */
gboolean
vd_config_restore (VdConfig *config, guint offset, const void *from, guint len);

/* The device's own change of a field.  Returns: whether a byte changed; the
 * device then tells the driver with vd_device_config_changed(). */
gboolean
vd_config_set (VdConfig *config, guint offset, const void *from, guint len);
gboolean vd_config_set_le16 (VdConfig *config, guint offset, guint16 value);
gboolean vd_config_set_le32 (VdConfig *config, guint offset, guint32 value);
gboolean vd_config_set_le64 (VdConfig *config, guint offset, guint64 value);

void vd_config_set_access (VdConfig *config, guint offset, guint len,
                           VdConfigAccess access);
