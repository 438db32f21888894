/* SPDX-License-Identifier: BSD-3-Clause
 *
 * layout.h - a config space as text: its fields, their bytes and who writes them
 *
 * "num_pages le32 ro 0; actual le32 rw": fields with a semicolon between them
 * (doubled inside a value), each NAME TYPE [ACCESS [VALUE|ROLE]], without gaps.
 * ACCESS is ro (the default), rw or w1c.  The name "_" is padding.  ROLE makes a
 * window (pages.h): select, size or page.
 */
#pragma once

#include <glib.h>

#include "devices/config-space.h"
#include "devices/generic/value.h"

#define VD_FIELD_PADDING "_" /* the name of fields that nobody speaks of */

typedef enum {
  VD_FIELD_PLAIN,
  VD_FIELD_SELECT, /* a number that chooses the page; rw */
  VD_FIELD_SIZE,   /* a number: the length of the page */
  VD_FIELD_PAGE,   /* u8[n] or bytes[n]: the page */
} VdFieldRole;

typedef struct {
  char *name;
  VdValueForm form;
  guint offset, len; /* bytes in config space */
  VdConfigAccess access;
  VdFieldRole role;
  gboolean has_value; /* the text gives one */
} VdField;

typedef struct {
  GPtrArray *fields; /* VdField, in the order of their offsets, without gaps
                      * from offset 0 */
  GByteArray *bytes; /* config space as configured, at least all fields */
} VdLayout;

/* @text: NULL or empty: no field
 * Returns: (transfer full): NULL with @error set, which names the field. */
VdLayout *vd_layout_parse (const char *text, GError **error);
void vd_layout_free (VdLayout *layout); /* NULL is fine */

/* Puts @len bytes under the fields: those without a value of their own, and
 * what follows the last field. */
void vd_layout_set_base (VdLayout *layout, const guint8 *base, guint len);

/* Pads config space with zeroes to @len bytes.
 * Returns: FALSE with @error set if it is longer. */
gboolean vd_layout_set_len (VdLayout *layout, guint len, GError **error);

/* Fills a new @config of the same length. */
void vd_layout_apply (const VdLayout *layout, VdConfig *config);

/* Whether a running driver can live with @next: the same fields, of which only
 * values differ.  Returns: FALSE with @error set, which names the difference. */
gboolean vd_layout_check_same (const VdLayout *layout, const VdLayout *next,
                               GError **error);

/* Takes over the bytes of @next, which vd_layout_check_same() accepted, and
 * changes in @config those fields whose configured value differs; others keep
 * what the driver wrote.  Returns: whether a byte of @config changed. */
gboolean
vd_layout_update (VdLayout *layout, const VdLayout *next, VdConfig *config);

/* Returns: (transfer full): the part of a list before the next single
 * semicolon, without spaces at both ends, doubled semicolons made one.
 * @text: (inout): moves behind it, to NULL after the last part */
char *vd_layout_next (const char **text);

G_DEFINE_AUTOPTR_CLEANUP_FUNC (VdLayout, vd_layout_free)
