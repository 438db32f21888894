/* SPDX-License-Identifier: BSD-3-Clause
 *
 * config-rig.h - kinds of the tests' own, files and command lines for them
 *
 * The grammar belongs to no kind, so the tests of server/config.c bring theirs:
 * "disk" with image, mode, queues and size, "plain" with text and page.*, which
 * refuses text=bad by itself.
 */
#pragma once

#include "server/config.h"

extern const VdDeviceOps vt_disk_ops, vt_plain_ops;
extern const VdDeviceOps *const vt_registry[];

typedef struct {
  char *dir;  /* of this test */
  char *conf; /* a folder in dir */
} VtConfigRig;

/* A GTest fixture. */
void vt_config_rig_init (VtConfigRig *rig, gconstpointer data);
void vt_config_rig_clear (VtConfigRig *rig, gconstpointer data);

/* Makes a file with that text, or replaces it. */
void vt_write (const char *dir, const char *name, const char *text);
/* The same.  Returns: (transfer full): its path. */
char *vt_put (const char *dir, const char *name, const char *text);

/* Parses a command line.
 * @line: words without the program's name; "|" separates */
VdServerConfig *vt_parse (const char *line, GError **error);
/* The same; a mistake fails the test. */
VdServerConfig *vt_parsed (const char *line);
