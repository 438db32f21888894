/* SPDX-License-Identifier: BSD-3-Clause
 *
 * personality-virtiofsd.h - the options of virtiofsd, and what they are here
 *
 * One table serves both implementations: a row is a long option, a word of the
 * comma-separated -o (with '_' where the long option has '-'), or both.  For
 * personality-virtiofsd*.c only.
 */
#pragma once

#include "server/personality.h"

typedef enum {
  NONE,
  NEEDED,
  OPTIONAL,   /* only behind a '=' */
} VdFsdValue; /* of an option */

typedef enum {
  LONG = 1 << 0,
  COMPAT = 1 << 1,
  BOTH = LONG | COMPAT,
} VdFsdForms;

/* A word of virtiofsd and ours. */
typedef struct {
  const char *theirs, *ours;
} VdFsdWord;

/* The translation under way. */
typedef struct {
  VdPersonality *ret;
  GPtrArray *pairs; /* VdFsdPair: keys of the device, each once */
  gboolean print_capabilities;
  gboolean flock, posix_lock; /* both make one key */
  gboolean fd, path;          /* which make one key, too */
  const char *seccomp;        /* NULL: not given */
} VdFsdParse;

typedef struct VdFsdRow VdFsdRow;
struct VdFsdRow {
  const char *name;
  VdFsdForms forms;
  VdFsdValue value;
  const char *key;        /* of the fs device; NULL: see take and note */
  const char *fixed;      /* the key's value without a value */
  const VdFsdWord *words; /* values that are translated, NULL-ended; else any */
  gboolean list;  /* may be repeated; the key has all values, with spaces */
  gboolean xattr; /* needs extended attributes */
  gboolean (*take) (VdFsdParse *parse, const VdFsdRow *row, const char *value,
                    GError **error);
  const char *note; /* why it changes nothing here */
};

extern const VdFsdRow vd_fsd_rows[];
extern const guint vd_fsd_n_rows;

typedef struct {
  char *key, *value;
} VdFsdPair;

/* Sets a key of the device: of several values, the last one counts. */
void vd_fsd_set_key (VdFsdParse *parse, const char *key, const char *value);
/* Adds a value to a key that is a list. */
void vd_fsd_add_to_list (VdFsdParse *parse, const char *key, const char *value);

/* Sets @error: "OPTION: ...".  Returns: FALSE. */
gboolean vd_fsd_fail (GError **error, const char *option, const char *format,
                      ...) G_GNUC_PRINTF (3, 4);
