/* SPDX-License-Identifier: BSD-3-Clause
 *
 * config-source.h - the texts that describe devices: --device and key-files
 *
 * Both have one grammar: a --device is a group of a key-file in one line.  This
 * part knows groups and keys but no kind; what they mean is config.c's.
 */
#pragma once

#include <glib.h>

/* One key of an item, (transfer none) within it. */
typedef struct {
  char *key;
  char *value;
} VdConfigPair;

/* A device, or a [virtiod] group, as it was written. */
typedef struct {
  char *origin;     /* for errors: "vm.conf: [device disk0]" */
  char *base_dir;   /* absolute; what relative paths are relative to */
  char *kind;       /* NULL: the [virtiod] group */
  char *id;         /* NULL: not given (--device only) */
  GPtrArray *pairs; /* VdConfigPair, without kind and id, in order */
} VdConfigItem;

void vd_config_item_free (VdConfigItem *item);

#define VD_CONFIG_ERROR (vd_config_error_quark ())
GQuark vd_config_error_quark (void);
typedef enum {
  VD_CONFIG_ERROR_USAGE,  /* the command line as a whole */
  VD_CONFIG_ERROR_FILE,   /* a file or folder that cannot be read */
  VD_CONFIG_ERROR_SYNTAX, /* groups, keys, kinds, ids */
  VD_CONFIG_ERROR_CLASH,  /* two devices want the same id or socket */
} VdConfigError;

/* Reads "KIND,key=value,...".  A comma inside a value is doubled.  The key id
 * names the device.
 * Returns: (transfer full): the item, or NULL with @error set. */
VdConfigItem *vd_config_item_from_text (const char *text, const char *base_dir,
                                        GError **error);

/* Reads a key-file and appends its groups to @items.
 *
 * A group is "[device ID]" with a key "kind", or "[virtiod]".  A value is the
 * rest of its line without spaces at both ends: there are no escapes, quotes,
 * lists or comments inside it, so that a backslash, a semicolon and a '#' stand
 * for themselves.  Lines that begin with '#' are comments.  A group or a key
 * that is given twice is a mistake, although GKeyFile would merge them. */
gboolean
vd_config_items_from_file (const char *path, GPtrArray *items, GError **error);

/* Reads a file, or each "*.conf" of a folder in the order of their names. */
gboolean
vd_config_items_from_path (const char *path, GPtrArray *items, GError **error);

G_DEFINE_AUTOPTR_CLEANUP_FUNC (VdConfigItem, vd_config_item_free)
