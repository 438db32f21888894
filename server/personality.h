/* SPDX-License-Identifier: BSD-3-Clause
 *
 * personality.h - virtiod under the name of virtiofsd, or as virtiod-blk
 *
 * Programs that start virtiofsd, the one in C or the one in Rust, get virtiod
 * when the name they call is a link to it.  The options of both are translated
 * into virtiod's own command line with one fs device, so that all checks and
 * all behaviour are virtiod's; the process ends when its front-end leaves, as
 * its callers expect.  CONTROL, before any thread exists.
 */
#pragma once

#include <glib.h>

typedef struct {
  GPtrArray *argv;  /* (element-type utf8): virtiod's command line */
  char *text;       /* print it and exit; NULL: serve */
  GPtrArray *notes; /* (element-type utf8): options that change nothing here, a
                     * line each */
  GLogLevelFlags log_level; /* least important level that is shown */
  gboolean syslog;          /* log to syslog(3) */
  gboolean daemonize; /* the caller waits until sockets exist, no longer */
  guint64 n_files;    /* limit of open descriptors; 0: leave it */
} VdPersonality;

/* Whether the program was called as virtiofsd or virtiod-blk.
 * @name: argv[0], or NULL */
gboolean vd_personality_applies (const char *name);

/* Translates a command line of virtiofsd, or of virtiod-blk.
 * Returns: (transfer full): what it means, or NULL with @error set to one line
 * that names the option. */
VdPersonality *vd_personality_new (int argc, char *const *argv, GError **error);
void vd_personality_free (VdPersonality *personality); /* NULL is fine */

/* The same of virtiofsd only. */
VdPersonality *
vd_personality_virtiofsd_new (int argc, char *const *argv, GError **error);

/* The same of virtiod-blk only: the options that QEMU's conventions for
 * vhost-user-blk back-ends name. */
VdPersonality *
vd_personality_blk_new (int argc, char *const *argv, GError **error);

/* Applies what is about the process; afterwards notes are logged.  With
 * daemonize the caller's process waits here and ends with the status that
 * vd_personality_ready() or an early end of this one means.
 * Returns: FALSE with @error set if the process cannot be made so. */
gboolean
vd_personality_begin (const VdPersonality *personality, GError **error);

/* Sockets exist: lets the caller of --daemonize go.  Does nothing else. */
void vd_personality_ready (void);

#define VD_PERSONALITY_ERROR (vd_personality_error_quark ())
GQuark vd_personality_error_quark (void);
typedef enum {
  VD_PERSONALITY_ERROR_OPTION, /* unknown, without a value, or a wrong one */
  VD_PERSONALITY_ERROR_SYSTEM, /* the process may not do it */
} VdPersonalityError;

G_DEFINE_AUTOPTR_CLEANUP_FUNC (VdPersonality, vd_personality_free)
