/* SPDX-License-Identifier: BSD-3-Clause
 *
 * options.h - the keys of a device: one table for each kind drives the command
 * line, the key-file, --list-devices, --check and the error messages
 */
#pragma once

#include <glib.h>

typedef enum {
  VD_KEY_STRING,
  VD_KEY_PATH,    /* a path; made absolute against the key-file's folder or,
                   * on the command line, the working directory */
  VD_KEY_BOOL,    /* yes/no, true/false, on/off, 1/0 */
  VD_KEY_UINT,    /* a number, 0x and 0 prefixes accepted; min to max */
  VD_KEY_SIZE,    /* bytes; suffixes k M G T, powers of 1024; min to max */
  VD_KEY_SECONDS, /* a decimal number, not negative */
  VD_KEY_ENUM,    /* one of choices */
} VdKeyType;

typedef enum {
  VD_KEY_REQUIRED = 1 << 0,
  VD_KEY_LIVE = 1 << 1, /* may change on reload while a driver runs */
  VD_KEY_FD = 1 << 2,   /* VD_KEY_PATH: "fd:N" is left as it is */
  VD_KEY_URI = 1 << 3,  /* VD_KEY_PATH: "SCHEME://..." is left as it is */
} VdKeyFlags;

/* One key.  A table of them ends with a NULL name. */
typedef struct {
  const char *name; /* "page.*" stands for every key that begins "page." */
  VdKeyType type;
  const char *fallback;       /* the default as text; NULL: unset */
  const char *help;           /* one line */
  const char *const *choices; /* VD_KEY_ENUM: NULL-ended */
  guint64 min, max;           /* VD_KEY_UINT, VD_KEY_SIZE; max 0: no limit */
  VdKeyFlags flags;
} VdKey;

typedef struct VdOptions VdOptions;

#define VD_OPTIONS_ERROR (vd_options_error_quark ())
GQuark vd_options_error_quark (void);
typedef enum {
  VD_OPTIONS_ERROR_UNKNOWN_KEY,
  VD_OPTIONS_ERROR_BAD_VALUE,
  VD_OPTIONS_ERROR_MISSING_KEY,
  VD_OPTIONS_ERROR_DUPLICATE,
} VdOptionsError;

/* @origin: what errors begin with: "vm.conf: [device disk0]", "--device blk"
 * @base_dir: what relative paths are relative to; NULL: working directory */
VdOptions *vd_options_new (const char *origin, const char *base_dir);
VdOptions *vd_options_ref (VdOptions *options);
void vd_options_unref (VdOptions *options); /* NULL is fine */

/* Adds a key as text.  Errors: the key was set before, or one of the two is not
 * one line of UTF-8. */
gboolean vd_options_set (VdOptions *options, const char *key, const char *value,
                         GError **error);

/* Checks every key and value against @tables, NULL-ended, and stores the
 * defaults; the getters below work only after it.  The first table that has a
 * name wins.  An unknown key's error names the nearest known one.  May be called
 * again, with the same or other tables. */
gboolean vd_options_check (VdOptions *options, const VdKey *const *tables,
                           GError **error);

/* Whether the key was set; defaults do not count. */
gboolean vd_options_has (const VdOptions *options, const char *key);

/* Getters.  Asking for a key that is in no table, or by a wrong type, is our
 * own bug.  Strings are (transfer none).  A key that is unset and has no
 * default is NULL, FALSE or 0. */
const char *vd_options_string (const VdOptions *options, const char *key);
gboolean vd_options_bool (const VdOptions *options, const char *key);
guint64 vd_options_uint (const VdOptions *options, const char *key);
gdouble vd_options_seconds (const VdOptions *options, const char *key);

/* Calls @func for each set key that begins with @prefix ("page."), in the
 * order of setting, until it returns FALSE.  @suffix is what follows it. */
gboolean
vd_options_foreach (const VdOptions *options, const char *prefix,
                    gboolean (*func) (const char *suffix, const char *value,
                                      gpointer user_data, GError **error),
                    gpointer user_data, GError **error);

/* Returns: (transfer full): @path, absolute as a VD_KEY_PATH is; for paths that
 * are a part of a value. */
char *vd_options_resolve (const VdOptions *options, const char *path);

/* For mistakes that only the device can find: sets @error to
 * "ORIGIN: key=value: what is wrong". */
void
vd_options_set_error (const VdOptions *options, const char *key, GError **error,
                      const char *format, ...) G_GNUC_PRINTF (4, 5);

/* Returns: (transfer full) (nullable): NULL if all keys are equal, else the
 * name of the first key in which @a and @b differ and that is not VD_KEY_LIVE,
 * or "" if only live keys differ. */
char *vd_options_differ (const VdOptions *a, const VdOptions *b);

/* The text of the options as a key-file group's lines, "key=value\n" each, for
 * --check; those that were set, not the defaults. */
char *vd_options_to_text (const VdOptions *options);

const char *vd_options_origin (const VdOptions *options);

G_DEFINE_AUTOPTR_CLEANUP_FUNC (VdOptions, vd_options_unref)
