/* SPDX-License-Identifier: BSD-3-Clause
 *
 * key-value.h - one value's text and what it means, by its key's type
 */
#pragma once

#include "devices/options.h"

typedef union {
  const char *string; /* STRING, PATH, ENUM: the text itself */
  gboolean boolean;   /* BOOL */
  guint64 number;     /* UINT, SIZE */
  gdouble seconds;    /* SECONDS */
} VdKeyValue;

/* Reads @text, of which a string of *@ret is a part.
 * Returns: FALSE if it is not what the key takes. */
gboolean vd_key_parse (const VdKey *key, const char *text, VdKeyValue *ret);

/* Whether two values of the key mean the same: "4k" is "4096". */
gboolean
vd_key_equal (const VdKey *key, const VdKeyValue *a, const VdKeyValue *b);

/* Returns: (transfer full): what the key takes, to follow "not": "a number, 1 to
 * 64". */
char *vd_key_describe (const VdKey *key);
